//! Policy, trail and what else of the file system is out of reach.

use std::fs;
use std::os::unix::net::UnixListener;

use anyhow::{Result, ensure};
use sluice_testkit::{LONG, Seat, eventually, run};

use super::world::{World, both, text};

#[test]
fn the_policy_cannot_be_edited_or_replaced() -> Result<()> {
    both(|world| {
        world.holds(
            r##"
            refused append bash -c 'echo "# evil" >> $WORLD/policy/policy.yaml'
            refused new_file touch $WORLD/policy/more.yaml
            refused remove rm -f $WORLD/policy/policy.yaml
            refused permissions chmod 666 $WORLD/policy/policy.yaml
            refused move_folder mv $WORLD/policy $WORLD/elsewhere
            refused move_above mv $WORLD $WORLD-elsewhere
            mkdir $WORLD/work/p
            # renameat2(…, RENAME_EXCHANGE)
            refused exchange perl -e 'syscall(316, -100, "$ENV{WORLD}/work/p", -100, "$ENV{WORLD}/policy", 2) == 0 or exit 1'
            refused link ln $WORLD/policy/policy.yaml $WORLD/work/link
            refused unmount umount $WORLD/policy
            refused remount mount -o remount,rw,bind $WORLD/policy
            refused own_mounts unshare --user --map-root-user --mount true
            is still_there yes "$(grep -q isolation $WORLD/policy/policy.yaml && echo yes)"
            refused certificates bash -c 'echo >> $WORLD/ca/upstream.pem'
            refused more_certificates mv $WORLD/ca $WORLD/elsewhere
            refused program rm -f $WORLD/sluice
            refused move_program mv $WORLD/sluice $WORLD/work/elsewhere
            touch $WORLD/work/writable && echo ok work
            "##,
        )
    })
}

#[test]
fn an_edit_outside_does_not_open_the_policy_inside() -> Result<()> {
    both(|world| {
        let script = r#"
            echo ready
            read -r _ < $WORLD/work/fifo
            grep -q edited $WORLD/policy/policy.yaml || echo UNSEEN
            { echo evil >> $WORLD/policy/policy.yaml; } 2>/dev/null && echo WROTE
            touch $WORLD/policy/new.yaml 2>/dev/null && echo MADE
            echo end"#;
        world.fifo()?;
        let mut process = world.start(script)?;
        process.line("readiness", |line| (line == "ready").then_some(()))?;
        // As editors do: a new file in the old one's place.
        let (file, fresh) = (world.path("policy/policy.yaml"), world.path("policy/.fresh"));
        fs::write(&fresh, format!("{}# edited\n", fs::read_to_string(&file)?))?;
        world.seat.own(&fresh)?;
        fs::rename(&fresh, &file)?;
        fs::write(world.path("work/fifo"), "edited\n")?;
        process.line("end", |line| (line == "end").then_some(()))?;
        let finished = process.wait()?;
        ensure!(finished.stdout == "ready\nend\n", "{}", finished.stdout);
        Ok(())
    })
}

#[test]
fn an_edit_outside_is_followed_by_the_same_gateway() -> Result<()> {
    both(|world| {
        let ask = "curl -s -o /dev/null -w '%{http_code}' --max-time 60 https://api.cluster.example/version";
        let script = format!("while read -r number; do echo answer $number $({ask}); done < $WORLD/work/fifo");
        world.fifo()?;
        let mut process = world.start(&script)?;
        let mut commands = fs::File::options().write(true).open(world.path("work/fifo"))?;
        let mut number = 0;
        let mut ask = |process: &mut sluice_testkit::Process| -> Result<String> {
            number += 1;
            std::io::Write::write_all(&mut commands, format!("{number}\n").as_bytes())?;
            let answer = format!("answer {number} ");
            process.line("answer", |line| line.strip_prefix(&answer).map(str::to_owned))
        };
        let first = ask(&mut process)?;
        ensure!(first == "200", "before: {first} {}", process.stderr());
        let file = world.path("policy/policy.yaml");
        let fresh = world.path("fresh.yaml");
        fs::write(&fresh, fs::read_to_string(&file)?.replace("action: Allow", "action: Deny"))?;
        world.seat.own(&fresh)?;
        fs::rename(&fresh, &file)?;
        eventually("the edited policy", || {
            let answer = ask(&mut process)?;
            ensure!(answer == "403", "{answer}");
            Ok(())
        })?;
        drop(commands);
        let status = process.ended(LONG)?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
}

#[test]
fn the_trail_is_not_seen() -> Result<()> {
    both(|world| {
        world.holds(
            r#"
            is hidden "" "$(ls -A $WORLD/trail)"
            refused write touch $WORLD/trail/x
            refused move mv $WORLD/trail $WORLD/elsewhere
            refused remove rmdir $WORLD/trail
            refused unmount umount $WORLD/trail
            "#,
        )?;
        ensure!(fs::read_dir(world.path("trail"))?.count() > 0, "the gateway wrote no trail");
        Ok(())
    })
}

/// The next run must not be able to forget the one before.
#[test]
fn trails_of_earlier_runs_are_not_seen() -> Result<()> {
    both(|world| {
        let mut folder = world.path("work");
        for name in [".local", "state", "sluice", "trails", "earlier"] {
            folder.push(name);
            fs::create_dir(&folder)?;
            world.seat.own(&folder)?;
        }
        fs::write(folder.join("leaves"), "what was done")?;
        world.seat.own(&folder.join("leaves"))?;
        world.holds(
            r#"
            is hidden "" "$(find $HOME/.local/state/sluice/trails -type f)"
            refused write touch $HOME/.local/state/sluice/trails/x
            refused move mv $HOME/.local/state/sluice $HOME/elsewhere
            refused remove rm -r $HOME/.local/state/sluice/trails
            "#,
        )?;
        ensure!(fs::read_to_string(folder.join("leaves"))? == "what was done", "the earlier trail has changed");
        // Without --trail, this run's own trail is made beside the earlier one.
        let policy = format!("--policy={}", text(&world.path("policy")));
        let mut command = world.seat.command(world.path("sluice"));
        command.current_dir(world.path("work")).env("HOME", world.path("work")).env_remove("XDG_STATE_HOME");
        command.args(["run", "--namespace", "agents", &policy, "--"]);
        command.args(["bash", "-c", "find $HOME/.local/state/sluice/trails -type f; echo end"]);
        let finished = run(&mut command)?;
        ensure!(finished.stdout == "end\n", "{finished:?}");
        Ok(())
    })
}

/// A socket file can be connected to from every network namespace.
#[test]
fn sockets_of_another_network_namespace_are_hidden() -> Result<()> {
    let world = World::new(Seat::RootV4)?;
    let path = world.path("work/daemon.sock");
    let script = r#"use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die "$!"; $|=1; print "ready\n"; sleep 60 while 1"#;
    let mut daemon = std::process::Command::new("unshare");
    daemon.args(["--net", "perl", "-e", script]).arg(&path);
    let mut process = sluice_testkit::Process::start(&mut daemon)?;
    process.line("a listening daemon", |line| (line == "ready").then_some(()))?;
    let finished = world.inside(
        r#"perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new("daemon.sock") ? "CONNECTED\n" : "refused\n"'"#,
    )?;
    ensure!(finished.stdout == "refused\n", "{finished:?}");
    Ok(())
}

#[test]
fn a_policy_beside_the_work_is_taken_as_it_is_and_said() -> Result<()> {
    both(|world| {
        let file = world.path("work/policy.yaml");
        fs::copy(world.path("policy/policy.yaml"), &file)?;
        world.seat.own(&file)?;
        let script =
            "echo evil >> policy.yaml && echo WROTE; curl -s --max-time 60 https://api.cluster.example/version";
        let finished = run(&mut world.sluice(&["--policy", "policy.yaml"], &["bash", "-c", script]))?;
        ensure!(finished.stdout.contains(super::world::HELLO) && !finished.stdout.contains("WROTE"), "{finished:?}");
        ensure!(finished.stderr.contains("edits are not followed"), "{}", finished.stderr);
        Ok(())
    })
}

#[test]
fn what_cannot_be_protected_is_refused() -> Result<()> {
    both(|world| {
        let policy = format!("--policy={}", text(&world.path("policy")));
        let finished = run(&mut world.sluice_with_trail(&world.path("work"), &[&policy], &["true"]))?;
        ensure!(finished.status.code() == Some(2), "{finished:?}");
        ensure!(finished.stderr.contains("--trail") && finished.stderr.contains("of its own"), "{}", finished.stderr);
        Ok(())
    })
}

#[test]
fn sockets_and_files_of_others_are_hidden() -> Result<()> {
    both(|world| {
        let _socket = UnixListener::bind(world.path("work/agent.sock"))?;
        fs::set_permissions(world.path("work/agent.sock"), std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let token = world.path("work/token");
        fs::write(&token, "the workload's token")?;
        world.seat.own(&token)?;
        let policy = format!("--policy={}", text(&world.path("policy")));
        let script = r#"
            perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new("agent.sock") ? "CONNECTED\n" : "refused\n"'
            cat token 2>/dev/null
            echo "agent=$SSH_AUTH_SOCK bus=$DBUS_SESSION_BUS_ADDRESS docker=$DOCKER_HOST"
            ls /run; test -e /var/run/docker.sock && echo DOCKER"#;
        let mut command = world.sluice(&[&policy, "--token-file", "token"], &["bash", "-c", script]);
        command
            .env("SSH_AUTH_SOCK", "/x")
            .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
            .env("DOCKER_HOST", "unix:///x");
        let finished = run(&mut command)?;
        ensure!(
            finished.stdout == "refused\nagent= bus= docker=\nlock\nmount\nshm\nsluice\n"
                || finished.stdout == "refused\nagent= bus= docker=\nlock\nshm\nsluice\n",
            "{finished:?}"
        );
        Ok(())
    })
}

#[test]
fn root_writes_only_where_it_works() -> Result<()> {
    let world = World::new(Seat::RootV4)?;
    world.holds(
        r#"
        for place in /etc /usr /usr/bin /var/lib /root-of-all /opt /boot /sys /etc/cron.d; do
            refused $place touch $place/sluice-was-here
        done
        for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /sys/kernel/uevent_helper /proc/sysrq-trigger; do
            refused $file bash -c "echo x > $file"
        done
        refused devices mknod $WORLD/work/disk b 254 0
        refused own_device mknod $WORLD/work/null c 1 3
        is devices "full null random tty urandom zero" "$(for file in /dev/*; do [ -c "$file" ] && [ ! -L "$file" ] && basename "$file"; done | sort | paste -sd ' ')"
        is blocks "" "$(find /dev -type b)"
        touch $WORLD/work/x /tmp/$$.sluice-test /dev/shm/x && rm /tmp/$$.sluice-test && echo ok writable
        "#,
    )
}

#[test]
fn a_named_folder_stays_writable_for_root() -> Result<()> {
    let world = World::new(Seat::RootV4)?;
    let more = tempfile::Builder::new().prefix("sluice-more-").tempdir_in("/var/lib")?;
    let (policy, more) = (format!("--policy={}", text(&world.path("policy"))), text(more.path()));
    let script = format!("touch {more}/x");
    let refused = run(&mut world.sluice(&[&policy], &["bash", "-c", &script]))?;
    ensure!(!refused.status.success(), "written without --writable");
    let written = run(&mut world.sluice(&[&policy, "--writable", &more], &["bash", "-c", &script]))?;
    ensure!(written.status.success(), "{written:?}");
    Ok(())
}
