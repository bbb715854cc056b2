use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Result;
use rustls::RootCertStore;

use crate::{Http2, Raw, Response};

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers beside `Host` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// Body; with none, no `Content-Length` is sent for methods without one.
    pub body: Vec<u8>,
}

/// Which HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A plain client of one server: one connection, one request at a time.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    host: String,
}

#[derive(Debug)]
enum Connection {
    Http1(Box<Raw>),
    Http2(Http2),
}

impl Request {
    /// A request with no body.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.to_owned(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// With a body of that type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = self.header("content-type", content_type);
        request.body = body.into();
        request
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// The bytes of this request in HTTP/1.1.
    pub fn to_http1(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Client {
    /// Connects to `address` as if it were `host`.
    ///
    /// # Errors
    /// When it cannot.
    pub fn connect(protocol: Protocol, address: SocketAddr, host: &str, roots: &RootCertStore) -> Result<Self> {
        let connection = match protocol {
            Protocol::Http1 => Connection::Http1(Box::new(Raw::tls(address, host, roots, &["http/1.1"])?)),
            Protocol::Http2 => Connection::Http2(Http2::connect(address, host, roots)?),
        };
        Ok(Self { connection, host: host.to_owned() })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks first.
    pub fn send(&mut self, request: &Request) -> Result<Response> {
        match &mut self.connection {
            Connection::Http1(raw) => {
                raw.send(request.to_http1(&self.host))?;
                if request.method == "HEAD" { raw.head_response() } else { raw.response() }
            }
            Connection::Http2(connection) => connection.send(request),
        }
    }
}
