//! The page for Prometheus: names, units, labels, what is gone, and the bound on series.

use std::collections::BTreeMap;

use appmon::export::{Naming, Prometheus};
use appmon::measured::{FieldTable, Labels, Measured, Unit};
use appmon::stream::{GroupKey, GroupSample, Latest};
use appmon::time::Monotonic;
use appmon::{ProcessSample, Result, Sample, Snapshot, SnapshotStreamExt, Text};
use common::full::full_sample;
use futures::executor::block_on;
use futures::{StreamExt, stream};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use proptest::collection::vec;
use proptest::prelude::*;

/// A handle whose stream goes on for as long as the second part lives.
fn observed<T: Clone + Send + 'static>(snapshots: Vec<Snapshot<T>>) -> (Latest<T>, impl FnMut()) {
    let mut stream = stream::iter(snapshots.into_iter().map(Ok::<_, appmon::Error>)).chain(stream::pending()).observe();
    let latest = stream.latest();
    (latest, move || {
        let _: Result<_> = block_on(stream.next()).unwrap();
    })
}

fn page(collector: impl Collector) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    encoded(&registry)
}

fn encoded(registry: &Registry) -> String {
    let mut page = String::new();
    text::encode(&mut page, registry).unwrap();
    page
}

/// The series of a page.
fn series(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn a_process() {
    let mut process: ProcessSample = full_sample();
    process.cpu.total_ns = 1_500_000_000;
    process.cpu.user_ns = 1_250_000_000;
    process.memory.rss_bytes = 4096;
    let (pid, name) = (process.id.pid, process.info.name.to_string_lossy().into_owned());
    let (latest, mut tick) = observed(vec![[process].into_iter().collect()]);
    assert_eq!(page(latest.clone()), "# EOF\n", "nothing yet");
    tick();
    let page = page(latest);
    let seen = series(&page);
    let labels = format!("pid=\"{pid}\",name=\"{name}\"");
    assert_eq!(seen[&format!("process_cpu_seconds_total{{{labels}}}")], 1.5);
    assert_eq!(seen[&format!("process_cpu_time_seconds_total{{{labels},cpu_mode=\"user\"}}")], 1.25);
    assert_eq!(seen[&format!("process_memory_usage_bytes{{{labels}}}")], 4096.0);
    assert!(page.contains("# TYPE process_cpu_time_seconds counter\n"), "{page}");
    assert!(page.contains("# UNIT process_memory_usage_bytes bytes\n"), "{page}");
    assert!(!page.contains("rates"), "{page}");
}

fn group(name: &str, user_ns: u64) -> GroupSample<Text> {
    let mut group = GroupSample::new(GroupKey::Key(name.into()), Monotonic::from_nanos(0));
    group.by = Some("service".into());
    (group.alive, group.threads) = (2, 3);
    (group.cpu.total_ns, group.cpu.user_ns, group.cpu.system_ns) = (user_ns + 500_000_000, user_ns, 500_000_000);
    (group.memory.rss_bytes, group.memory.virtual_bytes) = (4096, 8192);
    (group.faults.minor, group.faults.major) = (4, 5);
    (group.io.read_bytes, group.io.write_bytes) = (Some(6), Some(7));
    group
}

#[test]
fn a_group() {
    let (latest, mut tick) = observed(vec![[group("nginx", 1_000_000_000)].into_iter().collect()]);
    tick();
    let seen = series(&page(latest));
    assert_eq!(seen["process_group_cpu_seconds_total{service=\"nginx\"}"], 1.5);
    assert_eq!(seen["process_group_process_count{service=\"nginx\"}"], 2.0);
}

#[test]
fn a_group_by_the_names_of_process_exporter() {
    let groups = ["a", "b", "c"].map(|name| group(name, 1_000_000_000));
    let (latest, mut tick) = observed(vec![groups.into_iter().collect()]);
    tick();
    let page = page(Prometheus::new(latest).rates(true).max_subjects(1).naming(Naming::ProcessExporter));
    let of_one = [
        ("num_procs", "", 2.0),
        ("cpu_seconds_total", ",mode=\"user\"", 1.0),
        ("cpu_seconds_total", ",mode=\"system\"", 0.5),
        ("read_bytes_total", "", 6.0),
        ("write_bytes_total", "", 7.0),
        ("major_page_faults_total", "", 5.0),
        ("minor_page_faults_total", "", 4.0),
        ("memory_bytes", ",memtype=\"resident\"", 4096.0),
        ("memory_bytes", ",memtype=\"virtual\"", 8192.0),
        ("num_threads", "", 3.0),
    ];
    let expected = of_one.iter().flat_map(|(name, labels, value)| {
        let name = |group: &str| format!("namedprocess_namegroup_{name}{{groupname=\"{group}\"{labels}}}");
        [(name("a"), *value), (name("other"), *value * 2.0)]
    });
    assert_eq!(series(&page), expected.collect(), "{page}");
    assert!(page.contains("# TYPE namedprocess_namegroup_cpu_seconds counter\n"), "{page}");
}

#[test]
fn what_is_no_group_has_its_own_names() {
    let (latest, mut tick) = observed(vec![meters(&[(1, 5, 50)])]);
    tick();
    let own = series(&page(latest.clone()));
    assert_eq!(series(&page(Prometheus::new(latest).naming(Naming::ProcessExporter))), own);
    assert_eq!(own["meter_count_bytes_total{meter=\"1\"}"], 5.0);
}

/// A thing that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Meter {
    key: u32,
    count: u64,
    level: u64,
}

impl Sample for Meter {
    const KIND: &'static str = "meter";
    type Key = u32;

    fn key(&self) -> u32 {
        self.key
    }
}

impl Measured for Meter {
    const PREFIX: &'static str = "meter";

    fn measure(table: &mut FieldTable<Self>) {
        table.counter("count", Unit::Bytes, "Counted", |meter| Some(meter.count));
        table.gauge("level", Unit::Bytes, "Level", |meter| Some(meter.level));
        table.gauge("share", Unit::Fraction, "Share", |_| Some(0.5));
    }

    fn labels(&self) -> Labels {
        Labels::default().with("meter", self.key)
    }
}

fn meters(meters: &[(u32, u64, u64)]) -> Snapshot<Meter> {
    meters.iter().map(|&(key, count, level)| Meter { key, count, level }).collect()
}

#[test]
fn what_is_gone_is_absent() {
    let (latest, mut tick) = observed(vec![meters(&[(1, 5, 5), (2, 6, 6)]), meters(&[(2, 7, 7)]), meters(&[])]);
    tick();
    assert!(page(latest.clone()).contains("meter=\"1\""));
    tick();
    assert!(!page(latest.clone()).contains("meter=\"1\""));
    tick();
    assert_eq!(page(latest), "# EOF\n");
}

#[test]
fn the_others_are_one_and_their_sums_hold() {
    let ticks = [
        meters(&[(1, 5, 50), (2, 6, 60), (3, 7, 70), (4, 8, 80)]),
        meters(&[(1, 5, 50), (3, 10, 71), (4, 9, 81)]),
        meters(&[(1, 5, 50), (4, 9, 82), (5, 1, 1)]),
        meters(&[(1, 5, 50), (5, 2, 1)]),
    ];
    let (latest, mut tick) = observed(ticks.into());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Prometheus::new(latest).max_subjects(2)));
    let mut next = || {
        tick();
        let seen = series(&encoded(&registry));
        let of = |what: &str, meter: &str| seen.get(&format!("meter_{what}{{meter=\"{meter}\"}}")).copied();
        assert_eq!(of("share_ratio", "other"), None, "shares have no sum");
        ["1", "2", "3", "4", "5", "other"].map(|meter| (of("count_bytes_total", meter), of("level_bytes", meter)))
    };
    let own = |count: f64, level: f64| (Some(count), Some(level));
    let none = (None, None);
    assert_eq!(next(), [own(5.0, 50.0), own(6.0, 60.0), none, none, none, own(15.0, 150.0)]);
    assert_eq!(next(), [own(5.0, 50.0), none, none, none, none, own(19.0, 152.0)], "no total moves out of the others");
    assert_eq!(
        next(),
        [own(5.0, 50.0), none, none, none, own(1.0, 1.0), own(19.0, 82.0)],
        "a new one takes the free place"
    );
    assert_eq!(next(), [own(5.0, 50.0), none, none, none, own(2.0, 1.0), (Some(19.0), None)], "totals stay");
}

#[test]
fn another_host_is_a_label() {
    let mut snapshot = meters(&[(1, 5, 5)]);
    snapshot.host = Some("db-1".into());
    let (latest, mut tick) = observed(vec![snapshot]);
    tick();
    assert!(page(latest).contains("meter_count_bytes_total{meter=\"1\",host=\"db-1\"} 5"));
}

#[test]
fn no_label_occurs_twice() {
    for (by, own) in [("host", "exported_host"), ("cpu.mode", "exported_cpu_mode"), ("service", "service")] {
        let mut group = group("a", 1_000_000_000);
        group.by = Some(by.into());
        let mut snapshot: Snapshot<_> = [group].into_iter().collect();
        snapshot.host = Some("db-1".into());
        let (latest, mut tick) = observed(vec![snapshot]);
        tick();
        let seen = series(&page(Prometheus::new(latest).max_subjects(1)));
        let labels = format!("{own}=\"a\",host=\"db-1\"");
        assert_eq!(seen[&format!("process_group_cpu_seconds_total{{{labels}}}")], 1.5, "{seen:?}");
        assert_eq!(seen[&format!("process_group_cpu_time_seconds_total{{{labels},cpu_mode=\"user\"}}")], 1.0);
        for name in seen.keys() {
            let names = name.split(['{', ',']).skip(1).filter_map(|label| label.split_once('='));
            let mut names: Vec<_> = names.map(|(name, _)| name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{name}");
        }
    }
}

proptest! {
    /// Whatever comes and goes: no total ever falls, and all totals together are what was counted.
    #[test]
    fn totals_never_fall(ticks in vec(vec((0..6_u32, 0..9_u64), 0..6), 1..12), most in 0..4_usize) {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        let mut counted = 0;
        let mut snapshots = Vec::new();
        let mut expected = Vec::new();
        // A key that was gone is never used again: a process is never taken for another.
        let mut next_life: BTreeMap<u32, u32> = BTreeMap::new();
        let mut before: Vec<u32> = Vec::new();
        for tick in &ticks {
            let here: BTreeMap<u32, u64> = tick.iter().copied().collect();
            for gone in before.iter().filter(|key| !here.contains_key(key)) {
                *next_life.entry(*gone).or_default() += 1;
            }
            before = here.keys().copied().collect();
            let samples = here.iter().map(|(key, grown)| {
                let key = next_life.get(key).copied().unwrap_or_default() * 10 + key;
                let count = counts.entry(key).or_default();
                *count += grown;
                counted += grown;
                (key, *count, 0)
            });
            snapshots.push(meters(&samples.collect::<Vec<_>>()));
            expected.push(counted);
        }
        let (latest, mut tick) = observed(snapshots);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Prometheus::new(latest).max_subjects(most)));
        let mut seen: BTreeMap<String, f64> = BTreeMap::new();
        for expected in expected {
            tick();
            for (name, value) in series(&encoded(&registry)).into_iter().filter(|(name, _)| name.contains("_total")) {
                let before = seen.insert(name.clone(), value).unwrap_or_default();
                prop_assert!(value >= before, "{name} fell from {before} to {value}");
            }
            prop_assert_eq!(seen.values().sum::<f64>(), expected as f64);
        }
    }
}
