//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use sluice_link::Endpoint;

use crate::certificates::Lifetimes;

/// Injects gateways, delivers policy to them, says what became of it.
///
/// Runs in the cluster, several times: each replica answers the API server and
/// the sidecars; one of them, the leader, writes certificates and statuses.
/// Outside a pod it takes KUBECONFIG. RUST_LOG sets what is logged.
#[derive(Debug, Clone, Parser)]
#[command(name = "sluice-control", version)]
pub struct Options {
    /// Namespace of the control plane's own objects.
    #[arg(long, env = "SLUICE_NAMESPACE", default_value = "sluice-system", value_name = "NS")]
    pub namespace: String,

    /// Name of this replica; no other may have it.
    #[arg(long, env = "SLUICE_POD_NAME", value_name = "NAME")]
    pub name: String,

    /// UID of this replica's pod, for its records.
    #[arg(long, env = "SLUICE_POD_UID", default_value = "", value_name = "UID")]
    pub uid: String,

    /// Where the API server asks.
    #[arg(long, default_value = "[::]:8443", value_name = "IP:PORT")]
    pub webhook_listen: SocketAddr,

    /// Where sidecars ask.
    #[arg(long, default_value = "[::]:8444", value_name = "IP:PORT")]
    pub wire_listen: SocketAddr,

    /// Where probes and Prometheus ask.
    #[arg(long, default_value = "[::]:8080", value_name = "IP:PORT")]
    pub health_listen: SocketAddr,

    /// Injection settings: JSON, read again when it changes.
    #[arg(long, default_value = "/etc/sluice/injection/settings.json", value_name = "FILE")]
    pub settings: PathBuf,

    /// Folder of the trail: who changed which policy.
    #[arg(long, default_value = "/var/lib/sluice/trail", value_name = "DIR")]
    pub trail: PathBuf,

    /// SPIFFE trust domain of all certificates.
    #[arg(long, default_value = sluice_wire::TRUST_DOMAIN, value_name = "DOMAIN")]
    pub trust_domain: String,

    /// Service of the control plane.
    #[arg(long, default_value = "sluice-control", value_name = "NAME")]
    pub service: String,

    /// Service, and service account, of the collector.
    #[arg(long, default_value = "sluice-collector", value_name = "NAME")]
    pub collector: String,

    /// Name of both webhook configurations, whose `caBundle` is written.
    #[arg(long, default_value = sluice_k8s::webhooks::CONFIGURATION, value_name = "NAME")]
    pub webhooks: String,

    /// Where the control plane's own records go: its URL, or `none` to keep
    /// them on the pod. Without it: the Service of the collector, port 8445.
    #[arg(long, env = "SLUICE_COLLECTOR_URL", value_name = "URL")]
    pub collector_url: Option<String>,

    /// Another DNS name of the own certificates; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub dns_name: Vec<String>,

    /// How long a certificate of a sidecar, a server or the collector is valid.
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub certificate_life: Life,

    /// How long an authority is valid.
    #[arg(long, default_value = "90d", value_name = "TIME")]
    pub authority_life: Life,

    /// When the next authority is made.
    #[arg(long, default_value = "30d", value_name = "TIME")]
    pub rotate_after: Life,

    /// How long the next authority is published before it signs.
    #[arg(long, default_value = "1d", value_name = "TIME")]
    pub publish_before_use: Life,

    /// How logs are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One object a line.
    Json,
    /// For people.
    Text,
}

/// A time span such as `90d`, `24h`, `30m` or `10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(pub Duration);

impl FromStr for Life {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time; write a number from 1 and d, h, m or s, such as 24h");
        let unit = text.chars().next_back().ok_or_else(wrong)?;
        let seconds = match unit {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let number = text.strip_suffix(unit).unwrap_or_default();
        if number.is_empty() || number.len() > 6 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        match number.parse::<u64>() {
            Ok(number) if number > 0 => Ok(Self(Duration::from_secs(number * seconds))),
            _ => Err(wrong()),
        }
    }
}

impl Options {
    /// Of certificates and authorities.
    pub fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            authority: self.authority_life.0,
            rotate_after: self.rotate_after.0,
            publish: self.publish_before_use.0,
            leaf: self.certificate_life.0,
        }
    }

    /// DNS names under which the control plane is reached.
    pub fn names(&self) -> Vec<String> {
        service_names(&self.service, &self.namespace).into_iter().chain(self.dns_name.iter().cloned()).collect()
    }

    /// Where own records go; `None`: they stay here.
    ///
    /// # Errors
    /// When `--collector-url` is no URL.
    pub fn collector_endpoint(&self) -> anyhow::Result<Option<Endpoint>> {
        let url = match self.collector_url.as_deref() {
            Some(NOWHERE) => return Ok(None),
            Some(url) => url.to_owned(),
            None => format!("https://{}.{}.svc:{INGEST_PORT}", self.collector, self.namespace),
        };
        url.parse().map(Some).context("--collector-url")
    }

    /// DNS names under which the collector is reached.
    pub fn collector_names(&self) -> Vec<String> {
        service_names(&self.collector, &self.namespace)
    }
}

const INGEST_PORT: u16 = 8445;
/// In place of a URL: nowhere.
const NOWHERE: &str = "none";

fn service_names(service: &str, namespace: &str) -> Vec<String> {
    ["", ".svc", ".svc.cluster.local"].map(|suffix| format!("{service}.{namespace}{suffix}")).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        assert_eq!("90d".parse::<Life>().unwrap().0, Duration::from_secs(90 * 86_400));
        assert_eq!("10s".parse::<Life>().unwrap().0, Duration::from_secs(10));
        for text in ["", "d", "0h", "1", "-1h", "+1h", "1.5h", "1w", "1000000d", "１h", "h1", "1hé"] {
            assert!(text.parse::<Life>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_leave_no_hole() {
        let options = Options::parse_from(["sluice-control", "--name", "a"]);
        options.lifetimes().checked().unwrap();
        assert!(options.names().contains(&"sluice-control.sluice-system.svc".to_owned()));
    }

    #[test]
    fn own_records_go_to_the_collector_of_the_namespace_unless_told_otherwise() {
        let options = |more: &[&str]| Options::parse_from(["sluice-control", "--name", "a"].iter().chain(more));
        let url = |more: &[&str]| options(more).collector_endpoint().unwrap().map(|endpoint| endpoint.to_string());
        assert_eq!(url(&[]).as_deref(), Some("https://sluice-collector.sluice-system.svc:8445"));
        assert_eq!(url(&["--namespace", "x"]).as_deref(), Some("https://sluice-collector.x.svc:8445"));
        assert_eq!(url(&["--collector-url", "https://c:1"]).as_deref(), Some("https://c:1"));
        assert_eq!(url(&["--collector-url", "none"]), None);
        let said = format!("{:#}", options(&["--collector-url", "c:1"]).collector_endpoint().unwrap_err());
        assert!(said.contains("--collector-url") && said.contains("https://HOST:PORT"), "{said}");
    }
}
