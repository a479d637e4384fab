//! Random changes, many at once, and while it is read.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;
use proptest::test_runner::Config;
use rustix::fs::CWD;

use super::*;
use crate::fs::walk::Boundary;

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
    Exchange(Where, Where),
    /// Made without a name, which it gets when it is written.
    Unnamed(Where, u32),
    Allocate(Where, u32, bool),
    /// Removed and made again at once, with a file in it.
    Recreate(Where, u32),
    /// A directory goes elsewhere, and a symbolic link to it takes its place.
    MoveAndLink(Where),
    /// A file is opened, and written to and closed later, wherever it is by then.
    Open(Where),
    WriteOpen(usize, u32),
    Close(usize),
    /// Mounts: of a directory, and of an empty file system in memory.
    Bind(Where, Where),
    Memory(Where),
    Unmount(Where),
}

/// Where it is done.
struct World {
    base: PathBuf,
    open: Vec<File>,
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
        2 => (somewhere(), somewhere()).prop_map(|(from, to)| Act::Exchange(from, to)),
        1 => (somewhere(), bytes()).prop_map(|(path, bytes)| Act::Unnamed(path, bytes)),
        1 => (somewhere(), bytes(), any::<bool>()).prop_map(|(path, bytes, keep)| Act::Allocate(path, bytes, keep)),
        1 => (somewhere(), bytes()).prop_map(|(path, bytes)| Act::Recreate(path, bytes)),
        1 => somewhere().prop_map(Act::MoveAndLink),
        2 => somewhere().prop_map(Act::Open),
        2 => (0..8_usize, bytes()).prop_map(|(which, bytes)| Act::WriteOpen(which, bytes)),
        1 => (0..8_usize).prop_map(Act::Close),
    ]
}

fn act_with_mounts() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => act(),
        1 => (somewhere(), somewhere()).prop_map(|(from, to)| Act::Bind(from, to)),
        1 => somewhere().prop_map(Act::Memory),
        1 => somewhere().prop_map(Act::Unmount),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Vec<Act>>> {
    batches_of(act())
}

fn batches_of(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Vec<Vec<Act>>> {
    let batch = (prop::collection::vec(act, 1..40), prop::bool::ANY).prop_map(|(mut batch, careless)| {
        batch.retain(|act| !careless || !removes(act));
        batch
    });
    prop::collection::vec(batch, 1..8)
}

impl Act {
    /// Most of them fail, as there is nothing of the kind at that path.
    fn go(&self, world: &mut World) -> std::io::Result<()> {
        let World { base: rig, open } = world;
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
            Self::Link(from, to) => {
                // No event reports writes to a file that is open by a removed name while it has another one.
                let is_same = |file: &File| Ok(id(&file.metadata()?) == id(&from.path(rig).symlink_metadata()?));
                if open.iter().map(is_same).any(|same: std::io::Result<bool>| same.unwrap_or(true)) {
                    return Ok(());
                }
                std::fs::hard_link(from.path(rig), to.path(rig))
            }
            Self::Unlink(path) => std::fs::remove_file(path.path(rig)),
            Self::Rename(from, to) => std::fs::rename(from.path(rig), to.path(rig)),
            Self::MakeDirs(path) => std::fs::create_dir_all(path.path(rig)),
            Self::RemoveAll(path) => std::fs::remove_dir_all(path.path(rig)),
            Self::Symlink(path) => std::os::unix::fs::symlink("a", path.path(rig)),
            Self::Mode(path) => {
                let path = CString::new(path.path(rig).as_os_str().as_bytes()).unwrap();
                Ok(rustix::fs::chmod(&*path, rustix::fs::Mode::RWXU)?)
            }
            Self::Exchange(from, to) => {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                Ok(rustix::fs::renameat_with(CWD, from.path(rig), CWD, to.path(rig), flags)?)
            }
            Self::Unnamed(path, bytes) => {
                use rustix::fs::{AtFlags, Mode, OFlags};
                let path = path.path(rig);
                let mut file: File =
                    rustix::fs::open(path.parent().unwrap(), OFlags::TMPFILE | OFlags::WRONLY, Mode::RWXU)?.into();
                file.write_all(&vec![1; *bytes as usize / 2])?;
                let unnamed = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
                rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
                file.write_all(&vec![1; *bytes as usize / 2])
            }
            Self::Allocate(path, bytes, keep) => {
                let file = OpenOptions::new().write(true).open(path.path(rig))?;
                let keep =
                    if *keep { rustix::fs::FallocateFlags::KEEP_SIZE } else { rustix::fs::FallocateFlags::empty() };
                Ok(rustix::fs::fallocate(&file, keep, (*bytes / 2).into(), (*bytes + 1).into())?)
            }
            Self::Recreate(path, bytes) => {
                std::fs::remove_dir_all(path.path(rig))?;
                std::fs::create_dir(path.path(rig))?;
                std::fs::write(path.path(rig).join("a"), vec![1; *bytes as usize])
            }
            Self::MoveAndLink(path) => {
                let path = path.path(rig);
                let inode = path.symlink_metadata()?.ino();
                let moved = rig.join(format!("outside/moved-{inode}"));
                std::fs::rename(&path, &moved)?;
                std::os::unix::fs::symlink(moved, path)
            }
            Self::Open(path) => {
                let file = OpenOptions::new().append(true).open(path.path(rig))?;
                if open.len() < 8 && file.metadata()?.nlink() < 2 {
                    open.push(file);
                }
                Ok(())
            }
            Self::WriteOpen(which, bytes) => match open.get_mut(*which) {
                Some(file) => file.write_all(&vec![1; *bytes as usize]),
                None => Ok(()),
            },
            Self::Close(which) => {
                if *which < open.len() {
                    open.swap_remove(*which);
                }
                Ok(())
            }
            Self::Bind(from, to) => run("mount", &["--bind", from.path(rig).to_str().unwrap()], &to.path(rig)),
            Self::Memory(path) => run("mount", &["-t", "tmpfs", "appmon-test"], &path.path(rig)),
            Self::Unmount(path) => run("umount", &["-l"], &path.path(rig)),
        }
    }
}

/// Runs a program; a failure to mount is ignored.
fn run(program: &str, arguments: &[&str], at: &Path) -> std::io::Result<()> {
    std::process::Command::new(program).args(arguments).arg(at).output().map(drop)
}

fn id(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Unmounts the mounts in a directory when it is dropped.
struct Mounts(PathBuf);

impl Drop for Mounts {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points: Vec<_> = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new).collect();
        for point in points.into_iter().rev().filter(|point| point.starts_with(&self.0)) {
            let _ = run("umount", &["-l"], point);
        }
    }
}

/// Whether an event reports the action. No event reports a second name made outside of the watched directories: when the file
/// is written to by that name, the directory of the first one gets no event.
fn is_reported_by_event(act: &Act, left_out: bool) -> bool {
    // A path of which `b/b` and `b/c` are left out.
    let unseen = |at: &Where| at.0 || left_out && at.1.windows(2).any(|names| names[0] % 3 == 1 && names[1] % 3 > 0);
    !matches!(act, Act::Link(_, to) if unseen(to))
}

/// Whether a name may be gone after it. One that comes and goes between two refreshes is not seen, and so are not the changes
/// by it of a file that has another one.
fn removes(act: &Act) -> bool {
    matches!(
        act,
        Act::Unlink(_)
            | Act::Rename(..)
            | Act::RemoveAll(_)
            | Act::Exchange(..)
            | Act::Recreate(..)
            | Act::MoveAndLink(_)
    )
}

fn storm(mut rig: Rig, batches: &[Vec<Act>], sync: bool) {
    std::fs::create_dir(rig.outside("outside")).unwrap();
    let base = rig.dir.path().to_path_buf();
    let mut world = World { base: base.clone(), open: Vec::new() };
    // Gone before the directory is.
    let _mounts = Mounts(base.clone());
    let left_out = !rig.watched.exclude.is_empty();
    for (batch, turn) in batches.iter().zip(0..) {
        let careful = turn > 0 && batch.iter().any(removes);
        for act in batch {
            // At the beginning nothing was read yet.
            if turn == 0 || is_reported_by_event(act, left_out) {
                let _ = act.go(&mut world);
                if careful && matches!(act, Act::Link(..)) {
                    rig.refresh();
                }
            }
        }
        if sync {
            // Blocks are accounted for at last when they are written.
            rustix::fs::syncfs(File::open(&base).unwrap()).unwrap();
        }
        rig.refresh_until_current();
        rig.audit();
        // The cost without changes has a test of its own: here other tests mount, and write, at the same time.
        rig.refresh_until_current();
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
    fn excluded_entries_in_storms(batches in batches()) {
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

proptest! {
    #![proptest_config(Config { cases: 30, failure_persistence: None, ..Config::default() })]

    #[test]
    fn mounts_come_and_go(batches in batches_of(act_with_mounts()), crossing in 0..3_usize) {
        if require(is_root(), "root, to mount") {
            let dir = in_memory();
            let root = dir.path().join("tree");
            std::fs::create_dir(&root).unwrap();
            let boundary = [Boundary::SameMount, Boundary::SameDevice, Boundary::Cross][crossing];
            storm(Rig::with(dir, Scan::new(&root).boundary(boundary)), &batches, false);
        }
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
    let watched = rig.refresh_until_current();
    assert_eq!(watched.watches, watched.directories);
    rig.audit();
}
