//! What a directory tree holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::WirePath;
use crate::time::nanos;

/// What a directory tree holds: what [`Scan::run`](crate::fs::Scan::run) gives.
///
/// The numbers are those of `du`: [`allocated_bytes`](Self::allocated_bytes) is what `du -s --block-size=1` prints, and
/// [`entries`](Self::entries) less [`hard_links`](Self::hard_links) is what `du -s --inodes` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// Space on the disk: blocks, whatever the length of the files, and those of the directories themselves.
    pub allocated_bytes: u64,
    /// Length of the regular files and symbolic links, as they would be copied; holes of sparse files count. `u64::MAX`
    /// where they are longer than that.
    pub apparent_bytes: u64,
    /// Whatever is not a directory. A file with several names counts once.
    pub files: u64,
    /// Directories, the root of the tree among them.
    pub directories: u64,
    /// Further names of the files: hard links that took no space.
    pub hard_links: u64,
    /// Other mounts in the tree, and subvolumes of btrfs, that the [boundary](crate::fs::Boundary) left out: nothing that is in
    /// them is counted here. That is no error, and the usage is complete without them.
    #[serde(default)]
    pub excluded_mounts: u64,
    /// What could not be read, and is missing above.
    #[serde(default, skip_serializing_if = "ScanErrors::is_empty")]
    pub errors: ScanErrors,
    /// Why something is missing, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<Partial>,
    /// The files with the largest `allocated_bytes`, as many as [`Scan::largest`](crate::fs::Scan::largest) asked for: the
    /// largest first, by path where they are as large. A file with several names is told by the first in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest: Vec<Largest>,
    /// How long the scan took. Nanoseconds in the wire form.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub took: Duration,
}

/// Why a [`Usage`] is less than what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Partial {
    /// [`Scan::max_entries`](crate::fs::Scan::max_entries) was reached.
    Entries,
    /// [`Scan::max_duration`](crate::fs::Scan::max_duration) was over.
    Time,
    /// Something could not be read: see [`Usage::errors`].
    Errors,
}

/// What could not be read in a scan. What vanished meanwhile is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanErrors {
    /// How many entries.
    pub count: u64,
    /// How many of them for want of a permission.
    pub denied: u64,
    /// The first of them, by path.
    pub first: Vec<ScanError>,
}

/// One entry that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanError {
    /// Which.
    pub path: WirePath,
    /// Why, for people.
    pub message: String,
}

/// One of the largest files of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Largest {
    /// Where it is.
    pub path: WirePath,
    /// Its space on the disk.
    pub allocated_bytes: u64,
}

impl Usage {
    /// Everything that has a name in the tree: files, their further names, and directories.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.files.saturating_add(self.hard_links).saturating_add(self.directories)
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.partial.is_none()
    }

    /// Adds what another directory holds, but for the largest files.
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
            // What stopped the scan says more than what it met on its way.
            (None | Some(Partial::Errors), Some(other)) => Some(other),
            (own, _) => own,
        };
        self.took = self.took.max(other.took);
    }
}

impl ScanErrors {
    /// How many are told by path.
    pub(in crate::fs) const TOLD: usize = 8;

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one. Which are told depends on their paths alone and not on who met them first.
    pub(in crate::fs) fn push(&mut self, path: Vec<u8>, errno: rustix::io::Errno) {
        let denied = matches!(errno, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM);
        self.push_message(path.into(), std::io::Error::from(errno).to_string(), denied);
    }

    /// Adds one that another error reports.
    pub(in crate::fs) fn push_message(&mut self, path: WirePath, message: String, denied: bool) {
        self.add(&Self { count: 1, denied: u64::from(denied), first: vec![ScanError { path, message }] });
    }

    pub(in crate::fs) fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.denied = self.denied.saturating_add(other.denied);
        for error in &other.first {
            let at = self.first.partition_point(|known| known.path <= error.path);
            if at < Self::TOLD {
                self.first.insert(at, error.clone());
                self.first.truncate(Self::TOLD);
            }
        }
    }
}

impl Largest {
    /// The largest first, and by path where they are as large.
    pub(in crate::fs) fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.allocated_bytes.cmp(&self.allocated_bytes).then_with(|| self.path.cmp(&other.path))
    }
}
