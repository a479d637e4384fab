//! Applies the outcomes of readings to the tree.

use super::counts::Counts;
use super::entry_cache::Item;
use super::links::Facts;
use super::nodes::{Fault, LinkName, NO_SPAN, Node, NodeId, Queued};
use super::notify::WatchOutcome;
use super::reading::{Asked, ChildDirectory, DirectoryContent, ReadOutcome, widen};
use super::tree::Tree;
use super::unreported;
use crate::Monotonic;
use crate::fs::walk::{EntryStat, at_most};

/// The change of one directory.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) node: NodeId,
    /// Why it was read.
    pub(super) why: Queued,
    /// When it was read before; `None` if it is new.
    pub(super) before: Option<Monotonic>,
    /// The difference in space of its files with one name, and that of its files with several.
    pub(super) own_bytes: u64,
    pub(super) link_bytes: u64,
}

/// The inode number of the root of each subvolume of btrfs.
const SUBVOLUME: u64 = 256;

impl Tree {
    /// Applies the outcomes of many directories: first their lost entries, then their new ones, so that a
    /// directory that was moved from one to the other is recognised, with everything in it.
    pub(super) fn apply(&mut self, outcomes: Vec<(NodeId, ReadOutcome)>, now: Monotonic) -> Vec<Change> {
        let mut changes = Vec::with_capacity(outcomes.len());
        let mut gains = Vec::new();
        for (id, outcome) in outcomes {
            match outcome {
                ReadOutcome::Read(reading) => changes.extend(self.take_over(id, *reading, now, &mut gains)),
                ReadOutcome::Asked(asked) => changes.extend(self.take_over_names(id, *asked)),
                ReadOutcome::Vanished => self.vanished(id),
                ReadOutcome::Failed(errno) => {
                    if let Some(node) = self.nodes.get(id) {
                        let fault = Fault { name: None, errno };
                        let nothing = DirectoryContent::nothing(node.itself, fault);
                        changes.extend(self.take_over(id, nothing, now, &mut gains));
                    }
                }
                ReadOutcome::Later => self.put_off.push(id),
            }
        }
        for (parent, found, why) in gains {
            self.gain(parent, found, why);
        }
        changes
    }

    fn take_over(
        &mut self,
        id: NodeId,
        reading: DirectoryContent,
        now: Monotonic,
        gains: &mut Vec<(NodeId, ChildDirectory, Queued)>,
    ) -> Option<Change> {
        let node = self.nodes.get_mut(id)?;
        self.progress = true;
        let mut own = reading.itself;
        own.add(&reading.counts);
        let root = node.root;
        let why = std::mem::take(&mut node.queued);
        let old = std::mem::replace(&mut node.own, own);
        let before = node.read_at.replace(now);
        node.was_changed = why == Queued::Changed;
        (node.itself, node.span, node.odd) = (reading.itself, reading.span, reading.odd);
        (node.took, node.entries) = (reading.took, reading.entries);
        let entry_caches = (node.entry_cache.take(), &reading.entry_cache);
        for (entry_cache, sign) in [(entry_caches.0.as_ref(), false), (entry_caches.1.as_ref(), true)] {
            let len = entry_cache.map_or(0, |entry_cache| entry_cache.len());
            self.cached = if sign { self.cached.saturating_add(len) } else { self.cached.saturating_sub(len) };
        }
        node.entry_cache = reading.entry_cache;
        if let Some(total) = self.counts.get_mut(root as usize) {
            total.subtract(&old);
            total.add(&own);
        }
        self.failures_changed |= !(node.faults.is_empty() && reading.faults.is_empty());
        if reading.faults.is_empty() {
            self.failed.remove(&id)
        } else {
            self.failed.insert(id)
        };
        node.faults = reading.faults;
        if let Some(watch) = reading.watch {
            self.set_watch(id, watch);
        }
        self.set_unreported(id, reading.unreported);
        let link_bytes = self.take_over_links(id, root, reading.links, why);
        self.take_over_children(id, reading.children, why, gains);
        let own_bytes = at_most(old.totals.allocated_bytes.abs_diff(own.totals.allocated_bytes));
        Some(Change { node: id, why, before, own_bytes, link_bytes })
    }

    fn set_watch(&mut self, id: NodeId, watch: WatchOutcome) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let refused = watch == WatchOutcome::Refused && node.wd.is_none();
        if refused != node.refused {
            node.refused = refused;
            self.refused = if refused { self.refused.saturating_add(1) } else { self.refused.saturating_sub(1) };
        }
        if let WatchOutcome::At(wd) = watch
            && node.wd != Some(wd)
        {
            if let Some(old) = node.wd.replace(wd)
                && self.wds.remove(old, id)
            {
                self.unneeded.push(old);
            }
            self.wds.insert(wd, id);
        }
    }

    /// Adds the new names before it removes the old ones, so that a file that stays is not forgotten.
    fn take_over_links(&mut self, id: NodeId, root: u32, links: Vec<(LinkName, Facts)>, why: Queued) -> u64 {
        let unwatched = self.nodes.get(id).is_some_and(|node| node.refused);
        let mut drift = 0_u64;
        let mut names = Vec::with_capacity(links.len());
        for (link, facts) in links {
            let known = self.links.facts(link.id).map_or(facts.allocated_bytes, |known| known.allocated_bytes);
            drift = drift.saturating_add(known.abs_diff(facts.allocated_bytes));
            self.links.see(link.id, facts, id, root);
            // With a watch, an event would have reported a name that was made here.
            if why != Queued::InTurn || unwatched {
                self.short.insert(link.id);
            }
            names.push(link);
        }
        names.sort_unstable_by_key(|link| link.id);
        let old = self.nodes.get_mut(id).map(|node| std::mem::replace(&mut node.links, names)).unwrap_or_default();
        for link in old {
            self.links.unsee(link.id, id);
            self.lost.insert(link.id);
        }
        drift
    }

    fn take_over_children(
        &mut self,
        id: NodeId,
        found: Vec<ChildDirectory>,
        why: Queued,
        gains: &mut Vec<(NodeId, ChildDirectory, Queued)>,
    ) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let mut old = std::mem::take(&mut node.children);
        let removed = self.removed.remove(&id).unwrap_or_default();
        let is_kept = |child: &Node, found: &ChildDirectory| {
            (child.id, child.born) == (found.id, found.born) && !removed.contains(&child.name)
        };
        let nodes = &self.nodes;
        old.sort_unstable_by(|a, b| nodes.get(*a).map(|a| &a.name).cmp(&nodes.get(*b).map(|b| &b.name)));
        let mut kept = Vec::with_capacity(found.len());
        let mut gone = vec![true; old.len()];
        for found in found {
            let place =
                old.binary_search_by(|child| self.nodes.get(*child).map(|child| &child.name).cmp(&Some(&found.name)));
            let child = place.ok().and_then(|place| Some((*old.get(place)?, gone.get_mut(place)?)));
            match child {
                Some((child, gone)) if self.nodes.get(child).is_some_and(|child| is_kept(child, &found)) => {
                    *gone = false;
                    kept.push(child);
                    self.see_again(child, &found);
                }
                _ => gains.push((id, found, why)),
            }
        }
        for (child, _) in old.into_iter().zip(gone).filter(|(_, gone)| *gone) {
            if self.nodes.get(child).is_some_and(|child| removed.contains(&child.name)) {
                self.drop_tree(child);
            } else {
                self.orphan(child);
            }
        }
        if let Some(node) = self.nodes.get_mut(id) {
            kept.shrink_to_fit();
            node.children = kept;
        }
    }

    /// Updates a directory that is still at its place.
    fn see_again(&mut self, id: NodeId, found: &ChildDirectory) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let (old, root) = (std::mem::replace(&mut node.itself, found.itself), node.root);
        for counts in [Some(&mut node.own), self.counts.get_mut(root as usize)].into_iter().flatten() {
            counts.subtract(&old);
            counts.add(&found.itself);
        }
        if !node.faults.is_empty() {
            self.queue(id, Queued::Changed);
        }
    }

    fn orphan(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.parent = None;
        if let Some(twin) = self.orphans.insert(node.id, id) {
            self.drop_tree(twin);
        }
    }

    /// Adds a directory that is new at its place: it was moved from elsewhere in the tree, or it was not known.
    fn gain(&mut self, parent: NodeId, found: ChildDirectory, why: Queued) {
        let Some(root) = self.nodes.get(parent).map(|node| node.root) else { return };
        // Only a kept watch proves that it is the same directory, and not another one with its number. A subvolume of btrfs
        // keeps its watch when it is deleted, and all have the same number: only its name in `removed` distinguishes the next one.
        let doubtful = self.any_removed && found.id.inode == SUBVOLUME;
        let same = |node: &Node| node.root == root && node.wd.is_some() && node.born == found.born && !doubtful;
        let orphan = self.orphans.get(&found.id).copied();
        let id = match orphan.filter(|orphan| self.nodes.get(*orphan).is_some_and(same)) {
            Some(orphan) => {
                self.orphans.remove(&found.id);
                self.adopt(orphan, parent, &found);
                orphan
            }
            None => {
                let id = self.add(Node::new(Some(parent), found.name, (found.id, found.born), root, found.itself));
                self.queue(id, why);
                id
            }
        };
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.push(id);
        }
    }

    fn adopt(&mut self, id: NodeId, parent: NodeId, found: &ChildDirectory) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.parent = Some(parent);
            node.name.clone_from(&found.name);
            if node.queued != Queued::No {
                self.try_again(id);
            }
        }
        self.see_again(id, found);
        // The paths of errors, and the entries left out by path, are different now.
        self.failures_changed |= !self.failed.is_empty();
        if self.by_path {
            let mut rest = vec![id];
            while let Some(id) = rest.pop() {
                self.queue(id, Queued::Changed);
                rest.extend(self.nodes.get(id).into_iter().flat_map(|node| node.children.iter().copied()));
            }
        }
    }

    /// Handles a directory that is not at its path: its parent is read again, and then it is tried again.
    fn vanished(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.round.1 = node.round.1.saturating_sub(1);
        let parent = node.parent;
        self.missing.push(id);
        if let Some(parent) = parent {
            self.queue(parent, Queued::Changed);
        }
    }

    /// Applies the checked names of a large directory.
    fn take_over_names(&mut self, id: NodeId, asked: Asked) -> Option<Change> {
        let node = self.nodes.get_mut(id)?;
        let why = std::mem::take(&mut node.queued);
        let before = node.read_at;
        let mut own = node.own;
        own.subtract(&node.itself);
        own.add(&asked.itself);
        let (mut whole, mut links) = (false, Vec::new());
        let entry_cache = node.entry_cache.as_deref_mut()?;
        entry_cache.touched.clear();
        let len = entry_cache.len();
        for (name, entry) in &asked.names {
            let item = entry.as_ref().map(Item::of);
            let old = entry_cache.set(name, item);
            match (old, item) {
                (Some(Item::Link(old)), Some(Item::Link(new))) if old == new => {
                    links.extend(entry.as_ref().map(|entry| (new, Facts::of(entry))));
                }
                (Some(Item::File { .. }) | None, Some(Item::File { .. }) | None) => {}
                _ => whole = true,
            }
            own.subtract(&old.map(Item::counts).unwrap_or_default());
            own.add(&item.map(Item::counts).unwrap_or_default());
            if let (Some(Item::File { .. }), Some(entry)) = (item, entry) {
                node.span = widen(node.span, entry.id.inode);
            }
        }
        let (now_len, root) = (entry_cache.len(), node.root as usize);
        node.entries = u32::try_from(now_len).unwrap_or(u32::MAX);
        node.itself = asked.itself;
        let old = std::mem::replace(&mut node.own, own);
        self.cached = self.cached.saturating_sub(len).saturating_add(now_len);
        if let Some(total) = self.counts.get_mut(root) {
            total.subtract(&old);
            total.add(&own);
        }
        for (link, facts) in links {
            self.links.update(link, facts);
        }
        for (name, entry) in &asked.names {
            self.check_unreported(id, name, entry.as_ref());
        }
        if whole {
            // Directories, and names of files that have several, need a reading.
            self.queue(id, Queued::Changed);
        }
        Some(Change { node: id, why, before, own_bytes: 0, link_bytes: 0 })
    }
}

impl DirectoryContent {
    /// Returns the content of a directory that cannot be opened.
    fn nothing(itself: Counts, fault: Fault) -> Self {
        Self {
            itself,
            counts: Counts::default(),
            children: Vec::new(),
            links: Vec::new(),
            faults: vec![fault],
            span: NO_SPAN,
            odd: false,
            entries: 0,
            took: 0,
            watch: None,
            entry_cache: None,
            unreported: unreported::Names::new(),
        }
    }
}

impl Item {
    fn of(entry: &EntryStat) -> Self {
        let EntryStat { allocated_bytes, apparent_bytes, .. } = *entry;
        match entry.links {
            _ if entry.is_dir() => Self::Directory,
            0 | 1 => Self::File { allocated_bytes, apparent_bytes },
            _ => Self::Link(entry.id),
        }
    }
}
