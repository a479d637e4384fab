//! A sample by itself, with what is known of its tick: one flat object.

use serde::{Deserialize, Serialize, Serializer};

use super::version::SCHEMA;
use crate::{BootId, Sample, Timestamp};

/// The wire form of a sample by itself, owned or borrowed.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Line<H, K, T> {
    /// The version of the wire form.
    pub(crate) schema: u32,
    /// What the sample is of.
    pub(crate) kind: K,
    /// Which host it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<H>,
    /// Which start of the machine monotonic times count from.
    pub(crate) boot_id: BootId,
    /// The number of the tick.
    pub(crate) seq: u64,
    /// When the reading began.
    pub(crate) time: Timestamp,
    #[serde(flatten)]
    pub(crate) sample: T,
}

/// A sample that is somebody else's, to be written as a [`Line`].
pub(crate) struct RecordRef<'a, T> {
    pub(crate) seq: u64,
    pub(crate) boot_id: BootId,
    pub(crate) time: Timestamp,
    pub(crate) host: Option<&'a str>,
    pub(crate) sample: &'a T,
}

impl<T: Sample + Serialize> Serialize for RecordRef<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line {
            schema: SCHEMA,
            kind: T::KIND,
            host: self.host,
            boot_id: self.boot_id,
            seq: self.seq,
            time: self.time,
            sample: self.sample,
        }
        .serialize(serializer)
    }
}
