//! Assembly of split snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::Source;
use super::runs::Runs;
use crate::forward::{MessageId, Piece};
use crate::wire::{InChain, Part};
use crate::{Lives, Snapshot};

/// Split snapshots with missing parts, and the tokens of the received parts.
#[derive(Debug)]
pub(super) struct Parts<T, A> {
    /// By producer, and the sequence number of the message with the first part.
    waiting: BTreeMap<(Source, u64), Waiting<T, A>>,
    bytes: usize,
    most_bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Waiting<T, A> {
    head: Snapshot<T>,
    chain: Option<InChain>,
    parts: BTreeMap<u32, Gathered<T, A>>,
    /// What lived between two ticks, as far as each part has it. All pieces of a part have the same.
    lives: BTreeMap<u32, Arc<Lives>>,
    /// The number of complete parts.
    whole: usize,
    last: Option<u32>,
    bytes: usize,
    since: u64,
    /// How often parts of it were received again.
    again: u32,
}

/// A part of a snapshot: a message, or pieces of one.
#[derive(Debug)]
struct Gathered<T, A> {
    /// By the index of their first sample and the one after their last.
    pieces: BTreeMap<(u32, u32), (Vec<T>, A)>,
    runs: Runs,
    /// All parts.
    whole: Piece,
}

/// The result for a snapshot.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum Whole<T, A> {
    Complete(Source, Snapshot<T>, Option<InChain>, Vec<A>),
    /// Parts are missing; this many were received.
    GivenUp(Source, u64, Vec<A>),
}

/// The largest total of payloads that wait for other parts, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// The largest number of waiting snapshots of one producer. Parts come in order, except those delivered again.
const MOST_OF_ONE: usize = 4;

/// How often each part may be received again while others are missing.
const MOST_AGAIN: usize = 4;

impl<T, A> Parts<T, A> {
    pub(super) fn new() -> Self {
        Self::with_most_bytes(MOST_BYTES)
    }

    pub(super) fn with_most_bytes(most_bytes: usize) -> Self {
        Self { waiting: BTreeMap::new(), bytes: 0, most_bytes, clock: 0 }
    }

    /// Returns the tokens of the waiting messages.
    #[cfg(any(feature = "nats", test))]
    pub(super) fn tokens(&self) -> impl Iterator<Item = &A> {
        self.waiting.values().flat_map(|waiting| {
            let pieces = waiting.parts.values().flat_map(|part| part.pieces.values());
            pieces.map(|(_, token)| token)
        })
    }

    /// Forgets all waiting messages, and returns their tokens.
    pub(super) fn take_tokens(&mut self) -> Vec<A> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_values().flat_map(Waiting::into_tokens).collect()
    }

    /// Whether pieces of the snapshot in message `seq` wait for the others.
    pub(super) fn wait_for(&self, source: &Source, seq: u64) -> bool {
        // The common case: no message waits.
        !self.waiting.is_empty() && self.waiting.contains_key(&(source.clone(), seq))
    }

    /// Adds a part, or piece of one. Returns the results to pass on: the snapshot if it is complete now, and those given up for lack of
    /// room. Returns the token as an error if the part does not fit the waiting ones.
    pub(super) fn insert(
        &mut self,
        source: &Source,
        id: MessageId,
        part: Part,
        (mut snapshot, chain): (Snapshot<T>, Option<InChain>),
        bytes: usize,
        token: A,
    ) -> Result<Vec<Whole<T, A>>, A> {
        let key = (source.clone(), id.seq.saturating_sub(u64::from(part.number)));
        let samples = std::mem::take(&mut snapshot.samples);
        let lives = snapshot.lives.take();
        let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        let piece = id.piece.unwrap_or(Piece { from: 0, to: count, of: count });
        self.clock = self.clock.saturating_add(1);
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| Waiting {
            head: snapshot,
            chain,
            parts: BTreeMap::new(),
            lives: BTreeMap::new(),
            whole: 0,
            last: None,
            bytes: 0,
            since: self.clock,
            again: 0,
        });
        waiting.insert(part, piece, samples, token)?;
        if let Some(lives) = lives {
            waiting.lives.insert(part.number, lives);
        }
        waiting.bytes = waiting.bytes.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        if waiting.is_complete() {
            return Ok(self.remove(&key).map(|waiting| waiting.into_whole(key.0)).into_iter().collect());
        }
        Ok(self.give_up_what_is_too_much(source))
    }

    /// Handles a message received again. Returns `token` if no waiting snapshot has this message.
    pub(super) fn again(&mut self, source: &Source, id: MessageId, token: A) -> Result<Option<Whole<T, A>>, A> {
        let range = (source.clone(), 0)..=(source.clone(), id.seq);
        for (key, waiting) in self.waiting.range_mut(range).rev().take(MOST_OF_ONE) {
            let number = u32::try_from(id.seq.saturating_sub(key.1)).unwrap_or(u32::MAX);
            let Some(part) = waiting.parts.get_mut(&number) else { continue };
            let piece = id.piece.unwrap_or(part.whole);
            let Some((_, held)) = part.pieces.get_mut(&(piece.from, piece.to)) else { continue };
            // The later delivery must be acknowledged.
            *held = token;
            waiting.again = waiting.again.saturating_add(1);
            let often = usize::try_from(waiting.again).unwrap_or(usize::MAX);
            let overdue = often > MOST_AGAIN.saturating_mul(waiting.pieces());
            let key = key.clone();
            return Ok(if overdue { self.give_up(&key) } else { None });
        }
        Err(token)
    }

    fn give_up_what_is_too_much(&mut self, source: &Source) -> Vec<Whole<T, A>> {
        let mut given_up = Vec::new();
        let of_one = (source.clone(), 0)..=(source.clone(), u64::MAX);
        if self.waiting.range(of_one.clone()).count() > MOST_OF_ONE {
            let oldest = self.waiting.range(of_one).next().map(|(key, _)| key.clone());
            given_up.extend(oldest.and_then(|key| self.give_up(&key)));
        }
        while self.bytes > self.most_bytes {
            let oldest = self.waiting.iter().min_by_key(|(_, waiting)| waiting.since).map(|(key, _)| key.clone());
            let Some(whole) = oldest.and_then(|key| self.give_up(&key)) else { break };
            given_up.push(whole);
        }
        given_up
    }

    fn give_up(&mut self, key: &(Source, u64)) -> Option<Whole<T, A>> {
        let waiting = self.remove(key)?;
        Some(Whole::GivenUp(key.0.clone(), key.1, waiting.into_tokens()))
    }

    fn remove(&mut self, key: &(Source, u64)) -> Option<Waiting<T, A>> {
        let waiting = self.waiting.remove(key)?;
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }
}

impl<T, A> Waiting<T, A> {
    /// Adds a piece; returns it as an error if it is of another message.
    fn insert(&mut self, part: Part, piece: Piece, samples: Vec<T>, token: A) -> Result<(), A> {
        let whole = Piece { from: 0, to: piece.of, ..piece };
        let gathered = self.parts.entry(part.number).or_insert_with(|| Gathered {
            pieces: BTreeMap::new(),
            runs: Runs::default(),
            whole,
        });
        if gathered.whole != whole {
            return Err(token);
        }
        let was_whole = gathered.is_whole();
        gathered.pieces.insert((piece.from, piece.to), (samples, token));
        gathered.runs.add(piece);
        if gathered.is_whole() && !was_whole {
            self.whole = self.whole.saturating_add(1);
        }
        if part.last {
            self.last = Some(part.number);
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let all = self.last.and_then(|last| usize::try_from(last).ok()).and_then(|last| last.checked_add(1));
        all == Some(self.whole)
    }

    /// Returns the number of waiting messages.
    fn pieces(&self) -> usize {
        self.parts.values().map(|part| part.pieces.len()).sum()
    }

    fn into_tokens(self) -> Vec<A> {
        let pieces = self.parts.into_values().flat_map(|part| part.pieces.into_values());
        pieces.map(|(_, token)| token).collect()
    }

    fn into_whole(self, source: Source) -> Whole<T, A> {
        let mut snapshot = self.head;
        snapshot.lives = self.lives.into_values().reduce(|mut lives, more| {
            Arc::make_mut(&mut lives).append(Arc::unwrap_or_clone(more));
            lives
        });
        let mut tokens = Vec::with_capacity(self.parts.len());
        for part in self.parts.into_values() {
            let mut next = 0;
            for ((from, to), (mut samples, token)) in part.pieces {
                // Pieces split by different limits overlap.
                let known = usize::try_from(u32::saturating_sub(next, from)).unwrap_or(usize::MAX);
                samples.drain(..known.min(samples.len()));
                snapshot.samples.append(&mut samples);
                tokens.push(token);
                next = next.max(to);
            }
        }
        Whole::Complete(source, snapshot, self.chain, tokens)
    }
}

impl<T, A> Gathered<T, A> {
    fn is_whole(&self) -> bool {
        // A part without samples is complete at once.
        self.runs.contains(self.whole)
    }
}
