use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::OutOfBounds;

/// Bytes of a filter, as the query of a request.
pub const MAX_FILTER_BYTES: usize = 8 * 1024;

/// One pod's trail at the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailSummary {
    /// UID of the pod.
    pub pod_uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its name, where a record says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// In the order of their making.
    pub epochs: Vec<EpochSummary>,
    /// No `end`, and nothing heard for too long.
    pub silent: bool,
    /// What the collector had acknowledged was found damaged or gone, and nobody
    /// has dealt with it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

/// One epoch of a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochSummary {
    /// Its id.
    pub epoch: Uuid,
    /// Its place in the trail, from 1.
    pub ordinal: u64,
    /// Leaves that are stored.
    pub leaves: u64,
    /// When the last batch came.
    pub last_heard: Timestamp,
    /// Whether its `end` is stored.
    pub ended: bool,
    /// Names of its files, below the trail's path.
    pub files: Vec<String>,
}

/// Which records are asked for. All that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RecordFilter {
    /// `id`, `provider:id` or Kubernetes user of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// UID of a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Namespace of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name or host of a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `allow` or `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// `rule` or `policy/rule`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Kinds of leaves, divided by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Somewhere in the record, whatever the case of ASCII letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The newest so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Stay, and send what comes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}

/// One line of an answer to [`RECORDS_PATH`](crate::RECORDS_PATH): a record, or
/// why the rest of an epoch cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordLine {
    /// UID of the pod.
    pub pod_uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The file it lies in, below the trail's path.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// Hash of the leaf; of a problem: empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// The leaf; of a problem: null.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub record: Value,
    /// Why there is no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl fmt::Display for RecordFilter {
    /// As the query of a request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, pod_uid, namespace, target, verdict, rule, kind, since, until, text, limit, follow } = self;
        let (since, until) = (since.map(|at| at.to_string()), until.map(|at| at.to_string()));
        let limit = limit.map(|limit| limit.to_string());
        let fields = [
            ("subject", subject),
            ("podUid", pod_uid),
            ("namespace", namespace),
            ("target", target),
            ("verdict", verdict),
            ("rule", rule),
            ("kind", kind),
            ("since", &since),
            ("until", &until),
            ("text", text),
            ("limit", &limit),
        ];
        let mut before = "";
        for (name, value) in fields {
            if let Some(value) = value {
                write!(f, "{before}{name}={}", utf8_percent_encode(value, ESCAPED))?;
                before = "&";
            }
        }
        if *follow {
            write!(f, "{before}follow=true")?;
        }
        Ok(())
    }
}

impl FromStr for RecordFilter {
    type Err = OutOfBounds;

    /// Reads the query: each field at most once, and none that is not known,
    /// since what is not understood would widen the answer.
    fn from_str(query: &str) -> Result<Self, OutOfBounds> {
        crate::bounds::bytes("query", query, MAX_FILTER_BYTES)?;
        let mut filter = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let wrong = |what| OutOfBounds::Form { field: "query", what };
            let (name, value) = pair.split_once('=').ok_or(wrong("must be of the form NAME=VALUE&…"))?;
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| wrong("must be UTF-8 where it is decoded"))?
                .into_owned();
            filter.set(name, value)?;
        }
        Ok(filter)
    }
}

impl RecordFilter {
    fn set(&mut self, name: &str, value: String) -> Result<(), OutOfBounds> {
        let time = |field| move |_| OutOfBounds::Form { field, what: "must be a time of RFC 3339" };
        match name {
            "subject" => once("subject", &mut self.subject, value),
            "podUid" => once("podUid", &mut self.pod_uid, value),
            "namespace" => once("namespace", &mut self.namespace, value),
            "target" => once("target", &mut self.target, value),
            "verdict" => once("verdict", &mut self.verdict, value),
            "rule" => once("rule", &mut self.rule, value),
            "kind" => once("kind", &mut self.kind, value),
            "since" => once("since", &mut self.since, value.parse().map_err(time("since"))?),
            "until" => once("until", &mut self.until, value.parse().map_err(time("until"))?),
            "text" => once("text", &mut self.text, value),
            "limit" => {
                let wrong = OutOfBounds::Form { field: "limit", what: "must be a whole number" };
                once("limit", &mut self.limit, value.parse().map_err(|_| wrong)?)
            }
            "follow" => {
                let wrong = OutOfBounds::Form { field: "follow", what: "must be true or false" };
                self.follow = value.parse().map_err(|_| wrong)?;
                Ok(())
            }
            _ => Err(OutOfBounds::Form {
                field: "query",
                what: "has a field that is not known; there are subject, podUid, namespace, target, verdict, rule, kind, since, until, text, limit and follow",
            }),
        }
    }
}

fn once<T>(field: &'static str, place: &mut Option<T>, value: T) -> Result<(), OutOfBounds> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(OutOfBounds::Form { field, what: "is in the query twice" }),
    }
}

/// RFC 3986, section 2.3: what is not escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
