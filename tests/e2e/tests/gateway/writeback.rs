//! What was masked must not be written back.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice_testkit::{Request, Seat};

use crate::world::{EVERYTHING, Real, assert_denied};

seats!(masked_values_are_not_written_back, one_key_can_be_changed);

const PASSWORD: &str = "correct-horse-battery-staple";

struct Setting {
    real: Real,
    namespace: sluice_testkit::Namespace,
    path: String,
    /// As a developer sees it.
    masked: Value,
}

impl Setting {
    fn start(seat: Seat) -> Result<Self> {
        let real = Real::start(seat, EVERYTHING)?;
        let namespace = real.cluster.namespace()?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"},
            "data": {"password": STANDARD.encode(PASSWORD), "user": STANDARD.encode("app")},
        });
        namespace.make(&namespace.core("secrets"), &secret)?;
        let path = namespace.core("secrets/db");
        let masked = real.ask(Request::get(path.clone()))?.expect(200)?.json()?;
        Ok(Self { real, namespace, path, masked })
    }

    /// The Secret as it is stored.
    fn stored(&self) -> Result<Value> {
        self.real.cluster.admin(Request::get(self.path.clone()))?.expect(200)?.json()
    }
}

fn masked_values_are_not_written_back(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    let marker = setting.masked["data"]["password"].as_str().context("a masked value is a text")?.to_owned();
    let plain = String::from_utf8(STANDARD.decode(&marker)?)?;
    let shifted = STANDARD.encode(format!("x{plain}"));
    let mut metadata_only = setting.masked.clone();
    metadata_only["metadata"]["labels"] = json!({"touched": "yes"});
    let escaped: String = plain.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
    let json_body =
        |kind: &str, value: Value| Request::new("PATCH", setting.path.clone()).body(kind, value.to_string());
    let copy = |name: &str, field: &str, value: &str| {
        let object =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, field: {"password": value}});
        Request::new("POST", setting.namespace.core("secrets")).json(&object)
    };
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "copy"}, "data": {"password": plain}});
    let yaml = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: yaml}}\ndata: {{password: {marker}}}\n");
    let cases = [
        ("PUT of what was read", Request::new("PUT", setting.path.clone()).json(&setting.masked)),
        ("PUT with a label more", Request::new("PUT", setting.path.clone()).json(&metadata_only)),
        ("merge patch", json_body("application/merge-patch+json", json!({"data": {"password": marker}}))),
        ("strategic patch", json_body("application/strategic-merge-patch+json", json!({"stringData": {"password": plain}}))),
        ("JSON patch", json_body("application/json-patch+json", json!([{"op": "replace", "path": "/data/password", "value": marker}]))),
        ("escaped JSON", Request::new("PATCH", setting.path.clone()).body("application/merge-patch+json", format!(r#"{{"stringData": {{"p": "{escaped}"}}}}"#))),
        ("a copy", copy("copy", "data", &marker)),
        ("a copy in plain", copy("copy", "stringData", &plain)),
        ("a copy at another alignment", copy("copy", "data", &shifted)),
        ("a copy inside words", copy("copy", "stringData", &format!("postgres://app:{plain}@db"))),
        ("a copy in YAML", Request::new("POST", setting.namespace.core("secrets")).body("application/yaml", yaml.clone())),
        ("apply", Request::new("PATCH", format!("{}?fieldManager=e2e&force=true", setting.namespace.core("secrets/yaml"))).body("application/apply-patch+yaml", yaml)),
        ("a copy in a config map", Request::new("POST", setting.namespace.core("configmaps")).json(&map)),
        ("JSON patch that tests a value", json_body("application/json-patch+json", json!([{"op": "test", "path": "/data/password", "value": STANDARD.encode(PASSWORD)}]))),
        ("JSON patch that copies a value", json_body("application/json-patch+json", json!([{"op": "copy", "from": "/data/password", "path": "/metadata/labels/x"}]))),
        ("JSON patch that moves a value", json_body("application/json-patch+json", json!([{"op": "move", "from": "/data/password", "path": "/metadata/annotations"}]))),
        ("PUT of other values", Request::new("PUT", setting.path.clone()).json(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": {"password": "eA=="}}))),
    ];
    let before = setting.stored()?;
    for (what, request) in cases {
        let response = setting.real.ask(request)?;
        assert_denied(&response, 403, &["patch"]).with_context(|| what.to_owned())?;
    }
    assert_eq!(setting.stored()?, before, "the Secret has changed");
    let copy = setting.real.cluster.admin(Request::get(setting.namespace.core("configmaps/copy")))?;
    assert_eq!(copy.status, 404, "a config map with a marker was made");
    Ok(())
}

fn one_key_can_be_changed(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    let patch = Request::new("PATCH", setting.path.clone()).body(
        "application/merge-patch+json",
        r#"{"stringData": {"user": "other"}, "metadata": {"labels": {"a": "b"}}}"#,
    );
    let answer = setting.real.ask(patch)?.expect(200)?;
    ensure!(!answer.text().contains(&STANDARD.encode("other")), "the answer shows the value: {}", answer.text());
    let stored = setting.stored()?;
    assert_eq!(stored["data"]["user"], STANDARD.encode("other"));
    assert_eq!(stored["data"]["password"], STANDARD.encode(PASSWORD), "the other key stays");
    Ok(())
}
