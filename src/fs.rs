//! File systems: the mount table, the source that reads what is mounted, what directories hold, and what is in them.

mod backing;
mod directory;
mod entries;
mod file_system;
mod filesystems;
mod guard;
mod kind;
pub(crate) mod mounts;
mod parts;
mod plan;
mod rates;
mod registry;
mod sample;
mod scan;
mod shut;
mod state;
pub(crate) mod table;
mod usage;
mod watch;
mod watched_trees;

pub use directory::Directory;
pub use entries::{Entries, Entry, EntryMetadata, Walk, entries};
pub use file_system::FileSystem;
pub use filesystems::FileSystems;
pub use mounts::{DeviceId, Mount};
pub use rates::{FileSystemRates, FileSystemTotals, PartRates, PartTotals};
pub use registry::{Registered, Registry};
pub use sample::{FileSystemSample, Inodes, Part, PartKind, Stalled, Watch, WatchMode};
// Not to be taken for a part of a file system.
pub use scan::Part as ScanPart;
pub use scan::{Boundary, Largest, Partial, Progress, Scan, ScanError, ScanErrors, Usage};
