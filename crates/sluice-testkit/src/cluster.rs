use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustls::RootCertStore;
use serde_json::{Value, json};

use crate::{Client, Protocol, Request, Response, Seat, eventually, pki};

/// The way into the test bed (`tests/cluster`): a real API server and a real
/// identity provider.
#[derive(Debug)]
pub struct Cluster {
    variables: BTreeMap<String, String>,
    roots: RootCertStore,
}

/// A namespace of a test's own, in which `developers` may do everything, so
/// that what they are denied, the gateway denied. Deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    /// Its name; all of them are of the same length.
    pub name: String,
    cluster: &'static Cluster,
}

impl Cluster {
    /// The running one. It is not started here: `make cluster` does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn get() -> Result<&'static Self> {
        static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
        match CLUSTER.get_or_init(|| Self::find().map_err(|error| format!("{error:#}"))) {
            Ok(cluster) => Ok(cluster),
            Err(error) => bail!("{error}"),
        }
    }

    fn find() -> Result<Self> {
        let script = workspace().join("tests/cluster/env");
        let output = Command::new("bash")
            .args(["-c", r#"set -e; lines=$("$0"); eval "$lines"; env -0"#])
            .arg(&script)
            .output()
            .with_context(|| format!("run {}", script.display()))?;
        if !output.status.success() {
            bail!("{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
        }
        let variables: BTreeMap<_, _> = String::from_utf8_lossy(&output.stdout)
            .split('\0')
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let ca = variables.get("CLUSTER_CA").context("tests/cluster/env names no CLUSTER_CA")?;
        let roots = pki::roots(Path::new(ca))?;
        Ok(Self { variables, roots })
    }

    /// A variable of `tests/cluster/env`.
    ///
    /// # Errors
    /// When it prints none of that name.
    pub fn variable(&self, name: &str) -> Result<&str> {
        self.variables.get(name).map(String::as_str).with_context(|| format!("tests/cluster/env prints no {name}"))
    }

    /// Host name of the API server, as AKS would call it.
    ///
    /// # Errors
    /// When the test bed names none.
    pub fn host(&self) -> Result<&str> {
        self.variable("AKS_NAME")
    }

    /// Address of the API server.
    ///
    /// # Errors
    /// When the test bed names none.
    pub fn address(&self, seat: Seat) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.node(seat)?, self.variable("CLUSTER_API_PORT")?.parse()?))
    }

    /// Address of the identity provider, and the `HOST:PORT` of its URL.
    ///
    /// # Errors
    /// When the test bed names none.
    pub fn provider(&self, seat: Seat) -> Result<(String, SocketAddr)> {
        let authority = self.variable("PROVIDER_URL")?.trim_start_matches("https://").to_owned();
        let port = authority.rsplit(':').next().context("PROVIDER_URL has no port")?.parse()?;
        Ok((authority, SocketAddr::new(self.node(seat)?, port)))
    }

    fn node(&self, seat: Seat) -> Result<IpAddr> {
        let name = match seat {
            Seat::RootV4 => "CLUSTER_V4",
            Seat::OrdinaryV6 => "CLUSTER_V6",
        };
        Ok(self.variable(name)?.parse()?)
    }

    /// The roots that vouch for the API server and the provider.
    pub fn roots(&self) -> &RootCertStore {
        &self.roots
    }

    /// The file of those roots.
    ///
    /// # Errors
    /// When the test bed names none.
    pub fn ca_file(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(self.variable("CLUSTER_CA")?))
    }

    /// A client that goes to the API server past every gateway.
    ///
    /// # Errors
    /// When it cannot connect.
    pub fn direct(&self, seat: Seat, protocol: Protocol) -> Result<Client> {
        Client::connect(protocol, self.address(seat)?, self.host()?, &self.roots)
    }

    /// Asks the provider for a token; the fields are those of
    /// `POST /test/token` (`tests/cluster/token` lists them).
    ///
    /// # Errors
    /// When it gives none.
    pub fn token(&self, request: &Value) -> Result<String> {
        let (authority, address) = self.provider(Seat::RootV4)?;
        let host = authority.rsplit_once(':').context("PROVIDER_URL has no port")?.0;
        let mut client = Client::connect(Protocol::Http1, address, host, &self.roots)?;
        let answer = client.send(&Request::new("POST", "/test/token").json(request))?.expect(200)?.json()?;
        Ok(answer["token"].as_str().context("no token in the answer")?.to_owned())
    }

    /// A token of a developer, good for an hour.
    ///
    /// # Errors
    /// When the provider gives none.
    pub fn developer(&self) -> Result<String> {
        self.token(&json!({"upn": "dev@example.com", "groups": ["developers"]}))
    }

    /// Does something as a cluster administrator, past every gateway.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn admin(&self, request: Request) -> Result<Response> {
        static TOKEN: OnceLock<String> = OnceLock::new();
        let token = match TOKEN.get() {
            Some(token) => token,
            None => {
                let fresh = self.token(&json!({"upn": "root@example.com", "groups": ["admins"]}))?;
                TOKEN.get_or_init(|| fresh)
            }
        };
        self.direct(Seat::RootV4, Protocol::Http1)?.send(&request.bearer(token))
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn namespace(&'static self) -> Result<Namespace> {
        let name = format!("e2e-{}", unique());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.admin(Request::new("POST", "/api/v1/namespaces").json(&namespace))?.expect(201)?;
        let namespace = Namespace { name, cluster: self };
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "developers", "namespace": namespace.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "developers"}],
        });
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", namespace.name);
        self.admin(Request::new("POST", path).json(&binding))?.expect(201)?;
        // Controllers fill a new namespace a moment later; lists would differ until then.
        for path in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            let path = format!("/api/v1/namespaces/{}/{path}", namespace.name);
            eventually(&path, || self.admin(Request::get(&path))?.expect(200))?;
        }
        Ok(namespace)
    }
}

impl Namespace {
    /// `/api/v1/namespaces/NAME/REST`.
    pub fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// `/apis/GROUP_VERSION/namespaces/NAME/REST`.
    pub fn group(&self, group_version: &str, rest: &str) -> String {
        format!("/apis/{group_version}/namespaces/{}/{rest}", self.name)
    }

    /// Makes an object as an administrator.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn make(&self, path: &str, object: &Value) -> Result<Value> {
        self.cluster.admin(Request::new("POST", path).json(object))?.expect(201)?.json()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A namespace that stays behind harms no later run: names are never used twice.
        let path = format!("/api/v1/namespaces/{}", self.name);
        let _ = self.cluster.admin(Request::new("DELETE", path));
    }
}

/// The root of the checkout.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Twelve characters that no other call in any run gives.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let process = std::process::id() & 0xfff;
    format!("{:07x}{process:03x}{:03x}", now & 0xfff_ffff, NEXT.fetch_add(1, Ordering::SeqCst) & 0xfff)
}
