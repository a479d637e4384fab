//! Ready keys for [`group_by`](crate::SnapshotStreamExt::group_by).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::stream::by;
//! use appmon::{Processes, SnapshotStreamExt, SourceExt};
//!
//! let users = Processes::new().every(Duration::from_secs(1)).group_by(by::user).by("user");
//! # let _ = users;
//! ```
//!
//! A text is empty for processes that have no such thing, and for those of which it may not be read. For services see
//! [`Service::of`](crate::process::Service::of); for trees of processes, whose key is not a matter of one process alone,
//! [`group_by_tree`](crate::SnapshotStreamExt::group_by_tree).

use crate::cgroup::{Container, Identity};
use crate::{ProcessSample, Text};

/// The command name: [`ProcessInfo::name`](crate::process::ProcessInfo::name).
#[must_use]
pub fn name(process: &ProcessSample) -> Text {
    process.info.name.clone()
}

/// The path of the executable: [`ProcessInfo::exe`](crate::process::ProcessInfo::exe). Empty for threads of the kernel.
#[must_use]
pub fn exe(process: &ProcessSample) -> Text {
    process.info.exe.value().map(|path| Text::from(path.as_os_str())).unwrap_or_default()
}

/// The name of the user; the number of one that has none.
#[must_use]
pub fn user(process: &ProcessSample) -> Text {
    process.info.user.value().cloned().unwrap_or_else(|| process.info.uid.to_string().into())
}

/// The path of the control group, without the mark of one that was removed.
#[must_use]
pub fn cgroup(process: &ProcessSample) -> Text {
    let path = process.info.cgroup.value().cloned().unwrap_or_default();
    path.as_bytes().strip_suffix(b" (deleted)").map(Text::from).unwrap_or(path)
}

/// The unit of the system's systemd: [`Identity::unit`].
#[must_use]
pub fn unit(process: &ProcessSample) -> Text {
    process.info.cgroup.value().and_then(|path| Identity::of(path.as_bytes()).unit).unwrap_or_default()
}

/// The container, as `docker://ID`: [`ProcessInfo::container`](crate::process::ProcessInfo::container).
#[must_use]
pub fn container(process: &ProcessSample) -> Text {
    process.info.container.as_ref().map(|container| container.to_string().into()).unwrap_or_default()
}

/// The uid of the Kubernetes pod: [`Container::pod_uid`].
#[must_use]
pub fn pod(process: &ProcessSample) -> Text {
    let container: Option<&Container> = process.info.container.as_ref();
    container.and_then(|container| container.pod_uid.clone()).unwrap_or_default()
}
