//! The life of a forwarder, from its settings to its report.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::forward::delivery::Delivery;
use crate::forward::{Forwarder, Publish, Report};
use crate::time::from_now;
use crate::{Result, Sample, Snapshot};

pub(super) struct ForwardTask<P> {
    phase: Phase<P>,
    token: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
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
    Done,
}

impl<P: Publish + 'static> ForwardTask<P> {
    pub(super) fn new(forwarder: Forwarder<P>) -> Self {
        let (token, deadline) = forwarder.ends();
        Self {
            phase: Phase::Opening(Box::pin(forwarder.open())),
            token: token.map(|token| Box::pin(CancellationToken::cancelled_owned(token))),
            deadline,
        }
    }

    /// Goes on with it; ready when it ended, with what became of everything.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Report>> {
        loop {
            match &mut self.phase {
                Phase::Opening(open) => {
                    // A spool on a disk that hangs opens never; nothing was taken yet.
                    if self.token.as_mut().is_some_and(|token| token.as_mut().poll(cx).is_ready()) {
                        self.phase = Phase::Done;
                        return Poll::Ready(Ok(Report::default()));
                    }
                    match ready!(open.as_mut().poll(cx)) {
                        Ok(drive) => self.phase = Phase::Running(drive),
                        Err(error) => {
                            self.phase = Phase::Done;
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
                    let Phase::Draining(drive, _) = std::mem::replace(&mut self.phase, Phase::Done) else { continue };
                    self.phase = Phase::Closing(Box::pin(drive.end(until)));
                }
                Phase::Closing(close) => {
                    let report = ready!(close.as_mut().poll(cx));
                    self.phase = Phase::Done;
                    return Poll::Ready(Ok(report));
                }
                // Polled after its end.
                Phase::Done => return Poll::Pending,
            }
        }
    }

    /// No more comes: what waits has until the deadline.
    pub(super) fn end(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Running(mut drive) => {
                self.token = None;
                drive.close();
                self.phase = Phase::Draining(drive, Box::pin(tokio::time::sleep_until(from_now(self.deadline))));
            }
            other => self.phase = other,
        }
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
