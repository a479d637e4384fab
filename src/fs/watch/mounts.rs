//! Where something is mounted: no watch reports that.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::nodes::NodeId;
use crate::fs::mounts::{DeviceId, Mount};
use crate::fs::table::WatchedTable;
use crate::fs::walk::FileId;

/// The mount table, asked whether it changed.
#[derive(Debug)]
pub(super) struct Mounts {
    /// None without /proc: then nothing is known of mounts.
    table: Option<WatchedTable>,
    /// With the directories of the trees that each is in: those can be moved, which the table does not report.
    known: HashMap<Key, Vec<Parent>>,
    /// Those whose directories are not known yet.
    new: Vec<Key>,
    /// Whether it changed and could not be read.
    stale: bool,
}

type Key = (u32, DeviceId, PathBuf);

/// A directory of a tree, as long as its number is that of this file.
pub(super) type Parent = (NodeId, FileId);

/// Something was mounted or unmounted.
#[derive(Debug)]
pub(super) struct MountEvent {
    /// Where it is, or was when the table was read.
    pub(super) path: PathBuf,
    /// For what was unmounted: the directories it was in.
    pub(super) parents: Vec<Parent>,
}

impl Mounts {
    /// The table of now.
    pub(super) fn new() -> Self {
        let table = WatchedTable::open().ok();
        let mut mounts = Self { table, known: HashMap::new(), new: Vec::new(), stale: true };
        mounts.changes();
        mounts
    }

    /// What was mounted or unmounted since the last time.
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
            // What is mounted over a directory hides the mounts in it, and shows them again.
            let changed: HashSet<PathBuf> = events.iter().map(|event| event.path.clone()).collect();
            let is_below = |path: &Path| path.ancestors().skip(1).any(|above| changed.contains(above));
            let below = self.known.iter().filter(|((.., path), parents)| !parents.is_empty() && is_below(path));
            events
                .extend(below.map(|((.., path), parents)| MountEvent { path: path.clone(), parents: parents.clone() }));
        }
        events
    }

    /// Finds out which directories new mounts are in, when the trees are up to date.
    pub(super) fn locate(&mut self, parents: impl Fn(&Path) -> Vec<Parent>) {
        for key in std::mem::take(&mut self.new) {
            if let Some(known) = self.known.get_mut(&key) {
                *known = parents(&key.2);
            }
        }
    }
}
