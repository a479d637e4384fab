//! What the source and its registry share: what is registered, what its scans found, and the scans themselves.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::FileSystem;
use super::directory::{Attempt, Directory, Patience};
use super::parts::{self, Slice, Value};
use super::plan::{Discovery, Home};
use super::scan::{Progress, Usage};
use super::usage::{Settings, Walk};
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
    next_id: u64,
    running: usize,
    queue: VecDeque<Job>,
    pub(super) closed: bool,
}

/// A file system that was registered.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: u64,
    pub(super) file_system: FileSystem,
    /// Whether it was found mounted once.
    pub(super) met: bool,
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
    pub(super) home: Option<Home>,
    /// Whether it was found once.
    pub(super) met: bool,
    value: Option<Value>,
    failure: Option<String>,
    last: Option<Attempt>,
    flight: Option<Arc<Flight>>,
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
}

#[derive(Debug)]
struct Member {
    id: u64,
    home: Home,
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
            next_id: 0,
            running: 0,
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
        state.queue.clear();
        state.present.clear();
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
        let mut awaited: Vec<(u64, u64)> = state.entries.iter().filter_map(|entry| entry.awaited(now)).collect();
        state.start(self, stalled, now, |_| true);
        let mut signs: HashMap<u64, (u64, Instant)> = HashMap::new();
        loop {
            let clock = Instant::now();
            awaited.retain(|(id, before)| state.is_pending(*id, *before, stalled));
            awaited.retain(|(id, _)| match state.flight(*id) {
                Some(flight) if !flight.safe => {
                    let count = flight.pulse.entries();
                    let (seen, since) = signs.entry(*id).or_insert((count, clock));
                    if *seen != count {
                        (*seen, *since) = (count, clock);
                    }
                    if clock.saturating_duration_since(*since) >= budget {
                        flight.silent.store(count, Ordering::Relaxed);
                    }
                    !flight.is_silent()
                }
                _ => true,
            });
            if awaited.is_empty() {
                return Ok(());
            }
            cancel.check()?;
            // What could not start because of another scan.
            state.start(self, stalled, Monotonic::now(), |id| awaited.iter().any(|(awaited, _)| *awaited == id));
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
            state.start(self, &[], Monotonic::now(), |id| ids.contains(&id));
        }
        any
    }

    fn spawn(self: &Arc<Self>, job: Job) -> std::result::Result<(), Job> {
        // The job goes by way of a slot, to have it back where no thread can be started.
        let slot = Arc::new(Mutex::new(Some(job)));
        let (shared, given) = (Arc::clone(self), Arc::clone(&slot));
        let worker = move || {
            let mut job = given.lock().unwrap_or_else(PoisonError::into_inner).take();
            while let Some(next) = job {
                job = shared.work(&next);
            }
        };
        match std::thread::Builder::new().name("appmon-directory".to_owned()).spawn(worker) {
            Ok(_) => Ok(()),
            Err(_) => slot.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err),
        }
    }

    /// Does one scan, and gives the next one that waits for its turn.
    fn work(&self, job: &Job) -> Option<Job> {
        let began = Monotonic::now();
        let run = AssertUnwindSafe(|| job.walk.run(&self.cancel, &job.flight.pulse));
        let result = std::panic::catch_unwind(run);
        let result = result.unwrap_or_else(|_| Err(Error::panicked("while scanning".to_owned())));
        let ended = Monotonic::now();
        let mut state = self.lock();
        state.finish(job, result, ended, ended.since(began).unwrap_or_default());
        let next = if job.flight.safe { state.next_job() } else { None };
        drop(state);
        self.ended.notify_all();
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

    pub(super) fn add_directory(&mut self, directory: Directory, home: Option<Home>) -> Result<u64> {
        if self.entries.iter().any(|entry| entry.directory.name == directory.name) {
            return Err(Error::config(format!("there is a directory {:?} already", directory.name)).at(&directory.path));
        }
        let id = self.take_id();
        let met = home.is_some();
        self.entries.push(Entry {
            id,
            directory,
            home,
            met,
            value: None,
            failure: None,
            last: None,
            flight: None,
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
        self.file_systems.retain(|known| known.id != id);
        self.changed();
    }

    /// The directories of a file system, sorted, as its parts are made of them; and since when one of their scans has shown
    /// no sign of life.
    pub(super) fn slices(&self, target: usize) -> (Vec<Slice<'_>>, Option<Monotonic>) {
        let here = |entry: &&Entry| entry.home.as_ref().is_some_and(|home| home.target == target);
        let mut slices: Vec<Slice<'_>> = self.entries.iter().filter(here).filter_map(Entry::slice).collect();
        slices.sort_by(|a, b| parts::order((a.path, a.id), (b.path, b.id)));
        let silent = |entry: &Entry| Some(entry.flight.as_ref().filter(|f| !f.safe && f.is_silent())?.began);
        (slices, self.entries.iter().filter(here).filter_map(silent).min())
    }

    /// The place of the file system of this name.
    pub(super) fn homes_of(&self, name: &str) -> Option<usize> {
        self.present.iter().position(|present| present.name == name)
    }

    /// How many directories are nowhere: they were removed, or their file system was unmounted.
    pub(super) fn homeless(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.met && entry.home.is_none()).count() as u64
    }

    /// Whether a scan is due, or a directory is nowhere.
    pub(super) fn is_any_due(&self, now: Monotonic) -> bool {
        self.entries.iter().any(|entry| entry.home.is_none() || entry.is_due(now))
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
    fn flight(&self, id: u64) -> Option<&Flight> {
        let entry = self.entry(id)?;
        let home = entry.home.as_ref()?;
        let other =
            || self.entries.iter().find(|other| !home.safe && other.flight.is_some() && other.is_on(home.mount));
        entry.flight.as_deref().or_else(|| other()?.flight.as_deref())
    }

    /// Whether a tick still has to wait for a directory of which `before` scans had ended when it began.
    fn is_pending(&self, id: u64, before: u64, stalled: &[u32]) -> bool {
        self.entry(id).is_some_and(|entry| {
            let Some(home) = &entry.home else { return false };
            entry.scans == before && (entry.flight.is_some() || !stalled.contains(&home.mount))
        })
    }

    /// Starts the scans that are due. A directory is scanned together with all that are registered in it: each is walked
    /// through once, and a file that has a name in several counts once.
    fn start(&mut self, shared: &Arc<Shared>, stalled: &[u32], now: Monotonic, wanted: impl Fn(u64) -> bool) {
        let mut places: Vec<usize> = (0..self.entries.len())
            .filter(|place| self.entries.get(*place).is_some_and(|e| e.home.is_some()))
            .collect();
        places.sort_by(|a, b| match (self.key(*a), self.key(*b)) {
            (Some(a), Some(b)) => a.0.cmp(&b.0).then(parts::order(a.1, b.1)),
            _ => std::cmp::Ordering::Equal,
        });
        for (nth, place) in places.iter().enumerate() {
            let Some(entry) = self.entries.get(*place) else { continue };
            let Some(home) = &entry.home else { continue };
            if !wanted(entry.id) || !entry.is_due(now) || stalled.contains(&home.mount) {
                continue;
            }
            let inside = |place: &&usize| {
                self.entries.get(**place).and_then(|e| e.home.as_ref()).is_some_and(|inner| inner.is_in(home))
            };
            let members: Vec<usize> =
                places.get(nth..).unwrap_or_default().iter().take_while(inside).copied().collect();
            let busy = |place: &usize| self.entries.get(*place).is_some_and(|entry| entry.flight.is_some());
            // One scan of a directory at a time, and one on a mount that may hang.
            let mount_busy = || self.entries.iter().any(|e| e.flight.is_some() && e.is_on(home.mount));
            if members.iter().any(busy) || (!home.safe && mount_busy()) {
                continue;
            }
            let flight = Arc::new(Flight {
                pulse: Progress::new(),
                began: now,
                safe: home.safe,
                silent: AtomicU64::new(u64::MAX),
            });
            let job = self.job(&members, Arc::clone(&flight));
            for place in members {
                if let Some(entry) = self.entries.get_mut(place) {
                    entry.flight = Some(Arc::clone(&flight));
                    entry.outdated = false;
                }
            }
            self.launch(shared, job);
        }
    }

    fn key(&self, place: usize) -> Option<(u32, (&std::path::Path, u64))> {
        let entry = self.entries.get(place)?;
        let home = entry.home.as_ref()?;
        Some((home.mount, (home.path.as_path(), entry.id)))
    }

    fn job(&self, members: &[usize], flight: Arc<Flight>) -> Job {
        let members: Vec<Member> = members
            .iter()
            .filter_map(|place| self.entries.get(*place))
            .filter_map(|entry| Some(Member { id: entry.id, home: entry.home.clone()? }))
            .collect();
        let mut marks: Vec<PathBuf> = members.iter().map(|member| member.home.path.clone()).collect();
        marks.dedup();
        Job { walk: Walk { marks, settings: self.settings }, members, flight }
    }

    fn launch(&mut self, shared: &Arc<Shared>, job: Job) {
        if job.flight.safe {
            if self.running >= self.scans {
                self.queue.push_back(job);
                return;
            }
            self.running = self.running.saturating_add(1);
        }
        if let Err(job) = shared.spawn(job) {
            let now = Monotonic::now();
            let error = Error::io(std::io::Error::other("no thread could be started to scan it"));
            self.finish(&job, Err(error), now, Duration::ZERO);
            if job.flight.safe {
                self.running = self.running.saturating_sub(1);
            }
        }
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
    fn finish(&mut self, job: &Job, result: Result<Vec<Result<Usage>>>, ended: Monotonic, took: Duration) {
        let mut found = match result {
            Ok(usages) => found(job, usages, ended, took),
            Err(error) => job.members.iter().map(|_| Err(error.to_string())).collect(),
        };
        for (member, found) in job.members.iter().zip(found.drain(..)) {
            let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == member.id) else { continue };
            entry.flight = None;
            // It was mounted elsewhere meanwhile, or forgotten: what was found is of something else.
            if entry.home.as_ref().is_none_or(|home| !home.is_same(&member.home)) || self.closed {
                continue;
            }
            match found {
                Ok(value) => (entry.value, entry.failure) = (Some(value), None),
                // What was known before is given again.
                Err(failure) => entry.failure = Some(failure),
            }
            entry.scans = entry.scans.saturating_add(1);
            entry.last = Some(Attempt { ended, took, outdated: entry.outdated });
        }
    }
}

/// What each of the directories of a scan holds.
fn found(
    job: &Job,
    usages: Vec<Result<Usage>>,
    ended: Monotonic,
    took: Duration,
) -> Vec<std::result::Result<Value, String>> {
    let usages: Vec<_> = usages.into_iter().map(|usage| usage.map_err(|error| error.to_string())).collect();
    let mut values = Vec::with_capacity(job.members.len());
    for (place, member) in job.members.iter().enumerate() {
        let path = &member.home.path;
        let mark = job.walk.marks.iter().position(|mark| mark == path);
        let usage =
            mark.and_then(|mark| usages.get(mark)).cloned().unwrap_or_else(|| Err("it was not scanned".to_owned()));
        // Of those with the same path the last one has it all.
        let next = job.members.get(place.saturating_add(1));
        let is_around = next.is_some_and(|next| next.home.path == *path);
        values.push(usage.map(|mut usage| {
            if is_around {
                usage = Usage { partial: usage.partial, ..Usage::default() };
            }
            Value { usage, inner: Arc::default(), ended, took }
        }));
    }
    let parents = parts::nest(job.members.iter().map(|member| member.home.path.as_path()));
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
            map.insert(member.id, all);
        }
    }
    for (value, inner) in values.iter_mut().zip(inner) {
        if let Ok(value) = value {
            value.inner = Arc::new(inner);
        }
    }
    values
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
    pub(super) fn settle(&mut self, home: Option<Home>) {
        let same = match (&self.home, &home) {
            (Some(old), Some(new)) => old.is_same(new),
            _ => false,
        };
        self.met |= home.is_some();
        self.home = home;
        if !same {
            self.clear();
        }
    }

    /// Whether it is in the file system at this place.
    pub(super) fn is_at(&self, place: Option<usize>) -> bool {
        place.is_some() && self.home.as_ref().map(|home| home.target) == place
    }

    fn is_on(&self, mount: u32) -> bool {
        self.home.as_ref().is_some_and(|home| home.mount == mount)
    }

    fn is_due(&self, now: Monotonic) -> bool {
        self.flight.is_none() && self.last.is_none_or(|last| last.is_over(&self.directory, now))
    }

    /// Whether a tick that begins now has to wait for its scan; gives the directory, and how many scans have ended.
    fn awaited(&self, now: Monotonic) -> Option<(u64, u64)> {
        self.home.as_ref()?;
        let waits = match self.directory.patience {
            Patience::None => false,
            Patience::First => self.last.is_none(),
            Patience::All => self.flight.is_some() || self.is_due(now),
        };
        waits.then_some((self.id, self.scans))
    }

    fn slice(&self) -> Option<Slice<'_>> {
        Some(Slice {
            id: self.id,
            name: &self.directory.name,
            path: &self.home.as_ref()?.path,
            value: self.value.as_ref(),
            failure: self.failure.as_deref(),
        })
    }
}
