//! The files that can block on the process they are about: when they are due, and how they are read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::file::{self, Buffer, PidPath, owner, unavailable};
use super::handle::fd_count;
use super::procfs::ProcFs;
use super::stat::StatLine;
use super::text_budget::{Held, TextBudget, bytes_of_arguments, bytes_of_environ};
use super::thread::{by_any_thread, by_living_thread, main_thread_has_exited};
use super::{Environ, ProcessId, SmapsRollup, args};
use crate::{Reading, Text};

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cmdline,
    Environ,
    SmapsRollup,
    /// The number of descriptors, where they are many.
    FdCount,
}

/// One file to be read.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) procfs: ProcFs,
    pub(crate) kind: Kind,
    pub(crate) id: ProcessId,
    /// The inode number of the process's directory when its identity was last known.
    pub(crate) ino: u64,
    /// Gone when the result is no longer wanted.
    pub(crate) wanted: Weak<()>,
    pub(crate) budget: Arc<TextBudget>,
    /// The part of the budget that the text before takes.
    pub(crate) held: Option<Held>,
}

/// The result of a job.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    pub(crate) id: ProcessId,
    pub(crate) content: Content,
    /// The part of the budget that the text takes when the job is done.
    pub(crate) held: Option<Held>,
}

#[derive(Debug)]
pub(crate) enum Content {
    Cmdline(Reading<Vec<Text>>),
    Environ(Reading<Environ>),
    SmapsRollup(Reading<Arc<SmapsRollup>>),
    FdCount(Reading<u64>),
    /// The process ended, or its pid is another's.
    Gone,
}

impl Content {
    /// Whether nothing was read, so that it is to be tried again.
    pub(crate) fn is_missed(&self) -> bool {
        matches!(
            self,
            Self::Cmdline(Reading::Skipped)
                | Self::Environ(Reading::Skipped)
                | Self::SmapsRollup(Reading::Skipped)
                | Self::FdCount(Reading::Skipped)
                | Self::Gone
        )
    }
}

/// Reads one file; runs on a thread of the slow pool.
pub(crate) fn work(mut job: Job) -> Answer {
    let mut buffer = Buffer::new();
    let most = usize::try_from(job.budget.most(job.held.as_ref())).unwrap_or(usize::MAX);
    let (mut before, mut held) = (job.held.take(), None);
    let mut keep = |bytes: u64| {
        held = job.budget.take(bytes, before.take());
        held.is_some()
    };
    let content = match job.kind {
        Kind::Cmdline => read(&job, &mut buffer, c"cmdline", most, |bytes| match bytes {
            // That of a process that is ending.
            b"" => Reading::NotApplicable,
            bytes if has_too_many(bytes) => Reading::Failed,
            bytes => {
                let arguments = args::parse_cmdline(bytes);
                if keep(bytes_of_arguments(&arguments)) { Reading::Value(arguments) } else { Reading::Failed }
            }
        })
        .map(Content::Cmdline),
        Kind::Environ => {
            let environ = |bytes: &[u8]| match bytes {
                bytes if has_too_many(bytes) => Reading::Failed,
                bytes => {
                    let environ = Environ::parse(bytes);
                    if keep(bytes_of_environ(&environ)) { Reading::Value(environ) } else { Reading::Failed }
                }
            };
            read(&job, &mut buffer, c"environ", most, environ).map(Content::Environ)
        }
        Kind::SmapsRollup => read(&job, &mut buffer, c"smaps_rollup", usize::MAX, |bytes| match bytes {
            // That of a process without memory.
            b"" => Reading::NotApplicable,
            bytes => SmapsRollup::parse(bytes).map_or(Reading::Failed, Reading::Value),
        })
        .map(|rollup| Content::SmapsRollup(rollup.map(Arc::new))),
        Kind::FdCount => count_fds(&job, &mut buffer).map(Content::FdCount),
    };
    let content = content.unwrap_or(Content::Gone);
    if matches!(content, Content::Gone) {
        // Its known values stay.
        held = before;
    }
    Answer { kind: job.kind, id: job.id, content, held }
}

/// Reads a file of the job's process, of `most` bytes; `None` where that is not there any more.
fn read<T>(
    job: &Job,
    buffer: &mut Buffer,
    name: &std::ffi::CStr,
    most: usize,
    parse: impl FnOnce(&[u8]) -> Reading<T>,
) -> Option<Reading<T>> {
    let dir = match place(job, buffer) {
        Ok(dir) => dir,
        Err(answer) => return answer,
    };
    let mut load = |dir: BorrowedFd<'_>| {
        let fd = file::open_waiting(dir, name)?;
        buffer.load_to_end_within(fd, most)?;
        Ok(buffer.last().is_empty())
    };
    let mut loaded = load(dir.as_fd());
    // Nothing to be had: that of a main thread that has exited. Other threads may have it still.
    if !matches!(loaded, Ok(false)) && main_thread_has_exited(&dir, &mut Buffer::new()).unwrap_or(false) {
        match by_living_thread(dir.as_fd(), job.id.pid, &mut load) {
            Ok(Some(empty)) => loaded = Ok(empty),
            Ok(None) => {}
            Err(errno) => loaded = Err(errno),
        }
    }
    match loaded {
        Ok(true) => Some(parse(b"")),
        Ok(false) => Some(parse(buffer.last())),
        Err(errno) => failed(errno, job, &dir, buffer),
    }
}

/// Counts the descriptors of the job's process; `None` where that is not there any more.
fn count_fds(job: &Job, buffer: &mut Buffer) -> Option<Reading<u64>> {
    let dir = match place(job, buffer) {
        Ok(dir) => dir,
        Err(answer) => return answer,
    };
    match by_any_thread(dir.as_fd(), job.id.pid, |dir| fd_count(dir, u64::MAX, || job.wanted.strong_count() > 0)) {
        Ok(count) => Some(Reading::Value(count.unwrap_or_default())),
        Err(errno) => failed(errno, job, &dir, buffer),
    }
}

/// The directory of the job's process, or the result to return instead.
fn place<T>(job: &Job, buffer: &mut Buffer) -> Result<OwnedFd, Option<Reading<T>>> {
    let pid = PidPath::new(job.id.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(job.procfs.dir(), pid.as_c_str(), flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::SRCH) => return Err(None),
        Err(errno) => return Err(Some(unavailable(errno))),
    };
    let same = owner(&dir, c"").is_ok_and(|owner| owner.ino == job.ino) || is_still(job.id, &dir, buffer);
    if same { Ok(dir) } else { Err(None) }
}

/// The meaning of a failed call on a file; `None` where the process does not exist any more.
fn failed<T>(errno: Errno, job: &Job, dir: &OwnedFd, buffer: &mut Buffer) -> Option<Reading<T>> {
    let gone = matches!(errno, Errno::NOENT | Errno::SRCH) && !is_still(job.id, dir, buffer);
    (!gone).then(|| unavailable(errno))
}

fn is_still(id: ProcessId, dir: &OwnedFd, buffer: &mut Buffer) -> bool {
    file::open(dir, c"stat")
        .and_then(|fd| buffer.load(fd))
        .is_ok_and(|()| StatLine::parse(buffer.last()).is_ok_and(|stat| stat.start_ticks == id.start_ticks))
}

/// Arguments or variables that one process may have here. Each takes some fifty bytes in addition to its text, and any user can have a
/// command line of any number of them that takes no memory of its own.
const MOST_PIECES: usize = 1 << 16;

fn has_too_many(file: &[u8]) -> bool {
    // Filling behind a title is no piece.
    let end = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    file.get(..end).unwrap_or_default().iter().filter(|byte| **byte == 0).count() >= MOST_PIECES
}
