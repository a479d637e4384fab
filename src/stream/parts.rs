//! `parts`: each part of each sample as a sample of its own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use crate::fs::HasParts;
use crate::{Result, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::parts`](crate::SnapshotStreamExt::parts).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Parts<S> {
        #[pin]
        stream: S,
    }
}

impl<S> Parts<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream }
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

impl<S, T> Stream for Parts<S>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: HasParts,
{
    type Item = Result<Snapshot<T::Part>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.project().stream.poll_next(cx));
        Poll::Ready(item.map(|item| {
            item.map(|snapshot| {
                snapshot.with_samples(|samples| samples.into_iter().flat_map(HasParts::into_parts).collect())
            })
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, T> FusedStream for Parts<S>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: HasParts,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}
