//! The whole program in a real terminal (tmux): what is on the screen, what keys do, and how it leaves.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

#[path = "../../../tests/support/skipped.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of the library use the other parts")]
mod skipped;

/// A terminal of its own, with a shell that starts the program and then says that it ended.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn start(name: &str, arguments: &str) -> Self {
        let socket = format!("appmon-top-{name}-{}", std::process::id());
        let terminal = Self { socket };
        let program = env!("CARGO_BIN_EXE_appmon-top");
        let shell = format!("cd {}; {program} {arguments}; echo left with $?; exec cat", env!("CARGO_MANIFEST_DIR"));
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "24", &shell]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let output = Command::new("tmux").arg("-L").arg(&self.socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn text(&self, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&self.tmux(arguments).stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.text(&["capture-pane", "-p"])
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until this is on the screen. A terminal reports nothing, so it is looked at again and again.
    fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {text:?} on\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end, and looks whether the terminal is as it was.
    fn left(&self, status: u8) {
        self.wait_for(&format!("left with {status}"));
        assert_eq!(self.text(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim(), "0 1");
        // Lines are echoed again, and ended by Enter: it is not raw any more.
        self.keys(&["echoed", "Enter"]);
        let screen = self.wait_for("echoed\nechoed");
        assert!(!screen.contains("SERVICE"), "{screen}");
    }

    /// The pid of the program, a child of the shell.
    fn program(&self) -> String {
        let shell = self.text(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.trim().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-L").arg(&self.socket).arg("kill-server").output();
    }
}

fn is_here() -> bool {
    let tmux = Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success());
    skipped::require(tmux, "tmux, a terminal in a test")
}

const REPLAY: &str = "--replay fixture/processes.ndjson.zst --replay fixture/disks.ndjson.zst";

#[test]
fn a_recording_with_keys_from_its_beginning_to_its_end() {
    if !is_here() {
        return;
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixture/processes.ndjson.zst").exists());
    let terminal = Terminal::start("replay", &format!("{REPLAY} --speed 1000"));
    terminal.wait_for("postgresql.service");
    terminal.wait_for("end 2026-07-25 17:20:59");
    terminal.keys(&["4"]);
    terminal.wait_for("/srv (ext4)");
    terminal.keys(&["2", "/"]);
    terminal.keys(&["-l", "name=postgre"]);
    terminal.keys(&["s", "Enter"]);
    let screen = terminal.wait_for("selected: name=postgres");
    assert!(!screen.contains("nginx"), "{screen}");
    terminal.keys(&["Escape"]);
    terminal.wait_for("nginx");
    // Back, past all that is known, to the beginning; and to the end again.
    terminal.keys(&["Left"]);
    terminal.wait_for("paused -1 2026-07-25 17:20:58");
    terminal.keys(&["-", "Home"]);
    terminal.wait_for("2026-07-25 17:20:59");
    terminal.keys(&["End"]);
    terminal.wait_for("end 2026-07-25 17:20:59");
    terminal.keys(&["q"]);
    terminal.left(0);
}

#[test]
fn this_machine_until_a_signal_ends_it() {
    if !is_here() {
        return;
    }
    for signal in ["TERM", "INT", "HUP"] {
        let terminal = Terminal::start(signal, "--every 100ms");
        terminal.wait_for("CPUs");
        terminal.keys(&["3"]);
        terminal.wait_for("PROCESS");
        let status = Command::new("kill").args(["-s", signal, &terminal.program()]).status().unwrap();
        assert!(status.success());
        terminal.left(0);
    }
}

#[test]
fn what_is_wrong_is_said_on_a_terminal_that_was_not_touched() {
    if !is_here() {
        return;
    }
    let terminal = Terminal::start("wrong", "--replay fixture/no-such-file");
    terminal.wait_for("fixture/no-such-file: No such file");
    terminal.left(1);
    let terminal = Terminal::start("flag", "--select 'nmae=x'");
    terminal.wait_for("there is no field `nmae`");
    terminal.left(2);
    // Without a terminal there is nothing to draw on.
    let output = Command::new(env!("CARGO_BIN_EXE_appmon-top")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no terminal"), "{output:?}");
}
