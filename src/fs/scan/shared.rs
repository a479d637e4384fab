//! The state that the threads of a scan share.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use rustix::io::Errno;

use super::limits::Limits;
use super::links::Links;
use super::node::{Descriptors, Node};
use super::progress::Progress;
use super::queue::Queue;
use crate::fs::walk::{Boundary, EntryStat, Exclude, Fence, Mounted, RootIds};

/// The state that the threads of a scan share.
#[derive(Debug)]
pub(super) struct ScanContext<'a> {
    pub(super) roots: Vec<Root>,
    pub(super) ids: RootIds,
    pub(super) mounted: Mounted,
    pub(super) exclude: &'a Exclude,
    pub(super) largest: usize,
    pub(super) limits: Limits<'a>,
    pub(super) progress: &'a Progress,
    pub(super) queue: Queue,
    pub(super) links: Links,
    pub(super) descriptors: Arc<Descriptors>,
}

/// The root of one of the trees.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) fence: Fence,
    /// Whether it is on a file system that cannot hang.
    pub(super) is_local: bool,
    /// Its entry, unless it could not be read.
    pub(super) place: Option<(Arc<Node>, EntryStat)>,
    /// The path on another mount to which its path leads.
    pub(super) elsewhere: Option<PathBuf>,
    /// The error number if it could not be read, or 0.
    pub(super) error: AtomicI32,
    /// The root in whose tree it was found.
    pub(super) inside: AtomicUsize,
    /// An earlier root that is the same directory.
    pub(super) same_as: Option<usize>,
}

pub(super) const NOWHERE: usize = usize::MAX;

impl Root {
    pub(super) fn find(path: &Path, index: usize, boundary: Boundary) -> Self {
        let found = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Errno::INVAL)
            .and_then(|path| EntryStat::root(&path).map(|entry| (Node::root(path.into(), entry.id, index), entry)));
        Self {
            fence: found.as_ref().map_or(Fence::None, |(_, entry)| Fence::new(boundary, entry)),
            error: AtomicI32::new(found.as_ref().err().map_or(0, |errno| errno.raw_os_error())),
            is_local: false,
            place: found.ok(),
            elsewhere: None,
            inside: AtomicUsize::new(NOWHERE),
            same_as: None,
        }
    }

    /// Returns a root whose path leads to another mount.
    pub(super) fn elsewhere(path: PathBuf) -> Self {
        Self {
            fence: Fence::None,
            is_local: false,
            place: None,
            elsewhere: Some(path),
            error: AtomicI32::new(Errno::XDEV.raw_os_error()),
            inside: AtomicUsize::new(NOWHERE),
            same_as: None,
        }
    }

    pub(super) fn failed(&self, errno: Errno) {
        self.error.store(errno.raw_os_error(), Ordering::Relaxed);
    }
}

impl ScanContext<'_> {
    /// Whether an entry in the tree of root `of` is a root itself, which does not belong to that tree.
    #[inline]
    pub(super) fn is_root(&self, entry: &EntryStat, of: usize) -> bool {
        let root = self.ids.get(entry).and_then(|root| self.roots.get(root));
        if let Some(root) = root {
            // The first tree, if mounts of the same directory show it in several.
            root.inside.fetch_min(of, Ordering::Relaxed);
        }
        root.is_some()
    }
}
