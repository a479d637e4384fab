//! What directory trees hold: a scan by all cores, with the numbers of `du`.

mod boundary;
mod engine;
mod entry;
mod exclude;
mod limits;
mod links;
mod mounted;
mod node;
mod opener;

mod path;
mod progress;
mod queue;
mod scaler;
mod scanned_tree;
mod settings;
mod shared;
mod task;
mod totals;
mod usage;
mod worker;

pub use boundary::Boundary;
pub use progress::Progress;
pub use scanned_tree::ScannedTree;
pub use settings::Scan;
pub use usage::{Largest, Partial, ScanError, ScanErrors, Usage};

pub(in crate::fs) use boundary::Fence;
pub(in crate::fs) use entry::{Born, Entry, FileId};
pub(in crate::fs) use exclude::{Exclude, Globs};
pub(in crate::fs) use mounted::{Mounted, is_mounted, open_on_mount};
pub(in crate::fs) use opener::vanished;
pub(in crate::fs) use totals::at_most;
