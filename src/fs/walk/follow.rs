//! Resolves a path on a mount that may hang: its symbolic links are not known from the mount table, so the kernel is asked.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::open::{PLACE, open};
use crate::fs::table::Table;

/// The target of a path.
#[derive(Debug)]
pub(in crate::fs) enum Led {
    /// The path itself, or an unknown one.
    There,
    /// Another path, by symbolic links, of the mount that the path is on by its text.
    To(PathBuf),
    /// A path on another mount, by symbolic links.
    Elsewhere(PathBuf),
}

/// Follows a path that leads over a mount that may hang: only the file system itself knows its symbolic links. The call
/// hangs if the file system does.
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

/// Returns the number of the mount of an open file, as in the mount table: since Linux 3.15.
fn mount_of(file: impl AsFd) -> Option<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}
