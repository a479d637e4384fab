//! The waiting of a tick for scans that are under way or begin now, with a limit for each.

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
    /// The number of ended scans at which the wait is over.
    scans: u64,
    /// The time at which the wait ends otherwise, if it is limited.
    until: Option<Instant>,
    /// The scan that it waits for, if that may hang: the wait goes on while the scan makes progress.
    flight: Option<Arc<Flight>>,
}

/// The last progress seen of a scan that may hang, and its time.
struct Sign {
    entries: u64,
    since: Instant,
}

/// How often the progress is checked within the time in which there has to be some.
const CHECKS: u32 = 8;

impl Shared {
    /// Starts the scans that are due, and waits for those that the tick waits for. `stalled` has the mounts that do not
    /// answer: no scan is started there. The wait for a scan on a mount that may hang goes on as long as it makes progress
    /// within each `budget`.
    ///
    /// It sleeps until a scan has ended, a registration was added or removed, `cancel` was set or a time is over.
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
            // Other scans can begin only after a scan has ended, or a directory was registered or removed.
            let now = (state.jobs.ended, state.generation);
            if seen.replace(now) != Some(now) {
                awaited.retain(|awaited| state.is_pending(awaited, stalled));
                if !awaited.is_empty() {
                    // Starts scans that could not begin before because of another one.
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

/// The shortest sleep: with a budget of 0 it must not spin.
const SHORTEST: Duration = Duration::from_micros(100);

/// Whether the awaited scan made progress within the budget, if it may hang.
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

/// Returns the wait of a tick that begins now for the scan of a directory, if it has to wait.
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
        // The scan under way began before this tick.
        scans = scans.saturating_add(1);
    }
    waits.then_some(Awaited { id: entry.id, scans, until, flight: None })
}

impl State {
    /// Returns the scan that a directory waits for: its own, or that of another one on a mount with one scan at a time.
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
