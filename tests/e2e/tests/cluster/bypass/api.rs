//! The cluster's own API, through the gateway: what no policy can allow. The
//! agent's account may do everything, and its policy allows everything.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::Request;

use super::admission::assert_ours_first;
use crate::kube::{Namespace, admin, apply, unique};
use crate::pod::{Pod, agent, plain};
use crate::policies::{policy, programmed};
use crate::scene::Scene;
use crate::trials::one;

/// Inside the agent's pod.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("bypass::api::the_agents_own_account_works_through_the_gateway", own_account),
        one("bypass::api::an_agent_cannot_write_policies_providers_or_decisions", own_objects),
        one("bypass::api::an_agent_cannot_mint_a_token_with_our_audience", mint),
        one("bypass::api::an_agent_cannot_impersonate", impersonate),
        one("bypass::api::an_agent_cannot_exec_into_another_pod", exec_elsewhere),
        one("bypass::api::creating_an_uninjected_pod_is_denied_unless_policy_allows_it", uninjected_pod),
        one("bypass::api::a_pod_that_an_agent_makes_is_injected_where_required", made_where_required),
        one("bypass::api::an_issuer_added_by_a_namespace_editor_is_refused", editor),
    ]
}

/// A request of the agent as its service account, to the API server of its
/// cluster; the answer as the probe gives it.
fn ask(pod: &Pod, method: &str, path: &str, body: &Value, more: &[&str]) -> Result<Value> {
    let (token, ca) = (format!("{FOLDER}/token"), format!("{FOLDER}/ca.crt"));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut words = vec![
        "https",
        "-to",
        "kubernetes.default.svc:443",
        "-name",
        "kubernetes.default.svc",
        "-method",
        method,
        "-path",
        path,
        "-token-file",
        &token,
        "-ca",
        &ca,
        "-body",
        &body,
    ];
    words.extend(more);
    pod.probe(&words)
}

fn assert_denied(what: &str, came: &Value, words: &str) -> Result<()> {
    let body = came["body"].as_str().unwrap_or_default();
    ensure!(came["status"] == 403 && body.contains(words), "{what}: expected a denial with `{words}`: {came}");
    Ok(())
}

/// Without it, every denial below could be one of everything.
fn own_account() -> Result<()> {
    let scene = Scene::get()?;
    let name = unique("note");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}});
    let came = ask(&scene.agent, "POST", &scene.namespace.core("configmaps"), &map, &[])?;
    ensure!(came["status"] == 201, "{came}");
    let listed = scene.agent.kubectl(&["get", "configmap", &name, "--output", "name"])?;
    ensure!(listed.as_ref().is_ok_and(|text| text.contains(&name)), "{listed:?}");
    Ok(())
}

fn own_objects() -> Result<()> {
    let scene = Scene::get()?;
    let own = "sluice.dev/v1alpha1";
    let at = |plural: &str| scene.namespace.group(own, plural);
    let cluster = |plural: &str| format!("/apis/{own}/{plural}");
    for (path, kind, spec) in [
        (at("gatewaypolicies"), "GatewayPolicy", json!({})),
        (cluster("clustergatewaypolicies"), "ClusterGatewayPolicy", json!({})),
        (cluster("identityproviders"), "IdentityProvider", json!({"issuers": ["https://evil.example.com/"]})),
        (at("approvaldecisions"), "ApprovalDecision", json!({"request": "x", "decision": "Approve"})),
    ] {
        let object = json!({"apiVersion": own, "kind": kind, "metadata": {"name": unique("evil")}, "spec": spec});
        assert_denied(kind, &ask(&scene.agent, "POST", &path, &object, &[])?, "sluice.dev")?;
    }
    let path = at("gatewaypolicies/agents");
    assert_denied("delete", &ask(&scene.agent, "DELETE", &path, &Value::Null, &[])?, "sluice.dev")?;
    let patch = json!({"spec": {"mode": "Audit"}});
    let merge = ["-header", "Content-Type: application/merge-patch+json"];
    assert_denied("patch", &ask(&scene.agent, "PATCH", &path, &patch, &merge)?, "sluice.dev")?;
    let listed = ask(&scene.agent, "GET", &at("gatewaypolicies"), &Value::Null, &[])?;
    ensure!(listed["status"] == 200, "to read them is fine: {listed}");
    Ok(())
}

fn mint() -> Result<()> {
    let scene = Scene::get()?;
    let path = scene.namespace.core("serviceaccounts/default/token");
    let ours = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["control.sluice.dev"]}});
    assert_denied("through the gateway", &ask(&scene.agent, "POST", &path, &ours, &[])?, "audience")?;
    let other = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["example.com"]}});
    let came = ask(&scene.agent, "POST", &path, &other, &[])?;
    ensure!(came["status"] == 201, "{came}");
    Ok(())
}

fn impersonate() -> Result<()> {
    let scene = Scene::get()?;
    for header in ["Impersonate-User: root@example.com", "Impersonate-Group: system:masters", "impersonate-uid: 1"] {
        let came = ask(&scene.agent, "GET", "/api/v1/nodes", &Value::Null, &["-header", header])?;
        assert_denied(header, &came, "Impersonate")?;
    }
    Ok(())
}

fn exec_elsewhere() -> Result<()> {
    let scene = Scene::get()?;
    let came =
        scene.agent.kubectl(&["exec", "free", "--namespace", &scene.namespace.name, "--", "/bin/probe", "rights"])?;
    ensure!(came.as_ref().is_err_and(|error| error.contains("not supported")), "{came:?}");
    Ok(())
}

/// With a policy that allows to read, and nothing else.
fn uninjected_pod() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    namespace.lets_do_everything(&namespace.service_accounts())?;
    let rules = r#"
  - name: look
    subjects: {serviceAccounts: [default]}
    targets: [own]
    kubernetes: {verbs: [get, list, watch], resources: ["*"], namespaces: ["*"]}
    action: Allow
"#;
    apply(&policy(&namespace, "agents", "", rules, "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    crate::policies::until_programmed(&namespace, "agents")?;
    let came = ask(&pod, "GET", &namespace.core("pods"), &Value::Null, &[])?;
    ensure!(came["status"] == 200, "{came}");
    let escape = plain("escape", &["/bin/probe", "wait"]);
    assert_denied("pod", &ask(&pod, "POST", &namespace.core("pods"), &escape, &[])?, "sluice")?;
    let template = json!({"metadata": {"labels": {"app": "escape"}}, "spec": escape["spec"]});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "escape"},
        "spec": {"selector": {"matchLabels": {"app": "escape"}}, "template": template},
    });
    let path = namespace.group("apps/v1", "deployments");
    assert_denied("deployment", &ask(&pod, "POST", &path, &deployment, &[])?, "sluice")?;
    ensure!(admin(Request::get(namespace.core("pods/escape")))?.status == 404);
    pod.delete()
}

/// Where policy must let agents make pods, the namespace's label keeps those
/// behind a gateway too.
fn made_where_required() -> Result<()> {
    let namespace = Namespace::new(&json!({"sluice.dev/required": "true"}))?;
    namespace.lets_do_everything(&namespace.service_accounts())?;
    apply(&policy(&namespace, "agents", "", crate::policies::EVERYTHING, "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    programmed(&namespace, "agents", &policy(&namespace, "agents", "", crate::policies::EVERYTHING, "")?)?;
    let mut child = plain("child", &["/bin/probe", "wait"]);
    child["spec"]["schedulingGates"] = json!([{"name": "example.com/never"}]);
    let came = ask(&pod, "POST", &namespace.core("pods"), &child, &[])?;
    ensure!(came["status"] == 201, "{came}");
    assert_ours_first(&Pod::find(&namespace.name, "child")?.object()?)?;
    let mut opted_out = plain("out", &["/bin/probe", "wait"]);
    opted_out["metadata"]["annotations"]["sluice.dev/inject"] = json!("disabled");
    let came = ask(&pod, "POST", &namespace.core("pods"), &opted_out, &[])?;
    ensure!(came["status"] == 403 && came.to_string().contains("every pod here runs behind the gateway"), "{came}");
    pod.delete()
}

/// Whoever has `edit` or `admin` in a namespace says nothing about who is who,
/// nor what agents may do.
fn editor() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    let cluster = sluice_testkit::Cluster::get()?;
    for role in ["edit", "admin"] {
        let group = unique("editors");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": group},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        });
        let path = namespace.group("rbac.authorization.k8s.io/v1", "rolebindings");
        admin(Request::new("POST", path).json(&binding))?.expect(201)?;
        let token = cluster.token(&json!({"upn": "editor@example.com", "groups": [group]}))?;
        let ask = |method: &str, path: &str, object: &Value| {
            let mut client = cluster.direct(sluice_testkit::Seat::RootV4, sluice_testkit::Protocol::Http1)?;
            client.send(&Request::new(method, path).json(object).bearer(&token))
        };
        let own = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": group}});
        ask("POST", &namespace.core("configmaps"), &own)?.expect(201)?;
        let provider = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "IdentityProvider", "metadata": {"name": group},
            "spec": {"issuers": ["https://evil.example.com/"]},
        });
        ask("POST", "/apis/sluice.dev/v1alpha1/identityproviders", &provider)?.expect(403)?;
        let policy = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy", "metadata": {"name": group},
            "spec": {"mode": "Audit"},
        });
        ask("POST", &namespace.group("sluice.dev/v1alpha1", "gatewaypolicies"), &policy)?.expect(403)?;
    }
    Ok(())
}
