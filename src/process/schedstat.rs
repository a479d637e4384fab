//! `/proc/PID/schedstat`: what the scheduler did for the main thread.

use serde::{Deserialize, Serialize};

use crate::number::Columns;
use crate::{Error, Result};

/// `/proc/PID/schedstat`, of the main thread only, also after that has exited while others live; all 0 where the kernel does
/// not keep these figures.
///
/// ```
/// use appmon::process::Schedstat;
///
/// assert_eq!(Schedstat::parse(b"681213 250 1\n").unwrap().wait_ns, 250);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Schedstat {
    /// Time on a CPU.
    pub run_ns: u64,
    /// Time ready to run, waiting for a CPU.
    pub wait_ns: u64,
    /// How many times it was put on a CPU.
    pub timeslices: u64,
}

impl Schedstat {
    /// Reads the line.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with a text that names the first field that is missing or not a number.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let mut columns = Columns::new(line);
        let mut next = |name| columns.unsigned().ok_or_else(|| missing(name));
        Ok(Self { run_ns: next("run time")?, wait_ns: next("wait time")?, timeslices: next("timeslices")? })
    }
}

#[cold]
fn missing(what: &str) -> Error {
    Error::malformed(format!("schedstat: no valid {what}"))
}
