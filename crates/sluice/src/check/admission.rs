//! Webhook configurations and admission policies: there, and as they were made.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde::Serialize;
use serde_json::Value;
use sluice_k8s::{names, policies, webhooks};

use super::finding::{Finding, Level};
use super::same::{differences, named};

const UPGRADE: &str = "helm upgrade puts it back; the API server's audit log says who changed it";

/// What is judged is what was installed here.
pub(super) struct Installed<'a> {
    /// Namespace of Sluice.
    pub(super) namespace: &'a str,
    /// This program is of the version that is installed.
    pub(super) same: bool,
}

impl Installed<'_> {
    /// Injection.
    pub(super) fn mutating(&self, found: &[MutatingWebhookConfiguration]) -> Vec<Finding> {
        let object = format!("MutatingWebhookConfiguration {}", webhooks::CONFIGURATION);
        let Some(found) = found.iter().find(|one| one.metadata.name.as_deref() == Some(webhooks::CONFIGURATION)) else {
            let what = "is not there: no pod is injected, and annotated pods are refused";
            return vec![Finding::problem(object, what, "helm upgrade --install sluice charts/sluice")];
        };
        let mut bundles = Vec::new();
        let mut found = found.webhooks.clone().unwrap_or_default();
        let mut wanted = webhooks::mutating().webhooks.unwrap_or_default();
        found.iter_mut().for_each(|one| bundles.push((one.name.clone(), one.client_config.ca_bundle.take())));
        wanted.iter_mut().for_each(|one| self.place(&mut one.client_config));
        found.iter_mut().chain(&mut wanted).for_each(|one| without_enforced(&mut one.namespace_selector));
        self.judge(&object, &wanted, &found, &bundles)
    }

    /// Policies.
    pub(super) fn validating(&self, found: &[ValidatingWebhookConfiguration]) -> Vec<Finding> {
        let object = format!("ValidatingWebhookConfiguration {}", webhooks::CONFIGURATION);
        let Some(found) = found.iter().find(|one| one.metadata.name.as_deref() == Some(webhooks::CONFIGURATION)) else {
            let what = "is not there: policies are taken unread, and nobody records who changed them";
            return vec![Finding::problem(object, what, "helm upgrade --install sluice charts/sluice")];
        };
        let mut bundles = Vec::new();
        let mut found = found.webhooks.clone().unwrap_or_default();
        let mut wanted = webhooks::validating().webhooks.unwrap_or_default();
        for one in &mut found {
            bundles.push((one.name.clone(), one.client_config.ca_bundle.take()));
            // A secret, which the control plane writes with it.
            one.client_config.service.iter_mut().for_each(|service| service.path = None);
        }
        wanted.iter_mut().for_each(|one| self.place(&mut one.client_config));
        found.iter_mut().chain(&mut wanted).for_each(|one| without_enforced(&mut one.namespace_selector));
        self.judge(&object, &wanted, &found, &bundles)
    }

    fn place(&self, config: &mut WebhookClientConfig) {
        if let Some(service) = &mut config.service {
            self.namespace.clone_into(&mut service.namespace);
        }
    }

    fn judge<T: Serialize>(
        &self,
        object: &str,
        wanted: &T,
        found: &T,
        bundles: &[(String, Option<ByteString>)],
    ) -> Vec<Finding> {
        let differences = differences(wanted, found);
        let mut findings = vec![altered(object, &differences, self.same)];
        for (name, bundle) in bundles {
            if bundle.as_ref().is_none_or(|bundle| bundle.0.is_empty()) {
                findings.push(Finding::problem(
                    format!("{object}, {name}"),
                    "has no caBundle: the API server cannot call it",
                    "the control plane writes it within seconds: see its log",
                ));
            }
        }
        findings
    }

    /// Every policy that this program knows, and its binding.
    pub(super) fn asserted(
        &self,
        found: &[ValidatingAdmissionPolicy],
        bindings: &[ValidatingAdmissionPolicyBinding],
    ) -> Vec<Finding> {
        let same = self.same;
        let mut findings = Vec::new();
        let all = policies::all();
        let is_ours =
            |one: &ValidatingAdmissionPolicy| all.iter().any(|ours| ours.policy.metadata.name == one.metadata.name);
        if !found.iter().any(is_ours) {
            let what = "none is there: nothing asserts that agents run behind an unaltered gateway";
            return vec![Finding::problem(
                "ValidatingAdmissionPolicies",
                what,
                "helm upgrade --install sluice charts/sluice",
            )];
        }
        for wanted in &all {
            let name = wanted.policy.metadata.name.clone().unwrap_or_default();
            let object = format!("ValidatingAdmissionPolicy {name}");
            match found.iter().find(|one| one.metadata.name == wanted.policy.metadata.name) {
                None => {
                    findings.push(missing(&object, same));
                    continue;
                }
                Some(found) => {
                    let mut found = found.clone();
                    images(&mut found);
                    let judged = altered(&object, &differences(&self.placed(&wanted.policy.spec), &found.spec), same);
                    findings.extend((judged.level != Level::Ok).then_some(judged));
                    findings.extend(warnings(&object, &found));
                }
            }
            let object = format!("ValidatingAdmissionPolicyBinding {name}");
            match bindings.iter().find(|one| one.metadata.name == wanted.binding.metadata.name) {
                None => findings.push(missing(&object, same)),
                Some(found) => {
                    let judged = altered(&object, &differences(&wanted.binding.spec, &found.spec), same);
                    findings.extend((judged.level != Level::Ok).then_some(judged));
                }
            }
        }
        if findings.is_empty() {
            let what = format!("all {} are there, bound and unaltered", all.len());
            findings.push(Finding::ok("ValidatingAdmissionPolicies", what));
        }
        findings
    }

    /// With our namespace where the chart puts it.
    fn placed(&self, expected: &impl Serialize) -> Value {
        let mut value = serde_json::to_value(expected).unwrap_or_default();
        self.put(&mut value);
        value
    }

    fn put(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                for (before, after) in [("'", "'"), ("kubectl -n ", "")] {
                    let made = format!("{before}{}{after}", names::SYSTEM_NAMESPACE);
                    *text = text.replace(&made, &format!("{before}{}{after}", self.namespace));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.put(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.put(field)),
            _ => {}
        }
    }
}

/// Takes out what keeps webhooks away from the control plane's namespaces. AKS's
/// admissions enforcer writes it into every webhook, and not always in the same
/// words; no agent can run in such a namespace, as `sluice-agents` asserts.
fn without_enforced(selector: &mut Option<LabelSelector>) {
    let is_enforced = |one: &LabelSelectorRequirement| {
        ["control-plane", "kubernetes.azure.com/managedby"].contains(&one.key.as_str())
            && ["NotIn", "DoesNotExist"].contains(&one.operator.as_str())
    };
    if let Some(expressions) = selector.as_mut().and_then(|selector| selector.match_expressions.as_mut()) {
        expressions.retain(|one| !is_enforced(one));
    }
}

/// The CA bundles of all our webhooks, to be compared with what is served.
pub(super) fn bundles(
    mutating: &[MutatingWebhookConfiguration],
    validating: &[ValidatingWebhookConfiguration],
) -> Vec<(String, Vec<u8>)> {
    let is_ours = |name: &Option<String>| name.as_deref() == Some(webhooks::CONFIGURATION);
    let mutating = mutating
        .iter()
        .filter(|one| is_ours(&one.metadata.name))
        .flat_map(|one| one.webhooks.iter().flatten().map(|webhook| (&webhook.name, &webhook.client_config)));
    let validating = validating
        .iter()
        .filter(|one| is_ours(&one.metadata.name))
        .flat_map(|one| one.webhooks.iter().flatten().map(|webhook| (&webhook.name, &webhook.client_config)));
    let all = mutating.chain(validating);
    all.filter_map(|(name, config)| Some((name.clone(), config.ca_bundle.as_ref()?.0.clone()))).collect()
}

/// Images that the policy `sluice-images` lets pods have.
pub(super) fn allowed_images(found: &[ValidatingAdmissionPolicy]) -> Vec<String> {
    let policy = found.iter().find(|one| one.metadata.name.as_deref() == Some("sluice-images"));
    let spec = policy.and_then(|one| one.spec.as_ref());
    let mut variables = spec.into_iter().flat_map(|spec| spec.variables.iter().flatten());
    let images = variables.find(|one| one.name == "images").and_then(|one| quoted(&one.expression)).unwrap_or_default();
    images.split(',').map(|image| image.trim().to_owned()).filter(|image| !image.is_empty()).collect()
}

/// Puts the placeholder back where the chart put images.
fn images(policy: &mut ValidatingAdmissionPolicy) {
    if policy.metadata.name.as_deref() != Some("sluice-images") {
        return;
    }
    let spec = policy.spec.iter_mut();
    for variable in spec.flat_map(|spec| spec.variables.iter_mut().flatten()).filter(|one| one.name == "images") {
        if let Some(images) = quoted(&variable.expression).map(str::to_owned) {
            variable.expression = variable.expression.replacen(&images, names::IMAGES_PLACEHOLDER, 1);
        }
    }
}

/// The text literal that an expression begins with.
fn quoted(expression: &str) -> Option<&str> {
    expression.strip_prefix('\'')?.split_once('\'').map(|(text, _)| text)
}

fn warnings(object: &str, policy: &ValidatingAdmissionPolicy) -> Vec<Finding> {
    let checked = policy.status.as_ref().and_then(|status| status.type_checking.as_ref());
    let warnings = checked.into_iter().flat_map(|checked| checked.expression_warnings.iter().flatten());
    warnings
        .map(|one| {
            let what = format!("{}: {}", one.field_ref, one.warning.lines().next().unwrap_or_default());
            Finding::warning(object, what, "use a version of Sluice that knows this version of Kubernetes")
        })
        .collect()
}

fn missing(object: &str, same: bool) -> Finding {
    if same {
        return Finding::problem(object, "is not there: what it asserts is not asserted", UPGRADE);
    }
    Finding::warning(object, "is not there; another version may not have it", UPGRADE)
}

fn altered(object: &str, differences: &[String], same: bool) -> Finding {
    match (differences, same) {
        ([], _) => Finding::ok(object, "is there and unaltered"),
        (some, true) => Finding::problem(object, format!("was altered: {}", named(some)), UPGRADE),
        (some, false) => Finding::warning(object, format!("is of another version: {}", named(some)), UPGRADE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the chart does it, in the namespace `gate`.
    fn installed() -> (Vec<ValidatingAdmissionPolicy>, Vec<ValidatingAdmissionPolicyBinding>) {
        let (mut found, bindings): (Vec<_>, Vec<_>) =
            policies::all().into_iter().map(|one| (one.policy, one.binding)).unzip();
        for policy in &mut found {
            let text = serde_json::to_string(policy).expect("JSON");
            let text = text.replace("'sluice-system'", "'gate'").replace("kubectl -n sluice-system", "kubectl -n gate");
            *policy = serde_json::from_str(&text).expect("a policy");
            for variable in policy.spec.iter_mut().flat_map(|spec| spec.variables.iter_mut().flatten()) {
                variable.expression =
                    variable.expression.replace(names::IMAGES_PLACEHOLDER, "a/gateway:1, b/gateway:1");
            }
        }
        (found, bindings)
    }

    fn installed_here(same: bool) -> Installed<'static> {
        Installed { namespace: "gate", same }
    }

    #[test]
    fn what_the_chart_installs_is_unaltered() {
        let (found, bindings) = installed();
        let findings = installed_here(true).asserted(&found, &bindings);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings.first().map(|finding| finding.level), Some(Level::Ok));
        assert_eq!(allowed_images(&found), ["a/gateway:1", "b/gateway:1"]);
    }

    #[test]
    fn what_was_loosened_is_found() {
        let (mut found, mut bindings) = installed();
        if let Some(spec) = found.first_mut().and_then(|one| one.spec.as_mut()) {
            spec.failure_policy = Some("Ignore".to_owned());
        }
        if let Some(spec) = bindings.last_mut().map(|one| &mut one.spec) {
            spec.validation_actions = vec!["Warn".to_owned()];
        }
        let gone = bindings.remove(0);
        let findings = installed_here(true).asserted(&found, &bindings);
        let said: Vec<String> = findings.iter().map(|one| format!("{} {}", one.object, one.what)).collect();
        assert!(said.iter().any(|one| one.contains("failurePolicy")), "{said:?}");
        assert!(said.iter().any(|one| one.contains("validationActions")), "{said:?}");
        let name = gone.metadata.name.unwrap_or_default();
        assert!(said.iter().any(|one| one.contains(&name) && one.contains("not there")), "{said:?}");
        assert!(findings.iter().all(|one| one.level == Level::Problem), "{findings:#?}");
        assert!(installed_here(false).asserted(&found, &bindings).iter().all(|one| one.level == Level::Warning));
    }

    #[test]
    fn webhooks_are_compared_wherever_they_are_installed() {
        let judge = Installed { namespace: "gate", same: true };
        let mut found = webhooks::mutating();
        for webhook in found.webhooks.iter_mut().flatten() {
            if let Some(service) = &mut webhook.client_config.service {
                "gate".clone_into(&mut service.namespace);
            }
            webhook.client_config.ca_bundle = Some(ByteString(b"pem".to_vec()));
        }
        let levels = |found: MutatingWebhookConfiguration| -> Vec<Level> {
            judge.mutating(&[found]).iter().map(|one| one.level).collect()
        };
        assert_eq!(levels(found.clone()), [Level::Ok]);
        assert_eq!(bundles(&[found.clone()], &[]).len(), 2);
        if let Some(webhook) = found.webhooks.iter_mut().flatten().next() {
            webhook.failure_policy = Some("Ignore".to_owned());
            webhook.client_config.ca_bundle = None;
        }
        assert_eq!(levels(found), [Level::Problem, Level::Problem]);
        assert_eq!(judge.mutating(&[]).len(), 1);
    }

    #[test]
    fn the_path_for_policies_is_the_control_planes() {
        let judge = Installed { namespace: names::SYSTEM_NAMESPACE, same: true };
        let mut found = webhooks::validating();
        for webhook in found.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(ByteString(b"pem".to_vec()));
            webhook.client_config.service.iter_mut().for_each(|service| service.path = Some("/validate/x".to_owned()));
        }
        let findings = judge.validating(&[found]);
        assert!(matches!(findings.as_slice(), [one] if one.level == Level::Ok), "{findings:#?}");
    }

    #[test]
    fn what_aks_enforces_is_no_alteration() {
        let judge = Installed { namespace: names::SYSTEM_NAMESPACE, same: true };
        let with = |key: &str, operator: &str| {
            let mut found = webhooks::validating();
            for webhook in found.webhooks.iter_mut().flatten() {
                webhook.client_config.ca_bundle = Some(ByteString(b"pem".to_vec()));
                let selector = webhook.namespace_selector.get_or_insert_default();
                selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                    key: key.to_owned(),
                    operator: operator.to_owned(),
                    values: None,
                });
            }
            judge.validating(&[found]).iter().map(|finding| finding.level).max()
        };
        assert_eq!(with("control-plane", "DoesNotExist"), Some(Level::Ok));
        assert_eq!(with("kubernetes.azure.com/managedby", "DoesNotExist"), Some(Level::Ok));
        assert_eq!(with("team", "DoesNotExist"), Some(Level::Problem));
        assert_eq!(with("control-plane", "Exists"), Some(Level::Problem));
    }
}
