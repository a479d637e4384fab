//! The source of processes in a pid namespace of its own, and on that of another: needs root, or user namespaces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use appmon::process::ProcessId;
use appmon::snapshot::Notice;
use appmon::stream::Change;
use appmon::time::Monotonic;
use appmon::{Fields, ProcFs, ProcessSample, ProcessTree, Processes, Select, SnapshotStreamExt};

use common::{
    Crowd, Helper, assert_no_loss, counters, counters_of, direct, find, get, inside, next, pid_namespace, tick, ticks,
    until, until_asleep, until_named,
};

/// Starts a shell that gets this pid, which is free. Only where no other process forks.
fn with_pid(pid: u32, script: &str) -> Helper {
    for _ in 0..100 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let helper = Helper::sh(script, &[]);
        if helper.pid() == pid {
            return helper;
        }
    }
    panic!("{pid} is not given out");
}

/// Start times are in ticks of the clock: waits until another process would have another one.
fn wait_for_another_tick() {
    let ticks = || Monotonic::now().as_nanos() / (1_000_000_000 / rustix::param::clock_ticks_per_second());
    let now = ticks();
    until("another tick of the clock", || ticks() > now + 1);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let Some(by) = pid_namespace() else { return };
    if !inside("namespaces::a_pid_that_is_used_again_is_another_process", &by) {
        return;
    }
    let fields = Fields::all();
    let source = || Processes::new().fields(fields).slow_budget(Duration::from_secs(300));
    let (mut rates, mut changes) = (ticks(source()).rates(), ticks(source()).changes());
    let mut plain = source();
    for round in 0..4 {
        wait_for_another_tick();
        let mut first = if round % 2 == 0 {
            // One that runs all the time, whose files are kept open.
            Helper::sh("echo ready; while :; do :; done", &[])
        } else {
            Helper::sh("echo ready; read x", &[])
        };
        assert_eq!(first.line(), "ready");
        let pid = first.pid();
        for _ in 0..4 {
            next(&mut rates);
            next(&mut changes);
            tick(&mut plain);
        }
        let before: ProcessId = get(&tick(&mut plain), pid).id;
        next(&mut changes);
        first.end();
        wait_for_another_tick();
        let mut second = with_pid(pid, "head -c 1000000 /dev/zero >/dev/null; echo again; read x");
        assert_eq!(second.line(), "again");
        until_asleep(pid);

        let snapshot = next(&mut changes);
        let of_pid = |change: &&Change<ProcessSample>| match change {
            Change::Appeared(sample) | Change::Gone(sample) | Change::Changed { after: sample, .. } => {
                sample.id.pid == pid
            }
            _ => false,
        };
        let seen: Vec<_> = snapshot.samples.iter().filter(of_pid).collect();
        let [Change::Gone(gone), Change::Appeared(appeared)] = seen[..] else { panic!("{seen:?}") };
        assert_eq!(gone.id, before);
        assert!(appeared.id.start_ticks > before.start_ticks);
        assert_eq!(appeared.info.execs, 0);
        assert_eq!(
            appeared.info.cmdline.value().unwrap()[2],
            "head -c 1000000 /dev/zero >/dev/null; echo again; read x"
        );

        let snapshot = next(&mut rates);
        let rated = snapshot.samples.iter().find(|rated| rated.id.pid == pid).unwrap();
        assert_eq!(rated.id, appeared.id);
        let io = rated.rates.unwrap().io.into_value().unwrap();
        let age = rated.at.as_nanos() - rated.id.start_ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let counted = io.read_chars * age as f64 / 1e9;
        let read = rated.io.value().unwrap().read_chars.unwrap() as f64;
        assert!((counted - read).abs() < 1.0, "{counted} {read}");

        let snapshot = tick(&mut plain);
        let sample = get(&snapshot, pid);
        assert_eq!(sample.id, direct(pid).id());
        assert_eq!(counters_of(sample), counters(&direct(pid)).unwrap());
        assert_eq!(**sample.environ.value().unwrap(), direct(pid).environ().unwrap());
    }
}

#[test]
fn a_pid_that_is_used_again_by_one_that_is_selected_is_in_the_next_tick() {
    let Some(by) = pid_namespace() else { return };
    if !inside("namespaces::a_pid_that_is_used_again_by_one_that_is_selected_is_in_the_next_tick", &by) {
        return;
    }
    // With so many, looking at the pids that were given out is cheaper than a listing.
    let _crowd = Crowd::new(100);
    let mut source = Processes::new().select(Select::name("cat")).recheck(Duration::from_secs(1_000_000));
    tick(&mut source);
    for (nth, count) in (0..).zip([1, 2, 3, 6, 7, 14]) {
        wait_for_another_tick();
        let pid = 1000 + 100 * nth;
        let mut first = with_pid(pid, "while read x; do echo $x; done");
        assert_eq!(find(&tick(&mut source), pid), None);
        // The pids have gone round since: this one comes again by going up.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 50).to_string()).unwrap();
        tick(&mut source);
        // What was given out before is looked at for a while: so long that this is over.
        let later = Monotonic::now().plus(Duration::from_millis(250));
        until("time has passed", || Monotonic::now() > later);
        for _ in 0..count {
            // It ran before each tick, so that it is read whenever it is looked at.
            first.say("run");
            assert_eq!(first.line(), "run");
            assert_eq!(find(&tick(&mut source), pid), None);
        }
        first.end();
        wait_for_another_tick();
        let mut second = with_pid(pid, "exec cat");
        until_named(pid, "cat");
        until_asleep(pid);
        assert!(find(&tick(&mut source), pid).is_some(), "after {count} ticks");
        second.end();
        assert_eq!(find(&tick(&mut source), pid), None);
    }
}

/// The last pid that was handed out here.
fn last_pid() -> u32 {
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap();
    loadavg.split_whitespace().next_back().unwrap().parse().unwrap()
}

/// Gives pids out, to threads that end at once, until the last one is as wanted.
fn give_out_until(wanted: impl Fn(u32) -> bool) {
    for _ in 0..100_000 {
        if wanted(last_pid()) {
            return;
        }
        std::thread::spawn(|| ()).join().unwrap();
    }
    panic!("{} is the last pid after 100,000", last_pid());
}

/// Sets `pid_max` of this namespace, where that is not the whole machine's.
fn set_pid_max(pid_max: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let own = common::require(version >= (6, 14), "a kernel with a pid_max for each pid namespace");
    own && common::require(
        std::fs::write("/proc/sys/kernel/pid_max", pid_max.to_string()).is_ok(),
        "the right to set the pid_max of a pid namespace",
    )
}

#[test]
fn who_was_born_while_the_pids_went_round_is_in_the_next_tick() {
    let Some(by) = pid_namespace() else { return };
    if !inside("namespaces::who_was_born_while_the_pids_went_round_is_in_the_next_tick", &by) {
        return;
    }
    // Changed while the source runs, to as few as a hundred pids.
    let mut source = Processes::new();
    tick(&mut source);
    for pid_max in [600, 400, 32_768, 400] {
        if !set_pid_max(pid_max) {
            return;
        }
        give_out_until(|last| last > 310 && last < 330);
        for _ in 0..3 {
            tick(&mut source);
            let before = last_pid();
            give_out_until(|last| last > before + 20);
            let helpers: Vec<Helper> = (0..5).map(|_| Helper::sh("read x", &[])).collect();
            let first = helpers.iter().map(Helper::pid).min().unwrap();
            // Round, to a little after where it was: as if only a few had been given out.
            give_out_until(|last| last < before);
            give_out_until(|last| last > before);
            assert!(last_pid() < first, "{before} {} {first}", last_pid());
            let snapshot = tick(&mut source);
            for helper in &helpers {
                get(&snapshot, helper.pid());
            }
            drop(helpers);
            give_out_until(|last| last > 310 && last < 330);
        }
    }
}

#[test]
fn who_has_a_pid_out_of_turn_is_seen_within_the_time_that_the_snapshot_makes_known() {
    let Some(by) = pid_namespace() else { return };
    if !inside("namespaces::who_has_a_pid_out_of_turn_is_seen_within_the_time_that_the_snapshot_makes_known", &by) {
        return;
    }
    let out_of_turn = |pid: u32| {
        let before = last_pid();
        let helper = with_pid(pid, "read x");
        std::fs::write("/proc/sys/kernel/ns_last_pid", before.to_string()).unwrap();
        helper
    };
    // So many that looking at the pids that were given out is cheaper than a listing.
    let _crowd = Crowd::new(100);
    let every = Duration::from_millis(300);
    let mut source = Processes::new().list_every(every);
    let mut always = Processes::new().list_every(Duration::ZERO);
    tick(&mut always);
    let mut last = tick(&mut source);
    for nth in 0..3 {
        let helper = out_of_turn(20_000 + nth * 1_000);
        let born = Monotonic::now();
        let snapshot = tick(&mut always);
        get(&snapshot, helper.pid());
        assert_eq!(snapshot.complete_at, Some(snapshot.at));
        until("it is seen", || {
            let snapshot = tick(&mut source);
            let complete_at = snapshot.complete_at.unwrap();
            assert!(snapshot.at.since(complete_at).unwrap() < every);
            assert!(complete_at >= last.complete_at.unwrap() && complete_at <= snapshot.at);
            let seen = find(&snapshot, helper.pid()).is_some();
            assert!(seen || complete_at < born, "listed after its birth, and missed");
            last = snapshot;
            seen
        });
    }
    // It may be never.
    let mut never = Processes::new().list_every(Duration::MAX);
    let first = tick(&mut never);
    assert_eq!(first.complete_at, Some(first.at));
    let second = tick(&mut never);
    assert_eq!(second.complete_at, first.complete_at);
}

/// How to start a program in a time namespace where the machine started only now.
fn time_namespace() -> Option<Vec<String>> {
    let uptime = Monotonic::now().as_nanos() / 1_000_000_000;
    let mut by = vec!["unshare".to_owned()];
    if !common::is_root() {
        by.push("--map-root-user".to_owned());
    }
    by.extend(["--fork", "--kill-child", "--time", "--boottime"].map(str::to_owned));
    by.push(format!("-{}", uptime - 1));
    let works = Command::new(&by[0]).args(&by[1..]).arg("true").stderr(std::process::Stdio::null()).status();
    let works = works.is_ok_and(|status| status.success());
    common::require(works, "a time namespace of its own").then_some(by)
}

#[test]
fn who_started_before_the_zero_of_the_time_namespace_is_as_old_as_it_is() {
    let Some(by) = time_namespace() else { return };
    if !inside("namespaces::who_started_before_the_zero_of_the_time_namespace_is_as_old_as_it_is", &by) {
        return;
    }
    let me = std::process::id();
    let snapshot = tick(&mut Processes::new());
    assert!(get(&snapshot, me).id.start_ticks < 1 << 40);
    assert!(get(&snapshot, 1).id.start_ticks > 1 << 40, "as the kernel writes it");
    assert_eq!(get(&snapshot, 1).id, direct(1).id());
    // Everybody's parent is there.
    let tree = ProcessTree::new(&snapshot);
    for sample in snapshot.samples.iter().filter(|sample| find(&snapshot, sample.ppid).is_some()) {
        assert_eq!(tree.parent(sample.id).map(|parent| parent.id.pid), Some(sample.ppid), "{}", sample.id);
    }
    let root = std::iter::successors(tree.get(get(&snapshot, me).id), |sample| tree.parent(sample.id)).last().unwrap();
    assert_eq!(root.id.pid, 1);
    let below = tick(&mut Processes::new().select(Select::pid(1).with_descendants()));
    get(&below, me);
    // Nobody is younger than the zero who started before it.
    let since_zero = Duration::from_nanos(snapshot.at.as_nanos());
    let young = tick(&mut Processes::new().select(Select::younger_than(since_zero)));
    get(&young, me);
    assert_eq!(find(&young, 1), None);
    let old = tick(&mut Processes::new().select(Select::older_than(since_zero)));
    get(&old, 1);
    assert_eq!(find(&old, me), None);
    // What was there before is no newcomer.
    let rated = next(&mut ticks(Processes::new()).rates());
    assert!(rated.samples.iter().filter(|rated| rated.id.start_ticks > 1 << 40).all(|rated| rated.rates.is_none()));
}

#[test]
fn inside_of_a_pid_namespace_only_processes_that_ran_are_read() {
    let Some(by) = pid_namespace() else { return };
    if !inside("namespaces::inside_of_a_pid_namespace_only_processes_that_ran_are_read", &by) {
        return;
    }
    assert_eq!(std::process::id(), 1);
    let mut helper = Helper::sh("sleep 100000 >/dev/null & echo $!; while read x; do echo $x; done", &[]);
    let sleeper = helper.number();
    until_named(sleeper, "sleep");
    until_asleep(sleeper);
    let fields = Fields::DEFAULT | Fields::STATUS | Fields::NAMESPACES;
    let mut source = Processes::new().fields(fields).max_age(Duration::from_secs(1_000_000));
    let first = tick(&mut source);
    assert_eq!(first.notices, []);
    let mut expected = vec![1, helper.pid(), sleeper];
    expected.sort_unstable();
    assert_eq!(first.samples.iter().map(|sample| sample.id.pid).collect::<Vec<_>>(), expected);
    assert_eq!(get(&first, 1).ppid, 0);
    assert_eq!(get(&first, helper.pid()).ppid, 1);
    assert_eq!(get(&first, helper.pid()).namespaces.value().unwrap().ns_pids, [helper.pid()]);
    for _ in 0..5 {
        helper.say("run");
        assert_eq!(helper.line(), "run");
        until_asleep(helper.pid());
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.notices, []);
        assert_eq!(get(&snapshot, sleeper).read_at, get(&first, sleeper).read_at);
        assert!(get(&snapshot, sleeper).at >= snapshot.at, "what its clock proves is as of the tick");
        assert!(get(&snapshot, helper.pid()).read_at > snapshot.at);
        assert_eq!(counters_of(get(&snapshot, sleeper)), counters(&direct(sleeper)).unwrap());
        let mut born = Helper::sh("read x", &[]);
        get(&tick(&mut source), born.pid());
        born.end();
        assert_eq!(tick(&mut source).samples.len(), 3);
    }
}

#[test]
fn another_pid_namespace_is_read_in_full_from_outside() {
    let Some(by) = pid_namespace() else { return };
    let script = "sleep 100000 >/dev/null & sleep 100000 >/dev/null & echo ready; while read x; do echo $x; done";
    let mut helper = Helper::spawn(Command::new(by[0]).args(&by[1..]).args(["/bin/sh", "-c", script]));
    assert_eq!(helper.line(), "ready");
    let root = format!("/proc/{}/root/proc", helper.pid());
    let procfs = ProcFs::new(&root).unwrap();
    assert_eq!(procfs.notices(), [Notice::NoPulse]);
    let asleep = || {
        let names = procfs.pids().unwrap().into_iter().map(|pid| procfs.process(pid).unwrap().stat().unwrap());
        names.filter(|stat| stat.comm == "sleep" && stat.state == appmon::process::ProcessState::Sleeping).count() == 2
    };
    until("two that sleep", asleep);
    let mut source = Processes::new().root(&root).fields(Fields::all()).slow_budget(Duration::from_secs(300));
    for nth in 0..5 {
        // The shell may still be on its way back to its read.
        until("the shell sleeps", || {
            procfs.process(1).unwrap().stat().unwrap().state == appmon::process::ProcessState::Sleeping
        });
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.notices, [Notice::NoPulse]);
        assert_no_loss(&snapshot);
        let pids: Vec<u32> = snapshot.samples.iter().map(|sample| sample.id.pid).collect();
        assert_eq!(pids, procfs.pids().unwrap());
        assert_eq!(pids[0], 1);
        assert_eq!(pids.len(), 3);
        for sample in snapshot.samples.iter().filter(|sample| sample.info.name == "sleep") {
            let process = procfs.process(sample.id.pid).unwrap();
            assert_eq!(sample.id, process.id());
            assert!(sample.read_at >= snapshot.at);
            assert_eq!(counters_of(sample), counters(&process).unwrap());
            assert_eq!(*sample.info.cmdline.value().unwrap(), ["sleep", "100000"]);
            assert_eq!(*sample.info.exe.value().unwrap(), process.exe().unwrap());
            assert_eq!(sample.ppid, 1);
            assert_eq!(sample.cpu.total_ns, sample.cpu.user_ns + sample.cpu.system_ns);
            assert_eq!(sample.namespaces.value().unwrap().ns_pids, [sample.id.pid]);
        }
        let io = get(&snapshot, 1).io.value().unwrap().read_chars.unwrap();
        helper.say("run");
        assert_eq!(helper.line(), "run");
        assert!(get(&tick(&mut source), 1).io.value().unwrap().read_chars > Some(io), "tick {nth}");
    }
    helper.end();
    // All of them ended with the first one.
    let gone = || common::try_tick(&mut source).map_or(true, |snapshot| snapshot.samples.is_empty());
    until("the namespace has ended", gone);
}
