//! Settings of forwarding: the forwarder, and the broker by the scheme of its URL.

#[cfg(feature = "amqp")]
mod amqp;
mod common;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "redis")]
mod redis;
mod secret;
#[cfg(feature = "_link")]
mod tls;
mod url;

use std::path::PathBuf;

use super::keys::{settings, unknown, wrong};
use super::{Duration, Size};
use crate::Result;
use crate::forward::{BoxPublish, Codec, Forwarder, Overflow, Publish};

use self::common::Common;

#[cfg(feature = "amqp")]
pub use self::amqp::AmqpConfig;
#[cfg(feature = "kafka")]
pub use self::kafka::{KafkaConfig, KafkaSettings};
#[cfg(feature = "mqtt")]
pub use self::mqtt::MqttConfig;
#[cfg(feature = "nats")]
pub use self::nats::NatsConfig;
#[cfg(feature = "otlp")]
pub use self::otlp::OtlpConfig;
#[cfg(feature = "redis")]
pub use self::redis::RedisConfig;
#[cfg(feature = "_link")]
pub use self::tls::TlsConfig;
pub use self::url::Url;

settings! {
    /// The settings of a [`Forwarder`] and of its broker, which is the one of the URL's scheme.
    ///
    /// | scheme | broker | feature |
    /// |---|---|---|
    /// | `nats`, `tls` | `broker::nats::JetStream`, or `Core` | `nats` |
    /// | `kafka`, `kafkas` | `broker::kafka::Kafka` | `kafka`, `kafka-ssl` |
    /// | `amqp`, `amqps` | `broker::amqp::Amqp` | `amqp` |
    /// | `mqtt`, `mqtts` | `broker::mqtt::Mqtt` | `mqtt` |
    /// | `redis`, `rediss` | `broker::redis::Streams` | `redis` |
    /// | `http`, `https` | `broker::otlp::Http` | `otlp` |
    ///
    /// The settings of one broker alone are in a table of its name, such as `nats`.
    ///
    /// A user is in the URL or in `user`, and the password in a file or an environment variable. A URL with a password is refused; it is
    /// neither kept nor written.
    ///
    /// ```
    /// # #[cfg(feature = "nats")] {
    /// use appmon::config::ForwardConfig;
    /// use appmon::forward::{BoxPublish, Forwarder};
    ///
    /// let config: ForwardConfig = serde_json::from_str(
    ///     r#"{
    ///     "url": "nats://127.0.0.1:4222",
    ///     "overflow": "drop_oldest",
    ///     "spool": { "path": "spool.redb", "max": "64 MiB" },
    ///     "nats": { "subject": "metrics.{kind}.{host}" }
    ///     }"#,
    /// )
    /// .expect("an error names the key and the place");
    /// let forwarder: Forwarder<BoxPublish> = config.build()?;
    /// # let _ = forwarder;
    /// # }
    /// # Ok::<(), appmon::Error>(())
    /// ```
    pub struct ForwardConfig {
        required {
            /// The URL of the broker, or several of them with commas between them.
            url: Url,
        }
        optional {
            /// The user at the broker.
            user: Option<String>,
            /// The file that has the password of the user, and nothing else. White space at its end is ignored.
            password_file: Option<PathBuf>,
            /// The environment variable that has the password of the user.
            password_env: Option<String>,
            /// The timeout of each batch or answer of the broker: the setting `timeout` of the brokers.
            timeout: Option<Duration>,
            /// The largest number of messages that wait for their answers: the setting `in_flight` of the brokers; Kafka has none.
            in_flight: Option<usize>,
            /// The certificates of TLS. For Kafka they are settings of its own: `kafka.set`.
            #[cfg(feature = "_link")]
            tls: Option<TlsConfig>,
            /// The settings of NATS.
            #[cfg(feature = "nats")]
            nats: Option<NatsConfig>,
            /// The settings of Kafka.
            #[cfg(feature = "kafka")]
            kafka: Option<KafkaConfig>,
            /// The settings of AMQP.
            #[cfg(feature = "amqp")]
            amqp: Option<AmqpConfig>,
            /// The settings of MQTT.
            #[cfg(feature = "mqtt")]
            mqtt: Option<MqttConfig>,
            /// The settings of Redis.
            #[cfg(feature = "redis")]
            redis: Option<RedisConfig>,
            /// The settings of receivers of OTLP.
            #[cfg(feature = "otlp")]
            otlp: Option<OtlpConfig>,
            /// The name of this host in the messages: [`Forwarder::host`].
            host: Option<String>,
            /// The encoding of payloads: [`Forwarder::codec`].
            codec: Option<Codec>,
            /// Whether there is a message per sample: [`Forwarder::per_sample`].
            per_sample: Option<bool>,
            /// The largest payload of a message: [`Forwarder::max_message_bytes`].
            max_message_bytes: Option<Size>,
            /// The largest batch: [`Forwarder::batch`].
            batch: Option<MessagesConfig>,
            /// The time that a message waits for others: [`Forwarder::linger`].
            linger: Option<Duration>,
            /// The size of the queue in memory: [`Forwarder::queue`].
            queue: Option<MessagesConfig>,
            /// The behaviour when the queue or the spool is full: [`Forwarder::overflow`].
            overflow: Option<Overflow>,
            /// The time between attempts: [`Forwarder::retry`].
            retry: Option<RetryConfig>,
            /// The largest duration of one call to the broker: [`Forwarder::publish_timeout`].
            publish_timeout: Option<Duration>,
            /// The time for waiting messages at the end: [`Forwarder::deadline`].
            deadline: Option<Duration>,
            /// Only what changed, with everything again after this time: [`Forwarder::only_changed`]. Default: everything at each tick.
            only_changed: Option<Duration>,
            /// The queue on disk: [`Forwarder::spool`].
            spool: Option<SpoolConfig>,
        }
    }
}

settings! {
    /// A number of messages, and of bytes of their payloads.
    pub struct MessagesConfig {
        required {
            /// The number of messages.
            messages: usize,
            /// The number of bytes of payload.
            bytes: Size,
        }
        optional {}
    }
}

settings! {
    /// The time between attempts: [`Forwarder::retry`].
    pub struct RetryConfig {
        required {
            /// The bound of the first.
            first: Duration,
            /// The bound that it grows to.
            most: Duration,
        }
        optional {}
    }
}

settings! {
    /// A queue on disk: [`Forwarder::spool`].
    pub struct SpoolConfig {
        required {
            /// Its file.
            path: PathBuf,
            /// The largest size of the file.
            max: Size,
        }
        optional {}
    }
}

/// The schemes of each broker, the name of its table, and the feature that it needs.
const BROKERS: [(&[&str], &str); 6] = [
    (&["nats", "tls"], "nats"),
    (&["kafka", "kafkas"], "kafka"),
    (&["amqp", "amqps"], "amqp"),
    (&["mqtt", "mqtts"], "mqtt"),
    (&["redis", "rediss"], "redis"),
    (&["http", "https"], "otlp"),
];

impl ForwardConfig {
    /// Returns the settings of a forwarder to the broker at this URL, with the defaults of [`Forwarder::new`].
    #[must_use]
    pub fn new(url: impl Into<Url>) -> Self {
        Self::of(url.into())
    }

    /// Sets what a forwarder has set, the broker excepted, since it may have secrets.
    ///
    /// The tokens and the function of a forwarder have no keys.
    #[must_use]
    pub fn with_settings_of<P>(self, forwarder: &Forwarder<P>) -> Self {
        let of = forwarder.settings();
        let messages = |(messages, bytes): (usize, usize)| Some(MessagesConfig { messages, bytes: bytes.into() });
        let (first, most) = of.retry;
        let spool = |(path, max): (PathBuf, u64)| SpoolConfig { path, max: max.into() };
        Self {
            host: of.host,
            codec: of.codec,
            per_sample: Some(of.per_sample),
            max_message_bytes: Some(of.max_message_bytes.into()),
            batch: messages(of.batch),
            linger: Some(of.linger.into()),
            queue: messages(of.queue),
            overflow: Some(of.overflow),
            retry: Some(RetryConfig { first: first.into(), most: most.into() }),
            publish_timeout: Some(of.publish_timeout.into()),
            deadline: Some(of.deadline.into()),
            only_changed: of.only_changed.map(Duration::from),
            spool: of.spool.map(spool),
            ..self
        }
    }

    /// Returns the forwarder. What is not set has the default of [`Forwarder::new`]. Files and environment variables of secrets are read
    /// here; it does not connect.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a URL of no broker or of one that is not compiled in, a URL with a password, a table of another broker, an
    /// invalid value, and a secret that is missing. An I/O error, with the path, for a file that cannot be read.
    pub fn build(&self) -> Result<Forwarder<BoxPublish>> {
        let publish = self.publish()?;
        publish.validate()?;
        let mut forwarder = Forwarder::new(publish);
        if let Some(host) = &self.host {
            forwarder = forwarder.host(host);
        }
        if let Some(codec) = self.codec {
            forwarder = forwarder.codec(codec);
        }
        if let Some(per_sample) = self.per_sample {
            forwarder = forwarder.per_sample(per_sample);
        }
        if let Some(size) = self.max_message_bytes {
            forwarder = forwarder.max_message_bytes(size.in_memory());
        }
        if let Some(MessagesConfig { messages, bytes }) = self.batch {
            forwarder = forwarder.batch(messages, bytes.in_memory());
        }
        if let Some(time) = self.linger {
            forwarder = forwarder.linger(time.get());
        }
        if let Some(MessagesConfig { messages, bytes }) = self.queue {
            forwarder = forwarder.queue(messages, bytes.in_memory());
        }
        if let Some(overflow) = self.overflow {
            forwarder = forwarder.overflow(overflow);
        }
        if let Some(RetryConfig { first, most }) = self.retry {
            forwarder = forwarder.retry(first.get(), most.get());
        }
        if let Some(time) = self.publish_timeout {
            forwarder = forwarder.publish_timeout(time.get());
        }
        if let Some(time) = self.deadline {
            forwarder = forwarder.deadline(time.get());
        }
        if let Some(keyframe_every) = self.only_changed {
            forwarder = forwarder.only_changed(keyframe_every.get());
        }
        if let Some(SpoolConfig { path, max }) = &self.spool {
            forwarder = forwarder.spool(path, max.bytes());
        }
        Ok(forwarder)
    }

    /// Returns the broker alone, for a forwarder that is set up in code.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn publish(&self) -> Result<BoxPublish> {
        let scheme = self.url.scheme()?;
        let known = BROKERS.into_iter().find(|(schemes, _)| schemes.contains(&scheme));
        let Some((_, name)) = known else {
            let schemes: Vec<&str> = BROKERS.into_iter().flat_map(|(schemes, _)| schemes).copied().collect();
            return Err(wrong("url", unknown("scheme", scheme, &schemes)));
        };
        if let Some(other) = self.tables().into_iter().find(|table| *table != name) {
            return Err(wrong(other, format!("these are settings of another broker than that of {scheme}://")));
        }
        let password = secret::read("password", self.password_file.as_deref(), self.password_env.as_deref())?;
        let url = self.url.with_login(self.user.as_deref(), password.as_deref())?;
        self.broker(name, &url)
    }

    /// The names of the tables of brokers that are set.
    fn tables(&self) -> Vec<&'static str> {
        let tables = [
            #[cfg(feature = "nats")]
            ("nats", self.nats.is_some()),
            #[cfg(feature = "kafka")]
            ("kafka", self.kafka.is_some()),
            #[cfg(feature = "amqp")]
            ("amqp", self.amqp.is_some()),
            #[cfg(feature = "mqtt")]
            ("mqtt", self.mqtt.is_some()),
            #[cfg(feature = "redis")]
            ("redis", self.redis.is_some()),
            #[cfg(feature = "otlp")]
            ("otlp", self.otlp.is_some()),
        ];
        IntoIterator::into_iter(tables).filter(|(_, is_set): &(_, bool)| *is_set).map(|(name, _)| name).collect()
    }

    fn broker(&self, name: &str, url: &str) -> Result<BoxPublish> {
        let common = Common {
            timeout: self.timeout,
            in_flight: self.in_flight,
            has_user: self.user.is_some(),
            has_password: self.password_file.is_some() || self.password_env.is_some(),
            #[cfg(feature = "_link")]
            tls: self.tls.as_ref(),
            #[cfg(not(feature = "_link"))]
            tls: None,
        };
        // Without any broker they are not read.
        let _ = (url, common);
        match name {
            #[cfg(feature = "nats")]
            "nats" => self.nats.clone().unwrap_or_default().broker(common, url),
            #[cfg(feature = "kafka")]
            "kafka" => self.kafka.clone().unwrap_or_default().broker(common, url),
            #[cfg(feature = "amqp")]
            "amqp" => self.amqp.clone().unwrap_or_default().broker(common, url),
            #[cfg(feature = "mqtt")]
            "mqtt" => self.mqtt.clone().unwrap_or_default().broker(common, url),
            #[cfg(feature = "redis")]
            "redis" => self.redis.clone().unwrap_or_default().broker(common, url),
            #[cfg(feature = "otlp")]
            "otlp" => self.otlp.clone().unwrap_or_default().broker(common, url),
            name => Err(wrong("url", format!("this program was built without it; build it with the feature `{name}`"))),
        }
    }
}
