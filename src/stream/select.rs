//! `select`: the selected processes of each snapshot.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use crate::{ProcessSample, Result, Select, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::select`](crate::SnapshotStreamExt::select).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Selected<S> {
        #[pin]
        stream: S,
        select: Select,
    }
}

impl<S> Selected<S> {
    pub(super) fn new(stream: S, select: Select) -> Self {
        Self { stream, select }
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

impl<S, T> Stream for Selected<S>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: AsRef<ProcessSample>,
{
    type Item = Result<Snapshot<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(item.and_then(|mut snapshot| this.select.apply(&mut snapshot).map(|()| snapshot))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, T> FusedStream for Selected<S>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: AsRef<ProcessSample>,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}
