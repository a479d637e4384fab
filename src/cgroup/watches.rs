//! The events of the kernel for control groups: births, deaths, changes of state, writes to their files.

use std::collections::HashMap;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::Text;

/// Births and deaths of groups in it, and writes to its files.
const DIRECTORY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ONLYDIR);

/// What the kernel reports of a file it changed by itself. The watch of the directory would see that too, but only while the file's inode is
/// cached; its own watch keeps it so.
const FILE: WatchFlags = WatchFlags::MODIFY;

/// An inotify instance, within a number of watches.
#[derive(Debug)]
pub(super) struct Watches {
    /// `None` where there is no instance to be had.
    fd: Option<OwnedFd>,
    buffer: Box<[MaybeUninit<u8>]>,
    most: usize,
    /// The kernel refused one, as its limit is reached; not asked again before the next full walk.
    is_full: bool,
    /// The group, and the file of it.
    paths: HashMap<i32, (Text, Option<&'static str>)>,
}

/// What happened in a group.
#[derive(Debug)]
pub(super) enum Noticed<'a> {
    /// A group in it was made or removed.
    Child { path: &'a Text, name: &'a [u8], is_birth: bool },
    /// One of its files was written to, or changed by the kernel.
    File { path: &'a Text, name: &'a [u8] },
    /// Events were lost.
    Overflow,
}

impl Watches {
    pub(super) fn new(most: usize) -> Self {
        const BUFFER: usize = 32 << 10;
        let fd = if most > 0 { inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok() } else { None };
        let buffer = vec![MaybeUninit::uninit(); BUFFER].into();
        Self { fd, buffer, most, is_full: false, paths: HashMap::new() }
    }

    /// The descriptor to wait for.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Lets the kernel be asked again.
    pub(super) fn retry(&mut self) {
        self.is_full = false;
        if self.fd.is_none() && self.most > 0 {
            self.fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        }
    }

    /// Watches a group, or a file of it; whether it is watched.
    pub(super) fn watch(&mut self, path: &Text, place: &OwnedFd, file: Option<&'static str>) -> bool {
        let Some(fd) = &self.fd else { return false };
        if self.is_full || self.paths.len() >= self.most {
            return false;
        }
        let below = file.map(|name| format!("/{name}")).unwrap_or_default();
        let Ok(at) = CString::new(format!("/proc/self/fd/{}{below}", place.as_raw_fd())) else { return false };
        match inotify::add_watch(fd, &*at, if file.is_some() { FILE } else { DIRECTORY }) {
            Ok(wd) => {
                self.paths.insert(wd, (path.clone(), file));
                true
            }
            Err(errno) => {
                self.is_full |= matches!(errno, Errno::NOSPC | Errno::NOMEM);
                false
            }
        }
    }

    /// Reads the pending events, without waiting.
    pub(super) fn drain(&mut self, mut on_event: impl FnMut(Noticed<'_>)) {
        /// More than a full queue: if changes are made faster than they are read, the rest is left for the next call.
        const MOST: usize = 1 << 16;
        let Some(fd) = &self.fd else { return };
        let mut reader = Reader::new(fd, &mut self.buffer);
        let mut count = 0_usize;
        while count < MOST || !reader.is_buffer_empty() {
            count = count.saturating_add(1);
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                on_event(Noticed::Overflow);
                continue;
            }
            if what.contains(ReadFlags::IGNORED) {
                self.paths.remove(&event.wd());
                continue;
            }
            let Some((path, file)) = self.paths.get(&event.wd()) else { continue };
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            match name {
                Some(name) if what.contains(ReadFlags::ISDIR) => {
                    let is_birth = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
                    on_event(Noticed::Child { path, name, is_birth });
                }
                Some(name) => on_event(Noticed::File { path, name }),
                None => {
                    if let Some(name) = file {
                        on_event(Noticed::File { path, name: name.as_bytes() });
                    }
                }
            }
        }
    }
}
