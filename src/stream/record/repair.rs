//! The torn end of a file: what a crash or a full disk left half written is cut off.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::super::segment::chunk::{self, Chunk, HEAD_BYTES};
use super::super::segment::{Start, line};

/// How much is looked at in one piece from the end.
const WINDOW: u64 = 64 << 10;

/// No chunk is longer: it ends at a few MiB, behind one more line.
const MOST_BYTES: u64 = 256 << 20;

/// The last block of a frame, with nothing in it.
const LAST_BLOCK: [u8; 3] = [1, 0, 0];

/// Cuts the torn end off a file of a recording. Returns its new length; `None` if it is damaged before its end: then nothing is cut.
pub(super) fn cut(file: &File, start: &Start) -> io::Result<Option<u64>> {
    let len = file.metadata()?.len();
    let end = if start.is_compressed { whole_chunks(file, start.len, len)? } else { last_line(file, start.len, len)? };
    if start.is_compressed && chunk::find(file, end.saturating_add(1))?.is_some() {
        return Ok(None);
    }
    let now = file.metadata()?.len();
    if end < now {
        file.set_len(end)?;
    }
    Ok(Some(end))
}

/// Returns the end of the last whole line.
fn last_line(file: &File, least: u64, len: u64) -> io::Result<u64> {
    let mut end = len;
    while end > least {
        let from = end.saturating_sub(WINDOW).max(least);
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or_default()];
        file.read_exact_at(&mut bytes, from)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from.saturating_add(u64::try_from(last).unwrap_or_default()).saturating_add(1));
        }
        end = from;
    }
    Ok(least)
}

/// Returns the end of the last chunk, which is finished if it was not.
fn whole_chunks(file: &File, start: u64, len: u64) -> io::Result<u64> {
    let mut at = start;
    while let Some(chunk) = Chunk::read(file, at)? {
        match chunk.end(at).filter(|end| *end <= len) {
            Some(end) => at = end,
            None => match finish(file, at, chunk, len)? {
                Some(end) => at = end,
                None => break,
            },
        }
    }
    Ok(at)
}

/// Finishes a chunk behind its last whole line. Returns its end; `None` if it has no whole line.
fn finish(file: &File, at: u64, chunk: Chunk, len: u64) -> io::Result<Option<u64>> {
    let begin = at.saturating_add(HEAD_BYTES);
    if chunk::find(file, begin)?.is_some() {
        // It is not the end that is damaged.
        return Ok(None);
    }
    let mut frame = vec![0; usize::try_from(len.saturating_sub(begin).min(MOST_BYTES)).unwrap_or_default()];
    file.read_exact_at(&mut frame, begin)?;
    let Some(Whole { len: whole, is_last, time }) = whole_lines(&frame) else { return Ok(None) };
    let mut end = begin.saturating_add(whole);
    if !is_last {
        file.set_len(end)?;
        file.write_all_at(&LAST_BLOCK, end)?;
        end = end.saturating_add(3);
    }
    let chunk = Chunk { len: end.saturating_sub(begin), last: time.unwrap_or(chunk.first), ..chunk };
    file.write_all_at(&chunk.to_bytes(), at)?;
    Ok(Some(end))
}

/// The blocks at the beginning of a frame up to one that ends with a line.
struct Whole {
    len: u64,
    /// Whether the frame ends there.
    is_last: bool,
    /// The time of the last line.
    time: Option<u64>,
}

fn whole_lines(frame: &[u8]) -> Option<Whole> {
    let (mut at, mut whole) = (header_len(frame)?, None);
    let mut decoder = zstd::stream::write::Decoder::new(Tail::default()).ok()?;
    decoder.write_all(frame.get(..at)?).ok()?;
    while let Some(head) = frame.get(at..at.saturating_add(3)) {
        let head = head.iter().rev().fold(0_usize, |number, byte| (number << 8) | usize::from(*byte));
        let (is_last, kind, size) = (head & 1 == 1, (head >> 1) & 3, head >> 3);
        // A block of one byte that is repeated has its length in its head.
        let size = if kind == 1 { 1 } else { size };
        let end = at.saturating_add(3).saturating_add(size);
        let Some(block) = frame.get(at..end) else { break };
        if decoder.write_all(block).and_then(|()| decoder.flush()).is_err() {
            break;
        }
        at = end;
        let tail = decoder.get_ref();
        if tail.is_whole {
            whole = Some(Whole { len: u64::try_from(at).unwrap_or(u64::MAX), is_last, time: tail.time });
        }
        if is_last {
            break;
        }
    }
    whole
}

/// The length of the header of a zstd frame (RFC 8878, 3.1.1.1).
fn header_len(frame: &[u8]) -> Option<usize> {
    let flags = *frame.strip_prefix(&[0x28, 0xB5, 0x2F, 0xFD])?.first()?;
    let is_single_segment = flags & 0x20 != 0;
    let window = usize::from(!is_single_segment);
    let dictionary = [0, 1, 2, 4].get(usize::from(flags & 3))?;
    let content = match flags >> 6 {
        0 => usize::from(is_single_segment),
        more => 1 << more,
    };
    Some(window.saturating_add(*dictionary).saturating_add(content).saturating_add(5))
}

/// The end of what a frame holds.
#[derive(Default)]
struct Tail {
    line: Vec<u8>,
    is_whole: bool,
    time: Option<u64>,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // The time of a line is in its beginning.
            let room = line::NEAR.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
            self.is_whole = piece.ends_with(b"\n");
            if self.is_whole {
                self.time = line::time(&self.line).map(crate::Timestamp::as_unix_nanos).or(self.time);
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
