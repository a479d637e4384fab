//! How fast file systems fill.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DeviceId, FileSystemSample, PartKind};
use crate::time::optional_nanos;
use crate::{Counters, Monotonic, Text};

/// How fast a file system and its parts grew between two ticks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileSystemRates {
    /// Growth of what is used, in bytes per second; negative when it shrinks.
    pub used_bytes: f64,
    /// How long until nothing is free to ordinary users if it goes on growing like this; `None` when it does not grow.
    /// Nanoseconds in the wire form.
    #[serde(default, with = "optional_nanos", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub time_to_full: Option<Duration>,
    /// Growth of the parts, in their order.
    pub parts: Vec<PartRates>,
}

/// How fast a part of a file system grew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartRates {
    /// The name of the part.
    pub name: Text,
    /// What it is.
    pub kind: PartKind,
    /// Growth of its `bytes`, per second; negative when it shrinks. For a directory it is that between its last two scans,
    /// told by the tick that first sees the second one, and `None` in between. For one that is watched it is that since the
    /// last tick, and `None` while events do not tell everything: parts of it are of different times then.
    pub bytes: Option<f64>,
}

impl FileSystemRates {
    /// The growth of the directory of this name, in bytes per second.
    #[must_use]
    pub fn directory(&self, name: &str) -> Option<f64> {
        self.parts.iter().find(|part| part.kind == PartKind::Directory && part.name == name)?.bytes
    }
}

/// The figures of a file system of which rates are made.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FileSystemTotals {
    /// Which file system it is.
    pub device_id: DeviceId,
    /// Its size.
    pub total_bytes: u64,
    /// What is used of it.
    pub used_bytes: u64,
    /// Of each part: its name, what it is, its bytes, and when they were found out, if all of them at the same time.
    pub parts: Vec<(Text, PartKind, u64, Option<Monotonic>)>,
}

impl Counters for FileSystemSample {
    type Totals = FileSystemTotals;
    type Rates = FileSystemRates;

    fn totals(&self) -> FileSystemTotals {
        FileSystemTotals {
            device_id: self.device_id,
            total_bytes: self.total_bytes,
            used_bytes: self.used_bytes,
            parts: self
                .parts
                .iter()
                .map(|part| (part.name.clone(), part.kind, part.bytes, part.measured_at()))
                .collect(),
        }
    }

    fn at(&self) -> Monotonic {
        self.at.unwrap_or_default()
    }

    /// `None` where another file system is mounted there now, or its size has changed: what is used is then no growth.
    fn rates(&self, earlier: &FileSystemTotals, elapsed: Duration) -> Option<FileSystemRates> {
        if (self.device_id, self.total_bytes) != (earlier.device_id, earlier.total_bytes) {
            return None;
        }
        let used_bytes = growth(earlier.used_bytes, self.used_bytes, elapsed)?;
        let parts = self.parts.iter().map(|part| {
            let then = earlier.parts.iter().find(|(name, kind, ..)| (name, *kind) == (&part.name, part.kind));
            let bytes =
                then.and_then(|(_, _, bytes, at)| growth(*bytes, part.bytes, part.measured_at()?.since((*at)?)?));
            PartRates { name: part.name.clone(), kind: part.kind, bytes }
        });
        let parts = parts.collect();
        Some(FileSystemRates { used_bytes, time_to_full: time_to_full(self.free_bytes, used_bytes), parts })
    }
}

/// Growth per second; `None` where no time passed.
#[expect(clippy::cast_precision_loss, reason = "a rate is derived: 53 bits are more than it needs")]
fn growth(earlier: u64, now: u64, elapsed: Duration) -> Option<f64> {
    let seconds = elapsed.as_secs_f64();
    let grown = if now >= earlier { now.abs_diff(earlier) as f64 } else { -(now.abs_diff(earlier) as f64) };
    (seconds > 0.0).then(|| grown / seconds)
}

/// `None` where it is further away than anybody can count, too.
#[expect(clippy::cast_precision_loss, reason = "a time to come is derived: 53 bits are more than it needs")]
fn time_to_full(free: u64, per_second: f64) -> Option<Duration> {
    (per_second > 0.0).then(|| Duration::try_from_secs_f64(free as f64 / per_second).ok()).flatten()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests: an overflow is a failure")]
mod tests {
    use super::*;
    use crate::fs::{Part, Watch, WatchMode};

    const SECOND: Duration = Duration::from_secs(1);

    fn sample(used: u64, directory: u64, scanned: u64, at: u64) -> FileSystemSample {
        let part = |name, kind, bytes, at| Part {
            name: Text::from(name),
            kind,
            bytes,
            at: Some(Monotonic::from_nanos(at * 1_000_000_000)),
            ..Part::default()
        };
        FileSystemSample {
            total_bytes: 1000,
            used_bytes: used,
            free_bytes: 1000 - used,
            parts: vec![
                part("a", PartKind::Directory, directory, scanned),
                part("other", PartKind::Other, used - directory, at),
            ],
            at: Some(Monotonic::from_nanos(at * 1_000_000_000)),
            ..FileSystemSample::default()
        }
    }

    #[test]
    fn growth_of_the_whole_and_of_the_parts() {
        let rates = sample(300, 100, 12, 12).rates(&sample(100, 60, 2, 10).totals(), 2 * SECOND).unwrap();
        assert_eq!(rates.used_bytes, 100.0);
        assert_eq!(rates.time_to_full, Some(7 * SECOND));
        assert_eq!(rates.directory("a"), Some(4.0), "ten seconds between its scans");
        assert_eq!(rates.parts[1].bytes, Some(80.0));
    }

    #[test]
    fn what_shrinks_is_never_full_and_what_was_not_scanned_again_has_no_rate() {
        let rates = sample(100, 60, 2, 12).rates(&sample(300, 60, 2, 10).totals(), 2 * SECOND).unwrap();
        assert_eq!((rates.used_bytes, rates.time_to_full, rates.directory("a")), (-100.0, None, None));
    }

    #[test]
    fn what_is_of_different_times_has_no_rate() {
        let watched = |mode, settled, directory, at| {
            let mut sample = sample(300, directory, at, at);
            sample.parts[0].watch = Some(Watch { mode, settled, ..Watch::default() });
            sample
        };
        let check = |earlier: &FileSystemSample, now: &FileSystemSample, rate| {
            let rates = now.rates(&earlier.totals(), SECOND).unwrap();
            assert_eq!(rates.directory("a"), rate);
        };
        let then = watched(WatchMode::Watched, true, 60, 2);
        check(&then, &watched(WatchMode::Watched, true, 100, 4), Some(20.0));
        check(&then, &watched(WatchMode::Polled, true, 100, 4), Some(20.0));
        for mixed in [watched(WatchMode::Partly, true, 100, 4), watched(WatchMode::Watched, false, 100, 4)] {
            check(&then, &mixed, None);
            check(&mixed, &watched(WatchMode::Watched, true, 120, 6), None);
        }
    }

    #[test]
    fn another_file_system_or_another_size_makes_no_rates() {
        let earlier = sample(100, 60, 2, 10).totals();
        let resized = FileSystemSample { total_bytes: 2000, ..sample(100, 60, 2, 12) };
        assert_eq!(resized.rates(&earlier, SECOND), None);
        let other = FileSystemSample { device_id: DeviceId { major: 0, minor: 9 }, ..sample(100, 60, 2, 12) };
        assert_eq!(other.rates(&earlier, SECOND), None);
        assert_eq!(sample(100, 60, 2, 10).rates(&earlier, Duration::ZERO), None, "stalled: no time passed");
    }
}
