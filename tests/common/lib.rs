//! The helpers shared by the tests on a live kernel.

#![allow(missing_docs, missing_debug_implementations, clippy::new_without_default, reason = "for tests alone")]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

pub mod agent;
#[cfg(feature = "forward")]
pub mod brokers;
#[cfg(feature = "tls")]
pub mod certificates;
pub mod full;
pub mod mounts;
pub mod python;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use appmon::process::{Process, ProcessState};
use appmon::{Cancel, ProcFs, ProcessSample, Processes, Result, Snapshot, Source};
use rustix::process::{Pid, Signal, WaitOptions};

#[path = "../support/skipped.rs"]
pub mod skipped;

pub use skipped::require;

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits for a change of which the kernel sends no event.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A child in a process group of its own, which ends with it.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    ended: bool,
}

impl Helper {
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, ended: false }
    }

    /// A shell script; `$0`, `$1` … are the arguments.
    pub fn sh(script: &str, arguments: &[&str]) -> Self {
        Self::spawn(Command::new("/bin/sh").arg("-c").arg(script).args(arguments))
    }

    pub fn python(script: &str, arguments: &[&str]) -> Self {
        Self::spawn(Command::new("python3").arg("-c").arg(script).args(arguments))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it writes.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the helper ended");
        line.trim_end().to_owned()
    }

    /// The next line it writes: a number.
    pub fn number(&mut self) -> u32 {
        self.line().trim().parse().unwrap()
    }

    /// Gives it a line to read.
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(raw(self.pid()), signal).unwrap();
    }

    /// Stops it, and waits until it is.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let (_, status) = rustix::process::waitpid(Some(raw(self.pid())), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
        until_off(self.pid(), ProcessState::Stopped);
    }

    /// Waits until it ended, and leaves it a zombie.
    pub fn wait_unreaped(&self) {
        let which = rustix::process::WaitId::Pid(raw(self.pid()));
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(which, options).unwrap().unwrap();
    }

    /// Waits until it ended by itself, and reaps it.
    pub fn wait(&mut self) {
        self.input = None;
        self.child.wait().unwrap();
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it and its group, and reaps it: afterwards it is gone.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let _ = rustix::process::kill_process_group(raw(self.pid()), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Many children that do nothing, in one process group.
#[derive(Debug)]
pub struct Crowd {
    group: i32,
    children: Vec<Child>,
}

impl Crowd {
    pub fn new(count: usize) -> Self {
        let mut crowd = Self { group: 0, children: Vec::new() };
        for _ in 0..count {
            let mut command = Command::new("sleep");
            command.arg("100000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.process_group(crowd.group).spawn().unwrap();
            if crowd.group == 0 {
                crowd.group = i32::try_from(child.id()).unwrap();
            }
            crowd.children.push(child);
        }
        crowd
    }

    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Lets each one run a little: stops them all, waits until they are, and lets them go on.
    pub fn run(&self) {
        let group = Pid::from_raw(self.group).unwrap();
        rustix::process::kill_process_group(group, Signal::STOP).unwrap();
        for child in &self.children {
            rustix::process::waitpid(Some(raw(child.id())), WaitOptions::UNTRACED).unwrap();
        }
        rustix::process::kill_process_group(group, Signal::CONT).unwrap();
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.group) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

pub fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

pub fn try_tick(source: &mut Processes) -> Result<Snapshot<ProcessSample>> {
    let mut snapshot = Snapshot::default();
    source.collect(&mut snapshot, &Cancel::new())?;
    Ok(snapshot)
}

#[track_caller]
pub fn tick(source: &mut Processes) -> Snapshot<ProcessSample> {
    try_tick(source).unwrap()
}

/// The ticks of a source as a stream, each when it is polled.
pub fn ticks(mut source: Processes) -> impl futures::Stream<Item = Result<Snapshot<ProcessSample>>> + Unpin {
    futures::stream::repeat_with(move || try_tick(&mut source))
}

/// The next item of a stream that is never pending.
#[track_caller]
pub fn next<T>(stream: &mut (impl futures::Stream<Item = Result<T>> + Unpin)) -> T {
    use futures::{FutureExt, StreamExt};
    stream.next().now_or_never().unwrap().unwrap().unwrap()
}

pub fn find(snapshot: &Snapshot<ProcessSample>, pid: u32) -> Option<&ProcessSample> {
    snapshot.samples.iter().find(|sample| sample.id.pid == pid)
}

#[track_caller]
pub fn get(snapshot: &Snapshot<ProcessSample>, pid: u32) -> &ProcessSample {
    find(snapshot, pid).unwrap_or_else(|| panic!("{pid} is not in the samples"))
}

/// Nothing was left out but what had ended when its turn came.
#[track_caller]
pub fn assert_no_loss<T>(snapshot: &Snapshot<T>) {
    let skipped = snapshot.skipped;
    assert_eq!((skipped.denied, skipped.malformed, skipped.failed, skipped.fields), (0, 0, 0, 0), "{skipped:?}");
}

/// A handle to read a process's files directly.
#[track_caller]
pub fn direct(pid: u32) -> Process {
    ProcFs::new("/proc").unwrap().process(pid).unwrap()
}

/// Waits until a process sleeps, and is off its processor: the kernel adds to the CPU clock of one that is on it only at a
/// tick of the scheduler, so that one that runs right now may seem to stand still.
#[track_caller]
pub fn until_asleep(pid: u32) {
    until_off(pid, ProcessState::Sleeping);
}

/// Waits until a process is in this state, and off its processor.
#[track_caller]
pub fn until_off(pid: u32, state: ProcessState) {
    until("off its processor", || {
        direct(pid).stat().unwrap().state == state
            && std::fs::read_to_string(format!("/proc/{pid}/syscall")).map_or(true, |call| call.trim() != "running")
    });
}

/// Waits until a process has this name: a child of `posix_spawn` may not have executed its program yet.
#[track_caller]
pub fn until_named(pid: u32, name: &str) {
    until(name, || direct(pid).stat().unwrap().comm == name);
}

/// The fields of a process that only change while it runs.
pub fn counters(process: &Process) -> Result<Vec<u64>> {
    let (io, status, stat) = (process.io()?, process.status()?, process.stat()?);
    Ok(vec![
        stat.utime_ticks,
        stat.stime_ticks,
        stat.cutime_ticks,
        stat.cstime_ticks,
        stat.minflt,
        stat.majflt,
        u64::from(stat.num_threads),
        io.read_bytes.unwrap(),
        io.write_bytes.unwrap(),
        io.read_chars.unwrap(),
        io.write_chars.unwrap(),
        io.read_syscalls.unwrap(),
        io.write_syscalls.unwrap(),
        io.cancelled_write_bytes.unwrap(),
        status.voluntary_ctxt_switches.unwrap(),
        status.nonvoluntary_ctxt_switches.unwrap(),
    ])
}

/// The same of a sample with `Fields::IO` and `Fields::STATUS`.
#[track_caller]
pub fn counters_of(sample: &ProcessSample) -> Vec<u64> {
    let io = sample.io.value().unwrap_or_else(|| panic!("io of {}: {:?}", sample.id, sample.io));
    let status = sample.status.value().unwrap_or_else(|| panic!("status of {}: {:?}", sample.id, sample.status));
    let ticks = |ns: u64| ns * rustix::param::clock_ticks_per_second() / 1_000_000_000;
    vec![
        ticks(sample.cpu.user_ns),
        ticks(sample.cpu.system_ns),
        ticks(sample.cpu.children_user_ns),
        ticks(sample.cpu.children_system_ns),
        sample.faults.minor,
        sample.faults.major,
        u64::from(sample.threads),
        io.read_bytes.unwrap(),
        io.write_bytes.unwrap(),
        io.read_chars.unwrap(),
        io.write_chars.unwrap(),
        io.read_syscalls.unwrap(),
        io.write_syscalls.unwrap(),
        io.cancelled_write_bytes.unwrap(),
        status.voluntary_ctxt_switches.unwrap(),
        status.nonvoluntary_ctxt_switches.unwrap(),
    ]
}

/// Where the name of the test that runs by itself is told.
const INSIDE: &str = "APPMON_TEST_INSIDE";

/// Runs a test in a process of its own, which the program and arguments of `by` start. Gives true inside of it, where the
/// test goes on; gives false outside, when the test was passed inside.
#[track_caller]
pub fn inside<S: AsRef<OsStr>>(test: &str, by: &[S]) -> bool {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == *test) {
        return true;
    }
    run_inside(test, by, &std::env::current_exe().unwrap());
    false
}

/// Runs a test in a process of its own, of a test program that may lie elsewhere.
#[track_caller]
pub fn run_inside<S: AsRef<OsStr>>(test: &str, by: &[S], program: &std::path::Path) {
    let (first, rest) = by.split_first().unwrap();
    let mut command = Command::new(first);
    command.args(rest).arg(program).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    // It may not be able to write there; what it reports is reported again here.
    command.env_remove(skipped::REPORT);
    let output = command.env(INSIDE, test).stdin(Stdio::null()).output().unwrap();
    let reports = String::from_utf8_lossy(&output.stderr).into_owned();
    for what in reports.lines().filter_map(|line| line.strip_prefix(skipped::MARK)) {
        skipped::report(what.split_once(": ").map_or(what, |(_, what)| what));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // A name that no test has would pass too.
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} failed inside of {:?}:\n{text}\n{}",
        first.as_ref(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How to start a program in a pid namespace with a /proc of its own, where that is possible: as root, or as root of a user
/// namespace. All that is in it ends with that program.
pub fn pid_namespace() -> Option<Vec<&'static str>> {
    let mut by = vec!["unshare"];
    if !is_root() {
        by.push("--map-root-user");
    }
    by.extend(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    let (first, rest) = by.split_first()?;
    let works = Command::new(first).args(rest).arg("true").stderr(Stdio::null()).status();
    let works = works.is_ok_and(|status| status.success());
    require(works, "a pid namespace of its own").then_some(by)
}
