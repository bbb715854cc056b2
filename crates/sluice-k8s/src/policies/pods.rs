//! Pods that run agents.

use super::{Asserted, Draft};
use crate::inject::VOLUME_KINDS;
use crate::names;

/// A pod that asks for the gateway, or has it; before or after a change.
pub(super) const IS_AGENT: &str = "[object, oldObject].exists(o, o != null && \
    (o.metadata.?annotations['sluice.dev/inject'].orValue('disabled') != 'disabled' || \
    o.metadata.?labels['sluice.dev/injected'].orValue('') == 'true'))";

/// What says so is as it was.
pub(super) const UNCHANGED: &str = "oldObject == null || oldObject.metadata.?annotations['sluice.dev/inject'] == \
    object.metadata.?annotations['sluice.dev/inject'] && oldObject.metadata.?labels['sluice.dev/injected'] == \
    object.metadata.?labels['sluice.dev/injected'] && oldObject.metadata.?annotations['sluice.dev/injected'] == \
    object.metadata.?annotations['sluice.dev/injected']";

pub(super) fn all() -> Vec<Asserted> {
    vec![agents(), required(), image(), misplaced()]
}

/// Texts as a list in CEL.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(|text| format!("'{text}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn agents() -> Asserted {
    let ports: Vec<String> = names::PORTS.iter().map(ToString::to_string).collect();
    Draft::new("sluice-agents", "", &["pods"], &["CREATE", "UPDATE"])
        .when("agent", IS_AGENT)
        .with("init", "object.spec.?initContainers.orValue([])")
        .with(
            "placed",
            "object.metadata.?labels['sluice.dev/injected'].orValue('') == 'true' && \
             object.metadata.?annotations['sluice.dev/injected'].orValue('') != '' && size(variables.init) >= 2 && \
             variables.init[0].name == 'sluice-init' && variables.init[1].name == 'sluice-gateway'",
        )
        .with(
            "called",
            "namespaceObject.metadata.?labels['control-plane'].orValue('') != 'true' && \
             namespaceObject.metadata.?labels['kubernetes.azure.com/managedby'].orValue('') != 'aks' && \
             (namespaceObject.metadata.?labels['sluice.dev/required'].orValue('') == 'true' || \
             object.metadata.?annotations['sluice.dev/inject'].orValue('') == 'enabled')",
        )
        .with(
            "agents",
            "object.spec.containers + variables.init.filter(c, !(c.name in ['sluice-init', 'sluice-gateway']))",
        )
        .with("volumes", "object.spec.?volumes.orValue([])")
        .with("user", "variables.placed ? variables.init[1].?securityContext.?runAsUser.orValue(0) : 0")
        .with("pod", "object.spec.?securityContext.orValue({})")
        .demand(
            "object.metadata.?annotations['sluice.dev/inject'].orValue('enabled') == 'enabled'",
            "sluice: the annotation sluice.dev/inject is neither `enabled` nor `disabled`; write `enabled`",
        )
        .demand(
            UNCHANGED,
            "sluice: whether a pod runs behind the gateway cannot change while it runs; change the template that it is \
             made from",
        )
        .demand(
            // Else somebody could write by hand what looks like a gateway.
            "oldObject != null || !variables.placed || variables.called",
            "sluice: this pod carries a gateway that the webhook did not make: it was not asked. Annotate the pod with \
             sluice.dev/inject: enabled; in a namespace with the label control-plane: \"true\", or \
             kubernetes.azure.com/managedby: aks, no pod can have one",
        )
        .demand(
            "variables.placed",
            "sluice: this pod asks for the gateway and does not have it as its first two init containers: the webhook was \
             not called, or another one moved them. Is the control plane up? kubectl -n sluice-system get pods",
        )
        .demand(
            "(object.spec.containers + variables.init).filter(c, c.name.startsWith('sluice-')).size() == 2",
            "sluice: container names that begin with sluice- are the gateway's; choose another",
        )
        .demand(
            "!(object.spec.?hostNetwork.orValue(false) || object.spec.?hostPID.orValue(false) || \
             object.spec.?hostIPC.orValue(false) || object.spec.?shareProcessNamespace.orValue(false))",
            "sluice: hostNetwork, hostPID, hostIPC and shareProcessNamespace lead around the gateway; remove them",
        )
        .demand(
            "object.spec.?os.?name.orValue('linux') != 'windows' && !has(variables.pod.windowsOptions)",
            "sluice: the gateway runs on Linux nodes only",
        )
        .demand(
            // These fields cannot change; pods of an older version stay as they are.
            "oldObject != null || object.spec.?dnsPolicy.orValue('ClusterFirst') != 'None' && \
             object.spec.?dnsConfig.?nameservers.orValue([]).size() == 0 && \
             object.spec.?dnsConfig.?searches.orValue([]).size() == 0",
            "sluice: the gateway would look names up where the pod says; remove dnsPolicy `None`, and nameservers and \
             searches of dnsConfig",
        )
        .demand(
            "oldObject != null || !object.spec.?enableServiceLinks.orValue(true)",
            "sluice: variables of Services would tell the gateway where the API server is; the webhook sets \
             enableServiceLinks to false, and another one set it back",
        )
        .demand(
            format!("variables.volumes.all(v, v.all(k, k == 'name' || k in {}))", list(VOLUME_KINDS)),
            format!("sluice: an agent may have volumes of these kinds alone: {}", VOLUME_KINDS.join(", ")),
        )
        .demand(
            format!(
                "variables.volumes.filter(v, v.name.startsWith('sluice-')).size() == {} && {}.all(n, variables.volumes.exists(v, \
                 v.name == n && (n == '{}' ? has(v.projected) : has(v.emptyDir))))",
                names::VOLUMES.len(),
                list(names::VOLUMES),
                names::IDENTITY
            ),
            "sluice: volume names that begin with sluice- are the gateway's; choose another",
        )
        .demand(
            format!(
                "variables.volumes.all(v, v.name == '{}' || !has(v.projected) || v.projected.?sources.orValue([]).all(s, \
                 !has(s.serviceAccountToken) || !s.serviceAccountToken.?audience.orValue('').endsWith('{}')))",
                names::IDENTITY,
                names::CONTROL_AUDIENCE
            ),
            format!("sluice: tokens for {} are the gateway's; remove the volume", names::CONTROL_AUDIENCE),
        )
        .demand(
            format!(
                "variables.agents.all(c, c.?volumeMounts.orValue([]).all(m, !m.name.startsWith('sluice-') || \
                 m.?readOnly.orValue(false) && !has(m.subPath) && !has(m.subPathExpr) && (m.name == '{}' && m.mountPath == \
                 '{}' || m.name == '{}' && m.mountPath == '{}')) && !c.?volumeDevices.orValue([]).exists(d, \
                 d.name.startsWith('sluice-')))",
                names::TRUST,
                names::TRUST_PATH,
                names::SERVICE_ACCOUNT,
                names::SERVICE_ACCOUNT_PATH
            ),
            "sluice: an agent mounts one of the gateway's own volumes; remove the mount",
        )
        .demand(
            "variables.agents.all(c, has(c.securityContext) && !c.securityContext.?privileged.orValue(false) && \
             !c.securityContext.?allowPrivilegeEscalation.orValue(true) && \
             c.securityContext.?procMount.orValue('Default') == 'Default' && \
             c.securityContext.?capabilities.?drop.orValue([]).exists(d, d == 'ALL') && \
             c.securityContext.?capabilities.?add.orValue([]).all(a, a == 'NET_BIND_SERVICE'))",
            "sluice: an agent is privileged, may gain privileges, or keeps capabilities; only NET_BIND_SERVICE may be added",
        )
        .demand(
            "variables.agents.all(c, c.?securityContext.?runAsUser.orValue(-1) != variables.user && \
             c.?securityContext.?runAsGroup.orValue(variables.pod.?runAsGroup.orValue(variables.user)) != variables.user) && \
             variables.pod.?runAsUser.orValue(-1) != variables.user && variables.pod.?fsGroup.orValue(-1) != variables.user && \
             variables.pod.?supplementalGroups.orValue([]).all(g, g != variables.user)",
            "sluice: an agent has, or may have by its image, the user or group of the gateway; name others",
        )
        .demand(
            format!(
                "variables.agents.all(c, c.?ports.orValue([]).all(p, !(p.containerPort in [{}])))",
                ports.join(", ")
            ),
            "sluice: an agent lists a port of the gateway; listen on another",
        )
        .demand(
            // Probes cannot change; pods of an older version stay as they are.
            format!(
                "oldObject != null || variables.agents.all(c, [?c.?livenessProbe, ?c.?readinessProbe, ?c.?startupProbe].all(p, \
                 !has(p.tcpSocket) && !has(p.grpc) && (!has(p.httpGet) || p.httpGet.port == {} && \
                 p.httpGet.?host.orValue('') == '' && p.httpGet.?path.orValue('').startsWith('{}'))))",
                names::HEALTH_PORT,
                names::PROBE_PATH
            ),
            "sluice: the node would probe an agent over the network, where nothing reaches it; the webhook turns such \
             probes to the gateway, and another one turned them back",
        )
        .demand(
            "oldObject != null || variables.agents.all(c, [?c.?lifecycle.?postStart, ?c.?lifecycle.?preStop].all(h, \
             !has(h.httpGet) && !has(h.tcpSocket)))",
            "sluice: the node would send a hook to an agent, or past the gateway to others; use `exec`",
        )
        .demand(
            format!("!variables.placed || ({} && {GATEWAY})", common("variables.init[1]", "pod")),
            "sluice: the container sluice-gateway is not as the webhook makes it",
        )
        .demand(
            format!("!variables.placed || ({} && {INIT})", common("variables.init[0]", "init")),
            "sluice: the container sluice-init is not as the webhook makes it",
        )
        .demand(
            "oldObject == null || !variables.placed || [0, 1].all(i, size(oldObject.spec.?initContainers.orValue([])) > i && \
             oldObject.spec.initContainers[i].image == variables.init[i].image)",
            "sluice: the gateway's image cannot change while the pod runs; delete the pod, and it comes back with the new one",
        )
        .done()
}

/// Who asks by a label is heard by nobody, and would run without the gateway.
fn misplaced() -> Asserted {
    Draft::new("sluice-misplaced", "", &["pods"], &["CREATE"])
        .when("labelled", "object.metadata.?labels['sluice.dev/inject'].orValue('disabled') != 'disabled'")
        .demand(
            "object.metadata.?annotations['sluice.dev/inject'].hasValue() || \
             object.metadata.?labels['sluice.dev/injected'].orValue('') == 'true'",
            "sluice: sluice.dev/inject is a label here, and only the annotation of that name is read; move it from labels \
             to annotations, in the template that the pod is made from",
        )
        .done()
}

const GATEWAY: &str = "variables.init[1].?restartPolicy.orValue('') == 'Always' && variables.user >= 1000 && \
    variables.init[1].securityContext.?runAsGroup.orValue(0) == variables.user && \
    variables.init[1].securityContext.?runAsNonRoot.orValue(false) && \
    variables.init[1].securityContext.?capabilities.?add.orValue([]).size() == 0 && \
    variables.init[1].?volumeMounts.orValue([]).all(m, m.name in ['sluice-private', 'sluice-trail', 'sluice-trust', \
    'sluice-identity', 'sluice-serviceaccount', 'azure-identity-token'] && !has(m.subPath) && !has(m.subPathExpr))";

/// It names the user that the rules exempt, and no port that they would open.
const INIT: &str = "!has(variables.init[0].restartPolicy) && \
    variables.init[0].?env.orValue([]).all(e, e.name != 'SLUICE_INBOUND_PORTS') && \
    variables.init[0].?env.orValue([]).filter(e, e.name == 'SLUICE_GATEWAY_USER').map(e, e.?value.orValue('')) == \
    [string(variables.user)] && \
    variables.init[0].securityContext.?capabilities.?add.orValue([]) == ['NET_ADMIN'] && \
    variables.init[0].?volumeMounts.orValue([]).all(m, m.name in ['sluice-serviceaccount', 'azure-identity-token'])";

/// What holds of both. Variables of another webhook would change what the
/// program does (`LD_PRELOAD`); those of workload identity are known.
fn common(container: &str, argument: &str) -> String {
    format!(
        "!has({container}.command) && {container}.?args.orValue([]) == ['{argument}'] && !has({container}.lifecycle) && \
         !has({container}.livenessProbe) && !has({container}.envFrom) && !has({container}.volumeDevices) && \
         {container}.?env.orValue([]).all(e, e.name.startsWith('SLUICE_') || e.name == 'RUST_LOG' || \
         e.name.startsWith('AZURE_')) && has({container}.securityContext) && \
         !{container}.securityContext.?privileged.orValue(false) && \
         !{container}.securityContext.?allowPrivilegeEscalation.orValue(true) && \
         {container}.securityContext.?readOnlyRootFilesystem.orValue(false) && \
         {container}.securityContext.?capabilities.?drop.orValue([]) == ['ALL']"
    )
}

fn required() -> Asserted {
    Draft::new("sluice-required", "", &["pods"], &["CREATE"])
        .in_namespaces(names::REQUIRED)
        .demand(
            "object.metadata.?labels['sluice.dev/injected'].orValue('') == 'true'",
            "sluice: every pod of this namespace runs behind the gateway (label sluice.dev/required), and this one was not \
             injected. Is the control plane up? kubectl -n sluice-system get pods",
        )
        .done()
}

fn image() -> Asserted {
    // Written out, not read from a ConfigMap by `paramKind`: where the API
    // server does not find the parameter (a moment after it was made, say), it
    // refuses every pod of ours.
    Draft::new("sluice-images", "", &["pods"], &["CREATE"])
        .of_objects(names::INJECTED)
        .with("images", &format!("'{}'.split(',').map(i, i.trim())", names::IMAGES_PLACEHOLDER))
        .demand(
            "object.spec.?initContainers.orValue([]).all(c, !(c.name in ['sluice-init', 'sluice-gateway']) || \
             c.image in variables.images)",
            "sluice: the gateway's image is not the chart's; if another webhook rewrites images, add its result to the \
             chart's value gateway.otherImages",
        )
        .done()
}
