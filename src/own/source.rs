//! One's own process as a source.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::threads::Threads;
use super::{OwnSample, OwnSource, RuntimeSample};
use crate::metered::Meter;
use crate::process::{ProcFs, Process, Processes, Select};
use crate::{Cancel, Error, Fields, ProcessSample, Result, Snapshot, Source};

/// One's own process as a [`Source`]: the fields that [`Processes`] reads of it, its threads by name, its tokio runtime, and the cost of
/// the sources in it. Each snapshot has one sample.
///
/// # Errors
///
/// [`collect`](Source::collect) fails when `/proc` cannot be read, or does not have this process: it is mounted for another pid
/// namespace ([`Error::is_not_found`]).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use appmon::{OwnProcess, Processes, SnapshotStreamExt, SourceExt};
/// use futures::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// let processes = Processes::new().metered();
/// let own = OwnProcess::new().runtime(tokio::runtime::Handle::current()).source("processes", processes.meter());
/// let mut ticks = own.every(Duration::from_secs(5)).rates();
/// if let Some(tick) = ticks.try_next().await? {
///     let me = &tick.samples[0];
///     println!("{} B, {} tasks", me.memory.rss_bytes, me.runtime.as_ref().map_or(0, |runtime| runtime.num_alive_tasks));
///     for threads in me.threads_by_name.value().into_iter().flatten() {
///         println!("{} × {}: {} ns", threads.threads, threads.name, threads.cpu_ns);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct OwnProcess {
    fields: Fields,
    threads: Option<Threads>,
    runtime: Option<Handle>,
    sources: Vec<(Arc<str>, Meter)>,
    state: Option<State>,
}

struct State {
    procfs: ProcFs,
    processes: Processes,
    tick: Snapshot<ProcessSample>,
}

impl OwnProcess {
    /// Creates a source of this process, with [`Fields::DEFAULT`] and its threads.
    pub fn new() -> Self {
        let threads = Some(Threads::default());
        Self { fields: Fields::DEFAULT, threads, runtime: None, sources: Vec::new(), state: None }
    }

    /// Sets the fields to read of it in addition to those that are always read. Default: [`Fields::DEFAULT`].
    pub fn fields(mut self, fields: Fields) -> Self {
        self.fields = fields;
        self
    }

    /// Sets whether to read its threads: two files for each. Default: yes.
    pub fn threads(mut self, read: bool) -> Self {
        self.threads = read.then(Threads::default);
        self
    }

    /// Adds a tokio runtime whose metrics are read too. Default: none.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Adds a source whose cost is reported too, under this name: a handle of [`SourceExt::metered`](crate::SourceExt::metered). Default:
    /// none.
    pub fn source(mut self, name: impl Into<Arc<str>>, meter: Meter) -> Self {
        self.sources.push((name.into(), meter));
        self
    }

    /// The settings that are no handles: the fields, and whether threads are read.
    #[cfg(feature = "config")]
    pub(crate) fn settings(&self) -> (Fields, bool) {
        let Self { fields, threads, runtime: _, sources: _, state: _ } = self;
        (*fields, threads.is_some())
    }
}

impl Default for OwnProcess {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OwnProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: Vec<_> = self.sources.iter().map(|(name, _)| name).collect();
        f.debug_struct("OwnProcess").field("fields", &self.fields).field("sources", &sources).finish_non_exhaustive()
    }
}

impl Source for OwnProcess {
    type Sample = OwnSample;

    fn fill(&mut self, snapshot: &mut Snapshot<OwnSample>, cancel: &Cancel) -> Result<()> {
        let state = match &mut self.state {
            Some(state) => state,
            None => self.state.insert(State::new(self.fields)?),
        };
        state.processes.collect(&mut state.tick, cancel)?;
        snapshot.boot_id = state.tick.boot_id;
        snapshot.skipped.fields = state.tick.skipped.fields;
        snapshot.notices.append(&mut state.tick.notices);
        let process = state.tick.samples.pop().ok_or_else(|| Error::os(rustix::io::Errno::SRCH).at("/proc/self"))?;
        let mut sample = OwnSample { process, ..OwnSample::default() };
        if let Some(threads) = &mut self.threads {
            sample.threads_by_name = threads.read(&state.procfs, cancel)?;
        }
        sample.runtime = self.runtime.as_ref().map(RuntimeSample::of);
        let cost = |(name, meter): &(Arc<str>, Meter)| OwnSource { name: Arc::clone(name), cost: meter.cost() };
        sample.sources = self.sources.iter().map(cost).collect();
        snapshot.samples.push(sample);
        Ok(())
    }
}

impl State {
    fn new(fields: Fields) -> Result<Self> {
        let own = Process::current()?;
        Ok(Self {
            procfs: ProcFs::new("/proc")?,
            processes: Processes::new().select(Select::pid(own.id().pid)).fields(fields),
            tick: Snapshot::default(),
        })
    }
}
