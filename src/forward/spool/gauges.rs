//! What can be seen of a spool from outside, at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::answer::Left;

/// How much is in a spool, and what it lost.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    messages: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    lost_below: AtomicU64,
}

impl Gauges {
    pub(super) fn set(&self, left: Left) {
        self.messages.store(left.messages, Ordering::Relaxed);
        self.samples.store(left.samples, Ordering::Relaxed);
        self.bytes.store(left.bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Left {
        Left {
            messages: self.messages.load(Ordering::Relaxed),
            samples: self.samples.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// All that was in the file is lost, but for so many that were done with: nothing below this position is there any more.
    pub(super) fn lose(&self, below: u64, done_with: usize) {
        let left = self.get();
        self.set(Left::default());
        self.lost_below.store(below, Ordering::Relaxed);
        let done_with = u64::try_from(done_with).unwrap_or(u64::MAX);
        self.lost.fetch_add(left.messages.saturating_sub(done_with), Ordering::Release);
    }

    /// How many messages were lost, and below which position all are.
    pub(super) fn lost(&self) -> (u64, u64) {
        // In this order: whoever sees the number sees the position too.
        let lost = self.lost.load(Ordering::Acquire);
        (lost, self.lost_below.load(Ordering::Relaxed))
    }
}
