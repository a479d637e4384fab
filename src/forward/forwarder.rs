//! The settings of a forwarder.

#[cfg(feature = "config")]
mod settings;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
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
use crate::measured::{FieldTable, Measured};
use crate::wire::{Band, Codec};
use crate::{Error, Result, Sample};

/// Forwards snapshots to a broker: at least once, in order, through outages, with every loss counted.
///
/// It is made from an implementation of [`Publish`], and passed to [`ForwardExt::forward_to`](crate::ForwardExt::forward_to) or
/// turned into a `futures::Sink` by [`into_sink`](Self::into_sink).
///
/// While one batch is being published, new messages wait for the next one: in memory, or in a [spool](Self::spool) on disk.
/// Messages that the broker did not take are sent again with the same id, after growing waits. Messages that it refuses for good
/// are [rejected](Self::on_rejected) and do not block later ones. A forwarder needs no task of its own: it runs in the task that polls
/// it. Forwarders are independent of each other.
///
/// ```
/// use appmon::forward::{Forwarder, Message, Outcome, Overflow, Publish};
/// use appmon::{ForwardExt, Processes, SourceExt};
/// use futures::StreamExt;
/// use std::time::Duration;
///
/// /// Accepts everything.
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
    codec: Option<Codec>,
    per_sample: bool,
    max_message_bytes: usize,
    batch: BatchLimits,
    linger: Duration,
    queue: BatchLimits,
    overflow: Overflow,
    retry: (Duration, Duration),
    publish_timeout: Duration,
    ends: Ends,
    only_changed: Option<Duration>,
    /// The dead bands, each with the kind it is for.
    bands: Vec<(String, Band)>,
    /// The error of the first invalid setting.
    wrong: Option<String>,
    spool: Option<(PathBuf, u64)>,
    on_rejected: Option<OnRejected>,
    shared: Arc<Shared>,
}

/// What ends a forwarder, and the time it has for ending.
pub(super) struct Ends {
    pub(super) shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
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
    /// Returns a forwarder to `publish`, with the defaults documented at the methods below.
    pub fn new(publish: P) -> Self {
        Self {
            publish,
            host: None,
            codec: None,
            per_sample: false,
            max_message_bytes: 512 << 10,
            batch: BatchLimits { messages: 256, bytes: 1 << 20 },
            linger: Duration::ZERO,
            queue: BatchLimits { messages: 1024, bytes: 16 << 20 },
            overflow: Overflow::default(),
            retry: (Duration::from_millis(100), Duration::from_secs(10)),
            publish_timeout: Duration::from_secs(30),
            ends: Ends { shutdown: None, abort: None, deadline: Duration::from_secs(30) },
            only_changed: None,
            bands: Vec::new(),
            wrong: None,
            spool: None,
            on_rejected: None,
            shared: Arc::default(),
        }
    }

    /// Sets the name of this host in the messages. Default: an id derived from the machine id; see [`Host`].
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// Sets the encoding of payloads. Default: the one that the broker [needs](Publish::codec), or JSON.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Sets whether there is a message per sample instead of one per snapshot; see [`Encoder::per_sample`]. Default: no.
    pub fn per_sample(mut self, per_sample: bool) -> Self {
        self.per_sample = per_sample;
        self
    }

    /// Sets the largest payload of a message, in bytes; larger snapshots become several messages. At least 4 KiB. A lower limit of
    /// the broker takes precedence. Default: 512 KiB.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets the largest batch: messages, and bytes of payload (a larger message is a batch alone). Default: 256, and 1 MiB.
    pub fn batch(mut self, messages: usize, bytes: usize) -> Self {
        self.batch = BatchLimits { messages: messages.max(1), bytes };
        self
    }

    /// Sets how long a message waits for others, to form a batch with them. Default: zero; messages that come while one batch is
    /// being published form the next.
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// Sets how much may wait in memory: messages, and bytes of payload. The batch being published and the snapshot being encoded
    /// are not included. Default: 1,024, and 16 MiB.
    pub fn queue(mut self, messages: usize, bytes: usize) -> Self {
        self.queue = BatchLimits { messages: messages.max(1), bytes: bytes.max(1) };
        self
    }

    /// Sets the behaviour when the queue or the spool is full. Default: [`Overflow::Block`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Sets the time between attempts: random, up to a bound that doubles from `first` to `most` while attempts fail. Default:
    /// 100 ms, and 10 s. A message is tried until it is accepted or refused, or the forwarder ends.
    pub fn retry(mut self, first: Duration, most: Duration) -> Self {
        self.retry = (first, most);
        self
    }

    /// Sets how long one call of [`Publish::publish`] may take; after it the outcome of its messages is unknown. The brokers of this
    /// crate have shorter timeouts of their own. Default: 30 s.
    pub fn publish_timeout(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// Ends forwarding when `token` is cancelled: no more snapshots are taken, and waiting messages are sent until the
    /// [deadline](Self::deadline). Default: none, so only the end of the stream ends it. No effect on a [sink](Self::into_sink):
    /// close it instead.
    pub fn shutdown(mut self, token: CancellationToken) -> Self {
        self.ends.shutdown = Some(Box::pin(token.cancelled_owned()));
        self
    }

    /// Ends forwarding when `future` is ready, as [`shutdown`](Self::shutdown) does when its token is cancelled; also while the queue is
    /// full and no snapshot is taken. Of the two the last one set counts. The output of the future has no effect: an error of
    /// `tokio::signal::ctrl_c()` ends it too. It is polled by the future that forwards, and dropped with it.
    ///
    /// ```
    /// use appmon::forward::{Forwarder, Publish};
    ///
    /// fn until_ctrl_c<P: Publish + 'static>(publish: P) -> Forwarder<P> {
    ///     Forwarder::new(publish).shutdown_when(tokio::signal::ctrl_c())
    /// }
    /// ```
    pub fn shutdown_when<F>(mut self, future: F) -> Self
    where
        F: Future + Send + 'static,
    {
        self.ends.shutdown = Some(Box::pin(async move {
            future.await;
        }));
        self
    }

    /// Ends forwarding at once when `token` is cancelled, whatever still waits and whatever the [deadline](Self::deadline) is:
    /// no more messages are sent, waiting ones stay in the spool or are lost and counted, and the report is returned within about half
    /// a second. It serves programs whose users ask a second time to [shut down](Self::shutdown). Default: none. No effect on a
    /// [sink](Self::into_sink): drop it instead.
    pub fn abort(mut self, token: CancellationToken) -> Self {
        self.ends.abort = Some(token);
        self
    }

    /// Sets how long waiting messages may still be sent after the end of the stream or the cancellation of the token. Then they stay
    /// in the spool, or are lost and counted. With a deadline of zero no further attempt begins. Default: 30 s.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.ends.deadline = time;
        self
    }

    /// Adds a queue on disk, in one file at `path`, of at most `max_bytes` (64 KiB or more): each message is written to it before it
    /// is sent, and removed when it was accepted. Its messages survive an outage of the broker that is longer than memory lasts, and
    /// the end of the process, `kill -9` included: the next forwarder with this path sends them first, with their original ids.
    /// Default: none.
    ///
    /// A message is durable once it is written (one `fsync` for all messages of the meantime, 0.3 ms on a good disk). Only one
    /// process at a time can use a spool. [`overflow`](Self::overflow) decides what happens when it is full. [`queue`](Self::queue)
    /// bounds the messages in memory on the way to the disk, and the bytes in memory on the way from it; about 12 MiB are added to
    /// that.
    ///
    /// A disk with errors does not stop delivery: messages that could not be written are sent from memory, and at the end are
    /// written after the others. A disk that does not answer at all stops delivery, at the end for no longer than the deadline.
    /// Messages that the broker refused for good are kept in the file, the newest in up to a sixteenth of its size:
    /// [`DeadLetter`](crate::forward::DeadLetter) reads them.
    pub fn spool(mut self, path: impl Into<PathBuf>, max_bytes: u64) -> Self {
        self.spool = Some((path.into(), max_bytes));
        self
    }

    /// Sets a function to call with each message that the broker refused for good, and the reason: to log it, or to store it. It is
    /// called in the task that forwards, so it must not block.
    pub fn on_rejected(mut self, call: impl FnMut(&Message, &Error) + Send + 'static) -> Self {
        self.on_rejected = Some(Box::new(call));
        self
    }

    /// Sends only what changed since the last snapshot of the same stream: the samples that are new or have changed, which ones are gone,
    /// and one time for all that stand still. Everything is sent again whenever `keyframe_every` has passed by the time of the
    /// snapshots, and with the next snapshot after anything that may have broken the chain: a message that was dropped, replaced or
    /// refused for good, an attempt that failed, the start of a forwarder. Default: off.
    ///
    /// The consumers of this crate yield whole snapshots again, equal to those that were sent: each of which every message since the
    /// last whole snapshot was received. All others are counted (`ReceiveCounts::unrestored`), and so are those
    /// of a consumer that starts in between, until the next whole snapshot.
    ///
    /// It applies to messages in the form of snapshots, JSON or MessagePack; with [`per_sample`](Self::per_sample) or NDJSON it is an
    /// error. Events are sent as they are. With [`Overflow::DropOldest`](crate::forward::Overflow::DropOldest) snapshots are whole
    /// while the queue is full, and with [`LatestPerKey`](crate::forward::Overflow::LatestPerKey) while messages wait.
    ///
    /// It keeps about 50 bytes per sample. A sample that stands still costs a fraction of a microsecond.
    ///
    /// ```
    /// # use appmon::forward::{Message, Outcome, Publish};
    /// use std::time::Duration;
    ///
    /// use appmon::{Forwarder, ProcessSample};
    ///
    /// # struct Nowhere;
    /// # impl Publish for Nowhere {
    /// #     async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
    /// #         batch.iter().map(|_| Outcome::Accepted).collect()
    /// #     }
    /// # }
    /// let forwarder = Forwarder::new(Nowhere)
    ///     .only_changed(Duration::from_secs(600))
    ///     // Memory that changed by less than a megabyte, and nothing else of the process, is not sent.
    ///     .dead_band::<ProcessSample>("memory.rss_bytes", f64::from(1 << 20));
    /// ```
    pub fn only_changed(mut self, keyframe_every: Duration) -> Self {
        self.only_changed = Some(keyframe_every);
        self
    }

    /// Sets by how much a field of samples `T` may differ from the value last sent without being a change for
    /// [`only_changed`](Self::only_changed). A consumer has the value last sent, until something else of the sample changes or everything
    /// is sent. The field is named by its path or alias in the [field table](Measured), in the unit of the field; for samples with rates
    /// `T` is `Rated<…>`. Fields that the wire form does not have, as they are derived from others, are not compared anyway. Default:
    /// every difference is a change.
    ///
    /// An unknown field, and a width that is negative or not a number, are errors when forwarding starts
    /// ([`Error::is_config`]).
    pub fn dead_band<T: Sample + Measured>(mut self, field: &str, width: f64) -> Self {
        let path = match FieldTable::<T>::new().find(field) {
            Ok(_) if width.is_nan() || width < 0.0 => Err(format!("field `{field}`: {width} is no width")),
            Ok(field) => Ok(field.path().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match path {
            Ok(path) => self.bands.push((T::KIND.to_owned(), Band::new(&path, width))),
            Err(error) => {
                self.wrong.get_or_insert_with(|| format!("dead_band: {error}"));
            }
        }
        self
    }

    /// Returns a handle on the status of this forwarder, for use anywhere while it runs.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.shared.monitor()
    }

    /// Checks the settings and opens the spool.
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
        let codec = self.check()?;
        let host = self.host.as_deref().map_or_else(Host::this, Host::new)?;
        let mut encoder = Encoder::new(host).codec(codec).per_sample(self.per_sample);
        if let Some(keyframe_every) = self.only_changed {
            encoder.set_chains(keyframe_every, self.bands);
        }
        let outbox = match self.spool {
            None => Outbox::Memory(MemoryOutbox::new(self.queue, self.overflow)),
            Some((path, _)) if self.overflow == Overflow::LatestPerKey => {
                return Err(Error::config(
                    "spool: it keeps every message, so it cannot be combined with the overflow latest_per_key",
                )
                .at(path));
            }
            Some((path, spool_bytes)) => {
                let (spool, opened) = Spool::open(&path, spool_bytes).await?;
                self.shared.update(|status| {
                    // The number of messages in a damaged file is unknown; it counts as one.
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
        Ok(Box::new(Delivery::new(self.publish, encoder, outbox, backoff, settings, self.shared)))
    }

    /// Checks the settings that depend on each other. Returns the codec: the one that was set, or the one that the broker needs.
    fn check(&self) -> Result<Codec> {
        if let Some(wrong) = &self.wrong {
            return Err(Error::config(wrong.clone()));
        }
        let codec = match (self.codec, self.publish.codec()) {
            (Some(set), Some(needed)) if set != needed => {
                return Err(Error::config(format!("codec: {set}, but the broker accepts only {needed}")));
            }
            (set, needed) => set.or(needed).unwrap_or_default(),
        };
        #[cfg(feature = "otlp")]
        if codec == Codec::Otlp && self.per_sample {
            return Err(Error::config("per_sample: OTLP has no messages of single samples"));
        }
        if self.only_changed.is_some() && (self.per_sample || !codec.has_snapshots()) {
            let form = if self.per_sample { "a message per sample".to_owned() } else { codec.to_string() };
            return Err(Error::config(format!(
                "only_changed: {form} cannot say what stands still and what is gone; use json or msgpack, one message per snapshot"
            )));
        }
        if self.only_changed.is_none() && !self.bands.is_empty() {
            return Err(Error::config("dead_band: it has no meaning without only_changed"));
        }
        Ok(codec)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Takes out what ends it.
    pub(super) fn take_ends(&mut self) -> Ends {
        Ends { shutdown: self.ends.shutdown.take(), abort: self.ends.abort.take(), deadline: self.ends.deadline }
    }

    /// Returns the time it has for ending.
    pub(super) fn deadline_of_end(&self) -> Duration {
        self.ends.deadline
    }
}
