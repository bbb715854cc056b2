//! One HTTPS GET of a small JSON document.

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::dial::{Dialer, Place, Roots};

/// An `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    host: String,
    port: u16,
    /// As the `Host` header says it.
    authority: String,
    path: String,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is not `https`, or has a user name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} {what}");
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("is no https URL: {error}")))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("is no https URL"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong("names no host, or a user"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(443),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }
}

/// A document and how long it may be kept.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) body: Bytes,
    /// What the server says; `None`: nothing.
    pub(super) max_age: Option<Duration>,
}

/// Fetches documents.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    dialer: Dialer,
    timeout: Duration,
}

impl Fetcher {
    /// A fetcher that waits for [`TIMEOUT`].
    pub(super) fn new(dialer: Dialer) -> Self {
        Self { dialer, timeout: TIMEOUT }
    }

    /// Where it runs.
    pub(super) fn place(&self) -> Place {
        self.dialer.place()
    }

    /// The same, waiting for longer or shorter.
    #[cfg(test)]
    pub(super) fn waiting(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Fetches a document. Redirects are not followed: the URL is what policy
    /// (or the issuer's own discovery document) vouches for, and nothing else
    /// is.
    ///
    /// # Errors
    /// In words: no connection, no `200`, more than `limit` bytes, or not in
    /// time.
    pub(super) async fn get(&self, bundle: Option<&Path>, url: &Url, limit: usize) -> Result<Document, String> {
        tokio::time::timeout(self.timeout, exchange(&self.dialer, bundle, url, limit))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", self.timeout.as_secs())))
            .map_err(|why| format!("GET https://{}{}: {why}", url.authority, url.path))
    }
}

/// How long one document may take, from the look-up of the name to its last
/// byte.
const TIMEOUT: Duration = Duration::from_secs(5);

async fn exchange(dialer: &Dialer, bundle: Option<&Path>, url: &Url, limit: usize) -> Result<Document, String> {
    let tls = Roots::with_bundle(bundle).map_err(|error| dialer.place().bundle(&error).1)?.client(&[b"http/1.1"]);
    let stream =
        dialer.connect_tls(&url.host, url.port, &tls).await.map_err(|error| format!("{error}; {}", error.fix()))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(100)
        .max_buf_size(64 * 1024)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(url.path.as_str())
        .header(HOST, url.authority.as_str())
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("sluice/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        read(response, limit).await
    };
    // The connection lives in this future: whoever drops it closes it.
    let mut connection = Box::pin(connection);
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => {
            drop(connection);
            // What was read before is whole, or the answer knows that it is not.
            answer.await.map_err(|error| ended.err().map_or(error, |ended| ended.to_string()))
        }
    }
}

async fn read(response: Response<Incoming>, limit: usize) -> Result<Document, String> {
    let headers = response.headers();
    if response.status() != StatusCode::OK {
        let to = headers.get(LOCATION).map(|to| format!(", a redirect to {to:?}, which is not followed"));
        return Err(format!("the answer is {}{}", response.status(), to.unwrap_or_default()));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err("the answer is compressed, which was not asked for".to_owned());
    }
    let max_age = max_age(headers);
    let body = Limited::new(response.into_body(), limit).collect().await;
    let body = body.map_err(|error| format!("the body: {error} (at most {limit} bytes are read)"))?.to_bytes();
    Ok(Document { body, max_age })
}

/// RFC 9111 5.2.2.1; what must not be stored has no age.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = || headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut found = None;
    for directive in directives().flat_map(|value| value.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => found = value.trim_matches('"').parse().ok().map(Duration::from_secs),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_urls_are_fetched() {
        let url = Url::parse("https://Idp.example:8443/t/keys?v=2").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("idp.example", 8443, "/t/keys?v=2"));
        assert_eq!(Url::parse("https://[::1]/x").unwrap().host, "::1");
        assert_eq!(Url::parse("https://idp.example").unwrap().path, "/");
        for bad in
            ["http://idp.example/", "idp.example", "/keys", "https://user@idp.example/", "https:///x", "file:///x", ""]
        {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_age_is_what_the_server_says() {
        let age = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, http::HeaderValue::from_static(value));
            max_age(&headers)
        };
        assert_eq!(max_age(&HeaderMap::new()), None);
        assert_eq!(age("public, Max-Age=300"), Some(Duration::from_secs(300)));
        assert_eq!(age("max-age=300, no-store"), Some(Duration::ZERO));
        assert_eq!(age("max-age=soon"), None);
    }
}
