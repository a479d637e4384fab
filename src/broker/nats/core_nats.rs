//! To core NATS, which stores nothing.

use super::jetstream::parse_subject;
use super::server::{Dialer, Line};
use super::{NOT_PERMITTED, SUBJECT, Server, headers};
use crate::Result;
use crate::broker::link::{Cause, Connect, Fault, Link, Reply, Turn, publish_by_link};
use crate::forward::{Escape, Message, Template};

/// Brings messages to core NATS: **at most once**.
///
/// Core NATS gives a message to whoever is subscribed at that moment and keeps nothing. [`Outcome::Accepted`](crate::forward::Outcome::Accepted) means that the server
/// has read the message, in order, on a connection that stood until then: it answered to what was sent after the batch. It does
/// not mean that anybody received it, nor that a server which ends right then passed it on. Where that is not enough, there is
/// [`JetStream`](super::JetStream).
///
/// What the server did not answer to is unknown and sent again, so a subscriber can see a message twice. Messages whose subject is
/// not permitted are to be sent again; too large ones are rejected.
///
/// The user needs to publish to the subjects, and to subscribe to `_INBOX.>`.
///
/// ```no_run
/// use appmon::broker::nats::Core;
/// use appmon::forward::Forwarder;
///
/// # fn connect() -> appmon::Result<()> {
/// let forwarder = Forwarder::new(Core::new("nats://127.0.0.1:4222")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Core {
    link: Link<Connector>,
}

publish_by_link!(Core, "256");

impl Core {
    /// Publishes to the server at this URL (or a [`Server`] with more to say). It is connected to when there is something to send, and
    /// where that does not work, again with each batch.
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
    /// [`Error::is_config`](crate::Error::is_config) when it is no [`Template`] or cannot be a subject.
    pub fn subject(mut self, template: &str) -> Result<Self> {
        self.link.connect.subject = parse_subject(template)?;
        Ok(self)
    }
}

#[derive(Clone)]
struct Connector {
    dialer: Dialer,
    subject: Template,
}

impl Connect for Connector {
    type Session = Line;

    fn servers(&self) -> usize {
        self.dialer.servers()
    }

    async fn connect(&self, server: usize) -> Result<Line, Cause> {
        self.dialer.connect(server).await
    }

    async fn send(&self, line: &mut Line, turn: &mut Turn<'_>) -> Result<(), Cause> {
        line.errors.forget();
        let mut sent = Vec::new();
        for (at, message) in turn.messages().into_iter().enumerate() {
            let subject = self.place(message);
            let publish =
                line.client.publish_with_headers(subject.clone(), headers::of(message), message.payload.clone());
            match publish.await {
                Ok(()) => sent.push((at, subject)),
                Err(error) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                    let what = format!("larger than the server takes (max_payload): {error}");
                    turn.settle(at, Reply::Refused(Fault::Size(None), Cause::of(what, error)));
                }
                Err(error) => return Err(Cause::of("the connection broke", error)),
            }
        }
        line.round_trip().await?;
        for (at, subject) in sent {
            let denied = line.errors.denied(&subject);
            turn.settle(at, if denied { Reply::Refused(Fault::Place, NOT_PERMITTED.into()) } else { Reply::Accepted });
        }
        Ok(())
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
