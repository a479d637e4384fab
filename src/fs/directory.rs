//! A directory whose size is kept: its settings, and when it is due.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::scan::{Boundary, Globs};
use crate::{Monotonic, Result, Text};

/// A directory of a file system, to be told as a part of it of its own: see [`FileSystems::directory`](crate::FileSystems).
///
/// Finding out what a directory holds means to walk through it, which is kept for a time to live. The walk is done beside
/// the ticks, which give the last value again, with its age:
///
/// ```text
/// ticks            0     1     2     3     4     5     6     7
///                  |-----|-----|-----|-----|-----|-----|-----|
/// scans            [==]           [=======]           [====]
///                    └── ttl ─────┘       └── ttl ────┘
/// the tick's value   a   a     a  a     a     b     b    b   c
/// ```
///
/// The first scan is waited for, and no later one. With [`wait`](Self::wait) every tick waits for the scans that are due;
/// with [`background`](Self::background) none does, not even for the first. One that is [`watched`](Self::watched) is kept up
/// to date at each tick by what the kernel tells of changes.
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

/// Which scans a tick waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    First,
    All,
    None,
}

/// How often what is watched is read again in turn: at one tick per second that is a small part of what a tick may cost.
const VERIFY: Duration = Duration::from_secs(1800);

impl Directory {
    /// A directory by a name of your choice, scanned again when what is known is a minute old.
    ///
    /// A relative path counts from the working directory of now. Symbolic links are followed, to find out where it really
    /// is; those in the directory are not. Where it is is found out again before each scan, and at each tick for one that is
    /// [watched](Self::watched): when its path leads elsewhere (a link that was changed, a directory that was moved to
    /// another disk and replaced by a link), what was known is forgotten and the directory that it leads to is scanned.
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

    /// How long what a scan found is good for, counted from its end. Default: 60 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Lets at least `factor` times the length of a scan pass before the next one: with 9, at most a tenth of the time is
    /// spent on scanning, however large the directory grows. Default: 0, only the TTL counts. What is no positive number
    /// counts as 0.
    pub fn backoff(mut self, factor: f64) -> Self {
        self.backoff = if factor > 0.0 { factor } else { 0.0 };
        self
    }

    /// Each tick waits for the scans that are due: what it gives is never older than the TTL. Default: only the first scan
    /// is waited for.
    pub fn wait(mut self) -> Self {
        self.patience = Patience::All;
        self
    }

    /// No tick waits for a scan, not even for the first: until that has ended, the part has 0 bytes and is not complete.
    pub fn background(mut self) -> Self {
        self.patience = Patience::None;
        self
    }

    /// Keeps it up to date by what the kernel tells: inotify says which of the directories in it changed, and only those
    /// are read again. Its figures are then those of each tick, and not of the last scan. Default: it is scanned again when
    /// its TTL is over.
    ///
    /// ```text
    /// ticks            0     1     2     3     4     5
    ///                  |-----|-----|-----|-----|-----|
    /// reads            [==]  ·     ·     k     ·     ·     all, what changed (k directories), nothing
    /// the tick's value   a   a     a     b     b     b     each of its own tick
    /// ```
    ///
    /// At the first tick it is scanned, and each directory in it gets a watch. At every later tick it is brought up to date,
    /// on a thread of the source, for which the tick waits up to [`FileSystems::budget`](crate::FileSystems::budget) (without
    /// an end after [`wait`](Self::wait), not at all after [`background`](Self::background)). What takes longer goes on
    /// beside the ticks, which give the last value with its age. It is told as a scan of now would tell it, hard links,
    /// mounts below and registered directories in it included: those are kept up to date with it, watched or not, and when
    /// one comes or leaves, everything is read anew. [`Part::watch`](crate::fs::Part::watch) says how far it can be relied on.
    ///
    /// A watched directory in one that is not watched is read once more with that, to find out what the outer one holds
    /// besides: where both are of interest, watch the outer one.
    ///
    /// # Cost
    ///
    /// A tick at which nothing changed costs some tens of microseconds and its share of the [verification](Self::verify): at
    /// one tick per second, an 1,800th of a scan. Where k directories changed, it costs the reading of those. Each directory
    /// takes a watch, for which the kernel needs about 1 KiB and keeps the inode in memory, and about half a KiB here. Nothing is kept for each file, except for those with several names, and in directories of
    /// thousands of files that change often. [`FileSystems::scan_threads`](crate::FileSystems::scan_threads) and
    /// [`entries_per_second`](crate::FileSystems::entries_per_second) have no effect on it.
    ///
    /// # Limits
    ///
    /// - A user has only so many watches for all programs together (`/proc/sys/fs/inotify/max_user_watches`). The watched
    ///   directories of a source share a quarter of them, or [`FileSystems::max_watches`](crate::FileSystems::max_watches).
    ///   A directory without a watch is read again when the TTL is over, and the age says so
    ///   ([`WatchMode::Partly`](crate::fs::WatchMode::Partly)).
    /// - What a directory has without a watch is kept in memory only as long as that is no more than those with one, or 16,384.
    ///   With more, it is scanned by its TTL as if it was not watched ([`WatchMode::Scanned`](crate::fs::WatchMode::Scanned)),
    ///   until a scan finds half as many.
    /// - Where there is no inotify (none of `max_user_instances` left, a kernel without it) that is so for all of them
    ///   ([`WatchMode::Polled`](crate::fs::WatchMode::Polled)).
    /// - On a file system that needs a server or a program to answer, such as NFS and FUSE, others make changes that no event
    ///   tells, and in one that shows what the kernel has, such as proc, sysfs and cgroup, the kernel does. An overlay changes
    ///   without an event as well, when a layer of it is written to by another path. In all of these a directory is
    ///   scanned by its TTL as if it was not watched ([`WatchMode::Scanned`](crate::fs::WatchMode::Scanned)).
    /// - When more changes than the kernel keeps events for (`max_queued_events`), everything is read again, and less often
    ///   the more often that happens ([`WatchMode::Overflow`](crate::fs::WatchMode::Overflow)).
    ///
    /// # What no event tells
    ///
    /// These files are asked at every tick, in turn where they are more than 512 of a kind; how many there are, and how much
    /// is in them, are [`Watch::uncertain_files`](crate::fs::Watch::uncertain_files) and
    /// [`uncertain_bytes`](crate::fs::Watch::uncertain_bytes):
    ///
    /// - Those that have names outside of the directory, by which they can be written to.
    /// - Sparse ones, whose holes (64 KiB or more) can be filled by what makes no event: stores through `mmap(2)`,
    ///   `io_submit(2)`, and the kernel's own writing, such as that of a loop device to its image.
    ///
    /// Asked as well are files that were made or written to since they are watched and were not closed: those can grow by
    /// `io_submit(2)`. What is left is
    ///
    /// - a file that had been open for longer than it is watched, and grows by `io_submit(2)` or the kernel alone; and one
    ///   with several names, all in the directory;
    /// - holes of less than 64 KiB that are filled so;
    /// - that a file got a name outside of the directory;
    /// - what a file system does by itself: compression, preallocation.
    ///
    /// So every directory is read again once in a while, whatever events tell: see [`verify`](Self::verify). By how much the
    /// figures were found wrong is [`Watch::drift_bytes`](crate::fs::Watch::drift_bytes). [`Registry::invalidate`](crate::fs::Registry::invalidate) and
    /// [`force`](crate::fs::Registry::force) begin anew with a full scan.
    ///
    /// # Errors
    ///
    /// There are none of its own: what cannot be watched is read in turn, and [`Part::watch`](crate::fs::Part::watch) says so.
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

    /// How often each directory in a [watched](Self::watched) one is read again though no event told of a change, spread
    /// over the ticks: what no event tells is wrong for no longer than that. Default: half an hour, or the TTL if that
    /// is longer. A tick costs as much of a scan as it is of this period. No effect on what is not watched.
    pub fn verify(mut self, period: Duration) -> Self {
        self.verify = Some(period);
        self
    }

    /// Leaves out what a glob matches, and all that is below it: a name (`*.tmp`, `.snapshots`) or a path from the directory
    /// on (`/cache`, `build/**/*.o`), as in [`Scan::exclude`](crate::fs::Scan::exclude). Call it again for more globs. What is
    /// left out counts for what else is used, unless it is in another registered directory. Default: nothing.
    ///
    /// A registered directory below is not left out by that: it counts for itself. Where two with the same path are
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

    /// What to do about other mounts in it. Default: [`Boundary::SameMount`], they are left out and counted in
    /// [`Part::excluded_mounts`](crate::fs::Part::excluded_mounts).
    ///
    /// With [`Boundary::Cross`] it goes on in all of them, and in those in them; with [`Boundary::SameDevice`] in those that show
    /// the same file system, as bind mounts and subvolumes do. A part is of one file system, whose total its parts sum to, so a
    /// directory that goes on has one part for each of these mounts, by its own name and with the path of the mount: in the
    /// sample of the file system that is mounted there, if that is registered or found. What it holds altogether is the sum
    /// over the parts of its name. What holds no files of anybody (proc, sysfs) has no sample and no part.
    ///
    /// Each of the mounts is scanned by itself. So one that may hang holds up neither the tick nor what the other parts say,
    /// and it is never asked while it does not answer ([`FileSystemSample::stalled`](crate::FileSystemSample::stalled)). The
    /// globs of [`exclude`](Self::exclude) count there as well. A directory that is registered by itself, or is mounted in two
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

    /// It may be missing: while nothing is there, or something that is no directory, or its file system is not mounted or not
    /// registered, it has no part, and that is no error. It is counted in
    /// [`Skipped::vanished`](crate::Skipped::vanished), and looked for at each tick. Default: it has to be there at first.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same settings for what is mounted in it, at `below` from it on.
    pub(super) fn beyond(&self, point: &Path, below: &Path) -> Self {
        let (path, exclude) = (point.to_path_buf(), Arc::new(self.exclude.within(below)));
        Self { path, exclude, optional: true, boundary: Boundary::SameMount, ..self.clone() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// Its path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often what is watched is read again in turn.
    pub(super) fn verified_every(&self) -> Duration {
        self.verify.unwrap_or_else(|| VERIFY.max(self.ttl))
    }

    /// When the next scan is due after one that took `took` and ended at `ended`.
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
    /// Whether it was told to be too old before its time.
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
    fn what_is_outdated_is_due_at_once() {
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
