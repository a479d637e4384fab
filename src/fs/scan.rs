//! Scans of directory trees by all cores, with the numbers of `du`.

mod counter;
mod engine;
mod limits;
mod links;
mod node;
mod opener;
mod progress;
mod queue;
mod scaler;
mod scanned_tree;
mod settings;
mod shared;
mod task;
mod tree_totals;
mod worker;

pub use super::walk::{Boundary, Largest, Partial, ScanError, ScanErrors, Usage};
pub use progress::Progress;
pub use scanned_tree::ScannedTree;
pub use settings::Scan;

pub(in crate::fs) use super::walk::Globs;
