//! What a scan leaves out, by globs.

use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::{Error, Result};

/// What is left out of trees: of all of them, and of each one.
#[derive(Clone, Debug, Default)]
pub(in crate::fs) struct Exclude {
    pub(super) all: Globs,
    /// By tree; those without any at the end can be missing.
    own: Vec<Arc<Globs>>,
}

/// Globs, told apart by what they are matched with.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(in crate::fs) struct Globs {
    names: Set,
    paths: Set,
    /// What the paths begin with that are matched: where the tree is in the directory that the globs are of.
    within: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Set {
    globs: Vec<Glob>,
    compiled: GlobSet,
}

impl Exclude {
    /// What is left out of each of the trees.
    pub(super) fn of_each(&mut self, own: Vec<Arc<Globs>>) {
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

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        self.globs == other.globs
    }
}

impl Hash for Set {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.globs.hash(state);
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
        let wrong = |why: globset::Error| Error::config(format!("not a glob: {glob:?}: {why}"));
        let set = if glob.contains('/') { &mut self.paths } else { &mut self.names };
        let pattern = glob.strip_prefix('/').unwrap_or(glob);
        // As in `Pattern`: a backslash is a character of names.
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(false).build().map_err(wrong)?;
        set.globs.push(glob);
        let mut builder = GlobSetBuilder::new();
        for glob in &set.globs {
            builder.add(glob.clone());
        }
        set.compiled = builder.build().map_err(wrong)?;
        Ok(())
    }

    pub(in crate::fs) fn is_empty(&self) -> bool {
        self.names.globs.is_empty() && self.paths.globs.is_empty()
    }

    /// Whether an entry is left out; `path` is that below the root of the tree, and ends with the name.
    pub(in crate::fs) fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        let matches_path = || match &*self.within {
            [] => self.paths.matches(path),
            within => self.paths.matches(&[within, path].concat()),
        };
        self.names.matches(name) || (!self.paths.globs.is_empty() && matches_path())
    }

    /// The same globs for the tree that begins at `below` in the directory they are of.
    pub(in crate::fs) fn within(&self, below: &Path) -> Self {
        let within =
            if self.paths.globs.is_empty() { Vec::new() } else { [below.as_os_str().as_bytes(), b"/"].concat() };
        Self { within, ..self.clone() }
    }

    /// Whether all that these leave out of a directory is left out of those in it by `inner`, too.
    pub(in crate::fs) fn leaves_out_no_more_than(&self, inner: &Self) -> bool {
        self.paths.globs.is_empty() && self.names.globs.iter().all(|glob| inner.names.globs.contains(glob))
    }
}

impl Set {
    fn matches(&self, text: &[u8]) -> bool {
        !self.globs.is_empty() && self.compiled.is_match(OsStr::from_bytes(text))
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
        assert!(exclude.add("[").unwrap_err().is_config());
    }
}
