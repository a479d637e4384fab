//! The behaviour when the queue or the spool is full.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The behaviour when messages come faster than the broker takes them and the queue or the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Overflow {
    /// No more snapshots are taken until there is room. Missed ticks are visible as gaps in `seq`; counters lose nothing, since the
    /// next snapshot has their totals. The default.
    #[default]
    Block,
    /// New messages are dropped.
    DropNewest,
    /// The messages that have waited longest are dropped.
    DropOldest,
    /// A message replaces the waiting one of the same key: the last snapshot of its kind, or with a message per sample the last one
    /// of the same process or file system. This also happens while there is room. If messages still do not fit, the oldest are
    /// dropped as with `DropOldest`. Cannot be combined with a spool.
    LatestPerKey,
}

impl Overflow {
    const ALL: [Self; 4] = [Self::Block, Self::DropNewest, Self::DropOldest, Self::LatestPerKey];

    /// Returns its name, as in the serde form: `block`, `drop_newest`, `drop_oldest`, `latest_per_key`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
            Self::LatestPerKey => "latest_per_key",
        }
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses the names that [`as_str`](Overflow::as_str) returns.
impl FromStr for Overflow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|overflow| overflow.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Error::config(format!("overflow {text:?}: it must be one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for overflow in Overflow::ALL {
            assert_eq!(overflow.to_string().parse::<Overflow>().unwrap(), overflow);
            assert_eq!(serde_json::to_value(overflow).unwrap(), overflow.as_str());
        }
        let error = "drop".parse::<Overflow>().unwrap_err();
        assert!(error.is_config() && error.to_string().contains("\"drop\""), "{error}");
    }
}
