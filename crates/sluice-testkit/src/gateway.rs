use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustls::RootCertStore;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Client, Finished, Process, Protocol, Raw, Request, Response, Seat, Trail, binaries, pki, run};

/// A gateway process with a folder of its own.
///
/// ```text
/// FOLDER/policy/*.yaml   what it may do        FOLDER/trail   what it did
/// FOLDER/ca.pem          whom clients trust    FOLDER/key.pem  who signed the trail
/// ```
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    home: Home,
    arguments: Vec<String>,
    ready: Value,
    addresses: BTreeMap<String, SocketAddr>,
}

/// A gateway that is about to start.
#[derive(Debug)]
pub struct Builder {
    home: Home,
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    around: Vec<String>,
}

/// A gateway that refused to start.
pub type Refused = Finished;

#[derive(Debug)]
struct Home {
    folder: TempDir,
    seat: Seat,
}

impl Gateway {
    /// Where it listens for `HOST:PORT`.
    ///
    /// # Errors
    /// When it does not.
    pub fn address(&self, target: &str) -> Result<SocketAddr> {
        self.addresses
            .get(target)
            .copied()
            .with_context(|| format!("no listener for {target}; there are {:?}", self.addresses))
    }

    /// What it said when it was ready.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The process itself.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process itself, to wait for its end.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.home.folder.path()
    }

    /// The file of the roots that its clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.home.file("ca.pem")
    }

    /// The roots that its clients trust.
    ///
    /// # Errors
    /// When it wrote none.
    pub fn roots(&self) -> Result<RootCertStore> {
        pki::roots(&self.ca_file())
    }

    /// A client of `HOST:PORT` through this gateway.
    ///
    /// # Errors
    /// When it cannot connect.
    pub fn client(&self, protocol: Protocol, target: &str) -> Result<Client> {
        Client::connect(protocol, self.address(target)?, host_of(target), &self.roots()?)
    }

    /// A raw HTTP/1.1 connection to `HOST:PORT` through this gateway.
    ///
    /// # Errors
    /// When it cannot connect.
    pub fn raw(&self, target: &str) -> Result<Raw> {
        Raw::tls(self.address(target)?, host_of(target), &self.roots()?, &["http/1.1"])
    }

    /// A raw connection on which HTTP/2 was agreed.
    ///
    /// # Errors
    /// When it cannot connect, or HTTP/2 is not spoken.
    pub fn raw_h2(&self, target: &str) -> Result<Raw> {
        let raw = Raw::tls(self.address(target)?, host_of(target), &self.roots()?, &["h2"])?;
        anyhow::ensure!(raw.alpn().as_deref() == Some("h2"), "the gateway does not speak h2");
        Ok(raw)
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, target: &str, request: &Request) -> Result<Response> {
        self.client(Protocol::Http1, target)?.send(request)
    }

    /// Writes a policy file in one step, as an editor that renames does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<()> {
        self.home.write_policy(name, text)
    }

    /// The trail, and the keys of every gateway that wrote to it.
    pub fn trail(&self) -> Trail {
        self.home.trail()
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmRSS`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .with_context(|| format!("{path} has no {field}"))?;
        line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field}:{line}"))
    }

    /// Ends it with SIGTERM and keeps the folder for another.
    ///
    /// # Errors
    /// When it does not end, or not with 0.
    pub fn stop(mut self) -> Result<Builder> {
        self.process.signal("TERM")?;
        let status = self.process.ended(crate::LONG)?;
        if !status.success() {
            bail!("the gateway ended with {status}\n{}", self.process.stderr());
        }
        self.again()
    }

    /// Ends it with SIGKILL, where it still runs, and keeps the folder for
    /// another.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(mut self) -> Result<Builder> {
        if !self.process.is_over()? {
            self.process.signal("KILL")?;
        }
        self.process.ended(crate::LONG)?;
        self.again()
    }

    /// The same gateway once more, over the same folder and trail.
    fn again(self) -> Result<Builder> {
        let mut builder = Builder::over(self.home)?;
        builder.arguments = self.arguments;
        Ok(builder)
    }
}

impl Builder {
    /// A gateway with an empty policy folder, run from that seat.
    ///
    /// # Errors
    /// When the program does not build, or there is no room for its folder.
    pub fn new(seat: Seat) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluice-e2e-").tempdir()?;
        let home = Home { folder, seat };
        fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o755))?;
        for name in ["policy", "trail"] {
            fs::create_dir(home.file(name))?;
            seat.own(&home.file(name))?;
        }
        seat.own(home.folder.path())?;
        Self::over(home)
    }

    fn over(home: Home) -> Result<Self> {
        let binary = home.install(binaries::gateway()?, "sluice-gateway")?;
        let arguments =
            [("--policy", "policy"), ("--trail", "trail"), ("--ca-out", "ca.pem"), ("--key-out", "key.pem")];
        let mut arguments: Vec<_> = arguments
            .iter()
            .flat_map(|(flag, name)| [(*flag).to_owned(), home.file(name).display().to_string()])
            .collect();
        arguments.push("--ready-json".to_owned());
        Ok(Self { home, binary, arguments, environment: Vec::new(), around: Vec::new() })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.home.folder.path()
    }

    /// The trail, and the keys of every gateway that wrote to it.
    pub fn trail(&self) -> Trail {
        self.home.trail()
    }

    /// Writes a policy file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn policy(self, name: &str, text: &str) -> Result<Self> {
        self.home.write_policy(name, text)?;
        Ok(self)
    }

    /// Listens for `HOST:PORT`, which is at `address`.
    #[must_use]
    pub fn target(self, target: &str, address: SocketAddr) -> Self {
        let listen = format!("{}={target}", self.home.seat.any_port());
        self.arguments(["--listen", &listen]).map(target, address)
    }

    /// Where `HOST:PORT` is.
    #[must_use]
    pub fn map(self, name: &str, address: SocketAddr) -> Self {
        self.arguments(["--map", &format!("{name}={address}")])
    }

    /// Further arguments.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Without an argument and its value.
    #[must_use]
    pub fn without(mut self, argument: &str) -> Self {
        if let Some(at) = self.arguments.iter().position(|own| own == argument) {
            self.arguments.drain(at..(at + 2).min(self.arguments.len()));
        }
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses the gateway that has failpoints, and kills it at one of them.
    ///
    /// # Errors
    /// When that variant does not build.
    pub fn failpoint(mut self, name: &str) -> Result<Self> {
        self.binary = self.home.install(binaries::gateway_with_failpoints()?, "sluice-gateway-failpoints")?;
        Ok(self.variable("SLUICE_FAILPOINT", name))
    }

    /// The gateway as people get it, with no failpoint.
    ///
    /// # Errors
    /// When it does not build.
    pub fn calm(mut self) -> Result<Self> {
        self.binary = self.home.install(binaries::gateway()?, "sluice-gateway")?;
        self.environment.retain(|(name, _)| name != "SLUICE_FAILPOINT");
        Ok(self)
    }

    /// Runs it inside another command (as root), which must `exec` what it is
    /// given.
    #[must_use]
    pub fn around(mut self, command: &[&str]) -> Self {
        self.around = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// With what it said, when it does not become ready.
    pub fn start(self) -> Result<Gateway> {
        let mut process = Process::start(&mut self.command())?;
        let ready: Value = process
            .line("ready line", |line| serde_json::from_str(line).ok().filter(|line: &Value| line["ready"] == true))?;
        let mut addresses = BTreeMap::new();
        for (target, address) in ready["listen"].as_object().into_iter().flatten() {
            let address = address.as_str().with_context(|| format!("listener of {target}: {address}"))?;
            addresses.insert(target.clone(), address.parse().with_context(|| format!("{target}: {address}"))?);
        }
        Ok(Gateway { process, home: self.home, arguments: self.arguments, ready, addresses })
    }

    /// Starts it and waits until it has refused to.
    ///
    /// # Errors
    /// When it starts all the same.
    pub fn refused(self) -> Result<Refused> {
        let finished = self.ends()?;
        if finished.status.success() {
            bail!("the gateway ended with 0 where it should refuse:\n{}", finished.stderr);
        }
        Ok(finished)
    }

    /// Starts it and waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not.
    pub fn ends(&self) -> Result<Finished> {
        run(&mut self.command())
    }

    fn command(&self) -> std::process::Command {
        let inner = self.home.seat.command(&self.binary);
        let mut command = match self.around.split_first() {
            None => inner,
            Some((program, arguments)) => {
                let mut command = std::process::Command::new(program);
                command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
                command.args(arguments).arg(inner.get_program()).args(inner.get_args());
                command
            }
        };
        command.args(&self.arguments).current_dir(self.home.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Home {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trail(&self) -> Trail {
        Trail::new(self.file("trail"), Some(self.file("key.pem")))
    }

    /// Puts a program where the seat's user can reach it.
    fn install(&self, program: &Path, name: &str) -> Result<PathBuf> {
        if self.seat == Seat::RootV4 {
            return Ok(program.to_owned());
        }
        let path = self.file(name);
        if !path.exists() && fs::hard_link(program, &path).is_err() {
            binaries::copy(program, &path)?;
        }
        Ok(path)
    }

    fn write_policy(&self, name: &str, text: &str) -> Result<()> {
        let fresh = self.file(&format!("{name}.new"));
        fs::write(&fresh, text)?;
        fs::rename(&fresh, self.file("policy").join(name))?;
        Ok(())
    }
}

/// `HOST` of `HOST:PORT`.
fn host_of(target: &str) -> &str {
    target.rsplit_once(':').map_or(target, |(host, _)| host)
}
