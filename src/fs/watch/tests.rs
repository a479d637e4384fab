//! After any change to a tree, a refresh reports the same usage as a scan.

mod cases;
mod cost;
mod limits;
mod mounting;
mod reuse;
mod storms;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Mode, RefreshReport, WatchedTree};
use crate::fs::scan::Scan;
use crate::fs::walk::Usage;
use crate::skipped::require;
use crate::{Cancel, Monotonic};

const SECOND: Duration = Duration::from_secs(1);

/// A tree, watched, on a clock of its own.
struct Rig {
    dir: TempDir,
    scan: Scan,
    watched: WatchedTree,
    now: Monotonic,
}

impl Rig {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(dir: TempDir) -> Self {
        let root = dir.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        Self::with(dir, Scan::new(root))
    }

    /// `dir` has the trees of `scan`, and files outside of them.
    fn with(dir: TempDir, scan: Scan) -> Self {
        let watched = WatchedTree::new(&scan).verify(Duration::from_secs(1_000_000));
        Self { dir, scan, watched, now: Monotonic::from_nanos(1_000_000_000_000) }
    }

    fn path(&self, path: &str) -> PathBuf {
        let root = self.dir.path().join("tree");
        if path.is_empty() { root } else { root.join(path) }
    }

    fn outside(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, bytes: usize) {
        std::fs::write(self.path(path), vec![1; bytes]).unwrap();
    }

    fn mkdir(&self, path: &str) {
        std::fs::create_dir_all(self.path(path)).unwrap();
    }

    fn refresh(&mut self) -> RefreshReport {
        self.now = self.now.plus(SECOND);
        self.watched.refresh(self.now, &Cancel::new()).unwrap()
    }

    /// One refresh, which has to be right.
    #[track_caller]
    fn check(&mut self) -> RefreshReport {
        let watched = self.refresh();
        assert!(watched.is_settled, "{watched:?}");
        self.compare(&watched);
        watched
    }

    /// As many refreshes as it takes until nothing is known to be out of date, and then it has to be right.
    #[track_caller]
    fn refresh_until_current(&mut self) -> RefreshReport {
        for _ in 0..50 {
            let watched = self.refresh();
            if watched.is_settled {
                self.compare(&watched);
                return watched;
            }
        }
        panic!("it does not settle: {:?}", self.refresh());
    }

    #[track_caller]
    fn compare(&self, watched: &RefreshReport) {
        let parts = self.scan.run_each(&Cancel::new(), &crate::fs::Progress::new()).unwrap();
        for (part, usage) in parts.iter().zip(&watched.usage) {
            match (&part.usage, usage) {
                (Ok(scanned), Ok(watched)) => assert_eq!(numbers(watched), numbers(scanned), "{}", self.describe()),
                (Err(scanned), Err(watched)) => assert_eq!(watched.to_string(), scanned.to_string()),
                (scanned, watched) => panic!("{watched:?}, scanned {scanned:?}"),
            }
        }
    }

    /// Describes the real directories and the known counts of each, for the report of a failure.
    fn describe(&self) -> String {
        let mut text = String::new();
        let mut rest = vec![self.dir.path().to_path_buf()];
        while let Some(path) = rest.pop() {
            use std::os::unix::fs::MetadataExt;
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let (ino, links, blocks, len) = (meta.ino(), meta.nlink(), meta.blocks(), meta.len());
            text += &format!("\n{} ino {ino} links {links} blocks {blocks} len {len}", path.display());
            if meta.is_dir() {
                rest.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        for (id, node) in self.watched.tree.nodes.iter() {
            let path = crate::fs::walk::path_of(&self.watched.tree.nodes.way(id), None);
            text += &format!("\nknown: {} {:?} {:?}", String::from_utf8_lossy(&path), node.own, node.queued);
        }
        text
    }

    /// Checks the invariants: the totals are the sums of their parts, and nothing is left of removed directories.
    #[track_caller]
    fn audit(&self) {
        let tree = &self.watched.tree;
        let mut counts = vec![super::counts::Counts::default(); tree.counts.len()];
        let (mut watched, mut cached, mut names, mut unreported) = (BTreeSet::new(), 0, BTreeMap::new(), (0, 0));
        for (id, node) in tree.nodes.iter() {
            counts[node.root as usize].add(&node.own);
            unreported =
                (unreported.0 + node.unreported.len(), unreported.1 + usize::from(!node.unreported.is_empty()));
            watched.extend(node.wd);
            cached += node.entry_cache.as_ref().map_or(0, |entry_cache| entry_cache.len());
            for link in &node.links {
                *names.entry((link.id, id)).or_insert(0_u32) += 1;
            }
            for child in &node.children {
                assert_eq!(tree.nodes.get(*child).unwrap().parent, Some(id));
            }
        }
        assert_eq!(counts, tree.counts);
        assert_eq!(cached, tree.cached);
        assert_eq!(unreported, (tree.unreported_names, tree.unreported.len()));
        // A directory that is at two places has one watch.
        assert_eq!(watched.len(), tree.wds.len());
        assert!(tree.orphans.is_empty() && tree.unneeded.is_empty());
        for ((file, node), count) in names {
            assert_eq!(tree.links.names_in(file, node), count);
        }
    }
}

fn numbers(usage: &Usage) -> (u64, u64, u64, u64, u64, u64) {
    let Usage { allocated_bytes, apparent_bytes, files, directories, hard_links, .. } = usage;
    (*allocated_bytes, *apparent_bytes, *files, *directories, *hard_links, usage.errors.count)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory on a file system in memory, where sizes never change by themselves.
fn in_memory() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}
