//! Mounts in a watched tree, and over it.

use std::process::Command;

use rustix::fs::CWD;

use super::*;
use crate::fs::walk::Boundary;

/// A mount, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: PathBuf) -> Self {
        run("mount", &["-t", "tmpfs", "appmon-test"], &at);
        Self(at)
    }

    fn bind(of: &Path, at: PathBuf) -> Self {
        run("mount", &["--bind", of.to_str().unwrap()], &at);
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], at: &Path) {
    assert!(Command::new(program).args(arguments).arg(at).status().unwrap().success());
}

fn rig(boundary: Boundary) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    std::fs::create_dir(&root).unwrap();
    Rig::with(dir, Scan::new(root).boundary(boundary))
}

#[test]
fn mounted_on_top_and_unmounted() {
    if !require(is_root(), "root, to mount") {
        return;
    }
    for boundary in [Boundary::SameDevice, Boundary::SameMount, Boundary::Cross] {
        let mut rig = rig(boundary);
        rig.mkdir("a/point/deep");
        rig.write("a/point/deep/f", 50_000);
        rig.write("a/f", 5000);
        rig.check();
        let mount = Mounted::tmpfs(rig.path("a/point"));
        rig.check();
        rig.mkdir("a/point/new");
        rig.write("a/point/new/f", 70_000);
        rig.check();
        let inner = Mounted::tmpfs(rig.path("a/point/new"));
        rig.check();
        drop(inner);
        rig.check();
        drop(mount);
        rig.check();
        rig.write("a/point/deep/f", 1);
        assert_eq!(rig.check().dirty_read, 1);
        rig.audit();
    }
}

#[test]
fn the_same_directory_at_two_places() {
    if !require(is_root(), "root, to mount") {
        return;
    }
    for boundary in [Boundary::SameDevice, Boundary::SameMount, Boundary::Cross] {
        let mut rig = rig(boundary);
        rig.mkdir("a/b");
        rig.mkdir("point");
        rig.write("a/b/f", 50_000);
        rig.check();
        let mount = Mounted::bind(&rig.path("a"), rig.path("point"));
        rig.check();
        rig.write("point/b/f", 100_000);
        rig.check();
        rig.mkdir("a/b/c");
        rig.write("a/b/c/g", 5000);
        std::fs::hard_link(rig.path("a/b/f"), rig.path("a/b/g")).unwrap();
        rig.refresh_until_current();
        drop(mount);
        rig.check();
        rig.write("a/b/c/g", 50_000);
        rig.check();
        let tree = &rig.watched.tree;
        assert!(tree.nodes.iter().all(|(_, node)| node.wd.is_some()));
        rig.audit();
    }
}

#[test]
fn the_same_file_at_two_places() {
    if !require(is_root(), "root, to mount") {
        return;
    }
    for boundary in [Boundary::SameDevice, Boundary::SameMount, Boundary::Cross] {
        let mut rig = rig(boundary);
        rig.mkdir("d");
        rig.write("f", 5000);
        std::fs::write(rig.outside("outside"), vec![1; 7000]).unwrap();
        for (of, point) in [(rig.path("f"), "d/a"), (rig.outside("outside"), "d/b")] {
            rig.write(point, 1);
            rig.check();
            let mount = Mounted::bind(&of, rig.path(point));
            rig.check();
            // The event is that of the place where the file is.
            std::fs::write(&of, vec![1; 100_000]).unwrap();
            rig.refresh_until_current();
            rig.write(point, 50_000);
            rig.refresh_until_current();
            drop(mount);
            rig.check();
        }
        rig.audit();
    }
}

#[test]
fn a_mount_goes_along_with_the_directory_it_is_in() {
    if !require(is_root(), "root, to mount") {
        return;
    }
    for boundary in [Boundary::SameDevice, Boundary::SameMount, Boundary::Cross] {
        for (is_known, is_mount_known) in [(false, false), (true, false), (true, true)] {
            let mut rig = rig(boundary);
            rig.mkdir("a/point/deep");
            rig.check();
            rig.mkdir("b");
            if is_known {
                rig.check();
            }
            let mut mount = Mounted::tmpfs(rig.path("a/point"));
            if is_mount_known {
                rig.check();
            }
            let (a, b) = (rig.path("a"), rig.path("b"));
            rustix::fs::renameat_with(CWD, &a, CWD, &b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            mount.0 = rig.path("b/point");
            rig.check();
            drop(mount);
            rig.check();
            rig.audit();
        }
    }
}

#[test]
fn the_root_itself_is_mounted_on_and_unmounted() {
    if !require(is_root(), "root, to mount") {
        return;
    }
    let mut rig = rig(Boundary::SameDevice);
    rig.write("f", 5000);
    rig.check();
    let mount = Mounted::tmpfs(rig.path(""));
    rig.mkdir("d");
    rig.write("d/f", 50_000);
    rig.check();
    rig.write("d/f", 100_000);
    assert_eq!(rig.check().dirty_read, 1);
    drop(mount);
    rig.check();
    rig.audit();
}

#[test]
fn a_mount_over_a_directory_hides_the_mounts_in_it() {
    if !require(is_root(), "root, to mount") {
        return;
    }
    for boundary in [Boundary::SameDevice, Boundary::SameMount, Boundary::Cross] {
        let mut rig = rig(boundary);
        rig.mkdir("a/b/c");
        rig.write("a/b/c/f", 50_000);
        let _inner = Mounted::tmpfs(rig.path("a/b/c"));
        rig.check();
        // It is the same directory, without the mounts in it.
        let over = Mounted::bind(&rig.path("a"), rig.path("a"));
        rig.refresh_until_current();
        drop(over);
        rig.refresh_until_current();
        rig.audit();
    }
}

#[test]
fn mounted_on_in_what_was_moved() {
    if !require(is_root(), "root, to mount") {
        return;
    }
    for boundary in [Boundary::SameDevice, Boundary::SameMount, Boundary::Cross] {
        let mut rig = rig(boundary);
        rig.mkdir("b/c");
        rig.mkdir("a");
        rig.write("b/c/f", 50_000);
        rig.check();
        // Its content is known, and is not read again because of the move.
        std::fs::rename(rig.path("b"), rig.path("a/b")).unwrap();
        let mount = Mounted::tmpfs(rig.path("a/b/c"));
        rig.refresh_until_current();
        // Moved with the mounts in it.
        std::fs::rename(rig.path("a"), rig.path("z")).unwrap();
        rig.refresh_until_current();
        std::mem::forget(mount);
        drop(Mounted(rig.path("z/b/c")));
        rig.refresh_until_current();
        // A directory goes into one that moves, and is mounted on there.
        rig.mkdir("x");
        rig.mkdir("y/deep");
        rig.write("x/f", 50_000);
        rig.refresh_until_current();
        std::fs::rename(rig.path("x"), rig.path("y/deep/x")).unwrap();
        let mount = Mounted::tmpfs(rig.path("y/deep/x"));
        std::fs::rename(rig.path("y"), rig.path("w")).unwrap();
        rig.refresh_until_current();
        std::mem::forget(mount);
        drop(Mounted(rig.path("w/deep/x")));
        rig.refresh_until_current();
        rig.audit();
    }
}
