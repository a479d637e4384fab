//! The machine beside `sysinfo(2)`, and triggers of its pressure.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use appmon::cgroup::{Pressure, PressureLevel, PressureOf, PressureResource, PressureTrigger};
use appmon::machine::{CpuDenominators, MachineSample, ShareOf, share_of};
use appmon::{Cancel, Machine, Processes, Reading, SnapshotStreamExt, SourceExt};
use futures::executor::block_on;
use futures::{StreamExt, stream};

use common::mounts::{Scratch, alone};
use common::{Helper, inside, is_root, require, until};

fn read() -> MachineSample {
    Machine::new().read(&Cancel::new()).unwrap().samples.remove(0)
}

#[test]
fn it_is_what_the_kernel_says() {
    let before = rustix::system::sysinfo();
    let machine = read();
    let after = rustix::system::sysinfo();
    let memory = machine.memory.value().unwrap();
    let unit = u64::from(before.mem_unit);
    assert_eq!(memory.total_bytes, before.totalram * unit);
    assert_eq!(memory.swap_total_bytes, before.totalswap * unit);
    assert!(memory.available_bytes <= memory.total_bytes && memory.free_bytes > 0);
    let seconds = machine.uptime_ns.value().unwrap() / 1_000_000_000;
    assert!((before.uptime.cast_unsigned()..=after.uptime.cast_unsigned() + 1).contains(&(seconds + 1)), "{seconds}");
    let load = machine.load.value().unwrap();
    let loads = [before, after].map(|info| info.loads[0] as f64 / f64::from(1 << 16));
    assert!(
        load.avg1 >= loads[0].min(loads[1]) - 0.02 && load.avg1 <= loads[0].max(loads[1]) + 0.02,
        "{load:?} {loads:?}"
    );
    assert!(load.tasks >= load.runnable && load.runnable > 0);
    let own = rustix::thread::sched_getaffinity(Some(rustix::process::getpid())).unwrap().count();
    assert_eq!(machine.cpus.affinity, Reading::Value(own));
    assert!(*machine.cpus.online.value().unwrap() >= own);
    let cpu = machine.cpu.value().unwrap();
    assert!(cpu.idle_ns > 0 && cpu.busy_ns() > 0);
    assert!(machine.limits.control_group.value().is_some());
}

/// What a process uses is within what the machine does.
#[test]
fn processes_use_no_more_than_the_machine() {
    let mut spin = Helper::sh("echo ready; while :; do :; done", &[]);
    assert_eq!(spin.line(), "ready");
    let (mut machine, mut processes) = (Machine::new(), Processes::new());
    let mut machine = || machine.read(&Cancel::new());
    let mut processes = || processes.read(&Cancel::new());
    let ticks = [machine(), machine(), machine()];
    drop(ticks);
    let first = machine();
    let (one, then) = (processes(), std::time::Instant::now());
    until("some clock ticks have passed", || then.elapsed() > Duration::from_millis(300));
    let (two, last) = (processes(), machine());
    let rated = |ticks| block_on(stream::iter(ticks).rates().skip(1).next()).unwrap().unwrap();
    let machine = block_on(stream::iter([first, last]).rates().skip(1).next()).unwrap().unwrap();
    let machine = &machine.samples[0];
    let denominators = CpuDenominators::of_machine(machine);
    let busy = share_of(machine, ShareOf::Machine, &denominators).unwrap();
    let spinning = rated([one, two]);
    let spinning = spinning.samples.iter().find(|process| process.id.pid == spin.pid()).unwrap();
    let share = share_of(spinning, ShareOf::Machine, &denominators).unwrap();
    // The machine's counters have a grain of a clock tick on each CPU.
    assert!(share > 0.0 && share <= busy + 0.1 && busy <= 1.1, "{share} of {busy}");
    assert_eq!(share_of(spinning, ShareOf::Core, &denominators), spinning.rates.map(|rates| rates.cpu.cores));
    spin.end();
}

/// Makes tasks wait for a CPU until it is dropped.
fn busy() -> Vec<Helper> {
    let more = std::thread::available_parallelism().unwrap().get() + 2;
    (0..more).map(|_| Helper::sh("while :; do :; done", &[])).collect()
}

fn of_cpu(of: PressureOf, window: Duration) -> appmon::Result<PressureTrigger> {
    Pressure::trigger(of, PressureResource::Cpu, PressureLevel::Some, Duration::from_micros(500), window)
}

const WINDOW: Duration = Duration::from_secs(2);

fn threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.unwrap().path().join("comm"));
    names.map(name).filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("appmon-pressure"))).count()
}

#[test]
fn the_kernel_reports_pressure() {
    if !inside("machine::the_kernel_reports_pressure", &["env"]) {
        return;
    }
    let mut reports = match of_cpu(PressureOf::Machine, WINDOW) {
        Err(error) if error.is_unsupported() || error.is_denied() => {
            return assert!(require(false, "triggers of pressure"));
        }
        reports => reports.unwrap(),
    };
    // A thread gives itself its name.
    until("its thread has begun", || threads() == 1);
    let before = Pressure::parse(&std::fs::read("/proc/pressure/cpu").unwrap()).unwrap().some.unwrap().total_ns;
    let busy = busy();
    let reported = block_on(reports.next()).unwrap().unwrap();
    assert!(reported.some.unwrap().total_ns >= before + 500_000);
    drop(busy);
    drop(reports);
    until("its thread has ended", || threads() == 0);
}

#[test]
fn a_refusal_says_what_is_accepted() {
    let refused = |stall: Duration, window: Duration| {
        let refused = Pressure::trigger(PressureOf::Machine, PressureResource::Cpu, PressureLevel::Some, stall, window);
        refused.unwrap_err()
    };
    let second = Duration::from_secs(1);
    for (stall, window) in [
        (Duration::ZERO, WINDOW),
        (Duration::from_nanos(999), WINDOW),
        (WINDOW + second, WINDOW),
        (second, Duration::ZERO),
        (second, Duration::from_millis(10_001)),
        (Duration::MAX, Duration::MAX),
    ] {
        let error = refused(stall, window);
        assert!(error.is_config() && error.to_string().contains("Pressure::trigger"), "{error}");
    }
    if inside_as_nobody() {
        let error = refused(Duration::from_millis(1), second);
        assert!(error.is_config() || error.is_denied() || error.is_unsupported(), "{error}");
        if error.is_config() {
            assert!(error.to_string().contains("CAP_SYS_RESOURCE") && error.to_string().contains("2 s"), "{error}");
        }
    }
    let gone = of_cpu(PressureOf::ControlGroup("/appmon-no-such-group".into()), WINDOW).unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}

/// Whether this has no capabilities, by now.
fn inside_as_nobody() -> bool {
    let test = "machine::a_refusal_says_what_is_accepted";
    if !is_root() {
        return true;
    }
    inside(test, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"])
}

#[test]
fn the_trigger_of_a_removed_group_ends() {
    if !alone("machine::the_trigger_of_a_removed_group_ends") {
        return;
    }
    let at = Scratch::new();
    let mounted = Command::new("mount").args(["-t", "cgroup2", "none"]).arg(at.path()).status().unwrap();
    if !require(mounted.success(), "the unified hierarchy of control groups") {
        return;
    }
    let path = format!("/appmon-{}-trigger", std::process::id());
    let directory = at.path().join(&path[1..]);
    std::fs::create_dir(&directory).unwrap();
    let reports = of_cpu(PressureOf::ControlGroup(path.as_str().into()), WINDOW);
    if reports.as_ref().is_err_and(|error| error.is_unsupported()) {
        std::fs::remove_dir(&directory).unwrap();
        return assert!(require(false, "pressure of control groups"));
    }
    let mut reports = reports.unwrap();
    let busy = busy();
    for helper in &busy {
        std::fs::write(directory.join("cgroup.procs"), helper.pid().to_string()).unwrap();
    }
    assert!(block_on(reports.next()).unwrap().unwrap().some.unwrap().total_ns > 0);
    drop(busy);
    until("the group is removed", || std::fs::remove_dir(&directory).is_ok());
    let mut last = block_on(reports.next()).unwrap();
    if last.is_ok() {
        // One more report was on its way.
        last = block_on(reports.next()).unwrap();
    }
    assert!(last.unwrap_err().is_not_found());
    assert!(block_on(reports.next()).is_none());
}
