//! A value that may not have been readable, and why.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value as far as it could be read. An unknown value is never written as 0.
///
/// In the wire form a value is the value itself and anything else is `{"unavailable": "denied"}`; a field that was not requested is left
/// out.
///
/// ```
/// use appmon::Reading;
///
/// let io: Reading<u64> = Reading::Denied;
/// assert_eq!(io.value(), None);
/// assert_eq!(serde_json::to_string(&io).unwrap(), r#"{"unavailable":"denied"}"#);
/// assert_eq!(serde_json::to_string(&Reading::Value(7)).unwrap(), "7");
/// assert_eq!(format!("{io:>8}|{:>3}", Reading::Value(7)), "  denied|  7");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reading<T> {
    /// The value.
    Value(T),
    /// The kernel refused it: `EACCES` or `EPERM`. Others of the same process may still be readable.
    Denied,
    /// This kernel does not have it, by its version or its configuration.
    Unsupported,
    /// It has no meaning here: the executable of a kernel thread, the command line of a zombie.
    NotApplicable,
    /// It was due but not reached within the tick's budget, because something blocked or took too long, or because there
    /// was no descriptor or no memory left. It may come at a later tick.
    Skipped,
    /// It exists, but could not be read or parsed: a path longer than the kernel can show (`PATH_MAX`), an I/O error, a file without a
    /// required field. More time would not have helped; it is tried again whenever it is due.
    Failed,
    /// It was not requested.
    #[default]
    NotRequested,
}

impl<T> Reading<T> {
    /// Returns the value, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the value by value, where there is one.
    #[must_use]
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Returns whether it was not requested.
    #[must_use]
    pub fn is_not_requested(&self) -> bool {
        matches!(self, Self::NotRequested)
    }

    /// Whether it was requested and is missing since it could not be reached, read or parsed.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Skipped | Self::Failed)
    }

    /// Returns the same reading with its value converted.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Value(value) => Reading::Value(convert(value)),
            Self::Denied => Reading::Denied,
            Self::Unsupported => Reading::Unsupported,
            Self::NotApplicable => Reading::NotApplicable,
            Self::Skipped => Reading::Skipped,
            Self::Failed => Reading::Failed,
            Self::NotRequested => Reading::NotRequested,
        }
    }

    /// Returns a reading of a reference to the value.
    #[must_use]
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Self::Value(value) => Reading::Value(value),
            Self::Denied => Reading::Denied,
            Self::Unsupported => Reading::Unsupported,
            Self::NotApplicable => Reading::NotApplicable,
            Self::Skipped => Reading::Skipped,
            Self::Failed => Reading::Failed,
            Self::NotRequested => Reading::NotRequested,
        }
    }
}

/// The value, or why there is none, in a word or two.
impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Denied => f.pad("denied"),
            Self::Unsupported => f.pad("unsupported"),
            Self::NotApplicable => f.pad("not applicable"),
            Self::Skipped => f.pad("skipped"),
            Self::Failed => f.pad("failed"),
            Self::NotRequested => f.pad("not requested"),
        }
    }
}

/// Why there is no value, in the wire form.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) enum Unavailable {
    Denied,
    Unsupported,
    NotApplicable,
    Failed,
    NotRequested,
    /// Reasons of later versions too: no value, and nothing to be concluded from that.
    #[serde(other)]
    Skipped,
}

#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub(crate) struct Why {
    unavailable: Unavailable,
}

/// From a map and nothing else. A derived implementation reads arrays too, and a command line of one word is one.
impl<'de> Deserialize<'de> for Why {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut map = BTreeMap::<String, Unavailable>::deserialize(deserializer)?;
        match map.remove("unavailable") {
            Some(unavailable) if map.is_empty() => Ok(Self { unavailable }),
            _ => Err(D::Error::custom("not a reason alone")),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
enum Wire<T> {
    Unavailable(Why),
    Value(T),
}

impl<T: Serialize> Serialize for Reading<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unavailable = match self {
            Self::Value(value) => return value.serialize(serializer),
            Self::Denied => Unavailable::Denied,
            Self::Unsupported => Unavailable::Unsupported,
            Self::NotApplicable => Unavailable::NotApplicable,
            Self::Skipped => Unavailable::Skipped,
            Self::Failed => Unavailable::Failed,
            Self::NotRequested => Unavailable::NotRequested,
        };
        Why { unavailable }.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Reading<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Value(value) => Self::Value(value),
            Wire::Unavailable(Why { unavailable }) => match unavailable {
                Unavailable::Denied => Self::Denied,
                Unavailable::Unsupported => Self::Unsupported,
                Unavailable::NotApplicable => Self::NotApplicable,
                Unavailable::Skipped => Self::Skipped,
                Unavailable::Failed => Self::Failed,
                Unavailable::NotRequested => Self::NotRequested,
            },
        })
    }
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> schemars::JsonSchema for Reading<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Reading_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::<T>::json_schema(generator)
    }
}
