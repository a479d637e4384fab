//! The metrics of a tokio runtime.

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

#[cfg(target_has_atomic = "64")]
use crate::time::duration_nanos;

/// The metrics of a tokio runtime, by tokio's own names; see `tokio::runtime::RuntimeMetrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuntimeSample {
    /// How many worker threads it has.
    pub num_workers: u64,
    /// How many tasks are alive.
    pub num_alive_tasks: u64,
    /// How many tasks wait in the queue that all workers share.
    pub global_queue_depth: u64,
    /// Each worker; none on machines without 64-bit atomics.
    pub workers: Vec<WorkerSample>,
    /// The metrics that tokio has behind `--cfg tokio_unstable` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstable: Option<UnstableRuntime>,
}

/// The metrics of one worker thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerSample {
    /// How long it was busy, in nanoseconds.
    pub total_busy_duration_ns: u64,
    /// How many times it went to sleep for want of work.
    pub park_count: u64,
    /// How many times it went to sleep and woke, counted at each: odd while it sleeps.
    pub park_unpark_count: u64,
}

/// The metrics of a runtime that a build of tokio has with `--cfg tokio_unstable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnstableRuntime {
    /// The number of additional threads, for blocking calls.
    pub num_blocking_threads: u64,
    /// How many of those have nothing to do.
    pub num_idle_blocking_threads: u64,
    /// How many closures wait for one of those.
    pub blocking_queue_depth: u64,
    /// How many tasks were spawned so far.
    pub spawned_tasks_count: u64,
    /// How many times tasks were scheduled from outside of the runtime.
    pub remote_schedule_count: u64,
    /// How many times tasks were made to yield since they had used up their budget.
    pub budget_forced_yield_count: u64,
    /// How many times workers polled a task, over all workers.
    pub poll_count: u64,
    /// How many tasks workers took from each other, over all workers.
    pub steal_count: u64,
}

impl RuntimeSample {
    pub(super) fn of(runtime: &Handle) -> Self {
        let metrics = runtime.metrics();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        #[cfg(target_has_atomic = "64")]
        let workers = (0..metrics.num_workers())
            .map(|worker| WorkerSample {
                total_busy_duration_ns: duration_nanos(metrics.worker_total_busy_duration(worker)),
                park_count: metrics.worker_park_count(worker),
                park_unpark_count: metrics.worker_park_unpark_count(worker),
            })
            .collect();
        #[cfg(not(target_has_atomic = "64"))]
        let workers = Vec::new();
        #[cfg(all(tokio_unstable, target_has_atomic = "64"))]
        let unstable = Some(UnstableRuntime {
            num_blocking_threads: number(metrics.num_blocking_threads()),
            num_idle_blocking_threads: number(metrics.num_idle_blocking_threads()),
            blocking_queue_depth: number(metrics.blocking_queue_depth()),
            spawned_tasks_count: metrics.spawned_tasks_count(),
            remote_schedule_count: metrics.remote_schedule_count(),
            budget_forced_yield_count: metrics.budget_forced_yield_count(),
            poll_count: (0..metrics.num_workers()).map(|worker| metrics.worker_poll_count(worker)).sum(),
            steal_count: (0..metrics.num_workers()).map(|worker| metrics.worker_steal_count(worker)).sum(),
        });
        #[cfg(not(all(tokio_unstable, target_has_atomic = "64")))]
        let unstable = None;
        Self {
            num_workers: number(metrics.num_workers()),
            num_alive_tasks: number(metrics.num_alive_tasks()),
            global_queue_depth: number(metrics.global_queue_depth()),
            workers,
            unstable,
        }
    }
}
