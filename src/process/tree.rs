//! The processes of a snapshot as parents and children.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Cpu, Io, ProcessId, ProcessSample};
use crate::{Reading, Snapshot};

/// The tree of the processes in a snapshot. It borrows the samples, which can be [`Rated`](crate::Rated) ones.
///
/// A process whose parent is not in the snapshot is a root: the first process, kernel threads' first, one whose parent was
/// not selected or ended during the reading. Data of hostile origin can hold cycles; each process of one is listed once,
/// and the tree always ends.
///
/// ```
/// use appmon::{Cancel, ProcessTree, Processes, Snapshot, Source};
///
/// let mut snapshot = Snapshot::default();
/// Processes::new().collect(&mut snapshot, &Cancel::new())?;
/// let tree = ProcessTree::new(&snapshot);
/// for root in tree.roots() {
///     let total = tree.summary(root.id);
///     println!("{} {}: {} processes, {} B", root.id.pid, root.info.name, total.processes, total.rss_bytes);
/// }
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Debug)]
pub struct ProcessTree<'a, T = ProcessSample> {
    samples: &'a [T],
    by_pid: HashMap<u32, usize>,
    /// For each sample its children, in the order of the samples.
    children: Vec<Vec<usize>>,
    parents: Vec<Option<usize>>,
}

/// The usage of a subtree altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// How many processes.
    pub processes: u64,
    /// How many threads.
    pub threads: u64,
    /// Resident memory of all; pages they share are counted for each.
    pub rss_bytes: u64,
    /// CPU time of the processes that are there. `children_*` are those of children that ended, and not in `total_ns`.
    pub cpu: Cpu,
    /// I/O of the processes whose counters could be read. The kernel adds the counters of an ended child to those of the
    /// parent that waited for it.
    pub io: Io,
    /// How many processes had I/O counters, all or some, that could not be read, and are not in `io`.
    pub io_unknown: u64,
}

impl<'a, T: AsRef<ProcessSample>> ProcessTree<'a, T> {
    /// Builds the tree of a snapshot.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot<T>) -> Self {
        let samples = snapshot.samples.as_slice();
        let by_pid: HashMap<u32, usize> =
            samples.iter().enumerate().map(|(at, sample)| (sample.as_ref().id.pid, at)).collect();
        let mut children = vec![Vec::new(); samples.len()];
        let mut parents = vec![None; samples.len()];
        for (at, sample) in samples.iter().enumerate() {
            let sample = sample.as_ref();
            // A process of the parent's pid that started later is another one, and a process is not its own parent.
            let parent = by_pid.get(&sample.ppid).copied().filter(|parent| {
                samples.get(*parent).is_some_and(|parent| parent.as_ref().id.may_be_parent_of(sample.id))
            });
            if let (Some(parent), Some(slot)) = (parent, parents.get_mut(at)) {
                *slot = Some(parent);
            }
        }
        break_cycles(&mut parents);
        for (at, parent) in parents.iter().enumerate() {
            if let Some(children) = parent.and_then(|parent| children.get_mut(parent)) {
                children.push(at);
            }
        }
        Self { samples, by_pid, children, parents }
    }

    /// Returns the processes that have no parent here, in the order of the snapshot.
    pub fn roots(&self) -> impl Iterator<Item = &'a T> {
        self.samples.iter().zip(&self.parents).filter(|(_, parent)| parent.is_none()).map(|(sample, _)| sample)
    }

    /// Returns all pids, in the order of the snapshot.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.samples.iter().map(|sample| sample.as_ref().id.pid)
    }

    /// Returns a process by its identity.
    #[must_use]
    pub fn get(&self, id: ProcessId) -> Option<&'a T> {
        self.samples.get(self.index(id)?)
    }

    /// Returns the parent of a process; `None` for a root and for a process that is not here.
    #[must_use]
    pub fn parent(&self, id: ProcessId) -> Option<&'a T> {
        let parent = (*self.parents.get(self.index(id)?)?)?;
        self.samples.get(parent)
    }

    /// Returns the children of a process, in the order of the snapshot; none for a process that is not here.
    pub fn children(&self, id: ProcessId) -> impl Iterator<Item = &'a T> {
        let children = self.index(id).and_then(|at| self.children.get(at)).map_or(&[][..], Vec::as_slice);
        children.iter().filter_map(|at| self.samples.get(*at))
    }

    /// Returns a process and all below it, parents before their children; none for a process that is not here.
    pub fn subtree(&self, id: ProcessId) -> impl Iterator<Item = &'a T> {
        let mut stack: Vec<usize> = self.index(id).into_iter().collect();
        std::iter::from_fn(move || {
            let at = stack.pop()?;
            stack.extend(self.children.get(at)?.iter().rev());
            self.samples.get(at)
        })
    }

    /// Returns all processes below a process, without it.
    pub fn descendants(&self, id: ProcessId) -> impl Iterator<Item = &'a T> {
        self.subtree(id).skip(1)
    }

    /// Returns the processes that match and have no ancestor that does: the tops of the matching subtrees.
    pub fn topmost(&self, matches: impl Fn(&T) -> bool) -> Vec<&'a T> {
        let mut topmost = Vec::new();
        let mut stack: Vec<usize> =
            self.parents.iter().enumerate().filter(|(_, parent)| parent.is_none()).map(|(at, _)| at).rev().collect();
        while let Some(at) = stack.pop() {
            let Some(sample) = self.samples.get(at) else { continue };
            if matches(sample) {
                topmost.push(sample);
            } else if let Some(children) = self.children.get(at) {
                stack.extend(children.iter().rev());
            }
        }
        topmost
    }

    /// Returns the usage of a process and all below it; nothing for a process that is not here.
    #[must_use]
    pub fn summary(&self, id: ProcessId) -> Summary {
        self.subtree(id).collect()
    }

    fn index(&self, id: ProcessId) -> Option<usize> {
        let at = *self.by_pid.get(&id.pid)?;
        self.samples.get(at).filter(|sample| sample.as_ref().id == id).map(|_| at)
    }
}

/// That of no process.
impl Default for Summary {
    fn default() -> Self {
        Self { processes: 0, threads: 0, rss_bytes: 0, cpu: Cpu::default(), io: Io::NOTHING, io_unknown: 0 }
    }
}

/// The usage of any processes altogether: those of a selection, of a whole snapshot.
impl<'a, T: AsRef<ProcessSample> + 'a> FromIterator<&'a T> for Summary {
    fn from_iter<I: IntoIterator<Item = &'a T>>(samples: I) -> Self {
        let mut total = Self::default();
        samples.into_iter().for_each(|sample| total.add(sample.as_ref()));
        total
    }
}

impl Summary {
    fn add(&mut self, sample: &ProcessSample) {
        self.processes = self.processes.saturating_add(1);
        self.threads = self.threads.saturating_add(sample.threads.into());
        self.rss_bytes = self.rss_bytes.saturating_add(sample.memory.rss_bytes);
        let (cpu, more) = (&mut self.cpu, &sample.cpu);
        cpu.total_ns = cpu.total_ns.saturating_add(more.total_ns);
        cpu.user_ns = cpu.user_ns.saturating_add(more.user_ns);
        cpu.system_ns = cpu.system_ns.saturating_add(more.system_ns);
        cpu.children_user_ns = cpu.children_user_ns.saturating_add(more.children_user_ns);
        cpu.children_system_ns = cpu.children_system_ns.saturating_add(more.children_system_ns);
        cpu.block_io_delay_ns = cpu.block_io_delay_ns.saturating_add(more.block_io_delay_ns);
        let Reading::Value(more) = &sample.io else {
            self.io_unknown = self.io_unknown.saturating_add(1);
            return;
        };
        if !self.io.add(more) {
            self.io_unknown = self.io_unknown.saturating_add(1);
        }
    }
}

/// Cuts each cycle at one of its members, which becomes a root. Starts in the same tick do not rule cycles out.
fn break_cycles(parents: &mut [Option<usize>]) {
    /// Which walk came by first.
    const NEVER: usize = usize::MAX;
    let mut seen = vec![NEVER; parents.len()];
    for walk in 0..parents.len() {
        let mut at = walk;
        while let Some(mark) = seen.get_mut(at) {
            if *mark == walk {
                // Back where this walk has been: a cycle.
                if let Some(parent) = parents.get_mut(at) {
                    *parent = None;
                }
                break;
            }
            if *mark != NEVER {
                break;
            }
            *mark = walk;
            match parents.get(at) {
                Some(Some(parent)) => at = *parent,
                _ => break,
            }
        }
    }
}

impl AsRef<ProcessSample> for ProcessSample {
    fn as_ref(&self) -> &ProcessSample {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Memory, ProcessData};

    fn snapshot(processes: &[(u32, u32)]) -> Snapshot<ProcessSample> {
        processes
            .iter()
            .map(|(pid, ppid)| {
                let memory = Memory { rss_bytes: 10, virtual_bytes: 20 };
                ProcessData { id: id(*pid), ppid: *ppid, threads: 1, memory, ..ProcessData::default() }.into()
            })
            .collect()
    }

    fn pids<'a>(samples: impl IntoIterator<Item = &'a ProcessSample>) -> Vec<u32> {
        samples.into_iter().map(|sample| sample.id.pid).collect()
    }

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid, start_ticks: 7 }
    }

    #[test]
    fn roots_children_and_subtrees() {
        let snapshot = snapshot(&[(1, 0), (2, 1), (3, 2), (4, 1), (9, 8)]);
        let tree = ProcessTree::new(&snapshot);
        assert_eq!(pids(tree.roots()), [1, 9], "an orphan is a root");
        assert_eq!(pids(tree.children(id(1))), [2, 4]);
        assert_eq!(pids(tree.subtree(id(1))), [1, 2, 3, 4]);
        assert_eq!(pids(tree.descendants(id(2))), [3]);
        assert_eq!(tree.parent(id(3)).unwrap().id.pid, 2);
        assert!(tree.parent(id(1)).is_none());
        assert_eq!(pids(tree.topmost(|sample| sample.id.pid % 2 == 0)), [2, 4]);
        let total = tree.summary(id(1));
        assert_eq!((total.processes, total.threads, total.rss_bytes, total.io_unknown), (4, 4, 40, 4));
        assert_eq!(
            tree.summary(ProcessId { pid: 1, start_ticks: 8 }),
            Summary::default(),
            "another process of that pid"
        );
    }

    #[test]
    fn cycles_end() {
        let snapshot = snapshot(&[(1, 3), (2, 1), (3, 2), (4, 4), (5, 3)]);
        let tree = ProcessTree::new(&snapshot);
        let all: Vec<u32> = tree.roots().flat_map(|root| pids(tree.subtree(root.id))).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [1, 2, 3, 4, 5], "each once: {all:?}");
    }

    #[test]
    fn a_parent_is_not_younger_than_its_child() {
        let mut snapshot = snapshot(&[(1, 0), (2, 1)]);
        snapshot.samples[0].id.start_ticks = 8;
        let tree = ProcessTree::new(&snapshot);
        assert_eq!(pids(tree.roots()), [1, 2]);
    }
}
