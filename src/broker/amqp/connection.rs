//! One connection to an AMQP broker, with one channel.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_rs::Runtime;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Channel, ConnectionProperties, ExchangeKind};
use rustls::ClientConfig;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::broker::amqp::confirm;
use crate::broker::amqp::socket::{self, Kit, Socket};
use crate::broker::socket::{Cut, Endpoint};
use crate::{Error, Result};

/// Where the broker is, and who we are to it.
pub(super) struct Server {
    scheme: &'static str,
    endpoint: Endpoint,
    uri: AMQPUri,
}

impl Server {
    pub(super) fn configure(&mut self, config: Arc<ClientConfig>) -> Result<()> {
        self.endpoint.configure(config, "amqps")
    }

    pub(super) fn parse(url: &str) -> Result<Self> {
        // Errors do not show the URL: it has a password in it.
        let (scheme, rest) = match url.split_once("://") {
            Some(("amqp", rest)) => ("amqp", rest),
            Some(("amqps", rest)) => ("amqps", rest),
            _ => return Err(Error::config("the URL of an AMQP broker begins with amqp:// or amqps://")),
        };
        if url.contains('#') {
            return Err(Error::config("the URL of an AMQP broker has no fragment; write %23 for a # in a password"));
        }
        let uri: AMQPUri = url.parse().map_err(|error| Error::config(format!("the URL of an AMQP broker: {error}")))?;
        if uri.vhost.len() > 255 {
            return Err(Error::config("the name of a virtual host has at most 255 bytes"));
        }
        // The parser takes an IPv6 address for no host, and no host for localhost.
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let address = authority.rsplit('@').next().unwrap_or_default();
        let host = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, _)) => host.to_owned(),
            None if address.is_empty() || address.starts_with(':') => {
                return Err(Error::config("the URL of an AMQP broker has no host"));
            }
            None => uri.authority.host.clone(),
        };
        let endpoint = Endpoint::new(host, uri.authority.port);
        Ok(Self { scheme, endpoint: if scheme == "amqps" { endpoint.with_tls()? } else { endpoint }, uri })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.endpoint)?;
        if self.uri.vhost == "/" { Ok(()) } else { write!(f, "/{}", self.uri.vhost) }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A connection that never comes back by itself. Dropped, it ends at once, and the client's thread with it.
pub(super) struct Connection {
    client: lapin::Connection,
    channel: Channel,
    _cut: Cut,
}

impl Connection {
    pub(super) async fn open(server: &Server, exchange: &ShortString) -> Result<Self> {
        let (socket, cut) = server
            .endpoint
            .connect()
            .await
            .map_err(|cause| Error::broker_because(format!("{server}: no connection: {cause}"), cause))?;
        let opened = Self::over(server, socket.compat(), cut, exchange).await;
        opened.map_err(|cause| Error::broker_because(format!("{server}: {}", confirm::explained(&cause)), cause))
    }

    async fn over(server: &Server, socket: Socket, cut: Cut, exchange: &ShortString) -> lapin::Result<Self> {
        let socket = Mutex::new(Some(socket));
        // The client connects once, and never again: then there is no socket to take.
        let connect = async move |_: AMQPUri, _: Runtime<Kit>| {
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
            let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok(AsyncTcpStream::Plain(socket))
        };
        let properties = ConnectionProperties::default().with_connection_name("appmon".into());
        let client = lapin::Connection::connector(server.uri.clone(), socket::runtime(), connect, properties).await?;
        let channel = client.create_channel().await?;
        // Without it nothing is ever confirmed.
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        if !exchange.as_str().is_empty() {
            // It is cheaper to learn here that there is none than from a channel that is closed with messages in it.
            let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default()).await?;
        }
        Ok(Self { client, channel, _cut: cut })
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether it can be used, as far as is known here.
    pub(super) fn is_open(&self) -> bool {
        self.client.status().connected() && self.channel.status().connected()
    }

    /// Whether the broker takes nothing of anybody now.
    pub(super) fn is_blocked(&self) -> bool {
        self.client.status().blocked()
    }

    /// A round trip.
    pub(super) async fn check(&self) -> lapin::Result<()> {
        self.channel.confirm_select(ConfirmSelectOptions::default()).await
    }

    pub(super) async fn close(self) -> lapin::Result<()> {
        self.client.close(200, "OK".into()).await
    }
}
