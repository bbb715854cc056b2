use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use serde_json::{Value, json};

use super::*;

fn role(name: &str, rules: Value) -> ClusterRole {
    serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).expect("a role")
}

fn everywhere(role: &str, subject: Value) -> ClusterRoleBinding {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{role}-everywhere")}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
    }))
    .expect("a binding")
}

fn within(namespace: &str, role: &str, subject: Value) -> RoleBinding {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{role}-here"), "namespace": namespace}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
    }))
    .expect("a binding")
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "name": name})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

fn judged(roles: Vec<ClusterRole>, cluster: Vec<ClusterRoleBinding>, bindings: Vec<RoleBinding>) -> Vec<Finding> {
    let grants = Grants { cluster_roles: roles, cluster_bindings: cluster, bindings, ..Grants::default() };
    let agents = BTreeSet::from(["agents".to_owned()]);
    let accounts = BTreeMap::from([(("agents".to_owned(), "coder".to_owned()), "coder-1".to_owned())]);
    rights(&grants, &Around { namespace: "sluice-system", agents: &agents, accounts: &accounts })
}

fn patcher() -> ClusterRole {
    role("patcher", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]))
}

#[test]
fn rights_count_where_agents_run() {
    let findings = judged(vec![patcher()], vec![], vec![within("agents", "patcher", user("ada"))]);
    let [one] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((one.level, one.object.as_str()), (Level::Warning, "User ada"));
    assert!(one.what.contains("change running pods (in agents by RoleBinding agents/patcher-here)"), "{}", one.what);
    assert!(judged(vec![patcher()], vec![], vec![within("elsewhere", "patcher", user("ada"))]).is_empty());
    // Everywhere is also in Sluice's own namespace.
    let all = judged(vec![patcher()], vec![everywhere("patcher", user("ada"))], vec![]);
    assert!(all.iter().any(|one| one.what.contains("run programs in Sluice's namespace")), "{all:#?}");
}

#[test]
fn administrators_are_one_line() {
    let admin = role("cluster-admin", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]));
    let bindings =
        vec![everywhere("cluster-admin", group("sre")), everywhere("cluster-admin", group("system:masters"))];
    let findings = judged(vec![admin], bindings, vec![]);
    let [first, second] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!(first.what, "may do everything (everywhere by ClusterRoleBinding cluster-admin-everywhere)");
    assert!(second.level == Level::Ok && second.what.starts_with("1 of Kubernetes' own"), "{second:?}");
}

#[test]
fn everybody_and_agents_must_hold_none() {
    for subject in [
        group("system:authenticated"),
        group("system:serviceaccounts"),
        group("system:serviceaccounts:agents"),
        user("system:serviceaccount:agents:coder"),
        account("agents", "coder"),
    ] {
        let findings = judged(vec![patcher()], vec![everywhere("patcher", subject.clone())], vec![]);
        assert_eq!(findings.iter().map(|one| one.level).max(), Some(Level::Problem), "{subject}: {findings:#?}");
    }
    for subject in [group("system:serviceaccounts:other"), account("agents", "other")] {
        let findings = judged(vec![patcher()], vec![everywhere("patcher", subject.clone())], vec![]);
        assert_eq!(findings.iter().map(|one| one.level).max(), Some(Level::Warning), "{subject}: {findings:#?}");
    }
}

#[test]
fn components_are_counted_not_listed() {
    let bindings = vec![
        everywhere("patcher", account("kube-system", "deployment-controller")),
        everywhere("patcher", user("system:kube-scheduler")),
        everywhere("patcher", user("aks-support")),
        everywhere("patcher", account("sluice-system", "sluice-control")),
    ];
    let findings = judged(vec![patcher()], bindings, vec![]);
    assert_eq!(findings.len(), 3, "{findings:#?}");
    assert!(findings.iter().all(|one| one.level == Level::Ok), "{findings:#?}");
}

#[test]
fn names_and_wildcards_are_read_as_the_api_server_does() {
    let held =
        |rule: Value| !judged(vec![role("r", json!([rule]))], vec![everywhere("r", user("ada"))], vec![]).is_empty();
    let webhooks = |names: Value, verbs: Value| json!({"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "verbs": verbs, "resourceNames": names});
    assert!(!held(webhooks(json!(["cert-manager-webhook"]), json!(["update"]))));
    assert!(held(webhooks(json!(["sluice"]), json!(["update"]))));
    assert!(!held(webhooks(json!(["sluice"]), json!(["create"]))));
    assert!(held(json!({"apiGroups": ["*"], "resources": ["*/ephemeralcontainers"], "verbs": ["*"]})));
    assert!(held(json!({"apiGroups": [""], "resources": ["*"], "verbs": ["impersonate"]})));
    assert!(!held(json!({"apiGroups": ["apps"], "resources": ["pods"], "verbs": ["patch"]})));
    assert!(!held(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]})));
    assert!(!held(json!({"apiGroups": ["sluice.dev"], "resources": ["trails"], "verbs": ["get"]})));
    assert!(held(json!({"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]})));
    assert!(held(json!({"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]})));
    assert!(held(json!({"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["create"]})));
    assert!(!held(json!({"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["create"]})));
    let approval = json!(["certificatesigningrequests/approval"]);
    assert!(held(json!({"apiGroups": ["certificates.k8s.io"], "resources": approval, "verbs": ["update"]})));
}

#[test]
fn accounts_that_people_share_are_no_components() {
    let admin = role("cluster-admin", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]));
    for name in ["clusterAdmin", "clusterUser"] {
        let findings = judged(vec![admin.clone()], vec![everywhere("cluster-admin", user(name))], vec![]);
        let [one] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!((one.level, one.object.clone()), (Level::Warning, format!("User {name}")));
        assert!(one.fix.contains("az aks update --disable-local-accounts"), "{}", one.fix);
    }
}

#[test]
fn an_agent_that_runs_as_a_component_is_a_problem() {
    let grants = Grants {
        cluster_roles: vec![patcher()],
        cluster_bindings: vec![everywhere("patcher", account("kube-system", "default"))],
        ..Grants::default()
    };
    let agents = BTreeSet::from(["kube-system".to_owned()]);
    let accounts = BTreeMap::from([(("kube-system".to_owned(), "default".to_owned()), "coder-1".to_owned())]);
    let findings = rights(&grants, &Around { namespace: "sluice-system", agents: &agents, accounts: &accounts });
    assert!(matches!(findings.as_slice(), [one] if one.level == Level::Problem), "{findings:#?}");
}

#[test]
fn to_give_oneself_rights_in_a_namespace_counts_there() {
    let rule = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"]});
    let binder = role("binder", json!([rule]));
    for (namespace, count) in [("agents", 1), ("sluice-system", 1), ("elsewhere", 0)] {
        let findings = judged(vec![binder.clone()], vec![], vec![within(namespace, "binder", user("ada"))]);
        assert_eq!(findings.len(), count, "{namespace}: {findings:#?}");
    }
}

#[test]
fn who_may_change_any_of_our_admission_policies_is_named() {
    for asserted in sluice_k8s::policies::all() {
        let name = asserted.policy.metadata.name.expect("a name");
        let rule = json!({
            "apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingadmissionpolicies"],
            "verbs": ["patch"], "resourceNames": [name],
        });
        let findings = judged(vec![role("r", json!([rule]))], vec![everywhere("r", user("ada"))], vec![]);
        assert_eq!(findings.len(), 1, "{name}");
    }
}
