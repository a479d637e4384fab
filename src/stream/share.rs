//! `share`: one stream for several consumers that cannot stop each other.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::Stream;
use futures::stream::FusedStream;

use crate::{Result, Snapshot};

/// The stream of [`SnapshotStreamExt::share`](crate::SnapshotStreamExt::share). Each clone is a consumer of its own.
///
/// A clone continues where the one that was cloned is: both yield the same snapshots from there on.
#[must_use = "streams do nothing unless polled"]
pub struct Share<S, T> {
    shared: Arc<Shared<S, T>>,
    /// The key of this consumer's waker.
    id: u64,
    /// The number of the next item.
    next: u64,
    missed: u64,
    is_done: bool,
}

struct Shared<S, T> {
    source: Mutex<Source<S, T>>,
    wakers: Arc<Wakers>,
}

struct Source<S, T> {
    stream: Pin<Box<S>>,
    /// The last items, and the number of the first of them.
    items: VecDeque<Result<Snapshot<T>>>,
    first: u64,
    capacity: usize,
    is_done: bool,
    next_id: u64,
}

/// The consumers that wait.
#[derive(Default)]
struct Wakers(Mutex<BTreeMap<u64, Waker>>);

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes all that wait, not only the one that polled last: it may be busy elsewhere, or gone.
impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Not under the lock: a waker may poll at once.
        let wakers = std::mem::take(&mut *self.lock());
        wakers.into_values().for_each(Waker::wake);
    }
}

/// How many items wait for the slowest consumer by default.
const CAPACITY: usize = 16;

impl<S, T> Share<S, T> {
    pub(super) fn new(stream: S) -> Self {
        let source = Source {
            stream: Box::pin(stream),
            items: VecDeque::new(),
            first: 0,
            capacity: CAPACITY,
            is_done: false,
            next_id: 1,
        };
        let shared = Shared { source: Mutex::new(source), wakers: Arc::default() };
        Self { shared: Arc::new(shared), id: 0, next: 0, missed: 0, is_done: false }
    }

    /// Sets how many ticks a consumer may be behind the fastest one, at least 1. One that is further behind misses the oldest. It is the
    /// largest number of snapshots in memory, for all consumers together. Default: 16.
    pub fn capacity(self, ticks: usize) -> Self {
        self.shared.source().capacity = ticks.max(1);
        self
    }

    /// Returns how many ticks this consumer missed because it was too far behind. They also show as gaps in
    /// [`Snapshot::seq`].
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl<S, T> Shared<S, T> {
    fn source(&self) -> MutexGuard<'_, Source<S, T>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S, T> Clone for Share<S, T> {
    fn clone(&self) -> Self {
        let mut source = self.shared.source();
        let id = source.next_id;
        source.next_id = id.saturating_add(1);
        drop(source);
        Self { shared: Arc::clone(&self.shared), id, next: self.next, missed: 0, is_done: self.is_done }
    }
}

impl<S, T> fmt::Debug for Share<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("next", &self.next).field("missed", &self.missed).finish_non_exhaustive()
    }
}

impl<S, T> Drop for Share<S, T> {
    fn drop(&mut self) {
        let waker = self.shared.wakers.lock().remove(&self.id);
        drop(waker);
    }
}

impl<S, T> Stream for Share<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Clone,
{
    type Item = Result<Snapshot<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_done {
            return Poll::Ready(None);
        }
        // Before the stream is polled, so that no wake is lost.
        this.shared.wakers.lock().insert(this.id, cx.waker().clone());
        // Whoever needs the next item polls the stream for all. Another one waits here as long as one poll of the stream takes.
        let mut source = this.shared.source();
        let polled = source.poll_item(&mut this.next, &mut this.missed, &this.shared.wakers);
        let is_newest = this.next == source.end();
        drop(source);
        if let Poll::Ready(item) = &polled {
            this.is_done = item.is_none();
            let waker = this.shared.wakers.lock().remove(&this.id);
            drop(waker);
            if is_newest {
                this.shared.wakers.wake_by_ref();
            }
        }
        polled
    }
}

impl<S, T> Source<S, T> {
    /// Returns the number of the item after the last.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.items.len() as u64)
    }
}

impl<S, T> Source<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Clone,
{
    /// Returns the item with number `next`, which becomes that of the one after it; ticks that are no longer there are added to `missed`.
    fn poll_item(
        &mut self,
        next: &mut u64,
        missed: &mut u64,
        wakers: &Arc<Wakers>,
    ) -> Poll<Option<Result<Snapshot<T>>>> {
        *missed = missed.saturating_add(self.first.saturating_sub(*next));
        *next = (*next).max(self.first);
        let place = next.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(item) = place.and_then(|place| self.items.get(place)) {
            *next = next.saturating_add(1);
            return Poll::Ready(Some(item.clone()));
        }
        if self.is_done {
            return Poll::Ready(None);
        }
        let waker = Waker::from(Arc::clone(wakers));
        let Poll::Ready(item) = self.stream.as_mut().poll_next(&mut Context::from_waker(&waker)) else {
            return Poll::Pending;
        };
        match &item {
            Some(item) => {
                self.items.push_back(item.clone());
                if self.items.len() > self.capacity {
                    self.items.pop_front();
                    self.first = self.first.saturating_add(1);
                }
                *next = next.saturating_add(1);
            }
            None => self.is_done = true,
        }
        Poll::Ready(item)
    }
}

impl<S, T> FusedStream for Share<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Clone,
{
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::channel::mpsc;
    use futures::executor::block_on;
    use futures::task::noop_waker;
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::Error;

    fn ticks(count: u64) -> impl Stream<Item = Result<Snapshot<u32>>> {
        futures::stream::iter((0..count).map(|seq| match seq {
            3 => Err(Error::malformed("tick 3")),
            _ => Ok(Snapshot { seq, ..Snapshot::default() }),
        }))
    }

    fn seqs(stream: impl Stream<Item = Result<Snapshot<u32>>>) -> Vec<Option<u64>> {
        block_on(stream.map(|item| item.ok().map(|snapshot| snapshot.seq)).collect())
    }

    #[test]
    fn all_consumers_get_all() {
        let mut first = ticks(6).share();
        assert_eq!(block_on(first.next()).unwrap().unwrap().seq, 0);
        let second = first.clone();
        let expected = [Some(1), Some(2), None, Some(4), Some(5)];
        assert_eq!(seqs(&mut first), expected, "errors too");
        assert_eq!(seqs(second), expected, "from where the other one was");
        assert!(first.is_terminated() && first.missed() == 0);
    }

    use crate::SnapshotStreamExt as _;

    #[test]
    fn a_slow_one_misses_the_oldest_and_stops_nobody() {
        let mut fast = ticks(100).share().capacity(5);
        let mut slow = fast.clone();
        assert_eq!(seqs(&mut fast).len(), 100);
        assert_eq!(fast.shared.source().items.len(), 5, "the memory is bounded");
        let left: Vec<_> = seqs(&mut slow);
        assert_eq!(left, [95, 96, 97, 98, 99].map(Some));
        assert_eq!((slow.missed(), fast.missed()), (95, 0));
    }

    /// A waker that records that it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn one_that_is_gone_or_busy_does_not_hold_up_the_others() {
        let (send, receive) = mpsc::unbounded();
        let mut one = receive.share();
        let (mut two, mut three) = (one.clone(), one.clone());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(one.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        // These polled the stream last, and never come back to it.
        assert!(two.poll_next_unpin(&mut Context::from_waker(&noop_waker())).is_pending());
        assert!(three.poll_next_unpin(&mut Context::from_waker(&noop_waker())).is_pending());
        drop(three);
        send.unbounded_send(Ok(Snapshot::<u32>::default())).unwrap();
        assert!(woken.0.load(Ordering::SeqCst));
        assert!(one.next().now_or_never().flatten().is_some());
        drop(send);
        assert_eq!((seqs(&mut one).len(), seqs(&mut two).len()), (0, 1));
    }

    #[test]
    fn on_threads_of_their_own_all_get_all() {
        let stream = futures::stream::iter(0..200).then(|seq| async move {
            // Pending every now and then, and woken from another thread.
            if seq % 3 == 0 {
                let (send, receive) = futures::channel::oneshot::channel();
                std::thread::spawn(move || send.send(()));
                let _ = receive.await;
            }
            Ok(Snapshot::<u32> { seq, ..Snapshot::default() })
        });
        let stream = stream.share().capacity(1000);
        let consumers: Vec<_> = (0..4).map(|_| stream.clone()).collect();
        drop(stream);
        let threads: Vec<_> =
            consumers.into_iter().map(|consumer| std::thread::spawn(move || seqs(consumer).len())).collect();
        assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>(), [200; 4]);
    }
}
