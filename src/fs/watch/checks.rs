//! Checks in turn the files of a watched tree that can change without an event.

use std::ffi::{CStr, CString};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::inotify::ReadFlags;

use super::links::Facts;
use super::nodes::NodeId;
use super::reading;
use super::tree::Tree;
use super::unreported::{MOST, Names, Unreported};
use crate::fs::walk::{EntryStat, Exclude, FileId, PathBuffer};

impl Tree {
    /// Records from an event of a file whether it may be open for writing.
    pub(super) fn opened_or_closed(&mut self, id: NodeId, name: &CStr, what: ReadFlags, cookie: u32) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let before = node.unreported.len();
        if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            let was_open = node.unreported.remove(name).is_some_and(|file| file.open);
            if was_open && what.contains(ReadFlags::MOVED_FROM) {
                self.moved_open = Some(cookie);
            }
        } else if what.intersects(ReadFlags::CREATE | ReadFlags::MODIFY)
            || (what.contains(ReadFlags::MOVED_TO) && self.moved_open.take() == Some(cookie))
        {
            let new = Unreported { facts: None, open: true };
            node.unreported.entry(name.into()).or_insert(new).open = true;
        } else if what.contains(ReadFlags::CLOSE_WRITE)
            && let Some(file) = node.unreported.get_mut(name)
        {
            // If it is not sparse, the reading that this event queues removes it.
            file.open = false;
        }
        let after = node.unreported.len();
        self.count_unreported(id, before, after);
    }

    /// Marks the file at a path as one that the kernel may write to without an event: if it is in the tree it is checked from
    /// now on, until an event reports that it was closed.
    pub(super) fn may_be_written(&mut self, path: &Path, exclude: &Exclude) {
        for (id, name) in self.found_at(path) {
            let mut path = PathBuffer::default();
            let root = self.nodes.get(id).map_or(0, |node| node.root as usize);
            if exclude.matches(root, path.below_root(&self.nodes.way(id), &name), name.to_bytes()) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(id) else { continue };
            // Files with several names are known by their ids.
            if let Some(link) = node.links.iter().find(|link| *link.name == *name) {
                let link = link.id;
                self.ask(link);
                continue;
            }
            let before = node.unreported.len();
            let new = Unreported { facts: None, open: true };
            node.unreported.entry(name.into()).or_insert(new).open = true;
            let after = node.unreported.len();
            self.count_unreported(id, before, after);
        }
    }

    /// Returns the known parent directories of a path, each with the name there. With nested roots and mounts there can be
    /// several.
    fn found_at(&self, path: &Path) -> Vec<(NodeId, CString)> {
        let Some(name) = path.file_name().and_then(|name| CString::new(name.as_bytes()).ok()) else {
            return Vec::new();
        };
        let found = |(parent, _)| {
            // Without a watch no event would report that it was closed.
            let is_read = self.nodes.get(parent).is_some_and(|node| node.read_at.is_some() && node.wd.is_some());
            let is_directory = self.nodes.child(parent, name.to_bytes()).is_some();
            (is_read && !is_directory).then(|| (parent, name.clone()))
        };
        self.parents_of(path).into_iter().filter_map(found).collect()
    }

    /// Replaces the checked files of a directory by those that its reading found.
    pub(super) fn set_unreported(&mut self, id: NodeId, mut names: Names) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let before = node.unreported.len();
        let room = MOST.saturating_sub(self.unreported_names.saturating_sub(before));
        if names.len() > room {
            let mut left = room;
            // Open files are not limited here: their number is limited by the descriptors of their writers.
            names.retain(|_, file| {
                let stays = file.open || left > 0;
                left = left.saturating_sub(1);
                stays
            });
        }
        let after = names.len();
        node.unreported = names;
        self.count_unreported(id, before, after);
    }

    /// Updates a name of a directory that was checked.
    pub(super) fn check_unreported(&mut self, id: NodeId, name: &CStr, entry: Option<&EntryStat>) {
        let is_full = self.unreported_names >= MOST;
        let Some(node) = self.nodes.get_mut(id) else { return };
        let before = node.unreported.len();
        let known = node.unreported.get(name).copied();
        let file = entry.and_then(|entry| Unreported::of(entry, known.is_some_and(|known| known.open)));
        match file {
            Some(file) if known.is_some() || !is_full => _ = node.unreported.insert(name.into(), file),
            _ => _ = node.unreported.remove(name),
        }
        let after = node.unreported.len();
        self.count_unreported(id, before, after);
    }

    pub(super) fn count_unreported(&mut self, id: NodeId, before: usize, after: usize) {
        self.unreported_names = self.unreported_names.saturating_sub(before).saturating_add(after);
        if after == 0 {
            self.unreported.remove(&id);
        } else if before == 0 {
            self.unreported.insert(id);
        }
    }

    /// Returns up to `most` of the next files, with their known sizes. Directories that wait to be read are left out.
    pub(super) fn next_unreported(&mut self, most: usize) -> Vec<(NodeId, Box<CStr>, Unreported)> {
        let mut next = Vec::new();
        if self.unreported.is_empty() {
            return next;
        }
        let (turn, last) = self.unreported_turn.take().unwrap_or_else(|| (NodeId::FIRST, c"".into()));
        let all: (Bound<&CStr>, Bound<&CStr>) = (Bound::Unbounded, Bound::Unbounded);
        let later = self.unreported.range((Bound::Excluded(turn), Bound::Unbounded)).map(|id| (*id, all));
        let earlier = self.unreported.range(..turn).map(|id| (*id, all));
        let begin = std::iter::once((turn, (Bound::Excluded(&*last), Bound::Unbounded)));
        let end = std::iter::once((turn, (Bound::Unbounded, Bound::Included(&*last))));
        for (id, names) in begin.chain(later).chain(earlier).chain(end) {
            let Some(node) = self.nodes.get(id).filter(|node| !node.is_waiting()) else { continue };
            for (name, file) in node.unreported.range::<CStr, _>(names) {
                if next.len() >= most {
                    break;
                }
                next.push((id, name.clone(), *file));
            }
        }
        self.unreported_turn = next.last().map(|(id, name, _)| (*id, name.clone()));
        next
    }

    /// Checks up to `most` files that can change without an event, and queues those that changed. Returns how many were
    /// checked.
    pub(super) fn check_next_unreported(&mut self, most: usize) -> usize {
        let files = self.next_unreported(most);
        for of_one in files.chunk_by(|(a, ..), (b, ..)| a == b) {
            let Some((id, ..)) = of_one.first() else { continue };
            let found = reading::ask(self, *id, of_one.iter().map(|(_, name, _)| &**name));
            for ((_, name, known), found) in of_one.iter().zip(found) {
                let is_file = found.is_some_and(|entry| entry.kind == FileType::RegularFile);
                if known.facts.is_none() && !is_file {
                    // It was added by its path.
                    self.check_unreported(*id, name, None);
                // An event reported the removal of a name that does not exist.
                } else if found.is_some_and(|entry| known.differs(&entry)) {
                    self.touch(*id, name);
                }
            }
        }
        files.len()
    }

    /// Does the same for files that have several names.
    pub(super) fn check_next_external(&mut self, most: usize) -> usize {
        let files = self.links.next_external(most);
        for id in &files {
            self.ask(*id);
        }
        files.len()
    }

    /// Reads the number of names left of the files that lost a name in the trees.
    pub(super) fn check_lost(&mut self) {
        for id in std::mem::take(&mut self.lost) {
            if self.links.is_external(id) {
                self.ask(id);
            }
        }
    }

    /// Reads the current state of a file with several names.
    fn ask(&mut self, id: FileId) {
        let Some(holder) = self.links.holder(id) else { return };
        let Some(node) = self.nodes.get(holder) else { return };
        let place = node.links.binary_search_by_key(&id, |link| link.id).unwrap_or_else(|place| place);
        let Some(link) = node.links.get(place) else { return };
        let found = reading::ask(self, holder, std::iter::once(&*link.name)).pop().flatten();
        // If it is another file the name was replaced, which an event reports.
        if let Some(entry) = found.filter(|entry| entry.id == id) {
            self.links.update(id, Facts::of(&entry));
        }
    }
}
