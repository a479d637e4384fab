//! Random changes, many at once, and while it is read.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;

/// Something that is done with one path, or two.
#[derive(Clone, Debug)]
enum Act {
    Write(Where, u32),
    Append(Where, u32),
    Truncate(Where, u32),
    Punch(Where),
    Link(Where, Where),
    Unlink(Where),
    Rename(Where, Where),
    MakeDirs(Where),
    RemoveAll(Where),
    Symlink(Where),
    Mode(Where),
}

/// A path of a few names, in the tree or outside of it.
#[derive(Clone, Debug)]
struct Where(bool, Vec<u8>);

impl Where {
    fn path(&self, rig: &Path) -> PathBuf {
        let mut path = rig.join(if self.0 { "outside" } else { "tree" });
        path.extend(self.1.iter().map(|name| ["a", "b", "c"][usize::from(*name % 3)]));
        path
    }
}

fn somewhere() -> impl Strategy<Value = Where> {
    (prop::bool::weighted(0.1), prop::collection::vec(0..3_u8, 1..4)).prop_map(|(outside, names)| Where(outside, names))
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = || 0..200_000_u32;
    prop_oneof![
        3 => (somewhere(), bytes()).prop_map(|(path, bytes)| Act::Write(path, bytes)),
        2 => (somewhere(), bytes()).prop_map(|(path, bytes)| Act::Append(path, bytes)),
        1 => (somewhere(), bytes()).prop_map(|(path, bytes)| Act::Truncate(path, bytes)),
        1 => somewhere().prop_map(Act::Punch),
        3 => (somewhere(), somewhere()).prop_map(|(from, to)| Act::Link(from, to)),
        2 => somewhere().prop_map(Act::Unlink),
        5 => (somewhere(), somewhere()).prop_map(|(from, to)| Act::Rename(from, to)),
        4 => somewhere().prop_map(Act::MakeDirs),
        1 => somewhere().prop_map(Act::RemoveAll),
        1 => somewhere().prop_map(Act::Symlink),
        1 => somewhere().prop_map(Act::Mode),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Vec<Act>>> {
    let batch = (prop::collection::vec(act(), 1..40), prop::bool::ANY).prop_map(|(mut batch, careless)| {
        batch.retain(|act| !careless || !removes(act));
        batch
    });
    prop::collection::vec(batch, 1..8)
}

impl Act {
    /// Most of them fail, as there is nothing of the kind at that path.
    fn go(&self, rig: &Path) -> std::io::Result<()> {
        match self {
            Self::Write(path, bytes) => {
                std::fs::create_dir_all(path.path(rig).parent().unwrap())?;
                std::fs::write(path.path(rig), vec![1; *bytes as usize])
            }
            Self::Append(path, bytes) => {
                OpenOptions::new().append(true).open(path.path(rig))?.write_all(&vec![1; *bytes as usize])
            }
            Self::Truncate(path, bytes) => {
                let mut file = OpenOptions::new().write(true).open(path.path(rig))?;
                file.set_len(u64::from(*bytes))?;
                // A hole, and something behind it.
                file.seek(SeekFrom::Start(u64::from(*bytes) * 3))?;
                file.write_all(b"end")
            }
            Self::Punch(path) => {
                let file = OpenOptions::new().write(true).open(path.path(rig))?;
                let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
                Ok(rustix::fs::fallocate(&file, flags, 4096, 40_960)?)
            }
            Self::Link(from, to) => std::fs::hard_link(from.path(rig), to.path(rig)),
            Self::Unlink(path) => std::fs::remove_file(path.path(rig)),
            Self::Rename(from, to) => std::fs::rename(from.path(rig), to.path(rig)),
            Self::MakeDirs(path) => std::fs::create_dir_all(path.path(rig)),
            Self::RemoveAll(path) => std::fs::remove_dir_all(path.path(rig)),
            Self::Symlink(path) => std::os::unix::fs::symlink("a", path.path(rig)),
            Self::Mode(path) => {
                let path = CString::new(path.path(rig).as_os_str().as_bytes()).unwrap();
                Ok(rustix::fs::chmod(&*path, rustix::fs::Mode::RWXU)?)
            }
        }
    }
}

/// Whether an event tells of it. That is not so of a second name made where nothing is watched: when it is changed by that
/// name, the first one is in a directory that hears nothing.
fn is_told(act: &Act, left_out: bool) -> bool {
    // A path of which `b/b` and `b/c` are left out.
    let unseen = |at: &Where| at.0 || left_out && at.1.windows(2).any(|names| names[0] % 3 == 1 && names[1] % 3 > 0);
    !matches!(act, Act::Link(_, to) if unseen(to))
}

/// Whether a name may be gone after it. One that comes and goes between two refreshes is not seen, and so are not the changes
/// by it of a file that has another one.
fn removes(act: &Act) -> bool {
    matches!(act, Act::Unlink(_) | Act::Rename(..) | Act::RemoveAll(_))
}

fn storm(mut rig: Rig, batches: &[Vec<Act>], sync: bool) {
    std::fs::create_dir(rig.outside("outside")).unwrap();
    let base = rig.dir.path().to_path_buf();
    let left_out = !rig.watched.exclude.is_empty();
    for (batch, turn) in batches.iter().zip(0..) {
        let careful = turn > 0 && batch.iter().any(removes);
        for act in batch {
            // At the beginning nothing was read yet.
            if turn == 0 || is_told(act, left_out) {
                let _ = act.go(&base);
                if careful && matches!(act, Act::Link(..)) {
                    rig.refresh();
                }
            }
        }
        if sync {
            // Blocks are accounted for at last when they are written.
            rustix::fs::syncfs(File::open(&base).unwrap()).unwrap();
        }
        rig.settle();
        rig.audit();
        assert_eq!(rig.check().dirty_read, 0);
    }
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn watched_is_scanned(batches in batches()) {
        storm(Rig::of(in_memory()), &batches, false);
    }
}

proptest! {
    #![proptest_config(Config { cases: 100, failure_persistence: None, ..Config::default() })]

    #[test]
    fn trees_in_trees(batches in batches()) {
        let dir = in_memory();
        let root = dir.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        let scan = Scan::new(root.join("a/b")).and(root.join("a")).and(&root).and(root.join("c"));
        storm(Rig::with(dir, scan), &batches, false);
    }

    #[test]
    fn what_is_left_out(batches in batches()) {
        let dir = in_memory();
        let root = dir.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        let scan = Scan::new(&root).exclude("**/b/c").unwrap().exclude("**/b/b").unwrap();
        storm(Rig::with(dir, scan), &batches, false);
    }
}

proptest! {
    #![proptest_config(Config { cases: 8, failure_persistence: None, ..Config::default() })]

    #[test]
    fn on_the_disk_too(batches in batches()) {
        storm(Rig::of(tempfile::tempdir().unwrap()), &batches, true);
    }
}

#[test]
fn directories_that_are_made_while_they_are_read() {
    let mut rig = Rig::of(in_memory());
    rig.check();
    let base = rig.path("");
    let maker = std::thread::spawn(move || {
        for n in 0..500 {
            let dir = base.join(format!("{}/{}/{n}", n % 7, n % 3));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("f"), vec![1; n * 10]).unwrap();
            std::fs::hard_link(dir.join("f"), dir.join("g")).unwrap();
            if n % 5 == 0 {
                std::fs::rename(&dir, base.join(format!("moved-{n}"))).unwrap();
            }
            if n % 11 == 0 {
                std::fs::remove_dir_all(base.join(format!("{}", n % 7))).unwrap();
            }
        }
    });
    while !maker.is_finished() {
        rig.refresh();
    }
    maker.join().unwrap();
    let watched = rig.settle();
    assert_eq!(watched.watches, watched.directories);
    rig.audit();
}
