//! `observe`: the newest snapshot, for readers with times of their own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Result, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::observe`](crate::SnapshotStreamExt::observe).
    #[must_use = "streams do nothing unless polled"]
    pub struct Observe<S, T> {
        #[pin]
        stream: S,
        newest: watch::Sender<Option<Observed<T>>>,
    }
}

/// The newest snapshot, and the time within which the next one is expected.
struct Observed<T> {
    snapshot: Arc<Snapshot<T>>,
    came: Instant,
    /// The time between the previous snapshot and this one; `None` for the first.
    after: Option<Duration>,
}

/// A snapshot counts as the newest for this many periods of its stream,
const PERIODS: u32 = 3;

/// and for at least this time, since the task of the stream may be scheduled late.
const LEAST: Duration = Duration::from_secs(1);

impl<S, T> Observe<S, T> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, newest: watch::Sender::new(None) }
    }

    /// Returns a handle on the newest snapshot.
    pub fn latest(&self) -> Latest<T> {
        Latest { newest: self.newest.subscribe(), keep: None }
    }

    /// Returns a reference to the inner stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the inner stream. Handles keep the last snapshot for the time set by [`keep_for`](Latest::keep_for).
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Observe<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observe").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<S, T> Stream for Observe<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Clone,
{
    type Item = Result<Snapshot<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let item = ready!(this.stream.poll_next(cx));
        if let Some(Ok(snapshot)) = &item {
            let (snapshot, came) = (Arc::new(snapshot.clone()), Instant::now());
            this.newest.send_modify(|newest| {
                let after = newest.as_ref().map(|before| came.saturating_duration_since(before.came));
                *newest = Some(Observed { snapshot, came, after });
            });
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, T> FusedStream for Observe<S, T>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: Clone,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

/// A handle on the newest snapshot of a stream, from [`Observe::latest`].
///
/// It is cheap to clone, and can be used on any thread. A returned snapshot is shared by an [`Arc`]: reading it holds no lock and does
/// not block the stream.
pub struct Latest<T> {
    newest: watch::Receiver<Option<Observed<T>>>,
    keep: Option<Duration>,
}

impl<T> Latest<T> {
    /// Sets how long a snapshot counts as the newest. Default: three times the time between the last two snapshots, and at least a
    /// second; the first snapshot, until its stream ends.
    #[must_use]
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep = Some(time);
        self
    }

    /// Returns the newest snapshot. `None` before the first one, and when it is older than [`keep_for`](Self::keep_for) allows, so that
    /// old numbers are not taken for new ones.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Snapshot<T>>> {
        let newest = self.newest.borrow();
        let observed = newest.as_ref()?;
        let keep = self.keep.or_else(|| Some(observed.after?.saturating_mul(PERIODS).max(LEAST)));
        let is_fresh = match keep {
            Some(keep) => observed.came.elapsed() <= keep,
            None => self.newest.has_changed().is_ok(),
        };
        is_fresh.then(|| Arc::clone(&observed.snapshot))
    }

    /// Returns the age of the newest snapshot, even if it is too old for [`get`](Self::get).
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.newest.borrow().as_ref().map(|observed| observed.came.elapsed())
    }

    /// Waits for the first snapshot, and returns the newest one. `None` when the stream ended or was dropped before there was one.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe: it only waits.
    pub async fn ready(&self) -> Option<Arc<Snapshot<T>>> {
        let mut newest = self.newest.clone();
        let newest = newest.wait_for(Option::is_some).await.ok()?;
        newest.as_ref().map(|observed| Arc::clone(&observed.snapshot))
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self { newest: self.newest.clone(), keep: self.keep }
    }
}

impl<T> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").field("age", &self.age()).field("keep", &self.keep).finish_non_exhaustive()
    }
}
