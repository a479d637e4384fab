//! The parsers: on any bytes, on damaged files, and against the procfs crate on the same bytes of every live process.

// A panic is the report here; Clippy's own exception does not reach the helpers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use appmon::cgroup::{ControlGroupCpu, Pressure};
use appmon::process::{
    CgroupPaths, Environ, IdRange, Io, Limit, Limits, Namespaces, Oom, ProcessState, Schedstat, SmapsRollup, Stat,
    Statm, Status, parse_cmdline,
};
use appmon::{Result, Text};
use procfs::process::LimitValue;
use procfs::{FromBufRead, FromRead};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

const STAT: &str = "3658 (cat) R 3656 3655 3084 34816 3650 4194304 100 7 2 1 30 40 50 60 20 -5 3 0 104716 3133440 412 \
    18446744073709551615 94809061101568 94809061121449 140720405359808 11 12 1 2 3 4 1 0 0 17 1 99 2 70 80 90 \
    94809061137456 94809061139072 94810098139136 140720405367182 140720405367345 140720405367346 140720405368811 256\n";

/// Linux 6.18, all lines.
const STATUS: &str = "Name:\tcat\nUmask:\t0022\nState:\tR (running)\nTgid:\t3658\nNgid:\t0\nPid:\t3658\nPPid:\t3656\n\
    TracerPid:\t0\nUid:\t1000\t1001\t1002\t1003\nGid:\t100\t101\t102\t103\nFDSize:\t256\nGroups:\t4 24 1000 \n\
    NStgid:\t3658\t7\nNSpid:\t3658\t7\nNSpgid:\t3656\t0\nNSsid:\t3084\t0\nKthread:\t0\nVmPeak:\t    3060 kB\n\
    VmSize:\t    3050 kB\nVmLck:\t       1 kB\nVmPin:\t       2 kB\nVmHWM:\t    1770 kB\nVmRSS:\t    1760 kB\n\
    RssAnon:\t     112 kB\nRssFile:\t    1648 kB\nRssShmem:\t       0 kB\nVmData:\t     360 kB\nVmStk:\t     132 kB\n\
    VmExe:\t      20 kB\nVmLib:\t    1528 kB\nVmPTE:\t      52 kB\nVmSwap:\t       3 kB\nHugetlbPages:\t    2048 kB\n\
    CoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\nThreads:\t3\nSigQ:\t5/96365\n\
    SigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\nSigBlk:\t0000000000000002\nSigIgn:\tffffffffffffffff\n\
    SigCgt:\t00000000000004e8\nCapInh:\t0000000000000000\nCapPrm:\t000001fffeffffff\nCapEff:\t000001fffeffffff\n\
    CapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t4\n\
    Speculation_Store_Bypass:\tthread vulnerable\nSpeculationIndirectBranch:\talways enabled\n\
    Cpus_allowed:\t00000001,00000103\nCpus_allowed_list:\t0-1,8,32\nMems_allowed:\t00000000,00000000,00000001\n\
    Mems_allowed_list:\t0\nvoluntary_ctxt_switches:\t338\nnonvoluntary_ctxt_switches:\t27\n\
    x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk \n";

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

const CGROUP: &str = "9:name=systemd:/user.slice\n4:cpu,cpuacct:/a:b\n0::/\n";

// The meaning of each file.

#[test]
fn stat_has_every_field() {
    let stat = Stat::parse(STAT.as_bytes()).unwrap();
    assert_eq!(stat.comm, "cat");
    assert_eq!(stat.state, ProcessState::Running);
    // In the wire form, field by field in the order of the file; `comm` and `state` are the two that are not numbers.
    let json = serde_json::to_string(&stat).unwrap();
    let values: Vec<&str> =
        json.trim_matches(['{', '}']).split(',').filter_map(|pair| pair.split(':').nth(1)).collect();
    let expected: Vec<&str> = STAT.split_whitespace().collect();
    assert_eq!(values.len(), 52);
    assert_eq!(values[0], expected[0]);
    assert_eq!(values[3..], expected[3..]);
}

#[test]
fn stat_of_a_process_being_reaped() {
    let stat = Stat::parse(b"7 () X 0 -1 -1 0 -1 0 0 0 0 0 1 2 -3 0 20 0 0 0 9 0 -1\n").unwrap();
    assert_eq!((stat.pgrp, stat.session, stat.tpgid), (0, 0, -1));
    assert_eq!((stat.cutime_ticks, stat.num_threads, stat.rss_pages), (0, 0, 0));
    assert_eq!(stat.comm, "");
    assert_eq!(stat.rss_limit_bytes, None);
}

#[test]
fn stat_names_the_missing_field() {
    check_malformed(Stat::parse, "", "( before the name");
    check_malformed(Stat::parse, "x (cat) R 1", "pid");
    check_malformed(Stat::parse, "4294967296 (cat) R 1", "pid");
    check_malformed(Stat::parse, "1 (cat R 1 1 1", ") after the name");
    check_malformed(Stat::parse, "1 (cat)", "state");
    check_malformed(Stat::parse, "1 (cat)\n", "state");
    check_malformed(Stat::parse, "1 (cat) RS 1", "state");
    check_malformed(Stat::parse, "1 (cat) R 1 1x", "pgrp");
    check_malformed(Stat::parse, "1 (cat) R 1 99999999999999999999", "pgrp");
    check_malformed(Stat::parse, "1 (cat) R 1 1 1 0 -1 0 0 0 0 0 1 2 3 0 20 0 1 0 9 0\n", "rss_pages");
    check_malformed(Stat::parse, "1 (cat) R 1 1 1 0 -1 0 0 0 0 0 1 2 3 0 20 0 1 0 9 0 5 x\n", "rss_limit_bytes");
}

#[test]
fn status_knows_every_line_of_linux_6_18() {
    let status = Status::parse(STATUS.as_bytes()).unwrap();
    assert!(status.other.is_empty(), "{:?}", status.other);
    let json = serde_json::to_value(&status).unwrap();
    // One field for each line: what is None is left out.
    assert_eq!(json.as_object().unwrap().len(), STATUS.lines().count());
    assert_eq!(status.umask, Some(0o22));
    let (uid, gid) = (status.uid.unwrap(), status.gid.unwrap());
    assert_eq!((uid.real, uid.effective, uid.saved, uid.fs), (1000, 1001, 1002, 1003));
    assert_eq!((gid.real, gid.effective, gid.saved, gid.fs), (100, 101, 102, 103));
    assert_eq!(status.groups, Some(vec![4, 24, 1000]));
    assert_eq!(status.ns_pid, [3658, 7]);
    assert_eq!(status.kthread, Some(false));
    assert_eq!(status.hugetlb_pages_bytes, Some(2 << 20));
    assert_eq!(status.untag_mask, Some(u64::MAX));
    assert_eq!(status.sig_q.map(|queue| (queue.queued, queue.limit)), Some((5, 96365)));
    assert_eq!(status.no_new_privs, Some(true));
    assert_eq!((status.seccomp, status.seccomp_filters), (Some(2), Some(4)));
    assert_eq!(status.speculation_store_bypass.unwrap(), "thread vulnerable");
    assert_eq!(status.cpus_allowed.unwrap(), [0x103, 1]);
    assert_eq!(pairs(&status.cpus_allowed_list), [(0, 1), (8, 8), (32, 32)]);
    assert_eq!(status.mems_allowed.unwrap(), [1]);
    assert_eq!(status.x86_thread_features.unwrap(), ["shstk", "wrss"]);
    assert_eq!(status.x86_thread_features_locked.unwrap(), ["shstk"]);
}

#[test]
fn status_keeps_unknown_lines() {
    let file = STATUS.replace("Threads:\t3", "Threads:\tmany\nShoeSize:\t 44 EU \nodd line");
    let status = Status::parse(file.as_bytes()).unwrap();
    assert_eq!(status.threads, None);
    assert_eq!(status.other["Threads"], "many");
    assert_eq!(status.other["ShoeSize"], "44 EU");
    assert_eq!(status.other["odd line"], "");
    for key in ["Name", "State", "Tgid", "Pid", "PPid"] {
        let file: String = STATUS.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{key}:"))).collect();
        check_malformed(Status::parse, &file, &format!("no valid {key}"));
    }
    // A directory that only looks like a /proc has other lines.
    for (line, other) in [("Uid:\t1000", "Uid:\tx"), ("Uid:\t", "Oid:\t")] {
        let status = Status::parse(STATUS.replace(line, other).as_bytes()).unwrap();
        assert_eq!((status.uid, status.gid.map(|gid| gid.effective)), (None, Some(101)));
        assert_eq!(status.other.len(), 1, "{:?}", status.other);
    }
    assert_eq!(Status::parse(STATUS.replace("Groups:", "Gruppen:").as_bytes()).unwrap().groups, None);
    assert_eq!(Status::parse(STATUS.replace("4 24 1000 ", "").as_bytes()).unwrap().groups, Some(vec![]));
}

#[test]
fn status_of_a_kernel_thread_has_no_memory() {
    let file: String =
        STATUS.split_inclusive('\n').filter(|line| !line.starts_with("Vm") && !line.starts_with("Rss")).collect();
    let status = Status::parse(file.as_bytes()).unwrap();
    assert_eq!((status.vm_rss_bytes, status.rss_anon_bytes), (None, None));
}

#[test]
fn io_of_any_order() {
    let io = Io::parse(IO.as_bytes()).unwrap();
    assert_eq!(
        (io.read_chars, io.write_chars, io.read_syscalls, io.write_syscalls),
        (Some(13249), Some(6273), Some(24), Some(7))
    );
    assert_eq!((io.read_bytes, io.write_bytes, io.cancelled_write_bytes), (Some(4096), Some(8192), Some(12)));
    // Missing values are unknown, and the others are there.
    let keys = |io: Io| {
        [
            ("rchar", io.read_chars),
            ("wchar", io.write_chars),
            ("syscr", io.read_syscalls),
            ("syscw", io.write_syscalls),
            ("read_bytes", io.read_bytes),
            ("write_bytes", io.write_bytes),
            ("cancelled_write_bytes", io.cancelled_write_bytes),
        ]
    };
    for line in IO.split_inclusive('\n') {
        let missing = line.split(':').next().unwrap();
        let found = keys(Io::parse(IO.replacen(line, "", 1).as_bytes()).unwrap());
        for ((key, found), (_, all)) in found.into_iter().zip(keys(io)) {
            assert_eq!(found, all.filter(|_| key != missing), "{key} without {missing}");
        }
    }
    for wrong in [": 2x4", ": -24", ": 18446744073709551616", ":"] {
        let found = Io::parse(IO.replace(": 24", wrong).as_bytes()).unwrap();
        assert_eq!((found.read_syscalls, found.write_syscalls), (None, Some(7)), "{wrong}");
    }
    check_malformed(Io::parse, "", "no known line");
    check_malformed(Io::parse, "rchar 5\nother: 7\n", "no known line");
}

#[test]
fn smaps_rollup_knows_every_line_of_linux_6_18() {
    let rollup = SmapsRollup::parse(SMAPS_ROLLUP.as_bytes()).unwrap();
    assert!(rollup.other.is_empty(), "{:?}", rollup.other);
    let json = serde_json::to_value(&rollup).unwrap();
    assert_eq!(json.as_object().unwrap().len(), SMAPS_ROLLUP.lines().skip(1).count());
    assert_eq!(rollup.uss_bytes(), Some(200 << 10));
    // Linux 4.14 has no Pss_* and no KSM; a later one has more.
    let file = SMAPS_ROLLUP.replace("Pss_", "New_");
    let rollup = SmapsRollup::parse(file.as_bytes()).unwrap();
    assert_eq!(rollup.pss_anon_bytes, None);
    assert_eq!(rollup.other["New_Anon"], "112 kB");
}

#[test]
fn smaps_rollup_is_read_as_far_as_it_is_there() {
    let whole = SmapsRollup::parse(SMAPS_ROLLUP.as_bytes()).unwrap();
    let odd = SMAPS_ROLLUP.replace("\nPss: ", "\nPxx: ").replace("Private_Clean:", "Private_Clean: about");
    let mut rollup = SmapsRollup::parse(odd.as_bytes()).unwrap();
    assert_eq!((rollup.pss_bytes, rollup.private_clean_bytes, rollup.uss_bytes()), (None, None, None));
    assert!(rollup.other["Private_Clean"].to_string().starts_with("about "), "{:?}", rollup.other);
    assert!(rollup.other.contains_key("Pxx"));
    (rollup.pss_bytes, rollup.private_clean_bytes) = (whole.pss_bytes, whole.private_clean_bytes);
    rollup.other.clear();
    assert_eq!(rollup, whole, "all other lines");
    let one = SmapsRollup::parse(b"Swap: 4 kB\n").unwrap();
    assert_eq!((one.swap_bytes, one.rss_bytes), (Some(4096), None));
    check_malformed(SmapsRollup::parse, "", "no known line");
    check_malformed(SmapsRollup::parse, "Rss: many\nNew: 7 kB\n", "no known line");
}

#[test]
fn limits_are_distinguished() {
    let limits = Limits::parse(LIMITS.as_bytes()).unwrap();
    let limit = |limit: Option<Limit>| limit.map(|limit| (limit.soft, limit.hard)).unwrap();
    assert_eq!(limit(limits.cpu_time_seconds), (None, None));
    assert_eq!(limit(limits.file_size_bytes), (Some(1), Some(2)));
    assert_eq!(limit(limits.data_size_bytes), (Some(3), Some(4)));
    assert_eq!(limit(limits.stack_size_bytes), (Some(8388608), None));
    assert_eq!(limit(limits.core_file_size_bytes), (Some(0), None));
    assert_eq!(limit(limits.resident_set_bytes), (Some(5), Some(6)));
    assert_eq!(limit(limits.processes), (Some(96365), Some(96366)));
    assert_eq!(limit(limits.open_files), (Some(20000), Some(20001)));
    assert_eq!(limit(limits.locked_memory_bytes), (Some(8388608), Some(8388609)));
    assert_eq!(limit(limits.address_space_bytes), (Some(7), Some(8)));
    assert_eq!(limit(limits.file_locks), (Some(9), Some(10)));
    assert_eq!(limit(limits.pending_signals), (Some(96365), Some(96365)));
    assert_eq!(limit(limits.msgqueue_size_bytes), (Some(819200), Some(819200)));
    assert_eq!(limit(limits.nice_priority), (Some(11), Some(12)));
    assert_eq!(limit(limits.realtime_priority), (Some(13), Some(14)));
    assert_eq!(limit(limits.realtime_timeout_us), (Some(15), Some(u64::MAX - 1)));
    check_malformed(Limits::parse, "Max\n\nMax nice priority\nMax x\nMax open files many 1 files\n", "limits: ");
}

#[test]
fn of_a_file_with_an_odd_line_the_others_are_read() {
    fn numbers(value: &impl Serialize) -> serde_json::Map<String, serde_json::Value> {
        let serde_json::Value::Object(map) = serde_json::to_value(value).unwrap() else { panic!("no map") };
        map
    }
    let whole = numbers(&Limits::parse(LIMITS.as_bytes()).unwrap());
    assert_eq!(whole.len(), 16);
    for (line, odd) in LIMITS
        .split_inclusive('\n')
        .skip(1)
        .flat_map(|line| ["", "Max\n", "Max x y z\n", "\u{e9}: \u{fffd}\n"].map(|odd| (line, odd.to_owned())))
        .chain(LIMITS.split_inclusive('\n').skip(1).map(|line| (line, format!("{}\n", &line[..30]))))
        .chain(LIMITS.split_inclusive('\n').skip(1).map(|line| (line, line.replace(&line[26..27], "?"))))
    {
        let left = numbers(&Limits::parse(LIMITS.replacen(line, &odd, 1).as_bytes()).unwrap());
        assert_eq!(left.len(), 15, "{odd}");
        assert!(left.iter().all(|(name, limit)| whole[name] == *limit), "{odd}");
    }
    let statm = Statm::parse(b"765 412 x -5 0\n").unwrap();
    assert_eq!((statm.size_pages, statm.resident_pages, statm.shared_pages), (Some(765), Some(412), None));
    assert_eq!((statm.text_pages, statm.lib_pages, statm.data_pages), (None, Some(0), None));
    assert_eq!(
        serde_json::to_value(statm).unwrap(),
        serde_json::json!({
            "size_pages": 765, "resident_pages": 412, "lib_pages": 0
        })
    );
    check_wire(&statm);
    let schedstat = Schedstat::parse(b"1200345 ? 89\n").unwrap();
    assert_eq!((schedstat.run_ns, schedstat.wait_ns, schedstat.timeslices), (Some(1_200_345), None, Some(89)));
    assert_eq!(Schedstat::parse(b"1200345 45").unwrap().wait_ns, None, "cut off, maybe");
    check_wire(&schedstat);
    for file in ["", "\n1 2 3", "x y z\n"] {
        check_malformed(Statm::parse, file, "statm: ");
        check_malformed(Schedstat::parse, file, "schedstat: ");
    }
    let cgroups = CgroupPaths::parse(b"x\n4:memory:/docker/h\nno:number:/a\n0::/\n").unwrap();
    assert_eq!(cgroups.list.iter().map(|cgroup| cgroup.hierarchy).collect::<Vec<_>>(), [4, 0]);
    assert_eq!(cgroups.unknown, ["x", "no:number:/a"]);
    assert_eq!(cgroups.main_path().unwrap(), &"/docker/h");
    // One that could not be parsed may be the more specific one.
    assert_eq!(CgroupPaths::parse(b"x\n0::/\n").unwrap().main_path(), None);
    check_malformed(CgroupPaths::parse, "x\ny:\n", "cgroup: x");
}

/// The kernel's own answer, since `Limits` and the procfs crate are not independent of each other.
#[test]
fn limits_are_those_of_getrlimit() {
    use rustix::process::Resource;

    let limits = Limits::parse(&std::fs::read("/proc/self/limits").unwrap()).unwrap();
    for (limit, resource) in [
        (limits.cpu_time_seconds, Resource::Cpu),
        (limits.file_size_bytes, Resource::Fsize),
        (limits.data_size_bytes, Resource::Data),
        (limits.stack_size_bytes, Resource::Stack),
        (limits.core_file_size_bytes, Resource::Core),
        (limits.resident_set_bytes, Resource::Rss),
        (limits.processes, Resource::Nproc),
        (limits.open_files, Resource::Nofile),
        (limits.locked_memory_bytes, Resource::Memlock),
        (limits.address_space_bytes, Resource::As),
        (limits.file_locks, Resource::Locks),
        (limits.pending_signals, Resource::Sigpending),
        (limits.msgqueue_size_bytes, Resource::Msgqueue),
        (limits.nice_priority, Resource::Nice),
        (limits.realtime_priority, Resource::Rtprio),
        (limits.realtime_timeout_us, Resource::Rttime),
    ] {
        let (limit, expected) = (limit.unwrap(), rustix::process::getrlimit(resource));
        assert_eq!((limit.soft, limit.hard), (expected.current, expected.maximum), "{resource:?}");
    }
}

#[test]
fn the_main_cgroup() {
    let check = |file: &str, expected: Option<&str>| {
        let cgroups = CgroupPaths::parse(file.as_bytes()).unwrap();
        assert_eq!(cgroups.main_path(), expected.map(Text::from).as_ref(), "{file}");
    };
    check("", None);
    check("0::/a/b:c\n", Some("/a/b:c"));
    check("0::/\n", Some("/"));
    // systemd: with version 1, with both, with version 2.
    let v1 = "11:memory:/system.slice/nginx.service\n4:cpuset:/\n1:name=systemd:/system.slice/nginx.service\n";
    check(v1, Some("/system.slice/nginx.service"));
    check(&format!("{v1}0::/system.slice/nginx.service\n"), Some("/system.slice/nginx.service"));
    check("9:name=systemd:/user.slice\n4:cpu:/x\n0::/\n", Some("/user.slice"));
    check("0::/user.slice/user-1000.slice/session-2.scope\n", Some("/user.slice/user-1000.slice/session-2.scope"));
    let rootless = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-4f1c.scope/container";
    check(&format!("0::{rootless}\n"), Some(rootless));
    let partly =
        format!("8:memory:/user.slice/user-1000.slice\n3:cpuset:/\n1:name=systemd:{rootless}\n0::{rootless}\n");
    check(&partly, Some(rootless));
    // Containers: with version 1, with both (the unified hierarchy still shows who started them), with some controllers.
    check("4:memory:/docker/4f1c\n1:name=systemd:/docker/4f1c\n", Some("/docker/4f1c"));
    let kubernetes =
        "12:pids:/kubepods/pod1/4f1c\n1:name=systemd:/kubepods/pod1/4f1c\n0::/system.slice/containerd.service\n";
    check(kubernetes, Some("/kubepods/pod1/4f1c"));
    check("4:memory:/docker/h\n1:cpu,cpuacct:/docker/h\n9:name=systemd:/\n0::/\n", Some("/docker/h"));
    check("9:name=systemd:/\n4:cpu:/x\n0::/\n", Some("/x"));
    check("9:name=systemd:/\n4:cpu:/x\n0::/u\n", Some("/u"));
    check(
        "10:memory:/lxc/web\n5:devices:/lxc/web\n1:name=systemd:/lxc/web/init.scope\n0::/\n",
        Some("/lxc/web/init.scope"),
    );
    check("7:perf_event:/lxc.payload.web\n3:cpuset:/\n0::/\n", Some("/lxc.payload.web"));
    // Whatever the order of the file, which is that of mounting.
    check("4:cpu,cpuacct:/x\n3:memory:/y\n", Some("/y"));
    check("4:memory:/y\n3:cpu,cpuacct:/x\n", Some("/y"));
    check("4:cpuset:/some\n3:net_cls:/other\n2:pids:/y\n1:name=openrc:/z\n", Some("/y"));
    // Those of others, where nothing else is used.
    check("1:name=elogind:/c2\n", Some("/c2"));
    check("2:cpuset:/\n1:name=elogind:/c2\n0::/\n", Some("/c2"));
    check("2:memory:/docker/h\n1:name=elogind:/c2\n0::/\n", Some("/docker/h"));
    check("2:cpu:/\n1:name=openrc:/sshd\n", Some("/sshd"));
    // From within a cgroup namespace.
    check("4:memory:/\n1:name=systemd:/\n0::/\n", Some("/"));
    check("4:memory:/../../docker/h\n1:name=systemd:/..\n0::/../..\n", Some("/../../docker/h"));
    check("4:memory:/..\n0::/\n", Some("/.."));
    check("4:memory:/..\n1:name=systemd:/../..\n0::/\n", Some("/../.."));
    check("4:memory:/..x\n0::/..\n", Some("/..x"));
    // Removed, with the process in it.
    check("0::/system.slice/web.service (deleted)\n", Some("/system.slice/web.service (deleted)"));
    check_malformed(CgroupPaths::parse, "0:/a\n", "cgroup: 0:/a");
    check_malformed(CgroupPaths::parse, "x::/a\n", "cgroup: x::/a");
}

#[test]
fn command_lines() {
    let check = |file: &[u8], expected: &[&str]| assert_eq!(parse_cmdline(file), expected, "{}", file.escape_ascii());
    check(b"", &[]);
    check(b"\0", &[""]);
    check(b"cat\0", &["cat"]);
    check(b"cat\0-\0file name\0", &["cat", "-", "file name"]);
    check(b"grep\0\0", &["grep", ""]);
    check(b"grep\0\0\0x\0", &["grep", "", "", "x"]);
    check(b"grep\0x\0\0\0", &["grep", "x", "", ""]);
    // Titles: the whole place without a NUL, filled up with NULs, cleared.
    check(b"sshd: root [priv]", &["sshd: root [priv]"]);
    check(b"sshd: root [priv]\0", &["sshd: root [priv]"]);
    check(b"sshd: root [priv]\0\0", &["sshd: root [priv]"]);
    check(b"title\0\0\0\0\0\0", &["title"]);
    check(b"\0\0\0\0", &[""]);
    // Cut off.
    check(b"cat\0fi", &["cat", "fi"]);
}

#[test]
fn environments() {
    let environ = Environ::parse(b"A=1\0B=x=y\0ODD\0A=2\0=C\0\0\0");
    let entries: Vec<(String, Option<String>)> =
        environ.iter().map(|(name, value)| (name.to_string(), value.map(ToString::to_string))).collect();
    let entry = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(
        entries,
        [
            entry("A", Some("1")),
            entry("B", Some("x=y")),
            entry("ODD", None),
            entry("A", Some("2")),
            entry("", Some("C")),
        ]
    );
    assert_eq!(environ.get("A").unwrap(), &"1");
    assert_eq!(environ.get("B").unwrap(), &"x=y");
    assert_eq!(environ.get("ODD"), None);
    assert_eq!(environ.get("Z"), None);
    assert_eq!(environ.clone().into_iter().collect::<Environ>(), environ);
    assert_eq!(serde_json::to_string(&Environ::parse(b"A=1\0ODD")).unwrap(), r#"[["A","1"],["ODD",null]]"#);
}

#[test]
fn namespace_links() {
    for (link, expected) in [
        ("pid:[4026531836]", Some(4026531836)),
        ("pid:[]", None),
        ("pid:[1", None),
        ("pid[1]", None),
        ("pid:[x]", None),
        ("", None),
    ] {
        assert_eq!(Namespaces::parse_link(link.as_bytes()), expected, "{link}");
    }
    let mut namespaces = Namespaces::default();
    assert!(!namespaces.set(b"flavour", b"flavour:[1]"));
    assert!(!namespaces.set(b"pid", b"?"));
    assert_eq!(namespaces, Namespaces::default());
}

#[test]
fn oom_is_never_below_zero() {
    let oom = Oom::parse(b"-5\n", b"-1000\n").unwrap();
    assert_eq!((oom.score, oom.score_adj), (Some(0), Some(-1000)));
}

#[test]
fn oom_is_read_as_far_as_it_is_there() {
    for (score, adj, values) in [
        (&b""[..], &b"0\n"[..], (None, Some(0))),
        (b"1", b"1 2", (Some(1), None)),
        (b"4294967296", b"-17", (None, Some(-17))),
    ] {
        let oom = Oom::parse(score, adj).unwrap();
        assert_eq!((oom.score, oom.score_adj), values);
        check_wire(&oom);
    }
    assert!(Oom::parse(b"x", b"").unwrap_err().is_malformed());
}

#[test]
fn every_letter_is_a_state() {
    for byte in 0..=255 {
        let state = ProcessState::from_letter(byte);
        if byte != b'x' {
            assert_eq!(state.letter(), char::from(byte));
        }
        check_wire(&state);
    }
    let wire = |json: &str| serde_json::from_str::<ProcessState>(json).unwrap();
    assert_eq!(wire(r#""disk_sleep""#), ProcessState::DiskSleep);
    assert_eq!(wire(r#""D""#), ProcessState::DiskSleep);
    assert_eq!(wire(r#""Q""#), ProcessState::Unknown('Q'));
    assert_eq!(wire(r#""of a later version""#), ProcessState::default());
    assert_eq!(format!("{:<8}|", ProcessState::Idle), "idle    |");
}

#[test]
fn the_wire_form_goes_both_ways() {
    check_wire(&Stat::parse(STAT.as_bytes()).unwrap());
    check_wire(&Status::parse(STATUS.as_bytes()).unwrap());
    check_wire(&Io::parse(IO.as_bytes()).unwrap());
    check_wire(&Statm::parse(b"1 2 3 4 5 6 7\n").unwrap());
    check_wire(&Schedstat::parse(b"1 2 3\n").unwrap());
    check_wire(&SmapsRollup::parse(SMAPS_ROLLUP.as_bytes()).unwrap());
    check_wire(&Limits::parse(LIMITS.as_bytes()).unwrap());
    check_wire(&CgroupPaths::parse(CGROUP.as_bytes()).unwrap());
    check_wire(&parse_cmdline(b"a\0\xff\0\0b\0"));
    check_wire(&Environ::parse(b"A=1\0ODD\0\xff=\xfe\0"));
    check_wire(&Oom::parse(b"668", b"-1").unwrap());
    let mut namespaces = Namespaces::default();
    namespaces.set(b"net", b"net:[4026531833]");
    namespaces.ns_pids = vec![3658, 7];
    check_wire(&namespaces);
    check_wire(&Status::default());
    check_wire(&Stat::default());
}

// Any bytes, and damaged files.

#[test]
fn files_cut_off_anywhere() {
    for file in [STAT, STATUS, IO, SMAPS_ROLLUP, LIMITS, CGROUP] {
        for length in 0..=file.len() {
            parse_all(&file.as_bytes()[..length]);
        }
    }
    // A line cut off before the number of field 24 is never taken for a whole one.
    let rss = STAT.find(" 412").unwrap() + 1;
    for length in 0..=rss {
        assert!(Stat::parse(&STAT.as_bytes()[..length]).unwrap_err().is_malformed());
    }
    for length in rss + 1..STAT.len() {
        let Ok(stat) = Stat::parse(&STAT.as_bytes()[..length]) else { continue };
        assert_eq!((stat.pid, stat.vsize_bytes), (3658, 3133440));
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse_all(&bytes);
    }

    #[test]
    fn anything_like_a_file(text in "([A-Za-z_]{0,12}[: (),=/-]{0,3}[0-9]{0,22}( kB)?[\t\n \0]?){0,40}") {
        parse_all(text.as_bytes());
    }

    #[test]
    fn files_with_bytes_changed(
        file in prop::sample::select(vec![STAT, STATUS, IO, SMAPS_ROLLUP, LIMITS, CGROUP]),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = file.as_bytes().to_vec();
        for (index, byte) in changes {
            let index = index.index(file.len());
            file[index] = byte;
        }
        parse_all(&file);
    }

    #[test]
    fn a_name_of_any_bytes(comm in proptest::collection::vec(any::<u8>(), 0..80)) {
        let line = [b"3658 (", &comm[..], STAT.strip_prefix("3658 (cat").unwrap().as_bytes()].concat();
        let expected = Stat::parse(STAT.as_bytes()).unwrap();
        let mut stat = Stat::parse(&line).unwrap();
        prop_assert_eq!(stat.comm.as_bytes(), &comm[..]);
        check_wire(&stat);
        stat.comm = expected.comm.clone();
        prop_assert_eq!(stat, expected);

        // In status it is escaped, so that it stays one line.
        let mut escaped = Vec::new();
        for byte in &comm {
            match byte {
                b'\n' => escaped.extend(b"\\n"),
                b'\\' => escaped.extend(b"\\\\"),
                byte => escaped.push(*byte),
            }
        }
        let file = [b"Name:\t", &escaped[..], STATUS.strip_prefix("Name:\tcat").unwrap().as_bytes()].concat();
        let status = Status::parse(&file).unwrap();
        prop_assert_eq!(status.name.as_bytes(), &comm[..]);
        check_wire(&status);
    }

    #[test]
    fn a_name_that_looks_like_the_rest(comm in "[)(] [SR]( [0-9]{1,3}){0,60}[)] ?") {
        let line = format!("3658 ({comm}{}", STAT.strip_prefix("3658 (cat").unwrap());
        let stat = Stat::parse(line.as_bytes()).unwrap();
        prop_assert_eq!(stat.comm, comm.as_str());
        prop_assert_eq!(stat.rss_pages, 412);
    }

    #[test]
    fn numbers_of_any_size(numbers in proptest::array::uniform7(any::<u64>())) {
        let [size, resident, shared, text, lib, data, dirty] = numbers;
        let statm = Statm::parse(format!("{size} {resident} {shared} {text} {lib} {data} {dirty}\n").as_bytes()).unwrap();
        prop_assert_eq!(
            (statm.size_pages, statm.dirty_pages, statm.data_pages),
            (Some(size), Some(dirty), Some(data))
        );
        let schedstat = Schedstat::parse(format!("{size} {resident} {shared}").as_bytes()).unwrap();
        prop_assert_eq!(
            (schedstat.run_ns, schedstat.wait_ns, schedstat.timeslices),
            (Some(size), Some(resident), Some(shared))
        );
        let too_long = Schedstat::parse(format!("{size} {}0 1", u64::MAX).as_bytes()).unwrap();
        prop_assert_eq!((too_long.run_ns, too_long.wait_ns, too_long.timeslices), (Some(size), None, Some(1)));
        check_wire(&statm);
    }

    #[test]
    fn lines_in_any_order(seed in any::<u64>()) {
        fn check<T: PartialEq + Debug>(parse: fn(&[u8]) -> Result<T>, file: &str, mut seed: u64) {
            let mut lines: Vec<&str> = file.split_inclusive('\n').collect();
            for index in (1..lines.len()).rev() {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                lines.swap(index, (seed >> 33) as usize % (index + 1));
            }
            assert_eq!(parse(lines.concat().as_bytes()).unwrap(), parse(file.as_bytes()).unwrap());
        }
        check(Status::parse, STATUS, seed);
        check(Io::parse, IO, seed);
        check(Limits::parse, LIMITS, seed);
        check(SmapsRollup::parse, SMAPS_ROLLUP, seed);
    }

    #[test]
    fn files_of_later_kernels(word in "[A-Z][a-z]{9}", number in 0..1_u64 << 50) {
        let stat = format!("{} {number} {word}\n", STAT.trim_end());
        prop_assert_eq!(Stat::parse(stat.as_bytes()).unwrap(), Stat::parse(STAT.as_bytes()).unwrap());
        let io = format!("{word}: {number}\n{IO}{word}\n");
        prop_assert_eq!(Io::parse(io.as_bytes()).unwrap(), Io::parse(IO.as_bytes()).unwrap());
        let limits = format!("{LIMITS}Max {word} {number} unlimited us\n");
        prop_assert_eq!(Limits::parse(limits.as_bytes()).unwrap(), Limits::parse(LIMITS.as_bytes()).unwrap());
        let mut status = Status::parse(format!("{STATUS}{word}:\t{number}\n").as_bytes()).unwrap();
        prop_assert_eq!(status.other.remove(&word).unwrap(), Text::from(number.to_string()));
        prop_assert_eq!(status, Status::parse(STATUS.as_bytes()).unwrap());
        let mut rollup = SmapsRollup::parse(format!("{SMAPS_ROLLUP}{word}:  {number} kB\n").as_bytes()).unwrap();
        prop_assert_eq!(rollup.other.remove(&word).unwrap(), Text::from(format!("{number} kB")));
        prop_assert_eq!(rollup, SmapsRollup::parse(SMAPS_ROLLUP.as_bytes()).unwrap());
    }

    #[test]
    fn arguments_survive(mut args in proptest::collection::vec("[^\0]{0,9}", 1..6)) {
        // What is not taken for a title.
        args.push("last".into());
        let file: String = args.iter().flat_map(|arg| [arg, "\0"]).collect();
        let expected: Vec<Text> = args.into_iter().map(Text::from).collect();
        prop_assert_eq!(&parse_cmdline(file.as_bytes()), &expected);
        // And where nothing ends the last one.
        prop_assert_eq!(parse_cmdline(file.trim_end_matches('\0').as_bytes()), expected);
    }

    #[test]
    fn environments_survive(entries in proptest::collection::vec(("[^\0=]{1,9}", proptest::option::of("[^\0]{0,9}")), 0..6)) {
        let file: String = entries
            .iter()
            .map(|(name, value)| value.as_ref().map_or(format!("{name}\0"), |value| format!("{name}={value}\0")))
            .collect();
        let expected: Environ = entries
            .into_iter()
            .map(|(name, value)| (Text::from(name), value.map(Text::from)))
            .collect();
        let environ = Environ::parse(file.as_bytes());
        check_wire(&environ);
        prop_assert_eq!(environ, expected);
    }
}

// The procfs crate, on the same bytes.

#[test]
fn stat_as_procfs_reads_it() {
    each("stat", |file| {
        let ours = Stat::parse(file).unwrap();
        let theirs = procfs::process::Stat::from_read(file).unwrap();
        check_wire(&ours);
        assert_eq!(i64::from(ours.pid), i64::from(theirs.pid));
        assert_eq!(ours.comm.to_string_lossy(), theirs.comm);
        assert_eq!(ours.state.letter(), theirs.state);
        assert_eq!(i64::from(ours.ppid), i64::from(theirs.ppid));
        assert_eq!(i64::from(ours.pgrp), i64::from(theirs.pgrp.max(0)));
        assert_eq!(i64::from(ours.session), i64::from(theirs.session.max(0)));
        assert_eq!(ours.tty_nr, theirs.tty_nr);
        assert_eq!(ours.tpgid, theirs.tpgid);
        assert_eq!(ours.flags, theirs.flags);
        assert_eq!(ours.minflt, theirs.minflt);
        assert_eq!(ours.cminflt, theirs.cminflt);
        assert_eq!(ours.majflt, theirs.majflt);
        assert_eq!(ours.cmajflt, theirs.cmajflt);
        assert_eq!(ours.utime_ticks, theirs.utime);
        assert_eq!(ours.stime_ticks, theirs.stime);
        assert_eq!(ours.cutime_ticks, u64::try_from(theirs.cutime).unwrap());
        assert_eq!(ours.cstime_ticks, u64::try_from(theirs.cstime).unwrap());
        assert_eq!(i64::from(ours.priority), theirs.priority);
        assert_eq!(i64::from(ours.nice), theirs.nice);
        assert_eq!(i64::from(ours.num_threads), theirs.num_threads);
        assert_eq!(ours.itrealvalue_ticks, theirs.itrealvalue);
        assert_eq!(ours.start_ticks, theirs.starttime);
        assert_eq!(ours.vsize_bytes, theirs.vsize);
        assert_eq!(ours.rss_pages, theirs.rss);
        assert_eq!(ours.rss_limit_bytes, Some(theirs.rsslim));
        assert_eq!(ours.start_code, Some(theirs.startcode));
        assert_eq!(ours.end_code, Some(theirs.endcode));
        assert_eq!(ours.start_stack, Some(theirs.startstack));
        assert_eq!(ours.kstk_esp, Some(theirs.kstkesp));
        assert_eq!(ours.kstk_eip, Some(theirs.kstkeip));
        assert_eq!(ours.signal, Some(theirs.signal));
        assert_eq!(ours.blocked, Some(theirs.blocked));
        assert_eq!(ours.sigignore, Some(theirs.sigignore));
        assert_eq!(ours.sigcatch, Some(theirs.sigcatch));
        assert_eq!(ours.wchan, Some(theirs.wchan));
        assert_eq!(ours.nswap_pages, Some(theirs.nswap));
        assert_eq!(ours.cnswap_pages, Some(theirs.cnswap));
        assert_eq!(ours.exit_signal, theirs.exit_signal);
        assert_eq!(ours.processor.map(i64::from), theirs.processor.map(i64::from));
        assert_eq!(ours.rt_priority, theirs.rt_priority);
        assert_eq!(ours.policy, theirs.policy);
        assert_eq!(ours.delayacct_blkio_ticks, theirs.delayacct_blkio_ticks);
        assert_eq!(ours.guest_time_ticks, theirs.guest_time);
        assert_eq!(ours.cguest_time_ticks, theirs.cguest_time.map(|ticks| u64::try_from(ticks).unwrap()));
        assert_eq!(ours.start_data, theirs.start_data);
        assert_eq!(ours.end_data, theirs.end_data);
        assert_eq!(ours.start_brk, theirs.start_brk);
        assert_eq!(ours.arg_start, theirs.arg_start);
        assert_eq!(ours.arg_end, theirs.arg_end);
        assert_eq!(ours.env_start, theirs.env_start);
        assert_eq!(ours.env_end, theirs.env_end);
        assert_eq!(ours.exit_code, theirs.exit_code);
    });
}

#[test]
fn status_as_procfs_reads_it() {
    each("status", |file| {
        let ours = Status::parse(file).unwrap();
        check_wire(&ours);
        // It refuses names that are not UTF-8.
        let Ok(theirs) = procfs::process::Status::from_buf_read(file) else { return };
        // And it leaves the name escaped, trims it, and ends it at the first colon.
        let name = ours.name.to_string_lossy().replace('\\', "\\\\").replace('\n', "\\n");
        assert_eq!(name.split(':').next().unwrap().trim(), theirs.name);
        let kb = |bytes: Option<u64>| bytes.map(|bytes| bytes / 1024);
        let list =
            |ids: &[u32]| Some(ids.iter().map(|id| *id as i32).collect()).filter(|ids: &Vec<i32>| !ids.is_empty());
        // Theirs is highest first.
        let mask = |words: Option<Vec<u32>>| {
            words.map(|words| words.into_iter().rev().collect::<Vec<_>>()).map(|mut words| {
                while words.last() == Some(&0) {
                    words.pop();
                }
                words
            })
        };
        assert_eq!(ours.umask, theirs.umask);
        assert!(theirs.state.starts_with(ours.state.letter()));
        assert_eq!(i64::from(ours.tgid), i64::from(theirs.tgid));
        assert_eq!(ours.ngid.map(i64::from), theirs.ngid.map(i64::from));
        assert_eq!(i64::from(ours.pid), i64::from(theirs.pid));
        assert_eq!(i64::from(ours.ppid), i64::from(theirs.ppid));
        assert_eq!(ours.tracer_pid.map(i64::from), Some(i64::from(theirs.tracerpid)));
        let (uid, gid) = (ours.uid.unwrap(), ours.gid.unwrap());
        assert_eq!(uid.real, theirs.ruid);
        assert_eq!(uid.effective, theirs.euid);
        assert_eq!(uid.saved, theirs.suid);
        assert_eq!(uid.fs, theirs.fuid);
        assert_eq!(gid.real, theirs.rgid);
        assert_eq!(gid.effective, theirs.egid);
        assert_eq!(gid.saved, theirs.sgid);
        assert_eq!(gid.fs, theirs.fgid);
        assert_eq!(ours.fd_size, Some(u64::from(theirs.fdsize)));
        assert_eq!(ours.groups, Some(theirs.groups));
        assert_eq!(list(&ours.ns_tgid), theirs.nstgid);
        assert_eq!(list(&ours.ns_pid), theirs.nspid);
        assert_eq!(list(&ours.ns_pgid), theirs.nspgid);
        assert_eq!(list(&ours.ns_sid), theirs.nssid);
        assert_eq!(kb(ours.vm_peak_bytes), theirs.vmpeak);
        assert_eq!(kb(ours.vm_size_bytes), theirs.vmsize);
        assert_eq!(kb(ours.vm_lck_bytes), theirs.vmlck);
        assert_eq!(kb(ours.vm_pin_bytes), theirs.vmpin);
        assert_eq!(kb(ours.vm_hwm_bytes), theirs.vmhwm);
        assert_eq!(kb(ours.vm_rss_bytes), theirs.vmrss);
        assert_eq!(kb(ours.rss_anon_bytes), theirs.rssanon);
        assert_eq!(kb(ours.rss_file_bytes), theirs.rssfile);
        assert_eq!(kb(ours.rss_shmem_bytes), theirs.rssshmem);
        assert_eq!(kb(ours.vm_data_bytes), theirs.vmdata);
        assert_eq!(kb(ours.vm_stk_bytes), theirs.vmstk);
        assert_eq!(kb(ours.vm_exe_bytes), theirs.vmexe);
        assert_eq!(kb(ours.vm_lib_bytes), theirs.vmlib);
        assert_eq!(kb(ours.vm_pte_bytes), theirs.vmpte);
        assert_eq!(kb(ours.vm_swap_bytes), theirs.vmswap);
        assert_eq!(kb(ours.hugetlb_pages_bytes), theirs.hugetlbpages);
        assert_eq!(ours.threads.map(u64::from), Some(theirs.threads));
        assert_eq!(ours.sig_q.map(|queue| (queue.queued, queue.limit)), Some(theirs.sigq));
        assert_eq!(ours.sig_pnd, Some(theirs.sigpnd));
        assert_eq!(ours.shd_pnd, Some(theirs.shdpnd));
        assert_eq!(ours.sig_blk, Some(theirs.sigblk));
        assert_eq!(ours.sig_ign, Some(theirs.sigign));
        assert_eq!(ours.sig_cgt, Some(theirs.sigcgt));
        assert_eq!(ours.cap_inh, Some(theirs.capinh));
        assert_eq!(ours.cap_prm, Some(theirs.capprm));
        assert_eq!(ours.cap_eff, Some(theirs.capeff));
        assert_eq!(ours.cap_bnd, theirs.capbnd);
        assert_eq!(ours.cap_amb, theirs.capamb);
        assert_eq!(ours.no_new_privs.map(u64::from), theirs.nonewprivs);
        assert_eq!(ours.seccomp, theirs.seccomp);
        assert_eq!(ours.speculation_store_bypass.map(|text| text.to_string()), theirs.speculation_store_bypass);
        assert_eq!(ours.cpus_allowed, mask(theirs.cpus_allowed));
        assert_eq!(pairs(&ours.cpus_allowed_list), theirs.cpus_allowed_list.unwrap_or_default());
        assert_eq!(ours.mems_allowed, mask(theirs.mems_allowed));
        assert_eq!(pairs(&ours.mems_allowed_list), theirs.mems_allowed_list.unwrap_or_default());
        assert_eq!(ours.voluntary_ctxt_switches, theirs.voluntary_ctxt_switches);
        assert_eq!(ours.nonvoluntary_ctxt_switches, theirs.nonvoluntary_ctxt_switches);
        assert_eq!(ours.core_dumping, theirs.core_dumping);
        assert_eq!(ours.thp_enabled, theirs.thp_enabled);
    });
}

#[test]
fn io_as_procfs_reads_it() {
    each("io", |file| {
        let ours = Io::parse(file).unwrap();
        let theirs = procfs::process::Io::from_buf_read(file).unwrap();
        check_wire(&ours);
        assert_eq!(ours.read_chars, Some(theirs.rchar));
        assert_eq!(ours.write_chars, Some(theirs.wchar));
        assert_eq!(ours.read_syscalls, Some(theirs.syscr));
        assert_eq!(ours.write_syscalls, Some(theirs.syscw));
        assert_eq!(ours.read_bytes, Some(theirs.read_bytes));
        assert_eq!(ours.write_bytes, Some(theirs.write_bytes));
        assert_eq!(ours.cancelled_write_bytes, Some(theirs.cancelled_write_bytes));
    });
}

#[test]
fn statm_as_procfs_reads_it() {
    each("statm", |file| {
        let ours = Statm::parse(file).unwrap();
        let theirs = procfs::process::StatM::from_read(file).unwrap();
        assert_eq!(ours.size_pages, Some(theirs.size));
        assert_eq!(ours.resident_pages, Some(theirs.resident));
        assert_eq!(ours.shared_pages, Some(theirs.shared));
        assert_eq!(ours.text_pages, Some(theirs.text));
        assert_eq!(ours.lib_pages, Some(theirs.lib));
        assert_eq!(ours.data_pages, Some(theirs.data));
        assert_eq!(ours.dirty_pages, Some(theirs.dt));
    });
}

#[test]
fn schedstat_as_procfs_reads_it() {
    each("schedstat", |file| {
        let ours = Schedstat::parse(file).unwrap();
        let theirs = procfs::process::Schedstat::from_read(file).unwrap();
        assert_eq!(ours.run_ns, Some(theirs.sum_exec_runtime));
        assert_eq!(ours.wait_ns, Some(theirs.run_delay));
        assert_eq!(ours.timeslices, Some(theirs.pcount));
    });
}

#[test]
fn smaps_rollup_as_procfs_reads_it() {
    each("smaps_rollup", |file| {
        let ours = SmapsRollup::parse(file).unwrap();
        check_wire(&ours);
        let theirs = procfs::process::SmapsRollup::from_buf_read(file).unwrap().memory_map_rollup;
        let mut theirs: HashMap<String, u64> = theirs.into_iter().next().unwrap().extension.map;
        for (key, bytes) in [
            ("Rss", ours.rss_bytes),
            ("Pss", ours.pss_bytes),
            ("Pss_Dirty", ours.pss_dirty_bytes),
            ("Pss_Anon", ours.pss_anon_bytes),
            ("Pss_File", ours.pss_file_bytes),
            ("Pss_Shmem", ours.pss_shmem_bytes),
            ("Shared_Clean", ours.shared_clean_bytes),
            ("Shared_Dirty", ours.shared_dirty_bytes),
            ("Private_Clean", ours.private_clean_bytes),
            ("Private_Dirty", ours.private_dirty_bytes),
            ("Referenced", ours.referenced_bytes),
            ("Anonymous", ours.anonymous_bytes),
            ("KSM", ours.ksm_bytes),
            ("LazyFree", ours.lazy_free_bytes),
            ("AnonHugePages", ours.anon_huge_pages_bytes),
            ("ShmemPmdMapped", ours.shmem_pmd_mapped_bytes),
            ("FilePmdMapped", ours.file_pmd_mapped_bytes),
            ("Shared_Hugetlb", ours.shared_hugetlb_bytes),
            ("Private_Hugetlb", ours.private_hugetlb_bytes),
            ("Swap", ours.swap_bytes),
            ("SwapPss", ours.swap_pss_bytes),
            ("Locked", ours.locked_bytes),
        ] {
            assert_eq!(bytes, theirs.remove(key), "{key}");
        }
        assert!(theirs.keys().all(|key| ours.other.contains_key(key)), "{theirs:?}");
    });
}

#[test]
fn limits_as_procfs_reads_them() {
    let value = |limit| match limit {
        LimitValue::Unlimited => None,
        LimitValue::Value(value) => Some(value),
    };
    each("limits", |file| {
        let ours = Limits::parse(file).unwrap();
        let theirs = procfs::process::Limits::from_buf_read(file).unwrap();
        check_wire(&ours);
        for (ours, theirs) in [
            (ours.cpu_time_seconds, theirs.max_cpu_time),
            (ours.file_size_bytes, theirs.max_file_size),
            (ours.data_size_bytes, theirs.max_data_size),
            (ours.stack_size_bytes, theirs.max_stack_size),
            (ours.core_file_size_bytes, theirs.max_core_file_size),
            (ours.resident_set_bytes, theirs.max_resident_set),
            (ours.processes, theirs.max_processes),
            (ours.open_files, theirs.max_open_files),
            (ours.locked_memory_bytes, theirs.max_locked_memory),
            (ours.address_space_bytes, theirs.max_address_space),
            (ours.file_locks, theirs.max_file_locks),
            (ours.pending_signals, theirs.max_pending_signals),
            (ours.msgqueue_size_bytes, theirs.max_msgqueue_size),
            (ours.nice_priority, theirs.max_nice_priority),
            (ours.realtime_priority, theirs.max_realtime_priority),
            (ours.realtime_timeout_us, theirs.max_realtime_timeout),
        ] {
            let ours = ours.unwrap();
            assert_eq!((ours.soft, ours.hard), (value(theirs.soft_limit), value(theirs.hard_limit)));
        }
    });
}

#[test]
fn cgroup_as_procfs_reads_it() {
    each("cgroup", |file| {
        let ours = CgroupPaths::parse(file).unwrap();
        let theirs = procfs::ProcessCGroups::from_buf_read(file).unwrap();
        check_wire(&ours);
        assert_eq!(ours.list.len(), theirs.0.len());
        for (ours, theirs) in ours.list.iter().zip(theirs) {
            assert_eq!(ours.hierarchy, theirs.hierarchy);
            assert_eq!(ours.controllers, theirs.controllers.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(ours.path, theirs.pathname.as_str());
        }
    });
}

#[test]
fn own_process_as_procfs_reads_it() {
    let own = Path::new("/proc/self");
    let theirs = procfs::process::Process::myself().unwrap();
    let args = parse_cmdline(&std::fs::read(own.join("cmdline")).unwrap());
    assert_eq!(args, theirs.cmdline().unwrap().iter().map(String::as_str).collect::<Vec<_>>());
    let environ = Environ::parse(&std::fs::read(own.join("environ")).unwrap());
    for (name, value) in theirs.environ().unwrap() {
        assert_eq!(environ.get(name.as_encoded_bytes()).unwrap().as_bytes(), value.as_encoded_bytes());
    }
    let read = |name: &str| std::fs::read(own.join(name)).unwrap();
    let oom = Oom::parse(&read("oom_score"), &read("oom_score_adj")).unwrap();
    assert_eq!(oom.score_adj, Some(i32::from(theirs.oom_score_adj().unwrap())));
    let mut ours = Namespaces::default();
    for (name, theirs) in theirs.namespaces().unwrap().0 {
        let link = std::fs::read_link(own.join("ns").join(&name)).unwrap();
        assert!(ours.set(name.as_encoded_bytes(), link.as_os_str().as_encoded_bytes()));
        assert_eq!(Namespaces::parse_link(link.as_os_str().as_encoded_bytes()), Some(theirs.identifier));
    }
    check_wire(&ours);
    assert!([ours.ipc, ours.mnt, ours.net, ours.pid, ours.user, ours.uts].iter().all(Option::is_some));
}

/// Gives each live process's file of this name, read once, to `check`. Those that vanish or may not be read are passed
/// over; so are the empty files of kernel threads and zombies.
#[track_caller]
fn each(name: &str, mut check: impl FnMut(&[u8])) {
    let mut checked = 0;
    for process in std::fs::read_dir("/proc").unwrap() {
        let path: PathBuf = process.unwrap().path();
        if !path.file_name().unwrap().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(file) = std::fs::read(path.join(name)) else { continue };
        if !file.is_empty() {
            check(&file);
            checked += 1;
        }
    }
    // This test's own process at least, unless this kernel does not have the file.
    assert!(checked > 0 || !Path::new("/proc/self").join(name).exists(), "no process has a readable {name}");
}

fn parse_all(bytes: &[u8]) {
    check_any(Stat::parse(bytes));
    check_any(Pressure::parse(bytes));
    check_any(ControlGroupCpu::parse(bytes));
    check_any(Status::parse(bytes));
    check_any(Io::parse(bytes));
    check_any(Statm::parse(bytes));
    check_any(Schedstat::parse(bytes));
    check_any(SmapsRollup::parse(bytes));
    check_any(Limits::parse(bytes));
    check_any(Oom::parse(bytes, bytes));
    check_any(Ok(parse_cmdline(bytes)));
    check_any(Ok(Environ::parse(bytes)));
    let mut cgroups = CgroupPaths::parse(bytes);
    if let Ok(cgroups) = &mut cgroups {
        assert!(cgroups.main_path().is_none() || !cgroups.list.is_empty());
        // They are not sent.
        if std::mem::take(&mut cgroups.unknown).is_empty() {
            assert_eq!(cgroups.main_path().is_none(), cgroups.list.is_empty());
        }
    }
    check_any(cgroups);
    for name in ["pid", "net", "?"] {
        let mut namespaces = Namespaces::default();
        let understood = namespaces.set(name.as_bytes(), bytes);
        assert_eq!(understood, namespaces != Namespaces::default());
    }
    Namespaces::default().set(bytes, bytes);
}

/// A value that was parsed can be sent and received; any other is reported as malformed.
fn check_any<T: Serialize + DeserializeOwned + PartialEq + Debug>(parsed: Result<T>) {
    match parsed {
        Ok(value) => check_wire(&value),
        Err(error) => assert!(error.is_malformed() && !error.to_string().is_empty()),
    }
}

fn check_wire<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *value, "{json}");
}

#[track_caller]
fn check_malformed<T: Debug>(parse: fn(&[u8]) -> Result<T>, file: &str, what: &str) {
    let error = parse(file.as_bytes()).unwrap_err();
    assert!(error.is_malformed());
    assert!(error.to_string().contains(what), "{error}");
}

fn pairs(ranges: &Option<Vec<IdRange>>) -> Vec<(u32, u32)> {
    ranges.iter().flatten().map(|range| (range.first, range.last)).collect()
}
