//! Totals of entries, which can be subtracted again.

use super::entry::EntryStat;
use super::usage::Usage;

/// The totals of one directory, or of one tree. Bytes have 128 bits: the lengths of three sparse files can add up to more
/// than 64 bits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fs) struct Totals {
    pub(in crate::fs) allocated_bytes: u128,
    pub(in crate::fs) apparent_bytes: u128,
    /// Entries with one name that are not directories.
    files: u64,
    directories: u64,
    /// Names of files that have several.
    names: u64,
    /// Files that have several names.
    linked: u64,
    /// Other mounts, and other entries that the boundary leaves out.
    mounts: u64,
}

impl Totals {
    /// Counts a directory, or a file with one name.
    #[inline]
    pub(in crate::fs) fn count(&mut self, entry: &EntryStat) {
        let count = if entry.is_dir() { &mut self.directories } else { &mut self.files };
        *count = count.wrapping_add(1);
        self.count_bytes(entry.allocated_bytes, entry.apparent_bytes);
    }

    /// Counts a file with one name.
    pub(in crate::fs) fn count_file(&mut self, allocated_bytes: u64, apparent_bytes: u64) {
        self.files = self.files.wrapping_add(1);
        self.count_bytes(allocated_bytes, apparent_bytes);
    }

    /// Counts one of the names of a file that has several.
    pub(in crate::fs) fn count_name(&mut self) {
        self.names = self.names.wrapping_add(1);
    }

    /// Counts a file with several names: once, independent of the number of its names, or `times` if a mount shows its names at
    /// several places.
    pub(in crate::fs) fn count_linked(&mut self, allocated_bytes: u64, apparent_bytes: u64, times: u64) {
        self.linked = self.linked.wrapping_add(times);
        let product = |bytes: u64| u128::from(bytes).wrapping_mul(times.into());
        self.allocated_bytes = self.allocated_bytes.wrapping_add(product(allocated_bytes));
        self.apparent_bytes = self.apparent_bytes.wrapping_add(product(apparent_bytes));
    }

    /// Counts an entry outside of the boundary.
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

    /// Subtracts totals that were added before.
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

    /// Returns the number of entries of all kinds.
    pub(in crate::fs) fn entries(&self) -> u64 {
        self.files.wrapping_add(self.directories).wrapping_add(self.names)
    }

    /// Returns them as a [`Usage`].
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

/// Returns the bytes, or the maximum of 64 bits.
pub(in crate::fs) fn at_most(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
