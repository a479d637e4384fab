//! Which processes are selected, as of a tick.

use std::collections::HashSet;
use std::time::Duration;

use super::Scan;
use crate::process::select::{Family, Knowledge, Subject, Verdict};
use crate::process::table::{Outcome, Selection, Slot, Task, forget_counters};
use crate::{Cancel, Monotonic, Result};

impl Scan {
    /// Decides about those of which something changed, and about all where that can change others. Says whether something is
    /// to be read for that: of what was selected only now.
    pub(super) fn decide(&mut self, now: Monotonic, cancel: &Cancel) -> Result<bool> {
        let select = &self.config.asked.select;
        let restless = self.config.restless;
        let latest = now.max(Monotonic::now());
        let processes =
            Processes { slots: &self.slots, ticks_per_second: self.procfs.ticks_per_second(), now, latest, restless };
        let moved = self.slots.iter().any(|slot| matches!(slot.outcome, Outcome::Changed | Outcome::Gone));
        let mut decided: Vec<(usize, Option<bool>)> = Vec::new();
        if !self.config.tree {
            for (at, slot) in self.slots.iter().enumerate() {
                cancel.check()?;
                if (restless || is_new(slot))
                    && let Some(subject) = processes.subject(at)
                {
                    decided.push((at, select.matches(&subject, &self.pid_files)));
                }
            }
        } else if restless || moved || self.slots.iter().any(is_new) {
            let verdicts = select.judge(&processes, &self.pid_files, cancel)?;
            for (at, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| can_be_decided(slot)) {
                verdicts.keep(at, &mut slot.entry.verdict);
                decided.push((at, verdicts.selected(at)));
            }
        }
        for (at, selected) in decided {
            let Some(slot) = self.slots.get_mut(at) else { continue };
            let selection = match selected {
                Some(true) => Selection::Selected,
                Some(false) => Selection::Unselected,
                None => Selection::Unknown,
            };
            if selection == Selection::Selected && slot.selection != Selection::Selected {
                slot.task = Task::ReadAll;
            }
            if selection != Selection::Selected {
                self.budget.close_all(&mut slot.entry.kept);
                if slot.selection == Selection::Selected {
                    forget_counters(&mut slot.entry.sample);
                    slot.entry.backoff_ticks = 0;
                }
            }
            slot.selection = selection;
            slot.undecided = false;
        }
        for slot in &mut self.slots {
            if slot.outcome == Outcome::Changed {
                // What changed once may change again soon: a shell that executes a program that executes another.
                slot.entry.backoff_ticks = 0;
            }
            // It was looked at: its rest was over, or was broken.
            if slot.outcome != Outcome::Same || self.tick >= slot.backoff_until_tick || now >= slot.backoff_until {
                slot.rest(self.tick, now, self.config.asked.recheck);
            }
            if slot.outcome == Outcome::Changed {
                slot.outcome = Outcome::Read;
            }
        }
        if moved {
            self.pin_ancestors(cancel)?;
        }
        Ok(self.slots.iter().any(|slot| slot.task > Task::Rest))
    }

    /// Gives up for this tick on those that were selected only now and are not read: they are decided about at the next one.
    pub(super) fn leave_undecided(&mut self) {
        let is_unread = |slot: &&mut Slot| slot.task == Task::ReadAll && slot.outcome != Outcome::Failed;
        for slot in self.slots.iter_mut().filter(is_unread) {
            slot.selection = Selection::Unknown;
        }
    }

    /// What is not selected rests, but not those whose end or change shows in the selected ones: their parents, since an
    /// orphan has another parent, and all their ancestors where those decide about them.
    fn pin_ancestors(&mut self, cancel: &Cancel) -> Result<()> {
        let mut pinned: HashSet<u32> = HashSet::new();
        for slot in self.slots.iter().filter(|slot| slot.selection == Selection::Selected) {
            cancel.check()?;
            let mut ppid = slot.entry.sample.ppid;
            while let Ok(at) = self.slots.binary_search_by_key(&ppid, |slot| slot.pid)
                && let Some(parent) = self.slots.get(at)
                && pinned.insert(ppid)
                && self.config.tree
            {
                ppid = parent.entry.sample.ppid;
            }
        }
        for slot in &mut self.slots {
            slot.pinned = pinned.contains(&slot.pid);
            if slot.pinned {
                slot.backoff_until_tick = 0;
            }
        }
        Ok(())
    }
}

/// Whether something of a process has not been decided about.
fn is_new(slot: &Slot) -> bool {
    slot.selection == Selection::Unknown || slot.outcome == Outcome::Changed || slot.undecided
}

fn can_be_decided(slot: &Slot) -> bool {
    slot.entry.known && slot.outcome != Outcome::Gone
}

/// The processes as each other's parents.
struct Processes<'s> {
    slots: &'s [Slot],
    ticks_per_second: u64,
    /// When the tick began, and the latest that a process it saw can be born.
    now: Monotonic,
    latest: Monotonic,
    restless: bool,
}

impl Processes<'_> {
    /// How old one is that started then. One that was born in this tick is new; the age of one that starts in the future, by
    /// the clock of this process, is not known.
    fn age(&self, start_ns: i64) -> Option<Duration> {
        let since = |at: Monotonic| u64::try_from(i128::from(at.as_nanos()).saturating_sub(start_ns.into())).ok();
        let age = since(self.now).or_else(|| since(self.latest).map(|_| 0));
        age.map(Duration::from_nanos)
    }
}

impl Family for Processes<'_> {
    fn count(&self) -> usize {
        self.slots.len()
    }

    fn subject(&self, nth: usize) -> Option<Subject<'_>> {
        let slot = self.slots.get(nth).filter(|slot| can_be_decided(slot))?;
        let sample = &slot.entry.sample;
        Some(Subject {
            id: sample.id,
            ppid: sample.ppid,
            info: slot.entry.info(),
            knowledge: Knowledge::All,
            age: self.age(sample.id.start_ns(self.ticks_per_second)),
        })
    }

    fn find(&self, pid: u32) -> Option<usize> {
        self.slots.binary_search_by_key(&pid, |slot| slot.pid).ok()
    }

    fn earlier(&self, nth: usize) -> Option<&Verdict> {
        self.slots.get(nth).filter(|slot| !self.restless && !is_new(slot)).map(|slot| &slot.entry.verdict)
    }
}
