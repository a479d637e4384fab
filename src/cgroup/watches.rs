//! The events of the kernel for control groups: births, deaths, changes of state, writes to their files.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::Text;
use crate::inotify::{Inotify, Wd};

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
    inotify: Option<Inotify>,
    most: usize,
    /// The kernel refused one, as its limit is reached; not asked again before the next full walk.
    is_full: bool,
    /// The group, and the file of it.
    paths: HashMap<Wd, (Text, Option<&'static str>)>,
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
        let inotify = if most > 0 { Inotify::new().ok() } else { None };
        Self { inotify, most, is_full: false, paths: HashMap::new() }
    }

    /// The descriptor to wait for.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Lets the kernel be asked again.
    pub(super) fn retry(&mut self) {
        self.is_full = false;
        if self.inotify.is_none() && self.most > 0 {
            self.inotify = Inotify::new().ok();
        }
    }

    /// Watches a group, or a file of it; whether it is watched.
    pub(super) fn watch(&mut self, path: &Text, place: &OwnedFd, file: Option<&'static str>) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        if self.is_full || self.paths.len() >= self.most {
            return false;
        }
        match inotify.watch(place.as_fd(), file, if file.is_some() { FILE } else { DIRECTORY }) {
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
        let Self { inotify: Some(inotify), paths, .. } = self else { return };
        inotify.drain(|event| {
            if event.what.contains(ReadFlags::QUEUE_OVERFLOW) {
                return on_event(Noticed::Overflow);
            }
            if event.what.contains(ReadFlags::IGNORED) {
                paths.remove(&event.wd);
                return;
            }
            let Some((path, file)) = paths.get(&event.wd) else { return };
            match event.name.map(CStr::to_bytes) {
                Some(name) if event.what.contains(ReadFlags::ISDIR) => {
                    let is_birth = event.what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
                    on_event(Noticed::Child { path, name, is_birth });
                }
                Some(name) => on_event(Noticed::File { path, name }),
                None => {
                    if let Some(name) = file {
                        on_event(Noticed::File { path, name: name.as_bytes() });
                    }
                }
            }
        });
    }
}
