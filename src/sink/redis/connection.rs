//! One connection to a Redis server.

use std::fmt;
use std::io;
use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError,
    RedisResult, Value,
};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Fuse, FusedFuture, select};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::sink::redis::reply::{self, Answer};
use crate::{Error, Result};

/// Where the server is, and who we are to it.
pub(super) struct Server {
    host: String,
    port: u16,
    user: RedisConnectionInfo,
    tls: Option<Tls>,
}

struct Tls {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Server {
    pub(super) fn plain(url: &str) -> Result<Self> {
        if url.starts_with("rediss:") {
            return Err(Error::config("rediss:// needs a TLS configuration: use Streams::connect_tls"));
        }
        Self::parse(url)
    }

    pub(super) fn tls(url: &str, config: Arc<ClientConfig>) -> Result<Self> {
        let Some(rest) = url.strip_prefix("rediss://") else {
            return Err(Error::config("the URL of a Redis server with TLS begins with rediss://"));
        };
        // The client knows this scheme only with a TLS of its own.
        let mut server = Self::parse(&format!("redis://{rest}"))?;
        let name = ServerName::try_from(server.host.clone())
            .map_err(|_| Error::config(format!("{:?} can be in no certificate", server.host)))?;
        server.tls = Some(Tls { name, config });
        Ok(server)
    }

    fn parse(url: &str) -> Result<Self> {
        // Errors do not show the URL: it has a password in it.
        if url.contains('#') {
            return Err(Error::config("the URL of a Redis server has no fragment; write %23 for a # in a password"));
        }
        let info = match url.into_connection_info() {
            Ok(info) if url.starts_with("redis://") => info,
            Ok(_) => return Err(Error::config("the URL of a Redis server begins with redis:// or rediss://")),
            Err(error) => return Err(Error::config(format!("the URL of a Redis server: {error}"))),
        };
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                Ok(Self { host: host.clone(), port: *port, user: info.redis_settings().clone(), tls: None })
            }
            _ => Err(Error::config("the URL of a Redis server has no host")),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        // An IPv6 address.
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A connection that never comes back by itself: once it ends, it has ended.
pub(super) struct Connection {
    client: MultiplexedConnection,
    /// What reads and writes; it is polled together with each request, and so needs no task of its own.
    driver: Fuse<BoxFuture<'static, ()>>,
    max_bulk: usize,
    max_query: usize,
}

impl Connection {
    pub(super) async fn open(server: &Server) -> Result<Self> {
        let no_connection =
            |cause: io::Error| Error::broker_because(format!("{server}: no connection: {cause}"), cause);
        let socket = TcpStream::connect((&*server.host, server.port)).await.map_err(no_connection)?;
        socket.set_nodelay(true).map_err(no_connection)?;
        // What was not sent when a connection is given up must not arrive later.
        socket.set_zero_linger().map_err(no_connection)?;
        match &server.tls {
            None => Self::over(server, socket).await,
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let socket = connector.connect(tls.name.clone(), socket).await.map_err(no_connection)?;
                Self::over(server, socket).await
            }
        }
    }

    async fn over<S>(server: &Server, socket: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let refused = |cause: RedisError| {
            Error::broker_because(format!("{server}: {}", reply::refused_connection(&cause)), cause)
        };
        // The time is the caller's.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&server.user, socket, config).await;
        let (client, driver) = connected.map_err(refused)?;
        let mut connection = Self { client, driver: driver.boxed().fuse(), max_bulk: 512 << 20, max_query: 1 << 30 };
        connection.ask_limits().await.map_err(refused)?;
        Ok(connection)
    }

    /// Finds out whether we may do transactions, and what the server takes; those who may not ask that get its defaults.
    async fn ask_limits(&mut self) -> RedisResult<()> {
        let mut pipeline = Pipeline::with_capacity(4);
        pipeline.cmd("MULTI").cmd("EXEC");
        pipeline.cmd("CONFIG").arg("GET").arg("proto-max-bulk-len");
        pipeline.cmd("CONFIG").arg("GET").arg("client-query-buffer-limit");
        let replies = self.request(&pipeline).await?;
        for (index, value) in replies.into_iter().enumerate() {
            match (index, value) {
                (0 | 1, Value::ServerError(error)) => return Err(error.into()),
                (2, value) => self.max_bulk = reply::setting(value).unwrap_or(self.max_bulk),
                (3, value) => self.max_query = reply::setting(value).unwrap_or(self.max_query),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the other end has not closed it, as far as is known here.
    pub(super) fn is_open(&mut self) -> bool {
        let _ = (&mut self.driver).now_or_never();
        !self.driver.is_terminated()
    }

    pub(super) fn max_message_bytes(&self) -> usize {
        self.max_bulk.min(self.max_transaction_bytes())
    }

    /// The server closes a connection that has more than its limit in a transaction.
    pub(super) fn max_transaction_bytes(&self) -> usize {
        self.max_query.saturating_sub(64 << 10)
    }

    /// Executes commands as one transaction: an answer for each, in order.
    pub(super) async fn transact(&mut self, commands: Vec<Cmd>) -> RedisResult<Vec<Answer>> {
        let mut pipeline = Pipeline::with_capacity(commands.len().saturating_add(2));
        pipeline.cmd("MULTI");
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.cmd("EXEC");
        // Not the client's own transactions: those do not tell what became of the single commands when `MULTI` is refused.
        Ok(reply::answers(self.request(&pipeline).await?))
    }

    async fn request(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let request = self.client.send_packed_commands(pipeline, 0, pipeline.len());
        match select(std::pin::pin!(request), &mut self.driver).await {
            Either::Left((replies, _)) => replies,
            // The connection has ended; what was answered before is in the request already.
            Either::Right(((), request)) => request.await,
        }
    }
}
