//! A state change of a rule for a subject.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::measured::Labels;
use crate::{Monotonic, Sample};

/// The state of a rule for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AlertState {
    /// The condition holds, but not yet for as long as the rule requires.
    Pending,
    /// The condition held for as long as the rule requires.
    Firing,
    /// The alert was firing, and this sample has no value to decide about its end. It stays active.
    NoData,
    /// The alert has ended, or it was pending and its condition no longer holds.
    Resolved,
}

/// The reason why an alert was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResolvedBecause {
    /// The condition for its end held for as long as the rule requires.
    Cleared,
    /// The subject is gone: the process ended, the file system was unmounted, or it is no longer selected.
    Gone,
    /// The host booted again.
    Restarted,
}

/// A state change of a rule for a subject: the item of [`alert`](crate::SnapshotStreamExt::alert).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AlertEdge {
    /// The name of the rule; by default its text.
    pub rule: Arc<str>,
    /// The labels of the subject.
    pub subject: Labels,
    /// The new state.
    pub state: AlertState,
    /// The time since which the condition of this state holds, by the monotonic clock of the host. It is earlier than the snapshot by
    /// the time that the rule requires. Nanoseconds in the wire form.
    pub since: Monotonic,
    /// The value of the rule's first field, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The reason why it was resolved; `None` in other states.
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
