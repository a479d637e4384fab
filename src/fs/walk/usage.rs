//! The usage of a directory tree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::WirePath;
use crate::time::nanos;

/// The space and the number of files of a directory tree, as [`Scan::run`](crate::fs::Scan::run) returns them.
///
/// The numbers are those of `du`: `du -s --block-size=1` prints [`allocated_bytes`](Self::allocated_bytes), and
/// `du -s --inodes` prints [`entries`](Self::entries) less [`hard_links`](Self::hard_links).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// Space on the disk: the blocks of the files, independent of their length, and those of the directories themselves.
    pub allocated_bytes: u64,
    /// Length of the regular files and symbolic links, as they would be copied; holes of sparse files count. `u64::MAX`
    /// where they are longer than that.
    pub apparent_bytes: u64,
    /// Entries that are not directories. A file with several names counts once.
    pub files: u64,
    /// Directories, the root of the tree among them.
    pub directories: u64,
    /// Further names of the files: hard links that took no space.
    pub hard_links: u64,
    /// Other mounts in the tree, and subvolumes of btrfs, that the [boundary](crate::fs::Boundary) left out: nothing in
    /// them is counted here. That is no error, and the usage is complete without them.
    #[serde(default)]
    pub excluded_mounts: u64,
    /// Entries that could not be read, and are missing in the numbers above.
    #[serde(default, skip_serializing_if = "ScanErrors::is_empty")]
    pub errors: ScanErrors,
    /// The reason why something is missing, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<Partial>,
    /// The files with the largest `allocated_bytes`, as many as [`Scan::largest`](crate::fs::Scan::largest) asked for: the
    /// largest first, by path among equals. A file with several names is listed by the first of them in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest: Vec<Largest>,
    /// How long the scan took. Nanoseconds in the wire form.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub took: Duration,
}

/// The reason why a [`Usage`] is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Partial {
    /// [`Scan::max_entries`](crate::fs::Scan::max_entries) was reached.
    Entries,
    /// [`Scan::max_duration`](crate::fs::Scan::max_duration) was over.
    Time,
    /// Some entries could not be read: see [`Usage::errors`].
    Errors,
}

/// The entries that a scan could not read. Entries removed meanwhile are no errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanErrors {
    /// The number of entries.
    pub count: u64,
    /// The number of those for which a permission was missing.
    pub denied: u64,
    /// The first of them, by path.
    pub first: Vec<ScanError>,
}

/// One entry that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanError {
    /// Its path.
    pub path: WirePath,
    /// The reason, as a text for people.
    pub message: String,
}

/// One of the largest files of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Largest {
    /// Its path.
    pub path: WirePath,
    /// Its space on the disk.
    pub allocated_bytes: u64,
}

impl Usage {
    /// Returns the number of names in the tree: files, their further names, and directories.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.files.saturating_add(self.hard_links).saturating_add(self.directories)
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.partial.is_none()
    }

    /// Adds the usage of another directory, except for the largest files.
    pub(in crate::fs) fn add(&mut self, other: &Self) {
        let sum = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        sum(&mut self.allocated_bytes, other.allocated_bytes);
        sum(&mut self.apparent_bytes, other.apparent_bytes);
        sum(&mut self.files, other.files);
        sum(&mut self.directories, other.directories);
        sum(&mut self.hard_links, other.hard_links);
        sum(&mut self.excluded_mounts, other.excluded_mounts);
        self.errors.add(&other.errors);
        self.partial = match (self.partial, other.partial) {
            // The reason for the end of the scan takes precedence over errors on the way.
            (None | Some(Partial::Errors), Some(other)) => Some(other),
            (own, _) => own,
        };
        self.took = self.took.max(other.took);
    }
}

impl ScanErrors {
    /// The number of errors that are listed with their paths.
    pub(in crate::fs) const KEPT_PATHS: usize = 8;

    /// Whether there is no error.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an error. Which ones are listed depends only on their paths, and not on the order in which threads add them.
    pub(in crate::fs) fn push(&mut self, path: Vec<u8>, errno: rustix::io::Errno) {
        let denied = matches!(errno, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM);
        self.push_message(path.into(), std::io::Error::from(errno).to_string(), denied);
    }

    /// Adds an error with the text of another one.
    pub(in crate::fs) fn push_message(&mut self, path: WirePath, message: String, denied: bool) {
        self.add(&Self { count: 1, denied: u64::from(denied), first: vec![ScanError { path, message }] });
    }

    pub(in crate::fs) fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.denied = self.denied.saturating_add(other.denied);
        for error in &other.first {
            let at = self.first.partition_point(|known| known.path <= error.path);
            if at < Self::KEPT_PATHS {
                self.first.insert(at, error.clone());
                self.first.truncate(Self::KEPT_PATHS);
            }
        }
    }
}

impl Largest {
    /// Orders the largest first, and by path among equals.
    pub(in crate::fs) fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.allocated_bytes.cmp(&self.allocated_bytes).then_with(|| self.path.cmp(&other.path))
    }
}
