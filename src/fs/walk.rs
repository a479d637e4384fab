//! The common base of scans and watches of directory trees: opening and listing directories, reading the metadata of
//! entries, leaving some of them out, and adding up the others.
//!
//! A scan reads whole trees, by many threads; a watch reads changed directories again. Both count in the same way, because
//! each rule is implemented once, in these modules.

mod boundary;
mod entry;
mod exclude;
mod follow;
mod listing;
mod mounted;
mod open;
mod path;
mod roots;
mod totals;
mod usage;

pub use boundary::Boundary;
pub use usage::{Largest, Partial, ScanError, ScanErrors, Usage};

pub(in crate::fs) use boundary::Fence;
pub(in crate::fs) use entry::{Born, EntryStat, FileId};
pub(in crate::fs) use exclude::{Exclude, Globs};
pub(in crate::fs) use follow::{Led, follow};
pub(in crate::fs) use listing::{Listing, Step};
pub(in crate::fs) use mounted::{Mounted, is_mounted};
pub(in crate::fs) use open::{LIST, PLACE, descend, open, open_on_mount, open_way, vanished};
pub(in crate::fs) use path::{PathBuffer, Way, path_of};
pub(in crate::fs) use roots::RootIds;
pub(in crate::fs) use totals::{Totals, at_most};
