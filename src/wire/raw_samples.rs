//! The samples of a payload, each still encoded.

use std::io::Cursor;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::codec::Codec;
use super::document::{Document, JSON_SAMPLES, PACKED_SAMPLES, Part, TAIL_BYTES, as_packed_map, packed_map};
use super::form::Form;
use super::piece::Piece;

/// The samples of a payload.
pub(crate) struct RawSamples<'a> {
    codec: Codec,
    form: Form,
    /// The head of the document, without its samples.
    head: Vec<u8>,
    samples: Vec<&'a [u8]>,
    part: Option<Part>,
}

impl<'a> RawSamples<'a> {
    /// Splits a payload into its samples; `None` if it is a single sample, or was not written by this crate.
    pub(crate) fn new(form: Form, codec: Codec, payload: &'a [u8]) -> Option<Self> {
        let (head, samples, part) = match (form, codec) {
            (_, Codec::Ndjson) => (Vec::new(), payload.split_inclusive(|byte| *byte == b'\n').collect(), None),
            (Form::Samples, _) => return None,
            (Form::Snapshot | Form::Delta, Codec::Json) => open_json(payload)?,
            (Form::Snapshot | Form::Delta, Codec::MessagePack) => open_packed(payload)?,
            // Its points are of several samples each: see `pieces`.
            #[cfg(feature = "otlp")]
            (Form::Snapshot | Form::Delta, Codec::Otlp) => return None,
        };
        Some(Self { codec, form, head, samples, part })
    }

    /// Returns the number of samples.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Returns payloads of up to `limit` bytes, each with at least one sample. `whole` is the piece that this payload is.
    pub(crate) fn payloads(&self, limit: usize, whole: Option<Piece>) -> Vec<(Piece, Vec<u8>)> {
        let mut payloads = Vec::new();
        let (mut from, of) = match whole {
            Some(piece) => (piece.from, piece.of),
            None => (0, u32::try_from(self.len()).unwrap_or(u32::MAX)),
        };
        for group in self.groups(limit) {
            let to = from.saturating_add(u32::try_from(group.len()).unwrap_or(u32::MAX));
            let Some(piece) = Piece::new(from, to, of) else { continue };
            payloads.push((piece, self.payload(group, piece)));
            from = to;
        }
        payloads
    }

    fn payload(&self, group: &[&[u8]], piece: Piece) -> Vec<u8> {
        if self.form == Form::Samples {
            return group.concat();
        }
        let bytes =
            group.iter().map(|sample| sample.len().saturating_add(1)).fold(self.head.len(), usize::saturating_add);
        let mut document = Document::open(self.codec, &self.head, Vec::with_capacity(bytes.saturating_add(TAIL_BYTES)));
        for sample in group {
            document.separate();
            document.bytes.extend_from_slice(sample);
            document.samples = document.samples.saturating_add(1);
        }
        document.close(self.part, Some(piece)).1
    }

    /// Returns the samples in groups that fit.
    fn groups(&self, limit: usize) -> Vec<&[&'a [u8]]> {
        let least = if self.form == Form::Samples { 0 } else { self.head.len().saturating_add(TAIL_BYTES) };
        let mut groups = Vec::new();
        let (mut rest, mut bytes, mut count) = (&*self.samples, least, 0_usize);
        for sample in &self.samples {
            let more = sample.len().saturating_add(1);
            if count > 0 && bytes.saturating_add(more) > limit {
                if let Some((group, after)) = rest.split_at_checked(count) {
                    groups.push(group);
                    rest = after;
                }
                (bytes, count) = (least, 0);
            }
            bytes = bytes.saturating_add(more);
            count = count.saturating_add(1);
        }
        groups.push(rest);
        groups
    }
}

/// The head, the samples, and the part that a document is.
type Contents<'a> = (Vec<u8>, Vec<&'a [u8]>, Option<Part>);

fn part(number: Option<u32>, last: Option<bool>) -> Option<Part> {
    number.zip(last).map(|(number, last)| Part { number, last })
}

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
    Some((head, samples, part(document.part, document.last)))
}

fn open_packed(payload: &[u8]) -> Option<Contents<'_>> {
    let (count, fields) = packed_map(payload)?;
    let mut input = rmp_serde::Deserializer::new(Cursor::new(fields));
    let (mut head, mut samples, mut number, mut last) = (Vec::new(), Vec::new(), None, None);
    let at = |input: &rmp_serde::Deserializer<rmp_serde::decode::ReadReader<Cursor<&[u8]>>>| {
        usize::try_from(input.get_ref().position()).ok()
    };
    for index in 0..count {
        let start = at(&input)?;
        match &*String::deserialize(&mut input).ok()? {
            "samples" => {
                let begin = start.checked_add(PACKED_SAMPLES.len())?;
                let length: [u8; 4] = fields.get(begin.checked_sub(4)?..begin)?.try_into().ok()?;
                // The bytes before them are the head.
                head = as_packed_map(index, fields.get(..start)?);
                input.get_mut().set_position(u64::try_from(begin).ok()?);
                for _ in 0..u32::from_be_bytes(length) {
                    let start = at(&input)?;
                    IgnoredAny::deserialize(&mut input).ok()?;
                    samples.push(fields.get(start..at(&input)?)?);
                }
            }
            "part" => number = Some(u32::deserialize(&mut input).ok()?),
            "last" => last = Some(bool::deserialize(&mut input).ok()?),
            _ => {
                IgnoredAny::deserialize(&mut input).ok()?;
            }
        }
    }
    Some((head, samples, part(number, last)))
}
