//! A forwarder as a `futures::Sink`.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Sink;
use serde::Serialize;

use crate::forward::deadline::from_now;
use crate::forward::delivery::Delivery;
use crate::forward::forward_task::Opening;
use crate::forward::forwarder::Forwarder;
use crate::forward::publish::Publish;
use crate::forward::report::Report;
use crate::forward::status::Monitor;
use crate::{Error, Result, Sample, Snapshot};

/// A `futures::Sink` of snapshots over a [`Forwarder`].
///
/// It is ready while there is room for another snapshot. Flushing completes when each message was accepted, refused for good or
/// dropped by the [`Overflow`](crate::forward::Overflow) setting; during an outage of the broker that can take for ever, so use a
/// timeout. Closing flushes for at most [`Forwarder::deadline`]. The [`monitor`](Self::monitor) has the report: wrong settings are
/// errors of the sink, an outage is not.
///
/// `StreamExt::forward` ends at the first tick that failed; [`forward_to`](crate::ForwardExt::forward_to) continues.
#[must_use = "sinks do nothing unless polled"]
pub struct ForwardSink<T, P> {
    phase: Phase<P>,
    deadline: Duration,
    monitor: Monitor,
    // The sink accepts snapshots of T and owns none.
    samples: PhantomData<fn(T)>,
}

// The pinned futures in it are boxed.
impl<T, P> Unpin for ForwardSink<T, P> {}

enum Phase<P> {
    Opening(Opening<P>),
    Open(Box<Delivery<P>>),
    Closing(Pin<Box<dyn Future<Output = Report> + Send>>),
    Closed,
}

impl<T, P> fmt::Debug for ForwardSink<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardSink").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}

impl<P: Publish + 'static> Forwarder<P> {
    /// Returns a `futures::Sink` of snapshots, for `StreamExt::forward` and similar methods.
    ///
    /// # Errors
    ///
    /// The sink returns [`Error::is_config`] at its first use when a setting is wrong.
    pub fn into_sink<T: Sample + Serialize>(self) -> ForwardSink<T, P> {
        ForwardSink::new(self)
    }
}

impl<T, P: Publish + 'static> ForwardSink<T, P> {
    pub(super) fn new(forwarder: Forwarder<P>) -> Self {
        Self {
            deadline: forwarder.deadline_of_end(),
            monitor: forwarder.monitor(),
            phase: Phase::Opening(Box::pin(forwarder.open())),
            samples: PhantomData,
        }
    }

    /// Returns a handle on the status.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut Delivery<P>>> {
        if let Phase::Opening(open) = &mut self.phase {
            match ready!(open.as_mut().poll(cx)) {
                Ok(delivery) => self.phase = Phase::Open(delivery),
                Err(error) => {
                    self.phase = Phase::Closed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match &mut self.phase {
            Phase::Open(delivery) => Poll::Ready(Ok(delivery)),
            _ => Poll::Ready(Err(Error::config("the sink is closed"))),
        }
    }
}

impl<T: Sample + Serialize, P: Publish + 'static> Sink<Snapshot<T>> for ForwardSink<T, P> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let delivery = ready!(self.get_mut().poll_open(cx))?;
        // Settled messages make room. Without room a batch is being published, and its completion wakes the task.
        let _ = delivery.poll(cx);
        if delivery.has_room() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn start_send(self: Pin<&mut Self>, snapshot: Snapshot<T>) -> Result<()> {
        match &mut self.get_mut().phase {
            Phase::Open(delivery) => {
                delivery.push(&snapshot);
                Ok(())
            }
            _ => Err(Error::config("the sink is not ready")),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let delivery = ready!(self.get_mut().poll_open(cx))?;
        delivery.poll(cx).map(Ok)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.phase {
                Phase::Opening(_) => {
                    ready!(this.poll_open(cx))?;
                }
                Phase::Open(_) => {
                    let Phase::Open(delivery) = std::mem::replace(&mut this.phase, Phase::Closed) else { continue };
                    this.phase = Phase::Closing(Box::pin(drain(delivery, this.deadline)));
                }
                Phase::Closing(close) => {
                    ready!(close.as_mut().poll(cx));
                    this.phase = Phase::Closed;
                }
                Phase::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Sends the waiting messages, for at most `time`, and ends.
async fn drain<P: Publish + 'static>(mut delivery: Box<Delivery<P>>, time: Duration) -> Report {
    delivery.close();
    let until = from_now(time);
    let settled = std::future::poll_fn(|cx| delivery.poll(cx));
    let _ = tokio::time::timeout_at(until, settled).await;
    delivery.end(until).await
}
