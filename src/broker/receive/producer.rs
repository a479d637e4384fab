//! What was seen of one producer.

use std::collections::BTreeMap;

use super::runs::Runs;
use super::window::{Sight, Window};
use crate::forward::{MessageId, Piece};

/// Which messages of a producer came.
#[derive(Debug, Default)]
pub(super) struct Producer {
    seen: Window,
    /// Messages of which only some pieces came, and which samples those had.
    open: BTreeMap<u64, Runs>,
    /// The message it was last heard of with.
    heard: u64,
}

/// Whether a message, or a piece of one, came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// For the first time, after so many messages that were not seen yet.
    First(u64),
    /// For the first time, though a later one was seen before.
    Late,
    /// All that is in it came before.
    Before,
    /// It is one of more pieces with gaps between them than are followed.
    TooScattered,
}

/// How many runs of samples are followed of each producer. They come in order, so there is one for each message that is not complete.
const MOST_RUNS: usize = 256;

impl Producer {
    /// Notes that a message came, the one of this number among all messages.
    pub(super) fn see(&mut self, id: MessageId, clock: u64) -> Seen {
        self.heard = clock;
        let seen = match id.piece {
            Some(piece) => self.see_piece(id.seq, piece),
            // The whole of something that came in pieces is not known yet.
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

    pub(super) fn heard(&self) -> u64 {
        self.heard
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
                // With its first piece a message is not missing any more.
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
