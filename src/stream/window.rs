//! `window`: each number over a span of time.

mod gather;
mod sample;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use self::gather::{Gathered, Plan};
use super::hosts::PerHost;
use crate::measured::{FieldTable, Measured};
use crate::{Error, Result, Sample, Snapshot};

pub use self::sample::{FieldWindow, Quantile, WindowSample};

pin_project! {
    /// The stream of [`SnapshotStreamExt::window`](crate::SnapshotStreamExt::window), and its settings.
    #[must_use = "streams do nothing unless polled"]
    pub struct Windows<S, T: Sample> {
        #[pin]
        stream: S,
        plan: Plan<T>,
        hosts: PerHost<Gathered<T>>,
        wrong: Option<Error>,
        ready: VecDeque<Snapshot<WindowSample>>,
        state: State,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What is left is given out.
    Ending,
    Done,
}

impl<S, T: Sample + Measured> Windows<S, T> {
    pub(super) fn new(stream: S, length: Duration) -> Self {
        let zero = || Error::config("a window of zero holds nothing");
        Self {
            stream,
            plan: Plan {
                length,
                sliding: false,
                fields: FieldTable::new().iter().cloned().collect(),
                quantiles: Vec::new(),
            },
            hosts: PerHost::new(),
            wrong: length.is_zero().then(zero),
            ready: VecDeque::new(),
            state: State::Open,
        }
    }

    /// Only these fields, by path or alias. Default: all of the [field table](FieldTable), which costs memory and time for each.
    ///
    /// # Errors
    ///
    /// With a field that does not exist the stream yields one error ([`Error::is_config`]), with the nearest one, and ends.
    pub fn fields<'a>(mut self, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let table = FieldTable::new();
        let found: Result<Vec<_>> = fields.into_iter().map(|name| table.find(name).cloned()).collect();
        match found {
            Ok(fields) => self.plan.fields = fields,
            Err(error) => self.wrong = self.wrong.or(Some(error)),
        }
        self
    }

    /// These quantiles of each gauge: 0.5 is the median, 0.99 what 99 of 100 values do not exceed. Default: none.
    ///
    /// They are those of values that occurred, exact for up to 256 values in a window, and within 1 % of them for more.
    ///
    /// # Errors
    ///
    /// With one that is not from 0 to 1 the stream yields one error ([`Error::is_config`]) and ends.
    pub fn quantiles(mut self, quantiles: impl IntoIterator<Item = f64>) -> Self {
        self.plan.quantiles = quantiles.into_iter().collect();
        if let Some(wrong) = self.plan.quantiles.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
            let error = Error::config(format!("a quantile is from 0 to 1, not {wrong}"));
            self.wrong = self.wrong.or(Some(error));
        }
        self
    }

    /// One window at each tick, back from it; all its values are kept, and its quantiles are exact. Default: one window after the
    /// other, which begin at multiples of their length by the wall clock.
    pub fn sliding(mut self) -> Self {
        self.plan.sliding = true;
        self
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream inside. What was gathered of the windows that are open is lost.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: fmt::Debug, T: Sample> fmt::Debug for Windows<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows")
            .field("stream", &self.stream)
            .field("length", &self.plan.length)
            .field("sliding", &self.plan.sliding)
            .field("hosts", &self.hosts.known().0)
            .finish_non_exhaustive()
    }
}

impl<S, T> Stream for Windows<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Measured,
{
    type Item = Result<Snapshot<WindowSample>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if let Some(error) = this.wrong.take() {
            *this.state = State::Done;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(window) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(window)));
            }
            match this.state {
                State::Done => return Poll::Ready(None),
                State::Ending => {
                    // Of the other hosts of a fleet, too: each is given out by its own snapshot.
                    let Some(left) = this.hosts.take_one() else {
                        *this.state = State::Done;
                        continue;
                    };
                    this.ready.extend(left.end(this.plan));
                }
                State::Open => match ready!(this.stream.as_mut().poll_next(cx)) {
                    None => *this.state = State::Ending,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(snapshot)) => {
                        let of = this.hosts.of(&snapshot);
                        // Whatever was open when the host started anew is as complete as it will be.
                        this.ready.extend(of.before_boot.and_then(|before| before.end(this.plan)));
                        this.ready.extend(of.state.add(this.plan, &snapshot));
                    }
                },
            }
        }
    }
}

impl<S, T> FusedStream for Windows<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Measured,
{
    fn is_terminated(&self) -> bool {
        self.state == State::Done
    }
}
