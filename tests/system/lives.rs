//! What lived between two ticks, beside the kernel's own accounts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::mpsc::{TryRecvError, channel};

use appmon::process::ProcessId;
use appmon::stream::GroupSample;
use appmon::{Fields, ProcessSample, Processes, Snapshot, SnapshotStreamExt};
use futures::executor::block_on;
use futures::{StreamExt, stream};

use common::{Helper, get, inside, tick};

/// Runs so many children, so many at a time, each for so many microseconds of CPU time, when it is asked to; says what it and they
/// used, in microseconds.
const STORM: &str = "
import os, resource, sys, time
def run(us):
    end = time.process_time_ns() + us * 1000
    while time.process_time_ns() < end:
        pass
print('ready', flush=True)
sys.stdin.readline()
count, together, us, levels = map(int, sys.argv[1:])
for _ in range(count // together):
    for _ in range(together):
        if os.fork() == 0:
            for _ in range(levels):
                if os.fork() == 0:
                    run(us)
                    os._exit(0)
                os.wait()
            run(us)
            os._exit(0)
    for _ in range(together):
        os.wait()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(sum(int((use.ru_utime + use.ru_stime) * 1e6) for use in used), flush=True)
sys.stdin.readline()
";

/// The group of a subtree, as the source and the combinator have it: its totals at each tick, while a storm goes on.
fn storm(arguments: &[&str]) -> (u64, Vec<GroupSample<bool>>) {
    let mut helper = Helper::python(STORM, arguments);
    assert_eq!(helper.line(), "ready");
    let root = helper.pid();
    let before = cpu_us(root);
    let mut source = Processes::new().lives(true).fields(Fields::empty());
    let mut snapshots = vec![tick(&mut source)];
    helper.say("go on");
    // The answer is awaited beside the ticks.
    let (send, answer) = channel();
    let waiting = std::thread::spawn(move || {
        let _ = send.send(helper.number());
        helper
    });
    let used = loop {
        snapshots.push(tick(&mut source));
        match answer.try_recv() {
            Ok(used) => break u64::from(used),
            Err(TryRecvError::Empty) => std::thread::yield_now(),
            Err(TryRecvError::Disconnected) => panic!("the helper failed"),
        }
    };
    let helper = waiting.join().unwrap();
    snapshots.push(tick(&mut source));
    let last = get(snapshots.last().unwrap(), root).clone();
    drop(helper);
    assert_eq!(last.id.pid, root);
    check_counted_once(&snapshots, last.id);

    // The helper and all that came of it, by the groups of processes: what it forks inherits its name and session alone, so the tree
    // is kept here.
    let mut tree: BTreeMap<ProcessId, bool> = BTreeMap::from([(last.id, true)]);
    for snapshot in snapshots.iter_mut() {
        for process in &snapshot.samples {
            let parent = snapshot.samples.iter().find(|parent| parent.id.pid == process.ppid).map(|parent| parent.id);
            let is_in = parent.is_some_and(|parent| tree.get(&parent) == Some(&true));
            tree.entry(process.id).or_insert(is_in);
        }
    }
    for (seq, snapshot) in (0..).zip(&mut snapshots) {
        snapshot.seq = seq;
    }
    let key = |process: &ProcessSample| tree.get(&process.id) == Some(&true);
    let groups = block_on(stream::iter(snapshots.into_iter().map(Ok)).group_by(key).collect::<Vec<_>>());
    let of_tree = |tick: appmon::Result<Snapshot<GroupSample<bool>>>| {
        tick.unwrap().into_iter().find(|group| group.key.key() == Some(&true)).unwrap()
    };
    (used - before, groups.into_iter().map(of_tree).collect())
}

/// What a process used so far, with the children of whatever started it.
fn cpu_us(pid: u32) -> u64 {
    let stat = common::direct(pid).stat().unwrap();
    (stat.utime_ticks + stat.stime_ticks + stat.cutime_ticks + stat.cstime_ticks) * 1_000_000
        / rustix::param::clock_ticks_per_second()
}

/// Of the children of the helper, each that a snapshot has is in the next one, or ended there in the helper's account.
fn check_counted_once(snapshots: &[Snapshot<ProcessSample>], root: ProcessId) {
    for pair in snapshots.windows(2) {
        let lives = pair[1].lives.as_ref().unwrap();
        for child in pair[0].samples.iter().filter(|process| process.ppid == root.pid) {
            let there = pair[1].samples.iter().any(|process| process.id == child.id);
            let exit = lives.exits.iter().find(|exit| exit.id == child.id);
            assert_eq!(there, exit.is_none(), "either there or not: {child:?}");
            if let Some(exit) = exit {
                assert_eq!(exit.reaper, Some(root), "{child:?}");
                assert!(lives.reapers.iter().any(|reaper| reaper.id == root));
            }
        }
        let children = |snapshot| {
            let cpu = get(snapshot, root.pid).cpu;
            cpu.children_user_ns + cpu.children_system_ns
        };
        // What was seen of a child that is gone is there.
        let gone = pair[0].samples.iter().filter(|process| process.ppid == root.pid);
        let gone = gone.filter(|child| lives.exits.iter().any(|exit| exit.id == child.id));
        let seen: u64 = gone.map(|child| child.cpu.total_ns).sum();
        let grown = children(&pair[1]) - children(&pair[0]);
        assert!(grown + 20_000_000 >= seen, "{grown} of {seen}");
    }
}

/// Within 2 %, or 20 ms for the one living process that waits.
#[track_caller]
fn check(arguments: &[&str]) {
    let (used, ticks) = storm(arguments);
    let last = ticks.last().unwrap();
    let total = last.cpu.total_ns / 1_000;
    // What the helper used to be started is in ticks of 10 ms, and what it used to end in nothing.
    let most = (used / 50).max(20_000) + 20_000;
    assert!(total.abs_diff(used) <= most, "{arguments:?}: {total} µs of {used}, {} seen, {last:?}", last.seen);
    assert!(ticks.windows(2).all(|pair| pair[0].cpu.total_ns <= pair[1].cpu.total_ns));
}

#[test]
fn totals_are_those_of_rusage_however_short_the_lives() {
    let test = "lives::totals_are_those_of_rusage_however_short_the_lives";
    // Both as root and as nobody.
    if common::is_root() {
        assert!(!inside(test, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]));
    }
    check(&["40", "1", "30000", "0"]);
    check(&["200", "4", "3000", "0"]);
    check(&["400", "8", "1000", "0"]);
    check(&["400", "1", "100", "0"]);
    check(&["24", "2", "10000", "2"]);
}
