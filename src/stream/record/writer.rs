//! Lines into files: chunks, rotation, and what is left when the disk refuses.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use std::io::Write;

use super::super::segment;
use super::super::segment::chunk::{Chunk, HEAD_BYTES};
use super::file::{RecordFile, delete_old};
use super::settings::Settings;
use crate::{Error, Result, Timestamp};

/// A chunk has at most so many lines: this bounds how many are decoded for a jump into it,
const MOST_LINES: u32 = 120;

/// and ends when its lines have so many bytes, for the same reason.
const ENOUGH_BYTES: u64 = 4 << 20;

/// The level of compression: one that costs about as much as encoding the line.
const LEVEL: i32 = 3;

/// Writes the lines of a recording.
#[derive(Debug)]
pub(super) struct Writer {
    settings: Settings,
    kind: &'static str,
    open: Option<Open>,
    /// The bytes of torn ends that were cut off.
    pub(super) cut: u64,
    /// The number of files that were full and have a number now.
    pub(super) rotated: u64,
    /// Why the last rotation failed.
    pub(super) trouble: Option<Error>,
    /// So many lines are appended before a rotation that failed is tried again.
    patience: u32,
}

#[derive(Debug)]
struct Open {
    file: RecordFile,
    chunk: Option<Running>,
    /// The time of the first line.
    began: Option<Timestamp>,
}

/// A chunk being written.
struct Running {
    at: u64,
    head: Chunk,
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    lines: u32,
    bytes: u64,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("at", &self.at).field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(settings: Settings, kind: &'static str) -> Self {
        Self { settings, kind, open: None, cut: 0, rotated: 0, trouble: None, patience: 0 }
    }

    /// Opens the file, unless it is open.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.open.is_none() {
            let file = RecordFile::open(&self.settings, self.kind)?;
            self.cut = self.cut.saturating_add(file.cut);
            let began = segment::first_time(&file.file, &file.start)?;
            self.open = Some(Open { file, chunk: None, began });
        }
        Ok(())
    }

    /// The length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.file.end)
    }

    /// Appends a line. After an error the file has whole lines only, and it is opened again for the next line.
    pub(super) fn append(&mut self, line: &[u8], time: Timestamp) -> Result<()> {
        if let Err(error) = self.rotate_if_due(time) {
            self.trouble = Some(error);
            self.patience = MOST_LINES;
        }
        self.open()?;
        let appended = self.open.as_mut().map_or(Ok(()), |open| open.append(line, time));
        if let Err(error) = appended {
            // Whatever of the line is there is cut off when it is opened again.
            self.open = None;
            return Err(Error::from(error).at(&self.settings.path));
        }
        Ok(())
    }

    /// Finishes what was begun.
    pub(super) fn finish(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let finished = open.finish_chunk().and_then(|()| open.file.file.sync_data());
        finished.map_err(|error| Error::from(error).at(&self.settings.path))
    }

    /// Goes on in a new file where this one is full or old. If that fails, it stays with this one.
    fn rotate_if_due(&mut self, now: Timestamp) -> Result<()> {
        let is_due = self.open.as_ref().is_some_and(|open| {
            let age = open.began.map(|began| now.as_unix_nanos().saturating_sub(began.as_unix_nanos()));
            let is_old = age.is_some_and(|age| Duration::from_nanos(age) >= self.settings.max_age);
            !open.file.is_empty() && (open.file.end >= self.settings.max_bytes || is_old)
        });
        self.patience = self.patience.saturating_sub(1);
        if !is_due || self.patience > 0 {
            return Ok(());
        }
        self.finish()?;
        if let Some(open) = &self.open {
            open.file.set_aside(&self.settings.path)?;
        }
        (self.open, self.trouble) = (None, None);
        self.rotated = self.rotated.saturating_add(1);
        self.settings.keep.map_or(Ok(()), |keep| delete_old(&self.settings.path, keep, self.kind))
    }
}

impl Open {
    fn append(&mut self, line: &[u8], time: Timestamp) -> std::io::Result<()> {
        self.began.get_or_insert(time);
        if !self.file.start.is_compressed {
            return self.write(line);
        }
        let chunk = match &mut self.chunk {
            Some(chunk) => chunk,
            None => {
                let head = Chunk { first: time.as_unix_nanos(), ..Chunk::default() };
                let encoder = zstd::stream::write::Encoder::new(head.to_bytes(), LEVEL)?;
                self.chunk.insert(Running { at: self.file.end, head, encoder, lines: 0, bytes: 0 })
            }
        };
        chunk.encoder.write_all(line)?;
        // So a crash takes no line that was written before.
        chunk.encoder.flush()?;
        chunk.head.last = time.as_unix_nanos();
        chunk.lines = chunk.lines.saturating_add(1);
        chunk.bytes = chunk.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        let is_full = chunk.lines >= MOST_LINES || chunk.bytes >= ENOUGH_BYTES;
        let bytes = std::mem::take(chunk.encoder.get_mut());
        self.write(&bytes)?;
        if is_full { self.finish_chunk() } else { Ok(()) }
    }

    fn finish_chunk(&mut self) -> std::io::Result<()> {
        let Some(Running { at, mut head, encoder, .. }) = self.chunk.take() else { return Ok(()) };
        self.write(&encoder.finish()?)?;
        head.len = self.file.end.saturating_sub(at).saturating_sub(HEAD_BYTES);
        self.file.file.write_all_at(&head.to_bytes(), at)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.file.write_all_at(bytes, self.file.end)?;
        self.file.end = self.file.end.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}
