//! Kafka, and systems with its protocol (Redpanda, WarpStream, Tansu …).
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
//! # Durability of acknowledged messages
//!
//! All replicas that are in sync have the message (`acks=all`), in their memory: Kafka leaves writing it to disk to the kernel. How
//! many those are is the topic's `min.insync.replicas`; with 1, the default, it may be the leader alone. The producer is
//! idempotent: messages that it sends again by itself, after a connection broke, are stored once. Messages that the caller sends again,
//! after an unknown outcome ([`Outcome::Unknown`]) or a restart, can be stored twice: consumers recognize them by `ce_source` and `ce_id`.
//!
//! # The client library
//!
//! The client is librdkafka, in C, built with this crate (needs `make`, a C and a C++ compiler). It has a few threads of its own,
//! which sleep between batches, and a copy of each payload in flight. The first batch of a connection takes about half a second,
//! until the cluster has assigned the producer its id.
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
use serde::{Deserialize, Serialize};
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
/// | unknown | no answer in time, and every error not named here |
/// | too large | larger than the client's limit or the topic's, a timestamp that the topic does not take |
///
/// # Permissions of the user
///
/// `Write` and `Describe` on the topics, and `IdempotentWrite` on the cluster before Kafka 3.0 (or [`idempotent(false)`](Self::idempotent)):
/// `kafka-acls --add --allow-principal User:monitor --producer --idempotent --topic appmon. --resource-pattern-type prefixed`.
///
/// # Connections
///
/// The first batch connects, and so does the next one after a batch that was not fully accepted. Within a batch, librdkafka reconnects
/// by itself and continues: it numbers the messages, and brokers accept them only in the order of their numbers. After a failed message
/// no further one is sent before the caller received the outcomes. (One request can be prepared by then: Kafka refuses it by its
/// numbers, other brokers may accept it.)
///
/// As with every client, messages of a failed batch in the buffers of a dead connection can still reach a broker that recovers. They are
/// in order with messages that are sent again, but may come after newer ones if the failed batch is *not* sent again.
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
    /// Whether acknowledgements of the last batch are missing over intact connections.
    silent: bool,
    /// The error of the first invalid setting.
    wrong: Option<String>,
}

/// The state of the producer.
#[derive(Debug)]
enum Line {
    /// There is no producer; the next call makes one.
    Down,
    /// An idle producer.
    Idle(Producer),
    /// A producer with messages of a call that was dropped.
    Busy(Producer),
    /// A producer that is being closed. No message is sent before it is closed, since it could still deliver older ones.
    Closing(Retired),
}

/// The number of messages per record batch, whose size topics limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Together,
    /// One each: a batch was too large, and each message is tried alone.
    Alone,
}

/// The compression of record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Compression {
    /// No compression.
    None,
    /// Snappy.
    Snappy,
    /// LZ4: JSON becomes about a fifth, at some 500 MB/s.
    #[default]
    Lz4,
}

const OWN: settings::Own = &[
    ("bootstrap.servers", "set it in the URL"),
    ("metadata.broker.list", "set it in the URL"),
    ("enable.idempotence", "use idempotent()"),
    ("enable.gapless.guarantee", "use idempotent()"),
    ("message.timeout.ms", "use timeout()"),
    ("delivery.timeout.ms", "use timeout()"),
    ("batch.num.messages", "it is set automatically"),
    ("compression.type", "use compression()"),
    ("compression.codec", "use compression()"),
    ("transactional.id", "transactions are not supported"),
];

impl Kafka {
    /// Returns a publisher to the cluster of these brokers,
    /// `kafka://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/TOPIC]`; the port is 9092 unless given. The topic is a template,
    /// as [`topic`](Self::topic) takes it; special characters in user and password are escaped by `%`.
    ///
    /// It does not connect yet, so the brokers may start later.
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

    /// Sets the topics, a [`Template`] or its text. Default: `appmon.{kind}`, one for each kind of samples and all hosts. Its partitions
    /// limit the number of consumers that share the work. With `{host}` each host has a topic; clusters do not support many thousands of
    /// topics. An invalid template, or one with characters not allowed in topics, is reported at its first use
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

    /// Sets the compression of record batches, from the client through the brokers' disks to the consumers. Default:
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

    /// Sets the timeout of a batch, including the connection: at least 100 ms and at most five minutes. Giving up unacknowledged messages
    /// may add half a second. Default: 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(100), Duration::from_secs(300));
        self
    }

    /// Sets whether the producer is idempotent. Default: yes.
    ///
    /// If not, for brokers without support or users without permission (`IdempotentWrite`, before Kafka 3.0), messages that the client
    /// sends again can be stored twice, and a message can overtake an earlier one that the broker refused.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        if idempotent {
            self.config.set("enable.idempotence", "true").set("enable.gapless.guarantee", "true");
        } else {
            self.config.set("enable.idempotence", "false").set("enable.gapless.guarantee", "false");
        }
        self
    }

    /// Sets any other [setting of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md), such as
    /// `message.max.bytes` (default: 1,000,000), `client.id` (`appmon`), `linger.ms` (here 1), or
    /// `max.in.flight.requests.per.connection` (here 1): up to 5 increase the throughput to distant brokers, and rely on
    /// the broker for the order, which Kafka keeps for idempotent producers.
    /// A setting that librdkafka does not accept, or for which there is a method here, is reported at its first use
    /// ([`Publish::validate`]). Settings that contradict each other make the first batch fail.
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

    /// Returns the idle producer, or a new one.
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
        // How long a newly created topic may be unknown.
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
        // Busy until the call ends, also if it is dropped.
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
        // An existing producer has connected before.
        self.hang_up();
        let deadline = from_now(self.timeout);
        if let Err(error) = self.ready(deadline).await {
            return Some(Err(error));
        }
        let Line::Idle(producer) = std::mem::replace(&mut self.line, Line::Down) else { return None };
        match producer.greet(deadline.saturating_duration_since(Instant::now())).await {
            Ok(producer) => {
                self.line = Line::Idle(producer);
                // The leader waits for its replicas, for any message.
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

/// Copies the settings, without the connection.
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
        // Without the settings: they contain passwords.
        f.debug_struct("Kafka")
            .field("destination", &self.destination())
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}
