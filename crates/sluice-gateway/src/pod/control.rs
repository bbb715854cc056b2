//! Policy out of the control plane's stream: taken whole or not at all,
//! confirmed while the stream lives, kept for a start without it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::{Clock, Workload};
use sluice_link::{Backoff, ConfigEvent, ConfigStream, Link, LinkError, Reporter, StreamOptions};
use sluice_policy::{Compiled, Documents, Problem};
use sluice_wire::{Config, Report, ReportedProblem};

use super::saved::Saved;
use crate::config::{Fingerprint, PolicyError};
use crate::metrics::Metrics;
use crate::shared::{Policy, Shared};
use crate::watch::{Parts, assemble, outside, record, warnings};

/// What a sidecar decides by, and whom it tells.
pub(crate) struct Control {
    stream: ConfigStream,
    reporter: Reporter,
    saved: Saved,
    workload: Workload,
    url: String,
    /// As the stream calls what is in force.
    revision: String,
    /// The newest config, where it could not be taken.
    refused: Option<Report>,
    /// Whether the stream is gone at the moment.
    away: bool,
}

impl Control {
    /// Opens the stream. `folder`: of the gateway's own.
    pub(crate) fn start(link: Link, folder: &Path, workload: Workload) -> Self {
        Self {
            url: link.endpoint().to_string(),
            stream: ConfigStream::start(link.clone(), StreamOptions::default()),
            reporter: Reporter::start(link, Backoff::default()),
            saved: Saved::new(folder),
            workload,
            revision: String::new(),
            refused: None,
            away: false,
        }
    }

    /// The first policy: the one that was kept, else the first that comes and
    /// can be taken.
    pub(crate) async fn first(&mut self, parts: &Parts<'_>) -> Policy {
        if let Some((config, age)) = self.saved.load(parts.clock.now()) {
            match self.build(&config, parts, None) {
                Ok(policy) => {
                    tracing::info!(revision = config.revision, age_s = age.as_secs(), "starting with the kept policy");
                    policy.confirm_before(parts.clock.monotonic(), age);
                    self.revision = config.revision;
                    return policy;
                }
                Err(error) => tracing::warn!(%error, "the kept policy is of no use any more; waiting for another"),
            }
        }
        loop {
            match self.stream.next().await {
                Some(ConfigEvent::Config(config)) => match self.build(&config, parts, None) {
                    Ok(policy) => {
                        self.keep(&config, &*parts.clock.clone());
                        return policy;
                    }
                    Err(error) => self.refuse(&config, &error),
                },
                Some(ConfigEvent::Heartbeat) => {}
                Some(ConfigEvent::Away(error)) => self.gone(&error),
                None => std::future::pending().await,
            }
        }
    }

    /// Where policy comes from, for records.
    pub(crate) fn names(&self) -> Vec<String> {
        vec![self.url.clone()]
    }

    /// Follows the stream until the gateway ends.
    pub(crate) async fn watch(mut self, shared: Arc<Shared>) {
        self.report(&shared);
        loop {
            match self.stream.next().await {
                Some(ConfigEvent::Config(config)) => {
                    self.back(&shared);
                    self.take(&shared, &config).await;
                }
                Some(ConfigEvent::Heartbeat) => {
                    self.back(&shared);
                    self.confirm(&shared);
                }
                Some(ConfigEvent::Away(error)) => {
                    self.gone(&error);
                    shared.metrics.control_away.set(1);
                }
                None => std::future::pending().await,
            }
        }
    }

    async fn take(&mut self, shared: &Arc<Shared>, config: &Config) {
        if config.revision == self.revision {
            self.refused = None;
            shared.metrics.policy_broken.set(0);
            self.confirm(shared);
            return self.report(shared);
        }
        if let Some(refused) = self.refused.as_ref().filter(|refused| refused.revision == config.revision) {
            return self.reporter.report(refused.clone());
        }
        let before = shared.policy.load_full();
        let parts = Parts { dialer: &shared.dialer, clock: &shared.clock, in_cluster: shared.in_cluster.as_ref() };
        match self.build(config, &parts, Some(&before)) {
            Ok(policy) => {
                let taken = policy.compiled.revision().to_owned();
                shared.put(policy);
                let problems = warnings(&shared.policy.load().compiled, shared);
                self.keep(config, &*shared.clock);
                Metrics::count(&shared.metrics.reloads, "taken");
                shared.metrics.policy_broken.set(0);
                tracing::info!(revision = taken, config = config.revision, "policy taken");
                self.report(shared);
                record(shared, self.names(), taken, true, problems).await;
            }
            Err(error) => {
                let stays = before.compiled.revision().to_owned();
                Metrics::count(&shared.metrics.reloads, "refused");
                shared.metrics.policy_broken.set(1);
                self.refuse(config, &error);
                let problems = match error {
                    PolicyError::Invalid(problems) => problems.iter().map(Problem::to_string).collect(),
                    other => vec![other.to_string()],
                };
                record(shared, self.names(), stays, false, problems).await;
            }
        }
    }

    fn build(&self, config: &Config, parts: &Parts<'_>, before: Option<&Policy>) -> Result<Policy, PolicyError> {
        assemble(self.compile(config)?, Fingerprint::none(), parts, before)
    }

    fn compile(&self, config: &Config) -> Result<Compiled, PolicyError> {
        let sources: Vec<_> =
            config.documents.iter().map(|document| (document.name.clone(), document.yaml.clone())).collect();
        let folder = self.saved.bundles(config).map_err(|message| {
            PolicyError::Invalid(vec![Problem { document: String::new(), path: "caBundleRef".into(), message }])
        })?;
        let documents = Documents::parse(&sources).map_err(PolicyError::Invalid)?.in_cluster(folder);
        // Selected by the labels of the moment; records say those of the start.
        let workload = Workload { labels: config.labels.clone(), ..self.workload.clone() };
        sluice_policy::compile(&documents, &workload).map_err(PolicyError::Invalid)
    }

    fn keep(&mut self, config: &Config, clock: &dyn Clock) {
        self.saved.keep(config, clock.now());
        self.saved.tidy(&config.revision);
        self.revision.clone_from(&config.revision);
        self.refused = None;
    }

    fn refuse(&mut self, config: &Config, error: &PolicyError) {
        tracing::error!(%error, config = config.revision, "policy not taken; the last good one stays");
        let problems = match error {
            PolicyError::Invalid(problems) => problems.iter().map(|problem| reported(config, problem)).collect(),
            other => vec![all_together(other.to_string())],
        };
        let report = report(&config.revision, false, problems);
        self.reporter.report(report.clone());
        self.refused = Some(report);
    }

    /// The control plane stands by what is in force. Where it has sent
    /// something else that cannot be taken, it does not.
    fn confirm(&self, shared: &Shared) {
        if self.refused.is_none() {
            shared.policy.load().confirm(shared.clock.monotonic());
            self.saved.confirm(shared.clock.now());
        }
    }

    fn report(&self, shared: &Shared) {
        let problems = outside(&shared.policy.load().compiled, &shared.authority);
        self.reporter.report(report(&self.revision, true, problems.into_iter().map(all_together).collect()));
    }

    fn gone(&mut self, error: &LinkError) {
        if !self.away {
            tracing::warn!(%error, "the control plane is away; the policy in force stays");
        }
        self.away = true;
    }

    fn back(&mut self, shared: &Shared) {
        if self.away {
            tracing::info!("the control plane is back");
        }
        self.away = false;
        shared.metrics.control_away.set(0);
    }
}

fn report(revision: &str, compiled: bool, problems: Vec<ReportedProblem>) -> Report {
    Report { revision: revision.to_owned(), compiled, problems, version: env!("CARGO_PKG_VERSION").to_owned() }
}

fn all_together(message: String) -> ReportedProblem {
    ReportedProblem { document: String::new(), path: String::new(), message }
}

/// A problem under the name that the control plane gave to the document.
fn reported(config: &Config, problem: &Problem) -> ReportedProblem {
    let document = config.documents.iter().find(|document| {
        problem
            .document
            .strip_prefix(document.name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    });
    ReportedProblem {
        document: document.map_or_else(String::new, |document| document.name.clone()),
        path: problem.path.clone(),
        message: match document {
            Some(_) => problem.message.clone(),
            None if problem.document.is_empty() => problem.message.clone(),
            None => format!("{}: {}", problem.document, problem.message),
        },
    }
}

/// How long the first policy may take before the log says that it is waited
/// for.
pub(super) const SAY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_wire::Document;

    #[test]
    fn problems_are_reported_under_the_names_of_the_config() {
        let document = |name: &str| Document { name: name.into(), yaml: String::new() };
        let config = Config {
            documents: vec![document("GatewayPolicy/a/b"), document("GatewayPolicy/a/bc")],
            ..Config::default()
        };
        let problem =
            |document: &str| Problem { document: document.into(), path: "spec.x".into(), message: "no".into() };
        let found = reported(&config, &problem("GatewayPolicy/a/bc#1 GatewayPolicy/bc"));
        assert_eq!(
            (found.document.as_str(), found.path.as_str(), found.message.as_str()),
            ("GatewayPolicy/a/bc", "spec.x", "no")
        );
        let other = reported(&config, &problem("target prod"));
        assert_eq!((other.document.as_str(), other.message.as_str()), ("", "target prod: no"));
    }
}
