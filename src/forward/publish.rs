//! The interface to a broker.

use std::future::Future;
use std::time::Duration;

use crate::forward::message::Message;
use crate::wire::Codec;
use crate::{Error, Result};

/// Publishing of messages to a broker. Implement it for a message queue to use it with a [`Forwarder`](crate::forward::Forwarder).
///
/// ```
/// use appmon::forward::{Message, Outcome, Publish};
///
/// /// A queue that accepts everything.
/// struct Nowhere;
///
/// impl Publish for Nowhere {
///     async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
///         batch.iter().map(|_| Outcome::Accepted).collect()
///     }
/// }
/// ```
pub trait Publish: Send {
    /// Publishes a batch and returns the outcome of each message, in the order of the batch.
    ///
    /// It reconnects if needed, at most once per call: the caller does the waiting between attempts. The messages of a batch may be
    /// in flight together, but no message may be accepted while an earlier one of the batch can still be lost and sent again later.
    /// So after a broken connection no further message may be sent before the outcomes were returned to the caller.
    ///
    /// # Cancel safety
    ///
    /// The caller may drop the future after a timeout: all messages then count as [`Outcome::Unknown`], and the next call must
    /// work.
    fn publish(&mut self, batch: &[Message]) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Checks whether the broker answers, without publishing a message, and connects if needed. The check must not require a
    /// permission that publishing does not require, or it would block messages. A message that breaks the connection several times,
    /// each time right after a successful check, is rejected.
    ///
    /// Returns `None` if there is no way to check (the default). Also if the broker answers but did not acknowledge the last message
    /// in time, with the connection intact: the cause (a quorum, a disk) is then not the message, which is tried again for ever.
    fn check(&mut self) -> impl Future<Output = Option<Result<()>>> + Send {
        std::future::ready(None)
    }

    /// Checks the settings. A forwarder calls it before it starts, and returns its error; so setters need not fail. Default: no
    /// error.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`], with the setting and its value.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the only codec that the broker accepts, if there is one. A forwarder uses it unless another one was set, which is an error
    /// then. Default: `None`.
    fn codec(&self) -> Option<Codec> {
        None
    }

    /// Returns the largest message the broker accepts, in bytes including headers; `None` if it is unknown. It is called after each
    /// attempt, and may change: messages encoded before are then split.
    fn max_message_bytes(&self) -> Option<usize> {
        None
    }

    /// Returns the destination of the messages for logs, without secrets: `nats://10.0.0.5:4222 appmon.{kind}.{host}`.
    fn destination(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Closes the connection, after the messages in flight.
    fn close(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// The outcome of publishing one message.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The broker acknowledged it.
    Accepted,
    /// The broker has it from an earlier attempt, and recognized the duplicate by its id.
    Duplicate,
    /// The broker does not have it, and may accept it later: no connection, no permission, no such stream, no room, busy.
    Retry(Error),
    /// The same, with the time the broker asks its clients to wait, as HTTP does with `Retry-After`. No message is sent before that
    /// time is over.
    RetryAfter {
        /// How long to wait.
        wait: Duration,
        /// Why.
        error: Error,
    },
    /// The broker has it, but refused some of its samples for good. It is not sent again, since the other samples are stored.
    Partly {
        /// How many samples it refused.
        refused: u32,
        /// Why.
        error: Error,
    },
    /// It was sent and no answer came, so the outcome is unknown. It is sent again with the same id.
    Unknown(Error),
    /// The broker refuses it for its size, and did not store it. It is split and sent again, in pieces of up to
    /// [`Publish::max_message_bytes`] if that is less than its size, and otherwise of half its size. That is the limit of later
    /// messages as well. A message that cannot be split is rejected.
    TooLarge(Error),
    /// The broker refuses this message for good, for example as malformed. Faults of the user or the topic, such as a missing
    /// permission, are [`Retry`](Self::Retry) instead. If the message is larger than the [`Publish::max_message_bytes`] returned after
    /// the attempt, it counts as [`TooLarge`](Self::TooLarge).
    Rejected(Error),
}

impl Outcome {
    /// Whether the broker has it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted | Self::Duplicate | Self::Partly { .. })
    }

    /// Returns the outcomes of a batch of which no message was sent: [`Retry`](Self::Retry) with this error for each.
    #[must_use]
    pub fn none_sent(batch: &[Message], error: Error) -> Vec<Self> {
        let text = error.to_string();
        let mut outcomes: Vec<_> = std::iter::once(Self::Retry(error)).take(batch.len()).collect();
        outcomes.resize_with(batch.len(), || Self::Retry(Error::broker(text.clone())));
        outcomes
    }
}
