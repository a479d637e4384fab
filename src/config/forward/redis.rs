//! Settings of Redis.

use super::common::{Common, apply};
use crate::Result;
use crate::broker::redis::Streams;
use crate::config::keys::settings;
use crate::forward::BoxPublish;

settings! {
    /// The settings of Redis alone.
    #[derive(Default)]
    pub struct RedisConfig {
        required {}
        optional {
            /// The keys of the streams: [`Streams::key`].
            key: Option<String>,
            /// The number of entries that a stream keeps: [`Streams::max_len`].
            max_len: Option<u64>,
            /// Whether messages wait until the stream exists: [`Streams::existing_only`].
            existing_only: Option<bool>,
        }
    }
}

impl RedisConfig {
    pub(super) fn broker(&self, common: Common<'_>, url: &str) -> Result<BoxPublish> {
        let Self { key, max_len, existing_only } = self;
        let mut broker = Streams::new(url)?;
        if let Some(key) = key {
            broker = broker.key(key);
        }
        if let Some(entries) = max_len {
            broker = broker.max_len(*entries);
        }
        if let Some(existing_only) = existing_only {
            broker = broker.existing_only(*existing_only);
        }
        apply!(broker, common);
        Ok(BoxPublish::new(broker))
    }
}
