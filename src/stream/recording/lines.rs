//! The lines of a file of a recording, one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::segment::Start;
use super::super::segment::chunk::{self, Chunk, HEAD_BYTES};

/// No line of a snapshot is longer, so a file that is something else cannot fill the memory.
const LONGEST: u64 = 256 << 20;

const BUFFER: usize = 64 << 10;

/// Reads the lines of a file.
pub(super) struct Lines {
    path: PathBuf,
    file: Arc<File>,
    is_compressed: bool,
    start: u64,
    /// Where the next chunk begins; `None` behind the last.
    next_chunk: Option<u64>,
    input: Option<Box<dyn BufRead + Send + Sync>>,
    /// The chunk that is being read.
    chunk: Option<u64>,
    torn_bytes: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    TooLong,
    End,
}

impl Lines {
    pub(super) fn new(path: PathBuf, file: Arc<File>, start: &Start) -> Self {
        let mut lines = Self {
            path,
            file,
            is_compressed: start.is_compressed,
            start: start.len,
            next_chunk: None,
            input: None,
            chunk: None,
            torn_bytes: 0,
        };
        lines.go_to(start.len);
        lines
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Goes on at a line of a plain file, or at a chunk.
    pub(super) fn go_to(&mut self, at: u64) {
        (self.next_chunk, self.input, self.chunk) = (None, None, None);
        if self.is_compressed {
            self.next_chunk = Some(at);
        } else {
            self.input = Some(Box::new(BufReader::with_capacity(BUFFER, Section::new(&self.file, at, u64::MAX))));
        }
    }

    /// The file, and where its lines or chunks begin.
    pub(super) fn whole(&self) -> (&Arc<File>, u64) {
        (&self.file, self.start)
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    /// Reads the next line, with its end. After an error the next call goes on behind what cannot be read, if there is anything.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Next> {
        loop {
            line.clear();
            let Some(input) = &mut self.input else {
                if !self.begin_chunk()? {
                    return Ok(Next::End);
                }
                continue;
            };
            match input.take(LONGEST).read_until(b'\n', line) {
                Ok(0) => self.end_input(),
                Ok(_) if line.ends_with(b"\n") => return Ok(Next::Line),
                Ok(read) if u64::try_from(read).is_ok_and(|read| read >= LONGEST) => {
                    self.end_input();
                    return Ok(Next::TooLong);
                }
                Ok(_) => self.torn(line.len()),
                // The frame ends in the middle.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.torn(line.len()),
                Err(error) if self.is_compressed => {
                    // zstd's own errors have no kind; those of the file do.
                    let is_damage = error.raw_os_error().is_none();
                    let from = self.chunk.map_or(u64::MAX, |at| at.saturating_add(1));
                    (self.input, self.next_chunk) = (None, chunk::find(&self.file, from)?);
                    return Err(if is_damage { io::Error::new(io::ErrorKind::InvalidData, error) } else { error });
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn torn(&mut self, bytes: usize) {
        self.torn_bytes = self.torn_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.end_input();
    }

    /// Ends the chunk, or the file.
    fn end_input(&mut self) {
        self.input = None;
        if let Some(at) = self.chunk.take().filter(|_| self.next_chunk.is_none()) {
            // Its length was not known when it was begun; it may have been finished meanwhile.
            let chunk = Chunk::read(&self.file, at).ok().flatten();
            self.next_chunk = chunk.and_then(|chunk| chunk.end(at));
        }
    }

    /// Begins to read the next chunk. Returns false if there is none.
    fn begin_chunk(&mut self) -> io::Result<bool> {
        let Some(at) = self.next_chunk.take() else { return Ok(false) };
        let Some(chunk) = Chunk::read(&self.file, at)? else {
            // Either the end, or damage: then there may be more behind it. Here is at most the beginning of a chunk.
            self.next_chunk = chunk::find(&self.file, at.saturating_add(1))?;
            return match self.next_chunk {
                Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a part of the file is damaged")),
                None => Ok(false),
            };
        };
        let begin = at.saturating_add(HEAD_BYTES);
        let end = chunk.end(at);
        let section = Section::new(&self.file, begin, end.unwrap_or(u64::MAX));
        let decoder = zstd::stream::read::Decoder::new(section)?.single_frame();
        self.input = Some(Box::new(BufReader::with_capacity(BUFFER, decoder)));
        (self.chunk, self.next_chunk) = (Some(at), end);
        Ok(true)
    }
}

/// A part of a file, read from its place whatever others read.
pub(super) struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    pub(super) fn new(file: &Arc<File>, at: u64, end: u64) -> Self {
        Self { file: Arc::clone(file), at, end }
    }
}

impl Read for Section {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = bytes.len().min(left);
        let read = self.file.read_at(bytes.get_mut(..room).unwrap_or_default(), self.at)?;
        self.at = self.at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}
