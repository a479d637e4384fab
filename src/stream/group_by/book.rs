//! The book of one process: what of it is credited, and what its children brought it.

use std::sync::Arc;

use crate::process::{Io, ProcessId, ProcessInfo, ProcessState};
use crate::time::{clock_ticks_per_second, ticks_to_nanos};
use crate::{Monotonic, ProcessSample, Reading, Reaper};

/// How many counters are kept account of.
const COUNTERS: usize = 12;

pub(super) const TOTAL: usize = 0;
pub(super) const USER: usize = 1;
pub(super) const SYSTEM: usize = 2;
pub(super) const MINOR: usize = 3;
pub(super) const MAJOR: usize = 4;
/// The first of the seven counters of I/O.
const IO: usize = 5;

/// A value for each counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(pub(super) [u64; COUNTERS]);

impl Counts {
    pub(super) fn get(&self, counter: usize) -> u64 {
        self.0.get(counter).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, counter: usize, value: u64) {
        if let Some(place) = self.0.get_mut(counter) {
            *place = value;
        }
    }

    pub(super) fn add_to(&mut self, counter: usize, more: u64) {
        self.set(counter, self.get(counter).saturating_add(more));
    }

    pub(super) fn take_from(&mut self, counter: usize, less: u64) {
        self.set(counter, self.get(counter).saturating_sub(less));
    }

    pub(super) fn add(&mut self, more: &Self) {
        for (sum, more) in self.0.iter_mut().zip(more.0) {
            *sum = sum.saturating_add(more);
        }
    }

    pub(super) fn subtract(&mut self, less: &Self) {
        for (left, less) in self.0.iter_mut().zip(less.0) {
            *left = left.saturating_sub(less);
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; COUNTERS]
    }

    /// The numbers of all counters.
    pub(super) fn counters() -> std::ops::Range<usize> {
        0..COUNTERS
    }

    /// Whether a counter is one of I/O.
    pub(super) fn is_io(counter: usize) -> bool {
        counter >= IO
    }

    /// The counters of I/O, in the kernel's order.
    pub(super) fn io(&self) -> Io {
        let mut io = Io::NOTHING;
        for (field, counter) in fields(&mut io).into_iter().zip(IO..) {
            *field = Some(self.get(counter));
        }
        io
    }
}

fn fields(io: &mut Io) -> [&mut Option<u64>; 7] {
    [
        &mut io.read_chars,
        &mut io.write_chars,
        &mut io.read_syscalls,
        &mut io.write_syscalls,
        &mut io.read_bytes,
        &mut io.write_bytes,
        &mut io.cancelled_write_bytes,
    ]
}

/// What is kept of a process: what every tick looks at, and a box of the rest.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) id: ProcessId,
    /// The tick it was last seen at.
    pub(super) seen: u64,
    /// As of when it was read, and its CPU clock then.
    pub(super) read_at: Monotonic,
    pub(super) total_ns: u64,
    pub(super) info: Arc<ProcessInfo>,
    pub(super) ppid: u32,
    pub(super) group: Option<u32>,
    /// It has something to settle, though nothing of it changed.
    pub(super) open: bool,
    /// Its group is to be asked for.
    pub(super) is_news: bool,
    pub(super) io_unknown: bool,
    /// It ended, and is there until somebody waits for it.
    pub(super) is_zombie: bool,
    /// Its parent ended since, and `parent` is that one's most likely heir.
    pub(super) is_orphan: bool,
    /// The parent, as of when it was last seen.
    pub(super) parent: Option<ProcessId>,
    accounts: Box<Accounts>,
}

/// The accounts of a process.
///
/// What its children brought it is one equation of absolute numbers: what the kernel shows, less what is accounted for. So no error
/// of rounding adds up over its life.
#[derive(Debug, Default)]
struct Accounts {
    /// What it used itself, as of when it was last seen.
    own: Counts,
    /// What came to it from its children; for I/O its own counters, in which theirs are.
    children: Counts,
    /// Of which of `children` it is known what was there when counting began, and which were ever read; a bit each.
    begun: u16,
    known: u16,
    /// What of `children` is accounted for: what was there when counting began, what was credited for children that ended, and what
    /// was credited to a group because nobody else had it.
    accounted: Counts,
    /// What was there to be credited at the last tick, where that waits for a tick.
    held: Counts,
    /// What was credited at the last two ticks beyond what was seen of children: what a child brought that is seen to be gone only
    /// later.
    recent: [Counts; 2],
    /// What was accounted for since all had come that was accounted for: what may never come.
    doubtful: Counts,
    /// For how many ticks less came from children than they were credited with.
    short_for: u32,
}

fn bit(counter: usize) -> u16 {
    u32::try_from(counter).ok().and_then(|counter| 1_u16.checked_shl(counter)).unwrap_or(0)
}

/// How far what is shown of a reaper can be below what it got: user and system time are each cut to a tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grain {
    tick_ns: u64,
}

impl Grain {
    pub(super) fn new() -> Self {
        Self { tick_ns: ticks_to_nanos(1, clock_ticks_per_second()) }
    }

    pub(super) fn of(self, counter: usize) -> u64 {
        match counter {
            TOTAL => self.tick_ns.saturating_mul(2),
            USER | SYSTEM => self.tick_ns,
            _ => 0,
        }
    }
}

impl Book {
    /// The book of a process that is seen for the first time. What it used before that counts if it was `born` since the last tick.
    pub(super) fn new(sample: &ProcessSample, born: bool) -> Self {
        let mut book = Self {
            id: sample.id,
            seen: 0,
            read_at: Monotonic::default(),
            total_ns: 0,
            info: Arc::clone(&sample.info),
            ppid: sample.ppid,
            group: None,
            open: false,
            is_news: true,
            io_unknown: false,
            is_zombie: false,
            is_orphan: false,
            parent: None,
            accounts: Box::default(),
        };
        if born {
            // All of it began at 0.
            book.accounts.begun = u16::MAX;
        } else {
            book.read(sample);
        }
        book
    }

    /// Takes over what a sample has; returns what it used itself since the last one.
    pub(super) fn read(&mut self, sample: &ProcessSample) -> Counts {
        (self.read_at, self.total_ns) = (sample.read_at, sample.cpu.total_ns);
        self.is_zombie = sample.state == ProcessState::Zombie && sample.threads <= 1;
        let (cpu, faults) = (&sample.cpu, &sample.faults);
        let mut grown = Counts::default();
        let own = [
            (TOTAL, cpu.total_ns),
            (USER, cpu.user_ns),
            (SYSTEM, cpu.system_ns),
            (MINOR, faults.minor),
            (MAJOR, faults.major),
        ];
        for (counter, value) in own {
            let before = self.accounts.own.get(counter);
            grown.set(counter, value.saturating_sub(before));
            self.accounts.own.set(counter, value.max(before));
        }
        self.get(TOTAL, cpu.children_user_ns.saturating_add(cpu.children_system_ns));
        self.get(USER, cpu.children_user_ns);
        self.get(SYSTEM, cpu.children_system_ns);
        self.read_io(&sample.io);
        grown
    }

    /// Takes over what a snapshot has of it as of one that waited for children.
    pub(super) fn read_reaper(&mut self, reaper: &Reaper) {
        self.get(TOTAL, reaper.user_ns.saturating_add(reaper.system_ns));
        self.get(USER, reaper.user_ns);
        self.get(SYSTEM, reaper.system_ns);
        self.get(MINOR, reaper.minor_faults);
        self.get(MAJOR, reaper.major_faults);
        if reaper.io.value().is_some() {
            self.read_io(&reaper.io);
        }
        self.open = true;
    }

    fn read_io(&mut self, io: &Reading<Io>) {
        let mut all = false;
        if let Reading::Value(io) = io {
            let mut io = *io;
            all = true;
            for (field, counter) in fields(&mut io).into_iter().zip(IO..) {
                match field {
                    Some(value) => self.get(counter, *value),
                    None => all = false,
                }
            }
        }
        self.io_unknown = !all && !io.is_not_requested();
    }

    /// A counter of what came from children. What was there when it is first known counts as accounted for.
    fn get(&mut self, counter: usize, value: u64) {
        let bit = bit(counter);
        if self.accounts.begun & bit == 0 {
            self.accounts.begun |= bit;
            self.accounts.accounted.set(counter, value);
        }
        self.accounts.known |= bit;
        if value > self.accounts.children.get(counter) {
            self.accounts.children.set(counter, value);
            self.open = true;
        }
    }

    /// All that is accounted for of it and below it: what whoever waits for it gets.
    pub(super) fn all(&self) -> Counts {
        let mut all = self.accounts.own;
        all.add(&self.accounts.accounted);
        all
    }

    /// A child that ended was credited with this: so much of what came from children is accounted for.
    pub(super) fn inherit(&mut self, all: &Counts) {
        self.accounts.accounted.add(all);
        self.accounts.doubtful.add(all);
        // What came at the last tick may have been this.
        self.accounts.held.subtract(all);
        self.open = true;
    }

    /// The other way round: it was not this one that waited for the child.
    pub(super) fn disinherit(&mut self, all: &Counts) {
        self.accounts.accounted.subtract(all);
        self.accounts.doubtful.subtract(all);
        self.open = true;
    }

    /// What came from children and is not accounted for.
    pub(super) fn over(&self, counter: usize) -> u64 {
        // What is not known stands at 0.
        self.accounts.children.get(counter).saturating_sub(self.accounts.accounted.get(counter))
    }

    /// What is accounted for and did not come from children, beyond what rounding explains.
    pub(super) fn short(&self, counter: usize, grain: Grain) -> u64 {
        let short = self.accounts.accounted.get(counter).saturating_sub(self.accounts.children.get(counter));
        if self.accounts.known & bit(counter) != 0 && short > grain.of(counter) { short } else { 0 }
    }

    /// What can be credited now of what nobody has. With `wait`, CPU time that was not there at the last tick already waits: the child
    /// it is of may still look alive.
    pub(super) fn settle(&mut self, wait: bool) -> Counts {
        let mut credit = Counts::default();
        for counter in Counts::counters() {
            let over = self.over(counter);
            let now = if wait && !Counts::is_io(counter) { over.min(self.accounts.held.get(counter)) } else { over };
            self.accounts.held.set(counter, over.saturating_sub(now));
            credit.set(counter, now);
        }
        self.accounts.accounted.add(&credit);
        let [last, _] = self.accounts.recent;
        self.accounts.recent = [credit, last];
        credit
    }

    /// What was credited twice: less came from children than is accounted for, and at the last two ticks something was credited as
    /// nobody's that was a child's then. It is not accounted for any more, so the group it was credited to owes it.
    pub(super) fn take_back(&mut self, grain: Grain) -> Counts {
        let mut owed = Counts::default();
        for counter in Counts::counters() {
            let mut short = self.short(counter, grain);
            for recent in &mut self.accounts.recent {
                let back = short.min(recent.get(counter));
                recent.take_from(counter, back);
                self.accounts.accounted.take_from(counter, back);
                owed.add_to(counter, back);
                short = short.saturating_sub(back);
            }
        }
        owed
    }

    /// For how many ticks in a row less came than is accounted for, this one included.
    pub(super) fn short_for(&mut self) -> u32 {
        self.accounts.short_for = self.accounts.short_for.saturating_add(1);
        self.accounts.short_for
    }

    /// All has come.
    pub(super) fn is_even(&mut self) {
        self.accounts.short_for = 0;
        self.accounts.doubtful = Counts::default();
    }

    /// Gives up on what never came: nobody waited for those children.
    pub(super) fn write_off(&mut self, grain: Grain) -> u64 {
        let before = self.accounts.accounted.get(TOTAL);
        for counter in Counts::counters() {
            // No more than those children had: what is not shown of others, since it is less than a tick, is accounted for.
            self.accounts
                .accounted
                .take_from(counter, self.short(counter, grain).min(self.accounts.doubtful.get(counter)));
            if self.short(counter, grain) > 0 {
                self.accounts.accounted.set(counter, self.accounts.children.get(counter));
            }
        }
        self.is_even();
        before.saturating_sub(self.accounts.accounted.get(TOTAL))
    }

    /// Whether less came from children than they were credited with.
    pub(super) fn is_short(&self, grain: Grain) -> bool {
        Counts::counters().any(|counter| self.short(counter, grain) > 0)
    }

    /// Whether anything is left to be looked at when nothing more of it changes.
    pub(super) fn is_settled(&self, grain: Grain) -> bool {
        self.accounts.held.is_zero() && self.accounts.recent.iter().all(Counts::is_zero) && !self.is_short(grain)
    }
}
