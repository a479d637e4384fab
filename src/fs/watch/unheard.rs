//! Files that can change without an event: those are asked at each refresh.
//!
//! The kernel writes to a file without an event where it does so for a device or for an asynchronous call (loop devices,
//! `io_submit(2)`), and when memory is stored that a file is mapped to. In a sparse file that takes space and changes nothing
//! else. What grows must be open for that: a file that was made or written to since its directory is watched, and was not
//! closed.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::ops::Bound;

use rustix::fs::FileType;
use rustix::fs::inotify::ReadFlags;

use super::nodes::NodeId;
use super::tree::Tree;
use crate::fs::scan::Entry;

/// A file is sparse whose blocks are so many bytes less than it is long: smaller holes would make most files of file systems
/// that compress sparse, and are found by verification.
pub(super) const HOLE: u64 = 64 << 10;

/// So many sparse files are known by name at most, some 10 MB. Those beyond are counted, and not asked.
pub(super) const MOST: usize = 1 << 16;

/// What was known of such a file when its directory was read, or it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unheard {
    facts: Option<(u64, u64)>,
    /// Whether somebody may have it open for writing.
    pub(super) open: bool,
}

/// The files of one directory.
pub(super) type Names = BTreeMap<Box<CStr>, Unheard>;

impl Unheard {
    /// A file that is to be asked: one that is sparse, or may be open for writing.
    pub(super) fn of(entry: &Entry, open: bool) -> Option<Self> {
        // Of those with several names the sparse ones are asked as those are that have names elsewhere; and a name that was
        // made by link(2) says nothing of who has the file open.
        let is_one = entry.kind == FileType::RegularFile && entry.links < 2;
        let asked = is_one && (open || is_sparse(entry.allocated_bytes, entry.apparent_bytes));
        let facts = Some((entry.allocated_bytes, entry.apparent_bytes));
        asked.then_some(Self { facts, open })
    }

    /// Whether it is not what was known.
    pub(super) fn differs(self, entry: &Entry) -> bool {
        self.facts != Some((entry.allocated_bytes, entry.apparent_bytes))
    }
}

/// Whether a file has room to take space without becoming longer.
pub(super) fn is_sparse(allocated_bytes: u64, apparent_bytes: u64) -> bool {
    apparent_bytes.saturating_sub(allocated_bytes) >= HOLE
}

impl Tree {
    /// An event of a file tells whether it may be open for writing.
    pub(super) fn opened_or_closed(&mut self, id: NodeId, name: &CStr, what: ReadFlags, cookie: u32) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let before = node.unheard.len();
        if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            let was_open = node.unheard.remove(name).is_some_and(|file| file.open);
            if was_open && what.contains(ReadFlags::MOVED_FROM) {
                self.moved_open = Some(cookie);
            }
        } else if what.intersects(ReadFlags::CREATE | ReadFlags::MODIFY)
            || (what.contains(ReadFlags::MOVED_TO) && self.moved_open.take() == Some(cookie))
        {
            let new = Unheard { facts: None, open: true };
            node.unheard.entry(name.into()).or_insert(new).open = true;
        } else if what.contains(ReadFlags::CLOSE_WRITE)
            && let Some(file) = node.unheard.get_mut(name)
        {
            // Where it is not sparse it goes with the reading that this event asks for, too.
            file.open = false;
        }
        let after = node.unheard.len();
        self.count_unheard(id, before, after);
    }

    /// Replaces what is known of a directory, whose reading found these.
    pub(super) fn set_unheard(&mut self, id: NodeId, mut names: Names) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let before = node.unheard.len();
        let room = MOST.saturating_sub(self.unheard_names.saturating_sub(before));
        if names.len() > room {
            let mut left = room;
            // Those that are open are as many as somebody has open.
            names.retain(|_, file| {
                let stays = file.open || left > 0;
                left = left.saturating_sub(1);
                stays
            });
        }
        let after = names.len();
        node.unheard = names;
        self.count_unheard(id, before, after);
    }

    /// A name of a directory was asked.
    pub(super) fn asked_unheard(&mut self, id: NodeId, name: &CStr, entry: Option<&Entry>) {
        let is_full = self.unheard_names >= MOST;
        let Some(node) = self.nodes.get_mut(id) else { return };
        let before = node.unheard.len();
        let known = node.unheard.get(name).copied();
        let file = entry.and_then(|entry| Unheard::of(entry, known.is_some_and(|known| known.open)));
        match file {
            Some(file) if known.is_some() || !is_full => _ = node.unheard.insert(name.into(), file),
            _ => _ = node.unheard.remove(name),
        }
        let after = node.unheard.len();
        self.count_unheard(id, before, after);
    }

    pub(super) fn count_unheard(&mut self, id: NodeId, before: usize, after: usize) {
        self.unheard_names = self.unheard_names.saturating_sub(before).saturating_add(after);
        if after == 0 {
            self.unheard.remove(&id);
        } else if before == 0 {
            self.unheard.insert(id);
        }
    }

    /// The next ones, so many at most, with what is known of them. What waits to be read is left out.
    pub(super) fn next_unheard(&mut self, most: usize) -> Vec<(NodeId, Box<CStr>, Unheard)> {
        let mut next = Vec::new();
        if self.unheard.is_empty() {
            return next;
        }
        let (turn, last) = self.unheard_turn.take().unwrap_or_else(|| (NodeId::FIRST, c"".into()));
        let all: (Bound<&CStr>, Bound<&CStr>) = (Bound::Unbounded, Bound::Unbounded);
        let later = self.unheard.range((Bound::Excluded(turn), Bound::Unbounded)).map(|id| (*id, all));
        let earlier = self.unheard.range(..turn).map(|id| (*id, all));
        let begin = std::iter::once((turn, (Bound::Excluded(&*last), Bound::Unbounded)));
        let end = std::iter::once((turn, (Bound::Unbounded, Bound::Included(&*last))));
        for (id, names) in begin.chain(later).chain(earlier).chain(end) {
            let Some(node) = self.nodes.get(id).filter(|node| !node.is_waiting()) else { continue };
            for (name, file) in node.unheard.range::<CStr, _>(names) {
                if next.len() >= most {
                    break;
                }
                next.push((id, name.clone(), *file));
            }
        }
        self.unheard_turn = next.last().map(|(id, name, _)| (*id, name.clone()));
        next
    }
}
