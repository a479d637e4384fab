//! Wakes up a task when the mount table changes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;

use super::table::WatchedTable;
use crate::{Error, Result};

/// A thread that sleeps until the kernel reports a change. It ends when this is dropped, independent of any runtime.
#[derive(Debug)]
pub(super) struct MountAlarm(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    has_changed: AtomicBool,
    waker: AtomicWaker,
    end: OwnedFd,
}

impl MountAlarm {
    /// Starts the thread, which reports changes from now on.
    pub(super) fn new() -> Result<Self> {
        // The kernel stores for each open file which changes it has reported.
        let table = WatchedTable::open()?.into_file();
        let end = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(Error::os)?;
        let inner = Arc::new(Inner { has_changed: AtomicBool::new(false), waker: AtomicWaker::new(), end });
        let theirs = Arc::clone(&inner);
        let watch = move || theirs.watch(&table);
        std::thread::Builder::new().name("appmon-mounts".to_owned()).spawn(watch).map_err(Error::io)?;
        Ok(Self(inner))
    }

    /// Returns `Ready` if the table changed since the last time that this was ready.
    pub(super) fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.has_changed.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Inner {
    fn watch(&self, table: &File) {
        /// The pause before the next attempt if the kernel has no memory to wait.
        const RETRY: Duration = Duration::from_secs(1);
        loop {
            let mut fds = [PollFd::new(table, PollFlags::PRI), PollFd::new(&self.end, PollFlags::IN)];
            let waited = rustix::event::poll(&mut fds, None);
            let [_, end] = &fds;
            if end.revents().contains(PollFlags::IN) {
                return;
            }
            match waited {
                Err(Errno::INTR) => continue,
                Err(_) => std::thread::sleep(RETRY),
                Ok(_) => {}
            }
            self.has_changed.store(true, Ordering::Release);
            self.waker.wake();
        }
    }
}

impl Drop for MountAlarm {
    fn drop(&mut self) {
        // The write never blocks: only this adds to the counter.
        let _ = rustix::io::write(&self.0.end, &1_u64.to_ne_bytes());
    }
}
