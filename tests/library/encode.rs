//! Snapshots as messages: what is in them, to the byte, and how they are split.

use std::io::Write as _;

use appmon::forward::{Codec, Encoded, Encoder, Form, Host, Message, MessageId};
use appmon::snapshot::{Notice, Skipped};
use appmon::stream::Record;
use appmon::time::Monotonic;
use appmon::{BootId, Sample, Snapshot, Timestamp};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use common::brokers::{Reading, snapshot};

/// What a consumer makes of a message of [`Form::Snapshot`]; and, written, what the message is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    schema: u32,
    kind: String,
    stream: String,
    host: String,
    boot_id: BootId,
    seq: u64,
    time: Timestamp,
    at: Monotonic,
    took: u64,
    lag: u64,
    skipped: Skipped,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notices: Vec<Notice>,
    samples: Vec<Reading>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<bool>,
}

impl Document {
    fn of(snapshot: &Snapshot<Reading>) -> Self {
        Self {
            schema: 1,
            kind: "reading".to_owned(),
            stream: "reading".to_owned(),
            host: "web-17".to_owned(),
            boot_id: snapshot.boot_id,
            seq: snapshot.seq,
            time: snapshot.time,
            at: snapshot.at,
            took: u64::try_from(snapshot.took.as_nanos()).unwrap(),
            lag: u64::try_from(snapshot.lag.as_nanos()).unwrap(),
            skipped: snapshot.skipped,
            notices: snapshot.notices.clone(),
            samples: snapshot.samples.clone(),
            part: None,
            last: None,
        }
    }

    fn read(message: &Message) -> Self {
        match message.codec {
            Codec::MessagePack => rmp_serde::from_slice(&message.payload).unwrap(),
            _ => serde_json::from_slice(&message.payload).unwrap(),
        }
    }
}

fn encoder() -> Encoder {
    Encoder::new(Host::new("web-17").unwrap())
}

/// With a field of everything that a snapshot has.
fn full(count: u64) -> Snapshot<Reading> {
    let mut snapshot = snapshot(7, count);
    snapshot.time = Timestamp::from_unix_nanos(1_500_000_000);
    snapshot.took = std::time::Duration::from_micros(3);
    snapshot.notices.push(Notice::NoPulse);
    snapshot
}

#[test]
fn a_snapshot_is_what_serde_makes_of_its_fields() {
    for mut snapshot in [full(3), full(0)] {
        for _ in 0..2 {
            let encoded = encoder().encode(&snapshot);
            let [message] = &encoded.messages[..] else { panic!("{encoded:?}") };
            let expected = serde_json::to_string(&Document::of(&snapshot)).unwrap();
            assert_eq!(std::str::from_utf8(&message.payload).unwrap(), expected);
            assert_eq!(u64::from(message.samples), snapshot.samples.len() as u64);
            assert_eq!((message.form, &*message.kind), (Form::Snapshot, "reading"));

            let encoded = encoder().codec(Codec::MessagePack).encode(&snapshot);
            let [message] = &encoded.messages[..] else { panic!("{encoded:?}") };
            assert_eq!(Document::read(message), Document::of(&snapshot));
            // Nothing comes after it.
            let mut rest = &message.payload[..];
            let _: Document = rmp_serde::from_read(&mut rest).unwrap();
            assert!(rest.is_empty());
            snapshot.notices.clear();
        }
    }
}

#[test]
fn lines_and_samples_by_themselves_are_records() {
    let snapshot = full(3);
    let records: Vec<Record<Reading>> = {
        let encoded = encoder().codec(Codec::Ndjson).encode(&snapshot);
        let [message] = &encoded.messages[..] else { panic!("{encoded:?}") };
        assert_eq!((message.form, message.samples), (Form::Samples, 3));
        assert!(message.payload.ends_with(b"}\n"));
        let lines = std::str::from_utf8(&message.payload).unwrap().lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let samples: Vec<_> = records.iter().map(|record| record.sample.clone()).collect();
    assert_eq!(samples, snapshot.samples);
    for record in &records {
        assert_eq!((record.seq, record.boot_id, record.time), (7, snapshot.boot_id, snapshot.time));
        assert_eq!(record.host.as_deref(), Some("web-17"));
    }

    for codec in [Codec::Json, Codec::Ndjson, Codec::MessagePack] {
        let encoded = encoder().codec(codec).per_sample(true).encode(&snapshot);
        assert_eq!(encoded.messages.len(), 3);
        for (message, record) in encoded.messages.iter().zip(&records) {
            assert_eq!((message.form, message.samples), (Form::Samples, 1));
            let read: Record<Reading> = match codec {
                Codec::MessagePack => rmp_serde::from_slice(&message.payload).unwrap(),
                _ => serde_json::from_slice(&message.payload).unwrap(),
            };
            assert_eq!(&read, record);
        }
        let keys: Vec<_> = encoded.messages.iter().map(|message| message.key).collect();
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        // The same thing later has the same key, and another id.
        let mut encoder = encoder().per_sample(true);
        let (one, other) = (encoder.encode(&snapshot), encoder.encode(&snapshot));
        assert_eq!(one.messages[0].key, other.messages[0].key);
        assert!(one.messages[2].id < other.messages[0].id);
    }
}

/// A sample that cannot always be written.
#[derive(Clone, Debug)]
struct Sometimes(u64);

impl Serialize for Sometimes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 3 == 1 {
            return Err(serde::ser::Error::custom("not today"));
        }
        #[derive(Serialize)]
        struct Number {
            number: u64,
        }
        Number { number: self.0 }.serialize(serializer)
    }
}

impl Sample for Sometimes {
    const KIND: &'static str = "sometimes";
    type Key = u64;

    fn key(&self) -> u64 {
        self.0
    }
}

#[test]
fn what_cannot_be_written_is_counted_and_leaves_no_trace() {
    let snapshot: Snapshot<_> = (0..9).map(Sometimes).collect();
    let numbers = |encoded: &Encoded| -> Vec<u64> {
        let [message] = &encoded.messages[..] else { panic!("{encoded:?}") };
        let text = std::str::from_utf8(&message.payload).unwrap();
        let documents: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |value: &serde_json::Value| value["number"].as_u64().unwrap();
        match documents[0].get("samples") {
            Some(samples) => samples.as_array().unwrap().iter().map(of).collect(),
            None => documents.iter().map(of).collect(),
        }
    };
    for codec in [Codec::Json, Codec::Ndjson] {
        let encoded = encoder().codec(codec).encode(&snapshot);
        assert_eq!((encoded.failed, encoded.oversize), (3, 0));
        assert_eq!(numbers(&encoded), [0, 2, 3, 5, 6, 8]);
        assert_eq!(encoded.messages[0].samples, 6);
    }
    assert_eq!(encoder().codec(Codec::MessagePack).encode(&snapshot).failed, 3);
}

#[test]
fn what_came_from_another_host_stays_its_own() {
    for (codec, per_sample) in
        [(Codec::Json, false), (Codec::Json, true), (Codec::Ndjson, false), (Codec::MessagePack, false)]
    {
        let mut encoder = encoder().codec(codec).per_sample(per_sample);
        let mut encode = |host: Option<&str>| {
            let mut snapshot = full(1);
            snapshot.host = host.map(Into::into);
            let mut encoded = encoder.encode(&snapshot);
            assert_eq!((encoded.messages.len(), encoded.failed), (1, 0));
            let message = encoded.messages.remove(0);
            let named = host.unwrap_or("web-17");
            assert_eq!(&*message.host, named);
            let said = message.payload.windows(named.len()).any(|window| window == named.as_bytes());
            let own = message.payload.windows(6).any(|window| window == b"web-17");
            assert_eq!((said, own), (true, named == "web-17"), "{:?}", message.payload);
            message
        };
        let [own, db, other, db_again, own_again] =
            [None, Some("db-1"), Some("db-2"), Some("db-1"), Some("web-17")].map(&mut encode);
        assert_eq!([own.id.seq, db.id.seq, other.id.seq, db_again.id.seq, own_again.id.seq], [0, 0, 0, 1, 1]);
        // The latest of one host does not stand for another.
        assert_eq!((own.key, db.key), (own_again.key, db_again.key));
        assert!(own.key != db.key && db.key != other.key);
    }
    for wrong in ["", "a\nb", &"x".repeat(256)] {
        let mut snapshot = full(3);
        snapshot.host = Some(wrong.into());
        let encoded = encoder().encode(&snapshot);
        assert_eq!((encoded.messages.len(), encoded.failed), (0, 3), "{wrong:?}");
    }
}

/// Samples with texts of these lengths.
fn texts(lengths: &[usize]) -> Snapshot<Reading> {
    let text = |length: &usize| "aü\"\n".chars().cycle().take(*length).collect();
    let samples = lengths.iter().zip(0..).map(|(length, number)| Reading { number, text: text(length) });
    let mut snapshot: Snapshot<_> = samples.collect();
    snapshot.seq = 9;
    snapshot
}

/// No message is over the limit; together they have all samples in order but those that are counted; the ids follow each other.
#[track_caller]
fn check_split(encoded: &Encoded, snapshot: &Snapshot<Reading>, max_bytes: usize, samples: &[Reading]) {
    let mut of_snapshot = snapshot.samples.iter();
    for sample in samples {
        assert!(of_snapshot.any(|other| other == sample), "out of order, or twice: {}", sample.number);
    }
    assert_eq!(samples.len() as u64 + encoded.oversize, snapshot.samples.len() as u64);
    assert_eq!(encoded.failed, 0);
    let counted: u64 = encoded.messages.iter().map(|message| u64::from(message.samples)).sum();
    assert_eq!(counted, samples.len() as u64);
    for (message, seq) in encoded.messages.iter().zip(0..) {
        assert!(message.payload.len() <= max_bytes, "{} bytes", message.payload.len());
        assert_eq!(message.id.seq, seq);
    }
    // What is counted as too large is.
    let left: usize = samples.iter().map(|sample| sample.text.len()).max().unwrap_or(0);
    let dropped = snapshot.samples.iter().filter(|sample| !samples.contains(sample));
    for sample in dropped {
        assert!(sample.text.len() > left || sample.text.len() > max_bytes / 2, "{} of {max_bytes}", sample.text.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn parts_make_the_snapshot_again(
        lengths in prop::collection::vec(prop_oneof![0_usize..40, 0_usize..3000, 2000_usize..12000], 0..40),
        max_bytes in 4096_usize..20_000,
        packed: bool,
    ) {
        let snapshot = texts(&lengths);
        let codec = if packed { Codec::MessagePack } else { Codec::Json };
        let encoded = encoder().codec(codec).max_bytes(max_bytes).encode(&snapshot);
        let documents: Vec<_> = encoded.messages.iter().map(Document::read).collect();
        let samples: Vec<_> = documents.iter().flat_map(|document| document.samples.clone()).collect();
        check_split(&encoded, &snapshot, max_bytes, &samples);
        let count = documents.len();
        for (document, part) in documents.into_iter().zip(0..) {
            let (number, last) = if count == 1 { (None, None) } else { (Some(part), Some(part as usize + 1 == count)) };
            prop_assert_eq!((document.part, document.last), (number, last));
            let samples = document.samples.clone();
            prop_assert_eq!(document, Document { samples, part: number, last, ..Document::of(&snapshot) });
        }
    }

    #[test]
    fn lines_are_split_between_samples(
        lengths in prop::collection::vec(prop_oneof![0_usize..40, 0_usize..3000, 2000_usize..12000], 0..40),
        max_bytes in 4096_usize..20_000,
        per_sample: bool,
    ) {
        let snapshot = texts(&lengths);
        let encoded = encoder().codec(Codec::Ndjson).per_sample(per_sample).max_bytes(max_bytes).encode(&snapshot);
        let mut samples = Vec::new();
        for message in &encoded.messages {
            prop_assert!(message.payload.ends_with(b"\n"));
            let before = samples.len();
            for line in std::str::from_utf8(&message.payload).unwrap().lines() {
                samples.push(serde_json::from_str::<Record<Reading>>(line).unwrap().sample);
            }
            prop_assert_eq!(samples.len() - before, message.samples as usize);
            prop_assert!(message.samples > 0 && (!per_sample || message.samples == 1));
        }
        check_split(&encoded, &snapshot, max_bytes, &samples);
    }

    /// By the schema that CloudEvents has for its JSON format, whatever the host is called.
    #[test]
    fn structured_is_a_valid_cloud_event(host in "[^\\p{Cc}]{1,60}", packed: bool) {
        let codec = if packed { Codec::MessagePack } else { Codec::Json };
        let mut encoder = Encoder::new(Host::new(&host).unwrap()).codec(codec);
        let message = encoder.encode(&full(2)).messages.remove(0);
        let event: serde_json::Value = serde_json::from_slice(&message.structured()).unwrap();
        for (name, value) in message.attributes() {
            prop_assert_eq!(event[name].as_str(), Some(&*value));
            prop_assert!(!value.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        }
        prop_assert_eq!(&event["specversion"], "1.0");
        let source = event["source"].as_str().unwrap();
        prop_assert!(source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%:".contains(&byte)), "{}", source);
        prop_assert!(humantime::parse_rfc3339(event["time"].as_str().unwrap()).is_ok());
        prop_assert_eq!(event["id"].as_str().unwrap().parse::<MessageId>().unwrap(), message.id);
        if packed {
            let data = event["data_base64"].as_str().unwrap();
            prop_assert_eq!(base64_decode(data), &message.payload[..]);
        } else {
            prop_assert_eq!(&event["data"], &serde_json::from_slice::<serde_json::Value>(&message.payload).unwrap());
        }
    }
}

/// By another implementation than ours.
fn base64_decode(text: &str) -> Vec<u8> {
    let mut command = std::process::Command::new("base64");
    let piped = std::process::Stdio::piped;
    let mut child = command.arg("-d").stdin(piped()).stdout(piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap().stdout
}
