//! The value that a message is in the database: a mark, how long the header is, the header, the payload as it is.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::forward::message::{Message, MessageId};
use crate::wire::{Codec, Form, Piece};
use crate::{BootId, Timestamp};

/// What each message begins with: a damaged file that has it is a spool.
pub(super) const MARK: [u8; 8] = *b"appmon\xF5\x03";

/// What is before the header.
const START: usize = MARK.len() + 2;

/// What the database adds to a value: its key, where it ends, its part of the head of a page.
const OVERHEAD: usize = 32;

/// What is known of a message beside its payload.
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
    /// Why it is a dead letter, and since when.
    reason: &'a str,
    rejected_at: u64,
}

/// A message as it was stored.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) message: Message,
    pub(super) reason: String,
    pub(super) rejected_at: Timestamp,
}

/// A message that is to be stored: what comes before its payload, and that.
pub(super) struct Encoded<'a> {
    before: Vec<u8>,
    payload: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// `dead` is why and since when it is a dead letter.
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

    /// Writes it into its place, which is as long as it is.
    pub(super) fn write(&self, to: &mut [u8]) {
        if let Some((before, payload)) = to.split_at_mut_checked(self.before.len())
            && payload.len() == self.payload.len()
        {
            before.copy_from_slice(&self.before);
            payload.copy_from_slice(self.payload);
        }
    }
}

/// The room that a value of this length takes in the file. The database fills pages of 4 KiB to a half or more, and gives a larger
/// value pages of its own, whose number is a power of two.
pub(super) fn room(value: usize) -> u64 {
    let room = value.saturating_add(OVERHEAD).checked_next_power_of_two().unwrap_or(usize::MAX);
    u64::try_from(room).unwrap_or(u64::MAX)
}

/// How many samples the message of this value has.
pub(super) fn samples(value: &[u8]) -> Result<u64, Failure> {
    Ok(split(value)?.0.samples.into())
}

/// The message that this value is.
pub(super) fn decode(value: &[u8], names: &mut Names) -> Result<Record, Failure> {
    let (header, payload) = split(value)?;
    let message = Message {
        id: MessageId { piece: header.piece, ..MessageId::new(header.boot_id, header.epoch, header.seq) },
        kind: names.share(header.kind),
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
    parts().ok_or_else(|| Failure::Damaged("a message is not what was written".to_owned()))
}

/// Kinds and hosts that were read, so that messages of the same ones share them: the last few, which are all in most spools.
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
