//! The directories of each watch.

use std::collections::HashMap;

use super::nodes::NodeId;
use crate::inotify::Wd;

/// One directory for each watch, except that a directory that is at two places by a bind mount has one watch for both.
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

    /// Removes a directory, and returns whether its watch is not needed any more.
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

    /// Returns the directories of a watch.
    pub(super) fn of(&self, wd: Wd) -> impl Iterator<Item = NodeId> {
        let further = self.further.get(&wd).into_iter().flatten();
        self.first.get(&wd).into_iter().chain(further).copied()
    }

    /// Removes a watch that ended, and returns its directories.
    pub(super) fn take(&mut self, wd: Wd) -> Vec<NodeId> {
        let mut nodes = self.further.remove(&wd).unwrap_or_default();
        nodes.extend(self.first.remove(&wd));
        nodes
    }
}
