//! `/proc/PID/cgroup`: which control groups a process is in.

use serde::{Deserialize, Serialize};

use super::number::{decimal, lines};
use crate::{Error, Result, Text};

/// `/proc/PID/cgroup`: a control group in each hierarchy, in the order of the file. Empty where the kernel mounts none.
///
/// ```
/// use appmon::Cgroups;
///
/// let cgroups = Cgroups::parse(b"4:memory:/a:b\n0::/system.slice/nginx.service\n").unwrap();
/// assert_eq!(cgroups.list[0].path, "/a:b");
/// assert_eq!(cgroups.main_path().unwrap(), &"/system.slice/nginx.service");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cgroups {
    /// One for each line.
    pub list: Vec<Cgroup>,
}

/// The control group of a process in one hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cgroup {
    /// The number of the hierarchy; 0 for the unified one (cgroup v2).
    pub hierarchy: u32,
    /// The controllers bound to it, or `name=..` of a hierarchy that has a name instead. None for the unified one.
    pub controllers: Vec<Text>,
    /// The path from the root of the hierarchy, as the reader's cgroup namespace sees it: begins with `/..` for one
    /// outside of it. Ends in ` (deleted)` where the group was removed and the process has ended.
    pub path: Text,
}

impl Cgroups {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with the line that is not `hierarchy:controllers:path`.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let list = lines(file)
            .map(|line| cgroup(line).ok_or_else(|| Error::malformed(format!("cgroup: {}", line.escape_ascii()))))
            .collect::<Result<_>>()?;
        Ok(Self { list })
    }

    /// The one path that says most: the unified hierarchy's, but systemd's own where the unified one is missing or not in
    /// use (`/`), and the first where there is neither.
    #[must_use]
    pub fn main_path(&self) -> Option<&Text> {
        let unified = self.list.iter().find(|cgroup| cgroup.hierarchy == 0 && cgroup.controllers.is_empty());
        let systemd = self.list.iter().find(|cgroup| cgroup.controllers.iter().any(|name| *name == "name=systemd"));
        unified
            .filter(|cgroup| cgroup.path != "/" || systemd.is_none())
            .or(systemd)
            .or(self.list.first())
            .map(|cgroup| &cgroup.path)
    }
}

/// The path is all after the second colon, since it may hold colons itself. It holds no newline: the kernel refuses them.
fn cgroup(line: &[u8]) -> Option<Cgroup> {
    let mut parts = line.splitn(3, |byte| *byte == b':');
    Some(Cgroup {
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
