//! Ways into the gateway from the side.

use super::pods::{IS_AGENT, UNCHANGED, list};
use super::{Asserted, Draft};
use crate::names;

pub(super) fn all() -> Vec<Asserted> {
    vec![ephemeral_containers(), resize(), marks(), exec(), tokens(), namespaces(), own_namespace()]
}

fn ours() -> String {
    list([names::INIT, names::GATEWAY])
}

fn ephemeral_containers() -> Asserted {
    Draft::new("sluice-ephemeral-containers", "", &["pods/ephemeralcontainers"], &["UPDATE"])
        .when("agent", IS_AGENT)
        .demand(
            "object.spec.?ephemeralContainers.orValue([]).size() <= oldObject.spec.?ephemeralContainers.orValue([]).size()",
            "sluice: an ephemeral container would run beside the gateway unchecked; debug a copy of the pod instead: \
             kubectl debug POD --copy-to=NAME --share-processes=false",
        )
        .done()
}

fn resize() -> Asserted {
    Draft::new("sluice-resize", "", &["pods/resize"], &["UPDATE"])
        .when("agent", IS_AGENT)
        .demand(
            format!(
                "object.spec.?initContainers.orValue([]).all(c, !(c.name in {}) || \
                 oldObject.spec.?initContainers.orValue([]).exists(o, o.name == c.name && o.?resources == c.?resources))",
                ours()
            ),
            "sluice: the gateway's resources cannot change while the pod runs; set them in the chart's values",
        )
        .done()
}

/// Whoever may write a pod's status writes its labels and annotations, too. On
/// AKS with Azure RBAC that is everybody who may write pods.
fn marks() -> Asserted {
    Draft::new("sluice-marks", "", &["pods/status"], &["UPDATE"])
        .when("agent", IS_AGENT)
        .demand(
            UNCHANGED,
            "sluice: whether a pod runs behind the gateway cannot change while it runs; change the template that it is \
             made from",
        )
        .done()
}

fn exec() -> Asserted {
    Draft::new("sluice-exec", "", &["pods/exec", "pods/attach"], &["CONNECT"])
        .demand(
            format!("!(object.?container.orValue('') in {})", ours()),
            "sluice: nobody enters the gateway, which holds the pod's keys; its log is open: kubectl logs POD -c sluice-gateway",
        )
        .done()
}

fn tokens() -> Asserted {
    Draft::new("sluice-tokens", "", &["serviceaccounts/token"], &["CREATE"])
        .demand(
            format!(
                "!object.spec.?audiences.orValue([]).exists(a, a.endsWith('{}')) || \
                 'system:nodes' in request.userInfo.?groups.orValue([]) && \
                 object.spec.?boundObjectRef.?kind.orValue('') == 'Pod'",
                names::CONTROL_AUDIENCE
            ),
            format!("sluice: tokens for {} are made by nodes for their own pods alone", names::CONTROL_AUDIENCE),
        )
        .done()
}

/// Whoever may `delete requirednamespaces.sluice.dev` (a name that only RBAC
/// knows) may lift the demand. No other word than `true` makes it.
fn namespaces() -> Asserted {
    // The other two write labels as well.
    let resources = ["namespaces", "namespaces/status", "namespaces/finalize"];
    Draft::new("sluice-namespaces", "", &resources, &["CREATE", "UPDATE"])
        .demand(
            "oldObject == null || oldObject.metadata.?labels['sluice.dev/required'].orValue('') != 'true' || \
             object.metadata.?labels['sluice.dev/required'].orValue('') == 'true' || \
             authorizer.group('sluice.dev').resource('requirednamespaces').check('delete').allowed()",
            "sluice: the label sluice.dev/required keeps this namespace's pods behind the gateway; to remove it takes the \
             right to `delete requirednamespaces.sluice.dev`",
        )
        .demand(
            // One that is there already can still be changed, and deleted.
            "object.metadata.?labels['sluice.dev/required'].orValue('true') == 'true' || oldObject != null && \
             oldObject.metadata.?labels['sluice.dev/required'] == object.metadata.?labels['sluice.dev/required']",
            "sluice: the label sluice.dev/required is not `true`, and then demands nothing; write `true`, or leave it away",
        )
        .done()
}

/// The chart puts the namespace of the release in place of the name.
fn own_namespace() -> Asserted {
    Draft::new("sluice-own-namespace", "", &["namespaces"], &["CREATE", "UPDATE"])
        .when("own", &format!("object.metadata.name == '{}'", names::SYSTEM_NAMESPACE))
        .demand(
            "object.metadata.?labels['sluice.dev/required'].orValue('') != 'true'",
            "sluice: the control plane's own pods cannot run behind the gateway, and would not start again; leave the label \
             sluice.dev/required away",
        )
        .done()
}
