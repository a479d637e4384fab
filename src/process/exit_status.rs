//! How a process ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Reading;

/// How a process ended, as `wait(2)` has it.
///
/// It is the status of the process and not of its main thread: that of `exit_group(2)`, of the signal that killed it, or else of its
/// last thread. In the wire form it is `{"code": 7}` or `{"signal": {"number": 6, "core_dumped": true}}`.
///
/// [`Display`](fmt::Display) is for people:
///
/// ```
/// use appmon::process::ExitStatus;
///
/// assert_eq!(ExitStatus::Code(7).to_string(), "exit code 7");
/// assert_eq!(ExitStatus::Signal { number: 9, core_dumped: false }.to_string(), "signal 9");
/// assert_eq!(ExitStatus::Signal { number: 6, core_dumped: true }.to_string(), "signal 6, core dumped");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ExitStatus {
    /// It ended by itself with this code, from 0 to 255.
    Code(u8),
    /// A signal killed it.
    Signal {
        /// The number of the signal.
        number: u8,
        /// Whether the kernel dumped its memory to a file or piped it to a program (`kernel.core_pattern`). It is set only if a core was
        /// dumped, so not where `ulimit -c` is 0.
        core_dumped: bool,
    },
}

impl ExitStatus {
    /// Decodes a wait status: the `exit_code` of `/proc/PID/stat` and of the process connector.
    ///
    /// ```
    /// use appmon::process::ExitStatus;
    ///
    /// assert_eq!(ExitStatus::from_wait(0x0700), ExitStatus::Code(7));
    /// assert_eq!(ExitStatus::from_wait(0x86), ExitStatus::Signal { number: 6, core_dumped: true });
    /// ```
    #[must_use]
    pub fn from_wait(status: u32) -> Self {
        let [low, code, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => Self::Code(code),
            number => Self::Signal { number, core_dumped: low & 0x80 != 0 },
        }
    }

    /// The status of a process that ended and was not waited for yet, by the fields of its line in `/proc/PID/stat`.
    pub(crate) fn of_zombie(exit_code: Option<i32>, wchan: Option<u64>) -> Reading<Self> {
        let Some(code) = exit_code else { return Reading::Unsupported };
        // To those who may not trace it the kernel shows 0 for the code, and that it waits for nothing.
        let is_shown = code != 0 || wchan.is_some_and(|wchan| wchan != 0);
        if is_shown { Reading::Value(Self::from_wait(code.cast_unsigned())) } else { Reading::Denied }
    }

    /// Returns whether it ended by itself with code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => f.pad(&format!("exit code {code}")),
            Self::Signal { number, core_dumped: false } => f.pad(&format!("signal {number}")),
            Self::Signal { number, core_dumped: true } => f.pad(&format!("signal {number}, core dumped")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_not_shown_is_denied() {
        let code = |code| Reading::Value(ExitStatus::Code(code));
        assert_eq!(ExitStatus::of_zombie(Some(0x700), Some(0)), code(7));
        assert_eq!(ExitStatus::of_zombie(Some(0), Some(1)), code(0));
        assert_eq!(ExitStatus::of_zombie(Some(0), Some(0)), Reading::Denied);
        assert_eq!(ExitStatus::of_zombie(None, None), Reading::Unsupported);
    }

    #[test]
    fn the_status_of_wait() {
        assert_eq!(ExitStatus::from_wait(0), ExitStatus::Code(0));
        assert_eq!(ExitStatus::from_wait(0x700), ExitStatus::Code(7));
        assert_eq!(ExitStatus::from_wait(0xff00), ExitStatus::Code(255));
        assert_eq!(ExitStatus::from_wait(9), ExitStatus::Signal { number: 9, core_dumped: false });
        assert_eq!(ExitStatus::from_wait(0x8b), ExitStatus::Signal { number: 11, core_dumped: true });
        assert!(ExitStatus::Code(0).is_success() && !ExitStatus::Code(1).is_success());
    }
}
