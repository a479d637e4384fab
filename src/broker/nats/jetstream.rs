//! Publishing to a JetStream stream, with acknowledgements.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::message::PublishMessage;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use super::line::{Line, NO_TIMEOUT};
use super::publisher::{Subject, Way, link, set_subject};
use super::{NOT_PERMITTED, Server, acks, headers};
use crate::broker::link::{Cause, Fault, Link, Reply, Session, Turn, publish_by_link};
use crate::forward::{Message, Template};
use crate::{Error, Result};

/// Publishes messages to JetStream: at least once.
///
/// The messages of a batch are in flight together, up to [`in_flight`](Self::in_flight) of them, and each counts as accepted when
/// the stream has acknowledged it. A message sent again has the same `Nats-Msg-Id`, so within the stream's duplicate window it is
/// stored once: [`Outcome::Duplicate`](crate::forward::Outcome::Duplicate).
///
/// The outcomes of messages that are not acknowledged:
///
/// | cause | outcome |
/// |---|---|
/// | no connection, not let in, no permission for the subject, no stream for it, stream full with `discard: new`, no JetStream | retry |
/// | no acknowledgement in time, the connection broke | unknown |
/// | larger than `max_payload` or the stream's `max_msg_size` | rejected |
///
/// Each clone has a connection of its own.
///
/// # Permissions of the user
///
/// To publish to the subjects, and to subscribe to the answers; none for the API of JetStream:
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
/// let queue = JetStream::new(server)?.subject("metrics.{host}.{kind}");
/// let forwarder = Forwarder::new(queue);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JetStream {
    link: Link<Subject<AtLeastOnce>>,
}

publish_by_link!(JetStream, "256");

impl JetStream {
    /// Returns a publisher to the server at this URL, or to a [`Server`] with credentials and other settings. The first batch connects, and
    /// after a failure each later one tries again: the server may start later.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a wrong URL or invalid credentials.
    pub fn new(server: impl Into<Server>) -> Result<Self> {
        Ok(Self { link: link(server)? })
    }

    /// Sets the subject of each message, a [`Template`] or its text. Default: `appmon.{kind}.{host}`. An invalid template, or one that cannot be a
    /// subject (empty tokens, wildcards, spaces) is reported at its first use ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn subject<T: TryInto<Template>>(mut self, subject: T) -> Self
    where
        Error: From<T::Error>,
    {
        set_subject(&mut self.link, subject);
        self
    }
}

struct Publishing {
    line: Line,
    context: Context,
}

/// The capacity of the client's queue, above the size of a turn.
const MOST_IN_FLIGHT: usize = 1 << 20;

/// Publishes messages, and waits for the acknowledgements of the stream.
enum AtLeastOnce {}

impl Way for AtLeastOnce {
    type Session = Publishing;

    fn over(line: Line) -> Publishing {
        let context = ContextBuilder::new()
            .timeout(NO_TIMEOUT)
            .max_ack_inflight(MOST_IN_FLIGHT)
            .ack_timeout(Duration::ZERO)
            .build(line.client.clone());
        Publishing { line, context }
    }

    async fn send(
        Publishing { line, context }: &mut Publishing,
        turn: &mut Turn<'_>,
        subject_of: impl Fn(&Message) -> String + Send + Sync,
    ) -> Result<(), Cause> {
        line.errors.forget();
        let mut answers = FuturesUnordered::new();
        let mut open: BTreeMap<usize, String> = BTreeMap::new();
        for (at, message) in turn.messages().into_iter().enumerate() {
            let subject = subject_of(message);
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
                // Answers from before the end are still available.
                Err(cause) => lost = Some(cause),
            }
        }
        lost.map_or(Ok(()), Err)
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
