//! Which process: a pid, and when it started.

use serde::{Deserialize, Serialize};

/// A process, never confused with a later one of the same pid.
///
/// Together with the snapshot's `boot_id` it is unique across reboots. Both parts are integers of the kernel and
/// monotonic: no step of the wall clock changes them.
///
/// Two processes that had one pid after the other and started within the same clock tick (10 ms almost everywhere) have
/// the same identity, and cannot be told apart. For that the pids would have to go round within a tick, as only a very small
/// `kernel.pid_max`, or a pid chosen by `clone3(2)`, allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessId {
    /// The process id (thread group id), as the reader's pid namespace numbers it.
    pub pid: u32,
    /// When it started, in clock ticks (`sysconf(_SC_CLK_TCK)`) after the start of the machine: field 22 of
    /// `/proc/PID/stat`.
    pub start_ticks: u64,
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.pid, self.start_ticks)
    }
}
