//! Scans of 200,000 entries, beside the peers: `du`, `pdu`, `diskus`, `dua` as whole programs, and async-walkdir.
//!
//! `benches/peers` installs those that are not everywhere, and `cargo build --release --example usage` makes a program of
//! ours. Then `cargo bench -p appmon-benches --bench scan` prints medians and ratios; arguments choose sections by name: `narrow`, `wide`,
//! `deep`, `walkdir`, `memory`, and `cold`, which is only done when it is named, since it empties the caches of the machine.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use appmon::Cancel;
use appmon::fs::Scan;
use common::{Contender, in_turn, print};
use futures::StreamExt;

const ENTRIES: u64 = 200_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let named = |section: &str| wanted.iter().any(|wanted| section.contains(wanted.as_str()));
    let want = |section: &str| wanted.is_empty() || named(section);
    for (name, make) in [("narrow", narrow as fn(&Path)), ("wide", wide), ("deep", deep)] {
        if want(name) {
            beside_programs(&format!("{name}, warm"), &tree(name, make), 9, || {});
        }
    }
    if want("walkdir") {
        beside_async_walkdir();
    }
    if want("memory") {
        memory();
    }
    if named("cold") {
        let drop_caches = || {
            rustix::fs::sync();
            fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        };
        if fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
            beside_programs("narrow, cold", &tree("narrow", narrow), 3, drop_caches);
            beside_programs("wide, cold", &tree("wide", wide), 3, drop_caches);
        } else {
            println!("\ncold: needs root");
        }
    }
}

/// A tree that is made once.
fn tree(name: &str, make: fn(&Path)) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trees").join(name);
    let made = path.with_extension("made");
    if !made.exists() {
        println!("making {}", path.display());
        let _ = fs::remove_dir_all(&path);
        make(&path);
        fs::write(made, "").unwrap();
    }
    path
}

/// 20,000 directories of 9 files.
fn narrow(path: &Path) {
    for n in 0..20_000 {
        let dir = path.join(format!("{:02}/{:03}/{n:05}", n / 500, n / 20 % 25));
        files(&dir, 9);
    }
}

/// One directory.
fn wide(path: &Path) {
    files(path, ENTRIES);
}

/// A million files, half of them in one directory.
fn million(path: &Path) {
    for n in 0..500 {
        files(&path.join(format!("many/{n}")), 1_000);
    }
    files(&path.join("one"), 500_000);
}

/// 20 times 100 directories, each in the one before.
fn deep(path: &Path) {
    for chain in 0..20 {
        let mut dir = path.join(format!("{chain:02}"));
        for _ in 0..100 {
            dir.push("down");
            files(&dir, 99);
        }
    }
}

fn files(dir: &Path, count: u64) {
    fs::create_dir_all(dir).unwrap();
    for n in 0..count {
        fs::write(dir.join(format!("file {n:06}")), vec![b'x'; (n * 37 % 300) as usize]).unwrap();
    }
}

/// The program of this crate, once it is built.
fn own_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.parent()?.parent()?.join("examples/usage");
    program.exists().then_some(program)
}

fn beside_programs(title: &str, tree: &Path, rounds: usize, prepare: impl Fn()) {
    let peers = std::env::current_exe().unwrap();
    let peers = peers.ancestors().nth(3).unwrap().join("peers/bin");
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    let mut program = |name: &'static str, program: Option<PathBuf>, arguments: &'static [&'static str]| {
        let runs = move |program: &PathBuf| {
            let mut command = Command::new(program);
            command.args(arguments).arg(tree).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        match program.filter(runs) {
            Some(program) => contenders.push((name, Box::new(move || assert!(runs(&program))))),
            None => println!("{name}: not here, or it fails"),
        }
    };
    program("appmon, the example `usage`", own_program(), &[]);
    program("du -s", Some("du".into()), &["-s"]);
    program("pdu", Some(peers.join("pdu")), &["--max-depth=1"]);
    program("diskus", Some(peers.join("diskus")), &[]);
    program("dua aggregate", Some(peers.join("dua")), &["aggregate"]);
    contenders.push((
        "appmon, Scan::run",
        Box::new(|| {
            assert!(Scan::new(tree).run(&Cancel::new()).unwrap().entries() >= ENTRIES);
        }),
    ));
    contenders.push((
        "appmon, Scan::run on one thread",
        Box::new(|| {
            assert!(Scan::new(tree).threads(1).run(&Cancel::new()).unwrap().entries() >= ENTRIES);
        }),
    ));
    let medians = in_turn(rounds, prepare, &mut contenders);
    print(title, &contenders, &medians);
}

fn beside_async_walkdir() {
    let tree = tree("narrow", narrow);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let mut contenders: Vec<Contender<'_>> = vec![
        (
            "appmon, Scan::run",
            Box::new(|| {
                assert!(Scan::new(&tree).run(&Cancel::new()).unwrap().entries() >= ENTRIES);
            }),
        ),
        (
            "async-walkdir with metadata",
            Box::new(|| {
                let count = runtime.block_on(async {
                    let (mut entries, mut count) = (async_walkdir::WalkDir::new(&tree), 0);
                    while let Some(Ok(entry)) = entries.next().await {
                        count += u64::from(entry.metadata().await.is_ok());
                    }
                    count
                });
                assert!(count >= ENTRIES);
            }),
        ),
    ];
    let runtime = &runtime;
    let own = |metadata: bool| {
        let tree = tree.clone();
        move || {
            let count = runtime.block_on(async {
                let (mut entries, mut count) = (appmon::fs::entries(&tree), 0);
                while let Some(Ok(entry)) = entries.next().await {
                    count += u64::from(!metadata || entry.metadata().await.is_ok());
                }
                count
            });
            assert!(count >= ENTRIES);
        }
    };
    contenders.push(("appmon, entries", Box::new(own(false))));
    contenders.push(("appmon, entries with metadata", Box::new(own(true))));
    contenders.push((
        "async-walkdir",
        Box::new(|| {
            let count = runtime.block_on(async {
                let (mut entries, mut count) = (async_walkdir::WalkDir::new(&tree), 0);
                while let Some(Ok(_)) = entries.next().await {
                    count += 1;
                }
                count
            });
            assert!(count >= ENTRIES);
        }),
    ));
    // Six of them: `in_turn` goes through them in steps of five.
    contenders.push((
        "appmon, Scan::run on one thread",
        Box::new(|| assert!(Scan::new(&tree).threads(1).run(&Cancel::new()).unwrap().entries() >= ENTRIES)),
    ));
    let medians = in_turn(1, || {}, &mut contenders);
    print("narrow, warm: async", &contenders, &medians);
}

/// The most memory that the program has for each tree, beside an empty one.
fn memory() {
    let Some(program) = own_program() else { return println!("\nmemory: needs the example `usage`") };
    println!("\nmemory at its most");
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty");
    fs::create_dir_all(&empty).unwrap();
    let trees = [empty, tree("narrow", narrow), tree("wide", wide), tree("deep", deep), tree("million", million)];
    for tree in trees {
        let output = Command::new(&program).arg("--memory").arg(&tree).output().unwrap();
        let most = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        println!("  {:<44} {most}", tree.file_name().unwrap().display());
    }
}
