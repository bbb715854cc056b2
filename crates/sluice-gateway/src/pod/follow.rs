//! The pod's own token: read, given to the agent, read again when the kubelet
//! has renewed it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_core::Secret;

use super::{AgentFiles, OwnToken};

/// How often it is looked at. The kubelet renews it long before it ends.
const POLL: Duration = Duration::from_secs(5);
/// Bytes of a token.
const MAX_TOKEN: usize = 64 * 1024;

/// A token that is followed.
pub(super) struct Followed {
    path: PathBuf,
    files: AgentFiles,
    own: OwnToken,
}

impl Followed {
    pub(super) fn new(path: &Path, files: AgentFiles, own: OwnToken) -> Self {
        Self { path: path.to_owned(), files, own }
    }

    /// Takes the token of the moment, if it is another one.
    pub(super) fn take(&self) -> io::Result<()> {
        let text = Secret::new(std::fs::read_to_string(&self.path)?);
        let token = text.expose().trim();
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(io::Error::other(format!("it has {} bytes", token.len())));
        }
        let known = self.own.newest();
        if known.as_ref().is_some_and(|known| known.expose() == token) {
            return Ok(());
        }
        let token = Secret::new(token.to_owned());
        // Known before the agent can present it.
        self.own.renew(token.clone());
        self.files.write_token(&token).map_err(io::Error::other)
    }

    /// Follows it for as long as the gateway runs.
    pub(super) async fn run(self) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.take() {
                tracing::warn!(%error, path = %self.path.display(), "the pod's token cannot be renewed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_token_reaches_the_agent_and_is_known() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("api-token");
        let files = AgentFiles {
            trust: folder.path().into(),
            service_account: folder.path().into(),
            namespace: "agents".into(),
        };
        let own = OwnToken::default();
        let followed = Followed::new(&path, files, own.clone());
        assert!(followed.take().is_err(), "there is none");
        for token in ["one", "two"] {
            std::fs::write(&path, format!("{token}\n")).expect("write");
            followed.take().expect("token");
            followed.take().expect("the same again");
            assert_eq!(std::fs::read_to_string(folder.path().join("token")).expect("token"), token);
        }
        assert!(own.is(&Secret::new("one".to_owned())) && own.is(&Secret::new("two".to_owned())));
        std::fs::write(&path, "").expect("write");
        assert!(followed.take().is_err());
        assert!(own.newest().is_some());
    }
}
