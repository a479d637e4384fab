//! A file of a recording: how it begins, which lines it has, and what further files of the same recording are called.
//!
//! A plain one is NDJSON: a line that names it, and a line for each snapshot. A compressed one has the first line in a frame that zstd
//! skips, and then chunks of lines, each a frame of its own (see [`chunk`]): `zstdcat` shows the lines of the snapshots.

pub(super) mod chunk;
pub(super) mod line;
mod names;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::Deserialize;

pub(super) use names::{numbered, with_number};

use self::chunk::Chunk;
use crate::{Error, Result, Timestamp};

/// The beginning of every file of a recording of this version.
const OPENING: &[u8] = b"{\"appmon\":\"recording\",\"version\":1,\"kind\":\"";

/// The magic number of the skippable frame with the first line, and its length.
const FRAME: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();

/// No first line is longer.
const LONGEST: usize = 512;

/// The beginning of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Whether its lines are compressed.
    pub(super) is_compressed: bool,
    /// The kind of the samples.
    pub(super) kind: String,
    /// The number of its bytes.
    pub(super) len: u64,
}

/// The beginning of a file at a path.
#[derive(Debug)]
pub(super) enum Begins {
    Recording(Start),
    /// It has nothing, or a part of what a recording begins with: it was not finished.
    Unfinished,
    /// It is something else.
    Foreign,
}

#[derive(Deserialize)]
struct First {
    version: u32,
    kind: String,
}

/// Returns the bytes that a file begins with.
pub(super) fn start(is_compressed: bool, kind: &str) -> Vec<u8> {
    let line = first_line(kind);
    if !is_compressed {
        return line;
    }
    let mut bytes = FRAME.to_vec();
    bytes.extend_from_slice(&u32::try_from(line.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&line);
    bytes
}

fn first_line(kind: &str) -> Vec<u8> {
    // Kinds are constants of sample types; quotes and controls in one would be escaped in JSON.
    let kind = serde_json::to_string(kind).unwrap_or_default();
    let mut line = OPENING.strip_suffix(b"\"").unwrap_or(OPENING).to_vec();
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(b"}\n");
    line
}

/// Reads how a file begins.
pub(super) fn begins(file: &File) -> io::Result<Begins> {
    let mut bytes = vec![0; LONGEST];
    let mut len = 0;
    while let Some(rest) = bytes.get_mut(len..)
        && !rest.is_empty()
    {
        match file.read_at(rest, u64::try_from(len).unwrap_or(u64::MAX))? {
            0 => break,
            more => len = len.saturating_add(more),
        }
    }
    bytes.truncate(len);
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Begins {
    let (is_compressed, before, text) = match bytes.strip_prefix(&FRAME) {
        Some(rest) => (true, 8_usize, rest.get(4..).unwrap_or_default()),
        None => (false, 0, bytes),
    };
    let common = text.len().min(OPENING.len());
    let is_ours = FRAME.starts_with(bytes) || text.get(..common) == OPENING.get(..common);
    if !is_ours {
        return Begins::Foreign;
    }
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST { Begins::Unfinished } else { Begins::Foreign };
    };
    match serde_json::from_slice::<First>(text.get(..end).unwrap_or_default()) {
        Ok(First { version: 1, kind }) => {
            let len = before.saturating_add(end).saturating_add(1);
            Begins::Recording(Start { is_compressed, kind, len: u64::try_from(len).unwrap_or(u64::MAX) })
        }
        _ => Begins::Foreign,
    }
}

/// The time of the first line; `None` if there is none.
pub(super) fn first_time(file: &File, start: &Start) -> io::Result<Option<Timestamp>> {
    if start.is_compressed {
        return Ok(Chunk::read(file, start.len)?.map(|chunk| Timestamp::from_unix_nanos(chunk.first)));
    }
    let mut bytes = [0; line::NEAR];
    let len = file.read_at(&mut bytes, start.len)?;
    Ok(line::time(bytes.get(..len).unwrap_or_default()))
}

/// Fails unless the samples are of this kind.
pub(super) fn check_kind(start: &Start, kind: &str) -> Result<()> {
    if start.kind == kind {
        return Ok(());
    }
    Err(Error::config(format!("a recording of samples of kind {:?}, not {kind:?}", start.kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_beginning_alone() {
        for is_compressed in [false, true] {
            let bytes = start(is_compressed, "process");
            let mut more = bytes.clone();
            more.extend_from_slice(b"more");
            let Begins::Recording(start) = parse(&more) else { panic!("not known") };
            let len = bytes.len() as u64;
            assert_eq!(start, Start { is_compressed, kind: "process".to_owned(), len });
            // Whatever of it was written before a crash.
            for end in 0..bytes.len() {
                assert!(matches!(parse(&bytes[..end]), Begins::Unfinished), "{end} of {bytes:?}");
            }
        }
        for foreign in [
            &b"{\"schema\":1}\n"[..],
            b"hello",
            b"\n",
            b"{\"appmon\":\"recording\",\"version\":2,\"kind\":\"process\"}\n",
            b"\x28\xb5\x2f\xfd",
        ] {
            assert!(matches!(parse(foreign), Begins::Foreign), "{foreign:?}");
        }
    }
}
