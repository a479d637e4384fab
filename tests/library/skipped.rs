//! A test that cannot run is not taken for one that passed.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// Set where the test is to find that it cannot run.
const MISSING: &str = "APPMON_TEST_MISSING";

#[test]
fn a_test_that_cannot_run_here_is_reported() {
    if std::env::var_os(MISSING).is_some() {
        common::require(false, "what no machine has");
        return;
    }
    let report = tempfile::NamedTempFile::new().unwrap();
    let run = |ci: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "skipped::a_test_that_cannot_run_here_is_reported"]).env(MISSING, "1").env("CI", ci);
        command.env(common::skipped::REPORT, report.path()).output().unwrap()
    };
    let output = run("");
    assert!(output.status.success());
    // Although the harness keeps to itself what a test prints that passes.
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("skipped: skipped::a_test_that_cannot_run_here_is_reported: what no machine has\n"),
        "{text}"
    );
    let lines = "skipped::a_test_that_cannot_run_here_is_reported\twhat no machine has\n";
    assert_eq!(std::fs::read_to_string(report.path()).unwrap(), lines);
    // Where everything must be there, it fails, and is no such line.
    assert!(!run("true").status.success());
    assert_eq!(std::fs::read_to_string(report.path()).unwrap(), lines);
}

#[test]
fn a_requirement_missing_inside_of_a_test_is_reported_outside() {
    let test = "skipped::a_requirement_missing_inside_of_a_test_is_reported_outside";
    if std::env::var_os(MISSING).is_some() {
        if common::inside(test, &["env", "CI="]) {
            common::require(false, "what no namespace has");
        }
        return;
    }
    let report = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(MISSING, "1").env("CI", "").env(common::skipped::REPORT, report.path());
    assert!(command.status().unwrap().success());
    assert_eq!(std::fs::read_to_string(report.path()).unwrap(), format!("{test}\twhat no namespace has\n"));
}
