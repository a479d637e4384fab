//! Totals of entries, which can be taken back.

use super::unheard;
use crate::fs::Usage;
use crate::fs::scan::{Entry, at_most};

/// What is counted in one directory, or in one tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// With room for any number of files, however long they are.
    pub(super) allocated_bytes: u128,
    pub(super) apparent_bytes: u128,
    /// Whatever is not a directory and has one name.
    pub(super) files: u64,
    pub(super) directories: u64,
    /// Names of files that have several.
    pub(super) names: u64,
    /// Those files.
    pub(super) linked: u64,
    /// Sparse files that have one name, and their bytes: they can take more space without an event.
    pub(super) sparse: u64,
    pub(super) sparse_bytes: u128,
    /// Other mounts, and what else the boundary leaves out.
    pub(super) mounts: u64,
}

impl Totals {
    /// A directory, or a file with one name.
    pub(super) fn of(entry: &Entry) -> Self {
        if !entry.is_dir() {
            return Self::of_file(entry.allocated_bytes, entry.apparent_bytes);
        }
        Self {
            allocated_bytes: entry.allocated_bytes.into(),
            apparent_bytes: entry.apparent_bytes.into(),
            directories: 1,
            ..Self::default()
        }
    }

    /// A file with one name.
    pub(super) fn of_file(allocated_bytes: u64, apparent_bytes: u64) -> Self {
        let sparse = unheard::is_sparse(allocated_bytes, apparent_bytes);
        Self {
            allocated_bytes: allocated_bytes.into(),
            apparent_bytes: apparent_bytes.into(),
            files: 1,
            sparse: sparse.into(),
            sparse_bytes: if sparse { allocated_bytes.into() } else { 0 },
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.each(other, u64::wrapping_add, u128::wrapping_add);
    }

    /// Takes back what was added.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.each(other, u64::wrapping_sub, u128::wrapping_sub);
    }

    fn each(&mut self, other: &Self, apply: impl Fn(u64, u64) -> u64, bytes: impl Fn(u128, u128) -> u128) {
        self.allocated_bytes = bytes(self.allocated_bytes, other.allocated_bytes);
        self.apparent_bytes = bytes(self.apparent_bytes, other.apparent_bytes);
        self.files = apply(self.files, other.files);
        self.directories = apply(self.directories, other.directories);
        self.names = apply(self.names, other.names);
        self.linked = apply(self.linked, other.linked);
        self.sparse = apply(self.sparse, other.sparse);
        self.sparse_bytes = bytes(self.sparse_bytes, other.sparse_bytes);
        self.mounts = apply(self.mounts, other.mounts);
    }

    /// As a scan tells them.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            allocated_bytes: at_most(self.allocated_bytes),
            apparent_bytes: at_most(self.apparent_bytes),
            files: self.files.wrapping_add(self.linked),
            directories: self.directories,
            hard_links: self.names.saturating_sub(self.linked),
            excluded_mounts: self.mounts,
            ..Usage::default()
        }
    }
}
