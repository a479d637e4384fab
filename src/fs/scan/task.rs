//! The tasks of a scan.

use std::ffi::CStr;
use std::sync::Arc;

use super::node::{Dir, Node};
use crate::fs::walk::FileId;

/// A task in the queue.
#[derive(Debug)]
pub(super) enum Task {
    /// Directories of one parent to be read.
    Directories(Batch),
    /// An indivisible piece of work.
    Whole(Work),
}

/// An indivisible piece of work.
#[derive(Debug)]
pub(super) enum Work {
    /// The root of a tree, to be opened and read.
    Root(Arc<Node>),
    /// A directory, to be opened and read.
    Directory(Box<Child>),
    /// The rest of a directory, from its current offset on.
    Rest(Arc<Node>, Arc<Dir>),
    /// Names of a directory whose metadata is to be read.
    Names(Chunk),
}

/// A directory in its parent.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) parent: Arc<Node>,
    /// The parent, if it was kept open.
    pub(super) dir: Option<Arc<Dir>>,
    pub(super) name: Box<CStr>,
    pub(super) id: FileId,
}

impl Task {
    /// Returns the first piece of work, and the rest of the task.
    pub(super) fn split(self) -> (Work, Option<Self>) {
        match self {
            Self::Whole(work) => (work, None),
            Self::Directories(mut batch) => {
                let (id, name) = batch.pop();
                if batch.ids.is_empty() {
                    let Batch { parent, dir, .. } = batch;
                    (Work::Directory(Box::new(Child { parent, dir, name, id })), None)
                } else {
                    let (parent, dir) = (Arc::clone(&batch.parent), batch.dir.clone());
                    (Work::Directory(Box::new(Child { parent, dir, name, id })), Some(Self::Directories(batch)))
                }
            }
        }
    }

    /// Whether another thread should take it though it is the only task: its owner has enough work with the rest of
    /// it, or with the rest of its directory.
    pub(super) fn is_enough(&self) -> bool {
        match self {
            Self::Directories(batch) => batch.ids.len() > 1,
            Self::Whole(Work::Names(_)) => true,
            Self::Whole(_) => false,
        }
    }

    /// Splits off a half of it, if it is divisible.
    pub(super) fn halve(&mut self) -> Option<Self> {
        match self {
            Self::Directories(batch) if batch.ids.len() > 1 => Some(Self::Directories(batch.halve())),
            _ => None,
        }
    }
}

/// Directories of one parent, in a compact form, as there can be many.
#[derive(Debug)]
pub(super) struct Batch {
    parent: Arc<Node>,
    /// The parent, if it is kept open.
    pub(super) dir: Option<Arc<Dir>>,
    /// Their identities, and the indices in `names` at which their names begin.
    ids: Vec<(FileId, usize)>,
    names: Names,
}

impl Batch {
    pub(super) fn new(parent: Arc<Node>, dir: Option<Arc<Dir>>) -> Self {
        Self { parent, dir, ids: Vec::new(), names: Names::default() }
    }

    pub(super) fn one(child: Child) -> Self {
        let mut batch = Self::new(child.parent, child.dir);
        batch.push(child.id, &child.name);
        batch
    }

    pub(super) fn push(&mut self, id: FileId, name: &CStr) {
        self.ids.push((id, self.names.0.len()));
        self.names.push(name);
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn pop(&mut self) -> (FileId, Box<CStr>) {
        let Some((id, start)) = self.ids.pop() else { return (FileId { device: 0, inode: 0 }, c"".into()) };
        let name = self.names.at(start).into();
        self.names.0.truncate(start);
        (id, name)
    }

    fn halve(&mut self) -> Self {
        let mut ids = self.ids.split_off(self.ids.len() / 2);
        let start = ids.first().map_or(0, |(_, start)| *start);
        let names = Names(self.names.0.split_off(start));
        for (_, at) in &mut ids {
            *at = at.saturating_sub(start);
        }
        Self { parent: Arc::clone(&self.parent), dir: self.dir.clone(), ids, names }
    }
}

/// Names of one directory whose metadata another thread may read.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) node: Arc<Node>,
    pub(super) dir: Arc<Dir>,
    pub(super) names: Names,
}

/// Names, each ended by a zero byte.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<u8>);

impl Names {
    pub(super) fn push(&mut self, name: &CStr) {
        self.0.extend_from_slice(name.to_bytes_with_nul());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.0.split_inclusive(|byte| *byte == 0).map(|name| CStr::from_bytes_with_nul(name).unwrap_or_default())
    }

    fn at(&self, start: usize) -> &CStr {
        self.0.get(start..).and_then(|rest| CStr::from_bytes_until_nul(rest).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(inode: u64) -> FileId {
        FileId { device: 1, inode }
    }

    /// Returns the names of a task, its last directory first.
    fn names(task: Task) -> Vec<(u64, String)> {
        let (mut names, mut next) = (Vec::new(), Some(task));
        while let Some(task) = next {
            let (work, rest) = task.split();
            let Work::Directory(child) = work else { panic!("{work:?}") };
            names.push((child.id.inode, child.name.to_str().unwrap().to_owned()));
            next = rest;
        }
        names
    }

    #[test]
    fn a_batch_comes_apart_as_it_was_put_together() {
        let root = Node::root(c"/".into(), id(1), 0);
        let mut batch = Batch::new(root, None);
        for n in 0..7 {
            batch.push(id(n), &std::ffi::CString::new("x".repeat(n as usize + 1)).unwrap());
        }
        let mut first = Task::Directories(batch);
        let second = first.halve().unwrap();
        let expected: Vec<_> = (0..7).rev().map(|n| (n, "x".repeat(n as usize + 1))).collect();
        assert_eq!([names(second), names(first)].concat(), expected);
    }
}
