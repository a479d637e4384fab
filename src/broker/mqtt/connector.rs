//! All that makes a connection, and a packet of a message.

use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use crate::broker::tls::Tls;
use crate::broker::url::Url;
use crate::forward::{Escape, Message, Template};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Version {
    /// MQTT 5: reports why it refuses something, and carries the attributes of a message.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1, for brokers that know nothing later.
    #[serde(rename = "3.1.1")]
    V311,
}

/// The largest packet there can be.
pub(super) const MAX_PACKET: usize = 268_435_455;

/// The library's own timeout, in seconds: a call has one that holds for all of it.
pub(super) const NO_TIMEOUT: u64 = 1 << 30;

/// How many messages the library has on their way at once, unless the broker wants fewer; what is more waits in it.
pub(super) const IN_FLIGHT: u16 = 1000;

/// The name of a client at the broker, which knows each once.
#[derive(Debug)]
pub(super) enum ClientId {
    Given(String),
    /// One that no other has: a clone is another client.
    Unique(String),
}

impl ClientId {
    /// Letters and digits, 23 of them at most, as brokers of 3.1.1 must take it.
    pub(super) fn unique() -> Self {
        // Its keys are the system's random numbers: two hosts that start at the same time get different ones.
        Self::Unique(format!("appmon{:016x}", RandomState::new().hash_one(())))
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Given(id) | Self::Unique(id) => id,
        }
    }
}

impl Clone for ClientId {
    fn clone(&self) -> Self {
        match self {
            Self::Given(id) => Self::Given(id.clone()),
            Self::Unique(_) => Self::unique(),
        }
    }
}

/// The settings of a connection, and of the packets that go over it.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) urls: Vec<Url>,
    pub(super) credentials: Option<(String, String)>,
    pub(super) tls: Tls,
    pub(super) version: Version,
    pub(super) topic: Template,
    pub(super) client_id: ClientId,
    pub(super) retain: bool,
    pub(super) expiry_seconds: Option<u32>,
    pub(super) require_subscribers: bool,
    pub(super) keep_alive_seconds: u16,
    pub(super) max_packet_bytes: Option<u32>,
}

impl Connector {
    pub(super) fn topic(&self, message: &Message) -> String {
        self.topic.render(message, Escape::Mqtt)
    }

    /// Who we are at this server.
    pub(super) fn credentials(&self, url: &Url) -> Option<(String, Option<String>)> {
        match &self.credentials {
            Some((user, password)) => Some((user.clone(), Some(password.clone()))),
            None => url.user.clone().filter(|user| !user.is_empty()).map(|user| (user, url.password.clone())),
        }
    }
}
