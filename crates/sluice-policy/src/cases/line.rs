use sluice_core::Fact;
use sluice_core::kubernetes::{Patch, Request, Resource, Scope};

use crate::matcher::RESOURCE_VERBS;
use crate::nearest::did_you_mean;
use crate::wellknown::{self, Known};

/// Subresources of built-in resources.
const SUBRESOURCES: &[&str] = &[
    "approval",
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "finalize",
    "log",
    "portforward",
    "proxy",
    "resize",
    "scale",
    "status",
    "token",
];

/// Reads a kubectl-like line to the request that it stands for:
///
/// ```text
/// VERB RESOURCE[.GROUP][/SUBRESOURCE] [NAMESPACE/][NAME] [-n NAMESPACE] [-A] [--dry-run]
/// ```
///
/// Verbs are those of rules, and of kubectl where they differ: `get` without a
/// name is `list`, `delete` without one `deletecollection`, `apply` is `patch`,
/// `logs POD`, `exec POD`, `attach POD` and `port-forward POD` are about pods.
/// Built-in resources may be given in the singular or by their short name, and
/// `TYPE/NAME` is read as kubectl reads it, unless `NAME` is a subresource that
/// the API has (`pods/log`).
/// Without a namespace it is `default`; `-A` is all of them.
///
/// # Errors
/// What cannot be read, in words for whoever wrote the line.
pub fn request_line(line: &str) -> Result<Request, String> {
    let mut words = Vec::new();
    let mut namespace = None;
    let mut everywhere = false;
    let mut dry_run = false;
    let mut rest = line.split_whitespace();
    while let Some(word) = rest.next() {
        match word {
            "kubectl" if words.is_empty() => {}
            "-A" | "--all-namespaces" => everywhere = true,
            "--dry-run" | "--dry-run=server" => dry_run = true,
            "-n" | "--namespace" => {
                namespace = Some(rest.next().ok_or("`-n` needs a namespace; write `-n NAMESPACE`")?.to_owned());
            }
            // What follows is a command inside a container.
            "--" => break,
            flag if flag.starts_with("--namespace=") => {
                namespace = flag.split_once('=').map(|(_, value)| value.to_owned());
            }
            flag if flag.starts_with('-') => {
                return Err(format!("the flag `{flag}` is unknown; known are -n NAMESPACE, -A and --dry-run"));
            }
            word => words.push(word),
        }
    }
    let mut words = words.into_iter();
    let verb = words.next().ok_or("is empty; write such as `get pods -n dev`, or `GET /version`")?;
    let applies = verb == "apply";
    let (verb, resource, upgrades) = match verb {
        "logs" => ("get", "pods/log", false),
        "exec" => ("create", "pods/exec", true),
        "attach" => ("create", "pods/attach", true),
        "port-forward" => ("create", "pods/portforward", true),
        verb => {
            let resource =
                words.next().ok_or_else(|| format!("`{line}` names no resource; write such as `{verb} pods`"))?;
            (if applies { "patch" } else { verb }, resource, false)
        }
    };
    if !RESOURCE_VERBS.contains(&verb) {
        let near = did_you_mean(verb, RESOURCE_VERBS);
        let near = if near.is_empty() { ";".to_owned() } else { near };
        return Err(format!(
            "the verb `{verb}` is unknown{near} Known are {} and logs, exec",
            RESOURCE_VERBS.join(", ")
        ));
    }
    let (resource, named) = match resource.split_once('/') {
        // Where another word names the object, this one does not.
        Some((kind, name)) if !SUBRESOURCES.contains(&name) && words.as_slice().is_empty() => (kind, Some(name)),
        _ => (resource, None),
    };
    let object = named.or_else(|| words.next());
    if let Some(extra) = words.next() {
        return Err(format!("`{extra}` is one word too many; write `VERB RESOURCE NAMESPACE/NAME`"));
    }
    let (own_namespace, name) = match object.map(|object| object.split_once('/').ok_or(object)) {
        None => (None, None),
        Some(Ok((namespace, name))) => (Some(namespace.to_owned()), Some(name)),
        Some(Err(name)) => (None, Some(name)),
    };
    let name = name.filter(|name| !name.is_empty() && *name != "*").map(str::to_owned);
    let namespace = own_namespace.or(namespace);
    if everywhere && namespace.is_some() {
        return Err("`-A` stands beside a namespace; remove one of them".to_owned());
    }
    let (known, group, plural, subresource) = resolve(resource);
    let namespaced = known.is_none_or(|known| known.namespaced);
    let namespace = match namespace {
        _ if !namespaced => None,
        // A request about one namespace is a request in it.
        _ if group.is_empty() && plural == "namespaces" => name.clone(),
        Some(namespace) => Some(namespace),
        None if everywhere => None,
        None => Some("default".to_owned()),
    };
    let verb = match (verb, &name) {
        ("get", None) => "list",
        ("delete", None) => "deletecollection",
        (verb, _) => verb,
    };
    // The path has the name of what it makes in the body.
    let (name, body_name) = if verb == "create" && subresource.is_none() { (None, name) } else { (name, None) };
    let body = body_name.map(|name| serde_json::json!({ "metadata": { "name": name } }));
    Ok(Request {
        verb: verb.to_owned(),
        method: method(verb).to_owned(),
        path: String::new(),
        label_selector: None,
        field_selector: None,
        dry_run,
        field_manager: None,
        user_agent: None,
        kubectl_command: None,
        impersonates: false,
        upgrades,
        patch: (verb == "patch").then_some(if applies { Patch::Apply } else { Patch::Strategic }),
        object: Fact::Known(body),
        scope: Scope::Resource(Resource {
            group,
            version: "v1".to_owned(),
            resource: plural,
            subresource,
            namespace,
            name,
        }),
    })
}

fn resolve(text: &str) -> (Option<&'static Known>, String, String, Option<String>) {
    let (whole, subresource) = match text.split_once('/') {
        Some((whole, subresource)) => (whole, Some(subresource.to_owned())),
        None => (text, None),
    };
    let (name, group) = whole.split_once('.').unwrap_or((whole, ""));
    let called = |known: &&Known| {
        (group.is_empty() || known.group == group)
            && (known.plural == name || known.singular == name || (!known.short.is_empty() && known.short == name))
    };
    match wellknown::all().find(called) {
        Some(known) => (Some(known), known.group.to_owned(), known.plural.to_owned(), subresource),
        None => (None, group.to_owned(), name.to_owned(), subresource),
    }
}

fn method(verb: &str) -> &'static str {
    match verb {
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        _ => "GET",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, String, Option<String>) {
        let request = request_line(line).expect(line);
        let Scope::Resource(resource) = request.scope else { panic!("{line} is about a resource") };
        (request.verb, Resource { name: None, ..resource.clone() }.qualified(), resource.name)
    }

    #[test]
    fn a_type_and_a_name_are_told_from_a_subresource() {
        for (line, verb, resource, name) in [
            ("delete pod/web-1 -n dev", "delete", "pods", Some("web-1")),
            ("delete deployment web", "delete", "deployments.apps", Some("web")),
            ("get pods/log web-1", "get", "pods/log", Some("web-1")),
            ("patch deployments.apps/scale dev/web", "patch", "deployments.apps/scale", Some("web")),
            ("get widgets.acme.example/w", "get", "widgets.acme.example", Some("w")),
            ("get pods", "list", "pods", None),
        ] {
            assert_eq!(read(line), (verb.to_owned(), resource.to_owned(), name.map(str::to_owned)), "{line}");
        }
    }
}
