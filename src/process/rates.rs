//! Rates of a process.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Cpu, Faults, Io, ProcessData, ProcessId, ProcessSample};
use crate::counters::{TimeField, Times, per_second};
use crate::measured::Metrics;
use crate::time::{clock_ticks_per_second, ticks_to_nanos};
use crate::{Counters, Monotonic, Reading, Sample};

/// How fast a process's counters grew between two readings of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessRates {
    /// CPU time per time.
    pub cpu: CpuRates,
    /// Page faults.
    pub faults: FaultRates,
    /// I/O; a value only where both readings had all of its counters.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub io: Reading<IoRates>,
}

/// CPU time per time: 1.0 is one core busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CpuRates {
    /// User and system together, from [`Cpu::total_ns`]: exact.
    pub cores: f64,
    /// In user mode, from [`Cpu::user_ns`]: in steps of a clock tick, so coarse over short periods.
    pub user_cores: f64,
    /// In the kernel, from [`Cpu::system_ns`]: in steps of a clock tick, so coarse over short periods.
    pub system_cores: f64,
}

/// Page faults per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FaultRates {
    /// That needed no disk.
    pub minor: f64,
    /// That loaded a page from disk.
    pub major: f64,
}

/// I/O per second; see [`Io`] for the meaning of each counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IoRates {
    /// Bytes fetched from storage, per second.
    pub read_bytes: f64,
    /// Bytes caused to be sent to storage, per second.
    pub write_bytes: f64,
    /// Bytes read by system calls, per second.
    pub read_chars: f64,
    /// Bytes written by system calls, per second.
    pub write_chars: f64,
    /// Reading system calls per second.
    pub read_syscalls: f64,
    /// Writing system calls per second.
    pub write_syscalls: f64,
    /// Bytes that were to be written and then were not, per second.
    pub cancelled_write_bytes: f64,
}

impl Sample for ProcessSample {
    const KIND: &'static str = "process";
    const TIMES: Option<Times<Self>> = Some(|process, each| {
        each(TimeField::At(&mut process.at));
        each(TimeField::At(&mut process.read_at));
    });
    type Key = ProcessId;

    fn key(&self) -> ProcessId {
        self.id
    }

    /// Whether it has another program or another user now.
    fn is_changed(&self, earlier: &Self) -> bool {
        // Not by its name, which a process can change at will, nor by its executable, which others can replace.
        let identity = |sample: &Self| (sample.info.execs, sample.info.uid, sample.info.gid);
        identity(self) != identity(earlier)
    }

    fn metrics() -> Option<Metrics<Self>> {
        Some(Metrics::new())
    }
}

/// The counters of which the rates of a process, or of a group of them, are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessTotals {
    /// CPU time.
    pub cpu: Cpu,
    /// Page faults.
    pub faults: Faults,
    /// I/O.
    pub io: Reading<Io>,
}

impl Counters for ProcessSample {
    // All that was read, since that is shared: what stood still is known by its address.
    type Totals = Arc<ProcessData>;
    type Rates = ProcessRates;

    fn totals(&self) -> Arc<ProcessData> {
        Arc::clone(&self.data)
    }

    fn update(&self, earlier: &mut Arc<ProcessData>) {
        if !Arc::ptr_eq(earlier, &self.data) {
            *earlier = Arc::clone(&self.data);
        }
    }

    fn at(&self) -> Monotonic {
        self.at
    }

    fn birth_step() -> Duration {
        Duration::from_nanos(ticks_to_nanos(1, clock_ticks_per_second()))
    }

    fn birth(&self) -> Option<(Monotonic, Arc<ProcessData>)> {
        // The kernel cuts the start off to a tick, so the life counted is never shorter than it was.
        // One that began before the zero of the time namespace was there before any tick.
        let birth = u64::try_from(self.id.start_ns(clock_ticks_per_second())).ok()?;
        Some((Monotonic::from_nanos(birth), Arc::clone(&NOTHING)))
    }

    fn rates(&self, earlier: &Arc<ProcessData>, elapsed: Duration) -> Option<ProcessRates> {
        if Arc::ptr_eq(earlier, &self.data) {
            return (!elapsed.is_zero())
                .then(|| ProcessRates { io: rates_of_idle(&self.io), ..ProcessRates::default() });
        }
        ProcessTotals::of(self).rates(&ProcessTotals::of(earlier), elapsed)
    }
}

/// What a process has used when it begins: shared, since it is asked for once for each process that is new, and with each export.
static NOTHING: LazyLock<Arc<ProcessData>> =
    LazyLock::new(|| Arc::new(ProcessData { io: Reading::Value(Io::NOTHING), ..ProcessData::default() }));

/// The I/O rates of one whose counters stood still.
fn rates_of_idle(io: &Reading<Io>) -> Reading<IoRates> {
    match io {
        Reading::Value(io) if counts(io).is_none() => Reading::Unsupported,
        io => io.map(|_| IoRates::default()),
    }
}

impl ProcessTotals {
    fn of(data: &ProcessData) -> Self {
        Self { cpu: data.cpu, faults: data.faults, io: data.io }
    }

    pub(crate) fn new(cpu: Cpu, faults: Faults, io: Reading<Io>) -> Self {
        Self { cpu, faults, io }
    }

    /// The rates between `earlier` and these, `elapsed` apart; `None` if a counter goes backwards.
    pub(crate) fn rates(&self, earlier: &Self, elapsed: Duration) -> Option<ProcessRates> {
        let cores = |earlier, now| Some(per_second(earlier, now, elapsed)? / 1e9);
        let per_second = |earlier, now| per_second(earlier, now, elapsed);
        let io = match (&self.io, &earlier.io) {
            (Reading::Value(now), Reading::Value(then)) => match (counts(now), counts(then)) {
                (Some(now), Some(then)) => {
                    // Cancelled writes can be more than the writes of the same period, so they are not taken off here.
                    let mut rates = [0.0; 7];
                    for ((rate, then), now) in rates.iter_mut().zip(then).zip(now) {
                        *rate = per_second(then, now)?;
                    }
                    let [
                        read_bytes,
                        write_bytes,
                        read_chars,
                        write_chars,
                        read_syscalls,
                        write_syscalls,
                        cancelled_write_bytes,
                    ] = rates;
                    Reading::Value(IoRates {
                        read_bytes,
                        write_bytes,
                        read_chars,
                        write_chars,
                        read_syscalls,
                        write_syscalls,
                        cancelled_write_bytes,
                    })
                }
                _ => Reading::Unsupported,
            },
            (Reading::Value(_), then) => then.map(|_| IoRates::default()),
            (now, _) => now.map(|_| IoRates::default()),
        };
        Some(ProcessRates {
            cpu: CpuRates {
                cores: cores(earlier.cpu.total_ns, self.cpu.total_ns)?,
                user_cores: cores(earlier.cpu.user_ns, self.cpu.user_ns)?,
                system_cores: cores(earlier.cpu.system_ns, self.cpu.system_ns)?,
            },
            faults: FaultRates {
                minor: per_second(earlier.faults.minor, self.faults.minor)?,
                major: per_second(earlier.faults.major, self.faults.major)?,
            },
            io,
        })
    }
}

/// All counters, in the order of [`IoRates`]; `None` where one is missing.
fn counts(io: &Io) -> Option<[u64; 7]> {
    Some([
        io.read_bytes?,
        io.write_bytes?,
        io.read_chars?,
        io.write_chars?,
        io.read_syscalls?,
        io.write_syscalls?,
        io.cancelled_write_bytes?,
    ])
}
