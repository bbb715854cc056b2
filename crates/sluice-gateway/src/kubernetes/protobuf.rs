use serde_json::{Map, Value, json};
use sluice_core::Fact;

/// Reads `meta/v1.DeleteOptions` in the API's envelope (`k8s\0`, then
/// `runtime.Unknown` with the message in field 2).
pub(super) fn delete_options(body: &[u8]) -> Fact<Value> {
    match envelope(body).and_then(options) {
        Some(options) => Fact::Known(options),
        None => Fact::unknown("the body is not DeleteOptions in protobuf"),
    }
}

const MAGIC: &[u8] = b"k8s\0";

fn envelope(body: &[u8]) -> Option<&[u8]> {
    let mut raw: Option<&[u8]> = None;
    for field in Fields(body.strip_prefix(MAGIC)?) {
        match field? {
            (1, Wire::Bytes(_)) => {}
            (2, Wire::Bytes(bytes)) if raw.is_none() => raw = Some(bytes),
            // A content encoding or content type of its own is not ours to guess.
            (3 | 4, Wire::Bytes([])) => {}
            _ => return None,
        }
    }
    raw.or(Some(&[]))
}

/// Field numbers of `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`.
fn options(message: &[u8]) -> Option<Value> {
    let mut options = Map::new();
    let mut dry_run = Vec::new();
    for field in Fields(message) {
        let (key, value) = match field? {
            (1, Wire::Varint(seconds)) => ("gracePeriodSeconds", json!(seconds.cast_signed())),
            (2, Wire::Bytes(bytes)) => ("preconditions", preconditions(bytes)?),
            (3, Wire::Varint(orphan)) => ("orphanDependents", json!(orphan != 0)),
            (4, Wire::Bytes(policy)) => ("propagationPolicy", json!(std::str::from_utf8(policy).ok()?)),
            (5, Wire::Bytes(stage)) => {
                dry_run.push(json!(std::str::from_utf8(stage).ok()?));
                continue;
            }
            (6, Wire::Varint(ignore)) => ("ignoreStoreReadErrorWithClusterBreakingPotential", json!(ignore != 0)),
            _ => return None,
        };
        if options.insert(key.to_owned(), value).is_some() {
            return None;
        }
    }
    if !dry_run.is_empty() {
        options.insert("dryRun".to_owned(), Value::Array(dry_run));
    }
    Some(Value::Object(options))
}

fn preconditions(message: &[u8]) -> Option<Value> {
    let mut conditions = Map::new();
    for field in Fields(message) {
        let (key, value) = match field? {
            (1, Wire::Bytes(uid)) => ("uid", uid),
            (2, Wire::Bytes(version)) => ("resourceVersion", version),
            _ => return None,
        };
        conditions.insert(key.to_owned(), json!(std::str::from_utf8(value).ok()?));
    }
    Some(Value::Object(conditions))
}

/// The fields of a message; ends with a `None` inside where bytes are malformed.
struct Fields<'a>(&'a [u8]);

enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        match tag & 7 {
            0 => Some((tag >> 3, Wire::Varint(self.varint()?))),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Some((tag >> 3, Wire::Bytes(bytes)))
            }
            _ => None,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, payload: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(payload.len()).unwrap()], payload].concat()
    }

    fn sealed(message: &[u8]) -> Vec<u8> {
        let kind = bytes(1, &[bytes(1, b"v1"), bytes(2, b"DeleteOptions")].concat());
        [MAGIC.to_vec(), kind, bytes(2, message), bytes(3, b""), bytes(4, b"")].concat()
    }

    #[test]
    fn delete_options_are_read() {
        let message =
            [vec![8, 30], bytes(2, &bytes(1, b"u-1")), vec![24, 0], bytes(4, b"Foreground"), bytes(5, b"All")].concat();
        assert_eq!(
            delete_options(&sealed(&message)),
            Fact::Known(json!({
                "gracePeriodSeconds": 30, "preconditions": {"uid": "u-1"}, "orphanDependents": false,
                "propagationPolicy": "Foreground", "dryRun": ["All"],
            }))
        );
        assert_eq!(delete_options(&sealed(&[])), Fact::Known(json!({})));
    }

    /// Written by the protobuf serializer of k8s.io/apimachinery v0.36.3.
    #[test]
    fn golden_what_client_go_writes() {
        use base64::Engine as _;
        for (written, options) in [
            ("azhzAAoTCgJ2MRINRGVsZXRlT3B0aW9ucxIAGgAiAA==", json!({})),
            ("azhzAAoTCgJ2MRINRGVsZXRlT3B0aW9ucxIFKgNBbGwaACIA", json!({"dryRun": ["All"]})),
            (
                "azhzAAoTCgJ2MRINRGVsZXRlT3B0aW9ucxItCP///////////wESBgoBdRIBNxgBIgpGb3JlZ3JvdW5kKgNBbGwqA0FsbDAAGgAiAA==",
                json!({
                    "gracePeriodSeconds": -1, "preconditions": {"uid": "u", "resourceVersion": "7"}, "orphanDependents": true,
                    "propagationPolicy": "Foreground", "dryRun": ["All", "All"],
                    "ignoreStoreReadErrorWithClusterBreakingPotential": false,
                }),
            ),
        ] {
            let bytes = base64::engine::general_purpose::STANDARD.decode(written).unwrap();
            assert_eq!(delete_options(&bytes), Fact::Known(options));
        }
    }

    #[test]
    fn malformed_protobuf_is_unknown() {
        let good = sealed(&bytes(5, b"All"));
        for cut in 0..good.len() {
            if let Fact::Known(options) = delete_options(&good[..cut]) {
                // A cut between two fields of the envelope is a shorter envelope.
                assert!(options == json!({}) || options == json!({"dryRun": ["All"]}), "{cut}: {options}");
            }
        }
        for body in [
            &b""[..],
            b"k8s",
            b"{}",
            b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            &sealed(&[0x3a, 1, 0]),
            &sealed(&[8, 1, 8, 2]),
        ] {
            assert!(delete_options(body).known().is_none(), "{body:?}");
        }
    }
}
