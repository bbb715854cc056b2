use http::{HeaderMap, Method, StatusCode, Uri, header};
use sluice_core::Fact;
use sluice_core::kubernetes::{Patch, Request, Resource, Scope};

use super::path::Path;
use super::query::{Query, selected_name};
use super::reject::{Reject, shown};

/// What a request asks, from its head alone, as the API server reads it.
///
/// `object` is [`Fact::Unknown`] where a body may come, until
/// [`super::body::decode`] has read it. `dry_run` of a delete may change there
/// too: options in a body replace those in the query.
///
/// # Errors
/// [`Reject`] for a spelling that two readers could read differently, and for
/// methods that the API server does not serve.
pub fn attributes(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Request, Reject> {
    end_to_end(headers)?;
    let path = Path::parse(uri.path())?;
    let query = Query::parse(uri.query().unwrap_or_default())?;
    let target = Target::parse(method, &path)?;
    let upgrade = wants_upgrade(headers);

    let (mut verb, scope) = match target {
        Target::NonResource => (nonresource_verb(method)?, Scope::NonResource(path.decoded.clone())),
        Target::Resource { mut resource, watch_by_path } => {
            let verb = resource_verb(method, &mut resource, watch_by_path, &query)?;
            (verb, Scope::Resource(resource))
        }
    };
    let resource = match &scope {
        Scope::Resource(resource) => Some(resource),
        Scope::NonResource(_) => None,
    };
    let upgrades = upgrade || resource.is_some_and(always_upgrades);
    if upgrades && resource.is_some_and(|resource| resource.subresource.is_some()) {
        verb = "create".to_owned();
    }
    let stores = resource.is_some_and(|resource| !connects(resource) && !ignores_dry_run(resource));
    let mut request = Request {
        dry_run: stores && !upgrades && writes(&verb) && query.dry_run()?,
        verb,
        method: method.as_str().to_owned(),
        path: uri.path_and_query().map_or_else(|| uri.path().to_owned(), |text| text.as_str().to_owned()),
        label_selector: query.one("labelSelector")?.map(str::to_owned),
        field_selector: query.one("fieldSelector")?.map(str::to_owned),
        field_manager: query.one("fieldManager")?.map(str::to_owned),
        user_agent: text_header(headers, header::USER_AGENT.as_str()),
        kubectl_command: text_header(headers, "kubectl-command"),
        impersonates: headers.keys().any(|name| names_a_user(name.as_str())),
        upgrades,
        patch: None,
        object: Fact::Known(None),
        scope,
    };
    if request.verb == "patch" {
        request.patch = patch_kind(headers)?;
    }
    if super::body::plan(&request) != super::body::Plan::Empty {
        request.object = Fact::unknown("the body was not read");
    }
    Ok(request)
}

/// Whether answers to `request` may carry Secrets, whatever its verb: writes
/// answer with the object.
pub fn carries_secrets(request: &Request) -> bool {
    request.resource().is_some_and(|resource| resource.group.is_empty() && resource.resource == "secrets")
}

/// Whether a request goes on to something behind the API server, with a body
/// that is none of the API's.
pub(super) fn connects(resource: &Resource) -> bool {
    match (resource.resource.as_str(), resource.subresource.as_deref()) {
        (_, Some("proxy")) => true,
        ("pods", Some("exec" | "attach" | "portforward")) => true,
        _ => resource.group == "subresources.kubevirt.io" && resource.subresource.is_some(),
    }
}

enum Target {
    NonResource,
    Resource { resource: Resource, watch_by_path: bool },
}

impl Target {
    fn parse(method: &Method, path: &Path) -> Result<Self, Reject> {
        let segments = path.segments();
        let (group, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => (("", *version), rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => ((*group, *version), rest),
            _ => return Ok(Self::NonResource),
        };
        let (group, version) = group;
        let (watch_by_path, mut parts) = match rest {
            ["proxy", ..] => {
                return Err(Reject::bad(
                    format!(
                        "the path {} has the prefix \"proxy\", which API servers no longer serve",
                        shown(&path.decoded)
                    ),
                    "Use the subresource: /api/v1/namespaces/NAMESPACE/services/NAME/proxy.",
                ));
            }
            ["watch", parts @ ..] => {
                if parts.is_empty() || *method != Method::GET {
                    return Err(Reject::bad(
                        format!(
                            "the path {} has the prefix \"watch\" without a GET of a resource",
                            shown(&path.decoded)
                        ),
                        "Use the parameter: GET /api/v1/pods?watch=true.",
                    ));
                }
                (true, parts)
            }
            parts => (false, parts),
        };

        let mut resource = Resource { group: group.to_owned(), version: version.to_owned(), ..Resource::default() };
        if let ["namespaces", namespace, after @ ..] = parts {
            resource.namespace = Some((*namespace).to_owned());
            // `namespaces/x/status` and `/finalize` are of the namespace itself.
            if !after.is_empty() && !matches!(after[0], "status" | "finalize") {
                parts = after;
            }
        }
        let mut parts = parts.iter().map(|part| (*part).to_owned());
        resource.resource = parts.next().unwrap_or_default();
        resource.name = parts.next();
        resource.subresource = parts.next();
        let words = [
            Some(&resource.group),
            Some(&resource.version),
            Some(&resource.resource),
            resource.subresource.as_ref(),
            resource.namespace.as_ref(),
        ];
        for word in words.into_iter().flatten() {
            if !word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')) {
                return Err(Reject::bad(
                    format!(
                        "the path {} has the part {}, which no group, version, resource or namespace is called",
                        shown(&path.decoded),
                        shown(word)
                    ),
                    "These names have lower-case letters, digits, \"-\" and \".\" only.",
                ));
            }
        }
        Ok(Self::Resource { resource, watch_by_path })
    }
}

fn nonresource_verb(method: &Method) -> Result<String, Reject> {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            Ok(method.as_str().to_ascii_lowercase())
        }
        _ => Err(unserved(method)),
    }
}

fn resource_verb(
    method: &Method,
    resource: &mut Resource,
    watch_by_path: bool,
    query: &Query,
) -> Result<String, Reject> {
    if watch_by_path {
        return Ok("watch".to_owned());
    }
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if resource.name.is_none() => "deletecollection",
        Method::DELETE => "delete",
        Method::GET | Method::HEAD if resource.name.is_none() => {
            // Where another list option cannot be parsed the API server knows no
            // name, and refuses the request with 400.
            if let Some(selector) = query.one("fieldSelector")? {
                resource.name = selected_name(selector)?;
            }
            if query.flag("watch")? { "watch" } else { "list" }
        }
        Method::GET | Method::HEAD => "get",
        _ => return Err(unserved(method)),
    };
    Ok(verb.to_owned())
}

fn unserved(method: &Method) -> Reject {
    Reject::with(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("the method {} is not served by a Kubernetes API", shown(method.as_str())),
        "Use GET, POST, PUT, PATCH or DELETE, in upper case.",
    )
}

fn writes(verb: &str) -> bool {
    matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection")
}

fn always_upgrades(resource: &Resource) -> bool {
    resource.group.is_empty()
        && resource.resource == "pods"
        && matches!(resource.subresource.as_deref(), Some("exec" | "attach" | "portforward"))
}

/// Subresources whose effect is not stored, so that a dry run is a real one.
fn ignores_dry_run(resource: &Resource) -> bool {
    resource.group.is_empty()
        && resource.resource == "serviceaccounts"
        && resource.subresource.as_deref() == Some("token")
}

/// Impersonation, and what an API server believes from a front proxy
/// (`--requestheader-username-headers` and the like, by their usual names).
fn names_a_user(header: &str) -> bool {
    header.starts_with("impersonate-")
        || matches!(header, "x-remote-user" | "x-remote-uid" | "x-remote-group")
        || header.starts_with("x-remote-extra-")
}

/// Either header is enough: peers differ in which one they look at.
fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        || headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().contains("upgrade"))
}

/// `Connection` removes the headers that it names before the request goes on:
/// none that says what the request means may be among them.
fn end_to_end(headers: &HeaderMap) -> Result<(), Reject> {
    for value in headers.get_all(header::CONNECTION) {
        for name in String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().split(',').map(str::trim) {
            if ["content-", "accept", "impersonate-", "x-remote-", "authorization", "host"]
                .iter()
                .any(|part| name.starts_with(part))
            {
                return Err(Reject::bad(
                    format!("the header Connection names {}, which says what the request means", shown(name)),
                    "Name only headers of the connection itself there, such as keep-alive or close.",
                ));
            }
        }
    }
    Ok(())
}

/// The API server compares the bytes before the first `;` exactly.
fn patch_kind(headers: &HeaderMap) -> Result<Option<Patch>, Reject> {
    let kind = super::body::content_type(headers)?;
    let exact = kind.split(';').next().unwrap_or_default();
    match exact {
        "application/json-patch+json" => Ok(Some(Patch::Json)),
        "application/merge-patch+json" => Ok(Some(Patch::Merge)),
        "application/strategic-merge-patch+json" => Ok(Some(Patch::Strategic)),
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => Ok(Some(Patch::Apply)),
        _ => Err(Reject::with(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the Content-Type {} is no patch of the Kubernetes API", shown(exact)),
            "Send application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json or application/apply-patch+yaml.",
        )),
    }
}

/// At most 256 bytes, cut at a character; what is not UTF-8 becomes U+FFFD.
fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| {
        let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let end = (0..=256.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text
    })
}

#[cfg(test)]
mod tests;
