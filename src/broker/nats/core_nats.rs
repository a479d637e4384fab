//! To core NATS, which stores nothing.

use super::line::Line;
use super::publisher::{Subject, Way, link, set_subject};
use super::{NOT_PERMITTED, Server, headers};
use crate::broker::link::{Cause, Fault, Link, Reply, Turn, publish_by_link};
use crate::forward::{Message, Template};
use crate::{Error, Result};

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
    link: Link<Subject<AtMostOnce>>,
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
        Ok(Self { link: link(server)? })
    }

    /// The subject of each message, a [`Template`] or its text. Default: `appmon.{kind}.{host}`. One that is no template or cannot be a
    /// subject (empty tokens, wildcards, spaces) is reported when it is used first ([`Publish::validate`](crate::forward::Publish::validate)).
    #[must_use]
    pub fn subject<T: TryInto<Template>>(mut self, subject: T) -> Self
    where
        Error: From<T::Error>,
    {
        set_subject(&mut self.link, subject);
        self
    }
}

/// Messages are published, and the server asked whether it read them.
enum AtMostOnce {}

impl Way for AtMostOnce {
    type Session = Line;

    fn over(line: Line) -> Line {
        line
    }

    async fn send(
        line: &mut Line,
        turn: &mut Turn<'_>,
        subject_of: impl Fn(&Message) -> String + Send + Sync,
    ) -> Result<(), Cause> {
        line.errors.forget();
        let mut sent = Vec::new();
        for (at, message) in turn.messages().into_iter().enumerate() {
            let subject = subject_of(message);
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
}
