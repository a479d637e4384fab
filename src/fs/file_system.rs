//! A file system that is registered by name.

use std::path::{Path, PathBuf};

use crate::Text;

/// A file system to be reported by a name of its own: see [`FileSystems::register`](crate::FileSystems::register).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a file system has to be registered with a source or a registry"]
pub struct FileSystem {
    pub(super) name: Text,
    pub(super) path: PathBuf,
    pub(super) optional: bool,
}

impl FileSystem {
    /// Names the file system that is mounted at `mount_point`.
    pub fn new(name: impl Into<Text>, mount_point: impl AsRef<Path>) -> Self {
        let path = mount_point.as_ref();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        // `/mnt/` and `/mnt` are the same.
        Self { name: name.into(), path: path.components().collect(), optional: false }
    }

    /// Allows it not to be mounted: then it has no sample, and that is no error. Default: it has to be mounted at first.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// Whether it may be missing.
    #[cfg(feature = "config")]
    pub(crate) fn is_optional(&self) -> bool {
        let Self { name: _, path: _, optional } = self;
        *optional
    }

    /// Returns its mount point.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.path
    }
}
