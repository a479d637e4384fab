//! The work of the slow pool for a tick: due files, and where their contents go.

use std::sync::Arc;

use super::{Scan, ScanConfig};
use crate::process::config::Secret;
use crate::process::names::{Id, Names};
use crate::process::pulse::pulse;
use crate::process::slow::{Content, Job, Kind};
use crate::process::table::{Entry, Outcome, Selection, Slot, SlowFile};
use crate::process::{Fields, ProcessData, ProcessInfo, ProcessState};
use crate::time::Deadline;
use crate::{Cancel, Monotonic, Reading, Result};

impl Scan {
    /// Queues the slow files that are due, and names.
    pub(super) fn ask_slow(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let (fields, cadence) = (self.config.asked.fields, self.config.asked.slow.cadence);
        let mut jobs: Vec<(Option<Monotonic>, Job)> = Vec::new();
        if !self.gone.is_empty() {
            // Where everything is held up, the queue holds no more jobs than there are live processes.
            let gone = &self.gone;
            self.slow_pool.forget(|job| gone.binary_search(&job.id.pid).is_ok());
        }
        self.text_budget.share_among(self.slots.len());
        let any_slow = (fields | self.facts).intersects(Fields::SLOW | Fields::FD_COUNT);
        for slot in self.slots.iter_mut().filter(|slot| any_slow || slot.unnamed) {
            cancel.check()?;
            let wanted = match slot.selection {
                Selection::Selected => fields | self.facts,
                Selection::Unselected(_) if slot.outcome == Outcome::Same && slot.is_known() => continue,
                _ => self.facts,
            };
            if !slot.is_known() || slot.outcome == Outcome::Gone {
                continue;
            }
            let mut other = slot.unnamed && wanted.contains(Fields::USER) && name(slot, &mut self.names, now);
            let ran = slot.outcome != Outcome::Same;
            for (field, kind) in [
                (Fields::CMDLINE, Kind::Cmdline),
                (Fields::ENVIRON, Kind::Environ),
                (Fields::SMAPS_ROLLUP, Kind::SmapsRollup),
                (Fields::FD_COUNT, Kind::FdCount),
            ] {
                let (data, entry) = (&mut slot.data, &mut *slot.entry);
                if !wanted.contains(field) || (kind == Kind::FdCount && !entry.slow.many_fds) {
                    continue;
                }
                let zombie = data.state == ProcessState::Zombie;
                if data.info.kernel_thread || (zombie && data.threads <= 1) {
                    other |= without_memory(data, entry, fields, kind);
                    continue;
                }
                let file = entry.slow.file(kind);
                file.ran |= ran;
                let age = file.read_at.and_then(|at| now.since(at));
                let due = file.stale || age.is_none_or(|age| file.ran && age >= cadence);
                if due && !file.asked {
                    file.asked = true;
                    let (procfs, ino) = (self.procfs.clone(), entry.owner.ino);
                    let wanted = Arc::downgrade(&self.alive);
                    let (budget, id, read_at) = (Arc::clone(&self.text_budget), data.id, file.read_at);
                    let held = entry.slow.release(kind);
                    jobs.push((read_at, Job { procfs, kind, id, ino, wanted, budget, held }));
                }
                let file = entry.slow.file(kind);
                // An older command line or environment is still that of this program; old memory is not that of now.
                let lasts = matches!(kind, Kind::Cmdline | Kind::Environ);
                if due && (file.stale || file.read_at.is_none() || !lasts) {
                    other |= skip(data, entry, fields, kind);
                }
            }
            if other {
                slot.count_missing_fields();
            }
        }
        // The files read longest ago come first.
        jobs.sort_by_key(|(read_at, _)| *read_at);
        self.slow_pool.give(jobs.into_iter().map(|(_, job)| job));
        Ok(())
    }

    /// Takes the results of the slow pool, waiting until `deadline` at most.
    pub(super) fn take_slow(&mut self, now: Monotonic, deadline: Deadline, cancel: &Cancel) -> Result<()> {
        let (slots, config, has_pulse) = (&mut self.slots, &self.config, self.procfs.has_pulse());
        self.slow_pool.take(deadline, cancel, |answer| {
            let Ok(at) = slots.binary_search_by_key(&answer.id.pid, |slot| slot.pid) else { return };
            let Some(slot) = slots.get_mut(at).filter(|slot| slot.data.id == answer.id) else { return };
            if matches!(answer.content, Content::Gone) && has_pulse && pulse(slot.pid).is_none() {
                // It ended since it was read: its sample would only half be there.
                slot.outcome = Outcome::Gone;
                return;
            }
            let file = slot.entry.slow.file(answer.kind);
            *file = if answer.content.is_missed() {
                SlowFile { asked: false, stale: true, ..*file }
            } else {
                SlowFile { asked: false, ran: false, stale: false, read_at: Some(now) }
            };
            slot.entry.slow.hold(answer.kind, answer.held);
            if put(slot, answer.content, config) && slot.outcome == Outcome::Same {
                slot.outcome = Outcome::Changed;
            }
            slot.count_missing_fields();
        });
        self.pid_files.wait(deadline, cancel);
        if self.names.wait(deadline, cancel, now) {
            for slot in self.slots.iter_mut().filter(|slot| slot.unnamed) {
                cancel.check()?;
                if name(slot, &mut self.names, now) {
                    slot.count_missing_fields();
                    if slot.outcome == Outcome::Same {
                        slot.outcome = Outcome::Changed;
                    }
                }
            }
        }
        cancel.check()
    }
}

/// Puts the names of its user and group into a slot, as far as they are known; returns whether that changed anything.
fn name(slot: &mut Slot, names: &mut Names, now: Monotonic) -> bool {
    let user = names.get(Id::User(slot.data.info.uid), now);
    let group = names.get(Id::Group(slot.data.info.gid), now);
    slot.unnamed = user == Reading::Skipped || group == Reading::Skipped;
    if (&user, &group) == (&slot.data.info.user, &slot.data.info.group) {
        return false;
    }
    let (data, entry) = slot.parts_mut();
    for info in std::iter::once(&mut data.info).chain(&mut entry.seen_info) {
        let info = Arc::make_mut(info);
        (info.user, info.group) = (user.clone(), group.clone());
    }
    true
}

/// Marks the fields that a kernel thread or a zombie has not, or no longer; known values are kept. Returns whether anything changed: what
/// the samples share is copied only then.
fn without_memory(data: &mut Arc<ProcessData>, entry: &mut Entry, fields: Fields, kind: Kind) -> bool {
    fn is_unsettled<T: PartialEq>(reading: &Reading<T>) -> bool {
        reading.value().is_none() && *reading != Reading::NotApplicable
    }
    match kind {
        Kind::Cmdline => {
            if let Some(seen) = entry.seen_info.as_mut().filter(|seen| is_unsettled(&seen.cmdline)) {
                Arc::make_mut(seen).cmdline = Reading::NotApplicable;
            }
            let is_new =
                (fields.contains(Fields::CMDLINE) || entry.seen_info.is_none()) && is_unsettled(&data.info.cmdline);
            if is_new {
                Arc::make_mut(&mut Arc::make_mut(data).info).cmdline = Reading::NotApplicable;
            }
            is_new
        }
        Kind::Environ => {
            let is_new = is_unsettled(&data.environ);
            if is_new {
                Arc::make_mut(data).environ = Reading::NotApplicable;
            }
            is_new
        }
        Kind::SmapsRollup => {
            let is_new = data.smaps_rollup != Reading::NotApplicable;
            if is_new {
                Arc::make_mut(data).smaps_rollup = Reading::NotApplicable;
            }
            is_new
        }
        Kind::FdCount => false,
    }
}

/// Marks a file as due and not reached: overwritten as soon as it is. Returns whether anything changed.
fn skip(data: &mut Arc<ProcessData>, entry: &mut Entry, fields: Fields, kind: Kind) -> bool {
    let is_skipped = match kind {
        Kind::Cmdline => {
            if let Some(seen) = entry.seen_info.as_mut().filter(|seen| seen.cmdline != Reading::Skipped) {
                Arc::make_mut(seen).cmdline = Reading::Skipped;
            }
            !fields.contains(Fields::CMDLINE) || data.info.cmdline == Reading::Skipped
        }
        Kind::Environ => data.environ == Reading::Skipped,
        Kind::SmapsRollup => data.smaps_rollup == Reading::Skipped,
        Kind::FdCount => data.fd_count == Reading::Skipped,
    };
    if is_skipped {
        return false;
    }
    let data = Arc::make_mut(data);
    match kind {
        Kind::Cmdline => Arc::make_mut(&mut data.info).cmdline = Reading::Skipped,
        Kind::Environ => data.environ = Reading::Skipped,
        Kind::SmapsRollup => data.smaps_rollup = Reading::Skipped,
        Kind::FdCount => data.fd_count = Reading::Skipped,
    }
    true
}

/// Puts the content into a slot; returns whether the selection may see it differently.
fn put(slot: &mut Slot, content: Content, config: &ScanConfig) -> bool {
    if matches!(content, Content::Gone) {
        return false;
    }
    let fields = config.asked.fields;
    let (data, entry) = slot.parts_mut();
    let id = data.id;
    let redact = |mut secret: Secret<'_>| {
        if let Some(redact) = &config.asked.redact {
            redact(id, &mut secret);
        }
    };
    match content {
        Content::Gone => false,
        Content::SmapsRollup(rollup) => {
            data.smaps_rollup = rollup;
            false
        }
        Content::FdCount(count) => {
            // Else the tick itself has counted them since.
            if entry.slow.many_fds {
                data.fd_count = count;
            }
            false
        }
        Content::Environ(environ) => {
            data.environ = environ.map(|mut environ| {
                redact(Secret::Environ(&mut environ));
                Arc::new(environ)
            });
            false
        }
        Content::Cmdline(cmdline) => {
            if config.own_view {
                let seen = ProcessInfo { cmdline: cmdline.clone(), ..(*data.info).clone() };
                entry.seen_info = Some(Arc::new(seen));
            }
            if fields.contains(Fields::CMDLINE) {
                Arc::make_mut(&mut data.info).cmdline = cmdline.map(|mut arguments| {
                    redact(Secret::Cmdline(&mut arguments));
                    arguments
                });
            }
            true
        }
    }
}
