//! What is known of the watched trees, and what waits to be read.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::CStr;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use rustix::fs::CWD;
use rustix::fs::inotify::ReadFlags;

use super::entry_cache::{LARGE, MOST};
use super::links::{Facts, Links};
use super::nodes::{Node, NodeId, Nodes, Queued};
use super::notify::{InotifyEvent, Notify, Wd};
use super::roots::{Found, Place, Roots};
use super::totals::Totals;
use super::wds::Wds;
use crate::Monotonic;
use crate::fs::scan::{Entry, Exclude, FileId, Mounted};

/// The directories, and the totals of the trees: those are kept by differences, so that what did not change costs nothing.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Nodes,
    pub(super) roots: Roots,
    /// Where other mounts begin in them, and of which roots that is.
    pub(super) mounted: Mounted,
    mounted_in: Vec<Option<(FileId, Option<u64>)>>,
    pub(super) links: Links,
    pub(super) wds: Wds,
    /// By root: the directories, and the files with one name.
    pub(super) totals: Vec<Totals>,
    /// Directories that have no watch for want of one.
    pub(super) refused: usize,
    /// Those with something that could not be read.
    pub(super) failed: BTreeSet<NodeId>,
    pub(super) failures_changed: bool,
    /// Directories to be read. One that was dropped since can be among them; the node says what is true.
    pending: VecDeque<NodeId>,
    /// Those that were not where they were, to be tried again when more is known.
    pub(super) missing: Vec<NodeId>,
    /// Whether anything was read since the first of them.
    pub(super) progress: bool,
    /// Those that have to wait for the next refresh.
    pub(super) put_off: Vec<NodeId>,
    /// Directories that are no more where they were: to be found elsewhere, or dropped.
    pub(super) orphans: HashMap<FileId, NodeId>,
    /// By directory, the names of directories that were removed from it since it was read: what has one of them now is
    /// another one, though it may have the number and even the watch of the old one (subvolumes of btrfs).
    pub(super) removed: HashMap<NodeId, HashSet<Box<CStr>>>,
    /// Whether there was any since the orphans were settled.
    pub(super) any_removed: bool,
    /// Files whose names are not all known since an event: to be looked for.
    pub(super) short: HashSet<FileId>,
    /// Those that were looked for.
    pub(super) hunted: Vec<FileId>,
    /// Files with several names that lost one here.
    pub(super) lost: HashSet<FileId>,
    /// Entries in the caches.
    pub(super) cached: usize,
    /// Directories with files that can change without an event, how many those are, and which was asked last.
    pub(super) unheard: BTreeSet<NodeId>,
    pub(super) unheard_names: usize,
    pub(super) unheard_turn: Option<(NodeId, Box<CStr>)>,
    /// The move under way of a file that may be open for writing.
    pub(super) moved_open: Option<u32>,
    /// Watches to be given back.
    pub(super) unneeded: Vec<Wd>,
    /// Whether what counts depends on the paths: something is left out by them.
    pub(super) by_path: bool,
    /// Counts the refreshes.
    pub(super) round: u32,
    /// So many directories may be known, and so many were found by the readings under way.
    pub(super) most: usize,
    pub(super) found: AtomicUsize,
    /// Whether a file system went away under its watches, and whether events were lost.
    pub(super) unmounted: bool,
    pub(super) overflowed: bool,
}

impl Tree {
    pub(super) fn new(roots: Roots) -> Self {
        let count = roots.all.len();
        Self {
            nodes: Nodes::default(),
            roots,
            mounted: Mounted::default(),
            mounted_in: Vec::new(),
            links: Links::new(count),
            wds: Wds::default(),
            totals: vec![Totals::default(); count],
            refused: 0,
            failed: BTreeSet::new(),
            failures_changed: false,
            pending: VecDeque::new(),
            missing: Vec::new(),
            progress: false,
            put_off: Vec::new(),
            orphans: HashMap::new(),
            removed: HashMap::new(),
            any_removed: false,
            short: HashSet::new(),
            hunted: Vec::new(),
            lost: HashSet::new(),
            cached: 0,
            unheard: BTreeSet::new(),
            unheard_names: 0,
            unheard_turn: None,
            moved_open: None,
            unneeded: Vec::new(),
            by_path: false,
            round: 0,
            most: usize::MAX,
            found: AtomicUsize::new(0),
            unmounted: false,
            overflowed: false,
        }
    }

    /// A directory is to be read.
    pub(super) fn queue(&mut self, id: NodeId, why: Queued) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.queued = node.queued.max(why);
            self.try_again(id);
        }
    }

    /// A directory is to be tried again, after those that wait.
    pub(super) fn try_again(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id)
            && !std::mem::replace(&mut node.listed, true)
        {
            self.pending.push_back(id);
        }
    }

    /// What was missed is to be tried again, where more is known by now; otherwise it is put off. Gives whether it is tried.
    pub(super) fn look_for_missing(&mut self) -> bool {
        let missing = std::mem::take(&mut self.missing);
        let again = std::mem::take(&mut self.progress) && !missing.is_empty();
        for id in missing {
            if again { self.try_again(id) } else { self.put_off.push(id) }
        }
        again
    }

    /// What was put off is to be read now.
    pub(super) fn take_up_again(&mut self) {
        for id in std::mem::take(&mut self.put_off) {
            self.try_again(id);
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next directories to be read. One that changes all the time, and one that rests, is left for the next refresh.
    pub(super) fn next(&mut self, most: usize, now: Monotonic) -> Vec<NodeId> {
        const TIMES: u8 = 3;
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some(id) = self.pending.pop_front()
        {
            let round = self.round;
            let lost = self.is_lost(id);
            let Some(node) = self.nodes.get_mut(id) else { continue };
            // What is lost is adopted, and comes back, or it is dropped.
            if !std::mem::take(&mut node.listed) || node.queued == Queued::No || lost {
                continue;
            }
            let times = if node.round.0 == round { node.round.1 } else { 0 };
            if times < TIMES && node.may_read(now) {
                node.round = (round, times.saturating_add(1));
                batch.push(id);
            } else {
                self.put_off.push(id);
            }
        }
        batch
    }

    /// Whether a directory is an orphan: it has no path.
    fn is_lost(&self, id: NodeId) -> bool {
        self.nodes.get(id).is_some_and(|node| node.parent.is_none() && self.orphans.get(&node.id) == Some(&id))
    }

    /// An event.
    pub(super) fn on_event(&mut self, event: &InotifyEvent<'_>, exclude: &Exclude) {
        if event.what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.overflowed = true;
            return;
        }
        if event.what.contains(ReadFlags::IGNORED) {
            for id in self.wds.take(event.wd) {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.wd = None;
                }
                self.queue(id, Queued::Changed);
            }
            return;
        }
        let nodes: Vec<NodeId> = self.wds.of(event.wd).collect();
        for id in nodes {
            self.on_event_of(id, event, exclude);
        }
    }

    fn on_event_of(&mut self, id: NodeId, event: &InotifyEvent<'_>, exclude: &Exclude) {
        let what = event.what;
        let Some(node) = self.nodes.get_mut(id) else { return };
        let gone = ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if what.intersects(gone) {
            self.unmounted |= what.contains(ReadFlags::UNMOUNT);
            // What is in it did not change; when it is gone for good, the watch is, and that is told too.
            if let Some(parent) = node.parent {
                self.queue(parent, Queued::Changed);
            }
            return;
        }
        let Some(name) = event.name else { return self.queue(id, Queued::Changed) };
        let content = ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE | ReadFlags::ATTRIB;
        if what.intersects(content) && !exclude.is_empty() {
            let root = node.root as usize;
            let mut path = Vec::new();
            let below = self.nodes.path(id, &mut path);
            path.extend_from_slice(name.to_bytes());
            if exclude.matches(root, path.get(below..).unwrap_or_default(), name.to_bytes()) {
                return;
            }
        }
        if what.contains(ReadFlags::ISDIR) {
            if what.contains(ReadFlags::DELETE) {
                self.removed.entry(id).or_default().insert(name.into());
                self.any_removed = true;
            }
            self.queue(id, Queued::Changed);
            // Whether it can be read may have changed.
            if what.contains(ReadFlags::ATTRIB)
                && let Some(child) = self.nodes.child(id, name.to_bytes())
            {
                self.queue(child, Queued::Changed);
            }
            return;
        }
        self.opened_or_closed(id, name, what, event.cookie);
        self.touch(id, name);
    }

    /// An entry of a directory changed that is no directory.
    pub(super) fn touch(&mut self, id: NodeId, name: &CStr) {
        let entry_cache = self.nodes.get_mut(id).and_then(|node| node.entry_cache.as_deref_mut());
        let why = if entry_cache.is_some_and(|entry_cache| entry_cache.touch(name)) {
            Queued::Names
        } else {
            Queued::Changed
        };
        self.queue(id, why);
    }

    /// Whether it is to be kept what each entry of a directory counts: when it is large, and changed.
    pub(super) fn wants_ledger(&self, node: &Node) -> bool {
        let (own, used) =
            node.entry_cache.as_ref().map_or((0, false), |entry_cache| (entry_cache.len(), entry_cache.used));
        let others = self.cached.saturating_sub(own);
        node.entries >= LARGE
            && (node.queued != Queued::InTurn || used)
            && others.saturating_add(node.entries as usize) <= MOST
    }

    /// Looks at the paths of the roots, and begins anew where there is another directory.
    pub(super) fn look_at_roots(&mut self, notify: Option<&Notify>) {
        let (mut changed, mut retold) = (false, Vec::new());
        for (found, index) in self.roots.look().into_iter().zip(0..) {
            let place = match found {
                Found::Unchanged => match self.replaced(index, notify) {
                    Some(entry) => self.plant(entry, index),
                    None => continue,
                },
                Found::Missing(errno) => Place::Missing(errno),
                Found::Same => Place::Same,
                Found::Entry(entry) if entry.is_dir() => self.plant(entry, index),
                Found::Entry(entry) => Place::File(entry),
            };
            let fence = match place {
                Place::Directory(entry, _) | Place::File(entry) => Some(self.roots.fence(&entry)),
                Place::Missing(_) | Place::Same => None,
            };
            let Some(root) = self.roots.all.get_mut(index as usize) else { continue };
            let old = std::mem::replace(&mut root.place, place);
            root.fence = fence.unwrap_or(root.fence);
            if let Place::Directory(..) = place {
                root.real = std::fs::canonicalize(&root.path).ok();
            }
            if let (Place::File(old), Place::File(new)) = (old, place)
                && (old.links > 1) != (new.links > 1)
            {
                // A file with several names is told by them, in whatever trees they are.
                let parent = root.path.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
                retold.extend(parent.zip(root.path.file_name()).map(|(parent, name)| parent.join(name)));
            }
            match old {
                Place::Directory(_, node) => self.drop_tree(node),
                Place::File(entry) if entry.links > 1 => self.links.unsee_root(entry.id, index),
                _ => {}
            }
            if let Place::File(entry) = place
                && entry.links > 1
            {
                self.links.see_root(entry.id, Facts::of(&entry), index);
            }
            changed |= matches!(old, Place::Directory(..)) || matches!(place, Place::Directory(..));
        }
        for path in retold {
            self.changed_at(&path);
        }
        if changed && self.roots.all.len() > 1 {
            self.part_from_roots();
        }
        // What could not be opened may be so now.
        for root in 0..self.roots.all.len() {
            if let Some(Place::Directory(_, node)) = self.roots.all.get(root).map(|root| root.place)
                && self.failed.contains(&node)
            {
                self.queue(node, Queued::Changed);
            }
        }
    }

    /// What is at the path of a root instead of what looks the same: no directory above tells of that.
    fn replaced(&self, root: u32, notify: Option<&Notify>) -> Option<Entry> {
        let root = self.roots.get(root)?;
        let Place::Directory(_, node) = root.place else { return None };
        let known = self.nodes.get(node)?.wd?;
        if notify?.is_still(&root.name, known) {
            return None;
        }
        Entry::read_local(CWD, &root.name).ok().filter(Entry::is_dir)
    }

    /// Finds out where other mounts begin, if the mount table `has_changed`, or a root is another.
    pub(super) fn look_for_mounts(&mut self, has_changed: bool) {
        let (roots, boundary) = self.roots.directories();
        let roots: Vec<_> = roots.collect();
        let key = |entry: Entry| (entry.id, entry.mount);
        let of: Vec<_> = roots.iter().map(|(_, entry)| entry.map(key)).collect();
        if has_changed || of != self.mounted_in {
            (self.mounted, _) = Mounted::find(roots, boundary);
            self.mounted_in = of;
        }
    }

    fn plant(&mut self, entry: Entry, root: u32) -> Place {
        let name = self.roots.get(root).map(|root| root.name.as_c_str().into()).unwrap_or_default();
        let node = self.add(Node::new(None, name, (entry.id, entry.born), root, Totals::of(&entry)));
        // Later on a new root is made by somebody, and with it perhaps second names of files that are known.
        self.queue(node, if self.round > 1 { Queued::Changed } else { Queued::InTurn });
        Place::Directory(entry, node)
    }

    /// A directory in one tree that is the root of another is not of the former: its parent is read again.
    fn part_from_roots(&mut self) {
        let is_root = |node: &Node| {
            self.roots.all.iter().any(|root| matches!(root.place, Place::Directory(entry, _) if entry.id == node.id))
        };
        let parents: Vec<_> =
            self.nodes.iter().filter(|(_, node)| is_root(node)).map(|(_, node)| node.parent).collect();
        for parent in parents.into_iter().flatten() {
            self.queue(parent, Queued::Changed);
        }
    }

    /// Something else is at this path now, and no event told: its parent is read again.
    pub(super) fn changed_at(&mut self, path: &Path) {
        let mut starts: Vec<(NodeId, Vec<Vec<u8>>)> = Vec::new();
        for (root, below) in self.roots.above(path) {
            use std::os::unix::ffi::OsStrExt;
            starts.push((root, below.iter().map(|name| name.as_bytes().to_vec()).collect()));
        }
        for (root, names) in starts {
            let mut parent = root;
            // The parent, or how far the tree is known.
            for name in names.iter().take(names.len().saturating_sub(1)) {
                match self.nodes.child(parent, name) {
                    Some(child) => parent = child,
                    None => break,
                }
            }
            self.queue(parent, Queued::Changed);
        }
    }

    /// One more directory.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        if let Some(total) = self.totals.get_mut(node.root as usize) {
            total.add(&node.own);
        }
        self.nodes.insert(node)
    }

    /// Forgets a directory and all below it.
    pub(super) fn drop_tree(&mut self, id: NodeId) {
        let mut rest = vec![id];
        while let Some(id) = rest.pop() {
            let Some(node) = self.nodes.remove(id) else { continue };
            self.removed.remove(&id);
            if let Some(total) = self.totals.get_mut(node.root as usize) {
                total.subtract(&node.own);
            }
            for link in &node.links {
                self.links.unsee(link.id, id);
                self.lost.insert(link.id);
            }
            if let Some(wd) = node.wd
                && self.wds.remove(wd, id)
            {
                self.unneeded.push(wd);
            }
            self.refused = self.refused.saturating_sub(usize::from(node.refused));
            if self.failed.remove(&id) {
                self.failures_changed = true;
            }
            self.cached =
                self.cached.saturating_sub(node.entry_cache.as_ref().map_or(0, |entry_cache| entry_cache.len()));
            self.count_unheard(id, node.unheard.len(), 0);
            rest.extend(node.children);
        }
    }

    /// What was not found elsewhere is gone.
    pub(super) fn drop_orphans(&mut self) {
        for (_, orphan) in std::mem::take(&mut self.orphans) {
            self.drop_tree(orphan);
        }
        self.any_removed = false;
        let nodes = &self.nodes;
        self.put_off.retain(|id| nodes.get(*id).is_some_and(|node| node.queued != Queued::No));
    }
}
