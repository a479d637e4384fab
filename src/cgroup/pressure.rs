//! The files of pressure stall information: `/proc/pressure/*` and `*.pressure` of a control group.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counters::per_second;
use crate::measured::{FieldTable, Measured, Unit};
use crate::number::{decimal, hundredths, lines, words};
use crate::{Error, Result};

/// How much time tasks lost waiting for a resource: a file of `/proc/pressure`, or the same of a control group. Since Linux 4.20.
///
/// ```
/// use appmon::cgroup::Pressure;
///
/// let file = b"some avg10=1.50 avg60=0.25 avg300=0.05 total=4022\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=17\n";
/// let pressure = Pressure::parse(file)?;
/// let some = pressure.some.unwrap();
/// assert_eq!((some.avg10, some.total_ns), (0.015, 4_022_000));
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pressure {
    /// When at least one task waited. `None` of interrupts, which have `full` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub some: Option<PressureLine>,
    /// When all tasks that were not idle waited at the same time, so that nothing was done. `None` of the CPU before Linux 5.13; of the
    /// CPU of the whole machine it is always 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<PressureLine>,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PressureLine {
    /// The share of the time that was lost, averaged by the kernel over the last 10 s or so: from 0 to 1. The file has it in percent, with
    /// two decimals.
    pub avg10: f64,
    /// The same over the last minute.
    pub avg60: f64,
    /// The same over the last five minutes.
    pub avg300: f64,
    /// The time lost since the machine started, or since the control group was made, in nanoseconds. The file has microseconds.
    pub total_ns: u64,
}

/// The share of the time that was lost between two readings of a pressure file: from 0 to 1, exact where the averages of the kernel
/// follow with a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PressureRates {
    /// When at least one task waited; `None` where both readings do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub some: Option<f64>,
    /// When all tasks that were not idle waited; `None` where both readings do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<f64>,
}

impl Pressure {
    /// Reads the file. Lines other than `some` and `full` are passed over.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed) where there is none of the two lines, or one lacks a value.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut pressure = Self::default();
        for line in lines(file) {
            let malformed = || Error::malformed(format!("pressure: {}", line.escape_ascii()));
            match words(line).next() {
                Some(b"some") => pressure.some = Some(PressureLine::parse(line).ok_or_else(malformed)?),
                Some(b"full") => pressure.full = Some(PressureLine::parse(line).ok_or_else(malformed)?),
                _ => {}
            }
        }
        if pressure.some.is_none() && pressure.full.is_none() {
            return Err(Error::malformed("pressure: neither `some` nor `full`"));
        }
        Ok(pressure)
    }

    /// Returns the share of the time lost between `earlier` and this reading, `elapsed` apart; `None` if a total goes backwards.
    #[must_use]
    pub fn rates(&self, earlier: &Self, elapsed: Duration) -> Option<PressureRates> {
        let share = |earlier: Option<PressureLine>, now: Option<PressureLine>| match earlier.zip(now) {
            None => Some(None),
            Some((earlier, now)) => Some(Some(per_second(earlier.total_ns, now.total_ns, elapsed)? / 1e9)),
        };
        Some(PressureRates { some: share(earlier.some, self.some)?, full: share(earlier.full, self.full)? })
    }
}

impl PressureLine {
    fn parse(line: &[u8]) -> Option<Self> {
        let value = |key: &[u8]| words(line).find_map(|word| word.strip_prefix(key)?.strip_prefix(b"="));
        Some(Self {
            avg10: share(value(b"avg10")?)?,
            avg60: share(value(b"avg60")?)?,
            avg300: share(value(b"avg300")?)?,
            total_ns: decimal::<u64>(value(b"total")?)?.checked_mul(1000)?,
        })
    }
}

/// A percentage with two decimals, as a share.
fn share(percent: &[u8]) -> Option<f64> {
    Some(f64::from(u32::try_from(hundredths(percent)?).ok()?) / 1e4)
}

impl Measured for Pressure {
    fn measure(table: &mut FieldTable<Self>) {
        table.part("some", |pressure| pressure.some.as_ref());
        table.part("full", |pressure| pressure.full.as_ref());
    }
}

// Without names of metrics: the paths of the parts that hold these distinguish them.
impl Measured for PressureLine {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("avg10", Unit::Fraction, "Share of the time lost, over 10 s", |line| Some(line.avg10));
        table.gauge("avg60", Unit::Fraction, "Share of the time lost, over 1 min", |line| Some(line.avg60));
        table.gauge("avg300", Unit::Fraction, "Share of the time lost, over 5 min", |line| Some(line.avg300));
        table.counter("total_ns", Unit::Nanoseconds, "Time lost", |line| Some(line.total_ns));
    }
}

impl Measured for PressureRates {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("some", Unit::Fraction, "Share of the time that at least one task waited", |rates| rates.some);
        table.gauge("full", Unit::Fraction, "Share of the time that all tasks waited", |rates| rates.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_kernels() {
        // Of interrupts, and of the CPU before Linux 5.13.
        let full = Pressure::parse(b"full avg10=0.00 avg60=12.34 avg300=100.00 total=18446744073709551\n").unwrap();
        let line = full.full.unwrap();
        assert_eq!((full.some, line.avg60, line.avg300), (None, 0.1234, 1.0));
        assert_eq!(line.total_ns, 18_446_744_073_709_551_000);
        let some = Pressure::parse(b"some avg10=0.07 avg60=0.00 avg300=0.00 total=3\n").unwrap();
        assert_eq!((some.some.unwrap().avg10, some.full), (0.0007, None));
    }

    #[test]
    fn texts_that_are_none() {
        for text in [
            "",
            "none avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00\n",
            "some avg10=0.0 avg60=0.00 avg300=0.00 total=0\n",
            "some avg10=-1.00 avg60=0.00 avg300=0.00 total=0\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709552\n",
        ] {
            assert!(Pressure::parse(text.as_bytes()).unwrap_err().is_malformed(), "{text:?}");
        }
    }

    #[test]
    fn shares_are_of_the_time_between_two_readings() {
        let at = |some: u64, full: Option<u64>| {
            let line = |total_ns| PressureLine { total_ns, ..PressureLine::default() };
            Pressure { some: Some(line(some)), full: full.map(line) }
        };
        let elapsed = Duration::from_secs(2);
        let rates = at(3_000_000_000, None).rates(&at(2_000_000_000, Some(1)), elapsed).unwrap();
        assert_eq!((rates.some, rates.full), (Some(0.5), None));
        assert_eq!(at(1, None).rates(&at(2, None), elapsed), None);
    }
}
