//! The last steps of a tick: the outcome of each process, and the samples.

use std::collections::HashSet;
use std::sync::Arc;

use super::Scan;
use crate::process::ProcessSample;
use crate::process::control_groups::ControlGroups;
use crate::process::descriptors::FdBudget;
use crate::process::names::Id;
use crate::process::table::{Outcome, Selection, Slot, Task};
use crate::{Cancel, Result, Skipped, Snapshot};

/// Of how many processes the memory is loaded together: a processor waits for about as many loads at once.
const TOGETHER: usize = 32;

impl Scan {
    /// Counts failed readings, removes processes that are gone, and closes unneeded descriptors.
    pub(super) fn settle(&mut self, skipped: &mut Skipped, cancel: &Cancel) -> Result<()> {
        let (mut counted, budget, first) = (Skipped::default(), &self.budget, self.config.first_selection());
        let (mut starved, mut ends, mut lost) = (false, 0_usize, false);
        for reader in &mut self.readers {
            starved |= reader.was_starved();
        }
        starved |= self.control_groups.as_mut().is_some_and(ControlGroups::was_starved);
        self.slots.retain_mut(|slot| {
            if matches!(slot.outcome, Outcome::Same | Outcome::Read | Outcome::Changed) {
                slot.outcome = Outcome::Same;
                return true;
            }
            if slot.is_known() {
                ends = ends.saturating_add(usize::from(slot.outcome == Outcome::Gone));
                lost |= matches!(slot.outcome, Outcome::Hidden | Outcome::Denied | Outcome::Malformed);
            }
            // When it is cancelled, the next tick does the rest.
            cancel.is_cancelled() || is_kept(slot, &mut counted, budget, first)
        });
        // Who was there when the others were decided about, and is not any more.
        self.all_are_due |= lost || ends > self.ends_decided;
        self.ends_decided = 0;
        cancel.check()?;
        skipped.add(counted);
        let kept = self.slots.iter_mut().map(|slot| (slot.ran_at_tick, &mut slot.entry.kept));
        self.budget.make_room(kept, starved, self.tick, cancel);
        if self.names.are_many() {
            let mut used: HashSet<Id> = HashSet::new();
            for slot in &self.slots {
                cancel.check()?;
                let info = &slot.data.info;
                used.extend([Id::User(info.uid), Id::Group(info.gid)]);
            }
            self.names.retain(|id| used.contains(&id));
        }
        cancel.check()
    }

    /// Gives the samples of what is selected. Counts the fields that are missing in them, and who could not be decided about for
    /// want of some.
    pub(super) fn show(&self, snapshot: &mut Snapshot<ProcessSample>, cancel: &Cancel) -> Result<()> {
        let (samples, skipped) = (&mut snapshot.samples, &mut snapshot.skipped);
        // Counted first, so that the snapshot's memory is taken once.
        samples.reserve_exact(self.slots.iter().filter(|slot| slot.is_selected()).count());
        for slots in self.slots.chunks(TOGETHER) {
            cancel.check()?;
            // Sharing what was read counts a reference in memory that nothing else of this tick touched. The processor waits for
            // one such count after the other, but for all loads at once.
            let counts = slots.iter().map(|slot| Arc::strong_count(&slot.data));
            std::hint::black_box(counts.fold(0, usize::wrapping_add));
            for slot in slots.iter().filter(|slot| slot.is_known()) {
                match slot.selection {
                    Selection::Selected => {
                        skipped.fields = skipped.fields.saturating_add(slot.missing_fields);
                        samples.push(slot.sample());
                    }
                    Selection::Unknown(_) => skipped.undecided = skipped.undecided.saturating_add(1),
                    Selection::Unselected(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Whether one that ended or could not be read is kept, to be tried again.
fn is_kept(slot: &mut Slot, counted: &mut Skipped, budget: &FdBudget, first: Selection) -> bool {
    let count = match slot.outcome {
        // It was there at an earlier tick: that is no loss of this one.
        Outcome::Gone if slot.is_known() => None,
        Outcome::Gone => Some(&mut counted.vanished),
        Outcome::Denied => Some(&mut counted.denied),
        Outcome::Malformed => Some(&mut counted.malformed),
        Outcome::Failed => Some(&mut counted.failed),
        Outcome::Hidden | Outcome::Same | Outcome::Read | Outcome::Changed => None,
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
        slot.forget(first);
    }
    slot.outcome = Outcome::Same;
    slot.task = Task::ReadAll;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcFs;
    use crate::process::config::Config;

    #[test]
    fn what_a_cancelled_tick_did_not_settle_the_next_one_does() {
        let mut scan = Scan::new(ProcFs::new("/proc").unwrap(), Config::default()).unwrap();
        let mut snapshot = Snapshot::default();
        snapshot.begin();
        scan.tick(&mut snapshot, &Cancel::new()).unwrap();
        assert!(scan.slots.len() > 1);
        let ended = scan.slots[0].pid;
        scan.slots[0].outcome = Outcome::Gone;
        scan.slots[1].outcome = Outcome::Denied;
        let cancelled = Cancel::new();
        cancelled.cancel();
        let mut skipped = Skipped::default();
        assert!(scan.settle(&mut skipped, &cancelled).unwrap_err().is_cancelled());
        assert_eq!(scan.slots[0].pid, ended, "not closed half");
        assert!(scan.slots[1].is_known());
        scan.settle(&mut skipped, &Cancel::new()).unwrap();
        assert_ne!(scan.slots[0].pid, ended);
        assert!(!scan.slots[0].is_known());
        assert_eq!(skipped.denied, 1);
    }
}
