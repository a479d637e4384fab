//! The metadata of one entry, from statx.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};

use crate::fs::table::MNT_ID_UNIQUE;

/// The identity of a file, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::fs) struct FileId {
    pub(in crate::fs) device: u64,
    pub(in crate::fs) inode: u64,
}

/// The metadata of an entry of a directory, or of the root of a tree.
#[derive(Clone, Copy, Debug)]
pub(in crate::fs) struct EntryStat {
    pub(in crate::fs) id: FileId,
    pub(in crate::fs) kind: FileType,
    pub(in crate::fs) links: u32,
    pub(in crate::fs) allocated_bytes: u64,
    pub(in crate::fs) apparent_bytes: u64,
    /// The mount it is on, if the kernel reports it; since Linux 6.8, the number that is never used again.
    pub(in crate::fs) mount: Option<u64>,
    /// Whether it is the root of a mount, if the kernel reports it.
    pub(in crate::fs) mount_root: Option<bool>,
    /// When the inode was created, if the file system stores that: a later inode can have the same number.
    pub(in crate::fs) born: Option<Born>,
}

/// Seconds and nanoseconds of the real-time clock: compare them for equality only.
pub(in crate::fs) type Born = (i64, u32);

/// The requested fields.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::NLINK)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::BLOCKS)
    .union(StatxFlags::MNT_ID)
    .union(StatxFlags::BTIME)
    .union(MNT_ID_UNIQUE);

impl EntryStat {
    /// Reads the entry `name` in `dir`, without following a symbolic link and without triggering an automount.
    #[inline]
    pub(in crate::fs) fn read(dir: impl AsFd, name: &CStr) -> rustix::io::Result<Self> {
        Self::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// Does the same in a directory on a file system that cannot hang: if a mount that may hang was made at `name` just now, it
    /// is not asked.
    #[inline]
    pub(in crate::fs) fn read_local(dir: impl AsFd, name: &CStr) -> rustix::io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        Self::statx(dir, name, flags)
    }

    /// Reads the root of a tree: an automount in its path is triggered.
    pub(in crate::fs) fn root(path: &CStr) -> rustix::io::Result<Self> {
        Self::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Reads the entry of an open file.
    pub(in crate::fs) fn of(file: impl AsFd) -> rustix::io::Result<Self> {
        Self::statx(file, c"", AtFlags::EMPTY_PATH)
    }

    #[inline]
    fn statx(dir: impl AsFd, name: &CStr, flags: AtFlags) -> rustix::io::Result<Self> {
        rustix::io::retry_on_intr(|| rustix::fs::statx(dir.as_fd(), name, flags, WANTED)).map(|statx| Self::new(&statx))
    }

    #[inline]
    fn new(statx: &Statx) -> Self {
        let kind = FileType::from_raw_mode(statx.stx_mode.into());
        let reported = StatxFlags::from_bits_retain(statx.stx_mask);
        let mount_root = StatxAttributes::MOUNT_ROOT;
        Self {
            id: FileId { device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor), inode: statx.stx_ino },
            kind,
            links: statx.stx_nlink,
            // These blocks have 512 bytes, independent of the block size of the file system.
            allocated_bytes: statx.stx_blocks.saturating_mul(512),
            apparent_bytes: match kind {
                FileType::RegularFile | FileType::Symlink => statx.stx_size,
                _ => 0,
            },
            mount: reported.intersects(StatxFlags::MNT_ID | MNT_ID_UNIQUE).then_some(statx.stx_mnt_id),
            mount_root: statx
                .stx_attributes_mask
                .contains(mount_root)
                .then(|| statx.stx_attributes.contains(mount_root)),
            born: reported.contains(StatxFlags::BTIME).then_some((statx.stx_btime.tv_sec, statx.stx_btime.tv_nsec)),
        }
    }

    pub(in crate::fs) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }
}
