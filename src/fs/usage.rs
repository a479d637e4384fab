//! What directories hold: the one place where the registry meets what scans.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, StatxFlags};

use crate::{Cancel, Error, Result};

/// A tree, and the directories in it that are counted for themselves.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// The root first, then those below it, each once.
    pub(super) marks: Vec<PathBuf>,
}

/// What a directory holds, less what the marked directories in it hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) allocated_bytes: u64,
    pub(super) apparent_bytes: u64,
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) complete: bool,
}

/// How many entries were seen: a sign of life.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Walk {
    pub(super) fn root(&self) -> &Path {
        self.marks.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Walks the tree, on one mount, and gives what each of the marks holds. A file with several names counts for the
    /// deepest mark that has one; among equals, for the first.
    pub(super) fn run(&self, cancel: &Cancel, pulse: &Pulse) -> Result<Vec<Held>> {
        let Some(root) = self.marks.first() else { return Ok(Vec::new()) };
        let places: HashMap<&Path, usize> =
            self.marks.iter().enumerate().map(|(n, path)| (path.as_path(), n)).collect();
        let mut held = vec![Held { complete: true, ..Held::default() }; self.marks.len()];
        let mut links: HashMap<(u64, u64), (usize, u64, u64)> = HashMap::new();
        let mount = mount_of(root).map_err(|error| Error::io(error).at(root))?;
        let mut todo = vec![(root.clone(), 0_usize)];
        while let Some((dir, mark)) = todo.pop() {
            cancel.check()?;
            match std::fs::symlink_metadata(&dir) {
                Ok(meta) => add(&mut held, mark, |held| {
                    held.allocated_bytes = held.allocated_bytes.saturating_add(meta.blocks().saturating_mul(512));
                    held.directories = held.directories.saturating_add(1);
                }),
                Err(error) => fail(&mut held, mark, &dir, &error),
            }
            let entries = match std::fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if &dir == root => return Err(Error::io(error).at(&dir)),
                Err(error) => {
                    fail(&mut held, mark, &dir, &error);
                    continue;
                }
            };
            for entry in entries {
                cancel.check()?;
                pulse.beat();
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        fail(&mut held, mark, &dir, &error);
                        continue;
                    }
                };
                let path = entry.path();
                let meta = match entry.metadata() {
                    Ok(meta) => meta,
                    Err(error) => {
                        fail(&mut held, mark, &path, &error);
                        continue;
                    }
                };
                if meta.is_dir() {
                    match mount_of(&path) {
                        Ok(on) if on == mount => {
                            let mark = places.get(path.as_path()).copied().unwrap_or(mark);
                            todo.push((path, mark));
                        }
                        Ok(_) => {}
                        Err(error) => fail(&mut held, mark, &path, &error),
                    }
                    continue;
                }
                let allocated = meta.blocks().saturating_mul(512);
                let apparent = if meta.is_file() || meta.is_symlink() { meta.len() } else { 0 };
                if meta.nlink() > 1 {
                    let kept = links.entry((meta.dev(), meta.ino())).or_insert((mark, allocated, apparent));
                    if self.depth(mark) > self.depth(kept.0)
                        || (self.depth(mark) == self.depth(kept.0) && mark < kept.0)
                    {
                        kept.0 = mark;
                    }
                } else {
                    add(&mut held, mark, |held| held.file(allocated, apparent));
                }
            }
        }
        for (mark, allocated, apparent) in links.into_values() {
            add(&mut held, mark, |held| held.file(allocated, apparent));
        }
        Ok(held)
    }

    fn depth(&self, mark: usize) -> usize {
        self.marks.get(mark).map_or(0, |path| path.components().count())
    }
}

impl Held {
    fn file(&mut self, allocated: u64, apparent: u64) {
        self.allocated_bytes = self.allocated_bytes.saturating_add(allocated);
        self.apparent_bytes = self.apparent_bytes.saturating_add(apparent);
        self.files = self.files.saturating_add(1);
    }
}

fn add(held: &mut [Held], mark: usize, change: impl FnOnce(&mut Held)) {
    if let Some(held) = held.get_mut(mark) {
        change(held);
    }
}

/// What vanished meanwhile is no error.
fn fail(held: &mut [Held], mark: usize, path: &Path, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        add(held, mark, |held| {
            held.errors = held.errors.saturating_add(1);
            held.complete = false;
            held.first_error.get_or_insert_with(|| format!("{}: {error}", path.display()));
        });
    }
}

fn mount_of(path: &Path) -> io::Result<u64> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}
