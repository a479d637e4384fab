//! Where the unified hierarchy of control groups is mounted.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::number::lines;
use crate::process::control_groups::mounts_in;
use crate::process::{CgroupPaths, file};
use crate::{Error, Result, Text};

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC`.
const UNIFIED: u32 = 0x6367_7270;
const VERSION_1: u32 = 0x0027_e0eb;

/// The unified hierarchy, or the part of it that is mounted here.
#[derive(Debug)]
pub(super) struct Hierarchy {
    root: OwnedFd,
    /// For errors.
    path: PathBuf,
    /// What paths begin with that are in here; empty where all is.
    prefix: Vec<u8>,
    /// The files are the kernel's, and no copies.
    is_real: bool,
    /// There is no group above its root.
    pub(super) is_whole: bool,
    /// The controllers that are bound to hierarchies of version 1.
    pub(super) elsewhere: Vec<Text>,
}

impl Hierarchy {
    /// Opens the hierarchy at this place; by default where the kernel has it mounted.
    pub(super) fn open(root: Option<&Path>) -> Result<Self> {
        match root {
            Some(root) => Self::at(root),
            None => Self::mounted(),
        }
    }

    fn mounted() -> Result<Self> {
        const TABLE: &str = "/proc/self/mountinfo";
        let table = std::fs::read(TABLE).map_err(|error| Error::io(error).at(TABLE))?;
        let Some(mount) = mounts_in(&table).into_iter().next() else {
            let has_version_1 = lines(&table).any(|line| line.windows(10).any(|part| part == b" - cgroup "));
            return Err(Error::config(if has_version_1 {
                "control groups: only hierarchies of version 1 are mounted, and of these there are only the paths of processes \
                 (`Fields::CGROUP`) and what these name (`cgroup::Identity`)"
            } else {
                "control groups: no hierarchy of version 2 (cgroup2) is mounted"
            }));
        };
        let elsewhere = std::fs::read("/proc/self/cgroup").map(|file| elsewhere(&file)).unwrap_or_default();
        Self::new(mount.root, mount.place, PathBuf::from("cgroup2"), true, elsewhere)
    }

    fn at(path: &Path) -> Result<Self> {
        let error = |errno| Error::os(errno).at(path);
        let root = open_directory(path).map_err(error)?;
        let kind = rustix::fs::fstatfs(&root).map_err(error)?.f_type;
        let kind = u32::try_from(kind).unwrap_or(0);
        let has = |name: &str| rustix::fs::statat(&root, name, AtFlags::empty()).is_ok();
        if kind == VERSION_1 || (has("tasks") && has("cgroup.procs")) {
            let why = "a hierarchy of control groups of version 1, of which only the paths of processes are read (`Fields::CGROUP`)";
            return Err(Error::config(format!("ControlGroups::root: {why}")).at(path));
        }
        if kind == UNIFIED || has("cgroup.controllers") {
            return Self::new(Vec::new(), root, path.to_path_buf(), kind == UNIFIED, Vec::new());
        }
        // Where both versions are used, systemd mounts this one beside the others.
        let below = path.join("unified");
        if has("unified/cgroup.controllers") {
            let error = |errno| Error::os(errno).at(&below);
            let root = open_directory(&below).map_err(error)?;
            let kind = rustix::fs::fstatfs(&root).map_err(error)?.f_type;
            return Self::new(Vec::new(), root, below.clone(), u32::try_from(kind) == Ok(UNIFIED), Vec::new());
        }
        Err(Error::config("ControlGroups::root: no hierarchy of control groups of version 2 (no `cgroup.controllers`)")
            .at(path))
    }

    fn new(prefix: Vec<u8>, root: OwnedFd, path: PathBuf, is_real: bool, elsewhere: Vec<Text>) -> Result<Self> {
        let is_whole = match rustix::fs::statat(&root, c"cgroup.type", AtFlags::empty()) {
            Err(Errno::NOENT) => true,
            Err(errno) => return Err(Error::os(errno).at(path)),
            Ok(_) => false,
        };
        Ok(Self { root, path, prefix, is_real, is_whole, elsewhere })
    }

    /// The path of its root.
    pub(super) fn root_path(&self) -> Text {
        if self.prefix.is_empty() { "/".into() } else { self.prefix.as_slice().into() }
    }

    /// An error about its root.
    pub(super) fn error(&self, errno: Errno) -> Error {
        Error::os(errno).at(&self.path)
    }

    /// The path from the root of the mount to a group.
    fn below<'a>(&self, path: &'a Text) -> &'a [u8] {
        let below = path.as_bytes().get(self.prefix.len()..).unwrap_or_default();
        match below.strip_prefix(b"/").unwrap_or(below) {
            b"" => b".",
            below => below,
        }
    }

    /// Opens a group as a place: files opened from it are of the same group, or fail. Returns its id and its number of links too.
    pub(super) fn place(&self, path: &Text) -> rustix::io::Result<(OwnedFd, u64, u64)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let place = rustix::fs::openat(&self.root, self.below(path), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&place)?;
        Ok((place, stat.st_ino, links(&stat)))
    }

    /// The number of links of a group's directory: two, and one for each group in it.
    pub(super) fn links(&self, path: &Text) -> rustix::io::Result<u64> {
        rustix::fs::statat(&self.root, self.below(path), AtFlags::SYMLINK_NOFOLLOW).map(|stat| links(&stat))
    }

    /// Opens a file of a group.
    pub(super) fn open_file(&self, place: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
        if self.is_real {
            rustix::fs::openat(place, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        } else {
            file::open(place, name)
        }
    }
}

#[allow(clippy::useless_conversion, reason = "it is narrower on some machines")]
fn links(stat: &rustix::fs::Stat) -> u64 {
    u64::from(stat.st_nlink)
}

fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The controllers of hierarchies of version 1, in `/proc/self/cgroup`.
fn elsewhere(file: &[u8]) -> Vec<Text> {
    let groups = CgroupPaths::parse(file).map(|paths| paths.list).unwrap_or_default();
    let names = groups.into_iter().filter(|group| group.hierarchy != 0).flat_map(|group| group.controllers);
    let mut names: Vec<Text> = names.filter(|name| !name.as_bytes().starts_with(b"name=")).collect();
    names.sort_unstable();
    names
}
