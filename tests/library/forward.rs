//! The forwarder, on a clock that stands still: what it sends, again and in order, and what it counts.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use appmon::forward::{Codec, Count, Forwarder, Forwarders, Message, Outcome, Overflow, Publish, Report};
use appmon::{Error, ForwardExt, Result, Snapshot};
use futures::{SinkExt, Stream, StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use common::brokers::{Reading, snapshot};

/// A broker that does as it is told: for each message it asks the script, which is given how often it was sent before.
struct Scripted<F> {
    script: F,
    sent: Sent,
}

/// The sequence numbers of each batch that was sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<Vec<u64>>>>);

impl Sent {
    fn batches(&self) -> Vec<Vec<u64>> {
        self.0.lock().unwrap().clone()
    }

    fn all(&self) -> Vec<u64> {
        self.batches().concat()
    }
}

fn scripted<F>(script: F) -> (Scripted<F>, Sent)
where
    F: FnMut(u64, usize) -> Outcome + Send,
{
    let sent = Sent::default();
    (Scripted { script, sent: sent.clone() }, sent)
}

impl<F: FnMut(u64, usize) -> Outcome + Send> Publish for Scripted<F> {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        let before = self.sent.all();
        self.sent.0.lock().unwrap().push(batch.iter().map(|message| message.id.seq).collect());
        tokio::time::sleep(Duration::from_millis(1)).await;
        let times = |seq| before.iter().filter(|sent| **sent == seq).count();
        batch.iter().map(|message| (self.script)(message.id.seq, times(message.id.seq))).collect()
    }
}

fn broken() -> Error {
    Error::broker("broken")
}

fn snapshots(count: u64) -> impl Stream<Item = Result<Snapshot<Reading>>> + Unpin {
    stream::iter((0..count).map(|seq| Ok(snapshot(seq, 3))))
}

const TICK: Duration = Duration::from_secs(1);

/// One snapshot a second.
fn ticks(count: u64) -> impl Stream<Item = Result<Snapshot<Reading>>> {
    stream::unfold(0, move |seq| async move {
        if seq == count {
            return None;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok(snapshot(seq, 3)), seq + 1))
    })
}

async fn forward<F>(
    count: u64,
    script: F,
    set: impl FnOnce(Forwarder<Scripted<F>>) -> Forwarder<Scripted<F>>,
) -> (Report, Sent)
where
    F: FnMut(u64, usize) -> Outcome + Send + 'static,
{
    let (publish, sent) = scripted(script);
    let report = snapshots(count).forward_to(set(Forwarder::new(publish).host("h"))).await.unwrap();
    assert!(report.is_balanced(), "{report:?}");
    (report, sent)
}

#[tokio::test(start_paused = true)]
async fn all_is_sent_once_in_order_and_in_batches() {
    let (report, sent) = forward(1000, |_, _| Outcome::Accepted, |forwarder| forwarder.batch(100, 1 << 20)).await;
    assert_eq!((report.snapshots, report.samples, report.messages), (1000, 3000, 1000));
    assert_eq!((report.accepted, report.accepted_samples, report.retried), (1000, 3000, 0));
    assert!(report.is_complete());
    assert_eq!(sent.all(), (0..1000).collect::<Vec<_>>());
    assert!(sent.batches().iter().all(|batch| batch.len() <= 100), "{:?}", sent.batches());
    assert!(sent.batches().iter().any(|batch| batch.len() == 100));
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_in_bytes() {
    let (report, sent) = forward(50, |_, _| Outcome::Accepted, |forwarder| forwarder.batch(100, 1)).await;
    assert_eq!(report.accepted, 50);
    assert!(sent.batches().iter().all(|batch| batch.len() == 1), "a message larger than the bound goes alone");
}

#[tokio::test(start_paused = true)]
async fn what_was_in_vain_is_sent_again_before_anything_later() {
    // Each third message is refused twice, and what comes after it in its batch is not looked at.
    let script = |seq: u64, times: usize| {
        if seq.is_multiple_of(3) && times < 2 { Outcome::Retry(broken()) } else { Outcome::Accepted }
    };
    let (report, sent) = forward(30, script, |forwarder| forwarder.batch(5, 1 << 20)).await;
    assert_eq!(report.accepted, 30);
    assert_eq!(report.retried, 20);
    assert_eq!(report.unknown, 0);
    let batches = sent.batches();
    for pair in batches.windows(2) {
        assert!(pair[0].iter().min() <= pair[1].iter().min(), "{batches:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_outcomes_and_duplicates_are_told() {
    let script = |_, times| match times {
        0 => Outcome::Unknown(broken()),
        1 => Outcome::Retry(broken()),
        _ => Outcome::Duplicate,
    };
    let (report, _) = forward(4, script, |forwarder| forwarder.batch(1, 1 << 20)).await;
    assert_eq!((report.accepted, report.duplicates), (4, 4));
    assert_eq!((report.retried, report.unknown), (8, 4));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_set_aside() {
    let aside = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&aside);
    let script = |seq, _| if seq == 3 { Outcome::Rejected(Error::broker("too large")) } else { Outcome::Accepted };
    let (report, sent) = forward(10, script, |forwarder| {
        forwarder.on_rejected(move |message, error| seen.lock().unwrap().push((message.id.seq, error.to_string())))
    })
    .await;
    assert_eq!(report.dropped.rejected, Count { messages: 1, samples: 3 });
    assert_eq!(report.accepted, 9);
    assert!(!report.is_complete());
    assert_eq!(*aside.lock().unwrap(), [(3, "too large".to_owned())]);
    assert_eq!(sent.all(), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_message_that_breaks_every_connection_is_found() {
    /// Breaks at one message: what came before it was taken, what comes after it was not looked at.
    struct Breaks(Sent);

    impl Publish for Breaks {
        async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
            self.0.0.lock().unwrap().push(batch.iter().map(|message| message.id.seq).collect());
            let taken = batch.iter().take_while(|message| message.id.seq != 17).count();
            (0..batch.len())
                .map(|index| if index < taken { Outcome::Accepted } else { Outcome::Unknown(broken()) })
                .collect()
        }

        async fn check(&mut self) -> Option<Result<()>> {
            Some(Ok(()))
        }
    }

    let sent = Sent::default();
    let forwarder = Forwarder::new(Breaks(sent.clone())).host("h").retry(TICK / 10, TICK);
    let report = snapshots(40).forward_to(forwarder).await.unwrap();
    assert!(report.is_balanced());
    assert_eq!((report.accepted, report.dropped.rejected.messages), (39, 1), "{:?} {report:?}", sent.batches());
    assert!(sent.batches().len() < 30, "{:?}", sent.batches());
}

#[tokio::test(start_paused = true)]
async fn fewer_outcomes_than_messages_are_not_taken_for_success() {
    struct Short(u32);

    impl Publish for Short {
        async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
            self.0 += 1;
            let told = if self.0 == 1 { 1 } else { batch.len() };
            (0..told).map(|_| Outcome::Accepted).collect()
        }
    }

    let report = snapshots(5).forward_to(Forwarder::new(Short(0)).host("h").linger(TICK / 1000)).await.unwrap();
    assert_eq!((report.accepted, report.retried, report.unknown), (5, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_is_given_up_on_and_asked_again() {
    struct Silent(u32);

    impl Publish for Silent {
        async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
            self.0 += 1;
            if self.0 == 1 {
                std::future::pending::<()>().await;
            }
            batch.iter().map(|_| Outcome::Accepted).collect()
        }
    }

    let start = Instant::now();
    let forwarder = Forwarder::new(Silent(0)).host("h").linger(TICK / 1000).publish_timeout(Duration::from_secs(7));
    let report = snapshots(2).forward_to(forwarder).await.unwrap();
    assert_eq!((report.accepted, report.unknown), (2, 2));
    assert!(start.elapsed() >= Duration::from_secs(7) && start.elapsed() < Duration::from_secs(8));
}

/// Away for this long, then there.
fn away(time: Duration) -> impl FnMut(u64, usize) -> Outcome + Send {
    let mut until = None;
    move |_, _| {
        let until = *until.get_or_insert_with(|| Instant::now() + time);
        if Instant::now() < until { Outcome::Retry(broken()) } else { Outcome::Accepted }
    }
}

#[tokio::test(start_paused = true)]
async fn blocked_means_that_ticks_wait() {
    let (publish, sent) = scripted(away(Duration::from_secs(60)));
    let forwarder = Forwarder::new(publish).host("h").queue(10, 1 << 20).batch(4, 1 << 20);
    let monitor = forwarder.monitor();
    let taken = Arc::new(Mutex::new(0));
    let count = Arc::clone(&taken);
    let ticks = ticks(100).inspect(move |_| *count.lock().unwrap() += 1);
    let mut forwarding = Box::pin(ticks.forward_to(forwarder));
    assert!(tokio::time::timeout(Duration::from_secs(59), &mut forwarding).await.is_err());
    // A batch, the queue, and no more.
    assert!((11..=14).contains(&*taken.lock().unwrap()), "{taken:?}");
    let status = monitor.status();
    assert_eq!(status.last_error.as_deref(), Some("broken"));
    assert_eq!(status.waiting_messages, *taken.lock().unwrap());
    let report = forwarding.await.unwrap();
    assert_eq!(report.accepted, 100);
    assert!(report.is_complete() && report.is_balanced());
    assert_eq!(monitor.status().last_error, None);
    assert_eq!(sent.all().into_iter().collect::<BTreeSet<_>>().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn overflow_drops_what_was_chosen() {
    let dropped = |overflow| async move {
        let (publish, sent) = scripted(away(Duration::from_secs(60)));
        let forwarder = Forwarder::new(publish)
            .host("h")
            .queue(10, 1 << 20)
            .batch(4, 1 << 20)
            .overflow(overflow)
            .retry(TICK / 10, TICK / 2);
        let report = ticks(100).forward_to(forwarder).await.unwrap();
        assert!(report.is_balanced(), "{report:?}");
        assert_eq!(report.snapshots, 100, "no tick waits");
        let sent: Vec<_> = sent.all().into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(sent.len() as u64, report.accepted);
        (report, sent)
    };
    let (report, sent) = dropped(Overflow::DropNewest).await;
    assert_eq!(report.dropped.newest.messages, 100 - report.accepted);
    assert_eq!(sent[..11], (0..11).collect::<Vec<_>>());
    assert!(!sent.contains(&30));

    let (report, sent) = dropped(Overflow::DropOldest).await;
    assert_eq!(report.dropped.oldest.messages, 100 - report.accepted);
    assert_eq!(report.dropped.oldest.samples, 3 * report.dropped.oldest.messages);
    assert!(sent.contains(&0), "it was on its way");
    assert!(!sent.contains(&30) && sent.contains(&55), "the last ten before the broker came back: {sent:?}");

    let (report, sent) = dropped(Overflow::LatestPerKey).await;
    assert_eq!(report.dropped.superseded.messages, 100 - report.accepted);
    assert!(sent.contains(&59) || sent.contains(&60), "{sent:?}");
    assert!(!sent.contains(&30) && !sent.contains(&50), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn the_latest_of_each_thing() {
    let (publish, sent) = scripted(away(Duration::from_secs(10)));
    let forwarder =
        Forwarder::new(publish).host("h").overflow(Overflow::LatestPerKey).per_sample(true).batch(1, 1 << 20);
    let report = ticks(5).forward_to(forwarder).await.unwrap();
    assert!(report.is_balanced());
    assert_eq!(report.messages, 15);
    // The first sample was on its way; of each of the three the last is sent.
    let distinct: BTreeSet<_> = sent.all().into_iter().collect();
    assert_eq!(distinct.into_iter().collect::<Vec<_>>(), [0, 12, 13, 14]);
    assert_eq!(report.dropped.superseded, Count { messages: 11, samples: 11 });
}

#[tokio::test(start_paused = true)]
async fn a_dead_broker_for_an_hour_costs_no_more_memory() {
    let (publish, _) = scripted(|_, _| Outcome::Retry(broken()));
    let token = CancellationToken::new();
    let forwarder = Forwarder::new(publish)
        .host("h")
        .queue(1 << 20, 1 << 20)
        .overflow(Overflow::DropOldest)
        .shutdown(token.clone())
        .deadline(Duration::ZERO);
    let monitor = forwarder.monitor();
    // 2,000 samples a second.
    let ticks = stream::unfold(0, |seq| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok(snapshot(seq, 2000)), seq + 1))
    });
    let start = Instant::now();
    let forwarding = tokio::spawn(Box::pin(ticks.forward_to(forwarder)));
    let mut most = VecDeque::new();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        most.push_back(monitor.status().waiting_bytes);
    }
    assert!(most.iter().all(|bytes| *bytes <= 1 << 20), "{most:?}");
    token.cancel();
    let report = forwarding.await.unwrap().unwrap();
    assert!(start.elapsed() >= Duration::from_secs(3600) && start.elapsed() < Duration::from_secs(3602));
    assert!(report.snapshots >= 3598, "no tick waited: {report:?}");
    assert!(report.is_balanced(), "{report:?}");
    assert_eq!(report.accepted, 0);
    assert!(report.dropped.shutdown.messages > 0);
}

#[tokio::test(start_paused = true)]
async fn a_future_ends_it_also_when_there_is_no_room() {
    let (publish, _) = scripted(|_, _| Outcome::Retry(broken()));
    let start = Instant::now();
    // Its output is of no interest, and it is not polled after its end.
    let end = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Err::<u32, ()>(())
    };
    let forwarder =
        Forwarder::new(publish).host("h").queue(2, 1 << 20).shutdown_when(end).deadline(Duration::from_secs(5));
    let report = ticks(1000).forward_to(forwarder).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 65);
    assert!(report.snapshots <= 3 && report.dropped.shutdown.messages == report.snapshots, "{report:?}");
    // Of a token and a future the last one counts.
    let (publish, _) = scripted(|_, _| Outcome::Accepted);
    let token = CancellationToken::new();
    token.cancel();
    let forwarder = Forwarder::new(publish).host("h").shutdown(token).shutdown_when(std::future::pending::<()>());
    assert_eq!(ticks(3).forward_to(forwarder).await.unwrap().accepted, 3);
}

#[tokio::test(start_paused = true)]
async fn told_to_end_it_sends_what_waits_and_takes_no_more() {
    let (publish, _) = scripted(away(Duration::from_secs(5)));
    let token = CancellationToken::new();
    let forwarder = Forwarder::new(publish).host("h").shutdown(token.clone());
    let forwarding = tokio::spawn(ticks(1000).forward_to(forwarder));
    tokio::time::sleep(Duration::from_millis(3500)).await;
    token.cancel();
    let report = forwarding.await.unwrap().unwrap();
    assert_eq!((report.snapshots, report.accepted), (3, 3));
    assert!(report.is_complete());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_whose_broker_is_dead_has_a_deadline() {
    let (publish, _) = scripted(|_, _| Outcome::Retry(broken()));
    let start = Instant::now();
    let forwarder = Forwarder::new(publish).host("h").deadline(Duration::from_secs(20));
    let report = snapshots(5).forward_to(forwarder).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(21));
    assert_eq!(report.dropped.shutdown, Count { messages: 5, samples: 15 });
    assert!(report.is_balanced());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_told_late_is_followed_without_a_pause() {
    /// Says how much it takes after the first batch, and is never idle.
    struct Learns(Option<usize>, Arc<Mutex<Vec<usize>>>);

    impl Publish for Learns {
        async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
            tokio::time::sleep(TICK * 3 / 2).await;
            self.0 = Some(8 << 10);
            self.1.lock().unwrap().extend(batch.iter().map(|message| message.payload.len()));
            batch.iter().map(|_| Outcome::Accepted).collect()
        }

        fn max_message_bytes(&self) -> Option<usize> {
            self.0
        }
    }

    let sizes = Arc::new(Mutex::new(Vec::new()));
    let large = ticks(20).map(|tick| tick.map(|tick| snapshot(tick.seq, 500)));
    let report = large.forward_to(Forwarder::new(Learns(None, Arc::clone(&sizes))).host("h")).await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    let sizes = sizes.lock().unwrap();
    assert!(sizes[0] > 8 << 10 && sizes[5..].iter().all(|size| *size <= 8 << 10), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_wait_for_company_when_told_to() {
    let (publish, sent) = scripted(|_, _| Outcome::Accepted);
    let forwarder = Forwarder::new(publish).host("h").linger(Duration::from_millis(4500)).batch(6, 1 << 20);
    let report = ticks(14).forward_to(forwarder).await.unwrap();
    assert_eq!(report.accepted, 14);
    let lengths: Vec<_> = sent.batches().iter().map(Vec::len).collect();
    assert_eq!(lengths, [5, 5, 4], "the last does not wait: nothing more can come");
}

#[tokio::test(start_paused = true)]
async fn failed_ticks_are_counted_and_wrong_settings_end_it() {
    let (publish, _) = scripted(|_, _| Outcome::Accepted);
    let items = [Ok(snapshot(0, 1)), Err(Error::malformed("x")), Ok(snapshot(2, 1))];
    let report = stream::iter(items).forward_to(Forwarder::new(publish).host("h")).await.unwrap();
    assert_eq!((report.failed_ticks, report.accepted), (1, 2));

    let (publish, sent) = scripted(|_, _| Outcome::Accepted);
    let items = [Ok(snapshot(0, 1)), Err(Error::config("no such file system")), Ok(snapshot(2, 1))];
    let error = stream::iter(items).forward_to(Forwarder::new(publish).host("h")).await.unwrap_err();
    assert!(error.is_config());
    assert_eq!(sent.all(), [0], "what was taken before is sent");

    let (publish, _) = scripted(|_, _| Outcome::Accepted);
    let error = snapshots(1).forward_to(Forwarder::new(publish).host("a\nb")).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("a\\nb"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_sink_is_flushed_when_all_is_settled() {
    let (publish, sent) = scripted(away(Duration::from_secs(5)));
    let mut sink = Forwarder::new(publish).host("h").queue(2, 1 << 20).batch(1, 1 << 20).into_sink();
    let monitor = sink.monitor();
    for seq in 0..3 {
        sink.send(snapshot(seq, 3)).await.unwrap();
        assert_eq!(monitor.status().report.accepted, seq + 1, "`send` flushes");
    }
    snapshots(20).forward(&mut sink).await.unwrap();
    assert_eq!(monitor.status().report.accepted, 23);
    assert_eq!(sent.all().into_iter().collect::<BTreeSet<_>>().len(), 23);
    assert!(monitor.status().report.is_complete());
    assert!(sink.feed(snapshot(0, 1)).await.is_err(), "forward closed it");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_full_is_not_ready_until_it_is_not() {
    let (publish, _) = scripted(away(Duration::from_secs(60)));
    let mut sink = Forwarder::new(publish).host("h").queue(2, 1 << 20).batch(1, 1 << 20).into_sink();
    for seq in 0..3 {
        sink.feed(snapshot(seq, 1)).await.unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_secs(30), sink.feed(snapshot(3, 1))).await.is_err());
    sink.feed(snapshot(4, 1)).await.unwrap();
    sink.close().await.unwrap();
    let report = sink.monitor().status().report;
    assert_eq!((report.messages, report.accepted), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn several_forwarders_know_nothing_of_each_other() {
    let (well, sent) = scripted(|_, _| Outcome::Accepted);
    let (dead, _) = scripted(|_, _| Outcome::Retry(broken()));
    let (dropping, _) = scripted(|_, _| Outcome::Retry(broken()));
    let (stopped, _) = scripted(|_, _| Outcome::Accepted);
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(10_500)).await;
        stop.cancel();
    });
    let forwarders = Forwarders::new()
        .with(Forwarder::new(well).host("h"))
        .with(Forwarder::new(dead).host("h").queue(5, 1 << 20).batch(1, 1 << 20).deadline(TICK))
        .with(Forwarder::new(dropping).host("h").queue(5, 1 << 20).overflow(Overflow::DropOldest).deadline(TICK))
        .with(Forwarder::new(stopped).host("h").shutdown(token));
    let reports = ticks(100).forward_to_all(forwarders).await.unwrap();
    let [well, dead, dropping, stopped] = reports[..] else { panic!("{reports:?}") };
    assert!(reports.iter().all(Report::is_balanced));
    assert_eq!(sent.all(), (0..100).collect::<Vec<_>>());
    assert!(well.is_complete());
    assert_eq!((dead.snapshots + dead.missed_snapshots, dead.messages), (100, dead.dropped.shutdown.messages));
    assert!(dead.missed_snapshots > 90);
    assert_eq!((dropping.snapshots, dropping.missed_snapshots), (100, 0));
    assert!(dropping.dropped.oldest.messages > 90);
    assert_eq!((stopped.snapshots, stopped.accepted), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn when_no_forwarder_has_room_ticks_wait() {
    let one = || {
        let (publish, _) = scripted(away(Duration::from_secs(60)));
        Forwarder::new(publish).host("h").queue(5, 1 << 20).retry(TICK / 10, TICK)
    };
    let forwarders = Forwarders::new().with(one()).with(one());
    let reports = ticks(100).forward_to_all(forwarders).await.unwrap();
    assert!(reports.iter().all(|report| report.snapshots + report.missed_snapshots == 100), "{reports:?}");
    assert!(reports.iter().all(|report| report.accepted > 90), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_zero_begins_nothing_more() {
    let (publish, sent) = scripted(|_, _| Outcome::Accepted);
    let token = CancellationToken::new();
    token.cancel();
    let forwarder = Forwarder::new(publish).host("h").shutdown(token).deadline(Duration::ZERO);
    let report = snapshots(5).forward_to(forwarder).await.unwrap();
    assert_eq!((report.snapshots, sent.all().len()), (0, 0), "told to end before it began");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_another_attempt_has_it_at_the_end() {
    // It is back, and the next attempt would be a minute later.
    let there = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_there = Arc::clone(&there);
    let script = move |_, _| match is_there.load(std::sync::atomic::Ordering::SeqCst) {
        true => Outcome::Accepted,
        false => Outcome::Retry(broken()),
    };
    let (publish, sent) = scripted(script);
    let token = CancellationToken::new();
    let minute = Duration::from_secs(3600);
    let forwarder = Forwarder::new(publish).host("h").retry(minute, minute).deadline(Duration::from_secs(3));
    let forwarder = forwarder.shutdown(token.clone());
    let stream = Box::pin(snapshots(80).chain(stream::pending()));
    let task = tokio::spawn(stream.forward_to(forwarder));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sent.batches().len(), 1, "it waits");
    there.store(true, std::sync::atomic::Ordering::SeqCst);
    token.cancel();
    let report = task.await.unwrap().unwrap();
    assert_eq!((report.accepted, report.dropped.total().messages), (80, 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_twice_does_not_wait_for_the_deadline() {
    let (publish, _) = scripted(|_, _| Outcome::Retry(broken()));
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let forwarder = Forwarder::new(publish).host("h").deadline(Duration::from_secs(3600));
    let forwarder = forwarder.shutdown(first.clone()).abort(second.clone());
    let task = tokio::spawn(Box::pin(snapshots(80).chain(stream::pending())).forward_to(forwarder));
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.cancel();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!task.is_finished(), "it has until the deadline");
    let begin = Instant::now();
    second.cancel();
    let report = task.await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(report.dropped.shutdown.messages, 80);
    assert!(report.is_balanced() && !report.is_lossless());
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_begin_ends_no_other() {
    let (good, sent) = scripted(|_, _| Outcome::Accepted);
    let (bad, never) = scripted(|_, _| Outcome::Accepted);
    let good = Forwarder::new(good).host("h");
    let bad = Forwarder::new(bad).host("h").spool("/no/such/folder/spool", 1 << 20);
    let (monitor, bad_monitor) = (good.monitor(), bad.monitor());
    let error = ticks(20).forward_to_all(Forwarders::new().with(bad).with(good)).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
    assert!(bad_monitor.status().last_error.unwrap().contains("/no/such/folder"));
    assert_eq!((sent.all().len(), never.all().len()), (20, 0));
    assert!(monitor.status().report.is_complete());
}

#[tokio::test(start_paused = true)]
async fn polled_after_its_end_it_does_not_hang() {
    let (publish, _) = scripted(|_, _| Outcome::Accepted);
    let mut forwarding = Box::pin(snapshots(3).forward_to(Forwarder::new(publish).host("h")));
    let report = (&mut forwarding).await.unwrap();
    let again = tokio::time::timeout(TICK, &mut forwarding).await.expect("it answers").unwrap();
    assert_eq!(again, report);
    let (publish, _) = scripted(|_, _| Outcome::Accepted);
    let mut forwarding = Box::pin(snapshots(3).forward_to(Forwarder::new(publish).host("")));
    assert!((&mut forwarding).await.unwrap_err().is_config());
    assert!(tokio::time::timeout(TICK, &mut forwarding).await.expect("it answers").unwrap_err().is_config());
}

/// A broker that tells its limit late, or by refusing; it keeps what it takes.
#[derive(Clone, Default)]
struct Narrow {
    limit: usize,
    /// Whether it can say what the limit is: once it was connected.
    tells: bool,
    connected: Arc<std::sync::atomic::AtomicBool>,
    /// So many attempts find nobody there.
    away: usize,
    got: Arc<Mutex<Vec<Message>>>,
}

impl Publish for Narrow {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.away > 0 {
            self.away -= 1;
            return batch.iter().map(|_| Outcome::Retry(broken())).collect();
        }
        self.connected.store(true, std::sync::atomic::Ordering::SeqCst);
        let outcome = |message: &Message| match message.payload.len() <= self.limit {
            true => {
                self.got.lock().unwrap().push(message.clone());
                Outcome::Accepted
            }
            false if self.tells => Outcome::Rejected(Error::broker("too large")),
            false => Outcome::TooLarge(Error::broker("too large")),
        };
        batch.iter().map(outcome).collect()
    }

    fn max_message_bytes(&self) -> Option<usize> {
        let tells = self.tells && self.connected.load(std::sync::atomic::Ordering::SeqCst);
        tells.then_some(self.limit + 2048)
    }
}

impl Narrow {
    /// The samples of each snapshot by its number, put together from the parts as a consumer does: they come in order, one after the
    /// other, of one producer, and only the last one is the last.
    fn snapshots(&self) -> Vec<(u64, Vec<serde_json::Value>)> {
        let mut whole: Vec<(u64, Vec<serde_json::Value>)> = Vec::new();
        let mut ids = BTreeSet::new();
        let mut open: Option<(u64, u64, u64, u32)> = None;
        for message in self.got.lock().unwrap().iter() {
            assert!(ids.insert(message.id), "{} came twice", message.id);
            let document: serde_json::Value = match message.codec {
                Codec::MessagePack => rmp_serde::from_slice(&message.payload).unwrap(),
                _ => serde_json::from_slice(&message.payload).unwrap(),
            };
            let samples = document["samples"].as_array().unwrap().clone();
            assert_eq!(samples.len(), message.samples as usize);
            let seq = document["seq"].as_u64().unwrap();
            let (part, last) = (document["part"].as_u64().unwrap_or(0), document["last"].as_bool());
            let piece = message.id.piece;
            assert_eq!(
                document.get("piece"),
                serde_json::to_value(piece).ok().filter(|piece| !piece.is_null()).as_ref()
            );
            let from = piece.map_or(0, |piece| piece.from);
            assert_eq!(piece.map_or(message.samples, |piece| piece.to - piece.from), message.samples);
            match open {
                None => {
                    assert_eq!((part, from), (0, 0));
                    whole.push((seq, samples));
                }
                Some(next) => {
                    assert_eq!((seq, part, message.id.seq, from), next, "parts and pieces follow each other");
                    whole.last_mut().unwrap().1.extend(samples);
                }
            }
            open = match piece.filter(|piece| piece.to < piece.of) {
                Some(piece) => Some((seq, part, message.id.seq, piece.to)),
                None => (last == Some(false)).then(|| (seq, part + 1, message.id.seq + 1, 0)),
            };
        }
        assert_eq!(open, None);
        whole
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_split_and_stays_what_it_was() {
    for codec in [Codec::Json, Codec::MessagePack] {
        // Encoded as a whole, and in parts already.
        for most in [4 << 20, 40_000] {
            for (tells, away) in [(true, 0), (true, 5), (false, 0), (false, 5)] {
                let broker = Narrow { limit: 10_000, tells, away, ..Narrow::default() };
                let forwarder = Forwarder::new(broker.clone()).host("h").codec(codec).max_message_bytes(most);
                let large = stream::iter((0..6).map(|seq| Ok(snapshot(seq, 2000))));
                let report = large.forward_to(forwarder).await.unwrap();
                let what = format!("{codec} {most} {tells} {away} {report:?}");
                assert!(report.is_complete() && report.is_balanced(), "{what}");
                assert_eq!(report.accepted_samples, 12_000, "{what}");
                let sizes: Vec<_> = broker.got.lock().unwrap().iter().map(|message| message.payload.len()).collect();
                assert!(sizes.iter().all(|size| *size <= 10_000), "{what} {sizes:?}");
                for (seq, samples) in broker.snapshots() {
                    let expected = serde_json::to_value(&snapshot(seq, 2000).samples).unwrap();
                    assert_eq!(samples, *expected.as_array().unwrap(), "{what}");
                }
                assert_eq!(broker.snapshots().len(), 6, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lines_are_split_too_and_a_sample_that_is_too_large_is_refused() {
    let broker = Narrow { limit: 5000, tells: true, away: 2, ..Narrow::default() };
    let forwarder = Forwarder::new(broker.clone()).host("h").codec(Codec::Ndjson);
    let report = stream::iter((0..3).map(|seq| Ok(snapshot(seq, 500)))).forward_to(forwarder).await.unwrap();
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    let lines: usize = broker.got.lock().unwrap().iter().map(|m| m.payload.split(|b| *b == b'\n').count() - 1).sum();
    assert_eq!((lines, report.accepted_samples), (1500, 1500));

    let broker = Narrow { limit: 20, tells: false, ..Narrow::default() };
    let forwarder = Forwarder::new(broker.clone()).host("h").per_sample(true);
    let report = snapshots(3).forward_to(forwarder).await.unwrap();
    assert_eq!((report.accepted, report.dropped.rejected.messages), (0, 9), "{report:?}");
    assert!(report.is_balanced());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_asks_to_wait_is_left_alone_so_long() {
    let start = tokio::time::Instant::now();
    let mut asked = Vec::new();
    let (publish, sent) = scripted(move |_, attempt| {
        asked.push(start.elapsed());
        match attempt {
            0 => Outcome::RetryAfter { wait: Duration::from_secs(120), error: broken() },
            _ => {
                assert!(start.elapsed() >= Duration::from_secs(120), "{asked:?}");
                Outcome::Accepted
            }
        }
    });
    let forwarder = Forwarder::new(publish).host("h").deadline(Duration::from_secs(600));
    let report = snapshots(1).forward_to(forwarder).await.unwrap();
    assert!(report.is_complete() && start.elapsed() < Duration::from_secs(131), "{report:?}");
    assert_eq!(sent.batches().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn samples_that_are_refused_are_counted_and_their_message_is_not_sent_again() {
    let (publish, sent) = scripted(|_, _| Outcome::Partly { refused: 2, error: broken() });
    let report = snapshots(3).forward_to(Forwarder::new(publish).host("h")).await.unwrap();
    assert!(report.is_balanced() && !report.is_lossless(), "{report:?}");
    assert_eq!((report.accepted, report.dropped.rejected.messages, report.dropped.rejected.samples), (3, 0, 6));
    assert_eq!(report.accepted_samples + 6, report.samples);
    assert_eq!(sent.all(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_does_not_begin_with_a_wrong_setting_of_its_broker() {
    struct Wrong;
    impl Publish for Wrong {
        fn validate(&self) -> Result<()> {
            Err(Error::config("topic: \"a b\""))
        }
        async fn publish(&mut self, _: &[Message]) -> Vec<Outcome> {
            unreachable!("it is not asked")
        }
    }
    let error = snapshots(3).forward_to(Forwarder::new(Wrong).host("h")).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("topic"), "{error}");
}
