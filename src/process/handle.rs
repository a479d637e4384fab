//! One process, and its files read one by one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::file::{Buffer, open};
use super::procfs::ProcFs;
use super::stat::StatLine;
use super::thread::{by_any_thread, by_living_thread, load_io, main_thread_has_exited};
use super::{
    CgroupPaths, Environ, Io, Limits, Namespaces, Oom, ProcessId, Schedstat, SmapsRollup, Stat, Statm, Status, args,
};
use crate::{Error, Result, Text, WirePath};

/// One process, for reading its files when they are wanted: no stream, no cache, no runtime.
///
/// It holds the process's directory open. When the process ends, every method returns [`Error::is_not_found`], also after its pid has been
/// reused. [`AsyncProcess`](crate::process::AsyncProcess) has the same methods for async code.
///
/// Where the main thread has exited and others live, `/proc/PID` shows zeros and empty files for values that the process still has. Values
/// of the whole process (memory, descriptors, links, namespaces, control groups, ids) are then read from another thread, at
/// `/proc/PID/task/TID`.
///
/// # Errors
///
/// Each method returns [`Error::is_not_found`] when the process has ended, [`Error::is_unsupported`] when it exists but this kernel does
/// not have the file or the process has none (the executable of a kernel thread), [`Error::is_denied`] when the kernel refuses it, and
/// [`Error::is_malformed`] when its content cannot be parsed. Any other failure is an I/O error: the kernel has no way to show a path
/// longer than `PATH_MAX`.
///
/// ```
/// let me = appmon::ProcFs::new("/proc")?.process(std::process::id())?;
/// println!("{} threads, {:?} bytes read", me.stat()?.num_threads, me.io()?.read_bytes);
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Debug)]
pub struct Process {
    procfs: ProcFs,
    dir: OwnedFd,
    id: ProcessId,
}

impl ProcFs {
    /// Opens a process, and holds it so that a later one of the same pid is never mistaken for it.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] when there is none of that pid, or a thread only; [`Error::is_denied`] when it is hidden.
    pub fn process(&self, pid: u32) -> Result<Process> {
        Process::open(self.clone(), pid)
    }
}

impl Process {
    /// Opens this process, by `/proc/self`.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_found`] where `/proc` is not there, or is that of a pid namespace that this process is not in.
    ///
    /// ```
    /// let me = appmon::process::Process::current()?;
    /// assert_eq!(me.id().pid, std::process::id());
    /// # Ok::<(), appmon::Error>(())
    /// ```
    pub fn current() -> Result<Self> {
        let procfs = ProcFs::new("/proc")?;
        // The pid that this /proc has for it, which need not be the one that it has for itself.
        let own = rustix::fs::readlinkat(procfs.dir(), c"self", Vec::new())
            .map_err(|errno| Error::os(errno).at(procfs.path().join("self")))?;
        let pid = crate::number::decimal(own.as_bytes()).ok_or_else(|| Error::os(Errno::NOENT).at("/proc/self"))?;
        Self::open(procfs, pid)
    }

    pub(crate) fn open(procfs: ProcFs, pid: u32) -> Result<Self> {
        let path = procfs.path().join(pid.to_string());
        let dir = rustix::fs::openat(
            procfs.dir(),
            pid.to_string(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Error::os(errno).at(&path))?;
        let mut process = Self { procfs, dir, id: ProcessId { pid, start_ticks: 0 } };
        let stat = process.stat()?;
        if stat.pid != pid {
            // The kernel finds threads by path too, without listing them.
            return Err(Error::os(Errno::NOENT).at(path));
        }
        process.id.start_ticks = stat.start_ticks;
        // A thread's directory looks like a process's, but its thread group is another. Other faults of the file do not matter here.
        let mut buffer = Buffer::new();
        let status = open(&process.dir, "status").and_then(|fd| buffer.read_to_end(fd));
        match status.ok().and_then(Status::tgid_in) {
            Some(tgid) if tgid != pid => Err(Error::os(Errno::NOENT).at(path)),
            _ => Ok(process),
        }
    }

    /// Returns the identity of the process.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Reads `/proc/PID/stat`: all fields, in the kernel's units. The fields of the main thread alone (`state`, `nice`, `priority`,
    /// `policy`, `processor`, `wchan` …) stay so when that has exited; the memory is then that of another thread.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn stat(&self) -> Result<Stat> {
        let (mut stat, exited) = self.parse("stat", |line| {
            StatLine::parse(line).map(|line| (Stat::from(line), line.has_lost_its_main_thread()))
        })?;
        if exited && let Some(thread) = self.of_thread("stat", Stat::parse)? {
            stat.take_memory(&thread);
        }
        Ok(stat)
    }

    /// Reads `/proc/PID/status`: all lines, unknown ones kept. Name, state, pid and context switches stay those of the main thread when
    /// that has exited; the rest is then that of another thread.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn status(&self) -> Result<Status> {
        let status = self.parse("status", Status::parse)?;
        if self.has_lost_its_main_thread()
            && let Some(thread) = self.of_thread("status", Status::parse)?
        {
            return Ok(status.with_living(thread));
        }
        Ok(status)
    }

    /// Reads `/proc/PID/io`: its I/O counters. Requires the right to trace the process.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn io(&self) -> Result<Io> {
        let io = self.parse("io", Io::parse);
        if io.as_ref().is_err_and(Error::is_denied) && self.has_lost_its_main_thread() {
            let mut buffer = Buffer::new();
            if load_io(self.procfs.dir(), self.dir.as_fd(), self.id.pid, &mut buffer) == Ok(Some(())) {
                return Io::parse(buffer.last()).map_err(|error| error.at(self.path("io")));
            }
        }
        io
    }

    /// Reads `/proc/PID/statm`: its memory, in pages.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn statm(&self) -> Result<Statm> {
        let statm = self.parse("statm", Statm::parse)?;
        if statm.size_pages == Some(0) && self.has_lost_its_main_thread() {
            return Ok(self.of_thread("statm", Statm::parse)?.unwrap_or(statm));
        }
        Ok(statm)
    }

    /// Reads `/proc/PID/schedstat`: how long its main thread ran and waited to run. It no longer changes when that has exited.
    ///
    /// # Errors
    ///
    /// See [`Process`]. A kernel that keeps no such figures has zeros in the file of a process that ran:
    /// [`Error::is_unsupported`].
    pub fn schedstat(&self) -> Result<Schedstat> {
        let schedstat = self.parse("schedstat", Schedstat::parse)?;
        if schedstat.is_zero() {
            let stat = self.stat()?;
            if stat.utime_ticks.saturating_add(stat.stime_ticks) > 0 {
                return Err(Error::unsupported().at(self.path("schedstat")));
            }
        }
        Ok(schedstat)
    }

    /// Reads `/proc/PID/smaps_rollup`: its memory, exactly. Walks the page tables: milliseconds for a large process, and it can wait for
    /// the process's own memory lock.
    ///
    /// # Errors
    ///
    /// See [`Process`]. A kernel thread has none.
    pub fn smaps_rollup(&self) -> Result<SmapsRollup> {
        self.parse_memory("smaps_rollup", SmapsRollup::parse)
    }

    /// Reads `/proc/PID/limits`: its resource limits.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn limits(&self) -> Result<Limits> {
        self.parse("limits", Limits::parse)
    }

    /// Reads `/proc/PID/cgroup`: the control groups it is in, one for each hierarchy.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn cgroup(&self) -> Result<CgroupPaths> {
        // The kernel shows an exited thread in the root of the hierarchies of version 1, and moves it no more.
        if self.has_lost_its_main_thread()
            && let Some(cgroups) = self.of_thread("cgroup", CgroupPaths::parse)?
        {
            return Ok(cgroups);
        }
        self.parse("cgroup", CgroupPaths::parse)
    }

    /// Reads `/proc/PID/cmdline`: its arguments, program first; none for kernel threads and zombies. May hold secrets. Can wait for the
    /// process's own memory lock.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn cmdline(&self) -> Result<Vec<Text>> {
        self.parse_memory("cmdline", |bytes| Ok(args::parse_cmdline(bytes)))
    }

    /// Reads `/proc/PID/environ`: the environment it was started with. Holds secrets more often than not. Can wait for the process's own
    /// memory lock.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn environ(&self) -> Result<Environ> {
        self.parse_memory("environ", |bytes| Ok(Environ::parse(bytes)))
    }

    /// Reads `/proc/PID/exe`: its executable, with ` (deleted)` at its end when that is so.
    ///
    /// # Errors
    ///
    /// See [`Process`]. A kernel thread and a zombie have none: [`Error::is_unsupported`].
    pub fn exe(&self) -> Result<WirePath> {
        self.link("exe")
    }

    /// Reads `/proc/PID/cwd`: its working directory.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn cwd(&self) -> Result<WirePath> {
        self.link("cwd")
    }

    /// Counts the file descriptors that it has open: the entries of `/proc/PID/fd`.
    ///
    /// The size of that directory (since Linux 6.2) is not the same: it has the numbers too that `accept(2)` and `open(2)`
    /// reserve while they wait. Counting takes about half a microsecond for each descriptor, several at first.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn fd_count(&self) -> Result<u64> {
        self.by_any_thread("fd", |dir| fd_count(dir, u64::MAX, || true)).map(Option::unwrap_or_default)
    }

    /// Reads the namespaces it is in, by the links in `/proc/PID/ns`, and its pids in the pid namespaces inside that of this /proc, from
    /// `NSpid` in `/proc/PID/status`.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn namespaces(&self) -> Result<Namespaces> {
        let mut namespaces = self.by_any_thread("ns", |dir| namespaces(dir))?;
        namespaces.ns_pids = self.parse("status", Status::parse)?.ns_pid;
        Ok(namespaces)
    }

    /// Reads `/proc/PID/oom_score` and `oom_score_adj`: how likely the out-of-memory killer is to kill it.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn oom(&self) -> Result<Oom> {
        let read = |file| self.parse(file, |bytes| Ok(bytes.to_vec()));
        match (read("oom_score"), read("oom_score_adj")) {
            (Err(error), Err(_)) => Err(error),
            (score, adj) => Oom::parse(&score.unwrap_or_default(), &adj.unwrap_or_default()),
        }
    }

    fn parse<T>(&self, file: &str, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let mut buffer = Buffer::new();
        let read = open(&self.dir, file).and_then(|fd| buffer.read_to_end(fd));
        let bytes = read.map_err(|errno| self.failed(errno, file))?;
        parse(bytes).map_err(|error| error.at(self.path(file)))
    }

    /// Reads a file of the memory of the process: empty, or not to be read, where its main thread has exited.
    fn parse_memory<T>(&self, file: &str, parse: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        let mut buffer = Buffer::new();
        let read = open(&self.dir, file).and_then(|fd| buffer.load_to_end(fd));
        let nothing = buffer.last().is_empty() || read.is_err();
        if nothing
            && self.has_lost_its_main_thread()
            && let Some(found) = self.of_thread(file, &parse)?
        {
            return Ok(found);
        }
        read.map_err(|errno| self.failed(errno, file))?;
        parse(buffer.last()).map_err(|error| error.at(self.path(file)))
    }

    /// Reads a file of a thread that lives, where the main thread has exited; `None` where none does any more.
    fn of_thread<T>(&self, file: &str, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        let mut buffer = Buffer::new();
        let read = by_living_thread(self.dir.as_fd(), self.id.pid, |thread| {
            open(thread, file).and_then(|fd| buffer.load_to_end(fd))
        });
        match read.map_err(|errno| self.failed(errno, file))? {
            Some(()) => parse(buffer.last()).map(Some).map_err(|error| error.at(self.path(file))),
            None => Ok(None),
        }
    }

    /// Reads a property shared by all threads of the process, from the directory of one that still has it.
    fn by_any_thread<T>(&self, file: &str, read: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>) -> Result<T> {
        by_any_thread(self.dir.as_fd(), self.id.pid, read).map_err(|errno| self.failed(errno, file))
    }

    fn has_lost_its_main_thread(&self) -> bool {
        main_thread_has_exited(&self.dir, &mut Buffer::new()).unwrap_or(false)
    }

    fn link(&self, name: &str) -> Result<WirePath> {
        let target = self.by_any_thread(name, |dir| rustix::fs::readlinkat(dir, name, Vec::new()))?;
        Ok(WirePath::from(target.into_bytes()))
    }

    fn failed(&self, errno: Errno, file: &str) -> Error {
        let missing = matches!(errno, Errno::NOENT | Errno::SRCH | Errno::INVAL | Errno::OPNOTSUPP) && file != "stat";
        let error = if missing && self.is_there() { Error::unsupported() } else { Error::os(errno) };
        error.at(self.path(file))
    }

    fn is_there(&self) -> bool {
        open(&self.dir, "stat").and_then(|fd| Buffer::new().load(fd)).is_ok()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.procfs.path().join(self.id.pid.to_string()).join(file)
    }
}

/// After how many descriptors a count polls whether it is still wanted: half a millisecond.
const FDS_PER_POLL: u64 = 1024;

/// Counts the entries of `fd` in the directory of a process or a thread; `None` where there are more than `most`. Fails when
/// `wanted` is not true any more.
pub(crate) fn fd_count(dir: impl AsFd, most: u64, wanted: impl Fn() -> bool) -> rustix::io::Result<Option<u64>> {
    let fds = rustix::fs::openat(dir, "fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Since Linux 6.2 its size is how many numbers are taken: never less than there are entries.
    let size = u64::try_from(rustix::fs::fstat(&fds)?.st_size).unwrap_or(0);
    if size > most {
        return Ok(None);
    }
    let mut buffer = Vec::with_capacity(1 << 15);
    let mut entries = rustix::fs::RawDir::new(fds, buffer.spare_capacity_mut());
    let mut count = 0_u64;
    while let Some(entry) = entries.next() {
        if !entry?.file_name().to_bytes().starts_with(b".") {
            count = count.saturating_add(1);
            if count > most {
                return Ok(None);
            }
            if count.is_multiple_of(FDS_PER_POLL) && !wanted() {
                return Err(Errno::CANCELED);
            }
        }
    }
    Ok(Some(count))
}

/// Reads the links in `ns` of the directory of a process or a thread.
pub(crate) fn namespaces(dir: impl AsFd) -> rustix::io::Result<Namespaces> {
    let links = rustix::fs::openat(dir, "ns", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut found = Namespaces::default();
    let mut denied = None;
    let mut space = Vec::with_capacity(1024);
    let mut entries = rustix::fs::RawDir::new(&links, space.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        match rustix::fs::readlinkat(&links, name, Vec::new()) {
            Ok(target) => {
                found.set(name.to_bytes(), target.as_bytes());
            }
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => denied = Some(errno),
            // `.` and `..`, which are no links.
            Err(_) => {}
        }
    }
    match denied {
        Some(errno) => Err(errno),
        None => Ok(found),
    }
}
