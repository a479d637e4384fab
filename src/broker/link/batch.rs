//! A batch on its way to a broker, and the turns it goes in.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::broker::link::reply::Reply;
use crate::forward::{Message, Outcome};

/// The messages of a batch, with what became of each as far as it is known: some are settled early, the others in turns.
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

    /// Settles those for which there is an outcome before anything is sent.
    pub(super) fn settle_early(&mut self, outcome: impl Fn(&Message) -> Option<Outcome>) {
        for (message, settled) in self.messages.iter().zip(&mut self.outcomes) {
            if settled.is_none() {
                *settled = outcome(message);
            }
        }
    }

    /// The first messages that are not settled: at least one of them, and then not more than so many and so many bytes.
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

    /// The same, where the broker asked to be left alone for so long.
    pub(super) fn finish_after(mut self, wait: Duration, error: &Error) -> Vec<Outcome> {
        let text = error.to_string();
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(Outcome::RetryAfter { wait, error: Error::broker(text.clone()) });
        }
        self.finish(&text)
    }

    /// The outcomes; what is not settled was not sent, and is to be sent again, for this reason.
    pub(super) fn finish(self, reason: &str) -> Vec<Outcome> {
        let not_sent = || Outcome::Retry(Error::broker(reason));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(not_sent)).collect()
    }

    /// The same, where the reason is an error, which goes with the first.
    pub(super) fn finish_because(mut self, error: Error) -> Vec<Outcome> {
        let reason = error.to_string();
        if let Some(first) = self.outcomes.iter_mut().find(|outcome| outcome.is_none()) {
            *first = Some(Outcome::Retry(error));
        }
        self.finish(&reason)
    }
}

/// What a message takes beside its payload, generously.
const OVERHEAD: usize = 2 << 10;

/// Messages that are sent together, and the answers to them.
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

    /// When the time is over, for sessions that have to put something in order first.
    pub(in crate::broker) fn until(&self) -> Instant {
        self.until
    }

    /// What the broker answered to the message at this place of [`messages`](Self::messages).
    pub(in crate::broker) fn settle(&mut self, at: usize, reply: Reply) {
        if let Some(place) = self.replies.get_mut(at) {
            *place = Some(reply);
        }
    }

    /// The places of those that are not settled.
    pub(in crate::broker) fn open(&self) -> Vec<usize> {
        self.replies.iter().enumerate().filter(|(_, reply)| reply.is_none()).map(|(at, _)| at).collect()
    }

    /// Each message with its index in the batch and its answer.
    pub(super) fn finish(self) -> Vec<(usize, &'a Message, Option<Reply>)> {
        let messages = self.indexes.into_iter().zip(self.messages);
        messages.zip(self.replies).map(|((index, message), reply)| (index, message, reply)).collect()
    }
}
