//! Webhook configurations. The control plane writes `caBundle` itself, and the
//! path of the webhook for policies; the chart leaves them out.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use crate::{crds, names};

/// Name of both configurations.
pub const CONFIGURATION: &str = "sluice";
/// Path of the webhook that pods who ask are sent to.
pub const INJECT_PATH: &str = "/inject";
/// Path of the webhook that pods of required namespaces are sent to.
pub const INJECT_REQUIRED_PATH: &str = "/inject/required";
/// Path of the webhook that policies and providers are sent to: a secret
/// follows, by which the control plane knows the API server.
pub const VALIDATE_PATH: &str = "/validate";
/// Service of the control plane.
pub const SERVICE: &str = "sluice-control";

const TIMEOUT_SECONDS: i32 = 5;

/// Injection: of pods that ask, and of every pod where the namespace demands.
/// Nothing else of the cluster is ever sent to us.
pub fn mutating() -> MutatingWebhookConfiguration {
    // Never `namespaceObject` here: the API server takes it, then fails on
    // every pod. Nor a plain `annotations[…]`, which fails where there is none.
    let asks = MatchCondition {
        name: "asks".to_owned(),
        expression: "object.metadata.?annotations['sluice.dev/inject'].orValue('') == 'enabled'".to_owned(),
    };
    MutatingWebhookConfiguration {
        metadata: named(),
        webhooks: Some(vec![
            MutatingWebhook {
                name: "required.inject.sluice.dev".to_owned(),
                client_config: client(Some(INJECT_REQUIRED_PATH)),
                namespace_selector: Some(namespaces(Some("In"))),
                ..injection()
            },
            MutatingWebhook {
                name: "inject.sluice.dev".to_owned(),
                client_config: client(Some(INJECT_PATH)),
                namespace_selector: Some(namespaces(Some("NotIn"))),
                match_conditions: Some(vec![asks]),
                ..injection()
            },
        ]),
    }
}

/// Policies and providers: whether they compile, and who changed them.
pub fn validating() -> ValidatingWebhookConfiguration {
    ValidatingWebhookConfiguration {
        metadata: named(),
        webhooks: Some(vec![ValidatingWebhook {
            name: "policies.sluice.dev".to_owned(),
            admission_review_versions: vec!["v1".to_owned()],
            client_config: client(None),
            failure_policy: Some("Fail".to_owned()),
            match_policy: Some("Equivalent".to_owned()),
            namespace_selector: Some(namespaces(None)),
            rules: Some(vec![RuleWithOperations {
                api_groups: Some(vec![names::GROUP.to_owned()]),
                api_versions: Some(vec![names::VERSION.to_owned()]),
                operations: Some(["CREATE", "UPDATE", "DELETE"].map(str::to_owned).to_vec()),
                resources: Some(crds::KINDS.iter().map(|kind| kind.plural.to_owned()).collect()),
                scope: Some("*".to_owned()),
            }]),
            // The trail says who changed what.
            side_effects: "NoneOnDryRun".to_owned(),
            timeout_seconds: Some(TIMEOUT_SECONDS),
            ..ValidatingWebhook::default()
        }]),
    }
}

fn injection() -> MutatingWebhook {
    MutatingWebhook {
        admission_review_versions: vec!["v1".to_owned()],
        failure_policy: Some("Fail".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![String::new()]),
            api_versions: Some(vec!["v1".to_owned()]),
            operations: Some(vec!["CREATE".to_owned()]),
            resources: Some(vec!["pods".to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..MutatingWebhook::default()
    }
}

fn named() -> ObjectMeta {
    ObjectMeta { name: Some(CONFIGURATION.to_owned()), ..ObjectMeta::default() }
}

/// With exactly what the admissions enforcer of AKS adds to every webhook, so
/// that the two never undo each other's work.
fn namespaces(required: Option<&str>) -> LabelSelector {
    let one = |key: &str, operator: &str, value: &str| LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(vec![value.to_owned()]),
    };
    let mut expressions: Vec<LabelSelectorRequirement> =
        required.map(|operator| one(names::REQUIRED, operator, "true")).into_iter().collect();
    expressions.extend([one("control-plane", "NotIn", "true"), one("kubernetes.azure.com/managedby", "NotIn", "aks")]);
    LabelSelector { match_expressions: Some(expressions), ..LabelSelector::default() }
}

fn client(path: Option<&str>) -> WebhookClientConfig {
    WebhookClientConfig {
        service: Some(ServiceReference {
            name: SERVICE.to_owned(),
            namespace: names::SYSTEM_NAMESPACE.to_owned(),
            path: path.map(str::to_owned),
            port: Some(443),
        }),
        ..WebhookClientConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_webhook_carries_what_aks_adds() {
        let (mutating, validating) = (mutating(), validating());
        let mutating = mutating.webhooks.iter().flatten().map(|one| &one.namespace_selector);
        let selectors = mutating.chain(validating.webhooks.iter().flatten().map(|one| &one.namespace_selector));
        for selector in selectors {
            let selector = selector.as_ref().expect("a selector");
            let added = namespaces(None).match_expressions.expect("expressions");
            assert!(selector.match_expressions.as_ref().is_some_and(|all| all.ends_with(&added)), "{selector:?}");
        }
    }
}
