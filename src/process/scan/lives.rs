//! The step of a tick that counts each life once, and what it says of lives that are over.

use std::collections::HashSet;

use super::Scan;
use crate::process::table::{Outcome, Replaced, Slot, Task};
use crate::process::{ExitStatus, ProcessId, ProcessSample, ProcessState};
use crate::{Cancel, ControlGroupUsage, Exit, Lives, Reading, Reaper, Result, Snapshot, Text};

/// How often one that is just being removed is looked at again. That takes the kernel some microseconds, or the rest of a time slice
/// of whoever waited for it.
const LOOKS: usize = 100;

/// Every how many ticks it is looked which control groups have no processes any more.
const LEFT_EVERY: u64 = 16;

/// Who ended and who waited, in a tick.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The pids of those that were known and are gone.
    gone: HashSet<u32>,
    /// Those whose pid another process has by now.
    replaced: Vec<Replaced>,
    /// The pids of those whose children's counters moved.
    waited: HashSet<u32>,
}

/// One that is gone, and how to find who waited for it.
struct Lost {
    id: ProcessId,
    ppid: u32,
    /// If its parent is there, that waited for it.
    is_sure: bool,
}

impl Scan {
    /// Sees to it that each process that was known is either there, or in the counters of whoever waited for it.
    ///
    /// Whoever waits for a child has its counters before the child is gone for others. So the order is: who waited is read; then its
    /// children are looked at, and who is gone by then is dropped; then who may have waited for those is read, and so on. The set of
    /// those that are there only shrinks, so this ends. A child that is there after its parent was read was not waited for before
    /// that.
    pub(super) fn count_once(&mut self, cancel: &Cancel) -> Result<Ended> {
        let mut ended = Ended::default();
        if !self.config.asked.lives {
            return Ok(ended);
        }
        loop {
            let mut dropped: Vec<Lost> = Vec::new();
            for slot in &mut self.slots {
                if let Some(replaced) = slot.replaced.take().map(|replaced| *replaced) {
                    ended.replaced.push(replaced);
                    dropped.push(Lost { id: replaced.id, ppid: replaced.ppid, is_sure: false });
                }
                if slot.is_gone() && ended.gone.insert(slot.pid) {
                    dropped.push(Lost { id: slot.data.id, ppid: slot.ppid, is_sure: true });
                }
            }
            if !dropped.is_empty() {
                self.ask_heirs(dropped, &ended.gone, cancel)?;
                self.read(cancel)?;
            }
            let waited: HashSet<u32> =
                self.slots.iter_mut().filter_map(|slot| std::mem::take(&mut slot.waited).then_some(slot.pid)).collect();
            if waited.is_empty()
                && !self
                    .slots
                    .iter()
                    .any(|slot| slot.replaced.is_some() || (slot.is_gone() && !ended.gone.contains(&slot.pid)))
            {
                return Ok(ended);
            }
            for slot in self.slots.iter_mut().filter(|slot| waited.contains(&slot.ppid) && !slot.is_gone()) {
                // One that stood still cannot have ended meanwhile; one that had ended before can be gone without having run.
                slot.ask(if slot.zombie { Task::Read } else { Task::Check });
            }
            ended.waited.extend(waited);
            self.read(cancel)?;
            self.let_go(cancel)?;
        }
    }

    /// Asks for those to be read that may have waited for processes that are gone, and for their children, which have another parent
    /// now.
    fn ask_heirs(&mut self, lost: Vec<Lost>, gone: &HashSet<u32>, cancel: &Cancel) -> Result<()> {
        let left: HashSet<u32> = gone.iter().filter_map(|pid| self.slot(*pid)).map(|slot| slot.ppid).collect();
        let dropped: HashSet<u32> = lost.iter().map(|lost| lost.id.pid).collect();
        let (mut heirs, mut climbed) = (HashSet::from([1]), HashSet::new());
        for Lost { mut id, mut ppid, is_sure } in lost {
            cancel.check()?;
            // Where its parent is there, nobody else can have waited for it. Otherwise it may have been any ancestor, as which of them
            // adopts others is not visible; or the first process. So it is for what one left behind that is gone by now.
            let mut is_sure = is_sure && !left.contains(&id.pid);
            while let Some(parent) = self.parent(ppid, id) {
                let lives = !parent.is_gone() && !parent.zombie;
                if lives {
                    heirs.insert(parent.pid);
                }
                if (lives && is_sure) || !climbed.insert(parent.pid) {
                    break;
                }
                is_sure = false;
                (id, ppid) = (parent.data.id, parent.ppid);
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_gone()) {
            if heirs.contains(&slot.pid) || dropped.contains(&slot.ppid) {
                slot.ask(Task::Read);
            }
        }
        Ok(())
    }

    /// Waits until those are gone that are being removed: whoever waited for them may have their counters, or not yet.
    fn let_go(&mut self, cancel: &Cancel) -> Result<()> {
        for _ in 0..LOOKS {
            let mut any = false;
            for slot in self.slots.iter_mut().filter(|slot| is_being_removed(slot)) {
                slot.ask(Task::Read);
                any = true;
            }
            if !any {
                return Ok(());
            }
            cancel.check()?;
            std::thread::yield_now();
            self.read(cancel)?;
        }
        for slot in self.slots.iter_mut().filter(|slot| is_being_removed(slot)) {
            slot.outcome = Outcome::Gone;
        }
        Ok(())
    }

    /// Says who ended and who waited.
    pub(super) fn tell(
        &mut self,
        ended: &Ended,
        snapshot: &mut Snapshot<ProcessSample>,
        cancel: &Cancel,
    ) -> Result<()> {
        if !self.config.asked.lives {
            return Ok(());
        }
        let control_groups = self.control_groups(ended, cancel)?;
        let mut lives = Lives { clones: self.discovery.cloned(), control_groups, ..Lives::default() };
        for slot in &mut self.slots {
            if std::mem::take(&mut slot.is_new) && self.last.is_some() {
                lives.births = lives.births.saturating_add(1);
            }
        }
        for slot in &self.slots {
            let id = slot.data.id;
            if ended.waited.contains(&slot.pid) && !slot.is_gone() {
                let (cpu, faults) = (&slot.data.cpu, slot.entry.children_faults);
                lives.reapers.push(Reaper {
                    user_ns: cpu.children_user_ns,
                    system_ns: cpu.children_system_ns,
                    minor_faults: faults.minor,
                    major_faults: faults.major,
                    ..Reaper::new(id)
                });
            }
            if slot.outcome != Outcome::Gone {
                continue;
            }
            lives.deaths = lives.deaths.saturating_add(1);
            if ended.gone.contains(&slot.pid) {
                lives.exits.push(self.exit(id, slot.ppid, slot.entry.end, ended));
            }
        }
        for Replaced { id, ppid, end } in &ended.replaced {
            lives.deaths = lives.deaths.saturating_add(1);
            lives.exits.push(self.exit(*id, *ppid, *end, ended));
        }
        lives.exits.sort_by_key(|exit| exit.id);
        snapshot.lives = Some(lives.into());
        Ok(())
    }

    fn exit(&self, id: ProcessId, ppid: u32, end: Reading<ExitStatus>, ended: &Ended) -> Exit {
        // It was waited for before it could be read.
        let status = if end.is_not_requested() { Reading::Failed } else { end };
        Exit { reaper: self.reaper(id, ppid, ended), status, ..Exit::new(id) }
    }

    /// What the control groups used whose processes ran, waited or ended. Of those that are looked at here all processes are known: what
    /// some used that are not selected, or that are hidden, would be taken for that of the others.
    fn control_groups(&mut self, ended: &Ended, cancel: &Cancel) -> Result<Vec<ControlGroupUsage>> {
        let Some(groups) = &mut self.control_groups else { return Ok(Vec::new()) };
        if !self.config.all || self.discovery.hidden {
            return Ok(Vec::new());
        }
        // In which group one was whose pid another process has by now is not known any more.
        let all = self.last.is_none() || !ended.replaced.is_empty() || groups.all_are_due();
        let is_due = |slot: &&Slot| {
            all || slot.ran_at_tick == self.tick || slot.outcome == Outcome::Gone || ended.waited.contains(&slot.pid)
        };
        let due = self.slots.iter().filter(is_due).filter_map(unified_path);
        // Of those that were left by their last process there may be more to read, and then nothing any more.
        let living =
            || self.slots.iter().filter(|slot| slot.outcome != Outcome::Gone).filter_map(unified_path).collect();
        let living: Option<HashSet<&Text>> = self.tick.is_multiple_of(LEFT_EVERY).then(living);
        groups.read(due, living.as_ref(), self.tick, (&self.procfs, &self.budget, cancel))
    }

    /// The parent that is there, and waited for a child: nobody else can have waited for this one.
    fn reaper(&self, id: ProcessId, ppid: u32, ended: &Ended) -> Option<ProcessId> {
        let waited = |parent: &&Slot| !parent.is_gone() && !parent.zombie && ended.waited.contains(&parent.pid);
        self.parent(ppid, id).filter(waited).map(|parent| parent.data.id)
    }

    /// The process of a parent's pid, where it is that parent, and not one that got its pid later.
    fn parent(&self, ppid: u32, of: ProcessId) -> Option<&Slot> {
        self.slot(ppid).filter(|parent| parent.is_known() && parent.data.id.may_be_parent_of(of))
    }

    fn slot(&self, pid: u32) -> Option<&Slot> {
        let at = self.slots.binary_search_by_key(&pid, |slot| slot.pid).ok()?;
        self.slots.get(at)
    }
}

/// Its control group, where that is of the unified hierarchy.
fn unified_path(slot: &Slot) -> Option<&Text> {
    slot.data.info.cgroup.value().filter(|_| slot.entry.cgroup_is_unified)
}

fn is_being_removed(slot: &Slot) -> bool {
    // Only what was read at this tick: nobody else is on its way out.
    matches!(slot.outcome, Outcome::Read | Outcome::Changed) && slot.data.state == ProcessState::Dead
}
