//! The arguments and answers of a spool.

use crate::forward::message::Message;

/// The state of a spool when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The messages in it.
    pub(crate) left: Left,
    /// Whether the file was damaged, and was replaced by an empty one.
    pub(crate) damaged: bool,
}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The position of the first stored message; the others follow it.
    pub(crate) first: u64,
    /// The number of stored messages, from the front.
    pub(crate) stored: u64,
    /// The oldest messages, removed to make room.
    pub(crate) evicted: Vec<Evicted>,
}

/// A message removed to make room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Its position.
    pub(crate) position: u64,
    /// The number of its samples.
    pub(crate) samples: u64,
}

/// A range of messages to read: those after a position, up to a number of messages and of bytes of payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) after: Option<u64>,
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
}

/// A message of the queue.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Its position, which grows with every message.
    pub(crate) position: u64,
    /// The message. Messages of the same kind and host share the text of these names.
    pub(crate) message: Message,
}

/// The behaviour of an append without enough room.
///
/// A message larger than the whole spool is never stored: in both cases `stored` ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Stores as many as there is room for, from the front; the caller keeps the others.
    Refuse,
    /// Removes the oldest messages, also those of the same append if it is larger than the spool.
    EvictOldest,
}

/// The size of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Messages.
    pub(crate) messages: u64,
    /// Samples in them.
    pub(crate) samples: u64,
    /// The space they take in the file, in bytes.
    pub(crate) bytes: u64,
}

/// The messages kept and lost when a spool was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The messages that stay for the next run, without settled ones that could not be removed.
    pub(crate) left: Left,
    /// The messages in a file that was moved or removed when no new one could be made.
    pub(crate) lost: Left,
}

impl Left {
    /// Adds a message.
    pub(super) fn add(&mut self, samples: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(1);
        self.samples = self.samples.saturating_add(samples);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Subtracts a message.
    pub(super) fn subtract(&mut self, samples: u64, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.samples = self.samples.saturating_sub(samples);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
