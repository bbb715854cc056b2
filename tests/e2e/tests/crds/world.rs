use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sluice_testkit::{Cluster, Request, Response, eventually};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Objects of a YAML file.
pub(crate) fn yaml(path: &Path) -> Result<Vec<Value>> {
    use serde::Deserialize;
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_norway::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).with_context(|| path.display().to_string()))
        .filter(|document| document.as_ref().map_or(true, |document| !document.is_null()))
        .collect()
}

/// Objects of the files of a folder, in the order of their names.
pub(crate) fn folder(path: &str) -> Result<Vec<Value>> {
    let path = root().join(path);
    let mut files: Vec<PathBuf> = fs::read_dir(&path)
        .with_context(|| path.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files.iter().map(|file| yaml(file)).collect::<Result<Vec<_>>>()?.concat())
}

/// Cluster-scoped objects of a test, deleted when dropped.
pub(crate) struct Made {
    cluster: &'static Cluster,
    paths: Vec<String>,
}

impl Made {
    pub(crate) fn new(cluster: &'static Cluster) -> Self {
        Self { cluster, paths: Vec::new() }
    }

    /// Makes an object in the collection at `path`.
    pub(crate) fn make(&mut self, path: &str, object: &Value) -> Result<()> {
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let answer = self.cluster.admin(Request::new("POST", path).json(object))?;
        if answer.status != 201 {
            bail!("{name}: {}", answer.text());
        }
        self.paths.push(format!("{path}/{name}"));
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            let _ = self.cluster.admin(Request::new("DELETE", path));
        }
    }
}

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
pub(crate) const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

/// Makes admission policies of the chart under names that end in `suffix`,
/// after `change` has seen policy and binding.
pub(crate) fn policies(
    made: &mut Made,
    suffix: &str,
    wanted: &dyn Fn(&str) -> bool,
    change: &dyn Fn(&mut Value, &mut Value),
) -> Result<()> {
    let objects = folder("charts/sluice/files/policies")?;
    for pair in objects.chunks(2) {
        let [policy, binding] = pair else { bail!("a policy without binding") };
        let name = policy["metadata"]["name"].as_str().context("a name")?;
        if !wanted(name) {
            continue;
        }
        let own = format!("{name}-{suffix}");
        let (mut policy, mut binding) = (policy.clone(), binding.clone());
        policy["metadata"]["name"] = json!(own);
        binding["metadata"]["name"] = json!(own);
        binding["spec"]["policyName"] = json!(own);
        change(&mut policy, &mut binding);
        made.make(POLICIES, &policy)?;
        made.make(BINDINGS, &binding)?;
    }
    Ok(())
}

/// What an API server said: empty when it took the object, else its message.
pub(crate) fn said(answer: &Response) -> Result<String> {
    if (200..300).contains(&answer.status) {
        return Ok(String::new());
    }
    Ok(answer.json()?["message"].as_str().context("a Status has a message")?.to_owned())
}

/// Waits until the API server refuses in words that hold `words`: a policy
/// takes a moment to count.
pub(crate) fn until_refused(words: &str, ask: impl Fn() -> Result<Response>) -> Result<()> {
    eventually(words, || {
        let message = said(&ask()?)?;
        if message.contains(words) { Ok(()) } else { bail!("it says `{message}`") }
    })
}

/// Lays `patch` over `base` (RFC 7386).
pub(crate) fn merge(base: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(patch)) = (&mut *base, patch) else {
        *base = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert_with(|| json!({})), value);
        }
    }
}
