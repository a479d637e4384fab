//! Selects the mounts that are reported as file systems, and assigns the directories to them.

use std::cell::Cell;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::directory::Directory;
use super::file_system::FileSystem;
use super::kind::Kind;
use super::mounts::{self, DeviceId, Mount};
use super::nesting::{self, Spot};
use super::scan::Boundary;
use super::table::{Look, Place, Table};
use crate::process::Pattern;
use crate::{Error, Result, Text};

/// The selection of mounted file systems that are reported without being registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovery {
    pub(crate) include_types: Vec<Pattern>,
    pub(crate) exclude_types: Vec<Pattern>,
    pub(crate) include_paths: Vec<Pattern>,
    pub(crate) exclude_paths: Vec<Pattern>,
}

/// A mount that is reported as a file system.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: Text,
    pub(super) mount: Mount,
    /// Whether it can be asked without the risk to hang.
    pub(super) safe: bool,
    /// The ids of all mounts whose directories belong to it.
    pub(super) mounts: Vec<u32>,
    /// Whether it was registered, and is reported even if its size is 0.
    pub(super) by_hand: bool,
}

/// A registered file system.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: u64,
    pub(super) file_system: FileSystem,
    /// Whether it was found mounted at least once.
    pub(super) was_found: bool,
}

/// The location of a directory.
#[derive(Clone, Debug)]
pub(super) struct Location {
    /// The index of its file system among the targets.
    pub(super) target: usize,
    pub(super) mount: u32,
    /// The identity of its mount: the id that is never used again, and on older kernels the id of the file system. `None` if
    /// asking could hang.
    pub(super) identity: Option<(u64, u64)>,
    pub(super) device: DeviceId,
    /// Whether that mount shows only a directory of the file system, as a bind mount does.
    pub(super) is_bound: bool,
    /// Its place in its file system, independent of the path that leads there.
    pub(super) spot: Arc<Spot>,
    /// Its path without symbolic links.
    pub(super) path: PathBuf,
    /// Whether it can be read without the risk to hang.
    pub(super) safe: bool,
    /// Whether events report all changes in it.
    pub(super) reported: bool,
}

/// A directory of a scan.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) location: Location,
}

impl Location {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let key = |location: &Self| (location.mount, location.identity, location.device);
        key(self) == key(other) && self.path == other.path
    }
}

impl Discovery {
    fn takes(&self, mount: &Mount) -> bool {
        let fs_type = |pattern: &Pattern| pattern.matches(mount.fs_type.as_bytes());
        let path = |pattern: &Pattern| pattern.matches_path(mount.mount_point.as_os_str().as_bytes());
        (self.include_types.is_empty() || self.include_types.iter().any(fs_type))
            && !self.exclude_types.iter().any(fs_type)
            && (self.include_paths.is_empty() || self.include_paths.iter().any(path))
            && !self.exclude_paths.iter().any(path)
    }
}

/// Returns the mounts to report, in the order of their mount points, and the ids of the registered file systems among them.
///
/// # Errors
///
/// When a file system that is not optional was never mounted.
pub(super) fn targets(
    table: &Table,
    discovery: Option<&Discovery>,
    file_systems: &[Known],
) -> Result<(Vec<Target>, Vec<u64>)> {
    let mut targets: Vec<Target> = Vec::new();
    if let Some(discovery) = discovery {
        let asked: Vec<_> = table
            .visible()
            .filter(|(mount, _)| !matches!(mount.kind(), Kind::Pseudo | Kind::Served | Kind::Automount))
            .collect();
        for (mount, mounts) in mounts::fold(asked.iter().map(|(mount, _)| *mount)) {
            if discovery.takes(mount) {
                let safe = asked.iter().any(|(asked, safe)| asked.id == mount.id && *safe);
                let name = Text::from(mount.mount_point.as_os_str());
                targets.push(Target { name, mount: mount.clone(), safe, mounts, by_hand: false });
            }
        }
    }
    let mut found = Vec::new();
    for known in file_systems {
        let (name, path) = (&known.file_system.name, &known.file_system.path);
        let place = match place(table, name, path, "file system") {
            Ok(place) if is_mount_point(table, &place) => place,
            _ if known.was_found || known.file_system.optional => continue,
            Err(error) => return Err(error),
            Ok(place) => {
                let why = if table.is_listed(place.mount) {
                    let on = place.mount.mount_point.display();
                    format!(
                        "nothing is mounted there for the file system {name:?}: the path is on the file system mounted at {on}"
                    )
                } else {
                    format!("the file system {name:?} {UNSEEN}")
                };
                return Err(Error::config(why).at(path));
            }
        };
        found.push(known.id);
        let name = known.file_system.name.clone();
        if let Some(target) = targets.iter_mut().find(|target| target.mount.id == place.mount.id) {
            if target.by_hand {
                let what = format!("the file systems {:?} and {name:?} are the same mount", target.name);
                return Err(Error::config(what).at(&known.file_system.path));
            }
            (target.name, target.by_hand) = (name, true);
            continue;
        }
        // The directories on it no longer belong to the file system that it was folded into.
        for target in &mut targets {
            target.mounts.retain(|mount| *mount != place.mount.id);
        }
        let mount = place.mount.clone();
        targets.push(Target { name, safe: place.seen, mounts: vec![mount.id], mount, by_hand: true });
    }
    targets.sort_by(|a, b| a.mount.mount_point.cmp(&b.mount.mount_point));
    Ok((targets, found))
}

fn is_mount_point(table: &Table, place: &Place<'_>) -> bool {
    *place.path == *place.mount.mount_point && place.mount.kind() != Kind::Automount && table.is_listed(place.mount)
}

/// The error for a path on the mount of `/` if that is not in the mount table.
const UNSEEN: &str = "is on the mount of `/`, which is not in the mount table of this process (chroot(2))";

/// Returns the location of a directory.
///
/// # Errors
///
/// When it does not exist, is no directory, or is on a mount that is not among the targets.
pub(super) fn location<'a>(
    table: &Table,
    targets: impl IntoIterator<Item = &'a Target>,
    directory: &Directory,
) -> Result<Location> {
    let place = place(table, &directory.name, &directory.path, "directory")?;
    let look = if place.seen { Look::no_follow(&place.path).ok() } else { None };
    if place.seen && look.is_none_or(|look| look.kind != FileType::Directory) {
        return Err(Error::config(format!("{:?} is not a directory", directory.name)).at(&directory.path));
    }
    let mut targets = targets.into_iter();
    let target = targets.position(|target| target.mounts.contains(&place.mount.id)).ok_or_else(|| {
        let name = &directory.name;
        let why = if table.is_listed(place.mount) {
            let on = place.mount.mount_point.display();
            format!("the directory {name:?} is on the file system mounted at {on}, which is not registered")
        } else {
            format!("the directory {name:?} {UNSEEN}")
        };
        Error::config(why).at(&directory.path)
    })?;
    let unique_id = look.and_then(|look| look.unique_id()).or(place.mount.unique_id);
    let identity = match (unique_id, look) {
        (Some(id), _) => Some((id, 0)),
        (None, Some(look)) => Some((look.mount, rustix::fs::statvfs(&place.path).map_or(0, |stat| stat.f_fsid))),
        (None, None) => None,
    };
    let (mount, device) = (place.mount.id, place.mount.device);
    let spot = Arc::new(spot(table, &place));
    let is_bound = *place.mount.root != *Path::new("/");
    let reported = Kind::reports_changes(place.mount.fs_type.as_bytes());
    Ok(Location { target, mount, identity, device, is_bound, spot, path: place.path, safe: place.seen, reported })
}

/// Returns the place of a directory in its file system, and the places in it that are hidden by other mounts.
fn spot(table: &Table, place: &Place<'_>) -> Spot {
    let below = |path: &Path, from: &Path| path.strip_prefix(from).map(Path::to_path_buf).unwrap_or_default();
    let mount = place.mount;
    // The kernel marks a removed directory by a suffix, which could also be a part of the path of another directory.
    let root = match mount.root.as_os_str().as_bytes().ends_with(b"//deleted") {
        true => PathBuf::from(format!("removed, shown by mount {}", mount.id)),
        false => mount.root.to_path_buf(),
    };
    let location = nesting::move_below(&place.path, &mount.mount_point, &root);
    let hidden: Vec<PathBuf> =
        table.below(mount.id, &place.path).map(|(point, ..)| location.join(below(point, &place.path))).collect();
    Spot::new(location, hidden)
}

/// Returns the mounts in a directory that goes on beyond other mounts, and the mounts in those: as directories of their own,
/// each on its own file system. Mounts that are not among the targets are left out.
pub(super) fn mounted_in(
    table: &Table,
    targets: &[&Target],
    directory: &Directory,
    location: &Location,
) -> Vec<(Directory, Location)> {
    let mut found = Vec::new();
    let mut open = vec![(location.mount, location.path.clone())];
    // Each mount is in one other, so this ends.
    while let Some((mount, path)) = open.pop() {
        for (point, ..) in table.below(mount, &path) {
            let Some((top, _)) = table.reach(point) else { continue };
            let below = point.strip_prefix(&location.path).unwrap_or(point);
            let is_inside = match directory.boundary {
                Boundary::Cross => true,
                Boundary::SameDevice => top.device == location.device,
                Boundary::SameMount => false,
            };
            if !is_inside || directory.exclude.leaves_out(below) {
                continue;
            }
            let inner = directory.beyond(point, below);
            if let Ok(there) = self::location(table, targets.iter().copied(), &inner) {
                found.push((inner, there));
            }
            open.push((top.id, point.to_path_buf()));
        }
    }
    found
}

fn place<'a>(table: &'a Table, name: &Text, path: &Path, what: &str) -> Result<Place<'a>> {
    // Links of /proc lead to a file, and not to the path of their text: that may be a path in another mount namespace, or
    // of a file that is hidden since.
    let (of_another_namespace, elsewhere) = (Cell::new(false), Cell::new(None));
    let follow = |at: &Path, mount: &Mount| {
        let target = std::fs::read_link(at)?;
        if mount.fs_type == "proc" && target.is_absolute() {
            if is_of_another_namespace(at, mount) {
                of_another_namespace.set(true);
                return Err(io::Error::other("it leads to another mount namespace"));
            }
            if !leads_there(table, at, &target) {
                elsewhere.set(Some(target));
                return Err(io::Error::other("its target is not the path of its text"));
            }
        }
        Ok(target)
    };
    let error = |why: &str, at: &Path| Error::config(format!("the {what} {name:?} cannot be found: {why}")).at(at);
    table.resolve(path, follow).map_err(|fault| {
        if of_another_namespace.get() {
            return error(
                "a link in its path leads to another mount namespace, whose mounts cannot be seen here",
                path,
            );
        }
        if let Some(text) = elsewhere.take() {
            let text = text.display();
            return error(&format!("a link in its path does not lead to the path of its text, which is {text}"), path);
        }
        let why = std::error::Error::source(&fault).map_or_else(|| fault.to_string(), ToString::to_string);
        error(&why, fault.path().unwrap_or(path))
    })
}

/// Whether a link of /proc leads to the file at the path of its text. Nothing below it is looked up, as its target may hang.
fn leads_there(table: &Table, link: &Path, text: &Path) -> bool {
    let Some((mount, safe)) = table.reach(text) else { return false };
    // For an open file the kernel itself reports its mount.
    let number = || {
        let (dir, name) = (link.parent()?, link.file_name()?);
        dir.ends_with("fd").then(|| dir.with_file_name("fdinfo").join(name))
    };
    if let Some(info) = number()
        && mount_of(&info).is_none_or(|id| id != mount.id)
    {
        return false;
    }
    // A path that may hang is not touched: its text is trusted.
    !safe || matches!((Look::follow(link), Look::no_follow(text)), (Ok(there), Ok(here)) if there == here)
}

/// Returns the mount of an open file, from `/proc/PID/fdinfo/FD`: `mnt_id`, since Linux 3.15.
fn mount_of(info: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(info).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// Whether a link is one of a process in another mount namespace, in which the path of its text is valid.
fn is_of_another_namespace(link: &Path, mount: &Mount) -> bool {
    let Ok(below) = link.strip_prefix(&*mount.mount_point) else { return false };
    let mut steps = below.iter();
    let Some(pid) = steps.next().filter(|pid| pid.as_bytes().iter().all(u8::is_ascii_digit)) else { return false };
    if mount.fs_type != "proc" || steps.next().is_none() {
        return false;
    }
    let namespace = |process: &Path| std::fs::read_link(process.join("ns/mnt"));
    let (theirs, ours) = (namespace(&mount.mount_point.join(pid)), namespace(Path::new("/proc/self")));
    matches!((theirs, ours), (Ok(theirs), Ok(ours)) if theirs != ours)
}
