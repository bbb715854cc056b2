//! From the claims of a token whose signature was checked to a subject.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sluice_core::{Fact, Subject, SubjectKind};
use sluice_policy::Provider;

use super::refusal::{self, Refusal, listed, quoted};

/// Seconds by which the provider's clock and ours may differ.
pub(super) const LEEWAY: i64 = 60;

/// Who the token says its holder is.
///
/// # Errors
/// It is for another audience or tenant, it is not valid now, or a claim is
/// not as it must be.
pub(super) fn subject(
    issuer: &str,
    claims: &Map<String, Value>,
    provider: &Provider,
    audiences: &[String],
    now: Timestamp,
) -> Result<Subject, Refusal> {
    let expires = check_times(claims, now)?;
    check_audience(claims, audiences)?;
    check_tenant(claims, provider)?;
    check_overage(claims, provider)?;
    let names = &provider.claims;
    let id = name(claims, &names.subject)?.ok_or_else(|| {
        Refusal::new(
            refusal::CLAIM_MISSING,
            format!("the token has no claim {}", names.subject),
            format!("set claims.subject of identity provider {} to a claim that its tokens carry", provider.name),
        )
    })?;
    let kubernetes_user = match &names.kubernetes_user {
        Some(path) => name(claims, path)?,
        None => None,
    };
    Ok(Subject {
        kind: SubjectKind::Token,
        provider: provider.name.clone(),
        issuer: issuer.to_owned(),
        id,
        kubernetes_user,
        groups: Fact::Known(set(claims, &names.groups)?),
        roles: Fact::Known(set(claims, &names.roles)?),
        token_id: ["jti", "uti"].into_iter().find_map(|id| token_id(claims, id)),
        expires: Some(expires),
    })
}

/// RFC 7519 4.1.4 to 4.1.6. Without an end a token is not accepted.
fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Refusal> {
    let Some(expires) = date(claims, "exp")? else {
        return Err(Refusal::new(
            refusal::CLAIM_MISSING,
            "the token has no claim exp",
            "use a token that ends; an access token of an OIDC provider does",
        ));
    };
    let seconds = now.as_second();
    if seconds >= expires.as_second().saturating_add(LEEWAY) {
        return Err(Refusal::new(
            refusal::EXPIRED,
            format!("exp is {expires}, now is {}", whole(now)),
            "log in again, so that the client sends a fresh token",
        ));
    }
    for claim in ["nbf", "iat"] {
        if let Some(begins) = date(claims, claim)?
            && seconds.saturating_add(LEEWAY) < begins.as_second()
        {
            return Err(Refusal::new(
                refusal::NOT_YET,
                format!("{claim} is {begins}, now is {}", whole(now)),
                "wait until the token is valid, or set the clocks right",
            ));
        }
    }
    Ok(expires)
}

fn check_audience(claims: &Map<String, Value>, wanted: &[String]) -> Result<(), Refusal> {
    let found = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several
            .iter()
            .map(|one| one.as_str().ok_or_else(|| shape("aud", "a text or a list of texts")))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(shape("aud", "a text or a list of texts")),
        None => Vec::new(),
    };
    if found.iter().any(|one| wanted.iter().any(|other| other == one)) {
        return Ok(());
    }
    let found = if found.is_empty() { "absent".to_owned() } else { listed(found) };
    Err(Refusal::new(
        refusal::AUDIENCE,
        format!("aud is {found}; this target takes {}", listed(wanted.iter().map(String::as_str))),
        "ask the provider for a token for this target, or name the audience in audiences of the target",
    ))
}

fn check_tenant(claims: &Map<String, Value>, provider: &Provider) -> Result<(), Refusal> {
    if provider.tenants.is_empty() {
        return Ok(());
    }
    let refused = |found: String| {
        Refusal::new(
            refusal::TENANT,
            format!("tid is {found}, which is none of the tenants of identity provider {}", provider.name),
            "log in to the organisation's own tenant, or add the tenant to the identity provider",
        )
    };
    match claims.get("tid") {
        Some(Value::String(tenant)) if provider.tenants.contains(tenant) => Ok(()),
        Some(Value::String(tenant)) => Err(refused(quoted(tenant))),
        Some(_) => Err(refused("no text".to_owned())),
        None => Err(refused("absent".to_owned())),
    }
}

/// A token that names a place for its groups instead of the groups: what it
/// carries is not all, so a `Deny` by group could be missed.
fn check_overage(claims: &Map<String, Value>, provider: &Provider) -> Result<(), Refusal> {
    let elsewhere = claims.get("_claim_names").and_then(Value::as_object);
    let moved = [&provider.claims.groups, &provider.claims.roles].into_iter().find(|path| {
        let first = path.split('.').next().unwrap_or(path);
        elsewhere.is_some_and(|names| names.contains_key(first) || names.contains_key(path.as_str()))
    });
    let has_groups = match claims.get("hasgroups") {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(value)) => !value.eq_ignore_ascii_case("false"),
        Some(Value::Null) | None => false,
        Some(_) => true,
    };
    let (sign, claim) = match moved {
        Some(path) => ("_claim_names", path.as_str()),
        None if has_groups => ("hasgroups", provider.claims.groups.as_str()),
        None if claims.get("_claim_names").is_some_and(|names| !names.is_object()) => {
            return Err(shape("_claim_names", "an object"));
        }
        None => return Ok(()),
    };
    Err(Refusal::new(
        refusal::OVERAGE,
        format!("the token does not carry all of {claim} ({sign} is there): its holder is in too many groups"),
        "have the provider put only groups that are assigned to the application into tokens, or use application roles",
    ))
}

/// A NumericDate, in whole seconds; fractions are cut off.
fn date(claims: &Map<String, Value>, claim: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let wrong = || shape(claim, "a number of seconds since 1970");
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        None => value
            .as_f64()
            .filter(|seconds| (0.0..=1e12).contains(seconds))
            .map(|seconds| seconds.trunc() as i64)
            .ok_or_else(wrong)?,
    };
    if seconds < 0 {
        return Err(wrong());
    }
    Timestamp::from_second(seconds).map(Some).map_err(|_| wrong())
}

/// A claim that is a name: text without control characters.
fn name(claims: &Map<String, Value>, path: &str) -> Result<Option<String>, Refusal> {
    match find(claims, path) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_name(text) => Ok(Some(text.clone())),
        Some(_) => Err(shape(path, NAME)),
    }
}

/// A claim that is a list of names. One text is refused: whether it is one name
/// or several with something between them is not known, and a `Deny` by group
/// could be missed.
fn set(claims: &Map<String, Value>, path: &str) -> Result<BTreeSet<String>, Refusal> {
    let one = |value: &Value| match value {
        Value::String(text) if is_name(text) => Ok(text.clone()),
        _ => Err(shape(path, "a list of names")),
    };
    match find(claims, path) {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(Value::Array(several)) => several.iter().map(one).collect(),
        Some(_) => Err(shape(path, "a list of names")),
    }
}

/// The claim of exactly this name, else the one at the end of a path of names
/// joined by dots.
fn find<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut steps = path.split('.');
    let first = claims.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.as_object()?.get(step))
}

/// Names the token without being it; anything odd is left out.
fn token_id(claims: &Map<String, Value>, claim: &str) -> Option<String> {
    claims.get(claim)?.as_str().filter(|id| is_name(id)).map(str::to_owned)
}

const MAX_NAME: usize = 512;
const NAME: &str = "a text of 1 to 512 bytes without control characters";

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn shape(claim: &str, wanted: &str) -> Refusal {
    Refusal::new(
        refusal::CLAIM_MALFORMED,
        format!("the claim {claim} is not {wanted}"),
        "have the provider issue the claim in that form, or name another claim under claims of the identity provider",
    )
}

fn whole(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
