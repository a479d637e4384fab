//! The machine as a source.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::sched_getaffinity;

use super::limits::LimitReader;
use super::{Cpus, MachinePressure, MachineSample, OwnLimits, kernel_files};
use crate::cgroup::Pressure;
use crate::process::ProcFs;
use crate::process::file::{Buffer, is_proc, open, open_of_proc, unavailable};
use crate::{Cancel, Monotonic, Reading, Result, Snapshot, Source};

/// The machine as a [`Source`]: its CPUs, memory, load and pressure, and how much of them this process may use. Each snapshot has one sample.
///
/// It is made to be read beside other sources, so that shares can be computed from a recording too: see [`share_of`](super::share_of). A tick
/// reads seven files of `/proc` by descriptors that stay open, in less than 100 µs on a small machine; `/proc/stat` takes longer the more
/// CPUs and interrupts there are. The limits of the own control group and the affinity are read again when they are older than
/// [`max_age`](Self::max_age).
///
/// The files are the kernel's own, also where lxcfs has mounted others over them.
///
/// # Errors
///
/// [`collect`](Source::collect) fails when the root cannot be opened. A file that cannot be read is a [`Reading`] without a value, of that part
/// alone.
///
/// # Examples
///
/// ```
/// use appmon::{Cancel, Machine, SourceExt};
///
/// let snapshot = Machine::new().read(&Cancel::new())?;
/// let machine = &snapshot.samples[0];
/// if let Some(memory) = machine.memory.value() {
///     println!("{} of {} B available", memory.available_bytes, memory.total_bytes);
/// }
/// println!("{} CPUs, {} of them for this process", machine.cpus.online, machine.cpus.affinity);
/// # Ok::<(), appmon::Error>(())
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct Machine {
    root: PathBuf,
    max_age: Duration,
    state: Option<State>,
}

struct State {
    procfs: ProcFs,
    buffer: Buffer,
    /// In the order of [`FILES`]; `None` while it is not open.
    files: [Option<OwnedFd>; FILES.len()],
    reader: LimitReader,
    limits: OwnLimits,
    affinity: Reading<u32>,
}

/// The files that are read at each tick.
const FILES: [&str; 7] = ["stat", "meminfo", "loadavg", "uptime", "pressure/cpu", "pressure/memory", "pressure/io"];

impl Machine {
    /// Creates a source of this machine.
    pub fn new() -> Self {
        Self { root: PathBuf::from("/proc"), max_age: Duration::from_secs(10), state: None }
    }

    /// Sets where /proc is mounted. Default: `/proc`. The affinity and the limits are those of this process in any case.
    pub fn root(mut self, path: impl Into<PathBuf>) -> Self {
        (self.root, self.state) = (path.into(), None);
        self
    }

    /// Sets how old the affinity and the limits of the control group may get, which change by a program's hand only. Default: 10 s.
    /// `Duration::ZERO` reads them at each tick.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

/// Of the settings: the clone has read nothing.
impl Clone for Machine {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), max_age: self.max_age, state: None }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("root", &self.root).field("max_age", &self.max_age).finish_non_exhaustive()
    }
}

impl Source for Machine {
    type Sample = MachineSample;

    fn fill(&mut self, snapshot: &mut Snapshot<MachineSample>, cancel: &Cancel) -> Result<()> {
        cancel.check()?;
        let state = match &mut self.state {
            Some(state) => state,
            None => self.state.insert(State::new(ProcFs::new(&self.root)?)),
        };
        snapshot.boot_id = state.procfs.boot_id();
        let sample = state.read(self.max_age);
        snapshot.skipped.fields = sample.missing_fields();
        snapshot.samples.push(sample);
        cancel.check()
    }
}

impl State {
    fn new(procfs: ProcFs) -> Self {
        Self {
            procfs,
            buffer: Buffer::new(),
            files: [const { None }; FILES.len()],
            reader: LimitReader::new(),
            limits: OwnLimits::default(),
            affinity: Reading::NotRequested,
        }
    }

    fn read(&mut self, max_age: Duration) -> MachineSample {
        let at = Monotonic::now();
        if self.affinity.is_not_requested() || at.since(self.limits.read_at).is_none_or(|age| age >= max_age) {
            self.limits = self.reader.read(&self.procfs);
            self.affinity = affinity();
        }
        let ticks_per_second = self.procfs.ticks_per_second();
        let [stat, meminfo, loadavg, uptime, pressure @ ..] = FILES;
        let stat = self.file(stat, |file| kernel_files::stat(file, ticks_per_second));
        let [cpu, memory, io] = pressure.map(|name| self.file(name, |file| Pressure::parse(file).ok()));
        MachineSample {
            at,
            uptime_ns: self.file(uptime, kernel_files::uptime),
            cpus: Cpus { online: stat.map(|(_, cpus)| cpus), affinity: self.affinity },
            cpu: stat.map(|(cpu, _)| cpu),
            memory: self.file(meminfo, kernel_files::meminfo),
            load: self.file(loadavg, kernel_files::loadavg),
            pressure: MachinePressure { cpu, memory, io },
            limits: self.limits.clone(),
        }
    }

    /// Reads a file, by a descriptor that stays open.
    fn file<T>(&mut self, name: &str, parse: impl FnOnce(&[u8]) -> Option<T>) -> Reading<T> {
        let kept = FILES.iter().zip(&mut self.files).find_map(|(known, kept)| (*known == name).then_some(kept));
        let Some(kept) = kept else { return Reading::Unsupported };
        let file = match kept.take() {
            Some(file) => file,
            None => {
                let dir = self.procfs.dir();
                match if is_proc(dir) { open_of_proc(dir, name) } else { open(dir, name) } {
                    Ok(file) => file,
                    Err(errno) => return unavailable(errno),
                }
            }
        };
        match self.buffer.read(&file) {
            Ok(bytes) => {
                *kept = Some(file);
                parse(bytes).map_or(Reading::Failed, Reading::Value)
            }
            Err(errno) => unavailable(errno),
        }
    }
}

/// How many CPUs the main thread of this process may run on.
fn affinity() -> Reading<u32> {
    match sched_getaffinity(Some(rustix::process::getpid())) {
        Ok(cpus) => Reading::Value(cpus.count()),
        // More CPUs than the set has room for (1,024).
        Err(rustix::io::Errno::INVAL) => Reading::Failed,
        Err(errno) => unavailable(errno),
    }
}
