//! What directories hold: the one place where the registry meets what scans.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::sample::Watch;
use super::scan::{Progress, Scan};
use super::walk::{Boundary, Globs, Usage};
use crate::{Cancel, Error, Monotonic, Result};

/// A tree, and the directories in it that are told apart.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkedTree {
    /// Each once, and after those in it: the root of all last. A file with names in several of them counts for the first.
    pub(super) marks: Vec<PathBuf>,
    /// What is left out of each of them.
    pub(super) excludes: Vec<Arc<Globs>>,
    /// Which of them need not be directories, as they are in one and not one themselves.
    places: Vec<bool>,
    pub(super) settings: Settings,
}

/// How to scan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settings {
    pub(super) threads: Option<usize>,
    pub(super) entries_per_second: Option<u64>,
}

/// What a directory was found to hold.
#[derive(Clone, Debug)]
pub(super) struct MeasuredTree {
    /// Less what the directories in it hold that are told apart.
    pub(super) usage: Usage,
    /// As of when that is, if not as of the end of the scan.
    pub(super) at: Option<Monotonic>,
    pub(super) watch: Option<Watch>,
}

impl MarkedTree {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Walks the tree, and gives what each of the marks holds.
    pub(super) fn run(&self, cancel: &Cancel, progress: &Progress) -> Result<Vec<Result<MeasuredTree>>> {
        let parts = self.scan().run_each(cancel, progress)?;
        let found = |(mark, usage): (usize, Result<Usage>)| {
            let usage = usage?;
            self.check(mark, &usage)?;
            Ok(MeasuredTree { usage, at: None, watch: None })
        };
        Ok(parts.into_iter().map(|part| part.usage).enumerate().map(found).collect())
    }

    /// One more mark: what is at `below` in a directory.
    pub(super) fn add(&mut self, directory: &Path, below: &Path, exclude: &Arc<Globs>) {
        let is_place = !below.as_os_str().is_empty();
        self.marks.push(if is_place { directory.join(below) } else { directory.to_path_buf() });
        self.excludes.push(if is_place { Arc::new(exclude.within(below)) } else { Arc::clone(exclude) });
        self.places.push(is_place);
    }

    /// Fails where a mark that has to be a directory is none.
    pub(super) fn check(&self, mark: usize, usage: &Usage) -> Result<()> {
        match self.marks.get(mark) {
            Some(path) if self.places.get(mark) != Some(&true) => is_directory(usage, path),
            _ => Ok(()),
        }
    }

    /// How the tree is walked: each of the marks on one mount.
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

/// Fails where something else has taken the place of a directory since it was looked up, such as a symbolic link: its own
/// bytes are not those of the directory. The next tick looks where that is.
fn is_directory(usage: &Usage, path: &Path) -> Result<()> {
    // Of a directory that is registered twice the second has nothing at all.
    let is_other = usage.directories == 0 && usage.files > 0;
    if is_other { Err(Error::os(Errno::NOTDIR).at(path)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fs::watch::WatchedTree;

    /// Between the look at where a directory is, and the reading.
    #[test]
    fn what_took_the_place_of_a_directory_is_not_measured() {
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
