//! `/proc/PID/io`: the bytes and calls that a process read and wrote.

use serde::{Deserialize, Serialize};

use crate::number::{decimal, key_value, lines};
use crate::{Error, Result};

/// `/proc/PID/io`: totals of all threads since the process started.
///
/// The kernel adds those of each child when it is waited for. A sum over a parent and its children that still run is
/// right; a sum over time that also holds ended children counts them twice.
///
/// Linux has had all seven since 2.6.20. A directory that only looks like a /proc may lack some: those are `None`.
///
/// ```
/// use appmon::process::Io;
///
/// let file = b"rchar: 13249\nwchar: 6273\nsyscr: 24\nsyscw: 7\nread_bytes: 0\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
/// assert_eq!(Io::parse(file).unwrap().write_bytes, Some(8192));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Io {
    /// Bytes returned by `read(2)` and its like, from whatever: files, the page cache, pipes, terminals (`rchar`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_chars: Option<u64>,
    /// Bytes handed to `write(2)` and its like, to whatever (`wchar`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_chars: Option<u64>,
    /// Calls of `read(2)` and its like (`syscr`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_syscalls: Option<u64>,
    /// Calls of `write(2)` and its like (`syscw`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_syscalls: Option<u64>,
    /// Bytes that had to come from storage (`read_bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes of pages made dirty, which storage will have to take (`write_bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_bytes: Option<u64>,
    /// Bytes of those that it will not, since the file was truncated or deleted first (`cancelled_write_bytes`). Charged to
    /// the process that did so, so it can be more than its own `write_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_write_bytes: Option<u64>,
}

impl Io {
    /// All seven, of a process that did nothing yet: the start of a sum.
    pub(crate) const NOTHING: Self = Self {
        read_chars: Some(0),
        write_chars: Some(0),
        read_syscalls: Some(0),
        write_syscalls: Some(0),
        read_bytes: Some(0),
        write_bytes: Some(0),
        cancelled_write_bytes: Some(0),
    };

    /// Parses the file: its seven lines in any order, among others. A value that is missing or not a number is `None`.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), when none of the lines is there.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut io = Self::default();
        for line in lines(file) {
            let Some((key, value)) = key_value(line) else { continue };
            let field = match key {
                b"rchar" => &mut io.read_chars,
                b"wchar" => &mut io.write_chars,
                b"syscr" => &mut io.read_syscalls,
                b"syscw" => &mut io.write_syscalls,
                b"read_bytes" => &mut io.read_bytes,
                b"write_bytes" => &mut io.write_bytes,
                b"cancelled_write_bytes" => &mut io.cancelled_write_bytes,
                _ => continue,
            };
            *field = decimal(value);
        }
        if io == Self::default() { Err(Error::malformed("io: no known line")) } else { Ok(io) }
    }

    /// Adds the counters of another process, as far as it has them; returns whether it has all.
    pub(crate) fn add(&mut self, more: &Self) -> bool {
        let mut all = true;
        for (sum, more) in [
            (&mut self.read_chars, more.read_chars),
            (&mut self.write_chars, more.write_chars),
            (&mut self.read_syscalls, more.read_syscalls),
            (&mut self.write_syscalls, more.write_syscalls),
            (&mut self.read_bytes, more.read_bytes),
            (&mut self.write_bytes, more.write_bytes),
            (&mut self.cancelled_write_bytes, more.cancelled_write_bytes),
        ] {
            all &= more.is_some();
            *sum = Some(sum.unwrap_or(0).saturating_add(more.unwrap_or(0)));
        }
        all
    }
}
