//! Redis Streams.
//!
//! ```no_run
//! # async fn forward() -> appmon::Result<()> {
//! use appmon::broker::redis::Streams;
//!
//! // The newest 10,000 messages or so of each kind stay in the server's memory.
//! let queue = Streams::connect("redis://monitor:secret@127.0.0.1:6379/0").await?.max_len(10_000);
//! # Ok(())
//! # }
//! ```
//!
//! Each message is an entry of the stream `appmon:{kind}` ([`Streams::key`]), with the attributes of the CloudEvent as its fields
//! (`id`, `type`, `time` …) and the payload as the field `data`. A consumer knows what was sent twice by its `source` and `id`.
//!
//! # What an acknowledgement is worth
//!
//! The server has the message in its memory. How much of that outlives the server is the server's configuration: nothing
//! without persistence, all but about the last second with `appendonly yes`, all with `appendfsync always`; a replica may lack
//! what was acknowledged last.
//!
//! # What the server needs
//!
//! Redis 5 or Valkey, 6.2 for [`existing_only`](Streams::existing_only); a single server: neither Sentinel nor Cluster are asked
//! for the address of another one. A user needs the commands `+multi +exec +xadd` and the keys; with `+config|get` also the
//! server's limits are known. Set `maxmemory-policy noeviction`: any other may throw streams away to make room.

mod connection;
mod reply;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Cmd;
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::broker::batch::Batch;
use crate::broker::redis::connection::{Connection, Server};
use crate::broker::redis::reply::Answer;
use crate::forward::{Escape, Message, Outcome, Publish, Template};
use crate::time::from_now;
use crate::{Error, Result};

/// Publishes to the streams of one Redis server.
///
/// A batch goes out in transactions (`MULTI` … `EXEC`) of up to 1,000 messages or 4 MiB, each of which the server takes as a
/// whole or not at all: where it runs out of memory in the middle of a batch, no message overtakes an earlier one.
///
/// | outcome | when |
/// |---|---|
/// | accepted | the entry has an id |
/// | retry | no connection, wrong password, out of memory (`OOM`), a replica (`READONLY`), loading, no such stream where only existing ones are asked for, and every error not named here |
/// | unknown | the connection ended, or the time was over, before the answer |
/// | rejected | larger than the server's limit, no permission (`NOPERM`), a key that holds something else (`WRONGTYPE`) |
///
/// The connection is made by the first batch, and again by the next one after it failed.
pub struct Streams {
    server: Server,
    key: Template,
    max_len: Option<u64>,
    existing_only: bool,
    timeout: Duration,
    /// In nobody's use: it is taken out while a batch is on its way, and only comes back when all was answered.
    idle: Option<Connection>,
    max_bytes: Option<usize>,
}

/// The most of one transaction: the server serves nobody else meanwhile.
const TRANSACTION_BYTES: usize = 4 << 20;
const TRANSACTION_MESSAGES: usize = 1000;

impl Streams {
    /// Streams of the server at this URL, `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS.
    ///
    /// Nothing is connected yet: the server may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the URL is wrong.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::new(Server::parse(url)?)
    }

    fn new(server: Server) -> Result<Self> {
        Ok(Self {
            server,
            key: "appmon:{kind}".parse()?,
            max_len: None,
            existing_only: false,
            timeout: Duration::from_secs(5),
            idle: None,
            max_bytes: None,
        })
    }

    /// The TLS configuration of a `rediss://` URL: whom to trust, and the certificate of the client where the server asks for
    /// one. Default: the system's root certificates and no client certificate.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for a URL without TLS.
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Result<Self> {
        self.server.configure(config.into())?;
        Ok(self)
    }

    /// The key of the stream. Default: `appmon:{kind}`, one stream for all hosts. With `{host}` in it each host has its own, and
    /// a consumer must know them all.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is no [`Template`].
    pub fn key(mut self, template: &str) -> Result<Self> {
        let template: Template = template.parse()?;
        template.check(Escape::Redis)?;
        self.key = template;
        Ok(self)
    }

    /// Keeps about so many entries in a stream (`MAXLEN ~`), at least 1: each message that is added removes older ones, whether
    /// they were read or not.
    ///
    /// Default: no bound. Then nothing is lost, but streams only shrink where somebody else trims them (`XTRIM`), and the
    /// server's memory fills up: set a bound here, or `maxmemory` there.
    #[must_use]
    pub fn max_len(mut self, entries: u64) -> Self {
        self.max_len = Some(entries.max(1));
        self
    }

    /// Takes only streams that exist (`NOMKSTREAM`): messages wait until somebody makes them, for instance with
    /// `XGROUP CREATE … MKSTREAM`. Default: they are made.
    #[must_use]
    pub fn existing_only(mut self, existing_only: bool) -> Self {
        self.existing_only = existing_only;
        self
    }

    /// How long a batch may take, the connection included. What is not answered by then is unknown, and the connection is given
    /// up. Default: 5 s; at most an hour.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(Duration::from_secs(3600));
        self
    }

    fn command(&self, message: &Message) -> Cmd {
        let mut command = ::redis::cmd("XADD");
        command.arg(self.key.render(message, Escape::Redis));
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

    /// The connection that is there, or a new one.
    async fn connection(&mut self, deadline: Instant) -> Result<Connection> {
        if let Some(mut connection) = self.idle.take()
            && connection.is_open()
        {
            return Ok(connection);
        }
        match tokio::time::timeout_at(deadline, Connection::open(&self.server)).await {
            Ok(connection) => connection,
            Err(_) => Err(Error::broker(format!("{}: no connection within {:?}", self.server, self.timeout))),
        }
    }

    /// The server would close the connection at one of these, and say nothing.
    fn reject_larger(&self, message: &Message, limit: usize) -> Option<Outcome> {
        let bytes = entry_bytes(message);
        let what = "its limits are proto-max-bulk-len and client-query-buffer-limit";
        let text = || format!("{}: a message of {bytes} bytes, but it takes {limit}; {what}", self.server);
        (bytes > limit).then(|| Outcome::Rejected(Error::broker(text())))
    }

    /// Sends one transaction and notes what became of its messages; gives whether the next one may follow.
    async fn transact(&mut self, connection: &mut Connection, batch: &mut Batch<'_>, deadline: Instant) -> bool {
        let bytes = connection.max_transaction_bytes().min(TRANSACTION_BYTES);
        let turn = batch.turn(TRANSACTION_MESSAGES, bytes, entry_bytes);
        let commands: Vec<Cmd> = turn.iter().map(|(_, message)| self.command(message)).collect();
        let lost = match tokio::time::timeout_at(deadline, connection.transact(commands)).await {
            Ok(Ok(answers)) => return self.settle(batch, turn, answers),
            Ok(Err(cause)) => format!("{}: the connection ended before the answer: {cause}", self.server),
            Err(_) => format!("{}: no answer within {:?}", self.server, self.timeout),
        };
        for (index, _) in turn {
            batch.settle(index, Outcome::Unknown(Error::broker(&*lost)));
        }
        false
    }

    fn settle(&self, batch: &mut Batch<'_>, turn: Vec<(usize, &Message)>, answers: Vec<Answer>) -> bool {
        let mut go_on = true;
        for ((index, message), answer) in turn.into_iter().zip(answers) {
            match answer {
                Answer::Taken => batch.settle(index, Outcome::Accepted),
                // It is sent once more, without those that were at fault.
                Answer::Aborted => {}
                Answer::Refused(refusal) => {
                    let outcome = refusal.outcome(&self.server, &self.key.render(message, Escape::Redis));
                    go_on &= matches!(outcome, Outcome::Rejected(_));
                    batch.settle(index, outcome);
                }
            }
        }
        go_on
    }
}

impl Publish for Streams {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        let deadline = from_now(self.timeout);
        let mut batch = Batch::new(batch);
        let mut connection = match self.connection(deadline).await {
            Ok(connection) => connection,
            Err(error) => return batch.finish(&error.to_string()),
        };
        self.max_bytes = Some(connection.max_message_bytes());
        batch.settle_early(|message| self.reject_larger(message, connection.max_message_bytes()));
        while !batch.is_settled() {
            if !self.transact(&mut connection, &mut batch, deadline).await {
                return batch.finish(&format!("{}: not sent, as an earlier message was not taken", self.server));
            }
        }
        self.idle = Some(connection);
        batch.finish("")
    }

    async fn check(&mut self) -> Option<Result<()>> {
        let deadline = from_now(self.timeout);
        let mut connection = match self.connection(deadline).await {
            Ok(connection) => connection,
            Err(error) => return Some(Err(error)),
        };
        let checked = tokio::time::timeout_at(deadline, connection.check()).await;
        let checked = match checked {
            Ok(checked) => checked.map_err(|cause| Error::broker_because(format!("{}: {cause}", self.server), cause)),
            Err(_) => Err(Error::broker(format!("{}: no answer within {:?}", self.server, self.timeout))),
        };
        if checked.is_ok() {
            self.idle = Some(connection);
        }
        Some(checked)
    }

    fn max_message_bytes(&self) -> Option<usize> {
        self.max_bytes
    }

    fn destination(&self) -> String {
        format!("{} {}", self.server, self.key)
    }

    async fn close(&mut self) {
        // Whatever was sent was answered, or given up with its connection.
        self.idle = None;
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("server", &self.server)
            .field("key", &self.key)
            .field("max_len", &self.max_len)
            .field("existing_only", &self.existing_only)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a message takes in a transaction, generously: its fields are less than 1 KiB.
fn entry_bytes(message: &Message) -> usize {
    message.payload.len().saturating_add(message.host.len().saturating_mul(4)).saturating_add(1 << 10)
}
