//! Metrics for Prometheus, as a `Collector` of prometheus-client.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry;
use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, Others};
use super::process_exporter;
use crate::measured::families::{Family, families, fields, scaled};
use crate::measured::{FieldKind, Measured, Unit};
use crate::stream::{GroupSample, Latest};
use crate::{Sample, Snapshot};

/// The naming scheme of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Naming {
    /// The semantic conventions of OpenTelemetry, in the notation of Prometheus: `process_cpu_time_seconds_total`.
    #[default]
    #[serde(rename = "opentelemetry")]
    OpenTelemetry,
    /// Groups of processes by the names of [process-exporter], so that what reads its metrics can read these:
    /// `namedprocess_namegroup_cpu_seconds_total{groupname="nginx",mode="user"}`. It has `num_procs`, `num_threads`, `cpu_seconds_total`,
    /// `memory_bytes` (`resident` and `virtual`), `read_bytes_total`, `write_bytes_total`, `major_page_faults_total` and
    /// `minor_page_faults_total`; what a [`GroupSample`](crate::stream::GroupSample) has beside these is left out, rates too. All other
    /// samples are named as by [`OpenTelemetry`](Self::OpenTelemetry).
    ///
    /// [process-exporter]: https://github.com/ncabatoff/process-exporter
    #[serde(rename = "process_exporter")]
    ProcessExporter,
}

impl Naming {
    /// Whether a sample has the names of process-exporter.
    fn is_process_exporter<T: Sample>(self) -> bool {
        self == Self::ProcessExporter && T::KIND == GROUP
    }
}

/// The kind of groups.
const GROUP: &str = <GroupSample<u32> as Sample>::KIND;

/// A `Collector` of prometheus-client: metrics of the newest snapshot for Prometheus, with settings.
///
/// [`Latest`] itself is a `Collector` too, with the defaults and without a bound. Each number of the [field table](crate::measured) that
/// has a value is a metric: times in seconds, sizes in bytes, shares as ratios. The [labels](Measured::labels) of the sample are its
/// labels, and `host` if the snapshot is from another host. A label of the sample that would occur twice by that, or by an attribute of
/// the metric such as `cpu_mode`, begins with `exported_`, as in Prometheus itself. A subject that is gone is absent from the next scrape.
/// While the handle is [empty](Latest::get), there are no metrics.
///
/// Seconds are floats, exact to the nanosecond for 104 days of CPU time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use appmon::export::Prometheus;
/// use appmon::{Processes, Select, SnapshotStreamExt, SourceExt};
/// use futures::StreamExt;
/// use prometheus_client::registry::Registry;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// let own = Select::pid(std::process::id());
/// let ticks = Processes::new().select(own).every(Duration::from_millis(20)).observe();
/// let latest = ticks.latest();
/// tokio::spawn(ticks.for_each(|_| async {}));
///
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(Prometheus::new(latest.clone()).max_subjects(500)));
/// latest.ready().await;
/// let mut page = String::new();
/// prometheus_client::encoding::text::encode(&mut page, &registry).expect("writing to a string");
/// assert!(page.contains("process_memory_usage_bytes{pid="));
/// # Ok(())
/// # }
/// ```
pub struct Prometheus<T: Sample> {
    latest: Latest<T>,
    naming: Naming,
    rates: bool,
    most: usize,
    families: Families<T>,
    bounded: Mutex<Bounded<T::Key>>,
}

type Families<T> = Arc<[(Description, Family<T>)]>;

/// The descriptor of a family.
struct Description {
    name: String,
    unit: Option<registry::Unit>,
}

impl<T: Sample + Measured> Prometheus<T> {
    /// Returns a collector for this handle.
    pub fn new(latest: Latest<T>) -> Self {
        let (naming, rates) = (Naming::default(), false);
        let families = described(naming, rates);
        Self { latest, naming, rates, most: usize::MAX, families, bounded: Mutex::default() }
    }

    /// Sets the naming scheme. Default: the conventions of OpenTelemetry.
    #[must_use]
    pub fn naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self.families = described(self.naming, self.rates);
        self
    }

    /// Sets whether rates are exported too. Default: no, since Prometheus computes rates from counters.
    #[must_use]
    pub fn rates(mut self, rates: bool) -> Self {
        self.rates = rates;
        self.families = described(self.naming, self.rates);
        self
    }

    /// Sets the largest number of subjects with series of their own. All others share one series, whose labels are all `other`. Default:
    /// no bound.
    ///
    /// The counters of the others are sums over all of them, including those that are gone, and never fall: a subject stays in its own
    /// series, or among the others, for its lifetime. Gauges are sums over the present subjects. Fields without a meaningful sum are
    /// left out.
    #[must_use]
    pub fn max_subjects(mut self, most: usize) -> Self {
        self.most = most;
        self
    }
}

impl<T: Sample> fmt::Debug for Prometheus<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("latest", &self.latest)
            .field("naming", &self.naming)
            .field("rates", &self.rates)
            .field("max_subjects", &self.most)
            .finish_non_exhaustive()
    }
}

impl<T> Collector for Prometheus<T>
where
    T: Sample + Measured + Send + Sync + 'static,
    T::Key: Send,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(snapshot) = self.latest.get() else { return Ok(()) };
        if self.most == usize::MAX {
            return page(
                encoder,
                self.naming,
                &self.families,
                &snapshot,
                &snapshot.samples.iter().collect::<Vec<_>>(),
                None,
            );
        }
        let mut bounded = self.bounded.lock().unwrap_or_else(PoisonError::into_inner);
        let plain: Vec<_> = self.families.iter().map(|(_, family)| family).collect();
        let (own, others) = bounded.split(&snapshot.samples, &plain, self.most);
        drop(bounded);
        page(encoder, self.naming, &self.families, &snapshot, &own, others)
    }
}

impl<T> Collector for Latest<T>
where
    T: Sample + Measured + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(snapshot) = self.get() else { return Ok(()) };
        let families = described(Naming::default(), false);
        page(encoder, Naming::default(), &families, &snapshot, &snapshot.samples.iter().collect::<Vec<_>>(), None)
    }
}

fn described<T: Sample + Measured>(naming: Naming, rates: bool) -> Families<T> {
    let families = if naming.is_process_exporter::<T>() {
        families(process_exporter::PREFIX, fields(false).filter_map(process_exporter::renamed))
    } else {
        families(T::PREFIX, fields(rates))
    };
    let described = |family: Family<T>| {
        (Description { name: prometheus_name(&family.name), unit: prometheus_unit(family.unit()) }, family)
    };
    families.into_iter().map(described).collect()
}

type Pairs = Vec<(String, String)>;

fn page<T: Sample + Measured>(
    mut encoder: DescriptorEncoder<'_>,
    naming: Naming,
    families: &Families<T>,
    snapshot: &Snapshot<T>,
    own: &[&T],
    others: Option<Others>,
) -> fmt::Result {
    let host = snapshot.host.iter().map(|host| ("host".to_owned(), host.to_string()));
    let fields = families.iter().flat_map(|(_, family)| &family.fields);
    let attributes = fields.flat_map(|field| field.metric_attributes().iter().map(|(name, _)| prometheus_name(name)));
    let reserved: HashSet<String> = attributes.chain(host.clone().map(|(name, _)| name)).collect();
    let label_name = |name: &str| {
        // A group has one label, by whatever it is grouped.
        let name =
            if naming.is_process_exporter::<T>() { process_exporter::LABEL.to_owned() } else { prometheus_name(name) };
        if reserved.contains(&name) { format!("exported_{name}") } else { name }
    };
    let labels_of = |sample: &T| -> Pairs {
        let labels = sample.labels();
        let named = labels.iter().map(|(name, value)| (label_name(name), value.to_owned()));
        named.chain(host.clone()).collect()
    };
    let subjects: Vec<(Pairs, &T)> = own.iter().map(|sample| (labels_of(sample), *sample)).collect();
    let Others { labels, sums } = others.unwrap_or_default();
    let of_others: Pairs =
        labels.iter().map(|name| (label_name(name), "other".to_owned())).chain(host.clone()).collect();
    let mut others = sums.into_iter();
    for (Description { name, unit }, family) in families.iter() {
        let sums: Vec<Option<f64>> = family.fields.iter().map(|_| others.next().flatten()).collect();
        let has_values = sums.iter().any(Option::is_some)
            || subjects.iter().any(|(_, sample)| family.fields.iter().any(|field| field.value(sample).is_some()));
        // A family without metrics is left out, with its descriptor.
        if !has_values {
            continue;
        }
        let kind = match family.kind {
            FieldKind::Counter => MetricType::Counter,
            FieldKind::Gauge => MetricType::Gauge,
        };
        let mut metric = encoder.encode_descriptor(name, &family.help, unit.as_ref(), kind)?;
        for (field, sum) in family.fields.iter().zip(sums) {
            let values =
                subjects.iter().map(|(labels, sample)| (labels, field.value(sample).map(|number| number.to_f64())));
            for (labels, value) in values.chain([(&of_others, sum)]) {
                let Some(value) = value else { continue };
                let attributes = field.metric_attributes().iter();
                let attributes = attributes.map(|(name, value)| (prometheus_name(name), (*value).to_owned()));
                let labels: Pairs = labels.iter().cloned().chain(attributes).collect();
                write(metric.encode_family(&labels)?, family.kind, scaled(field.unit(), value))?;
            }
        }
    }
    Ok(())
}

fn write(mut metric: MetricEncoder<'_>, kind: FieldKind, value: f64) -> fmt::Result {
    match kind {
        FieldKind::Counter => metric.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        FieldKind::Gauge => metric.encode_gauge(&value),
    }
}

fn prometheus_unit(unit: Unit) -> Option<registry::Unit> {
    match unit {
        Unit::Bytes => Some(registry::Unit::Bytes),
        Unit::Nanoseconds => Some(registry::Unit::Seconds),
        Unit::Fraction => Some(registry::Unit::Other("ratio".to_owned())),
        Unit::BytesPerSecond => Some(registry::Unit::Other("bytes_per_second".to_owned())),
        Unit::CountPerSecond(_) => Some(registry::Unit::Other("per_second".to_owned())),
        Unit::Cores | Unit::Count(_) => None,
    }
}

/// Replaces the characters that Prometheus does not allow in names.
fn prometheus_name(name: &str) -> String {
    let legal = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
    let begins_ill = name.starts_with(|char: char| char.is_ascii_digit());
    begins_ill.then_some('_').into_iter().chain(name.chars().map(legal)).collect()
}
