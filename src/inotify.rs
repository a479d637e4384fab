//! An inotify instance of the kernel: watches are added by descriptor, and events are read without waiting.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// The number of a watch. An inode has one, even if several paths lead to it.
pub(crate) type Wd = i32;

/// An instance.
#[derive(Debug)]
pub(crate) struct Inotify {
    fd: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
}

/// An event of a watch.
#[derive(Debug)]
pub(crate) struct InotifyEvent<'a> {
    pub(crate) wd: Wd,
    pub(crate) what: ReadFlags,
    pub(crate) name: Option<&'a CStr>,
    /// The same number for both names of a renamed entry.
    pub(crate) cookie: u32,
}

impl Inotify {
    /// # Errors
    ///
    /// `EMFILE` when the user has no instances left, `ENOSYS` without inotify.
    pub(crate) fn new() -> rustix::io::Result<Self> {
        /// Some hundred events.
        const BUFFER: usize = 32 << 10;
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { fd, buffer: vec![MaybeUninit::uninit(); BUFFER].into() })
    }

    /// Watches an open directory, or the file of this name in it. The directory is passed by its descriptor, so that it cannot be replaced
    /// meanwhile.
    pub(crate) fn watch(&self, dir: BorrowedFd<'_>, file: Option<&str>, events: WatchFlags) -> rustix::io::Result<Wd> {
        let below = file.map(|name| format!("/{name}")).unwrap_or_default();
        let path = CString::new(format!("/proc/self/fd/{}{below}", dir.as_raw_fd())).map_err(|_| Errno::INVAL)?;
        self.watch_path(&path, events)
    }

    pub(crate) fn watch_path(&self, path: &CStr, events: WatchFlags) -> rustix::io::Result<Wd> {
        inotify::add_watch(&self.fd, path, events)
    }

    pub(crate) fn forget(&self, wd: Wd) {
        // The removal fails if what was watched, and with it the watch, was deleted.
        let _ = inotify::remove_watch(&self.fd, wd);
    }

    /// Reads the pending events, without waiting. A change is reported as soon as the call that made it returned.
    pub(crate) fn drain(&mut self, mut on_event: impl FnMut(InotifyEvent<'_>)) {
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

/// To wait for events.
impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Returns how many watches a user may have, all programs together.
pub(crate) fn most_watches() -> usize {
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    most.ok().and_then(|most| most.trim().parse().ok()).unwrap_or(8192)
}
