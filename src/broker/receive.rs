//! Assembly of received messages to snapshots, common to all brokers.
//!
//! Messages are decoded by their media type, split snapshots are put together, and duplicates are dropped. Messages that are not
//! passed on are counted.
//!
//! Only messages in the form of snapshots are received as complete snapshots. NDJSON, and a message per sample, do not name the number
//! of samples of a tick: each of these messages becomes a snapshot of its samples. Combinators that compare snapshots, such as `changes`
//! and `rates`, then compare pieces of the same tick. The documentation of the consumers warns of it.

mod chains;
mod decode;
mod message;
mod parts;
mod producer;
mod runs;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::forward::{Codec, Form, MessageId};
use crate::wire::{Decoded, InChain, Part};
use crate::{BootId, Error, Result, Sample, Snapshot};
#[cfg(feature = "nats")]
pub(crate) use chains::Orphan;
use chains::{Chains, Made};
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
    /// Snapshots of which only the changes were received, and not all that came before them since the last whole one. They are not passed
    /// on. The next whole snapshot of the stream ends that: see `Forwarder::only_changed`.
    pub unrestored: u64,
    /// Messages of other streams than the one that was asked for (`Consumer::feed`).
    pub other_streams: u64,
    /// Producers currently tracked.
    pub producers: usize,
    /// Streams of them whose last snapshot is kept, since the next message may have only what changed.
    pub kept: usize,
}

/// Assembles messages to snapshots. `A` is the token that acknowledges a message.
#[derive(Debug)]
pub(crate) struct Receiver<T, A> {
    gathering: Gathering,
    producers: HashMap<Source, Producer>,
    parts: Parts<T, A>,
    chains: Chains<T, A>,
    /// Split snapshots of the past, of which other parts are still to be read.
    #[cfg(any(feature = "nats", test))]
    past: Parts<T, ()>,
    /// The name of the stream whose messages are passed on; `None` for all.
    wanted: Option<Arc<str>>,
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

impl<T: Sample + DeserializeOwned + Clone, A> Receiver<T, A> {
    pub(crate) fn new(gathering: Gathering) -> Self {
        Self {
            gathering,
            producers: HashMap::new(),
            parts: Parts::new(),
            chains: Chains::new(),
            #[cfg(any(feature = "nats", test))]
            past: Parts::new(),
            wanted: None,
            ready: VecDeque::new(),
            counts: ReceiveCounts::default(),
            clock: 0,
            most_producers: MOST_PRODUCERS,
        }
    }

    /// Passes on the stream of this name alone.
    pub(crate) fn of_stream(mut self, name: Option<Arc<str>>) -> Self {
        self.wanted = name;
        self
    }

    pub(crate) fn counts(&self) -> ReceiveCounts {
        ReceiveCounts { producers: self.producers.len(), kept: self.chains.len(), ..self.counts }
    }

    /// Returns the tokens of messages that wait for others. They must not be acknowledged yet, nor implicitly by a later one.
    #[cfg(any(feature = "nats", test))]
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &A> {
        self.parts.tokens().chain(self.chains.tokens())
    }

    /// Returns the tokens of the waiting messages, whose snapshots are given up.
    pub(crate) fn take_waiting(&mut self) -> Vec<A> {
        let mut tokens = self.parts.take_tokens();
        tokens.append(&mut self.chains.take_tokens());
        tokens
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
        let of = origin(message);
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
        if self.is_other(message.stream) {
            return self.skip(token);
        }
        let Decoded { snapshot, part, piece, chain } = match decode::<T>(message) {
            Ok(decoded) => decoded,
            Err(error) => return self.malformed(message, &error, token),
        };
        // The header may be lost on the way.
        if self.is_other(Some(snapshot.stream.as_deref().unwrap_or(T::KIND))) {
            return self.skip(token);
        }
        match of {
            Some((_, id)) if piece.is_some() && piece != id.piece => {
                self.malformed(message, "the piece in it is not that of its id", token);
            }
            Some((_, MessageId { piece: Some(piece), .. })) if !is_length(piece.len(), &snapshot) => {
                self.malformed(message, "a piece whose length differs from that in its id", token);
            }
            // Single samples need no other messages.
            Some((source, id)) if self.gathering == Gathering::All && is_snapshot(message) => {
                self.gather(message, &source, id, part, (snapshot, chain), token);
            }
            None if self.gathering == Gathering::All && (part.is_some() || piece.is_some()) => {
                self.malformed(message, "a part of a snapshot without an id, so the snapshot is unknown", token);
            }
            of => {
                let source = of.map(|(source, _)| source);
                self.pass_on(&source.unwrap_or_else(|| unknown(message)), snapshot, chain, vec![token]);
            }
        }
    }

    /// Returns the message that says what changed since others that were never received, if there is a new one: those of its subject may
    /// still be stored.
    #[cfg(any(feature = "nats", test))]
    pub(crate) fn take_orphan(&mut self) -> Option<Orphan> {
        self.past = Parts::new();
        self.chains.take_orphan()
    }

    /// Adds a stored message of the past, on which later ones build. Its snapshot is passed on if it `is_new`.
    #[cfg(any(feature = "nats", test))]
    pub(crate) fn push_past(&mut self, message: &Received<'_>, is_new: bool) {
        let Some((source, id)) = origin(message) else { return };
        if !is_snapshot(message) || self.is_other(message.stream) {
            return;
        }
        // What is wrong with it was reported when it was received.
        let Ok(Decoded { snapshot, part, chain: Some(chain), .. }) = decode::<T>(message) else { return };
        let wholes = match (part, id.piece) {
            (None, None) => return self.add_past(&source, snapshot, chain, is_new),
            (part, _) => {
                let part = part.unwrap_or(Part { number: 0, last: true });
                self.past.insert(&source, id, part, (snapshot, Some(chain)), message.payload.len(), ())
            }
        };
        for whole in wholes.unwrap_or_default() {
            if let Whole::Complete(source, snapshot, Some(chain), _) = whole {
                self.add_past(&source, snapshot, chain, is_new);
            }
        }
    }

    #[cfg(any(feature = "nats", test))]
    fn add_past(&mut self, source: &Source, snapshot: Snapshot<T>, chain: InChain, is_new: bool) {
        for made in self.chains.add(source, snapshot, chain, Vec::new()) {
            match made {
                // What waited for it has a token.
                Made::Whole(snapshot, done) if is_new || !done.is_empty() => {
                    self.ready.push_back(Item { result: Some(Ok(snapshot)), done });
                }
                Made::Whole(_, done) | Made::Again(done) | Made::Unrestored(done) | Made::Broken(_, done) => {
                    if !done.is_empty() {
                        self.ready.push_back(Item { result: None, done });
                    }
                }
            }
        }
    }

    /// Whether a message of the stream of this name is not to be passed on.
    fn is_other(&self, stream: Option<&str>) -> bool {
        self.wanted.as_deref().zip(stream).is_some_and(|(wanted, stream)| wanted != stream)
    }

    fn skip(&mut self, token: A) {
        count(&mut self.counts.other_streams, 1);
        self.ready.push_back(Item { result: None, done: vec![token] });
    }

    /// Passes a snapshot on, or what is made of it and of what came before it in its chain.
    fn pass_on(&mut self, source: &Source, snapshot: Snapshot<T>, chain: Option<InChain>, done: Vec<A>) {
        let Some(chain) = chain else {
            return self.ready.push_back(Item { result: Some(Ok(snapshot)), done });
        };
        if self.gathering == Gathering::Shared {
            // Others have the messages in between.
            if chain.delta.is_none() {
                return self.ready.push_back(Item { result: Some(Ok(snapshot)), done });
            }
            return self.broken(
                source,
                "what changed since a snapshot that another one of the shared consumers may have",
                done,
            );
        }
        for made in self.chains.add(source, snapshot, chain, done) {
            let (result, done) = match made {
                Made::Whole(snapshot, done) => (Some(Ok(snapshot)), done),
                Made::Again(done) => {
                    count(&mut self.counts.duplicates, 1);
                    (None, done)
                }
                Made::Unrestored(done) => {
                    count(&mut self.counts.unrestored, 1);
                    (None, done)
                }
                Made::Broken(why, done) => {
                    self.broken(source, why, done);
                    continue;
                }
            };
            self.ready.push_back(Item { result, done });
        }
    }

    fn broken(&mut self, source: &Source, why: &str, done: Vec<A>) {
        count(&mut self.counts.unrestored, 1);
        let error = Error::malformed(format!("a message of {}: {why}", source.source));
        self.ready.push_back(Item { result: Some(Err(error)), done });
    }

    /// Adds a part to the split snapshot it belongs to.
    fn gather(
        &mut self,
        message: &Received<'_>,
        source: &Source,
        id: MessageId,
        part: Option<Part>,
        (snapshot, chain): (Snapshot<T>, Option<InChain>),
        token: A,
    ) {
        if part.is_none() && id.piece.is_none() && !self.parts.wait_for(source, id.seq) {
            return self.pass_on(source, snapshot, chain, vec![token]);
        }
        let part = part.unwrap_or(Part { number: 0, last: true });
        match self.parts.insert(source, id, part, (snapshot, chain), message.payload.len(), token) {
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
            Whole::Complete(source, snapshot, chain, done) => return self.pass_on(&source, snapshot, chain, done),
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
    message.codec() != Ok(Codec::Ndjson) && message.form() != Form::Samples
}

/// The producer of a message, and its id; `None` if it has none that can be read.
fn origin(message: &Received<'_>) -> Option<(Source, MessageId)> {
    let id: MessageId = message.id?.parse().ok()?;
    let source = message.source.unwrap_or_default().into();
    Some((Source { source, boot_id: id.boot_id, epoch: id.epoch }, id))
}

/// The producer of a message without an id.
fn unknown(message: &Received<'_>) -> Source {
    Source { source: message.source.unwrap_or_default().into(), boot_id: BootId::default(), epoch: 0 }
}

fn is_length<T>(length: u32, snapshot: &Snapshot<T>) -> bool {
    usize::try_from(length).is_ok_and(|length| length == snapshot.samples.len())
}

fn count(counter: &mut u64, by: u64) {
    *counter = counter.saturating_add(by);
}
