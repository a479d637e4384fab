//! What a tick waits for: scans that are under way or begin now, each for as long as is due to it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::directories::DirectoryState;
use super::directory::Patience;
use super::flight::Flight;
use super::state::{Shared, State};
use super::watched_trees::WatchedTrees;
use crate::{Cancel, Monotonic, Result};

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

/// How far a scan that may hang was when it was last seen to be further, and when that was.
struct Sign {
    entries: u64,
    since: Instant,
}

/// Signs of life are looked for so often within the time in which there has to be one.
const CHECKS: u32 = 8;

impl Shared {
    /// Starts the scans that are due, and waits for those that the tick waits for. `stalled` has the mounts that do not
    /// answer: nothing is started there. A scan on a mount that may hang is waited for as long as it shows signs of life,
    /// each within `budget`.
    ///
    /// It sleeps until a scan has ended, something was registered or removed, `cancel` was set or a time is over.
    pub(super) fn scan(self: &Arc<Self>, stalled: &[u32], budget: Duration, cancel: &Cancel) -> Result<()> {
        let mut state = self.lock();
        if state.directories.entries.is_empty() {
            return Ok(());
        }
        let now = Monotonic::now();
        state.jobs.quick = budget;
        state.assign();
        let trees = &state.jobs.watched_trees;
        let mut awaited: Vec<Awaited> =
            state.directories.entries.iter().filter_map(|entry| awaited(entry, now, budget, trees)).collect();
        self.start(&mut state, stalled, |_| true);
        if awaited.is_empty() {
            return Ok(());
        }
        drop(state);
        let waker = Arc::clone(self);
        let _hook = cancel.on_cancel(move || waker.wake());
        let mut state = self.lock();
        let mut signs: HashMap<u64, Sign> = HashMap::new();
        let mut seen = None;
        loop {
            // What is under way differs when a scan has ended, or somebody registers or removes a directory.
            let now = (state.jobs.ended, state.generation);
            if seen.replace(now) != Some(now) {
                awaited.retain(|awaited| state.is_pending(awaited, stalled));
                if !awaited.is_empty() {
                    // What could not start because of another scan.
                    self.start(&mut state, stalled, |id| awaited.iter().any(|awaited| awaited.id == id));
                }
                for awaited in &mut awaited {
                    awaited.flight = state.flight(awaited.id).filter(|flight| !flight.safe);
                }
            }
            let clock = Instant::now();
            awaited.retain(|awaited| awaited.until.is_none_or(|until| clock < until));
            awaited.retain(|awaited| shows_life(awaited, &mut signs, clock, budget));
            if awaited.is_empty() {
                return Ok(());
            }
            cancel.check()?;
            let look = awaited
                .iter()
                .any(|awaited| awaited.flight.is_some())
                .then(|| clock.checked_add(budget.checked_div(CHECKS)?));
            let next = awaited.iter().filter_map(|awaited| awaited.until).chain(look.flatten()).min();
            state = match next {
                Some(next) => {
                    let wait = next.saturating_duration_since(clock).max(SHORTEST);
                    self.happened.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.happened.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            #[cfg(test)]
            {
                state.wakes = state.wakes.saturating_add(1);
            }
        }
    }
}

/// It sleeps for no shorter time than this: a budget of nothing is no reason to spin.
const SHORTEST: Duration = Duration::from_micros(100);

/// Whether the scan that is waited for was further than before within the budget, if it may hang.
fn shows_life(awaited: &Awaited, signs: &mut HashMap<u64, Sign>, clock: Instant, budget: Duration) -> bool {
    let Some(flight) = &awaited.flight else { return true };
    let entries = flight.progress.entries();
    let sign = signs.entry(awaited.id).or_insert(Sign { entries, since: clock });
    if sign.entries != entries {
        *sign = Sign { entries, since: clock };
    }
    if clock.saturating_duration_since(sign.since) >= budget {
        flight.give_up(entries);
    }
    !flight.is_silent()
}

/// Whether a tick that begins now has to wait for the scan of a directory, and for which.
fn awaited(entry: &DirectoryState, now: Monotonic, budget: Duration, watched_trees: &WatchedTrees) -> Option<Awaited> {
    entry.location.as_ref()?;
    let (mut scans, mut until) = (entry.scans.saturating_add(1), None);
    let is_unread = |tree_owner| watched_trees.is_empty(tree_owner) && entry.last.is_some() && !entry.is_due(now);
    let waits = match (entry.directory.patience, entry.tree_owner) {
        (Patience::None, _) => false,
        (_, Some(tree_owner)) if is_unread(tree_owner) => false,
        (Patience::First, _) if entry.last.is_none() => true,
        (Patience::First, None) => false,
        (Patience::First, Some(tree_owner)) => {
            until = Instant::now().checked_add(budget);
            !entry.last.is_some_and(|last| last.outdated) && watched_trees.is_quick(tree_owner, budget)
        }
        (Patience::All, Some(_)) => true,
        (Patience::All, None) => entry.flight.is_some() || entry.is_due(now),
    };
    if entry.tree_owner.is_some() && entry.last.is_some() && entry.flight.is_some() {
        // What is under way began before this tick.
        scans = scans.saturating_add(1);
    }
    waits.then_some(Awaited { id: entry.id, scans, until, flight: None })
}

impl State {
    /// The scan that a directory waits for: its own, or that of another on a mount which takes one at a time.
    fn flight(&self, id: u64) -> Option<Arc<Flight>> {
        let entry = self.directories.get(id)?;
        let location = entry.location.as_ref()?;
        entry.flight.as_ref().or_else(|| self.jobs.flight_on(location)).cloned()
    }

    /// Whether a tick still has to wait for a directory.
    fn is_pending(&self, awaited: &Awaited, stalled: &[u32]) -> bool {
        self.directories.get(awaited.id).is_some_and(|entry| {
            let Some(location) = &entry.location else { return false };
            entry.scans < awaited.scans && (entry.flight.is_some() || !stalled.contains(&location.mount))
        })
    }
}
