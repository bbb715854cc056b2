//! Policies and providers.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_testkit::{Cluster, Namespace, Request, Response, eventually};

use crate::world::{DEFINITIONS, Made, folder, merge, policies, root, said, until_refused, yaml};

/// What the samples say where a tenant's id belongs.
const ZEROS: &str = "00000000-0000-0000-0000-000000000000";

/// The definitions in a group of the test's own.
struct World {
    cluster: &'static Cluster,
    namespace: Namespace,
    group: String,
    _made: Made,
}

impl World {
    fn new() -> Result<Self> {
        let cluster = Cluster::get()?;
        let namespace = cluster.namespace()?;
        let group = format!("{}.sluice.test", namespace.name);
        let mut made = Made::new(cluster);
        for mut definition in folder("manifests/crds")? {
            let plural = definition["spec"]["names"]["plural"].as_str().context("a plural")?.to_owned();
            definition["metadata"]["name"] = json!(format!("{plural}.{group}"));
            definition["spec"]["group"] = json!(group);
            // Short names and categories are the installed ones'.
            for field in ["shortNames", "categories"] {
                definition["spec"]["names"].as_object_mut().context("names")?.remove(field);
            }
            made.make(DEFINITIONS, &definition)?;
        }
        policies(&mut made, &namespace.name, &|name| name.starts_with("sluice-fields-"), &|policy, _| {
            policy["spec"]["matchConstraints"]["resourceRules"][0]["apiGroups"] = json!([group]);
        })?;
        let world = Self { cluster, namespace, group, _made: made };
        for kind in ["GatewayPolicy", "ClusterGatewayPolicy", "IdentityProvider"] {
            eventually(kind, || world.cluster.admin(Request::get(world.path(kind)))?.expect(200))?;
            let misspelt = json!({"kind": kind, "metadata": {"name": "a"}, "spec": {"issuers": ["https://a.example.com"], "x": 1}});
            until_refused("spec has a field that is not known", || world.create(&misspelt, "Ignore"))?;
        }
        Ok(world)
    }

    fn path(&self, kind: &str) -> String {
        let base = format!("/apis/{}/v1alpha1", self.group);
        match kind {
            "GatewayPolicy" => format!("{base}/namespaces/{}/gatewaypolicies", self.namespace.name),
            "ClusterGatewayPolicy" => format!("{base}/clustergatewaypolicies"),
            _ => format!("{base}/identityproviders"),
        }
    }

    fn create(&self, object: &Value, validation: &str) -> Result<Response> {
        let kind = object["kind"].as_str().context("a kind")?;
        let mut object = object.clone();
        object["apiVersion"] = json!(format!("{}/v1alpha1", self.group));
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        let path = format!("{}?dryRun=All&fieldValidation={validation}", self.path(kind));
        self.cluster.admin(Request::new("POST", path).json(&object))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Laid over the spec of the base of that kind.
    policy: Option<Value>,
    cluster: Option<Value>,
    provider: Option<Value>,
    /// Laid over the only rule, or target, of the policy.
    rule: Option<Value>,
    target: Option<Value>,
    /// What the API server says; absent: it accepts.
    refused: Option<String>,
}

fn bases() -> [Value; 3] {
    [
        json!({"kind": "GatewayPolicy", "metadata": {"name": "a"}, "spec": {
            "identity": {"providers": ["entra"]},
            "targets": [{"name": "prod", "kubernetes": {"server": "prod.example.com"}}],
            "rules": [{
                "name": "read", "subjects": {"groups": ["entra:developers"]}, "targets": ["prod"], "action": "Allow",
                "kubernetes": {"verbs": ["get"], "resources": ["pods"], "namespaces": ["dev"]},
            }],
        }}),
        json!({"kind": "ClusterGatewayPolicy", "metadata": {"name": "a"}, "spec": {
            "rules": [{"name": "never", "subjects": {"anyone": true}, "kubernetes": {"verbs": ["delete"]}, "action": "Deny"}],
        }}),
        json!({"kind": "IdentityProvider", "metadata": {"name": "a"}, "spec": {"issuers": ["https://login.example.com/v2.0"]}}),
    ]
}

fn object(case: &Case) -> Value {
    let [mut policy, mut cluster, mut provider] = bases();
    if let Some(patch) = &case.cluster {
        merge(&mut cluster["spec"], patch);
        return cluster;
    }
    if let Some(patch) = &case.provider {
        merge(&mut provider["spec"], patch);
        return provider;
    }
    merge(&mut policy["spec"], case.policy.as_ref().unwrap_or(&json!({})));
    for (list, patch) in [("rules", &case.rule), ("targets", &case.target)] {
        if let Some(patch) = patch {
            merge(&mut policy["spec"][list][0], patch);
        }
    }
    policy
}

#[test]
fn objects_are_accepted_and_refused_as_written_down() -> Result<()> {
    let world = World::new()?;
    let path = root().join("tests/e2e/tests/crds/objects.yaml");
    let cases = yaml(&path)?.into_iter().next().context("cases")?;
    let cases: Vec<Case> = serde_json::from_value(cases)?;
    assert!(cases.len() >= 80, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        // Nothing may hang on what a client asks the server to check.
        let message = said(&world.create(&object(case), "Ignore")?)?;
        let fits = match &case.refused {
            Some(words) => message.contains(words.as_str()),
            None => message.is_empty(),
        };
        if !fits {
            wrong.push(format!("{}: expected {:?}, the API server says `{message}`", case.name, case.refused));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));

    // The samples that people start from.
    for sample in folder("manifests/samples")? {
        let filled = sample.to_string().replace(ZEROS, "9f0b3c0e-6a55-4d7e-9a44-2f3f5c1f6e11");
        let mut sample: Value = serde_json::from_str(&filled)?;
        // They name files, for use outside a cluster.
        // Not by index: that would put an empty `targets` where there is none.
        let targets = sample.pointer_mut("/spec/targets").and_then(Value::as_array_mut);
        for target in targets.into_iter().flatten() {
            if target.get("caBundleRef").is_some() {
                target["caBundleRef"] = json!({"configMap": "ca"});
            }
        }
        assert_eq!(said(&world.create(&sample, "Strict")?)?, "", "{}", sample["metadata"]["name"]);
    }
    Ok(())
}
