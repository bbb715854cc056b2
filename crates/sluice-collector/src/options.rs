//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use sluice_core::Workload;
use sluice_link::Endpoint;

/// Takes the records of all gateways, stores them durably, and serves them.
#[derive(Debug, Clone, Parser)]
#[command(name = "sluice-collector", version)]
pub struct Options {
    /// The control plane, for the own certificate.
    #[arg(
        long,
        env = "SLUICE_CONTROL",
        default_value = "https://sluice-control.sluice-system.svc:8444",
        value_name = "URL"
    )]
    pub control: Endpoint,

    /// Token for the control plane; read again each time.
    #[arg(long, env = "SLUICE_TOKEN_FILE", default_value = "/run/sluice/identity/control-token", value_name = "FILE")]
    pub token_file: PathBuf,

    /// Roots of the control plane (PEM); waited for, and read again when they
    /// change.
    #[arg(long, env = "SLUICE_ROOTS_FILE", default_value = "/etc/sluice/roots/ca.crt", value_name = "FILE")]
    pub roots: PathBuf,

    /// Where key and certificate are kept while the pod lives: memory.
    #[arg(long, env = "SLUICE_PRIVATE", default_value = "/run/sluice/private", value_name = "DIR")]
    pub private: PathBuf,

    /// SPIFFE trust domain of all certificates.
    #[arg(long, env = "SLUICE_TRUST_DOMAIN", default_value = sluice_wire::TRUST_DOMAIN, value_name = "DOMAIN")]
    pub trust_domain: String,

    /// Folder of the trails: one below it for each pod.
    #[arg(long, env = "SLUICE_STORAGE", default_value = "/var/lib/sluice/trails", value_name = "DIR")]
    pub storage: PathBuf,

    /// How much a pod's trail may take; never more than a quarter of --bytes.
    #[arg(long, env = "SLUICE_BYTES_PER_POD", default_value = "2Gi", value_name = "SIZE")]
    pub bytes_per_pod: Size,

    /// How much all trails may take. Default: 90 % of the volume.
    #[arg(long, env = "SLUICE_BYTES", value_name = "SIZE")]
    pub bytes: Option<Size>,

    /// How many trails there may be.
    #[arg(long, env = "SLUICE_TRAILS", default_value_t = 20_000, value_name = "N")]
    pub trails: usize,

    /// Where gateways and the control plane hand in records.
    #[arg(long, env = "SLUICE_INGEST_LISTEN", default_value = "[::]:8445", value_name = "IP:PORT")]
    pub ingest_listen: SocketAddr,

    /// Where people ask.
    #[arg(long, env = "SLUICE_QUERY_LISTEN", default_value = "[::]:8446", value_name = "IP:PORT")]
    pub query_listen: SocketAddr,

    /// Where probes and Prometheus ask.
    #[arg(long, env = "SLUICE_HEALTH_LISTEN", default_value = "[::]:8080", value_name = "IP:PORT")]
    pub health_listen: SocketAddr,

    /// Namespace of this pod, for its records.
    #[arg(long, env = "SLUICE_NAMESPACE", default_value = "sluice-system", value_name = "NS")]
    pub namespace: String,

    /// Name of this pod, for its records.
    #[arg(long, env = "SLUICE_POD_NAME", default_value = "sluice-collector", value_name = "NAME")]
    pub pod_name: String,

    /// UID of this pod: the name of its own trail.
    #[arg(long, env = "SLUICE_POD_UID", value_name = "UID")]
    pub pod_uid: String,

    /// Service account of this pod, for its records.
    #[arg(long, env = "SLUICE_SERVICE_ACCOUNT", default_value = "sluice-collector", value_name = "NAME")]
    pub service_account: String,

    /// How logs are written.
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
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

/// A number of bytes such as `500Mi`, `2Gi` or `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no size; write a number of bytes from 1, or one with Ki, Mi, Gi or Ti, such as 2Gi")
        };
        let units = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)];
        let found = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
        let (number, shift) = found.unwrap_or((text, 0));
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let number = number.parse::<u64>().ok().filter(|number| *number > 0);
        number.and_then(|number| number.checked_mul(1 << shift)).map(Self).ok_or_else(wrong)
    }
}

impl Options {
    /// The pod that this process runs in.
    pub fn workload(&self) -> Workload {
        Workload {
            namespace: self.namespace.clone(),
            pod: self.pod_name.clone(),
            uid: self.pod_uid.clone(),
            service_account: self.service_account.clone(),
            ..Workload::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_with_a_unit() {
        for (text, bytes) in [("1", 1), ("4Ki", 4096), ("2Gi", 2 << 30), ("1Ti", 1 << 40)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "0", "Gi", "-1", "1G", "1.5Gi", "99999999Ti", "1 Gi"] {
            assert!(text.parse::<Size>().unwrap_err().contains("2Gi"), "{text}");
        }
    }

    #[test]
    fn only_the_uid_has_to_be_said() {
        let options = Options::try_parse_from(["sluice-collector", "--pod-uid", "6f1c"]).unwrap();
        assert_eq!((options.workload().uid.as_str(), options.bytes), ("6f1c", None));
        assert!(Options::try_parse_from(["sluice-collector", "--pod-uid", "a", "--control", "http://x"]).is_err());
    }
}
