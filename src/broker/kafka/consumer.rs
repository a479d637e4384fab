//! Out of topics of Kafka, as snapshots again.

mod offsets;
mod session;

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use rdkafka::config::ClientConfig;
use serde::de::DeserializeOwned;

use crate::broker::kafka::address::Address;
use crate::broker::kafka::settings;
use crate::broker::receive::{Gathering, ReceiveCounts, Receiver};

use crate::forward::{Backoff, Escape, Template};
use crate::{Error, Result, Sample, Snapshot};
use offsets::{Offsets, Place};
use session::Session;

/// Makes a stream of snapshots of what other hosts brought to topics of Kafka.
///
/// Each snapshot says which host it is from ([`Snapshot::host`]), so the same combinators run over a fleet as over one machine:
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
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when librdkafka does not know it, not by this value or not in this build, and for settings that have a
    /// method here.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self> {
        settings::set(&mut self.config, OWN, key, value)?;
        Ok(self)
    }

    /// The stream. It connects when it is polled first, and again whenever that is needed; it never ends by itself.
    ///
    /// It is to be polled at least every five minutes (`max.poll.interval.ms`), or others take over. An error is told and does not
    /// end it: a message that was not understood, a snapshot of which parts never came, and what librdkafka says while brokers
    /// are away or a topic is missing.
    pub fn stream(self) -> Consuming<T> {
        let arrived = Arc::default();
        let state = State {
            // All that a host sends is in one partition, so in one consumer.
            arrivals: Receiver::new(Gathering::All),
            arrived: Arc::clone(&arrived),
            consumer: self,
            session: None,
            offsets: Offsets::default(),
            done: Vec::new(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            failed: false,
        };
        let name = format!("{:?}", state.consumer);
        let items = futures::stream::unfold(state, |mut state| async move {
            let item = state.next().await;
            Some((item, state))
        });
        Consuming { name, items: Box::pin(items), arrived }
    }
}

/// The stream of a [`Consumer`].
///
/// # Cancel safety
///
/// A dropped `next()` loses nothing. What was given out last when the stream is dropped is not committed, and comes again.
#[must_use = "streams do nothing unless polled"]
pub struct Consuming<T> {
    name: String,
    items: Pin<Box<dyn Stream<Item = Result<Snapshot<T>>> + Send>>,
    arrived: Arc<Mutex<ReceiveCounts>>,
}

impl<T> Consuming<T> {
    /// What came so far, and what of it was not given on.
    #[must_use]
    pub fn arrived(&self) -> ReceiveCounts {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the same from elsewhere, while the stream is used.
    pub fn monitor(&self) -> impl Fn() -> ReceiveCounts + Send + Sync + 'static {
        let arrived = Arc::clone(&self.arrived);
        move || *arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Consuming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consuming")
            .field("consumer", &self.name)
            .field("arrived", &self.arrived())
            .finish_non_exhaustive()
    }
}

impl<T> Stream for Consuming<T> {
    type Item = Result<Snapshot<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(cx)
    }
}

impl<T> FusedStream for Consuming<T> {
    fn is_terminated(&self) -> bool {
        false
    }
}

struct State<T> {
    consumer: Consumer<T>,
    arrivals: Receiver<T, Place>,
    arrived: Arc<Mutex<ReceiveCounts>>,
    session: Option<Session>,
    offsets: Offsets,
    /// What counts as read when the next item is asked for.
    done: Vec<Place>,
    backoff: Backoff,
    /// Whether the last client had to be given up.
    failed: bool,
}

impl<T: Sample + DeserializeOwned + Send + 'static> State<T> {
    async fn next(&mut self) -> Result<Snapshot<T>> {
        loop {
            self.store();
            if let Some(item) = self.arrivals.pop() {
                self.done = item.done;
                self.tell();
                match item.result {
                    Some(result) => return result,
                    None => continue,
                }
            }
            self.receive().await?;
        }
    }

    /// Says how far its partitions were read.
    fn store(&mut self) {
        let Some(session) = &self.session else {
            self.done.clear();
            return;
        };
        session.revoked().into_iter().for_each(|(topic, partition)| self.offsets.forget(&topic, partition));
        for place in self.done.drain(..) {
            if let Some(next) = self.offsets.done(&place) {
                session.store(&place, next);
            }
        }
    }

    fn tell(&self) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = self.arrivals.counts();
    }

    /// Takes in the next message.
    async fn receive(&mut self) -> Result<()> {
        let address = &self.consumer.address;
        let session = match &mut self.session {
            Some(session) => session,
            None => {
                if self.failed {
                    tokio::time::sleep(self.backoff.next_wait()).await;
                }
                self.failed = true;
                let opened = Session::open(self.consumer.config.clone(), self.consumer.topics.clone()).await;
                let opened = opened.map_err(|error| Error::broker(format!("{address}: {error}")))?;
                self.session.insert(opened)
            }
        };
        let (arrivals, offsets) = (&mut self.arrivals, &mut self.offsets);
        let taken = session.take_in(|received, place| {
            offsets.came(&place);
            arrivals.push(received, place);
        });
        match taken.await {
            Ok(()) => {
                self.failed = false;
                self.backoff.reset();
                self.tell();
                Ok(())
            }
            Err(failure) => {
                if failure.is_fatal {
                    self.session = None;
                }
                let topics = self.consumer.topics.join(", ");
                Err(Error::broker(format!("{address} {topics}: {}", failure.text)))
            }
        }
    }
}
