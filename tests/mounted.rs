//! What directories and file systems stand on: mounts below them, mounts in place of others, layers that hang.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

mod common;
#[path = "common/mounts.rs"]
mod mounts;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use appmon::{
    Cancel, Counters, Directory, FileSystem, FileSystemSample, FileSystems, MountChange, MountChanges, Notice, Part,
    Scan, Snapshot, Source, WatchMode,
};
use futures::{FutureExt, StreamExt};

use common::{Helper, is_root, require};
use mounts::{Frozen, Scratch, alone, mount, mount_silent, unmount};

const NEVER: Duration = Duration::from_secs(1_000_000);

fn tick(source: &mut FileSystems) -> Snapshot<FileSystemSample> {
    let mut snapshot = Snapshot::default();
    source.collect(&mut snapshot, &Cancel::new()).unwrap();
    for fs in snapshot.samples.iter().filter(|fs| fs.at.is_some()) {
        assert_eq!(fs.parts.iter().map(|part| part.bytes).sum::<u64>(), fs.total_bytes, "{fs:?}");
    }
    snapshot
}

fn error(source: &mut FileSystems) -> appmon::Error {
    source.collect(&mut Snapshot::default(), &Cancel::new()).unwrap_err()
}

#[track_caller]
fn at<'a>(snapshot: &'a Snapshot<FileSystemSample>, path: &Path) -> &'a FileSystemSample {
    let found = snapshot.samples.iter().find(|fs| *fs.mount_point == *path);
    found.unwrap_or_else(|| panic!("{} is not in {snapshot:?}", path.display()))
}

#[track_caller]
fn part(snapshot: &Snapshot<FileSystemSample>, name: &str) -> Part {
    let found = snapshot.samples.iter().find_map(|fs| fs.directory(name).cloned());
    found.unwrap_or_else(|| panic!("{name} is not in {snapshot:?}"))
}

fn fill(path: impl AsRef<Path>, bytes: usize) {
    fs::write(path, vec![7; bytes]).unwrap();
}

/// The blocks of files.
fn blocks(paths: &[PathBuf]) -> u64 {
    paths.iter().map(|path| fs::metadata(path).unwrap().blocks() * 512).sum()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Does something on a thread of its own, and fails when that is held up.
#[track_caller]
fn not_held_up<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let worker = std::thread::spawn(move || _ = sender.send(work()));
    match receiver.recv_timeout(Duration::from_secs(60)) {
        Ok(done) => done,
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!(),
        },
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("held up: {what}"),
    }
}

/// A tmpfs with these directories in it.
fn tmpfs(directories: &[&str]) -> (Scratch, impl Fn(&str) -> PathBuf + use<>) {
    let scratch = Scratch::new();
    let root = scratch.path().to_path_buf();
    mount(&["-t", "tmpfs", "-o", "size=64m", "x"], &root);
    for name in directories {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    (scratch, move |name: &str| root.join(name))
}

#[test]
fn what_a_directory_stands_on_decides_whether_it_may_hang() {
    if !alone("what_a_directory_stands_on_decides_whether_it_may_hang") {
        return;
    }
    let (_scratch, path) = tmpfs(&["fuse", "over", "upper", "work", "written"]);
    let Some(frozen) = Frozen::mount(&path("fuse")) else { return };
    let lower = format!("lowerdir={0}/one:{0}/two", path("fuse").display());
    mount(&["-t", "overlay", "-o", &lower, "over"], &path("over"));
    // The figures of this one are those of its upper layer; what is in it is not.
    let written = format!("{lower},upperdir={},workdir={}", path("upper").display(), path("work").display());
    mount(&["-t", "overlay", "-o", &written, "written"], &path("written"));
    let mut source = FileSystems::mounted();
    assert!(at(&tick(&mut source), &path("over")).stalled.is_none());
    frozen.freeze();
    for _ in 0..3 {
        let (again, snapshot) = not_held_up("a tick", move || {
            let snapshot = tick(&mut source);
            (source, snapshot)
        });
        source = again;
        assert!(at(&snapshot, &path("over")).stalled.is_some());
        assert!(at(&snapshot, Path::new("/")).stalled.is_none());
    }
    let registry = source.registry();
    for name in ["over", "written"] {
        let (registry, directory) = (registry.clone(), Directory::new(name, path(name).join("one/two")));
        not_held_up("registering", move || registry.add_directory(directory).unwrap().keep());
    }
    let snapshot = not_held_up("the first scans", move || tick(&mut source));
    assert!(!part(&snapshot, "written").complete);
    frozen.thaw();
}

#[test]
fn what_stands_on_what_cannot_be_found_may_hang() {
    if !alone("what_stands_on_what_cannot_be_found_may_hang") {
        return;
    }
    let (_scratch, path) = tmpfs(&["lower/a", "lower/b", "over", "disk"]);
    mounts::loop_ext4(&path("image"), &path("disk"));
    mount(&["-t", "overlay", "-o", &format!("lowerdir={0}/a:{0}/b", path("lower").display()), "o"], &path("over"));
    // Events tell what changes only where nothing can hang.
    let modes = || {
        let watched = |name: &str| Directory::new(name, path(name)).watched();
        let snapshot = tick(&mut FileSystems::mounted().directory(watched("disk")).directory(watched("over")));
        ["disk", "over"].map(|name| part(&snapshot, name).watch.unwrap().mode)
    };
    assert_eq!(modes(), [WatchMode::Watched, WatchMode::Watched]);
    // As what was named in another mount namespace: the paths lead to nothing here.
    fs::remove_file(path("image")).unwrap();
    fs::rename(path("lower"), path("elsewhere")).unwrap();
    assert_eq!(modes(), [WatchMode::Polled, WatchMode::Polled]);
}

#[test]
fn a_pseudo_file_system_of_a_program_may_hang() {
    if !alone("a_pseudo_file_system_of_a_program_may_hang") {
        return;
    }
    let (_scratch, path) = tmpfs(&["lx"]);
    let Some(mut silent) = mount_silent("lxcfs", &path("lx")) else { return };
    let lx = path("lx");
    let snapshot = not_held_up("a tick", move || {
        let mut source = FileSystems::new().register(FileSystem::new("lx", &lx));
        let _ = source.registry().add_directory(Directory::new("one", lx.join("one")));
        tick(&mut source)
    });
    assert!(at(&snapshot, &path("lx")).stalled.is_some());
    assert_eq!(at(&snapshot, &path("lx")).fs_type, "fuse.lxcfs");
    silent.end();
}

#[test]
fn another_file_system_at_the_same_place_is_another_one() {
    if !alone("another_file_system_at_the_same_place_is_another_one") {
        return;
    }
    let scratch = Scratch::new();
    let (disk, image) = (scratch.path().join("disk"), |n: u32| scratch.path().join(n.to_string()));
    fs::create_dir(&disk).unwrap();
    for (n, bytes) in [(1, 3_000_000), (2, 9_000_000)] {
        mounts::loop_ext4(&image(n), &disk);
        fs::create_dir(disk.join("d")).unwrap();
        fill(disk.join("d/f"), bytes);
        unmount(&disk);
    }
    let free = run("losetup", &["--find"]);
    let put = |n: u32| {
        run("losetup", &[&free, image(n).to_str().unwrap()]);
        mount(&[&free], &disk);
    };
    for watched in [false, true] {
        let directory = Directory::new("d", disk.join("d")).ttl(NEVER);
        let mut source = FileSystems::mounted().directory(if watched { directory.watched() } else { directory });
        put(1);
        let old = tick(&mut source);
        unmount(&disk);
        run("losetup", &["--detach", &free]);
        put(2);
        let new = tick(&mut source);
        let (then, now) = (at(&old, &disk), at(&new, &disk));
        assert_eq!((now.device_id, now.total_bytes), (then.device_id, then.total_bytes), "what is used again");
        let elapsed = now.at().since(then.at()).unwrap();
        assert_eq!(now.rates(&then.totals(), elapsed), None);
        assert!(appmon::Sample::is_changed(now, then));
        let du = blocks(&[disk.join("d"), disk.join("d/f")]);
        assert_eq!((part(&new, "d").bytes, part(&new, "d").complete), (du, true));
        assert_eq!(part(&new, "d").watch.map(|watch| watch.mode), watched.then_some(WatchMode::Watched));
        // The same again is no other one.
        let again = tick(&mut source);
        assert!(at(&again, &disk).rates(&now.totals(), Duration::from_secs(1)).is_some());
        assert!(!appmon::Sample::is_changed(at(&again, &disk), now));
        unmount(&disk);
        run("losetup", &["--detach", &free]);
    }
}

#[test]
fn a_program_that_takes_the_place_of_another_is_another_file_system() {
    if !alone("a_program_that_takes_the_place_of_another_is_another_file_system") {
        return;
    }
    let scratch = Scratch::new();
    let Some(first) = Frozen::mount(scratch.path()) else { return };
    let directory = Directory::new("one", scratch.path().join("one")).ttl(NEVER).wait();
    let mut source = FileSystems::mounted().directory(directory);
    let old = tick(&mut source);
    drop(first);
    let _second = Frozen::mount(scratch.path()).unwrap();
    let new = tick(&mut source);
    let (then, now) = (at(&old, scratch.path()), at(&new, scratch.path()));
    assert_eq!(now.device_id, then.device_id, "what is used again");
    assert_eq!(now.rates(&then.totals(), Duration::from_secs(1)), None);
    assert!(part(&new, "one").at > part(&old, "one").at, "it was scanned again");
}

#[test]
fn an_unmount_and_a_mount_are_two_changes() {
    if !alone("an_unmount_and_a_mount_are_two_changes") {
        return;
    }
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name);
    for name in ["a", "b"] {
        fs::create_dir(path(name)).unwrap();
    }
    let size = |size: &str, at: &str| mount(&["-t", "tmpfs", "-o", &format!("size={size}m"), "x"], &path(at));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut changes = MountChanges::new().unwrap();
        // The lot of several changes at once: first what was unmounted.
        let mut next = async |count: usize| -> Vec<(bool, PathBuf)> {
            let found = changes.by_ref().take(count).collect::<Vec<_>>();
            let found = tokio::time::timeout(Duration::from_secs(60), found).await.expect("fewer changes");
            assert!(changes.next().now_or_never().is_none(), "no more");
            let told = |change| match change {
                Ok(MountChange::Mounted(mount)) => (true, mount.mount_point.to_path_buf()),
                Ok(MountChange::Unmounted(mount)) => (false, mount.mount_point.to_path_buf()),
                other => panic!("{other:?}"),
            };
            found.into_iter().map(told).collect()
        };
        size("5", "a");
        assert_eq!(next(1).await, [(true, path("a"))]);
        unmount(&path("a"));
        size("9", "b");
        assert_eq!(next(2).await, [(false, path("a")), (true, path("b"))]);
        // At the same place, too.
        unmount(&path("b"));
        size("9", "b");
        assert_eq!(next(2).await, [(false, path("b")), (true, path("b"))]);
    });
}

#[test]
fn a_mount_that_is_moved_is_the_same() {
    if !alone("a_mount_that_is_moved_is_the_same") {
        return;
    }
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name);
    for name in ["a", "b"] {
        fs::create_dir(path(name)).unwrap();
    }
    mount(&["-t", "tmpfs", "x"], &path("a"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut changes = MountChanges::new().unwrap();
        mount(&["--move", path("a").to_str().unwrap()], &path("b"));
        let MountChange::Changed(moved) = changes.next().await.unwrap().unwrap() else { panic!("changed") };
        assert_eq!(*moved.mount_point, *path("b"));
    });
}

#[test]
fn a_link_that_leads_elsewhere_than_its_text_is_an_error() {
    if !alone("a_link_that_leads_elsewhere_than_its_text_is_an_error") {
        return;
    }
    let (_scratch, path) = tmpfs(&["data", "hidden"]);
    fill(path("data/host"), 700_000);
    let data = path("data");
    let data = data.to_str().unwrap();
    let script = "mount -t tmpfs x \"$0\" && head -c 3300000 /dev/zero >\"$0/inner\" && echo ready && read end";
    let mut child =
        Helper::spawn(Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", script, data]));
    assert_eq!(child.line(), "ready");
    let refused = |path: &str| {
        let mut source = FileSystems::mounted().directory(Directory::new("ctr", path));
        let error = error(&mut source);
        assert!(error.is_config() && error.to_string().contains("ctr"), "{error}");
        assert!(error.to_string().contains(path), "{error}");
        let error = FileSystems::mounted().registry().add_directory(Directory::new("ctr", path)).unwrap_err();
        assert!(error.is_config(), "{error}");
    };
    let of = |name: &str| format!("/proc/{}/{name}", child.pid());
    refused(&format!("{}{data}", of("root")));
    refused(&of("root"));
    let wrong = error(&mut FileSystems::new().register(FileSystem::new("c", of("root/"))));
    assert!(wrong.is_config() && wrong.to_string().contains(&of("root")), "{wrong}");
    // A scan is made by the path itself, and finds what is there.
    let there = Scan::new(format!("{}{data}", of("root"))).run(&Cancel::new()).unwrap();
    assert!(there.allocated_bytes > 3_000_000, "{there:?}");

    // One of our own that is hidden since, and one that was unmounted.
    for lazily in [false, true] {
        if lazily {
            mount(&["-t", "tmpfs", "x"], &path("hidden"));
        }
        let open = fs::File::open(path("hidden")).unwrap();
        if lazily {
            run("umount", &["--lazy", path("hidden").to_str().unwrap()]);
        } else {
            mount(&["-t", "tmpfs", "x"], &path("hidden"));
        }
        refused(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open)));
        if !lazily {
            unmount(&path("hidden"));
        }
    }
    // Those that lead to what their text says are followed.
    let open = fs::File::open(data).unwrap();
    std::env::set_current_dir(data).unwrap();
    for link in
        ["/proc/self/cwd", "/proc/thread-self/cwd", &format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open))]
    {
        let mut source = FileSystems::mounted().directory(Directory::new("here", link));
        let found = part(&tick(&mut source), "here");
        assert_eq!(
            (found.bytes, found.path.as_deref()),
            (blocks(&[path("data/host")]), Some(Path::new(data))),
            "{link}"
        );
    }
    std::env::set_current_dir("/").unwrap();
    child.end();
}

#[test]
fn what_is_mounted_below_another_root_is_told() {
    if !alone("what_is_mounted_below_another_root_is_told") {
        return;
    }
    let scratch = Scratch::new();
    for name in ["proc", "data", "etc"] {
        fs::create_dir(scratch.path().join(name)).unwrap();
    }
    mount(&["-t", "proc", "proc"], &scratch.path().join("proc"));
    mount(&["-t", "tmpfs", "-o", "size=50m", "d"], &scratch.path().join("data"));
    fs::create_dir(scratch.path().join("data/in")).unwrap();
    fill(scratch.path().join("data/in/file"), 1_000_000);
    let outside = fs::File::open("/").unwrap();
    std::os::unix::fs::chroot(scratch.path()).unwrap();
    std::env::set_current_dir("/").unwrap();
    let mut source = FileSystems::mounted().directory(Directory::new("in", "/data/in"));
    let snapshot = tick(&mut source);
    let shown: Vec<_> = snapshot.samples.iter().map(|fs| fs.mount_point.to_path_buf()).collect();
    assert_eq!(shown, [Path::new("/data")]);
    assert_eq!(part(&snapshot, "in").bytes, blocks(&["/data/in/file".into()]));
    assert_eq!(snapshot.notices, [Notice::NoRootMount]);
    let named = tick(&mut FileSystems::new().register(FileSystem::new("d", "/data")));
    assert_eq!(named.samples[0].name, "d");
    // What lies on the file system whose mount cannot be seen is an error that says so.
    for mut wrong in [
        FileSystems::mounted().directory(Directory::new("etc", "/etc")),
        FileSystems::new().register(FileSystem::new("etc", "/")),
    ] {
        let error = error(&mut wrong);
        assert!(error.is_config() && error.to_string().contains("etc"), "{error}");
        assert!(error.to_string().contains("chroot"), "{error}");
    }
    let back = || {
        rustix::process::fchdir(&outside).unwrap();
        std::os::unix::fs::chroot(".").unwrap();
    };
    back();
    // Where nothing is to be seen, that is said.
    unmount(&scratch.path().join("data"));
    std::os::unix::fs::chroot(scratch.path()).unwrap();
    let nothing = tick(&mut FileSystems::mounted());
    back();
    assert_eq!((nothing.samples.len(), &*nothing.notices), (0, &[Notice::NoRootMount][..]));
    assert_eq!(tick(&mut FileSystems::mounted()).notices, []);
}

#[test]
fn a_table_that_never_stood_still_is_read_again() {
    if !alone("a_table_that_never_stood_still_is_read_again") {
        return;
    }
    let scratch = Scratch::new();
    let (storm, last) = (scratch.path().join("storm"), scratch.path().join("last"));
    for path in [&storm, &last] {
        fs::create_dir(path).unwrap();
    }
    let script = "\
import ctypes, sys
c, storm, last = ctypes.CDLL(None), sys.argv[1].encode(), sys.argv[2].encode()
for n in range(3000):
    assert c.mount(b's', storm, b'tmpfs', 0, None) == 0 and c.umount2(storm, 2) == 0
assert c.mount(b'l', last, b'tmpfs', 0, None) == 0
print('over', flush=True)
sys.stdin.read()";
    let mut source = FileSystems::mounted();
    let mut helper = Helper::python(script, &[storm.to_str().unwrap(), last.to_str().unwrap()]);
    // While it goes on, and as it ends.
    let over = std::thread::spawn(move || {
        assert_eq!(helper.line(), "over");
        helper
    });
    while !over.is_finished() {
        tick(&mut source);
    }
    let mut helper = over.join().unwrap();
    let snapshot = tick(&mut source);
    at(&snapshot, &last);
    assert!(snapshot.samples.iter().all(|fs| *fs.mount_point != *storm), "{snapshot:?}");
    helper.end();
}

#[test]
fn as_nobody_nothing_of_this_needs_a_right() {
    if !require(is_root(), "root, to be nobody") {
        return;
    }
    // The unique ids of mounts, and what they stand on, are asked for by everybody.
    let test = "as_nobody_nothing_of_this_needs_a_right";
    if !common::inside(test, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]) {
        return;
    }
    let snapshot = tick(&mut FileSystems::mounted());
    assert!(at(&snapshot, Path::new("/")).stalled.is_none());
    assert_eq!(snapshot.notices, []);
}
