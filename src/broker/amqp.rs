//! AMQP 0.9.1: RabbitMQ, and others that confirm what is published.
//!
//! ```no_run
//! # async fn forward() -> appmon::Result<()> {
//! use appmon::broker::amqp::Amqp;
//!
//! // To the exchange `appmon`, with the routing key `{kind}.{host}`.
//! let exchange = Amqp::connect("amqp://monitor:secret@127.0.0.1:5672/metrics").await?;
//! // To one queue.
//! let queue = Amqp::connect("amqp://127.0.0.1").await?.queue("samples")?;
//! # Ok(())
//! # }
//! ```
//!
//! Messages are persistent, with the id as `message_id`, the kind and form as `type`, the time as `timestamp` (of seconds), and the
//! attributes of the CloudEvent as headers `cloudEvents:id`, `cloudEvents:source` …; `datacontenttype` is `content_type`. A
//! consumer knows what was sent twice by source and id.
//!
//! Nothing is declared here: somebody makes the exchange, and binds queues to it. For the defaults, with RabbitMQ's own tool:
//!
//! ```text
//! rabbitmqadmin declare exchange name=appmon type=topic durable=true
//! rabbitmqadmin declare queue name=processes durable=true
//! rabbitmqadmin declare binding source=appmon destination=processes routing_key=process.*
//! ```
//!
//! # What an acknowledgement is worth
//!
//! Each message is confirmed by the broker (publisher confirms), and is `mandatory`: it was routed to at least one queue, and
//! every durable one has written it to its disk; a quorum queue has it on a majority of its nodes. A queue that is not durable
//! has it in its memory. An exchange that routes to several queues confirms when all of them have it. What no queue takes is
//! returned, and counts as not accepted.

mod confirm;
mod connection;
mod socket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::broker::amqp::confirm::{Answer, InFlight};
use crate::broker::amqp::connection::{Connection, Server};
use crate::broker::batch::Batch;
use crate::forward::{Escape, Message, Outcome, Publish, Template};
use crate::time::from_now;
use crate::{Error, Result};

/// Publishes to an exchange of one broker, with confirmations.
///
/// | outcome | when |
/// |---|---|
/// | accepted | the broker confirmed it, and did not return it |
/// | retry | no connection, wrong password, no such virtual host or exchange, no queue for its routing key (returned), a full queue (`basic.nack` of `x-overflow=reject-publish`), publishers held up (`connection.blocked`) |
/// | unknown | the connection or the channel ended, or the time was over, before the confirmation |
/// | rejected | larger than the broker's limit (406), no permission (403), a routing key of more than 255 bytes |
///
/// A broker that does not like one message closes the channel, and says nothing of the others: these are unknown. Where the
/// reason is not in its answer, it is told of a message that was alone on its way.
///
/// Messages of a batch are on their way together ([`in_flight`](Self::in_flight)), in order. There is one case in which
/// that order can be lost: a queue that rejects what it has no room for, but is read from at the same time, may have room again
/// for a later message of the same batch. When that is seen, messages go out one by one until all is well again;
/// `in_flight(1)` never lets it happen.
///
/// The connection is made by the first batch, and again by the next one after it failed. lapin, the client, runs a thread for
/// it.
pub struct Amqp {
    server: Server,
    exchange: ShortString,
    key: Template,
    in_flight: usize,
    timeout: Duration,
    /// How many may be on their way now.
    window: usize,
    /// Learned from the broker's refusals: it does not tell before.
    max_bytes: Option<usize>,
    /// In nobody's use: it is taken out while a batch is on its way, and only comes back when all was answered.
    idle: Option<Connection>,
    /// Whether the broker owes confirmations of the last batch, of a connection that it did not end.
    silent: bool,
}

/// The most bytes on their way: lapin has them in its memory, in frames.
const BYTES_IN_FLIGHT: usize = 8 << 20;

impl Amqp {
    /// The broker at this URL, `amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST]`, or `amqps://` for TLS; user, password and virtual
    /// host are `guest`, `guest` and `/` where nothing is said. A virtual host is percent-encoded, and `amqp://host/` is the
    /// one without a name. `?heartbeat=SECONDS` asks for another one than the broker does.
    ///
    /// Nothing is connected yet: the broker may start later.
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
            exchange: "appmon".into(),
            key: "{kind}.{host}".parse()?,
            in_flight: IN_FLIGHT,
            timeout: Duration::from_secs(5),
            window: IN_FLIGHT,
            max_bytes: None,
            idle: None,
            silent: false,
        })
    }

    /// The TLS configuration of an `amqps://` URL: whom to trust, and the certificate of the client where the broker asks for
    /// one; with `?auth_mechanism=external` in the URL it stands for user and password. Default: the system's root certificates and no
    /// client certificate.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] for a URL without TLS.
    pub fn tls(mut self, config: impl Into<Arc<ClientConfig>>) -> Result<Self> {
        self.server.configure(config.into())?;
        Ok(self)
    }

    /// The exchange, which must exist. Default: `appmon`.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the name is longer than 255 bytes.
    pub fn exchange(mut self, name: &str) -> Result<Self> {
        self.exchange =
            ShortString::try_new(name).map_err(|_| Error::config("the name of an exchange has at most 255 bytes"))?;
        Ok(self)
    }

    /// The routing key. Default: `{kind}.{host}`, as a topic exchange likes it.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is no [`Template`], or has a `*` or `#` in it.
    pub fn routing_key(mut self, template: &str) -> Result<Self> {
        let template: Template = template.parse()?;
        template.check(Escape::Amqp)?;
        self.key = template;
        Ok(self)
    }

    /// Publishes to one queue instead, by the exchange without a name. The queue must exist.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when the name is empty, or has a `*` or `#` in it.
    pub fn queue(self, name: &str) -> Result<Self> {
        self.exchange("")?.routing_key(&name.replace('{', "{{").replace('}', "}}"))
    }

    /// How many messages may wait for their confirmation at the same time, at least 1; with 1, each waits for the one before.
    /// Default: 256.
    #[must_use]
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages.max(1);
        self.window = self.in_flight;
        self
    }

    /// How long a batch may take, the connection included. What is not confirmed by then is unknown, and the connection is given
    /// up. Default: 5 s; at most an hour.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(Duration::from_secs(3600));
        self
    }

    fn deadline(&self) -> Instant {
        from_now(self.timeout)
    }

    /// The connection that is there, or a new one.
    async fn connection(&mut self, deadline: Instant) -> Result<Connection> {
        if let Some(connection) = self.idle.take()
            && connection.is_open()
        {
            if connection.is_blocked() {
                let error = Error::broker(format!("{}: {BLOCKED}", self.server));
                self.idle = Some(connection);
                return Err(error);
            }
            return Ok(connection);
        }
        match tokio::time::timeout_at(deadline, Connection::open(&self.server, &self.exchange)).await {
            Ok(connection) => connection,
            Err(_) => Err(Error::broker(format!("{}: no connection within {:?}", self.server, self.timeout))),
        }
    }

    /// What is known to be refused before it is sent.
    fn refused(&self, message: &Message) -> Option<Outcome> {
        let key = self.key.render(message, Escape::Amqp);
        let text = if key.len() > 255 {
            format!("{}: a routing key of {} bytes: at most 255 are possible: {key}", self.server, key.len())
        } else if let Some(limit) = self.max_bytes
            && message.payload.len() > limit
        {
            let bytes = message.payload.len();
            format!("{}: a message of {bytes} bytes, but it takes {limit} (max_message_size)", self.server)
        } else {
            return None;
        };
        Some(Outcome::Rejected(Error::broker(text)))
    }

    /// Sends as many as may be on their way and notes what became of them.
    async fn turn(&mut self, connection: &Connection, batch: &mut Batch<'_>, deadline: Instant) -> Turn {
        let messages = batch.turn(self.window, BYTES_IN_FLIGHT, |message| message.payload.len());
        let mut sent: Vec<InFlight<'_>> = Vec::with_capacity(messages.len());
        let mut broken = None;
        for (_, message) in &messages {
            let key = self.key.render(message, Escape::Amqp);
            match InFlight::send(connection.channel(), &self.exchange, key, message).await {
                Ok(in_flight) => sent.push(in_flight),
                Err(cause) => {
                    broken = Some(cause);
                    break;
                }
            }
        }
        // Also when this is dropped.
        self.silent = true;
        let answers = confirm::answers(sent, deadline).await;
        self.silent = answers.iter().any(|answer| matches!(answer, Answer::Silent));
        if let Some(limit) = answers.iter().find_map(Answer::size_limit) {
            self.max_bytes = Some(limit);
        }
        let alone = answers.iter().filter(|answer| answer.is_open()).count() == 1;
        let mut turn = if broken.is_some() { Turn::Broken } else { Turn::Complete };
        for ((index, message), answer) in messages.into_iter().zip(answers) {
            turn = turn.max(match answer {
                Answer::Taken => Turn::Complete,
                Answer::Nacked | Answer::Returned(_) => Turn::Refused,
                Answer::Silent | Answer::Failed(_) => Turn::Broken,
            });
            let outcome = self.outcome(answer, message, alone, connection);
            batch.settle(index, outcome);
        }
        turn
    }

    fn outcome(&self, answer: Answer, message: &Message, alone: bool, connection: &Connection) -> Outcome {
        let key = self.key.render(message, Escape::Amqp);
        let to = format!("{}: exchange {:?}, routing key {key}", self.server, self.exchange.as_str());
        match answer {
            Answer::Taken => Outcome::Accepted,
            Answer::Nacked => Outcome::Retry(Error::broker(format!(
                "{to}: not taken (basic.nack): a queue has no room, or failed; read from it, or give it more"
            ))),
            Answer::Returned(text) => Outcome::Retry(Error::broker(format!(
                "{to}: returned ({text}): no queue for it; declare one, and bind it to the exchange"
            ))),
            Answer::Silent if connection.is_blocked() => {
                Outcome::Unknown(Error::broker(format!("{to}: no confirmation within {:?}; {BLOCKED}", self.timeout)))
            }
            Answer::Silent => {
                Outcome::Unknown(Error::broker(format!("{to}: no confirmation within {:?}", self.timeout)))
            }
            Answer::Failed(cause) => {
                let refusal = self.refused(message);
                let error = Error::broker_because(format!("{to}: {}", confirm::explained(&cause)), cause.clone());
                match confirm::reply_code(&cause) {
                    Some(_) if refusal.is_some() => refusal.unwrap_or(Outcome::Accepted),
                    // Which of several it was is not said.
                    Some(403 | 406) if alone => Outcome::Rejected(error),
                    Some(404 | 405) if alone => Outcome::Retry(error),
                    _ => Outcome::Unknown(error),
                }
            }
        }
    }
}

const IN_FLIGHT: usize = 256;

const BLOCKED: &str = "it holds up publishers (connection.blocked): its memory or its disk is short";

/// How a turn went, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Complete,
    /// The broker answered, and did not take all.
    Refused,
    /// Not all was answered.
    Broken,
}

impl Publish for Amqp {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        let deadline = self.deadline();
        let mut batch = Batch::new(batch);
        batch.settle_early(|message| self.refused(message));
        if batch.is_settled() {
            return batch.finish("");
        }
        let connection = match self.connection(deadline).await {
            Ok(connection) => connection,
            Err(error) => return batch.finish(&error.to_string()),
        };
        while !batch.is_settled() {
            let turn = self.turn(&connection, &mut batch, deadline).await;
            let reason = match turn {
                Turn::Complete => continue,
                Turn::Refused => {
                    self.window = 1;
                    self.idle = Some(connection);
                    "not sent, as an earlier message was not taken"
                }
                Turn::Broken => {
                    if connection.is_open() && connection.is_blocked() {
                        // It is not lost, and what waits in it comes first.
                        self.idle = Some(connection);
                    }
                    "not sent, as an earlier message may be lost"
                }
            };
            return batch.finish(&format!("{}: {reason}", self.server));
        }
        self.window = self.window.saturating_mul(2).min(self.in_flight);
        self.idle = Some(connection);
        batch.finish("")
    }

    async fn check(&mut self) -> Option<Result<()>> {
        let deadline = self.deadline();
        let connection = match self.connection(deadline).await {
            Ok(connection) => connection,
            Err(error) => return Some(Err(error)),
        };
        let checked = match tokio::time::timeout_at(deadline, connection.check()).await {
            Ok(checked) => checked.map_err(|cause| Error::broker_because(format!("{}: {cause}", self.server), cause)),
            Err(_) => Err(Error::broker(format!("{}: no answer within {:?}", self.server, self.timeout))),
        };
        if checked.is_ok() {
            self.idle = Some(connection);
            if self.silent {
                // A quorum queue without its quorum confirms nothing, of no message.
                return None;
            }
        }
        Some(checked)
    }

    fn max_message_bytes(&self) -> Option<usize> {
        self.max_bytes
    }

    fn destination(&self) -> String {
        format!("{} {} {}", self.server, self.exchange, self.key)
    }

    async fn close(&mut self) {
        // Whatever was sent was confirmed, or given up with its connection.
        if let Some(connection) = self.idle.take() {
            let _ = tokio::time::timeout_at(self.deadline(), connection.close()).await;
        }
    }
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp")
            .field("server", &self.server)
            .field("exchange", &self.exchange.as_str())
            .field("key", &self.key)
            .field("in_flight", &self.in_flight)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
