//! The source of processes on the live kernel: the view of any user.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use appmon::process::{ProcessId, ProcessState, Secret};
use appmon::stream::Change;
use appmon::time::Monotonic;
use appmon::{
    Fields, ProcFs, ProcessSample, ProcessTree, Processes, Reading, Select, Snapshot, SnapshotStreamExt, Text,
};
use rustix::process::Signal;

use common::{
    Crowd, Helper, assert_no_loss, counters, counters_of, direct, find, get, inside, next, tick, ticks, until,
    until_asleep, until_named,
};

/// Long enough that no tick ends before everything was read.
const PATIENT: Duration = Duration::from_secs(300);

/// Long enough that nothing is read again only since it is old.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// Reads which processes there are, by another crate.
fn listing() -> BTreeMap<u32, u64> {
    let ids = procfs::process::all_processes().unwrap().filter_map(|process| {
        let stat = process.ok()?.stat().ok()?;
        Some((u32::try_from(stat.pid).unwrap(), stat.starttime))
    });
    ids.collect()
}

/// Ticks once, and checks that exactly the live processes are in the samples.
#[track_caller]
fn complete_tick(source: &mut Processes) -> appmon::Snapshot<ProcessSample> {
    let began = Monotonic::now();
    let before = listing();
    let snapshot = tick(source);
    let after = listing();
    let seen: BTreeMap<u32, u64> =
        snapshot.samples.iter().map(|sample| (sample.id.pid, sample.id.start_ticks)).collect();
    assert_eq!(seen.len(), snapshot.samples.len(), "each pid once");
    assert!(snapshot.samples.is_sorted_by_key(|sample| sample.id));
    let throughout = before.iter().filter(|(pid, start)| after.get(pid) == Some(start));
    let missing: Vec<_> = throughout.filter(|(pid, start)| seen.get(pid) != Some(start)).collect();
    assert!(missing.is_empty(), "alive all the time and not seen: {missing:?}");
    let began_ticks = began.as_nanos() / (1_000_000_000 / rustix::param::clock_ticks_per_second());
    let ghosts: Vec<_> =
        seen.iter().filter(|(pid, start)| before.get(pid) != Some(start) && **start < began_ticks).collect();
    assert!(ghosts.is_empty(), "seen, and dead before the tick began: {ghosts:?}");
    snapshot
}

#[test]
fn every_field_of_a_stopped_process_is_that_of_its_files() {
    let mut helper = Helper::sh("read x; echo ready; read x", &[]);
    helper.say("go on");
    assert_eq!(helper.line(), "ready");
    helper.stop();
    let pid = helper.pid();
    // It has said that it stops before it is off the processor, and until then it counts.
    let everything = || {
        let process = direct(pid);
        (process.stat().unwrap(), counters(&process).unwrap(), process.schedstat().unwrap(), process.statm().unwrap())
    };
    let mut found = None;
    until("a stopped process stands still", || {
        let before = everything();
        let mut source = Processes::new().fields(Fields::all()).slow_budget(PATIENT).select(Select::pid(pid));
        let mut snapshot = tick(&mut source);
        found = snapshot.samples.pop();
        assert_eq!(snapshot.samples, [], "nothing but what was selected");
        assert_no_loss(&snapshot);
        before == everything()
    });
    let sample = found.unwrap();
    let process = direct(pid);

    // Against another crate.
    let oracle = procfs::process::Process::new(i32::try_from(pid).unwrap()).unwrap();
    let stat = oracle.stat().unwrap();
    let ticks = procfs::ticks_per_second();
    assert_eq!(sample.id, ProcessId { pid, start_ticks: stat.starttime });
    assert_eq!(sample.ppid, std::process::id());
    assert_eq!(sample.state, ProcessState::Stopped);
    assert_eq!(sample.threads, 1);
    assert_eq!(i64::from(sample.nice), stat.nice);
    assert_eq!(sample.cpu.user_ns * ticks / 1_000_000_000, stat.utime);
    assert_eq!(sample.cpu.system_ns * ticks / 1_000_000_000, stat.stime);
    assert_eq!(sample.cpu.children_user_ns, 0);
    assert_eq!(sample.cpu.children_system_ns, 0);
    assert_eq!(sample.memory.rss_bytes, stat.rss * procfs::page_size());
    assert_eq!(sample.memory.virtual_bytes, stat.vsize);
    assert_eq!((sample.faults.minor, sample.faults.major), (stat.minflt, stat.majflt));
    let io = oracle.io().unwrap();
    let seen = sample.io.value().unwrap();
    assert_eq!((seen.read_chars, seen.write_chars), (Some(io.rchar), Some(io.wchar)));
    assert_eq!((seen.read_syscalls, seen.write_syscalls), (Some(io.syscr), Some(io.syscw)));
    assert_eq!((seen.read_bytes, seen.write_bytes), (Some(io.read_bytes), Some(io.write_bytes)));
    assert_eq!(seen.cancelled_write_bytes, Some(io.cancelled_write_bytes));
    assert_eq!(*sample.fd_count.value().unwrap(), oracle.fd_count().unwrap() as u64);
    let statm = oracle.statm().unwrap();
    assert_eq!(sample.statm.value().unwrap().resident_pages, Some(statm.resident));
    assert_eq!(sample.statm.value().unwrap().size_pages, Some(statm.size));
    assert_eq!(sample.info.uid, oracle.uid().unwrap());
    assert_eq!(sample.info.name, stat.comm.as_str());
    assert_eq!(sample.info.exe.value().unwrap().as_ref() as &std::path::Path, oracle.exe().unwrap());
    assert_eq!(sample.info.cwd.value().unwrap().as_ref() as &std::path::Path, oracle.cwd().unwrap());
    let arguments = oracle.cmdline().unwrap();
    assert_eq!(arguments, ["/bin/sh", "-c", "read x; echo ready; read x"]);
    assert_eq!(
        *sample.info.cmdline.value().unwrap(),
        arguments.iter().map(|a| Text::from(a.as_str())).collect::<Vec<_>>()
    );
    let environ = sample.environ.value().unwrap();
    assert_eq!(environ.iter().count(), oracle.environ().unwrap().len());
    for (name, value) in oracle.environ().unwrap() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(environ.get(name.as_bytes()).unwrap().as_bytes(), value.as_bytes());
    }
    assert_eq!(sample.oom.value().unwrap().score.map(u64::from), Some(u64::from(oracle.oom_score().unwrap())));

    // Against the handle, which reads file by file.
    assert_eq!(**sample.stat.value().unwrap(), process.stat().unwrap());
    let mut status = process.status().unwrap();
    // Of all processes of the user.
    status.sig_q = sample.status.value().unwrap().sig_q;
    assert_eq!(**sample.status.value().unwrap(), status);
    assert_eq!(*sample.io.value().unwrap(), process.io().unwrap());
    assert_eq!(**sample.statm.value().unwrap(), process.statm().unwrap());
    assert_eq!(**sample.schedstat.value().unwrap(), process.schedstat().unwrap());
    assert_eq!(**sample.limits.value().unwrap(), process.limits().unwrap());
    assert_eq!(*sample.fd_count.value().unwrap(), process.fd_count().unwrap());
    assert_eq!(**sample.namespaces.value().unwrap(), process.namespaces().unwrap());
    assert_eq!(*sample.oom.value().unwrap(), process.oom().unwrap());
    assert_eq!(**sample.environ.value().unwrap(), process.environ().unwrap());
    assert_eq!(*sample.info.cmdline.value().unwrap(), process.cmdline().unwrap());
    assert_eq!(*sample.info.exe.value().unwrap(), process.exe().unwrap());
    assert_eq!(*sample.info.cwd.value().unwrap(), process.cwd().unwrap());
    assert_eq!(sample.info.cgroup.value(), process.cgroup().unwrap().main_path());
    let status = process.status().unwrap();
    assert_eq!((sample.info.uid, sample.info.gid), (status.uid.unwrap().effective, status.gid.unwrap().effective));
    let user = nix::unistd::User::from_uid(sample.info.uid.into()).unwrap();
    assert_eq!(sample.info.user.value().map(Text::to_string), user.map(|user| user.name));
    let group = nix::unistd::Group::from_gid(sample.info.gid.into()).unwrap();
    assert_eq!(sample.info.group.value().map(Text::to_string), group.map(|group| group.name));
    // Others share pages with it, so only what is its own stays.
    let (seen, rollup) = (sample.smaps_rollup.value().unwrap(), process.smaps_rollup().unwrap());
    assert_eq!(
        (seen.rss_bytes, seen.anonymous_bytes, seen.private_dirty_bytes),
        (rollup.rss_bytes, rollup.anonymous_bytes, rollup.private_dirty_bytes)
    );
    assert!(!sample.info.kernel_thread);
    assert_eq!(sample.info.execs, 0);
    assert!(sample.at >= sample.read_at);
}

#[test]
fn all_processes_are_as_another_crate_reads_them() {
    let mut source = Processes::new();
    complete_tick(&mut source);
    // What changes in between is another thing than what is wrong: that stays.
    until("agreement on all processes", || {
        let snapshot = complete_tick(&mut source);
        let mut compared = 0;
        for sample in &snapshot.samples {
            let Ok(process) = procfs::process::Process::new(i32::try_from(sample.id.pid).unwrap()) else { continue };
            let (Ok(stat), Ok(uid)) = (process.stat(), process.uid()) else { continue };
            if stat.starttime != sample.id.start_ticks {
                continue;
            }
            compared += 1;
            let same = stat.ppid == i32::try_from(sample.ppid).unwrap()
                && sample.info.name.to_string_lossy() == stat.comm
                && uid == sample.info.uid
                && sample.info.kernel_thread == (stat.flags & 0x0020_0000 != 0);
            if !same {
                eprintln!("{sample:?} is not {stat:?} of {uid}");
                return false;
            }
        }
        compared > 1
    });
}

#[test]
fn exec_into_a_selection_is_found_within_32_ticks_and_out_of_it_at_once() {
    let mut helper = Helper::sh("echo ready; read x; exec sleep 100000", &[]);
    assert_eq!(helper.line(), "ready");
    until_asleep(helper.pid());
    let mut source = Processes::new().select(Select::name("sleep")).recheck(NEVER);
    // So many that the longest rest has come.
    for _ in 0..70 {
        assert_eq!(find(&tick(&mut source), helper.pid()), None);
    }
    helper.say("go on");
    until_named(helper.pid(), "sleep");
    until_asleep(helper.pid());
    let needed = (1..=33).find(|_| find(&tick(&mut source), helper.pid()).is_some());
    assert!(needed.is_some_and(|ticks| ticks <= 32), "{needed:?}");
    let snapshot = tick(&mut source);
    let sample = get(&snapshot, helper.pid());
    assert_eq!(sample.info.name, "sleep");
    assert!(sample.io.value().is_some(), "{:?}", sample.io);
    assert!(sample.info.exe.value().is_some());
    assert!(snapshot.samples.iter().all(|sample| sample.info.name == "sleep"));

    let mut out = Processes::new().select(Select::name("sh"));
    let mut helper = Helper::sh("echo ready; read x; exec sleep 100000", &[]);
    assert_eq!(helper.line(), "ready");
    for _ in 0..5 {
        get(&tick(&mut out), helper.pid());
    }
    helper.say("go on");
    until_named(helper.pid(), "sleep");
    until_asleep(helper.pid());
    assert_eq!(find(&tick(&mut out), helper.pid()), None);
}

#[test]
fn a_change_of_directory_without_an_exec_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let mut helper = Helper::sh("echo ready; read x; cd \"$0\"; echo there; read x", &[path.to_str().unwrap()]);
    assert_eq!(helper.line(), "ready");
    let mut source = Processes::new().select(Select::cwd(path.as_path())).recheck(NEVER);
    for _ in 0..70 {
        assert_eq!(find(&tick(&mut source), helper.pid()), None);
    }
    helper.say("go on");
    assert_eq!(helper.line(), "there");
    until_asleep(helper.pid());
    assert!((0..33).any(|_| find(&tick(&mut source), helper.pid()).is_some()), "within the longest rest");
}

#[test]
fn a_function_sees_the_command_line_that_is_requested() {
    let mut helper = Helper::sh("echo ready; read x", &["needle"]);
    assert_eq!(helper.line(), "ready");
    let has_needle = |info: &appmon::process::ProcessInfo| {
        info.cmdline.value().is_some_and(|cmdline| cmdline.iter().any(|argument| *argument == "needle"))
    };
    let mut source = Processes::new()
        .select(Select::matching(has_needle))
        .fields(Fields::DEFAULT | Fields::CMDLINE)
        .slow_budget(PATIENT);
    get(&tick(&mut source), helper.pid());
}

#[test]
fn who_could_not_be_decided_about_is_counted() {
    let helper = Helper::sh("read x", &[]);
    let mut source =
        Processes::new().select(Select::pid(helper.pid()) & Select::user("root")).slow_budget(Duration::ZERO);
    let first = tick(&mut source);
    assert!(first.skipped.undecided == 1 || first.samples.len() == 1 || !common::is_root(), "{:?}", first.skipped);
    until("its name is there", || tick(&mut source).skipped.undecided == 0);
    assert_eq!(tick(&mut source).samples.len(), usize::from(common::is_root()));
}

#[test]
fn a_process_that_renames_itself_is_no_change() {
    use futures::StreamExt as _;
    let mut helper = Helper::sh("echo ready; read x; printf phase2 > /proc/self/comm; echo done; read x", &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let mut changes = ticks(Processes::new().select(Select::pid(pid))).changes();
    let mut next = || futures::executor::block_on(changes.next()).unwrap().unwrap().samples;
    assert_eq!(next().len(), 1);
    helper.say("go on");
    assert_eq!(helper.line(), "done");
    until_named(pid, "phase2");
    until_asleep(pid);
    assert_eq!(next(), []);
}

/// Two processes that share a table of open files: the second opens a hundred on command, while the first does not run.
const SHARED_FILES: &str = "
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None)
start, done = os.pipe(), os.pipe()
# clone3(CLONE_FILES), which has the same number everywhere.
arguments = struct.pack('8Q', 0x400, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
if libc.syscall(435, arguments, len(arguments)) == 0:
    os.read(start[0], 1)
    for _ in range(100):
        os.open('/dev/null', os.O_RDONLY)
    os.write(done[1], b'x')
    while True:
        signal.pause()
print('ready', flush=True)
while True:
    signal.pause()
";

#[test]
fn open_files_that_another_process_opened_are_counted_as_of_the_reading() {
    let mut helper = Helper::python(SHARED_FILES, &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    until_asleep(pid);
    let mut source =
        Processes::new().select(Select::pid(pid)).fields(Fields::DEFAULT | Fields::FD_COUNT).max_age(Duration::ZERO);
    let before = *get(&tick(&mut source), pid).fd_count.value().unwrap();
    let start = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(before, start as u64);
    // By its table, its own write wakes the other one up: the first stands still.
    let pipe = |end: &str| format!("/proc/{pid}/fd/{end}");
    std::fs::write(pipe("4"), "x").unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(&mut std::fs::File::open(pipe("5")).unwrap(), &mut byte).unwrap();
    let snapshot = tick(&mut source);
    let sample = get(&snapshot, pid);
    assert_eq!(sample.fd_count.value().copied(), Some(before + 100));
    assert_eq!(sample.read_at, sample.at);
}

#[test]
fn a_new_process_is_in_the_next_tick() {
    let mut source = Processes::new();
    tick(&mut source);
    for _ in 0..50 {
        let mut helper = Helper::sh("read x", &[]);
        get(&tick(&mut source), helper.pid());
        helper.end();
        assert_eq!(find(&tick(&mut source), helper.pid()), None);
    }
}

#[test]
fn a_thread_is_no_process_also_when_it_is_the_one_that_reads() {
    let mut source = Processes::new();
    tick(&mut source);
    for _ in 0..20 {
        // The kernel answers for the clock of a process by the id of the calling thread, too.
        let (thread, snapshot) = std::thread::scope(|scope| {
            let read = scope.spawn(|| {
                let own = std::fs::read_link("/proc/thread-self").unwrap();
                (own.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap(), tick(&mut source))
            });
            read.join().unwrap()
        });
        assert_ne!(thread, std::process::id());
        assert_eq!(find(&snapshot, thread), None);
        get(&snapshot, std::process::id());
    }
}

#[test]
fn thousands_of_forks_leave_no_ghosts_and_hide_no_process() {
    const FORKS: &str = "i=0; while [ $i -lt 3000 ]; do
            if [ $((i % 30)) -eq 0 ]; then sleep 100000 </dev/null >/dev/null & echo $!; else (:) & fi
            i=$((i + 1))
        done; echo done; read x";
    let mut source = Processes::new().fields(Fields::IO | Fields::STATUS).max_age(NEVER);
    tick(&mut source);
    let mut helper = Helper::sh(FORKS, &[]);
    let mut survivors = Vec::new();
    loop {
        // One line for every 30 forks: as many ticks, each between two of them.
        let line = helper.line();
        if line == "done" {
            break;
        }
        survivors.push(line.parse::<u32>().unwrap());
        tick(&mut source);
    }
    assert_eq!(survivors.len(), 100);
    for pid in &survivors {
        until_named(*pid, "sleep");
        until_asleep(*pid);
    }
    complete_tick(&mut source);
    let snapshot = complete_tick(&mut source);
    for pid in &survivors {
        let sample = get(&snapshot, *pid);
        assert_eq!(sample.ppid, helper.pid());
        assert_eq!(sample.info.name, "sleep");
        assert_eq!(counters_of(sample), counters(&direct(*pid)).unwrap());
    }
}

#[test]
fn an_idle_process_by_its_clock_has_the_counters_of_a_full_reading() {
    let idle = Crowd::new(200);
    let busy: Vec<Helper> = (0..12)
        .map(|nth| match nth % 4 {
            0 => Helper::sh("while :; do sleep 0.02; done", &[]),
            1 => Helper::sh("while :; do cat /proc/self/status >/dev/null; sleep 0.1; done", &[]),
            2 => Helper::python("import time\nwhile True:\n  bytearray(1 << 20); time.sleep(0.05)", &[]),
            _ => Helper::python(
                "import threading,time\n[threading.Thread(target=lambda: [time.sleep(.03) for _ in range(10**6)]).start() for _ in range(4)]",
                &[],
            ),
        })
        .collect();
    let mut source = Processes::new().fields(Fields::IO | Fields::STATUS).max_age(NEVER);
    tick(&mut source);
    let procfs = ProcFs::new("/proc").unwrap();
    let mut last: BTreeMap<ProcessId, Monotonic> = BTreeMap::new();
    let (mut compared, mut ran) = (0_u32, 0_u32);
    for round in 0..25 {
        if round % 5 == 4 {
            idle.run();
        }
        let first = tick(&mut source);
        let still: Vec<&ProcessSample> =
            first.samples.iter().filter(|sample| last.get(&sample.id) == Some(&sample.read_at)).collect();
        let full: Vec<_> = still
            .iter()
            .filter(|sample| sample.io.value().is_some())
            .filter_map(|sample| {
                let process = procfs.process(sample.id.pid).ok().filter(|process| process.id() == sample.id)?;
                let counters = counters(&process).ok()?;
                (process.stat().ok()?.state != ProcessState::Running).then_some((sample.id, counters))
            })
            .collect();
        // One that ran at its reading and since is seen to, after a tick of the scheduler.
        let later = Monotonic::now().plus(Duration::from_millis(20));
        until("a tick of the scheduler", || Monotonic::now() > later);
        let second = tick(&mut source);
        for (id, full) in full {
            let Some(sample) = find(&second, id.pid).filter(|sample| sample.id == id) else { continue };
            if last.get(&id) == Some(&sample.read_at) {
                assert!(sample.at > sample.read_at);
                assert_eq!(counters_of(sample), full, "{}", sample.info.name);
                compared += 1;
            }
        }
        ran += u32::try_from(second.samples.iter().filter(|s| s.read_at >= first.at).count()).unwrap();
        last = second.samples.iter().map(|sample| (sample.id, sample.read_at)).collect();
    }
    assert!(compared > 1_000, "{compared}");
    assert!(ran > 100, "{ran}");
    drop(busy);
}

#[test]
fn an_unselected_process_is_not_read_though_it_runs() {
    if !inside("live_processes::an_unselected_process_is_not_read_though_it_runs", &["/usr/bin/env"]) {
        return;
    }
    let crowd = Crowd::new(200);
    let mut source = Processes::new().select(Select::name("nobody-has-this")).recheck(NEVER);
    assert_eq!(tick(&mut source).samples, []);
    let me = direct(std::process::id());
    let before = me.io().unwrap().read_syscalls.unwrap();
    for _ in 0..40 {
        crowd.run();
        assert_eq!(tick(&mut source).samples, []);
    }
    // Looked at after 1, 2, 4 … 32 ticks, each is read six times or so, and not forty times.
    let reads = me.io().unwrap().read_syscalls.unwrap() - before;
    assert!(reads < 200 * 20, "{reads}");
}

#[test]
fn few_descriptors_cost_no_samples() {
    let limited = ["/bin/sh", "-c", "ulimit -n 64 && exec \"$@\"", "sh"];
    if !inside("live_processes::few_descriptors_cost_no_samples", &limited) {
        return;
    }
    let crowd = Crowd::new(300);
    let pids = crowd.pids();
    let me = direct(std::process::id());
    let before = me.fd_count().unwrap();
    let mut source = Processes::new().fields(Fields::IO | Fields::STATUS | Fields::EXE | Fields::STATM).threads(2);
    let check = |snapshot: &appmon::Snapshot<ProcessSample>| {
        for pid in &pids {
            let sample = get(snapshot, *pid);
            assert!(sample.io.value().is_some(), "{:?}", sample.io);
            assert!(sample.status.value().is_some());
            assert!(sample.statm.value().is_some());
            assert!(sample.info.exe.value().is_some());
        }
        assert_no_loss(snapshot);
    };
    for _ in 0..6 {
        crowd.run();
        let snapshot = tick(&mut source);
        check(&snapshot);
        assert!(pids.iter().all(|pid| get(&snapshot, *pid).read_at >= snapshot.at), "all ran, and were read");
    }
    // A quarter of the limit to keep files open, and a handful: the root, a listing, four files of the whole machine, the
    // mount table, four in reserve per thread.
    let open = me.fd_count().unwrap();
    assert!(open - before <= 16 + 7 + 4 * 2, "{before} {open}");

    // The program itself has all but one of the others.
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    held.pop();
    for _ in 0..6 {
        crowd.run();
        check(&tick(&mut source));
    }
    // And all of them.
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    for _ in 0..3 {
        crowd.run();
        let snapshot = tick(&mut source);
        assert!(pids.iter().all(|pid| find(&snapshot, *pid).is_some()));
    }
    // A source that cannot begin returns an error, and begins when it can.
    drop(source);
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    let mut late = Processes::new();
    common::try_tick(&mut late).unwrap_err();
    drop(held);
    check_all(&tick(&mut late), &pids);
}

#[test]
fn a_file_not_read_for_lack_of_descriptors_is_read_later() {
    let limited = ["/bin/sh", "-c", "ulimit -n 64 && exec \"$@\"", "sh"];
    if !inside("live_processes::a_file_not_read_for_lack_of_descriptors_is_read_later", &limited) {
        return;
    }
    let mut source = Processes::new()
        .select(Select::cmdline(appmon::process::Pattern::contains("100000")))
        .fields(Fields::DEFAULT | Fields::CMDLINE | Fields::ENVIRON)
        .max_age(NEVER)
        .slow_budget(PATIENT);
    tick(&mut source);
    let crowd = Crowd::new(5);
    let pids = crowd.pids();
    for pid in &pids {
        until_named(*pid, "sleep");
        until_asleep(*pid);
    }
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    // A directory can be opened, and then no file in it.
    held.pop();
    let snapshot = tick(&mut source);
    assert!(pids.iter().all(|pid| find(&snapshot, *pid).is_none()), "nothing is known that could decide");
    drop(held);
    // Nothing happened to these processes since.
    let snapshot = tick(&mut source);
    for pid in &pids {
        let sample = get(&snapshot, *pid);
        assert_eq!(*sample.info.cmdline.value().unwrap(), ["sleep", "100000"]);
        assert!(sample.environ.value().is_some());
    }
}

#[track_caller]
fn check_all(snapshot: &appmon::Snapshot<ProcessSample>, pids: &[u32]) {
    let missing: Vec<_> = pids.iter().filter(|pid| find(snapshot, **pid).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A process whose main thread exits on command, while two others go on.
const LEADERLESS: &str = "
import ctypes, platform, sys, threading
for _ in range(2):
    threading.Thread(target=threading.Event().wait).start()
print('ready', flush=True)
sys.stdin.readline()
ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93, 'riscv64': 93}[platform.machine()], 0)
";

#[test]
fn a_process_without_its_main_thread_lives() {
    let mut helper = Helper::python(LEADERLESS, &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let fields = Fields::DEFAULT | Fields::CMDLINE;
    let mut source = Processes::new().fields(fields).slow_budget(PATIENT);
    let snapshot = tick(&mut source);
    let before = get(&snapshot, pid).clone();
    assert!(before.info.exe.value().is_some());
    assert_eq!(before.threads, 3);
    helper.say("go on");
    until("the main thread is seen to have exited", || get(&tick(&mut source), pid).state == ProcessState::Zombie);
    for _ in 0..3 {
        let snapshot = tick(&mut source);
        let sample = get(&snapshot, pid);
        assert_eq!(sample.id, before.id);
        assert_eq!(sample.state, ProcessState::Zombie);
        assert!(sample.threads > 1, "{}", sample.threads);
        assert!(sample.memory.rss_bytes > 0);
        assert!(sample.memory.virtual_bytes > 0);
        assert_eq!(sample.info.exe, before.info.exe);
        assert_eq!(sample.info.cmdline, before.info.cmdline);
        assert_eq!(sample.info.execs, 0);
        assert!(sample.cpu.total_ns > 0);
        assert!(sample.io.value().is_some(), "{:?}", sample.io);
    }
    // One who sees it only now has its threads to ask.
    let snapshot = tick(&mut Processes::new().fields(fields).slow_budget(PATIENT));
    let sample = get(&snapshot, pid);
    assert_eq!(sample.info.cmdline, before.info.cmdline);
    assert_eq!(sample.info.exe, before.info.exe);
    assert!(sample.memory.rss_bytes > 0);
    assert_eq!(sample.state, ProcessState::Zombie);
}

#[test]
fn a_zombie_keeps_its_last_known_values() {
    let mut helper = Helper::sh("echo ready; read x", &["argument"]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let fields = Fields::DEFAULT | Fields::CMDLINE | Fields::ENVIRON | Fields::SMAPS_ROLLUP;
    let mut source = Processes::new().fields(fields).slow_budget(PATIENT);
    let before = get(&tick(&mut source), pid).clone();
    helper.say("end");
    helper.wait_unreaped();
    until("it is seen to have ended", || get(&tick(&mut source), pid).state == ProcessState::Zombie);
    for _ in 0..3 {
        let snapshot = tick(&mut source);
        let sample = get(&snapshot, pid);
        assert_eq!(sample.state, ProcessState::Zombie);
        assert_eq!(sample.threads, 1);
        assert_eq!(sample.id, before.id);
        assert_eq!(sample.info.exe, before.info.exe);
        assert_eq!(sample.info.cmdline, before.info.cmdline);
        assert_eq!(sample.environ, before.environ);
        assert_eq!(sample.info.execs, 0);
        assert_eq!(sample.memory.rss_bytes, 0);
        assert_eq!(sample.smaps_rollup, Reading::NotApplicable);
    }
    assert!(before.info.cmdline.value().unwrap().contains(&Text::from("argument")));
    // Who sees it only now cannot know.
    let snapshot = tick(&mut Processes::new().fields(fields).slow_budget(PATIENT));
    let sample = get(&snapshot, pid);
    assert_eq!(sample.info.exe, Reading::NotApplicable);
    assert_eq!(sample.info.cmdline, Reading::NotApplicable);
    assert_eq!(sample.environ, Reading::NotApplicable);
    helper.end();
    assert_eq!(find(&tick(&mut source), pid), None);
}

#[test]
fn a_stopped_process_is_stopped_and_goes_on() {
    let mut helper = Helper::sh("echo ready; read x; echo again; read x", &[]);
    assert_eq!(helper.line(), "ready");
    let mut source = Processes::new();
    tick(&mut source);
    helper.stop();
    assert_eq!(get(&tick(&mut source), helper.pid()).state, ProcessState::Stopped);
    helper.signal(Signal::CONT);
    helper.say("go on");
    assert_eq!(helper.line(), "again");
    until_asleep(helper.pid());
    assert_eq!(get(&tick(&mut source), helper.pid()).state, ProcessState::Sleeping);
}

const SECRET: &str = "c0rrect-horse-battery";

fn keeper_of_a_secret() -> Helper {
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "echo ready; read x", "sh", &format!("--password={SECRET}")]).env("TOKEN", SECRET);
    let mut helper = Helper::spawn(&mut command);
    assert_eq!(helper.line(), "ready");
    helper
}

#[test]
fn secrets_are_in_no_sample_that_did_not_request_them() {
    let helper = keeper_of_a_secret();
    let by_secret = Select::cmdline(appmon::process::Pattern::contains(SECRET));
    for select in
        [Select::all(), by_secret.clone(), by_secret.clone().with_descendants(), by_secret & Select::name("sh")]
    {
        let mut source = Processes::new()
            .select(select)
            .fields(Fields::all() - Fields::CMDLINE - Fields::ENVIRON)
            .slow_budget(PATIENT);
        for _ in 0..3 {
            let snapshot = tick(&mut source);
            let sample = get(&snapshot, helper.pid());
            assert_eq!(sample.info.cmdline, Reading::NotRequested);
            assert_eq!(sample.environ, Reading::NotRequested);
            assert!(!serde_json::to_string(sample).unwrap().contains(SECRET));
            assert!(!format!("{sample:?}").contains(SECRET));
            // It ran, and is read again.
            helper.signal(Signal::STOP);
            helper.signal(Signal::CONT);
        }
    }
}

#[test]
fn redact_comes_before_everybody_but_the_selection() {
    let helper = keeper_of_a_secret();
    let mut source = Processes::new()
        .select(Select::cmdline(appmon::process::Pattern::contains(SECRET)))
        .fields(Fields::DEFAULT | Fields::CMDLINE | Fields::ENVIRON)
        .slow_budget(PATIENT)
        .slow_cadence(Duration::ZERO)
        .redact(|id, secret| {
            assert_ne!(id.pid, 0);
            match secret {
                Secret::Cmdline(arguments) => {
                    for argument in arguments.iter_mut().filter(|argument| argument.to_string_lossy().contains(SECRET))
                    {
                        *argument = Text::from("--password=…");
                    }
                }
                Secret::Environ(environ) => {
                    **environ = environ
                        .iter()
                        .map(|(name, value)| {
                            (name.clone(), if *name == "TOKEN" { Some(Text::from("…")) } else { value.cloned() })
                        })
                        .collect();
                }
                _ => {}
            }
        });
    for _ in 0..4 {
        let snapshot = tick(&mut source);
        let sample = get(&snapshot, helper.pid());
        assert_eq!(sample.info.cmdline.value().unwrap().last().unwrap(), &"--password=…");
        assert_eq!(sample.environ.value().unwrap().get("TOKEN").unwrap(), &"…");
        let json = serde_json::to_string(&snapshot).unwrap();
        assert!(json.contains("--password=…"));
        assert!(!json.contains(SECRET));
        helper.stop();
        helper.signal(Signal::CONT);
    }
}

#[test]
fn a_selection_of_a_recording_is_that_of_the_source() {
    let mut helper = Helper::sh("sh -c 'sleep 100000 </dev/null >/dev/null & echo $!; wait' & echo $!; wait", &[]);
    let (one, other) = (helper.number(), helper.number());
    let leaf = if direct(one).stat().unwrap().ppid == helper.pid() { other } else { one };
    until_named(leaf, "sleep");
    let family = Select::pid(helper.pid()) | Select::pid(one) | Select::pid(other);
    let source = || Processes::new().fields(Fields::DEFAULT | Fields::CMDLINE).slow_budget(PATIENT);
    let recorded = serde_json::to_string(&tick(&mut source())).unwrap();
    let ids =
        |snapshot: &Snapshot<ProcessSample>| -> Vec<_> { snapshot.samples.iter().map(|sample| sample.id).collect() };
    let top = helper.pid();
    let mut found = Vec::new();
    for text in [
        format!("with_descendants(pid={top})"),
        format!("with_descendants(pid={top}, 1) & !topmost(pid={top})"),
        format!("with_descendants(pid={top}) & (cmdline='sleep 100000' | name=init)"),
        "topmost(name=sh | name=sleep)".to_owned(),
        "exe~/[a-z]+$ & uid=0 & !user=nobody & cgroup*=/ & age<1000000h".to_owned(),
        "kernel_thread | cmdline*='100000'".to_owned(),
    ] {
        // Of processes that are there at both readings.
        let select = text.parse::<Select>().unwrap() & family.clone();
        let live = tick(&mut source().select(select.clone()));
        let mut applied: Snapshot<ProcessSample> = serde_json::from_str(&recorded).unwrap();
        select.apply(&mut applied).unwrap();
        assert_eq!(ids(&applied), ids(&live), "{text}");
        assert_eq!(applied.skipped.undecided, 0, "{text}");
        found.push(live.len());
    }
    assert_eq!(found[..3], [3, 1, 1], "it can tell them apart");
}

#[test]
fn trees_are_selected_as_they_are() {
    let mut helper = Helper::sh("sh -c 'sleep 100000 </dev/null >/dev/null & echo $!; wait' & echo $!; wait", &[]);
    // Both write at the same time, in any order.
    let (one, other) = (helper.number(), helper.number());
    let (middle, leaf) = if direct(one).stat().unwrap().ppid == helper.pid() { (one, other) } else { (other, one) };
    until_named(leaf, "sleep");
    let top = helper.pid();
    let pids = |source: &mut Processes| {
        let snapshot = tick(source);
        snapshot.samples.iter().map(|sample| sample.id.pid).collect::<Vec<_>>()
    };
    let family = Select::pid(top) | Select::pid(middle) | Select::pid(leaf);
    let mut all = vec![top, middle, leaf];
    all.sort_unstable();
    assert_eq!(pids(&mut Processes::new().select(Select::pid(top).with_descendants())), all);
    assert_eq!(pids(&mut Processes::new().select(Select::pid(top).with_descendants_to(0))), [top]);
    assert!(!pids(&mut Processes::new().select(Select::pid(top).with_descendants_to(1))).contains(&leaf));
    assert_eq!(pids(&mut Processes::new().select(family.clone().topmost())), [top]);
    assert_eq!(pids(&mut Processes::new().select((family & !Select::pid(top)).topmost())), [middle]);
    assert_eq!(pids(&mut Processes::new().select(Select::ppid(middle))), [leaf]);

    // A process that is born below is in the next tick; one whose ancestor ended is not below it any more.
    let mut tree = Processes::new().select(Select::pid(top).with_descendants());
    let mut children = Processes::new().select(Select::ppid(middle));
    let mut everything = Processes::new();
    for _ in 0..40 {
        assert_eq!(pids(&mut tree), all);
    }
    for source in [&mut children, &mut everything] {
        (0..40).for_each(|_| drop(tick(source)));
    }
    rustix::process::kill_process(common::raw(middle), Signal::KILL).unwrap();
    until("its parent reaps it", || ProcFs::new("/proc").unwrap().process(middle).is_err());
    let parent = direct(leaf).stat().unwrap().ppid;
    assert_eq!(get(&tick(&mut everything), leaf).ppid, parent);
    assert!(!pids(&mut tree).contains(&leaf), "below {top}");
    assert!(!pids(&mut children).contains(&leaf), "a child of {middle}");
}

#[test]
fn a_pid_file_names_no_stranger() {
    let mut helper = Helper::sh("echo ready; read x", &[]);
    assert_eq!(helper.line(), "ready");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.pid");
    let mut source = Processes::new().select(Select::pid_file(&path));
    assert_eq!(tick(&mut source).samples, []);
    std::fs::write(&path, format!("{}\n", helper.pid())).unwrap();
    let snapshot = tick(&mut source);
    assert_eq!(snapshot.samples.len(), 1);
    assert_eq!(snapshot.samples[0].id.pid, helper.pid());
    // Written an hour before the process started: it was another one.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(long_ago).unwrap();
    assert_eq!(tick(&mut source).samples, []);
    file.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(tick(&mut source).samples.len(), 1);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(tick(&mut source).samples, []);
}

#[test]
fn an_exec_is_a_change_also_of_the_same_program() {
    let mut helper = Helper::sh(
        "echo ready; read x; exec /bin/sh -c \"$0\" \"$1\"",
        &["echo again; read x; exec sleep 100000", "other"],
    );
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let fields = Fields::DEFAULT | Fields::CMDLINE;
    let mut stream = ticks(Processes::new().fields(fields).slow_budget(PATIENT)).changes();
    let of = |snapshot: appmon::Snapshot<Change<ProcessSample>>| -> Vec<Change<ProcessSample>> {
        let ours = |change: &Change<ProcessSample>| match change {
            Change::Appeared(sample) | Change::Gone(sample) | Change::Changed { after: sample, .. } => {
                sample.id.pid == pid
            }
            _ => false,
        };
        snapshot.samples.into_iter().filter(ours).collect()
    };
    let found = of(next(&mut stream));
    assert!(matches!(&found[..], [Change::Appeared(sample)] if sample.info.execs == 0), "{found:?}");
    assert_eq!(of(next(&mut stream)), []);

    helper.say("go on");
    assert_eq!(helper.line(), "again");
    until_asleep(pid);
    let found = of(next(&mut stream));
    let [Change::Changed { before, after }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((before.info.execs, after.info.execs), (0, 1));
    assert_eq!(before.info.name, after.info.name);
    assert_eq!(before.info.exe, after.info.exe);
    assert_eq!(after.info.cmdline.value().unwrap()[2], "echo again; read x; exec sleep 100000");
    assert_eq!(of(next(&mut stream)), []);

    helper.say("go on");
    until_named(pid, "sleep");
    until_asleep(pid);
    let found = of(next(&mut stream));
    let [Change::Changed { after, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(after.info.execs, 2);
    assert_eq!(after.info.name, "sleep");
    assert_eq!(*after.info.cmdline.value().unwrap(), ["sleep", "100000"]);
    assert_eq!(of(next(&mut stream)), []);
    helper.end();
    let found = of(next(&mut stream));
    assert!(matches!(&found[..], [Change::Gone(_)]), "{found:?}");
}

#[test]
fn rates_of_a_new_process_count_from_its_birth() {
    let mut stream = ticks(Processes::new()).rates();
    let first = next(&mut stream);
    let me = first.samples.iter().find(|rated| rated.id.pid == std::process::id()).unwrap();
    assert!(me.rates.is_none(), "it was there before");
    // Start times are cut off to a tick of the clock.
    let nanos_per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let later = first.at.plus(Duration::from_nanos(2 * nanos_per_tick));
    until("another tick of the clock", || Monotonic::now() > later);
    let mut helper = Helper::sh(
        "head -c 1000000 /dev/zero >/dev/null; i=0; while [ $i -lt 1000 ]; do i=$((i + 1)); done; echo ready; read x",
        &[],
    );
    assert_eq!(helper.line(), "ready");
    let snapshot = next(&mut stream);
    let rated = snapshot.samples.iter().find(|rated| rated.id.pid == helper.pid()).unwrap();
    let rates = rated.rates.unwrap();
    let age = rated.at.as_nanos() - rated.id.start_ticks * nanos_per_tick;
    let close = |rate: f64, count: u64| (rate * age as f64 / 1e9 - count as f64).abs() <= 1e-6 * count as f64;
    let io = rated.io.value().unwrap();
    assert!(io.read_chars >= Some(1_000_000), "those of the child it waited for too: {io:?}");
    assert!(close(rates.io.value().unwrap().read_chars, io.read_chars.unwrap()));
    assert!(close(rates.io.value().unwrap().write_syscalls, io.write_syscalls.unwrap()));
    assert!(close(rates.cpu.cores * 1e9, rated.cpu.total_ns));
    assert!(close(rates.faults.minor, rated.faults.minor));
    // And from then on, from tick to tick.
    let again = next(&mut stream);
    let rated = again.samples.iter().find(|rated| rated.id.pid == helper.pid()).unwrap();
    assert!(rated.rates.unwrap().io.value().unwrap().read_chars < 1_000_000.0);
}

#[test]
fn a_deep_tree_of_living_processes_is_selected_to_its_end() {
    // Each waits for the next; the last for a line, or for the end of this program.
    let script = "f() { if [ $1 -gt 0 ]; then ( f $(($1 - 1)) ); else echo ready; read x; fi; }; f $0";
    let mut helper = Helper::sh(script, &["300"]);
    assert_eq!(helper.line(), "ready");
    let top = Select::pid(helper.pid());
    let snapshot = tick(&mut Processes::new().select(top.clone().with_descendants()));
    assert_eq!(snapshot.len(), 301);
    let tree = ProcessTree::new(&snapshot);
    let top_id = get(&snapshot, helper.pid()).id;
    assert_eq!(tree.summary(top_id).processes, 301);
    let last = tree.subtree(top_id).last().unwrap().id.pid;
    let end = top.clone().with_descendants_to(300) & !top.clone().with_descendants_to(299);
    let mut end = Processes::new().select(end);
    let pids = |snapshot: Snapshot<ProcessSample>| snapshot.into_iter().map(|one| one.id.pid).collect::<Vec<_>>();
    assert_eq!(pids(tick(&mut end)), [last]);
    assert_eq!(pids(tick(&mut end)), [last]);
    helper.say("");
    helper.wait();
    assert!(tick(&mut end).is_empty());
}
