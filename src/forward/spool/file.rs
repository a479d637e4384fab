//! The file of a spool: opened or created at its path, locked for this process, and never confused with another file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, StorageBackend};

use super::failure::{Failure, guarded};
use super::queue::{OWNER, Queue};
use super::record::MARK;
use crate::own_file::{folder, is_at, move_to, open_regular};

/// The memory of the database for pages, half of it for those of the current transaction.
const CACHE: usize = 8 << 20;

/// The first bytes of every redb database.
const DATABASE: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

/// The number of attempts when the path changes to another file at the same moment.
const TRIES: usize = 8;

/// The size of the blocks in which a file is searched.
const WINDOW: usize = 1 << 20;

/// An open spool file, locked for this process until it is dropped. The kernel releases the lock when the process ends, in whatever
/// way.
#[derive(Debug)]
pub(super) struct SpoolFile {
    path: PathBuf,
    file: Arc<File>,
    max_bytes: u64,
}

impl SpoolFile {
    /// Opens the file at the path, or creates it. Returns true if it was damaged, and was replaced by a new one.
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<(Self, Queue, bool), Failure> {
        let path = resolve(path)?;
        for _ in 0..TRIES {
            let opened = match std::fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Self::create(&path, max_bytes, |_| Ok(())).map(|(file, queue)| (file, queue, false))
                }
                Err(error) => return Err(error.into()),
                Ok(_) => Self::take(&path, max_bytes).and_then(|file| {
                    let (queue, instead) = file.reopen()?;
                    let damaged = instead.is_some();
                    Ok((instead.unwrap_or(file), queue, damaged))
                }),
            };
            match opened {
                Err(Failure::Io(error)) if is_other_file(&error) => {}
                opened => return opened,
            }
        }
        Err(Failure::InUse)
    }

    /// Opens and locks an existing file, without creating one.
    pub(super) fn open_existing(path: &Path) -> Result<(Self, Queue), Failure> {
        let file = Self::take(&resolve(path)?, u64::MAX)?;
        let queue = file.queue()?;
        Ok((file, queue))
    }

    /// Opens the database of the file again. A damaged one is renamed, and an empty one is created instead.
    pub(super) fn reopen(&self) -> Result<(Queue, Option<Self>), Failure> {
        // An empty one would become an empty database.
        let emptied = || Failure::Damaged("the file was emptied".to_owned());
        let queue = if self.len() == 0 { Err(emptied()) } else { self.queue() };
        match queue {
            Ok(queue) => Ok((queue, None)),
            Err(failure) if failure.is_damage() => {
                tracing::warn!(error = %failure.error(&self.path), "the spool is damaged, and begins anew");
                self.put_aside()?;
                let (file, queue) = self.create_alike(|_| Ok(()))?;
                Ok((queue, Some(file)))
            }
            Err(failure) => Err(failure),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length of the file, including holes.
    pub(super) fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Whether the path still leads to this file. It may have been moved or removed.
    pub(super) fn is_at_its_path(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Creates a new file at the path, where there is none now, with the messages of this one.
    pub(super) fn make_again(&self, queue: &Queue) -> Result<(Self, Queue), Failure> {
        self.create_alike(|new| new.fill_from(queue)).map_err(|why| Failure::Moved(Box::new(why)))
    }

    /// Opens the regular file at the path, if it has the content of a spool and is not in use.
    fn take(path: &Path, max_bytes: u64) -> Result<Self, Failure> {
        let file = open_regular(path)?.ok_or(Failure::NotOurs("this is not a regular file"))?;
        if !is_spool(&file) {
            return Err(Failure::NotOurs("this file is not a spool"));
        }
        lock(&file)?;
        let this = Self { path: path.to_owned(), file: Arc::new(file), max_bytes };
        if !this.is_at_its_path() {
            return Err(other_file().into());
        }
        Ok(this)
    }

    /// Creates a file at the path, where there is none. It gets its name when its content is complete.
    fn create(
        path: &Path,
        max_bytes: u64,
        fill: impl FnOnce(&mut Queue) -> Result<(), Failure>,
    ) -> Result<(Self, Queue), Failure> {
        let temporary = with_suffix(path, &format!(".{:016x}.new", fastrand::u64(..)));
        // It contains command lines of processes, which may be confidential.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary)?;
        let this = Self { path: path.to_owned(), file: Arc::new(file), max_bytes };
        let made = lock(&this.file).and_then(|()| this.queue()).and_then(|mut queue| {
            guarded(|| fill(&mut queue))?;
            move_to(&temporary, path)?;
            Ok(queue)
        });
        if made.is_err() {
            // Made right here under a name that nobody had.
            let _ = std::fs::remove_file(&temporary);
        }
        let queue = made?;
        File::open(folder(path))?.sync_all()?;
        Ok((this, queue))
    }

    /// Renames the damaged file to a free name.
    fn put_aside(&self) -> io::Result<()> {
        // Or it has one already, and it was then that there was no room for a new one.
        if !self.is_at_its_path() {
            return Ok(());
        }
        for number in 1..=u32::MAX {
            match move_to(&self.path, &with_suffix(&self.path, &format!(".corrupt-{number}"))) {
                Err(error) if is_other_file(&error) => {}
                result => return result,
            }
        }
        Err(other_file())
    }

    /// Creates another file at the same path, with the same owner and mode.
    fn create_alike(&self, fill: impl FnOnce(&mut Queue) -> Result<(), Failure>) -> Result<(Self, Queue), Failure> {
        let (file, queue) = Self::create(&self.path, self.max_bytes, fill)?;
        file.file.set_permissions(self.file.metadata()?.permissions())?;
        Ok((file, queue))
    }

    fn queue(&self) -> Result<Queue, Failure> {
        guarded(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE);
            // Without this, page checksums are verified only after a crash, and other damage is found later by a panic, or never.
            // It reads the whole file: 20 ms for 32 MiB in the page cache.
            builder.set_check_integrity_on_open(true);
            Queue::new(builder.create_with_backend(Storage(Arc::clone(&self.file)))?, self.max_bytes)
        })
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // Closing it is not enough: a process being started may have a copy of the descriptor for a moment.
        let _ = self.file.unlock();
    }
}

/// The file as a backend of the database. `SpoolFile` holds the lock, not the database, so it stays while the database is opened again.
#[derive(Debug)]
struct Storage(Arc<File>);

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// Whether a file is a spool, damaged or not: a database with a mark that only a spool has.
fn is_spool(file: &File) -> bool {
    let mut start = [0; DATABASE.len()];
    if file.read_exact_at(&mut start, 0).is_err() || start != DATABASE {
        return false;
    }
    let mut window = vec![0; WINDOW];
    let (mut offset, mut kept) = (0_u64, 0_usize);
    loop {
        let Some(free) = window.get_mut(kept..) else { return false };
        let read = match file.read_at(free, offset) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // An unreadable sector: the mark may be after it.
            Err(_) => {
                let sector = free.len().min(4096);
                free.iter_mut().take(sector).for_each(|byte| *byte = 0);
                sector
            }
        };
        offset = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        let filled = kept.saturating_add(read);
        let bytes = window.get(..filled).unwrap_or_default();
        if contains(bytes, OWNER) || contains(bytes, &MARK) {
            return true;
        }
        // A mark can cross the border of two blocks.
        kept = filled.min(OWNER.len());
        window.copy_within(filled.saturating_sub(kept)..filled, 0);
    }
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    let Some(first) = mark.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(mark) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

/// Returns the error for a path that does not lead to this file (any more).
fn other_file() -> io::Error {
    io::ErrorKind::AlreadyExists.into()
}

fn is_other_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// Returns the path without symbolic links, so that a replacement of the file is found at the same path.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
            Ok(folder(path).canonicalize()?.join(name))
        }
        result => result,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn lock(file: &File) -> Result<(), Failure> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Failure::InUse),
        Err(TryLockError::Error(error)) => Err(Failure::Io(error)),
    }
}
