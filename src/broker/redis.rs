//! Redis Streams.
//!
//! ```no_run
//! # fn forward() -> appmon::Result<()> {
//! use appmon::broker::redis::Streams;
//!
//! // The newest 10,000 messages or so of each kind stay in the server's memory.
//! let queue = Streams::new("redis://monitor:secret@127.0.0.1:6379/0")?.max_len(10_000);
//! # Ok(())
//! # }
//! ```
//!
//! Each message is an entry of the stream `appmon:{kind}` ([`Streams::key`]), with the attributes of the CloudEvent as its fields
//! (`id`, `type`, `time` …) and the payload as the field `data`. A consumer recognizes duplicates by `source` and `id`.
//!
//! # Durability of acknowledged messages
//!
//! The server has the message in memory. Its configuration decides which messages survive its end: none without persistence, all but
//! about the last second with `appendonly yes`, all with `appendfsync always`. A replica may lack the last acknowledged messages.
//!
//! # Requirements of the server
//!
//! Redis 5 or Valkey, 6.2 for [`existing_only`](Streams::existing_only). Sentinel and Cluster are not supported; if one of several
//! servers may be the master, list them all. Set `maxmemory-policy noeviction`: other policies may delete streams to free memory.
//!
//! # Permissions of the user
//!
//! The commands `+multi +exec +xadd`, and the keys: `ACL SETUSER monitor on >secret ~appmon:* +multi +exec +xadd`. With `+config|get`
//! the server's size limits are read as well.

mod reply;

use std::fmt;
use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisResult, Value};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Fuse, FusedFuture, select};
use rustls::ClientConfig;

use crate::broker::link::{Cause, Connect, Link, Session, Turn, publish_by_link, template};
use crate::broker::socket::{self, Cut};
use crate::broker::tls::Tls;
use crate::broker::url::{self, Form, Scheme, Url};
use crate::forward::{Escape, Message, Template};
use crate::{Error, Result};

/// Publishes to the streams of a Redis server.
///
/// A batch goes out in transactions (`MULTI` … `EXEC`) of up to [`in_flight`](Self::in_flight) messages and 4 MiB, each of which the
/// server accepts fully or not at all. So no message overtakes an earlier one of its stream when memory runs out during a batch.
///
/// | outcome | when |
/// |---|---|
/// | accepted | the entry has an id |
/// | retry | no connection, wrong password, out of memory (`OOM`), a replica (`READONLY`), loading, no permission (`NOPERM`), a key that holds something else (`WRONGTYPE`), no such stream where only existing ones are asked for, and every error not named here |
/// | unknown | the connection ended, or the time was over, before the answer |
/// | too large | larger than the server's limit |
#[derive(Clone)]
pub struct Streams {
    link: Link<Connector>,
}

publish_by_link!(Streams, "1000");

const FORM: Form = Form {
    broker: "a Redis server",
    schemes: &[Scheme { name: "redis", tls: false, port: 6379 }, Scheme { name: "rediss", tls: true, port: 6379 }],
    bare: false,
};

/// The largest transaction in bytes: the server serves no other client during it.
const TRANSACTION_BYTES: usize = 4 << 20;

impl Streams {
    /// Returns a publisher to the server at this URL, `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS; or to the first of
    /// several, separated by commas, that can be reached and accepts messages.
    ///
    /// It does not connect yet, so the server may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) when the URL is wrong.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let urls = FORM.read(url.as_ref())?;
        let servers = urls.into_iter().map(|url| Ok(Server { user: user(&url)?, url })).collect::<Result<_>>()?;
        let connect = Connector {
            servers,
            tls: Tls::default(),
            key: "appmon:{kind}".parse()?,
            max_len: None,
            existing_only: false,
        };
        Ok(Self { link: Link::new(connect, 1000) })
    }

    /// Sets the TLS configuration of a `rediss://` URL: the trusted roots, and the client certificate if the server requires
    /// one. Default: the system's root certificates and no client certificate. One for a URL without TLS is reported at its first use
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

    /// Sets the key of the stream, a [`Template`] or its text. Default: `appmon:{kind}`, one stream for all hosts. With `{host}` in it each host
    /// has its own, and a consumer must know them all. An invalid template is reported at its first use
    /// ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn key<T: TryInto<Template>>(mut self, key: T) -> Self
    where
        Error: From<T::Error>,
    {
        self.link.configure("key", |connect| {
            connect.key = template(key, Escape::Redis)?;
            Ok(())
        });
        self
    }

    /// Keeps about this many entries in a stream (`MAXLEN ~`), at least 1: each new message removes older ones, whether they were read or
    /// not.
    ///
    /// Default: no bound. Then no message is lost, but streams shrink only if another client trims them (`XTRIM`), and the server's memory
    /// fills up: set a bound here, or `maxmemory` at the server.
    #[must_use]
    pub fn max_len(mut self, entries: u64) -> Self {
        self.link.connect.max_len = Some(entries.max(1));
        self
    }

    /// Publishes only to existing streams (`NOMKSTREAM`): messages wait until the stream is created, for example with
    /// `XGROUP CREATE … MKSTREAM`. Default: missing streams are created.
    #[must_use]
    pub fn existing_only(mut self, existing_only: bool) -> Self {
        self.link.connect.existing_only = existing_only;
        self
    }
}

/// The credentials, and the database.
fn user(url: &Url) -> Result<RedisConnectionInfo> {
    let mut user = RedisConnectionInfo::default();
    if let Some(name) = url.user.as_deref().filter(|name| !name.is_empty()) {
        user = user.set_username(name);
    }
    if let Some(password) = &url.password {
        user = user.set_password(password);
    }
    match url.path.as_deref().filter(|path| !path.is_empty()).map(str::parse) {
        Some(Ok(number)) => Ok(user.set_db(number)),
        None => Ok(user),
        Some(Err(_)) => Err(FORM.wrong("after the host comes the number of a database")),
    }
}

#[derive(Clone)]
struct Server {
    user: RedisConnectionInfo,
    url: Url,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}

#[derive(Clone)]
struct Connector {
    servers: Vec<Server>,
    tls: Tls,
    key: Template,
    max_len: Option<u64>,
    existing_only: bool,
}

impl Connector {
    fn command(&self, message: &Message) -> Cmd {
        let mut command = ::redis::cmd("XADD");
        command.arg(self.place(message));
        if self.existing_only {
            command.arg("NOMKSTREAM");
        }
        if let Some(entries) = self.max_len {
            command.arg("MAXLEN").arg("~").arg(entries);
        }
        command.arg("*");
        for (name, value) in message.attributes() {
            command.arg(name).arg(&*value);
        }
        command.arg("data").arg(&*message.payload);
        command
    }
}

impl Connect for Connector {
    type Server = Server;
    type Session = Connection;

    fn servers(&self) -> &[Server] {
        &self.servers
    }

    async fn connect(&self, Server { user, url }: &Server) -> Result<Connection, Cause> {
        let opened = Connection::open(user, url, &self.tls).await;
        opened.inspect_err(|_| self.tls.forget())
    }

    async fn send(&self, connection: &mut Connection, turn: &mut Turn<'_>) -> Result<(), Cause> {
        // Not the client library's transactions: they do not return the results of the commands when `MULTI` is refused.
        let mut pipeline = Pipeline::new();
        pipeline.cmd("MULTI");
        for message in turn.messages() {
            pipeline.add_command(self.command(message));
        }
        pipeline.cmd("EXEC");
        let replies = connection.request(&pipeline).await;
        let replies =
            replies.map_err(|cause| Cause::of(format!("the connection ended before the answer: {cause}"), cause))?;
        for (at, reply) in reply::answers(replies).into_iter().enumerate() {
            turn.settle(at, reply);
        }
        Ok(())
    }

    fn place(&self, message: &Message) -> String {
        self.key.render(message, Escape::Redis)
    }

    fn places(&self) -> String {
        self.key.to_string()
    }
}

/// A connection that never reconnects by itself.
pub(super) struct Connection {
    client: MultiplexedConnection,
    /// The driver of the connection. It is polled together with each request, and so needs no task of its own.
    driver: Fuse<BoxFuture<'static, ()>>,
    max_bulk: usize,
    max_query: usize,
    _cut: Cut,
}

impl Connection {
    async fn open(user: &RedisConnectionInfo, url: &Url, tls: &Tls) -> Result<Self, Cause> {
        let (socket, cut) = socket::connect(url, tls).await?;
        // The caller has the timeout.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connected = MultiplexedConnection::new_with_config(user, socket, config).await;
        let (client, driver) = connected.map_err(reply::refused_connection)?;
        let driver = driver.boxed().fuse();
        let mut connection = Self { client, driver, max_bulk: 512 << 20, max_query: 1 << 30, _cut: cut };
        connection.ask().await.map_err(reply::refused_connection)?;
        Ok(connection)
    }

    /// Checks the permission for transactions, and reads the server's limits. Without permission to read them, their defaults are used.
    async fn ask(&mut self) -> RedisResult<()> {
        let mut pipeline = Pipeline::with_capacity(4);
        pipeline.cmd("MULTI").cmd("EXEC");
        pipeline.cmd("CONFIG").arg("GET").arg("proto-max-bulk-len");
        pipeline.cmd("CONFIG").arg("GET").arg("client-query-buffer-limit");
        for (index, value) in self.request(&pipeline).await?.into_iter().enumerate() {
            match (index, value) {
                (0 | 1, Value::ServerError(error)) => return Err(error.into()),
                (2, value) => self.max_bulk = reply::setting(value).unwrap_or(self.max_bulk),
                (3, value) => self.max_query = reply::setting(value).unwrap_or(self.max_query),
                _ => {}
            }
        }
        Ok(())
    }

    async fn request(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let request = self.client.send_packed_commands(pipeline, 0, pipeline.len());
        match select(std::pin::pin!(request), &mut self.driver).await {
            Either::Left((replies, _)) => replies,
            // The connection has ended. Earlier answers are in the request already.
            Either::Right(((), request)) => request.await,
        }
    }

    /// The server closes a connection whose transaction exceeds its limit.
    fn max_transaction_bytes(&self) -> usize {
        self.max_query.saturating_sub(64 << 10)
    }
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        let _ = (&mut self.driver).now_or_never();
        !self.driver.is_terminated()
    }

    fn limit(&self) -> Option<usize> {
        Some(self.max_bulk.min(self.max_transaction_bytes()))
    }

    fn turn_bytes(&self) -> usize {
        self.max_transaction_bytes().min(TRANSACTION_BYTES)
    }

    async fn close(self) {}
}
