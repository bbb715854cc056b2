//! Which files of the caller the command may not see or write.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::RunArgs;
use super::outside::workload;
use super::plan::{Plan, is_replaced};

/// The plan, and the files as the gateway is to use them.
#[derive(Debug)]
pub(super) struct Protected {
    pub(super) plan: Plan,
    /// What the gateway reads policy from.
    pub(super) policy: Vec<PathBuf>,
    /// The trail's folder, made.
    pub(super) trail: PathBuf,
    /// A folder of our own for what the gateway writes; hidden as well.
    pub(super) own: TempDir,
    /// What the caller should know.
    pub(super) notices: Vec<String>,
}

/// Decides on every path. Makes the trail's folder.
///
/// # Errors
/// When a path is not there, or what the caller asks for cannot be protected.
pub(super) fn protect(args: &RunArgs, root: bool, nft: PathBuf) -> anyhow::Result<Protected> {
    let working_folder = std::env::current_dir().and_then(fs::canonicalize).context("working folder")?;
    if is_replaced(&working_folder) {
        bail!(
            "the working folder {} lies in a folder that the command gets a fresh one of; start in another",
            working_folder.display()
        );
    }
    let own = tempfile::Builder::new().prefix("sluice-run-").tempdir().context("make a folder of our own")?;
    let mut notices = Vec::new();
    let writable = writable(args, &working_folder)?;
    if root && !writable.contains(&working_folder) {
        notices
            .push("the working folder is /, which root's command cannot write; name folders by --writable".to_owned());
    }
    let mut plan = Plan { system_read_only: root, working_folder, writable, nft, ..Plan::default() };

    let trail = trail(args, &mut notices)?;
    if let Some(used) = [&plan.working_folder].into_iter().chain(&plan.writable).find(|used| used.starts_with(&trail)) {
        bail!(
            "--trail {}: the command uses {}, so the trail cannot be hidden from it; give the trail a folder of its own",
            trail.display(),
            used.display()
        );
    }
    let mut policy = Vec::new();
    for (index, given) in args.policy.iter().enumerate() {
        let real = existing("--policy", given)?;
        if real.starts_with(&trail) {
            bail!("--policy {}: lies in the trail's folder; keep policy elsewhere", given.display());
        }
        policy.push(fix_policy(&mut plan, given, real, &own.path().join(format!("policy-{index}")), &mut notices)?);
    }
    for bundle in bundles(args)? {
        fix_bundle(&mut plan, bundle);
    }
    if let Some(file) = &args.token_file {
        plan.hidden_files.push(existing("--token-file", file)?);
    }
    // The next run must not be by a program that the command wrote.
    plan.read_only_files.extend(std::env::current_exe().and_then(fs::canonicalize).ok());
    plan.hidden_folders = vec![fs::canonicalize(own.path())?];
    // What earlier runs did is no more the command's than what this one does.
    let earlier = default_trails().and_then(|folder| fs::canonicalize(folder).ok()).filter(|folder| {
        folder.is_dir()
            && ![&plan.working_folder].into_iter().chain(&plan.writable).any(|used| used.starts_with(folder))
    });
    match earlier {
        // A folder inside a hidden one is hidden.
        Some(earlier) if trail.starts_with(&earlier) => plan.hidden_folders.push(earlier),
        Some(earlier) if earlier.starts_with(&trail) => plan.hidden_folders.push(trail.clone()),
        earlier => plan.hidden_folders.extend(earlier.into_iter().chain([trail.clone()])),
    }
    plan.hidden_files.extend(sockets(&fs::read_to_string("/proc/net/unix").unwrap_or_default()));
    plan.hidden_files.extend(sockets_elsewhere());
    Ok(Protected { plan, policy, trail, own, notices })
}

/// Fixes a policy file or folder for the command; answers what the gateway is
/// to read.
///
/// A cover over a single file does not hold: when an editor outside replaces
/// the file, the kernel takes the cover away. So the whole folder becomes
/// read-only, or, where the command needs that folder, the gateway reads a
/// copy that no one edits.
fn fix_policy(
    plan: &mut Plan,
    given: &Path,
    real: PathBuf,
    copy: &Path,
    notices: &mut Vec<String>,
) -> anyhow::Result<PathBuf> {
    let is_folder = real.is_dir();
    let mut files = if is_folder { policy_files(&real)? } else { vec![real.clone()] };
    let mut folders: Vec<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_path_buf).collect();
    if is_folder {
        folders.push(real.clone());
    }
    folders.sort();
    folders.dedup();
    if folders.iter().all(|folder| !needed(plan, folder)) {
        plan.read_only_folders.extend(folders);
        return Ok(real);
    }
    notices.push(format!(
        "--policy {}: the command may write its folder, so the policy is taken as it is now and edits are not followed; to have them followed, keep it in a folder of its own",
        given.display()
    ));
    fs::create_dir(copy)?;
    let mut target = copy.to_path_buf();
    for file in &files {
        let Some(name) = file.file_name() else { continue };
        target = copy.join(name);
        fs::copy(file, &target).with_context(|| format!("--policy {}", file.display()))?;
    }
    plan.read_only_files.append(&mut files);
    Ok(if is_folder { copy.to_path_buf() } else { target })
}

/// Files of certificates that the policy names. Reads the policy, so what is
/// wrong with it is said before anything is built.
fn bundles(args: &RunArgs) -> anyhow::Result<Vec<PathBuf>> {
    let compiled = crate::policy::read(&args.policy, &workload(args))?;
    let targets = compiled.targets().iter().filter_map(|target| target.ca_bundle.clone());
    let providers = compiled.providers().iter().filter_map(|provider| provider.ca_bundle.clone());
    Ok(targets.chain(providers).filter_map(|file| fs::canonicalize(file).ok()).collect())
}

/// The command must not choose whom the gateway believes.
fn fix_bundle(plan: &mut Plan, file: PathBuf) {
    match file.parent() {
        Some(folder) if !needed(plan, folder) => plan.read_only_folders.push(folder.to_path_buf()),
        _ => plan.read_only_files.push(file),
    }
}

/// Whether the command needs to write `folder` itself.
fn needed(plan: &Plan, folder: &Path) -> bool {
    folder == Path::new("/")
        || is_replaced(folder)
        || folder == plan.working_folder
        || plan.writable.iter().any(|it| it == folder)
}

/// The files of a policy folder, links followed.
fn policy_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("--policy {}", folder.display()))? {
        let path = entry?.path();
        let extension = path.extension().unwrap_or_default();
        if ["yaml", "yml", "json"].iter().any(|it| extension == *it)
            && let Ok(real) = fs::canonicalize(&path)
            && real.is_file()
        {
            files.push(real);
        }
    }
    Ok(files)
}

/// Folders that the command may write: where it works, where programs keep
/// their caches, and what the caller names.
fn writable(args: &RunArgs, working_folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let usual = ["HOME", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let mut folders: Vec<PathBuf> = usual
        .chain(["/tmp", "/var/tmp"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .filter_map(|folder| fs::canonicalize(folder).ok())
        .chain([working_folder.to_path_buf()])
        .collect();
    for folder in &args.writable {
        folders.push(existing("--writable", folder)?);
    }
    folders.retain(|folder| folder.is_dir() && folder != Path::new("/") && !is_replaced(folder));
    folders.sort();
    folders.dedup();
    Ok(folders)
}

fn existing(flag: &str, path: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(path)
        .map_err(|error| anyhow::anyhow!("{flag} {}: {error}; give a path that exists", path.display()))
}

pub(super) fn trail(args: &RunArgs, notices: &mut Vec<String>) -> anyhow::Result<PathBuf> {
    let folder = match &args.trail {
        Some(folder) => folder.clone(),
        None => {
            let folder = default_trail()?;
            notices.push(format!("the trail is in {}", folder.display()));
            folder
        }
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.and_then(|()| fs::canonicalize(&folder)).map_err(|error| {
        anyhow::anyhow!("--trail {}: {error}; give a folder that can be made and written", folder.display())
    })
}

/// A folder for this run alone: a trail has one writer at a time.
fn default_trail() -> anyhow::Result<PathBuf> {
    let Some(trails) = default_trails() else {
        bail!("--trail is needed where neither XDG_STATE_HOME nor HOME is set");
    };
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    Ok(trails.join(format!("{now}-{}", std::process::id())))
}

/// Where the trails of runs without `--trail` are.
fn default_trails() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.or_else(home)?.join("sluice/trails"))
}

/// Sockets of programs in other network namespaces: their files know none.
/// Asked of every process that this user may look at; a path there may be one
/// of another root, so only what is a socket here too counts.
fn sockets_elsewhere() -> Vec<PathBuf> {
    let mut seen: BTreeSet<PathBuf> = fs::read_link("/proc/self/ns/net").into_iter().collect();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()) {
        // One of somebody else, or one that ended, is not looked at.
        if fs::read_link(process.join("ns/net")).is_ok_and(|namespace| seen.insert(namespace)) {
            let table = fs::read_to_string(process.join("net/unix")).unwrap_or_default();
            let here = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
            found.extend(sockets(&table).into_iter().filter(here));
        }
    }
    found
}

/// Paths of sockets out of `/proc/net/unix`: each is a program outside that
/// might do for the command what it may not do itself. Those in folders that
/// are fresh inside are hidden with them.
fn sockets(table: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = table
        .lines()
        .skip(1)
        // Num RefCount Protocol Flags Type St Inode Path; a path may hold spaces.
        .filter_map(|line| line.find(" /").and_then(|at| line.get(at + 1..)))
        .map(PathBuf::from)
        .filter(|path| !is_replaced(path))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_with_a_path_are_found_once() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000: 00000002 00000000 00010000 0001 01 1 /tmp/tmux-0/default\n\
            0000: 00000003 00000000 00000000 0001 03 2 /tmp/tmux-0/default\n\
            0000: 00000002 00000000 00010000 0001 01 3 @abstract\n\
            0000: 00000002 00000000 00010000 0001 01 4 /run/docker.sock\n\
            0000: 00000002 00000000 00010000 0001 01 5\n\
            0000: 00000002 00000000 00010000 0001 01 6 /home/a b/s\n";
        assert_eq!(sockets(table), ["/home/a b/s", "/tmp/tmux-0/default"].map(PathBuf::from));
    }

    #[test]
    fn a_policy_in_a_folder_of_its_own_is_followed_and_fixed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("policy");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("p.yaml");
        fs::write(&file, "x").unwrap();
        let mut plan = Plan { working_folder: home.path().into(), ..Plan::default() };
        let mut notices = Vec::new();
        let read = fix_policy(&mut plan, &file, file.clone(), &home.path().join("copy"), &mut notices).unwrap();
        assert_eq!((read, plan.read_only_folders, notices.len()), (file, vec![folder], 0));
    }

    #[test]
    fn a_policy_in_the_working_folder_is_copied_and_said() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("p.yaml");
        fs::write(&file, "before").unwrap();
        let mut plan = Plan { working_folder: home.path().into(), ..Plan::default() };
        let mut notices = Vec::new();
        let copy = home.path().join("copy");
        let read = fix_policy(&mut plan, &file, file.clone(), &copy, &mut notices).unwrap();
        fs::write(&file, "after").unwrap();
        assert_eq!(fs::read_to_string(&read).unwrap(), "before");
        assert_eq!((read, plan.read_only_files), (copy.join("p.yaml"), vec![file]));
        assert!(notices[0].contains("edits are not followed"));
    }

    #[test]
    fn links_out_of_a_policy_folder_are_followed_to_what_must_be_fixed() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let (folder, elsewhere) = (home.join("policy"), home.join("elsewhere"));
        for made in [&folder, &elsewhere] {
            fs::create_dir(made).unwrap();
        }
        fs::write(elsewhere.join("real.yaml"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("real.yaml"), folder.join("p.yaml")).unwrap();
        let mut plan = Plan { working_folder: "/somewhere".into(), ..Plan::default() };
        fix_policy(&mut plan, &folder, folder.clone(), &home.join("copy"), &mut Vec::new()).unwrap();
        assert_eq!(plan.read_only_folders, [elsewhere, folder]);
    }
}
