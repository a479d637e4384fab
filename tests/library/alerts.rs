//! Rules over streams of snapshots: their edges, and what is wrong with the text of one.

use std::time::Duration;

use appmon::measured::{FieldTable, Labels, Measured, Unit};
use appmon::stream::{Alert, AlertState, ResolvedBecause};
use appmon::time::Monotonic;
use appmon::{BootId, FileSystemSample, ProcessSample, Rated, Result, Sample, Snapshot, SnapshotStreamExt};
use futures::executor::block_on;
use futures::{StreamExt, stream};
use proptest::collection::vec;
use proptest::prelude::*;

/// A thing with a level that may be unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tank {
    key: u32,
    level: Option<f64>,
}

impl Sample for Tank {
    const KIND: &'static str = "tank";
    type Key = u32;

    fn key(&self) -> u32 {
        self.key
    }
}

impl Measured for Tank {
    fn measure(table: &mut FieldTable<Self>) {
        table.gauge("level", Unit::Fraction, "Level", |tank| tank.level);
        table.gauge("key", Unit::Count("{key}"), "Key", |tank| Some(tank.key));
    }

    fn labels(&self) -> Labels {
        Labels::default().with("tank", self.key)
    }
}

/// Levels by the second, `None` where the thing is not there, an inner one where its level is unknown.
type Levels<'a> = &'a [Option<Option<f64>>];

fn snapshots(levels: Levels<'_>) -> Vec<Result<Snapshot<Tank>>> {
    let at = |(second, level): (usize, &Option<Option<f64>>)| {
        let mut snapshot: Snapshot<Tank> = level.iter().map(|level| Tank { key: 7, level: *level }).collect();
        snapshot.at = Monotonic::from_nanos((second as u64 + 1) * 1_000_000_000);
        Ok(snapshot)
    };
    levels.iter().enumerate().map(at).collect()
}

/// The second and the state of each edge.
fn edges(rule: &str, levels: Levels<'_>) -> Vec<(usize, AlertState)> {
    run(rule.parse().unwrap(), snapshots(levels))
}

fn run(rule: Alert<Tank>, snapshots: Vec<Result<Snapshot<Tank>>>) -> Vec<(usize, AlertState)> {
    let ticks: Vec<_> = block_on(stream::iter(snapshots).alert(rule).collect());
    let of = |(second, tick): (usize, Result<Snapshot<_>>)| {
        let edges: Vec<appmon::stream::AlertEdge> = tick.into_iter().flatten().collect();
        edges.into_iter().map(move |edge| (second, edge.state))
    };
    ticks.into_iter().enumerate().flat_map(of).collect()
}

const HIGH: Option<Option<f64>> = Some(Some(0.9));
const MIDDLE: Option<Option<f64>> = Some(Some(0.6));
const LOW: Option<Option<f64>> = Some(Some(0.1));
const UNKNOWN: Option<Option<f64>> = Some(None);
const GONE: Option<Option<f64>> = None;

use AlertState::{Firing, NoData, Pending, Resolved};

#[test]
fn without_a_wait_it_is_on_at_once() {
    assert_eq!(edges("level > 0.8", &[LOW, HIGH, HIGH, LOW, LOW, HIGH]), [(1, Firing), (3, Resolved), (5, Firing)]);
}

#[test]
fn it_waits_for_as_long_as_the_rule_says() {
    let rule = "level > 80% for 2s";
    assert_eq!(
        edges(rule, &[HIGH, HIGH, LOW, HIGH, HIGH, HIGH]),
        [(0, Pending), (2, Resolved), (3, Pending), (5, Firing)]
    );
}

#[test]
fn what_ends_it_has_a_bound_and_a_wait_of_its_own() {
    let rule = "level > 0.8 for 1s, until level < 0.5 for 2s";
    let seen = edges(rule, &[HIGH, HIGH, MIDDLE, LOW, MIDDLE, LOW, LOW, LOW, LOW]);
    assert_eq!(seen, [(0, Pending), (1, Firing), (7, Resolved)]);
}

#[test]
fn no_data_never_ends_it() {
    let seen = edges("level > 0.8", &[HIGH, UNKNOWN, UNKNOWN, HIGH, UNKNOWN, LOW]);
    assert_eq!(seen, [(0, Firing), (1, NoData), (3, Firing), (4, NoData), (5, Resolved)]);
    let seen = edges("level > 0.8 for 2s", &[HIGH, HIGH, UNKNOWN, HIGH, HIGH, HIGH]);
    assert_eq!(seen, [(0, Pending), (5, Firing)], "the wait begins anew");
    assert_eq!(edges("level > 0.8", &[UNKNOWN, UNKNOWN]), [], "nothing to end");
}

#[test]
fn what_is_gone_ends_with_the_reason() {
    let ticks: Vec<_> =
        block_on(stream::iter(snapshots(&[HIGH, GONE, HIGH])).alert("level > 0.8".parse().unwrap()).collect());
    let edges: Vec<_> = ticks.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(
        edges.iter().map(|edge| (edge.state, edge.because)).collect::<Vec<_>>(),
        [(Firing, None), (Resolved, Some(ResolvedBecause::Gone)), (Firing, None)]
    );
    assert_eq!(edges[0].subject.to_string(), "tank=7");
    assert_eq!((edges[0].value, &*edges[0].rule), (Some(0.9), "level > 0.8"));
    assert_eq!(edges[1].value, None);
}

#[test]
fn a_host_that_was_started_anew_ends_all() {
    let mut ticks = snapshots(&[HIGH, HIGH]);
    if let Ok(tick) = &mut ticks[1] {
        tick.boot_id = serde_json::from_str::<BootId>(r#""11111111-1111-1111-1111-111111111111""#).unwrap();
    }
    assert_eq!(run("level > 0.8".parse().unwrap(), ticks), [(0, Firing), (1, Resolved), (1, Firing)]);
}

#[test]
fn what_comes_late_or_twice_is_passed_over() {
    let ticks = snapshots(&[HIGH, LOW]);
    let again: Vec<_> = [&ticks[1], &ticks[0], &ticks[1]].map(|tick| Ok(tick.as_ref().unwrap().clone())).into();
    let mut alerts = stream::iter(again).alert("level > 0.8".parse().unwrap());
    let seen: Vec<_> = block_on(alerts.by_ref().collect());
    assert!(seen.into_iter().all(|tick| tick.unwrap().is_empty()));
    assert_eq!(alerts.late(), 2);
}

#[test]
fn a_condition_of_several_parts() {
    let rule = "level > 0.8 and key > 6";
    assert_eq!(edges(rule, &[HIGH]), [(0, Firing)]);
    assert_eq!(edges("level > 0.8 and key > 7", &[HIGH]), []);
    // One that does not hold decides, whatever is not known of the other.
    assert_eq!(edges("level > 0.8, until level < 0.5 and key > 100", &[HIGH, UNKNOWN]), [(0, Firing)]);
}

#[test]
fn one_in_code_does_the_same() {
    let rule = Alert::when("high", |tank: &Tank| Some(tank.level? > 0.8))
        .hold(Duration::from_secs(1))
        .until(|tank| Some(tank.level? < 0.5))
        .clear_hold(Duration::from_secs(2));
    let levels = [HIGH, HIGH, MIDDLE, LOW, LOW, LOW];
    assert_eq!(run(rule, snapshots(&levels)), edges("level > 0.8 for 1s, until level < 0.5 for 2s", &levels));
}

#[test]
fn what_is_wrong_is_shown_at_its_place() {
    let error = |text: &str| text.parse::<Alert<Rated<ProcessSample>>>().unwrap_err();
    for (text, place, what) in [
        ("", "column 1", "expected a field"),
        ("cpu.cors > 1", "column 1", "did you mean `cpu.cores`?"),
        ("cpu.cores = 1", "column 11", "expected one of `>`"),
        ("cpu.cores >", "column 12", "expected a number in {cpu}"),
        ("cpu.cores > 80%", "column 13", "expected a number in {cpu}"),
        ("memory.rss_bytes > 1 MX", "column 20", "no unit of size `MX`"),
        ("cpu.cores > 1 for soon", "column 19", "expected a duration"),
        ("cpu.cores > 1 for", "column 18", "expected a duration"),
        ("cpu.cores > 1, cpu.cores < 1", "column 15", "expected `until`"),
        ("cpu.cores > 1 until threads", "column 28", "expected one of `>`"),
        ("cpu.cores > 1 for 1s and threads > 2", "column 22", "expected `and`, `for`, `, until` or the end"),
    ] {
        let error = error(text);
        assert!(error.is_config(), "{text}");
        let shown = error.to_string();
        assert!(shown.contains(place) && shown.contains(what), "{text}: {shown}");
    }
}

#[test]
fn fields_of_processes_and_file_systems_are_found() {
    for rule in
        ["cpu.cores > 0.8", "rates.cpu.cores > 0.8", "memory.rss_bytes > 1 GiB", "io.write_bytes > 1 MB", "nice < -5"]
    {
        rule.parse::<Alert<Rated<ProcessSample>>>().unwrap_or_else(|error| panic!("{error}"));
    }
    for rule in ["used_fraction > 90%", "free_bytes < 10 GiB for 5m", "inodes.free < 1000"] {
        rule.parse::<Alert<FileSystemSample>>().unwrap_or_else(|error| panic!("{error}"));
    }
    "rates.time_to_full < 1h".parse::<Alert<Rated<FileSystemSample>>>().unwrap();
    "rates.bytes > 1 MiB/s for 1m".parse::<Alert<appmon::fs::PartSample>>().unwrap();
}

proptest! {
    /// The edges of a subject, followed one by one, never make a step that has no sense; and an alert that is on is on exactly while
    /// a plain reading of the rule says so.
    #[test]
    fn edges_make_sense(levels in vec(prop_oneof![Just(HIGH), Just(MIDDLE), Just(LOW), Just(UNKNOWN), Just(GONE)], 0..40)) {
        let seen = edges("level > 0.8 for 2s, until level < 0.5 for 1s", &levels);
        let mut state = None;
        for (_, next) in seen {
            let makes_sense = matches!(
                (state, next),
                (None | Some(Resolved), Pending)
                    | (Some(Pending), Firing | Resolved)
                    | (Some(Firing), NoData | Resolved)
                    | (Some(NoData), Firing | Resolved)
            );
            prop_assert!(makes_sense, "{state:?} to {next:?}");
            state = Some(next);
        }
        if levels.last() == Some(&GONE) {
            prop_assert!(matches!(state, None | Some(Resolved)));
        }
    }
}
