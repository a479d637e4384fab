//! Clocks: the monotonic one everything is measured by, and the wall clock for display.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// An instant of `CLOCK_BOOTTIME`: nanoseconds since the machine started, counting the time it was suspended.
///
/// It never goes back and no clock step moves it, so durations between two of them are true. It is the time base of proc(5)'s start times.
/// In the wire form it is the integer of nanoseconds.
///
/// ```
/// use appmon::time::Monotonic;
///
/// let earlier = Monotonic::now();
/// assert!(Monotonic::now() >= earlier);
/// assert_eq!(Monotonic::from_nanos(5).since(Monotonic::from_nanos(7)), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Monotonic(u64);

/// As a newtype: formats write the integer alone, and the delta coding of the wire form recognizes times by the name.
impl Serialize for Monotonic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(Self::TYPE, &self.0)
    }
}

impl Monotonic {
    /// Its name as a type of serde.
    pub(crate) const TYPE: &'static str = "Monotonic";

    /// Returns the time now.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Returns the instant this many nanoseconds after the start of the machine.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since the machine started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns how long after `earlier` this is; `None` if it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// Returns this instant, `by` earlier; the start of the machine where there is none.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(duration_nanos(by)))
    }

    /// Returns this instant, `by` later; the end of time where there is none.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(duration_nanos(by)))
    }
}

/// An instant of the wall clock, for people and for other machines; never compared or subtracted here.
///
/// Nanoseconds since 1970-01-01T00:00:00Z. In the wire form it is RFC 3339 in UTC, with nanoseconds.
///
/// ```
/// use appmon::Timestamp;
///
/// let time = Timestamp::from_unix_nanos(1_500_000_000);
/// assert_eq!(time.to_string(), "1970-01-01T00:00:01.500000000Z");
/// assert_eq!("1970-01-01T00:00:01.5Z".parse::<Timestamp>()?, time);
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Returns the time now; 1970 for a clock that is set before it.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Returns the instant this many nanoseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(duration_nanos(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        // u64 nanoseconds end in the year 2554, far inside SystemTime.
        Self::UNIX_EPOCH.checked_add(Duration::from_nanos(time.0)).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_nanos((*self).into()).fmt(f)
    }
}

/// RFC 3339 in UTC, as [`Display`](fmt::Display) shows it; with fewer digits of the second, or none, too.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let time =
            humantime::parse_rfc3339(text).map_err(|why| Error::config(format!("not a time: {text:?}: {why}")))?;
        Ok(time.into())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// When to stop waiting. A time that the clock cannot count to never comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    /// So long from now.
    pub(crate) fn after(wait: Duration) -> Self {
        Instant::now().checked_add(wait).map_or(Self::NEVER, |at| Self(Some(at)))
    }

    /// How long until then; 0 when it is over.
    pub(crate) fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }
}

/// A duration in nanoseconds, the end of the range where it is longer than 584 years.
pub(crate) fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The wire form of durations: integer nanoseconds.
pub(crate) mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(super::duration_nanos(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

/// The same of durations that need not be there.
pub(crate) mod optional_nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(super::duration_nanos).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
    }
}

/// The wire form of an age that need not be known: integer nanoseconds, as a newtype that the delta coding of the wire form recognizes.
pub(crate) mod optional_age {
    use std::time::Duration;

    use serde::{Deserializer, Serialize, Serializer};

    /// The name of an age as a type of serde.
    pub(crate) const TYPE: &str = "Age";

    struct Age(u64);

    impl Serialize for Age {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_newtype_struct(TYPE, &self.0)
        }
    }

    pub(crate) fn serialize<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        age.map(|age| Age(super::duration_nanos(age))).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::optional_nanos::deserialize(deserializer)
    }
}

/// The unit in which the kernel counts CPU time and start times: `sysconf(_SC_CLK_TCK)`, 100 almost everywhere.
#[must_use]
pub(crate) fn clock_ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// Clock ticks as nanoseconds.
pub(crate) fn ticks_to_nanos(ticks: u64, ticks_per_second: u64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    // Almost always a tick is a whole number of nanoseconds. The long division below takes ten times as long.
    if SECOND.checked_rem(ticks_per_second) == Some(0) {
        return ticks.saturating_mul(SECOND.checked_div(ticks_per_second).unwrap_or(0));
    }
    let nanos = u128::from(ticks).saturating_mul(1_000_000_000).checked_div(u128::from(ticks_per_second)).unwrap_or(0);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_cannot_be_counted_to_never_comes() {
        assert_eq!(Deadline::after(Duration::ZERO).left(), Duration::ZERO);
        let hour = Duration::from_secs(3600);
        assert!(Deadline::after(2 * hour).left() > hour);
        assert_eq!(Deadline::after(Duration::MAX).left(), Duration::MAX);
        assert_eq!(Deadline::NEVER.left(), Duration::MAX);
    }
}
