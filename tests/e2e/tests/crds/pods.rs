//! Pods that run agents, and ways into the gateway from the side.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_k8s::inject::{Folders, InjectionSettings, Placement, inject};
use sluice_testkit::{Cluster, Namespace, Request, Response};

use crate::world::{Made, merge, policies, root, said, until_refused, yaml};

struct World {
    cluster: &'static Cluster,
    /// Pods here are injected where they ask.
    agents: Namespace,
    /// Every pod here is.
    required: Namespace,
    _made: Made,
}

impl World {
    fn new() -> Result<Self> {
        let cluster = Cluster::get()?;
        let (agents, required) = (cluster.namespace()?, cluster.namespace()?);
        let path = format!("/api/v1/namespaces/{}", required.name);
        let label = json!({"metadata": {"labels": {"sluice.dev/required": "true"}}});
        cluster.admin(patch(&path, &label))?.expect(200)?;
        let mut made = Made::new(cluster);
        let own = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [agents.name, required.name]},
        ]});
        policies(&mut made, &agents.name, &|name| !name.starts_with("sluice-fields-"), &|policy, binding| {
            binding["spec"]["matchResources"] = json!({"namespaceSelector": own});
            // As the chart does.
            let images = format!("other:1, {}", settings().image);
            if let Some(Value::String(text)) = policy.pointer_mut("/spec/variables/0/expression") {
                *text = text.replace("SLUICE_GATEWAY_IMAGES", &images);
            }
        })?;
        Ok(Self { cluster, agents, required, _made: made })
    }

    fn create(&self, namespace: &Namespace, pod: &Value) -> Result<Response> {
        let path = format!("{}?dryRun=All", namespace.core("pods"));
        self.cluster.admin(Request::new("POST", path).json(pod))
    }
}

fn patch(path: &str, patch: &Value) -> Request {
    Request::new("PATCH", path).body("application/strategic-merge-patch+json", patch.to_string())
}

fn settings() -> InjectionSettings {
    InjectionSettings { image: "sluice.test/gateway:1".to_owned(), ..InjectionSettings::default() }
}

/// A pod that no node ever runs.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "agent", "annotations": {"sluice.dev/inject": "enabled"}},
        "spec": {
            "schedulingGates": [{"name": "sluice.dev/test"}],
            "containers": [{"name": "agent", "image": "sluice.test/busybox:1"}],
            "initContainers": [{"name": "first", "image": "sluice.test/busybox:1"}],
        },
    })
}

fn injected(pod: &Value) -> Result<Value> {
    let placement = Placement { folders: Folders::AsWritten, ..Placement::default() };
    inject(pod, placement, &settings()).map_err(|refusals| anyhow::anyhow!("{refusals:?}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// JSON Pointers into the injected pod, and what is put there; null
    /// removes.
    set: std::collections::BTreeMap<String, Value>,
    /// What is said; absent: the pod is accepted.
    refused: Option<String>,
}

fn set(pod: &mut Value, pointer: &str, value: &Value) -> Result<()> {
    let (parent, last) = pointer.rsplit_once('/').context("a pointer")?;
    let last = last.replace("~1", "/");
    match pod.pointer_mut(parent).with_context(|| format!("{parent} is not there"))? {
        Value::Object(fields) if value.is_null() => {
            fields.remove(&last).with_context(|| format!("{pointer} is not there"))?;
        }
        Value::Object(fields) => {
            fields.insert(last, value.clone());
        }
        Value::Array(items) if last == "-" => items.push(value.clone()),
        Value::Array(items) => {
            let index: usize = last.parse()?;
            if value.is_null() {
                items.remove(index);
            } else {
                merge(items.get_mut(index).context("an item")?, value);
            }
        }
        _ => anyhow::bail!("{parent} is neither list nor object"),
    }
    Ok(())
}

#[test]
fn pods_of_agents_are_asserted() -> Result<()> {
    let world = World::new()?;
    until_refused("does not have it as its first two init containers", || world.create(&world.agents, &pod()))?;
    let mut foreign = injected(&pod())?;
    foreign["spec"]["initContainers"][0]["image"] = json!("evil.example.com/gateway:1");
    until_refused("image is not the chart's", || world.create(&world.agents, &foreign))?;
    let mut silent = pod();
    silent["metadata"]["annotations"] = json!({"sluice.dev/inject": "disabled"});
    until_refused("every pod of this namespace runs behind the gateway", || world.create(&world.required, &silent))?;
    assert_eq!(said(&world.create(&world.agents, &silent)?)?, "", "who does not ask is left alone");
    let mut labelled = pod();
    labelled["metadata"] = json!({"name": "labelled", "labels": {"sluice.dev/inject": "enabled"}});
    until_refused("sluice.dev/inject is a label here", || world.create(&world.agents, &labelled))?;
    assert_eq!(said(&world.create(&world.required, &injected(&pod())?)?)?, "");

    let cases = yaml(&root().join("tests/e2e/tests/crds/pods.yaml"))?.into_iter().next().context("cases")?;
    let cases: Vec<Case> = serde_json::from_value(cases)?;
    assert!(cases.len() >= 40, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let mut changed = injected(&pod())?;
        for (pointer, value) in &case.set {
            set(&mut changed, pointer, value).with_context(|| case.name.clone())?;
        }
        let message = said(&world.create(&world.agents, &changed)?)?;
        let fits = match &case.refused {
            Some(words) => message.contains("sluice: ") && message.contains(words.as_str()),
            None => message.is_empty(),
        };
        if !fits {
            wrong.push(format!("{}: expected {:?}, the API server says `{message}`", case.name, case.refused));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn a_running_agent_cannot_be_changed_or_entered() -> Result<()> {
    let world = World::new()?;
    until_refused("does not have it as its first two init containers", || world.create(&world.agents, &pod()))?;
    world.agents.make(&world.agents.core("pods"), &injected(&pod())?)?;
    let path = world.agents.core("pods/agent");
    let containers = |name: &str, rest: Value| {
        let mut container = json!({"name": name});
        merge(&mut container, &rest);
        json!({"spec": {"initContainers": [container]}})
    };
    for (what, suffix, change, words) in [
        ("image of the sidecar", "", containers("sluice-gateway", json!({"image": "evil:1"})), "image cannot change"),
        ("image of the init step", "", containers("sluice-init", json!({"image": "evil:1"})), "image cannot change"),
        (
            "annotation",
            "",
            json!({"metadata": {"annotations": {"sluice.dev/inject": null}}}),
            "cannot change while it runs",
        ),
        (
            "other value",
            "",
            json!({"metadata": {"annotations": {"sluice.dev/inject": "disabled"}}}),
            "neither `enabled`",
        ),
        (
            "version",
            "",
            json!({"metadata": {"annotations": {"sluice.dev/injected": "9"}}}),
            "cannot change while it runs",
        ),
        ("label", "", json!({"metadata": {"labels": {"sluice.dev/injected": null}}}), "cannot change while it runs"),
        (
            "label by the status",
            "/status",
            json!({"metadata": {"labels": {"sluice.dev/injected": null}}}),
            "cannot change while it runs",
        ),
        (
            "ephemeral container",
            "/ephemeralcontainers",
            json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "sluice.test/busybox:1"}]}}),
            "an ephemeral container would run beside the gateway",
        ),
        (
            "resources of the sidecar",
            "/resize",
            containers("sluice-gateway", json!({"resources": {"limits": {"memory": "64Mi"}}})),
            "the gateway's resources cannot change",
        ),
    ] {
        // Each policy takes a moment of its own to count: not here, where it
        // would leave a change behind, but in a dry run.
        until_refused(words, || world.cluster.admin(patch(&format!("{path}{suffix}?dryRun=All"), &change)))
            .with_context(|| what.to_owned())?;
    }
    let harmless = json!({"metadata": {"annotations": {"example.com/note": "x"}, "labels": {"tier": "1"}}});
    world.cluster.admin(patch(&path, &harmless))?.expect(200)?;
    let image = json!({"spec": {"containers": [{"name": "agent", "image": "sluice.test/kubectl:1"}]}});
    world.cluster.admin(patch(&path, &image))?.expect(200)?;

    let enter = |verb: &str, container: &str| {
        let path = format!("{path}/{verb}?container={container}&command=sh&stdout=true");
        world.cluster.admin(Request::new("POST", path))
    };
    for container in ["sluice-gateway", "sluice-init"] {
        for verb in ["exec", "attach"] {
            until_refused("nobody enters the gateway", || enter(verb, container))?;
        }
    }
    assert!(!said(&enter("exec", "agent")?)?.contains("sluice:"));
    Ok(())
}

#[test]
fn tokens_and_labels_are_guarded() -> Result<()> {
    let world = World::new()?;
    let token = |spec: Value| {
        let path = world.agents.core("serviceaccounts/default/token");
        world.cluster.admin(Request::new("POST", path).json(&json!({"spec": spec})))
    };
    until_refused("are made by nodes", || token(json!({"audiences": ["control.sluice.dev"]})))?;
    until_refused("are made by nodes", || token(json!({"audiences": ["x", "https://control.sluice.dev"]})))?;
    assert_eq!(said(&token(json!({"audiences": ["example.com"]}))?)?, "");

    let path = format!("/api/v1/namespaces/{}", world.required.name);
    let remove = json!({"metadata": {"labels": {"sluice.dev/required": null}}});
    let developer = world.cluster.developer()?;
    let as_developer = |request: Request| {
        let protocol = sluice_testkit::Protocol::Http1;
        world.cluster.direct(sluice_testkit::Seat::RootV4, protocol)?.send(&request.bearer(&developer))
    };
    until_refused("to remove it takes the right", || as_developer(patch(&format!("{path}?dryRun=All"), &remove)))?;
    let status = format!("{path}/status?dryRun=All");
    until_refused("to remove it takes the right", || as_developer(patch(&status, &remove)))?;
    let misspelt = json!({"metadata": {"labels": {"sluice.dev/required": "yes"}}});
    let agents = format!("/api/v1/namespaces/{}?dryRun=All", world.agents.name);
    until_refused("and then demands nothing", || world.cluster.admin(patch(&agents, &misspelt)))?;
    let other = json!({"metadata": {"labels": {"team": "x"}}});
    assert_eq!(said(&as_developer(patch(&path, &other))?)?, "");
    // Administrators may.
    assert_eq!(said(&world.cluster.admin(patch(&path, &remove))?)?, "");
    Ok(())
}
