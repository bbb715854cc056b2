//! Pods that would lead around the gateway are refused, in words that say what
//! to change. Nothing here runs: the API server is asked what it would do.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::kube::{Namespace, admin, assert_refused, patch};
use crate::pod::{Pod, admitted, agent, dry_run};
use crate::trials::one;

/// What a pod asks for, where, and the words with which it is refused.
struct Case {
    name: &'static str,
    /// JSON Pointer into the pod; `-` at its end appends.
    at: &'static str,
    value: fn() -> Value,
    words: &'static str,
}

const CONTAINER: &str = "/spec/containers/0/securityContext";

const CASES: &[Case] = &[
    case("host_network", "/spec/hostNetwork", || json!(true), "spec.hostNetwork: is true"),
    case("host_pid", "/spec/hostPID", || json!(true), "spec.hostPID: is true"),
    case("host_ipc", "/spec/hostIPC", || json!(true), "spec.hostIPC: is true"),
    case(
        "shared_process_namespace",
        "/spec/shareProcessNamespace",
        || json!(true),
        "spec.shareProcessNamespace: is true",
    ),
    case("host_path", "/spec/volumes", || json!([{"name": "x", "hostPath": {"path": "/"}}]), "hostPath: is refused"),
    case(
        "network_folder",
        "/spec/volumes",
        || json!([{"name": "x", "nfs": {"server": "a", "path": "/"}}]),
        "nfs: is refused",
    ),
    case("privileged", CONTAINER, || json!({"privileged": true}), "privileged: is true"),
    case("net_admin", CONTAINER, || json!({"capabilities": {"add": ["NET_ADMIN"]}}), "is `NET_ADMIN`"),
    case("net_raw", CONTAINER, || json!({"capabilities": {"add": ["NET_RAW"]}}), "is `NET_RAW`"),
    case("setuid", CONTAINER, || json!({"capabilities": {"add": ["SETUID"]}}), "is `SETUID`"),
    case("sys_ptrace", CONTAINER, || json!({"capabilities": {"add": ["SYS_PTRACE"]}}), "is `SYS_PTRACE`"),
    case("all_capabilities", CONTAINER, || json!({"capabilities": {"add": ["ALL"]}}), "is `ALL`"),
    case("unmasked_proc", CONTAINER, || json!({"procMount": "Unmasked"}), "procMount"),
    case("the_gateways_user", CONTAINER, || json!({"runAsUser": 62051}), "is 62051, which is the gateway's own"),
    case("the_gateways_group", CONTAINER, || json!({"runAsGroup": 62051}), "is 62051, which is the gateway's own"),
    case("the_gateways_user_for_the_pod", "/spec/securityContext", || json!({"runAsUser": 62051}), "is 62051"),
    case("the_gateways_group_for_files", "/spec/securityContext", || json!({"fsGroup": 62051}), "is 62051"),
    case(
        "the_gateways_group_beside_others",
        "/spec/securityContext",
        || json!({"supplementalGroups": [62051]}),
        "is 62051",
    ),
    case(
        "a_container_named_like_ours",
        "/spec/containers/-",
        || json!({"name": "sluice-gateway", "image": "x"}),
        "`sluice-gateway` is reserved",
    ),
    case(
        "an_init_container_named_like_ours",
        "/spec/initContainers",
        || json!([{"name": "sluice-init", "image": "x", "command": ["true"]}]),
        "`sluice-init` is reserved",
    ),
    case(
        "a_volume_named_like_ours",
        "/spec/volumes",
        || json!([{"name": "sluice-x", "emptyDir": {}}]),
        "`sluice-x` is reserved",
    ),
    case(
        "the_gateways_private_volume",
        "/spec/containers/0/volumeMounts",
        || json!([{"name": "sluice-private", "mountPath": "/x"}]),
        "`sluice-private` is reserved",
    ),
    case(
        "a_mount_over_the_trust_folder",
        "/spec",
        || {
            json!({
                "volumes": [{"name": "x", "emptyDir": {}}],
                "containers": [{"name": "agent", "image": "x", "volumeMounts": [{"name": "x", "mountPath": "/run/sluice/trust"}]}],
            })
        },
        "is the gateway's folder",
    ),
    case(
        "a_port_of_the_gateway",
        "/spec/containers/0/ports",
        || json!([{"containerPort": 15001}]),
        "is 15001, which is the gateway's own",
    ),
    case(
        "a_probe_of_another_host",
        "/spec/containers/0/livenessProbe",
        || json!({"httpGet": {"host": "10.0.0.1", "port": 80}}),
        "has a `host`",
    ),
    case(
        "a_projected_token_with_our_audience",
        "/spec/volumes",
        || json!([{"name": "x", "projected": {"sources": [{"serviceAccountToken": {"audience": "control.sluice.dev", "path": "t"}}]}}]),
        "by which gateways enrol",
    ),
    case(
        "another_mesh",
        "/spec/containers/-",
        || json!({"name": "istio-proxy", "image": "x"}),
        "`istio-proxy` is another mesh's",
    ),
    case(
        "an_annotation_that_loosens",
        "/metadata/annotations",
        || json!({"sluice.dev/inject": "enabled", "sluice.dev/exclude-ports": "443"}),
        "is unknown; known are",
    ),
    case(
        "a_misspelt_request",
        "/metadata/annotations",
        || json!({"sluice.dev/inject": "true"}),
        "neither `enabled` nor `disabled`",
    ),
    case(
        "a_variable_that_leads_elsewhere",
        "/spec/containers/0/env/-",
        || json!({"name": "KUBERNETES_SERVICE_HOST", "value": "10.96.0.1"}),
        "KUBERNETES_SERVICE_HOST",
    ),
    case(
        "a_name_server_of_its_own",
        "/spec/dnsConfig",
        || json!({"nameservers": ["203.0.113.9"]}),
        "spec.dnsConfig.nameservers: is set",
    ),
    case("windows", "/spec/os", || json!({"name": "windows"}), "Linux nodes only"),
];

const fn case(name: &'static str, at: &'static str, value: fn() -> Value, words: &'static str) -> Case {
    Case { name, at, value, words }
}

pub(super) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = CASES
        .iter()
        .map(|case| one(&format!("bypass::admission::{}_is_refused", case.name), || refused(case)))
        .collect();
    trials.extend([
        one("bypass::admission::an_honest_pod_is_taken", an_honest_pod_is_taken),
        one("bypass::admission::an_init_container_placed_first_comes_after_ours", an_init_container_placed_first),
        one("bypass::admission::a_pod_that_brings_our_containers_gets_the_real_ones", a_pod_that_brings_our_containers),
        one("bypass::admission::inject_disabled_in_a_required_namespace_is_refused", disabled_where_required),
        one("bypass::admission::a_pod_that_does_not_ask_is_injected_where_required", silent_where_required),
        one("bypass::admission::the_label_of_a_required_namespace_stays", the_label_stays),
        one("bypass::admission::annotation_and_label_of_a_running_pod_stay", annotation_and_label_stay),
    ]);
    trials
}

/// A namespace for all of these; nothing runs in it.
fn namespace() -> Result<&'static Namespace> {
    static NAMESPACE: OnceLock<Result<Namespace, String>> = OnceLock::new();
    match NAMESPACE.get_or_init(|| Namespace::new(&json!({})).map_err(|error| format!("{error:#}"))) {
        Ok(namespace) => Ok(namespace),
        Err(error) => bail!("{error}"),
    }
}

/// Another, in which every pod is injected.
fn required() -> Result<&'static Namespace> {
    static NAMESPACE: OnceLock<Result<Namespace, String>> = OnceLock::new();
    let make = || Namespace::new(&json!({"sluice.dev/required": "true"})).map_err(|error| format!("{error:#}"));
    match NAMESPACE.get_or_init(make) {
        Ok(namespace) => Ok(namespace),
        Err(error) => bail!("{error}"),
    }
}

fn refused(case: &Case) -> Result<()> {
    let mut pod = agent("agent");
    put(&mut pod, case.at, (case.value)())?;
    let answer = dry_run(namespace()?, &pod)?;
    assert_refused(case.name, &answer, case.words)?;
    assert_refused(case.name, &answer, "sluice")
}

fn put(pod: &mut Value, at: &str, value: Value) -> Result<()> {
    let (parent, last) = at.rsplit_once('/').context("a pointer")?;
    match pod.pointer_mut(parent).with_context(|| format!("the pod has no {parent}"))? {
        Value::Array(items) if last == "-" => items.push(value),
        Value::Object(fields) => {
            fields.insert(last.to_owned(), value);
        }
        other => bail!("{parent} is {other}"),
    }
    Ok(())
}

/// Without it, every refusal above could be one of everything.
fn an_honest_pod_is_taken() -> Result<()> {
    let pod = admitted(namespace()?, &agent("agent"))?;
    assert_ours_first(&pod)?;
    let container = &pod["spec"]["containers"][0]["securityContext"];
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["allowPrivilegeEscalation"], json!(false));
    let mut silent = agent("silent");
    silent["metadata"]["annotations"] = json!({});
    let pod = admitted(namespace()?, &silent)?;
    assert!(pod["spec"]["initContainers"].is_null(), "who does not ask is left alone: {pod}");
    Ok(())
}

fn an_init_container_placed_first() -> Result<()> {
    let mut pod = agent("agent");
    pod["spec"]["initContainers"] =
        json!([{"name": "first", "image": crate::pod::IMAGE, "command": ["/bin/probe", "rights"]}]);
    let pod = admitted(namespace()?, &pod)?;
    assert_ours_first(&pod)?;
    assert_eq!(pod["spec"]["initContainers"][2]["name"], "first");
    assert_eq!(pod["spec"]["initContainers"][2]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    Ok(())
}

/// An earlier run's containers are replaced, whatever they hold by now.
fn a_pod_that_brings_our_containers() -> Result<()> {
    let mut pod = admitted(namespace()?, &agent("agent"))?;
    let honest = pod["spec"]["initContainers"][1]["image"].clone();
    pod["metadata"] = json!({
        "name": "agent", "annotations": pod["metadata"]["annotations"], "labels": pod["metadata"]["labels"],
    });
    pod["spec"]["initContainers"][1]["image"] = json!("evil.example.com/gateway:1");
    pod["spec"]["initContainers"].as_array_mut().context("init containers")?.reverse();
    let pod = admitted(namespace()?, &pod)?;
    assert_ours_first(&pod)?;
    assert_eq!(pod["spec"]["initContainers"][1]["image"], honest);
    Ok(())
}

/// The first two init containers are the gateway's.
pub(super) fn assert_ours_first(pod: &Value) -> Result<()> {
    let names: Vec<&str> =
        pod["spec"]["initContainers"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    ensure!(names.starts_with(&["sluice-init", "sluice-gateway"]), "init containers are {names:?}");
    Ok(())
}

fn disabled_where_required() -> Result<()> {
    let mut pod = agent("agent");
    pod["metadata"]["annotations"]["sluice.dev/inject"] = json!("disabled");
    assert_refused("disabled", &dry_run(required()?, &pod)?, "every pod here runs behind the gateway")
}

fn silent_where_required() -> Result<()> {
    let mut pod = agent("agent");
    pod["metadata"]["annotations"] = json!({});
    assert_ours_first(&admitted(required()?, &pod)?)
}

/// For whoever may edit namespaces, but was not given the right to lift this.
fn the_label_stays() -> Result<()> {
    let namespace = required()?;
    namespace.lets_do_everything("developers")?;
    let cluster = sluice_testkit::Cluster::get()?;
    let developer = cluster.developer()?;
    let path = format!("/api/v1/namespaces/{}", namespace.name);
    for value in [Value::Null, json!("false")] {
        let change = patch(&path, &json!({"metadata": {"labels": {"sluice.dev/required": value}}}));
        let mut client = cluster.direct(sluice_testkit::Seat::RootV4, sluice_testkit::Protocol::Http1)?;
        let answer = client.send(&change.bearer(&developer))?;
        assert_refused("label", &answer, "delete requirednamespaces.sluice.dev")?;
    }
    Ok(())
}

fn annotation_and_label_stay() -> Result<()> {
    let namespace = namespace()?;
    let mut pod = agent("stays");
    // No node ever runs it.
    pod["spec"]["schedulingGates"] = json!([{"name": "example.com/never"}]);
    Pod::create(namespace, &pod)?;
    let path = namespace.core("pods/stays");
    for change in [
        json!({"annotations": {"sluice.dev/inject": null}}),
        json!({"annotations": {"sluice.dev/inject": "disabled"}}),
        json!({"annotations": {"sluice.dev/injected": "9"}}),
        json!({"labels": {"sluice.dev/injected": null}}),
        json!({"labels": {"sluice.dev/injected": "false"}}),
    ] {
        let answer = admin(patch(&path, &json!({"metadata": change})))?;
        assert_refused(&change.to_string(), &answer, "sluice: ")?;
    }
    admin(patch(&path, &json!({"metadata": {"labels": {"tier": "1"}}})))?.expect(200).map(drop)
}
