//! Messages that turn out to be too large for the broker, made into several.

use crate::forward::message::{Message, MessageId};
use crate::wire::RawSamples;

/// Whether a message can be made smaller.
pub(super) fn can_split(message: &Message) -> bool {
    message.samples > 1 && opened(message).is_some_and(|samples| samples.len() > 1)
}

/// Returns the pieces to be sent in the place of a message that was encoded before the limit was known; `None` where that is itself.
///
/// Each has the id of the message and says which of its samples it has. So whoever receives them misses nothing, and the same id is the
/// same content, whatever was split by whatever limit: also by a later process out of a spool, and a piece that is split again.
pub(super) fn split(message: &Message, limit: usize) -> Option<Vec<Message>> {
    if message.payload.len() <= limit || message.samples <= 1 {
        return None;
    }
    let samples = opened(message).filter(|samples| samples.len() > 1)?;
    let pieces = samples.payloads(limit, message.id.piece).into_iter().map(|(piece, payload)| Message {
        id: MessageId { piece: Some(piece), ..message.id },
        samples: piece.to.saturating_sub(piece.from),
        payload: payload.into(),
        ..message.clone()
    });
    Some(pieces.collect())
}

fn opened(message: &Message) -> Option<RawSamples<'_>> {
    RawSamples::new(message.form, message.codec, &message.payload)
}
