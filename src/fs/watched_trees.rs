//! The trees of watched directories from tick to tick, and their shares of the watches.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::plan::Member;
use super::sample::{Watch, WatchMode};
use super::usage::{MarkedTree, MeasuredTree};
use super::watch::{self, Mode, Reason, RefreshReport, WatchedTree};
use crate::inotify::most_watches;
use crate::{Cancel, Monotonic, Result};

/// All trees of a source, each by the id of the outermost watched directory.
#[derive(Debug, Default)]
pub(super) struct WatchedTrees {
    by_id: HashMap<u64, TreeState>,
    /// The limit of watches of all trees together. Computed when it is needed.
    pub(super) most: Option<usize>,
}

/// The state of a watched directory.
#[derive(Debug, Default)]
struct TreeState {
    /// The directories that its tree measures separately.
    members: Vec<Member>,
    marks: Vec<PathBuf>,
    stage: Stage,
    /// The number of its watches; while it is brought up to date, the number that it may have.
    watches: usize,
}

/// The state of the tree.
#[derive(Debug, Default)]
enum Stage {
    /// There is no tree: nothing was read yet, or the tree was lost.
    #[default]
    None,
    /// It is lent to a thread that brings it up to date, or reads all of it.
    Away { quick: bool },
    /// It is here, with the time that bringing it up to date took last.
    Here(Box<WatchedTree>, Duration),
    /// There are too many directories for the watches: the directory is scanned.
    TooLarge,
}

/// A tree that is lent to a scan.
#[derive(Debug)]
pub(super) struct Lease {
    id: u64,
    /// `None` after it failed, or was too large.
    tree: Option<Box<WatchedTree>>,
    /// The tree that it replaces.
    old: Option<Box<WatchedTree>>,
    watches: usize,
    /// Whether all of it is to be read.
    pub(super) is_new: bool,
    too_large: bool,
}

/// Trees that are not needed any more.
#[must_use = "to be dropped where that may take long: their watches end with them"]
#[derive(Debug, Default)]
pub(super) struct Discarded(Vec<WatchedTree>);

impl WatchedTrees {
    /// Keeps only the trees of these directories.
    pub(super) fn keep_only(&mut self, ids: &[u64]) -> Discarded {
        let mut discarded = Discarded::default();
        self.by_id.retain(|id, tree_owner| {
            let stays = ids.contains(id);
            if !stays && let Stage::Here(tree, _) = std::mem::take(&mut tree_owner.stage) {
                discarded.0.push(*tree);
            }
            stays
        });
        for id in ids {
            self.by_id.entry(*id).or_default();
        }
        discarded
    }

    /// Whether there is no tree.
    pub(super) fn is_empty(&self, id: u64) -> bool {
        self.by_id.get(&id).is_none_or(|tree_owner| matches!(tree_owner.stage, Stage::None))
    }

    /// Whether it has too many directories for the watches, and is scanned.
    pub(super) fn is_too_large(&self, id: u64) -> bool {
        self.by_id.get(&id).is_some_and(|tree_owner| matches!(tree_owner.stage, Stage::TooLarge))
    }

    /// Records the number of directories that a scan found in one that was too large: if it is much less, it is watched when it
    /// is due again.
    pub(super) fn was_scanned(&mut self, id: u64, directories: u64) {
        let watches = self.share(id);
        let few = watch::most_directories(watches) / 2;
        if let Some(tree_owner) = self.by_id.get_mut(&id)
            && matches!(tree_owner.stage, Stage::TooLarge)
            && usize::try_from(directories).is_ok_and(|directories| directories <= few)
        {
            tree_owner.stage = Stage::None;
        }
    }

    /// Whether it is likely to be brought up to date within `time`.
    pub(super) fn is_quick(&self, id: u64, time: Duration) -> bool {
        self.by_id.get(&id).is_some_and(|tree_owner| match &tree_owner.stage {
            Stage::None | Stage::TooLarge => false,
            Stage::Away { quick } => *quick,
            Stage::Here(_, took) => *took <= time,
        })
    }

    /// Lends the tree of these directories: that of the last tick, or a new one if `anew` is set or they are other directories.
    pub(super) fn take(&mut self, id: u64, members: &[Member], walk: &MarkedTree, anew: bool, times: Times) -> Lease {
        let watches = self.share(id);
        let tree_owner = self.by_id.entry(id).or_default();
        tree_owner.watches = watches;
        let same = tree_owner.marks == walk.marks
            && tree_owner.members.len() == members.len()
            && tree_owner.members.iter().zip(members).all(|(a, b)| a.id == b.id && a.location.is_same(&b.location));
        let (known, took) = match std::mem::take(&mut tree_owner.stage) {
            Stage::Here(tree, took) => (Some(tree), took),
            _ => (None, Duration::ZERO),
        };
        let lease = match known {
            Some(mut tree) if same && !anew => {
                tree.set_watches(watches);
                Lease { id, tree: Some(tree), old: None, watches, is_new: false, too_large: false }
            }
            old => {
                let tree = WatchedTree::new(&walk.scan()).watches(watches).verify(times.verify).ttl(times.ttl);
                Lease { id, tree: Some(Box::new(tree)), old, watches, is_new: true, too_large: false }
            }
        };
        (tree_owner.members, tree_owner.marks) = (members.to_vec(), walk.marks.clone());
        tree_owner.stage = Stage::Away { quick: !lease.is_new && took <= times.quick };
        lease
    }

    /// Returns how many watches it may have: those that it has, and its share of the rest.
    fn share(&mut self, id: u64) -> usize {
        let most = *self.most.get_or_insert_with(|| most_watches() / 4);
        let own = self.by_id.get(&id).map_or(0, |tree_owner| tree_owner.watches);
        let taken = self.by_id.values().map(|tree_owner| tree_owner.watches).fold(0, usize::saturating_add);
        // A tree that is lent has had its share.
        let here = self.by_id.values().filter(|tree_owner| !matches!(tree_owner.stage, Stage::Away { .. })).count();
        let share = most.saturating_sub(taken).checked_div(here).unwrap_or(0);
        own.saturating_add(share)
    }

    /// Takes a tree back.
    pub(super) fn return_lease(&mut self, lease: Lease, took: Duration) -> Discarded {
        let mut discarded = Discarded(lease.old.into_iter().map(|old| *old).collect());
        match self.by_id.get_mut(&lease.id) {
            Some(tree_owner) => {
                tree_owner.watches = if lease.tree.is_some() { lease.watches } else { 0 };
                // The time of a full reading is no estimate for the next refreshes.
                let took = if lease.is_new { Duration::ZERO } else { took };
                let gone = if lease.too_large { Stage::TooLarge } else { Stage::None };
                tree_owner.stage = lease.tree.map_or(gone, |tree| Stage::Here(tree, took));
            }
            None => discarded.0.extend(lease.tree.map(|tree| *tree)),
        }
        discarded
    }
}

/// The periods of a watched tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) ttl: Duration,
    pub(super) verify: Duration,
    /// The longest time of a refresh that counts as quick.
    pub(super) quick: Duration,
}

impl Lease {
    /// Brings it up to date, and returns the usage of each of the marks; `None` if it is too large, and is to be
    /// scanned.
    pub(super) fn refresh(&mut self, walk: &MarkedTree, cancel: &Cancel) -> Result<Option<Vec<Result<MeasuredTree>>>> {
        // Dropped first, to free its watches for the new one.
        self.old = None;
        // It is put back only if the refresh did not panic.
        let Some(mut tree) = self.tree.take() else { return Ok(None) };
        let result = tree.refresh(Monotonic::now(), cancel);
        if tree.is_too_large() {
            (self.too_large, self.watches) = (true, 0);
            return result.map(|_| None);
        }
        self.tree = Some(tree);
        let watched = result?;
        self.watches = watched.watches;
        let watch = watch_sample(&watched);
        let uncertain = watched.uncertain.into_iter().chain(std::iter::repeat((0, 0)));
        let found = watched.usage.into_iter().zip(uncertain).map(|(usage, (uncertain_files, uncertain_bytes))| {
            let watch = Some(Watch { uncertain_files, uncertain_bytes, ..watch });
            Ok(MeasuredTree { usage: usage?, at: Some(watched.as_of), watch })
        });
        let mut found: Vec<_> = found.collect();
        for (mark, found) in found.iter_mut().enumerate() {
            if let Err(error) = found.as_ref().map_or(Ok(()), |found| walk.check(mark, &found.usage)) {
                *found = Err(error);
            }
        }
        Ok(Some(found))
    }
}

fn watch_sample(watched: &RefreshReport) -> Watch {
    let count = |count: usize| count as u64;
    let read = [watched.dirty_read, watched.read_in_turn, watched.verified.directories];
    Watch {
        mode: match watched.mode {
            Mode::Degraded(Reason::Overflow) => WatchMode::Overflow,
            Mode::Degraded(Reason::Watches) if watched.watches == 0 => WatchMode::Polled,
            Mode::Degraded(Reason::Watches) => WatchMode::Partly,
            Mode::Degraded(Reason::Unmounted) | Mode::Incremental => WatchMode::Watched,
        },
        settled: watched.is_settled,
        directories: count(watched.directories),
        watches: count(watched.watches),
        directories_read: count(read.into_iter().fold(0, usize::saturating_add)),
        uncertain_files: 0,
        uncertain_bytes: 0,
        asked_files: count(watched.asked),
        drift_bytes: watched.drift.total_bytes,
        verified_at: Some(watched.verified.at),
        verified_age: None,
    }
}

impl Discarded {
    /// Drops them on another thread: removing many watches takes the kernel long.
    pub(super) fn discard(self) {
        if !self.0.is_empty() {
            // If no thread can be started they are dropped here.
            let _ = std::thread::Builder::new().name("appmon-directory".to_owned()).spawn(move || drop(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched_trees(most: usize, ids: &[u64]) -> WatchedTrees {
        let mut watched_trees = WatchedTrees { most: Some(most), ..WatchedTrees::default() };
        assert!(watched_trees.keep_only(ids).0.is_empty());
        watched_trees
    }

    fn take(watched_trees: &mut WatchedTrees, id: u64) -> Lease {
        let mut walk = MarkedTree::default();
        walk.marks = vec!["/".into()];
        let times = Times { ttl: Duration::MAX, verify: Duration::MAX, quick: Duration::ZERO };
        watched_trees.take(id, &[], &walk, false, times)
    }

    #[test]
    fn watches_are_shared_and_never_too_many() {
        let mut watched_trees = watched_trees(90, &[1, 2, 3]);
        let mut away: Vec<Lease> = [1, 2, 3].map(|id| take(&mut watched_trees, id)).into();
        assert_eq!(away.iter().map(|lease| lease.watches).collect::<Vec<_>>(), [30, 30, 30]);
        // A tree that needs fewer leaves the rest to the others.
        for (lease, needed) in away.iter_mut().zip([10, 30, 30]) {
            lease.watches = needed;
        }
        let last = away.pop().unwrap();
        for lease in away {
            let _ = watched_trees.return_lease(lease, Duration::ZERO);
        }
        let second = take(&mut watched_trees, 2);
        assert_eq!(second.watches, 40, "half of the 20 that are left");
        assert_eq!(take(&mut watched_trees, 1).watches, 20);
        assert!(watched_trees.return_lease(last, Duration::ZERO).0.is_empty());
        // A tree that was removed has none.
        assert!(watched_trees.keep_only(&[3]).0.is_empty());
        assert_eq!(take(&mut watched_trees, 3).watches, 90);
        assert_eq!(watched_trees.return_lease(second, Duration::ZERO).0.len(), 1);
    }

    #[test]
    fn a_lost_tree_begins_anew() {
        let mut watched_trees = watched_trees(9, &[1]);
        assert!(watched_trees.is_empty(1) && !watched_trees.is_quick(1, Duration::MAX));
        let mut lease = take(&mut watched_trees, 1);
        assert!(lease.is_new && !watched_trees.is_empty(1));
        let _ = watched_trees.return_lease(lease, Duration::ZERO);
        assert!(watched_trees.is_quick(1, Duration::ZERO));
        lease = take(&mut watched_trees, 1);
        assert!(!lease.is_new);
        lease.tree = None;
        let _ = watched_trees.return_lease(lease, Duration::ZERO);
        assert!(watched_trees.is_empty(1) && take(&mut watched_trees, 1).is_new);
    }
}
