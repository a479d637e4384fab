//! Searches for the other names of files.
//!
//! A new name of a file (`link(2)`) is reported in the directory that has it, and not in the one that had the file before:
//! which still counts it as a file with one name. The search for that directory reads only listings, and only those of
//! directories whose span of inode numbers has the number of the file.

use std::time::{Duration, Instant};

use super::nodes::{NodeId, Queued};
use super::notify::Notify;
use super::pool;
use super::reading::Reader;
use super::tree::Tree;
use crate::fs::walk::{Exclude, FileId};
use crate::{Cancel, Monotonic, Result};

/// The files to search for, and when the next search may be made: a search that takes long is not made at every refresh.
#[derive(Debug, Default)]
pub(super) struct LinkSearch {
    due: Option<Monotonic>,
    waiting: Vec<FileId>,
}

impl LinkSearch {
    /// Whether files are still to be searched for.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Searches for files that have more names than are known; returns whether directories are queued because of that.
    pub(super) fn run(
        &mut self,
        tree: &mut Tree,
        notify: Option<&Notify>,
        exclude: &Exclude,
        now: Monotonic,
        cancel: &Cancel,
    ) -> Result<bool> {
        /// The pause as a multiple of the time of a search: it takes at most one tenth of the time.
        const REST: u32 = 9;
        /// A search that takes less may be made at any time.
        const SHORT: Duration = Duration::from_millis(2);
        self.waiting.extend(tree.short.drain());
        let links = &tree.links;
        self.waiting.retain(|id| links.is_short(*id));
        if self.waiting.is_empty() || self.due.is_some_and(|due| now < due) {
            return Ok(false);
        }
        self.waiting.sort_unstable_by_key(|id| (id.inode, id.device));
        self.waiting.dedup();
        let start = Instant::now();
        let wanted = &self.waiting;
        let may_have = |(from, to): (u64, u64)| {
            let at = wanted.partition_point(|id| id.inode < from);
            wanted.get(at).is_some_and(|id| id.inode <= to)
        };
        let places: Vec<NodeId> = tree.nodes.iter().filter(|(_, node)| may_have(node.span)).map(|(id, _)| id).collect();
        let shared = &*tree;
        let reader = || Reader::new(shared, notify, exclude, cancel);
        let has = |reader: &mut Reader<'_>, id: &NodeId| !cancel.is_cancelled() && reader.has_one_of(*id, wanted);
        let found = pool::each(&places, reader, has);
        cancel.check()?;
        let took = start.elapsed();
        self.due = (took > SHORT).then(|| now.plus(took.saturating_mul(REST)));
        let mut any = false;
        for (place, _) in places.iter().zip(found).filter(|(_, found)| *found) {
            tree.queue(*place, Queued::Changed);
            any = true;
        }
        // Names that were found are known after that reading; the others are outside.
        for id in self.waiting.drain(..) {
            tree.searched.push(id);
        }
        Ok(any)
    }
}
