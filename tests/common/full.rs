//! A sample with every field set, as the files of a process make it.

use std::time::Duration;

use appmon::cgroup::{ControlGroupSample, Identity};
use appmon::process::{
    Environ, Io, Limits, Namespaces, Oom, ProcessId, ProcessInfo, ProcessState, Schedstat, SmapsRollup, Stat, Statm,
    Status, parse_cmdline,
};
use appmon::snapshot::Notice;
use appmon::time::Monotonic;
use appmon::{ProcessSample, Rated, Reading, Snapshot, Text, Timestamp};
use serde_json::json;

const STAT: &str = "3658 (cat) R 3656 3655 3084 34816 3650 4194304 100 7 2 1 30 40 50 60 20 -5 3 0 104716 3133440 412 \
    18446744073709551615 94809061101568 94809061121449 140720405359808 11 12 1 2 3 4 1 0 0 17 1 99 2 70 80 90 \
    94809061137456 94809061139072 94810098139136 140720405367182 140720405367345 140720405367346 140720405368811 256\n";

const STATUS: &str = "Name:\tcat\nUmask:\t0022\nState:\tR (running)\nTgid:\t3658\nNgid:\t0\nPid:\t3658\nPPid:\t3656\n\
    TracerPid:\t0\nUid:\t1000\t1001\t1002\t1003\nGid:\t100\t101\t102\t103\nFDSize:\t256\nGroups:\t4 24 1000 \n\
    NStgid:\t3658\t7\nNSpid:\t3658\t7\nNSpgid:\t3656\t0\nNSsid:\t3084\t0\nKthread:\t0\nVmPeak:\t    3060 kB\n\
    VmSize:\t    3050 kB\nVmLck:\t       1 kB\nVmPin:\t       2 kB\nVmHWM:\t    1770 kB\nVmRSS:\t    1760 kB\n\
    RssAnon:\t     112 kB\nRssFile:\t    1648 kB\nRssShmem:\t       0 kB\nVmData:\t     360 kB\nVmStk:\t     132 kB\n\
    VmExe:\t      20 kB\nVmLib:\t    1528 kB\nVmPTE:\t      52 kB\nVmPMD:\t       4 kB\nVmSwap:\t       3 kB\nHugetlbPages:\t    2048 kB\n\
    CoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\nThreads:\t3\nSigQ:\t5/96365\n\
    SigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\nSigBlk:\t0000000000000002\nSigIgn:\tffffffffffffffff\n\
    SigCgt:\t00000000000004e8\nCapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\nCapEff:\t000001fffeffffff\n\
    CapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t4\n\
    Speculation_Store_Bypass:\tthread vulnerable\nSpeculationIndirectBranch:\talways enabled\n\
    Cpus_allowed:\t00000001,00000103\nCpus_allowed_list:\t0-1,8,32\nMems_allowed:\t00000000,00000000,00000001\n\
    Mems_allowed_list:\t0\nvoluntary_ctxt_switches:\t338\nnonvoluntary_ctxt_switches:\t27\n\
    x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk \nOfALaterKernel:\t7\n";

const IO: &str = "rchar: 13249\nwchar: 6273\nsyscr: 24\nsyscw: 7\nread_bytes: 4096\nwrite_bytes: 8192\n\
    cancelled_write_bytes: 12\n";

const SMAPS_ROLLUP: &str = "563a74687000-7ffc05c65000 ---p 00000000 00:00 0                          [rollup]\n\
    Rss:                1760 kB\nPss:                 548 kB\nPss_Dirty:           112 kB\nPss_Anon:            112 kB\n\
    Pss_File:            436 kB\nPss_Shmem:             0 kB\nShared_Clean:       1560 kB\nShared_Dirty:          0 kB\n\
    Private_Clean:        88 kB\nPrivate_Dirty:       112 kB\nReferenced:         1760 kB\nAnonymous:           112 kB\n\
    KSM:                   1 kB\nLazyFree:              2 kB\nAnonHugePages:         3 kB\nShmemPmdMapped:        4 kB\n\
    FilePmdMapped:         5 kB\nShared_Hugetlb:        6 kB\nPrivate_Hugetlb:       7 kB\nSwap:                  8 kB\n\
    SwapPss:               9 kB\nLocked:               10 kB\n";

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
    Max cpu time              unlimited            unlimited            seconds   \n\
    Max file size             1                    2                    bytes     \n\
    Max data size             3                    4                    bytes     \n\
    Max stack size            8388608              unlimited            bytes     \n\
    Max core file size        0                    unlimited            bytes     \n\
    Max resident set          5                    6                    bytes     \n\
    Max processes             96365                96366                processes \n\
    Max open files            20000                20001                files     \n\
    Max locked memory         8388608              8388609              bytes     \n\
    Max address space         7                    8                    bytes     \n\
    Max file locks            9                    10                   locks     \n\
    Max pending signals       96365                96365                signals   \n\
    Max msgqueue size         819200               819200               bytes     \n\
    Max nice priority         11                   12                   \n\
    Max realtime priority     13                   14                   \n\
    Max realtime timeout      15                   18446744073709551614 us        \n";

pub fn full_sample() -> ProcessSample {
    let mut info = ProcessInfo::default();
    info.name = "cat".into();
    info.exe = Reading::Value("/usr/bin/cat".into());
    info.cmdline = Reading::Value(parse_cmdline(b"cat\0/var/log/a b\0"));
    info.cwd = Reading::Value("/srv".into());
    info.uid = 1001;
    info.gid = 101;
    info.user = Reading::Value("www-data".into());
    info.group = Reading::Value("adm".into());
    info.cgroup = Reading::Value("/system.slice/nginx.service".into());
    // Another path than the one above, which is in no container.
    let of_container = format!("/pod2732ca68f6358eba7703fb6f82a25c94/docker-{}.scope", "4f".repeat(32));
    info.container = Identity::of(of_container.as_bytes()).container;
    info.kernel_thread = false;
    info.execs = 1;

    let mut namespaces = Namespaces::default();
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"];
    for (number, name) in (4_026_531_834_u64..).zip(names) {
        let link = format!("{}:[{number}]", name.trim_end_matches("_for_children"));
        assert!(namespaces.set(name.as_bytes(), link.as_bytes()));
    }
    namespaces.ns_pids = vec![3658, 7];

    let mut sample = ProcessSample::default();
    sample.id = ProcessId { pid: 3658, start_ticks: 104_716 };
    sample.info = info.into();
    sample.ppid = 3656;
    sample.state = ProcessState::DiskSleep;
    sample.threads = 3;
    sample.nice = -5;
    sample.cpu.total_ns = 700_123_456;
    sample.cpu.user_ns = 300_000_000;
    sample.cpu.system_ns = 400_000_000;
    sample.cpu.children_user_ns = 500_000_000;
    sample.cpu.children_system_ns = 600_000_000;
    sample.cpu.block_io_delay_ns = 20_000_000;
    sample.memory.rss_bytes = 1_687_552;
    sample.memory.virtual_bytes = 3_133_440;
    sample.faults.minor = 100;
    sample.faults.major = 2;
    sample.io = Reading::Value(Io::parse(IO.as_bytes()).unwrap());
    sample.stat = Reading::Value(Stat::parse(STAT.as_bytes()).unwrap().into());
    sample.status = Reading::Value(Status::parse(STATUS.as_bytes()).unwrap().into());
    sample.statm = Reading::Value(Statm::parse(b"765 412 400 5 0 90 0\n").unwrap().into());
    sample.schedstat = Reading::Value(Schedstat::parse(b"1200345 4567 89\n").unwrap().into());
    sample.smaps_rollup = Reading::Value(SmapsRollup::parse(SMAPS_ROLLUP.as_bytes()).unwrap().into());
    sample.limits = Reading::Value(Limits::parse(LIMITS.as_bytes()).unwrap().into());
    sample.fd_count = Reading::Value(12);
    sample.namespaces = Reading::Value(namespaces.into());
    sample.oom = Reading::Value(Oom::parse(b"666\n", b"-17\n").unwrap());
    sample.environ = Reading::Value(Environ::parse(b"HOME=/root\0EMPTY=\0odd\0").into());
    sample.at = Monotonic::from_nanos(2_000_000_000_500);
    sample.read_at = Monotonic::from_nanos(2_000_000_000_400);
    sample
}

/// A small sample that has each kind of [`Reading`], and texts and paths that are not UTF-8.
pub fn odd_sample() -> ProcessSample {
    let not_utf8 = &b"a\xff"[..];
    let mut info = ProcessInfo::default();
    info.name = not_utf8.into();
    info.exe = Reading::Value(not_utf8.into());
    info.cmdline = Reading::Value(vec![Text::from("\u{e9} \"\\\n"), not_utf8.into(), Text::default()]);
    info.cwd = Reading::Denied;
    info.user = Reading::NotApplicable;
    info.group = Reading::Skipped;
    info.cgroup = Reading::NotRequested;
    let mut sample = ProcessSample::default();
    sample.info = info.into();
    sample.state = ProcessState::from_letter(b'?');
    sample.io = Reading::Denied;
    sample.schedstat = Reading::Unsupported;
    sample
}

pub fn full_snapshot<T>(samples: Vec<T>) -> Snapshot<T> {
    let mut snapshot: Snapshot<T> = samples.into_iter().collect();
    snapshot.seq = 7;
    snapshot.boot_id = serde_json::from_str(r#""0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab""#).unwrap();
    snapshot.time = Timestamp::from_unix_nanos(1_700_000_000_123_456_789);
    snapshot.at = Monotonic::from_nanos(2_000_000_000_000);
    snapshot.took = Duration::from_micros(1500);
    snapshot.lag = Duration::from_nanos(1);
    snapshot.complete_at = Some(Monotonic::from_nanos(11));
    snapshot.skipped.vanished = 1;
    snapshot.skipped.denied = 2;
    snapshot.skipped.malformed = 3;
    snapshot.skipped.failed = 4;
    snapshot.skipped.fields = 5;
    snapshot.skipped.undecided = 6;
    snapshot.notices = vec![hidepid(), Notice::SubsetPid, Notice::NoPulse];
    snapshot
}

fn hidepid() -> Notice {
    // The variant is for the crate to make.
    serde_json::from_str(r#"{"kind":"hide_pid","hidepid":"invisible"}"#).unwrap()
}

/// A control group with every field set.
pub fn full_control_group() -> ControlGroupSample {
    serde_json::from_value(control_group()).unwrap()
}

/// The same with rates.
pub fn rated_control_group() -> Rated<ControlGroupSample> {
    let mut wire = control_group();
    let pressure = |share: f64| json!({"some": share, "full": share / 2.0});
    wire["rates"] = json!({
        "cpu": {"cores": 1.5, "user_cores": 1.0, "system_cores": 0.5},
        "throttling": {"throttled_periods": 0.25, "throttled_cores": 2.5},
        "io": {
            "read_bytes": 3.5, "write_bytes": 4.5, "reads": 5.5, "writes": 6.5, "discard_bytes": 7.5, "discards": 8.5,
        },
        "pressure": {"cpu": pressure(0.1), "memory": pressure(0.2), "io": pressure(0.3), "irq": pressure(0.4)},
    });
    serde_json::from_value(wire).unwrap()
}

fn control_group() -> serde_json::Value {
    let line = |avg: f64, total: u64| json!({"avg10": avg, "avg60": avg / 2.0, "avg300": avg / 4.0, "total_ns": total});
    let pressure = |nth: u64| json!({"some": line(0.5, nth * 10), "full": line(0.25, nth)});
    let io = json!({
        "read_bytes": 8192, "write_bytes": 4096, "reads": 2, "writes": 1, "discard_bytes": 10, "discards": 3,
    });
    let mut device = io.clone();
    device["device"] = json!({"major": 254, "minor": 0});
    let mut all = io;
    all["devices"] = json!([device]);
    let of = |value: u64| json!({"value": value, "path": "/system.slice"});
    json!({
        "path": "/system.slice/nginx.service",
        "id": 4711,
        "info": {
            "slice": "system.slice",
            "unit": "nginx.service",
            "user_unit": "app.service",
            "container": {"runtime": "docker", "id": "4f".repeat(32)},
            "controllers": ["cpu", "io", "memory", "pids"],
        },
        "populated": true,
        "frozen": false,
        "cpu": {
            "usage_ns": 2_000_000, "user_ns": 1_500_000, "system_ns": 500_000,
            "throttling": {"periods": 12, "throttled_periods": 3, "throttled_ns": 40_000, "bursts": 2, "burst_ns": 9_000},
        },
        "memory": {
            "current_bytes": 204_800, "peak_bytes": 409_600, "swap_bytes": 512,
            "events": {"low": 1, "high": 2, "max": 3, "oom": 4, "oom_kill": 5, "oom_group_kill": 6},
            "stat": {
                "anon_bytes": 11, "file_bytes": 12, "kernel_bytes": 13, "slab_bytes": 14, "sock_bytes": 15, "shmem_bytes": 16,
                "file_dirty_bytes": 17, "file_writeback_bytes": 18, "active_file_bytes": 19, "inactive_file_bytes": 20,
                "unevictable_bytes": 21, "faults": 22, "major_faults": 23, "refaults": 24,
            },
        },
        "io": all,
        "pids": {"current": 17, "peak": 30, "refused_forks": 6},
        "pressure": {"cpu": pressure(1), "memory": pressure(2), "io": pressure(3), "irq": pressure(4)},
        "limits": {
            "cpu_max": {"quota_ns": 150_000_000, "period_ns": 100_000_000},
            "cpu_weight": 200,
            "cpuset": {"count": 2, "list": "0-1"},
            "memory_max_bytes": 1_048_576, "memory_high_bytes": null, "memory_swap_max_bytes": 0, "pids_max": 100,
            "effective": {
                "cpu_max": {"value": {"quota_ns": 150_000_000, "period_ns": 100_000_000}, "path": "/system.slice/nginx.service"},
                "cpuset": {"value": {"count": 2, "list": "0-1"}, "path": "/"},
                "memory_max_bytes": of(524_288), "memory_high_bytes": of(262_144), "memory_swap_max_bytes": of(0),
                "pids_max": of(50), "complete": true,
            },
        },
        "at": 123_456_789_000_u64,
        "read_at": 123_000_000_000_u64,
    })
}
