//! Files with several names, each counted once.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Mutex, PoisonError};

use crate::fs::walk::{EntryStat, FileId};

/// Files with names that were not read yet.
#[derive(Debug)]
pub(super) struct Links {
    shards: [Mutex<HashMap<FileId, Link>>; SHARDS],
    /// Whether a name can be read twice: then a file is never known to be complete.
    keep: bool,
}

const SHARDS: usize = 16;

/// A file with several names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The first of the roots with a name of it, for which it counts, independent of the order in which names are read.
    pub(super) root: usize,
    pub(super) allocated_bytes: u64,
    pub(super) apparent_bytes: u64,
    seen: u32,
}

/// The position of a name among those of its file.
#[derive(Debug)]
pub(super) enum Seen {
    /// The first of its file.
    First,
    /// A further name.
    Further,
    /// The last name: now the root for which the file counts is known.
    Last(Link),
}

impl Links {
    pub(super) fn new(keep: bool) -> Self {
        Self { shards: Default::default(), keep }
    }

    /// Adds a name in the tree of `root`.
    pub(super) fn see(&self, entry: &EntryStat, root: usize) -> Seen {
        let shard = usize::try_from(entry.id.inode).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return Seen::Further };
        let mut links = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match links.entry(entry.id) {
            Slot::Vacant(slot) => {
                let EntryStat { allocated_bytes, apparent_bytes, .. } = *entry;
                slot.insert(Link { root, allocated_bytes, apparent_bytes, seen: 1 });
                Seen::First
            }
            Slot::Occupied(mut slot) => {
                let link = slot.get_mut();
                link.root = link.root.min(root);
                link.seen = link.seen.saturating_add(1);
                if link.seen < entry.links || self.keep { Seen::Further } else { Seen::Last(slot.remove()) }
            }
        }
    }

    /// Returns the files of which not all names were read.
    pub(super) fn rest(self) -> impl Iterator<Item = Link> {
        self.shards
            .into_iter()
            .flat_map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner).into_values())
    }
}
