//! What to scan, and how.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::fs::walk::{Boundary, Exclude, Globs};

/// A scan of a directory tree: how much space it takes, how many files are in it.
///
/// Symbolic links are counted and never followed; files with several names are counted once. What vanishes while it is
/// scanned is no error, and what cannot be read is counted in [`Usage::errors`](crate::fs::Usage::errors): only a directory that cannot be opened
/// at all makes [`run`](Self::run) fail.
///
/// A scan works on the calling thread, and when it turns out to be more than a moment's work, on threads of its own, which
/// are gone when it returns. Its memory grows with the depth of the tree and with the files that have several names, not
/// with the number of files. It keeps at most a quarter of the descriptors that the process may have, and goes on, slower,
/// when there are none.
///
/// # Examples
///
/// ```
/// use appmon::Cancel;
/// use appmon::fs::Scan;
///
/// let usage = Scan::new("src").exclude("*.orig")?.largest(3).run(&Cancel::new())?;
/// println!("{} bytes in {} files", usage.allocated_bytes, usage.files);
/// for file in &usage.largest {
///     println!("{:>12} {}", file.allocated_bytes, file.path.display());
/// }
/// # assert!(usage.is_complete() && usage.largest.len() == 3);
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a scan does nothing until it is run"]
pub struct Scan {
    pub(super) paths: Vec<PathBuf>,
    pub(super) threads: Option<usize>,
    pub(super) boundary: Boundary,
    pub(super) exclude: Exclude,
    pub(super) largest: usize,
    pub(super) max_entries: Option<u64>,
    pub(super) max_duration: Option<Duration>,
    pub(super) entries_per_second: Option<u64>,
    /// Whether a path that may hang is followed first.
    pub(super) follow: bool,
}

impl Scan {
    /// A scan of the tree at `path`.
    ///
    /// What is not a directory counts as `du` counts it. A symbolic link is one as well, and counts as that; with a `/` at
    /// its end the path means what the link leads to.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            paths: vec![path.into()],
            threads: None,
            boundary: Boundary::default(),
            exclude: Exclude::default(),
            largest: 0,
            max_entries: None,
            max_duration: None,
            entries_per_second: None,
            follow: false,
        }
    }

    /// One more tree, scanned together with the others: see [`run_each`](Self::run_each).
    pub fn and(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// How many threads work, the calling one among them; they are started at once.
    ///
    /// By default there are as many as there are cores, up to 8, and they are started when there is enough to do; while they
    /// wait for the disk most of the time there are more, up to four for each core and 16 in all.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.clamp(1, 256));
        self
    }

    /// What to do about other file systems below. They are left out by default ([`Boundary::SameDevice`]), and
    /// [counted](crate::fs::Usage::excluded_mounts); those that may hang are not even looked at.
    pub fn boundary(mut self, boundary: Boundary) -> Self {
        self.boundary = boundary;
        self
    }

    /// Leaves out what a glob matches, and all that is below it. Call it again for more globs.
    ///
    /// A glob without a `/` is matched with the name of each entry (`*.log`, `node_modules`), one with a `/` with its path
    /// from the root of the tree on (`/target`, `build/*.o`, `**/cache/**`): a `/` at its start stands for the root. `*` and
    /// `?` stop at a `/`, `**` as a whole component crosses them, and there are `[a-z]`, `[!a-z]` and `{this,that}`. The root
    /// itself is never left out.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn exclude(mut self, glob: &str) -> Result<Self> {
        self.exclude.add(glob)?;
        Ok(self)
    }

    /// What is left out of each of the trees, in their order.
    pub(in crate::fs) fn exclude_of_each(mut self, own: Vec<Arc<Globs>>) -> Self {
        self.exclude.of_each(own);
        self
    }

    /// Tells the largest files, as many as this, in [`Usage::largest`](crate::fs::Usage::largest). None by default.
    ///
    /// Directories are not among them: add those that matter as trees of their own ([`and`](Self::and)).
    pub fn largest(mut self, count: usize) -> Self {
        self.largest = count;
        self
    }

    /// Stops after so many entries, with [`Partial::Entries`](crate::fs::Partial::Entries).
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Stops after so long, with [`Partial::Time`](crate::fs::Partial::Time).
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.max_duration = Some(duration);
        self
    }

    /// Reads no more than so many entries per second, to leave the disk to others: at least one, and by one thread unless
    /// [`threads`](Self::threads) says otherwise.
    pub fn entries_per_second(mut self, entries: u64) -> Self {
        self.entries_per_second = Some(entries.max(1));
        self
    }

    /// A tree is the directory that its path leads to, where that is on the mount that the path is on by its text: symbolic
    /// links on a file system that may hang are known to that one alone.
    pub(in crate::fs) fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// The trees, where they end, and what is left out of them.
    pub(in crate::fs) fn extent(&self) -> (&[PathBuf], Boundary, &Exclude) {
        (&self.paths, self.boundary, &self.exclude)
    }
}
