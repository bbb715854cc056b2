//! What the pod is, as the kubelet writes it into the projected volume.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sluice_core::{Intent, IntentSource, Workload};

/// Annotations that say what a run is for, and how each begins in a record.
pub(super) const INTENTS: [(&str, &str); 3] =
    [("sluice.dev/intent", ""), ("sluice.dev/run-id", "run: "), ("sluice.dev/triggered-by", "triggered by: ")];
/// Bytes of one intent.
const MAX_INTENT: usize = 1024;

/// A file of the projected volume is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}; mount the volume as the injected pod has it", path.display())]
pub(super) struct PodFileError {
    path: std::path::PathBuf,
    what: String,
}

/// Reads `name`, `namespace`, `uid`, `labels`; service account and node are told
/// by the environment, since no downward file has them.
pub(super) fn workload(folder: &Path, service_account: &str, node: &str) -> Result<Workload, PodFileError> {
    Ok(Workload {
        namespace: word(folder, "namespace")?,
        pod: word(folder, "name")?,
        uid: word(folder, "uid")?,
        service_account: service_account.to_owned(),
        node: node.to_owned(),
        labels: pairs(folder, "labels")?,
    })
}

/// Reads what the annotations declare.
pub(super) fn intents(folder: &Path) -> Result<Vec<Intent>, PodFileError> {
    let annotations = pairs(folder, "annotations")?;
    let declared = INTENTS.iter().filter_map(|(name, begins)| {
        let mut text = format!("{begins}{}", annotations.get(*name)?);
        text.truncate(text.floor_char_boundary(MAX_INTENT));
        Some(Intent { source: IntentSource::Workload, text })
    });
    Ok(declared.collect())
}

fn word(folder: &Path, name: &str) -> Result<String, PodFileError> {
    let text = read(folder, name)?;
    let word = text.trim();
    if word.is_empty() { Err(wrong(folder, name, "is empty".to_owned())) } else { Ok(word.to_owned()) }
}

fn pairs(folder: &Path, name: &str) -> Result<BTreeMap<String, String>, PodFileError> {
    let text = read(folder, name)?;
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| pair(line).ok_or_else(|| wrong(folder, name, format!("{line:?} is not KEY=\"VALUE\""))))
        .collect()
}

fn read(folder: &Path, name: &str) -> Result<String, PodFileError> {
    std::fs::read_to_string(folder.join(name)).map_err(|error: io::Error| wrong(folder, name, error.to_string()))
}

fn wrong(folder: &Path, name: &str, what: String) -> PodFileError {
    PodFileError { path: folder.join(name), what }
}

/// `key="value"`, the value quoted as Go quotes (`strconv.Quote`).
fn pair(line: &str) -> Option<(String, String)> {
    let (key, quoted) = line.split_once('=')?;
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escaped = match rest.next()? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            // A byte that is no character.
            'x' => {
                bytes.push(u8::try_from(hex(&mut rest, 2)?).ok()?);
                continue;
            }
            'u' => char::from_u32(hex(&mut rest, 4)?)?,
            'U' => char::from_u32(hex(&mut rest, 8)?)?,
            plain @ ('\\' | '"' | '\'') => plain,
            _ => return None,
        };
        bytes.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some((key.to_owned(), String::from_utf8_lossy(&bytes).into_owned()))
}

fn hex(rest: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    let text: String = rest.by_ref().take(digits).collect();
    if text.len() == digits { u32::from_str_radix(&text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downward_files_are_read_as_the_kubelet_writes_them() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, text) in [
            ("namespace", "agents"),
            ("name", "coder-0"),
            ("uid", "6f1c"),
            ("labels", "app=\"coder\"\nempty=\"\""),
            (
                "annotations",
                "other=\"{\\\"a\\\":1}\\n\"\nsluice.dev/intent=\"fix \\u00e4 \\\"bug\\\"\"\nsluice.dev/run-id=\"r=7\"\n",
            ),
        ] {
            std::fs::write(folder.path().join(name), text).expect("write");
        }
        let workload = workload(folder.path(), "coder", "node1").expect("workload");
        assert_eq!(
            (workload.namespace.as_str(), workload.pod.as_str(), workload.uid.as_str()),
            ("agents", "coder-0", "6f1c")
        );
        assert_eq!((workload.service_account.as_str(), workload.node.as_str()), ("coder", "node1"));
        assert_eq!(workload.labels.get("app").map(String::as_str), Some("coder"));
        assert_eq!(workload.labels.get("empty").map(String::as_str), Some(""));
        let texts: Vec<_> = intents(folder.path()).expect("intents").into_iter().map(|intent| intent.text).collect();
        assert_eq!(texts, ["fix \u{e4} \"bug\"", "run: r=7"]);
    }

    #[test]
    fn what_is_quoted_otherwise_is_said() {
        let folder = tempfile::tempdir().expect("folder");
        for line in ["a", "a=b", "a=\"", "a=\"\\q\"", "a=\"\\x1\"", "a=\"\\ud800\""] {
            std::fs::write(folder.path().join("labels"), line).expect("write");
            let error = pairs(folder.path(), "labels").expect_err(line).to_string();
            assert!(error.contains("labels") && error.contains("KEY="), "{error}");
        }
        assert_eq!(pair(r#"a="\xc3\xa4""#), Some(("a".into(), "ä".into())));
    }
}
