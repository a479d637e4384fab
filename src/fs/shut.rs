//! Detects file systems that stopped writing after an error, which `statvfs(3)` and the events of the mount table do not
//! report.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatVfs, StatVfsMountFlags, StatxFlags};
use rustix::io::Errno;

use super::mounts::{self, Mount};
use super::table::Table;
use super::walk;

/// The way to find out whether a file system stopped.
#[derive(Debug)]
pub(super) enum Shut {
    /// ext4 has its current options in a file (`/proc/fs/ext4/DEVICE/options`, since Linux 2.6.39). `emergency_ro`
    /// and `shutdown` are among them since 6.15; before, it made itself read-only as if it was mounted read-only.
    Options(PathBuf),
    /// A stopped XFS fails all calls but `statvfs(3)`.
    Status,
    /// It is written to through another file system.
    Upper(Box<Upper>),
    /// It makes itself read-only as if it was mounted read-only (btrfs, f2fs, older ext4), or only the mount table has its state.
    Table,
}

/// The directory that is written to through another file system: the upper layer of an overlay.
#[derive(Debug)]
pub(super) struct Upper {
    mount: Mount,
    mount_point: CString,
    /// The path of the directory below the mount.
    below: CString,
    shut: Shut,
}

impl Shut {
    pub(super) fn new(mount: &Mount, table: &Table) -> Self {
        /// The kernel stacks at most two overlays on one file system.
        const DEEPEST: u32 = 2;
        Self::of(mount, table, DEEPEST)
    }

    fn of(mount: &Mount, table: &Table, deeper: u32) -> Self {
        match mount.fs_type.as_bytes() {
            b"ext2" | b"ext3" | b"ext4" => options(mount).map_or(Self::Table, Self::Options),
            b"xfs" => Self::Status,
            // A path that may hang is not touched, and the depth is limited, as a path can lead to the overlay itself.
            _ => deeper
                .checked_sub(1)
                .and_then(|deeper| Upper::find(mount, table, deeper))
                .map_or(Self::Table, |upper| Self::Upper(Box::new(upper))),
        }
    }

    /// Whether the file system mounted at `path` stopped writing, though it is not mounted read-only; `figures` are
    /// its own.
    pub(super) fn is_shut(&self, path: &CStr, mount: &Mount, figures: &StatVfs) -> bool {
        self.is_shut_at(CWD, path, mount, figures)
    }

    /// Does the same with a `path` from `dir` on; an empty one means `dir` itself.
    fn is_shut_at(&self, dir: impl AsFd, path: &CStr, mount: &Mount, figures: &StatVfs) -> bool {
        match self {
            Self::Options(file) => std::fs::read(file).is_ok_and(|options| is_stopped(&options)),
            Self::Status => {
                let flags = AtFlags::STATX_DONT_SYNC | AtFlags::EMPTY_PATH;
                let status = rustix::fs::statx(dir, path, flags, StatxFlags::TYPE);
                matches!(status, Err(Errno::IO))
            }
            Self::Upper(upper) => upper.is_shut(figures),
            Self::Table => mount.is_stopped(),
        }
    }
}

impl Upper {
    fn find(mount: &Mount, table: &Table, deeper: u32) -> Option<Self> {
        let path = upper_path(mount)?;
        if !path.is_absolute() {
            return None;
        }
        let place = table.resolve(&path, |path, _| std::fs::read_link(path)).ok().filter(|place| place.seen)?;
        let shut = Shut::of(place.mount, table, deeper);
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).ok();
        let mount_point = text(&place.mount.mount_point)?;
        let below = place.path.strip_prefix(&*place.mount.mount_point).ok()?;
        let below = if below.as_os_str().is_empty() { text(Path::new("."))? } else { text(below)? };
        Some(Self { mount: place.mount.clone(), mount_point, below, shut })
    }

    /// Whether it stopped writing. `figures` are those of the overlay, which are equal to its own: if they differ,
    /// its path leads to another directory by now.
    fn is_shut(&self, figures: &StatVfs) -> bool {
        let Ok(dir) = self.open() else { return false };
        let Ok(own) = rustix::fs::fstatvfs(&dir) else { return false };
        let size = |stat: &StatVfs| (stat.f_frsize, stat.f_blocks);
        if size(&own) != size(figures) {
            return false;
        }
        // A file system behind a read-only mount may be written to through another mount.
        let by_itself = own.f_flag.contains(StatVfsMountFlags::RDONLY) && !self.mount.is_mounted_read_only();
        by_itself || self.mount.is_made_read_only() || self.shut.is_shut_at(&dir, c"", &self.mount, &own)
    }

    /// Opens its directory without leaving its mount: after a rename the path could lead to another one, which may hang.
    fn open(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mounted = rustix::fs::openat(CWD, &*self.mount_point, flags, Mode::empty())?;
        walk::open_on_mount(mounted, &self.below, flags)
    }
}

/// Returns the path of the upper layer of an overlay, as it was passed when it was mounted.
fn upper_path(mount: &Mount) -> Option<PathBuf> {
    let text = match mount.fs_type.as_bytes() {
        b"overlay" => {
            let mut options = mount.super_options.as_bytes().split(|byte| *byte == b',');
            mounts::unescape(options.find_map(|option| option.strip_prefix(b"upperdir="))?)
        }
        b"ecryptfs" => mount.source.as_bytes().into(),
        _ => return None,
    };
    Some(PathBuf::from(OsStr::from_bytes(&text)))
}

/// Returns the file with the options of an ext4, by the name of its device in the kernel.
fn options(mount: &Mount) -> Option<PathBuf> {
    let device = std::fs::read_link(format!("/sys/dev/block/{}", mount.device));
    let device = device.unwrap_or_else(|_| PathBuf::from(OsStr::from_bytes(mount.source.as_bytes())));
    let file = Path::new("/proc/fs/ext4").join(device.file_name()?).join("options");
    file.exists().then_some(file)
}

/// Whether one of the options, each in a line, means that it stopped.
fn is_stopped(options: &[u8]) -> bool {
    options.split(|byte| *byte == b'\n').any(|option| mounts::STOPPED.contains(&option))
}
