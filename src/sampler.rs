//! The schedule of readings: the way from blocking sources to async streams.

mod schedule;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use futures::Stream;
use futures::stream::FusedStream;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, Sleep};

use crate::{Cancel, Error, Result, Snapshot, Source};
use schedule::{Schedule, Tick};

/// A stream that reads a source at every tick, on tokio's pool of blocking threads.
///
/// ```text
/// due       0         1         2         3         4         5
///           |---------|---------|---------|---------|---------|
/// reading   [==]      [==]      [==============][==][==]      [==]
///              |         |                     |   |   |         |
/// seq          0         1                     2   3   4         5
/// lag          -         -                     -  0.5  -         -
/// ```
///
/// One hop to the pool per tick, at most one reading at a time. Nothing is read until the stream is polled: a consumer
/// that is late makes ticks late or lets them be missed, which shows in [`Snapshot::lag`] and as gaps in
/// [`Snapshot::seq`].
///
/// An `Err` means that this tick failed; the next one tries again. A source that panics yields one error ([`Error::is_panic`]), and the
/// stream ends; so does a period of zero ([`Error::is_config`]).
///
/// # Cancel safety
///
/// Polling is cancel safe: a reading continues while the stream is not polled, and the next poll returns its snapshot. Dropping the stream
/// cancels the reading, and so does the shutdown of the runtime, which therefore does not wait for its end.
#[must_use = "streams do nothing unless polled"]
pub struct Sampler<S: Source> {
    state: State<S>,
    schedule: Schedule,
    /// Set for the next tick; boxed once, so that the stream is `Unpin`, and reset in place.
    sleep: Option<Pin<Box<Sleep>>>,
    cancel: Cancel,
    watch: Option<Watch>,
}

/// The task whose end marks the end of a runtime.
struct Watch {
    runtime: tokio::runtime::Id,
    task: AbortHandle,
}

enum State<S: Source> {
    /// Waiting for the next tick.
    Idle { source: S },
    /// The source is in the pool, and returns with its snapshot.
    Reading { handle: JoinHandle<(S, Result<Snapshot<S::Sample>>)> },
    /// The source was lost to a panic or a shutdown, or is not to be read.
    Done,
}

impl<S> Sampler<S>
where
    S: Source + Send + 'static,
    S::Sample: Send + 'static,
{
    pub(crate) fn new(source: S, period: Duration) -> Self {
        Self {
            state: State::Idle { source },
            schedule: Schedule::new(period),
            sleep: None,
            cancel: Cancel::new(),
            watch: None,
        }
    }

    /// Sets the policy for ticks that came due while the stream was not polled or the last reading still ran.
    ///
    /// The default is [`Skip`](MissedTickBehavior::Skip): they are left out, and the rhythm stays. `Delay` counts the
    /// period from the late tick on; `Burst` makes up for each missed tick.
    ///
    /// ```text
    /// due      0    1    2    3    4    5    6
    ///          |----|----|----|----|----|----|
    /// polled   |    |          |             (nobody polls between 1 and 3.2)
    /// Skip     0    1          3   4    5    6
    /// Delay    0    1          2    3    4    5
    /// Burst    0    1          23  4    5    6
    /// ```
    ///
    /// The numbers are those of [`Snapshot::seq`].
    pub fn missed_ticks(mut self, behavior: MissedTickBehavior) -> Self {
        self.schedule.missed = behavior;
        self
    }

    /// Delays each tick by a random time up to `most`, so that many monitors do not read in step. Default: none.
    ///
    /// The delay counts as part of the schedule, not as [`Snapshot::lag`]. More than the period is cut to the period.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.schedule.jitter = most.min(self.schedule.period);
        self
    }

    /// Puts the ticks on multiples of the period of the wall clock: with a minute, on every full minute. Default: the
    /// ticks count from the first poll.
    ///
    /// The first tick is then the next such time. When the wall clock is set, the ticks follow it.
    pub fn aligned(mut self) -> Self {
        self.schedule.aligned = true;
        self
    }

    /// Returns the source, unless it is in the pool or lost.
    #[must_use]
    pub fn get_ref(&self) -> Option<&S> {
        match &self.state {
            State::Idle { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the source, unless it is in the pool or lost.
    #[must_use]
    pub fn get_mut(&mut self) -> Option<&mut S> {
        match &mut self.state {
            State::Idle { source } => Some(source),
            _ => None,
        }
    }

    /// Waits for the next tick.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch();
        let Some(due) = self.schedule.due(SystemTime::now()) else {
            return Poll::Pending; // For ever: no waker is registered.
        };
        if due <= Instant::now() {
            // Without the timer, which would round it up to its next millisecond.
            return Poll::Ready(());
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx)
    }

    /// Sees to it that the end of this runtime sets `cancel`.
    fn watch(&mut self) {
        let runtime = Handle::current();
        if let Some(watch) = &self.watch {
            if watch.runtime == runtime.id() && !self.cancel.is_cancelled() {
                return;
            }
            // The stream was polled on another runtime before, whose timer may be gone or stopped.
            watch.task.abort();
            self.cancel = Cancel::new();
            self.sleep = None;
        }
        // A runtime that shuts down waits for readings that have begun, but drops its tasks first: this one, which does nothing else, then
        // cancels the reading.
        let on_drop = CancelOnDrop(self.cancel.clone());
        let task = runtime.spawn(async move {
            let _on_drop = on_drop;
            std::future::pending::<()>().await;
        });
        self.watch = Some(Watch { runtime: runtime.id(), task: task.abort_handle() });
    }

    /// Sends the source to the pool.
    fn start(&mut self, mut source: S, now: Instant, tick: Tick) {
        let cancel = self.cancel.clone();
        let handle = tokio::task::spawn_blocking(move || {
            // It can have waited for a thread.
            let lag = tick.lag.saturating_add(Instant::now().saturating_duration_since(now));
            let mut snapshot = Snapshot::default();
            let result = source.collect(&mut snapshot, &cancel);
            (source, result.map(|()| Snapshot { seq: tick.seq, lag, ..snapshot }))
        });
        self.state = State::Reading { handle };
    }
}

// The source is moved about, never pinned.
impl<S: Source> Unpin for Sampler<S> {}

impl<S> Stream for Sampler<S>
where
    S: Source + Send + 'static,
    S::Sample: Send + 'static,
{
    type Item = Result<Snapshot<S::Sample>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let State::Reading { handle } = &mut this.state {
                return Poll::Ready(Some(match ready!(Pin::new(handle).poll(cx)) {
                    Ok((source, result)) => {
                        this.state = State::Idle { source };
                        result
                    }
                    Err(lost) => {
                        this.state = State::Done;
                        Err(lost_reading(lost))
                    }
                }));
            }
            if matches!(this.state, State::Idle { .. }) {
                if this.schedule.period.is_zero() {
                    this.state = State::Done;
                    return Poll::Ready(Some(Err(Error::config(
                        "the period between two readings must be longer than zero",
                    ))));
                }
                ready!(this.poll_due(cx));
            }
            match std::mem::replace(&mut this.state, State::Done) {
                State::Idle { source } => {
                    let now = Instant::now();
                    let tick = this.schedule.tick(now, SystemTime::now());
                    this.start(source, now, tick);
                }
                _ => return Poll::Ready(None),
            }
        }
    }
}

impl<S> FusedStream for Sampler<S>
where
    S: Source + Send + 'static,
    S::Sample: Send + 'static,
{
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<S: Source> Drop for Sampler<S> {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(watch) = &self.watch {
            watch.task.abort();
        }
        if let State::Reading { handle } = &self.state {
            // Keeps a reading from starting that is still in the pool's queue.
            handle.abort();
        }
    }
}

impl<S: Source> fmt::Debug for Sampler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle { .. } => "idle",
            State::Reading { .. } => "reading",
            State::Done => "done",
        };
        f.debug_struct("Sampler").field("state", &state).field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The text of a panic, as far as it has one.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}

/// Why a reading did not come back from the pool.
fn lost_reading(lost: JoinError) -> Error {
    match lost.try_into_panic() {
        Ok(panic) => Error::panicked(panic_message(&*panic)),
        Err(_) => Error::runtime_gone(),
    }
}

/// One hop of a one-shot reading to the pool.
pub(crate) async fn hop<T: Send + 'static>(read: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|lost| Err(lost_reading(lost)))
}

/// A hop that has begun. It goes on while nobody polls this.
#[cfg(feature = "recording")]
pub(crate) struct Hop<T>(JoinHandle<T>);

#[cfg(feature = "recording")]
impl<T: Send + 'static> Hop<T> {
    pub(crate) fn start(read: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(tokio::task::spawn_blocking(read))
    }
}

#[cfg(feature = "recording")]
impl<T> Future for Hop<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        Pin::new(&mut self.0).poll(cx).map_err(lost_reading)
    }
}
