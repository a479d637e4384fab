//! What a group of processes used.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counters::{TimeField, Times};
use crate::machine::UsesCpu;
use crate::measured::Metrics;
use crate::process::{Cpu, CpuRates, FaultRates, Faults, Io, IoRates, Memory, ProcessRates, ProcessTotals};
use crate::{Counters, Monotonic, Rated, Reading, Sample};

/// A group of processes at one tick.
///
/// `cpu`, `faults` and `io` are what its members used since [`since`](Self::since), those that ended and those that no tick saw
/// included; they never fall. `alive`, `threads` and `memory` are of those that are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupSample<K> {
    /// Which group.
    pub key: GroupKey<K>,
    /// What the groups are made by, where that was said: see [`GroupBy::by`](crate::stream::GroupBy::by).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// How many processes are in it.
    pub alive: u64,
    /// How many processes were seen in it since `since`; one that comes back counts again.
    pub seen: u64,
    /// How many of those ended in it.
    pub exited: u64,
    /// From when on the totals count: the first snapshot, or for a group that came later the one before it was there. Nanoseconds of
    /// `CLOCK_BOOTTIME` in the wire form.
    pub since: Monotonic,
    /// When the totals were so: the latest [`ProcessSample::at`](crate::ProcessSample::at) of its members, that of the snapshot where
    /// there are none. Nanoseconds of `CLOCK_BOOTTIME` in the wire form.
    pub at: Monotonic,
    /// CPU time used.
    pub cpu: GroupCpu,
    /// What of `cpu` may be a neighbour's: it came by whoever waits for the children, and what nobody saw of these may have belonged to
    /// another group; or it was used in the tick in which a process changed groups.
    pub inferred: GroupCpu,
    /// What members used that nobody who can be seen got when they ended: their parent does not wait for them, or it is hidden. What
    /// these used after they were last seen is in no total.
    pub unrecovered_ns: u64,
    /// Threads of the processes that are there.
    pub threads: u64,
    /// Memory of the processes that are there; pages they share count for each.
    pub memory: Memory,
    /// Page faults. Those of processes that ended are as of when they were last seen where there are no
    /// [`lives`](crate::Snapshot::lives).
    pub faults: Faults,
    /// I/O, as far as it may be read; nothing at all where none of it may.
    pub io: Io,
    /// How many of the processes that are there have I/O counters, all or some, that could not be read.
    pub io_unknown: u64,
}

/// CPU time of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupCpu {
    /// User and system time, by the CPU clocks; of what was not seen in steps of a clock tick.
    pub total_ns: u64,
    /// In user mode; in steps of a clock tick (10 ms almost everywhere).
    pub user_ns: u64,
    /// In the kernel; in steps of a clock tick.
    pub system_ns: u64,
}

/// Which group: one of a key, or that of all others.
///
/// In the wire form a key is the key itself, and the group of all others is `null`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKey<K> {
    /// The group of this key.
    Key(K),
    /// All groups without a key of their own: those above [`max_groups`](crate::stream::GroupBy::max_groups), those that are not at the
    /// [`top`](crate::SnapshotStreamExt::top), or the processes that are in no [tree](crate::SnapshotStreamExt::group_by_tree).
    Other,
}

impl<K> GroupKey<K> {
    /// The key, where there is one.
    #[must_use]
    pub fn key(&self) -> Option<&K> {
        match self {
            Self::Key(key) => Some(key),
            Self::Other => None,
        }
    }
}

/// The key; `other` for all others.
impl<K: fmt::Display> fmt::Display for GroupKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Other => f.pad("other"),
        }
    }
}

impl<K: Serialize> Serialize for GroupKey<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.key().serialize(serializer)
    }
}

impl<'de, K: Deserialize<'de>> Deserialize<'de> for GroupKey<K> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Other, Self::Key))
    }
}

#[cfg(feature = "schema")]
impl<K: schemars::JsonSchema> schemars::JsonSchema for GroupKey<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("GroupKey_of_{}", K::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Option::<K>::json_schema(generator)
    }
}

impl<K> GroupSample<K> {
    /// A group without members, that used nothing.
    #[must_use]
    pub fn new(key: GroupKey<K>, since: Monotonic) -> Self {
        Self {
            key,
            by: None,
            alive: 0,
            seen: 0,
            exited: 0,
            since,
            at: since,
            cpu: GroupCpu::default(),
            inferred: GroupCpu::default(),
            unrecovered_ns: 0,
            threads: 0,
            memory: Memory::default(),
            faults: Faults::default(),
            io: Io::default(),
            io_unknown: 0,
        }
    }

    /// Why there is no I/O.
    fn without_io<T>(&self) -> Reading<T> {
        if self.io_unknown > 0 { Reading::Denied } else { Reading::NotRequested }
    }

    /// Adds what another group is and used.
    pub(crate) fn add(&mut self, more: &Self) {
        fn add(sum: &mut u64, more: u64) {
            *sum = sum.saturating_add(more);
        }
        add(&mut self.alive, more.alive);
        add(&mut self.seen, more.seen);
        add(&mut self.exited, more.exited);
        self.since = self.since.min(more.since);
        self.at = self.at.max(more.at);
        for (cpu, more) in [(&mut self.cpu, &more.cpu), (&mut self.inferred, &more.inferred)] {
            add(&mut cpu.total_ns, more.total_ns);
            add(&mut cpu.user_ns, more.user_ns);
            add(&mut cpu.system_ns, more.system_ns);
        }
        add(&mut self.unrecovered_ns, more.unrecovered_ns);
        add(&mut self.threads, more.threads);
        add(&mut self.memory.rss_bytes, more.memory.rss_bytes);
        add(&mut self.memory.virtual_bytes, more.memory.virtual_bytes);
        add(&mut self.faults.minor, more.faults.minor);
        add(&mut self.faults.major, more.faults.major);
        if more.io != Io::default() {
            self.io.add(&more.io);
        }
        add(&mut self.io_unknown, more.io_unknown);
    }
}

impl<K: Ord + Clone + Hash + fmt::Display + 'static> Sample for GroupSample<K> {
    const KIND: &'static str = "group";
    const TIMES: Option<Times<Self>> = Some(|group, each| {
        each(TimeField::At(&mut group.since));
        each(TimeField::At(&mut group.at));
    });
    type Key = GroupKey<K>;

    fn key(&self) -> GroupKey<K> {
        self.key.clone()
    }

    fn metrics() -> Option<Metrics<Self>> {
        Some(Metrics::new())
    }
}

/// The counters of a group of which rates are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupTotals {
    /// CPU time.
    pub cpu: GroupCpu,
    /// Page faults.
    pub faults: Faults,
    /// I/O.
    pub io: Io,
}

/// How fast the totals of a group grew between two ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupRates {
    /// CPU time per time.
    pub cpu: CpuRates,
    /// Page faults.
    pub faults: FaultRates,
    /// I/O, as far as it may be read.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<IoRates>,
}

impl<K: Ord + Clone + Hash + fmt::Display + 'static> UsesCpu for Rated<GroupSample<K>> {
    fn cores(&self) -> Option<f64> {
        self.rates.as_ref().map(|rates| rates.cpu.cores)
    }
}

impl GroupRates {
    /// Adds the rates of another group.
    pub(crate) fn add(&mut self, more: &Self) {
        self.cpu.cores += more.cpu.cores;
        self.cpu.user_cores += more.cpu.user_cores;
        self.cpu.system_cores += more.cpu.system_cores;
        self.faults.minor += more.faults.minor;
        self.faults.major += more.faults.major;
        let Reading::Value(more) = &more.io else { return };
        if self.io.value().is_none() {
            self.io = Reading::Value(IoRates::default());
        }
        let Reading::Value(io) = &mut self.io else { return };
        io.read_bytes += more.read_bytes;
        io.write_bytes += more.write_bytes;
        io.read_chars += more.read_chars;
        io.write_chars += more.write_chars;
        io.read_syscalls += more.read_syscalls;
        io.write_syscalls += more.write_syscalls;
        io.cancelled_write_bytes += more.cancelled_write_bytes;
    }
}

impl<K: Ord + Clone + Hash + fmt::Display + 'static> Counters for GroupSample<K> {
    type Totals = GroupTotals;
    type Rates = GroupRates;

    fn totals(&self) -> GroupTotals {
        GroupTotals { cpu: self.cpu, faults: self.faults, io: self.io }
    }

    fn at(&self) -> Monotonic {
        self.at
    }

    fn birth(&self) -> Option<(Monotonic, GroupTotals)> {
        Some((self.since, GroupTotals { io: Io::NOTHING, ..GroupTotals::default() }))
    }

    fn rates(&self, earlier: &GroupTotals, elapsed: Duration) -> Option<GroupRates> {
        let totals = |of: &GroupTotals| {
            let GroupCpu { total_ns, user_ns, system_ns } = of.cpu;
            let cpu = Cpu { total_ns, user_ns, system_ns, ..Cpu::default() };
            let io = if of.io == Io::default() { self.without_io() } else { Reading::Value(of.io) };
            ProcessTotals::new(cpu, of.faults, io)
        };
        let ProcessRates { cpu, faults, io } = totals(&self.totals()).rates(&totals(earlier), elapsed)?;
        Some(GroupRates { cpu, faults, io })
    }
}
