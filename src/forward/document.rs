//! A document with the samples of a snapshot, or of a part of it, while it is written.

use crate::forward::codec::Codec;

/// More than what closes a document takes.
pub(super) const TAIL_BYTES: usize = 64;

/// A document that is being written: the head's fields, then the samples one after the other, then which part it is.
pub(super) struct Document {
    codec: Codec,
    pub(super) bytes: Vec<u8>,
    /// Where the fields of the head begin, and where the samples do.
    start: usize,
    pub(super) empty: usize,
    pub(super) samples: u32,
}

/// The name of the field and the beginning of an array, in JSON.
pub(super) const JSON_SAMPLES: &[u8] = b",\"samples\":[";

/// The name of the field and the head of an array of up to 2³² elements, in MessagePack.
pub(super) const PACKED_SAMPLES: &[u8] = b"\xa7samples\xdd\0\0\0\0";

impl Document {
    pub(super) fn open(codec: Codec, head: &[u8], mut bytes: Vec<u8>) -> Self {
        let start = bytes.len();
        bytes.extend_from_slice(head);
        match codec {
            Codec::Json | Codec::Ndjson => {
                bytes.pop(); // the closing brace
                bytes.extend_from_slice(JSON_SAMPLES);
            }
            Codec::MessagePack => bytes.extend_from_slice(PACKED_SAMPLES),
        }
        let empty = bytes.len();
        Self { codec, bytes, start, empty, samples: 0 }
    }

    /// Makes room for one more sample; gives where it begins, its separator included.
    pub(super) fn separate(&mut self) -> usize {
        let start = self.bytes.len();
        if self.codec != Codec::MessagePack && self.samples > 0 {
            self.bytes.push(b',');
        }
        start
    }

    /// Takes the last sample out again, which began at `start`, and gives it without its separator.
    pub(super) fn cut(&mut self, start: usize) -> Vec<u8> {
        let mut rest = self.bytes.split_off(start);
        if self.codec != Codec::MessagePack && self.samples > 0 {
            rest.remove(0);
        }
        rest
    }

    /// Ends it; `part` is its number, and whether it is the last.
    pub(super) fn close(mut self, part: Option<(u32, bool)>) -> (u32, Vec<u8>) {
        match self.codec {
            Codec::Json | Codec::Ndjson => {
                self.bytes.push(b']');
                if let Some((part, last)) = part {
                    self.bytes.extend_from_slice(format!(",\"part\":{part},\"last\":{last}").as_bytes());
                }
                self.bytes.push(b'}');
            }
            Codec::MessagePack => {
                let count = self.samples.to_be_bytes();
                let at = self.empty.saturating_sub(count.len());
                if let Some(place) = self.bytes.get_mut(at..self.empty) {
                    place.copy_from_slice(&count);
                }
                let mut more = 1;
                if let Some((part, last)) = part {
                    more = 3;
                    self.bytes.extend_from_slice(b"\xa4part\xce");
                    self.bytes.extend_from_slice(&part.to_be_bytes());
                    self.bytes.extend_from_slice(b"\xa4last");
                    self.bytes.push(if last { 0xc3 } else { 0xc2 });
                }
                // The head is a map of up to 12 fields; one of up to 15 says how many in its first byte.
                if let Some(fields) = self.bytes.get_mut(self.start) {
                    *fields = fields.saturating_add(more);
                }
            }
        }
        (self.samples, self.bytes)
    }
}
