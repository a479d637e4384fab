//! The forwarder over a spool on disk: what waits there, what is replayed, what a killed process leaves.

#![allow(clippy::print_stdout, reason = "the child tells what it did")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use appmon::forward::{DeadLetter, Forwarder, Message, MessageId, Outcome, Overflow, Publish, Report};
use appmon::{Error, ForwardExt, Result, Snapshot};
use futures::{Stream, stream};
use tokio_util::sync::CancellationToken;

use common::brokers::{Reading, snapshot};

/// A broker that is away or there, and keeps what it gets.
#[derive(Clone, Default)]
struct Switch {
    there: Arc<AtomicBool>,
    attempts: Arc<AtomicU64>,
    got: Arc<Mutex<Vec<Message>>>,
    rejects: Option<u64>,
}

impl Switch {
    fn there() -> Self {
        let switch = Self::default();
        switch.come();
        switch
    }

    fn come(&self) {
        self.there.store(true, Ordering::SeqCst);
    }

    fn ids(&self) -> Vec<MessageId> {
        self.got.lock().unwrap().iter().map(|message| message.id).collect()
    }

    fn seqs(&self) -> Vec<u64> {
        self.ids().iter().map(|id| id.seq).collect()
    }
}

impl Publish for Switch {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let there = self.there.load(Ordering::SeqCst);
        let outcome = |message: &Message| match there {
            _ if self.rejects == Some(message.id.seq) => Outcome::Rejected(Error::broker("too large for me")),
            true => {
                self.got.lock().unwrap().push(message.clone());
                Outcome::Accepted
            }
            false => Outcome::Retry(Error::broker("away")),
        };
        batch.iter().map(outcome).collect()
    }
}

fn forwarder(broker: &Switch, path: &Path, bytes: u64) -> Forwarder<Switch> {
    let millis = Duration::from_millis;
    Forwarder::new(broker.clone()).host("h").retry(millis(1), millis(5)).spool(path, bytes).deadline(millis(60_000))
}

fn snapshots(count: u64) -> impl Stream<Item = Result<Snapshot<Reading>>> + Send + Unpin {
    stream::iter((0..count).map(|seq| Ok(snapshot(seq, 3))))
}

fn spool() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool.redb");
    (dir, path)
}

/// Waits for what happens on another thread.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

/// Forwards to a broker that is away until it has as many in the spool as there are.
async fn fill(path: &Path, count: u64) -> Report {
    let broker = Switch::default();
    let token = CancellationToken::new();
    let forwarder = forwarder(&broker, path, 64 << 20).shutdown(token.clone()).deadline(Duration::ZERO);
    let monitor = forwarder.monitor();
    let task = tokio::spawn(snapshots(count).forward_to(forwarder));
    until("all is in the spool", || monitor.status().spool_messages >= count || task.is_finished()).await;
    token.cancel();
    task.await.unwrap().unwrap()
}

#[tokio::test]
async fn an_outage_longer_than_memory_loses_nothing() {
    let (_dir, path) = spool();
    let broker = Switch::default();
    // Far more than fits in memory.
    let forwarder = forwarder(&broker, &path, 64 << 20).queue(50, 1 << 20).batch(20, 1 << 20);
    let monitor = forwarder.monitor();
    let task = tokio::spawn(snapshots(3000).forward_to(forwarder));
    until("all is in the spool", || {
        assert!(monitor.status().waiting_bytes < 2 << 20);
        monitor.status().spool_messages >= 3000
    })
    .await;
    assert!(broker.attempts.load(Ordering::SeqCst) > 0);
    assert!(broker.got.lock().unwrap().is_empty());
    broker.come();
    let report = task.await.unwrap().unwrap();
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    assert_eq!(report.accepted, 3000);
    assert_eq!(broker.seqs(), (0..3000).collect::<Vec<_>>());
    let status = monitor.status();
    assert_eq!((status.waiting_messages, status.spool_messages), (0, 0));
}

#[tokio::test]
async fn what_is_left_is_sent_first_by_the_next_with_the_ids_it_had() {
    let (_dir, path) = spool();
    let report = fill(&path, 500).await;
    assert_eq!((report.messages, report.accepted, report.spooled), (500, 0, 500));
    assert!(report.is_balanced() && !report.is_complete(), "{report:?}");

    let broker = Switch::there();
    let report = snapshots(10).forward_to(forwarder(&broker, &path, 64 << 20)).await.unwrap();
    assert_eq!((report.replayed, report.messages, report.accepted, report.spooled), (500, 10, 510, 0));
    assert!(report.is_balanced() && report.is_complete(), "{report:?}");
    let ids = broker.ids();
    assert_eq!(ids[..500].iter().map(|id| id.seq).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    assert!(ids.is_sorted() && ids[0].epoch < ids[509].epoch, "another producer, and a later one");
}

#[tokio::test]
async fn a_full_spool_does_as_chosen() {
    for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest] {
        let (_dir, path) = spool();
        let broker = Switch::default();
        let forwarder = forwarder(&broker, &path, 100 << 10).overflow(overflow).queue(10, 1 << 20).batch(4, 1 << 20);
        let monitor = forwarder.monitor();
        let stream = futures::StreamExt::then(snapshots(2000), |snapshot| async {
            tokio::task::yield_now().await;
            snapshot
        });
        let task = tokio::spawn(Box::pin(stream).forward_to(forwarder));
        let full = |report: &Report| match overflow {
            Overflow::Block => broker.attempts.load(Ordering::SeqCst) > 100,
            _ => report.snapshots == 2000,
        };
        until("the spool is full", || {
            assert!(monitor.status().spool_bytes <= 100 << 10);
            full(&monitor.status().report)
        })
        .await;
        broker.come();
        let report = task.await.unwrap().unwrap();
        assert!(report.is_balanced(), "{overflow:?} {report:?}");
        assert_eq!(report.snapshots, 2000);
        let seqs = broker.seqs();
        assert_eq!(seqs.len() as u64, report.accepted, "{overflow:?}");
        assert!(seqs.is_sorted(), "{overflow:?} {seqs:?}");
        let dropped = report.dropped;
        match overflow {
            Overflow::Block => assert_eq!(report.accepted, 2000),
            Overflow::DropNewest => {
                assert!(dropped.newest.messages > 0 && dropped.total() == dropped.newest, "{report:?}");
                assert_eq!(seqs[..50], (0..50).collect::<Vec<_>>());
            }
            _ => {
                assert!(dropped.oldest.messages > 0 && dropped.total() == dropped.oldest, "{report:?}");
                assert_eq!(seqs.last(), Some(&1999));
            }
        }
    }
}

#[tokio::test]
async fn what_is_refused_for_good_makes_room_too() {
    /// Takes nothing, now or later.
    struct Refuses;

    impl Publish for Refuses {
        async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
            // Slower than the disk: the spool is full before.
            tokio::time::sleep(Duration::from_millis(20)).await;
            batch.iter().map(|_| Outcome::Rejected(Error::broker("no"))).collect()
        }
    }

    let (_dir, path) = spool();
    let forwarder = Forwarder::new(Refuses).host("h").spool(&path, 64 << 10).queue(100, 1 << 20);
    let forwarding = tokio::time::timeout(Duration::from_secs(20), snapshots(1000).forward_to(forwarder));
    let report = forwarding.await.expect("it goes on").unwrap();
    assert_eq!((report.dropped.rejected.messages, report.spooled), (1000, 0), "{report:?}");
    assert!(report.is_balanced());
}

#[tokio::test]
async fn what_the_broker_refuses_is_kept_for_the_operator() {
    let (_dir, path) = spool();
    let broker = Switch { rejects: Some(4), ..Switch::there() };
    let report = snapshots(10).forward_to(forwarder(&broker, &path, 1 << 20)).await.unwrap();
    assert_eq!((report.accepted, report.dropped.rejected.messages), (9, 1));
    assert!(report.is_balanced());
    let aside = DeadLetter::read(&path).unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].message.id.seq, aside[0].reason.as_str()), (4, "too large for me"));
}

#[tokio::test]
async fn wrong_spools_are_told() {
    let (_dir, path) = spool();
    let broker = Switch::there();
    let error = snapshots(1).forward_to(forwarder(&broker, &path, 1 << 20).overflow(Overflow::LatestPerKey)).await;
    assert!(error.unwrap_err().is_config());

    let error =
        snapshots(1).forward_to(forwarder(&broker, Path::new("/no/such/dir/spool"), 1 << 20)).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/dir/spool"), "{error}");

    let away = Switch::default();
    let running = forwarder(&away, &path, 1 << 20);
    let monitor = running.monitor();
    let task = tokio::spawn(snapshots(1).forward_to(running));
    until("it is in the spool", || monitor.status().spool_messages > 0).await;
    let error = snapshots(1).forward_to(forwarder(&broker, &path, 1 << 20)).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("spool.redb"), "{error}");
    away.come();
    assert!(task.await.unwrap().unwrap().is_complete());
}

/// The part of the test below that is killed: it forwards to a broker that takes every other batch, and says what it did.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os("APPMON_TEST_SPOOL") else { return };

    /// Takes every other batch, or nothing.
    struct Half(bool, bool);

    impl Publish for Half {
        async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
            self.0 = !self.0;
            let accepts = self.0 && self.1;
            if accepts {
                for message in batch {
                    println!("accepted {}", message.id);
                }
            }
            batch
                .iter()
                .map(|_| if accepts { Outcome::Accepted } else { Outcome::Retry(Error::broker("no")) })
                .collect()
        }
    }

    let forwarder = Forwarder::new(Half(true, std::env::var_os("APPMON_TEST_TAKES").is_some()))
        .host("h")
        .batch(3, 1 << 20)
        .spool(path, 64 << 20);
    let forwarder = forwarder.retry(Duration::from_millis(1), Duration::from_millis(2));
    let monitor = forwarder.monitor();
    tokio::spawn(async move {
        loop {
            // What is in the spool now was written.
            let status = monitor.status();
            println!("spooled {}", status.spool_messages);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let endless = stream::unfold(0, |seq| async move {
        tokio::time::sleep(Duration::from_micros(300)).await;
        Some((Ok(snapshot(seq, 2)), seq + 1))
    });
    let _ = Box::pin(endless).forward_to(forwarder).await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_spooled() {
    for round in 0..6_u64 {
        let (_dir, path) = spool();
        let mut command = Command::new(std::env::current_exe().unwrap());
        if round % 2 == 0 {
            command.env("APPMON_TEST_TAKES", "1");
        }
        let mut child = command
            .args(["forward_spool::child", "--exact", "--nocapture"])
            .env("APPMON_TEST_SPOOL", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut accepted, mut spooled) = (Vec::<MessageId>::new(), 0_u64);
        // Killed at another moment in each round; what it wrote until then is read to the end. The last line may be cut.
        let mut killed = false;
        let mut text = lines.next();
        while let Some(Ok(line)) = text {
            text = lines.next();
            match line.split_once(' ') {
                _ if text.is_none() => {}
                Some(("accepted", id)) => accepted.push(id.parse().unwrap()),
                Some(("spooled", held)) => spooled = spooled.max(held.parse::<u64>().unwrap()),
                _ => {}
            }
            if !killed && (accepted.len() as u64).max(spooled) > 20 + 37 * round {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed);
        child.wait().unwrap();
        let broker = Switch::there();
        let report = snapshots(0).forward_to(forwarder(&broker, &path, 64 << 20)).await.unwrap();
        assert!(report.is_balanced() && report.is_complete(), "{report:?}");
        let replayed = broker.ids();
        assert!(replayed.is_sorted(), "{replayed:?}");
        // All that was written is there: accepted before, or now; what is both has the same id.
        let mut all: Vec<_> = accepted.iter().chain(&replayed).map(|id| id.seq).collect();
        all.sort_unstable();
        all.dedup();
        let end = all.len() as u64;
        assert_eq!(all, (0..end).collect::<Vec<_>>(), "round {round}: a gap");
        assert!(end >= spooled, "round {round}: {end} of {spooled}");
        for message in broker.got.lock().unwrap().iter() {
            let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(body["seq"], message.id.seq);
        }
    }
}

/// A disk of a megabyte; `None` where there is no right to make one.
fn small_disk() -> Option<(Unmount, tempfile::TempDir)> {
    if !common::require(common::is_root(), "root, for a file system of its own") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(dir.path()).status().unwrap();
    assert!(mount.success());
    Some((Unmount(dir.path().to_owned()), dir))
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn the_report_balances_on_a_full_disk() {
    let Some((_unmount, dir)) = small_disk() else { return };
    let path = dir.path().join("spool.redb");
    let broker = Switch::default();
    let forwarder = forwarder(&broker, &path, 64 << 20).overflow(Overflow::DropNewest).queue(50, 1 << 20);
    let forwarder = forwarder.deadline(Duration::from_secs(3));
    let monitor = forwarder.monitor();
    let mut sink = forwarder.into_sink();
    use futures::SinkExt;
    let mut seq = 0;
    while monitor.status().report.dropped.newest.messages == 0 {
        sink.feed(snapshot(seq, 100)).await.unwrap();
        tokio::task::yield_now().await;
        seq += 1;
    }
    broker.come();
    sink.close().await.unwrap();
    let report = monitor.status().report;
    assert!(report.is_balanced(), "{report:?}");
    assert!(report.accepted > 100, "{report:?}");
    assert_eq!(broker.seqs().len() as u64, report.accepted);
}

#[tokio::test]
async fn a_spool_that_is_moved_or_removed_is_not_claimed() {
    for removed in [true, false] {
        let (dir, path) = spool();
        let broker = Switch::default();
        let token = CancellationToken::new();
        let forwarder = forwarder(&broker, &path, 64 << 20).shutdown(token.clone()).deadline(Duration::ZERO);
        let monitor = forwarder.monitor();
        let endless = futures::StreamExt::chain(snapshots(90), stream::pending());
        let task = tokio::spawn(endless.forward_to(forwarder));
        until("all is in the spool", || monitor.status().spool_messages >= 90).await;
        if removed {
            std::fs::remove_file(&path).unwrap();
        } else {
            std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        }
        token.cancel();
        let report = task.await.unwrap().unwrap();
        assert!(report.is_balanced(), "{report:?}");
        let broker = Switch::there();
        let next = snapshots(0).forward_to(self::forwarder(&broker, &path, 64 << 20)).await.unwrap();
        assert_eq!((report.spooled, next.replayed), (90, 90), "what is claimed is there");
        assert_eq!(broker.seqs(), (0..90).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_is_in_a_spool_that_cannot_stay_is_lost_and_counted() {
    let (dir, _) = spool();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("spool.redb");
    let broker = Switch::default();
    let token = CancellationToken::new();
    let forwarder = forwarder(&broker, &path, 64 << 20).shutdown(token.clone()).deadline(Duration::ZERO);
    let monitor = forwarder.monitor();
    let endless = futures::StreamExt::chain(snapshots(90), stream::pending());
    let task = tokio::spawn(endless.forward_to(forwarder));
    until("all is in the spool", || monitor.status().spool_messages >= 90).await;
    std::fs::remove_dir_all(&folder).unwrap();
    token.cancel();
    let report = task.await.unwrap().unwrap();
    assert_eq!((report.spooled, report.dropped.shutdown.messages), (0, 90), "{report:?}");
    assert!(report.is_balanced());
}

#[tokio::test]
async fn a_full_disk_does_not_hold_up_a_broker_that_is_well() {
    let Some((_unmount, dir)) = small_disk() else { return };
    let path = dir.path().join("spool.redb");
    let broker = Switch::there();
    let mut forwarder = forwarder(&broker, &path, 64 << 20).into_sink();
    let monitor = forwarder.monitor();
    use futures::SinkExt;
    forwarder.send(snapshot(0, 3)).await.unwrap();
    let rest = dir.path().join("rest");
    let mut ballast = std::fs::File::create(&rest).unwrap();
    while std::io::Write::write_all(&mut ballast, &[0; 4096]).is_ok() {}
    for seq in 1..200 {
        forwarder.send(snapshot(seq, 30)).await.unwrap();
    }
    assert_eq!(monitor.status().report.accepted, 200);
    drop(ballast);
    std::fs::remove_file(&rest).unwrap();
    for seq in 200..210 {
        forwarder.send(snapshot(seq, 30)).await.unwrap();
    }
    forwarder.close().await.unwrap();
    let report = monitor.status().report;
    assert!(report.is_balanced() && report.is_complete(), "{report:?}");
    assert_eq!(broker.seqs(), (0..210).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_in_the_spool_and_too_large_is_split() {
    /// Tells its limit when it is asked a second time, and takes every other message on the first attempt.
    #[derive(Clone, Default)]
    struct Narrow(Arc<Mutex<Vec<Message>>>, bool, Option<usize>);

    impl Publish for Narrow {
        fn max_message_bytes(&self) -> Option<usize> {
            self.2
        }

        async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
            tokio::task::yield_now().await;
            self.1 = !self.1;
            self.2 = Some(4000 + 2048);
            let outcome = |(index, message): (usize, &Message)| match message.payload.len() {
                4001.. => Outcome::Rejected(Error::broker("too large")),
                _ if self.1 && index % 2 == 1 => Outcome::Retry(Error::broker("busy")),
                _ => {
                    self.0.lock().unwrap().push(message.clone());
                    Outcome::Accepted
                }
            };
            batch.iter().enumerate().map(outcome).collect()
        }
    }

    let (_dir, path) = spool();
    let away = Switch::default();
    let token = CancellationToken::new();
    let first = forwarder(&away, &path, 64 << 20).shutdown(token.clone()).deadline(Duration::ZERO);
    let monitor = first.monitor();
    let large = stream::iter((0..10).map(|seq| Ok(snapshot(seq, 500))));
    let endless = futures::StreamExt::chain(large, stream::pending());
    let task = tokio::spawn(endless.forward_to(first));
    until("all is in the spool", || monitor.status().spool_messages >= 10).await;
    token.cancel();
    assert_eq!(task.await.unwrap().unwrap().spooled, 10);

    // Ended in the middle: what is not accepted whole stays whole.
    let narrow = Narrow::default();
    let token = CancellationToken::new();
    let millis = Duration::from_millis;
    let second = Forwarder::new(narrow.clone()).host("h").retry(millis(1), millis(5)).spool(&path, 64 << 20);
    let second = second.batch(3, 1 << 20).shutdown(token.clone()).deadline(Duration::ZERO);
    let task = tokio::spawn(Box::pin(stream::pending::<Result<Snapshot<Reading>>>()).forward_to(second));
    until("some are accepted", || narrow.0.lock().unwrap().len() > 3).await;
    token.cancel();
    let report = task.await.unwrap().unwrap();
    assert!(report.is_balanced() && report.dropped.total().messages == 0, "{report:?}");

    let third = Forwarder::new(narrow.clone()).host("h").retry(millis(1), millis(5)).spool(&path, 64 << 20);
    let report = snapshots(0).forward_to(third).await.unwrap();
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    // By their ids, each sample came.
    let got = narrow.0.lock().unwrap();
    let by_id: std::collections::BTreeMap<_, _> = got.iter().map(|message| (message.id, message)).collect();
    let mut samples = 0;
    let mut seqs = std::collections::BTreeSet::new();
    for message in by_id.values() {
        let document: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        seqs.insert(document["seq"].as_u64().unwrap());
        samples += message.samples;
    }
    assert_eq!((samples, seqs.len()), (5000, 10), "split the same way again");
}
