//! File systems that stopped writing by themselves, after an error: what `statvfs(3)` and the mount table's events do not
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

/// How a file system on this machine is asked whether it stopped.
#[derive(Debug)]
pub(super) enum Shut {
    /// ext4 has the options of now in a file of its own (`/proc/fs/ext4/DEVICE/options`, since Linux 2.6.39). `emergency_ro`
    /// and `shutdown` are among them since 6.15; before, it made itself read-only as if it was mounted so.
    Options(PathBuf),
    /// XFS answers to nothing any more but for its figures.
    Status,
    /// It is written to by way of another one.
    Upper(Box<Upper>),
    /// It makes itself read-only as if it was mounted so (btrfs, f2fs, ext4 before), or the mount table is all there is.
    Table,
}

/// What is written to when a file system that shows it is: the upper layer of an overlay.
#[derive(Debug)]
pub(super) struct Upper {
    mount: Mount,
    mount_point: CString,
    /// From there on.
    below: CString,
    shut: Shut,
}

impl Shut {
    pub(super) fn new(mount: &Mount, table: &Table) -> Self {
        /// The kernel stacks no more than two on one.
        const DEEPEST: u32 = 2;
        Self::of(mount, table, DEEPEST)
    }

    fn of(mount: &Mount, table: &Table, deeper: u32) -> Self {
        match mount.fs_type.as_bytes() {
            b"ext2" | b"ext3" | b"ext4" => options(mount).map_or(Self::Table, Self::Options),
            b"xfs" => Self::Status,
            // A path that hangs is not looked at, and one that leads into itself ends somewhere.
            _ => deeper
                .checked_sub(1)
                .and_then(|deeper| Upper::find(mount, table, deeper))
                .map_or(Self::Table, |upper| Self::Upper(Box::new(upper))),
        }
    }

    /// Whether nothing can be written to the file system mounted at `path`, though it is not mounted read-only; `figures` are
    /// its own.
    pub(super) fn is_shut(&self, path: &CStr, mount: &Mount, figures: &StatVfs) -> bool {
        self.is_shut_at(CWD, path, mount, figures)
    }

    /// `path` is that from `dir` on; `dir` itself where it is empty.
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

    /// Whether nothing can be written to it. `figures` are those of what shows it, which are its own: where they are others,
    /// its path leads to something else by now.
    fn is_shut(&self, figures: &StatVfs) -> bool {
        let Ok(dir) = self.open() else { return false };
        let Ok(own) = rustix::fs::fstatvfs(&dir) else { return false };
        let size = |stat: &StatVfs| (stat.f_frsize, stat.f_blocks);
        if size(&own) != size(figures) {
            return false;
        }
        // A mount that is read-only can show what is written to by another one.
        let by_itself = own.f_flag.contains(StatVfsMountFlags::RDONLY) && !self.mount.is_mounted_read_only();
        by_itself || self.mount.is_made_read_only() || self.shut.is_shut_at(&dir, c"", &self.mount, &own)
    }

    /// Its directory, looked at on its mount alone: what is renamed leads to no other one, which may hang.
    fn open(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mounted = rustix::fs::openat(CWD, &*self.mount_point, flags, Mode::empty())?;
        walk::open_on_mount(mounted, &self.below, flags)
    }
}

/// The directory that a file system writes to by way of another one, as it was named when it was mounted.
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
