//! AMQP 0.9.1: RabbitMQ, and other brokers with publisher confirms.
//!
//! ```no_run
//! # fn forward() -> appmon::Result<()> {
//! use appmon::broker::amqp::Amqp;
//!
//! // To the exchange `appmon`, with the routing key `{kind}.{host}`.
//! let exchange = Amqp::new("amqp://monitor:secret@127.0.0.1:5672/metrics")?;
//! // To one queue.
//! let queue = Amqp::new("amqp://127.0.0.1")?.queue("samples");
//! # Ok(())
//! # }
//! ```
//!
//! Messages are persistent, with source and id as `message_id`, the kind and form as `type`, the time as `timestamp` (of seconds), and the
//! attributes of the CloudEvent as headers `cloudEvents:id`, `cloudEvents:source` …; `datacontenttype` is `content_type`. A
//! consumer recognizes duplicates by source and id.
//!
//! This crate declares no exchange or queue: create the exchange, and bind queues to it. For the defaults, with RabbitMQ's tool:
//!
//! ```text
//! rabbitmqadmin declare exchange name=appmon type=topic durable=true
//! rabbitmqadmin declare queue name=processes durable=true
//! rabbitmqadmin declare binding source=appmon destination=processes routing_key=process.*
//! ```
//!
//! # Durability of acknowledged messages
//!
//! Each message is confirmed by the broker (publisher confirms), and is `mandatory`: it was routed to at least one queue, and
//! every durable one has written it to its disk; a quorum queue has it on a majority of its nodes. A queue that is not durable
//! has it in its memory. An exchange that routes to several queues confirms when all of them have it. A message without a
//! queue is returned, and does not count as accepted.
//!
//! # Permissions of the user
//!
//! Write permission for the exchange, and no other: `rabbitmqctl set_permissions -p / monitor '^$' '^appmon$' '^$'`; with topic
//! permissions (`set_topic_permissions`), also write permission for these routing keys. For [`Amqp::queue`] the exchange is
//! `amq.default`.

mod confirm;
mod socket;

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

use crate::broker::amqp::confirm::{Answer, InFlight};
use crate::broker::amqp::socket::{Kit, Socket};
use crate::broker::link::{Cause, Connect, Fault, Link, Reply, Session, Turn, publish_by_link, template};
use crate::broker::socket::{Cut, connect};
use crate::broker::tls::Tls;
use crate::broker::url::{self, Form, Scheme, Url};
use crate::forward::{Escape, Message, Template};
use crate::{Error, Result};

/// Publishes to an exchange, with confirmations.
///
/// | outcome | when |
/// |---|---|
/// | accepted | the broker confirmed it, and did not return it |
/// | retry | no connection, wrong password, no such virtual host or exchange, no permission (403), no queue for its routing key (returned), a full queue (`basic.nack` of `x-overflow=reject-publish`), publishers held up (`connection.blocked`) |
/// | unknown | the connection or the channel ended, or the time was over, before the confirmation |
/// | too large | larger than the broker's limit (406), a routing key of more than 255 bytes |
///
/// A broker that refuses a message in this way closes the channel, without an answer to the others in flight: these are unknown. If its
/// answer does not name the message, the outcome is only certain for a message that was in flight alone.
///
/// The first batch connects, and after a failure the next one does. The client library, lapin, runs a thread for the connection.
#[derive(Clone)]
pub struct Amqp {
    link: Link<Connector>,
}

publish_by_link!(Amqp, "256");

const FORM: Form = Form {
    broker: "an AMQP broker",
    schemes: &[Scheme { name: "amqp", tls: false, port: 5672 }, Scheme { name: "amqps", tls: true, port: 5671 }],
    bare: false,
};

/// The largest number of bytes in flight: lapin holds them in memory, as frames.
const BYTES_IN_FLIGHT: usize = 8 << 20;

impl Amqp {
    /// Returns a publisher to the broker at this URL, `amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST]`, or `amqps://` for TLS; user, password and virtual
    /// host default to `guest`, `guest` and `/`. A virtual host is percent-encoded, and `amqp://host/` is the
    /// one without a name. `?heartbeat=SECONDS` overrides the broker's interval. Several servers of one cluster, separated by
    /// commas, are tried one after the other.
    ///
    /// It does not connect yet, so the broker may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the URL is wrong.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let urls = FORM.read(url.as_ref())?;
        let servers = urls.into_iter().map(Server::new).collect::<Result<_>>()?;
        let connect =
            Connector { servers, tls: Tls::default(), exchange: "appmon".into(), key: "{kind}.{host}".parse()? };
        Ok(Self { link: Link::new(connect, 256) })
    }

    /// Sets the TLS configuration of an `amqps://` URL: the trusted roots, and the client certificate if the broker requires
    /// one; with `?auth_mechanism=external` in the URL it stands for user and password. Default: the system's root certificates and no
    /// client certificate. One for a URL without TLS is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.link.configure("tls", |connect| {
            url::wants_tls(connect.servers.iter().map(|server| &server.url))?;
            connect.tls.set(config.into());
            Ok(())
        });
        self
    }

    /// Sets the exchange, which must exist. Default: `appmon`. A name of more than 255 bytes is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn exchange(mut self, name: impl AsRef<str>) -> Self {
        self.link.configure("exchange", |connect| {
            let name = name.as_ref();
            connect.exchange = ShortString::try_new(name)
                .map_err(|_| Error::config(format!("{name:?}: the name of an exchange has at most 255 bytes")))?;
            Ok(())
        });
        self
    }

    /// Sets the routing key, a [`Template`] or its text. Default: `{kind}.{host}`, for a topic exchange. An invalid template, or one
    /// with `*` or `#`, is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn routing_key<T: TryInto<Template>>(mut self, key: T) -> Self
    where
        Error: From<T::Error>,
    {
        self.link.configure("routing_key", |connect| {
            connect.key = template(key, Escape::Amqp)?;
            Ok(())
        });
        self
    }

    /// Publishes to one queue instead, through the default exchange. The queue must exist. A name that is empty, or has a `*` or `#`
    /// in it, is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn queue(self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        self.exchange("").routing_key(name.replace('{', "{{").replace('}', "}}"))
    }
}

/// Converts a URL for lapin.
fn uri(url: &Url) -> Result<AMQPUri> {
    // The query is parsed by lapin.
    let uri = format!("amqp://host/?{}", url.query.as_deref().unwrap_or_default());
    let mut uri: AMQPUri = uri.parse().map_err(|why: String| FORM.wrong(&why))?;
    let text = |text: &str| url::unescape(text).map_err(|why| FORM.wrong(&why));
    uri.vhost = url.path.as_deref().map_or_else(|| Ok("/".to_owned()), text)?;
    if uri.vhost.len() > 255 {
        return Err(FORM.wrong("the name of a virtual host has at most 255 bytes"));
    }
    let user = url.user.clone().filter(|user| !user.is_empty());
    uri.authority.userinfo.username = user.unwrap_or_else(|| "guest".to_owned());
    uri.authority.userinfo.password = url.password.clone().unwrap_or_else(|| "guest".to_owned());
    Ok(uri)
}

#[derive(Clone)]
struct Server {
    uri: AMQPUri,
    url: Url,
}

impl Server {
    fn new(url: Url) -> Result<Self> {
        Ok(Self { uri: uri(&url)?, url })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url)?;
        if self.uri.vhost == "/" { Ok(()) } else { write!(f, "/{}", self.uri.vhost) }
    }
}

#[derive(Clone)]
struct Connector {
    servers: Vec<Server>,
    tls: Tls,
    exchange: ShortString,
    key: Template,
}

impl Connect for Connector {
    type Server = Server;
    type Session = Connection;

    fn servers(&self) -> &[Server] {
        &self.servers
    }

    async fn connect(&self, Server { uri, url }: &Server) -> Result<Connection, Cause> {
        let (socket, cut) = connect(url, &self.tls).await.inspect_err(|_| self.tls.forget())?;
        let opened = Connection::over(uri.clone(), socket.compat(), cut, &self.exchange).await;
        opened.map_err(|cause| Cause::of(confirm::explained(&cause), cause))
    }

    async fn send(&self, connection: &mut Connection, turn: &mut Turn<'_>) -> Result<(), Cause> {
        let messages = turn.messages();
        let mut sent: Vec<InFlight<'_>> = Vec::with_capacity(messages.len());
        let mut broken = None;
        for message in messages {
            match InFlight::send(&connection.channel, &self.exchange, self.key(message), message).await {
                Ok(in_flight) => sent.push(in_flight),
                Err(cause) => {
                    broken = Some(cause);
                    break;
                }
            }
        }
        for (at, answer) in confirm::answers(sent, turn.until()).await.into_iter().enumerate() {
            match answer {
                Answer::Replied(reply) => turn.settle(at, reply),
                Answer::Failed(cause) => broken = Some(cause),
                Answer::Silent => {}
            }
        }
        let Some(cause) = broken else { return Ok(()) };
        let text = confirm::explained(&cause);
        match turn.open()[..] {
            // The answer names none of several messages; the size identifies it.
            [at] => {
                if let Some(fault) = confirm::fault(&cause) {
                    turn.settle(at, Reply::Refused(fault, Cause::of(text.clone(), cause.clone())));
                }
            }
            _ => self.settle_too_large(turn, &cause),
        }
        Err(Cause::of(text, cause))
    }

    fn place(&self, message: &Message) -> String {
        format!("exchange {:?}, routing key {}", self.exchange.as_str(), self.key(message))
    }

    fn places(&self) -> String {
        format!("{} {}", self.exchange, self.key)
    }

    fn refuse(&self, message: &Message) -> Option<Cause> {
        let bytes = self.key(message).len();
        (bytes > 255).then(|| format!("a routing key of {bytes} bytes: at most 255 are allowed").into())
    }
}

impl Connector {
    fn key(&self, message: &Message) -> String {
        self.key.render(message, Escape::Amqp)
    }

    /// The broker reports the limit: the first message above it is the refused one.
    fn settle_too_large(&self, turn: &mut Turn<'_>, cause: &lapin::Error) {
        let Some(Fault::Size(Some(limit))) = confirm::fault(cause) else { return };
        let messages = turn.messages();
        let too_large = |at: &usize| messages.get(*at).is_some_and(|message| self.size(message) > limit);
        if let Some(at) = turn.open().into_iter().find(too_large) {
            let cause = Cause::of(format!("but it takes {limit}: {}", confirm::explained(cause)), cause.clone());
            turn.settle(at, Reply::Refused(Fault::Size(Some(limit)), cause));
        }
    }
}

/// A connection with one channel, which never reconnects by itself. Dropping it ends it at once, with the client's thread.
struct Connection {
    client: lapin::Connection,
    channel: Channel,
    _cut: Cut,
}

impl Connection {
    async fn over(uri: AMQPUri, socket: Socket, cut: Cut, exchange: &ShortString) -> lapin::Result<Self> {
        let socket = Mutex::new(Some(socket));
        // The client connects only once: a second attempt finds no socket.
        let connect = async move |_: AMQPUri, _: Runtime<Kit>| {
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
            let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok(AsyncTcpStream::Plain(socket))
        };
        let properties = ConnectionProperties::default().with_connection_name("appmon".into());
        let client = lapin::Connection::connector(uri, socket::runtime(), connect, properties).await?;
        let mut channel = confirming(&client).await?;
        if !exchange.as_str().is_empty() {
            // Checking the exchange here avoids a channel that is closed with messages in flight.
            let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            match channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default()).await
            {
                // A user without permission to check may still be allowed to publish.
                Err(cause) if confirm::is_denied(&cause) => channel = confirming(&client).await?,
                asked => asked?,
            }
        }
        Ok(Self { client, channel, _cut: cut })
    }
}

async fn confirming(client: &lapin::Connection) -> lapin::Result<Channel> {
    let channel = client.create_channel().await?;
    // Enables publisher confirms.
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        self.client.status().connected() && self.channel.status().connected()
    }

    fn turn_bytes(&self) -> usize {
        BYTES_IN_FLIGHT
    }

    fn held_up(&self) -> Option<&'static str> {
        let why = "it holds up publishers (connection.blocked): its memory or its disk is short";
        self.client.status().blocked().then_some(why)
    }

    async fn close(self) {
        let _ = self.client.close(200, "OK".into()).await;
    }
}
