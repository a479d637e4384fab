//! `alert`: the state changes of a rule for each subject.

mod edge;
mod parse;
mod rule;
mod track;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use self::track::Tracked;
use super::hosts::PerHost;
use crate::measured::Measured;
use crate::{Result, Sample, Snapshot};

pub use self::edge::{AlertEdge, AlertState, ResolvedBecause};
pub use self::rule::Alert;

pin_project! {
    /// The stream of [`SnapshotStreamExt::alert`](crate::SnapshotStreamExt::alert).
    #[must_use = "streams do nothing unless polled"]
    pub struct Alerts<S, T: Sample> {
        #[pin]
        stream: S,
        rule: Alert<T>,
        hosts: PerHost<Tracked<T>>,
        late: u64,
    }
}

impl<S, T: Sample> Alerts<S, T> {
    pub(super) fn new(stream: S, rule: Alert<T>) -> Self {
        Self { stream, rule, hosts: PerHost::new(), late: 0 }
    }

    /// Returns the number of snapshots ignored because a later one of the same host came before them.
    pub fn late(&self) -> u64 {
        self.late
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

impl<S: fmt::Debug, T: Sample> fmt::Debug for Alerts<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, tracked) = self.hosts.known();
        f.debug_struct("Alerts")
            .field("stream", &self.stream)
            .field("rule", &self.rule)
            .field("hosts", &hosts)
            .field("active", &tracked.len())
            .finish_non_exhaustive()
    }
}

impl<S, T> Stream for Alerts<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Measured,
{
    type Item = Result<Snapshot<AlertEdge>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(item.map(|snapshot| {
            let of = this.hosts.of(&snapshot);
            let at = snapshot.at;
            snapshot.with_samples(|samples| {
                let mut edges = Vec::new();
                if let Some(before) = of.before_boot {
                    before.end(this.rule, &mut edges);
                }
                if !of.state.update(this.rule, at, &samples, &mut edges) {
                    *this.late = this.late.saturating_add(1);
                }
                edges.sort_by_key(|edge: &AlertEdge| edge.key());
                edges
            })
        })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, T> FusedStream for Alerts<S, T>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: Sample + Measured,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}
