//! Ways into the gateway of a pod that runs.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::Request;

use crate::kube::{admin, assert_refused, patch, run, said};
use crate::scene::Scene;
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("bypass::entering::the_sidecars_image_of_a_running_pod_stays", the_image_stays),
        one("bypass::entering::an_ephemeral_container_is_refused", an_ephemeral_container),
        one("bypass::entering::kubectl_debug_is_refused", kubectl_debug),
        one("bypass::entering::exec_and_attach_into_the_gateway_are_refused", exec_and_attach),
        one("bypass::entering::the_gateways_resources_stay", resources_stay),
    ]
}

fn path(suffix: &str) -> Result<String> {
    let scene = Scene::get()?;
    Ok(scene.namespace.core(&format!("pods/{}{suffix}", scene.agent.name)))
}

fn init(container: &str, fields: Value) -> Value {
    let mut container = json!({"name": container});
    for (name, value) in fields.as_object().into_iter().flatten() {
        container[name] = value.clone();
    }
    json!({"spec": {"initContainers": [container]}})
}

fn the_image_stays() -> Result<()> {
    for container in ["sluice-gateway", "sluice-init"] {
        let change = init(container, json!({"image": crate::pod::IMAGE}));
        assert_refused(container, &admin(patch(&path("")?, &change))?, "image cannot change while the pod runs")?;
    }
    // The agent's own may: what runs in it is its business.
    let own = json!({"spec": {"containers": [{"name": "agent", "image": "sluice.test/kubectl:1"}]}});
    assert_eq!(said(&admin(patch(&format!("{}?dryRun=All", path("")?), &own))?)?, "");
    Ok(())
}

fn an_ephemeral_container() -> Result<()> {
    for more in [json!({}), json!({"targetContainerName": "sluice-gateway"})] {
        let mut container = json!({"name": "debug", "image": crate::pod::IMAGE, "command": ["/bin/probe", "wait"]});
        for (name, value) in more.as_object().into_iter().flatten() {
            container[name] = value.clone();
        }
        let change = json!({"spec": {"ephemeralContainers": [container]}});
        let answer = admin(patch(&path("/ephemeralcontainers")?, &change))?;
        assert_refused("ephemeral container", &answer, "an ephemeral container would run beside the gateway")?;
    }
    Ok(())
}

fn kubectl_debug() -> Result<()> {
    let scene = Scene::get()?;
    let finished = run(&[
        "debug",
        &scene.agent.name,
        "--namespace",
        &scene.namespace.name,
        "--image",
        crate::pod::IMAGE,
        "--image-pull-policy",
        "Never",
        "--profile",
        "netadmin",
        "--",
        "/bin/probe",
        "rights",
    ])?;
    ensure!(!finished.status.success(), "kubectl debug succeeded: {}", finished.stdout);
    ensure!(finished.stderr.contains("sluice: "), "{}", finished.stderr);
    Ok(())
}

fn exec_and_attach() -> Result<()> {
    for container in ["sluice-gateway", "sluice-init"] {
        for verb in ["exec", "attach"] {
            let path = path(&format!("/{verb}?container={container}&command=sh&stdout=true"))?;
            let answer = admin(Request::new("POST", path))?;
            assert_refused(&format!("{verb} {container}"), &answer, "nobody enters the gateway")?;
        }
    }
    // The agent's own container is open, as ever.
    let finished = Scene::get()?.agent.exec(&["/bin/true"])?;
    ensure!(finished.status.success(), "{}", finished.stderr);
    Ok(())
}

fn resources_stay() -> Result<()> {
    let change = init("sluice-gateway", json!({"resources": {"limits": {"memory": "64Mi"}}}));
    assert_refused("resize", &admin(patch(&path("/resize")?, &change))?, "the gateway's resources cannot change")
}
