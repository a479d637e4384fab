//! Directory trees that are kept up to date: the kernel reports which directories changed, and only those are read again.
//!
//! A refresh returns the same usage as a scan made now. Its cost follows the changes: if there are none, it is one system call
//! for each of the roots, one for the mount table, one for events, and a part of the verification.
//!
//! Each directory has the totals of its direct entries, and the trees have totals that are corrected by differences. A
//! directory that changed is read again, without those in it. Nothing is stored for each file, except the names of files that
//! have several, and the entries of a large directory that changes often ([`EntryCache`](entry_cache::EntryCache)), up to a bound.
//!
//! These rules cover changes that events do not report completely.
//!
//! - Each directory is watched before it is read, so that changes meanwhile are reported.
//! - Inode numbers are used again: a directory with the number of a known one is the same only if it was created at the same
//!   time, and if no event reported that the name was removed. A root is compared by its watch: adding it again returns the
//!   same watch only for the same inode.
//! - A new directory is watched and read with everything below it; one that was moved within the tree keeps its totals.
//! - A file that can take space without an event, because it is sparse or may be open, is checked at each refresh
//!   ([`unreported`]); files that the kernel writes to by itself are looked for ([`kernel_writers`]).
//! - A file that has names outside is checked at each refresh, as it can be written to by those ([`Links`](links::Links)).
//!   A second name made within the tree is reported only in the directory of that name; the directory of the first name is
//!   searched for ([`LinkSearch`]).
//! - The mount table is checked; the parent of a new or removed mount is read again.
//! - When events were lost, all directories are read again, and less often the more often that happens.
//! - A directory without a watch is read again when its time to live is over.
//! - Every directory is read again once in a while ([`WatchedTree::verify`]): stores by `mmap`, other hosts of a network
//!   file system, new names outside of files that had one, and changes of a file by a name that was made and removed between
//!   two refreshes, are found only by that.

mod apply;
mod checks;
mod counts;
mod entry_cache;
mod events;
mod kernel_writers;
mod link_search;
mod links;
mod mounts;
mod nodes;
mod notify;
mod pool;
mod reading;
mod report;
mod revisit_schedule;
mod root_changes;
mod roots;
#[cfg(test)]
mod tests;
mod tree;
mod unreported;
mod watched;
mod wds;

use std::time::{Duration, Instant};

pub(crate) use watched::{Drift, Mode, Reason, RefreshReport, Verified};

use crate::fs::scan::Scan;
use crate::fs::walk::Exclude;
use crate::inotify::most_watches;
use crate::{Cancel, Monotonic, Result};
use apply::Change;
use kernel_writers::KernelWriters;
use link_search::LinkSearch;
use mounts::Mounts;
use nodes::{NodeId, Queued};
use notify::Notify;
use reading::{ReadOutcome, Reader};
use report::Failures;
use revisit_schedule::RevisitSchedule;
use roots::Roots;
use tree::Tree;

/// Directory trees that are kept up to date.
#[derive(Debug)]
pub(crate) struct WatchedTree {
    exclude: Exclude,
    /// The number of watches that it may have.
    budget: usize,
    notify: Option<Notify>,
    mounts: Mounts,
    kernel_writers: KernelWriters,
    tree: Tree,
    link_search: LinkSearch,
    schedule: RevisitSchedule,
    failures: Failures,
    drift_bytes: u64,
    /// The last refresh after which nothing was known to be out of date.
    settled_at: Option<Monotonic>,
}

/// The work of a refresh so far.
#[derive(Debug, Default)]
struct Done {
    dirty: usize,
    in_turn: usize,
    verified: usize,
    /// Files that can change without an event.
    asked: usize,
    drift: Drift,
}

/// The number of directories that are read before the queue is checked again.
const BATCH: usize = 1024;

impl WatchedTree {
    /// Creates the trees of `scan`, with its boundary and its globs. Its other settings do not
    /// matter. Nothing is read before the first refresh.
    pub(crate) fn new(scan: &Scan) -> Self {
        let (paths, boundary, exclude) = scan.extent();
        let mut tree = Tree::new(Roots::new(paths, boundary));
        tree.by_path = !exclude.is_empty();
        Self {
            exclude: exclude.clone(),
            budget: most_watches() / 4,
            notify: None,
            mounts: Mounts::new(),
            kernel_writers: KernelWriters::default(),
            tree,
            link_search: LinkSearch::default(),
            schedule: RevisitSchedule::new(),
            failures: Failures::new(paths.len()),
            drift_bytes: 0,
            settled_at: None,
        }
    }

    /// Sets how many directories may be watched. Default: a quarter of the limit of the user for all programs together
    /// (`/proc/sys/fs/inotify/max_user_watches`). The kernel needs about 1 KiB for each, and keeps its inode.
    #[must_use]
    pub(crate) fn watches(mut self, most: usize) -> Self {
        self.set_watches(most);
        self
    }

    /// Sets how many directories may be watched from the next refresh on. Existing watches stay.
    pub(crate) fn set_watches(&mut self, most: usize) {
        self.budget = most;
    }

    /// Sets the period in which each directory is read again without an event, spread over the refreshes. Default: 10 min.
    #[must_use]
    pub(crate) fn verify(mut self, period: Duration) -> Self {
        self.schedule.verify = period;
        self
    }

    /// Sets the period in which a directory without a watch is read again. Default: 60 s.
    #[must_use]
    pub(crate) fn ttl(mut self, ttl: Duration) -> Self {
        self.schedule.ttl = ttl;
        self
    }

    /// Brings everything up to date. The first time everything is read.
    ///
    /// # Errors
    ///
    /// [`is_cancelled`](Error::is_cancelled) when `cancel` was set; the next refresh goes on where this one stopped.
    pub(crate) fn refresh(&mut self, now: Monotonic, cancel: &Cancel) -> Result<RefreshReport> {
        let start = Instant::now();
        cancel.check()?;
        let mut done = Done::default();
        self.tree.round = self.tree.round.wrapping_add(1);
        self.tree.unmounted = false;
        if self.notify.is_none() && self.budget > 0 && self.schedule.may_try(now) {
            self.notify = Notify::new().ok();
        }
        self.tree.take_up_again();
        self.tree.look_at_roots(self.notify.as_ref());
        let changes = self.mounts.changes();
        self.tree.look_for_mounts(!changes.is_empty());
        // With the directories that are read for it, where its path is known.
        let changes: Vec<_> =
            changes.into_iter().map(|event| (self.tree.mounted_or_unmounted(&event), event)).collect();
        self.on_event();
        self.schedule.take(&mut self.tree, now);
        for file in self.kernel_writers.files(now, cancel)? {
            self.tree.may_be_written(&file, &self.exclude);
        }
        done.asked = self.tree.check_next_unreported(ASKED);
        self.read_pending(now, cancel, &mut done)?;
        if self.is_too_large() {
            return Ok(self.report(done, now, start.elapsed()));
        }
        for (before, event) in changes {
            // Directories that were moved meanwhile have their paths now.
            if before.is_none_or(|before| before != self.tree.parents_of(&event.path)) {
                self.tree.changed_at(&event.path);
            }
        }
        self.mounts.locate(|path| self.tree.parents_of(path));
        done.asked = done.asked.saturating_add(self.tree.check_next_external(ASKED));
        self.verify_some(now, cancel, &mut done)?;
        self.read_pending(now, cancel, &mut done)?;
        self.schedule.end(&self.tree, now, start.elapsed());
        Ok(self.report(done, now, start.elapsed()))
    }

    /// Whether there are so many directories without a watch that a scan costs less than keeping them. Such a tree must not be
    /// used any more.
    pub(crate) fn is_too_large(&self) -> bool {
        self.tree.nodes.len() > most_directories(self.budget)
    }

    /// Takes the pending events.
    fn on_event(&mut self) {
        let (tree, exclude) = (&mut self.tree, &self.exclude);
        if let Some(notify) = &mut self.notify {
            notify.drain(|event| tree.on_event(&event, exclude));
        }
    }

    /// Reads all directories in the queue.
    fn read_pending(&mut self, now: Monotonic, cancel: &Cancel, done: &mut Done) -> Result<()> {
        let (mut retries, mut searches) = (2_u32, 2_u32);
        loop {
            let batch = self.tree.next(BATCH, now);
            if !batch.is_empty() {
                for change in self.read(batch, now, cancel)? {
                    let count = if change.why == Queued::InTurn { &mut done.in_turn } else { &mut done.dirty };
                    *count = count.saturating_add(1);
                }
                if self.is_too_large() {
                    return Ok(());
                }
                continue;
            }
            if self.tree.look_for_missing() {
                continue;
            }
            if !self.tree.orphans.is_empty() && retries > 0 {
                // Where they were moved to may not have been reported yet.
                retries = retries.saturating_sub(1);
                self.on_event();
                if self.tree.is_pending() {
                    continue;
                }
            }
            self.tree.drop_orphans();
            self.remove_unneeded_watches();
            self.tree.check_lost();
            if searches > 0 {
                searches = searches.saturating_sub(1);
                let notify = self.notify.as_ref();
                if self.link_search.run(&mut self.tree, notify, &self.exclude, now, cancel)? {
                    continue;
                }
            }
            if self.tree.is_pending() {
                continue;
            }
            for id in std::mem::take(&mut self.tree.searched) {
                self.tree.links.accept(id);
            }
            return Ok(());
        }
    }

    fn read(&mut self, batch: Vec<NodeId>, now: Monotonic, cancel: &Cancel) -> Result<Vec<Change>> {
        if let Some(notify) = &mut self.notify {
            notify.set_room(self.budget.saturating_sub(self.tree.wds.len()));
        }
        self.tree.most = most_directories(self.budget);
        *self.tree.found.get_mut() = 0;
        let (tree, notify, exclude) = (&self.tree, self.notify.as_ref(), &self.exclude);
        let reader = || Reader::new(tree, notify, exclude, cancel);
        let outcomes: Vec<ReadOutcome> = pool::each(&batch, reader, |reader, id| reader.read(*id));
        let changes = self.tree.apply(batch.into_iter().zip(outcomes).collect(), now);
        self.remove_unneeded_watches();
        cancel.check()?;
        Ok(changes)
    }

    /// Removes the watches that no directory needs any more.
    fn remove_unneeded_watches(&mut self) {
        for wd in std::mem::take(&mut self.tree.unneeded) {
            // The same directory may have been found at another place meanwhile.
            if let (Some(notify), None) = (&self.notify, self.tree.wds.of(wd).next()) {
                notify.forget(wd);
            }
        }
    }

    /// Reads the next directories of the verification, and measures the changes without events.
    fn verify_some(&mut self, now: Monotonic, cancel: &Cancel, done: &mut Done) -> Result<()> {
        self.schedule.verify_some(&mut self.tree, now);
        loop {
            let batch = self.tree.next(BATCH, now);
            if batch.is_empty() {
                return Ok(());
            }
            let changes = self.read(batch, now, cancel)?;
            // Changes since the events were taken are no drift.
            self.on_event();
            let quiet = !self.tree.is_pending();
            for change in changes.iter().filter(|change| change.why == Queued::InTurn) {
                let Some(before) = change.before else { continue };
                done.verified = done.verified.saturating_add(1);
                let clean = self.tree.nodes.get(change.node).is_some_and(|node| node.queued == Queued::No);
                let own = if clean { change.own_bytes } else { 0 };
                let bytes = if quiet { own.saturating_add(change.link_bytes) } else { own };
                if bytes > 0 {
                    done.drift.bytes = done.drift.bytes.saturating_add(bytes);
                    done.drift.since = Some(done.drift.since.map_or(before, |since| since.min(before)));
                }
            }
        }
    }

    /// Returns the report of a refresh.
    fn report(&mut self, done: Done, now: Monotonic, took: Duration) -> RefreshReport {
        self.drift_bytes = self.drift_bytes.saturating_add(done.drift.bytes);
        self.failures.update(&mut self.tree);
        let (at, progress) = self.schedule.verified(&self.tree);
        let is_settled = !self.schedule.is_late()
            && self.tree.put_off.is_empty()
            && !self.tree.is_pending()
            && !self.link_search.waits();
        let settled_at = if is_settled { self.settled_at.insert(now) } else { self.settled_at.get_or_insert(now) };
        let as_of = self.schedule.unwatched_since().map_or(*settled_at, |since| since.min(*settled_at));
        RefreshReport {
            usage: report::usage(&self.tree, &self.failures, took),
            uncertain: report::uncertain(&self.tree),
            asked: done.asked,
            mode: report::mode(&self.tree, self.schedule.is_late()),
            as_of,
            is_settled,
            directories: self.tree.nodes.len(),
            watches: self.tree.wds.len(),
            dirty_read: done.dirty,
            read_in_turn: done.in_turn,
            verified: Verified { at, progress, directories: done.verified },
            drift: Drift { total_bytes: self.drift_bytes, ..done.drift },
        }
    }
}

/// Returns how many directories are kept in memory at most for this number of watches.
pub(crate) fn most_directories(watches: usize) -> usize {
    /// This number of directories is kept even without watches: some 10 MB.
    const FEW: usize = 1 << 14;
    watches.saturating_add(watches.max(FEW))
}

/// At most this number of files with one name are checked at a refresh, and of those with several.
const ASKED: usize = 512;
