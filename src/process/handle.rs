//! One process, and its files read one by one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::file::{Buffer, Owner, owner};
use super::number::decimal;
use super::procfs::ProcFs;
use super::{
    Cgroups, Environ, Io, Limits, Namespaces, Oom, ProcessId, Schedstat, SmapsRollup, Stat, Statm, Status, args,
};
use crate::{Error, Result, Text, WirePath};

/// One process, for reading its files when they are wanted: no stream, no cache, no runtime.
///
/// It holds the process's directory open. When the process ends, every method gives [`Error::is_not_found`], also after
/// its pid has been given to another one. [`AsyncProcess`](crate::AsyncProcess) has the same methods for async code.
///
/// # Errors
///
/// Each method gives [`Error::is_not_found`] when the process has ended or this kernel does not have the file,
/// [`Error::is_denied`] when the kernel refuses it, and [`Error::is_malformed`] when its content is not understood.
///
/// ```
/// let me = appmon::ProcFs::new("/proc")?.process(std::process::id())?;
/// println!("{} threads, {} bytes read", me.stat()?.num_threads, me.io()?.read_bytes);
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Debug)]
pub struct Process {
    procfs: ProcFs,
    dir: OwnedFd,
    id: ProcessId,
}

impl Process {
    pub(crate) fn open(procfs: ProcFs, pid: u32) -> Result<Self> {
        let path = procfs.path().join(pid.to_string());
        let dir = rustix::fs::openat(
            procfs.dir(),
            pid.to_string(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Error::from(errno).at(&path))?;
        let mut process = Self { procfs, dir, id: ProcessId { pid, start_ticks: 0 } };
        let stat = process.stat()?;
        if stat.pid != pid {
            // The kernel finds threads by path too, without listing them.
            return Err(Error::from(Errno::NOENT).at(path));
        }
        process.id.start_ticks = stat.start_ticks;
        // A thread's directory looks like a process's, but its thread group is another.
        match process.status() {
            Ok(status) if status.tgid != pid => Err(Error::from(Errno::NOENT).at(path)),
            Err(error) if error.is_malformed() => Err(error),
            _ => Ok(process),
        }
    }

    /// Which process it is.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// `/proc/PID/stat`: all fields, in the kernel's units.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn stat(&self) -> Result<Stat> {
        self.parse("stat", Stat::parse)
    }

    /// `/proc/PID/status`: all lines, unknown ones kept.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn status(&self) -> Result<Status> {
        self.parse("status", Status::parse)
    }

    /// `/proc/PID/io`: what it read and wrote. Takes the right to trace the process.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn io(&self) -> Result<Io> {
        self.parse("io", Io::parse)
    }

    /// `/proc/PID/statm`: its memory, in pages.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn statm(&self) -> Result<Statm> {
        self.parse("statm", Statm::parse)
    }

    /// `/proc/PID/schedstat`: how long its main thread ran and waited to run.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn schedstat(&self) -> Result<Schedstat> {
        self.parse("schedstat", Schedstat::parse)
    }

    /// `/proc/PID/smaps_rollup`: its memory, exactly. Walks the page tables: milliseconds for a large process, and it can
    /// wait for the process's own memory lock.
    ///
    /// # Errors
    ///
    /// See [`Process`]. A kernel thread has none.
    pub fn smaps_rollup(&self) -> Result<SmapsRollup> {
        self.parse("smaps_rollup", SmapsRollup::parse)
    }

    /// `/proc/PID/limits`: its resource limits.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn limits(&self) -> Result<Limits> {
        self.parse("limits", Limits::parse)
    }

    /// `/proc/PID/cgroup`: the control groups it is in, one for each hierarchy.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn cgroup(&self) -> Result<Cgroups> {
        self.parse("cgroup", Cgroups::parse)
    }

    /// `/proc/PID/cmdline`: its arguments, program first; none for kernel threads and zombies. May hold secrets. Can wait
    /// for the process's own memory lock.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn cmdline(&self) -> Result<Vec<Text>> {
        self.parse("cmdline", |bytes| Ok(args::parse_cmdline(bytes)))
    }

    /// `/proc/PID/environ`: the environment it was started with. Holds secrets more often than not. Can wait for the
    /// process's own memory lock.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn environ(&self) -> Result<Environ> {
        self.parse("environ", |bytes| Ok(Environ::parse(bytes)))
    }

    /// `/proc/PID/exe`: its executable, with ` (deleted)` at its end when that is so.
    ///
    /// # Errors
    ///
    /// See [`Process`]. A kernel thread and a zombie have none: [`Error::is_not_found`].
    pub fn exe(&self) -> Result<WirePath> {
        self.link("exe")
    }

    /// `/proc/PID/cwd`: its working directory.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn cwd(&self) -> Result<WirePath> {
        self.link("cwd")
    }

    /// How many file descriptors it has open: the size of `/proc/PID/fd` since Linux 6.2, the entries counted before.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn fd_count(&self) -> Result<u64> {
        fd_count(&self.dir).map_err(|errno| self.failed(errno, "fd"))
    }

    /// The namespaces it is in, by the links in `/proc/PID/ns`, and its pids in the pid namespaces inside that of this
    /// /proc, from `NSpid` in `/proc/PID/status`.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn namespaces(&self) -> Result<Namespaces> {
        namespaces(&self.dir, &mut Buffer::new()).map_err(|errno| self.failed(errno, "ns"))
    }

    /// `/proc/PID/oom_score` and `oom_score_adj`: how likely the out-of-memory killer takes it.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn oom(&self) -> Result<Oom> {
        let score = self.parse("oom_score", |bytes| Ok(bytes.to_vec()))?;
        self.parse("oom_score_adj", |adj| Oom::parse(&score, adj))
    }

    /// The effective user and group it runs as: the owner of its directory.
    ///
    /// # Errors
    ///
    /// See [`Process`].
    pub fn owner(&self) -> Result<(u32, u32)> {
        // A directory of a process that ended still has an owner, so ask for the process first.
        self.parse("stat", |_| Ok(()))?;
        let Owner { uid, gid, .. } = owner(&self.dir, "").map_err(|errno| self.failed(errno, ""))?;
        Ok((uid, gid))
    }

    fn parse<T>(&self, file: &str, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let mut buffer = Buffer::new();
        let read = open(&self.dir, file).and_then(|fd| buffer.read_to_end(fd));
        let bytes = read.map_err(|errno| self.failed(errno, file))?;
        parse(bytes).map_err(|error| error.at(self.path(file)))
    }

    fn link(&self, name: &str) -> Result<WirePath> {
        let target = rustix::fs::readlinkat(&self.dir, name, Vec::new()).map_err(|errno| self.failed(errno, name))?;
        Ok(WirePath::from(target.into_bytes()))
    }

    fn failed(&self, errno: Errno, file: &str) -> Error {
        Error::from(errno).at(self.path(file))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.procfs.path().join(self.id.pid.to_string()).join(file)
    }
}

fn open(dir: impl AsFd, file: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Counts the open files of the process whose directory is `dir`.
pub(crate) fn fd_count(dir: impl AsFd) -> rustix::io::Result<u64> {
    let fds = rustix::fs::openat(dir, "fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let size = u64::try_from(rustix::fs::fstat(&fds)?.st_size).unwrap_or(0);
    if size > 0 {
        return Ok(size);
    }
    // No files, or a kernel before 6.2.
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = rustix::fs::RawDir::new(fds, buffer.spare_capacity_mut());
    let mut count = 0_u64;
    while let Some(entry) = entries.next() {
        if !entry?.file_name().to_bytes().starts_with(b".") {
            count = count.saturating_add(1);
        }
    }
    Ok(count)
}

/// A thread of process `pid` other than its main one, which has exited.
pub(crate) fn living_thread(dir: impl AsFd, pid: u32) -> Option<u32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = rustix::fs::openat(dir, "task", flags, Mode::empty()).ok()?;
    let mut space = Vec::with_capacity(4096);
    let mut entries = rustix::fs::RawDir::new(tasks, space.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        if let Some(task) = decimal(entry.ok()?.file_name().to_bytes()).filter(|task| *task != pid) {
            return Some(task);
        }
    }
    None
}

/// Reads the namespaces of the process whose directory is `dir`.
pub(crate) fn namespaces(dir: impl AsFd, buffer: &mut Buffer) -> rustix::io::Result<Namespaces> {
    let dir = dir.as_fd();
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
    let status = open(dir, "status").and_then(|fd| buffer.read_to_end(fd))?;
    found.ns_pids = Status::parse(status).map(|status| status.ns_pid).unwrap_or_default();
    match denied {
        Some(errno) => Err(errno),
        None => Ok(found),
    }
}
