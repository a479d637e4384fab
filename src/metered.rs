//! The cost of a source: its readings, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use crate::{Cancel, Monotonic, Result, Snapshot, Source};

/// The source of [`SourceExt::metered`](crate::SourceExt::metered).
#[derive(Debug)]
pub struct Metered<S> {
    source: S,
    meter: Meter,
}

/// The cost of the readings of one source so far: a handle that keeps counting wherever the source is moved. Clones share it.
///
/// ```
/// use appmon::{Cancel, Processes, SourceExt};
///
/// let mut processes = Processes::new().metered();
/// let meter = processes.meter();
/// let snapshot = processes.read(&Cancel::new())?;
/// assert_eq!((meter.cost().readings, meter.cost().samples), (1, snapshot.len() as u64));
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    readings: AtomicU64,
    failed_readings: AtomicU64,
    samples: AtomicU64,
    elapsed_ns: AtomicU64,
    cpu_ns: AtomicU64,
}

/// The cost of the readings of a source: totals since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SourceCost {
    /// How many times it was read, failed readings included.
    pub readings: u64,
    /// How many of those failed, or were cancelled.
    pub failed_readings: u64,
    /// How many samples it returned.
    pub samples: u64,
    /// How long its readings took, in nanoseconds.
    pub elapsed_ns: u64,
    /// The CPU time that its readings took on the thread that read, in nanoseconds. That of threads that help is in the CPU time of
    /// these threads (`appmon-read` and others).
    pub cpu_ns: u64,
}

impl<S> Metered<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source, meter: Meter::default() }
    }

    /// Returns the handle to its cost.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Returns the source inside.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Returns the source inside.
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source> Source for Metered<S> {
    type Sample = S::Sample;

    fn fill(&mut self, snapshot: &mut Snapshot<S::Sample>, cancel: &Cancel) -> Result<()> {
        let (began, cpu_began) = (Monotonic::now(), thread_cpu_ns());
        let result = self.source.fill(snapshot, cancel);
        let counts = &*self.meter.0;
        let add = |counter: &AtomicU64, count: u64| counter.fetch_add(count, Ordering::Relaxed);
        // The clock of the wall outside of that of the thread: nothing takes more CPU time than time.
        add(&counts.cpu_ns, thread_cpu_ns().saturating_sub(cpu_began));
        add(&counts.elapsed_ns, Monotonic::now().as_nanos().saturating_sub(began.as_nanos()));
        add(&counts.readings, 1);
        match &result {
            Ok(()) => add(&counts.samples, u64::try_from(snapshot.len()).unwrap_or(u64::MAX)),
            Err(_) => add(&counts.failed_readings, 1),
        };
        result
    }
}

impl Meter {
    /// Returns the cost of the source so far.
    #[must_use]
    pub fn cost(&self) -> SourceCost {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SourceCost {
            readings: of(&self.0.readings),
            failed_readings: of(&self.0.failed_readings),
            samples: of(&self.0.samples),
            elapsed_ns: of(&self.0.elapsed_ns),
            cpu_ns: of(&self.0.cpu_ns),
        }
    }
}

fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
