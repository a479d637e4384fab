//! How much the control group of this process may use.

use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cgroup::keyed::limit;
use crate::cgroup::{CpuMax, CpuSet, EffectiveLimit};
use crate::number::words;
use crate::process::control_groups::{HierarchyMount, in_directory, mount_of, mounts_in};
use crate::process::file::{self, Buffer, unavailable};
use crate::process::{CgroupPaths, ProcFs};
use crate::{Monotonic, Reading, Text};

/// How much the control group of this process may use: of each limit the smallest one among the group's own and those of the groups above.
///
/// They are those of the unified hierarchy (cgroup v2). Where a controller is off or bound to a hierarchy of version 1, its limit is
/// [`Reading::Unsupported`]. [`Reading::NotApplicable`] means that there is no limit. Limits of groups above the root of the reader's cgroup
/// namespace, as those of a pod above its container, cannot be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OwnLimits {
    /// When they were read: at most [`Machine::max_age`](super::Machine::max_age) ago.
    pub read_at: Monotonic,
    /// The control group of this process: the path of the line `0::` in `/proc/self/cgroup`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub control_group: Reading<Text>,
    /// How much CPU time it may use, and whose limit that is: `cpu.max`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpu_max: Reading<EffectiveLimit<CpuMax>>,
    /// How many bytes of memory it may use, and whose limit that is: `memory.max`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub memory_max_bytes: Reading<EffectiveLimit<u64>>,
    /// How many CPUs it may run on: `cpuset.cpus.effective`, which the kernel keeps within those of the groups above.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpuset_cpus: Reading<u32>,
}

/// A `cpu.max`: `Some(None)` where it is no limit.
fn cpu_max(file: &[u8]) -> Option<Option<CpuMax>> {
    let max = CpuMax::parse(file)?;
    Some(max.quota_ns.is_some().then_some(max))
}

/// Reads the limits of this process.
#[derive(Debug)]
pub(super) struct LimitReader {
    buffer: Buffer,
}

impl LimitReader {
    pub(super) fn new() -> Self {
        Self { buffer: Buffer::new() }
    }

    pub(super) fn read(&mut self, procfs: &ProcFs) -> OwnLimits {
        let control_group = self.control_group(procfs);
        let mut limits = OwnLimits { read_at: Monotonic::now(), ..OwnLimits::default() };
        let mounts = match file::read(CWD, c"/proc/self/mountinfo") {
            Some(table) if control_group.value().is_some() => mounts_in(&table),
            _ => Vec::new(),
        };
        let path = control_group.value().map(Text::as_bytes).unwrap_or_default();
        match mount_of(&mounts, path) {
            Some((mount, below)) => {
                let mut group = OwnGroup { mount, path, below, buffer: &mut self.buffer };
                limits.cpu_max = group.smallest(b"cpu", b"cpu.max", cpu_max, CpuMax::is_below);
                limits.memory_max_bytes = group.smallest(b"memory", b"memory.max", limit, |one, other| one < other);
                limits.cpuset_cpus = group.cpuset();
            }
            None => {
                // Its group is not in what is mounted here, or not known.
                let why = match control_group.as_ref().map(|_| 0) {
                    Reading::Value(_) => Reading::Unsupported,
                    why => why,
                };
                limits.cpu_max = why.map(|_| EffectiveLimit::default());
                limits.memory_max_bytes = why.map(|_| EffectiveLimit::default());
                limits.cpuset_cpus = why;
            }
        }
        limits.control_group = control_group;
        limits
    }

    fn control_group(&mut self, procfs: &ProcFs) -> Reading<Text> {
        let file = match file::open(procfs.dir(), c"self/cgroup") {
            Ok(file) => file,
            Err(errno) => return unavailable(errno),
        };
        match self.buffer.read_to_end(file).map(CgroupPaths::parse) {
            Ok(Ok(paths)) => unified(&paths),
            Ok(Err(_)) => Reading::Failed,
            Err(errno) => unavailable(errno),
        }
    }
}

/// The path of the line `0::`.
fn unified(paths: &CgroupPaths) -> Reading<Text> {
    let unified = paths.list.iter().find(|group| group.hierarchy == 0 && group.controllers.is_empty());
    unified.map_or(Reading::Unsupported, |group| Reading::Value(group.path.clone()))
}

/// The own control group, in the mount that has it.
struct OwnGroup<'a> {
    mount: &'a HierarchyMount,
    path: &'a [u8],
    /// Its directory from the mount.
    below: &'a [u8],
    buffer: &'a mut Buffer,
}

impl OwnGroup<'_> {
    /// The smallest limit of the group and those above it, as far as they are mounted.
    fn smallest<T>(
        &mut self,
        controller: &[u8],
        name: &[u8],
        parse: fn(&[u8]) -> Option<Option<T>>,
        is_below: fn(&T, &T) -> bool,
    ) -> Reading<EffectiveLimit<T>> {
        let mut smallest: Option<EffectiveLimit<T>> = None;
        let (mut is_there, mut directory) = (false, self.below);
        loop {
            // What is above the mount is cut off from both in the same way.
            let path =
                self.path.get(..self.path.len().saturating_sub(self.below.len().saturating_sub(directory.len())));
            let path = path.map(|path| path.strip_suffix(b"/").unwrap_or(path)).filter(|path| !path.is_empty());
            match self.open(&in_directory(directory, name)).and_then(|file| self.buffer.read(file)) {
                Ok(bytes) => {
                    is_there = true;
                    match parse(bytes) {
                        Some(Some(value))
                            if smallest.as_ref().is_none_or(|smallest| is_below(&value, &smallest.value)) =>
                        {
                            smallest = Some(EffectiveLimit { value, path: path.unwrap_or(b"/").into() });
                        }
                        Some(_) => {}
                        None => return Reading::Failed,
                    }
                }
                // The controller is off on this level.
                Err(Errno::NOENT) => {}
                Err(errno) => return unavailable(errno),
            }
            if directory.is_empty() {
                break;
            }
            let parent = directory.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            directory = directory.get(..parent).unwrap_or_default();
        }
        match smallest {
            Some(limit) => Reading::Value(limit),
            None if is_there || self.has_controller(controller) => Reading::NotApplicable,
            None => Reading::Unsupported,
        }
    }

    fn cpuset(&mut self) -> Reading<u32> {
        match self.open(&in_directory(self.below, b"cpuset.cpus.effective")).and_then(|file| self.buffer.read(file)) {
            Ok(bytes) => CpuSet::parse(bytes).map_or(Reading::Failed, |cpus| Reading::Value(cpus.count)),
            Err(errno) => unavailable(errno),
        }
    }

    /// Whether the hierarchy has this controller: else it is off, or in version 1.
    fn has_controller(&mut self, controller: &[u8]) -> bool {
        let file = self.open(b"cgroup.controllers").and_then(|file| self.buffer.read(file));
        file.is_ok_and(|names| words(names).any(|name| name == controller))
    }

    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        file::open(&self.mount.place, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hierarchy as a kernel has it, in a folder.
    fn limits(files: &[(&str, &str)], root: &str, path: &str) -> [String; 3] {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let mount = HierarchyMount { root: root.into(), place: std::fs::File::open(folder.path()).unwrap().into() };
        let below = path.strip_prefix(root).unwrap().trim_start_matches('/').as_bytes();
        let mut group = OwnGroup { mount: &mount, path: path.as_bytes(), below, buffer: &mut Buffer::new() };
        let cpu = group.smallest(b"cpu", b"cpu.max", cpu_max, CpuMax::is_below);
        let memory = group.smallest(b"memory", b"memory.max", limit, |one, other| one < other);
        [
            cpu.map(|cpu| format!("{} of {}", cpu.value.cores().unwrap(), cpu.path)).to_string(),
            memory.map(|memory| format!("{} of {}", memory.value, memory.path)).to_string(),
            group.cpuset().to_string(),
        ]
    }

    #[test]
    fn the_smallest_limit_of_those_above_holds() {
        let nested = [
            ("cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("a/cpu.max", "150000 100000\n"),
            ("a/memory.max", "1000000\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/c/cpu.max", "20000 10000\n"),
            ("a/b/c/memory.max", "2000000\n"),
            ("a/b/c/cpuset.cpus.effective", "0-2,5\n"),
        ];
        assert_eq!(limits(&nested, "", "/a/b/c"), ["1.5 of /a", "1000000 of /a", "4"]);
        // The mount is that of a container, which sees itself as the root.
        assert_eq!(limits(&nested, "", "/a/b"), ["1.5 of /a", "1000000 of /a", "unsupported"]);
        assert_eq!(limits(&nested, "", "/"), ["not applicable", "not applicable", "unsupported"]);
        let container = [("cgroup.controllers", "cpu\n"), ("cpu.max", "50000 100000\n")];
        assert_eq!(limits(&container, "", "/"), ["0.5 of /", "unsupported", "unsupported"]);
        // A bind mount of a group: what is above it cannot be seen, and the paths are those that processes have.
        assert_eq!(limits(&[("b/cpu.max", "1000 1000\n")], "/x", "/x/b"), ["1 of /x/b", "unsupported", "unsupported"]);
        assert_eq!(limits(&[("cpu.max", "1000 1000\n")], "/x", "/x/b"), ["1 of /x", "unsupported", "unsupported"]);
    }

    #[test]
    fn a_limit_that_is_not_understood_is_not_no_limit() {
        for text in ["", "max\n", "10 0\n", "-1 100000\n", "18446744073709551615 100000\n"] {
            assert_eq!(limits(&[("a/cpu.max", text)], "", "/a")[0], "failed", "{text:?}");
        }
        assert_eq!(limits(&[("a/memory.max", "1 kB\n")], "", "/a")[1], "failed");
    }
}
