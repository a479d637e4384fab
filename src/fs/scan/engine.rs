//! Sets up a scan, starts its threads, and puts together what they counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Instant;

use rustix::io::Errno;

use super::boundary::Fence;
use super::brake::Brake;
use super::crew::{Crew, Plan};
use super::entry::{Entry, FileId};
use super::exclude::Exclude;
use super::links::Links;
use super::mounted::Mounted;
use super::node::{Descriptors, Node};
use super::queue::Queue;
use super::tally::Tally;
use super::task::{Task, Work};
use super::worker::Worker;
use super::{Part, Partial, Progress, Scan, Usage};
use crate::{Cancel, Error, Result};

/// What the threads of a scan share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) roots: Vec<Root>,
    /// The roots by what they are, where there are several.
    by_id: HashMap<FileId, usize>,
    pub(super) mounted: Mounted,
    pub(super) exclude: &'a Exclude,
    pub(super) largest: usize,
    pub(super) brake: Brake<'a>,
    pub(super) progress: &'a Progress,
    pub(super) queue: Queue,
    pub(super) links: Links,
    pub(super) descriptors: Arc<Descriptors>,
}

/// One of the directories that are told apart.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) fence: Fence,
    /// Whether it is on a file system that cannot hang.
    pub(super) is_local: bool,
    /// What it is, unless it could not be asked.
    place: Option<(Arc<Node>, Entry)>,
    /// Why it could not be read; 0 if it could.
    error: AtomicI32,
    /// The root whose tree it was met in.
    inside: AtomicUsize,
    /// The root before it that is the same directory.
    same_as: Option<usize>,
}

const NOWHERE: usize = usize::MAX;

impl Root {
    fn find(path: &Path, index: usize, scan: &Scan) -> Self {
        let found = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Errno::INVAL)
            .and_then(|path| Entry::root(&path).map(|entry| (Node::root(path.into(), entry.id, index), entry)));
        Self {
            fence: found.as_ref().map_or(Fence::None, |(_, entry)| Fence::new(scan.boundary, entry)),
            error: AtomicI32::new(found.as_ref().err().map_or(0, |errno| errno.raw_os_error())),
            is_local: false,
            place: found.ok(),
            inside: AtomicUsize::new(NOWHERE),
            same_as: None,
        }
    }

    pub(super) fn failed(&self, errno: Errno) {
        self.error.store(errno.raw_os_error(), Ordering::Relaxed);
    }
}

impl Shared<'_> {
    /// Whether an entry in the tree of root `of` is a root itself, and so not of that tree.
    #[inline]
    pub(super) fn is_root(&self, entry: &Entry, of: usize) -> bool {
        !self.by_id.is_empty() && self.meet(entry, of)
    }

    fn meet(&self, entry: &Entry, of: usize) -> bool {
        let root = self.by_id.get(&entry.id).and_then(|root| self.roots.get(*root));
        if let Some(root) = root {
            // The first, where it is met in several trees by mounts of the same directory.
            root.inside.fetch_min(of, Ordering::Relaxed);
        }
        root.is_some()
    }
}

/// Scans all directories, each counted where it belongs.
pub(super) fn run(scan: &Scan, cancel: &Cancel, progress: &Progress) -> Result<Vec<Part>> {
    let start = Instant::now();
    // Who leaves the disk to others has no use for more than one thread.
    let plan = Plan::new(scan.threads.or(scan.entries_per_second.map(|_| 1)));
    let mut roots: Vec<_> = scan.paths.iter().zip(0..).map(|(path, index)| Root::find(path, index, scan)).collect();
    let by_id = tell_apart(&mut roots);
    let directory = |root: &Root| root.place.as_ref().map(|(_, entry)| *entry).filter(Entry::is_dir);
    let (mounted, local) = if roots.iter().any(|root| directory(root).is_some()) {
        let paths = scan.paths.iter().map(PathBuf::as_path);
        Mounted::find(paths.zip(roots.iter().map(directory)), scan.boundary)
    } else {
        (Mounted::default(), Vec::new())
    };
    for (root, is_local) in roots.iter_mut().zip(local) {
        root.is_local = is_local;
    }
    // Names of what is a root itself can be met twice.
    let files = roots.iter().filter_map(|root| root.place.as_ref()).any(|(_, entry)| !entry.is_dir());
    let shared = Shared {
        roots,
        by_id,
        mounted,
        exclude: &scan.exclude,
        largest: scan.largest,
        brake: Brake::new(cancel, start, scan.max_duration, scan.max_entries, scan.entries_per_second),
        progress,
        queue: Queue::new(plan.most),
        links: Links::new(files),
        descriptors: Descriptors::within_limit(),
    };
    let mut tallies = crew(&shared, plan);
    if shared.brake.is_cancelled() {
        return Err(Error::cancelled());
    }
    for link in shared.links.rest() {
        if let Some(tally) = tallies.get_mut(link.root) {
            tally.sums.count_link(&link);
        }
    }
    let stopped = shared.brake.reason();
    let took = start.elapsed();
    let parts = shared.roots.into_iter().zip(tallies).zip(&scan.paths).map(|((root, tally), path)| {
        let errors = (tally.errors.count > 0).then_some(Partial::Errors);
        let usage = Usage { partial: stopped.or(errors), took, ..tally.usage() };
        let usage = match root.error.into_inner() {
            0 => Ok(usage),
            errno => Err(Error::from(Errno::from_raw_os_error(errno)).at(path)),
        };
        let inside = Some(root.inside.into_inner()).filter(|inside| *inside != NOWHERE);
        Part { path: path.as_path().into(), usage, inside, same_as: root.same_as, top: tally.top }
    });
    Ok(parts.collect())
}

/// Finds roots that are the same; where there are several, gives them by what they are.
fn tell_apart(roots: &mut [Root]) -> HashMap<FileId, usize> {
    let mut by_id = HashMap::new();
    if roots.len() > 1 {
        for (root, index) in roots.iter_mut().zip(0..) {
            let Some((_, entry)) = &root.place else { continue };
            // A file with several names is told by them, wherever they are.
            if !entry.is_dir() && entry.links > 1 {
                continue;
            }
            match by_id.entry(entry.id) {
                Slot::Vacant(slot) => _ = slot.insert(index),
                Slot::Occupied(first) => root.same_as = Some(*first.get()),
            }
        }
    }
    by_id
}

/// Lets the threads work; gives what was counted of each root.
fn crew(shared: &Shared<'_>, plan: Plan) -> Vec<Tally> {
    std::thread::scope(|scope| {
        let mut helpers = Vec::new();
        let mut started = 1;
        let mut recruit = |threads| {
            for own in std::mem::replace(&mut started, threads)..threads {
                let helper = move || {
                    let _guard = Guard(shared);
                    Worker::new(shared, own, None).run()
                };
                // Without a thread the others do its work.
                if let Ok(helper) =
                    std::thread::Builder::new().name("appmon-scan".to_owned()).spawn_scoped(scope, helper)
                {
                    helpers.push(helper);
                }
            }
        };
        let _guard = Guard(shared);
        let mut worker = Worker::new(shared, 0, Some(Crew::new(plan, &mut recruit)));
        for root in &shared.roots {
            if let (Some((node, entry)), None) = (&root.place, root.same_as)
                && shared.brake.admits()
            {
                worker.count_root(node, entry);
                if entry.is_dir() {
                    shared.queue.push(0, Task::Whole(Work::Root(Arc::clone(node))));
                }
            }
        }
        let mut tallies = worker.run();
        for helper in helpers {
            match helper.join() {
                Ok(others) => {
                    for (tally, other) in tallies.iter_mut().zip(others) {
                        tally.add(other);
                    }
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        tallies
    })
}

/// When one thread panics, the others do not wait for it.
struct Guard<'a>(&'a Shared<'a>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.brake.break_off();
        }
    }
}
