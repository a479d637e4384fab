//! What statx tells of one entry.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};

use crate::fs::table::MNT_ID_UNIQUE;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::fs) struct FileId {
    pub(in crate::fs) device: u64,
    pub(in crate::fs) inode: u64,
}

/// One entry of a directory, or the root of a tree.
#[derive(Clone, Copy, Debug)]
pub(in crate::fs) struct EntryStat {
    pub(in crate::fs) id: FileId,
    pub(in crate::fs) kind: FileType,
    pub(in crate::fs) links: u32,
    pub(in crate::fs) allocated_bytes: u64,
    pub(in crate::fs) apparent_bytes: u64,
    /// The mount it is on, where the kernel tells: by the number that is never used again, since Linux 6.8.
    pub(in crate::fs) mount: Option<u64>,
    /// Whether something is mounted here, where the kernel tells.
    pub(in crate::fs) mount_root: Option<bool>,
    /// When the inode was made, where the file system keeps it: what is made later can have the same number.
    pub(in crate::fs) born: Option<Born>,
}

/// Seconds and nanoseconds of the real-time clock: to be compared for equality alone.
pub(in crate::fs) type Born = (i64, u32);

/// What an entry is asked for.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::NLINK)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::BLOCKS)
    .union(StatxFlags::MNT_ID)
    .union(StatxFlags::BTIME)
    .union(MNT_ID_UNIQUE);

impl EntryStat {
    /// What `name` in `dir` is; nothing is followed and nothing mounted by that.
    #[inline]
    pub(in crate::fs) fn read(dir: impl AsFd, name: &CStr) -> rustix::io::Result<Self> {
        Self::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// The same of a directory on a file system that cannot hang: if something that may was mounted at `name` just now, it
    /// is not asked.
    #[inline]
    pub(in crate::fs) fn read_local(dir: impl AsFd, name: &CStr) -> rustix::io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        Self::statx(dir, name, flags)
    }

    /// What the root of a tree is: what it leads to is mounted when it must be.
    pub(in crate::fs) fn root(path: &CStr) -> rustix::io::Result<Self> {
        Self::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// What is open as `file`.
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
        let told = StatxFlags::from_bits_retain(statx.stx_mask);
        let mount_root = StatxAttributes::MOUNT_ROOT;
        Self {
            id: FileId { device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor), inode: statx.stx_ino },
            kind,
            links: statx.stx_nlink,
            // Blocks are of 512 bytes here, whatever the block size of the file system.
            allocated_bytes: statx.stx_blocks.saturating_mul(512),
            apparent_bytes: match kind {
                FileType::RegularFile | FileType::Symlink => statx.stx_size,
                _ => 0,
            },
            mount: told.intersects(StatxFlags::MNT_ID | MNT_ID_UNIQUE).then_some(statx.stx_mnt_id),
            mount_root: statx
                .stx_attributes_mask
                .contains(mount_root)
                .then(|| statx.stx_attributes.contains(mount_root)),
            born: told.contains(StatxFlags::BTIME).then_some((statx.stx_btime.tv_sec, statx.stx_btime.tv_nsec)),
        }
    }

    pub(in crate::fs) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }
}
