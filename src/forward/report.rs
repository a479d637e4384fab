//! What became of what was to be forwarded.

use serde::{Deserialize, Serialize};

/// What a forwarder did, in numbers.
///
/// Nothing is missing in them: at the end, `messages + replayed` is `accepted + spooled + dropped.total().messages`; see
/// [`is_balanced`](Self::is_balanced).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Snapshots taken from the stream.
    pub snapshots: u64,
    /// Samples in them.
    pub samples: u64,
    /// Snapshots that others took and this forwarder had no room for, where there are several on one stream and it
    /// [blocks](crate::forward::Overflow::Block).
    pub missed_snapshots: u64,
    /// Ticks that failed: errors of the stream.
    pub failed_ticks: u64,
    /// Messages made of the snapshots.
    pub messages: u64,
    /// Messages an earlier run left in the spool.
    pub replayed: u64,
    /// Messages the broker has.
    pub accepted: u64,
    /// Samples in those.
    pub accepted_samples: u64,
    /// Bytes of payload in those.
    pub accepted_bytes: u64,
    /// Of the accepted, those the broker said it had before.
    pub duplicates: u64,
    /// How often a message was sent again: the sum over all attempts after the first of each.
    pub retried: u64,
    /// Of those, how often nobody knew whether the broker had it: consumers may see these twice, with the same id.
    pub unknown: u64,
    /// Messages that stay in the spool for the next run. Accepted ones that could not be removed from it any more (on a full disk) are
    /// not among them; they are sent again with the same id.
    pub spooled: u64,
    /// What will not arrive.
    pub dropped: Dropped,
}

/// What will not arrive, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dropped {
    /// There was no room, and the newest were left out: [`Overflow::DropNewest`](crate::forward::Overflow::DropNewest).
    pub newest: Count,
    /// There was no room, and the oldest made some: [`Overflow::DropOldest`](crate::forward::Overflow::DropOldest).
    pub oldest: Count,
    /// A later message said all that these did: [`Overflow::LatestPerKey`](crate::forward::Overflow::LatestPerKey).
    pub superseded: Count,
    /// The broker refused them for good.
    pub rejected: Count,
    /// They were neither accepted nor spooled when the forwarder had to end.
    pub shutdown: Count,
    /// They were in the spool and could not be read again. Nobody knows how many samples were in them, so that is 0.
    pub corrupt: Count,
    /// A sample that is larger than a message may be. There is no message of it.
    pub oversize_samples: u64,
    /// A sample that could not be encoded. There is no message of it.
    pub unencodable_samples: u64,
}

/// Messages, and the samples in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many messages.
    pub messages: u64,
    /// How many samples in them.
    pub samples: u64,
}

impl Count {
    /// Counts more.
    pub fn add(&mut self, messages: u64, samples: u64) {
        self.messages = self.messages.saturating_add(messages);
        self.samples = self.samples.saturating_add(samples);
    }

    /// Counts less: it is not lost after all.
    pub(super) fn take_back(&mut self, messages: u64, samples: u64) {
        self.messages = self.messages.saturating_sub(messages);
        self.samples = self.samples.saturating_sub(samples);
    }
}

impl Dropped {
    /// All of it.
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
    /// Whether all that was taken in was accepted: nothing missed, dropped or left in the spool.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.spooled == 0 && self.is_lossless()
    }

    /// Whether nothing is lost: all that was taken in was accepted, or waits in the spool for the next run.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.missed_snapshots == 0 && self.dropped.total() == Count::default()
    }

    /// Whether each message is accounted for: accepted, in the spool, or dropped for a reason. So it is at the end.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let gone = self.accepted.saturating_add(self.spooled).saturating_add(self.dropped.total().messages);
        self.messages.saturating_add(self.replayed) == gone
    }
}
