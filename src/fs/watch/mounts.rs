//! The mounts in the watched trees: no watch reports them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::nodes::NodeId;
use crate::fs::mounts::{DeviceId, Mount};
use crate::fs::table::WatchedTable;
use crate::fs::walk::FileId;

/// The mount table, which is checked for changes.
#[derive(Debug)]
pub(super) struct Mounts {
    /// `None` without /proc: then mounts are not known.
    table: Option<WatchedTable>,
    /// The known mounts, with the directories of the trees that each is in: those can be moved, which the table does not report.
    known: HashMap<Key, Vec<Parent>>,
    /// Mounts whose directories are not known yet.
    new: Vec<Key>,
    /// Whether it changed and could not be read.
    stale: bool,
}

type Key = (u32, DeviceId, PathBuf);

/// A directory of a tree, valid as long as the directory with this number is this file.
pub(super) type Parent = (NodeId, FileId);

/// A mount or an unmount.
#[derive(Debug)]
pub(super) struct MountEvent {
    /// The mount point, as of the last reading of the table.
    pub(super) path: PathBuf,
    /// For an unmount: the directories it was in.
    pub(super) parents: Vec<Parent>,
}

impl Mounts {
    /// Opens the table and reads it.
    pub(super) fn new() -> Self {
        let table = WatchedTable::open().ok();
        let mut mounts = Self { table, known: HashMap::new(), new: Vec::new(), stale: true };
        mounts.changes();
        mounts
    }

    /// Returns the mounts and unmounts since the last call.
    pub(super) fn changes(&mut self) -> Vec<MountEvent> {
        let Some(table) = &mut self.table else { return Vec::new() };
        self.stale |= table.has_changed();
        if !self.stale {
            return Vec::new();
        }
        let Ok(now) = table.list() else { return Vec::new() };
        self.stale = false;
        let key = |mount: Mount| (mount.id, mount.device, mount.mount_point.to_path_buf());
        let now: HashSet<Key> = now.into_iter().map(key).collect();
        let gone = self.known.extract_if(|key, _| !now.contains(key));
        let mut events: Vec<_> = gone.map(|((.., path), parents)| MountEvent { path, parents }).collect();
        for key in now {
            if !self.known.contains_key(&key) {
                events.push(MountEvent { path: key.2.clone(), parents: Vec::new() });
                self.known.insert(key.clone(), Vec::new());
                self.new.push(key);
            }
        }
        if !events.is_empty() {
            // A mount over a directory hides the mounts in it, and its unmount shows them again.
            let changed: HashSet<PathBuf> = events.iter().map(|event| event.path.clone()).collect();
            let is_below = |path: &Path| path.ancestors().skip(1).any(|above| changed.contains(above));
            let below = self.known.iter().filter(|((.., path), parents)| !parents.is_empty() && is_below(path));
            events
                .extend(below.map(|((.., path), parents)| MountEvent { path: path.clone(), parents: parents.clone() }));
        }
        events
    }

    /// Finds the directories that new mounts are in, when the trees are up to date.
    pub(super) fn locate(&mut self, parents: impl Fn(&Path) -> Vec<Parent>) {
        for key in std::mem::take(&mut self.new) {
            if let Some(known) = self.known.get_mut(&key) {
                *known = parents(&key.2);
            }
        }
    }
}
