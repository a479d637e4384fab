//! Turns that come round to each process.

use std::time::Duration;

use crate::Cancel;
use crate::process::table::Slot;

/// Turns that come round to each process within a time, so many at each tick.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The pid of the last turn.
    last: u32,
    /// The fraction of a turn that is due.
    due: f64,
    /// How many there were at most in this round: those that ended make it no longer for the others.
    most: usize,
}

impl Turns {
    /// Calls `turn` for the slots that are due, this long after the last call; `round` is the time in which each has one.
    pub(super) fn advance(
        &mut self,
        slots: &mut [Slot],
        elapsed: Duration,
        round: Duration,
        cancel: &Cancel,
        mut turn: impl FnMut(&mut Slot),
    ) {
        let share = if round.is_zero() { 1.0 } else { (elapsed.as_secs_f64() / round.as_secs_f64()).min(1.0) };
        self.most = self.most.max(slots.len());
        #[expect(clippy::cast_precision_loss, reason = "a share of a number of processes")]
        let (all, most) = (slots.len() as f64, self.most as f64);
        self.due = (self.due + share * most).min(all);
        // By the pid, so that no process is left out when others come and go.
        let mut next = slots.partition_point(|slot| slot.pid <= self.last);
        while self.due >= 1.0 && !cancel.is_cancelled() {
            self.due -= 1.0;
            if next >= slots.len() {
                next = 0;
                self.most = slots.len();
            }
            let Some(slot) = slots.get_mut(next) else { return };
            self.last = slot.pid;
            next = next.saturating_add(1);
            if slot.is_selected() {
                turn(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::table::Selection;

    #[test]
    fn each_has_its_turn_within_the_time_whoever_comes_and_goes() {
        let never = Cancel::new();
        let slot = |pid| Slot::new(pid, Selection::Selected);
        let mut slots: Vec<Slot> = (0..1_000).map(|nth| slot(nth * 10)).collect();
        let mut turns = Turns::default();
        let mut had: Vec<u32> = Vec::new();
        for nth in 0..100 {
            turns.advance(&mut slots, Duration::from_secs(1), Duration::from_secs(100), &never, |slot| {
                had.push(slot.pid)
            });
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
        turns.advance(&mut slots, Duration::from_secs(1_000), Duration::from_secs(100), &never, |slot| {
            had.push(slot.pid)
        });
        had.sort_unstable();
        assert_eq!(had, slots.iter().map(|slot| slot.pid).collect::<Vec<_>>());
        had.clear();
        turns.advance(&mut slots, Duration::from_secs(1_000), Duration::MAX, &never, |slot| had.push(slot.pid));
        assert_eq!(had, [0_u32; 0]);
        turns.advance(&mut slots, Duration::ZERO, Duration::ZERO, &never, |slot| had.push(slot.pid));
        assert_eq!(had.len(), slots.len());
        turns.advance(&mut [], Duration::ZERO, Duration::ZERO, &never, |_| unreachable!());
    }
}
