//! Which tree each process of one host belongs to.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::lives::Lives;
use crate::process::{ProcessId, ProcessInfo, Select};
use crate::stream::hosts::PerHost;
use crate::{ProcessSample, Result, Snapshot, Text};

/// The root of a tree of processes: the key of [`SnapshotStreamExt::group_by_tree`](crate::SnapshotStreamExt::group_by_tree).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TreeRoot {
    /// Which process.
    pub id: ProcessId,
    /// The command name it had when it became the root.
    pub name: Text,
}

/// `NAME[PID]`, as in a system log.
impl fmt::Display for TreeRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.id.pid)
    }
}

/// The roots of trees, and the trees of each host: what [`GroupBy`](crate::stream::GroupBy) has in place of a closure for
/// [`SnapshotStreamExt::group_by_tree`](crate::SnapshotStreamExt::group_by_tree).
pub struct TreeRoots {
    select: Select,
    hosts: PerHost<Trees>,
}

impl fmt::Debug for TreeRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeRoots").field("select", &self.select).finish_non_exhaustive()
    }
}

impl TreeRoots {
    pub(super) fn new(select: Select) -> Self {
        Self { select, hosts: PerHost::new() }
    }

    /// Takes over a snapshot; returns the trees of its host.
    pub(super) fn read<T: AsRef<ProcessSample>>(&mut self, snapshot: &Snapshot<T>) -> Result<&Trees> {
        let trees = self.hosts.of(snapshot).state;
        trees.read(snapshot, &self.select)?;
        Ok(trees)
    }
}

/// For how many snapshots a process is remembered that is not in them and did not end.
const REMEMBERED: u64 = 60;

/// The trees of one host.
///
/// A process stays in the tree that it was first in until it ends: one that loses its parent, or its root, still belongs to what was
/// started there.
#[derive(Debug, Default)]
pub(super) struct Trees {
    tick: u64,
    /// In the order of the ids.
    nodes: Vec<Node>,
    /// Whether a process came into a tree that an earlier snapshot had in none.
    has_joined: bool,
}

#[derive(Debug)]
struct Node {
    id: ProcessId,
    ppid: u32,
    info: Arc<ProcessInfo>,
    root: Option<TreeRoot>,
    /// The last snapshot that has it.
    seen: u64,
    /// An earlier snapshot has it.
    is_known: bool,
    progress: Progress,
}

/// How far the tree of a process is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Decided,
    /// It is new, or something of it changed.
    Open {
        is_selected: bool,
    },
    /// Its ancestors come first.
    Waiting {
        is_selected: bool,
    },
}

impl Node {
    fn new(sample: &ProcessSample, tick: u64, is_selected: bool) -> Self {
        Self {
            id: sample.id,
            ppid: sample.ppid,
            info: Arc::clone(&sample.info),
            root: None,
            seen: tick,
            is_known: false,
            progress: Progress::Open { is_selected },
        }
    }
}

impl Trees {
    /// Returns the root of the tree of a process.
    pub(super) fn root(&self, id: ProcessId) -> Option<TreeRoot> {
        let at = self.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        self.nodes.get(at)?.root.clone()
    }

    /// Returns whether a process that an earlier snapshot had in no tree is in one now.
    pub(super) fn has_joined(&self) -> bool {
        self.has_joined
    }

    fn read<T: AsRef<ProcessSample>>(&mut self, snapshot: &Snapshot<T>, select: &Select) -> Result<()> {
        self.tick = self.tick.saturating_add(1);
        self.has_joined = false;
        let open = self.take_over(&snapshot.samples);
        if !open.is_empty() {
            // Both are in the order of the samples.
            let mut places = open.iter().copied().peekable();
            let decisions = select.decide_by(snapshot, |nth| places.next_if_eq(&nth).is_some())?;
            let samples = open.into_iter().filter_map(|nth| snapshot.samples.get(nth)).map(AsRef::as_ref);
            self.open(samples.zip(decisions));
            self.decide();
        }
        self.forget(snapshot.lives.as_deref());
        Ok(())
    }

    /// Notes which processes there are. Returns the places of the samples whose trees are to be decided.
    fn take_over<T: AsRef<ProcessSample>>(&mut self, samples: &[T]) -> Vec<usize> {
        let mut open = Vec::new();
        let mut next = 0_usize;
        for (nth, sample) in samples.iter().enumerate() {
            let sample = sample.as_ref();
            // Samples come in the order of the ids, and then each costs a few comparisons.
            while self.nodes.get(next).is_some_and(|node| node.id < sample.id) {
                next = next.saturating_add(1);
            }
            if self.nodes.get(next).is_none_or(|node| node.id != sample.id) {
                next = self.nodes.partition_point(|node| node.id < sample.id);
            }
            let Some(node) = self.nodes.get_mut(next).filter(|node| node.id == sample.id) else {
                open.push(nth);
                continue;
            };
            node.seen = self.tick;
            let is_shared = Arc::ptr_eq(&node.info, &sample.info);
            // What came over a wire is another one of the same content, which is of interest only where no tree is decided.
            if node.root.is_none() && (node.ppid != sample.ppid || !(is_shared || node.info == sample.info)) {
                open.push(nth);
            }
            node.ppid = sample.ppid;
            if !is_shared {
                node.info = Arc::clone(&sample.info);
            }
        }
        open
    }

    /// Notes whose trees are to be decided, and who can be a root.
    fn open<'s>(&mut self, samples: impl Iterator<Item = (&'s ProcessSample, Option<bool>)>) {
        let (mut new, mut any_known) = (Vec::new(), false);
        for (sample, is_selected) in samples {
            let is_selected = is_selected == Some(true);
            let known = self.nodes.binary_search_by_key(&sample.id, |node| node.id).ok();
            match known.and_then(|at| self.nodes.get_mut(at)) {
                Some(node) => {
                    node.progress = Progress::Open { is_selected };
                    any_known = true;
                }
                None => new.push(Node::new(sample, self.tick, is_selected)),
            }
        }
        if any_known {
            // Where one of them comes into a tree, so does what is below it.
            for node in self.nodes.iter_mut().filter(|node| node.root.is_none() && node.progress == Progress::Decided) {
                node.progress = Progress::Open { is_selected: false };
            }
        }
        self.nodes.append(&mut new);
        self.nodes.sort_by_key(|node| node.id);
        self.nodes.dedup_by_key(|node| node.id);
    }

    /// Decides all open ones, ancestors first: in a time that grows with their number and not with how deep they are.
    fn decide(&mut self) {
        let mut path = Vec::new();
        for at in 0..self.nodes.len() {
            let mut next = Some(at);
            let mut root = None;
            while let Some(at) = next
                && let Some(node) = self.nodes.get_mut(at)
            {
                let Progress::Open { is_selected } = node.progress else {
                    root.clone_from(&node.root);
                    break;
                };
                node.progress = Progress::Waiting { is_selected };
                path.push(at);
                next = self.parent(at);
            }
            while let Some(at) = path.pop() {
                let Some(node) = self.nodes.get_mut(at) else { continue };
                if root.is_none() && matches!(node.progress, Progress::Waiting { is_selected: true }) {
                    root = Some(TreeRoot { id: node.id, name: node.info.name.clone() });
                }
                node.progress = Progress::Decided;
                node.root.clone_from(&root);
                self.has_joined |= node.is_known && root.is_some();
            }
        }
    }

    /// The parent of a process; the one that had the pid last where there were several.
    fn parent(&self, of: usize) -> Option<usize> {
        let child = self.nodes.get(of)?;
        let end = self.nodes.partition_point(|node| node.id.pid <= child.ppid);
        let of_pid = |at: &usize| self.nodes.get(*at).filter(|node| node.id.pid == child.ppid);
        (0..end)
            .rev()
            .take_while(|at| of_pid(at).is_some())
            .find(|at| of_pid(at).is_some_and(|parent| parent.id.may_be_parent_of(child.id)))
    }

    /// Forgets who ended, and who is missing for long.
    fn forget(&mut self, lives: Option<&Lives>) {
        let tick = self.tick;
        let has_ended = |id: ProcessId| {
            // Without lives, all ended who are not there.
            lives.is_none_or(|lives| lives.exits.binary_search_by_key(&id, |exit| exit.id).is_ok())
        };
        self.nodes
            .retain(|node| node.seen == tick || (!has_ended(node.id) && tick.saturating_sub(node.seen) < REMEMBERED));
        self.nodes.iter_mut().for_each(|node| node.is_known = true);
    }
}
