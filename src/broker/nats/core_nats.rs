//! To core NATS, which stores nothing.

use super::jetstream::parse_subject;
use super::server::{Link, Opened};
use super::{SUBJECT, Server, headers};
use crate::forward::{Escape, Message, Outcome, Publish, Template};
use crate::{Error, Result};

/// Brings messages to core NATS: **at most once**.
///
/// Core NATS gives a message to whoever is subscribed at that moment and keeps nothing. [`Outcome::Accepted`] means that the server
/// has read the message, in order, on a connection that stood until then: it answered to what was sent after the batch. It does
/// not mean that anybody received it, nor that a server which ends right then passed it on. Where that is not enough, there is
/// [`JetStream`](super::JetStream).
///
/// What the server did not answer to is [`Outcome::Unknown`] and sent again, so a subscriber can see a message twice. Too large
/// messages, and those whose subject is not permitted, are [`Outcome::Rejected`].
///
/// ```no_run
/// use appmon::broker::nats::Core;
/// use appmon::forward::Forwarder;
///
/// # async fn connect() -> appmon::Result<()> {
/// let forwarder = Forwarder::new(Core::connect("nats://127.0.0.1:4222").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Core {
    server: Opened,
    subject: Template,
    link: Option<Link>,
    max_payload: Option<usize>,
}

impl Core {
    /// Publishes to the server at this URL (or a [`Server`] with more to say). It is connected to, and where that does not work, again
    /// with each batch.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a wrong URL or credentials that are none.
    pub async fn connect(server: impl Into<Server> + Send) -> Result<Self> {
        let mut jetstream =
            Self { server: server.into().open()?, subject: SUBJECT.parse()?, link: None, max_payload: None };
        match jetstream.open().await {
            Ok(link) => jetstream.link = Some(link),
            Err(error) => tracing::warn!(%error, "not connected yet"),
        }
        Ok(jetstream)
    }

    /// The subject of each message. Default: `appmon.{kind}.{host}`.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) when it is no [`Template`] or cannot be a subject.
    pub fn subject(mut self, template: &str) -> Result<Self> {
        self.subject = parse_subject(template)?;
        Ok(self)
    }

    async fn open(&mut self) -> Result<Link> {
        if let Some(link) = self.link.take().filter(Link::is_alive) {
            return Ok(link);
        }
        let link = self.server.connect().await?;
        self.max_payload = Some(link.client.server_info().max_payload).filter(|bytes| *bytes > 0);
        Ok(link)
    }

    /// Writes a message; what cannot be sent at all is rejected.
    async fn send(&self, link: &Link, message: &Message) -> Result<(), Outcome> {
        let subject = self.subject.render(message, Escape::Nats);
        let sent = link.client.publish_with_headers(subject.clone(), headers::of(message), message.payload.clone());
        let place = format!("{} {subject}", self.server.name);
        match tokio::time::timeout(self.server.timeout, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                let what = format!("{place}: larger than the server takes (max_payload): {error}");
                Err(Outcome::Rejected(Error::broker_because(what, error)))
            }
            Ok(Err(error)) => {
                Err(Outcome::Unknown(Error::broker_because(format!("{place}: the connection broke"), error)))
            }
            Err(_) => Err(Outcome::Unknown(Error::broker(format!("{place}: nothing can be written")))),
        }
    }

    /// What became of a message that was sent, by what came of the round trip after it.
    fn outcome(&self, link: &Link, message: &Message, answered: &Result<()>) -> Outcome {
        let subject = self.subject.render(message, Escape::Nats);
        let place = format!("{} {subject}", self.server.name);
        match answered {
            _ if link.errors.denied(&subject) => {
                Outcome::Rejected(Error::broker(format!("{place}: no permission to publish to this subject")))
            }
            Ok(()) => Outcome::Accepted,
            Err(error) => Outcome::Unknown(Error::broker(format!("{place}: {error}"))),
        }
    }
}

impl Clone for Core {
    fn clone(&self) -> Self {
        Self { server: self.server.clone(), subject: self.subject.clone(), link: None, max_payload: self.max_payload }
    }
}

impl Publish for Core {
    /// It ends within the time a connection takes, and the server's [`timeout`](Server::timeout) after the last message was written.
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        let link = match self.open().await {
            Ok(link) => link,
            Err(error) => return Outcome::none_sent(batch, error),
        };
        let mut failed = Vec::new();
        for message in batch {
            let result = self.send(&link, message).await;
            let broken = matches!(result, Err(Outcome::Unknown(_)));
            failed.push(result.err());
            if broken {
                break;
            }
        }
        let answered = link.round_trip(&self.server.name, self.server.timeout).await;
        let mut failed = failed.into_iter();
        let mut denied = false;
        let outcomes = batch
            .iter()
            .map(|message| match failed.next() {
                Some(Some(outcome)) => outcome,
                Some(None) => {
                    let outcome = self.outcome(&link, message, &answered);
                    denied |= matches!(outcome, Outcome::Rejected(_));
                    outcome
                }
                None => Outcome::Retry(Error::broker(format!("{}: not sent, the connection broke", self.server.name))),
            })
            .collect();
        // What the server once denied on this connection is remembered with it, and may be permitted by now.
        if answered.is_ok() && !denied {
            self.link = Some(link);
        }
        outcomes
    }

    async fn check(&mut self) -> Option<Result<()>> {
        Some(
            async {
                let link = self.open().await?;
                link.round_trip(&self.server.name, self.server.timeout).await?;
                self.link = Some(link);
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
        // All that was sent was answered to.
        self.link = None;
    }
}
