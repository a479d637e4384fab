//! What a forwarder costs that sends only what changed, as it is used: one tick a second over 2,000 processes; bytes and CPU time.
//!
//! Usage: cargo bench -p appmon-benches --features forward --bench changed [-- SECONDS]    [default: 10 seconds for each line]

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod common;

use std::io::Write;
use std::time::Duration;

use appmon::forward::{Encoded, Encoder, Host, Message, Outcome, Publish};
use appmon::{ForwardExt, Forwarder, Processes, Result, Snapshot, SnapshotStreamExt, SourceExt};
use futures::{Stream, StreamExt, TryStreamExt};
use nix::time::{ClockId, clock_gettime};

use common::Fleet;

const PROCESSES: usize = 2_000;
const TICK: Duration = Duration::from_secs(1);

/// Accepts everything.
struct Nowhere;

impl Publish for Nowhere {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        batch.iter().map(|_| Outcome::Accepted).collect()
    }
}

fn bytes(encoded: &Encoded) -> f64 {
    encoded.messages.iter().map(|message| message.payload.len()).sum::<usize>() as f64
}

/// CPU time of the whole process, or of this thread.
fn cpu(clock: ClockId) -> Duration {
    clock_gettime(clock).unwrap().into()
}

fn ticks() -> impl Stream<Item = Result<Snapshot<appmon::Rated<appmon::ProcessSample>>>> {
    // Others of the machine may run.
    let own = format!("ppid={}", std::process::id()).parse().unwrap();
    Processes::new().select(own).every(TICK).rates()
}

fn main() {
    let seconds: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(seconds)).unwrap();
}

async fn run(seconds: usize) -> Result<()> {
    let mut fleet = Fleet::start(PROCESSES);
    let mut out = std::io::stdout().lock();
    let host = || Host::new("web-17").unwrap();
    for running in [0, 20, 200, 2000] {
        let mut ticks = ticks();
        let (mut whole, mut changed) = (Encoder::new(host()), Encoder::new(host()).only_changed(Duration::MAX));
        let (mut whole_bytes, mut changed_bytes, mut samples) = (0.0, 0.0, 0);
        let (mut spent, mut spent_whole) = (Duration::ZERO, Duration::ZERO);
        // The first ticks are those of the beginning: a keyframe, and the rates of what ran before.
        for tick in 0..seconds + 3 {
            let snapshot = ticks.try_next().await?.unwrap();
            fleet.poke(running);
            let before = cpu(ClockId::CLOCK_THREAD_CPUTIME_ID);
            let encoded = changed.encode(&snapshot);
            let took = cpu(ClockId::CLOCK_THREAD_CPUTIME_ID) - before;
            if tick >= 3 {
                let before = cpu(ClockId::CLOCK_THREAD_CPUTIME_ID);
                whole_bytes += bytes(&whole.encode(&snapshot));
                spent_whole += cpu(ClockId::CLOCK_THREAD_CPUTIME_ID) - before;
                changed_bytes += bytes(&encoded);
                samples += encoded.messages.iter().map(|message| message.samples).sum::<u32>();
                spent += took;
            }
        }
        let ticks = seconds as f64;
        let _ = writeln!(
            out,
            "{running:>5} of {PROCESSES} run: {:>9.0} bytes a tick, {:>7.3} % of {:>9.0}; {:>6.1} samples; encoding {:>7.1} µs a tick, all of it right after {:>7.1} µs",
            changed_bytes / ticks,
            changed_bytes * 100.0 / whole_bytes,
            whole_bytes / ticks,
            f64::from(samples) / ticks,
            spent.as_secs_f64() * 1e6 / ticks,
            spent_whole.as_secs_f64() * 1e6 / ticks,
        );
    }
    let mut share = Vec::new();
    for turn in 0..4 {
        let stream = ticks().take(seconds + 1);
        let before = cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        if turn % 2 == 0 {
            stream.try_for_each(|_| futures::future::ready(Ok(()))).await?;
        } else {
            stream.forward_to(Forwarder::new(Nowhere).host("web-17").only_changed(Duration::MAX)).await?;
        }
        let spent = cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID) - before;
        share.push(spent.as_secs_f64() * 100.0 / seconds as f64);
    }
    let _ = writeln!(
        out,
        "CPU of one core, nothing runs: reading alone {:.3} and {:.3} %, with the forwarder {:.3} and {:.3} % (a keyframe included)",
        share[0], share[2], share[1], share[3]
    );
    Ok(())
}
