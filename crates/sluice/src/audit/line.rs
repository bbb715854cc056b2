//! One record in one line for people.

use serde_json::Value;
use sluice_audit::{Kind, Leaf};

/// Time, sequence, kind, then what the kind has to say. Control characters
/// are escaped: a record may hold what an agent wrote.
pub(super) fn of(leaf: &Leaf) -> String {
    let at = leaf.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let body = Value::Object(leaf.body.clone());
    let said = match leaf.kind {
        Kind::Intent | Kind::Refused if body.get("command").is_some() => decided(&body),
        Kind::Refused if body.get("destination").is_some() => connection(&body),
        Kind::Outcome => belonging(leaf, outcome(&body)),
        Kind::Progress => belonging(leaf, format!("{} bytes so far", number(&body, "bytes"))),
        Kind::Config => config(&body),
        _ => rest(&body),
    };
    printable(&format!("{at} {:>6} {:<9} {said} [{}]", leaf.sequence, leaf.kind.label(), leaf.id))
}

/// Who, where, what, verdict, rule.
fn decided(body: &Value) -> String {
    let command = &body["command"];
    let subject = &command["subject"];
    let who = match (text(subject, "kubernetesUser"), text(subject, "provider"), text(subject, "id")) {
        ("", "", id) => id.to_owned(),
        ("", provider, id) => format!("{provider}:{id}"),
        (user, _, _) => user.to_owned(),
    };
    let actions: Vec<String> = command["actions"].as_array().into_iter().flatten().map(action).collect();
    let mut said =
        format!("{:<5} {who} {}: {}", text(body, "verdict"), text(&command["target"], "name"), actions.join("; "));
    let rule = &body["rule"];
    if !rule.is_null() {
        said.push_str(&format!(" by {}/{}", text(rule, "policy"), text(rule, "rule")));
    }
    said + &reason(body)
}

/// A connection or a name that was refused before there was a command.
fn connection(body: &Value) -> String {
    let before = match number(body, "unrecordedBefore") {
        0 => String::new(),
        more => format!(", and {more} more before it"),
    };
    format!("{:<5} {}{}{before}", text(body, "verdict"), text(body, "destination"), reason(body))
}

fn reason(body: &Value) -> String {
    let reason = &body["reason"];
    if reason.is_null() {
        return String::new();
    }
    format!(" ({}: {})", text(reason, "code"), text(reason, "message"))
}

/// `delete deployments.apps dev/web`
fn action(action: &Value) -> String {
    let request = &action["kubernetes"];
    if request.is_null() {
        return format!("not understood: {}", text(action, "unknown"));
    }
    let verb = text(request, "verb");
    let resource = &request["scope"]["resource"];
    if resource.is_null() {
        return format!("{verb} {}", text(&request["scope"], "nonResource"));
    }
    let mut what = format!("{verb} {}", text(resource, "resource"));
    for (field, before) in [("group", "."), ("subresource", "/"), ("namespace", " "), ("name", "/")] {
        let value = text(resource, field);
        // A name without a namespace stands alone.
        let before = if field == "name" && text(resource, "namespace").is_empty() { " " } else { before };
        if !value.is_empty() {
            what.push_str(&format!("{before}{value}"));
        }
    }
    what
}

fn outcome(body: &Value) -> String {
    let mut said = text(body, "outcome").to_owned();
    if let Some(status) = body["status"].as_u64() {
        said.push_str(&format!(" {status}"));
    }
    said.push_str(&format!(", {} bytes in {} ms", number(body, "bytes"), number(body, "durationUs") / 1000));
    for (mask, count) in body["masks"].as_object().into_iter().flatten() {
        said.push_str(&format!(", {count} {mask} masked"));
    }
    if !text(body, "error").is_empty() {
        said.push_str(&format!(" ({})", text(body, "error")));
    }
    said
}

fn config(body: &Value) -> String {
    let taken = if body["taken"].as_bool().unwrap_or(false) { "taken" } else { "refused, the one before stays" };
    format!("policy {} {taken}", text(body, "revision"))
}

fn belonging(leaf: &Leaf, said: String) -> String {
    match leaf.of {
        Some(of) => format!("of {}: {said}", of.sequence),
        None => said,
    }
}

/// What has no words of its own.
fn rest(body: &Value) -> String {
    let text = body.to_string();
    match text.char_indices().nth(REST_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

const REST_MAX: usize = 300;

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or_default()
}

/// Without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_read_like_kubectl() {
        let scope = json!({"resource": {"group": "apps", "version": "v1", "resource": "deployments", "namespace": "dev", "name": "web", "subresource": "scale"}});
        assert_eq!(
            action(&json!({"kubernetes": {"verb": "patch", "scope": scope}})),
            "patch deployments.apps/scale dev/web"
        );
        let scope = json!({"resource": {"group": "", "version": "v1", "resource": "nodes", "name": "n1"}});
        assert_eq!(action(&json!({"kubernetes": {"verb": "get", "scope": scope}})), "get nodes n1");
        assert_eq!(
            action(&json!({"kubernetes": {"verb": "get", "scope": {"nonResource": "/version"}}})),
            "get /version"
        );
        assert_eq!(action(&json!({"unknown": "body"})), "not understood: body");
    }

    #[test]
    fn a_denial_says_who_what_and_why() {
        let body = json!({
            "verdict": "deny",
            "rule": {"policy": "dev/agents", "rule": "no-delete"},
            "reason": {"code": "RuleDenied", "message": "not on Fridays"},
            "command": {
                "subject": {"provider": "entra", "id": "1", "kubernetesUser": "ada"},
                "target": {"name": "aks"},
                "actions": [{"kubernetes": {"verb": "get", "scope": {"nonResource": "/version"}}}],
            },
        });
        assert_eq!(decided(&body), "deny  ada aks: get /version by dev/agents/no-delete (RuleDenied: not on Fridays)");
    }

    #[test]
    fn a_refused_connection_says_where_it_was_going() {
        let reason = json!({"code": "NameUnknown", "message": "not in the policy"});
        let body = json!({"verdict": "deny", "destination": "evil.example", "reason": reason, "unrecordedBefore": 3});
        assert_eq!(connection(&body), "deny  evil.example (NameUnknown: not in the policy), and 3 more before it");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
