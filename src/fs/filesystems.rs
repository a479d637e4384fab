//! File systems as a source.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::directory::Directory;
use super::file_system::FileSystem;
use super::mounted_entry::MountedEntry;
use super::plan::Discovery;
use super::prober::Probers;
use super::registry::Registry;
use super::state::Shared;
use super::table::{Table, WatchedTable};
use super::usage::Settings;
use crate::process::Pattern;
use crate::{BootId, Monotonic, Result};

mod tick;

/// A [`Source`](crate::Source) of file systems and of the shares that directories have of them.
///
/// A tick asks each file system for its figures (`statvfs(3)`) and divides its total into parts: each registered
/// [`Directory`], other used space, free space, reserved space. These parts always sum to the total. Scanning a
/// directory takes long, so its result is kept for a while: see [`Directory`].
///
/// ```text
/// mount table, if it changed ──► scans that are due, on other threads ──► statvfs ──► parts ──► snapshot
/// ```
///
/// [`new`](Self::new) reports the registered file systems, [`mounted`](Self::mounted) all mounted ones, including those
/// that are mounted later. Samples are sorted by mount point.
///
/// A directory belongs to the mount that it is on after symbolic links are followed, and a bind mount is distinguished
/// from the directory that it shows. A link of /proc that leads elsewhere than its text, such as `/proc/PID/root` of a process in
/// another mount namespace, is an error. File systems mounted in a directory are not part of it
/// ([`Part::excluded_mounts`](crate::fs::Part::excluded_mounts)): register their directories as well, or let the directory
/// [go on](Directory::boundary) there.
///
/// A file that is visible in several registered directories, by whatever mounts, counts for the innermost of them. If two
/// registered paths lead to the same directory, the files count for one of them
/// ([`Part::same_as`](crate::fs::Part::same_as)). So each file is in exactly one part. A file with names in several
/// directories that are scanned together counts once, for the innermost. A file with names in two directories of which
/// neither is in the other counts in both, as it does in `du` of each.
///
/// A mount that does not answer, such as one whose server is down, delays nothing: a mount that needs a server or a program to
/// answer is asked by a thread of its own, never twice at a time. So is a mount that depends on such a one, as an image on a loop
/// device does; and one of which that is unknown: every overlay but that of `/`, since nothing shows where its layers are now,
/// and an image that was set up in another mount namespace. Until it answers, the sample has the last figures and
/// [`FileSystemSample::stalled`](crate::FileSystemSample::stalled). An automount is never touched.
///
/// # Errors
///
/// [`collect`](crate::Source::collect) fails when the mount table cannot be read, and when a registration with the source
/// itself is wrong ([`Error::is_config`](crate::Error::is_config)): a file system that is not mounted, a directory that does
/// not exist or is on a file system that is not registered; unless they are optional ([`FileSystem::optional`],
/// [`Directory::optional`]). A file system that is unmounted later, and a directory that is removed later, has no sample or
/// part until it is back. A mount that cannot be asked is counted in [`Snapshot::skipped`](crate::Snapshot::skipped).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use appmon::{Cancel, Directory, FileSystem, FileSystems, Snapshot, Source};
///
/// let mut disks = FileSystems::new()
///     .register(FileSystem::new("main", "/"))
///     .directory(Directory::new("etc", "/etc").ttl(Duration::from_secs(600)));
/// let mut snapshot = Snapshot::default();
/// disks.collect(&mut snapshot, &Cancel::new())?;
/// for part in &snapshot.samples[0].parts {
///     println!("{} {:?} {} bytes", part.name, part.kind, part.bytes);
/// }
/// # Ok::<(), appmon::Error>(())
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct FileSystems {
    config: Config,
    shared: Arc<Shared>,
    boot_id: BootId,
    watched: Option<WatchedTable>,
    table: Table,
    /// When the table was read.
    read_at: Option<Monotonic>,
    /// The generation of the registry that `mounted_entries` are of.
    generation: u64,
    /// Whether `mounted_entries` are of another mount table.
    stale: bool,
    /// Registered file systems that are not mounted.
    absent: u64,
    mounted_entries: Vec<MountedEntry>,
    /// Entries removed before their mount answered: one that is registered again gets back its thread.
    departed: Vec<MountedEntry>,
    probers: Probers,
}

/// The settings of a source.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) discovery: Option<Discovery>,
    pub(crate) file_systems: Vec<FileSystem>,
    pub(crate) directories: Vec<Directory>,
    pub(crate) budget: Duration,
    pub(crate) scans: usize,
    pub(crate) scan: Settings,
    pub(crate) max_watches: Option<usize>,
    /// The first error in the settings.
    pub(crate) fault: Option<String>,
}

impl FileSystems {
    /// Creates a source without file systems: [`register`](Self::register) them.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// Creates a source of all mounted file systems that have a size, including those that are mounted later.
    ///
    /// Each file system has one sample, at the mount point that GNU `df` shows: bind mounts have none of their own (nor have the
    /// subvolumes of btrfs, which are one file system with the same figures), nor have mounts that are hidden below another
    /// mount. File systems that store no files (proc, sysfs) are never asked.
    ///
    /// Those that are also [registered](Self::register) have the registered name, and are reported even if their size is 0.
    pub fn mounted() -> Self {
        Self::with(Some(Discovery::default()))
    }

    fn with(discovery: Option<Discovery>) -> Self {
        Self::of(Config {
            discovery,
            file_systems: Vec::new(),
            directories: Vec::new(),
            budget: Duration::from_millis(100),
            scans: 2,
            scan: Settings::default(),
            max_watches: None,
            fault: None,
        })
    }

    fn of(config: Config) -> Self {
        let source = Self {
            config,
            shared: Shared::new(),
            boot_id: BootId::current(),
            watched: None,
            table: Table::default(),
            read_at: None,
            generation: 0,
            stale: true,
            absent: 0,
            mounted_entries: Vec::new(),
            departed: Vec::new(),
            probers: Probers::new(),
        };
        let Config { discovery, file_systems, directories, scans, scan, max_watches, fault, .. } = &source.config;
        let mut state = source.shared.lock();
        state.discovery.clone_from(discovery);
        (state.jobs.most, state.jobs.settings, state.jobs.watched_trees.most) = (*scans, *scan, *max_watches);
        state.fault.clone_from(fault);
        // The first error is reported by the first tick.
        for file_system in file_systems {
            let _ = state.add_file_system(file_system.clone());
        }
        for directory in directories {
            let _ = state.add_directory(directory.clone(), None);
        }
        drop(state);
        source
    }

    /// Records an error in the settings, which the first tick returns.
    fn fails(&mut self, why: String) {
        let fault = self.config.fault.get_or_insert(why);
        self.shared.lock().fault.get_or_insert_with(|| fault.clone());
    }

    /// Adds a file system. Its name and its mount point must be unique.
    pub fn register(mut self, file_system: FileSystem) -> Self {
        let added = self.shared.lock().add_file_system(file_system.clone());
        match added {
            Ok(_) => self.config.file_systems.push(file_system),
            Err(error) => self.fails(error.to_string()),
        }
        self
    }

    /// Adds a directory, reported as a part of the file system that it is on. Its name must be unique, and none of `other`,
    /// `free` and `reserved`.
    pub fn directory(mut self, directory: Directory) -> Self {
        let added = self.shared.lock().add_directory(directory.clone(), None);
        match added {
            Ok(_) => self.config.directories.push(directory),
            Err(error) => self.fails(error.to_string()),
        }
        self
    }

    /// Limits the mounted file systems to these types: globs such as `ext?` and `fuse.*`, as in
    /// [`Pattern::glob`]. Default: all types. No effect on those that are registered.
    ///
    /// This method and the next three are for [`mounted`](Self::mounted) only. A source made by [`new`](Self::new) discovers no
    /// file systems, so there a glob is an error of its first tick ([`Error::is_config`](crate::Error::is_config)).
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn include_types(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.patterns("include_types", globs, |discovery| &mut discovery.include_types)
    }

    /// Leaves out file systems of these types. Default: none.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn exclude_types(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.patterns("exclude_types", globs, |discovery| &mut discovery.exclude_types)
    }

    /// Limits the mounted file systems to these mount points: globs such as `/mnt/*` and `/srv{,/**}`. Default: all.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn include_paths(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.patterns("include_paths", globs, |discovery| &mut discovery.include_paths)
    }

    /// Leaves out file systems with these mount points. Default: none.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn exclude_paths(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.patterns("exclude_paths", globs, |discovery| &mut discovery.exclude_paths)
    }

    fn patterns(
        mut self,
        name: &str,
        globs: impl IntoIterator<Item = impl AsRef<str>>,
        list: impl Fn(&mut Discovery) -> &mut Vec<Pattern>,
    ) -> Result<Self> {
        for glob in globs {
            let pattern = Pattern::glob(glob.as_ref())?;
            match &mut self.config.discovery {
                Some(discovery) => list(discovery).push(pattern),
                None => {
                    let why = "selects among all mounted file systems: use it with `FileSystems::mounted()`";
                    self.fails(format!("`{name}` {why}"));
                }
            }
        }
        self.shared.lock().discovery.clone_from(&self.config.discovery);
        Ok(self)
    }

    /// Sets how long a tick waits for all mounts that may hang together; how long it waits for progress of a scan on one;
    /// and how long for [watched](Directory::watched) directories to be brought up to date. Default: 100 ms. Mounts that are
    /// known not to answer are not waited for.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.config.budget = budget;
        self
    }

    /// Sets how many directories are scanned at the same time at most. Default: 2. Those on mounts that may hang do not count:
    /// there it is one on each mount. Nor do [watched](Directory::watched) directories count, after their first scan.
    pub fn scans(mut self, count: usize) -> Self {
        self.config.scans = count.max(1);
        self.shared.lock().jobs.most = self.config.scans;
        self
    }

    /// Sets how many threads a scan has. Default: as many as there are cores, 8 at most.
    pub fn scan_threads(mut self, count: usize) -> Self {
        self.config.scan.threads = Some(count.max(1));
        self.shared.lock().jobs.settings = self.config.scan;
        self
    }

    /// Limits how many entries of directories a scan reads per second, to leave the disk to others. Default: no limit.
    pub fn entries_per_second(mut self, entries: u64) -> Self {
        self.config.scan.entries_per_second = Some(entries.max(1));
        self.shared.lock().jobs.settings = self.config.scan;
        self
    }

    /// Limits how many directories are watched, in all of the [watched](Directory::watched) ones together. Default: a
    /// quarter of the user's limit (`/proc/sys/fs/inotify/max_user_watches`). With 0 none is watched, and all are read again
    /// when their TTL is over.
    pub fn max_watches(mut self, count: usize) -> Self {
        self.config.max_watches = Some(count);
        self.shared.lock().jobs.watched_trees.most = Some(count);
        self
    }

    /// Returns a handle that adds and removes registrations while the stream runs.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(Arc::clone(&self.shared))
    }

    /// The settings.
    #[cfg(feature = "config")]
    pub(crate) fn settings(&self) -> &Config {
        &self.config
    }
}

/// Creates a source with the same settings and the registrations made with this one itself, without any results. Those added by a
/// [`Registry`] are not copied.
impl Clone for FileSystems {
    fn clone(&self) -> Self {
        Self::of(self.config.clone())
    }
}

impl Default for FileSystems {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FileSystems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSystems")
            .field("shared", &self.shared)
            .field("budget", &self.config.budget)
            .finish_non_exhaustive()
    }
}

impl Drop for FileSystems {
    fn drop(&mut self) {
        self.shared.close();
    }
}
