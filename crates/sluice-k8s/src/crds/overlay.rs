//! What an API server checks before anything of ours sees an object: sizes,
//! patterns, and rules in CEL. Sizes also bound what the rules cost.

use serde_json::{Value, json};

/// A place in a schema (`spec`'s own is empty; `[]` goes into a list) and what
/// is laid over it.
type Layer = (&'static str, Value);

/// Lays over the schema of `spec` of a kind. Every place must be there.
pub(crate) fn lay(kind: &str, schema: &mut Value) {
    for (place, layer) in layers(kind) {
        if let Some(target) = at(schema, place) {
            merge(target, layer);
        }
    }
}

/// The layers of a kind.
pub(super) fn layers(kind: &str) -> Vec<Layer> {
    match kind {
        "GatewayPolicy" => [gateway_policy(), selector("selector"), rules(false), masks(), limits()].concat(),
        "ClusterGatewayPolicy" => {
            [selector("selector"), selector("namespaceSelector"), rules(true), masks(), limits(), cluster_policy()]
                .concat()
        }
        _ => [provider(), bundle("caBundleRef")].concat(),
    }
}

/// A schema below another one.
pub(super) fn at<'a>(schema: &'a mut Value, place: &str) -> Option<&'a mut Value> {
    let mut schema = schema;
    for step in place.split('.').filter(|step| !step.is_empty()) {
        let name = step.trim_end_matches("[]");
        schema = schema.get_mut("properties")?.get_mut(name)?;
        if step.ends_with("[]") {
            schema = schema.get_mut("items")?;
        }
    }
    Some(schema)
}

/// Objects are merged, `null` removes, everything else is put in place.
fn merge(target: &mut Value, layer: Value) {
    match (target, layer) {
        (Value::Object(target), Value::Object(layer)) => {
            for (key, value) in layer {
                if value.is_null() {
                    target.remove(&key);
                } else if key == "x-kubernetes-validations" {
                    let list = target.entry(key).or_insert_with(|| json!([]));
                    if let (Value::Array(list), Value::Array(more)) = (list, value) {
                        list.extend(more);
                    }
                } else {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, layer) => *target = layer,
    }
}

const NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
const HOST: &str = r"^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.?$";
const EGRESS_HOST: &str = r"^(\*\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?\.)?([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?\.?$";
const RESOURCE: &str =
    r"^(\*|\*\.[a-z0-9][-a-z0-9.]*|[a-z][-a-z0-9]*(\.[a-z0-9][-a-z0-9.]*)?(/(\*|[a-z][-a-z0-9]*))?)$";
const QUALIFIED: &str = r"^[a-z0-9][-a-z0-9.]*:[^*]+$";
const BYTES: &str = "^[1-9][0-9]*(k|M|G|Ki|Mi|Gi)?$";
const AGE: &str = "^([0-9]+(h|ms|m|s))+$";
const HTTPS: &str = r"^https://[^\s@?#]+$";

/// One rule of `x-kubernetes-validations`.
fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

fn checks<const N: usize>(rules: [(&str, &str); N]) -> Value {
    json!({"x-kubernetes-validations": rules.map(|(text, message)| rule(text, message)).to_vec()})
}

fn text(most: u32, pattern: &str) -> Value {
    json!({"minLength": 1, "maxLength": most, "pattern": pattern})
}

/// A list that, where it is written, names something.
fn list(most: u32) -> Value {
    json!({"minItems": 1, "maxItems": most})
}

fn gateway_policy() -> Vec<Layer> {
    let mut layers = vec![
        (
            "",
            checks([(
                "!has(self.rules) || self.rules.all(r, !has(r.targets) || r.targets.all(t, t == '*' || (has(self.targets) \
                 && self.targets.exists(x, x.name == t))))",
                "a rule names a target that spec.targets does not have",
            )]),
        ),
        ("identity.providers", json!({"maxItems": 16, "x-kubernetes-list-type": "set"})),
        ("identity.providers[]", text(253, NAME)),
        ("targets", named_list(32)),
        (
            "targets",
            checks([(
                "self.all(a, self.exists_one(b, b.kubernetes.server.lowerAscii() == a.kubernetes.server.lowerAscii()))",
                "two targets have the same server; remove one",
            )]),
        ),
        ("targets[].name", text(63, NAME)),
        ("targets[].kubernetes.server", text(253, HOST)),
        ("targets[].ports", json!({"maxItems": 16, "x-kubernetes-list-type": "set"})),
        ("targets[].ports[]", json!({"minimum": 1, "maximum": 65535})),
        ("targets[].audiences", json!({"maxItems": 16, "x-kubernetes-list-type": "set"})),
        ("targets[].audiences[]", json!({"minLength": 1, "maxLength": 1024})),
        ("targets[].audiences[]", checks([("self != '*'", "`*` is no audience; write the exact `aud`")])),
        (
            "egress",
            checks([(
                "has(self.other) && self.other == 'Allow' ? has(self.allow) && size(self.allow) > 0 : !has(self.allow) || \
                 size(self.allow) == 0",
                "`other: Allow` needs hosts under allow, and `other: Deny` (the default) has none",
            )]),
        ),
        ("egress.allow", json!({"maxItems": 256})),
        ("egress.allow[].host", text(253, EGRESS_HOST)),
        ("egress.allow[].ports", json!({"maxItems": 16, "x-kubernetes-list-type": "set"})),
        ("egress.allow[].ports[]", json!({"minimum": 1, "maximum": 65535})),
        ("maxPolicyAge", text(32, AGE)),
        ("maxPolicyAge", checks([("self.matches('[1-9]')", "0 would stop everything; write a time such as 24h")])),
    ];
    layers.extend(bundle("targets[].caBundleRef"));
    layers
}

fn cluster_policy() -> Vec<Layer> {
    vec![
        (
            "rules[].action",
            json!({
                "enum": ["Deny"],
                "description": "`Deny`: stops what it touches, whatever else allows it. Guard rails have no Allow.",
            }),
        ),
        ("rules[]", json!({"properties": {"targets": null}})),
        ("rules[].subjects.serviceAccounts[]", json!({"pattern": "^[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9.]*$"})),
        (
            "masks[].kubernetes.secrets",
            json!({
                "enum": ["Values"],
                "description": "Secrets: `Values` of `data` and `stringData`; keys stay.",
            }),
        ),
    ]
}

fn provider() -> Vec<Layer> {
    vec![
        (
            "",
            checks([(
                "!(has(self.jwksUri) && has(self.jwks))",
                "jwksUri and jwks say the same thing; remove one of them",
            )]),
        ),
        ("issuers", json!({"minItems": 1, "maxItems": 16, "x-kubernetes-list-type": "set"})),
        ("issuers[]", text(512, HTTPS)),
        (
            "issuers[]",
            checks([
                (
                    "!self.contains('TENANT') && !self.contains('{')",
                    "a placeholder is left in it; write your tenant's id",
                ),
                (
                    "!self.contains('00000000-0000-0000-0000-000000000000')",
                    "the sample's zeros are left in it; write your tenant's id",
                ),
                (
                    "!self.endsWith('/.well-known/openid-configuration')",
                    "this is the discovery document; write the issuer, which is the part before /.well-known",
                ),
            ]),
        ),
        ("jwksUri", text(1024, r"^https://[^\s@#]+$")),
        ("jwks.keys", json!({"minItems": 1, "maxItems": 32})),
        (
            "jwks.keys[]",
            json!({
                "required": ["kty"],
                "properties": {
                    "kty": {"type": "string", "enum": ["RSA", "EC", "OKP"], "description": "Key type; never a symmetric one."},
                    "d": {"type": "string", "description": "Refused: the private part of a key."},
                    "k": {"type": "string", "description": "Refused: a symmetric key."},
                },
                "x-kubernetes-validations": [
                    rule("!has(self.d) && !has(self.k)", "holds a private or symmetric key; paste the public key only"),
                ],
            }),
        ),
        ("tenants", json!({"maxItems": 64, "x-kubernetes-list-type": "set"})),
        ("tenants[]", json!({"minLength": 1, "maxLength": 256})),
        (
            "tenants[]",
            checks([(
                "self != '00000000-0000-0000-0000-000000000000'",
                "the sample's zeros are left; write your tenant's id",
            )]),
        ),
        ("algorithms", json!({"maxItems": 9, "x-kubernetes-list-type": "set"})),
        (
            "algorithms[]",
            json!({"enum": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]}),
        ),
        ("claims.subject", text(253, CLAIM)),
        ("claims.groups", text(253, CLAIM)),
        ("claims.roles", text(253, CLAIM)),
        ("claims.kubernetesUser", text(253, CLAIM)),
    ]
}

const CLAIM: &str = r"^[^.]+(\.[^.]+)*$";

/// In a cluster, a bundle is in a ConfigMap.
fn bundle(place: &'static str) -> Vec<Layer> {
    vec![(
        place,
        json!({
            "description": "Roots that vouch for the server beside the public ones: a ConfigMap.",
            "required": ["configMap"],
            "properties": {
                "file": null,
                "configMap": text(253, NAME),
                "key": text(253, "^[-._a-zA-Z0-9]+$"),
            },
        }),
    )]
}

fn selector(place: &'static str) -> Vec<Layer> {
    let places: [&'static str; 4] = match place {
        "selector" => ["selector", "selector.matchLabels", "selector.matchExpressions", "selector.matchExpressions[]"],
        _ => [
            "namespaceSelector",
            "namespaceSelector.matchLabels",
            "namespaceSelector.matchExpressions",
            "namespaceSelector.matchExpressions[]",
        ],
    };
    vec![
        // A misspelt `matchLabels` would leave an empty selector: all.
        (
            places[0],
            checks([(
                "has(self.matchLabels) || has(self.matchExpressions)",
                "has neither matchLabels nor matchExpressions; write one of them, or remove the selector for all",
            )]),
        ),
        (places[1], json!({"minProperties": 1, "maxProperties": 32, "additionalProperties": {"maxLength": 63}})),
        (places[2], json!({"minItems": 1, "maxItems": 32})),
        (
            places[3],
            json!({
                "properties": {
                    "key": {"minLength": 1, "maxLength": 317},
                    "values": {"maxItems": 64, "items": {"maxLength": 63}},
                },
                "x-kubernetes-validations": [rule(
                    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || \
                     size(self.values) == 0",
                    "In and NotIn need values; Exists and DoesNotExist have none",
                )],
            }),
        ),
    ]
}

fn rules(guard: bool) -> Vec<Layer> {
    let mut layers = vec![
        ("rules", named_list(256)),
        ("rules[].name", text(63, NAME)),
        ("rules[].subjects", subjects()),
        ("rules[].when", text(4096, r"\S")),
        ("rules[].message", text(1024, r"^[^\x00-\x1f\x7f]*$")),
        ("rules[].kubernetes.verbs", list(16)),
        (
            "rules[].kubernetes.verbs[]",
            json!({"enum": [
                "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*",
                "head", "post", "put", "options",
            ]}),
        ),
        ("rules[].kubernetes.resources", list(64)),
        ("rules[].kubernetes.resources[]", text(253, RESOURCE)),
        ("rules[].kubernetes.namespaces", list(64)),
        ("rules[].kubernetes.namespaces[]", text(63, "^[-a-z0-9*]+$")),
        ("rules[].kubernetes.names", list(64)),
        ("rules[].kubernetes.names[]", text(253, "^[-a-zA-Z0-9.:_*]+$")),
        ("rules[].kubernetes.nonResourceURLs", list(64)),
        ("rules[].kubernetes.nonResourceURLs[]", text(1024, r"^(\*|/[^*?#% ]*\*?)$")),
        (
            "rules[].kubernetes",
            checks([(
                "has(self.resources) || !has(self.nonResourceURLs) || (!has(self.namespaces) && !has(self.names))",
                "namespaces and names have no meaning for nonResourceURLs; remove them, or add resources",
            )]),
        ),
    ];
    if !guard {
        layers.extend([
            ("rules[].targets", json!({"minItems": 1, "maxItems": 32})),
            ("rules[].targets[]", json!({"minLength": 1, "maxLength": 63})),
            (
                "rules[]",
                checks([
                    (
                        "self.action != 'Allow' || has(self.targets)",
                        "an Allow spells out its targets: list them, or write \"*\" for all",
                    ),
                    (
                        "self.action != 'Allow' || has(self.kubernetes.verbs)",
                        "an Allow spells out kubernetes.verbs: list verbs such as get, or write \"*\" for all",
                    ),
                    (
                        "self.action != 'Allow' || has(self.kubernetes.resources) || has(self.kubernetes.nonResourceURLs)",
                        "an Allow spells out kubernetes.resources: list resources such as pods, or write \"*\" for all",
                    ),
                    (
                        "self.action != 'Allow' || !has(self.kubernetes.resources) || has(self.kubernetes.namespaces)",
                        "an Allow spells out kubernetes.namespaces: list namespaces, or write \"*\" for all",
                    ),
                    (
                        "self.action != 'Allow' || !has(self.message)",
                        "message is shown on denial only; remove it from an Allow",
                    ),
                ]),
            ),
        ]);
    }
    layers
}

fn masks() -> Vec<Layer> {
    vec![
        ("masks", named_list(32)),
        ("masks[].name", text(63, NAME)),
        ("masks[].exceptFor", subjects()),
        (
            "masks[]",
            checks([(
                "self.kubernetes.secrets != 'Off' || !has(self.exceptFor)",
                "exceptFor has no meaning with `secrets: Off`; remove it, or write `secrets: Values`",
            )]),
        ),
    ]
}

fn limits() -> Vec<Layer> {
    vec![
        ("limits.commandsPerMinute", json!({"minimum": 1})),
        ("limits.concurrentSessions", json!({"minimum": 1})),
        ("limits.responseBytes", json!({"pattern": BYTES, "maxLength": 24})),
    ]
}

/// Nobody is named by leaving it out.
fn subjects() -> Value {
    let qualified = json!({"minItems": 1, "maxItems": 64, "items": text(512, QUALIFIED)});
    json!({
        "properties": {
            "groups": qualified,
            "roles": qualified,
            "users": qualified,
            "serviceAccounts": {"minItems": 1, "maxItems": 64, "items": text(317, "^[-a-z0-9.]+(/[-a-z0-9.]+)?$")},
        },
        "x-kubernetes-validations": [
            rule(
                "(has(self.anyone) && self.anyone) || has(self.groups) || has(self.roles) || has(self.users) || \
                 has(self.serviceAccounts)",
                "names nobody; write groups, roles, users or serviceAccounts, or `anyone: true`",
            ),
            rule(
                "!(has(self.anyone) && self.anyone) || !(has(self.groups) || has(self.roles) || has(self.users) || \
                 has(self.serviceAccounts))",
                "has `anyone: true` and a list; remove one of them",
            ),
        ],
    })
}

/// A list whose entries have names of their own.
fn named_list(most: u32) -> Value {
    json!({"maxItems": most, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})
}
