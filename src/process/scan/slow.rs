//! The work of the slow pool for a tick: due files, and where their contents go.

use std::sync::Arc;

use super::{Scan, ScanConfig};
use crate::process::config::Secret;
use crate::process::names::{Id, Names};
use crate::process::pulse::pulse;
use crate::process::slow::{Content, Job, Kind};
use crate::process::table::{Entry, Outcome, Selection, Slot, SlowFile};
use crate::process::{Fields, ProcessInfo, ProcessState};
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
                let entry = &mut *slot.entry;
                if !wanted.contains(field) || (kind == Kind::FdCount && !entry.slow.many_fds) {
                    continue;
                }
                let zombie = entry.sample.state == ProcessState::Zombie;
                if entry.sample.info.kernel_thread || (zombie && entry.sample.threads <= 1) {
                    without_memory(entry, fields, kind);
                    other = true;
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
                    let (budget, id, read_at) = (Arc::clone(&self.text_budget), entry.sample.id, file.read_at);
                    let held = entry.slow.release(kind);
                    jobs.push((read_at, Job { procfs, kind, id, ino, wanted, budget, held }));
                }
                let file = entry.slow.file(kind);
                // An older command line or environment is still that of this program; old memory is not that of now.
                let lasts = matches!(kind, Kind::Cmdline | Kind::Environ);
                if due && (file.stale || file.read_at.is_none() || !lasts) {
                    skip(entry, fields, kind);
                    other = true;
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
            let Some(slot) = slots.get_mut(at).filter(|slot| slot.entry.sample.id == answer.id) else { return };
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
    let entry = &mut *slot.entry;
    let user = names.get(Id::User(entry.sample.info.uid), now);
    let group = names.get(Id::Group(entry.sample.info.gid), now);
    slot.unnamed = user == Reading::Skipped || group == Reading::Skipped;
    if (&user, &group) == (&entry.sample.info.user, &entry.sample.info.group) {
        return false;
    }
    for info in std::iter::once(&mut entry.sample.info).chain(&mut entry.seen_info) {
        let info = Arc::make_mut(info);
        (info.user, info.group) = (user.clone(), group.clone());
    }
    true
}

/// Marks the fields that a kernel thread or a zombie has not, or no longer; known values are kept.
fn without_memory(entry: &mut Entry, fields: Fields, kind: Kind) {
    fn settle<T>(reading: &mut Reading<T>) {
        if reading.value().is_none() {
            *reading = Reading::NotApplicable;
        }
    }
    let sample = &mut entry.sample;
    match kind {
        Kind::Cmdline => {
            // Only where it is new: the info is shared with the samples yielded before.
            let unsettled =
                |info: &ProcessInfo| info.cmdline.value().is_none() && info.cmdline != Reading::NotApplicable;
            if let Some(seen) = entry.seen_info.as_mut().filter(|seen| unsettled(seen)) {
                settle(&mut Arc::make_mut(seen).cmdline);
            }
            if (fields.contains(Fields::CMDLINE) || entry.seen_info.is_none()) && unsettled(&sample.info) {
                settle(&mut Arc::make_mut(&mut sample.info).cmdline);
            }
        }
        Kind::Environ => settle(&mut sample.environ),
        Kind::SmapsRollup => sample.smaps_rollup = Reading::NotApplicable,
        Kind::FdCount => {}
    }
}

/// Marks a file as due and not reached: overwritten as soon as it is.
fn skip(entry: &mut Entry, fields: Fields, kind: Kind) {
    match kind {
        Kind::Cmdline => {
            if let Some(seen) = &mut entry.seen_info {
                Arc::make_mut(seen).cmdline = Reading::Skipped;
            }
            if fields.contains(Fields::CMDLINE) && entry.sample.info.cmdline != Reading::Skipped {
                Arc::make_mut(&mut entry.sample.info).cmdline = Reading::Skipped;
            }
        }
        Kind::Environ => entry.sample.environ = Reading::Skipped,
        Kind::SmapsRollup => entry.sample.smaps_rollup = Reading::Skipped,
        Kind::FdCount => entry.sample.fd_count = Reading::Skipped,
    }
}

/// Puts the content into a slot; returns whether the selection may see it differently.
fn put(slot: &mut Slot, content: Content, config: &ScanConfig) -> bool {
    let (entry, fields) = (&mut *slot.entry, config.asked.fields);
    let id = entry.sample.id;
    let redact = |mut secret: Secret<'_>| {
        if let Some(redact) = &config.asked.redact {
            redact(id, &mut secret);
        }
    };
    match content {
        Content::Gone => false,
        Content::SmapsRollup(rollup) => {
            entry.sample.smaps_rollup = rollup;
            false
        }
        Content::FdCount(count) => {
            // Else the tick itself has counted them since.
            if entry.slow.many_fds {
                entry.sample.fd_count = count;
            }
            false
        }
        Content::Environ(environ) => {
            entry.sample.environ = environ.map(|mut environ| {
                redact(Secret::Environ(&mut environ));
                Arc::new(environ)
            });
            false
        }
        Content::Cmdline(cmdline) => {
            if config.own_view {
                let seen = ProcessInfo { cmdline: cmdline.clone(), ..(*entry.sample.info).clone() };
                entry.seen_info = Some(Arc::new(seen));
            }
            if fields.contains(Fields::CMDLINE) {
                Arc::make_mut(&mut entry.sample.info).cmdline = cmdline.map(|mut arguments| {
                    redact(Secret::Cmdline(&mut arguments));
                    arguments
                });
            }
            true
        }
    }
}
