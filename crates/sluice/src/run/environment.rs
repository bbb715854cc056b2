//! Environment variables of the command.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sluice_gateway::trust::java_store_of_pem;
use sluice_k8s::java;

use super::{CERTIFICATES, JAVA_STORE};

/// Variables that name the file of trusted certificates, by who reads them:
/// OpenSSL and Go, Python requests, curl, git, pip, Deno, Cargo, the AWS tools,
/// Node (which adds them to its own).
const CERTIFICATE_VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
];

/// Variables that point a program at something outside which is hidden: agents
/// and buses by their sockets, and proxies, which only the gateway could dial.
const REMOVED: [&str; 16] = [
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "DOCKER_HOST",
    "CONTAINERD_ADDRESS",
    "NOTIFY_SOCKET",
    "TMUX",
    "STY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

/// The two files of certificates that the command is told to trust.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrustFiles<'a> {
    /// PEM.
    pub(super) certificates: &'a Path,
    /// The same for Java.
    pub(super) java: &'a Path,
}

impl TrustFiles<'static> {
    /// As an isolated command sees them.
    pub(super) fn inside() -> Self {
        Self { certificates: Path::new(CERTIFICATES), java: Path::new(JAVA_STORE) }
    }
}

impl TrustFiles<'_> {
    /// Writes these certificates (PEM) into both.
    pub(super) fn write(self, certificates: &[u8]) -> anyhow::Result<()> {
        fs::write(self.certificates, certificates).with_context(|| self.certificates.display().to_string())?;
        fs::write(self.java, java_store_of_pem(certificates)).with_context(|| self.java.display().to_string())
    }

    /// Sets the certificate variables of `command`; `variable` reads the
    /// caller's own.
    ///
    /// # Errors
    /// The caller's own options of Java name a trust store.
    pub(super) fn tell(self, command: &mut Command, variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<()> {
        for name in CERTIFICATE_VARIABLES {
            command.env(name, self.certificates);
        }
        let ours = java::options(self.java.to_str().context("the folder of our own files has no name in UTF-8")?);
        for name in java::VARIABLES {
            let Some(own) = variable(name) else { continue };
            if java::names_another_store(&own.to_string_lossy(), &ours) {
                bail!(
                    "{name} names a trust store ({}…), and Java takes one only, which must be the gateway's: remove that \
                     option. Certificates that SSL_CERT_FILE names (PEM) are in the gateway's too",
                    java::TRUST_STORE
                );
            }
        }
        let own = variable(java::VARIABLE).unwrap_or_default();
        let Some(own) = own.to_str() else {
            bail!(
                "{} is not UTF-8, and the gateway's trust store has to be appended to it; correct it",
                java::VARIABLE
            );
        };
        command.env(java::VARIABLE, java::appended(own, &ours));
        Ok(())
    }
}

/// Removes what points at hidden things.
pub(super) fn detach(command: &mut Command) {
    for name in REMOVED {
        command.env_remove(name);
    }
}

/// The gateway's certificates and, after them, those of the files that the
/// caller's own variables name: whom the command trusted before it still may.
pub(super) fn merged_certificates(gateway: Vec<u8>, variable: impl Fn(&str) -> Option<OsString>) -> Vec<u8> {
    let own: BTreeSet<PathBuf> =
        CERTIFICATE_VARIABLES.iter().filter_map(|name| variable(name)).map(PathBuf::from).collect();
    let mut merged = gateway;
    for text in own.iter().filter_map(|file| fs::read(file).ok()) {
        if !merged.ends_with(b"\n") {
            merged.push(b'\n');
        }
        merged.extend(text);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_bundle_is_kept_once_and_after_ours() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.pem");
        fs::write(&own, "OWN\n").unwrap();
        let merged = merged_certificates(b"OURS".to_vec(), |name| match name {
            "SSL_CERT_FILE" | "CURL_CA_BUNDLE" => Some(own.clone().into()),
            "PIP_CERT" => Some(folder.path().join("missing").into()),
            _ => None,
        });
        assert_eq!(String::from_utf8(merged).unwrap(), "OURS\nOWN\n");
    }

    fn told(java_options: &'static str) -> anyhow::Result<Option<OsString>> {
        let files = TrustFiles { certificates: Path::new("/own/ca.pem"), java: Path::new("/own/java.p12") };
        let mut command = Command::new("true");
        files.tell(&mut command, |name| (name == "JAVA_TOOL_OPTIONS").then(|| java_options.into()))?;
        let set = command.get_envs().find(|(name, _)| *name == "JAVA_TOOL_OPTIONS");
        Ok(set.and_then(|(_, value)| value).map(OsString::from))
    }

    #[test]
    fn options_of_java_are_kept_before_ours() {
        let set = told("-Xmx1g").unwrap().unwrap();
        assert!(set.to_str().unwrap().starts_with("-Xmx1g -Djavax.net.ssl.trustStore=/own/java.p12 "), "{set:?}");
    }

    #[test]
    fn a_second_trust_store_of_java_is_refused() {
        let error = told("-Djavax.net.ssl.trustStore=/x").unwrap_err().to_string();
        assert!(error.contains("JAVA_TOOL_OPTIONS") && error.contains("remove that option"), "{error}");
    }
}
