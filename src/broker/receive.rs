//! Assembly of received messages to snapshots, common to all brokers.
//!
//! Messages are decoded by their media type, split snapshots are put together, and duplicates are dropped. Messages that are not
//! passed on are counted.
//!
//! Only messages in the form of snapshots are received as complete snapshots. NDJSON, and a message per sample, do not name the number
//! of samples of a tick: each of these messages becomes a snapshot of its samples. Combinators that compare snapshots, such as `changes`
//! and `rates`, then compare pieces of the same tick. The documentation of the consumers warns of it.

mod decode;
mod message;
mod parts;
mod producer;
mod runs;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{HashMap, VecDeque};

use serde::de::DeserializeOwned;

use crate::forward::{Codec, Form, MessageId};
use crate::wire::{Decoded, Part};
use crate::{Error, Result, Sample, Snapshot};
use decode::decode;
pub(crate) use message::Received;
use message::Source;
use parts::{Parts, Whole};
use producer::{Producer, Seen};

/// The counts of a consumer: messages received, and messages and snapshots not passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveCounts {
    /// Messages received, including duplicates.
    pub messages: u64,
    /// Snapshots passed on.
    pub snapshots: u64,
    /// Samples passed on.
    pub samples: u64,
    /// Messages dropped as duplicates, recognized by their id.
    pub duplicates: u64,
    /// Messages that could not be decoded. Each was yielded as an error.
    pub malformed: u64,
    /// Snapshots with missing parts. Each was yielded as an error.
    pub incomplete: u64,
    /// Messages not received (yet), although later ones of the same producer were. They include those that the producer itself counts
    /// as dropped.
    pub missing: u64,
    /// Producers currently tracked.
    pub producers: usize,
}

/// Assembles messages to snapshots. `A` is the token that acknowledges a message.
#[derive(Debug)]
pub(crate) struct Receiver<T, A> {
    gathering: Gathering,
    producers: HashMap<Source, Producer>,
    parts: Parts<T, A>,
    ready: VecDeque<Item<T, A>>,
    counts: ReceiveCounts,
    clock: u64,
    most_producers: usize,
}

/// Whether this consumer receives all messages of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathering {
    /// It does: split snapshots are put together, and missing messages are counted.
    All,
    /// Several consumers share the messages: each part of a split snapshot is passed on as a snapshot of its own.
    #[cfg_attr(not(any(feature = "nats", test)), expect(dead_code, reason = "in Kafka a host stays with one consumer"))]
    Shared,
}

/// A snapshot or error to pass on, if any, and the tokens to acknowledge after it.
#[derive(Debug)]
pub(crate) struct Item<T, A> {
    pub(crate) result: Option<Result<Snapshot<T>>>,
    pub(crate) done: Vec<A>,
}

/// The largest number of tracked producers, at about a quarter of a kilobyte each. Those with the oldest last message are forgotten.
const MOST_PRODUCERS: usize = 65_536;

impl<T: Sample + DeserializeOwned, A> Receiver<T, A> {
    pub(crate) fn new(gathering: Gathering) -> Self {
        Self {
            gathering,
            producers: HashMap::new(),
            parts: Parts::new(),
            ready: VecDeque::new(),
            counts: ReceiveCounts::default(),
            clock: 0,
            most_producers: MOST_PRODUCERS,
        }
    }

    pub(crate) fn counts(&self) -> ReceiveCounts {
        ReceiveCounts { producers: self.producers.len(), ..self.counts }
    }

    /// Returns the tokens of messages that wait for other parts. They must not be acknowledged yet, nor implicitly by a later one.
    #[cfg(any(feature = "nats", test))]
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &A> {
        self.parts.tokens()
    }

    /// Returns the tokens of the waiting messages, whose snapshots are given up.
    pub(crate) fn take_waiting(&mut self) -> Vec<A> {
        self.parts.take_tokens()
    }

    /// Returns the next ready item, in order.
    pub(crate) fn pop(&mut self) -> Option<Item<T, A>> {
        let item = self.ready.pop_front()?;
        if let Some(Ok(snapshot)) = &item.result {
            count(&mut self.counts.snapshots, 1);
            count(&mut self.counts.samples, snapshot.samples.len() as u64);
        }
        Some(item)
    }

    /// Adds a message. Items that it completes become ready.
    pub(crate) fn push(&mut self, message: &Received<'_>, token: A) {
        count(&mut self.counts.messages, 1);
        let of = message.id.and_then(|id| id.parse::<MessageId>().ok()).map(|id| {
            let source = message.source.unwrap_or_default().into();
            (Source { source, boot_id: id.boot_id, epoch: id.epoch }, id)
        });
        match of.as_ref().map(|(source, id)| self.see(source, *id)) {
            Some(Seen::Before) => {
                if let Some((source, id)) = of {
                    self.push_again(&source, id, token);
                }
                return;
            }
            Some(Seen::TooScattered) => {
                return self.malformed(message, "one of too many pieces with gaps between them", token);
            }
            Some(Seen::First(_) | Seen::Late) | None => {}
        }
        let Decoded { snapshot, part, piece } = match decode::<T>(message) {
            Ok(decoded) => decoded,
            Err(error) => return self.malformed(message, &error, token),
        };
        match of {
            Some((_, id)) if piece.is_some() && piece != id.piece => {
                self.malformed(message, "the piece in it is not that of its id", token);
            }
            Some((_, MessageId { piece: Some(piece), .. })) if !is_length(piece.len(), &snapshot) => {
                self.malformed(message, "a piece whose length differs from that in its id", token);
            }
            // Single samples need no other messages.
            Some((source, id)) if self.gathering == Gathering::All && is_snapshot(message) => {
                self.gather(message, &source, id, part, snapshot, token);
            }
            None if self.gathering == Gathering::All && (part.is_some() || piece.is_some()) => {
                self.malformed(message, "a part of a snapshot without an id, so the snapshot is unknown", token);
            }
            _ => self.ready.push_back(Item { result: Some(Ok(snapshot)), done: vec![token] }),
        }
    }

    /// Adds a part to the split snapshot it belongs to.
    fn gather(
        &mut self,
        message: &Received<'_>,
        source: &Source,
        id: MessageId,
        part: Option<Part>,
        snapshot: Snapshot<T>,
        token: A,
    ) {
        if part.is_none() && id.piece.is_none() && !self.parts.wait_for(source, id.seq) {
            self.ready.push_back(Item { result: Some(Ok(snapshot)), done: vec![token] });
            return;
        }
        let part = part.unwrap_or(Part { number: 0, last: true });
        match self.parts.insert(source, id, part, snapshot, message.payload.len(), token) {
            Ok(whole) => whole.into_iter().for_each(|whole| self.deliver(whole)),
            Err(token) => self.malformed(message, "a piece of another message of the same id", token),
        }
    }

    /// Records that a message was received, and returns whether it was received before.
    fn see(&mut self, source: &Source, id: MessageId) -> Seen {
        if !self.producers.contains_key(source) {
            self.make_room();
        }
        self.clock = self.clock.saturating_add(1);
        let producer = self.producers.entry(source.clone()).or_default();
        let seen = producer.see(id, self.clock);
        if self.gathering == Gathering::All {
            match seen {
                Seen::First(gap) => count(&mut self.counts.missing, gap),
                Seen::Late => self.counts.missing = self.counts.missing.saturating_sub(1),
                Seen::Before | Seen::TooScattered => {}
            }
        }
        seen
    }

    fn push_again(&mut self, source: &Source, id: MessageId, token: A) {
        count(&mut self.counts.duplicates, 1);
        match self.parts.again(source, id, token) {
            Ok(whole) => whole.into_iter().for_each(|whole| self.deliver(whole)),
            Err(token) => self.ready.push_back(Item { result: None, done: vec![token] }),
        }
    }

    fn malformed(&mut self, message: &Received<'_>, why: &str, token: A) {
        count(&mut self.counts.malformed, 1);
        let error = Error::malformed(format!("{message}: {why}"));
        self.ready.push_back(Item { result: Some(Err(error)), done: vec![token] });
    }

    fn deliver(&mut self, whole: Whole<T, A>) {
        self.ready.push_back(match whole {
            Whole::Complete(snapshot, done) => Item { result: Some(Ok(snapshot)), done },
            Whole::GivenUp(Source { source, boot_id, epoch }, first, done) => {
                count(&mut self.counts.incomplete, 1);
                let id = MessageId::new(boot_id, epoch, first);
                let parts = done.len();
                let error =
                    format!("a snapshot of {source} in several messages, from {id} on: only {parts} of them came");
                Item { result: Some(Err(Error::malformed(error))), done }
            }
        });
    }

    /// Forgets an eighth of the producers if there are too many.
    fn make_room(&mut self) {
        if self.producers.len() < self.most_producers {
            return;
        }
        let mut last_messages: Vec<u64> = self.producers.values().map(Producer::last_message).collect();
        let eighth = last_messages.len() / 8;
        let (_, limit, _) = last_messages.select_nth_unstable(eighth);
        self.producers.retain(|_, producer| producer.last_message() > *limit);
    }
}

/// Whether a message is a snapshot, or a part or piece of one, by its attributes.
fn is_snapshot(message: &Received<'_>) -> bool {
    message.codec() != Ok(Codec::Ndjson) && message.form() == Form::Snapshot
}

fn is_length<T>(length: u32, snapshot: &Snapshot<T>) -> bool {
    usize::try_from(length).is_ok_and(|length| length == snapshot.samples.len())
}

fn count(counter: &mut u64, by: u64) {
    *counter = counter.saturating_add(by);
}
