//! What the collector has, asked as an auditor asks: over TLS, with a token of
//! the cluster.

use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use sluice_testkit::{Client, Cluster, Protocol, Request, Response, eventually};

use crate::installation::SYSTEM;
use crate::kube;

/// Port of the collector's questions.
const QUERY_PORT: u16 = 8446;
/// The name in its certificate.
const HOST: &str = "sluice-collector.sluice-system.svc";

/// Asks the collector something as the bearer of `token`.
pub(crate) fn ask(token: &str, path: &str) -> Result<Response> {
    let address = SocketAddr::new(service("sluice-collector")?, QUERY_PORT);
    let mut client = Client::connect(Protocol::Http2, address, HOST, &roots()?)?;
    client.send(&Request::get(path).bearer(token))
}

/// The cluster address of one of our services.
pub(crate) fn service(name: &str) -> Result<IpAddr> {
    let service = kube::get(&["service", name, "--namespace", SYSTEM])?;
    service["spec"]["clusterIP"].as_str().context("a cluster IP")?.parse().context("a cluster IP")
}

/// Whom everybody believes who talks to control plane or collector.
pub(crate) fn roots() -> Result<RootCertStore> {
    let map = kube::get(&["configmap", "sluice-roots", "--namespace", SYSTEM])?;
    let pem = map["data"]["ca.crt"].as_str().context("sluice-roots has no ca.crt")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(Cursor::new(pem)) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// A token that may read every trail.
pub(crate) fn auditor() -> Result<String> {
    Cluster::get()?.token(&json!({"upn": "root@example.com", "groups": ["admins"]}))
}

/// Records that fit a filter, in the order in which the collector gives them.
pub(crate) fn records(filter: &str) -> Result<Vec<Value>> {
    let answer = ask(&auditor()?, &format!("/v1/records?{filter}"))?.expect(200)?;
    let lines = answer.text();
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    // Each with its place beside it.
    lines.map(|line| Ok(parse(line)?["record"].take())).collect()
}

/// Records of one pod.
pub(crate) fn of_pod(uid: &str, filter: &str) -> Result<Vec<Value>> {
    records(&format!("podUid={uid}{}{filter}", if filter.is_empty() { "" } else { "&" }))
}

/// Waits until the collector has a record of the pod that fits.
pub(crate) fn eventually_has(uid: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(what, || {
        let all = of_pod(uid, "")?;
        match all.iter().find(|record| fits(record)) {
            Some(found) => Ok(found.clone()),
            None => bail!("the collector has {} records of the pod, the last: {:?}", all.len(), all.last()),
        }
    })
}

/// The summary of a pod's trail.
pub(crate) fn summary(uid: &str) -> Result<Value> {
    let answer = ask(&auditor()?, "/v1/trails")?.expect(200)?;
    let trails = answer.text();
    let all: Vec<Value> = serde_json::from_str(&trails).with_context(|| format!("trails {trails}"))?;
    all.into_iter().find(|trail| trail["podUid"] == uid).with_context(|| format!("no trail of the pod {uid}: {trails}"))
}

fn parse(line: &str) -> Result<Value> {
    serde_json::from_str(line).with_context(|| format!("record {line}"))
}

/// Waits until the end of a pod's trail has come, and checks it. All of it.
pub(crate) fn until_end(uid: &str) -> Result<Vec<Value>> {
    let records = eventually("the end of the trail", || {
        let records = of_pod(uid, "")?;
        match records.last() {
            Some(last) if last["kind"] == "end" => Ok(records),
            last => bail!("the last of {} records is {last:?}", records.len()),
        }
    })?;
    assert_whole(&records)?;
    Ok(records)
}

/// Fails unless every epoch's sequences are 1, 2, 3 … without hole and double,
/// and every intent has exactly one outcome.
fn assert_whole(records: &[Value]) -> Result<()> {
    let mut next: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    let mut open = std::collections::BTreeSet::new();
    for record in records {
        let epoch = record["epoch"].as_str().context("a record without epoch")?;
        let sequence = record["sequence"].as_u64().context("a record without sequence")?;
        let expected = next.entry(epoch).or_insert(1);
        if sequence != *expected {
            bail!("epoch {epoch}: record {sequence} where {expected} belongs");
        }
        *expected += 1;
        match record["kind"].as_str() {
            Some("intent") => {
                open.insert(record["id"].as_str().context("an id")?.to_owned());
            }
            Some("outcome") => {
                let of = record["of"]["id"].as_str().context("an outcome of nothing")?;
                if !open.remove(of) {
                    bail!("the outcome {record} has no intent before it, or is its second");
                }
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        bail!("these intents have no outcome: {open:?}");
    }
    Ok(())
}
