//! Decoding of payloads to snapshots.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::codec::Codec;
use super::delta::{Delta, Link};
use super::document::Part;
use super::form::Form;
use super::piece::Piece;
use super::record::Line;
use super::version::check;
use crate::time::nanos;
use crate::{BootId, Lives, Monotonic, Notice, Sample, Skipped, Snapshot, Timestamp};

/// The content of a payload.
pub(crate) struct Decoded<T> {
    pub(crate) snapshot: Snapshot<T>,
    /// The part of a split snapshot that it is.
    pub(crate) part: Option<Part>,
    /// The piece of a message that it is, if the payload names one.
    pub(crate) piece: Option<Piece>,
    /// Its place in a chain, if it is in one.
    pub(crate) chain: Option<InChain>,
}

/// The place of a snapshot in a chain, and how it differs from the one before; `None` for a keyframe.
#[derive(Clone, Debug)]
pub(crate) struct InChain {
    pub(crate) link: Link,
    pub(crate) delta: Option<Delta>,
}

/// Decodes a payload. The error is a text for people.
pub(crate) fn decode<T: Sample + DeserializeOwned>(
    codec: Codec,
    form: Form,
    payload: &[u8],
) -> Result<Decoded<T>, String> {
    // NDJSON always has samples one by one.
    // Whether a document holds changes is in the document: the headers may be lost.
    let samples = codec == Codec::Ndjson || form == Form::Samples;
    let decoded = if samples { decode_samples(codec, payload) } else { decode_snapshot(codec, payload) };
    decoded.map_err(|error| understood::<T>(codec, payload).err().unwrap_or(error))
}

/// A snapshot (or a part of one) in the wire form: a [`Head`](super::head::Head), its samples, and the part it is.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Whole<'a, T> {
    schema: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    stream: Option<Arc<str>>,
    host: Option<Arc<str>>,
    boot_id: BootId,
    seq: u64,
    time: Timestamp,
    at: Monotonic,
    #[serde(with = "nanos")]
    took: Duration,
    #[serde(with = "nanos")]
    lag: Duration,
    #[serde(default)]
    complete_at: Option<Monotonic>,
    skipped: Skipped,
    #[serde(default)]
    notices: Vec<Notice>,
    #[serde(default)]
    lives: Option<Arc<Lives>>,
    #[serde(default)]
    chain: Option<Link>,
    #[serde(default)]
    delta: Option<Delta>,
    samples: Vec<T>,
    #[serde(default)]
    part: Option<u32>,
    #[serde(default)]
    last: bool,
    #[serde(default)]
    piece: Option<Piece>,
}

fn decode_snapshot<T: Sample + DeserializeOwned>(codec: Codec, payload: &[u8]) -> Result<Decoded<T>, String> {
    let whole: Whole<'_, T> = codec.read(payload)?;
    check::<T>(whole.schema, &whole.kind)?;
    let snapshot = Snapshot {
        host: whole.host,
        stream: named::<T>(whole.stream),
        seq: whole.seq,
        boot_id: whole.boot_id,
        time: whole.time,
        at: whole.at,
        took: whole.took,
        lag: whole.lag,
        complete_at: whole.complete_at,
        skipped: whole.skipped,
        notices: whole.notices,
        lives: whole.lives,
        samples: whole.samples,
    };
    let part = whole.part.map(|number| Part { number, last: whole.last });
    let chain = match (whole.chain, whole.delta) {
        (None, None) => None,
        (None, Some(_)) => return Err("changes of an unknown chain".to_owned()),
        (Some(link), delta) => Some(InChain { link, delta }),
    };
    Ok(Decoded { snapshot, part, piece: whole.piece, chain })
}

/// The name of a stream; `None` if it has no other than its kind.
fn named<T: Sample>(stream: Option<Arc<str>>) -> Option<Arc<str>> {
    stream.filter(|stream| **stream != *T::KIND)
}

/// The time at which a sample was taken, if it has one.
#[derive(Deserialize)]
struct At {
    #[serde(default)]
    at: Monotonic,
}

/// Decodes samples one by one: a line each, or a single one.
fn decode_samples<T: Sample + DeserializeOwned>(codec: Codec, payload: &[u8]) -> Result<Decoded<T>, String> {
    let mut snapshot = Snapshot::default();
    let lines = payload.split(|byte| codec == Codec::Ndjson && *byte == b'\n');
    for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
        let record: Line<Arc<str>, String, T> = codec.read(line)?;
        check::<T>(record.schema, &record.kind)?;
        if snapshot.samples.is_empty() {
            snapshot.host = record.host;
            snapshot.stream = named::<T>(record.stream);
            (snapshot.seq, snapshot.boot_id, snapshot.time) = (record.seq, record.boot_id, record.time);
            // The reading began at an unknown time before its first sample.
            snapshot.at = codec.read::<At>(line).map_or_else(|_| Monotonic::default(), |at| at.at);
        }
        snapshot.samples.push(record.sample);
    }
    if snapshot.samples.is_empty() {
        return Err("it has no samples".to_owned());
    }
    Ok(Decoded { snapshot, part: None, piece: None, chain: None })
}

/// Checks the schema and the kind of a payload that could not be decoded: their error is clearer than one about a field.
fn understood<T: Sample>(codec: Codec, payload: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Peek<'a> {
        schema: u32,
        #[serde(borrow)]
        kind: Cow<'a, str>,
    }
    let line = payload.split(|byte| codec == Codec::Ndjson && *byte == b'\n').next().unwrap_or_default();
    codec.read::<Peek<'_>>(line).map_or(Ok(()), |peek| check::<T>(peek.schema, &peek.kind))
}
