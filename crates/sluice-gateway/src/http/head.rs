//! An HTTP/1.1 request head, judged on its raw bytes (RFC 9112).
//!
//! Everything that two readers could read differently is refused here, before
//! any HTTP library sees it: which bytes are the body of a request must never
//! be a matter of opinion between the gateway and the server behind it.

use std::fmt;

/// How long a head may be, request line and final empty line included.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How many fields a head or a trailer section may have.
pub(crate) const MAX_FIELDS: usize = 100;

/// The names by which a connection's target may be called in `Host` or
/// `:authority`.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    /// What is sent upstream.
    canonical: String,
    accepted: Vec<String>,
}

impl Authorities {
    /// `host`, with `port` where a port is written.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        let canonical = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        Self { canonical, accepted: vec![host.to_owned(), format!("{host}:{port}")] }
    }

    /// Also takes `authority`: an explicit listener's own address is another
    /// name of its target.
    pub(crate) fn also(mut self, authority: String) -> Self {
        self.accepted.push(authority);
        self
    }

    /// The authority to send upstream.
    pub(crate) fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether `authority` names the target.
    pub(crate) fn accepts(&self, authority: &str) -> bool {
        self.accepted.iter().any(|name| name.eq_ignore_ascii_case(authority))
    }
}

/// Where the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes; zero where there is no body.
    Length(u64),
    /// Where its chunks say.
    Chunked,
}

/// Why a request is not read any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// HTTP status of the answer.
    pub(crate) status: u16,
    /// What is wrong, in words for people.
    pub(crate) message: String,
}

impl Unreadable {
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self { status: 431, message: message.into() }
    }

    pub(crate) fn misdirected(given: &str, authorities: &Authorities) -> Self {
        let given: String = given.chars().take(253).collect();
        Self {
            status: 421,
            message: format!(
                "host {given:?} is not the target of this connection; it goes to {:?} only: open a connection for each host",
                authorities.canonical()
            ),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Judges a head that ends with its empty line; every line ends with CR LF.
pub(crate) fn check(head: &[u8], authorities: &Authorities) -> Result<Framing, Unreadable> {
    let mut lines = Lines { rest: head };
    request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for line in lines {
        if line.is_empty() {
            break;
        }
        fields.take(line)?;
    }
    fields.judge(authorities)
}

/// Judges a field line of a trailer section.
pub(crate) fn check_trailer(line: &[u8]) -> Result<(), Unreadable> {
    let (name, _) = field(line)?;
    const NEVER: [&str; 5] = ["content-length", "transfer-encoding", "host", "authorization", "trailer"];
    if NEVER.iter().any(|never| name.eq_ignore_ascii_case(never.as_bytes())) {
        return Err(Unreadable::bad("a trailer carries a field that belongs into the head"));
    }
    Ok(())
}

/// Lines of a head, without their CR LF.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&byte| byte == b'\n')?;
        let (line, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        line.strip_suffix(b"\r\n")
    }
}

fn request_line(line: &[u8]) -> Result<(), Unreadable> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Unreadable::bad("the request line is not METHOD SP PATH SP HTTP/1.1"));
    };
    if method.is_empty() || !method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-') || method.len() > 32 {
        return Err(Unreadable::bad("the method is not a word of capital letters"));
    }
    if !target.starts_with(b"/") {
        return Err(Unreadable::bad(
            "the request target is not a path: absolute, authority and asterisk forms (RFC 9112 section 3.2) are for proxies",
        ));
    }
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(Unreadable::bad("the request target has a byte that does not belong into a path"));
    }
    match version {
        b"HTTP/1.1" => Ok(()),
        _ => Err(Unreadable {
            status: 505,
            message: "the version is not HTTP/1.1 (HTTP/2 is negotiated by ALPN)".into(),
        }),
    }
}

/// What the fields of a head add up to.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), Unreadable> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(Unreadable::too_large(format!("more than {MAX_FIELDS} header fields")));
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.replace(value).is_some() {
                return Err(Unreadable::bad("more than one Host field"));
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = length(value)?;
            if self.length.replace(length).is_some() {
                return Err(Unreadable::bad("more than one Content-Length field"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked {
                return Err(Unreadable::bad("more than one Transfer-Encoding field"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Unreadable::bad("Transfer-Encoding is something other than `chunked`"));
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Unreadable { status: 417, message: "Expect is something other than `100-continue`".into() });
        }
        Ok(())
    }

    fn judge(self, authorities: &Authorities) -> Result<Framing, Unreadable> {
        let host = self.host.ok_or_else(|| Unreadable::bad("no Host field"))?;
        let host = std::str::from_utf8(host).map_err(|_| Unreadable::bad("Host is not text"))?;
        if !authorities.accepts(host) {
            return Err(Unreadable::misdirected(host, authorities));
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Unreadable::bad("both Content-Length and Transfer-Encoding")),
            (None, true) => Ok(Framing::Chunked),
            (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Splits a field line; no folding, no space before the colon.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Unreadable> {
    if line.first().is_some_and(|&byte| byte == b' ' || byte == b'\t') {
        return Err(Unreadable::bad("a header field is folded over lines (obs-fold)"));
    }
    let colon =
        line.iter().position(|&byte| byte == b':').ok_or_else(|| Unreadable::bad("a header line has no colon"))?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err(Unreadable::bad("a header name has a byte that does not belong there (a space before the colon?)"));
    }
    let value = trim(value.get(1..).unwrap_or_default());
    if value.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        return Err(Unreadable::bad("a header value has a control character"));
    }
    Ok((name, value))
}

fn length(value: &[u8]) -> Result<u64, Unreadable> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Unreadable::bad("Content-Length is not one decimal number"));
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(head: &str) -> Result<Framing, u16> {
        check(head.as_bytes(), &Authorities::new("api.example", 443)).map_err(|refused| refused.status)
    }

    #[test]
    fn plain_heads_pass() {
        assert_eq!(judge("GET /api HTTP/1.1\r\nHost: api.example\r\n\r\n"), Ok(Framing::Length(0)));
        assert_eq!(judge("GET / HTTP/1.1\r\nhost:API.example:443\r\n\r\n"), Ok(Framing::Length(0)));
        assert_eq!(
            judge("PUT /a HTTP/1.1\r\nHost: api.example\r\nContent-Length: 12\r\n\r\n"),
            Ok(Framing::Length(12))
        );
        assert_eq!(
            judge("POST /a HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: Chunked \r\n\r\n"),
            Ok(Framing::Chunked)
        );
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        let host = "Host: api.example\r\n";
        for (head, status) in [
            (format!("GET http://api.example/ HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("CONNECT api.example:443 HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("GET  / HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("GET /\tx HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("get / HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("GET /#x HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("GET / HTTP/1.0\r\n{host}\r\n"), 505),
            ("PRI * HTTP/2.0\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), 400),
            ("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n".to_owned(), 421),
            ("GET / HTTP/1.1\r\nHost: api.example.\r\n\r\n".to_owned(), 421),
            ("GET / HTTP/1.1\r\nHost: api.example:80\r\n\r\n".to_owned(), 421),
            (format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Content-Length: 1, 1\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Content-Length: 0x1\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Content-Length:\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Content-Length: 9999999999999999999\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding:\x0bchunked\r\n\r\n"), 400),
            (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding : chunked\r\n\r\n"), 400),
            (format!("GET / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"), 400),
            (format!("GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"), 400),
            (format!("GET / HTTP/1.1\r\n{host}no colon\r\n\r\n"), 400),
            (format!("GET / HTTP/1.1\r\n{host}: x\r\n\r\n"), 400),
            (format!("GET / HTTP/1.1\r\n{host}Expect: 200-ok\r\n\r\n"), 417),
            (format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(100)), 431),
        ] {
            assert_eq!(judge(&head), Err(status), "{head:?}");
        }
    }

    #[test]
    fn trailers_do_not_change_framing() {
        assert!(check_trailer(b"Grpc-Status: 0").is_ok());
        assert!(check_trailer(b"Content-Length: 3").is_err());
        assert!(check_trailer(b" folded").is_err());
    }
}
