//! To a stream of JetStream, acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::message::PublishMessage;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};

use super::server::{Dialer, Line, NO_TIMEOUT};
use super::{NOT_PERMITTED, SUBJECT, Server, acks, headers};
use crate::broker::link::{Cause, Connect, Fault, Link, Reply, Session, Turn, publish_by_link};
use crate::forward::{Escape, Message, Template};
use crate::{Error, Result};

/// Brings messages to JetStream: at least once.
///
/// The messages of a batch are on their way together, up to [`in_flight`](Self::in_flight) of them, and each counts as accepted when
/// the stream has acknowledged it. What is sent again has the same `Nats-Msg-Id`, so within the stream's duplicate window it is
/// stored once: [`Outcome::Duplicate`](crate::forward::Outcome::Duplicate).
///
/// What becomes of a message that is not acknowledged:
///
/// | what happened | outcome |
/// |---|---|
/// | no connection, not let in, no permission for the subject, no stream for it, stream full with `discard: new`, no JetStream | retry |
/// | no acknowledgement in time, the connection broke | unknown |
/// | larger than `max_payload` or the stream's `max_msg_size` | rejected |
///
/// Each clone has a connection of its own.
///
/// # What the user needs
///
/// To publish to the subjects, and to subscribe to the answers; nothing of the API of JetStream:
///
/// ```text
/// permissions: { publish: ["appmon.>"], subscribe: ["_INBOX.>"] }
/// ```
///
/// ```no_run
/// use appmon::broker::nats::{JetStream, Server};
/// use appmon::forward::Forwarder;
///
/// # fn connect() -> appmon::Result<()> {
/// let server = Server::new("nats://nats.example.com").credentials_file("/etc/appmon/nats.creds");
/// let queue = JetStream::new(server)?.subject("metrics.{host}.{kind}")?;
/// let forwarder = Forwarder::new(queue);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JetStream {
    link: Link<Connector>,
}

publish_by_link!(JetStream, "256");

impl JetStream {
    /// Publishes to the server at this URL (or a [`Server`] with more to say). It is connected to when there is something to send, and
    /// where that does not work, again with each batch: a server that starts later is found.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a wrong URL or credentials that are none.
    pub fn new(server: impl Into<Server>) -> Result<Self> {
        let dialer = server.into().check()?;
        let timeout = dialer.timeout();
        let mut link = Link::new(Connector { dialer, subject: SUBJECT.parse()? }, 256);
        link.set_timeout(timeout);
        Ok(Self { link })
    }

    /// The subject of each message. Default: `appmon.{kind}.{host}`.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) when it is no [`Template`] or cannot be a subject: empty tokens, wildcards, spaces.
    pub fn subject(mut self, template: &str) -> Result<Self> {
        self.link.connect.subject = parse_subject(template)?;
        Ok(self)
    }
}

/// A subject's template, which must make no empty tokens.
pub(super) fn parse_subject(template: &str) -> Result<Template> {
    let subject: Template = template.parse()?;
    subject.check(Escape::Nats)?;
    if template.split('.').any(str::is_empty) {
        return Err(Error::config(format!("subject {template}: it has an empty token")));
    }
    Ok(subject)
}

#[derive(Clone)]
struct Connector {
    dialer: Dialer,
    subject: Template,
}

struct Publishing {
    line: Line,
    context: Context,
}

/// What the client makes room for at most; a turn is smaller.
const MOST_IN_FLIGHT: usize = 1 << 20;

impl Connect for Connector {
    type Session = Publishing;

    fn servers(&self) -> usize {
        self.dialer.servers()
    }

    async fn connect(&self, server: usize) -> Result<Publishing, Cause> {
        let line = self.dialer.connect(server).await?;
        let context = ContextBuilder::new()
            .timeout(NO_TIMEOUT)
            .max_ack_inflight(MOST_IN_FLIGHT)
            .ack_timeout(Duration::ZERO)
            .build(line.client.clone());
        Ok(Publishing { line, context })
    }

    async fn send(&self, Publishing { line, context }: &mut Publishing, turn: &mut Turn<'_>) -> Result<(), Cause> {
        line.errors.forget();
        let mut answers = FuturesUnordered::new();
        let mut open: BTreeMap<usize, String> = BTreeMap::new();
        for (at, message) in turn.messages().into_iter().enumerate() {
            let subject = self.place(message);
            let publish = PublishMessage::build().payload(message.payload.clone()).headers(headers::of(message));
            match context.send_publish(subject.clone(), publish).await {
                Ok(ack) => {
                    answers.push(ack.into_future().map(move |answer| (at, answer)));
                    open.insert(at, subject);
                }
                Err(error) => turn.settle(at, acks::reply(Err(error))?),
            }
        }
        let mut lost = None;
        while !open.is_empty() {
            let denied = line.errors.until(|errors| open.values().any(|subject| errors.denied(subject)));
            let answered = tokio::select! {
                biased;
                answered = answers.next() => answered,
                () = denied => {
                    open.retain(|at, subject| {
                        let denied = line.errors.denied(subject);
                        if denied {
                            turn.settle(*at, Reply::Refused(Fault::Place, NOT_PERMITTED.into()));
                        }
                        !denied
                    });
                    continue;
                }
            };
            let Some((at, answer)) = answered else { break };
            if open.remove(&at).is_none() {
                continue;
            }
            match acks::reply(answer) {
                Ok(reply) => turn.settle(at, reply),
                // What was answered before the end is there all the same.
                Err(cause) => lost = Some(cause),
            }
        }
        lost.map_or(Ok(()), Err)
    }

    fn server(&self, server: usize) -> String {
        self.dialer.name(server)
    }

    fn place(&self, message: &Message) -> String {
        self.subject.render(message, Escape::Nats)
    }

    fn destination(&self) -> String {
        format!("{} {}", self.dialer.names(), self.subject)
    }
}

impl Session for Publishing {
    fn is_open(&mut self) -> bool {
        self.line.is_open()
    }

    fn limit(&self) -> Option<usize> {
        self.line.limit()
    }

    async fn close(self) {}
}
