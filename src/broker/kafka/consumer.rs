//! A consumer of snapshots from Kafka topics.

mod offsets;
mod session;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use serde::de::DeserializeOwned;

use crate::broker::consuming::{Consuming, Subscription};
use crate::broker::kafka::address::Address;
use crate::broker::kafka::settings;
use crate::broker::receive::{Gathering, Receiver};
use crate::forward::{Escape, Template};
use crate::{Error, Result, Sample};
use offsets::{Offsets, Place};
use session::Session;

/// A consumer of the snapshots that other hosts forwarded to Kafka topics.
///
/// Each snapshot has the name of its host ([`Snapshot::host`](crate::Snapshot::host)), so the combinators for one machine also work for
/// a fleet: `rates`, `retain`, `changes`. Split snapshots are put together again, duplicates are dropped by their id, and missing
/// messages are counted: [`Consuming::received`].
///
/// Messages in the form of snapshots (JSON, the default, or MessagePack) are yielded as the snapshots that were sent. NDJSON, and a
/// message per sample, are yielded as a snapshot per message, which may have only some of the samples of a tick. Over these, `changes`
/// reports the samples of other messages as gone, and `rates` finds the earlier sample only within the last 60 messages of its host.
/// Send snapshots instead, or use these combinators before sending.
///
/// The consumers of a group share the partitions, and so the hosts: each host belongs to one consumer, and as far as possible stays there
/// when others join and leave. After a host moved, the messages that its earlier consumer received count as missing here.
///
/// Of streams that send [only what changed](crate::forward::Forwarder::only_changed) it yields whole snapshots. A consumer that begins in
/// between, also after a restart or when a partition moves to it, has them from the next whole one on; until then they are counted as
/// [`unrestored`](crate::broker::ReceiveCounts::unrestored).
///
/// Delivery is at least once: the position in a partition is stored when the item after a snapshot is requested, and committed within a
/// second. Messages not committed when a consumer ended are delivered again, to another consumer of its group.
///
/// ```no_run
/// use appmon::broker::kafka::Consumer;
/// use appmon::{ProcessSample, SnapshotStreamExt};
/// use futures::StreamExt;
///
/// # async fn follow() -> appmon::Result<()> {
/// let mut fleet = Consumer::<ProcessSample>::new("kafka://127.0.0.1:9092", "top")?.stream().rates();
/// while let Some(snapshot) = fleet.next().await {
///     match snapshot {
///         Ok(snapshot) => println!("{:?}: {} processes", snapshot.host, snapshot.samples.len()),
///         // A malformed message, or the brokers are away: the stream continues.
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// For samples sent with rates, use `Consumer::<Rated<ProcessSample>>`.
#[must_use = "a consumer does nothing until its stream is polled"]
pub struct Consumer<T> {
    config: ClientConfig,
    /// The brokers, for people.
    address: String,
    group: String,
    topics: Vec<String>,
    feed: Option<Arc<str>>,
    /// The error of the first invalid setting.
    wrong: Option<String>,
    samples: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("address", &self.address)
            .field("group", &self.group)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

const OWN: settings::Own = &[
    ("bootstrap.servers", "set it in the URL"),
    ("metadata.broker.list", "set it in the URL"),
    ("group.id", "set it in new()"),
    ("auto.offset.reset", "use from_now()"),
    ("enable.auto.offset.store", "offsets are stored after snapshots were yielded"),
];

impl<T: Sample + DeserializeOwned + Clone + Send + 'static> Consumer<T> {
    /// Returns a consumer in `group`, of the topic in the URL, `kafka://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/TOPIC]`, in which
    /// `{kind}` is replaced by the kind of the samples; the default is `appmon.{kind}`.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for a wrong URL, an empty group, or an invalid topic.
    pub fn new(url: &str, group: impl Into<String>) -> Result<Self> {
        let (address, group) = (Address::parse(url)?, group.into());
        if group.is_empty() {
            return Err(Error::config("group: it must not be empty"));
        }
        let template: Template = address.topic.as_deref().unwrap_or("appmon.{kind}").parse()?;
        template.check(Escape::Kafka)?;
        let topic = template.render_kind(T::KIND, Escape::Kafka).ok_or_else(|| {
            Error::config(format!("template {template}: with a topic per host, name the topics with topics()"))
        })?;
        Ok(Self {
            config: settings::consumer(&address, &group)?,
            address: format!("kafka://{}", address.brokers),
            group,
            topics: vec![topic],
            feed: None,
            wrong: None,
            samples: PhantomData,
        })
    }

    /// Sets the topics. One that begins with `^` is a regular expression for all topics that match it. Default: the topic of the URL.
    pub fn topics<S: Into<String>>(mut self, topics: impl IntoIterator<Item = S>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Yields the stream of this name alone, that of a [`Forwarder::feed`](crate::forward::Forwarder::feed); messages of others are
    /// acknowledged and counted. Needed where streams of one kind have samples of different types, such as groups by service and groups
    /// by user. Default: all streams of the kind; [`Snapshot::stream`](crate::Snapshot::stream) has their names.
    pub fn feed(mut self, name: impl Into<Arc<str>>) -> Self {
        self.feed = Some(name.into());
        self
    }

    /// Begins with the next new message if the group has no position yet. Default: with the oldest stored message.
    pub fn from_now(mut self) -> Self {
        self.config.set("auto.offset.reset", "latest");
        self
    }

    /// Sets any other [setting of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md), such as
    /// `session.timeout.ms` (default: 45 s: how long a member may be silent before others take over), `queued.max.messages.kbytes`
    /// (here 16,384: what is fetched ahead), or those of TLS.
    /// If librdkafka does not accept the setting or its value, or if there is a method for it here, the stream's items are errors
    /// ([`Error::is_config`]).
    pub fn set(mut self, key: &str, value: &str) -> Self {
        if let Err(error) = settings::set(&mut self.config, OWN, key, value) {
            self.wrong.get_or_insert_with(|| format!("set: {error}"));
        }
        self
    }

    /// Returns the stream. It connects when it is first polled, and reconnects if needed; it never ends by itself.
    ///
    /// It must be polled at least every five minutes (`max.poll.interval.ms`), or its partitions move to other consumers. Errors are
    /// yielded and do not end it: a malformed message, a snapshot with missing parts, and the errors of librdkafka while brokers
    /// cannot be reached or a topic is missing.
    pub fn stream(self) -> Consuming<T> {
        let (name, feed) = (format!("{self:?}"), self.feed.clone());
        let subscription = Subscribed { consumer: self, session: None, offsets: Offsets::default() };
        // All messages of a host are in one partition, and so come to one consumer.
        Consuming::new(name, subscription, Gathering::All, feed)
    }
}

struct Subscribed<T> {
    consumer: Consumer<T>,
    session: Option<Session>,
    offsets: Offsets,
}

/// The timeout for leaving the group.
const LEAVING: Duration = Duration::from_secs(5);

impl<T: Sample + DeserializeOwned + Clone + Send + 'static> Subscription<T> for Subscribed<T> {
    type Token = Place;

    fn is_open(&self) -> bool {
        self.session.is_some()
    }

    async fn receive(&mut self, to: &mut Receiver<T, Place>) -> Result<()> {
        if let Some(wrong) = &self.consumer.wrong {
            return Err(Error::config(wrong.clone()));
        }
        let address = &self.consumer.address;
        let session = match &mut self.session {
            Some(session) => session,
            None => {
                let opened = Session::open(self.consumer.config.clone(), self.consumer.topics.clone()).await;
                let opened = opened.map_err(|error| Error::broker(format!("{address}: {error}")))?;
                self.session.insert(opened)
            }
        };
        let offsets = &mut self.offsets;
        let taken = session.take_in(|received, place| {
            offsets.came(&place);
            to.push(received, place);
        });
        let Err(failure) = taken.await else { return Ok(()) };
        if failure.is_fatal {
            self.session = None;
        }
        let topics = self.consumer.topics.join(", ");
        Err(Error::broker(format!("{address} {topics}: {}", failure.text)))
    }

    /// Stores the positions of its partitions.
    async fn acknowledge(&mut self, done: Vec<Place>) {
        let Some(session) = &self.session else { return };
        session.revoked().into_iter().for_each(|(topic, partition)| self.offsets.forget(&topic, partition));
        for place in done {
            if let Some(next) = self.offsets.done(&place) {
                session.store(&place, next);
            }
        }
    }

    async fn finish(&mut self, _: Vec<Place>) {
        if let Some(session) = self.session.take() {
            let _ = tokio::time::timeout(LEAVING, session.leave()).await;
        }
    }
}
