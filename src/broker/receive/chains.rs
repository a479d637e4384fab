//! Whole snapshots out of messages that hold what changed, for each stream of each producer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::message::Source;
use crate::wire::{Delta, InChain, Link, Restore, Restored};
use crate::{BootId, Monotonic, Sample, Snapshot, Timestamp};

/// The chains of all streams of all producers, and the deltas that came before something they refer to.
#[derive(Debug)]
pub(super) struct Chains<T, A> {
    /// By the source and the name of the stream; the producers with that name one after the other, as after restarts, or side by side.
    streams: HashMap<Origin, Producers<T, A>>,
    clock: u64,
    swept: u64,
    orphan: Option<Orphan>,
}

/// The source, and the name of the stream if it has one.
type Origin = (Arc<str>, Option<Arc<str>>);

#[derive(Debug)]
struct Producers<T, A> {
    producers: Vec<Chain<T, A>>,
    /// The number of messages of all of them.
    clock: u64,
    /// The clock of all streams at the last one.
    used: u64,
}

#[derive(Debug)]
struct Chain<T, A> {
    boot_id: BootId,
    epoch: u64,
    restore: Restore<T>,
    /// Deltas before which something is missing so far, by chain and number.
    early: BTreeMap<(u64, u64), Early<T, A>>,
    /// The clock of its stream at its last message.
    used: u64,
    /// The last chain whose beginning was asked for.
    asked: Option<u64>,
}

/// How long before a delta the keyframe was sent that it needs and that was not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    /// When the delta was made, by the wall clock of its host.
    pub(crate) time: Timestamp,
    /// How long after the keyframe.
    pub(crate) age: Duration,
}

#[derive(Debug)]
struct Early<T, A> {
    snapshot: Snapshot<T>,
    link: Link,
    delta: Option<Delta>,
    done: Vec<A>,
}

/// What became of a message.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum Made<T, A> {
    Whole(Snapshot<T>, Vec<A>),
    /// It was received before.
    Again(Vec<A>),
    /// It cannot be restored: something before it is missing.
    Unrestored(Vec<A>),
    Broken(&'static str, Vec<A>),
}

/// How many deltas of a producer wait for what they refer to. Messages come in order, except those delivered again.
const MOST_EARLY: usize = 16;

/// A producer is forgotten when others of the same stream and host sent so many messages since its last.
const MOST_OF_OTHERS: u64 = 64;

/// A stream is forgotten when the others had, on average, so many messages since its last one.
const REMEMBERED: u64 = 600;

impl<T, A> Chains<T, A> {
    pub(super) fn new() -> Self {
        Self { streams: HashMap::new(), clock: 0, swept: 0, orphan: None }
    }

    fn chains(&self) -> impl Iterator<Item = &Chain<T, A>> {
        self.streams.values().flat_map(|stream| &stream.producers)
    }

    /// Returns the tokens of the deltas that wait.
    #[cfg(any(feature = "nats", test))]
    pub(super) fn tokens(&self) -> impl Iterator<Item = &A> {
        self.chains().flat_map(|chain| chain.early.values().flat_map(|early| &early.done))
    }

    /// Forgets the deltas that wait, and returns their tokens.
    pub(super) fn take_tokens(&mut self) -> Vec<A> {
        let chains = self.streams.values_mut().flat_map(|stream| &mut stream.producers);
        let early = chains.flat_map(|chain| std::mem::take(&mut chain.early).into_values());
        early.flat_map(|early| early.done).collect()
    }

    /// Returns the number of streams whose last snapshot is kept.
    pub(super) fn len(&self) -> usize {
        self.chains().count()
    }
}

impl<T: Sample + Clone, A> Chains<T, A> {
    /// Adds a message, and returns what it makes: itself, and what waited for it.
    pub(super) fn add(
        &mut self,
        source: &Source,
        snapshot: Snapshot<T>,
        InChain { link, delta }: InChain,
        done: Vec<A>,
    ) -> Vec<Made<T, A>> {
        let (time, age) = (snapshot.time, snapshot.at.since(Monotonic::from_nanos(link.keyframe)));
        let chain = self.chain(source, snapshot.stream.clone());
        let mut made = Vec::with_capacity(1);
        chain.add(Early { snapshot, link, delta, done }, &mut made);
        chain.add_waiting(&mut made);
        let is_orphan = chain.early.contains_key(&(link.keyframe, link.number))
            && chain.restore.last().is_none_or(|(current, _)| current < link.keyframe);
        if is_orphan && chain.asked.replace(link.keyframe) != Some(link.keyframe) {
            self.orphan = age.map(|age| Orphan { time, age });
        }
        made
    }

    /// Returns the delta whose chain began before anything was received of it, once for each chain.
    #[cfg(any(feature = "nats", test))]
    pub(super) fn take_orphan(&mut self) -> Option<Orphan> {
        self.orphan.take()
    }

    fn chain(&mut self, source: &Source, stream: Option<Arc<str>>) -> &mut Chain<T, A> {
        self.clock = self.clock.saturating_add(1);
        self.forget();
        let used = self.clock;
        let key = (Arc::clone(&source.source), stream);
        let stream = self.streams.entry(key).or_insert_with(|| Producers { producers: Vec::new(), clock: 0, used });
        (stream.used, stream.clock) = (used, stream.clock.saturating_add(1));
        let clock = stream.clock;
        let is_it = |chain: &Chain<T, A>| (chain.boot_id, chain.epoch) == (source.boot_id, source.epoch);
        stream.producers.retain(|chain| is_it(chain) || clock.saturating_sub(chain.used) < MOST_OF_OTHERS);
        let place = stream.producers.iter().position(is_it).unwrap_or(stream.producers.len());
        if place == stream.producers.len() {
            let (boot_id, epoch) = (source.boot_id, source.epoch);
            let (restore, early) = (Restore::default(), BTreeMap::new());
            stream.producers.push(Chain { boot_id, epoch, restore, early, used: clock, asked: None });
        }
        // It is there: see above.
        #[expect(clippy::indexing_slicing, reason = "it is at this place, or was put there")]
        let chain = &mut stream.producers[place];
        chain.used = clock;
        chain
    }

    fn forget(&mut self) {
        let round = REMEMBERED.saturating_mul(self.streams.len() as u64).max(REMEMBERED);
        if self.clock.saturating_sub(self.swept) >= round {
            let clock = self.clock;
            self.swept = clock;
            self.streams.retain(|_, stream| clock.saturating_sub(stream.used) < round);
        }
    }
}

impl<T: Sample + Clone, A> Chain<T, A> {
    fn add(&mut self, message: Early<T, A>, made: &mut Vec<Made<T, A>>) {
        let Early { snapshot, link, delta, done } = message;
        made.push(match self.restore.add(snapshot, link, delta) {
            Restored::Whole(snapshot) | Restored::Late(Some(snapshot)) => Made::Whole(snapshot, done),
            Restored::Again => Made::Again(done),
            Restored::Late(None) => Made::Unrestored(done),
            Restored::Broken(why) => Made::Broken(why, done),
            Restored::Early(snapshot, delta) => {
                let early = Early { snapshot, link, delta, done };
                if let Some(before) = self.early.insert((link.keyframe, link.number), early) {
                    made.push(Made::Again(before.done));
                }
                if self.early.len() > MOST_EARLY
                    && let Some((_, oldest)) = self.early.pop_first()
                {
                    made.push(Made::Unrestored(oldest.done));
                }
                return;
            }
        });
    }

    /// Adds the deltas that wait and can be added now.
    fn add_waiting(&mut self, made: &mut Vec<Made<T, A>>) {
        while let Some(first) = self.early.first_entry() {
            let (chain, number) = *first.key();
            // Of an earlier chain nothing can be restored any more; of a later one the keyframe may still come.
            let is_due = self
                .restore
                .last()
                .is_some_and(|last| chain < last.0 || (chain, number) <= (last.0, last.1.saturating_add(1)));
            if !is_due {
                return;
            }
            let message = first.remove();
            self.add(message, made);
        }
    }
}
