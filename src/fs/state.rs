//! What the source and its registry share: what is registered, what its scans found, and the scans themselves.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::FileSystem;
use super::directory::{Attempt, Directory, Patience};
use super::parts::{self, Slice, Value};
use super::plan::{Discovery, Known, Location, Member};
use super::sample::Watch;
use super::scan::{Progress, Usage};
use super::usage::{Found, Settings, Walk};
use super::watched_trees::{Discarded, Lease, Times, WatchedTrees};
use crate::{Cancel, Error, Monotonic, Result, Text};

/// How often `Cancel` is polled while a tick waits.
const POLL: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// A scan has ended.
    ended: Condvar,
    /// Set when the source is dropped.
    cancel: Cancel,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) discovery: Option<Discovery>,
    pub(super) file_systems: Vec<Known>,
    pub(super) entries: Vec<Entry>,
    /// Counts the changes of what is registered.
    pub(super) generation: u64,
    /// The file systems of the last tick.
    pub(super) present: Vec<Present>,
    /// What was wrong with what was registered with the source itself.
    pub(super) fault: Option<String>,
    /// Scans at most at the same time, those on mounts that may hang not counted.
    pub(super) scans: usize,
    pub(super) settings: Settings,
    pub(super) watched_trees: WatchedTrees,
    /// What a tick waits for at most that is brought up to date.
    quick: Duration,
    next_id: u64,
    running: usize,
    /// Scans that ended, of all directories, or could not be started.
    ended: u64,
    /// How often it was looked for scans that are due.
    #[cfg(test)]
    pub(super) looks: u64,
    /// Scans under way on mounts that may hang, of directories that have left, too: by mount.
    unsafe_flights: Vec<(u32, Arc<Flight>)>,
    queue: VecDeque<Job>,
    pub(super) closed: bool,
}

/// A file system as it was last seen.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) name: Text,
    pub(super) mount_point: PathBuf,
    pub(super) has_data: bool,
}

/// A directory that was registered.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) directory: Directory,
    pub(super) location: Option<Location>,
    /// Whether it was found once.
    pub(super) met: bool,
    value: Option<Value>,
    failure: Option<String>,
    last: Option<Attempt>,
    flight: Option<Arc<Flight>>,
    /// The watched directory it is in, and is kept up to date with: that can be itself.
    tree_owner: Option<u64>,
    /// Whether what the scan under way finds is known to be too old.
    outdated: bool,
    /// Scans that ended.
    scans: u64,
}

/// A scan under way.
#[derive(Debug)]
struct Flight {
    pulse: Progress,
    began: Monotonic,
    safe: bool,
    /// Whether it is one of those of which there are only so many at the same time.
    counted: bool,
    /// The pulse at which a tick gave up waiting for it.
    silent: AtomicU64,
}

impl Flight {
    fn is_silent(&self) -> bool {
        self.pulse.entries() == self.silent.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Job {
    walk: Walk,
    /// The directories, sorted by [`parts::order`].
    members: Vec<Member>,
    flight: Arc<Flight>,
    /// For a watched directory: what is known of it.
    kept: Option<Lease>,
}

/// How the directories that are somewhere lie in each other.
#[derive(Debug)]
struct Nest {
    /// Their places among the entries: by file system, and as [`parts::order`] has them.
    places: Vec<usize>,
    /// For each of `places`, which of these it lies in directly.
    parents: Vec<Option<usize>>,
}

impl Nest {
    /// The places among the entries of a directory and of all in it, by its number here.
    fn members(&self, nth: usize) -> impl Iterator<Item = usize> {
        let mut inside = vec![false; self.places.len()];
        self.places.iter().zip(&self.parents).enumerate().skip(nth).filter_map(move |(number, (place, parent))| {
            let is_inside = number == nth || parent.is_some_and(|parent| inside.get(parent) == Some(&true));
            if let Some(slot) = inside.get_mut(number) {
                *slot = is_inside;
            }
            is_inside.then_some(*place)
        })
    }
}

/// A directory that a tick waits for.
#[derive(Debug)]
struct Awaited {
    id: u64,
    /// So many scans will have ended.
    scans: u64,
    /// For how long, if not until then.
    until: Option<Instant>,
    /// The scan that it waits for, where that may hang: it is waited for while it shows signs of life.
    flight: Option<Arc<Flight>>,
}

impl Shared {
    pub(super) fn new(discovery: Option<Discovery>) -> Arc<Self> {
        let state = State {
            discovery,
            file_systems: Vec::new(),
            entries: Vec::new(),
            generation: 0,
            present: Vec::new(),
            fault: None,
            scans: 2,
            settings: Settings::default(),
            watched_trees: WatchedTrees::default(),
            quick: Duration::ZERO,
            next_id: 0,
            running: 0,
            ended: 0,
            #[cfg(test)]
            looks: 0,
            unsafe_flights: Vec::new(),
            queue: VecDeque::new(),
            closed: false,
        };
        Arc::new(Self { state: Mutex::new(state), ended: Condvar::new(), cancel: Cancel::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source is gone: its scans are to end.
    pub(super) fn close(&self) {
        self.cancel.cancel();
        let mut state = self.lock();
        state.closed = true;
        state.present.clear();
        state.assign();
        for job in std::mem::take(&mut state.queue) {
            state.give_back(job.kept, Duration::ZERO).discard();
        }
    }

    /// Starts the scans that are due, and waits for those that the tick waits for. `stalled` tells the mounts that do not
    /// answer: nothing is started there. A scan on a mount that may hang is waited for as long as it shows signs of life,
    /// each within `budget`.
    pub(super) fn scan(self: &Arc<Self>, stalled: &[u32], budget: Duration, cancel: &Cancel) -> Result<()> {
        let mut state = self.lock();
        if state.entries.is_empty() {
            return Ok(());
        }
        let now = Monotonic::now();
        state.quick = budget;
        state.assign();
        let mut awaited: Vec<Awaited> =
            state.entries.iter().filter_map(|entry| entry.awaited(now, budget, &state.watched_trees)).collect();
        state.start(self, stalled, now, |_| true);
        let mut signs: HashMap<u64, (u64, Instant)> = HashMap::new();
        let mut seen = None;
        loop {
            // What is under way differs when a scan has ended, or somebody registers or removes a directory.
            let now = (state.ended, state.generation);
            if seen.replace(now) != Some(now) {
                awaited.retain(|awaited| state.is_pending(awaited, stalled));
                if !awaited.is_empty() {
                    // What could not start because of another scan.
                    state.start(self, stalled, Monotonic::now(), |id| awaited.iter().any(|awaited| awaited.id == id));
                }
                for awaited in &mut awaited {
                    awaited.flight = state.flight(awaited.id).filter(|flight| !flight.safe);
                }
            }
            let clock = Instant::now();
            awaited.retain(|awaited| awaited.until.is_none_or(|until| clock < until));
            awaited.retain(|awaited| match &awaited.flight {
                Some(flight) => {
                    let count = flight.pulse.entries();
                    let (seen, since) = signs.entry(awaited.id).or_insert((count, clock));
                    if *seen != count {
                        (*seen, *since) = (count, clock);
                    }
                    if clock.saturating_duration_since(*since) >= budget {
                        flight.silent.store(count, Ordering::Relaxed);
                    }
                    !flight.is_silent()
                }
                None => true,
            });
            if awaited.is_empty() {
                return Ok(());
            }
            cancel.check()?;
            let waited = self.ended.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
        }
    }

    /// Starts the scans of these directories, however old what is known is.
    pub(super) fn force(self: &Arc<Self>, wanted: impl Fn(&Entry) -> bool) -> bool {
        let mut state = self.lock();
        let mut any = false;
        for entry in state.entries.iter_mut().filter(|entry| wanted(entry)) {
            entry.invalidate();
            any = true;
        }
        let ids: Vec<u64> = state.entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.id).collect();
        // Before the first tick nothing is known of the mounts; the first tick scans in any case.
        if !state.closed {
            state.assign();
            state.start(self, &[], Monotonic::now(), |id| ids.contains(&id));
        }
        any
    }

    fn spawn(self: &Arc<Self>, job: Job) -> std::result::Result<(), Box<Job>> {
        // The job goes by way of a slot, to have it back where no thread can be started.
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

    /// Does one scan, and gives the next one that waits for its turn.
    fn work(&self, mut job: Job) -> Option<Job> {
        let began = Monotonic::now();
        let run = AssertUnwindSafe(|| match &mut job.kept {
            Some(kept) => match kept.refresh(&job.walk.marks, &self.cancel)? {
                Some(found) => Ok(found),
                None => job.walk.run(&self.cancel, &job.flight.pulse),
            },
            None => job.walk.run(&self.cancel, &job.flight.pulse),
        });
        let result = std::panic::catch_unwind(run);
        let result = result.unwrap_or_else(|_| Err(Error::panicked("while scanning".to_owned())));
        let ended = Monotonic::now();
        let mut state = self.lock();
        let counted = job.flight.counted;
        let discarded = state.finish(job, result, ended, ended.since(began).unwrap_or_default());
        let next = if counted { state.next_job() } else { None };
        drop(state);
        self.ended.notify_all();
        drop(discarded);
        next
    }
}

impl State {
    pub(super) fn take_id(&mut self) -> u64 {
        self.next_id = self.next_id.saturating_add(1);
        self.next_id
    }

    pub(super) fn changed(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    pub(super) fn add_directory(&mut self, directory: Directory, location: Option<Location>) -> Result<u64> {
        if self.entries.iter().any(|entry| entry.directory.name == directory.name) {
            return Err(Error::config(format!("there is a directory {:?} already", directory.name)).at(&directory.path));
        }
        let id = self.take_id();
        let met = location.is_some();
        self.entries.push(Entry {
            id,
            directory,
            location,
            met,
            value: None,
            failure: None,
            last: None,
            flight: None,
            tree_owner: None,
            outdated: false,
            scans: 0,
        });
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
        self.file_systems.push(Known { id, file_system, met: false });
        self.changed();
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id);
        self.drop_waiting();
        self.assign();
        self.file_systems.retain(|known| known.id != id);
        self.changed();
    }

    /// Scans that have not begun, and that nobody waits for any more.
    fn drop_waiting(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let is_wanted = |job: &Job| job.members.iter().any(|member| self.entry(member.id).is_some());
        let (wanted, unwanted): (VecDeque<Job>, VecDeque<Job>) = queue.into_iter().partition(is_wanted);
        self.queue = wanted;
        for job in unwanted {
            self.give_back(job.kept, Duration::ZERO).discard();
        }
    }

    /// The directories of a file system, sorted, as its parts are made of them; and since when one of their scans has shown
    /// no sign of life.
    pub(super) fn slices(&self, target: usize) -> (Vec<Slice<'_>>, Option<Monotonic>) {
        let here = |entry: &&Entry| entry.location.as_ref().is_some_and(|location| location.target == target);
        let mut slices: Vec<Slice<'_>> = self.entries.iter().filter(here).filter_map(Entry::slice).collect();
        slices.sort_by(|a, b| parts::order((a.spot, a.id), (b.spot, b.id)));
        let silent = |entry: &Entry| Some(self.flight_on(entry.location.as_ref()?).filter(|f| f.is_silent())?.began);
        (slices, self.entries.iter().filter(here).filter_map(silent).min())
    }

    /// The place of the file system of this name.
    pub(super) fn homes_of(&self, name: &str) -> Option<usize> {
        self.present.iter().position(|present| present.name == name)
    }

    /// How many directories are nowhere: they were removed, or their file system was unmounted, or they are optional.
    pub(super) fn unresolved(&self) -> u64 {
        let may_be_missing = |entry: &&Entry| entry.met || entry.directory.optional;
        self.entries.iter().filter(may_be_missing).filter(|entry| entry.location.is_none()).count() as u64
    }

    /// Whether it is time to look where a directory is: its scan is due, or it is nowhere.
    pub(super) fn is_any_due(&self, now: Monotonic) -> bool {
        self.entries.iter().any(|entry| entry.is_to_be_looked_up(now))
    }

    /// Forgets what was found on mounts that may hang and have others in their place.
    pub(super) fn forget_unseen_on(&mut self, mounts: &[u32]) {
        let is_there = |entry: &Entry| entry.location.as_ref().is_some_and(|h| !h.safe && mounts.contains(&h.mount));
        for entry in self.entries.iter_mut().filter(|entry| is_there(entry)) {
            entry.clear();
        }
    }

    pub(super) fn have_data(&mut self, answered: impl Iterator<Item = bool>) {
        for (present, answered) in self.present.iter_mut().zip(answered) {
            present.has_data = answered;
        }
    }

    fn entry(&self, id: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// The scan that a directory waits for: its own, or that of another on a mount which takes one at a time.
    fn flight(&self, id: u64) -> Option<Arc<Flight>> {
        let entry = self.entry(id)?;
        let location = entry.location.as_ref()?;
        entry.flight.as_ref().or_else(|| self.flight_on(location)).cloned()
    }

    /// The scan under way on the mount that a directory is on, where that may hang: it can be of one that has left since.
    fn flight_on(&self, location: &Location) -> Option<&Arc<Flight>> {
        let (_, flight) = self.unsafe_flights.iter().find(|(mount, _)| !location.safe && *mount == location.mount)?;
        Some(flight)
    }

    /// Whether a tick still has to wait for a directory.
    fn is_pending(&self, awaited: &Awaited, stalled: &[u32]) -> bool {
        self.entry(awaited.id).is_some_and(|entry| {
            let Some(location) = &entry.location else { return false };
            entry.scans < awaited.scans && (entry.flight.is_some() || !stalled.contains(&location.mount))
        })
    }

    /// Starts the scans that are due. A directory is scanned together with all that are registered in it: each is walked
    /// through once, and a file that has a name in several counts once.
    fn start(&mut self, shared: &Arc<Shared>, stalled: &[u32], now: Monotonic, wanted: impl Fn(u64) -> bool) {
        #[cfg(test)]
        {
            self.looks = self.looks.saturating_add(1);
        }
        let nest = self.nest();
        for (nth, place) in nest.places.iter().enumerate() {
            let Some(entry) = self.entries.get(*place) else { continue };
            let Some(location) = &entry.location else { continue };
            if stalled.contains(&location.mount) {
                continue;
            }
            // What is in a watched directory is read with it.
            let tree_owner = entry.tree_owner;
            if tree_owner.map_or_else(|| !wanted(entry.id) || !entry.is_due(now), |tree_owner| tree_owner != entry.id) {
                continue;
            }
            // One by a way that may hang is scanned by itself.
            let is_like = |place: &usize| {
                self.entries
                    .get(*place)
                    .and_then(|e| e.location.as_ref())
                    .is_some_and(|inner| inner.safe == location.safe)
            };
            let members: Vec<usize> = nest.members(nth).filter(is_like).collect();
            let of = |place: &usize| self.entries.get(*place);
            if tree_owner.is_some() && !members.iter().filter_map(of).any(|entry| wanted(entry.id)) {
                continue;
            }
            if tree_owner.is_some_and(|tree_owner| self.watched_trees.is_empty(tree_owner)) && !entry.is_due(now) {
                continue;
            }
            let busy =
                |place: &usize| of(place).is_some_and(|entry| entry.flight.is_some() && entry.tree_owner == tree_owner);
            // One scan of a directory at a time, and one on a mount that may hang.
            if members.iter().any(busy) || self.flight_on(location).is_some() {
                continue;
            }
            let safe = location.safe;
            let job = self.job(&members, tree_owner, now, safe);
            let flight = Arc::clone(&job.flight);
            for place in members {
                if let Some(entry) = self.entries.get_mut(place).filter(|entry| entry.tree_owner == tree_owner) {
                    entry.flight = Some(Arc::clone(&flight));
                    entry.outdated = false;
                }
            }
            self.launch(shared, job);
        }
    }

    /// How the directories that are somewhere lie in each other: by where they are in their file system, and what can be seen
    /// of it on their mount.
    fn nest(&self) -> Nest {
        let location =
            |place: &usize| self.entries.get(*place).and_then(|entry| Some((entry.location.as_ref()?, entry.id)));
        let mut places: Vec<usize> = (0..self.entries.len()).filter(|place| location(place).is_some()).collect();
        let key = |location: &Location| (location.target, location.device);
        places.sort_by(|a, b| match (location(a), location(b)) {
            (Some((a, a_id)), Some((b, b_id))) => {
                key(a).cmp(&key(b)).then_with(|| parts::order((&a.spot, a_id), (&b.spot, b_id)))
            }
            _ => std::cmp::Ordering::Equal,
        });
        let parents =
            parts::nest(places.iter().filter_map(location).map(|(location, _)| (key(location), &*location.spot)));
        Nest { places, parents }
    }

    /// Finds out which directory is kept up to date with which watched one: the outermost.
    fn assign(&mut self) {
        let before: Vec<Option<u64>> = self.entries.iter_mut().map(|entry| entry.tree_owner.take()).collect();
        let (mut watched_trees, mut of) = (Vec::new(), Vec::new());
        // When the source is gone nothing is kept.
        let nest = if self.closed { Nest { places: Vec::new(), parents: Vec::new() } } else { self.nest() };
        for (place, parent) in nest.places.iter().zip(&nest.parents) {
            let outer: Option<u64> = parent.and_then(|parent| of.get(parent).copied().flatten());
            let Some(entry) = self.entries.get_mut(*place) else { continue };
            if let Some(location) = entry.location.as_ref().filter(|location| location.safe) {
                entry.tree_owner = outer;
                // Where others make changes, or the kernel itself, events do not tell of them.
                if outer.is_none() && entry.directory.watched && location.reported {
                    watched_trees.push(entry.id);
                    entry.tree_owner = (!self.watched_trees.is_too_large(entry.id)).then_some(entry.id);
                }
            }
            of.push(entry.tree_owner);
        }
        for (entry, before) in self.entries.iter_mut().zip(before) {
            // What was kept up to date with another one, or was scanned, is watched from now on: nothing else reads it at once.
            if entry.tree_owner == Some(entry.id) && before != entry.tree_owner {
                entry.invalidate();
            }
        }
        self.watched_trees.settle(&watched_trees).discard();
    }

    fn job(&mut self, members: &[usize], tree_owner: Option<u64>, began: Monotonic, safe: bool) -> Job {
        let entries = || members.iter().filter_map(|place| self.entries.get(*place));
        let member = |entry: &Entry| {
            Some(Member {
                id: entry.id,
                location: entry.location.clone()?,
                tracked_elsewhere: entry.tree_owner != tree_owner,
                mark: 0,
            })
        };
        let anew = entries().any(|entry| entry.last.is_none_or(|last| last.outdated));
        let watched = || entries().filter(|entry| entry.directory.watched);
        let times = Times {
            ttl: entries().map(|entry| entry.directory.ttl).min().unwrap_or_default(),
            verify: watched().map(|entry| entry.directory.verified_every()).min().unwrap_or_default(),
            quick: self.quick,
        };
        let mut members: Vec<Member> = entries().filter_map(member).collect();
        let (mut marks, mut excludes): (Vec<PathBuf>, Vec<_>) = (Vec::new(), Vec::new());
        // Of those that are the same, the last one has it all.
        for same in members.chunk_by_mut(|a, b| a.location.spot.location == b.location.spot.location) {
            for member in &mut *same {
                member.mark = marks.len();
            }
            let Some(last) = same.last() else { continue };
            let exclude = self.entry(last.id).map(|entry| Arc::clone(&entry.directory.exclude));
            marks.push(last.location.path.clone());
            excludes.push(exclude.unwrap_or_default());
        }
        let walk = Walk { marks, excludes, settings: self.settings };
        let kept = tree_owner.map(|tree_owner| self.watched_trees.take(tree_owner, &members, &walk, anew, times));
        // What is brought up to date does not wait until others have read all of theirs.
        let counted = safe && kept.as_ref().is_none_or(|kept| kept.is_new);
        let (pulse, silent) = (Progress::new(), AtomicU64::new(u64::MAX));
        let flight = Arc::new(Flight { pulse, began, safe, counted, silent });
        Job { walk, members, flight, kept }
    }

    fn launch(&mut self, shared: &Arc<Shared>, job: Job) {
        let counted = job.flight.counted;
        if let Some(member) = job.members.first().filter(|_| !job.flight.safe) {
            self.unsafe_flights.push((member.location.mount, Arc::clone(&job.flight)));
        }
        if counted {
            if self.running >= self.scans {
                self.queue.push_back(job);
                return;
            }
            self.running = self.running.saturating_add(1);
        }
        if let Err(job) = shared.spawn(job) {
            let now = Monotonic::now();
            let error = Error::io(std::io::Error::other("no thread could be started to scan it"));
            self.finish(*job, Err(error), now, Duration::ZERO).discard();
            if counted {
                self.running = self.running.saturating_sub(1);
            }
        }
    }

    fn give_back(&mut self, kept: Option<Lease>, took: Duration) -> Discarded {
        kept.map(|kept| self.watched_trees.give_back(kept, took)).unwrap_or_default()
    }

    /// The next scan for a thread that has ended one; it ends where there is none.
    fn next_job(&mut self) -> Option<Job> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.running = self.running.saturating_sub(1);
        }
        next
    }

    /// Takes what a scan found.
    fn finish(
        &mut self,
        mut job: Job,
        result: Result<Vec<Result<Found>>>,
        ended: Monotonic,
        took: Duration,
    ) -> Discarded {
        self.ended = self.ended.saturating_add(1);
        let discarded = self.give_back(job.kept.take(), took);
        self.unsafe_flights.retain(|(_, flight)| !Arc::ptr_eq(flight, &job.flight));
        let mut values = match result {
            Ok(found) => {
                if let Some(first) = job.members.first() {
                    let directories = found.iter().flatten().map(|found| found.usage.directories);
                    self.watched_trees.was_scanned(first.id, directories.fold(0, u64::saturating_add));
                }
                values(&job, found, ended, took)
            }
            Err(error) => job.members.iter().map(|_| Err(error.to_string())).collect(),
        };
        for (member, value) in job.members.iter().zip(values.drain(..)).filter(|(member, _)| !member.tracked_elsewhere)
        {
            let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == member.id) else { continue };
            entry.flight = None;
            // It was mounted elsewhere meanwhile, or forgotten: what was found is of something else.
            if entry.location.as_ref().is_none_or(|location| !location.is_same(&member.location)) || self.closed {
                continue;
            }
            match value {
                Ok(value) => (entry.value, entry.failure) = (Some(value), None),
                // What was known before is given again.
                Err(failure) => entry.failure = Some(failure),
            }
            entry.scans = entry.scans.saturating_add(1);
            entry.last = Some(Attempt { ended, took, outdated: entry.outdated });
        }
        discarded
    }
}

/// What each of the directories of a scan holds.
fn values(
    job: &Job,
    found: Vec<Result<Found>>,
    ended: Monotonic,
    took: Duration,
) -> Vec<std::result::Result<Value, String>> {
    let all: Vec<_> = found.into_iter().map(|found| found.map_err(|error| error.to_string())).collect();
    let mut values = Vec::with_capacity(job.members.len());
    for (place, member) in job.members.iter().enumerate() {
        let found = all.get(member.mark).cloned().unwrap_or_else(|| Err("it was not scanned".to_owned()));
        // Of those that are the same the last one has it all.
        let next = job.members.get(place.saturating_add(1));
        let is_around = next.is_some_and(|next| next.mark == member.mark);
        values.push(found.map(|Found { mut usage, at, mut watch }| {
            if is_around {
                let Usage { partial, excluded_mounts, .. } = usage;
                usage = Usage { partial, excluded_mounts, ..Usage::default() };
                watch = watch.map(|watch| Watch { uncertain_files: 0, uncertain_bytes: 0, ..watch });
            }
            let (at, spot) = (at.unwrap_or(ended), Arc::clone(&member.location.spot));
            Value { usage, inner: Arc::default(), spot, scope: 0, at, took, watch }
        }));
    }
    let parents = parts::nest(job.members.iter().map(|member| ((), &*member.location.spot)));
    let mut inclusive: Vec<u64> =
        values.iter().map(|value| value.as_ref().map_or(0, |value| value.usage.allocated_bytes)).collect();
    let mut inner: Vec<HashMap<u64, u64>> = vec![HashMap::new(); values.len()];
    for (place, parent) in parents.iter().enumerate().rev() {
        let all = inclusive.get(place).copied().unwrap_or(0);
        if let Some(parent) = *parent
            && let (Some(sum), Some(map), Some(member)) =
                (inclusive.get_mut(parent), inner.get_mut(parent), job.members.get(place))
        {
            *sum = sum.saturating_add(all);
            // Where it is left out of the outer one, that does not get it when it is told apart no more.
            let is_left_out = |outer: &Member| {
                let below = member.location.spot.location.strip_prefix(&outer.location.spot.location);
                below.is_ok_and(|below| job.walk.leaves_out(outer.mark, below))
            };
            let is_left_out = job.members.get(parent).is_some_and(is_left_out);
            map.insert(member.id, if is_left_out { 0 } else { all });
        }
    }
    for ((value, inner), scope) in values.iter_mut().zip(inner).zip(scopes(job, &parents)) {
        if let Ok(value) = value {
            (value.inner, value.scope) = (Arc::new(inner), scope);
        }
    }
    values
}

/// What each of the directories of a scan had to count, as a number: see [`Part::scope`](super::Part::scope). `parents`
/// says in which of them each one lies directly.
fn scopes(job: &Job, parents: &[Option<usize>]) -> Vec<u64> {
    // Those inside come after those they are in.
    let mut hashers: Vec<DefaultHasher> = job.members.iter().map(|_| DefaultHasher::new()).collect();
    let mut scopes = vec![0; job.members.len()];
    for (place, (member, parent)) in job.members.iter().zip(parents).enumerate().rev() {
        let Location { mount, identity, device, spot, path, .. } = &member.location;
        let Some(hasher) = hashers.get_mut(place) else { continue };
        (mount, identity, device, spot, path, job.walk.excludes.get(member.mark)).hash(hasher);
        let scope = hasher.finish();
        if let Some(outer) = parent.and_then(|parent| hashers.get_mut(parent)) {
            scope.hash(outer);
        }
        if let Some(slot) = scopes.get_mut(place) {
            *slot = scope;
        }
    }
    scopes
}

impl Entry {
    /// Forgets when it was scanned: the next tick scans again.
    pub(super) fn invalidate(&mut self) {
        self.outdated = self.flight.is_some();
        if let Some(last) = &mut self.last {
            last.outdated = true;
        }
    }

    /// Forgets what was found, too.
    pub(super) fn clear(&mut self) {
        self.outdated = self.flight.is_some();
        self.value = None;
        self.failure = None;
        self.last = None;
    }

    pub(super) fn has_data(&self) -> bool {
        self.value.is_some()
    }

    /// Says where it is now. What was found elsewhere is forgotten.
    pub(super) fn settle(&mut self, location: Option<Location>) {
        let same = match (&self.location, &location) {
            (Some(old), Some(new)) => old.is_same(new),
            _ => false,
        };
        self.met |= location.is_some();
        self.location = location;
        if !same {
            self.clear();
        }
    }

    /// Whether it is in the file system at this place.
    pub(super) fn is_at(&self, place: Option<usize>) -> bool {
        place.is_some() && self.location.as_ref().map(|location| location.target) == place
    }

    fn is_due(&self, now: Monotonic) -> bool {
        self.flight.is_none() && self.last.is_none_or(|last| last.is_over(&self.directory, now))
    }

    /// Whether it is to be looked up where it is: where it is scanned, and at each tick where it is kept up to date, as no
    /// event reports that its path leads elsewhere.
    pub(super) fn is_to_be_looked_up(&self, now: Monotonic) -> bool {
        self.location.is_none() || self.tree_owner.is_some() || self.is_due(now)
    }

    /// Whether a tick that begins now has to wait for its scan, and for which.
    fn awaited(&self, now: Monotonic, budget: Duration, watched_trees: &WatchedTrees) -> Option<Awaited> {
        self.location.as_ref()?;
        let (mut scans, mut until) = (self.scans.saturating_add(1), None);
        let waits = match (self.directory.patience, self.tree_owner) {
            (Patience::None, _) => false,
            (_, Some(tree_owner)) if watched_trees.is_empty(tree_owner) && self.last.is_some() && !self.is_due(now) => {
                false
            }
            (Patience::First, _) if self.last.is_none() => true,
            (Patience::First, None) => false,
            (Patience::First, Some(tree_owner)) => {
                until = Instant::now().checked_add(budget);
                !self.last.is_some_and(|last| last.outdated) && watched_trees.is_quick(tree_owner, budget)
            }
            (Patience::All, Some(_)) => true,
            (Patience::All, None) => self.flight.is_some() || self.is_due(now),
        };
        if self.tree_owner.is_some() && self.last.is_some() && self.flight.is_some() {
            // What is under way began before this tick.
            scans = scans.saturating_add(1);
        }
        waits.then_some(Awaited { id: self.id, scans, until, flight: None })
    }

    fn slice(&self) -> Option<Slice<'_>> {
        let location = self.location.as_ref()?;
        Some(Slice {
            id: self.id,
            name: &self.directory.name,
            path: &location.path,
            spot: self.value.as_ref().map_or(&location.spot, |value| &value.spot),
            value: self.value.as_ref(),
            failure: self.failure.as_deref(),
            watched: self.directory.watched,
            exclude: &self.directory.exclude,
        })
    }
}
