use super::annotation::Annotation;
use super::number::Number;
use super::string::{Step, Text};
use crate::Marker;

/// Masks one stream of JSON documents, in constant memory.
///
/// ```
/// use sluice_mask::{Marker, secrets::Masker};
///
/// let mut masker = Masker::new(Marker::new(0x2a));
/// let mut out = Vec::new();
/// masker.push(br#"{"kind":"Secret","stringData":{"user":"ad"#, &mut out)?;
/// masker.push(br#"min"}}"#, &mut out)?;
/// assert_eq!(masker.finish()?, 1);
/// assert_eq!(out, br#"{"kind":"Secret","stringData":{"user":"sluice-masked:0000002a"}}"#);
/// # Ok::<(), sluice_mask::secrets::NotMaskable>(())
/// ```
#[derive(Debug)]
pub struct Masker {
    marker: Marker,
    state: State,
    /// Open containers, outermost first; at most [`DEPTH`].
    stack: Vec<Frame>,
    /// The key of the member that is being read, decoded; cut at [`KEY`].
    key: Vec<u8>,
    /// What the place of the next value says of it.
    place: Place,
    values: u64,
    /// Bytes read in earlier calls.
    offset: u64,
    failed: Option<NotMaskable>,
    nesting: Nesting,
}

/// Why the rest of a stream cannot be shown. What was written before is masked
/// and may be; nothing after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMaskable {
    /// The stream is no JSON of the Kubernetes API.
    #[error("no JSON object of the Kubernetes API at byte {offset}")]
    Malformed {
        /// Position of the first byte that does not fit.
        offset: u64,
    },
    /// Containers are nested too deep.
    #[error("JSON nested deeper than {DEPTH} at byte {offset}")]
    TooDeep {
        /// Position of the container.
        offset: u64,
    },
    /// The stream ended inside a document.
    #[error("JSON that ends inside a document, at byte {offset}")]
    Truncated {
        /// Length of the stream.
        offset: u64,
    },
}

impl Masker {
    /// A masker that puts `marker` in the place of values.
    pub fn new(marker: Marker) -> Self {
        Self::with(marker, Nesting::Stream { inner: ANNOTATION_DEPTH })
    }

    /// A masker for one document inside an annotation, with `inner` more levels
    /// of annotations in it.
    pub(super) fn nested(marker: Marker, inner: u8) -> Self {
        Self::with(marker, Nesting::Annotation { inner, seen: false })
    }

    fn with(marker: Marker, nesting: Nesting) -> Self {
        Self {
            marker,
            state: State::Root,
            stack: Vec::new(),
            key: Vec::new(),
            place: Place::Document,
            values: 0,
            offset: 0,
            failed: None,
            nesting,
        }
    }

    /// Takes the next bytes of the stream, however it is cut, and appends what
    /// is shown of them.
    ///
    /// # Errors
    /// [`NotMaskable`], now and for every later call.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), NotMaskable> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut sink = Sink { input, from: 0, out };
        let mut at = 0;
        while at < input.len() {
            match self.step(at, &mut sink) {
                Ok(next) => at = next,
                Err(stop) => {
                    // The byte that does not fit is not shown.
                    sink.cut(at);
                    let offset = self.offset + at as u64;
                    let failed = match stop {
                        Stop::Malformed => NotMaskable::Malformed { offset },
                        Stop::TooDeep => NotMaskable::TooDeep { offset },
                    };
                    self.failed = Some(failed);
                    return Err(failed);
                }
            }
        }
        sink.cut(input.len());
        self.offset += input.len() as u64;
        Ok(())
    }

    /// The end of the stream: how many values were masked.
    ///
    /// # Errors
    /// [`NotMaskable::Truncated`] if a document is open, or what `push` said.
    pub fn finish(self) -> Result<u64, NotMaskable> {
        let empty_annotation = matches!(self.nesting, Nesting::Annotation { seen: false, .. });
        match self.failed {
            Some(failed) => Err(failed),
            None if matches!(self.state, State::Root) && !empty_annotation => Ok(self.values),
            None => Err(NotMaskable::Truncated { offset: self.offset }),
        }
    }

    /// How many values were masked so far.
    pub fn values(&self) -> u64 {
        self.values
    }

    /// Reads the byte at `at`, or several; gives the position of the next one.
    fn step(&mut self, at: usize, sink: &mut Sink<'_>) -> Result<usize, Stop> {
        let byte = sink.input[at];
        match &mut self.state {
            State::Key(text) => {
                let key = &mut self.key;
                match text.step(byte, &mut |decoded| key.extend(decoded.iter().take(KEY.saturating_sub(key.len())))) {
                    Step::More => {}
                    Step::End => {
                        self.place = self.place_of_member();
                        self.state = State::Colon;
                    }
                    Step::Malformed => return Err(Stop::Malformed),
                }
                return Ok(at + 1);
            }
            State::Kept(text) => {
                if text.plain() {
                    let run = plain_run(&sink.input[at..]);
                    if run > 0 {
                        return Ok(at + run);
                    }
                }
                match text.step(byte, &mut |_| {}) {
                    Step::More => {}
                    Step::End => self.after_value(),
                    Step::Malformed => return Err(Stop::Malformed),
                }
                return Ok(at + 1);
            }
            State::Masked(text) => {
                sink.cut(at);
                if text.plain() {
                    let run = plain_run(&sink.input[at..]);
                    if run > 0 {
                        sink.from = at + run;
                        return Ok(at + run);
                    }
                }
                let step = text.step(byte, &mut |_| {});
                sink.from = at + 1;
                match step {
                    Step::More => {}
                    Step::End => self.after_value(),
                    Step::Malformed => return Err(Stop::Malformed),
                }
                return Ok(at + 1);
            }
            State::Annotation(..) => return self.annotation(at, sink),
            State::Number { number, masked } => {
                let masked = *masked;
                if let Some(next) = number.then(byte) {
                    *number = next;
                    if masked {
                        sink.skip(at);
                    }
                    return Ok(at + 1);
                }
                if !number.complete() {
                    return Err(Stop::Malformed);
                }
                self.after_value();
                return Ok(at);
            }
            State::Literal { rest, masked } => {
                let (expected, after) = rest.split_first().ok_or(Stop::Malformed)?;
                if *expected != byte {
                    return Err(Stop::Malformed);
                }
                *rest = after;
                let done = after.is_empty();
                if *masked {
                    sink.skip(at);
                }
                if done {
                    self.after_value();
                }
                return Ok(at + 1);
            }
            _ => {}
        }
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(at + 1);
        }
        self.structure(byte, at, sink)?;
        Ok(at + 1)
    }

    /// A byte between tokens, or the first of one.
    fn structure(&mut self, byte: u8, at: usize, sink: &mut Sink<'_>) -> Result<(), Stop> {
        match (&self.state, byte) {
            (State::Root, b'{') | (State::Root, b'[') => {
                match &mut self.nesting {
                    Nesting::Stream { .. } if byte == b'{' => {}
                    Nesting::Annotation { seen, .. } if !*seen => *seen = true,
                    _ => return Err(Stop::Malformed),
                }
                self.place = Place::Document;
                self.value(byte, at, sink)
            }
            (State::FirstKey, b'}') | (State::FirstElement, b']') => {
                self.close();
                Ok(())
            }
            (State::FirstKey | State::NextKey, b'"') => {
                self.key.clear();
                self.state = State::Key(Text::default());
                Ok(())
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(())
            }
            (State::Value | State::FirstElement, _) => self.value(byte, at, sink),
            (State::AfterValue, b',') => {
                // A value is only followed by something inside a container.
                let frame = self.stack.last().ok_or(Stop::Malformed)?;
                self.place = frame.place;
                self.state = if frame.array { State::Value } else { State::NextKey };
                Ok(())
            }
            (State::AfterValue, b'}' | b']')
                if self.stack.last().is_some_and(|frame| frame.array == (byte == b']')) =>
            {
                self.close();
                Ok(())
            }
            _ => Err(Stop::Malformed),
        }
    }

    /// The first byte of a value at `self.place`.
    fn value(&mut self, byte: u8, at: usize, sink: &mut Sink<'_>) -> Result<(), Stop> {
        let place = self.place;
        match byte {
            b'{' | b'[' => {
                if self.stack.len() == DEPTH {
                    return Err(Stop::TooDeep);
                }
                let array = byte == b'[';
                // An annotation is a string; anything else there is not shown.
                let place = if place == Place::Annotation { Place::Plain } else { place };
                self.place = place;
                self.stack.push(Frame { array, place });
                self.state = if array { State::FirstElement } else { State::FirstKey };
            }
            b'n' => self.state = State::Literal { rest: b"ull", masked: false },
            b'"' => match place {
                Place::Base64 | Place::Plain => {
                    self.mask(at, sink);
                    self.state = State::Masked(Text::default());
                }
                Place::Annotation => match Annotation::of(&self.key.to_ascii_lowercase()) {
                    Some(annotation) => self.state = State::Annotation(Text::default(), Box::new(annotation)),
                    None => {
                        self.mask(at, sink);
                        self.state = State::Masked(Text::default());
                    }
                },
                Place::Document | Place::Metadata | Place::Annotations => self.state = State::Kept(Text::default()),
            },
            b't' | b'f' => {
                let masked = self.mask_scalar(at, sink);
                let rest: &'static [u8] = if byte == b't' { b"rue" } else { b"alse" };
                self.state = State::Literal { rest, masked };
            }
            byte => {
                let number = Number::start(byte).ok_or(Stop::Malformed)?;
                let masked = self.mask_scalar(at, sink);
                self.state = State::Number { number, masked };
            }
        }
        Ok(())
    }

    /// Masks a number or boolean where nothing is shown.
    fn mask_scalar(&mut self, at: usize, sink: &mut Sink<'_>) -> bool {
        let masked = matches!(self.place, Place::Base64 | Place::Plain | Place::Annotation);
        if masked {
            self.mask(at, sink);
        }
        masked
    }

    /// Writes a marker in the place of the value that starts at `at`.
    fn mask(&mut self, at: usize, sink: &mut Sink<'_>) {
        sink.cut(at);
        sink.from = at + 1;
        sink.out.push(b'"');
        match self.place {
            Place::Base64 => sink.out.extend_from_slice(self.marker.base64().as_bytes()),
            _ => sink.out.extend_from_slice(self.marker.text()),
        }
        sink.out.push(b'"');
        self.values += 1;
    }

    /// The bytes of an annotation up to its end or that of the input.
    fn annotation(&mut self, start: usize, sink: &mut Sink<'_>) -> Result<usize, Stop> {
        let State::Annotation(text, annotation) = &mut self.state else { return Err(Stop::Malformed) };
        sink.cut(start);
        let mut decoded = Vec::new();
        let mut end = None;
        for (at, byte) in sink.input.iter().enumerate().skip(start) {
            match text.step(*byte, &mut |bytes| decoded.extend_from_slice(bytes)) {
                Step::More => {}
                Step::End => {
                    end = Some(at);
                    break;
                }
                Step::Malformed => {
                    sink.from = sink.input.len();
                    return Err(Stop::Malformed);
                }
            }
        }
        let inner = match self.nesting {
            Nesting::Stream { inner } | Nesting::Annotation { inner, .. } => inner,
        };
        annotation.push(&decoded, inner, self.marker, &mut self.values, sink.out);
        let Some(end) = end else {
            sink.from = sink.input.len();
            return Ok(sink.input.len());
        };
        if let State::Annotation(_, annotation) = std::mem::replace(&mut self.state, State::AfterValue) {
            annotation.end(self.marker, &mut self.values, sink.out);
        }
        // The closing quote is kept.
        sink.from = end;
        self.after_value();
        Ok(end + 1)
    }

    /// What the place of the member called `self.key` says of its value.
    fn place_of_member(&self) -> Place {
        let is = |name: &str| self.key.eq_ignore_ascii_case(name.as_bytes());
        match self.stack.last().map_or(Place::Document, |frame| frame.place) {
            Place::Document if is("data") => Place::Base64,
            Place::Document if is("stringData") => Place::Plain,
            Place::Document if is("metadata") => Place::Metadata,
            Place::Metadata if is("annotations") => Place::Annotations,
            Place::Annotations => Place::Annotation,
            place => place,
        }
    }

    fn close(&mut self) {
        self.stack.pop();
        self.after_value();
    }

    fn after_value(&mut self) {
        self.state = if self.stack.is_empty() { State::Root } else { State::AfterValue };
    }
}

/// What is kept of the input is copied in runs.
struct Sink<'a> {
    input: &'a [u8],
    /// Bytes before this position are written or dropped.
    from: usize,
    out: &'a mut Vec<u8>,
}

impl Sink<'_> {
    /// Writes what is kept before `at`.
    fn cut(&mut self, at: usize) {
        if let Some(run) = self.input.get(self.from..at) {
            self.out.extend_from_slice(run);
            self.from = at;
        }
    }

    /// Drops the byte at `at`.
    fn skip(&mut self, at: usize) {
        self.cut(at);
        self.from = at + 1;
    }
}

/// How many bytes of a string come before one that means something.
fn plain_run(input: &[u8]) -> usize {
    input.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

#[derive(Debug)]
enum State {
    /// Between documents.
    Root,
    Value,
    FirstElement,
    FirstKey,
    NextKey,
    Colon,
    AfterValue,
    Key(Text),
    Kept(Text),
    Masked(Text),
    Annotation(Text, Box<Annotation>),
    Number {
        number: Number,
        masked: bool,
    },
    Literal {
        rest: &'static [u8],
        masked: bool,
    },
}

/// An open container, and what its place says of what it contains.
#[derive(Debug, Clone, Copy)]
struct Frame {
    array: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside `metadata` and values: objects, lists, events, tables.
    Document,
    /// Below `metadata`.
    Metadata,
    /// The object `metadata.annotations`.
    Annotations,
    /// The value of one annotation.
    Annotation,
    /// Values that are masked in base64.
    Base64,
    /// Values that are masked as text.
    Plain,
}

#[derive(Debug, Clone, Copy)]
enum Nesting {
    /// Documents one after the other, each an object.
    Stream { inner: u8 },
    /// One document, an object or an array.
    Annotation { inner: u8, seen: bool },
}

enum Stop {
    Malformed,
    TooDeep,
}

/// Containers within containers; Kubernetes objects need about 30.
const DEPTH: usize = 512;
/// Longer than every key that matters.
const KEY: usize = 64;
/// JSON within annotations of JSON within annotations; deeper is masked whole.
const ANNOTATION_DEPTH: u8 = 3;
