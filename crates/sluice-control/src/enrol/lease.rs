use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde_json::{Value, json};
use sluice_wire::{Code, Refusal, Report};

use super::Holder;

/// Before the pod's UID.
const PREFIX: &str = "sluice-enrol-";
/// Annotation: the sidecar's last report.
const REPORT: &str = "sluice.dev/report";
/// Annotation: the pod, for people.
const POD: &str = "sluice.dev/pod";
/// Problems of a report that are kept, and bytes of each text.
const KEPT_PROBLEMS: usize = 8;
const KEPT_TEXT: usize = 512;
/// How long a Lease without its pod is left: the caches may be behind.
const GRACE: Duration = Duration::from_secs(120);

/// What to write, so that this key is the pod's.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// Nobody has enrolled for the pod.
    Create(Lease),
    /// The same key again, or the certificate of the other one has ended.
    Renew(Lease),
}

/// Name of the Lease of a pod.
pub fn lease_name(pod_uid: &str) -> String {
    format!("{PREFIX}{pod_uid}")
}

/// UID of the pod that a Lease is about; `None`: it is no enrolment.
pub fn pod_of(lease: &Lease) -> Option<&str> {
    lease.metadata.name.as_deref()?.strip_prefix(PREFIX)
}

/// Whether, and how, `key` becomes the pod's for `life` from now.
///
/// # Errors
/// `AlreadyEnrolled` while another key's certificate is valid.
pub fn claim(
    present: Option<&Lease>,
    holder: &Holder,
    key: &str,
    now: Timestamp,
    life: Duration,
) -> Result<Claim, Refusal> {
    let seconds = i32::try_from(life.as_secs()).unwrap_or(i32::MAX);
    let Some(present) = present else {
        return Ok(Claim::Create(Lease {
            metadata: ObjectMeta {
                name: Some(lease_name(&holder.pod_uid)),
                annotations: Some(BTreeMap::from([(POD.to_owned(), format!("{}/{}", holder.namespace, holder.pod))])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(key.to_owned()),
                acquire_time: Some(MicroTime(now)),
                renew_time: Some(MicroTime(now)),
                lease_duration_seconds: Some(seconds),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        }));
    };
    let mut lease = present.clone();
    let spec = lease.spec.get_or_insert_default();
    let same = spec.holder_identity.as_deref() == Some(key);
    let until = ends(spec);
    if !same && until.is_some_and(|until| now < until) {
        return Err(Refusal::new(
            Code::AlreadyEnrolled,
            format!("the pod {}/{} is enrolled with another key", holder.namespace, holder.pod),
            format!(
                "a gateway keeps its key over restarts; if it was lost, wait until {} or make the pod anew",
                until.unwrap_or(now)
            ),
        ));
    }
    if !same {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.holder_identity = Some(key.to_owned());
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(seconds);
    Ok(Claim::Renew(lease))
}

fn ends(spec: &LeaseSpec) -> Option<Timestamp> {
    let renewed = spec.renew_time.as_ref()?.0;
    let seconds = u64::try_from(spec.lease_duration_seconds?).ok()?;
    renewed.checked_add(Duration::from_secs(seconds)).ok()
}

/// Whether an enrolment can go: its pod is not known, and it was not written
/// a moment ago.
pub fn is_orphaned(lease: &Lease, pods: &BTreeSet<String>, now: Timestamp) -> bool {
    let Some(uid) = pod_of(lease) else { return false };
    let written = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
    let settled = written.is_none_or(|written| written.checked_add(GRACE).is_ok_and(|settled| settled <= now));
    !pods.contains(uid) && settled
}

/// The patch that keeps a report in the pod's Lease.
pub fn stored_report(report: &Report) -> Value {
    let mut report = report.clone();
    report.problems.truncate(KEPT_PROBLEMS);
    for problem in &mut report.problems {
        for text in [&mut problem.document, &mut problem.path, &mut problem.message] {
            let end = (0..=KEPT_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
    }
    let text = serde_json::to_string(&report).unwrap_or_default();
    json!({"metadata": {"annotations": {REPORT: text}}})
}

/// The report that is kept in a Lease.
pub fn report_of(lease: &Lease) -> Option<Report> {
    serde_json::from_str(lease.metadata.annotations.as_ref()?.get(REPORT)?).ok()
}
