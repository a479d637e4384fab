//! The forwarder that sends only what changed: every chain is whole again at the next tick that is sent, whatever was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use appmon::forward::{Codec, Form, Forwarder, Message, Outcome, Overflow, Publish, Report};
use appmon::time::Monotonic;
use appmon::{Error, ForwardExt, ProcessSample, Result, Snapshot};
use futures::{Stream, stream};
use serde_json::Value;
use tokio::time::Instant;

use common::brokers::Reading;

const TICK: Duration = Duration::from_secs(1);

/// What a broker accepted, in order.
#[derive(Clone, Default)]
struct Accepted(Arc<Mutex<Vec<Message>>>);

/// A broker whose answer to each message is `script`'s.
struct Scripted<F> {
    script: F,
    accepted: Accepted,
}

impl<F: FnMut(&Message) -> Outcome + Send> Publish for Scripted<F> {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let answer = |message: &Message| {
            let outcome = (self.script)(message);
            if outcome.is_accepted() {
                self.accepted.0.lock().unwrap().push(message.clone());
            }
            outcome
        };
        batch.iter().map(answer).collect()
    }
}

impl Accepted {
    fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap().clone()
    }

    /// For each message, whether it is whole, and whether a consumer can make a whole snapshot of it.
    fn restored(&self) -> Vec<(u64, Form, bool)> {
        let mut chains: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
        let judge = |message: &Message| {
            let json: Value = serde_json::from_slice(&message.payload).unwrap();
            if json.get("chain").is_none() {
                chains.remove(&message.stream);
                return (json["seq"].as_u64().unwrap(), message.form, true);
            }
            let [keyframe, number] = ["keyframe", "number"].map(|name| json["chain"][name].as_u64().unwrap());
            assert_eq!(json.get("delta").is_some(), message.form == Form::Delta);
            assert_eq!(number > 0, message.form == Form::Delta);
            let before = chains.insert(Arc::clone(&message.stream), (keyframe, number));
            let fits = number == 0 || before == Some((keyframe, number - 1));
            if !fits {
                chains.remove(&message.stream);
            }
            (json["seq"].as_u64().unwrap(), message.form, fits)
        };
        self.messages().iter().map(judge).collect()
    }
}

fn broken() -> Error {
    Error::broker("broken")
}

/// The tick `seq`: of ten samples one differs from the tick before.
fn tick(seq: u64) -> Snapshot<Reading> {
    let text = |number| if number == seq % 10 { format!("at {seq}") } else { "as ever".to_owned() };
    let mut snapshot: Snapshot<_> = (0..10).map(|number| Reading { number, text: text(number) }).collect();
    snapshot.seq = seq;
    snapshot.at = Monotonic::from_nanos((seq + 1) * 1_000_000_000);
    snapshot
}

/// One snapshot a second.
fn ticks(count: u64) -> impl Stream<Item = Result<Snapshot<Reading>>> + Send {
    stream::unfold(0, move |seq| async move {
        if seq == count {
            return None;
        }
        tokio::time::sleep(TICK).await;
        Some((Ok(tick(seq)), seq + 1))
    })
}

fn forwarder<F>(script: F) -> (Forwarder<Scripted<F>>, Accepted)
where
    F: FnMut(&Message) -> Outcome + Send + 'static,
{
    let accepted = Accepted::default();
    let publish = Scripted { script, accepted: accepted.clone() };
    let forwarder = Forwarder::new(publish).host("h").only_changed(Duration::from_secs(10_000));
    (forwarder.retry(TICK / 10, TICK / 2), accepted)
}

async fn forward<F>(count: u64, (forwarder, accepted): (Forwarder<Scripted<F>>, Accepted)) -> (Report, Accepted)
where
    F: FnMut(&Message) -> Outcome + Send + 'static,
{
    let report = ticks(count).forward_to(forwarder).await.unwrap();
    assert!(report.is_balanced(), "{report:?}");
    (report, accepted)
}

#[tokio::test(start_paused = true)]
async fn one_is_whole_and_the_others_have_what_changed() {
    for codec in [Codec::Json, Codec::MessagePack] {
        let (forwarder, accepted) = forwarder(|_| Outcome::Accepted);
        let (report, accepted) =
            forward(30, (forwarder.codec(codec).only_changed(Duration::from_secs(12)), accepted)).await;
        assert_eq!((report.snapshots, report.samples, report.deltas, report.accepted), (30, 300, 27, 30));
        let messages = accepted.messages();
        let whole: Vec<_> = (0..30).filter(|seq| messages[*seq].form == Form::Snapshot).collect();
        assert_eq!(whole, [0, 12, 24]);
        // What was another one's turn is as ever again.
        let samples: Vec<_> = messages.iter().map(|message| message.samples).collect();
        assert_eq!(samples[..4], [10, 2, 2, 2]);
        assert!(report.is_complete());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_next_is_whole() {
    let script = |message: &Message| {
        if [4, 9, 10].contains(&message.id.seq) { Outcome::Rejected(broken()) } else { Outcome::Accepted }
    };
    let (report, accepted) = forward(15, forwarder(script)).await;
    assert_eq!(report.dropped.rejected.messages, 3);
    let restored = accepted.restored();
    assert!(restored.iter().all(|(.., fits)| *fits), "{restored:?}");
    let whole: Vec<_> = restored.iter().filter(|(_, form, _)| *form == Form::Snapshot).map(|(seq, ..)| *seq).collect();
    assert_eq!(whole, [0, 5, 11]);
}

#[tokio::test(start_paused = true)]
async fn through_an_outage_every_chain_is_whole_again_at_once() {
    for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest, Overflow::LatestPerKey] {
        let start = Instant::now();
        let away = move |_: &Message| {
            let at = start.elapsed().as_secs();
            if (20..60).contains(&at) { Outcome::Retry(broken()) } else { Outcome::Accepted }
        };
        let (forwarder, accepted) = forwarder(away);
        let forwarder = forwarder.queue(5, 1 << 20).batch(2, 1 << 20).overflow(overflow);
        let (report, accepted) = forward(100, (forwarder, accepted)).await;
        let restored = accepted.restored();
        // Whatever was dropped behind a message that waited: what was encoded after the outage is whole again, and so is all after it.
        let back = restored.iter().position(|(seq, ..)| *seq > 60).unwrap();
        assert!(restored[back..].iter().all(|(.., fits)| *fits), "{overflow}: {restored:?}");
        assert!(restored[back..].iter().any(|(_, form, _)| *form == Form::Delta), "{overflow}: {restored:?}");
        assert!(restored.iter().filter(|(.., fits)| !fits).count() <= 5, "{overflow}: {restored:?}");
        let lost = report.dropped.total().messages > 0;
        assert_eq!(lost, overflow != Overflow::Block, "{overflow}: {report:?}");
        if overflow == Overflow::LatestPerKey {
            assert!(restored.iter().all(|(.., fits)| *fits), "none replaces what it refers to: {restored:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_attempt_everything_is_sent_again() {
    // As after a restart of the broker, which may have forgotten.
    let mut failed = false;
    let script = move |message: &Message| {
        if message.id.seq == 5 && !std::mem::replace(&mut failed, true) {
            return Outcome::Unknown(broken());
        }
        Outcome::Accepted
    };
    let (report, accepted) = forward(10, forwarder(script)).await;
    assert!(report.is_complete());
    let forms: Vec<_> = accepted.restored().into_iter().map(|(_, form, _)| form).collect();
    assert_eq!(forms[6], Form::Snapshot, "{forms:?}");
    assert_eq!(forms.iter().filter(|form| **form == Form::Snapshot).count(), 2, "{forms:?}");
}

#[tokio::test]
async fn a_new_forwarder_begins_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool.redb");
    let now = |count| stream::iter((0..count).map(|seq| Ok(tick(seq))));
    let (first, _) = forwarder(|_| Outcome::Retry(broken()));
    let report = now(5).forward_to(first.spool(&spool, 1 << 20).deadline(Duration::ZERO)).await.unwrap();
    assert_eq!((report.spooled, report.deltas), (5, 4), "{report:?}");
    let (second, accepted) = forwarder(|_| Outcome::Accepted);
    let report = now(5).forward_to(second.spool(&spool, 1 << 20)).await.unwrap();
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    let restored = accepted.restored();
    assert_eq!(restored.len(), 10);
    assert!(restored.iter().all(|(.., fits)| *fits), "{restored:?}");
    let whole: Vec<_> = restored.iter().map(|(_, form, _)| *form == Form::Snapshot).collect();
    assert_eq!(whole, [true, false, false, false, false, true, false, false, false, false]);
}

#[tokio::test]
async fn a_sample_that_fits_in_no_message_makes_them_whole() {
    let (forwarder, accepted) = forwarder(|_| Outcome::Accepted);
    let large = |seq: u64| {
        let mut snapshot = tick(seq);
        if (2..4).contains(&seq) {
            snapshot.samples[3].text = "x".repeat(6_000);
        }
        Ok(snapshot)
    };
    let forwarder = forwarder.max_message_bytes(4 << 10);
    let report = stream::iter((0..7).map(large)).forward_to(forwarder).await.unwrap();
    assert_eq!(report.dropped.oversize_samples, 2);
    // A snapshot without one of its samples is followed by one that refers to nothing.
    let deltas: BTreeSet<_> =
        accepted.restored().into_iter().filter(|(_, form, _)| *form == Form::Delta).map(|(seq, ..)| seq).collect();
    assert_eq!(deltas, [1, 5, 6].into());
    let ids: Vec<_> = accepted.messages().iter().map(|message| message.id.seq).collect();
    assert!(ids.iter().copied().eq(0..ids.len() as u64), "no number is lost with what was tried: {ids:?}");
}

#[tokio::test]
async fn settings_that_do_not_go_together() {
    let nowhere = || forwarder(|_| Outcome::Accepted).0;
    let error = |forwarder| async { stream::iter([Ok(tick(0))]).forward_to(forwarder).await.unwrap_err() };
    let wrong = [
        (nowhere().per_sample(true), "only_changed: a message per sample"),
        (nowhere().codec(Codec::Ndjson), "only_changed: application/x-ndjson"),
        (nowhere().dead_band::<ProcessSample>("memory.rss", 1.0), "did you mean `memory.rss_bytes`?"),
        (nowhere().dead_band::<ProcessSample>("threads", -1.0), "field `threads`: -1 is no width"),
    ];
    for (forwarder, text) in wrong {
        let error = error(forwarder).await;
        assert!(error.is_config() && error.to_string().contains(text), "{error}");
    }
}

mod feeds {
    use appmon::{Processes, SnapshotStreamExt, SourceExt};
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn several_streams_go_through_one() {
        let (forwarder, accepted) = forwarder(|_| Outcome::Accepted);
        let monitor = forwarder.monitor();
        let processes = Processes::new().select("pid=1".parse().unwrap()).every(Duration::from_millis(1)).take(3);
        let users = Processes::new().every(Duration::from_millis(1)).group_by(|process| process.info.uid).take(4);
        let report = forwarder
            .feed("fast", ticks(20))
            .feed("slow", ticks(5))
            .feed("init", processes)
            .feed("users", users)
            .run()
            .await
            .unwrap();
        assert!(report.is_complete() && report.is_balanced(), "{report:?}");
        assert_eq!(report.snapshots, 32);
        let restored = accepted.restored();
        assert!(restored.iter().all(|(.., fits)| *fits), "each has a chain of its own: {restored:?}");
        let messages = accepted.messages();
        for (name, kind, count) in
            [("fast", "reading", 20), ("slow", "reading", 5), ("init", "process", 3), ("users", "group", 4)]
        {
            let of: Vec<_> = messages.iter().filter(|message| &*message.stream == name).collect();
            assert_eq!(of.len(), count, "{name}");
            assert!(of.iter().all(|message| &*message.kind == kind));
            let json: Value = serde_json::from_slice(&of[0].payload).unwrap();
            assert_eq!(json["stream"], name);
            assert_eq!(of[0].attributes()[8], ("stream", name.into()));
        }
        let ids: Vec<_> = messages.iter().map(|message| message.id.seq).collect();
        assert_eq!(ids, (0..32).collect::<Vec<_>>(), "one producer");
        let status = monitor.status();
        let feeds: Vec<_> = status.feeds.iter().map(|feed| (&*feed.name, feed.snapshots, feed.ended)).collect();
        assert_eq!(feeds, [("fast", 20, true), ("slow", 5, true), ("init", 3, true), ("users", 4, true)]);
        assert_eq!(status.feeds.iter().map(|feed| feed.messages).sum::<u64>(), report.messages);
        assert_eq!(status.feeds.iter().map(|feed| feed.samples).sum::<u64>(), report.samples);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_stops_no_other() {
        let (forwarder, accepted) = forwarder(|_| Outcome::Accepted);
        let monitor = forwarder.monitor();
        let wrong = stream::iter([Ok(tick(0)), Err(Error::config("no such thing")), Ok(tick(2))]);
        let stumbles = stream::iter([Err(Error::malformed("a tick")), Ok(tick(1))]);
        let feeds = forwarder.feed("wrong", wrong).feed("stumbles", stumbles).feed("well", ticks(10));
        let error = feeds.run().await.unwrap_err();
        assert!(error.is_config() && error.to_string() == "no such thing", "{error}");
        let status = monitor.status();
        assert!(status.report.is_balanced());
        assert_eq!((status.report.accepted, status.report.failed_ticks), (12, 2));
        let feeds: Vec<_> = status.feeds.iter().map(|feed| (feed.snapshots, feed.failed_ticks, feed.ended)).collect();
        assert_eq!(feeds, [(1, 1, true), (1, 1, true), (10, 0, true)]);
        assert_eq!(status.feeds[0].error.as_deref(), Some("no such thing"));
        assert_eq!(accepted.messages().len(), 12);
    }

    #[tokio::test]
    async fn names_are_checked() {
        for (one, two, text) in [
            ("", "b", "stream name \"\""),
            ("a", "a", "stream name \"a\": two streams have it"),
            ("a", "b c", "stream name \"b c\""),
            ("a", "b\n", "stream name \"b\\n\""),
            ("a", "é", "letters"),
        ] {
            let (forwarder, _) = forwarder(|_| Outcome::Accepted);
            let now = || stream::iter([Ok(tick(0))]);
            let error = forwarder.feed(one, now()).feed(two, now()).run().await.unwrap_err();
            assert!(error.is_config() && error.to_string().contains(text), "{error}");
        }
        let (forwarder, _) = forwarder(|_| Outcome::Accepted);
        let long = forwarder.feed("x".repeat(65), stream::iter([Ok(tick(0))])).run().await.unwrap_err();
        assert!(long.is_config());
    }
}

/// A process that sleeps is not in the message after a while, whatever its source renews of it.
#[test]
fn a_process_that_sleeps_is_not_sent() {
    use appmon::forward::{Encoder, Host};
    use appmon::{Cancel, Processes, Select, SourceExt};

    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let mut source = Processes::new().select(Select::pid(child.id()));
    let mut encoder = Encoder::new(Host::new("h").unwrap()).only_changed(Duration::from_secs(600));
    common::until("it sleeps", || {
        let snapshot = source.read(&Cancel::new()).unwrap();
        assert_eq!(snapshot.samples.len(), 1);
        let encoded = encoder.encode(&snapshot);
        let [message] = &encoded.messages[..] else { panic!("{encoded:?}") };
        message.form == Form::Delta && message.samples == 0 && {
            let json: Value = serde_json::from_slice(&message.payload).unwrap();
            let set = serde_json::json!({ "set": [[snapshot.at.as_nanos(), [0]]] });
            json["delta"] == serde_json::json!({ "times": [set] })
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}
