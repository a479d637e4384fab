//! A recording as a stream, as fast as it can be read or at a speed of its own.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep};

use super::Recording;
use crate::sampler::Hop;
use crate::{BootId, Cancel, Error, Monotonic, Result, Sample, Snapshot, Timestamp};

/// The number of snapshots that are decoded ahead.
const AHEAD: usize = 16;

/// The stream of a [`Recording`]. It ends with the recording.
///
/// # Cancel safety
///
/// It is cancel safe. When it is dropped, the reading in progress stops within a snapshot.
///
/// # Panics
///
/// When it is polled outside of a tokio runtime, with the time driver if there is a [`speed`](Self::speed).
#[must_use = "streams do nothing unless polled"]
pub struct Replay<T> {
    recording: Option<Recording<T>>,
    hop: Option<Hop<Batch<T>>>,
    ready: VecDeque<Result<Snapshot<T>>>,
    pace: Option<Pace>,
    cancel: Cancel,
    is_invalid: bool,
}

type Batch<T> = (Recording<T>, VecDeque<Result<Snapshot<T>>>);

impl<T: Sample + DeserializeOwned> Recording<T> {
    /// Makes it a stream, which reads on tokio's pool of blocking threads.
    pub fn stream(self) -> Replay<T> {
        Replay {
            recording: Some(self),
            hop: None,
            ready: VecDeque::new(),
            pace: None,
            cancel: Cancel::new(),
            is_invalid: false,
        }
    }
}

impl<T> Replay<T> {
    /// Sets how fast its time goes: 1 is as it was recorded, 60 a minute in a second. The time in which nothing was recorded passes too.
    /// Default: as fast as it can be read.
    ///
    /// # Errors
    ///
    /// The stream yields one error ([`is_config`](Error::is_config)) and ends if `speed` is not a finite number above 0.
    pub fn speed(mut self, speed: f64) -> Self {
        self.is_invalid = !(speed.is_finite() && speed > 0.0);
        self.pace = Some(Pace { speed, last: None, sleep: None, due: None, passed: Duration::ZERO, is_waiting: false });
        self
    }
}

/// When each snapshot is due.
struct Pace {
    speed: f64,
    last: Option<Stamp>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the first snapshot was due.
    due: Option<Instant>,
    /// The recorded time since the first snapshot.
    passed: Duration,
    is_waiting: bool,
}

/// The place of a snapshot in time.
type Stamp = (Option<Arc<str>>, BootId, Monotonic, Timestamp);

impl Pace {
    /// Ready when this snapshot is due.
    fn poll<T>(&mut self, snapshot: &Snapshot<T>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_waiting {
            let now = (snapshot.host.clone(), snapshot.boot_id, snapshot.at, snapshot.time);
            if let Some(last) = &self.last {
                let is_same = (&last.0, last.1) == (&now.0, now.1);
                // The wall clock is for times of which there is no other.
                let wall = now.3.as_unix_nanos().saturating_sub(last.3.as_unix_nanos());
                let step = if is_same { now.2.since(last.2).unwrap_or_default() } else { Duration::from_nanos(wall) };
                self.passed = self.passed.saturating_add(step);
            }
            self.last = Some(now);
            let begin = *self.due.get_or_insert_with(Instant::now);
            let wait = Duration::try_from_secs_f64(self.passed.as_secs_f64() / self.speed).unwrap_or(Duration::MAX);
            // A time that the clock cannot count to never comes.
            let Some(due) = begin.checked_add(wait) else { return Poll::Pending };
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(due),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(due))),
            }
            self.is_waiting = true;
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        self.is_waiting = false;
        Poll::Ready(())
    }
}

impl<T> Stream for Replay<T>
where
    T: Sample + DeserializeOwned + Send + 'static,
{
    type Item = Result<Snapshot<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.is_invalid) {
            this.recording = None;
            let why = "the speed of a recording must be a finite number above zero";
            return Poll::Ready(Some(Err(Error::config(why))));
        }
        loop {
            if let Some(hop) = &mut this.hop {
                let result = ready!(Pin::new(hop).poll(cx));
                this.hop = None;
                match result {
                    // Nothing came: that was the end.
                    Ok((_, ready)) if ready.is_empty() => {}
                    Ok((recording, ready)) => (this.recording, this.ready) = (Some(recording), ready),
                    Err(lost) => return Poll::Ready(Some(Err(lost))),
                }
            }
            if let Some(next) = this.ready.front() {
                if let (Some(pace), Ok(snapshot)) = (&mut this.pace, next) {
                    ready!(pace.poll(snapshot, cx));
                }
                return Poll::Ready(this.ready.pop_front());
            }
            let Some(mut recording) = this.recording.take() else { return Poll::Ready(None) };
            let cancel = this.cancel.clone();
            this.hop = Some(Hop::start(move || {
                let ready = recording.by_ref().take_while(|_| !cancel.is_cancelled()).take(AHEAD).collect();
                (recording, ready)
            }));
        }
    }
}

impl<T> FusedStream for Replay<T>
where
    T: Sample + DeserializeOwned + Send + 'static,
{
    fn is_terminated(&self) -> bool {
        self.recording.is_none() && self.hop.is_none() && self.ready.is_empty() && !self.is_invalid
    }
}

// The snapshots are moved about, never pinned.
impl<T> Unpin for Replay<T> {}

impl<T> Drop for Replay<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl<T> fmt::Debug for Replay<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("recording", &self.recording).finish_non_exhaustive()
    }
}
