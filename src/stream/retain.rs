//! `retain`: the samples of each snapshot that meet a condition.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use crate::{Lives, Result, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::retain`](crate::SnapshotStreamExt::retain).
    #[must_use = "streams do nothing unless polled"]
    pub struct Retain<S, F> {
        #[pin]
        stream: S,
        keep: F,
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Retain<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retain").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<S, F> Retain<S, F> {
    pub(super) fn new(stream: S, keep: F) -> Self {
        Self { stream, keep }
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

impl<S, F, T> Stream for Retain<S, F>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    F: FnMut(&T) -> bool,
{
    type Item = Result<Snapshot<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let mut item = ready!(this.stream.poll_next(cx));
        if let Some(Ok(snapshot)) = &mut item {
            let before = snapshot.samples.len();
            snapshot.samples.retain(this.keep);
            if snapshot.samples.len() < before {
                // Of which it is not known: samples are of any kind.
                Lives::leave_out(&mut snapshot.lives, |_| true);
            }
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, F, T> FusedStream for Retain<S, F>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    F: FnMut(&T) -> bool,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}
