//! The queue of waiting messages in a spool, with the next few of them in memory.

mod appending;
mod closing;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::forward::batch::{BatchLimits, Entry};
use crate::forward::message::Message;
use crate::forward::overflow::Overflow;
use crate::forward::report::Report;
use crate::forward::spool::{Appended, Left, Opened, Spool, Stored};
use crate::forward::waiting::Waiting;
use crate::{Error, Result};

/// The wait after a failure of the disk.
const PAUSE: Duration = Duration::from_millis(250);

/// The largest append or read: about as much as the database can keep in memory until the transaction is on the disk. It reads
/// pages again for their checksums if it has to write them out earlier.
const STEP: BatchLimits = BatchLimits { messages: 1024, bytes: 1 << 20 };

/// The states of a message: incoming (in memory) → appended (on the disk) → ready (on the disk and in memory) → taken → removed.
///
/// Appended messages are ready at once while they fit in memory. Otherwise they are read later: `behind` is true while there are
/// more on the disk than are ready. When an append fails and no older message is on the disk, incoming messages are ready without
/// it: delivery continues although the disk is full.
pub(super) struct DiskOutbox {
    spool: Spool,
    overflow: Overflow,
    /// The bounds of the messages in memory.
    limits: BatchLimits,
    incoming: Waiting<Message>,
    append: Append,
    ready: Waiting<Entry>,
    /// The last position that was ready.
    last_ready: Option<u64>,
    reading: Option<Reading>,
    behind: bool,
    /// Messages taken from the spool and not settled yet, by position.
    taken: BTreeMap<u64, Taken>,
    /// Positions to be removed at the next poll.
    settled: Vec<u64>,
    /// Positions settled since the current append began: it may still evict them.
    settled_meanwhile: BTreeSet<u64>,
    /// The wait after a failed read.
    read_pause: Option<Pin<Box<Sleep>>>,
    /// The number of messages the spool lost to damage so far, and the position below which all are lost.
    lost: (u64, u64),
}

enum Append {
    Idle,
    UnderWay {
        reply: oneshot::Receiver<Result<Appended>>,
        messages: Vec<Message>,
    },
    /// The disk failed.
    Pausing(Pin<Box<Sleep>>),
    /// The spool is full, and the append waits until a message is removed.
    Full,
}

struct Reading {
    reply: oneshot::Receiver<Result<Vec<Stored>>>,
    /// Whether an append completed since: then an empty answer is out of date.
    stale: bool,
    /// Positions evicted (and counted) since: the answer may still contain their messages.
    evicted: BTreeSet<u64>,
}

/// A message of the spool that is being delivered.
struct Taken {
    /// Whether it was evicted (and counted) meanwhile.
    evicted: bool,
    /// The number of its pieces that are not settled yet.
    pieces: usize,
    /// The reason why one of the pieces was refused.
    reason: Option<String>,
}

impl Default for Taken {
    fn default() -> Self {
        Self { evicted: false, pieces: 1, reason: None }
    }
}

impl fmt::Debug for DiskOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskOutbox").field("spool", &self.spool).field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl DiskOutbox {
    /// Returns the queue of an open spool; `limits` bound the messages in memory.
    pub(super) fn new(spool: Spool, opened: Opened, overflow: Overflow, limits: BatchLimits) -> Self {
        Self {
            spool,
            overflow,
            limits,
            incoming: Waiting::default(),
            append: Append::Idle,
            ready: Waiting::default(),
            last_ready: None,
            reading: None,
            behind: opened.left.messages > 0,
            taken: BTreeMap::new(),
            settled: Vec::new(),
            settled_meanwhile: BTreeSet::new(),
            read_pause: None,
            lost: (0, 0),
        }
    }

    /// Whether another snapshot may be pushed. A busy disk is waited for with every overflow setting; a failed one only with
    /// [`Overflow::Block`].
    pub(super) fn has_room(&self) -> bool {
        !self.incoming.fills(self.limits) || self.drops_incoming()
    }

    /// Whether incoming messages are dropped because the disk failed.
    fn drops_incoming(&self) -> bool {
        self.overflow != Overflow::Block && matches!(self.append, Append::Pausing(_))
    }

    pub(super) fn push(&mut self, messages: Vec<Message>, report: &mut Report) {
        for message in messages {
            self.incoming.push(message);
        }
        let limits = self.limits;
        while self.drops_incoming() && (self.incoming.len() > limits.messages || self.incoming.bytes() > limits.bytes) {
            let (dropped, count) = match self.overflow {
                Overflow::DropNewest => (self.incoming.pop_newest(), &mut report.dropped.newest),
                _ => (self.incoming.pop(), &mut report.dropped.oldest),
            };
            let Some(dropped) = dropped else { break };
            count.add(1, dropped.samples.into());
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, report: &mut Report) {
        self.flush_settled();
        loop {
            while self.poll_append(cx, report) {}
            while self.poll_read(cx, report) {}
            if !self.notice_loss(report) || !self.made_room() {
                return;
            }
        }
    }

    /// Whether the spool lost messages to damage. Those in memory are not lost: they are sent as if they had never been in the
    /// spool.
    fn notice_loss(&mut self, report: &mut Report) -> bool {
        let (before, now) = (self.lost.0, self.spool.lost());
        if now.0 == before {
            return false;
        }
        self.lost = now;
        let lost_below = now.1;
        let (mut at_hand, mut done) = (0_u64, self.settled.len());
        for entry in self.ready.iter_mut() {
            if entry.position.take_if(|position| *position < lost_below).is_some() {
                at_hand = at_hand.saturating_add(1);
            }
        }
        let mut taken = self.taken.split_off(&lost_below);
        std::mem::swap(&mut taken, &mut self.taken);
        done = done.saturating_add(taken.values().filter(|taken| !taken.evicted).count());
        self.settled.clear();
        let still_there = at_hand.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        report.dropped.corrupt.add(now.0.saturating_sub(before).saturating_sub(still_there), 0);
        true
    }

    /// Whether the ready messages fill their bounds. Small messages may exceed the message limit, so that fewer reads are needed.
    fn is_ready_full(&self) -> bool {
        let messages = self.limits.messages.max(STEP.messages);
        self.ready.fills(BatchLimits { messages, ..self.limits })
    }

    fn is_lost(&self, position: u64) -> bool {
        position < self.lost.1
    }

    /// To be called after a message left the spool. Whether an append waited for that, and is tried again.
    fn made_room(&mut self) -> bool {
        let waited = matches!(self.append, Append::Full);
        if waited {
            self.append = Append::Idle;
        }
        waited
    }

    fn flush_settled(&mut self) {
        if !self.settled.is_empty() {
            self.spool.remove(std::mem::take(&mut self.settled));
            self.made_room();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether no message waits in memory or on the disk.
    pub(super) fn is_settled(&self) -> bool {
        self.ready.is_empty()
            && self.incoming.is_empty()
            && !self.behind
            && self.reading.is_none()
            && !matches!(self.append, Append::UnderWay { .. })
    }

    /// Returns the number of waiting messages, without those taken and not settled.
    pub(super) fn len(&self) -> usize {
        let held = usize::try_from(self.spool.left().messages).unwrap_or(usize::MAX);
        let under_way = match &self.append {
            Append::UnderWay { messages, .. } => messages.len(),
            _ => 0,
        };
        let direct = self.ready.iter().filter(|entry| entry.position.is_none()).count();
        let removed = self.taken.len().saturating_add(self.settled.len());
        held.saturating_sub(removed)
            .saturating_add(self.incoming.len())
            .saturating_add(under_way)
            .saturating_add(direct)
    }

    pub(super) fn bytes(&self) -> usize {
        self.incoming.bytes().saturating_add(self.ready.bytes())
    }

    pub(super) fn left(&self) -> Left {
        self.spool.left()
    }

    pub(super) fn fills(&self, limits: BatchLimits) -> bool {
        self.ready.fills(limits)
    }

    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        let batch = self.ready.take(limits);
        self.taken.extend(batch.iter().filter_map(|entry| Some((entry.position?, Taken::default()))));
        batch
    }

    /// Records that a taken message is sent in this many pieces.
    pub(super) fn split(&mut self, entry: &Entry, pieces: usize) {
        if let Some(taken) = entry.position.and_then(|position| self.taken.get_mut(&position)) {
            taken.pieces = taken.pieces.saturating_add(pieces).saturating_sub(1);
        }
    }

    /// Records that a message was accepted, or refused for this reason. A message that was evicted during its delivery no longer
    /// counts as lost. It leaves the spool with the last of its pieces.
    pub(super) fn settled(&mut self, entry: &Entry, reason: Option<String>, report: &mut Report) {
        let Some(position) = entry.position.filter(|position| !self.is_lost(*position)) else { return };
        let mut taken = self.taken.remove(&position).unwrap_or_default();
        taken.pieces = taken.pieces.saturating_sub(1);
        taken.reason = reason.or(taken.reason);
        if taken.evicted {
            report.dropped.oldest.subtract((taken.pieces == 0).into(), entry.message.samples.into());
        }
        if taken.pieces > 0 {
            self.taken.insert(position, taken);
            return;
        }
        if matches!(self.append, Append::UnderWay { .. }) {
            self.settled_meanwhile.insert(position);
        }
        match taken.reason {
            None => self.settled.push(position),
            Some(reason) => {
                self.spool.reject(position, reason);
                self.made_room();
            }
        }
    }
}

/// Returns the error for a spool whose thread ended without an answer.
fn no_answer() -> Error {
    Error::io(std::io::Error::other("the spool's thread ended"))
}
