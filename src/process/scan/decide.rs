//! Which processes are selected, as of a tick.

use std::collections::HashSet;
use std::time::Duration;

use super::Scan;
use crate::Monotonic;
use crate::process::select::{Relatives, Subject};
use crate::process::table::{Outcome, Slot, Standing, Task, forget_counters};
use crate::time::ticks_to_nanos;

impl Scan {
    /// Decides about those of which something changed, and about all where that can change others. Says whether something is
    /// to be read for that: of what was selected only now.
    pub(super) fn decide(&mut self, now: Monotonic) -> bool {
        let select = &self.config.asked.select;
        let family = Family { slots: &self.slots, ticks_per_second: self.procfs.ticks_per_second(), now };
        let moved = self.slots.iter().any(|slot| matches!(slot.outcome, Outcome::Changed | Outcome::Gone));
        let all = self.config.restless || (self.config.tree && moved);
        let mut decided: Vec<(usize, Option<bool>)> = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let undecided = slot.standing == Standing::Unknown || slot.outcome == Outcome::Changed || slot.undecided;
            if (all || undecided) && slot.outcome != Outcome::Gone && slot.entry.known {
                decided.push((at, select.matches(&family.subject(slot), &family, &self.pid_files)));
            }
        }
        for (at, selected) in decided {
            let Some(slot) = self.slots.get_mut(at) else { continue };
            let standing = match selected {
                Some(true) => Standing::Selected,
                Some(false) => Standing::Unselected,
                None => Standing::Unknown,
            };
            if standing == Standing::Selected && slot.standing != Standing::Selected {
                slot.task = Task::ReadAll;
            }
            if standing != Standing::Selected {
                self.budget.close_all(&mut slot.entry.kept);
                if slot.standing == Standing::Selected {
                    forget_counters(&mut slot.entry.sample);
                    slot.entry.rest_ticks = 0;
                }
            }
            slot.standing = standing;
            slot.undecided = false;
        }
        for slot in &mut self.slots {
            if slot.outcome == Outcome::Changed {
                // What changed once may change again soon: a shell that executes a program that executes another.
                slot.entry.rest_ticks = 0;
            }
            // It was looked at: its rest was over, or was broken.
            if slot.outcome != Outcome::Same || self.tick >= slot.rest_until_tick || now >= slot.rest_until {
                slot.rest(self.tick, now, self.config.asked.recheck);
            }
            if slot.outcome == Outcome::Changed {
                slot.outcome = Outcome::Read;
            }
        }
        if moved {
            self.keep_ancestors_awake();
        }
        self.slots.iter().any(|slot| slot.task > Task::Rest)
    }

    /// What is not selected rests, but not those whose end or change shows in the selected ones: their parents, since an
    /// orphan has another parent, and all their ancestors where those decide about them.
    fn keep_ancestors_awake(&mut self) {
        let mut awake: HashSet<u32> = HashSet::new();
        for slot in self.slots.iter().filter(|slot| slot.standing == Standing::Selected) {
            let mut ppid = slot.entry.sample.ppid;
            while let Ok(at) = self.slots.binary_search_by_key(&ppid, |slot| slot.pid)
                && let Some(parent) = self.slots.get(at)
                && awake.insert(ppid)
                && self.config.tree
            {
                ppid = parent.entry.sample.ppid;
            }
        }
        for slot in &mut self.slots {
            slot.awake = awake.contains(&slot.pid);
            if slot.awake {
                slot.rest_until_tick = 0;
            }
        }
    }
}

/// The processes as each other's parents.
struct Family<'s> {
    slots: &'s [Slot],
    ticks_per_second: u64,
    now: Monotonic,
}

impl Family<'_> {
    fn subject<'a>(&self, slot: &'a Slot) -> Subject<'a> {
        let sample = &slot.entry.sample;
        let start = Monotonic::from_nanos(ticks_to_nanos(sample.id.start_ticks, self.ticks_per_second));
        Subject {
            id: sample.id,
            ppid: sample.ppid,
            info: slot.entry.info(),
            age: self.now.since(start).unwrap_or(Duration::ZERO),
        }
    }
}

impl Relatives for Family<'_> {
    fn parent<'a>(&'a self, of: &Subject<'a>) -> Option<Subject<'a>> {
        let at = self.slots.binary_search_by_key(&of.ppid, |slot| slot.pid).ok()?;
        let parent = self.slots.get(at).filter(|slot| slot.entry.known && slot.outcome != Outcome::Gone)?;
        Some(self.subject(parent))
    }
}
