//! Messages on their way: one at a time, and how many of them go at once.

use crate::forward::message::Message;

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) message: Message,
    /// Where it is in the spool, if it is there.
    pub(super) position: Option<u64>,
    /// Whether it was sent before, in vain.
    pub(super) tried: Tried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Not,
    /// It was not taken.
    Refused,
    /// Nobody knows whether it was taken.
    Unknown,
}

impl Entry {
    pub(super) fn new(message: Message, position: Option<u64>) -> Self {
        Self { message, position, tried: Tried::Not }
    }
}

/// How much is sent at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl BatchLimits {
    /// Whether one more message of `more` bytes may come to so many, of so many bytes. The first always may.
    pub(super) fn allow(self, messages: usize, bytes: usize, more: usize) -> bool {
        messages == 0 || (messages < self.messages && bytes.saturating_add(more) <= self.bytes)
    }
}
