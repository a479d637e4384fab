//! Settings of Kafka.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::common::Common;
use super::secret;
use crate::Result;
use crate::broker::kafka::{Compression, Kafka};
use crate::config::keys::{settings, wrong};
use crate::forward::BoxPublish;

settings! {
    /// The settings of Kafka alone.
    #[derive(Default)]
    pub struct KafkaConfig {
        required {}
        optional {
            /// The topics: [`Kafka::topic`].
            topic: Option<String>,
            /// The compression: [`Kafka::compression`].
            compression: Option<Compression>,
            /// Whether the producer is idempotent: [`Kafka::idempotent`].
            idempotent: Option<bool>,
            /// Other settings of librdkafka, by their names: [`Kafka::set`]. Those that hold a secret are refused here.
            set: BTreeMap<String, String>,
            /// Other settings of librdkafka whose values are in files, such as `ssl.key.password`.
            set_file: BTreeMap<String, PathBuf>,
            /// Other settings of librdkafka whose values are in environment variables.
            set_env: BTreeMap<String, String>,
        }
    }
}

impl KafkaConfig {
    pub(super) fn broker(&self, common: Common<'_>, url: &str) -> Result<BoxPublish> {
        let Self { topic, compression, idempotent, set, set_file, set_env } = self;
        if common.in_flight.is_some() {
            return Err(wrong("in_flight", "Kafka has none: set `max.in.flight.requests.per.connection` in kafka.set"));
        }
        #[cfg(any(feature = "amqp", feature = "mqtt", feature = "nats", feature = "redis"))]
        if common.tls.is_some() {
            return Err(wrong("tls", "Kafka has settings of its own: `ssl.ca.location` and others in kafka.set"));
        }
        let mut broker = Kafka::new(url)?;
        if let Some(topic) = topic {
            broker = broker.topic(topic);
        }
        if let Some(compression) = compression {
            broker = broker.compression(*compression);
        }
        if let Some(idempotent) = idempotent {
            broker = broker.idempotent(*idempotent);
        }
        for (key, value) in set {
            if holds_secret(key) {
                return Err(wrong(
                    &format!("kafka.set.{key}"),
                    "a secret: name its file in kafka.set_file, or its variable in kafka.set_env",
                ));
            }
            broker = broker.set(key, value);
        }
        for (key, path) in set_file {
            let value = secret::read(&format!("kafka.set_file.{key}"), Some(path), None)?;
            broker = broker.set(key, value.as_deref().unwrap_or_default());
        }
        for (key, variable) in set_env {
            let value = secret::read(&format!("kafka.set_env.{key}"), None, Some(variable))?;
            broker = broker.set(key, value.as_deref().unwrap_or_default());
        }
        if let Some(timeout) = common.timeout {
            broker = broker.timeout(timeout.get());
        }
        Ok(BoxPublish::new(broker))
    }
}

/// Whether a setting of librdkafka has a password, a key or a token as its value.
fn holds_secret(key: &str) -> bool {
    ["password", "secret", "passphrase", "key.pem", "oauthbearer.config", "jaas"].iter().any(|part| key.contains(part))
}
