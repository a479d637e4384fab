//! Split snapshots put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::Part;
use super::message::Source;
use crate::{Lives, Snapshot};

/// Split snapshots of which parts are missing, and what acknowledges those that are there.
#[derive(Debug)]
pub(super) struct Parts<T, A> {
    /// By producer, and the number of the message the first part is in.
    waiting: BTreeMap<(Source, u64), Waiting<T, A>>,
    bytes: usize,
    most_bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Waiting<T, A> {
    head: Snapshot<T>,
    parts: BTreeMap<u32, (Vec<T>, A)>,
    /// What lived, as far as it is in each part.
    lives: BTreeMap<u32, Arc<Lives>>,
    last: Option<u32>,
    bytes: usize,
    since: u64,
    /// How often parts of it came again.
    again: u32,
}

/// What became of a snapshot.
#[derive(Debug)]
pub(super) enum Whole<T, A> {
    Complete(Snapshot<T>, Vec<A>),
    /// Parts never came; so many did.
    GivenUp(Source, u64, Vec<A>),
}

/// How large the payloads may be that wait for other parts.
const MOST_BYTES: usize = 64 << 20;

/// How many snapshots of one producer may wait. They come in order, but for what is delivered again.
const MOST_OF_ONE: usize = 4;

/// How often each part may come again while others are missing.
const MOST_AGAIN: usize = 4;

impl<T, A> Parts<T, A> {
    pub(super) fn new() -> Self {
        Self::with_most_bytes(MOST_BYTES)
    }

    pub(super) fn with_most_bytes(most_bytes: usize) -> Self {
        Self { waiting: BTreeMap::new(), bytes: 0, most_bytes, clock: 0 }
    }

    /// What waits.
    #[cfg(any(feature = "nats", test))]
    pub(super) fn tokens(&self) -> impl Iterator<Item = &A> {
        self.waiting.values().flat_map(|waiting| waiting.parts.values().map(|(_, token)| token))
    }

    /// Forgets all that waits, and gives its tokens.
    pub(super) fn take_tokens(&mut self) -> Vec<A> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.flat_map(|waiting| waiting.parts.into_values().map(|(_, token)| token)).collect()
    }

    /// Takes the part that is in message `seq`, and gives what is to be given on: the snapshot if it is complete now, and
    /// what there is no room for any more.
    pub(super) fn insert(
        &mut self,
        source: &Source,
        seq: u64,
        part: Part,
        mut snapshot: Snapshot<T>,
        bytes: usize,
        token: A,
    ) -> Vec<Whole<T, A>> {
        let first = seq.saturating_sub(u64::from(part.number));
        let key = (source.clone(), first);
        let samples = std::mem::take(&mut snapshot.samples);
        let lives = snapshot.lives.take();
        self.clock = self.clock.saturating_add(1);
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| Waiting {
            head: snapshot,
            parts: BTreeMap::new(),
            lives: BTreeMap::new(),
            last: None,
            bytes: 0,
            since: self.clock,
            again: 0,
        });
        if let Some(lives) = lives {
            waiting.lives.insert(part.number, lives);
        }
        waiting.bytes = waiting.bytes.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        waiting.parts.insert(part.number, (samples, token));
        if part.last {
            waiting.last = Some(part.number);
        }
        if waiting.is_complete() {
            return self.remove(&key).map(Waiting::into_whole).into_iter().collect();
        }
        self.give_up_what_is_too_much(source)
    }

    /// The message `seq` came again. Gives `token` back if nothing waits that it belongs to.
    pub(super) fn again(&mut self, source: &Source, seq: u64, token: A) -> Result<Option<Whole<T, A>>, A> {
        let range = (source.clone(), 0)..=(source.clone(), seq);
        for (key, waiting) in self.waiting.range_mut(range).rev().take(MOST_OF_ONE) {
            let number = u32::try_from(seq.saturating_sub(key.1)).unwrap_or(u32::MAX);
            let Some((_, held)) = waiting.parts.get_mut(&number) else { continue };
            // The later delivery is the one to acknowledge.
            *held = token;
            waiting.again = waiting.again.saturating_add(1);
            let often = usize::try_from(waiting.again).unwrap_or(usize::MAX);
            let overdue = often > MOST_AGAIN.saturating_mul(waiting.parts.len());
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
        let tokens = waiting.parts.into_values().map(|(_, token)| token).collect();
        Some(Whole::GivenUp(key.0.clone(), key.1, tokens))
    }

    fn remove(&mut self, key: &(Source, u64)) -> Option<Waiting<T, A>> {
        let waiting = self.waiting.remove(key)?;
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }
}

impl<T, A> Waiting<T, A> {
    fn is_complete(&self) -> bool {
        let all = self.last.and_then(|last| usize::try_from(last).ok()).and_then(|last| last.checked_add(1));
        all == Some(self.parts.len())
    }

    fn into_whole(self) -> Whole<T, A> {
        let mut snapshot = self.head;
        snapshot.lives = self.lives.into_values().reduce(|mut lives, more| {
            Arc::make_mut(&mut lives).append(Arc::unwrap_or_clone(more));
            lives
        });
        let mut tokens = Vec::with_capacity(self.parts.len());
        for (mut samples, token) in self.parts.into_values() {
            snapshot.samples.append(&mut samples);
            tokens.push(token);
        }
        Whole::Complete(snapshot, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::receive::decode::decode;
    use crate::broker::receive::message::Received;
    use crate::forward::{Codec, Encoder, Host};
    use crate::process::ProcessId;
    use crate::{BootId, ControlGroupUsage, Exit, ProcessSample, Reaper};

    #[test]
    fn what_lived_comes_in_as_many_parts_as_it_takes() {
        let id = |pid| ProcessId { pid, start_ticks: 7 };
        let lives = |many: u32| Lives {
            births: 3,
            deaths: many.into(),
            exits: (0..many).map(|pid| Exit::new(id(pid))).collect(),
            reapers: (0..many / 2).map(|pid| Reaper::new(id(pid))).collect(),
            control_groups: (0..many / 3)
                .map(|nth| ControlGroupUsage::new(format!("/{nth}").as_str(), nth.into()))
                .collect(),
            ..Lives::default()
        };
        for (many, processes, codec) in [
            (0, 3, Codec::Json),
            (1, 0, Codec::Json),
            (500, 0, Codec::Json),
            (500, 40, Codec::MessagePack),
            (9, 40, Codec::Json),
        ] {
            let samples = (0..processes).map(|pid| ProcessSample { id: id(pid), ..ProcessSample::default() });
            let snapshot = Snapshot { lives: Some(lives(many).into()), seq: 5, ..samples.collect() };
            let mut encoder = Encoder::new(Host::new("a").unwrap()).codec(codec).max_bytes(4096);
            let encoded = encoder.encode(&snapshot);
            assert_eq!((encoded.oversize, encoded.failed), (0, 0));
            assert!(encoded.messages.iter().all(|message| message.payload.len() <= 4096));
            let source = Source { source: "a".into(), boot_id: BootId::default(), epoch: 1 };
            let mut parts = Parts::<ProcessSample, ()>::new();
            let mut found = None;
            // In another order.
            for (nth, message) in (0..).zip(&encoded.messages).collect::<Vec<_>>().into_iter().rev() {
                let received = Received {
                    content_type: Some(codec.media_type()),
                    payload: &message.payload,
                    ..Received::default()
                };
                let decoded = decode::<ProcessSample>(&received).unwrap();
                let Some(part) = decoded.part else {
                    found = Some(decoded.snapshot);
                    continue;
                };
                let whole = parts.insert(&source, nth, part, decoded.snapshot, message.payload.len(), ());
                found = whole.into_iter().next().map(|whole| match whole {
                    Whole::Complete(snapshot, _) => snapshot,
                    Whole::GivenUp(..) => panic!("all parts came"),
                });
            }
            let found = found.unwrap();
            assert_eq!(found.samples, snapshot.samples);
            assert_eq!(found.lives.map(|lives| (lives.births, lives.deaths)), Some((3, many.into())));
            let (mut sent, mut came) = (lives(many), Lives::default());
            for message in &encoded.messages {
                let received = Received {
                    content_type: Some(codec.media_type()),
                    payload: &message.payload,
                    ..Received::default()
                };
                if let Some(lives) = decode::<ProcessSample>(&received).unwrap().snapshot.lives {
                    came.append(Arc::unwrap_or_clone(lives));
                }
            }
            for lives in [&mut sent, &mut came] {
                lives.exits.sort_by_key(|exit| exit.id);
                lives.reapers.sort_by_key(|reaper| reaper.id);
                lives.control_groups.sort_by(|a, b| a.path.cmp(&b.path));
            }
            assert_eq!(came, sent, "nothing is lost, and nothing comes twice");
        }
    }
}
