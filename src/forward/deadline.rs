//! Points in time, on tokio's clock.

use std::time::Duration;

use tokio::time::Instant;

/// Returns the instant `time` from now.
pub(super) fn from_now(time: Duration) -> Instant {
    after(Instant::now(), time)
}

/// Returns the instant `time` after `instant`, or about 30 years after it if `time` is longer than that.
pub(super) fn after(instant: Instant, time: Duration) -> Instant {
    // The value tokio uses: far away, but no clock overflows.
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    instant.checked_add(time.min(FAR)).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_times_do_not_overflow() {
        let now = Instant::now();
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(from_now(Duration::ZERO), now);
        assert_eq!(after(now, Duration::from_secs(7)), now + Duration::from_secs(7));
        assert!(from_now(Duration::MAX) > now + 20 * year);
        assert!(after(now + 50 * year, Duration::MAX) > now + 50 * year);
    }
}
