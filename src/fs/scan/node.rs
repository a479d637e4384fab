//! A directory of a scan: its place in the tree, and how it is opened.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fs::walk::{FileId, Way};

/// A directory. It knows the way to its root by names, so that no path has to be kept, however deep the tree.
#[derive(Debug)]
pub(super) struct Node {
    parent: Option<Arc<Node>>,
    /// Its name in its parent; for a root, its path as configured.
    name: Box<CStr>,
    /// Its identity when its parent was read.
    pub(super) id: FileId,
    /// The index of the root that it belongs to.
    pub(super) root: usize,
    depth: usize,
}

impl Node {
    pub(super) fn root(path: Box<CStr>, id: FileId, root: usize) -> Arc<Self> {
        Arc::new(Self { parent: None, name: path, id, root, depth: 0 })
    }

    pub(super) fn child(parent: &Arc<Self>, name: Box<CStr>, id: FileId) -> Arc<Self> {
        let depth = parent.depth.saturating_add(1);
        Arc::new(Self { parent: Some(Arc::clone(parent)), name, id, root: parent.root, depth })
    }

    pub(super) fn name(&self) -> &CStr {
        &self.name
    }

    /// Returns how many levels `self` is above `below`, if it is above it by no more than `most`.
    pub(super) fn levels_above(&self, below: &Self, most: usize) -> Option<usize> {
        let levels = below.depth.checked_sub(self.depth).filter(|levels| *levels <= most)?;
        let mut node = below;
        for _ in 0..levels {
            node = node.parent.as_deref()?;
        }
        std::ptr::eq(node, self).then_some(levels)
    }
}

impl Way for Node {
    fn names(&self) -> Vec<&CStr> {
        let mut names = Vec::with_capacity(self.depth.saturating_add(1));
        let mut node = Some(self);
        while let Some(here) = node {
            names.push(&*here.name);
            node = here.parent.as_deref();
        }
        names
    }
}

impl Drop for Node {
    /// Drops the ancestors in a loop: the recursion over a chain of thousands would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.parent.take();
        }
    }
}

/// An open directory, which is counted in [`Descriptors`] while it is open.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    count: Arc<Descriptors>,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        self.count.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of directories that a scan has open, and how many it may keep open for later.
#[derive(Debug)]
pub(super) struct Descriptors {
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Descriptors {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), most: AtomicUsize::new(most) })
    }

    /// Allows a quarter of the descriptors of the process.
    pub(super) fn within_limit() -> Arc<Self> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::new(limit.map_or(4096, |limit| usize::try_from(limit / 4).unwrap_or(4096)).min(4096))
    }

    pub(super) fn hold(self: &Arc<Self>, fd: OwnedFd) -> Arc<Dir> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Dir { fd, count: Arc::clone(self) })
    }

    /// Whether an open directory may be kept open.
    pub(super) fn may_keep(&self) -> bool {
        self.open.load(Ordering::Relaxed) <= self.most.load(Ordering::Relaxed)
    }

    /// Whether no directory may be kept open any more.
    pub(super) fn are_short(&self) -> bool {
        self.most.load(Ordering::Relaxed) == 0
    }

    /// Forbids to keep directories open, as the process has no more descriptors.
    pub(super) fn keep_none(&self) {
        self.most.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::walk::path_of;

    const ID: FileId = FileId { device: 1, inode: 2 };

    #[test]
    fn a_long_chain_has_a_path_and_an_end() {
        let root = Node::root(c"/".into(), ID, 0);
        let mut node = Arc::clone(&root);
        for _ in 0..200_000 {
            node = Node::child(&node, c"ab".into(), ID);
        }
        let path = path_of(&*node, Some(c""));
        assert_eq!(path.len(), 1 + 200_000 * 3);
        assert!(path.starts_with(b"/ab/ab/"));
        assert_eq!(root.levels_above(&node, 200_000), Some(200_000));
        assert_eq!(root.levels_above(&node, 100), None);
        drop(node);
        let a = Node::child(&root, c"a".into(), ID);
        let b = Node::child(&root, c"b".into(), ID);
        assert_eq!(a.levels_above(&Node::child(&b, c"c".into(), ID), 9), None);
    }
}
