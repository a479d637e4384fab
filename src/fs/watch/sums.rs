//! Sums of entries, which can be taken back.

use crate::Usage;
use crate::fs::scan::{Entry, at_most};

/// What is counted in one directory, or in one tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
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
}

impl Sums {
    /// A directory, or a file with one name.
    pub(super) fn of(entry: &Entry) -> Self {
        let directory = u64::from(entry.is_dir());
        Self {
            allocated_bytes: entry.allocated_bytes.into(),
            apparent_bytes: entry.apparent_bytes.into(),
            files: directory ^ 1,
            directories: directory,
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
    }

    /// As a scan tells them.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            allocated_bytes: at_most(self.allocated_bytes),
            apparent_bytes: at_most(self.apparent_bytes),
            files: self.files.wrapping_add(self.linked),
            directories: self.directories,
            hard_links: self.names.saturating_sub(self.linked),
            ..Usage::default()
        }
    }
}
