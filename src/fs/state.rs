//! The state shared by a source and its registry: the registrations, and the threads of their scans.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::FileSystem;
use super::directories::{Directories, DirectoryState};
use super::directory::Directory;
use super::jobs::{FinishedJob, Job, Jobs};
use super::plan::{Discovery, Known, Location};
use super::sample::PartKind;
use super::watched_trees::Discarded;
use crate::{Cancel, Error, Monotonic, Result, Text};

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Notified at every change that a tick waiting for scans may wait for.
    pub(super) happened: Condvar,
    /// Set when the source is dropped.
    cancel: Cancel,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) discovery: Option<Discovery>,
    pub(super) file_systems: Vec<Known>,
    pub(super) directories: Directories,
    pub(super) jobs: Jobs,
    /// Counts the changes of the registrations.
    pub(super) generation: u64,
    /// The file systems of the last tick.
    pub(super) statuses: Vec<FileSystemStatus>,
    /// The first error of the registrations made with the source itself.
    pub(super) fault: Option<String>,
    last_id: u64,
    pub(super) closed: bool,
    /// How often a tick waiting for scans woke up.
    #[cfg(test)]
    pub(super) wakes: u64,
}

/// The state of a file system as of the last tick.
#[derive(Debug)]
pub(super) struct FileSystemStatus {
    pub(super) name: Text,
    pub(super) mount_point: PathBuf,
    pub(super) has_data: bool,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), happened: Condvar::new(), cancel: Cancel::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes up the ticks that wait for scans.
    pub(super) fn wake(&self) {
        // A tick between its check and its wait holds the lock.
        drop(self.lock());
        self.happened.notify_all();
    }

    /// Removes the registration with this id.
    pub(super) fn remove(&self, id: u64) {
        self.lock().remove(id);
        self.happened.notify_all();
    }

    /// Ends the scans after the source was dropped.
    pub(super) fn close(&self) {
        self.cancel.cancel();
        let mut state = self.lock();
        state.closed = true;
        state.statuses.clear();
        state.assign();
        state.jobs.drop_waiting(|_| false);
    }

    /// Starts the scans of these directories, even if their values are not too old.
    pub(super) fn force(self: &Arc<Self>, wanted: impl Fn(&DirectoryState) -> bool) -> bool {
        let mut state = self.lock();
        let mut ids = Vec::new();
        for entry in state.directories.entries.iter_mut().filter(|entry| wanted(entry)) {
            entry.invalidate();
            ids.push(entry.id);
        }
        // Before the first tick the mounts are not known; the first tick scans all directories.
        if !state.closed {
            state.assign();
            self.start(&mut state, &[], |id| ids.contains(&id));
        }
        !ids.is_empty()
    }

    /// Starts the scans that are due. `stalled` has the mounts that do not answer: no scan is started there.
    pub(super) fn start(self: &Arc<Self>, state: &mut State, stalled: &[u32], wanted: impl Fn(u64) -> bool) {
        let jobs = state.jobs.start(&mut state.directories, stalled, Monotonic::now(), wanted);
        for job in jobs {
            if let Err(job) = self.spawn(job) {
                state.jobs.not_started(&job.flight);
                let result = Err(Error::io(std::io::Error::other("no thread could be started to scan it")));
                state.finish(*job, FinishedJob { result, ended: Monotonic::now(), took: Duration::ZERO }).discard();
            }
        }
    }

    fn spawn(self: &Arc<Self>, job: Job) -> std::result::Result<(), Box<Job>> {
        // The job is passed through a slot, to get it back if no thread can be started.
        let slot = Arc::new(Mutex::new(Some(job)));
        let (shared, given) = (Arc::clone(self), Arc::clone(&slot));
        let worker = move || {
            let mut job = given.lock().unwrap_or_else(PoisonError::into_inner).take();
            while let Some(next) = job {
                job = shared.work(next);
            }
        };
        match std::thread::Builder::new().name("appmon-directory".to_owned()).spawn(worker) {
            Ok(_) => Ok(()),
            Err(_) => {
                slot.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), |job| Err(Box::new(job)))
            }
        }
    }

    /// Does one scan, and returns the next one that waits.
    fn work(&self, mut job: Job) -> Option<Job> {
        let began = Monotonic::now();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| job.run(&self.cancel)));
        let result = result.unwrap_or_else(|_| Err(Error::panicked("while scanning".to_owned())));
        let ended = Monotonic::now();
        let flight = Arc::clone(&job.flight);
        let mut state = self.lock();
        let took = ended.since(began).unwrap_or_default();
        let discarded = state.finish(job, FinishedJob { result, ended, took });
        let next = state.jobs.next(&flight);
        drop(state);
        self.happened.notify_all();
        drop(discarded);
        next
    }
}

impl State {
    fn take_id(&mut self) -> u64 {
        self.last_id = self.last_id.saturating_add(1);
        self.last_id
    }

    fn changed(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    pub(super) fn add_directory(&mut self, directory: Directory, location: Option<Location>) -> Result<u64> {
        let (name, path) = (&directory.name, &directory.path);
        if PartKind::NAMES.iter().any(|reserved| *name == **reserved) {
            let what = format!(
                "a directory cannot have the name {name:?}: it is reserved for another part of each file system"
            );
            return Err(Error::config(what).at(path));
        }
        if self.directories.entries.iter().any(|entry| entry.directory.name == *name) {
            return Err(Error::config(format!("there is a directory {name:?} already")).at(path));
        }
        let id = self.take_id();
        self.directories.add(id, directory, location);
        self.changed();
        Ok(id)
    }

    pub(super) fn add_file_system(&mut self, file_system: FileSystem) -> Result<u64> {
        for known in &self.file_systems {
            let what = if known.file_system.name == file_system.name {
                format!("there is a file system {:?} already", file_system.name)
            } else if known.file_system.path == file_system.path {
                format!("{:?} is registered already, as {:?}", file_system.name, known.file_system.name)
            } else {
                continue;
            };
            return Err(Error::config(what).at(&file_system.path));
        }
        let id = self.take_id();
        self.file_systems.push(Known { id, file_system, was_found: false });
        self.changed();
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.directories.remove(id);
        let Self { directories, jobs, .. } = self;
        jobs.drop_waiting(|job| job.is_of(directories));
        self.assign();
        self.file_systems.retain(|known| known.id != id);
        self.changed();
    }

    /// Assigns each directory to the watched one with which it is kept up to date.
    pub(super) fn assign(&mut self) {
        self.jobs.assign(&mut self.directories, self.closed);
    }

    /// Returns the place of the file system of this name.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.statuses.iter().position(|present| present.name == name)
    }

    pub(super) fn have_data(&mut self, answered: impl Iterator<Item = bool>) {
        for (present, answered) in self.statuses.iter_mut().zip(answered) {
            present.has_data = answered;
        }
    }

    fn finish(&mut self, mut job: Job, outcome: FinishedJob) -> Discarded {
        self.jobs.finish(&mut self.directories, &mut job, outcome, self.closed)
    }
}
