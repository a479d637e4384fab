//! Opens directories, optionally without crossing mounts, and with paths of any length.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::path::Way;

/// Flags to open a directory for reading.
pub(in crate::fs) const LIST: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Flags to open a directory only as a place to open others from.
pub(in crate::fs) const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a path; with `on_mount`, without crossing to another mount: at a mount point it returns `EXDEV`.
pub(in crate::fs) fn open(dir: impl AsFd, path: &CStr, flags: OFlags, on_mount: bool) -> rustix::io::Result<OwnedFd> {
    rustix::io::retry_on_intr(|| match on_mount {
        true => open_on_mount(dir.as_fd(), path, flags),
        false => rustix::fs::openat(dir.as_fd(), path, flags, Mode::empty()),
    })
}

/// Opens a path without crossing to another mount, if the kernel supports that (since Linux 5.6).
pub(in crate::fs) fn open_on_mount(dir: impl AsFd, path: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat2(dir.as_fd(), path, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
        // An older kernel, or a filter of system calls that does not know it.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(dir, path, flags, Mode::empty()),
        opened => opened,
    }
}

/// Opens a directory with `flags`, from the root of its tree, in steps as long as a path can be. With
/// `on_mount`, nothing below the root may be on another mount. Each step is opened by `open`, which is [`open`] or one that
/// makes room for a descriptor first.
///
/// The caller has to compare the result with the intended directory: names may lead elsewhere meanwhile.
pub(in crate::fs) fn descend(
    way: &impl Way,
    on_mount: bool,
    flags: OFlags,
    mut open: impl FnMut(BorrowedFd<'_>, &CStr, OFlags, bool) -> rustix::io::Result<OwnedFd>,
) -> rustix::io::Result<OwnedFd> {
    /// The length of a path passed to the kernel in one call: less than its limit of 4,096 bytes.
    const MOST: usize = 4000;
    let (mut dir, mut path): (Option<OwnedFd>, Vec<u8>) = (None, Vec::new());
    let mut step = |dir: &Option<OwnedFd>, path: &mut Vec<u8>, flags| {
        // Names from the kernel have no zeros.
        let path = CString::new(std::mem::take(path)).unwrap_or_default();
        let from = dir.as_ref().map_or(CWD, AsFd::as_fd);
        // The path of the root may lead over any mounts.
        open(from, &path, flags, on_mount && dir.is_some())
    };
    for name in way.names().into_iter().rev() {
        let is_full = path.len().saturating_add(name.count_bytes()) >= MOST;
        if !path.is_empty() && (is_full || on_mount && dir.is_none()) {
            dir = Some(step(&dir, &mut path, PLACE)?);
        }
        if path.last().is_some_and(|last| *last != b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
    }
    step(&dir, &mut path, flags)
}

/// Opens a directory as [`descend`] does, if no room has to be made for descriptors.
pub(in crate::fs) fn open_way(way: &impl Way, on_mount: bool, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    descend(way, on_mount, flags, |dir, path, flags, on_mount| open(dir, path, flags, on_mount))
}

/// Whether an error means that a directory was removed or replaced meanwhile, which is not reported as an error.
pub(in crate::fs) fn vanished(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
}
