//! `/proc/PID/io`: what a process read and wrote.

use serde::{Deserialize, Serialize};

use super::number::{decimal, key_value, lines};
use crate::{Error, Result};

/// `/proc/PID/io`: totals of all threads since the process started.
///
/// The kernel adds those of each child when it is waited for. A sum over a parent and its children that still run is
/// right; a sum over time that also holds ended children counts them twice.
///
/// ```
/// use appmon::Io;
///
/// let file = b"rchar: 13249\nwchar: 6273\nsyscr: 24\nsyscw: 7\nread_bytes: 0\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
/// assert_eq!(Io::parse(file).unwrap().write_bytes, 8192);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Io {
    /// Bytes returned by `read(2)` and its like, from whatever: files, the page cache, pipes, terminals (`rchar`).
    pub read_chars: u64,
    /// Bytes handed to `write(2)` and its like, to whatever (`wchar`).
    pub write_chars: u64,
    /// Calls of `read(2)` and its like (`syscr`).
    pub read_syscalls: u64,
    /// Calls of `write(2)` and its like (`syscw`).
    pub write_syscalls: u64,
    /// Bytes that had to come from storage (`read_bytes`).
    pub read_bytes: u64,
    /// Bytes of pages made dirty, which storage will have to take (`write_bytes`).
    pub write_bytes: u64,
    /// Bytes of those that it will not, since the file was truncated or deleted first (`cancelled_write_bytes`). Charged to
    /// the process that did so, so it can be more than its own `write_bytes`.
    pub cancelled_write_bytes: u64,
}

impl Io {
    /// Reads the file: its seven lines in any order, among others.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with a text that names the line that is missing or not a number.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut io = [None; KEYS.len()];
        for line in lines(file) {
            let Some((key, value)) = key_value(line) else { continue };
            if let Some((_, slot)) = KEYS.iter().zip(&mut io).find(|(known, _)| **known == key) {
                *slot = decimal(value);
            }
        }
        let [
            Some(read_chars),
            Some(write_chars),
            Some(read_syscalls),
            Some(write_syscalls),
            Some(read_bytes),
            Some(write_bytes),
            Some(cancelled_write_bytes),
        ] = io
        else {
            return Err(missing(&io));
        };
        Ok(Self {
            read_chars,
            write_chars,
            read_syscalls,
            write_syscalls,
            read_bytes,
            write_bytes,
            cancelled_write_bytes,
        })
    }
}

const KEYS: [&[u8]; 7] =
    [b"rchar", b"wchar", b"syscr", b"syscw", b"read_bytes", b"write_bytes", b"cancelled_write_bytes"];

#[cold]
fn missing(io: &[Option<u64>]) -> Error {
    let key = KEYS.iter().zip(io).find(|(_, value)| value.is_none()).map_or(&b""[..], |(key, _)| key);
    Error::malformed(format!("io: no valid {}", key.escape_ascii()))
}
