//! What is told of a file system.

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DeviceId;
use super::hex;
use crate::time::optional_nanos;
use crate::{Monotonic, Reading, Sample, Text, WirePath};

/// One file system at one tick.
///
/// `used_bytes`, `free_bytes` and `reserved_bytes` sum to `total_bytes`, and so do the `bytes` of the parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileSystemSample {
    /// What it is called: its mount point, unless it was given a name.
    pub name: Text,
    /// Where it is mounted. From `/proc/self/mountinfo`, as are the next three.
    pub mount_point: WirePath,
    /// What is mounted: the path of a device, or a name without a meaning.
    pub device: Text,
    /// The number of the device, which tells the file systems of now apart. It is used again after an unmount.
    pub device_id: DeviceId,
    /// The mount: a number that is never used again before the machine restarts, `STATX_MNT_ID_UNIQUE` of `statx(2)`. `None`
    /// before Linux 6.8, and where the file system has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_id: Option<u64>,
    /// The number that the file system gives itself, where it has one: `f_fsid` of `statvfs(3)`; 0 otherwise. Many types make
    /// it of their UUID, some of the device. Hexadecimal text in the wire form, as all its 64 bits count.
    #[serde(default, with = "hex", skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub fsid: u64,
    /// The type: `ext4`, `tmpfs`.
    pub fs_type: Text,
    /// Its size: `f_blocks` of `statvfs(3)`, in bytes.
    pub total_bytes: u64,
    /// In use: `f_blocks` less `f_bfree`, in bytes.
    pub used_bytes: u64,
    /// Free to ordinary users: `f_bavail`, in bytes.
    pub free_bytes: u64,
    /// Free, but kept for root: `f_bfree` less `f_bavail`, in bytes.
    pub reserved_bytes: u64,
    /// Its inodes; `NotApplicable` where it makes them as needed and does not count them.
    pub inodes: Reading<Inodes>,
    /// Whether nothing can be written to it: the mount or the file system is read-only (`f_flag` of `statvfs(3)`), or the
    /// file system stopped after an error: ext4 has `emergency_ro` or `shutdown` among its options since Linux 6.15
    /// (`/proc/fs/ext4/DEVICE/options`; where that is not there, as in the mount table, which is read once a minute), and of
    /// an XFS that was shut down nothing can be read either. An overlay is so when the file system of its upper layer is,
    /// where the path of that layer (`upperdir`) still leads there.
    pub read_only: bool,
    /// Since when it has not answered, if so. The figures are then those of `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<Stalled>,
    /// Whether the directories were found to hold more than is used: they were scanned at another time, or share what is
    /// stored (reflinks, hard links between directories), or hold files of another file system (the layers of an overlay).
    /// Their `bytes` are then made smaller, each by the same factor, and nothing is left for [`PartKind::Other`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overcommitted: bool,
    /// What the total is made of: the registered directories by path, then what else is used, free and reserved. Empty
    /// where the file system has not answered yet.
    pub parts: Vec<Part>,
    /// When the figures were read, by the monotonic clock; `None` if it has not answered since it was first seen, and then
    /// all of them are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Monotonic>,
}

/// The inodes of a file system: how many files it can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inodes {
    /// How many there are: `f_files` of `statvfs(3)`.
    pub total: u64,
    /// In use: `f_files` less `f_ffree`.
    pub used: u64,
    /// Free to ordinary users: `f_favail`.
    pub free: u64,
}

/// A mount that does not answer: its server is away, or the program behind it stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stalled {
    /// When it was asked what it has not answered, by the monotonic clock.
    pub since: Monotonic,
}

/// A part of a file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Part {
    /// The name of the directory, or `other`, `free`, `reserved`.
    pub name: Text,
    /// The path of the directory, without symbolic links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<WirePath>,
    /// What it is.
    pub kind: PartKind,
    /// How much of the total is its own. For a directory: the blocks of what is in it, less what is in registered
    /// directories in it.
    pub bytes: u64,
    /// `bytes` per total; 0 where there is no total.
    pub fraction: f64,
    /// For a directory: how much of its own it was found to hold by the scan of `at`, whatever else is known of the file
    /// system: `bytes` is made smaller where the directories do not fit in what is used
    /// ([`overcommitted`](FileSystemSample::overcommitted)). Rates are made of this. `None` if it was not scanned yet, or
    /// not since a directory in it was registered or left: `bytes` is then put together from different scans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_bytes: Option<u64>,
    /// For a directory: a number for what the scan of `at` had to count. It is made of the path, of where that is in the file
    /// system and of the mount that leads there, of where other mounts hide what is in it, of what is left out, and of the
    /// same of the registered directories in it. The same number stands for the same, on one machine since it was started.
    /// Between two scans with different numbers the difference is no growth. `None` if it was not scanned yet. Hexadecimal
    /// text in the wire form.
    #[serde(default, with = "hex::optional", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub scope: Option<u64>,
    /// For a directory: the name of another one that is the same, by the same path or another one. What both can see counts
    /// for that: `bytes` has only what it hides and this one does not, and [`inclusive_bytes`](Self::inclusive_bytes) has
    /// all. Of several that are the same, that one has it in which least is hidden by other mounts, then the one registered
    /// first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<Text>,
    /// For a directory: `bytes`, and those of all registered directories in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inclusive_bytes: Option<u64>,
    /// How old `bytes` is: counted from the end of the scan, or from when the file system was asked. `None` if the
    /// directory was not scanned yet. Nanoseconds in the wire form.
    #[serde(default, with = "optional_nanos", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub age: Option<Duration>,
    /// When that was, by the monotonic clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Monotonic>,
    /// For a directory: whether all that is in it was counted, but for [other mounts](Self::excluded_mounts). For what else is used: whether all directories are complete.
    pub complete: bool,
    /// How much of the directory could not be read, and is missing in `bytes`.
    pub errors: u64,
    /// The first of it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<Text>,
    /// How many files there are in the directory, each once however many names it has; less those of registered
    /// directories in it, as for all of the following.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// How many directories there are in it, and itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directories: Option<u64>,
    /// How many other mounts are in it: what is in those is on another file system, or is shown by another way, and is not
    /// counted here. Register them as directories of their own, where they matter, or let the directory
    /// [go on](crate::Directory::boundary) there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded_mounts: Option<u64>,
    /// The length of the files in it, as they would be copied. `u64::MAX` where they are longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparent_bytes: Option<u64>,
    /// How long its scan took. Nanoseconds in the wire form.
    #[serde(default, with = "optional_nanos", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub took: Option<Duration>,
    /// How it is kept up to date, for a directory that is watched or in one that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

/// How a directory is kept up to date by what the kernel tells of changes, and how far that can be relied on: see
/// [`Directory::watched`](crate::Directory::watched).
///
/// All but `uncertain_files` and `uncertain_bytes` is told of the outermost watched directory that this one is in, with all in it. Where it is
/// [scanned](WatchMode::Scanned) by its TTL, all counts but that of `directories` are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Watch {
    /// How far events tell what changes.
    pub mode: WatchMode,
    /// Whether nothing was known to be out of date at the age of this part. It is not settled while events were lost, and
    /// while a large directory that changes all the time waits for its turn.
    pub settled: bool,
    /// How many directories there are.
    pub directories: u64,
    /// How many of them have a watch.
    pub watches: u64,
    /// How many directories were read to bring it up to date for this tick: because they changed, or in turn.
    pub directories_read: u64,
    /// How many files can change without an event: those that have names outside of the directory as well, and sparse ones,
    /// which have holes of 64 KiB or more. They are asked at every tick, in turn when they are more than 512 of one kind; of
    /// the sparse ones up to 65,536, and further ones are only read with their directories.
    #[serde(default)]
    pub uncertain_files: u64,
    /// How much of `bytes` is in those files.
    pub uncertain_bytes: u64,
    /// How many files were asked for this tick because they can change without an event: those, and files that were made or
    /// written to and may still be open.
    #[serde(default)]
    pub asked_files: u64,
    /// By how much reading everything again in turn found the figures wrong, more and less added up, since it is watched:
    /// what no event told. Only grows, unless everything is scanned anew.
    pub drift_bytes: u64,
    /// Each directory was read at this time or later, by the monotonic clock, whatever events told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Monotonic>,
    /// How long ago that is. Nanoseconds in the wire form.
    #[serde(default, with = "optional_nanos", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub verified_age: Option<Duration>,
}

/// How far events tell what changes in a watched directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WatchMode {
    /// Every directory has a watch.
    Watched,
    /// Some have none, for want of watches: those are read again when the TTL is over.
    Partly,
    /// None has a watch: there is no inotify to be had, or no watch is left. All are read again when the TTL is over.
    #[default]
    Polled,
    /// It is scanned when the TTL is over, as if it was not to be watched. Events do not report all changes of its file
    /// system, which needs a server or a program to answer (NFS, FUSE), or shows what the kernel has (proc, sysfs, cgroup),
    /// or what others write to its layers (overlay); or it has far more directories than there are watches, and nothing is
    /// kept of them.
    Scanned,
    /// There were more events than the kernel keeps, and not all was read again since.
    Overflow,
}

/// What a part of a file system is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PartKind {
    /// A registered directory.
    Directory,
    /// In use, in none of the directories: other files, deleted files that are still open, what the file system itself
    /// needs.
    #[default]
    Other,
    /// Free to ordinary users.
    Free,
    /// Free, but kept for root.
    Reserved,
}

impl PartKind {
    /// The names of the parts that are no directories: no directory has one of them.
    pub(super) const NAMES: [&str; 3] = ["other", "free", "reserved"];

    /// The name of the part that is no directory.
    pub(super) fn text(self) -> &'static Text {
        static NAMES: LazyLock<[Text; 3]> = LazyLock::new(|| PartKind::NAMES.map(Text::from));
        let [other, free, reserved] = &*NAMES;
        match self {
            Self::Free => free,
            Self::Reserved => reserved,
            _ => other,
        }
    }
}

impl Watch {
    /// Of what is scanned though it was to be watched.
    pub(super) const SCANNED: Self = Self {
        mode: WatchMode::Scanned,
        settled: true,
        directories: 0,
        watches: 0,
        directories_read: 0,
        uncertain_files: 0,
        uncertain_bytes: 0,
        asked_files: 0,
        drift_bytes: 0,
        verified_at: None,
        verified_age: None,
    };
}

impl Part {
    /// When its bytes were found out. Not told of a watched directory where events do not tell everything: what is in it is
    /// then of different times, and growth between two of them is not growth in that time.
    pub(super) fn measured_at(&self) -> Option<Monotonic> {
        let is_whole = |watch: Watch| {
            watch.settled && matches!(watch.mode, WatchMode::Watched | WatchMode::Polled | WatchMode::Scanned)
        };
        self.at.filter(|_| self.watch.is_none_or(is_whole))
    }
}

impl FileSystemSample {
    /// How full it is for ordinary users, from 0 to 1: used per what is used or free, the `Use%` of `df`. `None` where
    /// there is nothing to use.
    #[must_use]
    pub fn fullness(&self) -> Option<f64> {
        let usable = self.used_bytes.saturating_add(self.free_bytes);
        (usable > 0).then(|| fraction(self.used_bytes, usable))
    }

    /// The part of the directory of this name.
    #[must_use]
    pub fn directory(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == PartKind::Directory && part.name == name)
    }
}

/// What tells a file system from another one at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Identity {
    pub(super) device_id: DeviceId,
    pub(super) mount_id: Option<u64>,
    /// Not known before the first answer.
    pub(super) fsid: Option<u64>,
}

impl Identity {
    /// Whether nothing that is known of both is different.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |a: Option<u64>, b: Option<u64>| a.zip(b).is_none_or(|(a, b)| a == b);
        self.device_id == other.device_id && same(self.mount_id, other.mount_id) && same(self.fsid, other.fsid)
    }
}

impl FileSystemSample {
    pub(super) fn identity(&self) -> Identity {
        let Self { device_id, mount_id, fsid, .. } = *self;
        Identity { device_id, mount_id, fsid: self.at.map(|_| fsid) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::cast_precision_loss, reason = "a fraction is derived: 53 bits are more than it needs")]
pub(super) fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Sample for FileSystemSample {
    const KIND: &'static str = "file_system";
    type Key = WirePath;

    fn key(&self) -> WirePath {
        self.mount_point.clone()
    }

    /// Whether something else is mounted there now, or the same again.
    fn is_changed(&self, earlier: &Self) -> bool {
        (&self.device, &self.fs_type) != (&earlier.device, &earlier.fs_type)
            || !self.identity().is_same(&earlier.identity())
    }
}
