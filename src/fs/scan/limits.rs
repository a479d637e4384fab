//! The limits that stop a scan, or slow it down.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Cancel;
use crate::fs::walk::Partial;

/// The limits, which all threads of a scan check before each entry.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    cancel: &'a Cancel,
    stopped: AtomicU8,
    deadline: Option<Instant>,
    /// The number of entries left.
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

    /// Waits until one more entry may be read; returns whether the scan is to go on.
    #[inline]
    pub(super) fn allow_entry(&self) -> bool {
        self.goes_on() && self.left.as_ref().is_none_or(|left| self.take(left)) && self.wait()
    }

    /// Whether no limit has stopped the scan.
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

    /// Stops the other threads after a failure in one of them.
    pub(super) fn break_off(&self) {
        self.stop(BROKEN);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) == CANCELLED
    }

    /// Returns why it was stopped.
    pub(super) fn reason(&self) -> Option<Partial> {
        match self.stopped.load(Ordering::Relaxed) {
            ENTRIES => Some(Partial::Entries),
            TIME => Some(Partial::Time),
            BROKEN => Some(Partial::Errors),
            _ => None,
        }
    }

    /// Stops the scan; the first reason is kept.
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
        /// How soon a cancellation is seen.
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

/// A limit of entries per second.
#[derive(Debug)]
struct Pace {
    start: Instant,
    interval: u64,
    /// When the next entry is due: nanoseconds from the start.
    next: AtomicU64,
}

impl Pace {
    /// How far ahead of its time an entry may be read: shorter sleeps are not accurate.
    const AHEAD: Duration = Duration::from_millis(1);

    fn new(start: Instant, rate: u64) -> Self {
        Self {
            start,
            interval: 1_000_000_000_u64.checked_div(rate).unwrap_or(u64::MAX).max(1),
            next: AtomicU64::new(0),
        }
    }

    /// Returns when one more entry is due. Unused time is not saved up.
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
        assert!(!limits.is_cancelled(), "the first reason is kept");
    }

    #[test]
    fn a_pace_is_kept() {
        let (cancel, start) = (Cancel::new(), Instant::now());
        let limits = Limits::new(&cancel, start, None, None, Some(1_000));
        assert!((0..31).all(|_| limits.allow_entry()));
        assert!(start.elapsed() >= Duration::from_millis(28), "{:?}", start.elapsed());
    }
}
