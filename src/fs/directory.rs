//! The settings of a registered directory, and the times at which its scans are due.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::scan::{Boundary, Globs};
use crate::{Monotonic, Result, Text};

/// A directory that is reported as a part of its file system: see [`FileSystems::directory`](crate::FileSystems).
///
/// The size of a directory is found by a scan, and its result is kept for a time to live (TTL). Scans run on threads of
/// their own; meanwhile the ticks report the last value again, with its age:
///
/// ```text
/// ticks            0     1     2     3     4     5     6     7
///                  |-----|-----|-----|-----|-----|-----|-----|
/// scans            [==]           [=======]           [====]
///                    └── ttl ─────┘       └── ttl ────┘
/// the tick's value   a   a     a  a     a     b     b    b   c
/// ```
///
/// A tick waits for the first scan, and for no later one. With [`wait`](Self::wait) every tick waits for the scans that are
/// due; with [`background`](Self::background) none does, not even for the first. A [`watched`](Self::watched) directory is
/// brought up to date at each tick, by the events of the kernel.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a directory has to be registered with a source or a registry"]
pub struct Directory {
    pub(super) name: Text,
    pub(super) path: PathBuf,
    pub(super) ttl: Duration,
    pub(super) backoff: f64,
    pub(super) patience: Patience,
    pub(super) watched: bool,
    pub(super) optional: bool,
    pub(super) exclude: Arc<Globs>,
    pub(super) boundary: Boundary,
    verify: Option<Duration>,
}

/// The scans that a tick waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    First,
    All,
    None,
}

/// The period in which everything in a watched directory is read again: at one tick per second a tick reads a small part of it.
const VERIFY: Duration = Duration::from_secs(1800);

/// The settings of a directory.
#[cfg(feature = "config")]
pub(crate) struct Settings<'a> {
    pub(crate) name: &'a Text,
    pub(crate) path: &'a Path,
    pub(crate) ttl: Duration,
    pub(crate) backoff: f64,
    pub(crate) patience: Patience,
    pub(crate) watched: bool,
    pub(crate) optional: bool,
    pub(crate) exclude: Vec<String>,
    pub(crate) boundary: Boundary,
    pub(crate) verify: Option<Duration>,
}

impl Directory {
    /// Names the directory at `path`. It is scanned again when its value is a minute old.
    ///
    /// A relative path counts from the current working directory. Symbolic links in the path are followed; those in the
    /// directory are not. The path is resolved again before each scan, and at each tick if the directory is
    /// [watched](Self::watched): when it leads elsewhere (a link that was changed, a directory that was moved to
    /// another disk and replaced by a link), the old value is forgotten and the directory that it leads to is scanned.
    pub fn new(name: impl Into<Text>, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        Self {
            name: name.into(),
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
            ttl: Duration::from_secs(60),
            backoff: 0.0,
            patience: Patience::First,
            watched: false,
            optional: false,
            exclude: Arc::default(),
            boundary: Boundary::SameMount,
            verify: None,
        }
    }

    /// Sets how long the result of a scan is valid, counted from the end of the scan. Default: 60 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Lets at least `factor` times the length of a scan pass before the next one: with 9, at most a tenth of the time is
    /// spent on scanning, however large the directory grows. Default: 0, only the TTL counts. A factor that is not a positive
    /// number counts as 0.
    pub fn backoff(mut self, factor: f64) -> Self {
        self.backoff = if factor > 0.0 { factor } else { 0.0 };
        self
    }

    /// Makes each tick wait for the scans that are due: its values are never older than the TTL. Default: a tick waits for the
    /// first scan only.
    pub fn wait(mut self) -> Self {
        self.patience = Patience::All;
        self
    }

    /// Makes no tick wait for a scan, not even for the first: until that has ended, the part has 0 bytes and is not complete.
    pub fn background(mut self) -> Self {
        self.patience = Patience::None;
        self
    }

    /// Keeps it up to date by the events of the kernel: inotify reports which of the directories in it changed, and only those
    /// are read again. Its figures are then those of each tick, and not of the last scan. Default: it is scanned again when
    /// its TTL is over.
    ///
    /// ```text
    /// ticks            0     1     2     3     4     5
    ///                  |-----|-----|-----|-----|-----|
    /// reads            [==]  ·     ·     k     ·     ·     all, changes (k directories), nothing
    /// the tick's value   a   a     a     b     b     b     each of its own tick
    /// ```
    ///
    /// At the first tick it is scanned, and each directory in it gets a watch. At every later tick it is brought up to date,
    /// on a thread of the source, for which the tick waits up to [`FileSystems::budget`](crate::FileSystems::budget) (without
    /// an end after [`wait`](Self::wait), not at all after [`background`](Self::background)). If it takes longer it goes on
    /// in that thread, and the ticks report the last value with its age. The value is that of a scan made now, including hard
    /// links, mounts below and registered directories in it: those are kept up to date with it, watched or not, and when
    /// one is added or removed, everything is read anew. [`Part::watch`](crate::fs::Part::watch) reports how reliable the value is.
    ///
    /// A watched directory in one that is not watched is read once more by the scans of the outer one: if both are of
    /// interest, watch the outer one.
    ///
    /// # Cost
    ///
    /// A tick at which nothing changed costs some tens of microseconds and its share of the [verification](Self::verify): at
    /// one tick per second, an 1,800th of a scan. If k directories changed, it costs reading those. Each directory
    /// takes a watch, for which the kernel needs about 1 KiB and keeps the inode in memory, and about half a KiB in this process.
    /// Files take no memory, except those with several names, and those in directories of
    /// thousands of files that change often. [`FileSystems::scan_threads`](crate::FileSystems::scan_threads) and
    /// [`entries_per_second`](crate::FileSystems::entries_per_second) have no effect on it.
    ///
    /// # Limits
    ///
    /// - A user has only so many watches for all programs together (`/proc/sys/fs/inotify/max_user_watches`). The watched
    ///   directories of a source share a quarter of them, or [`FileSystems::max_watches`](crate::FileSystems::max_watches).
    ///   A directory without a watch is read again when the TTL is over, which its age shows
    ///   ([`WatchMode::Partly`](crate::fs::WatchMode::Partly)).
    /// - Directories without a watch are kept in memory only as long as they are no more than those with one, or 16,384.
    ///   If there are more, the whole directory is scanned by its TTL as if it was not watched
    ///   ([`WatchMode::Scanned`](crate::fs::WatchMode::Scanned)), until a scan finds half as many.
    /// - Without inotify (none of `max_user_instances` left, a kernel without it) no directory has a watch
    ///   ([`WatchMode::Polled`](crate::fs::WatchMode::Polled)).
    /// - On a file system that needs a server or a program to answer, such as NFS and FUSE, others make changes without
    ///   events, and on one that shows state of the kernel, such as proc, sysfs and cgroup, the kernel does. An overlay changes
    ///   without an event as well, when a layer of it is written to by another path. On all of these a directory is
    ///   scanned by its TTL as if it was not watched ([`WatchMode::Scanned`](crate::fs::WatchMode::Scanned)).
    /// - When there were more changes than the kernel keeps events for (`max_queued_events`), everything is read again, and less
    ///   often the more often that happens ([`WatchMode::Overflow`](crate::fs::WatchMode::Overflow)).
    ///
    /// # Changes without events
    ///
    /// Two kinds of files are checked (`statx(2)`) at every tick, in turn if there are more than 512 of a kind; their number and
    /// their bytes are [`Watch::uncertain_files`](crate::fs::Watch::uncertain_files) and
    /// [`uncertain_bytes`](crate::fs::Watch::uncertain_bytes):
    ///
    /// - Files that have names outside of the directory, by which they can be written to.
    /// - Sparse files, whose holes (64 KiB or more) can be filled without an event: by stores through `mmap(2)`,
    ///   `io_submit(2)`, and the kernel's own writing, such as that of a loop device to its image.
    ///
    /// Files that were created or written to since they are watched, and were not closed, are checked as well: they can grow
    /// by `io_submit(2)`. These changes are missed:
    ///
    /// - writes by `io_submit(2)` or the kernel alone to a file that had been open since before it was watched, or that has
    ///   several names, all in the directory;
    /// - such writes into holes of less than 64 KiB;
    /// - a new name of a file outside of the directory;
    /// - changes that a file system makes by itself: compression, preallocation.
    ///
    /// So every directory is read again once in a while, with or without events: see [`verify`](Self::verify). The error of the
    /// figures that this found is [`Watch::drift_bytes`](crate::fs::Watch::drift_bytes).
    /// [`Registry::invalidate`](crate::fs::Registry::invalidate) and [`force`](crate::fs::Registry::force) begin anew with a
    /// full scan.
    ///
    /// # Errors
    ///
    /// It has no errors of its own: directories that cannot be watched are read in turn, which
    /// [`Part::watch`](crate::fs::Part::watch) reports.
    ///
    /// # Examples
    ///
    /// ```
    /// use appmon::{Cancel, Directory, FileSystems, Snapshot, Source};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let mut disks = FileSystems::mounted().directory(Directory::new("work", dir.path()).watched().wait());
    /// let mut snapshot = Snapshot::default();
    /// disks.collect(&mut snapshot, &Cancel::new())?;
    /// std::fs::write(dir.path().join("file"), "new")?;
    /// disks.collect(&mut snapshot, &Cancel::new())?;
    /// let work = snapshot.samples.iter().find_map(|fs| fs.directory("work")).unwrap();
    /// assert_eq!(work.files, Some(1));
    /// println!("{} bytes, {:?}", work.bytes, work.watch);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watched(mut self) -> Self {
        self.watched = true;
        self
    }

    /// Sets the period in which each directory in a [watched](Self::watched) one is read again though no event reported a
    /// change, spread over the ticks: changes without events are missed for no longer than that. Default: half an hour, or the
    /// TTL if that is longer. A tick makes the same share of a full scan as the time since the last tick is of this period. No
    /// effect on directories that are not watched.
    pub fn verify(mut self, period: Duration) -> Self {
        self.verify = Some(period);
        self
    }

    /// Leaves out entries that a glob matches, and everything below them: a name (`*.tmp`, `.snapshots`) or a path from the
    /// directory on (`/cache`, `build/**/*.o`), as in [`Scan::exclude`](crate::fs::Scan::exclude). Call it again for more globs.
    /// Entries left out count for [`PartKind::Other`](crate::fs::PartKind::Other), unless they are in another registered
    /// directory. Default: nothing.
    ///
    /// A registered directory below is not left out by that: it counts for itself. If two directories with the same path are
    /// registered, the globs of the first are used.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    ///
    /// ```
    /// let srv = appmon::Directory::new("srv", "/srv").exclude("/cache")?.exclude("*.tmp")?;
    /// # Ok::<(), appmon::Error>(())
    /// ```
    pub fn exclude(mut self, glob: &str) -> Result<Self> {
        Arc::make_mut(&mut self.exclude).add(glob)?;
        Ok(self)
    }

    /// Sets whether other mounts in it are scanned. Default: [`Boundary::SameMount`], they are left out and counted in
    /// [`Part::excluded_mounts`](crate::fs::Part::excluded_mounts).
    ///
    /// With [`Boundary::Cross`] it goes on in all of them, and in the mounts in those; with [`Boundary::SameDevice`] in mounts
    /// of the same file system: bind mounts and subvolumes. A part belongs to one file system, whose total its parts sum to, so a
    /// directory that goes on has one part for each of these mounts, by its own name and with the path of the mount, in the
    /// sample of the file system that is mounted there, if that is registered or discovered. The total of the directory is the
    /// sum over the parts of its name. File systems that store no files (proc, sysfs) have no sample and no part.
    ///
    /// Each of the mounts is scanned by itself. So one that may hang delays neither the tick nor the other parts,
    /// and it is never asked while it does not answer ([`FileSystemSample::stalled`](crate::FileSystemSample::stalled)). The
    /// globs of [`exclude`](Self::exclude) apply there as well. A directory that is registered by itself, or is mounted in two
    /// places, counts once ([`Part::same_as`](crate::fs::Part::same_as)).
    ///
    /// ```
    /// use appmon::fs::Boundary;
    ///
    /// let all = appmon::Directory::new("all", "/srv").boundary(Boundary::Cross);
    /// # let _ = all;
    /// ```
    pub fn boundary(mut self, boundary: Boundary) -> Self {
        self.boundary = boundary;
        self
    }

    /// Allows it to be missing: while its path does not exist, or is not a directory, or its file system is not mounted or not
    /// registered, it has no part, and that is no error. It is counted in
    /// [`Skipped::vanished`](crate::Skipped::vanished), and looked for at each tick. Default: it has to exist at first.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Returns the same settings for a mount in it, at `below` from it on.
    pub(super) fn beyond(&self, point: &Path, below: &Path) -> Self {
        let (path, exclude) = (point.to_path_buf(), Arc::new(self.exclude.within(below)));
        Self { path, exclude, optional: true, boundary: Boundary::SameMount, ..self.clone() }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// Returns its path, as passed to [`new`](Self::new), made absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the period in which everything in a watched directory is read again.
    /// The settings that the source's own files use directly, as a value that names each.
    #[cfg(feature = "config")]
    pub(crate) fn settings(&self) -> Settings<'_> {
        let Self { name, path, ttl, backoff, patience, watched, optional, exclude, boundary, verify } = self;
        Settings {
            name,
            path,
            ttl: *ttl,
            backoff: *backoff,
            patience: *patience,
            watched: *watched,
            optional: *optional,
            exclude: exclude.texts(),
            boundary: *boundary,
            verify: *verify,
        }
    }

    pub(super) fn verified_every(&self) -> Duration {
        self.verify.unwrap_or_else(|| VERIFY.max(self.ttl))
    }

    /// Returns when the next scan is due after one that took `took` and ended at `ended`.
    pub(super) fn due(&self, ended: Monotonic, took: Duration) -> Monotonic {
        let rest = Duration::try_from_secs_f64(took.as_secs_f64() * self.backoff).unwrap_or(Duration::MAX);
        ended.plus(self.ttl.max(rest))
    }
}

/// The last scan of a directory that ended, successful or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) ended: Monotonic,
    pub(super) took: Duration,
    /// Whether it was invalidated before its TTL was over.
    pub(super) outdated: bool,
}

impl Attempt {
    /// Whether the next scan is due.
    pub(super) fn is_over(&self, directory: &Directory, now: Monotonic) -> bool {
        self.outdated || now >= directory.due(self.ended, self.took)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests: an overflow is a failure")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    fn attempt(ended: u64, took: Duration) -> Attempt {
        Attempt { ended: at(ended), took, outdated: false }
    }

    #[test]
    fn the_ttl_counts_from_the_end_of_the_scan() {
        let directory = Directory::new("a", "/a").ttl(10 * SECOND);
        let last = attempt(100, 7 * SECOND);
        assert!(!last.is_over(&directory, at(100)));
        assert!(!last.is_over(&directory, at(109)));
        assert!(last.is_over(&directory, at(110)));
        assert!(last.is_over(&directory, at(10_000)));
        // A clock that is read before the scan's end makes nothing due.
        assert!(!last.is_over(&directory, at(99)));
    }

    #[test]
    fn an_invalidated_directory_is_due_at_once() {
        let directory = Directory::new("a", "/a").ttl(10 * SECOND);
        assert!(Attempt { outdated: true, ..attempt(100, SECOND) }.is_over(&directory, at(100)));
    }

    #[test]
    fn a_ttl_of_nothing_is_always_over_and_an_endless_one_never() {
        let last = attempt(100, SECOND);
        assert!(last.is_over(&Directory::new("a", "/a").ttl(Duration::ZERO), at(100)));
        assert!(!last.is_over(&Directory::new("a", "/a").ttl(Duration::MAX), at(1_000_000_000)));
    }

    #[test]
    fn a_scan_that_takes_long_is_made_less_often() {
        let directory = Directory::new("a", "/a").ttl(10 * SECOND).backoff(9.0);
        assert_eq!(directory.due(at(100), SECOND), at(110), "the TTL is longer");
        assert_eq!(directory.due(at(100), 20 * SECOND), at(280));
        assert_eq!(Directory::new("a", "/a").ttl(SECOND).backoff(f64::NAN).due(at(1), SECOND), at(2));
        assert!(directory.clone().backoff(f64::INFINITY).due(at(100), SECOND) > at(1_000_000_000));
    }
}
