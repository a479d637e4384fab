//! The reading of one process, and its outcome.

use std::ffi::CStr;
use std::sync::Arc;

use rustix::io::Errno;

use super::files::Files;
use crate::cgroup::Identity;
use crate::process::descriptors::Hot;
use crate::process::handle::{fd_count, namespaces};
use crate::process::stat::{Stat, StatLine};
use crate::process::table::{Comm, Entry, Marks, Outcome};
use crate::process::{
    CgroupPaths, Cpu, ExitStatus, Faults, Fields, Io, Limits, Memory, Oom, ProcessData, ProcessId, ProcessInfo,
    ProcessState, Schedstat, Statm, Status,
};
use crate::time::ticks_to_nanos;
use crate::{Monotonic, Reading, Text, WirePath};

/// The kernel's flag of its own threads, in field 9 of `/proc/PID/stat`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// The fields that do not change while a process does not run, by itself or by others.
///
/// Not its open files: processes can share a table of them (`CLONE_FILES`). Not its schedstat: one that waits for a CPU is
/// moved from one to another, and has waited for longer then, without having run.
const OWN: Fields = Fields::IO.union(Fields::NAMESPACES);

/// How many descriptors are counted within the tick: that takes half a millisecond, a few when they were never counted.
const FEW_FDS: u64 = 512;

/// Why a process could not be read.
pub(super) enum Failure {
    Errno(Errno),
    Malformed,
    Replaced,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// The reading of one process.
pub(super) struct Visit<'a> {
    pub(super) files: Files<'a>,
    /// Ask at every reading who the owner is: a selection may depend on it.
    pub(super) owner: bool,
    pub(super) fields: Fields,
    /// Whether a reading has succeeded before.
    pub(super) known: bool,
    /// Read everything.
    pub(super) all: bool,
    /// Whether to read again the fields of the info that others can change, and those that the process itself may have changed.
    pub(super) renew: bool,
    pub(super) at: Monotonic,
    pub(super) total_ns: Option<u64>,
    /// The CPU clock right before, and when the owner was last read.
    pub(super) pulse: u64,
    pub(super) owner_pulse: u64,
}

impl Visit<'_> {
    /// It is another process than the one that was known.
    pub(super) fn start_over(&mut self) {
        self.files.start_over();
        self.known = false;
        self.all = true;
    }

    pub(super) fn read(&mut self, (sample, entry): (&mut ProcessData, &mut Entry)) -> Result<Outcome, Failure> {
        let line = self.stat(sample, entry)?;
        let changed = self.info(sample, entry, &line)?;
        self.counters(sample, entry)?;
        Ok(if changed { Outcome::Changed } else { Outcome::Read })
    }

    /// Reads `/proc/PID/stat` into the sample, and returns the other fields that are needed.
    fn stat(&mut self, sample: &mut ProcessData, entry: &mut Entry) -> Result<Line, Failure> {
        self.files.load(&mut entry.kept, Hot::Stat, c"stat")?;
        let bytes = self.files.resources.buffer.last();
        let stat = StatLine::parse(bytes).map_err(|_| Failure::Malformed)?;
        let id = ProcessId { pid: self.files.pid, start_ticks: stat.start_ticks };
        if self.known && sample.id != id {
            return Err(Failure::Replaced);
        }
        let nanos = |ticks| ticks_to_nanos(ticks, self.files.resources.procfs.ticks_per_second());
        sample.id = id;
        (sample.at, sample.read_at) = (self.at, self.at);
        let reparented = sample.ppid != stat.ppid;
        sample.ppid = stat.ppid;
        sample.state = stat.state;
        sample.threads = stat.num_threads;
        sample.nice = stat.nice;
        let (user_ns, system_ns) = (nanos(stat.utime_ticks), nanos(stat.stime_ticks));
        sample.cpu = Cpu {
            total_ns: self.total_ns.unwrap_or_else(|| user_ns.saturating_add(system_ns)),
            user_ns,
            system_ns,
            children_user_ns: nanos(stat.cutime_ticks),
            children_system_ns: nanos(stat.cstime_ticks),
            block_io_delay_ns: nanos(stat.delayacct_blkio_ticks.unwrap_or(0)),
        };
        sample.memory = Memory {
            rss_bytes: stat.rss_pages.saturating_mul(self.files.resources.procfs.page_bytes()),
            virtual_bytes: stat.vsize_bytes,
        };
        sample.faults = Faults { minor: stat.minflt, major: stat.majflt };
        entry.children_faults = Faults { minor: stat.cminflt, major: stat.cmajflt };
        if self.fields.contains(Fields::STAT) {
            sample.stat = Reading::Value(Arc::new(Stat::from(stat)));
        }
        if matches!(stat.state, ProcessState::Zombie | ProcessState::Dead) && stat.num_threads <= 1 {
            entry.end = ExitStatus::of_zombie(stat.exit_code, stat.wchan);
        }
        let comm = Comm::new(stat.comm);
        let renamed = !self.known || entry.comm != comm;
        if renamed {
            entry.comm = comm;
        }
        let mut line = Line {
            renamed,
            reparented,
            name: renamed.then(|| Text::from(stat.comm)),
            kernel_thread: stat.flags & PF_KTHREAD != 0,
            marks: Marks { start_code: stat.start_code.unwrap_or(0), start_stack: stat.start_stack.unwrap_or(0) },
            exited: stat.has_exited(),
        };
        self.files.by_thread = stat.has_lost_its_main_thread();
        if self.files.by_thread {
            self.memory_of_a_thread(sample, &mut line)?;
        }
        Ok(line)
    }

    /// The memory of a process whose main thread has exited: the line of that thread has 0, that of another thread is right.
    fn memory_of_a_thread(&mut self, sample: &mut ProcessData, line: &mut Line) -> Result<(), Failure> {
        let Some(()) = self.files.load_of_thread(c"stat")? else {
            // The others are exiting too.
            self.files.by_thread = false;
            return Ok(());
        };
        let thread = Stat::parse(self.files.resources.buffer.last()).map_err(|_| Failure::Malformed)?;
        sample.memory = Memory {
            rss_bytes: thread.rss_pages.saturating_mul(self.files.resources.procfs.page_bytes()),
            virtual_bytes: thread.vsize_bytes,
        };
        line.marks = Marks { start_code: thread.start_code.unwrap_or(0), start_stack: thread.start_stack.unwrap_or(0) };
        if self.fields.contains(Fields::STAT)
            && let Reading::Value(stat) = &mut sample.stat
        {
            Arc::make_mut(stat).take_memory(&thread);
        }
        line.exited = false;
        Ok(())
    }

    /// Brings the info up to date; returns whether anything in it changed, or the parent did.
    fn info(&mut self, sample: &mut ProcessData, entry: &mut Entry, line: &Line) -> Result<bool, Failure> {
        let execed = self.known && line.execed(entry.marks, sample.info.kernel_thread);
        // One that was read in its middle is over now, and its arguments are there.
        let settled = self.known && line.marks.are_known() && !entry.marks.are_known();
        // A new name where nothing else can be known: most likely only that, and maybe another program.
        let unsure = self.known && line.renamed && !line.marks.are_known() && !line.exited;
        if line.marks.are_known() {
            entry.marks = line.marks;
        }
        let before = entry.owner;
        // No other process can change it.
        let as_before = self.files.still && self.renew;
        let due = self.owner
            || self.all
            || self.renew
            || execed
            || line.renamed
            || self.files.by_thread
            || entry.owner_is_due();
        if due && !as_before {
            entry.owner = self.files.owner(before.ino)?;
            self.owner_pulse = self.pulse;
        }
        let owner = entry.owner;
        let owned = (before.uid, before.gid) != (owner.uid, owner.gid);
        let news = self.all || execed || settled || owned || line.renamed;
        if !news && !self.renew {
            return Ok(line.reparented);
        }
        // Its links are its own to change, but others can remove their targets; and another process can move one that does not run to
        // another control group.
        entry.links_pulse = self.pulse;
        let mut info = ProcessInfo::clone(&sample.info);
        if let Some(name) = &line.name {
            info.name = name.clone();
        }
        info.kernel_thread = line.kernel_thread;
        (info.uid, info.gid) = (owner.uid, owner.gid);
        if execed {
            info.execs = info.execs.saturating_add(1);
        }
        if !self.known || execed || settled || unsure {
            entry.slow.cmdline.stale = true;
            entry.slow.environ.stale = true;
        }
        if self.fields.contains(Fields::EXE) {
            self.link(c"exe", &mut info.exe, line)?;
        }
        if self.fields.contains(Fields::CWD) {
            self.link(c"cwd", &mut info.cwd, line)?;
        }
        if self.fields.contains(Fields::CGROUP) {
            let cgroups = self.files.file_of_any_thread(c"cgroup", CgroupPaths::parse)?;
            match cgroups {
                // The last known group is better than the value that the kernel shows now.
                Reading::Value(cgroups) if line.exited && cgroups.has_version_1() && info.cgroup.value().is_some() => {}
                Reading::Value(cgroups) => {
                    let path = if line.exited { cgroups.main_path_of_ended() } else { cgroups.main_path() };
                    entry.cgroup_is_unified = path.is_some_and(|path| cgroups.is_in_unified(path));
                    info.cgroup = match path {
                        Some(path) => Reading::Value(path.clone()),
                        None if cgroups.unknown.is_empty() => Reading::NotApplicable,
                        None => Reading::Failed,
                    };
                }
                other => info.cgroup = other.map(|_| Text::default()),
            }
            if info.cgroup != sample.info.cgroup {
                info.container = info.cgroup.value().and_then(|path| Identity::of(path.as_bytes()).container);
            }
        }
        if self.fields.contains(Fields::USER) && (!self.known || owned || info.user.is_not_requested()) {
            // Until the name service has answered.
            (info.user, info.group) = (Reading::Skipped, Reading::Skipped);
        }
        let changed = info != *sample.info;
        if changed {
            if let Some(seen) = &mut entry.seen_info {
                *seen = Arc::new(ProcessInfo { cmdline: seen.cmdline.clone(), ..info.clone() });
            }
            sample.info = Arc::new(info);
        }
        Ok(changed || line.reparented)
    }

    fn counters(&mut self, sample: &mut ProcessData, entry: &mut Entry) -> Result<(), Failure> {
        let mut fields = self.fields;
        if self.files.still {
            fields = fields.difference(OWN);
        }
        if fields.contains(Fields::IO) {
            sample.io = self.files.hot(&mut entry.kept, Hot::Io, c"io", Io::parse)?;
            if self.files.by_thread && sample.io == Reading::Denied {
                sample.io = self.files.io_by_thread()?;
            }
        }
        if fields.contains(Fields::STATUS) {
            let mut status = self.files.hot(&mut entry.kept, Hot::Status, c"status", Status::parse)?;
            if self.files.by_thread
                && let Reading::Value(main) = status
            {
                let thread = self.files.file_of_any_thread(c"status", Status::parse)?;
                status = thread.map(|thread| main.with_living(thread));
            }
            sample.status = status.map(Arc::new);
        }
        if fields.contains(Fields::STATM) {
            let statm = if self.files.by_thread {
                self.files.file_of_any_thread(c"statm", Statm::parse)?
            } else {
                self.files.hot(&mut entry.kept, Hot::Statm, c"statm", Statm::parse)?
            };
            sample.statm = statm.map(Arc::new);
        }
        if fields.contains(Fields::SCHEDSTAT) {
            let schedstat = self.files.hot(&mut entry.kept, Hot::Schedstat, c"schedstat", Schedstat::parse)?;
            // Zeros of a process that has run: the kernel keeps no such figures.
            let is_kept = sample.cpu.total_ns == 0 || !schedstat.value().is_some_and(Schedstat::is_zero);
            sample.schedstat = if is_kept { schedstat.map(Arc::new) } else { Reading::Unsupported };
        }
        if fields.contains(Fields::LIMITS) {
            sample.limits = self.files.file(c"limits", Limits::parse)?.map(Arc::new);
        }
        if fields.contains(Fields::FD_COUNT) {
            let count = self.files.by_any_thread(|dir| fd_count(dir, FEW_FDS, || true));
            let count = self.files.reading(count)?;
            entry.slow.many_fds = count == Reading::Value(None);
            if !entry.slow.many_fds {
                sample.fd_count = count.map(Option::unwrap_or_default);
            }
        }
        if fields.contains(Fields::NAMESPACES) {
            let found = self.files.by_any_thread(|dir| namespaces(dir));
            let mut found = self.files.reading(found)?;
            if let Reading::Value(found) = &mut found {
                let status = self.files.file(c"status", Status::parse)?;
                found.ns_pids = status.into_value().map(|status| status.ns_pid).unwrap_or_default();
            }
            sample.namespaces = found.map(Arc::new);
        }
        if fields.contains(Fields::OOM) {
            let score = self.files.file(c"oom_score", |bytes| Ok(bytes.to_vec()))?;
            let adj = self.files.file(c"oom_score_adj", |bytes| Ok(bytes.to_vec()))?;
            sample.oom = match (score, adj) {
                (Reading::Value(score), adj) => oom(&score, &adj.into_value().unwrap_or_default()),
                (_, Reading::Value(adj)) => oom(b"", &adj),
                (why, _) => why.map(|_| Oom::default()),
            };
        }
        Ok(())
    }

    /// Reads a link; keeps the known target of a process that lost its own by ending.
    fn link(&mut self, name: &CStr, link: &mut Reading<WirePath>, line: &Line) -> Result<(), Failure> {
        if line.kernel_thread && name == c"exe" {
            *link = Reading::NotApplicable;
            return Ok(());
        }
        let target = self.files.by_any_thread(|dir| rustix::fs::readlinkat(dir, name, Vec::new()));
        match target {
            Ok(target) => *link = Reading::Value(WirePath::from(target.into_bytes())),
            Err(Errno::NOENT | Errno::SRCH) if line.exited || line.kernel_thread => {
                if link.value().is_none() {
                    *link = Reading::NotApplicable;
                }
            }
            Err(errno) => *link = self.files.reading(Err(errno))?,
        }
        Ok(())
    }
}

/// The values of the two files, as far as they are there.
fn oom(score: &[u8], adj: &[u8]) -> Reading<Oom> {
    Oom::parse(score, adj).map_or(Reading::Failed, Reading::Value)
}

/// The facts of the stat line in addition to the counters.
struct Line {
    renamed: bool,
    reparented: bool,
    name: Option<Text>,
    kernel_thread: bool,
    marks: Marks,
    /// The process ended, or is about to: it has released its memory and files.
    exited: bool,
}

impl Line {
    /// Whether the process was seen to `execve(2)`: another program has other addresses, and a thread of the kernel has
    /// become one with a program. Where those may not be seen it cannot be known: a new name is a new name.
    fn execed(&self, before: Marks, was_kernel_thread: bool) -> bool {
        let moved = before.are_known() && self.marks.are_known() && before != self.marks;
        moved || (was_kernel_thread && !self.kernel_thread)
    }
}
