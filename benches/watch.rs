//! Ticks of a watched directory of 200,000 files, beside a scan of it: nothing changed, and k directories changed.
//!
//! `cargo bench -p appmon-benches --bench watch` prints medians and ratios. Between two ticks of it, next to nothing is to be verified, so there
//! is a tick in each second as well.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use appmon::fs::{Part, WatchMode};
use appmon::{Cancel, Directory, FileSystemSample, FileSystems, Snapshot, Source};

use common::{Contender, in_turn, median, print};

const DIRECTORIES: usize = 20_000;
const FILES: usize = 10;

fn main() {
    let tree = tree();
    let mut watched = Ticks::of(directory(&tree).watched());
    let mut scanned = Ticks::of(directory(&tree).ttl(Duration::ZERO));
    let mut none = Ticks { source: FileSystems::mounted(), snapshot: Snapshot::default() };
    let start = Instant::now();
    let part = watched.tick();
    let first = start.elapsed();
    let watch = part.watch.unwrap();
    println!("{} files in {} directories; the first tick took {first:.1?}", part.files.unwrap(), watch.directories);
    if watch.mode != WatchMode::Watched {
        return println!("only {} watches: raise /proc/sys/fs/inotify/max_user_watches", watch.watches);
    }

    let mut contenders: Vec<Contender<'_>> = vec![
        ("a tick with a scan", Box::new(|| _ = scanned.tick())),
        ("a tick without the directory", Box::new(|| none.collect())),
    ];
    let medians = in_turn(9, || {}, &mut contenders);
    print("200,000 files, nothing changed", &contenders, &medians);
    let scan = medians[0];
    drop(contenders);
    // One after the other: the time of a scan between two of them would be one of verification.
    let mut times: Vec<Duration> = (0..201).map(|_| watched.timed()).collect();
    let time = median(&mut times);
    println!(
        "  watched: {:.1} µs, 1/{:.0} of a tick with a scan",
        micros(time),
        scan.as_secs_f64() / time.as_secs_f64()
    );

    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            std::thread::sleep(Duration::from_secs(1));
            watched.timed()
        })
        .collect();
    let time = median(&mut times);
    println!(
        "  watched, once a second, with an 1,800th of it to verify: {:.1} µs, 1/{:.0}",
        micros(time),
        scan.as_secs_f64() / time.as_secs_f64()
    );

    println!("\nk directories changed");
    let mut size = 0;
    for k in [1, 10, 100, 1000] {
        let mut times: Vec<Duration> = (0..11)
            .map(|_| {
                size += 1;
                change(&tree, k, size);
                watched.timed()
            })
            .collect();
        let time = median(&mut times);
        println!(
            "  {k:>5} {:>10.1} µs {:>8.1} µs each {:>8.4} of a tick with a scan",
            micros(time),
            micros(time) / k as f64,
            time.as_secs_f64() / scan.as_secs_f64()
        );
    }
    let (watched, scanned) = (watched.tick(), scanned.tick());
    assert_eq!((watched.bytes, watched.files), (scanned.bytes, scanned.files), "watched is scanned");
}

/// A source, and the snapshot that it fills.
struct Ticks {
    source: FileSystems,
    snapshot: Snapshot<FileSystemSample>,
}

impl Ticks {
    fn of(directory: Directory) -> Self {
        let source = FileSystems::mounted().max_watches(1 << 20).directory(directory.wait());
        Self { source, snapshot: Snapshot::default() }
    }

    fn collect(&mut self) {
        self.source.collect(&mut self.snapshot, &Cancel::new()).unwrap();
    }

    fn tick(&mut self) -> Part {
        self.collect();
        self.snapshot.samples.iter().find_map(|fs| fs.directory("tree").cloned()).unwrap()
    }

    fn timed(&mut self) -> Duration {
        let start = Instant::now();
        self.collect();
        start.elapsed()
    }
}

fn directory(tree: &Path) -> Directory {
    Directory::new("tree", tree)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A tree that is made once.
fn tree() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trees/watched");
    let made = path.with_extension("made");
    if !made.exists() {
        println!("making {}", path.display());
        let _ = fs::remove_dir_all(&path);
        for n in 0..DIRECTORIES {
            let dir = place(&path, n);
            fs::create_dir_all(&dir).unwrap();
            for file in 0..FILES {
                fs::write(dir.join(format!("file {file}")), vec![b'x'; (n * 37 + file) % 300]).unwrap();
            }
        }
        fs::write(made, "").unwrap();
    }
    path
}

fn place(tree: &Path, n: usize) -> PathBuf {
    tree.join(format!("{:02}/{:03}/{n:05}", n / 500, n / 20 % 25))
}

/// Writes to a file in each of `count` directories, all over the tree.
fn change(tree: &Path, count: usize, size: usize) {
    for n in 0..count {
        let path = place(tree, n * (DIRECTORIES / count)).join("file 0");
        let mut file = fs::File::create(path).unwrap();
        file.write_all(&vec![b'y'; size * 100]).unwrap();
    }
}
