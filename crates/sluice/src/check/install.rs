//! Kubernetes itself, the Deployments, the definitions of our kinds.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use sluice_k8s::crds;

use super::finding::Finding;
use super::same::{differences, named};

/// Oldest minor version of Kubernetes 1.x: native sidecars and
/// ValidatingAdmissionPolicy are on in all later ones.
const OLDEST: u32 = 30;

pub(super) fn kubernetes(minor: u32) -> Finding {
    let object = format!("Kubernetes 1.{minor}");
    if minor >= OLDEST {
        return Finding::ok(object, "has native sidecars and ValidatingAdmissionPolicy");
    }
    let what = format!("is older than 1.{OLDEST}: sidecars or admission policies do not hold");
    Finding::problem(object, what, format!("upgrade the cluster to 1.{OLDEST} or newer"))
}

/// Whether what is installed and this program belong together.
pub(super) fn version(installed: Option<&str>, own: &str) -> Finding {
    match installed {
        None => Finding::problem(
            "ConfigMap sluice-injection",
            "is not there: Sluice is not installed in this namespace",
            "helm install sluice charts/sluice -n sluice-system, or name its namespace: --sluice-namespace NS",
        ),
        Some(installed) if installed == own => Finding::ok("Sluice", format!("version {installed} is installed")),
        Some(installed) => Finding::warning(
            "Sluice",
            format!("version {installed} is installed, and this program is {own}: it compares with what it knows"),
            format!("use kubectl-sluice {installed}, or helm upgrade to {own}"),
        ),
    }
}

pub(super) fn deployments(found: &[Deployment], namespace: &str, collector: bool) -> Vec<Finding> {
    let mut wanted = vec![("sluice-control", "annotated pods are refused, and policies do not reach the sidecars")];
    if collector {
        wanted.push(("sluice-collector", "records wait on the pods, and what changes state is denied after a while"));
    }
    wanted.into_iter().map(|(name, without)| deployment(found, namespace, name, without)).collect()
}

fn deployment(found: &[Deployment], namespace: &str, name: &str, without: &str) -> Finding {
    let object = format!("Deployment {namespace}/{name}");
    let Some(found) = found.iter().find(|one| one.metadata.name.as_deref() == Some(name)) else {
        return Finding::problem(object, "is not there", "helm upgrade --install sluice charts/sluice");
    };
    let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = found.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let look =
        format!("kubectl -n {namespace} describe deployment {name}; kubectl -n {namespace} logs deployment/{name}");
    if ready == 0 {
        return Finding::problem(object, format!("none of {wanted} replicas is ready: {without}"), look);
    }
    if ready < wanted {
        return Finding::warning(object, format!("{ready} of {wanted} replicas are ready"), look);
    }
    if name == "sluice-control" && wanted < 2 {
        return Finding::warning(
            object,
            format!("one replica: whenever it restarts, {without}"),
            "set the chart's value control.replicas to 2 or more",
        );
    }
    Finding::ok(object, format!("{ready} of {wanted} replicas are ready"))
}

/// `same`: this program is of the version that is installed, so that a
/// difference is no other version's.
pub(super) fn definitions(found: &[CustomResourceDefinition], same: bool) -> Vec<Finding> {
    crds::definitions().iter().map(|wanted| definition(wanted, found, same)).collect()
}

fn definition(wanted: &CustomResourceDefinition, found: &[CustomResourceDefinition], same: bool) -> Finding {
    let name = wanted.metadata.name.clone().unwrap_or_default();
    let object = format!("CustomResourceDefinition {name}");
    let apply = "helm upgrade, or kubectl apply --server-side -f manifests/crds/";
    let Some(found) = found.iter().find(|one| one.metadata.name == wanted.metadata.name) else {
        return Finding::problem(object, "is not there: there can be no policies", apply);
    };
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let refused = conditions.into_iter().find(|one| {
        matches!(one.type_.as_str(), "Established" | "NamesAccepted") && one.status != "True"
            || one.type_ == "NonStructuralSchema" && one.status == "True"
    });
    if let Some(condition) = refused {
        let what = format!("{}: {}", condition.type_, condition.message.as_deref().unwrap_or("no reason given"));
        return Finding::problem(object, what, apply);
    }
    // Other versions of a later release may be there beside ours.
    let ours = |one: &CustomResourceDefinition| one.spec.versions.first().map(|version| version.name.clone());
    let version = ours(wanted).unwrap_or_default();
    let Some(served) = found.spec.versions.iter().find(|one| one.name == version && one.served) else {
        return Finding::problem(object, format!("does not serve version {version}"), apply);
    };
    let Some(expected) = wanted.spec.versions.first() else { return Finding::ok(object, "is there") };
    let differences = differences(expected, served);
    if differences.is_empty() {
        return Finding::ok(object, format!("serves {version} as this program knows it"));
    }
    let whose = if same { "was changed" } else { "is of another version" };
    Finding::warning(object, format!("{whose}: {}", named(&differences)), apply)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Level;
    use super::*;

    fn deployment_of(name: &str, wanted: i32, ready: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"replicas": wanted, "selector": {}, "template": {}},
            "status": {"readyReplicas": ready},
        }))
        .expect("a Deployment")
    }

    #[test]
    fn replicas_are_counted() {
        let levels = |found: &[Deployment]| -> Vec<Level> {
            deployments(found, "ns", true).iter().map(|finding| finding.level).collect()
        };
        let both = |control: (i32, i32), collector: (i32, i32)| {
            levels(&[
                deployment_of("sluice-control", control.0, control.1),
                deployment_of("sluice-collector", collector.0, collector.1),
            ])
        };
        assert_eq!(both((2, 2), (1, 1)), [Level::Ok, Level::Ok]);
        assert_eq!(both((2, 1), (1, 0)), [Level::Warning, Level::Problem]);
        assert_eq!(both((1, 1), (1, 1)), [Level::Warning, Level::Ok]);
        assert_eq!(levels(&[]), [Level::Problem, Level::Problem]);
        assert_eq!(deployments(&[], "ns", false).len(), 1);
    }

    #[test]
    fn versions_are_compared() {
        assert_eq!(kubernetes(29).level, Level::Problem);
        assert_eq!(kubernetes(30).level, Level::Ok);
        assert_eq!(version(Some("1.0.0"), "1.0.0").level, Level::Ok);
        assert_eq!(version(Some("1.1.0"), "1.0.0").level, Level::Warning);
        assert_eq!(version(None, "1.0.0").level, Level::Problem);
    }

    #[test]
    fn definitions_must_be_ours() {
        let mut found = crds::definitions();
        assert!(definitions(&found, true).iter().all(|finding| finding.level == Level::Ok));
        if let Some(version) = found.first_mut().and_then(|one| one.spec.versions.first_mut()) {
            version.schema = None;
        }
        let changed = definitions(&found, true);
        assert_eq!(changed.first().map(|finding| finding.level), Some(Level::Warning));
        assert!(changed.first().is_some_and(|finding| finding.what.contains("schema")));
        if let Some(version) = found.first_mut().and_then(|one| one.spec.versions.first_mut()) {
            version.served = false;
        }
        assert_eq!(definitions(&found, true).first().map(|finding| finding.level), Some(Level::Problem));
        assert_eq!(definitions(&[], true).len(), 3);
    }
}
