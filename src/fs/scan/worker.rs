//! One thread of a scan, which reads directories, and shares those that it finds with the others.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::io::Errno;

use super::counter::Counter;
use super::node::{Dir, Node};
use super::opener::Opener;
use super::scaler::Scaler;
use super::shared::ScanContext;
use super::task::{Batch, Child, Chunk, Names, Task, Work};
use super::tree_totals::RootTotals;
use crate::fs::walk::{EntryStat, Fence, Listing, Step, is_mounted, vanished};

/// The state of one thread.
pub(super) struct Worker<'a> {
    shared: &'a ScanContext<'a>,
    /// The index of its deque in the queue.
    own: usize,
    pub(super) counter: Counter<'a>,
    /// The buffer for the entries of a directory.
    buffer: Box<[MaybeUninit<u8>]>,
    /// Directories found in the one that is read.
    found: Option<Batch>,
    opener: Opener<'a>,
    /// Only in the first thread.
    scaler: Option<Scaler<'a>>,
    seen: u32,
}

/// The directory that is read.
struct Here<'a> {
    node: Arc<Node>,
    dir: Arc<Dir>,
    fence: Fence,
    is_local: bool,
    /// Names at which other mounts begin.
    mounted: &'a [CString],
}

/// The size of the buffer for one system call.
const BUFFER: usize = 64 << 10;

/// The number of directories found in one directory after which its reading is postponed until they were read.
const FOUND: usize = 4096;

/// The number of names that are worth another thread.
const CHUNK: usize = 128;
const SMALL: usize = 32;

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a ScanContext<'a>, own: usize, scaler: Option<Scaler<'a>>) -> Self {
        Self {
            shared,
            own,
            counter: Counter::new(shared),
            buffer: vec![MaybeUninit::uninit(); BUFFER].into(),
            found: None,
            opener: Opener::new(&shared.descriptors, &shared.queue, &shared.limits, own > 0),
            scaler,
            seen: 0,
        }
    }

    /// Works until all is done, or the scan was stopped.
    pub(super) fn run(mut self) -> Vec<RootTotals> {
        let shared = self.shared;
        while let Some(work) = shared.queue.next(self.own, &shared.limits) {
            self.adjust();
            let stays = self.work(work);
            shared.queue.done();
            if !stays {
                break;
            }
        }
        self.counter.into_totals()
    }

    /// Does a piece of work. Returns `false` when there is no descriptor for this thread: the others go on alone.
    fn work(&mut self, work: Work) -> bool {
        match work {
            Work::Root(node) => self.open_root(node),
            Work::Directory(child) => return self.open_child(*child),
            Work::Rest(node, dir) => self.read(node, dir),
            Work::Names(chunk) => self.ask(chunk),
        }
        true
    }

    fn open_root(&mut self, node: Arc<Node>) {
        match self.opener.open_root(&node) {
            Ok(dir) => self.read(node, dir),
            Err(errno) => {
                if let Some(root) = self.shared.roots.get(node.root) {
                    root.failed(errno);
                }
            }
        }
    }

    fn open_child(&mut self, child: Child) -> bool {
        let fence = self.shared.roots.get(child.parent.root).map_or(Fence::None, |root| root.fence);
        match self.opener.open_child(&child, fence) {
            Ok(dir) => {
                let Child { parent, name, id, dir: kept } = child;
                drop(kept);
                self.read(Node::child(&parent, name, id), dir);
            }
            Err(errno) if vanished(errno) => {}
            // A mount was made there meanwhile.
            Err(Errno::XDEV) => {
                self.counter.totals.count_mount();
                self.counter.commit(child.parent.root);
            }
            Err(Errno::MFILE | Errno::NFILE) if self.own > 0 => {
                self.shared.queue.push(self.own, Task::Directories(Batch::one(child)));
                return false;
            }
            Err(errno) => {
                self.counter.leave();
                self.counter.fail(&child.parent, Some(&child.name), errno);
            }
        }
        true
    }

    /// Reads a directory to its end, or until enough was found in it.
    fn read(&mut self, node: Arc<Node>, dir: Arc<Dir>) {
        let here = self.enter(node, dir);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut listing = Listing::new(&here.dir, &mut buffer);
        let mut rest = false;
        loop {
            match listing.next() {
                Step::Entry(entry) => {
                    if !self.look_at(&here, entry.file_name()) {
                        break;
                    }
                }
                Step::Nothing => {}
                Step::End => break,
                Step::Failed(errno) => {
                    self.counter.fail(&here.node, None, errno);
                    break;
                }
            }
            if self.shared.queue.has_idle_threads() {
                self.hand_over(&here, &mut listing);
            }
            if listing.is_buffer_empty() && self.has_enough() {
                rest = true;
                break;
            }
        }
        self.buffer = buffer;
        if rest {
            // Pushed before the directories that were found: those are taken first.
            self.shared.queue.push(self.own, Task::Whole(Work::Rest(Arc::clone(&here.node), Arc::clone(&here.dir))));
        }
        self.leave(here);
    }

    /// Reads the metadata of names that another thread has listed.
    fn ask(&mut self, chunk: Chunk) {
        let here = self.enter(chunk.node, chunk.dir);
        for name in chunk.names.iter() {
            if !self.look_at(&here, name) {
                break;
            }
        }
        self.leave(here);
    }

    fn enter(&mut self, node: Arc<Node>, dir: Arc<Dir>) -> Here<'a> {
        self.counter.leave();
        let root = self.shared.roots.get(node.root);
        let (fence, is_local) = root.map_or((Fence::None, false), |root| (root.fence, root.is_local));
        let mounted = self.shared.mounted.names(node.id);
        Here { node, dir, fence, is_local, mounted }
    }

    fn leave(&mut self, here: Here<'_>) {
        self.give_found(&here);
        self.counter.commit(here.node.root);
        self.opener.leave(here.node, here.dir);
    }

    /// Counts one entry of a directory; returns `false` when the scan is stopped.
    #[inline]
    fn look_at(&mut self, here: &Here<'_>, name: &CStr) -> bool {
        if self.counter.is_excluded(&here.node, name) {
            return self.shared.limits.goes_on();
        }
        if !self.shared.limits.allow_entry() {
            return false;
        }
        self.seen = self.seen.wrapping_add(1);
        if self.seen.is_multiple_of(64) {
            self.adjust();
            self.counter.commit(here.node.root);
        }
        if is_mounted(here.mounted, &here.dir, name) {
            self.counter.totals.count_mount();
            return true;
        }
        let read =
            if here.is_local { EntryStat::read_local(&here.dir, name) } else { EntryStat::read(&here.dir, name) };
        match read {
            Ok(entry) => self.count(here, name, &entry),
            Err(errno) if vanished(errno) => {}
            Err(errno) => self.counter.fail(&here.node, Some(name), errno),
        }
        true
    }

    #[inline]
    fn count(&mut self, here: &Here<'_>, name: &CStr, entry: &EntryStat) {
        if here.fence.excludes(entry) {
            self.counter.totals.count_mount();
            return;
        }
        if self.shared.is_root(entry, here.node.root) {
            return;
        }
        if entry.is_dir() {
            self.counter.totals.count(entry);
            let found = self.found.get_or_insert_with(|| Batch::new(Arc::clone(&here.node), None));
            found.push(entry.id, name);
        } else {
            self.counter.count_file(&here.node, Some(name), entry);
        }
    }

    /// Passes the directories found and the names listed so far to other threads.
    #[cold]
    fn hand_over(&mut self, here: &Here<'_>, listing: &mut Listing<'_, &Arc<Dir>>) {
        if self.shared.queue.is_full(self.own) {
            return;
        }
        self.give_found(here);
        let (mut names, mut count) = (Names::default(), 0_usize);
        while !listing.is_buffer_empty() {
            let Step::Entry(entry) = listing.next() else { continue };
            names.push(entry.file_name());
            count = count.saturating_add(1);
            if count == CHUNK {
                let chunk = Chunk {
                    node: Arc::clone(&here.node),
                    dir: Arc::clone(&here.dir),
                    names: std::mem::take(&mut names),
                };
                self.shared.queue.push(self.own, Task::Whole(Work::Names(chunk)));
                count = 0;
            }
        }
        if count > SMALL {
            let chunk = Chunk { node: Arc::clone(&here.node), dir: Arc::clone(&here.dir), names };
            self.shared.queue.push(self.own, Task::Whole(Work::Names(chunk)));
        } else {
            for name in names.iter() {
                if !self.look_at(here, name) {
                    return;
                }
            }
        }
    }

    fn give_found(&mut self, here: &Here<'_>) {
        if let Some(mut found) = self.found.take() {
            found.dir = self.shared.descriptors.may_keep().then(|| Arc::clone(&here.dir));
            self.shared.queue.push(self.own, Task::Directories(found));
        }
    }

    fn has_enough(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.len() >= FOUND) && self.shared.descriptors.may_keep()
    }

    #[inline]
    fn adjust(&mut self) {
        if let Some(scaler) = &mut self.scaler {
            scaler.adjust(self.seen, !self.shared.queue.has_idle_threads());
        }
    }
}
