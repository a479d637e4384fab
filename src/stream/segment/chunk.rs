//! A chunk of a compressed file: a frame that zstd skips, with its length and times, and a zstd frame with lines.
//!
//! While a chunk is being written its length is 0: so many bytes follow as there are. The chunks are a list, each with the place of the
//! next one, so a jump reads a few bytes of each; and there is no index that a crash could leave behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The magic number of a skippable frame, the number of its bytes, and a tag.
const OPENING: [u8; 16] = *b"\x5D\x2A\x4D\x18\x20\0\0\0appmon\x01\n";

/// The number of bytes before the zstd frame.
pub(crate) const HEAD_BYTES: u64 = 40;

/// The beginning of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The number of bytes of the zstd frame; 0 while it is written.
    pub(crate) len: u64,
    /// The time of its first line, in nanoseconds since 1970.
    pub(crate) first: u64,
    /// The time of its last line, once it is written.
    pub(crate) last: u64,
}

impl Chunk {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = OPENING.to_vec();
        for number in [self.len, self.first, self.last] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads the chunk at this place; `None` if there is none.
    pub(crate) fn read(file: &File, at: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; 40];
        match file.read_exact_at(&mut bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let Some(numbers) = bytes.strip_prefix(&OPENING) else { return Ok(None) };
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or(0);
        Ok(Some(Self { len: next(), first: next(), last: next() }))
    }

    /// The place behind the chunk that is at `at`; `None` while it is written.
    pub(crate) fn end(self, at: u64) -> Option<u64> {
        (self.len > 0).then(|| at.saturating_add(HEAD_BYTES).saturating_add(self.len))
    }
}

/// Finds the next chunk that begins at this place or behind it.
pub(crate) fn find(file: &File, from: u64) -> io::Result<Option<u64>> {
    const WINDOW: usize = 64 << 10;
    let (mut at, mut bytes) = (from, vec![0; WINDOW]);
    loop {
        let len = file.read_at(&mut bytes, at)?;
        let read = bytes.get(..len).unwrap_or_default();
        if let Some(found) = read.windows(OPENING.len()).position(|window| window == OPENING) {
            return Ok(Some(at.saturating_add(u64::try_from(found).unwrap_or(u64::MAX))));
        }
        // It may begin in this piece and end in the next one.
        let step = len.saturating_sub(OPENING.len().saturating_sub(1));
        if step == 0 {
            return Ok(None);
        }
        at = at.saturating_add(u64::try_from(step).unwrap_or(u64::MAX));
    }
}
