//! `window`: the numbers of each subject over a span of time.

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

use self::gather::{Gathered, WindowSettings};
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
        settings: WindowSettings<T>,
        hosts: PerHost<Gathered<T>>,
        config_error: Option<Error>,
        ready: VecDeque<Snapshot<WindowSample>>,
        state: State,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The stream ended, and the open windows are being yielded.
    Ending,
    Done,
}

impl<S, T: Sample + Measured> Windows<S, T> {
    pub(super) fn new(stream: S, length: Duration) -> Self {
        let zero = || Error::config("window: its length must be longer than zero");
        Self {
            stream,
            settings: WindowSettings {
                length,
                sliding: false,
                fields: FieldTable::new().iter().cloned().collect(),
                quantiles: Vec::new(),
            },
            hosts: PerHost::new(),
            config_error: length.is_zero().then(zero),
            ready: VecDeque::new(),
            state: State::Open,
        }
    }

    /// Selects the fields, by path or alias. Default: all fields of the [field table](FieldTable); each costs memory and time.
    ///
    /// # Errors
    ///
    /// For a field that does not exist the stream yields one error ([`Error::is_config`]), with the nearest name, and ends.
    pub fn fields<'a>(mut self, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let table = FieldTable::new();
        let found: Result<Vec<_>> = fields.into_iter().map(|name| table.find(name).cloned()).collect();
        match found {
            Ok(fields) => self.settings.fields = fields,
            Err(error) => self.config_error = self.config_error.or(Some(error)),
        }
        self
    }

    /// Sets the quantiles of each gauge: 0.5 is the median, 0.99 the value that 99 of 100 values do not exceed. Default: none.
    ///
    /// Each is a value that occurred for up to 256 values in a window, and within 1 % of such a value for more.
    ///
    /// # Errors
    ///
    /// For a quantile outside 0 to 1 the stream yields one error ([`Error::is_config`]) and ends.
    pub fn quantiles(mut self, quantiles: impl IntoIterator<Item = f64>) -> Self {
        self.settings.quantiles = quantiles.into_iter().collect();
        if let Some(wrong) = self.settings.quantiles.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
            let error = Error::config(format!("quantiles: {wrong} is not from 0 to 1"));
            self.config_error = self.config_error.or(Some(error));
        }
        self
    }

    /// Yields a window at each tick, which ends at that tick. All values of a window are kept, and its quantiles are exact. Default:
    /// windows that follow each other, and begin at multiples of their length by the wall clock.
    pub fn sliding(mut self) -> Self {
        self.settings.sliding = true;
        self
    }

    /// Returns a reference to the inner stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the inner stream. The open windows are lost.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: fmt::Debug, T: Sample> fmt::Debug for Windows<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows")
            .field("stream", &self.stream)
            .field("length", &self.settings.length)
            .field("sliding", &self.settings.sliding)
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
        if let Some(error) = this.config_error.take() {
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
                    // Each host of a fleet has an open window, which is a snapshot of its own.
                    let Some(left) = this.hosts.take_one() else {
                        *this.state = State::Done;
                        continue;
                    };
                    this.ready.extend(left.end(this.settings));
                }
                State::Open => match ready!(this.stream.as_mut().poll_next(cx)) {
                    None => *this.state = State::Ending,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(snapshot)) => {
                        let of = this.hosts.of(&snapshot);
                        // The window that was open when the host booted again gets no more ticks.
                        this.ready.extend(of.before_boot.and_then(|before| before.end(this.settings)));
                        this.ready.extend(of.state.add(this.settings, &snapshot));
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
