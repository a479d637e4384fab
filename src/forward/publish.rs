//! What a broker does with messages.

use std::future::Future;
use std::time::Duration;

use crate::forward::message::Message;
use crate::{Error, Result};

/// Brings messages to a broker: what a message queue implements, and all that a [`Forwarder`](crate::forward::Forwarder) knows of
/// it.
///
/// ```
/// use appmon::forward::{Message, Outcome, Publish};
///
/// /// A queue that takes everything.
/// struct Nowhere;
///
/// impl Publish for Nowhere {
///     async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
///         batch.iter().map(|_| Outcome::Accepted).collect()
///     }
/// }
/// ```
pub trait Publish: Send {
    /// Brings a batch to the broker and tells what became of each message, in the order of the batch.
    ///
    /// It connects again where that is needed, at most once per call: waiting between attempts is the caller's. The messages of a
    /// batch may be on their way together, but one is never to be accepted while an earlier one of them can still be lost and
    /// then sent again: what follows a broken connection is not to go out over the next one before the caller saw the outcomes.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped, by a caller that waited long enough: all messages then count as
    /// [`Outcome::Unknown`], and the next call must work.
    fn publish(&mut self, batch: &[Message]) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Finds out whether the broker answers at all, without a message, connecting where that is needed. It asks for nothing that
    /// publishing does not need: a check that is not permitted must not keep messages back. A message that
    /// breaks the connection each time, right after the broker answered here, is taken for poison and set aside. `None` where
    /// there is no way to ask, the default, and where the broker answers but did not acknowledge the last message in time, without
    /// breaking the connection: what it waits for (a quorum, a disk) is nothing of the message's. Such a message is then tried for ever.
    fn check(&mut self) -> impl Future<Output = Option<Result<()>>> + Send {
        std::future::ready(None)
    }

    /// Whether its settings can be used at all. A forwarder asks before it begins, and does not where they cannot; so setters need not
    /// fail. Default: they can.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`], with the setting and its value.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// The largest message the broker takes, in bytes with its headers, where that is known. It is asked after each attempt, and may
    /// change: what was encoded before is split.
    fn max_message_bytes(&self) -> Option<usize> {
        None
    }

    /// Where the messages go, for people: `nats://10.0.0.5:4222 appmon.{kind}.{host}`. Without secrets.
    fn destination(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Ends the connection, after what is on its way.
    fn close(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// What became of one message.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The broker has it, in the sense its acknowledgements have.
    Accepted,
    /// The broker has it and had it before: by its id it saw that it was sent twice.
    Duplicate,
    /// The broker does not have it, and may take it later: not connected, not let in, no permission, no such stream, no room, busy.
    Retry(Error),
    /// The same, where the broker says for how long it wants to be left alone, as HTTP does with `Retry-After`: nothing is sent before
    /// that is over.
    RetryAfter {
        /// How long to wait.
        wait: Duration,
        /// Why.
        error: Error,
    },
    /// The broker has it, but refused some of its samples for good: what it took must not be sent again.
    Partly {
        /// How many samples it refused.
        refused: u32,
        /// Why.
        error: Error,
    },
    /// Nobody knows: it was sent and no answer came. It is sent again with the same id.
    Unknown(Error),
    /// The broker refuses it for its size, and did not store it. It is split and sent again, in pieces of up to
    /// [`Publish::max_message_bytes`] where that is less, and of half its size else; so larger ones are from then on. What cannot be
    /// split is refused for good.
    TooLarge(Error),
    /// The broker refuses it for what it is, and will again: malformed. What is the user's or the topic's is none of its faults: no
    /// permission is [`Retry`](Self::Retry). Where it is larger than [`Publish::max_message_bytes`] says after the attempt, it counts as
    /// [`TooLarge`](Self::TooLarge).
    Rejected(Error),
}

impl Outcome {
    /// Whether the broker has it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted | Self::Duplicate | Self::Partly { .. })
    }

    /// For a batch of which nothing was sent, for this reason.
    #[must_use]
    pub fn none_sent(batch: &[Message], error: Error) -> Vec<Self> {
        let text = error.to_string();
        let mut outcomes: Vec<_> = std::iter::once(Self::Retry(error)).take(batch.len()).collect();
        outcomes.resize_with(batch.len(), || Self::Retry(Error::broker(text.clone())));
        outcomes
    }
}
