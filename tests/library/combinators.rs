//! The combinators of a stream of snapshots, and the cache of a source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use appmon::counters::Counters;
use appmon::process::{Io, ProcessId};
use appmon::snapshot::Notice;
use appmon::stream::{Change, Record};
use appmon::time::Monotonic;
use appmon::{
    Cancel, Error, ProcessSample, Rated, Reading, Result, Sample, Snapshot, SnapshotStreamExt, Source, SourceExt,
};
use futures::executor::block_on;
use futures::stream::FusedStream;
use futures::{Stream, StreamExt, stream};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;

/// A thing that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Meter {
    key: u32,
    /// Changes when the subject changes its identity.
    identity: u8,
    /// Nanoseconds.
    at: u64,
    count: u64,
    birth: Option<u64>,
}

impl Sample for Meter {
    const KIND: &'static str = "meter";
    type Key = u32;

    fn key(&self) -> u32 {
        self.key
    }

    fn is_changed(&self, earlier: &Self) -> bool {
        self.identity != earlier.identity
    }
}

impl Counters for Meter {
    type Totals = u64;
    /// How much it grew, and in how many nanoseconds: whole numbers, to be compared.
    type Rates = (u64, u128);

    fn totals(&self) -> u64 {
        self.count
    }

    fn at(&self) -> Monotonic {
        Monotonic::from_nanos(self.at)
    }

    fn birth(&self) -> Option<(Monotonic, u64)> {
        self.birth.map(|birth| (Monotonic::from_nanos(birth), 0))
    }

    fn rates(&self, earlier: &u64, elapsed: Duration) -> Option<(u64, u128)> {
        Some((self.count.checked_sub(*earlier)?, elapsed.as_nanos()))
    }
}

fn meter(key: u32, at: u64, count: u64) -> Meter {
    Meter { key, at, count, ..Meter::default() }
}

fn born(birth: u64, meter: Meter) -> Meter {
    Meter { birth: Some(birth), ..meter }
}

fn snapshot<T>(at: u64, samples: impl IntoIterator<Item = T>) -> Result<Snapshot<T>> {
    let mut snapshot: Snapshot<T> = samples.into_iter().collect();
    snapshot.at = Monotonic::from_nanos(at);
    Ok(snapshot)
}

fn failed<T>() -> Result<Snapshot<T>> {
    Err(Error::malformed("this tick"))
}

fn collect<S: Stream>(stream: S) -> Vec<S::Item> {
    block_on(stream.collect())
}

/// The rates of each snapshot, by key; an error has none.
#[allow(clippy::type_complexity, reason = "a table to compare with")]
fn rates(snapshots: Vec<Result<Snapshot<Meter>>>) -> Vec<Vec<(u32, Option<(u64, u128)>)>> {
    collect(stream::iter(snapshots).rates())
        .into_iter()
        .map(|item| item.into_iter().flatten().map(|rated| (rated.key, rated.rates)).collect())
        .collect()
}

mod rates {
    use super::*;

    #[test]
    fn each_sample_has_its_own_time() {
        let seen = rates(vec![
            snapshot(100, [meter(1, 100, 7), meter(2, 140, 7), meter(3, 199, 7)]),
            snapshot(200, [meter(1, 200, 17), meter(2, 390, 17), meter(3, 199, 7)]),
        ]);
        assert_eq!(seen[0], [(1, None), (2, None), (3, None)], "first sight");
        assert_eq!(seen[1], [(1, Some((10, 100))), (2, Some((10, 250))), (3, Some((0, 0)))]);
    }

    #[test]
    fn a_process_born_later_counts_from_its_birth() {
        let seen = rates(vec![
            snapshot(100, [born(99, meter(1, 110, 5)), born(100, meter(2, 110, 5)), born(105, meter(3, 110, 5))]),
            snapshot(
                200,
                [
                    born(99, meter(1, 210, 6)),
                    born(99, meter(4, 210, 5)),
                    born(150, meter(5, 210, 5)),
                    born(211, meter(6, 210, 5)),
                    meter(7, 210, 5),
                ],
            ),
        ]);
        // The stream begins with its first snapshot's `at`; what is born while that is being read is born later.
        assert_eq!(seen[0], [(1, None), (2, Some((5, 10))), (3, Some((5, 5)))]);
        let later = [(1, Some((1, 100))), (4, None), (5, Some((5, 60))), (6, None), (7, None)];
        assert_eq!(seen[1], later, "6 is read before it was born, 7 has no known birth");
    }

    #[test]
    fn a_counter_or_a_clock_that_goes_back_has_none() {
        let seen = rates(vec![
            snapshot(100, [meter(1, 100, 50), meter(2, 100, 50)]),
            snapshot(200, [meter(1, 200, 49), meter(2, 99, 60)]),
            snapshot(300, [meter(1, 300, 59), meter(2, 300, 70)]),
        ]);
        assert_eq!(seen[1], [(1, None), (2, None)]);
        assert_eq!(seen[2], [(1, Some((10, 100))), (2, Some((10, 201)))], "and goes on from there");
    }

    #[test]
    fn a_subject_away_for_a_tick_has_its_rates_since_it_was_last_seen() {
        let seen = rates(vec![
            snapshot(100, [meter(1, 100, 5), meter(2, 100, 5)]),
            snapshot(200, [meter(2, 200, 6), born(150, meter(3, 200, 9))]),
            snapshot(300, [meter(1, 300, 7), meter(2, 300, 7)]),
            snapshot(400, [meter(1, 400, 8), meter(2, 400, 8), born(150, meter(3, 400, 10))]),
        ]);
        assert_eq!(seen[1], [(2, Some((1, 100))), (3, Some((9, 50)))]);
        assert_eq!(seen[2], [(1, Some((2, 200))), (2, Some((1, 100)))]);
        // Not from its birth again: summed up, no rate counts twice.
        assert_eq!(seen[3], [(1, Some((1, 100))), (2, Some((1, 100))), (3, Some((1, 200)))]);
    }

    #[test]
    fn a_subject_away_for_long_is_forgotten() {
        let away = (0..60).map(|tick| snapshot(200 + tick, [meter(2, 200 + tick, 6)]));
        let mut ticks = vec![snapshot(100, [meter(1, 100, 5)])];
        ticks.extend(away);
        ticks.push(snapshot(900, [meter(1, 900, 7)]));
        assert_eq!(rates(ticks).last().unwrap(), &[(1, None)]);
    }

    #[test]
    fn a_failed_tick_is_passed_on_and_bridged() {
        let stream = stream::iter([snapshot(100, [meter(1, 100, 5)]), failed(), snapshot(300, [meter(1, 300, 9)])]);
        let mut seen = collect(stream.rates()).into_iter();
        assert_eq!(seen.next().unwrap().unwrap().samples[0].rates, None);
        assert!(seen.next().unwrap().unwrap_err().is_malformed());
        assert_eq!(seen.next().unwrap().unwrap().samples[0].rates, Some((4, 200)));
        assert!(seen.next().is_none());
    }

    #[test]
    fn the_same_key_twice_in_a_snapshot_is_no_panic() {
        let twice = || snapshot(100, [meter(1, 100, 5), meter(1, 100, 5), meter(0, 100, 5)]);
        assert_eq!(rates(vec![twice(), twice(), twice()])[2].len(), 3);
    }

    #[test]
    fn a_rated_sample_is_the_sample() {
        let mut rated = block_on(stream::iter([snapshot(1, [meter(1, 2, 3)])]).rates().next()).unwrap().unwrap();
        let sample: &mut Rated<Meter> = &mut rated.samples[0];
        sample.count += 1;
        assert_eq!((sample.count, sample.as_ref().count, sample.key()), (4, 4, 1));
        assert_eq!(<Rated<Meter> as Sample>::KIND, "meter");
    }

    /// Snapshots of a few things, each thing at most once, in any order.
    fn snapshots() -> impl Strategy<Value = Vec<Vec<Meter>>> {
        let one = (0..1000_u64, 0..4_u64, proptest::option::of(0..1000_u64));
        vec(hash_map(0..8_u32, one, 0..8), 1..8).prop_map(|ticks| {
            let meter = |(key, (at, count, birth))| Meter { key, identity: 0, at, count, birth };
            ticks.into_iter().map(|tick| tick.into_iter().map(meter).collect()).collect()
        })
    }

    proptest! {
        #[test]
        fn are_those_of_a_plain_table(ticks in snapshots()) {
            let began = 500;
            let mut last: HashMap<u32, Meter> = HashMap::new();
            let seen = rates(ticks.iter().map(|tick| snapshot(began, tick.clone())).collect());
            prop_assert_eq!(seen.len(), ticks.len());
            for (tick, seen) in ticks.into_iter().zip(seen) {
                let expected: Vec<_> = tick.iter().map(|now| {
                    let earlier = match last.get(&now.key) {
                        Some(then) => Some((then.at, then.count)),
                        None => now.birth.filter(|birth| *birth >= began).map(|birth| (birth, 0)),
                    };
                    let rates = earlier.and_then(|(at, count)| {
                        Some((now.count.checked_sub(count)?, u128::from(now.at.checked_sub(at)?)))
                    });
                    (now.key, rates)
                }).collect();
                prop_assert_eq!(seen, expected, "in the order of the snapshot");
                last.extend(tick.into_iter().map(|now| (now.key, now)));
            }
        }
    }

    fn process(pid: u32, at: u64) -> ProcessSample {
        let mut sample = ProcessSample::default();
        sample.id = ProcessId { pid, start_ticks: 1 };
        sample.at = Monotonic::from_nanos(at);
        sample
    }

    fn io(bytes: u64) -> Reading<Io> {
        let mut io = Io::default();
        (io.read_bytes, io.write_bytes, io.read_chars) = (Some(bytes), Some(0), Some(0));
        (io.write_chars, io.read_syscalls, io.write_syscalls) = (Some(0), Some(0), Some(0));
        io.cancelled_write_bytes = Some(2 * bytes);
        Reading::Value(io)
    }

    #[test]
    fn of_a_process_are_per_second_and_in_cores() {
        // Far from the start of the machine, so that `start_ticks` 1 is before the stream.
        let start = 1_000_000_000_000;
        let mut before: Vec<_> = (1..=5).map(|pid| process(pid, start)).collect();
        let mut after: Vec<_> = (1..=5).map(|pid| process(pid, start + 500_000_000)).collect();
        after[0].cpu.total_ns = 250_000_000;
        after[0].cpu.user_ns = 200_000_000;
        after[0].cpu.system_ns = 40_000_000;
        after[0].faults.minor = 3;
        after[0].faults.major = 1;
        before[0].io = io(100);
        after[0].io = io(200);
        before[1].io = Reading::Denied;
        after[1].io = io(200);
        before[2].io = io(200);
        after[2].io = Reading::Denied;
        before[3].io = io(200);
        after[3].io = io(199);
        before[4].cpu.user_ns = 1;
        let seen = collect(stream::iter([snapshot(start, before), snapshot(start, after)]).rates());
        let rates: Vec<_> = seen[1].as_ref().unwrap().samples.iter().map(|sample| sample.rates).collect();
        let first = rates[0].unwrap();
        assert_eq!((first.cpu.cores, first.cpu.user_cores, first.cpu.system_cores), (0.5, 0.4, 0.08));
        assert_eq!((first.faults.minor, first.faults.major), (6.0, 2.0));
        let io = first.io.into_value().unwrap();
        assert_eq!((io.read_bytes, io.write_bytes, io.cancelled_write_bytes), (200.0, 0.0, 400.0));
        assert_eq!(rates[1].unwrap().io, Reading::Denied, "it could not be read before");
        assert_eq!(rates[2].unwrap().io, Reading::Denied, "it cannot be read now");
        assert_eq!(rates[3], None, "a counter went back");
        assert_eq!(rates[4], None, "a counter went back");
    }

    #[test]
    fn of_a_process_that_started_later_count_from_its_start() {
        // Clock ticks are 10 ms or shorter on all of Linux, so the start is at most this.
        let mut young = process(1, 20_000_000_000);
        young.id.start_ticks = 1000;
        young.cpu.total_ns = 1_000_000_000;
        let seen = collect(stream::iter([snapshot(0, [young])]).rates());
        let rates = seen[0].as_ref().unwrap().samples[0].rates.expect("it started after the stream");
        assert!((0.05..=0.1).contains(&rates.cpu.cores), "{rates:?}");
        assert_eq!(rates.io, Reading::NotRequested);
    }
}

mod retain {
    use super::*;

    #[test]
    fn keeps_the_matching_samples_and_all_else_of_the_snapshot() {
        let mut first = snapshot(5, [meter(1, 0, 0), meter(2, 0, 0), meter(3, 0, 0)]).unwrap();
        first.seq = 7;
        first.took = Duration::from_millis(3);
        first.skipped.vanished = 2;
        first.notices.push(Notice::NoPulse);
        let mut calls = 0;
        let stream = stream::iter([Ok(first.clone()), failed(), snapshot(6, [meter(4, 0, 0)])]);
        let seen = collect(stream.retain(|meter| {
            calls += 1;
            meter.key % 2 == 1
        }));
        assert_eq!(calls, 4);
        first.samples.remove(1);
        assert_eq!(*seen[0].as_ref().unwrap(), first);
        assert!(seen[1].as_ref().unwrap_err().is_malformed());
        assert_eq!(seen[2].as_ref().unwrap().samples, [], "an empty snapshot is passed on too");
        assert_eq!(seen.len(), 3);
    }
}

mod select {
    use appmon::Select;
    use appmon::process::ProcessInfo;

    use super::*;

    fn process(pid: u32, exe: Reading<appmon::text::WirePath>) -> ProcessSample {
        let mut sample = ProcessSample::default();
        sample.id.pid = pid;
        let mut info = ProcessInfo::default();
        info.exe = exe;
        sample.info = info.into();
        sample
    }

    #[test]
    fn keeps_selected_samples_and_counts_undecided_ones() {
        let (shell, late) = (Reading::Value("/bin/sh".into()), Reading::Skipped);
        let samples =
            [process(1, shell.clone()), process(2, late.clone()), process(3, late), process(4, Reading::Failed)];
        let mut first: Snapshot<ProcessSample> = samples.into_iter().collect();
        (first.seq, first.skipped.denied, first.skipped.undecided, first.skipped.fields) = (7, 2, 1, 3);
        first.host = Some("db-1".into());
        first.notices.push(Notice::NoPulse);
        let other: Snapshot<ProcessSample> = [process(2, shell)].into_iter().collect();
        let stream = stream::iter([Ok(first.clone()), Err(Error::malformed("x")), Ok(other.clone())]);
        let select = Select::exe("/bin/sh") | Select::pid(3);
        let seen: Vec<_> = block_on(stream.select(select).collect());
        // A fit whose field came late counts as one of the samples that are there; the field of 2 is not.
        first.samples.retain(|sample| matches!(sample.id.pid, 1 | 3));
        (first.skipped.undecided, first.skipped.fields) = (2, 1);
        assert_eq!(*seen[0].as_ref().unwrap(), first);
        assert!(seen[1].as_ref().unwrap_err().is_malformed());
        assert_eq!(*seen[2].as_ref().unwrap(), other, "each snapshot by itself");
        assert_eq!(seen.len(), 3);
    }
}

mod samples {
    use super::*;

    fn records(snapshots: Vec<Result<Snapshot<Meter>>>) -> Vec<Result<Record<Meter>>> {
        collect(stream::iter(snapshots).samples().host("db-1"))
    }

    #[test]
    fn come_one_by_one_with_the_data_of_their_tick() {
        let mut first = snapshot(5, [meter(2, 0, 20), meter(1, 0, 10)]).unwrap();
        (first.seq, first.time) = (7, appmon::Timestamp::from_unix_nanos(70));
        let mut second = snapshot(6, [meter(2, 0, 21)]).unwrap();
        (second.seq, second.time) = (9, appmon::Timestamp::from_unix_nanos(90));
        second.boot_id = appmon::BootId::current();
        let boot_ids = [first.boot_id, second.boot_id];
        let seen = records(vec![snapshot(1, []), Ok(first), snapshot(2, []), failed(), Ok(second)]);
        assert_eq!(seen.len(), 4, "empty snapshots have no records");
        assert!(seen[2].as_ref().unwrap_err().is_malformed(), "an error comes in its place");
        let told: Vec<_> = seen
            .into_iter()
            .flatten()
            .map(|record| {
                (record.seq, record.time.as_unix_nanos(), record.boot_id, record.key, record.count, record.host)
            })
            .collect();
        let host = Some("db-1".into());
        assert_eq!(
            told,
            [
                (7, 70, boot_ids[0], 2, 20, host.clone()),
                (7, 70, boot_ids[0], 1, 10, host.clone()),
                (9, 90, boot_ids[1], 2, 21, host),
            ]
        );
    }

    #[test]
    fn name_no_host_unless_configured() {
        let record = block_on(stream::iter([snapshot(1, [meter(1, 0, 0)])]).samples().next()).unwrap().unwrap();
        assert_eq!(record.host, None);
    }

    #[test]
    fn end_after_the_last_sample() {
        let mut stream = stream::iter([snapshot(1, [meter(1, 0, 0), meter(2, 0, 0)])]).fuse().samples();
        assert!(!stream.is_terminated());
        block_on(stream.next()).unwrap().unwrap();
        assert_eq!(stream.size_hint().0, 1, "one is left for certain");
        block_on(stream.next()).unwrap().unwrap();
        assert!(!stream.is_terminated());
        assert!(block_on(stream.next()).is_none());
        assert!(stream.is_terminated());
    }
}

mod changes {
    use super::*;

    fn changes(snapshots: Vec<Result<Snapshot<Meter>>>) -> Vec<Result<Snapshot<Change<Meter>>>> {
        collect(stream::iter(snapshots).changes())
    }

    fn with(key: u32, identity: u8, count: u64) -> Meter {
        Meter { key, identity, count, ..Meter::default() }
    }

    #[test]
    fn are_those_of_subjects_that_appeared_changed_or_are_gone() {
        let seen = changes(vec![
            snapshot(1, [with(3, 0, 0), with(1, 0, 0)]),
            snapshot(2, [with(1, 0, 5), with(3, 0, 5)]),
            failed(),
            snapshot(3, [with(2, 0, 6), with(3, 1, 6)]),
            snapshot(4, []),
        ]);
        let of = |at: usize| seen[at].as_ref().unwrap().samples.clone();
        assert_eq!(
            of(0),
            [Change::Appeared(with(1, 0, 0)), Change::Appeared(with(3, 0, 0))],
            "in the order of the keys"
        );
        assert_eq!(of(1), [], "counters are no change");
        assert!(seen[2].as_ref().unwrap_err().is_malformed());
        let changed = Change::Changed { before: with(3, 0, 5), after: with(3, 1, 6) };
        assert_eq!(
            of(3),
            [Change::Gone(with(1, 0, 5)), Change::Appeared(with(2, 0, 6)), changed],
            "over the failed tick"
        );
        assert_eq!(of(4), [Change::Gone(with(2, 0, 6)), Change::Gone(with(3, 1, 6))]);
    }

    #[test]
    fn of_a_process_are_another_program_or_user() {
        let process = |change: fn(&mut appmon::process::ProcessInfo)| {
            let mut sample = ProcessSample::default();
            let mut info = appmon::process::ProcessInfo::default();
            info.exe = Reading::Value("/bin/a".into());
            change(&mut info);
            sample.info = info.into();
            sample
        };
        let is_change = |change| {
            let ticks = [snapshot(1, [process(|_| ())]), snapshot(2, [process(change)])];
            !collect(stream::iter(ticks).changes())[1].as_ref().unwrap().samples.is_empty()
        };
        assert!(!is_change(|_| ()));
        assert!(is_change(|info| info.execs = 1));
        assert!(is_change(|info| info.uid = 1));
        assert!(is_change(|info| info.gid = 1));
        assert!(!is_change(|info| info.name = "b".into()), "a process writes there what it likes");
        assert!(!is_change(|info| info.exe = Reading::Value("/bin/a (deleted)".into())), "others remove it");
        assert!(!is_change(|info| info.cwd = Reading::Value("/".into())));
    }

    proptest! {
        #[test]
        fn folded_are_the_last_snapshot(
            ticks in vec(hash_map(0..12_u32, (0..3_u8, 0..1000_u64), 0..12), 1..10)
        ) {
            let snapshots = ticks.iter().map(|tick| {
                snapshot(0, tick.iter().map(|(key, (identity, count))| with(*key, *identity, *count)))
            });
            let mut known: BTreeMap<u32, u8> = BTreeMap::new();
            let mut last: HashMap<u32, Meter> = HashMap::new();
            for (seen, tick) in changes(snapshots.collect()).into_iter().zip(&ticks) {
                let mut keys = BTreeSet::new();
                for change in seen.unwrap() {
                    let key = match change {
                        Change::Appeared(new) => {
                            prop_assert_eq!(known.insert(new.key, new.identity), None);
                            new.key
                        }
                        Change::Changed { before, after } => {
                            prop_assert_ne!(before.identity, after.identity);
                            prop_assert_eq!(&before, &last[&before.key], "as of the last tick");
                            prop_assert_eq!(known.insert(after.key, after.identity), Some(before.identity));
                            after.key
                        }
                        Change::Gone(old) => {
                            prop_assert_eq!(&old, &last[&old.key], "as of the last tick");
                            prop_assert_eq!(known.remove(&old.key), Some(old.identity));
                            old.key
                        }
                        other => panic!("{other:?}"),
                    };
                    prop_assert!(keys.last() < Some(&key), "each key once, in order");
                    keys.insert(key);
                }
                let expected = tick.iter().map(|(key, (identity, _))| (*key, *identity)).collect();
                prop_assert_eq!(&known, &expected);
                last = tick.iter().map(|(key, (identity, count))| (*key, with(*key, *identity, *count))).collect();
            }
        }
    }
}

mod cached {
    use super::*;

    /// Takes 50 ns for a reading, and fails where it is configured to. Its samples number its readings.
    #[derive(Clone, Debug, Default)]
    struct Slow {
        readings: u32,
        fails: bool,
    }

    impl Source for Slow {
        type Sample = u32;

        fn fill(&mut self, snapshot: &mut Snapshot<u32>, cancel: &Cancel) -> Result<()> {
            cancel.check()?;
            self.readings += 1;
            if self.fails {
                return Err(Error::malformed("this reading"));
            }
            snapshot.samples.push(self.readings);
            snapshot.skipped.denied = self.readings.into();
            snapshot.notices.push(Notice::SubsetPid);
            snapshot.at = Monotonic::from_nanos(u64::from(self.readings) * 1000);
            snapshot.took = Duration::from_nanos(50);
            Ok(())
        }
    }

    const TTL: Duration = Duration::from_nanos(10);

    /// The reading that is returned at this time.
    fn at(cached: &mut appmon::cached::Cached<Slow>, now: u64) -> Result<u32> {
        let mut snapshot = Snapshot::default();
        cached.collect_at(Monotonic::from_nanos(now), &mut snapshot, &Cancel::new())?;
        assert_eq!(snapshot.samples.len(), 1);
        Ok(snapshot.samples[0])
    }

    #[test]
    fn the_time_to_live_counts_from_the_end_of_the_reading() {
        let mut cached = Slow::default().cached(TTL);
        let seen = [100, 101, 150, 159, 160, 219, 220].map(|now| at(&mut cached, now).unwrap());
        assert_eq!(seen, [1, 1, 1, 1, 2, 2, 3]);
        assert_eq!(at(&mut cached, 0).unwrap(), 3, "a clock that goes back does not age it");
        assert_eq!(cached.into_inner().readings, 3);
    }

    #[test]
    fn without_a_time_to_live_each_call_reads() {
        let mut cached = Slow::default().cached(Duration::ZERO);
        assert_eq!([100, 100, 120].map(|now| at(&mut cached, now).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn a_repeated_snapshot_is_as_it_was_but_for_the_tick() {
        let mut cached = Slow::default().cached(TTL);
        let (mut first, mut again) = (Snapshot::default(), Snapshot::default());
        first.boot_id = appmon::BootId::current();
        cached.collect_at(Monotonic::from_nanos(100), &mut first, &Cancel::new()).unwrap();
        again.samples = vec![99, 98];
        again.notices.push(Notice::NoPulse);
        (again.seq, again.lag) = (7, Duration::from_secs(8));
        cached.collect_at(Monotonic::from_nanos(155), &mut again, &Cancel::new()).unwrap();
        assert_eq!((again.seq, again.lag), (7, Duration::from_secs(8)), "these are of the tick that is being made");
        (again.seq, again.lag) = (first.seq, first.lag);
        assert_eq!(again, first, "all else is of the reading");
    }

    #[test]
    fn an_error_is_not_kept() {
        let mut cached = Slow { readings: 0, fails: true }.cached(TTL);
        assert!(at(&mut cached, 100).unwrap_err().is_malformed());
        assert!(at(&mut cached, 100).unwrap_err().is_malformed());
        assert_eq!(cached.into_inner().readings, 2, "each call tried");
    }

    #[test]
    fn a_cancelled_reading_does_not_bring_the_last_one_back() {
        let mut cached = Slow::default().cached(TTL);
        assert_eq!(at(&mut cached, 100).unwrap(), 1);
        let cancel = Cancel::new();
        cancel.cancel();
        let late = Monotonic::from_nanos(500);
        assert!(cached.collect_at(late, &mut Snapshot::default(), &cancel).unwrap_err().is_cancelled());
        assert_eq!(at(&mut cached, 100).unwrap(), 2);
    }

    #[test]
    fn invalidated_it_reads() {
        let mut cached = Slow::default().cached(TTL);
        assert_eq!(at(&mut cached, 100).unwrap(), 1);
        cached.invalidate();
        assert_eq!(at(&mut cached, 100).unwrap(), 2);
        assert_eq!(at(&mut cached, 100).unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_go_on_over_a_cached_source() {
        // The time to live is on the machine's clock, which the paused one does not move: all ticks are within it.
        let mut stream = Slow::default().cached(Duration::from_secs(3600)).every(Duration::from_secs(1));
        for seq in 0..3 {
            let snapshot = stream.next().await.unwrap().unwrap();
            assert_eq!((snapshot.seq, snapshot.at, snapshot.samples), (seq, Monotonic::from_nanos(1000), vec![1]));
        }
        stream.get_mut().unwrap().invalidate();
        assert_eq!(stream.next().await.unwrap().unwrap().samples, [2]);
    }
}

mod names {
    // All at once, as a program may have them: no method of one hides a method of another.
    #[allow(unused_imports)]
    use futures::{StreamExt as _, TryStreamExt as _};
    #[allow(unused_imports)]
    use tokio_stream::StreamExt as _;

    use super::*;

    #[test]
    fn do_not_collide() {
        let snapshots = || stream::iter([snapshot(1, [born(1, meter(1, 2, 3))]), snapshot(2, [])]);
        let rated = snapshots().rates().retain(|rated| rated.rates.is_some());
        let records: Vec<Record<Rated<Meter>>> = block_on(rated.samples().try_collect()).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].rates, Some((3, 1)));
        let changes: Vec<Snapshot<Change<Meter>>> = block_on(snapshots().changes().try_collect()).unwrap();
        assert_eq!(changes.len(), 2);
    }
}

mod of_several_hosts {
    use super::*;

    fn of(host: &str, at: u64, samples: impl IntoIterator<Item = Meter>) -> Result<Snapshot<Meter>> {
        let mut snapshot = snapshot(at, samples)?;
        snapshot.host = Some(host.into());
        Ok(snapshot)
    }

    /// The same, of another start of the machine.
    fn restarted(snapshot: Result<Snapshot<Meter>>) -> Result<Snapshot<Meter>> {
        let mut snapshot = snapshot?;
        snapshot.boot_id = appmon::BootId::current();
        Ok(snapshot)
    }

    #[test]
    fn rates_are_of_each_by_itself() {
        let seen = rates(vec![
            of("a", 100, [meter(1, 100, 5)]),
            of("b", 9100, [meter(1, 9100, 500)]),
            snapshot(50, [meter(1, 50, 1)]),
            of("b", 9200, [meter(1, 9200, 501), born(9150, meter(2, 9200, 3))]),
            of("a", 300, [meter(1, 300, 7), born(90, meter(2, 300, 3))]),
            snapshot(60, [meter(1, 60, 2)]),
        ]);
        assert_eq!(seen[..3], [[(1, None)], [(1, None)], [(1, None)]], "first sight of each");
        assert_eq!(seen[3], [(1, Some((1, 100))), (2, Some((3, 50)))]);
        assert_eq!(seen[4], [(1, Some((2, 200))), (2, None)], "born before the first tick of that host");
        assert_eq!(seen[5], [(1, Some((1, 10)))]);
    }

    #[test]
    fn rates_begin_anew_when_one_was_restarted() {
        let seen = rates(vec![
            of("a", 100, [meter(1, 100, 5)]),
            of("b", 100, [meter(1, 100, 5)]),
            restarted(of("a", 20, [meter(1, 200, 9)])),
            of("b", 200, [meter(1, 200, 6)]),
            restarted(of("a", 120, [meter(1, 300, 10)])),
        ]);
        assert_eq!(seen[2], [(1, None)], "another thing of the same key");
        assert_eq!(seen[3], [(1, Some((1, 100)))]);
        assert_eq!(seen[4], [(1, Some((1, 100)))]);
    }

    #[test]
    fn changes_are_of_each_by_itself() {
        let ticks = vec![
            of("a", 1, [meter(1, 0, 0), meter(2, 0, 0)]),
            of("b", 1, [meter(2, 0, 0)]),
            of("a", 2, [meter(2, 0, 0)]),
            restarted(of("b", 0, [meter(2, 0, 0)])),
        ];
        let seen = collect(stream::iter(ticks).changes());
        let seen: Vec<_> = seen.into_iter().map(|tick| tick.unwrap()).collect();
        let hosts: Vec<_> = seen.iter().map(|tick| tick.host.as_deref().unwrap()).collect();
        assert_eq!(hosts, ["a", "b", "a", "b"]);
        assert_eq!(seen[1].samples, [Change::Appeared(meter(2, 0, 0))]);
        assert_eq!(seen[2].samples, [Change::Gone(meter(1, 0, 0))]);
        let anew = [Change::Gone(meter(2, 0, 0)), Change::Appeared(meter(2, 0, 0))];
        assert_eq!(seen[3].samples, anew, "what ran before the restart is gone, whatever its key");
    }

    #[test]
    fn records_and_all_that_is_left_keep_the_host() {
        let ticks = || stream::iter(vec![of("a", 1, [meter(1, 0, 0)]), snapshot(1, [meter(1, 0, 0)])]);
        let hosts = |records: Vec<Result<Record<Rated<Meter>>>>| -> Vec<Option<String>> {
            records.into_iter().map(|record| record.unwrap().host.map(|host| host.to_string())).collect()
        };
        let records = || ticks().rates().retain(|_| true).samples();
        assert_eq!(hosts(collect(records())), [Some("a".to_owned()), None]);
        assert_eq!(hosts(collect(records().host("x"))), [Some("x".to_owned()), Some("x".to_owned())]);
    }
}

mod top {
    use appmon::stream::{GroupKey, GroupSample};

    use super::*;

    /// The keys and values at the top of each snapshot.
    fn top(n: usize, hysteresis: f64, ticks: &[&[(u32, u64)]]) -> Vec<Vec<u32>> {
        let meters = |tick: &[(u32, u64)]| {
            snapshot(0, tick.iter().map(|(key, count)| meter(*key, 0, *count)).collect::<Vec<_>>())
        };
        let ticks = stream::iter(ticks.iter().map(|tick| meters(tick)).collect::<Vec<_>>());
        #[allow(clippy::cast_precision_loss, reason = "small")]
        let top =
            ticks.top(n, |meter| if meter.count == 999 { f64::NAN } else { meter.count as f64 }).hysteresis(hysteresis);
        collect(top).into_iter().map(|tick| tick.unwrap().into_iter().map(|meter| meter.key).collect()).collect()
    }

    #[test]
    fn the_largest_come_first() {
        assert_eq!(top(2, 0.1, &[&[(1, 5), (2, 7), (3, 6)]]), [[2, 3]]);
        assert_eq!(top(2, 0.1, &[&[(1, 5), (2, 5), (3, 5)]]), [[1, 2]], "among equals the order of the keys");
        assert_eq!(top(9, 0.1, &[&[(1, 999), (2, 0), (3, 1)]]), [[3, 2, 1]], "what is no number is below all others");
        assert_eq!(top(0, 0.1, &[&[(1, 5)], &[]]), [[0_u32; 0]; 2]);
    }

    #[test]
    fn it_does_not_flicker() {
        let ticks: [&[_]; 5] =
            [&[(1, 100), (2, 99)], &[(1, 100), (2, 105)], &[(1, 100), (2, 111)], &[(1, 115), (2, 111)], &[(1, 115)]];
        assert_eq!(top(1, 0.1, &ticks), [[1], [1], [2], [2], [1]]);
        assert_eq!(top(1, 0.0, &ticks), [[1], [2], [2], [1], [1]]);
        assert_eq!(top(1, f64::NAN, &ticks), [[1], [2], [2], [1], [1]]);
        assert_eq!(top(1, f64::INFINITY, &ticks), [[1], [1], [1], [1], [1]]);
        assert_eq!(top(2, 0.1, &[&[(1, 100), (2, 90), (3, 1)], &[(1, 90), (2, 100), (3, 1)]]), [[1, 2], [2, 1]]);
    }

    fn group(key: GroupKey<u32>, total_ns: u64) -> GroupSample<u32> {
        let mut group = GroupSample::new(key, Monotonic::from_nanos(total_ns));
        (group.alive, group.cpu.total_ns) = (1, total_ns);
        group
    }

    #[test]
    fn the_rest_is_one_group() {
        let groups = [
            group(GroupKey::Key(1), 7),
            group(GroupKey::Key(2), 30),
            group(GroupKey::Key(3), 5),
            group(GroupKey::Other, 99),
        ];
        #[allow(clippy::cast_precision_loss, reason = "small")]
        let top = |n, groups: Vec<GroupSample<u32>>| {
            let ticks = stream::iter([snapshot(0, groups)]).top(n, |group| group.cpu.total_ns as f64).with_rest();
            let tick = collect(ticks).pop().unwrap().unwrap();
            tick.into_iter().map(|group| (group.key, group.alive, group.cpu.total_ns)).collect::<Vec<_>>()
        };
        assert_eq!(top(1, groups.to_vec()), [(GroupKey::Key(2), 1, 30), (GroupKey::Other, 3, 111)]);
        assert_eq!(top(9, groups[..1].to_vec()), [(GroupKey::Key(1), 1, 7)], "no rest");
        assert_eq!(top(0, groups[..2].to_vec()), [(GroupKey::Other, 2, 37)]);
        assert_eq!(top(0, vec![]), []);
    }

    #[test]
    fn the_rest_has_rates() {
        let ticks = [0, 1].map(|nth| {
            let of = |key, total_ns: u64| {
                let mut group = group(GroupKey::Key(key), 0);
                group.at = Monotonic::from_nanos(1_000_000_000 * (nth + 1));
                group.cpu.total_ns = total_ns * nth;
                group
            };
            snapshot(1_000_000_000 * (nth + 1), [of(1, 250_000_000), of(2, 500_000_000), of(3, 125_000_000)])
        });
        let cores = |group: &Rated<GroupSample<u32>>| group.rates.as_ref().map_or(0.0, |rates| rates.cpu.cores);
        let tick = collect(stream::iter(ticks).rates().top(1, cores).with_rest()).pop().unwrap().unwrap();
        let seen: Vec<_> = tick.samples.iter().map(|group| (group.key.clone(), cores(group))).collect();
        assert_eq!(seen, [(GroupKey::Key(2), 0.5), (GroupKey::Other, 0.375)]);
    }
}
