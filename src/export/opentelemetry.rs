//! Observable instruments of OpenTelemetry.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::measured::families::{Family, attribute_name, base_ucum, families, fields, is_additive, scaled};
use crate::measured::{Field, FieldKind, Measured};
use crate::stream::Latest;
use crate::time::Monotonic;
use crate::{Sample, Snapshot};

impl<T> Latest<T>
where
    T: Sample + Measured + Send + Sync + 'static,
    T::Key: Send,
{
    /// Registers observable instruments for all numbers of the [field table](crate::measured), named by the semantic conventions of
    /// OpenTelemetry, rates aside. They exist for as long as the meter's provider.
    ///
    /// All instruments of one collection observe the same snapshot, whose [labels](Measured::labels) are the attributes. A subject that is
    /// gone is absent from the next collection; while the handle is [empty](Latest::get), nothing is observed.
    ///
    /// Counters count from this call on: the SDK gives its own start as that of each sum, so the total of a process that was there before
    /// would look like growth after each restart of the program. Those of a subject that began later are its totals. OTLP with the true
    /// starts is a codec: `Codec::Otlp` (`appmon::forward`).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, Select, SnapshotStreamExt, SourceExt};
    /// use futures::StreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let own = Select::pid(std::process::id());
    /// let ticks = Processes::new().select(own).every(Duration::from_millis(20)).observe();
    /// ticks.latest().register(&opentelemetry::global::meter("my-agent"));
    /// tokio::spawn(ticks.for_each(|_| async {}));
    /// # Ok(())
    /// # }
    /// ```
    pub fn register(&self, meter: &Meter) {
        let families: Vec<Family<T>> = families(T::PREFIX, fields(false));
        let view = Arc::new(View { latest: self.clone(), since: Monotonic::now(), state: Mutex::default() });
        let mut first = 0_usize;
        for (index, family) in families.into_iter().enumerate() {
            let field_unit = family.unit();
            let unit = base_ucum(field_unit);
            let Family { name, kind, help, fields } = family;
            let count = fields.len();
            let instrument = Instrument { view: Arc::clone(&view), index, first, fields };
            match kind {
                FieldKind::Counter => {
                    first = first.saturating_add(count);
                    let builder = meter.f64_observable_counter(name).with_description(help).with_unit(unit);
                    builder.with_callback(move |to| instrument.observe(|value, with| to.observe(value, with))).build();
                }
                FieldKind::Gauge if is_additive(field_unit) => {
                    let builder = meter.f64_observable_up_down_counter(name).with_description(help).with_unit(unit);
                    builder.with_callback(move |to| instrument.observe(|value, with| to.observe(value, with))).build();
                }
                FieldKind::Gauge => {
                    let builder = meter.f64_observable_gauge(name).with_description(help).with_unit(unit);
                    builder.with_callback(move |to| instrument.observe(|value, with| to.observe(value, with))).build();
                }
            }
        }
    }
}

/// The snapshot that all instruments observe in one collection.
struct View<T: Sample> {
    latest: Latest<T>,
    since: Monotonic,
    state: Mutex<State<T>>,
}

struct State<T: Sample> {
    snapshot: Option<Arc<Snapshot<T>>>,
    /// The attributes of each of its samples, those of fields aside.
    labels: Arc<[Vec<KeyValue>]>,
    /// The instruments that have observed it. One that comes again begins the next collection.
    observed: HashSet<usize>,
    /// The counters of each subject that was there before, when they were first seen; `None` for those that began later.
    bases: HashMap<T::Key, Option<HashMap<usize, f64>>>,
}

impl<T: Sample> Default for State<T> {
    fn default() -> Self {
        Self { snapshot: None, labels: Arc::default(), observed: HashSet::new(), bases: HashMap::new() }
    }
}

struct Instrument<T: Sample> {
    view: Arc<View<T>>,
    index: usize,
    /// The number of its first field among all counters.
    first: usize,
    fields: Vec<Field<T>>,
}

impl<T: Sample + Measured> Instrument<T> {
    fn observe(&self, mut observe: impl FnMut(f64, &[KeyValue])) {
        let mut state = self.view.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.observed.contains(&self.index) || state.snapshot.is_none() {
            state.observed.clear();
            state.snapshot = self.view.latest.get();
            state.labels = state.snapshot.as_deref().map(labels).unwrap_or_default();
            state.forget_the_gone();
        }
        state.observed.insert(self.index);
        let Some(snapshot) = state.snapshot.clone() else { return };
        let labels = Arc::clone(&state.labels);
        for (sample, labels) in snapshot.samples.iter().zip(&*labels) {
            for (at, field) in self.fields.iter().enumerate() {
                let Some(mut value) = field.value(sample).map(|number| number.to_f64()) else { continue };
                if field.kind() == FieldKind::Counter {
                    value = state.counted(sample, self.first.saturating_add(at), value, self.view.since);
                }
                let own = field.metric_attributes().iter().map(|(name, value)| KeyValue::new(*name, *value));
                let with: Vec<KeyValue> = labels.iter().cloned().chain(own).collect();
                observe(scaled(field.unit(), value), &with);
            }
        }
    }
}

/// The attributes of each sample: its labels, and the host of the snapshot if it is another one.
fn labels<T: Sample + Measured>(snapshot: &Snapshot<T>) -> Arc<[Vec<KeyValue>]> {
    let host = snapshot.host.as_ref().map(|host| KeyValue::new("host.name", host.to_string()));
    let of = |sample: &T| {
        let labels = sample.labels();
        let labels = labels
            .iter()
            .map(|(label, value)| KeyValue::new(attribute_name(T::PREFIX, label).into_owned(), value.to_owned()));
        labels.chain(host.clone()).collect()
    };
    snapshot.samples.iter().map(of).collect()
}

impl<T: Sample + Measured> State<T> {
    fn forget_the_gone(&mut self) {
        let samples = self.snapshot.iter().flat_map(|snapshot| &**snapshot);
        let here: HashSet<T::Key> = samples.map(Sample::key).collect();
        self.bases.retain(|key, _| here.contains(key));
    }

    /// Returns how much a counter grew since `since`.
    fn counted(&mut self, sample: &T, counter: usize, now: f64, since: Monotonic) -> f64 {
        let is_new = || sample.counters_since().is_some_and(|began| began >= since);
        let bases = self.bases.entry(sample.key()).or_insert_with(|| (!is_new()).then(HashMap::new));
        let Some(bases) = bases else { return now };
        let base = bases.entry(counter).or_insert(now);
        if now < *base {
            // It began again at 0.
            *base = 0.0;
        }
        now - *base
    }
}
