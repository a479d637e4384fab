//! Groups over a simulated kernel: whatever happens, in whatever order it is read, the books hold.

mod kernel;
mod trees;

use std::collections::BTreeMap;

use futures::executor::block_on;
use futures::{StreamExt, stream};
use proptest::prelude::*;

use self::kernel::{Event, Kernel, Reading as How, TICK_NS, events};
use super::groups::Settings;
use super::ledger::{Keys, Ledger};
use super::{GroupKey, GroupSample};
use crate::process::{Cpu, Io, ProcessData, ProcessId, ProcessInfo, Service};
use crate::stream::{SnapshotStreamExt, by};
use crate::{Exit, Lives, Monotonic, Notice, ProcessSample, Reading, Snapshot, Text};

type Groups = BTreeMap<String, GroupSample<Text>>;

fn grouped(snapshots: Vec<Snapshot<ProcessSample>>, key: fn(&ProcessSample) -> Text, most: usize) -> Vec<Groups> {
    let groups = stream::iter(snapshots.into_iter().map(Ok)).group_by(key).keep_empty(true).max_groups(most);
    let ticks = block_on(groups.collect::<Vec<_>>());
    let by_key = |group: GroupSample<Text>| (group.key.to_string(), group);
    ticks.into_iter().map(|tick| tick.unwrap().samples.into_iter().map(by_key).collect()).collect()
}

fn sum(groups: &Groups, of: impl Fn(&GroupSample<Text>) -> u64) -> u64 {
    groups.values().map(of).sum()
}

fn io(groups: &Groups) -> u64 {
    sum(groups, |group| group.io.write_chars.unwrap_or(0))
}

fn never_falls(ticks: &[Groups]) -> Result<(), TestCaseError> {
    for pair in ticks.windows(2) {
        for (key, before) in &pair[0] {
            let now = &pair[1][key];
            for (before, now) in [
                (before.cpu.total_ns, now.cpu.total_ns),
                (before.cpu.user_ns, now.cpu.user_ns),
                (before.cpu.system_ns, now.cpu.system_ns),
                (before.inferred.total_ns, now.inferred.total_ns),
                (before.faults.minor, now.faults.minor),
                (before.io.write_chars.unwrap_or(0), now.io.write_chars.unwrap_or(0)),
                (before.seen, now.seen),
                (before.exited, now.exited),
            ] {
                prop_assert!(before <= now, "{key}: {before} {now}");
            }
        }
    }
    Ok(())
}

/// Runs the events, some of them while a snapshot is being read; the last ticks find nothing going on.
fn run(events: &[Event], how: How) -> (Kernel, Vec<Snapshot<ProcessSample>>) {
    let mut kernel = Kernel::new();
    let mut snapshots = vec![kernel.read(how, 0, &[])];
    for (nth, event) in events.iter().enumerate() {
        if let Event::Tick { order, meanwhile } = event {
            let rest = &events[nth + 1..];
            let meanwhile = &rest[..rest.len().min(usize::from(*meanwhile))];
            snapshots.push(kernel.read(how, *order, meanwhile));
        } else {
            kernel.happen(event);
        }
    }
    for order in 0..5 {
        snapshots.push(kernel.read(how, order, &[]));
    }
    (kernel, snapshots)
}

/// What all groups have together, beside what was used.
fn check_sums(kernel: &Kernel, lives: bool, total: u64) -> Result<(), TestCaseError> {
    let used = kernel.used.values().sum::<u64>();
    // Of those who wait for children two ticks are not shown; what nobody waited for is in no total but for what was seen.
    let unseen = kernel.unseen_ns + kernel.reapers() * 2 * TICK_NS;
    // Where a small life went is not clear when its parent ended too, nor what of it is not shown when another never comes.
    let orphans = (2 * kernel.orphans + kernel.unseen) * 2 * TICK_NS;
    prop_assert!(total + unseen + orphans >= used, "{total} of {used}, {unseen} unseen, {orphans} of orphans");
    // Without lives nobody knows who waited for a child whose parent ended in the same tick.
    prop_assert!(!lives || total <= used + orphans, "{total} of {used}, {orphans} of orphans");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The sum of all groups is right, though lives are short, whoever waits for them, and whatever they are called.
    #[test]
    fn sums_are_true(events in events(true), lives: bool) {
        let (kernel, snapshots) = run(&events, How { lives, usage: false });
        let ticks = grouped(snapshots, by::name, usize::MAX);
        never_falls(&ticks)?;
        check_sums(&kernel, lives, sum(ticks.last().unwrap(), |group| group.cpu.total_ns))?;
    }

    /// I/O is exact, nothing twice, where all of it may be read and somebody waits for all.
    #[test]
    fn io_is_exact(events in events(false), lives: bool) {
        let (kernel, snapshots) = run(&events, How { lives, usage: false });
        let ticks = grouped(snapshots, by::name, usize::MAX);
        never_falls(&ticks)?;
        let written = io(ticks.last().unwrap());
        if kernel.unseen_io == 0 && kernel.orphans == 0 {
            // Without lives a child can look alive that its parent already has; the group owes that, and pays when it writes again.
            prop_assert!(written == kernel.written || (!lives && written > kernel.written), "{written} of {}", kernel.written);
        }
    }

    /// A group has what its processes used; what else it has is inferred, and what it lacks is inferred elsewhere.
    #[test]
    fn groups_are_true(events in events(true)) {
        let (kernel, snapshots) = run(&events, How { lives: true, usage: false });
        let last = grouped(snapshots, by::user, usize::MAX).pop().unwrap();
        let grain = kernel.reapers() * 2 * TICK_NS + kernel.orphans * 4 * TICK_NS;
        let inferred = sum(&last, |group| group.inferred.total_ns);
        for (user, used) in &kernel.used {
            let group = last.get(&user.to_string());
            let (total, own) = group.map_or((0, 0), |group| (group.cpu.total_ns, group.inferred.total_ns));
            prop_assert!(total - own <= *used + kernel.orphans * 4 * TICK_NS, "{user}: {total} of {used}, {own} inferred");
            prop_assert!(total + (inferred - own) + grain + kernel.unseen_ns >= *used, "{user}: {total} of {used}");
        }
    }

    /// What control groups used is exact where each is one group's, also what nobody waited for.
    #[test]
    fn control_groups_are_exact(events in events(true)) {
        let (kernel, snapshots) = run(&events, How { lives: true, usage: true });
        let ticks = grouped(snapshots, by::cgroup, usize::MAX);
        never_falls(&ticks)?;
        for (path, usage) in kernel.usage_of_living() {
            let group = &ticks.last().unwrap()[&path];
            prop_assert_eq!(group.cpu.total_ns, usage - kernel.usage_at_start(&path), "{}", path);
        }
    }

    /// With few groups the sums are true as well, and the same but for debts: what a group owes is paid by what comes to it next, which
    /// is sooner where the others are one group.
    #[test]
    fn few_groups_hold_the_same(events in events(true), lives: bool, most in 0_usize..3) {
        let (kernel, snapshots) = run(&events, How { lives, usage: false });
        let all = grouped(snapshots.clone(), by::name, usize::MAX);
        let few = grouped(snapshots, by::name, most);
        never_falls(&few)?;
        check_sums(&kernel, lives, sum(few.last().unwrap(), |group| group.cpu.total_ns))?;
        for (all, few) in all.iter().zip(&few) {
            prop_assert!(few.len() <= most + 1);
            prop_assert_eq!(sum(all, |group| group.alive), sum(few, |group| group.alive));
            if lives {
                prop_assert!(io(few) <= io(all), "{} of {} written", io(few), io(all));
                let cpu = |groups| sum(groups, |group| group.cpu.total_ns);
                prop_assert!(cpu(few) <= cpu(all), "{} of {} ns", cpu(few), cpu(all));
            }
        }
    }

    /// From a recording that went over a wire the groups are the same.
    #[test]
    fn a_recording_gives_the_same(events in events(true), lives: bool) {
        let (_, snapshots) = run(&events, How { lives, usage: lives });
        let wire: Vec<_> = snapshots.iter().map(|snapshot| serde_json::to_vec(snapshot).unwrap()).collect();
        let read = wire.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
        prop_assert_eq!(grouped(snapshots, by::name, 7), grouped(read, by::name, 7));
    }
}

fn sample(pid: u32, ppid: u32, name: &str, total_ms: u64, children_ms: u64) -> ProcessSample {
    let info = ProcessInfo { name: name.into(), ..ProcessInfo::default() };
    let cpu = Cpu { total_ns: total_ms * 1_000_000, children_user_ns: children_ms * 1_000_000, ..Cpu::default() };
    ProcessSample::from(ProcessData {
        id: ProcessId { pid, start_ticks: 1 },
        ppid,
        info: info.into(),
        threads: 1,
        cpu,
        at: Monotonic::from_nanos(total_ms + children_ms),
        read_at: Monotonic::from_nanos(total_ms + children_ms),
        ..ProcessData::default()
    })
}

/// A process that began after all snapshots but the last.
fn new(mut sample: ProcessSample, at_ms: u64) -> ProcessSample {
    sample.id.start_ticks = at_ms / 10;
    sample
}

fn snapshot(seq: u64, samples: impl IntoIterator<Item = ProcessSample>) -> Snapshot<ProcessSample> {
    let at = Monotonic::from_nanos((seq + 1) * 1_000_000_000);
    Snapshot { seq, at, ..samples.into_iter().collect() }
}

fn with_lives(snapshot: Snapshot<ProcessSample>, exits: &[(u32, Option<u32>)]) -> Snapshot<ProcessSample> {
    let id = |pid| ProcessId { pid, start_ticks: 1 };
    let exits = exits.iter().map(|(pid, reaper)| Exit { reaper: reaper.map(id), ..Exit::new(id(*pid)) }).collect();
    Snapshot { lives: Some(Lives { exits, ..Lives::default() }.into()), ..snapshot }
}

#[track_caller]
fn check(snapshots: Vec<Snapshot<ProcessSample>>, expected: &[&[(&str, u64)]]) {
    let found: Vec<Vec<(String, u64)>> = grouped(snapshots, by::name, usize::MAX)
        .into_iter()
        .map(|tick| tick.into_iter().map(|(key, group)| (key, group.cpu.total_ns / 1_000_000)).collect())
        .collect();
    let expected: Vec<Vec<(String, u64)>> =
        expected.iter().map(|tick| tick.iter().map(|(key, ms)| ((*key).to_owned(), *ms)).collect()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_child_is_paid_once() {
    // With 100 ms that were seen, and 50 that were not.
    let ticks = |lives: fn(_, &[(u32, Option<u32>)]) -> _| {
        vec![
            lives(snapshot(0, [sample(1, 0, "sh", 10, 0), sample(2, 1, "job", 0, 0)]), &[]),
            lives(snapshot(1, [sample(1, 0, "sh", 10, 0), sample(2, 1, "job", 100, 0)]), &[]),
            lives(snapshot(2, [sample(1, 0, "sh", 10, 150)]), &[(2, Some(1))]),
            lives(snapshot(3, [sample(1, 0, "sh", 10, 150)]), &[]),
        ]
    };
    let seen = [("job", 0), ("sh", 0)];
    check(
        ticks(with_lives),
        &[&seen, &[("job", 100), ("sh", 0)], &[("job", 100), ("sh", 50)], &[("job", 100), ("sh", 50)]],
    );
    // Without lives what nobody has waits for a tick: the child it is of may still look alive.
    let late = [("job", 100), ("sh", 0)];
    check(ticks(|snapshot, _| snapshot), &[&seen, &late, &late, &[("job", 100), ("sh", 50)]]);
}

#[test]
fn a_child_is_paid_once_whose_parent_ended_before_it() {
    // The shell is read, then it ends, and the first process waits for the job: what it gets is in this snapshot or in the next.
    let tick = |seq, init, shell: bool, job: Option<u64>| {
        let mut samples = vec![sample(1, 0, "init", 0, init), sample(2, 1, "login", 0, 0)];
        samples.extend(shell.then(|| sample(3, 2, "sh", 0, 0)));
        samples.extend(job.map(|ms| sample(4, 3, "job", ms, 0)));
        snapshot(seq, samples)
    };
    // Who did not wait for the shell yet, or did.
    for (soon, is_there) in [(100, true), (0, true), (0, false)] {
        let mut ticks = vec![tick(0, 0, true, Some(0)), tick(1, 0, true, Some(100)), tick(2, soon, true, None)];
        ticks.push(tick(3, 100, is_there, None));
        ticks.extend((4..9).map(|seq| tick(seq, 100, false, None)));
        let groups = grouped(ticks, by::name, usize::MAX).pop().unwrap();
        assert_eq!(sum(&groups, |group| group.cpu.total_ns), 100_000_000, "{soon} {is_there}");
        assert_eq!(sum(&groups, |group| group.unrecovered_ns), 0, "{soon} {is_there}");
    }
}

#[test]
fn who_leaves_a_selection_did_not_end() {
    let there = |seq, ms, children| snapshot(seq, [sample(1, 0, "sh", 10, children), sample(2, 1, "job", ms, 0)]);
    let ticks = vec![
        with_lives(there(0, 0, 0), &[]),
        with_lives(there(1, 100, 0), &[]),
        with_lives(snapshot(2, [sample(1, 0, "sh", 10, 0)]), &[]),
        // Something else ended.
        with_lives(snapshot(3, [sample(1, 0, "sh", 10, 70)]), &[]),
        with_lives(there(4, 130, 70), &[]),
    ];
    let groups = grouped(ticks, by::name, usize::MAX).pop().unwrap();
    assert_eq!(groups["job"].cpu.total_ns, 130_000_000);
    assert_eq!((groups["sh"].cpu.total_ns, groups["sh"].inferred.total_ns), (70_000_000, 70_000_000));
    assert_eq!((groups["job"].seen, groups["job"].exited), (2, 0));
}

#[test]
fn what_nobody_waits_for_is_given_up_and_masks_nothing_for_long() {
    let mut ticks = vec![snapshot(0, [sample(1, 0, "sh", 0, 0), sample(2, 1, "job", 0, 0)])];
    ticks.push(snapshot(1, [sample(1, 0, "sh", 0, 0), sample(2, 1, "job", 100, 0)]));
    ticks.extend((2..6).map(|seq| snapshot(seq, [sample(1, 0, "sh", 0, 0)])));
    ticks.extend((6..8).map(|seq| snapshot(seq, [sample(1, 0, "sh", 0, 40)])));
    let seen: Vec<_> = grouped(ticks, by::name, usize::MAX)
        .into_iter()
        .map(|groups| (groups["sh"].cpu.total_ns / 1_000_000, groups["sh"].unrecovered_ns / 1_000_000))
        .collect();
    // Until it is read, `children` is not known of one that never had any: it is written off when it is.
    assert_eq!(seen, [(0, 0), (0, 0), (0, 0), (0, 0), (0, 100), (0, 100), (0, 100), (40, 100)]);
}

#[test]
fn a_move_and_a_birth() {
    let ticks = vec![
        snapshot(0, [sample(1, 0, "a", 50, 0)]),
        snapshot(1, [sample(1, 0, "a", 60, 0), new(sample(3, 1, "c", 5, 0), 1_000)]),
        snapshot(2, [sample(1, 0, "b", 90, 0), new(sample(3, 1, "c", 5, 0), 1_000)]),
        snapshot(3, [sample(1, 0, "a", 91, 0), sample(4, 1, "old", 500, 0)]),
    ];
    let groups = grouped(ticks, by::name, usize::MAX).pop().unwrap();
    let of = |name: &str| {
        let group = &groups[name];
        [group.cpu.total_ns / 1_000_000, group.inferred.total_ns / 1_000_000, group.alive, group.seen, group.exited]
    };
    assert_eq!(of("a"), [11, 1, 1, 2, 0]);
    assert_eq!(of("b"), [30, 30, 0, 1, 0]);
    assert_eq!(of("c"), [5, 0, 0, 1, 1], "all since its birth");
    assert_eq!(of("old"), [0, 0, 1, 1, 0], "one that was there before has counted for long");
}

#[test]
fn the_key_is_asked_when_something_changed() {
    let info = std::sync::Arc::new(ProcessInfo::default());
    let process = |seq: u64, ppid| {
        let mut sample = sample(7, ppid, "x", seq, 0);
        (sample.info, sample.read_at) = (info.clone(), Monotonic::from_nanos(seq));
        sample
    };
    let mut ticks: Vec<_> = (0..5).map(|seq| snapshot(seq, [process(seq, 1)])).collect();
    let mut copy = process(5, 1);
    copy.info = ProcessInfo::default().into();
    ticks.push(snapshot(5, [copy]));
    ticks.push(snapshot(6, [process(6, 2)]));
    let mut asked = 0;
    let groups = stream::iter(ticks.into_iter().map(Ok))
        .group_by(|_| {
            asked += 1;
            0
        })
        .collect::<Vec<_>>();
    assert_eq!(block_on(groups).len(), 7);
    assert_eq!(asked, 2, "when it was new, and when it had another parent");
}

#[test]
fn groups_without_members_go() {
    let groups = |keep| {
        let mut ticks = vec![snapshot(0, [sample(1, 0, "a", 1, 0), sample(2, 1, "b", 1, 0)])];
        ticks.extend((1..7).map(|seq| snapshot(seq, [sample(1, 0, "a", 1, 0)])));
        let groups = stream::iter(ticks.into_iter().map(Ok)).group_by(by::name).by("name").keep_empty(keep);
        let ticks = block_on(groups.collect::<Vec<_>>());
        let last = ticks.last().unwrap().as_ref().unwrap();
        assert!(last.samples.iter().all(|group| group.by.as_deref() == Some("name")));
        ticks.iter().map(|tick| tick.as_ref().unwrap().len()).collect::<Vec<_>>()
    };
    assert_eq!(groups(true), [2; 7]);
    assert_eq!(groups(false), [2, 2, 2, 2, 1, 1, 1]);
}

#[test]
fn others_get_groups_when_there_is_room() {
    let ticks = vec![
        snapshot(0, [sample(1, 0, "a", 0, 0), sample(2, 1, "b", 0, 0), sample(3, 1, "c", 0, 0)]),
        snapshot(1, [sample(2, 1, "b", 10, 0), sample(3, 1, "c", 20, 0)]),
        snapshot(2, [sample(2, 1, "b", 10, 0), sample(3, 1, "c", 20, 0)]),
        snapshot(3, [sample(2, 1, "b", 10, 0), sample(3, 1, "c", 20, 0)]),
        snapshot(4, [sample(2, 1, "b", 10, 0), sample(3, 1, "c", 20, 0)]),
        snapshot(5, [sample(2, 1, "b", 11, 0), sample(3, 1, "c", 22, 0)]),
    ];
    let groups = stream::iter(ticks.into_iter().map(Ok)).group_by(by::name).max_groups(1);
    let ticks: Vec<Vec<(String, u64, u64)>> = block_on(groups.collect::<Vec<_>>())
        .into_iter()
        .map(|tick| {
            let of = |group: GroupSample<Text>| (group.key.to_string(), group.alive, group.cpu.total_ns / 1_000_000);
            tick.unwrap().into_iter().map(of).collect()
        })
        .collect();
    assert_eq!(ticks[1], [("a".into(), 0, 0), ("other".into(), 2, 30)]);
    assert_eq!(ticks[5], [("b".into(), 1, 1), ("other".into(), 1, 32)]);
}

#[test]
fn notices_rates_and_hosts() {
    let tick = |host: &str, seq, ms| Snapshot { host: Some(host.into()), ..snapshot(seq, [sample(1, 0, "a", ms, 0)]) };
    let ticks = [tick("x", 0, 0), tick("y", 0, 1_000), tick("x", 1, 500), tick("y", 1, 1_250)];
    let rated = block_on(stream::iter(ticks.map(Ok)).group_by(Service::of).rates().collect::<Vec<_>>());
    let cores: Vec<_> = rated
        .iter()
        .map(|tick| {
            let tick = tick.as_ref().unwrap();
            assert_eq!(tick.notices, [Notice::NoLives]);
            tick.samples[0].rates.map(|rates| rates.cpu.cores)
        })
        .collect();
    assert_eq!(cores, [None, None, Some(0.5), Some(0.25)]);
}

#[test]
fn io_that_may_not_be_read_is_unknown_and_not_nothing() {
    let with = |io, mut sample: ProcessSample| {
        sample.io = io;
        sample
    };
    let denied = |pid| with(Reading::Denied, sample(pid, 0, "a", 0, 0));
    let open = with(Reading::Value(Io { write_chars: Some(9), ..Io::NOTHING }), sample(3, 0, "b", 0, 0));
    let last = grouped(vec![snapshot(0, [denied(1), denied(2), open])], by::name, 9).pop().unwrap();
    assert_eq!((last["a"].io, last["a"].io_unknown), (Io::default(), 2));
    assert_eq!((last["b"].io, last["b"].io_unknown), (Io::NOTHING, 0), "what was before does not count");
}

#[test]
fn the_wire_form_of_a_group() {
    let group =
        |key| GroupSample::<Text> { at: Monotonic::from_nanos(9), ..GroupSample::new(key, Monotonic::from_nanos(7)) };
    for (key, text) in [(GroupKey::Key("a".into()), r#"{"key":"a","#), (GroupKey::Other, r#"{"key":null,"#)] {
        let line = serde_json::to_string(&group(key.clone())).unwrap();
        assert!(line.starts_with(text), "{line}");
        assert_eq!(serde_json::from_str::<GroupSample<Text>>(&line).unwrap(), group(key));
    }
}

/// Run by hand: `cargo test --release --lib a_tick_of_2000 -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_tick_of_2000_processes() {
    let base: Vec<ProcessSample> =
        (0..2_000_u32).map(|pid| sample(pid + 1, u32::from(pid > 0), &format!("p{}", pid % 200), 5, 0)).collect();
    let settings = Settings { by: None, max_groups: usize::MAX, keep_empty: false };
    let mut ledger = Ledger::default();
    let (mut ticks, mut drops) = (Vec::new(), Vec::new());
    for seq in 0..1_000_u64 {
        let mut samples = base.clone();
        for nth in 0..20_usize {
            let at = nth * 97 + 1;
            samples[at].cpu.total_ns += seq * 1_000_000;
            samples[at].read_at = Monotonic::from_nanos(seq + 100);
        }
        let snapshot = Snapshot { lives: Some(Lives::default().into()), ..snapshot(seq, samples) };
        let other = snapshot.clone();
        let begin = std::time::Instant::now();
        drop(other);
        drops.push(begin.elapsed());
        let begin = std::time::Instant::now();
        let groups = ledger.tick(snapshot, Keys::new(&mut |process| Some(by::name(process)), &settings));
        ticks.push(begin.elapsed());
        assert_eq!(groups.len(), 200);
    }
    ticks.sort();
    drops.sort();
    eprintln!("a tick {:?}, of which dropping its samples {:?}", ticks[500], drops[500]);
}
