//! The mount table as a tree, which finds the mount of a path without touching mounts that may hang.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::backing::{Ground, Kernel};
use super::kind;
use super::mounts::Mount;
use crate::{Error, Result};

mod judge;
mod look;
mod watched;

pub(in crate::fs) use look::{Look, MNT_ID_UNIQUE, unique_id};
pub(crate) use watched::WatchedTable;

/// The current mounts, and their mount points on each other.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The mounts of the table, and last the mount of `/`, if that is not among them.
    mounts: Vec<Mount>,
    /// By the parent mount and the mount point: the index in `mounts`.
    children: HashMap<(u32, PathBuf), usize>,
    root: Option<usize>,
    /// Whether the mount of `/` is not in the table: after a `chroot(2)`.
    pub(crate) is_rootless: bool,
    /// By index: whether the mount can be read without the risk to hang, by its type and the storage below it.
    safe: Vec<bool>,
}

/// The target of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// The mount it is on.
    pub(crate) mount: &'a Mount,
    /// The path without symbolic links.
    pub(crate) path: PathBuf,
    /// Whether every step could be checked for symbolic links. Otherwise a part of the path is on a mount that may hang, and was
    /// used literally.
    pub(crate) seen: bool,
}

impl Table {
    pub(crate) fn read() -> Result<Self> {
        Ok(Self::of(watched::list()?))
    }

    pub(crate) fn of(mounts: Vec<Mount>) -> Self {
        Self::new(mounts, &Kernel)
    }

    pub(in crate::fs) fn new(mut mounts: Vec<Mount>, ground: &dyn Ground) -> Self {
        // The parent of the root mount is not in the table.
        let known: HashSet<u32> = mounts.iter().map(|mount| mount.id).collect();
        let is_bottom = |mount: &Mount| mount.id == mount.parent || !known.contains(&mount.parent);
        let bottom = mounts.iter().position(|mount| *mount.mount_point == *Path::new("/") && is_bottom(mount));
        if bottom.is_none() {
            // The mount of `/` has no line. The mounts on it have its id as their parent.
            let id = mounts.iter().find(|mount| is_bottom(mount)).map_or(0, |mount| mount.parent);
            mounts.push(Mount { id, parent: id, mount_point: "/".into(), ..Mount::default() });
        }
        let root = bottom.unwrap_or(mounts.len().saturating_sub(1));
        let children: HashMap<_, _> = mounts
            .iter()
            .enumerate()
            .filter(|(place, mount)| mount.id != mount.parent && *place != root)
            .map(|(place, mount)| ((mount.parent, mount.mount_point.to_path_buf()), place))
            .collect();
        let mut table = Self { mounts, children, root: Some(root), is_rootless: bottom.is_none(), safe: Vec::new() };
        table.root = Some(table.top(root, Path::new("/")).unwrap_or(root));
        table.judge(ground);
        table
    }

    /// Returns the mounts, in the order of the table.
    pub(crate) fn mounts(&self) -> &[Mount] {
        let listed = self.mounts.len().saturating_sub(usize::from(self.is_rootless));
        self.mounts.get(..listed).unwrap_or_default()
    }

    /// Whether the table has this mount.
    pub(crate) fn is_listed(&self, mount: &Mount) -> bool {
        self.mounts().iter().any(|listed| std::ptr::eq(listed, mount))
    }

    /// Returns the mounts that paths lead to, without hidden ones; with each, whether no mount on its path may hang.
    pub(crate) fn visible(&self) -> impl Iterator<Item = (&Mount, bool)> {
        self.mounts().iter().filter_map(|mount| {
            let (reached, safe) = self.reach(&mount.mount_point)?;
            (reached.id == mount.id).then_some((mount, safe))
        })
    }

    /// Returns the mount of a path without symbolic links, and whether no mount on the path may hang.
    pub(crate) fn reach(&self, path: &Path) -> Option<(&Mount, bool)> {
        let place = self.resolve(path, |_, _| Err(Errno::INVAL.into())).ok()?;
        Some((place.mount, place.seen))
    }

    /// Resolves a path from the root. `read_link` is called for each step that is not a mount point, with the mount it is on,
    /// unless that may hang or is an automount; it returns `EINVAL` if the step is no symbolic link.
    ///
    /// # Errors
    ///
    /// The errors of `read_link`.
    pub(crate) fn resolve(
        &self,
        path: &Path,
        read_link: impl FnMut(&Path, &Mount) -> io::Result<PathBuf>,
    ) -> Result<Place<'_>> {
        let (on, path, seen) = self.walk(path, read_link, |place| self.is_safe(place))?;
        let mount = self.mounts.get(on).ok_or_else(|| Error::config("there is no mount").at(&path))?;
        Ok(Place { mount, path, seen })
    }

    fn walk(
        &self,
        path: &Path,
        mut read_link: impl FnMut(&Path, &Mount) -> io::Result<PathBuf>,
        mut is_safe: impl FnMut(usize) -> bool,
    ) -> Result<(usize, PathBuf, bool)> {
        /// The limit of the kernel.
        const MOST_LINKS: u32 = 40;
        let Some(root) = self.root else { return Err(Error::config("there are no mounts").at(path)) };
        let mut todo: Vec<OsString> = steps(path);
        let mut reached = PathBuf::from("/");
        // The mount of each step so far, the root first, and whether the path up to there cannot hang.
        let bottom = (root, is_safe(root));
        let mut trail: Vec<(usize, bool)> = vec![bottom];
        let mut links = 0_u32;
        while let Some(step) = todo.pop() {
            let (on, safe) = trail.last().copied().unwrap_or(bottom);
            match Path::new(&step).components().next() {
                Some(Component::RootDir) => {
                    trail.truncate(1);
                    reached = PathBuf::from("/");
                }
                Some(Component::ParentDir) if trail.len() > 1 => {
                    trail.pop();
                    reached.pop();
                }
                Some(Component::Normal(name)) => {
                    reached.push(name);
                    if let Some(mounted) = self.top(on, &reached) {
                        trail.push((mounted, safe && is_safe(mounted)));
                        continue;
                    }
                    let (true, Some(mount)) = (safe, self.mounts.get(on)) else {
                        trail.push((on, safe));
                        continue;
                    };
                    match read_link(&reached, mount) {
                        Ok(target) => {
                            links = links.saturating_add(1);
                            if links > MOST_LINKS {
                                return Err(Error::os(Errno::LOOP).at(path));
                            }
                            reached.pop();
                            todo.extend(steps(&target));
                        }
                        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => trail.push((on, safe)),
                        Err(error) => return Err(Error::io(error).at(&reached)),
                    }
                }
                _ => {}
            }
        }
        let (on, seen) = trail.last().copied().unwrap_or(bottom);
        Ok((on, reached, seen))
    }

    fn is_safe(&self, place: usize) -> bool {
        self.safe.get(place).copied().unwrap_or(false)
    }

    /// Reads the unique ids of the mounts for which that cannot hang.
    pub(crate) fn identify(&mut self) {
        let can_be_asked = |mount: &Mount, safe: bool| {
            let way = || self.reach(mount.mount_point.parent()?);
            safe || (kind::is_known_by_kernel(mount.fs_type.as_bytes()) && way().is_none_or(|(_, safe)| safe))
        };
        let found: Vec<(u32, u64)> = self
            .visible()
            .filter(|(mount, safe)| can_be_asked(mount, *safe))
            .filter_map(|(mount, _)| Some((mount.id, unique_id(&mount.mount_point)?)))
            .collect();
        for (id, unique) in found {
            if let Some(mount) = self.mounts.iter_mut().find(|mount| mount.id == id) {
                mount.unique_id = Some(unique);
            }
        }
    }

    pub(crate) fn into_mounts(mut self) -> Vec<Mount> {
        self.mounts.truncate(self.mounts().len());
        self.mounts
    }

    /// Returns the mount points of other reachable mounts in the directory `path` of this mount.
    pub(crate) fn below<'a>(&'a self, mount: u32, path: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Mount, bool)> {
        self.mounts().iter().enumerate().filter_map(move |(place, other)| {
            let point: &Path = &other.mount_point;
            let is_below = other.parent == mount && point != path && point.starts_with(path);
            // A mount hides earlier mounts below its mount point.
            let is_hidden = || {
                let above = point.ancestors().skip(1).take_while(|above| *above != path);
                above.into_iter().any(|above| self.children.contains_key(&(mount, above.to_path_buf())))
            };
            (is_below && !is_hidden()).then(|| (point, other, self.is_safe(place)))
        })
    }

    /// Returns the topmost mount on `path`, a directory of the mount `below`, if there is one.
    fn top(&self, below: usize, path: &Path) -> Option<usize> {
        let mut top = None;
        let mut below = below;
        // Bounded by the number of mounts, so it ends with any table.
        for _ in 0..self.mounts.len() {
            let id = self.mounts.get(below)?.id;
            let Some(place) = self.children.get(&(id, path.to_path_buf())) else { break };
            top = Some(*place);
            below = *place;
        }
        top
    }
}

/// Returns the steps of a path, the last first.
fn steps(path: &Path) -> Vec<OsString> {
    let mut steps: Vec<_> = path.components().map(|step| step.as_os_str().to_owned()).collect();
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests;
