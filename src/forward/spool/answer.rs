//! What a spool is asked and answers.

use crate::forward::message::Message;

/// What an earlier run left in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The messages that are there.
    pub(crate) left: Left,
    /// Whether the file was damaged, and an empty one is in its place.
    pub(crate) damaged: bool,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The position of the first one that was stored; the others follow it.
    pub(crate) first: u64,
    /// How many were stored, from the front.
    pub(crate) stored: u64,
    /// The oldest, removed to make room.
    pub(crate) evicted: Vec<Evicted>,
}

/// A message that made room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Where it was.
    pub(crate) position: u64,
    /// Samples in it.
    pub(crate) samples: u64,
}

/// Which messages are wanted: those after a position, at most so many, and of so many bytes of payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) after: Option<u64>,
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
}

/// A message of the queue.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Where it is: grows with every message.
    pub(crate) position: u64,
    /// The message. Those of one kind and host share these names.
    pub(crate) message: Message,
}

/// What happens when there is no room.
///
/// A message that is larger than the whole spool is never stored: in both cases `stored` ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many as there is room for are stored, from the front; the rest is the caller's.
    Refuse,
    /// The oldest are removed, those of the same append too where it is larger than the spool.
    EvictOldest,
}

/// How much is in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Messages.
    pub(crate) messages: u64,
    /// Samples in them.
    pub(crate) samples: u64,
    /// The room they take in the file.
    pub(crate) bytes: u64,
}

/// What became of the messages at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Those that stay for the next run. One that was done with, and could not be removed any more, is not among them.
    pub(crate) left: Left,
    /// Those in a file that was moved or removed, where no new one could be made.
    pub(crate) lost: Left,
}

impl Left {
    /// One message more.
    pub(super) fn add(&mut self, samples: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(1);
        self.samples = self.samples.saturating_add(samples);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// One message less.
    pub(super) fn subtract(&mut self, samples: u64, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.samples = self.samples.saturating_sub(samples);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
