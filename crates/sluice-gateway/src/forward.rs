//! From a permitted request to the server's answer. What belongs to one hop
//! stays there (RFC 9110 section 7.6.1); all else passes as it is.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Uri, Version};
use hyper::Response;
use hyper::body::Incoming;
use sluice_policy::Permit;

use crate::http::upstream::{Dial, Outgoing, OutgoingBody, Upstream, UpstreamError};
use crate::tls::Alpn;

/// A declared purpose; ours, so it goes no further.
pub(crate) const INTENT_HEADER: &str = "x-sluice-intent";

/// Sends what was permitted, once. The permit is used up by it.
pub(crate) async fn forward<D: Dial>(
    permit: Permit,
    upstream: &Upstream<D>,
    outgoing: Outgoing,
) -> Result<Response<Incoming>, UpstreamError> {
    drop(permit);
    upstream.send(outgoing).await
}

/// The request as it leaves.
pub(crate) fn outgoing(
    mut head: http::request::Parts,
    body: OutgoingBody,
    authority: &str,
    alpn: Alpn,
    repeatable: bool,
) -> Result<Outgoing, http::Error> {
    strip_hop_by_hop(&mut head.headers);
    head.headers.remove(INTENT_HEADER);
    // The body is here already, or is asked for by reading it.
    head.headers.remove(header::EXPECT);
    match alpn {
        Alpn::Http1 => {
            if head.uri.authority().is_some() || head.uri.path_and_query().is_none() {
                head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse::<Uri>()?;
            }
            if head.headers.get(header::HOST).is_none_or(|host| host.as_bytes() != authority.as_bytes()) {
                head.headers.insert(header::HOST, HeaderValue::from_str(authority)?);
            }
            head.version = Version::HTTP_11;
        }
        Alpn::Http2 => {
            let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
            head.uri = Uri::builder().scheme("https").authority(authority).path_and_query(path).build()?;
            head.headers.remove(header::HOST);
            head.version = Version::HTTP_2;
        }
    }
    Ok(Outgoing { head, body, repeatable })
}

/// Removes fields that describe the connection and not the message, and those
/// that `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not be able to take these out of a request.
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings"]
    {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_hop_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-One, authorization"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("te", "trailers"),
            ("authorization", "Bearer x"),
            ("upgrade", "h2c"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "x-two"]);
    }

    #[test]
    fn the_target_is_named_as_the_protocol_does() {
        let head = || {
            let request = http::Request::get("https://127.0.0.1:9/api?x=1")
                .header("host", "127.0.0.1:9")
                .header(INTENT_HEADER, "y");
            request.body(()).expect("request").into_parts().0
        };
        let one = outgoing(head(), OutgoingBody::Whole(bytes::Bytes::new()), "api.example:6443", Alpn::Http1, true)
            .expect("h1");
        assert_eq!(one.head.uri, "/api?x=1");
        assert_eq!(one.head.headers["host"], "api.example:6443");
        assert!(!one.head.headers.contains_key(INTENT_HEADER));
        let two =
            outgoing(head(), OutgoingBody::Whole(bytes::Bytes::new()), "api.example", Alpn::Http2, true).expect("h2");
        assert_eq!(two.head.uri, "https://api.example/api?x=1");
        assert!(!two.head.headers.contains_key("host"));
    }
}
