use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sluice_wire::{Code, Report, ReportedProblem};

use super::*;

const AUDIENCE: &str = "control.sluice.dev";
const HOUR: Duration = Duration::from_secs(3_600);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

fn someone() -> Holder {
    Holder {
        namespace: "agents".to_owned(),
        service_account: "coder".to_owned(),
        pod: "coder-1".to_owned(),
        pod_uid: "u1".to_owned(),
    }
}

fn reviewed() -> TokenReviewStatus {
    let extra = [("pod-name", "coder-1"), ("pod-uid", "u1")]
        .map(|(key, value)| (format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]));
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec![AUDIENCE.to_owned()]),
        user: Some(UserInfo {
            username: Some("system:serviceaccount:agents:coder".to_owned()),
            extra: Some(BTreeMap::from(extra)),
            ..UserInfo::default()
        }),
        ..TokenReviewStatus::default()
    }
}

fn refused(status: TokenReviewStatus) -> String {
    let refusal = holder(status, AUDIENCE).expect_err("refused");
    assert_eq!(refusal.code, Code::BadToken);
    refusal.message
}

#[test]
fn the_holder_of_a_pods_token_is_that_pod() {
    assert_eq!(holder(reviewed(), AUDIENCE).expect("a holder"), someone());
}

#[test]
fn a_token_that_is_not_believed_is_nobodys() {
    for authenticated in [Some(false), None] {
        let said = refused(TokenReviewStatus { authenticated, ..reviewed() });
        assert!(said.contains("does not believe"), "{said}");
    }
}

#[test]
fn a_token_for_another_audience_is_refused() {
    for audiences in [None, Some(vec![]), Some(vec!["https://kubernetes.default.svc".to_owned()])] {
        let said = refused(TokenReviewStatus { audiences, ..reviewed() });
        assert!(said.contains("another audience"), "{said}");
    }
}

#[test]
fn a_token_that_is_not_bound_to_a_pod_is_refused() {
    for key in ["pod-name", "pod-uid"] {
        let mut status = reviewed();
        let extra = status.user.as_mut().and_then(|user| user.extra.as_mut()).expect("extra");
        extra.remove(&format!("authentication.kubernetes.io/{key}"));
        let said = refused(status);
        assert!(said.contains("not bound to a pod"), "{said}");
    }
    let mut two = reviewed();
    let extra = two.user.as_mut().and_then(|user| user.extra.as_mut()).expect("extra");
    extra.insert("authentication.kubernetes.io/pod-uid".to_owned(), vec!["u1".to_owned(), "u2".to_owned()]);
    refused(two);
}

#[test]
fn a_person_is_no_service_account() {
    for name in ["eve@corp.example", "system:node:n1", "system:serviceaccount:agents", "system:serviceaccount:a:b:c"] {
        let mut status = reviewed();
        status.user.as_mut().expect("a user").username = Some(name.to_owned());
        let said = refused(status);
        assert!(said.contains("no service account"), "{name}: {said}");
    }
}

fn pod(change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "coder-1", "namespace": "agents", "uid": "u1",
            "annotations": {"sluice.dev/injected": "0.1.0"}, "labels": {"sluice.dev/injected": "true"},
        },
        "spec": {
            "serviceAccountName": "coder",
            "containers": [{"name": "agent"}],
            "initContainers": [{"name": "sluice-init"}, {"name": "sluice-gateway", "restartPolicy": "Always"}],
        },
        "status": {"phase": "Pending"},
    });
    change(&mut pod);
    serde_json::from_value(pod).expect("a pod")
}

#[test]
fn an_injected_pod_is_admitted() {
    admit(&pod(|_| {}), &someone()).expect("admitted");
    admit(&pod(|pod| pod["status"]["phase"] = json!("Running")), &someone()).expect("admitted");
}

#[test]
fn a_token_of_another_pod_or_service_account_is_refused() {
    let changes: [(&str, Value); 4] = [
        ("/metadata/uid", json!("u2")),
        ("/metadata/name", json!("coder-2")),
        ("/metadata/namespace", json!("prod")),
        ("/spec/serviceAccountName", json!("admin")),
    ];
    for (path, value) in changes {
        let other = pod(|pod| *pod.pointer_mut(path).expect("a field") = value);
        assert_eq!(admit(&other, &someone()).expect_err(path).code, Code::BadToken, "{path}");
    }
    let unnamed = pod(|pod| pod["spec"]["serviceAccountName"] = Value::Null);
    assert_eq!(admit(&unnamed, &someone()).expect_err("default").code, Code::BadToken);
    let default = Holder { service_account: "default".to_owned(), ..someone() };
    admit(&unnamed, &default).expect("admitted");
}

#[test]
fn a_pod_that_has_ended_enrols_no_more() {
    for phase in ["Failed", "Succeeded"] {
        let over = pod(|pod| pod["status"]["phase"] = json!(phase));
        let refusal = admit(&over, &someone()).expect_err(phase);
        assert!(refusal.message.contains("has ended"), "{refusal:?}");
    }
}

#[test]
fn a_pod_without_our_gateway_first_is_refused() {
    let changes: [fn(&mut Value); 5] = [
        |pod| pod["metadata"]["annotations"] = json!({}),
        |pod| pod["spec"]["initContainers"] = json!([]),
        |pod| pod["spec"]["initContainers"][1]["restartPolicy"] = Value::Null,
        |pod| {
            pod["spec"]["initContainers"] = json!([
                {"name": "mine"}, {"name": "sluice-init"}, {"name": "sluice-gateway", "restartPolicy": "Always"},
            ]);
        },
        |pod| pod["spec"]["initContainers"].as_array_mut().expect("a list").reverse(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let refusal = admit(&pod(change), &someone()).expect_err("refused");
        assert_eq!(refusal.code, Code::NotInjected, "{index}");
        assert!(refusal.fix.contains("sluice.dev/inject"), "{refusal:?}");
    }
}

fn claimed(present: Option<&Lease>, key: &str, now: Timestamp) -> Result<Lease, Refusal> {
    Ok(match claim(present, &someone(), key, now, HOUR)? {
        Claim::Create(lease) => {
            assert!(present.is_none());
            lease
        }
        Claim::Renew(lease) => {
            assert!(present.is_some());
            lease
        }
    })
}

#[test]
fn the_first_key_of_a_pod_is_its_key() {
    let lease = claimed(None, "key-a", at(0)).expect("a lease");
    assert_eq!(lease.metadata.name.as_deref(), Some("sluice-enrol-u1"));
    assert_eq!(pod_of(&lease), Some("u1"));
    let spec = lease.spec.expect("a spec");
    assert_eq!(spec.holder_identity.as_deref(), Some("key-a"));
    assert_eq!(spec.lease_duration_seconds, Some(3_600));
}

#[test]
fn the_same_key_renews_and_keeps_its_place() {
    let mut lease = claimed(None, "key-a", at(0)).expect("a lease");
    lease.metadata.resource_version = Some("5".to_owned());
    let report = Report { revision: "r".to_owned(), compiled: true, problems: vec![], version: "0.1.0".to_owned() };
    let annotations = stored_report(&report)["metadata"]["annotations"].clone();
    let annotations: BTreeMap<String, String> = serde_json::from_value(annotations).expect("annotations");
    lease.metadata.annotations.get_or_insert_default().extend(annotations);
    let renewed = claimed(Some(&lease), "key-a", at(1_800)).expect("renewed");
    assert_eq!(renewed.metadata.resource_version.as_deref(), Some("5"), "against what was read");
    assert_eq!(report_of(&renewed), Some(report), "the report stays");
    let spec = renewed.spec.expect("a spec");
    assert_eq!(spec.renew_time.expect("a time").0, at(1_800));
    assert_eq!(spec.acquire_time.expect("a time").0, at(0));
    assert_eq!(spec.lease_transitions, Some(0));
}

#[test]
fn another_key_waits_until_the_first_has_ended() {
    let lease = claimed(None, "key-a", at(0)).expect("a lease");
    for seconds in [0, 1, 3_599] {
        let refusal = claimed(Some(&lease), "key-b", at(seconds)).expect_err("refused");
        assert_eq!(refusal.code, Code::AlreadyEnrolled);
        assert!(refusal.fix.contains(&at(3_600).to_string()), "{refusal:?}");
    }
    let renewed = claimed(Some(&lease), "key-a", at(1_800)).expect("renewed");
    assert!(claimed(Some(&renewed), "key-b", at(3_600)).is_err(), "renewed meanwhile");
    let taken = claimed(Some(&lease), "key-b", at(3_600)).expect("taken").spec.expect("a spec");
    assert_eq!(taken.holder_identity.as_deref(), Some("key-b"));
    assert_eq!(taken.acquire_time.expect("a time").0, at(3_600));
    assert_eq!(taken.lease_transitions, Some(1));
}

#[test]
fn only_enrolments_of_pods_that_are_gone_are_orphaned() {
    let lease = claimed(None, "key-a", at(0)).expect("a lease");
    let (gone, there) = (BTreeSet::new(), BTreeSet::from(["u1".to_owned()]));
    assert!(!is_orphaned(&lease, &there, at(100_000)));
    assert!(!is_orphaned(&lease, &gone, at(119)), "the caches may be behind");
    assert!(is_orphaned(&lease, &gone, at(120)));
    let mut leader = lease;
    leader.metadata.name = Some("sluice-control".to_owned());
    assert!(!is_orphaned(&leader, &gone, at(100_000)), "no enrolment");
}

#[test]
fn a_report_is_kept_within_bounds() {
    let problem = ReportedProblem { document: "d".to_owned(), path: String::new(), message: "é".repeat(2_000) };
    let report =
        Report { revision: "r".to_owned(), compiled: false, problems: vec![problem; 50], version: "0.1.0".to_owned() };
    let stored = stored_report(&report);
    let text = stored["metadata"]["annotations"]["sluice.dev/report"].as_str().expect("a text");
    assert!(text.len() < 8 * 1024, "{}", text.len());
    let kept: Report = serde_json::from_str(text).expect("a report");
    assert_eq!((kept.problems.len(), kept.problems[0].message.len()), (8, 512));
}
