//! A process whose main thread has exited: what is known of it by another thread that lives.
//!
//! The main thread gave up its memory, its descriptors, its directories and its namespaces when it exited, and
//! `/proc/PID` is of the main thread: it has zeros there, empty files, links to nothing. `/proc/PID/task/TID` of a thread
//! that lives has what the process has.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::ProcessState;
use super::file::Buffer;
use super::number::decimal;
use super::stat::StatLine;

/// The kernel's flag of a thread that is exiting, in field 9 of `/proc/PID/stat`: set before it gives up anything.
const PF_EXITING: u32 = 0x4;

/// How many threads are tried, and how often they are listed, before the question is left for later.
const MOST_THREADS: usize = 256;
const MOST_LISTINGS: usize = 4;

impl StatLine<'_> {
    /// Whether the thread that it is about has exited, or is about to.
    pub(crate) fn has_exited(&self) -> bool {
        matches!(self.state, ProcessState::Zombie | ProcessState::Dead) || self.flags & PF_EXITING != 0
    }

    /// Whether it is of a process that has other threads than this main thread, which has exited.
    pub(crate) fn has_lost_its_main_thread(&self) -> bool {
        self.num_threads > 1 && self.has_exited()
    }
}

/// Reads what every thread of the process `pid` in `dir` has: `read` gets the directory of one that has it still.
pub(crate) fn by_life<T>(
    dir: BorrowedFd<'_>,
    pid: u32,
    mut read: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    if main_thread_has_exited(dir, &mut Buffer::new()).unwrap_or(false)
        && let Some(found) = by_living_thread(dir, pid, &mut read)?
    {
        return Ok(found);
    }
    read(dir)
}

/// Whether the main thread of the process in `dir` has exited while there are others.
pub(crate) fn main_thread_has_exited(dir: impl AsFd, buffer: &mut Buffer) -> rustix::io::Result<bool> {
    Ok(StatLine::parse(stat(dir, buffer)?).is_ok_and(|stat| stat.has_lost_its_main_thread()))
}

/// Gives `read` the directory of a thread that lives, of the process `pid` in `dir`, and returns what it returns. What it
/// read of a thread that exited meanwhile is dropped, and another thread is asked. `None` where all are exiting.
///
/// # Errors
///
/// Those of `read`; `AGAIN` where thread after thread exited before it could be read.
pub(crate) fn by_living_thread<T>(
    dir: BorrowedFd<'_>,
    pid: u32,
    mut read: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
) -> rustix::io::Result<Option<T>> {
    let listed = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = match rustix::fs::openat(dir, c"task", listed, Mode::empty()) {
        Ok(tasks) => tasks,
        // It ended, which whoever reads on will find out; or nobody knows its threads.
        Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let (mut space, mut buffer) = (Vec::with_capacity(4096), Buffer::new());
    let mut exited: Vec<u32> = Vec::new();
    for _ in 0..MOST_LISTINGS {
        rustix::fs::seek(&tasks, SeekFrom::Start(0))?;
        let mut any = false;
        let mut entries = RawDir::new(&tasks, space.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else { return Ok(None) };
            let name = entry.file_name();
            let Some(tid) = decimal(name.to_bytes()).filter(|tid| *tid != pid && !exited.contains(tid)) else {
                continue;
            };
            any = true;
            if exited.len() >= MOST_THREADS {
                return Err(Errno::AGAIN);
            }
            let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::openat(&tasks, name, place, Mode::empty()) {
                Ok(thread) => {
                    let found = read(thread.as_fd());
                    // Looked at afterwards: what it had while it lived is right.
                    if lives(&thread, &mut buffer)? {
                        return found.map(Some);
                    }
                }
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
            exited.push(tid);
        }
        // A thread that was started by one of those is in a listing that began after they exited.
        if !any {
            return Ok(None);
        }
    }
    Err(Errno::AGAIN)
}

fn lives(thread: impl AsFd, buffer: &mut Buffer) -> rustix::io::Result<bool> {
    match stat(thread, buffer) {
        Ok(line) => Ok(StatLine::parse(line).is_ok_and(|stat| !stat.has_exited())),
        Err(Errno::NOENT | Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn stat(dir: impl AsFd, buffer: &mut Buffer) -> rustix::io::Result<&[u8]> {
    let fd = rustix::fs::openat(dir, c"stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    buffer.read(fd)
}
