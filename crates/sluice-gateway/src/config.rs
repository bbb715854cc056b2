//! Policy out of files: read at start, looked at twice a second, taken whole
//! or not at all. What does not compile changes nothing: the last good policy
//! stays in force, until it is older than it allows itself to be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sluice_core::Workload;
use sluice_policy::{Compiled, Documents, Problem};

/// How often files are looked at.
pub(crate) const POLL: Duration = Duration::from_millis(500);
const MAX_FILES: usize = 256;

/// Why no policy could be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// No `--policy` at all.
    #[error("no policy: give at least one --policy FILE or --policy DIR; without one every command would be denied")]
    NoneGiven,
    /// A file or folder cannot be read.
    #[error("--policy {}: {cause}; give a readable YAML file, or a folder of *.yaml files", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A folder without policy files, or files without documents.
    #[error("--policy {}: holds no policy; put at least one GatewayPolicy document into it", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Documents that are wrong.
    #[error("policy does not compile, {} to mend:{}", count(.0), lines(.0))]
    Invalid(Vec<Problem>),
}

/// The files that policy is read from.
#[derive(Debug, Clone)]
pub(crate) struct PolicyFiles {
    paths: Vec<PathBuf>,
    workload: Workload,
}

/// What tells one state of the files from another without reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, Option<Stamp>)>);

impl Fingerprint {
    /// Of what is in no file.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamped = |path: PathBuf| {
            let stamp = stamp(&path).ok();
            (path, stamp)
        };
        Self(paths.into_iter().map(stamped).collect())
    }

    /// The present state of the CA bundles that `compiled` refers to.
    pub(crate) fn bundles(compiled: &Compiled) -> Self {
        let targets = compiled.targets().iter().filter_map(|target| target.ca_bundle.clone());
        let providers = compiled.providers().iter().filter_map(|provider| provider.ca_bundle.clone());
        Self::of(targets.chain(providers))
    }
}

type Stamp = (u64, SystemTime, u64);

impl PolicyFiles {
    /// Files and folders, as the command line gives them.
    pub(crate) fn new(paths: Vec<PathBuf>, workload: Workload) -> Self {
        Self { paths, workload }
    }

    /// Reads and compiles everything.
    pub(crate) fn load(&self) -> Result<Compiled, PolicyError> {
        if self.paths.is_empty() {
            return Err(PolicyError::NoneGiven);
        }
        let mut sources = Vec::new();
        for path in &self.paths {
            let files = files(path).map_err(|cause| PolicyError::Unreadable { path: path.clone(), cause })?;
            if files.is_empty() {
                return Err(PolicyError::Empty { path: path.clone() });
            }
            for file in files {
                let text = text(&file).map_err(|cause| PolicyError::Unreadable { path: file.clone(), cause })?;
                sources.push((file.display().to_string(), text));
            }
        }
        let documents = Documents::parse(&sources).map_err(PolicyError::Invalid)?;
        if documents.is_empty() {
            let path = self.paths.first().cloned().unwrap_or_default();
            return Err(PolicyError::Empty { path });
        }
        sluice_policy::compile(&documents, &self.workload).map_err(PolicyError::Invalid)
    }

    /// The files and folders, for records.
    pub(crate) fn names(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.display().to_string()).collect()
    }

    /// The present state of the files.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut all = self.paths.clone();
        for path in &self.paths {
            all.extend(files(path).unwrap_or_default());
        }
        Fingerprint::of(all)
    }
}

/// The file itself, or the YAML and JSON files of a folder by name. Names that
/// begin with a dot are left out (mounted ConfigMaps keep their data there).
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let known =
            file.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if known && !hidden && fs::metadata(&file)?.is_file() {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(io::Error::other(format!("holds more than {MAX_FILES} policy files")));
        }
    }
    files.sort();
    Ok(files)
}

fn text(file: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let limit = sluice_policy::MAX_SOURCE_BYTES as u64 + 1;
    fs::File::open(file)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path)?;
    Ok((metadata.len(), metadata.modified()?, metadata.ino()))
}

fn count(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "1 thing".to_owned(),
        more => format!("{more} things"),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_yaml_files_in_order() {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["b.yaml", "a.yml", "c.json", ".hidden.yaml", "notes.txt"] {
            fs::write(folder.path().join(name), "").expect("write");
        }
        let names: Vec<_> = files(folder.path())
            .expect("files")
            .iter()
            .map(|file| file.file_name().expect("name").to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["a.yml", "b.yaml", "c.json"]);
    }

    #[test]
    fn nothing_to_read_is_said() {
        let folder = tempfile::tempdir().expect("folder");
        let load = |paths: Vec<PathBuf>| PolicyFiles::new(paths, Workload::default()).load().expect_err("no policy");
        assert!(load(vec![]).to_string().contains("--policy FILE"));
        assert!(load(vec![folder.path().to_owned()]).to_string().contains("holds no policy"));
        let missing = load(vec![folder.path().join("missing.yaml")]).to_string();
        assert!(missing.contains("missing.yaml"), "{missing}");
    }

    #[test]
    fn a_replaced_file_is_another_state() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("policy.yaml");
        fs::write(&file, "a").expect("write");
        let policy = PolicyFiles::new(vec![file.clone()], Workload::default());
        let before = policy.fingerprint();
        assert_eq!(before, policy.fingerprint());
        fs::write(folder.path().join("new"), "b").expect("write");
        fs::rename(folder.path().join("new"), &file).expect("rename");
        assert_ne!(before, policy.fingerprint());
    }
}
