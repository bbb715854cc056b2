//! The collector as a source of records: its query port, over TLS, with a
//! bearer token that Kubernetes believes.

mod args;
mod session;
mod tls;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::Uri;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use sluice_wire::{RECORDS_PATH, RecordFilter, TRAILS_PATH, TrailSummary};

pub(crate) use args::{CollectorArgs, QUERY_PORT, SERVICE, of_cluster};
pub(crate) use tls::{Shown, provider, roots_of, show};

use session::{Endpoint, Session};

/// A collector that can be asked. One connection, made when it is needed and
/// made anew when it was lost.
pub(crate) struct Collector {
    endpoint: Endpoint,
    session: Option<Session>,
}

impl Collector {
    fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, session: None }
    }

    /// All trails, or those of one namespace: whoever may read only that must
    /// name it.
    pub(crate) async fn trails(&mut self, namespace: Option<&str>) -> anyhow::Result<Vec<TrailSummary>> {
        let filter = RecordFilter { namespace: namespace.map(str::to_owned), ..RecordFilter::default() };
        let query = query(&filter)?;
        let path = if query.is_empty() { TRAILS_PATH.to_owned() } else { format!("{TRAILS_PATH}?{query}") };
        self.json(&path).await
    }

    /// Writes one file of a trail, as it is stored, to `out`. `told` hears how
    /// many bytes came.
    ///
    /// # Errors
    /// Also when there are more than `limit` bytes.
    pub(crate) async fn file(
        &mut self,
        uid: &str,
        name: &str,
        limit: u64,
        out: &mut impl Write,
        told: &mut impl FnMut(u64),
    ) -> anyhow::Result<u64> {
        ensure!(is_file_name(name), "the collector names a file `{}`, which is none of a trail", name.escape_default());
        ensure!(is_uid(uid), "the collector names a pod `{}`, which is no UID", uid.escape_default());
        let path = format!("{TRAILS_PATH}/{uid}/{name}");
        let mut body = self.get(&path).await?;
        let mut bytes = 0;
        while let Some(frame) = tokio::time::timeout(IDLE, body.frame())
            .await
            .with_context(|| format!("{path}: nothing came for {} s", IDLE.as_secs()))?
        {
            let Ok(data) = frame.with_context(|| format!("{path}: it broke off after {bytes} bytes"))?.into_data()
            else {
                continue;
            };
            bytes += data.len() as u64;
            ensure!(bytes <= limit, "{path}: more than {limit} bytes");
            out.write_all(&data).context("write to the temporary folder")?;
            told(data.len() as u64);
        }
        Ok(bytes)
    }

    /// The records that a filter asks for.
    pub(crate) async fn records(&mut self, filter: &RecordFilter) -> anyhow::Result<Lines> {
        let query = query(filter)?;
        let path = if query.is_empty() { RECORDS_PATH.to_owned() } else { format!("{RECORDS_PATH}?{query}") };
        Ok(Lines { body: self.get(&path).await?, held: Vec::new() })
    }

    async fn json<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let body = http_body_util::Limited::new(self.get(path).await?, ANSWER);
        let read = tokio::time::timeout(IDLE, body.collect()).await.with_context(|| format!("{path}: no answer"))?;
        let bytes = read.map_err(|cause| anyhow::anyhow!("{path}: {cause}"))?.to_bytes();
        serde_json::from_slice(&bytes).with_context(|| format!("{path}: the answer is not what a collector says"))
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<Incoming> {
        if let Some(session) = &mut self.session
            && session.is_open().await
        {
            return self.endpoint.get(session, path).await;
        }
        let session = self.session.insert(self.endpoint.connect().await?);
        self.endpoint.get(session, path).await
    }
}

/// Records as they come, one JSON object each.
pub(crate) struct Lines {
    body: Incoming,
    held: Vec<u8>,
}

impl Lines {
    /// The next one; `None`: there are no more.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let rest = self.held.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.held, rest);
                line.pop();
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            ensure!(self.held.len() <= LINE, "the collector sent a record of more than {LINE} bytes");
            match self.body.frame().await {
                None => {
                    ensure!(self.held.is_empty(), "the answer broke off within a record");
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame.context("the connection to the collector was lost")?.into_data() {
                        self.held.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// The filter's fields by their JSON names, in percent encoding.
fn query(filter: &RecordFilter) -> anyhow::Result<String> {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let mut pairs = Vec::new();
    let value = serde_json::to_value(filter)?;
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        pairs.push(format!("{name}={}", utf8_percent_encode(&text, NON_ALPHANUMERIC)));
    }
    let query = pairs.join("&");
    if query.len() > sluice_wire::MAX_FILTER_BYTES {
        bail!("the filters take {} bytes; at most {} are sent", query.len(), sluice_wire::MAX_FILTER_BYTES);
    }
    Ok(query)
}

/// What the collector says is never believed to be the name of a file: only
/// `epoch-….seg` and `epoch-….pub` are.
fn is_file_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with("epoch-")
        && [".seg", ".pub"].iter().any(|end| name.ends_with(end))
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// UIDs are UUIDs on every API server; what may not be part of a path is none.
pub(crate) fn is_uid(uid: &str) -> bool {
    !uid.is_empty() && uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The host to dial and to name, of an `https` URL without path.
fn host_and_port(url: &str) -> anyhow::Result<(String, u16)> {
    let form = "write https://HOST[:PORT]";
    let uri: Uri = url.parse().with_context(|| format!("--collector {url}: is no URL; {form}"))?;
    ensure!(uri.scheme_str() == Some("https"), "--collector {url}: is no https URL; {form}");
    ensure!(uri.path() == "/" && uri.query().is_none(), "--collector {url}: has a path; {form}");
    let host = uri.host().with_context(|| format!("--collector {url}: has no host; {form}"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(QUERY_PORT)))
}

/// Bytes of an answer that is one JSON value.
const ANSWER: usize = 64 << 20;
/// Bytes of a line: a leaf, and what is said of where it lies.
const LINE: usize = 256 << 10;
/// How long nothing may come while something is awaited.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_a_query() {
        let filter = RecordFilter {
            subject: Some("entra:a&b".to_owned()),
            since: Some("2026-12-01T08:00:00Z".parse().expect("a time")),
            limit: Some(20),
            follow: true,
            ..RecordFilter::default()
        };
        let text = query(&filter).expect("a query");
        let mut pairs: Vec<&str> = text.split('&').collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["follow=true", "limit=20", "since=2026%2D12%2D01T08%3A00%3A00Z", "subject=entra%3Aa%26b"]);
        assert_eq!(query(&RecordFilter::default()).expect("a query"), "");
        let long = RecordFilter { text: Some("x".repeat(9000)), ..RecordFilter::default() };
        assert!(query(&long).is_err());
    }

    #[test]
    fn names_from_the_collector_stay_names() {
        assert!(is_file_name("epoch-00000001-01938a3e-0f4b-7c7e-9f3e-2a1d5c9b8e77-00000001.seg"));
        for name in ["../../etc/passwd", "epoch-/../x.seg", "epoch-1.seg.new", "meta.json", "", "epoch-\u{1b}.pub"] {
            assert!(!is_file_name(name), "{name}");
        }
        assert!(is_uid("6f1c8a52-1111-4222-8333-444455556666") && !is_uid("../x") && !is_uid(""));
    }

    #[test]
    fn urls_are_read_strictly() {
        assert_eq!(host_and_port("https://c.example").expect("a URL"), ("c.example".to_owned(), 8446));
        assert_eq!(host_and_port("https://[::1]:9/").expect("a URL"), ("::1".to_owned(), 9));
        for (url, said) in [("http://c", "https"), ("https://c/v1", "path"), ("c", "https")] {
            let error = host_and_port(url).expect_err("refused").to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
    }
}
