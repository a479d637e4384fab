//! What a file system's total is made of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::FileSystemSample;
use super::sample::{Part, PartKind, Watch, fraction};
use super::scan::{Globs, Usage};
use crate::{Monotonic, Text, WirePath};

/// A directory, as the parts are made of it.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    pub(super) id: u64,
    pub(super) name: &'a Text,
    pub(super) path: &'a Path,
    /// Where it is: as of when its value was found, if it has one.
    pub(super) spot: &'a Spot,
    pub(super) value: Option<&'a Value>,
    /// Whether the last scan failed, and why.
    pub(super) failure: Option<&'a str>,
    /// Whether it was asked to be watched.
    pub(super) watched: bool,
    /// What is left out of it.
    pub(super) exclude: &'a Globs,
}

impl Slice<'_> {
    /// Whether a scan of it counts a directory in it that was not told apart.
    fn counts(&self, inner: &Self) -> bool {
        let below = inner.spot.location.strip_prefix(&self.spot.location);
        below.is_ok_and(|below| !self.exclude.leaves_out(below))
    }
}

/// What the last successful scan of a directory found.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Less what the directories in it hold that were registered then.
    pub(super) usage: Usage,
    /// By id, what each directory held that was registered then and lies directly in this one: all of it, that in further
    /// ones too. It is not in `usage`.
    pub(super) inner: Arc<HashMap<u64, u64>>,
    /// Where it was, and what of it could not be counted.
    pub(super) spot: Arc<Spot>,
    /// See [`Part::scope`].
    pub(super) scope: u64,
    /// As of when that is.
    pub(super) at: Monotonic,
    pub(super) took: Duration,
    pub(super) watch: Option<Watch>,
}

/// Where a directory is in its file system: by the path from the root of that, so that it is the same whatever mount leads
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    pub(super) location: PathBuf,
    /// The directories and files in it that other mounts hide: they are not counted, nor what is in them.
    pub(super) hidden: Vec<PathBuf>,
}

impl Spot {
    /// Whether what is counted of the directory has all that is in `inner`, or is the same.
    fn covers(&self, inner: &Self) -> bool {
        inner.location.starts_with(&self.location)
            && !self.hidden.iter().any(|hidden| inner.location.starts_with(hidden))
    }
}

/// Sorts directories of a file system so that each comes before those in it. Of two that are the same, that of which less can
/// be seen comes first, then the one registered later: it is taken to be around the other one, which has it all.
pub(super) fn order(a: (&Spot, u64), b: (&Spot, u64)) -> std::cmp::Ordering {
    let seen = b.0.hidden.len().cmp(&a.0.hidden.len());
    a.0.location.cmp(&b.0.location).then(seen).then(b.1.cmp(&a.1))
}

/// For each of the sorted directories, in which of the others it lies directly, so that it is counted with that; those with
/// different keys are on different file systems.
pub(super) fn nest<'a, K: PartialEq>(spots: impl IntoIterator<Item = (K, &'a Spot)>) -> Vec<Option<usize>> {
    let mut open: Vec<(usize, K, &Spot)> = Vec::new();
    let mut parents = Vec::new();
    for (place, (key, spot)) in spots.into_iter().enumerate() {
        while open.last().is_some_and(|(_, of, outer)| *of != key || !spot.location.starts_with(&outer.location)) {
            open.pop();
        }
        parents.push(open.iter().rev().find(|(.., outer)| outer.covers(spot)).map(|(place, ..)| *place));
        open.push((place, key, spot));
    }
    parents
}

/// What each of the sorted directories holds itself, and with all in it.
///
/// What was found is put together from scans of different times, and of times when other directories were registered. So
/// what a directory was found to hold is corrected by those directly in it: what was left out for one that is not there any
/// more is added, and what one holds that was not there then is taken off.
fn attribute(slices: &[Slice<'_>], parents: &[Option<usize>]) -> Vec<(u64, u64)> {
    let mut inner: Vec<Vec<usize>> = vec![Vec::new(); slices.len()];
    for (place, parent) in parents.iter().enumerate() {
        if let Some(list) = parent.and_then(|parent| inner.get_mut(parent)) {
            list.push(place);
        }
    }
    let mut bytes = vec![(0_u64, 0_u64); slices.len()];
    // Those inside come after those they are in.
    for (place, slice) in slices.iter().enumerate().rev() {
        let inside: &[usize] = inner.get(place).map_or(&[], Vec::as_slice);
        let inclusive = |place: &usize| bytes.get(*place).map_or(0, |(_, inclusive)| *inclusive);
        let own = slice.value.map_or(0, |value| {
            let ids: Vec<u64> = inside.iter().filter_map(|place| slices.get(*place)).map(|slice| slice.id).collect();
            let gone = value.inner.iter().filter(|(id, _)| !ids.contains(id)).map(|(_, bytes)| *bytes);
            let own = gone.fold(value.usage.allocated_bytes, u64::saturating_add);
            let counts = |place: usize| slices.get(place).is_some_and(|inner| slice.counts(inner));
            let new = inside.iter().zip(&ids).filter(|(place, id)| !value.inner.contains_key(id) && counts(**place));
            let new = new.map(|(place, _)| place);
            new.map(inclusive).fold(own, u64::saturating_sub)
        });
        let all = inside.iter().map(inclusive).fold(own, u64::saturating_add);
        if let Some(bytes) = bytes.get_mut(place) {
            *bytes = (own, all);
        }
    }
    bytes
}

/// What each of the sorted directories was measured to hold itself: nothing where that is put together from scans of
/// different times, as other directories were registered in it when it was scanned.
fn measured(slices: &[Slice<'_>], parents: &[Option<usize>], bytes: &[(u64, u64)]) -> Vec<Option<u64>> {
    let mut inside = vec![0_usize; slices.len()];
    let mut known = inside.clone();
    for (slice, parent) in slices.iter().zip(parents) {
        let Some(parent) = *parent else { continue };
        let was_there =
            slices.get(parent).and_then(|outer| outer.value).is_some_and(|v| v.inner.contains_key(&slice.id));
        for (list, more) in [(&mut inside, 1), (&mut known, usize::from(was_there))] {
            if let Some(count) = list.get_mut(parent) {
                *count = count.saturating_add(more);
            }
        }
    }
    let own = slices.iter().zip(bytes).zip(inside.iter().zip(&known)).map(|((slice, (own, _)), (inside, known))| {
        let inner = slice.value?.inner.len();
        (inside == known && inner == *known).then_some(*own)
    });
    own.collect()
}

/// Makes the parts of a file system whose other figures are known. `slices` are sorted by [`order`].
pub(super) fn fill(sample: &mut FileSystemSample, slices: &[Slice<'_>], now: Monotonic) {
    let age = |at: Monotonic| now.since(at).unwrap_or_default();
    let total = sample.total_bytes;
    let (mut left, mut shared, mut all_complete) = (sample.used_bytes, false, true);
    // The memory of an earlier tick is used again where there is nothing but the rest.
    if !slices.is_empty() || sample.parts.len() != 3 {
        sample.parts.clear();
        sample.parts.reserve_exact(slices.len().saturating_add(3));
    }
    if !slices.is_empty() {
        let parents = nest(slices.iter().map(|slice| ((), slice.spot)));
        let mut bytes = attribute(slices, &parents);
        let measured = measured(slices, &parents, &bytes);
        shared = fit(&mut bytes, &parents, sample.used_bytes);
        left = bytes.iter().map(|(own, _)| *own).fold(left, u64::saturating_sub);
        for ((slice, (own, inclusive)), measured) in slices.iter().zip(bytes).zip(measured) {
            let part = Part { measured_bytes: measured, ..directory(slice, own, inclusive, total, age) };
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

/// Makes the directories' own bytes fit in `used`; gives whether they did not.
///
/// Each is made smaller by the same factor, rounded down, and the bytes that this leaves over go one each to the first.
fn fit(bytes: &mut [(u64, u64)], parents: &[Option<usize>], used: u64) -> bool {
    let sum: u128 = bytes.iter().map(|(own, _)| u128::from(*own)).sum();
    if sum <= u128::from(used) {
        return false;
    }
    let cut = |own: u64| {
        let part = u128::from(own).saturating_mul(used.into()).checked_div(sum).unwrap_or(0);
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    let mut left = bytes.iter().map(|(own, _)| cut(*own)).fold(used, u64::saturating_sub);
    for (own, _) in bytes.iter_mut().filter(|(own, _)| *own > 0) {
        let extra = left.min(1);
        left = left.saturating_sub(extra);
        *own = cut(*own).saturating_add(extra);
    }
    for place in (0..bytes.len()).rev() {
        let inside = parents.iter().zip(bytes.iter()).filter(|(parent, _)| **parent == Some(place));
        let inside = inside.map(|(_, (_, inclusive))| *inclusive).fold(0, u64::saturating_add);
        if let Some((own, inclusive)) = bytes.get_mut(place) {
            *inclusive = own.saturating_add(inside);
        }
    }
    true
}

fn directory(slice: &Slice<'_>, own: u64, inclusive: u64, total: u64, age: impl Fn(Monotonic) -> Duration) -> Part {
    let usage = slice.value.map(|value| &value.usage);
    let failures = u64::from(slice.failure.is_some());
    // What is scanned though it was to be watched is not kept up to date by events.
    let scanned = |value: &Value| Watch { directories: value.usage.directories, ..Watch::SCANNED };
    let watch = slice.value.and_then(|value| value.watch.or(slice.watched.then(|| scanned(value))));
    let watch = watch.map(|watch| Watch { verified_age: watch.verified_at.map(&age), ..watch });
    Part {
        name: slice.name.clone(),
        path: Some(WirePath::from(slice.path)),
        kind: PartKind::Directory,
        bytes: own,
        fraction: fraction(own, total),
        measured_bytes: None,
        scope: slice.value.map(|value| value.scope),
        inclusive_bytes: Some(inclusive),
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
    use super::*;
    use proptest::prelude::*;

    fn value(bytes: u64, inner: &[(u64, u64)]) -> Value {
        Value {
            usage: Usage { allocated_bytes: bytes, ..Usage::default() },
            inner: Arc::new(inner.iter().copied().collect()),
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

    fn spot(location: &str, hidden: &[PathBuf]) -> Spot {
        Spot { location: location.into(), hidden: hidden.to_vec() }
    }

    #[test]
    fn what_is_hidden_lies_in_nothing() {
        let spots = [
            spot("/", &["/a/x".into(), "/h".into()]),
            spot("/a", &["/a/x".into(), "/a/y".into()]),
            spot("/a", &["/a/x".into()]),
            spot("/a/b", &[]),
            spot("/a/x", &[]),
            spot("/a/x/z", &[]),
            spot("/a/y/z", &[]),
            spot("/ab", &[]),
        ];
        let parents = nest(spots.iter().map(|spot| ((), spot)));
        assert_eq!(parents, [None, Some(0), Some(1), Some(2), None, Some(4), Some(2), Some(0)]);
        // On different file systems nothing lies in one another.
        let parents = nest(spots.iter().enumerate());
        assert_eq!(parents, [None; 8]);
    }

    /// The own and the inclusive bytes of directories by path, with what their scans found.
    #[track_caller]
    fn check(
        used: u64,
        directories: &[(&str, Option<Value>)],
        expected: &[(u64, u64)],
        other: u64,
    ) -> FileSystemSample {
        let (name, exclude) = (Text::from("x"), Globs::default());
        let spots: Vec<_> = directories.iter().map(|(path, _)| spot(path, &[])).collect();
        let mut slices: Vec<_> = directories
            .iter()
            .zip(&spots)
            .zip(1..)
            .map(|(((path, value), spot), id)| Slice {
                id,
                name: &name,
                path: Path::new(path),
                spot,
                value: value.as_ref(),
                failure: None,
                watched: false,
                exclude: &exclude,
            })
            .collect();
        slices.sort_by(|a, b| order((a.spot, a.id), (b.spot, b.id)));
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
    fn what_is_in_two_directories_counts_for_the_inner_one() {
        let values = [("/a", Some(value(10, &[(2, 7)]))), ("/a/b", Some(value(7, &[]))), ("/ab", Some(value(1, &[])))];
        let sample = check(100, &values, &[(10, 17), (7, 7), (1, 1)], 82);
        assert!(!sample.overcommitted && sample.parts[3].complete);
        assert_eq!(sample.parts[0].age, Some(Duration::from_nanos(4)));
        assert_eq!(sample.parts[3].age, Some(Duration::from_nanos(2)));
    }

    #[test]
    fn a_directory_registered_since_is_taken_off_and_one_that_left_is_added() {
        // 3 lies in 2 now, which was not there when 1 was scanned.
        let values =
            [("/a", Some(value(10, &[(3, 7)]))), ("/a/b", Some(value(5, &[(3, 7)]))), ("/a/b/c", Some(value(7, &[])))];
        let sample = check(100, &values, &[(5, 17), (5, 12), (7, 7)], 83);
        let measured =
            |sample: &FileSystemSample| -> Vec<_> { sample.parts.iter().map(|p| p.measured_bytes).collect() };
        assert_eq!(measured(&sample)[..3], [None, Some(5), Some(7)]);
        let sample = check(100, &[("/a", Some(value(10, &[(9, 7)])))], &[(17, 17)], 83);
        assert_eq!(measured(&sample)[0], None);
        check(100, &[("/a", Some(value(17, &[]))), ("/a/b", Some(value(7, &[])))], &[(10, 17), (7, 7)], 83);
        check(100, &[("/a", Some(value(17, &[]))), ("/a/b", None)], &[(17, 17), (0, 0)], 83);
    }

    #[test]
    fn the_same_directory_twice_counts_for_the_first() {
        let values = [("/a", Some(value(9, &[]))), ("/a", Some(value(0, &[(1, 9)])))];
        // The second is around the first: it comes first in the order.
        check(100, &values, &[(0, 9), (9, 9)], 91);
    }

    #[test]
    fn directories_that_hold_more_than_is_used_are_made_to_fit() {
        let values = [("/a", Some(value(10, &[(2, 20)]))), ("/a/b", Some(value(20, &[])))];
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
            inner in prop::collection::vec((1_u64..9, any::<u64>()), 0..6),
            hidden in prop::collection::vec("([ab](/[ab])?)?", 8),
        ) {
            let (name, exclude) = (Text::from("x"), Globs::default());
            let values: Vec<_> = bytes.iter().map(|bytes| bytes.map(|bytes| value(bytes, &inner))).collect();
            let spots: Vec<_> = paths.iter().zip(&hidden).map(|(path, hidden)| {
                let below = Path::new(path).join(hidden);
                spot(path, if hidden.is_empty() { &[] } else { std::slice::from_ref(&below) })
            }).collect();
            let mut slices: Vec<_> = paths.iter().zip(&spots).zip(&values).zip(1..).map(|(((path, spot), value), id)| {
                Slice { id, name: &name, path: Path::new(path), spot, value: value.as_ref(), failure: None, watched: false, exclude: &exclude }
            }).collect();
            slices.sort_by(|a, b| order((a.spot, a.id), (b.spot, b.id)));
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
