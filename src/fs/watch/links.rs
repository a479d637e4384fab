//! Files with several names: each counts once, and those that have names outside of the trees are recognised.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::nodes::NodeId;
use super::unreported;
use crate::fs::walk::{EntryStat, FileId, Totals};

/// A file with several names.
#[derive(Debug)]
pub(super) struct Link {
    facts: Facts,
    /// The directories that have names of it.
    holders: Vec<Holder>,
    /// The number of these names, without those that are roots themselves.
    names: u32,
    /// The number of names that were searched for and not found: they are outside.
    outside: u32,
}

/// The state of the file itself, from statx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) allocated_bytes: u64,
    pub(super) apparent_bytes: u64,
    /// The number of all its names, in the trees and outside.
    pub(super) links: u32,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    node: NodeId,
    root: u32,
    names: u32,
}

/// All files with several names, and their totals for each tree.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: HashMap<FileId, Link>,
    /// Files that can change without an event, in order: they have names outside, or are sparse.
    external: BTreeSet<FileId>,
    /// By tree: their totals.
    totals: Vec<Totals>,
    /// By tree: the number of files that can change without an event, and their bytes.
    uncertain: Vec<(u64, u128)>,
    /// The file that was checked last.
    turn: Option<FileId>,
}

impl Facts {
    pub(super) fn of(entry: &EntryStat) -> Self {
        let EntryStat { allocated_bytes, apparent_bytes, links, .. } = *entry;
        Self { allocated_bytes, apparent_bytes, links }
    }
}

impl Link {
    /// Returns how many of its names are not known.
    fn missing(&self) -> u32 {
        self.facts.links.saturating_sub(self.names)
    }

    fn can_change_unreported(&self) -> bool {
        self.missing() > 0 || unreported::is_sparse(self.facts.allocated_bytes, self.facts.apparent_bytes)
    }

    /// Returns its totals, and the tree that they count for: the first one that has a name of it.
    fn share(&self) -> Option<(u32, Totals)> {
        let root = self.holders.iter().map(|holder| holder.root).min()?;
        // If more names are known than it has, some are at two places by a mount, and count at both as they do in a scan.
        let times = u64::from(self.names.div_ceil(self.facts.links.max(1)).max(1));
        let mut totals = Totals::default();
        totals.count_linked(self.facts.allocated_bytes, self.facts.apparent_bytes, times);
        Some((root, totals))
    }
}

impl Links {
    pub(super) fn new(roots: usize) -> Self {
        Self { totals: vec![Totals::default(); roots], uncertain: vec![(0, 0); roots], ..Self::default() }
    }

    /// Returns their totals for a tree.
    pub(super) fn totals(&self, root: usize) -> Totals {
        self.totals.get(root).copied().unwrap_or_default()
    }

    /// Returns how many files of a tree can change without an event, by their other names or in their holes, and their bytes.
    pub(super) fn uncertain(&self, root: usize) -> (u64, u128) {
        self.uncertain.get(root).copied().unwrap_or_default()
    }

    /// Adds a root that is a file with several names.
    pub(super) fn see_root(&mut self, id: FileId, facts: Facts, root: u32) {
        self.see(id, facts, NodeId::file(root), root);
        if let Some(mut link) = self.take(id) {
            link.names = link.names.saturating_sub(1);
            self.put(id, link);
        }
    }

    /// Removes a root that is not this file any more.
    pub(super) fn unsee_root(&mut self, id: FileId, root: u32) {
        let node = NodeId::file(root);
        let Some(mut link) = self.take(id) else { return };
        link.holders.retain(|holder| holder.node != node);
        self.put(id, link);
    }

    /// Adds a name in a directory, with the state of the file.
    pub(super) fn see(&mut self, id: FileId, facts: Facts, node: NodeId, root: u32) {
        let new = || Link { facts, holders: Vec::new(), names: 0, outside: 0 };
        let mut link = self.take(id).unwrap_or_else(new);
        link.facts = facts;
        link.names = link.names.saturating_add(1);
        match link.holders.iter_mut().find(|holder| holder.node == node) {
            Some(holder) => holder.names = holder.names.saturating_add(1),
            None => link.holders.push(Holder { node, root, names: 1 }),
        }
        self.put(id, link);
    }

    /// Removes a name in a directory.
    pub(super) fn unsee(&mut self, id: FileId, node: NodeId) {
        let Some(mut link) = self.take(id) else { return };
        if let Some(place) = link.holders.iter().rposition(|holder| holder.node == node)
            && let Some(holder) = link.holders.get_mut(place)
        {
            link.names = link.names.saturating_sub(1);
            holder.names = holder.names.saturating_sub(1);
            if holder.names == 0 {
                link.holders.swap_remove(place);
            }
        }
        self.put(id, link);
    }

    /// Updates the state of a file. Returns by how many bytes it changed.
    pub(super) fn update(&mut self, id: FileId, facts: Facts) -> u64 {
        let Some(mut link) = self.take(id) else { return 0 };
        let drift = link.facts.allocated_bytes.abs_diff(facts.allocated_bytes);
        link.facts = facts;
        link.outside = link.outside.min(link.missing());
        self.put(id, link);
        drift
    }

    /// Returns the known state of a file.
    pub(super) fn facts(&self, id: FileId) -> Option<Facts> {
        self.links.get(&id).map(|link| link.facts)
    }

    /// Returns how many names of a file a directory has.
    pub(super) fn names_in(&self, id: FileId, node: NodeId) -> u32 {
        let link = self.links.get(&id);
        link.and_then(|link| link.holders.iter().find(|holder| holder.node == node)).map_or(0, |holder| holder.names)
    }

    /// Returns a directory that has a name of it.
    pub(super) fn holder(&self, id: FileId) -> Option<NodeId> {
        self.links.get(&id)?.holders.first().map(|holder| holder.node)
    }

    /// Whether it has names that were not searched for: a directory may have one, and count it as a file with one name.
    pub(super) fn is_short(&self, id: FileId) -> bool {
        self.links.get(&id).is_some_and(|link| link.missing() > link.outside)
    }

    /// Whether it can change without an event.
    pub(super) fn is_external(&self, id: FileId) -> bool {
        self.external.contains(&id)
    }

    /// Records that the missing names were searched for and not found: they are outside.
    pub(super) fn accept(&mut self, id: FileId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.outside = link.missing();
        }
    }

    /// Returns up to `most` of the next files that can change without an event.
    pub(super) fn next_external(&mut self, most: usize) -> Vec<FileId> {
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let upto = self.turn.map_or(Bound::Excluded(FileId { device: 0, inode: 0 }), Bound::Included);
        let first = self.external.range((after, Bound::Unbounded));
        let second = self.external.range((Bound::Unbounded, upto));
        let ids: Vec<FileId> = first.chain(second).take(most).copied().collect();
        self.turn = ids.last().copied().or(self.turn);
        ids
    }

    /// Removes a file, and subtracts its totals.
    fn take(&mut self, id: FileId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        if let Some((root, totals)) = link.share() {
            let root = root as usize;
            if let Some(all) = self.totals.get_mut(root) {
                all.subtract(&totals);
            }
            if self.external.remove(&id)
                && let Some(all) = self.uncertain.get_mut(root)
            {
                *all = (all.0.wrapping_sub(1), all.1.wrapping_sub(totals.allocated_bytes));
            }
        }
        Some(link)
    }

    /// Inserts a file and adds its totals, unless no directory has a name of it.
    fn put(&mut self, id: FileId, link: Link) {
        if link.holders.is_empty() {
            return;
        }
        if let Some((root, totals)) = link.share() {
            let root = root as usize;
            if let Some(all) = self.totals.get_mut(root) {
                all.add(&totals);
            }
            if link.can_change_unreported()
                && self.external.insert(id)
                && let Some(all) = self.uncertain.get_mut(root)
            {
                *all = (all.0.wrapping_add(1), all.1.wrapping_add(totals.allocated_bytes));
            }
        }
        self.links.insert(id, link);
    }
}
