//! Messages that wait in memory.

use std::collections::{HashSet, VecDeque};

use crate::forward::Message;
use crate::forward::outbox::{BatchLimits, Entry};
use crate::forward::report::Dropped;

/// What happens to messages that come faster than the broker takes them, when there is no more room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// No more snapshots are taken until there is room: ticks are missed, visibly (`seq`), and counters lose nothing, since the
    /// next snapshot has their totals. The default.
    #[default]
    Block,
    /// What comes is left out.
    DropNewest,
    /// What has waited longest is left out.
    DropOldest,
    /// A message replaces what waits and says less: the last snapshot of its kind, or the last sample of the same process or
    /// file system where there is a message per sample. Does this always, also when there is room; what still does not
    /// fit then goes as with `DropOldest`. Not together with a spool.
    LatestPerKey,
}

/// A queue with bounds in messages and in bytes.
#[derive(Debug)]
pub(super) struct MemoryOutbox {
    waiting: VecDeque<Message>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    overflow: Overflow,
}

impl MemoryOutbox {
    pub(super) fn new(max_messages: usize, max_bytes: usize, overflow: Overflow) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, max_messages, max_bytes, overflow }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more may come. Only one that blocks says no.
    pub(super) fn has_room(&self) -> bool {
        self.overflow != Overflow::Block || (self.waiting.len() < self.max_messages && self.bytes < self.max_bytes)
    }

    /// Takes the messages of one snapshot. One that blocks takes them all: its bounds can be exceeded by what one snapshot makes.
    pub(super) fn push(&mut self, messages: Vec<Message>, dropped: &mut Dropped) {
        if self.overflow == Overflow::LatestPerKey {
            self.supersede(&messages, dropped);
        }
        for message in messages {
            let fits = message.payload.len() <= self.max_bytes;
            match self.overflow {
                Overflow::Block => {}
                Overflow::DropNewest if self.fits(&message) => {}
                Overflow::DropOldest | Overflow::LatestPerKey if fits => {
                    while !self.fits(&message)
                        && let Some(oldest) = self.pop()
                    {
                        dropped.oldest.add(1, oldest.samples.into());
                    }
                }
                _ => {
                    dropped.newest.add(1, message.samples.into());
                    continue;
                }
            }
            self.bytes = self.bytes.saturating_add(message.payload.len());
            self.waiting.push_back(message);
        }
    }

    fn fits(&self, message: &Message) -> bool {
        self.waiting.len() < self.max_messages && self.bytes.saturating_add(message.payload.len()) <= self.max_bytes
    }

    fn supersede(&mut self, by: &[Message], dropped: &mut Dropped) {
        let keys: HashSet<u64> = by.iter().map(|message| message.key).collect();
        let bytes = &mut self.bytes;
        self.waiting.retain(|message| {
            let keep = !keys.contains(&message.key);
            if !keep {
                *bytes = bytes.saturating_sub(message.payload.len());
                dropped.superseded.add(1, message.samples.into());
            }
            keep
        });
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(message.payload.len());
        Some(message)
    }

    /// The next batch: at least one message where there is one.
    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        while let Some(next) = self.front()
            && limits.allow(batch.len(), bytes, next)
            && let Some(message) = self.pop()
        {
            bytes = bytes.saturating_add(message.payload.len());
            batch.push(Entry::new(message, None));
        }
        batch
    }

    pub(super) fn front(&self) -> Option<&Message> {
        self.waiting.front()
    }
}
