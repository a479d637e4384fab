//! The agent of the examples as a program that runs.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Builds it, where it is not built yet.
pub fn command() -> Command {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let built = Command::new(env!("CARGO"))
        // All packages of `tests/run`, so that it is built with the features it has there, once.
        .args(["build", "-q", "-p", "appmon", "-p", "appmon-tests", "-p", "appmon-top", "-p", "appmon-agent"])
        .args(["--all-features", "--bin", "appmon-agent"])
        .current_dir(&folder)
        .status();
    assert!(built.unwrap().success());
    // The test is in the folder `deps` beside it.
    let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_path_buf();
    Command::new(profile.join("appmon-agent"))
}

/// An agent of this test, which ends with it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Agent {
    /// Starts it with this file of settings.
    pub fn start(file: &Path) -> Self {
        let mut command = command();
        let mut child =
            command.arg("--config").arg(file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads what it says up to the line that has this part.
    pub fn until(&mut self, part: &str) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(part)).unwrap_or_else(|| panic!("it ended without `{part}`"))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; returns its exit status and its reports, each a line.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().unwrap();
        let mut reports = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut reports).unwrap();
        (status, reports.lines().map(str::to_owned).collect())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns its page of metrics, once there is one with this part.
pub fn page_with(port: u16, part: &str) -> String {
    let mut page = String::new();
    crate::until(part, || {
        page.clear();
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut page)).is_ok() && page.contains(part)
    });
    page
}
