//! Who ran since the last tick, and who is gone.

use super::Scan;
use crate::process::ProcFs;
use crate::process::file::{PidPath, owner};
use crate::process::pulse::pulse;
use crate::process::table::{Outcome, Slot, Task};
use crate::{Cancel, Monotonic, Result};

/// Between how many pulses `Cancel` is polled: 128 take about 50 µs.
const POLL: usize = 128;

impl Scan {
    /// Looks who ran, and who is gone.
    pub(super) fn take_pulses(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let has_pulse = self.procfs.has_pulse();
        let (tick, max_age) = (self.tick, self.config.asked.max_age);
        // Whose clock has not moved since its last reading had these values when this tick began: one time for all.
        let at = now;
        for (nth, slot) in self.slots.iter_mut().enumerate() {
            if nth.checked_rem(POLL) == Some(0) {
                cancel.check()?;
            }
            if slot.outcome == Outcome::Gone || slot.task > Task::Check {
                continue;
            }
            if !slot.is_selected() {
                // One that is not selected rests for a while, unless something may have happened to it.
                if slot.rests(tick, now) {
                    continue;
                }
                slot.ask(Task::Check);
            }
            if !has_pulse {
                slot.ask(Task::Read);
                continue;
            }
            // One that ran at the last tick most likely ran again: its reader reads its CPU clock right before.
            if slot.ran_at_tick.saturating_add(1) == tick {
                slot.ask(Task::Check);
                continue;
            }
            match pulse(slot.pid) {
                None => slot.outcome = Outcome::Gone,
                Some(pulse) if pulse != slot.pulse => slot.ask(Task::Check),
                Some(pulse) => {
                    slot.at = at;
                    slot.task = Task::Rest;
                    slot.rest(tick, now, self.config.asked.recheck);
                    // Its last check before it stops running.
                    if slot.owner_pulse != pulse {
                        slot.owner_pulse = pulse;
                        if has_other_owner(&self.procfs, slot) {
                            slot.task = Task::ReadAll;
                        }
                    }
                    // A guarantee in addition to `renew`, whose schedule moves when processes come and go.
                    let age = slot.read_at.and_then(|read_at| at.since(read_at)).unwrap_or_default();
                    if slot.is_selected() && age > max_age {
                        slot.ask(Task::Renew);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a process has changed its user or group since its owner was last read.
fn has_other_owner(procfs: &ProcFs, slot: &Slot) -> bool {
    let known = slot.entry.owner;
    owner(procfs.dir(), PidPath::new(slot.pid).as_c_str())
        .is_ok_and(|found| (found.uid, found.gid) != (known.uid, known.gid))
}
