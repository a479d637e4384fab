//! The place of a snapshot in a chain, and what a delta says.

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;

/// The place of a snapshot in a chain of deltas, in the wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Link {
    /// Which chain: the time of its keyframe by the monotonic clock, or a later number. A later chain of the same stream of the same
    /// producer has a larger one.
    pub(crate) keyframe: u64,
    /// The number of the snapshot in the chain. 0 is the keyframe, which is whole; any other holds what changed since the number before
    /// it.
    pub(crate) number: u64,
    /// The number of samples of the whole snapshot.
    pub(crate) samples: u64,
}

/// What changed since the snapshot before in the chain, in the wire form. The list of its samples is that of the snapshot before, with
/// these steps applied in this order. Positions count from 0. Each list of positions is a list of ranges: the first position of each
/// and the position after its last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Delta {
    /// First, samples are removed: these positions of the list of the snapshot before.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub(crate) gone: Ranges,
    /// Then the first of the samples of this message, or of all its parts, replace those at these positions of the list so far.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub(crate) changed: Ranges,
    /// Then the rest of the samples are inserted, so that they are at these positions of the list in the end.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    pub(crate) new: Ranges,
    /// Last, times are set in samples that were neither replaced nor inserted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) times: Vec<Times>,
}

/// The same new times for several samples.
///
/// The times of a sample are all fields that are instants of the monotonic clock, and the ages, in the order of their appearance. An age
/// is set as the instant it counts from: it is the latest of the other times of its sample less that instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Times {
    /// Each new time, and which of the times of the sample have it now, from 0.
    pub(crate) set: Vec<(u64, Vec<u32>)>,
    /// The positions of these samples in the end. Absent for all that were neither replaced nor inserted and are in no other such list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<Ranges>,
}
