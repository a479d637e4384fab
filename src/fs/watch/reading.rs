//! Reads one directory. The watch is added first, so that changes during the reading are reported.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::counts::Counts;
use super::entry_cache::{EntryCache, Item};
use super::links::Facts;
use super::nodes::{Fault, LinkName, NO_SPAN, NodeId, Queued};
use super::notify::{Notify, WatchOutcome};
use super::tree::Tree;
use super::unreported::{self, Unreported};
use crate::Cancel;
use crate::fs::walk::{
    Born, EntryStat, Exclude, Fence, FileId, LIST, Listing, PLACE, PathBuffer, Step, is_mounted, open_way, vanished,
};

/// The outcome of reading a directory.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    Read(Box<DirectoryContent>),
    /// Only some of its names were checked.
    Asked(Box<Asked>),
    /// It is not at its path any more.
    Vanished,
    Failed(Errno),
    /// No descriptor is available, or the reading was cancelled.
    Later,
}

/// The direct content of a directory.
#[derive(Debug)]
pub(super) struct DirectoryContent {
    pub(super) itself: Counts,
    /// The totals of the files that have one name, and the number of names of those that have several.
    pub(super) counts: Counts,
    pub(super) children: Vec<ChildDirectory>,
    pub(super) links: Vec<(LinkName, Facts)>,
    pub(super) faults: Vec<Fault>,
    pub(super) span: (u64, u64),
    pub(super) odd: bool,
    pub(super) entries: u32,
    /// Microseconds.
    pub(super) took: u32,
    /// `None` if it is watched already.
    pub(super) watch: Option<WatchOutcome>,
    pub(super) entry_cache: Option<Box<EntryCache>>,
    pub(super) unreported: unreported::Names,
}

/// A directory in the one that was read.
#[derive(Debug)]
pub(super) struct ChildDirectory {
    pub(super) name: Box<CStr>,
    pub(super) id: FileId,
    pub(super) born: Option<Born>,
    pub(super) itself: Counts,
}

/// The new entries of some names of a directory; `None` for a name that does not exist, or is not counted.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) itself: Counts,
    pub(super) names: Vec<(Box<CStr>, Option<EntryStat>)>,
}

/// Reads directories for one thread.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    tree: &'a Tree,
    notify: Option<&'a Notify>,
    exclude: &'a Exclude,
    cancel: &'a Cancel,
    buffer: Box<[MaybeUninit<u8>]>,
    path: PathBuffer,
}

/// The directory that is read.
struct Here<'a> {
    id: NodeId,
    root: u32,
    fence: Fence,
    /// Names at which other mounts begin.
    mounted: &'a [CString],
}

/// The size of the buffer for one system call.
const BUFFER: usize = 32 << 10;

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a Tree, notify: Option<&'a Notify>, exclude: &'a Exclude, cancel: &'a Cancel) -> Self {
        let buffer = vec![MaybeUninit::uninit(); BUFFER].into();
        Self { tree, notify, exclude, cancel, buffer, path: PathBuffer::default() }
    }

    pub(super) fn read(&mut self, id: NodeId) -> ReadOutcome {
        let Some(node) = self.tree.nodes.get(id) else { return ReadOutcome::Vanished };
        if self.cancel.is_cancelled() {
            return ReadOutcome::Later;
        }
        let start = Instant::now();
        self.path.leave();
        let fence = self.tree.fence(node);
        let opened = open(self.tree, id, LIST).and_then(|dir| {
            let itself = EntryStat::of(&dir)?;
            if itself.id == node.id { Ok((dir, itself)) } else { Err(Errno::NOENT) }
        });
        let (dir, itself) = match opened {
            Ok(opened) => opened,
            // A directory with something mounted over it counts as removed.
            Err(errno) if vanished(errno) || errno == Errno::XDEV => return ReadOutcome::Vanished,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => return ReadOutcome::Later,
            Err(errno) => return ReadOutcome::Failed(errno),
        };
        let mounted = self.tree.mounted.names(node.id);
        let here = Here { id, root: node.root, fence, mounted };
        let itself = Counts::of_directory(&itself);
        if node.queued == Queued::Names
            && let Some(entry_cache) = &node.entry_cache
        {
            return self.ask(&here, &dir, itself, entry_cache);
        }
        let watch = match self.notify {
            // The readings in turn check that the watch belongs to this directory.
            _ if node.wd.is_some() && node.queued != Queued::InTurn => None,
            Some(notify) => Some(notify.watch(dir.as_fd(), node.wd.is_some())),
            None => Some(WatchOutcome::Refused),
        };
        let mut reading = DirectoryContent {
            itself,
            counts: Counts::default(),
            children: Vec::new(),
            links: Vec::new(),
            faults: Vec::new(),
            span: NO_SPAN,
            odd: false,
            entries: 0,
            took: 0,
            watch,
            entry_cache: self.tree.wants_entry_cache(node).then(Box::default),
            unreported: unreported::Names::new(),
        };
        let is_open = |name: &CStr| node.unreported.get(name).is_some_and(|file| file.open);
        if !self.list(&here, &dir, is_open, &mut reading) {
            if let (Some(WatchOutcome::At(wd)), None, Some(notify)) = (watch, node.wd, self.notify)
                && self.tree.wds.of(wd).next().is_none()
            {
                notify.forget(wd);
            }
            return ReadOutcome::Later;
        }
        reading.took = u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX);
        ReadOutcome::Read(Box::new(reading))
    }

    /// Reads all entries; `false` when it was cancelled.
    fn list(
        &mut self,
        here: &Here<'_>,
        dir: &OwnedFd,
        is_open: impl Fn(&CStr) -> bool,
        reading: &mut DirectoryContent,
    ) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut listing = Listing::new(dir, &mut buffer);
        let mut goes_on = true;
        loop {
            let entry = match listing.next() {
                Step::Entry(entry) => entry,
                Step::Nothing => continue,
                Step::End => break,
                Step::Failed(errno) => {
                    reading.faults.push(Fault { name: None, errno });
                    break;
                }
            };
            let name = entry.file_name();
            if self.is_excluded(here, name) {
                continue;
            }
            if self.cancel.is_cancelled() {
                goes_on = false;
                break;
            }
            if is_mounted(here.mounted, dir, name) {
                reading.counts.totals.count_mount();
                continue;
            }
            match EntryStat::read_local(dir, name) {
                Ok(found) => {
                    if here.fence.excludes(&found) {
                        reading.counts.totals.count_mount();
                    } else if !self.tree.roots.is_root(&found) {
                        reading.odd |= found.id.inode != entry.ino() && found.mount_root != Some(true);
                        reading.count(name, &found, is_open(name));
                        if found.is_dir() && self.is_too_much() {
                            break;
                        }
                    }
                }
                Err(errno) if vanished(errno) => {}
                Err(errno) => reading.faults.push(Fault { name: Some(name.into()), errno }),
            }
        }
        self.buffer = buffer;
        goes_on
    }

    /// Whether so many new directories were found that the tree is given up.
    fn is_too_much(&self) -> bool {
        self.tree.found.fetch_add(1, Ordering::Relaxed) / 2 > self.tree.most
    }

    /// Checks only the names that events reported.
    fn ask(&mut self, here: &Here<'_>, dir: &OwnedFd, itself: Counts, entry_cache: &EntryCache) -> ReadOutcome {
        let mut names = Vec::with_capacity(entry_cache.touched.len());
        for name in &entry_cache.touched {
            if self.is_excluded(here, name) {
                continue;
            }
            if is_mounted(here.mounted, dir, name) {
                names.push((name.clone(), None));
                continue;
            }
            match EntryStat::read_local(dir, name) {
                Ok(found) => names.push((name.clone(), Some(found).filter(|found| !self.is_outside(here, found)))),
                Err(errno) if vanished(errno) => names.push((name.clone(), None)),
                Err(_) => return ReadOutcome::Later,
            }
        }
        ReadOutcome::Asked(Box::new(Asked { itself, names }))
    }

    fn is_excluded(&mut self, here: &Here<'_>, name: &CStr) -> bool {
        if self.exclude.is_empty() {
            return false;
        }
        let path = self.path.below_root(&self.tree.nodes.way(here.id), name);
        self.exclude.matches(here.root as usize, path, name.to_bytes())
    }

    fn is_outside(&self, here: &Here<'_>, entry: &EntryStat) -> bool {
        here.fence.excludes(entry) || self.tree.roots.is_root(entry)
    }

    /// Whether a listing has a file of `wanted`, which is sorted, that is still counted in this directory as a file with one
    /// name. Only the listing is read.
    pub(super) fn has_one_of(&mut self, id: NodeId, wanted: &[FileId]) -> bool {
        let Some(node) = self.tree.nodes.get(id) else { return false };
        if node.odd {
            return true;
        }
        let Ok(dir) = open(self.tree, id, LIST) else { return false };
        let mut matching: Vec<FileId> = Vec::new();
        let mut listing = Listing::new(&dir, &mut self.buffer);
        loop {
            let inode = match listing.next() {
                Step::Entry(entry) => entry.ino(),
                Step::Nothing => continue,
                Step::End | Step::Failed(_) => break,
            };
            let at = wanted.partition_point(|id| id.inode < inode);
            matching.extend(wanted.get(at..).unwrap_or_default().iter().take_while(|id| id.inode == inode));
        }
        matching.sort_unstable();
        matching.chunk_by(|a, b| a == b).any(|names| {
            let id_of_file = names.first().copied().unwrap_or(node.id);
            names.len() > self.tree.links.names_in(id_of_file, id) as usize
        })
    }
}

impl DirectoryContent {
    fn count(&mut self, name: &CStr, entry: &EntryStat, is_open: bool) {
        if let Some(file) = Unreported::of(entry, is_open) {
            self.unreported.insert(name.into(), file);
        }
        self.entries = self.entries.saturating_add(1);
        let item = if entry.is_dir() {
            self.children.push(ChildDirectory {
                name: name.into(),
                id: entry.id,
                born: entry.born,
                itself: Counts::of_directory(entry),
            });
            Item::Directory
        } else if entry.links > 1 {
            self.links.push((LinkName { id: entry.id, name: name.into() }, Facts::of(entry)));
            Item::Link(entry.id)
        } else {
            self.span = widen(self.span, entry.id.inode);
            let EntryStat { allocated_bytes, apparent_bytes, .. } = *entry;
            Item::File { allocated_bytes, apparent_bytes }
        };
        self.counts.add(&item.counts());
        if let Some(entry_cache) = &mut self.entry_cache {
            entry_cache.set(name, Some(item));
        }
    }
}

/// Reads the entries of some names of a directory: `None` for a name that does not exist, or cannot be read. A new mount on
/// the way there that may hang is not touched.
pub(super) fn ask<'n>(
    tree: &Tree,
    id: NodeId,
    names: impl ExactSizeIterator<Item = &'n CStr>,
) -> Vec<Option<EntryStat>> {
    let count = names.len();
    let Some((node, dir)) = tree.nodes.get(id).zip(open(tree, id, PLACE).ok()) else {
        return vec![None; count];
    };
    let mounted = tree.mounted.names(node.id);
    let ask = |name| if is_mounted(mounted, &dir, name) { None } else { EntryStat::read_local(&dir, name).ok() };
    names.map(ask).collect()
}

/// Opens a directory. It has no path while it is in a moved directory that was not found yet.
fn open(tree: &Tree, id: NodeId, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let node = tree.nodes.get(id).filter(|_| tree.has_path(id)).ok_or(Errno::NOENT)?;
    open_way(&tree.nodes.way(id), tree.fence(node).is_mount(), flags)
}

/// Returns a span with one more number in it.
pub(super) fn widen(span: (u64, u64), number: u64) -> (u64, u64) {
    (span.0.min(number), span.1.max(number))
}
