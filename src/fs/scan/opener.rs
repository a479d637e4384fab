//! Opens the directories of a scan, with a limited number of descriptors.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::limits::Limits;
use super::node::{Descriptors, Dir, Node};
use super::queue::Queue;
use super::task::Child;
use crate::fs::walk::{self, EntryStat, Fence, LIST, PLACE, descend};

/// Opens directories for one thread.
#[derive(Debug)]
pub(super) struct Opener<'a> {
    descriptors: &'a Arc<Descriptors>,
    queue: &'a Queue,
    limits: &'a Limits<'a>,
    /// Descriptors held in reserve for when the process has no other left.
    reserve: Vec<OwnedFd>,
    /// The directory that was read last: the next one is mostly near to it.
    last: Option<(Arc<Node>, Arc<Dir>)>,
    /// Whether this thread stops when there are no descriptors, because other threads go on.
    gives_up: bool,
}

/// Two are needed: one for the parent, or the step before, and one for the directory to open.
const RESERVE: usize = 2;

/// The number of levels that are climbed by `..` at most.
const CLIMB: usize = 64;

impl<'a> Opener<'a> {
    pub(super) fn new(
        descriptors: &'a Arc<Descriptors>,
        queue: &'a Queue,
        limits: &'a Limits<'a>,
        gives_up: bool,
    ) -> Self {
        let mut opener =
            Self { descriptors, queue, limits, reserve: Vec::with_capacity(RESERVE), last: None, gives_up };
        opener.restore();
        opener
    }

    /// Opens the root of a tree.
    pub(super) fn open_root(&mut self, node: &Node) -> rustix::io::Result<Arc<Dir>> {
        let fd = self.open(CWD, node.name(), LIST, false)?;
        Ok(self.descriptors.hold(fd))
    }

    /// Opens a directory in its parent, which is opened again if it was not kept open.
    /// It returns `EXDEV` if a mount outside of the tree was made there meanwhile.
    pub(super) fn open_child(&mut self, child: &Child, fence: Fence) -> rustix::io::Result<Arc<Dir>> {
        self.restore();
        let parent = match &child.dir {
            Some(dir) => Arc::clone(dir),
            None => self.reopen(&child.parent, fence.is_mount())?,
        };
        let fd = match self.open(parent.as_fd(), &child.name, LIST, !matches!(fence, Fence::None)) {
            // A mount that may hang is not opened for this check.
            Err(Errno::XDEV) if !fence.excludes(&EntryStat::read_local(&parent, &child.name)?) => {
                self.open(parent.as_fd(), &child.name, LIST, false)?
            }
            opened => opened?,
        };
        Ok(self.descriptors.hold(fd))
    }

    /// Records the directory that was read last.
    pub(super) fn leave(&mut self, node: Arc<Node>, dir: Arc<Dir>) {
        self.last = self.may_stay().then_some((node, dir));
    }

    /// Whether this thread may keep a directory open. If descriptors are short, a thread that can give up may not: the one
    /// thread that has to go on would wait for that descriptor in vain.
    fn may_stay(&self) -> bool {
        !self.gives_up || !self.descriptors.are_short()
    }

    /// Opens a directory again that was open before, if it is still at its path.
    fn reopen(&mut self, node: &Arc<Node>, on_mount: bool) -> rustix::io::Result<Arc<Dir>> {
        if let Some((last, dir)) = &self.last {
            if Arc::ptr_eq(last, node) {
                return Ok(Arc::clone(dir));
            }
            if let Some(levels) = node.levels_above(last, CLIMB) {
                let dir = Arc::clone(dir);
                let up = CString::new("../".repeat(levels)).unwrap_or_default();
                if let Ok(fd) = self.open(dir.as_fd(), &up, PLACE, on_mount)
                    && is(&fd, node)
                {
                    return self.found(node, fd);
                }
            }
        }
        let fd = descend(&**node, on_mount, PLACE, |dir, name, flags, on_mount| self.open(dir, name, flags, on_mount))?;
        if is(&fd, node) { self.found(node, fd) } else { Err(Errno::NOENT) }
    }

    /// Returns a directory from which only its children can be opened.
    fn found(&mut self, node: &Arc<Node>, fd: OwnedFd) -> rustix::io::Result<Arc<Dir>> {
        let dir = self.descriptors.hold(fd);
        self.last = self.may_stay().then(|| (Arc::clone(node), Arc::clone(&dir)));
        Ok(dir)
    }

    fn open(&mut self, dir: BorrowedFd<'_>, name: &CStr, flags: OFlags, on_mount: bool) -> rustix::io::Result<OwnedFd> {
        /// How long to wait for others to close something, in milliseconds.
        const PATIENCE: u32 = 1000;
        let mut tries: u32 = 0;
        loop {
            match walk::open(dir, name, flags, on_mount) {
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                    if !self.make_room(tries) || tries > PATIENCE {
                        return Err(errno);
                    }
                    tries = tries.saturating_add(1);
                }
                opened => return opened,
            }
        }
    }

    /// Closes directories that can be opened again later, then the reserve, then waits.
    #[cold]
    fn make_room(&mut self, tries: u32) -> bool {
        if tries == 0 {
            self.descriptors.keep_none();
            self.queue.close_kept();
            self.last = None;
            return true;
        }
        if self.reserve.pop().is_some() {
            return true;
        }
        if self.gives_up {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
        self.limits.goes_on()
    }

    /// Takes the reserve back after it was used.
    fn restore(&mut self) {
        // One that gives up leaves the reserve to the one that does not.
        while !self.gives_up
            && self.reserve.len() < RESERVE
            && let Ok(fd) = rustix::fs::openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        {
            self.reserve.push(fd);
        }
    }
}

/// Whether an open directory is the one that was read.
fn is(fd: &OwnedFd, node: &Node) -> bool {
    EntryStat::of(fd).is_ok_and(|entry| entry.id == node.id)
}
