//! The two containers and the five volumes that are put in.

use serde_json::{Map, Value, json};

use super::{InjectionSettings, probes};
use crate::names;

/// Writes the redirect rules into the pod's network, proves them, exits.
pub(super) fn init(settings: &InjectionSettings) -> Value {
    let mut env = vec![json!({"name": "SLUICE_GATEWAY_USER", "value": settings.user.to_string()})];
    env.extend(log(settings));
    with_pull_policy(
        settings,
        json!({
            "name": names::INIT,
            "image": settings.image,
            "args": ["init"],
            "env": env,
            "resources": settings.init_resources,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "runAsUser": 0,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            // Taken, so that the API server mounts no token of its own here.
            "volumeMounts": [
                {"name": names::SERVICE_ACCOUNT, "mountPath": names::SERVICE_ACCOUNT_PATH, "readOnly": true},
            ],
        }),
    )
}

/// The native sidecar: first to start, last to end. `probes`: those of the
/// agent's containers that it makes, by path.
pub(super) fn gateway(settings: &InjectionSettings, probes: &Map<String, Value>) -> Value {
    let mut env = vec![
        json!({"name": "SLUICE_CONTROL", "value": settings.control}),
        json!({"name": "SLUICE_COLLECTOR", "value": settings.collector}),
        json!({"name": "SLUICE_ROOTS", "value": settings.roots}),
        json!({"name": "SLUICE_TRUST_DOMAIN", "value": settings.trust_domain}),
        json!({"name": "SLUICE_TRAIL_BYTES", "value": settings.trail_size.most_used().to_string()}),
        field("SLUICE_POD_NAME", "metadata.name"),
        field("SLUICE_POD_NAMESPACE", "metadata.namespace"),
        field("SLUICE_POD_UID", "metadata.uid"),
        field("SLUICE_POD_IP", "status.podIP"),
        field("SLUICE_POD_IPS", "status.podIPs"),
        field("SLUICE_NODE", "spec.nodeName"),
        field("SLUICE_SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ];
    if !probes.is_empty() {
        env.push(json!({"name": names::PROBES, "value": probes::as_variable(probes)}));
    }
    env.extend(log(settings));
    let probe = |path: &str, every: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": names::HEALTH_PORT, "scheme": "HTTP"},
            "periodSeconds": every,
            "failureThreshold": failures,
            "successThreshold": 1,
            "timeoutSeconds": 3,
        })
    };
    with_pull_policy(
        settings,
        json!({
            "name": names::GATEWAY,
            "image": settings.image,
            "args": ["pod"],
            "restartPolicy": "Always",
            "env": env,
            "ports": [{"name": "sluice-health", "containerPort": names::HEALTH_PORT, "protocol": "TCP"}],
            "resources": settings.resources,
            // The agent starts once policy is there and the trail is open.
            "startupProbe": probe("/readyz", 1, 120),
            "readinessProbe": probe("/readyz", 5, 3),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": settings.user,
                "runAsNonRoot": true,
                "runAsUser": settings.user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [
                {"name": names::PRIVATE, "mountPath": names::PRIVATE_PATH},
                {"name": names::TRAIL, "mountPath": names::TRAIL_PATH},
                {"name": names::TRUST, "mountPath": names::TRUST_PATH},
                {"name": names::IDENTITY, "mountPath": names::IDENTITY_PATH, "readOnly": true},
                {"name": names::SERVICE_ACCOUNT, "mountPath": names::SERVICE_ACCOUNT_PATH},
            ],
        }),
    )
}

/// The volumes, in the order of [`names::VOLUMES`].
pub(super) fn volumes(settings: &InjectionSettings) -> [Value; 5] {
    let memory = |name: &str, size: &str| json!({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}});
    let item = |path: &str, field: &str| json!({"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": field}});
    [
        memory(names::PRIVATE, "32Mi"),
        json!({"name": names::TRAIL, "emptyDir": {"sizeLimit": settings.trail_size.as_str()}}),
        memory(names::TRUST, "16Mi"),
        memory(names::SERVICE_ACCOUNT, "1Mi"),
        json!({
            "name": names::IDENTITY,
            "projected": {
                "defaultMode": 0o444,
                "sources": [
                    {"serviceAccountToken": {
                        "audience": names::CONTROL_AUDIENCE, "expirationSeconds": 3600, "path": "control-token",
                    }},
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "api-token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [
                        item("name", "metadata.name"),
                        item("namespace", "metadata.namespace"),
                        item("uid", "metadata.uid"),
                        item("labels", "metadata.labels"),
                        item("annotations", "metadata.annotations"),
                    ]}},
                ],
            },
        }),
    ]
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

fn log(settings: &InjectionSettings) -> Option<Value> {
    (!settings.log.is_empty()).then(|| json!({"name": "RUST_LOG", "value": settings.log}))
}

fn with_pull_policy(settings: &InjectionSettings, mut container: Value) -> Value {
    if let (Some(policy), Some(fields)) = (&settings.image_pull_policy, container.as_object_mut()) {
        fields.insert("imagePullPolicy".to_owned(), json!(policy));
    }
    container
}
