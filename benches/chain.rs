//! Ticks over processes that are each the child of the one before, 8,000 deep, selected as a tree: anybody can make them.
//!
//! `cargo bench -p appmon-benches --bench chain` prints the CPU time of a tick, of all threads; an argument is another depth.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use appmon::{Cancel, Processes, Select, Snapshot, Source};
use common::median;

const DEPTH: usize = 8_000;

/// How many ticks are timed, with a pause before each.
const TICKS: usize = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// Each link starts the next one, and waits until the pipe that all of them have is closed. The last one has a child of its
/// own, and has another one in its place when it is told to, by the FIFO `$2`, which ends with the benchmark too.
const LINK: &str = "\
if [ $1 -gt 0 ]; then
    sh -c \"$0\" \"$0\" $(($1 - 1)) \"$2\" 3<&3 &
    read x <&3
else
    exec 4<\"$2\"
    sleep 100000 3<&- 4<&- >/dev/null & p=$!
    echo $p
    while read x <&4; do
        kill $p; wait $p 2>/dev/null
        sleep 100000 3<&- 4<&- >/dev/null & p=$!
        echo $p
    done
    kill $p
fi";

struct Chain {
    first: Child,
    /// All of them end when these are closed.
    input: Option<ChildStdin>,
    control: Option<std::fs::File>,
    output: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

impl Chain {
    fn start(depth: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let control = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
        let mut first = Command::new("sh")
            .args(["-c", "exec 3<&0; exec sh -c \"$0\" \"$0\" \"$1\" \"$2\"", LINK, &(depth - 2).to_string()])
            .arg(&fifo)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (first.stdin.take(), BufReader::new(first.stdout.take().unwrap()));
        let mut chain = Self { first, input, control: Some(control), output, _directory: directory };
        chain.line();
        chain
    }

    /// Ends the deepest process, and has another one begin there.
    fn change(&mut self) {
        writeln!(self.control.as_mut().unwrap(), "change").unwrap();
        self.line();
    }

    fn line(&mut self) -> u32 {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        (self.input, self.control) = (None, None);
        let _ = self.first.wait();
    }
}

fn main() {
    let depth = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(DEPTH);
    let mut chain = Chain::start(depth);
    let first = Select::pid(chain.first.id());
    let _ = writeln!(std::io::stdout(), "a chain of {depth} processes, CPU time of a tick after a pause: median, most");
    let mut report = |title: &str, select: Select, change: bool| {
        let mut processes = Processes::new().select(select);
        let mut tick = || {
            let mut snapshot = Snapshot::default();
            let before = cpu();
            processes.collect(&mut snapshot, &Cancel::new()).unwrap();
            (cpu() - before, snapshot)
        };
        // Past the first ticks, in which what is new is looked at often.
        let (first_tick, _) = tick();
        let mut selected = 0;
        for _ in 0..8 {
            selected = tick().1.samples.len();
        }
        let mut times: Vec<Duration> = (0..TICKS)
            .map(|_| {
                if change {
                    chain.change();
                }
                std::thread::sleep(PAUSE);
                tick().0
            })
            .collect();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let (middle, most) = (median(&mut times), times[TICKS - 1]);
        let _ = writeln!(
            std::io::stdout(),
            "  {title:<58} {:>7.2} ms {:>7.2} ms; the first tick {:.0} ms, {selected} selected",
            milliseconds(middle),
            milliseconds(most),
            milliseconds(first_tick)
        );
    };
    for (how, change) in [("idle", false), ("one ends and one begins", true)] {
        report(&format!("all, {how}"), Select::all(), change);
        report(&format!("with_descendants(pid), {how}"), first.clone().with_descendants(), change);
        report(&format!("with_descendants(name), {how}"), Select::name("sh").with_descendants(), change);
        report(&format!("topmost(name), {how}"), Select::name("sh").topmost(), change);
        report(&format!("nothing below nothing, {how}"), Select::name("nobody").with_descendants(), change);
    }
}

/// The CPU time of all threads of this process.
fn cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}
