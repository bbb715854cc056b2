//! Mistakes that a new user makes: each is refused with the field and the fix.

use std::fs;

use anyhow::{Context, Result, ensure};
use sluice_testkit::{Builder, Request, Seat};

use crate::world::{self, EVERYTHING, HOST, ISSUER, Real, TARGET, TENANT, assert_denied, real};

seats!(
    mistakes_in_policy_are_refused_at_start,
    mistakes_in_arguments_are_refused_at_start,
    a_listener_for_a_host_that_is_no_target,
    no_policy_at_all,
    a_policy_that_matches_nothing,
    a_resource_that_does_not_exist
);

/// A gateway over these documents, with nothing behind it.
fn over(seat: Seat, policy: &str, provider: &str) -> Result<Builder> {
    let builder = Builder::new(seat)?.policy("policy.yaml", policy)?;
    let builder = if provider.is_empty() { builder } else { builder.policy("provider.yaml", provider)? };
    let ca = sluice_testkit::pki::Authority::new("the test's own")?;
    fs::write(builder.folder().join("ca-of-target.pem"), ca.pem())?;
    let address = (seat.loopback(), 9).into();
    Ok(builder.arguments(["--namespace", "agents"]).target(TARGET, address))
}

fn good_policy() -> String {
    world::policy(HOST, "ca-of-target.pem".as_ref(), EVERYTHING, "")
}

fn good_provider() -> String {
    world::provider(&[ISSUER], TENANT, "jwksUri: https://issuer.sluice.test/keys")
}

fn mistakes_in_policy_are_refused_at_start(seat: Seat) -> Result<()> {
    let policy = good_policy();
    let provider = good_provider();
    let second = format!("  - name: other\n    kubernetes: {{server: {HOST}}}\n  rules:");
    let cases: Vec<(&str, String, String, &[&str])> = vec![
        (
            "a misspelt field",
            policy.replace("verbs:", "verb:"),
            provider.clone(),
            &["spec.rules[0].kubernetes", "verb", "verbs"],
        ),
        (
            "a misspelt resource",
            policy.replace(r#"resources: ["*"]"#, "resources: [pod]"),
            provider.clone(),
            &["spec.rules[0].kubernetes.resources", "pod", "pods"],
        ),
        (
            "a misspelt verb",
            policy.replace(r#"verbs: ["*"]"#, "verbs: [lst]"),
            provider.clone(),
            &["spec.rules[0].kubernetes.verbs", "lst", "list"],
        ),
        (
            "a field of a later version",
            policy.replace("  rules:", "  approvals: {}\n  rules:"),
            provider.clone(),
            &["spec", "approvals"],
        ),
        (
            "an action of a later version",
            policy.replace("action: Allow", "action: RequireApproval"),
            provider.clone(),
            &["spec.rules[0].action", "RequireApproval", "Deny"],
        ),
        ("two targets with one host", policy.replace("  rules:", &second), provider.clone(), &["spec.targets", HOST]),
        (
            "an unknown target",
            policy.replace("targets: [aks]", "targets: [asks]"),
            provider.clone(),
            &["spec.rules[0].targets", "asks", "aks"],
        ),
        (
            "an allow without targets",
            policy.replace("    targets: [aks]\n", ""),
            provider.clone(),
            &["spec.rules[0]", "targets"],
        ),
        (
            "an allow without namespaces",
            policy.replace(r#", namespaces: ["*"]"#, ""),
            provider.clone(),
            &["spec.rules[0].kubernetes", "namespaces"],
        ),
        (
            "no subjects",
            policy
                .replace(r#"    subjects: {groups: ["entra:developers"]}"#, "")
                .replace("  - name: everything\n\n", "  - name: everything\n"),
            provider.clone(),
            &["spec.rules[0]", "subjects"],
        ),
        (
            "a group without its provider",
            policy.replace("entra:developers", "developers"),
            provider.clone(),
            &["spec.rules[0].subjects.groups", "developers", "entra:developers"],
        ),
        ("a provider that is not there", policy.clone(), String::new(), &["spec.identity.providers", "entra"]),
        (
            "a server that is a URL",
            policy.replace(&format!("server: {HOST}"), &format!("server: \"https://{HOST}\"")),
            provider.clone(),
            &["spec.targets[0].kubernetes.server", "https"],
        ),
        (
            "a CA file that is not there",
            policy.replace("ca-of-target.pem", "absent.pem"),
            provider.clone(),
            &["caBundleRef", "absent.pem"],
        ),
        (
            "a condition with a syntax error",
            policy.replace("    action: Allow", "    when: \"request.verb ==\"\n    action: Allow"),
            provider.clone(),
            &["spec.rules[0].when"],
        ),
        (
            "a condition on an unknown field",
            policy.replace("    action: Allow", "    when: \"request.vreb == 'get'\"\n    action: Allow"),
            provider.clone(),
            &["spec.rules[0].when", "vreb", "verb"],
        ),
        (
            "an issuer without https",
            policy.clone(),
            provider.replace(ISSUER, "http://issuer.sluice.test"),
            &["spec.issuers", "https"],
        ),
        ("an issuer that is no URL", policy.clone(), provider.replace(ISSUER, "issuer"), &["spec.issuers", "issuer"]),
        ("no issuers", policy.clone(), provider.replace(&format!("[\"{ISSUER}\"]"), "[]"), &["spec.issuers"]),
        (
            "a symmetric algorithm",
            policy.clone(),
            provider.clone() + "  algorithms: [HS256]\n",
            &["spec.algorithms", "HS256", "RS256"],
        ),
        (
            "an unknown kind",
            policy.replace("kind: GatewayPolicy", "kind: GatwayPolicy"),
            provider.clone(),
            &["kind", "GatwayPolicy", "GatewayPolicy"],
        ),
        (
            "another version",
            policy.replace("sluice.dev/v1alpha1", "sluice.dev/v1"),
            provider.clone(),
            &["apiVersion", "sluice.dev/v1"],
        ),
        (
            "a quantity that is none",
            policy.clone() + "  limits: {responseBytes: 64MB}\n",
            provider.clone(),
            &["spec.limits.responseBytes", "64MB"],
        ),
        (
            "one rule's name twice",
            policy.replace("  rules: ", &format!("  rules: {}", EVERYTHING.trim_end())),
            provider.clone(),
            &["spec.rules[1].name", "everything"],
        ),
        ("no YAML", "spec: [".to_owned(), provider, &["policy.yaml"]),
    ];
    let mut wrong = Vec::new();
    for (what, policy, provider, words) in cases {
        let refused = over(seat, &policy, &provider)?.refused().with_context(|| format!("{what}:\n{policy}"))?;
        for word in words {
            if !refused.stderr.contains(word) {
                wrong.push(format!("{what}: no {word:?} in: {}", refused.stderr.trim()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn mistakes_in_arguments_are_refused_at_start(seat: Seat) -> Result<()> {
    let good = || over(seat, &good_policy(), &good_provider());
    let any = seat.any_port();
    let cases: [(&str, Builder, &[&str]); 5] = [
        ("a listener without a target", good()?.arguments(["--listen", &any]), &["--listen", "="]),
        (
            "a listener that is no address",
            good()?.arguments(["--listen", &format!("localhost={TARGET}")]),
            &["--listen", "localhost"],
        ),
        ("a map to nowhere", good()?.arguments(["--map", "x=y"]), &["--map"]),
        (
            "a policy file that is not there",
            good()?.arguments(["--policy", "absent.yaml"]),
            &["--policy", "absent.yaml"],
        ),
        ("a flag that is not there", good()?.arguments(["--lsten", "x"]), &["--lsten", "--listen"]),
    ];
    for (what, builder, words) in cases {
        let refused = builder.refused().context(what)?;
        for word in words {
            ensure!(refused.stderr.contains(word), "{what}: no {word:?} in: {}", refused.stderr);
        }
    }
    Ok(())
}

/// It may be a target of the next policy, so it is said and not refused.
fn a_listener_for_a_host_that_is_no_target(seat: Seat) -> Result<()> {
    let other = format!("{}=other.example:443", seat.any_port());
    let gateway = over(seat, &good_policy(), &good_provider())?.arguments(["--listen", &other]).start()?;
    let said = |line: &str| (line.contains("--listen") && line.contains("other.example:443")).then_some(());
    gateway.process().error_line("word on the listener", said)?;
    Ok(())
}

fn no_policy_at_all(seat: Seat) -> Result<()> {
    let address = (seat.loopback(), 9).into();
    let empty = Builder::new(seat)?.arguments(["--namespace", "agents"]).target(TARGET, address);
    let refused = empty.refused()?;
    for word in ["policy", "GatewayPolicy"] {
        ensure!(refused.stderr.contains(word), "no {word:?} in: {}", refused.stderr);
    }
    let without = Builder::new(seat)?.target(TARGET, address).without("--policy").refused()?;
    ensure!(without.stderr.contains("--policy"), "{}", without.stderr);
    Ok(())
}

/// The selector is for pods of another label: accepted, said, and everything
/// is denied.
fn a_policy_that_matches_nothing(seat: Seat) -> Result<()> {
    let selector = "  selector: {matchLabels: {app: somebody-else}}\n";
    let builder = real(seat, EVERYTHING, selector)?.arguments(["--labels", "app=coder"]);
    let real = Real::over(builder)?;
    real.gateway.process().error_line("word on the selector", |line| line.contains("selector").then_some(()))?;
    let outcome = real.ask(Request::get("/api/v1/namespaces/dev/pods"));
    ensure!(!matches!(outcome, Ok(response) if response.status < 400), "something was allowed");
    Ok(())
}

fn a_resource_that_does_not_exist(seat: Seat) -> Result<()> {
    let rules = EVERYTHING.replace(r#"resources: ["*"]"#, "resources: [gadgets.example.com]");
    let real = Real::start(seat, &rules)?;
    let response = real.ask(Request::get("/api/v1/namespaces/dev/pods"))?;
    assert_denied(&response, 403, &["pods"])
}
