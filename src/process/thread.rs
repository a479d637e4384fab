//! A process whose main thread has exited: the data that another, living thread of it still shows.
//!
//! The main thread released its memory, its descriptors, its directories and its namespaces when it exited, and `/proc/PID` is of the main
//! thread: it has zeros there, empty files, links to nothing. `/proc/PID/task/TID` of a thread that lives shows those of the process.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::ProcessState;
use super::file::{self, Buffer, PidPath, owner};
use super::stat::StatLine;
use crate::number::decimal;

/// The kernel's flag of a thread that is exiting, in field 9 of `/proc/PID/stat`: set before it releases anything.
const PF_EXITING: u32 = 0x4;

/// How many threads are read, and how often they are listed, before the reading is put off.
const MOST_LOOKS: usize = 512;
const MOST_LISTINGS: usize = 16;

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

/// Reads a property shared by all threads of the process `pid` in `dir`: `read` gets the directory of one that still has it.
pub(crate) fn by_any_thread<T>(
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

/// Calls `read` with the directory of a thread that lives, of the process `pid` in `dir`, and returns its result. A result from a thread
/// that exited meanwhile is dropped, and another thread is tried. `None` where all are exiting.
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
        // It ended, which the next reading will find out; or its threads are unknown.
        Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let (mut space, mut buffer) = (Vec::with_capacity(4096), Buffer::new());
    let mut looks = 0_usize;
    let mut known: Vec<u32> = Vec::new();
    for _ in 0..MOST_LISTINGS {
        rustix::fs::seek(&tasks, SeekFrom::Start(0))?;
        let (mut exiting, mut gone) = (Vec::new(), false);
        let mut entries = RawDir::new(&tasks, space.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else { return Ok(None) };
            let name = entry.file_name();
            let Some(tid) = decimal(name.to_bytes()).filter(|tid| *tid != pid) else { continue };
            looks = looks.saturating_add(1);
            if looks > MOST_LOOKS {
                return Err(Errno::AGAIN);
            }
            let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let thread = match rustix::fs::openat(&tasks, name, place, Mode::empty()) {
                Ok(thread) => thread,
                Err(Errno::NOENT | Errno::SRCH) => {
                    gone = true;
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            let found = if known.contains(&tid) { None } else { Some(read(thread.as_fd())) };
            // Checked afterwards: a result from while it lived is right.
            match (thread_state(&thread, &mut buffer)?, found) {
                (ThreadState::Alive, Some(found)) => return found.map(Some),
                (ThreadState::Gone, _) => gone = true,
                (ThreadState::Alive | ThreadState::Exiting, _) => exiting.push(tid),
            }
        }
        // All are exiting if there are as many as were seen to, and these are the ones: one that vanished meanwhile may have
        // started another before, and the kernel's list ends where one vanishes.
        let threads = StatLine::parse(stat(dir, &mut buffer)?).map_or(0, |stat| stat.num_threads);
        let all = usize::try_from(threads).is_ok_and(|threads| threads <= exiting.len().saturating_add(1));
        let is_there = |tid: &u32| owner(&tasks, PidPath::new(*tid).as_c_str()).is_ok();
        if !gone && all && exiting.iter().all(is_there) {
            return Ok(None);
        }
        known = exiting;
    }
    Err(Errno::AGAIN)
}

/// Loads the I/O counters of the whole process `pid` in `dir`, by a thread of it that lives; `None` where none does.
///
/// Recent kernels show those of a main thread that has exited to root alone, whoever owns the process. In the root of a proc file system
/// there is a directory for each thread too, though it is not listed, and `io` in there is of all threads, ended ones and children
/// included. While a thread lives, no other has its id.
pub(crate) fn load_io(
    procfs: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    pid: u32,
    buffer: &mut Buffer,
) -> rustix::io::Result<Option<()>> {
    by_living_thread(dir, pid, |thread| {
        let tid = StatLine::parse(stat(thread, buffer)?).map_err(|_| Errno::NOENT)?.pid;
        let path = PidPath::new(tid).join(c"io");
        let fd = file::open(procfs, path.as_c_str())?;
        buffer.load_to_end(fd)
    })
}

enum ThreadState {
    Alive,
    Exiting,
    Gone,
}

fn thread_state(thread: impl AsFd, buffer: &mut Buffer) -> rustix::io::Result<ThreadState> {
    match stat(thread, buffer) {
        Ok(line) if StatLine::parse(line).is_ok_and(|stat| !stat.has_exited()) => Ok(ThreadState::Alive),
        Ok(_) => Ok(ThreadState::Exiting),
        Err(Errno::NOENT | Errno::SRCH) => Ok(ThreadState::Gone),
        Err(errno) => Err(errno),
    }
}

fn stat(dir: impl AsFd, buffer: &mut Buffer) -> rustix::io::Result<&[u8]> {
    let fd = file::open(dir, c"stat")?;
    buffer.read(fd)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(dir: &Path, tid: u32, state: char, flags: u32, threads: u32) {
        std::fs::create_dir_all(dir).unwrap();
        let line = format!("{tid} (x) {state} 0 0 0 0 0 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 7 4096 1\n");
        std::fs::write(dir.join("stat"), line).unwrap();
    }

    /// The thread that is read, of a process with these threads: state, and flags.
    fn thread_read(threads: u32, others: &[(u32, char, u32)]) -> rustix::io::Result<Option<Vec<u8>>> {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 1, 'Z', PF_EXITING, threads);
        write(&root.path().join("task/1"), 1, 'Z', PF_EXITING, threads);
        for (tid, state, flags) in others {
            write(&root.path().join(format!("task/{tid}")), *tid, *state, *flags, threads);
        }
        let dir = std::fs::File::open(root.path()).unwrap();
        assert_eq!(main_thread_has_exited(&dir, &mut Buffer::new()), Ok(threads > 1));
        let mut buffer = Buffer::new();
        by_living_thread(dir.as_fd(), 1, |thread| {
            stat(thread, &mut buffer).map(|line| line.split(|byte| *byte == b' ').next().unwrap().to_vec())
        })
    }

    #[test]
    fn a_thread_that_lives_is_read() {
        assert_eq!(thread_read(2, &[(5, 'S', 0x40_0000)]), Ok(Some(b"5".to_vec())));
        assert_eq!(thread_read(4, &[(5, 'Z', 0), (6, 'R', PF_EXITING), (7, 'D', 0)]), Ok(Some(b"7".to_vec())));
        assert_eq!(thread_read(3, &[(5, 'X', 0), (6, 'R', PF_EXITING)]), Ok(None));
        assert_eq!(thread_read(1, &[]), Ok(None));
        // Where there is one more than can be seen, nothing is known.
        assert_eq!(thread_read(3, &[(5, 'Z', PF_EXITING)]), Err(Errno::AGAIN));
    }

    #[test]
    fn a_failure_of_a_living_thread_is_a_failure() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 1, 'Z', PF_EXITING, 2);
        write(&root.path().join("task/5"), 5, 'S', 0, 2);
        let dir = std::fs::File::open(root.path()).unwrap();
        let found = by_living_thread(dir.as_fd(), 1, |_| Err::<(), _>(Errno::ACCESS));
        assert_eq!(found, Err(Errno::ACCESS));
        // Of a main thread that lives, nothing else is read.
        write(root.path(), 1, 'S', 0, 2);
        let mut read = Vec::new();
        let found = by_any_thread(dir.as_fd(), 1, |at| {
            read.push(owner(at, c"").unwrap().ino);
            Ok(())
        });
        assert_eq!((found, read), (Ok(()), vec![owner(&dir, c"").unwrap().ino]));
    }
}
