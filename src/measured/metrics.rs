//! What the samples of a type are as metrics.

use std::fmt;
use std::sync::Arc;

use super::{Field, FieldTable, Labels, Measured};
use crate::time::Monotonic;

/// The metrics of a sample type: its field table, and how a sample is named and dated, in one value.
///
/// [`Sample::metrics`](crate::Sample::metrics) returns it, so that an encoder can have the metrics of any sample type that has some.
///
/// # Examples
///
/// ```
/// use appmon::measured::Metrics;
/// use appmon::{ProcessSample, Rated, Sample};
///
/// let metrics = Rated::<ProcessSample>::metrics().expect("processes have a field table");
/// assert_eq!(metrics.prefix(), "process");
/// assert!(metrics.fields().any(|field| field.path() == "cpu.total_ns"));
/// ```
pub struct Metrics<T> {
    prefix: &'static str,
    table: FieldTable<T>,
    labels: Of<T, Labels>,
    counters_since: Of<T, Option<Monotonic>>,
    measured_at: Of<T, Option<Monotonic>>,
}

type Of<T, V> = Arc<dyn Fn(&T) -> V + Send + Sync>;

impl<T: Measured + 'static> Metrics<T> {
    /// Returns those of the field table of `T`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            prefix: T::PREFIX,
            table: FieldTable::new(),
            labels: Arc::new(T::labels),
            counters_since: Arc::new(T::counters_since),
            measured_at: Arc::new(T::measured_at),
        }
    }
}

impl<T: Measured + 'static> Default for Metrics<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> Metrics<T> {
    /// Returns the metrics of a type that contains this one; `part` finds it there.
    #[must_use]
    pub fn within<W: 'static>(self, part: fn(&W) -> &T) -> Metrics<W> {
        let Self { prefix, table, labels, counters_since, measured_at } = self;
        Metrics {
            prefix,
            table: table.within(part),
            labels: Arc::new(move |whole| labels(part(whole))),
            counters_since: Arc::new(move |whole| counters_since(part(whole))),
            measured_at: Arc::new(move |whole| measured_at(part(whole))),
        }
    }

    /// Returns the common [prefix](Measured::PREFIX) of the names.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Returns the fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = &Field<T>> {
        self.table.iter()
    }

    /// Returns the [labels](Measured::labels) of a sample.
    #[must_use]
    pub fn labels(&self, sample: &T) -> Labels {
        (self.labels)(sample)
    }

    /// Returns the time at which all counters of its subject [were 0](Measured::counters_since).
    #[must_use]
    pub fn counters_since(&self, sample: &T) -> Option<Monotonic> {
        (self.counters_since)(sample)
    }

    /// Returns the time at which its numbers [had their values](Measured::measured_at).
    #[must_use]
    pub fn measured_at(&self, sample: &T) -> Option<Monotonic> {
        (self.measured_at)(sample)
    }
}

impl<T> fmt::Debug for Metrics<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("prefix", &self.prefix).field("table", &self.table).finish_non_exhaustive()
    }
}
