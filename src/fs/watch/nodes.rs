//! The directories of the watched trees.

use std::ffi::CStr;
use std::time::Duration;

use rustix::io::Errno;

use super::counts::Counts;
use super::entry_cache::{EntryCache, LARGE};
use super::unreported;
use crate::Monotonic;
use crate::fs::walk::{Born, FileId, Way};
use crate::inotify::Wd;

/// The number of a directory. The number of a dropped one is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

impl NodeId {
    /// The smallest number.
    pub(super) const FIRST: Self = Self(0);

    /// Returns the number for a root that is a file: no directory has it.
    pub(super) fn file(root: u32) -> Self {
        Self(u32::MAX.wrapping_sub(root))
    }
}

/// A directory: its place, and the totals of its direct entries. It stores nothing for each of its files.
#[derive(Debug)]
pub(super) struct Node {
    /// `None` for a root, and for a directory that was removed from its parent.
    pub(super) parent: Option<NodeId>,
    /// Its name in its parent; for a root, its path as configured.
    pub(super) name: Box<CStr>,
    pub(super) id: FileId,
    pub(super) born: Option<Born>,
    /// The index of its tree.
    pub(super) root: u32,
    /// The directory itself, and the files in it that have one name.
    pub(super) own: Counts,
    /// The part of it that is the directory itself.
    pub(super) itself: Counts,
    pub(super) children: Vec<NodeId>,
    /// Names in it of files that have several.
    pub(super) links: Vec<LinkName>,
    /// Errors: of an entry, or without a name of the directory itself.
    pub(super) faults: Vec<Fault>,
    /// The smallest and the largest inode number of the files in it that have one name, for the search of one of them.
    pub(super) span: (u64, u64),
    /// Whether the inode numbers of its listing are not those of its entries, as on an overlay.
    pub(super) odd: bool,
    pub(super) wd: Option<Wd>,
    /// Whether it has no watch, because none was left.
    pub(super) refused: bool,
    pub(super) queued: Queued,
    /// Whether it is in the queue.
    pub(super) listed: bool,
    /// When it was last read. `None` if it was not read yet.
    pub(super) read_at: Option<Monotonic>,
    /// Whether it was last read because of an event.
    pub(super) was_changed: bool,
    /// How long the last reading took: microseconds.
    pub(super) took: u32,
    /// The number of its entries.
    pub(super) entries: u32,
    /// The refresh that read it last, and how many times that one read it.
    pub(super) round: (u32, u8),
    /// The counts of each of its entries, if it is large and changes often.
    pub(super) entry_cache: Option<Box<EntryCache>>,
    /// Files in it that can change without an event.
    pub(super) unreported: unreported::Names,
}

/// Whether a directory waits to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queued {
    #[default]
    No,
    /// Only the names in its cache that an event reported.
    Names,
    /// In turn: no event reported a change.
    InTurn,
    /// Because of an event.
    Changed,
}

/// One of the names of a file that has several.
#[derive(Debug)]
pub(super) struct LinkName {
    pub(super) id: FileId,
    pub(super) name: Box<CStr>,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) name: Option<Box<CStr>>,
    pub(super) errno: Errno,
}

/// An empty span.
pub(super) const NO_SPAN: (u64, u64) = (u64::MAX, 0);

impl Node {
    /// Whether it may be read now: a large directory that changes all the time is not read again for a while.
    pub(super) fn may_read(&self, now: Monotonic) -> bool {
        /// The pause, as a multiple of the time that reading it took.
        const REST: u32 = 20;
        if self.entries < LARGE || self.queued != Queued::Changed || !self.was_changed {
            return true;
        }
        let rest = Duration::from_micros(self.took.into()).saturating_mul(REST);
        self.read_at.is_none_or(|read_at| now >= read_at.plus(rest))
    }

    pub(super) fn new(
        parent: Option<NodeId>,
        name: Box<CStr>,
        (id, born): (FileId, Option<Born>),
        root: u32,
        itself: Counts,
    ) -> Self {
        Self {
            parent,
            name,
            id,
            born,
            root,
            own: itself,
            itself,
            children: Vec::new(),
            links: Vec::new(),
            faults: Vec::new(),
            span: NO_SPAN,
            odd: false,
            wd: None,
            refused: false,
            queued: Queued::No,
            listed: false,
            read_at: None,
            was_changed: false,
            took: 0,
            entries: 0,
            round: (0, 0),
            entry_cache: None,
            unreported: unreported::Names::new(),
        }
    }

    /// Whether it is to be read.
    pub(super) fn is_waiting(&self) -> bool {
        self.queued != Queued::No
    }
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    slots: Vec<Option<Box<Node>>>,
    free: Vec<u32>,
}

impl Nodes {
    pub(super) fn insert(&mut self, node: Node) -> NodeId {
        let node = Some(Box::new(node));
        if let Some(number) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(number as usize)
        {
            *slot = node;
            return NodeId(number);
        }
        let number = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(node);
        NodeId(number)
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Option<Box<Node>> {
        let node = self.slots.get_mut(id.0 as usize)?.take()?;
        self.free.push(id.0);
        Some(node)
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Returns the number of directories.
    pub(super) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// Returns the number of slots: all directory numbers are below it.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns the directories with the numbers from `from` up to `to`.
    pub(super) fn range(&self, from: usize, to: usize) -> impl Iterator<Item = (NodeId, &Node)> {
        let slots = self.slots.get(from..to.min(self.slots.len())).unwrap_or_default();
        let numbers = u32::try_from(from).unwrap_or(u32::MAX)..;
        numbers.zip(slots).filter_map(|(number, slot)| Some((NodeId(number), slot.as_deref()?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.range(0, self.slots.len())
    }

    /// Returns a directory with the way to it.
    pub(super) fn way(&self, id: NodeId) -> WayTo<'_> {
        WayTo(self, id)
    }

    /// Returns the child of this name.
    pub(super) fn child(&self, id: NodeId, name: &[u8]) -> Option<NodeId> {
        let mut children = self.get(id)?.children.iter().copied();
        children.find(|child| self.get(*child).is_some_and(|child| child.name.to_bytes() == name))
    }
}

/// A directory with the way to it.
#[derive(Debug)]
pub(super) struct WayTo<'a>(&'a Nodes, NodeId);

impl Way for WayTo<'_> {
    fn names(&self) -> Vec<&CStr> {
        let mut names = Vec::new();
        let mut next = Some(self.1);
        while let Some(node) = next.and_then(|id| self.0.get(id)) {
            names.push(&*node.name);
            next = node.parent;
        }
        names
    }
}
