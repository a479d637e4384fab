//! `rates`: each sample with its rates since the last tick.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::hosts::PerHost;
use crate::{Counters, Monotonic, Rated, Result, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::rates`](crate::SnapshotStreamExt::rates).
    #[must_use = "streams do nothing unless polled"]
    pub struct Rates<S, T: Counters> {
        #[pin]
        stream: S,
        hosts: PerHost<State<T>>,
    }
}

/// The state of a host.
struct State<T: Counters> {
    // The time of the last snapshot: subjects that began later are counted from their beginning.
    before: Option<Monotonic>,
    tick: u64,
    // Sorted by key, and updated in place: an unchanged subject costs one comparison.
    known: Vec<Earlier<T>>,
}

impl<T: Counters> Default for State<T> {
    fn default() -> Self {
        Self { before: None, tick: 0, known: Vec::new() }
    }
}

/// The last totals of a subject.
struct Earlier<T: Counters> {
    key: T::Key,
    at: Monotonic,
    totals: T::Totals,
    /// The last tick that had it.
    seen: u64,
}

/// The number of ticks for which a missing subject is remembered. If it comes back (a process that was not selected for a while), its
/// rates count from its last sample, and not from its birth.
const REMEMBERED: u64 = 60;

impl<S: fmt::Debug, T: Counters> fmt::Debug for Rates<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, state) = self.hosts.known();
        f.debug_struct("Rates")
            .field("stream", &self.stream)
            .field("hosts", &hosts)
            .field("kept", &state.known.len())
            .finish_non_exhaustive()
    }
}

impl<S, T: Counters> Rates<S, T> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, hosts: PerHost::new() }
    }

    /// Returns a reference to the inner stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the inner stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S, T> Stream for Rates<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Counters,
{
    type Item = Result<Snapshot<Rated<T>>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(item.map(|snapshot| {
            let state = this.hosts.of(&snapshot).state;
            // A subject whose birth lies within the last step of its clock before the last tick, and that was not in that tick, began
            // after it. Before the first tick there is nothing to compare with.
            let before = state.before.replace(snapshot.at).map_or(snapshot.at, |at| at.minus(T::birth_step()));
            state.tick = state.tick.saturating_add(1);
            snapshot.with_samples(|samples| state.rate_all(samples, before))
        })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, T> FusedStream for Rates<S, T>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: Counters,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

impl<T: Counters> State<T> {
    /// Computes the rates of each sample, and stores its counters.
    fn rate_all(&mut self, samples: Vec<T>, before: Monotonic) -> Vec<Rated<T>> {
        let (known, tick) = (&mut self.known, self.tick);
        let mut born: Vec<Earlier<T>> = Vec::new();
        let (mut next, mut found) = (0_usize, 0_usize);
        let mut rate = |sample: &T| {
            let (key, at) = (sample.key(), sample.at());
            let Some(place) = find(known, next, &key) else {
                born.push(Earlier { key, at, totals: sample.totals(), seen: tick });
                return since_birth(sample, before);
            };
            next = place.saturating_add(1);
            let earlier = known.get_mut(place).filter(|earlier| earlier.seen != tick)?;
            let rates = at.since(earlier.at).and_then(|elapsed| sample.rates(&earlier.totals, elapsed));
            sample.update(&mut earlier.totals);
            (earlier.at, earlier.seen) = (at, tick);
            found = found.saturating_add(1);
            rates
        };
        let rated = samples
            .into_iter()
            .map(|sample| {
                let rates = rate(&sample);
                Rated::new(sample, rates)
            })
            .collect();
        if found < known.len() {
            forget(known, tick, found.saturating_add(born.len()).max(1024));
        }
        if !born.is_empty() {
            known.append(&mut born);
            known.sort_by(|a, b| a.key.cmp(&b.key));
            known.dedup_by(|a, b| a.key == b.key);
        }
        rated
    }
}

/// Returns the index of a key. When the keys come in the order of the list and none is missing, it is `next`, and costs one comparison.
fn find<T: Counters>(known: &[Earlier<T>], next: usize, key: &T::Key) -> Option<usize> {
    if known.get(next).is_some_and(|earlier| earlier.key == *key) {
        return Some(next);
    }
    known.binary_search_by(|earlier| earlier.key.cmp(key)).ok()
}

/// Forgets subjects missing for long, and all but `most` of the missing ones.
fn forget<T: Counters>(known: &mut Vec<Earlier<T>>, tick: u64, most: usize) {
    let mut missing: usize = 0;
    known.retain(|earlier| {
        if earlier.seen == tick {
            return true;
        }
        missing = missing.saturating_add(1);
        tick.saturating_sub(earlier.seen) < REMEMBERED && missing <= most
    });
}

/// Returns the rates of a new subject since its birth.
fn since_birth<T: Counters>(sample: &T, before: Monotonic) -> Option<T::Rates> {
    let (birth, totals) = sample.birth()?;
    // An older subject without an earlier sample was not selected before: its counters cover more than the last tick.
    if birth < before {
        return None;
    }
    sample.rates(&totals, sample.at().since(birth)?)
}
