//! Processes whose files do not show their true state at once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use appmon::process::{CgroupPaths, ProcessState};
use appmon::{Fields, ProcFs, ProcessSample, Processes, Reading, Select};

use common::{Helper, direct, get, is_root, tick, until, until_asleep};

const NOBODY: u32 = 65534;

/// Long enough for whatever does not hang.
const PATIENT: Duration = Duration::from_secs(300);

/// A process with one thread beside the main one, which executes commands; the main thread exits on `exit`.
const WORKER: &str = "
import ctypes, os, platform, sys, threading
EXIT, SETRESUID = {'x86_64': (60, 117), 'aarch64': (93, 147), 'riscv64': (93, 147)}[platform.machine()]
libc = ctypes.CDLL(None)
go, kept = threading.Event(), []
def work():
    for line in sys.stdin:
        what, _, argument = line.strip().partition(' ')
        if what == 'open': kept.append([os.open('/dev/null', 0) for _ in range(int(argument))])
        elif what == 'memory': kept.append(b'x' * int(argument))
        elif what == 'chdir': os.chdir(argument)
        elif what == 'user': libc.syscall(SETRESUID, *[int(argument)] * 3)  # of this thread alone
        elif what == 'exit': go.set()
        print(what, flush=True)
threading.Thread(target=work).start()
print('ready', flush=True)
go.wait()
libc.syscall(EXIT, 0)
";

fn worker(directory: &Path) -> Helper {
    let mut command = std::process::Command::new("python3");
    command.args(["-c", WORKER]).current_dir(directory).env("COLOUR", "green");
    let mut helper = Helper::spawn(&mut command);
    assert_eq!(helper.line(), "ready");
    helper
}

/// Has a helper do something, and waits until it stands still again.
fn ask(helper: &mut Helper, what: &str) {
    helper.say(what);
    assert_eq!(helper.line(), what.split(' ').next().unwrap());
}

/// Waits until the main thread has exited and the other one waits for a command, and returns that one's directory.
fn other_thread(pid: u32) -> PathBuf {
    until("the main thread has exited", || direct(pid).stat().unwrap().state == ProcessState::Zombie);
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path());
    let others: Vec<_> =
        threads.filter(|path| path.file_name().unwrap().to_str().unwrap() != pid.to_string()).collect();
    let [other] = &others[..] else { panic!("{others:?}") };
    until("the other thread waits", || std::fs::read_to_string(other.join("stat")).unwrap().contains(") S "));
    other.clone()
}

fn everything() -> Processes {
    Processes::new().fields(Fields::all()).slow_budget(PATIENT).slow_cadence(Duration::ZERO).max_age(Duration::ZERO)
}

/// The properties that a process whose main thread has exited still has, as one of its threads shows them.
#[track_caller]
fn check_by_thread(sample: &ProcessSample, thread: &Path, directory: &Path) {
    let pid = sample.id.pid;
    let read = |name: &str| std::fs::read(thread.join(name)).unwrap();
    let stat = appmon::process::Stat::parse(&read("stat")).unwrap();
    assert_eq!((sample.state, sample.threads, sample.info.name.to_str()), (ProcessState::Zombie, 2, Some("python3")));
    assert!(stat.vsize_bytes > 0 && stat.rss_pages > 0);
    assert_eq!(sample.memory.virtual_bytes, stat.vsize_bytes);
    assert!(sample.memory.rss_bytes > 32 << 20, "{}", sample.memory.rss_bytes);
    let seen = sample.stat.value().unwrap();
    assert_eq!((seen.pid, seen.vsize_bytes, seen.arg_start), (pid, stat.vsize_bytes, stat.arg_start));
    assert_eq!(seen.start_stack, stat.start_stack);
    assert_eq!(
        seen.minflt,
        appmon::process::Stat::parse(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap().minflt
    );
    assert_eq!(
        sample.statm.value().unwrap().size_pages,
        appmon::process::Statm::parse(&read("statm")).unwrap().size_pages
    );
    let (status, of_thread) =
        (sample.status.value().unwrap(), appmon::process::Status::parse(&read("status")).unwrap());
    assert_eq!((status.pid, status.tgid, status.state), (pid, pid, ProcessState::Zombie));
    assert!(status.vm_rss_bytes.unwrap() > 32 << 20 && status.fd_size.unwrap() > 0 && status.umask.is_some());
    assert_eq!((status.uid, status.gid), (of_thread.uid, of_thread.gid));
    let fds = std::fs::read_dir(thread.join("fd")).unwrap().count();
    assert!(fds > 20);
    assert_eq!(sample.fd_count, Reading::Value(fds as u64));
    let namespaces = sample.namespaces.value().unwrap();
    let mut own = direct(std::process::id()).namespaces().unwrap();
    own.ns_pids = vec![pid];
    assert_eq!(**namespaces, own);
    assert_eq!(sample.info.exe.value().unwrap().as_ref() as &Path, std::fs::read_link(thread.join("exe")).unwrap());
    assert_eq!(sample.info.cwd.value().unwrap().as_ref() as &Path, directory);
    assert_eq!(sample.info.cgroup.value(), CgroupPaths::parse(&read("cgroup")).unwrap().main_path());
    assert_eq!(sample.info.cmdline.value().unwrap()[1], "-c");
    assert_eq!(*sample.environ.value().unwrap().get("COLOUR").unwrap(), "green");
    assert!(sample.smaps_rollup.value().unwrap().rss_bytes > Some(32 << 20));
    assert!(sample.oom.value().unwrap().score > Some(0));
    assert_eq!(**sample.limits.value().unwrap(), appmon::process::Limits::parse(&read("limits")).unwrap());
    assert!(sample.schedstat.value().unwrap().run_ns > Some(0), "of the main thread, as long as it ran");
}

#[test]
fn a_process_whose_main_thread_exited_is_read_from_its_threads() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = directories.each_ref().map(|directory| directory.path().canonicalize().unwrap());
    let mut helper = worker(&first);
    let pid = helper.pid();
    let mut source = everything().select(Select::pid(pid));
    let before = get(&tick(&mut source), pid).clone();
    let process = direct(pid);
    let cgroup = process.cgroup().unwrap();
    ask(&mut helper, "open 20");
    ask(&mut helper, &format!("memory {}", 40 << 20));
    ask(&mut helper, "exit");
    let thread = other_thread(pid);
    // Also by one who sees it only now.
    let sources = [&mut source, &mut everything().select(Select::pid(pid))];
    for source in sources {
        for _ in 0..2 {
            let snapshot = tick(source);
            let sample = get(&snapshot, pid);
            check_by_thread(sample, &thread, &first);
            assert_eq!((sample.id, sample.info.execs), (before.id, 0));
            assert_eq!(sample.info.cgroup, before.info.cgroup);
            let io = sample.io.value().unwrap();
            assert_eq!(*io, process.io().unwrap());
            assert!(io.read_syscalls > before.io.value().unwrap().read_syscalls, "{io:?}");
            assert_eq!(snapshot.skipped.fields, 0);
        }
    }
    // By hand, file by file.
    let snapshot = tick(&mut source);
    let sample = get(&snapshot, pid);
    assert_eq!(**sample.stat.value().unwrap(), process.stat().unwrap());
    let mut status = process.status().unwrap();
    status.sig_q = sample.status.value().unwrap().sig_q;
    assert_eq!(**sample.status.value().unwrap(), status);
    assert_eq!(**sample.statm.value().unwrap(), process.statm().unwrap());
    assert_eq!(*sample.fd_count.value().unwrap(), process.fd_count().unwrap());
    assert_eq!(**sample.namespaces.value().unwrap(), process.namespaces().unwrap());
    assert_eq!(*sample.info.cmdline.value().unwrap(), process.cmdline().unwrap());
    assert_eq!(**sample.environ.value().unwrap(), process.environ().unwrap());
    assert_eq!(*sample.info.exe.value().unwrap(), process.exe().unwrap());
    assert_eq!(*sample.info.cwd.value().unwrap(), process.cwd().unwrap());
    assert!(process.smaps_rollup().unwrap().rss_bytes > Some(32 << 20));
    assert_eq!(process.cgroup().unwrap(), cgroup);
    let other = ProcFs::new("/proc").unwrap().process(pid).unwrap();
    assert_eq!(other.id(), before.id);

    // What the others do from then on is seen.
    ask(&mut helper, "open 5");
    ask(&mut helper, &format!("chdir {}", second.display()));
    if is_root() {
        ask(&mut helper, &format!("user {NOBODY}"));
    }
    other_thread(pid);
    let snapshot = tick(&mut source);
    let sample = get(&snapshot, pid);
    check_by_thread(sample, &thread, &second);
    if is_root() {
        assert_eq!(sample.info.uid, NOBODY);
        assert_eq!(sample.status.value().unwrap().uid.unwrap().effective, NOBODY);
    }
}

/// A process whose main thread has exited, and whose threads each start the next one and exit.
const RELAY: &str = "
import ctypes, os, platform, threading, time
kept = [os.open('/dev/null', 0) for _ in range(20)]
def run(left):
    time.sleep(0.0003)
    if left: threading.Thread(target=run, args=(left - 1,)).start()
    else: threading.Event().wait()
threading.Thread(target=run, args=(20000,)).start()
print('ready', flush=True)
ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93, 'riscv64': 93}[platform.machine()], 0)
";

#[test]
fn a_thread_that_exits_while_it_is_read_makes_no_zeros() {
    let mut helper = Helper::python(RELAY, &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    until("the main thread has exited", || direct(pid).stat().unwrap().state == ProcessState::Zombie);
    let fields = Fields::DEFAULT | Fields::FD_COUNT | Fields::STATM | Fields::STAT | Fields::CMDLINE;
    let process = direct(pid);
    let mut read = 0;
    for nth in 0..200 {
        let mut source = Processes::new().fields(fields).slow_budget(PATIENT).select(Select::pid(pid));
        let snapshot = tick(&mut source);
        // One that could not be read since thread after thread exited is counted.
        let Some(sample) = common::find(&snapshot, pid) else {
            assert_eq!(snapshot.skipped.failed, 1, "{:?}", snapshot.skipped);
            continue;
        };
        read += 1;
        assert!(sample.memory.rss_bytes > 0 && sample.memory.virtual_bytes > 0, "reading {nth}");
        assert!(sample.fd_count.value().is_none_or(|count| *count > 20), "reading {nth}: {:?}", sample.fd_count);
        assert!(sample.statm.value().is_none_or(|statm| statm.resident_pages > Some(0)), "reading {nth}");
        assert!(sample.stat.value().is_none_or(|stat| stat.vsize_bytes > 0), "reading {nth}");
        assert_ne!(sample.info.cmdline, Reading::NotApplicable, "reading {nth}");
        assert_ne!(sample.info.exe, Reading::NotApplicable, "reading {nth}");
        let by_hand = (process.fd_count(), process.cmdline().map(|cmdline| cmdline.len()), process.statm());
        let (Ok(21..), Ok(3), Ok(statm)) = &by_hand else { panic!("reading {nth}: {by_hand:?}") };
        assert!(statm.resident_pages > Some(0), "reading {nth}");
    }
    assert!(read > 100, "{read}");
}

/// Threads that wait in `accept` and in the `open` of a FIFO.
const WAITING: &str = "
import os, socket, sys, threading
listener = socket.create_server(('127.0.0.1', 0))
for _ in range(5):
    threading.Thread(target=listener.accept, daemon=True).start()
    threading.Thread(target=os.open, args=(sys.argv[1], os.O_RDONLY), daemon=True).start()
print('ready', flush=True)
sys.stdin.readline()
os._exit(0)
";

#[test]
fn descriptors_that_are_only_reserved_are_not_open() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let mut helper = Helper::python(WAITING, &[fifo.to_str().unwrap()]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let fd = PathBuf::from(format!("/proc/{pid}/fd"));
    let listed = || std::fs::read_dir(&fd).unwrap().count() as u64;
    // Since Linux 6.2 there is something that could be mistaken.
    until("all threads wait", || {
        let size = std::fs::metadata(&fd).unwrap().len();
        size == 0 || size == listed() + 10
    });
    assert_eq!(direct(pid).fd_count().unwrap(), listed());
    let mut source = Processes::new().fields(Fields::FD_COUNT);
    assert_eq!(get(&tick(&mut source), pid).fd_count, Reading::Value(listed()));
}

#[test]
fn many_descriptors_are_counted_beside_the_tick() {
    let directory = tempfile::tempdir().unwrap();
    let mut helper = worker(directory.path());
    let pid = helper.pid();
    let listed = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let source = || Processes::new().fields(Fields::FD_COUNT).select(Select::pid(pid)).slow_cadence(Duration::ZERO);
    let (mut hurried, mut patient) = (source().slow_budget(Duration::ZERO), source().slow_budget(PATIENT));
    let few = listed();
    assert_eq!(get(&tick(&mut hurried), pid).fd_count, Reading::Value(few));
    assert_eq!(get(&tick(&mut patient), pid).fd_count, Reading::Value(few));
    for more in [600, 40] {
        ask(&mut helper, &format!("open {more}"));
        until_asleep(pid);
        let many = listed();
        assert!(many > 600);
        assert_eq!(get(&tick(&mut patient), pid).fd_count, Reading::Value(many));
        // What is not there in time is no number, least of all an old one; and it comes.
        until("they are counted", || {
            let snapshot = tick(&mut hurried);
            let sample = get(&snapshot, pid);
            let late = sample.fd_count == Reading::Skipped;
            assert!(late || sample.fd_count == Reading::Value(many), "{:?}", sample.fd_count);
            assert_eq!(snapshot.skipped.fields, u64::from(late));
            !late
        });
    }
    assert_eq!(direct(pid).fd_count().unwrap(), listed());
    // By a thread, where the main one has exited.
    ask(&mut helper, "exit");
    let thread = other_thread(pid);
    let many = std::fs::read_dir(thread.join("fd")).unwrap().count() as u64;
    for _ in 0..2 {
        assert_eq!(get(&tick(&mut patient), pid).fd_count, Reading::Value(many));
    }
}

/// Goes twenty directories with long names deep, and sleeps there.
const DEEP: &str = "
import os
for _ in range(20):
    os.makedirs('d' * 250, exist_ok=True)
    os.chdir('d' * 250)
print('ready', flush=True)
os.execvp('sleep', ['sleep', '100000'])
";

#[test]
fn a_working_directory_with_too_long_a_path_is_decided() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("python3");
    let mut helper = Helper::spawn(command.args(["-c", DEEP]).current_dir(directory.path()));
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    common::until_named(pid, "sleep");
    until_asleep(pid);
    let error = direct(pid).cwd().unwrap_err();
    assert!(!(error.is_not_found() || error.is_unsupported() || error.is_denied()), "{error}");
    // In every snapshot it is missing, and in every one it is counted.
    let mut source = Processes::new().select(Select::pid(pid));
    for nth in 0..5 {
        let snapshot = tick(&mut source);
        let sample = get(&snapshot, pid);
        assert_eq!(sample.info.cwd, Reading::Failed);
        assert!(sample.info.exe.value().is_some());
        assert_eq!((snapshot.skipped.fields, snapshot.skipped.undecided), (1, 0), "tick {nth}");
    }
    let and_by = |select: &str| Processes::new().select(Select::pid(pid) & select.parse().unwrap());
    for (select, expected) in [
        ("cwd=/x", false),
        ("!cwd=/x", true),
        ("cwd!=/x", true),
        ("cwd=/**", false),
        ("!cwd~^/", true),
        ("with_descendants(cwd=/x)", false),
        ("topmost(name=sleep & !cwd=/x)", true),
    ] {
        let mut source = and_by(select);
        for _ in 0..2 {
            let snapshot = tick(&mut source);
            assert_eq!(common::find(&snapshot, pid).is_some(), expected, "{select}");
            assert_eq!(snapshot.skipped.undecided, 0, "{select}");
        }
    }
}

#[test]
fn where_no_names_are_known_no_tick_waits_for_one() {
    let hide = "mount -t tmpfs none /etc && exec \"$@\"";
    let by = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", hide, "sh"];
    let test = "hard_to_read::where_no_names_are_known_no_tick_waits_for_one";
    if !common::require(is_root(), "root, to hide /etc/passwd") || !common::inside(test, &by) {
        return;
    }
    assert!(!Path::new("/etc/passwd").exists());
    let me = Select::pid(std::process::id());
    for (select, expected) in [("user=root", false), ("!user=root", true), ("group!=root", true)] {
        let select = me.clone() & select.parse().unwrap();
        let snapshot = tick(&mut Processes::new().select(select.clone()).slow_budget(PATIENT));
        assert_eq!(common::find(&snapshot, std::process::id()).is_some(), expected, "{select}");
        assert_eq!((snapshot.skipped.fields, snapshot.skipped.undecided), (0, 0), "{select}");
    }
    let snapshot = tick(&mut Processes::new().select(me).slow_budget(PATIENT));
    let info = &get(&snapshot, std::process::id()).info;
    assert_eq!((&info.user, &info.group, info.uid), (&Reading::NotApplicable, &Reading::NotApplicable, 0));
}

/// A control group of the unified hierarchy that is removed in the end.
struct Group(PathBuf);

impl Group {
    /// `None` where nobody may make one here.
    fn new(name: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut unified = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = unified.find(|mount| mount[2] == "cgroup2")?[1].to_owned();
        let path = Path::new(&root).join(format!("{name}-{}.service", std::process::id()));
        std::fs::create_dir(&path).ok().map(|()| Self(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_process_that_ended_was_in_its_control_group() {
    let mut helper = Helper::sh("echo ready; read x", &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let group = Group::new("appmon-ended");
    let group = group.filter(|group| std::fs::write(group.0.join("cgroup.procs"), pid.to_string()).is_ok());
    if !common::require(group.is_some(), "a control group of its own") {
        return;
    }
    let group = group.unwrap();
    let unit = group.0.file_name().unwrap().to_str().unwrap();
    let by_hand = || direct(pid).cgroup().unwrap().main_path().unwrap().to_string_lossy().into_owned();
    let selects = [format!("unit={unit}"), format!("cgroup='/**/{unit}'"), format!("cgroup~'/{unit}$'")];
    let source = |select: &String| Processes::new().select(select.parse().unwrap()).max_age(Duration::ZERO);
    let mut sources: Vec<_> = selects.iter().map(source).collect();
    for source in &mut sources {
        assert!(get(&tick(source), pid).info.cgroup.value().unwrap().as_bytes().ends_with(unit.as_bytes()));
    }
    assert!(by_hand().ends_with(unit));
    // It ends, and stays a zombie; its control group is removed.
    helper.say("end");
    helper.wait_unreaped();
    until("the group is empty", || std::fs::remove_dir(&group.0).is_ok());
    assert!(by_hand().ends_with(&format!("{unit} (deleted)")), "{}", by_hand());
    for (source, select) in sources.iter_mut().zip(&selects) {
        for _ in 0..2 {
            assert_eq!(get(&tick(source), pid).state, ProcessState::Zombie, "{select}");
        }
    }
    // One who sees it only now finds it by what it was in too.
    for select in &selects {
        get(&tick(&mut source(select)), pid);
    }
}

#[test]
fn a_process_that_ended_is_not_said_to_be_in_the_root() {
    let mut helper = Helper::sh("echo ready; read x", &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    let list = direct(pid).cgroup().unwrap().list;
    let mut source = everything().select(Select::pid(pid));
    let before = get(&tick(&mut source), pid).info.cgroup.clone();
    helper.say("end");
    helper.wait_unreaped();
    for _ in 0..2 {
        let snapshot = tick(&mut source);
        assert_eq!(get(&snapshot, pid).state, ProcessState::Zombie);
        assert_eq!(get(&snapshot, pid).info.cgroup, before);
    }
    let snapshot = tick(&mut everything().select(Select::pid(pid)));
    let seen = &get(&snapshot, pid).info.cgroup;
    let version_2_alone = list.iter().all(|cgroup| cgroup.controllers.is_empty());
    assert!(if version_2_alone { *seen == before } else { *seen != Reading::Value("/".into()) }, "{seen:?}");
}
