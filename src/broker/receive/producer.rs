//! The messages received from one producer.

use std::collections::BTreeMap;

use super::runs::Runs;
use super::window::{Sight, Window};
use crate::forward::{MessageId, Piece};

/// The messages received from a producer.
#[derive(Debug, Default)]
pub(super) struct Producer {
    seen: Window,
    /// Messages received only in part: the ranges of samples received.
    open: BTreeMap<u64, Runs>,
    /// The number, among all messages, of its last message.
    last_message: u64,
}

/// Whether a message, or a piece of one, was received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Received for the first time, after this many messages not received yet.
    First(u64),
    /// Received for the first time, after a later one.
    Late,
    /// All its samples were received before.
    Before,
    /// Its message has more pieces with gaps between them than are tracked.
    TooScattered,
}

/// The largest number of tracked runs of samples of each producer. Pieces come in order, so each incomplete message has one run.
const MOST_RUNS: usize = 256;

impl Producer {
    /// Records a received message; `clock` is its number among all messages.
    pub(super) fn see(&mut self, id: MessageId, clock: u64) -> Seen {
        self.last_message = clock;
        let seen = match id.piece {
            Some(piece) => self.see_piece(id.seq, piece),
            // The whole message, after pieces of it, counts as new.
            None if self.open.remove(&id.seq).is_some() => Seen::First(0),
            None => self.seen.insert(id.seq).into(),
        };
        // What is older counts as seen.
        let oldest = self.seen.oldest();
        while self.open.first_key_value().is_some_and(|(seq, _)| *seq < oldest) {
            self.open.pop_first();
        }
        seen
    }

    pub(super) fn last_message(&self) -> u64 {
        self.last_message
    }

    fn see_piece(&mut self, seq: u64, piece: Piece) -> Seen {
        let whole = Piece { from: 0, to: piece.of, ..piece };
        let runs = self.open.values().map(Runs::len).sum::<usize>();
        match self.open.get_mut(&seq) {
            Some(seen) if seen.contains(piece) => Seen::Before,
            _ if runs >= MOST_RUNS => Seen::TooScattered,
            Some(seen) => {
                seen.add(piece);
                if seen.contains(whole) {
                    self.open.remove(&seq);
                }
                Seen::First(0)
            }
            None => {
                // With its first piece a message no longer counts as missing.
                let seen = self.seen.insert(seq).into();
                if seen != Seen::Before && piece != whole {
                    let mut runs = Runs::default();
                    runs.add(piece);
                    self.open.insert(seq, runs);
                }
                seen
            }
        }
    }
}

impl From<Sight> for Seen {
    fn from(sight: Sight) -> Self {
        match sight {
            Sight::First(gap) => Self::First(gap),
            Sight::Late => Self::Late,
            Sight::Before => Self::Before,
        }
    }
}
