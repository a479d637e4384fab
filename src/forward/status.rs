//! The status of a running forwarder.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;
use crate::forward::report::Report;

/// The current status of a forwarder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The report so far.
    pub report: Report,
    /// Messages waiting to be sent or acknowledged.
    pub waiting_messages: usize,
    /// Bytes of payload waiting in memory.
    pub waiting_bytes: usize,
    /// Messages in the spool, including those in flight; 0 without a spool.
    pub spool_messages: u64,
    /// The bytes they take in the spool.
    pub spool_bytes: u64,
    /// The error of the last attempt; `None` if it succeeded.
    pub last_error: Option<String>,
    /// The streams of [`Forwarder::feed`](crate::forward::Forwarder::feed), in their order; empty for a single stream.
    pub feeds: Vec<FeedStatus>,
}

/// What was taken from one of several streams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedStatus {
    /// The name of the stream.
    pub name: Arc<str>,
    /// Snapshots taken from it.
    pub snapshots: u64,
    /// Samples in them.
    pub samples: u64,
    /// Messages made of them.
    pub messages: u64,
    /// Ticks that failed: errors of the stream.
    pub failed_ticks: u64,
    /// Whether it ended.
    pub ended: bool,
    /// The error that ended it, if one did.
    pub error: Option<String>,
}

impl FeedStatus {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, snapshots: 0, samples: 0, messages: 0, failed_ticks: 0, ended: false, error: None }
    }

    pub(super) fn count(&mut self, samples: u64, messages: u64) {
        self.snapshots = self.snapshots.saturating_add(1);
        self.samples = self.samples.saturating_add(samples);
        self.messages = self.messages.saturating_add(messages);
    }

    pub(super) fn end(&mut self, error: Option<&Error>) {
        self.ended = true;
        self.error = error.map(Error::to_string);
    }
}

/// A handle on the status of a forwarder; see [`Forwarder::monitor`](crate::forward::Forwarder::monitor). Clones refer to the same
/// forwarder.
#[derive(Clone)]
pub struct Monitor(Arc<Shared>);

impl Monitor {
    /// Returns the current status, or after the end the final one.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.get()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Monitor").field(&self.status()).finish()
    }
}

#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Status>);

impl Shared {
    pub(super) fn get(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn report(&self) -> Report {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).report
    }

    pub(super) fn update<R>(&self, change: impl FnOnce(&mut Status) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn monitor(self: &Arc<Self>) -> Monitor {
        Monitor(Arc::clone(self))
    }
}
