//! Looks at what no watch reports: what is at the paths of the roots, and where other mounts begin.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::counts::Counts;
use super::links::Facts;
use super::mounts::{MountEvent, Parent};
use super::nodes::{Node, NodeId, Queued};
use super::notify::Notify;
use super::roots::{Found, Place};
use super::tree::Tree;
use crate::fs::table::Table;
use crate::fs::walk::{Entry, Mounted};

impl Tree {
    /// Looks at the paths of the roots, and begins anew where there is another directory.
    pub(super) fn look_at_roots(&mut self, notify: Option<&Notify>) {
        let (mut changed, mut retold) = (false, Vec::new());
        for (found, index) in self.roots.look().into_iter().zip(0..) {
            let place = match found {
                Found::Unchanged => match self.replaced(index, notify) {
                    Some(entry) => self.plant(entry, index),
                    None => continue,
                },
                Found::Missing(errno) => Place::Missing(errno),
                Found::Same => Place::Same,
                Found::Entry(entry) if entry.is_dir() => self.plant(entry, index),
                Found::Entry(entry) => Place::File(entry),
            };
            let fence = match place {
                Place::Directory(entry, _) | Place::File(entry) => Some(self.roots.fence(&entry)),
                Place::Missing(_) | Place::Same => None,
            };
            let Some(root) = self.roots.all.get_mut(index as usize) else { continue };
            let old = std::mem::replace(&mut root.place, place);
            root.fence = fence.unwrap_or(root.fence);
            if let Place::Directory(..) = place {
                root.real = std::fs::canonicalize(&root.path).ok();
            }
            if let (Place::File(old), Place::File(new)) = (old, place)
                && (old.links > 1) != (new.links > 1)
            {
                // A file with several names is told by them, in whatever trees they are.
                let parent = root.path.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
                retold.extend(parent.zip(root.path.file_name()).map(|(parent, name)| parent.join(name)));
            }
            match old {
                Place::Directory(_, node) => self.drop_tree(node),
                Place::File(entry) if entry.links > 1 => self.links.unsee_root(entry.id, index),
                _ => {}
            }
            if let Place::File(entry) = place
                && entry.links > 1
            {
                self.links.see_root(entry.id, Facts::of(&entry), index);
            }
            changed |= matches!(old, Place::Directory(..)) || matches!(place, Place::Directory(..));
        }
        for path in retold {
            self.changed_at(&path);
        }
        if changed && self.roots.all.len() > 1 {
            self.part_from_roots();
        }
        // What could not be opened may be so now.
        for root in 0..self.roots.all.len() {
            if let Some(Place::Directory(_, node)) = self.roots.all.get(root).map(|root| root.place)
                && self.failed.contains(&node)
            {
                self.queue(node, Queued::Changed);
            }
        }
    }

    /// What is at the path of a root instead of what looks the same: no directory above tells of that.
    fn replaced(&self, root: u32, notify: Option<&Notify>) -> Option<Entry> {
        let root = self.roots.get(root)?;
        let Place::Directory(_, node) = root.place else { return None };
        let known = self.nodes.get(node)?.wd?;
        if notify?.is_still(&root.name, known) {
            return None;
        }
        Entry::read_local(CWD, &root.name).ok().filter(Entry::is_dir)
    }

    /// Finds out where other mounts begin, if the mount table `has_changed`, or a root is another.
    pub(super) fn look_for_mounts(&mut self, has_changed: bool) {
        let (roots, boundary) = self.roots.directories();
        let roots: Vec<_> = roots.collect();
        let key = |entry: Entry| (entry.id, entry.mount);
        let of: Vec<_> = roots.iter().map(|(_, entry)| entry.map(key)).collect();
        if has_changed || of != self.mounted_in {
            (self.mounted, _) = Mounted::find(Table::read().ok().as_ref(), roots, boundary);
            self.mounted_in = of;
        }
    }

    fn plant(&mut self, entry: Entry, root: u32) -> Place {
        let name = self.roots.get(root).map(|root| root.name.as_c_str().into()).unwrap_or_default();
        let node = self.add(Node::new(None, name, (entry.id, entry.born), root, Counts::of_directory(&entry)));
        // Later on a new root is made by somebody, and with it perhaps second names of files that are known.
        self.queue(node, if self.round > 1 { Queued::Changed } else { Queued::InTurn });
        Place::Directory(entry, node)
    }

    /// A directory in one tree that is the root of another is not of the former: its parent is read again.
    fn part_from_roots(&mut self) {
        let is_root = |node: &Node| {
            self.roots.all.iter().any(|root| matches!(root.place, Place::Directory(entry, _) if entry.id == node.id))
        };
        let parents: Vec<_> =
            self.nodes.iter().filter(|(_, node)| is_root(node)).map(|(_, node)| node.parent).collect();
        for parent in parents.into_iter().flatten() {
            self.queue(parent, Queued::Changed);
        }
    }

    /// Something was mounted or unmounted: the directory it was or is in is read again. Gives whether that is known.
    pub(super) fn mounted_or_unmounted(&mut self, event: &MountEvent) -> bool {
        for (node, id) in &event.parents {
            if self.nodes.get(*node).is_some_and(|node| node.id == *id) {
                self.queue(*node, Queued::Changed);
            }
        }
        self.changed_at(&event.path)
    }

    /// The directories that a path is in, as far as they are known: by nested roots there can be several.
    pub(super) fn parents_of(&self, path: &Path) -> Vec<Parent> {
        let parent = |(root, below): (NodeId, &Path)| {
            let mut names = below.parent()?.iter().map(OsStrExt::as_bytes);
            let parent = names.try_fold(root, |parent, name| self.nodes.child(parent, name))?;
            Some((parent, self.nodes.get(parent)?.id))
        };
        self.roots.above(path).filter_map(parent).collect()
    }

    /// Something else is at this path now, and no event reported it: its parent is read again. Gives `false` where the parent is
    /// not known, and as far as the tree is known is read instead: what was moved has its path when that is done.
    pub(super) fn changed_at(&mut self, path: &Path) -> bool {
        let mut is_known = true;
        let starts: Vec<(NodeId, PathBuf)> =
            self.roots.above(path).map(|(root, below)| (root, below.parent().unwrap_or(below).to_path_buf())).collect();
        for (root, below) in starts {
            let mut parent = root;
            for name in below.iter() {
                match self.nodes.child(parent, name.as_bytes()) {
                    Some(child) => parent = child,
                    None => {
                        is_known = false;
                        break;
                    }
                }
            }
            self.queue(parent, Queued::Changed);
        }
        is_known
    }
}
