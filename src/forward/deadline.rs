//! Points in time, on tokio's clock.

use std::time::Duration;

use tokio::time::Instant;

/// So long from now.
pub(super) fn from_now(time: Duration) -> Instant {
    after(Instant::now(), time)
}

/// So long after `instant`; where the clock cannot count that far, so far away that nobody lives to see it.
pub(super) fn after(instant: Instant, time: Duration) -> Instant {
    // As tokio does it: far, and not so far that a clock overflows.
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    instant.checked_add(time.min(FAR)).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_far_away_is_not_now() {
        let now = Instant::now();
        let year = Duration::from_secs(365 * 86_400);
        assert_eq!(from_now(Duration::ZERO), now);
        assert_eq!(after(now, Duration::from_secs(7)), now + Duration::from_secs(7));
        assert!(from_now(Duration::MAX) > now + 20 * year);
        assert!(after(now + 50 * year, Duration::MAX) > now + 50 * year);
    }
}
