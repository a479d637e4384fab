//! The parts of the total of a file system.

use std::path::Path;
use std::time::Duration;

use super::FileSystemSample;
use super::attribution::{self, Claimant, Own, Value, attribute};
use super::nesting::{self, Spot};
use super::sample::{Part, PartKind, Watch, fraction};
use super::scan::{Globs, Usage};
use crate::{Monotonic, Text, WirePath};

/// A directory, with the data for its part.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    pub(super) id: u64,
    pub(super) name: &'a Text,
    pub(super) path: &'a Path,
    /// Its place, and the places in it that were counted for its value, if it has one.
    pub(super) spot: &'a Spot,
    pub(super) value: Option<&'a Value>,
    /// The error of the last scan, if it failed.
    pub(super) failure: Option<&'a str>,
    /// Whether watching it was requested.
    pub(super) watched: bool,
    /// The globs of entries that are left out of it.
    pub(super) exclude: &'a Globs,
}

/// Fills in the parts of a file system whose other figures are known. `slices` are sorted by
/// [`nesting::order`].
pub(super) fn fill(sample: &mut FileSystemSample, slices: &[Slice<'_>], now: Monotonic) {
    let age = |at: Monotonic| now.since(at).unwrap_or_default();
    let total = sample.total_bytes;
    let (mut left, mut shared, mut all_complete) = (sample.used_bytes, false, true);
    // Without directories, the three parts of an earlier tick are reused.
    if !slices.is_empty() || sample.parts.len() != 3 {
        sample.parts.clear();
        sample.parts.reserve_exact(slices.len().saturating_add(3));
    }
    if !slices.is_empty() {
        let parents = nesting::parents(slices.iter().map(|slice| ((), slice.spot)));
        let claimants: Vec<Claimant<'_>> = slices.iter().map(Slice::claimant).collect();
        let mut owns = attribute(&claimants, &parents);
        let measured: Vec<Option<u64>> = owns.iter().map(|own| own.is_measured.then_some(own.bytes)).collect();
        shared = fit(&mut owns, &parents, sample.used_bytes);
        left = owns.iter().map(|own| own.bytes).fold(left, u64::saturating_sub);
        for ((slice, own), measured) in slices.iter().zip(owns).zip(measured) {
            let same_as = own.same_as.and_then(|other| slices.get(other)).map(|other| other.name.clone());
            let part = Part { measured_bytes: measured, same_as, ..directory(slice, own, total, age) };
            all_complete &= part.complete;
            sample.parts.push(part);
        }
        // By path; the first registered first.
        sample.parts.sort_by(|a, b| a.path.cmp(&b.path));
    }
    let rest = [
        (PartKind::Other, left, all_complete && !shared),
        (PartKind::Free, sample.free_bytes, true),
        (PartKind::Reserved, sample.reserved_bytes, true),
    ];
    for (place, (kind, bytes, complete)) in (slices.len()..).zip(rest) {
        let fraction = fraction(bytes, total);
        let (at, age) = (sample.at, sample.at.map(age));
        match sample.parts.get_mut(place) {
            Some(part) if part.kind == kind && part.name.is_same(kind.text()) && part.path.is_none() => {
                (part.bytes, part.fraction, part.at, part.age, part.complete) = (bytes, fraction, at, age, complete);
            }
            old => {
                let part = Part {
                    name: kind.text().clone(),
                    path: None,
                    kind,
                    bytes,
                    fraction,
                    measured_bytes: None,
                    scope: None,
                    same_as: None,
                    inclusive_bytes: None,
                    age,
                    at,
                    complete,
                    errors: 0,
                    first_error: None,
                    files: None,
                    directories: None,
                    excluded_mounts: None,
                    apparent_bytes: None,
                    took: None,
                    watch: None,
                };
                match old {
                    Some(old) => *old = part,
                    None => sample.parts.push(part),
                }
            }
        }
    }
    sample.overcommitted = shared;
}

/// Makes the directories' own bytes fit in `used`; returns whether they were reduced for that.
///
/// All are reduced by the same factor, rounded down, and the bytes left over by rounding are added one each to the first.
fn fit(owns: &mut [Own], parents: &[Option<usize>], used: u64) -> bool {
    let sum: u128 = owns.iter().map(|own| u128::from(own.bytes)).sum();
    if sum <= u128::from(used) {
        return false;
    }
    let cut = |own: u64| {
        let part = u128::from(own).saturating_mul(used.into()).checked_div(sum).unwrap_or(0);
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    let mut left = owns.iter().map(|own| cut(own.bytes)).fold(used, u64::saturating_sub);
    for own in owns.iter_mut().filter(|own| own.bytes > 0) {
        let extra = left.min(1);
        left = left.saturating_sub(extra);
        own.bytes = cut(own.bytes).saturating_add(extra);
    }
    attribution::add_up(owns, parents);
    true
}

impl Slice<'_> {
    fn claimant(&self) -> Claimant<'_> {
        Claimant { spot: self.spot, value: self.value, exclude: self.exclude }
    }
}

fn directory(slice: &Slice<'_>, own: Own, total: u64, age: impl Fn(Monotonic) -> Duration) -> Part {
    let usage = slice.value.map(|value| &value.usage);
    let failures = u64::from(slice.failure.is_some());
    // A directory that is scanned though watching was requested is not kept up to date by events.
    let scanned = |value: &Value| Watch { directories: value.usage.directories, ..Watch::SCANNED };
    let watch = slice.value.and_then(|value| value.watch.or(slice.watched.then(|| scanned(value))));
    let watch = watch.map(|watch| Watch { verified_age: watch.verified_at.map(&age), ..watch });
    Part {
        name: slice.name.clone(),
        path: Some(WirePath::from(slice.path)),
        kind: PartKind::Directory,
        bytes: own.bytes,
        fraction: fraction(own.bytes, total),
        measured_bytes: None,
        same_as: None,
        scope: slice.value.map(|value| value.scope),
        inclusive_bytes: Some(own.inclusive),
        age: slice.value.map(|value| age(value.at)),
        at: slice.value.map(|value| value.at),
        complete: slice.failure.is_none() && usage.is_some_and(Usage::is_complete),
        errors: usage.map_or(0, |usage| usage.errors.count).saturating_add(failures),
        first_error: slice.failure.map(Text::from).or_else(|| {
            let first = usage?.errors.first.first()?;
            Some(Text::from(format!("{}: {}", first.path.display(), first.message)))
        }),
        files: usage.map(|usage| usage.files),
        directories: usage.map(|usage| usage.directories),
        excluded_mounts: usage.map(|usage| usage.excluded_mounts),
        apparent_bytes: usage.map(|usage| usage.apparent_bytes),
        took: slice.value.map(|value| value.took),
        watch,
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests: an overflow is a failure")]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::fs::attribution::Piece;
    use proptest::prelude::*;

    /// Returns the value of a directory, with the bytes at places in it; `own` means that those are its own.
    fn value(path: &str, bytes: u64, inner: &[(&str, u64)], own: bool) -> Value {
        let piece = |path: &str, bytes, is_own| Piece { location: PathBuf::from(path), bytes, is_own };
        let mut pieces = vec![piece(path, bytes, true)];
        pieces.extend(inner.iter().map(|(path, bytes)| piece(path, *bytes, own)));
        pieces.sort_by(|a, b| a.location.cmp(&b.location));
        Value {
            usage: Usage { allocated_bytes: bytes, ..Usage::default() },
            pieces: pieces.into(),
            spot: Arc::default(),
            scope: 0,
            at: Monotonic::from_nanos(5),
            took: Duration::ZERO,
            watch: None,
        }
    }

    fn sample(used: u64, free: u64, reserved: u64) -> FileSystemSample {
        FileSystemSample {
            total_bytes: used + free + reserved,
            used_bytes: used,
            free_bytes: free,
            reserved_bytes: reserved,
            at: Some(Monotonic::from_nanos(7)),
            ..FileSystemSample::default()
        }
    }

    /// Checks the own and the inclusive bytes of directories by path, computed from the values of their scans.
    #[track_caller]
    fn check(
        used: u64,
        directories: &[(&str, Option<Value>)],
        expected: &[(u64, u64)],
        other: u64,
    ) -> FileSystemSample {
        let exclude = Globs::default();
        let names: Vec<_> = (1..=directories.len()).map(|id| Text::from(id.to_string())).collect();
        let spots: Vec<_> = directories.iter().map(|(path, _)| Spot::new(path.into(), [])).collect();
        let mut slices: Vec<_> = directories
            .iter()
            .zip(&spots)
            .zip(&names)
            .zip(1..)
            .map(|((((path, value), spot), name), id)| Slice {
                id,
                name,
                path: Path::new(path),
                spot,
                value: value.as_ref(),
                failure: None,
                watched: false,
                exclude: &exclude,
            })
            .collect();
        slices.sort_by(|a, b| nesting::order((a.spot, a.id), (b.spot, b.id)));
        let mut sample = sample(used, 50, 5);
        fill(&mut sample, &slices, Monotonic::from_nanos(9));
        let found: Vec<_> = sample
            .parts
            .iter()
            .filter(|part| part.kind == PartKind::Directory)
            .map(|part| (part.bytes, part.inclusive_bytes.unwrap()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(sample.parts[expected.len()].bytes, other);
        assert_eq!(sample.parts.iter().map(|part| part.bytes).sum::<u64>(), sample.total_bytes);
        sample
    }

    #[test]
    fn files_in_two_directories_count_for_the_inner_one() {
        let values = [
            ("/a", Some(value("/a", 10, &[("/a/b", 7)], false))),
            ("/a/b", Some(value("/a/b", 7, &[], false))),
            ("/ab", Some(value("/ab", 1, &[], false))),
        ];
        let sample = check(100, &values, &[(10, 17), (7, 7), (1, 1)], 82);
        assert!(!sample.overcommitted && sample.parts[3].complete);
        assert_eq!(sample.parts[0].age, Some(Duration::from_nanos(4)));
        assert_eq!(sample.parts[3].age, Some(Duration::from_nanos(2)));
    }

    #[test]
    fn a_directory_registered_since_is_taken_off_and_one_that_left_is_added() {
        // `b` was not registered when `a` was scanned.
        let values = [
            ("/a", Some(value("/a", 10, &[("/a/b/c", 7)], false))),
            ("/a/b", Some(value("/a/b", 5, &[("/a/b/c", 7)], false))),
            ("/a/b/c", Some(value("/a/b/c", 7, &[], false))),
        ];
        let sample = check(100, &values, &[(5, 17), (5, 12), (7, 7)], 83);
        let measured =
            |sample: &FileSystemSample| -> Vec<_> { sample.parts.iter().map(|p| p.measured_bytes).collect() };
        assert_eq!(measured(&sample)[..3], [None, Some(5), Some(7)]);
        let sample = check(100, &[("/a", Some(value("/a", 10, &[("/a/x", 7)], false)))], &[(17, 17)], 83);
        assert_eq!(measured(&sample)[0], None);
        let [outer, inner] = [value("/a", 17, &[], false), value("/a/b", 7, &[], false)];
        check(100, &[("/a", Some(outer.clone())), ("/a/b", Some(inner))], &[(10, 17), (7, 7)], 83);
        check(100, &[("/a", Some(outer)), ("/a/b", None)], &[(17, 17), (0, 0)], 83);
        // A place that was measured separately, and is still its own.
        let sample = check(100, &[("/a", Some(value("/a", 10, &[("/a/x", 7)], true)))], &[(17, 17)], 83);
        assert_eq!(measured(&sample)[0], Some(17));
    }

    #[test]
    fn the_same_directory_twice_counts_for_the_first() {
        let same = Value {
            pieces: [Piece { location: "/a".into(), bytes: 9, is_own: false }].into(),
            ..value("/a", 0, &[], false)
        };
        let sample = check(100, &[("/a", Some(value("/a", 9, &[], false))), ("/a", Some(same))], &[(0, 9), (9, 9)], 91);
        // The second is the outer one: it comes first in the order.
        let parts: Vec<_> = sample.parts.iter().map(|p| (p.same_as.clone(), p.measured_bytes)).collect();
        assert_eq!(parts[..2], [(Some(Text::from("1")), Some(0)), (None, Some(9))]);
    }

    #[test]
    fn directories_that_hold_more_than_is_used_are_made_to_fit() {
        let values =
            [("/a", Some(value("/a", 10, &[("/a/b", 20)], false))), ("/a/b", Some(value("/a/b", 20, &[], false)))];
        for sample in [check(10, &values, &[(4, 10), (6, 6)], 0), check(0, &values, &[(0, 0), (0, 0)], 0)] {
            assert!(sample.overcommitted && !sample.parts[2].complete);
            let measured: Vec<_> = sample.parts.iter().map(|part| part.measured_bytes).collect();
            assert_eq!(measured, [Some(10), Some(20), None, None, None]);
        }
    }

    proptest! {
        #[test]
        fn the_parts_always_make_the_whole(
            used in prop_oneof![0_u64..100, 0..u64::MAX / 4],
            paths in prop::collection::vec("(/[ab]){0,3}", 0..8),
            bytes in prop::collection::vec(prop_oneof![Just(None), (0_u64..60).prop_map(Some), any::<u64>().prop_map(Some)], 8),
            inner in prop::collection::vec(("(/[ab]){0,2}", any::<u64>()), 0..6),
            own in any::<bool>(),
            hidden in prop::collection::vec("([ab](/[ab])?)?", 8),
        ) {
            let (name, exclude) = (Text::from("x"), Globs::default());
            let inner_of = |path: &str| -> Vec<(String, u64)> {
                inner.iter().map(|(below, bytes)| (format!("{path}{below}"), *bytes)).collect()
            };
            let values: Vec<_> = paths.iter().zip(&bytes).map(|(path, bytes)| bytes.map(|bytes| {
                let inner = inner_of(path);
                let inner: Vec<_> = inner.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
                value(path, bytes, &inner, own)
            })).collect();
            let spots: Vec<_> = paths.iter().zip(&hidden).map(|(path, hidden)| {
                let below = Path::new(path).join(hidden);
                Spot::new(path.into(), (!hidden.is_empty()).then_some(below))
            }).collect();
            let mut slices: Vec<_> = paths.iter().zip(&spots).zip(&values).zip(1..).map(|(((path, spot), value), id)| {
                Slice { id, name: &name, path: Path::new(path), spot, value: value.as_ref(), failure: None, watched: false, exclude: &exclude }
            }).collect();
            slices.sort_by(|a, b| nesting::order((a.spot, a.id), (b.spot, b.id)));
            let mut sample = sample(used, 77, 3);
            fill(&mut sample, &slices, Monotonic::from_nanos(9));
            let sum: u128 = sample.parts.iter().map(|part| u128::from(part.bytes)).sum();
            prop_assert_eq!(sum, u128::from(sample.total_bytes));
            for part in &sample.parts {
                prop_assert!(part.inclusive_bytes.is_none_or(|all| all >= part.bytes));
            }
        }
    }
}
