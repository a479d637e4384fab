//! The phases of a forwarder, from its settings to its report.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::forward::deadline::from_now;
use crate::forward::delivery::Delivery;
use crate::forward::encode::{Encoded, Encoder};
use crate::forward::forwarder::{Ends, Forwarder};
use crate::forward::publish::Publish;
use crate::forward::report::Report;
use crate::{Error, Result, Sample, Snapshot};

pub(super) struct ForwardTask<P> {
    phase: Phase<P>,
    shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    abort: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    deadline: Duration,
}

/// Checks the settings and opens the spool.
pub(super) type Opening<P> = Pin<Box<dyn Future<Output = Result<Box<Delivery<P>>>> + Send>>;

enum Phase<P> {
    Opening(Opening<P>),
    Running(Box<Delivery<P>>),
    /// No more snapshots are taken; the waiting messages are sent until the deadline.
    Draining(Box<Delivery<P>>, Pin<Box<Sleep>>),
    Closing(Pin<Box<dyn Future<Output = Report> + Send>>),
    /// The final report; `None` after an error, and during the change from one phase to the next.
    Done(Option<Box<Report>>),
}

impl<P: Publish + 'static> ForwardTask<P> {
    pub(super) fn new(mut forwarder: Forwarder<P>) -> Self {
        let Ends { shutdown, abort, deadline } = forwarder.take_ends();
        Self {
            phase: Phase::Opening(Box::pin(forwarder.open())),
            shutdown,
            abort: abort.map(|token| Box::pin(token.cancelled_owned())),
            deadline,
        }
    }

    /// Continues forwarding. Ready with the report when it has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Report>> {
        if self.abort.as_mut().is_some_and(|abort| abort.as_mut().poll(cx).is_ready()) {
            self.abort = None;
            self.abort();
        }
        loop {
            match &mut self.phase {
                Phase::Opening(open) => {
                    // A spool on a disk that hangs never opens. No snapshot was taken yet.
                    if self.shutdown.as_mut().is_some_and(|shutdown| shutdown.as_mut().poll(cx).is_ready()) {
                        self.phase = Phase::Done(Some(Box::default()));
                        return Poll::Ready(Ok(Report::default()));
                    }
                    match ready!(open.as_mut().poll(cx)) {
                        Ok(delivery) => self.phase = Phase::Running(delivery),
                        Err(error) => {
                            self.phase = Phase::Done(None);
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                Phase::Running(delivery) => {
                    if self.shutdown.as_mut().is_none_or(|shutdown| shutdown.as_mut().poll(cx).is_pending()) {
                        let _ = delivery.poll(cx);
                        return Poll::Pending;
                    }
                    self.end();
                }
                Phase::Draining(delivery, deadline) => {
                    // The deadline is polled first: after it no further attempt begins.
                    if deadline.as_mut().poll(cx).is_pending() {
                        ready!(delivery.poll(cx));
                    }
                    let until = deadline.deadline();
                    let Phase::Draining(delivery, _) = std::mem::replace(&mut self.phase, Phase::Done(None)) else {
                        continue;
                    };
                    self.phase = Phase::Closing(Box::pin(delivery.end(until)));
                }
                Phase::Closing(close) => {
                    let report = ready!(close.as_mut().poll(cx));
                    self.phase = Phase::Done(Some(Box::new(report)));
                    return Poll::Ready(Ok(report));
                }
                // Polled after its end: returning `Pending` would wait for ever.
                Phase::Done(report) => {
                    return Poll::Ready(
                        report
                            .as_deref()
                            .copied()
                            .ok_or_else(|| Error::config("the forwarder could not start, and was polled again")),
                    );
                }
            }
        }
    }

    /// Takes no more snapshots; the waiting messages are sent until the deadline.
    pub(super) fn end(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Done(None)) {
            Phase::Running(mut delivery) => {
                self.shutdown = None;
                delivery.close();
                self.phase = Phase::Draining(delivery, Box::pin(tokio::time::sleep_until(from_now(self.deadline))));
            }
            other => self.phase = other,
        }
    }

    /// Sends no more messages.
    fn abort(&mut self) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done(None)) {
            Phase::Opening(_) => Phase::Done(Some(Box::default())),
            Phase::Running(delivery) | Phase::Draining(delivery, _) => {
                Phase::Closing(Box::pin(delivery.end(Instant::now())))
            }
            other => other,
        };
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening(_))
    }

    /// Whether there is room for another snapshot now.
    pub(super) fn has_room(&self) -> bool {
        matches!(&self.phase, Phase::Running(delivery) if delivery.has_room())
    }

    /// Takes a snapshot, or counts it as missed where there is no room.
    pub(super) fn push<T: Sample + Serialize>(&mut self, snapshot: &Snapshot<T>) {
        self.push_with(snapshot.samples.len() as u64, |encoder| encoder.encode(snapshot));
    }

    /// The same of a snapshot with this number of samples, which `encode` encodes. Returns the number of messages made of it.
    pub(super) fn push_with(&mut self, samples: u64, encode: impl FnOnce(&mut Encoder) -> Encoded) -> u64 {
        match &mut self.phase {
            Phase::Running(delivery) if delivery.has_room() => delivery.push_with(samples, encode),
            Phase::Running(delivery) => {
                delivery.missed();
                0
            }
            _ => 0,
        }
    }

    pub(super) fn failed_tick(&mut self) {
        if let Phase::Running(delivery) = &mut self.phase {
            delivery.failed_tick();
        }
    }
}
