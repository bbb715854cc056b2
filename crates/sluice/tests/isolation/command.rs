//! Exit codes, signals, the terminal, descriptors: the command as it is
//! without us.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sluice_testkit::{ASK_JAVA, LONG, Process, Seat, run};

use super::world::{HELLO, World, both, lines, text};

#[test]
fn the_exit_code_is_the_commands() -> Result<()> {
    both(|world| {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 0", 137)] {
            let finished = world.inside(script)?;
            ensure!(finished.status.code() == Some(code), "{script}: {} {}", finished.status, finished.stderr);
        }
        let policy = format!("--policy={}", text(&world.path("policy")));
        fs::write(world.path("work/plain"), "no program")?;
        for (command, code) in [("no-such-command", 127), ("./plain", 126)] {
            let finished = run(&mut world.sluice(&[&policy], &[command]))?;
            ensure!(finished.status.code() == Some(code), "{command}: {}", finished.status);
            ensure!(finished.stderr.contains(command), "{}", finished.stderr);
        }
        Ok(())
    })
}

#[test]
fn signals_reach_the_command() -> Result<()> {
    both(|world| {
        for name in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"] {
            let script = format!("trap 'echo got {name}; exit 9' {name}; echo ready; sleep 1000 & wait");
            let mut process = world.start(&script)?;
            process.line("readiness", |line| (line == "ready").then_some(()))?;
            process.signal(name)?;
            process.line("answer to the signal", |line| (line == format!("got {name}")).then_some(()))?;
            let status = process.ended(LONG)?;
            ensure!(status.code() == Some(9), "{name}: {status}");
        }
        Ok(())
    })
}

#[test]
fn nothing_outlives_the_command_or_the_gateway() -> Result<()> {
    both(|world| {
        // What stays behind holds the pipe open: its end is the event.
        let finished = world.inside("(setsid sleep 1000) & disown; echo done")?;
        ensure!(lines(&finished) == ["done"], "{finished:?}");

        let mut process = world.start("setsid sleep 1000 & echo ready; wait")?;
        process.line("readiness", |line| (line == "ready").then_some(()))?;
        process.signal("KILL")?;
        process.ended(LONG)?;
        let finished = process.wait()?;
        ensure!(lines(&finished) == ["ready"], "{finished:?}");
        Ok(())
    })
}

#[test]
fn the_trail_has_an_end_and_verifies_with_the_key_that_was_written() -> Result<()> {
    both(|world| {
        let key = text(&world.path("work/trail.pub"));
        let policy = format!("--policy={}", text(&world.path("policy")));
        let script = format!("echo forged > {key} || exit 3");
        let finished = run(&mut world.sluice(&[&policy, "--key-out", &key], &["bash", "-c", &script]))?;
        ensure!(finished.status.code() == Some(3), "the command wrote the key: {finished:?}");
        let verified =
            run(Command::new(world.path("sluice")).args(["audit", "verify", "--key", &key]).arg(world.path("trail")))?;
        ensure!(verified.status.code() == Some(0), "{verified:?}");
        let verified = run(Command::new(world.path("sluice")).args(["audit", "verify"]).arg(world.path("policy")))?;
        ensure!(verified.status.code() != Some(0), "a folder without a trail is whole: {verified:?}");
        Ok(())
    })
}

#[test]
fn the_command_has_the_terminal() -> Result<()> {
    both(|world| {
        let script = "test -t 0 && test -t 1 && echo on a terminal; read -r line < /dev/tty; echo read $line; exit 4";
        let line: Vec<String> = [world.shell(script)]
            .iter()
            .flat_map(|command| {
                std::iter::once(command.get_program())
                    .chain(command.get_args())
                    .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
            })
            .collect();
        // script(1) makes a terminal and types what it reads.
        let mut command = Command::new("script");
        command.current_dir(world.path("work")).args(["-qec", &line.join(" "), "/dev/null"]);
        let mut terminal = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .env("HOME", world.path("work"))
            .spawn()
            .context("script(1), of the package bsdutils")?;
        let mut keyboard = terminal.stdin.take().context("keyboard")?;
        std::io::Write::write_all(&mut keyboard, b"typed\n")?;
        let output = terminal.wait_with_output()?;
        let shown = String::from_utf8_lossy(&output.stdout);
        ensure!(shown.contains("on a terminal") && shown.contains("read typed"), "{shown}");
        ensure!(output.status.code() == Some(4), "{} {shown}", output.status);
        Ok(())
    })
}

#[test]
fn descriptors_of_the_caller_are_not_passed_on() -> Result<()> {
    both(|world| {
        let secret = world.path("secret");
        fs::write(&secret, "of the caller")?;
        let held = File::open(&secret)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&held);
        // A shell that holds the file at descriptor 9 starts us.
        let inner = world.shell("ls -l /proc/self/fd /proc/$$/fd");
        let mut outer = Command::new("bash");
        outer.args([
            "-c",
            &format!("exec 9</proc/{}/fd/{number}; cd {}; exec \"$@\"", std::process::id(), text(&world.path("work"))),
        ]);
        outer.arg("bash").arg(inner.get_program()).args(inner.get_args());
        outer.env("HOME", world.path("work"));
        let finished = run(&mut outer)?;
        ensure!(finished.status.success(), "{finished:?}");
        ensure!(!finished.stdout.contains("secret") && !finished.stdout.contains("socket:"), "{}", finished.stdout);
        Ok(())
    })
}

#[test]
fn without_isolation_only_when_told_to() -> Result<()> {
    both(|world| {
        let policy = format!("--policy={}", text(&world.path("policy")));
        let script = r#"echo "$SLUICE_LISTEN"; address=${SLUICE_LISTEN#*=}; curl -sS --max-time 60 --connect-to "api.cluster.example:443:${address%:*}:${address##*:}" https://api.cluster.example/version; store=${JAVA_TOOL_OPTIONS#*trustStore=}; test -s "${store%% *}" && exit 5"#;
        let finished = run(&mut world.sluice(&[&policy, "--no-isolation"], &["bash", "-c", script]))?;
        ensure!(finished.status.code() == Some(5), "{finished:?}");
        ensure!(finished.stdout.starts_with("api.cluster.example:443=127.0.0.1:"), "{finished:?}");
        ensure!(finished.stdout.contains(HELLO), "{finished:?}");
        ensure!(finished.stderr.contains("no isolation"), "{finished:?}");
        Ok(())
    })
}

#[test]
fn java_programs_trust_the_gateway() -> Result<()> {
    both(|world| {
        fs::write(world.path("work/Ask.java"), ASK_JAVA)?;
        let ask = "java Ask.java https://api.cluster.example/version";
        let finished = run(world.shell(ask).env("JAVA_TOOL_OPTIONS", "-Dkept=yes"))?;
        ensure!(finished.status.success() && finished.stdout.starts_with("200\n"), "{finished:?}");
        ensure!(finished.stdout.contains(HELLO), "{finished:?}");
        // The JVM says what it was told.
        let told = "-Dkept=yes -Djavax.net.ssl.trustStore=/run/sluice/java.p12";
        ensure!(finished.stderr.contains(told), "{finished:?}");

        let untold = world.inside(&format!("unset JAVA_TOOL_OPTIONS; {ask}"))?;
        ensure!(!untold.status.success() && untold.stderr.contains("PKIX path building failed"), "{untold:?}");

        let own = "-Djavax.net.ssl.trustStore=/own.p12";
        let refused = run(world.shell("echo started").env("JAVA_TOOL_OPTIONS", own))?;
        ensure!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{refused:?}");
        ensure!(refused.stderr.contains("JAVA_TOOL_OPTIONS names a trust store"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn every_refusal_names_the_flag_and_the_fix() -> Result<()> {
    let world = World::new(Seat::OrdinaryV6)?;
    let policy = text(&world.path("policy"));
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--policy", "/nowhere/p.yaml"], &["--policy", "/nowhere/p.yaml", "No such file"]),
        (&["--policy", &policy, "--map", "x"], &["--map", "HOST[:PORT]=IP:PORT"]),
        (&["--policy", &policy, "--labels", "x"], &["--labels", "KEY=VALUE"]),
        (&["--policy", &policy, "--token-file", "/nowhere/t"], &["--token-file", "/nowhere/t"]),
        (&["--policy", &policy, "--key-out", "/nowhere/k"], &["--key-out", "/nowhere/k", "make it first"]),
        (&[], &["--policy"]),
    ];
    for (options, words) in cases {
        let finished = run(&mut world.sluice(options, &["true"]))?;
        ensure!(finished.status.code() == Some(2), "{options:?}: {finished:?}");
        for word in words {
            ensure!(finished.stderr.contains(word), "{options:?}: no {word} in {}", finished.stderr);
        }
    }
    Ok(())
}

#[test]
fn a_policy_that_does_not_compile_starts_nothing() -> Result<()> {
    let world = World::new(Seat::OrdinaryV6)?;
    let bad = world.path("policy/bad.yaml");
    fs::write(&bad, "apiVersion: sluice.dev/v1alpha1\nkind: GatewayPolice\nmetadata: {name: x}\nspec: {}\n")?;
    let mut process = Process::start(&mut world.shell("echo started"))?;
    let status = process.ended(LONG)?;
    let finished = process.wait()?;
    ensure!(status.code() == Some(2) && finished.stdout.is_empty(), "{finished:?}");
    ensure!(finished.stderr.contains("GatewayPolice") && finished.stderr.contains("bad.yaml"), "{}", finished.stderr);
    Ok(())
}
