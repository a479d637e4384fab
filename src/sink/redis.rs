//! Redis Streams.
//!
//! ```no_run
//! # async fn forward() -> appmon::Result<()> {
//! use appmon::sink::redis::Streams;
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

use crate::sink::redis::connection::{Connection, Server};
use crate::sink::redis::reply::Answer;
use crate::sink::{Escape, Message, Outcome, Publish, Template};
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
    ack_timeout: Duration,
    /// In nobody's use: it is taken out while a batch is on its way, and only comes back when all was answered.
    idle: Option<Connection>,
    max_bytes: Option<usize>,
}

/// The most of one transaction: the server serves nobody else meanwhile.
const TRANSACTION_BYTES: usize = 4 << 20;
const TRANSACTION_MESSAGES: usize = 1000;

impl Streams {
    /// Streams of the server at this URL, `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`.
    ///
    /// Nothing is connected yet: the server may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the URL is wrong; `rediss://` needs [`connect_tls`](Self::connect_tls).
    pub async fn connect(url: &str) -> Result<Self> {
        Self::new(Server::plain(url)?)
    }

    /// The same over TLS, at a URL `rediss://…`.
    ///
    /// `config` says whom to trust, and has the certificate of the client where the server asks for one.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the URL is wrong.
    pub async fn connect_tls(url: &str, config: Arc<ClientConfig>) -> Result<Self> {
        Self::new(Server::tls(url, config)?)
    }

    fn new(server: Server) -> Result<Self> {
        Ok(Self {
            server,
            key: "appmon:{kind}".parse()?,
            max_len: None,
            existing_only: false,
            ack_timeout: Duration::from_secs(5),
            idle: None,
            max_bytes: None,
        })
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
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.ack_timeout = timeout.min(Duration::from_secs(3600));
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
            Err(_) => Err(Error::broker(format!("{}: no connection within {:?}", self.server, self.ack_timeout))),
        }
    }

    /// Sends one transaction and notes what became of its messages; gives whether the next one may follow.
    async fn transact(&mut self, connection: &mut Connection, batch: &mut Batch<'_>, deadline: Instant) -> bool {
        let chunk = batch.next_transaction(connection.max_transaction_bytes());
        let messages = chunk.iter().filter_map(|index| batch.messages.get(*index));
        let commands: Vec<Cmd> = messages.map(|message| self.command(message)).collect();
        let answers = match tokio::time::timeout_at(deadline, connection.transact(commands)).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(cause)) => {
                let text = format!("{}: the connection ended before the answer", self.server);
                batch.settle(&chunk, || Outcome::Unknown(Error::broker_because(text.clone(), cause.clone())));
                return false;
            }
            Err(_) => {
                let text = format!("{}: no answer within {:?}", self.server, self.ack_timeout);
                batch.settle(&chunk, || Outcome::Unknown(Error::broker(text.clone())));
                return false;
            }
        };
        let mut go_on = true;
        for (index, answer) in chunk.into_iter().zip(answers) {
            let Some((message, outcome)) = batch.at(index) else { continue };
            *outcome = match answer {
                Answer::Taken => Some(Outcome::Accepted),
                // Sent once more, without those that were at fault.
                Answer::Aborted => None,
                Answer::Refused(refusal) => {
                    let key = self.key.render(message, Escape::Redis);
                    let refused = refusal.outcome(&self.server, &key);
                    go_on &= matches!(refused, Outcome::Rejected(_));
                    Some(refused)
                }
            };
        }
        go_on
    }
}

impl Publish for Streams {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        let now = Instant::now();
        let deadline = now.checked_add(self.ack_timeout).unwrap_or(now);
        let mut batch = Batch::new(batch);
        let mut connection = match self.connection(deadline).await {
            Ok(connection) => connection,
            Err(error) => return batch.finish(&error.to_string()),
        };
        self.max_bytes = Some(connection.max_message_bytes());
        batch.reject_larger(connection.max_message_bytes(), &self.server);
        while !batch.is_settled() {
            if !self.transact(&mut connection, &mut batch, deadline).await {
                return batch.finish(&format!("{}: not sent, as an earlier message was not taken", self.server));
            }
        }
        self.idle = Some(connection);
        batch.finish("")
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
            .field("ack_timeout", &self.ack_timeout)
            .finish_non_exhaustive()
    }
}

/// A batch on its way: what became of each message, as far as it is known.
struct Batch<'a> {
    messages: &'a [Message],
    outcomes: Vec<Option<Outcome>>,
}

impl<'a> Batch<'a> {
    fn new(messages: &'a [Message]) -> Self {
        Self { messages, outcomes: messages.iter().map(|_| None).collect() }
    }

    fn is_settled(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    fn at(&mut self, index: usize) -> Option<(&'a Message, &mut Option<Outcome>)> {
        self.messages.get(index).zip(self.outcomes.get_mut(index))
    }

    /// The server would close the connection at one of these, and say nothing.
    fn reject_larger(&mut self, limit: usize, server: &Server) {
        for (message, outcome) in self.messages.iter().zip(&mut self.outcomes) {
            let bytes = entry_bytes(message);
            if bytes > limit {
                let what = "its limits are proto-max-bulk-len and client-query-buffer-limit";
                let text = format!("{server}: a message of {bytes} bytes, but it takes {limit}; {what}");
                *outcome = Some(Outcome::Rejected(Error::broker(text)));
            }
        }
    }

    /// The first messages that are not settled, as many as one transaction takes.
    fn next_transaction(&self, max_bytes: usize) -> Vec<usize> {
        let mut left = max_bytes.min(TRANSACTION_BYTES);
        let mut chunk = Vec::new();
        for (index, message) in self.messages.iter().enumerate() {
            if self.outcomes.get(index).is_none_or(Option::is_some) {
                continue;
            }
            let bytes = entry_bytes(message);
            if !chunk.is_empty() && (bytes > left || chunk.len() >= TRANSACTION_MESSAGES) {
                break;
            }
            left = left.saturating_sub(bytes);
            chunk.push(index);
        }
        chunk
    }

    fn settle(&mut self, indexes: &[usize], outcome: impl Fn() -> Outcome) {
        for index in indexes {
            if let Some((_, settled)) = self.at(*index) {
                *settled = Some(outcome());
            }
        }
    }

    /// The outcomes; what was not sent is to be sent again, for this reason.
    fn finish(self, reason: &str) -> Vec<Outcome> {
        let not_sent = || Outcome::Retry(Error::broker(reason));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(not_sent)).collect()
    }
}

/// What a message takes in a transaction, generously: its fields are less than 1 KiB.
fn entry_bytes(message: &Message) -> usize {
    message.payload.len().saturating_add(message.host.len().saturating_mul(4)).saturating_add(1 << 10)
}
