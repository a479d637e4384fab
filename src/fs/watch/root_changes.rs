//! Checks for changes that no watch reports: other directories at the paths of the roots, and other mounts.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::counts::Counts;
use super::links::Facts;
use super::mounts::{MountEvent, Parent};
use super::nodes::{Node, NodeId, Queued};
use super::notify::Notify;
use super::roots::{RootChange, RootPlace};
use super::tree::Tree;
use crate::fs::table::Table;
use crate::fs::walk::{EntryStat, Mounted};

impl Tree {
    /// Checks the paths of the roots, and starts a new tree for a root that is another directory now.
    pub(super) fn look_at_roots(&mut self, notify: Option<&Notify>) {
        let (mut changed, mut retold) = (false, Vec::new());
        for (found, index) in self.roots.look().into_iter().zip(0..) {
            let place = match found {
                RootChange::Unchanged => match self.replaced(index, notify) {
                    Some(entry) => self.plant(entry, index),
                    None => continue,
                },
                RootChange::Missing(errno) => RootPlace::Missing(errno),
                RootChange::Same => RootPlace::Same,
                RootChange::Entry(entry) if entry.is_dir() => self.plant(entry, index),
                RootChange::Entry(entry) => RootPlace::File(entry),
            };
            let fence = match place {
                RootPlace::Directory(entry, _) | RootPlace::File(entry) => Some(self.roots.fence(&entry)),
                RootPlace::Missing(_) | RootPlace::Same => None,
            };
            let Some(root) = self.roots.all.get_mut(index as usize) else { continue };
            let old = std::mem::replace(&mut root.place, place);
            root.fence = fence.unwrap_or(root.fence);
            if let RootPlace::Directory(..) = place {
                root.real = std::fs::canonicalize(&root.path).ok();
            }
            if let (RootPlace::File(old), RootPlace::File(new)) = (old, place)
                && (old.links > 1) != (new.links > 1)
            {
                // A root that is a file with several names is read by all of them, in any of the trees.
                let parent = root.path.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
                retold.extend(parent.zip(root.path.file_name()).map(|(parent, name)| parent.join(name)));
            }
            match old {
                RootPlace::Directory(_, node) => self.drop_tree(node),
                RootPlace::File(entry) if entry.links > 1 => self.links.unsee_root(entry.id, index),
                _ => {}
            }
            if let RootPlace::File(entry) = place
                && entry.links > 1
            {
                self.links.see_root(entry.id, Facts::of(&entry), index);
            }
            changed |= matches!(old, RootPlace::Directory(..)) || matches!(place, RootPlace::Directory(..));
        }
        for path in retold {
            self.changed_at(&path);
        }
        if changed && self.roots.all.len() > 1 {
            self.part_from_roots();
        }
        // A root that could not be opened may be accessible now.
        for root in 0..self.roots.all.len() {
            if let Some(RootPlace::Directory(_, node)) = self.roots.all.get(root).map(|root| root.place)
                && self.failed.contains(&node)
            {
                self.queue(node, Queued::Changed);
            }
        }
    }

    /// Returns the new root if it was replaced by one with the same numbers: no directory above is watched.
    fn replaced(&self, root: u32, notify: Option<&Notify>) -> Option<EntryStat> {
        let root = self.roots.get(root)?;
        let RootPlace::Directory(_, node) = root.place else { return None };
        let known = self.nodes.get(node)?.wd?;
        if notify?.is_still(&root.name, known) {
            return None;
        }
        EntryStat::read_local(CWD, &root.name).ok().filter(EntryStat::is_dir)
    }

    /// Finds the mounts below the roots, if the mount table `has_changed`, or a root is another one.
    pub(super) fn look_for_mounts(&mut self, has_changed: bool) {
        let (roots, boundary) = self.roots.directories();
        let roots: Vec<_> = roots.collect();
        let key = |entry: EntryStat| (entry.id, entry.mount);
        let of: Vec<_> = roots.iter().map(|(_, entry)| entry.map(key)).collect();
        if has_changed || of != self.mounted_in {
            (self.mounted, _) = Mounted::find(Table::read().ok().as_ref(), roots, boundary);
            self.mounted_in = of;
        }
    }

    fn plant(&mut self, entry: EntryStat, root: u32) -> RootPlace {
        let name = self.roots.get(root).map(|root| root.name.as_c_str().into()).unwrap_or_default();
        let node = self.add(Node::new(None, name, (entry.id, entry.born), root, Counts::of_directory(&entry)));
        // After the first refresh, a new root was just created, and may have second names of known files.
        self.queue(node, if self.round > 1 { Queued::Changed } else { Queued::InTurn });
        RootPlace::Directory(entry, node)
    }

    /// Removes a directory that is the root of another tree from the outer tree: its parent is read again.
    fn part_from_roots(&mut self) {
        let is_root = |node: &Node| {
            self.roots
                .all
                .iter()
                .any(|root| matches!(root.place, RootPlace::Directory(entry, _) if entry.id == node.id))
        };
        let parents: Vec<_> =
            self.nodes.iter().filter(|(_, node)| is_root(node)).map(|(_, node)| node.parent).collect();
        for parent in parents.into_iter().flatten() {
            self.queue(parent, Queued::Changed);
        }
    }

    /// Handles a mount or unmount: the directory of the mount point is read again. Returns the directories that its path is in; `None` if
    /// that is not known.
    pub(super) fn mounted_or_unmounted(&mut self, event: &MountEvent) -> Option<Vec<Parent>> {
        for (node, id) in &event.parents {
            if self.nodes.get(*node).is_some_and(|node| node.id == *id) {
                self.queue(*node, Queued::Changed);
            }
        }
        self.changed_at(&event.path).then(|| self.parents_of(&event.path))
    }

    /// Returns the known directories that a path is in: with nested roots there can be several.
    pub(super) fn parents_of(&self, path: &Path) -> Vec<Parent> {
        let parent = |(root, below): (NodeId, &Path)| {
            let mut names = below.parent()?.iter().map(OsStrExt::as_bytes);
            let parent = names.try_fold(root, |parent, name| self.nodes.child(parent, name))?;
            Some((parent, self.nodes.get(parent)?.id))
        };
        self.roots.above(path).filter_map(parent).collect()
    }

    /// Handles a change at a path that no event reported: its parent is read again. If the parent is not known, the deepest
    /// known directory on the path is read instead, and `false` is returned: moved directories have their paths after that.
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
