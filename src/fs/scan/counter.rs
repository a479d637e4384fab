//! The counts of one thread of a scan, by tree.

use std::ffi::CStr;

use rustix::io::Errno;

use super::links::{Link, Seen};
use super::node::Node;
use super::shared::ScanContext;
use super::tree_totals::RootTotals;
use crate::fs::walk::{EntryStat, Largest, PathBuffer, Totals, at_most};

/// The counts of one thread.
pub(super) struct Counter<'a> {
    shared: &'a ScanContext<'a>,
    by_root: Vec<RootTotals>,
    /// The totals of the directory that is read, not added to `by_root` yet.
    pub(super) totals: Totals,
    path: PathBuffer,
}

impl<'a> Counter<'a> {
    pub(super) fn new(shared: &'a ScanContext<'a>) -> Self {
        Self {
            shared,
            by_root: vec![RootTotals::new(shared.largest); shared.roots.len()],
            totals: Totals::default(),
            path: PathBuffer::default(),
        }
    }

    pub(super) fn into_totals(self) -> Vec<RootTotals> {
        self.by_root
    }

    /// Ends a directory: the next entries are those of another one.
    pub(super) fn leave(&mut self) {
        self.path.leave();
    }

    /// Counts a root: its file, or the directory itself.
    pub(super) fn count_root(&mut self, node: &Node, entry: &EntryStat) {
        if entry.is_dir() {
            self.totals.count(entry);
        } else {
            self.path.leave();
            self.count_file(node, None, entry);
        }
        self.commit(node.root);
    }

    /// Counts an entry that is not a directory: `name` in `node`, or `node` itself.
    #[inline]
    pub(super) fn count_file(&mut self, node: &Node, name: Option<&CStr>, entry: &EntryStat) {
        if entry.links > 1 {
            self.totals.count_name();
            match self.shared.links.see(entry, node.root) {
                Seen::Last(link) => self.count_link(&link),
                Seen::First | Seen::Further => {}
            }
        } else {
            self.totals.count(entry);
        }
        let Some(root_totals) = self.by_root.get_mut(node.root) else { return };
        if root_totals.top.wants(entry.allocated_bytes) {
            let path = self.path.of(node, name);
            if root_totals.top.takes(path, entry.allocated_bytes) {
                let file = Largest { path: path.into(), allocated_bytes: entry.allocated_bytes };
                root_totals.top.push(file, (entry.links > 1).then_some(entry.id));
            }
        }
    }

    fn count_link(&mut self, link: &Link) {
        if let Some(root_totals) = self.by_root.get_mut(link.root) {
            root_totals.totals.count_linked(link.allocated_bytes, link.apparent_bytes, 1);
        }
    }

    /// Whether an entry is left out by a glob.
    pub(super) fn is_excluded(&mut self, node: &Node, name: &CStr) -> bool {
        let exclude = self.shared.exclude;
        !exclude.is_empty() && exclude.matches(node.root, self.path.below_root(node, name), name.to_bytes())
    }

    /// Adds the totals to the tree of `root`.
    pub(super) fn commit(&mut self, root: usize) {
        self.shared.progress.add(self.totals.entries(), at_most(self.totals.allocated_bytes));
        if let Some(root_totals) = self.by_root.get_mut(root) {
            root_totals.totals.add(&self.totals);
        }
        self.totals = Totals::default();
    }

    #[cold]
    pub(super) fn fail(&mut self, node: &Node, name: Option<&CStr>, errno: Errno) {
        let path = self.path.of(node, name).to_vec();
        if let Some(root_totals) = self.by_root.get_mut(node.root) {
            root_totals.errors.push(path, errno);
        }
    }
}
