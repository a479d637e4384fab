//! What is still to be sent, wherever it waits.

use std::task::Context;

use crate::Error;
use crate::sink::queue::Queue;
use crate::sink::{Message, Report};

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) message: Message,
    /// Where it is in the spool, if it is there.
    #[expect(dead_code, reason = "the spool is not there yet")]
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
    /// Whether one more message may come to so many, of so many bytes. The first always may.
    fn allow(self, messages: usize, bytes: usize, message: &Message) -> bool {
        messages == 0 || (messages < self.messages && bytes.saturating_add(message.payload.len()) <= self.bytes)
    }
}

#[derive(Debug)]
pub(super) enum Backlog {
    Memory(Queue),
}

impl Backlog {
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Memory(queue) => queue.has_room(),
        }
    }

    pub(super) fn push(&mut self, messages: Vec<Message>, report: &mut Report) {
        match self {
            Self::Memory(queue) => queue.push(messages, &mut report.dropped),
        }
    }

    /// Goes on with what it does by itself.
    pub(super) fn poll(&mut self, _: &mut Context<'_>, _: &mut Report) {
        match self {
            Self::Memory(_) => {}
        }
    }

    /// Whether nothing can be taken now.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Memory(queue) => queue.front().is_none(),
        }
    }

    /// Whether nothing waits, here or on its way to or from the spool.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Memory(queue) => queue.front().is_none(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(queue) => queue.len(),
        }
    }

    /// Bytes of payload it holds in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Memory(queue) => queue.bytes(),
        }
    }

    /// Whether what can be taken fills a batch.
    pub(super) fn fills(&self, limits: BatchLimits) -> bool {
        match self {
            Self::Memory(queue) => queue.len() >= limits.messages || queue.bytes() >= limits.bytes,
        }
    }

    /// The next batch: at least one message where there is one.
    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        match self {
            Self::Memory(queue) => {
                while let Some(message) = queue.front()
                    && limits.allow(batch.len(), bytes, message)
                    && let Some(message) = queue.pop()
                {
                    bytes = bytes.saturating_add(message.payload.len());
                    batch.push(Entry::new(message, None));
                }
            }
        }
        batch
    }

    pub(super) fn accepted(&mut self, _: &Entry, _: &mut Report) {
        match self {
            Self::Memory(_) => {}
        }
    }

    pub(super) fn rejected(&mut self, _: &Entry, _: &Error, _: &mut Report) {
        match self {
            Self::Memory(_) => {}
        }
    }

    /// Counts what was taken and never settled, and what waits in memory, as lost.
    pub(super) fn abandon(&mut self, taken: impl Iterator<Item = Entry>, report: &mut Report) {
        match self {
            Self::Memory(queue) => {
                let waiting = std::iter::from_fn(|| queue.pop());
                for message in taken.map(|entry| entry.message).chain(waiting) {
                    report.dropped.shutdown.add(1, message.samples.into());
                }
            }
        }
    }
}
