//! What holds for every policy and command: reading never panics, a `Deny`
//! more never allows more, and knowing less never allows more.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use sluice_core::kubernetes::{Request, Resource, Scope};
use sluice_core::{Action, Command, CommandTarget, Fact, Subject, SubjectKind, Workload};
use sluice_policy::cases::{CaseFile, request_line};
use sluice_policy::{Compiled, Documents, Verdict, compile};

const PROVIDER: &str = "apiVersion: sluice.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {name: entra}\nspec: {issuers: ['https://login.example.com']}\n";

proptest! {
    // A fixed seed: the same cases in every run. PROPTEST_CASES asks for more.
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn reading_any_text_never_panics(text in "\\PC{0,200}") {
        let _ = Documents::parse(&[("any".to_owned(), text.clone())]);
        let _ = CaseFile::parse("any", &text);
        let _ = request_line(&text);
    }

    #[test]
    fn reading_something_like_a_policy_never_panics(text in policy_like()) {
        if let Ok(documents) = Documents::parse(&[("any".to_owned(), text)]) {
            let _ = compile(&documents, &Workload::default());
        }
    }

    #[test]
    fn any_condition_is_refused_or_evaluated(text in prop_oneof!["\\PC{0,60}", condition()], request in request()) {
        let rules = vec![rule(0, "Allow", json!({"when": text}))];
        if let Ok(compiled) = policy(&rules) {
            let _ = compiled.explain(&command(&request, known_groups()));
        }
    }

    #[test]
    fn a_deny_more_never_allows_more(rules in rules(), deny in any_rule("Deny"), request in request(), groups in groups()) {
        let command = command(&request, groups);
        let before = policy(&rules).expect("rules of this generator are fine");
        let mut more = rules.clone();
        more.push(with_name(deny, "more"));
        let after = policy(&more).expect("rules of this generator are fine");
        prop_assert!(allowed(&before, &command) || !allowed(&after, &command));
    }

    #[test]
    fn order_never_matters(rules in rules(), request in request(), groups in groups()) {
        let command = command(&request, groups);
        let forward = policy(&rules).expect("rules of this generator are fine");
        let backward: Vec<Value> = rules.iter().rev().cloned().collect();
        let backward = policy(&backward).expect("rules of this generator are fine");
        prop_assert_eq!(allowed(&forward, &command), allowed(&backward, &command));
    }

    #[test]
    fn knowing_less_never_allows_more(rules in rules(), request in request(), groups in groups(), what in 0..3_u8) {
        let policy = policy(&rules).expect("rules of this generator are fine");
        let known = command(&request, groups.clone());
        let mut less = request.clone();
        if what != 0 {
            less.object = Fact::unknown("protobuf body");
        }
        let groups = if what == 1 { groups } else { Fact::unknown("overage") };
        let unknown = command(&less, groups);
        prop_assert!(allowed(&policy, &known) || !allowed(&policy, &unknown));
    }

    #[test]
    fn an_explanation_has_the_verdict_of_its_decision(rules in rules(), request in request(), groups in groups()) {
        let policy = policy(&rules).expect("rules of this generator are fine");
        let command = command(&request, groups);
        let explanation = policy.explain(&command);
        prop_assert_eq!(explanation.verdict, policy.decide(&command).verdict.label());
        prop_assert!(!explanation.to_string().is_empty());
    }
}

fn allowed(policy: &Compiled, command: &Command) -> bool {
    matches!(policy.decide(command).verdict, Verdict::Allow(_))
}

fn policy(rules: &[Value]) -> Result<Compiled, Vec<sluice_policy::Problem>> {
    let rules: Vec<Value> =
        rules.iter().enumerate().map(|(index, rule)| with_name(rule.clone(), &format!("r{index}"))).collect();
    let policy = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "GatewayPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "identity": {"providers": ["entra"]},
            "targets": [{"name": "prod", "kubernetes": {"server": "prod.example.com"}}],
            "rules": rules,
        },
    });
    let sources = [("provider".to_owned(), PROVIDER.to_owned()), ("policy".to_owned(), policy.to_string())];
    let workload = Workload { namespace: "default".to_owned(), ..Workload::default() };
    compile(&Documents::parse(&sources)?, &workload)
}

fn with_name(mut rule: Value, name: &str) -> Value {
    rule["name"] = json!(name);
    rule
}

fn rule(index: usize, action: &str, more: Value) -> Value {
    let mut rule = json!({
        "name": format!("r{index}"),
        "subjects": {"anyone": true},
        "targets": ["*"],
        "kubernetes": {"verbs": ["*"], "resources": ["*"], "namespaces": ["*"]},
        "action": action,
    });
    for (key, value) in more.as_object().expect("an object") {
        rule[key] = value.clone();
    }
    rule
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
        workload: Workload::default(),
        target: CommandTarget { name: "prod".to_owned(), host: "prod.example.com".to_owned(), port: 443 },
        intents: Vec::new(),
        actions: vec![Action::Kubernetes(Box::new(request.clone()))],
    }
}

fn known_groups() -> Fact<BTreeSet<String>> {
    Fact::Known(BTreeSet::from(["a".to_owned()]))
}

fn groups() -> impl Strategy<Value = Fact<BTreeSet<String>>> {
    proptest::collection::btree_set("[ab]", 0..3).prop_map(Fact::Known)
}

fn rules() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(prop_oneof![any_rule("Allow"), any_rule("Allow"), any_rule("Deny")], 1..5)
}

fn any_rule(action: &'static str) -> impl Strategy<Value = Value> {
    let subjects = prop_oneof![
        Just(json!({"anyone": true})),
        Just(json!({"groups": ["entra:a"]})),
        Just(json!({"groups": ["entra:b"], "users": ["entra:ada"]})),
    ];
    let list = |words: &'static [&'static str]| proptest::sample::subsequence(words, 1..=words.len());
    let names = proptest::option::of(list(&["x", "y*"]));
    let paths = proptest::option::of(list(&["/metrics", "/openapi/*"]));
    let when = proptest::option::of(condition());
    let verbs = list(&["*", "get", "list", "create", "patch"]);
    let resources = list(&["*", "pods", "pods/log", "*.apps"]);
    let namespaces = list(&["*", "dev", "team-*"]);
    (subjects, verbs, resources, namespaces, names, paths, when, any::<bool>()).prop_map(
        move |(subjects, verbs, resources, namespaces, names, paths, when, shadow)| {
            let mut kubernetes = json!({"verbs": verbs, "resources": resources, "namespaces": namespaces});
            if let Some(names) = names {
                kubernetes["names"] = json!(names);
            }
            if let Some(paths) = paths {
                kubernetes["nonResourceURLs"] = json!(paths);
            }
            let mut rule = rule(0, action, json!({"subjects": subjects, "kubernetes": kubernetes}));
            if let Some(when) = when {
                rule["when"] = json!(when);
            }
            if shadow {
                rule["mode"] = json!("Audit");
            }
            rule
        },
    )
}

/// Conditions of the subset, negations among them.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("request.verb == 'get'".to_owned()),
        Just("'entra:a' in subject.groups".to_owned()),
        Just("request.object.spec.n > 2".to_owned()),
        Just("has(request.object.spec.n)".to_owned()),
        Just("request.object.list.exists(x, x == 1)".to_owned()),
        Just("request.object.list.all(x, x == 1)".to_owned()),
        Just("request.object == null".to_owned()),
        Just("request.dryRun".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
        ]
    })
}

fn request() -> impl Strategy<Value = Request> {
    let resource = (
        proptest::sample::select(vec![
            ("", "pods"),
            ("apps", "deployments"),
            ("", "nodes"),
            ("example.com", "widgets"),
        ]),
        proptest::option::of(Just("log".to_owned())),
        proptest::option::of(proptest::sample::select(vec!["dev", "prod", "team-a"])),
        proptest::option::of(proptest::sample::select(vec!["x", "yy", "z"])),
    )
        .prop_map(|((group, resource), subresource, namespace, name)| {
            Scope::Resource(Resource {
                group: group.to_owned(),
                version: "v1".to_owned(),
                resource: resource.to_owned(),
                subresource,
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
            })
        });
    let path = proptest::sample::select(vec!["/version", "/metrics", "/openapi/v3"])
        .prop_map(|path| Scope::NonResource(path.to_owned()));
    let object = prop_oneof![
        Just(Fact::Known(None)),
        Just(Fact::unknown("protobuf body")),
        Just(Fact::Known(Some(json!({"metadata": {"name": "x"}, "spec": {"n": 1}, "list": [1, 2]})))),
        Just(Fact::Known(Some(json!({"metadata": {"generateName": "y"}, "spec": {"n": 3}, "list": [1, "a"]})))),
    ];
    let verb = proptest::sample::select(vec!["get", "list", "watch", "create", "patch", "delete"]);
    (verb, prop_oneof![4 => resource, 1 => path], object, any::<bool>()).prop_map(|(verb, scope, object, dry_run)| {
        Request {
            verb: verb.to_owned(),
            scope,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            label_selector: None,
            field_selector: None,
            dry_run,
            field_manager: None,
            user_agent: None,
            kubectl_command: None,
            impersonates: false,
            upgrades: false,
            patch: None,
            object,
        }
    })
}

/// Text with the words of policies in any order.
fn policy_like() -> impl Strategy<Value = String> {
    let words = proptest::sample::select(vec![
        "apiVersion: sluice.dev/v1alpha1\n",
        "kind: GatewayPolicy\n",
        "kind: IdentityProvider\n",
        "metadata: {name: a}\n",
        "spec:\n",
        "  rules:\n",
        "  - name: x\n",
        "    subjects: {anyone: true}\n",
        "    action: Allow\n",
        "    action: Deny\n",
        "    kubernetes: {verbs: [get]}\n",
        "    when: 'a'\n",
        "  targets: []\n",
        "  targets: [{name: a, kubernetes: {server: a.b}}]\n",
        "  issuers: ['https://a.b']\n",
        "---\n",
        "  mode: Audit\n",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "&a ",
        "*a ",
        "!!x ",
        "  <<: ",
        "'",
        "\"",
        "\t",
    ]);
    proptest::collection::vec(words, 0..25).prop_map(|words| words.concat())
}
