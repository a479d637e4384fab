//! The roots of the watched trees, and the entries at their paths.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::nodes::NodeId;
use crate::fs::walk::{Boundary, EntryStat, Fence, RootIds};

/// The root of one of the trees.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) name: CString,
    pub(super) place: RootPlace,
    pub(super) fence: Fence,
    /// The path without symbolic links, as in the mount table, if it could be resolved.
    pub(super) real: Option<PathBuf>,
}

/// The entry at the path of a root.
#[derive(Clone, Copy, Debug)]
pub(super) enum RootPlace {
    Missing(Errno),
    File(EntryStat),
    Directory(EntryStat, NodeId),
    /// The same directory as that of an earlier root.
    Same,
}

/// All roots.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) all: Vec<Root>,
    boundary: Boundary,
    ids: RootIds,
}

/// The result of checking a root.
#[derive(Debug)]
pub(super) enum RootChange {
    Unchanged,
    Missing(Errno),
    Same,
    Entry(EntryStat),
}

impl Roots {
    pub(super) fn new(paths: &[PathBuf], boundary: Boundary) -> Self {
        let root = |path: &PathBuf| Root {
            path: path.clone(),
            name: CString::new(path.as_os_str().as_bytes()).unwrap_or_default(),
            place: RootPlace::Missing(Errno::NOENT),
            fence: Fence::None,
            real: None,
        };
        Self { all: paths.iter().map(root).collect(), boundary, ids: RootIds::default() }
    }

    pub(super) fn get(&self, root: u32) -> Option<&Root> {
        self.all.get(root as usize)
    }

    /// Whether an entry is a root, which does not belong to the tree around it.
    pub(super) fn is_root(&self, entry: &EntryStat) -> bool {
        self.ids.get(entry).is_some()
    }

    /// Checks the paths of all roots.
    pub(super) fn look(&mut self) -> Vec<RootChange> {
        let entries: Vec<_> = self.all.iter().map(|root| EntryStat::read_local(CWD, &root.name)).collect();
        let (ids, same_as) = RootIds::new(entries.iter().map(|entry| entry.as_ref().ok()));
        self.ids = ids;
        let mut found = Vec::with_capacity(self.all.len());
        for ((root, entry), same_as) in self.all.iter().zip(&entries).zip(same_as) {
            let same = same_as.is_some();
            found.push(match (entry, root.place) {
                (_, RootPlace::Same) if same => RootChange::Unchanged,
                _ if same => RootChange::Same,
                (Ok(entry), RootPlace::Directory(old, _))
                    if (old.id, old.born, old.mount) == (entry.id, entry.born, entry.mount) =>
                {
                    RootChange::Unchanged
                }
                (Ok(entry), _) => RootChange::Entry(*entry),
                (Err(errno), _) => RootChange::Missing(*errno),
            });
        }
        found
    }

    /// Returns the roots that are directories, and the boundary of the scan.
    pub(super) fn directories(&self) -> (impl Iterator<Item = (&Path, Option<EntryStat>)>, Boundary) {
        let entry = |root: &Root| match root.place {
            RootPlace::Directory(entry, _) => Some(entry),
            _ => None,
        };
        (self.all.iter().map(move |root| (root.path.as_path(), entry(root))), self.boundary)
    }

    /// Returns the boundary below a root.
    pub(super) fn fence(&self, entry: &EntryStat) -> Fence {
        Fence::new(self.boundary, entry)
    }

    /// Returns the roots that a path is in, each with the names from there on.
    pub(super) fn above<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (NodeId, &'a Path)> {
        self.all.iter().filter_map(move |root| match root.place {
            RootPlace::Directory(_, node) => Some((node, path.strip_prefix(root.real.as_ref()?).ok()?)),
            _ => None,
        })
    }
}
