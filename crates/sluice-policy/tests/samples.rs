//! The samples under `manifests/samples` are fine, and say what their cases
//! say.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_core::Workload;
use sluice_policy::cases::CaseFile;
use sluice_policy::{Documents, compile};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/samples")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn samples_compile() {
    let sources: Vec<(String, String)> = fs::read_dir(samples())
        .expect("manifests/samples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.display().to_string(), read(&path)))
        .collect();
    assert!(sources.len() >= 3, "{sources:?}");
    let documents = Documents::parse(&sources).unwrap_or_else(|problems| panic!("{problems:#?}"));
    compile(&documents, &Workload::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
}

#[test]
fn cases_of_the_samples_hold() {
    let folder = samples().join("cases");
    let path = folder.join("coding-agents.case.yaml");
    let file = CaseFile::parse("coding-agents.case.yaml", &read(&path)).unwrap_or_else(|problem| panic!("{problem}"));
    let sources: Vec<(String, String)> =
        file.policies.iter().map(|policy| (policy.clone(), read(&folder.join(policy)))).collect();
    let no_http = |_: &str, path: &str| Err(format!("`{path}`: these cases are written as lines"));
    let outcomes = file.run(&sources, &no_http).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let failing: Vec<_> = outcomes.iter().filter(|outcome| !outcome.holds()).collect();
    assert!(failing.is_empty(), "{failing:#?}");
}
