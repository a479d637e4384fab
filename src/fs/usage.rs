//! The usage of directories: the only connection of the registry to the scans.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::sample::Watch;
use super::scan::{Progress, Scan};
use super::walk::{Boundary, Globs, Usage};
use crate::{Cancel, Error, Monotonic, Result};

/// A tree, and the directories in it that are measured separately.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkedTree {
    /// Each once, and after those in it: the root of the tree last. A file with names in several of them counts for the first.
    pub(super) marks: Vec<PathBuf>,
    /// The globs of entries that are left out of each of them.
    pub(super) excludes: Vec<Arc<Globs>>,
    /// Whether each of them is a place in a directory, which may be a file, and not a registered directory.
    places: Vec<bool>,
    pub(super) settings: Settings,
}

/// The settings of scans.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) threads: Option<usize>,
    pub(crate) entries_per_second: Option<u64>,
}

/// The measured usage of a mark.
#[derive(Clone, Debug)]
pub(super) struct MeasuredTree {
    /// The usage without the directories in it that are measured separately.
    pub(super) usage: Usage,
    /// The time of the usage, if it is not the end of the scan.
    pub(super) at: Option<Monotonic>,
    pub(super) watch: Option<Watch>,
}

impl MarkedTree {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Scans the tree, and returns the usage of each mark.
    pub(super) fn run(&self, cancel: &Cancel, progress: &Progress) -> Result<Vec<Result<MeasuredTree>>> {
        let parts = self.scan().run_each(cancel, progress)?;
        let found = |(mark, usage): (usize, Result<Usage>)| {
            let usage = usage?;
            self.check(mark, &usage)?;
            Ok(MeasuredTree { usage, at: None, watch: None })
        };
        Ok(parts.into_iter().map(|part| part.usage).enumerate().map(found).collect())
    }

    /// Adds a mark: the place `below` in a directory.
    pub(super) fn add(&mut self, directory: &Path, below: &Path, exclude: &Arc<Globs>) {
        let is_place = !below.as_os_str().is_empty();
        self.marks.push(if is_place { directory.join(below) } else { directory.to_path_buf() });
        self.excludes.push(if is_place { Arc::new(exclude.within(below)) } else { Arc::clone(exclude) });
        self.places.push(is_place);
    }

    /// Fails if a mark that has to be a directory is none.
    pub(super) fn check(&self, mark: usize, usage: &Usage) -> Result<()> {
        match self.marks.get(mark) {
            Some(path) if self.places.get(mark) != Some(&true) => is_directory(usage, path),
            _ => Ok(()),
        }
    }

    /// Returns the scan of the tree, with each of the marks on one mount.
    pub(super) fn scan(&self) -> Scan {
        let mut marks = self.marks.iter();
        let first = marks.next().cloned().unwrap_or_default();
        let mut scan = marks.fold(Scan::new(first), Scan::and).boundary(Boundary::SameMount).follow();
        scan = scan.exclude_of_each(self.excludes.clone());
        if let Some(threads) = self.settings.threads {
            scan = scan.threads(threads);
        }
        if let Some(rate) = self.settings.entries_per_second {
            scan = scan.entries_per_second(rate);
        }
        scan
    }
}

/// Fails if a directory was replaced since it was looked up, for example by a symbolic link: the bytes of the link are not
/// those of the directory. The next tick looks the directory up again.
fn is_directory(usage: &Usage, path: &Path) -> Result<()> {
    // The second of two marks of the same directory has no entries at all.
    let is_other = usage.directories == 0 && usage.files > 0;
    if is_other { Err(Error::os(Errno::NOTDIR).at(path)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fs::watch::WatchedTree;

    /// A directory is replaced between its look-up and its scan.
    #[test]
    fn the_replacement_of_a_directory_is_not_measured() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("d"), dir.path().join("moved"));
        std::fs::create_dir(&path).unwrap();
        let marks = vec![path.clone(), path.clone()];
        let walk = MarkedTree { marks, ..MarkedTree::default() };
        let scan = |walk: &MarkedTree| walk.run(&Cancel::new(), &Progress::new()).unwrap();
        assert!(scan(&walk).iter().all(Result::is_ok), "the same directory twice");
        let mut tree = WatchedTree::new(&walk.scan()).verify(Duration::MAX);
        let mut watched = |now| {
            let watched = tree.refresh(Monotonic::from_nanos(now), &Cancel::new()).unwrap();
            watched.usage.into_iter().map(|usage| usage.and_then(|usage| is_directory(&usage, &path)))
        };
        assert!(watched(1).all(|usage| usage.is_ok()));
        std::fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink("moved", &path).unwrap();
        let walk = MarkedTree { marks: vec![path.clone()], ..walk };
        let names_the_path = |error: &Error| error.path() == Some(path.as_path());
        assert!(scan(&walk).iter().all(|found| found.as_ref().is_err_and(names_the_path)));
        assert!(watched(2).any(|usage| usage.as_ref().is_err_and(names_the_path)));
    }
}
