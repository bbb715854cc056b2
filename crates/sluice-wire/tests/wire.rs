//! What is written is read back; what is too large or half is not read.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{from_str, json, to_string};
use sluice_wire::{
    BatchStart, Code, Config, ConfigLine, Document, EnrolRequest, Identity, IngestRefusal, RecordFilter, Refusal,
    Report, ReportedProblem,
};

fn config() -> Config {
    Config {
        revision: "0123456789abcdef".to_owned(),
        documents: vec![Document { name: "GatewayPolicy/agents/coder".to_owned(), yaml: "a: 1\n".to_owned() }],
        bundles: BTreeMap::from([("agents/ca/ca.crt".to_owned(), "PEM".to_owned())]),
        labels: BTreeMap::from([("app".to_owned(), "coder".to_owned())]),
    }
}

#[test]
fn a_heartbeat_is_an_empty_object() {
    assert_eq!(to_string(&ConfigLine::Heartbeat).unwrap(), "{}");
    assert_eq!(from_str::<ConfigLine>("{}").unwrap(), ConfigLine::Heartbeat);
}

#[test]
fn a_config_has_the_words_of_the_contract() {
    let line = serde_json::to_value(ConfigLine::Config(config())).unwrap();
    assert_eq!(
        line,
        json!({
            "revision": "0123456789abcdef",
            "documents": [{"name": "GatewayPolicy/agents/coder", "yaml": "a: 1\n"}],
            "bundles": {"agents/ca/ca.crt": "PEM"},
            "selectorLabels": {"app": "coder"},
        })
    );
}

#[test]
fn fields_of_a_newer_version_are_skipped() {
    let line: ConfigLine = from_str(r#"{"revision":"a","documents":[],"later":true}"#).unwrap();
    assert!(matches!(line, ConfigLine::Config(config) if config.revision == "a"));
    let refusal: Refusal = from_str(r#"{"code":"Later","message":"m","fix":"f"}"#).unwrap();
    assert_eq!(refusal.code, Code::Other);
    assert_eq!(from_str::<IngestRefusal>(r#"{"code":"later"}"#).unwrap(), IngestRefusal::Other);
}

#[test]
fn half_a_config_is_no_heartbeat() {
    for text in [
        r#"{"revision":"a"}"#,
        r#"{"documents":[]}"#,
        r#"{"bundles":{"a/b/c":"x"}}"#,
        r#"{"selectorLabels":{"a":"b"}}"#,
        r#"{"revision":"","documents":[]}"#,
        r#"{"revision":"two words","documents":[]}"#,
    ] {
        assert!(from_str::<ConfigLine>(text).is_err(), "{text}");
    }
}

#[test]
fn a_bundle_never_leads_out_of_its_folder() {
    for name in ["", "a", "a/b", "a/b/c/d", "../b/c", "a/../c", "/b/c", "a//c", "a/b/", "a/b/..", "a/b/c\u{0}"] {
        let text = json!({"revision": "a", "documents": [], "bundles": {name: "PEM"}}).to_string();
        assert!(from_str::<ConfigLine>(&text).is_err(), "{name:?}");
    }
}

#[test]
fn what_is_too_large_is_named() {
    let long = json!({"csr": "x".repeat(16 * 1024 + 1)}).to_string();
    let error = from_str::<EnrolRequest>(&long).unwrap_err().to_string();
    assert!(error.contains("`csr` has 16385 bytes; at most 16384 are taken"), "{error}");
    let documents: Vec<_> = (0..257).map(|i| json!({"name": i.to_string(), "yaml": ""})).collect();
    let many = json!({"revision": "a", "documents": documents}).to_string();
    let error = from_str::<ConfigLine>(&many).unwrap_err().to_string();
    assert!(error.contains("`documents` has 257 entries"), "{error}");
}

#[test]
fn a_report_is_cut_to_what_is_taken() {
    let problem = ReportedProblem { document: String::new(), path: String::new(), message: "ä".repeat(5000) };
    let report =
        Report { revision: "a".into(), compiled: false, problems: vec![problem; 100], version: "0.1.0".into() };
    assert!(from_str::<Report>(&to_string(&report).unwrap()).is_err());
    let cut = report.within_bounds();
    assert_eq!(from_str::<Report>(&to_string(&cut).unwrap()).unwrap(), cut);
}

#[test]
fn identities_have_one_spelling() {
    for id in [
        "spiffe://sluice.local/ns/agents/sa/default/pod/0b4c0d6a-6a0b-4c52-9f3a-0f8a6f0f6a11",
        "spiffe://sluice.local/control",
        "spiffe://corp.example/collector",
    ] {
        assert_eq!(id.parse::<Identity>().unwrap().to_string(), id);
    }
    for id in [
        "",
        "spiffe://",
        "spiffe:///control",
        "https://sluice.local/control",
        "spiffe://sluice.local/control/",
        "spiffe://sluice.local/Control",
        "spiffe://sluice.local//control",
        "spiffe://sluice.local/ns/a/sa/b/pod",
        "spiffe://sluice.local/ns/a/sa/b/pod/",
        "spiffe://sluice.local/ns/a/sa/b/pod/..",
        "spiffe://sluice.local/ns/a/sa/b/pod/c/control",
        "spiffe://sluice.local/ns/a%2fb/sa/b/pod/c",
        "spiffe://sluice.local/control?x",
    ] {
        assert!(id.parse::<Identity>().is_err(), "{id}");
    }
}

#[test]
fn a_batch_says_once_where_it_begins() {
    let start: BatchStart =
        "offset=7&epoch=00000000-0000-0000-0000-000000000001&ordinal=2&rest=false&segment=3".parse().unwrap();
    assert_eq!((start.offset, start.ordinal, start.segment, start.rest), (7, 2, 3, false));
    assert_eq!(start.to_string().parse::<BatchStart>().unwrap(), start);
    let good = start.to_string();
    for (from, to) in [
        ("offset=7", "offset=%2b7"),
        ("offset=7", "offset=+7"),
        ("offset=7", "offset=7&offset=7"),
        ("segment=3", "segment=0"),
        ("ordinal=2", "number=2"),
        ("rest=false", "rest=no"),
        ("epoch=0", "epoch=x"),
        (good.as_str(), ""),
    ] {
        let query = good.replace(from, to);
        assert!(query.parse::<BatchStart>().is_err(), "{query}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,256}") {
        let _ = from_str::<ConfigLine>(&text);
        let _ = from_str::<Report>(&text);
        let _ = text.parse::<Identity>();
        let _ = text.parse::<BatchStart>();
    }

    #[test]
    fn what_is_written_is_read_back(
        revision in "[!-~]{1,64}",
        documents in proptest::collection::vec((".{0,40}", ".{0,200}"), 0..8),
        labels in proptest::collection::btree_map("[a-z./-]{1,20}", ".{0,20}", 0..8),
    ) {
        let documents = documents.into_iter().map(|(name, yaml)| Document { name, yaml }).collect();
        let line = ConfigLine::Config(Config { revision, documents, bundles: BTreeMap::new(), labels });
        prop_assert_eq!(from_str::<ConfigLine>(&to_string(&line).unwrap()).unwrap(), line);
    }

    #[test]
    fn an_identity_that_is_read_is_written_the_same(text in "spiffe://[a-z.A-Z/-]{0,60}") {
        if let Ok(identity) = text.parse::<Identity>() {
            prop_assert_eq!(identity.to_string(), text);
        }
    }
}

#[test]
fn a_filter_comes_back_from_its_query() {
    let filter = RecordFilter {
        subject: Some("entra:a&b=c".into()),
        text: Some("50 % ü + \n".into()),
        since: Some("2026-12-01T08:00:00Z".parse().unwrap()),
        limit: Some(10),
        follow: true,
        ..RecordFilter::default()
    };
    let query = filter.to_string();
    assert!(!query.contains(' ') && query.matches('&').count() == 4, "{query}");
    assert_eq!(query.parse::<RecordFilter>().unwrap(), filter);
    assert_eq!("".parse::<RecordFilter>().unwrap(), RecordFilter::default());
    assert_eq!(RecordFilter::default().to_string(), "");
}

#[test]
fn a_filter_that_is_not_understood_is_no_filter() {
    for query in [
        "subject",
        "subjects=a",
        "subject=a&subject=b",
        "since=yesterday",
        "limit=-1",
        "follow=yes",
        "text=%ff",
        "pod_uid=a",
    ] {
        assert!(query.parse::<RecordFilter>().is_err(), "{query}");
    }
    let long = format!("text={}", "a".repeat(8 * 1024));
    assert!(long.parse::<RecordFilter>().unwrap_err().to_string().contains("at most 8192"));
}
