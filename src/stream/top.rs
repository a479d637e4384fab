//! `top`: the samples with the largest values.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::group_by::{GroupKey, GroupSample};
use super::hosts::PerHost;
use crate::{Rated, Result, Sample, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::top`](crate::SnapshotStreamExt::top).
    #[must_use = "streams do nothing unless polled"]
    pub struct Top<S, F, T: Sample> {
        #[pin]
        stream: S,
        by: F,
        n: usize,
        hysteresis: f64,
        rest: Option<MakeRest<T>>,
        // What was at the top of the last snapshot.
        hosts: PerHost<HashSet<T::Key>>,
    }
}

/// How the rest is made, where it was asked for.
struct MakeRest<T> {
    is_rest: fn(&T) -> bool,
    rest: fn(Vec<T>) -> Option<T>,
}

/// A sample that can stand for several: what is not at the [`top`](crate::SnapshotStreamExt::top) as one.
pub trait Rest: Sized {
    /// Whether this one stands for several already. It is never at the top, and part of the rest.
    fn is_rest(&self) -> bool;

    /// Makes one of several; `None` where there are none.
    fn rest(samples: Vec<Self>) -> Option<Self>;
}

impl<S: fmt::Debug, F, T: Sample> fmt::Debug for Top<S, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Top").field("stream", &self.stream).field("n", &self.n).finish_non_exhaustive()
    }
}

impl<S, F, T: Sample> Top<S, F, T> {
    pub(super) fn new(stream: S, n: usize, by: F) -> Self {
        Self { stream, by, n, hysteresis: 0.1, rest: None, hosts: PerHost::new() }
    }

    /// By how much of its value one that is not at the top must be larger than one that is, to take its place. Default: 0.1, a tenth.
    /// 0 selects those that are the largest at each tick. Anything below 0, and what is no number, counts as 0.
    pub fn hysteresis(mut self, share: f64) -> Self {
        self.hysteresis = share.max(0.0);
        self
    }

    /// Adds what is not at the top as one sample, the last: for groups the group [`Other`](GroupKey::Other), with the sums and rates of
    /// all others. Which those are changes, so its totals can fall; its rates are right, where `top` comes after
    /// [`rates`](crate::SnapshotStreamExt::rates). Default: they are left out.
    pub fn with_rest(mut self) -> Self
    where
        T: Rest,
    {
        self.rest = Some(MakeRest { is_rest: T::is_rest, rest: T::rest });
        self
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

impl<S, F, T> Stream for Top<S, F, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    F: FnMut(&T) -> f64,
    T: Sample,
{
    type Item = Result<Snapshot<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(item.map(|snapshot| {
            let last = this.hosts.of(&snapshot).state;
            snapshot.with_samples(|samples| {
                let (mut top, mut rest) = (Vec::with_capacity(samples.len()), Vec::new());
                for sample in samples {
                    if this.rest.as_ref().is_some_and(|make| (make.is_rest)(&sample)) {
                        rest.push(sample);
                        continue;
                    }
                    let value = Some((this.by)(&sample)).filter(|value| !value.is_nan()).unwrap_or(f64::NEG_INFINITY);
                    let held =
                        if last.contains(&sample.key()) { value.abs().min(f64::MAX) * *this.hysteresis } else { 0.0 };
                    top.push((value, value + held, sample));
                }
                // The sorts are stable: among equals the order of the keys holds.
                top.sort_by(|(_, a, _), (_, b, _)| b.total_cmp(a));
                rest.extend(top.split_off(top.len().min(*this.n)).into_iter().map(|(_, _, sample)| sample));
                top.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
                let mut top: Vec<T> = top.into_iter().map(|(_, _, sample)| sample).collect();
                last.clear();
                last.extend(top.iter().map(Sample::key));
                top.extend(this.rest.as_ref().and_then(|make| (make.rest)(rest)));
                top
            })
        })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, F, T> FusedStream for Top<S, F, T>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    F: FnMut(&T) -> f64,
    T: Sample,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

impl<K> Rest for GroupSample<K> {
    fn is_rest(&self) -> bool {
        matches!(self.key, GroupKey::Other)
    }

    fn rest(samples: Vec<Self>) -> Option<Self> {
        let mut samples = samples.into_iter();
        let mut rest = samples.next()?;
        rest.key = GroupKey::Other;
        samples.for_each(|sample| rest.add(&sample));
        Some(rest)
    }
}

impl<K: Ord + Hash + Clone + fmt::Display + 'static> Rest for Rated<GroupSample<K>> {
    fn is_rest(&self) -> bool {
        self.sample.is_rest()
    }

    fn rest(samples: Vec<Self>) -> Option<Self> {
        let mut samples = samples.into_iter();
        let mut rest = samples.next()?;
        rest.sample.key = GroupKey::Other;
        for more in samples {
            rest.sample.add(&more.sample);
            match (&mut rest.rates, more.rates) {
                (Some(rates), Some(more)) => rates.add(&more),
                (rates @ None, more) => *rates = more,
                _ => {}
            }
        }
        Some(rest)
    }
}
