//! `changes`: the subjects that appeared, changed their identity or are gone.

use std::cmp::Ordering;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use serde::{Deserialize, Serialize};

use super::hosts::PerHost;
use crate::{Result, Sample, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::changes`](crate::SnapshotStreamExt::changes).
    #[must_use = "streams do nothing unless polled"]
    pub struct Changes<S, T> {
        #[pin]
        stream: S,
        hosts: PerHost<Vec<T>>,
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Changes<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hosts, last) = self.hosts.known();
        f.debug_struct("Changes")
            .field("stream", &self.stream)
            .field("hosts", &hosts)
            .field("kept", &last.len())
            .finish_non_exhaustive()
    }
}

impl<S, T> Changes<S, T> {
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

/// A change of one subject between two ticks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Change<T> {
    /// It was not in the last snapshot.
    Appeared(T),
    /// It has changed its identity: a process that replaced its program by `execve(2)`, or its user.
    Changed {
        /// The sample of the last tick.
        before: T,
        /// The sample of this tick.
        after: T,
    },
    /// It is gone, or no longer selected. The sample is that of the last tick.
    Gone(T),
}

/// In the wire form its kind is `change`, for every kind of sample; its line has the field `appeared`, `changed` or `gone`.
impl<T: Sample> Sample for Change<T> {
    const KIND: &'static str = "change";
    const IS_EVENT: bool = true;
    type Key = T::Key;

    fn key(&self) -> T::Key {
        match self {
            Self::Appeared(sample) | Self::Gone(sample) | Self::Changed { after: sample, .. } => sample.key(),
        }
    }
}

impl<S, T> Stream for Changes<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Clone,
{
    type Item = Result<Snapshot<Change<T>>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(item.map(|snapshot| {
            let of = this.hosts.of(&snapshot);
            snapshot.with_samples(|mut samples| {
                if !samples.is_sorted_by(|a, b| a.key() <= b.key()) {
                    samples.sort_by_key(Sample::key);
                }
                // All subjects from before the host booted again are gone. New ones may have the same keys.
                let mut changes: Vec<_> = of.before_boot.into_iter().flatten().map(Change::Gone).collect();
                let before = std::mem::replace(of.state, samples);
                compare(before, of.state, &mut changes);
                changes
            })
        })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, T> FusedStream for Changes<S, T>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: Sample + Clone,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

/// Compares two lists sorted by their keys.
fn compare<T: Sample + Clone>(before: Vec<T>, after: &[T], changes: &mut Vec<Change<T>>) {
    let mut before = before.into_iter().peekable();
    let mut after = after.iter().peekable();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(old), Some(new)) => old.key().cmp(&new.key()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        match order {
            Ordering::Less => changes.extend(before.next().map(Change::Gone)),
            Ordering::Greater => changes.extend(after.next().cloned().map(Change::Appeared)),
            Ordering::Equal => {
                if let (Some(old), Some(new)) = (before.next(), after.next())
                    && new.is_changed(&old)
                {
                    changes.push(Change::Changed { before: old, after: new.clone() });
                }
            }
        }
    }
}
