//! The futures that pass the snapshots of a stream to forwarders.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project_lite::pin_project;
use serde::Serialize;

use crate::forward::forward_task::ForwardTask;
use crate::forward::forwarder::Forwarder;
use crate::forward::publish::Publish;
use crate::forward::report::Report;
use crate::{Error, Result, Sample, Snapshot};

pin_project! {
    /// The future of [`ForwardExt::forward_to`](crate::ForwardExt::forward_to).
    #[must_use = "futures do nothing unless polled"]
    pub struct ForwardTo<S, P> {
        #[pin]
        stream: S,
        task: ForwardTask<P>,
        failed: Option<Error>,
    }
}

impl<S: fmt::Debug, P> fmt::Debug for ForwardTo<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardTo").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<S, P: Publish + 'static> ForwardTo<S, P> {
    pub(crate) fn new(stream: S, forwarder: Forwarder<P>) -> Self {
        Self { stream, task: ForwardTask::new(forwarder), failed: None }
    }
}

impl<S, T, P> Future for ForwardTo<S, P>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Serialize,
    P: Publish + 'static,
{
    type Output = Result<Report>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Poll::Ready(result) = this.task.poll(cx) {
                return Poll::Ready(this.failed.take().map_or(result, Err));
            }
            if !this.task.has_room() {
                return Poll::Pending;
            }
            match this.stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(snapshot))) => this.task.push(&snapshot),
                Poll::Ready(Some(Err(error))) => {
                    this.task.failed_tick();
                    if let Some(error) = log_unless_final(error) {
                        *this.failed = Some(error);
                        this.task.end();
                    }
                }
                Poll::Ready(None) => this.task.end(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Returns the error if it ends the stream for good, and otherwise logs it.
pub(super) fn log_unless_final(error: Error) -> Option<Error> {
    if error.is_config() || error.is_panic() || error.is_runtime_gone() {
        return Some(error);
    }
    tracing::warn!(%error, "a tick failed");
    None
}

/// Several forwarders for one stream; see [`ForwardExt::forward_to_all`](crate::ForwardExt::forward_to_all).
///
/// They can have different brokers and settings.
#[must_use = "forwarders do nothing until a stream is forwarded to them"]
pub struct Forwarders<T> {
    tasks: Vec<Box<dyn AnyForwardTask<T>>>,
}

impl<T> fmt::Debug for Forwarders<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarders").field("count", &self.tasks.len()).finish()
    }
}

impl<T> Default for Forwarders<T> {
    fn default() -> Self {
        Self { tasks: Vec::new() }
    }
}

impl<T: Sample + Serialize> Forwarders<T> {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a forwarder.
    pub fn with<P: Publish + 'static>(mut self, forwarder: Forwarder<P>) -> Self {
        self.tasks.push(Box::new(ForwardTask::new(forwarder)));
        self
    }
}

/// A [`ForwardTask`] for any broker.
trait AnyForwardTask<T>: Send {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Report>>;
    fn is_opening(&self) -> bool;
    fn has_room(&self) -> bool;
    fn push(&mut self, snapshot: &Snapshot<T>);
    fn failed_tick(&mut self);
    fn end(&mut self);
}

impl<T: Sample + Serialize, P: Publish + 'static> AnyForwardTask<T> for ForwardTask<P> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Report>> {
        self.poll(cx)
    }

    fn is_opening(&self) -> bool {
        self.is_opening()
    }

    fn has_room(&self) -> bool {
        self.has_room()
    }

    fn push(&mut self, snapshot: &Snapshot<T>) {
        self.push(snapshot);
    }

    fn failed_tick(&mut self) {
        self.failed_tick();
    }

    fn end(&mut self) {
        self.end();
    }
}

pin_project! {
    /// The future of [`ForwardExt::forward_to_all`](crate::ForwardExt::forward_to_all).
    #[must_use = "futures do nothing unless polled"]
    pub struct ForwardToAll<S, T> {
        #[pin]
        stream: S,
        tasks: Vec<Box<dyn AnyForwardTask<T>>>,
        reports: Vec<Option<Report>>,
        failed: Option<Error>,
    }
}

impl<S: fmt::Debug, T> fmt::Debug for ForwardToAll<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardToAll")
            .field("stream", &self.stream)
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

impl<S, T> ForwardToAll<S, T> {
    pub(crate) fn new(stream: S, forwarders: Forwarders<T>) -> Self {
        let reports = vec![None; forwarders.tasks.len()];
        Self { stream, tasks: forwarders.tasks, reports, failed: None }
    }
}

impl<S, T> Future for ForwardToAll<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Serialize,
{
    type Output = Result<Vec<Report>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            for (task, report) in this.tasks.iter_mut().zip(this.reports.iter_mut()) {
                if report.is_none()
                    && let Poll::Ready(result) = task.poll(cx)
                {
                    // A forwarder that could not start ends no other.
                    *report = Some(result.unwrap_or_else(|error| {
                        tracing::error!(%error, "a forwarder could not start");
                        this.failed.get_or_insert(error);
                        Report::default()
                    }));
                }
            }
            if this.reports.iter().all(Option::is_some) {
                let reports = this.reports.iter_mut().filter_map(Option::take).collect();
                return Poll::Ready(this.failed.take().map_or(Ok(reports), Err));
            }
            // No snapshot is taken before all are open, so that none misses the first; after that, one with room is enough.
            if this.tasks.iter().any(|task| task.is_opening()) || !this.tasks.iter().any(|task| task.has_room()) {
                return Poll::Pending;
            }
            let next = this.stream.as_mut().poll_next(cx);
            let Poll::Ready(next) = next else { return Poll::Pending };
            for task in this.tasks.iter_mut() {
                match &next {
                    Some(Ok(snapshot)) => task.push(snapshot),
                    Some(Err(_)) => task.failed_tick(),
                    None => task.end(),
                }
            }
            if let Some(Err(error)) = next
                && let Some(error) = log_unless_final(error)
            {
                *this.failed = Some(error);
                this.tasks.iter_mut().for_each(|task| task.end());
            }
        }
    }
}
