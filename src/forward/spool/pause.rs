//! The pause after a failure of a transaction.

use std::time::{Duration, Instant};

use super::failure::Failure;

/// The bounds of the pause, which doubles with each failure.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
    length: Duration,
    failure: Option<Failure>,
}

impl Pause {
    pub(super) fn begin(&mut self, failure: Failure, now: Instant) {
        self.length = self.length.saturating_mul(2).clamp(FIRST, LONGEST);
        self.until = now.checked_add(self.length);
        self.failure = Some(failure);
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Returns the failure during its pause, and `None` otherwise.
    pub(super) fn why(&self, now: Instant) -> Option<&Failure> {
        self.failure.as_ref().filter(|_| self.until.is_some_and(|until| now < until))
    }
}
