//! The sample of one control group at one tick.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Container, ControlGroupCpu, ControlGroupIo, ControlGroupLimits, ControlGroupMemory, Identity, Pressure};
use crate::process::Service;
use crate::{Monotonic, Reading, Sample, Text};

/// One control group of the unified hierarchy (cgroup v2) at one tick.
///
/// All numbers are of the group and those below it together, as the kernel accounts them: so those of a slice contain those of its services.
/// Counters are totals since the group was made; [`rates`](crate::SnapshotStreamExt::rates) makes rates of them.
///
/// A number is [`Reading::NotApplicable`] where its controller is not enabled for the group, and where the root has no such file;
/// [`Reading::Unsupported`] where the controller is enabled and the kernel has no such file, by its version or its configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupSample {
    /// Its path in the unified hierarchy, as the line `0::` of `/proc/PID/cgroup` has it; `/` for the root.
    pub path: Text,
    /// The kernel's id of the group: the inode number of its directory. A group that was removed and made again has another one.
    pub id: u64,
    /// What seldom changes; shared between the samples of a group.
    pub info: Arc<ControlGroupInfo>,
    /// Whether there are processes in it or below it, from `cgroup.events`. `NotApplicable` in the root.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub populated: Reading<bool>,
    /// Whether all its processes are frozen (`cgroup.freeze`, of this group or one above), from `cgroup.events`, since Linux 5.2.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub frozen: Reading<bool>,
    /// CPU time, from `cpu.stat`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpu: Reading<ControlGroupCpu>,
    /// Memory, from `memory.current` and others.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub memory: Reading<Arc<ControlGroupMemory>>,
    /// I/O of block devices, from `io.stat`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<Arc<ControlGroupIo>>,
    /// Processes and threads, from `pids.current` and others.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub pids: Reading<ControlGroupPids>,
    /// What its tasks wait for.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub pressure: Reading<Arc<ControlGroupPressure>>,
    /// Its limits, and those that hold for it.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub limits: Reading<Arc<ControlGroupLimits>>,
    /// When `cpu`, `io` and the totals of `pressure` were known to have these values: now for a group that did not move since they were read.
    /// What a process used since it came onto its CPU may be missing, if that was less than a scheduler's tick ago (1 to 10 ms); so
    /// may that of the first process in an empty group, until the kernel has reported that there is one. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
    pub at: Monotonic,
    /// When all its files were last read. What others can change while the group stands still is as of then, at least: `memory`, `pids`. The
    /// averages of `pressure` are up to 10 s old. `limits` are as of then where no write to their files could be seen. Nanoseconds of `CLOCK_BOOTTIME` in the
    /// wire form.
    pub read_at: Monotonic,
}

/// What seldom changes of a control group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupInfo {
    /// The slice of systemd that it is in: see [`Identity::slice`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<Text>,
    /// The unit of the system's systemd: see [`Identity::unit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Text>,
    /// The unit of a user's systemd: see [`Identity::user_unit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_unit: Option<Text>,
    /// The innermost container, with its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The controllers that are enabled for it (`cgroup.controllers`), in the kernel's order.
    pub controllers: Vec<Text>,
}

/// How many processes and threads a control group has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupPids {
    /// Processes and threads (`pids.current`).
    pub current: u64,
    /// The most of them since the group was made (`pids.peak`, since Linux 6.1).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub peak: Reading<u64>,
    /// How often a `fork(2)` failed because of `pids.max`, in the group or, since Linux 6.11, below it (`max` of `pids.events`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub refused_forks: Reading<u64>,
}

/// What the tasks of a control group wait for: pressure stall information, from `cpu.pressure` and others. `Unsupported` where the kernel has
/// it turned off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupPressure {
    /// A CPU.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cpu: Reading<Pressure>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub memory: Reading<Pressure>,
    /// Block I/O.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<Pressure>,
    /// The end of interrupts, since Linux 6.1 and where interrupt time is accounted.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub irq: Reading<Pressure>,
}

impl ControlGroupInfo {
    pub(super) fn new(path: &Text, controllers: Vec<Text>) -> Self {
        let Identity { slice, unit, user_unit, container } = Identity::of(path.as_bytes());
        Self { slice, unit, user_unit, container, controllers }
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| *name == controller)
    }
}

impl ControlGroupSample {
    /// Returns the service that it is, or is part of: its container, else its unit; the same key as
    /// [`Service::of`] yields for the processes in it. `None` where its path names neither.
    #[must_use]
    pub fn service(&self) -> Option<Service> {
        let info = &*self.info;
        if let Some(container) = &info.container {
            return Some(Service::Container(container.clone()));
        }
        info.user_unit.clone().or_else(|| info.unit.clone()).map(Service::Unit)
    }

    /// The number of requested fields that are missing since they could not be reached, read or parsed.
    pub(super) fn missing_fields(&self) -> u64 {
        [
            self.populated.is_missing(),
            self.frozen.is_missing(),
            self.cpu.is_missing(),
            self.memory.is_missing(),
            self.io.is_missing(),
            self.pids.is_missing(),
            self.pressure.is_missing(),
            self.limits.is_missing(),
        ]
        .into_iter()
        .map(u64::from)
        .sum()
    }
}

impl Sample for ControlGroupSample {
    const KIND: &'static str = "control_group";
    type Key = (Text, u64);

    fn key(&self) -> (Text, u64) {
        (self.path.clone(), self.id)
    }

    /// Whether it became populated or empty, was frozen or thawed.
    fn is_changed(&self, earlier: &Self) -> bool {
        (self.populated, self.frozen) != (earlier.populated, earlier.frozen)
    }
}
