//! The queue of waiting messages in memory.

use std::collections::HashSet;

use crate::forward::batch::{BatchLimits, Entry};
use crate::forward::message::Message;
use crate::forward::overflow::Overflow;
use crate::forward::report::Dropped;
use crate::forward::waiting::Waiting;

/// A queue bounded in messages and in bytes.
#[derive(Debug)]
pub(super) struct MemoryOutbox {
    waiting: Waiting<Message>,
    limits: BatchLimits,
    overflow: Overflow,
}

impl MemoryOutbox {
    pub(super) fn new(limits: BatchLimits, overflow: Overflow) -> Self {
        Self { waiting: Waiting::default(), limits, overflow }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.waiting.bytes()
    }

    /// Whether another snapshot may be pushed; false only for a full queue with [`Overflow::Block`].
    pub(super) fn has_room(&self) -> bool {
        self.overflow != Overflow::Block || !self.waiting.fills(self.limits)
    }

    /// Whether the next message may replace one that waits.
    pub(super) fn replaces_waiting(&self) -> bool {
        self.overflow == Overflow::LatestPerKey && !self.waiting.is_empty()
    }

    /// Adds the messages of one snapshot. With [`Overflow::Block`] all are added, and can exceed the bounds.
    pub(super) fn push(&mut self, messages: Vec<Message>, dropped: &mut Dropped) {
        if self.overflow == Overflow::LatestPerKey {
            self.supersede(&messages, dropped);
        }
        for message in messages {
            let fits = message.payload.len() <= self.limits.bytes;
            match self.overflow {
                Overflow::Block => {}
                Overflow::DropNewest if self.fits(&message) => {}
                Overflow::DropOldest | Overflow::LatestPerKey if fits => {
                    while !self.fits(&message)
                        && let Some(oldest) = self.waiting.pop()
                    {
                        dropped.oldest.add(1, oldest.samples.into());
                    }
                }
                _ => {
                    dropped.newest.add(1, message.samples.into());
                    continue;
                }
            }
            self.waiting.push(message);
        }
    }

    fn fits(&self, message: &Message) -> bool {
        self.waiting.len() < self.limits.messages
            && self.waiting.bytes().saturating_add(message.payload.len()) <= self.limits.bytes
    }

    fn supersede(&mut self, by: &[Message], dropped: &mut Dropped) {
        let keys: HashSet<u64> = by.iter().map(|message| message.key).collect();
        self.waiting.retain(|message| {
            let keep = !keys.contains(&message.key);
            if !keep {
                dropped.superseded.add(1, message.samples.into());
            }
            keep
        });
    }

    /// Takes the next batch: at least one message, if there is one.
    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        self.waiting.take(limits).into_iter().map(|message| Entry::new(message, None)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn fills(&self, limits: BatchLimits) -> bool {
        self.waiting.fills(limits)
    }

    /// Counts the remaining messages as lost.
    pub(super) fn close(self, taken: Vec<Entry>, dropped: &mut Dropped) {
        for message in taken.into_iter().map(|entry| entry.message).chain(self.waiting) {
            dropped.shutdown.add(1, message.samples.into());
        }
    }
}
