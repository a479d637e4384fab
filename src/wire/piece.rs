//! Pieces of messages that the broker found too large.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which samples of a message a piece of it has: those from `from` on, up to `to`, of the `of` that there were.
///
/// A message that is too large for the broker is sent in pieces, each a message of its own. They have the id of the message, with this
/// behind it: so whoever receives them knows that nothing is missing, and a piece of one id always holds the same.
///
/// As text `FROM-TO-OF`, with 8 hexadecimal digits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Piece {
    /// The index of its first sample among those of the message, from 0.
    pub from: u32,
    /// The index after its last sample, larger than `from`.
    pub to: u32,
    /// How many samples the message had, `to` at least.
    pub of: u32,
}

impl Piece {
    /// Returns the piece of a message of `of` samples that has those from `from` up to `to`; `None` where there can be none.
    #[must_use]
    pub fn new(from: u32, to: u32, of: u32) -> Option<Self> {
        (from < to && to <= of).then_some(Self { from, to, of })
    }

    /// Returns how many samples are in it.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn len(self) -> u32 {
        self.to.saturating_sub(self.from)
    }

    /// Whether its numbers can be those of a piece: what was read may have any.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn is_sound(self) -> bool {
        Self::new(self.from, self.to, self.of).is_some()
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}-{:08x}", self.from, self.to, self.of)
    }
}

impl FromStr for Piece {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let mut numbers = text.split('-').map(|digits| {
            // One text for each piece: no sign, no capitals.
            let right = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            right.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        });
        let mut next = || numbers.next().flatten();
        let piece = next().zip(next()).zip(next()).and_then(|((from, to), of)| Self::new(from, to, of));
        piece
            .filter(|_| text.len() == 26)
            .ok_or_else(|| crate::Error::malformed(format!("{text:?} is no piece of a message")))
    }
}
