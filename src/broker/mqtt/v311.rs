//! MQTT 3.1.1.

use std::sync::Arc;

use rumqttc_v4::mqttbytes::QoS;
use rumqttc_v4::{
    AsyncClient, Broker, ClientError, ConnectAuth, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions,
    NetworkOptions, Packet, Publish, PublishOptions, TlsConfiguration, Transport,
};
use rustls::ClientConfig;

use crate::broker::link::{Cause, Fault, Reply};
use crate::broker::mqtt::connection::{self, Answer, Lost};
use crate::broker::mqtt::connector::{Connector, IN_FLIGHT, MAX_PACKET, NO_TIMEOUT};
use crate::broker::url::Url;
use crate::forward::Message;

/// Requests that are taken from the queue at once, and written together.
const BATCH: usize = 64;

pub(super) struct Client {
    client: AsyncClient,
    events: Box<EventLoop>,
}

impl connection::Client for Client {
    async fn connect(to: &Connector, url: &Url, tls: Option<Arc<ClientConfig>>) -> Result<Self, Cause> {
        let built = AsyncClient::builder(options(to, url, tls)).unbounded().try_build();
        let (client, mut events) = built.map_err(|error| Cause::of(format!("not connected: {error}"), error))?;
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(NO_TIMEOUT);
        events.set_network_options(network);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(Self { client, events: Box::new(events) }),
                Ok(_) => {}
                Err(error) => return Err(refusal(&error).into()),
            }
        }
    }

    fn send(&self, message: &Message, to: &Connector) -> Result<Answer, Reply> {
        let options = PublishOptions::at_least_once().retain(to.retain);
        match self.client.try_publish_tracked(to.topic(message), message.structured(), options) {
            Ok(notice) => Ok(Box::pin(async move { notice.wait_async().await.ok().map(|_| Reply::Accepted) })),
            Err(ClientError::InvalidRequest(_)) => Err(Reply::Refused(Fault::Place, "it is no topic of MQTT".into())),
            Err(error) => Err(Reply::Refused(Fault::Server, error.to_string().into())),
        }
    }

    fn disconnect(&self) {
        // There is room in the queue, and where the event loop is gone, so is the connection.
        let _ = self.client.try_disconnect_now();
    }

    async fn poll(&mut self) -> Result<(), Lost> {
        let lost = |error: ConnectionError| Lost { why: format!("the connection ended: {error}"), first: None };
        self.events.poll().await.map(drop).map_err(lost)
    }
}

/// How large the packet of a message is.
pub(super) fn size(message: &Message, to: &Connector) -> usize {
    let mut publish = Publish::from_bytes(to.topic(message), QoS::AtLeastOnce, message.structured());
    publish.pkid = 1; // Its size is with one.
    publish.size()
}

fn options(to: &Connector, url: &Url, tls: Option<Arc<ClientConfig>>) -> MqttOptions {
    let broker = Broker::tcp(url.bracketed_host(), url.port);
    let mut options = MqttOptions::new(to.client_id.as_str(), broker);
    options
        .set_clean_session(true)
        .set_keep_alive(to.keep_alive_seconds)
        .set_max_request_batch(BATCH)
        .set_inflight(IN_FLIGHT)
        // What comes in are acknowledgements; what goes out was measured.
        .set_max_packet_size(10 << 10, MAX_PACKET);
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
