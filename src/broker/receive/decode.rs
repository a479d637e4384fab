//! Payloads to snapshots.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::message::Received;
use crate::forward::{Codec, Host};
use crate::stream::Record;
use crate::stream::SCHEMA;
use crate::{BootId, Lives, Monotonic, Notice, Sample, Skipped, Snapshot, Timestamp};

/// What a message holds.
pub(super) struct Decoded<T> {
    pub(super) snapshot: Snapshot<T>,
    /// Which part of a split snapshot it is.
    pub(super) part: Option<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: u32,
    pub(super) last: bool,
}

/// Decodes a message; the error says what is wrong with it.
pub(super) fn decode<T: Sample + DeserializeOwned>(message: &Received<'_>) -> Result<Decoded<T>, String> {
    let codec = match message.content_type {
        None => Codec::Json,
        Some(text) => Codec::from_media_type(text).ok_or_else(|| format!("the media type {text:?} is not known"))?,
    };
    // Samples by themselves say so.
    let samples = codec == Codec::Ndjson || message.event_type.is_some_and(|text| text.ends_with(".samples"));
    let decoded =
        if samples { decode_samples(codec, message.payload) } else { decode_snapshot(codec, message.payload) };
    decoded.map_err(|error| understood::<T>(codec, message.payload).err().unwrap_or(error))
}

fn read<'a, V: Deserialize<'a>>(codec: Codec, bytes: &'a [u8]) -> Result<V, String> {
    match codec {
        Codec::Json | Codec::Ndjson => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        Codec::MessagePack => rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
    }
}

/// A snapshot, or a part of one, as it is written.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Document<'a, T> {
    schema: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    host: Option<Arc<str>>,
    boot_id: BootId,
    seq: u64,
    time: Timestamp,
    at: Monotonic,
    #[serde(deserialize_with = "nanos")]
    took: Duration,
    #[serde(deserialize_with = "nanos")]
    lag: Duration,
    #[serde(default)]
    complete_at: Option<Monotonic>,
    skipped: Skipped,
    #[serde(default)]
    notices: Vec<Notice>,
    #[serde(default)]
    lives: Option<Arc<Lives>>,
    samples: Vec<T>,
    #[serde(default)]
    part: Option<u32>,
    #[serde(default)]
    last: bool,
}

fn nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}

fn decode_snapshot<T: Sample + DeserializeOwned>(codec: Codec, payload: &[u8]) -> Result<Decoded<T>, String> {
    let document: Document<'_, T> = read(codec, payload)?;
    check::<T>(document.schema, &document.kind)?;
    check_host(document.host.as_deref())?;
    let snapshot = Snapshot {
        host: document.host,
        seq: document.seq,
        boot_id: document.boot_id,
        time: document.time,
        at: document.at,
        took: document.took,
        lag: document.lag,
        complete_at: document.complete_at,
        skipped: document.skipped,
        notices: document.notices,
        lives: document.lives,
        samples: document.samples,
    };
    let part = document.part.map(|number| Part { number, last: document.last });
    Ok(Decoded { snapshot, part })
}

/// When a sample was taken, where it says so.
#[derive(Deserialize)]
struct At {
    #[serde(default)]
    at: Monotonic,
}

/// Samples by themselves: a line each, or one.
fn decode_samples<T: Sample + DeserializeOwned>(codec: Codec, payload: &[u8]) -> Result<Decoded<T>, String> {
    let mut snapshot = Snapshot::default();
    let lines = payload.split(|byte| codec == Codec::Ndjson && *byte == b'\n');
    for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
        let record: Record<T> = read(codec, line)?;
        if snapshot.samples.is_empty() {
            check_host(record.host.as_deref())?;
            snapshot.host = record.host;
            (snapshot.seq, snapshot.boot_id, snapshot.time) = (record.seq, record.boot_id, record.time);
            // The reading began before its first sample was taken; how long before is not in the message.
            snapshot.at = read::<At>(codec, line).map_or_else(|_| Monotonic::default(), |at| at.at);
        }
        snapshot.samples.push(record.sample);
    }
    if snapshot.samples.is_empty() {
        return Err("no samples in it".to_owned());
    }
    Ok(Decoded { snapshot, part: None })
}

fn check<T: Sample>(schema: u32, kind: &str) -> Result<(), String> {
    if schema != SCHEMA {
        return Err(format!("schema {schema}, where {SCHEMA} is understood"));
    }
    if kind != T::KIND {
        return Err(format!("kind {kind:?}, where {:?} was expected", T::KIND));
    }
    Ok(())
}

/// Names are keys in what follows hosts, and on their way again parts of subjects and headers.
fn check_host(host: Option<&str>) -> Result<(), String> {
    host.map_or(Ok(()), |host| Host::check(host).map_err(|why| format!("host name {host:?}: {why}")))
}

/// Whether it is of a schema and a kind that can be understood: what says more than which field was not.
fn understood<T: Sample>(codec: Codec, payload: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Peek<'a> {
        schema: u32,
        #[serde(borrow)]
        kind: Cow<'a, str>,
    }
    let line = payload.split(|byte| codec == Codec::Ndjson && *byte == b'\n').next().unwrap_or_default();
    read::<Peek<'_>>(codec, line).map_or(Ok(()), |peek| check::<T>(peek.schema, &peek.kind))
}
