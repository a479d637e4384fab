//! The numbers of one's own process and its runtime, by name.

use super::{OwnRates, OwnSample, RuntimeRates, RuntimeSample, UnstableRuntime, WorkerRates};
use crate::measured::{FieldTable, Labels, Measured, Unit};
use crate::time::Monotonic;

const TASK: Unit = Unit::Count("{task}");
const THREAD: Unit = Unit::Count("{thread}");
const PARK: Unit = Unit::Count("{park}");

/// Those of the process under their own paths, and those of the runtime. Of its workers there are sums; its threads by name and the
/// sources have no fields, as they are lists.
impl Measured for OwnSample {
    const PREFIX: &'static str = "process";

    fn measure(table: &mut FieldTable<Self>) {
        table.flatten(|own| Some(&own.process));
        table.part("runtime", |own| own.runtime.as_ref());
    }

    fn labels(&self) -> Labels {
        self.process.labels()
    }

    fn counters_since(&self) -> Option<Monotonic> {
        self.process.counters_since()
    }

    fn measured_at(&self) -> Option<Monotonic> {
        self.process.measured_at()
    }
}

impl Measured for RuntimeSample {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("num_workers", THREAD, "Worker threads of the runtime", |runtime| Some(runtime.num_workers))
            .metric("runtime.workers", &[]);
        table
            .gauge("num_alive_tasks", TASK, "Tasks that are alive", |runtime| Some(runtime.num_alive_tasks))
            .metric("runtime.alive_tasks", &[]);
        table
            .gauge("global_queue_depth", TASK, "Tasks in the queue of all workers", |runtime| {
                Some(runtime.global_queue_depth)
            })
            .metric("runtime.global_queue_depth", &[]);
        table
            .counter("busy_ns", Unit::Nanoseconds, "Time that workers were busy, over all", |runtime| {
                let busy = runtime.workers.iter().map(|worker| worker.total_busy_duration_ns);
                busy.reduce(u64::saturating_add)
            })
            .metric("runtime.busy", &[]);
        table
            .counter("park_count", PARK, "Times that workers went to sleep, over all", |runtime| {
                runtime.workers.iter().map(|worker| worker.park_count).reduce(u64::saturating_add)
            })
            .metric("runtime.parks", &[]);
        table.part("unstable", |runtime| runtime.unstable.as_ref());
    }
}

impl Measured for UnstableRuntime {
    fn measure(table: &mut FieldTable<Self>) {
        table
            .gauge("num_blocking_threads", THREAD, "Threads for what blocks", |runtime| {
                Some(runtime.num_blocking_threads)
            })
            .metric("runtime.blocking_threads", &[]);
        table
            .gauge("num_idle_blocking_threads", THREAD, "Threads for what blocks, with nothing to do", |runtime| {
                Some(runtime.num_idle_blocking_threads)
            })
            .metric("runtime.idle_blocking_threads", &[]);
        table
            .gauge("blocking_queue_depth", TASK, "Closures that wait for such a thread", |runtime| {
                Some(runtime.blocking_queue_depth)
            })
            .metric("runtime.blocking_queue_depth", &[]);
        table
            .counter("spawned_tasks_count", TASK, "Tasks spawned", |runtime| Some(runtime.spawned_tasks_count))
            .metric("runtime.spawned_tasks", &[]);
        table
            .counter("remote_schedule_count", TASK, "Tasks scheduled from outside of the runtime", |runtime| {
                Some(runtime.remote_schedule_count)
            })
            .metric("runtime.remote_schedules", &[]);
        table
            .counter("budget_forced_yield_count", TASK, "Tasks made to yield as their budget was used up", |runtime| {
                Some(runtime.budget_forced_yield_count)
            })
            .metric("runtime.budget_forced_yields", &[]);
        table
            .counter("poll_count", Unit::Count("{poll}"), "Polls of tasks, over all workers", |runtime| {
                Some(runtime.poll_count)
            })
            .metric("runtime.polls", &[]);
        table
            .counter("steal_count", TASK, "Tasks that workers took from each other", |runtime| {
                Some(runtime.steal_count)
            })
            .metric("runtime.steals", &[]);
    }
}

impl Measured for OwnRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.flatten(|rates| Some(&rates.process));
        table.part("runtime", |rates| rates.runtime.as_ref());
    }
}

impl Measured for RuntimeRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("busy", Unit::Fraction, "Share of the time that workers were busy, the mean of all", |runtime| {
            mean(&runtime.workers)
        });
        table.gauge(
            "parks",
            Unit::CountPerSecond("{park}"),
            "Times per second that workers went to sleep",
            |runtime| {
                (!runtime.workers.is_empty()).then(|| runtime.workers.iter().map(|worker| worker.parks).sum::<f64>())
            },
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of threads")]
fn mean(workers: &[WorkerRates]) -> Option<f64> {
    let busy = workers.iter().map(|worker| worker.busy).sum::<f64>();
    (!workers.is_empty()).then(|| busy / workers.len() as f64)
}
