//! The settings of a forwarder.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::forward::backoff::Backoff;
use crate::forward::batch::BatchLimits;
use crate::forward::delivery::{Delivery, Settings};
use crate::forward::disk_outbox::DiskOutbox;
use crate::forward::encode::Encoder;
use crate::forward::host::Host;
use crate::forward::memory_outbox::MemoryOutbox;
use crate::forward::message::Message;
use crate::forward::outbox::Outbox;
use crate::forward::overflow::Overflow;
use crate::forward::publish::Publish;
use crate::forward::rejected::OnRejected;
use crate::forward::spool::Spool;
use crate::forward::status::{Monitor, Shared};
use crate::wire::Codec;
use crate::{Error, Result};

/// Brings snapshots to a broker: at least once, in order, through outages, with every loss counted.
///
/// Made of something that implements [`Publish`], and given to
/// [`ForwardExt::forward_to`](crate::ForwardExt::forward_to), or made into a `futures::Sink` by
/// [`into_sink`](Self::into_sink).
///
/// While one batch is on its way, what comes waits for the next: in memory, or in a [spool](Self::spool) on disk. What the
/// broker did not take is sent again with the same id, after a time that grows. What it refuses for good is set aside. It
/// needs no task of its own: it runs in the one that polls it. Forwarders know nothing of each other: what becomes of one concerns no
/// other.
///
/// ```
/// use appmon::forward::{Forwarder, Message, Outcome, Overflow, Publish};
/// use appmon::{ForwardExt, Processes, SourceExt};
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
    queue: BatchLimits,
    overflow: Overflow,
    retry: (Duration, Duration),
    publish_timeout: Duration,
    ends: Ends,
    spool: Option<(PathBuf, u64)>,
    on_rejected: Option<OnRejected>,
    shared: Arc<Shared>,
}

/// What ends a forwarder, and how long that may take.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) shutdown: Option<CancellationToken>,
    pub(super) abort: Option<CancellationToken>,
    pub(super) deadline: Duration,
}

impl<P: Publish> fmt::Debug for Forwarder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("destination", &self.publish.destination())
            .field("overflow", &self.overflow)
            .field("spool", &self.spool)
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
            queue: BatchLimits { messages: 1024, bytes: 16 << 20 },
            overflow: Overflow::default(),
            retry: (Duration::from_millis(100), Duration::from_secs(10)),
            publish_timeout: Duration::from_secs(30),
            ends: Ends { shutdown: None, abort: None, deadline: Duration::from_secs(30) },
            spool: None,
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

    /// Whether there is a message per sample instead of one per snapshot; see [`Encoder::per_sample`]. Default: no.
    pub fn per_sample(mut self, per_sample: bool) -> Self {
        self.per_sample = per_sample;
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
        self.queue = BatchLimits { messages: messages.max(1), bytes: bytes.max(1) };
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
    /// [deadline](Self::deadline). Default: only the end of the stream ends it. No effect on a [sink](Self::into_sink), whose
    /// end is that it is closed.
    pub fn shutdown(mut self, token: CancellationToken) -> Self {
        self.ends.shutdown = Some(token);
        self
    }

    /// Ends forwarding at once when `token` is cancelled, whatever still waits and whatever the [deadline](Self::deadline) is:
    /// nothing more is sent, what waits stays in the spool or is lost and counted, and the report comes within about half a second.
    /// For those who ask twice to [shut down](Self::shutdown). Default: none. No effect on a [sink](Self::into_sink), which
    /// is dropped for that.
    pub fn abort(mut self, token: CancellationToken) -> Self {
        self.ends.abort = Some(token);
        self
    }

    /// How long after the end of the stream or the cancellation of the token what waits may still be sent. Then it stays in the
    /// spool, or is lost and counted. With a deadline of zero nothing more is begun. Default: 30 s.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.ends.deadline = time;
        self
    }

    /// A queue on disk, in one file at `path`, of at most `max_bytes` (64 KiB or more): each message is written to it before it is
    /// sent, and removed when it was accepted. What is in it survives an outage of the broker that is longer than memory lasts, and
    /// the end of the process, `kill -9` too: the next forwarder with this path sends it first, with the ids it had. Default:
    /// none.
    ///
    /// A message is safe when it was written (one `fsync` for all that came meanwhile, 0.3 ms on a good disk). One process at
    /// a time has a spool. When it is full, [`overflow`](Self::overflow) says what happens, and [`queue`](Self::queue) bounds
    /// what is in memory on the way to it, and again the bytes that are at hand on the way from it; about 12 MiB come on top. A disk
    /// that gives errors does not hold up a broker that is well: what could not be written goes without it, and at the end is written
    /// behind what could. One that does not answer at all holds up everything, within the deadline at the end. What a broker refused
    /// for good is kept in it as long as a sixteenth of its size is enough: [`DeadLetter`](crate::forward::DeadLetter) reads it.
    pub fn spool(mut self, path: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.spool = Some((path.into(), max_bytes));
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

    /// Checks the settings, opens the spool.
    pub(super) async fn open(self) -> Result<Box<Delivery<P>>> {
        let shared = Arc::clone(&self.shared);
        let opened = self.try_open().await;
        if let Err(error) = &opened {
            shared.update(|status| status.last_error = Some(error.to_string()));
        }
        opened
    }

    async fn try_open(self) -> Result<Box<Delivery<P>>> {
        self.publish.validate()?;
        let host = self.host.as_deref().map_or_else(Host::this, Host::new)?;
        let encoder = Encoder::new(host).codec(self.codec).per_sample(self.per_sample);
        let backlog = match self.spool {
            None => Outbox::Memory(MemoryOutbox::new(self.queue, self.overflow)),
            Some((path, _)) if self.overflow == Overflow::LatestPerKey => {
                return Err(Error::config("a spool keeps every message: it does not go with LatestPerKey").at(path));
            }
            Some((path, spool_bytes)) => {
                let (spool, opened) = Spool::open(&path, spool_bytes).await?;
                self.shared.update(|status| {
                    // How many there were in a damaged file is not known: more than none.
                    let corrupt = u64::from(opened.damaged);
                    status.report.replayed = opened.left.messages.saturating_add(corrupt);
                    status.report.dropped.corrupt.add(corrupt, 0);
                });
                Outbox::Disk(Box::new(DiskOutbox::new(spool, opened, self.overflow, self.queue)))
            }
        };
        let settings = Settings {
            batch: self.batch,
            linger: self.linger,
            publish_timeout: self.publish_timeout,
            max_message_bytes: self.max_message_bytes,
            on_rejected: self.on_rejected,
        };
        let backoff = Backoff::new(self.retry.0, self.retry.1);
        Ok(Box::new(Delivery::new(self.publish, encoder, backlog, backoff, settings, self.shared)))
    }

    /// What ends it.
    pub(super) fn ends(&self) -> Ends {
        self.ends.clone()
    }
}
