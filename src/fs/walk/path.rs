//! Paths of directories and entries, built only when they are needed: a tree stores names.

use std::ffi::CStr;

/// A directory in a tree that can list the names on the way to it.
pub(in crate::fs) trait Way {
    /// Returns its name in its parent, that of its parent, and so on; the last one is the path of the root of the tree.
    fn names(&self) -> Vec<&CStr>;
}

/// Writes the path of a directory, with `/` at its end, and returns the index at which the part below the root begins.
fn join(way: &impl Way, path: &mut Vec<u8>) -> usize {
    path.clear();
    let mut below = 0;
    for name in way.names().into_iter().rev() {
        path.extend_from_slice(name.to_bytes());
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        if below == 0 {
            below = path.len();
        }
    }
    below
}

/// Returns the path of `name` in a directory, or of the directory itself, without a `/` at its end unless the path of the
/// root has one.
pub(in crate::fs) fn path_of(way: &impl Way, name: Option<&CStr>) -> Vec<u8> {
    PathBuffer::default().of(way, name).to_vec()
}

/// A buffer for one path. The path of the directory stays in it while its entries are read.
#[derive(Debug, Default)]
pub(in crate::fs) struct PathBuffer {
    path: Vec<u8>,
    /// The index at which the path below the root begins.
    root: usize,
    /// The index at which the path of the directory ends; 0 if it was not written yet.
    dir: usize,
}

impl PathBuffer {
    /// Forgets the directory: the next path is one of another directory.
    pub(in crate::fs) fn leave(&mut self) {
        self.dir = 0;
    }

    /// Returns the path of `name` in a directory, or of the directory.
    pub(in crate::fs) fn of(&mut self, way: &impl Way, name: Option<&CStr>) -> &[u8] {
        self.join(way, name);
        &self.path
    }

    /// Returns the path of `name` in a directory, below the root of the tree.
    pub(in crate::fs) fn below_root(&mut self, way: &impl Way, name: &CStr) -> &[u8] {
        self.join(way, Some(name));
        self.path.get(self.root..).unwrap_or_default()
    }

    fn join(&mut self, way: &impl Way, name: Option<&CStr>) {
        if self.dir == 0 {
            self.root = join(way, &mut self.path);
            self.dir = self.path.len();
        }
        self.path.truncate(self.dir);
        match name {
            Some(name) => self.path.extend_from_slice(name.to_bytes()),
            None => {
                let names = way.names();
                let end = match names.as_slice() {
                    [root] => root.count_bytes(),
                    _ => self.dir.saturating_sub(1),
                };
                self.path.truncate(end);
                self.dir = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names(Vec<&'static CStr>);

    impl Way for Names {
        fn names(&self) -> Vec<&CStr> {
            self.0.clone()
        }
    }

    #[test]
    fn paths_with_and_without_a_name() {
        for (root, expected) in [(c"/", "/|/a|/a/b"), (c"x", "x|x/a|x/a/b"), (c"x/", "x/|x/a|x/a/b")] {
            let a = Names(vec![c"a", root]);
            let root = Names(vec![root]);
            let mut path = PathBuffer::default();
            let mut paths = vec![path.of(&root, None).to_vec()];
            paths.push(path.of(&root, Some(c"a")).to_vec());
            path.leave();
            assert_eq!(path.below_root(&a, c"b"), b"a/b");
            assert_eq!(path.of(&a, None), &*paths[1]);
            paths.push(path.of(&a, Some(c"b")).to_vec());
            assert_eq!(paths.join(&b'|'), expected.as_bytes());
        }
    }
}
