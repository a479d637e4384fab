//! Reading one process: its pulse, and its files if it ran.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::descriptors::{FdBudget, Hot};
use super::file::{self, Buffer, Opener, Owner, PidPath, owner, unavailable};
use super::handle::{fd_count, namespaces};
use super::procfs::ProcFs;
use super::pulse::pulse;
use super::stat::{Stat, StatLine};
use super::table::{Comm, Entry, Marks, Outcome, Selection, Slot, Task};
use super::thread::{by_living_thread, load_io};
use super::{
    Cgroups, Cpu, Faults, Fields, Io, Limits, Memory, Oom, ProcessId, ProcessInfo, ProcessState, Schedstat, Statm,
    Status,
};
use crate::time::ticks_to_nanos;
use crate::{Monotonic, Reading, Text, WirePath};

/// The kernel's flag of its own threads, in field 9 of `/proc/PID/stat`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// What a process that stands still does not change, and nobody else does.
///
/// Not its open files: processes can share a table of them (`CLONE_FILES`). Not its schedstat: one that waits for a CPU is
/// moved from one to another, and has waited for longer then, without having run.
const OWN: Fields = Fields::IO.union(Fields::NAMESPACES);

/// How many descriptors are counted within the tick: that takes half a millisecond, a few when they were never counted.
const FEW_FDS: u64 = 512;

/// One thread's means to read processes.
#[derive(Debug)]
pub(crate) struct Reader {
    procfs: ProcFs,
    buffer: Buffer,
    pub(crate) opener: Opener,
    /// Whether there was no descriptor for something of the process that is being read.
    short: bool,
}

/// What is the same for all processes of a tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// What to read of those that are selected.
    pub(crate) fields: Fields,
    /// What to read of the others, to decide about them.
    pub(crate) facts: Fields,
    /// What a new process is: selected where all are.
    pub(crate) first: Selection,
    /// Ask at every reading who the owner is: a selection may depend on it.
    pub(crate) owner: bool,
    pub(crate) budget: &'a FdBudget,
    pub(crate) tick: u64,
}

fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}

/// Why a process could not be read.
enum Failure {
    Errno(Errno),
    Malformed,
    Replaced,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Reader {
    pub(crate) fn new(procfs: ProcFs) -> Self {
        let opener = Opener::new(procfs.dir());
        Self { procfs, buffer: Buffer::new(), opener, short: false }
    }

    /// Does a slot's task, and leaves in the slot what came of it.
    pub(crate) fn visit(&mut self, slot: &mut Slot, plan: &Plan<'_>) {
        let task = std::mem::replace(&mut slot.task, Task::Rest);
        let at = Monotonic::now();
        self.short = false;
        let mut ran = true;
        let mut total_ns = None;
        if self.procfs.has_pulse() {
            let Some(pulse) = pulse(slot.pid) else {
                slot.outcome = Outcome::Gone;
                return;
            };
            ran = pulse != slot.pulse;
            if !ran && task == Task::Check && slot.entry.known {
                slot.at = at;
                return;
            }
            slot.pulse = pulse;
            total_ns = Some(pulse);
        }
        let fields = if slot.selection == Selection::Selected { plan.fields | plan.facts } else { plan.facts };
        let known = slot.entry.known;
        let mut visit = Visit {
            reader: self,
            plan,
            place: None,
            fields,
            all: task == Task::ReadAll || !known,
            // What decides about one that is not selected is read whenever it was looked at and had run.
            renew: task == Task::Renew || slot.selection != Selection::Selected,
            still: !ran && known && task < Task::ReadAll,
            keep: ran && known && task < Task::Renew && slot.selection == Selection::Selected,
            at,
            total_ns,
            owner_unsure: false,
            by_thread: false,
        };
        slot.entry.moved |= ran;
        let mut result = visit.read(slot.pid, &mut slot.entry);
        if matches!(result, Err(Failure::Replaced)) {
            // Another process has the pid now: start over as with a new one.
            plan.budget.close_all(&mut slot.entry.kept);
            *slot.entry = Entry::default();
            slot.selection = plan.first;
            visit.place = None;
            visit.all = true;
            visit.still = false;
            visit.keep = false;
            result = visit.read(slot.pid, &mut slot.entry);
        }
        if result.is_ok() {
            (slot.at, slot.read_at) = (at, at);
            slot.owner_unsure = visit.owner_unsure;
        }
        if ran {
            slot.ran_at_tick = plan.tick;
        }
        slot.count_missing_fields();
        let sample = &slot.entry.sample;
        slot.zombie = sample.state == ProcessState::Zombie && sample.threads <= 1;
        slot.outcome = match result {
            // A second reading in one tick does not undo what the first one found.
            Ok(Outcome::Read) if slot.outcome == Outcome::Changed => Outcome::Changed,
            Ok(outcome) => outcome,
            Err(Failure::Errno(Errno::NOENT | Errno::SRCH)) => {
                // Still there by its clock: it is hidden (hidepid), or ended between the two calls and is gone next time.
                if total_ns.is_some() && pulse(slot.pid).is_some() { Outcome::Hidden } else { Outcome::Gone }
            }
            Err(Failure::Errno(Errno::ACCESS | Errno::PERM)) => Outcome::Denied,
            Err(Failure::Malformed) => Outcome::Malformed,
            Err(Failure::Errno(errno)) => {
                self.short |= is_shortage(errno);
                Outcome::Failed
            }
            Err(Failure::Replaced) => Outcome::Failed,
        };
        slot.unnamed |= fields.contains(Fields::USER) && (task >= Task::Renew || slot.outcome == Outcome::Changed);
        self.opener.starved |= self.short;
        if self.short {
            // Everything is read again, though it stands still then.
            slot.task = Task::ReadAll;
        }
        self.opener.restore(self.procfs.dir());
    }
}

/// The reading of one process.
struct Visit<'a> {
    reader: &'a mut Reader,
    plan: &'a Plan<'a>,
    /// The process's directory, once something had to be opened.
    place: Option<OwnedFd>,
    fields: Fields,
    /// Read everything.
    all: bool,
    /// Read what others can change of the info too, and what the process itself may have.
    renew: bool,
    /// It stood still since it was last read, so what only it can change is known.
    still: bool,
    /// Keep open what was opened.
    keep: bool,
    at: Monotonic,
    total_ns: Option<u64>,
    /// The owner was not asked for, though the process ran.
    owner_unsure: bool,
    /// The main thread has exited and others live: they have what the process has.
    by_thread: bool,
}

impl Visit<'_> {
    fn read(&mut self, pid: u32, entry: &mut Entry) -> Result<Outcome, Failure> {
        let line = self.stat(pid, entry)?;
        let changed = self.info(pid, entry, &line)?;
        self.counters(pid, entry)?;
        entry.known = true;
        Ok(if changed { Outcome::Changed } else { Outcome::Read })
    }

    /// Reads `/proc/PID/stat` into the sample, and gives what is needed beside.
    fn stat(&mut self, pid: u32, entry: &mut Entry) -> Result<Line, Failure> {
        self.load(pid, entry, Hot::Stat, c"stat")?;
        let bytes = self.reader.buffer.last();
        let stat = StatLine::parse(bytes).map_err(|_| Failure::Malformed)?;
        let id = ProcessId { pid, start_ticks: stat.start_ticks };
        if entry.known && entry.sample.id != id {
            return Err(Failure::Replaced);
        }
        let nanos = |ticks| ticks_to_nanos(ticks, self.reader.procfs.ticks_per_second());
        let sample = &mut entry.sample;
        sample.id = id;
        sample.read_at = self.at;
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
            rss_bytes: stat.rss_pages.saturating_mul(self.reader.procfs.page_bytes()),
            virtual_bytes: stat.vsize_bytes,
        };
        sample.faults = Faults { minor: stat.minflt, major: stat.majflt };
        if self.fields.contains(Fields::STAT) {
            sample.stat = Reading::Value(Arc::new(Stat::from(stat)));
        }
        let comm = Comm::new(stat.comm);
        let renamed = !entry.known || entry.comm != comm;
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
        self.by_thread = stat.has_lost_its_main_thread();
        if self.by_thread {
            self.memory_of_a_thread(pid, entry, &mut line)?;
        }
        Ok(line)
    }

    /// The memory of a process whose main thread has exited: its own line says 0, that of another thread is right.
    fn memory_of_a_thread(&mut self, pid: u32, entry: &mut Entry, line: &mut Line) -> Result<(), Failure> {
        let Some(()) = self.load_of_thread(pid, c"stat")? else {
            // The others are exiting too.
            self.by_thread = false;
            return Ok(());
        };
        let thread = Stat::parse(self.reader.buffer.last()).map_err(|_| Failure::Malformed)?;
        let sample = &mut entry.sample;
        sample.memory = Memory {
            rss_bytes: thread.rss_pages.saturating_mul(self.reader.procfs.page_bytes()),
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

    /// Brings the info up to date; says whether anything in it changed, or the parent did.
    fn info(&mut self, pid: u32, entry: &mut Entry, line: &Line) -> Result<bool, Failure> {
        let execed = entry.known && line.execed(entry.marks, entry.sample.info.kernel_thread);
        // One that was read in its middle is over now, and its arguments are there.
        let settled = entry.known && line.marks.are_known() && !entry.marks.are_known();
        // A new name where nothing else can be known: most likely only that, and maybe another program.
        let unsure = entry.known && line.renamed && !line.marks.are_known() && !line.exited;
        if line.marks.are_known() {
            entry.marks = line.marks;
        }
        let before = entry.owner;
        // Nobody else can change it.
        let as_before = self.still && self.renew;
        let due = self.plan.owner
            || self.all
            || self.renew
            || execed
            || line.renamed
            || self.by_thread
            || entry.owner_is_due();
        let look = due && !as_before;
        self.owner_unsure = !look && !as_before;
        let owner = if look { self.owner(pid, entry)? } else { before };
        entry.owner = owner;
        let owned = (before.uid, before.gid) != (owner.uid, owner.gid);
        let news = self.all || execed || settled || owned || line.renamed;
        if !news && !self.renew {
            return Ok(line.reparented);
        }
        // Its links are its own to change, but others can remove what they point to; and another process can move one that
        // stands still to another control group.
        entry.moved = false;
        let mut info = ProcessInfo::clone(&entry.sample.info);
        if let Some(name) = &line.name {
            info.name = name.clone();
        }
        info.kernel_thread = line.kernel_thread;
        (info.uid, info.gid) = (owner.uid, owner.gid);
        if execed {
            info.execs = info.execs.saturating_add(1);
        }
        if !entry.known || execed || settled || unsure {
            entry.slow.cmdline.stale = true;
            entry.slow.environ.stale = true;
        }
        if self.fields.contains(Fields::EXE) {
            self.link(pid, c"exe", &mut info.exe, line)?;
        }
        if self.fields.contains(Fields::CWD) {
            self.link(pid, c"cwd", &mut info.cwd, line)?;
        }
        if self.fields.contains(Fields::CGROUP) {
            let cgroups = self.file_of_life(pid, c"cgroup", Cgroups::parse)?;
            match cgroups {
                // What it was in is known better than what the kernel shows now.
                Reading::Value(cgroups) if line.exited && cgroups.has_version_1() && info.cgroup.value().is_some() => {}
                Reading::Value(cgroups) => {
                    let path = if line.exited { cgroups.main_path_of_ended() } else { cgroups.main_path() };
                    info.cgroup = match path {
                        Some(path) => Reading::Value(path.clone()),
                        None if cgroups.unknown.is_empty() => Reading::NotApplicable,
                        None => Reading::Failed,
                    };
                }
                other => info.cgroup = other.map(|_| Text::default()),
            }
        }
        if self.fields.contains(Fields::USER) && (!entry.known || owned || info.user.is_not_requested()) {
            // Until the name service has answered.
            (info.user, info.group) = (Reading::Skipped, Reading::Skipped);
        }
        let changed = info != *entry.sample.info;
        if changed {
            if let Some(seen) = &mut entry.seen_info {
                *seen = Arc::new(ProcessInfo { cmdline: seen.cmdline.clone(), ..info.clone() });
            }
            entry.sample.info = Arc::new(info);
        }
        Ok(changed || line.reparented)
    }

    /// The effective user and group, and by the inode number a last look whether this is still the same process.
    fn owner(&mut self, pid: u32, entry: &Entry) -> Result<Owner, Failure> {
        if self.by_thread {
            // The main thread keeps the user that it had when it exited, whatever the others do.
            let ino = owner(self.place(pid)?, c"")?.ino;
            return Ok(Owner { ino, ..self.by_life(pid, |dir| owner(dir, c""))? });
        }
        if let Some(place) = &self.place {
            return Ok(owner(place, c"")?);
        }
        let found = owner(self.reader.procfs.dir(), PidPath::new(pid).as_c_str())?;
        if found.ino == entry.owner.ino {
            return Ok(found);
        }
        // The kernel made a new inode: for another process, or for the same one after it dropped its caches.
        Ok(owner(self.place(pid)?, c"")?)
    }

    fn counters(&mut self, pid: u32, entry: &mut Entry) -> Result<(), Failure> {
        let mut fields = self.fields;
        if self.still {
            fields = fields.difference(OWN);
        }
        if fields.contains(Fields::IO) {
            entry.sample.io = self.hot(pid, entry, Hot::Io, c"io", Io::parse)?;
            if self.by_thread && entry.sample.io == Reading::Denied {
                entry.sample.io = self.io_by_thread(pid)?;
            }
        }
        if fields.contains(Fields::STATUS) {
            let mut status = self.hot(pid, entry, Hot::Status, c"status", Status::parse)?;
            if self.by_thread
                && let Reading::Value(main) = status
            {
                let thread = self.file_of_life(pid, c"status", Status::parse)?;
                status = thread.map(|thread| main.with_living(thread));
            }
            entry.sample.status = status.map(Arc::new);
        }
        if fields.contains(Fields::STATM) {
            entry.sample.statm = if self.by_thread {
                self.file_of_life(pid, c"statm", Statm::parse)?
            } else {
                self.hot(pid, entry, Hot::Statm, c"statm", Statm::parse)?
            };
        }
        if fields.contains(Fields::SCHEDSTAT) {
            let schedstat = self.hot(pid, entry, Hot::Schedstat, c"schedstat", Schedstat::parse)?;
            // Zeros of a process that has run: the kernel keeps no such figures.
            let is_kept = entry.sample.cpu.total_ns == 0 || !schedstat.value().is_some_and(Schedstat::is_zero);
            entry.sample.schedstat = if is_kept { schedstat } else { Reading::Unsupported };
        }
        if fields.contains(Fields::LIMITS) {
            entry.sample.limits = self.file(pid, c"limits", Limits::parse)?.map(Arc::new);
        }
        if fields.contains(Fields::FD_COUNT) {
            let count = self.by_life(pid, |dir| fd_count(dir, FEW_FDS, || true));
            let count = self.reading(pid, count)?;
            entry.slow.many_fds = count == Reading::Value(None);
            if !entry.slow.many_fds {
                entry.sample.fd_count = count.map(Option::unwrap_or_default);
            }
        }
        if fields.contains(Fields::NAMESPACES) {
            let found = self.by_life(pid, |dir| namespaces(dir));
            let mut found = self.reading(pid, found)?;
            if let Reading::Value(found) = &mut found {
                let status = self.file(pid, c"status", Status::parse)?;
                found.ns_pids = status.into_value().map(|status| status.ns_pid).unwrap_or_default();
            }
            entry.sample.namespaces = found.map(Arc::new);
        }
        if fields.contains(Fields::OOM) {
            let score = self.file(pid, c"oom_score", |bytes| Ok(bytes.to_vec()))?;
            entry.sample.oom = match score {
                Reading::Value(score) => self.file(pid, c"oom_score_adj", |adj| Oom::parse(&score, adj))?,
                other => other.map(|_| Oom::default()),
            };
        }
        Ok(())
    }

    /// The I/O counters of a process whose main thread has exited, where they may be read of another one only.
    fn io_by_thread(&mut self, pid: u32) -> Result<Reading<Io>, Failure> {
        self.place(pid)?;
        let Some(place) = &self.place else { return Err(Errno::NOENT.into()) };
        match load_io(self.reader.procfs.dir(), place.as_fd(), pid, &mut self.reader.buffer) {
            Ok(Some(())) => Ok(self.parsed(Io::parse)),
            Ok(None) => Ok(Reading::Denied),
            Err(errno) => self.reading(pid, Err(errno)),
        }
    }

    /// Reads a link; keeps what is known of a process that has lost its own by ending.
    fn link(
        &mut self,
        pid: u32,
        name: &std::ffi::CStr,
        link: &mut Reading<WirePath>,
        line: &Line,
    ) -> Result<(), Failure> {
        if line.kernel_thread && name == c"exe" {
            *link = Reading::NotApplicable;
            return Ok(());
        }
        let target = self.by_life(pid, |dir| rustix::fs::readlinkat(dir, name, Vec::new()));
        match target {
            Ok(target) => *link = Reading::Value(WirePath::from(target.into_bytes())),
            Err(Errno::NOENT | Errno::SRCH) if line.exited || line.kernel_thread => {
                if link.value().is_none() {
                    *link = Reading::NotApplicable;
                }
            }
            Err(errno) => *link = self.reading(pid, Err(errno))?,
        }
        Ok(())
    }

    /// Reads a file that is kept open for a process that runs.
    fn hot<T>(
        &mut self,
        pid: u32,
        entry: &mut Entry,
        file: Hot,
        name: &std::ffi::CStr,
        parse: fn(&[u8]) -> crate::Result<T>,
    ) -> Result<Reading<T>, Failure> {
        match self.load(pid, entry, file, name) {
            Ok(()) => Ok(self.parsed(parse)),
            Err(errno) => self.reading(pid, Err(errno)),
        }
    }

    /// Reads a file that is opened each time.
    fn file<T>(
        &mut self,
        pid: u32,
        name: &std::ffi::CStr,
        parse: impl FnOnce(&[u8]) -> crate::Result<T>,
    ) -> Result<Reading<T>, Failure> {
        let fd = match self.open(pid, name) {
            Ok(fd) => fd,
            Err(errno) => return self.reading(pid, Err(errno)),
        };
        match self.reader.buffer.load_to_end(fd) {
            Ok(()) => Ok(self.parsed(parse)),
            Err(errno) => self.reading(pid, Err(errno)),
        }
    }

    /// Reads a file that is of each thread, of one that lives.
    fn file_of_life<T>(
        &mut self,
        pid: u32,
        name: &std::ffi::CStr,
        parse: impl FnOnce(&[u8]) -> crate::Result<T>,
    ) -> Result<Reading<T>, Failure> {
        if self.by_thread {
            match self.load_of_thread(pid, name) {
                Ok(Some(())) => return Ok(self.parsed(parse)),
                Ok(None) => {}
                Err(errno) => return self.reading(pid, Err(errno)),
            }
        }
        self.file(pid, name, parse)
    }

    /// Loads a file of a thread that lives; `None` where none does any more.
    fn load_of_thread(&mut self, pid: u32, name: &std::ffi::CStr) -> rustix::io::Result<Option<()>> {
        self.place(pid)?;
        let Some(place) = &self.place else { return Err(Errno::NOENT) };
        let buffer = &mut self.reader.buffer;
        by_living_thread(place.as_fd(), pid, |thread| {
            let fd = file::open(thread, name)?;
            buffer.load_to_end(fd)
        })
    }

    /// Reads what every thread of the process has, by the directory of one that has it still.
    fn by_life<T>(
        &mut self,
        pid: u32,
        mut read: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        let by_thread = self.by_thread;
        self.place(pid)?;
        let Some(place) = &self.place else { return Err(Errno::NOENT) };
        let place = place.as_fd();
        if by_thread && let Some(found) = by_living_thread(place, pid, &mut read)? {
            return Ok(found);
        }
        read(place)
    }

    fn parsed<T>(&mut self, parse: impl FnOnce(&[u8]) -> crate::Result<T>) -> Reading<T> {
        parse(self.reader.buffer.last()).map_or(Reading::Failed, Reading::Value)
    }

    /// What a failed call says of one field, while the process itself is fine.
    fn reading<T>(&mut self, pid: u32, result: rustix::io::Result<T>) -> Result<Reading<T>, Failure> {
        match result {
            Ok(value) => Ok(Reading::Value(value)),
            Err(errno) => {
                self.reader.short |= is_shortage(errno);
                if matches!(errno, Errno::NOENT | Errno::SRCH) {
                    // Is the file missing, or the process?
                    let stat = self.open(pid, c"stat").map_err(|_| errno)?;
                    self.reader.buffer.load(stat).map_err(|_| errno)?;
                }
                Ok(unavailable(errno))
            }
        }
    }

    /// Loads a hot file into the buffer: by the descriptor that is kept for it, else by a new one.
    fn load(&mut self, pid: u32, entry: &mut Entry, file: Hot, name: &std::ffi::CStr) -> rustix::io::Result<()> {
        if let Some(fd) = entry.kept.get(file) {
            match self.reader.buffer.load(fd) {
                // Of a process that has ended; the pid can be another's by now.
                Err(Errno::NOENT | Errno::SRCH) => self.plan.budget.close(&mut entry.kept, file),
                loaded => return loaded,
            }
        }
        let fd = if self.still && file == Hot::Stat {
            // The only file, most likely; and it says itself whose it is.
            let path = PidPath::new(pid).join(name);
            self.reader.opener.open(self.reader.procfs.dir(), path.as_c_str())?
        } else {
            self.open(pid, name)?
        };
        self.reader.buffer.load(&fd)?;
        if self.keep && !self.reader.opener.starved {
            self.plan.budget.keep(&mut entry.kept, file, fd);
        }
        Ok(())
    }

    fn open(&mut self, pid: u32, name: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
        if self.place.is_none() {
            self.place(pid)?;
        }
        let Some(place) = &self.place else { return Err(Errno::NOENT) };
        self.reader.opener.open(place, name)
    }

    /// The process's directory: all that is opened from it is of one process, or fails.
    fn place(&mut self, pid: u32) -> rustix::io::Result<BorrowedFd<'_>> {
        let place = match self.place.take() {
            Some(place) => place,
            None => self.reader.opener.open_place(self.reader.procfs.dir(), PidPath::new(pid).as_c_str())?,
        };
        let place: &OwnedFd = self.place.insert(place);
        Ok(place.as_fd())
    }
}

/// What the stat line tells beside the counters.
struct Line {
    renamed: bool,
    reparented: bool,
    name: Option<Text>,
    kernel_thread: bool,
    marks: Marks,
    /// The process ended, or is about to: it has given up what it had.
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
