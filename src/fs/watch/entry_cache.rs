//! What each entry of a large directory counts: there an event costs one question, and not one for each of its entries.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};

use super::counts::Counts;
use crate::fs::walk::FileId;

/// The entries of one directory, by their names' hashes. It is begun when a large directory has changed,
/// and ends when it was read in turn and did not change since the last time.
#[derive(Debug, Default)]
pub(super) struct EntryCache {
    items: HashMap<u64, Item>,
    names: RandomState,
    /// What events told since the last reading.
    pub(super) touched: HashSet<Box<CStr>>,
    /// Whether events told anything since it was begun.
    pub(super) used: bool,
}

/// What an entry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    File { allocated_bytes: u64, apparent_bytes: u64 },
    Link(FileId),
    Directory,
}

/// A directory of so many entries is large.
pub(super) const LARGE: u32 = 1024;

/// So many entries are kept at most, of all directories together: some 50 MB.
pub(super) const MOST: usize = 1 << 20;

impl EntryCache {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Sets what a name counts, and gives what it did.
    pub(super) fn set(&mut self, name: &CStr, item: Option<Item>) -> Option<Item> {
        let hash = self.names.hash_one(name);
        match item {
            Some(item) => self.items.insert(hash, item),
            None => self.items.remove(&hash),
        }
    }

    /// A name was changed. Gives `false` when there are so many that the whole directory is as soon read.
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
    /// What it adds to its directory. A directory counts for itself, and a file with several names elsewhere.
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
