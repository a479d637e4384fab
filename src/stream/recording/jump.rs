//! Places in a file by time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::super::segment::chunk::Chunk;
use super::super::segment::{Start, line};
use super::lines::{Lines, Next, Section};
use crate::Timestamp;

/// A bisection ends where so few bytes are left: they are read faster than they are bisected.
const NEAR: u64 = 256 << 10;

/// Goes to a place before which all lines are of an earlier time.
pub(super) fn to(lines: &mut Lines, time: Timestamp) -> io::Result<()> {
    let (file, start) = lines.whole();
    let at = if lines.is_compressed() { chunk_of(file, start, time)? } else { line_of(file, start, time)? };
    lines.go_to(at);
    Ok(())
}

/// The time of the last whole line.
pub(super) fn last_time(path: &Path, file: Arc<File>, start: &Start) -> io::Result<Timestamp> {
    let len = file.metadata()?.len();
    let mut lines = Lines::new(path.to_owned(), Arc::clone(&file), start);
    if start.is_compressed {
        to(&mut lines, Timestamp::from_unix_nanos(u64::MAX))?;
    } else {
        // The last line is found by going back in growing steps.
        let mut step = NEAR;
        loop {
            let from = len.saturating_sub(step).max(start.len);
            if let Some(time) = last_of(&file, from, from > start.len)? {
                return Ok(time);
            }
            if from == start.len {
                return Ok(Timestamp::default());
            }
            step = step.saturating_mul(4);
        }
    }
    let (mut line, mut last) = (Vec::new(), Timestamp::default());
    // What is damaged at the end has no time.
    while let Ok(Next::Line) = lines.next(&mut line) {
        last = line::time(&line).unwrap_or(last);
    }
    Ok(last)
}

/// The time of the last whole line behind `from`, which is within a line if `is_within`.
fn last_of(file: &Arc<File>, from: u64, is_within: bool) -> io::Result<Option<Timestamp>> {
    let mut input = BufReader::new(Section::new(file, from, u64::MAX));
    let mut line = Vec::new();
    if is_within {
        input.read_until(b'\n', &mut line)?;
    }
    let mut last = None;
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
            return Ok(last);
        }
        last = line::time(&line).or(last);
    }
}

/// The last chunk whose first line is not later; the first chunk if all are.
fn chunk_of(file: &File, start: u64, time: Timestamp) -> io::Result<u64> {
    let (mut at, mut found) = (start, start);
    while let Some(chunk) = Chunk::read(file, at)? {
        if Timestamp::from_unix_nanos(chunk.first) > time {
            break;
        }
        found = at;
        match chunk.end(at) {
            Some(end) => at = end,
            None => break,
        }
    }
    Ok(found)
}

/// A place at or before the last line that can be read by itself and is not later; the first line if all are.
fn line_of(file: &Arc<File>, start: u64, time: Timestamp) -> io::Result<u64> {
    let (mut low, mut high) = (start, file.metadata()?.len());
    while high.saturating_sub(low) > NEAR {
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        match whole_line_behind(file, middle, high)? {
            Some((at, its)) if its <= time => low = at,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first line behind this place that can be read by itself, and its time.
fn whole_line_behind(file: &Arc<File>, at: u64, end: u64) -> io::Result<Option<(u64, Timestamp)>> {
    let mut input = BufReader::with_capacity(64 << 10, Section::new(file, at, end));
    let mut at = at;
    let mut line = Vec::new();
    let mut skipped = skip_line(&mut input)?;
    while skipped > 0 {
        at = at.saturating_add(skipped);
        line.clear();
        // No more of it than is needed for its time.
        let read = (&mut input).take(line::NEAR as u64).read_until(b'\n', &mut line)?;
        if line::is_whole(&line)
            && let Some(time) = line::time(&line)
        {
            return Ok(Some((at, time)));
        }
        let rest = if line.ends_with(b"\n") { 0 } else { skip_line(&mut input)? };
        skipped = u64::try_from(read).unwrap_or(u64::MAX).saturating_add(rest);
    }
    Ok(None)
}

/// Reads to the end of a line. Returns the number of bytes.
fn skip_line(input: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0_u64;
    loop {
        let bytes = input.fill_buf()?;
        let (len, is_end) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end.saturating_add(1), true),
            None => (bytes.len(), bytes.is_empty()),
        };
        input.consume(len);
        skipped = skipped.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if is_end {
            return Ok(skipped);
        }
    }
}
