//! Secrets come in JSON, uncompressed: the one form that can be masked while
//! it streams. Other requests are untouched.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use sluice_core::kubernetes::Request;

use super::carries_secrets;

/// What to do with the body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It carries no Secrets.
    Untouched,
    /// It goes through a masker; its length changes.
    Masked,
    /// It cannot be masked, and why: answer with
    /// [`Status::withheld`](super::Status::withheld).
    Withheld(String),
}

/// Narrows what the API server may answer to a request that is to be masked.
/// Call it with the headers that go upstream.
pub fn narrow(request: &Request, headers: &mut HeaderMap) {
    if !carries_secrets(request) {
        return;
    }
    let accept = json_clauses(headers);
    headers.insert(header::ACCEPT, accept);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for name in [header::RANGE, header::IF_RANGE, header::TE] {
        headers.remove(name);
    }
}

/// How the body of the answer to a request that is to be masked is read.
pub fn reading(request: &Request, status: StatusCode, headers: &HeaderMap) -> Reading {
    if !carries_secrets(request) {
        return Reading::Untouched;
    }
    let bodyless = request.method == "HEAD" || matches!(status.as_u16(), 100..=199 | 204 | 304);
    let empty = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
    if bodyless || empty {
        return Reading::Untouched;
    }
    if admitted(request) && quotes(status) {
        return Reading::Withheld(format!("its words about a refused {} can quote the whole Secret", request.verb));
    }
    if status == StatusCode::PARTIAL_CONTENT {
        return Reading::Withheld("it is a part of a document".to_owned());
    }
    if let Some(coding) = only(headers, &header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        return Reading::Withheld(format!("its Content-Encoding is {coding:.40}"));
    }
    match only(headers, &header::CONTENT_TYPE) {
        Some(kind) if essence(kind) == "application/json" => Reading::Masked,
        Some(kind) => Reading::Withheld(format!("its Content-Type is {kind:.80}")),
        None => Reading::Withheld("it has no Content-Type".to_owned()),
    }
}

/// Takes out what an answer that is to be masked says beside its body: who admits
/// a write sees the whole Secret, and what it warns of is its own text.
pub fn without_warnings(request: &Request, headers: &mut HeaderMap) {
    if carries_secrets(request) && admitted(request) {
        headers.remove(header::WARNING);
    }
}

/// Whether webhooks and admission policies see more of a Secret than what was
/// sent.
fn admitted(request: &Request) -> bool {
    matches!(request.verb.as_str(), "update" | "patch" | "delete" | "deletecollection")
}

/// Whether the message of such an answer may hold the object: where a patched one
/// cannot be decoded, the API server says so with all of it; and webhooks and
/// admission policies refuse in words of their own, with 400, 403 or 422 where
/// they say no other code.
fn quotes(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY)
        || status.is_server_error()
}

/// The clauses that ask for JSON, `as=Table` and the like kept; wildcards
/// become JSON.
fn json_clauses(headers: &HeaderMap) -> HeaderValue {
    let mut kept: Vec<String> = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        for clause in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            let (kind, parameters) = clause.split_once(';').map_or((clause, ""), |(kind, rest)| (kind, rest));
            if !matches!(kind.trim().to_ascii_lowercase().as_str(), "application/json" | "application/*" | "*/*") {
                continue;
            }
            let narrowed = match parameters {
                "" => "application/json".to_owned(),
                parameters => format!("application/json;{parameters}"),
            };
            if !kept.contains(&narrowed) {
                kept.push(narrowed);
            }
        }
    }
    HeaderValue::from_str(&kept.join(", "))
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or(HeaderValue::from_static("application/json"))
}

/// The value of a header; several become one that fits nothing.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { Some("given more than once") } else { Some(first.to_str().unwrap_or("not ASCII")) }
}

fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use http::{Method, Uri};

    use super::*;

    fn request(method: Method, uri: &'static str) -> Request {
        super::super::attributes(&method, &Uri::from_static(uri), &HeaderMap::new()).unwrap()
    }

    fn narrowed(accept: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        narrow(&request(Method::GET, "/api/v1/namespaces/a/secrets/b"), &mut headers);
        assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
        headers[header::ACCEPT].to_str().unwrap().to_owned()
    }

    #[test]
    fn only_json_is_asked_for() {
        for (asked, sent) in [
            ("application/json", "application/json"),
            ("application/vnd.kubernetes.protobuf,application/json", "application/json"),
            ("application/vnd.kubernetes.protobuf", "application/json"),
            ("application/yaml", "application/json"),
            ("application/cbor, */*", "application/json"),
            ("*/*", "application/json"),
            ("", "application/json"),
            ("application/json;q=0.5, application/*;q=0.1", "application/json;q=0.5, application/json;q=0.1"),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                "application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json",
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            ),
        ] {
            assert_eq!(narrowed(asked), sent, "{asked}");
        }
    }

    #[test]
    fn other_resources_are_untouched() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.kubernetes.protobuf"));
        let before = headers.clone();
        for uri in ["/api/v1/pods", "/apis/x.io/v1/secrets", "/version", "/api/v1/namespaces/secrets/pods"] {
            let request = request(Method::GET, uri);
            narrow(&request, &mut headers);
            assert_eq!(headers, before, "{uri}");
            assert_eq!(reading(&request, StatusCode::OK, &HeaderMap::new()), Reading::Untouched, "{uri}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_masked_is_withheld() {
        let list = request(Method::GET, "/api/v1/secrets");
        let read = |pairs: &[(header::HeaderName, &'static str)], code: u16| {
            let headers = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            reading(&list, StatusCode::from_u16(code).unwrap(), &headers)
        };
        let kind = header::CONTENT_TYPE;
        assert_eq!(read(&[(kind.clone(), "application/json")], 200), Reading::Masked);
        assert_eq!(read(&[(kind.clone(), "application/json; charset=utf-8")], 404), Reading::Masked);
        assert_eq!(read(&[], 304), Reading::Untouched);
        assert_eq!(read(&[(header::CONTENT_LENGTH, "0")], 200), Reading::Untouched);
        for (pairs, code) in [
            (vec![(kind.clone(), "application/vnd.kubernetes.protobuf")], 200),
            (vec![(kind.clone(), "application/yaml")], 200),
            (vec![(kind.clone(), "application/cbor")], 200),
            (vec![(kind.clone(), "text/plain")], 429),
            (vec![(kind.clone(), "application/json"), (header::CONTENT_ENCODING, "gzip")], 200),
            (vec![(kind.clone(), "application/json")], 206),
            (vec![], 200),
        ] {
            assert!(matches!(read(&pairs, code), Reading::Withheld(_)), "{pairs:?}");
        }
    }

    /// "patch: Invalid value: " and then the whole Secret, as text in a Status;
    /// "admission webhook denied the request: " and then anything.
    #[test]
    fn words_about_a_refused_write_are_withheld() {
        let mut json = HeaderMap::new();
        json.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut merge = HeaderMap::new();
        merge.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
        let uri = Uri::from_static("/api/v1/namespaces/a/secrets/b");
        let patch = super::super::attributes(&Method::PATCH, &uri, &merge).unwrap();
        let get = request(Method::GET, "/api/v1/namespaces/a/secrets/b");
        let delete = request(Method::DELETE, "/api/v1/namespaces/a/secrets/b");
        for (code, withheld) in [
            (200, false),
            (400, true),
            (401, false),
            (403, true),
            (404, false),
            (409, false),
            (422, true),
            (429, false),
            (500, true),
        ] {
            let status = StatusCode::from_u16(code).unwrap();
            for write in [&patch, &delete] {
                assert_eq!(matches!(reading(write, status, &json), Reading::Withheld(_)), withheld, "{code}");
            }
            assert_eq!(reading(&get, status, &json), Reading::Masked, "{code}");
        }
    }

    #[test]
    fn warnings_about_a_secret_are_taken_out() {
        for (method, uri, kept) in [
            (Method::DELETE, "/api/v1/namespaces/a/secrets/b", false),
            (Method::PUT, "/api/v1/namespaces/a/secrets/b", false),
            (Method::GET, "/api/v1/namespaces/a/secrets/b", true),
            (Method::DELETE, "/api/v1/namespaces/a/pods/b", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::WARNING, HeaderValue::from_static("299 - \"data.password is hunter2\""));
            without_warnings(&request(method.clone(), uri), &mut headers);
            assert_eq!(headers.contains_key(header::WARNING), kept, "{method} {uri}");
        }
    }

    #[test]
    fn every_verb_on_secrets_may_answer_with_one() {
        for (method, uri) in [
            (Method::GET, "/api/v1/watch/secrets"),
            (Method::POST, "/api/v1/namespaces/a/secrets"),
            (Method::PUT, "/api/v1/namespaces/a/secrets/b"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets"),
            (Method::GET, "/api/v1/namespaces/a/%73ecrets"),
        ] {
            assert!(carries_secrets(&request(method, uri)), "{uri}");
        }
    }
}
