//! The status of a running forwarder.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

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
