//! The nesting of directories, by their places in their file system and the visibility of places on their mounts.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The place of a directory in its file system: the path from the root of that, which is the same for all mounts that lead
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    location: PathBuf,
    /// The directories and files in it that other mounts hide: they are not counted, nor their entries. Sorted.
    hidden: Vec<PathBuf>,
}

impl Spot {
    pub(super) fn new(location: PathBuf, hidden: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut hidden: Vec<PathBuf> = hidden.into_iter().collect();
        hidden.sort();
        Self { location, hidden }
    }

    pub(super) fn location(&self) -> &Path {
        &self.location
    }

    /// Returns the hidden places in it that are also in the directory at `place`.
    pub(super) fn hidden_in(&self, place: &Path) -> impl Iterator<Item = &Path> {
        let start = self.hidden.partition_point(|hidden| **hidden < *place);
        let rest = self.hidden.get(start..).unwrap_or_default().iter().map(PathBuf::as_path);
        rest.take_while(move |hidden| hidden.starts_with(place))
    }

    /// Returns the same directory with another path in its file system.
    pub(super) fn moved(&self, to: &Path) -> Self {
        let moved = |path: &PathBuf| move_below(path, &self.location, to);
        Self { location: to.to_path_buf(), hidden: self.hidden.iter().map(moved).collect() }
    }

    /// Whether a place of the file system is in the directory and is not hidden.
    pub(super) fn sees(&self, at: &Path) -> bool {
        let is_hidden = |at: &Path| self.hidden.binary_search_by(|hidden| (**hidden).cmp(at)).is_ok();
        let mut below = at.ancestors().take_while(|above| *above != self.location);
        at.starts_with(&self.location) && (self.hidden.is_empty() || !below.any(is_hidden))
    }
}

/// Moves a path from `from` to `to`.
pub(super) fn move_below(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        // Joining an empty path would add a `/`.
        Ok(below) if below.as_os_str().is_empty() => to.to_path_buf(),
        Ok(below) => to.join(below),
        Err(_) => path.to_path_buf(),
    }
}

/// Sorts directories of a file system so that each comes before those in it. Of two that are the same, the one with less
/// visible comes first, then the one registered later: it counts as the outer one, and entries visible in both belong to the
/// inner one.
pub(super) fn order(a: (&Spot, u64), b: (&Spot, u64)) -> Ordering {
    let seen = b.0.hidden.len().cmp(&a.0.hidden.len());
    a.0.location.cmp(&b.0.location).then(seen).then(b.1.cmp(&a.1))
}

/// Returns for each of the sorted directories the one in which it lies directly: the innermost in which it is visible.
/// Directories with different keys are on different file systems.
pub(super) fn parents<'a, K: PartialEq>(spots: impl IntoIterator<Item = (K, &'a Spot)>) -> Vec<Option<usize>> {
    let mut open: Vec<(usize, K, &Spot)> = Vec::new();
    let mut parents = Vec::new();
    for (place, (key, spot)) in spots.into_iter().enumerate() {
        while open.last().is_some_and(|(_, of, outer)| *of != key || !spot.location.starts_with(&outer.location)) {
            open.pop();
        }
        parents.push(open.iter().rev().find(|(.., outer)| outer.sees(&spot.location)).map(|(place, ..)| *place));
        open.push((place, key, spot));
    }
    parents
}

/// The nesting of all registered directories, computed again only when it changes.
///
/// The directories have numbers, in the order in which each comes before those in it.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    /// The index of each directory in the input.
    places: Vec<usize>,
    parents: Vec<Option<usize>>,
    cuts: Vec<Cut>,
    /// For each directory the cuts that are at its place or below.
    below: Vec<Range<usize>>,
}

/// A place of a file system below which the set of directories that see the entries changes: between two cuts all entries
/// are visible in the same directories.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) location: PathBuf,
    /// The directories in which it is visible, the innermost first, which is its owner.
    pub(super) seers: Vec<usize>,
    /// For a cut that is needed only for the values of these directories.
    known_by: Option<Vec<usize>>,
}

impl Cut {
    /// Whether a scan has to measure it separately: not if all directories that need it are scanned.
    pub(super) fn is_needed(&self, is_scanned: impl Fn(&usize) -> bool) -> bool {
        self.known_by.as_ref().is_none_or(|known_by| !known_by.iter().all(is_scanned))
    }
}

/// A directory in the input of the nesting.
#[derive(Debug)]
pub(super) struct Nested<'a, K> {
    /// The identity of its file system.
    pub(super) key: K,
    pub(super) id: u64,
    pub(super) spot: &'a Spot,
    /// The spot of its value, if it is another one.
    pub(super) earlier: Option<&'a Spot>,
    /// The places that were measured separately for its value.
    pub(super) pieces: Vec<&'a Path>,
}

impl Nesting {
    /// Computes the nesting of directories; `None` stands for one without a location.
    pub(super) fn new<'a, K: Ord>(directories: impl IntoIterator<Item = Option<Nested<'a, K>>>) -> Self {
        let mut all: Vec<(usize, Nested<'a, K>)> = directories
            .into_iter()
            .enumerate()
            .filter_map(|(place, directory)| directory.map(|directory| (place, directory)))
            .collect();
        all.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key).then_with(|| order((a.spot, a.id), (b.spot, b.id))));
        let parents = parents(all.iter().map(|(_, directory)| (&directory.key, directory.spot)));
        let (mut cuts, mut below) = (Vec::new(), Vec::new());
        let mut first = 0_usize;
        for group in all.chunk_by(|(_, a), (_, b)| a.key == b.key) {
            let from = cuts.len();
            cuts.extend(cut(group, first));
            let own = cuts.get(from..).unwrap_or_default();
            below.extend(group.iter().map(|(_, Nested { spot, .. })| {
                let start = own.partition_point(|cut| cut.location < spot.location);
                let rest = own.get(start..).unwrap_or_default();
                let count = rest.iter().take_while(|cut| cut.location.starts_with(&spot.location)).count();
                let start = start.saturating_add(from);
                start..start.saturating_add(count)
            }));
            first = first.saturating_add(group.len());
        }
        Self { places: all.iter().map(|(place, ..)| *place).collect(), parents, cuts, below }
    }

    /// Returns the directories by number: the index of each in the input, and the number of the one in which it lies directly.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize, Option<usize>)> {
        self.places.iter().zip(&self.parents).enumerate().map(|(number, (place, parent))| (number, *place, *parent))
    }

    pub(super) fn place(&self, number: usize) -> Option<usize> {
        self.places.get(number).copied()
    }

    /// Returns the numbers of a directory and of all in it.
    pub(super) fn with_all_in(&self, number: usize) -> impl Iterator<Item = usize> {
        // They follow it directly, except for others at the same place.
        let mut inside = vec![true];
        let rest = self.parents.iter().enumerate().skip(number.saturating_add(1));
        let rest = rest.filter_map(move |(inner, parent)| {
            let nth = parent.and_then(|parent| parent.checked_sub(number));
            let is_inside = nth.is_some_and(|nth| inside.get(nth) == Some(&true));
            inside.push(is_inside);
            is_inside.then_some(inner)
        });
        std::iter::once(number).chain(rest)
    }

    /// Returns the cuts at the place of a directory and below it, each before those in it.
    pub(super) fn cuts(&self, number: usize) -> &[Cut] {
        self.below.get(number).and_then(|range| self.cuts.get(range.clone())).unwrap_or_default()
    }
}

/// Returns the cuts of one file system. The first of its sorted directories has the number `first`.
fn cut<K>(all: &[(usize, Nested<'_, K>)], first: usize) -> Vec<Cut> {
    let mut by_location: HashMap<&Path, Vec<usize>> = HashMap::new();
    let mut known_by: HashMap<&Path, Vec<usize>> = HashMap::new();
    let mut earlier: Vec<(usize, &Spot)> = Vec::new();
    for (nth, (_, directory)) in all.iter().enumerate() {
        by_location.entry(&directory.spot.location).or_default().push(nth);
        for piece in &directory.pieces {
            known_by.entry(piece).or_default().push(nth.saturating_add(first));
        }
        earlier.extend(directory.earlier.map(|spot| (nth.saturating_add(first), spot)));
    }
    let spots = || all.iter().map(|(_, directory)| directory.spot);
    let seers = |at: &Path| -> Vec<usize> {
        let around = at.ancestors().filter_map(|above| by_location.get(above)).flat_map(|nths| nths.iter().rev());
        around.filter(|nth| all.get(**nth).is_some_and(|(_, directory)| directory.spot.sees(at))).copied().collect()
    };
    let seen_earlier = |at: &Path| -> Vec<bool> { earlier.iter().map(|(_, spot)| spot.sees(at)).collect() };
    let mut places: Vec<&Path> = known_by.keys().copied().collect();
    for spot in spots().chain(earlier.iter().map(|(_, spot)| *spot)) {
        places.push(&spot.location);
        places.extend(spot.hidden.iter().map(PathBuf::as_path));
    }
    places.sort_unstable();
    places.dedup();
    let mut cuts: Vec<Cut> = Vec::new();
    let mut open: Vec<(&Path, Vec<usize>, Vec<bool>)> = Vec::new();
    for place in places {
        while open.last().is_some_and(|(around, ..)| !place.starts_with(around)) {
            open.pop();
        }
        let (seers, before) = (seers(place), seen_earlier(place));
        // A cut that does not change the visibility is needed only for values of earlier scans.
        let (mut is_as_around, mut known_to) = (false, known_by.get(place).cloned().unwrap_or_default());
        if let Some((_, around, earlier_around)) = open.last() {
            is_as_around = *around == seers;
            let differ = earlier.iter().zip(earlier_around.iter().zip(&before)).filter(|(_, (a, b))| a != b);
            known_to.extend(differ.map(|((number, _), _)| *number));
        }
        if seers.is_empty() || (is_as_around && known_to.is_empty()) {
            continue;
        }
        let known_by = is_as_around.then_some(known_to);
        let numbers = seers.iter().map(|nth| nth.saturating_add(first)).collect();
        cuts.push(Cut { location: place.to_path_buf(), seers: numbers, known_by });
        open.push((place, seers, before));
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(location: &str, hidden: &[&str]) -> Spot {
        Spot::new(location.into(), hidden.iter().map(PathBuf::from))
    }

    fn spots() -> [Spot; 8] {
        [
            spot("/", &["/a/x", "/h"]),
            spot("/a", &["/a/x", "/a/y"]),
            spot("/a", &["/a/x"]),
            spot("/a/b", &[]),
            spot("/a/x", &[]),
            spot("/a/x/z", &[]),
            spot("/a/y/z", &[]),
            spot("/ab", &[]),
        ]
    }

    #[test]
    fn a_hidden_directory_lies_in_no_other() {
        let spots = spots();
        assert_eq!(
            parents(spots.iter().map(|spot| ((), spot))),
            [None, Some(0), Some(1), Some(2), None, Some(4), Some(2), Some(0)]
        );
        // Directories on different file systems are not in each other.
        assert_eq!(parents(spots.iter().enumerate()), [None; 8]);
    }

    fn nested<K>(key: K, spot: &Spot, id: u64) -> Option<Nested<'_, K>> {
        Some(Nested { key, id, spot, earlier: None, pieces: Vec::new() })
    }

    #[test]
    fn cuts_are_where_others_begin_to_see() {
        let spots = spots();
        let nesting = Nesting::new(spots.iter().zip(0..).map(|(spot, id)| nested((), spot, 9 - id)));
        let cuts = |number| -> Vec<(&str, &[usize])> {
            nesting.cuts(number).iter().map(|cut| (cut.location.to_str().unwrap(), &*cut.seers)).collect()
        };
        let in_a: [(&str, &[usize]); 6] = [
            ("/a", &[2, 1, 0]),
            ("/a/b", &[3, 2, 1, 0]),
            ("/a/x", &[4]),
            ("/a/x/z", &[5, 4]),
            ("/a/y", &[2, 0]),
            ("/a/y/z", &[6, 2, 0]),
        ];
        assert_eq!(cuts(1), in_a);
        assert_eq!(cuts(2), in_a);
        assert_eq!(cuts(0).len(), 8, "with `/` and `/ab`; nobody sees `/h`");
        assert_eq!(cuts(6), [("/a/y/z", &[6, 2, 0][..])]);
        assert_eq!(nesting.with_all_in(1).collect::<Vec<_>>(), [1, 2, 3, 6]);
        assert_eq!(nesting.with_all_in(4).collect::<Vec<_>>(), [4, 5]);
        // On another file system, and one that is nowhere.
        let nesting = Nesting::new([nested(2, &spots[0], 1), None, nested(1, &spots[1], 2), nested(1, &spots[3], 3)]);
        assert_eq!(nesting.iter().collect::<Vec<_>>(), [(0, 2, None), (1, 3, Some(0)), (2, 0, None)]);
        assert_eq!(nesting.cuts(2).len(), 1);
        assert_eq!(nesting.cuts(0).len(), 2);
    }

    #[test]
    fn earlier_values_have_other_cuts() {
        let [outer, inner] = [spot("/", &[]), spot("/a", &[])];
        let earlier = spot("/", &["/a/h"]);
        let outer =
            Nested { earlier: Some(&earlier), pieces: vec![Path::new("/a/x")], ..nested((), &outer, 1).unwrap() };
        let nesting = Nesting::new([Some(outer), nested((), &inner, 2)]);
        let cuts = nesting.cuts(1);
        assert_eq!(cuts.iter().map(|cut| cut.location.to_str().unwrap()).collect::<Vec<_>>(), ["/a", "/a/h", "/a/x"]);
        assert!(cuts.iter().all(|cut| cut.is_needed(|number| *number == 1)));
        let needed = cuts.iter().map(|cut| cut.is_needed(|_| true));
        assert_eq!(needed.collect::<Vec<_>>(), [true, false, false], "all are scanned anew");
    }

    #[test]
    fn a_moved_directory_sees_the_same() {
        let moved = spot("/a", &["/a/x", "/a/b/c"]).moved(Path::new("/z/y"));
        assert_eq!(moved, spot("/z/y", &["/z/y/b/c", "/z/y/x"]));
        assert!(moved.sees(Path::new("/z/y")) && moved.sees(Path::new("/z/y/b")));
        assert!(!moved.sees(Path::new("/z/y/x/1")) && !moved.sees(Path::new("/z")));
        assert!(!spot("deleted:1", &[]).sees(Path::new("/deleted:1")));
    }
}
