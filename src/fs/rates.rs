//! The rates of file systems: how fast they fill.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sample::Identity;
use super::{DeviceId, FileSystemSample, Part, PartKind};
use crate::time::optional_nanos;
use crate::{Counters, Monotonic, Text, WirePath};

/// The growth of a file system and of its parts between two ticks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileSystemRates {
    /// Growth of the used space, in bytes per second; negative when it shrinks.
    pub used_bytes: f64,
    /// The time until nothing is free to ordinary users if this growth continues; `None` when it does not grow.
    /// Nanoseconds in the wire form.
    #[serde(default, with = "optional_nanos", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub time_to_full: Option<Duration>,
    /// Growth of the parts, in their order.
    pub parts: Vec<PartRates>,
}

/// The growth of a part of a file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartRates {
    /// The name of the part.
    pub name: Text,
    /// Its kind.
    pub kind: PartKind,
    /// Growth per second; negative when it shrinks. `None` if it was not measured again.
    ///
    /// For a directory it is the growth of its [`measured_bytes`](crate::fs::Part::measured_bytes) between its last two scans, in
    /// the tick that first has the second one, and `None` in between. For one that is watched it is the growth since the
    /// last tick, and `None` while events do not report everything: parts of it were then read at different times. It is also
    /// `None` if the two scans counted different places: another path or another mount at it, other registered directories or
    /// other mounts in it, more or fewer entries that could not be read ([`scope`](crate::fs::Part::scope)).
    ///
    /// For [`Other`](PartKind::Other) it is the growth of its `bytes`, provided that all directories were measured in the same
    /// ticks as the file system: earlier by no more than a tenth of the time between the two ticks. The growth of a directory
    /// since its last scan is in `bytes` of `Other` until the next scan, and is not growth of `Other`.
    pub bytes: Option<f64>,
}

impl FileSystemRates {
    /// Returns the growth of the directory of this name, in bytes per second.
    #[must_use]
    pub fn directory(&self, name: &str) -> Option<f64> {
        self.parts.iter().find(|part| part.kind == PartKind::Directory && part.name == name)?.bytes
    }
}

/// The figures of a file system from which rates are computed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FileSystemTotals {
    /// The device number, which is unique among the mounted file systems.
    pub device_id: DeviceId,
    /// The id of the mount, if it is known.
    pub mount_id: Option<u64>,
    /// The id of the file system ([`FileSystemSample::fsid`]), if it has answered.
    pub fsid: Option<u64>,
    /// Its size.
    pub total_bytes: u64,
    /// Its used bytes.
    pub used_bytes: u64,
    /// The figures of its parts.
    pub parts: Vec<PartTotals>,
}

/// The figures of a part of a file system from which rates are computed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PartTotals {
    /// The name of the part.
    pub name: Text,
    /// Its kind.
    pub kind: PartKind,
    /// Its bytes as they were measured.
    pub bytes: u64,
    /// When all of them were measured; for the other used space, the earliest time of the figures that it is computed from.
    /// `None` if they were measured at different times, or are not the own bytes of a directory.
    pub at: Option<Monotonic>,
    /// The path of a directory.
    pub path: Option<WirePath>,
    /// The places that were counted: the [`scope`](Part::scope) of a directory; for the other used space, those of all directories.
    pub scopes: Vec<Option<u64>>,
    /// The number of other mounts in it.
    pub excluded_mounts: u64,
    /// The number of entries that could not be read.
    pub errors: u64,
}

impl PartTotals {
    /// Whether both measured the same places.
    fn is_of(&self, other: &Self) -> bool {
        (&self.name, self.kind, &self.path) == (&other.name, other.kind, &other.path)
            && (&self.scopes, self.excluded_mounts, self.errors) == (&other.scopes, other.excluded_mounts, other.errors)
    }
}

impl Counters for FileSystemSample {
    type Totals = FileSystemTotals;
    type Rates = FileSystemRates;

    fn totals(&self) -> FileSystemTotals {
        let Identity { device_id, mount_id, fsid } = self.identity();
        FileSystemTotals {
            device_id,
            mount_id,
            fsid,
            total_bytes: self.total_bytes,
            used_bytes: self.used_bytes,
            parts: self.parts.iter().map(|part| self.totals_of(part)).collect(),
        }
    }

    fn at(&self) -> Monotonic {
        self.at.unwrap_or_default()
    }

    /// Returns `None` if another file system is mounted there now, or the same one was mounted again, or its size has changed:
    /// the difference of the used bytes is then no growth.
    fn rates(&self, earlier: &FileSystemTotals, elapsed: Duration) -> Option<FileSystemRates> {
        let FileSystemTotals { device_id, mount_id, fsid, .. } = *earlier;
        let is_same = self.identity().is_same(&Identity { device_id, mount_id, fsid });
        if !is_same || self.total_bytes != earlier.total_bytes {
            return None;
        }
        let used_bytes = growth(earlier.used_bytes, self.used_bytes, elapsed)?;
        let before = self.at().minus(elapsed);
        let parts = self.parts.iter().map(|part| {
            let now = self.totals_of(part);
            let then = earlier.parts.iter().find(|then| now.is_of(then));
            let bytes = then.and_then(|then| match part.kind {
                PartKind::Directory => growth(then.bytes, now.bytes, now.at?.since(then.at?)?),
                PartKind::Other => {
                    let late = self.at().since(now.at?)?.max(before.since(then.at?).unwrap_or_default());
                    growth(then.bytes, now.bytes, elapsed).filter(|_| late <= elapsed.div_f64(LATE))
                }
                PartKind::Free | PartKind::Reserved => growth(then.bytes, now.bytes, elapsed),
            });
            PartRates { name: part.name.clone(), kind: part.kind, bytes }
        });
        let parts = parts.collect();
        Some(FileSystemRates { used_bytes, time_to_full: time_to_full(self.free_bytes, used_bytes), parts })
    }
}

/// A measurement belongs to a tick if it was made earlier by at most one part in so many of the time between two ticks.
const LATE: f64 = 10.0;

impl FileSystemSample {
    fn totals_of(&self, part: &Part) -> PartTotals {
        let directories = || self.parts.iter().filter(|part| part.kind == PartKind::Directory);
        let (name, kind, path) = (part.name.clone(), part.kind, part.path.clone());
        match kind {
            PartKind::Directory => {
                let at = part.measured_bytes.and_then(|_| part.measured_at());
                let bytes = part.measured_bytes.unwrap_or_default();
                let (scopes, excluded_mounts) = (vec![part.scope], part.excluded_mounts.unwrap_or_default());
                PartTotals { name, kind, bytes, at, path, scopes, excluded_mounts, errors: part.errors }
            }
            PartKind::Other => {
                let measured = |part: &Part| part.measured_bytes.and_then(|_| part.measured_at());
                // If the directories do not fit, the other used space was not measured.
                let at = self.at.filter(|_| !self.overcommitted);
                let at = directories().map(measured).fold(at, |all, at| Some(all?.min(at?)));
                let scopes = directories().map(|part| part.scope).collect();
                let sum = |count: fn(&Part) -> u64| directories().map(count).fold(0, u64::saturating_add);
                let excluded_mounts = sum(|part| part.excluded_mounts.unwrap_or_default());
                let errors = sum(|part| part.errors);
                PartTotals { name, kind, bytes: part.bytes, at, path, scopes, excluded_mounts, errors }
            }
            _ => PartTotals { name, kind, bytes: part.bytes, at: self.at, ..PartTotals::default() },
        }
    }
}

/// Returns the growth per second; `None` if no time passed.
#[expect(clippy::cast_precision_loss, reason = "a rate is derived: 53 bits are more than it needs")]
fn growth(earlier: u64, now: u64, elapsed: Duration) -> Option<f64> {
    let seconds = elapsed.as_secs_f64();
    let grown = if now >= earlier { now.abs_diff(earlier) as f64 } else { -(now.abs_diff(earlier) as f64) };
    (seconds > 0.0).then(|| grown / seconds)
}

/// Returns `None` also if the time is too long for a `Duration`.
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
            path: (kind == PartKind::Directory).then(|| WirePath::from("/a")),
            measured_bytes: (kind == PartKind::Directory).then_some(bytes),
            scope: (kind == PartKind::Directory).then_some(7),
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
        assert_eq!(rates.parts[1].bytes, None, "the size of the directory at that time is not known");
        let rates = sample(300, 100, 12, 12).rates(&sample(100, 60, 10, 10).totals(), 2 * SECOND).unwrap();
        assert_eq!((rates.directory("a"), rates.parts[1].bytes), (Some(20.0), Some(80.0)));
        let rates = sample(300, 100, 11, 12).rates(&sample(100, 60, 10, 10).totals(), 2 * SECOND).unwrap();
        assert_eq!((rates.directory("a"), rates.parts[1].bytes), (Some(40.0), None));
    }

    #[test]
    fn growth_is_that_of_what_was_measured() {
        let fitted = |measured, bytes, at| {
            let mut sample = sample(100, bytes, at, at);
            sample.parts[0].measured_bytes = measured;
            sample.overcommitted = measured > Some(100);
            sample
        };
        let check = |then: &FileSystemSample, now: &FileSystemSample, directory, other| {
            let rates = now.rates(&then.totals(), SECOND).unwrap();
            assert_eq!((rates.directory("a"), rates.parts[1].bytes), (directory, other));
        };
        // Reduced to the used space, it still shrinks; and the other used space jumps, which is no growth.
        check(&fitted(Some(160), 100, 10), &fitted(Some(90), 90, 11), Some(-70.0), None);
        check(&fitted(Some(90), 90, 10), &fitted(Some(160), 100, 11), Some(70.0), None);
        check(&fitted(Some(90), 90, 10), &fitted(Some(80), 80, 11), Some(-10.0), Some(10.0));
        // Combined from different scans, it is no measurement.
        check(&fitted(None, 90, 10), &fitted(Some(80), 80, 11), None, None);
        check(&fitted(Some(80), 80, 10), &fitted(None, 90, 11), None, None);
    }

    #[test]
    fn other_things_make_no_growth() {
        let then = sample(300, 60, 10, 10);
        let check = |now: &FileSystemSample| {
            let rates = now.rates(&then.totals(), SECOND).unwrap();
            assert_eq!((rates.directory("a"), rates.parts.last().unwrap().bytes), (None, None));
        };
        let mut now = sample(300, 100, 11, 11);
        assert!(now.rates(&then.totals(), SECOND).unwrap().directory("a").is_some());
        now.parts[0].path = Some(WirePath::from("/elsewhere"));
        assert_eq!(now.rates(&then.totals(), SECOND).unwrap().directory("a"), None);
        let mut now = sample(300, 100, 11, 11);
        now.parts[0].errors = 1;
        check(&now);
        // Another mount or directory at the path, other directories or mounts in it.
        let mut now = sample(300, 100, 11, 11);
        now.parts[0].scope = Some(8);
        check(&now);
        let mut now = sample(300, 100, 11, 11);
        now.parts[0].excluded_mounts = Some(1);
        check(&now);
    }

    #[test]
    fn another_directory_makes_no_growth_of_the_rest() {
        let then = sample(300, 60, 10, 10);
        let mut now = sample(300, 60, 11, 11);
        let more = Part { name: Text::from("b"), path: Some(WirePath::from("/b")), ..now.parts[0].clone() };
        now.parts.insert(1, Part { scope: Some(9), ..more });
        let rates = now.rates(&then.totals(), SECOND).unwrap();
        assert_eq!((rates.directory("a"), rates.parts[2].bytes), (Some(0.0), None));
    }

    #[test]
    fn shrinking_is_never_full_and_without_a_new_scan_there_is_no_rate() {
        let rates = sample(100, 60, 2, 12).rates(&sample(300, 60, 2, 10).totals(), 2 * SECOND).unwrap();
        assert_eq!((rates.used_bytes, rates.time_to_full, rates.directory("a")), (-100.0, None, None));
    }

    #[test]
    fn values_of_different_times_have_no_rate() {
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
        // Equal numbers that the kernel uses again do not prove that it is the same file system.
        let by_id = |mount_id, fsid| FileSystemSample { mount_id, fsid, ..sample(100, 60, 2, 12) };
        let known = by_id(Some(5), 7).totals();
        assert!(by_id(Some(5), 7).rates(&known, SECOND).is_some());
        assert!(by_id(None, 7).rates(&known, SECOND).is_some(), "a recording of an older kernel");
        assert_eq!(by_id(Some(6), 7).rates(&known, SECOND), None);
        assert_eq!(by_id(Some(5), 8).rates(&known, SECOND), None);
        assert_eq!(sample(100, 60, 2, 10).rates(&earlier, Duration::ZERO), None, "stalled: no time passed");
    }
}
