//! The agent of the examples: what it refuses, its page of metrics, and a file that is read again.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use common::agent::{Agent, command, page_with};
use rustix::process::Signal;

fn check(file: &Path, text: &str) -> Output {
    std::fs::write(file, text).unwrap();
    command().arg("--check").arg("--config").arg(file).output().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_file_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let right = check(&file, "metrics = \"127.0.0.1:1\"\n[processes]\n[groups]\nby = \"user\"\n");
    let text = String::from_utf8(right.stdout).unwrap();
    assert!(right.status.success() && text.contains("groups: by user"), "{text}");
    for (text, named) in [
        ("metrics = \"127.0.0.1:1\"\n", "nothing to monitor"),
        ("[processes]\n", "leads nowhere"),
        ("metrics = \"127.0.0.1:1\"\n[processes]\nselct = \"\"\n", "did you mean `select`?"),
        ("metrics = \"127.0.0.1:1\"\n[groups]\n", "add [processes]"),
        (
            "metrics = \"127.0.0.1:1\"\n[processes]\n[[alerts]]\non = \"processes\"\nrule = \"cpu.cors > 1\"\n",
            "cpu.cores",
        ),
        (
            "metrics = \"127.0.0.1:1\"\n[processes]\n[[alerts]]\non = \"groups\"\nrule = \"cpu.cores > 1\"\n",
            "no groups",
        ),
        ("[processes]\n[forward]\nurl = \"redis://me:s3cret@host\"\n", "password_file"),
    ] {
        let wrong = check(&file, text);
        let error = String::from_utf8(wrong.stderr).unwrap();
        assert_eq!(wrong.status.code(), Some(1), "{error}");
        assert!(error.contains(named) && !error.contains("s3cret"), "{error}");
    }
    // The file of the page about it.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/agent/README.md")).unwrap();
    let toml = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let right = check(&file, &toml.replace("/etc/appmon/password", password.to_str().unwrap()));
    assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
}

/// An editor that has the schema takes the file of the page as it is.
#[cfg(feature = "schema")]
#[test]
fn the_file_of_the_page_is_valid_by_the_schema() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/agent/README.md")).unwrap();
    let toml = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let settings: toml::Table = toml::from_str(toml).unwrap();
    let schemas = appmon::schema::all();
    let mut checked = Vec::new();
    for (key, value) in &settings {
        let name = match key.as_str() {
            // Those of the agent alone.
            "every" | "metrics" => continue,
            "alerts" => "alert".to_owned(),
            key => key.replace('_', "-"),
        };
        let schema = serde_json::from_str(&schemas[&*format!("config-{name}")]).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let tables = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        assert!(!tables.is_empty(), "{key}");
        for table in tables {
            let mut table = serde_json::to_value(table).unwrap();
            let faults: Vec<_> = validator.iter_errors(&table).map(|error| error.to_string()).collect();
            assert_eq!(faults, [""; 0], "{key}: {table:#}");
            // It can say no.
            table["no_such_key"] = 1.into();
            assert!(!validator.is_valid(&table), "{key}");
        }
        checked.push(key.as_str());
    }
    checked.sort_unstable();
    assert_eq!(checked, ["alerts", "file_systems", "forward", "groups", "own_process", "processes", "prometheus"]);
}

#[test]
fn a_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let port = free_port();
    let settings =
        |by: &str| format!("every = \"50ms\"\nmetrics = \"127.0.0.1:{port}\"\n[processes]\n[groups]\nby = \"{by}\"\n");
    std::fs::write(&file, settings("user")).unwrap();
    let mut running = Agent::start(&file);
    running.until("running");
    page_with(port, "user=\"");
    std::fs::write(&file, "metrics = 3").unwrap();
    running.signal(Signal::HUP);
    running.until("the settings stay as they were");
    page_with(port, "user=\"");
    std::fs::write(&file, settings("name")).unwrap();
    running.signal(Signal::HUP);
    running.until("running");
    page_with(port, "name=\"");
    running.signal(Signal::TERM);
    let (status, reports) = running.end();
    assert!(status.success() && reports.len() == 2, "{status} {reports:?}");
}
