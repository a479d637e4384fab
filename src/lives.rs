//! What lived and ended between two snapshots, as far as it left a trace.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::process::{ExitStatus, Io, ProcessId};
use crate::{Reading, Text};

/// What lived and ended since the snapshot before, as far as the kernel kept an account of it.
///
/// It is what nobody can read afterwards, so that totals of groups come out the same from a recording, and on the other side of a
/// broker, as from the live stream. All counters are totals of the kernel and no differences: a snapshot that is lost loses
/// precision, and no CPU time.
///
/// Whoever waits for a child gets all of its CPU time, page faults and I/O, to the last: also of one that no snapshot has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lives {
    /// How many processes that are there, or were seen, began since the snapshot before.
    pub births: u64,
    /// How many processes are known to have ended since the snapshot before.
    pub deaths: u64,
    /// How many processes and threads began on the machine since the snapshot before, seen or not: by how much `processes` of `/proc/stat`
    /// grew. `None` in a source's first snapshot, and where `/proc` is not that of the first pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clones: Option<u64>,
    /// How many births and deaths were not received, where the kernel counts that.
    pub lost: u64,
    /// The processes that waited for a child since the snapshot before, in the order of their ids; in a source's first snapshot all that
    /// ever did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reapers: Vec<Reaper>,
    /// The processes that were in the source's set and ended since the snapshot before, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exits: Vec<Exit>,
    /// The control groups that used CPU time since the snapshot before, of the processes that ran, waited for a child or ended, in the
    /// order of their paths; in a source's first snapshot all. What lives that no snapshot has used in a group in which all others stood
    /// still comes with what those use next; what a group used until its last process left, up to 16 snapshots later.
    ///
    /// They are of the unified hierarchy (cgroup v2), where that is mounted for the reader: without its root, which has what the whole
    /// machine used, and without those that are in a hierarchy of version 1. None at all where a selection leaves processes out,
    /// others' processes are hidden, or `/proc` is of another pid namespace than the reader's: what those used that are not there could
    /// not be distinguished from what the rest did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_groups: Vec<ControlGroupUsage>,
}

/// A process that waited for children: what it got from them since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reaper {
    /// Which process.
    pub id: ProcessId,
    /// User time of the children, and of theirs: `cutime` of `/proc/PID/stat`, in steps of a clock tick.
    pub user_ns: u64,
    /// System time of the children, and of theirs: `cstime`, in steps of a clock tick.
    pub system_ns: u64,
    /// Minor page faults of the children, and of theirs: `cminflt`.
    pub minor_faults: u64,
    /// Major page faults of the children, and of theirs: `cmajflt`.
    pub major_faults: u64,
    /// Its own I/O counters, in which the kernel has those of the children: `/proc/PID/io`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<Io>,
}

/// A process that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exit {
    /// Which process.
    pub id: ProcessId,
    /// The process that waited for it, in whose counters it is as of this snapshot; `None` where that is not known: nobody
    /// had to wait for it, or somebody did who cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaper: Option<ProcessId>,
    /// How it ended, if a tick saw it between its end and when it was waited for: `exit_code` of `/proc/PID/stat`. [`Reading::Denied`] where
    /// the kernel does not show it to this reader, [`Reading::Failed`] where it was waited for before any tick saw it ended, as by most
    /// parents at once.
    ///
    /// [`ProcessEvents`](crate::events::ProcessEvents) has the status of all, by announcements that wake a thread whenever a process on
    /// the machine starts or ends; so it is a source of its own. The [`id`](crate::events::ProcessEvent::id) of an event is the one
    /// here, unless the event's is [`derived`](crate::events::ProcessEvent::derived).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub status: Reading<ExitStatus>,
}

/// What all processes of a control group have used, those that ended included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupUsage {
    /// Its path, as in [`ProcessInfo::cgroup`](crate::process::ProcessInfo::cgroup).
    pub path: Text,
    /// CPU time of all that are and were in it, and in those below it: `usage_usec` of `cpu.stat`, in microseconds.
    pub usage_usec: u64,
    /// What of that no process and nobody's children had, since grouping began: of children that nobody waited for, and of
    /// those whose reaper cannot be seen. `None` before a stream is grouped, and where other control groups are below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unattributed_ns: Option<u64>,
}

#[cfg(feature = "forward")]
impl Lives {
    /// Takes half of it off, where it is more than one thing; the counts stay.
    pub(crate) fn split(&mut self) -> Option<Self> {
        fn half<T>(list: &mut Vec<T>) -> Vec<T> {
            list.split_off(list.len().div_ceil(2))
        }
        let rest = Self {
            reapers: half(&mut self.reapers),
            exits: half(&mut self.exits),
            control_groups: half(&mut self.control_groups),
            ..Self::default()
        };
        (rest != Self::default()).then_some(rest)
    }

    /// Puts a part of it back, which was behind this one.
    #[cfg(feature = "_receive")]
    pub(crate) fn append(&mut self, mut more: Self) {
        self.births = self.births.saturating_add(more.births);
        self.deaths = self.deaths.saturating_add(more.deaths);
        self.lost = self.lost.saturating_add(more.lost);
        self.clones = match (self.clones, more.clones) {
            (Some(clones), Some(more)) => Some(clones.saturating_add(more)),
            (clones, more) => clones.or(more),
        };
        self.reapers.append(&mut more.reapers);
        self.exits.append(&mut more.exits);
        self.control_groups.append(&mut more.control_groups);
    }
}

impl Lives {
    /// Returns how many processes and threads began since the snapshot before and were not seen, at most: [`clones`](Self::clones) less
    /// [`births`](Self::births). New threads of processes that are there are among them; `None` where the clones are not known.
    #[must_use]
    pub fn unseen(&self) -> Option<u64> {
        self.clones.map(|clones| clones.saturating_sub(self.births))
    }

    /// Takes the control groups out of which processes are left out before they are grouped: what these used could not be distinguished from what
    /// the rest did.
    pub(crate) fn leave_out(lives: &mut Option<Arc<Self>>, is_left_out: impl Fn(&[u8]) -> bool) {
        if let Some(lives) = lives
            && lives.control_groups.iter().all(|group| group.unattributed_ns.is_none())
            && lives.control_groups.iter().any(|group| is_left_out(group.path.as_bytes()))
        {
            Arc::make_mut(lives).control_groups.retain(|group| !is_left_out(group.path.as_bytes()));
        }
    }
}

impl Reaper {
    /// A process whose children used nothing so far.
    #[must_use]
    pub fn new(id: ProcessId) -> Self {
        Self { id, ..Self::default() }
    }
}

impl Exit {
    /// A process that ended, and nothing more is known.
    #[must_use]
    pub fn new(id: ProcessId) -> Self {
        Self { id, ..Self::default() }
    }
}

impl ControlGroupUsage {
    /// The usage of a control group.
    #[must_use]
    pub fn new(path: impl Into<Text>, usage_usec: u64) -> Self {
        Self { path: path.into(), usage_usec, unattributed_ns: None }
    }
}
