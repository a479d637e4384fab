//! Where a spool is: its path, who has it, and how its file is opened whatever has become of it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::Database;

use crate::Result;

use super::failure::{Failure, guarded};
use super::queue::Queue;
use super::salvage;

/// How much memory the database may use for pages.
const CACHE: usize = 4 << 20;

/// A path that this process alone works at, until it is dropped or ends in whatever way.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// A lock of a file of its own: that of the database goes away while the database is opened again.
    lock: File,
}

/// What was lost when it was opened.
pub(super) struct Opened {
    pub(super) queue: Queue,
    /// Messages known to be lost; at least 1 where the file could not be read as a database.
    pub(super) corrupt: u64,
}

impl Place {
    /// Takes the path for this process.
    pub(super) fn take(path: &Path) -> Result<Self> {
        let path = resolve(path).map_err(|error| Failure::Io(error).error(path))?;
        let lock = lock(&with_suffix(&path, ".lock")).map_err(|failure| failure.error(&path))?;
        Ok(Self { path, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How long the file is; much of it may be holes.
    pub(super) fn file_len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Opens the file, which is made where there is none. One that is corrupt is made anew of what is found in it.
    pub(super) fn open(&self, max_bytes: u64, floor: u64) -> Result<Opened, Failure> {
        create_empty(&self.path)?;
        match guarded(|| self.database(&self.path, max_bytes)) {
            Ok((queue, corrupt)) => Ok(Opened { queue, corrupt }),
            Err(failure) if failure.is_corrupt() => guarded(|| self.make_anew(max_bytes, floor)),
            Err(failure) => Err(failure),
        }
    }

    /// Opens what is there and can be read, and makes nothing.
    pub(super) fn open_existing(&self) -> Result<Queue, Failure> {
        std::fs::metadata(&self.path)?;
        guarded(|| self.database(&self.path, u64::MAX)).map(|(queue, _)| queue)
    }

    fn database(&self, path: &Path, max_bytes: u64) -> Result<(Queue, u64), Failure> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        // Without this the checksums of pages are looked at after a crash only, and what else happened to the file is found in
        // mid-work, by a panic or not at all. It reads the whole file: 20 ms for 32 MiB that are cached.
        builder.set_check_integrity_on_open(true);
        // An empty file becomes an empty database; one that is not empty is to be one already.
        Queue::new(builder.create(path)?, max_bytes)
    }

    /// Makes a new file of what is found in the corrupt one, and puts it in its place; the corrupt one is kept under another
    /// name, the last one only.
    fn make_anew(&self, max_bytes: u64, floor: u64) -> Result<Opened, Failure> {
        let old = File::open(&self.path)?;
        let found = salvage::scan(&old, floor)?;
        if found.is_empty() && !salvage::may_be_ours(&old) {
            return Err(Failure::NotOurs("this file is no spool"));
        }
        let new = with_suffix(&self.path, ".new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        create_empty(&new)?;
        std::fs::set_permissions(&new, old.metadata()?.permissions())?;
        let filled = self.database(&new, max_bytes).and_then(|(mut queue, _)| {
            let corrupt = salvage::refill(&mut queue, &old, &found)?;
            Ok(Opened { queue, corrupt })
        });
        if filled.is_err() {
            // Where the disk is full it takes the room that is needed for the next try.
            let _ = std::fs::remove_file(&new);
        }
        let opened = filled?;
        self.replace(&new)?;
        Ok(opened)
    }

    /// Puts the new file in the place of the old one. At each instant one of them is there, also if we are killed.
    fn replace(&self, new: &Path) -> io::Result<()> {
        let kept = self.kept();
        let number = kept.iter().map(|(number, _)| *number).max().unwrap_or(0).saturating_add(1);
        let name = with_suffix(&self.path, &format!(".corrupt-{number}"));
        // Not every file system has hard links.
        if std::fs::hard_link(&self.path, &name).is_err() {
            std::fs::rename(&self.path, &name)?;
        }
        std::fs::rename(new, &self.path)?;
        for (_, older) in kept {
            let _ = std::fs::remove_file(older);
        }
        sync_folder(&self.path)
    }

    /// The corrupt files that were kept, by their number.
    fn kept(&self) -> Vec<(u64, PathBuf)> {
        let mut prefix = self.path.file_name().unwrap_or_default().to_owned();
        prefix.push(".corrupt-");
        let entries = folder(&self.path).read_dir().into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let name = entry.file_name();
            let number = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes())?;
            Some((std::str::from_utf8(number).ok()?.parse().ok()?, entry.path()))
        });
        kept.collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Closing it is not enough: a process that is just being started has a copy of the descriptor for a moment.
        let _ = self.lock.unlock();
    }
}

/// The path without symbolic links: what is put in the place of the file is to be found by the same name.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
            Ok(folder(path).canonicalize()?.join(name))
        }
        result => result,
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn lock(path: &Path) -> Result<File, Failure> {
    let file = private().truncate(false).open(path).map_err(Failure::Io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::InUse),
        Err(TryLockError::Error(error)) => Err(Failure::Io(error)),
    }
}

/// Command lines of processes are in it, which are not for everybody.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

/// An empty file where there is none, on the disk with its name.
fn create_empty(path: &Path) -> io::Result<()> {
    match private().create_new(true).open(path) {
        Ok(_) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}
