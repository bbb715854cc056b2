//! What is masked cannot be guessed: the answer to a write says the same of a
//! right guess and of a wrong one, and nobody else's words say the value.

use std::fs;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice_testkit::{Cluster, Namespace, Request, Response, Seat, eventually};

use crate::clients::Ways;
use crate::world::{EVERYTHING, Real, assert_denied, reached_the_api_server};

seats!(
    an_immutable_secret_answers_every_guess_alike,
    a_dry_run_tells_nothing_of_values,
    words_of_admission_are_withheld,
    kubectl_applies_key_by_key,
);

const PASSWORD: &str = "correct-horse-battery-staple";
const WRONG: &str = "another-horse-battery-staple";

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A gateway that lets developers do everything, and a namespace with Secrets.
struct Setting {
    real: Real,
    namespace: Namespace,
}

impl Setting {
    fn start(seat: Seat) -> Result<Self> {
        let real = Real::start(seat, EVERYTHING)?;
        let namespace = real.cluster.namespace()?;
        Ok(Self { real, namespace })
    }

    /// Makes a Secret with the password; its path.
    fn secret(&self, name: &str, immutable: bool) -> Result<String> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"admission": name}},
            "immutable": immutable,
            "data": {"password": STANDARD.encode(PASSWORD), "user": STANDARD.encode("app")},
        });
        self.namespace.make(&self.namespace.core("secrets"), &secret)?;
        Ok(self.namespace.core(&format!("secrets/{name}")))
    }

    /// The Secret as it is stored.
    fn stored(&self, path: &str) -> Result<Value> {
        self.real.cluster.admin(Request::get(path))?.expect(200)?.json()
    }
}

/// One guess in every form of a patch.
fn guesses(value: &str) -> [(&'static str, String); 4] {
    let encoded = STANDARD.encode(value);
    [
        (MERGE, json!({"data": {"password": encoded}}).to_string()),
        (MERGE, json!({"stringData": {"password": value}}).to_string()),
        (STRATEGIC, json!({"data": {"password": encoded}}).to_string()),
        (JSON, json!([{"op": "replace", "path": "/data/password", "value": encoded}]).to_string()),
    ]
}

fn patch(path: &str, kind: &str, body: &str) -> Request {
    Request::new("PATCH", path).body(kind, body)
}

/// Whether a text has the password in it, in either spelling.
fn shows(text: &str) -> bool {
    text.contains(PASSWORD) || text.contains(&STANDARD.encode(PASSWORD))
}

fn an_immutable_secret_answers_every_guess_alike(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    let path = setting.secret("fixed", true)?;
    let before = setting.stored(&path)?;
    for ((kind, right), (_, wrong)) in guesses(PASSWORD).into_iter().zip(guesses(WRONG)) {
        let direct = |body: &str| setting.real.cluster.admin(patch(&path, kind, body));
        ensure!(
            direct(&right)?.status == 200 && direct(&wrong)?.status == 422,
            "{right} does not tell, asked directly"
        );

        let (right_answer, wrong_answer) =
            (setting.real.ask(patch(&path, kind, &right))?, setting.real.ask(patch(&path, kind, &wrong))?);
        assert_eq!(right_answer.status, 422, "{right}: {}", right_answer.text());
        assert_eq!(right_answer.status, wrong_answer.status, "{wrong}: {}", wrong_answer.text());
        assert_eq!(right_answer.text(), wrong_answer.text(), "{right}");
        ensure!(right_answer.text().contains("sluice withholds"), "{}", right_answer.text());
    }
    for (kind, body) in [
        (MERGE, json!({"immutable": true, "data": {"password": STANDARD.encode(PASSWORD)}})),
        (STRATEGIC, json!({"immutable": true, "stringData": {"password": PASSWORD}})),
        (
            JSON,
            json!([
                {"op": "add", "path": "/data/password", "value": STANDARD.encode(PASSWORD)},
                {"op": "add", "path": "/immutable", "value": true},
            ]),
        ),
    ] {
        let answer = setting.real.ask(patch(&path, kind, &body.to_string()))?;
        assert_denied(&answer, 403, &["immutable"]).with_context(|| body.to_string())?;
    }
    assert_eq!(setting.stored(&path)?["data"], before["data"]);
    assert_eq!(setting.stored(&path)?["immutable"], true);
    setting.real.ask(patch(&path, MERGE, r#"{"metadata": {"labels": {"touched": "yes"}}}"#))?.expect(200)?;
    Ok(())
}

fn a_dry_run_tells_nothing_of_values(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    let path = setting.secret("db", false)?;
    // The API server's own log knows who asked by this word.
    let word = format!("guess-in-{}", setting.namespace.name);
    let dry = format!("{path}?dryRun=All&fieldManager={word}");
    let before = setting.stored(&path)?;
    for value in [PASSWORD, WRONG] {
        for (kind, body) in guesses(value) {
            let answer = setting.real.ask(patch(&dry, kind, &body))?;
            assert_denied(&answer, 403, &["dry run"]).with_context(|| body)?;
        }
        let whole = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": value},
        });
        let put = Request::new("PUT", dry.clone()).json(&whole);
        assert_denied(&setting.real.ask(put)?, 403, &["PUT", "kubectl patch"])?;
        let apply = patch(&format!("{dry}&force=true"), APPLY, &whole.to_string());
        assert_denied(&setting.real.ask(apply)?, 403, &["apply", "kubectl patch"])?;
    }
    ensure!(!reached_the_api_server(setting.real.cluster, &word)?, "a guess reached the API server");
    assert_eq!(setting.stored(&path)?, before, "the Secret has changed");

    let labels = setting.real.ask(patch(&dry, MERGE, r#"{"metadata": {"labels": {"a": "b"}}}"#))?.expect(200)?;
    ensure!(!shows(&labels.text()) && labels.text().contains("password"), "{}", labels.text());
    ensure!(reached_the_api_server(setting.real.cluster, &word)?, "the log does not have the word");
    Ok(())
}

/// An admission policy that says the password of the Secrets with its label
/// when they change. Deleted when dropped.
struct Telltale {
    cluster: &'static Cluster,
    name: String,
}

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";

impl Telltale {
    fn install(setting: &Setting, label: &str, reason: &str, action: &str) -> Result<Self> {
        let cluster = setting.real.cluster;
        let telltale = Self { cluster, name: format!("{}-{label}", setting.namespace.name) };
        let namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": setting.namespace.name}});
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": telltale.name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"namespaceSelector": namespace, "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE", "DELETE"], "resources": ["secrets"],
                }]},
                "validations": [{
                    "expression": "false", "reason": reason,
                    "messageExpression": "'it is ' + string(oldObject.data.password)",
                }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": telltale.name},
            "spec": {
                "policyName": telltale.name, "validationActions": [action],
                "matchResources": {"objectSelector": {"matchLabels": {"admission": label}}},
            },
        });
        for (path, object) in [(POLICIES.to_owned(), policy), (bindings(), binding)] {
            cluster.admin(Request::new("POST", path).json(&object))?.expect(201)?;
        }
        Ok(telltale)
    }
}

impl Drop for Telltale {
    fn drop(&mut self) {
        // It matches nothing but a namespace whose name is never used twice.
        for path in [bindings(), POLICIES.to_owned()] {
            let _ = self.cluster.admin(Request::new("DELETE", format!("{path}/{}", self.name)));
        }
    }
}

fn bindings() -> String {
    POLICIES.replace("policies", "policybindings")
}

fn words_of_admission_are_withheld(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    let label = r#"{"metadata": {"labels": {"touched": "yes"}}}"#;
    for (name, reason, status) in [("invalid", "Invalid", 422), ("forbidden", "Forbidden", 403)] {
        let path = setting.secret(name, false)?;
        let _telltale = Telltale::install(&setting, name, reason, "Deny")?;
        for request in [patch(&path, MERGE, label), Request::new("DELETE", path.clone())] {
            eventually("the policy to say the password", || {
                // Not the Secret itself: a policy that does not hold yet would let it go.
                let asked = patch(&path, MERGE, label);
                let direct = setting.real.cluster.admin(asked)?.expect(status)?;
                ensure!(shows(&direct.text()), "{}", direct.text());
                Ok(())
            })?;
            let method = request.method.clone();
            let answer = setting.real.ask(request)?;
            assert_eq!(answer.status, status, "{method} {name}: {}", answer.text());
            ensure!(!shows_anywhere(&answer), "{method} {name}: {}", answer.text());
            ensure!(answer.text().contains("sluice withholds"), "{method} {name}: {}", answer.text());
        }
        setting.stored(&path)?;
    }

    let path = setting.secret("warned", false)?;
    let _telltale = Telltale::install(&setting, "warned", "Invalid", "Warn")?;
    eventually("the policy to warn with the password", || {
        let direct = setting.real.cluster.admin(patch(&path, MERGE, label))?.expect(200)?;
        ensure!(direct.header("warning").is_some_and(shows), "{:?}", direct.headers);
        Ok(())
    })?;
    let answer = setting.real.ask(patch(&path, MERGE, label))?.expect(200)?;
    ensure!(!shows_anywhere(&answer) && answer.header("warning").is_none(), "{:?}", answer.headers);
    Ok(())
}

fn shows_anywhere(answer: &Response) -> bool {
    shows(&answer.text()) || shows(&format!("{:?}", answer.headers))
}

fn kubectl_applies_key_by_key(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    let path = setting.secret("db", false)?;
    let ways = Ways::new(&setting.real, seat)?;
    let manifest = setting.real.gateway.folder().join("secret.yaml");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": setting.namespace.name},
        "data": {"password": STANDARD.encode(WRONG)},
    });
    fs::write(&manifest, secret.to_string())?;
    let manifest = manifest.to_str().context("a path in UTF-8")?;
    let before = setting.stored(&path)?;
    for (more, word) in [("--server-side", "kubectl patch"), ("--dry-run=server", "dry run")] {
        let refused = ways.kubectl(&ways.through, &["apply", "--filename", manifest, more])?;
        assert_eq!(refused.status.code(), Some(1), "{more}: {}{}", refused.stdout, refused.stderr);
        ensure!(refused.stderr.contains(word), "{more}: {}", refused.stderr);
        ensure!(!shows(&refused.stderr) && !shows(&refused.stdout), "{more}: {}{}", refused.stdout, refused.stderr);
    }
    assert_eq!(setting.stored(&path)?, before, "the Secret has changed");

    let applied = ways.kubectl(&ways.through, &["apply", "--filename", manifest])?;
    ensure!(applied.status.success(), "{}", applied.stderr);
    let stored = setting.stored(&path)?;
    assert_eq!(stored["data"]["password"], STANDARD.encode(WRONG));
    assert_eq!(stored["data"]["user"], STANDARD.encode("app"), "the other key stays");
    Ok(())
}
