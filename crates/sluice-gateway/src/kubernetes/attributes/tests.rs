use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;
use sluice_core::kubernetes::{Patch, Request, Scope};

use super::attributes;
use crate::kubernetes::{Reject, body};

fn read(line: &str, headers: &[(&'static str, &'static str)]) -> Result<Request, Reject> {
    let (method, uri) = line.split_once(' ').unwrap();
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    attributes(&method.parse::<Method>().unwrap(), &uri.parse::<Uri>().unwrap(), &headers)
}

fn facts(request: &Request) -> String {
    match &request.scope {
        Scope::NonResource(path) => format!("{} {path}", request.verb),
        Scope::Resource(resource) => format!(
            "{} {} {} ns={} name={}",
            request.verb,
            resource.version,
            resource.qualified(),
            resource.namespace.as_deref().unwrap_or_default(),
            resource.name.as_deref().unwrap_or_default(),
        ),
    }
}

/// Each line: a request, and what `RequestInfoFactory` of
/// k8s.io/apiserver v0.36.3 made of it.
#[test]
fn golden_the_api_server_reads_the_same() {
    let lines: Vec<&str> = include_str!("testdata/requestinfo.txt").lines().collect();
    assert!(lines.len() >= 80);
    let mut wrong = Vec::new();
    for line in lines {
        let (request, expected) = line.split_once(" | ").unwrap();
        let headers: &[_] =
            if request.starts_with("PATCH") { &[("content-type", "application/merge-patch+json")] } else { &[] };
        match read(request, headers) {
            Ok(found) if facts(&found) == expected => {}
            found => wrong
                .push(format!("{request}: {:?}, but the API server: {expected}", found.map(|request| facts(&request)))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (line, named) in [
        ("get /api/v1/pods", "\"get\""),
        ("Delete /api/v1/namespaces/prod/pods/web", "\"Delete\""),
        ("CONNECT /api/v1/pods", "\"CONNECT\""),
        ("TRACE /api/v1/pods", "\"TRACE\""),
        ("OPTIONS /api/v1/pods", "\"OPTIONS\""),
        ("BREW /version", "\"BREW\""),
        ("GET //api/v1/pods", "empty segment"),
        ("GET /api//v1/pods", "empty segment"),
        ("GET /api/v1//pods", "empty segment"),
        ("GET /api/v1/pods//", "empty segment"),
        ("GET /api/v1/namespaces//pods", "empty segment"),
        ("GET /api/v1/namespaces/prod/pods/../secrets", "\"..\""),
        ("GET /api/v1/./pods", "\".\""),
        ("GET /api/v1/namespaces/prod/pods/%2e%2e/secrets", "\"..\""),
        ("GET /version/../api/v1/secrets", "\"..\""),
        ("GET /api/v1/namespaces/prod%2Fpods", "%2F"),
        ("GET /api%2fv1/pods", "%2F"),
        ("GET /api/v1/namespaces/prod/pods/a%252Fb", "%25"),
        ("GET /api/v1/namespaces/prod/pods/a%5Cb", "%5C"),
        ("GET /api/v1/pods%3Fwatch=true", "%3F"),
        ("GET /api/v1/pods%23", "%23"),
        ("GET /api/v1/pods%00", "%00"),
        ("GET /api/v1/pods%0a", "%0A"),
        ("GET /api/v1/pods%", "hexadecimal"),
        ("GET /api/v1/pods%4", "hexadecimal"),
        ("GET /api/v1/pods%ff", "UTF-8"),
        ("GET /api/v1/Pods", "\"Pods\""),
        ("GET /api/v1/namespaces/prod/Secrets", "\"Secrets\""),
        ("GET /api/v1/p%20ods", "\"p ods\""),
        ("GET /api/v1/pods%E2%80%8B", "group, version"),
        ("GET /apis/Apps/v1/deployments", "\"Apps\""),
        ("GET /api/v1/namespaces/Prod/pods", "\"Prod\""),
        ("GET /api/v1/namespaces/prod/pods/web/Exec", "\"Exec\""),
        ("GET /api/v1/watch", "\"watch\""),
        ("GET /api/v1/watch/", "\"watch\""),
        ("POST /api/v1/watch/pods", "\"watch\""),
        ("GET /api/v1/proxy/namespaces/prod/pods/web", "\"proxy\""),
        ("GET /api/v1/proxy", "\"proxy\""),
        ("GET /api/v1/pods?watch=true&watch=false", "more than once"),
        ("GET /api/v1/pods?watch=false&w%61tch=true", "more than once"),
        ("GET /api/v1/pods?watch=yes", "\"yes\""),
        ("GET /api/v1/pods?watch=2", "\"2\""),
        ("GET /api/v1/pods?a=1;watch=true", "\";\""),
        ("GET /api/v1/pods?watch=%", "hexadecimal"),
        ("GET /api/v1/pods?watch=%ff", "UTF-8"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a&fieldSelector=metadata.name=b", "more than once"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a,metadata.name=b", "two names"),
        ("GET /api/v1/pods?fieldSelector=metadata.name", "no operator"),
        ("GET /api/v1/pods?fieldSelector=metadata.name=a%5Cb", "not escaped"),
        ("GET /api/v1/pods?labelSelector=a&labelSelector=b", "more than once"),
        ("POST /api/v1/namespaces/prod/pods?dryRun=all", "\"all\""),
        ("POST /api/v1/namespaces/prod/pods?dryRun=", "\"\""),
        ("POST /api/v1/namespaces/prod/pods?dryRun=All&dryRun=None", "\"None\""),
        ("POST /api/v1/namespaces/prod/pods?fieldManager=a&fieldManager=b", "more than once"),
        ("OPTIONS *", "\"*\""),
    ] {
        match read(line, &[]) {
            Err(reject) => assert!(reject.to_string().contains(named), "{line}: {reject}"),
            Ok(request) => panic!("{line}: {}", facts(&request)),
        }
    }
}

#[test]
fn an_upgrade_is_create_on_its_subresource() {
    for (line, headers, verb) in [
        (
            "GET /api/v1/namespaces/a/pods/b/exec?command=sh",
            &[("connection", "Upgrade"), ("upgrade", "websocket")][..],
            "create",
        ),
        ("POST /api/v1/namespaces/a/pods/b/exec?command=sh", &[("upgrade", "SPDY/3.1")], "create"),
        ("GET /api/v1/namespaces/a/pods/b/exec", &[], "create"),
        ("GET /api/v1/namespaces/a/pods/b/attach", &[], "create"),
        ("GET /api/v1/namespaces/a/pods/b/portforward", &[], "create"),
        ("GET /api/v1/namespaces/a/services/b/proxy/ws", &[("connection", "keep-alive, UPGRADE")], "create"),
        ("GET /api/v1/pods?watch=true", &[("connection", "upgrade"), ("upgrade", "websocket")], "watch"),
        ("GET /version", &[("upgrade", "h2c")], "get"),
    ] {
        let request = read(line, headers).unwrap();
        assert!(request.upgrades, "{line}");
        assert!(request.changes_state(), "{line}");
        assert_eq!(request.verb, verb, "{line}");
    }
    let plain = read("GET /api/v1/namespaces/a/services/b/proxy/ws", &[("connection", "keep-alive")]).unwrap();
    assert!(!plain.upgrades);
    assert_eq!(plain.verb, "get");
}

#[test]
fn a_dry_run_counts_where_the_server_honours_it() {
    for (line, dry_run) in [
        ("POST /api/v1/namespaces/a/pods?dryRun=All", true),
        ("PUT /api/v1/namespaces/a/pods/b?dryRun=All&dryRun=All", true),
        ("DELETE /api/v1/namespaces/a/pods/b?dryRun=All", true),
        ("DELETE /api/v1/namespaces/a/pods?dryRun=All", true),
        ("POST /api/v1/namespaces/a/pods/b/eviction?dryRun=All", true),
        ("POST /api/v1/namespaces/a/pods", false),
        ("GET /api/v1/namespaces/a/pods?dryRun=All", false),
        ("POST /api/v1/namespaces/a/pods/b/exec?dryRun=All", false),
        ("POST /api/v1/namespaces/a/pods/b/proxy/x?dryRun=All", false),
        ("POST /api/v1/namespaces/a/serviceaccounts/b/token?dryRun=All", false),
        ("POST /version?dryRun=All", false),
    ] {
        assert_eq!(read(line, &[]).unwrap().dry_run, dry_run, "{line}");
    }
}

#[test]
fn headers_become_facts() {
    let request = read(
        "PATCH /apis/apps/v1/namespaces/a/deployments/b?fieldManager=kubectl&force=true",
        &[
            ("content-type", "application/apply-patch+yaml"),
            ("user-agent", "kubectl/v1.36.3"),
            ("kubectl-command", "kubectl apply"),
            ("impersonate-user", "admin"),
        ],
    )
    .unwrap();
    assert_eq!(request.patch, Some(Patch::Apply));
    assert_eq!(request.field_manager.as_deref(), Some("kubectl"));
    assert_eq!(request.user_agent.as_deref(), Some("kubectl/v1.36.3"));
    assert_eq!(request.kubectl_command.as_deref(), Some("kubectl apply"));
    assert!(request.impersonates);
    assert!(request.object.known().is_none());
    assert_eq!(request.path, "/apis/apps/v1/namespaces/a/deployments/b?fieldManager=kubectl&force=true");

    for name in [
        "impersonate-group",
        "impersonate-uid",
        "impersonate-extra-scopes",
        "x-remote-user",
        "x-remote-uid",
        "x-remote-group",
        "x-remote-extra-scopes",
    ] {
        assert!(read("GET /api/v1/pods", &[(name, "x")]).unwrap().impersonates);
    }
    for kind in ["application/json-patch+json", "application/json-patch+json; charset=utf-8"] {
        assert_eq!(read("PATCH /api/v1/nodes/n", &[("content-type", kind)]).unwrap().patch, Some(Patch::Json));
    }
    for kind in ["", "application/json", "Application/json-patch+json", "application/json-patch+json ;x"] {
        assert_eq!(read("PATCH /api/v1/nodes/n", &[("content-type", kind)]).unwrap_err().code, 415, "{kind}");
    }
    assert!(read("PATCH /api/v1/nodes/n", &[]).is_err());
}

#[test]
fn connection_does_not_take_away_what_was_decided_on() {
    for value in [
        "content-type",
        "close, Content-Type",
        "accept",
        "Accept-Encoding",
        "impersonate-user",
        "authorization",
        "content-length",
    ] {
        let reject = read("POST /api/v1/namespaces/a/pods", &[("connection", value)]).unwrap_err();
        assert!(reject.to_string().contains("Connection"), "{reject}");
    }
    for value in ["keep-alive", "close", "keep-alive, x-trace", ""] {
        assert!(read("POST /api/v1/namespaces/a/pods", &[("connection", value)]).is_ok(), "{value}");
    }
}

#[test]
fn a_long_user_agent_is_cut_at_a_character() {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_bytes("é".repeat(300).as_bytes()).unwrap());
    let request = attributes(&Method::GET, &Uri::from_static("/version"), &headers).unwrap();
    assert_eq!(request.user_agent.unwrap(), "é".repeat(128));
    headers.insert("user-agent", HeaderValue::from_bytes(b"a\xff").unwrap());
    let request = attributes(&Method::GET, &Uri::from_static("/version"), &headers).unwrap();
    assert_eq!(request.user_agent.unwrap(), "a\u{fffd}");
}

#[test]
fn which_bodies_are_read() {
    for (line, plan) in [
        ("GET /api/v1/pods", body::Plan::Empty),
        ("HEAD /version", body::Plan::Empty),
        ("POST /api/v1/namespaces/a/pods", body::Plan::Read),
        ("DELETE /api/v1/namespaces/a/pods/b", body::Plan::Read),
        ("POST /api/v1/namespaces/a/pods/b/eviction", body::Plan::Read),
        ("POST /api/v1/namespaces/a/pods/b/proxy/upload", body::Plan::Stream),
        ("POST /api/v1/namespaces/a/pods/b/exec", body::Plan::Stream),
        ("POST /version", body::Plan::Stream),
    ] {
        let request = read(line, &[]).unwrap();
        assert_eq!(body::plan(&request), plan, "{line}");
        assert_eq!(request.object.known().is_some(), plan == body::Plan::Empty, "{line}");
    }
}

proptest! {
    #![proptest_config(crate::kubernetes::fixed_cases())]

    #[test]
    fn attributes_never_panic(method in "[A-Za-z]{1,8}", path in "[!-~]{0,40}", query in "[!-~]{0,40}", header in "[ -~]{0,40}") {
        let Ok(uri) = format!("/{path}?{query}").parse::<Uri>() else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_str(&header).unwrap());
        let _ = attributes(&method.parse().unwrap(), &uri, &headers);
    }

    /// Whatever is accepted names the parts of its own path, in order.
    #[test]
    fn parts_are_those_of_the_path(
        segments in prop::collection::vec(prop_oneof![
            Just("api"), Just("apis"), Just("v1"), Just("apps"), Just("namespaces"), Just("pods"), Just("secrets"), Just("watch"),
            Just("proxy"), Just("status"), Just("web"), Just("exec"), Just("%2e"), Just("%70ods"), Just(""), Just("a%2Fb"),
        ], 0..9),
        method in prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::PUT), Just(Method::DELETE)],
    ) {
        let path = format!("/{}", segments.join("/"));
        let Ok(request) = attributes(&method, &path.parse().unwrap(), &HeaderMap::new()) else { return Ok(()) };
        let decoded = path.replace("%70", "p");
        prop_assert!(!path.contains("%2"));
        match request.scope {
            Scope::NonResource(path) => prop_assert_eq!(path, decoded),
            Scope::Resource(resource) => {
                let mut at = 0;
                for part in [Some(resource.group), Some(resource.version), resource.namespace.filter(|_| resource.resource != "namespaces"), Some(resource.resource), resource.name, resource.subresource].into_iter().flatten() {
                    let found = decoded[at..].find(&part);
                    prop_assert!(found.is_some(), "{} in {}", part, decoded);
                    at += found.unwrap_or_default() + part.len();
                }
            }
        }
    }
}
