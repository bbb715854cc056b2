//! The sidecar and the injection agree: names are written on both sides, since
//! the gateway does not carry the injection.

use std::path::Path;

use clap::{Args, Command, FromArgMatches};
use serde_json::{Value, json};
use sluice_k8s::inject::{InjectionSettings, Placement, inject};
use sluice_k8s::names;

use super::{PodArguments, files, is_in_cluster, workload};
use crate::probe::Probes;
use crate::redirect;

fn command() -> Command {
    PodArguments::augment_args(Command::new("pod"))
}

#[test]
fn ports_user_and_paths_are_those_of_the_injection() {
    let settings = InjectionSettings::default();
    assert_eq!([redirect::TCP_PORT, redirect::DNS_PORT, redirect::HEALTH_PORT], names::PORTS);
    assert_eq!(i64::from(redirect::GATEWAY_USER), settings.user);
    let matches = command().get_matches_from(["pod", "--control", &settings.control, "--roots", "PEM"]);
    let arguments = PodArguments::from_arg_matches(&matches).expect("arguments");
    assert_eq!(arguments.transparent.port(), names::TCP_PORT);
    assert!(arguments.dns.iter().all(|address| address.port() == names::DNS_PORT));
    assert_eq!(arguments.health.port(), names::HEALTH_PORT);
    for (ours, injected) in [
        (&arguments.private, names::PRIVATE_PATH),
        (&arguments.trail, names::TRAIL_PATH),
        (&arguments.trust, names::TRUST_PATH),
        (&arguments.identity, names::IDENTITY_PATH),
        (&arguments.service_account_folder, names::SERVICE_ACCOUNT_PATH),
        (&arguments.trust.join("ca.crt"), names::CA_FILE),
        (&arguments.trust.join("bundle.crt"), names::BUNDLE_FILE),
        (&arguments.trust.join("java.p12"), names::JAVA_FILE),
        (&arguments.trust.join("kubeconfig"), names::KUBECONFIG_FILE),
    ] {
        assert_eq!(ours, Path::new(injected));
    }
    assert_eq!(files::CA, names::CA_FILE);
    assert_eq!(Path::new(files::TOKEN), Path::new(names::SERVICE_ACCOUNT_PATH).join("token"));
    assert_eq!(workload::INTENTS.map(|(name, _)| name), [names::INTENT, names::RUN_ID, names::TRIGGERED_BY]);
    assert!(is_in_cluster(names::IN_CLUSTER_SERVER));
    assert_eq!(arguments.trust_domain, settings.trust_domain);
    assert_eq!(arguments.trail_bytes, settings.trail_size.most_used());
}

#[test]
fn what_the_injection_says_is_heard() {
    let pod = json!({"spec": {"containers": [{
        "name": "agent", "image": "i",
        "livenessProbe": {"httpGet": {"path": "/$(HOME)", "port": 80, "httpHeaders": [{"name": "a", "value": "b"}]}},
        "readinessProbe": {"tcpSocket": {"port": 81}},
        "startupProbe": {"grpc": {"port": 82, "service": null}},
    }]}});
    let injected = inject(&pod, Placement::default(), &InjectionSettings::default()).expect("injected");
    let env = injected["spec"]["initContainers"][1]["env"].as_array().expect("variables");
    let value = |name: &str| {
        let variable = env.iter().find(|variable| variable["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        variable["value"].as_str().unwrap_or_default().to_owned()
    };
    let command = command();
    let heard: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    for name in ["CONTROL", "COLLECTOR", "ROOTS", "TRUST_DOMAIN", "TRAIL_BYTES", "SERVICE_ACCOUNT", "PROBES"] {
        let name = format!("SLUICE_{name}");
        let _ = value(&name);
        assert!(heard.contains(&name.as_str()), "{name} is not read");
    }
    let probes: Probes = value(names::PROBES).parse().expect("probes");
    let container = &injected["spec"]["containers"][0];
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let get: &Value = &container[field]["httpGet"];
        assert_eq!(get["port"], names::HEALTH_PORT);
        assert!(probes.lists(get["path"].as_str().expect("path")), "{get}");
    }
}
