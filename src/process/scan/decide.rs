//! Which processes are selected, as of a tick.

use std::collections::HashSet;

use super::Scan;
use crate::process::select::{Family, Knowledge, Subject, Verdict, age};
use crate::process::table::{Outcome, Selection, Slot, Task, forget_counters};
use crate::time::Deadline;
use crate::{Cancel, Monotonic, Result};

/// How often a tick reads the processes it selected: the reading can show that one is another program by now.
const DECISIONS: usize = 3;

impl Scan {
    /// Decides who is selected, with what the slow pool has by then, and reads in full who is selected only now.
    pub(super) fn select(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
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
            // A process that was selected just now has only been read as far as the selection needed.
            self.read(cancel)?;
            self.ask_slow(now, cancel)?;
            self.take_slow(now, deadline, cancel)?;
        }
        Ok(())
    }

    /// Decides about those of which something changed, and about all where that can change others. Says whether something is
    /// to be read for that: of what was selected only now.
    fn decide(&mut self, now: Monotonic, cancel: &Cancel) -> Result<bool> {
        let select = &self.config.asked.select;
        let restless = self.config.restless;
        let latest = now.max(Monotonic::now());
        let processes = Processes { slots: &self.slots, ticks_per_second: self.procfs.ticks_per_second(), now, latest };
        let moved = self.slots.iter().any(|slot| matches!(slot.outcome, Outcome::Changed | Outcome::Gone));
        self.ends_decided = self.slots.iter().filter(|slot| slot.is_gone()).count();
        let mut decided: Vec<(usize, Option<bool>)> = Vec::new();
        if !self.config.tree {
            for (at, slot) in self.slots.iter().enumerate() {
                cancel.check()?;
                if (restless || is_new(slot))
                    && let Some(subject) = processes.subject(at)
                {
                    decided.push((at, select.matches(subject, &self.pid_files, cancel)?));
                }
            }
        } else if restless || moved || self.slots.iter().any(is_new) {
            let all_are_due = std::mem::replace(&mut self.all_are_due, true) || restless;
            let again = if all_are_due { None } else { self.decide_again(&processes, cancel)? };
            match again {
                Some(verdicts) => {
                    for (at, verdict) in verdicts {
                        decided.push((at, verdict.selected));
                        if let Some(slot) = self.slots.get_mut(at) {
                            slot.entry.verdict = verdict;
                        }
                    }
                    self.all_are_due = false;
                }
                None => {
                    let earlier = |nth: usize| {
                        let slot = self.slots.get(nth).filter(|slot| !restless && !is_new(slot));
                        slot.map(|slot| &slot.entry.verdict)
                    };
                    let verdicts = select.judge(&processes, earlier, &self.pid_files, cancel)?;
                    for (at, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| can_be_decided(slot)) {
                        verdicts.keep(at, &mut slot.entry.verdict);
                        decided.push((at, verdicts.selected(at)));
                    }
                    self.all_are_due = verdicts.has_cycle();
                }
            }
        }
        self.pins_due |= moved;
        for (at, selected) in decided {
            cancel.check()?;
            let Some(slot) = self.slots.get_mut(at) else { continue };
            let was_selected = slot.is_selected();
            slot.decide(selected);
            self.pins_due |= was_selected != slot.is_selected();
            if slot.is_selected() {
                if !was_selected {
                    slot.task = Task::ReadAll;
                }
            } else {
                self.budget.close_all(&mut slot.entry.kept);
                if was_selected {
                    forget_counters(slot.parts_mut().0);
                }
            }
        }
        if self.pins_due {
            self.pin_ancestors(cancel)?;
            self.pins_due = false;
        }
        for slot in &mut self.slots {
            if slot.outcome == Outcome::Changed {
                // A process that changed once may change again soon: a shell that executes a program that executes another.
                slot.rest_shortly();
            }
            // It was looked at: its rest was over, or was broken.
            if slot.outcome != Outcome::Same || !slot.rests(self.tick, now) {
                slot.rest(self.tick, now, self.config.asked.recheck);
            }
            if slot.outcome == Outcome::Changed {
                slot.outcome = Outcome::Read;
            }
        }
        Ok(self.slots.iter().any(|slot| slot.task > Task::Rest))
    }

    /// Decides about those of which something changed, where the decisions about all others stand.
    fn decide_again(&self, processes: &Processes<'_>, cancel: &Cancel) -> Result<Option<Vec<(usize, Verdict)>>> {
        let (mut changed, mut left, nothing) = (Vec::new(), Vec::new(), Verdict::default());
        for (at, slot) in self.slots.iter().enumerate() {
            if can_be_decided(slot) {
                if is_new(slot) {
                    changed.push(at);
                }
            } else if is_new(slot) || slot.is_gone() {
                left.push(slot.pid);
            }
        }
        let kept = |nth: usize| self.slots.get(nth).map_or(&nothing, |slot| &slot.entry.verdict);
        self.config.asked.select.rejudge(processes, &changed, &left, kept, &self.pid_files, cancel)
    }

    /// Gives up for this tick on those that were selected only now and are not read: they are decided about at the next one.
    fn leave_undecided(&mut self) {
        let is_unread = |slot: &&mut Slot| slot.task == Task::ReadAll && slot.outcome != Outcome::Failed;
        for slot in self.slots.iter_mut().filter(is_unread) {
            slot.decide(None);
        }
    }

    /// What is not selected rests, but not those whose end or change shows in the selected ones: their parents, since an
    /// orphan has another parent, and all their ancestors where those decide about them.
    fn pin_ancestors(&mut self, cancel: &Cancel) -> Result<()> {
        let mut parents: Vec<u32> = self.slots.iter().filter(|slot| slot.is_selected()).map(|slot| slot.ppid).collect();
        parents.sort_unstable();
        parents.dedup();
        // Both are in the order of the pids.
        let (mut parents, mut pinned) = (parents.into_iter().peekable(), HashSet::new());
        for slot in &self.slots {
            cancel.check()?;
            while parents.next_if(|pid| *pid < slot.pid).is_some() {}
            if parents.peek() != Some(&slot.pid) {
                continue;
            }
            // What is above one that is selected follows from that one.
            let mut above = Some(slot);
            while let Some(slot) = above
                && !slot.is_selected()
                && pinned.insert(slot.pid)
                && self.config.tree
            {
                above =
                    self.slots.binary_search_by_key(&slot.ppid, |slot| slot.pid).ok().and_then(|at| self.slots.get(at));
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_selected()) {
            slot.pin(pinned.contains(&slot.pid));
        }
        Ok(())
    }
}

/// Whether something of a process has not been decided about.
fn is_new(slot: &Slot) -> bool {
    matches!(slot.selection, Selection::Unknown(_)) || slot.outcome == Outcome::Changed
}

fn can_be_decided(slot: &Slot) -> bool {
    slot.is_known() && slot.outcome != Outcome::Gone
}

/// The processes as each other's parents.
struct Processes<'s> {
    slots: &'s [Slot],
    ticks_per_second: u64,
    /// When the tick began, and the latest that a process it saw can be born.
    now: Monotonic,
    latest: Monotonic,
}

impl Family for Processes<'_> {
    fn count(&self) -> usize {
        self.slots.len()
    }

    fn subject(&self, nth: usize) -> Option<Subject<'_>> {
        let slot = self.slots.get(nth).filter(|slot| can_be_decided(slot))?;
        let sample = &*slot.data;
        Some(Subject {
            id: sample.id,
            ppid: slot.ppid,
            info: slot.info(),
            knowledge: Knowledge::All,
            age: age(sample.id.start_ns(self.ticks_per_second), self.now, self.latest),
        })
    }

    fn find(&self, pid: u32) -> Option<usize> {
        self.slots.binary_search_by_key(&pid, |slot| slot.pid).ok()
    }

    fn parents(&self) -> impl Iterator<Item = (usize, u32)> {
        let decidable = self.slots.iter().enumerate().filter(|(_, slot)| can_be_decided(slot));
        decidable.map(|(nth, slot)| (nth, slot.ppid))
    }
}
