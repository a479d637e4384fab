//! The progress of a scan, readable by other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The progress of a [`Scan`](crate::fs::Scan). Clones share it; any thread can read it.
///
/// The figures only grow, also over several scans with the same `Progress`, and may lag a little behind the scan.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    entries: AtomicU64,
    allocated_bytes: AtomicU64,
}

impl Progress {
    /// Creates a progress with figures of 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the entries read so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.entries.load(Ordering::Relaxed)
    }

    /// Returns the space on the disk of the entries read so far.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.0.allocated_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, entries: u64, allocated_bytes: u64) {
        self.0.entries.fetch_add(entries, Ordering::Relaxed);
        self.0.allocated_bytes.fetch_add(allocated_bytes, Ordering::Relaxed);
    }
}
