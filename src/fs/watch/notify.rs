//! The events of the kernel for changed directories: inotify.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;

use crate::inotify::{Inotify, InotifyEvent, Wd};

/// The events of changes of sizes or names. Events of a reading itself, `OPEN` and `ACCESS`, are not among them.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    // Directories only. Not `EXCL_UNLINK`: it would also suppress the events of a file that was made without a name and got
    // one later.
    .union(WatchFlags::ONLYDIR);

/// An inotify instance, within a number of watches.
#[derive(Debug)]
pub(super) struct Notify {
    inotify: Inotify,
    /// How many more watches may be added.
    room: AtomicUsize,
    /// Whether the kernel refused a watch because its limit is reached.
    full: AtomicBool,
}

/// The outcome of watching a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchOutcome {
    At(Wd),
    /// No watch could be added.
    Refused,
}

impl Notify {
    /// # Errors
    ///
    /// `EMFILE` when the user has no instances left, `ENOSYS` without inotify.
    pub(super) fn new() -> rustix::io::Result<Self> {
        Ok(Self { inotify: Inotify::new()?, room: AtomicUsize::new(0), full: AtomicBool::new(false) })
    }

    /// Sets how many more watches may be added, and lets the kernel be asked again.
    pub(super) fn set_room(&mut self, room: usize) {
        *self.room.get_mut() = room;
        *self.full.get_mut() = false;
    }

    /// Watches an open directory; `again` if it is watched already.
    pub(super) fn watch(&self, dir: BorrowedFd<'_>, again: bool) -> WatchOutcome {
        // Reserved before it is used: other threads add watches at the same time.
        let take = |room: usize| room.checked_sub(1);
        if !again
            && (self.full.load(Ordering::Relaxed)
                || self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err())
        {
            return WatchOutcome::Refused;
        }
        match self.inotify.watch(dir, None, CHANGES) {
            Ok(wd) => WatchOutcome::At(wd),
            Err(errno) => {
                self.room.fetch_add(usize::from(!again), Ordering::Relaxed);
                // These errors concern one directory only.
                let one = matches!(errno, Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NOTDIR);
                self.full.store(!one, Ordering::Relaxed);
                WatchOutcome::Refused
            }
        }
    }

    /// Whether the directory at this path still has the watch `known`, and so is the same one: an inode has one watch number
    /// as long as it is watched, and no number is used for two inodes.
    pub(super) fn is_still(&self, path: &CStr, known: Wd) -> bool {
        let flags = CHANGES | WatchFlags::DONT_FOLLOW;
        self.inotify.watch_path(path, flags).map_or(true, |wd| wd == known)
    }

    pub(super) fn forget(&self, wd: Wd) {
        self.inotify.forget(wd);
    }

    /// Reads the pending events, without waiting.
    pub(super) fn drain(&mut self, on_event: impl FnMut(InotifyEvent<'_>)) {
        self.inotify.drain(on_event);
    }
}
