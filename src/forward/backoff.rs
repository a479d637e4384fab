//! The waiting time between two attempts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Exponential back-off with full jitter: a random wait up to a bound that doubles with each failure, so that the hosts of a
/// fleet that lost its broker do not all reconnect at the same moment.
///
/// ```
/// use std::time::Duration;
///
/// use appmon::forward::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
/// assert!(backoff.next_wait() <= Duration::from_millis(100));
/// assert!(backoff.next_wait() <= Duration::from_millis(200));
/// backoff.reset();
/// assert!(backoff.next_wait() <= Duration::from_millis(100));
/// ```
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    bounds: Option<ExponentialBackoff>,
    most: Duration,
}

impl Backoff {
    /// Returns a back-off whose waits are at most `first` after the first failure, and at most `most` after any number of failures.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        let builder = ExponentialBuilder::new().with_min_delay(first).with_max_delay(most).without_max_times();
        Self { builder, bounds: None, most }
    }

    /// Returns how long to wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.bounds.get_or_insert_with(|| self.builder.build()).next().unwrap_or(self.most).min(self.most);
        Duration::from_nanos(fastrand::u64(0..=u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Resets the bound to the first one. To be called after a success.
    pub fn reset(&mut self) {
        self.bounds = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_and_waits_are_random() {
        let first = Duration::from_millis(100);
        let mut backoff = Backoff::new(first, Duration::from_secs(5));
        for attempt in 0..40 {
            let bound = (first * 2_u32.pow(attempt.min(20))).min(Duration::from_secs(5));
            assert!(backoff.next_wait() <= bound, "attempt {attempt}");
        }
        let longest = (0..200).map(|_| backoff.next_wait()).max();
        assert!(longest > Some(Duration::from_secs(4)), "full jitter: {longest:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }

    #[test]
    fn extreme_bounds_are_kept() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert!((0..100).all(|_| backoff.next_wait() == Duration::ZERO));
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        // Each is a random one of up to 584 years.
        assert!((0..100).map(|_| backoff.next_wait()).max() > Some(Duration::from_secs(365 * 86_400)));
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        assert!((0..200).map(|_| backoff.next_wait()).max() > Some(Duration::from_secs(365 * 86_400)));
    }
}
