//! The mount points in a tree, from the mount table: mounts outside of the boundary may hang, and are never touched.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::boundary::Boundary;
use super::entry::{EntryStat, FileId};
use crate::fs::mounts::Mount;
use crate::fs::table::{Look, Table};

/// The names that are left out, by the directory they are in.
#[derive(Debug, Default)]
pub(in crate::fs) struct Mounted {
    names: HashMap<FileId, Vec<CString>>,
}

impl Mounted {
    /// Finds the mount points below the roots of trees; also returns which of the roots are on file systems that cannot hang.
    ///
    /// It finds none below a root in another mount namespace, by way of /proc: the table does not have its mounts.
    pub(in crate::fs) fn find<'a>(
        table: Option<&Table>,
        roots: impl IntoIterator<Item = (&'a Path, Option<EntryStat>)>,
        boundary: Boundary,
    ) -> (Self, Vec<bool>) {
        let mut mounted = Self::default();
        let mut is_local = |path: &Path, root: Option<EntryStat>| {
            let (Some(table), Some(root), Ok(path)) = (table, root, std::path::absolute(path)) else { return false };
            let Ok(place) = table.resolve(&path, |path, _| std::fs::read_link(path)) else { return false };
            if !place.seen {
                return false;
            }
            let is_there = Look::no_follow(&place.path).is_ok_and(|look| {
                let device = rustix::fs::makedev(look.device.0, look.device.1);
                (device, look.inode, Some(look.mount)) == (root.id.device, root.id.inode, root.mount)
            });
            if is_there {
                mounted.add(table, place.mount, &place.path, boundary);
            }
            is_there
        };
        let local = roots.into_iter().map(|(path, root)| is_local(path, root)).collect();
        (mounted, local)
    }

    /// Adds the mount points below a directory of a mount.
    fn add(&mut self, table: &Table, mount: &Mount, path: &Path, boundary: Boundary) {
        let mut crossed = vec![(mount, path)];
        while let Some((mount, path)) = crossed.pop() {
            for (point, other, safe) in table.below(mount.id, path) {
                let is_out = match boundary {
                    Boundary::SameMount => true,
                    // Other mounts are compared during the scan: a device with subvolumes has several numbers.
                    Boundary::SameDevice => !safe && other.device != mount.device,
                    Boundary::Cross => false,
                };
                if !is_out {
                    // This loop ends: there are no more of them than there are mounts.
                    if boundary == Boundary::SameDevice && other.device == mount.device && safe {
                        crossed.push((other, point));
                    }
                    continue;
                }
                let (Some(parent), Some(name)) = (point.parent(), point.file_name()) else { continue };
                // On the same mount, so it cannot hang unless the root can.
                let (Ok(look), Ok(name)) = (Look::no_follow(parent), CString::new(name.as_bytes())) else { continue };
                let device = rustix::fs::makedev(look.device.0, look.device.1);
                self.names.entry(FileId { device, inode: look.inode }).or_default().push(name);
            }
        }
    }

    /// Returns the names in a directory at which other mounts begin.
    pub(in crate::fs) fn names(&self, directory: FileId) -> &[CString] {
        if self.names.is_empty() { &[] } else { self.names.get(&directory).map_or(&[], Vec::as_slice) }
    }
}

/// Whether `name` in a directory is among `names`, at which other mounts begin, and is still a mount point. The mount itself
/// is not touched.
#[inline]
pub(in crate::fs) fn is_mounted(names: &[CString], dir: impl AsFd, name: &CStr) -> bool {
    !names.is_empty() && names.iter().any(|mounted| **mounted == *name) && begins(dir, name)
}

fn begins(dir: impl AsFd, name: &CStr) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // If that cannot be checked, the table is trusted.
    rustix::fs::openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_XDEV).is_err()
}
