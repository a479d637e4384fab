//! The machine on a directory that looks like /proc, its rates, its wire form, and shares of a recording.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use appmon::machine::{CpuDenominators, MachineRates, MachineSample, ShareOf, share_of};
use appmon::measured::FieldTable;
use appmon::{Cancel, Machine, Rated, Reading, Snapshot, SnapshotStreamExt, Source, SourceExt};
use futures::executor::block_on;
use futures::{StreamExt, stream};
use serde_json::json;

const PRESSURE: &str =
    "some avg10=1.50 avg60=0.25 avg300=0.05 total=4022\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=17\n";

fn write(root: &Path, name: &str, text: &str) {
    let file = root.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

fn stat(busy: u64, idle: u64) -> String {
    format!("cpu  {busy} 0 0 {idle} 7 0 0 3 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\ncpu1 1 0 0 1 0 0 0 0 0 0\nintr 1 2 3\n")
}

fn fill(root: &Path) {
    write(root, "stat", &stat(100, 1000));
    let meminfo = "MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n";
    write(root, "meminfo", meminfo);
    write(root, "loadavg", "0.50 0.25 0.12 1/114 1931\n");
    write(root, "uptime", "100.25 50.00\n");
    for name in ["cpu", "memory", "io"] {
        write(root, &format!("pressure/{name}"), PRESSURE);
    }
    write(root, "self/cgroup", "4:memory:/a\n0::/appmon-no-such-group\n");
}

fn read(source: &mut Machine) -> Snapshot<MachineSample> {
    source.read(&Cancel::new()).unwrap()
}

/// A machine with every field that a fake /proc can give it.
fn full() -> Snapshot<MachineSample> {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let mut snapshot = read(&mut Machine::new().root(root.path()));
    let sample = &mut snapshot.samples[0];
    (sample.at, sample.cpus.affinity) = (appmon::time::Monotonic::from_nanos(7), Reading::Value(2));
    let limits = json!({
        "read_at": 6,
        "control_group": "/a/b",
        "cpu_max": { "value": { "quota_ns": 150_000_000, "period_ns": 100_000_000 }, "path": "/a" },
        "memory_max_bytes": { "value": 1_048_576, "path": "/a/b" },
        "cpuset_cpus": { "unavailable": "unsupported" },
    });
    sample.limits = serde_json::from_value(limits).unwrap();
    snapshot
}

#[test]
fn each_file_is_read_by_itself() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let mut source = Machine::new().root(root.path());
    let snapshot = read(&mut source);
    let machine = &snapshot.samples[0];
    assert_eq!((machine.cpus.online, machine.uptime_ns), (Reading::Value(2), Reading::Value(100_250_000_000)));
    let cpu = machine.cpu.value().unwrap();
    assert_eq!(
        (cpu.user_ns, cpu.idle_ns, cpu.iowait_ns, cpu.steal_ns),
        (1_000_000_000, 10_000_000_000, 70_000_000, 30_000_000)
    );
    let memory = machine.memory.value().unwrap();
    assert_eq!((memory.total_bytes, memory.available_bytes, memory.swap_total_bytes), (2 << 20, 1 << 20, 0));
    assert_eq!(machine.load.value().unwrap().avg1, 0.5);
    assert_eq!(machine.pressure.io.value().unwrap().some.unwrap().total_ns, 4_022_000);
    assert_eq!(machine.limits.control_group.value().unwrap(), &"/appmon-no-such-group");
    assert_eq!(snapshot.skipped.fields, 0);
    // An older kernel, and files that are not understood: the rest is there all the same.
    std::fs::remove_dir_all(root.path().join("pressure")).unwrap();
    write(root.path(), "meminfo", "MemTotal: 2048 kB\n");
    let snapshot = read(&mut Machine::new().root(root.path()));
    let machine = &snapshot.samples[0];
    assert_eq!((&machine.pressure.cpu, &machine.memory), (&Reading::Unsupported, &Reading::Failed));
    assert!(machine.cpu.value().is_some());
    assert_eq!(snapshot.skipped.fields, 1, "what is there and cannot be read");
    assert!(Machine::new().root("/no/such/proc").read(&Cancel::new()).unwrap_err().is_not_found());
    let cancelled = Cancel::new();
    cancelled.cancel();
    assert!(source.collect(&mut Snapshot::default(), &cancelled).unwrap_err().is_cancelled());
}

#[test]
fn rates_over_its_own_time() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    let mut source = Machine::new().root(root.path());
    let mut tick = |busy, idle, second: u64| {
        write(root.path(), "stat", &stat(busy, idle));
        let mut snapshot = read(&mut source);
        snapshot.samples[0].at = appmon::time::Monotonic::from_nanos(second * 1_000_000_000);
        Ok(snapshot)
    };
    // 2 s of 1.5 CPUs; then the idle time goes backwards.
    let ticks = [tick(100, 1_000, 1), tick(400, 1_100, 3), tick(500, 1_050, 4)];
    let rated: Vec<_> = block_on(stream::iter(ticks).rates().collect::<Vec<_>>());
    let rates = |nth: usize| rated[nth].as_ref().unwrap().samples[0].rates;
    assert_eq!(rates(0), None);
    let first = *rates(1).unwrap().cpu.value().unwrap();
    assert_eq!((first.busy_cores, first.idle_cores, first.steal_cores), (Some(1.5), Some(0.5), Some(0.0)));
    assert_eq!(rates(1).unwrap().pressure.memory.value().unwrap().some, Some(0.0));
    let second = *rates(2).unwrap().cpu.value().unwrap();
    assert_eq!((second.busy_cores, second.idle_cores), (Some(1.0), None), "no figure of the others is lost by that");
    let machine = &rated[1].as_ref().unwrap().samples[0];
    assert_eq!(share_of(machine, ShareOf::Machine, &CpuDenominators::of_machine(machine)), Some(0.75));
}

#[test]
fn the_wire_form() {
    let snapshot = full();
    let sample = &snapshot.samples[0];
    insta::assert_json_snapshot!("machine", sample);
    assert_eq!(&serde_json::from_value::<MachineSample>(json!(sample)).unwrap(), sample);
    let mut rated: Rated<MachineSample> = serde_json::from_value(json!(sample)).unwrap();
    rated.rates = Some(MachineRates::default());
    assert_eq!(serde_json::from_value::<Rated<MachineSample>>(json!(rated)).unwrap(), rated);
}

#[test]
fn each_number_by_name() {
    let snapshot = full();
    let wire = json!(snapshot.samples[0]);
    let table = FieldTable::<MachineSample>::new();
    let mut metrics = std::collections::BTreeSet::new();
    for field in &table {
        assert!(metrics.insert((field.metric_name().to_owned(), field.metric_attributes())), "{} twice", field.path());
        let value = field.value(&snapshot.samples[0]).map(|number| number.to_f64());
        let path = format!("/{}", field.path().replace('.', "/"));
        let there = match field.path() {
            "limits.cpu_max.cores" => Some(1.5),
            "limits.memory_max_bytes" => Some(1_048_576.0),
            "limits.cpuset_cpus" => None,
            _ => wire.pointer(&path).unwrap_or_else(|| panic!("{path}")).as_f64(),
        };
        assert_eq!(value, there, "{path}");
    }
    let unread = MachineSample::default();
    assert!(table.iter().all(|field| field.value(&unread).is_none()), "0 is not known");
    assert!(FieldTable::<Rated<MachineSample>>::new().find("cpu.busy_cores").is_ok());
}

#[test]
fn a_recording_gives_the_same_shares() {
    let snapshot = full();
    let text = serde_json::to_string(&snapshot).unwrap();
    let read: Snapshot<MachineSample> = serde_json::from_str(&text).unwrap();
    let [live, recorded] = [&snapshot, &read].map(|snapshot| CpuDenominators::of_reader(&snapshot.samples[0]));
    assert_eq!(live, recorded);
    let cores = [ShareOf::Quota, ShareOf::Affinity, ShareOf::Machine, ShareOf::Core].map(|of| recorded.cores(of));
    assert_eq!(cores, [Some(1.5), Some(2.0), Some(2.0), Some(1.0)]);
    assert_eq!(recorded.quota.unwrap().path, "/a", "whose quota it is");
}

#[test]
fn what_does_not_change_is_not_read_again() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path());
    for (age, expected) in [(Duration::MAX, "/appmon-no-such-group"), (Duration::ZERO, "/appmon-moved")] {
        write(root.path(), "self/cgroup", "0::/appmon-no-such-group\n");
        let mut source = Machine::new().root(root.path()).max_age(age);
        read(&mut source);
        write(root.path(), "self/cgroup", "0::/appmon-moved\n");
        let limits = read(&mut source).samples.remove(0).limits;
        assert_eq!(limits.control_group.value().unwrap(), &expected);
    }
}
