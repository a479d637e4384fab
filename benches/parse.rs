//! Parsing each file of a process, beside the procfs crate on the same bytes.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use appmon::process::{CgroupPaths, Io, Limits, Schedstat, SmapsRollup, Stat, Statm, Status};
use criterion::{Criterion, criterion_group, criterion_main};
use procfs::{FromBufRead, FromRead};

fn parse(c: &mut Criterion) {
    let read = |file: &str| std::fs::read(format!("/proc/self/{file}")).unwrap();
    macro_rules! beside {
        ($file:literal, $ours:ty, $theirs:expr) => {
            let bytes = read($file);
            let mut group = c.benchmark_group($file);
            group.bench_function("appmon", |b| b.iter(|| <$ours>::parse(black_box(&bytes)).unwrap()));
            group.bench_function("procfs", |b| b.iter(|| $theirs(black_box(bytes.as_slice())).unwrap()));
            group.finish();
        };
    }
    beside!("stat", Stat, procfs::process::Stat::from_read);
    beside!("status", Status, procfs::process::Status::from_buf_read);
    beside!("io", Io, procfs::process::Io::from_buf_read);
    beside!("statm", Statm, procfs::process::StatM::from_read);
    beside!("schedstat", Schedstat, procfs::process::Schedstat::from_read);
    beside!("cgroup", CgroupPaths, procfs::ProcessCGroups::from_buf_read);
    beside!("limits", Limits, procfs::process::Limits::from_buf_read);
    beside!("smaps_rollup", SmapsRollup, procfs::process::SmapsRollup::from_buf_read);
}

criterion_group!(benches, parse);
criterion_main!(benches);
