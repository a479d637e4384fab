//! A batch being sent to a broker, and its turns.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::broker::link::reply::Reply;
use crate::forward::{Message, Outcome};

/// The messages of a batch, with the outcomes known so far: some are settled before sending, the others in turns.
pub(super) struct Batch<'a> {
    messages: &'a [Message],
    outcomes: Vec<Option<Outcome>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(messages: &'a [Message]) -> Self {
        Self { messages, outcomes: messages.iter().map(|_| None).collect() }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// Settles the messages whose outcome is known before sending.
    pub(super) fn settle_early(&mut self, outcome: impl Fn(&Message) -> Option<Outcome>) {
        for (message, settled) in self.messages.iter().zip(&mut self.outcomes) {
            if settled.is_none() {
                *settled = outcome(message);
            }
        }
    }

    /// Returns the first unsettled messages: at least one, and within these limits of messages and bytes.
    pub(super) fn turn(&self, count: usize, bytes: usize, until: Instant) -> Turn<'a> {
        let mut left = bytes;
        let (mut messages, mut indexes) = (Vec::new(), Vec::new());
        for (index, (message, settled)) in self.messages.iter().zip(&self.outcomes).enumerate() {
            if settled.is_some() {
                continue;
            }
            let bytes = message.payload.len().saturating_add(OVERHEAD);
            if !messages.is_empty() && (bytes > left || messages.len() >= count) {
                break;
            }
            left = left.saturating_sub(bytes);
            messages.push(message);
            indexes.push(index);
        }
        let replies = messages.iter().map(|_| None).collect();
        Turn { messages, indexes, replies, until }
    }

    pub(super) fn settle(&mut self, index: usize, outcome: Outcome) {
        if let Some(settled) = self.outcomes.get_mut(index) {
            *settled = Some(outcome);
        }
    }

    /// The same, when the broker asked its clients to wait.
    pub(super) fn finish_after(mut self, wait: Duration, error: &Error) -> Vec<Outcome> {
        let text = error.to_string();
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(Outcome::RetryAfter { wait, error: Error::broker(text.clone()) });
        }
        self.finish(&text)
    }

    /// Returns the outcomes. Unsettled messages were not sent, for this reason, and are to be tried again.
    pub(super) fn finish(self, reason: &str) -> Vec<Outcome> {
        let not_sent = || Outcome::Retry(Error::broker(reason));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(not_sent)).collect()
    }

    /// The same, when the reason is an error, which is in the outcome of the first.
    pub(super) fn finish_because(mut self, error: Error) -> Vec<Outcome> {
        let reason = error.to_string();
        if let Some(first) = self.outcomes.iter_mut().find(|outcome| outcome.is_none()) {
            *first = Some(Outcome::Retry(error));
        }
        self.finish(&reason)
    }
}

/// An upper estimate of the bytes of a message beside its payload.
const OVERHEAD: usize = 2 << 10;

/// Messages sent together, and their answers.
pub(in crate::broker) struct Turn<'a> {
    messages: Vec<&'a Message>,
    /// Of the batch.
    indexes: Vec<usize>,
    replies: Vec<Option<Reply>>,
    until: Instant,
}

impl<'a> Turn<'a> {
    /// The messages, in order.
    pub(in crate::broker) fn messages(&self) -> Vec<&'a Message> {
        self.messages.clone()
    }

    /// The deadline, for sessions that have to clean up before it.
    pub(in crate::broker) fn until(&self) -> Instant {
        self.until
    }

    /// Records the broker's answer to the message at this index of [`messages`](Self::messages).
    pub(in crate::broker) fn settle(&mut self, at: usize, reply: Reply) {
        if let Some(place) = self.replies.get_mut(at) {
            *place = Some(reply);
        }
    }

    /// Returns the indices of the unsettled messages.
    pub(in crate::broker) fn open(&self) -> Vec<usize> {
        self.replies.iter().enumerate().filter(|(_, reply)| reply.is_none()).map(|(at, _)| at).collect()
    }

    /// Returns each message with its index in the batch and its answer.
    pub(super) fn finish(self) -> Vec<(usize, &'a Message, Option<Reply>)> {
        let messages = self.indexes.into_iter().zip(self.messages);
        messages.zip(self.replies).map(|((index, message), reply)| (index, message, reply)).collect()
    }
}
