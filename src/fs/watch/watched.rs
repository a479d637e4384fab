//! What a refresh tells.

use crate::fs::Usage;
use crate::{Monotonic, Result};

/// What the watched trees hold now, and how far that can be trusted.
#[derive(Debug)]
pub(crate) struct RefreshReport {
    /// By tree, in the order they were given in: what a scan of now would tell. An error where the root cannot be read.
    pub(crate) usage: Vec<Result<Usage>>,
    /// By tree: how many files have names elsewhere or are sparse, and how many bytes are in them. Those can change without
    /// a word; they are asked at every refresh, up to some hundred of them in turn.
    pub(crate) uncertain: Vec<(u64, u64)>,
    /// How many of them this refresh asked, and of those that may be open for writing.
    pub(crate) asked: usize,
    pub(crate) mode: Mode,
    /// It tells what was there then, or later: what changed earlier is in it, as far as events and readings tell.
    pub(crate) as_of: Monotonic,
    /// Whether nothing is known to be out of date.
    pub(crate) is_settled: bool,
    pub(crate) directories: usize,
    /// Directories that are watched.
    pub(crate) watches: usize,
    /// How often this refresh read a directory because of an event, and how often in turn: new trees, what has no watch, and
    /// verification.
    pub(crate) dirty_read: usize,
    pub(crate) read_in_turn: usize,
    pub(crate) verified: Verified,
    pub(crate) drift: Drift,
}

/// How far events can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every directory is watched.
    Incremental,
    /// Something is not told by events, and read in turn.
    Degraded(Reason),
}

/// Why events do not tell everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There were more events than the kernel keeps, and not all directories were read since.
    Overflow,
    /// There are not enough watches, or no inotify instance: the directories without one are read in turn.
    Watches,
    /// A file system went away with its watches, in this refresh.
    Unmounted,
}

/// How far the verification is: each directory is read again once in a while, whatever events tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Verified {
    /// Each directory was read at this time or later.
    pub(crate) at: Monotonic,
    /// How much of the round under way is done, from 0 to 1.
    pub(crate) progress: f64,
    /// Directories that this refresh verified.
    pub(crate) directories: usize,
}

/// What verification found that no event told: stores by `mmap`, changes by another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift {
    /// By how much the numbers were wrong that this refresh corrected: allocated bytes, more and less added up.
    pub(crate) bytes: u64,
    /// When the first of them were last right.
    pub(crate) since: Option<Monotonic>,
    /// All that was ever found.
    pub(crate) total_bytes: u64,
}
