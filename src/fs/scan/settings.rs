//! The settings of a scan.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::fs::walk::{Boundary, Exclude, Globs};

/// A scan of directory trees, for the space that they take and their number of files.
///
/// Symbolic links are counted and never followed; files with several names are counted once. Entries removed during the
/// scan are no errors, and entries that cannot be read are counted in [`Usage::errors`](crate::fs::Usage::errors): only a
/// root that cannot be opened makes [`run`](Self::run) fail.
///
/// A scan works on the calling thread and, if it takes longer than a few milliseconds, on threads of its own, which
/// end before it returns. Its memory grows with the depth of the tree and with the files that have several names, not
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
    /// Whether symbolic links of a path that may hang are followed before the scan.
    pub(super) follow: bool,
}

impl Scan {
    /// Creates a scan of the tree at `path`.
    ///
    /// If `path` is not a directory it is counted as `du` counts it. A symbolic link is counted as a link; with a `/` at the
    /// end of `path` it is followed.
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

    /// Adds a tree, scanned together with the others: see [`run_each`](Self::run_each).
    pub fn and(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Sets the number of threads, including the calling one; they are started at once.
    ///
    /// By default there are as many as there are cores, up to 8, started when there is enough work; while they
    /// wait for the disk most of the time there are more, up to four for each core and 16 in all.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.clamp(1, 256));
        self
    }

    /// Sets whether other file systems below are scanned. They are left out by default ([`Boundary::SameDevice`]), and
    /// [counted](crate::fs::Usage::excluded_mounts); those that may hang are not touched.
    pub fn boundary(mut self, boundary: Boundary) -> Self {
        self.boundary = boundary;
        self
    }

    /// Leaves out entries that a glob matches, and everything below them. Call it again for more globs.
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

    /// Leaves out entries of each of the trees, by globs in the order of the trees.
    pub(in crate::fs) fn exclude_of_each(mut self, own: Vec<Arc<Globs>>) -> Self {
        self.exclude.of_each(own);
        self
    }

    /// Lists up to `count` of the largest files in [`Usage::largest`](crate::fs::Usage::largest). None by default.
    ///
    /// Directories are not among them: add those that matter as trees of their own ([`and`](Self::and)).
    pub fn largest(mut self, count: usize) -> Self {
        self.largest = count;
        self
    }

    /// Stops after this number of entries, with [`Partial::Entries`](crate::fs::Partial::Entries).
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Stops after this time, with [`Partial::Time`](crate::fs::Partial::Time).
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.max_duration = Some(duration);
        self
    }

    /// Limits the entries read per second, to leave the disk to others: at least one per second, and by one thread unless
    /// [`threads`](Self::threads) is set.
    pub fn entries_per_second(mut self, entries: u64) -> Self {
        self.entries_per_second = Some(entries.max(1));
        self
    }

    /// Follows symbolic links in the paths of the trees first, as long as they stay on the mount that the path is on by its
    /// text: the links of a file system that may hang can be resolved only by asking it.
    pub(in crate::fs) fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Returns the trees, their boundary, and the globs that leave out entries of them.
    pub(in crate::fs) fn extent(&self) -> (&[PathBuf], Boundary, &Exclude) {
        (&self.paths, self.boundary, &self.exclude)
    }
}
