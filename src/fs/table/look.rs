//! Identifies the file at a path by calls that hang only if the file system itself does.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};

/// `STATX_MNT_ID_UNIQUE`: requests the mount id that the kernel never uses again. Since Linux 6.8; before, it is ignored.
pub(in crate::fs) const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The identity of the file at a path, with its mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) struct Look {
    pub(in crate::fs) kind: FileType,
    pub(in crate::fs) device: (u32, u32),
    pub(in crate::fs) inode: u64,
    /// The id of the mount: the one that is never used again, if the kernel has it.
    pub(in crate::fs) mount: u64,
    pub(in crate::fs) is_unique: bool,
}

impl Look {
    /// Identifies the target of a path. This asks no server, and triggers no automount.
    pub(in crate::fs) fn follow(path: &Path) -> io::Result<Self> {
        Self::at(path, AtFlags::empty())
    }

    /// Identifies the file at a path, without following a symbolic link at its end.
    pub(in crate::fs) fn no_follow(path: &Path) -> io::Result<Self> {
        Self::at(path, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn at(path: &Path, flags: AtFlags) -> io::Result<Self> {
        let flags = flags | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID | MNT_ID_UNIQUE;
        let statx = rustix::io::retry_on_intr(|| rustix::fs::statx(CWD, path, flags, wanted))?;
        Ok(Self {
            kind: FileType::from_raw_mode(statx.stx_mode.into()),
            device: (statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            mount: statx.stx_mnt_id,
            is_unique: statx.stx_mask & MNT_ID_UNIQUE.bits() != 0,
        })
    }

    pub(in crate::fs) fn unique_id(&self) -> Option<u64> {
        self.is_unique.then_some(self.mount)
    }
}

/// Returns the unique id of the mount at `path`.
pub(in crate::fs) fn unique_id(path: &Path) -> Option<u64> {
    Look::no_follow(path).ok()?.unique_id()
}
