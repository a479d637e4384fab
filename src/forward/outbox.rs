//! What is still to be sent, wherever it waits.

use std::task::Context;

use tokio::time::Instant;

use crate::Error;
use crate::forward::disk_outbox::DiskOutbox;
use crate::forward::memory_outbox::MemoryOutbox;
use crate::forward::{Message, Report, Status};

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
    /// Whether one more message may come to so many, of so many bytes. The first always may.
    pub(super) fn allow(self, messages: usize, bytes: usize, message: &Message) -> bool {
        messages == 0 || (messages < self.messages && bytes.saturating_add(message.payload.len()) <= self.bytes)
    }
}

#[derive(Debug)]
pub(super) enum Outbox {
    Memory(MemoryOutbox),
    DiskOutbox(Box<DiskOutbox>),
}

impl Outbox {
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Memory(queue) => queue.has_room(),
            Self::DiskOutbox(spooled) => spooled.has_room(),
        }
    }

    pub(super) fn push(&mut self, messages: Vec<Message>, report: &mut Report) {
        match self {
            Self::Memory(queue) => queue.push(messages, &mut report.dropped),
            Self::DiskOutbox(spooled) => spooled.push(messages, report),
        }
    }

    /// Goes on with what it does by itself.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, report: &mut Report) {
        match self {
            Self::Memory(_) => {}
            Self::DiskOutbox(spooled) => spooled.poll(cx, report),
        }
    }

    /// Whether nothing can be taken now.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Memory(queue) => queue.front().is_none(),
            Self::DiskOutbox(spooled) => spooled.is_empty(),
        }
    }

    /// Whether nothing waits, here or on its way to or from the spool.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Memory(queue) => queue.front().is_none(),
            Self::DiskOutbox(spooled) => spooled.is_settled(),
        }
    }

    /// How much waits, what was taken left out.
    pub(super) fn show(&self, status: &mut Status) {
        match self {
            Self::Memory(queue) => {
                status.waiting_messages = queue.len();
                status.waiting_bytes = queue.bytes();
            }
            Self::DiskOutbox(spooled) => {
                status.waiting_messages = spooled.len();
                status.waiting_bytes = spooled.bytes();
                let held = spooled.held();
                status.spool_messages = held.messages;
                status.spool_bytes = held.bytes;
            }
        }
    }

    /// Whether what can be taken fills a batch.
    pub(super) fn fills(&self, limits: BatchLimits) -> bool {
        match self {
            Self::Memory(queue) => queue.len() >= limits.messages || queue.bytes() >= limits.bytes,
            Self::DiskOutbox(spooled) => spooled.fills(limits),
        }
    }

    /// The next batch: at least one message where there is one.
    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        match self {
            Self::Memory(queue) => queue.take(limits),
            Self::DiskOutbox(spooled) => spooled.take(limits),
        }
    }

    pub(super) fn accepted(&mut self, entry: &Entry, report: &mut Report) {
        match self {
            Self::Memory(_) => {}
            Self::DiskOutbox(spooled) => spooled.accepted(entry, report),
        }
    }

    pub(super) fn rejected(&mut self, entry: &Entry, error: &Error, report: &mut Report) {
        match self {
            Self::Memory(_) => {}
            Self::DiskOutbox(spooled) => spooled.rejected(entry, error, report),
        }
    }

    /// The end, until about then: what was `taken` and never settled, and what waits in memory, stays in the spool, or is lost
    /// and counted.
    pub(super) async fn close(self, taken: Vec<Entry>, until: Instant, report: &mut Report) {
        match self {
            Self::Memory(mut queue) => {
                let waiting = std::iter::from_fn(|| queue.pop());
                for message in taken.into_iter().map(|entry| entry.message).chain(waiting) {
                    report.dropped.shutdown.add(1, message.samples.into());
                }
            }
            Self::DiskOutbox(spooled) => spooled.close(taken, until, report).await,
        }
    }
}
