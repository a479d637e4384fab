//! What the benchmarks share: a fleet of processes that run when they are told to, and side-by-side timing.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Processes that stand still until they are poked.
pub(crate) struct Fleet(Vec<(Child, ChildStdin, ChildStdout)>);

impl Fleet {
    /// Starts `count` processes, and waits until each stands still.
    pub(crate) fn start(count: usize) -> Self {
        let mut fleet = Self(
            (0..count)
                .map(|_| {
                    let mut child = Command::new("cat")
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .spawn()
                        .expect("cat can be started");
                    let pipes = child.stdin.take().zip(child.stdout.take()).expect("piped");
                    (child, pipes.0, pipes.1)
                })
                .collect(),
        );
        fleet.poke(count);
        fleet
    }

    /// Makes the first `count` of them run, and waits until they have.
    pub(crate) fn poke(&mut self, count: usize) {
        for (_, stdin, _) in self.0.iter_mut().take(count) {
            stdin.write_all(b"x").expect("it reads");
        }
        let mut byte = [0];
        for (_, _, stdout) in self.0.iter_mut().take(count) {
            stdout.read_exact(&mut byte).expect("it answers");
        }
    }

    /// Their pids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.0.iter().map(|(child, ..)| child.id()).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (child, ..) in &mut self.0 {
            let _ = child.kill();
        }
        for (child, ..) in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// One thing to time.
pub(crate) type Contender<'a> = (&'a str, Box<dyn FnMut() + 'a>);

/// Times contenders in turn, `rounds` times after one that does not count, `prepare` before each run; gives the median of
/// each. Each round begins with another one, so that none always finds the caches as the same other one left them.
pub(crate) fn in_turn(rounds: usize, mut prepare: impl FnMut(), contenders: &mut [Contender<'_>]) -> Vec<Duration> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    // A step that comes by all of them.
    let step = if contenders.len().is_multiple_of(5) { 3 } else { 5 };
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let nth = (turn * step + round) % contenders.len();
            let run = &mut contenders[nth].1;
            prepare();
            let start = Instant::now();
            run();
            if round > 0 {
                times[nth].push(start.elapsed());
            }
        }
    }
    times.iter_mut().map(|times| median(times)).collect()
}

/// The middle one.
pub(crate) fn median<T: Ord + Copy>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Prints a table of medians, each with its ratio to the first.
pub(crate) fn print(title: &str, contenders: &[Contender<'_>], medians: &[Duration]) {
    let mut out = std::io::stdout().lock();
    let first = medians[0].as_secs_f64();
    let _ = writeln!(out, "\n{title}");
    for ((name, _), median) in contenders.iter().zip(medians) {
        let ratio = median.as_secs_f64() / first;
        let _ = writeln!(out, "  {name:<44} {:>10.1} µs {ratio:>8.2} ×", median.as_secs_f64() * 1e6);
    }
}
