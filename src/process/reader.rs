//! Reading one process: its pulse, and its files if it ran.

mod files;
mod visit;

use rustix::io::Errno;

use super::Fields;
use super::descriptors::FdBudget;
use super::procfs::ProcFs;
use super::pulse::pulse;
use super::table::{Outcome, Replaced, Selection, Slot, Task};
use crate::Monotonic;
use files::{Files, ReadResources, is_shortage};
use visit::{Failure, Visit};

/// Reads processes, on one thread.
#[derive(Debug)]
pub(crate) struct Reader {
    resources: ReadResources,
}

/// The settings that are the same for all processes of a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// The fields to read of those that are selected.
    pub(crate) fields: Fields,
    /// The fields to read of the others, to decide about them.
    pub(crate) facts: Fields,
    /// The selection of a new process: selected where all are.
    pub(crate) first: Selection,
    /// Ask at every reading who the owner is: a selection may depend on it.
    pub(crate) owner: bool,
    pub(crate) budget: &'a FdBudget,
    pub(crate) tick: u64,
}

impl Reader {
    pub(crate) fn new(procfs: ProcFs) -> Self {
        Self { resources: ReadResources::new(procfs) }
    }

    /// Returns whether descriptors ran out since the last call.
    pub(crate) fn was_starved(&mut self) -> bool {
        std::mem::take(&mut self.resources.opener.starved)
    }

    /// Whether descriptors ran out.
    pub(crate) fn is_starved(&self) -> bool {
        self.resources.opener.starved
    }

    /// Gives the descriptors up that it holds back, for others to use.
    pub(crate) fn release(&mut self) {
        self.resources.opener.release();
    }

    /// Takes them back.
    pub(crate) fn restore(&mut self) {
        self.resources.opener.restore(self.resources.procfs.dir());
    }

    /// Does a slot's task, and stores the outcome in the slot.
    pub(crate) fn visit(&mut self, slot: &mut Slot, plan: &Plan<'_>) {
        let task = std::mem::replace(&mut slot.task, Task::Rest);
        let at = Monotonic::now();
        self.resources.short = false;
        let mut ran = true;
        let mut total_ns = None;
        if self.resources.procfs.has_pulse() {
            let Some(pulse) = pulse(slot.pid) else {
                slot.outcome = Outcome::Gone;
                return;
            };
            ran = pulse != slot.pulse;
            if !ran && task == Task::Check && slot.is_known() {
                slot.at = at;
                return;
            }
            slot.pulse = pulse;
            total_ns = Some(pulse);
        }
        let selected = slot.is_selected();
        let fields = if selected { plan.fields | plan.facts } else { plan.facts };
        let known = slot.is_known();
        let files = Files {
            resources: &mut self.resources,
            budget: plan.budget,
            pid: slot.pid,
            place: None,
            still: !ran && known && task < Task::ReadAll,
            keep: ran && known && task < Task::Renew && selected,
            by_thread: false,
        };
        let mut visit = Visit {
            files,
            owner: plan.owner,
            fields,
            known,
            all: task == Task::ReadAll || !known,
            // The fields that decide about a process that is not selected are read whenever it was checked and had run.
            renew: task == Task::Renew || !selected,
            at,
            total_ns,
            pulse: slot.pulse,
            owner_pulse: slot.owner_pulse,
        };
        let mut children = slot.children_usage();
        let mut result = visit.read(slot.parts_mut());
        if matches!(result, Err(Failure::Replaced)) {
            // Another process has the pid now: start over as with a new one.
            plan.budget.close_all(&mut slot.entry.kept);
            slot.replaced = Some(Box::new(Replaced { id: slot.data.id, ppid: slot.ppid, end: slot.entry.end }));
            slot.forget(plan.first);
            children = slot.children_usage();
            visit.start_over();
            result = visit.read(slot.parts_mut());
        }
        slot.owner_pulse = visit.owner_pulse;
        if result.is_ok() {
            slot.was_read(at, children);
        }
        if ran {
            slot.ran_at_tick = plan.tick;
        }
        slot.count_missing_fields();
        slot.outcome = match result {
            // A second reading in one tick does not undo what the first one found.
            Ok(Outcome::Read) if slot.outcome == Outcome::Changed => Outcome::Changed,
            Ok(outcome) => outcome,
            Err(Failure::Errno(Errno::NOENT | Errno::SRCH)) => {
                // Still there by its clock: it is hidden (hidepid), or ended between the two calls and is gone next time.
                if total_ns.is_some() && pulse(slot.pid).is_some() { Outcome::Hidden } else { Outcome::Gone }
            }
            Err(Failure::Errno(Errno::ACCESS | Errno::PERM)) => Outcome::Denied,
            Err(Failure::Malformed) => Outcome::Malformed,
            Err(Failure::Errno(errno)) => {
                self.resources.short |= is_shortage(errno);
                Outcome::Failed
            }
            Err(Failure::Replaced) => Outcome::Failed,
        };
        slot.unnamed |= fields.contains(Fields::USER) && (task >= Task::Renew || slot.outcome == Outcome::Changed);
        self.resources.opener.starved |= self.resources.short;
        if self.resources.short {
            // Everything is read again, though it has not run since.
            slot.task = Task::ReadAll;
        }
        self.restore();
    }
}
