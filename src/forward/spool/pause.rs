//! Nothing is tried for a while after a failure.

use std::time::{Duration, Instant};

use super::failure::Failure;

/// How long: twice as long after each failure.
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

    /// Why nothing is tried now.
    pub(super) fn why(&self, now: Instant) -> Option<&Failure> {
        self.failure.as_ref().filter(|_| self.until.is_some_and(|until| now < until))
    }
}
