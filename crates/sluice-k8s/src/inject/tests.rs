//! Golden pods, golden refusals, and properties that hold for every pod.
//!
//! `UPDATE_GOLDEN=1` writes the expected files anew; read the difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/inject")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn settings() -> InjectionSettings {
    InjectionSettings {
        version: "1.2.3".to_owned(),
        image: "example.com/sluice-gateway:1.2.3".to_owned(),
        roots: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ..InjectionSettings::default()
    }
}

fn golden(name: &str, said: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(folder().join(name), said).expect("write the golden file");
    }
    let expected = read(name);
    for (number, (expected, said)) in expected.lines().zip(said.lines()).enumerate() {
        assert_eq!(expected, said, "{name}, line {}", number + 1);
    }
    assert_eq!(expected.lines().count(), said.lines().count(), "{name} has more or fewer lines");
}

#[test]
fn these_pods_come_out_like_this() {
    for (name, folders) in [
        ("plain", Folders::AsWritten),
        ("admitted", Folders::AsMounted),
        ("no-folder", Folders::AsWritten),
        ("probes", Folders::AsWritten),
    ] {
        let pod: Value = serde_norway::from_str(&read(&format!("{name}.yaml"))).expect("a pod");
        let placement = Placement { folders, ..Placement::default() };
        let injected = inject(&pod, placement, &settings()).expect("an injected pod");
        golden(&format!("{name}.injected.yaml"), &crate::yaml::to_yaml(&injected));
        assert_eq!(inject(&injected, placement, &settings()), Ok(injected), "{name}, injected again");
    }
}

#[test]
fn java_is_left_alone_where_the_chart_says_so() {
    let pod = json!({"spec": {"containers": [
        {"name": "a", "image": "i", "env": [{"name": "JAVA_TOOL_OPTIONS", "value": "-Djavax.net.ssl.trustStore=/x"}]},
    ]}});
    let settings = InjectionSettings { java_trust_store: false, ..settings() };
    let injected = inject(&pod, Placement::default(), &settings).expect("injected");
    let env: Vec<&Value> = list(&injected["spec"]["containers"][0], "env").collect();
    assert!(env.contains(&&json!({"name": "JAVA_TOOL_OPTIONS", "value": "-Djavax.net.ssl.trustStore=/x"})), "{env:?}");
    assert!(!injected.to_string().contains("java.p12"), "{injected}");
}

#[test]
fn what_an_earlier_gateway_knows_of_probes_is_judged_again() {
    let pod = |originals: &str| {
        json!({"spec": {
            "initContainers": [{
                "name": names::GATEWAY, "image": "i", "args": ["pod"],
                "env": [{"name": names::PROBES, "value": originals}],
            }],
            "containers": [{
                "name": "a", "image": "i",
                "livenessProbe": {"httpGet": {"path": "/probe/a/liveness", "port": 15021}, "timeoutSeconds": 4},
            }],
        }})
    };
    let probe = |handler: &str| format!(r#"{{"/probe/a/liveness": {{{handler}, "timeoutSeconds": 9}}}}"#);
    let inject = |originals: &str| inject(&pod(originals), Placement::default(), &settings());
    let env = inject(&probe(r#""tcpSocket": {"port": 80}"#)).expect("injected");
    let known = list(&env["spec"]["initContainers"][1], "env").find(|variable| variable["name"] == names::PROBES);
    assert_eq!(
        known.and_then(|known| known["value"].as_str()),
        Some(r#"{"/probe/a/liveness":{"tcpSocket":{"port":80},"timeoutSeconds":4}}"#)
    );
    for (originals, at) in [
        ("", "livenessProbe.httpGet.port"),
        ("{", "livenessProbe.httpGet.port"),
        (&probe(r#""tcpSocket": {"port": 15001}"#), "livenessProbe.tcpSocket.port"),
        (&probe(r#""httpGet": {"port": 80, "host": "evil.example.com"}"#), "livenessProbe"),
        (&probe(r#""httpGet": 7"#), "spec.containers[0].livenessProbe.httpGet"),
    ] {
        let refusals = inject(originals).expect_err(originals);
        assert!(refusals[0].path.ends_with(at), "{originals}: {refusals:?}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    pod: Option<Value>,
    spec: Option<Value>,
    container: Option<Value>,
    #[serde(default)]
    required: bool,
    minor: Option<u32>,
}

#[test]
fn these_pods_are_refused_in_these_words() {
    let cases: Vec<Case> = serde_norway::from_str(&read("refusals.yaml")).expect("the cases");
    let mut said = String::new();
    let mut allowed = Vec::new();
    for case in &cases {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "coder", "annotations": {"sluice.dev/inject": "enabled"}},
            "spec": {"containers": [{"name": "agent", "image": "i"}]},
        });
        merge(&mut pod["spec"]["containers"][0], case.container.as_ref());
        merge(&mut pod["spec"], case.spec.as_ref());
        merge(&mut pod, case.pod.as_ref());
        let placement = Placement { required: case.required, kubernetes_minor: case.minor, ..Placement::default() };
        writeln!(said, "== {}", case.name).expect("a string takes it");
        match inject(&pod, placement, &settings()) {
            Ok(_) => allowed.push(case.name.as_str()),
            Err(refusals) => refusals.iter().for_each(|r| writeln!(said, "{r}").expect("a string takes it")),
        }
    }
    golden("refusals.txt", &said);
    assert_eq!(allowed, ["the base"]);
}

fn merge(base: &mut Value, patch: Option<&Value>) {
    let Some(patch) = patch else { return };
    let (Value::Object(fields), Value::Object(patch)) = (&mut *base, patch) else {
        *base = patch.clone();
        return;
    };
    for (key, value) in patch {
        merge(fields.entry(key.clone()).or_insert(Value::Null), Some(value));
    }
}

/// Fields of a container that somebody might try; most are harmless.
fn container() -> impl Strategy<Value = Value> {
    let name = prop_oneof![4 => "[a-c]", 1 => Just("sluice-init".to_owned()), 1 => Just("sluice-gateway".to_owned())];
    let capability = prop_oneof![3 => Just("NET_BIND_SERVICE"), 1 => Just("NET_ADMIN"), 1 => Just("NET_RAW")];
    let user = prop_oneof![Just(Value::Null), Just(json!(0)), Just(json!(1000)), Just(json!(62051))];
    let context = (
        prop::option::of(prop::bool::weighted(0.1)),
        prop::option::of(any::<bool>()),
        prop::option::of(prop::collection::vec(capability, 0..2)),
        user.clone(),
        user,
    );
    let context = context.prop_map(|(privileged, escalation, add, user, group)| {
        json!({
            "privileged": privileged, "allowPrivilegeEscalation": escalation, "runAsUser": user, "runAsGroup": group,
            "capabilities": {"add": add, "drop": ["NET_RAW"]},
        })
    });
    let context = prop_oneof![Just(Value::Null), Just(json!({})), context];
    let volume = prop_oneof![
        4 => Just("data"), 2 => Just("kube-api-access-abcde"), 1 => Just(names::TRUST), 1 => Just(names::PRIVATE),
        1 => Just(names::SERVICE_ACCOUNT),
    ];
    let path = prop_oneof![
        2 => Just("/data"), 2 => Just(names::SERVICE_ACCOUNT_PATH), 1 => Just("/var/run/secrets/kubernetes.io/serviceaccount/"),
        1 => Just(names::TRUST_PATH), 1 => Just("/run/sluice"),
    ];
    let mount = (volume, path, prop::option::of(any::<bool>()))
        .prop_map(|(name, path, read_only)| json!({"name": name, "mountPath": path, "readOnly": read_only}));
    let variable = prop_oneof![
        Just(json!({"name": "HOME", "value": "/"})),
        Just(json!({"name": "KUBECONFIG", "value": "/x"})),
        Just(json!({"name": "SSL_CERT_FILE", "value": names::BUNDLE_FILE})),
        Just(json!({"name": "SSL_CERT_FILE", "value": "/x"})),
        Just(json!({"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g "})),
        Just(json!({"name": "JAVA_TOOL_OPTIONS"})),
        Just(json!({"name": "JAVA_TOOL_OPTIONS", "value": crate::java::options(names::JAVA_FILE)})),
        Just(json!({"name": "JAVA_TOOL_OPTIONS", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}})),
    ];
    let probe = prop_oneof![
        4 => Just(Value::Null),
        1 => Just(json!({"exec": {"command": ["true"]}})),
        1 => Just(json!({"httpGet": {"path": "/$(HOME)", "port": 80}, "timeoutSeconds": 3})),
        1 => Just(json!({"tcpSocket": {"port": "none"}})),
        1 => Just(json!({"httpGet": {"path": "/probe/a/liveness", "port": 15021}})),
    ];
    (
        name,
        context,
        probe,
        prop::option::of(prop::collection::vec(mount, 0..3)),
        prop::option::of(prop::collection::vec(variable, 0..3)),
        prop::option::of(prop_oneof![Just(json!(["pod"])), Just(json!(["init"])), Just(json!(["x"]))]),
    )
        .prop_map(|(name, context, probe, mounts, env, args)| {
            json!({
                "name": name, "image": "i", "securityContext": context, "volumeMounts": mounts, "env": env, "args": args,
                "livenessProbe": probe,
            })
        })
}

fn pod() -> impl Strategy<Value = Value> {
    let volume = prop_oneof![
        4 => Just(json!({"name": "data", "emptyDir": {}})),
        2 => Just(json!({"name": "kube-api-access-abcde", "projected": {"sources": []}})),
        1 => Just(json!({"name": "x", "hostPath": {"path": "/"}})),
        1 => Just(json!({"name": names::PRIVATE, "emptyDir": {}})),
        1 => Just(json!({"name": names::TRAIL, "hostPath": {"path": "/"}})),
    ];
    let rare = || prop::option::weighted(0.3, prop::bool::weighted(0.1));
    (
        prop::collection::vec(container(), 1..3),
        prop::option::of(prop::collection::vec(container(), 0..3)),
        prop::option::of(prop::collection::vec(volume, 0..3)),
        (rare(), rare(), rare()),
        prop::option::of(any::<bool>()),
        prop_oneof![3 => Just(Value::Null), 1 => Just(json!({"runAsGroup": 1000})), 1 => Just(json!({"runAsUser": 62051}))],
    )
        .prop_map(|(containers, init, volumes, (network, processes, shared), automount, context)| {
            json!({"metadata": {"labels": null}, "spec": {
                "containers": containers, "initContainers": init, "volumes": volumes, "hostNetwork": network,
                "hostPID": processes, "shareProcessNamespace": shared, "automountServiceAccountToken": automount,
                "securityContext": context,
            }})
        })
}

/// What must never be left in an injected pod.
fn forbidden(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let spec = &pod["spec"];
    let init: Vec<&Value> = list(spec, "initContainers").collect();
    let expected = [ours::init(&settings()), ours::gateway(&settings(), &Map::new())];
    let mut gateway = init.get(1).map_or(Value::Null, |gateway| (*gateway).clone());
    if let Some(env) = gateway.get_mut("env").and_then(Value::as_array_mut) {
        env.retain(|variable| variable["name"] != names::PROBES);
    }
    if init.len() < 2 || *init[0] != expected[0] || gateway != expected[1] {
        found.push("the gateway is not first, or altered".to_owned());
    }
    for volume in list(spec, "volumes") {
        for kind in
            volume.as_object().into_iter().flatten().map(|(kind, _)| kind.as_str()).filter(|kind| *kind != "name")
        {
            if !refuse::VOLUME_KINDS.contains(&kind) {
                found.push(format!("volume {kind}"));
            }
        }
    }
    let ours_now: Vec<&Value> = list(spec, "volumes")
        .filter(|volume| names::VOLUMES.contains(&volume["name"].as_str().unwrap_or_default()))
        .collect();
    if ours_now != ours::volumes(&settings()).iter().collect::<Vec<_>>() {
        found.push("our volumes are not ours".to_owned());
    }
    for container in init.iter().skip(2).copied().chain(list(spec, "containers")) {
        let name = container["name"].as_str().unwrap_or_default();
        let context = &container["securityContext"];
        if name.starts_with(names::RESERVED) {
            found.push(format!("container {name}"));
        }
        if context["capabilities"]["drop"] != json!(["ALL"])
            || list(&context["capabilities"], "add").any(|add| add != "NET_BIND_SERVICE")
            || context["allowPrivilegeEscalation"] != json!(false)
            || context["privileged"] == json!(true)
        {
            found.push(format!("{name} keeps privileges"));
        }
        let group = if context["runAsGroup"].is_null() {
            &spec["securityContext"]["runAsGroup"]
        } else {
            &context["runAsGroup"]
        };
        if group.is_null() || group == &json!(62051) || context["runAsUser"] == json!(62051) {
            found.push(format!("{name} may be the gateway's user or group"));
        }
        let get = &container["livenessProbe"]["httpGet"];
        let ours = get["port"] == 15021 && get["path"] == format!("/probe/{name}/liveness").as_str();
        if !get.is_null() && !ours || !container["livenessProbe"]["tcpSocket"].is_null() {
            found.push(format!("{name} is probed from outside"));
        }
        for mount in list(container, "volumeMounts") {
            let volume = mount["name"].as_str().unwrap_or_default();
            let read_only = mount["readOnly"] == json!(true);
            if [names::PRIVATE, names::TRAIL, names::IDENTITY].contains(&volume)
                || names::VOLUMES.contains(&volume) && !read_only
            {
                found.push(format!("{name} mounts {volume}"));
            }
        }
    }
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
        if spec[field] == json!(true) {
            found.push(field.to_owned());
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_injected_holds_nothing_forbidden_and_stays_as_it_is(pod in pod(), written in any::<bool>()) {
        let folders = if written { Folders::AsWritten } else { Folders::AsMounted };
        let placement = Placement { folders, ..Placement::default() };
        if let Ok(once) = inject(&pod, placement, &settings()) {
            prop_assert_eq!(forbidden(&once), Vec::<String>::new());
            let twice = inject(&once, placement, &settings());
            prop_assert_eq!(Ok(&once), twice.as_ref());
            // A pod of a file goes through the webhook too.
            let admitted = inject(&once, Placement::default(), &settings());
            prop_assert_eq!(Ok(&once), admitted.as_ref());
        }
    }

    #[test]
    fn nothing_panics_on_any_json(name in "[a-z]{0,3}", text in "\\PC{0,8}") {
        for value in [json!(null), json!(1), json!([1]), json!(text), json!({ name.clone(): text.clone() })] {
            let pod = json!({"metadata": value, "spec": {"containers": value, "volumes": value}});
            prop_assert!(inject(&pod, Placement::default(), &settings()).is_err());
            prop_assert!(inject(&value, Placement::default(), &settings()).is_err());
        }
    }
}
