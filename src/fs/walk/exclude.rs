//! The globs of entries that a scan leaves out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::glob::GlobSet;
use crate::{Error, Result};

/// The globs for all trees of a scan, and for each one.
#[derive(Clone, Debug, Default)]
pub(in crate::fs) struct Exclude {
    all: Globs,
    /// By tree; trees without globs at the end can be missing.
    own: Vec<Arc<Globs>>,
}

/// Globs of names and globs of paths.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(in crate::fs) struct Globs {
    names: GlobSet,
    paths: GlobSet,
    /// The beginning of all matched paths: the place of the tree in the directory that the globs belong to.
    within: Vec<u8>,
}

impl Exclude {
    /// Adds a glob for all of the trees.
    pub(in crate::fs) fn add(&mut self, glob: &str) -> Result<()> {
        self.all.add(glob)
    }

    /// Sets the globs for each of the trees.
    pub(in crate::fs) fn of_each(&mut self, own: Vec<Arc<Globs>>) {
        self.own = own;
    }

    /// Whether there is no glob for any tree.
    pub(in crate::fs) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.own.iter().all(|own| own.is_empty())
    }

    /// Whether an entry of this tree is left out; `path` is its path below the root, and ends with the name.
    pub(in crate::fs) fn matches(&self, root: usize, path: &[u8], name: &[u8]) -> bool {
        self.all.matches(path, name) || self.own.get(root).is_some_and(|own| own.matches(path, name))
    }
}

impl Globs {
    /// Whether a path below the root of the tree is left out, or is in a directory that is.
    pub(in crate::fs) fn leaves_out(&self, below: &Path) -> bool {
        let is_left_out = |path: &Path| {
            let name = path.file_name().map(OsStr::as_bytes);
            name.is_some_and(|name| self.matches(path.as_os_str().as_bytes(), name))
        };
        !self.is_empty() && below.ancestors().any(is_left_out)
    }

    /// Adds a glob: of paths if there is a `/` in it, of names otherwise.
    pub(in crate::fs) fn add(&mut self, glob: &str) -> Result<()> {
        let set = if glob.contains('/') { &mut self.paths } else { &mut self.names };
        let added = set.add(glob.strip_prefix('/').unwrap_or(glob));
        added.map_err(|why| Error::config(format!("not a glob: {glob:?}: {why}")))
    }

    pub(in crate::fs) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.paths.is_empty()
    }

    /// Returns the globs as [`add`](Self::add) takes them: those of names, and then those of paths.
    #[cfg(feature = "config")]
    pub(in crate::fs) fn texts(&self) -> Vec<String> {
        let paths = self.paths.texts().map(|glob| format!("/{glob}"));
        self.names.texts().map(str::to_owned).chain(paths).collect()
    }

    /// Whether an entry is left out; `path` is its path below the root of the tree, and ends with the name.
    pub(in crate::fs) fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        let matches_path = || match &*self.within {
            [] => self.paths.matches(path),
            within => self.paths.matches(&[within, path].concat()),
        };
        self.names.matches(name) || (!self.paths.is_empty() && matches_path())
    }

    /// Returns the same globs for the tree that begins at `below` in the directory that they belong to.
    pub(in crate::fs) fn within(&self, below: &Path) -> Self {
        let within = if self.paths.is_empty() { Vec::new() } else { [below.as_os_str().as_bytes(), b"/"].concat() };
        Self { within, ..self.clone() }
    }

    /// Whether `inner` leaves out, of a directory in this one, all entries that these globs leave out of it.
    pub(in crate::fs) fn leaves_out_no_more_than(&self, inner: &Self) -> bool {
        self.paths.is_empty() && self.names.is_subset(&inner.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_of_names_and_of_paths() {
        let mut exclude = Globs::default();
        assert!(exclude.is_empty());
        for glob in ["*.o", "/target", "a/**/cache", "b/*/x", "c\\*"] {
            exclude.add(glob).unwrap();
        }
        let matches = |path: &[u8]| {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap();
            exclude.matches(path, name)
        };
        for path in ["x.o", "deep/x.o", "target", "a/cache", "a/1/2/cache", "b/1/x", "c\\1"] {
            assert!(matches(path.as_bytes()), "{path}");
        }
        for path in ["x.os", "deep/target", "cache", "b/1/2/x", "c*"] {
            assert!(!matches(path.as_bytes()), "{path}");
        }
        assert!(matches(b"\xff.o"));
        let error = exclude.add("/a[").unwrap_err();
        assert!(error.is_config());
        assert_eq!(error.to_string(), "not a glob: \"/a[\": unclosed character class; missing ']'");
    }
}
