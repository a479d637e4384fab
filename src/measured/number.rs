//! Numbers, and what they count.

use std::fmt;

/// A number as a sample holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Number {
    /// A count or a size.
    Unsigned(u64),
    /// One that can be below zero, such as a nice value.
    Signed(i64),
    /// A derived one: a rate, a share.
    Float(f64),
}

impl Number {
    /// Returns the number as a float, which is exact up to 2⁵³.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "documented")]
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Unsigned(number) => number as f64,
            Self::Signed(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Unsigned(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Unsigned(number.into())
    }
}

impl From<i32> for Number {
    fn from(number: i32) -> Self {
        Self::Signed(number.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// Whether a field only counts up, or goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldKind {
    /// A total that only grows during the life of its subject.
    Counter,
    /// A value as it is now.
    Gauge,
}

/// The unit of a field, as the sample holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Nanoseconds,
    /// CPUs: 1.0 is one core busy.
    Cores,
    /// A share, where 1.0 is the whole.
    Fraction,
    /// A number of objects; the annotation of [UCUM] names their kind: `{thread}`.
    ///
    /// [UCUM]: https://ucum.org/ucum
    Count(&'static str),
    /// Bytes per second.
    BytesPerSecond,
    /// How many per second.
    CountPerSecond(&'static str),
}

impl Unit {
    /// Returns the unit in the notation of [UCUM](https://ucum.org/ucum), which OpenTelemetry uses: `By`, `ns`, `1`, `{thread}`, `By/s`.
    #[must_use]
    pub fn ucum(self) -> String {
        match self {
            Self::Bytes => "By".to_owned(),
            Self::Nanoseconds => "ns".to_owned(),
            Self::Cores => "{cpu}".to_owned(),
            Self::Fraction => "1".to_owned(),
            Self::Count(kind) => kind.to_owned(),
            Self::BytesPerSecond => "By/s".to_owned(),
            Self::CountPerSecond(kind) => format!("{kind}/s"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ucum())
    }
}
