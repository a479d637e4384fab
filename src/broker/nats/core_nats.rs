//! Publishing to core NATS, which stores no messages.

use super::line::Line;
use super::publisher::{Subject, Way, link, set_subject};
use super::{NOT_PERMITTED, Server, headers};
use crate::broker::link::{Cause, Fault, Link, Reply, Turn, publish_by_link};
use crate::forward::{Message, Template};
use crate::{Error, Result};

/// Publishes messages to core NATS: **at most once**.
///
/// Core NATS passes a message to the current subscribers and does not store it. [`Outcome::Accepted`](crate::forward::Outcome::Accepted) means that the server
/// has read the message, in order, on an intact connection: it answered a request sent after the batch. It does
/// not mean that a subscriber received it. For stored messages use [`JetStream`](super::JetStream).
///
/// Messages without an answer of the server are unknown and sent again, so a subscriber can receive a message twice. Messages without
/// permission for their subject are tried again; too large ones are split or rejected.
///
/// The user needs the permissions to publish to the subjects, and to subscribe to `_INBOX.>`.
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
    /// Returns a publisher to the server at this URL, or to a [`Server`] with credentials and other settings. The first batch connects, and
    /// after a failure each later one tries again.
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

/// Publishes messages, and waits for an answer of the server after them.
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
