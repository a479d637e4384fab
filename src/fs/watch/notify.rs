//! The events of the kernel for changed directories: inotify.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// The number of a watch. An inode has one, even if several paths lead to it.
pub(super) type Wd = i32;

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

/// An inotify instance.
#[derive(Debug)]
pub(super) struct Notify {
    fd: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
    /// How many more watches may be added.
    room: AtomicUsize,
    /// Whether the kernel refused a watch because its limit is reached.
    full: AtomicBool,
}

/// An event of a watched directory.
#[derive(Debug)]
pub(super) struct InotifyEvent<'a> {
    pub(super) wd: Wd,
    pub(super) what: ReadFlags,
    pub(super) name: Option<&'a CStr>,
    /// The same number for both names of a renamed entry.
    pub(super) cookie: u32,
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
        /// Some hundred events.
        const BUFFER: usize = 32 << 10;
        Ok(Self {
            fd: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            buffer: vec![MaybeUninit::uninit(); BUFFER].into(),
            room: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        })
    }

    /// Sets how many more watches may be added, and lets the kernel be asked again.
    pub(super) fn set_room(&mut self, room: usize) {
        *self.room.get_mut() = room;
        *self.full.get_mut() = false;
    }

    /// Watches an open directory; `again` if it is watched already. It is passed by its descriptor, so that it cannot be
    /// replaced meanwhile.
    pub(super) fn watch(&self, dir: BorrowedFd<'_>, again: bool) -> WatchOutcome {
        // Reserved before it is used: other threads add watches at the same time.
        let take = |room: usize| room.checked_sub(1);
        if !again
            && (self.full.load(Ordering::Relaxed)
                || self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err())
        {
            return WatchOutcome::Refused;
        }
        let path = CString::new(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap_or_default();
        match inotify::add_watch(&self.fd, &*path, CHANGES) {
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
        inotify::add_watch(&self.fd, path, flags).map_or(true, |wd| wd == known)
    }

    pub(super) fn forget(&self, wd: Wd) {
        // The removal fails if the directory, and with it the watch, was deleted.
        let _ = inotify::remove_watch(&self.fd, wd);
    }

    /// Reads the pending events, without waiting. A change is reported as soon as the call that made it returned.
    pub(super) fn drain(&mut self, mut on_event: impl FnMut(InotifyEvent<'_>)) {
        /// More than a full queue: if changes are made faster than they are read, the rest is left for the next call.
        const MOST: usize = 1 << 16;
        let mut reader = Reader::new(&self.fd, &mut self.buffer);
        let mut count = 0_usize;
        while count < MOST || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => {
                    let (wd, what, cookie) = (event.wd(), event.events(), event.cookie());
                    on_event(InotifyEvent { wd, what, name: event.file_name(), cookie });
                }
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
            count = count.saturating_add(1);
        }
    }
}

/// Returns how many watches a user may have, all programs together.
pub(crate) fn most_watches() -> usize {
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    most.ok().and_then(|most| most.trim().parse().ok()).unwrap_or(8192)
}
