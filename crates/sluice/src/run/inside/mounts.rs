//! What the command sees of the file system.
//!
//! All of it is done in the command's own mount namespace by process 1 before
//! it gives up its rights. The order matters: folders become mounts of their
//! own first, then lose or keep their write permission, then are covered.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_move,
};

use super::super::OWN_FOLDER;
use super::super::environment::TrustFiles;
use super::super::plan::{Plan, is_replaced};
use super::super::system::mount_attributes;

/// Makes the command's view of the file system.
pub(super) fn build(plan: &Plan, certificates: &mut File) -> anyhow::Result<()> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).context("make mounts private")?;
    pin(plan)?;
    restrict(plan)?;
    processes().context(
        "mount /proc; in a container, part of it may be hidden (Docker: --security-opt systempaths=unconfined)",
    )?;
    let resolver = resolver_file()?;
    runtime(plan, certificates).context("mount /run")?;
    devices().context("mount /dev")?;
    name_resolution(resolver.as_deref()).context("put our resolver into /etc/resolv.conf")?;
    cover(plan)?;
    std::env::set_current_dir(&plan.working_folder)
        .with_context(|| format!("enter the working folder {}", plan.working_folder.display()))
}

fn pin(plan: &Plan) -> anyhow::Result<()> {
    for folder in plan.pins() {
        mount_bind_recursive(&folder, &folder).with_context(|| format!("hold {} in place", folder.display()))?;
    }
    Ok(())
}

/// Takes the write permission from what is not the command's.
fn restrict(plan: &Plan) -> anyhow::Result<()> {
    let everywhere = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    let system = if plan.system_read_only { everywhere | libc::MOUNT_ATTR_RDONLY } else { everywhere };
    mount_attributes(Path::new("/"), system, 0, true).context("restrict mounts (needs Linux 5.12 or newer)")?;
    if plan.system_read_only {
        for folder in plan.pins().iter().filter(|folder| plan.is_writable(folder)) {
            // What is mounted below a writable folder was writable or not by
            // its own setting; the kernel refuses to lift a read-only one, and
            // then only the folder itself is lifted.
            mount_attributes(folder, 0, libc::MOUNT_ATTR_RDONLY, true)
                .or_else(|_| mount_attributes(folder, 0, libc::MOUNT_ATTR_RDONLY, false))
                .with_context(|| format!("keep {} writable", folder.display()))?;
        }
    }
    for folder in &plan.read_only_folders {
        // Not of what lies below: the working folder may.
        mount_attributes(folder, libc::MOUNT_ATTR_RDONLY, 0, false)
            .with_context(|| format!("make {} read-only", folder.display()))?;
    }
    Ok(())
}

/// A `/proc` of this PID namespace; its switches of the whole machine are
/// read-only, since user 0 may write some of them without any capability.
fn processes() -> anyhow::Result<()> {
    mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    // No user namespaces in here: a command that could make one would have
    // every capability in it, and with them much more of the kernel's surface.
    fs::write("/proc/sys/user/max_user_namespaces", "0").context("close user namespaces")?;
    for name in ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"] {
        let path = Path::new("/proc").join(name);
        if path.exists() {
            mount_bind(&path, &path)?;
            mount_attributes(&path, libc::MOUNT_ATTR_RDONLY, 0, false)?;
        }
    }
    Ok(())
}

/// Where `/etc/resolv.conf` really is; `None` if there is none.
fn resolver_file() -> anyhow::Result<Option<PathBuf>> {
    let path = Path::new("/etc/resolv.conf");
    match fs::canonicalize(path) {
        Ok(real) => Ok(Some(real)),
        // A link to a file that is not there: systemd's, in an image.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fs::read_link(path)
            .ok()
            .map(|link| lexical(&Path::new("/etc").join(link)))
            .filter(|target| is_replaced(target))),
        Err(error) => Err(error).context("find /etc/resolv.conf"),
    }
}

/// `..` taken away without asking the file system, where the path is not.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// A fresh `/run`, with our files and the folders that programs expect.
fn runtime(plan: &Plan, certificates: &mut File) -> anyhow::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", "/run", "tmpfs", flags, c"mode=0755,size=64m")?;
    let legacy = Path::new("/var/run");
    if legacy.symlink_metadata().is_ok_and(|it| it.is_dir()) {
        mount_bind("/run", legacy)?;
    }
    fs::create_dir_all("/run/lock")?;
    symlink("/dev/shm", "/run/shm")?;
    if let Some(own) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && own.starts_with("/run/user")
        && own.components().all(|part| part != Component::ParentDir)
    {
        fs::create_dir_all(&own)?;
        fs::set_permissions(&own, Permissions::from_mode(0o700))?;
    }
    fs::create_dir(OWN_FOLDER)?;
    let mut text = Vec::new();
    certificates.read_to_end(&mut text).context("read the certificates")?;
    TrustFiles::inside().write(&text)?;
    for name in [RESOLVER, EMPTY] {
        File::create(name)?;
    }
    fs::write(RESOLVER, "# Every question ends at the gateway, whatever address is asked.\nnameserver 127.0.0.53\n")?;
    fs::set_permissions(EMPTY, Permissions::from_mode(0o000))?;
    // The working folder stays where it is when it lies in the old /run: that
    // was refused outside.
    debug_assert!(!is_replaced(&plan.working_folder));
    Ok(())
}

/// A `/dev` with what every program may have, and no device of the machine.
fn devices() -> anyhow::Result<()> {
    let stage = Path::new("/run/dev");
    fs::create_dir(stage)?;
    mount("tmpfs", stage, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=0755,size=1m")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let node = stage.join(name);
        File::create(&node)?;
        mount_bind(Path::new("/dev").join(name), &node).with_context(|| format!("/dev/{name}"))?;
        mount_attributes(&node, 0, libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_RDONLY, false)
            .with_context(|| format!("/dev/{name}"))?;
    }
    for folder in ["pts", "shm"] {
        fs::create_dir(stage.join(folder))?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", stage.join("pts"), "devpts", flags, c"newinstance,ptmxmode=0666,mode=0620")?;
    mount("tmpfs", stage.join("shm"), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, stage.join(link))?;
    }
    mount_move(stage, "/dev")?;
    fs::remove_dir(stage)?;
    Ok(())
}

fn name_resolution(resolver: Option<&Path>) -> anyhow::Result<()> {
    match resolver {
        Some(file) if is_replaced(file) => {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(RESOLVER, file)?;
        }
        Some(file) => mount_bind(RESOLVER, file)?,
        // Without the file, programs ask 127.0.0.1, which is turned as well.
        None => {}
    }
    Ok(())
}

/// Covers what the command must not see, and fixes what it must not write.
fn cover(plan: &Plan) -> anyhow::Result<()> {
    for file in plan.read_only_files.iter().filter(|file| !is_replaced(file)) {
        let doing = || format!("make {} read-only", file.display());
        mount_bind(file, file).with_context(doing)?;
        mount_attributes(file, libc::MOUNT_ATTR_RDONLY, 0, false).with_context(doing)?;
    }
    for folder in plan.hidden_folders.iter().filter(|folder| !is_replaced(folder)) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        mount("tmpfs", folder, "tmpfs", flags, c"mode=0555,size=4k")
            .with_context(|| format!("hide {}", folder.display()))?;
    }
    for file in plan.hidden_files.iter().filter(|file| !is_replaced(file)) {
        match mount_bind(EMPTY, file) {
            // It went, or this user cannot reach it: nothing to hide.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            hidden => hidden.with_context(|| format!("hide {}", file.display()))?,
        }
    }
    Ok(())
}

/// Our resolver file, in the fresh `/run`.
const RESOLVER: &str = "/run/sluice/resolv.conf";
/// An empty file to cover others with.
const EMPTY: &str = "/run/sluice/empty";
