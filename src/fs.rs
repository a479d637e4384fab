//! File systems: the mount table, and the source that reads what is mounted.

pub(crate) mod mounts;
