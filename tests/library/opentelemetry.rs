//! Observable instruments, read by OpenTelemetry's SDK.

use std::collections::BTreeMap;

use appmon::time::Monotonic;
use appmon::{ProcessSample, Result, Snapshot, SnapshotStreamExt};
use common::full::full_sample;
use futures::executor::block_on;
use futures::{StreamExt, stream};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

fn process(pid: u32, start: Monotonic, user_ns: u64, rss_bytes: u64) -> ProcessSample {
    let mut process: ProcessSample = full_sample();
    (process.id.pid, process.id.start_ticks) = (pid, start.as_nanos() / 10_000_000);
    (process.cpu.user_ns, process.memory.rss_bytes) = (user_ns, rss_bytes);
    process
}

/// The values of the last collection, by name, pid and mode.
fn values(all: &[ResourceMetrics]) -> BTreeMap<(String, String), f64> {
    let mut values = BTreeMap::new();
    for metric in all.last().unwrap().scope_metrics().flat_map(|scope| scope.metrics()) {
        let AggregatedMetrics::F64(data) = metric.data() else { panic!("{metric:?}") };
        let mut add =
            |attributes: Vec<String>, value| values.insert((metric.name().to_owned(), attributes.join(",")), value);
        let texts = |attributes: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
            let mut texts: Vec<_> = attributes
                .filter(|pair| ["process.pid", "cpu.mode"].contains(&pair.key.as_str()))
                .map(|pair| pair.value.to_string())
                .collect();
            texts.sort();
            texts
        };
        match data {
            MetricData::Sum(sum) => {
                sum.data_points().for_each(|point| {
                    add(texts(&mut point.attributes()), point.value());
                });
            }
            MetricData::Gauge(gauge) => {
                gauge.data_points().for_each(|point| {
                    add(texts(&mut point.attributes()), point.value());
                });
            }
            other => panic!("{other:?}"),
        }
    }
    values
}

#[test]
fn instruments_follow_the_newest_snapshot() {
    let later = Monotonic::now().plus(std::time::Duration::from_secs(3600));
    let old = Monotonic::from_nanos(0);
    let second = 1_000_000_000;
    let ticks: Vec<Snapshot<ProcessSample>> = vec![
        [process(1, old, 50 * second, 10), process(2, old, 70 * second, 20)].into_iter().collect(),
        [process(1, old, 53 * second, 11), process(3, later, 2 * second, 30)].into_iter().collect(),
    ];
    let mut stream = stream::iter(ticks.into_iter().map(Ok::<_, appmon::Error>)).chain(stream::pending()).observe();
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    stream.latest().register(&provider.meter("appmon"));
    let mut collect = |tick: bool| {
        if tick {
            let _: Result<_> = block_on(stream.next()).unwrap();
        }
        exporter.reset();
        provider.force_flush().unwrap();
        exporter.get_finished_metrics().unwrap()
    };
    let empty = collect(false);
    assert!(empty.iter().all(|all| all.scope_metrics().all(|scope| scope.metrics().count() == 0)), "{empty:?}");
    let of = |name: &str, of: &str| (name.to_owned(), of.to_owned());
    let first = values(&collect(true));
    assert_eq!(first[&of("process.memory.usage", "1")], 10.0);
    assert_eq!(first[&of("process.memory.usage", "2")], 20.0);
    // What was used before the SDK began to count is no growth.
    assert_eq!(first[&of("process.cpu.time", "1,user")], 0.0);
    let second = values(&collect(true));
    assert_eq!(second[&of("process.memory.usage", "1")], 11.0);
    assert_eq!(second[&of("process.cpu.time", "1,user")], 3.0);
    assert_eq!(second[&of("process.cpu.time", "3,user")], 2.0, "it began later");
    assert!(!second.keys().any(|(_, of)| of == "2" || of.starts_with("2,")), "gone: {second:?}");
    provider.shutdown().unwrap();
}
