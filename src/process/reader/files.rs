//! The files of one process: how they are opened, loaded, and kept open.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::Reading;
use crate::process::descriptors::{FdBudget, Hot, Kept};
use crate::process::file::{self, Buffer, Opener, Owner, PidPath, owner, unavailable};
use crate::process::thread::{by_living_thread, load_io};
use crate::process::{Io, ProcFs};

/// The resources that one thread needs to read processes.
#[derive(Debug)]
pub(super) struct ReadResources {
    pub(super) procfs: ProcFs,
    pub(super) buffer: Buffer,
    pub(super) opener: Opener,
    /// Whether there was no descriptor for something of the process that is being read.
    pub(super) short: bool,
}

impl ReadResources {
    pub(super) fn new(procfs: ProcFs) -> Self {
        let opener = Opener::new(procfs.dir());
        Self { procfs, buffer: Buffer::new(), opener, short: false }
    }
}

/// The way to the files of one process, for one visit.
pub(super) struct Files<'a> {
    pub(super) resources: &'a mut ReadResources,
    pub(super) budget: &'a FdBudget,
    pub(super) pid: u32,
    /// The process's directory, once something had to be opened.
    pub(super) place: Option<OwnedFd>,
    /// It has not run since it was last read, so fields that only it can change are known.
    pub(super) still: bool,
    /// Whether to keep opened files open.
    pub(super) keep: bool,
    /// The main thread has exited and others live: those have the properties of the process.
    pub(super) by_thread: bool,
}

pub(super) fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}

impl Files<'_> {
    pub(super) fn start_over(&mut self) {
        self.place = None;
        self.still = false;
        self.keep = false;
    }

    /// The effective user and group, and by the inode number a last check whether this is still the same process.
    pub(super) fn owner(&mut self, ino: u64) -> rustix::io::Result<Owner> {
        if self.by_thread {
            // The main thread keeps the user that it had when it exited, whatever the others do.
            let ino = owner(self.place()?, c"")?.ino;
            return Ok(Owner { ino, ..self.by_any_thread(|dir| owner(dir, c""))? });
        }
        if let Some(place) = &self.place {
            return owner(place, c"");
        }
        let found = owner(self.resources.procfs.dir(), PidPath::new(self.pid).as_c_str())?;
        if found.ino == ino {
            return Ok(found);
        }
        // The kernel made a new inode: for another process, or for the same one after it dropped its caches.
        owner(self.place()?, c"")
    }

    /// The I/O counters of a process whose main thread has exited, where they may be read of another one only.
    pub(super) fn io_by_thread(&mut self) -> rustix::io::Result<Reading<Io>> {
        self.place()?;
        let Some(place) = &self.place else { return Err(Errno::NOENT) };
        match load_io(self.resources.procfs.dir(), place.as_fd(), self.pid, &mut self.resources.buffer) {
            Ok(Some(())) => Ok(self.parsed(Io::parse)),
            Ok(None) => Ok(Reading::Denied),
            Err(errno) => self.reading(Err(errno)),
        }
    }

    /// Reads a file that is kept open for a process that runs.
    pub(super) fn hot<T>(
        &mut self,
        kept: &mut Kept,
        file: Hot,
        name: &CStr,
        parse: fn(&[u8]) -> crate::Result<T>,
    ) -> rustix::io::Result<Reading<T>> {
        match self.load(kept, file, name) {
            Ok(()) => Ok(self.parsed(parse)),
            Err(errno) => self.reading(Err(errno)),
        }
    }

    /// Reads a file that is opened each time.
    pub(super) fn file<T>(
        &mut self,
        name: &CStr,
        parse: impl FnOnce(&[u8]) -> crate::Result<T>,
    ) -> rustix::io::Result<Reading<T>> {
        let fd = match self.open(name) {
            Ok(fd) => fd,
            Err(errno) => return self.reading(Err(errno)),
        };
        match self.resources.buffer.load(fd) {
            Ok(()) => Ok(self.parsed(parse)),
            Err(errno) => self.reading(Err(errno)),
        }
    }

    /// Reads a file that is of each thread, of one that lives.
    pub(super) fn file_of_any_thread<T>(
        &mut self,
        name: &CStr,
        parse: impl FnOnce(&[u8]) -> crate::Result<T>,
    ) -> rustix::io::Result<Reading<T>> {
        if self.by_thread {
            match self.load_of_thread(name) {
                Ok(Some(())) => return Ok(self.parsed(parse)),
                Ok(None) => {}
                Err(errno) => return self.reading(Err(errno)),
            }
        }
        self.file(name, parse)
    }

    /// Loads a file of a thread that lives; `None` where none does any more.
    pub(super) fn load_of_thread(&mut self, name: &CStr) -> rustix::io::Result<Option<()>> {
        self.place()?;
        let Some(place) = &self.place else { return Err(Errno::NOENT) };
        let buffer = &mut self.resources.buffer;
        by_living_thread(place.as_fd(), self.pid, |thread| {
            let fd = file::open(thread, name)?;
            buffer.load_to_end(fd)
        })
    }

    /// Reads a property shared by all threads of the process, from the directory of one that still has it.
    pub(super) fn by_any_thread<T>(
        &mut self,
        mut read: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        let by_thread = self.by_thread;
        self.place()?;
        let Some(place) = &self.place else { return Err(Errno::NOENT) };
        let place = place.as_fd();
        if by_thread && let Some(found) = by_living_thread(place, self.pid, &mut read)? {
            return Ok(found);
        }
        read(place)
    }

    pub(super) fn parsed<T>(&mut self, parse: impl FnOnce(&[u8]) -> crate::Result<T>) -> Reading<T> {
        parse(self.resources.buffer.last()).map_or(Reading::Failed, Reading::Value)
    }

    /// The meaning of a failed call for one field, while the process itself is fine.
    pub(super) fn reading<T>(&mut self, result: rustix::io::Result<T>) -> rustix::io::Result<Reading<T>> {
        match result {
            Ok(value) => Ok(Reading::Value(value)),
            Err(errno) => {
                self.resources.short |= is_shortage(errno);
                if matches!(errno, Errno::NOENT | Errno::SRCH) {
                    // Is the file missing, or the process?
                    let stat = self.open(c"stat").map_err(|_| errno)?;
                    self.resources.buffer.load(stat).map_err(|_| errno)?;
                }
                Ok(unavailable(errno))
            }
        }
    }

    /// Loads a hot file into the buffer: by the descriptor that is kept for it, else by a new one.
    pub(super) fn load(&mut self, kept: &mut Kept, file: Hot, name: &CStr) -> rustix::io::Result<()> {
        if let Some(fd) = kept.get(file) {
            match self.resources.buffer.load(fd) {
                // Of a process that has ended; the pid can be another's by now.
                Err(Errno::NOENT | Errno::SRCH) => self.budget.close(kept, file),
                loaded => return loaded,
            }
        }
        let fd = if self.still && file == Hot::Stat {
            // The only file, most likely; and its content names its process.
            let path = PidPath::new(self.pid).join(name);
            self.resources.opener.open(self.resources.procfs.dir(), path.as_c_str())?
        } else {
            self.open(name)?
        };
        self.resources.buffer.load(&fd)?;
        if self.keep && !self.resources.opener.starved {
            self.budget.keep(kept, file, fd);
        }
        Ok(())
    }

    fn open(&mut self, name: &CStr) -> rustix::io::Result<OwnedFd> {
        if self.place.is_none() {
            self.place()?;
        }
        let Some(place) = &self.place else { return Err(Errno::NOENT) };
        self.resources.opener.open(place, name)
    }

    /// The process's directory: all that is opened from it is of one process, or fails.
    pub(super) fn place(&mut self) -> rustix::io::Result<BorrowedFd<'_>> {
        let place = match self.place.take() {
            Some(place) => place,
            None => self.resources.opener.open_place(self.resources.procfs.dir(), PidPath::new(self.pid).as_c_str())?,
        };
        let place: &OwnedFd = self.place.insert(place);
        Ok(place.as_fd())
    }
}
