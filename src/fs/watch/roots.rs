//! The roots of the watched trees, and what is at their paths.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::nodes::NodeId;
use crate::fs::walk::{Boundary, Entry, Fence, RootIds};

/// One of the directories that are told apart.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) name: CString,
    pub(super) place: Place,
    pub(super) fence: Fence,
    /// Without symbolic links, where it could be found out: as mount points are told.
    pub(super) real: Option<PathBuf>,
}

/// What is at the path of a root.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Missing(Errno),
    File(Entry),
    Directory(Entry, NodeId),
    /// The directory of a root before it.
    Same,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) all: Vec<Root>,
    boundary: Boundary,
    ids: RootIds,
}

/// What a root is now.
#[derive(Debug)]
pub(super) enum Found {
    Unchanged,
    Missing(Errno),
    Same,
    Entry(Entry),
}

impl Roots {
    pub(super) fn new(paths: &[PathBuf], boundary: Boundary) -> Self {
        let root = |path: &PathBuf| Root {
            path: path.clone(),
            name: CString::new(path.as_os_str().as_bytes()).unwrap_or_default(),
            place: Place::Missing(Errno::NOENT),
            fence: Fence::None,
            real: None,
        };
        Self { all: paths.iter().map(root).collect(), boundary, ids: RootIds::default() }
    }

    pub(super) fn get(&self, root: u32) -> Option<&Root> {
        self.all.get(root as usize)
    }

    /// Whether an entry of a tree is a root, and so not of that tree.
    pub(super) fn is_root(&self, entry: &Entry) -> bool {
        self.ids.get(entry).is_some()
    }

    /// Looks at the paths, and gives what is there.
    pub(super) fn look(&mut self) -> Vec<Found> {
        let entries: Vec<_> = self.all.iter().map(|root| Entry::read_local(CWD, &root.name)).collect();
        let (ids, same_as) = RootIds::new(entries.iter().map(|entry| entry.as_ref().ok()));
        self.ids = ids;
        let mut found = Vec::with_capacity(self.all.len());
        for ((root, entry), same_as) in self.all.iter().zip(&entries).zip(same_as) {
            let same = same_as.is_some();
            found.push(match (entry, root.place) {
                (_, Place::Same) if same => Found::Unchanged,
                _ if same => Found::Same,
                (Ok(entry), Place::Directory(old, _))
                    if (old.id, old.born, old.mount) == (entry.id, entry.born, entry.mount) =>
                {
                    Found::Unchanged
                }
                (Ok(entry), _) => Found::Entry(*entry),
                (Err(errno), _) => Found::Missing(*errno),
            });
        }
        found
    }

    /// The roots that are directories, and what to do about other mounts below them.
    pub(super) fn directories(&self) -> (impl Iterator<Item = (&Path, Option<Entry>)>, Boundary) {
        let entry = |root: &Root| match root.place {
            Place::Directory(entry, _) => Some(entry),
            _ => None,
        };
        (self.all.iter().map(move |root| (root.path.as_path(), entry(root))), self.boundary)
    }

    /// What to do about other file systems below a root.
    pub(super) fn fence(&self, entry: &Entry) -> Fence {
        Fence::new(self.boundary, entry)
    }

    /// The directory at the root of a tree that a path is in, and the names from there on.
    pub(super) fn above<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (NodeId, &'a Path)> {
        self.all.iter().filter_map(move |root| match root.place {
            Place::Directory(_, node) => Some((node, path.strip_prefix(root.real.as_ref()?).ok()?)),
            _ => None,
        })
    }
}
