//! The gateway's policy: identity, rules, masks for Secrets, a trail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use sluice_testkit::tokens::now;

use crate::proxy::Kind;
use crate::world::{HOST, World};

const ISSUER: &str = "https://issuer.sluice.test/v2.0";
const TENANT: &str = "2f1a7c52-6a55-4a1e-8a2e-0f9d1c3b5e77";
/// Audience of AKS, the default of a Kubernetes target.
const AUDIENCE: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// Claims of a developer, as Entra writes them.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "tid": TENANT, "oid": "00000000-0000-4000-8000-000000000001",
        "sub": "subject", "upn": "dev@example.com", "groups": ["developers"], "uti": "token-1", "ver": "2.0",
        "iat": now() - 10, "nbf": now() - 10, "exp": now() + 3600,
    })
}

/// Where the gateway in `folder` writes whom its clients trust.
pub(crate) fn ca(folder: &Path) -> PathBuf {
    folder.join("ca.pem")
}

/// The command that starts a gateway with everything on.
pub(crate) fn command(world: &World, folder: &Path) -> Result<Command> {
    let policy = folder.join("policy");
    fs::create_dir(&policy)?;
    fs::write(policy.join("policy.yaml"), documents(world)?)?;
    let mut command = Command::new(world.program(Kind::Sluice));
    command.arg("--policy").arg(policy).arg("--trail").arg(folder.join("trail"));
    command.arg("--ca-out").arg(ca(folder)).arg("--key-out").arg(folder.join("key.pem"));
    command.args(["--listen", &format!("127.0.0.1:0={HOST}:443"), "--map", &format!("{HOST}={}", world.server)]);
    command.args(["--namespace", "agents", "--intent", "benchmark", "--ready-json"]);
    Ok(command)
}

fn documents(world: &World) -> Result<String> {
    let keys = json!({"keys": [world.signer.jwk()?]});
    Ok(format!(
        r#"apiVersion: sluice.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: entra}}
spec:
  issuers: ["{ISSUER}"]
  tenants: ["{TENANT}"]
  claims: {{subject: oid, groups: groups, roles: roles, kubernetesUser: upn}}
  jwks: {keys}
---
apiVersion: sluice.dev/v1alpha1
kind: GatewayPolicy
metadata: {{name: bench, namespace: agents}}
spec:
  identity: {{providers: [entra]}}
  audit: {{durability: Process}}
  targets:
  - name: aks
    kubernetes: {{server: {HOST}}}
    caBundleRef: {{file: "{ca}"}}
  rules:
  - name: look-around
    subjects: {{groups: ["entra:developers"]}}
    targets: [aks]
    kubernetes: {{verbs: [get, list, watch], resources: [pods, secrets, deployments.apps], namespaces: [dev]}}
    action: Allow
  - name: deployments-stay
    subjects: {{anyone: true}}
    kubernetes: {{verbs: [delete, deletecollection], resources: [deployments.apps]}}
    action: Deny
    message: Deployments are deleted by people.
"#,
        ca = world.files.ca.display()
    ))
}
