//! Where the gateway runs. What goes wrong is the same everywhere; what helps
//! is not: in a pod there is no command line, and a policy names ConfigMaps.

use std::path::Path;

use super::roots::RootsError;
use crate::pod::CA;

/// Where the gateway runs, as far as advice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Started by hand, or by `sluice run`: policy comes from files.
    Local,
    /// A pod's sidecar: policy comes from the control plane.
    Pod,
}

impl Place {
    /// For a name without an address.
    pub(crate) fn unresolved(self, host: &str) -> String {
        match self {
            Self::Local => format!("check the name in the policy, or name its address with --map {host}=IP:PORT"),
            Self::Pod => "check the name in the policy, and that the cluster's DNS knows it".to_owned(),
        }
    }

    /// For a name that leads where none may.
    pub(crate) fn forbidden(self, host: &str) -> String {
        match self {
            Self::Local => {
                format!("check who answers for {host}; where the address is meant, say so with --map {host}=IP:PORT")
            }
            Self::Pod => format!("check who answers for {host} in the cluster's DNS; from a pod no name leads there"),
        }
    }

    /// For a certificate of an unknown issuer.
    pub(crate) fn own_ca(self) -> &'static str {
        match self {
            Self::Local => "name the server's own CA in caBundleRef: {file: …} of the target or provider",
            Self::Pod => {
                "put the server's own CA into a ConfigMap (key ca.crt), and name that in caBundleRef: {configMap: …} of \
                 the target or provider"
            }
        }
    }

    /// For a client that does not believe the gateway.
    pub(crate) fn trust(self) -> String {
        match self {
            Self::Local => {
                "Let the client trust the gateway's CA: the file that SSL_CERT_FILE names under `sluice run`, \
                that of --ca-out else. A kubeconfig that pins certificate-authority-data does not: remove that field."
                    .to_owned()
            }
            Self::Pod => format!(
                "Let the client trust the pod's CA, {CA}, as the kubeconfig beside it does. One that pins \
                 certificate-authority-data does not: remove that field."
            ),
        }
    }

    /// The field of a document that names the bundle, and what is wrong with it.
    pub(crate) fn bundle(self, error: &RootsError) -> (&'static str, String) {
        match (self, config_map(&error.path)) {
            (Self::Pod, Some(config_map)) => (
                "caBundleRef.configMap",
                format!("{config_map}: {}; put the CA's certificate there, in PEM", error.what),
            ),
            _ => ("caBundleRef.file", format!("{error}; name a file with the CA's certificate in PEM")),
        }
    }
}

/// By the path below the folder of bundles (`sluice_policy::BundleKey`).
fn config_map(path: &Path) -> Option<String> {
    let mut parts = path.iter().rev().filter_map(|part| part.to_str());
    let (key, name, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    let of = if namespace == "_control" { "the control plane's namespace" } else { namespace };
    Some(format!("key {key} of ConfigMap {name} in {of}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_in_a_pod_is_told_of_a_command_line() {
        let error = |path: &str| RootsError { path: path.into(), what: "it holds no PEM certificate".to_owned() };
        let all = |place: Place| {
            let (field, message) = place.bundle(&error("/private/bundles/0a/agents/prod-ca/ca.crt"));
            [place.unresolved("h"), place.forbidden("h"), place.own_ca().into(), place.trust(), field.into(), message]
        };
        for text in all(Place::Pod) {
            assert!(!text.contains("--") && !text.contains("file:") && !text.contains("/private"), "{text}");
        }
        for (text, word) in
            all(Place::Local).iter().zip(["--map h=", "--map h=", "file: …", "--ca-out", ".file", "a file"])
        {
            assert!(text.contains(word), "no `{word}` in {text}");
        }
        assert_eq!(
            Place::Pod.bundle(&error("/private/bundles/0a/_control/idp/tls.crt")),
            (
                "caBundleRef.configMap",
                "key tls.crt of ConfigMap idp in the control plane's namespace: it holds no PEM certificate; put the CA's \
                 certificate there, in PEM"
                    .to_owned()
            )
        );
    }
}
