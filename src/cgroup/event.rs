//! An event in the life of a control group.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ControlGroupInfo;
use crate::{Monotonic, Sample, Text};

/// One thing that happened to one control group.
///
/// In the wire form it is flat: the fields of its kind are beside the others, and `event` is the name of the kind: `created`, `removed`,
/// `populated`, `emptied`, `frozen`, `thawed`, `oom_killed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupEvent {
    /// The number of the event in its source, from 0: later events have higher numbers, and none is left out.
    pub number: u64,
    /// The path of the group in the unified hierarchy.
    pub path: Text,
    /// The kernel's id of the group, as in [`ControlGroupSample::id`](super::ControlGroupSample::id). `None` of one that was made and removed
    /// before it could be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Whose it is.
    pub info: Arc<ControlGroupInfo>,
    /// When it was found: the kernel reports these events without a time. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
    pub at: Monotonic,
    /// The kind of the event.
    #[serde(flatten)]
    pub kind: ControlGroupEventKind,
}

/// The kind of an event of a control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ControlGroupEventKind {
    /// It was made.
    #[non_exhaustive]
    Created {},
    /// It was removed.
    #[non_exhaustive]
    Removed {},
    /// The first process came into it, or into a group below it.
    #[non_exhaustive]
    Populated {},
    /// The last process in it and below it ended or left.
    #[non_exhaustive]
    Emptied {},
    /// All its processes are frozen.
    #[non_exhaustive]
    Frozen {},
    /// It is no longer frozen.
    #[non_exhaustive]
    Thawed {},
    /// The OOM killer killed processes of it, not of groups below it (of these too where the kernel has no `memory.events.local`, before
    /// Linux 5.3). The processes are those that [`ProcessEvents`](crate::events::ProcessEvents) reports as ended by `SIGKILL` in this
    /// group: see [`ProcessEvent::cgroup`](crate::events::ProcessEvent::cgroup).
    #[non_exhaustive]
    OomKilled {
        /// How many, since the last event of this kind.
        count: u64,
    },
}

impl Sample for ControlGroupEvent {
    const KIND: &'static str = "control_group_event";
    const IS_EVENT: bool = true;
    type Key = u64;

    fn key(&self) -> u64 {
        self.number
    }
}
