//! Settings of the source of file systems.

use std::path::{Path, PathBuf};

use super::Duration;
use super::keys::settings;
use crate::fs::Boundary;
use crate::fs::directory::{Patience, Settings as DirectorySettings};
use crate::fs::filesystems::Config;
use crate::fs::plan::Discovery;
use crate::fs::usage::Settings as ScanSettings;
use crate::process::Pattern;
use crate::{Directory, Error, FileSystem, FileSystems, Result, Text};

settings! {
    /// The settings of [`FileSystems`].
    ///
    /// ```
    /// use appmon::config::FileSystemsConfig;
    ///
    /// let config: FileSystemsConfig =
    ///     serde_json::from_str(r#"{"mounted": true, "directories": [{"name": "logs", "path": "/var/log", "ttl": "10m"}]}"#)
    ///         .expect("an error names the key and the place");
    /// let file_systems = config.build()?;
    /// # let _ = file_systems;
    /// # Ok::<(), appmon::Error>(())
    /// ```
    #[derive(Default)]
    pub struct FileSystemsConfig {
        required {}
        optional {
            /// Whether all mounted file systems are reported, as by [`FileSystems::mounted`]. Default: no, as by [`FileSystems::new`].
            mounted: bool,
            /// The file systems with names of their own: [`FileSystems::register`].
            register: Vec<FileSystemConfig>,
            /// The directories that are reported as parts of their file systems: [`FileSystems::directory`].
            directories: Vec<DirectoryConfig>,
            /// The types of mounted file systems to report, as globs: [`FileSystems::include_types`].
            include_types: Vec<String>,
            /// The types of mounted file systems to leave out: [`FileSystems::exclude_types`].
            exclude_types: Vec<String>,
            /// The mount points of the file systems to report, as globs: [`FileSystems::include_paths`].
            include_paths: Vec<String>,
            /// The mount points of file systems to leave out: [`FileSystems::exclude_paths`].
            exclude_paths: Vec<String>,
            /// The time that a tick waits for mounts that may hang: [`FileSystems::budget`].
            budget: Option<Duration>,
            /// The number of directories that are scanned at the same time: [`FileSystems::scans`].
            scans: Option<usize>,
            /// The number of threads of a scan: [`FileSystems::scan_threads`].
            scan_threads: Option<usize>,
            /// The largest number of entries that a scan reads per second: [`FileSystems::entries_per_second`].
            entries_per_second: Option<u64>,
            /// The largest number of inotify watches: [`FileSystems::max_watches`].
            max_watches: Option<usize>,
        }
    }
}

impl FileSystemsConfig {
    /// Returns the source. What is not set has the default of the source.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for a wrong glob, a name that occurs twice, types or mount points without `mounted`, or a directory that is both
    /// waited for and in the background.
    pub fn build(&self) -> Result<FileSystems> {
        let Self {
            mounted,
            register,
            directories,
            include_types,
            exclude_types,
            include_paths,
            exclude_paths,
            budget,
            scans,
            scan_threads,
            entries_per_second,
            max_watches,
        } = self;
        let mut source = if *mounted { FileSystems::mounted() } else { FileSystems::new() };
        for file_system in register {
            source = source.register(file_system.build());
        }
        for directory in directories {
            source = source.directory(directory.build()?);
        }
        source = source
            .include_types(include_types)?
            .exclude_types(exclude_types)?
            .include_paths(include_paths)?
            .exclude_paths(exclude_paths)?;
        if let Some(budget) = budget {
            source = source.budget(budget.get());
        }
        if let Some(count) = scans {
            source = source.scans(*count);
        }
        if let Some(count) = scan_threads {
            source = source.scan_threads(*count);
        }
        if let Some(entries) = entries_per_second {
            source = source.entries_per_second(*entries);
        }
        if let Some(count) = max_watches {
            source = source.max_watches(*count);
        }
        match &source.settings().fault {
            Some(fault) => Err(Error::config(fault.clone())),
            None => Ok(source),
        }
    }
}

/// All settings, and the registrations made with the source itself; not those of a [`Registry`](crate::fs::Registry).
impl From<&FileSystems> for FileSystemsConfig {
    fn from(source: &FileSystems) -> Self {
        // Each setting by its name: a new one is a key, or said not to be one.
        let Config { discovery, file_systems, directories, budget, scans, scan, max_watches, fault: _ } =
            source.settings();
        let ScanSettings { threads, entries_per_second } = *scan;
        let globs = |patterns: &[Pattern]| patterns.iter().map(Pattern::text).collect();
        let mounted = discovery.is_some();
        let Discovery { include_types, exclude_types, include_paths, exclude_paths } =
            discovery.clone().unwrap_or_default();
        Self {
            mounted,
            register: file_systems.iter().map(FileSystemConfig::from).collect(),
            directories: directories.iter().map(DirectoryConfig::from).collect(),
            include_types: globs(&include_types),
            exclude_types: globs(&exclude_types),
            include_paths: globs(&include_paths),
            exclude_paths: globs(&exclude_paths),
            budget: Some((*budget).into()),
            scans: Some(*scans),
            scan_threads: threads,
            entries_per_second,
            max_watches: *max_watches,
        }
    }
}

settings! {
    /// The settings of a [`FileSystem`] that is registered by name.
    pub struct FileSystemConfig {
        required {
            /// Its name.
            name: Text,
            /// Its mount point.
            mount_point: PathBuf,
        }
        optional {
            /// Whether it may be missing: [`FileSystem::optional`].
            optional: bool,
        }
    }
}

impl FileSystemConfig {
    /// Returns the settings of the file system that is mounted at `mount_point`.
    #[must_use]
    pub fn new(name: impl Into<Text>, mount_point: impl AsRef<Path>) -> Self {
        Self::from(&FileSystem::new(name, mount_point))
    }

    /// Returns the file system.
    pub fn build(&self) -> FileSystem {
        let Self { name, mount_point, optional } = self;
        let file_system = FileSystem::new(name.clone(), mount_point);
        if *optional { file_system.optional() } else { file_system }
    }
}

impl From<&FileSystem> for FileSystemConfig {
    fn from(of: &FileSystem) -> Self {
        Self { name: of.name().clone(), mount_point: of.mount_point().to_path_buf(), optional: of.is_optional() }
    }
}

settings! {
    /// The settings of a [`Directory`].
    pub struct DirectoryConfig {
        required {
            /// Its name.
            name: Text,
            /// Its path.
            path: PathBuf,
        }
        optional {
            /// The time for which a scan is good: [`Directory::ttl`].
            ttl: Option<Duration>,
            /// The share of time for scans, as a factor: [`Directory::backoff`].
            backoff: Option<f64>,
            /// Whether each tick waits for the scans that are due: [`Directory::wait`].
            wait: bool,
            /// Whether no tick waits for a scan: [`Directory::background`].
            background: bool,
            /// Whether it is kept up to date by change notifications: [`Directory::watched`].
            watched: bool,
            /// The time within which everything in a watched directory is verified: [`Directory::verify`].
            verify: Option<Duration>,
            /// The globs of entries to leave out: [`Directory::exclude`].
            exclude: Vec<String>,
            /// The mounts at which it ends: [`Directory::boundary`].
            boundary: Option<Boundary>,
            /// Whether it may be missing: [`Directory::optional`].
            optional: bool,
        }
    }
}

impl DirectoryConfig {
    /// Returns the settings of the directory at `path`, with the defaults of [`Directory::new`].
    #[must_use]
    pub fn new(name: impl Into<Text>, path: impl AsRef<Path>) -> Self {
        Self::from(&Directory::new(name, path))
    }

    /// Returns the directory. What is not set has the default of [`Directory::new`].
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for a wrong glob, or where it is both waited for and in the background.
    pub fn build(&self) -> Result<Directory> {
        let Self { name, path, ttl, backoff, wait, background, watched, verify, exclude, boundary, optional } = self;
        let mut directory = Directory::new(name.clone(), path);
        if let Some(ttl) = ttl {
            directory = directory.ttl(ttl.get());
        }
        if let Some(factor) = backoff {
            directory = directory.backoff(*factor);
        }
        match (wait, background) {
            (true, true) => {
                return Err(
                    Error::config(format!("directory {name:?}: either `wait` or `background`, not both")).at(path)
                );
            }
            (true, false) => directory = directory.wait(),
            (false, true) => directory = directory.background(),
            (false, false) => {}
        }
        if *watched {
            directory = directory.watched();
        }
        if let Some(period) = verify {
            directory = directory.verify(period.get());
        }
        for glob in exclude {
            directory = directory.exclude(glob)?;
        }
        if let Some(boundary) = boundary {
            directory = directory.boundary(*boundary);
        }
        if *optional {
            directory = directory.optional();
        }
        Ok(directory)
    }
}

impl From<&Directory> for DirectoryConfig {
    fn from(directory: &Directory) -> Self {
        let DirectorySettings { name, path, ttl, backoff, patience, watched, optional, exclude, boundary, verify } =
            directory.settings();
        Self {
            name: name.clone(),
            path: path.to_path_buf(),
            ttl: Some(ttl.into()),
            backoff: Some(backoff),
            wait: patience == Patience::All,
            background: patience == Patience::None,
            watched,
            verify: verify.map(Duration::from),
            exclude,
            boundary: Some(boundary),
            optional,
        }
    }
}
