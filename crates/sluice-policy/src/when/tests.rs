use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sluice_core::kubernetes::{Request, Resource, Scope};
use sluice_core::{Action, Command, CommandTarget, Fact, Intent, IntentSource, Subject, SubjectKind, Workload};

use super::Program;
use crate::Answer::{self, No, Unknown, Yes};
use crate::evaluate::Question;

fn request(object: Fact<Option<Value>>) -> Request {
    Request {
        verb: "create".to_owned(),
        scope: Scope::Resource(Resource {
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace: Some("dev".to_owned()),
            ..Resource::default()
        }),
        method: "POST".to_owned(),
        path: "/api/v1/namespaces/dev/pods".to_owned(),
        label_selector: None,
        field_selector: None,
        dry_run: false,
        field_manager: None,
        user_agent: Some("kubectl/v1.36".to_owned()),
        kubectl_command: None,
        impersonates: false,
        upgrades: false,
        patch: None,
        object,
    }
}

fn command(request: &Request, groups: Fact<BTreeSet<String>>) -> Command {
    Command {
        at: "2026-01-05T09:30:00Z".parse().expect("a time"),
        subject: Subject {
            kind: SubjectKind::Token,
            provider: "entra".to_owned(),
            issuer: "https://login.example.com".to_owned(),
            id: "ada".to_owned(),
            kubernetes_user: None,
            groups,
            roles: Fact::Known(BTreeSet::new()),
            token_id: None,
            expires: None,
        },
        workload: Workload {
            namespace: "agents".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
            ..Workload::default()
        },
        target: CommandTarget { name: "prod".to_owned(), host: "prod.example.com".to_owned(), port: 443 },
        intents: vec![Intent { source: IntentSource::Header, text: "INC-7".to_owned() }],
        actions: vec![Action::Kubernetes(Box::new(request.clone()))],
    }
}

pub(super) fn answer(text: &str, object: Fact<Option<Value>>) -> Answer {
    let program = Program::parse(text).unwrap_or_else(|message| panic!("{text}: {message}"));
    let request = request(object);
    let command = command(&request, Fact::Known(BTreeSet::from(["devs".to_owned()])));
    program.evaluate(Question { command: &command, request: &request }).0
}

fn object() -> Value {
    json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "ratio": 0.5, "hostNetwork": true, "containers": [{"image": "a"}, {"image": "b"}]},
        "list": [1, 2, "x"],
        "nothing": null
    })
}

#[test]
fn conditions_on_known_facts() {
    for (text, expected) in [
        ("true", Yes),
        ("!true", No),
        ("request.verb == 'create'", Yes),
        ("request.verb in ['get', 'create']", Yes),
        ("request.verb != \"create\"", No),
        ("request.namespace == 'dev' && request.resource == 'pods'", Yes),
        ("request.name == ''", Yes),
        ("has(request.name)", No),
        ("has(request.namespace)", Yes),
        ("target.port == 443", Yes),
        ("target.port > 442.5", Yes),
        ("'entra:devs' in subject.groups", Yes),
        ("'devs' in subject.groups", No),
        ("subject.groups.exists(g, g.startsWith('entra:'))", Yes),
        ("subject.groups.all(g, g.endsWith(':devs'))", Yes),
        ("subject.roles.all(r, false)", Yes),
        ("subject.roles.exists(r, true)", No),
        ("has(subject.expires)", No),
        ("pod.labels.team == 'red'", Yes),
        ("pod.labels['team'] == 'red'", Yes),
        ("'team' in pod.labels", Yes),
        ("has(pod.labels.owner)", No),
        ("has(pod.labels.owner) && pod.labels.owner == 'x'", No),
        ("intent == 'INC-7'", Yes),
        ("intent.matches('^INC-[0-9]+$')", Yes),
        ("intent.lowerAscii().contains('inc')", Yes),
        ("size(intent) == 5 && intent.size() < 6", Yes),
        ("now.getHours() == 9 && now.getMinutes() == 30", Yes),
        ("now.getDayOfWeek() == 1 && now.getMonth() == 0 && now.getDate() == 5 && now.getFullYear() == 2026", Yes),
        ("now > timestamp('2026-01-05T09:29:59Z')", Yes),
        ("now - timestamp('2026-01-05T09:00:00Z') == duration('30m')", Yes),
        ("now + duration('1h') < timestamp('2026-01-05T10:31:00Z')", Yes),
        ("command.actions.all(a, a.verb == 'create')", Yes),
        ("command.actions.size() == 1", Yes),
        ("request.object.spec.replicas == 3", Yes),
        ("request.object.spec.replicas + 1 == 4 && request.object.spec.replicas * 2 >= 6", Yes),
        ("7 / 2 == 3 && 7 % 2 == 1 && -3 + 3 == 0", Yes),
        ("request.object.spec.ratio < 1", Yes),
        ("request.object.spec['hostNetwork'] == true", Yes),
        ("request.object.spec.containers[1].image == 'b'", Yes),
        ("request.object.spec.containers.exists(c, c.image == 'b')", Yes),
        ("request.object.spec.containers.all(c, c.image == 'b')", No),
        ("request.object.metadata.labels.exists(key, key == 'app')", Yes),
        ("'app' in request.object.metadata.labels", Yes),
        ("request.object.metadata.labels == request.object.metadata.labels", Yes),
        ("request.object.nothing == null", Yes),
        ("request.object.spec != null", Yes),
        ("has(request.object.nothing)", No),
        ("has(request.object.a.b.c.d)", No),
        ("has(request.object.spec.containers[0].image)", Yes),
        ("has(request.object.spec.containers[7].image)", No),
        ("request.dryRun ? false : request.verb == 'create'", Yes),
        ("size(request.object.list) == 3", Yes),
        ("has(request.patch)", No),
    ] {
        assert_eq!(answer(text, Fact::Known(Some(object()))), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_known_is_unknown() {
    for text in [
        "request.object.spec.absent == 1",
        "request.object.spec.containers[2].image == 'c'",
        "request.object.spec.replicas == '3'",
        "request.object.spec.replicas.more == 1",
        "request.object.spec.hostNetwork > 1",
        "request.object.list.exists(x, x == 'y')",
        "request.object.spec.replicas / 0 == 1",
        "9223372036854775807 + request.object.spec.replicas > 0",
        "timestamp(request.object.metadata.name) < now",
        "duration(request.object.metadata.name) < duration('1h')",
        "pod.labels.owner == 'x'",
        "subject.expires > now",
        "request.object.spec.replicas && true",
        "request.object.spec.absent ? true : true",
    ] {
        assert_eq!(answer(text, Fact::Known(Some(object()))), Unknown, "{text}");
    }
    for text in ["request.object.spec.x == 1", "has(request.object.spec.x)", "request.object == null"] {
        assert_eq!(answer(text, Fact::unknown("protobuf body")), Unknown, "{text}");
    }
}

#[test]
fn one_part_that_decides_outweighs_unknown_parts() {
    let unknown = "request.object.absent == 1";
    for (text, expected) in [
        (format!("false && {unknown}"), No),
        (format!("{unknown} && false"), No),
        (format!("true || {unknown}"), Yes),
        (format!("{unknown} || true"), Yes),
        (format!("true && {unknown}"), Unknown),
        (format!("{unknown} || false"), Unknown),
        (format!("!({unknown})"), Unknown),
        ("request.object.list.exists(x, x == 1)".to_owned(), Yes),
        ("request.object.list.all(x, x == 2)".to_owned(), No),
        ("'x' in request.object.list".to_owned(), Yes),
    ] {
        assert_eq!(answer(&text, Fact::Known(Some(object()))), expected, "{text}");
    }
}

#[test]
fn an_evaluation_has_a_budget() {
    let list: Vec<u32> = (0..1000).collect();
    let object = json!({ "list": list });
    let text = "request.object.list.all(a, request.object.list.all(b, a + b >= 0))";
    assert_eq!(answer(text, Fact::Known(Some(object.clone()))), Unknown);
    // What decides before the budget ends, decides.
    let text = "request.object.list.exists(a, request.object.list.exists(b, a + b == 5))";
    assert_eq!(answer(text, Fact::Known(Some(object))), Yes);
}

#[test]
fn unknown_groups_are_unknown() {
    let request = request(Fact::Known(None));
    let command = command(&request, Fact::unknown("overage"));
    let question = Question { command: &command, request: &request };
    for (text, expected) in [
        ("'entra:devs' in subject.groups", Unknown),
        ("subject.groups.exists(g, true)", Unknown),
        ("subject.id == 'ada' || 'entra:devs' in subject.groups", Yes),
        ("request.dryRun && 'entra:devs' in subject.groups", No),
    ] {
        let program = Program::parse(text).expect("a condition");
        assert_eq!(program.evaluate(question).0, expected, "{text}");
    }
}

#[test]
fn deep_and_long_texts_are_refused() {
    for text in [
        "(".repeat(1000) + "true" + &")".repeat(1000),
        "true".to_owned() + &" && true".repeat(200),
        "request.object".to_owned() + &".a".repeat(900) + " == 1",
        "1".to_owned() + &" + 1".repeat(450) + " == 1",
        "[".repeat(900) + &"]".repeat(900),
        "x".repeat(3000),
        "a.".repeat(1000),
    ] {
        assert!(Program::parse(&text).is_err(), "{}", text.get(..40).unwrap_or(&text));
    }
    // The parser drops pairs of `!` and `-` by itself.
    assert!(Program::parse(&("!".repeat(2000) + "true")).is_ok());
    assert!(Program::parse(&("-".repeat(2000) + "1 == 1")).is_ok());
}
