//! What control groups used, by the unified hierarchy.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::descriptors::FdBudget;
use super::file::{self, Buffer, Opener};
use super::procfs::ProcFs;
use super::restrictions::table_has_changed;
use crate::fs::mounts;
use crate::number::decimal;
use crate::{Cancel, ControlGroupUsage, Result, Text};

/// How many mounts of the hierarchy with different roots are used: beside the own one that of a host, as a container can have it.
const MOUNTS: usize = 4;

/// Reads `cpu.stat` of control groups.
#[derive(Debug)]
pub(crate) struct ControlGroups {
    /// Our mount table, which reports when it changes; `None` where the processes are not of our namespace.
    table: Option<OwnedFd>,
    mounts: Vec<HierarchyMount>,
    is_looked_for: bool,
    /// There can be processes in a group that this /proc does not have.
    can_be_shared: bool,
    groups: HashMap<Text, Group>,
    opener: Opener,
    buffer: Buffer,
    /// One could not be opened for want of descriptors: all are due at the next tick.
    retry: bool,
}

/// A mount of the unified hierarchy.
#[derive(Debug)]
pub(crate) struct HierarchyMount {
    /// Which group is mounted, as paths of processes begin that are in it; empty for all.
    pub(crate) root: Vec<u8>,
    pub(crate) place: OwnedFd,
}

#[derive(Debug, Default)]
struct Group {
    /// Its `cpu.stat`, kept open while there is room.
    stat: Option<OwnedFd>,
    /// What it used as last read, and as last in a snapshot.
    read: Option<u64>,
    given: Option<u64>,
    /// The tick in which it was last read.
    tick: u64,
    /// It is known whose usage it is: of processes that are there, or of others too.
    is_checked: bool,
    is_of_others: bool,
}

impl ControlGroups {
    pub(crate) fn new(procfs: &ProcFs) -> Self {
        // The processes of another namespace are not all that can be in a group, and which are not cannot be seen from here.
        let is_ours = file::is_proc(procfs.dir()) && procfs.has_pulse();
        Self {
            table: is_ours.then(|| file::open(CWD, c"/proc/self/mountinfo").ok()).flatten(),
            mounts: Vec::new(),
            is_looked_for: false,
            can_be_shared: !procfs.is_of_first_namespace(),
            groups: HashMap::new(),
            opener: Opener::new(procfs.dir()),
            buffer: Buffer::new(),
            retry: false,
        }
    }

    /// Whether descriptors ran out since this was last asked.
    pub(crate) fn was_starved(&mut self) -> bool {
        std::mem::take(&mut self.opener.starved)
    }

    /// Whether all are to be read, as some could not be.
    pub(crate) fn all_are_due(&self) -> bool {
        self.retry
    }

    /// Reads the usage of these groups, and gives those in which it moved, in the order of their paths. Where `living` are all groups
    /// that have processes, others are read for a last time, and forgotten.
    pub(crate) fn read<'a>(
        &mut self,
        due: impl Iterator<Item = &'a Text>,
        living: Option<&HashSet<&Text>>,
        tick: u64,
        means: (&ProcFs, &FdBudget, &Cancel),
    ) -> Result<Vec<ControlGroupUsage>> {
        let (procfs, budget, cancel) = means;
        self.look_for_mounts(budget);
        if self.mounts.is_empty() {
            return Ok(Vec::new());
        }
        self.retry = false;
        let mut read = Vec::new();
        for path in due {
            cancel.check()?;
            self.read_one(path, tick, budget, &mut read);
        }
        let gone =
            |living: &HashSet<&Text>| self.groups.keys().filter(|path| !living.contains(path)).cloned().collect();
        let gone: Vec<Text> = living.map(gone).unwrap_or_default();
        for path in &gone {
            cancel.check()?;
            self.read_one(path, tick, budget, &mut read);
        }
        self.opener.restore(procfs.dir());
        // Not before nothing can cancel it any more, so that none is left out.
        let mut usages = Vec::new();
        for path in read {
            let Some(group) = self.groups.get_mut(&path) else { continue };
            if let Some(usage_usec) = group.read.filter(|_| group.read != group.given) {
                group.given = group.read;
                usages.push(ControlGroupUsage::new(path, usage_usec));
            }
        }
        usages.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for path in &gone {
            if let Some(mut group) = self.groups.remove(path) {
                group.close(budget);
            }
        }
        if self.opener.starved {
            self.close_all(budget);
        }
        Ok(usages)
    }

    fn close_all(&mut self, budget: &FdBudget) {
        self.groups.values_mut().for_each(|group| group.close(budget));
    }

    /// Reads a group, where it was not read in this tick.
    fn read_one(&mut self, path: &Text, tick: u64, budget: &FdBudget, read: &mut Vec<Text>) {
        if !self.groups.contains_key(path) {
            self.groups.insert(path.clone(), Group::default());
        }
        let Some(group) = self.groups.get_mut(path) else { return };
        if group.tick == tick {
            return;
        }
        group.tick = tick;
        if group.is_of_others {
            return;
        }
        if let Some(stat) = &group.stat {
            if let Ok(usage) = usage(&mut self.buffer, stat) {
                group.read = usage.or(group.read);
                read.push(path.clone());
                return;
            }
            // It was removed; by now another one can have its path.
            group.close(budget);
        }
        let Some((mount, below)) = mount_of(&self.mounts, path.as_bytes()) else { return };
        if !group.is_checked {
            let shared = match is_of_others(&mut self.opener, &mut self.buffer, mount, below, self.can_be_shared) {
                Ok(shared) => shared,
                Err(errno) => {
                    self.retry |= is_shortage(errno);
                    return;
                }
            };
            (group.is_checked, group.is_of_others) = (true, shared);
            if shared {
                return;
            }
        }
        let opened = self.opener.open(&mount.place, &*in_directory(below, b"cpu.stat"));
        match opened.and_then(|stat| Ok((usage(&mut self.buffer, &stat)?, stat))) {
            Ok((usage, stat)) => {
                group.read = usage.or(group.read);
                read.push(path.clone());
                if budget.take() {
                    group.stat = Some(stat);
                }
            }
            Err(errno) => self.retry |= is_shortage(errno),
        }
    }

    /// Finds where the hierarchy is mounted, again when something was mounted since.
    fn look_for_mounts(&mut self, budget: &FdBudget) {
        let Some(table) = &self.table else { return };
        // Asked each time, since asking makes the kernel forget.
        if !table_has_changed(table) && self.is_looked_for {
            return;
        }
        let text = rustix::fs::seek(table, SeekFrom::Start(0)).and_then(|_| self.buffer.read_to_end(table));
        let Ok(text) = text else { return };
        let found = mounts_in(text);
        self.is_looked_for = true;
        let is_same = self.mounts.len() == found.len()
            && self.mounts.iter().zip(&found).all(|(before, now)| before.root == now.root);
        // Where it is the same, what is open stays open: whatever else is mounted changes nothing.
        if !is_same {
            self.close_all(budget);
        }
        self.mounts = found;
    }
}

impl Group {
    fn close(&mut self, budget: &FdBudget) {
        if self.stat.take().is_some() {
            budget.give_back();
        }
    }
}

/// The mounts of the unified hierarchy in a mount table, opened: that of all of it first.
pub(crate) fn mounts_in(table: &[u8]) -> Vec<HierarchyMount> {
    const TYPE: &[u8] = b" - cgroup2 ";
    let lines = table.split(|byte| *byte == b'\n').filter(|line| line.windows(TYPE.len()).any(|part| part == TYPE));
    let all: Vec<_> = lines.flat_map(mounts::parse).collect();
    // A later one on the same place hides an earlier one.
    let seen = all.iter().enumerate().filter(|(nth, mount)| {
        !all.iter().skip(nth.saturating_add(1)).any(|later| later.mount_point == mount.mount_point)
    });
    let root = |mount: &mounts::Mount| mount.root.as_os_str().as_bytes().to_vec();
    let mut seen: Vec<_> = seen.map(|(_, mount)| mount).collect();
    seen.sort_by_key(|mount| (root(mount).len(), mount.mount_point.as_os_str().len()));
    let mut found: Vec<HierarchyMount> = Vec::new();
    for mount in seen {
        let mut root = root(mount);
        if root == b"/" {
            root.clear();
        }
        let is_outside = root.starts_with(b"/..");
        let is_in = |other: &HierarchyMount| other.root == root || (other.root.is_empty() && !is_outside);
        if found.len() >= MOUNTS || found.iter().any(is_in) {
            continue;
        }
        if let Some(place) = open_hierarchy(&mount.mount_point) {
            found.push(HierarchyMount { root, place });
        }
    }
    found
}

/// Opens a place where the hierarchy is mounted; `None` where something else is by now.
fn open_hierarchy(at: &Path) -> Option<OwnedFd> {
    /// `CGROUP2_SUPER_MAGIC`.
    const MAGIC: u32 = 0x6367_7270;
    let place = rustix::fs::openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = rustix::fs::fstatfs(&place).ok()?;
    (u32::try_from(stat.f_type).ok()? == MAGIC).then_some(place)
}

/// The mount that has a group, and its directory in there: the nearest where several have it.
pub(crate) fn mount_of<'m, 'p>(mounts: &'m [HierarchyMount], path: &'p [u8]) -> Option<(&'m HierarchyMount, &'p [u8])> {
    let found = mounts.iter().filter_map(|mount| Some((mount, below(&mount.root, path)?)));
    found.max_by_key(|(mount, _)| mount.root.len())
}

/// The directory of a group in a mount, empty for the mount's own; `None` where it is not in there, or was removed.
fn below<'p>(root: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    // A process has a path with the mark only when it has ended.
    if path.ends_with(b" (deleted)") {
        return None;
    }
    let below = path.strip_prefix(root)?;
    if !below.is_empty() && !below.starts_with(b"/") {
        return None;
    }
    let below = below.strip_prefix(b"/").unwrap_or(below);
    (!below.split(|byte| *byte == b'/').any(|part| part == b"..")).then_some(below)
}

pub(crate) fn in_directory(directory: &[u8], file: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    [directory, slash, file].concat()
}

/// Whether what a group used is not of its visible processes alone: in the root of the hierarchy it is the whole machine's, and what
/// interrupts took; and in another one there can be processes that cannot be seen.
fn is_of_others(
    opener: &mut Opener,
    buffer: &mut Buffer,
    mount: &HierarchyMount,
    below: &[u8],
    can_be_shared: bool,
) -> rustix::io::Result<bool> {
    let is_root = || match rustix::fs::statat(&mount.place, c"cgroup.type", AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(true),
        found => found.map(|_| false),
    };
    if below.is_empty() && is_root()? {
        return Ok(true);
    }
    if !can_be_shared {
        return Ok(false);
    }
    let file = opener.open(&mount.place, &*in_directory(below, b"cgroup.procs"))?;
    match buffer.read_to_end(file) {
        // The kernel has 0 for one of another pid namespace.
        Ok(pids) => Ok(pids.split(|byte| *byte == b'\n').any(|pid| pid == b"0")),
        // A group of threads, of which it is not known.
        Err(Errno::OPNOTSUPP) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// `usage_usec` of `cpu.stat`; `None` where there is none.
fn usage(buffer: &mut Buffer, stat: &OwnedFd) -> rustix::io::Result<Option<u64>> {
    let lines = buffer.read(stat)?.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| line.strip_prefix(b"usage_usec ")).find_map(decimal))
}

fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_the_root_of_a_mount() {
        for (root, path, expected) in [
            ("", "/", Some("")),
            ("", "/a/b", Some("a/b")),
            ("", "/../a", None),
            ("", "/a/b (deleted)", None),
            ("/a", "/a", Some("")),
            ("/a", "/a/b", Some("b")),
            ("/a", "/ab", None),
            ("/a", "/", None),
            ("/..", "/../a", Some("a")),
            ("/..", "/../../a", None),
            ("/../..", "/../../a", Some("a")),
        ] {
            let found = below(root.as_bytes(), path.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{path} in {root}");
        }
    }

    #[test]
    fn a_hierarchy_of_another_kind_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        assert!(mounts_in(format!("41 31 0:38 / {at} rw - cgroup2 none rw\n").as_bytes()).is_empty());
        assert!(mounts_in(format!("41 31 0:38 / {at} rw - cgroup cgroup rw,name=systemd\n").as_bytes()).is_empty());
    }
}
