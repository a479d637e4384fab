//! Files that can change without an event, which are checked at each refresh.
//!
//! The kernel writes to a file without an event where it does so for a device or for an asynchronous call (loop devices,
//! `io_submit(2)`), and when memory is stored that a file is mapped to. In a sparse file that takes space and changes nothing
//! else. A file must be open to grow in this way: it was made or written to since its directory is watched, and was not
//! closed. And a file that is mounted at a place has its events where it is otherwise, in the tree or not.

use std::collections::BTreeMap;
use std::ffi::CStr;

use rustix::fs::FileType;

use crate::fs::walk::EntryStat;

/// A file counts as sparse if its blocks are at least this much less than its length. With a smaller value, most files of
/// file systems that compress would be sparse; changes in smaller holes are found by verification.
pub(super) const HOLE: u64 = 64 << 10;

/// At most this number of sparse files are known by name, some 10 MB. Further ones are counted, and not checked.
pub(super) const MOST: usize = 1 << 16;

/// Such a file, with its size when its directory was read, or it was checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreported {
    pub(super) facts: Option<(u64, u64)>,
    /// Whether it may be open for writing.
    pub(super) open: bool,
}

/// The files of one directory.
pub(super) type Names = BTreeMap<Box<CStr>, Unreported>;

impl Unreported {
    /// Returns a file that is to be checked: one that is sparse, is itself a mount, or may be open for writing.
    pub(super) fn of(entry: &EntryStat, open: bool) -> Option<Self> {
        // Sparse files with several names are checked by id, as files with names outside are; and a name that was
        // made by link(2) does not show whether the file is open.
        let is_one = entry.kind == FileType::RegularFile && entry.links < 2;
        // An event of a file that is mounted here is of the place where it is otherwise.
        let is_mounted = entry.mount_root == Some(true);
        let asked = is_one && (open || is_mounted || is_sparse(entry.allocated_bytes, entry.apparent_bytes));
        let facts = Some((entry.allocated_bytes, entry.apparent_bytes));
        asked.then_some(Self { facts, open })
    }

    /// Whether the file changed.
    pub(super) fn differs(self, entry: &EntryStat) -> bool {
        self.facts != Some((entry.allocated_bytes, entry.apparent_bytes))
    }
}

/// Whether a file can take more space without becoming longer.
pub(super) fn is_sparse(allocated_bytes: u64, apparent_bytes: u64) -> bool {
    apparent_bytes.saturating_sub(allocated_bytes) >= HOLE
}
