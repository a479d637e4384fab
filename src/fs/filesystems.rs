//! File systems as a source.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::directory::Directory;
use super::file_system::FileSystem;
use super::guard::Answers;
use super::mounted_entry::MountedEntry;
use super::plan::Discovery;
use super::registry::Registry;
use super::state::Shared;
use super::table::{Table, Watched};
use super::usage::Settings;
use crate::process::Pattern;
use crate::{BootId, Monotonic, Result};

mod tick;

/// File systems, and what directories hold of them, as a [`Source`](crate::Source).
///
/// A tick asks each file system for its figures (`statvfs(3)`) and puts together what its total is made of: each registered
/// [`Directory`], what else is used, what is free, what is reserved. These parts sum to the total, always. Scanning a
/// directory takes long, so what it found is kept for a while: see [`Directory`].
///
/// ```text
/// mount table, if it changed ──► scans that are due, beside ──► statvfs ──► parts ──► snapshot
/// ```
///
/// [`new`](Self::new) tells the file systems that are registered, [`mounted`](Self::mounted) all that are mounted, as they
/// come and go. Samples come in the order of their mount points.
///
/// A directory belongs to the mount it really is on, whatever leads there: symbolic links are followed, and a bind mount is
/// told from what it shows. A link of /proc that leads elsewhere than its text says, such as `/proc/PID/root` of a process in
/// another mount namespace, is an error. What is mounted in a directory is not in it
/// ([`Part::excluded_mounts`](crate::fs::Part::excluded_mounts)): it can be registered by itself, or the directory can
/// [go on](Directory::boundary) there.
///
/// What can be seen in several registered directories, by whatever mounts, counts for the innermost of them, and what is
/// registered by two paths that lead to the same directory, for one of them
/// ([`Part::same_as`](crate::fs::Part::same_as)); so each file is in exactly one part. A file with names in several directories that are scanned together counts once, for the
/// innermost. A hard link between two that are not in one another counts in both, as `du` of each does.
///
/// A mount that does not answer, as that of a server that is away, holds up nothing: what needs a server or a program to
/// answer is asked by a thread of its own, never twice at a time. So is what stands on such a one, as an image on a loop
/// device; and where that cannot be found out: every overlay but that of `/`, since nothing shows where its layers are by now,
/// and an image that was set up in another mount namespace. The sample then says so ([`FileSystemSample::stalled`](crate::FileSystemSample::stalled)) and keeps the last figures, until it answers. An automount is
/// never touched.
///
/// # Errors
///
/// [`collect`](crate::Source::collect) fails when the mount table cannot be read, and when what was registered with the source
/// itself is wrong ([`Error::is_config`](crate::Error::is_config)): a file system that is not mounted, a directory that does not exist or is on a file
/// system that is not registered; unless they are optional ([`FileSystem::optional`], [`Directory::optional`]). What is
/// unmounted or removed later has no sample or part while it is away. A mount that
/// cannot be asked is counted in [`Snapshot::skipped`](crate::Snapshot::skipped).
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
    watched: Option<Watched>,
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
    /// Those that left while their mount had not answered: who comes back finds their thread.
    departed: Vec<MountedEntry>,
    answers: Answers,
}

/// What a source was made with.
#[derive(Clone)]
struct Config {
    discovery: Option<Discovery>,
    file_systems: Vec<FileSystem>,
    directories: Vec<Directory>,
    budget: Duration,
    scans: usize,
    scan: Settings,
    max_watches: Option<usize>,
    /// The first that is wrong.
    fault: Option<String>,
}

impl FileSystems {
    /// None yet: [`register`](Self::register) them.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// All file systems that are mounted and have a size, as they come and go.
    ///
    /// One for each file system, at the place where GNU `df` shows it: bind mounts are not told twice (nor are the
    /// subvolumes of btrfs, which are one file system with the same figures), and what is hidden below another mount
    /// is not told. What holds no files (proc, sysfs) is never asked.
    ///
    /// Those that are [registered](Self::register) too have their name, and are told however small they are.
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
            answers: Answers::new(),
        };
        let Config { discovery, file_systems, directories, scans, scan, max_watches, fault, .. } = &source.config;
        let mut state = source.shared.lock();
        state.discovery.clone_from(discovery);
        (state.jobs.most, state.jobs.settings, state.jobs.watched_trees.most) = (*scans, *scan, *max_watches);
        state.fault.clone_from(fault);
        // What was wrong with them is the fault.
        for file_system in file_systems {
            let _ = state.add_file_system(file_system.clone());
        }
        for directory in directories {
            let _ = state.add_directory(directory.clone(), None);
        }
        drop(state);
        source
    }

    /// What is wrong with the settings is the error of the first tick.
    fn fails(&mut self, why: String) {
        let fault = self.config.fault.get_or_insert(why);
        self.shared.lock().fault.get_or_insert_with(|| fault.clone());
    }

    /// Adds a file system. Its name, and its mount point, must be the only ones.
    pub fn register(mut self, file_system: FileSystem) -> Self {
        let added = self.shared.lock().add_file_system(file_system.clone());
        match added {
            Ok(_) => self.config.file_systems.push(file_system),
            Err(error) => self.fails(error.to_string()),
        }
        self
    }

    /// Adds a directory, to be told as a part of the file system it is on. Its name must be the only one, and none of `other`,
    /// `free` and `reserved`.
    pub fn directory(mut self, directory: Directory) -> Self {
        let added = self.shared.lock().add_directory(directory.clone(), None);
        match added {
            Ok(_) => self.config.directories.push(directory),
            Err(error) => self.fails(error.to_string()),
        }
        self
    }

    /// Of all that are mounted, takes only file systems of these types: globs such as `ext?` and `fuse.*`, as in
    /// [`Pattern::glob`]. Default: all types. No effect on those that are registered.
    ///
    /// This and the next three are for [`mounted`](Self::mounted) alone. In a source made by [`new`](Self::new) nothing is
    /// taken by itself, so there a glob is an error of its first tick ([`Error::is_config`](crate::Error::is_config)).
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn include_types(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.patterns("include_types", globs, |discovery| &mut discovery.include_types)
    }

    /// Leaves out those of these types. Default: none.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn exclude_types(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.patterns("exclude_types", globs, |discovery| &mut discovery.exclude_types)
    }

    /// Takes only those with these mount points: globs such as `/mnt/*` and `/srv{,/**}`. Default: all.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](crate::Error::is_config)).
    pub fn include_paths(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.patterns("include_paths", globs, |discovery| &mut discovery.include_paths)
    }

    /// Leaves out those with these mount points. Default: none.
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
                    let why = "chooses among all that are mounted: it goes with `FileSystems::mounted()`";
                    self.fails(format!("`{name}` {why}"));
                }
            }
        }
        self.shared.lock().discovery.clone_from(&self.config.discovery);
        Ok(self)
    }

    /// How long a tick waits for mounts that may hang, all together; how long it waits for a sign of life of a scan on one;
    /// and how long for what is [watched](Directory::watched) to be brought up to date. Default: 100 ms. Mounts that are
    /// known not to answer are not waited for.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.config.budget = budget;
        self
    }

    /// How many directories are scanned at the same time at most. Default: 2. Those on mounts that may hang do not count:
    /// of them it is one on each mount. Nor does what is [watched](Directory::watched) count, after its first scan.
    pub fn scans(mut self, count: usize) -> Self {
        self.config.scans = count.max(1);
        self.shared.lock().jobs.most = self.config.scans;
        self
    }

    /// How many threads a scan has. Default: as many as there are cores, 8 at most.
    pub fn scan_threads(mut self, count: usize) -> Self {
        self.config.scan.threads = Some(count.max(1));
        self.shared.lock().jobs.settings = self.config.scan;
        self
    }

    /// How many entries of directories a scan reads per second at most, to leave the disk to others. Default: no limit.
    pub fn entries_per_second(mut self, entries: u64) -> Self {
        self.config.scan.entries_per_second = Some(entries.max(1));
        self.shared.lock().jobs.settings = self.config.scan;
        self
    }

    /// How many directories are watched at most, in all of the [watched](Directory::watched) ones together. Default: a
    /// quarter of what the user may have (`/proc/sys/fs/inotify/max_user_watches`). With 0 none is, and all are read again
    /// when their TTL is over.
    pub fn max_watches(mut self, count: usize) -> Self {
        self.config.max_watches = Some(count);
        self.shared.lock().jobs.watched_trees.most = Some(count);
        self
    }

    /// The handle to what is registered, to be used while the stream runs.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(Arc::clone(&self.shared))
    }
}

/// A source with the same settings, and what was registered with this one itself, that knows of nothing yet. What was added by a
/// [`Registry`] is not in it.
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
