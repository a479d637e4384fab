//! File systems that stopped writing by themselves, after an error: what `statvfs(3)` and the mount table's events do not
//! report.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;

use super::mounts::{self, Mount};

/// How a file system on this machine is asked whether it stopped.
#[derive(Debug)]
pub(super) enum Shut {
    /// ext4 has the options of now in a file of its own (`/proc/fs/ext4/DEVICE/options`, since Linux 2.6.39). `emergency_ro`
    /// and `shutdown` are among them since 6.15; before, it made itself read-only as if it was mounted so.
    Options(PathBuf),
    /// XFS answers to nothing any more but for its figures.
    Status,
    /// It makes itself read-only as if it was mounted so (btrfs, f2fs, ext4 before), or the mount table is all there is.
    Table,
}

impl Shut {
    pub(super) fn new(mount: &Mount) -> Self {
        match mount.fs_type.as_bytes() {
            b"ext2" | b"ext3" | b"ext4" => options(mount).map_or(Self::Table, Self::Options),
            b"xfs" => Self::Status,
            _ => Self::Table,
        }
    }

    /// Whether nothing can be written to the file system mounted at `path`, though it is not mounted read-only.
    pub(super) fn is_shut(&self, path: &CStr, mount: &Mount) -> bool {
        match self {
            Self::Options(file) => std::fs::read(file).is_ok_and(|options| is_stopped(&options)),
            Self::Status => {
                let status = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE);
                matches!(status, Err(Errno::IO))
            }
            Self::Table => mount.is_stopped(),
        }
    }
}

/// The options that ext4 has for this file system, by the name of its device in the kernel.
fn options(mount: &Mount) -> Option<PathBuf> {
    let device = std::fs::read_link(format!("/sys/dev/block/{}", mount.device));
    let device = device.unwrap_or_else(|_| PathBuf::from(OsStr::from_bytes(mount.source.as_bytes())));
    let file = Path::new("/proc/fs/ext4").join(device.file_name()?).join("options");
    file.exists().then_some(file)
}

/// One option in each line.
fn is_stopped(options: &[u8]) -> bool {
    options.split(|byte| *byte == b'\n').any(|option| mounts::STOPPED.contains(&option))
}
