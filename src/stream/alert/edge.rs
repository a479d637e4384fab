//! A state change of a rule for a subject.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::measured::Labels;
use crate::text::Escaped;
use crate::{Monotonic, Sample};

/// The state of a rule for a subject. [`Display`](fmt::Display) is for people: `pending`, `firing`, `no data`, `resolved`.
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

/// The reason why an alert was resolved. [`Display`](fmt::Display) is for people: `cleared`, `gone`, `restarted`.
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
///
/// [`Display`](fmt::Display) is one line for people, with rule and subject escaped as [`Text`](crate::Text) is; a value with a fraction is
/// rounded to three decimal places.
///
/// ```
/// use appmon::stream::AlertEdge;
///
/// # fn main() -> serde_json::Result<()> {
/// let json = r#"{"rule": "cpu.cores > 0.8", "subject": {"pid": "7"}, "state": "resolved", "since": 5, "value": 0.1234, "because": "cleared"}"#;
/// let edge: AlertEdge = serde_json::from_str(json)?;
/// assert_eq!(edge.to_string(), "resolved (cleared): pid=7: cpu.cores > 0.8, value 0.123");
/// # Ok(())
/// # }
/// ```
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

impl fmt::Display for AlertState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::NoData => "no data",
            Self::Resolved => "resolved",
        })
    }
}

impl fmt::Display for ResolvedBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cleared => "cleared",
            Self::Gone => "gone",
            Self::Restarted => "restarted",
        })
    }
}

impl fmt::Display for AlertEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, subject, state, since: _, value, because } = self;
        write!(f, "{state}")?;
        if let Some(because) = because {
            write!(f, " ({because})")?;
        }
        write!(f, ": {subject}: {}", Escaped(rule.as_bytes()))?;
        match value {
            // A number of bytes as it is; a small one would be rounded to nothing.
            Some(value) if value.fract() == 0.0 => write!(f, ", value {value}"),
            Some(value) if value.abs() < 0.001 => write!(f, ", value {value:.3e}"),
            Some(value) => write!(f, ", value {value:.3}"),
            None => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_people() {
        let edge = |state, value, because| AlertEdge {
            rule: "odd\u{1b}[2J\nrule".into(),
            subject: Labels::default().with("pid", 7).with("name", "\u{202e}a\nb"),
            state,
            since: Monotonic::default(),
            value,
            because,
        };
        let subject = r#"pid=7 name="\u{202e}a\nb": odd\u{1b}[2J\nrule"#;
        for (state, value, because, start, end) in [
            (AlertState::Pending, Some(1048576.0), None, "pending", ", value 1048576"),
            (AlertState::Firing, Some(0.93456), None, "firing", ", value 0.935"),
            (AlertState::Firing, Some(-0.000_012_34), None, "firing", ", value -1.234e-5"),
            (AlertState::NoData, None, None, "no data", ""),
            (AlertState::Resolved, None, Some(ResolvedBecause::Gone), "resolved (gone)", ""),
        ] {
            assert_eq!(edge(state, value, because).to_string(), format!("{start}: {subject}{end}"));
        }
    }
}
