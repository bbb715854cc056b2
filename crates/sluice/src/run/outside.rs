//! The process outside: the gateway, and the command's way to the terminal
//! and back.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, bail};
use sluice_core::Workload;
use sluice_gateway::{Gateway, GatewayOptions, Listener};

use super::control::{Control, Message};
use super::environment::{self, TrustFiles};
use super::inside::{INSIDE, find_nft};
use super::protect::{Protected, protect};
use super::signals::Signals;
use super::terminal::Terminal;
use super::{RunArgs, bypassable, system};

/// Runs the command of `args`; its exit code.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    log();
    if args.no_isolation {
        return bypassable::run(args);
    }
    let Some(nft) = find_nft() else {
        bail!(
            "`nft` is not on this machine; the command's network needs it (Debian: apt-get install nftables). `--no-isolation` runs the command without a network of its own"
        );
    };
    let mut protected = protect(args, rustix::process::geteuid().is_root(), nft)?;
    if let Some(key) = &args.key_out {
        protected.plan.read_only_files.push(place_of("--key-out", key)?);
    }
    for notice in &protected.notices {
        eprintln!("sluice run: {notice}");
    }
    // Before the first thread: the inner end stays open across exec, and no
    // other program may be started meanwhile.
    let (control, inner) = Control::pair()?;
    let mut inside = start_inside(&inner, &args.command)?;
    drop(inner);
    let outcome = serve(args, &protected, control, inside.id());
    if outcome.is_err() {
        // Only a process that waits for us; what it made ends with it.
        inside.kill().ok();
    }
    let status = inside.wait().context("wait for the command")?;
    outcome.map(|code| code.unwrap_or_else(|| exit_code(status)))
}

/// What the gateway has to say goes to standard error; `SLUICE_LOG` says how
/// much of it.
fn log() {
    let level = tracing_subscriber::EnvFilter::try_from_env("SLUICE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time();
    // Only a second call could fail, and there is none.
    lines.try_init().ok();
}

fn start_inside(inner: &Control, command: &[std::ffi::OsString]) -> anyhow::Result<Child> {
    let number = inner.keep_across_exec()?;
    let mut inside = Command::new("/proc/self/exe");
    inside.arg(INSIDE).arg(number.to_string()).arg("--").args(command);
    TrustFiles::inside().tell(&mut inside, |name| std::env::var_os(name))?;
    environment::detach(&mut inside);
    inside.spawn().context("start a process for the command (is /proc mounted?)")
}

/// Everything between the start of the process inside and its end. Closing
/// `control`, which happens on every way out of here, ends what is inside.
fn serve(args: &RunArgs, protected: &Protected, control: Control, inside: u32) -> anyhow::Result<Option<u8>> {
    let plan = || Message::Plan(Box::new(protected.plan.clone()));
    say(&control, &plan(), &[])?;
    expect(&control, |message| matches!(message, Message::Unshared))?;
    map_user(inside).context("map this user into the command's namespace")?;
    say(&control, &Message::Mapped, &[])?;
    let sockets = expect(&control, |message| matches!(message, Message::Listening))?;
    let Ok([tcp, dns_udp, dns_tcp]) = <[OwnedFd; 3]>::try_from(sockets) else {
        bail!("the command's namespace sent no sockets");
    };
    let bundle = protected.own.path().join("ca-bundle.pem");
    let options = GatewayOptions {
        listeners: vec![Listener::Transparent(TcpListener::from(tcp))],
        dns: Some((UdpSocket::from(dns_udp), TcpListener::from(dns_tcp))),
        ..options(args, protected.policy.clone(), protected.trail.clone(), bundle.clone())?
    };
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let gateway = Gateway::start(options).await?;
        let outcome = async {
            say(&control, &plan(), &[])?;
            let mut terminal = Terminal::open()?;
            let go = Message::Go { foreground: terminal.give_at_start() };
            say(&control, &go, &[certificates(&bundle)?.as_fd()])?;
            attend(control, &mut signals, &mut terminal).await
        }
        .await;
        gateway.shutdown().await.context("end the trail")?;
        outcome
    })
}

/// Passes signals to the command until it ended; `None` when its process must
/// be asked.
async fn attend(control: Control, signals: &mut Signals, terminal: &mut Terminal) -> anyhow::Result<Option<u8>> {
    control.nonblocking()?;
    let messages = system::readable(control)?;
    loop {
        tokio::select! {
            // Where it cannot be sent, the command has ended: `readable` says so.
            number = signals.next() => messages.get_ref().send(&Message::Signal(number)).unwrap_or_default(),
            message = terminal.resumed() => messages.get_ref().send(&message).unwrap_or_default(),
            ready = messages.readable() => {
                let mut ready = ready?;
                match ready.try_io(|control| control.get_ref().receive()) {
                    Ok(received) => match received.context("control socket")? {
                        Some((Message::Exited(code), _)) => return Ok(Some(code)),
                        Some((Message::Stopped(signal), _)) => {
                            if let Some(answer) = terminal.stopped(signal) {
                                messages.get_ref().send(&answer).unwrap_or_default();
                            }
                        }
                        Some((Message::Failed(why), _)) => bail!("the command cannot be isolated: {why}"),
                        Some((other, _)) => bail!("unexpected message {other:?}"),
                        None => return Ok(None),
                    },
                    Err(_would_block) => {}
                }
            }
        }
    }
}

/// Sends a message; where nobody listens any more, the reason that was left.
fn say(control: &Control, message: &Message, descriptors: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
    let Err(error) = control.send_with(message, descriptors) else { return Ok(()) };
    loop {
        match control.receive() {
            Ok(Some((Message::Failed(why), _))) => bail!("the command cannot be isolated: {why}"),
            Ok(Some(_)) => {}
            // What was sent before and never read makes the socket say "reset"
            // once; what the other side said is behind it.
            Err(reset) if reset.kind() == io::ErrorKind::ConnectionReset => {}
            Ok(None) | Err(_) => return Err(error).context("the process that isolates the command ended early"),
        }
    }
}

/// The next message, which must be as `wanted`; its descriptors.
fn expect(control: &Control, wanted: fn(&Message) -> bool) -> anyhow::Result<Vec<OwnedFd>> {
    match control.receive().context("control socket")? {
        Some((message, descriptors)) if wanted(&message) => Ok(descriptors),
        Some((Message::Failed(why), _)) => bail!("the command cannot be isolated: {why}"),
        Some((other, _)) => bail!("unexpected message {other:?}"),
        None => bail!("the process that isolates the command ended early"),
    }
}

/// Writes the mapping of users and groups: for root all that root has here,
/// each to itself; else only the caller, to itself.
fn map_user(inside: u32) -> io::Result<()> {
    let process = PathBuf::from(format!("/proc/{inside}"));
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if user == 0
        && let (Ok(users), Ok(groups)) = (identity("/proc/self/uid_map"), identity("/proc/self/gid_map"))
        && fs::write(process.join("gid_map"), groups).is_ok()
    {
        return fs::write(process.join("uid_map"), users);
    }
    fs::write(process.join("setgroups"), "deny")?;
    fs::write(process.join("gid_map"), format!("{group} {group} 1"))?;
    fs::write(process.join("uid_map"), format!("{user} {user} 1"))
}

/// The ids that this process knows, each mapped to itself.
fn identity(map: &str) -> io::Result<String> {
    let mut lines = String::new();
    for line in fs::read_to_string(map)?.lines() {
        // first id inside, first id outside, how many
        if let [first, _, count] = line.split_whitespace().collect::<Vec<_>>()[..] {
            lines.push_str(&format!("{first} {first} {count}\n"));
        }
    }
    Ok(lines)
}

/// What is the same with and without isolation; no listener yet.
pub(super) fn options(
    args: &RunArgs,
    policy: Vec<PathBuf>,
    trail: PathBuf,
    ca_out: PathBuf,
) -> anyhow::Result<GatewayOptions> {
    Ok(GatewayOptions {
        policy,
        trail,
        workload: workload(args),
        intent: args.intent.clone(),
        maps: args.map.clone(),
        listeners: Vec::new(),
        dns: None,
        token_file: args.token_file.clone(),
        ca_out: Some(ca_out),
        key_out: args.key_out.as_deref().map(|key| place_of("--key-out", key)).transpose()?,
        admin: None,
        pod: None,
    })
}

/// The command as policy sees it.
pub(super) fn workload(args: &RunArgs) -> Workload {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    args.stands_for.workload(host, uuid::Uuid::now_v7().to_string())
}

/// The gateway's certificates with the caller's own, ready to be read.
fn certificates(bundle: &Path) -> anyhow::Result<File> {
    let merged = environment::merged_certificates(fs::read(bundle)?, |name| std::env::var_os(name));
    fs::write(bundle, merged)?;
    File::open(bundle).context("certificates for the command")
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the gateway's threads")
}

/// The real path of a file that is still to be written.
fn place_of(flag: &str, file: &Path) -> anyhow::Result<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(folder), Some(name)) = (fs::canonicalize(folder), file.file_name()) else {
        bail!("{flag} {}: its folder is not there; make it first", file.display());
    };
    Ok(folder.join(name))
}

/// As shells answer.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
