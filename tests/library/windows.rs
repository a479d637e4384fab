//! Windows of time over streams of snapshots.

use std::time::Duration;

use appmon::measured::{FieldTable, Labels, Measured, Unit};
use appmon::stream::{FieldWindow, WindowSample};
use appmon::time::Monotonic;
use appmon::{BootId, Result, Sample, Snapshot, SnapshotStreamExt, Timestamp};
use futures::executor::block_on;
use futures::{StreamExt, stream};
use proptest::collection::vec;
use proptest::prelude::*;

/// A thing that counts and has a level.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tank {
    key: u32,
    count: u64,
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
        table.counter("count", Unit::Bytes, "Counted", |tank| Some(tank.count));
        table.gauge("level", Unit::Fraction, "Level", |tank| tank.level);
    }

    fn labels(&self) -> Labels {
        Labels::default().with("tank", self.key)
    }
}

/// A tick at a tenth of a second, numbered by it.
fn tick(tenth: u64, tanks: &[(u32, u64, f64)]) -> Result<Snapshot<Tank>> {
    let mut snapshot: Snapshot<Tank> = tanks
        .iter()
        .map(|&(key, count, level)| Tank { key, count, level: (!level.is_nan()).then_some(level) })
        .collect();
    snapshot.seq = tenth;
    snapshot.at = Monotonic::from_nanos((tenth + 5) * 100_000_000);
    snapshot.time = Timestamp::from_unix_nanos((tenth + 1_000_000) * 100_000_000);
    Ok(snapshot)
}

fn windows(ticks: Vec<Result<Snapshot<Tank>>>) -> Vec<Vec<WindowSample>> {
    let windows = stream::iter(ticks).window(Duration::from_secs(1)).quantiles([0.0, 0.5, 1.0]);
    block_on(windows.collect::<Vec<_>>()).into_iter().map(|window| window.unwrap().samples).collect()
}

fn field<'a>(window: &'a WindowSample, path: &str) -> &'a FieldWindow {
    window.fields.iter().find(|field| field.path == path).unwrap()
}

#[test]
fn one_after_the_other() {
    let ticks = (0..25).map(|tenth| tick(tenth, &[(7, tenth * 3, tenth as f64)])).collect();
    let seen = windows(ticks);
    assert_eq!(seen.iter().map(|window| window[0].ticks).collect::<Vec<_>>(), [10, 10, 5]);
    let (first, second, last) = (&seen[0][0], &seen[1][0], &seen[2][0]);
    assert_eq!(field(first, "count").increase, Some(27.0), "what it had at first is no growth");
    assert_eq!(field(second, "count").increase, Some(30.0), "from the last tick of the window before");
    let level = field(second, "level");
    assert_eq!((level.min, level.max, level.mean, level.last), (Some(10.0), Some(19.0), Some(14.5), 19.0));
    assert_eq!(level.quantiles.iter().map(|q| q.value).collect::<Vec<_>>(), [10.0, 14.0, 19.0]);
    assert!(
        (first.coverage - 0.9).abs() < 1e-9
            && (second.coverage - 1.0).abs() < 1e-9
            && (last.coverage - 0.5).abs() < 1e-9
    );
    assert_eq!((second.from.as_nanos(), second.to.as_nanos()), (1_500_000_000, 2_400_000_000));
    assert_eq!(first.subject.to_string(), "tank=7");
}

#[test]
fn missing_ticks_are_bridged_by_totals_and_said() {
    let ticks = [0, 1, 2, 7, 8, 9, 10].map(|tenth| tick(tenth, &[(7, tenth, 1.0)])).into();
    let seen = windows(ticks);
    assert_eq!(field(&seen[0][0], "count").increase, Some(9.0));
    assert!((seen[0][0].coverage - 0.4).abs() < 1e-9, "{}", seen[0][0].coverage);
    assert_eq!(seen[0][0].ticks, 6);
}

#[test]
fn who_comes_and_goes() {
    let ticks = vec![
        tick(0, &[(1, 5, 1.0)]),
        tick(1, &[(1, 6, f64::NAN), (2, 100, 2.0)]),
        tick(2, &[(2, 101, 2.0)]),
        tick(10, &[(2, 102, 2.0)]),
        tick(11, &[(1, 3, 1.0)]),
    ];
    let seen = windows(ticks);
    let names = |at: usize| seen[at].iter().map(|window| window.subject.to_string()).collect::<Vec<_>>();
    assert_eq!(names(0), ["tank=1", "tank=2"]);
    assert_eq!(names(1), ["tank=1", "tank=2"]);
    assert_eq!(field(&seen[0][0], "level").mean, Some(1.0), "what has no value is not counted");
    assert_eq!(
        field(&seen[1][0], "count").increase,
        Some(0.0),
        "another one of the same key: nothing is known of before"
    );
    assert_eq!(field(&seen[1][1], "count").increase, Some(1.0));
}

#[test]
fn a_counter_that_began_anew_counts_from_zero() {
    let seen = windows(vec![tick(0, &[(7, 5, 1.0)]), tick(1, &[(7, 8, 1.0)]), tick(2, &[(7, 2, 1.0)])]);
    assert_eq!(field(&seen[0][0], "count").increase, Some(5.0));
}

#[test]
fn a_host_that_started_anew_and_several_hosts() {
    let on = |host: &str, boot: &str, item: Result<Snapshot<Tank>>| {
        let mut snapshot = item.unwrap();
        snapshot.host = Some(host.into());
        snapshot.boot_id = serde_json::from_str::<BootId>(&format!("\"{}\"", boot.repeat(32))).unwrap();
        Ok(snapshot)
    };
    let seen = windows(vec![
        on("a", "1", tick(0, &[(7, 5, 1.0)])),
        on("b", "3", tick(0, &[(7, 50, 1.0)])),
        on("a", "1", tick(1, &[(7, 6, 1.0)])),
        on("b", "3", tick(1, &[(7, 60, 1.0)])),
        on("a", "2", tick(2, &[(7, 1, 1.0)])),
    ]);
    let mut growth: Vec<_> = seen.iter().map(|window| field(&window[0], "count").increase.unwrap()).collect();
    growth.sort_by(f64::total_cmp);
    assert_eq!(growth, [0.0, 1.0, 10.0]);
}

#[test]
fn sliding() {
    let ticks: Vec<_> = (0..15).map(|tenth| tick(tenth, &[(7, tenth * 3, tenth as f64)])).collect();
    let windows = stream::iter(ticks).window(Duration::from_millis(500)).sliding().quantiles([0.5]);
    let seen: Vec<_> = block_on(windows.collect::<Vec<_>>()).into_iter().map(Result::unwrap).collect();
    assert_eq!(seen.len(), 15, "one a tick");
    let last = &seen[14].samples[0];
    assert_eq!((last.ticks, field(last, "count").increase), (5, Some(15.0)));
    assert_eq!((field(last, "level").min, field(last, "level").quantiles[0].value), (Some(10.0), 12.0));
    assert_eq!(last.coverage, 1.0);
}

#[test]
fn wrong_settings_are_an_error_that_names_them() {
    let ticks = || stream::iter([tick(0, &[])]);
    let first = |windows: appmon::stream::Windows<_, Tank>| block_on(windows.collect::<Vec<_>>());
    let hour = Duration::from_secs(3600);
    for (windows, what) in [
        (ticks().window(hour).fields(["levl"]), "did you mean `level`?"),
        (ticks().window(hour).quantiles([99.0]), "99 is not from 0 to 1"),
        (ticks().window(Duration::ZERO), "length must be longer than zero"),
    ] {
        let seen = first(windows);
        assert_eq!(seen.len(), 1, "it ends");
        let error = seen[0].as_ref().unwrap_err();
        assert!(error.is_config() && error.to_string().contains(what), "{error}");
    }
}

proptest! {
    /// Quantiles of any number of values are within a hundredth of a value that has that rank.
    #[test]
    fn quantiles_are_near(levels in vec(prop_oneof![0.001..10.0, 10.0..1e9], 1..1500), quantile in 0.0..=1.0_f64) {
        let day = 86_400;
        let ticks = levels.iter().enumerate().map(|(at, level)| {
            let mut snapshot = tick(at as u64, &[(7, 0, *level)]).unwrap();
            snapshot.time = Timestamp::from_unix_nanos(day * 1_000_000_000 * 20_000);
            Ok(snapshot)
        });
        let windows = stream::iter(ticks).window(Duration::from_secs(day)).quantiles([quantile]);
        let seen: Vec<_> = block_on(windows.collect::<Vec<_>>());
        let value = field(&seen[0].as_ref().unwrap().samples[0], "level").quantiles[0].value;
        let mut sorted = levels.clone();
        sorted.sort_by(f64::total_cmp);
        // Which of two neighbours is the one is a matter of definition.
        let rank = quantile * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[rank.floor() as usize], sorted[(rank.ceil() as usize + 1).min(sorted.len() - 1)]);
        let low = low.min(sorted[(rank.floor() as usize).saturating_sub(1)]);
        prop_assert!(value >= low * 0.99 && value <= high * 1.01, "{value} is not in {low}..{high}");
    }
}
