//! `/proc/PID/schedstat`: the scheduler's times of the main thread.

use serde::{Deserialize, Serialize};

use crate::number::row;
use crate::{Error, Result};

/// `/proc/PID/schedstat`, of the main thread only, also after that has exited while others live.
///
/// A kernel that does not keep these figures (`CONFIG_SCHED_INFO`) writes three zeros; a sample and
/// [`Process::schedstat`](crate::process::Process::schedstat) have none then. A directory that only looks like a /proc may lack some: those
/// are `None`.
///
/// ```
/// use appmon::process::Schedstat;
///
/// assert_eq!(Schedstat::parse(b"681213 250 1\n").unwrap().wait_ns, Some(250));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Schedstat {
    /// Time on a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ns: Option<u64>,
    /// Time ready to run, waiting for a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ns: Option<u64>,
    /// How many times it was put on a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeslices: Option<u64>,
}

impl Schedstat {
    /// Parses the line. A value that is missing or not a number is `None`.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), when there is no number at all.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let [run_ns, wait_ns, timeslices] = row(line);
        let schedstat = Self { run_ns, wait_ns, timeslices };
        if schedstat == Self::default() { Err(Error::malformed("schedstat: no number")) } else { Ok(schedstat) }
    }

    /// Whether these are the zeros of a kernel that keeps no such figures, or of a process that never ran.
    pub(crate) fn is_zero(&self) -> bool {
        *self == Self { run_ns: Some(0), wait_ns: Some(0), timeslices: Some(0) }
    }
}
