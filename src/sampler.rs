//! When to read: the one door from blocking sources to async streams.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use futures_util::Stream;
use futures_util::stream::FusedStream;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, Sleep};

use crate::source::read_into;
use crate::{Cancel, Error, Result, Snapshot, Source};

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
/// An `Err` means that this tick failed; the next one tries again. A source that panics gives one error
/// ([`Error::is_panic`]), and the stream ends; so does a period of zero ([`Error::is_config`]).
///
/// # Cancel safety
///
/// Polling is cancel safe: a reading goes on while nobody waits for it, and its snapshot is given to the next poll.
/// Dropping the stream asks the reading to stop, and so does the shutdown of the runtime, which therefore does not wait
/// for its end.
#[must_use = "streams do nothing unless polled"]
pub struct Sampler<S: Source> {
    state: State<S>,
    schedule: Schedule,
    /// Set for the next tick; boxed once, so that the stream is `Unpin`, and reset in place.
    sleep: Option<Pin<Box<Sleep>>>,
    cancel: Cancel,
    watch: Option<Watch>,
}

/// The task that tells the end of a runtime.
struct Watch {
    runtime: tokio::runtime::Id,
    task: AbortHandle,
}

enum State<S: Source> {
    /// Waiting for the next tick.
    Idle { source: S },
    /// The source is in the pool, and comes back with what it saw.
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

    /// What happens to ticks that came due while nobody polled or the last reading still ran.
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

    /// The source, unless it is in the pool or lost.
    #[must_use]
    pub fn get_ref(&self) -> Option<&S> {
        match &self.state {
            State::Idle { source } => Some(source),
            _ => None,
        }
    }

    /// The source, unless it is in the pool or lost.
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
            return Poll::Pending; // For ever: nothing is to wake it.
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
            // The stream was polled on another runtime before, whose timer may be gone or stand still.
            watch.task.abort();
            self.cancel = Cancel::new();
            self.sleep = None;
        }
        // A runtime that shuts down waits for readings that have begun, but drops its tasks first: this one, which does
        // nothing else, then asks the reading to stop.
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
            let result = read_into(&mut source, &mut snapshot, &cancel);
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
                    return Poll::Ready(Some(Err(Error::config("the period between two readings is zero"))));
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

/// When the ticks are due. Clocks are arguments.
#[derive(Debug)]
struct Schedule {
    period: Duration,
    missed: MissedTickBehavior,
    jitter: Duration,
    aligned: bool,
    /// When the next tick is due, without jitter.
    next: Next,
    /// The jitter of the next tick.
    delay: Duration,
    seq: u64,
}

/// When the next tick is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The schedule has not started.
    First,
    At(Instant),
    /// Not within the time that the clock can count.
    Never,
}

impl From<Option<Instant>> for Next {
    fn from(at: Option<Instant>) -> Self {
        at.map_or(Self::Never, Self::At)
    }
}

/// A tick that has come.
#[derive(Debug, PartialEq, Eq)]
struct Tick {
    seq: u64,
    lag: Duration,
}

/// A tick this late is not missed, only late: the timer's own resolution is a millisecond.
const ON_TIME: Duration = Duration::from_millis(5);

impl Schedule {
    fn new(period: Duration) -> Self {
        Self {
            period,
            missed: MissedTickBehavior::Skip,
            jitter: Duration::ZERO,
            aligned: false,
            next: Next::First,
            delay: Duration::ZERO,
            seq: 0,
        }
    }

    /// When the next tick is due, jitter included; `None` for never. The first call starts the schedule.
    fn due(&mut self, wall: SystemTime) -> Option<Instant> {
        if self.next == Next::First {
            let wait = if self.aligned { until_multiple(wall, self.period) } else { Duration::ZERO };
            self.delay = self.draw();
            self.next = Instant::now().checked_add(wait).into();
        }
        match self.next {
            Next::At(next) => next.checked_add(self.delay),
            Next::First | Next::Never => None,
        }
    }

    /// Takes the tick that is due by now, and plans the one after it.
    fn tick(&mut self, now: Instant, wall: SystemTime) -> Tick {
        let scheduled = if let Next::At(next) = self.next { next } else { now };
        let late = now.saturating_duration_since(scheduled).saturating_sub(self.delay);
        let missed = if late > ON_TIME { whole_periods(late, self.period) } else { 0 };
        let (skipped, next) = match self.missed {
            MissedTickBehavior::Delay if late > ON_TIME => (0, now.checked_add(self.period)),
            MissedTickBehavior::Burst | MissedTickBehavior::Delay => (0, scheduled.checked_add(self.period)),
            // Skip, and what tokio may add: this is the newest of the ticks that are due, the others are left out.
            _ => (missed, scheduled.checked_add(periods(missed.saturating_add(1), self.period))),
        };
        let tick =
            Tick { seq: self.seq.saturating_add(skipped), lag: late.saturating_sub(periods(skipped, self.period)) };
        self.seq = tick.seq.saturating_add(1);
        self.next = next.map(|next| if self.aligned { self.align(next, now, wall) } else { next }).into();
        self.delay = self.draw();
        tick
    }

    /// The multiple of the period nearest to `next` by the wall clock as it is now.
    fn align(&self, next: Instant, now: Instant, wall: SystemTime) -> Instant {
        let ahead = next.saturating_duration_since(now);
        let Some(then) = wall.checked_add(ahead) else { return next };
        let to = until_multiple(then, self.period);
        let back = self.period.saturating_sub(to);
        let aligned = if to <= back { next.checked_add(to) } else { next.checked_sub(back) };
        match aligned {
            Some(aligned) if aligned > now => aligned,
            _ => next,
        }
    }

    fn draw(&self) -> Duration {
        let most = crate::time::duration_nanos(self.jitter);
        if most == 0 { Duration::ZERO } else { Duration::from_nanos(fastrand::u64(0..=most)) }
    }
}

/// How long until the wall clock shows a multiple of `period`.
fn until_multiple(wall: SystemTime, period: Duration) -> Duration {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match since.as_nanos().checked_rem(period.as_nanos()) {
        None | Some(0) => Duration::ZERO,
        Some(over) => period.saturating_sub(from_nanos(over)),
    }
}

fn periods(count: u64, period: Duration) -> Duration {
    from_nanos(u128::from(count).saturating_mul(period.as_nanos()))
}

/// The longest duration there is where it would be longer.
fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let (seconds, rest) = (nanos.checked_div(SECOND), nanos.checked_rem(SECOND));
    let seconds = u64::try_from(seconds.unwrap_or(0));
    let rest = u32::try_from(rest.unwrap_or(0)).unwrap_or(0);
    seconds.map_or(Duration::MAX, |seconds| Duration::new(seconds, rest))
}

fn whole_periods(late: Duration, period: Duration) -> u64 {
    u64::try_from(late.as_nanos().checked_div(period.as_nanos()).unwrap_or(0)).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The wall clock at this many milliseconds after a full minute.
    fn wall(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + 1_000_000 * MINUTE + Duration::from_millis(millis)
    }

    #[test]
    fn until_the_next_multiple() {
        assert_eq!(until_multiple(wall(0), MINUTE), Duration::ZERO, "this is one");
        assert_eq!(until_multiple(wall(1), MINUTE), Duration::from_millis(59_999));
        assert_eq!(until_multiple(wall(59_999), MINUTE), Duration::from_millis(1));
        assert_eq!(until_multiple(SystemTime::UNIX_EPOCH - MINUTE, MINUTE), Duration::ZERO, "before 1970 is 1970");
        // Longer than the time since 1970, and than 64 bits of nanoseconds.
        let since_1970 = Duration::from_secs(60_000_000);
        assert_eq!(until_multiple(wall(0), Duration::MAX), Duration::MAX - since_1970);
        assert_eq!(until_multiple(wall(0), since_1970 * 3), since_1970 * 2);
        let millennium = Duration::from_secs(1000 * 365 * 86_400);
        assert_eq!(until_multiple(wall(1), millennium), millennium - since_1970 - Duration::from_millis(1));
    }

    /// Takes a tick this long after `start`, when the wall clock shows `wall_millis`; gives when the next is due after `start`.
    fn aligned_tick(schedule: &mut Schedule, start: Instant, after: u64, wall_millis: u64) -> Duration {
        schedule.tick(start + Duration::from_millis(after), wall(wall_millis));
        at(schedule.next) - start
    }

    fn at(next: Next) -> Instant {
        if let Next::At(at) = next { at } else { panic!("{next:?}") }
    }

    #[tokio::test(start_paused = true)]
    async fn aligned_ticks_follow_the_wall_clock() {
        let start = Instant::now();
        let mut schedule = Schedule { aligned: true, ..Schedule::new(MINUTE) };
        assert_eq!(schedule.due(wall(45_000)).unwrap() - start, Duration::from_secs(15));
        // Undisturbed: a minute apart.
        assert_eq!(aligned_tick(&mut schedule, start, 15_000, 60_000), Duration::from_secs(75));
        // The wall clock lost 10 s, as by a step back: the full minute comes 10 s later.
        assert_eq!(aligned_tick(&mut schedule, start, 75_000, 110_000), Duration::from_secs(145));
        // It gained 10 s: the next full minute comes 10 s earlier, and not another at once.
        assert_eq!(aligned_tick(&mut schedule, start, 145_000, 190_000), Duration::from_secs(195));
        // It runs a trifle fast or slow: the tick stays the one of that minute, and none comes twice.
        assert_eq!(aligned_tick(&mut schedule, start, 195_000, 239_999), Duration::from_millis(255_001));
        assert_eq!(aligned_tick(&mut schedule, start, 255_001, 300_002), Duration::from_millis(314_999));
        assert_eq!(schedule.seq, 5, "no step of the clock is a missed tick");
    }

    #[tokio::test(start_paused = true)]
    async fn an_aligned_tick_that_is_late_leaves_the_minute() {
        let start = Instant::now();
        let mut schedule = Schedule { aligned: true, ..Schedule::new(MINUTE) };
        schedule.due(wall(0));
        let tick = schedule.tick(start + Duration::from_secs(130), wall(130_000));
        assert_eq!(tick, Tick { seq: 2, lag: Duration::from_secs(10) });
        assert_eq!(at(schedule.next) - start, Duration::from_secs(180));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_is_no_lag_and_does_not_add_up() {
        let start = Instant::now();
        let mut schedule = Schedule { jitter: Duration::from_secs(1), ..Schedule::new(MINUTE) };
        for number in 0..1000_u32 {
            let due = schedule.due(wall(0)).unwrap();
            let base = start + MINUTE * number;
            assert!((base..=base + Duration::from_secs(1)).contains(&due));
            assert_eq!(schedule.tick(due, wall(0)), Tick { seq: number.into(), lag: Duration::ZERO });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_never_due() {
        let start = Instant::now();
        for missed in [MissedTickBehavior::Skip, MissedTickBehavior::Delay, MissedTickBehavior::Burst] {
            for late in [Duration::ZERO, Duration::from_secs(3600)] {
                let mut schedule = Schedule { missed, ..Schedule::new(Duration::MAX) };
                assert_eq!(schedule.due(wall(1)), Some(start));
                assert_eq!(schedule.tick(start + late, wall(1)), Tick { seq: 0, lag: late });
                assert_eq!((schedule.next, schedule.due(wall(1))), (Next::Never, None));
            }
        }
        let mut schedule = Schedule { aligned: true, ..Schedule::new(Duration::MAX) };
        assert_eq!(schedule.due(wall(1)), None, "the next multiple is beyond the end of time");
        let mut schedule = Schedule { jitter: Duration::MAX, ..Schedule::new(Duration::MAX) };
        assert!(schedule.due(wall(1)).is_none_or(|due| due >= start));
        // Far away is not never.
        let year = Duration::from_secs(365 * 86_400);
        let mut schedule = Schedule::new(1000 * year);
        schedule.tick(start, wall(0));
        assert_eq!(schedule.due(wall(0)), Some(start + 1000 * year));
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_periods_are_counted() {
        // Periods shorter than what counts as late, and far more missed ones than 32 bits hold.
        let mut schedule = Schedule::new(Duration::from_nanos(1));
        schedule.due(wall(0));
        let tick = schedule.tick(Instant::now() + Duration::from_secs(3600), wall(0));
        assert_eq!(tick, Tick { seq: 3_600_000_000_000, lag: Duration::ZERO });
    }
}
