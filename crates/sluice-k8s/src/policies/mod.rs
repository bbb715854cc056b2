//! ValidatingAdmissionPolicies: what the API server itself refuses, also while
//! nothing of ours runs.
//!
//! The webhook makes a pod right; these assert that it came out right, that it
//! stays so, and that nobody enters the gateway from the side.

mod fields;
mod pods;
mod sides;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec, Validation,
    Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::names;

/// A policy and what binds it, everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Asserted {
    /// The policy.
    pub policy: ValidatingAdmissionPolicy,
    /// Its binding, of the same name.
    pub binding: ValidatingAdmissionPolicyBinding,
}

/// All of them. The chart puts the gateway's images in place of
/// [`names::IMAGES_PLACEHOLDER`].
pub fn all() -> Vec<Asserted> {
    [pods::all(), sides::all(), fields::all()].concat()
}

/// A policy in the making.
struct Draft {
    name: String,
    matches: MatchResources,
    conditions: Vec<MatchCondition>,
    variables: Vec<Variable>,
    validations: Vec<Validation>,
}

impl Draft {
    fn new(name: impl Into<String>, group: &str, resources: &[&str], operations: &[&str]) -> Self {
        let texts = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect());
        let versions = if group.is_empty() { ["v1"] } else { [names::VERSION] };
        Self {
            name: name.into(),
            matches: MatchResources {
                resource_rules: Some(vec![NamedRuleWithOperations {
                    api_groups: texts(&[group]),
                    api_versions: texts(&versions),
                    operations: texts(operations),
                    resources: texts(resources),
                    ..NamedRuleWithOperations::default()
                }]),
                ..MatchResources::default()
            },
            conditions: Vec::new(),
            variables: Vec::new(),
            validations: Vec::new(),
        }
    }

    fn when(mut self, name: &str, expression: &str) -> Self {
        self.conditions.push(MatchCondition { name: name.to_owned(), expression: expression.to_owned() });
        self
    }

    fn in_namespaces(mut self, label: &str) -> Self {
        self.matches.namespace_selector = Some(labelled(label));
        self
    }

    fn of_objects(mut self, label: &str) -> Self {
        self.matches.object_selector = Some(labelled(label));
        self
    }

    fn with(mut self, name: &str, expression: &str) -> Self {
        self.variables.push(Variable { name: name.to_owned(), expression: expression.to_owned() });
        self
    }

    /// The message of the first validation that does not hold is what people
    /// read: their order is from the plainest to the finest.
    fn demand(mut self, expression: impl Into<String>, message: impl Into<String>) -> Self {
        self.validations.push(Validation {
            expression: expression.into(),
            message: Some(message.into()),
            reason: Some("Forbidden".to_owned()),
            ..Validation::default()
        });
        self
    }

    fn done(self) -> Asserted {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let some = |empty: bool| !empty;
        Asserted {
            policy: ValidatingAdmissionPolicy {
                metadata: metadata.clone(),
                spec: Some(ValidatingAdmissionPolicySpec {
                    failure_policy: Some("Fail".to_owned()),
                    match_constraints: Some(self.matches),
                    match_conditions: some(self.conditions.is_empty()).then_some(self.conditions),
                    variables: some(self.variables.is_empty()).then_some(self.variables),
                    validations: Some(self.validations),
                    ..ValidatingAdmissionPolicySpec::default()
                }),
                status: None,
            },
            binding: ValidatingAdmissionPolicyBinding {
                metadata,
                spec: ValidatingAdmissionPolicyBindingSpec {
                    policy_name: self.name,
                    validation_actions: vec!["Deny".to_owned()],
                    ..ValidatingAdmissionPolicyBindingSpec::default()
                },
            },
        }
    }
}

fn labelled(label: &str) -> LabelSelector {
    LabelSelector { match_labels: Some([(label.to_owned(), "true".to_owned())].into()), ..LabelSelector::default() }
}
