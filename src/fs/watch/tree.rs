//! The state of the watched trees, and the queue of directories to be read.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::CStr;
use std::sync::atomic::AtomicUsize;

use super::counts::Counts;
use super::entry_cache::{LARGE, MOST};
use super::links::Links;
use super::nodes::{Node, NodeId, Nodes, Queued};
use super::roots::{RootPlace, Roots};
use super::wds::Wds;
use crate::Monotonic;
use crate::fs::walk::{Fence, FileId, Mounted};
use crate::inotify::Wd;

/// The directories, and the totals of the trees, which are updated by differences, so that unchanged directories cost nothing.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Nodes,
    pub(super) roots: Roots,
    /// The other mounts in the trees, and the roots that they were searched for.
    pub(super) mounted: Mounted,
    pub(super) mounted_in: Vec<Option<(FileId, Option<u64>)>>,
    pub(super) links: Links,
    pub(super) wds: Wds,
    /// By root: the directories, and the files with one name.
    pub(super) counts: Vec<Counts>,
    /// The number of directories without a watch, because none was left.
    pub(super) refused: usize,
    /// Directories with errors.
    pub(super) failed: BTreeSet<NodeId>,
    pub(super) failures_changed: bool,
    /// Directories to be read. Dropped ones can be among them; only the state in the node is valid.
    pending: VecDeque<NodeId>,
    /// Directories that were not at their paths, to be tried again after others were read.
    pub(super) missing: Vec<NodeId>,
    /// Whether anything was read since the first of them was added.
    pub(super) progress: bool,
    /// Directories that have to wait for the next refresh.
    pub(super) put_off: Vec<NodeId>,
    /// Directories that were removed from their parents: to be found elsewhere, or dropped.
    pub(super) orphans: HashMap<FileId, NodeId>,
    /// By directory, the names of directories that were removed from it since it was read: a directory with such a name now is
    /// another one, though it may have the number and even the watch of the old one (subvolumes of btrfs).
    pub(super) removed: HashMap<NodeId, HashSet<Box<CStr>>>,
    /// Whether any was removed since the orphans were last resolved.
    pub(super) any_removed: bool,
    /// Files that got an unknown name by an event: to be searched for.
    pub(super) short: HashSet<FileId>,
    /// Files that were searched for.
    pub(super) searched: Vec<FileId>,
    /// Files with several names that lost one here.
    pub(super) lost: HashSet<FileId>,
    /// The number of entries in all caches.
    pub(super) cached: usize,
    /// Directories with files that can change without an event, the number of these files, and the one that was checked last.
    pub(super) unreported: BTreeSet<NodeId>,
    pub(super) unreported_names: usize,
    pub(super) unreported_turn: Option<(NodeId, Box<CStr>)>,
    /// The cookie of the move of a file that may be open for writing.
    pub(super) moved_open: Option<u32>,
    /// Watches to be removed.
    pub(super) unneeded: Vec<Wd>,
    /// Whether entries are left out by their paths.
    pub(super) by_path: bool,
    /// Counts the refreshes.
    pub(super) round: u32,
    /// The limit of directories, and the number found by the readings under way.
    pub(super) most: usize,
    pub(super) found: AtomicUsize,
    /// Whether a file system was unmounted with its watches, and whether events were lost.
    pub(super) unmounted: bool,
    pub(super) overflowed: bool,
}

impl Tree {
    pub(super) fn new(roots: Roots) -> Self {
        let count = roots.all.len();
        Self {
            nodes: Nodes::default(),
            roots,
            mounted: Mounted::default(),
            mounted_in: Vec::new(),
            links: Links::new(count),
            wds: Wds::default(),
            counts: vec![Counts::default(); count],
            refused: 0,
            failed: BTreeSet::new(),
            failures_changed: false,
            pending: VecDeque::new(),
            missing: Vec::new(),
            progress: false,
            put_off: Vec::new(),
            orphans: HashMap::new(),
            removed: HashMap::new(),
            any_removed: false,
            short: HashSet::new(),
            searched: Vec::new(),
            lost: HashSet::new(),
            cached: 0,
            unreported: BTreeSet::new(),
            unreported_names: 0,
            unreported_turn: None,
            moved_open: None,
            unneeded: Vec::new(),
            by_path: false,
            round: 0,
            most: usize::MAX,
            found: AtomicUsize::new(0),
            unmounted: false,
            overflowed: false,
        }
    }

    /// Queues a directory to be read.
    pub(super) fn queue(&mut self, id: NodeId, why: Queued) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.queued = node.queued.max(why);
            self.try_again(id);
        }
    }

    /// Queues a directory again, after those that wait.
    pub(super) fn try_again(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id)
            && !std::mem::replace(&mut node.listed, true)
        {
            self.pending.push_back(id);
        }
    }

    /// Queues the missing directories again if others were read meanwhile, or else puts them off. Returns whether they are
    /// queued.
    pub(super) fn look_for_missing(&mut self) -> bool {
        let missing = std::mem::take(&mut self.missing);
        let again = std::mem::take(&mut self.progress) && !missing.is_empty();
        for id in missing {
            if again { self.try_again(id) } else { self.put_off.push(id) }
        }
        again
    }

    /// Queues the directories that were put off.
    pub(super) fn take_up_again(&mut self) {
        for id in std::mem::take(&mut self.put_off) {
            self.try_again(id);
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Returns the next directories to be read. A directory that changes all the time or was read too recently is left for the
    /// next refresh.
    pub(super) fn next(&mut self, most: usize, now: Monotonic) -> Vec<NodeId> {
        const TIMES: u8 = 3;
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some(id) = self.pending.pop_front()
        {
            let round = self.round;
            let lost = self.is_lost(id);
            let Some(node) = self.nodes.get_mut(id) else { continue };
            // A directory without a path is queued again when it is found, or it is dropped.
            if !std::mem::take(&mut node.listed) || node.queued == Queued::No || lost {
                continue;
            }
            let times = if node.round.0 == round { node.round.1 } else { 0 };
            if times < TIMES && node.may_read(now) {
                node.round = (round, times.saturating_add(1));
                batch.push(id);
            } else {
                self.put_off.push(id);
            }
        }
        batch
    }

    /// Whether a directory or one that it is in is an orphan: it has no path.
    fn is_lost(&self, id: NodeId) -> bool {
        self.nodes.get(id).is_some_and(|node| node.parent.is_none() && self.orphans.get(&node.id) == Some(&id))
    }

    /// Records a change of an entry of a directory that is not a directory itself.
    pub(super) fn touch(&mut self, id: NodeId, name: &CStr) {
        let entry_cache = self.nodes.get_mut(id).and_then(|node| node.entry_cache.as_deref_mut());
        let why = if entry_cache.is_some_and(|entry_cache| entry_cache.touch(name)) {
            Queued::Names
        } else {
            Queued::Changed
        };
        self.queue(id, why);
    }

    /// Whether a directory gets an entry cache: if it is large, and changed.
    pub(super) fn wants_entry_cache(&self, node: &Node) -> bool {
        let (own, used) =
            node.entry_cache.as_ref().map_or((0, false), |entry_cache| (entry_cache.len(), entry_cache.used));
        let others = self.cached.saturating_sub(own);
        node.entries >= LARGE
            && (node.queued != Queued::InTurn || used)
            && others.saturating_add(node.entries as usize) <= MOST
    }

    /// Whether the way up from a directory ends at a root.
    pub(super) fn has_path(&self, id: NodeId) -> bool {
        let mut top = id;
        while let Some(parent) = self.nodes.get(top).and_then(|node| node.parent) {
            top = parent;
        }
        let place = self.nodes.get(top).and_then(|node| self.roots.get(node.root)).map(|root| root.place);
        matches!(place, Some(RootPlace::Directory(_, root)) if root == top)
    }

    /// Returns the boundary of the tree of a directory.
    pub(super) fn fence(&self, node: &Node) -> Fence {
        self.roots.get(node.root).map_or(Fence::None, |root| root.fence)
    }

    /// Adds a directory.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        if let Some(total) = self.counts.get_mut(node.root as usize) {
            total.add(&node.own);
        }
        self.nodes.insert(node)
    }

    /// Removes a directory and everything below it.
    pub(super) fn drop_tree(&mut self, id: NodeId) {
        let mut rest = vec![id];
        while let Some(id) = rest.pop() {
            let Some(node) = self.nodes.remove(id) else { continue };
            self.removed.remove(&id);
            if let Some(total) = self.counts.get_mut(node.root as usize) {
                total.subtract(&node.own);
            }
            for link in &node.links {
                self.links.unsee(link.id, id);
                self.lost.insert(link.id);
            }
            if let Some(wd) = node.wd
                && self.wds.remove(wd, id)
            {
                self.unneeded.push(wd);
            }
            self.refused = self.refused.saturating_sub(usize::from(node.refused));
            if self.failed.remove(&id) {
                self.failures_changed = true;
            }
            self.cached =
                self.cached.saturating_sub(node.entry_cache.as_ref().map_or(0, |entry_cache| entry_cache.len()));
            self.count_unreported(id, node.unreported.len(), 0);
            rest.extend(node.children);
        }
    }

    /// Removes the directories that were not found elsewhere.
    pub(super) fn drop_orphans(&mut self) {
        for (_, orphan) in std::mem::take(&mut self.orphans) {
            self.drop_tree(orphan);
        }
        self.any_removed = false;
        let nodes = &self.nodes;
        self.put_off.retain(|id| nodes.get(*id).is_some_and(|node| node.queued != Queued::No));
    }
}
