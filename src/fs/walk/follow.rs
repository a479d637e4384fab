//! Where a path leads that may hang: the mount table alone cannot know its symbolic links, so the kernel is asked.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::open::{PLACE, open};
use crate::fs::table::Table;

/// Where a path leads.
#[derive(Debug)]
pub(in crate::fs) enum Led {
    /// There, or nothing is known of it.
    There,
    /// By symbolic links to this path of the mount that the path is on by its text.
    To(PathBuf),
    /// By symbolic links to this path, which is on another mount.
    Elsewhere(PathBuf),
}

/// Follows a path where the mount table leads over something that may hang: a symbolic link there is known to nothing but the
/// file system itself. It hangs where that does.
pub(in crate::fs) fn follow(table: &Table, path: &Path) -> Led {
    let led = || {
        let place = table.resolve(path, |path, _| std::fs::read_link(path)).ok().filter(|place| !place.seen)?;
        let opened = open(CWD, &CString::new(path.as_os_str().as_bytes()).ok()?, PLACE, false).ok()?;
        let real = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
        Some(match mount_of(opened)? {
            mount if mount != place.mount.id => Led::Elsewhere(real),
            _ if real == place.path => Led::There,
            _ => Led::To(real),
        })
    };
    led().unwrap_or(Led::There)
}

/// The number of the mount that an open file is on, as the mount table has it: since Linux 3.15.
fn mount_of(file: impl AsFd) -> Option<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}
