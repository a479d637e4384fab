//! Settings of MQTT.

use super::common::{Common, apply};
use crate::Result;
use crate::broker::mqtt::{Mqtt, Version};
use crate::config::Duration;
use crate::config::keys::settings;
use crate::forward::BoxPublish;

settings! {
    /// The settings of MQTT alone.
    #[derive(Default)]
    pub struct MqttConfig {
        required {}
        optional {
            /// The version of the protocol, `5` or `3.1.1`: [`Mqtt::version`].
            version: Option<Version>,
            /// The topics: [`Mqtt::topic`].
            topic: Option<String>,
            /// The client id: [`Mqtt::client_id`].
            client_id: Option<String>,
            /// Whether the broker retains the last message of each topic: [`Mqtt::retain`].
            retain: Option<bool>,
            /// The time for which the broker keeps a message: [`Mqtt::expiry`].
            expiry: Option<Duration>,
            /// Whether a message without a subscriber waits for one: [`Mqtt::require_subscribers`].
            require_subscribers: Option<bool>,
            /// The keep-alive time: [`Mqtt::keep_alive`].
            keep_alive: Option<Duration>,
            /// The largest packet, in bytes: [`Mqtt::max_packet_bytes`].
            max_packet_bytes: Option<u32>,
        }
    }
}

impl MqttConfig {
    pub(super) fn broker(&self, common: Common<'_>, url: &str) -> Result<BoxPublish> {
        let Self { version, topic, client_id, retain, expiry, require_subscribers, keep_alive, max_packet_bytes } =
            self;
        let mut broker = Mqtt::new(url)?;
        if let Some(version) = version {
            broker = broker.version(*version);
        }
        if let Some(topic) = topic {
            broker = broker.topic(topic);
        }
        if let Some(id) = client_id {
            broker = broker.client_id(id);
        }
        if let Some(retain) = retain {
            broker = broker.retain(*retain);
        }
        if let Some(expiry) = expiry {
            broker = broker.expiry(expiry.get());
        }
        if let Some(require) = require_subscribers {
            broker = broker.require_subscribers(*require);
        }
        if let Some(time) = keep_alive {
            broker = broker.keep_alive(time.get());
        }
        if let Some(bytes) = max_packet_bytes {
            broker = broker.max_packet_bytes(*bytes);
        }
        apply!(broker, common);
        Ok(BoxPublish::new(broker))
    }
}
