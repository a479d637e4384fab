//! The sample of one's own process at a tick.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{RuntimeSample, ThreadsSample};
use crate::measured::Metrics;
use crate::metered::SourceCost;
use crate::process::ProcessId;
use crate::{ProcessSample, Reading, Sample};

/// One's own process at one tick. It derefs to the [`ProcessSample`].
///
/// In the wire form it is flat: the fields of the process are beside the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OwnSample {
    /// The process.
    #[serde(flatten)]
    pub process: ProcessSample,
    /// Its threads by their names, in the order of these; from `/proc/self/task`.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub threads_by_name: Reading<Vec<ThreadsSample>>,
    /// Its tokio runtime, if one was passed to [`OwnProcess::runtime`](crate::OwnProcess::runtime).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeSample>,
    /// The cost of the sources in it, those that were passed to [`OwnProcess::source`](crate::OwnProcess::source), in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<OwnSource>,
}

/// The cost of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OwnSource {
    /// The name that it was registered with.
    pub name: Arc<str>,
    /// Totals since it was made.
    #[serde(flatten)]
    pub cost: SourceCost,
}

impl Deref for OwnSample {
    type Target = ProcessSample;

    fn deref(&self) -> &ProcessSample {
        &self.process
    }
}

impl AsRef<ProcessSample> for OwnSample {
    fn as_ref(&self) -> &ProcessSample {
        &self.process
    }
}

impl Sample for OwnSample {
    const KIND: &'static str = "own_process";
    type Key = ProcessId;

    fn key(&self) -> ProcessId {
        self.process.id
    }

    fn is_changed(&self, earlier: &Self) -> bool {
        self.process.is_changed(&earlier.process)
    }

    fn metrics() -> Option<Metrics<Self>> {
        Some(Metrics::new())
    }
}
