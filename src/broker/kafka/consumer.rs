//! Out of topics of Kafka, as snapshots again.

mod offsets;
mod session;

use std::fmt;
use std::marker::PhantomData;
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

/// Makes a stream of snapshots of what other hosts brought to topics of Kafka.
///
/// Each snapshot says which host it is from ([`Snapshot::host`](crate::Snapshot::host)), so the same combinators run over a fleet as over one machine:
/// `rates`, `retain`, `changes`. Split snapshots are put together again, doubles are left out by their id, and what never came is
/// counted: [`Consuming::arrived`].
///
/// What was sent as snapshots (JSON or MessagePack, the default) arrives as snapshots. NDJSON, and a message per sample, arrive as a
/// snapshot per message, which may be a piece of what was read together: over these, `changes` tells what is in another piece as gone,
/// and `rates` finds what a sample had before only within the last 60 messages of its host. Compare before sending, or send
/// snapshots.
///
/// The consumers of a group share the partitions, and with them the hosts: each host is with one of them, and stays there when others
/// come and go, as far as that is possible. After a host moved, what others had of it counts as missing here.
///
/// It is at least once: how far a partition was read is stored when the item after a snapshot is asked for, and committed within a
/// second. What was not committed when a consumer ended comes again, to whoever of its group takes over.
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
///         // A message that was not understood, or the brokers are away: the stream goes on.
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// Samples that had their rates when they were sent are `Consumer::<Rated<ProcessSample>>`.
#[must_use = "a consumer does nothing until its stream is polled"]
pub struct Consumer<T> {
    config: ClientConfig,
    /// The brokers, for people.
    address: String,
    group: String,
    topics: Vec<String>,
    /// The first setting that cannot be used, and why.
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
    ("bootstrap.servers", "say it in the URL"),
    ("metadata.broker.list", "say it in the URL"),
    ("group.id", "say it in new()"),
    ("auto.offset.reset", "use from_now()"),
    ("enable.auto.offset.store", "offsets are stored when snapshots were given on"),
];

impl<T: Sample + DeserializeOwned + Send + 'static> Consumer<T> {
    /// A consumer in `group`, of the topic that the URL names, `kafka://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/TOPIC]`, in which
    /// `{kind}` stands for the kind of the samples; `appmon.{kind}` where it names none.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for a wrong URL, an empty group, and what cannot be a topic.
    pub fn new(url: &str, group: impl Into<String>) -> Result<Self> {
        let (address, group) = (Address::parse(url)?, group.into());
        if group.is_empty() {
            return Err(Error::config("a consumer of Kafka needs the name of a group"));
        }
        let template: Template = address.topic.as_deref().unwrap_or("appmon.{kind}").parse()?;
        template.check(Escape::Kafka)?;
        let topic = template.render_kind(T::KIND, Escape::Kafka).ok_or_else(|| {
            Error::config(format!("template {template}: topics of each host are to be named: use topics()"))
        })?;
        Ok(Self {
            config: settings::consumer(&address, &group)?,
            address: format!("kafka://{}", address.brokers),
            group,
            topics: vec![topic],
            wrong: None,
            samples: PhantomData,
        })
    }

    /// Which topics. One that begins with `^` is a regular expression, and stands for all that match it. Default: the one of the URL.
    pub fn topics<S: Into<String>>(mut self, topics: impl IntoIterator<Item = S>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Where the group was never before, begins with what comes from now on. Default: with the oldest message that is stored.
    pub fn from_now(mut self) -> Self {
        self.config.set("auto.offset.reset", "latest");
        self
    }

    /// Any other [setting of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md), such as
    /// `session.timeout.ms` (default: 45 s: how long a member may be silent before others take over), `queued.max.messages.kbytes`
    /// (here 16,384: what is fetched ahead), or those of TLS.
    /// Where librdkafka does not know one, not by this value or not in this build, or it has a method here, the stream's items are errors
    /// ([`Error::is_config`]).
    pub fn set(mut self, key: &str, value: &str) -> Self {
        if let Err(error) = settings::set(&mut self.config, OWN, key, value) {
            self.wrong.get_or_insert_with(|| format!("set: {error}"));
        }
        self
    }

    /// The stream. It connects when it is polled first, and again whenever that is needed; it never ends by itself.
    ///
    /// It is to be polled at least every five minutes (`max.poll.interval.ms`), or others take over. An error is told and does not
    /// end it: a message that was not understood, a snapshot of which parts never came, and what librdkafka says while brokers
    /// are away or a topic is missing.
    pub fn stream(self) -> Consuming<T> {
        let name = format!("{self:?}");
        let subscription = Subscribed { consumer: self, session: None, offsets: Offsets::default() };
        // All that a host sends is in one partition, so in one consumer.
        Consuming::new(name, subscription, Gathering::All)
    }
}

struct Subscribed<T> {
    consumer: Consumer<T>,
    session: Option<Session>,
    offsets: Offsets,
}

/// How long a member that leaves its group may take for it.
const LEAVING: Duration = Duration::from_secs(5);

impl<T: Sample + DeserializeOwned + Send + 'static> Subscription<T> for Subscribed<T> {
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

    /// Says how far its partitions were read.
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
