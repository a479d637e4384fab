//! The bytes of a message in a spool: pieces that check themselves.
//!
//! A message is stored as pieces of about a kilobyte, of which several fill a page of the database: a value that is larger than
//! a page takes twice as many pages up to the next power of two, so that a spool of large messages would take up to twice their
//! size. All pieces of a message are about equally long.
//!
//! ```text
//! piece    magic 4 | crc32 4 | version 1 | flags 1 | length 2 | position 8 | index 4 | data
//! message  form 1 | codec 1 | lengths of kind, host, reason 2 each | samples 4 | floor 8 | live 8 | boot id 16 |
//!          epoch 8 | seq 8 | time 8 | key 8 | set aside at 8 | kind | host | reason | payload
//! ```
//!
//! All numbers are little-endian. The checksum is over all that follows it. Each piece says to which message it belongs, so
//! that those of a file that is not readable as a database are found in its raw bytes; `floor` and `live` are what the spool was
//! when the message was appended, and tell then which ones had been removed and how many there should be.

use std::sync::Arc;

use bytes::Bytes;

use crate::forward::{Codec, Form, Message, MessageId};
use crate::{BootId, Timestamp};

/// What each piece begins with. Not text, so that no payload has it by chance.
pub(super) const MAGIC: [u8; 4] = [0xA9, b'm', b's', 0xF5];

/// The layout described above.
const VERSION: u8 = 1;

/// Bytes of a piece before its data.
pub(super) const HEAD: usize = 24;

/// The most data of a piece: four of them, with what the database adds to each, fill a page of 4096 bytes.
pub(super) const MOST: usize = 982;

/// What the database adds to each piece: its key, and where it ends.
const KEY: usize = 16;

const LAST: u8 = 1;
const ASIDE: u8 = 2;

/// Bytes of a message before its strings.
const FIXED: usize = 84;

/// What a spool knows of a message beside itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Note<'a> {
    /// The lowest position that was in the queue when it was appended.
    pub(super) floor: u64,
    /// How many messages were in the queue then, this one included.
    pub(super) live: u64,
    /// Why and when it was set aside.
    pub(super) aside: Option<(&'a str, Timestamp)>,
}

/// A message as it was stored.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) message: Message,
    pub(super) floor: u64,
    pub(super) live: u64,
    pub(super) reason: String,
    pub(super) aside_at: Timestamp,
}

/// The whole message as bytes; `None` when it is too large for any spool.
pub(super) fn encode(message: &Message, note: &Note<'_>) -> Option<Vec<u8>> {
    let (reason, aside_at) = note.aside.unwrap_or_default();
    let strings = [message.kind.as_bytes(), message.host.as_bytes(), reason.as_bytes()];
    u32::try_from(message.payload.len()).ok()?;
    let mut bytes = Vec::with_capacity(whole_len(message).saturating_add(reason.len()));
    bytes.push(match message.form {
        Form::Snapshot => 0,
        Form::Samples => 1,
    });
    bytes.push(match message.codec {
        Codec::Json => 0,
        Codec::Ndjson => 1,
        Codec::MessagePack => 2,
    });
    for string in strings {
        bytes.extend_from_slice(&u16::try_from(string.len()).ok()?.to_le_bytes());
    }
    bytes.extend_from_slice(&message.samples.to_le_bytes());
    bytes.extend_from_slice(&note.floor.to_le_bytes());
    bytes.extend_from_slice(&note.live.to_le_bytes());
    bytes.extend_from_slice(&message.id.boot_id.to_bits().to_le_bytes());
    for number in
        [message.id.epoch, message.id.seq, message.time.as_unix_nanos(), message.key, aside_at.as_unix_nanos()]
    {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for string in strings {
        bytes.extend_from_slice(string);
    }
    bytes.extend_from_slice(&message.payload);
    Some(bytes)
}

/// How long a message is as bytes, without a reason.
fn whole_len(message: &Message) -> usize {
    [message.kind.len(), message.host.len(), message.payload.len()]
        .into_iter()
        .fold(FIXED, |sum, length| sum.saturating_add(length))
}

/// How much room a message takes in the queue.
pub(super) fn cost(message: &Message) -> u64 {
    room(whole_len(message))
}

/// How much room so many bytes take, in pieces.
pub(super) fn room(bytes: usize) -> u64 {
    let overhead = bytes.div_ceil(MOST).saturating_mul(HEAD.saturating_add(KEY));
    u64::try_from(bytes.saturating_add(overhead)).unwrap_or(u64::MAX)
}

/// How much room a piece takes.
pub(super) fn piece_room(piece: &[u8]) -> u64 {
    u64::try_from(piece.len().saturating_add(KEY)).unwrap_or(u64::MAX)
}

/// Gives the pieces of a message one after the other, by their index.
///
/// # Errors
///
/// That of `store`, which is not called any more.
pub(super) fn pieces<E>(
    whole: &[u8],
    position: u64,
    aside: bool,
    mut store: impl FnMut(u32, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let count = whole.len().div_ceil(MOST).max(1);
    let each = whole.len().div_ceil(count).max(1);
    let mut piece = Vec::with_capacity(HEAD.saturating_add(each));
    let last = whole.chunks(each).count().saturating_sub(1);
    for (number, data) in whole.chunks(each).enumerate() {
        let flags = if number == last { LAST } else { 0 } | if aside { ASIDE } else { 0 };
        let index = u32::try_from(number).unwrap_or(u32::MAX);
        piece.clear();
        piece.extend_from_slice(&MAGIC);
        piece.extend_from_slice(&[0; 4]);
        piece.extend_from_slice(&[VERSION, flags]);
        piece.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_le_bytes());
        piece.extend_from_slice(&position.to_le_bytes());
        piece.extend_from_slice(&index.to_le_bytes());
        piece.extend_from_slice(data);
        let crc = crc32fast::hash(piece.get(8..).unwrap_or_default());
        if let Some(place) = piece.get_mut(4..8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        store(index, &piece)?;
    }
    Ok(())
}

/// A piece whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) position: u64,
    pub(super) index: u32,
    pub(super) aside: bool,
    pub(super) last: bool,
    pub(super) data: &'a [u8],
}

impl<'a> Piece<'a> {
    /// The piece that `bytes` begin with; `None` where they do not, or where a bit of it is not what it was.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Cursor(bytes);
        if rest.array()? != MAGIC {
            return None;
        }
        let crc = u32::from_le_bytes(rest.array()?);
        let checked = rest.0;
        let [version, flags] = rest.array()?;
        let length = usize::from(u16::from_le_bytes(rest.array()?));
        let position = rest.number()?;
        let index = u32::from_le_bytes(rest.array()?);
        let data = rest.take(length)?;
        let checked = checked.get(..HEAD.checked_sub(8)?.checked_add(length)?)?;
        let right = version == VERSION && length <= MOST && crc32fast::hash(checked) == crc;
        right.then_some(Self { position, index, aside: flags & ASIDE != 0, last: flags & LAST != 0, data })
    }

    /// How long it is with its head.
    pub(super) fn len(&self) -> usize {
        HEAD.saturating_add(self.data.len())
    }
}

/// How many samples a message has, by its first piece.
pub(super) fn samples(first: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(first.get(8..12)?.try_into().ok()?))
}

/// The `floor` and `live` of a message, by its first piece.
pub(super) fn floor_and_live(first: &[u8]) -> Option<(u64, u64)> {
    let mut rest = Cursor(first.get(12..)?);
    Some((rest.number()?, rest.number()?))
}

/// The message that `whole` is, whose payload shares its memory.
pub(super) fn decode(whole: &Bytes, names: &mut Names) -> Option<Record> {
    let mut rest = Cursor(whole);
    let [form, codec] = rest.array()?;
    let mut lengths = [0_usize; 3];
    for length in &mut lengths {
        *length = usize::from(u16::from_le_bytes(rest.array()?));
    }
    let samples = u32::from_le_bytes(rest.array()?);
    let (floor, live) = (rest.number()?, rest.number()?);
    let boot_id = BootId::from_bits(u128::from_le_bytes(rest.array()?));
    let (epoch, seq, time, key, aside_at) =
        (rest.number()?, rest.number()?, rest.number()?, rest.number()?, rest.number()?);
    let [kind, host, reason] = lengths;
    let (kind, host, reason) = (rest.text(kind)?, rest.text(host)?, rest.text(reason)?);
    let message = Message {
        id: MessageId { boot_id, epoch, seq },
        kind: names.share(kind),
        form: match form {
            0 => Form::Snapshot,
            1 => Form::Samples,
            _ => return None,
        },
        host: names.share(host),
        time: Timestamp::from_unix_nanos(time),
        codec: match codec {
            0 => Codec::Json,
            1 => Codec::Ndjson,
            2 => Codec::MessagePack,
            _ => return None,
        },
        samples,
        key,
        payload: whole.slice_ref(rest.0),
    };
    Some(Record { message, floor, live, reason: reason.to_owned(), aside_at: Timestamp::from_unix_nanos(aside_at) })
}

/// Puts pieces together that come in the order of position and index.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    state: Building,
    whole: Vec<u8>,
    /// The positions of messages that are not whole.
    pub(super) bad: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Building {
    #[default]
    Nothing,
    /// What comes next of a message that is whole so far.
    Next(u64, u32),
    /// The rest of it is passed over: it is done, or it is bad.
    Over(u64),
}

impl Assembly {
    /// Adds a piece, and gives the message that it is the last one of.
    pub(super) fn add(&mut self, (position, index): (u64, u32), bytes: &[u8], aside: bool) -> Option<Bytes> {
        match self.state {
            Building::Over(same) if same == position => return None,
            Building::Next(same, _) if same == position => {}
            _ => {
                self.end();
                self.whole.clear();
                self.state = Building::Next(position, 0);
            }
        }
        let Building::Next(_, expected) = self.state else { return None };
        let piece = Piece::read(bytes).filter(|piece| {
            let same = (piece.position, piece.index, piece.aside) == (position, index, aside);
            same && index == expected && piece.len() == bytes.len()
        });
        let Some(piece) = piece else {
            self.bad.push(position);
            self.state = Building::Over(position);
            return None;
        };
        self.whole.extend_from_slice(piece.data);
        if piece.last {
            self.state = Building::Over(position);
            // Exactly as long as it is: messages may be held for long.
            return Some(std::mem::take(&mut self.whole).into_boxed_slice().into());
        }
        self.state = Building::Next(position, expected.saturating_add(1));
        None
    }

    /// There are no more pieces: what is not whole yet is bad.
    pub(super) fn end(&mut self) {
        if let Building::Next(position, _) = self.state {
            self.bad.push(position);
        }
        self.state = Building::Nothing;
    }
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

/// What is still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(length)?).ok()
    }
}
