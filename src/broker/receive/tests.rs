//! Received messages, and the snapshots assembled from them.

mod chains;

use serde::{Deserialize, Serialize};

use super::*;
use crate::BootId;
use crate::forward::{Encoder, Host, Message, Piece};
use crate::process::{ProcessData, ProcessId};
use crate::wire::RawSamples;
use crate::{FileSystemSample, Monotonic, ProcessSample, Rated, Reading, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    number: u64,
    text: String,
    at: Monotonic,
}

impl Sample for Thing {
    const KIND: &'static str = "thing";
    type Key = u64;

    fn key(&self) -> u64 {
        self.number
    }
}

fn snapshot(seq: u64, count: u64) -> Snapshot<Thing> {
    let text = "ü \"x\"\n".repeat(40);
    let at = Monotonic::from_nanos(7);
    let mut snapshot: Snapshot<_> = (0..count).map(|number| Thing { number, text: text.clone(), at }).collect();
    snapshot.seq = seq;
    snapshot.at = at;
    snapshot.boot_id = BootId::current();
    snapshot.time = Timestamp::from_unix_nanos(1_500_000_000);
    snapshot
}

fn encoder(codec: Codec) -> Encoder {
    Encoder::new(Host::new("web 17").unwrap()).codec(codec).max_bytes(4 << 10)
}

fn at_host<T>(mut snapshot: Snapshot<T>) -> Snapshot<T> {
    snapshot.host = Some("web 17".into());
    snapshot
}

/// Pushes a message, with its sequence as its token.
fn push<T: Sample + DeserializeOwned + Clone>(arrivals: &mut Receiver<T, u64>, message: &Message) {
    let [id, source, event_type] =
        [message.id.to_string(), message.source(), message.event_type()].map(|text| text.clone());
    let received = Received {
        id: Some(&id),
        source: Some(&source),
        event_type: Some(&event_type),
        stream: Some(&message.stream),
        content_type: Some(message.codec.media_type()),
        payload: &message.payload,
        place: "",
    };
    arrivals.push(&received, message.id.seq);
}

fn all<T: Sample + DeserializeOwned + Clone>(arrivals: &mut Receiver<T, u64>) -> Vec<(Option<Snapshot<T>>, Vec<u64>)> {
    std::iter::from_fn(|| arrivals.pop()).map(|item| (item.result.map(Result::unwrap), item.done)).collect()
}

#[test]
fn whatever_was_split_arrives_whole() {
    for codec in [Codec::Json, Codec::MessagePack] {
        let mut encoder = encoder(codec);
        let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
        for (seq, count) in [(0, 1), (1, 50), (2, 0), (3, 50)] {
            let sent = snapshot(seq, count);
            let messages = encoder.encode(&sent).messages;
            assert_eq!(messages.len() > 1, count > 1);
            let mut tokens = Vec::new();
            for message in &messages {
                assert_eq!(all(&mut arrivals).len(), 0, "only when all are there");
                push(&mut arrivals, message);
                tokens.push(message.id.seq);
            }
            assert_eq!(all(&mut arrivals), [(Some(at_host(sent)), tokens)]);
            assert_eq!(arrivals.waiting().count(), 0);
        }
        let counts = arrivals.counts();
        assert_eq!((counts.snapshots, counts.samples, counts.producers), (4, 101, 1));
        assert_eq!((counts.duplicates, counts.missing, counts.incomplete, counts.malformed), (0, 0, 0, 0));
    }
}

#[test]
fn samples_by_themselves_arrive_as_snapshots_of_them() {
    for codec in [Codec::Ndjson, Codec::Json, Codec::MessagePack] {
        let mut encoder = encoder(codec).per_sample(codec != Codec::Ndjson);
        let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
        let sent = snapshot(3, 30);
        let encoded = encoder.encode(&sent);
        assert!(encoded.messages.len() > 1);
        encoded.messages.iter().for_each(|message| push(&mut arrivals, message));
        let arrived = all(&mut arrivals);
        assert_eq!(arrived.len(), encoded.messages.len());
        let mut samples = Vec::new();
        for (snapshot, _) in arrived {
            let snapshot = snapshot.unwrap();
            assert_eq!(snapshot.host.as_deref(), Some("web 17"));
            assert_eq!((snapshot.seq, snapshot.boot_id, snapshot.time), (3, sent.boot_id, sent.time));
            assert_eq!(snapshot.at, Monotonic::from_nanos(7), "when the first of them was taken");
            samples.extend(snapshot.samples);
        }
        assert_eq!(samples, sent.samples);
    }
}

#[test]
fn what_comes_again_is_given_once() {
    let mut encoder = encoder(Codec::Json);
    let messages: Vec<_> = (0..4).flat_map(|seq| encoder.encode(&snapshot(seq, 1)).messages).collect();
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    for at in [0, 1, 0, 3, 3, 2, 2] {
        push(&mut arrivals, &messages[at]);
        if at == 3 {
            assert_eq!(arrivals.counts().missing, 1, "2 is not there yet");
        }
    }
    let seqs: Vec<_> = all(&mut arrivals).into_iter().map(|(snapshot, done)| (snapshot.map(|s| s.seq), done)).collect();
    let expected = [(Some(0), 0), (Some(1), 1), (None, 0), (Some(3), 3), (None, 3), (Some(2), 2), (None, 2)];
    assert_eq!(seqs, expected.map(|(seq, done)| (seq, vec![done])));
    let counts = arrivals.counts();
    assert_eq!((counts.messages, counts.snapshots, counts.duplicates, counts.missing), (7, 4, 3, 0));
}

#[test]
fn producers_are_distinguished() {
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    for host in ["a", "b", "a"] {
        let mut encoder = Encoder::new(Host::new(host).unwrap());
        for seq in 0..3 {
            encoder.encode(&snapshot(seq, 1)).messages.iter().for_each(|message| push(&mut arrivals, message));
        }
    }
    let counts = arrivals.counts();
    assert_eq!((counts.producers, counts.duplicates, counts.missing), (3, 0, 0), "a restarted one is another one");
    assert_eq!(all(&mut arrivals).len(), 9);
}

#[test]
fn what_a_relay_passes_on_stays_of_its_host() {
    for (codec, per_sample) in
        [(Codec::Json, false), (Codec::Json, true), (Codec::Ndjson, false), (Codec::MessagePack, false)]
    {
        let mut relay = encoder(codec).per_sample(per_sample);
        let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
        for (seq, host) in [(0, "a"), (1, "b"), (2, "web 17"), (3, "a"), (4, "b")] {
            let sent = Snapshot { host: Some(host.into()), ..snapshot(seq, 1) };
            relay.encode(&sent).messages.iter().for_each(|message| push(&mut arrivals, message));
            assert_eq!(all(&mut arrivals)[0].0.as_ref().unwrap().host, sent.host);
        }
        // Each host has numbers of its own: who follows one of them misses nothing.
        assert_eq!((arrivals.counts().producers, arrivals.counts().missing), (3, 0));
    }
}

#[test]
fn of_a_flood_of_producers_the_latest_are_followed() {
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    arrivals.most_producers = 64;
    for _ in 0..1000 {
        encoder(Codec::Json).encode(&snapshot(0, 1)).messages.iter().for_each(|message| push(&mut arrivals, message));
        assert!(arrivals.counts().producers <= 64);
        assert_eq!(all(&mut arrivals).len(), 1);
    }
    assert!(arrivals.counts().producers > 50);
}

#[test]
fn a_missing_part_is_reported() {
    let mut encoder = encoder(Codec::Json);
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    let mut done = Vec::new();
    let mut errors = Vec::new();
    for seq in 0..6 {
        let messages = encoder.encode(&snapshot(seq, 50)).messages;
        // The second part of each is lost.
        messages.iter().filter(|message| message.id != messages[1].id).for_each(|message| push(&mut arrivals, message));
        while let Some(item) = arrivals.pop() {
            errors.extend(item.result.map(Result::unwrap_err));
            done.extend(item.done);
        }
    }
    assert_eq!(errors.len(), 2, "four may wait");
    assert!(errors[0].is_malformed() && errors[0].to_string().contains("only"), "{}", errors[0]);
    let counts = arrivals.counts();
    assert_eq!((counts.incomplete, counts.missing, counts.snapshots), (2, 6, 0));
    assert_eq!(counts.messages as usize, done.len() + arrivals.waiting().count(), "what is given up is acknowledged");
}

#[test]
fn parts_that_come_again_wait_for_the_others_for_a_while() {
    let mut encoder = encoder(Codec::MessagePack);
    let sent = snapshot(0, 30);
    let messages = encoder.encode(&sent).messages;
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    for _ in 0..3 {
        push(&mut arrivals, &messages[0]);
    }
    assert_eq!(all(&mut arrivals).len(), 0, "not acknowledged");
    assert_eq!(arrivals.waiting().count(), 1);
    messages[1..].iter().for_each(|message| push(&mut arrivals, message));
    let arrived = all(&mut arrivals);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].0.as_ref().unwrap().samples, sent.samples);

    let lost = encoder.encode(&snapshot(1, 30)).messages;
    let given_up = (0..100).find(|_| {
        push(&mut arrivals, &lost[0]);
        arrivals.pop().is_some_and(|item| item.result.unwrap().unwrap_err().is_malformed())
    });
    assert_eq!(given_up, Some(5));
}

#[test]
fn what_waits_is_bounded_over_all_producers() {
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    let part = encoder(Codec::Json).encode(&snapshot(0, 50)).messages.remove(0).payload.len();
    arrivals.parts = Parts::with_most_bytes(10 * part);
    for _ in 0..20 {
        push(&mut arrivals, &encoder(Codec::Json).encode(&snapshot(0, 50)).messages[0]);
    }
    assert_eq!(arrivals.waiting().count(), 10);
    assert_eq!(arrivals.counts().incomplete, 10);
}

#[test]
fn a_share_of_what_comes_has_parts_as_they_are() {
    let messages = encoder(Codec::Json).encode(&snapshot(5, 50)).messages;
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::Shared);
    messages.iter().step_by(2).for_each(|message| push(&mut arrivals, message));
    let arrived = all(&mut arrivals);
    assert_eq!(arrived.len(), messages.len().div_ceil(2));
    assert!(arrived.iter().all(|(snapshot, _)| snapshot.as_ref().unwrap().seq == 5));
    assert_eq!(arrivals.counts().missing, 0, "others have them");
}

#[test]
fn malformed_messages_are_reported_and_acknowledged() {
    let good = encoder(Codec::Json).encode(&snapshot(0, 1)).messages.remove(0).payload;
    let text = String::from_utf8(good.to_vec()).unwrap();
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    let mut check = |content_type: Option<&str>, event_type: Option<&str>, payload: &[u8], named: &str| {
        arrivals.push(&Received { content_type, event_type, payload, ..Received::default() }, 1);
        let item = arrivals.pop().unwrap();
        let error = item.result.unwrap().unwrap_err();
        assert!(error.is_malformed() && error.to_string().contains(named), "{error}, and not {named}");
        assert_eq!(item.done, [1]);
    };
    check(None, None, b"", "EOF");
    check(None, None, &good[..good.len() - 1], "EOF");
    check(None, None, b"{}", "missing field");
    check(None, None, &[&good[..], b"x"].concat(), "trailing");
    check(Some("text/plain"), None, &good, "text/plain");
    check(Some("application/vnd.msgpack"), None, &good, "");
    check(Some("application/x-ndjson"), None, b"\n\n", "no samples");
    check(Some("application/x-ndjson"), None, &good, "missing field");
    check(None, Some("appmon.thing.samples"), &good, "missing field");
    let replaced = |from: &str, to: &str| text.replace(from, to).into_bytes();
    check(None, None, &replaced("\"schema\":1", "\"schema\":2"), "schema 2 is not supported");
    check(None, None, &replaced("\"schema\":1,\"kind\":\"thing\"", "\"schema\":2,\"kind\":7"), "invalid type");
    check(None, None, &replaced("\"kind\":\"thing\"", "\"kind\":\"process\""), "kind \"process\" instead of \"thing\"");
    // Of another version everything may be different: which version it is says most.
    check(None, None, b"{\"schema\":3,\"kind\":\"thing\",\"samples\":{}}", "schema 3");
    check(None, None, &replaced("]}", "],\"part\":0,\"last\":true}"), "without an id");
    check(None, None, &replaced("web 17", ""), "1 to 255 bytes");
    check(None, None, &replaced("web 17", "web\\u000017"), "no control characters");
    let counts = arrivals.counts();
    assert_eq!((counts.malformed, counts.snapshots), (16, 0));
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let good = encoder(Codec::Json).encode(&snapshot(0, 1)).messages.remove(0).payload;
    let text = String::from_utf8(good.to_vec()).unwrap().replace("\"kind\"", "\"new\":{\"a\":[1]},\"kind\"");
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    arrivals.push(&Received { payload: text.as_bytes(), ..Received::default() }, 1);
    assert_eq!(arrivals.pop().unwrap().result.unwrap().unwrap(), at_host(snapshot(0, 1)));
}

#[test]
fn samples_of_this_crate_arrive_with_and_without_rates() {
    let id = ProcessId { pid: 7, start_ticks: 8 };
    let process = ProcessSample::from(ProcessData { id, io: Reading::Denied, ..ProcessData::default() });
    let rated = Rated::new(process.clone(), Some(crate::process::ProcessRates::default()));
    for codec in [Codec::Json, Codec::Ndjson, Codec::MessagePack] {
        let mut encoder = encoder(codec);
        let plain: Snapshot<_> = [process.clone()].into_iter().collect();
        let with: Snapshot<_> = [rated.clone(), Rated::new(process.clone(), None)].into_iter().collect();
        let [plain, with] = [encoder.encode(&plain), encoder.encode(&with)].map(|encoded| encoded.messages[0].clone());

        let mut arrivals = Receiver::<ProcessSample, u64>::new(Gathering::All);
        push(&mut arrivals, &plain);
        push(&mut arrivals, &with);
        let arrived = all(&mut arrivals);
        assert_eq!(arrived[0].0.as_ref().unwrap().samples, std::slice::from_ref(&process), "{codec}");
        assert_eq!(arrived[1].0.as_ref().unwrap().samples, [process.clone(), process.clone()], "rates passed over");

        let mut arrivals = Receiver::<Rated<ProcessSample>, u64>::new(Gathering::All);
        push(&mut arrivals, &plain);
        push(&mut arrivals, &with);
        let arrived = all(&mut arrivals);
        assert_eq!(arrived[0].0.as_ref().unwrap().samples[0].rates, None);
        assert_eq!(arrived[1].0.as_ref().unwrap().samples[0], rated, "{codec}");

        let mut arrivals = Receiver::<FileSystemSample, u64>::new(Gathering::All);
        push(&mut arrivals, &plain);
        assert!(arrivals.pop().unwrap().result.unwrap().unwrap_err().to_string().contains("kind"));
    }
}

/// A message as it is sent where the broker takes no larger one: as the forwarder splits it.
fn pieces(message: &Message, limit: usize) -> Vec<Message> {
    let samples = RawSamples::new(message.form, message.codec, &message.payload).unwrap();
    let pieces = samples.payloads(limit, message.id.piece).into_iter().map(|(piece, payload)| Message {
        id: MessageId { piece: Some(piece), ..message.id },
        samples: piece.len(),
        payload: payload.into(),
        ..message.clone()
    });
    pieces.collect()
}

fn faults(counts: ReceiveCounts) -> [u64; 4] {
    [counts.duplicates, counts.missing, counts.incomplete, counts.malformed]
}

#[test]
fn a_message_in_pieces_is_not_missing_and_comes_whole() {
    for codec in [Codec::Json, Codec::MessagePack] {
        for per_message in [30, 300] {
            let mut encoder = encoder(codec).max_bytes(if per_message == 30 { 64 << 10 } else { 16 << 10 });
            let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
            for seq in 0..4 {
                let sent = snapshot(seq, per_message);
                // The first ones as they are, of the later ones each in pieces, and some of those again.
                for (index, message) in encoder.encode(&sent).messages.iter().enumerate() {
                    match (index + usize::try_from(seq).unwrap()) % 3 {
                        0 => push(&mut arrivals, message),
                        1 => pieces(message, 3000).iter().for_each(|piece| push(&mut arrivals, piece)),
                        _ => {
                            let large = pieces(message, 6000);
                            let small = large.iter().flat_map(|piece| pieces(piece, 2000)).collect::<Vec<_>>();
                            assert!(small.len() >= large.len());
                            small.iter().rev().for_each(|piece| push(&mut arrivals, piece));
                        }
                    }
                }
                let arrived = all(&mut arrivals);
                assert_eq!(arrived.len(), 1, "{codec} {seq}");
                assert_eq!(arrived[0].0, Some(at_host(sent)));
            }
            assert_eq!(faults(arrivals.counts()), [0; 4], "{codec} {per_message}");
            assert_eq!(arrivals.waiting().count(), 0);
        }
    }
}

#[test]
fn pieces_of_several_limits_and_the_whole_are_one_snapshot() {
    let sent = snapshot(0, 40);
    let whole = encoder(Codec::Json).max_bytes(64 << 10).encode(&sent).messages.remove(0);
    let large = pieces(&whole, 8000);
    let small = pieces(&whole, 3000);
    assert!(large.len() > 2 && small.len() > large.len());
    // Some by one limit, then, after a restart that forgot it, all by another, or all in one.
    for rest in [small, vec![whole.clone()]] {
        let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
        large[..2].iter().for_each(|piece| push(&mut arrivals, piece));
        assert_eq!(all(&mut arrivals).len(), 0);
        rest.iter().for_each(|message| push(&mut arrivals, message));
        let arrived = all(&mut arrivals);
        let given: Vec<_> = arrived.iter().filter_map(|(snapshot, _)| snapshot.as_ref()).collect();
        assert_eq!(given, [&at_host(sent.clone())]);
        let acknowledged = arrived.iter().map(|(_, done)| done.len()).sum::<usize>();
        assert_eq!(acknowledged, 2 + rest.len(), "each message");
        assert_eq!((arrivals.counts().missing, arrivals.counts().incomplete, arrivals.counts().malformed), (0, 0, 0));
        // What comes after it was whole was there before.
        push(&mut arrivals, &large[2]);
        push(&mut arrivals, &whole);
        assert_eq!(all(&mut arrivals).iter().filter(|(snapshot, _)| snapshot.is_some()).count(), 0);
    }
}

#[test]
fn lines_in_pieces_are_given_as_they_come() {
    let sent = snapshot(3, 30);
    let whole = encoder(Codec::Ndjson).max_bytes(64 << 10).encode(&sent).messages.remove(0);
    let pieces = pieces(&whole, 3000);
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    pieces.iter().chain(&pieces[..2]).for_each(|piece| push(&mut arrivals, piece));
    let samples: Vec<_> = all(&mut arrivals).into_iter().flat_map(|(snapshot, _)| snapshot).flatten().collect();
    assert_eq!(samples, sent.samples);
    assert_eq!(faults(arrivals.counts()), [2, 0, 0, 0]);
}

#[test]
fn invalid_pieces_are_reported_and_bounded() {
    let whole = encoder(Codec::Json).max_bytes(64 << 10).encode(&snapshot(0, 40)).messages.remove(0);
    let pieces = pieces(&whole, 3000);
    let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
    let other = |piece| Message { id: MessageId { piece, ..whole.id }, ..pieces[1].clone() };
    let error = |arrivals: &mut Receiver<Thing, u64>, named: &str| {
        let error = arrivals.pop().unwrap().result.unwrap().unwrap_err();
        assert!(error.is_malformed() && error.to_string().contains(named), "{error}");
    };
    push(&mut arrivals, &other(Piece::new(30, 31, 40)));
    error(&mut arrivals, "not that of its id");
    push(&mut arrivals, &other(None));
    error(&mut arrivals, "not that of its id");
    // With a hole before each.
    let mut at = 0;
    while arrivals.counts().malformed < 3 {
        at += 1;
        let id = MessageId { seq: 1, piece: Piece::new(2 * at, 2 * at + 1, 10_000), ..whole.id };
        let line = encoder(Codec::Ndjson).encode(&snapshot(0, 1)).messages.remove(0);
        push(&mut arrivals, &Message { id, ..line });
        assert!(at < 1000);
    }
    assert_eq!(at, 257);
}

proptest::proptest! {
    /// Whatever bytes: an error or a snapshot, and no panic.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(0..=255_u8, 0..200), cut in 0..4000_usize, codec in 0..3_usize) {
        let codec = [Codec::Json, Codec::Ndjson, Codec::MessagePack][codec];
        let mut payload = encoder(codec).encode(&snapshot(0, 10)).messages.remove(0).payload.to_vec();
        payload.truncate(cut);
        payload.extend(bytes);
        let mut arrivals = Receiver::<Thing, u64>::new(Gathering::All);
        let content_type = Some(codec.media_type());
        arrivals.push(&Received { payload: &payload, content_type, ..Received::default() }, 1);
        proptest::prop_assert_eq!(arrivals.pop().unwrap().done, [1]);
    }
}

#[test]
fn what_changed_arrives_and_nothing_replaces_it() {
    use crate::stream::Change;
    let sample = |pid| {
        let mut sample = ProcessSample::default();
        sample.id.pid = pid;
        sample
    };
    let changes = || {
        let changed = Change::Changed { before: sample(2), after: sample(2) };
        vec![Change::Appeared(sample(1)), changed, Change::Gone(sample(3)), Change::Appeared(sample(3))]
    };
    for (codec, per_sample) in [
        (Codec::Json, false),
        (Codec::MessagePack, false),
        (Codec::Ndjson, false),
        (Codec::Json, true),
        (Codec::MessagePack, true),
    ] {
        let mut encoder = encoder(codec).per_sample(per_sample);
        let mut arrivals = Receiver::<Change<ProcessSample>, u64>::new(Gathering::All);
        let sent = snapshot(7, 0).with_samples(|_| changes());
        let messages: Vec<_> = (0..2).flat_map(|_| encoder.encode(&sent).messages).collect();
        let keys: std::collections::HashSet<u64> = messages.iter().map(|message| message.key).collect();
        assert_eq!(keys.len(), messages.len(), "each is the only one that says it");
        messages.iter().for_each(|message| push(&mut arrivals, message));
        let arrived = all(&mut arrivals).into_iter().flat_map(|(snapshot, _)| snapshot.unwrap().samples);
        assert!(arrived.eq([changes(), changes()].concat()));
    }
}

#[test]
fn what_lived_comes_in_as_many_parts_as_it_takes() {
    use crate::{ControlGroupUsage, Exit, Lives, Reaper};
    let id = |pid| ProcessId { pid, start_ticks: 7 };
    let lives = |many: u32| Lives {
        births: 3,
        deaths: many.into(),
        exits: (0..many).map(|pid| Exit::new(id(pid))).collect(),
        reapers: (0..many / 2).map(|pid| Reaper::new(id(pid))).collect(),
        control_groups: (0..many / 3)
            .map(|nth| ControlGroupUsage::new(format!("/{nth}").as_str(), nth.into()))
            .collect(),
        ..Lives::default()
    };
    let large = || {
        let mut sample = ProcessSample::from(ProcessData { id: id(9999), ..ProcessData::default() });
        // It has no room beside half a message of lives.
        let info = crate::process::ProcessInfo { name: "x".repeat(3000).as_str().into(), ..Default::default() };
        sample.info = info.into();
        sample
    };
    for (many, processes, codec) in [
        (0, 3, Codec::Json),
        (1, 0, Codec::Json),
        (500, 0, Codec::Json),
        (500, 40, Codec::MessagePack),
        (9, 40, Codec::Json),
    ] {
        let samples =
            (0..processes).map(|pid| ProcessSample::from(ProcessData { id: id(pid), ..ProcessData::default() }));
        let samples = [large()].into_iter().chain(samples);
        let mut sent = Snapshot { lives: Some(lives(many).into()), ..samples.collect() };
        let messages = {
            let encoded = encoder(codec).encode(&sent);
            assert_eq!((encoded.oversize, encoded.failed), (0, 0));
            encoded.messages
        };
        assert!(messages.iter().all(|message| message.payload.len() <= 4 << 10));
        let mut arrivals = Receiver::<ProcessSample, u64>::new(Gathering::All);
        // In another order.
        messages.iter().rev().for_each(|message| push(&mut arrivals, message));
        let mut came = all(&mut arrivals).pop().unwrap().0.unwrap();
        assert_eq!(came.samples, sent.samples);
        for snapshot in [&mut sent, &mut came] {
            let lives = std::sync::Arc::make_mut(snapshot.lives.as_mut().unwrap());
            lives.exits.sort_by_key(|exit| exit.id);
            lives.reapers.sort_by_key(|reaper| reaper.id);
            lives.control_groups.sort_by(|a, b| a.path.cmp(&b.path));
        }
        assert_eq!(came.lives, sent.lives, "nothing is lost, and nothing comes twice");
    }
}
