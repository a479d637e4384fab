//! Which process: a pid, and when it started.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::number::decimal;
use crate::time::{clock_ticks_per_second, ticks_to_nanos};
use crate::{Error, Result};

/// A process, never confused with a later one of the same pid.
///
/// Together with the snapshot's `boot_id` it is unique across reboots. Both parts are integers of the kernel and
/// monotonic: no step of the wall clock changes them.
///
/// Two processes that had one pid after the other and started within the same clock tick (10 ms almost everywhere) have the same identity,
/// and cannot be distinguished. For that the pids would have to wrap round within a tick, as only a very small `kernel.pid_max`, or a pid
/// chosen by `clone3(2)`, allows.
///
/// ```
/// use appmon::process::ProcessId;
///
/// let id = ProcessId { pid: 4711, start_ticks: 104_716 };
/// assert_eq!(id.to_string(), "4711@104716");
/// assert_eq!("4711@104716".parse::<ProcessId>()?, id);
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessId {
    /// The process id (thread group id), as the reader's pid namespace numbers it.
    pub pid: u32,
    /// When it started, in clock ticks (`sysconf(_SC_CLK_TCK)`) after the start of the machine: field 22 of `/proc/PID/stat`, as the kernel
    /// writes it. In a time namespace it counts from the zero of that namespace; an earlier start wraps round to a very large number.
    pub start_ticks: u64,
}

impl ProcessId {
    /// When it started, in nanoseconds of `CLOCK_BOOTTIME`; negative before the zero of the time namespace.
    pub(crate) fn start_ns(self, ticks_per_second: u64) -> i64 {
        match ticks_to_nanos(self.start_ticks, ticks_per_second) {
            // Later than any kernel writes.
            u64::MAX => i64::MAX,
            // The kernel takes a negative number of nanoseconds for an unsigned one, and divides that into ticks.
            nanos => nanos.cast_signed(),
        }
    }

    /// Returns whether it can be the parent of `child`: a process that started later has the pid of a parent that ended.
    pub(crate) fn may_be_parent_of(self, child: Self) -> bool {
        let ticks_per_second = clock_ticks_per_second();
        self.pid != child.pid && self.start_ns(ticks_per_second) <= child.start_ns(ticks_per_second)
    }
}

/// `PID@START_TICKS`.
impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.start_ticks)
    }
}

/// As [`Display`](fmt::Display) shows it.
impl FromStr for ProcessId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('@').and_then(|(pid, start_ticks)| {
            Some(Self { pid: decimal(pid.as_bytes())?, start_ticks: decimal(start_ticks.as_bytes())? })
        });
        parts.ok_or_else(|| Error::config(format!("not a process id: {text:?}; it is written PID@START_TICKS")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_before_the_zero_is_negative() {
        let id = |pid, start_ticks| ProcessId { pid, start_ticks };
        assert_eq!(id(1, 1_000).start_ns(100), 10_000_000_000);
        // 2^64 ns less 1,106.75 s, in ticks of 10 ms.
        let before = id(1, 1_844_674_296_695);
        let ago = -before.start_ns(100);
        assert!((1_106_760_000_000 - ago).abs() < 10_000_000, "{ago}");
        assert!(before.may_be_parent_of(id(2, 0)) && before.may_be_parent_of(id(2, before.start_ticks + 1)));
        assert!(!before.may_be_parent_of(id(2, before.start_ticks - 1)) && !id(2, 0).may_be_parent_of(before));
        assert!(!id(1, 7).may_be_parent_of(id(1, 8)), "itself");
        assert_eq!(id(1, u64::MAX).start_ns(100), i64::MAX, "a value that no kernel writes");
    }

    #[test]
    fn text_both_ways() {
        for id in [ProcessId::default(), ProcessId { pid: u32::MAX, start_ticks: u64::MAX }] {
            assert_eq!(id.to_string().parse::<ProcessId>().unwrap(), id);
        }
        for text in ["", "1", "1@", "@1", "1@-1", "4294967296@1", "1@2@3", " 1@2", "+1@2"] {
            let error = text.parse::<ProcessId>().unwrap_err();
            assert!(error.is_config(), "{text}");
            assert_eq!(error.to_string(), format!("not a process id: {text:?}; it is written PID@START_TICKS"));
        }
    }
}
