//! Brings a stream of snapshots to a broker.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project_lite::pin_project;
use serde::Serialize;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::sink::backlog::{Backlog, BatchLimits};
use crate::sink::drive::{Drive, Settings};
use crate::sink::queue::Queue;
use crate::sink::retry::Backoff;
use crate::sink::status::Shared;
use crate::sink::{Codec, Encoder, ForwardSink, Host, Message, Monitor, Overflow, Publish, Report};
use crate::{Error, Result, Sample, Snapshot};

/// Brings snapshots to a broker: at least once, in order, through outages, with every loss counted.
///
/// Made of something that implements [`Publish`], and given to
/// [`SnapshotStreamExt::forward_to`](crate::SnapshotStreamExt::forward_to), or made into a `futures::Sink` by
/// [`into_sink`](Self::into_sink).
///
/// While one batch is on its way, what comes waits for the next: in memory. What the
/// broker did not take is sent again with the same id, after a time that grows. What it refuses for good is set aside. It
/// needs no task of its own: it runs in the one that polls it. Forwarders know nothing of each other: what becomes of one concerns no
/// other.
///
/// ```
/// use appmon::sink::{Forwarder, Message, Outcome, Overflow, Publish};
/// use appmon::{Processes, SnapshotStreamExt, SourceExt};
/// use futures::StreamExt;
/// use std::time::Duration;
///
/// /// Takes everything.
/// struct Nowhere;
///
/// impl Publish for Nowhere {
///     async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
///         batch.iter().map(|_| Outcome::Accepted).collect()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// let forwarder = Forwarder::new(Nowhere).host("web-17").overflow(Overflow::DropOldest);
/// let report = Processes::new().every(Duration::from_millis(10)).take(2).forward_to(forwarder).await?;
/// assert_eq!((report.snapshots, report.accepted), (2, 2));
/// assert!(report.is_complete());
/// # Ok(())
/// # }
/// ```
#[must_use = "a forwarder does nothing until a stream is forwarded to it"]
pub struct Forwarder<P> {
    publish: P,
    host: Option<String>,
    codec: Codec,
    per_sample: bool,
    max_message_bytes: usize,
    batch: BatchLimits,
    linger: Duration,
    queue: (usize, usize),
    overflow: Overflow,
    retry: (Duration, Duration),
    publish_timeout: Duration,
    shutdown: Option<CancellationToken>,
    deadline: Duration,
    on_rejected: Option<super::drive::OnRejected>,
    shared: Arc<Shared>,
}

impl<P: Publish> fmt::Debug for Forwarder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("destination", &self.publish.destination())
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

impl<P: Publish + 'static> Forwarder<P> {
    /// A forwarder to `publish`, with the defaults the methods below tell.
    pub fn new(publish: P) -> Self {
        Self {
            publish,
            host: None,
            codec: Codec::default(),
            per_sample: false,
            max_message_bytes: 512 << 10,
            batch: BatchLimits { messages: 256, bytes: 1 << 20 },
            linger: Duration::ZERO,
            queue: (1024, 16 << 20),
            overflow: Overflow::default(),
            retry: (Duration::from_millis(100), Duration::from_secs(10)),
            publish_timeout: Duration::from_secs(30),
            shutdown: None,
            deadline: Duration::from_secs(30),
            on_rejected: None,
            shared: Arc::default(),
        }
    }

    /// What this host is called in the messages. Default: an id derived from the machine id; see [`Host`].
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// How payloads are encoded. Default: JSON.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// A message per sample instead of one per snapshot; see [`Encoder::per_sample`]. Default: one per snapshot.
    pub fn per_sample(mut self) -> Self {
        self.per_sample = true;
        self
    }

    /// The largest payload of a message; larger snapshots become several messages. At least 4 KiB; a broker that told a lower
    /// limit is followed. Default: 512 KiB.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// How much is published at once: messages, and bytes of payload (a larger message goes alone). Default: 256, and 1 MiB.
    pub fn batch(mut self, messages: usize, bytes: usize) -> Self {
        self.batch = BatchLimits { messages: messages.max(1), bytes };
        self
    }

    /// How long a message waits for others to make a batch. Default: not at all; what comes while a batch is on its way makes the
    /// next.
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// How much may wait in memory: messages, and bytes of payload. The batch on its way and the snapshot that is being taken
    /// come on top. Default: 1,024, and 16 MiB.
    pub fn queue(mut self, messages: usize, bytes: usize) -> Self {
        self.queue = (messages.max(1), bytes.max(1));
        self
    }

    /// What happens when more comes than fits. Default: [`Overflow::Block`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// The time between attempts: a random one, up to a bound that doubles from `first` to `most` while attempts fail. Default:
    /// 100 ms, and 10 s. Nothing is given up: a message is tried until it is accepted, refused, or the forwarder ends.
    pub fn retry(mut self, first: Duration, most: Duration) -> Self {
        self.retry = (first, most);
        self
    }

    /// How long one call of [`Publish::publish`] may take, after which nobody knows what became of its messages. Brokers here have
    /// shorter limits of their own. Default: 30 s.
    pub fn publish_timeout(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// Ends forwarding when `token` is cancelled: no more snapshots are taken, and what waits has until the
    /// [deadline](Self::deadline). Default: only the end of the stream ends it.
    pub fn shutdown(mut self, token: CancellationToken) -> Self {
        self.shutdown = Some(token);
        self
    }

    /// How long after the end of the stream or the cancellation of the token what waits may still be sent. Then it stays in the
    /// spool, or is lost and counted. Default: 30 s.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = time;
        self
    }

    /// Called with each message the broker refused for good, and why: to log it, or to put it elsewhere. It is called in the task
    /// that forwards, so it must not block.
    pub fn on_rejected(mut self, call: impl FnMut(&Message, &Error) + Send + 'static) -> Self {
        self.on_rejected = Some(Box::new(call));
        self
    }

    /// Asks this forwarder how it is doing, from anywhere, while it runs.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.shared.monitor()
    }

    /// A `futures::Sink` of snapshots, for `StreamExt::forward` and such.
    ///
    /// # Errors
    ///
    /// The sink itself gives [`Error::is_config`] at its first use when a setting is wrong.
    pub fn into_sink<T: Sample + Serialize>(self) -> ForwardSink<T, P> {
        ForwardSink::new(self)
    }

    /// Checks the settings, opens the spool.
    pub(super) async fn open(self) -> Result<Box<Drive<P>>> {
        let host = self.host.as_deref().map_or_else(Host::this, Host::new)?;
        let encoder = Encoder::new(host).codec(self.codec).per_sample(self.per_sample);
        let backlog = Backlog::Memory(Queue::new(self.queue.0, self.queue.1, self.overflow));
        let settings = Settings {
            batch: self.batch,
            linger: self.linger,
            publish_timeout: self.publish_timeout,
            max_message_bytes: self.max_message_bytes,
            on_rejected: self.on_rejected,
        };
        let backoff = Backoff::new(self.retry.0, self.retry.1);
        Ok(Box::new(Drive::new(self.publish, encoder, backlog, backoff, settings, self.shared)))
    }

    pub(super) fn deadline_after_end(&self) -> Duration {
        self.deadline
    }
}

/// Ends what is left of a forwarder, for at most `time`.
pub(super) async fn finish<P: Publish + 'static>(drive: Box<Drive<P>>, time: Duration) -> Report {
    let (publish, backlog, shared) = drive.end();
    if let Some(mut publish) = publish {
        // What it sent is settled already.
        let _ = tokio::time::timeout(time, publish.close()).await;
    }
    drop(backlog);
    shared.get().report
}

pin_project! {
    /// The future of [`SnapshotStreamExt::forward_to`](crate::SnapshotStreamExt::forward_to).
    #[must_use = "futures do nothing unless polled"]
    pub struct ForwardTo<S, P> {
        #[pin]
        stream: S,
        #[pin]
        token: Option<WaitForCancellationFutureOwned>,
        deadline: Duration,
        phase: Phase<P>,
        failed: Option<Error>,
    }
}

/// The settings are checked, the spool is opened.
pub(super) type Opening<P> = Pin<Box<dyn Future<Output = Result<Box<Drive<P>>>> + Send>>;

enum Phase<P> {
    Opening(Opening<P>),
    Running(Box<Drive<P>>),
    /// No more comes; what waits has until then.
    Draining(Box<Drive<P>>, Pin<Box<Sleep>>),
    Closing(Pin<Box<dyn Future<Output = Report> + Send>>),
    Done,
}

impl<S: fmt::Debug, P> fmt::Debug for ForwardTo<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardTo").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<S, P: Publish + 'static> ForwardTo<S, P> {
    pub(crate) fn new(stream: S, forwarder: Forwarder<P>) -> Self {
        Self {
            stream,
            token: forwarder.shutdown.clone().map(CancellationToken::cancelled_owned),
            deadline: forwarder.deadline_after_end(),
            phase: Phase::Opening(Box::pin(forwarder.open())),
            failed: None,
        }
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
            match this.phase {
                Phase::Opening(open) => {
                    let drive = ready!(open.as_mut().poll(cx))?;
                    *this.phase = Phase::Running(drive);
                }
                Phase::Running(drive) => {
                    let cancelled = this.token.as_mut().as_pin_mut().is_some_and(|token| token.poll(cx).is_ready());
                    if !cancelled && run(this.stream.as_mut(), drive, this.failed, cx).is_pending() {
                        return Poll::Pending;
                    }
                    this.token.set(None);
                    let Phase::Running(mut drive) = std::mem::replace(this.phase, Phase::Done) else { continue };
                    drive.close();
                    let until = Instant::now().checked_add(*this.deadline).unwrap_or_else(far_future);
                    *this.phase = Phase::Draining(drive, Box::pin(tokio::time::sleep_until(until)));
                }
                Phase::Draining(drive, deadline) => {
                    if drive.poll(cx).is_pending() {
                        ready!(deadline.as_mut().poll(cx));
                    }
                    let left = deadline.deadline().saturating_duration_since(Instant::now());
                    let Phase::Draining(drive, _) = std::mem::replace(this.phase, Phase::Done) else { continue };
                    *this.phase = Phase::Closing(Box::pin(finish(drive, left.max(CLOSING))));
                }
                Phase::Closing(close) => {
                    let report = ready!(close.as_mut().poll(cx));
                    *this.phase = Phase::Done;
                    return Poll::Ready(this.failed.take().map_or(Ok(report), Err));
                }
                // Polled after its end.
                Phase::Done => return Poll::Pending,
            }
        }
    }
}

/// What a connection gets to say goodbye, however late it is.
const CLOSING: Duration = Duration::from_millis(500);

fn far_future() -> Instant {
    // As tokio does it: far, and not so far that a clock overflows.
    let now = Instant::now();
    now.checked_add(Duration::from_secs(86_400 * 365 * 30)).unwrap_or(now)
}

/// Takes what the stream has while there is room, and goes on with what waits. Ready when no more comes.
fn run<S, T, P>(
    mut stream: Pin<&mut S>,
    drive: &mut Drive<P>,
    failed: &mut Option<Error>,
    cx: &mut Context<'_>,
) -> Poll<()>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Serialize,
    P: Publish + 'static,
{
    loop {
        while drive.has_room() {
            match stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(snapshot))) => drive.push(&snapshot),
                Poll::Ready(Some(Err(error))) => {
                    drive.failed_tick();
                    if error.is_config() || error.is_panic() || error.is_runtime_gone() {
                        *failed = Some(error);
                        return Poll::Ready(());
                    }
                    tracing::warn!(%error, "a tick failed");
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {
                    let _ = drive.poll(cx);
                    return Poll::Pending;
                }
            }
        }
        let _ = drive.poll(cx);
        if !drive.has_room() {
            return Poll::Pending;
        }
    }
}
