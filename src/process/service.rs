//! The service that a process is part of: a container, a systemd unit, a program.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ProcessSample;
use crate::Text;
use crate::cgroup::{Container, Identity};

/// The service that a process is part of, as people name and monitor it: its container, else its systemd unit, else its program.
///
/// It follows from [`ProcessInfo::cgroup`](crate::process::ProcessInfo::cgroup); a process whose control group was not requested or may not
/// be read counts by its program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Service {
    /// A container.
    Container(Container),
    /// A unit of systemd; below `user@UID.service` the unit of that user's systemd.
    Unit(Text),
    /// The name of a process that is in neither, such as a thread of the kernel.
    Program(Text),
}

impl Service {
    /// Returns the service that a process is part of.
    ///
    /// ```
    /// use appmon::process::Service;
    /// use appmon::{Cancel, Processes, SourceExt};
    ///
    /// let snapshot = Processes::new().read(&Cancel::new())?;
    /// let mut services: Vec<Service> = snapshot.samples.iter().map(Service::of).collect();
    /// services.sort();
    /// services.dedup();
    /// # Ok::<(), appmon::Error>(())
    /// ```
    #[must_use]
    pub fn of(process: &ProcessSample) -> Self {
        let info = &process.info;
        if let Some(container) = &info.container {
            return Self::Container(container.clone());
        }
        let identity = info.cgroup.value().map(|path| Identity::of(path.as_bytes())).unwrap_or_default();
        identity.user_unit.or(identity.unit).map_or_else(|| Self::Program(info.name.clone()), Self::Unit)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(container) => container.fmt(f),
            Self::Unit(name) | Self::Program(name) => name.fmt(f),
        }
    }
}
