//! File systems: the mount table, the source that reads what is mounted, and what directories hold.

mod filesystems;
pub(crate) mod mounts;
mod scan;

pub use filesystems::{FileSystemSample, FileSystems, Inodes};
pub use scan::{Boundary, Largest, Part, Partial, Progress, Scan, ScanError, ScanErrors, Usage};
