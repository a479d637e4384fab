//! The form of the content of a message.

use serde::{Deserialize, Serialize};

/// The form of the content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Form {
    /// A snapshot, or a part of one that was too large for one message.
    Snapshot,
    /// What changed since the snapshot before it in the same stream, or a part of that: see
    /// [`Forwarder::only_changed`](crate::forward::Forwarder::only_changed).
    Delta,
    /// Samples one by one, each with the attributes of its tick.
    Samples,
}

impl Form {
    /// Returns its name in the `type` of a CloudEvent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Delta => "delta",
            Self::Samples => "samples",
        }
    }

    /// Returns the `type` of the CloudEvent, such as `appmon.process.snapshot`.
    pub(crate) fn event_type(self, kind: &str) -> String {
        format!("appmon.{kind}.{}", self.as_str())
    }

    /// Returns the form with this `type`; a snapshot for any other text.
    #[cfg(feature = "_receive")]
    pub(crate) fn of_event_type(event_type: &str) -> Self {
        let name = event_type.rsplit('.').next();
        [Self::Delta, Self::Samples].into_iter().find(|form| name == Some(form.as_str())).unwrap_or(Self::Snapshot)
    }
}
