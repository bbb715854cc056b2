//! What is refused: everything that would get around the gateway, and what it
//! cannot work beside.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSecurityContext, PodSpec, SecurityContext};
use serde_json::Value;

use super::agent::{CAPABILITIES, VARIABLES, normal};
use super::{InjectionSettings, Placement, Refusal, annotation, list, probes};
use crate::{java, names};

/// Oldest minor version of Kubernetes with sidecars that start first and end
/// last.
const OLDEST_MINOR: u32 = 29;
/// Kinds of volumes that an agent may have. None of them reaches the node's own
/// files, and none makes the node talk to a server of the pod's choice.
pub(crate) const VOLUME_KINDS: [&str; 7] =
    ["configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
/// Containers of other meshes, which would redirect the same traffic.
const OTHER_MESHES: [&str; 8] = [
    "istio-proxy",
    "istio-init",
    "istio-validation",
    "linkerd-proxy",
    "linkerd-init",
    "consul-dataplane",
    "kuma-sidecar",
    "kuma-init",
];
/// Folders of ours; `/var/run` is `/run` in most images.
const RESERVED_FOLDERS: [&str; 3] = ["/run/sluice", "/var/run/sluice", "/var/lib/sluice"];

/// All of it; empty where the pod may be injected.
pub(super) fn refusals(pod: &Pod, raw: &Value, placement: Placement, settings: &InjectionSettings) -> Vec<Refusal> {
    let mut report = Report(Vec::new());
    platform(placement, &mut report);
    annotations(raw, placement, &mut report);
    if let Some(spec) = &pod.spec {
        namespaces(spec, &mut report);
        name_servers(spec, &mut report);
        pod_context(spec.security_context.as_ref(), settings, &mut report);
        volumes(raw, &mut report);
        let all = spec.init_containers.iter().flatten().enumerate().map(|(i, c)| ("initContainers", i, c));
        let all = all.chain(spec.containers.iter().enumerate().map(|(i, c)| ("containers", i, c)));
        for (field, index, one) in all {
            let at = format!("spec.{field}[{index}]");
            if field == "initContainers" && was_put_in(one) {
                continue;
            }
            container(one, &at, settings, &mut report);
        }
        if spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty()) {
            report.add("spec.ephemeralContainers", "would run beside the gateway unchecked; remove them");
        }
    }
    report.0
}

struct Report(Vec<Refusal>);

impl Report {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Refusal { path: path.into(), message: message.into() });
    }
}

fn platform(placement: Placement, report: &mut Report) {
    if let Some(minor) = placement.kubernetes_minor.filter(|minor| *minor < OLDEST_MINOR) {
        report.add(
            "",
            format!(
                "this cluster runs Kubernetes 1.{minor}, which has no sidecars that start before the agent and end \
                 after it; Sluice needs 1.{OLDEST_MINOR}"
            ),
        );
    }
}

fn annotations(raw: &Value, placement: Placement, report: &mut Report) {
    let written = raw.get("metadata").and_then(|metadata| metadata.get("annotations")).and_then(Value::as_object);
    for name in written.into_iter().flatten().map(|(name, _)| name.as_str()) {
        if name.starts_with(names::PREFIX) && !names::POD_ANNOTATIONS.contains(&name) {
            report.add(
                format!("metadata.annotations[{name}]"),
                format!(
                    "is unknown; known are {}. What an agent may do is written in a GatewayPolicy",
                    names::POD_ANNOTATIONS.join(", ")
                ),
            );
        }
    }
    let asked = annotation(raw, names::INJECT);
    if placement.required && asked.is_some_and(|value| value != names::ENABLED) {
        report.add(
            format!("metadata.annotations[{}]", names::INJECT),
            format!(
                "is `{}`, and the namespace has the label `{}: \"true\"`: every pod here runs behind the gateway. \
                 Remove the annotation, or run the pod in another namespace",
                asked.unwrap_or_default(),
                names::REQUIRED
            ),
        );
    }
}

fn namespaces(spec: &PodSpec, report: &mut Report) {
    for (field, value, why) in [
        ("hostNetwork", spec.host_network, "the node's network goes past the gateway"),
        ("hostPID", spec.host_pid, "the node's processes can be entered, and the gateway's with them"),
        ("hostIPC", spec.host_ipc, "the node's memory is shared with others"),
        ("shareProcessNamespace", spec.share_process_namespace, "the agent could look into the gateway's process"),
    ] {
        if value == Some(true) {
            report.add(format!("spec.{field}"), format!("is true: {why}; remove it"));
        }
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        report.add("spec.os.name", "is `windows`; the gateway runs on Linux nodes only");
    }
}

/// The gateway asks the name servers of the pod's `resolv.conf`, and what policy
/// lets pass unread is dialled where they say.
fn name_servers(spec: &PodSpec, report: &mut Report) {
    let fix = "the gateway would look names up where the pod says; remove it, and let the cluster's DNS answer";
    if spec.dns_policy.as_deref() == Some("None") {
        report.add("spec.dnsPolicy", format!("is `None`: {fix}"));
    }
    let config = spec.dns_config.as_ref();
    for (field, list) in [
        ("nameservers", config.and_then(|config| config.nameservers.as_ref())),
        ("searches", config.and_then(|config| config.searches.as_ref())),
    ] {
        if list.is_some_and(|list| !list.is_empty()) {
            report.add(format!("spec.dnsConfig.{field}"), format!("is set: {fix}"));
        }
    }
}

fn pod_context(context: Option<&PodSecurityContext>, settings: &InjectionSettings, report: &mut Report) {
    let Some(context) = context else { return };
    let at = "spec.securityContext";
    for (field, value) in
        [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group), ("fsGroup", context.fs_group)]
    {
        not_ours(value, &format!("{at}.{field}"), settings, report);
    }
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        not_ours(Some(*group), &format!("{at}.supplementalGroups[{index}]"), settings, report);
    }
    if context.windows_options.is_some() {
        report.add(format!("{at}.windowsOptions"), "is for Windows; the gateway runs on Linux nodes only");
    }
}

fn not_ours(value: Option<i64>, at: &str, settings: &InjectionSettings, report: &mut Report) {
    if value == Some(settings.user) {
        report.add(at, format!("is {}, which is the gateway's own; choose another", settings.user));
    }
}

fn volumes(raw: &Value, report: &mut Report) {
    let Some(spec) = raw.get("spec") else { return };
    for (index, volume) in list(spec, "volumes").enumerate() {
        let at = format!("spec.volumes[{index}]");
        let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
        let kinds =
            volume.as_object().into_iter().flatten().filter(|(kind, value)| *kind != "name" && !value.is_null());
        let kinds: Vec<&str> = kinds.map(|(kind, _)| kind.as_str()).collect();
        if name.starts_with(names::RESERVED) {
            let ours = names::VOLUMES.contains(&name)
                && kinds == [if name == names::IDENTITY { "projected" } else { "emptyDir" }];
            if !ours {
                report.add(format!("{at}.name"), reserved(name));
            }
            continue;
        }
        for kind in kinds.iter().filter(|kind| !VOLUME_KINDS.contains(kind)) {
            let why = match *kind {
                "hostPath" => "the node's folders hold every pod's keys and records",
                _ => "the node would fetch it from a place of the pod's choice",
            };
            report.add(format!("{at}.{kind}"), format!("is refused: {why}; use one of {}", VOLUME_KINDS.join(", ")));
        }
        let sources = volume.get("projected").into_iter().flat_map(|projected| list(projected, "sources"));
        for (source, token) in
            sources.enumerate().filter_map(|(i, source)| Some((i, source.get("serviceAccountToken")?)))
        {
            let audience = token.get("audience").and_then(Value::as_str);
            if audience.is_some_and(|audience| audience.ends_with(names::CONTROL_AUDIENCE)) {
                report.add(
                    format!("{at}.projected.sources[{source}].serviceAccountToken.audience"),
                    format!("is `{}`, by which gateways enrol; remove it", audience.unwrap_or_default()),
                );
            }
        }
    }
}

/// Whether a container of a reserved name is what an earlier run put in. It is
/// replaced, whatever it holds.
fn was_put_in(container: &Container) -> bool {
    let args: &[&str] = match container.name.as_str() {
        names::INIT => &["init"],
        names::GATEWAY => &["pod"],
        _ => return false,
    };
    container.command.as_ref().is_none_or(Vec::is_empty) && container.args.as_deref().unwrap_or_default() == args
}

fn container(container: &Container, at: &str, settings: &InjectionSettings, report: &mut Report) {
    let name = container.name.as_str();
    if name.starts_with(names::RESERVED) {
        report.add(format!("{at}.name"), reserved(name));
        return;
    }
    if OTHER_MESHES.contains(&name) {
        report.add(
            format!("{at}.name"),
            format!(
                "`{name}` is another mesh's, which redirects the same traffic; switch its injection off for this pod"
            ),
        );
    }
    if let Some(context) = &container.security_context {
        security(context, &format!("{at}.securityContext"), settings, report);
    }
    for (index, port) in container.ports.iter().flatten().enumerate() {
        if names::PORTS.iter().any(|ours| i32::from(*ours) == port.container_port) {
            report.add(
                format!("{at}.ports[{index}].containerPort"),
                format!("is {}, which is the gateway's own; listen on another", port.container_port),
            );
        }
    }
    mounts(container, at, report);
    for (index, variable) in container.env.iter().flatten().enumerate() {
        environment(variable, &format!("{at}.env[{index}]"), settings.java_trust_store, report);
    }
    for (field, message) in probes::problems(container) {
        report.add(format!("{at}.{field}"), message);
    }
}

fn security(context: &SecurityContext, at: &str, settings: &InjectionSettings, report: &mut Report) {
    if context.privileged == Some(true) {
        report.add(format!("{at}.privileged"), "is true: the container could lift every rule; remove it");
    }
    if context.proc_mount.as_deref().is_some_and(|mount| mount != "Default") {
        report.add(format!("{at}.procMount"), "is not `Default`: the kernel's switches would be open; remove it");
    }
    if context.windows_options.is_some() {
        report.add(format!("{at}.windowsOptions"), "is for Windows; the gateway runs on Linux nodes only");
    }
    for (field, value) in [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)] {
        not_ours(value, &format!("{at}.{field}"), settings, report);
    }
    let added = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
    for (index, capability) in added.into_iter().flatten().enumerate() {
        if !CAPABILITIES.contains(&capability.as_str()) {
            report.add(
                format!("{at}.capabilities.add[{index}]"),
                format!(
                    "is `{capability}`, which an agent cannot have beside the gateway; remove it (allowed: {})",
                    CAPABILITIES.join(", ")
                ),
            );
        }
    }
}

fn mounts(container: &Container, at: &str, report: &mut Report) {
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = normal(&mount.mount_path);
        let read_only = mount.read_only == Some(true) && mount.sub_path.is_none() && mount.sub_path_expr.is_none();
        let ours = match mount.name.as_str() {
            names::TRUST => path == names::TRUST_PATH && read_only,
            names::SERVICE_ACCOUNT => path == names::SERVICE_ACCOUNT_PATH && read_only,
            _ => false,
        };
        let at = format!("{at}.volumeMounts[{index}]");
        if ours {
            continue;
        }
        if mount.name.starts_with(names::RESERVED) {
            report.add(format!("{at}.name"), reserved(&mount.name));
        } else if RESERVED_FOLDERS.iter().any(|folder| within(&path, folder)) {
            report.add(
                format!("{at}.mountPath"),
                format!("`{}` is the gateway's folder; choose another", mount.mount_path),
            );
        } else if within(&path, names::SERVICE_ACCOUNT_PATH) && path != names::SERVICE_ACCOUNT_PATH {
            report.add(
                format!("{at}.mountPath"),
                format!(
                    "`{}` lies in the service account's folder, which the gateway fills; choose another",
                    mount.mount_path
                ),
            );
        }
    }
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        if device.name.starts_with(names::RESERVED) {
            report.add(format!("{at}.volumeDevices[{index}].name"), reserved(&device.name));
        }
    }
}

fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn environment(variable: &EnvVar, at: &str, java_trust_store: bool, report: &mut Report) {
    let value = if variable.value_from.is_some() { None } else { Some(variable.value.as_deref().unwrap_or_default()) };
    if let Some((name, ours)) = VARIABLES.iter().find(|(name, _)| *name == variable.name) {
        if value == Some(ours) {
            return;
        }
        let fix = match *name {
            "KUBERNETES_SERVICE_HOST" => "clients reach the API server through the gateway by that name",
            _ => "programs must trust the gateway; a root that a target needs goes into the target's `caBundleRef`",
        };
        report.add(at, format!("sets `{name}`, which the injection sets to `{ours}`: {fix}. Remove it"));
    } else if java_trust_store && java::VARIABLES.contains(&variable.name.as_str()) {
        java_options(&variable.name, value, at, report);
    }
}

/// What cannot stand beside our trust store. `value` is absent where it comes
/// from elsewhere.
fn java_options(name: &str, value: Option<&str>, at: &str, report: &mut Report) {
    match value {
        None if name == java::VARIABLE => report.add(
            at,
            format!(
                "takes `{name}` from elsewhere, and the injection has to append the gateway's trust store to it; write \
                 the options out"
            ),
        ),
        Some(value) if java::names_another_store(value, &java::options(names::JAVA_FILE)) => report.add(
            at,
            format!(
                "names a Java trust store in `{name}` (`{}…`), and Java takes one only: programs must trust the gateway, \
                 whose `{}` holds the system's roots too; a root that a target needs goes into the target's \
                 `caBundleRef`. Remove the option",
                java::TRUST_STORE,
                names::JAVA_FILE
            ),
        ),
        _ => {}
    }
}

fn reserved(name: &str) -> String {
    format!("`{name}` is reserved: names that begin with `{}` are the gateway's; choose another", names::RESERVED)
}
