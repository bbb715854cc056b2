//! The workload that a command or a question stands for, as options.

use clap::Args;
use sluice_core::Workload;

/// What a policy's selector, namespace and service account are compared with.
#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// Namespace of the workload, in which policies are looked up
    #[arg(long, value_name = "NS", default_value = "default")]
    namespace: String,
    /// Labels of the workload, as a policy's selector sees them
    #[arg(long, value_name = "K=V,…", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
    /// Service account of the workload
    #[arg(long, value_name = "NAME", default_value = "")]
    service_account: String,
}

impl WorkloadArgs {
    /// The workload, with a pod's name and UID.
    pub(crate) fn workload(&self, pod: String, uid: String) -> Workload {
        Workload {
            namespace: self.namespace.clone(),
            pod,
            uid,
            service_account: self.service_account.clone(),
            labels: self.labels.iter().cloned().collect(),
            ..Workload::default()
        }
    }
}

/// Reads `KEY=VALUE`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no label; write KEY=VALUE, for instance team=payments")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_key() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("=b").is_err() && label("a").unwrap_err().contains("KEY=VALUE"));
    }
}
