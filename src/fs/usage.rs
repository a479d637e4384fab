//! What directories hold: the one place where the registry meets what scans.

use std::path::PathBuf;

use super::sample::Watch;
use super::scan::{Boundary, Progress, Scan, Usage};
use crate::{Cancel, Monotonic, Result};

/// A tree, and the directories in it that are told apart.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// The root first, then those in it, each once and before those in it.
    pub(super) marks: Vec<PathBuf>,
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
pub(super) struct Found {
    /// Less what the directories in it hold that are told apart.
    pub(super) usage: Usage,
    /// As of when that is, if not as of the end of the scan.
    pub(super) at: Option<Monotonic>,
    pub(super) watch: Option<Watch>,
}

impl Walk {
    /// Walks the tree, and gives what each of the marks holds.
    pub(super) fn run(&self, cancel: &Cancel, progress: &Progress) -> Result<Vec<Result<Found>>> {
        let parts = self.scan().run_each(cancel, progress)?;
        let found = |usage| Found { usage, at: None, watch: None };
        Ok(parts.into_iter().rev().map(|part| part.usage.map(found)).collect())
    }

    /// How the tree is walked: on one mount, and from the inside out, since a file with names in several of the marks counts
    /// for the first.
    pub(super) fn scan(&self) -> Scan {
        let mut inside_out = self.marks.iter().rev();
        let first = inside_out.next().cloned().unwrap_or_default();
        let mut scan = inside_out.fold(Scan::new(first), Scan::and).boundary(Boundary::SameMount);
        if let Some(threads) = self.settings.threads {
            scan = scan.threads(threads);
        }
        if let Some(rate) = self.settings.entries_per_second {
            scan = scan.entries_per_second(rate);
        }
        scan
    }
}
