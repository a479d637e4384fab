//! Samples with counters, and the rates derived from two of them.

use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measured::{FieldTable, Labels, Measured, Metrics};
use crate::reading::Reading;
use crate::time::Monotonic;

/// A subject that is seen at one tick: a process, a file system.
pub trait Sample: 'static {
    /// The kind of the subject, in the wire form: `process`, `file_system`.
    const KIND: &'static str;

    /// Whether it is something that happened, and not the state of something: then a later one does not replace an earlier one,
    /// though it has the same key. Default: no.
    const IS_EVENT: bool = false;

    /// How to reach the times in it that move on although nothing else changes: when its values were read, how old they are. Where all
    /// else is as it was, [only these](crate::counters::Times) are sent. Default: none, so a sample with a new time is sent whole.
    const TIMES: Option<Times<Self>> = None;

    /// The key that distinguishes one subject from another, over all ticks. Sources yield their samples in the order of this key.
    type Key: Ord + Clone + Hash;

    /// The key of this sample.
    fn key(&self) -> Self::Key;

    /// Whether this is the same thing as `earlier` but under another identity: a process after an `execve(2)`.
    fn is_changed(&self, earlier: &Self) -> bool {
        let _ = earlier;
        false
    }

    /// The metrics of this type, for protocols that have metrics and no samples, such as OTLP. Of a type with a
    /// [field table](crate::measured): `Some(Metrics::new())`. Default: none; then each sample is a record of a log there.
    fn metrics() -> Option<Metrics<Self>>
    where
        Self: Sized,
    {
        None
    }
}

/// A function that calls another one with each time in a sample, in the order of the wire form: all fields of type
/// [`Monotonic`], and the ages that derive from them.
///
/// With it `Forwarder::only_changed` sends one time for all samples that stand still.
///
/// ```
/// use appmon::Sample;
/// use appmon::counters::{TimeField, Times};
/// use appmon::time::Monotonic;
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Door {
///     number: u32,
///     is_open: bool,
///     seen_at: Monotonic,
/// }
///
/// impl Sample for Door {
///     const KIND: &'static str = "door";
///     const TIMES: Option<Times<Self>> = Some(|door, each| each(TimeField::At(&mut door.seen_at)));
///     type Key = u32;
///
///     fn key(&self) -> u32 {
///         self.number
///     }
/// }
/// ```
pub type Times<T> = fn(&mut T, &mut dyn FnMut(TimeField<'_>));

/// A time in a sample.
#[derive(Debug)]
#[non_exhaustive]
pub enum TimeField<'a> {
    /// An instant.
    At(&'a mut Monotonic),
    /// How long before the latest instant in the sample it was.
    Age(&'a mut Duration),
}

/// A sample with counters, of which rates can be made.
pub trait Counters: Sample {
    /// The counters alone: all that is kept from one tick to the next.
    type Totals: Clone;

    /// The values derived from two sets of counters.
    type Rates;

    /// The counters of this sample.
    fn totals(&self) -> Self::Totals;

    /// Replaces the counters of an earlier sample by those of this one. Default: by [`totals`](Self::totals); a sample that shares what did
    /// not change can see that there is nothing to do.
    fn update(&self, earlier: &mut Self::Totals) {
        *earlier = self.totals();
    }

    /// When the counters were so.
    fn at(&self) -> Monotonic;

    /// How much earlier than the true time [`birth`](Self::birth) can be: it may be cut to a step of a coarse clock.
    fn birth_step() -> Duration {
        Duration::ZERO
    }

    /// When all counters were 0, where that is known: the birth of a process.
    fn birth(&self) -> Option<(Monotonic, Self::Totals)> {
        None
    }

    /// The rates between `earlier` and this sample, `elapsed` apart. `None` if a counter goes backwards.
    fn rates(&self, earlier: &Self::Totals, elapsed: Duration) -> Option<Self::Rates>;
}

/// A sample with the rates since the one before it.
///
/// It derefs to the sample. In the wire form it is the sample with one more field, `rates`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: Serialize, T::Rates: Serialize",
    deserialize = "T: Deserialize<'de>, T::Rates: Deserialize<'de>"
))]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(bound = "T: schemars::JsonSchema, T::Rates: schemars::JsonSchema"))]
pub struct Rated<T: Counters> {
    /// The sample.
    #[serde(flatten)]
    pub sample: T,
    /// The rates; `None` in the first sample of a subject and if a counter goes backwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<T::Rates>,
}

impl<T: Counters> Rated<T> {
    pub(crate) fn new(sample: T, rates: Option<T::Rates>) -> Self {
        Self { sample, rates }
    }
}

impl<T: Counters> Deref for Rated<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.sample
    }
}

impl<T: Counters> DerefMut for Rated<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.sample
    }
}

impl<T: Counters> AsRef<T> for Rated<T> {
    fn as_ref(&self) -> &T {
        &self.sample
    }
}

impl<T: Counters> Sample for Rated<T> {
    const KIND: &'static str = T::KIND;
    const IS_EVENT: bool = T::IS_EVENT;
    const TIMES: Option<Times<Self>> = match T::TIMES {
        Some(_) => Some(|rated, each| {
            if let Some(times) = T::TIMES {
                times(&mut rated.sample, each);
            }
        }),
        None => None,
    };
    type Key = T::Key;

    fn key(&self) -> T::Key {
        self.sample.key()
    }

    fn is_changed(&self, earlier: &Self) -> bool {
        self.sample.is_changed(&earlier.sample)
    }

    /// Those of the sample. Its rates are none of them: whoever has the counters makes rates of them.
    fn metrics() -> Option<Metrics<Self>> {
        Some(T::metrics()?.within(|rated: &Self| &rated.sample))
    }
}

impl<T> Measured for Rated<T>
where
    T: Counters + Measured + 'static,
    T::Rates: Measured + 'static,
{
    const PREFIX: &'static str = T::PREFIX;

    fn measure(table: &mut FieldTable<Self>) {
        table.flatten(|rated| Some(&rated.sample));
        table.part("rates", |rated| rated.rates.as_ref());
        table.shorten("rates");
    }

    fn labels(&self) -> Labels {
        self.sample.labels()
    }

    fn counters_since(&self) -> Option<Monotonic> {
        self.sample.counters_since()
    }

    fn measured_at(&self) -> Option<Monotonic> {
        self.sample.measured_at()
    }
}

/// How much a counter grew; `None` if it goes backwards.
pub(crate) fn grown(earlier: u64, now: u64) -> Option<u64> {
    now.checked_sub(earlier)
}

/// How much a counter grew, per second; `None` if it goes backwards or no time passed.
#[expect(clippy::cast_precision_loss, reason = "a rate is derived: 53 bits are more than it needs")]
pub(crate) fn per_second(earlier: u64, now: u64, elapsed: Duration) -> Option<f64> {
    match grown(earlier, now)? {
        _ if elapsed.is_zero() => None,
        // Most counters of most samples do not move: those cost no division.
        0 => Some(0.0),
        grown => Some(grown as f64 / elapsed.as_secs_f64()),
    }
}

/// The rates of what two readings have; why there are none, where one of them has no value. `None` if a counter goes backwards.
pub(crate) fn both<T, R: Default>(
    earlier: &Reading<T>,
    now: &Reading<T>,
    rates: impl FnOnce(&T, &T) -> Option<R>,
) -> Option<Reading<R>> {
    Some(match (earlier, now) {
        (Reading::Value(earlier), Reading::Value(now)) => Reading::Value(rates(earlier, now)?),
        (why, Reading::Value(_)) | (_, why) => why.as_ref().map(|_| R::default()),
    })
}

/// How much a total grew since it was `earlier`: all of it if it went backwards, because it began again at 0.
pub(crate) fn increase(earlier: f64, now: f64) -> f64 {
    if now >= earlier { now - earlier } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_goes_back_has_no_rate() {
        assert_eq!(per_second(7, 6, Duration::from_secs(1)), None);
        assert_eq!(per_second(7, 7, Duration::ZERO), None);
        assert_eq!(per_second(7, 9, Duration::from_millis(500)), Some(4.0));
    }
}
