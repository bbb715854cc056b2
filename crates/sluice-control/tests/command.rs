//! What people see of the program itself.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice-control"))
        .args(arguments)
        .env_clear()
        // Nobody listens there: a program that got so far says so.
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .expect("the program runs")
}

#[test]
fn its_help_names_every_option_and_what_it_is_for() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("text");
    for word in ["--namespace", "SLUICE_POD_NAME", "--collector-url", "--rotate-after", "--log-format", "leader", "90d"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_wrong_option_is_refused_with_the_way_to_write_it() {
    let output = run(&["--name", "a", "--certificate-life", "1w"]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("--certificate-life") && said.contains("24h"), "{said}");
    let said = String::from_utf8(run(&[]).stderr).expect("text");
    assert!(said.contains("--name"), "{said}");
}

#[test]
fn without_a_cluster_it_ends_and_says_why() {
    let output = run(&["--name", "a", "--log-format", "text"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("the control plane ends"), "{said}");
}
