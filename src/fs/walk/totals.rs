//! Totals of entries, which can be taken back.

use super::entry::EntryStat;
use super::usage::Usage;

/// What was counted: in one directory, or in one tree. Bytes have room for any number of files: three sparse ones can be longer
/// than 64 bits count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fs) struct Totals {
    pub(in crate::fs) allocated_bytes: u128,
    pub(in crate::fs) apparent_bytes: u128,
    /// Whatever is not a directory and has one name.
    files: u64,
    directories: u64,
    /// Names of files that have several.
    names: u64,
    /// Those files.
    linked: u64,
    /// Other mounts, and what else the boundary leaves out.
    mounts: u64,
}

impl Totals {
    /// A directory, or a file with one name.
    #[inline]
    pub(in crate::fs) fn count(&mut self, entry: &EntryStat) {
        let count = if entry.is_dir() { &mut self.directories } else { &mut self.files };
        *count = count.wrapping_add(1);
        self.count_bytes(entry.allocated_bytes, entry.apparent_bytes);
    }

    /// A file with one name.
    pub(in crate::fs) fn count_file(&mut self, allocated_bytes: u64, apparent_bytes: u64) {
        self.files = self.files.wrapping_add(1);
        self.count_bytes(allocated_bytes, apparent_bytes);
    }

    /// One of the names of a file that has several.
    pub(in crate::fs) fn count_name(&mut self) {
        self.names = self.names.wrapping_add(1);
    }

    /// A file with several names: once, whatever number of them was met, and so many times where names are met at several
    /// places, by a mount.
    pub(in crate::fs) fn count_linked(&mut self, allocated_bytes: u64, apparent_bytes: u64, times: u64) {
        self.linked = self.linked.wrapping_add(times);
        let product = |bytes: u64| u128::from(bytes).wrapping_mul(times.into());
        self.allocated_bytes = self.allocated_bytes.wrapping_add(product(allocated_bytes));
        self.apparent_bytes = self.apparent_bytes.wrapping_add(product(apparent_bytes));
    }

    /// What is beyond the boundary.
    pub(in crate::fs) fn count_mount(&mut self) {
        self.mounts = self.mounts.wrapping_add(1);
    }

    #[inline]
    fn count_bytes(&mut self, allocated: u64, apparent: u64) {
        self.allocated_bytes = self.allocated_bytes.wrapping_add(allocated.into());
        self.apparent_bytes = self.apparent_bytes.wrapping_add(apparent.into());
    }

    pub(in crate::fs) fn add(&mut self, other: &Self) {
        self.each(other, u64::wrapping_add, u128::wrapping_add);
    }

    /// Takes back what was added.
    pub(in crate::fs) fn subtract(&mut self, other: &Self) {
        self.each(other, u64::wrapping_sub, u128::wrapping_sub);
    }

    #[inline]
    fn each(&mut self, other: &Self, apply: impl Fn(u64, u64) -> u64, bytes: impl Fn(u128, u128) -> u128) {
        self.allocated_bytes = bytes(self.allocated_bytes, other.allocated_bytes);
        self.apparent_bytes = bytes(self.apparent_bytes, other.apparent_bytes);
        self.files = apply(self.files, other.files);
        self.directories = apply(self.directories, other.directories);
        self.names = apply(self.names, other.names);
        self.linked = apply(self.linked, other.linked);
        self.mounts = apply(self.mounts, other.mounts);
    }

    /// Entries, however they were counted.
    pub(in crate::fs) fn entries(&self) -> u64 {
        self.files.wrapping_add(self.directories).wrapping_add(self.names)
    }

    /// As they are reported.
    pub(in crate::fs) fn usage(&self) -> Usage {
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

/// Bytes, or the most that 64 bits hold.
pub(in crate::fs) fn at_most(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
