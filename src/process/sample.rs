//! The sample of one process at one tick.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Environ, Io, Limits, Namespaces, Oom, ProcessId, ProcessState, Schedstat, SmapsRollup, Stat, Statm, Status,
};
use crate::cgroup::Container;
use crate::{Monotonic, Reading, Text, WirePath};

/// One process at one tick. It derefs to the [`ProcessData`].
///
/// Counters are totals since the process started, as the kernel has them; [`rates`](crate::SnapshotStreamExt::rates) makes rates of them. A
/// field that [`Fields`](crate::Fields) does not request is [`Reading::NotRequested`] and not in the wire form.
///
/// All that was read of a process is shared between its samples until it is read again, so a clone costs as much as that of an `Arc`. A
/// field that is changed by [`DerefMut`] is changed in this sample alone: what it shares is copied then.
///
/// In the wire form it is flat: `at` is beside the other fields.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ProcessSample {
    /// As it was last read.
    pub(crate) data: Arc<ProcessData>,
    /// When `cpu`, `faults`, `io` and `threads` were known to have these values: now for a process that did not run since they were read.
    /// Its activity since it last came onto a CPU may be missing, if that was less than a scheduler's tick ago (1 to 10 ms): the kernel
    /// accounts a process when it leaves its CPU and at such ticks. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
    pub at: Monotonic,
}

/// All that was read of a process: the fields of a [`ProcessSample`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ProcessSample"))]
pub struct ProcessData {
    /// Which process.
    pub id: ProcessId,
    /// The data that seldom changes; shared between the samples of a process.
    pub info: Arc<ProcessInfo>,
    /// The parent's pid; 0 for the first process and for one whose parent is outside the pid namespace.
    pub ppid: u32,
    /// Running, sleeping, stopped … as of `read_at`. One that is stopped, frozen or let go while it does not run is
    /// noticed when it is read again, within [`max_age`](crate::Processes::max_age).
    ///
    /// It is the state of the main thread. A zombie with more than one thread is a process whose main thread has exited
    /// while others live: all else that is here is then that of the process as they have it (its memory, its open files, its
    /// executable and working directory, its user, its control group), but for `nice` and `schedstat`, which stay as they
    /// were.
    pub state: ProcessState,
    /// How many threads it has, its main one included after that has exited.
    pub threads: u32,
    /// The nice value, from -20 (favoured) to 19.
    pub nice: i32,
    /// CPU time used.
    pub cpu: Cpu,
    /// Memory held.
    pub memory: Memory,
    /// Page faults.
    pub faults: Faults,
    /// I/O counters, from `/proc/PID/io`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<Io>,
    /// All of `/proc/PID/stat`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub stat: Reading<Arc<Stat>>,
    /// `/proc/PID/status`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub status: Reading<Arc<Status>>,
    /// `/proc/PID/statm`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub statm: Reading<Arc<Statm>>,
    /// `/proc/PID/schedstat`, of the main thread alone: it no longer changes when that has exited.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub schedstat: Reading<Arc<Schedstat>>,
    /// `/proc/PID/smaps_rollup`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub smaps_rollup: Reading<Arc<SmapsRollup>>,
    /// `/proc/PID/limits`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub limits: Reading<Arc<Limits>>,
    /// Open file descriptors: the entries of `/proc/PID/fd`. Of a process that has more than 512 it is read in the slow pool, and as old as
    /// [`slow_cadence`](crate::Processes::slow_cadence) allows.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub fd_count: Reading<u64>,
    /// Namespaces, and the pids inside them.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub namespaces: Reading<Arc<Namespaces>>,
    /// The badness that the out-of-memory killer assigns to it.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub oom: Reading<Oom>,
    /// The environment it was started with. [`Reading::Failed`] where it is too large: see
    /// [`max_text_bytes`](crate::Processes::max_text_bytes).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub environ: Reading<Arc<Environ>>,
    /// When `cpu`, `faults`, `io` and `threads` were known to have these values: now for a process that did not run since they were read.
    /// Its activity since it last came onto a CPU may be missing, if that was less than a scheduler's tick ago (1 to 10 ms): the kernel
    /// accounts a process when it leaves its CPU and at such ticks. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
    pub(crate) at: Monotonic,
    /// When the files were last read. Fields that others can change while the process does not run are as of then: `memory`, `nice`,
    /// `state`, `ppid`; `statm`, `status`, `limits` and `oom`; `fd_count`, since processes can share a table of open files (`CLONE_FILES`);
    /// `schedstat`, since one that waits for a CPU waits longer. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
    pub read_at: Monotonic,
}

impl ProcessSample {
    /// The fields with the time of this sample, as the wire form has them.
    fn flat(&self) -> Cow<'_, ProcessData> {
        if self.data.at == self.at {
            return Cow::Borrowed(&self.data);
        }
        Cow::Owned(ProcessData { at: self.at, ..(*self.data).clone() })
    }
}

/// As it was read, at the time of that.
impl From<ProcessData> for ProcessSample {
    fn from(data: ProcessData) -> Self {
        Self { at: data.at, data: Arc::new(data) }
    }
}

impl Deref for ProcessSample {
    type Target = ProcessData;

    fn deref(&self) -> &ProcessData {
        &self.data
    }
}

impl DerefMut for ProcessSample {
    fn deref_mut(&mut self) -> &mut ProcessData {
        Arc::make_mut(&mut self.data)
    }
}

impl PartialEq for ProcessSample {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && (Arc::ptr_eq(&self.data, &other.data) || self.flat() == other.flat())
    }
}

impl fmt::Debug for ProcessSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.flat(), f)
    }
}

impl Serialize for ProcessSample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.flat().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ProcessSample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ProcessData::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ProcessSample {
    fn schema_name() -> Cow<'static, str> {
        ProcessData::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        ProcessData::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ProcessData::json_schema(generator)
    }
}

impl ProcessData {
    /// The number of requested fields that are missing since they could not be reached, read or parsed.
    pub(crate) fn missing_fields(&self) -> u64 {
        let info = &*self.info;
        [
            info.exe.is_missing(),
            info.cmdline.is_missing(),
            info.cwd.is_missing(),
            info.user.is_missing(),
            info.group.is_missing(),
            info.cgroup.is_missing(),
            self.io.is_missing(),
            self.stat.is_missing(),
            self.status.is_missing(),
            self.statm.is_missing(),
            self.schedstat.is_missing(),
            self.smaps_rollup.is_missing(),
            self.limits.is_missing(),
            self.fd_count.is_missing(),
            self.namespaces.is_missing(),
            self.oom.is_missing(),
            self.environ.is_missing(),
        ]
        .into_iter()
        .map(u64::from)
        .sum()
    }
}

/// The data of a process that seldom changes: with an `execve(2)` or a change of privileges.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessInfo {
    /// The command name (`comm`), at most 15 bytes unless it is a kernel thread's. Processes can set their own.
    pub name: Text,
    /// The executable. Ends in ` (deleted)` when its file was removed or replaced.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub exe: Reading<WirePath>,
    /// The arguments, program first. May hold secrets, so it is there only when requested. [`Reading::Failed`] where it is too large, for
    /// itself or together with those of others: see [`max_text_bytes`](crate::Processes::max_text_bytes).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cmdline: Reading<Vec<Text>>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cwd: Reading<WirePath>,
    /// The effective user id: the owner of `/proc/PID`.
    ///
    /// Of a process that runs all the time it is up to 16 readings old, unless a selection is in use; it is checked again whenever the
    /// process executes a program, has another name, or stops running.
    pub uid: u32,
    /// The effective group id: the group of `/proc/PID`. As old as `uid`.
    pub gid: u32,
    /// The name of the user, by the name service of this process; `NotApplicable` where the id has none.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub user: Reading<Text>,
    /// The name of the group; `NotApplicable` where the id has none.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub group: Reading<Text>,
    /// The path of its control group, in the most specific hierarchy: see
    /// [`CgroupPaths::main_path`](crate::process::CgroupPaths::main_path). Ends in ` (deleted)` where the group was removed after the
    /// process had ended; begins with `/..` where it is outside of the reader's cgroup namespace.
    ///
    /// A process can be moved to another group at any time: this is up to [`max_age`](crate::Processes::max_age) old for one that does not
    /// run, and up to a fifth of that for one that runs. A process that has ended keeps its last known one, where the kernel does not show
    /// that any more (in hierarchies of version 1).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub cgroup: Reading<Text>,
    /// The container that the path of its control group names; `None` where it names none, and where the path is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Whether it is a thread of the kernel, which has no executable and no memory of its own.
    pub kernel_thread: bool,
    /// How many times it was seen to `execve(2)` since the source first saw it: by the addresses of its program and stack in
    /// `/proc/PID/stat`. At least so many: several between two readings count as one.
    ///
    /// An exec leaves no other mark in /proc, so there are three kinds that cannot be known and are not counted. Where the kernel hides
    /// those addresses (the processes of others, without the right to trace them) none can; `name` and `cmdline` follow it in any case.
    /// Where they are not random (`kernel.randomize_va_space` is 0, `setarch --addr-no-randomize`, a debugger) another program has other
    /// ones as a rule, but not the same program at the same path with arguments and an environment of the same length; its `cmdline` and
    /// `environ` are as old as [`slow_cadence`](crate::Processes::slow_cadence) then. And with random ones, one exec in many millions has
    /// the same by chance.
    pub execs: u32,
}

/// CPU time used by all threads of a process, the exited ones too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cpu {
    /// User and system time: the process's CPU clock, in nanoseconds, as far as the kernel has accounted it (see
    /// [`ProcessSample::at`]); where that cannot be read, `user_ns + system_ns`.
    pub total_ns: u64,
    /// In user mode, guests of virtual machines included; in steps of a clock tick (10 ms almost everywhere). The kernel
    /// scales it, so it can lag behind `total_ns`.
    pub user_ns: u64,
    /// In the kernel; in steps of a clock tick.
    pub system_ns: u64,
    /// User time of children that ended and were waited for, and of theirs.
    pub children_user_ns: u64,
    /// System time of children that ended and were waited for, and of theirs.
    pub children_system_ns: u64,
    /// Waited for block I/O. 0 where the kernel does not account delays (`kernel.task_delayacct`, off by default since
    /// Linux 5.14).
    pub block_io_delay_ns: u64,
}

/// Memory of a process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// Resident: pages in memory, shared ones included. Approximate since Linux 6.2, off by up to some pages per CPU;
    /// `smaps_rollup` is exact.
    pub rss_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
}

/// Page faults of all threads of a process, the exited ones too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Faults {
    /// That needed no disk.
    pub minor: u64,
    /// That loaded a page from disk.
    pub major: u64,
}
