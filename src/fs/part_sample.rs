//! The parts of file systems as samples of their own.

use serde::{Deserialize, Serialize};

use super::{FileSystemSample, Part, PartKind, PartRates};
use crate::counters::{TimeField, Times};
use crate::measured::Metrics;
use crate::{Rated, Sample, Text, WirePath};

/// One part of one file system: a registered directory, or the other used, the free or the reserved space.
///
/// [`parts`](crate::SnapshotStreamExt::parts) makes a stream of these. In the wire form the fields of the part stand beside those
/// of its file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartSample {
    /// The [name](FileSystemSample::name) of the file system.
    pub file_system: Text,
    /// The mount point of the file system.
    pub mount_point: WirePath,
    /// The part.
    #[serde(flatten)]
    pub part: Part,
    /// How fast it grew, if the stream has [rates](crate::SnapshotStreamExt::rates) and the part has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<PartRates>,
}

impl Sample for PartSample {
    const KIND: &'static str = "file_system_part";
    const TIMES: Option<Times<Self>> = Some(|sample, each: &mut dyn FnMut(TimeField<'_>)| sample.part.times(each));
    type Key = (WirePath, Text, PartKind, Text);

    fn key(&self) -> Self::Key {
        (self.mount_point.clone(), self.file_system.clone(), self.part.kind, self.part.name.clone())
    }

    fn metrics() -> Option<Metrics<Self>> {
        Some(Metrics::new())
    }
}

/// A sample that consists of parts, which [`parts`](crate::SnapshotStreamExt::parts) makes samples of.
pub trait HasParts {
    /// The type of a part.
    type Part;

    /// Returns its parts.
    fn into_parts(self) -> impl Iterator<Item = Self::Part>;
}

impl HasParts for FileSystemSample {
    type Part = PartSample;

    fn into_parts(self) -> impl Iterator<Item = PartSample> {
        let Self { name, mount_point, parts, .. } = self;
        parts.into_iter().map(move |part| PartSample {
            file_system: name.clone(),
            mount_point: mount_point.clone(),
            part,
            rates: None,
        })
    }
}

impl HasParts for Rated<FileSystemSample> {
    type Part = PartSample;

    fn into_parts(self) -> impl Iterator<Item = PartSample> {
        let Self { sample, rates } = self;
        let mut rates = rates.map(|rates| rates.parts).unwrap_or_default().into_iter().peekable();
        sample.into_parts().map(move |part| {
            // They are in the order of the parts.
            let rates = rates.next_if(|rates| (rates.kind, &rates.name) == (part.part.kind, &part.part.name));
            PartSample { rates, ..part }
        })
    }
}
