//! From the `Authorization` header to a subject.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sluice_core::{Secret, Subject};
use sluice_policy::Target;

use crate::identity::Refusal;
use crate::pod::NO_TOKEN;
use crate::shared::{Policy, Shared};

/// A token file is one token and perhaps a line end.
const MAX_TOKEN_FILE_BYTES: u64 = 64 * 1024;

/// Who asks: the holder of the presented token; without one the workload,
/// by its token file or as itself where policy lets it.
///
/// # Errors
/// A token that is not believed is never taken for no token.
pub(crate) async fn identify(
    shared: &Shared,
    policy: &Policy,
    target: &Target,
    headers: &HeaderMap,
) -> Result<Subject, Refusal> {
    let workload = || policy.compiled.workload_allowed(&target.name);
    let mut own = false;
    let token = match presented(headers)? {
        Some(token) if token.expose() == NO_TOKEN => return Err(placeholder(target)),
        Some(token) => {
            // A pod's own token at its own API server says no more than that
            // it is the pod.
            own = shared.is_own_token(&target.host, &token);
            if own && workload() {
                return Ok(Subject::workload(&shared.workload));
            }
            token
        }
        None => match &shared.token_file {
            Some(path) => stored(path).await?,
            None if workload() => return Ok(Subject::workload(&shared.workload)),
            None => return Err(anonymous(target)),
        },
    };
    let judged = policy.authenticator.identify(&token, &target.audiences, &target.providers).await;
    judged.map_err(|refusal| if own { as_workload(refusal, target) } else { refusal })
}

/// Clients send the pod's own token by themselves: what is amiss is the policy,
/// not the token.
fn as_workload(refusal: Refusal, target: &Target) -> Refusal {
    Refusal {
        message: format!(
            "the token is the pod's own, and policy does not let the workload act as itself ({})",
            refusal.message
        ),
        fix: format!(
            "Set `identity.workload: Allowed` in the policy of target {}, or list a provider there that vouches for the \
             cluster's service accounts.",
            target.name
        ),
        ..refusal
    }
}

/// The bearer token of a request (RFC 6750 section 2.1).
fn presented(headers: &HeaderMap) -> Result<Option<Secret<String>>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refusal("TokenAmbiguous", "there is more than one Authorization header", "Send one."));
    }
    let value = value.to_str().map_err(|_| {
        refusal("TokenMalformed", "the Authorization header is not ASCII", "Send `Authorization: Bearer TOKEN`.")
    })?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refusal(
            "SchemeUnknown",
            "the Authorization header is of another scheme than Bearer",
            "Present an OIDC token: `Authorization: Bearer TOKEN`. Passwords and client certificates cannot be vouched for.",
        ));
    }
    let token = token.trim_matches(' ');
    if token.is_empty() {
        return Err(refusal("TokenMissing", "the bearer token is empty", "Log in again, then retry."));
    }
    Ok(Some(Secret::new(token.to_owned())))
}

async fn stored(path: &std::path::Path) -> Result<Secret<String>, Refusal> {
    let unreadable = |why: String| Refusal {
        code: "TokenFile",
        message: format!("the request carries no token, and --token-file {} {why}", path.display()),
        fix: "Write one OIDC token into it.".into(),
    };
    let length = tokio::fs::metadata(path).await.map_err(|error| unreadable(format!("cannot be read: {error}")))?.len();
    if length > MAX_TOKEN_FILE_BYTES {
        return Err(unreadable(format!("has {length} bytes")));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let text = Secret::new(text);
    let token = text.expose().trim();
    if token.is_empty() {
        return Err(unreadable("is empty".into()));
    }
    Ok(Secret::new(token.to_owned()))
}

fn anonymous(target: &Target) -> Refusal {
    Refusal {
        code: "TokenMissing",
        message: "the request carries no bearer token, and policy does not let the workload act as itself".into(),
        fix: format!("{}, or set identity.workload: Allowed in the policy of target {}.", log_in(target), target.name),
    }
}

/// Whatever policy says of the workload: who wrote the kubeconfig's word for no
/// token into a request has forgotten theirs.
fn placeholder(target: &Target) -> Refusal {
    Refusal {
        code: "TokenMissing",
        message: format!("the kubeconfig that the gateway wrote holds no token for target {}", target.name),
        fix: format!("{}.", log_in(target)),
    }
}

fn log_in(target: &Target) -> String {
    format!(
        "Present an OIDC token for {} (kubectl: --token TOKEN, or a user with an exec plugin in a kubeconfig of your own)",
        target.audiences.first().map_or("the target", String::as_str),
    )
}

fn refusal(code: &'static str, message: &str, fix: &str) -> Refusal {
    Refusal { code, message: message.into(), fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(values: &[&'static str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, http::HeaderValue::from_static(value));
        }
        presented(&headers).map(|token| token.map(|token| token.expose().clone())).map_err(|refusal| refusal.code)
    }

    #[test]
    fn one_bearer_token_is_taken() {
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&["bearer a.b.c"]), Ok(Some("a.b.c".into())));
        assert_eq!(token(&["Basic YTpi"]), Err("SchemeUnknown"));
        assert_eq!(token(&["Bearer"]), Err("TokenMissing"));
        assert_eq!(token(&["Bearer a", "Bearer b"]), Err("TokenAmbiguous"));
    }
}
