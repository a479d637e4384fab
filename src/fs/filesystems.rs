//! The mounted file systems as a source.

use std::collections::HashSet;

use rustix::fs::{StatVfs, StatVfsMountFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::mounts::{self, Mount};
use crate::{BootId, Cancel, Error, Result, Sample, Skipped, Snapshot, Source, Text, WirePath};

/// The file systems of a machine, as a [`Source`]: how large, how full, by `statvfs(3)`.
///
/// One sample for each file system, at the first place it is mounted at; what has no size (proc, sysfs) is left out, as
/// `df` does. Samples come in the order of their mount points.
///
/// # Errors
///
/// [`collect`](Source::collect) fails when `/proc/self/mountinfo` cannot be read. A mount that cannot be asked is counted in
/// [`Snapshot::skipped`].
///
/// # Examples
///
/// ```
/// use appmon::{Cancel, FileSystems, Snapshot, Source};
///
/// let mut snapshot = Snapshot::default();
/// FileSystems::mounted().collect(&mut snapshot, &Cancel::new())?;
/// for fs in &snapshot {
///     println!("{}: {} of {} bytes used", fs.mount_point.display(), fs.used_bytes, fs.total_bytes);
/// }
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct FileSystems {
    boot_id: BootId,
}

/// One file system at one tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileSystemSample {
    /// What it is called: its mount point, unless it was given a name.
    pub name: Text,
    /// Where it is mounted.
    pub mount_point: WirePath,
    /// What is mounted: the path of a device, or a name without a meaning.
    pub device: Text,
    /// The type: `ext4`, `tmpfs`.
    pub fs_type: Text,
    /// Its size.
    pub total_bytes: u64,
    /// In use.
    pub used_bytes: u64,
    /// Free to ordinary users.
    pub free_bytes: u64,
    /// Free, but kept for root.
    pub reserved_bytes: u64,
    /// Its inodes.
    pub inodes: Inodes,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// The inodes of a file system: how many files it can hold. All 0 for one that makes them as needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inodes {
    /// How many there are.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// Free to ordinary users.
    pub free: u64,
}

impl FileSystems {
    /// All file systems that are mounted and have a size.
    pub fn mounted() -> Self {
        Self { boot_id: BootId::current() }
    }
}

impl Source for FileSystems {
    type Sample = FileSystemSample;

    fn collect(&mut self, snapshot: &mut Snapshot<FileSystemSample>, cancel: &Cancel) -> Result<()> {
        /// Our own mounts: those that our paths lead to.
        const TABLE: &str = "/proc/self/mountinfo";
        snapshot.begin();
        snapshot.boot_id = self.boot_id;
        let table = std::fs::read(TABLE).map_err(|error| Error::io(error).at(TABLE))?;
        let mut seen = HashSet::new();
        for mount in mounts::parse(&table) {
            cancel.check()?;
            // Bind mounts and further mounts of the same device are the same file system.
            if !seen.contains(&mount.device)
                && let Some(sample) = sample(&mount, &mut snapshot.skipped)
            {
                seen.insert(mount.device);
                snapshot.samples.push(sample);
            }
        }
        snapshot.samples.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        snapshot.end();
        Ok(())
    }
}

impl Sample for FileSystemSample {
    const KIND: &'static str = "file_system";
    type Key = WirePath;

    fn key(&self) -> WirePath {
        self.mount_point.clone()
    }
}

/// Asks one mount; `None` where it has no size or cannot be asked.
fn sample(mount: &Mount, skipped: &mut Skipped) -> Option<FileSystemSample> {
    let mount_point = WirePath::from(mount.mount_point.as_slice());
    let stat = match rustix::fs::statvfs(&*mount_point) {
        Ok(stat) => stat,
        Err(errno) => {
            let count = match errno {
                Errno::ACCESS | Errno::PERM => &mut skipped.denied,
                // Unmounted since the table was read, or hidden below another mount.
                Errno::NOENT => &mut skipped.vanished,
                _ => &mut skipped.failed,
            };
            *count = count.saturating_add(1);
            return None;
        }
    };
    (stat.f_blocks > 0).then(|| measure(mount, mount_point, &stat))
}

fn measure(mount: &Mount, mount_point: WirePath, stat: &StatVfs) -> FileSystemSample {
    // Blocks are counted in fragments; `f_bsize` is only what is good to read at once.
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let available = stat.f_bavail.min(stat.f_bfree);
    FileSystemSample {
        name: Text::from(mount.mount_point.as_slice()),
        mount_point,
        device: Text::from(mount.source.as_slice()),
        fs_type: Text::from(mount.fs_type.as_slice()),
        total_bytes: bytes(stat.f_blocks),
        used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        free_bytes: bytes(available),
        reserved_bytes: bytes(stat.f_bfree.saturating_sub(available)),
        inodes: Inodes { total: stat.f_files, used: stat.f_files.saturating_sub(stat.f_ffree), free: stat.f_favail },
        read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_whole() {
        let mut snapshot = Snapshot::default();
        FileSystems::mounted().collect(&mut snapshot, &Cancel::new()).unwrap();
        assert!(snapshot.samples.iter().any(|fs| *fs.mount_point == *std::path::Path::new("/")));
        for fs in &snapshot {
            assert_eq!(fs.used_bytes + fs.free_bytes + fs.reserved_bytes, fs.total_bytes, "{fs:?}");
        }
    }
}
