//! Paths of entries, put together only where they are asked for.

use std::ffi::CStr;

use super::node::Node;

/// Memory for one path. That of the directory stays in it while its entries are read.
#[derive(Debug, Default)]
pub(super) struct PathBuffer {
    path: Vec<u8>,
    /// Where the path below the root begins.
    root: usize,
    /// Where that of the directory ends; 0 when it is not there yet.
    dir: usize,
}

impl PathBuffer {
    /// The next path is one of another directory.
    pub(super) fn leave(&mut self) {
        self.dir = 0;
    }

    /// The path of `name` in `node`, or of `node`.
    pub(super) fn of(&mut self, node: &Node, name: Option<&CStr>) -> &[u8] {
        self.join(node, name);
        &self.path
    }

    /// The same from the root of the tree on.
    pub(super) fn below_root(&mut self, node: &Node, name: &CStr) -> &[u8] {
        self.join(node, Some(name));
        self.path.get(self.root..).unwrap_or_default()
    }

    fn join(&mut self, node: &Node, name: Option<&CStr>) {
        if self.dir == 0 {
            self.root = node.path(&mut self.path);
            self.dir = self.path.len();
        }
        self.path.truncate(self.dir);
        match name {
            Some(name) => self.path.extend_from_slice(name.to_bytes()),
            None => {
                // Without the slash, unless it was there from the start.
                let end = if node.is_root() { node.name().to_bytes().len() } else { self.dir.saturating_sub(1) };
                self.path.truncate(end);
                self.dir = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::FileId;
    use super::*;

    #[test]
    fn paths_with_and_without_a_name() {
        let id = FileId { device: 1, inode: 1 };
        for (root, expected) in [(c"/", "/|/a|/a/b"), (c"x", "x|x/a|x/a/b"), (c"x/", "x/|x/a|x/a/b")] {
            let root = Node::root(root.into(), id, 0);
            let a = Node::child(&root, c"a".into(), id);
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
