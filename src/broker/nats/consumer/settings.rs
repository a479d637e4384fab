//! The settings of a consumer.

use std::fmt;
use std::time::Duration;

use crate::broker::nats::server::Dialer;
use crate::broker::receive::Gathering;

/// What a consumer follows, and how.
pub(super) struct Settings {
    pub(super) dialer: Dialer,
    pub(super) stream: String,
    pub(super) subject: String,
    pub(super) durable: Option<String>,
    pub(super) gathering: Gathering,
    pub(super) begin: Option<Begin>,
    pub(super) ack_wait: Duration,
    /// The error of the first invalid setting.
    pub(super) wrong: Option<String>,
}

/// The start of a new consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// The oldest stored message.
    Oldest,
    /// The next new message.
    New,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("server", &self.dialer.names())
            .field("stream", &self.stream)
            .field("subject", &self.subject)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}
