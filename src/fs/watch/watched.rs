//! The report of a refresh.

use crate::fs::Usage;
use crate::{Monotonic, Result};

/// The current usage of the watched trees, and how reliable it is.
#[derive(Debug)]
pub(crate) struct RefreshReport {
    /// By tree, in their order: the same usage as that of a scan made now. An error if the root cannot be read.
    pub(crate) usage: Vec<Result<Usage>>,
    /// By tree: how many files have names outside or are sparse, and how many bytes are in them. Those can change without
    /// an event; they are checked at every refresh, up to some hundred of them in turn.
    pub(crate) uncertain: Vec<(u64, u64)>,
    /// How many of them, and of those that may be open for writing, this refresh checked.
    pub(crate) asked: usize,
    pub(crate) mode: Mode,
    /// The report contains all changes made before this time that events and readings found.
    pub(crate) as_of: Monotonic,
    /// Whether nothing is known to be out of date.
    pub(crate) is_settled: bool,
    pub(crate) directories: usize,
    /// Directories that are watched.
    pub(crate) watches: usize,
    /// How often this refresh read a directory because of an event, and how often in turn: new trees, directories without a
    /// watch, and verification.
    pub(crate) dirty_read: usize,
    pub(crate) read_in_turn: usize,
    pub(crate) verified: Verified,
    pub(crate) drift: Drift,
}

/// Whether events report all changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every directory is watched.
    Incremental,
    /// Events do not report everything, and directories are read in turn.
    Degraded(Reason),
}

/// The reason why events do not report everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There were more events than the kernel keeps, and not all directories were read since.
    Overflow,
    /// There are not enough watches, or no inotify instance: the directories without a watch are read in turn.
    Watches,
    /// A file system was unmounted with its watches, in this refresh.
    Unmounted,
}

/// The progress of the verification, which reads each directory again once in a while without an event.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Verified {
    /// Each directory was read at this time or later.
    pub(crate) at: Monotonic,
    /// How much of the round under way is done, from 0 to 1.
    pub(crate) progress: f64,
    /// Directories that this refresh verified.
    pub(crate) directories: usize,
}

/// Changes found by verification that no event reported: stores by `mmap`, changes by another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift {
    /// The error that this refresh corrected: allocated bytes, gains and losses added up.
    pub(crate) bytes: u64,
    /// The earliest time at which one of the corrected directories was last right.
    pub(crate) since: Option<Monotonic>,
    /// The sum over all refreshes.
    pub(crate) total_bytes: u64,
}
