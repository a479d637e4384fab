//! `/proc/PID/limits`: what a process may use at most.

use procfs::FromRead;
use procfs::process::LimitValue;
use serde::{Deserialize, Serialize};

use crate::number::words;
use crate::{Error, Result};

/// `/proc/PID/limits`: the resource limits of getrlimit(2).
///
/// ```
/// # let file = std::fs::read("/proc/self/limits").unwrap();
/// use appmon::process::Limits;
///
/// let limits = Limits::parse(&file).unwrap();
/// assert!(limits.open_files.soft > Some(0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// CPU time (`RLIMIT_CPU`).
    pub cpu_time_seconds: Limit,
    /// The size of a file it writes (`RLIMIT_FSIZE`).
    pub file_size_bytes: Limit,
    /// The data segment (`RLIMIT_DATA`).
    pub data_size_bytes: Limit,
    /// The stack of the main thread (`RLIMIT_STACK`).
    pub stack_size_bytes: Limit,
    /// A core file (`RLIMIT_CORE`).
    pub core_file_size_bytes: Limit,
    /// The resident set (`RLIMIT_RSS`); the kernel does not enforce it.
    pub resident_set_bytes: Limit,
    /// Processes and threads of the same real user (`RLIMIT_NPROC`).
    pub processes: Limit,
    /// One more than the highest file descriptor (`RLIMIT_NOFILE`).
    pub open_files: Limit,
    /// Memory locked in RAM (`RLIMIT_MEMLOCK`).
    pub locked_memory_bytes: Limit,
    /// Address space (`RLIMIT_AS`).
    pub address_space_bytes: Limit,
    /// File locks (`RLIMIT_LOCKS`); not enforced since Linux 2.4.25.
    pub file_locks: Limit,
    /// Queued signals of the same real user (`RLIMIT_SIGPENDING`).
    pub pending_signals: Limit,
    /// POSIX message queues of the same real user (`RLIMIT_MSGQUEUE`).
    pub msgqueue_size_bytes: Limit,
    /// How far `nice` can be lowered: to 20 minus this (`RLIMIT_NICE`).
    pub nice_priority: Limit,
    /// The real-time priority it can take (`RLIMIT_RTPRIO`).
    pub realtime_priority: Limit,
    /// CPU time under a real-time policy without a blocking system call (`RLIMIT_RTTIME`), microseconds.
    pub realtime_timeout_us: Limit,
}

/// One limit, in its own unit. `None`, `null` in the wire form, is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limit {
    /// What is enforced.
    pub soft: Option<u64>,
    /// How far the process itself may raise the soft limit.
    pub hard: Option<u64>,
}

impl Limits {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), when one of the limits is missing or not a number.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').filter(|line| is_limit(line)).collect();
        let limits = procfs::process::Limits::from_read(lines.join(&b'\n').as_slice())
            .map_err(|error| Error::malformed(format!("limits: {error}")))?;
        Ok(Self {
            cpu_time_seconds: limits.max_cpu_time.into(),
            file_size_bytes: limits.max_file_size.into(),
            data_size_bytes: limits.max_data_size.into(),
            stack_size_bytes: limits.max_stack_size.into(),
            core_file_size_bytes: limits.max_core_file_size.into(),
            resident_set_bytes: limits.max_resident_set.into(),
            processes: limits.max_processes.into(),
            open_files: limits.max_open_files.into(),
            locked_memory_bytes: limits.max_locked_memory.into(),
            address_space_bytes: limits.max_address_space.into(),
            file_locks: limits.max_file_locks.into(),
            pending_signals: limits.max_pending_signals.into(),
            msgqueue_size_bytes: limits.max_msgqueue_size.into(),
            nice_priority: limits.max_nice_priority.into(),
            realtime_priority: limits.max_realtime_priority.into(),
            realtime_timeout_us: limits.max_realtime_timeout.into(),
        })
    }
}

impl From<procfs::process::Limit> for Limit {
    fn from(limit: procfs::process::Limit) -> Self {
        let value = |limit| match limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(value) => Some(value),
        };
        Self { soft: value(limit.soft_limit), hard: value(limit.hard_limit) }
    }
}

/// Whether procfs can take the line: it counts back from the last word of it, and panics on one that has too few.
fn is_limit(line: &[u8]) -> bool {
    line.starts_with(b"Max ") && line.is_ascii() && words(line).count() >= 4
}
