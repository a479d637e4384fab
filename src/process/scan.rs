//! One tick over all processes.

mod decide;
mod find;
mod lives;
mod pulses;
mod read;
mod renew;
mod settle;
mod slow;
mod turns;

use std::sync::Arc;

use super::config::Config;
use super::control_groups::ControlGroups;
use super::descriptors::{FdBudget, default_max_fds};
use super::discover::{Discovery, Search};
use super::names::Names;
use super::reader::Reader;
use super::reclaim::Reclaim;
use super::restrictions::Restrictions;
use super::select::PidFiles;
use super::slow::{Answer, Job, work};
use super::slow_pool::SlowPool;
use super::table::{Rest, Selection, Slot, Task};
use super::text_budget::TextBudget;
use super::{Fields, ProcFs, ProcessSample};
use crate::{Cancel, Monotonic, Result, Snapshot};
use turns::Turns;

/// The state of a source of processes from tick to tick.
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
    /// The control groups whose usage is read, if lives are requested.
    control_groups: Option<ControlGroups>,
    /// Dropped with the source: work under way in the slow pool stops then.
    alive: Arc<()>,
    names: Names,
    pid_files: PidFiles,
    /// Pids of this tick that ended.
    gone: Vec<u32>,
    /// Who decides about others is to be found again.
    pins_due: bool,
    /// A selection over trees decides about all again: something changed that [`Slot::outcome`] does not say.
    all_are_due: bool,
    /// Of those that it decided about last, how many had ended.
    ends_decided: usize,
    tick: u64,
    last: Option<Monotonic>,
    /// Schedules of renewed readings: all within `max_age`, and those that have a reason several times as often.
    all_turns: Turns,
    early_turns: Turns,
    reclaim: Reclaim,
    /// When reclaim was last seen.
    reclaimed_at: Monotonic,
    /// The fields to read to decide about a selection.
    facts: Fields,
    config: ScanConfig,
}

/// The configuration, with the choices that [`Config`] leaves open made.
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

impl Scan {
    pub(crate) fn new(procfs: ProcFs, config: Config) -> Result<Self> {
        let threads =
            config.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(8)));
        let max_fds = config.max_fds.unwrap_or_else(default_max_fds);
        let all = config.select.is_all();
        let mut facts = if all { config.fields } else { config.select.needs() };
        if config.select.has_function() {
            // It may read all that it has access to.
            facts |= config.fields & Fields::CMDLINE;
        }
        let shown = config.fields.contains(Fields::CMDLINE) && config.redact.is_none();
        Ok(Self {
            restrictions: Restrictions::new(procfs.dir()),
            discovery: Discovery::new(&procfs, config.list_every, config.lives)?,
            slots: Vec::new(),
            readers: (0..threads).map(|_| Reader::new(procfs.clone())).collect(),
            budget: FdBudget::new(max_fds),
            slow_pool: SlowPool::new(config.slow.threads, work),
            text_budget: TextBudget::new(config.max_text_bytes),
            control_groups: config.lives.then(|| ControlGroups::new(&procfs)),
            alive: Arc::new(()),
            names: Names::new(),
            pid_files: PidFiles::new(&config.select),
            gone: Vec::new(),
            pins_due: false,
            all_are_due: true,
            ends_decided: 0,
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

    /// Makes a snapshot of the processes that exist, step by step.
    pub(crate) fn tick(&mut self, snapshot: &mut Snapshot<ProcessSample>, cancel: &Cancel) -> Result<()> {
        let now = snapshot.at;
        self.tick = self.tick.saturating_add(1);
        snapshot.boot_id = self.procfs.boot_id();
        self.look_for_restrictions(now);
        snapshot.notices.extend_from_slice(self.restrictions.notices());
        snapshot.notices.extend(self.procfs.no_pulse());

        self.find(Search::New, now, cancel)?;
        self.renew(now, cancel);
        self.take_pulses(now, cancel)?;
        self.read(cancel)?;
        // Once it is known who ended.
        self.complete(now, cancel)?;
        snapshot.complete_at = self.discovery.complete_at();
        self.read_orphans(cancel)?;
        self.select(now, cancel)?;
        let ended = self.count_once(cancel)?;
        self.tell(&ended, snapshot, cancel)?;
        self.settle(&mut snapshot.skipped, cancel)?;
        self.last = Some(now);
        self.show(snapshot, cancel)
    }

    /// Checks the access of this thread by now. If it changed, everything is read again, by files that it opened since, and all
    /// processes are listed: those that are no longer hidden have no new pid.
    fn look_for_restrictions(&mut self, now: Monotonic) {
        if self.restrictions.look(self.procfs.dir(), now) {
            self.discovery.start_over();
            for slot in &mut self.slots {
                self.budget.close_all(&mut slot.entry.kept);
                slot.ask(Task::ReadAll);
            }
        }
        self.discovery.hidden = self.restrictions.hide_processes();
    }
}

impl ScanConfig {
    /// The selection of a new process.
    fn first_selection(&self) -> Selection {
        if self.all { Selection::Selected } else { Selection::Unknown(Rest::OVER) }
    }
}
