//! A change of where a rule stands for a subject.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::measured::Labels;
use crate::{Monotonic, Sample};

/// Where a rule stands for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AlertState {
    /// The condition holds, but not yet for as long as the rule wants.
    Pending,
    /// The alert is on.
    Firing,
    /// The alert was on, and whether it still should be cannot be known: the field has no value in this sample. It stays on.
    NoData,
    /// The alert, or its wait, is over.
    Resolved,
}

/// Why an alert is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResolvedBecause {
    /// The condition for its end held for as long as the rule wants.
    Cleared,
    /// The subject is not there any more: the process ended, the file system was unmounted, or it is no longer selected.
    Gone,
    /// The host was started anew.
    Restarted,
}

/// A change of where a rule stands for a subject: what [`alert`](crate::SnapshotStreamExt::alert) makes of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AlertEdge {
    /// The name of the rule: its text, unless it was given one.
    pub rule: Arc<str>,
    /// What it is about.
    pub subject: Labels,
    /// Where the rule stands now.
    pub state: AlertState,
    /// Since when the condition of this state holds, by the monotonic clock of the host: earlier than the snapshot by the time
    /// that the rule waited. Nanoseconds in the wire form.
    pub since: Monotonic,
    /// The number of the rule's first field, where the rule has one and it has a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Why it is over, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<ResolvedBecause>,
}

impl Sample for AlertEdge {
    const KIND: &'static str = "alert";
    const IS_EVENT: bool = true;
    type Key = (Arc<str>, Labels);

    fn key(&self) -> Self::Key {
        (Arc::clone(&self.rule), self.subject.clone())
    }

    fn is_changed(&self, earlier: &Self) -> bool {
        self.state != earlier.state
    }
}
