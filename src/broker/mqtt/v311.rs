//! MQTT 3.1.1.

use std::sync::Arc;

use rumqttc_v4::mqttbytes::QoS;
use rumqttc_v4::{
    AsyncClient, Broker, ClientError, ConnectAuth, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions,
    NetworkOptions, Packet, Publish, PublishOptions, TlsConfiguration, Transport,
};
use rustls::ClientConfig;

use crate::forward::{Message, Outcome};

use super::Settings;
use super::address::Credentials;
use super::connection::{self, Answer, Lost};
use super::v5::{MAX_PACKET, NO_TIMEOUT};

/// Requests that are taken from the queue at once, and written together.
const BATCH: usize = 64;

pub(super) struct Client {
    client: AsyncClient,
    events: Box<EventLoop>,
}

impl connection::Client for Client {
    type Sender = AsyncClient;

    async fn connect(settings: &Settings, tls: Option<Arc<ClientConfig>>) -> Result<Self, String> {
        let builder = AsyncClient::builder(options(settings, tls));
        let (client, mut events) = builder.unbounded().try_build().map_err(|error| error.to_string())?;
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(NO_TIMEOUT);
        events.set_network_options(network);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(Self { client, events: Box::new(events) }),
                Ok(_) => {}
                Err(error) => return Err(refusal(&error)),
            }
        }
    }

    fn max_packet_bytes(&self) -> Option<u32> {
        None
    }

    fn sender(&self) -> AsyncClient {
        self.client.clone()
    }

    fn send(sender: &Self::Sender, message: &Message, settings: &Arc<Settings>) -> Result<Answer, Outcome> {
        let topic = settings.topic(message);
        let mut publish = Publish::from_bytes(topic.clone(), QoS::AtLeastOnce, message.structured());
        publish.pkid = 1; // Its size is with one.
        let limit = settings.packet_limit(None).unwrap_or(MAX_PACKET).min(MAX_PACKET);
        let bytes = publish.size();
        if bytes > limit {
            return Err(settings.too_large(&topic, bytes, limit));
        }
        let options = PublishOptions::at_least_once().retain(settings.retain);
        match sender.try_publish_tracked(topic.clone(), publish.payload, options) {
            Ok(notice) => Ok(Box::pin(async move { notice.wait_async().await.ok().map(|_| Outcome::Accepted) })),
            Err(ClientError::InvalidRequest(_)) => {
                Err(Outcome::Rejected(settings.error(&format!("{topic:?} is no topic of MQTT"))))
            }
            Err(error) => Err(Outcome::Retry(settings.error(&format!("{topic}: {error}")))),
        }
    }

    fn disconnect(&self) {
        // There is room in the queue, and where the event loop is gone, so is the connection.
        let _ = self.client.try_disconnect_now();
    }

    async fn poll(&mut self) -> Result<(), Lost> {
        let lost =
            |error: ConnectionError| Lost { why: format!("the connection ended: {error}"), first_refused: false };
        self.events.poll().await.map(drop).map_err(lost)
    }
}

fn options(settings: &Settings, tls: Option<Arc<ClientConfig>>) -> MqttOptions {
    let broker = Broker::tcp(settings.address.host.as_str(), settings.address.port);
    let mut options = MqttOptions::new(settings.client_id.as_str(), broker);
    options
        .set_clean_session(true)
        .set_keep_alive(settings.keep_alive_seconds)
        .set_max_request_batch(BATCH)
        .set_inflight(settings.in_flight)
        // What comes in are acknowledgements; what goes out was measured.
        .set_max_packet_size(10 << 10, MAX_PACKET);
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

/// Why there is no connection.
fn refusal(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
        ) => format!("the broker refuses this user or password: {code:?}"),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        _ => format!("not connected: {error}"),
    }
}
