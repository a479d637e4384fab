//! One's own process: the readings agree with the kernel, tokio and the clock.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::sync::mpsc;
use std::time::Duration;

use appmon::own::{OwnSample, ThreadsSample};
use appmon::process::Process;
use appmon::time::Monotonic;
use appmon::{Cancel, Error, OwnProcess, Processes, Snapshot, Source, SourceExt};

use common::{direct, inside, until};

fn read(source: &mut OwnProcess) -> OwnSample {
    let mut samples = source.read(&Cancel::new()).unwrap().samples;
    assert_eq!(samples.len(), 1);
    samples.remove(0)
}

fn named(sample: &OwnSample, name: &str) -> Option<ThreadsSample> {
    sample.threads_by_name.value().unwrap().iter().find(|threads| threads.name == name).cloned()
}

/// CPU time of the calling thread.
fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[test]
fn it_is_this_process() {
    let me = Process::current().unwrap();
    assert_eq!(me.id(), direct(std::process::id()).id());
    let sample = read(&mut OwnProcess::new());
    assert_eq!(sample.id, me.id());
    assert_eq!((sample.ppid, &sample.info.name), (me.stat().unwrap().ppid, &me.stat().unwrap().comm));
    assert_eq!(sample.info.exe.value(), Some(&me.exe().unwrap()));
    assert!(sample.io.value().is_some() && sample.memory.rss_bytes > 0 && sample.runtime.is_none());
    assert!(read(&mut OwnProcess::new().threads(false)).threads_by_name.is_not_requested());
}

#[test]
fn threads_by_name_and_their_usage() {
    let mut source = OwnProcess::new();
    let (used, at_work) = mpsc::channel();
    let worker = |pause: mpsc::Receiver<()>| {
        let used = used.clone();
        let work = move || {
            while cpu_ns() < 30_000_000 {}
            used.send(cpu_ns()).unwrap();
            let _ = pause.recv();
        };
        std::thread::Builder::new().name("own-worker".to_owned()).spawn(work).unwrap()
    };
    let ((first_end, first_pause), (second_end, second_pause)) = (mpsc::channel(), mpsc::channel());
    let (first, second) = (worker(first_pause), worker(second_pause));
    let used_at_least = at_work.recv().unwrap() + at_work.recv().unwrap();
    let mut both = ThreadsSample::default();
    until("what they used is accounted", || {
        both = named(&read(&mut source), "own-worker").unwrap();
        both.cpu_ns >= used_at_least
    });
    assert_eq!(both.threads, 2);
    drop(first_end);
    first.join().unwrap();
    let mut one = ThreadsSample::default();
    until("one has ended", || {
        one = named(&read(&mut source), "own-worker").unwrap();
        one.threads == 1
    });
    assert!(one.cpu_ns >= both.cpu_ns, "what the other used still counts: {both:?} {one:?}");
    drop(second_end);
    second.join().unwrap();
    until("none is left", || named(&read(&mut source), "own-worker").is_none());
}

#[test]
fn the_runtime_as_tokio_has_it() {
    // Tasks of other tests would count, were it the same runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    let mut source = OwnProcess::new().runtime(runtime.handle().clone());
    assert_eq!(read(&mut source).runtime.unwrap().num_alive_tasks, 0);
    let tasks: Vec<_> = (0..5).map(|_| runtime.spawn(std::future::pending::<()>())).collect();
    let found = read(&mut source).runtime.unwrap();
    assert_eq!((found.num_workers, found.num_alive_tasks, found.workers.len()), (3, 5, 3));
    assert_eq!(found.unstable.is_some(), cfg!(tokio_unstable));
    runtime.block_on(async {
        runtime.spawn(async { std::thread::sleep(Duration::from_millis(20)) }).await.unwrap();
    });
    until("a worker was busy", || {
        let workers = read(&mut source).runtime.unwrap().workers;
        let metrics = runtime.metrics();
        let busy: Duration = (0..3).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
        let found: u64 = workers.iter().map(|worker| worker.total_busy_duration_ns).sum();
        found >= 20_000_000 && Duration::from_nanos(found) <= busy
    });
    drop(tasks);
}

/// Fails at every second reading.
struct Fails(u32);

impl Source for Fails {
    type Sample = u32;

    fn fill(&mut self, snapshot: &mut Snapshot<u32>, _: &Cancel) -> appmon::Result<()> {
        self.0 += 1;
        let until_used = cpu_ns() + 5_000_000;
        while cpu_ns() < until_used {}
        snapshot.samples.extend([1, 2, 3]);
        if self.0.is_multiple_of(2) { Err(Error::malformed("as it should")) } else { Ok(()) }
    }
}

#[test]
fn the_cost_of_sources() {
    let began = Monotonic::now();
    let mut metered = Fails(0).metered();
    let mut own =
        OwnProcess::new().source("fails", metered.meter()).source("processes", Processes::new().metered().meter());
    for _ in 0..4 {
        let _ = metered.read(&Cancel::new());
    }
    let sample = read(&mut own);
    let elapsed = Monotonic::now().since(began).unwrap();
    let [fails, idle] = &sample.sources[..] else { panic!("{:?}", sample.sources) };
    assert_eq!((&*fails.name, &*idle.name), ("fails", "processes"));
    assert_eq!((fails.cost.readings, fails.cost.failed_readings, fails.cost.samples), (4, 2, 6));
    assert!(fails.cost.cpu_ns >= 20_000_000 && fails.cost.elapsed_ns >= fails.cost.cpu_ns);
    assert!(u128::from(fails.cost.elapsed_ns) <= elapsed.as_nanos());
    assert_eq!(idle.cost, appmon::metered::SourceCost::default());
}

#[test]
fn in_a_pid_namespace_under_its_own_proc() {
    let Some(by) = common::pid_namespace() else { return };
    if inside("own_process::in_a_pid_namespace_under_its_own_proc", &by) {
        assert_eq!(read(&mut OwnProcess::new()).id.pid, std::process::id());
    }
}
