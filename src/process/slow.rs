//! The files that can block on the process they are about: when they are due, and how they are read.

use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::file::{Buffer, PidPath, owner};
use super::handle::living_thread;
use super::procfs::ProcFs;
use super::stat::StatLine;
use super::{Environ, ProcessId, SmapsRollup, args};
use crate::{Reading, Text};

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cmdline,
    Environ,
    SmapsRollup,
}

/// One file to be read.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) procfs: ProcFs,
    pub(crate) kind: Kind,
    pub(crate) id: ProcessId,
    /// The inode number of the process's directory when its identity was last known.
    pub(crate) ino: u64,
    /// Whether its main thread has exited while others live.
    pub(crate) leaderless: bool,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    pub(crate) id: ProcessId,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Cmdline(Reading<Vec<Text>>),
    Environ(Reading<Environ>),
    SmapsRollup(Reading<Arc<SmapsRollup>>),
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
                | Self::Gone
        )
    }
}

/// Reads one file; runs on a thread of the lane.
pub(crate) fn work(job: Job) -> Answer {
    let mut buffer = Buffer::new();
    let content = match job.kind {
        Kind::Cmdline => read(&job, &mut buffer, c"cmdline", |bytes| {
            // That of a process that is ending is empty.
            (!bytes.is_empty()).then(|| args::parse_cmdline(bytes))
        })
        .map(Content::Cmdline),
        Kind::Environ => read(&job, &mut buffer, c"environ", |bytes| Some(Environ::parse(bytes))).map(Content::Environ),
        Kind::SmapsRollup => read(&job, &mut buffer, c"smaps_rollup", |bytes| {
            // A process without memory (a zombie) has an empty one.
            if bytes.is_empty() { None } else { SmapsRollup::parse(bytes).ok() }
        })
        .map(|rollup| Content::SmapsRollup(rollup.map(Arc::new))),
    };
    Answer { kind: job.kind, id: job.id, content: content.unwrap_or(Content::Gone) }
}

/// Reads a file of the job's process; `None` where that is not there any more.
fn read<T>(
    job: &Job,
    buffer: &mut Buffer,
    name: &std::ffi::CStr,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<Reading<T>> {
    let pid = PidPath::new(job.id.pid);
    let dir = rustix::fs::openat(
        job.procfs.dir(),
        pid.as_c_str(),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let dir = match dir {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::SRCH) => return None,
        Err(_) => return Some(Reading::Skipped),
    };
    if owner(&dir, c"").ok()?.ino != job.ino && !is_still(job.id, &dir, buffer) {
        return None;
    }
    let mut load = |path: &std::ffi::CStr| {
        let fd = rustix::fs::openat(&dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        fd.and_then(|fd| buffer.load_to_end(fd))
    };
    // A main thread that has exited has no memory any more, the other threads have.
    let of_thread = job.leaderless.then(|| living_thread(&dir, job.id.pid)).flatten().and_then(|task| {
        let path = format!("task/{task}/{}", name.to_str().ok()?);
        std::ffi::CString::new(path).ok()
    });
    Some(match load(of_thread.as_deref().unwrap_or(name)) {
        Ok(()) => parse(buffer.last()).map_or(Reading::NotApplicable, Reading::Value),
        Err(Errno::ACCESS | Errno::PERM) => Reading::Denied,
        Err(Errno::NOENT | Errno::SRCH) if is_still(job.id, &dir, buffer) => Reading::NotApplicable,
        Err(Errno::NOENT | Errno::SRCH) => return None,
        Err(_) => Reading::Skipped,
    })
}

fn is_still(id: ProcessId, dir: &rustix::fd::OwnedFd, buffer: &mut Buffer) -> bool {
    rustix::fs::openat(dir, c"stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|fd| buffer.load(fd))
        .is_ok_and(|()| StatLine::parse(buffer.last()).is_ok_and(|stat| stat.start_ticks == id.start_ticks))
}
