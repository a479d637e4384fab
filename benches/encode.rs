//! Snapshots to messages, beside serde_json on the same samples; bytes per sample by codec.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod common;

use std::hint::black_box;
use std::io::Write;

use appmon::forward::{Codec, Encoder, Host};
use appmon::{Cancel, ProcessSample, Processes, Rated, Result, Snapshot, SnapshotStreamExt, Source};
use futures::StreamExt;

use common::{Contender, in_turn, print};

const SAMPLES: usize = 2000;

/// A tick of 2,000 processes with rates.
fn tick() -> Snapshot<Rated<ProcessSample>> {
    let mut processes = Processes::new();
    let mut tick = || -> Result<_> {
        let mut snapshot = Snapshot::default();
        processes.collect(&mut snapshot, &Cancel::new())?;
        let samples: Vec<_> = snapshot.samples.iter().cycle().take(SAMPLES).cloned().enumerate().collect();
        snapshot.samples.clear();
        for (nth, mut sample) in samples {
            sample.id.pid = u32::try_from(nth).unwrap();
            snapshot.samples.push(sample);
        }
        Ok(snapshot)
    };
    let ticks = futures::stream::iter([tick(), tick()]).rates();
    futures::executor::block_on(ticks.skip(1).next()).unwrap().unwrap()
}

fn main() {
    let snapshot = tick();
    let host = || Host::new("web-17").unwrap();
    let mut whole = Encoder::new(host()).max_bytes(64 << 20);
    let mut split = Encoder::new(host());
    let mut each = Encoder::new(host()).per_sample(true);
    let mut lines = Encoder::new(host()).codec(Codec::Ndjson);
    let mut packed = Encoder::new(host()).codec(Codec::MessagePack);
    let contenders: &mut [Contender<'_>] = &mut [
        ("serde_json, the same samples", Box::new(|| drop(black_box(serde_json::to_vec(&snapshot).unwrap())))),
        ("JSON, one message", Box::new(|| drop(black_box(whole.encode(&snapshot))))),
        ("JSON, up to 512 KiB each", Box::new(|| drop(black_box(split.encode(&snapshot))))),
        ("JSON, a message per sample", Box::new(|| drop(black_box(each.encode(&snapshot))))),
        ("NDJSON", Box::new(|| drop(black_box(lines.encode(&snapshot))))),
        ("MessagePack", Box::new(|| drop(black_box(packed.encode(&snapshot))))),
    ];
    let times = in_turn(61, || {}, contenders);
    print("a snapshot of 2,000 processes with rates", contenders, &times);
    let mut out = std::io::stdout();
    for codec in [Codec::Json, Codec::Ndjson, Codec::MessagePack] {
        let encoded = Encoder::new(host()).codec(codec).encode(&snapshot);
        let bytes: usize = encoded.messages.iter().map(|message| message.payload.len()).sum();
        let messages = encoded.messages.len();
        let per_sample = bytes as f64 / SAMPLES as f64;
        writeln!(out, "{codec}: {per_sample:.0} bytes per sample, in {messages} messages").unwrap();
    }
}
