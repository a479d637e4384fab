//! When a sampler reads, and what becomes of a reading when its stream, its runtime or its source goes away.
//!
//! Time is tokio's paused clock. It moves on by itself when nothing is left to do, but not while a blocking task runs: so
//! a reading takes no time, unless the test moves the clock while it holds the reading up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use appmon::time::Monotonic;
use appmon::{BootId, Cancel, Error, Result, Sampler, Snapshot, Source, SourceExt, Timestamp};
use futures::stream::FusedStream;
use futures::{StreamExt, poll};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, advance, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// A source made of a function, which gives the one sample of a snapshot. It counts its readings.
struct Reads<F> {
    read: F,
    begun: Arc<AtomicUsize>,
}

impl<F: FnMut(&Cancel) -> Result<usize>> Source for Reads<F> {
    type Sample = usize;

    fn fill(&mut self, snapshot: &mut Snapshot<usize>, cancel: &Cancel) -> Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        snapshot.samples.push((self.read)(cancel)?);
        Ok(())
    }
}

fn source<F: FnMut(&Cancel) -> Result<usize>>(read: F) -> Reads<F> {
    Reads { read, begun: Arc::default() }
}

/// A source that always succeeds, and numbers its readings.
fn numbers() -> Reads<impl FnMut(&Cancel) -> Result<usize>> {
    let mut count = 0;
    source(move |_| {
        count += 1;
        Ok(count - 1)
    })
}

/// The test's end of a source that tells when a reading begins, and holds it up until it is let go.
struct Gate {
    begun: UnboundedReceiver<()>,
    open: mpsc::Sender<()>,
}

impl Gate {
    async fn begun(&mut self) {
        self.begun.recv().await.expect("a reading");
    }

    fn open(&self) {
        self.open.send(()).expect("a source that waits");
    }
}

/// A source whose readings `hold` says so wait at the gate.
fn gated(hold: impl Fn(usize) -> bool) -> (Gate, Reads<impl FnMut(&Cancel) -> Result<usize>>) {
    let (tell, begun) = unbounded_channel();
    let (open, gate) = mpsc::channel();
    let mut count = 0;
    let source = source(move |_| {
        count += 1;
        if hold(count - 1) {
            // Nobody listens any more when the test is over.
            let _ = tell.send(());
            let _ = gate.recv();
        }
        Ok(count - 1)
    });
    (Gate { begun, open }, source)
}

/// A source whose readings end only when they are cancelled. It tells when one begins (`false`), and when it has seen that
/// it is cancelled (`true`).
fn until_cancelled() -> (UnboundedReceiver<bool>, Reads<impl FnMut(&Cancel) -> Result<usize>>) {
    let (tell, told) = unbounded_channel::<bool>();
    let source = source(move |cancel| {
        let _ = tell.send(false);
        // Only so that a test that fails does not hang.
        let give_up = std::time::Instant::now() + Duration::from_secs(20);
        while !cancel.is_cancelled() {
            assert!(std::time::Instant::now() < give_up, "never cancelled");
            std::thread::yield_now();
        }
        let _ = tell.send(true);
        Err(Error::cancelled())
    });
    (told, source)
}

/// When the next snapshots came, in milliseconds after `start`, with their `seq` and `lag`.
async fn ticks<S>(stream: &mut Sampler<S>, start: Instant, count: usize) -> Vec<(u128, u64, u128)>
where
    S: Source + Send + 'static,
    S::Sample: Send + 'static,
{
    let mut seen = Vec::new();
    for _ in 0..count {
        let snapshot = stream.next().await.expect("an endless stream").expect("a snapshot");
        seen.push((start.elapsed().as_millis(), snapshot.seq, snapshot.lag.as_millis()));
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn the_first_tick_is_due_at_once_and_the_others_a_period_apart() {
    let start = Instant::now();
    let seen = ticks(&mut numbers().every(SECOND), start, 4).await;
    assert_eq!(seen, [(0, 0, 0), (1000, 1, 0), (2000, 2, 0), (3000, 3, 0)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_before_the_first_poll() {
    let numbers = numbers();
    let begun = Arc::clone(&numbers.begun);
    let mut stream = numbers.every(SECOND);
    // A task that was there in secret would run here.
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(begun.load(Ordering::SeqCst), 0);
    let start = Instant::now();
    assert_eq!(ticks(&mut stream, start, 2).await, [(0, 0, 0), (1000, 1, 0)], "the first poll starts the schedule");
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(begun.load(Ordering::SeqCst), 2, "and nothing is read ahead");
}

/// Polls as it is drawn at [`Sampler::missed_ticks`]: nobody does between 1 and 3.2.
async fn drawn(missed: Option<MissedTickBehavior>) -> Vec<(u128, u64, u128)> {
    let start = Instant::now();
    let mut stream = numbers().every(SECOND);
    if let Some(missed) = missed {
        stream = stream.missed_ticks(missed);
    }
    let mut seen = ticks(&mut stream, start, 2).await;
    sleep_until(start + Duration::from_millis(3200)).await;
    seen.extend(ticks(&mut stream, start, 4).await);
    seen
}

#[tokio::test(start_paused = true)]
async fn missed_ticks_are_skipped_unless_something_else_is_said() {
    let skip = [(0, 0, 0), (1000, 1, 0), (3200, 3, 200), (4000, 4, 0), (5000, 5, 0), (6000, 6, 0)];
    assert_eq!(drawn(None).await, skip);
    assert_eq!(drawn(Some(MissedTickBehavior::Skip)).await, skip);
}

#[tokio::test(start_paused = true)]
async fn missed_ticks_can_delay_the_others() {
    let delay = [(0, 0, 0), (1000, 1, 0), (3200, 2, 1200), (4200, 3, 0), (5200, 4, 0), (6200, 5, 0)];
    assert_eq!(drawn(Some(MissedTickBehavior::Delay)).await, delay);
}

#[tokio::test(start_paused = true)]
async fn missed_ticks_can_be_made_up_for() {
    let burst = [(0, 0, 0), (1000, 1, 0), (3200, 2, 1200), (3200, 3, 200), (4000, 4, 0), (5000, 5, 0)];
    assert_eq!(drawn(Some(MissedTickBehavior::Burst)).await, burst);
}

/// Lets the third reading take so long.
async fn long_reading(length: Duration) -> Vec<(u128, u64, u128)> {
    let start = Instant::now();
    let (mut gate, source) = gated(|number| number == 2);
    let mut stream = source.every(SECOND);
    let mut seen = ticks(&mut stream, start, 2).await;
    let (rest, ()) = tokio::join!(ticks(&mut stream, start, 3), async {
        gate.begun().await;
        advance(length).await;
        gate.open();
    });
    seen.extend(rest);
    seen
}

#[tokio::test(start_paused = true)]
async fn a_reading_longer_than_the_period_makes_the_next_late() {
    // As it is drawn at `Sampler`: the reading of tick 2 ends at 3.5, and the others keep the rhythm.
    let seen = long_reading(Duration::from_millis(1500)).await;
    assert_eq!(seen, [(0, 0, 0), (1000, 1, 0), (3500, 2, 0), (3500, 3, 500), (4000, 4, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_reading_of_several_periods_leaves_a_gap_in_seq() {
    let seen = long_reading(Duration::from_millis(3200)).await;
    assert_eq!(seen, [(0, 0, 0), (1000, 1, 0), (5200, 2, 0), (5200, 5, 200), (6000, 6, 0)]);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_within_its_bounds_and_does_not_add_up() {
    let most = 300;
    let start = Instant::now();
    let mut stream = numbers().every(SECOND).jitter(Duration::from_millis(most));
    let seen = ticks(&mut stream, start, 300).await;
    let mut delays = Vec::new();
    for (number, (at, seq, lag)) in seen.into_iter().enumerate() {
        assert_eq!(seq, u64::try_from(number).unwrap(), "no tick is missed by jitter");
        assert!(lag <= 1, "{lag} ms: jitter is part of the schedule");
        delays.push(u64::try_from(at).unwrap() - seq * 1000);
    }
    // The timer rounds up to its millisecond.
    assert!(delays.iter().all(|delay| *delay <= most + 1), "{delays:?}");
    // 300 draws of which none is in the first or the last tenth: once in 10^13 runs.
    assert!(delays.iter().any(|delay| *delay < most / 10), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay > most - most / 10), "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn jitter_is_cut_to_the_period() {
    let start = Instant::now();
    let mut stream = numbers().every(SECOND).jitter(100 * SECOND);
    for (at, seq, _) in ticks(&mut stream, start, 100).await {
        assert!(u64::try_from(at).unwrap() <= (seq + 1) * 1000 + 1, "tick {seq} at {at} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn aligned_ticks_wait_for_a_multiple_of_the_period() {
    let period = Duration::from_secs(3600);
    let until_full_hour = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        3_600_000 - now % 3_600_000
    };
    // The paused clock does not move the wall clock: only the first tick can be told, and only between two looks at the
    // wall clock that were in the same hour.
    loop {
        let (start, most) = (Instant::now(), until_full_hour());
        let mut stream = numbers().every(period).aligned();
        let seen = ticks(&mut stream, start, 1).await;
        let least = until_full_hour();
        if least <= most {
            let (at, seq, lag) = seen[0];
            assert!((least - 1..=most + 1).contains(&at), "{at} ms, where {least} to {most} were expected");
            assert_eq!((seq, lag), (0, 0));
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_one_reading_is_in_flight() {
    let (mut gate, source) = gated(|_| true);
    let begun = Arc::clone(&source.begun);
    let mut stream = source.every(SECOND);
    assert!(poll!(stream.next()).is_pending());
    gate.begun().await;
    for _ in 0..10 {
        advance(SECOND).await;
        assert!(poll!(stream.next()).is_pending());
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    assert!(stream.get_ref().is_none() && stream.get_mut().is_none(), "the source is in the pool");
    gate.open();
    assert_eq!(stream.next().await.unwrap().unwrap().samples, [0]);
    assert!(stream.get_ref().is_some() && stream.get_mut().is_some(), "the source is back");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_of_its_tick_alone() {
    let mut count = 0;
    let mut stream = source(move |_| {
        count += 1;
        if count % 2 == 1 { Err(Error::config(format!("reading {count}"))) } else { Ok(count) }
    })
    .every(SECOND);
    let start = Instant::now();
    for round in 0..3 {
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(error.is_config());
        assert_eq!(error.to_string(), format!("reading {}", 2 * round + 1));
        assert!(!stream.is_terminated());
        let snapshot = stream.next().await.unwrap().unwrap();
        assert_eq!(snapshot.seq, 2 * round + 1, "a tick that failed has a number too");
        assert_eq!(start.elapsed(), SECOND * u32::try_from(2 * round + 1).unwrap());
    }
}

/// A source that panics at its second reading.
async fn panicking(panic: impl Fn() + Send + 'static) -> String {
    let mut numbers = numbers();
    let mut stream = source(move |cancel| {
        let number = (numbers.read)(cancel)?;
        if number == 1 {
            panic();
        }
        Ok(number)
    })
    .every(SECOND);
    assert_eq!(stream.next().await.unwrap().unwrap().seq, 0);
    assert!(!stream.is_terminated());
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.is_panic() && !error.is_runtime_gone() && !error.is_cancelled());
    assert!(stream.is_terminated());
    assert!(stream.next().await.is_none());
    assert!(stream.next().await.is_none(), "ended for good");
    assert!(stream.get_ref().is_none(), "the source is lost");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_one_error_and_the_end() {
    let text = panicking(|| panic!("no reading today")).await;
    assert_eq!(text, "the source panicked: no reading today");
    let text = panicking(|| std::panic::panic_any(format!("number {}", 7))).await;
    assert_eq!(text, "the source panicked: number 7");
    let text = panicking(|| std::panic::panic_any(7)).await;
    assert_eq!(text, "the source panicked: no message");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_poll_loses_nothing() {
    let (mut gate, source) = gated(|number| number == 0);
    let begun = Arc::clone(&source.begun);
    let mut stream = source.every(SECOND);
    {
        let mut next = stream.next();
        assert!(poll!(&mut next).is_pending());
        gate.begun().await;
    }
    {
        let mut next = stream.next();
        assert!(poll!(&mut next).is_pending());
    }
    gate.open();
    // It can have ended before the next poll or not: the same snapshot comes.
    let snapshot = stream.next().await.unwrap().unwrap();
    assert_eq!((snapshot.seq, snapshot.samples), (0, vec![0]));
    assert_eq!(begun.load(Ordering::SeqCst), 1, "it was not read again");
    // A poll dropped while the stream waits for its tick costs neither the tick nor the rhythm.
    assert!(poll!(stream.next()).is_pending());
    let start = Instant::now();
    assert_eq!(ticks(&mut stream, start, 1).await, [(1000, 1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_stops_the_reading() {
    let (mut told, source) = until_cancelled();
    let mut stream = source.every(SECOND);
    assert!(poll!(stream.next()).is_pending());
    assert_eq!(told.recv().await, Some(false), "it reads");
    drop(stream);
    assert_eq!(told.recv().await, Some(true), "it was cancelled");
    assert_eq!(told.recv().await, None, "and the source is dropped");
}

fn runtime(worker_threads: usize) -> Runtime {
    let mut builder = if worker_threads == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_time().worker_threads(worker_threads.max(1)).max_blocking_threads(1).build().unwrap()
}

#[test]
fn dropping_the_stream_stops_the_reading_where_the_runtime_stands_still() {
    let runtime = runtime(0);
    let (mut told, source) = until_cancelled();
    let mut stream = source.every(SECOND);
    runtime.block_on(async {
        assert!(poll!(stream.next()).is_pending());
        assert_eq!(told.recv().await, Some(false), "it reads");
    });
    drop(stream);
    assert_eq!(told.blocking_recv(), Some(true), "it was cancelled");
    drop(runtime);
}

#[test]
fn a_reading_that_waits_for_a_thread_is_not_begun_when_the_stream_is_dropped() {
    let runtime = runtime(0);
    let numbers = numbers();
    let begun = Arc::clone(&numbers.begun);
    runtime.block_on(async move {
        let (open, gate) = mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || gate.recv());
        let mut stream = numbers.every(SECOND);
        assert!(poll!(stream.next()).is_pending(), "the only thread of the pool is busy");
        drop(stream);
        open.send(()).unwrap();
        busy.await.unwrap().unwrap();
        // The pool is first in, first out: the reading's turn has come before this one's.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    });
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

/// The shutdown of a runtime waits for its blocking tasks, so a reading that nobody cancels would hold it up for good.
#[test]
fn the_shutdown_of_the_runtime_stops_a_reading_whose_stream_is_in_a_task() {
    for worker_threads in [0, 1, 2] {
        let runtime = runtime(worker_threads);
        let (mut told, source) = until_cancelled();
        runtime.spawn(async move {
            let mut stream = source.every(SECOND);
            while stream.next().await.is_some() {}
        });
        assert_eq!(runtime.block_on(told.recv()), Some(false), "it reads");
        drop(runtime);
        assert_eq!(told.blocking_recv(), Some(true), "it was cancelled");
    }
}

#[test]
fn the_shutdown_of_the_runtime_stops_a_reading_whose_stream_is_outside_of_it() {
    for worker_threads in [0, 1, 2] {
        let first = runtime(worker_threads);
        let (mut told, source) = until_cancelled();
        let mut stream = source.every(SECOND);
        first.block_on(async {
            assert!(poll!(stream.next()).is_pending());
            assert_eq!(told.recv().await, Some(false), "it reads");
        });
        drop(first);
        assert_eq!(told.blocking_recv(), Some(true), "it was cancelled");
        // The source came back from the pool, so the stream goes on wherever it is polled next.
        let second = runtime(0);
        second.block_on(async {
            assert!(stream.next().await.unwrap().unwrap_err().is_cancelled());
            assert!(!stream.is_terminated());
            assert!(poll!(stream.next()).is_pending());
        });
        drop(stream);
    }
}

#[test]
fn a_stream_goes_on_in_another_runtime() {
    let mut stream = numbers().every(Duration::from_millis(1)).missed_ticks(MissedTickBehavior::Burst);
    let mut expected = 0;
    for worker_threads in [0, 1, 0] {
        runtime(worker_threads).block_on(async {
            for _ in 0..3 {
                let snapshot = stream.next().await.unwrap().unwrap();
                assert_eq!(snapshot.seq, expected);
                expected += 1;
            }
        });
    }
}

/// Leaves the stream waiting for a tick in one runtime, by that runtime's timer, and polls it in another.
fn wait_in_two_runtimes<S>(mut stream: Sampler<S>, drop_the_first: bool)
where
    S: Source + Send + 'static,
    S::Sample: Send + 'static,
{
    let first = runtime(0);
    first.block_on(async { while poll!(stream.next()).is_ready() {} });
    let first = (!drop_the_first).then_some(first);
    runtime(0).block_on(async {
        tokio::time::pause();
        // Were it still the first runtime's timer, this would panic, or wait for good.
        stream.next().await.unwrap().unwrap();
        assert!(!stream.is_terminated());
    });
    drop(first);
}

#[test]
fn a_stream_that_waits_for_its_tick_goes_on_in_another_runtime() {
    let hour = Duration::from_secs(3600);
    for drop_the_first in [true, false] {
        wait_in_two_runtimes(numbers().every(hour).aligned(), drop_the_first);
        let mut begun = numbers().every(hour);
        runtime(0).block_on(async { begun.next().await.unwrap().unwrap() });
        wait_in_two_runtimes(begun, drop_the_first);
    }
}

#[test]
fn a_stream_polled_where_the_runtime_is_gone_ends() {
    for worker_threads in [0, 1] {
        let first = runtime(worker_threads);
        let handle = first.handle().clone();
        drop(first);
        let _inside = handle.enter();
        let mut stream = numbers().every(SECOND);
        let error = futures::executor::block_on(stream.next()).unwrap().unwrap_err();
        assert!(error.is_runtime_gone() && !error.is_panic(), "{error}");
        assert!(stream.is_terminated());
        assert!(futures::executor::block_on(stream.next()).is_none());
    }
}

#[test]
fn a_reading_in_the_queue_of_a_pool_that_shuts_down_is_no_panic() {
    let first = runtime(0);
    let mut stream = numbers().every(SECOND);
    let (open, gate) = mpsc::channel::<()>();
    first.block_on(async {
        let (tell, told) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            tell.send(()).unwrap();
            gate.recv().unwrap();
        });
        told.await.unwrap();
        assert!(poll!(stream.next()).is_pending(), "the only thread of the pool is busy");
    });
    first.shutdown_background();
    open.send(()).unwrap();
    runtime(0).block_on(async {
        // A pool that shuts down may still run what is in its queue.
        match stream.next().await.unwrap() {
            Ok(snapshot) => assert_eq!(snapshot.samples, [0]),
            Err(error) => assert!(error.is_runtime_gone(), "{error}"),
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_period_of_zero_is_an_error_and_nothing_is_read() {
    let numbers = numbers();
    let begun = Arc::clone(&numbers.begun);
    let mut stream = numbers.every(Duration::ZERO).jitter(SECOND).aligned();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.is_config() && error.to_string().contains("period"), "{error}");
    assert!(stream.is_terminated());
    assert!(stream.next().await.is_none());
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_period_without_end_is_one_reading() {
    let century = Duration::from_secs(100 * 365 * 86_400);
    for missed in [MissedTickBehavior::Skip, MissedTickBehavior::Delay, MissedTickBehavior::Burst] {
        let numbers = numbers();
        let begun = Arc::clone(&numbers.begun);
        let mut stream = numbers.every(Duration::MAX).missed_ticks(missed);
        assert_eq!(stream.next().await.unwrap().unwrap().seq, 0);
        for _ in 0..3 {
            let waited = tokio::time::timeout(century, stream.next()).await;
            assert!(waited.is_err(), "{missed:?}: never again");
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert!(!stream.is_terminated());
    }
    // Long is not without end.
    let mut stream = numbers().every(10 * century);
    let start = Instant::now();
    assert_eq!(ticks(&mut stream, start, 2).await, [(0, 0, 0), ((10 * century).as_millis(), 1, 0)]);
}

#[test]
fn the_wait_for_a_thread_of_the_pool_is_lag() {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (open, gate) = mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || gate.recv());
        let mut stream = numbers().every(SECOND);
        assert!(poll!(stream.next()).is_pending(), "the only thread of the pool is busy");
        advance(Duration::from_millis(700)).await;
        assert!(poll!(stream.next()).is_pending());
        open.send(()).unwrap();
        busy.await.unwrap().unwrap();
        let snapshot = stream.next().await.unwrap().unwrap();
        assert_eq!((snapshot.seq, snapshot.lag), (0, Duration::from_millis(700)));
        let snapshot = stream.next().await.unwrap().unwrap();
        assert_eq!((snapshot.seq, snapshot.lag), (1, Duration::ZERO));
    });
}

/// A source that stamps nothing.
struct Bare;

impl Source for Bare {
    type Sample = Monotonic;

    fn fill(&mut self, snapshot: &mut Snapshot<Monotonic>, _: &Cancel) -> Result<()> {
        let now = Monotonic::now();
        snapshot.samples.push(now);
        // So that it takes some time by any clock.
        while Monotonic::now() == now {}
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stamps_nothing_has_its_times() {
    let mut snapshots = Vec::new();
    let mut stream = Bare.every(SECOND);
    for _ in 0..2 {
        snapshots.push(stream.next().await.unwrap().unwrap());
    }
    snapshots.push(Bare.read(&Cancel::new()).unwrap());
    let mut used = snapshots[0].clone();
    used.host = Some("elsewhere".into());
    Bare.collect(&mut used, &Cancel::new()).unwrap();
    snapshots.push(used);
    for snapshot in &snapshots {
        assert_eq!(snapshot.boot_id, BootId::current());
        assert_eq!((&snapshot.host, snapshot.len()), (&None, 1));
        let read = snapshot.samples[0];
        assert!(snapshot.at <= read && read.since(snapshot.at).unwrap() <= snapshot.took);
        assert!(snapshot.took > Duration::ZERO);
        assert!(snapshot.time > Timestamp::default());
    }
    assert!(snapshots.is_sorted_by_key(|snapshot| snapshot.at));
    assert_eq!([snapshots[0].seq, snapshots[1].seq], [0, 1]);
}

/// Puts a snapshot of its own in the place of the one it is to fill.
struct Assigns;

impl Source for Assigns {
    type Sample = u32;

    fn fill(&mut self, snapshot: &mut Snapshot<u32>, _: &Cancel) -> Result<()> {
        *snapshot = [1, 2].into_iter().collect();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_assigns_its_snapshot_has_its_times() {
    for snapshot in [Assigns.read(&Cancel::new()).unwrap(), Assigns.every(SECOND).next().await.unwrap().unwrap()] {
        assert_eq!((snapshot.boot_id, snapshot.len()), (BootId::current(), 2));
        assert!(snapshot.at > Monotonic::default() && snapshot.time > Timestamp::default());
        assert!(snapshot.took > Duration::ZERO);
    }
}

/// Gives what was read elsewhere, at another time.
struct Recorded;

impl Source for Recorded {
    type Sample = ();

    fn fill(&mut self, snapshot: &mut Snapshot<()>, _: &Cancel) -> Result<()> {
        snapshot.host = Some("db-1".into());
        snapshot.boot_id = BootId::default();
        snapshot.at = Monotonic::from_nanos(7);
        snapshot.time = Timestamp::from_unix_nanos(70);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_times_of_its_own_keeps_them() {
    let snapshot = Recorded.every(SECOND).next().await.unwrap().unwrap();
    assert_eq!(snapshot.host.as_deref(), Some("db-1"));
    assert_eq!((snapshot.boot_id, snapshot.at), (BootId::default(), Monotonic::from_nanos(7)));
    assert_eq!((snapshot.time, snapshot.took), (Timestamp::from_unix_nanos(70), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn readings_are_made_outside_of_the_async_threads() {
    let here = std::thread::current().id();
    let elsewhere = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&elsewhere);
    let mut stream = source(move |_| {
        seen.store(std::thread::current().id() != here, Ordering::SeqCst);
        Ok(0)
    })
    .every(SECOND);
    stream.next().await.unwrap().unwrap();
    assert!(elsewhere.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_source_need_not_be_sync_and_can_be_boxed() {
    let seen = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&seen);
    let cell = std::cell::Cell::new(0);
    let boxed: Box<dyn Source<Sample = usize> + Send> = Box::new(source(move |_| {
        cell.set(cell.get() + 1);
        *counter.lock().unwrap() = cell.get();
        Ok(cell.get())
    }));
    let mut stream = boxed.every(SECOND);
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), 2);
}
