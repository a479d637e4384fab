//! The processes known to a source, and the state it keeps of each.

use std::sync::Arc;
use std::time::Duration;

use super::descriptors::Kept;
use super::file::Owner;
use super::select::Verdict;
use super::slow::Kind;
use super::text_budget::Held;
use super::{Cpu, ExitStatus, Faults, ProcessData, ProcessId, ProcessInfo, ProcessSample, ProcessState};
use crate::{Monotonic, Reading};

/// One process: the fields that every tick needs, and a box of the rest, which is not touched for a process that did not run.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) pid: u32,
    pub(crate) selection: Selection,
    pub(crate) task: Task,
    pub(crate) outcome: Outcome,
    /// The CPU clock when its files were last read, and when its owner was last read: where they differ it ran since.
    pub(crate) pulse: u64,
    pub(crate) owner_pulse: u64,
    /// As of when its counters are known.
    pub(crate) at: Monotonic,
    /// As it was last read: shared with the samples of every tick until it is read again.
    pub(crate) data: Arc<ProcessData>,
    /// When its files were last read; `None` while nothing is known of it.
    pub(crate) read_at: Option<Monotonic>,
    /// The tick in which it was last read because it ran.
    pub(crate) ran_at_tick: u64,
    /// The tick of the last listing that had it.
    pub(crate) listed: u64,
    /// The number of requested fields that are missing in its sample: most have none.
    pub(crate) missing_fields: u64,
    /// Names of its user and group are to be resolved.
    pub(crate) unnamed: bool,
    /// Its parent, and whether it was a zombie, and not only its main thread: as of when it was last read.
    pub(crate) ppid: u32,
    pub(crate) zombie: bool,
    /// It waited for a child since this flag was last taken.
    pub(crate) waited: bool,
    /// It was not known before this tick.
    pub(crate) is_new: bool,
    /// The process that had its pid before, where it was known and is gone.
    pub(crate) replaced: Option<Box<Replaced>>,
    pub(crate) entry: Box<Entry>,
}

/// A process that ended, and whose pid another one has by now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub(crate) id: ProcessId,
    pub(crate) ppid: u32,
    /// How it ended, as [`Entry::end`].
    pub(crate) end: Reading<ExitStatus>,
}

/// Whether a process is in the samples; one that is not is checked at intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Not decided yet: new, or the fields that decide it were not reached.
    Unknown(Rest),
    Selected,
    Unselected(Rest),
}

/// When a process that is not in the samples is checked again, unless something may have happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// At every tick: its end or change shows in the samples of others.
    Never,
    /// At this tick or this instant, whichever comes first; and the length of this interval in ticks.
    Until { tick: u64, at: Monotonic, ticks: u8 },
}

impl Rest {
    /// Checked at the next tick, and before any interval.
    pub(crate) const OVER: Self = Self::Until { tick: 0, at: Monotonic::from_nanos(0), ticks: 0 };

    /// The longest, in ticks.
    const LONGEST: u8 = 32;
}

/// The work of this tick for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Nothing, or nothing more.
    Rest,
    /// Take its pulse, and read it if it ran.
    Check,
    /// Read its counters; if it did not run, only the fields that can change nevertheless.
    Read,
    /// The same, and its info.
    Renew,
    /// Read everything.
    ReadAll,
}

/// The outcome of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did not run, or was not checked.
    Same,
    /// It was read.
    Read,
    /// It was read, and a field that decides about its selection is new.
    Changed,
    /// It ended.
    Gone,
    /// It is there and cannot be seen.
    Hidden,
    Denied,
    Malformed,
    Failed,
}

/// The state kept of a process.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The info a selection sees, where it differs from the sample's: with a command line that is not in the samples, or
    /// not yet redacted.
    pub(crate) seen_info: Option<Arc<ProcessInfo>>,
    /// Owner and inode number of its directory.
    pub(crate) owner: Owner,
    pub(crate) marks: Marks,
    pub(crate) comm: Comm,
    /// The last decision of a selection over trees about it.
    pub(crate) verdict: Verdict,
    pub(crate) kept: Kept,
    pub(crate) slow: Slow,
    /// The page faults of the children it waited for.
    pub(crate) children_faults: Faults,
    /// How it ended, once it was read after that; not requested before.
    pub(crate) end: Reading<ExitStatus>,
    /// Whether its control group is one of the unified hierarchy.
    pub(crate) cgroup_is_unified: bool,
    /// The CPU clock when its links and its control group were last read.
    pub(crate) links_pulse: u64,
    /// How many readings until its owner is read again.
    owner_in: u8,
}

/// Every how many readings of a process that runs its owner is read. A change of user without an `execve(2)` is rare, and the call costs a
/// fifth of a reading.
const OWNER_EVERY: u8 = 16;

impl Entry {
    /// Returns whether the owner is to be read at this reading.
    pub(crate) fn owner_is_due(&mut self) -> bool {
        let due = self.owner_in == 0;
        self.owner_in = if due { OWNER_EVERY - 1 } else { self.owner_in.saturating_sub(1) };
        due
    }
}

/// The page faults and the CPU time of children.
pub(crate) type FromChildren = (Faults, u64, u64);

/// Addresses that reveal an `execve(2)`: another program has other ones, the same program too where they are random. 0 or 1 for a reader
/// that may not trace the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) start_code: u64,
    pub(crate) start_stack: u64,
}

impl Marks {
    /// Whether the process has memory, and the reader has the right to see its addresses.
    pub(crate) fn are_known(self) -> bool {
        self.start_stack > 1
    }
}

/// A command name, to see whether it changed: kept next to the counters, where the info's own is two steps in memory away. As long as a
/// kernel thread's can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comm {
    bytes: [u8; 63],
    len: u8,
}

impl Comm {
    pub(crate) fn new(name: &[u8]) -> Self {
        let mut comm = Self { bytes: [0; 63], len: u8::try_from(name.len()).unwrap_or(u8::MAX) };
        for (byte, of_name) in comm.bytes.iter_mut().zip(name) {
            *byte = *of_name;
        }
        comm
    }
}

impl Default for Comm {
    fn default() -> Self {
        Self::new(b"")
    }
}

/// The state of the files of the slow pool.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    pub(crate) cmdline: SlowFile,
    pub(crate) environ: SlowFile,
    pub(crate) smaps_rollup: SlowFile,
    pub(crate) fd_count: SlowFile,
    /// Its descriptors are too many to be counted within the tick.
    pub(crate) many_fds: bool,
    /// The parts of the budget that its command line and its environment take.
    held: [Option<Held>; 2],
}

impl Slow {
    pub(crate) fn file(&mut self, kind: Kind) -> &mut SlowFile {
        match kind {
            Kind::Cmdline => &mut self.cmdline,
            Kind::Environ => &mut self.environ,
            Kind::SmapsRollup => &mut self.smaps_rollup,
            Kind::FdCount => &mut self.fd_count,
        }
    }
}

impl Slow {
    /// Returns the part of the budget that the present text takes, for the job that reads it again.
    pub(crate) fn release(&mut self, kind: Kind) -> Option<Held> {
        let [cmdline, environ] = &mut self.held;
        match kind {
            Kind::Cmdline => cmdline.take(),
            Kind::Environ => environ.take(),
            Kind::SmapsRollup | Kind::FdCount => None,
        }
    }

    /// Keeps a text's part of the budget as long as the text, in place of that of the text before it.
    pub(crate) fn hold(&mut self, kind: Kind, held: Option<Held>) {
        let [cmdline, environ] = &mut self.held;
        match kind {
            Kind::Cmdline => *cmdline = held,
            Kind::Environ => *environ = held,
            Kind::SmapsRollup | Kind::FdCount => {}
        }
    }
}

/// One file of the slow pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlowFile {
    /// A job is on its way.
    pub(crate) asked: bool,
    pub(crate) read_at: Option<Monotonic>,
    /// The process ran since.
    pub(crate) ran: bool,
    /// The content is of another program, or was not read at all.
    pub(crate) stale: bool,
}

impl Slot {
    pub(crate) fn new(pid: u32, selection: Selection) -> Self {
        Self {
            pid,
            selection,
            task: Task::ReadAll,
            outcome: Outcome::Same,
            pulse: 0,
            owner_pulse: 0,
            at: Monotonic::default(),
            data: Arc::default(),
            read_at: None,
            ran_at_tick: 0,
            listed: 0,
            missing_fields: 0,
            unnamed: false,
            ppid: 0,
            zombie: false,
            waited: false,
            is_new: false,
            replaced: None,
            entry: Box::default(),
        }
    }

    /// Whether any reading of it has succeeded.
    pub(crate) fn is_known(&self) -> bool {
        self.read_at.is_some()
    }

    /// Whether it was there, and its end is known.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_known() && self.outcome == Outcome::Gone
    }

    pub(crate) fn is_selected(&self) -> bool {
        self.selection == Selection::Selected
    }

    /// The sample of this tick.
    pub(crate) fn sample(&self) -> ProcessSample {
        ProcessSample { data: Arc::clone(&self.data), at: self.at }
    }

    /// What it got of the children it waited for. The faults move with each of those; CPU time moves with whole ticks of it, and alone where
    /// a child shared the memory of its parent.
    pub(crate) fn children_usage(&self) -> FromChildren {
        let Cpu { children_user_ns, children_system_ns, .. } = self.data.cpu;
        (self.entry.children_faults, children_user_ns, children_system_ns)
    }

    /// The info a selection sees.
    pub(crate) fn info(&self) -> &ProcessInfo {
        self.entry.seen_info.as_deref().unwrap_or(&self.data.info)
    }

    /// What is kept of it, both parts to be changed. What the samples of earlier ticks share is copied.
    pub(crate) fn parts_mut(&mut self) -> (&mut ProcessData, &mut Entry) {
        (Arc::make_mut(&mut self.data), &mut self.entry)
    }

    /// Stores a reading: the fields that every step needs are outside of the box. `children` is what it had of those it waited for before.
    pub(crate) fn was_read(&mut self, at: Monotonic, children: FromChildren) {
        self.is_new |= !self.is_known();
        (self.at, self.read_at) = (at, Some(at));
        let sample = &*self.data;
        self.ppid = sample.ppid;
        self.zombie = sample.state == ProcessState::Zombie && sample.threads <= 1;
        self.waited |= self.children_usage() != children;
    }

    /// Its sample has other readings now.
    pub(crate) fn count_missing_fields(&mut self) {
        self.missing_fields = self.data.missing_fields();
    }

    /// Asks for at least this to be done in this tick.
    pub(crate) fn ask(&mut self, task: Task) {
        self.task = self.task.max(task);
    }

    /// Whether this tick saw it end: gone, or a zombie by now, and not only its main thread, which has no children any more.
    pub(crate) fn has_ended(&self) -> bool {
        match self.outcome {
            Outcome::Gone => true,
            Outcome::Read | Outcome::Changed => self.zombie,
            _ => false,
        }
    }

    /// Nothing is known of it any more, or it is another process by now.
    pub(crate) fn forget(&mut self, selection: Selection) {
        self.waited = false;
        *self.entry = Entry::default();
        self.data = Arc::default();
        self.read_at = None;
        self.selection = selection;
    }

    /// Stores the decision about it.
    pub(crate) fn decide(&mut self, selected: Option<bool>) {
        let rest = match self.selection {
            Selection::Unknown(rest) | Selection::Unselected(rest) => rest,
            Selection::Selected => Rest::OVER,
        };
        self.selection = match selected {
            Some(true) => Selection::Selected,
            Some(false) => Selection::Unselected(rest),
            None => Selection::Unknown(rest),
        };
    }

    fn rest_mut(&mut self) -> Option<&mut Rest> {
        match &mut self.selection {
            Selection::Unknown(rest) | Selection::Unselected(rest) => Some(rest),
            Selection::Selected => None,
        }
    }

    /// Whether it is left alone at this tick.
    pub(crate) fn rests(&self, tick: u64, now: Monotonic) -> bool {
        match self.selection {
            Selection::Unknown(Rest::Until { tick: until, at, .. })
            | Selection::Unselected(Rest::Until { tick: until, at, .. }) => tick < until && now < at,
            _ => false,
        }
    }

    /// It was checked: where it is not selected, the next check is after twice as long an interval.
    pub(crate) fn rest(&mut self, tick: u64, now: Monotonic, recheck: Duration) {
        if let Some(Rest::Until { tick: until, at, ticks }) = self.rest_mut() {
            *ticks = ticks.saturating_mul(2).clamp(1, Rest::LONGEST);
            *until = tick.saturating_add((*ticks).into());
            *at = now.plus(recheck);
        }
    }

    /// Makes its intervals as short as those of a new one.
    pub(crate) fn rest_shortly(&mut self) {
        if let Some(Rest::Until { ticks, .. }) = self.rest_mut() {
            *ticks = 0;
        }
    }

    /// Sets whether it is checked at every tick while it is not selected.
    pub(crate) fn pin(&mut self, pinned: bool) {
        match self.rest_mut() {
            Some(rest) if pinned => *rest = Rest::Never,
            Some(rest @ Rest::Never) => *rest = Rest::OVER,
            _ => {}
        }
    }
}

/// Clears the counters of a process that is not in the samples any more, so that nothing old is shown when it comes back.
pub(crate) fn forget_counters(sample: &mut ProcessData) {
    sample.io = Reading::NotRequested;
    sample.stat = Reading::NotRequested;
    sample.status = Reading::NotRequested;
    sample.statm = Reading::NotRequested;
    sample.schedstat = Reading::NotRequested;
    sample.smaps_rollup = Reading::NotRequested;
    sample.limits = Reading::NotRequested;
    sample.fd_count = Reading::NotRequested;
    sample.namespaces = Reading::NotRequested;
    sample.oom = Reading::NotRequested;
    sample.environ = Reading::NotRequested;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unselected_process_is_checked_less_often_each_time() {
        let (now, recheck) = (Monotonic::from_nanos(1_000_000_000), Duration::from_secs(15));
        let mut slot = Slot::new(7, Selection::Unknown(Rest::OVER));
        let mut tick = 10;
        let mut rests = Vec::new();
        for _ in 0..8 {
            slot.rest(tick, now, recheck);
            let until = (tick..).find(|tick| !slot.rests(*tick, now)).unwrap();
            rests.push(until - tick);
            tick = until;
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 32, 32]);
        slot.rest(tick, now, recheck);
        assert!(!slot.rests(tick, now.plus(recheck)), "at the latest after that time");
        // A decision changes no interval; a selected process has none, and begins with a short one.
        slot.decide(Some(false));
        assert!(slot.rests(tick, now));
        slot.decide(Some(true));
        slot.rest(tick, now, recheck);
        assert!(!slot.rests(tick, now));
        slot.decide(None);
        slot.rest(tick, now, recheck);
        assert!(slot.rests(tick, now) && !slot.rests(tick + 1, now));
        // A process that others depend on is always checked, and has a short interval afterwards.
        slot.pin(true);
        slot.rest(tick, now, recheck);
        assert!(!slot.rests(tick, now));
        slot.pin(false);
        slot.rest(tick, now, recheck);
        assert!(slot.rests(tick, now) && !slot.rests(tick + 1, now));
    }
}
