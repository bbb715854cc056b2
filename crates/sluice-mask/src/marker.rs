use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The text that stands for a masked value: `sluice-masked:` and eight
/// hexadecimal digits, which say who masked it and nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    text: [u8; TEXT_LENGTH],
}

impl Marker {
    /// A marker that ends in `tag`. Take one tag for the life of a gateway, so
    /// that reading twice gives the same bytes.
    pub fn new(tag: u32) -> Self {
        let mut text = [0; TEXT_LENGTH];
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        for (at, digit) in digits.iter_mut().enumerate() {
            let nibble = (tag >> (28 - 4 * at)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        Self { text }
    }

    /// As it stands in plain text. Needs no escaping in JSON.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// As it stands where base64 is expected.
    pub fn base64(&self) -> String {
        STANDARD.encode(self.text)
    }
}

/// Whether `bytes` contain a marker: plain; in base64, once or twice, at any
/// alignment, wrapped over lines or not; and each of these behind up to three
/// layers of JSON or YAML string escapes.
///
/// Errs towards finding one: behind base64 the prefix of a marker is enough.
/// Time is linear in `bytes`, memory at most twice its length.
pub fn contains_marker(bytes: &[u8]) -> bool {
    if finds(bytes) {
        return true;
    }
    let mut layer = bytes.to_vec();
    for _ in 0..ESCAPE_LAYERS {
        let Some(inner) = unescape(&layer) else { break };
        if finds(&inner) {
            return true;
        }
        layer = inner;
    }
    layer.retain(|byte| !byte.is_ascii_whitespace());
    finds(&layer)
}

const PREFIX: &[u8] = b"sluice-masked:";
const TEXT_LENGTH: usize = PREFIX.len() + 8;
const ESCAPE_LAYERS: usize = 3;

fn finds(bytes: &[u8]) -> bool {
    let plain = memchr::memmem::find_iter(bytes, PREFIX)
        .filter_map(|at| bytes.get(at + PREFIX.len()..at + TEXT_LENGTH))
        .any(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    plain || encoded_prefixes().iter().any(|pattern| memchr::memmem::find(bytes, pattern).is_some())
}

/// What base64 makes of the prefix, once and twice, whatever stands around it.
fn encoded_prefixes() -> &'static [Vec<u8>] {
    static PATTERNS: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
        let once = stable_base64(PREFIX);
        let twice = once.iter().flat_map(|text| stable_base64(text)).collect::<Vec<_>>();
        once.into_iter().chain(twice).collect()
    });
    &PATTERNS
}

/// The characters that depend on `text` alone, for each of the three places in
/// a group at which it can start.
fn stable_base64(text: &[u8]) -> [Vec<u8>; 3] {
    [0, 1, 2].map(|before: usize| {
        let padded = [&vec![0; before][..], text].concat();
        // Character i covers bits 6i..6i+6; the text covers 8*before..8*len.
        let first = (8 * before).div_ceil(6);
        let last = 8 * padded.len() / 6;
        STANDARD.encode(&padded).into_bytes()[first..last].to_vec()
    })
}

/// Undoes one layer of backslash escapes; `None` if there are none.
fn unescape(bytes: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'\\', bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (escaped, length) = match rest.get(at + 1) {
            Some(b'u') => hex_escape(rest, at, 4),
            Some(b'U') => hex_escape(rest, at, 8),
            Some(b'x') => hex_escape(rest, at, 2),
            // A line break that the escape removes, or white space.
            Some(b'n' | b'r' | b't' | b'\n' | b'\r') => (b'\n', 2),
            Some(other) => (*other, 2),
            None => (b'\\', 1),
        };
        out.push(escaped);
        rest = &rest[at + length..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// A numeric escape of `digits` digits at `at`. Everything outside ASCII becomes
/// one byte that no marker has.
fn hex_escape(bytes: &[u8], at: usize, digits: usize) -> (u8, usize) {
    let value = bytes
        .get(at + 2..at + 2 + digits)
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| u32::from_str_radix(text, 16).ok());
    match value {
        Some(value) => (u8::try_from(value).ok().filter(u8::is_ascii).unwrap_or(0xff), 2 + digits),
        None => (0xff, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_marker_is_fixed_text() {
        let marker = Marker::new(0x2a);
        assert_eq!(marker.text(), b"sluice-masked:0000002a");
        assert_eq!(marker.base64(), "c2x1aWNlLW1hc2tlZDowMDAwMDAyYQ==");
    }

    #[test]
    fn every_spelling_is_found() {
        let marker = "sluice-masked:0000002a";
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let wrapped = STANDARD.encode(format!("{} {marker}", "x".repeat(40)));
        let (left, right) = wrapped.split_at(64);
        for body in [
            marker.to_owned(),
            format!("{{\"a\":\"{marker}\"}}"),
            "{\"a\":\"\\u0073luice-masked\\u003a0000002a\"}".to_owned(),
            "{\"a\":\"{\\\"b\\\":\\\"\\\\u0073luice-masked:0000002a\\\"}\"}".to_owned(),
            "a: \"\\x73luice-masked:0000002a\"".to_owned(),
            "a: \"\\U00000073luice-masked:0000002a\"".to_owned(),
            "a: \"sluice-\\\nmasked:0000002a\"".to_owned(),
            format!("{{\"a\":\"{}\"}}", STANDARD.encode(marker)),
            format!("{{\"a\":\"{}\"}}", STANDARD.encode(format!("x{marker}y"))),
            format!("{{\"a\":\"{}\"}}", STANDARD.encode(format!("xy{marker}"))),
            format!("{{\"a\":\"{}\"}}", STANDARD.encode(format!("xyz{marker}zz"))),
            url.encode(format!("??>{marker}")),
            STANDARD.encode(STANDARD.encode(marker)),
            STANDARD.encode(format!("ab{}", STANDARD.encode(format!("c{marker}")))),
            format!("a: |\n  {left}\n  {right}\n"),
            format!("{{\"a\":\"{left}\\n{right}\"}}"),
        ] {
            assert!(contains_marker(body.as_bytes()), "{body}");
        }
        assert!(contains_marker(b"k8s\0\x0a\x04data\x12\x16sluice-masked:0000002a"));
    }

    #[test]
    fn other_text_is_not_a_marker() {
        for body in [
            "",
            "sluice",
            "sluice-masked",
            "sluice-masked:",
            "sluice-masked:xyz",
            "see sluice-masked:<tag> in the docs",
            "\\",
            "\\u00",
            "\\x",
        ] {
            assert!(!contains_marker(body.as_bytes()), "{body}");
        }
    }

    proptest! {
        #![proptest_config(crate::fixed_cases())]

        #[test]
        fn found_within_anything(before in any::<Vec<u8>>(), after in any::<Vec<u8>>(), tag: u32) {
            let marker = Marker::new(tag);
            let body = [&before[..], marker.text(), &after[..]].concat();
            prop_assert!(contains_marker(&body));
            prop_assert!(contains_marker(STANDARD.encode(&body).as_bytes()));
            prop_assert!(contains_marker(STANDARD.encode(STANDARD.encode(&body)).as_bytes()));
        }

        #[test]
        fn any_bytes_are_searched_without_a_panic(body in any::<Vec<u8>>()) {
            let _ = contains_marker(&body);
        }

        #[test]
        fn backslashes_are_searched_without_a_panic(body in "[\\\\uxU0-9a-f\"n]{0,60}") {
            let _ = contains_marker(body.as_bytes());
        }
    }
}
