//! A stream of the entries of a directory tree, for programs that need files rather than sums.

use std::fmt;
use std::fs::{FileType, Metadata};
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use async_walkdir::{DirEntry, Filtering, WalkDir};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::FusedStream;

use super::DeviceId;
use crate::{Error, Result, Timestamp};

/// Returns a lazy stream of the entries of the directory tree at `path`: see [`Entries`].
///
/// `path` has to be a directory, or a symbolic link to one, and is not an entry itself. If it is not one, the first and only
/// item of the stream is an error.
///
/// # Examples
///
/// The old logs below a directory. Directories named `keep` are not opened:
///
/// ```
/// use appmon::Timestamp;
/// use appmon::fs::{Walk, entries};
/// use futures::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # for name in ["a.log", "b.txt", "keep/c.log"] {
/// #     let path = dir.path().join(name);
/// #     std::fs::create_dir_all(path.parent().unwrap()).unwrap();
/// #     std::fs::write(path, "1234").unwrap();
/// # }
/// # let (logs, then, mut found) = (dir.path(), Timestamp::now(), Vec::new());
/// let mut files = entries(logs).choose(async |entry| match entry.path.extension() {
///     _ if entry.path.ends_with("keep") => Walk::SkipTree,
///     Some(extension) if extension == "log" && entry.file_type.is_file() => Walk::Keep,
///     _ => Walk::Skip,
/// });
/// while let Some(file) = files.try_next().await? {
///     let metadata = file.metadata().await?;
///     if metadata.modified <= then {
///         println!("{:>12} {}", metadata.allocated_bytes, file.path.display());
///     }
/// #   found.push(file.path);
/// }
/// # assert_eq!(found, [logs.join("a.log")]);
/// # Ok(())
/// # }
/// ```
pub fn entries(path: impl Into<PathBuf>) -> Entries {
    let root = path.into();
    let shared = Arc::new(Mutex::new(WalkState::default()));
    let (outside, given) = (root.components().count(), Arc::clone(&shared));
    let walk = WalkDir::new(&root).filter(move |found| look(found, outside, Arc::clone(&given)));
    Entries { root, walk: Some(Mutex::new(walk)), shared, failure: None }
}

/// A stream of the entries of a directory tree: files, directories, symbolic links and all other kinds.
///
/// [`entries`] creates one, [`choose`](Self::choose) selects the entries to yield and the directories to open. Entries come in
/// the order of the kernel, unsorted, each directory before its entries. Symbolic links are yielded and never followed, other
/// file systems in the tree are walked as well; to stay on one, compare the device of [`Entry::metadata`] in `choose`.
///
/// It is for programs that need files. For sums use [`Scan`](crate::fs::Scan): a walk goes to a pool of threads and back three
/// times for each entry, and once more for its metadata, so it takes some thirty times as long. It has one directory open
/// at each level, and uses paths from the root of the tree: if there are no more descriptors, or a path is longer than
/// the system allows (4,095 bytes), a directory yields an error. In a tree that others write to, a directory that is replaced
/// by a symbolic link right before it is opened is followed.
///
/// # Threads
///
/// The walk is that of the crate `async-walkdir`. Blocking calls run on the pool of the crate `blocking`, which all its users in
/// the process share: it starts threads as needed, at most 500 unless `BLOCKING_MAX_THREADS` is set, and each ends
/// when it had nothing to do for half a second. A stream uses one of them at a time. It is not tokio's pool, and
/// tokio is not needed: any executor will do, and a file system that hangs does not delay the shutdown of a runtime.
/// [`choose`](Self::choose)'s futures run where the stream is polled.
///
/// # Errors
///
/// Each error has the path at which it happened, and the walk goes on with the next entry. A directory that cannot
/// be opened yields an entry and then an error. Entries that are removed during the walk yield no error.
///
/// # Cancel safety
///
/// Polling is cancel safe. Nothing is read until the stream is polled, and no more than the next entry then. When it is
/// dropped its directories are closed, and at most one call that has begun goes on in the pool to its end.
#[must_use = "streams do nothing unless polled"]
pub struct Entries {
    root: PathBuf,
    /// `None` at the end. The lock is never taken: it makes the stream `Sync`, which it need not be to be polled.
    walk: Option<Mutex<WalkDir>>,
    shared: Arc<Mutex<WalkState>>,
    /// The error to yield after the entry that it belongs to.
    failure: Option<Error>,
}

/// State that the stream shares with the walk, which owns the filter.
#[derive(Default)]
struct WalkState {
    choices: Vec<Choice>,
    /// The entry that the walk is about to yield, or about to fail to open.
    found: Option<Result<Entry>>,
}

type Choice = Box<dyn FnMut(Entry) -> BoxFuture<'static, Walk> + Send>;

/// The action of [`Entries`] for an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use = "it has an effect only where it is returned"]
pub enum Walk {
    /// Yield it, and if it is a directory, walk its entries.
    #[default]
    Keep,
    /// Leave it out. If it is a directory, still walk its entries.
    Skip,
    /// Leave it out. If it is a directory, do not open it.
    SkipTree,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Entry {
    /// Its path, beginning with the one passed to [`entries`]. It is not UTF-8 if a name in it is not.
    pub path: PathBuf,
    /// Its type. Symbolic links are not followed.
    pub file_type: FileType,
    /// Its depth in the tree: 1 for entries of the root.
    pub depth: usize,
}

/// The metadata of an entry: see [`Entry::metadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryMetadata {
    /// The length of a file or of the text of a symbolic link, as it would be copied; 0 for all other types.
    pub apparent_bytes: u64,
    /// The blocks it has on the disk, in bytes.
    pub allocated_bytes: u64,
    /// The device of its file system.
    pub device: DeviceId,
    /// Its inode number in that file system: the same for all names of one file.
    pub inode: u64,
    /// The number of its names.
    pub links: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions: the twelve lower bits of `st_mode`.
    pub permissions: u32,
    /// The time of the last change of its content.
    pub modified: Timestamp,
}

impl Entries {
    /// Calls `ask` for each entry, before a directory is opened, to select the entries. Default: all are [kept](Walk::Keep).
    ///
    /// `ask` returns a future, and is called for the next entry when that is ready. It may wait for I/O, such as
    /// [`Entry::metadata`]. An `async |entry| …` is fine as long as it does not borrow its captures; otherwise use a
    /// `move |entry|` that passes clones to an `async move { … }`. Call this method again for several closures: an entry is
    /// yielded when all keep it, and a directory is not opened when one of them returns [`Walk::SkipTree`].
    ///
    /// It is not called `filter`, so that the methods of that name of `futures` and `tokio_stream` can be used on this stream
    /// too: they filter the items, and cannot prevent a directory from being opened.
    pub fn choose<F, Fut>(self, mut ask: F) -> Self
    where
        F: FnMut(Entry) -> Fut + Send + 'static,
        Fut: Future<Output = Walk> + Send + 'static,
    {
        lock(&self.shared).choices.push(Box::new(move |entry| Box::pin(ask(entry))));
        self
    }

    /// Returns the path passed to [`entries`].
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Entry {
    /// Reads its metadata (`lstat(2)`), by its path; a symbolic link is not followed. This takes one call on the pool of
    /// [`Entries`](Entries#threads).
    ///
    /// # Errors
    ///
    /// When it does not exist any more ([`is_not_found`](Error::is_not_found)), or a permission is missing
    /// ([`is_denied`](Error::is_denied)).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses its result and nothing else.
    pub async fn metadata(&self) -> Result<EntryMetadata> {
        let metadata = async_fs::symlink_metadata(&self.path).await.map_err(|error| Error::io(error).at(&self.path))?;
        Ok(EntryMetadata::new(&metadata))
    }
}

impl EntryMetadata {
    fn new(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        let device = metadata.dev();
        Self {
            apparent_bytes: if kind.is_file() || kind.is_symlink() { metadata.size() } else { 0 },
            // These blocks have 512 bytes, independent of the block size of the file system.
            allocated_bytes: metadata.blocks().saturating_mul(512),
            device: DeviceId { major: rustix::fs::major(device), minor: rustix::fs::minor(device) },
            inode: metadata.ino(),
            links: metadata.nlink(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            permissions: metadata.mode() & 0o7777,
            modified: metadata.modified().map(Timestamp::from).unwrap_or_default(),
        }
    }
}

/// Returns the action for an entry of the walk. A `DirEntry` keeps its directory open: our entry has a path instead.
async fn look(found: DirEntry, outside: usize, shared: Arc<Mutex<WalkState>>) -> Filtering {
    let path = found.path();
    // The listing has the type already, but the walk has only this accessor for it.
    let file_type = found.file_type().await;
    drop(found);
    let entry = match file_type {
        Ok(file_type) => {
            let depth = path.components().count().saturating_sub(outside);
            Entry { path, file_type, depth }
        }
        Err(error) => {
            lock(&shared).found = Some(Err(Error::io(error).at(path)));
            return Filtering::Continue;
        }
    };
    let mut walk = Walk::Keep;
    let mut place = 0_usize;
    while let Some(answer) = ask(&shared, place, &entry) {
        walk = walk.max(answer.await);
        if walk == Walk::SkipTree {
            return Filtering::IgnoreDir;
        }
        place = place.saturating_add(1);
    }
    if walk == Walk::Skip {
        return Filtering::Ignore;
    }
    lock(&shared).found = Some(Ok(entry));
    Filtering::Continue
}

fn ask(shared: &Mutex<WalkState>, place: usize, entry: &Entry) -> Option<BoxFuture<'static, Walk>> {
    lock(shared).choices.get_mut(place).map(|choice| choice(entry.clone()))
}

/// A poisoned lock is safe to use: a panic of the user's closure leaves no state half written.
fn lock(shared: &Mutex<WalkState>) -> MutexGuard<'_, WalkState> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entries {
    /// Returns the error to yield for an error of the walk: none if an entry was removed, unless that is the root.
    fn failure(&self, error: async_walkdir::Error) -> Option<Error> {
        let path = error.path().unwrap_or(&self.root).to_path_buf();
        let error = Error::io(error.into_io()?).at(&path);
        (path == self.root || !error.is_not_found()).then_some(error)
    }
}

impl Stream for Entries {
    type Item = Result<Entry>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(failure) = this.failure.take() {
                return Poll::Ready(Some(Err(failure)));
            }
            // A panic of the user's closure ends the stream: the walk cannot be resumed.
            let Some(mut walk) = this.walk.take() else { return Poll::Ready(None) };
            let polled = Pin::new(walk.get_mut().unwrap_or_else(PoisonError::into_inner)).poll_next(cx);
            if !matches!(polled, Poll::Ready(None)) {
                this.walk = Some(walk);
            }
            let next = ready!(polled);
            let found = lock(&this.shared).found.take();
            match next {
                Some(Ok(_)) | None => {}
                // The walk yields an error in place of a directory that it cannot open: here the directory comes first.
                Some(Err(error)) => this.failure = this.failure(error),
            }
            match found {
                Some(Err(error)) if error.is_not_found() => {}
                Some(found) => return Poll::Ready(Some(found)),
                None => {}
            }
        }
    }
}

impl FusedStream for Entries {
    fn is_terminated(&self) -> bool {
        self.walk.is_none() && self.failure.is_none()
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("root", &self.root)
            .field("ended", &self.is_terminated())
            .finish_non_exhaustive()
    }
}
