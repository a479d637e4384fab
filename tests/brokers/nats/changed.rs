//! Streams that send only what changed, over a real server: whole again at the next tick that is sent.

use appmon::time::Monotonic;

use super::*;

/// The tick `seq`: of 40 samples two differ from the tick before.
fn tick(seq: u64) -> Snapshot<Reading> {
    let text = |number| if number == seq % 40 { format!("at {seq}") } else { "as ever".to_owned() };
    let mut snapshot: Snapshot<_> = (0..40).map(|number| Reading { number, text: text(number) }).collect();
    snapshot.seq = seq;
    snapshot.at = Monotonic::from_nanos(seq + 1);
    snapshot
}

/// A tick for each number, as they are sent.
fn forward_ticks(
    nats: &Nats,
    numbers: tokio::sync::mpsc::Receiver<u64>,
    set: impl FnOnce(Forwarder<JetStream>) -> Forwarder<JetStream>,
) -> (JoinHandle<Report>, appmon::forward::Monitor) {
    let forwarder = Forwarder::new(JetStream::new(server(nats.port)).unwrap())
        .host("web-17")
        .only_changed(Duration::MAX)
        .retry(Duration::from_millis(10), Duration::from_millis(200))
        .deadline(Duration::from_secs(60));
    let forwarder = set(forwarder);
    let monitor = forwarder.monitor();
    let ticks = stream::unfold(numbers, |mut numbers| async move {
        let seq = numbers.recv().await?;
        Some((Ok(tick(seq)), numbers))
    });
    (tokio::spawn(async move { ticks.forward_to(forwarder).await.unwrap() }), monitor)
}

fn consumer(nats: &Nats) -> Consumer<Reading> {
    Consumer::new(server(nats.port), STREAM).unwrap().from_oldest()
}

/// The next snapshot, which is the whole that was sent.
async fn restored(stream: &mut (impl Stream<Item = Result<Snapshot<Reading>>> + Unpin)) -> u64 {
    loop {
        let item = tokio::time::timeout(Duration::from_secs(120), stream.next()).await.expect("an item").unwrap();
        match item {
            Ok(snapshot) => {
                let sent = tick(snapshot.seq);
                assert_eq!((snapshot.samples, snapshot.at), (sent.samples, sent.at), "tick {}", snapshot.seq);
                return snapshot.seq;
            }
            Err(error) => assert!(error.is_broker(), "{error}"),
        }
    }
}

/// How many consumers the server has for the stream.
async fn consumers(nats: &Nats) -> usize {
    nats.admin().await.get_stream(STREAM).await.unwrap().info().await.unwrap().state.consumer_count
}

/// How many messages the durable consumer was given and has not acknowledged.
async fn unacknowledged(nats: &Nats) -> usize {
    let stream = nats.admin().await.get_stream(STREAM).await.unwrap();
    let mut consumer: jetstream::consumer::PullConsumer = stream.get_consumer("one").await.unwrap();
    consumer.info().await.unwrap().num_ack_pending
}

async fn until_accepted(monitor: &appmon::forward::Monitor, count: u64) {
    while monitor.status().report.accepted < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_breaks_no_chain() {
    let Some(mut nats) = Nats::started() else { return };
    nats.create().await;
    let (send, numbers) = tokio::sync::mpsc::channel(1);
    let (task, monitor) = forward_ticks(&nats, numbers, |forwarder| forwarder);
    let mut arriving = consumer(&nats).stream();
    let mut seq = 0;
    for round in 0..4 {
        for _ in 0..10 {
            send.send(seq).await.unwrap();
            seq += 1;
        }
        until_accepted(&monitor, seq).await;
        for expected in seq - 10..seq {
            assert_eq!(restored(&mut arriving).await, expected);
        }
        nats.kill();
        if round == 2 {
            // It forgets all it had.
            nats.forget();
        }
        // Sent in vain: the forwarder sees that it is away.
        send.send(seq).await.unwrap();
        seq += 1;
        while monitor.status().last_error.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        nats.start();
        if round == 2 {
            nats.create().await;
        }
        until_accepted(&monitor, seq).await;
        // It refers to what the server may have forgotten, and the consumer has not.
        assert_eq!(restored(&mut arriving).await, seq - 1);
        // The next one is whole, whatever came before.
        send.send(seq).await.unwrap();
        seq += 1;
        assert_eq!(restored(&mut arriving).await, seq - 1);
    }
    drop(send);
    let report = task.await.unwrap();
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    assert_eq!(report.snapshots, seq);
    assert_eq!(report.snapshots - report.deltas, 5, "the first, and the one after each outage: {report:?}");
    assert_eq!(arriving.received().unrestored, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_overflows_is_followed_by_everything() {
    let Some(mut nats) = Nats::started() else { return };
    nats.create().await;
    let (send, numbers) = tokio::sync::mpsc::channel(1);
    let set = |forwarder: Forwarder<JetStream>| forwarder.queue(4, 1 << 20).overflow(Overflow::DropOldest);
    let (task, monitor) = forward_ticks(&nats, numbers, set);
    let mut arriving = consumer(&nats).stream();
    for seq in 0..3 {
        send.send(seq).await.unwrap();
        assert_eq!(restored(&mut arriving).await, seq);
    }
    nats.kill();
    for seq in 3..30 {
        send.send(seq).await.unwrap();
    }
    // The last is taken when the channel has room for one more.
    send.send(30).await.unwrap();
    nats.start();
    send.send(31).await.unwrap();
    let mut last = 2;
    while last != 31 {
        last = restored(&mut arriving).await;
    }
    drop(send);
    let report = task.await.unwrap();
    assert!(report.is_balanced() && report.dropped.oldest.messages > 10, "{report:?}");
    assert_eq!(monitor.status().report, report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_either_side() {
    let Some(nats) = Nats::started() else { return };
    nats.create().await;
    let durable = || consumer(&nats).durable("one").ack_wait(Duration::from_secs(10));
    let mut seq = 0;
    let mut arriving = durable().stream();
    for _ in 0..3 {
        let (send, numbers) = tokio::sync::mpsc::channel(1);
        let (task, _) = forward_ticks(&nats, numbers, |forwarder| forwarder);
        for round in 0..4 {
            for _ in 0..5 {
                send.send(seq).await.unwrap();
                assert_eq!(restored(&mut arriving).await, seq);
                seq += 1;
            }
            // A new consumer has none of what came before, and the next message only says what changed.
            arriving.close().await;
            arriving = if round == 1 { consumer(&nats).from_now().stream() } else { durable().stream() };
            if round == 1 {
                // It begins with what comes next; what it begins with says where the rest is.
                let before = consumers(&nats).await;
                while consumers(&nats).await == before {
                    assert!(tokio::time::timeout(Duration::from_millis(20), arriving.next()).await.is_err());
                }
                send.send(seq).await.unwrap();
                assert_eq!(restored(&mut arriving).await, seq);
                drop(arriving);
                arriving = durable().stream();
                assert_eq!(restored(&mut arriving).await, seq, "the other one has it too");
                seq += 1;
            }
        }
        // One that is gone without a word: nobody knows whether its last snapshot was used, so that comes again.
        send.send(seq).await.unwrap();
        assert_eq!(restored(&mut arriving).await, seq);
        drop(arriving);
        seq += 1;
        send.send(seq).await.unwrap();
        arriving = durable().stream();
        assert_eq!([restored(&mut arriving).await, restored(&mut arriving).await], [seq - 1, seq]);
        seq += 1;
        // The server gives it out once more, which is a duplicate by now; until then whoever begins anew gets it again.
        while unacknowledged(&nats).await > 0 {
            assert!(tokio::time::timeout(Duration::from_millis(20), arriving.next()).await.is_err());
        }
        drop(send);
        let report = task.await.unwrap();
        assert!(report.is_complete() && report.deltas + 1 == report.snapshots, "{report:?}");
    }
    assert_eq!(arriving.received().unrestored, 0);
}
