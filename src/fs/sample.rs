//! The sample of a file system, with its parts.

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DeviceId;
use super::hex;
use crate::counters::{TimeField, Times};
use crate::measured::Metrics;
use crate::time::{optional_age, optional_nanos};
use crate::{Monotonic, Reading, Sample, Text, WirePath};

/// One file system at one tick.
///
/// `used_bytes`, `free_bytes` and `reserved_bytes` sum to `total_bytes`, and so do the `bytes` of the parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileSystemSample {
    /// Its name: that of the registration, or else its mount point.
    pub name: Text,
    /// Its mount point. From `/proc/self/mountinfo`, as are the next three.
    pub mount_point: WirePath,
    /// The mounted device: its path, or a name without a meaning.
    pub device: Text,
    /// The number of the device, which is unique among the mounted file systems. It is used again after an unmount.
    pub device_id: DeviceId,
    /// The id of the mount, which is never used again before the machine restarts: `STATX_MNT_ID_UNIQUE` of `statx(2)`. `None`
    /// before Linux 6.8, and if the file system has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_id: Option<u64>,
    /// The id of the file system, if it has one: `f_fsid` of `statvfs(3)`; 0 otherwise. Many types derive
    /// it from their UUID, some from the device. Hexadecimal text in the wire form, to keep all of its 64 bits.
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
    /// Its inodes; `NotApplicable` if it creates them as needed and does not count them.
    pub inodes: Reading<Inodes>,
    /// Whether nothing can be written to it: the mount or the file system is read-only (`f_flag` of `statvfs(3)`), or the
    /// file system stopped after an error: ext4 has `emergency_ro` or `shutdown` among its options since Linux 6.15
    /// (read from `/proc/fs/ext4/DEVICE/options`, or without that file from the mount table, once a minute), and an XFS that was
    /// shut down cannot be read either. An overlay is read-only when the file system of its upper layer is,
    /// provided that the path of that layer (`upperdir`) still leads there.
    pub read_only: bool,
    /// Set while it does not answer: since when. The figures are then those of `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<Stalled>,
    /// Whether the directories were measured to be larger than the used space: they were scanned at another time, or share
    /// blocks (reflinks, hard links between directories), or have files of another file system (the layers of an overlay).
    /// Their `bytes` are then reduced, all by the same factor, and nothing is left for [`PartKind::Other`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overcommitted: bool,
    /// The parts of the total: the registered directories by path, then the other used, the free and the reserved space. Empty
    /// if the file system has not answered yet.
    pub parts: Vec<Part>,
    /// When the figures were read, by the monotonic clock; `None` if it has not answered since it was first seen, and then
    /// all of them are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Monotonic>,
}

/// The inodes of a file system, which limit its number of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inodes {
    /// Their number: `f_files` of `statvfs(3)`.
    pub total: u64,
    /// In use: `f_files` less `f_ffree`.
    pub used: u64,
    /// Free to ordinary users: `f_favail`.
    pub free: u64,
}

/// A mount that does not answer: its server is down, or the program behind it is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stalled {
    /// When the unanswered question was asked, by the monotonic clock.
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
    /// Its kind.
    pub kind: PartKind,
    /// Its own share of the total. For a directory: the blocks of the entries in it, less those in registered
    /// directories in it.
    pub bytes: u64,
    /// `bytes` per total; 0 if the total is 0.
    pub fraction: f64,
    /// For a directory: its own share as the scan of `at` measured it, while `bytes` is reduced if the directories do not fit
    /// in the used space ([`overcommitted`](FileSystemSample::overcommitted)). Rates are computed from this. `None` if it was
    /// not scanned yet, or not since a directory in it was registered or removed: `bytes` is then combined from different
    /// scans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_bytes: Option<u64>,
    /// For a directory: a number that identifies the set of places that the scan of `at` counted. It is a hash of the path, its
    /// place in the file system and the mount that leads there, the places in it that are hidden by other mounts, the globs that
    /// leave out entries, and the same of the registered directories in it. Equal numbers mean equal sets, on one machine since
    /// it was started. Between two scans with different numbers the difference is no growth. `None` if it was not scanned yet.
    /// Hexadecimal text in the wire form.
    #[serde(default, with = "hex::optional", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub scope: Option<u64>,
    /// For a directory: the name of another registered directory that is the same, by the same path or another one. Entries
    /// visible in both count for that one: `bytes` has only entries that are hidden in it and not in this one, and
    /// [`inclusive_bytes`](Self::inclusive_bytes) has all. Among several that are the same, the entries count for the one in
    /// which least is hidden by other mounts, then for the one registered first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<Text>,
    /// For a directory: `bytes`, and those of all registered directories in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inclusive_bytes: Option<u64>,
    /// The age of `bytes`: counted from the end of the scan, or from when the file system was asked. `None` if the
    /// directory was not scanned yet. Nanoseconds in the wire form.
    #[serde(default, with = "optional_age", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub age: Option<Duration>,
    /// The time of `bytes`, by the monotonic clock: that of the end of the scan, or of the question to the file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Monotonic>,
    /// For a directory: whether all entries in it were counted, except for [other mounts](Self::excluded_mounts). For the other
    /// used space: whether all directories are complete.
    pub complete: bool,
    /// The number of entries of the directory that could not be read, and are missing in `bytes`.
    pub errors: u64,
    /// The first of these errors, as a text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_error: Option<Text>,
    /// The number of files in the directory, each counted once even if it has several names; less those of registered
    /// directories in it, which holds for the following fields too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// The number of directories in it, including itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directories: Option<u64>,
    /// The number of other mounts in it. Their contents are on another file system, or are reachable by another path, and are
    /// not counted here. If they matter, register them as directories of their own, or let the directory
    /// [go on](crate::Directory::boundary) there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded_mounts: Option<u64>,
    /// The length of the files in it, as they would be copied. `u64::MAX` if they are longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparent_bytes: Option<u64>,
    /// How long its scan took. Nanoseconds in the wire form.
    #[serde(default, with = "optional_nanos", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub took: Option<Duration>,
    /// The state of the watching, for a directory that is watched or is in a watched one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

/// How a directory is kept up to date by events of the kernel, and how reliable that is: see
/// [`Directory::watched`](crate::Directory::watched).
///
/// All fields but `uncertain_files` and `uncertain_bytes` are those of the outermost watched directory that this one is in,
/// as a whole. If it is [scanned](WatchMode::Scanned) by its TTL, all counts but `directories` are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Watch {
    /// Which changes events report.
    pub mode: WatchMode,
    /// Whether nothing was known to be out of date at the time of this part. It is not settled after events were lost until
    /// everything was read again, and while a large directory that changes all the time waits to be read.
    pub settled: bool,
    /// The number of directories.
    pub directories: u64,
    /// The number of directories that have a watch.
    pub watches: u64,
    /// The number of directories read to bring it up to date for this tick: because they changed, or in turn.
    pub directories_read: u64,
    /// The number of files that can change without an event: those that have names outside of the directory as well, and sparse
    /// ones, with holes of 64 KiB or more. They are checked at every tick, in turn if there are more than 512 of one kind;
    /// at most 65,536 sparse ones are, and further ones are only read with their directories.
    #[serde(default)]
    pub uncertain_files: u64,
    /// The part of `bytes` that is in those files.
    pub uncertain_bytes: u64,
    /// The number of files checked for this tick because they can change without an event: those, and files that were created
    /// or written to and may still be open.
    #[serde(default)]
    pub asked_files: u64,
    /// The sum of the changes without events that were found by reading everything again in turn, since it is watched: bytes
    /// gained and bytes lost added up. Only grows, unless everything is scanned anew.
    pub drift_bytes: u64,
    /// Each directory was read at this time or later, with or without an event, by the monotonic clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Monotonic>,
    /// The age of `verified_at`. Nanoseconds in the wire form.
    #[serde(default, with = "optional_age", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub verified_age: Option<Duration>,
}

/// Which changes in a watched directory events report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WatchMode {
    /// Every directory has a watch.
    Watched,
    /// Some directories have no watch, because the limit is reached: those are read again when the TTL is over.
    Partly,
    /// No directory has a watch: inotify is not available, or no watch is left. All are read again when the TTL is over.
    #[default]
    Polled,
    /// The directory is scanned when the TTL is over, as if it was not watched. Either events do not report all changes of its
    /// file system, which needs a server or a program to answer (NFS, FUSE), or shows state of the kernel (proc, sysfs, cgroup),
    /// or has layers that others write to (overlay); or it has far more directories than there are watches, so they are not
    /// kept in memory.
    Scanned,
    /// There were more events than the kernel keeps, and not everything was read again since.
    Overflow,
}

/// The kind of a part of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PartKind {
    /// A registered directory.
    Directory,
    /// Used space outside of the directories: other files, deleted files that are still open, the structures of the file
    /// system itself.
    #[default]
    Other,
    /// Free to ordinary users.
    Free,
    /// Free, but kept for root.
    Reserved,
}

impl PartKind {
    /// The names of the parts that are no directories. They are not allowed as names of directories.
    pub(super) const NAMES: [&str; 3] = ["other", "free", "reserved"];

    /// Returns the name of a part that is no directory.
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
    /// The state of a directory that is scanned though watching it was requested.
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
    /// Returns when its bytes were measured. `None` for a watched directory if events do not report everything: its content
    /// was then read at different times, and a difference between two ticks is not the growth between them.
    pub(super) fn measured_at(&self) -> Option<Monotonic> {
        let is_whole = |watch: Watch| {
            watch.settled && matches!(watch.mode, WatchMode::Watched | WatchMode::Polled | WatchMode::Scanned)
        };
        self.at.filter(|_| self.watch.is_none_or(is_whole))
    }
}

impl FileSystemSample {
    /// Returns how full it is for ordinary users, from 0 to 1: used per used and free bytes, the `Use%` of `df`. `None` if
    /// both are 0.
    #[must_use]
    pub fn fullness(&self) -> Option<f64> {
        let usable = self.used_bytes.saturating_add(self.free_bytes);
        (usable > 0).then(|| fraction(self.used_bytes, usable))
    }

    /// Returns the part of the directory of this name.
    #[must_use]
    pub fn directory(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == PartKind::Directory && part.name == name)
    }
}

/// The numbers that distinguish a file system from another one at the same mount point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Identity {
    pub(super) device_id: DeviceId,
    pub(super) mount_id: Option<u64>,
    /// Not known before the first answer.
    pub(super) fsid: Option<u64>,
}

impl Identity {
    /// Whether no number that is known of both is different.
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

impl FileSystemSample {
    /// Calls `each` with the times in it, in the order of the wire form.
    fn times(&mut self, each: &mut dyn FnMut(TimeField<'_>)) {
        if let Some(stalled) = &mut self.stalled {
            each(TimeField::At(&mut stalled.since));
        }
        self.parts.iter_mut().for_each(|part| part.times(each));
        self.at.iter_mut().for_each(|at| each(TimeField::At(at)));
    }
}

impl Part {
    /// Calls `each` with the times in it, in the order of the wire form.
    pub(super) fn times(&mut self, each: &mut dyn FnMut(TimeField<'_>)) {
        self.age.iter_mut().for_each(|age| each(TimeField::Age(age)));
        self.at.iter_mut().for_each(|at| each(TimeField::At(at)));
        if let Some(watch) = &mut self.watch {
            watch.verified_at.iter_mut().for_each(|at| each(TimeField::At(at)));
            watch.verified_age.iter_mut().for_each(|age| each(TimeField::Age(age)));
        }
    }
}

impl Sample for FileSystemSample {
    const KIND: &'static str = "file_system";
    const TIMES: Option<Times<Self>> = Some(Self::times);
    type Key = WirePath;

    fn key(&self) -> WirePath {
        self.mount_point.clone()
    }

    /// Whether another file system is mounted there now, or the same one was mounted again.
    fn is_changed(&self, earlier: &Self) -> bool {
        (&self.device, &self.fs_type) != (&earlier.device, &earlier.fs_type)
            || !self.identity().is_same(&earlier.identity())
    }

    fn metrics() -> Option<Metrics<Self>> {
        Some(Metrics::new())
    }
}
