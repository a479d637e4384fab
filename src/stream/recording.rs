//! `Recording`: what `record` wrote, snapshot by snapshot.

mod jump;
mod lines;
mod replay;

use std::fmt;
use std::fs::File;
use std::io;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use self::lines::{Lines, Next};
use super::segment::{self, Begins, Start, line};
use crate::{Error, Result, Sample, Snapshot, Timestamp};

pub use self::replay::Replay;

/// A recording of [`record`](crate::SnapshotStreamExt::record): the same snapshots again, with their own times.
///
/// It is an iterator, for programs without a runtime, and [`stream`](Self::stream) makes it the stream that was recorded: every
/// combinator gives the same as it did live, since time is that of the snapshots. The numbered files of the same name are a part of it,
/// the oldest first. A file that is still being written to can be read; it ends with what is there.
///
/// # Errors
///
/// An item is an error ([`is_malformed`](Error::is_malformed)) where a line cannot be decoded, with the file; the next item is that of the
/// next line. A line half written at the end of a file is no error: see [`torn_bytes`](Self::torn_bytes).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use appmon::stream::Recording;
/// use appmon::{ProcessSample, Processes, SnapshotStreamExt, SourceExt};
/// use futures::{StreamExt, TryStreamExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("night.ndjson.zst");
/// let live = Processes::new().every(Duration::from_millis(20)).take(3).record(&path);
/// let live: Vec<_> = live.try_collect().await?;
///
/// let again: Vec<_> = Recording::<ProcessSample>::open(&path)?.stream().try_collect().await?;
/// assert_eq!(live, again);
/// # Ok(())
/// # }
/// ```
pub struct Recording<T> {
    files: Vec<PathBuf>,
    /// The next of these files.
    next: usize,
    lines: Option<Lines>,
    line: Vec<u8>,
    /// Lines before this time are passed over.
    from: Option<Timestamp>,
    torn_bytes: u64,
    samples: PhantomData<fn() -> T>,
}

impl<T: Sample + DeserializeOwned> Recording<T> {
    /// Opens the recording at this path, with the files that have a number.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) where there is no such file; [`is_malformed`](Error::is_malformed) where a file is no
    /// recording, [`is_config`](Error::is_config) where it has samples of another kind. Other errors of the system.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let numbered = segment::numbered(path).map_err(|error| Error::from(error).at(path))?;
        let mut files: Vec<PathBuf> = numbered.into_iter().map(|(_, path)| path).collect();
        if files.is_empty() || std::fs::symlink_metadata(path).is_ok() {
            files.push(path.to_owned());
        }
        for file in &files {
            open::<T>(file)?;
        }
        Ok(Self { files, next: 0, lines: None, line: Vec::new(), from: None, torn_bytes: 0, samples: PhantomData })
    }

    /// Goes to the first snapshot of this time or a later one, forward or back. Behind the last snapshot there is none.
    ///
    /// It reads a few bytes of each chunk of a compressed file, and bisects a plain one, so it takes milliseconds. Where the wall clock was
    /// set back while it was recorded, a time occurs twice, and it goes to one of the two places.
    ///
    /// # Errors
    ///
    /// Errors of the system.
    pub fn seek(&mut self, time: Timestamp) -> Result<()> {
        let mut found = 0;
        for (index, path) in self.files.iter().enumerate().skip(1) {
            let Some((first, ..)) = open_begun::<T>(path)? else { continue };
            if first > time {
                break;
            }
            found = index;
        }
        self.next = found;
        self.open_next()?;
        if let Some(lines) = &mut self.lines {
            jump::to(lines, time).map_err(|error| Error::from(error).at(lines.path()))?;
        }
        self.from = Some(time);
        Ok(())
    }

    /// Returns the times of the first and of the last snapshot; `None` if there is none. It stays where it is.
    ///
    /// # Errors
    ///
    /// Errors of the system.
    pub fn span(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        // At both ends there may be files without a line: one that was just begun, or in which nothing whole was left.
        let first = self.files.iter().find_map(|path| open_begun::<T>(path).transpose());
        let Some((first, ..)) = first.transpose()? else { return Ok(None) };
        for path in self.files.iter().rev() {
            let Some((later, file, start)) = open_begun::<T>(path)? else { continue };
            let last = jump::last_time(path, file, &start).map_err(|error| Error::from(error).at(path))?;
            return Ok(Some((first, last.max(later))));
        }
        Ok(None)
    }

    /// Returns the number of bytes of lines half written at the end of the files that were read.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes.saturating_add(self.lines.as_ref().map_or(0, Lines::torn_bytes))
    }

    /// Opens the next file. Returns false if there is none.
    fn open_next(&mut self) -> Result<bool> {
        let Some(path) = self.files.get(self.next) else { return Ok(false) };
        self.next = self.next.saturating_add(1);
        self.torn_bytes = self.torn_bytes();
        self.lines = open::<T>(path)?.map(|(file, start)| Lines::new(path.clone(), file, &start));
        Ok(true)
    }

    fn read(&mut self) -> Result<Option<Snapshot<T>>> {
        loop {
            let Some(lines) = &mut self.lines else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            match lines.next(&mut self.line) {
                Ok(Next::Line) => {}
                Ok(Next::End) => {
                    self.torn_bytes = self.torn_bytes();
                    self.lines = None;
                    continue;
                }
                Ok(Next::TooLong) => return Err(Error::malformed("a line that is too long").at(lines.path())),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Error::malformed(error.to_string()).at(lines.path()));
                }
                Err(error) => {
                    let error = Error::from(error).at(lines.path());
                    // It may not get better: the file is left.
                    self.torn_bytes = self.torn_bytes();
                    self.lines = None;
                    return Err(error);
                }
            }
            if let Some(from) = self.from {
                if line::time(&self.line).is_some_and(|time| time < from) {
                    continue;
                }
                self.from = None;
            }
            return line::read(&self.line).map(Some).map_err(|error| Error::malformed(error).at(lines.path()));
        }
    }
}

/// Opens a file of a recording; `None` for one that was not begun.
fn open<T: Sample>(path: &Path) -> Result<Option<(Arc<File>, Start)>> {
    let at = |error: io::Error| Error::from(error).at(path);
    // Opening something else, a device, may have an effect.
    if !std::fs::metadata(path).map_err(at)?.is_file() {
        return Err(Error::malformed("this is not a regular file").at(path));
    }
    let file = File::open(path).map_err(at)?;
    match segment::begins(&file).map_err(at)? {
        Begins::Recording(start) => {
            segment::check_kind(&start, T::KIND).map_err(|error| error.at(path))?;
            Ok(Some((Arc::new(file), start)))
        }
        Begins::Unfinished => Ok(None),
        Begins::Foreign => Err(Error::malformed("this file is not a recording").at(path)),
    }
}

/// Opens a file that has a line, with the time of the first one; `None` for one that has none.
fn open_begun<T: Sample>(path: &Path) -> Result<Option<(Timestamp, Arc<File>, Start)>> {
    let Some((file, start)) = open::<T>(path)? else { return Ok(None) };
    let first = segment::first_time(&file, &start).map_err(|error| Error::from(error).at(path))?;
    Ok(first.map(|first| (first, file, start)))
}

impl<T: Sample + DeserializeOwned> Iterator for Recording<T> {
    type Item = Result<Snapshot<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl<T: Sample + DeserializeOwned> FusedIterator for Recording<T> {}

impl<T> fmt::Debug for Recording<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("files", &self.files).field("next", &self.next).finish_non_exhaustive()
    }
}
