//! The settings of a forwarder, as its serde form reads them.

use std::path::PathBuf;
use std::time::Duration;

use super::Forwarder;
use crate::forward::overflow::Overflow;
use crate::wire::Codec;

/// The settings that are neither functions nor handles. Pairs are messages and bytes.
pub(crate) struct ForwarderSettings {
    pub(crate) host: Option<String>,
    pub(crate) codec: Option<Codec>,
    pub(crate) per_sample: bool,
    pub(crate) max_message_bytes: usize,
    pub(crate) batch: (usize, usize),
    pub(crate) linger: Duration,
    pub(crate) queue: (usize, usize),
    pub(crate) overflow: Overflow,
    pub(crate) retry: (Duration, Duration),
    pub(crate) publish_timeout: Duration,
    pub(crate) deadline: Duration,
    pub(crate) only_changed: Option<Duration>,
    pub(crate) spool: Option<(PathBuf, u64)>,
}

impl<P> Forwarder<P> {
    /// The settings that have keys.
    pub(crate) fn settings(&self) -> ForwarderSettings {
        // Each by its name: a new one is a key, or said not to be one.
        let Self {
            publish: _,
            host,
            codec,
            per_sample,
            max_message_bytes,
            batch,
            linger,
            queue,
            overflow,
            retry,
            publish_timeout,
            ends,
            only_changed,
            // A function of the type of samples.
            bands: _,
            wrong: _,
            spool,
            on_rejected: _,
            shared: _,
        } = self;
        ForwarderSettings {
            host: host.clone(),
            codec: *codec,
            per_sample: *per_sample,
            max_message_bytes: *max_message_bytes,
            batch: (batch.messages, batch.bytes),
            linger: *linger,
            queue: (queue.messages, queue.bytes),
            overflow: *overflow,
            retry: *retry,
            publish_timeout: *publish_timeout,
            deadline: ends.deadline,
            only_changed: *only_changed,
            spool: spool.clone(),
        }
    }
}
