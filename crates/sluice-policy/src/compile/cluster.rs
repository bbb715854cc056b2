//! `ClusterGatewayPolicy`: guard rails, read as a policy of every namespace
//! that opens no way and denies everyone whom it names.

use crate::Problem;
use crate::documents::Document;
use crate::spec::{
    API_VERSION, ClusterGatewayPolicy, GatewayPolicy, GatewayPolicySpec, IdentitySpec, Metadata, RuleAction, RuleSpec,
    SecretMask, Selector, WorkloadIdentity,
};
use crate::subjects::reporter;

use super::selector;

/// The label that every namespace has: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The guard rails as a policy, with what is wrong about them alone.
pub(super) fn as_policy(
    document: &Document<ClusterGatewayPolicy>,
    providers: &[String],
    problems: &mut Vec<Problem>,
) -> Document<GatewayPolicy> {
    let Document { label, content } = document;
    let mut report = reporter(problems, label, "");
    if content.metadata.namespace.is_some() {
        report("metadata.namespace", "has no meaning for a ClusterGatewayPolicy; remove it".to_owned());
    }
    let spec = &content.spec;
    if let Some(selector) = &spec.namespace_selector {
        selector::check(selector, &mut |path, message| report(&format!("spec.namespaceSelector{path}"), message));
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = format!("spec.rules[{index}]");
        if rule.action == RuleAction::Allow {
            report(
                &format!("{at}.action"),
                "is `Allow`, and guard rails only deny; write the Allow into a GatewayPolicy".to_owned(),
            );
        }
        if rule.targets.is_some() {
            report(
                &format!("{at}.targets"),
                "has no meaning here: guard rails hold at every target; remove it, or ask for `target.host` in `when`"
                    .to_owned(),
            );
        }
        bare_accounts(&rule.subjects.service_accounts, &format!("{at}.subjects"), &mut report);
    }
    for (index, mask) in spec.masks.iter().enumerate() {
        let at = format!("spec.masks[{index}]");
        if mask.kubernetes.secrets == SecretMask::Off {
            report(
                &format!("{at}.kubernetes.secrets"),
                "is `Off`, and guard rails only add masks; write `Values`, or remove the mask".to_owned(),
            );
        }
        let excepted = mask.except_for.iter().flat_map(|subjects| &subjects.service_accounts);
        bare_accounts(excepted, &format!("{at}.exceptFor"), &mut report);
    }
    Document {
        label: label.clone(),
        content: GatewayPolicy {
            api_version: API_VERSION.to_owned(),
            kind: content.kind.clone(),
            metadata: Metadata { namespace: None, ..content.metadata.clone() },
            spec: GatewayPolicySpec {
                selector: spec.selector.clone(),
                mode: spec.mode,
                identity: IdentitySpec { providers: providers.to_vec(), workload: WorkloadIdentity::Denied },
                // Whatever else is written was reported above.
                rules: spec
                    .rules
                    .iter()
                    .map(|rule| RuleSpec { action: RuleAction::Deny, targets: None, ..rule.clone() })
                    .collect(),
                masks: spec.masks.clone(),
                limits: spec.limits.clone(),
                ..GatewayPolicySpec::default()
            },
        },
    }
}

fn bare_accounts<'a>(accounts: impl IntoIterator<Item = &'a String>, at: &str, report: &mut impl FnMut(&str, String)) {
    for (index, account) in accounts.into_iter().enumerate().filter(|(_, account)| !account.contains('/')) {
        report(
            &format!("{at}.serviceAccounts[{index}]"),
            format!("`{account}` names no namespace; write `namespace/{account}`"),
        );
    }
}

/// Whether the selector can be about a namespace of which only the name is
/// known here. Other labels are taken to fit: a cluster sends only the guard
/// rails that are about the workload's namespace, and outside of one more of
/// them is safer than fewer.
pub(super) fn may_select(selector: Option<&Selector>, namespace: &str) -> bool {
    let Some(selector) = selector else { return true };
    let known = Selector {
        match_labels: selector
            .match_labels
            .iter()
            .filter(|(key, _)| *key == NAME_LABEL)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        match_expressions: selector.match_expressions.iter().filter(|one| one.key == NAME_LABEL).cloned().collect(),
    };
    selector::selects(Some(&known), &[(NAME_LABEL.to_owned(), namespace.to_owned())].into())
}
