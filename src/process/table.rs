//! The processes a source knows, and what it keeps of each.

use std::sync::Arc;
use std::time::Duration;

use super::descriptors::Kept;
use super::file::Owner;
use super::select::Verdict;
use super::slow::Kind;
use super::text_budget::Held;
use super::{ProcessInfo, ProcessSample};
use crate::{Monotonic, Reading};

/// The longest rest of a process that is not selected, in ticks.
const LONGEST_BACKOFF: u64 = 32;

/// One process: what every tick looks at, and a box of the rest.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) pid: u32,
    pub(crate) selection: Selection,
    pub(crate) task: Task,
    pub(crate) outcome: Outcome,
    /// The CPU clock when its files were last read.
    pub(crate) pulse: u64,
    /// As of when its counters are known, and when its files were last read. Beside the pulse, so that what stands still
    /// costs no look at the rest.
    pub(crate) at: Monotonic,
    pub(crate) read_at: Monotonic,
    /// It ran since its owner was asked for.
    pub(crate) owner_unsure: bool,
    /// The tick in which it was last read because it ran.
    pub(crate) ran_at_tick: u64,
    /// Up to which tick, and up to when, one that is not selected is left alone.
    pub(crate) backoff_until_tick: u64,
    pub(crate) backoff_until: Monotonic,
    /// What was read of it last has not been decided about.
    pub(crate) undecided: bool,
    /// It decides about others, so it does not rest.
    pub(crate) pinned: bool,
    /// Names of its user and group are to be asked for.
    pub(crate) unnamed: bool,
    /// It was a zombie when it was last read, and not only its main thread.
    pub(crate) zombie: bool,
    /// How many fields of its sample are missing though they were asked for. Beside the pulse too: most have none.
    pub(crate) missing_fields: u64,
    /// The tick of the last listing that had it.
    pub(crate) listed: u64,
    pub(crate) entry: Box<Entry>,
}

/// Whether a process is in the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Not decided yet: new, or what decides it was not reached.
    Unknown,
    Selected,
    Unselected,
}

/// What this tick does about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Nothing, or nothing more.
    Rest,
    /// Take its pulse, and read it if it ran.
    Check,
    /// Read its counters; where it stood still, only what can change all the same.
    Read,
    /// The same, and its info.
    Renew,
    /// Read everything.
    ReadAll,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It stood still, or was not looked at.
    Same,
    /// It was read.
    Read,
    /// It was read, and what decides about its selection is new.
    Changed,
    /// It ended.
    Gone,
    /// It is there and cannot be seen.
    Hidden,
    Denied,
    Malformed,
    Failed,
}

/// What is kept of a process.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// As it was last read; copied to every snapshot, with the slot's `at`.
    pub(crate) sample: ProcessSample,
    /// The info a selection sees, where it differs from the sample's: with a command line that is not in the samples, or
    /// not yet redacted.
    pub(crate) seen_info: Option<Arc<ProcessInfo>>,
    /// Owner and inode number of its directory.
    pub(crate) owner: Owner,
    pub(crate) marks: Marks,
    pub(crate) comm: Comm,
    /// What a selection over trees decided about it last.
    pub(crate) verdict: Verdict,
    /// Whether any reading has succeeded.
    pub(crate) known: bool,
    pub(crate) kept: Kept,
    /// How many ticks the next rest is.
    pub(crate) backoff_ticks: u64,
    pub(crate) slow: Slow,
    /// It ran since its links and its control group were read.
    pub(crate) moved: bool,
    /// How many readings until its owner is asked for again.
    owner_in: u8,
}

/// Every how many readings of a process that runs its owner is asked for. A change of user without an `execve(2)` is
/// rare, and asking costs a fifth of a reading.
const OWNER_EVERY: u8 = 16;

impl Entry {
    /// Whether the owner is to be asked for at this reading.
    pub(crate) fn owner_is_due(&mut self) -> bool {
        let due = self.owner_in == 0;
        self.owner_in = if due { OWNER_EVERY - 1 } else { self.owner_in.saturating_sub(1) };
        due
    }

    /// The info a selection sees.
    pub(crate) fn info(&self) -> &ProcessInfo {
        self.seen_info.as_deref().unwrap_or(&self.sample.info)
    }
}

/// Addresses that tell of an `execve(2)`: another program has other ones, the same program too where they are random.
/// 0 or 1 for a reader that may not trace the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) start_code: u64,
    pub(crate) start_stack: u64,
}

impl Marks {
    /// Whether the process has memory, and we have the right to know.
    pub(crate) fn are_known(self) -> bool {
        self.start_stack > 1
    }
}

/// A command name, to see whether it changed: beside the counters, where the info's own is two steps in memory away. As
/// long as a kernel thread's can be.
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
    /// What its command line and its environment take of the budget.
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
    /// Keeps what a text takes of the budget as long as the text, in place of the text before it.
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
    /// What was read is of another program, or was not read at all.
    pub(crate) stale: bool,
}

impl Slot {
    pub(crate) fn new(pid: u32) -> Self {
        Self {
            pid,
            selection: Selection::Unknown,
            task: Task::ReadAll,
            outcome: Outcome::Same,
            pulse: 0,
            at: Monotonic::default(),
            read_at: Monotonic::default(),
            owner_unsure: false,
            ran_at_tick: 0,
            backoff_until_tick: 0,
            backoff_until: Monotonic::default(),
            undecided: false,
            pinned: false,
            unnamed: false,
            zombie: false,
            missing_fields: 0,
            listed: 0,
            entry: Box::default(),
        }
    }

    /// The sample of this tick.
    pub(crate) fn sample(&self) -> ProcessSample {
        ProcessSample { at: self.at, ..self.entry.sample.clone() }
    }

    /// Its sample has other readings now.
    pub(crate) fn count_missing_fields(&mut self) {
        self.missing_fields = self.entry.sample.missing_fields();
    }

    /// Asks for at least this to be done in this tick.
    pub(crate) fn ask(&mut self, task: Task) {
        self.task = self.task.max(task);
    }

    /// Whether this tick saw it end: gone, or a zombie by now, which has no children any more.
    pub(crate) fn has_ended(&self) -> bool {
        match self.outcome {
            Outcome::Gone => true,
            Outcome::Read | Outcome::Changed => self.zombie,
            _ => false,
        }
    }

    /// One that is not selected was looked at: leave it alone for twice as long as before.
    pub(crate) fn rest(&mut self, tick: u64, now: Monotonic, recheck: Duration) {
        if self.selection == Selection::Selected || self.pinned {
            return;
        }
        let rest = self.entry.backoff_ticks.saturating_mul(2).clamp(1, LONGEST_BACKOFF);
        self.entry.backoff_ticks = rest;
        self.backoff_until_tick = tick.saturating_add(rest);
        self.backoff_until = now.plus(recheck);
    }
}

/// Forgets what a process had that is not in the samples any more, so that nothing old is shown when it comes back.
pub(crate) fn forget_counters(sample: &mut ProcessSample) {
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
