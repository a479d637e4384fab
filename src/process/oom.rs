//! `/proc/PID/oom_score` and `oom_score_adj`: which process is killed first when memory is out.

use serde::{Deserialize, Serialize};

use crate::number::signed;
use crate::{Error, Result};

/// How likely the out-of-memory killer is to choose a process.
///
/// ```
/// use appmon::process::Oom;
///
/// let oom = Oom::parse(b"668\n", b"-17\n").unwrap();
/// assert_eq!((oom.score, oom.score_adj), (668, -17));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Oom {
    /// The badness: the process of the highest is chosen. It grows with the memory used, and is about 667 for a process that
    /// uses next to none since Linux 5.9, 0 before. From `/proc/PID/oom_score`.
    pub score: u32,
    /// The adjustment added to it, from -1000 (never kill) to 1000, and inherited by children. From `/proc/PID/oom_score_adj`.
    pub score_adj: i32,
}

impl Oom {
    /// Reads the two files.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with a text that names the file that is not a number.
    pub fn parse(score: &[u8], score_adj: &[u8]) -> Result<Self> {
        Ok(Self {
            // Some kernels let it go below 0 for a process that must not be killed.
            score: signed::<i64>(score)
                .and_then(|score| u32::try_from(score.max(0)).ok())
                .ok_or_else(|| Error::malformed("oom_score: not a number"))?,
            score_adj: signed(score_adj).ok_or_else(|| Error::malformed("oom_score_adj: not a number"))?,
        })
    }
}
