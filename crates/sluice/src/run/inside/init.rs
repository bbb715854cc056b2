//! Process 1 of the command's PID namespace: starts the command, passes
//! signals on, says when it stops, reaps what is left behind. When it ends, the kernel ends
//! everything in the namespace.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

use super::super::control::{Control, Message};
use super::super::{refusal, system};
use super::{confine, mounts};

/// Answers the command's exit code.
pub(super) fn run(control: Control, command: &[OsString]) -> anyhow::Result<u8> {
    confine::bind_to_parent().context("bind process 1 to its parent")?;
    let Some((Message::Plan(plan), _)) = control.receive().context("receive the plan")? else {
        bail!("no plan came from `sluice run`");
    };
    let Some((Message::Go { foreground }, descriptors)) = control.receive().context("wait for the gateway")? else {
        bail!("the gateway did not start");
    };
    let mut certificates = File::from(descriptors.into_iter().next().context("no certificates came")?);
    mounts::build(&plan, &mut certificates).map_err(explain)?;
    drop(certificates);
    confine::give_up()?;
    system::close_on_exec_from_3().context("close inherited descriptors (needs Linux 5.11 or newer)")?;

    control.nonblocking()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control = system::readable(control)?;
        let code = supervise(&control, command, foreground).await?;
        control.get_ref().send(&Message::Exited(code)).ok();
        Ok(code)
    })
}

/// Adds what may be wrong with the machine to a refusal of rights.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let denied = error
        .downcast_ref::<io::Error>()
        .map(io::Error::kind)
        .or_else(|| error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.kind()))
        == Some(io::ErrorKind::PermissionDenied);
    if denied {
        let hint = refusal::of_namespaces(&io::ErrorKind::PermissionDenied.into());
        error.context(hint)
    } else {
        error
    }
}

async fn supervise(messages: &AsyncFd<Control>, command: &[OsString], foreground: bool) -> anyhow::Result<u8> {
    let [program, arguments @ ..] = command else { bail!("no command") };
    let mut ended = signal(SignalKind::child())?;
    // A process group of its own: a signal to "my group" must not reach ours,
    // which has processes outside.
    let child = match Command::new(program).args(arguments).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("sluice: cannot start {}: {error}", program.to_string_lossy());
            // As shells answer.
            return Ok(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the command's process id")?;
    system::ignore_terminal_stop();
    if foreground {
        go_on(child, true);
    }
    loop {
        tokio::select! {
            _ = ended.recv() => {
                if let Some(code) = reap(child, messages.get_ref())? {
                    return Ok(code);
                }
            }
            ready = messages.readable() => {
                let mut ready = ready?;
                match ready.try_io(|control| control.get_ref().receive()) {
                    Ok(Ok(Some((Message::Signal(number), _)))) => {
                        if let Some(signal) = Signal::from_named_raw(number) {
                            // It may just have ended: then there is nobody to tell.
                            kill_process(child, signal).ok();
                        }
                    }
                    Ok(Ok(Some((Message::Continue { foreground }, _)))) => go_on(child, foreground),
                    Ok(Ok(Some((other, _)))) => bail!("unexpected message {other:?}"),
                    // The gateway is gone: so is the only way out, and all in here.
                    Ok(Ok(None)) => return Ok(128 + 9),
                    Ok(Err(error)) => return Err(error).context("control socket"),
                    Err(_would_block) => {}
                }
            }
        }
    }
}

/// Lets the command go on, at the terminal where it is to own it.
fn go_on(command: Pid, foreground: bool) {
    if foreground && let Ok(terminal) = File::open("/dev/tty") {
        rustix::termios::tcsetpgrp(terminal, command).ok();
    }
    // It may just have ended: then there is nobody to wake.
    kill_process_group(command, Signal::CONT).ok();
}

/// Collects every process that ended; the command's exit code once it did.
fn reap(command: Pid, control: &Control) -> anyhow::Result<Option<u8>> {
    loop {
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == command => match status.stopping_signal() {
                Some(signal) => control.send(&Message::Stopped(signal))?,
                None => return Ok(Some(exit_code(status))),
            },
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for processes"),
        }
    }
}

/// As shells answer: the code, or 128 and the signal's number.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
