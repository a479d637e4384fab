//! Pieces of messages that were too large for the broker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The range of samples in a piece of a message: from `from` up to `to`, of `of` samples.
///
/// A message that is too large for the broker is sent in pieces, each a message of its own. Its id is that of the message, followed by
/// this range. So a receiver can see that no sample is missing, and the same id always has the same content.
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
    /// The number of samples of the message, at least `to`.
    pub of: u32,
}

impl Piece {
    /// Returns the piece with the samples from `from` up to `to` of a message of `of` samples; `None` for an invalid range.
    #[must_use]
    pub fn new(from: u32, to: u32, of: u32) -> Option<Self> {
        (from < to && to <= of).then_some(Self { from, to, of })
    }

    /// Returns the number of its samples.
    #[cfg(feature = "_receive")]
    pub(crate) fn len(self) -> u32 {
        self.to.saturating_sub(self.from)
    }

    /// Whether its numbers are a valid range; decoded ones may have any values.
    #[cfg(feature = "_receive")]
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
            // Each piece has exactly one text: no sign, no capitals.
            let right = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            right.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        });
        let mut next = || numbers.next().flatten();
        let piece = next().zip(next()).zip(next()).and_then(|((from, to), of)| Self::new(from, to, of));
        piece
            .filter(|_| text.len() == 26)
            .ok_or_else(|| crate::Error::malformed(format!("{text:?} is not a piece of a message")))
    }
}
