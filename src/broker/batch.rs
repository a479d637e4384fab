//! A batch on its way to a broker.

use crate::Error;
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

    /// The first messages that are not settled, with their indexes: at least one of them, and then not more than so many and so
    /// many bytes.
    pub(super) fn turn(
        &self,
        count: usize,
        bytes: usize,
        size: impl Fn(&Message) -> usize,
    ) -> Vec<(usize, &'a Message)> {
        let mut left = bytes;
        let mut turn = Vec::new();
        for (index, (message, settled)) in self.messages.iter().zip(&self.outcomes).enumerate() {
            if settled.is_some() {
                continue;
            }
            let bytes = size(message);
            if !turn.is_empty() && (bytes > left || turn.len() >= count) {
                break;
            }
            left = left.saturating_sub(bytes);
            turn.push((index, message));
        }
        turn
    }

    pub(super) fn settle(&mut self, index: usize, outcome: Outcome) {
        if let Some(settled) = self.outcomes.get_mut(index) {
            *settled = Some(outcome);
        }
    }

    /// The outcomes; what is not settled was not sent, and is to be sent again, for this reason.
    pub(super) fn finish(self, reason: &str) -> Vec<Outcome> {
        let not_sent = || Outcome::Retry(Error::broker(reason));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(not_sent)).collect()
    }
}
