//! File systems: the mount table, and the source that reads what is mounted.

mod filesystems;
pub(crate) mod mounts;

pub use filesystems::{FileSystemSample, FileSystems, Inodes};
