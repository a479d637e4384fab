//! One change at a time.

use std::fs::{File, OpenOptions, hard_link, remove_dir_all, remove_file, rename};
use std::io::Write;

use super::*;

fn append(path: &Path, bytes: usize) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(&vec![1; bytes]).unwrap();
}

#[test]
fn nothing_changed_nothing_read() {
    let mut rig = Rig::new();
    for n in 0..20 {
        rig.mkdir(&format!("a/{n}"));
        rig.write(&format!("a/{n}/file"), 5000);
    }
    let first = rig.check();
    assert_eq!((first.read_in_turn, first.dirty_read, first.watches), (22, 0, 22));
    assert_eq!(first.mode, Mode::Incremental);
    for _ in 0..3 {
        let again = rig.check();
        assert_eq!((again.read_in_turn, again.dirty_read), (0, 0));
    }
    // Only changed directories are read.
    rig.write("a/7/file", 50_000);
    rig.write("a/9/new", 1);
    let changed = rig.check();
    assert_eq!((changed.read_in_turn, changed.dirty_read), (0, 2));
    rig.audit();
}

#[test]
fn all_changes_of_a_file() {
    let mut rig = Rig::new();
    rig.mkdir("d");
    rig.check();
    let path = rig.path("d/f");
    let file = File::create(&path).unwrap();
    rig.check();
    append(&path, 100_000);
    rig.check();
    file.set_len(10).unwrap();
    rig.check();
    file.set_len(1 << 30).unwrap();
    rig.check();
    append(&path, 100_000);
    rig.check();
    rename(&path, rig.path("d/g")).unwrap();
    rig.check();
    rename(rig.path("d/g"), rig.path("g")).unwrap();
    rig.check();
    rig.write("h", 9000);
    rig.check();
    // In place of another.
    rename(rig.path("h"), rig.path("g")).unwrap();
    rig.check();
    rename(rig.path("g"), rig.outside("g")).unwrap();
    rig.check();
    rename(rig.outside("g"), rig.path("d/i")).unwrap();
    rig.check();
    std::os::unix::fs::symlink("somewhere", rig.path("link")).unwrap();
    rig.check();
    remove_file(rig.path("d/i")).unwrap();
    rig.check();
    rig.audit();
}

#[test]
fn open_files_without_a_name_do_not_count() {
    let mut rig = Rig::new();
    rig.write("f", 10_000);
    let before = rig.check().usage[0].as_ref().unwrap().allocated_bytes;
    let mut file = OpenOptions::new().append(true).open(rig.path("f")).unwrap();
    remove_file(rig.path("f")).unwrap();
    assert!(rig.check().usage[0].as_ref().unwrap().allocated_bytes < before);
    file.write_all(&[1; 100_000]).unwrap();
    rig.check();
    drop(file);
    rig.check();
}

#[test]
fn a_file_that_gets_its_name_later() {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    let mut rig = Rig::of(in_memory());
    rig.mkdir("d");
    rig.check();
    let opened = rustix::fs::open(rig.path("d"), OFlags::TMPFILE | OFlags::WRONLY, Mode::RWXU);
    if !require(opened.is_ok(), "a file system with O_TMPFILE") {
        return;
    }
    let mut file = File::from(opened.unwrap());
    file.write_all(&[1; 10_000]).unwrap();
    rig.check();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    rustix::fs::linkat(CWD, path, CWD, rig.path("d/f"), AtFlags::SYMLINK_FOLLOW).unwrap();
    rig.check();
    file.write_all(&[1; 100_000]).unwrap();
    rig.check();
}

#[test]
fn directories_come_and_go_and_move() {
    let mut rig = Rig::new();
    rig.check();
    rig.mkdir("a/b/c/d");
    rig.write("a/b/c/d/f", 7000);
    rig.write("a/b/f", 7000);
    rig.check();
    rig.mkdir("x");
    rig.check();
    // Moved within the tree: its state is kept, and it is still watched.
    rename(rig.path("a/b"), rig.path("x/b")).unwrap();
    let moved = rig.check();
    // The old parent, and the new one.
    assert_eq!(moved.dirty_read, 2, "{moved:?}");
    rig.write("x/b/c/d/f", 70_000);
    assert_eq!(rig.check().dirty_read, 1);
    // Out, where it goes on changing.
    rename(rig.path("x/b"), rig.outside("b")).unwrap();
    let out = rig.check();
    assert_eq!((out.directories, out.watches), (3, 3));
    std::fs::write(rig.outside("b/c/d/f"), vec![1; 300_000]).unwrap();
    assert_eq!(rig.check().dirty_read, 0);
    // And back.
    rename(rig.outside("b"), rig.path("a/b")).unwrap();
    assert_eq!(rig.check().watches, 6);
    rig.write("a/b/c/d/f", 1);
    rig.check();
    remove_dir_all(rig.path("a")).unwrap();
    assert_eq!(rig.check().watches, 2);
    // The number of a directory is used again at once.
    for n in 0..10 {
        rig.mkdir("y/z");
        rig.write("y/z/f", 5000 * n);
        if n % 3 == 0 {
            rig.check();
        }
        remove_dir_all(rig.path("y")).unwrap();
        rig.mkdir("y/z");
        rig.check();
        rig.write("y/z/g", 5000);
        rig.check();
    }
    rig.audit();
}

#[test]
fn a_directory_moved_with_what_changes_in_it() {
    let mut rig = Rig::new();
    rig.mkdir("a/b/c");
    rig.mkdir("x");
    rig.check();
    rename(rig.path("a/b"), rig.path("x/b")).unwrap();
    rig.write("x/b/c/f", 5000);
    rig.mkdir("x/b/c/new/dir");
    rename(rig.path("x"), rig.path("a/x")).unwrap();
    rename(rig.path("a"), rig.path("z")).unwrap();
    rig.write("z/x/b/c/new/dir/f", 5000);
    rig.check();
    rig.audit();
}

#[test]
fn the_root_goes_and_comes_back() {
    let mut rig = Rig::new();
    rig.write("f", 5000);
    rig.mkdir("d");
    rig.check();
    rename(rig.path(""), rig.outside("elsewhere")).unwrap();
    assert!(rig.check().usage[0].as_ref().unwrap_err().is_not_found());
    rig.mkdir("other");
    rig.check();
    rig.write("other/f", 10_000);
    rig.check();
    remove_dir_all(rig.path("")).unwrap();
    rig.check();
    std::fs::write(rig.path(""), b"a file").unwrap();
    rig.check();
    std::fs::write(rig.path(""), vec![1; 10_000]).unwrap();
    rig.check();
    remove_file(rig.path("")).unwrap();
    rename(rig.outside("elsewhere"), rig.path("")).unwrap();
    rig.check();
    rig.write("d/f", 5000);
    assert_eq!(rig.check().dirty_read, 1);
    rig.audit();
}

#[test]
fn names_within_count_once() {
    let mut rig = Rig::new();
    for dir in ["a", "b", "c/d"] {
        rig.mkdir(dir);
    }
    rig.write("a/f", 50_000);
    rig.write("a/g", 50_000);
    rig.check();
    // No event reports the directory of the first name.
    hard_link(rig.path("a/f"), rig.path("b/f")).unwrap();
    rig.check();
    hard_link(rig.path("a/f"), rig.path("c/d/f")).unwrap();
    rig.check();
    append(&rig.path("c/d/f"), 100_000);
    rig.check();
    remove_file(rig.path("b/f")).unwrap();
    rig.check();
    append(&rig.path("a/f"), 100_000);
    rig.check();
    remove_file(rig.path("a/f")).unwrap();
    rig.check();
    // Now it has one name, in a directory of which nothing was reported.
    append(&rig.path("c/d/f"), 100_000);
    rig.check();
    hard_link(rig.path("a/g"), rig.path("g")).unwrap();
    remove_file(rig.path("a/g")).unwrap();
    rig.check();
    rename(rig.path("g"), rig.path("c/d/g")).unwrap();
    hard_link(rig.path("c/d/g"), rig.path("a/1")).unwrap();
    hard_link(rig.path("c/d/g"), rig.path("a/2")).unwrap();
    rig.check();
    assert_eq!(rig.check().uncertain, [(0, 0)]);
    rig.audit();
}

#[test]
fn names_outside_are_asked() {
    let mut rig = Rig::new();
    rig.mkdir("a");
    rig.write("a/f", 50_000);
    rig.write("a/g", 50_000);
    hard_link(rig.path("a/f"), rig.outside("f")).unwrap();
    let first = rig.check();
    assert!(first.uncertain[0].1 >= 50_000);
    append(&rig.outside("f"), 200_000);
    let grown = rig.check();
    assert_eq!(grown.dirty_read, 0);
    assert!(grown.uncertain[0].1 >= 250_000);
    // Taken out by its other name, and known by the number of names alone.
    remove_file(rig.outside("f")).unwrap();
    assert_eq!(rig.check().uncertain, [(0, 0)]);
    // A name that was made outside, of a file that had one, is not reported; but with the next reading it is known.
    hard_link(rig.path("a/g"), rig.outside("g")).unwrap();
    rig.write("a/h", 1);
    rig.check();
    append(&rig.outside("g"), 200_000);
    rig.check();
    rename(rig.outside("g"), rig.path("g")).unwrap();
    assert_eq!(rig.check().uncertain, [(0, 0)]);
    rig.audit();
}

#[test]
fn excluded_entries_stay_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    std::fs::create_dir(&root).unwrap();
    let scan = Scan::new(&root).exclude("*.log").unwrap().exclude("/a/out").unwrap();
    let mut rig = Rig::with(dir, scan);
    rig.mkdir("a/out");
    rig.mkdir("b/out/deep");
    rig.write("b/out/deep/f", 5000);
    rig.write("a/f.log", 5000);
    rig.check();
    append(&rig.path("a/f.log"), 9000);
    assert_eq!(rig.check().dirty_read, 0, "nothing that counts");
    rename(rig.path("a/f.log"), rig.path("a/f")).unwrap();
    rig.check();
    // Moved to a place where it is left out, and to one where its entries are.
    rename(rig.path("b"), rig.path("c")).unwrap();
    rig.check();
    std::fs::remove_dir(rig.path("a/out")).unwrap();
    rename(rig.path("a"), rig.path("b")).unwrap();
    rename(rig.path("c"), rig.path("a")).unwrap();
    rig.check();
    rig.audit();
}

#[test]
fn trees_inside_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    std::fs::create_dir_all(root.join("in")).unwrap();
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let scan = Scan::new(root.join("in/inner")).and(root.join("in")).and(&root).and(&other).and(&other);
    let mut rig = Rig::with(dir, scan);
    rig.write("in/f", 5000);
    rig.write("f", 5000);
    rig.check();
    // One that was not there.
    rig.mkdir("in/inner/deep");
    rig.write("in/inner/deep/f", 5000);
    rig.check();
    // Names in several count for the first.
    hard_link(rig.path("in/f"), rig.path("in/inner/f")).unwrap();
    hard_link(rig.path("in/f"), rig.outside("other/f")).unwrap();
    rig.check();
    append(&rig.outside("other/f"), 50_000);
    rig.check();
    remove_file(rig.path("in/inner/f")).unwrap();
    rig.check();
    // From tree to tree.
    rename(rig.path("in/inner/deep"), rig.outside("other/deep")).unwrap();
    rig.check();
    // The root of one becomes a directory of another.
    rename(rig.path("in/inner"), rig.path("inner")).unwrap();
    rig.check();
    rig.write("inner/g", 9000);
    rig.check();
    rename(rig.path("inner"), rig.path("in/inner")).unwrap();
    rig.check();
    rig.audit();
}

#[test]
fn a_cancelled_refresh_is_gone_on_with() {
    let mut rig = Rig::new();
    for n in 0..50 {
        rig.mkdir(&format!("a/{n}"));
    }
    let cancel = Cancel::new();
    cancel.cancel();
    assert!(rig.watched.refresh(rig.now, &cancel).unwrap_err().is_cancelled());
    rig.check();
    rig.write("a/7/f", 5000);
    assert!(rig.watched.refresh(rig.now, &cancel).unwrap_err().is_cancelled());
    rig.check();
    rig.audit();
}

#[test]
fn a_tree_that_is_deeper_than_a_path_can_be_long() {
    let mut rig = Rig::new();
    let name = "d".repeat(200);
    let mut dir = File::open(rig.path("")).unwrap();
    for _ in 0..50 {
        rustix::fs::mkdirat(&dir, &*name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        dir = rustix::fs::openat(&dir, &*name, flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    let watched = rig.refresh();
    rig.compare_numbers(&watched);
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
    let file = rustix::fs::openat(&dir, "f", flags, rustix::fs::Mode::RWXU).unwrap();
    File::from(file).write_all(&[1; 50_000]).unwrap();
    let watched = rig.refresh();
    assert_eq!(watched.dirty_read, 1);
    rig.compare_numbers(&watched);
}

impl Rig {
    /// Without a report by paths.
    fn compare_numbers(&self, watched: &RefreshReport) {
        let scanned = self.scan.run(&Cancel::new()).unwrap();
        assert_eq!(numbers(watched.usage[0].as_ref().unwrap()), numbers(&scanned));
    }
}

#[test]
fn lengths_whose_sum_no_number_holds() {
    let mut rig = Rig::of(in_memory());
    rig.mkdir("d");
    rig.check();
    for n in 0..4 {
        let longest = File::create(rig.path(&format!("d/{n}"))).unwrap().set_len(i64::MAX as u64);
        if !require(longest.is_ok(), "a file system for files of 8 EiB") {
            return;
        }
        let usage = rig.check().usage.remove(0).unwrap();
        let is_more = (n + 1) as u128 * i64::MAX as u128 > u64::MAX.into();
        assert_eq!(usage.apparent_bytes == u64::MAX, is_more, "{n}");
    }
    // With several names they count elsewhere.
    for n in 0..4 {
        hard_link(rig.path(&format!("d/{n}")), rig.path(&format!("{n}"))).unwrap();
    }
    assert_eq!(rig.check().usage[0].as_ref().unwrap().apparent_bytes, u64::MAX);
    // The memory of the surplus is freed again.
    for n in 1..4 {
        remove_file(rig.path(&format!("d/{n}"))).unwrap();
        remove_file(rig.path(&format!("{n}"))).unwrap();
    }
    assert_eq!(rig.check().usage[0].as_ref().unwrap().apparent_bytes, i64::MAX as u64);
    rig.audit();
}
