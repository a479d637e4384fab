//! The handle to the registrations of a source of file systems.

use std::path::Path;
use std::sync::Arc;

use super::FileSystem;
use super::directory::Directory;
use super::plan;
use super::state::Shared;
use super::table::Table;
use crate::{Error, Result};

/// The registrations of a source of file systems, which can be changed while its stream runs.
///
/// [`FileSystems::registry`](crate::FileSystems::registry) returns it; clones share it. No method waits for a scan or touches
/// a mount that may hang, so they can be called from async code. After the source was dropped, adding fails, and all
/// queries return `false`.
///
/// # Examples
///
/// ```
/// use appmon::{Cancel, Directory, FileSystem, FileSystems, Snapshot, Source};
///
/// let mut disks = FileSystems::new().register(FileSystem::new("main", "/"));
/// let registry = disks.registry();
/// let etc = registry.add_directory(Directory::new("etc", "/etc"))?;
/// let mut snapshot = Snapshot::default();
/// disks.collect(&mut snapshot, &Cancel::new())?;
/// assert!(registry.has_data("etc"));
/// assert!(snapshot.samples[0].directory("etc").is_some());
/// drop(etc);
/// disks.collect(&mut snapshot, &Cancel::new())?;
/// assert!(snapshot.samples[0].directory("etc").is_none());
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registry(Arc<Shared>);

/// Keeps a file system or directory registered: dropping it removes the registration.
#[derive(Debug)]
#[must_use = "dropping this removes the registration; `keep` it to let it stay"]
pub struct Registration {
    shared: Arc<Shared>,
    id: u64,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Adds a file system, which is reported from the next tick on.
    ///
    /// # Errors
    ///
    /// When nothing is mounted at its path (unless it is [optional](FileSystem::optional)), when its name or path is registered
    /// already, when the source was dropped ([`Error::is_config`]); when the mount table cannot be read.
    pub fn add_file_system(&self, file_system: FileSystem) -> Result<Registration> {
        let table = Table::read()?;
        let mut state = self.0.lock();
        self.check_open(state.closed)?;
        let id = state.add_file_system(file_system)?;
        let known = state.file_systems.last().cloned();
        if let Err(error) = plan::targets(&table, None, known.as_slice()) {
            state.remove(id);
            return Err(error);
        }
        drop(state);
        Ok(Registration { shared: Arc::clone(&self.0), id })
    }

    /// Adds a directory, which is reported from the next tick on.
    ///
    /// # Errors
    ///
    /// When it does not exist, is no directory, or is on a file system that is not registered (the text names both), unless it
    /// is [optional](Directory::optional); when its name is registered already, or the source was dropped
    /// ([`Error::is_config`]); when the mount table cannot be read.
    pub fn add_directory(&self, directory: Directory) -> Result<Registration> {
        let table = Table::read()?;
        let (discovery, file_systems) = {
            let state = self.0.lock();
            self.check_open(state.closed)?;
            (state.discovery.clone(), state.file_systems.clone())
        };
        let (targets, _) = plan::targets(&table, discovery.as_ref(), &file_systems)?;
        let location = match plan::location(&table, &targets, &directory) {
            Err(_) if directory.optional => None,
            location => Some(location?),
        };
        let mut state = self.0.lock();
        self.check_open(state.closed)?;
        // The place among the targets is that of the next tick's plan.
        let id = state.add_directory(directory, location)?;
        drop(state);
        Ok(Registration { shared: Arc::clone(&self.0), id })
    }

    /// Marks the value of a directory, or of all directories of a file system, as too old: the next tick starts the
    /// scan. Until that has ended, the old value is reported. Returns whether this name is registered.
    ///
    /// A [watched](Directory::watched) directory is scanned and watched anew, with all directories that are registered in it.
    pub fn invalidate(&self, name: &str) -> bool {
        let mut state = self.0.lock();
        let place = state.place_of(name);
        let mut any = place.is_some();
        for entry in &mut state.directories.entries {
            if entry.directory.name == name || entry.is_at(place) {
                entry.invalidate();
                any = true;
            }
        }
        any
    }

    /// Marks the values of all directories as too old, as [`invalidate`](Self::invalidate) does.
    pub fn invalidate_all(&self) {
        for entry in &mut self.0.lock().directories.entries {
            entry.invalidate();
        }
    }

    /// Starts the scan of a directory, or of all directories of a file system, now and not at the next tick, however old
    /// the value is. A scan under way goes on, and the next tick starts another one. Returns whether this name is registered.
    pub fn force(&self, name: &str) -> bool {
        let place = self.0.lock().place_of(name);
        self.0.force(|entry| entry.directory.name == name || entry.is_at(place)) || place.is_some()
    }

    /// Forgets the values of all directories, which stay registered: they are as if just added, and the next tick waits
    /// for their first scan.
    pub fn clear(&self) {
        let mut state = self.0.lock();
        for entry in &mut state.directories.entries {
            entry.clear();
        }
        for present in &mut state.statuses {
            present.has_data = false;
        }
    }

    /// Whether the file system at this mount point is reported: it was registered, or discovered by the last tick.
    #[must_use]
    pub fn has_mount_point(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let state = self.0.lock();
        !state.closed
            && (state.file_systems.iter().any(|known| known.file_system.path == path)
                || state.statuses.iter().any(|present| present.mount_point == path))
    }

    /// Whether the file system or directory of this name has a value: it was asked, or scanned.
    #[must_use]
    pub fn has_data(&self, name: &str) -> bool {
        let state = self.0.lock();
        !state.closed
            && (state.statuses.iter().any(|present| present.has_data && present.name == name)
                || state.directories.entries.iter().any(|entry| entry.has_data() && entry.directory.name == name))
    }

    fn check_open(&self, closed: bool) -> Result<()> {
        if closed { Err(Error::config("the source of this registry was dropped")) } else { Ok(()) }
    }
}

impl Registration {
    /// Keeps it registered for as long as the source exists.
    pub fn keep(self) {
        let mut this = self;
        // No id is 0.
        this.id = 0;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.id != 0 {
            self.shared.remove(self.id);
        }
    }
}
