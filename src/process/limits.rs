//! `/proc/PID/limits`: the resource limits of a process.

use serde::{Deserialize, Serialize};

use crate::number::{decimal, lines, words};
use crate::{Error, Result};

/// `/proc/PID/limits`: the resource limits of getrlimit(2).
///
/// Linux has had all of them since 2.6.25. A directory that only looks like a /proc may lack some: those are `None`, which does not mean
/// that there is no such limit. One that is there and unlimited is a [`Limit`] of `None`.
///
/// ```
/// # let file = std::fs::read("/proc/self/limits").unwrap();
/// use appmon::process::Limits;
///
/// let limits = Limits::parse(&file).unwrap();
/// assert!(limits.open_files.unwrap().soft > Some(0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// CPU time (`RLIMIT_CPU`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_time_seconds: Option<Limit>,
    /// The size of a file it writes (`RLIMIT_FSIZE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size_bytes: Option<Limit>,
    /// The data segment (`RLIMIT_DATA`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_size_bytes: Option<Limit>,
    /// The stack of the main thread (`RLIMIT_STACK`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_size_bytes: Option<Limit>,
    /// A core file (`RLIMIT_CORE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_file_size_bytes: Option<Limit>,
    /// The resident set (`RLIMIT_RSS`); the kernel does not enforce it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_set_bytes: Option<Limit>,
    /// Processes and threads of the same real user (`RLIMIT_NPROC`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Limit>,
    /// One more than the highest file descriptor (`RLIMIT_NOFILE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<Limit>,
    /// Memory locked in RAM (`RLIMIT_MEMLOCK`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_memory_bytes: Option<Limit>,
    /// Address space (`RLIMIT_AS`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_space_bytes: Option<Limit>,
    /// File locks (`RLIMIT_LOCKS`); not enforced since Linux 2.4.25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_locks: Option<Limit>,
    /// Queued signals of the same real user (`RLIMIT_SIGPENDING`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_signals: Option<Limit>,
    /// POSIX message queues of the same real user (`RLIMIT_MSGQUEUE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msgqueue_size_bytes: Option<Limit>,
    /// How far `nice` can be lowered: to 20 minus this (`RLIMIT_NICE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice_priority: Option<Limit>,
    /// The real-time priority it can take (`RLIMIT_RTPRIO`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realtime_priority: Option<Limit>,
    /// CPU time under a real-time policy without a blocking system call (`RLIMIT_RTTIME`), microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realtime_timeout_us: Option<Limit>,
}

/// One limit, in its own unit. `None`, `null` in the wire form, is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limit {
    /// The limit that is enforced.
    pub soft: Option<u64>,
    /// How far the process itself may raise the soft limit.
    pub hard: Option<u64>,
}

impl Limits {
    /// Parses the file: its lines in any order, among others. A value that is missing or cannot be parsed is `None`.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), when none of the limits is there.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut limits = Self::default();
        for line in lines(file) {
            let mut fields: [(&[u8], &mut Option<Limit>); 16] = [
                (b"Max cpu time ", &mut limits.cpu_time_seconds),
                (b"Max file size ", &mut limits.file_size_bytes),
                (b"Max data size ", &mut limits.data_size_bytes),
                (b"Max stack size ", &mut limits.stack_size_bytes),
                (b"Max core file size ", &mut limits.core_file_size_bytes),
                (b"Max resident set ", &mut limits.resident_set_bytes),
                (b"Max processes ", &mut limits.processes),
                (b"Max open files ", &mut limits.open_files),
                (b"Max locked memory ", &mut limits.locked_memory_bytes),
                (b"Max address space ", &mut limits.address_space_bytes),
                (b"Max file locks ", &mut limits.file_locks),
                (b"Max pending signals ", &mut limits.pending_signals),
                (b"Max msgqueue size ", &mut limits.msgqueue_size_bytes),
                (b"Max nice priority ", &mut limits.nice_priority),
                (b"Max realtime priority ", &mut limits.realtime_priority),
                (b"Max realtime timeout ", &mut limits.realtime_timeout_us),
            ];
            let named = fields.iter_mut().find_map(|(name, limit)| Some((limit, line.strip_prefix(*name)?)));
            if let Some((limit, values)) = named {
                **limit = Limit::parse(values);
            }
        }
        if limits == Self::default() { Err(Error::malformed("limits: no known limit")) } else { Ok(limits) }
    }
}

impl Limit {
    /// Reads the soft and the hard limit; the unit may follow.
    fn parse(values: &[u8]) -> Option<Self> {
        let value = |word: &[u8]| if word == b"unlimited" { Some(None) } else { decimal(word).map(Some) };
        let mut words = words(values);
        Some(Self { soft: value(words.next()?)?, hard: value(words.next()?)? })
    }
}
