//! Recognises the roots of several trees among the entries.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::entry::{EntryStat, FileId};

/// The roots by their identity, if there are several: a root does not belong to the tree around it.
#[derive(Debug, Default)]
pub(in crate::fs) struct RootIds(HashMap<FileId, usize>);

impl RootIds {
    /// Collects the entries at the paths of the roots; also returns for each root the earlier one that is the same.
    pub(in crate::fs) fn new<'a>(
        roots: impl ExactSizeIterator<Item = Option<&'a EntryStat>>,
    ) -> (Self, Vec<Option<usize>>) {
        let (mut by_id, several) = (HashMap::new(), roots.len() > 1);
        let first = roots.zip(0_usize..).map(|(root, index)| {
            // A file with several names is counted by these, as names of it can be in any tree.
            let root = root.filter(|root| several && (root.is_dir() || root.links < 2))?;
            match by_id.entry(root.id) {
                Slot::Vacant(slot) => {
                    slot.insert(index);
                    None
                }
                Slot::Occupied(first) => Some(*first.get()),
            }
        });
        let same_as = first.collect();
        (Self(by_id), same_as)
    }

    /// Returns the index of the root that an entry is.
    #[inline]
    pub(in crate::fs) fn get(&self, entry: &EntryStat) -> Option<usize> {
        if self.0.is_empty() { None } else { self.0.get(&entry.id).copied() }
    }
}
