//! A single sample, with the attributes of its tick: one flat object.

use serde::{Deserialize, Serialize, Serializer};

use super::version::SCHEMA;
use crate::{BootId, Sample, Timestamp};

/// The wire form of a single sample, owned or borrowed.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Line<H, K, T> {
    /// The version of the wire form.
    pub(crate) schema: u32,
    /// The kind of the sample.
    pub(crate) kind: K,
    /// The name of the stream; the kind where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<H>,
    /// The host it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<H>,
    /// The boot from which monotonic times count.
    pub(crate) boot_id: BootId,
    /// The number of the tick.
    pub(crate) seq: u64,
    /// The time at which the reading began.
    pub(crate) time: Timestamp,
    #[serde(flatten)]
    pub(crate) sample: T,
}

/// A borrowed sample, to be written as a [`Line`].
pub(crate) struct RecordRef<'a, T> {
    pub(crate) seq: u64,
    pub(crate) boot_id: BootId,
    pub(crate) time: Timestamp,
    /// The name of the stream; `None` for the kind.
    pub(crate) stream: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    pub(crate) sample: &'a T,
}

impl<T: Sample + Serialize> Serialize for RecordRef<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line {
            schema: SCHEMA,
            kind: T::KIND,
            stream: Some(self.stream.unwrap_or(T::KIND)),
            host: self.host,
            boot_id: self.boot_id,
            seq: self.seq,
            time: self.time,
            sample: self.sample,
        }
        .serialize(serializer)
    }
}
