//! MQTT 5 and 3.1.1.

mod address;
mod connection;
mod v311;
mod v5;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::Instant;

use crate::broker::tls;
use crate::forward::{Escape, Message, Outcome, Publish, Template};
use crate::sampler::hop;
use crate::time::from_now;
use crate::{Error, Result};

use address::{Address, Credentials};
use connection::Connection;

/// Publishes to an MQTT broker, with QoS 1: each message is acknowledged.
///
/// ```no_run
/// # async fn forward() -> appmon::Result<()> {
/// use std::time::Duration;
///
/// use appmon::broker::mqtt::Mqtt;
/// use appmon::forward::Forwarder;
/// use appmon::{ForwardExt, Processes, SourceExt};
///
/// let broker = Mqtt::connect("mqtt://user:password@127.0.0.1:1883").await?.topic("monitoring/{kind}/{host}")?;
/// let report = Processes::new().every(Duration::from_secs(10)).forward_to(Forwarder::new(broker)).await?;
/// println!("{report:?}");
/// # Ok(())
/// # }
/// ```
///
/// # What a message is
///
/// With MQTT 5, the default, the payload is published as it is, with its media type as the Content Type and the other
/// attributes of its CloudEvent as User Properties of the same names. MQTT 3.1.1 has no place for them: there the payload is
/// the whole CloudEvent as one JSON document ([`Message::structured`]).
///
/// # What an acknowledgement is worth
///
/// The broker took the message, for those who subscribe now and for sessions it keeps (QoS 1, no clean start). MQTT keeps
/// nothing for nobody: where nobody subscribed, the message is acknowledged and gone; [`Mqtt::require_subscribers`] makes that
/// an outcome. What is kept for a session can be lost although it was acknowledged: when the broker ends before it saved it
/// (Mosquitto saves every 30 minutes by default, and nothing without `persistence true`), and when a session's queue is full
/// (`max_queued_messages`, 1000 by default). A broker of MQTT 3.1.1 acknowledges also what it drops because the user may not
/// publish there or because it is too large; prefer MQTT 5, where it says so.
///
/// # Outcomes
///
/// | the broker | outcome |
/// |---|---|
/// | is not there, or refuses the connection, the user or the password | [`Outcome::Retry`] |
/// | has no quota left, or some other trouble of its own (MQTT 5); those of the batch that were not sent yet then wait too | [`Outcome::Retry`] |
/// | ends the connection, or is silent for longer than the [timeout](Mqtt::timeout) | [`Outcome::Unknown`] |
/// | does not let this user publish to this topic, or finds the message too large or malformed (MQTT 5) | [`Outcome::Rejected`] |
///
/// A message larger than the broker says it takes (MQTT 5), or than [`Mqtt::max_packet_bytes`], is [`Outcome::Rejected`] and
/// not sent.
///
/// # Connections
///
/// The first message connects, and each call of [`publish`](Publish::publish) connects again where the connection was lost;
/// each is a clean start, so that nothing is sent that the caller does not know of. There is no task in the background:
/// between two calls nobody answers for the connection, and when no call comes for one and a half of the
/// [keep-alive time](Mqtt::keep_alive) the broker ends it, which costs the next call a new one and nothing else.
pub struct Mqtt {
    /// Shared with what waits for acknowledgements.
    settings: Arc<Settings>,
    /// Taken while a call goes on: one that is dropped half-way leaves none, and the next call starts anew.
    connection: Option<Connection>,
    /// The largest packet that the broker takes, as it said when it last accepted a connection.
    max_packet_bytes: Option<u32>,
    /// Whether the broker owes acknowledgements of the last batch, of a connection that it did not end.
    silent: bool,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// MQTT 5: says why it refuses something, and has a place for the attributes of a message.
    #[default]
    V5,
    /// MQTT 3.1.1, for brokers that know nothing later.
    V311,
}

/// All that makes a connection, and a message of a message.
#[derive(Clone)]
struct Settings {
    address: Address,
    credentials: Option<Credentials>,
    tls: Option<Arc<ClientConfig>>,
    version: Version,
    topic: Template,
    client_id: String,
    retain: bool,
    expiry_seconds: Option<u32>,
    require_subscribers: bool,
    in_flight: u16,
    keep_alive_seconds: u16,
    timeout: Duration,
    max_packet_bytes: Option<u32>,
}

impl Mqtt {
    /// A broker by its URL: `mqtt://USER:PASSWORD@HOST:PORT`, or `mqtts://` for TLS. Without a port it is 1883, or 8883 for
    /// TLS. What stands in a user or password and may not stand in a URL is written with `%`.
    ///
    /// Nothing is connected before there is something to publish, or a check: the broker may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is no such URL; the password is not in the text of the error.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::new(url)
    }

    fn new(url: &str) -> Result<Self> {
        let (address, credentials) = address::parse(url)?;
        let settings = Settings {
            tls: None,
            address,
            credentials,
            version: Version::default(),
            topic: "appmon/{kind}/{host}".parse()?,
            client_id: unique_client_id(),
            retain: false,
            expiry_seconds: None,
            require_subscribers: false,
            in_flight: 100,
            keep_alive_seconds: 300,
            timeout: Duration::from_secs(5),
            max_packet_bytes: None,
        };
        Ok(Self { settings: Arc::new(settings), connection: None, max_packet_bytes: None, silent: false })
    }

    /// The version of the protocol. Default: MQTT 5. With 3.1.1 refusals go unseen, and a payload that is no JSON takes a third
    /// more.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.set().version = version;
        self
    }

    /// The topic, a [`Template`]. Default: `appmon/{kind}/{host}`.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is no template, or has `+`, `#` or control characters.
    pub fn topic(mut self, template: &str) -> Result<Self> {
        let topic: Template = template.parse()?;
        topic.check(Escape::Mqtt)?;
        self.set().topic = topic;
        Ok(self)
    }

    /// The name of this client at the broker, which knows each once: a second connection of the same name ends the first.
    /// Default: `appmon` and 16 hexadecimal digits, other ones for each sink.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is empty, longer than 65,535 bytes, or has control characters.
    pub fn client_id(mut self, id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        if id.is_empty() || id.len() > usize::from(u16::MAX) || id.chars().any(char::is_control) {
            return Err(Error::config("an MQTT client id has 1 to 65,535 bytes and no control characters"));
        }
        self.set().client_id = id;
        Ok(self)
    }

    /// User and password, instead of those in the URL.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when one of them is longer than 65,535 bytes.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Result<Self> {
        self.set().credentials = Some(Credentials::new(user.into(), Some(password.into()))?);
        Ok(self)
    }

    /// The TLS configuration of an `mqtts://` URL: trusted roots, client certificate. Default: the system's root certificates and
    /// no client certificate.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for an `mqtt://` URL: it would say that the connection is to be without.
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Result<Self> {
        if !self.settings.address.tls {
            return Err(Error::config("a TLS configuration, and mqtt://: for TLS the URL begins with mqtts://"));
        }
        self.set().tls = Some(config.into());
        Ok(self)
    }

    /// Whether the broker keeps the last message of each topic for those who subscribe later. Default: no. What it keeps can
    /// be old: it is not deleted when this host is gone.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.set().retain = retain;
        self
    }

    /// How long the broker keeps a message for a subscriber that is away; in whole seconds, at least one. Default: as long as the
    /// subscriber's session. MQTT 5; without effect for 3.1.1.
    #[must_use]
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.set().expiry_seconds = Some(u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Whether a message that nobody subscribed to is [`Outcome::Retry`] instead of [`Outcome::Accepted`], so that it waits until
    /// somebody does. Default: no. It costs a round trip per message, each of which has to wait for the answer to the one before.
    /// MQTT 5: brokers of 3.1.1 do not tell, and with it nothing is sent to them.
    #[must_use]
    pub fn require_subscribers(mut self, require: bool) -> Self {
        self.set().require_subscribers = require;
        self
    }

    /// How many messages may be on their way without an acknowledgement; at least one. Default: 100, or fewer where the broker
    /// says so (MQTT 5). When a broker of MQTT 5 refuses one for now, because its quota is exceeded, nothing more is sent before
    /// that one, but those on their way can come before it; with one at a time, which costs a round trip per message, none does.
    #[must_use]
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.set().in_flight = u16::try_from(messages).unwrap_or(u16::MAX).max(1);
        self
    }

    /// The keep-alive time, in whole seconds; zero is none, and no more than 65,535 s (18 hours) can be said to a broker.
    /// Default: five minutes.
    ///
    /// When no message goes out for one and a half of it the broker ends the connection. It should be longer than the time
    /// between two messages, or each of them costs a new connection; the longer it is, the longer the broker keeps the
    /// connection of a host that is gone. Whether an idle connection is still there shows with the next message; one that is
    /// not answered in [time](Self::timeout) is sent again over a new connection.
    #[must_use]
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.set().keep_alive_seconds = u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
        self
    }

    /// How long a batch may take, with connecting if need be, before what is not acknowledged counts as [`Outcome::Unknown`].
    /// Default: five seconds. On slow lines, give it more than the largest batch takes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.set().timeout = timeout;
        self
    }

    /// The largest packet that the broker takes, in bytes with topic and attributes, where it does not say so itself: with MQTT
    /// 3.1.1 it never does, and drops the message or the connection. Default: what a broker of MQTT 5 says.
    #[must_use]
    pub fn max_packet_bytes(mut self, bytes: u32) -> Self {
        self.set().max_packet_bytes = Some(bytes);
        self
    }

    fn set(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }

    /// The connection that there is, if it still stands, or a new one.
    async fn connection(&mut self, deadline: Instant) -> Result<Connection, String> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_alive()
        {
            return Ok(connection);
        }
        if self.settings.address.tls && self.settings.tls.is_none() {
            let config = hop(tls::of_system).await.map_err(|error| error.to_string())?;
            self.set().tls = Some(config.into());
        }
        let connection = Connection::open(&self.settings, deadline).await?;
        self.max_packet_bytes = connection.max_packet_bytes();
        Ok(connection)
    }
}

impl Publish for Mqtt {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        if batch.is_empty() {
            return Vec::new();
        }
        let all = |why: &str| batch.iter().map(|_| Outcome::Retry(self.settings.error(why))).collect();
        if self.settings.require_subscribers && self.settings.version == Version::V311 {
            return all(
                "brokers of MQTT 3.1.1 do not tell whether anybody subscribed: require no subscribers, or use MQTT 5",
            );
        }
        let deadline = self.settings.deadline();
        match self.connection(deadline).await {
            Ok(connection) => {
                // Also when this is dropped.
                self.silent = true;
                let landed = connection.publish(batch, &self.settings, deadline).await;
                self.connection = landed.client;
                self.silent = landed.silent;
                landed.outcomes
            }
            Err(why) => batch.iter().map(|_| Outcome::Retry(self.settings.error(&why))).collect(),
        }
    }

    /// Connects anew: that the broker accepts it is the answer, and the old connection may be gone unseen.
    async fn check(&mut self) -> Option<Result<()>> {
        self.connection = None;
        let answer = self.connection(self.settings.deadline()).await;
        match answer {
            Ok(connection) => {
                self.connection = Some(connection);
                // One that takes connections but acknowledges nothing waits for something, and not for another message.
                (!self.silent).then_some(Ok(()))
            }
            Err(why) => Some(Err(self.settings.error(&why))),
        }
    }

    fn max_message_bytes(&self) -> Option<usize> {
        let packet = self.settings.packet_limit(self.max_packet_bytes)?;
        Some(match self.settings.version {
            Version::V5 => packet,
            // What is no JSON is written as base64, which takes a third more.
            Version::V311 => packet.saturating_mul(3) / 4,
        })
    }

    fn destination(&self) -> String {
        format!("{} {}", self.settings.address, self.settings.topic)
    }

    async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close(self.settings.deadline()).await;
        }
    }
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt")
            .field("destination", &self.destination())
            .field("version", &self.settings.version)
            .field("client_id", &self.settings.client_id)
            .field("connected", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn deadline(&self) -> Instant {
        from_now(self.timeout)
    }

    /// How many messages may be on their way. Where the broker can answer "not now" to one of them alone, those after it must wait
    /// for its answer.
    fn window(&self) -> usize {
        if self.require_subscribers { 1 } else { usize::from(self.in_flight) }
    }

    /// The largest packet: the smaller one of what the user and the broker say.
    fn packet_limit(&self, of_broker: Option<u32>) -> Option<usize> {
        let limit = self.max_packet_bytes.into_iter().chain(of_broker).min()?;
        Some(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn topic(&self, message: &Message) -> String {
        self.topic.render(message, Escape::Mqtt)
    }

    fn error(&self, why: &str) -> Error {
        Error::broker(format!("{}: {why}", self.address))
    }

    /// The refusal of a message that no packet of this size may carry.
    fn too_large(&self, topic: &str, bytes: usize, limit: usize) -> Outcome {
        let why = format!("a message to {topic} of {bytes} bytes, and the broker takes {limit}: make smaller ones");
        Outcome::Rejected(self.error(&why))
    }
}

/// A client id that no other has: letters and digits, 23 of them at most, as brokers of 3.1.1 must take it.
fn unique_client_id() -> String {
    // Its keys are the system's random numbers: two hosts that start at the same time get different ones.
    format!("appmon{:016x}", RandomState::new().hash_one(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_secret() {
        let broker = Mqtt::new("mqtt://me:s3cret@broker.example:1884").unwrap();
        assert_eq!(broker.destination(), "mqtt://broker.example:1884 appmon/{kind}/{host}");
        assert!(!format!("{broker:?} {:?}", broker.settings.error("x")).contains("s3cret"));
    }

    #[test]
    fn wrong_options_are_found_at_once() {
        let broker = || Mqtt::new("mqtt://127.0.0.1").unwrap();
        assert!(broker().topic("a/#").unwrap_err().is_config());
        assert!(broker().topic("a/{pid}").unwrap_err().is_config());
        assert!(broker().client_id("").unwrap_err().is_config());
        assert!(broker().credentials("u".repeat(70_000), "p").unwrap_err().is_config());
    }

    #[test]
    fn client_ids_are_those_that_every_broker_takes() {
        let (one, other) = (unique_client_id(), unique_client_id());
        assert_ne!(one, other);
        assert!(one.len() <= 23 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{one}");
    }

    #[test]
    fn the_limit_is_the_smaller_one() {
        let mut broker = Mqtt::new("mqtt://127.0.0.1").unwrap();
        assert_eq!(broker.max_message_bytes(), None);
        broker.max_packet_bytes = Some(100_000);
        assert_eq!(broker.max_message_bytes(), Some(100_000));
        broker = broker.max_packet_bytes(50_000);
        assert_eq!(broker.max_message_bytes(), Some(50_000));
        assert_eq!(broker.version(Version::V311).max_message_bytes(), Some(37_500));
    }
}
