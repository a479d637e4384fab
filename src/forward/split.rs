//! Splitting of messages that turned out to be too large for the broker.

use crate::forward::message::{Message, MessageId};
#[cfg(feature = "otlp")]
use crate::wire::{Codec, pieces};
use crate::wire::{Piece, RawSamples};

/// Whether a message can be split.
pub(super) fn can_split(message: &Message) -> bool {
    #[cfg(feature = "otlp")]
    if message.codec == Codec::Otlp {
        return message.samples > 1;
    }
    message.samples > 1 && opened(message).is_some_and(|samples| samples.len() > 1)
}

/// Returns the pieces of a message that was encoded before the limit was known; `None` if it fits or cannot be split.
///
/// Each piece has the id of the message and the range of its samples. So a receiver can see that none is missing, and the same id
/// always has the same content, whatever the limit was: also when a later process splits it out of a spool, or a piece is split
/// again.
pub(super) fn split(message: &Message, limit: usize) -> Option<Vec<Message>> {
    if message.payload.len() <= limit || message.samples <= 1 {
        return None;
    }
    let pieces = payloads(message, limit)?.into_iter().map(|(piece, payload)| Message {
        id: MessageId { piece: Some(piece), ..message.id },
        samples: piece.to.saturating_sub(piece.from),
        payload: payload.into(),
        ..message.clone()
    });
    Some(pieces.collect())
}

fn payloads(message: &Message, limit: usize) -> Option<Vec<(Piece, Vec<u8>)>> {
    #[cfg(feature = "otlp")]
    if message.codec == Codec::Otlp {
        return pieces(message.form, &message.payload, limit, message.id.piece);
    }
    let samples = opened(message).filter(|samples| samples.len() > 1)?;
    Some(samples.payloads(limit, message.id.piece))
}

fn opened(message: &Message) -> Option<RawSamples<'_>> {
    RawSamples::new(message.form, message.codec, &message.payload)
}
