//! File systems: the mounted ones, how full they are and by which directories, and the entries of directory trees.
//!
//! Begin with [`FileSystems`] and a [`Directory`] for each directory that matters. [`MountChanges`] reports mounts and
//! unmounts; [`Scan`] and [`entries`] read one tree. The most used items are at the root of the crate too.

mod attribution;
mod backing;
mod directories;
pub(crate) mod directory;
#[cfg(feature = "entries")]
mod entries;
mod file_system;
pub(crate) mod filesystems;
mod flight;
mod hex;
mod jobs;
mod kind;
mod measured;
mod mount_alarm;
mod mount_changes;
mod mounted_entry;
pub(crate) mod mounts;
mod nesting;
mod part_sample;
mod parts;
pub(crate) mod plan;
mod prober;
mod rates;
mod registry;
mod sample;
mod scan;
mod shut;
mod state;
mod survey;
pub(crate) mod table;
pub(crate) mod usage;
mod waiting;
mod walk;
mod watch;
mod watched_trees;

pub use directory::Directory;
#[cfg(feature = "entries")]
pub use entries::{Entries, Entry, EntryMetadata, Walk, entries};
pub use file_system::FileSystem;
pub use filesystems::FileSystems;
pub use mount_changes::{MountChange, MountChanges};
pub use mounts::{DeviceId, Mount};
pub use part_sample::{HasParts, PartSample};
pub use rates::{FileSystemRates, FileSystemTotals, PartRates, PartTotals};
pub use registry::{Registration, Registry};
pub use sample::{FileSystemSample, Inodes, Part, PartKind, Stalled, Watch, WatchMode};
pub use scan::{Boundary, Largest, Partial, Progress, Scan, ScanError, ScanErrors, ScannedTree, Usage};
