//! Stock clients: client-go and kubectl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sluice_testkit::{ConnectProxy, Finished, Seat, binaries, run};

use crate::world::{EVERYTHING, Real};

seats!(client_go_sees_no_difference, kubectl_sees_no_difference);

fn client_go_sees_no_difference(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let one = real.cluster.namespace()?;
    let other = real.cluster.namespace()?;
    let ways = Ways::new(&real, seat)?;
    let program = install(&real, transparency()?)?;
    let finished = run(seat
        .command(program)
        .arg("-direct")
        .arg(&ways.direct)
        .args(["-direct-namespace", &one.name])
        .arg("-through")
        .arg(&ways.through)
        .args(["-through-namespace", &other.name]))?;
    let lines: Vec<Value> = finished.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let differ: Vec<_> = lines.iter().filter(|line| line["equal"] != true).collect();
    assert!(finished.status.success() && differ.is_empty(), "{differ:#?}\n{}", finished.stderr);
    assert!(lines.len() >= 10, "client-go did only {} operations", lines.len());
    assert!(lines.iter().filter(|line| line["write"] == true).count() >= 5);
    Ok(())
}

fn kubectl_sees_no_difference(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let namespace = real.cluster.namespace()?;
    let ways = Ways::new(&real, seat)?;
    let lines: [&[&str]; 8] = [
        &["version"],
        &["api-resources", "--cached=false"],
        &["auth", "can-i", "get", "pods"],
        &["get", "deployment", "web", "--namespace", "dev", "--output", "yaml"],
        &["get", "configmaps", "--output", "name"],
        &["describe", "service", "web", "--namespace", "dev"],
        &["explain", "configmap.data"],
        &["get", "pods", "--namespace", "absent"],
    ];
    for line in lines {
        let arguments = [line, &["--namespace", &namespace.name]].concat();
        let arguments = if line.contains(&"--namespace") { line } else { &arguments };
        let expected = ways.kubectl(&ways.direct, arguments)?;
        let got = ways.kubectl(&ways.through, arguments)?;
        assert_eq!(got.status, expected.status, "{line:?}: {}", got.stderr);
        assert_eq!(got.stdout, expected.stdout, "{line:?}");
        assert_eq!(got.stderr, expected.stderr, "{line:?}");
    }
    Ok(())
}

/// Kubeconfigs that lead to the API server directly and through a gateway,
/// under one URL.
pub(crate) struct Ways {
    pub(crate) direct: PathBuf,
    pub(crate) through: PathBuf,
    seat: Seat,
    kubectl: PathBuf,
    home: PathBuf,
    _proxies: [ConnectProxy; 2],
}

impl Ways {
    pub(crate) fn new(real: &Real, seat: Seat) -> Result<Self> {
        let direct = ConnectProxy::start(seat.loopback(), &real.target, real.cluster.address(seat)?)?;
        let through = ConnectProxy::start(seat.loopback(), &real.target, real.gateway.address(&real.target)?)?;
        let folder = real.gateway.folder();
        let home = folder.join("home");
        fs::create_dir(&home)?;
        seat.own(&home)?;
        let write = |name: &str, ca: &Path, proxy: &ConnectProxy| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, kubeconfig(&real.target, ca, &proxy.url(), &real.token))?;
            Ok(path)
        };
        Ok(Self {
            direct: write("direct.kubeconfig", &real.cluster.ca_file()?, &direct)?,
            through: write("through.kubeconfig", &real.gateway.ca_file(), &through)?,
            seat,
            kubectl: PathBuf::from(real.cluster.variable("KUBECTL")?),
            home,
            _proxies: [direct, through],
        })
    }

    /// Runs kubectl as the user of the seat.
    pub(crate) fn kubectl(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.seat.command(&self.kubectl);
        command.env("HOME", &self.home).arg("--kubeconfig").arg(kubeconfig).args(arguments);
        run(&mut command)
    }
}

fn kubeconfig(target: &str, ca: &Path, proxy: &str, token: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Config
current-context: it
contexts: [{{name: it, context: {{cluster: it, user: me}}}}]
clusters: [{{name: it, cluster: {{server: "https://{target}", certificate-authority: {}, proxy-url: "{proxy}"}}}}]
users: [{{name: me, user: {{token: {token}}}}}]
"#,
        ca.display()
    )
}

/// The client-go program, built once.
fn transparency() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PROGRAM.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => bail!("{error}"),
    }
}

fn build() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../go/transparency");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("transparency");
    let output = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .output()
        .context("run go build")?;
    if !output.status.success() {
        bail!("tests/go/transparency does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(program)
}

/// Puts a program where every user can run it.
fn install(real: &Real, program: &Path) -> Result<PathBuf> {
    let path = real.gateway.folder().join("transparency");
    binaries::copy(program, &path)?;
    Ok(path)
}
