//! The file that a recording is written to: opened or created at its path, locked, and never another's.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::segment::{self, Begins, Start};
use super::{repair, settings::Settings};
use crate::{Error, Result, own_file};

/// An open file of a recording, locked until it is dropped.
#[derive(Debug)]
pub(super) struct RecordFile {
    pub(super) file: File,
    pub(super) start: Start,
    /// The end of what was written as a whole.
    pub(super) end: u64,
    /// The number of bytes of a torn end that were cut off.
    pub(super) cut: u64,
}

impl RecordFile {
    /// Opens the file at the path and cuts its torn end, or creates it.
    pub(super) fn open(settings: &Settings, kind: &str) -> Result<Self> {
        let path = &settings.path;
        let at = |error: io::Error| Error::from(error).at(path);
        if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Self::create(settings, kind);
        }
        let Some(file) = own_file::open_regular(path).map_err(at)? else {
            return Err(not_ours(path, "this is not a regular file"));
        };
        let start = match segment::begins(&file).map_err(at)? {
            Begins::Foreign => return Err(not_ours(path, "this file is not a recording, and it is not overwritten")),
            Begins::Unfinished => None,
            Begins::Recording(start) => Some(start),
        };
        lock(&file, path)?;
        if !own_file::is_at(&file, path) {
            return Err(Error::from(io::Error::other("the file was replaced while it was opened")).at(path));
        }
        let Some(start) = start else {
            return Self::begin(file, settings, kind).map_err(at);
        };
        segment::check_kind(&start, kind).map_err(|error| error.at(path))?;
        let len = file.metadata().map_err(at)?.len();
        let Some(end) = repair::cut(&file, &start).map_err(at)? else {
            // What can be read of it stays, beside the others.
            Self { file, start, end: len, cut: 0 }.set_aside(path)?;
            return Self::create(settings, kind);
        };
        Ok(Self { file, start, end, cut: len.saturating_sub(end) })
    }

    fn create(settings: &Settings, kind: &str) -> Result<Self> {
        let at = |error: io::Error| Error::from(error).at(&settings.path);
        let mut options = OpenOptions::new();
        // It contains command lines of processes, which may be confidential.
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&settings.path).map_err(at)?;
        lock(&file, &settings.path)?;
        Self::begin(file, settings, kind).map_err(at)
    }

    /// Writes the first line of a file that has nothing else.
    fn begin(file: File, settings: &Settings, kind: &str) -> io::Result<Self> {
        use std::os::unix::fs::FileExt;

        let bytes = segment::start(settings.is_compressed(), kind);
        file.set_len(0)?;
        file.write_all_at(&bytes, 0)?;
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let start = Start { is_compressed: settings.is_compressed(), kind: kind.to_owned(), len };
        Ok(Self { file, start, end: len, cut: 0 })
    }

    /// Whether it has no line yet.
    pub(super) fn is_empty(&self) -> bool {
        self.end <= self.start.len
    }

    /// Gives the file the next number, so that its path is free.
    pub(super) fn set_aside(&self, path: &Path) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::from(error).at(path))?;
        // Somebody else may have moved it, and put another one there.
        if !own_file::is_at(&self.file, path) {
            return Ok(());
        }
        let files = segment::numbered(path).map_err(|error| Error::from(error).at(path))?;
        let next = files.last().map_or(1, |(number, _)| number.saturating_add(1));
        let to = segment::with_number(path, next);
        own_file::move_to(path, &to).map_err(|error| Error::from(error).at(&to))
    }
}

/// Deletes the oldest numbered files, so that `keep` are left. Files that are no recordings of this kind are left alone.
pub(super) fn delete_old(path: &Path, keep: usize, kind: &str) -> Result<()> {
    let is_ours = |path: &Path| {
        let is_file = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
        let begins = is_file.then(|| File::open(path).and_then(|file| segment::begins(&file)));
        matches!(begins, Some(Ok(Begins::Recording(start))) if start.kind == kind)
    };
    let mut files = segment::numbered(path).map_err(|error| Error::from(error).at(path))?;
    files.retain(|(_, path)| is_ours(path));
    let many = files.len().saturating_sub(keep);
    for (_, old) in files.iter().take(many) {
        std::fs::remove_file(old).map_err(|error| Error::from(error).at(old))?;
    }
    Ok(())
}

fn lock(file: &File, path: &Path) -> Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::config("another recording is written to this file").at(path),
        TryLockError::Error(error) => Error::from(error).at(path),
    })
}

fn not_ours(path: &Path, why: &str) -> Error {
    Error::config(why).at(path)
}
