//! Kafka, and what speaks its protocol (Redpanda, WarpStream, Tansu …).
//!
//! ```no_run
//! # fn forward() -> appmon::Result<()> {
//! use appmon::broker::kafka::{Compression, Kafka};
//!
//! let queue = Kafka::new("kafka://10.0.0.5:9092,10.0.0.6:9092")?.topic("metrics.{kind}").compression(Compression::Snappy);
//! # Ok(())
//! # }
//! ```
//!
//! Each message is a record of the topic `appmon.{kind}` ([`Kafka::topic`]) with the host as its key, so that the messages of a
//! host are in one partition and stay in order. The attributes of the CloudEvent are its headers as the CloudEvents binding for
//! Kafka has them (`ce_id`, `ce_type` … and `content-type`), its timestamp is that of the reading. The hash that picks the partition
//! is the one of the Java clients.
//!
//! # What an acknowledgement is worth
//!
//! All replicas that are in sync have the message (`acks=all`), in their memory: Kafka leaves writing it to disk to the kernel. How
//! many those are is the topic's `min.insync.replicas`; with 1, the default, it may be the leader alone. The producer is
//! idempotent: what it sends again by itself, after a connection broke, is stored once. What the caller has sent again, because
//! nobody knew ([`Outcome::Unknown`]), or after a restart, can be there twice: consumers know it by `ce_source` and `ce_id`.
//!
//! # What it is made of
//!
//! The client is librdkafka, in C, built along with the crate (needs `make`, a C and a C++ compiler). It has a few threads of its
//! own, which sleep between batches, and a copy of each payload that is on its way. The first batch after a connection was made
//! takes about half a second, until the cluster gave the producer its number.
//!
//! # TLS and authentication
//!
//! `kafka://USER:PASSWORD@HOST` authenticates by SASL PLAIN, in the clear. With the feature `kafka-ssl` librdkafka speaks TLS by the
//! system's OpenSSL (`kafkas://`; building it needs OpenSSL's headers), and SCRAM: a `rustls` configuration cannot serve it.
//! Certificates are files, or PEM texts, named by [`Kafka::set`]:
//!
//! ```no_run
//! # fn forward() -> appmon::Result<()> {
//! use appmon::broker::kafka::Kafka;
//!
//! let queue = Kafka::new("kafkas://monitor:secret@broker.example:9093")?
//!     .set("sasl.mechanism", "SCRAM-SHA-512") // default: PLAIN
//!     .set("ssl.ca.location", "/etc/kafka/ca.pem") // default: the system's
//!     .set("ssl.certificate.location", "/etc/kafka/client.pem")
//!     .set("ssl.key.location", "/etc/kafka/client.key");
//! # Ok(())
//! # }
//! ```

mod address;
mod call;
mod consumer;
mod outcome;
mod producer;
mod settings;

pub use crate::broker::consuming::Consuming;
pub use consumer::Consumer;

use std::fmt;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use tokio::time::Instant;

use crate::broker::deadline::from_now;
use crate::broker::kafka::address::Address;
use crate::broker::kafka::call::Call;
use crate::broker::kafka::producer::{Producer, Retired};
use crate::forward::{Escape, Message, Outcome, Publish, Template};
use crate::{Error, Result};

/// Publishes to the topics of a Kafka cluster.
///
/// | outcome | when |
/// |---|---|
/// | accepted | all replicas in sync have it |
/// | retry | no broker can be reached, or lets this user in; no permission for this topic; no such topic, or a name no topic can have; too few replicas; an earlier message of the batch failed |
/// | unknown | no answer came in time, and every error not named here |
/// | too large | larger than the client's limit or the topic's, a timestamp that the topic does not take |
///
/// # What the user needs
///
/// `Write` and `Describe` on the topics, and `IdempotentWrite` on the cluster before Kafka 3.0 (or [`idempotent(false)`](Self::idempotent)):
/// `kafka-acls --add --allow-principal User:monitor --producer --idempotent --topic appmon. --resource-pattern-type prefixed`.
///
/// # Connections
///
/// The first batch connects, and so does the next one after a batch that was not accepted as a whole. Within one, librdkafka
/// connects again by itself and goes on where it was: it numbers the messages, and brokers take them in the order of their numbers
/// alone. After a message that failed, none goes out before the caller saw the outcomes. (One request can be ready by then: Kafka
/// refuses it by its numbers, other brokers may take it.)
///
/// What of a failed batch is in the buffers of a dead connection can still reach a broker that comes back, as every client's; it is
/// in order with what is sent again, but may come after newer messages if those of the failed batch are *not* sent again.
///
/// # Cancel safety
///
/// When the future of [`publish`](Publish::publish) is dropped, messages that were not sent are not sent any more.
pub struct Kafka {
    config: ClientConfig,
    /// The brokers, for people.
    brokers: String,
    topic: Template,
    timeout: Duration,
    packing: Packing,
    line: Line,
    /// Whether brokers owe acknowledgements of the last batch, of connections that stood.
    silent: bool,
    /// The first setting that cannot be used, and why.
    wrong: Option<String>,
}

/// The way to the brokers.
#[derive(Debug)]
enum Line {
    /// There is none; the next call makes one.
    Down,
    /// A producer with nothing to do.
    Idle(Producer),
    /// A producer with messages that nobody waited for: the call was dropped.
    Busy(Producer),
    /// A producer that is being taken down. Nothing goes out before it is gone: it could still deliver something older.
    Closing(Retired),
}

/// How many messages share a record batch, for which topics have a limit in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Together,
    /// One each: a batch was too large, and it must be found out whether a message by itself is.
    Alone,
}

/// How the record batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// LZ4: JSON becomes about a fifth, at some 500 MB/s.
    #[default]
    Lz4,
}

const OWN: settings::Own = &[
    ("bootstrap.servers", "say it in the URL"),
    ("metadata.broker.list", "say it in the URL"),
    ("enable.idempotence", "use idempotent()"),
    ("enable.gapless.guarantee", "use idempotent()"),
    ("message.timeout.ms", "use timeout()"),
    ("delivery.timeout.ms", "use timeout()"),
    ("batch.num.messages", "it is changed at need"),
    ("compression.type", "use compression()"),
    ("compression.codec", "use compression()"),
    ("transactional.id", "there are no transactions"),
];

impl Kafka {
    /// Topics of the cluster that these brokers know,
    /// `kafka://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/TOPIC]`; the port is 9092 unless given. The topic is a template,
    /// as [`topic`](Self::topic) takes it; special characters in user and password are escaped by `%`.
    ///
    /// Nothing is connected yet: the brokers may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the URL is wrong; also for `kafkas://` without the feature `kafka-ssl`.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let address = Address::parse(url.as_ref())?;
        let template = address.topic.as_deref().unwrap_or("appmon.{kind}");
        let template: Template = template.parse()?;
        template.check(Escape::Kafka)?;
        Ok(Self {
            config: settings::producer(&address)?,
            brokers: address.brokers,
            topic: template,
            timeout: Duration::from_secs(5),
            packing: Packing::Together,
            line: Line::Down,
            silent: false,
            wrong: None,
        })
    }

    /// The topics, a [`Template`] or its text. Default: `appmon.{kind}`, one for each kind of samples and all hosts: how many partitions it has is how many
    /// consumers can share the work. With `{host}` in it each host has a topic, of which a cluster does not bear many thousands.
    /// One that is no template, or has what no topic can have, is reported when it is used first
    /// ([`Publish::validate`]).
    #[must_use]
    pub fn topic<T: TryInto<Template>>(mut self, topic: T) -> Self
    where
        Error: From<T::Error>,
    {
        let checked = topic.try_into().map_err(Error::from).and_then(|topic| {
            topic.check(Escape::Kafka)?;
            Ok(topic)
        });
        match checked {
            Ok(topic) => self.topic = topic,
            Err(error) => self.note("topic", &error),
        }
        self
    }

    fn note(&mut self, setting: &str, error: &Error) {
        self.wrong.get_or_insert_with(|| format!("{setting}: {error}"));
    }

    /// How record batches are compressed, from the client through the brokers' disks to the consumers. Default:
    /// [`Compression::Lz4`].
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        let name = match compression {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
        };
        self.config.set("compression.type", name);
        self
    }

    /// How long a batch may take, the connection included, at least 100 ms and at most five minutes; half a second may be added
    /// to let go of what was not acknowledged. Default: 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(100), Duration::from_secs(300));
        self
    }

    /// Whether brokers are to know what the client sends again by itself. Default: yes.
    ///
    /// Without, for brokers that cannot or users that must not (`IdempotentWrite`, before Kafka 3.0), what is sent again can be
    /// there twice, and a message can overtake an earlier one that the broker refused.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        if idempotent {
            self.config.set("enable.idempotence", "true").set("enable.gapless.guarantee", "true");
        } else {
            self.config.set("enable.idempotence", "false").set("enable.gapless.guarantee", "false");
        }
        self
    }

    /// Any other [setting of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md), such as
    /// `message.max.bytes` (default: 1,000,000), `client.id` (`appmon`), `linger.ms` (here 1), or
    /// `max.in.flight.requests.per.connection` (here 1): with up to 5, far brokers take more in a second, and order is theirs to
    /// keep, as Kafka itself does for idempotent producers.
    /// One that librdkafka does not know, not by this value or not in this build, and one that has a method here, is reported when it is used first
    /// ([`Publish::validate`]).
    /// What does not go together is only known when the first batch is published, which then fails.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        if let Err(error) = settings::set(&mut self.config, OWN, key, value) {
            self.note("set", &error);
        }
        let room = self.config.get("queue.buffering.max.kbytes").and_then(|kbytes| kbytes.parse::<usize>().ok());
        if room.is_some_and(|kbytes| kbytes.saturating_mul(1024) < self.max_message_bytes().unwrap_or_default()) {
            let why = "queue.buffering.max.kbytes: no message of message.max.bytes has room there";
            self.note("set", &Error::config(why));
        }
        self
    }

    /// The producer that is there, or a new one, with nothing to do.
    async fn ready(&mut self, deadline: Instant) -> Result<()> {
        if let Line::Busy(_) = &self.line {
            self.hang_up();
        }
        if let Line::Closing(retired) = &mut self.line {
            if tokio::time::timeout_at(deadline, retired.gone()).await.is_err() {
                return Err(Error::broker(format!("{}: the last connection is still being closed", self.address())));
            }
            self.line = Line::Down;
        }
        if let Line::Down = &self.line {
            let producer = Producer::new(self.producer_config()).await;
            self.line = Line::Idle(producer.map_err(|error| self.error(&error.to_string()))?);
        }
        Ok(())
    }

    fn hang_up(&mut self) {
        self.line = match std::mem::replace(&mut self.line, Line::Down) {
            Line::Idle(producer) | Line::Busy(producer) => Line::Closing(producer.retire()),
            line => line,
        };
    }

    fn producer_config(&self) -> ClientConfig {
        let mut config = self.config.clone();
        let millis = |time: Duration| time.as_millis().to_string();
        let mut preset = |key, value| {
            if self.config.get(key).is_none() {
                config.set(key, value);
            }
        };
        let largest = self.max_message_bytes().unwrap_or_default() / 512;
        preset("queue.buffering.max.kbytes", largest.max(32768).to_string());
        preset("request.timeout.ms", millis(self.timeout));
        preset("socket.connection.setup.timeout.ms", millis(self.timeout.max(Duration::from_secs(1))));
        // How long a topic may be missing that was just created.
        preset("topic.metadata.propagation.max.ms", millis(self.timeout.mul_f64(0.5)));
        if self.packing == Packing::Alone {
            config.set("batch.num.messages", "1");
        }
        config
    }

    fn address(&self) -> String {
        format!("kafka://{}", self.brokers)
    }

    fn error(&self, what: &str) -> Error {
        Error::broker(format!("{}: {what}", self.address()))
    }
}

impl Publish for Kafka {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        if batch.is_empty() {
            return Vec::new();
        }
        if let Err(error) = self.validate() {
            return Outcome::none_sent(batch, error);
        }
        let deadline = from_now(self.timeout);
        if let Err(error) = self.ready(deadline).await {
            return Outcome::none_sent(batch, error);
        }
        let Line::Idle(producer) = std::mem::replace(&mut self.line, Line::Down) else { return Vec::new() };
        // Until the call ends, whoever looks finds it busy.
        self.line = Line::Busy(producer);
        let (address, may_share) = (self.address(), self.packing == Packing::Together && batch.len() > 1);
        let Line::Busy(producer) = &mut self.line else { return Vec::new() };
        // Also when this is dropped.
        self.silent = true;
        let end = Call::new(&address, &self.topic, producer, batch, may_share).run(deadline, self.timeout).await;
        self.silent = end.silent;
        if end.too_large_together {
            self.packing = Packing::Alone;
        } else if end.too_large_alone {
            self.packing = Packing::Together;
        }
        if end.settled {
            if let Line::Busy(producer) = std::mem::replace(&mut self.line, Line::Down) {
                self.line = Line::Idle(producer);
            }
        } else {
            self.hang_up();
        }
        end.outcomes
    }

    async fn check(&mut self) -> Option<Result<()>> {
        if let Err(error) = self.validate() {
            return Some(Err(error));
        }
        // A producer that is there knows all that it would ask for.
        self.hang_up();
        let deadline = from_now(self.timeout);
        if let Err(error) = self.ready(deadline).await {
            return Some(Err(error));
        }
        let Line::Idle(producer) = std::mem::replace(&mut self.line, Line::Down) else { return None };
        match producer.greet(deadline.saturating_duration_since(Instant::now())).await {
            Ok(producer) => {
                self.line = Line::Idle(producer);
                // A leader waits for its replicas, whatever the message is.
                (!self.silent).then_some(Ok(()))
            }
            Err(error) => Some(Err(self.error(&error.to_string()))),
        }
    }

    fn validate(&self) -> Result<()> {
        self.wrong.as_ref().map_or(Ok(()), |wrong| Err(Error::config(wrong.clone())))
    }

    fn max_message_bytes(&self) -> Option<usize> {
        self.config.get("message.max.bytes").and_then(|bytes| bytes.parse().ok()).or(Some(1_000_000))
    }

    fn destination(&self) -> String {
        format!("{} {}", self.address(), self.topic)
    }

    async fn close(&mut self) {
        self.hang_up();
        if let Line::Closing(retired) = &mut self.line
            && tokio::time::timeout(self.timeout, retired.gone()).await.is_ok()
        {
            self.line = Line::Down;
        }
    }
}

/// The settings, without the connection.
impl Clone for Kafka {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            timeout: self.timeout,
            packing: self.packing,
            line: Line::Down,
            silent: false,
            wrong: self.wrong.clone(),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the settings: there are passwords among them.
        f.debug_struct("Kafka")
            .field("destination", &self.destination())
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}
