//! Starts and ends of processes, on the live kernel: by the process connector and by comparing ticks, as root and as nobody, and in
//! namespaces where it must receive nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use appmon::events::{
    ConnectorObstacle, EventMethod, ExitStatus, ProcessEvent, ProcessEventKind, ProcessEvents, UsagePrecision,
};
use appmon::process::ProcessId;
use appmon::snapshot::Notice;
use appmon::{Cancel, Fields, Processes, Reading, Select, Snapshot, SourceExt};

use common::{Helper, direct, inside, is_root, pid_namespace, require, run_inside, until, until_asleep};

fn read(source: &mut ProcessEvents) -> Snapshot<ProcessEvent> {
    source.read(&Cancel::new()).unwrap()
}

/// A source that has begun.
fn begun(mut source: ProcessEvents) -> ProcessEvents {
    assert!(read(&mut source).is_empty(), "nothing happened before the first");
    source
}

/// By which method, and why not by the connector.
fn method<T>(snapshot: &Snapshot<T>) -> (EventMethod, Option<ConnectorObstacle>) {
    let found = snapshot.notices.iter().find_map(|notice| match notice {
        Notice::ProcessEvents { by, no_connector } => Some((*by, *no_connector)),
        _ => None,
    });
    found.unwrap()
}

/// Whether the connector can be had here.
fn has_connector() -> bool {
    let (by, why) = method(&read(&mut ProcessEvents::new()));
    require(by == EventMethod::Connector, &format!("the process connector ({why:?})"))
}

/// Reads until all of these have ended. Returns the events of them and their children, in the order in which they were reported.
fn until_ended(source: &mut ProcessEvents, pids: &[u32]) -> Vec<ProcessEvent> {
    let mut events = Vec::new();
    until("all have ended", || {
        events.extend(read(source).samples);
        let ended = |pid: &u32| events.iter().any(|event| event.id.pid == *pid && status(event).is_some());
        pids.iter().all(ended)
    });
    events.retain(|event| pids.contains(&event.id.pid) || pids.contains(&event.ppid));
    events
}

fn status(event: &ProcessEvent) -> Option<Reading<ExitStatus>> {
    match &event.kind {
        ProcessEventKind::Exited { status, .. } => Some(*status),
        _ => None,
    }
}

/// The statuses of all ends, in order.
fn statuses<'a>(events: impl IntoIterator<Item = &'a ProcessEvent>) -> Vec<Reading<ExitStatus>> {
    events.into_iter().filter_map(status).collect()
}

fn is_start(event: &&ProcessEvent) -> bool {
    matches!(event.kind, ProcessEventKind::Started { .. })
}

fn is_exec(event: &ProcessEvent) -> bool {
    matches!(event.kind, ProcessEventKind::Execed { .. })
}

/// Each life begins once and ends once, in this order, under one id.
fn assert_whole(events: &[ProcessEvent]) {
    let mut lives: BTreeMap<ProcessId, Vec<&str>> = BTreeMap::new();
    for event in events {
        let what = match event.kind {
            ProcessEventKind::Started { .. } => "started",
            ProcessEventKind::Exited { .. } => "exited",
            _ => continue,
        };
        lives.entry(event.id).or_default().push(what);
    }
    for (id, life) in lives {
        assert_eq!(life, ["started", "exited"], "{id}");
    }
    assert!(events.is_sorted_by_key(|event| event.number));
}

fn code(code: u8) -> Reading<ExitStatus> {
    Reading::Value(ExitStatus::Code(code))
}

/// Jobs of 20 ms, each waited for at once.
const JOBS: &str = "
import os, time
print('ready', flush=True)
input()
for n in range(40):
    pid = os.fork()
    if pid == 0:
        time.sleep(0.02)
        os._exit(n)
    os.waitpid(pid, 0)
";

#[test]
fn short_jobs_that_are_waited_for_at_once() {
    if !has_connector() {
        return;
    }
    // An interpreter can start programs while it starts.
    let mut helper = Helper::python(JOBS, &[]);
    assert_eq!(helper.line(), "ready");
    let mut source = begun(ProcessEvents::new());
    let parent = helper.pid();
    helper.say("begin");
    helper.wait();
    let jobs: Vec<_> = until_ended(&mut source, &[parent]).into_iter().filter(|event| event.ppid == parent).collect();
    assert_whole(&jobs);
    assert_eq!(jobs.iter().filter(is_start).count(), 40);
    assert_eq!(statuses(&jobs), (0..40).map(code).collect::<Vec<_>>());
}

#[test]
fn as_nobody() {
    if !require(is_root(), "root") {
        return;
    }
    let by = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let program = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    Command::new("chmod").arg("755").arg(folder.path()).arg(&program).status().unwrap();
    for test in ["short_jobs_that_are_waited_for_at_once", "signals_and_core_dumps", "a_storm_of_forks"] {
        run_inside(&format!("events::{test}"), &by, &program);
    }
}

/// So many children, each waited for at once; the codes go round.
const STORM: &str = "for $n (1 .. $ARGV[0]) { my $pid = fork // die; exit($n % 256) unless $pid; waitpid $pid, 0 }";

fn storm(count: usize) -> Helper {
    Helper::spawn(Command::new("perl").args(["-e", STORM]).arg(count.to_string()))
}

#[test]
fn a_storm_of_forks() {
    if !has_connector() || !require(Command::new("perl").arg("-v").output().is_ok(), "perl") {
        return;
    }
    const COUNT: usize = 10_000;
    for bytes in [4 << 20, 212_992] {
        let mut source = begun(ProcessEvents::new().buffer_bytes(bytes));
        let mut helper = storm(COUNT);
        let parent = helper.pid();
        let (mut events, mut lost) = (Vec::new(), 0);
        until("all have ended", || {
            let snapshot = read(&mut source);
            lost += snapshot.skipped.lost;
            events.extend(snapshot.samples);
            !helper.is_running()
        });
        let snapshot = read(&mut source);
        lost += snapshot.skipped.lost;
        events.extend(snapshot.samples);
        events.extend(read(&mut source).samples);
        let children: Vec<_> =
            events.into_iter().filter(|event| event.ppid == parent && event.id.pid != parent).collect();
        let starts = children.iter().filter(is_start).count() as u64;
        let ends = statuses(&children);
        let heard: Vec<_> = ends.iter().filter_map(Reading::value).collect();
        assert!(starts + heard.len() as u64 + lost >= 2 * COUNT as u64 && starts <= COUNT as u64);
        if lost == 0 {
            assert_whole(&children);
            let expected: Vec<_> = (1..=COUNT).map(|n| code(u8::try_from(n % 256).unwrap())).collect();
            assert_eq!(ends, expected);
        }
    }
}

#[test]
fn lost_announcements_are_counted_and_made_up_for() {
    if !has_connector() || !require(Command::new("perl").arg("-v").output().is_ok(), "perl") {
        return;
    }
    // Room for a few announcements only.
    let mut source = begun(ProcessEvents::new().buffer_bytes(1));
    let mut before = Helper::sh("read x; exit 3", &[]);
    let mut storms = [storm(2000), storm(2000)];
    let mut amid = Helper::sh("read x; exit 4", &[]);
    storms.iter_mut().for_each(Helper::wait);
    let after = Helper::sh("read x; exit 5", &[]);
    let (mut events, mut lost) = (Vec::new(), 0);
    let all = [before.pid(), amid.pid(), after.pid()];
    until("something was lost, and all that live are there", || {
        let snapshot = read(&mut source);
        lost += snapshot.skipped.lost;
        events.extend(snapshot.samples);
        let started = |pid| events.iter().filter(is_start).any(|event| event.id.pid == pid);
        lost > 0 && all.into_iter().all(started)
    });
    for pid in all {
        let starts: Vec<_> = events.iter().filter(is_start).filter(|event| event.id.pid == pid).collect();
        assert_eq!(starts.len(), 1, "{starts:?}");
        if !starts[0].derived {
            assert_eq!(starts[0].id, direct(pid).id());
        }
    }
    for (helper, expected) in [(&mut before, 3), (&mut amid, 4)] {
        helper.wait();
        let ends = statuses(&until_ended(&mut source, &[helper.pid()]));
        assert!(ends == [code(expected)] || ends == [Reading::Failed], "{ends:?}");
    }
    // Everything that is there is known, and nothing else: none of them ends later.
    let mut processes = Processes::new();
    let known: Vec<u32> = processes.read(&Cancel::new()).unwrap().samples.iter().map(|sample| sample.id.pid).collect();
    assert!(known.contains(&after.pid()));
}

/// Ends by the signal of its argument, with and without a core dump.
#[test]
fn signals_and_core_dumps() {
    if !has_connector() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut source = begun(ProcessEvents::new());
    for (script, name) in [
        ("kill -KILL $$", "KILL"),
        ("ulimit -c 0; kill -ABRT $$", "no core"),
        ("ulimit -c 4000; kill -SEGV $$", "core"),
    ] {
        let mut child = Command::new("sh").arg("-c").arg(script).current_dir(folder.path()).spawn().unwrap();
        let pid = child.id();
        let expected = child.wait().unwrap();
        let events = until_ended(&mut source, &[pid]);
        let number = u8::try_from(expected.signal().unwrap()).unwrap();
        let expected = ExitStatus::Signal { number, core_dumped: expected.core_dumped() };
        assert_eq!(statuses(&events), [Reading::Value(expected)], "{name}");
    }
}

/// The main thread leaves; another ends the process, in the given way.
const LEADER_FIRST: &str = "
import ctypes, os, threading, time
print('ready', flush=True)
input()
for how in ('exit', 'return', 'abort', 'exec'):
    pid = os.fork()
    if pid == 0:
        main = ctypes.CDLL(None, use_errno=True)
        def other():
            time.sleep(0.1)
            if how == 'exit': os._exit(7)
            if how == 'abort': os.kill(os.getpid(), 6)
            if how == 'exec': os.execv('/bin/sh', ['sh', '-c', 'exit 9'])
            main.syscall(60, 0)
        threading.Thread(target=other).start()
        main.syscall(60, 0)
    os.waitpid(pid, 0)
";

#[test]
fn the_status_is_that_of_the_process_and_not_of_its_main_thread() {
    if !has_connector() || !require(cfg!(target_arch = "x86_64"), "x86_64") {
        return;
    }
    let mut helper = Helper::python(LEADER_FIRST, &[]);
    assert_eq!(helper.line(), "ready");
    let mut source = begun(ProcessEvents::new());
    let parent = helper.pid();
    helper.say("begin");
    // Many ticks while the main thread has left, and others live; somebody has to wait for it.
    let waiting = std::thread::spawn(move || helper.wait());
    let events = until_ended(&mut source, &[parent]);
    waiting.join().unwrap();
    let children: Vec<_> = events.into_iter().filter(|event| event.ppid == parent).collect();
    assert_whole(&children);
    let ends = statuses(&children);
    let signal = ends[2].value().copied();
    assert_eq!([ends[0], ends[1], ends[3]], [code(7), code(0), code(9)]);
    assert!(matches!(signal, Some(ExitStatus::Signal { number: 6, .. })), "{signal:?}");
    assert_eq!(ends.len(), 4);
}

/// A thread that is not the first executes a program, and it is the same process.
const THREAD_EXECS: &str = "
import os, threading
threading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', 'echo there; read x; exit 9'])).start()
threading.Event().wait()
";

#[test]
fn a_process_goes_on_when_another_thread_executes_a_program() {
    if !has_connector() {
        return;
    }
    let mut source = begun(ProcessEvents::new());
    let mut helper = Helper::python(THREAD_EXECS, &[]);
    assert_eq!(helper.line(), "there");
    let pid = helper.pid();
    let mut events = read(&mut source).samples;
    events.retain(|event| event.id.pid == pid);
    let last = events.last().unwrap();
    assert!(is_exec(last), "{last:?}");
    assert_eq!(last.name.value().unwrap(), &"sh");
    assert_eq!(last.id, direct(pid).id());
    assert!(!last.derived);
    helper.wait();
    events.extend(until_ended(&mut source, &[pid]));
    assert_whole(&events);
    assert_eq!(statuses(&events), [code(9)]);
}

#[test]
fn events_of_a_process_that_lives_on() {
    if !has_connector() {
        return;
    }
    let mut source = begun(ProcessEvents::new());
    let script = "
import os, sys
child = os.fork()
if child == 0:
    sys.stdin.readline()
    open('/proc/self/comm', 'w').write('a new (name)')
    print('renamed', flush=True)
    sys.stdin.readline()
    os._exit(5)
print(child, flush=True)
os._exit(0)
";
    let mut helper = Helper::python(script, &[]);
    let child = helper.number();
    helper.wait_unreaped();
    until("it has another parent", || direct(child).stat().unwrap().ppid != helper.pid());
    let mut events = Vec::new();
    until("its end is announced", || {
        events.extend(read(&mut source).samples);
        events.iter().any(|event| event.id.pid == helper.pid() && status(event).is_some())
    });
    let end = events.iter().find(|event| event.id.pid == helper.pid() && status(event).is_some()).unwrap();
    let ProcessEventKind::Exited { usage, cpu_ns, usage_at, .. } = &end.kind else { unreachable!() };
    assert_eq!(*usage, UsagePrecision::Exact, "nobody has waited for it");
    assert!(*cpu_ns.value().unwrap() > 0 && usage_at.is_some());
    let moved = events
        .iter()
        .find(|event| matches!(event.kind, ProcessEventKind::Reparented { from, .. } if from == helper.pid()))
        .unwrap();
    assert_eq!(moved.id.pid, child);
    assert_eq!(moved.ppid, direct(child).stat().unwrap().ppid);
    helper.say("go on");
    assert_eq!(helper.line(), "renamed");
    let events = read(&mut source).samples;
    let renamed: Vec<_> = events.iter().filter(|event| event.id.pid == child).collect();
    assert!(renamed.len() == 1 && matches!(renamed[0].kind, ProcessEventKind::Renamed { .. }), "{renamed:?}");
    assert_eq!(renamed[0].name.value().unwrap(), &"a new (name)");
    helper.say("end");
    let events = until_ended(&mut source, &[child]);
    assert_eq!(statuses(&events), [code(5)]);
    // Another look finds nothing more of it.
    helper.wait();
    let later = [read(&mut source), read(&mut source)];
    assert!(later.iter().flatten().all(|event| event.id.pid != helper.pid() && event.id.pid != child));
}

#[test]
fn usage_is_that_of_the_last_reading() {
    for connector in [true, false] {
        let fields = Fields::IO | Fields::STATUS;
        let mut source = begun(ProcessEvents::new().connector(connector).fields(fields));
        let mut helper = Helper::sh("head -c 100000 /dev/zero > /dev/null; echo ready; read x", &[]);
        assert_eq!(helper.line(), "ready");
        until_asleep(helper.pid());
        read(&mut source);
        read(&mut source);
        let io = direct(helper.pid()).io().unwrap();
        let peak = direct(helper.pid()).status().unwrap().vm_hwm_bytes.unwrap();
        helper.wait();
        let events = until_ended(&mut source, &[helper.pid()]);
        let end = events.iter().find(|event| event.id.pid == helper.pid() && status(event).is_some()).unwrap();
        let ProcessEventKind::Exited { io: read, peak_rss_bytes, usage, .. } = &end.kind else { unreachable!() };
        assert_eq!(*usage, UsagePrecision::AtLeast);
        assert_eq!((read.value(), peak_rss_bytes.value()), (Some(&io), Some(&peak)));
    }
}

#[test]
fn selected_jobs_and_their_descendants() {
    if !has_connector() {
        return;
    }
    // A copy of the shell under a name that nobody else has.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("appmon-batchd");
    std::fs::copy("/bin/sh", &program).unwrap();
    let select = || Select::name("appmon-batchd").with_descendants();
    let mut source = begun(ProcessEvents::new().select(select()));
    let script = "for n in 1 2 3; do (exit $n); done; (exec sleep 0.1); exit 8";
    let mut helper = Helper::spawn(Command::new(&program).args(["-c", script]));
    let mut other = Helper::sh("for n in 1 2 3; do (exit $n); done", &[]);
    let pid = helper.pid();
    helper.wait();
    other.wait();
    let mut events = Vec::new();
    until("it has ended", || {
        events.extend(read(&mut source).samples);
        events.iter().any(|event| event.id.pid == pid && status(event).is_some())
    });
    assert!(events.iter().all(|event| event.ppid == pid || event.id.pid == pid), "{events:#?}");
    let jobs: Vec<_> = events.into_iter().filter(|event| event.ppid == pid).collect();
    assert_whole(&jobs);
    assert_eq!(statuses(&jobs), [code(1), code(2), code(3), code(0)]);
}

#[test]
fn undecided_events_are_reported_by_choice() {
    if !has_connector() {
        return;
    }
    for reported in [false, true] {
        let select = Select::exe("/usr/bin/true") | Select::exe("/bin/true");
        let mut source = begun(ProcessEvents::new().select(select).undecided(reported));
        let pid = {
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            child.id()
        };
        let (mut events, mut undecided) = (Vec::new(), 0);
        until("something is undecided", || {
            let snapshot = read(&mut source);
            undecided += snapshot.skipped.undecided;
            events.extend(snapshot.samples);
            undecided > 0 || events.iter().any(|event| event.id.pid == pid && status(event).is_some())
        });
        let of_it: Vec<_> = events.iter().filter(|event| event.id.pid == pid).collect();
        assert_eq!(of_it.is_empty(), !reported, "{of_it:?}");
        assert!(of_it.iter().all(|event| event.undecided));
    }
}

#[test]
fn by_comparing_ticks() {
    let mut source = begun(ProcessEvents::new().connector(false));
    let mut helper = Helper::sh("echo ready; read x; exec cat", &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let snapshot = read(&mut source);
    assert_eq!(method(&snapshot), (EventMethod::Polling, Some(ConnectorObstacle::TurnedOff)));
    let mut events: Vec<_> = snapshot.samples.into_iter().filter(|event| event.id.pid == pid).collect();
    helper.say("go on");
    until("it is cat", || direct(pid).stat().unwrap().comm == "cat");
    until_asleep(pid);
    events.extend(read(&mut source).samples.into_iter().filter(|event| event.id.pid == pid));
    helper.signal(rustix::process::Signal::TERM);
    helper.wait_unreaped();
    for _ in 0..3 {
        events.extend(read(&mut source).samples.into_iter().filter(|event| event.id.pid == pid));
    }
    helper.wait();
    events.extend(read(&mut source).samples.into_iter().filter(|event| event.id.pid == pid));
    assert_whole(&events);
    let kinds: Vec<_> = events.iter().map(|event| std::mem::discriminant(&event.kind)).collect();
    assert_eq!(kinds.len(), 3, "{events:#?}");
    assert!(is_exec(&events[1]), "{events:#?}");
    assert_eq!(events[1].name.value().unwrap(), &"cat");
    let killed = ExitStatus::Signal { number: 15, core_dumped: false };
    assert_eq!(statuses(&events), [Reading::Value(killed)]);
}

/// In a namespace of its own, no event from outside.
fn nothing_foreign(expected: ConnectorObstacle) {
    let mut source = ProcessEvents::new();
    let first = read(&mut source);
    assert_eq!(method(&first), (EventMethod::Polling, Some(expected)));
    let mut helper = Helper::sh("echo ready; read x; exit 3", &[]);
    assert_eq!(helper.line(), "ready");
    let mut events = read(&mut source).samples;
    helper.wait();
    events.extend(until_ended(&mut source, &[helper.pid()]));
    events
        .iter()
        .for_each(|event| assert!(event.id.pid < 2000 || expected != ConnectorObstacle::PidNamespace, "{event:?}"));
    assert!(events.iter().any(|event| event.id.pid == helper.pid()));
}

#[test]
fn nothing_foreign_in_a_pid_namespace() {
    let Some(by) = pid_namespace() else { return };
    let mut outside = Helper::sh("while :; do (exit 1); sleep 0.02; done", &[]);
    if inside("events::nothing_foreign_in_a_pid_namespace", &by) {
        let obstacle = if is_root() { ConnectorObstacle::PidNamespace } else { ConnectorObstacle::UserNamespace };
        nothing_foreign(obstacle);
    }
    outside.end();
}

#[test]
fn nothing_foreign_in_a_user_namespace() {
    let by = ["unshare", "--map-root-user"];
    let works = Command::new(by[0]).args(&by[1..]).arg("true").status().is_ok_and(|status| status.success());
    if require(works, "user namespaces") && inside("events::nothing_foreign_in_a_user_namespace", &by) {
        nothing_foreign(ConnectorObstacle::UserNamespace);
    }
}

#[test]
fn nothing_in_a_network_namespace() {
    let by = ["unshare", "--net"];
    if require(is_root(), "root") && inside("events::nothing_in_a_network_namespace", &by) {
        nothing_foreign(ConnectorObstacle::NetworkNamespace);
    }
}

/// How many threads of this process drain the connector.
fn drainers() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.trim_end() == "appmon-events").count()
}

#[test]
fn the_thread_ends_with_its_source() {
    let by = ["env"];
    if !inside("events::the_thread_ends_with_its_source", &by) || !has_connector() {
        return;
    }
    until("none is left", || drainers() == 0);
    let source = begun(ProcessEvents::new());
    assert_eq!(drainers(), 1);
    drop(source);
    until("it ended", || drainers() == 0);
}
