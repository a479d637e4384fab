//! What a day of 200 processes takes on the disk, and how long a jump into it: 86,400 ticks, of which every tenth process runs.
//!
//! `cargo bench -p appmon-benches --bench recording`; `TICKS=8640` for a tenth of a day.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it prints what it measured")]

use std::time::{Duration, Instant};

use appmon::process::{Io, ProcessId};
use appmon::stream::Recording;
use appmon::time::Monotonic;
use appmon::{BootId, ProcessSample, Reading, Snapshot, SnapshotStreamExt, Timestamp};
use futures::{TryStreamExt, stream};

const PROCESSES: u32 = 200;
const SECOND: u64 = 1_000_000_000;

/// A machine whose processes run by turns; each that runs uses some CPU time, and every other some I/O.
struct Machine {
    samples: Vec<ProcessSample>,
    random: u64,
}

impl Machine {
    fn new() -> Self {
        let samples = (1..=PROCESSES).map(|pid| {
            let mut process = ProcessSample::default();
            process.id = ProcessId { pid: pid * 37, start_ticks: u64::from(pid) * 1009 };
            process.ppid = 1;
            process.threads = pid % 40 + 1;
            process.memory.rss_bytes = u64::from(pid) * 4096 * 1021;
            process.memory.virtual_bytes = u64::from(pid) * 4096 * 50_021;
            process.io = Reading::Value(Io::default());
            let mut info = (*process.info).clone();
            info.name = format!("service-{pid}").into();
            info.exe = Reading::Value(format!("/usr/lib/service-{pid}/bin/service-{pid}").into());
            let arguments = ["service", "--config", "/etc/service/service.toml", "--workers", "8"];
            info.cmdline = Reading::Value(arguments.map(Into::into).to_vec());
            info.cgroup = Reading::Value(format!("/system.slice/service-{pid}.service").into());
            info.user = Reading::Value("service".into());
            process.info = info.into();
            process
        });
        Self { samples: samples.collect(), random: 7 }
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn tick(&mut self, second: u64) -> Snapshot<ProcessSample> {
        let at = Monotonic::from_nanos((1_000 + second) * SECOND + 123_456);
        for index in 0..self.samples.len() {
            let (runs, amount) = (self.random().is_multiple_of(10), self.random());
            let process = &mut self.samples[index];
            process.at = at;
            if !runs {
                continue;
            }
            process.read_at = at;
            process.cpu.total_ns += amount % 50_000_000;
            process.cpu.user_ns += (amount % 5) * 10_000_000;
            process.memory.rss_bytes += (amount % 16) * 4096;
            process.faults.minor += amount % 100;
            if let (0, Reading::Value(io)) = (amount % 2, &mut process.io) {
                io.write_bytes = Some(io.write_bytes.unwrap_or_default() + amount % 1_000 * 4096);
                io.write_chars = Some(io.write_chars.unwrap_or_default() + amount % 1_000_003);
                io.write_syscalls = Some(io.write_syscalls.unwrap_or_default() + amount % 211);
            }
        }
        let mut snapshot: Snapshot<ProcessSample> = self.samples.iter().cloned().collect();
        snapshot.boot_id = BootId::current();
        (snapshot.seq, snapshot.at) = (second, at);
        snapshot.time = Timestamp::from_unix_nanos(1_785_000_000 * SECOND + second * SECOND);
        snapshot
    }
}

fn main() {
    let ticks: u64 = std::env::var("TICKS").ok().and_then(|ticks| ticks.parse().ok()).unwrap_or(86_400);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.ndjson.zst");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    let mut machine = Machine::new();
    let mut recorded = stream::iter((0..ticks).map(|second| Ok(machine.tick(second)))).record(&path).lossless(true);
    runtime.block_on(async { while recorded.try_next().await.unwrap().is_some() {} });
    assert_eq!(recorded.status().recorded, ticks);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "{ticks} ticks of {PROCESSES} processes: {:.1} MB, {} B and {:?} for each",
        bytes as f64 / 1e6,
        bytes / ticks,
        began.elapsed() / u32::try_from(ticks).unwrap()
    );
    let mut slowest = Duration::ZERO;
    for step in [0.5, 0.01, 0.99, 0.33, 0.77, 1.0, 0.0] {
        let second = ((ticks - 1) as f64 * step) as u64;
        let began = Instant::now();
        let mut recording = Recording::<ProcessSample>::open(&path).unwrap();
        recording.seek(Timestamp::from_unix_nanos((1_785_000_000 + second) * SECOND)).unwrap();
        assert_eq!(recording.next().unwrap().unwrap().seq, second);
        slowest = slowest.max(began.elapsed());
    }
    println!("the slowest of 7 jumps, the file opened for each: {slowest:?}");
}
