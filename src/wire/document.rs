//! The writer of a document with the samples of a snapshot, or of a part of it.

use super::codec::Codec;
use super::piece::Piece;

/// An upper bound of the bytes that close a document.
pub(crate) const TAIL_BYTES: usize = 96;

/// A document being written: the fields of the head, then the samples, then the part it is.
pub(crate) struct Document {
    codec: Codec,
    pub(crate) bytes: Vec<u8>,
    /// The number of fields of the head.
    fields: u16,
    /// The offset of the first sample.
    pub(crate) empty: usize,
    pub(crate) samples: u32,
}

/// The part of a snapshot that a document is, if the snapshot was too large for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) last: bool,
}

/// The name of the field and the beginning of an array, in JSON.
pub(super) const JSON_SAMPLES: &[u8] = b",\"samples\":[";

/// The name of the field and the head of an array of up to 2³² elements, in MessagePack.
pub(super) const PACKED_SAMPLES: &[u8] = b"\xa7samples\xdd\0\0\0\0";

/// The head of a map of up to 2¹⁶ fields, in MessagePack.
const PACKED_MAP: u8 = 0xde;

impl Document {
    /// Begins a document in `bytes`, which must be empty; `head` is a map.
    pub(crate) fn open(codec: Codec, head: &[u8], mut bytes: Vec<u8>) -> Self {
        let mut fields = 0;
        match codec {
            Codec::Json | Codec::Ndjson => {
                bytes.extend_from_slice(head);
                bytes.pop(); // the closing brace
                bytes.extend_from_slice(JSON_SAMPLES);
            }
            Codec::MessagePack => {
                let (count, head) = packed_map(head).unwrap_or_default();
                fields = count;
                // The number of samples is not known yet.
                bytes.extend_from_slice(&[PACKED_MAP, 0, 0]);
                bytes.extend_from_slice(head);
                bytes.extend_from_slice(PACKED_SAMPLES);
            }
            // It has no documents.
            #[cfg(feature = "otlp")]
            Codec::Otlp => {}
        }
        let empty = bytes.len();
        Self { codec, bytes, fields, empty, samples: 0 }
    }

    /// Writes the separator of one more sample. Returns the offset of the separator.
    pub(crate) fn separate(&mut self) -> usize {
        let start = self.bytes.len();
        if self.codec != Codec::MessagePack && self.samples > 0 {
            self.bytes.push(b',');
        }
        start
    }

    /// Removes the last sample, whose separator is at `start`, and returns it without the separator.
    pub(crate) fn cut(&mut self, start: usize) -> Vec<u8> {
        let mut rest = self.bytes.split_off(start);
        if self.codec != Codec::MessagePack && self.samples > 0 {
            rest.remove(0);
        }
        rest
    }

    /// Ends the document. Returns its number of samples, and its bytes.
    pub(crate) fn close(mut self, part: Option<Part>, piece: Option<Piece>) -> (u32, Vec<u8>) {
        match self.codec {
            Codec::Json | Codec::Ndjson => {
                self.bytes.push(b']');
                if let Some(Part { number, last }) = part {
                    self.bytes.extend_from_slice(format!(",\"part\":{number},\"last\":{last}").as_bytes());
                }
                if let Some(Piece { from, to, of }) = piece {
                    let piece = format!(",\"piece\":{{\"from\":{from},\"to\":{to},\"of\":{of}}}");
                    self.bytes.extend_from_slice(piece.as_bytes());
                }
                self.bytes.push(b'}');
            }
            Codec::MessagePack => self.close_packed(part, piece),
            #[cfg(feature = "otlp")]
            Codec::Otlp => {}
        }
        (self.samples, self.bytes)
    }

    fn close_packed(&mut self, part: Option<Part>, piece: Option<Piece>) {
        let count = self.samples.to_be_bytes();
        let at = self.empty.saturating_sub(count.len());
        if let Some(place) = self.bytes.get_mut(at..self.empty) {
            place.copy_from_slice(&count);
        }
        let mut fields = self.fields.saturating_add(1);
        let mut number = |name: &[u8], number: u32| {
            self.bytes.extend_from_slice(name);
            self.bytes.push(0xce);
            self.bytes.extend_from_slice(&number.to_be_bytes());
        };
        if let Some(Piece { from, to, of }) = piece {
            fields = fields.saturating_add(1);
            number(b"\xa5piece\x83\xa4from", from);
            number(b"\xa2to", to);
            number(b"\xa2of", of);
        }
        if let Some(Part { number: part, last }) = part {
            fields = fields.saturating_add(2);
            number(b"\xa4part", part);
            self.bytes.extend_from_slice(b"\xa4last");
            self.bytes.push(if last { 0xc3 } else { 0xc2 });
        }
        if let Some(place) = self.bytes.get_mut(1..3) {
            place.copy_from_slice(&fields.to_be_bytes());
        }
    }
}

/// Returns the number of fields of a map in MessagePack, and its fields.
pub(super) fn packed_map(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first == PACKED_MAP {
        let (count, rest) = rest.split_first_chunk()?;
        return Some((u16::from_be_bytes(*count), rest));
    }
    first.checked_sub(0x80).filter(|count| *count < 16).map(|count| (count.into(), rest))
}

/// Returns a map that [`packed_map`] reads.
pub(super) fn as_packed_map(count: u16, fields: &[u8]) -> Vec<u8> {
    let mut map = Vec::with_capacity(fields.len().saturating_add(3));
    map.push(PACKED_MAP);
    map.extend_from_slice(&count.to_be_bytes());
    map.extend_from_slice(fields);
    map
}
