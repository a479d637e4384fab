//! What stops a scan, or slows it down.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Cancel;
use crate::fs::walk::Partial;

/// Asked before each entry, by all threads of a scan.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    cancel: &'a Cancel,
    stopped: AtomicU8,
    deadline: Option<Instant>,
    /// How many entries more.
    left: Option<AtomicU64>,
    pace: Option<Pace>,
}

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const ENTRIES: u8 = 2;
const TIME: u8 = 3;
const BROKEN: u8 = 4;

impl<'a> Limits<'a> {
    pub(super) fn new(
        cancel: &'a Cancel,
        start: Instant,
        max_duration: Option<Duration>,
        max_entries: Option<u64>,
        entries_per_second: Option<u64>,
    ) -> Self {
        Self {
            cancel,
            stopped: AtomicU8::new(RUNNING),
            deadline: max_duration.and_then(|duration| start.checked_add(duration)),
            left: max_entries.map(AtomicU64::new),
            pace: entries_per_second.map(|rate| Pace::new(start, rate)),
        }
    }

    /// Whether one more entry may be read; waits for its time.
    #[inline]
    pub(super) fn allow_entry(&self) -> bool {
        self.goes_on() && self.left.as_ref().is_none_or(|left| self.take(left)) && self.wait()
    }

    /// Whether the scan is to go on.
    #[inline]
    pub(super) fn goes_on(&self) -> bool {
        if self.cancel.is_cancelled() {
            self.stop(CANCELLED);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.stop(TIME);
        }
        self.stopped.load(Ordering::Relaxed) == RUNNING
    }

    /// Something went wrong in one of the threads; the others are to stop.
    pub(super) fn break_off(&self) {
        self.stop(BROKEN);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) == CANCELLED
    }

    /// Why it was stopped.
    pub(super) fn reason(&self) -> Option<Partial> {
        match self.stopped.load(Ordering::Relaxed) {
            ENTRIES => Some(Partial::Entries),
            TIME => Some(Partial::Time),
            BROKEN => Some(Partial::Errors),
            _ => None,
        }
    }

    /// The first reason is the one.
    fn stop(&self, why: u8) {
        let _ = self.stopped.compare_exchange(RUNNING, why, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn take(&self, left: &AtomicU64) -> bool {
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if !taken {
            self.stop(ENTRIES);
        }
        taken
    }

    fn wait(&self) -> bool {
        /// So soon is a cancellation seen.
        const NAP: Duration = Duration::from_millis(2);
        let Some(pace) = &self.pace else { return true };
        let due = pace.next();
        loop {
            let wait = due.saturating_sub(pace.start.elapsed());
            if wait < Pace::AHEAD {
                return true;
            }
            std::thread::sleep(wait.min(NAP));
            if !self.goes_on() {
                return false;
            }
        }
    }
}

/// So many entries per second.
#[derive(Debug)]
struct Pace {
    start: Instant,
    interval: u64,
    /// When the next entry is due: nanoseconds from the start.
    next: AtomicU64,
}

impl Pace {
    /// How far ahead of its time an entry may be: no thread can sleep for less to the purpose.
    const AHEAD: Duration = Duration::from_millis(1);

    fn new(start: Instant, rate: u64) -> Self {
        Self {
            start,
            interval: 1_000_000_000_u64.checked_div(rate).unwrap_or(u64::MAX).max(1),
            next: AtomicU64::new(0),
        }
    }

    /// When one more entry is due. Time in which there was nothing to do is not made up for.
    fn next(&self) -> Duration {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let after = |next: u64| next.max(now).saturating_add(self.interval);
        let due = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| Some(after(next)));
        Duration::from_nanos(due.unwrap_or_default().max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_entries_and_no_more() {
        let cancel = Cancel::new();
        let limits = Limits::new(&cancel, Instant::now(), None, Some(3), None);
        assert_eq!((0..10).filter(|_| limits.allow_entry()).count(), 3);
        assert_eq!(limits.reason(), Some(Partial::Entries));
        cancel.cancel();
        assert!(!limits.goes_on());
        assert!(!limits.is_cancelled(), "the first reason is the one");
    }

    #[test]
    fn a_pace_is_kept() {
        let (cancel, start) = (Cancel::new(), Instant::now());
        let limits = Limits::new(&cancel, start, None, None, Some(1_000));
        assert!((0..31).all(|_| limits.allow_entry()));
        assert!(start.elapsed() >= Duration::from_millis(28), "{:?}", start.elapsed());
    }
}
