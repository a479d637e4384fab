//! Streams that send only what changed: what a receiver makes of them, whatever is lost on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::counters::{TimeField, Times};

/// Changes in all ways that a sample can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    name: u8,
    value: u8,
    at: Monotonic,
    read_at: Monotonic,
    #[serde(with = "crate::time::optional_age")]
    age: Option<Duration>,
    filling: String,
}

impl Sample for Item {
    const KIND: &'static str = "item";
    const TIMES: Option<Times<Self>> = Some(|item, each| {
        each(TimeField::At(&mut item.at));
        each(TimeField::At(&mut item.read_at));
        item.age.iter_mut().for_each(|age| each(TimeField::Age(age)));
    });
    type Key = u8;

    fn key(&self) -> u8 {
        self.name
    }
}

/// A tick of a random machine: for each name whether it is there, and what it does.
type Tick = Vec<(u8, u8)>;

fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    let tick = prop::collection::vec((0_u8..12, 0_u8..6), 0..10);
    prop::collection::vec(tick, 1..30)
}

/// The snapshots of these ticks: names come, change, are read again, stand still, go, and change places.
fn snapshots(ticks: &[Tick], stream: u8, large: bool) -> Vec<Snapshot<Item>> {
    let mut items: BTreeMap<u8, Item> = BTreeMap::new();
    let mut snapshots = Vec::new();
    for (seq, tick) in ticks.iter().enumerate() {
        let now = Monotonic::from_nanos(1_000 + 10 * seq as u64);
        let mut is_turned = false;
        for item in items.values_mut() {
            item.at = now;
            item.age = item.age.and(now.since(item.read_at));
        }
        for (name, deed) in tick {
            match deed {
                0 => drop(items.remove(name)),
                1 => is_turned = true,
                2 => {
                    let item = items.get_mut(name);
                    item.into_iter().for_each(|item| item.read_at = now);
                }
                _ => {
                    let filling = "x".repeat(if large { 700 } else { 3 });
                    let age = (deed % 2 == 0).then_some(Duration::ZERO);
                    let item = Item { name: *name, value: *deed, at: now, read_at: now, age, filling };
                    items.insert(*name, item);
                }
            }
        }
        let mut snapshot: Snapshot<Item> = items.values().cloned().collect();
        if is_turned {
            snapshot.samples.reverse();
        }
        (snapshot.seq, snapshot.at, snapshot.boot_id) = (seq as u64, now, BootId::current());
        snapshot.host = Some("web 17".into());
        snapshot.stream = (stream > 0).then(|| format!("s{stream}").into());
        snapshots.push(snapshot);
    }
    snapshots
}

/// What happens to a message on its way.
#[derive(Clone, Copy, Debug)]
struct Fate {
    is_lost: bool,
    /// How much later than others it comes.
    delay: usize,
    is_doubled: bool,
    /// The sender knows that it is lost.
    is_known: bool,
}

/// A snapshot that was sent: its stream, its number, and its messages with their fates.
type Tape = (usize, u64, Vec<(Message, Fate)>);

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (0_u8..12, 0_usize..3, any::<bool>(), any::<bool>()).prop_map(|(lost, delay, is_doubled, is_known)| {
        Fate { is_lost: lost == 0, delay, is_doubled: is_doubled && lost == 1, is_known }
    });
    prop::collection::vec(fate, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is lost, late or doubled: each snapshot that comes out is one that was sent, and they are those whose chain is complete.
    #[test]
    fn restored_is_as_sent(
        first in ticks(),
        second in ticks(),
        fates in fates(),
        codec in prop::sample::select(vec![Codec::Json, Codec::MessagePack]),
        large in any::<bool>(),
        keyframe_every in prop::sample::select(vec![0_u64, 50, 1_000]),
        in_order in any::<bool>(),
    ) {
        let mut encoder = encoder(codec).only_changed(Duration::from_nanos(keyframe_every));
        let sent = [snapshots(&first, 1, large), snapshots(&second, 2, false)];
        let longest = sent[0].len().max(sent[1].len());
        // In the order of sending: the snapshot, its place in its chain, and its messages with their fates.
        let mut fates = fates.into_iter().cycle();
        let mut tapes: Vec<Tape> = Vec::new();
        let mut chains = [0_u64; 2];
        let mut numbers = BTreeMap::new();
        for tick in 0..longest {
            for (stream, snapshots) in sent.iter().enumerate() {
                let Some(snapshot) = snapshots.get(tick) else { continue };
                let encoded = encoder.encode(snapshot);
                prop_assert_eq!((encoded.oversize, encoded.failed), (0, 0));
                if !encoded.is_delta {
                    chains[stream] += 1;
                }
                numbers.insert((stream, snapshot.seq), (chains[stream], encoded.is_delta));
                let messages: Vec<_> = encoded.messages.into_iter().zip(fates.by_ref()).collect();
                if messages.iter().any(|(_, fate)| fate.is_lost && fate.is_known) {
                    encoder.restart_chains();
                }
                tapes.push((stream, snapshot.seq, messages));
            }
        }
        // Which arrive in full, and in which order the messages come.
        let mut arriving: BTreeSet<(usize, u64)> = BTreeSet::new();
        let mut line: Vec<(usize, usize, Message)> = Vec::new();
        for (index, (stream, seq, messages)) in tapes.iter().enumerate() {
            if messages.iter().all(|(_, fate)| !fate.is_lost) {
                arriving.insert((*stream, *seq));
            }
            for (message, fate) in messages.iter().filter(|(_, fate)| !fate.is_lost) {
                let delay = if in_order { 0 } else { fate.delay };
                line.push((index + delay, index, message.clone()));
                if fate.is_doubled {
                    line.push((index + delay + 2, index, message.clone()));
                }
            }
        }
        line.sort_by_key(|(when, index, _)| (*when, *index));
        let mut receiver = Receiver::<Item, u64>::new(Gathering::All);
        let mut restored = BTreeSet::new();
        for (_, _, message) in &line {
            push(&mut receiver, message);
            while let Some(item) = receiver.pop() {
                let Some(Ok(snapshot)) = item.result else { continue };
                let stream = if snapshot.stream.as_deref() == Some("s1") { 0 } else { 1 };
                // Nothing partial as whole, and every sample to the last time.
                prop_assert_eq!(&snapshot, &sent[stream][usize::try_from(snapshot.seq).unwrap()]);
                prop_assert!(restored.insert((stream, snapshot.seq)), "once");
            }
        }
        // Those of which everything since the keyframe came.
        let mut expected = BTreeSet::new();
        let mut broken = [false; 2];
        for (stream, seq, _) in &tapes {
            let (_, is_delta) = numbers[&(*stream, *seq)];
            broken[*stream] = (broken[*stream] && is_delta) || !arriving.contains(&(*stream, *seq));
            if !broken[*stream] {
                expected.insert((*stream, *seq));
            }
        }
        if in_order || keyframe_every == 1_000 {
            prop_assert!(restored.is_subset(&expected), "{restored:?} {expected:?}");
        }
        if in_order {
            prop_assert_eq!(&restored, &expected);
            let counts = receiver.counts();
            prop_assert_eq!(counts.snapshots as usize, expected.len());
        }
        prop_assert!(receiver.counts().kept <= 2);
        // Up to 16 snapshots of each stream, in up to four parts.
        prop_assert!(receiver.waiting().count() <= 2 * 17 * 4, "bounded");
    }
}

fn item(name: u8, value: u8) -> Item {
    let (at, filling) = (Monotonic::from_nanos(5), "x".repeat(10));
    Item { name, value, at, read_at: at, age: None, filling }
}

fn tick(seq: u64, value: u8) -> Snapshot<Item> {
    let items = [item(1, 0), item(2, value), item(3, 0)];
    let at = Monotonic::from_nanos(100 + seq);
    Snapshot { seq, at, host: Some("web 17".into()), boot_id: BootId::current(), ..items.into_iter().collect() }
}

fn chain(count: u64) -> (Vec<Snapshot<Item>>, Vec<Message>) {
    let mut encoder = encoder(Codec::Json).only_changed(Duration::MAX);
    let sent: Vec<_> = (0..count).map(|seq| tick(seq, seq as u8)).collect();
    let messages = sent.iter().flat_map(|snapshot| encoder.encode(snapshot).messages).collect();
    (sent, messages)
}

#[test]
fn a_delta_holds_what_changed() {
    let (_, messages) = chain(2);
    assert_eq!((messages[0].form, messages[1].form), (Form::Snapshot, Form::Delta));
    assert_eq!((messages[0].samples, messages[1].samples), (3, 1));
    assert_eq!(messages[1].event_type(), "appmon.item.delta");
    let json: serde_json::Value = serde_json::from_slice(&messages[1].payload).unwrap();
    assert_eq!(json["chain"], serde_json::json!({ "keyframe": 100, "number": 1, "samples": 3 }));
    assert_eq!(json["delta"], serde_json::json!({ "changed": [1, 2] }));
    assert_eq!(json["samples"].as_array().unwrap().len(), 1);
}

#[test]
fn late_ones_are_put_in_order() {
    let (sent, messages) = chain(6);
    let mut receiver = Receiver::<Item, u64>::new(Gathering::All);
    for at in [0, 2, 3, 1, 5, 5, 4] {
        push(&mut receiver, &messages[at]);
    }
    let restored: Vec<_> = all(&mut receiver).into_iter().filter_map(|(snapshot, _)| snapshot).collect();
    assert_eq!(restored, sent);
    assert_eq!((receiver.counts().duplicates, receiver.counts().unrestored), (1, 0));
}

#[test]
fn without_a_keyframe_there_is_nothing_until_the_next() {
    let mut encoder = encoder(Codec::Json).only_changed(Duration::from_nanos(60));
    let sent: Vec<_> = (0..100).map(|seq| tick(seq, seq as u8)).collect();
    let mut receiver = Receiver::<Item, u64>::new(Gathering::All);
    let mut restored = Vec::new();
    let mut acknowledged = 0;
    for snapshot in &sent {
        for message in encoder.encode(snapshot).messages {
            if snapshot.seq >= 10 {
                push(&mut receiver, &message);
            }
        }
        assert!(receiver.waiting().count() <= 16, "what waits is bounded");
        while let Some(item) = receiver.pop() {
            acknowledged += item.done.len();
            restored.extend(item.result.map(Result::unwrap));
        }
    }
    assert_eq!(restored, sent[60..]);
    assert_eq!((receiver.counts().unrestored, acknowledged), (50, 90));
}

#[test]
fn a_new_producer_has_a_chain_of_its_own() {
    let mut receiver = Receiver::<Item, u64>::new(Gathering::All);
    let (mut expected, mut restored) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (sent, messages) = chain(100);
        expected.extend(sent);
        messages.iter().for_each(|message| push(&mut receiver, message));
        restored.extend(all(&mut receiver).into_iter().filter_map(|(snapshot, _)| snapshot));
    }
    assert_eq!(restored, expected);
    assert_eq!(receiver.counts().kept, 1, "those that ended are forgotten");
}

#[test]
fn silent_streams_are_forgotten() {
    let mut receiver = Receiver::<Item, u64>::new(Gathering::All);
    let mut encoder = encoder(Codec::Json).only_changed(Duration::MAX);
    for round in 0..700 {
        for host in 0..if round < 2 { 20 } else { 1 } {
            let snapshot = Snapshot { host: Some(format!("h{host}").into()), ..tick(round, 0) };
            encoder.encode(&snapshot).messages.iter().for_each(|message| push(&mut receiver, message));
        }
    }
    assert_eq!(receiver.counts().kept, 20);
    for round in 700..40_000 {
        let snapshot = Snapshot { host: Some("h0".into()), ..tick(round, 0) };
        encoder.encode(&snapshot).messages.iter().for_each(|message| push(&mut receiver, message));
    }
    assert_eq!(receiver.counts().kept, 1);
}

#[test]
fn one_stream_alone() {
    let mut encoder = encoder(Codec::Json);
    let mut receiver = Receiver::<Item, u64>::new(Gathering::All).of_stream(Some("units".into()));
    for stream in ["users", "units", "item", "users"] {
        for mut message in encoder.encode_as(Some(&stream.into()), &tick(0, 0)).messages {
            // Of another kind of key, as `users` may have, it cannot even be decoded.
            if stream == "users" {
                message.payload = "{}".into();
            }
            push(&mut receiver, &message);
        }
    }
    let passed: Vec<_> = all(&mut receiver).into_iter().filter_map(|(snapshot, _)| snapshot).collect();
    assert_eq!(passed.len(), 1);
    assert_eq!(passed[0].stream.as_deref(), Some("units"));
    let counts = receiver.counts();
    assert_eq!((counts.other_streams, counts.missing, counts.malformed), (3, 0, 0));
}

#[test]
fn shared_consumers_get_whole_snapshots_alone() {
    let (sent, messages) = chain(2);
    let mut receiver = Receiver::<Item, u64>::new(Gathering::Shared);
    messages.iter().for_each(|message| push(&mut receiver, message));
    assert_eq!(receiver.pop().unwrap().result.unwrap().unwrap(), sent[0]);
    assert!(receiver.pop().unwrap().result.unwrap().unwrap_err().to_string().contains("shared consumers"));
    assert_eq!(receiver.counts().unrestored, 1);
}

#[test]
fn pieces_of_changes_are_put_together() {
    let (sent, messages) = chain(1);
    let mut receiver = Receiver::<Item, u64>::new(Gathering::All);
    push(&mut receiver, &messages[0]);
    let mut encoder = encoder(Codec::Json).only_changed(Duration::MAX).max_bytes(1 << 20);
    let many = |value| Snapshot { samples: (0..200).map(|name| item(name, value)).collect(), ..tick(1, 0) };
    let (first, second) = (many(1), many(2));
    let messages = [encoder.encode(&first), encoder.encode(&second)].map(|encoded| encoded.messages);
    let mut arrived = Vec::new();
    for message in messages.concat() {
        let raw = RawSamples::new(message.form, message.codec, &message.payload).unwrap();
        for (piece, payload) in raw.payloads(4 << 10, None) {
            let id = MessageId { piece: Some(piece), ..message.id };
            push(&mut receiver, &Message { id, payload: payload.into(), ..message.clone() });
        }
        arrived.extend(all(&mut receiver).into_iter().filter_map(|(snapshot, _)| snapshot));
    }
    assert_eq!(arrived[0], sent[0]);
    assert_eq!(arrived[1..], [first, second]);
}
