//! What several documents say together, and what is warned about.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_core::Workload;
use sluice_policy::{AuditMode, Compiled, Documents, Durability, Keys, Problem, Responses, compile};

const PROVIDERS: &str = "
apiVersion: sluice.dev/v1alpha1
kind: IdentityProvider
metadata: {name: entra}
spec: {issuers: ['https://login.example.com/v2.0', 'https://sts.example.com/']}
---
apiVersion: sluice.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp}
spec:
  issuers: ['https://corp.example.com']
  jwks: {keys: [{kty: RSA, n: x, e: AQAB, kid: a}]}
  algorithms: [ES256, RS256]
  claims: {subject: oid, groups: realm.groups, kubernetesUser: upn}
";

fn workload(namespace: &str, labels: &[(&str, &str)]) -> Workload {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Workload { namespace: namespace.to_owned(), labels, ..Workload::default() }
}

/// A policy of namespace `agents`.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: sluice.dev/v1alpha1\nkind: GatewayPolicy\nmetadata: {{name: {name}, namespace: agents}}\nspec: {spec}\n"
    )
}

fn compiled(policies: &[String], workload: &Workload) -> Result<Compiled, Vec<Problem>> {
    let mut sources = vec![("providers.yaml".to_owned(), PROVIDERS.to_owned())];
    sources.extend(policies.iter().enumerate().map(|(index, text)| (format!("{index}.yaml"), text.clone())));
    compile(&Documents::parse(&sources)?, workload)
}

fn agents(policies: &[String]) -> Result<Compiled, Vec<Problem>> {
    compiled(policies, &workload("agents", &[]))
}

fn target(name: &str, host: &str, more: &str) -> String {
    format!("{{identity: {{providers: [entra]}}, targets: [{{name: {name}, kubernetes: {{server: {host}}}{more}}}]}}")
}

#[test]
fn a_selector_is_about_labels() {
    let labels: &[(&str, &str)] = &[("app", "coder"), ("tier", "1")];
    for (selector, selects) in [
        ("{}", true),
        ("{matchLabels: {app: coder}}", true),
        ("{matchLabels: {app: coder, tier: '1'}}", true),
        ("{matchLabels: {app: coder, tier: '2'}}", false),
        ("{matchLabels: {other: coder}}", false),
        ("{matchExpressions: [{key: app, operator: In, values: [x, coder]}]}", true),
        ("{matchExpressions: [{key: app, operator: In, values: [x]}]}", false),
        ("{matchExpressions: [{key: app, operator: NotIn, values: [x]}]}", true),
        ("{matchExpressions: [{key: app, operator: NotIn, values: [coder]}]}", false),
        ("{matchExpressions: [{key: none, operator: NotIn, values: [x]}]}", true),
        ("{matchExpressions: [{key: app, operator: Exists}]}", true),
        ("{matchExpressions: [{key: none, operator: Exists}]}", false),
        ("{matchExpressions: [{key: none, operator: DoesNotExist}]}", true),
        ("{matchExpressions: [{key: app, operator: DoesNotExist}]}", false),
        ("{matchLabels: {app: coder}, matchExpressions: [{key: tier, operator: In, values: ['2']}]}", false),
    ] {
        let text = policy(
            "p",
            &format!("{{selector: {selector}, targets: [{{name: a, kubernetes: {{server: a.example.com}}}}]}}"),
        );
        let compiled = compiled(&[text], &workload("agents", labels)).expect("a policy");
        assert_eq!(compiled.targets().len() == 1, selects, "{selector}");
        assert_eq!(compiled.warnings().is_empty(), selects, "{selector}");
    }
}

#[test]
fn a_policy_that_is_about_others_is_a_warning_that_says_so() {
    let text = policy("p", "{selector: {matchLabels: {app: coder}}}");
    let compiled_ = compiled(std::slice::from_ref(&text), &workload("agents", &[("app", "other")])).expect("a policy");
    let said: Vec<String> = compiled_.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "0.yaml#1 GatewayPolicy/p: spec.selector: selects app=coder, the workload's labels are app=other: it does \
             not count here",
            "all documents: no policy is about this workload (namespace `agents`, labels app=other), so everything is \
             denied. The only GatewayPolicy that was read is about others: add one, or change its namespace or selector",
        ]
    );
    let compiled_ = compiled(&[text], &workload("other", &[])).expect("a policy");
    assert!(compiled_.warnings()[0].message.contains("is about namespace `agents`, the workload runs in `other`"));
    let none = agents(&[]).expect("providers alone");
    assert!(none.warnings()[0].message.contains("No GatewayPolicy was read"), "{:?}", none.warnings());
}

#[test]
fn a_policy_of_others_that_is_wrong_is_an_error_all_the_same() {
    let text = policy("p", "{selector: {matchLabels: {app: coder}}, maxPolicyAge: soon}");
    assert_eq!(agents(&[text]).expect_err("a wrong age")[0].path, "spec.maxPolicyAge");
}

#[test]
fn two_policies_may_name_one_target_with_equal_settings() {
    let equal = [
        policy("a", &target("prod", "prod.example.com", ", ports: [443, 6443]")),
        policy(
            "b",
            "{identity: {providers: [corp]}, targets: [{name: prod, ports: [6443, 443, 443], kubernetes: {server: PROD.example.com.}}]}",
        ),
    ];
    let compiled = agents(&equal).expect("equal settings");
    let [target] = compiled.targets() else { panic!("{:?}", compiled.targets()) };
    assert_eq!((target.name.as_str(), target.host.as_str()), ("prod", "prod.example.com"));
    assert_eq!(target.ports, [443, 6443]);
    assert_eq!(target.providers, ["corp", "entra"]);
    assert_eq!(target.audiences, ["6dae42f8-4368-4678-94ff-3960e28e3630"]);
}

#[test]
fn two_policies_that_differ_about_a_target_are_refused() {
    let first = policy("a", &target("prod", "prod.example.com", ""));
    for (other, field) in [
        (target("production", "prod.example.com", ""), "name"),
        (target("prod", "prod2.example.com", ""), "kubernetes.server"),
        (target("prod", "prod.example.com", ", ports: [6443]"), "ports"),
        (target("prod", "prod.example.com", ", audiences: [x]"), "audiences"),
        (target("prod", "prod.example.com", ", caBundleRef: {file: ca.pem}"), "caBundleRef"),
    ] {
        let problems = agents(&[first.clone(), policy("b", &other)]).expect_err(field);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, "spec.targets[0]");
        assert!(
            problems[0].message.contains("policy agents/a has target `prod`")
                && problems[0].message.contains(&format!("another {field};")),
            "{}",
            problems[0]
        );
    }
}

#[test]
fn a_policy_of_another_workload_may_name_the_host_otherwise() {
    let other = "{selector: {matchLabels: {app: other}}, targets: [{name: x, kubernetes: {server: prod.example.com}}]}";
    let compiled = agents(&[policy("a", &target("prod", "prod.example.com", "")), policy("b", other)]);
    assert_eq!(compiled.expect("only one counts").targets().len(), 1);
}

#[test]
fn limits_are_the_smallest_and_audit_the_strictest() {
    let compiled = agents(&[
        policy("a", "{limits: {responseBytes: 64Mi, commandsPerMinute: 600}, audit: {mode: BestEffort, durability: Process, responses: None}, maxPolicyAge: 1h}"),
        policy("b", "{limits: {responseBytes: 1048576, concurrentSessions: 4}, audit: {durability: Disk, responses: None}, maxPolicyAge: 90m}"),
    ])
    .expect("policies");
    assert_eq!(compiled.limits().response_bytes, Some(1 << 20));
    assert_eq!(compiled.limits().commands_per_minute, Some(600));
    assert_eq!(compiled.limits().concurrent_sessions, Some(4));
    assert_eq!(compiled.audit().mode, AuditMode::Strict);
    assert_eq!(compiled.audit().durability, Durability::Disk);
    assert_eq!(compiled.audit().responses, Responses::None);
    assert_eq!(compiled.audit().max_policy_age, Duration::from_secs(3600));
    let plain = agents(&[policy("a", "{}")]).expect("a policy");
    assert_eq!(plain.audit().durability, Durability::Auto);
    assert_eq!(plain.audit().max_policy_age, Duration::from_secs(24 * 3600));
    assert_eq!(plain.limits().response_bytes, None);
}

#[test]
fn egress_is_what_all_allow_and_none_denies() {
    let allow = |host: &str| format!("{{egress: {{other: Allow, allow: [{{host: '{host}', ports: [443, 8443]}}]}}}}");
    let compiled =
        agents(&[policy("a", &allow("*.PyPI.example")), policy("b", &allow("files.example.com."))]).expect("egress");
    let egress = compiled.egress();
    for (host, port, reached) in [
        ("files.example.com", 443, true),
        ("FILES.example.com.", 8443, true),
        ("files.example.com", 80, false),
        ("other.example.com", 443, false),
        ("a.pypi.example", 443, true),
        ("a.b.pypi.example", 443, true),
        ("pypi.example", 443, false),
        ("notpypi.example", 443, false),
        (".pypi.example", 443, false),
    ] {
        assert_eq!(egress.allows(host, port), reached, "{host}:{port}");
    }
    assert!(egress.names("a.pypi.example") && !egress.names("pypi.example"));
    let denied =
        agents(&[policy("a", &allow("x.example.com")), policy("b", "{egress: {other: Deny}}")]).expect("egress");
    assert!(denied.egress().allow.is_empty());
    assert!(agents(&[policy("a", "{}")]).expect("a policy").egress().allow.is_empty());
}

#[test]
fn providers_are_those_that_a_policy_refers_to() {
    let compiled = agents(&[policy("a", "{identity: {providers: [corp]}}")]).expect("a policy");
    let [corp] = compiled.providers() else { panic!("{:?}", compiled.providers()) };
    assert_eq!(corp.name, "corp");
    assert!(matches!(&corp.keys, Keys::Inline(set) if set.contains("\"kid\":\"a\"")), "{:?}", corp.keys);
    assert_eq!(corp.algorithms, ["ES256", "RS256"]);
    assert_eq!((corp.claims.subject.as_str(), corp.claims.groups.as_str()), ("oid", "realm.groups"));
    assert_eq!((corp.claims.roles.as_str(), corp.claims.kubernetes_user.as_deref()), ("roles", Some("upn")));
    let compiled = agents(&[policy("a", "{identity: {providers: [entra]}}")]).expect("a policy");
    assert_eq!(compiled.providers()[0].keys, Keys::Discovery);
    assert_eq!(compiled.providers()[0].algorithms, ["RS256"]);
    assert_eq!(compiled.providers()[0].claims.subject, "sub");
}

#[test]
fn an_issuer_belongs_to_one_provider() {
    let thief = "apiVersion: sluice.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {name: thief}\nspec: {issuers: ['https://corp.example.com']}\n";
    let problems = agents(&[thief.to_owned()]).expect_err("a shared issuer");
    assert_eq!(problems[0].path, "spec.issuers[0]");
    assert!(problems[0].message.contains("of provider `corp` already"), "{}", problems[0]);
}

#[test]
fn one_name_is_one_document() {
    let problems = agents(&[policy("a", "{}"), policy("a", "{}")]).expect_err("a name twice");
    assert_eq!(
        problems[0].to_string(),
        "1.yaml#1 GatewayPolicy/a: metadata.name: another policy is called `a` already; rename or remove one"
    );
}

#[test]
fn a_workload_acts_where_a_policy_lets_it() {
    let compiled = agents(&[
        policy("a", "{identity: {workload: Allowed}, targets: [{name: a, kubernetes: {server: a.example.com}}]}"),
        policy("b", "{identity: {workload: Denied}, targets: [{name: b, kubernetes: {server: b.example.com}}]}"),
    ])
    .expect("policies");
    assert!(compiled.workload_allowed("a"));
    assert!(!compiled.workload_allowed("b"));
    assert!(!compiled.workload_allowed("c"));
}

#[test]
fn a_revision_names_the_documents_in_any_order() {
    let (a, b) = (policy("a", "{}"), policy("b", "{}"));
    let revision = |policies: &[String]| agents(policies).expect("policies").revision().to_owned();
    let both = revision(&[a.clone(), b.clone()]);
    assert_eq!(both.len(), 16);
    assert!(both.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(both, revision(&[b.clone(), a.clone()]));
    assert_eq!(both, revision(&[format!("# a comment\n{a}"), b]));
    assert_ne!(both, revision(std::slice::from_ref(&a)));
    assert_ne!(revision(std::slice::from_ref(&a)), revision(&[policy("a", "{mode: Audit}")]));
}

#[test]
fn a_resource_of_ones_own_in_the_core_group_is_a_warning() {
    let rule = "{name: r, subjects: {anyone: true}, targets: ['*'], action: Allow, kubernetes: {verbs: [get], resources: [widgets], namespaces: ['*']}}";
    let text = policy(
        "a",
        &format!(
            "{{identity: {{workload: Allowed}}, targets: [{{name: a, kubernetes: {{server: a.example.com}}}}], rules: [{rule}]}}"
        ),
    );
    let compiled = agents(&[text]).expect("a policy");
    assert_eq!(compiled.warnings()[0].path, "spec.rules[0].kubernetes.resources[0]");
    assert!(compiled.warnings()[0].message.contains("write `widgets.GROUP`"), "{}", compiled.warnings()[0]);
}

#[test]
fn sources_are_bounded() {
    let large = "#".repeat(sluice_policy::MAX_SOURCE_BYTES + 1);
    let problems = agents(&[large]).expect_err("a large source");
    assert!(problems[0].message.contains("split it"), "{}", problems[0]);
    let many: Vec<String> = (0..300).map(|index| policy(&format!("p{index}"), "{}")).collect();
    assert!(agents(&[many.concat()]).is_err());
    let aliases = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    assert!(agents(&[aliases.to_owned()]).is_err());
    // The parser alone would take a time that grows with the square of this.
    let deep = format!("a: {}", "[".repeat(200));
    let problems = agents(&[deep]).expect_err("a deep source");
    assert!(problems[0].message.contains("nested deeper than 128"), "{}", problems[0]);
}

#[test]
fn empty_documents_are_no_documents() {
    let documents = Documents::parse(&[("a.yaml".to_owned(), "---\n---\n# nothing\n".to_owned())]).expect("nothing");
    assert!(documents.is_empty());
}

#[test]
fn bundles_of_a_cluster_are_found_in_its_folder() {
    let bundle = "corp-ca, key: roots.pem";
    let provider = PROVIDERS.replace("spec: {issuers:", "spec: {caBundleRef: {configMap: login-ca}, issuers:");
    let spec = target("prod", "prod.example.com", &format!(", caBundleRef: {{configMap: {bundle}}}"));
    let documents = || {
        let sources = [("p.yaml".to_owned(), provider.clone()), ("a.yaml".to_owned(), policy("a", &spec))];
        Documents::parse(&sources).unwrap_or_else(|problems| panic!("{problems:#?}"))
    };
    let keys: Vec<String> = documents().bundle_keys().iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["_control/login-ca/ca.crt", "agents/corp-ca/roots.pem"]);

    let compiled = compile(&documents().in_cluster("/bundles"), &workload("agents", &[])).expect("policy");
    assert_eq!(compiled.targets()[0].ca_bundle, Some("/bundles/agents/corp-ca/roots.pem".into()));
    assert_eq!(compiled.providers()[0].ca_bundle, Some("/bundles/_control/login-ca/ca.crt".into()));

    let problems = compile(&documents(), &workload("agents", &[])).expect_err("no cluster");
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["spec.caBundleRef.configMap", "spec.targets[0].caBundleRef.configMap"]);

    let file = policy("a", &target("prod", "prod.example.com", ", caBundleRef: {file: /etc/shadow}"));
    let sources = [("p.yaml".to_owned(), PROVIDERS.to_owned()), ("a.yaml".to_owned(), file)];
    let documents = Documents::parse(&sources).expect("documents").in_cluster("/bundles");
    let problems = compile(&documents, &workload("agents", &[])).expect_err("a file in a cluster");
    assert_eq!(problems[0].path, "spec.targets[0].caBundleRef.file");
}

#[test]
fn the_api_server_of_the_own_cluster_has_audiences_of_its_own() {
    let compiled = agents(&[policy("a", &target("self", "kubernetes.default.svc", ""))]).expect("policy");
    assert_eq!(
        compiled.targets()[0].audiences,
        ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"]
    );
    let compiled =
        agents(&[policy("a", &target("self", "kubernetes.default.svc", ", audiences: [own]"))]).expect("policy");
    assert_eq!(compiled.targets()[0].audiences, ["own"]);
}

#[test]
fn guard_rails_are_no_policy_and_bound_it() {
    let rails = "---\napiVersion: sluice.dev/v1alpha1\nkind: ClusterGatewayPolicy\nmetadata: {name: rails}\nspec: {limits: {commandsPerMinute: 5}}\n";
    let alone = agents(&[rails.to_owned()]).expect("rails");
    assert!(alone.warnings().iter().any(|warning| warning.message.contains("no policy is about this workload")));
    assert!(alone.providers().is_empty());
    let spec = target("prod", "prod.example.com", "").replacen(
        '{',
        "{audit: {mode: BestEffort}, limits: {commandsPerMinute: 50}, ",
        1,
    );
    let both = agents(&[rails.to_owned(), policy("a", &spec)]).expect("policy");
    assert_eq!(both.limits().commands_per_minute, Some(5));
    assert_eq!(both.audit().mode, AuditMode::BestEffort);
}
