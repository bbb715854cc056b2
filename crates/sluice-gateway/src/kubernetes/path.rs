use super::reject::{Reject, shown};

/// A request path, decoded once, as `net/url` decodes it. No reader that splits
/// before decoding, decodes twice, or cleans paths can read it differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// The decoded path, with its trailing slash if it had one.
    pub(super) decoded: String,
}

impl Path {
    /// Decodes `raw` (the path alone, no query).
    pub(super) fn parse(raw: &str) -> Result<Self, Reject> {
        if !raw.starts_with('/') {
            return Err(Reject::bad(
                format!("the path {} does not start with \"/\"", shown(raw)),
                "Send an absolute path, such as /api/v1/pods.",
            ));
        }
        let decoded = decode(raw)?;
        let body = decoded.strip_prefix('/').unwrap_or(&decoded);
        let body = body.strip_suffix('/').unwrap_or(body);
        for segment in body.split('/') {
            if segment.is_empty() && decoded != "/" {
                return Err(Reject::bad(
                    format!("the path {} has an empty segment", shown(raw)),
                    "Send each \"/\" once.",
                ));
            }
            if segment == "." || segment == ".." {
                return Err(Reject::bad(
                    format!("the path {} has the segment {}", shown(raw), shown(segment)),
                    "Send the path without \".\" and \"..\" segments.",
                ));
            }
        }
        Ok(Self { decoded })
    }

    /// The parts between slashes; none for `/`.
    pub(super) fn segments(&self) -> Vec<&str> {
        let trimmed = self.decoded.trim_matches('/');
        if trimmed.is_empty() { Vec::new() } else { trimmed.split('/').collect() }
    }
}

fn decode(raw: &str) -> Result<String, Reject> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let value = hex_pair(bytes.next(), bytes.next()).ok_or_else(|| {
                    Reject::bad(
                        format!("the path {} has a \"%\" without two hexadecimal digits", shown(raw)),
                        "Write a literal percent sign nowhere in a path.",
                    )
                })?;
                if value.is_ascii_control() || matches!(value, b'/' | b'\\' | b'%' | b'?' | b'#') {
                    return Err(Reject::bad(
                        format!("the path {} has the escape %{value:02X}, which readers treat differently", shown(raw)),
                        "Names in a path cannot hold that character; send the path without it.",
                    ));
                }
                out.push(value);
            }
            b'\\' | 0..=b' ' | 0x7f.. => {
                return Err(Reject::bad(
                    format!("the path {} has the raw byte 0x{byte:02x}", shown(raw)),
                    "Percent-encode it, or leave it out.",
                ));
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out)
        .map_err(|_| Reject::bad(format!("the path {} is not UTF-8 once decoded", shown(raw)), "Send UTF-8."))
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn hex_pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_harmlessly_encoded_paths_are_read() {
        for (raw, decoded) in [
            ("/", "/"),
            ("/api/v1/pods", "/api/v1/pods"),
            ("/api/v1/pods/", "/api/v1/pods/"),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3anode",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            ),
            ("/api/v1/%70ods", "/api/v1/pods"),
            ("/x/a;b=c", "/x/a;b=c"),
            ("/x/%E2%82%AC", "/x/€"),
        ] {
            assert_eq!(Path::parse(raw).map(|path| path.decoded), Ok(decoded.to_owned()), "{raw}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        for raw in [
            "",
            "api",
            "//",
            "//api",
            "/api//v1",
            "/api/v1//",
            "/api/./v1",
            "/api/../v1",
            "/api/v1/..",
            "/.",
            "/api/%2e%2e/v1",
            "/api/%2E/v1",
            "/api/v1%2fpods",
            "/api/v1%2Fpods",
            "/api/v1%5Cpods",
            "/api\\v1",
            "/a%252fb",
            "/a%00b",
            "/a%0ab",
            "/a%7fb",
            "/a%3fwatch=1",
            "/a%23b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%ff",
            "/a\u{20ac}",
        ] {
            assert!(Path::parse(raw).is_err(), "{raw}");
        }
    }
}
