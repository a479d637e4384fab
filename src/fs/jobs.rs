//! The scans of the directories: which are due, what they measure, and how their results are stored.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::directories::{Directories, DirectoryState};
use super::directory::Attempt;
use super::flight::Flight;
use super::nesting::Nesting;
use super::plan::Location;
use super::survey::{Subject, Survey};
use super::usage::{MeasuredTree, Settings};
use super::watched_trees::{Discarded, Lease, Times, WatchedTrees};
use crate::{Cancel, Monotonic, Result};

/// The scans of a source.
#[derive(Debug)]
pub(super) struct Jobs {
    /// The limit of scans at the same time, not counting those on mounts that may hang.
    pub(super) most: usize,
    pub(super) settings: Settings,
    pub(super) watched_trees: WatchedTrees,
    /// How long a tick waits for watched directories to be brought up to date.
    pub(super) quick: Duration,
    running: usize,
    /// The number of scans that ended, of all directories, or could not be started.
    pub(super) ended: u64,
    /// How often due scans were searched for.
    #[cfg(test)]
    pub(super) start_calls: u64,
    /// Scans under way on mounts that may hang, by mount, including those of directories that were removed.
    unsafe_flights: Vec<(u32, Arc<Flight>)>,
    queue: VecDeque<Job>,
}

/// One scan: of a directory, and of all in it.
#[derive(Debug)]
pub(super) struct Job {
    survey: Survey,
    pub(super) flight: Arc<Flight>,
    /// For a watched directory: its tree.
    lease: Option<Lease>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            most: 2,
            settings: Settings::default(),
            watched_trees: WatchedTrees::default(),
            quick: Duration::ZERO,
            running: 0,
            ended: 0,
            #[cfg(test)]
            start_calls: 0,
            unsafe_flights: Vec::new(),
            queue: VecDeque::new(),
        }
    }
}

impl Jobs {
    /// Creates the jobs of the scans that are due and can begin. A directory is scanned together with all that are registered in
    /// it, so that each is read once, and a file with names in several counts once. `stalled` has the mounts that do not answer.
    pub(super) fn start(
        &mut self,
        directories: &mut Directories,
        stalled: &[u32],
        now: Monotonic,
        wanted: impl Fn(u64) -> bool,
    ) -> Vec<Job> {
        #[cfg(test)]
        {
            self.start_calls = self.start_calls.saturating_add(1);
        }
        let nesting = directories.nesting();
        let mut jobs = Vec::new();
        for (number, place, _) in nesting.iter() {
            let Some(entry) = directories.entries.get(place) else { continue };
            let Some(location) = &entry.location else { continue };
            if stalled.contains(&location.mount) {
                continue;
            }
            // A directory in a watched one is read with that.
            let tree_owner = entry.tree_owner;
            if tree_owner.map_or_else(|| !wanted(entry.id) || !entry.is_due(now), |tree_owner| tree_owner != entry.id) {
                continue;
            }
            // A directory whose path may hang is scanned by itself, and so is one that is kept up to date.
            let of = |number: usize| directories.entries.get(nesting.place(number)?);
            let is_like = |inner: &DirectoryState| {
                inner.tree_owner == tree_owner
                    && inner.location.as_ref().is_some_and(|inner| inner.safe == location.safe)
            };
            let members: Vec<usize> =
                nesting.with_all_in(number).filter(|inner| of(*inner).is_some_and(is_like)).collect();
            let mut entries = members.iter().filter_map(|number| of(*number));
            if tree_owner.is_some() && !entries.clone().any(|entry| wanted(entry.id)) {
                continue;
            }
            if tree_owner.is_some_and(|tree_owner| self.watched_trees.is_empty(tree_owner)) && !entry.is_due(now) {
                continue;
            }
            // A directory has one scan at a time, and so has a mount that may hang.
            if entries.any(|entry| entry.flight.is_some()) || self.flight_on(location).is_some() {
                continue;
            }
            let safe = location.safe;
            let mount = location.mount;
            let job = self.job(directories, &nesting, &members, tree_owner, now, safe);
            for number in members {
                let entry = nesting.place(number).and_then(|place| directories.entries.get_mut(place));
                if let Some(entry) = entry {
                    entry.flight = Some(Arc::clone(&job.flight));
                    entry.outdated = false;
                }
            }
            if !safe {
                self.unsafe_flights.push((mount, Arc::clone(&job.flight)));
            }
            if job.flight.counted {
                if self.running >= self.most {
                    self.queue.push_back(job);
                    continue;
                }
                self.running = self.running.saturating_add(1);
            }
            jobs.push(job);
        }
        jobs
    }

    fn job(
        &mut self,
        directories: &Directories,
        nesting: &Nesting,
        members: &[usize],
        tree_owner: Option<u64>,
        now: Monotonic,
        safe: bool,
    ) -> Job {
        let subject = |number: &usize| {
            let entry = directories.entries.get(nesting.place(*number)?)?;
            let (location, exclude) = (entry.location.as_ref()?, &entry.directory.exclude);
            Some((entry, Subject { number: *number, id: entry.id, location, exclude }))
        };
        let (entries, subjects): (Vec<&DirectoryState>, Vec<Subject<'_>>) = members.iter().filter_map(subject).unzip();
        let anew = entries.iter().any(|entry| entry.last.is_none_or(|last| last.outdated));
        let watched = entries.iter().filter(|entry| entry.directory.watched);
        let times = Times {
            ttl: entries.iter().map(|entry| entry.directory.ttl).min().unwrap_or_default(),
            verify: watched.map(|entry| entry.directory.verified_every()).min().unwrap_or_default(),
            quick: self.quick,
        };
        let cuts = members.first().map_or(&[][..], |number| nesting.cuts(*number));
        let survey = Survey::new(&subjects, cuts, self.settings);
        let lease = tree_owner.map(|owner| self.watched_trees.take(owner, &survey.members, &survey.walk, anew, times));
        // Bringing a tree up to date does not wait for full scans of other directories.
        let counted = safe && lease.as_ref().is_none_or(|lease| lease.is_new);
        Job { survey, flight: Flight::new(now, safe, counted), lease }
    }

    /// Assigns each directory to the outermost watched one that it is in, with which it is kept up to date. After the source was
    /// dropped no tree is kept.
    pub(super) fn assign(&mut self, directories: &mut Directories, is_closed: bool) {
        let before: Vec<Option<u64>> = directories.entries.iter_mut().map(|entry| entry.tree_owner.take()).collect();
        let (mut watched_trees, mut owners) = (Vec::new(), Vec::new());
        let nesting = if is_closed { Arc::default() } else { directories.nesting() };
        for (_, place, parent) in nesting.iter() {
            let outer: Option<u64> = parent.and_then(|parent| owners.get(parent).copied().flatten());
            let Some(entry) = directories.entries.get_mut(place) else { continue };
            if let Some(location) = entry.location.as_ref().filter(|location| location.safe) {
                entry.tree_owner = outer;
                // On some file systems, events do not report the changes made by other machines, or by the kernel.
                if outer.is_none() && entry.directory.watched && location.reported {
                    watched_trees.push(entry.id);
                    entry.tree_owner = (!self.watched_trees.is_too_large(entry.id)).then_some(entry.id);
                }
            }
            owners.push(entry.tree_owner);
        }
        for (entry, before) in directories.entries.iter_mut().zip(before) {
            // A directory that was kept up to date with another one, or was scanned, is watched from now on: it has to be read now.
            if entry.tree_owner == Some(entry.id) && before != entry.tree_owner {
                entry.invalidate();
            }
        }
        self.watched_trees.keep_only(&watched_trees).discard();
    }

    /// Drops the scans that have not begun and are not waited for.
    pub(super) fn drop_waiting(&mut self, is_wanted: impl Fn(&Job) -> bool) {
        let queue = std::mem::take(&mut self.queue).into_iter();
        let (wanted, unwanted): (VecDeque<Job>, VecDeque<Job>) = queue.partition(is_wanted);
        self.queue = wanted;
        for job in unwanted {
            self.return_lease(job.lease, Duration::ZERO).discard();
        }
    }

    fn return_lease(&mut self, lease: Option<Lease>, took: Duration) -> Discarded {
        lease.map(|lease| self.watched_trees.return_lease(lease, took)).unwrap_or_default()
    }

    /// Returns the next scan for a thread that has finished one; without one the thread ends.
    pub(super) fn next(&mut self, ended: &Flight) -> Option<Job> {
        let next = if ended.counted { self.queue.pop_front() } else { None };
        if ended.counted && next.is_none() {
            self.running = self.running.saturating_sub(1);
        }
        next
    }

    /// Records that a job could not be started.
    pub(super) fn not_started(&mut self, flight: &Flight) {
        if flight.counted {
            self.running = self.running.saturating_sub(1);
        }
    }

    /// Returns the scan under way on the mount of a directory, if that may hang: it can be of a directory removed since.
    pub(super) fn flight_on(&self, location: &Location) -> Option<&Arc<Flight>> {
        let (_, flight) = self.unsafe_flights.iter().find(|(mount, _)| !location.safe && *mount == location.mount)?;
        Some(flight)
    }

    /// Returns since when a scan of the directories of a file system has made no progress.
    pub(super) fn silent_since(&self, directories: &Directories, target: usize) -> Option<Monotonic> {
        let here = directories.entries.iter().filter(|entry| entry.is_at(Some(target)));
        let silent =
            |entry: &DirectoryState| Some(self.flight_on(entry.location.as_ref()?)?.clone()).filter(|f| f.is_silent());
        here.filter_map(silent).map(|flight| flight.began).min()
    }

    /// Stores the results of a scan.
    pub(super) fn finish(
        &mut self,
        directories: &mut Directories,
        job: &mut Job,
        outcome: FinishedJob,
        is_closed: bool,
    ) -> Discarded {
        let FinishedJob { result, ended, took } = outcome;
        self.ended = self.ended.saturating_add(1);
        let discarded = self.return_lease(job.lease.take(), took);
        self.unsafe_flights.retain(|(_, flight)| !Arc::ptr_eq(flight, &job.flight));
        let values = match result {
            Ok(found) => {
                if let Some(first) = job.survey.members.first() {
                    let count = found.iter().flatten().map(|found| found.usage.directories);
                    self.watched_trees.was_scanned(first.id, count.fold(0, u64::saturating_add));
                }
                job.survey.values(found, ended, took)
            }
            Err(error) => job.survey.members.iter().map(|_| Err(error.to_string())).collect(),
        };
        for (member, value) in job.survey.members.iter().zip(values) {
            let Some(entry) = directories.get_mut(member.id) else { continue };
            entry.flight = None;
            // It was mounted elsewhere meanwhile, or forgotten: the result is of another directory.
            if entry.location.as_ref().is_none_or(|location| !location.is_same(&member.location)) || is_closed {
                continue;
            }
            entry.scans = entry.scans.saturating_add(1);
            entry.last = Some(Attempt { ended, took, outdated: entry.outdated });
            match value {
                Ok(value) => directories.learn(member.id, value),
                // The previous value is kept.
                Err(failure) => entry.failure = Some(failure),
            }
        }
        discarded
    }
}

/// The result of a job.
#[derive(Debug)]
pub(super) struct FinishedJob {
    pub(super) result: Result<Vec<Result<MeasuredTree>>>,
    pub(super) ended: Monotonic,
    pub(super) took: Duration,
}

impl Job {
    /// Does the scan, on this thread.
    pub(super) fn run(&mut self, cancel: &Cancel) -> Result<Vec<Result<MeasuredTree>>> {
        let walk = &self.survey.walk;
        if let Some(lease) = &mut self.lease
            && let Some(found) = lease.refresh(walk, cancel)?
        {
            return Ok(found);
        }
        walk.run(cancel, &self.flight.progress)
    }

    /// Whether the job scans one of these directories.
    pub(super) fn is_of(&self, directories: &Directories) -> bool {
        self.survey.members.iter().any(|member| directories.get(member.id).is_some())
    }
}
