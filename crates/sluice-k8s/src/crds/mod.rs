//! The kinds of `sluice.dev/v1alpha1`: definitions for the API server, objects
//! as a client reads them, and documents for `sluice-policy`.
//!
//! The schemas are made from the spec types of `sluice-policy`, so that a field
//! cannot be in one and not in the other. What only an API server can check
//! early (sizes, patterns, CEL) is laid over them in [`mod@overlay`].

mod check;
mod objects;
mod overlay;
pub(crate) mod schema;
mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use sluice_policy::spec;

use crate::names;

pub use check::{check, document};
pub use objects::{ClusterGatewayPolicy, GatewayPolicy, IdentityProvider};
pub use status::{Condition, PolicyStatus, ProviderStatus, condition};

/// One kind of ours.
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    singular: &'static str,
    short: &'static str,
    namespaced: bool,
    description: &'static str,
    columns: &'static [Column],
    spec: fn() -> Value,
    status: fn() -> Value,
}

/// Name, type, path, and the width of screen from which on it is shown.
type Column = (&'static str, &'static str, &'static str, i32);

pub(crate) const KINDS: [Kind; 3] = [
    Kind {
        kind: "IdentityProvider",
        plural: "identityproviders",
        singular: "identityprovider",
        short: "idp",
        namespaced: false,
        description: "Who vouches for the people and programs behind a token. Only cluster administrators should \
                      write it: whoever can, can say who is who.",
        columns: &[
            ("Accepted", "string", ".status.conditions[?(@.type==\"Accepted\")].status", 0),
            ("Issuer", "string", ".spec.issuers[0]", 0),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        spec: schema::of::<spec::IdentityProviderSpec>,
        status: schema::of::<ProviderStatus>,
    },
    Kind {
        kind: "GatewayPolicy",
        plural: "gatewaypolicies",
        singular: "gatewaypolicy",
        short: "gwp",
        namespaced: true,
        description: "What agents of this namespace may do, and what becomes of what they see. Every policy that \
                      selects a pod counts, in no order: any matching Deny wins, else a matching Allow is needed.",
        columns: POLICY_COLUMNS,
        spec: schema::of::<spec::GatewayPolicySpec>,
        status: schema::of::<PolicyStatus>,
    },
    Kind {
        kind: "ClusterGatewayPolicy",
        plural: "clustergatewaypolicies",
        singular: "clustergatewaypolicy",
        short: "cgwp",
        namespaced: false,
        description: "What no agent may do or see, whatever the policies of its namespace say: guard rails. It has \
                      denials, masks and limits, and no Allow.",
        columns: POLICY_COLUMNS,
        spec: schema::of::<spec::ClusterGatewayPolicySpec>,
        status: schema::of::<PolicyStatus>,
    },
];

const POLICY_COLUMNS: &[Column] = &[
    ("Mode", "string", ".spec.mode", 0),
    ("Accepted", "string", ".status.conditions[?(@.type==\"Accepted\")].status", 0),
    ("Compiled", "string", ".status.conditions[?(@.type==\"Compiled\")].status", 0),
    ("Programmed", "string", ".status.conditions[?(@.type==\"Programmed\")].status", 0),
    ("Pods", "integer", ".status.matchedPods", 0),
    ("Revision", "string", ".status.revision", 1),
    ("Why", "string", ".status.conditions[?(@.status==\"False\")].message", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
];

/// The definitions, for the API server.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    KINDS.iter().map(Kind::definition).collect()
}

impl Kind {
    /// Structural schema of `spec`, with all that is laid over it.
    pub(crate) fn spec_schema(&self) -> Value {
        let mut schema = (self.spec)();
        schema::keep_unknown(&mut schema);
        overlay::lay(self.kind, &mut schema);
        schema
    }

    fn definition(&self) -> CustomResourceDefinition {
        let whole = json!({
            "type": "object",
            "description": self.description,
            "required": ["spec"],
            "properties": {"spec": self.spec_schema(), "status": (self.status)()},
        });
        // Made of what is written here alone; a test reads it back.
        let schema: JSONSchemaProps = serde_json::from_value(whole).unwrap_or_default();
        CustomResourceDefinition {
            metadata: ObjectMeta { name: Some(format!("{}.{}", self.plural, names::GROUP)), ..ObjectMeta::default() },
            spec: CustomResourceDefinitionSpec {
                group: names::GROUP.to_owned(),
                names: CustomResourceDefinitionNames {
                    kind: self.kind.to_owned(),
                    list_kind: Some(format!("{}List", self.kind)),
                    plural: self.plural.to_owned(),
                    singular: Some(self.singular.to_owned()),
                    short_names: Some(vec![self.short.to_owned()]),
                    categories: Some(vec!["sluice".to_owned()]),
                },
                scope: if self.namespaced { "Namespaced" } else { "Cluster" }.to_owned(),
                versions: vec![CustomResourceDefinitionVersion {
                    name: names::VERSION.to_owned(),
                    served: true,
                    storage: true,
                    additional_printer_columns: Some(self.columns.iter().map(column).collect()),
                    schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema) }),
                    subresources: Some(CustomResourceSubresources {
                        status: Some(CustomResourceSubresourceStatus(json!({}))),
                        scale: None,
                    }),
                    ..CustomResourceDefinitionVersion::default()
                }],
                ..CustomResourceDefinitionSpec::default()
            },
            status: None,
        }
    }
}

fn column((name, kind, path, priority): &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: (*name).to_owned(),
        type_: (*kind).to_owned(),
        json_path: (*path).to_owned(),
        priority: (*priority != 0).then_some(*priority),
        ..CustomResourceColumnDefinition::default()
    }
}

#[cfg(test)]
mod tests;
