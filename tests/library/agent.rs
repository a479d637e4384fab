//! The agent of the examples: what it refuses, its page of metrics, and a file that is read again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Builds the example, where it is not built yet.
fn agent() -> Command {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let built = Command::new(env!("CARGO"))
        .args(["build", "-q", "-p", "appmon", "--all-features", "--example", "agent"])
        .current_dir(&folder)
        .status();
    assert!(built.unwrap().success());
    // This test is in the folder `deps` beside that of the examples.
    let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_path_buf();
    Command::new(profile.join("examples/agent"))
}

fn check(file: &Path, text: &str) -> Output {
    std::fs::write(file, text).unwrap();
    agent().arg("--check").arg("--config").arg(file).output().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn until(&mut self, part: &str) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(part)).unwrap_or_else(|| panic!("it ended without `{part}`"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn page(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
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
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/agent.md")).unwrap();
    let toml = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let right = check(&file, &toml.replace("/etc/appmon/password", password.to_str().unwrap()));
    assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
}

#[test]
fn a_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let port = free_port();
    let settings =
        |by: &str| format!("every = \"50ms\"\nmetrics = \"127.0.0.1:{port}\"\n[processes]\n[groups]\nby = \"{by}\"\n");
    std::fs::write(&file, settings("user")).unwrap();
    let mut child = agent().arg("--config").arg(&file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut running = Running { child, lines };
    running.until("running");
    let is_there = |label: &str| {
        common::until(label, || TcpStream::connect(("127.0.0.1", port)).is_ok() && page(port).contains(label))
    };
    is_there("user=\"");
    std::fs::write(&file, "metrics = 3").unwrap();
    running.signal(Signal::HUP);
    running.until("the settings stay as they were");
    is_there("user=\"");
    std::fs::write(&file, settings("name")).unwrap();
    running.signal(Signal::HUP);
    running.until("running");
    is_there("name=\"");
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());
    let mut reports = String::new();
    running.child.stdout.take().unwrap().read_to_string(&mut reports).unwrap();
    assert_eq!(reports.lines().count(), 2, "{reports}");
}
