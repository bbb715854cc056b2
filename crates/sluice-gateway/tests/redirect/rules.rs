//! The rules as the kernel tells them back, and the init step's own ways to
//! end.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::pod::{AGENT, Pod, datagrams, listen};

/// What `nft` reads, without what differs from time to time.
fn ruleset(pod: &Pod) -> Value {
    let mut list: Value = serde_json::from_str(&pod.tool(&["nft", "-j", "list", "ruleset"])).expect("JSON");
    strip(&mut list);
    list
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("handle");
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// `nft` reads the same back whether it wrote `ruleset.nft` itself or the
/// init step wrote its own.
#[test]
fn the_rules_are_these() {
    let [ours, theirs] = [Pod::new(), Pod::new()];
    ours.init_succeeds(&[("SLUICE_GATEWAY_USER", "1337"), ("SLUICE_INBOUND_PORTS", "8080,9090")]);
    theirs.tool(&["nft", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redirect/ruleset.nft")]);
    let (ours, theirs) = (ruleset(&ours), ruleset(&theirs));
    let pairs = entries(&ours).iter().zip(entries(&theirs));
    for (index, (our, their)) in pairs.enumerate() {
        assert_eq!(our, their, "entry {index}");
    }
    assert_eq!(entries(&ours).len(), entries(&theirs).len());
}

fn entries(ruleset: &Value) -> &[Value] {
    ruleset["nftables"].as_array().expect("nftables")
}

#[test]
fn running_again_changes_nothing() {
    let pod = Pod::new();
    pod.tool(&["nft", "add table inet other; add chain inet other kept"]);
    pod.init_succeeds(&[]);
    let first = ruleset(&pod);
    pod.init_succeeds(&[]);
    assert_eq!(ruleset(&pod), first);
    assert!(first.to_string().contains(r#""kept""#), "{first}");

    pod.init_succeeds(&[("SLUICE_INBOUND_PORTS", "8080")]);
    assert_ne!(ruleset(&pod), first);
    pod.init_succeeds(&[]);
    assert_eq!(ruleset(&pod), first);
}

/// Whoever looks sees all of the rules, while they are replaced again and
/// again and whenever the one who does it is killed.
#[test]
fn the_rules_are_replaced_as_a_whole() {
    let pod = Pod::closed();
    let whole = ruleset(&pod);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks == 0 {
                assert_eq!(ruleset(&pod), whole);
                looks += 1;
            }
        });
        for round in 0..24 {
            let mut run = pod
                .init_command("-all,+net_admin", &[])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("run the init step");
            // Every other one is killed at once, wherever it is then.
            if round % 2 == 0 {
                for _ in 0..round * 200 {
                    std::hint::spin_loop();
                }
                run.kill().expect("kill");
            }
            run.wait().expect("wait");
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("the rules were whole at every look");
    });
    assert_eq!(ruleset(&pod), whole);
}

#[test]
fn success_is_one_line_that_names_what_was_proved() {
    let both = Pod::new().init_succeeds(&[]);
    assert_eq!(both.lines().count(), 1, "{both}");
    assert!(both.contains("redirect in place proven=IPv4 and IPv6 user=62051 inbound={}"), "{both}");
    let log = Pod::new().without("v6").init_succeeds(&[]);
    assert!(log.contains("proven=IPv4 user"), "{log}");
    let log = Pod::new().without("v4").init_succeeds(&[]);
    assert!(log.contains("proven=IPv6 user"), "{log}");
}

/// Runs the init step, which must fail. Returns what it says.
fn failure(pod: &Pod, environment: &[(&str, &str)]) -> String {
    let output = pod.init(environment);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_the_capability_it_says_which_is_missing() {
    let pod = Pod::new();
    let output = pod.init_command("-all", &[]).output().expect("run the init step");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("NET_ADMIN") && error.contains("Pod Security"), "{error}");
    assert_eq!(entries(&ruleset(&pod)).len(), 1, "nothing but the version");
}

#[test]
fn wrong_settings_are_refused_before_anything_is_written() {
    let pod = Pod::new();
    for (variable, value) in [("SLUICE_GATEWAY_USER", "0"), ("SLUICE_INBOUND_PORTS", "8080,15001")] {
        let error = failure(&pod, &[(variable, value)]);
        assert!(error.contains(variable), "{error}");
    }
    assert_eq!(entries(&ruleset(&pod)).len(), 1, "nothing but the version");
}

#[test]
fn whoever_has_a_port_of_the_gateway_is_an_error_and_the_rules_stay() {
    let pod = Pod::closed();
    let whole = ruleset(&pod);
    let taken = pod.inside(AGENT, || listen(15001));
    assert!(failure(&pod, &[]).contains("port 15001"));
    drop(taken);
    let taken = pod.inside(AGENT, || datagrams(15053));
    assert!(failure(&pod, &[]).contains("port 15053"));
    drop(taken);
    assert_eq!(ruleset(&pod), whole);
    pod.init_succeeds(&[]);
}

/// Rules of somebody else that come first make the proof fail.
#[test]
fn a_redirect_that_does_not_hold_is_an_error() {
    for (rule, missing) in [
        ("tcp dport 80 redirect to :9999", "a TCP connection must land"),
        ("tcp dport 53 redirect to :15001", "DNS over TCP"),
    ] {
        let pod = Pod::new();
        pod.tool(&["nft", "add table inet mesh; add chain inet mesh out { type nat hook output priority -150; }"]);
        pod.tool(&["nft", &format!("add rule inet mesh out {rule}")]);
        let error = failure(&pod, &[]);
        assert!(error.contains(missing) && error.contains("IPv4"), "{error}");
        assert!(ruleset(&pod).to_string().contains(r#""sluice""#), "the rules stay");
    }
}

#[test]
fn a_pod_without_a_network_is_an_error() {
    let pod = Pod::new().without("v4").without("v6");
    assert!(failure(&pod, &[]).contains("neither by IPv4"));
}
