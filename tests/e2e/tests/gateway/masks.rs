//! The values of Secrets never reach the agent, in whatever form it asks.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice_testkit::{Namespace, Protocol, Request, Response, Seat};

use crate::clients::Ways;
use crate::world::{EVERYTHING, Real, real};

seats!(
    values_are_masked_in_every_representation,
    values_are_masked_in_a_watch,
    answers_to_writes_are_masked,
    refusals_of_patches_do_not_quote_the_secret,
    kubectl_shows_masks,
    some_may_see
);

/// What must never be seen, and in which spellings it could be.
struct Hidden {
    namespace: Namespace,
    values: Vec<String>,
}

impl Hidden {
    fn make(real: &Real) -> Result<Self> {
        let namespace = real.cluster.namespace()?;
        let (password, token) = ("correct-horse-battery-staple", "gAAAAABm-token-of-nobody");
        let applied = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": namespace.name},
            "stringData": {"password": password},
        });
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": "db", "labels": {"app": "db"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied.to_string(), "note": "kept"},
            },
            "data": {"password": STANDARD.encode(password), "token": STANDARD.encode(token), "empty": ""},
        });
        namespace.make(&namespace.core("secrets"), &secret)?;
        let values = [password, token].iter().flat_map(|value| [(*value).to_owned(), STANDARD.encode(value)]).collect();
        Ok(Self { namespace, values })
    }

    /// Fails when any spelling of a value is in the bytes.
    fn check(&self, what: &str, bytes: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(bytes);
        for value in &self.values {
            ensure!(!text.contains(value.as_str()), "{what} shows {value}:\n{text}");
        }
        Ok(())
    }
}

/// The body as a client would read it.
fn plain(response: &Response) -> Result<Vec<u8>> {
    if response.header("content-encoding") != Some("gzip") {
        return Ok(response.body.clone());
    }
    let mut child = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let body = response.body.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    Ok(output.stdout)
}

fn values_are_masked_in_every_representation(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let hidden = Hidden::make(&real)?;
    let one = hidden.namespace.core("secrets/db");
    let all = hidden.namespace.core("secrets");
    let everywhere = format!("/api/v1/secrets?fieldSelector=metadata.namespace%3D{}", hidden.namespace.name);
    let accepts = [
        "",
        "*/*",
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/vnd.kubernetes.protobuf, application/json",
        "application/cbor",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=Table;v=v1;g=meta.k8s.io, application/json",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "application/json;stream=watch",
        "application/json-seq",
        "text/html;q=0.9, application/yaml;q=0.8, */*;q=0.1",
    ];
    let paths = [
        one.clone(),
        format!("{one}?pretty=true"),
        all.clone(),
        format!("{all}?limit=1"),
        format!("{all}?includeObject=Object"),
        format!("{all}?labelSelector=app%3Ddb&includeObject=Object"),
        everywhere,
        format!("{all}?watch=1&resourceVersion=0&timeoutSeconds=1"),
        format!("/api/v1/watch/namespaces/{}/secrets?timeoutSeconds=1", hidden.namespace.name),
    ];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = real.client(protocol)?;
        for path in &paths {
            // One second each: a watch is asked for in few forms.
            let accepts = if path.contains("watch") { &accepts[2..6] } else { &accepts[..] };
            for accept in accepts {
                for encoding in ["", "gzip"] {
                    let mut request = Request::get(path.clone()).bearer(&real.token);
                    if !accept.is_empty() {
                        request = request.header("accept", *accept);
                    }
                    if !encoding.is_empty() {
                        request = request.header("accept-encoding", encoding);
                    }
                    let response = client.send(&request)?;
                    let what = format!("{protocol:?} {path} as {accept:?} {encoding}: {}", response.status);
                    hidden.check(&what, &plain(&response)?)?;
                    hidden.check(&what, format!("{:?}", response.headers).as_bytes())?;
                }
            }
        }
    }
    let secret = real.ask(Request::get(one))?.expect(200)?.json()?;
    assert_eq!(secret["metadata"]["name"], "db");
    assert_eq!(secret["metadata"]["annotations"]["note"], "kept");
    let keys: Vec<_> = secret["data"].as_object().context("data is an object")?.keys().cloned().collect();
    assert_eq!(keys, ["empty", "password", "token"], "keys stay");
    let marker = STANDARD.decode(secret["data"]["password"].as_str().context("a value is a text")?)?;
    ensure!(String::from_utf8_lossy(&marker).contains("sluice-masked"), "{secret:#}");
    Ok(())
}

fn values_are_masked_in_a_watch(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let hidden = Hidden::make(&real)?;
    let mut raw = real.raw()?;
    let path = hidden
        .namespace
        .core("secrets?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    raw.send(Request::get(path).bearer(&real.token).to_http1(real.cluster.host()?))?;
    let (status, _) = raw.head()?;
    assert_eq!(status, 200);
    let mut events = Vec::new();
    let mut text = Vec::new();
    let mut patched = false;
    while events.len() < 3 {
        text.extend(raw.chunk()?.context("the watch ended")?);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            hidden.check("the watch", &line)?;
            events.push(serde_json::from_slice::<Value>(&line)?["type"].clone());
        }
        if !patched && events.iter().any(|kind| kind == "BOOKMARK") {
            patched = true;
            let patch = Request::new("PATCH", hidden.namespace.core("secrets/db"))
                .body("application/merge-patch+json", r#"{"metadata": {"labels": {"seen": "yes"}}}"#);
            real.cluster.admin(patch)?.expect(200)?;
        }
    }
    assert_eq!(events, ["ADDED", "BOOKMARK", "MODIFIED"]);
    Ok(())
}

fn answers_to_writes_are_masked(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let mut hidden = Hidden::make(&real)?;
    hidden.values.push("brand-new-password".to_owned());
    hidden.values.push(STANDARD.encode("brand-new-password"));
    let secrets = hidden.namespace.core("secrets");
    let fresh = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fresh"}, "stringData": {"password": "brand-new-password"},
    });
    let patch = r#"{"stringData": {"password": "brand-new-password"}}"#;
    let requests = [
        (201, Request::new("POST", secrets.clone()).json(&fresh)),
        (200, Request::new("PATCH", format!("{secrets}/db")).body("application/merge-patch+json", patch)),
        (200, Request::new("PATCH", format!("{secrets}/db")).body("application/strategic-merge-patch+json", patch)),
        (200, Request::new("DELETE", format!("{secrets}/fresh?propagationPolicy=Foreground"))),
        (200, Request::new("DELETE", secrets.clone())),
    ];
    for (status, request) in requests {
        for accept in ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"] {
            // What can be done once is asked for without effect but in the last form; a dry run of a patch is denied.
            let mut request = request.clone().header("accept", accept);
            if accept != "application/vnd.kubernetes.protobuf" && request.method != "PATCH" {
                let mark = if request.path.contains('?') { '&' } else { '?' };
                request.path = format!("{}{mark}dryRun=All", request.path);
            }
            let what = format!("{} {} as {accept}", request.method, request.path);
            let response = real.ask(request)?;
            hidden.check(&what, &plain(&response)?)?;
            assert_eq!(response.status, status, "{what}: {}", response.text());
        }
    }
    Ok(())
}

/// The API server quotes the whole patched object where it cannot read it.
fn refusals_of_patches_do_not_quote_the_secret(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let hidden = Hidden::make(&real)?;
    let one = hidden.namespace.core("secrets/db");
    for (kind, body) in [
        ("application/merge-patch+json", r#"{"metadata": {"labels": 5}}"#),
        ("application/merge-patch+json", r#"{"data": {"more": 5}}"#),
        ("application/json-patch+json", r#"[{"op": "add", "path": "/metadata/labels", "value": 5}]"#),
        ("application/json-patch+json", r#"[{"op": "add", "path": "/immutable", "value": "x"}]"#),
        ("application/strategic-merge-patch+json", r#"{"metadata": {"labels": 5}}"#),
    ] {
        let request = Request::new("PATCH", one.clone()).body(kind, body);
        let shown = real.cluster.admin(request.clone())?;
        ensure!(shown.status == 422, "direct: {}", shown.text());
        let answer = real.ask(request)?;
        ensure!(answer.status == 422, "{}", answer.text());
        hidden.check(body, &answer.body)?;
        ensure!(answer.text().contains("sluice withholds"), "{}", answer.text());
    }
    Ok(())
}

fn kubectl_shows_masks(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let hidden = Hidden::make(&real)?;
    let ways = Ways::new(&real, seat)?;
    let namespace = ["--namespace", &hidden.namespace.name];
    for line in [
        &["get", "secret", "db", "--output", "yaml"][..],
        &["get", "secret", "db", "--output", "json"],
        &["get", "secrets"],
        &["get", "secrets", "--output", "jsonpath={.items[*].data}"],
        &["describe", "secret", "db"],
        &["get", "secrets", "--show-managed-fields", "--output", "yaml"],
    ] {
        let finished = ways.kubectl(&ways.through, &[line, &namespace].concat())?;
        ensure!(finished.status.success(), "{line:?}: {}", finished.stderr);
        ensure!(!finished.stdout.is_empty(), "{line:?} says nothing");
        hidden.check(&format!("kubectl {line:?}"), finished.stdout.as_bytes())?;
    }
    let finished =
        ways.kubectl(&ways.through, &[&["get", "secret", "db", "--output", "yaml"][..], &namespace].concat())?;
    ensure!(finished.stdout.contains("password:"), "the keys are gone: {}", finished.stdout);
    Ok(())
}

fn some_may_see(seat: Seat) -> Result<()> {
    let masks = r#"
  masks:
  - name: secrets
    kubernetes: {secrets: Values}
    exceptFor: {groups: ["entra:break-glass"]}
"#;
    let real = Real::over(real(seat, EVERYTHING, masks)?)?;
    let hidden = Hidden::make(&real)?;
    let path = hidden.namespace.core("secrets/db");
    let response = real.ask(Request::get(path.clone()))?.expect(200)?;
    hidden.check("as a developer", &response.body)?;
    let token = real.cluster.token(&json!({"upn": "hero@example.com", "groups": ["developers", "break-glass"]}))?;
    let secret = real.ask_as(&token, Request::get(path))?.expect(200)?.json()?;
    assert_eq!(secret["data"]["password"], STANDARD.encode("correct-horse-battery-staple"));
    Ok(())
}
