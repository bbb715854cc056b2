//! What the command may not do, whoever started it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use sluice_testkit::Seat;

use super::world::{World, both};

#[test]
fn no_capability_is_left_and_none_comes_back() -> Result<()> {
    both(|world| {
        world.holds(
            r#"
            is capabilities "0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000" \
                "$(echo $(sed -n 's/^Cap...:\t//p' /proc/self/status))"
            is no_new_privs 1 "$(sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)"
            is filter 2 "$(sed -n 's/^Seccomp:\t//p' /proc/self/status)"
            for kind in user net mount pid ipc uts cgroup; do
                refused unshare-$kind unshare --$kind true
            done
            refused unshare-root unshare --user --map-root-user --net --mount true
            refused rules nft list ruleset
            refused rules-path /usr/sbin/nft flush ruleset
            refused interface ip link set lo down
            refused address ip address add 10.1.2.3/32 dev lo
            refused hostname hostname elsewhere
            refused mount mount -t tmpfs none /mnt
            refused chroot chroot / true
            refused keyrings perl -e 'syscall(250, 0, -3, 0) >= 0 or exit 1'
            refused ring perl -e 'my $p = "\0" x 120; syscall(425, 4, $p) >= 0 or exit 1'
            "#,
        )
    })
}

#[test]
fn processes_outside_are_not_there_and_process_1_is_closed() -> Result<()> {
    both(|world| {
        let own = std::process::id();
        world.holds(&format!(
            r#"
            refused test-process kill -0 {own}
            is processes yes "$([ $(ls -d /proc/[0-9]* | wc -l) -lt 10 ] && echo yes)"
            for file in environ mem maps; do refused $file head -c 1 /proc/1/$file; done
            for link in exe cwd root ns/net ns/user ns/mnt; do refused $link readlink /proc/1/$link; done
            for number in 0 1 2 3 4 5 6 7 8 9 10 11; do
                refused descriptor-$number readlink /proc/1/fd/$number
                refused open-$number head -c 1 /proc/1/fd/$number
            done
            refused join nsenter --target 1 --net true
            refused join-all nsenter --target 1 --all true
            # ptrace(PTRACE_ATTACH, 1) and (PTRACE_SEIZE)
            refused attach perl -e 'syscall(101, 16, 1, 0, 0) == 0 or exit 1'
            refused seize perl -e 'syscall(101, 0x4206, 1, 0, 0) == 0 or exit 1'
            kill -TERM 1; kill -KILL 1; echo ok survived
            "#
        ))
    })
}

#[test]
fn another_network_namespace_cannot_be_joined_even_when_its_file_is_there() -> Result<()> {
    both(|world| {
        let file = Pinned::of(Path::new("/proc/self/ns/net"), world.path("work/outside-net"))?;
        ensure!(file.0.exists(), "no file");
        world.holds(
            r#"
            refused nsenter nsenter --net=$WORLD/work/outside-net true
            # setns(open(file), 0)
            is setns 1 "$(perl -e 'open(F, "<", "$ENV{WORLD}/work/outside-net") or exit 1; print syscall(308, fileno(F), 0) == 0 ? "JOINED" : $! + 0')"
            "#,
        )
    })
}

#[test]
fn ordinary_users_stay_who_they_are() -> Result<()> {
    let world = World::new(Seat::OrdinaryV6)?;
    world.holds("is user 65534:65534 $(id -u):$(id -g)\nrefused root_files cat /etc/shadow")?;
    let world = World::new(Seat::RootV4)?;
    world.holds("is user 0:0 $(id -u):$(id -g)\nis owners root $(stat -c %U /etc/passwd)\nrefused others setpriv --reuid 1 true")
}

/// A namespace kept alive by a mount, until dropped.
struct Pinned(PathBuf);

impl Pinned {
    fn of(namespace: &Path, file: PathBuf) -> Result<Self> {
        fs::write(&file, "")?;
        let status = Command::new("mount").arg("--bind").arg(namespace).arg(&file).status()?;
        ensure!(status.success(), "mount --bind {}: {status}", namespace.display());
        Ok(Self(file))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
