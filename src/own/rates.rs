//! How fast the counters of one's own process grow.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::OwnSample;
use crate::counters::{grown, per_second};
use crate::process::{ProcessData, ProcessRates};
use crate::{Counters, Monotonic, ProcessSample, Text};

/// How fast the counters of one's own process grew between two readings. In the wire form it is flat, as the sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OwnRates {
    /// Those of the process.
    #[serde(flatten)]
    pub process: ProcessRates,
    /// Those of its threads, by name: of names that both readings have.
    pub threads_by_name: Vec<ThreadRates>,
    /// Those of its runtime; `None` if a counter goes backwards, or there is no runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeRates>,
}

/// How much CPU time the threads of a name use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ThreadRates {
    /// Their name.
    pub name: Text,
    /// CPU time per time: 1.0 is one core busy.
    pub cores: f64,
}

/// How busy a tokio runtime is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuntimeRates {
    /// Each worker.
    pub workers: Vec<WorkerRates>,
}

/// How busy a worker of a tokio runtime is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerRates {
    /// The share of the time that it was busy: 1.0 is always.
    pub busy: f64,
    /// How many times a second it went to sleep for want of work.
    pub parks: f64,
}

/// The counters of one's own process of which rates are made.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OwnTotals {
    process: Arc<ProcessData>,
    threads: Vec<(Text, u64)>,
    /// Of each worker, nanoseconds busy and parks.
    workers: Option<Vec<(u64, u64)>>,
}

impl Counters for OwnSample {
    type Totals = OwnTotals;
    type Rates = OwnRates;

    fn totals(&self) -> OwnTotals {
        let threads = self.threads_by_name.value().map(Vec::as_slice).unwrap_or_default();
        let workers = self.runtime.as_ref().map(|runtime| {
            runtime.workers.iter().map(|worker| (worker.total_busy_duration_ns, worker.park_count)).collect()
        });
        OwnTotals {
            process: self.process.totals(),
            threads: threads.iter().map(|threads| (threads.name.clone(), threads.cpu_ns)).collect(),
            workers,
        }
    }

    fn at(&self) -> Monotonic {
        self.process.at
    }

    fn birth_step() -> Duration {
        ProcessSample::birth_step()
    }

    fn birth(&self) -> Option<(Monotonic, OwnTotals)> {
        let (at, process) = self.process.birth()?;
        Some((at, OwnTotals { process, ..OwnTotals::default() }))
    }

    fn rates(&self, earlier: &OwnTotals, elapsed: Duration) -> Option<OwnRates> {
        let process = self.process.rates(&earlier.process, elapsed)?;
        let now = self.totals();
        let of_threads = now.threads.iter().filter_map(|(name, cpu_ns)| {
            // Both are in the order of the names.
            let before = earlier.threads.binary_search_by(|(other, _)| other.cmp(name)).ok()?;
            let (_, before) = earlier.threads.get(before)?;
            Some(ThreadRates { name: name.clone(), cores: share(*before, *cpu_ns, elapsed)? })
        });
        let threads_by_name = of_threads.collect();
        let runtime = now.workers.zip(earlier.workers.as_ref()).and_then(|(now, before)| {
            let pairs = now.iter().zip(before).map(|((busy, parks), (busy_before, parks_before))| {
                let busy = share(*busy_before, *busy, elapsed)?;
                Some(WorkerRates { busy, parks: per_second(*parks_before, *parks, elapsed)? })
            });
            Some(RuntimeRates { workers: pairs.collect::<Option<_>>()? })
        });
        Some(OwnRates { process, threads_by_name, runtime })
    }
}

/// Nanoseconds per nanosecond.
fn share(earlier_ns: u64, now_ns: u64, elapsed: Duration) -> Option<f64> {
    let grown = Duration::from_nanos(grown(earlier_ns, now_ns)?);
    (!elapsed.is_zero()).then(|| grown.as_secs_f64() / elapsed.as_secs_f64())
}
