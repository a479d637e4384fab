//! The source of processes where only root can set the stage: other users, mounts of /proc that hide, memory that is locked.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use appmon::process::ProcessState;
use appmon::snapshot::Notice;
use appmon::stream::Change;
use appmon::time::Monotonic;
use appmon::{Fields, ProcessSample, Processes, Reading, Select, Snapshot, SnapshotStreamExt, SourceExt};

use common::{
    Helper, assert_no_loss, direct, find, get, is_root, next, pid_namespace, require, run_inside, tick, ticks, until,
    until_asleep, until_named,
};

use common::mounts::{Frozen, Scratch, alone};

/// `nobody`.
const NOBODY: u32 = 65534;

const PATIENT: Duration = Duration::from_secs(300);

/// Long enough that nothing is read again only since it is old.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// A memory control group that can be made to give its memory back, removed at the end.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn new() -> Option<Self> {
        let name = format!("appmon-test-{}", std::process::id());
        ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].iter().find_map(|root| {
            let path = Path::new(root).join(&name);
            std::fs::create_dir(&path).ok()?;
            let group = Self(path);
            let can = ["memory.force_empty", "memory.reclaim"].iter().any(|file| group.0.join(file).exists());
            can.then_some(group)
        })
    }

    /// Takes from its processes what they do not need.
    fn reclaim(&self) {
        // Either refuses where not everything could be taken.
        let _ = std::fs::write(self.0.join("memory.force_empty"), "0");
        if self.0.join("memory.reclaim").exists() {
            let _ = std::fs::write(self.0.join("memory.reclaim"), "64M");
        }
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let removed = || std::fs::remove_dir(&self.0).is_ok() || !self.0.exists();
        until("the control group is removed", removed);
    }
}

/// Joins a control group, writes a file there and maps it, and stands still.
const MAPS: &str = "
import mmap, os, signal, sys
open(sys.argv[1] + '/cgroup.procs', 'w').write('0')
with open(sys.argv[2], 'w+b') as file:
    file.write(b'x' * (16 << 20))
    file.flush()
    os.fsync(file.fileno())
    memory = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
sum(memory[at] for at in range(0, len(memory), 4096))
print('ready', flush=True)
while True:
    signal.pause()
";

#[test]
fn memory_that_was_reclaimed_is_renewed_early() {
    if !require(is_root(), "root") {
        return;
    }
    let Some(group) = MemoryGroup::new() else {
        require(false, "a control group whose memory can be reclaimed");
        return;
    };
    // Not in memory, as /tmp may be.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = directory.path().join("file");
    let mut helper = Helper::python(MAPS, &[group.0.to_str().unwrap(), file.to_str().unwrap()]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    until_asleep(pid);
    let rss = || direct(pid).stat().unwrap().rss_pages * rustix::param::page_size() as u64;
    let max_age = Duration::from_secs(10);
    let mut source = Processes::new().max_age(max_age);
    let mut before = tick(&mut source);
    until("it stands still", || {
        let read_at = get(&before, pid).read_at;
        before = tick(&mut source);
        get(&before, pid).read_at == read_at
    });
    let mapped = get(&before, pid).memory.rss_bytes;
    group.reclaim();
    if !require(rss() + (8 << 20) < mapped, "a file system whose pages can be reclaimed") {
        return;
    }
    // A fifth of the time, and the second in which reclaim is looked for once.
    let bound = before.at.plus(max_age / 5).plus(Duration::from_secs(1));
    let last = loop {
        let snapshot = tick(&mut source);
        if snapshot.at > bound || get(&snapshot, pid).memory.rss_bytes < mapped {
            break snapshot;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(get(&last, pid).memory.rss_bytes, rss());
    drop(helper);
}

/// Becomes nobody on command, and root again never.
const DROPS: &str = "
import os, sys
print('ready', flush=True)
sys.stdin.readline()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for line in sys.stdin:
    print(line, end='', flush=True)
";

#[test]
fn a_process_that_drops_its_user_changes_selections() {
    if !require(is_root(), "root") {
        return;
    }
    let mut helper = Helper::python(DROPS, &[]);
    assert_eq!(helper.line(), "ready");
    let pid = helper.pid();
    until_asleep(pid);
    let source = |select| Processes::new().select(select).recheck(NEVER).slow_budget(PATIENT);
    let mut out = source(Select::uid(0));
    let mut into = [
        source(Select::uid(NOBODY)),
        source(Select::user("nobody")),
        source(Select::gid(NOBODY) & !Select::user("root")),
    ];
    let mut changes = ticks(Processes::new().slow_budget(PATIENT)).changes();
    next(&mut changes);
    for _ in 0..70 {
        get(&tick(&mut out), pid);
        assert!(into.iter_mut().all(|source| find(&tick(source), pid).is_none()));
    }
    helper.say("go on");
    helper.say("dropped");
    assert_eq!(helper.line(), "dropped");
    until_asleep(pid);
    assert_eq!(find(&tick(&mut out), pid), None);
    for source in &mut into {
        let found = (1..=32).find(|_| find(&tick(source), pid).is_some());
        assert!(found.is_some(), "{source:?}");
        let snapshot = tick(source);
        let info = &get(&snapshot, pid).info;
        assert_eq!((info.uid, info.gid), (NOBODY, NOBODY));
        assert_eq!(*info.user.value().unwrap(), "nobody");
        assert_eq!(info.execs, 0);
    }
    // Where nothing depends on it, it is looked at now and then while the process runs.
    let change = (0..16).find_map(|_| {
        helper.say("run");
        assert_eq!(helper.line(), "run");
        until_asleep(pid);
        next(&mut changes).samples.into_iter().find_map(|change| match change {
            Change::Changed { before, after } if after.id.pid == pid => Some((before, after)),
            _ => None,
        })
    });
    let (before, after) = change.expect("it is changed");
    assert_eq!((before.info.uid, after.info.uid), (0, NOBODY));
    assert_eq!(*before.info.user.value().unwrap(), "root");
}

/// Runs a test as nobody in a pid namespace of its own, after `prepare` was run as root there. Returns true inside.
fn as_nobody(test: &str, prepare: &str) -> bool {
    as_nobody_by("exec", test, prepare)
}

/// The same, by `exec` as the first process there, or by another program that starts it.
fn as_nobody_by(starter: &str, test: &str, prepare: &str) -> bool {
    if std::env::var("APPMON_TEST_AS_NOBODY").is_ok_and(|inside| inside == test) {
        return true;
    }
    if !require(is_root(), "root") {
        return false;
    }
    let Some(mut by) = pid_namespace() else { return false };
    // The program may lie where nobody may not go.
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let script = format!(
        "set -e; {prepare}
         export APPMON_TEST_AS_NOBODY={test}
         {starter} setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all \"$@\""
    );
    by.extend(["/bin/sh", "-c", &script, "sh"]);
    run_inside(test, &by, &program);
    false
}

/// Root's processes: one that sleeps, one that executes a program on command, and one that forks all the time.
const ROOT_PROCESSES: &str = "
    sleep 100000 </dev/null >/dev/null 2>&1 &
    export HIDDEN=$!
    mkfifo -m 666 $(dirname $1)/fifo
    sh -c 'read x < $0; exec sleep 100000' $(dirname $1)/fifo </dev/null >/dev/null 2>&1 &
    export EXECS=$!
    (while :; do sleep 0.01; done) </dev/null >/dev/null 2>&1 &
    ";

fn pid_of(variable: &str) -> u32 {
    std::env::var(variable).unwrap().parse().unwrap()
}

#[test]
fn processes_of_others_are_read_as_far_as_permitted() {
    if !as_nobody("root_processes::processes_of_others_are_read_as_far_as_permitted", ROOT_PROCESSES) {
        return;
    }
    assert!(!is_root());
    let (sleeper, execs) = (pid_of("HIDDEN"), pid_of("EXECS"));
    until_named(sleeper, "sleep");
    until_named(execs, "sh");
    until_asleep(execs);
    let mut source = Processes::new().fields(Fields::all()).slow_budget(PATIENT);
    let snapshot = tick(&mut source);
    assert_eq!(snapshot.notices, []);
    let sample = get(&snapshot, sleeper);
    assert_eq!(sample.io, Reading::Denied);
    assert_eq!(sample.info.exe, Reading::Denied);
    assert_eq!(sample.info.cwd, Reading::Denied);
    assert_eq!(sample.environ, Reading::Denied);
    assert_eq!(sample.smaps_rollup, Reading::Denied);
    assert_eq!(sample.fd_count, Reading::Denied);
    assert_eq!(sample.namespaces, Reading::Denied);
    assert_eq!(*sample.info.cmdline.value().unwrap(), ["sleep", "100000"]);
    assert!(sample.status.value().is_some());
    assert!(sample.limits.value().is_some());
    assert!(sample.oom.value().is_some());
    assert!(sample.memory.rss_bytes > 0);
    assert_eq!((sample.info.uid, sample.info.kernel_thread), (0, false));
    let own = get(&snapshot, std::process::id());
    assert!(own.io.value().is_some() && own.info.exe.value().is_some() && own.environ.value().is_some());
    // The others are counted only where nothing of them may be read.
    assert_no_loss(&snapshot);

    // Without the right to see its memory nobody knows whether it executed a program or took another name: what it is called
    // and its arguments are those of now all the same.
    let fifo = std::env::current_exe().unwrap().with_file_name("fifo");
    std::fs::write(fifo, "go on\n").unwrap();
    until_named(execs, "sleep");
    until_asleep(execs);
    let snapshot = tick(&mut source);
    let info = &get(&snapshot, execs).info;
    assert_eq!((info.execs, info.name.to_str()), (0, Some("sleep")));
    assert_eq!(*info.cmdline.value().unwrap(), ["sleep", "100000"]);
}

/// A process of two threads, whose main one has exited. Its other one reads a megabyte, and reports its id.
const WITHOUT_MAIN: &str = "
import ctypes, os, platform, threading
EXIT, GETTID = {'x86_64': (60, 186), 'aarch64': (93, 178), 'riscv64': (93, 178)}[platform.machine()]
libc = ctypes.CDLL(None)
def work():
    open('/dev/zero', 'rb', buffering=0).read(1000000)
    print(libc.syscall(GETTID), flush=True)
    threading.Event().wait()
threading.Thread(target=work).start()
libc.syscall(EXIT, 0)
";

#[test]
fn one_s_own_process_is_readable_when_its_main_thread_has_exited() {
    if !as_nobody("root_processes::one_s_own_process_is_readable_when_its_main_thread_has_exited", "") {
        return;
    }
    assert!(!is_root());
    let mut helper = Helper::python(WITHOUT_MAIN, &[]);
    let (pid, tid) = (helper.pid(), helper.number());
    until("the main thread has exited", || direct(pid).stat().unwrap().state == ProcessState::Zombie);
    until("the other one waits", || {
        std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap().contains(") S ")
    });
    let mut source = Processes::new().fields(Fields::all()).slow_budget(PATIENT);
    for _ in 0..2 {
        let snapshot = tick(&mut source);
        let sample = get(&snapshot, pid);
        // Of all threads, by whichever of them.
        let io = appmon::process::Io::parse(&std::fs::read(format!("/proc/{tid}/io")).unwrap()).unwrap();
        assert_eq!(sample.io, Reading::Value(io));
        assert!(io.read_chars > Some(1_000_000), "{io:?}");
        assert_eq!(direct(pid).io().unwrap(), io);
        assert!(sample.fd_count.value().is_some_and(|count| *count > 2), "{:?}", sample.fd_count);
        assert!(sample.environ.value().is_some() && sample.smaps_rollup.value().is_some());
        assert!(sample.info.exe.value().is_some() && sample.info.cwd.value().is_some());
        assert!(sample.namespaces.value().is_some_and(|namespaces| namespaces.mnt.is_some()));
        assert!(sample.memory.rss_bytes > 0);
    }
}

/// A process of root that takes another name on command, and then executes a program.
const RENAMES: &str = "
    mkfifo -m 666 $(dirname $1)/fifo $(dirname $1)/fifo.never
    sh -c 'read x < $0; printf renamed >/proc/self/comm; read x < $0.never' $(dirname $1)/fifo </dev/null >/dev/null 2>&1 &
    export RENAMES=$!
    ";

#[test]
fn a_process_of_others_that_takes_another_name_is_unchanged() {
    if !as_nobody("root_processes::a_process_of_others_that_takes_another_name_is_unchanged", RENAMES) {
        return;
    }
    let renames = pid_of("RENAMES");
    until_named(renames, "sh");
    until_asleep(renames);
    let source = || Processes::new().slow_budget(PATIENT);
    let (mut changes, mut plain) = (ticks(source()).changes(), source());
    next(&mut changes);
    tick(&mut plain);
    std::fs::write(std::env::current_exe().unwrap().with_file_name("fifo"), "go on\n").unwrap();
    until_named(renames, "renamed");
    until_asleep(renames);
    let of_it = next(&mut changes).samples.into_iter().filter(|change| match change {
        Change::Changed { after, .. } => after.id.pid == renames,
        _ => false,
    });
    assert_eq!(of_it.count(), 0);
    let snapshot = tick(&mut plain);
    let info = &get(&snapshot, renames).info;
    assert_eq!((info.execs, info.name.to_str()), (0, Some("renamed")));
}

/// A process of root that becomes nobody's on command.
const BECOMES: &str = "
    mkfifo -m 666 $(dirname $1)/fifo
    sh -c 'read x < $0; exec setpriv --reuid=65534 --regid=65534 --clear-groups sleep 100000' $(dirname $1)/fifo \
        </dev/null >/dev/null 2>&1 &
    export BECOMES=$!
    ";

#[test]
fn one_that_stops_being_hidden_is_in_the_next_tick() {
    let prepare = format!("{BECOMES} mount -o remount,hidepid=2 /proc;");
    if !as_nobody("root_processes::one_that_stops_being_hidden_is_in_the_next_tick", &prepare) {
        return;
    }
    let becomes = pid_of("BECOMES");
    let mut source = Processes::new().max_age(NEVER);
    for _ in 0..5 {
        let snapshot = tick(&mut source);
        assert_eq!(find(&snapshot, becomes), None);
        assert_eq!(snapshot.complete_at, Some(snapshot.at));
    }
    std::fs::write(std::env::current_exe().unwrap().with_file_name("fifo"), "go on\n").unwrap();
    until("it is shown", || Path::new(&format!("/proc/{becomes}")).exists());
    assert_eq!(get(&tick(&mut source), becomes).info.uid, NOBODY);
}

/// Has a child of the given pid, out of order, as a restored checkpoint has.
const OUT_OF_TURN: &str = "
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = ctypes.c_int(int(sys.argv[1]))
# clone3 with set_tid.
arguments = struct.pack('10Q', 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(pid), 1)
child = libc.syscall(435, arguments, len(arguments))
if child == 0:
    while True:
        signal.pause()
print(child, flush=True)
signal.pause()
";

#[test]
fn who_has_a_pid_out_of_turn_is_in_the_next_tick_outside_of_containers() {
    use std::os::unix::fs::MetadataExt;
    let first = std::fs::metadata("/proc/self/ns/pid").unwrap().ino() == 0xefff_fffc;
    if !require(is_root() && first, "root in the first pid namespace") {
        return;
    }
    let mut source = Processes::new().list_every(Duration::MAX);
    tick(&mut source);
    let pid_max: u32 = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap();
    let last: u32 = loadavg.split_whitespace().next_back().unwrap().parse().unwrap();
    for nth in 1..=5 {
        // As far from the pids that are given out now as may be, below them too.
        let wanted = (last + pid_max / 7 * nth) % (pid_max - 1_000) + 500;
        let free = (wanted..).find(|pid| !Path::new(&format!("/proc/{pid}")).exists()).unwrap();
        let mut helper = Helper::python(OUT_OF_TURN, &[&free.to_string()]);
        assert_eq!(helper.number(), free);
        let begun = Monotonic::now();
        let mut snapshot = tick(&mut source);
        // The end of another process within the same tick can hide one from the count. The snapshot then does not claim to be complete.
        for _ in 0..100 {
            if find(&snapshot, free).is_some() {
                break;
            }
            assert!(snapshot.complete_at < Some(begun), "it claims to have all");
            snapshot = tick(&mut source);
        }
        assert_eq!(get(&snapshot, free).ppid, helper.pid());
    }
}

fn remounted(option: &str) -> String {
    format!("{ROOT_PROCESSES} mount -o remount,{option} /proc;")
}

/// The view of any user of a /proc that hides others altogether.
fn only_own(notice: &Notice, hidden: u32) {
    let mut source = Processes::new().fields(Fields::all()).slow_budget(PATIENT).max_age(NEVER);
    let check = |snapshot: &Snapshot<ProcessSample>| {
        assert_eq!(snapshot.notices, std::slice::from_ref(notice));
        assert_no_loss(snapshot);
        assert_eq!(find(snapshot, hidden), None);
        assert!(snapshot.samples.iter().all(|sample| sample.info.uid == NOBODY));
        get(snapshot, std::process::id());
    };
    check(&tick(&mut source));
    let mut helper = Helper::sh("while read x; do echo $x; done", &[]);
    for _ in 0..30 {
        helper.say("run");
        assert_eq!(helper.line(), "run");
        until_asleep(helper.pid());
        let mut born = Helper::sh("read x", &[]);
        let snapshot = tick(&mut source);
        check(&snapshot);
        assert!(get(&snapshot, helper.pid()).read_at >= snapshot.at);
        get(&snapshot, born.pid());
        born.end();
        let snapshot = tick(&mut source);
        check(&snapshot);
        assert_eq!(find(&snapshot, born.pid()), None);
    }
    // It has the pulse: a process that does not run is not read.
    until_asleep(helper.pid());
    let first = tick(&mut source);
    let second = tick(&mut source);
    assert_eq!(get(&first, helper.pid()).read_at, get(&second, helper.pid()).read_at);
}

#[test]
fn hidepid_2_hides_others_and_is_noticed_once() {
    if as_nobody("root_processes::hidepid_2_hides_others_and_is_noticed_once", &remounted("hidepid=2")) {
        only_own(&Notice::HidePid { hidepid: hidepid(&["2", "invisible"]) }, pid_of("HIDDEN"));
    }
}

#[test]
fn hidepid_4_hides_others_and_is_noticed_once() {
    if as_nobody("root_processes::hidepid_4_hides_others_and_is_noticed_once", &remounted("hidepid=4")) {
        only_own(&Notice::HidePid { hidepid: hidepid(&["4", "ptraceable"]) }, pid_of("HIDDEN"));
    }
}

/// The value the kernel shows, by number or by name.
fn hidepid(either: &[&str]) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let shown = mounts.split([' ', ',', '\n']).find_map(|option| option.strip_prefix("hidepid=")).unwrap();
    assert!(either.contains(&shown), "{shown}");
    shown.to_owned()
}

/// Mounts /proc again with the given options, as root.
const REMOUNTS: &str = "
    mkfifo -m 666 $(dirname $1)/options
    (while :; do read options < $(dirname $1)/options; mount -o remount,$options /proc; done) \
        </dev/null >/dev/null 2>&1 &
    ";

/// Has root mount /proc again, and waits until the mount table shows it.
fn remount_proc(options: &str, shown: &[&str]) {
    std::fs::write(std::env::current_exe().unwrap().with_file_name("options"), format!("{options}\n")).unwrap();
    until(options, || {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let own = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some("/proc")).unwrap();
        if shown.is_empty() { !own.contains("hidepid") } else { shown.iter().any(|shown| own.contains(shown)) }
    });
}

/// The view of a source while /proc is mounted again and again with other options.
fn follows_remounts() {
    let hidden = pid_of("HIDDEN");
    let procfs = appmon::ProcFs::new("/proc").unwrap();
    let mut source = Processes::new().max_age(NEVER).list_every(Duration::MAX);
    for _ in 0..3 {
        for _ in 0..2 {
            let snapshot = tick(&mut source);
            assert_eq!((&*snapshot.notices, &*procfs.notices()), (&[][..], &[][..]));
            get(&snapshot, hidden);
        }
        remount_proc("hidepid=2", &["hidepid=2", "hidepid=invisible"]);
        for _ in 0..2 {
            let snapshot = tick(&mut source);
            let notice = Notice::HidePid { hidepid: hidepid(&["2", "invisible"]) };
            assert_eq!((&snapshot.notices, procfs.notices()), (&vec![notice.clone()], vec![notice]));
            assert_eq!(find(&snapshot, hidden), None);
            assert_eq!(snapshot.complete_at, Some(snapshot.at), "all that is visible");
            get(&snapshot, std::process::id());
        }
        remount_proc("hidepid=1", &["hidepid=1", "hidepid=noaccess"]);
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.notices, [Notice::HidePid { hidepid: hidepid(&["1", "noaccess"]) }]);
        assert!(snapshot.skipped.denied >= 3, "{:?}", snapshot.skipped);
        assert_eq!(find(&snapshot, hidden), None);
        remount_proc("hidepid=0", &[]);
    }
    // From what is not listed at all to what is shown.
    remount_proc("hidepid=2", &["hidepid=2", "hidepid=invisible"]);
    // Until it is no new pid any more.
    let began = tick(&mut source).at;
    while tick(&mut source).at.since(began).unwrap() < Duration::from_millis(400) {
        assert_eq!(find(&tick(&mut source), hidden), None);
    }
    remount_proc("hidepid=0", &[]);
    get(&tick(&mut source), hidden);
    remount_proc("subset=pid", &["subset=pid"]);
    let snapshot = tick(&mut source);
    assert_eq!(snapshot.notices, [Notice::SubsetPid]);
    get(&snapshot, hidden);
}

#[test]
fn the_processes_that_a_mount_hides_are_as_of_the_tick() {
    let prepare = format!("{ROOT_PROCESSES} {REMOUNTS}");
    if as_nobody("root_processes::the_processes_that_a_mount_hides_are_as_of_the_tick", &prepare) {
        assert_eq!(std::process::id(), 1);
        follows_remounts();
    }
}

#[test]
fn the_processes_that_a_mount_hides_are_as_of_the_tick_where_the_first_is_hidden() {
    let test = "root_processes::the_processes_that_a_mount_hides_are_as_of_the_tick_where_the_first_is_hidden";
    if as_nobody_by("", test, &format!("{ROOT_PROCESSES} {REMOUNTS}")) {
        assert_ne!(std::process::id(), 1);
        follows_remounts();
    }
}

#[test]
fn processes_are_hidden_from_the_thread_that_reads() {
    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

    let test = "root_processes::processes_are_hidden_from_the_thread_that_reads";
    if !require(is_root(), "root") {
        return;
    }
    let Some(mut by) = pid_namespace() else { return };
    let script = "mount -o remount,hidepid=2,gid=4242 /proc; sleep 100000 </dev/null >/dev/null 2>&1 & export HIDDEN=$!; \
        exec \"$@\"";
    by.extend(["/bin/sh", "-c", script, "sh"]);
    if !common::inside(test, &by) {
        return;
    }
    let hidden = pid_of("HIDDEN");
    until_named(hidden, "sleep");
    let notice = Notice::HidePid { hidepid: hidepid(&["2", "invisible"]) };
    let mut source = Processes::new().max_age(NEVER).list_every(Duration::MAX);
    let mut others = || {
        let snapshot = tick(&mut source);
        let is_hidden = find(&snapshot, hidden).is_none();
        let notices = if is_hidden { vec![notice.clone()] } else { Vec::new() };
        assert_eq!((&snapshot.notices, appmon::ProcFs::new("/proc").unwrap().notices()), (&notices, notices.clone()));
        get(&snapshot, std::process::id());
        !is_hidden
    };
    for _ in 0..2 {
        assert!(others() && others(), "root sees all");
        // A thread that drops what it may: first the group that the mount names is left to it.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (nobody, nogroup) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                set_thread_groups(&[Gid::from_raw(4242)]).unwrap();
                set_thread_res_gid(nogroup, nogroup, nogroup).unwrap();
                // The right to change groups, and no other, outlives the change of the user.
                rustix::thread::set_keep_capabilities(true).unwrap();
                set_thread_res_uid(nobody, nobody, nobody).unwrap();
                let only = |effective| {
                    let set = rustix::thread::CapabilitySet::SETGID;
                    let none = rustix::thread::CapabilitySet::empty();
                    let sets = rustix::thread::CapabilitySets { effective, permitted: set, inheritable: none };
                    rustix::thread::set_capabilities(None, sets).unwrap();
                };
                only(rustix::thread::CapabilitySet::SETGID);
                assert!(others() && others(), "the group sees all");
                set_thread_groups(&[]).unwrap();
                assert!(!others() && !others(), "nobody does not");
            });
        });
    }
    assert!(others());
}

#[test]
fn a_right_of_a_child_user_namespace_does_not_count_outside() {
    let test = "root_processes::a_right_of_a_child_user_namespace_does_not_count_outside";
    let works = Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
    if !require(works.is_ok_and(|status| status.success()), "a user namespace of its own") {
        return;
    }
    for starter in ["exec", ""] {
        // As root of a user namespace, beside the processes of root of the machine.
        let map = "set -- unshare --user --map-root-user \"$@\"";
        let prepare = format!("{} {map};", remounted("hidepid=2"));
        if !as_nobody_by(starter, test, &prepare) {
            continue;
        }
        let rights = rustix::thread::capabilities(None).unwrap().effective;
        assert!(is_root() && rights.contains(rustix::thread::CapabilitySet::SYS_PTRACE));
        let mut source = Processes::new();
        for _ in 0..3 {
            let snapshot = tick(&mut source);
            assert_eq!(find(&snapshot, pid_of("HIDDEN")), None);
            assert_eq!(snapshot.notices, [Notice::HidePid { hidepid: hidepid(&["2", "invisible"]) }]);
            assert_eq!(snapshot.complete_at, Some(snapshot.at));
        }
        return;
    }
}

#[test]
fn hidepid_1_shows_that_there_are_others() {
    if !as_nobody("root_processes::hidepid_1_shows_that_there_are_others", &remounted("hidepid=1")) {
        return;
    }
    let mut source = Processes::new();
    for _ in 0..5 {
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.notices, [Notice::HidePid { hidepid: hidepid(&["1", "noaccess"]) }]);
        assert!(snapshot.samples.iter().all(|sample| sample.info.uid == NOBODY));
        get(&snapshot, std::process::id());
        // At least the one that sleeps, the one that waits and the one that forks.
        assert!(snapshot.skipped.denied >= 3, "{:?}", snapshot.skipped);
        assert_eq!((snapshot.skipped.failed, snapshot.skipped.malformed), (0, 0));
    }
}

#[test]
fn a_proc_of_processes_only_will_do() {
    if !as_nobody("root_processes::a_proc_of_processes_only_will_do", &remounted("subset=pid")) {
        return;
    }
    assert!(!Path::new("/proc/loadavg").exists());
    let mut source = Processes::new().max_age(NEVER);
    let first = tick(&mut source);
    assert_eq!(first.notices, [Notice::SubsetPid]);
    let hidden = pid_of("HIDDEN");
    let sleeper = get(&first, hidden);
    until_asleep(hidden);
    for _ in 0..5 {
        let born = Helper::sh("read x", &[]);
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.notices, [Notice::SubsetPid]);
        assert_eq!(get(&snapshot, born.pid()).info.uid, NOBODY);
        assert_eq!(get(&snapshot, hidden).id, sleeper.id);
    }
    let still = tick(&mut source);
    assert_eq!(get(&still, hidden).read_at, get(&tick(&mut source), hidden).read_at);
}

#[test]
fn root_is_exempt_from_hidepid() {
    if !require(is_root(), "root") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t proc -o hidepid=2 proc \"$0\" && echo ready && read x";
    let mut helper = Helper::spawn(Command::new("unshare").args([
        "--mount",
        "/bin/sh",
        "-c",
        script,
        directory.path().to_str().unwrap(),
    ]));
    assert_eq!(helper.line(), "ready");
    // From outside of its mount namespace.
    let root = format!("/proc/{}/root{}", helper.pid(), directory.path().display());
    let mut source = Processes::new().root(&root);
    let snapshot = tick(&mut source);
    assert_eq!(snapshot.notices, []);
    get(&snapshot, helper.pid());
    get(&snapshot, std::process::id());
    get(&snapshot, 1);
}

/// A file system with one file of one page, whose daemon answers no write before it is told to; and a process that maps
/// something else over that page after it wrote to it. The kernel writes the page back then, with the lock of the process's
/// memory held. The daemon speaks the protocol of `linux/fuse.h` itself.
const BLOCKED: &str = r"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
where = sys.argv[1]
fuse = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other' % fuse
if libc.mount(b'test', where.encode(), b'fuse', 0, options) != 0:
    sys.exit('mount: ' + os.strerror(ctypes.get_errno()))
target = os.fork()
if target == 0:
    os.close(fuse)
    file = os.open(where + '/page', os.O_RDWR)
    page = libc.mmap(None, 4096, 3, 1, file, 0)  # MAP_SHARED
    ctypes.memset(page, 1, 1)
    print(os.getpid(), flush=True)
    libc.mmap(page, 4096, 3, 0x32, -1, 0)  # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    while True:
        libc.pause()
def attributes(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100644, 4096)
    return struct.pack('<6Q10I', node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
asked = False
while True:
    request = os.read(fuse, 1 << 20)
    _, code, unique, node = struct.unpack_from('<IIQQ', request)
    error, answer = 0, b''
    if code == 26:  # INIT
        answer = struct.pack('<IIIIHHIIHHI7I', 7, 31, 0, 0, 16, 12, 4096, 1, 1, 0, 0, *[0] * 7)
    elif code == 1:  # LOOKUP
        if request[40:] == b'page\0':
            answer = struct.pack('<QQQQII', 2, 0, 3600, 3600, 0, 0) + attributes(2)
        else:
            error = -2
    elif code in (3, 4):  # GETATTR, SETATTR
        answer = struct.pack('<QII', 3600, 0, 0) + attributes(node)
    elif code == 14:  # OPEN
        answer = struct.pack('<QIi', 0, 0, 0)
    elif code == 15:  # READ
        answer = bytes(4096)
    elif code == 16:  # WRITE
        if not asked:
            asked = True
            print('asked', flush=True)
            sys.stdin.readline()
        answer = struct.pack('<II', struct.unpack_from('<QQI', request, 40)[2], 0)
    elif code in (2, 42, 36):  # FORGET, BATCH_FORGET, INTERRUPT
        continue
    elif code in (18, 20, 25):  # RELEASE, FSYNC, FLUSH
        pass
    else:
        error = -38
    os.write(fuse, struct.pack('<IiQ', 16 + len(answer), error, unique) + answer)
";

#[test]
fn a_process_whose_memory_is_locked_holds_up_no_other() {
    if !require(is_root() && Path::new("/dev/fuse").exists(), "root and /dev/fuse") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut helper = Helper::spawn(Command::new("unshare").args([
        "--mount",
        "python3",
        "-c",
        BLOCKED,
        directory.path().to_str().unwrap(),
    ]));
    let pid = helper.number();
    assert_eq!(helper.line(), "asked");
    // Does this kernel hold the lock meanwhile? Who reads the arguments then waits for it.
    let mut reader = Helper::sh("exec cat /proc/$0/cmdline", &[&pid.to_string()]);
    let waits = |reader: &Helper| {
        let stat = direct(reader.pid()).stat();
        stat.is_ok_and(|stat| stat.comm == "cat" && stat.state == ProcessState::DiskSleep)
    };
    until("the lock is waited for, or is free", || waits(&reader) || !reader.is_running());
    if !require(reader.is_running(), "a kernel that writes back with the lock of the memory held") {
        return;
    }
    let other = Helper::sh("read x", &[]);
    let fields = Fields::DEFAULT | Fields::STATUS | Fields::STATM | Fields::CMDLINE;
    // Two of them: who waits for it is not waited for when its source is dropped.
    for _ in 0..2 {
        let mut source = Processes::new().fields(fields);
        let check = |snapshot: &Snapshot<ProcessSample>| {
            let sample = get(snapshot, pid);
            assert_eq!(sample.info.cmdline, Reading::Skipped);
            assert!(sample.io.value().is_some());
            assert!(sample.status.value().is_some());
            assert!(sample.statm.value().is_some());
            assert!(sample.info.exe.value().is_some());
            assert!(sample.memory.rss_bytes > 0);
        };
        until("the other is read", || {
            let snapshot = tick(&mut source);
            check(&snapshot);
            get(&snapshot, other.pid()).info.cmdline.value().is_some()
        });
        for _ in 0..3 {
            let snapshot = tick(&mut source);
            check(&snapshot);
            assert!(get(&snapshot, other.pid()).info.cmdline.value().is_some());
        }
    }
    let mut source = Processes::new().fields(fields);
    assert_eq!(get(&tick(&mut source), pid).info.cmdline, Reading::Skipped);
    helper.say("answer");
    until("what came late is shown", || {
        let snapshot = tick(&mut source);
        get(&snapshot, pid)
            .info
            .cmdline
            .value()
            .is_some_and(|cmdline| cmdline.iter().any(|argument| *argument == BLOCKED))
    });
}

#[test]
fn a_pid_file_that_does_not_answer_leaves_the_selection_undecided() {
    if !alone("root_processes::a_pid_file_that_does_not_answer_leaves_the_selection_undecided") {
        return;
    }
    let scratch = Scratch::new();
    let (hung, other) = (scratch.path().join("hung"), scratch.path().join("other"));
    let well = scratch.path().join("well.pid");
    std::fs::create_dir(&hung).unwrap();
    std::fs::create_dir(&other).unwrap();
    let Some(frozen) = Frozen::mount(&hung) else { return };
    let Some(other_frozen) = Frozen::mount(&other) else { return };
    let helper = Helper::sh("read x", &[]);
    std::fs::write(&well, format!("{}\n", helper.pid())).unwrap();
    let hung = Select::pid_file(hung.join("x.pid"));
    let own = Select::pid(std::process::id());
    let source = |select| Processes::new().select(select).slow_budget(Duration::from_millis(20));
    let mut negated = source(!Select::pid_file(other.join("x.pid")) & own.clone());
    let mut beside = source(Select::pid_file(&well) | (hung.clone() & own.clone()));
    let mut source = source(hung | own);
    // It answers that there is no such file.
    until("it is known that it names nobody", || {
        let snapshot = tick(&mut source);
        (snapshot.len(), snapshot.skipped.undecided) == (1, 0) && tick(&mut negated).len() == 1
    });

    frozen.freeze();
    other_frozen.freeze();
    // What was asked before may be answered after its tick, and counts in the next one. From here on each waits for an answer.
    until("both ask in vain", || {
        tick(&mut source);
        tick(&mut negated);
        frozen.held() == 1 && other_frozen.held() == 1
    });
    for _ in 0..3 {
        let snapshot = tick(&mut source);
        get(&snapshot, std::process::id());
        assert!(snapshot.skipped.undecided > 0, "any other can be the one");
        let snapshot = tick(&mut negated);
        assert_eq!((snapshot.len(), snapshot.skipped.undecided), (0, 1), "nor is it known that it is not");
    }
    until("the file beside it is read", || {
        let snapshot = tick(&mut beside);
        assert!(find(&snapshot, std::process::id()).is_none());
        find(&snapshot, helper.pid()).is_some()
    });
    // Nor does it hold up the end of a stream and its runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let mut stream = std::mem::take(&mut source).every(Duration::from_millis(1));
    for _ in 0..3 {
        let snapshot = runtime.block_on(futures::StreamExt::next(&mut stream)).unwrap().unwrap();
        get(&snapshot, std::process::id());
    }
    drop(runtime);
    drop(stream);

    frozen.thaw();
    other_frozen.thaw();
    until("it answers", || tick(&mut negated).len() == 1);
}
