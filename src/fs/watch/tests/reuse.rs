//! Files and directories with the inode number of a removed one.

use std::process::Command;

use super::*;
use crate::fs::walk::Boundary;

/// A file system in a file, mounted on `disk` in a directory of its own until it is dropped.
struct Disk(TempDir);

impl Disk {
    fn new(size: u64, make: &[&str]) -> Option<Self> {
        let has = |name: &str| Command::new(name).arg("-V").output().is_ok();
        if !require(is_root(), "root, to mount") || !require(has(make[0]), make[0]) {
            return None;
        }
        let disk = Self(tempfile::tempdir().unwrap());
        let image = disk.0.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(size).unwrap();
        std::fs::create_dir(disk.path("")).unwrap();
        run(Command::new(make[0]).args(&make[1..]).arg(&image));
        let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path("")).output().unwrap();
        require(mounted.status.success(), make[0]).then_some(disk)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join("disk").join(path)
    }

    fn rig(&self, root: &str) -> Rig {
        Rig::with(
            tempfile::tempdir_in(self.path("")).unwrap(),
            Scan::new(self.path(root)).boundary(Boundary::SameMount),
        )
    }

    /// Blocks are accounted for at last when they are written.
    fn sync(&self) {
        rustix::fs::syncfs(std::fs::File::open(self.path("")).unwrap()).unwrap();
    }

    #[track_caller]
    fn check(&self, rig: &mut Rig) -> RefreshReport {
        self.sync();
        rig.check()
    }

    fn subvolume(&self, act: &str, path: &str) {
        run(Command::new("btrfs").args(["subvolume", act]).arg(self.path(path)));
    }

    fn fill(&self, path: &str, blocks: usize) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), vec![1; blocks << 12]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path("")).output();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn btrfs() -> Option<Disk> {
    Disk::new(128 << 20, &["mkfs.btrfs", "-q", "-f"])
}

#[test]
fn subvolumes_that_are_deleted_and_made_again() {
    let Some(disk) = btrfs() else { return };
    disk.fill("d/f", 1);
    disk.subvolume("create", "d/s");
    disk.fill("d/s/in/f", 5);
    let mut rig = disk.rig("d");
    disk.check(&mut rig);
    for n in 1..6 {
        disk.subvolume("delete", "d/s");
        disk.subvolume("create", "d/s");
        // All numbers are the same as before, though its entries are new as well.
        disk.fill("d/s/in/f", 5 + n);
        disk.check(&mut rig);
        disk.fill("d/s/g", 10 * n);
        assert_eq!(disk.check(&mut rig).dirty_read, 1, "it is watched");
        disk.fill("d/s/in/g", 10 * n);
        assert_eq!(disk.check(&mut rig).dirty_read, 1, "and its entries");
        // The next one is elsewhere.
        std::fs::rename(disk.path("d/s"), disk.path("d/t")).unwrap();
        disk.check(&mut rig);
        disk.subvolume("delete", "d/t");
        disk.subvolume("create", "d/u");
        disk.fill("d/u/in/f", 7 + n);
        disk.check(&mut rig);
        disk.fill("d/u/in/g", n);
        disk.check(&mut rig);
        // And where nobody knew the old one.
        std::fs::rename(disk.path("d/u"), disk.path("d/v")).unwrap();
        disk.subvolume("delete", "d/v");
        disk.subvolume("create", "d/s");
        disk.fill("d/s/in/f", 9 + n);
        disk.check(&mut rig);
        disk.fill("d/s/in/g", n);
        disk.check(&mut rig);
    }
    let tree = &rig.watched.tree;
    assert!(tree.nodes.iter().all(|(_, node)| node.wd.is_some()));
    rig.audit();
}

#[test]
fn a_subvolume_that_is_the_root() {
    let Some(disk) = btrfs() else { return };
    disk.subvolume("create", "s");
    disk.fill("s/in/f", 5);
    let mut rig = disk.rig("s");
    disk.check(&mut rig);
    for n in 1..6 {
        disk.subvolume("delete", "s");
        disk.subvolume("create", "s");
        disk.fill("s/in/f", 5 + n);
        disk.check(&mut rig);
        disk.fill("s/g", 10 * n);
        disk.fill("s/in/g", 10 * n);
        assert_eq!(disk.check(&mut rig).dirty_read, 2);
        let moved = disk.path("old");
        std::fs::rename(disk.path("s"), &moved).unwrap();
        disk.subvolume("create", "s");
        disk.check(&mut rig);
        disk.fill("s/in/g", n);
        disk.check(&mut rig);
        disk.subvolume("delete", "old");
    }
    rig.audit();
}

#[test]
fn a_subvolume_where_watches_are_few() {
    let Some(disk) = btrfs() else { return };
    for dir in ["d/a", "d/b"] {
        disk.fill(&format!("{dir}/f"), 1);
    }
    disk.subvolume("create", "d/s");
    disk.fill("d/s/in/f", 5);
    for most in 0..7 {
        let mut rig = disk.rig("d");
        rig.watched = WatchedTree::new(&rig.scan).watches(most).ttl(30 * SECOND);
        disk.check(&mut rig);
        disk.subvolume("delete", "d/s");
        disk.subvolume("create", "d/s");
        disk.fill("d/s/in/f", 8);
        rig.now = rig.now.plus(30 * SECOND);
        disk.check(&mut rig);
        disk.fill("d/s/in/g", 9);
        disk.fill("d/s/g", 9);
        rig.now = rig.now.plus(30 * SECOND);
        disk.check(&mut rig);
        rig.audit();
    }
}

#[test]
fn inode_numbers_that_a_disk_reuses() {
    use std::os::unix::fs::MetadataExt;
    let Some(disk) = Disk::new(32 << 20, &["mkfs.ext4", "-q", "-F"]) else { return };
    let number = |path: &str| std::fs::symlink_metadata(disk.path(path)).unwrap().ino();
    disk.fill("d/a/b/f", 1);
    let mut rig = disk.rig("d");
    disk.check(&mut rig);
    let mut again = 0;
    for n in 1..9 {
        let old = (number("d/a"), number("d/a/b"));
        std::fs::remove_dir_all(disk.path("d/a")).unwrap();
        disk.fill("d/a/b/f", n);
        again += usize::from(old == (number("d/a"), number("d/a/b")));
        disk.check(&mut rig);
        disk.fill("d/a/b/g", n);
        assert_eq!(disk.check(&mut rig).dirty_read, 1);
        // The whole tree, as well, and at another place.
        std::fs::rename(disk.path("d/a"), disk.path("d/c")).unwrap();
        std::fs::remove_dir_all(disk.path("d/c")).unwrap();
        disk.fill("d/e/a/f", n);
        disk.check(&mut rig);
        std::fs::remove_dir_all(disk.path("d")).unwrap();
        disk.fill("d/a/b/f", 2 * n);
        disk.check(&mut rig);
        disk.fill("d/a/b/g", n);
        disk.check(&mut rig);
    }
    assert!(again > 0, "numbers are used again here");
    rig.audit();
}
