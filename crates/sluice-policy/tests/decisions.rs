//! Golden decisions: every file under `testdata/decisions`.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_core::Fact;
use sluice_core::kubernetes::{Request, Scope};
use sluice_policy::cases::CaseFile;

#[test]
fn every_case_is_decided_as_expected() {
    let mut failures = Vec::new();
    let mut count = 0;
    for path in yaml_files("testdata/decisions") {
        let text = fs::read_to_string(&path).expect("a case file");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = CaseFile::parse(&name, &text).unwrap_or_else(|problem| panic!("{problem}"));
        let sources: Vec<(String, String)> = file
            .policies
            .iter()
            .map(|policy| {
                let path = path.parent().expect("a folder").join(policy);
                (policy.clone(), fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
            })
            .collect();
        let outcomes = file.run(&sources, &read_http).unwrap_or_else(|problems| panic!("{problems:#?}"));
        count += outcomes.len();
        for outcome in outcomes.into_iter().filter(|outcome| !outcome.holds()) {
            failures.push(format!(
                "{name}: {} ({})\n    {}\n{}",
                outcome.name,
                outcome.command,
                outcome.differences.join("\n    "),
                outcome.explanation
            ));
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 100, "only {count} cases were found");
}

/// Paths that are no resource: all that these cases ask for by HTTP.
fn read_http(method: &str, path: &str) -> Result<Request, String> {
    if path.starts_with("/api/v1/") || path.matches("/").count() > 5 {
        return Err(format!("`{path}` is a resource; write it as a line"));
    }
    Ok(Request {
        verb: method.to_lowercase(),
        scope: Scope::NonResource(path.to_owned()),
        method: method.to_owned(),
        path: path.to_owned(),
        label_selector: None,
        field_selector: None,
        dry_run: false,
        field_manager: None,
        user_agent: None,
        kubectl_command: None,
        impersonates: false,
        upgrades: false,
        patch: None,
        object: Fact::Known(None),
    })
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}
