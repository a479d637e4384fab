//! The number of threads: as many as there are cores, and more when they wait for the disk.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::process::Schedstat;

/// Adjusts the number of threads; it runs in the first of them.
pub(super) struct Scaler<'a> {
    /// Starts threads until there are this many.
    spawn: &'a mut dyn FnMut(usize),
    plan: ThreadCounts,
    /// The current number of threads.
    threads: usize,
    start: Instant,
    /// The times of this thread at the beginning of the current period.
    since: Spent,
}

/// The numbers of threads to start.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadCounts {
    /// The number when there is enough work for more than one.
    usual: usize,
    /// The number when they wait for the disk.
    pub(super) most: usize,
    /// Whether they start even if there is little work.
    at_once: bool,
}

/// The number of entries that are worth a thread, or the time.
const ENTRIES: u32 = 512;
const TIME: Duration = Duration::from_millis(1);

/// How often the number of threads is checked.
const PERIOD: Duration = Duration::from_millis(5);

impl ThreadCounts {
    pub(super) fn new(asked: Option<usize>) -> Self {
        match asked {
            Some(threads) => Self { usual: threads, most: threads, at_once: true },
            None => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                // About a dozen requests keep a disk busy, and more threads only wait for each other.
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

    /// Checks the number of threads, with the number of entries seen so far; `busy` means that no thread is idle.
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

/// The times of this thread.
#[derive(Clone, Copy, Debug)]
struct Spent {
    at: Instant,
    running: Duration,
    /// The time in which it was ready to run, while other threads ran.
    waiting: Duration,
}

impl Spent {
    fn so_far() -> Self {
        let running = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
        // Without /proc it appears to be blocked, and more threads are started than needed.
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
        // On a busy machine, a sleeper waits for its CPU longer than it sleeps; then it takes more periods.
        for _ in 0..60 {
            std::thread::sleep(PERIOD * 2);
            scaler.adjust(ENTRIES, true);
        }
        assert_eq!(counts, [2, 4, 6]);
    }
}
