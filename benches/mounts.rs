//! The figures of 20 mounts, beside the bare system calls. Run it as root.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

mod common;

use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use appmon::{Cancel, Directory, FileSystem, FileSystems, Result, Snapshot, Source, SourceExt};
use futures::TryStreamExt;

use common::{Contender, in_turn, median, print};

const COUNT: usize = 20;

/// Calls in one run: each alone is over too soon to be timed well.
const CALLS: usize = 200;

struct Mounts(tempfile::TempDir);

impl Mounts {
    fn new() -> Option<Self> {
        let mounts = Self(tempfile::tempdir().unwrap());
        for path in mounts.paths() {
            std::fs::create_dir(&path).unwrap();
            let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "bench"]).arg(&path).status();
            if !status.is_ok_and(|status| status.success()) {
                return None;
            }
        }
        Some(mounts)
    }

    fn paths(&self) -> Vec<PathBuf> {
        (0..COUNT).map(|n| self.0.path().join(n.to_string())).collect()
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for path in self.paths() {
            let _ = Command::new("umount").arg("-l").arg(&path).status();
        }
    }
}

/// A source with nothing to read: what is left of a tick is its way to the blocking pool and back.
struct Nothing;

impl Source for Nothing {
    type Sample = ();

    fn fill(&mut self, _: &mut Snapshot<()>, _: &Cancel) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let mut out = std::io::stdout();
    let Some(mounts) = Mounts::new() else {
        let _ = writeln!(out, "skipped: root, to mount");
        return;
    };
    let paths = mounts.paths();
    let bare: Vec<CString> = paths.iter().map(|path| CString::new(path.as_os_str().as_bytes()).unwrap()).collect();
    let registered = || {
        let named = |(n, path): (usize, &PathBuf)| FileSystem::new(n.to_string(), path);
        paths.iter().enumerate().map(named).fold(FileSystems::new(), FileSystems::register)
    };
    let cancel = Cancel::new();
    let ticks = |source: &mut FileSystems| {
        // Its memory is used again, as that of a loop of one's own.
        let mut snapshot = Snapshot::default();
        for _ in 0..CALLS {
            source.collect(&mut snapshot, &cancel).unwrap();
            assert_eq!(std::hint::black_box(&snapshot).samples.len(), COUNT);
        }
    };
    let fresh = |source: &mut FileSystems| {
        for _ in 0..CALLS {
            let mut snapshot = Snapshot::default();
            source.collect(&mut snapshot, &cancel).unwrap();
            assert_eq!(std::hint::black_box(snapshot).samples.len(), COUNT);
        }
    };
    let statvfs_all = |paths: &[CString]| {
        for path in paths {
            std::hint::black_box(rustix::fs::statvfs(&**path).unwrap());
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // Each tick is due when it is asked for.
    const AT_ONCE: Duration = Duration::from_nanos(1);
    let mut nothing = Nothing.every(AT_ONCE);
    let mut stream = registered().every(AT_ONCE);
    let mut took: Vec<Duration> = Vec::new();
    let shared: std::sync::Arc<[CString]> = bare.clone().into();
    let mut each_fresh = registered();
    let mut plain = registered();
    let mut with_directories = paths.iter().enumerate().fold(registered(), |source, (n, path)| {
        source.directory(Directory::new(n.to_string(), path).ttl(Duration::from_secs(1_000_000)))
    });
    let glob = format!("{}/*", mounts.0.path().display());
    let mut found = FileSystems::mounted().include_paths([glob]).expect("a glob");
    let mut contenders: Vec<Contender<'_>> = vec![
        (
            "bare statvfs of 20 mounts",
            Box::new(|| {
                for _ in 0..CALLS {
                    statvfs_all(&bare);
                }
            }),
        ),
        (
            "bare, each time in the blocking pool",
            Box::new(|| {
                runtime.block_on(async {
                    for _ in 0..CALLS {
                        let paths = std::sync::Arc::clone(&shared);
                        tokio::task::spawn_blocking(move || statvfs_all(&paths)).await.unwrap();
                    }
                });
            }),
        ),
        (
            "appmon, a stream of a source that reads nothing",
            Box::new(|| {
                runtime.block_on(async {
                    for _ in 0..CALLS {
                        std::hint::black_box(nothing.try_next().await.unwrap().unwrap());
                    }
                });
            }),
        ),
        (
            "appmon, 20 registered, a stream",
            Box::new(|| {
                runtime.block_on(async {
                    for _ in 0..CALLS {
                        let snapshot = stream.try_next().await.unwrap().unwrap();
                        took.push(snapshot.took);
                        assert_eq!(std::hint::black_box(snapshot).samples.len(), COUNT);
                    }
                });
            }),
        ),
        ("appmon, 20 registered", Box::new(|| ticks(&mut plain))),
        ("appmon, 20 mounted", Box::new(|| ticks(&mut found))),
        ("appmon, 20 registered, a new snapshot each time", Box::new(|| fresh(&mut each_fresh))),
        ("appmon, with a directory of each", Box::new(|| ticks(&mut with_directories))),
    ];
    let medians = in_turn(31, || {}, &mut contenders);
    print("statvfs of 20 mounts, 200 times", &contenders, &medians);
    drop(contenders);
    let (once, took) = (medians[0].as_secs_f64() / CALLS as f64, median(&mut took).as_secs_f64());
    let _ = writeln!(
        out,
        "  of a tick of the stream, the reading: {:.1} µs, {:.2} × the bare calls",
        took * 1e6,
        took / once
    );
}
