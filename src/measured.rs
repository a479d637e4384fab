//! The field table: the numbers of a sample, each listed once with its path, unit, kind and help.

#[cfg(any(feature = "opentelemetry", feature = "otlp", feature = "prometheus"))]
pub(crate) mod families;
mod labels;
mod metrics;
mod number;

use std::fmt;
use std::sync::Arc;

use crate::spelling::nearest;
use crate::time::Monotonic;
use crate::{Error, Result};

pub use labels::Labels;
pub use metrics::Metrics;
pub use number::{FieldKind, Number, Unit};

/// A sample whose numbers are listed once, for whatever reads them by name: alerts, windows, metrics, the columns of a table.
///
/// A sample type of one's own has one by implementing this; [`Rated`](crate::Rated) then has the fields of its rates as well.
///
/// # Examples
///
/// ```
/// use appmon::measured::{FieldTable, Labels, Measured, Unit};
///
/// struct Queue {
///     name: String,
///     waiting: u64,
///     taken: u64,
/// }
///
/// impl Measured for Queue {
///     fn measure(table: &mut FieldTable<Self>) {
///         table.gauge("waiting", Unit::Count("{message}"), "Messages that wait", |queue| Some(queue.waiting));
///         table.counter("taken", Unit::Count("{message}"), "Messages taken out", |queue| Some(queue.taken));
///     }
///
///     fn labels(&self) -> Labels {
///         Labels::default().with("queue", &self.name)
///     }
/// }
///
/// let table = FieldTable::<Queue>::new();
/// let queue = Queue { name: "jobs".into(), waiting: 3, taken: 10 };
/// assert_eq!(table.find("waiting")?.value(&queue).map(|number| number.to_f64()), Some(3.0));
/// assert_eq!(queue.labels().to_string(), "queue=jobs");
/// assert!(table.find("waitng").unwrap_err().to_string().contains("did you mean `waiting`?"));
/// # Ok::<(), appmon::Error>(())
/// ```
pub trait Measured {
    /// The common prefix of the names of its metrics, in OpenTelemetry's notation: `process`, `system.filesystem`. Default: nothing.
    const PREFIX: &'static str = "";

    /// Adds the fields of this type to the table, in the order in which people want to see them.
    fn measure(table: &mut FieldTable<Self>)
    where
        Self: Sized;

    /// The names by which one subject is known among its like: of a process its pid and its name.
    ///
    /// Default: none, for types that are only parts of a sample.
    fn labels(&self) -> Labels {
        Labels::default()
    }

    /// Returns the time at which all counters of this subject were 0: the start of a process. Default: `None`, where that is unknown.
    ///
    /// It has to be the same for all samples of a subject, also after a restart of the program: receivers take another one for a reset.
    fn counters_since(&self) -> Option<Monotonic> {
        None
    }

    /// Returns the time at which the numbers had these values. Default: `None`, which is the time of the snapshot.
    fn measured_at(&self) -> Option<Monotonic> {
        None
    }
}

/// How a field is found in a sample.
type Get<T> = Arc<dyn Fn(&T) -> Option<Number> + Send + Sync>;

/// One number of a sample.
pub struct Field<T> {
    path: String,
    alias: Option<String>,
    unit: Unit,
    kind: FieldKind,
    help: &'static str,
    metric: Option<Metric>,
    get: Get<T>,
}

/// The name of a metric below the [prefix](Measured::PREFIX) of its sample, and the attributes that distinguish this field from others of
/// the same metric.
type Metric = (&'static str, &'static [(&'static str, &'static str)]);

impl<T> Field<T> {
    /// Returns its path in the wire form: `cpu.total_ns`, `rates.cpu.cores`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns a shorter name for it, where there is one: `cpu.cores`.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// Returns its unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Returns whether it is a counter or a gauge.
    #[must_use]
    pub fn kind(&self) -> FieldKind {
        self.kind
    }

    /// Returns its meaning, in a few words.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help
    }

    /// Returns the name of its metric below the [prefix](Measured::PREFIX) of its sample: `cpu.time`. By default its path.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.metric.map_or(&*self.path, |(name, _)| name)
    }

    /// Returns the attributes that distinguish it from the other fields of the same metric: `cpu.mode` is `user`.
    #[must_use]
    pub fn metric_attributes(&self) -> &'static [(&'static str, &'static str)] {
        self.metric.map_or(&[], |(_, attributes)| attributes)
    }

    /// Returns the field with another metric name.
    #[cfg(feature = "prometheus")]
    pub(crate) fn renamed(mut self, name: &'static str, attributes: &'static [(&'static str, &'static str)]) -> Self {
        self.metric = Some((name, attributes));
        self
    }

    /// Returns the number in this sample; `None` where it could not be read, was not requested, or has no meaning.
    #[must_use]
    pub fn value(&self, sample: &T) -> Option<Number> {
        (self.get)(sample)
    }
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        let Self { path, alias, unit, kind, help, metric, get } = self;
        let (path, alias, get) = (path.clone(), alias.clone(), Arc::clone(get));
        Self { path, alias, unit: *unit, kind: *kind, help, metric: *metric, get }
    }
}

impl<T> fmt::Debug for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, alias, unit, kind, help, metric, get: _ } = self;
        f.debug_struct("Field")
            .field("path", path)
            .field("alias", alias)
            .field("unit", unit)
            .field("kind", kind)
            .field("help", help)
            .field("metric", metric)
            .finish_non_exhaustive()
    }
}

/// The fields of a sample type, in their order.
pub struct FieldTable<T> {
    fields: Vec<Field<T>>,
}

impl<T: Measured> FieldTable<T> {
    /// Returns the table of `T`.
    #[must_use]
    pub fn new() -> Self {
        let mut table = Self { fields: Vec::new() };
        T::measure(&mut table);
        table
    }
}

impl<T: Measured> Default for FieldTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FieldTable<T> {
    /// Adds a total that only grows.
    pub fn counter<N: Into<Number>>(
        &mut self,
        path: &str,
        unit: Unit,
        help: &'static str,
        get: impl Fn(&T) -> Option<N> + Send + Sync + 'static,
    ) -> &mut Self {
        self.add(path, unit, FieldKind::Counter, help, get)
    }

    /// Adds a value that goes up and down.
    pub fn gauge<N: Into<Number>>(
        &mut self,
        path: &str,
        unit: Unit,
        help: &'static str,
        get: impl Fn(&T) -> Option<N> + Send + Sync + 'static,
    ) -> &mut Self {
        self.add(path, unit, FieldKind::Gauge, help, get)
    }

    fn add<N: Into<Number>>(
        &mut self,
        path: &str,
        unit: Unit,
        kind: FieldKind,
        help: &'static str,
        get: impl Fn(&T) -> Option<N> + Send + Sync + 'static,
    ) -> &mut Self {
        let get: Get<T> = Arc::new(move |sample| get(sample).map(Into::into));
        self.fields.push(Field { path: path.to_owned(), alias: None, unit, kind, help, metric: None, get });
        self
    }

    /// Names the metric of the field that was added last, with the attributes that distinguish it from other fields of the same metric; by
    /// the semantic conventions of OpenTelemetry where they have one. Default: its path.
    pub fn metric(&mut self, name: &'static str, attributes: &'static [(&'static str, &'static str)]) -> &mut Self {
        if let Some(field) = self.fields.last_mut() {
            field.metric = Some((name, attributes));
        }
        self
    }

    /// Adds the fields of a part, their paths below `name`; `part` finds it in the sample.
    pub fn part<P: Measured + 'static>(&mut self, name: &str, part: fn(&T) -> Option<&P>)
    where
        T: 'static,
    {
        self.take_over(FieldTable::new(), part, |path| format!("{name}.{path}"));
    }

    /// Adds the fields of the sample that this one contains, under their own paths.
    pub fn flatten<P: Measured + 'static>(&mut self, part: fn(&T) -> Option<&P>)
    where
        T: 'static,
    {
        self.take_over(FieldTable::new(), part, str::to_owned);
    }

    fn take_over<P: 'static>(
        &mut self,
        table: FieldTable<P>,
        part: fn(&T) -> Option<&P>,
        path_here: impl Fn(&str) -> String,
    ) where
        T: 'static,
    {
        for Field { path, alias, unit, kind, help, metric, get } in table.fields {
            let get: Get<T> = Arc::new(move |sample| part(sample).and_then(|part| get(part)));
            self.fields.push(Field { path: path_here(&path), alias, unit, kind, help, metric, get });
        }
    }

    /// Returns the table of a type that contains `T`, under the same paths; `part` finds it there.
    pub(crate) fn within<W: 'static>(self, part: fn(&W) -> &T) -> FieldTable<W>
    where
        T: 'static,
    {
        let mut table = FieldTable { fields: Vec::with_capacity(self.fields.len()) };
        for Field { path, alias, unit, kind, help, metric, get } in self.fields {
            let get: Get<W> = Arc::new(move |whole| get(part(whole)));
            table.fields.push(Field { path, alias, unit, kind, help, metric, get });
        }
        table
    }

    /// Sets for each field below `name` the path without it as an alias, where no other field is called that.
    pub fn shorten(&mut self, name: &str) {
        for at in 0..self.fields.len() {
            let short = self.fields.get(at).and_then(|field| field.path.strip_prefix(name)?.strip_prefix('.'));
            let Some(short) = short.map(str::to_owned) else { continue };
            if self.named(&short).is_none()
                && let Some(field) = self.fields.get_mut(at)
            {
                field.alias = Some(short);
            }
        }
    }

    /// Returns the field of this path or alias.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] where there is none, with the nearest one.
    pub fn find(&self, name: &str) -> Result<&Field<T>> {
        self.named(name).ok_or_else(|| Error::config(self.unknown(name)))
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Field<T>> {
        let is_path = |field: &&Field<T>| field.path == name;
        let is_alias = |field: &&Field<T>| field.alias.as_deref() == Some(name);
        self.fields.iter().find(is_path).or_else(|| self.fields.iter().find(is_alias))
    }

    /// Why there is no field of this name.
    pub(crate) fn unknown(&self, name: &str) -> String {
        let names = || self.fields.iter().flat_map(|field| field.alias.as_deref().into_iter().chain([&*field.path]));
        let shown: String = name.chars().take(60).collect();
        match nearest(name, names()) {
            Some(near) => format!("there is no field `{shown}`; did you mean `{near}`?"),
            None => {
                let all: Vec<_> = self.fields.iter().map(|field| &*field.path).collect();
                format!("there is no field `{shown}`; there are {}", all.join(", "))
            }
        }
    }

    /// Returns the fields, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field<T>> {
        self.fields.iter()
    }

    /// Returns the number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Returns whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl<T> Clone for FieldTable<T> {
    fn clone(&self) -> Self {
        Self { fields: self.fields.clone() }
    }
}

impl<T> fmt::Debug for FieldTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fields).finish()
    }
}

impl<'a, T> IntoIterator for &'a FieldTable<T> {
    type Item = &'a Field<T>;
    type IntoIter = std::slice::Iter<'a, Field<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
