//! What a tick over 1,000 control groups costs as it is used: one tick a second through the stream, by the CPU time of the whole process.
//! Run it as root, where the unified hierarchy can be written to.
//!
//! Usage: cargo bench -p appmon-benches --bench control_groups [-- TICKS]    [default: 20]

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use appmon::cgroup::{ControlGroupEventKind, ControlGroupFields};
use appmon::{Cancel, ControlGroups, SnapshotStreamExt, Source, SourceExt};
use futures::{StreamExt, TryStreamExt};

const COUNT: usize = 1_000;
const RUNNING: usize = 20;

/// A tree of groups, which goes with it.
struct Groups {
    root: PathBuf,
    all: Vec<PathBuf>,
    members: Vec<Child>,
}

impl Groups {
    fn new(hierarchy: &Path) -> Option<Self> {
        let root = hierarchy.join(format!("appmon-bench-{}", std::process::id()));
        std::fs::create_dir(&root).ok()?;
        Some(Self { root, all: Vec::new(), members: Vec::new() })
    }

    /// So many groups in as many slices; in each a process that sleeps, or that was there.
    fn fill(&mut self, slices: usize, with_processes: bool) {
        self.clear();
        let own = std::process::id().to_string();
        for slice in 0..slices {
            let slice = self.root.join(format!("{slice}.slice"));
            std::fs::create_dir(&slice).unwrap();
            self.all.push(slice.clone());
            for nth in 0..COUNT / slices {
                let group = slice.join(format!("{nth}.service"));
                std::fs::create_dir(&group).unwrap();
                std::fs::write(group.join("cgroup.procs"), &own).unwrap();
                if with_processes {
                    self.members.push(member(&group));
                }
                self.all.push(group);
            }
        }
        std::fs::write(self.root.parent().unwrap().join("cgroup.procs"), &own).unwrap();
    }

    /// Lets some of the processes run, all in the first slices.
    fn poke(&mut self, count: usize) {
        for member in self.members.iter_mut().take(count) {
            let _ = member.stdin.as_mut().unwrap().write_all(b"\n");
        }
    }

    fn clear(&mut self) {
        for mut member in self.members.drain(..) {
            let _ = member.kill();
            let _ = member.wait();
        }
        for group in self.all.drain(..).rev() {
            for _ in 0..1000 {
                if std::fs::remove_dir(&group).is_ok() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.clear();
        let _ = std::fs::remove_dir(&self.root);
    }
}

/// A process that runs when it is given a line, started in a group.
fn member(group: &Path) -> Child {
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    child
}

fn hierarchy() -> Option<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = table.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(PathBuf::from(mount.split(' ').nth(4)?))
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn main() {
    let mut out = std::io::stdout();
    let ticks = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20);
    let Some((hierarchy, mut groups)) = hierarchy().and_then(|at| Some((at.clone(), Groups::new(&at)?))) else {
        let _ = writeln!(out, "skipped: root, to make control groups of version 2");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _ = writeln!(
        out,
        "{COUNT} control groups, {ticks} ticks, one a second, CPU time of the whole process for each tick:\n"
    );
    for (slices, with_processes, running) in
        [(20, false, 0), (20, true, 0), (1, true, 0), (20, true, RUNNING), (1, true, RUNNING)]
    {
        groups.fill(slices, with_processes);
        for (fields, what) in [(ControlGroupFields::all(), "all numbers"), (ControlGroupFields::CPU, "CPU alone")] {
            let source = ControlGroups::new().root(&hierarchy).fields(fields);
            let mut stream = source.every(Duration::from_secs(1)).rates();
            let used = runtime.block_on(async {
                for _ in 0..2 {
                    let tick = stream.try_next().await.unwrap().unwrap();
                    assert!(tick.samples.len() > COUNT);
                }
                let mut used = Duration::ZERO;
                for _ in 0..ticks {
                    groups.poke(running);
                    let before = cpu_time();
                    let tick = stream.try_next().await.unwrap().unwrap();
                    used += cpu_time() - before;
                    assert!(std::hint::black_box(tick).samples.len() > COUNT);
                }
                used
            });
            let members = if with_processes { "a process in each" } else { "empty" };
            let each = used.as_secs_f64() * 1e3 / f64::from(ticks);
            let _ = writeln!(out, "  {slices:>2} slices, {members:<17}, {running:>2} run, {what:<11} {each:>7.3} ms");
        }
    }
    // Back to back, with warm caches.
    let mut source = ControlGroups::new().root(&hierarchy);
    let mut snapshot = appmon::Snapshot::default();
    source.collect(&mut snapshot, &Cancel::new()).unwrap();
    let before = cpu_time();
    for _ in 0..200 {
        source.collect(&mut snapshot, &Cancel::new()).unwrap();
    }
    let each = (cpu_time() - before).as_secs_f64() * 1e3 / 200.0;
    let _ = writeln!(out, "\n  back to back, 1 slice, a process in each, none runs: {each:.3} ms");

    let mut walking = ControlGroups::new().root(&hierarchy).walk_every(Duration::ZERO);
    walking.collect(&mut snapshot, &Cancel::new()).unwrap();
    let before = cpu_time();
    for _ in 0..20 {
        walking.collect(&mut snapshot, &Cancel::new()).unwrap();
    }
    let walk = (cpu_time() - before).as_secs_f64() * 1e3 / 20.0 - each;
    let _ = writeln!(out, "  the walk over all, once a minute: {walk:.3} ms more");

    let mut events = ControlGroups::new().root(&hierarchy).events().watch().unwrap();
    let mut births = Vec::new();
    for nth in 0..50 {
        let group = groups.root.join(format!("born-{nth}"));
        let began = Instant::now();
        std::fs::create_dir(&group).unwrap();
        let seen = runtime.block_on(async {
            loop {
                let snapshot = events.next().await.unwrap().unwrap();
                let is_birth = |kind: &ControlGroupEventKind| matches!(kind, ControlGroupEventKind::Created { .. });
                if snapshot
                    .samples
                    .iter()
                    .any(|event| is_birth(&event.kind) && event.path.to_string().ends_with(&format!("born-{nth}")))
                {
                    return began.elapsed();
                }
            }
        });
        births.push(seen);
        std::fs::remove_dir(&group).unwrap();
    }
    births.sort_unstable();
    let _ = writeln!(
        out,
        "  birth to event: median {:?}, slowest of {} {:?}",
        births[births.len() / 2],
        births.len(),
        births[births.len() - 1]
    );
}
