//! Which mounts are told as file systems, and which directory belongs to which.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::directory::Directory;
use super::kind::Kind;
use super::mounts::{self, DeviceId, Mount};
use super::state::Known;
use super::table::{Place, Table};
use crate::{Error, Pattern, Result, Text};

/// Which of the mounted file systems are taken by themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Discovery {
    pub(super) include_types: Vec<Pattern>,
    pub(super) exclude_types: Vec<Pattern>,
    pub(super) include_paths: Vec<Pattern>,
    pub(super) exclude_paths: Vec<Pattern>,
}

/// A mount that is told as a file system.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: Text,
    pub(super) mount: Mount,
    /// Whether it can be asked without being held up.
    pub(super) safe: bool,
    /// All mounts whose directories belong to it.
    pub(super) mounts: Vec<u32>,
    /// Whether it was registered by hand, and is told however small it is.
    pub(super) by_hand: bool,
}

/// Where a directory is.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// The place of its file system among the targets.
    pub(super) target: usize,
    pub(super) mount: u32,
    device: DeviceId,
    /// Without symbolic links.
    pub(super) path: PathBuf,
    /// Whether it can be looked at without being held up.
    pub(super) safe: bool,
    /// Whether events report what changes in it.
    pub(super) reported: bool,
}

impl Home {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.mount, self.device, &self.path) == (other.mount, other.device, &other.path)
    }

    /// Whether this is the directory `outer`, or in it, on the same mount.
    pub(super) fn is_in(&self, outer: &Self) -> bool {
        self.mount == outer.mount && self.path.starts_with(&outer.path)
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

/// The mounts to tell, in the order of their mount points, and the ids of the registered file systems among them.
///
/// # Errors
///
/// When a file system that has to be there never was.
pub(super) fn targets(
    table: &Table,
    discovery: Option<&Discovery>,
    file_systems: &[Known],
) -> Result<(Vec<Target>, Vec<u64>)> {
    let mut targets: Vec<Target> = Vec::new();
    if let Some(discovery) = discovery {
        let asked: Vec<_> =
            table.visible().filter(|(mount, _)| !matches!(mount.kind(), Kind::Pseudo | Kind::Automount)).collect();
        for (mount, mounts) in mounts::fold(asked.iter().map(|(mount, _)| *mount)) {
            if discovery.takes(mount) {
                let safe = asked.iter().any(|(asked, safe)| asked.id == mount.id && *safe);
                let name = Text::from(mount.mount_point.as_os_str());
                targets.push(Target { name, mount: mount.clone(), safe, mounts, by_hand: false });
            }
        }
    }
    let mut met = Vec::new();
    for known in file_systems {
        let place = match place(table, &known.file_system.name, &known.file_system.path, "file system") {
            Ok(place) if *place.path == *place.mount.mount_point && place.mount.kind() != Kind::Automount => place,
            _ if known.met || known.file_system.optional => continue,
            Err(error) => return Err(error),
            Ok(place) => {
                return Err(Error::config(format!(
                    "nothing is mounted there for the file system {:?}: it is a path of what is mounted at {}",
                    known.file_system.name,
                    place.mount.mount_point.display()
                ))
                .at(&known.file_system.path));
            }
        };
        met.push(known.id);
        let name = known.file_system.name.clone();
        if let Some(target) = targets.iter_mut().find(|target| target.mount.id == place.mount.id) {
            if target.by_hand {
                let what = format!("the file systems {:?} and {name:?} are the same mount", target.name);
                return Err(Error::config(what).at(&known.file_system.path));
            }
            (target.name, target.by_hand) = (name, true);
            continue;
        }
        // Its own directories are no longer those of the file system that it was folded into.
        for target in &mut targets {
            target.mounts.retain(|mount| *mount != place.mount.id);
        }
        let mount = place.mount.clone();
        targets.push(Target { name, safe: place.seen, mounts: vec![mount.id], mount, by_hand: true });
    }
    targets.sort_by(|a, b| a.mount.mount_point.cmp(&b.mount.mount_point));
    Ok((targets, met))
}

/// Where a directory is.
///
/// # Errors
///
/// When it is not there, is no directory, or is on a mount that is not among the targets.
pub(super) fn home<'a>(
    table: &Table,
    targets: impl IntoIterator<Item = &'a Target>,
    directory: &Directory,
) -> Result<Home> {
    let place = place(table, &directory.name, &directory.path, "directory")?;
    if place.seen && !std::fs::symlink_metadata(&place.path).is_ok_and(|meta| meta.is_dir()) {
        return Err(Error::config(format!("{:?} is not a directory", directory.name)).at(&directory.path));
    }
    let mut targets = targets.into_iter();
    let target = targets.position(|target| target.mounts.contains(&place.mount.id)).ok_or_else(|| {
        Error::config(format!(
            "the directory {:?} is on the file system mounted at {}, which is not registered",
            directory.name,
            place.mount.mount_point.display()
        ))
        .at(&directory.path)
    })?;
    let (mount, device) = (place.mount.id, place.mount.device);
    let reported = Kind::reports_changes(place.mount.fs_type.as_bytes());
    Ok(Home { target, mount, device, path: place.path, safe: place.seen, reported })
}

fn place<'a>(table: &'a Table, name: &Text, path: &std::path::Path, what: &str) -> Result<Place<'a>> {
    table.resolve(path, |path| std::fs::read_link(path)).map_err(|error| {
        let at = error.path().unwrap_or(path).to_path_buf();
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Error::config(format!("the {what} {name:?} cannot be found: {why}")).at(at)
    })
}
