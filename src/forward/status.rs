//! How a forwarder is doing, while it does it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::forward::report::Report;

/// How a forwarder is doing at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What became of everything so far.
    pub report: Report,
    /// Messages that wait to be sent or answered.
    pub waiting_messages: usize,
    /// Bytes of payload that wait in memory.
    pub waiting_bytes: usize,
    /// Messages in the spool, those on their way included; 0 without one.
    pub spool_messages: u64,
    /// The room they take.
    pub spool_bytes: u64,
    /// Why the last attempt failed; `None` when it did not.
    pub last_error: Option<String>,
}

/// Asks a forwarder how it is doing; see [`Forwarder::monitor`](crate::forward::Forwarder::monitor). Clones ask the same one.
#[derive(Clone)]
pub struct Monitor(Arc<Shared>);

impl Monitor {
    /// How it is doing now. After its end: how it ended.
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
