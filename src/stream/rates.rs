//! `rates`: each sample with its rates since the last tick.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::stream::FusedStream;
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
        // What will be `last` of the host that is looked at.
        next: Vec<Earlier<T>>,
    }
}

/// What is kept of a host.
struct State<T: Counters> {
    // When the last snapshot was taken: what began later is counted from its beginning.
    before: Option<Monotonic>,
    tick: u64,
    last: Vec<Earlier<T>>,
}

impl<T: Counters> Default for State<T> {
    fn default() -> Self {
        Self { before: None, tick: 0, last: Vec::new() }
    }
}

/// What is kept of a sample.
struct Earlier<T: Counters> {
    key: T::Key,
    at: Monotonic,
    totals: T::Totals,
    /// The tick it was last seen at.
    seen: u64,
}

/// For how many ticks what is missing is remembered. What comes back (a process that was not selected for a while) then has
/// its rates since it was last seen, and not from its birth again.
const REMEMBERED: u64 = 60;

impl<S: fmt::Debug, T: Counters> fmt::Debug for Rates<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, state) = self.hosts.known();
        f.debug_struct("Rates")
            .field("stream", &self.stream)
            .field("hosts", &hosts)
            .field("kept", &state.last.len())
            .finish_non_exhaustive()
    }
}

impl<S, T: Counters> Rates<S, T> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, hosts: PerHost::new(), next: Vec::new() }
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream inside.
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
            // What was born in the last step of its clock before the last tick, and not seen then, was born after it. Before
            // the first tick nobody looked.
            let before = state.before.replace(snapshot.at).map_or(snapshot.at, |at| at.minus(T::birth_step()));
            state.tick = state.tick.saturating_add(1);
            let tick = state.tick;
            let rated = snapshot.with_samples(|samples| {
                let mut earlier = Cursor::new(&state.last);
                this.next.clear();
                this.next.reserve(samples.len());
                samples
                    .into_iter()
                    .map(|sample| {
                        let key = sample.key();
                        let rates = rate(&sample, earlier.find(&key), before);
                        this.next.push(Earlier { key, at: sample.at(), totals: sample.totals(), seen: tick });
                        Rated::new(sample, rates)
                    })
                    .collect()
            });
            remember(&mut state.last, this.next, tick);
            if !this.next.is_sorted_by(|a, b| a.key <= b.key) {
                this.next.sort_by(|a, b| a.key.cmp(&b.key));
            }
            std::mem::swap(&mut state.last, this.next);
            rated
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

/// Takes over what is missing in `next`, though not for long, and not much more of it than there is in `next` itself.
fn remember<T: Counters>(last: &mut Vec<Earlier<T>>, next: &mut Vec<Earlier<T>>, tick: u64) {
    let most = next.len().max(1024);
    if !next.is_sorted_by(|a, b| a.key <= b.key) {
        next.sort_by(|a, b| a.key.cmp(&b.key));
    }
    let mut now = next.iter().peekable();
    let mut missing: Vec<usize> = Vec::new();
    for (at, earlier) in last.iter().enumerate() {
        while now.next_if(|now| now.key < earlier.key).is_some() {}
        let found = now.peek().is_some_and(|now| now.key == earlier.key);
        if !found && tick.saturating_sub(earlier.seen) < REMEMBERED && missing.len() < most {
            missing.push(at);
        }
    }
    // From the back, so that what is taken out does not move what is still to be taken.
    next.extend(missing.into_iter().rev().map(|at| last.swap_remove(at)));
}

fn rate<T: Counters>(sample: &T, earlier: Option<&Earlier<T>>, before: Monotonic) -> Option<T::Rates> {
    if let Some(earlier) = earlier {
        return sample.rates(&earlier.totals, sample.at().since(earlier.at)?);
    }
    let (birth, totals) = sample.birth()?;
    // What is older and was not seen before (it was not selected) has counted for long already.
    if birth < before {
        return None;
    }
    sample.rates(&totals, sample.at().since(birth)?)
}

/// Looks keys up in a sorted list, at no cost beyond a step when they come in the list's order.
struct Cursor<'a, T: Counters> {
    list: &'a [Earlier<T>],
    next: usize,
}

impl<'a, T: Counters> Cursor<'a, T> {
    fn new(list: &'a [Earlier<T>]) -> Self {
        Self { list, next: 0 }
    }

    fn find(&mut self, key: &T::Key) -> Option<&'a Earlier<T>> {
        if let Some(found) = self.list.get(self.next)
            && found.key == *key
        {
            self.next = self.next.saturating_add(1);
            return Some(found);
        }
        match self.list.binary_search_by(|earlier| earlier.key.cmp(key)) {
            Ok(index) => {
                self.next = index.saturating_add(1);
                self.list.get(index)
            }
            Err(index) => {
                self.next = index;
                None
            }
        }
    }
}
