//! Opens the directories of a scan, with as few descriptors as there are.

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
    /// Held back for when there is no other left.
    reserve: Vec<OwnedFd>,
    /// The directory that was read last: what comes next is mostly near to it.
    last: Option<(Arc<Node>, Arc<Dir>)>,
    /// Whether others can go on when this thread cannot.
    gives_up: bool,
}

/// One is the parent, or the step before, of what is opened as the other.
const RESERVE: usize = 2;

/// Up to so many levels are climbed by `..`.
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

    /// Opens a directory in its parent, which is opened again where it was not kept.
    /// `EXDEV` is the answer where something was mounted meanwhile that is outside of the tree.
    pub(super) fn open_child(&mut self, child: &Child, fence: Fence) -> rustix::io::Result<Arc<Dir>> {
        self.restore();
        let parent = match &child.dir {
            Some(dir) => Arc::clone(dir),
            None => self.reopen(&child.parent, fence.is_mount())?,
        };
        let fd = match self.open(parent.as_fd(), &child.name, LIST, !matches!(fence, Fence::None)) {
            // What may hang is not opened to find out.
            Err(Errno::XDEV) if !fence.excludes(&EntryStat::read_local(&parent, &child.name)?) => {
                self.open(parent.as_fd(), &child.name, LIST, false)?
            }
            opened => opened?,
        };
        Ok(self.descriptors.hold(fd))
    }

    /// A directory was read.
    pub(super) fn leave(&mut self, node: Arc<Node>, dir: Arc<Dir>) {
        self.last = self.may_stay().then_some((node, dir));
    }

    /// Whether this thread may hold on to a directory. Where descriptors are short, one that others do not wait for may not:
    /// the one that has to go on would wait for it in vain.
    fn may_stay(&self) -> bool {
        !self.gives_up || !self.descriptors.are_short()
    }

    /// A directory that was open before, if it still is where it was.
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

    /// A directory that is only a place: its children can be opened from it.
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

    /// Closes what can be opened again later, then the reserve, then waits.
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
