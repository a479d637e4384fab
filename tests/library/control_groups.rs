//! Control groups in directories that look like the kernel's: what the machine of the tests need not have.

#![allow(clippy::float_cmp, reason = "quotients of small integers are exact")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use appmon::cgroup::{ControlGroupEvent, ControlGroupEventKind, ControlGroupFields, ControlGroupSample, Runtime};
use appmon::process::Service;
use appmon::snapshot::Notice;
use appmon::{Cancel, ControlGroups, Rated, Reading, Result, Snapshot, SnapshotStreamExt, SourceExt};
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;

/// A directory that looks like the unified hierarchy.
struct Fake(tempfile::TempDir);

const CONTROLLERS: &str = "cpuset cpu io memory hugetlb pids rdma misc\n";

const CPU_STAT: &str = "usage_usec 2000\nuser_usec 1500\nsystem_usec 500\nnice_usec 0\ncore_sched.force_idle_usec 0\nnr_periods 12\n\
    nr_throttled 3\nthrottled_usec 40\nnr_bursts 2\nburst_usec 9\n";

const MEMORY_STAT: &str = "anon 36864\nfile 163840\nkernel 4096\nkernel_stack 0\npagetables 0\nsec_pagetables 0\npercpu 0\nsock 7\n\
    vmalloc 0\nshmem 8192\nfile_mapped 0\nfile_dirty 12\nfile_writeback 13\nswapcached 0\nanon_thp 0\ninactive_anon 36864\n\
    active_anon 0\ninactive_file 100000\nactive_file 63840\nunevictable 11\nslab_reclaimable 1\nslab_unreclaimable 2\nslab 3\n\
    workingset_refault_anon 20\nworkingset_refault_file 22\npgscan 0\npgsteal 0\npgfault 400\npgmajfault 5\n";

const PRESSURE: &str =
    "some avg10=1.50 avg60=0.25 avg300=0.05 total=4022\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=17\n";
const STILL: &str =
    "some avg10=0.00 avg60=0.00 avg300=0.00 total=4022\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=17\n";

/// The files of a group with all controllers, on a recent kernel.
const FULL: &[(&str, &str)] = &[
    ("cgroup.type", "domain\n"),
    ("cgroup.controllers", CONTROLLERS),
    ("cgroup.events", "populated 1\nfrozen 0\n"),
    ("cpu.stat", CPU_STAT),
    ("cpu.max", "150000 100000\n"),
    ("cpu.weight", "200\n"),
    ("cpu.idle", "0\n"),
    ("cpuset.cpus.effective", "0-1\n"),
    ("memory.current", "204800\n"),
    ("memory.peak", "409600\n"),
    ("memory.swap.current", "512\n"),
    ("memory.stat", MEMORY_STAT),
    ("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 0\n"),
    ("memory.events.local", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 2\noom_group_kill 0\n"),
    ("memory.max", "1048576\n"),
    ("memory.high", "max\n"),
    ("memory.swap.max", "0\n"),
    (
        "io.stat",
        "254:0 rbytes=8192 wbytes=4096 rios=2 wios=1 dbytes=10 dios=3\n8:0 \n7:3 rbytes=1 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n",
    ),
    ("pids.current", "17\n"),
    ("pids.peak", "30\n"),
    ("pids.max", "100\n"),
    ("pids.events", "max 6\n"),
    ("cpu.pressure", PRESSURE),
    ("memory.pressure", STILL),
    ("io.pressure", STILL),
    ("irq.pressure", "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"),
];

/// What the root of the hierarchy has.
const ROOT: &[(&str, &str)] = &[
    ("cgroup.controllers", CONTROLLERS),
    ("cgroup.procs", "1\n"),
    ("cpu.stat", "usage_usec 9000\nuser_usec 5000\nsystem_usec 4000\n"),
    ("memory.stat", MEMORY_STAT),
    ("cpu.pressure", STILL),
    ("memory.pressure", STILL),
    ("io.pressure", STILL),
    ("cpuset.cpus.effective", "0-3\n"),
];

impl Fake {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        fake.add("", ROOT);
        fake
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn add(&self, path: &str, files: &[(&str, &str)]) {
        std::fs::create_dir_all(self.at(path)).unwrap();
        for (name, text) in files {
            self.write(path, name, text);
        }
    }

    /// A group with few controllers: what every group has, and these files.
    fn plain(&self, path: &str, files: &[(&str, &str)]) {
        self.add(path, &[("cgroup.type", "domain\n"), ("cgroup.events", "populated 1\nfrozen 0\n")]);
        self.add(
            path,
            &[("cpu.stat", "usage_usec 10\nuser_usec 10\nsystem_usec 0\n"), ("cgroup.controllers", CONTROLLERS)],
        );
        self.add(path, files);
    }

    fn write(&self, path: &str, name: &str, text: &str) {
        std::fs::write(self.at(path).join(name), text).unwrap();
    }

    fn usage(&self, path: &str, usage_usec: u64) {
        self.write(path, "cpu.stat", &format!("usage_usec {usage_usec}\nuser_usec {usage_usec}\nsystem_usec 0\n"));
    }

    fn source(&self) -> ControlGroups {
        ControlGroups::new().root(self.0.path())
    }
}

type Tick = Snapshot<ControlGroupSample>;

fn read(source: &mut ControlGroups) -> Tick {
    source.read(&Cancel::new()).unwrap()
}

#[track_caller]
fn get<'a>(tick: &'a Tick, path: &str) -> &'a ControlGroupSample {
    tick.samples.iter().find(|group| group.path == path).unwrap_or_else(|| panic!("no {path} in {:?}", paths(tick)))
}

fn paths(tick: &Tick) -> Vec<String> {
    tick.samples.iter().map(|group| group.path.to_string()).collect()
}

fn usage_us(group: &ControlGroupSample) -> u64 {
    group.cpu.value().unwrap().usage_ns / 1000
}

#[test]
fn all_files_of_a_group() {
    let fake = Fake::new();
    fake.add("system.slice", FULL);
    fake.add("system.slice/nginx.service", FULL);
    let tick = read(&mut fake.source());
    assert_eq!(paths(&tick), ["/", "/system.slice", "/system.slice/nginx.service"]);
    assert_eq!(tick.skipped, appmon::snapshot::Skipped::default());
    assert!(tick.complete_at.is_some());
    let group = get(&tick, "/system.slice/nginx.service");
    assert_eq!(group.service(), Some(Service::Unit("nginx.service".into())));
    assert_eq!((&group.info.slice, group.info.controllers.len()), (&Some("system.slice".into()), 8));
    assert_eq!((group.populated, group.frozen), (Reading::Value(true), Reading::Value(false)));
    let cpu = group.cpu.value().unwrap();
    assert_eq!((cpu.usage_ns, cpu.user_ns, cpu.system_ns), (2_000_000, 1_500_000, 500_000));
    let throttling = cpu.throttling.value().unwrap();
    assert_eq!((throttling.periods, throttling.throttled_periods, throttling.throttled_ns), (12, 3, 40_000));
    assert_eq!((throttling.bursts, throttling.burst_ns), (2, 9_000));
    let memory = group.memory.value().unwrap();
    assert_eq!(
        (memory.current_bytes, memory.peak_bytes, memory.swap_bytes),
        (204_800, Reading::Value(409_600), Reading::Value(512))
    );
    assert_eq!(memory.working_set_bytes(), Some(104_800));
    let stat = memory.stat.value().unwrap();
    assert_eq!((stat.anon_bytes, stat.slab_bytes, stat.refaults), (Some(36_864), Some(3), Some(42)));
    let events = memory.events.value().unwrap();
    assert_eq!((events.low, events.high, events.max, events.oom, events.oom_kill), (1, 2, 3, 4, 5));
    let io = group.io.value().unwrap();
    assert_eq!((io.total.read_bytes, io.total.write_bytes, io.total.reads, io.devices.len()), (8193, 4096, 3, 2));
    assert_eq!((io.devices[0].device.major, io.devices[1].counts.discards), (7, 3));
    let pids = group.pids.value().unwrap();
    assert_eq!((pids.current, pids.peak, pids.refused_forks), (17, Reading::Value(30), Reading::Value(6)));
    let pressure = group.pressure.value().unwrap();
    assert_eq!(pressure.cpu.value().unwrap().some.unwrap().total_ns, 4_022_000);
    assert_eq!(pressure.irq.value().unwrap().full.unwrap().total_ns, 1_000);
    let limits = group.limits.value().unwrap();
    assert_eq!(limits.cpu_max.value().unwrap().cores(), Some(1.5));
    assert_eq!((limits.cpu_weight, limits.memory_max_bytes), (Reading::Value(200), Reading::Value(Some(1 << 20))));
    assert_eq!((limits.memory_high_bytes, limits.pids_max), (Reading::Value(None), Reading::Value(Some(100))));
    assert_eq!(limits.cpuset.value().unwrap().count, 2);

    let root = get(&tick, "/");
    assert_eq!(usage_us(root), 9000);
    assert_eq!(
        (root.populated, &root.memory, &root.io),
        (Reading::NotApplicable, &Reading::NotApplicable, &Reading::NotApplicable)
    );
    assert_eq!(root.limits.value().unwrap().cpuset.value().unwrap().count, 4);
}

#[test]
fn only_what_was_asked_for_is_there() {
    let fake = Fake::new();
    fake.add("a", FULL);
    let fields = ControlGroupFields::CPU | ControlGroupFields::MEMORY;
    let tick = read(&mut fake.source().fields(fields));
    let group = get(&tick, "/a");
    assert!(group.cpu.value().is_some());
    assert!(group.memory.value().unwrap().stat.is_not_requested());
    assert!(group.io.is_not_requested() && group.pids.is_not_requested());
    assert!(group.pressure.is_not_requested() && group.limits.is_not_requested());
}

#[test]
fn controllers_that_are_off_and_kernels_that_are_older() {
    let fake = Fake::new();
    fake.plain("off", &[("cgroup.controllers", "pids\n"), ("pids.current", "1\n"), ("pids.max", "max\n")]);
    // Linux 4.20 with memory: no memory.peak, no pids.peak.
    fake.plain("older", &[("memory.current", "5\n"), ("pids.current", "3\n"), ("cgroup.events", "populated 0\n")]);
    fake.plain(
        "odd",
        &[("memory.current", "five\n"), ("io.stat", "x\n"), ("cpu.pressure", "none\n"), ("cpu.stat", "x 1\n")],
    );
    let tick = read(&mut fake.source());
    let off = get(&tick, "/off");
    assert_eq!((&off.memory, &off.io), (&Reading::NotApplicable, &Reading::NotApplicable));
    assert_eq!(off.cpu.value().unwrap().throttling, Reading::NotApplicable);
    assert_eq!(off.pids.value().map(|pids| pids.current), Some(1));
    assert_eq!(off.limits.value().unwrap().cpu_max, Reading::NotApplicable);
    assert_eq!(off.pressure.value().unwrap().cpu, Reading::Unsupported, "this kernel has no pressure");
    let older = get(&tick, "/older");
    let memory = older.memory.value().unwrap();
    assert_eq!(
        (memory.current_bytes, memory.peak_bytes, memory.events),
        (5, Reading::Unsupported, Reading::Unsupported)
    );
    assert_eq!(older.pids.value().unwrap().peak, Reading::Unsupported);
    assert_eq!((older.populated, older.frozen), (Reading::Value(false), Reading::Unsupported));
    let odd = get(&tick, "/odd");
    assert_eq!((odd.cpu, &odd.memory, &odd.io), (Reading::Failed, &Reading::Failed, &Reading::Failed));
    assert_eq!(odd.pressure.value().unwrap().cpu, Reading::Failed);
    assert_eq!(tick.skipped.fields, 3);
}

#[test]
fn the_limit_that_holds_is_the_smallest_of_all_above() {
    let fake = Fake::new();
    let limits = |cpu: &'static str, memory: &'static str, pids: &'static str| {
        [
            ("cpu.max", cpu),
            ("memory.max", memory),
            ("memory.high", "max\n"),
            ("pids.max", pids),
            ("memory.swap.max", "max\n"),
        ]
    };
    fake.plain("a", &limits("200000 100000\n", "1000\n", "max\n"));
    fake.plain("a/b", &limits("100000 100000\n", "5000\n", "10\n"));
    fake.plain("a/b/c", &limits("max 100000\n", "3000\n", "20\n"));
    fake.plain("a/x", &limits("max 100000\n", "max\n", "max\n"));
    fake.write("a/b", "cpuset.cpus.effective", "1\n");
    fake.write("a/b/c", "cpuset.cpus.effective", "1\n");
    // Only the innermost are reported, and the limits above hold all the same.
    let mut source = fake.source().depth(3..=3);
    let tick = read(&mut source);
    assert_eq!(paths(&tick), ["/a/b/c"]);
    let check = |tick: &Tick, cores: f64, whose: &str| {
        let effective = &get(tick, "/a/b/c").limits.value().unwrap().effective;
        let cpu = effective.cpu_max.as_ref().unwrap();
        assert_eq!((cpu.value.cores().unwrap(), cpu.path.to_string()), (cores, whose.to_owned()));
        assert!(effective.complete);
        effective.clone()
    };
    let effective = check(&tick, 1.0, "/a/b");
    let bytes = effective.memory_max_bytes.unwrap();
    assert_eq!((bytes.value, bytes.path.to_string()), (1000, "/a".to_owned()));
    let pids = effective.pids_max.unwrap();
    assert_eq!((pids.value, pids.path.to_string()), (10, "/a/b".to_owned()));
    assert_eq!((effective.memory_high_bytes, effective.memory_swap_max_bytes), (None, None));
    let cpus = effective.cpuset.unwrap();
    assert_eq!((cpus.value.count, cpus.path.to_string()), (1, "/a/b".to_owned()), "it has what its parent has");

    // A write is seen, wherever it is.
    fake.write("a", "cpu.max", "50000 100000\n");
    check(&read(&mut source), 0.5, "/a");
    fake.write("a/b/c", "cpu.max", "1000 100000\n");
    check(&read(&mut source), 0.01, "/a/b/c");
    // Without watches, within the age.
    let mut source = fake.source().depth(3..=3).max_watches(0).max_age(Duration::ZERO);
    check(&read(&mut source), 0.01, "/a/b/c");
    fake.write("a/b/c", "cpu.max", "max 100000\n");
    check(&read(&mut source), 0.5, "/a");
    let x = read(&mut fake.source().include_paths(["/a/x"]).unwrap());
    let effective = &get(&x, "/a/x").limits.value().unwrap().effective;
    assert_eq!((&effective.pids_max, effective.cpuset.as_ref().unwrap().value.count), (&None, 4));
}

#[test]
fn below_a_part_of_the_hierarchy_the_limits_above_are_not_known() {
    let fake = Fake::new();
    // As in a container: what is mounted is a group like others.
    fake.add("", FULL);
    let tick = read(&mut fake.source());
    let limits = get(&tick, "/").limits.value().unwrap().clone();
    assert!(!limits.effective.complete);
    assert_eq!(limits.effective.memory_max_bytes.as_ref().unwrap().value, 1 << 20);
    assert_eq!(get(&tick, "/").populated, Reading::Value(true));
}

#[test]
fn a_tree_of_kubernetes() {
    let fake = Fake::new();
    let id = |digit: &str| digit.repeat(64);
    let pod =
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8dbc0c24_1bd4_4c49_a8ef_66c1d5e4ba6f.slice";
    let container = format!("{pod}/cri-containerd-{}.scope", id("a"));
    let crio = format!("kubepods.slice/kubepods-pod1c2d3e4f_0000_4c49_a8ef_66c1d5e4ba6f.slice/crio-{}.scope", id("b"));
    let conmon =
        format!("kubepods.slice/kubepods-pod1c2d3e4f_0000_4c49_a8ef_66c1d5e4ba6f.slice/crio-conmon-{}.scope", id("b"));
    for path in [&*container, &crio, &conmon] {
        let mut at = PathBuf::new();
        for part in Path::new(path) {
            at.push(part);
            fake.plain(at.to_str().unwrap(), &[]);
        }
    }
    // What a container makes of its own is part of it.
    fake.plain(&format!("{container}/init"), &[]);
    fake.plain("system.slice", &[]);
    fake.plain("system.slice/containerd.service", &[]);
    let tick = read(&mut fake.source().containers(true));
    assert_eq!(paths(&tick), [format!("/{container}"), format!("/{crio}")]);
    let of = |nth: usize| {
        let container = tick.samples[nth].info.container.clone().unwrap();
        (container.runtime, container.id.to_string(), container.pod_uid.unwrap().to_string())
    };
    assert_eq!(of(0), (Some(Runtime::Containerd), id("a"), "8dbc0c24-1bd4-4c49-a8ef-66c1d5e4ba6f".to_owned()));
    assert_eq!(of(1), (Some(Runtime::CriO), id("b"), "1c2d3e4f-0000-4c49-a8ef-66c1d5e4ba6f".to_owned()));
    let services = read(&mut fake.source().services(true));
    let mut expected = vec![
        format!("/{container}"),
        format!("/{crio}"),
        format!("/{conmon}"),
        "/system.slice/containerd.service".to_owned(),
    ];
    expected.sort();
    assert_eq!(paths(&services), expected);
    let units = read(&mut fake.source().units(["containerd.*"]).unwrap());
    assert_eq!(paths(&units), ["/system.slice/containerd.service"]);
}

#[test]
fn selections_by_path_and_depth() {
    let fake = Fake::new();
    for path in ["a", "a/b", "a/b/c", "a-b", "d", "d/e"] {
        fake.plain(path, &[]);
    }
    assert_eq!(paths(&read(&mut fake.source())), ["/", "/a", "/a-b", "/a/b", "/a/b/c", "/d", "/d/e"]);
    assert_eq!(paths(&read(&mut fake.source().depth(1..=1))), ["/a", "/a-b", "/d"]);
    assert_eq!(paths(&read(&mut fake.source().depth(3..=9))), ["/a/b/c"]);
    let some = fake.source().include_paths(["/a/**", "/d"]).unwrap();
    assert_eq!(paths(&read(&mut some.clone())), ["/a/b", "/a/b/c", "/d"]);
    assert_eq!(paths(&read(&mut some.exclude_paths(["/a/b"]).unwrap())), ["/a/b/c", "/d"]);
}

#[test]
fn wrong_settings_are_named() {
    let fake = Fake::new();
    let error = |source: Result<ControlGroups>| source.and_then(|mut source| source.read(&Cancel::new())).unwrap_err();
    for (source, name) in [
        (fake.source().include_paths(["/a[b"]), "ControlGroups::include_paths: glob `/a[b`"),
        (fake.source().exclude_paths(["{"]), "ControlGroups::exclude_paths: glob `{`"),
        (fake.source().units(["x", "["]), "ControlGroups::units: glob `[`"),
        #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
        (Ok(fake.source().depth(3..=2)), "ControlGroups::depth(3..=2)"),
        (Ok(ControlGroups::new().root("/proc")), "/proc: ControlGroups::root: no hierarchy"),
    ] {
        let error = error(source);
        assert!(error.is_config() && error.to_string().contains(name), "{error}");
    }
    assert!(error(Ok(ControlGroups::new().root("/no/such/place"))).is_not_found());
}

#[test]
fn hybrid_machines_and_version_1() {
    // As systemd has it where both are used.
    let both = tempfile::tempdir().unwrap();
    for version_1 in ["memory", "cpu", "systemd"] {
        std::fs::create_dir_all(both.path().join(version_1).join("docker")).unwrap();
        for file in ["tasks", "cgroup.procs"] {
            std::fs::write(both.path().join(version_1).join(file), "1\n").unwrap();
        }
    }
    let error = ControlGroups::new().root(both.path()).read(&Cancel::new()).unwrap_err();
    assert!(error.is_config() && error.path() == Some(both.path()), "{error}");
    let error = ControlGroups::new().root(both.path().join("memory")).read(&Cancel::new()).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("version 1"), "{error}");
    let unified = both.path().join("unified");
    std::fs::create_dir_all(unified.join("user.slice")).unwrap();
    std::fs::write(unified.join("cgroup.controllers"), "\n").unwrap();
    for place in [&unified, &unified.join("user.slice")] {
        std::fs::write(place.join("cpu.stat"), "usage_usec 1\nuser_usec 1\nsystem_usec 0\n").unwrap();
    }
    let tick = ControlGroups::new().root(both.path()).read(&Cancel::new()).unwrap();
    assert_eq!(paths(&tick), ["/", "/user.slice"]);
    assert_eq!(get(&tick, "/user.slice").memory, Reading::NotApplicable);
    assert_eq!(usage_us(get(&tick, "/user.slice")), 1);
}

#[test]
fn groups_below_one_that_stands_still_are_not_read() {
    let fake = Fake::new();
    for path in ["a", "a/b", "c"] {
        fake.plain(path, &[("memory.current", "1\n")]);
    }
    let mut source = fake.source();
    let first = read(&mut source);
    // No kernel writes this: what is below moves and what contains it does not.
    fake.usage("a/b", 90);
    fake.write("a/b", "memory.current", "2\n");
    fake.usage("c", 70);
    let second = read(&mut source);
    assert_eq!(usage_us(get(&second, "/a/b")), 10, "was it read?");
    assert_eq!(get(&second, "/a/b").memory.value().unwrap().current_bytes, 1);
    assert_eq!(usage_us(get(&second, "/c")), 70, "the root is no sum of the others");
    assert!(second.samples.iter().all(|group| group.at > first.samples[0].at && group.read_at <= group.at));
    fake.usage("a", 90);
    fake.usage("", 90);
    let third = read(&mut source);
    assert_eq!([usage_us(get(&third, "/a/b")), usage_us(get(&third, "/c"))], [90, 70]);
    assert_eq!(get(&third, "/a/b").memory.value().unwrap().current_bytes, 2, "it ran");
    // What others change is read in turn.
    let mut source = fake.source().max_age(Duration::ZERO);
    assert_eq!(get(&read(&mut source), "/a/b").memory.value().unwrap().current_bytes, 2);
    fake.write("a/b", "memory.current", "3\n");
    assert_eq!(get(&read(&mut source), "/a/b").memory.value().unwrap().current_bytes, 3);
}

#[test]
fn averages_of_who_no_longer_waits_fall() {
    let fake = Fake::new();
    fake.add("a", FULL);
    fake.add("a/b", FULL);
    let mut source = fake.source();
    read(&mut source);
    // The totals stand still: only their turn shows it.
    fake.write("a/b", "cpu.pressure", &PRESSURE.replace("avg60=0.25", "avg60=0.10"));
    let average = |tick: &Tick| get(tick, "/a/b").pressure.value().unwrap().cpu.value().unwrap().some.unwrap().avg60;
    common::until("its turn", || average(&read(&mut source)) == 0.001);
}

#[test]
fn lost_events_are_followed_by_a_walk() {
    let fake = Fake::new();
    fake.plain("a", &[]);
    fake.plain("b", &[]);
    let mut source = fake.source().walk_every(Duration::MAX);
    let first = read(&mut source);
    // More than the kernel keeps; equal ones in a row are one.
    let most: usize =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if !common::require(most <= 1 << 16, "a queue of inotify that can be filled") {
        return;
    }
    let files = ["a", "b"].map(|path| std::fs::File::create(fake.at(path).join("other")).unwrap());
    for nth in 0..=most {
        std::os::unix::fs::FileExt::write_all_at(&files[nth % 2], b"x", 0).unwrap();
    }
    fake.plain("a/b", &[]);
    fake.write("a", "memory.current", "77\n");
    let second = read(&mut source);
    assert_eq!(paths(&second), ["/", "/a", "/a/b", "/b"]);
    assert!(second.complete_at > first.complete_at);
    assert_eq!(get(&second, "/a").memory.value().unwrap().current_bytes, 77);
}

#[test]
fn groups_without_processes_are_not_read() {
    let fake = Fake::new();
    fake.plain("a", &[("cgroup.events", "populated 0\nfrozen 0\n")]);
    let mut source = fake.source();
    read(&mut source);
    fake.usage("a", 50);
    fake.write("a", "memory.current", "1\n");
    assert_eq!(usage_us(get(&read(&mut source), "/a")), 10, "was it read?");
    // Somebody came and left: no state is another one, and the event shows it.
    fake.write("a", "cgroup.events", "populated 0\nfrozen 0\n");
    assert_eq!(usage_us(get(&read(&mut source), "/a")), 50);
    fake.usage("a", 51);
    assert_eq!(usage_us(get(&read(&mut source), "/a")), 51, "its end is accounted after it was reported");
    let mut unwatched = fake.source().max_watches(0);
    read(&mut unwatched);
    fake.usage("a", 60);
    assert_eq!(usage_us(get(&read(&mut unwatched), "/a")), 60);
}

#[test]
fn without_descriptors_all_is_the_same() {
    let fake = Fake::new();
    fake.add("a", FULL);
    let (mut with, mut without) = (fake.source(), fake.source().max_fds(0));
    for usage in [2000, 2000, 5000] {
        fake.usage("", usage * 10);
        fake.usage("a", usage);
        let ticks = [read(&mut with), read(&mut without)];
        for tick in &ticks {
            assert_eq!(usage_us(get(tick, "/a")), usage);
        }
        let [with, without] = ticks.map(|tick| get(&tick, "/a").clone());
        assert_eq!((with.cpu, with.memory, with.limits), (without.cpu, without.memory, without.limits));
    }
}

#[test]
fn births_and_deaths_are_in_the_next_tick() {
    for (max_watches, walk_every) in
        [(1000, Duration::MAX), (0, Duration::MAX), (2, Duration::MAX), (0, Duration::ZERO)]
    {
        let fake = Fake::new();
        fake.plain("a", &[]);
        let mut source = fake.source().max_watches(max_watches).walk_every(walk_every);
        let first = read(&mut source);
        let is_unwatched = first.notices.iter().any(|notice| matches!(notice, Notice::UnwatchedControlGroups { .. }));
        assert_eq!(is_unwatched, max_watches < 1000, "{:?}", first.notices);
        fake.plain("a/b", &[]);
        fake.plain("a/b/c", &[]);
        assert_eq!(paths(&read(&mut source)), ["/", "/a", "/a/b", "/a/b/c"], "{max_watches} {walk_every:?}");
        std::fs::remove_dir_all(fake.at("a/b/c")).unwrap();
        assert_eq!(paths(&read(&mut source)), ["/", "/a", "/a/b"]);
        std::fs::remove_dir_all(fake.at("a/b")).unwrap();
        assert_eq!(paths(&read(&mut source)), ["/", "/a"]);
        assert_eq!(read(&mut source).skipped.failed, 0);
    }
}

#[test]
fn a_group_made_again_is_another_one() {
    let fake = Fake::new();
    fake.plain("a", &[]);
    fake.plain("spare", &[]);
    let mut source = fake.source();
    let first = read(&mut source);
    std::fs::rename(fake.at("a"), fake.at("old")).unwrap();
    std::fs::rename(fake.at("spare"), fake.at("a")).unwrap();
    let second = read(&mut source);
    assert_eq!(get(&second, "/a").id, get(&first, "/spare").id);
    assert_eq!(get(&second, "/old").id, get(&first, "/a").id);
    let changes: Vec<_> = block_on(stream::iter([Ok(first), Ok(second)]).changes().try_collect()).unwrap();
    let kinds: Vec<_> = changes.iter().flat_map(|tick: &Snapshot<_>| &tick.samples).collect();
    assert_eq!(kinds.len(), 7, "three at first, two gone and two new: {kinds:?}");
}

#[test]
fn rates_of_what_moved() {
    let fake = Fake::new();
    fake.add("a", FULL);
    let mut source = fake.source();
    let first = read(&mut source);
    fake.write("", "cpu.stat", "usage_usec 100000\nuser_usec 90000\nsystem_usec 10000\n");
    fake.write("a", "cpu.stat", "usage_usec 1002000\nuser_usec 501500\nsystem_usec 500500\nnr_periods 22\nnr_throttled 8\nthrottled_usec 500040\n");
    fake.write("a", "io.stat", "254:0 rbytes=8193 wbytes=5096 rios=3 wios=1 dbytes=10 dios=3\n");
    fake.write(
        "a",
        "cpu.pressure",
        "some avg10=1.50 avg60=0.25 avg300=0.05 total=254022\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=17\n",
    );
    fake.write(
        "",
        "cpu.pressure",
        "some avg10=1.50 avg60=0.25 avg300=0.05 total=254022\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=17\n",
    );
    let mut second = read(&mut source);
    for group in &mut second.samples {
        group.at = get(&first, "/a").at.plus(Duration::from_millis(500));
    }
    let ticks: Vec<Snapshot<Rated<ControlGroupSample>>> =
        block_on(stream::iter([Ok(first), Ok(second)]).rates().try_collect()).unwrap();
    assert!(ticks[0].samples.iter().all(|group| group.rates.is_none()));
    let rates = ticks[1].samples.iter().find(|group| group.path == "/a").unwrap().rates.unwrap();
    let cpu = rates.cpu.value().unwrap();
    assert_eq!((cpu.cores, cpu.user_cores, cpu.system_cores), (2.0, 1.0, 1.0));
    let throttling = rates.throttling.value().unwrap();
    assert_eq!((throttling.throttled_periods, throttling.throttled_cores), (0.5, 1.0));
    // 1 byte of another device is gone with it.
    let io = rates.io.value().unwrap();
    assert_eq!((io.read_bytes, io.write_bytes, io.reads), (0.0, 2000.0, 0.0));
    assert_eq!(rates.pressure.value().unwrap().cpu.value().unwrap().some, Some(0.5));
    let root = ticks[1].samples[0].rates.unwrap();
    assert_eq!((root.throttling, root.io), (Reading::NotApplicable, Reading::NotApplicable));
}

fn happened(events: &mut appmon::cgroup::ControlGroupEvents) -> Vec<(String, ControlGroupEventKind)> {
    let snapshot = events.read(&Cancel::new()).unwrap();
    snapshot.samples.into_iter().map(|event| (event.path.to_string(), event.kind)).collect()
}

fn kinds(events: &[(String, ControlGroupEventKind)]) -> Vec<String> {
    events
        .iter()
        .map(|(path, kind)| {
            let kind = serde_json::to_value(kind).unwrap();
            let count = kind.get("count").map(|count| format!(" {count}")).unwrap_or_default();
            format!("{path} {}{count}", kind["event"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn events_of_groups() {
    for max_watches in [1000, 0] {
        let fake = Fake::new();
        fake.add("a", FULL);
        let mut events = fake.source().max_watches(max_watches).events();
        assert_eq!(happened(&mut events), [], "what is there already is no event");
        fake.add("b", FULL);
        assert_eq!(kinds(&happened(&mut events)), ["/b created", "/b populated", "/b oom_killed 2"]);
        fake.write("a", "cgroup.events", "populated 0\nfrozen 1\n");
        assert_eq!(kinds(&happened(&mut events)), ["/a emptied", "/a frozen"]);
        fake.write("a", "cgroup.events", "populated 1\nfrozen 0\n");
        fake.write("a", "memory.events.local", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 0\n");
        assert_eq!(kinds(&happened(&mut events)), ["/a populated", "/a thawed", "/a oom_killed 3"]);
        assert_eq!(happened(&mut events), []);
        std::fs::remove_dir_all(fake.at("b")).unwrap();
        assert_eq!(kinds(&happened(&mut events)), ["/b removed"]);
        // Made and removed in between.
        std::fs::create_dir(fake.at("a/brief")).unwrap();
        std::fs::remove_dir(fake.at("a/brief")).unwrap();
        let expected: &[&str] = if max_watches > 0 { &["/a/brief created", "/a/brief removed"] } else { &[] };
        assert_eq!(kinds(&happened(&mut events)), expected);
    }
}

#[test]
fn events_of_selected_groups_alone() {
    let fake = Fake::new();
    let mut events = fake.source().units(["*.service"]).unwrap().events();
    assert_eq!(happened(&mut events), []);
    fake.plain("x.slice", &[]);
    fake.plain("x.slice/a.service", &[("cgroup.events", "populated 0\nfrozen 0\n")]);
    fake.plain("x.slice/a.service/part", &[]);
    assert_eq!(kinds(&happened(&mut events)), ["/x.slice/a.service created"]);
}

#[test]
fn events_as_they_happen() {
    let fake = Fake::new();
    fake.plain("a", &[]);
    let mut events = fake.source().events().watch().unwrap();
    let mut next = |count: usize| {
        let mut all: Vec<ControlGroupEvent> = Vec::new();
        while all.len() < count {
            all.extend(block_on(events.next()).unwrap().unwrap());
        }
        all
    };
    std::fs::create_dir(fake.at("b")).unwrap();
    let born = next(1);
    assert_eq!((born[0].path.to_string(), &born[0].kind), ("/b".to_owned(), &created()));
    fake.write("a", "cgroup.events", "populated 0\nfrozen 0\n");
    std::fs::remove_dir(fake.at("b")).unwrap();
    let rest = next(2);
    let names: Vec<_> = rest.iter().map(|event| (event.path.to_string(), event.kind.clone())).collect();
    let mut names = kinds(&names);
    names.sort();
    assert_eq!(names, ["/a emptied", "/b removed"]);
    assert_eq!(rest.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2]);
    drop(events);
}

fn created() -> ControlGroupEventKind {
    serde_json::from_str(r#"{"event":"created"}"#).unwrap()
}

#[test]
fn what_cannot_be_entered_is_counted() {
    use std::os::unix::fs::PermissionsExt;
    if common::is_root() {
        // Everything is open to root: again, as nobody.
        let program = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(program.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), program.path().join("test")).unwrap();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program.path().join("test"));
        command.args(["--exact", "control_groups::what_cannot_be_entered_is_counted"]);
        let output = command.current_dir("/tmp").env("TMPDIR", "/tmp").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("ok. 1 passed"), "{output:?}");
        return;
    }
    let fake = Fake::new();
    fake.plain("closed", &[]);
    std::fs::set_permissions(fake.at("closed"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let tick = read(&mut fake.source());
    std::fs::set_permissions(fake.at("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(tick.skipped.denied, 1);
}

#[test]
fn shared_parts_are_shared() {
    let fake = Fake::new();
    fake.add("a", FULL);
    let mut source = fake.source();
    let (first, second) = (read(&mut source), read(&mut source));
    let [first, second] = [&first, &second].map(|tick| get(tick, "/a"));
    assert!(Arc::ptr_eq(&first.info, &second.info));
    assert!(Arc::ptr_eq(first.memory.value().unwrap(), second.memory.value().unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is in the files of a group, and in those of the group above.
    #[test]
    fn files_of_any_bytes(
        texts in proptest::collection::vec("([a-z_.]{0,12}[ =:,-]{0,2}(max|[0-9]{0,22}(\\.[0-9]{2})?)[ \n]?){0,20}", 2 * FULL.len()),
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        odd in 0..2 * FULL.len(),
    ) {
        let fake = Fake::new();
        fake.add("a/b", FULL);
        for (nth, text) in texts.iter().enumerate() {
            let (name, _) = FULL[nth % FULL.len()];
            let path = if nth < FULL.len() { "a" } else { "a/b" };
            let content = if nth == odd { bytes.clone() } else { text.clone().into_bytes() };
            std::fs::write(fake.at(path).join(name), content).unwrap();
        }
        let mut source = fake.source();
        for _ in 0..2 {
            let tick = read(&mut source);
            prop_assert_eq!(paths(&tick), ["/", "/a", "/a/b"]);
            let wire = serde_json::to_string(&tick).unwrap();
            let again: Tick = serde_json::from_str(&wire).unwrap();
            prop_assert_eq!(again, tick);
        }
    }
}
