//! MQTT 5.

use std::sync::Arc;
use std::time::Duration;

use rumqttc_v5::mqttbytes::{Error as Malformed, QoS};
use rumqttc_v5::{
    AsyncClient, Broker, ClientError, ConnectAuth, ConnectReturnCode, ConnectionError, DisconnectReasonCode, Event,
    EventLoop, MqttOptions, NetworkOptions, Packet, PubAck, PubAckReason, Publish, PublishNoticeError, PublishOptions,
    PublishProperties, PublishResult, StateError, TlsConfiguration, Transport,
};
use rustls::ClientConfig;

use crate::forward::{Message, Outcome};

use super::Settings;
use super::address::Credentials;
use super::connection::{self, Answer, Lost};

/// Requests that are taken from the queue at once, and written together.
const BATCH: usize = 64;

/// The largest packet there can be.
pub(super) const MAX_PACKET: usize = 268_435_455;

/// The library's own timeout, in seconds: a call has one that holds for all of it.
pub(super) const NO_TIMEOUT: u64 = 1 << 30;

pub(super) struct Client {
    sender: Sender,
    events: Box<EventLoop>,
}

#[derive(Clone)]
pub(super) struct Sender {
    client: AsyncClient,
    max_packet_bytes: Option<u32>,
}

impl connection::Client for Client {
    type Sender = Sender;

    async fn connect(settings: &Settings, tls: Option<Arc<ClientConfig>>) -> Result<Self, String> {
        let builder = AsyncClient::builder(options(settings, tls));
        // Its queue has no bound of its own: a batch has.
        let (client, mut events) = builder.unbounded().try_build().map_err(|error| error.to_string())?;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    let max_packet_bytes = ack.properties.and_then(|properties| properties.max_packet_size);
                    return Ok(Self { sender: Sender { client, max_packet_bytes }, events: Box::new(events) });
                }
                Ok(_) => {}
                Err(error) => return Err(refusal(&error)),
            }
        }
    }

    fn max_packet_bytes(&self) -> Option<u32> {
        self.sender.max_packet_bytes
    }

    fn sender(&self) -> Sender {
        self.sender.clone()
    }

    fn send(sender: &Self::Sender, message: &Message, settings: &Arc<Settings>) -> Result<Answer, Outcome> {
        let topic = settings.topic(message);
        let mut publish =
            Publish::new(topic.clone(), QoS::AtLeastOnce, message.payload.clone(), Some(properties(message, settings)));
        publish.pkid = 1; // Its size is with one.
        let limit = settings.packet_limit(sender.max_packet_bytes).unwrap_or(MAX_PACKET).min(MAX_PACKET);
        let bytes = publish.size();
        if bytes > limit {
            return Err(settings.too_large(&topic, bytes, limit));
        }
        let options = PublishOptions::at_least_once().retain(settings.retain);
        let options = options.properties(publish.properties.unwrap_or_default());
        let settings = Arc::clone(settings);
        match sender.client.try_publish_tracked(topic.clone(), publish.payload, options) {
            Ok(notice) => Ok(Box::pin(async move { outcome(notice.wait_async().await, &topic, &settings) })),
            Err(ClientError::InvalidRequest(_)) => {
                Err(Outcome::Rejected(settings.error(&format!("{topic:?} is no topic of MQTT"))))
            }
            Err(error) => Err(Outcome::Retry(settings.error(&format!("{topic}: {error}")))),
        }
    }

    fn disconnect(&self) {
        // There is room in the queue, and where the event loop is gone, so is the connection.
        let _ = self.sender.client.try_disconnect_now();
    }

    async fn poll(&mut self) -> Result<(), Lost> {
        self.events.poll().await.map(drop).map_err(|error| lost(&error))
    }
}

fn options(settings: &Settings, tls: Option<Arc<ClientConfig>>) -> MqttOptions {
    let broker = Broker::tcp(settings.address.host.as_str(), settings.address.port);
    let mut options = MqttOptions::new(settings.client_id.as_str(), broker);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(NO_TIMEOUT);
    options
        .set_clean_start(true)
        .set_keep_alive(settings.keep_alive_seconds)
        .set_connect_timeout(Duration::from_secs(NO_TIMEOUT))
        .set_max_request_batch(BATCH)
        .set_outgoing_inflight_upper_limit(settings.in_flight)
        .set_network_options(network);
    if let Some(config) = tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    options.set_auth(match settings.credentials.clone() {
        None => ConnectAuth::None,
        Some(Credentials { user, password: None }) => ConnectAuth::Username { username: user },
        Some(Credentials { user, password: Some(password) }) => {
            ConnectAuth::UsernamePassword { username: user, password: password.into() }
        }
    });
    options
}

/// The attributes of the CloudEvent, by the names they have, and the media type where MQTT has it.
fn properties(message: &Message, settings: &Settings) -> PublishProperties {
    let mut properties =
        PublishProperties { message_expiry_interval: settings.expiry_seconds, ..PublishProperties::default() };
    for (name, value) in message.attributes() {
        match name {
            "datacontenttype" => properties.content_type = Some(value.into_owned()),
            _ => properties.user_properties.push((name.to_owned(), value.into_owned())),
        }
    }
    properties
}

/// What an acknowledgement says.
fn outcome(notice: Result<PublishResult, PublishNoticeError>, topic: &str, settings: &Settings) -> Option<Outcome> {
    match notice {
        Ok(PublishResult::Qos1(ack)) => Some(acknowledged(&ack, topic, settings)),
        Err(PublishNoticeError::RetainNotSupported) => {
            let why = format!("{topic}: this broker retains no messages: publish without");
            Some(Outcome::Retry(settings.error(&why)))
        }
        _ => None,
    }
}

fn acknowledged(ack: &PubAck, topic: &str, settings: &Settings) -> Outcome {
    let error = |what: &str| {
        let said = ack.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
        let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
        settings.error(&format!("{topic}: {what}{said}"))
    };
    match ack.reason {
        PubAckReason::NoMatchingSubscribers if settings.require_subscribers => {
            Outcome::Retry(error("nobody subscribed to this topic"))
        }
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Outcome::Accepted,
        PubAckReason::NotAuthorized => Outcome::Rejected(error("this user may not publish to this topic")),
        PubAckReason::TopicNameInvalid => Outcome::Rejected(error("the broker does not take this topic")),
        PubAckReason::PayloadFormatInvalid => Outcome::Rejected(error("the broker does not take this payload")),
        PubAckReason::QuotaExceeded => Outcome::Retry(error("the broker's quota is exceeded")),
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse => {
            Outcome::Retry(error(&format!("the broker refuses it now: {:?}", ack.reason)))
        }
    }
}

/// Why there is no connection.
fn refusal(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
        ) => format!("the broker refuses this user or password: {code:?}"),
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion),
        ) => format!("the broker does not know MQTT 5: {code:?}; use MQTT 3.1.1"),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        // Brokers of 3.1.1 answer in their own way, or end the connection.
        ConnectionError::MqttState(_) => format!("not connected: {error}; does the broker know MQTT 5?"),
        _ => format!("not connected: {error}"),
    }
}

/// Why a connection ended.
fn lost(error: &ConnectionError) -> Lost {
    let first_refused = match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => matches!(
            reason_code,
            DisconnectReasonCode::PacketTooLarge
                | DisconnectReasonCode::TopicNameInvalid
                | DisconnectReasonCode::PayloadFormatInvalid
        ),
        // Mosquitto acknowledges what is over its `message_size_limit` with a reason that no acknowledgement has.
        ConnectionError::MqttState(StateError::Deserialization(
            Malformed::InvalidReason(reason) | Malformed::InvalidConnectReturnCode(reason),
        )) => *reason == DisconnectReasonCode::PacketTooLarge as u8,
        _ => false,
    };
    let why = if first_refused { "the broker refuses the message" } else { "the connection ended" };
    Lost { why: format!("{why}: {error}"), first_refused }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::mqtt::Mqtt;

    fn settings(require_subscribers: bool) -> Arc<Settings> {
        Mqtt::new("mqtt://me:s3cret@broker").unwrap().require_subscribers(require_subscribers).settings
    }

    #[test]
    fn every_acknowledgement_has_its_outcome() {
        use PubAckReason as Reason;
        let check = |reason, expected: &str| {
            let properties = rumqttc_v5::PubAckProperties {
                reason_string: Some("so it is".to_owned()),
                user_properties: Vec::new(),
            };
            let ack = PubAck { pkid: 1, reason, properties: Some(properties) };
            let outcome = acknowledged(&ack, "a/b", &settings(false));
            let text = format!("{outcome:?}");
            assert!(text.starts_with(expected), "{reason:?}: {text}");
            if !outcome.is_accepted() {
                assert!(text.contains("mqtt://broker:1883: a/b: ") && text.contains("(so it is)"), "{text}");
            }
        };
        for reason in [Reason::Success, Reason::NoMatchingSubscribers] {
            check(reason, "Accepted");
        }
        for reason in [Reason::NotAuthorized, Reason::TopicNameInvalid, Reason::PayloadFormatInvalid] {
            check(reason, "Rejected");
        }
        for reason in [
            Reason::QuotaExceeded,
            Reason::UnspecifiedError,
            Reason::ImplementationSpecificError,
            Reason::PacketIdentifierInUse,
        ] {
            check(reason, "Retry");
        }
        let nobody = PubAck { pkid: 1, reason: Reason::NoMatchingSubscribers, properties: None };
        assert!(matches!(acknowledged(&nobody, "a/b", &settings(true)), Outcome::Retry(_)));
    }

    #[test]
    fn a_message_is_refused_only_for_what_it_is() {
        let ended = |reason_code| {
            lost(&ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string: None }))
        };
        use DisconnectReasonCode as Reason;
        for reason in [Reason::PacketTooLarge, Reason::TopicNameInvalid, Reason::PayloadFormatInvalid] {
            assert!(ended(reason).first_refused, "{reason:?}");
        }
        for reason in [
            Reason::ServerShuttingDown,
            Reason::SessionTakenOver,
            Reason::NotAuthorized,
            Reason::QuotaExceeded,
            Reason::KeepAliveTimeout,
            Reason::RetainNotSupported,
        ] {
            assert!(!ended(reason).first_refused, "{reason:?}");
        }
        let unknown = |reason| {
            lost(&ConnectionError::MqttState(StateError::Deserialization(Malformed::InvalidConnectReturnCode(reason))))
        };
        assert!(unknown(0x95).first_refused && !unknown(0x96).first_refused);
        assert!(!lost(&ConnectionError::MqttState(StateError::ConnectionAborted)).first_refused);
    }
}
