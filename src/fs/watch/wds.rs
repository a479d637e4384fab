//! Which directories a watch is of.

use std::collections::HashMap;

use super::nodes::NodeId;
use super::notify::Wd;

/// One for each watch, but where a directory is met at two places, by a bind mount.
#[derive(Debug, Default)]
pub(super) struct Wds {
    first: HashMap<Wd, NodeId>,
    further: HashMap<Wd, Vec<NodeId>>,
}

impl Wds {
    pub(super) fn len(&self) -> usize {
        self.first.len()
    }

    pub(super) fn insert(&mut self, wd: Wd, node: NodeId) {
        if *self.first.entry(wd).or_insert(node) != node {
            self.further.entry(wd).or_default().push(node);
        }
    }

    /// Gives whether nobody needs the watch any more.
    pub(super) fn remove(&mut self, wd: Wd, node: NodeId) -> bool {
        if let Some(further) = self.further.get_mut(&wd) {
            match further.iter().position(|other| *other == node) {
                Some(place) => _ = further.swap_remove(place),
                None => {
                    if let Some(other) = further.pop() {
                        self.first.insert(wd, other);
                    }
                }
            }
            if further.is_empty() {
                self.further.remove(&wd);
            }
            return false;
        }
        if self.first.get(&wd) == Some(&node) {
            self.first.remove(&wd);
            return true;
        }
        false
    }

    /// The directories of a watch.
    pub(super) fn of(&self, wd: Wd) -> impl Iterator<Item = NodeId> {
        let further = self.further.get(&wd).into_iter().flatten();
        self.first.get(&wd).into_iter().chain(further).copied()
    }

    /// All directories of a watch that is no more.
    pub(super) fn take(&mut self, wd: Wd) -> Vec<NodeId> {
        let mut nodes = self.further.remove(&wd).unwrap_or_default();
        nodes.extend(self.first.remove(&wd));
        nodes
    }
}
