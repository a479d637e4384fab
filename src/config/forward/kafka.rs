//! Settings of Kafka.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use serde::ser::{Error as _, SerializeMap as _};
use serde::{Deserialize, Serialize, Serializer};

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
            set: KafkaSettings,
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
        #[cfg(feature = "_link")]
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
        for (key, value) in set.iter() {
            if holds_secret(key) {
                return Err(wrong(&format!("kafka.set.{key}"), SECRET));
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

const SECRET: &str = "a secret: name its file in kafka.set_file, or its variable in kafka.set_env";

/// Settings of librdkafka by their names, as [`Kafka::set`] takes them. It is a map.
///
/// One that holds a secret, such as `sasl.password`, is refused by [`ForwardConfig::build`](super::ForwardConfig::build) and not written by
/// serde, and its value is not shown. It is no error of reading, since errors of file formats quote the line.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KafkaSettings(BTreeMap<String, String>);

impl From<BTreeMap<String, String>> for KafkaSettings {
    fn from(settings: BTreeMap<String, String>) -> Self {
        Self(settings)
    }
}

impl Deref for KafkaSettings {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for KafkaSettings {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Formats the map, with `***` for the values that are secret.
impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(key, value)| (key, if holds_secret(key) { "***" } else { value })))
            .finish()
    }
}

impl Serialize for KafkaSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            if holds_secret(key) {
                return Err(S::Error::custom(format!("kafka.set.{key}: {SECRET}")));
            }
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Whether a setting of librdkafka has a password, a key or a token as its value.
fn holds_secret(key: &str) -> bool {
    ["password", "secret", "passphrase", "key.pem", "oauthbearer.config", "jaas"].iter().any(|part| key.contains(part))
}
