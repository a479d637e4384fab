//! A message to be sent, and the size of a batch.

use crate::forward::message::Message;

/// A message to be sent.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) message: Message,
    /// Its position in the spool; `None` if it is not in a spool.
    pub(super) position: Option<u64>,
    /// The result of the last attempt to send it.
    pub(super) tried: Tried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Not,
    /// The broker did not take it.
    Refused,
    /// It is not known whether the broker took it.
    Unknown,
}

impl Entry {
    pub(super) fn new(message: Message, position: Option<u64>) -> Self {
        Self { message, position, tried: Tried::Not }
    }
}

/// The largest size of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl BatchLimits {
    /// Whether a batch of `messages` messages and `bytes` bytes may grow by a message of `more` bytes. The first message always
    /// may be added.
    pub(super) fn allow(self, messages: usize, bytes: usize, more: usize) -> bool {
        messages == 0 || (messages < self.messages && bytes.saturating_add(more) <= self.bytes)
    }
}
