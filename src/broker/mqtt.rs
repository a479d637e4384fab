//! MQTT 5 and 3.1.1.

mod connection;
mod connector;
mod v311;
mod v5;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::broker::link::{Cause, Connect, Link, Session, Turn, publish_by_link, template};
use crate::broker::mqtt::connection::Client as _;
pub use crate::broker::mqtt::connector::Version;
use crate::broker::mqtt::connector::{ClientId, Connector, MAX_PACKET};
use crate::broker::tls::Tls;
use crate::broker::url::{self, Form, Scheme, Url};
use crate::forward::{Escape, Message, Template};
use crate::{Error, Result};

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
/// let broker = Mqtt::new("mqtt://user:password@127.0.0.1:1883")?.topic("monitoring/{kind}/{host}");
/// let report = Processes::new().every(Duration::from_secs(10)).forward_to(Forwarder::new(broker)).await?;
/// println!("{report:?}");
/// # Ok(())
/// # }
/// ```
///
/// # Format of messages
///
/// With MQTT 5, the default, the payload is published as it is, with its media type as the Content Type and the other
/// attributes of its CloudEvent as User Properties of the same names. MQTT 3.1.1 has no place for them: there the payload is
/// the whole CloudEvent as one JSON document ([`Message::structured`]).
///
/// # Durability of acknowledged messages
///
/// The broker has the message for current subscribers and for stored sessions (QoS 1, no clean start). A message without a subscriber is
/// acknowledged and dropped; [`Mqtt::require_subscribers`] turns that into an outcome. An acknowledged message for a stored session can
/// be lost: when the broker ends before it saved it
/// (Mosquitto saves every 30 minutes by default, and nothing without `persistence true`), and when a session's queue is full
/// (`max_queued_messages`, 1000 by default). A broker of MQTT 3.1.1 also acknowledges messages that it drops because of a missing
/// permission or their size; prefer MQTT 5, which reports these.
///
/// # Outcomes
///
/// | the broker | outcome |
/// |---|---|
/// | is not there, or refuses the connection, the user or the password | retry |
/// | does not let this user publish to this topic, or does not take the topic (MQTT 5) | retry |
/// | has no quota left, or some other trouble of its own (MQTT 5) | retry |
/// | ends the connection, or is silent for longer than the [timeout](Mqtt::timeout) | unknown |
/// | finds the message too large, or malformed (MQTT 5) | too large, or rejected |
///
/// A message larger than the broker's reported limit (MQTT 5), or than [`Mqtt::max_packet_bytes`], is rejected and not sent. A broker of
/// 3.1.1 that ends the connection of a user who may not publish cannot be distinguished from one that refuses the message.
///
/// # Permissions of the user
///
/// Write permission for the topics: in an ACL file of Mosquitto `topic write appmon/#` below `user monitor`.
///
/// # Connections
///
/// The first message connects, and each call of [`publish`](crate::forward::Publish::publish) connects again where the connection was lost;
/// each is a clean start, so that no earlier message is sent without the caller. There is no background task: between two calls the
/// connection sends no keep-alive, and when no call comes for one and a half of the
/// [keep-alive time](Mqtt::keep_alive) the broker ends it, which costs the next call a new one and nothing else.
#[derive(Clone)]
pub struct Mqtt {
    link: Link<Connector>,
}

publish_by_link!(Mqtt, "100");

const FORM: Form = Form {
    broker: "an MQTT broker",
    schemes: &[Scheme { name: "mqtt", tls: false, port: 1883 }, Scheme { name: "mqtts", tls: true, port: 8883 }],
    bare: false,
};

impl Mqtt {
    /// Returns a publisher to the broker at this URL: `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`, or `mqtts://` for TLS. Without a port it is 1883, or 8883 for
    /// TLS. Special characters in user and password are escaped by `%`. Several servers of one cluster, separated by
    /// commas, are tried one after the other.
    ///
    /// It does not connect yet, so the broker may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the URL is wrong; the error does not contain the password.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let urls = FORM.read(url.as_ref())?;
        for url in &urls {
            if url.scheme.tls && url.host.contains(':') {
                // A certificate is for a name, and the client takes an IPv6 address in brackets for one.
                return Err(FORM.wrong("an IPv6 address with TLS: give the name of the host"));
            }
            if url.path.as_deref().is_some_and(|path| !path.is_empty()) || url.query.is_some() {
                return Err(FORM.wrong("a path or query, which mean nothing here: the topic is a setting of its own"));
            }
            if url.user.as_deref() == Some("") && url.password.is_some() {
                return Err(FORM.wrong("a password without a user"));
            }
            check_credentials(url.user.as_deref(), url.password.as_deref())?;
        }
        let connect = Connector {
            urls,
            credentials: None,
            tls: Tls::default(),
            version: Version::default(),
            topic: "appmon/{kind}/{host}".parse()?,
            client_id: ClientId::unique(),
            retain: false,
            expiry_seconds: None,
            require_subscribers: false,
            keep_alive_seconds: 300,
            max_packet_bytes: None,
        };
        Ok(Self { link: Link::new(connect, 100) })
    }

    /// Sets the version of the protocol. Default: MQTT 5. With 3.1.1 refusals are not reported, and a payload other than JSON is a third
    /// larger.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.link.connect.version = version;
        self
    }

    /// Sets the topic, a [`Template`] or its text. Default: `appmon/{kind}/{host}`. An invalid template, or one with `+`, `#` or control
    /// characters, is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn topic<T: TryInto<Template>>(mut self, topic: T) -> Self
    where
        Error: From<T::Error>,
    {
        self.link.configure("topic", |connect| {
            connect.topic = template(topic, Escape::Mqtt)?;
            Ok(())
        });
        self
    }

    /// Sets the client id, which is unique at the broker: a second connection with the same id ends the first.
    /// Default: `appmon` and 16 hexadecimal digits, other ones for each sink and each clone. One that is empty, longer than 65,535 bytes,
    /// or has control characters, is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.link.configure("client_id", |connect| {
            let id = id.into();
            if id.is_empty() || id.len() > usize::from(u16::MAX) || id.chars().any(char::is_control) {
                let why = "a client id has 1 to 65,535 bytes and no control characters";
                return Err(Error::config(format!("{:?}: {why}", id.get(..40).unwrap_or(&id))));
            }
            connect.client_id = ClientId::Given(id);
            Ok(())
        });
        self
    }

    /// Sets user and password for all servers, instead of those in their URLs. One that is longer than 65,535 bytes is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.link.configure("credentials", |connect| {
            let (user, password) = (user.into(), password.into());
            check_credentials(Some(&user), Some(&password))?;
            connect.credentials = Some((user, password));
            Ok(())
        });
        self
    }

    /// Sets the TLS configuration of an `mqtts://` URL: trusted roots, client certificate. Default: the system's root certificates and
    /// no client certificate. One for an `mqtt://` URL, which is without TLS, is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.link.configure("tls", |connect| {
            url::wants_tls(connect.urls.iter())?;
            connect.tls.set(config.into());
            Ok(())
        });
        self
    }

    /// Sets whether the broker retains the last message of each topic for later subscribers. Default: no. A retained message can be old: it
    /// is not deleted when this host is gone.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.link.connect.retain = retain;
        self
    }

    /// Sets how long the broker keeps a message for a disconnected subscriber; in whole seconds, at least one. Default: as long as the
    /// subscriber's session. MQTT 5; without effect for 3.1.1.
    #[must_use]
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.link.connect.expiry_seconds = Some(u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Sets whether a message without a subscriber is [`Outcome::Retry`](crate::forward::Outcome::Retry) instead of accepted, so that it waits for
    /// one. Default: no. It costs a round trip per message, since each has to wait for the answer to the one before.
    /// MQTT 5 only: brokers of 3.1.1 do not report it, and no message is sent to them with this setting.
    #[must_use]
    pub fn require_subscribers(mut self, require: bool) -> Self {
        self.link.connect.require_subscribers = require;
        self
    }

    /// Sets the keep-alive time, in whole seconds; zero disables it. Default: five minutes.
    ///
    /// When no message is sent for one and a half times as long, the broker ends the connection. It should be longer than the time
    /// between two messages, or each message costs a new connection. The longer it is, the longer the broker keeps the
    /// connection of a host that is gone. A broken idle connection is detected by the next message: without an answer within the
    /// [timeout](Self::timeout), it is sent again over a new connection.
    #[must_use]
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.link.connect.keep_alive_seconds = u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
        self
    }

    /// Sets the largest packet that the broker accepts, in bytes including topic and attributes. A broker of MQTT 3.1.1 does not report its
    /// limit, and drops larger messages or the connection. Default: the limit that a broker of MQTT 5 reports.
    #[must_use]
    pub fn max_packet_bytes(mut self, bytes: u32) -> Self {
        self.link.connect.max_packet_bytes = Some(bytes);
        self
    }
}

/// Checks the length that the protocol allows.
fn check_credentials(user: Option<&str>, password: Option<&str>) -> Result<()> {
    if user.into_iter().chain(password).any(|text| text.len() > usize::from(u16::MAX)) {
        return Err(Error::config("a user or password of MQTT has up to 65,535 bytes"));
    }
    Ok(())
}

/// A connection in one version of the protocol; none after it was lost.
enum Connection {
    V5(Option<v5::Client>),
    V311(Option<v311::Client>),
}

impl Connector {
    async fn open(&self, url: &Url) -> Result<Connection, Cause> {
        let tls = if url.scheme.tls { Some(self.tls.config().await?) } else { None };
        Ok(match self.version {
            Version::V5 => Connection::V5(Some(v5::Client::connect(self, url, tls).await?)),
            Version::V311 => Connection::V311(Some(v311::Client::connect(self, url, tls).await?)),
        })
    }
}

impl Connect for Connector {
    type Server = Url;
    type Session = Connection;

    fn servers(&self) -> &[Url] {
        &self.urls
    }

    async fn connect(&self, url: &Url) -> Result<Connection, Cause> {
        if self.require_subscribers && self.version == Version::V311 {
            return Err("require_subscribers: brokers of MQTT 3.1.1 do not report subscribers: \
                        turn it off, or use MQTT 5"
                .into());
        }
        self.open(url).await.inspect_err(|_| self.tls.forget())
    }

    async fn send(&self, connection: &mut Connection, turn: &mut Turn<'_>) -> Result<(), Cause> {
        match connection {
            Connection::V5(client) => connection::send(client, turn, self).await,
            Connection::V311(client) => connection::send(client, turn, self).await,
        }
    }

    fn place(&self, message: &Message) -> String {
        self.topic(message)
    }

    fn places(&self) -> String {
        self.topic.to_string()
    }

    fn refuse(&self, message: &Message) -> Option<Cause> {
        const ATTRIBUTES: usize = 64 << 10;
        let least = message.payload.len().saturating_add(ATTRIBUTES);
        (least > MAX_PACKET).then(|| "larger than any packet of MQTT".into())
    }

    fn size(&self, message: &Message) -> usize {
        match self.version {
            Version::V5 => v5::size(message, self),
            Version::V311 => v311::size(message, self),
        }
    }

    fn limit(&self) -> Option<usize> {
        self.max_packet_bytes.and_then(|bytes| usize::try_from(bytes).ok())
    }

    fn payload(&self, limit: usize) -> usize {
        match self.version {
            Version::V5 => limit,
            // A payload other than JSON is encoded as base64, a third larger.
            Version::V311 => limit.saturating_mul(3) / 4,
        }
    }

    fn one_by_one(&self) -> bool {
        // If the broker can refuse a single message for now, later ones must wait for its answer.
        self.require_subscribers
    }
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        match self {
            Self::V5(client) => client.as_mut().is_some_and(connection::is_open),
            Self::V311(client) => client.as_mut().is_some_and(connection::is_open),
        }
    }

    fn limit(&self) -> Option<usize> {
        match self {
            Self::V5(client) => client.as_ref().and_then(v5::Client::limit),
            Self::V311(_) => None,
        }
    }

    async fn close(self) {
        match self {
            Self::V5(Some(client)) => connection::close(client).await,
            Self::V311(Some(client)) => connection::close(client).await,
            Self::V5(None) | Self::V311(None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::Publish;

    #[test]
    fn secrets_stay_secret() {
        let broker = Mqtt::new("mqtt://me:s3cret@broker.example:1884").unwrap();
        assert_eq!(broker.destination(), "mqtt://broker.example:1884 appmon/{kind}/{host}");
        assert!(!format!("{broker:?}").contains("s3cret"));
    }

    #[test]
    fn wrong_options_are_found_at_once() {
        for (url, named) in [
            ("127.0.0.1:1883", "begins with mqtt:// or mqtts://"),
            ("mqtt://me:s3cret@h/topic", "path"),
            ("mqtt://h?x", "query"),
            ("mqtt://:s3cret@h", "without a user"),
            ("mqtts://me:s3cret@[::1]", "IPv6"),
        ] {
            let error = Mqtt::new(url).unwrap_err();
            assert!(error.is_config() && error.to_string().contains(named), "{url}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        let broker = || Mqtt::new("mqtt://127.0.0.1").unwrap();
        for (wrong, named) in [
            (broker().topic("a/#"), "topic: template a/#"),
            (broker().topic("a/{pid}".to_owned()), "{pid}"),
            (broker().client_id(""), "client_id: \"\""),
            (broker().credentials("u".repeat(70_000), "p"), "credentials"),
        ] {
            let error = wrong.validate().unwrap_err();
            assert!(error.is_config() && error.to_string().contains(named), "{error}");
        }
        let template: Template = "a/{kind}".parse().unwrap();
        assert!(broker().topic(template).validate().is_ok());
    }

    #[test]
    fn client_ids_are_those_that_every_broker_takes() {
        let one = ClientId::unique();
        let (one, other, cloned) = (one.as_str(), ClientId::unique(), one.clone());
        assert!(one != other.as_str() && one != cloned.as_str());
        assert_eq!(ClientId::Given("x".to_owned()).clone().as_str(), "x");
        assert!(one.len() <= 23 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{one}");
    }

    #[test]
    fn a_limit_is_one_of_packets() {
        let broker = Mqtt::new("mqtt://127.0.0.1").unwrap();
        assert_eq!(broker.max_message_bytes(), None);
        let broker = broker.max_packet_bytes(50_000);
        assert_eq!(broker.max_message_bytes(), Some(50_000));
        assert_eq!(broker.version(Version::V311).max_message_bytes(), Some(37_500));
    }
}
