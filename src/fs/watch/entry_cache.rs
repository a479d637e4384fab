//! The counts of each entry of a large directory: an event then costs one system call, and not one for each of its entries.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};

use super::counts::Counts;
use crate::fs::walk::FileId;

/// The entries of one directory, by the hashes of their names. It is created when a large directory has changed,
/// and dropped when the directory was read in turn and had not changed since the last time.
#[derive(Debug, Default)]
pub(super) struct EntryCache {
    items: HashMap<u64, Item>,
    names: RandomState,
    /// Names that events reported since the last reading.
    pub(super) touched: HashSet<Box<CStr>>,
    /// Whether an event reported a name since it was created.
    pub(super) used: bool,
}

/// The counts of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    File { allocated_bytes: u64, apparent_bytes: u64 },
    Link(FileId),
    Directory,
}

/// The number of entries of a large directory.
pub(super) const LARGE: u32 = 1024;

/// The limit of entries, of all directories together: some 50 MB.
pub(super) const MOST: usize = 1 << 20;

impl EntryCache {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Sets the counts of a name, and returns the old ones.
    pub(super) fn set(&mut self, name: &CStr, item: Option<Item>) -> Option<Item> {
        let hash = self.names.hash_one(name);
        match item {
            Some(item) => self.items.insert(hash, item),
            None => self.items.remove(&hash),
        }
    }

    /// Records a changed name. Returns `false` when there are so many that reading the whole directory costs no more.
    pub(super) fn touch(&mut self, name: &CStr) -> bool {
        self.used = true;
        let few = self.touched.len() < self.items.len() / 4;
        if few && !self.touched.contains(name) {
            self.touched.insert(name.into());
        }
        few
    }
}

impl Item {
    /// Returns its counts for its directory: none for a directory and for a file with several names, which count elsewhere.
    pub(super) fn counts(self) -> Counts {
        match self {
            Self::File { allocated_bytes, apparent_bytes } => Counts::of_file(allocated_bytes, apparent_bytes),
            Self::Link(_) => {
                let mut counts = Counts::default();
                counts.totals.count_name();
                counts
            }
            Self::Directory => Counts::default(),
        }
    }
}
