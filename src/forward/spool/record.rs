//! The value of a message in the database: a mark, the length of the header, the header, the payload.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::forward::message::{Message, MessageId};
use crate::wire::{Codec, Form, Piece};
use crate::{BootId, Timestamp};

/// The first bytes of each message: a damaged file with them is a spool.
pub(super) const MARK: [u8; 8] = *b"appmon\xF5\x03";

/// The length of the part before the header.
const START: usize = MARK.len() + 2;

/// The bytes the database adds to a value: the key, the end offset, a share of the head of a page.
const OVERHEAD: usize = 32;

/// The attributes of a message, without its payload.
#[derive(Serialize, Deserialize)]
struct Header<'a> {
    boot_id: BootId,
    epoch: u64,
    seq: u64,
    piece: Option<Piece>,
    kind: &'a str,
    form: Form,
    host: &'a str,
    time: u64,
    codec: Codec,
    samples: u32,
    key: u64,
    /// The reason and time of a dead letter.
    reason: &'a str,
    rejected_at: u64,
    /// The name of the stream; empty for the kind.
    #[serde(default)]
    stream: &'a str,
}

/// A stored message.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) message: Message,
    pub(super) reason: String,
    pub(super) rejected_at: Timestamp,
}

/// A message to be stored: the bytes before its payload, and the payload.
pub(super) struct Encoded<'a> {
    before: Vec<u8>,
    payload: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// Encodes a message; `dead` is the reason and time of a dead letter.
    pub(super) fn new(message: &'a Message, dead: Option<(&str, Timestamp)>) -> Result<Self, Failure> {
        let (reason, rejected_at) = dead.unwrap_or_default();
        let header = Header {
            boot_id: message.id.boot_id,
            epoch: message.id.epoch,
            seq: message.id.seq,
            piece: message.id.piece,
            kind: &message.kind,
            form: message.form,
            host: &message.host,
            time: message.time.as_unix_nanos(),
            codec: message.codec,
            samples: message.samples,
            key: message.key,
            reason,
            rejected_at: rejected_at.as_unix_nanos(),
            stream: if message.stream == message.kind { "" } else { &message.stream },
        };
        let mut before = Vec::with_capacity(256);
        before.extend_from_slice(&MARK);
        before.extend_from_slice(&[0; 2]);
        let encoded = rmp_serde::encode::write(&mut before, &header);
        let length = before.len().checked_sub(START).and_then(|length| u16::try_from(length).ok());
        let length = length.filter(|_| encoded.is_ok()).ok_or(Failure::TooLarge)?;
        if let Some(place) = before.get_mut(MARK.len()..START) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Ok(Self { before, payload: &message.payload })
    }

    pub(super) fn len(&self) -> usize {
        self.before.len().saturating_add(self.payload.len())
    }

    /// Writes it into `to`, which has its length.
    pub(super) fn write(&self, to: &mut [u8]) {
        if let Some((before, payload)) = to.split_at_mut_checked(self.before.len())
            && payload.len() == self.payload.len()
        {
            before.copy_from_slice(&self.before);
            payload.copy_from_slice(self.payload);
        }
    }
}

/// Returns the space of a value of this length in the file. The database fills pages of 4 KiB to a half or more, and allocates a larger
/// value pages of its own, whose number is a power of two.
pub(super) fn room(value: usize) -> u64 {
    let room = value.saturating_add(OVERHEAD).checked_next_power_of_two().unwrap_or(usize::MAX);
    u64::try_from(room).unwrap_or(u64::MAX)
}

/// Returns the number of samples of the message in this value.
pub(super) fn samples(value: &[u8]) -> Result<u64, Failure> {
    Ok(split(value)?.0.samples.into())
}

/// Decodes the message in this value.
pub(super) fn decode(value: &[u8], names: &mut Names) -> Result<Record, Failure> {
    let (header, payload) = split(value)?;
    let message = Message {
        id: MessageId { piece: header.piece, ..MessageId::new(header.boot_id, header.epoch, header.seq) },
        kind: names.share(header.kind),
        stream: names.share(if header.stream.is_empty() { header.kind } else { header.stream }),
        form: header.form,
        host: names.share(header.host),
        time: Timestamp::from_unix_nanos(header.time),
        codec: header.codec,
        samples: header.samples,
        key: header.key,
        payload: Bytes::copy_from_slice(payload),
    };
    let rejected_at = Timestamp::from_unix_nanos(header.rejected_at);
    Ok(Record { message, reason: header.reason.to_owned(), rejected_at })
}

fn split(value: &[u8]) -> Result<(Header<'_>, &[u8]), Failure> {
    let parts = || {
        let (length, rest) = value.strip_prefix(&MARK)?.split_first_chunk()?;
        let (header, payload) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        Some((rmp_serde::from_slice(header).ok()?, payload))
    };
    parts().ok_or_else(|| Failure::Damaged("a stored message cannot be decoded".to_owned()))
}

/// The last kinds and hosts read, shared by the messages with the same ones. Most spools have only a few.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    const MOST: usize = 32;

    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        if self.0.len() >= Self::MOST {
            self.0.remove(0);
        }
        let name: Arc<str> = name.into();
        self.0.push(Arc::clone(&name));
        name
    }
}
