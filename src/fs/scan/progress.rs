//! How far a scan is, for another thread to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a [`Scan`](crate::fs::Scan) is. Clones share it; any thread can look.
///
/// The figures only grow, also over several scans with the same `Progress`, and are a little behind.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    entries: AtomicU64,
    allocated_bytes: AtomicU64,
}

impl Progress {
    /// At the start.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries seen so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.entries.load(Ordering::Relaxed)
    }

    /// Space on the disk seen so far.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.0.allocated_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, entries: u64, allocated_bytes: u64) {
        self.0.entries.fetch_add(entries, Ordering::Relaxed);
        self.0.allocated_bytes.fetch_add(allocated_bytes, Ordering::Relaxed);
    }
}
