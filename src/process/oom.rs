//! `/proc/PID/oom_score` and `oom_score_adj`: which process is killed first when memory is out.

use serde::{Deserialize, Serialize};

use crate::number::signed;
use crate::{Error, Result};

/// How likely the out-of-memory killer is to choose a process. Each is `None` where its file is missing, or not a number.
///
/// ```
/// use appmon::process::Oom;
///
/// let oom = Oom::parse(b"668\n", b"-17\n").unwrap();
/// assert_eq!((oom.score, oom.score_adj), (Some(668), Some(-17)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Oom {
    /// The badness: the process of the highest is chosen. It grows with the memory used, and is about 667 for a process that
    /// uses next to none since Linux 5.9, 0 before. From `/proc/PID/oom_score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// The adjustment added to it, from -1000 (never kill) to 1000, and inherited by children. From `/proc/PID/oom_score_adj`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_adj: Option<i32>,
}

impl Oom {
    /// Parses the two files. What is not a number is `None`.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), when neither is a number.
    pub fn parse(score: &[u8], score_adj: &[u8]) -> Result<Self> {
        let oom = Self {
            // Some kernels let it go below 0 for a process that must not be killed.
            score: signed::<i64>(score).and_then(|score| u32::try_from(score.max(0)).ok()),
            score_adj: signed(score_adj),
        };
        if oom == Self::default() { Err(Error::malformed("oom_score, oom_score_adj: no number")) } else { Ok(oom) }
    }
}
