//! What directories hold: the one place where the registry meets what scans.

use std::path::PathBuf;

use super::scan::{Boundary, Progress, Scan, Usage};
use crate::{Cancel, Result};

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

impl Walk {
    /// Walks the tree, on one mount, and gives what each of the marks holds, less what those in it hold. A file with names
    /// in several counts for the innermost.
    pub(super) fn run(&self, cancel: &Cancel, progress: &Progress) -> Result<Vec<Result<Usage>>> {
        // A file with several names counts for the first tree that has one.
        let mut inside_out = self.marks.iter().rev();
        let Some(first) = inside_out.next() else { return Ok(Vec::new()) };
        let mut scan = inside_out.fold(Scan::new(first), Scan::and).boundary(Boundary::SameMount);
        if let Some(threads) = self.settings.threads {
            scan = scan.threads(threads);
        }
        if let Some(rate) = self.settings.entries_per_second {
            scan = scan.entries_per_second(rate);
        }
        let parts = scan.run_each(cancel, progress)?;
        Ok(parts.into_iter().rev().map(|part| part.usage).collect())
    }
}
