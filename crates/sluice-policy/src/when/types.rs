use std::fmt;

use super::expression::Root;

/// The type of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Bool,
    Int,
    Double,
    Text,
    Time,
    Span,
    List(Box<Type>),
    /// Text by text.
    Labels,
    Record(Kind),
    /// JSON, whose type shows when it is looked at.
    Dyn,
}

/// A value with fixed fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Subject,
    Target,
    Pod,
    Request,
    Command,
}

/// Fields of a record: name and type.
type Fields = &'static [(&'static str, FieldType)];

/// The types that a field can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldType {
    Bool,
    Int,
    Text,
    Time,
    Texts,
    Labels,
    Dyn,
    Requests,
}

impl Kind {
    pub(super) fn fields(self) -> Fields {
        use FieldType::{Bool, Dyn, Int, Labels, Requests, Text, Texts, Time};
        match self {
            Self::Subject => &[
                ("kind", Text),
                ("provider", Text),
                ("issuer", Text),
                ("id", Text),
                ("kubernetesUser", Text),
                ("groups", Texts),
                ("roles", Texts),
                ("expires", Time),
            ],
            Self::Target => &[("name", Text), ("host", Text), ("port", Int)],
            Self::Pod => {
                &[("namespace", Text), ("name", Text), ("uid", Text), ("serviceAccount", Text), ("labels", Labels)]
            }
            Self::Request => &[
                ("verb", Text),
                ("group", Text),
                ("version", Text),
                ("resource", Text),
                ("subresource", Text),
                ("namespace", Text),
                ("name", Text),
                ("method", Text),
                ("path", Text),
                ("labelSelector", Text),
                ("fieldSelector", Text),
                ("dryRun", Bool),
                ("fieldManager", Text),
                ("userAgent", Text),
                ("kubectlCommand", Text),
                ("object", Dyn),
                ("patch", Dyn),
                ("patchType", Text),
            ],
            Self::Command => &[("actions", Requests)],
        }
    }

    pub(super) fn field(self, name: &str) -> Option<Type> {
        self.fields().iter().find(|(known, _)| *known == name).map(|(_, field)| (*field).into())
    }
}

impl From<FieldType> for Type {
    fn from(field: FieldType) -> Self {
        match field {
            FieldType::Bool => Self::Bool,
            FieldType::Int => Self::Int,
            FieldType::Text => Self::Text,
            FieldType::Time => Self::Time,
            FieldType::Texts => Self::List(Box::new(Self::Text)),
            FieldType::Labels => Self::Labels,
            FieldType::Dyn => Self::Dyn,
            FieldType::Requests => Self::List(Box::new(Self::Record(Kind::Request))),
        }
    }
}

impl From<Root> for Type {
    fn from(root: Root) -> Self {
        match root {
            Root::Subject => Self::Record(Kind::Subject),
            Root::Target => Self::Record(Kind::Target),
            Root::Pod => Self::Record(Kind::Pod),
            Root::Now => Self::Time,
            Root::Intent => Self::Text,
            Root::Request => Self::Record(Kind::Request),
            Root::Command => Self::Record(Kind::Command),
        }
    }
}

impl Type {
    /// Whether the two can be compared for equality.
    pub(super) fn comparable(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn, Self::Record(_)) | (Self::Record(_), Self::Dyn) => false,
            (Self::Record(_), Self::Record(_)) => false,
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::Int | Self::Double, Self::Int | Self::Double) => true,
            (Self::List(a), Self::List(b)) => a.comparable(b),
            (a, b) => a == b,
        }
    }

    /// Whether the two can be put in order.
    pub(super) fn ordered(&self, other: &Self) -> bool {
        let orders =
            |t: &Self| matches!(t, Self::Int | Self::Double | Self::Text | Self::Time | Self::Span | Self::Dyn);
        orders(self) && orders(other) && self.comparable(other)
    }

    /// Whether a value of this type can stand where `wanted` is needed.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        self == wanted || *self == Self::Dyn
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Double => "a double",
            Self::Text => "a string",
            Self::Time => "a timestamp",
            Self::Span => "a duration",
            Self::List(_) => "a list",
            Self::Labels => "a map of strings",
            Self::Record(Kind::Subject) => "the subject",
            Self::Record(Kind::Target) => "the target",
            Self::Record(Kind::Pod) => "the pod",
            Self::Record(Kind::Request) => "a request",
            Self::Record(Kind::Command) => "the command",
            Self::Dyn => "JSON",
        })
    }
}
