//! Environment variables of the command.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Sets the certificate variables to `certificates`.
pub(super) fn trust(command: &mut Command, certificates: &Path) {
    for name in CERTIFICATE_VARIABLES {
        command.env(name, certificates);
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
}
