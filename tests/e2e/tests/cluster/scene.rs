//! What most attempts need, made once for all of them: an agent that is
//! allowed everything, so that what it cannot do, the gateway or the pod's
//! shape kept it from; and a peer outside.

use std::sync::OnceLock;

use anyhow::{Result, bail};
use serde_json::json;
use sluice_testkit::Request;

use crate::kube::{self, Namespace, admin};
use crate::peer::Peer;
use crate::pod::{Pod, agent};
use crate::policies::{EVERYTHING, policy, until_programmed};

/// The agent, and who it tries to reach.
pub(crate) struct Scene {
    pub(crate) namespace: Namespace,
    pub(crate) agent: Pod,
    pub(crate) peer: Peer,
}

static SCENE: OnceLock<Result<Scene, String>> = OnceLock::new();

impl Scene {
    /// The one of this run.
    pub(crate) fn get() -> Result<&'static Self> {
        match SCENE.get_or_init(|| Self::make().map_err(|error| format!("{error:#}"))) {
            Ok(scene) => Ok(scene),
            Err(error) => bail!("there is no scene: {error}"),
        }
    }

    /// Takes it down, if there is one, and waits until its pods are drained.
    pub(crate) fn end() -> Result<()> {
        let Some(Ok(scene)) = SCENE.get() else { return Ok(()) };
        kube::kubectl(&["delete", "clusterrolebinding", &scene.namespace.name, "--ignore-not-found"])?;
        scene.namespace.end()
    }

    fn make() -> Result<Self> {
        let namespace = Namespace::new(&json!({}))?;
        // The agent's own account may do everything in the whole cluster.
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": namespace.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": namespace.service_accounts()},
            ],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        admin(Request::new("POST", path).json(&binding))?.expect(201)?;
        kube::apply(&policy(&namespace, "agents", "", EVERYTHING, "")?)?;
        let peer = Peer::start(&namespace)?;
        let agent = Pod::start(&namespace, &agent("agent"))?;
        until_programmed(&namespace, "agents")?;
        Ok(Self { namespace, agent, peer })
    }
}
