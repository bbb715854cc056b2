use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use rustls::RootCertStore;
use serde_json::{Value, json};

use crate::cluster::workspace;
use crate::{Client, Process, Protocol, Request, Seat, pki};

/// An identity provider of a test's own (`tests/cluster/provider`): its keys
/// may be changed, and it may be down.
#[derive(Debug)]
pub struct Provider {
    description: Value,
    roots: RootCertStore,
    seat: Seat,
    _process: Process,
}

impl Provider {
    /// Starts one on loopback.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(seat: Seat) -> Result<Self> {
        let script = workspace().join("tests/cluster/provider/run");
        let mut command = Command::new(script);
        command.args(["--host", &seat.loopback().to_string(), "--port", "0"]);
        let mut process = Process::start(&mut command)?;
        let description: Value = process.line("line of JSON", |line| serde_json::from_str(line).ok())?;
        let ca = PathBuf::from(description["ca"].as_str().context("the provider names no ca")?);
        let roots = pki::roots(&ca)?;
        Ok(Self { description, roots, seat, _process: process })
    }

    /// A field of what it says of itself: `url`, `issuer_v1`, `issuer_v2`,
    /// `tenant`, `audience`, `ca`.
    ///
    /// # Errors
    /// When it says none.
    pub fn field(&self, name: &str) -> Result<&str> {
        self.description[name].as_str().with_context(|| format!("the provider names no {name}"))
    }

    /// A token; the fields are those of `POST /test/token`.
    ///
    /// # Errors
    /// When it gives none.
    pub fn token(&self, request: &Value) -> Result<String> {
        Ok(self.control("token", request)?["token"].as_str().context("no token")?.to_owned())
    }

    /// Makes, publishes and uses a new key; returns its id.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn add_key(&self) -> Result<String> {
        Ok(self.control("keys/add", &json!({}))?["kid"].as_str().context("no kid")?.to_owned())
    }

    /// Takes a key out of the key set.
    ///
    /// # Errors
    /// When it is not in it.
    pub fn withdraw_key(&self, kid: &str) -> Result<()> {
        self.control("keys/withdraw", &json!({"kid": kid})).map(drop)
    }

    /// `up`, `error`, `close`, `hang` or `garbage`.
    ///
    /// # Errors
    /// When there is no such mode.
    pub fn mode(&self, mode: &str) -> Result<()> {
        self.control("mode", &json!({"mode": mode})).map(drop)
    }

    /// What it is doing: `keys`, `signs_with`, `counts`.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn state(&self) -> Result<Value> {
        self.control("state", &json!({}))
    }

    fn control(&self, name: &str, body: &Value) -> Result<Value> {
        let port = self.field("url")?.rsplit(':').next().context("no port")?.trim_end_matches('/').parse()?;
        let host = self.seat.loopback().to_string();
        let address = (self.seat.loopback(), port).into();
        let mut client = Client::connect(Protocol::Http1, address, &host, &self.roots)?;
        client.send(&Request::new("POST", format!("/test/{name}")).json(body))?.expect(200)?.json()
    }
}
