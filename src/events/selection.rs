//! Which events are of processes that are selected.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::lives::{Draft, Life, LifeKey, Lives};
use crate::process::{Family, Knowledge, PidFiles, ProcessInfo, Select, Subject};
use crate::time::{Deadline, ticks_to_nanos};
use crate::{Cancel, Monotonic, Result};

/// A selection, and the events that wait for it.
#[derive(Debug)]
pub(super) struct Selection {
    select: Select,
    pid_files: PidFiles,
    /// Of processes that live and could not be decided about yet.
    held: Vec<Draft>,
    most_held: usize,
    ticks_per_second: u64,
}

/// The part of it that is reported.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) drafts: Vec<(Draft, Decision)>,
    /// How many could not be decided about, and never will be.
    pub(super) undecided: u64,
    /// How many there was no room to hold.
    pub(super) dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Selected,
    Undecided,
}

/// How long a tick waits for pid files.
const PID_FILES_WITHIN: Duration = Duration::from_millis(100);

impl Selection {
    pub(super) fn new(select: Select, most_held: usize, ticks_per_second: u64) -> Self {
        let pid_files = PidFiles::new(&select);
        Self { select, pid_files, held: Vec::new(), most_held, ticks_per_second }
    }

    /// Decides about everything that is to be reported, and takes it, unless it is cancelled.
    pub(super) fn choose(
        &mut self,
        lives: &mut Lives,
        drafts: &mut Vec<Draft>,
        now: Monotonic,
        cancel: &Cancel,
    ) -> Result<Chosen> {
        let mut chosen = Chosen::default();
        if self.select.is_all() {
            chosen.drafts = drafts.drain(..).map(|draft| (draft, Decision::Selected)).collect();
            return Ok(chosen);
        }
        if drafts.is_empty() && self.held.is_empty() {
            return Ok(chosen);
        }
        if self.select.uses_pid_files() {
            self.pid_files.ask();
            self.pid_files.wait(Deadline::after(PID_FILES_WITHIN), cancel);
        }
        let family = Relatives::new(lives, now, self.ticks_per_second);
        let decided: Vec<(LifeKey, Option<bool>)> = if self.select.is_tree() {
            let verdicts = self.select.judge(&family, |_| None, &self.pid_files, cancel)?;
            family.keys.iter().enumerate().map(|(nth, (key, _))| (*key, verdicts.selected(nth))).collect()
        } else {
            let wanted: HashSet<LifeKey> = drafts.iter().chain(&self.held).map(|draft| draft.life).collect();
            let mut decided = Vec::with_capacity(wanted.len());
            for (nth, (key, _)) in family.keys.iter().enumerate().filter(|(_, (key, _))| wanted.contains(key)) {
                let Some(subject) = family.subject(nth) else { continue };
                decided.push((*key, self.select.matches(subject, &self.pid_files, cancel)?));
            }
            decided
        };
        let decided: HashMap<LifeKey, Option<bool>> = decided.into_iter().collect();
        let held = std::mem::take(&mut self.held);
        for draft in held.into_iter().chain(drafts.drain(..)) {
            let Some(life) = lives.get(draft.life) else { continue };
            // A process that was selected is reported until its leaving the selection is reported.
            match (decided.get(&draft.life).copied().flatten(), life.selected) {
                (Some(true), _) | (_, true) => chosen.drafts.push((draft, Decision::Selected)),
                (Some(false), false) => {}
                (None, false) if life.ended => {
                    chosen.undecided = chosen.undecided.saturating_add(1);
                    chosen.drafts.push((draft, Decision::Undecided));
                }
                (None, false) if self.held.len() < self.most_held => self.held.push(draft),
                (None, false) => chosen.dropped = chosen.dropped.saturating_add(1),
            }
        }
        for (life, selected) in decided {
            if let Some(selected) = selected {
                lives.set_selected(life, selected);
            }
        }
        chosen.drafts.sort_by_key(|(draft, _)| draft.at);
        Ok(chosen)
    }
}

/// All lives as each other's parents.
struct Relatives<'l> {
    keys: Vec<(LifeKey, &'l Life)>,
    by_pid: HashMap<u32, usize>,
    nothing: ProcessInfo,
    /// The name alone of those of which no more is known.
    names: HashMap<LifeKey, ProcessInfo>,
    now: Monotonic,
    ticks_per_second: u64,
}

impl<'l> Relatives<'l> {
    fn new(lives: &'l Lives, now: Monotonic, ticks_per_second: u64) -> Self {
        let mut keys: Vec<(LifeKey, &Life)> = lives.iter().collect();
        // Those that live come last, and have their pids.
        keys.sort_unstable_by_key(|(key, life)| (!life.ended, *key));
        let by_pid = keys.iter().enumerate().map(|(nth, (_, life))| (life.id.pid, nth)).collect();
        let named = keys.iter().filter(|(_, life)| life.info.is_none());
        let names = named
            .filter_map(|(key, life)| {
                let name = life.name.clone()?;
                Some((*key, ProcessInfo { name, ..ProcessInfo::default() }))
            })
            .collect();
        Self { keys, by_pid, nothing: ProcessInfo::default(), names, now, ticks_per_second }
    }
}

impl Family for Relatives<'_> {
    fn count(&self) -> usize {
        self.keys.len()
    }

    fn subject(&self, nth: usize) -> Option<Subject<'_>> {
        let (key, life) = self.keys.get(nth)?;
        let (info, knowledge) = match (&life.info, self.names.get(key)) {
            (Some(info), _) => (&**info, Knowledge::All),
            (None, Some(named)) => (named, Knowledge::Name),
            (None, None) => (&self.nothing, Knowledge::Identity),
        };
        let started = Monotonic::from_nanos(ticks_to_nanos(life.id.start_ticks, self.ticks_per_second));
        let age = Some(self.now.since(started).unwrap_or_default());
        Some(Subject { id: life.id, ppid: life.ppid, info, knowledge, age })
    }

    fn find(&self, pid: u32) -> Option<usize> {
        self.by_pid.get(&pid).copied()
    }
}
