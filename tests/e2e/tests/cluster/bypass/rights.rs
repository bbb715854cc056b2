//! What the agent's processes may do, from inside.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;

use crate::kube::unique;
use crate::pod::{Family, at};
use crate::scene::Scene;
use crate::trials::{both, one};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        one("bypass::rights::no_capability_and_no_way_to_one", no_capability),
        one("bypass::rights::the_gateways_process_and_environment_are_not_seen", the_gateway_is_not_seen),
        one("bypass::rights::the_gateways_folders_are_read_only_and_hold_no_key", folders),
    ];
    trials.extend(both("bypass::rights::setuid_to_the_gateways_user_is_refused", setuid));
    trials.extend(both("bypass::rights::a_raw_socket_is_refused", raw_socket));
    trials.extend(both("bypass::rights::a_user_namespace_gives_no_raw_socket", user_namespace));
    trials
}

fn no_capability() -> Result<()> {
    let scene = Scene::get()?;
    let state = scene.agent.probe(&["rights"])?;
    let sets = state["Capabilities"].as_object().map(|sets| sets.len());
    ensure!(sets == Some(5), "{state}");
    for (name, value) in state["Capabilities"].as_object().into_iter().flatten() {
        assert_eq!(value, "0000000000000000", "{name}");
    }
    assert_eq!(state["NoNewPrivileges"], "1");
    // Elsewhere they have some.
    let free = scene.peer.free.probe(&["rights"])?;
    assert_ne!(free["Capabilities"]["CapEff"], "0000000000000000", "{free}");
    Ok(())
}

fn setuid(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let address = at(scene.peer.pod.address(family)?, 8080);
    for (user, group) in [("62051", "62051"), ("62051", "0"), ("0", "62051")] {
        let mark = unique("attack");
        let came = scene.agent.probe(&["become", user, group, "--", "tcp", &address, &mark])?;
        let error = came["error"].as_str().unwrap_or_default();
        ensure!(error.contains("not permitted"), "user {user}, group {group}: {came}");
        ensure!(!scene.peer.saw(&mark)?, "user {user}, group {group}: it reached the peer");
    }
    // Where nothing stops it, it works.
    let mark = unique("sentinel");
    scene.peer.free.probe(&["become", "62051", "62051", "--", "tcp", &address, &mark])?;
    ensure!(scene.peer.saw(&mark)?);
    Ok(())
}

fn raw_socket(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let came = scene.peer.is_out_of_reach(&scene.agent, family, |mark, address| {
        ["raw", "132", &address.to_string(), mark].map(str::to_owned).to_vec()
    })?;
    ensure!(came["error"].as_str().is_some_and(|error| error.contains("not permitted")), "{came}");
    Ok(())
}

fn user_namespace(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let address = scene.peer.pod.address(family)?.to_string();
    let mark = unique("attack");
    let came = scene.agent.probe(&["nest", "--", "raw", "132", &address, &mark])?;
    ensure!(came.to_string().contains("not permitted"), "{came}");
    ensure!(!scene.peer.saw(&mark)?);
    Ok(())
}

fn the_gateway_is_not_seen() -> Result<()> {
    let state = Scene::get()?.agent.probe(&["rights"])?;
    let processes = state["Processes"].as_array().cloned().unwrap_or_default();
    ensure!(!processes.is_empty(), "{state}");
    for process in &processes {
        let line = process.as_str().unwrap_or_default();
        // The program, a child of it, one that just ended, and what the runtime is before it becomes an exec's program.
        let own = line.starts_with("/bin/probe") || line.starts_with("/proc/self/exe") || line.is_empty();
        ensure!(own || line.ends_with("runc init"), "a process of somebody else: {line}");
    }
    // Null where there are none.
    ensure!(state["Environments"].is_null(), "{}", state["Environments"]);
    ensure!(state["Abstract"].is_null(), "{}", state["Abstract"]);
    ensure!(state["Setuid"].is_null(), "{}", state["Setuid"]);
    Ok(())
}

fn folders() -> Result<()> {
    let state = Scene::get()?.agent.probe(&["rights"])?;
    assert_eq!(
        state["Folders"],
        json!(["/run/sluice/trust", "/var/run/secrets/kubernetes.io/serviceaccount"]),
        "an agent sees what it must trust, and nothing else"
    );
    ensure!(state["Writable"].is_null(), "{}", state["Writable"]);
    ensure!(state["Keys"].is_null(), "{}", state["Keys"]);
    Ok(())
}
