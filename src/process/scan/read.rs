//! The readings that are due.

use std::sync::{Mutex, PoisonError};

use super::Scan;
use crate::process::reader::{Plan, Reader};
use crate::process::table::{Slot, Task};
use crate::{Cancel, Result};

/// From how many processes on reading is worth a second thread: they take two milliseconds. Starting one for each tick costs
/// as much as reading ten.
const PARALLEL: usize = 256;

/// How many processes a thread takes at a time.
const CHUNK: usize = 16;

impl Scan {
    /// Does the tasks of all slots, on several threads when there are many.
    pub(super) fn read(&mut self, cancel: &Cancel) -> Result<()> {
        let plan = Plan {
            fields: self.config.asked.fields,
            facts: self.facts,
            first: self.config.first_selection(),
            owner: !self.config.all,
            budget: &self.budget,
            tick: self.tick,
        };
        let mut work: Vec<&mut Slot> = self.slots.iter_mut().filter(|slot| slot.task > Task::Rest).collect();
        if work.is_empty() {
            return Ok(());
        }
        let parallel = work.len() >= PARALLEL;
        let Some((reader, others)) = self.readers.split_first_mut() else { return Ok(()) };
        let chunks = Mutex::new(work.chunks_mut(CHUNK));
        let work_off = |reader: &mut Reader| {
            while !cancel.is_cancelled() {
                // Bound first, so that the lock is not held over the loop's body.
                let chunk = chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(chunk) = chunk else { break };
                for slot in chunk.iter_mut().take_while(|_| !cancel.is_cancelled()) {
                    reader.visit(slot, &plan);
                }
            }
        };
        if parallel {
            let work_off = &work_off;
            std::thread::scope(|scope| {
                for other in others {
                    // Without a further thread it takes longer, and that is all.
                    let _ = std::thread::Builder::new()
                        .name("appmon-read".to_owned())
                        .spawn_scoped(scope, move || work_off(other));
                }
                work_off(reader);
            });
        } else {
            work_off(reader);
        }
        cancel.check()?;
        // Descriptors ran out: one by one, and with the reserves of all, there are enough.
        if self.readers.iter().any(|reader| reader.is_starved()) {
            self.readers.iter_mut().for_each(Reader::release);
            if let Some(reader) = self.readers.first_mut() {
                for slot in self.slots.iter_mut().filter(|slot| slot.task > Task::Rest) {
                    cancel.check()?;
                    reader.visit(slot, &plan);
                    reader.release();
                }
            }
            self.readers.iter_mut().for_each(Reader::restore);
        }
        Ok(())
    }

    /// Reads the children of those that ended again: they have another parent now.
    pub(super) fn read_orphans(&mut self, cancel: &Cancel) -> Result<()> {
        self.mark_orphans(cancel)?;
        self.read(cancel)
    }

    fn mark_orphans(&mut self, cancel: &Cancel) -> Result<()> {
        self.gone.clear();
        self.gone.extend(self.slots.iter().filter(|slot| slot.has_ended()).map(|slot| slot.pid));
        if self.gone.is_empty() {
            return Ok(());
        }
        for slot in &mut self.slots {
            cancel.check()?;
            if slot.is_known() && !slot.has_ended() && self.gone.binary_search(&slot.ppid).is_ok() {
                slot.ask(Task::Read);
            }
        }
        Ok(())
    }
}
