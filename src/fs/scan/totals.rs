//! What one thread has counted of one tree.

use super::entry::{Entry, FileId};
use super::links::Link;
use super::usage::{Largest, ScanErrors, Usage};

/// Totals of entries. Those of bytes have room for any number of files: three sparse ones can be longer than 64 bits count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    allocated_bytes: u128,
    apparent_bytes: u128,
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
    pub(super) fn count(&mut self, entry: &Entry) {
        let count = if entry.is_dir() { &mut self.directories } else { &mut self.files };
        *count = count.wrapping_add(1);
        self.allocated_bytes = self.allocated_bytes.wrapping_add(entry.allocated_bytes.into());
        self.apparent_bytes = self.apparent_bytes.wrapping_add(entry.apparent_bytes.into());
    }

    /// One of the names of a file.
    pub(super) fn count_name(&mut self) {
        self.names = self.names.wrapping_add(1);
    }

    /// What is beyond the boundary.
    pub(super) fn count_mount(&mut self) {
        self.mounts = self.mounts.wrapping_add(1);
    }

    /// A file with several names.
    pub(super) fn count_link(&mut self, link: &Link) {
        self.linked = self.linked.wrapping_add(1);
        self.allocated_bytes = self.allocated_bytes.wrapping_add(link.allocated_bytes.into());
        self.apparent_bytes = self.apparent_bytes.wrapping_add(link.apparent_bytes.into());
    }

    pub(super) fn add(&mut self, other: &Self) {
        let sum = |to: &mut u64, more: u64| *to = to.wrapping_add(more);
        self.allocated_bytes = self.allocated_bytes.wrapping_add(other.allocated_bytes);
        self.apparent_bytes = self.apparent_bytes.wrapping_add(other.apparent_bytes);
        sum(&mut self.files, other.files);
        sum(&mut self.directories, other.directories);
        sum(&mut self.names, other.names);
        sum(&mut self.linked, other.linked);
        sum(&mut self.mounts, other.mounts);
    }

    /// Entries, however they were counted.
    pub(super) fn entries(&self) -> u64 {
        self.files.wrapping_add(self.directories).wrapping_add(self.names)
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        at_most(self.allocated_bytes)
    }
}

/// Bytes, or the most that 64 bits hold.
pub(in crate::fs) fn at_most(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What was counted of one tree.
#[derive(Clone, Debug, Default)]
pub(super) struct RootTotals {
    pub(super) totals: Totals,
    pub(super) errors: ScanErrors,
    pub(super) top: Top,
}

impl RootTotals {
    pub(super) fn new(largest: usize) -> Self {
        Self { top: Top { keep: largest, files: Vec::new() }, ..Self::default() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.totals.add(&other.totals);
        self.errors.add(&other.errors);
        self.top.add(other.top);
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            allocated_bytes: at_most(self.totals.allocated_bytes),
            apparent_bytes: at_most(self.totals.apparent_bytes),
            files: self.totals.files.wrapping_add(self.totals.linked),
            directories: self.totals.directories,
            hard_links: self.totals.names.saturating_sub(self.totals.linked),
            excluded_mounts: self.totals.mounts,
            errors: self.errors.clone(),
            largest: self.top.files(),
            ..Usage::default()
        }
    }
}

/// The largest files. Which they are depends on the files alone, not on who met them first.
#[derive(Clone, Debug, Default)]
pub(super) struct Top {
    keep: usize,
    /// In order; with the identity of those that have several names.
    files: Vec<(Largest, Option<FileId>)>,
}

impl Top {
    pub(super) fn files(&self) -> Vec<Largest> {
        self.files.iter().map(|(file, _)| file.clone()).collect()
    }

    /// Whether a file may be among them: its path can still decide.
    #[inline]
    pub(super) fn wants(&self, allocated_bytes: u64) -> bool {
        self.keep > 0
            && (self.files.len() < self.keep
                || self.files.last().is_some_and(|(last, _)| allocated_bytes >= last.allocated_bytes))
    }

    pub(super) fn push(&mut self, file: Largest, id: Option<FileId>) {
        if id.is_some()
            && let Some(known) = self.files.iter().position(|(_, other)| *other == id)
        {
            if self.files.get(known).is_some_and(|(known, _)| known.order(&file).is_le()) {
                return;
            }
            self.files.remove(known);
        }
        let at = self.files.partition_point(|(other, _)| other.order(&file).is_lt());
        if at < self.keep {
            self.files.insert(at, (file, id));
            self.files.truncate(self.keep);
        }
    }

    /// Whether a file at `path` is not after the last of them.
    pub(super) fn takes(&self, path: &[u8], allocated_bytes: u64) -> bool {
        use std::os::unix::ffi::OsStrExt;
        self.files.len() < self.keep
            || self.files.last().is_some_and(|(last, _)| {
                let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
                allocated_bytes > last.allocated_bytes || path < &*last.path
            })
    }

    pub(super) fn add(&mut self, other: Self) {
        for (file, id) in other.files {
            self.push(file, id);
        }
    }
}
