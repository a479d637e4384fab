//! Durations and sizes, as people write them.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result, quantity};

/// A duration as people write it: `10s`, `250ms`, `1h 30m`. `forever` is the longest one, [`std::time::Duration::MAX`].
///
/// It derefs to the duration of the standard library, and is made of one by `from`. A number without a unit is an error, except `0`.
///
/// ```
/// use appmon::config::Duration;
///
/// let every: Duration = "1m 30s".parse()?;
/// assert_eq!(every, Duration::from(std::time::Duration::from_secs(90)));
/// assert_eq!(every.to_string(), "1m 30s");
/// assert!("10".parse::<Duration>().unwrap_err().to_string().contains("10s"));
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

const FOREVER: &str = "forever";

impl Duration {
    /// The longest duration, `forever`.
    pub const MAX: Self = Self(std::time::Duration::MAX);

    /// Returns the duration.
    #[must_use]
    pub fn get(self) -> std::time::Duration {
        self.0
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &std::time::Duration {
        &self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        duration(text).map_err(Error::config)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match text.trim() {
        FOREVER => Ok(Duration::MAX),
        "0" => Ok(Duration::default()),
        text => humantime::parse_duration(text)
            .map(Duration)
            .map_err(|why| format!("expected a duration, such as `10s`, `1h 30m` or `forever`, not `{text}`: {why}")),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX {
            return f.pad(FOREVER);
        }
        f.pad(&humantime::format_duration(self.0).to_string())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as \"10s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                duration(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// A number of bytes as people write it: `64 MiB`, `10 MB`, `1500`.
///
/// ```
/// use appmon::config::Size;
///
/// let max: Size = "64 MiB".parse()?;
/// assert_eq!((max.bytes(), max.to_string()), (64 << 20, "64 MiB".to_owned()));
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// Returns a number of bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes in memory; the largest there can be where it is larger.
    pub(super) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<usize> for Size {
    fn from(bytes: usize) -> Self {
        Self(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        quantity::whole_bytes(text).map(Self).map_err(Error::config)
    }
}

/// In the largest unit of which it is a whole number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&quantity::whole(self.0))
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as \"64 MiB\" or 1500")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                quantity::whole_bytes(text).map(Size).map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not below zero"))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Visitor)
        } else {
            // The form of programs: a binary format need not mark the type of the next value.
            deserializer.deserialize_str(Visitor)
        }
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    impl JsonSchema for super::Duration {
        fn schema_name() -> Cow<'static, str> {
            "Duration".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "description": "A duration, such as `10s`, `1h 30m` or `forever`." })
        }
    }

    impl JsonSchema for super::Size {
        fn schema_name() -> Cow<'static, str> {
            "Size".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": ["string", "integer"],
                "minimum": 0,
                "description": "A number of bytes, such as `64 MiB` or 1500.",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_both_ways() {
        for (text, expected) in [
            ("0", std::time::Duration::ZERO),
            ("0s", std::time::Duration::ZERO),
            ("250ms", std::time::Duration::from_millis(250)),
            (" 10s ", std::time::Duration::from_secs(10)),
            ("1h 30m", std::time::Duration::from_secs(5400)),
            ("forever", std::time::Duration::MAX),
        ] {
            let read: Duration = serde_json::from_value(text.into()).unwrap();
            assert_eq!(read.get(), expected, "{text}");
            assert_eq!(read.to_string().parse::<Duration>().unwrap(), read);
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Duration>(&json).unwrap(), read);
        }
        for wrong in ["10", "ten", "", "-1s", "10 parsecs"] {
            let error = wrong.parse::<Duration>().unwrap_err();
            assert!(error.is_config() && error.to_string().contains("such as `10s`"), "{error}");
        }
        assert!(serde_json::from_str::<Duration>("10").unwrap_err().to_string().contains("with its unit"));
    }

    #[test]
    fn sizes_both_ways() {
        for (text, bytes, written) in [
            ("0", 0, "0 B"),
            ("1500", 1500, "1500 B"),
            ("1.5 kB", 1500, "1500 B"),
            ("64 MiB", 64 << 20, "64 MiB"),
            ("65536 KiB", 64 << 20, "64 MiB"),
            ("18446744073709551615 B", u64::MAX, "18446744073709551615 B"),
            ("16383 PiB", 16383 << 50, "16383 PiB"),
        ] {
            let read: Size = serde_json::from_value(text.into()).unwrap();
            assert_eq!((read.bytes(), read.to_string().as_str()), (bytes, written), "{text}");
            assert_eq!(written.parse::<Size>().unwrap(), read);
        }
        assert_eq!(serde_json::from_str::<Size>("1500").unwrap().bytes(), 1500);
        for wrong in ["", "-1", "1.5", "0.0001 kB", "1e3", "1 MiX", "16384 PiB", "99999999999999999999"] {
            assert!(wrong.parse::<Size>().unwrap_err().is_config(), "{wrong}");
        }
        assert!(serde_json::from_str::<Size>("-1").is_err());
        assert!(serde_json::from_str::<Size>("1.5").is_err());
    }
}
