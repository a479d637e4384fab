//! One connection to a Redis server.

use std::fmt;
use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError,
    RedisResult, Value,
};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Fuse, FusedFuture, select};
use rustls::ClientConfig;

use crate::broker::redis::reply::{self, Answer};
use crate::broker::socket::{Cut, Endpoint};
use crate::{Error, Result};

/// Where the server is, and who we are to it.
pub(super) struct Server {
    scheme: &'static str,
    endpoint: Endpoint,
    user: RedisConnectionInfo,
}

impl Server {
    pub(super) fn configure(&mut self, config: Arc<ClientConfig>) -> Result<()> {
        self.endpoint.configure(config, "rediss")
    }

    pub(super) fn parse(url: &str) -> Result<Self> {
        // Errors do not show the URL: it has a password in it.
        if url.contains('#') {
            return Err(Error::config("the URL of a Redis server has no fragment; write %23 for a # in a password"));
        }
        // The client knows TLS only with a configuration of its own.
        let (scheme, plain) = match url.strip_prefix("rediss://") {
            Some(rest) => ("rediss", format!("redis://{rest}")),
            None => ("redis", url.to_owned()),
        };
        let info = match plain.as_str().into_connection_info() {
            Ok(info) if plain.starts_with("redis://") => info,
            Ok(_) => return Err(Error::config("the URL of a Redis server begins with redis:// or rediss://")),
            Err(error) => return Err(Error::config(format!("the URL of a Redis server: {error}"))),
        };
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(Error::config("the URL of a Redis server has no host"));
        };
        let endpoint = Endpoint::new(host.clone(), *port);
        let endpoint = if scheme == "rediss" { endpoint.with_tls()? } else { endpoint };
        Ok(Self { scheme, endpoint, user: info.redis_settings().clone() })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.endpoint)
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
    _cut: Cut,
}

impl Connection {
    pub(super) async fn open(server: &Server) -> Result<Self> {
        let (socket, cut) = server
            .endpoint
            .connect()
            .await
            .map_err(|cause| Error::broker_because(format!("{server}: no connection: {cause}"), cause))?;
        let refused = |cause: RedisError| {
            Error::broker_because(format!("{server}: {}", reply::refused_connection(&cause)), cause)
        };
        // The time is the caller's.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&server.user, socket, config).await;
        let (client, driver) = connected.map_err(refused)?;
        let driver = driver.boxed().fuse();
        let mut connection = Self { client, driver, max_bulk: 512 << 20, max_query: 1 << 30, _cut: cut };
        connection.check().await.map_err(refused)?;
        Ok(connection)
    }

    /// Finds out whether we may do transactions, and what the server takes; those who may not ask that get its defaults.
    pub(super) async fn check(&mut self) -> RedisResult<()> {
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
