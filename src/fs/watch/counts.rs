//! The totals of a directory, with the part that can change without an event.

use super::unreported;
use crate::fs::walk::{EntryStat, Totals, at_most};

/// Totals, and the sparse files in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) totals: Totals,
    /// Sparse files that have one name, and their bytes: they can take more space without an event.
    sparse_files: u64,
    sparse_bytes: u128,
}

impl Counts {
    /// Returns the counts of a directory without its entries.
    pub(super) fn of_directory(entry: &EntryStat) -> Self {
        let mut counts = Self::default();
        counts.totals.count(entry);
        counts
    }

    /// Returns the counts of a file with one name.
    pub(super) fn of_file(allocated_bytes: u64, apparent_bytes: u64) -> Self {
        let mut counts = Self::default();
        counts.totals.count_file(allocated_bytes, apparent_bytes);
        if unreported::is_sparse(allocated_bytes, apparent_bytes) {
            (counts.sparse_files, counts.sparse_bytes) = (1, allocated_bytes.into());
        }
        counts
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.totals.add(&other.totals);
        self.sparse_files = self.sparse_files.wrapping_add(other.sparse_files);
        self.sparse_bytes = self.sparse_bytes.wrapping_add(other.sparse_bytes);
    }

    /// Subtracts counts that were added before.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.totals.subtract(&other.totals);
        self.sparse_files = self.sparse_files.wrapping_sub(other.sparse_files);
        self.sparse_bytes = self.sparse_bytes.wrapping_sub(other.sparse_bytes);
    }

    /// Returns the number of sparse files and their bytes, added to those of others.
    pub(super) fn sparse_and(&self, (files, bytes): (u64, u128)) -> (u64, u64) {
        (self.sparse_files.saturating_add(files), at_most(self.sparse_bytes.saturating_add(bytes)))
    }
}
