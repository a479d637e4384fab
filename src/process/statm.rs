//! `/proc/PID/statm`: memory in pages.

use serde::{Deserialize, Serialize};

use crate::number::Columns;
use crate::{Error, Result};

/// `/proc/PID/statm`: memory in pages of `sysconf(_SC_PAGESIZE)` bytes.
///
/// ```
/// use appmon::process::Statm;
///
/// let statm = Statm::parse(b"765 440 412 5 0 90 0\n").unwrap();
/// assert_eq!((statm.resident_pages, statm.shared_pages), (440, 412));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Statm {
    /// Address space.
    pub size_pages: u64,
    /// In memory. Approximate since Linux 6.2, off by up to some pages per CPU.
    pub resident_pages: u64,
    /// In memory and backed by a file or shared memory.
    pub shared_pages: u64,
    /// Text of the program.
    pub text_pages: u64,
    /// Always 0 since Linux 2.6.
    pub lib_pages: u64,
    /// Data and stack.
    pub data_pages: u64,
    /// Always 0 since Linux 2.6.
    pub dirty_pages: u64,
}

impl Statm {
    /// Reads the line.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with a text that names the first field that is missing or not a number.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let mut columns = Columns::new(line);
        let mut next = |name| columns.unsigned().ok_or_else(|| missing(name));
        Ok(Self {
            size_pages: next("size")?,
            resident_pages: next("resident")?,
            shared_pages: next("shared")?,
            text_pages: next("text")?,
            lib_pages: next("lib")?,
            data_pages: next("data")?,
            dirty_pages: next("dt")?,
        })
    }
}

#[cold]
fn missing(what: &str) -> Error {
    Error::malformed(format!("statm: no valid {what}"))
}
