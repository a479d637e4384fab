//! The first step of a tick: who is there that was not, and whether none is missing.

use super::Scan;
use crate::process::discover::{By, Search};
use crate::process::table::{Outcome, Slot, Task};
use crate::{Cancel, Monotonic, Result};

/// Between how many processes `Cancel` is polled: 256 new ones take about 100 µs.
const POLL: usize = 256;

impl Scan {
    /// Adds new processes, and marks those that may be another process by now.
    pub(super) fn find(&mut self, search: Search, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let found = self.take_in(search, now, cancel);
        if found.is_err() {
            // A result that was not used is found again.
            self.discovery.start_over();
        }
        found
    }

    fn take_in(&mut self, search: Search, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let first = self.config.first_selection();
        let findings = self.discovery.find(search, self.slots.len(), now, cancel)?;
        let mut born: Vec<Slot> = Vec::new();
        let mut at = 0_usize;
        for (nth, found) in findings.found.iter().enumerate() {
            if nth.checked_rem(POLL) == Some(0) {
                cancel.check()?;
            }
            // Both are in the order of the pids.
            while self.slots.get(at).is_some_and(|slot| slot.pid < found.pid) {
                at = at.saturating_add(1);
            }
            match self.slots.get_mut(at).filter(|slot| slot.pid == found.pid) {
                Some(slot) => {
                    slot.listed = self.tick;
                    let same = match found.by {
                        // The inode number is another for another process; after the kernel dropped its caches too.
                        By::Listing(ino) => ino == slot.entry.owner.ino,
                        By::Birth(before) => slot.read_at.is_some_and(|read_at| read_at > before),
                    };
                    if !same {
                        slot.ask(Task::Read);
                    }
                }
                None => {
                    let mut slot = Slot::new(found.pid, first);
                    slot.listed = self.tick;
                    born.push(slot);
                }
            }
        }
        if findings.all {
            for slot in self.slots.iter_mut().filter(|slot| slot.listed != self.tick) {
                if self.procfs.has_pulse() {
                    // It ended, or is hidden by now.
                    slot.ask(Task::Read);
                } else {
                    // Without CPU clocks a listing alone shows which processes are gone.
                    slot.outcome = Outcome::Gone;
                }
            }
        }
        if !born.is_empty() {
            self.slots.append(&mut born);
            self.slots.sort_by_key(|slot| slot.pid);
        }
        Ok(())
    }

    /// Looks again where there are more processes than are known: for those that were born meanwhile first, then for all.
    pub(super) fn complete(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        for search in [Search::New, Search::All] {
            let known = self.slots.iter().filter(|slot| slot.outcome != Outcome::Gone).count();
            if self.discovery.misses_none(known, self.config.all, now) {
                return Ok(());
            }
            self.find(search, now, cancel)?;
        }
        let known = self.slots.iter().filter(|slot| slot.outcome != Outcome::Gone).count();
        self.discovery.all_are_known(known);
        Ok(())
    }
}
