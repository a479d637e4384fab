//! Points in time, on tokio's clock.

use std::time::Duration;

use tokio::time::Instant;

/// Returns the instant this long from now, or a far one if the clock cannot hold it.
pub(super) fn from_now(time: Duration) -> Instant {
    const FOREVER: Duration = Duration::from_secs(1 << 30);
    let now = Instant::now();
    now.checked_add(time.min(FOREVER)).unwrap_or(now)
}
