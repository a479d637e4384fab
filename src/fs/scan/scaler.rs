//! How many threads serve: as many as there are cores, and more when they wait for the disk.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::process::Schedstat;

/// Looks after the number of threads, from the first of them.
pub(super) struct Scaler<'a> {
    /// Starts threads until there are as many.
    spawn: &'a mut dyn FnMut(usize),
    plan: ThreadCounts,
    /// How many there are.
    threads: usize,
    start: Instant,
    /// Since when it is watched how this thread spends its time.
    since: Spent,
}

/// How many threads there are to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadCounts {
    /// As soon as there is enough to do for more than one.
    usual: usize,
    /// When they wait for the disk.
    pub(super) most: usize,
    /// Whether they start whatever there is to do.
    at_once: bool,
}

/// So many entries, or so much time, is worth a thread.
const ENTRIES: u32 = 512;
const TIME: Duration = Duration::from_millis(1);

/// How often to look for whether there are enough.
const PERIOD: Duration = Duration::from_millis(5);

impl ThreadCounts {
    pub(super) fn new(asked: Option<usize>) -> Self {
        match asked {
            Some(threads) => Self { usual: threads, most: threads, at_once: true },
            None => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                // A disk is busy with about a dozen requests, and more threads only get into each other's way.
                Self { usual: cores.min(8), most: cores.saturating_mul(4).min(16), at_once: false }
            }
        }
    }
}

impl<'a> Scaler<'a> {
    pub(super) fn new(plan: ThreadCounts, spawn: &'a mut dyn FnMut(usize)) -> Self {
        let at = Instant::now();
        let since = Spent { at, running: Duration::ZERO, waiting: Duration::ZERO };
        Self { spawn, plan, threads: 1, start: at, since }
    }

    /// Called every now and then, with how many entries were seen so far. `busy` tells that no thread is without work.
    pub(super) fn adjust(&mut self, seen: u32, busy: bool) {
        if self.threads >= self.plan.most {
            return;
        }
        if self.threads < self.plan.usual {
            if self.plan.at_once || seen >= ENTRIES || self.start.elapsed() >= TIME {
                self.grow(self.plan.usual);
            }
        } else if self.since.at.elapsed() >= PERIOD {
            let now = Spent::so_far();
            if busy && now.is_mostly_blocked(&self.since) {
                self.grow(self.threads.saturating_mul(2).min(self.plan.most));
            }
            self.since = now;
        }
    }

    fn grow(&mut self, threads: usize) {
        self.threads = threads;
        (self.spawn)(threads);
        self.since = Spent::so_far();
    }
}

/// What this thread did with its time.
#[derive(Clone, Copy, Debug)]
struct Spent {
    at: Instant,
    running: Duration,
    /// Ready to run, when others ran.
    waiting: Duration,
}

impl Spent {
    fn so_far() -> Self {
        let running = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
        // Without /proc it looks as if it was blocked, and there are more threads than would do.
        let schedstat = std::fs::read("/proc/thread-self/schedstat").unwrap_or_default();
        let waiting = Schedstat::parse(&schedstat).ok().and_then(|schedstat| schedstat.wait_ns).unwrap_or(0);
        Self { at: Instant::now(), running, waiting: Duration::from_nanos(waiting) }
    }

    fn is_mostly_blocked(&self, since: &Self) -> bool {
        let active =
            self.running.saturating_sub(since.running).saturating_add(self.waiting.saturating_sub(since.waiting));
        self.at.saturating_duration_since(since.at) > active.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_only_for_what_is_blocked() {
        let mut counts = Vec::new();
        let plan = ThreadCounts { usual: 2, most: 6, at_once: false };
        let mut spawn = |threads| counts.push(threads);
        let mut scaler = Scaler::new(plan, &mut spawn);
        scaler.adjust(ENTRIES, true);
        for _ in 0..3 {
            let start = Instant::now();
            while start.elapsed() < PERIOD {
                std::hint::spin_loop();
            }
            scaler.adjust(ENTRIES, true);
        }
        for busy in [false, true, true, true] {
            std::thread::sleep(PERIOD);
            scaler.adjust(ENTRIES, busy);
        }
        // On a machine with much else to do, a sleeper waits for its CPU longer than it sleeps; then it takes more periods.
        for _ in 0..60 {
            std::thread::sleep(PERIOD * 2);
            scaler.adjust(ENTRIES, true);
        }
        assert_eq!(counts, [2, 4, 6]);
    }
}
