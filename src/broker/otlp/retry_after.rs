//! The header `Retry-After`.

use std::time::{Duration, SystemTime};

/// Returns how long to wait; `None` for a text that is neither seconds nor a date.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(date(text)?.duration_since(now).unwrap_or_default())
}

/// Reads a date as all servers write it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: u32 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?.checked_add(1)?;
    let year: u32 = words.next()?.parse().ok()?;
    let time = words.next()?;
    // That reader checks the ranges.
    let date = format!("{year:04}-{month:02}-{day:02}T{time}Z");
    humantime::parse_rfc3339(&date).ok().filter(|_| words.next() == Some("GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let wait = |text, now| retry_after(text, at(now));
        assert_eq!(wait(" 17 ", 0), Some(Duration::from_secs(17)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_778), Some(Duration::ZERO), "it is over");
        for wrong in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 36 Nov 1994 08:49:37 GMT"] {
            assert_eq!(wait(wrong, 0), None, "{wrong}");
        }
    }
}
