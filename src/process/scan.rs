//! One tick over all processes.

mod decide;
mod slow;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::config::Config;
use super::descriptors::FdBudget;
use super::discover::{By, Discovery, Search};
use super::file::{PidPath, owner};
use super::names::{Id, Names};
use super::pulse::pulse;
use super::reader::{Plan, Reader};
use super::reclaim::Reclaim;
use super::restrictions::Restrictions;
use super::select::PidFiles;
use super::slow::{Answer, Job, work};
use super::slow_pool::SlowPool;
use super::table::{Entry, Outcome, Selection, Slot, Task};
use super::text_budget::TextBudget;
use super::{Fields, ProcFs, ProcessSample};
use crate::time::Deadline;
use crate::{Cancel, Monotonic, Result, Skipped, Snapshot};

/// What a source of processes keeps from tick to tick.
#[derive(Debug)]
pub(crate) struct Scan {
    procfs: ProcFs,
    restrictions: Restrictions,
    discovery: Discovery,
    /// In the order of the pids.
    slots: Vec<Slot>,
    readers: Vec<Reader>,
    budget: FdBudget,
    slow_pool: SlowPool<Job, Answer>,
    text_budget: Arc<TextBudget>,
    /// Goes with the source: what is under way in the slow pool stops then.
    alive: Arc<()>,
    names: Names,
    pid_files: PidFiles,
    /// Pids of this tick that ended.
    gone: Vec<u32>,
    tick: u64,
    last: Option<Monotonic>,
    /// Whose readings are renewed, in turn: all within `max_age`, and those that have a reason several times as often.
    all_turns: Turns,
    early_turns: Turns,
    reclaim: Reclaim,
    /// When reclaim was last seen.
    reclaimed_at: Monotonic,
    /// What to read to decide about a selection.
    facts: Fields,
    config: ScanConfig,
}

/// The configuration, with what [`Config`] leaves open decided.
struct ScanConfig {
    asked: Config,
    all: bool,
    tree: bool,
    /// The selection can change while nothing happens to the processes.
    restless: bool,
    /// Whether the selection's own view of the info has to be kept beside the sample's.
    own_view: bool,
}

impl std::fmt::Debug for ScanConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanConfig").field("select", &self.asked.select).finish_non_exhaustive()
    }
}

/// From how many processes on reading is worth a second thread: they take two milliseconds. Starting one for each tick costs
/// as much as reading ten.
const PARALLEL: usize = 256;

/// How many times as often as all the others those are renewed that have a reason.
const EARLY: u32 = 5;

/// How often a tick reads what it selected: that can show that it is another program by now.
const DECISIONS: usize = 3;

/// How many processes a thread takes at a time.
const CHUNK: usize = 16;

/// How many pulses share a time stamp, the one before the first of them: 8 take about 3 µs.
const STAMP: usize = 8;

/// Between how many pulses `Cancel` is polled: 128 take about 50 µs.
const POLL: usize = 128;

impl Scan {
    pub(crate) fn new(procfs: ProcFs, config: Config) -> Result<Self> {
        let threads =
            config.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(8)));
        let max_fds = config.max_fds.unwrap_or_else(|| {
            let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            soft.and_then(|soft| usize::try_from(soft).ok()).map_or(1 << 16, |soft| soft / 4)
        });
        let all = config.select.is_all();
        let mut facts = if all { config.fields } else { config.select.needs() };
        if config.select.has_function() {
            // It may look at what it can get.
            facts |= config.fields & Fields::CMDLINE;
        }
        let shown = config.fields.contains(Fields::CMDLINE) && config.redact.is_none();
        Ok(Self {
            restrictions: Restrictions::new(procfs.dir()),
            discovery: Discovery::new(&procfs, config.list_every)?,
            slots: Vec::new(),
            readers: (0..threads).map(|_| Reader::new(procfs.clone())).collect(),
            budget: FdBudget::new(max_fds),
            slow_pool: SlowPool::new(config.slow.threads, work),
            text_budget: TextBudget::new(config.max_text_bytes),
            alive: Arc::new(()),
            names: Names::new(),
            pid_files: PidFiles::new(&config.select),
            gone: Vec::new(),
            tick: 0,
            last: None,
            all_turns: Turns::default(),
            early_turns: Turns::default(),
            reclaim: Reclaim::new(&procfs),
            reclaimed_at: Monotonic::default(),
            facts,
            config: ScanConfig {
                all,
                tree: config.select.is_tree(),
                restless: config.select.uses_age() || config.select.uses_pid_files(),
                own_view: !all && facts.contains(Fields::CMDLINE) && !shown,
                asked: config,
            },
            procfs,
        })
    }

    /// Makes a snapshot of what is there.
    pub(crate) fn tick(&mut self, snapshot: &mut Snapshot<ProcessSample>, cancel: &Cancel) -> Result<()> {
        let now = snapshot.at;
        self.tick = self.tick.saturating_add(1);
        snapshot.boot_id = self.procfs.boot_id();
        self.look_for_restrictions(now);
        snapshot.notices.extend_from_slice(self.restrictions.notices());
        snapshot.notices.extend(self.procfs.no_pulse());
        let skipped = &mut snapshot.skipped;

        self.discover(Search::New, now, cancel)?;
        self.renew(now);
        self.take_pulses(now, cancel)?;
        self.read(cancel)?;
        // Once it is known who ended.
        self.complete(now, cancel)?;
        snapshot.complete_at = self.discovery.complete_at();
        self.mark_orphans(cancel)?;
        self.read(cancel)?;
        self.pid_files.ask();
        self.ask_slow(now, cancel)?;
        let deadline = Deadline::after(self.config.asked.slow.budget);
        self.take_slow(now, deadline, cancel)?;
        let mut decisions: usize = 0;
        while !self.config.all && self.decide(now, cancel)? {
            decisions = decisions.saturating_add(1);
            if decisions > DECISIONS {
                self.leave_undecided();
                break;
            }
            // What was selected just now has not been read beyond what decided that.
            self.read(cancel)?;
            self.ask_slow(now, cancel)?;
            self.take_slow(now, deadline, cancel)?;
        }
        self.settle(skipped);
        self.count_missed(skipped);
        self.last = Some(now);

        let selected = || self.slots.iter().filter(|slot| slot.selection == Selection::Selected);
        // Counted first, so that the snapshot's memory is taken once.
        snapshot.samples.reserve(selected().count());
        for slot in selected().filter(|slot| slot.entry.known) {
            cancel.check()?;
            snapshot.samples.push(slot.sample());
        }
        Ok(())
    }

    /// Looks what this thread may see by now. Where that changed, everything is read again, by files that it opened since.
    fn look_for_restrictions(&mut self, now: Monotonic) {
        if self.restrictions.look(self.procfs.dir(), now) {
            for slot in &mut self.slots {
                self.budget.close_all(&mut slot.entry.kept);
                slot.ask(Task::ReadAll);
            }
        }
        self.discovery.hidden = self.restrictions.hide_processes();
    }

    fn first_selection(&self) -> Selection {
        if self.config.all { Selection::Selected } else { Selection::Unknown }
    }

    /// Adds what is new, and marks what may be another process by now.
    fn discover(&mut self, search: Search, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let first = self.first_selection();
        let findings = self.discovery.find(search, self.slots.len(), now, cancel)?;
        let known = self.slots.len();
        let mut at = 0_usize;
        for found in findings.found {
            // Both are in the order of the pids.
            while self.slots.get(at).is_some_and(|slot| at < known && slot.pid < found.pid) {
                at = at.saturating_add(1);
            }
            match self.slots.get_mut(at).filter(|slot| at < known && slot.pid == found.pid) {
                Some(slot) => {
                    slot.listed = self.tick;
                    let same = match found.by {
                        // The inode number is another for another process; after the kernel dropped its caches too.
                        By::Listing(ino) => ino == slot.entry.owner.ino,
                        By::Birth(before) => slot.read_at > before,
                    };
                    if !same {
                        slot.ask(Task::Read);
                    }
                }
                None => {
                    let mut slot = Slot::new(found.pid);
                    slot.selection = first;
                    slot.listed = self.tick;
                    self.slots.push(slot);
                }
            }
        }
        if findings.all {
            for slot in self.slots.iter_mut().filter(|slot| slot.listed != self.tick) {
                if self.procfs.has_pulse() {
                    // It ended, or is hidden by now.
                    slot.ask(Task::Read);
                } else {
                    // Without a pulse a listing is all that tells who is gone.
                    slot.outcome = Outcome::Gone;
                }
            }
        }
        if self.slots.len() > known {
            self.slots.sort_by_key(|slot| slot.pid);
        }
        Ok(())
    }

    /// Looks again where there are more processes than are known: for those that were born meanwhile first, then for all.
    fn complete(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        for search in [Search::New, Search::All] {
            let known = self.slots.iter().filter(|slot| slot.outcome != Outcome::Gone).count();
            if self.discovery.misses_none(known, self.config.all, now) {
                return Ok(());
            }
            self.discover(search, now, cancel)?;
        }
        let known = self.slots.iter().filter(|slot| slot.outcome != Outcome::Gone).count();
        self.discovery.all_are_known(known);
        Ok(())
    }

    /// Marks those whose reading is to be renewed at this tick: so many that each has its turn within `max_age`, and earlier
    /// where there is a reason: it ran since its info was read, or memory was reclaimed since its own was.
    fn renew(&mut self, now: Monotonic) {
        let max_age = self.config.asked.max_age;
        let elapsed = self.last.and_then(|last| now.since(last)).unwrap_or_default();
        self.all_turns.advance(&mut self.slots, elapsed, max_age, |slot| slot.ask(Task::Renew));
        if !self.procfs.has_pulse() {
            // Everything is read at every tick.
            return;
        }
        if self.reclaim.was_seen(now) {
            self.reclaimed_at = now;
        }
        let reclaimed_at = self.reclaimed_at;
        let early = max_age.checked_div(EARLY).unwrap_or_default();
        self.early_turns.advance(&mut self.slots, elapsed, early, |slot| {
            if slot.entry.moved {
                slot.ask(Task::Renew);
            } else if slot.read_at < reclaimed_at {
                slot.ask(Task::Read);
            }
        });
    }

    /// Looks who ran, and who is gone.
    fn take_pulses(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let has_pulse = self.procfs.has_pulse();
        let (tick, max_age) = (self.tick, self.config.asked.max_age);
        let mut at = now;
        for (nth, slot) in self.slots.iter_mut().enumerate() {
            if nth.checked_rem(POLL) == Some(0) {
                cancel.check()?;
            }
            if nth.checked_rem(STAMP) == Some(0) {
                at = Monotonic::now();
            }
            if slot.outcome == Outcome::Gone || slot.task > Task::Check {
                continue;
            }
            if slot.selection != Selection::Selected {
                // One that is not selected rests for a while, unless something may have happened to it.
                if tick < slot.backoff_until_tick && now < slot.backoff_until {
                    continue;
                }
                slot.ask(Task::Check);
            }
            if !has_pulse {
                slot.ask(Task::Read);
                continue;
            }
            // One that ran at the last tick most likely ran again: whoever reads it takes its pulse right before.
            if slot.ran_at_tick.saturating_add(1) == tick {
                slot.ask(Task::Check);
                continue;
            }
            match pulse(slot.pid) {
                None => slot.outcome = Outcome::Gone,
                Some(pulse) if pulse != slot.pulse => slot.ask(Task::Check),
                Some(_) => {
                    slot.at = at;
                    slot.task = Task::Rest;
                    slot.rest(tick, now, self.config.asked.recheck);
                    // Its last look before it stands still.
                    if std::mem::take(&mut slot.owner_unsure) && has_other_owner(&self.procfs, slot) {
                        slot.task = Task::ReadAll;
                    }
                    // A guarantee on top of `renew`, whose turns move when processes come and go.
                    if slot.selection == Selection::Selected && at.since(slot.read_at).unwrap_or_default() > max_age {
                        slot.ask(Task::Renew);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does the tasks of all slots, on several threads when there are many.
    fn read(&mut self, cancel: &Cancel) -> Result<()> {
        let plan = Plan {
            fields: self.config.asked.fields,
            facts: self.facts,
            first: self.first_selection(),
            owner: !self.config.all,
            budget: &self.budget,
            tick: self.tick,
        };
        let mut work: Vec<&mut Slot> = self.slots.iter_mut().filter(|slot| slot.task > Task::Rest).collect();
        if work.is_empty() {
            return Ok(());
        }
        let parallel = work.len() >= PARALLEL;
        let Some((reader, others)) = self.readers.split_first_mut() else { return Ok(()) };
        let chunks = Mutex::new(work.chunks_mut(CHUNK));
        let work_off = |reader: &mut Reader| {
            while !cancel.is_cancelled() {
                // Bound first, so that the lock is not held over the loop's body.
                let chunk = chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(chunk) = chunk else { break };
                for slot in chunk.iter_mut().take_while(|_| !cancel.is_cancelled()) {
                    reader.visit(slot, &plan);
                }
            }
        };
        if parallel {
            let work_off = &work_off;
            std::thread::scope(|scope| {
                for other in others {
                    // Without a further thread it takes longer, and that is all.
                    let _ = std::thread::Builder::new()
                        .name("appmon-read".to_owned())
                        .spawn_scoped(scope, move || work_off(other));
                }
                work_off(reader);
            });
        } else {
            work_off(reader);
        }
        cancel.check()?;
        // Descriptors ran out: one by one, and with the reserves of all, there are enough.
        if self.readers.iter().any(|reader| reader.opener.starved) {
            self.readers.iter_mut().for_each(|reader| reader.opener.release());
            if let Some(reader) = self.readers.first_mut() {
                for slot in self.slots.iter_mut().filter(|slot| slot.task > Task::Rest) {
                    cancel.check()?;
                    reader.visit(slot, &plan);
                    reader.opener.release();
                }
            }
            self.readers.iter_mut().for_each(|reader| reader.opener.restore(self.procfs.dir()));
        }
        Ok(())
    }

    /// Marks the children of those that ended to be read again: they have another parent now.
    fn mark_orphans(&mut self, cancel: &Cancel) -> Result<()> {
        self.gone.clear();
        self.gone.extend(self.slots.iter().filter(|slot| slot.has_ended()).map(|slot| slot.pid));
        if self.gone.is_empty() {
            return Ok(());
        }
        for slot in &mut self.slots {
            cancel.check()?;
            if slot.entry.known && !slot.has_ended() && self.gone.binary_search(&slot.entry.sample.ppid).is_ok() {
                slot.ask(Task::Read);
            }
        }
        Ok(())
    }

    /// Counts what could not be read, removes what is gone, and closes what is not needed.
    fn settle(&mut self, skipped: &mut Skipped) {
        let (mut counted, budget, first) = (Skipped::default(), &self.budget, self.first_selection());
        let all = self.config.all;
        let mut starved = false;
        for reader in &mut self.readers {
            starved |= std::mem::take(&mut reader.opener.starved);
        }
        self.slots.retain_mut(|slot| {
            let count = match slot.outcome {
                Outcome::Same | Outcome::Read | Outcome::Changed => {
                    slot.undecided = slot.outcome == Outcome::Changed && !all;
                    slot.outcome = Outcome::Same;
                    return true;
                }
                // It was there at an earlier tick: that is no loss of this one.
                Outcome::Gone if slot.entry.known => None,
                Outcome::Gone => Some(&mut counted.vanished),
                Outcome::Hidden => None,
                Outcome::Denied => Some(&mut counted.denied),
                Outcome::Malformed => Some(&mut counted.malformed),
                Outcome::Failed => Some(&mut counted.failed),
            };
            if let Some(count) = count {
                *count = count.saturating_add(1);
            }
            if matches!(slot.outcome, Outcome::Gone | Outcome::Hidden) {
                budget.close_all(&mut slot.entry.kept);
                return false;
            }
            // Tried again at the next tick. What is known of one that could not be opened is shown, as of its own time; of
            // one that may not be read or is not understood, nothing is known any more.
            if slot.outcome != Outcome::Failed {
                budget.close_all(&mut slot.entry.kept);
                *slot.entry = Entry::default();
                slot.selection = first;
            }
            slot.outcome = Outcome::Same;
            slot.task = Task::ReadAll;
            true
        });
        skipped.add(counted);
        let kept = self.slots.iter_mut().map(|slot| (slot.ran_at_tick, &mut slot.entry.kept));
        self.budget.make_room(kept, starved, self.tick);
        if self.names.are_many() {
            let infos = self.slots.iter().map(|slot| &slot.entry.sample.info);
            let used: HashSet<Id> = infos.flat_map(|info| [Id::User(info.uid), Id::Group(info.gid)]).collect();
            self.names.retain(|id| used.contains(&id));
        }
    }
}

/// Turns that come round to each process within a time, so many at each tick.
#[derive(Debug, Default)]
struct Turns {
    /// Whose turn was last.
    last: u32,
    /// How much of a turn is due.
    due: f64,
    /// How many there were at most in this round: those that ended make it no longer for the others.
    most: usize,
}

impl Turns {
    fn advance(&mut self, slots: &mut [Slot], elapsed: Duration, round: Duration, mut turn: impl FnMut(&mut Slot)) {
        let share = if round.is_zero() { 1.0 } else { (elapsed.as_secs_f64() / round.as_secs_f64()).min(1.0) };
        self.most = self.most.max(slots.len());
        #[expect(clippy::cast_precision_loss, reason = "a share of a number of processes")]
        let (all, most) = (slots.len() as f64, self.most as f64);
        self.due = (self.due + share * most).min(all);
        // By the pid, so that nobody is left out when others come and go.
        let mut next = slots.partition_point(|slot| slot.pid <= self.last);
        while self.due >= 1.0 {
            self.due -= 1.0;
            if next >= slots.len() {
                next = 0;
                self.most = slots.len();
            }
            let Some(slot) = slots.get_mut(next) else { return };
            self.last = slot.pid;
            next = next.saturating_add(1);
            if slot.selection == Selection::Selected {
                turn(slot);
            }
        }
    }
}

/// Whether a process has changed its user or group since its owner was asked for.
fn has_other_owner(procfs: &ProcFs, slot: &Slot) -> bool {
    let known = slot.entry.owner;
    owner(procfs.dir(), PidPath::new(slot.pid).as_c_str())
        .is_ok_and(|found| (found.uid, found.gid) != (known.uid, known.gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_within_the_time_whoever_comes_and_goes() {
        let slot = |pid| {
            let mut slot = Slot::new(pid);
            slot.selection = Selection::Selected;
            slot
        };
        let mut slots: Vec<Slot> = (0..1_000).map(|nth| slot(nth * 10)).collect();
        let mut turns = Turns::default();
        let mut had: Vec<u32> = Vec::new();
        for nth in 0..100 {
            turns.advance(&mut slots, Duration::from_secs(1), Duration::from_secs(100), |slot| had.push(slot.pid));
            // Those at the front end, and others are born there.
            slots.retain(|slot| slot.pid >= 2_000 || slot.pid % 50 != nth % 50);
            slots.push(slot(nth * 10 + 1));
            slots.sort_by_key(|slot| slot.pid);
        }
        let missed: Vec<u32> =
            slots.iter().map(|slot| slot.pid).filter(|pid| pid % 10 == 0 && !had.contains(pid)).collect();
        assert_eq!(missed, [0_u32; 0]);
        // In one piece, and none twice.
        had.clear();
        turns.advance(&mut slots, Duration::from_secs(1_000), Duration::from_secs(100), |slot| had.push(slot.pid));
        had.sort_unstable();
        assert_eq!(had, slots.iter().map(|slot| slot.pid).collect::<Vec<_>>());
        had.clear();
        turns.advance(&mut slots, Duration::from_secs(1_000), Duration::MAX, |slot| had.push(slot.pid));
        assert_eq!(had, [0_u32; 0]);
        turns.advance(&mut slots, Duration::ZERO, Duration::ZERO, |slot| had.push(slot.pid));
        assert_eq!(had.len(), slots.len());
        turns.advance(&mut [], Duration::ZERO, Duration::ZERO, |_| unreachable!());
    }
}
