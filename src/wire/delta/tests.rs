//! Deltas of our own samples, and what a receiver makes of those that do not fit.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::counters::TimeField;
use crate::fs::{FileSystemSample, Part, PartSample, Stalled, Watch};
use crate::process::ProcessId;
use crate::stream::{GroupKey, GroupSample};
use crate::{Monotonic, ProcessSample, Rated, Sample, Snapshot};

fn at(nanos: u64) -> Monotonic {
    Monotonic::from_nanos(nanos)
}

fn process(pid: u32) -> ProcessSample {
    let mut sample = ProcessSample { at: at(3), ..ProcessSample::default() };
    (sample.id, sample.read_at) = (ProcessId { pid, start_ticks: 7 }, at(3));
    sample
}

/// A file system with every time that one can have.
fn file_system(now: u64) -> FileSystemSample {
    let watch =
        Watch { verified_at: Some(at(5)), verified_age: Some(Duration::from_nanos(now - 5)), ..Watch::default() };
    let directory = Part {
        age: Some(Duration::from_nanos(now - 6)),
        at: Some(at(6)),
        watch: Some(watch),
        took: Some(Duration::from_nanos(1)),
        ..Part::default()
    };
    let rest = Part { age: Some(Duration::ZERO), at: Some(at(now)), ..Part::default() };
    FileSystemSample {
        stalled: Some(Stalled { since: at(2) }),
        parts: vec![directory, rest],
        at: Some(at(now)),
        ..FileSystemSample::default()
    }
}

/// Sends the snapshots of two ticks, and returns what the second one needs.
fn second<T>(first: Vec<T>, second: Vec<T>) -> (Delta, usize)
where
    T: Sample + Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug,
{
    let snapshot = |seq: u64, samples: Vec<T>| Snapshot { seq, at: at(10 + seq), ..samples.into_iter().collect() };
    let mut encoder = DeltaEncoder::new(Duration::MAX, Vec::new());
    let mut restore = Restore::default();
    let mut result = None;
    for snapshot in [snapshot(0, first), snapshot(1, second)] {
        let step = encoder.next(&snapshot).unwrap();
        let samples = step.samples.iter().map(|index| snapshot.samples[*index].clone()).collect();
        let sent = Snapshot { samples, ..snapshot.clone() };
        let (link, delta) = (step.link, step.delta.clone());
        result = delta.clone().map(|delta| (delta, sent.samples.len()));
        encoder.sent(step);
        match restore.add(sent, link, delta) {
            Restored::Whole(whole) => assert_eq!(whole, snapshot),
            other => panic!("{other:?}"),
        }
    }
    result.unwrap()
}

/// That the function which sets times meets all that the walk over the wire form finds, and in the same order.
fn check_times<T>(sample: &T)
where
    T: Sample + Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug,
{
    let mut moved = sample.clone();
    let mut next = 1000;
    T::TIMES.unwrap()(&mut moved, &mut |time| {
        next += 7;
        match time {
            TimeField::At(time) => *time = at(next),
            TimeField::Age(age) => *age = Duration::from_nanos(next / 100),
        }
    });
    assert_ne!(&moved, sample);
    let (delta, sent) = second(vec![sample.clone()], vec![moved]);
    assert_eq!((sent, delta.changed.is_empty()), (0, true), "{delta:?}");
}

#[test]
fn all_times_of_our_samples_are_set() {
    check_times(&process(1));
    check_times(&Rated { sample: process(1), rates: Some(Default::default()) });
    check_times(&GroupSample::new(GroupKey::Key(7_u32), at(3)));
    check_times(&Rated { sample: GroupSample::new(GroupKey::Key(7_u32), at(3)), rates: Some(Default::default()) });
    check_times(&file_system(9));
    check_times(&Rated { sample: file_system(9), rates: None });
    for part in file_system(9).parts {
        check_times(&PartSample { part, ..PartSample::default() });
    }
}

#[test]
fn idle_processes_share_one_time() {
    let now = |mut process: ProcessSample| {
        process.at = at(11);
        process
    };
    let (delta, sent) = second((1..200).map(process).collect(), (1..200).map(process).map(now).collect());
    assert_eq!(sent, 0);
    assert_eq!(serde_json::to_string(&delta).unwrap(), r#"{"times":[{"set":[[11,[0]]]}]}"#);
    // One that was read again, one that ran, one that is new, and one that is gone.
    let mut later: Vec<_> = (2..200).map(process).map(now).chain([process(200)]).collect();
    later[3].read_at = at(11);
    later[5].cpu.total_ns = 1;
    let (delta, sent) = second((1..200).map(process).collect(), later);
    assert_eq!(sent, 2);
    assert_eq!(
        serde_json::to_string(&delta).unwrap(),
        r#"{"gone":[0,1],"changed":[5,6],"new":[198,199],"times":[{"set":[[11,[0]]]},{"set":[[11,[0,1]]],"of":[3,4]}]}"#
    );
}

#[test]
fn ages_stand_still_with_what_they_count_from() {
    let (delta, sent) = second(vec![file_system(9)], vec![file_system(11)]);
    assert_eq!(sent, 0);
    // The rest, its age, and the figures; not the directory, which was scanned before.
    assert_eq!(serde_json::to_string(&delta).unwrap(), r#"{"times":[{"set":[[11,[5,6,7]]]}]}"#);
}

#[test]
fn what_does_not_fit_is_no_snapshot() {
    let state = || {
        let mut restore = Restore::default();
        let snapshot: Snapshot<_> = (1..4).map(process).collect();
        let link = Link { keyframe: 1, number: 0, samples: 3 };
        assert!(matches!(restore.add(snapshot, link, None), Restored::Whole(_)));
        restore
    };
    let broken = |delta: &str, samples: u64, sent: u32| {
        let delta: Delta = serde_json::from_str(delta).unwrap();
        let mut restore = state();
        let sent: Snapshot<_> = (1..=sent).map(process).collect();
        let link = Link { keyframe: 1, number: 1, samples };
        let broken = matches!(restore.add(sent, link, Some(delta)), Restored::Broken(_));
        assert_eq!(broken, restore.last().is_none(), "nothing is restored from what is broken");
        broken
    };
    assert!(!broken("{}", 3, 0));
    assert!(!broken(r#"{"gone":[0,2],"new":[0,1]}"#, 2, 1));
    for (delta, samples, sent) in [
        ("{}", 4, 0),
        ("{}", 3, 1),
        (r#"{"gone":[2,4]}"#, 1, 0),
        (r#"{"gone":[1]}"#, 2, 0),
        (r#"{"gone":[1,1]}"#, 3, 0),
        (r#"{"gone":[1,2,0,1]}"#, 1, 0),
        (r#"{"gone":[0,4294967295]}"#, 0, 0),
        (r#"{"changed":[0,1]}"#, 3, 0),
        (r#"{"changed":[3,4]}"#, 3, 1),
        (r#"{"new":[4,5]}"#, 4, 1),
        (r#"{"new":[0,2]}"#, 4, 1),
        (r#"{"times":[{"set":[[1,[9]]]}]}"#, 3, 0),
        (r#"{"times":[{"set":[[1,[0]]],"of":[3,4]}]}"#, 3, 0),
    ] {
        assert!(broken(delta, samples, sent), "{delta}");
    }
    let mut restore = state();
    let keyframe = |samples| Link { keyframe: 2, number: 0, samples };
    assert!(matches!(restore.add(Snapshot::<ProcessSample>::default(), keyframe(1), None), Restored::Broken(_)));
    let link = Link { keyframe: 1, number: 1, samples: 3 };
    assert!(matches!(restore.add(Snapshot::default(), link, None), Restored::Broken(_)), "a delta without one");
}

#[test]
fn keyframes_come_when_they_are_due() {
    let mut encoder = DeltaEncoder::new(Duration::from_nanos(10), Vec::new());
    let mut is_keyframe = |nanos: u64| {
        let snapshot = Snapshot { at: at(nanos), ..[process(1)].into_iter().collect() };
        let step = encoder.next(&snapshot).unwrap();
        let link = step.link;
        encoder.sent(step);
        (link.number == 0).then_some(link.keyframe)
    };
    assert_eq!([1, 5, 10].map(&mut is_keyframe), [Some(1), None, None]);
    assert_eq!([11, 20].map(&mut is_keyframe), [Some(11), None]);
    assert_eq!(is_keyframe(3), Some(12), "the clock went back: a new chain, with a larger number");
    assert_eq!([4, 13, 14].map(&mut is_keyframe), [None, Some(13), None]);
}

#[test]
fn bands_cover_small_differences_of_their_field_alone() {
    let mut encoder = DeltaEncoder::new(Duration::MAX, vec![Band::new("memory.rss_bytes", 10.0)]);
    let mut now = 0;
    let mut sent = |rss: u64, threads: u32| {
        now += 1;
        let mut process = Rated { sample: process(1), rates: None };
        (process.memory.rss_bytes, process.threads) = (rss, threads);
        let step = encoder.next(&Snapshot { at: at(now), ..[process].into_iter().collect() }).unwrap();
        let sent = step.samples.len() == 1;
        encoder.sent(step);
        sent
    };
    assert!(sent(100, 1));
    assert!(!sent(110, 1) && !sent(90, 1));
    // The difference counts from the value last sent.
    assert!(sent(111, 1));
    assert!(!sent(120, 1) && !sent(101, 1));
    assert!(sent(101, 2), "another field");
    assert!(!sent(111, 2));
}
