//! An event in the life of a process.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::process::{ExitStatus, Io, ProcessId};
use crate::{Monotonic, Reading, Sample, Text};

/// One thing that happened to one process.
///
/// In the wire form it is flat: the fields of its kind are beside the others, and `event` is the name of the kind: `started`, `execed`,
/// `renamed`, `reparented`, `exited`.
///
/// [`Display`](fmt::Display) is one line for people, with the name escaped as [`Text`] is, and `?` for a name that could not be read:
/// the pid, the name, and the kind as [`ProcessEventKind`] shows it.
///
/// ```
/// use appmon::events::ProcessEvent;
///
/// # fn main() -> serde_json::Result<()> {
/// let json = r#"{"number": 0, "id": {"pid": 4711, "start_ticks": 900}, "ppid": 1, "name": "nginx", "at": 9000000000, "event": "started"}"#;
/// let event: ProcessEvent = serde_json::from_str(json)?;
/// assert_eq!(event.to_string(), "4711 nginx started, a child of 1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessEvent {
    /// The number of the event in its source, from 0: later events have higher numbers, and none is left out.
    pub number: u64,
    /// Which process. Where `derived` is true, `start_ticks` is one that is not the kernel's own.
    pub id: ProcessId,
    /// Whether `id.start_ticks` was derived from when the start was announced, because the process was over before it could be read: it can
    /// be a clock tick too late, rarely more. Where the announcement was lost too, it is the time of the first other event of the process.
    /// All events of one life have the same id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// Its parent: of a start the process that started it, of an end the one that it was a child of then, which is the one to
    /// wait for it. 0 for the first process, and where the parent is not in this pid namespace.
    pub ppid: u32,
    /// The command name (`comm`): of a start the one it has from its parent, of an exec and a renaming the new one, of an end the
    /// last one. [`Reading::Failed`] where the process was over before it could be read.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub name: Reading<Text>,
    /// The path of its control group, as in [`ProcessInfo::cgroup`](crate::process::ProcessInfo::cgroup), with
    /// [`Fields::CGROUP`](crate::Fields::CGROUP): the one it was last seen in. [`Reading::Failed`] or
    /// [`Reading::Skipped`] where the process was over before it could be read. It joins these events with those of control groups: who ended by `SIGKILL` in a group that reports
    /// [`OomKilled`](crate::cgroup::ControlGroupEventKind::OomKilled) at the same time was most likely killed by the OOM killer.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cgroup: Reading<Text>,
    /// When it happened: the time of the kernel's announcement; for a start that was found by reading, the clock tick it started in; for
    /// anything else that was found by reading, the time of the reading. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
    pub at: Monotonic,
    /// Whether the selection could not decide about the process, since it was over before the necessary fields could be read; only with
    /// [`ProcessEvents::undecided`](crate::events::ProcessEvents::undecided).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
    /// The kind of the event.
    #[serde(flatten)]
    pub kind: ProcessEventKind,
}

/// The kind of an event of a process.
///
/// [`Display`](fmt::Display) is for people: `started`, `execed`, `renamed`, `reparented from 7`, `exited, exit code 1, 0.250 s of CPU`.
/// The CPU time is rounded to milliseconds, left out where it is not known, and `at least` so much where it is not exact.
///
/// ```
/// use appmon::events::ProcessEventKind;
///
/// # fn main() -> serde_json::Result<()> {
/// let json = r#"{"event": "exited", "status": {"code": 1}, "cpu_ns": 250000000, "usage": "at_least"}"#;
/// let kind: ProcessEventKind = serde_json::from_str(json)?;
/// assert_eq!(kind.to_string(), "exited, exit code 1, at least 0.250 s of CPU");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ProcessEventKind {
    /// It began, by a `fork(2)` or its like.
    #[non_exhaustive]
    Started {},
    /// It replaced its program by an `execve(2)`.
    #[non_exhaustive]
    Execed {},
    /// It has another name, and no other program: `prctl(2)` with `PR_SET_NAME`, or a write to `/proc/PID/comm`. Where an exec
    /// cannot be known (see [`ProcessInfo::execs`](crate::process::ProcessInfo::execs)) and events are found by comparing ticks, it
    /// may have another program.
    #[non_exhaustive]
    Renamed {},
    /// Its parent ended, and it has another one: `ppid` is that one. Found by comparing ticks.
    #[non_exhaustive]
    Reparented {
        /// The parent it had.
        from: u32,
    },
    /// It ended, with all its threads.
    #[non_exhaustive]
    Exited {
        /// How: an exit code or a signal. [`Reading::Denied`] and [`Reading::Failed`] where it was found by reading and the
        /// kernel shows it to those who may trace the process only, or it was gone before it could be read.
        status: Reading<ExitStatus>,
        /// The CPU time it used, in nanoseconds; `usage` is its precision.
        cpu_ns: Reading<u64>,
        /// The most memory it had resident (`VmHWM` of `/proc/PID/status`), in bytes, with [`Fields::STATUS`](crate::Fields::STATUS);
        /// `usage` is its precision.
        #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
        peak_rss_bytes: Reading<u64>,
        /// The I/O it did, with [`Fields::IO`](crate::Fields::IO); `usage` is its precision.
        #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
        io: Reading<Io>,
        /// How precise `cpu_ns`, `peak_rss_bytes` and `io` are.
        usage: UsagePrecision,
        /// When they were read. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage_at: Option<Monotonic>,
    },
}

/// The precision of the usage of a process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum UsagePrecision {
    /// It was read after the end: the process had not been waited for yet.
    Exact,
    /// It was read while the process lived, and it can have used more since.
    AtLeast,
    /// It was over before anything could be read.
    Unknown,
}

impl fmt::Display for ProcessEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.id.pid)?;
        match &self.name {
            Reading::Value(name) => write!(f, "{name} {}", self.kind)?,
            _ => write!(f, "? {}", self.kind)?,
        }
        match &self.kind {
            ProcessEventKind::Started {} => write!(f, ", a child of {}", self.ppid)?,
            ProcessEventKind::Reparented { .. } => write!(f, " to {}", self.ppid)?,
            _ => {}
        }
        if self.undecided { f.write_str(", not known whether selected") } else { Ok(()) }
    }
}

impl fmt::Display for ProcessEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started {} => f.write_str("started"),
            Self::Execed {} => f.write_str("execed"),
            Self::Renamed {} => f.write_str("renamed"),
            Self::Reparented { from } => write!(f, "reparented from {from}"),
            Self::Exited { status, cpu_ns, usage, .. } => {
                match status {
                    Reading::Value(status) => write!(f, "exited, {status}")?,
                    _ => f.write_str("exited, exit code not known")?,
                }
                let at_least = match usage {
                    UsagePrecision::Exact => "",
                    UsagePrecision::AtLeast => "at least ",
                    UsagePrecision::Unknown => return Ok(()),
                };
                match cpu_ns {
                    Reading::Value(nanos) => {
                        let cpu = std::time::Duration::from_nanos(*nanos);
                        write!(f, ", {at_least}{:.3} s of CPU", cpu.as_secs_f64())
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl Sample for ProcessEvent {
    const KIND: &'static str = "process_event";
    const IS_EVENT: bool = true;
    type Key = u64;

    fn key(&self) -> u64 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: Reading<Text>, kind: ProcessEventKind) -> ProcessEvent {
        ProcessEvent {
            number: 0,
            id: ProcessId { pid: 4711, start_ticks: 900 },
            derived: false,
            ppid: 1,
            name,
            cgroup: Reading::NotRequested,
            at: Monotonic::default(),
            undecided: false,
            kind,
        }
    }

    #[test]
    fn one_line_for_people() {
        let name = || Reading::Value(Text::from("a\u{1b}[2J\nb"));
        let exited = |status, cpu_ns, usage| ProcessEventKind::Exited {
            status,
            cpu_ns,
            peak_rss_bytes: Reading::NotRequested,
            io: Reading::NotRequested,
            usage,
            usage_at: None,
        };
        let killed = Reading::Value(ExitStatus::Signal { number: 6, core_dumped: true });
        for (event, line) in [
            (event(name(), ProcessEventKind::Started {}), r"4711 a\u{1b}[2J\nb started, a child of 1"),
            (event(name(), ProcessEventKind::Execed {}), r"4711 a\u{1b}[2J\nb execed"),
            (event(name(), ProcessEventKind::Renamed {}), r"4711 a\u{1b}[2J\nb renamed"),
            (event(Reading::Failed, ProcessEventKind::Reparented { from: 7 }), "4711 ? reparented from 7 to 1"),
            (
                event(Reading::Failed, exited(killed, Reading::Value(1_250_400_000), UsagePrecision::Exact)),
                "4711 ? exited, signal 6, core dumped, 1.250 s of CPU",
            ),
            (
                event(Reading::Failed, exited(Reading::Denied, Reading::Value(0), UsagePrecision::AtLeast)),
                "4711 ? exited, exit code not known, at least 0.000 s of CPU",
            ),
            (
                event(Reading::Failed, exited(Reading::Failed, Reading::Failed, UsagePrecision::Unknown)),
                "4711 ? exited, exit code not known",
            ),
        ] {
            assert_eq!(event.to_string(), line);
        }
        let undecided = ProcessEvent { undecided: true, ..event(Reading::Failed, ProcessEventKind::Execed {}) };
        assert_eq!(undecided.to_string(), "4711 ? execed, not known whether selected");
    }
}
