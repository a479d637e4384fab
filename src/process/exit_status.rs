//! How a process ended.

use serde::{Deserialize, Serialize};

/// How a process ended, as `wait(2)` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ExitStatus {
    /// It called `exit(3)`, or returned from `main`.
    Exited {
        /// Its exit code, from 0 to 255.
        code: u8,
    },
    /// A signal ended it.
    Signaled {
        /// The number of the signal.
        signal: u8,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
}

impl ExitStatus {
    /// The meaning of a wait status: the `exit_code` of `/proc/PID/stat` and of the process connector.
    ///
    /// ```
    /// use appmon::process::ExitStatus;
    ///
    /// assert_eq!(ExitStatus::from_wait_status(0x0700), ExitStatus::Exited { code: 7 });
    /// assert_eq!(ExitStatus::from_wait_status(0x86), ExitStatus::Signaled { signal: 6, core_dumped: true });
    /// ```
    #[must_use]
    pub fn from_wait_status(status: u32) -> Self {
        let [low, code, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => Self::Exited { code },
            signal => Self::Signaled { signal, core_dumped: low & 0x80 != 0 },
        }
    }
}
