//! Files with several names: each counts once, and those that have names elsewhere are known by them.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::nodes::NodeId;
use super::unheard;
use crate::fs::walk::{EntryStat, FileId, Totals};

/// What is known of a file with several names.
#[derive(Debug)]
pub(super) struct Link {
    facts: Facts,
    /// The directories that have names of it.
    holders: Vec<Holder>,
    /// How many names that is, those apart that are roots themselves.
    names: u32,
    /// How many of its names were looked for in vain: they are elsewhere.
    outside: u32,
}

/// What the file itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) allocated_bytes: u64,
    pub(super) apparent_bytes: u64,
    /// How many names it has, wherever they are.
    pub(super) links: u32,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    node: NodeId,
    root: u32,
    names: u32,
}

/// All of them, and what they add to the totals of the trees.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: HashMap<FileId, Link>,
    /// Those that can change without an event, in order: they have names elsewhere, or are sparse.
    external: BTreeSet<FileId>,
    /// By tree: what they count.
    totals: Vec<Totals>,
    /// By tree: how many those are, and what they count.
    uncertain: Vec<(u64, u128)>,
    /// The one that was asked last.
    turn: Option<FileId>,
}

impl Facts {
    pub(super) fn of(entry: &EntryStat) -> Self {
        let EntryStat { allocated_bytes, apparent_bytes, links, .. } = *entry;
        Self { allocated_bytes, apparent_bytes, links }
    }
}

impl Link {
    /// How many of its names are not known.
    fn missing(&self) -> u32 {
        self.facts.links.saturating_sub(self.names)
    }

    fn can_change_unheard(&self) -> bool {
        self.missing() > 0 || unheard::is_sparse(self.facts.allocated_bytes, self.facts.apparent_bytes)
    }

    /// What it adds, and to which tree: the first that has a name, whichever was met first.
    fn share(&self) -> Option<(u32, Totals)> {
        let root = self.holders.iter().map(|holder| holder.root).min()?;
        // More names than there are: some are met at two places, by a mount, and count at both as they do in a scan.
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

    /// What they add to a tree.
    pub(super) fn totals(&self, root: usize) -> Totals {
        self.totals.get(root).copied().unwrap_or_default()
    }

    /// How many files of a tree can change without a word, by their other names or by being sparse, and their bytes.
    pub(super) fn uncertain(&self, root: usize) -> (u64, u128) {
        self.uncertain.get(root).copied().unwrap_or_default()
    }

    /// A root is a file that has several names, and was asked.
    pub(super) fn see_root(&mut self, id: FileId, facts: Facts, root: u32) {
        self.see(id, facts, NodeId::file(root), root);
        if let Some(mut link) = self.take(id) {
            link.names = link.names.saturating_sub(1);
            self.put(id, link);
        }
    }

    /// A root is that file no more.
    pub(super) fn unsee_root(&mut self, id: FileId, root: u32) {
        let node = NodeId::file(root);
        let Some(mut link) = self.take(id) else { return };
        link.holders.retain(|holder| holder.node != node);
        self.put(id, link);
    }

    /// A name was found in a directory, and the file asked.
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

    /// A name in a directory is no more.
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

    /// A file was asked. Gives by how many bytes it was not what was known.
    pub(super) fn update(&mut self, id: FileId, facts: Facts) -> u64 {
        let Some(mut link) = self.take(id) else { return 0 };
        let drift = link.facts.allocated_bytes.abs_diff(facts.allocated_bytes);
        link.facts = facts;
        link.outside = link.outside.min(link.missing());
        self.put(id, link);
        drift
    }

    /// What is known of the file itself.
    pub(super) fn facts(&self, id: FileId) -> Option<Facts> {
        self.links.get(&id).map(|link| link.facts)
    }

    /// How many names a directory has of a file.
    pub(super) fn names_in(&self, id: FileId, node: NodeId) -> u32 {
        let link = self.links.get(&id);
        link.and_then(|link| link.holders.iter().find(|holder| holder.node == node)).map_or(0, |holder| holder.names)
    }

    /// A directory that has a name of it.
    pub(super) fn holder(&self, id: FileId) -> Option<NodeId> {
        self.links.get(&id)?.holders.first().map(|holder| holder.node)
    }

    /// Whether it has names that were not looked for: a directory may have one, and count it for a file of its own.
    pub(super) fn is_short(&self, id: FileId) -> bool {
        self.links.get(&id).is_some_and(|link| link.missing() > link.outside)
    }

    /// Whether it can change without an event.
    pub(super) fn is_external(&self, id: FileId) -> bool {
        self.external.contains(&id)
    }

    /// The names that are missing were looked for: they are elsewhere.
    pub(super) fn accept(&mut self, id: FileId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.outside = link.missing();
        }
    }

    /// The next ones that can change without an event, so many at most.
    pub(super) fn next_external(&mut self, most: usize) -> Vec<FileId> {
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let upto = self.turn.map_or(Bound::Excluded(FileId { device: 0, inode: 0 }), Bound::Included);
        let first = self.external.range((after, Bound::Unbounded));
        let second = self.external.range((Bound::Unbounded, upto));
        let ids: Vec<FileId> = first.chain(second).take(most).copied().collect();
        self.turn = ids.last().copied().or(self.turn);
        ids
    }

    /// Takes one out, with what it adds.
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

    /// Puts one back, unless nobody has a name of it.
    fn put(&mut self, id: FileId, link: Link) {
        if link.holders.is_empty() {
            return;
        }
        if let Some((root, totals)) = link.share() {
            let root = root as usize;
            if let Some(all) = self.totals.get_mut(root) {
                all.add(&totals);
            }
            if link.can_change_unheard()
                && self.external.insert(id)
                && let Some(all) = self.uncertain.get_mut(root)
            {
                *all = (all.0.wrapping_add(1), all.1.wrapping_add(totals.allocated_bytes));
            }
        }
        self.links.insert(id, link);
    }
}
