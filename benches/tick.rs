//! Ticks over 2,000 processes, beside the peers and the bare system calls, in one run.
//!
//! `cargo bench -p appmon-benches --bench tick` prints medians and ratios; arguments choose sections by name.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use appmon::{Cancel, Fields, ProcessSample, Processes, Select, Snapshot, SnapshotStreamExt, Source, SourceExt};
use common::{Contender, Fleet, in_turn, median, print};
use futures::TryStreamExt;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

const COUNT: usize = 2_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let want = |section: &str| wanted.is_empty() || wanted.iter().any(|wanted| section.contains(wanted.as_str()));
    let mut fleet = Fleet::start(COUNT);
    if want("idle") {
        tick(&mut fleet, 20, "idle: a tick, of 2,000 processes 20 ran");
    }
    if want("running") {
        tick(&mut fleet, COUNT, "running: a tick, all 2,000 processes ran");
    }
    if want("first") {
        first(&mut fleet);
    }
    if want("selected") {
        selected(&mut fleet);
    }
    if want("allocations") {
        allocations(&mut fleet);
    }
    if want("wake") {
        wake();
    }
    if want("cpu") {
        cpu(&mut fleet);
    }
}

fn tick(fleet: &mut Fleet, running: usize, title: &str) {
    let pids = fleet.pids();
    let cancel = Cancel::new();
    let mut ours = Processes::new();
    let mut kept = Some(Snapshot::default());
    let mut sysinfo = System::new().unwrap();
    let usage = ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage();
    let below = fb_procfs::ProcReader::new();
    let bare = Bare::open(&pids);
    let threads = std::thread::available_parallelism().unwrap().get();
    let mut contenders: Vec<Contender<'_>> = vec![
        (
            "appmon",
            Box::new(|| {
                // What a stream costs: each snapshot is a new one, and the last is dropped.
                let mut snapshot = Snapshot::default();
                ours.collect(&mut snapshot, &cancel).unwrap();
                kept = Some(snapshot);
            }),
        ),
        ("2,000 CPU clocks", Box::new(|| clocks(&pids))),
        ("bare preads of stat and io, all threads", Box::new(|| bare.read(threads))),
        (
            "sysinfo, cpu + memory + disk",
            Box::new(|| {
                sysinfo.refresh_processes_specifics(ProcessesToUpdate::All, true, usage);
            }),
        ),
        (
            "procfs, stat + io",
            Box::new(|| {
                for process in procfs::process::all_processes().unwrap().flatten() {
                    std::hint::black_box((process.stat().ok(), process.io().ok()));
                }
            }),
        ),
        (
            "fb_procfs, stat + io",
            Box::new(|| {
                for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                    if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                        std::hint::black_box((below.read_pid_stat(pid).ok(), below.read_pid_io(pid).ok()));
                    }
                }
            }),
        ),
    ];
    let medians = in_turn(15, || fleet.poke(running), &mut contenders);
    print(title, &contenders, &medians);
    drop(contenders);
    assert!(kept.unwrap().samples.len() >= COUNT);
}

fn first(fleet: &mut Fleet) {
    let fields = Fields::USER | Fields::CMDLINE;
    let kind = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).with_user(UpdateKind::Always);
    let mut contenders: Vec<Contender<'_>> = vec![
        (
            "appmon",
            Box::new(|| {
                let mut snapshot = Snapshot::default();
                Processes::new().fields(fields).collect(&mut snapshot, &Cancel::new()).unwrap();
                let named = |process: &&ProcessSample| {
                    process.info.user.value().is_some()
                        && (process.info.kernel_thread || process.info.cmdline.value().is_some())
                };
                assert!(snapshot.samples.iter().filter(named).count() >= COUNT);
            }),
        ),
        (
            "sysinfo, with its users",
            Box::new(|| {
                let mut system = System::new().unwrap();
                system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
                let users = sysinfo::Users::new_with_refreshed_list().unwrap();
                let named = |process: &&sysinfo::Process| {
                    process.user_id().is_some_and(|user| users.get_user_by_id(user).is_some())
                };
                assert!(system.processes().values().filter(named).count() >= COUNT);
            }),
        ),
        (
            "sysinfo, without resolving users",
            Box::new(|| {
                System::new().unwrap().refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
            }),
        ),
    ];
    let medians = in_turn(9, || fleet.poke(20), &mut contenders);
    print("first: the first tick, with names, command lines, users", &contenders, &medians);
}

fn selected(fleet: &mut Fleet) {
    let mut one = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let cancel = Cancel::new();
    let mut all = Processes::new();
    let mut by_name = Processes::new().select(Select::name("sleep"));
    let mut by_pid = Processes::new().select(Select::pid(one.id()));
    let mut snapshot = Snapshot::default();
    // Past the time in which what is new is looked at often.
    for _ in 0..70 {
        by_name.collect(&mut snapshot, &cancel).unwrap();
        by_pid.collect(&mut snapshot, &cancel).unwrap();
    }
    assert_eq!(snapshot.samples.len(), 1);
    // One tick in 32 looks at all that are not selected, so a run is 32 ticks.
    let mut run = |processes: &mut Processes| {
        for _ in 0..32 {
            let mut snapshot = Snapshot::default();
            processes.collect(&mut snapshot, &cancel).unwrap();
            std::hint::black_box(snapshot);
        }
    };
    let run = std::cell::RefCell::new(&mut run);
    let mut contenders: Vec<Contender<'_>> = vec![
        ("32 ticks, one selected by name", Box::new(|| run.borrow_mut()(&mut by_name))),
        ("32 ticks, one selected by pid", Box::new(|| run.borrow_mut()(&mut by_pid))),
        ("32 ticks, all", Box::new(|| run.borrow_mut()(&mut all))),
    ];
    let medians = in_turn(9, || fleet.poke(20), &mut contenders);
    print("selected: one process of 2,000", &contenders, &medians);
    one.kill().unwrap();
    one.wait().unwrap();
}

fn allocations(fleet: &mut Fleet) {
    let cancel = Cancel::new();
    let mut processes = Processes::new();
    let mut counts: Vec<u64> = Vec::new();
    for _ in 0..30 {
        fleet.poke(20);
        let info = allocation_counter::measure(|| {
            let mut snapshot = Snapshot::default();
            processes.collect(&mut snapshot, &cancel).unwrap();
            drop(snapshot);
        });
        counts.push(info.count_total);
    }
    let settled = &mut counts[10..];
    let _ = writeln!(
        std::io::stdout(),
        "\nallocations: {} in a tick of which 20 of 2,000 ran (median; most: {})",
        median(settled),
        settled.iter().max().unwrap()
    );
}

/// From the end of the reading to the consumer.
fn wake() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let mut delays = runtime.block_on(async {
        let mut ticks = Processes::new().every(Duration::from_millis(20));
        let mut delays = Vec::new();
        for _ in 0..100 {
            let tick = ticks.try_next().await.unwrap().unwrap();
            let now = appmon::time::Monotonic::now();
            delays.push(now.since(tick.at.plus(tick.took)).unwrap());
        }
        delays
    });
    let _ = writeln!(
        std::io::stdout(),
        "\nwake: {:.1} µs from the end of the reading to the consumer (median)",
        median(&mut delays).as_secs_f64() * 1e6
    );
}

/// The CPU time of the whole process at one tick a second, rates and all, of which 20 of 2,000 processes run in each second;
/// beside what their CPU clocks alone take, once a second too.
fn cpu(fleet: &mut Fleet) {
    let pids = fleet.pids();
    let seconds = 30;
    let (started, start) = std::sync::mpsc::channel();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let ours = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut ticks = Processes::new().every(Duration::from_secs(1)).rates();
            // What is new at first is read in full.
            for _ in 0..3 {
                ticks.try_next().await.unwrap().unwrap();
            }
            started.send(()).unwrap();
            while end.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                std::hint::black_box(ticks.try_next().await.unwrap().unwrap());
            }
        });
    });
    start.recv().unwrap();
    let (begin, all_before, own_before) = (Instant::now(), process_cpu(), thread_cpu());
    let mut clocks_took = Duration::ZERO;
    for _ in 0..seconds {
        // About in the middle between two ticks.
        std::thread::sleep(Duration::from_millis(500));
        let before = thread_cpu();
        clocks(&pids);
        clocks_took += thread_cpu() - before;
        std::thread::sleep(Duration::from_millis(500));
        fleet.poke(20);
    }
    let (elapsed, all, own) = (begin.elapsed(), process_cpu() - all_before, thread_cpu() - own_before);
    ended.send(()).unwrap();
    ours.join().unwrap();
    let percent = |used: Duration| used.as_secs_f64() / elapsed.as_secs_f64() * 100.0;
    let _ = writeln!(
        std::io::stdout(),
        "\ncpu: {:.3} % of one core at one tick a second, with rates, over {seconds} s; 2,000 CPU clocks {:.3} %",
        percent(all - own),
        percent(clocks_took)
    );
}

fn process_cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

fn thread_cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn clocks(pids: &[u32]) {
    for pid in pids {
        let clock = nix::time::ClockId::from_raw((!(*pid as i32) << 3) | 2);
        std::hint::black_box(nix::time::clock_gettime(clock).unwrap());
    }
}

/// The files, open, and nothing but reading them.
struct Bare(Vec<(File, File)>);

impl Bare {
    fn open(pids: &[u32]) -> Self {
        let open = |pid, file| File::open(format!("/proc/{pid}/{file}")).unwrap();
        Self(pids.iter().map(|pid| (open(pid, "stat"), open(pid, "io"))).collect())
    }

    fn read(&self, threads: usize) {
        std::thread::scope(|scope| {
            for files in self.0.chunks(self.0.len().div_ceil(threads)) {
                scope.spawn(move || {
                    let mut buffer = [0; 4096];
                    for (stat, io) in files {
                        std::hint::black_box(stat.read_at(&mut buffer, 0).unwrap());
                        std::hint::black_box(io.read_at(&mut buffer, 0).unwrap());
                    }
                });
            }
        });
    }
}
