//! The result of forwarding, in numbers.

use serde::{Deserialize, Serialize};

/// The result of forwarding, in numbers.
///
/// Every message is accounted for: at the end, `messages + replayed` is `accepted + spooled + dropped.total().messages`; see
/// [`is_balanced`](Self::is_balanced).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Snapshots taken from the stream.
    pub snapshots: u64,
    /// Samples in them.
    pub samples: u64,
    /// Snapshots for which this forwarder had no room while another one on the same stream had, with
    /// [`Overflow::Block`](crate::forward::Overflow::Block).
    pub missed_snapshots: u64,
    /// Ticks that failed: errors of the stream.
    pub failed_ticks: u64,
    /// The snapshots of which only what changed was encoded: see [`Forwarder::only_changed`](crate::forward::Forwarder::only_changed).
    #[serde(default)]
    pub deltas: u64,
    /// Messages made of the snapshots.
    pub messages: u64,
    /// Messages an earlier run left in the spool.
    pub replayed: u64,
    /// Messages accepted by the broker.
    pub accepted: u64,
    /// Samples in those.
    pub accepted_samples: u64,
    /// Bytes of payload in those.
    pub accepted_bytes: u64,
    /// The accepted messages that the broker reported as duplicates.
    pub duplicates: u64,
    /// Repeated attempts: the sum over all messages of the attempts after the first.
    pub retried: u64,
    /// The repeated attempts after an unknown outcome: consumers may receive these messages twice, with the same id.
    pub unknown: u64,
    /// Messages that stay in the spool for the next run. Accepted messages that could not be removed from it (on a full disk) do not
    /// count; the next run sends them again with the same id.
    pub spooled: u64,
    /// Messages and samples that will not be delivered.
    pub dropped: Dropped,
}

/// Messages and samples that will not be delivered, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dropped {
    /// The newest, dropped because there was no room: [`Overflow::DropNewest`](crate::forward::Overflow::DropNewest).
    pub newest: Count,
    /// The oldest, dropped to make room: [`Overflow::DropOldest`](crate::forward::Overflow::DropOldest).
    pub oldest: Count,
    /// Replaced by a later message of the same key: [`Overflow::LatestPerKey`](crate::forward::Overflow::LatestPerKey).
    pub superseded: Count,
    /// Refused by the broker for good.
    pub rejected: Count,
    /// Neither accepted nor in a spool when the forwarder ended.
    pub shutdown: Count,
    /// Lost in a damaged spool. The number of their samples is unknown and counts as 0.
    pub corrupt: Count,
    /// Samples larger than the largest message, which are in no message.
    pub oversize_samples: u64,
    /// Samples that could not be encoded, which are in no message.
    pub unencodable_samples: u64,
}

/// A number of messages, and of the samples in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The number of messages.
    pub messages: u64,
    /// The number of samples in them.
    pub samples: u64,
}

impl Count {
    /// Adds to the numbers.
    pub fn add(&mut self, messages: u64, samples: u64) {
        self.messages = self.messages.saturating_add(messages);
        self.samples = self.samples.saturating_add(samples);
    }

    /// Subtracts from the numbers: for messages that turned out not to be lost.
    pub(super) fn subtract(&mut self, messages: u64, samples: u64) {
        self.messages = self.messages.saturating_sub(messages);
        self.samples = self.samples.saturating_sub(samples);
    }
}

impl Dropped {
    /// Returns the sum over all reasons.
    #[must_use]
    pub fn total(&self) -> Count {
        let mut total = Count { messages: 0, samples: self.oversize_samples.saturating_add(self.unencodable_samples) };
        for count in [self.newest, self.oldest, self.superseded, self.rejected, self.shutdown, self.corrupt] {
            total.add(count.messages, count.samples);
        }
        total
    }
}

impl Report {
    /// Whether all messages were accepted: none missed, dropped or left in the spool.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.spooled == 0 && self.is_lossless()
    }

    /// Whether no message is lost: all were accepted, or wait in the spool for the next run.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.missed_snapshots == 0 && self.dropped.total() == Count::default()
    }

    /// Whether each message is accounted for: accepted, in the spool, or dropped for a reason. True at the end of a forwarder.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let gone = self.accepted.saturating_add(self.spooled).saturating_add(self.dropped.total().messages);
        self.messages.saturating_add(self.replayed) == gone
    }
}
