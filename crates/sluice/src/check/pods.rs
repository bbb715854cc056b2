//! Pods that should run behind the gateway, and those that do.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Namespace, Pod};
use sluice_k8s::names;
use sluice_wire::TrailSummary;

use super::finding::{Finding, Level};

/// What pods are judged by.
pub(super) struct Expected<'a> {
    /// Image of the gateway, as the chart has it now; empty: not known.
    pub(super) image: &'a str,
    /// Images that the admission policies let pods have.
    pub(super) allowed: &'a [String],
    /// Trails at the collector; `None`: there is none, or it could not be asked.
    pub(super) trails: Option<&'a [TrailSummary]>,
    pub(super) now: Timestamp,
}

/// Every pod that runs, or is about to.
pub(super) fn pods(pods: &[Pod], namespaces: &[Namespace], expected: &Expected<'_>) -> Vec<Finding> {
    let required = required(namespaces);
    let mut findings: Vec<Finding> = namespaces.iter().filter_map(misspelt).collect();
    let mut sound = 0;
    for pod in pods.iter().filter(|pod| is_live(pod)) {
        let found = if is_injected(pod) {
            expected.injected(pod)
        } else {
            uninjected(pod, required.contains(namespace(pod))).into_iter().collect()
        };
        if found.is_empty() && is_injected(pod) {
            sound += 1;
        }
        findings.extend(found);
    }
    findings.extend(expected.trails.into_iter().flat_map(|trails| vanished(trails, pods)));
    if sound > 0 || findings.is_empty() {
        findings.insert(0, Finding::ok("Pods", format!("{sound} run behind an unaltered gateway of this version")));
    }
    findings
}

/// Names of namespaces in which agents run, or may run.
pub(super) fn agent_namespaces(pods: &[Pod], namespaces: &[Namespace]) -> BTreeSet<String> {
    let with_agents = pods.iter().filter(|pod| is_live(pod) && is_injected(pod)).map(namespace);
    with_agents.chain(required(namespaces)).map(str::to_owned).collect()
}

/// Service accounts that agents run as, by namespace.
pub(super) fn agent_accounts(pods: &[Pod]) -> BTreeMap<(String, String), String> {
    let agents = pods.iter().filter(|pod| is_live(pod) && is_injected(pod));
    agents
        .map(|pod| {
            let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
            let account = account.filter(|account| !account.is_empty()).unwrap_or_else(|| "default".to_owned());
            ((namespace(pod).to_owned(), account), name(pod).to_owned())
        })
        .collect()
}

fn required(namespaces: &[Namespace]) -> BTreeSet<&str> {
    let is_required = |one: &&Namespace| {
        one.metadata.labels.iter().any(|labels| labels.get(names::REQUIRED).is_some_and(|it| it == "true"))
    };
    namespaces.iter().filter(is_required).filter_map(|one| one.metadata.name.as_deref()).collect()
}

/// A label that demands nothing, though somebody meant it to.
fn misspelt(one: &Namespace) -> Option<Finding> {
    let value = one.metadata.labels.as_ref()?.get(names::REQUIRED).filter(|value| *value != "true")?;
    let name = one.metadata.name.as_deref().unwrap_or_default();
    let what = format!("its label {} is `{value}`, and then demands nothing", names::REQUIRED);
    let fix = format!("kubectl label namespace {name} --overwrite {}=true", names::REQUIRED);
    Some(Finding::problem(format!("Namespace {name}"), what, fix))
}

fn uninjected(pod: &Pod, required: bool) -> Option<Finding> {
    let again = format!(
        "is the control plane up? then delete the pod, so that it is made anew: kubectl -n {} delete pod {}",
        namespace(pod),
        name(pod)
    );
    if annotation(pod, names::INJECT) == Some(names::ENABLED) {
        let what = "asks for the gateway and runs without it: all its traffic passes Sluice by";
        return Some(Finding::problem(object(pod), what, again));
    }
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::INJECT));
    if !required && label.is_some_and(|word| word != names::DISABLED) && annotation(pod, names::INJECT).is_none() {
        let what =
            format!("runs without the gateway: {} is a label there, and only the annotation is read", names::INJECT);
        let fix = "move it from labels to annotations, in the template that the pod is made from";
        return Some(Finding::problem(object(pod), what, fix));
    }
    required.then(|| {
        let what = format!("runs without the gateway in a namespace that demands it (label {})", names::REQUIRED);
        Finding::problem(object(pod), what, again)
    })
}

impl Expected<'_> {
    fn injected(&self, pod: &Pod) -> Vec<Finding> {
        let spec = pod.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let restart = format!(
            "delete the pod, so that it is made anew: kubectl -n {} delete pod {}, or kubectl rollout restart what owns it",
            namespace(pod),
            name(pod)
        );
        let [first, second, ..] = init else {
            return vec![Finding::problem(object(pod), "is marked as injected and has no gateway", restart)];
        };
        if first.name != names::INIT || second.name != names::GATEWAY {
            let what = "the gateway's containers are not its first two: others ran before the redirect";
            return vec![Finding::problem(object(pod), what, restart)];
        }
        let mut findings: Vec<Finding> = Vec::new();
        let why = altered(first, "init").or_else(|| altered(second, "pod")).or_else(|| exempt(first, second));
        if let Some(why) = why {
            findings.push(Finding::problem(object(pod), format!("its gateway was altered: {why}"), restart.as_str()));
        }
        findings.extend(self.image(pod, first, second, &restart));
        findings.extend(readiness(pod));
        findings.extend(self.records(pod));
        findings
    }

    fn image(&self, pod: &Pod, first: &Container, second: &Container, restart: &str) -> Option<Finding> {
        let image = second.image.as_deref().unwrap_or_default();
        let object = object(pod);
        if first.image != second.image {
            return Some(Finding::problem(object, "its two gateway containers have different images", restart));
        }
        if self.image.is_empty() || image == self.image {
            return None;
        }
        // After an upgrade the admission policy still lets the one before in.
        if repository(image) == repository(self.image) {
            let what = format!("runs the gateway {image}; the chart's is {}", self.image);
            return Some(Finding::warning(object, what, restart));
        }
        // As another webhook rewrites it.
        if self.allowed.iter().any(|one| one == image) {
            return None;
        }
        let what = format!("its gateway is the image {image}, which is not the chart's {}", self.image);
        Some(Finding::problem(object, what, restart))
    }

    fn records(&self, pod: &Pod) -> Option<Finding> {
        let trails = self.trails?;
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let see = format!("kubectl -n {} logs {} -c {}", namespace(pod), name(pod), names::GATEWAY);
        match trails.iter().find(|trail| trail.pod_uid == uid) {
            Some(trail) if trail.silent => {
                let heard = trail.epochs.iter().map(|epoch| epoch.last_heard).max();
                let since = heard.map(|at| format!(" since {at:.0}")).unwrap_or_default();
                let what = format!("the collector has heard nothing of its sidecar{since}");
                Some(Finding::problem(object(pod), what, see))
            }
            Some(_) => None,
            None if self.is_young(pod) => None,
            None => Some(Finding::problem(object(pod), "the collector has no record of it", see)),
        }
    }

    fn is_young(&self, pod: &Pod) -> bool {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        created.is_none_or(|created| self.now.as_second() - created < YOUNG)
    }
}

/// Seconds that a pod may take until its first records arrive.
const YOUNG: i64 = 180;

/// What the admission policy asserts of a container of ours, in short.
fn altered(container: &Container, argument: &str) -> Option<String> {
    let name = &container.name;
    if container.command.iter().flatten().next().is_some() {
        return Some(format!("{name} has a command"));
    }
    if container.args.as_deref() != Some(&[argument.to_owned()]) {
        return Some(format!("{name} has other arguments"));
    }
    let context = container.security_context.as_ref();
    if context.and_then(|context| context.privileged) == Some(true)
        || context.and_then(|context| context.allow_privilege_escalation) != Some(false)
    {
        return Some(format!("{name} may have more rights"));
    }
    let known = |name: &str| name.starts_with("SLUICE_") || name.starts_with("AZURE_") || name == "RUST_LOG";
    let foreign = container.env.iter().flatten().find(|variable| !known(&variable.name));
    foreign.map(|variable| format!("{name} has the variable {}", variable.name))
}

/// The rules let out who has the user that the init step names.
fn exempt(init: &Container, gateway: &Container) -> Option<String> {
    let user = gateway.security_context.as_ref().and_then(|context| context.run_as_user)?.to_string();
    let named = init.env.iter().flatten().filter(|variable| variable.name == "SLUICE_GATEWAY_USER");
    let named: Vec<&str> = named.map(|variable| variable.value.as_deref().unwrap_or_default()).collect();
    (named != [user.as_str()]).then(|| format!("{} exempts another user than the gateway's, {user}", names::INIT))
}

fn readiness(pod: &Pod) -> Option<Finding> {
    let status = pod.status.as_ref()?;
    let gateway: &ContainerStatus =
        status.init_container_statuses.iter().flatten().find(|status| status.name == names::GATEWAY)?;
    let see = format!("kubectl -n {} logs {} -c {}", namespace(pod), name(pod), names::GATEWAY);
    if gateway.ready && gateway.restart_count < RESTARTS {
        return None;
    }
    if gateway.ready {
        let what = format!("its gateway restarted {} times", gateway.restart_count);
        return Some(Finding::warning(object(pod), what, format!("{see} --previous")));
    }
    let waiting = gateway.state.as_ref().and_then(|state| state.waiting.as_ref());
    let why = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or("see its log");
    Some(Finding::warning(object(pod), format!("its gateway is not ready, so the agent has no way out: {why}"), see))
}

const RESTARTS: i32 = 3;

/// Silent trails of pods that are gone: what they did last is not known.
fn vanished(trails: &[TrailSummary], pods: &[Pod]) -> Vec<Finding> {
    let there: BTreeSet<&str> = pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
    let silent = trails.iter().filter(|trail| trail.silent && !there.contains(trail.pod_uid.as_str()));
    silent
        .map(|trail| {
            let name = if trail.pod.is_empty() { &trail.service_account } else { &trail.pod };
            Finding {
                level: Level::Warning,
                object: format!("Trail {} of {}/{name}", trail.pod_uid, trail.namespace),
                what: "its pod is gone and it has no `end`: its last records may be lost".to_owned(),
                fix: format!("sluice audit tail --collector --pod {} says what came last", trail.pod_uid),
            }
        })
        .collect()
}

/// `registry:5000/a/b` of `registry:5000/a/b:tag@digest`.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => image,
    }
}

fn is_injected(pod: &Pod) -> bool {
    pod.metadata.labels.iter().any(|labels| labels.contains_key(names::INJECTED))
}

fn is_live(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed")
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn object(pod: &Pod) -> String {
    format!("Pod {}/{}", namespace(pod), name(pod))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sluice_k8s::inject::{InjectionSettings, Placement, inject};

    use super::*;

    fn pod(value: Value) -> Pod {
        let mut whole = json!({"apiVersion": "v1", "kind": "Pod"});
        whole["metadata"] = value["metadata"].clone();
        whole["spec"] = value["spec"].clone();
        whole["status"] = value["status"].clone();
        serde_json::from_value(whole).expect("a pod")
    }

    fn injected() -> Value {
        let asks = json!({
            "metadata": {
                "name": "coder", "namespace": "agents", "uid": "u1", "creationTimestamp": "2026-12-01T08:00:00Z",
                "annotations": {names::INJECT: "enabled"},
            },
            "spec": {"containers": [{"name": "agent", "image": "i"}]},
        });
        let mut pod = inject(&asks, Placement::default(), &InjectionSettings::default()).expect("injected");
        pod["status"] = json!({"phase": "Running", "initContainerStatuses": [{"name": names::GATEWAY, "ready": true, "restartCount": 0, "image": "", "imageID": ""}]});
        pod
    }

    fn judged(value: Value, trails: Option<&[TrailSummary]>) -> Vec<Finding> {
        let image = InjectionSettings::default().image;
        let now = "2026-12-01T09:00:00Z".parse().expect("a time");
        let expected = Expected { image: &image, allowed: &[], trails, now };
        pods(&[pod(value)], &[], &expected)
    }

    fn one(findings: &[Finding], level: Level, words: &str) {
        let found: Vec<&Finding> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
        assert!(matches!(found.as_slice(), [it] if it.level == level && it.what.contains(words)), "{findings:#?}");
    }

    #[test]
    fn what_the_webhook_makes_is_sound() {
        let findings = judged(injected(), None);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    }

    #[test]
    fn other_images_and_alterations_are_found() {
        let mut old = injected();
        for at in [0, 1] {
            old["spec"]["initContainers"][at]["image"] = json!("sluice-gateway:0.0.1");
        }
        one(&judged(old.clone(), None), Level::Warning, "0.0.1");
        old["spec"]["initContainers"][0]["image"] = json!("sluice-gateway:0.0.2");
        one(&judged(old, None), Level::Problem, "different images");
        let mut other = injected();
        for at in [0, 1] {
            other["spec"]["initContainers"][at]["image"] = json!("evil/sluice-gateway:0.1.0");
        }
        one(&judged(other, None), Level::Problem, "evil/");
        let mut changed = injected();
        changed["spec"]["initContainers"][1]["env"][0]["name"] = json!("LD_PRELOAD");
        one(&judged(changed, None), Level::Problem, "LD_PRELOAD");
        let mut exempting = injected();
        exempting["spec"]["initContainers"][0]["env"][0]["value"] = json!("1000");
        one(&judged(exempting, None), Level::Problem, "exempts another user");
        let mut moved = injected();
        let first = moved["spec"]["initContainers"][0].clone();
        moved["spec"]["initContainers"].as_array_mut().expect("a list").push(first);
        moved["spec"]["initContainers"][0]["name"] = json!("mine");
        one(&judged(moved, None), Level::Problem, "first two");
        let mut waiting = injected();
        waiting["status"]["initContainerStatuses"][0]["ready"] = json!(false);
        one(&judged(waiting, None), Level::Warning, "not ready");
    }

    #[test]
    fn pods_without_the_gateway_are_found() {
        let plain = json!({
            "metadata": {"name": "coder", "namespace": "agents", "annotations": {names::INJECT: "enabled"}},
            "spec": {"containers": [{"name": "agent", "image": "i"}]},
        });
        one(&judged(plain.clone(), None), Level::Problem, "without it");
        let mut silent = plain;
        silent["metadata"]["annotations"] = Value::Null;
        assert!(judged(silent.clone(), None).iter().all(|finding| finding.level == Level::Ok));
        let demanding: Namespace =
            serde_json::from_value(json!({"metadata": {"name": "agents", "labels": {names::REQUIRED: "true"}}}))
                .expect("a namespace");
        let expected = Expected { image: "", allowed: &[], trails: None, now: Timestamp::UNIX_EPOCH };
        let findings = pods(&[pod(silent)], std::slice::from_ref(&demanding), &expected);
        one(&findings, Level::Problem, "demands");
        assert!(agent_namespaces(&[], &[demanding]).contains("agents"));
    }

    #[test]
    fn silence_at_the_collector_is_found() {
        let trail = |uid: &str, silent: bool| -> TrailSummary {
            let epoch = json!({"epoch": "01938a3e-0f4b-7c7e-9f3e-2a1d5c9b8e77", "ordinal": 1, "leaves": 1, "lastHeard": "2026-12-01T08:00:00Z", "ended": false, "files": []});
            serde_json::from_value(json!({"podUid": uid, "namespace": "agents", "serviceAccount": "default", "epochs": [epoch], "silent": silent}))
                .expect("a summary")
        };
        assert!(judged(injected(), Some(&[trail("u1", false)])).iter().all(|one| one.level == Level::Ok));
        one(&judged(injected(), Some(&[trail("u1", true)])), Level::Problem, "heard nothing");
        one(&judged(injected(), Some(&[])), Level::Problem, "no record");
        one(&judged(injected(), Some(&[trail("u1", false), trail("u2", true)])), Level::Warning, "pod is gone");
    }

    #[test]
    fn tags_and_digests_are_no_part_of_a_repository() {
        for (image, expected) in [("r:5000/a/b:1@sha256:0", "r:5000/a/b"), ("a", "a"), ("r:5000/a", "r:5000/a")] {
            assert_eq!(repository(image), expected);
        }
    }

    #[test]
    fn words_that_nobody_reads_are_found() {
        let labelled = |word: &str| {
            json!({
                "metadata": {"name": "coder", "namespace": "agents", "labels": {names::INJECT: word}},
                "spec": {"containers": [{"name": "agent", "image": "i"}]},
            })
        };
        one(&judged(labelled("enabled"), None), Level::Problem, "is a label there");
        assert!(judged(labelled("disabled"), None).iter().all(|finding| finding.level == Level::Ok));
        let namespace = |word: &str| -> Namespace {
            serde_json::from_value(json!({"metadata": {"name": "agents", "labels": {names::REQUIRED: word}}}))
                .expect("one")
        };
        let expected = Expected { image: "", allowed: &[], trails: None, now: jiff::Timestamp::UNIX_EPOCH };
        one(&pods(&[], &[namespace("yes")], &expected), Level::Problem, "is `yes`, and then demands nothing");
        assert!(pods(&[], &[namespace("true")], &expected).iter().all(|finding| finding.level == Level::Ok));
    }
}
