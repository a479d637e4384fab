//! The life of a forwarder, from its settings to its report.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::forward::deadline::from_now;
use crate::forward::delivery::Delivery;
use crate::forward::forwarder::{Ends, Forwarder};
use crate::forward::publish::Publish;
use crate::forward::report::Report;
use crate::{Error, Result, Sample, Snapshot};

pub(super) struct ForwardTask<P> {
    phase: Phase<P>,
    token: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    abort: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    deadline: Duration,
}

/// The settings are checked, the spool is opened.
pub(super) type Opening<P> = Pin<Box<dyn Future<Output = Result<Box<Delivery<P>>>> + Send>>;

enum Phase<P> {
    Opening(Opening<P>),
    Running(Box<Delivery<P>>),
    /// No more comes; what waits has until then.
    Draining(Box<Delivery<P>>, Pin<Box<Sleep>>),
    Closing(Pin<Box<dyn Future<Output = Report> + Send>>),
    /// How it ended; `None` where that was an error, or while it goes from one phase to the next.
    Done(Option<Box<Report>>),
}

impl<P: Publish + 'static> ForwardTask<P> {
    pub(super) fn new(forwarder: Forwarder<P>) -> Self {
        let Ends { shutdown, abort, deadline } = forwarder.ends();
        let cancelled = |token: CancellationToken| Box::pin(token.cancelled_owned());
        Self {
            phase: Phase::Opening(Box::pin(forwarder.open())),
            token: shutdown.map(cancelled),
            abort: abort.map(cancelled),
            deadline,
        }
    }

    /// Goes on with it; ready when it ended, with what became of everything.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Report>> {
        if self.abort.as_mut().is_some_and(|abort| abort.as_mut().poll(cx).is_ready()) {
            self.abort = None;
            self.abort();
        }
        loop {
            match &mut self.phase {
                Phase::Opening(open) => {
                    // A spool on a disk that hangs opens never; nothing was taken yet.
                    if self.token.as_mut().is_some_and(|token| token.as_mut().poll(cx).is_ready()) {
                        self.phase = Phase::Done(Some(Box::default()));
                        return Poll::Ready(Ok(Report::default()));
                    }
                    match ready!(open.as_mut().poll(cx)) {
                        Ok(drive) => self.phase = Phase::Running(drive),
                        Err(error) => {
                            self.phase = Phase::Done(None);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                Phase::Running(drive) => {
                    if self.token.as_mut().is_none_or(|token| token.as_mut().poll(cx).is_pending()) {
                        let _ = drive.poll(cx);
                        return Poll::Pending;
                    }
                    self.end();
                }
                Phase::Draining(drive, deadline) => {
                    // First the deadline: what is over begins nothing more.
                    if deadline.as_mut().poll(cx).is_pending() {
                        ready!(drive.poll(cx));
                    }
                    let until = deadline.deadline();
                    let Phase::Draining(drive, _) = std::mem::replace(&mut self.phase, Phase::Done(None)) else {
                        continue;
                    };
                    self.phase = Phase::Closing(Box::pin(drive.end(until)));
                }
                Phase::Closing(close) => {
                    let report = ready!(close.as_mut().poll(cx));
                    self.phase = Phase::Done(Some(Box::new(report)));
                    return Poll::Ready(Ok(report));
                }
                // Polled after its end: nothing would wake whoever waits.
                Phase::Done(report) => {
                    return Poll::Ready(
                        report.as_deref().copied().ok_or_else(|| Error::config("this forwarder did not begin")),
                    );
                }
            }
        }
    }

    /// No more comes: what waits has until the deadline.
    pub(super) fn end(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Done(None)) {
            Phase::Running(mut drive) => {
                self.token = None;
                drive.close();
                self.phase = Phase::Draining(drive, Box::pin(tokio::time::sleep_until(from_now(self.deadline))));
            }
            other => self.phase = other,
        }
    }

    /// Nothing more is sent.
    fn abort(&mut self) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done(None)) {
            Phase::Opening(_) => Phase::Done(Some(Box::default())),
            Phase::Running(drive) | Phase::Draining(drive, _) => Phase::Closing(Box::pin(drive.end(Instant::now()))),
            other => other,
        };
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening(_))
    }

    /// Whether it takes another snapshot now.
    pub(super) fn has_room(&self) -> bool {
        matches!(&self.phase, Phase::Running(drive) if drive.has_room())
    }

    /// Takes a snapshot; one that has no room misses it, and says so in its report.
    pub(super) fn push<T: Sample + Serialize>(&mut self, snapshot: &Snapshot<T>) {
        if let Phase::Running(drive) = &mut self.phase {
            if drive.has_room() {
                drive.push(snapshot);
            } else {
                drive.missed();
            }
        }
    }

    pub(super) fn failed_tick(&mut self) {
        if let Phase::Running(drive) = &mut self.phase {
            drive.failed_tick();
        }
    }
}
