//! What a scan leaves out, by globs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::{Error, Result};

/// Globs, told apart by what they are matched with.
#[derive(Clone, Debug, Default)]
pub(in crate::fs) struct Exclude {
    names: Set,
    paths: Set,
}

#[derive(Clone, Debug, Default)]
struct Set {
    globs: Vec<Glob>,
    compiled: GlobSet,
}

impl Exclude {
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
        self.names.matches(name) || self.paths.matches(path)
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
        let mut exclude = Exclude::default();
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
