//! Control groups of the live kernel: made, filled, frozen and removed here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use appmon::cgroup::{
    ControlGroupEvent, ControlGroupEventKind, ControlGroupEventStream, ControlGroupFields, ControlGroupSample,
};
use appmon::events::{ExitStatus, ProcessEventKind, ProcessEvents};
use appmon::{Cancel, ControlGroups, Fields, ProcessSample, Processes, Reading, Snapshot, SourceExt, Text};
use futures::StreamExt;
use futures::executor::block_on;
use rustix::process::Signal;

use common::mounts::{Scratch, alone};
use common::{Helper, require, tick, until, until_asleep};

/// Uses so many milliseconds of CPU time, itself and by as many children that end, whenever it is asked to.
const BUSY: &str = "
import os, sys, time
def run(ms):
    end = time.process_time_ns() + ms * 1000000
    while time.process_time_ns() < end:
        pass
print('ready', flush=True)
for line in sys.stdin:
    own, children = map(int, line.split())
    run(own)
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            run(own)
            os._exit(0)
        os.waitpid(pid, 0)
    print('done', flush=True)
";

const SLEEPS: &str = "
import sys
print('ready', flush=True)
sys.stdin.readline()
";

/// A group of its own, in a mount of its own; both go with it.
struct Group {
    directory: PathBuf,
    path: String,
}

impl Group {
    fn new(mount: &Path, name: &str) -> Self {
        let path = format!("/appmon-{}-{name}", std::process::id());
        let group = Self { directory: mount.join(&path[1..]), path };
        std::fs::create_dir(&group.directory).unwrap();
        group
    }

    fn below(&self, name: &str) -> Self {
        let group = Self { directory: self.directory.join(name), path: format!("{}/{name}", self.path) };
        std::fs::create_dir(&group.directory).unwrap();
        group
    }

    fn helper(&self, script: &str) -> Helper {
        let mut helper = Helper::python(script, &[]);
        assert_eq!(helper.line(), "ready");
        self.take(&helper);
        helper
    }

    fn take(&self, helper: &Helper) {
        std::fs::write(self.directory.join("cgroup.procs"), helper.pid().to_string()).unwrap();
        until_asleep(helper.pid());
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory.join(file), text).unwrap();
    }

    /// All groups of this one and below, as a source has them.
    fn source(&self, mount: &Path) -> ControlGroups {
        let glob = format!("{}{{,/**}}", self.path);
        ControlGroups::new().root(mount).include_paths([glob]).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes have ended; the kernel lets go of them a little later.
        for _ in 0..1000 {
            if std::fs::remove_dir(&self.directory)
                .map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |()| true)
            {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Runs a test where the unified hierarchy is mounted.
fn with_hierarchy(test: &str) -> Option<Scratch> {
    if !alone(&format!("control_groups::{test}")) {
        return None;
    }
    let at = Scratch::new();
    let mounted = Command::new("mount").args(["-t", "cgroup2", "none"]).arg(at.path()).status().unwrap();
    require(mounted.success(), "the unified hierarchy of control groups").then_some(at)
}

fn read(source: &mut ControlGroups) -> Snapshot<ControlGroupSample> {
    source.read(&Cancel::new()).unwrap()
}

fn get<'a>(tick: &'a Snapshot<ControlGroupSample>, group: &Group) -> &'a ControlGroupSample {
    tick.samples.iter().find(|sample| sample.path == group.path.as_str()).unwrap()
}

fn usage_ns(tick: &Snapshot<ControlGroupSample>, group: &Group) -> u64 {
    get(tick, group).cpu.value().unwrap().usage_ns
}

#[test]
fn what_a_group_used_is_what_its_processes_used() {
    let Some(hierarchy) = with_hierarchy("what_a_group_used_is_what_its_processes_used") else { return };
    let group = Group::new(hierarchy.path(), "used");
    let parts = [group.below("a"), group.below("b")];
    let mut helpers = [parts[0].helper(BUSY), parts[1].helper(BUSY), parts[1].helper(BUSY)];
    let (mut groups, mut processes) =
        (group.source(hierarchy.path()), Processes::new().fields(Fields::CGROUP).lives(true));
    let of = |processes: &Snapshot<ProcessSample>, part: &Group| {
        let path = Text::from(part.path.as_str());
        let members = processes.samples.iter().filter(|process| process.info.cgroup.value() == Some(&path));
        members
            .map(|process| process.cpu.total_ns + process.cpu.children_user_ns + process.cpu.children_system_ns)
            .sum::<u64>()
    };
    let before = (read(&mut groups), tick(&mut processes));
    // The second time with children that end between two ticks.
    for children in [0, 3] {
        for helper in &mut helpers {
            helper.say(&format!("40 {children}"));
        }
        for helper in &mut helpers {
            assert_eq!(helper.line(), "done");
            until_asleep(helper.pid());
        }
        let after = (read(&mut groups), tick(&mut processes));
        let mut sum = 0;
        for (part, members) in parts.iter().zip([1, 2]) {
            let used = usage_ns(&after.0, part) - usage_ns(&before.0, part);
            let by_processes = of(&after.1, part) - of(&before.1, part);
            // What was waited for is cut to clock ticks, user and system time for themselves.
            let grain = if children > 0 { 20_000_000 * members } else { 0 };
            let most = used / 100 + 1_000_000 + grain;
            assert!(used.abs_diff(by_processes) <= most, "{}: {used} and by processes {by_processes}", part.path);
            assert!(used >= 40_000_000 * members);
            // Both read the same file, while nobody ran.
            let lives = after.1.lives.as_ref().unwrap();
            let path = Text::from(part.path.as_str());
            let in_lives = lives.control_groups.iter().find(|usage| usage.path == path).unwrap();
            assert_eq!(in_lives.usage_usec * 1000, usage_ns(&after.0, part));
            sum += used;
        }
        // In microseconds, each cut off.
        let whole = usage_ns(&after.0, &group) - usage_ns(&before.0, &group);
        assert!(whole.abs_diff(sum) <= 4_000, "{whole} is not {sum}");
    }
    let cpu = *get(&read(&mut groups), &group).cpu.value().unwrap();
    assert!(cpu.user_ns + cpu.system_ns <= cpu.usage_ns + 2_000);
}

#[test]
fn what_moved_is_read_and_what_stood_still_is_repeated() {
    let Some(hierarchy) = with_hierarchy("what_moved_is_read_and_what_stood_still_is_repeated") else { return };
    let group = Group::new(hierarchy.path(), "moved");
    let parts: Vec<Group> = (0..4).map(|n| group.below(&n.to_string())).collect();
    let mut helpers: Vec<Helper> = parts.iter().map(|part| part.helper(BUSY)).collect();
    // With and without descriptors, watches, and a walk at each tick.
    let base = || group.source(hierarchy.path());
    let mut sources = [base(), base().max_fds(0), base().max_watches(0), base().walk_every(std::time::Duration::ZERO)];
    let kernel = |part: &Group| {
        let stat = std::fs::read_to_string(part.directory.join("cpu.stat")).unwrap();
        stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap().parse::<u64>().unwrap() * 1000
    };
    for round in 0..12 {
        // Nobody, one, two …
        for helper in helpers.iter_mut().take(round % 5) {
            helper.say("1 0");
            assert_eq!(helper.line(), "done");
        }
        helpers.iter().for_each(|helper| until_asleep(helper.pid()));
        let expected: Vec<u64> = parts.iter().map(kernel).collect();
        for source in &mut sources {
            let tick = read(source);
            let found: Vec<u64> = parts.iter().map(|part| usage_ns(&tick, part)).collect();
            assert_eq!(found, expected, "in round {round}");
            assert!(tick.samples.iter().all(|sample| sample.at >= tick.at));
        }
    }
}

#[test]
fn the_numbers_that_every_group_has() {
    let Some(hierarchy) = with_hierarchy("the_numbers_that_every_group_has") else { return };
    let group = Group::new(hierarchy.path(), "numbers");
    let helper = group.helper(SLEEPS);
    let tick = ControlGroups::new().root(hierarchy.path()).read(&Cancel::new()).unwrap();
    let root = &tick.samples[0];
    assert!(root.path == "/" && root.cpu.value().is_some_and(|cpu| cpu.usage_ns > 0));
    assert_eq!((root.populated, root.frozen), (Reading::NotApplicable, Reading::NotApplicable));
    let sample = get(&tick, &group);
    assert_eq!((sample.populated, sample.frozen), (Reading::Value(true), Reading::Value(false)));
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&group.directory).unwrap());
    assert_eq!(sample.id, inode);
    let has = |name: &str| sample.info.controllers.iter().any(|controller| *controller == name);
    let is_there = |name: &str| group.directory.join(name).exists();
    assert_eq!(sample.memory.value().is_some(), has("memory") && is_there("memory.current"));
    assert_eq!(sample.pids.value().is_some(), has("pids"));
    let pressure = sample.pressure.value().unwrap();
    for (reading, file) in
        [(pressure.cpu, "cpu"), (pressure.memory, "memory"), (pressure.io, "io"), (pressure.irq, "irq")]
    {
        let expected = if is_there(&format!("{file}.pressure")) {
            reading.value().is_some()
        } else {
            reading == Reading::Unsupported
        };
        assert!(expected, "{file}: {reading:?}");
    }
    assert!(sample.limits.value().unwrap().effective.complete);
    drop(helper);
}

#[test]
fn where_the_kernel_has_it_mounted() {
    let mut source = ControlGroups::new().depth(0..=1).fields(ControlGroupFields::CPU);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_mounted = table.lines().any(|line| line.contains(" - cgroup2 "));
    match source.read(&Cancel::new()) {
        Ok(tick) => {
            assert!(is_mounted);
            assert!(tick.samples[0].cpu.value().is_some());
            // Beside version 1 the snapshot lists what is not here.
            let has_version_1 = table.lines().any(|line| line.contains(" - cgroup cgroup ") && line.contains("memory"));
            let notice = tick.notices.iter().any(|notice| notice.to_string().contains("memory"));
            assert_eq!(notice, has_version_1, "{:?}", tick.notices);
        }
        Err(error) => assert!(!is_mounted && error.is_config(), "{error}"),
    }
}

/// So many events, as they happen.
fn next(events: &mut ControlGroupEventStream, count: usize) -> Vec<ControlGroupEvent> {
    let mut all: Vec<ControlGroupEvent> = Vec::new();
    while all.len() < count {
        all.extend(block_on(events.next()).unwrap().unwrap());
    }
    all
}

fn names(events: &[ControlGroupEvent]) -> Vec<String> {
    let name = |event: &ControlGroupEvent| {
        let kind = serde_json::to_value(&event.kind).unwrap()["event"].as_str().unwrap().to_owned();
        let path = event.path.to_string();
        format!("{} {kind}", path.split('-').next_back().unwrap())
    };
    events.iter().map(name).collect()
}

/// A group's life, as the kernel reports it to whoever is there.
fn a_life(hierarchy: &Path, events: &mut ControlGroupEventStream, group: &Group) {
    assert_eq!(names(&next(events, 1)), ["life created"]);
    let helper = group.helper(SLEEPS);
    assert_eq!(names(&next(events, 1)), ["life populated"]);
    group.write("cgroup.freeze", "1");
    assert_eq!(names(&next(events, 1)), ["life frozen"]);
    group.write("cgroup.freeze", "0");
    assert_eq!(names(&next(events, 1)), ["life thawed"]);
    // By a process that leaves it.
    let other = Group::new(hierarchy, "other");
    other.take(&helper);
    let mut moved = names(&next(events, 3));
    moved.sort();
    assert_eq!(moved, ["life emptied", "other created", "other populated"]);
    // By the kernel's own kill.
    group.take(&helper);
    assert_eq!(next(events, 2).len(), 2);
    group.write("cgroup.kill", "1");
    helper.wait_unreaped();
    drop(helper);
    assert_eq!(names(&next(events, 1)), ["life emptied"]);
    drop(other);
    assert_eq!(names(&next(events, 1)), ["other removed"]);
}

#[test]
fn a_life_of_a_group_as_it_happens() {
    let Some(hierarchy) = with_hierarchy("a_life_of_a_group_as_it_happens") else { return };
    let glob = format!("/appmon-{}-*", std::process::id());
    let mut events =
        ControlGroups::new().root(hierarchy.path()).include_paths([glob]).unwrap().events().watch().unwrap();
    let group = Group::new(hierarchy.path(), "life");
    a_life(hierarchy.path(), &mut events, &group);
    drop(group);
    assert_eq!(names(&next(&mut events, 1)), ["life removed"]);
    drop(events);
    let is_there = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let comm = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        comm.map(|name| name.trim().to_owned()).any(|name| name == "appmon-cgroups")
    };
    until("the thread ends with the stream", || !is_there());
}

#[test]
fn a_process_killed_in_a_group_is_joined_by_its_path() {
    let Some(hierarchy) = with_hierarchy("a_process_killed_in_a_group_is_joined_by_its_path") else { return };
    let group = Group::new(hierarchy.path(), "killed");
    let mut helper = group.helper(SLEEPS);
    let mut events = ProcessEvents::new().fields(Fields::CGROUP);
    events.read(&Cancel::new()).unwrap();
    helper.signal(Signal::KILL);
    helper.wait();
    let mut killed = Vec::new();
    until("the end is reported", || {
        let found = events.read(&Cancel::new()).unwrap();
        killed.extend(found.samples.into_iter().filter(|event| event.id.pid == helper.pid()));
        !killed.is_empty()
    });
    let [end] = killed.as_slice() else { panic!("{killed:?}") };
    let ProcessEventKind::Exited { status, .. } = &end.kind else { panic!("{end:?}") };
    assert!(
        matches!(status, Reading::Value(ExitStatus::Signal { number: 9, .. })) || status.value().is_none(),
        "{status:?}"
    );
    assert_eq!(end.cgroup, Reading::Value(group.path.as_str().into()));
    let without = ProcessEvents::new().read(&Cancel::new()).unwrap();
    assert!(without.samples.iter().all(|event| event.cgroup.is_not_requested()));
}

#[test]
fn births_in_births_and_brief_lives() {
    let Some(hierarchy) = with_hierarchy("births_in_births_and_brief_lives") else { return };
    let group = Group::new(hierarchy.path(), "births");
    let mut source = group.source(hierarchy.path());
    let mut events = group.source(hierarchy.path()).events();
    events.read(&Cancel::new()).unwrap();
    read(&mut source);
    for round in 0..20 {
        let a = group.below("a");
        let b = a.below("b");
        let c = b.below("c");
        let tick = read(&mut source);
        assert_eq!(tick.samples.len(), 4, "in round {round}");
        let ids: BTreeSet<u64> = tick.samples.iter().map(|sample| sample.id).collect();
        assert_eq!(ids.len(), 4);
        drop(c);
        assert_eq!(read(&mut source).samples.len(), 3);
        drop(b);
        drop(a);
        // One of the same path, in the same tick.
        let again = group.below("a");
        let tick = read(&mut source);
        assert!(tick.samples.len() == 2 && !ids.contains(&get(&tick, &again).id), "in round {round}");
        drop(again);
        assert_eq!(read(&mut source).samples.len(), 1);
    }
    let seen = events.read(&Cancel::new()).unwrap();
    let of_a = |kind: fn(&ControlGroupEventKind) -> bool| {
        let path = format!("{}/a", group.path);
        seen.samples.iter().filter(|event| event.path == path.as_str() && kind(&event.kind)).count()
    };
    let lives = (
        of_a(|kind| matches!(kind, ControlGroupEventKind::Created { .. })),
        of_a(|kind| matches!(kind, ControlGroupEventKind::Removed { .. })),
    );
    assert_eq!(lives, (40, 40), "all of them between two readings");
}

#[test]
fn as_nobody_all_of_it_is_there() {
    let test = "control_groups::as_nobody_all_of_it_is_there";
    let place = std::env::var_os("APPMON_GROUPS_OF");
    if let Some(mount) = place {
        let mount = PathBuf::from(mount);
        let mut events = ControlGroups::new().root(&mount).depth(1..=1).events().watch().unwrap();
        let mut source = ControlGroups::new().root(&mount).depth(1..=1);
        let tick = read(&mut source);
        assert!(tick.samples.iter().all(|sample| sample.cpu.value().is_some() && sample.populated.value().is_some()));
        assert_eq!(tick.skipped.denied, 0);
        assert!(!tick.notices.iter().any(|notice| notice.to_string().contains("watches")), "{:?}", tick.notices);
        // The other one makes a group now.
        use std::io::Write;
        writeln!(std::io::stdout(), "watching").unwrap();
        while !names(&next(&mut events, 1)).contains(&"nobody created".to_owned()) {}
        return;
    }
    let Some(hierarchy) = with_hierarchy("as_nobody_all_of_it_is_there") else { return };
    if !require(Command::new("setpriv").arg("--version").output().is_ok(), "setpriv") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    let program = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(program.path(), open.clone()).unwrap();
    let _ = std::fs::set_permissions(hierarchy.path(), open);
    std::fs::copy(std::env::current_exe().unwrap(), program.path().join("test")).unwrap();
    // The way there may be closed to others.
    let mount = program.path().join("groups");
    std::fs::create_dir(&mount).unwrap();
    assert!(Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&mount).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program.path().join("test"));
    command.args(["--exact", test, "--nocapture"]).env("APPMON_GROUPS_OF", &mount).current_dir("/tmp");
    let mut helper = Helper::spawn(&mut command);
    while helper.line() != "watching" {}
    let group = Group::new(hierarchy.path(), "nobody");
    loop {
        let line = helper.line();
        if line.starts_with("test result: ") {
            assert!(line.contains("ok. 1 passed"), "{line}");
            break;
        }
    }
    helper.wait();
    drop(group);
    assert!(Command::new("umount").arg("-l").arg(&mount).status().unwrap().success());
}

/// The limits that hold, beside what the standard library makes of the same files.
#[test]
fn quotas_are_those_of_the_standard_library() {
    if !alone("control_groups::quotas_are_those_of_the_standard_library") {
        return;
    }
    let root = Path::new("/sys/fs/cgroup");
    common::mounts::mount(&["-t", "tmpfs", "none"], root);
    let own = Scratch::new();
    let file = own.path().join("cgroup");
    std::fs::write(&file, "0::/a/b/c\n").unwrap();
    common::mounts::mount(
        &["--bind", file.to_str().unwrap()],
        Path::new(&format!("/proc/{}/cgroup", std::process::id())),
    );
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    for path in ["", "a", "a/b", "a/b/c"] {
        let write = |name: &str, text: &str| std::fs::write(root.join(path).join(name), text).unwrap();
        write("cgroup.controllers", "cpu\n");
        if !path.is_empty() {
            write("cgroup.type", "domain\n");
        }
    }
    let affinity = rustix::thread::sched_getaffinity(None).unwrap().count() as f64;
    let mut source = ControlGroups::new();
    let error = source.read(&Cancel::new()).unwrap_err();
    assert!(error.is_config(), "it is no hierarchy of the kernel's: {error}");
    let mut source = ControlGroups::new().root(root);
    for quotas in [
        ["max 100000", "max 100000", "max 100000"],
        ["100000 100000", "max 100000", "max 100000"],
        ["max 100000", "100000 100000", "400000 100000"],
        ["400000 100000", "200000 100000", "10000 10000"],
        ["150000 100000", "max 100000", "300000 200000"],
        ["99000 100000", "50000 25000", "max 100000"],
    ] {
        for (path, quota) in ["a", "a/b", "a/b/c"].into_iter().zip(quotas) {
            std::fs::write(root.join(path).join("cpu.max"), format!("{quota}\n")).unwrap();
        }
        let tick = read(&mut source);
        let sample = tick.samples.iter().find(|sample| sample.path == "/a/b/c").unwrap();
        let effective = &sample.limits.value().unwrap().effective.cpu_max;
        let quota = effective.as_ref().and_then(|max| max.value.cores()).unwrap_or(f64::INFINITY);
        let expected = quota.floor().max(1.0).min(affinity);
        let standard = std::thread::available_parallelism().unwrap().get();
        assert_eq!(standard as f64, expected, "{quotas:?}: {effective:?}");
    }
}
