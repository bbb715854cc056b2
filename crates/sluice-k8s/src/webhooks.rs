//! Webhook configurations. The control plane writes `caBundle` itself; the
//! chart leaves it out.

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
/// Path of the webhook that policies and providers are sent to.
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
                client_config: client(INJECT_REQUIRED_PATH),
                namespace_selector: Some(namespaces("In")),
                ..injection()
            },
            MutatingWebhook {
                name: "inject.sluice.dev".to_owned(),
                client_config: client(INJECT_PATH),
                namespace_selector: Some(namespaces("NotIn")),
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
            client_config: client(VALIDATE_PATH),
            failure_policy: Some("Fail".to_owned()),
            match_policy: Some("Equivalent".to_owned()),
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

/// With exactly what the admissions enforcer of AKS adds, so that the two never
/// undo each other's work.
fn namespaces(required: &str) -> LabelSelector {
    let one = |key: &str, operator: &str, value: &str| LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(vec![value.to_owned()]),
    };
    LabelSelector {
        match_expressions: Some(vec![
            one(names::REQUIRED, required, "true"),
            one("control-plane", "NotIn", "true"),
            one("kubernetes.azure.com/managedby", "NotIn", "aks"),
        ]),
        ..LabelSelector::default()
    }
}

fn client(path: &str) -> WebhookClientConfig {
    WebhookClientConfig {
        service: Some(ServiceReference {
            name: SERVICE.to_owned(),
            namespace: names::SYSTEM_NAMESPACE.to_owned(),
            path: Some(path.to_owned()),
            port: Some(443),
        }),
        ..WebhookClientConfig::default()
    }
}
