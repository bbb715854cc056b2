use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sluice_testkit::pki::Authority;
use sluice_testkit::{Answer, Finished, Process, Seat, Upstream, run};
use tempfile::TempDir;

/// Name of the target.
pub(crate) const HOST: &str = "api.cluster.example";

/// What the server in the API server's place says.
pub(crate) const HELLO: &str = "hello from the API server";

/// A folder, a policy and a server, and who runs `sluice run`.
///
/// ```text
/// FOLDER/sluice          the program, where an ordinary user can start it
/// FOLDER/policy/*.yaml   FOLDER/ca   FOLDER/trail   FOLDER/work (the working folder and HOME)
/// ```
pub(crate) struct World {
    folder: TempDir,
    pub(crate) seat: Seat,
    pub(crate) upstream: Upstream,
}

/// Runs a test in both seats.
pub(crate) fn both(test: impl Fn(&World) -> Result<()>) -> Result<()> {
    for seat in [Seat::RootV4, Seat::OrdinaryV6] {
        test(&World::new(seat)?).with_context(|| format!("{seat:?}"))?;
    }
    Ok(())
}

impl World {
    pub(crate) fn new(seat: Seat) -> Result<Self> {
        ensure!(is_root(), "these tests run as root and as an ordinary user, so they need root");
        let folder = tempfile::Builder::new().prefix("sluice-isolation-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::copy(env!("CARGO_BIN_EXE_sluice"), folder.path().join("sluice"))?;
        let authority = Authority::new("the test's own")?;
        let upstream = Upstream::start(&seat.any_port(), authority.server(&[HOST], &[], &["h2", "http/1.1"])?, |_| {
            Answer::json(&serde_json::json!({ "major": HELLO }))
        })?;
        for name in ["policy", "work", "ca"] {
            fs::create_dir(folder.path().join(name))?;
        }
        fs::write(folder.path().join("ca/upstream.pem"), authority.pem())?;
        let policy = POLICY.replace("@CA@", &folder.path().join("ca/upstream.pem").display().to_string());
        fs::write(folder.path().join("policy/policy.yaml"), policy)?;
        let world = Self { folder, seat, upstream };
        for name in ["", "policy", "policy/policy.yaml", "work", "ca", "ca/upstream.pem"] {
            seat.own(&world.path(name))?;
        }
        Ok(world)
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes `work/fifo`, through which a test speaks to its script.
    pub(crate) fn fifo(&self) -> Result<()> {
        let path = self.path("work/fifo");
        ensure!(Command::new("mkfifo").arg(&path).status()?.success(), "mkfifo {}", path.display());
        self.seat.own(&path)
    }

    /// `sluice run` in the working folder, with options before the command.
    pub(crate) fn sluice(&self, options: &[&str], command: &[&str]) -> Command {
        self.sluice_with_trail(&self.path("trail"), options, command)
    }

    /// The same with a trail of its own.
    pub(crate) fn sluice_with_trail(&self, trail: &Path, options: &[&str], command: &[&str]) -> Command {
        // Whatever the tests were started with: no signal ignored, and a PATH
        // that an ordinary user can search.
        let mut sluice = self.seat.command(PathBuf::from("/usr/bin/env"));
        sluice
            .arg("--default-signal")
            .arg(self.path("sluice"))
            .current_dir(self.path("work"))
            .env("HOME", self.path("work"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .args(["run", "--namespace", "agents"])
            .arg(format!("--map={HOST}={}", self.upstream.address()))
            .arg(format!("--trail={}", trail.display()))
            .args(options)
            .arg("--")
            .args(command);
        sluice
    }

    /// The same with the usual policy, for a script of bash.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let policy = format!("--policy={}", self.path("policy").display());
        let mut command = self.sluice(&[&policy], &["bash", "-c", script]);
        command.env("WORLD", self.folder.path());
        command
    }

    /// Runs a script inside to its end.
    pub(crate) fn inside(&self, script: &str) -> Result<Finished> {
        run(&mut self.shell(script))
    }

    /// Starts a script inside.
    pub(crate) fn start(&self, script: &str) -> Result<Process> {
        Process::start(&mut self.shell(script))
    }

    /// Runs a script inside, which must say only `ok` lines: each check there
    /// prints what it found when it is not as it should be.
    pub(crate) fn holds(&self, checks: &str) -> Result<()> {
        let finished = self.inside(&format!("{CHECKS}\n{checks}\necho end"))?;
        ensure!(
            finished.status.success()
                && finished.stdout.lines().all(|line| line == "end" || line.starts_with("ok "))
                && finished.stdout.ends_with("end\n"),
            "{}\n{}{}",
            finished.status,
            finished.stdout,
            finished.stderr
        );
        Ok(())
    }
}

/// `refused WHAT COMMAND…`: the command must fail.
/// `is WHAT WANTED GOT`: both must be equal.
const CHECKS: &str = r#"
refused() {
    local what=$1; shift
    if output=$("$@" 2>&1); then echo "NOT REFUSED $what: $output"; else echo "ok $what"; fi
}
is() { if [ "$2" = "$3" ]; then echo "ok $1"; else echo "$1: wanted <$2>, got <$3>"; fi; }
"#;

const POLICY: &str = r#"
apiVersion: sluice.dev/v1alpha1
kind: GatewayPolicy
metadata: {name: isolation, namespace: agents}
spec:
  identity: {workload: Allowed}
  targets:
  - name: cluster
    kubernetes: {server: api.cluster.example}
    caBundleRef: {file: "@CA@"}
  rules:
  - name: version
    subjects: {anyone: true}
    targets: [cluster]
    kubernetes: {verbs: [get], nonResourceURLs: [/version]}
    action: Allow
"#;

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Standard output as lines.
pub(crate) fn lines(finished: &Finished) -> Vec<&str> {
    finished.stdout.lines().collect()
}

/// A path as text for a script.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
