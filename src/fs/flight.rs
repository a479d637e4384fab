//! A scan under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::scan::Progress;
use crate::Monotonic;

/// A scan that is under way, or waits to begin.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) progress: Progress,
    pub(super) began: Monotonic,
    pub(super) safe: bool,
    /// Whether it counts for the limit of scans at the same time.
    pub(super) counted: bool,
    /// Its progress when a tick gave up waiting for it.
    silent: AtomicU64,
}

impl Flight {
    pub(super) fn new(began: Monotonic, safe: bool, counted: bool) -> Arc<Self> {
        let (progress, silent) = (Progress::new(), AtomicU64::new(u64::MAX));
        Arc::new(Self { progress, began, safe, counted, silent })
    }

    /// Whether it has made no progress since a tick gave up waiting for it.
    pub(super) fn is_silent(&self) -> bool {
        self.progress.entries() == self.silent.load(Ordering::Relaxed)
    }

    /// Records that a tick gave up waiting for it, as it has not progressed beyond `entries` for too long.
    pub(super) fn give_up(&self, entries: u64) {
        self.silent.store(entries, Ordering::Relaxed);
    }
}
