//! What a scan leaves out, by globs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::glob::GlobSet;
use crate::{Error, Result};

/// What is left out of trees: of all of them, and of each one.
#[derive(Clone, Debug, Default)]
pub(in crate::fs) struct Exclude {
    all: Globs,
    /// By tree; those without any at the end can be missing.
    own: Vec<Arc<Globs>>,
}

/// Globs, told apart by what they are matched with.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(in crate::fs) struct Globs {
    names: GlobSet,
    paths: GlobSet,
    /// What the paths begin with that are matched: where the tree is in the directory that the globs are of.
    within: Vec<u8>,
}

impl Exclude {
    /// One more glob, for all of the trees.
    pub(in crate::fs) fn add(&mut self, glob: &str) -> Result<()> {
        self.all.add(glob)
    }

    /// What is left out of each of the trees.
    pub(in crate::fs) fn of_each(&mut self, own: Vec<Arc<Globs>>) {
        self.own = own;
    }

    /// Whether nothing is left out of any tree.
    pub(in crate::fs) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.own.iter().all(|own| own.is_empty())
    }

    /// Whether an entry of this tree is left out; `path` is that below its root, and ends with the name.
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

    /// One more glob: of a path when there is a `/` in it, of a name otherwise.
    pub(in crate::fs) fn add(&mut self, glob: &str) -> Result<()> {
        let set = if glob.contains('/') { &mut self.paths } else { &mut self.names };
        let added = set.add(glob.strip_prefix('/').unwrap_or(glob));
        added.map_err(|why| Error::config(format!("not a glob: {glob:?}: {why}")))
    }

    pub(in crate::fs) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.paths.is_empty()
    }

    /// Whether an entry is left out; `path` is that below the root of the tree, and ends with the name.
    pub(in crate::fs) fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        let matches_path = || match &*self.within {
            [] => self.paths.matches(path),
            within => self.paths.matches(&[within, path].concat()),
        };
        self.names.matches(name) || (!self.paths.is_empty() && matches_path())
    }

    /// The same globs for the tree that begins at `below` in the directory they are of.
    pub(in crate::fs) fn within(&self, below: &Path) -> Self {
        let within = if self.paths.is_empty() { Vec::new() } else { [below.as_os_str().as_bytes(), b"/"].concat() };
        Self { within, ..self.clone() }
    }

    /// Whether all that these leave out of a directory is left out of those in it by `inner`, too.
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
