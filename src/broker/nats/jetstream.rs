//! To a stream of JetStream, acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use futures::FutureExt as _;

use super::server::{Link, Opened};
use super::{SUBJECT, Server, acks, headers};
use crate::forward::{Escape, Message, Outcome, Publish, Template};
use crate::{Error, Result};

/// Brings messages to JetStream: at least once.
///
/// The messages of a batch are on their way together, up to [`in_flight`](Self::in_flight) of them, and each counts as accepted when
/// the stream has acknowledged it. What is sent again has the same `Nats-Msg-Id`, so within the stream's duplicate window it is
/// stored once: [`Outcome::Duplicate`].
///
/// What becomes of a message that is not acknowledged:
///
/// | what happened | outcome |
/// |---|---|
/// | no connection, not let in, no stream for the subject, stream full with `discard: new`, no JetStream | [`Retry`](Outcome::Retry) |
/// | no acknowledgement in time, the connection broke | [`Unknown`](Outcome::Unknown) |
/// | larger than `max_payload` or the stream's `max_msg_size`, no permission for the subject | [`Rejected`](Outcome::Rejected) |
///
/// After a message that the stream refused, no later one is sent, and the next are sent one at a time until a whole batch was taken,
/// so that none is stored before an earlier one. What is already on its way when a stream becomes full can still be, if room is
/// made in that very moment; `in_flight(1)` rules that out, at the cost of a round trip per message.
///
/// Each clone has a connection of its own.
///
/// ```no_run
/// use appmon::broker::nats::{JetStream, Server};
/// use appmon::forward::Forwarder;
///
/// # async fn connect() -> appmon::Result<()> {
/// let server = Server::new("nats://nats.example.com").credentials_file("/etc/appmon/nats.creds");
/// let queue = JetStream::connect(server).await?.subject("metrics.{host}.{kind}")?;
/// let forwarder = Forwarder::new(queue);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct JetStream {
    server: Opened,
    subject: Template,
    in_flight: usize,
    pace: Pace,
    session: Option<Session>,
    /// The subject of what was not answered last.
    unanswered: Option<String>,
    max_payload: Option<usize>,
}

/// How many are on their way together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Together,
    /// The stream refused some; until it takes a batch again, one after the other.
    OneByOne,
}

#[derive(Debug)]
struct Session {
    link: Link,
    context: Context,
}

impl JetStream {
    /// Publishes to the server at this URL (or a [`Server`] with more to say). It is connected to, and where that does not work, again
    /// with each batch: a server that starts later is found.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a wrong URL or credentials that are none. That the server cannot be reached or
    /// does not let us in is no error here: it is told with each batch.
    pub async fn connect(server: impl Into<Server> + Send) -> Result<Self> {
        let server = server.into().open()?;
        let subject = SUBJECT.parse()?;
        let mut jetstream = Self {
            server,
            subject,
            in_flight: 256,
            pace: Pace::Together,
            session: None,
            unanswered: None,
            max_payload: None,
        };
        // What the server takes is better known before the first message is made.
        match jetstream.open().await {
            Ok(session) => jetstream.session = Some(session),
            Err(error) => tracing::warn!(%error, "not connected yet"),
        }
        Ok(jetstream)
    }

    /// The subject of each message. Default: `appmon.{kind}.{host}`.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) when it is no [`Template`] or cannot be a subject: empty tokens, wildcards, spaces.
    pub fn subject(mut self, template: &str) -> Result<Self> {
        self.subject = parse_subject(template)?;
        Ok(self)
    }

    /// How many messages may wait for their acknowledgement at once, at least 1. Default: 256.
    #[must_use]
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages.max(1);
        self
    }

    /// The connection: the one there is, or a new one.
    async fn open(&mut self) -> Result<Session> {
        if let Some(session) = self.session.take().filter(|session| session.link.is_alive()) {
            return Ok(session);
        }
        let link = self.server.connect().await?;
        self.max_payload = Some(link.client.server_info().max_payload).filter(|bytes| *bytes > 0);
        let context = ContextBuilder::new()
            .timeout(self.server.timeout)
            .max_ack_inflight(self.in_flight)
            .ack_timeout(Duration::ZERO)
            .build(link.client.clone());
        Ok(Session { link, context })
    }
}

impl Clone for JetStream {
    fn clone(&self) -> Self {
        Self {
            server: self.server.clone(),
            subject: self.subject.clone(),
            in_flight: self.in_flight,
            pace: Pace::Together,
            session: None,
            unanswered: None,
            max_payload: self.max_payload,
        }
    }
}

impl Publish for JetStream {
    /// It ends within the server's [`timeout`](Server::timeout) after the last acknowledgement, and the time a connection takes.
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        // Taken out of `self` while it is in use: if this future is dropped, the connection is too, with all that was on its way.
        let session = match self.open().await {
            Ok(session) => session,
            Err(error) => return Outcome::none_sent(batch, error),
        };
        let window = if self.pace == Pace::OneByOne { 1 } else { self.in_flight };
        let mut sending = Sending {
            server: &self.server,
            subject: &self.subject,
            session: &session,
            window,
            waiting: VecDeque::new(),
            outcomes: Vec::with_capacity(batch.len()),
            state: State::Whole,
            denied: false,
        };
        for message in batch {
            sending.send(message).await;
        }
        while !sending.waiting.is_empty() {
            sending.settle_first().await;
        }
        let Sending { outcomes, state, denied, .. } = sending;
        if state == State::Broken {
            self.unanswered = batch.first().map(|message| self.subject.render(message, Escape::Nats));
        } else if !denied {
            // What the server once denied on this connection is remembered with it, and may be permitted by now.
            self.session = Some(session);
        }
        self.pace = if state == State::Whole { Pace::Together } else { Pace::OneByOne };
        outcomes
    }

    async fn check(&mut self) -> Option<Result<()>> {
        Some(
            async {
                let session = self.open().await?;
                match &self.unanswered {
                    // The server may well answer while the stream has no leader: that is asked then.
                    Some(subject) => stream_answers(&session.context, subject, &self.server.name).await?,
                    None => session.link.round_trip(&self.server.name, self.server.timeout).await?,
                }
                self.session = Some(session);
                Ok(())
            }
            .await,
        )
    }

    fn max_message_bytes(&self) -> Option<usize> {
        self.max_payload
    }

    fn destination(&self) -> String {
        format!("{} {}", self.server.name, self.subject)
    }

    async fn close(&mut self) {
        // All that was sent was waited for.
        self.session = None;
    }
}

/// Asks the leader of the stream that has this subject.
async fn stream_answers(context: &Context, subject: &str, server: &str) -> Result<()> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::broker_because(format!("{server} {subject}: the stream does not answer: {error}"), error)
    };
    let name = context.stream_by_subject(subject).await.map_err(|error| failed(Box::new(error)))?;
    context.get_stream(name).await.map_err(|error| failed(Box::new(error)))?;
    Ok(())
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

/// A batch on its way.
struct Sending<'a> {
    server: &'a Opened,
    subject: &'a Template,
    session: &'a Session,
    window: usize,
    /// What was sent and not settled, in order, by subject.
    waiting: VecDeque<(String, PublishAckFuture)>,
    outcomes: Vec<Outcome>,
    state: State,
    /// Whether there was no permission for one of them.
    denied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All was taken so far.
    Whole,
    /// Some was refused.
    Refused,
    /// The connection is not to be used again.
    Broken,
}

impl Sending<'_> {
    /// Sends one more, unless what came before it says that it should not be.
    async fn send(&mut self, message: &Message) {
        while self.waiting.len() >= self.window {
            self.settle_first().await;
        }
        if self.state != State::Whole {
            // Behind what is still waiting: the outcomes are in order.
            while !self.waiting.is_empty() {
                self.settle_first().await;
            }
            let error = Error::broker(format!("{}: not sent, because one before it was not taken", self.server.name));
            self.outcomes.push(Outcome::Retry(error));
            return;
        }
        let subject = self.subject.render(message, Escape::Nats);
        let publish = PublishMessage::build().payload(message.payload.clone()).headers(headers::of(message));
        match self.session.context.send_publish(subject.clone(), publish).await {
            Ok(ack) => self.waiting.push_back((subject, ack)),
            Err(error) => {
                while !self.waiting.is_empty() {
                    self.settle_first().await;
                }
                let outcome = acks::outcome(Err(error), &self.place(&subject), self.session.link.errors.last());
                self.settle(outcome);
            }
        }
    }

    /// Waits for what becomes of the one that was sent first.
    async fn settle_first(&mut self) {
        let Some((subject, ack)) = self.waiting.pop_front() else { return };
        let errors = &self.session.link.errors;
        let denied = async {
            loop {
                let changed = errors.changed.notified();
                if errors.denied(&subject) {
                    return;
                }
                changed.await;
            }
        };
        let answer = async {
            match self.state {
                // What already came is taken into account, and no more is waited for.
                State::Broken => ack.into_future().now_or_never(),
                State::Whole | State::Refused => Some(ack.await),
            }
        };
        let outcome = tokio::select! {
            biased;
            answer = answer => match answer {
                Some(answer) => acks::outcome(answer, &self.place(&subject), errors.last()),
                None => Outcome::Unknown(Error::broker(format!("{}: no acknowledgement", self.place(&subject)))),
            },
            () = denied => {
                self.denied = true;
                let what = "no permission to publish to this subject";
                Outcome::Rejected(Error::broker(format!("{}: {what}", self.place(&subject))))
            }
        };
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.state = match (&outcome, self.state) {
            (Outcome::Unknown(_), _) | (_, State::Broken) => State::Broken,
            (Outcome::Retry(_), _) => State::Refused,
            (_, state) => state,
        };
        self.outcomes.push(outcome);
    }

    fn place(&self, subject: &str) -> String {
        format!("{} {subject}", self.server.name)
    }
}
