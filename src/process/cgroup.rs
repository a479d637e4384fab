//! `/proc/PID/cgroup`: which control groups a process is in.

use serde::{Deserialize, Serialize};

use crate::number::{decimal, lines};
use crate::{Error, Result, Text};

/// `/proc/PID/cgroup`: a control group in each hierarchy, in the order of the file. Empty where the kernel mounts none.
///
/// ```
/// use appmon::process::CgroupPaths;
///
/// let cgroups = CgroupPaths::parse(b"4:memory:/a:b\n0::/system.slice/nginx.service\n").unwrap();
/// assert_eq!(cgroups.list[0].path, "/a:b");
/// assert_eq!(cgroups.main_path().unwrap(), &"/system.slice/nginx.service");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CgroupPaths {
    /// One for each line.
    pub list: Vec<CgroupPath>,
    /// Lines that are not `hierarchy:controllers:path`, which no kernel is known to write. Not in the wire form.
    #[serde(skip)]
    pub unknown: Vec<Text>,
}

/// The control group of a process in one hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CgroupPath {
    /// The number of the hierarchy; 0 for the unified one (cgroup v2).
    pub hierarchy: u32,
    /// The controllers bound to it, or `name=..` of a hierarchy that has a name instead. None for the unified one.
    pub controllers: Vec<Text>,
    /// The path from the root of the hierarchy, as the reader's cgroup namespace sees it: begins with `/..` for one
    /// outside of it. Ends in ` (deleted)` where the group was removed and the process has ended.
    pub path: Text,
}

impl CgroupPaths {
    /// Reads the file. A line that is not `hierarchy:controllers:path` is kept in [`unknown`](Self::unknown).
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with the first line, when there are lines and none of them is understood.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut cgroups = Self::default();
        for line in lines(file) {
            match cgroup(line) {
                Some(cgroup) => cgroups.list.push(cgroup),
                None => cgroups.unknown.push(line.into()),
            }
        }
        match cgroups.unknown.first() {
            Some(line) if cgroups.list.is_empty() => Err(Error::malformed(format!("cgroup: {line}"))),
            _ => Ok(cgroups),
        }
    }

    /// Returns the most specific path: the best answer to where the process belongs.
    ///
    /// A hierarchy in which the process is in the root (`/`) has no information, and any other is better: in a container on a host
    /// with both versions of control groups, it may be that of `memory` alone. Among several, systemd's own (`name=systemd`)
    /// comes first, since the unified one can still show the service that started a container; then the unified one (cgroup
    /// v2), those of controllers (`memory`, `pids`, `cpu`, and so on, whatever their order in the file), and those that
    /// others have named, such as elogind. One that is outside of the reader's cgroup namespace and has no further name (`/..`)
    /// counts for more than `/` and for less than all others. `None` where there is none, or where no line has more than
    /// these and one was not understood: that one may.
    ///
    /// ```
    /// use appmon::process::CgroupPaths;
    ///
    /// let file = b"9:name=systemd:/\n4:memory:/docker/4f1c\n1:cpu,cpuacct:/docker/4f1c\n0::/\n";
    /// assert_eq!(CgroupPaths::parse(file).unwrap().main_path().unwrap(), &"/docker/4f1c");
    /// ```
    #[must_use]
    pub fn main_path(&self) -> Option<&Text> {
        let main = self.list.iter().min_by_key(|cgroup| (silence(cgroup.path.as_bytes()), rank(cgroup)))?;
        let may_be_unknown = !self.unknown.is_empty() && silence(main.path.as_bytes()) > 0;
        (!may_be_unknown).then_some(&main.path)
    }

    /// The same of a process that has ended. The kernel shows it in the root of every hierarchy of version 1, wherever it was:
    /// so where there are any, that it is in none of the others' roots is all that is known.
    pub(crate) fn main_path_of_ended(&self) -> Option<&Text> {
        self.main_path().filter(|path| !self.has_version_1() || silence(path.as_bytes()) == 0)
    }

    /// Whether a process is in this group of the unified hierarchy.
    pub(crate) fn is_in_unified(&self, path: &Text) -> bool {
        self.list.iter().any(|cgroup| cgroup.is_unified() && cgroup.path == *path)
    }

    /// Whether there are hierarchies beside the unified one.
    pub(crate) fn has_version_1(&self) -> bool {
        self.list.iter().any(|cgroup| !cgroup.is_unified())
    }
}

impl CgroupPath {
    fn is_unified(&self) -> bool {
        self.hierarchy == 0 && self.controllers.is_empty()
    }
}

/// The rank of a path: 0 for one with a name in it, 2 for the root.
fn silence(path: &[u8]) -> u8 {
    let mut components = path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).peekable();
    match components.peek() {
        None => 2,
        Some(_) => u8::from(components.all(|component| component == b"..")),
    }
}

/// Which hierarchy is preferred, the lowest first.
fn rank(cgroup: &CgroupPath) -> usize {
    /// After systemd's own and the unified hierarchy, and before those that have only names.
    const CONTROLLERS: [&str; 8] = ["memory", "pids", "cpu", "cpuacct", "blkio", "devices", "freezer", "cpuset"];
    if cgroup.controllers.iter().any(|name| *name == "name=systemd") {
        return 0;
    }
    if cgroup.is_unified() {
        return 1;
    }
    let named = cgroup.controllers.iter().any(|name| name.as_bytes().starts_with(b"name="));
    let known = CONTROLLERS.iter().position(|known| cgroup.controllers.iter().any(|name| name == known));
    known.unwrap_or(CONTROLLERS.len().saturating_add(usize::from(named))).saturating_add(2)
}

/// A path without the mark that the kernel adds where the group was removed.
pub(crate) fn without_mark(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// The path is all after the second colon, since it may hold colons itself. It holds no newline: the kernel refuses them.
fn cgroup(line: &[u8]) -> Option<CgroupPath> {
    let mut parts = line.splitn(3, |byte| *byte == b':');
    Some(CgroupPath {
        hierarchy: decimal(parts.next()?)?,
        controllers: parts
            .next()?
            .split(|byte| *byte == b',')
            .filter(|controller| !controller.is_empty())
            .map(Text::from)
            .collect(),
        path: parts.next()?.into(),
    })
}
