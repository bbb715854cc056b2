//! Makes the namespaces and their network, then starts process 1.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, bail};
use rustix::thread::{CapabilitySet, UnshareFlags};
use tokio::signal::unix::{SignalKind, signal};

use super::super::control::{Control, Message};
use super::super::{refusal, system};
use super::{INIT, network};

/// Answers the exit code of process 1, which is the command's.
pub(super) fn run(control: Control, command: &[OsString]) -> anyhow::Result<u8> {
    let Some((Message::Plan(plan), _)) = control.receive().context("receive the plan")? else {
        bail!("no plan came from `sluice run`");
    };
    system::unshare(
        UnshareFlags::NEWUSER
            | UnshareFlags::NEWNS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP,
    )
    .map_err(|error| anyhow::anyhow!("{}", refusal::of_namespaces(&error)))?;
    control.send(&Message::Unshared)?;
    match control.receive()? {
        Some((Message::Mapped, _)) => {}
        other => bail!("the user mapping was not written ({other:?})"),
    }
    keep_rights_across_exec().map_err(|error| anyhow::anyhow!("{}", refusal::of_namespaces(&error)))?;
    let sockets = network::build(&plan.nft).context("the network of the command")?;
    let descriptors = [sockets.tcp.as_fd(), sockets.dns_udp.as_fd(), sockets.dns_tcp.as_fd()];
    control.send_with(&Message::Listening, &descriptors)?;
    drop(sockets);
    // Only now: the first process started after this is process 1, and `nft`
    // was one.
    system::unshare(UnshareFlags::NEWPID).map_err(|error| anyhow::anyhow!("{}", refusal::of_namespaces(&error)))?;

    let number = control.keep_across_exec()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The terminal sends these to all of us. They are the command's;
        // the handlers only keep this process there to pass its exit code on.
        let _kept = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        let mut init = tokio::process::Command::new("/proc/self/exe")
            .arg(INIT)
            .arg(number.to_string())
            .arg("--")
            .args(command)
            .spawn()
            .context("start process 1 of the command's namespace")?;
        drop(control);
        let status = init.wait().await?;
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(2),
            (None, signal) => 128_u8.saturating_add(u8::try_from(signal.unwrap_or(0)).unwrap_or(0)),
        })
    })
}

/// A user that is not 0 in the new namespace would lose its rights there at
/// the next `exec`; ambient ones stay (capabilities(7)).
fn keep_rights_across_exec() -> std::io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = sets.permitted;
    rustix::thread::set_capabilities(None, sets)?;
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if sets.permitted.contains(one) {
            rustix::thread::configure_capability_in_ambient_set(one, true)?;
        }
    }
    Ok(())
}
