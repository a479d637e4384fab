//! Sets up a scan, starts its threads, and sums their counts.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use super::limits::Limits;
use super::links::Links;
use super::node::Descriptors;
use super::progress::Progress;
use super::queue::Queue;
use super::scaler::{Scaler, ThreadCounts};
use super::scanned_tree::ScannedTree;
use super::settings::Scan;
use super::shared::{NOWHERE, Root, ScanContext};
use super::task::{Task, Work};
use super::tree_totals::RootTotals;
use super::worker::Worker;
use crate::fs::table::Table;
use crate::fs::walk::{EntryStat, Led, Mounted, Partial, RootIds, Usage, follow};
use crate::{Cancel, Error, Result};

impl Scan {
    /// Scans all trees, and returns their total; each file counts once.
    ///
    /// # Errors
    ///
    /// When one of the trees cannot be opened: [`is_not_found`](crate::Error::is_not_found),
    /// [`is_denied`](crate::Error::is_denied). [`is_cancelled`](crate::Error::is_cancelled) when `cancel` was set, which is
    /// seen within a millisecond or so of work.
    pub fn run(&self, cancel: &Cancel) -> Result<Usage> {
        self.run_with(cancel, &Progress::new())
    }

    /// Scans as [`run`](Self::run) does, and updates a [`Progress`] that other threads can read.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_with(&self, cancel: &Cancel, progress: &Progress) -> Result<Usage> {
        ScannedTree::sum(run(self, cancel, progress)?)
    }

    /// Scans all trees together, and returns the usage of each, in the order in which they were added.
    ///
    /// A tree inside of another counts for itself: [`ScannedTree::usage`] is without the trees inside, so that their sum counts
    /// nothing twice, and [`ScannedTree::inclusive`] adds those inside. A file that has names in several trees counts for the
    /// first of them.
    ///
    /// ```
    /// use appmon::Cancel;
    /// use appmon::fs::{Progress, Scan, ScannedTree};
    ///
    /// let scan = Scan::new("src").and("src/fs");
    /// let parts = scan.run_each(&Cancel::new(), &Progress::new())?;
    /// assert_eq!(parts[1].inside, Some(0));
    /// let all = ScannedTree::inclusive(&parts, 0).unwrap();
    /// assert_eq!(all.files, parts[0].usage.as_ref().unwrap().files + parts[1].usage.as_ref().unwrap().files);
    /// # Ok::<(), appmon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_cancelled`](crate::Error::is_cancelled) when `cancel` was set. A tree that cannot be opened has its error in
    /// its [`ScannedTree`].
    pub fn run_each(&self, cancel: &Cancel, progress: &Progress) -> Result<Vec<ScannedTree>> {
        run(self, cancel, progress)
    }
}

/// Scans all trees; each directory counts for the tree that it belongs to.
fn run(scan: &Scan, cancel: &Cancel, progress: &Progress) -> Result<Vec<ScannedTree>> {
    let start = Instant::now();
    // A scan with a limited rate needs no more than one thread.
    let plan = ThreadCounts::new(scan.threads.or(scan.entries_per_second.map(|_| 1)));
    let table = OnceCell::new();
    let table = || table.get_or_init(|| Table::read().ok()).as_ref();
    let mut paths: Vec<Cow<'_, Path>> = Vec::with_capacity(scan.paths.len());
    let mut roots = Vec::with_capacity(scan.paths.len());
    for (path, index) in scan.paths.iter().zip(0..) {
        let led = if scan.follow { table().map(|table| follow(table, path)) } else { None };
        let (path, root) = match led {
            None | Some(Led::There) => (Cow::from(path), Root::find(path, index, scan.boundary)),
            Some(Led::To(real)) => (Cow::from(real.clone()), Root::find(&real, index, scan.boundary)),
            Some(Led::Elsewhere(real)) => (Cow::from(path), Root::elsewhere(real)),
        };
        paths.push(path);
        roots.push(root);
    }
    let (ids, same_as) = RootIds::new(roots.iter().map(|root| root.place.as_ref().map(|(_, entry)| entry)));
    for (root, same_as) in roots.iter_mut().zip(same_as) {
        root.same_as = same_as;
    }
    let directory = |root: &Root| root.place.as_ref().map(|(_, entry)| *entry).filter(EntryStat::is_dir);
    let (mounted, local) = if roots.iter().any(|root| directory(root).is_some()) {
        let paths = paths.iter().map(|path| &**path);
        Mounted::find(table(), paths.zip(roots.iter().map(directory)), scan.boundary)
    } else {
        (Mounted::default(), Vec::new())
    };
    for (root, is_local) in roots.iter_mut().zip(local) {
        root.is_local = is_local;
    }
    // The names of a root that is a file can be read twice.
    let files = roots.iter().filter_map(|root| root.place.as_ref()).any(|(_, entry)| !entry.is_dir());
    let shared = ScanContext {
        roots,
        ids,
        mounted,
        exclude: &scan.exclude,
        largest: scan.largest,
        limits: Limits::new(cancel, start, scan.max_duration, scan.max_entries, scan.entries_per_second),
        progress,
        queue: Queue::new(plan.most),
        links: Links::new(files),
        descriptors: Descriptors::within_limit(),
    };
    let mut by_root = scaler(&shared, plan);
    if shared.limits.is_cancelled() {
        return Err(Error::cancelled());
    }
    for link in shared.links.rest() {
        if let Some(root_totals) = by_root.get_mut(link.root) {
            root_totals.totals.count_linked(link.allocated_bytes, link.apparent_bytes, 1);
        }
    }
    let stopped = shared.limits.reason();
    let took = start.elapsed();
    let parts = shared.roots.into_iter().zip(by_root).zip(&scan.paths).map(|((root, root_totals), path)| {
        let errors = (root_totals.errors.count > 0).then_some(Partial::Errors);
        let usage = Usage { partial: stopped.or(errors), took, ..root_totals.usage() };
        let usage = match root.error.into_inner() {
            0 => Ok(usage),
            errno => {
                let errno = || Error::os(Errno::from_raw_os_error(errno));
                Err(root.elsewhere.as_deref().map_or_else(errno, elsewhere).at(path))
            }
        };
        let inside = Some(root.inside.into_inner()).filter(|inside| *inside != NOWHERE);
        ScannedTree { path: path.as_path().into(), usage, inside, same_as: root.same_as, top: root_totals.top }
    });
    Ok(parts.collect())
}

fn elsewhere(real: &Path) -> Error {
    Error::config(format!("a symbolic link in it leads to {}, which is on another mount", real.display()))
}

/// Runs the threads, and returns the totals of each root.
fn scaler(shared: &ScanContext<'_>, plan: ThreadCounts) -> Vec<RootTotals> {
    std::thread::scope(|scope| {
        let mut helpers = Vec::new();
        let mut started = 1;
        let mut spawn = |threads| {
            for own in std::mem::replace(&mut started, threads)..threads {
                let helper = move || {
                    let _guard = PanicGuard(shared);
                    Worker::new(shared, own, None).run()
                };
                // If no thread can be started, the others do its work.
                if let Ok(helper) =
                    std::thread::Builder::new().name("appmon-scan".to_owned()).spawn_scoped(scope, helper)
                {
                    helpers.push(helper);
                }
            }
        };
        let _guard = PanicGuard(shared);
        let mut worker = Worker::new(shared, 0, Some(Scaler::new(plan, &mut spawn)));
        for root in &shared.roots {
            if let (Some((node, entry)), None) = (&root.place, root.same_as)
                && shared.limits.allow_entry()
            {
                worker.counter.count_root(node, entry);
                if entry.is_dir() {
                    shared.queue.push(0, Task::Whole(Work::Root(Arc::clone(node))));
                }
            }
        }
        let mut by_root = worker.run();
        for helper in helpers {
            match helper.join() {
                Ok(others) => {
                    for (root_totals, other) in by_root.iter_mut().zip(others) {
                        root_totals.add(other);
                    }
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        by_root
    })
}

/// Stops the scan when its thread panics, so that the others do not wait for it.
struct PanicGuard<'a>(&'a ScanContext<'a>);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.limits.break_off();
        }
    }
}
