//! The queue of messages to be sent, in memory or on the disk.

use std::task::Context;

use tokio::time::Instant;

use crate::Error;
use crate::forward::batch::{BatchLimits, Entry};
use crate::forward::disk_outbox::DiskOutbox;
use crate::forward::memory_outbox::MemoryOutbox;
use crate::forward::message::Message;
use crate::forward::report::Report;
use crate::forward::status::Status;

#[derive(Debug)]
pub(super) enum Outbox {
    Memory(MemoryOutbox),
    Disk(Box<DiskOutbox>),
}

impl Outbox {
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.has_room(),
            Self::Disk(disk) => disk.has_room(),
        }
    }

    /// Whether the next message may replace one that waits.
    pub(super) fn replaces_waiting(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.replaces_waiting(),
            Self::Disk(_) => false,
        }
    }

    pub(super) fn push(&mut self, messages: Vec<Message>, report: &mut Report) {
        match self {
            Self::Memory(memory) => memory.push(messages, &mut report.dropped),
            Self::Disk(disk) => disk.push(messages, report),
        }
    }

    /// Continues appending and reading.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, report: &mut Report) {
        match self {
            Self::Memory(_) => {}
            Self::Disk(disk) => disk.poll(cx, report),
        }
    }

    /// Whether no message can be taken now.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.is_empty(),
            Self::Disk(disk) => disk.is_empty(),
        }
    }

    /// Whether no message waits, in memory or in the spool.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Memory(memory) => memory.is_empty(),
            Self::Disk(disk) => disk.is_settled(),
        }
    }

    /// Sets the numbers of waiting messages in `status`, without those taken.
    pub(super) fn update_status(&self, status: &mut Status) {
        match self {
            Self::Memory(memory) => {
                status.waiting_messages = memory.len();
                status.waiting_bytes = memory.bytes();
            }
            Self::Disk(disk) => {
                status.waiting_messages = disk.len();
                status.waiting_bytes = disk.bytes();
                let left = disk.left();
                status.spool_messages = left.messages;
                status.spool_bytes = left.bytes;
            }
        }
    }

    /// Whether the messages that can be taken fill a batch.
    pub(super) fn fills(&self, limits: BatchLimits) -> bool {
        match self {
            Self::Memory(memory) => memory.fills(limits),
            Self::Disk(disk) => disk.fills(limits),
        }
    }

    /// Takes the next batch: at least one message, if there is one.
    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        match self {
            Self::Memory(memory) => memory.take(limits),
            Self::Disk(disk) => disk.take(limits),
        }
    }

    /// Records that a taken message is sent in this many pieces.
    pub(super) fn split(&mut self, entry: &Entry, pieces: usize) {
        match self {
            Self::Memory(_) => {}
            Self::Disk(disk) => disk.split(entry, pieces),
        }
    }

    /// Records that a message was accepted, or refused for this reason.
    pub(super) fn settled(&mut self, entry: &Entry, reason: Option<&Error>, report: &mut Report) {
        match self {
            Self::Memory(_) => {}
            Self::Disk(disk) => disk.settled(entry, reason.map(Error::to_string), report),
        }
    }

    /// Ends it, by about `until`: messages in `taken` (never settled) and those in memory stay in the spool, or are lost and
    /// counted.
    pub(super) async fn close(self, taken: Vec<Entry>, until: Instant, report: &mut Report) {
        match self {
            Self::Memory(memory) => memory.close(taken, &mut report.dropped),
            Self::Disk(disk) => disk.close(taken, until, report).await,
        }
    }
}
