//! Probes over the network. The node sends them, and nothing from outside
//! reaches an agent: so the node asks the gateway, and the gateway makes the
//! probe from within the pod.
//!
//! ```text
//! before  httpGet: {path: /live, port: web}
//! after   httpGet: {path: /probe/agent/liveness, port: 15021}
//!         SLUICE_PROBES={"/probe/agent/liveness":{"httpGet":{"path":"/live","port":8080},"timeoutSeconds":1}}
//! ```

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use super::list;
use crate::names;

/// Fields of a container, and what the path says of each.
const KINDS: [(&str, &str); 3] =
    [("startupProbe", "startup"), ("readinessProbe", "readiness"), ("livenessProbe", "liveness")];
/// What goes over the network. `exec` stays as it is.
const HANDLERS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];
const TIMEOUT: &str = "timeoutSeconds";

/// The pod with the probes as their owner wrote them: an earlier gateway's
/// environment has them. What comes out is judged like what was never here.
pub(super) fn restored(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let earlier = earlier(&pod);
    for field in ["initContainers", "containers"] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(field)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            for (field, kind) in KINDS {
                let path = path(container, kind);
                let Some(original) = earlier.get(&path).and_then(Value::as_object) else { continue };
                let Some(probe) = container.get_mut(field).and_then(Value::as_object_mut) else { continue };
                let asks_us = probe.get("httpGet").is_some_and(|get| get.get("path") == Some(&json!(path)));
                if asks_us {
                    probe.remove("httpGet");
                    probe.extend(
                        HANDLERS.iter().filter_map(|name| Some(((*name).to_owned(), original.get(*name)?.clone()))),
                    );
                }
            }
        }
    }
    pod
}

/// Turns the probes of a container to the gateway; what they were goes to
/// `originals`. Their timings stay.
pub(super) fn rewrite(container: &mut Map<String, Value>, originals: &mut Map<String, Value>) {
    for (field, kind) in KINDS {
        let path = path(container, kind);
        let ports: Vec<Value> = container.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(probe) = container.get_mut(field).and_then(Value::as_object_mut) else { continue };
        let Some(name) = HANDLERS.into_iter().find(|name| probe.get(*name).is_some_and(Value::is_object)) else {
            continue;
        };
        let mut handler = probe.remove(name).unwrap_or_default();
        if let Some(port) = handler.get_mut("port") {
            let listed = ports.iter().find(|listed| port.is_string() && listed.get("name") == Some(port));
            *port = match (listed.and_then(|listed| listed.get("containerPort")), port.as_str()) {
                (Some(number), _) => number.clone(),
                (None, Some(text)) => text.parse::<u16>().map_or_else(|_| port.clone(), Value::from),
                (None, None) => port.clone(),
            };
        }
        let timeout = probe.get(TIMEOUT).and_then(Value::as_u64).unwrap_or(1);
        originals.insert(path.clone(), json!({name: handler, TIMEOUT: timeout}));
        probe.insert("httpGet".to_owned(), json!({"path": path, "port": names::HEALTH_PORT, "scheme": "HTTP"}));
    }
}

/// The value of [`names::PROBES`]. Kubernetes would put other variables in
/// place of `$(NAME)`.
pub(super) fn as_variable(originals: &Map<String, Value>) -> String {
    Value::Object(originals.clone()).to_string().replace('$', "\\u0024")
}

/// What the gateway cannot probe, and hooks that would come from the node:
/// field and message.
pub(super) fn problems(container: &Container) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for (field, probe) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        let Some(probe) = probe else { continue };
        if asks_elsewhere(probe) {
            problems.push((
                field.to_owned(),
                "has a `host`: the node would ask it, past the gateway; remove `host`, so that the pod itself is asked"
                    .to_owned(),
            ));
        }
        for (handler, port) in ports(probe) {
            if let Some(message) = unusable(&port, container) {
                problems.push((format!("{field}.{handler}.port"), message));
            }
        }
    }
    let hooks = container.lifecycle.as_ref();
    let after = hooks.and_then(|hooks| hooks.post_start.as_ref()).map(|hook| ("postStart", hook));
    let before = hooks.and_then(|hooks| hooks.pre_stop.as_ref()).map(|hook| ("preStop", hook));
    problems.extend(after.into_iter().chain(before).filter_map(|(field, hook)| {
        let handler = over_network(hook)?;
        Some((
            format!("lifecycle.{field}.{handler}"),
            "would be sent by the node, and nothing from outside reaches an agent; use `exec`".to_owned(),
        ))
    }));
    problems
}

fn asks_elsewhere(probe: &Probe) -> bool {
    let http = probe.http_get.as_ref().and_then(|get| get.host.as_ref());
    let tcp = probe.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref());
    http.into_iter().chain(tcp).any(|host| !host.is_empty())
}

fn ports(probe: &Probe) -> impl Iterator<Item = (&'static str, IntOrString)> {
    let http = probe.http_get.as_ref().map(|get| ("httpGet", get.port.clone()));
    let tcp = probe.tcp_socket.as_ref().map(|socket| ("tcpSocket", socket.port.clone()));
    let grpc = probe.grpc.as_ref().map(|grpc| ("grpc", IntOrString::Int(grpc.port)));
    http.into_iter().chain(tcp).chain(grpc)
}

fn unusable(port: &IntOrString, container: &Container) -> Option<String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let listed = container.ports.iter().flatten().find(|listed| listed.name.as_deref() == Some(name));
            match listed.map(|listed| listed.container_port).or_else(|| name.parse().ok()) {
                Some(number) => number,
                None => {
                    return Some(format!("is `{name}`, which is no name in the container's `ports`; write the number"));
                }
            }
        }
    };
    match u16::try_from(number) {
        Ok(0) | Err(_) => Some(format!("is {number}; a port is a number from 1 to 65535")),
        Ok(port) if names::PORTS.contains(&port) => {
            Some(format!("is {port}, which is the gateway's own; probe a port of the container"))
        }
        Ok(_) => None,
    }
}

fn over_network(hook: &LifecycleHandler) -> Option<&'static str> {
    let http = hook.http_get.is_some().then_some("httpGet");
    http.or(hook.tcp_socket.is_some().then_some("tcpSocket"))
}

fn path(container: &Map<String, Value>, kind: &str) -> String {
    let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
    format!("{}{name}/{kind}", names::PROBE_PATH)
}

/// What an earlier run gave to its gateway.
fn earlier(pod: &Value) -> Map<String, Value> {
    let named = |value: &Value, name: &str| value.get("name").and_then(Value::as_str) == Some(name);
    let init = pod.get("spec").into_iter().flat_map(|spec| list(spec, "initContainers"));
    let mut gateway = init.filter(|container| named(container, names::GATEWAY));
    let variable = gateway.next().and_then(|gateway| list(gateway, "env").find(|entry| named(entry, names::PROBES)));
    let text = variable.and_then(|variable| variable.get("value")?.as_str());
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
