//! `/proc/PID/statm`: memory in pages.

use serde::{Deserialize, Serialize};

use crate::number::row;
use crate::{Error, Result};

/// `/proc/PID/statm`: memory in pages of `sysconf(_SC_PAGESIZE)` bytes.
///
/// Linux has had all seven since 2.6. A directory that only looks like a /proc may lack some: those are `None`.
///
/// ```
/// use appmon::process::Statm;
///
/// let statm = Statm::parse(b"765 440 412 5 0 90 0\n").unwrap();
/// assert_eq!((statm.resident_pages, statm.shared_pages), (Some(440), Some(412)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Statm {
    /// Address space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_pages: Option<u64>,
    /// In memory. Approximate since Linux 6.2, off by up to some pages per CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_pages: Option<u64>,
    /// In memory and backed by a file or shared memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_pages: Option<u64>,
    /// Text of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pages: Option<u64>,
    /// Always 0 since Linux 2.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lib_pages: Option<u64>,
    /// Data and stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_pages: Option<u64>,
    /// Always 0 since Linux 2.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty_pages: Option<u64>,
}

impl Statm {
    /// Parses the line. A value that is missing or not a number is `None`.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), when there is no number at all.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let [size_pages, resident_pages, shared_pages, text_pages, lib_pages, data_pages, dirty_pages] = row(line);
        let statm = Self { size_pages, resident_pages, shared_pages, text_pages, lib_pages, data_pages, dirty_pages };
        if statm == Self::default() { Err(Error::malformed("statm: no number")) } else { Ok(statm) }
    }
}
