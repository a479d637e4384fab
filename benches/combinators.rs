//! The combinators, per sample: two snapshots of all processes here, many times over.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;

use appmon::{Cancel, ProcessSample, Processes, Result, Snapshot, SnapshotStreamExt, Source};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::stream::{self, Stream, StreamExt};

/// Ticks of 2,000 samples, the second later than the first.
fn ticks() -> Vec<Snapshot<ProcessSample>> {
    let mut processes = Processes::new();
    let mut tick = || {
        let mut snapshot = Snapshot::default();
        processes.collect(&mut snapshot, &Cancel::new()).unwrap();
        let samples: Vec<_> = snapshot.samples.iter().cycle().take(2_000).enumerate().collect();
        snapshot.samples = samples
            .into_iter()
            .map(|(nth, sample)| {
                let mut sample = sample.clone();
                sample.id.pid = u32::try_from(nth).unwrap();
                sample
            })
            .collect();
        snapshot
    };
    vec![tick(), tick()]
}

fn drain(stream: impl Stream) {
    futures::executor::block_on(stream.for_each(|item| {
        black_box(item);
        std::future::ready(())
    }));
}

fn combinators(c: &mut Criterion) {
    let prepared: Vec<Snapshot<ProcessSample>> = ticks();
    let clone = || stream::iter(prepared.iter().cloned().map(Ok).collect::<Vec<Result<_>>>());
    let mut group = c.benchmark_group("per sample");
    group.throughput(Throughput::Elements(4_000));
    group.bench_function("nothing", |b| b.iter_batched(clone, drain, BatchSize::LargeInput));
    group.bench_function("rates", |b| b.iter_batched(clone, |s| drain(s.rates()), BatchSize::LargeInput));
    group.bench_function("retain", |b| {
        b.iter_batched(clone, |s| drain(s.retain(|p| p.threads > 1)), BatchSize::LargeInput)
    });
    group.bench_function("samples", |b| b.iter_batched(clone, |s| drain(s.samples()), BatchSize::LargeInput));
    group.bench_function("changes", |b| b.iter_batched(clone, |s| drain(s.changes()), BatchSize::LargeInput));
    group.finish();
}

criterion_group!(benches, combinators);
criterion_main!(benches);
