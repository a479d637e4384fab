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
            cpu_time_seconds: limit(limits.max_cpu_time),
            file_size_bytes: limit(limits.max_file_size),
            data_size_bytes: limit(limits.max_data_size),
            stack_size_bytes: limit(limits.max_stack_size),
            core_file_size_bytes: limit(limits.max_core_file_size),
            resident_set_bytes: limit(limits.max_resident_set),
            processes: limit(limits.max_processes),
            open_files: limit(limits.max_open_files),
            locked_memory_bytes: limit(limits.max_locked_memory),
            address_space_bytes: limit(limits.max_address_space),
            file_locks: limit(limits.max_file_locks),
            pending_signals: limit(limits.max_pending_signals),
            msgqueue_size_bytes: limit(limits.max_msgqueue_size),
            nice_priority: limit(limits.max_nice_priority),
            realtime_priority: limit(limits.max_realtime_priority),
            realtime_timeout_us: limit(limits.max_realtime_timeout),
        })
    }
}

fn limit(limit: procfs::process::Limit) -> Limit {
    let value = |limit| match limit {
        LimitValue::Unlimited => None,
        LimitValue::Value(value) => Some(value),
    };
    Limit { soft: value(limit.soft_limit), hard: value(limit.hard_limit) }
}

/// Whether procfs can take the line: it counts back from the last word of it, and panics on one that has too few.
fn is_limit(line: &[u8]) -> bool {
    line.starts_with(b"Max ") && line.is_ascii() && words(line).count() >= 4
}
