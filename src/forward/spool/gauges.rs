//! The gauges of a spool, readable at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::answer::Left;

/// The size of a spool, and its losses.
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

    /// Records that all messages in the file, below this position, are lost; `done_with` of them were settled.
    pub(super) fn lose(&self, below: u64, done_with: usize) {
        let left = self.get();
        self.set(Left::default());
        self.lost_below.store(below, Ordering::Relaxed);
        let done_with = u64::try_from(done_with).unwrap_or(u64::MAX);
        self.lost.fetch_add(left.messages.saturating_sub(done_with), Ordering::Release);
    }

    /// Returns the number of lost messages, and the position below which all are lost.
    pub(super) fn lost(&self) -> (u64, u64) {
        // In this order, so that a reader that sees the number also sees the position.
        let lost = self.lost.load(Ordering::Acquire);
        (lost, self.lost_below.load(Ordering::Relaxed))
    }
}
