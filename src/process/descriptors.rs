//! File descriptors that are kept open for running processes, within a budget.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Cancel;

/// The files that are kept open for a process that runs, in the order of [`Kept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hot {
    Stat,
    Io,
    Status,
    Statm,
    Schedstat,
}

/// File descriptors kept open. Only [`FdBudget`] puts them in and takes them out.
#[derive(Debug, Default)]
pub(crate) struct Kept([Option<OwnedFd>; 5]);

impl Kept {
    pub(crate) fn get(&self, file: Hot) -> Option<&OwnedFd> {
        self.0.get(file as usize)?.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }
}

/// How many file descriptors a source keeps open where nothing else is set: a quarter of those that this process may have
/// (`RLIMIT_NOFILE`).
pub(crate) fn default_max_fds() -> usize {
    let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    soft.and_then(|soft| usize::try_from(soft).ok()).map_or(1 << 16, |soft| soft / 4)
}

/// How many file descriptors may be kept open, shared by the threads that read.
#[derive(Debug)]
pub(crate) struct FdBudget {
    most: usize,
    open: AtomicUsize,
    /// How many more would have been kept in this tick.
    wanted: AtomicUsize,
}

impl FdBudget {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, open: AtomicUsize::new(0), wanted: AtomicUsize::new(0) }
    }

    /// Keeps a file open, if there is room.
    pub(crate) fn keep(&self, kept: &mut Kept, file: Hot, fd: OwnedFd) {
        let Some(place) = kept.0.get_mut(file as usize) else { return };
        if place.is_none() {
            // A little more than the budget for an instant is harmless; it is counted back at once.
            if self.open.fetch_add(1, Ordering::Relaxed) >= self.most {
                self.open.fetch_sub(1, Ordering::Relaxed);
                self.wanted.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        *place = Some(fd);
    }

    /// Takes a place for a file that is not of a process, if there is one.
    pub(crate) fn take(&self) -> bool {
        let has_room = self.open.fetch_add(1, Ordering::Relaxed) < self.most;
        if !has_room {
            self.give_back();
            self.wanted.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Such a file was closed.
    pub(crate) fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes one file.
    pub(crate) fn close(&self, kept: &mut Kept, file: Hot) {
        if kept.0.get_mut(file as usize).and_then(Option::take).is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Closes all files of a process.
    pub(crate) fn close_all(&self, kept: &mut Kept) {
        self.open.fetch_sub(kept.len(), Ordering::Relaxed);
        *kept = Kept::default();
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Called after a tick: closes the files of processes that ran longest ago, as many as were wanted and had no room, and half of all
    /// when descriptors ran out altogether. `kept` has the descriptors of each process, and the tick at which it ran last.
    pub(crate) fn make_room<'a>(
        &self,
        kept: impl Iterator<Item = (u64, &'a mut Kept)>,
        starved: bool,
        tick: u64,
        cancel: &Cancel,
    ) {
        let wanted = self.wanted.swap(0, Ordering::Relaxed);
        let (room, recent) = if starved { (self.open().div_ceil(2), tick) } else { (wanted, tick.saturating_sub(1)) };
        if room == 0 {
            return;
        }
        let mut idle: Vec<_> = kept.filter(|(ran_at, kept)| kept.len() > 0 && (starved || *ran_at < recent)).collect();
        idle.sort_unstable_by_key(|(ran_at, _)| *ran_at);
        let aim = self.open().saturating_sub(room);
        for (_, kept) in idle {
            if self.open() <= aim || cancel.is_cancelled() {
                break;
            }
            self.close_all(kept);
        }
    }
}
