use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_wire::ReportedProblem;

use super::*;
use crate::world::read;

fn provider() -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "IdentityProvider", "metadata": {"name": "entra"},
        "spec": {"issuers": ["https://login.example/v2.0"]},
    })
}

fn policy(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy",
        "metadata": {"name": name, "namespace": "agents"}, "spec": spec,
    })
}

fn good() -> Value {
    json!({
        "selector": {"matchLabels": {"app": "coder"}},
        "identity": {"providers": ["entra"]},
        "targets": [{"name": "aks", "kubernetes": {"server": "aks.example"}}],
        "rules": [{
            "name": "look", "subjects": {"anyone": true}, "targets": ["aks"], "action": "Allow",
            "kubernetes": {"verbs": ["get"], "resources": ["pods"], "namespaces": ["dev"]},
        }],
    })
}

fn world(documents: &[Value]) -> World {
    let pod = |name: &str, app: &str| Pod {
        namespace: "agents".to_owned(),
        name: name.to_owned(),
        service_account: "default".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
    };
    let read = |(index, document): (usize, &Value)| {
        let read = read(document, &format!("uid-{index}"), Some(7));
        (read.name.clone(), Arc::new(read))
    };
    World {
        documents: documents.iter().enumerate().map(read).collect(),
        pods: BTreeMap::from([
            ("u1".to_owned(), pod("coder-1", "coder")),
            ("u2".to_owned(), pod("coder-2", "coder")),
            ("u3".to_owned(), pod("other-1", "other")),
        ]),
        ..World::default()
    }
}

fn report(world: &World, uid: &str) -> (String, Report) {
    let revision = config_for(world, uid).unwrap().revision;
    (uid.to_owned(), Report { revision, compiled: true, problems: Vec::new(), version: "0.1.0".to_owned() })
}

const CODER: &str = "GatewayPolicy/agents/coder";

#[test]
fn a_policy_is_programmed_when_each_of_its_pods_says_so() {
    let world = world(&[provider(), policy("coder", good())]);
    let none = judge(&world, &BTreeMap::new()).remove(CODER).unwrap();
    assert!(none.accepted.holds && none.compiled.holds, "{none:?}");
    assert_eq!((none.matched, none.pods, none.programmed.reason), (2, 0, "Waiting"));
    let one = judge(&world, &BTreeMap::from([report(&world, "u1")])).remove(CODER).unwrap();
    assert_eq!((one.matched, one.pods, one.programmed.reason), (2, 1, "Waiting"));
    assert!(one.programmed.message.contains("agents/coder-2"), "{one:?}");
    let all = BTreeMap::from([report(&world, "u1"), report(&world, "u2")]);
    let all = judge(&world, &all).remove(CODER).unwrap();
    assert_eq!((all.matched, all.pods, all.programmed.reason), (2, 2, "Programmed"));
}

#[test]
fn a_report_of_another_revision_counts_for_nothing() {
    let world = world(&[provider(), policy("coder", good())]);
    let mut reports = BTreeMap::from([report(&world, "u1"), report(&world, "u2")]);
    reports.get_mut("u1").unwrap().revision = "0123456789abcdef".to_owned();
    let draft = judge(&world, &reports).remove(CODER).unwrap();
    assert_eq!((draft.pods, draft.programmed.reason), (1, "Waiting"));
}

#[test]
fn what_a_pod_refuses_is_said() {
    let world = world(&[provider(), policy("coder", good())]);
    let mut reports = BTreeMap::from([report(&world, "u1"), report(&world, "u2")]);
    reports.get_mut("u2").unwrap().problems.push(ReportedProblem {
        document: CODER.to_owned(),
        path: "spec.targets[0]".to_owned(),
        message: "the pod must be restarted for `aks.example`".to_owned(),
    });
    let draft = judge(&world, &reports).remove(CODER).unwrap();
    assert_eq!((draft.pods, draft.programmed.reason), (1, "Refused"));
    assert!(draft.programmed.message.contains("agents/coder-2"), "{draft:?}");
    assert!(draft.programmed.message.contains("must be restarted"), "{draft:?}");
}

#[test]
fn a_policy_that_does_not_compile_says_where_and_keeps_its_revision() {
    let fine = world(&[provider(), policy("coder", good())]);
    let mut spec = good();
    spec["rules"][0]["when"] = json!("request.nonsense ==");
    let broken = world(&[provider(), policy("coder", spec)]);
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let before = judge(&fine, &BTreeMap::new()).remove(CODER).unwrap().policy(None, now);
    let draft = judge(&broken, &BTreeMap::new()).remove(CODER).unwrap();
    assert!(draft.accepted.holds, "{draft:?}");
    assert_eq!((draft.compiled.reason, draft.programmed.reason), ("Invalid", "NotCompiled"));
    assert!(draft.compiled.message.contains("spec.rules[0].when"), "{draft:?}");
    let later = Timestamp::from_second(1_800_000_060).unwrap();
    let after = draft.policy(Some(&before), later);
    assert_eq!(after.revision, before.revision);
    assert_eq!(after.observed_generation, Some(7));
    let time =
        |type_: &str| after.conditions.iter().find(|one| one.type_ == type_).unwrap().last_transition_time.clone();
    assert_eq!(time("Accepted"), now.to_string());
    assert_eq!(time("Compiled"), later.to_string());
}

#[test]
fn what_is_referred_to_must_be_there() {
    let draft = judge(&world(&[policy("coder", good())]), &BTreeMap::new()).remove(CODER).unwrap();
    assert_eq!(draft.accepted.reason, "ProviderNotFound");
    assert!(draft.accepted.message.contains("`entra`"), "{draft:?}");
    let mut spec = good();
    spec["targets"][0]["caBundleRef"] = json!({"configMap": "aks-ca"});
    let mut world = world(&[provider(), policy("coder", spec)]);
    let draft = judge(&world, &BTreeMap::new()).remove(CODER).unwrap();
    assert_eq!(draft.accepted.reason, "BundleNotFound");
    assert!(draft.accepted.message.contains("agents/aks-ca/ca.crt"), "{draft:?}");
    let before = config_for(&world, "u1").unwrap();
    world.bundles.insert("agents/aks-ca/ca.crt".to_owned(), "PEM".to_owned());
    let draft = judge(&world, &BTreeMap::new()).remove(CODER).unwrap();
    assert!(draft.accepted.holds && draft.compiled.holds, "{draft:?}");
    let after = config_for(&world, "u1").unwrap();
    assert_ne!(before.revision, after.revision);
    assert_eq!(after.bundles.len(), 1);
}

#[test]
fn two_policies_that_disagree_say_so_both() {
    let mut other = good();
    other["targets"][0]["ports"] = json!([8443]);
    let world = world(&[provider(), policy("coder", good()), policy("also", other)]);
    let drafts = judge(&world, &BTreeMap::new());
    let reasons: BTreeSet<&str> = drafts.values().map(|draft| draft.compiled.reason).collect();
    assert!(reasons.contains("Conflict"), "{drafts:#?}");
}

#[test]
fn nobody_selected_is_said() {
    let mut spec = good();
    spec["selector"] = json!({"matchLabels": {"app": "nobody"}});
    let world = world(&[provider(), policy("coder", spec)]);
    let draft = judge(&world, &BTreeMap::new()).remove(CODER).unwrap();
    assert!(draft.accepted.holds && draft.compiled.holds, "{draft:?}");
    assert_eq!((draft.matched, draft.programmed.reason), (0, "NoPods"));
}

#[test]
fn a_status_that_is_right_is_not_written_again() {
    let world = world(&[provider(), policy("coder", good())]);
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let draft = judge(&world, &BTreeMap::new()).remove(CODER).unwrap();
    let status = draft.policy(None, now);
    let later = Timestamp::from_second(1_800_009_999).unwrap();
    assert_eq!(draft.policy(Some(&status), later), status);
    let provider = judge(&world, &BTreeMap::new()).remove("IdentityProvider/entra").unwrap();
    let status = provider.provider(None, now);
    assert_eq!(status.conditions[0].status, "True", "{status:?}");
    assert_eq!(provider.provider(Some(&status), later), status);
}

#[test]
fn guard_rails_go_to_the_namespaces_that_they_select() {
    let guard = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "ClusterGatewayPolicy", "metadata": {"name": "prod"},
        "spec": {"namespaceSelector": {"matchLabels": {"env": "prod"}}},
    });
    let mut world = world(&[guard]);
    assert!(config_for(&world, "u1").unwrap().documents.is_empty());
    world.namespaces.insert("agents".to_owned(), BTreeMap::from([("env".to_owned(), "prod".to_owned())]));
    assert_eq!(config_for(&world, "u1").unwrap().documents[0].name, "ClusterGatewayPolicy/prod");
}
