//! The cost of refreshes: `cargo test --release --lib fs::watch::tests::cost -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn time(rounds: usize, mut work: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    median((0..rounds).map(once).collect())
}

#[test]
#[ignore = "a measurement, which takes a while"]
fn of_200_000_files() {
    let mut rig = Rig::new();
    for dir in 0..10_000 {
        rig.mkdir(&format!("{}/{}/{}", dir % 10, dir / 10 % 50, dir / 500));
    }
    for file in 0..200_000 {
        let dir = file % 10_000;
        rig.write(&format!("{}/{}/{}/{file}", dir % 10, dir / 10 % 50, dir / 500), file % 7);
    }
    let scan = rig.scan.clone();
    let scanned = time(9, || drop(scan.run(&Cancel::new()).unwrap()));
    let start = Instant::now();
    rig.watched = WatchedTree::new(&rig.scan);
    let first = rig.refresh();
    let begun = start.elapsed();
    rig.compare(&first);
    let report = |what: &str, took: Duration| {
        let ratio = scanned.as_secs_f64() / took.as_secs_f64();
        eprintln!("{what:<50} {took:>12.1?}  1/{ratio:.1} of a scan");
    };
    report("a scan", scanned);
    report(&format!("the first refresh, {} watches", first.watches), begun);
    let step = |rig: &mut Rig, by: Duration| {
        rig.now = rig.now.plus(by);
        rig.watched.refresh(rig.now, &Cancel::new()).unwrap()
    };
    report("unchanged", time(200, || drop(step(&mut rig, Duration::ZERO))));
    report("unchanged, verified in 10 min, every second", time(100, || drop(step(&mut rig, SECOND))));
    for count in [1, 10, 100, 1000] {
        let changed = |rig: &Rig| {
            for file in 0..count {
                let dir = file % 10_000;
                rig.write(&format!("{}/{}/{}/{file}", dir % 10, dir / 10 % 50, dir / 500), file % 7);
            }
        };
        let mut times = Vec::new();
        for _ in 0..15 {
            changed(&rig);
            let start = Instant::now();
            assert_eq!(step(&mut rig, Duration::ZERO).dirty_read, count);
            times.push(start.elapsed());
        }
        report(&format!("{count} directories changed"), median(times));
    }
    let from = rig.path("0/1/2");
    let to = rig.path("moved");
    let mut times = Vec::new();
    for turn in 0..10 {
        let (from, to) = if turn % 2 == 0 { (&from, &to) } else { (&to, &from) };
        std::fs::rename(from, to).unwrap();
        let start = Instant::now();
        step(&mut rig, Duration::ZERO);
        times.push(start.elapsed());
    }
    report("a directory moved", median(times));
    std::fs::hard_link(rig.path("0/0/0/0"), rig.path("9/49/link")).unwrap();
    let start = Instant::now();
    step(&mut rig, Duration::ZERO);
    report("a second name of a file, and its first one found", start.elapsed());
    let last = rig.refresh_until_current();
    eprintln!("{} directories, {} bytes each in memory", last.directories, size_of::<super::super::nodes::Node>());
}
