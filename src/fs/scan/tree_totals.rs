//! The totals of one thread for one tree.

use crate::fs::walk::{FileId, Largest, ScanErrors, Totals, Usage};

/// The totals of one tree.
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
        Usage { errors: self.errors.clone(), largest: self.top.files(), ..self.totals.usage() }
    }
}

/// The largest files. The selection depends only on the files, not on the order in which threads add them.
#[derive(Clone, Debug, Default)]
pub(super) struct Top {
    keep: usize,
    /// In order; with the identity of files that have several names.
    files: Vec<(Largest, Option<FileId>)>,
}

impl Top {
    pub(super) fn files(&self) -> Vec<Largest> {
        self.files.iter().map(|(file, _)| file.clone()).collect()
    }

    /// Whether a file of this size may be among them; among equals its path decides.
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

    /// Whether a file at `path` comes before the last of them.
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
