//! The processes whose reading is renewed at this tick, though they did not run.

use super::Scan;
use crate::process::table::Task;
use crate::{Cancel, Monotonic};

/// How many times as often as all the others those are renewed that have a reason.
const EARLY: u32 = 5;

/// How often reclaim is checked in that time.
const LOOKS: u32 = 12;

impl Scan {
    /// Marks those whose reading is to be renewed at this tick: so many that each has its turn within `max_age`, and earlier
    /// where there is a reason: it ran since its info was read, or memory was reclaimed since its own was.
    pub(super) fn renew(&mut self, now: Monotonic, cancel: &Cancel) {
        let max_age = self.config.asked.max_age;
        let elapsed = self.last.and_then(|last| now.since(last)).unwrap_or_default();
        self.all_turns.advance(&mut self.slots, elapsed, max_age, cancel, |slot| slot.ask(Task::Renew));
        if !self.procfs.has_pulse() {
            // Everything is read at every tick.
            return;
        }
        let early = max_age.checked_div(EARLY).unwrap_or_default();
        let look = early.checked_div(LOOKS).unwrap_or_default();
        if self.reclaim.was_seen(look, now) {
            self.reclaimed_at = now;
        }
        let reclaimed_at = self.reclaimed_at;
        // All have a turn in what is left of that time once it was seen.
        let round = early.saturating_sub(look);
        self.early_turns.advance(&mut self.slots, elapsed, round, cancel, |slot| {
            if slot.pulse != slot.entry.links_pulse {
                slot.ask(Task::Renew);
            } else if slot.read_at.is_some_and(|read_at| read_at < reclaimed_at) {
                slot.ask(Task::Read);
            }
        });
    }
}
