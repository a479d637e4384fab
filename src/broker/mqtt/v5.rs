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

use crate::broker::link::{Cause, Fault, Reply};
use crate::broker::mqtt::connection::{self, Answer, Lost};
use crate::broker::mqtt::connector::{Connector, IN_FLIGHT, NO_TIMEOUT};
use crate::broker::url::Url;
use crate::forward::Message;

/// Requests that are taken from the queue at once, and written together.
const BATCH: usize = 64;

pub(super) struct Client {
    client: AsyncClient,
    events: Box<EventLoop>,
    max_packet_bytes: Option<u32>,
}

impl Client {
    /// The largest packet that the broker accepts, as it reported.
    pub(super) fn limit(&self) -> Option<usize> {
        self.max_packet_bytes.and_then(|bytes| usize::try_from(bytes).ok())
    }
}

impl connection::Client for Client {
    async fn connect(to: &Connector, url: &Url, tls: Option<Arc<ClientConfig>>) -> Result<Self, Cause> {
        let builder = AsyncClient::builder(options(to, url, tls));
        // Its queue has no bound of its own: a turn has.
        let built = builder.unbounded().try_build();
        let (client, mut events) = built.map_err(|error| Cause::of(format!("not connected: {error}"), error))?;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    let max_packet_bytes = ack.properties.and_then(|properties| properties.max_packet_size);
                    return Ok(Self { client, events: Box::new(events), max_packet_bytes });
                }
                Ok(_) => {}
                Err(error) => return Err(refusal(&error).into()),
            }
        }
    }

    fn send(&self, message: &Message, to: &Connector) -> Result<Answer, Reply> {
        let options = PublishOptions::at_least_once().retain(to.retain).properties(properties(message, to));
        let require_subscribers = to.require_subscribers;
        match self.client.try_publish_tracked(to.topic(message), message.payload.clone(), options) {
            Ok(notice) => Ok(Box::pin(async move { reply(notice.wait_async().await, require_subscribers) })),
            Err(ClientError::InvalidRequest(_)) => Err(Reply::Refused(Fault::Place, "it is no topic of MQTT".into())),
            Err(error) => Err(Reply::Refused(Fault::Server, error.to_string().into())),
        }
    }

    fn disconnect(&self) {
        // There is room in the queue, and where the event loop is gone, so is the connection.
        let _ = self.client.try_disconnect_now();
    }

    async fn poll(&mut self) -> Result<(), Lost> {
        self.events.poll().await.map(drop).map_err(|error| lost(&error))
    }
}

/// How large the packet of a message is.
pub(super) fn size(message: &Message, to: &Connector) -> usize {
    let properties = Some(properties(message, to));
    let mut publish = Publish::new(to.topic(message), QoS::AtLeastOnce, message.payload.clone(), properties);
    publish.pkid = 1; // Its size is with one.
    publish.size()
}

fn options(to: &Connector, url: &Url, tls: Option<Arc<ClientConfig>>) -> MqttOptions {
    let broker = Broker::tcp(url.bracketed_host(), url.port);
    let mut options = MqttOptions::new(to.client_id.as_str(), broker);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(NO_TIMEOUT);
    options
        .set_clean_start(true)
        .set_keep_alive(to.keep_alive_seconds)
        .set_connect_timeout(Duration::from_secs(NO_TIMEOUT))
        .set_max_request_batch(BATCH)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_network_options(network);
    if let Some(config) = tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    options.set_auth(match to.credentials(url) {
        None => ConnectAuth::None,
        Some((username, None)) => ConnectAuth::Username { username },
        Some((username, Some(password))) => ConnectAuth::UsernamePassword { username, password: password.into() },
    });
    options
}

/// The attributes of the CloudEvent, by the names they have, and the media type where MQTT has it.
fn properties(message: &Message, to: &Connector) -> PublishProperties {
    let mut properties =
        PublishProperties { message_expiry_interval: to.expiry_seconds, ..PublishProperties::default() };
    for (name, value) in message.attributes() {
        match name {
            "datacontenttype" => properties.content_type = Some(value.into_owned()),
            _ => properties.user_properties.push((name.to_owned(), value.into_owned())),
        }
    }
    properties
}

/// The reply of an acknowledgement.
fn reply(notice: Result<PublishResult, PublishNoticeError>, require_subscribers: bool) -> Option<Reply> {
    match notice {
        Ok(PublishResult::Qos1(ack)) => Some(acknowledged(&ack, require_subscribers)),
        Err(PublishNoticeError::RetainNotSupported) => {
            Some(Reply::Refused(Fault::Place, "this broker retains no messages: publish without".into()))
        }
        _ => None,
    }
}

fn acknowledged(ack: &PubAck, require_subscribers: bool) -> Reply {
    let reason = ack.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let refused = |fault, what: &str| Reply::Refused(fault, format!("{what}{reason}").into());
    match ack.reason {
        PubAckReason::NoMatchingSubscribers if require_subscribers => {
            refused(Fault::Place, "nobody subscribed to this topic")
        }
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Reply::Accepted,
        PubAckReason::NotAuthorized => refused(Fault::Place, "this user may not publish to this topic: grant it"),
        PubAckReason::TopicNameInvalid => refused(Fault::Place, "the broker does not take this topic"),
        PubAckReason::PayloadFormatInvalid => refused(Fault::Message, "the broker does not take this payload"),
        PubAckReason::QuotaExceeded => refused(Fault::Place, "the broker's quota is exceeded"),
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse => {
            refused(Fault::Server, &format!("the broker refuses it now: {:?}", ack.reason))
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
    let first = match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => match reason_code {
            DisconnectReasonCode::PacketTooLarge => Some(Fault::Size(None)),
            DisconnectReasonCode::PayloadFormatInvalid => Some(Fault::Message),
            DisconnectReasonCode::TopicNameInvalid => Some(Fault::Place),
            _ => None,
        },
        // Mosquitto acknowledges what is over its `message_size_limit` with a reason that no acknowledgement has.
        ConnectionError::MqttState(StateError::Deserialization(
            Malformed::InvalidReason(reason) | Malformed::InvalidConnectReturnCode(reason),
        )) => (*reason == DisconnectReasonCode::PacketTooLarge as u8).then_some(Fault::Size(None)),
        _ => None,
    };
    let why = if first.is_some() { "the broker refuses the message" } else { "the connection ended" };
    Lost { why: format!("{why}: {error}"), first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_acknowledgement_has_its_outcome() {
        use PubAckReason as Reason;
        let check = |reason, expected: Option<Fault>| {
            let properties = rumqttc_v5::PubAckProperties {
                reason_string: Some("so it is".to_owned()),
                user_properties: Vec::new(),
            };
            let ack = PubAck { pkid: 1, reason, properties: Some(properties) };
            match (acknowledged(&ack, false), expected) {
                (Reply::Accepted, None) => {}
                (Reply::Refused(fault, cause), Some(expected)) => {
                    assert_eq!(fault, expected, "{reason:?}");
                    assert!(format!("{cause:?}").contains("(so it is)"), "{cause:?}");
                }
                (reply, _) => panic!("{reason:?}: {reply:?}"),
            }
        };
        for reason in [Reason::Success, Reason::NoMatchingSubscribers] {
            check(reason, None);
        }
        check(Reason::PayloadFormatInvalid, Some(Fault::Message));
        for reason in [Reason::NotAuthorized, Reason::TopicNameInvalid, Reason::QuotaExceeded] {
            check(reason, Some(Fault::Place));
        }
        for reason in [Reason::UnspecifiedError, Reason::ImplementationSpecificError, Reason::PacketIdentifierInUse] {
            check(reason, Some(Fault::Server));
        }
        let nobody = PubAck { pkid: 1, reason: Reason::NoMatchingSubscribers, properties: None };
        assert!(matches!(acknowledged(&nobody, true), Reply::Refused(Fault::Place, _)));
    }

    #[test]
    fn a_message_is_refused_only_for_what_it_is() {
        let ended = |reason_code| {
            lost(&ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string: None })).first
        };
        use DisconnectReasonCode as Reason;
        assert_eq!(ended(Reason::PacketTooLarge), Some(Fault::Size(None)));
        assert_eq!(ended(Reason::PayloadFormatInvalid), Some(Fault::Message));
        assert_eq!(ended(Reason::TopicNameInvalid), Some(Fault::Place));
        for reason in [
            Reason::ServerShuttingDown,
            Reason::SessionTakenOver,
            Reason::NotAuthorized,
            Reason::QuotaExceeded,
            Reason::KeepAliveTimeout,
            Reason::RetainNotSupported,
        ] {
            assert_eq!(ended(reason), None, "{reason:?}");
        }
        let unknown = |reason| {
            lost(&ConnectionError::MqttState(StateError::Deserialization(Malformed::InvalidConnectReturnCode(reason))))
        };
        assert_eq!((unknown(0x95).first, unknown(0x96).first), (Some(Fault::Size(None)), None));
        assert!(lost(&ConnectionError::MqttState(StateError::ConnectionAborted)).first.is_none());
    }
}
