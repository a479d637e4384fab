//! The field tables: each path is that of a number in the wire form, and no number has two names.

use std::collections::BTreeSet;

use appmon::cgroup::ControlGroupSample;
use appmon::measured::{FieldTable, Measured};
use appmon::own::OwnSample;
use appmon::stream::{Alert, GroupKey, GroupSample};
use appmon::time::Monotonic;
use appmon::{FileSystemSample, ProcessSample, Rated, Text};
use serde_json::{Value, json};

use common::full::full_sample;

/// Checks each field of the table against the wire form of a sample in which all is there.
#[track_caller]
fn check<T: Measured + serde::Serialize>(sample: &T, derived: &[&str]) {
    let wire = serde_json::to_value(sample).unwrap();
    let table = FieldTable::<T>::new();
    assert!(!table.is_empty());
    let mut names = BTreeSet::new();
    for field in &table {
        assert!(names.insert(field.path().to_owned()), "{} twice", field.path());
        assert!(field.alias().is_none_or(|alias| names.insert(alias.to_owned())), "{:?} twice", field.alias());
        assert!(!field.help().is_empty() && !field.help().ends_with('.'), "{}", field.path());
        if derived.contains(&field.path()) {
            continue;
        }
        let pointer = format!("/{}", field.path().replace('.', "/"));
        let written = wire.pointer(&pointer).unwrap_or(&Value::Null);
        let written = match written {
            Value::Bool(is) => json!(u32::from(*is)),
            other => other.clone(),
        };
        let number = field.value(sample).unwrap_or_else(|| panic!("{} has no value", field.path())).to_f64();
        assert_eq!(written.as_f64(), Some(number), "{} is {written} in {wire}", field.path());
    }
    let metrics: BTreeSet<_> = table.iter().map(|field| (field.metric_name(), field.metric_attributes())).collect();
    let without_rates = table.iter().filter(|field| !field.path().starts_with("rates.")).count();
    let own: BTreeSet<_> = table
        .iter()
        .filter(|field| !field.path().starts_with("rates."))
        .map(|field| (field.metric_name(), field.metric_attributes()))
        .collect();
    assert_eq!(own.len(), without_rates, "each has a metric of its own: {metrics:?}");
}

#[test]
fn processes() {
    check(&full_sample(), &[]);
    let table = FieldTable::<Rated<ProcessSample>>::new();
    assert_eq!(table.find("cpu.cores").unwrap().path(), "rates.cpu.cores");
    assert_eq!(table.find("rates.faults.minor").unwrap().alias(), None, "a counter is called that");
    assert!(full_sample().labels().get("pid").is_some());
}

#[test]
fn file_systems() {
    let fs: FileSystemSample = serde_json::from_value(json!({
        "name": "/", "mount_point": "/", "device": "/dev/vda", "device_id": {"major": 254, "minor": 0}, "fs_type": "ext4",
        "total_bytes": 100, "used_bytes": 60, "free_bytes": 30, "reserved_bytes": 10,
        "inodes": {"total": 9, "used": 4, "free": 5}, "read_only": true, "parts": [], "at": 7,
    }))
    .unwrap();
    check(&fs, &["used_fraction", "stalled"]);
    assert_eq!(
        FieldTable::<FileSystemSample>::new().find("used_fraction").unwrap().value(&fs).unwrap().to_f64(),
        2.0 / 3.0
    );
    let table = FieldTable::<FileSystemSample>::new();
    let unanswered = FileSystemSample::default();
    assert_eq!(table.find("used_bytes").unwrap().value(&unanswered), None, "0 is not known");
}

#[test]
fn groups() {
    let io = json!({
        "read_chars": 15, "write_chars": 16, "read_syscalls": 17, "write_syscalls": 18, "read_bytes": 19, "write_bytes": 20,
        "cancelled_write_bytes": 21,
    });
    let group: GroupSample<Text> = serde_json::from_value(json!({
        "key": "nginx", "by": "service", "alive": 1, "seen": 2, "exited": 3, "since": 4, "at": 5,
        "cpu": {"total_ns": 6, "user_ns": 7, "system_ns": 8}, "inferred": {"total_ns": 9, "user_ns": 10, "system_ns": 11},
        "unrecovered_ns": 12, "threads": 13, "memory": {"rss_bytes": 14, "virtual_bytes": 22},
        "faults": {"minor": 23, "major": 24}, "io": io, "io_unknown": 25,
    }))
    .unwrap();
    check(&group, &[]);
    assert_eq!(group.labels().to_string(), "service=nginx");
    let number = |number: u64| number as f64 + 0.5;
    let rates = json!({
        "cpu": {"cores": number(1), "user_cores": number(2), "system_cores": number(3)},
        "faults": {"minor": number(4), "major": number(5)},
        "io": {
            "read_bytes": number(6), "write_bytes": number(7), "read_chars": number(8), "write_chars": number(9),
            "read_syscalls": number(10), "write_syscalls": number(11), "cancelled_write_bytes": number(12),
        },
    });
    let mut wire = serde_json::to_value(&group).unwrap();
    wire["rates"] = rates;
    let rated: Rated<GroupSample<Text>> = serde_json::from_value(wire).unwrap();
    check(&rated, &[]);
    assert_eq!(FieldTable::<Rated<GroupSample<Text>>>::new().find("cpu.cores").unwrap().path(), "rates.cpu.cores");
    "cpu.cores > 2 for 10s".parse::<Alert<Rated<GroupSample<Text>>>>().unwrap();

    let others = GroupSample::<u32>::new(GroupKey::Other, Monotonic::from_nanos(0));
    assert_eq!(others.labels().to_string(), "group=other");
    let io = FieldTable::<GroupSample<u32>>::new();
    assert_eq!(io.find("io.read_bytes").unwrap().value(&others), None, "what none of it may be read is not 0");
}

#[test]
fn ones_own_process() {
    let mut wire = serde_json::to_value(full_sample()).unwrap();
    let worker =
        |busy: u64, parks: u64| json!({"total_busy_duration_ns": busy, "park_count": parks, "park_unpark_count": 0});
    wire["runtime"] = json!({
        "num_workers": 2, "num_alive_tasks": 3, "global_queue_depth": 4, "workers": [worker(5, 6), worker(7, 8)],
        "unstable": {
            "num_blocking_threads": 9, "num_idle_blocking_threads": 10, "blocking_queue_depth": 11, "spawned_tasks_count": 12,
            "remote_schedule_count": 13, "budget_forced_yield_count": 14, "poll_count": 15, "steal_count": 16,
        },
    });
    let own: OwnSample = serde_json::from_value(wire.clone()).unwrap();
    let sums = ["runtime.busy_ns", "runtime.park_count"];
    check(&own, &sums);
    let table = FieldTable::<OwnSample>::new();
    assert_eq!(sums.map(|sum| table.find(sum).unwrap().value(&own).unwrap().to_f64()), [12.0, 14.0]);
    assert_eq!(own.labels(), own.process.labels());
    let plain = OwnSample::default();
    assert_eq!(table.find("runtime.num_workers").unwrap().value(&plain), None, "no runtime was given");

    wire["rates"] = json!({
        "cpu": {"cores": 1.5, "user_cores": 2.5, "system_cores": 3.5}, "faults": {"minor": 4.5, "major": 5.5},
        "threads_by_name": [], "runtime": {"workers": [{"busy": 0.25, "parks": 3.0}, {"busy": 0.75, "parks": 4.0}]},
    });
    let rated: Rated<OwnSample> = serde_json::from_value(wire).unwrap();
    let table = FieldTable::<Rated<OwnSample>>::new();
    let value = |name: &str| table.find(name).unwrap().value(&rated).unwrap().to_f64();
    assert_eq!(
        ["cpu.cores", "rates.faults.minor", "runtime.busy", "rates.runtime.parks"].map(value),
        [1.5, 4.5, 0.5, 7.0]
    );
    "runtime.busy > 90% for 10s".parse::<Alert<Rated<OwnSample>>>().unwrap();
}

#[test]
fn control_groups() {
    let sample = common::full::full_control_group();
    check(&sample, &["limits.effective.cpu_cores"]);
    assert_eq!(sample.labels().to_string(), "cgroup=/system.slice/nginx.service");
    let table = FieldTable::<ControlGroupSample>::new();
    assert_eq!(table.find("limits.effective.cpu_cores").unwrap().value(&sample).unwrap().to_f64(), 1.5);
    let nothing = ControlGroupSample::default();
    assert!(table.iter().all(|field| field.value(&nothing).is_none()), "what is not known is not 0");
    let rated = common::full::rated_control_group();
    check(&rated, &["limits.effective.cpu_cores"]);
    let table = FieldTable::<Rated<ControlGroupSample>>::new();
    assert_eq!(table.find("cpu.cores").unwrap().path(), "rates.cpu.cores");
    for rule in ["cpu.cores > 2 for 10s", "pressure.memory.full.avg10 > 10%", "throttling.throttled_periods > 0.5"] {
        rule.parse::<Alert<Rated<ControlGroupSample>>>().unwrap();
    }
}
