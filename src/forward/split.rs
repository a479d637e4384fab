//! Messages that turn out to be too large for the broker, made into several.

use std::io::Cursor;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::forward::codec::Codec;
use crate::forward::document::{Document, JSON_SAMPLES, PACKED_SAMPLES, TAIL_BYTES};
use crate::forward::message::{Form, Message, MessageId};

/// Splits messages that were encoded before the limit was known.
///
/// The pieces are the parts of the same snapshot, of a producer of their own: its epoch is a hash of which message and which limit it
/// was, with the highest bit set, so that the same message is split the same way again, also by a later process out of a spool. What
/// follows of a snapshot that was in several parts already goes on in there.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    running: Option<Running>,
}

/// A snapshot of several parts of which one was split.
#[derive(Debug)]
struct Running {
    /// Which snapshot: the host, and the id of its first part.
    host: Arc<str>,
    first: MessageId,
    /// The next of its parts, as they were.
    next: u32,
    epoch: u64,
    /// The number of the next piece.
    number: u32,
}

impl Splitter {
    /// Whether a message can be made smaller.
    pub(super) fn can_split(message: &Message) -> bool {
        message.samples > 1 && Opened::new(message).is_some_and(|opened| opened.samples.len() > 1)
    }

    /// What is to be sent in the place of a message; `None` where that is itself.
    pub(super) fn split(&mut self, message: &Message, limit: usize) -> Option<Vec<Message>> {
        let large = message.payload.len() > limit;
        let goes_on = self.running.take_if(|running| running.host == message.host && running.next_id() == message.id);
        if !large && goes_on.is_none() {
            return None;
        }
        let opened = Opened::new(message)?;
        let part = opened.part.map_or(0, |(part, _)| part);
        let mut running = match goes_on {
            Some(running) if running.next == part => running,
            _ if large && opened.samples.len() > 1 => Running {
                host: Arc::clone(&message.host),
                first: MessageId { seq: message.id.seq.saturating_sub(part.into()), ..message.id },
                next: part,
                epoch: epoch(message, limit),
                number: part,
            },
            _ => return None,
        };
        let mut pieces = Vec::new();
        let is_last = opened.part.is_none_or(|(_, last)| last);
        for (samples, payload) in opened.payloads(limit, running.number, is_last) {
            let id = MessageId { epoch: running.epoch, seq: running.number.into(), ..message.id };
            running.number = running.number.saturating_add(1);
            pieces.push(Message { id, samples, payload: payload.into(), ..message.clone() });
        }
        running.next = running.next.saturating_add(1);
        if !is_last {
            self.running = Some(running);
        }
        Some(pieces)
    }
}

impl Running {
    fn next_id(&self) -> MessageId {
        MessageId { seq: self.first.seq.saturating_add(self.next.into()), ..self.first }
    }
}

/// Above all epochs that are times.
fn epoch(message: &Message, limit: usize) -> u64 {
    let MessageId { boot_id, epoch, seq } = message.id;
    let text = format!("{boot_id} {epoch} {seq} {limit} {}", message.host);
    let digest = Sha256::digest(text.as_bytes());
    let hash = digest.iter().take(8).fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
    hash | 1 << 63
}

/// A payload with its samples told apart.
struct Opened<'a> {
    codec: Codec,
    form: Form,
    /// What a document begins with, its samples left out.
    head: Vec<u8>,
    samples: Vec<&'a [u8]>,
    part: Option<(u32, bool)>,
}

impl<'a> Opened<'a> {
    fn new(message: &'a Message) -> Option<Self> {
        let payload = &*message.payload;
        let (head, samples, part) = match (message.form, message.codec) {
            (_, Codec::Ndjson) => (Vec::new(), payload.split_inclusive(|byte| *byte == b'\n').collect(), None),
            // A sample by itself.
            (Form::Samples, _) => return None,
            (Form::Snapshot, Codec::Json) => open_json(payload)?,
            (Form::Snapshot, Codec::MessagePack) => open_packed(payload)?,
        };
        Some(Self { codec: message.codec, form: message.form, head, samples, part })
    }

    /// Payloads up to a limit, each with at least a sample, and how many are in each.
    fn payloads(&self, limit: usize, first: u32, is_last: bool) -> Vec<(u32, Vec<u8>)> {
        let is_lines = self.form == Form::Samples;
        let room = |taken: usize| if is_lines { taken } else { self.head.len().saturating_add(taken) };
        let mut groups: Vec<Vec<&[u8]>> = vec![Vec::new()];
        let mut bytes = TAIL_BYTES;
        for sample in &self.samples {
            let more = sample.len().saturating_add(1);
            if let Some(group) = groups.last()
                && !group.is_empty()
                && room(bytes.saturating_add(more)) > limit
            {
                groups.push(Vec::new());
                bytes = TAIL_BYTES;
            }
            bytes = bytes.saturating_add(more);
            if let Some(group) = groups.last_mut() {
                group.push(sample);
            }
        }
        let count = groups.len();
        let mut payloads = Vec::with_capacity(count);
        for ((index, number), group) in (1_usize..).zip(first..).zip(groups) {
            let samples = u32::try_from(group.len()).unwrap_or(u32::MAX);
            if is_lines {
                payloads.push((samples, group.concat()));
                continue;
            }
            let mut document = Document::open(self.codec, &self.head, Vec::with_capacity(limit.min(1 << 20)));
            for sample in group {
                document.separate();
                document.bytes.extend_from_slice(sample);
                document.samples = document.samples.saturating_add(1);
            }
            payloads.push(document.close(Some((number, is_last && index == count))));
        }
        payloads
    }
}

/// The head, the samples, which part it is.
type Contents<'a> = (Vec<u8>, Vec<&'a [u8]>, Option<(u32, bool)>);

fn open_json(payload: &[u8]) -> Option<Contents<'_>> {
    #[derive(Deserialize)]
    struct Samples<'a> {
        #[serde(borrow)]
        samples: Vec<&'a RawValue>,
        part: Option<u32>,
        last: Option<bool>,
    }
    let document: Samples<'_> = serde_json::from_slice(payload).ok()?;
    let samples: Vec<&[u8]> = document.samples.iter().map(|sample| sample.get().as_bytes()).collect();
    let start = payload.windows(JSON_SAMPLES.len()).position(|window| window == JSON_SAMPLES)?;
    let mut head = payload.get(..start)?.to_vec();
    head.push(b'}');
    Some((head, samples, document.part.zip(document.last)))
}

fn open_packed(payload: &[u8]) -> Option<Contents<'_>> {
    let fields = payload.first()?.checked_sub(0x80)?;
    let mut input = rmp_serde::Deserializer::new(Cursor::new(payload));
    input.get_mut().set_position(1);
    let (mut head, mut samples, mut part, mut last) = (Vec::new(), Vec::new(), None, None);
    let at = |input: &rmp_serde::Deserializer<rmp_serde::decode::ReadReader<Cursor<&[u8]>>>| {
        usize::try_from(input.get_ref().position()).ok()
    };
    for _ in 0..fields {
        let start = at(&input)?;
        match &*String::deserialize(&mut input).ok()? {
            "samples" => {
                let count = start.checked_add(PACKED_SAMPLES.len())?;
                let number: [u8; 4] = payload.get(count.checked_sub(4)?..count)?.try_into().ok()?;
                head = payload.get(..start)?.to_vec();
                input.get_mut().set_position(u64::try_from(count).ok()?);
                for _ in 0..u32::from_be_bytes(number) {
                    let start = at(&input)?;
                    IgnoredAny::deserialize(&mut input).ok()?;
                    samples.push(payload.get(start..at(&input)?)?);
                }
            }
            "part" => part = Some(u32::deserialize(&mut input).ok()?),
            "last" => last = Some(bool::deserialize(&mut input).ok()?),
            _ => {
                IgnoredAny::deserialize(&mut input).ok()?;
            }
        }
    }
    let part: Option<(u32, bool)> = part.zip(last);
    let without = if part.is_some() { 3 } else { 1 };
    *head.first_mut()? = payload.first()?.checked_sub(without)?;
    Some((head, samples, part))
}
