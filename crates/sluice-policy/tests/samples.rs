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
    let parse =
        |sources: &[(String, String)]| Documents::parse(sources).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let refused = compile(&parse(&sources), &Workload::default()).expect_err("whose tenant is it?");
    let fields: Vec<&str> = refused.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(fields, ["spec.issuers[0]", "spec.issuers[1]", "spec.tenants[0]"], "{refused:#?}");
    let tenant = "9f0b3c0e-6a55-4d7e-9a44-2f3f5c1f6e11";
    let filled: Vec<(String, String)> = sources
        .into_iter()
        .map(|(name, text)| (name, text.replace("00000000-0000-0000-0000-000000000000", tenant)))
        .collect();
    compile(&parse(&filled), &Workload::default()).unwrap_or_else(|problems| panic!("{problems:#?}"));
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
