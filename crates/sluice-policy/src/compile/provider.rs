//! `IdentityProvider`, checked.

use std::collections::BTreeMap;

use crate::compiled::{Claims, Keys, Provider};
use crate::documents::Document;
use crate::nearest::did_you_mean;
use crate::spec::{ClaimsSpec, IdentityProvider};
use crate::subjects::reporter;
use crate::{Documents, Problem, bundle, units};

/// Signature algorithms whose keys may be public.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// In the sample, where a tenant's id belongs; nobody's.
const ZEROS: &str = "00000000-0000-0000-0000-000000000000";

/// Checks one provider; what is wrong goes to `problems`.
pub(super) fn provider(
    documents: &Documents,
    document: &Document<IdentityProvider>,
    problems: &mut Vec<Problem>,
) -> Provider {
    let Document { label, content } = document;
    let mut report = reporter(problems, label, "");
    let spec = &content.spec;
    let name = content.metadata.name.clone();
    if let Err(message) = units::name(&name) {
        report("metadata.name", message);
    }
    if content.metadata.namespace.is_some() {
        report("metadata.namespace", "has no meaning for an IdentityProvider; remove it".to_owned());
    }
    if spec.issuers.is_empty() {
        report("spec.issuers", "is empty; list the `iss` values of the provider's tokens".to_owned());
    }
    for (index, issuer) in spec.issuers.iter().enumerate() {
        if let Err(message) = issuer_url(issuer) {
            report(&format!("spec.issuers[{index}]"), message);
        }
        if spec.issuers.iter().take(index).any(|earlier| earlier == issuer) {
            report(&format!("spec.issuers[{index}]"), format!("`{issuer}` is listed twice; remove one"));
        }
    }
    if spec.jwks_uri.is_some() && spec.jwks.is_some() {
        report("spec.jwks", "stands beside jwksUri; remove one of them".to_owned());
    }
    let keys = if let Some(uri) = &spec.jwks_uri {
        if let Err(message) = https_url(uri) {
            report("spec.jwksUri", message);
        }
        Keys::JwksUri(uri.clone())
    } else if let Some(set) = &spec.jwks {
        if set.keys.is_empty() {
            report("spec.jwks.keys", "is empty; paste the provider's keys, or remove jwks for discovery".to_owned());
        }
        for (index, key) in set.keys.iter().enumerate() {
            check_key(key, &format!("spec.jwks.keys[{index}]"), &mut report);
        }
        Keys::Inline(serde_json::json!({ "keys": set.keys }).to_string())
    } else {
        Keys::Discovery
    };
    let reference = spec.ca_bundle_ref.as_ref();
    let ca_bundle =
        match reference.map(|reference| bundle::path(reference, None, documents.bundles.as_deref())).transpose() {
            Ok(path) => path,
            Err((field, message)) => {
                report(&format!("spec.caBundleRef{field}"), message);
                None
            }
        };
    for (index, algorithm) in spec.algorithms.iter().enumerate() {
        if !ALGORITHMS.contains(&algorithm.as_str()) {
            report(&format!("spec.algorithms[{index}]"), algorithm_problem(algorithm));
        }
    }
    for (index, tenant) in spec.tenants.iter().enumerate() {
        if tenant.is_empty() {
            report(&format!("spec.tenants[{index}]"), "is empty; write a tenant id, or remove it".to_owned());
        }
        if tenant == ZEROS {
            report(&format!("spec.tenants[{index}]"), format!("`{ZEROS}` is the sample's; write your tenant's id"));
        }
    }
    let claims = claims(&spec.claims, &mut report);
    Provider {
        name,
        issuers: spec.issuers.clone(),
        keys,
        ca_bundle,
        tenants: spec.tenants.clone(),
        algorithms: if spec.algorithms.is_empty() { vec!["RS256".to_owned()] } else { spec.algorithms.clone() },
        claims,
    }
}

/// Two providers that vouch for one issuer could each name its subjects.
pub(super) fn refuse_shared_issuers(documents: &[Document<IdentityProvider>], problems: &mut Vec<Problem>) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for Document { label, content } in documents {
        let name = content.metadata.name.as_str();
        for (index, issuer) in content.spec.issuers.iter().enumerate() {
            let owner = *owners.entry(issuer).or_insert(name);
            if owner != name {
                problems.push(Problem {
                    document: label.clone(),
                    path: format!("spec.issuers[{index}]"),
                    message: format!("`{issuer}` is an issuer of provider `{owner}` already; remove it from one"),
                });
            }
        }
    }
}

fn algorithm_problem(algorithm: &str) -> String {
    let known = ALGORITHMS.join(", ");
    if algorithm.eq_ignore_ascii_case("none") || algorithm.to_ascii_uppercase().starts_with("HS") {
        return format!("`{algorithm}` proves nothing here: whoever can check it can forge it; write one of {known}");
    }
    let near = did_you_mean(algorithm, ALGORITHMS);
    let near = if near.is_empty() { ";".to_owned() } else { near };
    format!("the algorithm `{algorithm}` is unknown{near} Known here: {known}")
}

fn check_key(key: &serde_json::Map<String, serde_json::Value>, at: &str, report: &mut impl FnMut(&str, String)) {
    match key.get("kty").and_then(serde_json::Value::as_str) {
        Some("RSA" | "EC" | "OKP") => {}
        Some("oct") => {
            report(at, "is a symmetric key (`oct`): whoever can check with it can forge; paste public keys".to_owned());
        }
        Some(other) => report(at, format!("has the key type `{other}`; RSA, EC and OKP keys are known")),
        None => report(at, "has no `kty`; paste the key as the provider publishes it".to_owned()),
    }
    for private in ["d", "p", "q", "k"] {
        if key.contains_key(private) {
            report(at, format!("holds the private part `{private}`; paste the public key only"));
            break;
        }
    }
}

fn claims(spec: &ClaimsSpec, report: &mut impl FnMut(&str, String)) -> Claims {
    let mut path = |field: &str, written: &Option<String>, default: &str| {
        let path = written.clone().unwrap_or_else(|| default.to_owned());
        if path.is_empty() || path.split('.').any(str::is_empty) {
            report(
                &format!("spec.claims.{field}"),
                format!("`{path}` is no claim; write names divided by single dots, such as realm.roles"),
            );
        }
        path
    };
    Claims {
        subject: path("subject", &spec.subject, "sub"),
        groups: path("groups", &spec.groups, "groups"),
        roles: path("roles", &spec.roles, "roles"),
        kubernetes_user: spec.kubernetes_user.as_ref().map(|_| path("kubernetesUser", &spec.kubernetes_user, "")),
    }
}

fn issuer_url(text: &str) -> Result<(), String> {
    https_url(text)?;
    if text.contains(['?', '#']) {
        return Err(format!("`{text}` has a query or fragment; write the issuer exactly as `iss` has it"));
    }
    if text.contains("TENANT") || text.contains("{tenant") {
        return Err(format!("`{text}` still has a placeholder; write your tenant's id"));
    }
    if text.contains(ZEROS) {
        return Err(format!("`{text}` still has the sample's zeros; write your tenant's id"));
    }
    if text.ends_with("/.well-known/openid-configuration") {
        return Err(format!(
            "`{text}` is the discovery document; write the issuer, which is the part before /.well-known"
        ));
    }
    Ok(())
}

fn https_url(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix("https://") else {
        return Err(format!("`{text}` is no https URL; write one such as https://login.example.com/v2.0"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return Err(format!("`{text}` holds a user or password; remove it"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Err(format!("`{text}` has a port that is none; write 1 to 65535"));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<std::net::IpAddr>().is_err() {
        units::host(host).map_err(|message| format!("`{text}` has no usable host: {message}"))?;
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{}` holds white space; remove it", text.escape_debug()));
    }
    Ok(())
}
