//! The form of the content of a message.

use serde::{Deserialize, Serialize};

/// The form of the content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Form {
    /// A snapshot, or a part of one that was too large for one message.
    Snapshot,
    /// Samples one by one, each with the attributes of its tick.
    Samples,
}

impl Form {
    /// Returns its name in the `type` of a CloudEvent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Samples => "samples",
        }
    }

    /// Returns the `type` of the CloudEvent, such as `appmon.process.snapshot`.
    pub(crate) fn event_type(self, kind: &str) -> String {
        format!("appmon.{kind}.{}", self.as_str())
    }

    /// Returns the form with this `type`; a snapshot for any other text.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn of_event_type(event_type: &str) -> Self {
        let is_samples = event_type.rsplit('.').next() == Some(Self::Samples.as_str());
        if is_samples { Self::Samples } else { Self::Snapshot }
    }
}
