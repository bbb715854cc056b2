use super::masker::Masker;
use super::string::escape;
use crate::Marker;

/// The decoded value of one annotation, on its way back into a JSON string.
#[derive(Debug)]
pub(super) struct Annotation {
    form: Form,
    /// Whether anything but JSON is masked too.
    must_be_json: bool,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Form {
    /// Nothing but white space so far.
    Undecided,
    /// JSON, masked by the same rules.
    Json(Box<Masker>),
    /// Anything else: kept.
    Text,
    /// Replaced; the rest is dropped.
    Gone,
}

impl Annotation {
    /// How an annotation called `key` is treated; `None`: its value becomes a
    /// marker as a whole.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        if PACKED.contains(&key) {
            return None;
        }
        Some(Self { form: Form::Undecided, must_be_json: key == LAST_APPLIED, scratch: Vec::new() })
    }

    /// Takes decoded bytes, and appends what is shown of them, escaped.
    pub(super) fn push(&mut self, decoded: &[u8], depth: u8, marker: Marker, values: &mut u64, out: &mut Vec<u8>) {
        let mut decoded = decoded;
        if matches!(self.form, Form::Undecided) {
            let blank = decoded.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let (blanks, rest) = decoded.split_at(blank);
            escape(blanks, out);
            decoded = rest;
            match decoded.first() {
                None => return,
                Some(b'{' | b'[') if depth > 0 => self.form = Form::Json(Box::new(Masker::nested(marker, depth - 1))),
                Some(b'{' | b'[') => self.replace(marker, values, out),
                Some(_) if self.must_be_json => self.replace(marker, values, out),
                Some(_) => self.form = Form::Text,
            }
        }
        match &mut self.form {
            Form::Json(masker) => {
                self.scratch.clear();
                let read = masker.push(decoded, &mut self.scratch);
                escape(&self.scratch, out);
                if read.is_err() {
                    *values += masker.values();
                    self.replace(marker, values, out);
                }
            }
            Form::Text => escape(decoded, out),
            Form::Undecided | Form::Gone => {}
        }
    }

    /// The string ends here.
    pub(super) fn end(mut self, marker: Marker, values: &mut u64, out: &mut Vec<u8>) {
        if let Form::Json(masker) = std::mem::replace(&mut self.form, Form::Gone) {
            *values += masker.values();
            if masker.finish().is_err() {
                self.replace(marker, values, out);
            }
        }
    }

    fn replace(&mut self, marker: Marker, values: &mut u64, out: &mut Vec<u8>) {
        self.form = Form::Gone;
        *values += 1;
        out.extend_from_slice(marker.text());
    }
}

const LAST_APPLIED: &[u8] = b"kubectl.kubernetes.io/last-applied-configuration";

/// Annotations in which known tools keep a compressed copy of the object.
const PACKED: [&[u8]; 2] = [b"objectset.rio.cattle.io/applied", b"banzaicloud.com/last-applied"];
