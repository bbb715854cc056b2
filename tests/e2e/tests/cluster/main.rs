//! What users do on the cluster, and what agents might try there, with Sluice
//! installed by Helm.
//!
//! The release is installed once for a run and taken down at its end, which is
//! a test too: nothing of it may be left. Most tests run side by side; those
//! that take a part of the installation away run after them, one at a time.
//! With `SLUICE_E2E_INSTALLATION=keep` a release that is there is used as it
//! is, and stays. `SLUICE_E2E_SET` is given to Helm as `--set`; images that it
//! names by `image.tag` are not built.
//!
//! `bypass` is the table of attempts to get around the gateway. Each attempt is
//! also shown to work where nothing stops it: with a scene whose agent is not
//! injected (`pod::plain` in `scene.rs`), the tests of it fail. What is not in it
//! yet:
//!
//! | Attempt | Why not here |
//! | --- | --- |
//! | LOGIN7 server name, `user@server` that name another server | Sluice does not speak TDS yet |
//! | `ApprovalDecision` by an agent, or with somebody else's name | approvals do not exist yet; writes to the group are denied as a whole (`bypass::api`) |
//! | exceeding ephemeral storage | the test bed's kubelet does not isolate local storage |
//! | ptrace of the gateway | its process is not seen by the agent (`bypass::rights`), so there is nothing to attach to |

mod bypass;
mod installation;
mod kube;
mod lifecycle;
mod node;
mod peer;
mod pod;
mod policies;
mod records;
mod scene;
mod trials;

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Conclusion, Trial};

use installation::Installation;
use scene::Scene;

/// Tests at a time, unless the command line says otherwise.
const SIDE_BY_SIDE: usize = 4;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let together: Vec<_> = bypass::together().into_iter().chain(lifecycle::together()).collect();
    let alone: Vec<_> = bypass::alone().into_iter().chain(lifecycle::alone()).collect();
    if arguments.list {
        let all = together.into_iter().chain(alone).collect();
        return libtest_mimic::run(&arguments, all).exit_code();
    }
    match run(&mut arguments, together, alone) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cluster tests: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &mut Arguments, together: Vec<Trial>, alone: Vec<Trial>) -> Result<bool> {
    let installation = Installation::make()?;
    arguments.test_threads.get_or_insert(SIDE_BY_SIDE);
    let first = libtest_mimic::run(arguments, together);
    arguments.test_threads = Some(1);
    let second = libtest_mimic::run(arguments, alone);
    Scene::end()?;
    installation.remove()?;
    Ok([first, second].iter().all(passed))
}

fn passed(conclusion: &Conclusion) -> bool {
    !conclusion.has_failed()
}
