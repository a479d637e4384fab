//! Samples as metrics.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use prost::Message;

use super::{attribute, resource, scope, text};
use crate::Snapshot;
use crate::measured::families::{Family, attribute_name, base_ucum, families, is_additive, scaled};
use crate::measured::{FieldKind, Metrics, Number, Unit};
use crate::time::Monotonic;

/// The metrics of a sample type, and the clocks of a snapshot.
pub(crate) struct Points<'a, T> {
    metrics: &'a Metrics<T>,
    families: Vec<Family<T>>,
    host: &'a str,
    /// The time of the snapshot, on the wall clock and since boot; the second is 0 where it is unknown.
    time: (u64, Monotonic),
    /// The wall clock when the machine started, in nanoseconds: for starts, which must not move as the clock is set.
    booted: Option<i128>,
}

/// A sample, with what is common to its points.
struct Subject<'a, T> {
    sample: &'a T,
    attributes: Vec<KeyValue>,
    time: u64,
    start: u64,
}

impl<'a, T: 'static> Points<'a, T> {
    pub(crate) fn new(metrics: &'a Metrics<T>, snapshot: &Snapshot<T>, host: &'a str, booted: Option<i128>) -> Self {
        let families = families(metrics.prefix(), metrics.fields().cloned());
        Self { metrics, families, host, time: (snapshot.time.as_unix_nanos(), snapshot.at), booted }
    }

    /// Returns these samples as a request, and the number of its points.
    pub(crate) fn request(&self, samples: &[T]) -> (Vec<u8>, u32) {
        let subjects: Vec<Subject<'_, T>> = samples.iter().map(|sample| self.subject(sample)).collect();
        let mut metrics = Vec::with_capacity(self.families.len());
        let mut count = 0_usize;
        for family in &self.families {
            let points = points(family, &subjects);
            count = count.saturating_add(points.len());
            if !points.is_empty() {
                metrics.push(metric(family, points));
            }
        }
        let scopes = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource = Some(resource(self.host));
        let resources = vec![ResourceMetrics { resource, scope_metrics: scopes, ..ResourceMetrics::default() }];
        let request = ExportMetricsServiceRequest { resource_metrics: resources };
        (request.encode_to_vec(), u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn subject<'s>(&self, sample: &'s T) -> Subject<'s, T> {
        let time = self.unix(self.metrics.measured_at(sample));
        let start = self
            .metrics
            .counters_since(sample)
            .zip(self.booted)
            .and_then(|(since, booted)| u64::try_from(booted.saturating_add(since.as_nanos().into())).ok());
        let attribute = |(label, value): (&str, &str)| -> KeyValue {
            match (&*attribute_name(self.metrics.prefix(), label), value.parse()) {
                (name @ "process.pid", Ok(pid)) => attribute(name, Value::IntValue(pid)),
                (name, _) => text(name, value),
            }
        };
        let attributes = self.metrics.labels(sample).iter().map(attribute).collect();
        // 0 is an unknown start; one after the point is none.
        Subject { sample, attributes, time, start: start.filter(|start| *start <= time).unwrap_or(0) }
    }

    /// The wall clock at this time; that of the snapshot where it is unknown.
    fn unix(&self, at: Option<Monotonic>) -> u64 {
        let (unix, now) = self.time;
        let Some(at) = at.filter(|_| now != Monotonic::default()) else { return unix };
        let moved = i128::from(at.as_nanos()).saturating_sub(now.as_nanos().into());
        u64::try_from(i128::from(unix).saturating_add(moved)).unwrap_or(unix)
    }
}

fn points<T>(family: &Family<T>, subjects: &[Subject<'_, T>]) -> Vec<NumberDataPoint> {
    let mut points = Vec::new();
    for field in &family.fields {
        let own = field.metric_attributes().iter().map(|(name, value)| text(name, value));
        let own: Vec<KeyValue> = own.collect();
        for subject in subjects {
            let Some(number) = field.value(subject.sample) else { continue };
            points.push(NumberDataPoint {
                attributes: subject.attributes.iter().chain(&own).cloned().collect(),
                start_time_unix_nano: if family.kind == FieldKind::Counter { subject.start } else { 0 },
                time_unix_nano: subject.time,
                value: Some(value(field.unit(), number)),
                ..NumberDataPoint::default()
            });
        }
    }
    points
}

fn metric<T>(family: &Family<T>, data_points: Vec<NumberDataPoint>) -> Metric {
    let unit = family.unit();
    let is_monotonic = family.kind == FieldKind::Counter;
    let data = if is_monotonic || is_additive(unit) {
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
    } else {
        Data::Gauge(Gauge { data_points })
    };
    let (name, description) = (family.name.clone(), family.help.clone());
    Metric { name, description, unit: base_ucum(unit), data: Some(data), ..Metric::default() }
}

fn value(unit: Unit, number: Number) -> number_data_point::Value {
    let float = |number: Number| number_data_point::Value::AsDouble(scaled(unit, number.to_f64()));
    match number {
        // Seconds have a fraction.
        _ if unit == Unit::Nanoseconds => float(number),
        Number::Unsigned(whole) => i64::try_from(whole).map_or_else(|_| float(number), number_data_point::Value::AsInt),
        Number::Signed(whole) => number_data_point::Value::AsInt(whole),
        Number::Float(_) => float(number),
    }
}
