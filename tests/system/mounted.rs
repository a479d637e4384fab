//! The mounts of directories and file systems: mounts below them, mounts that replace others, layers that hang.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use appmon::counters::Counters;
use appmon::fs::{Boundary, MountChange, MountChanges, Part, PartKind, Scan, WatchMode};
use appmon::snapshot::Notice;
use appmon::{Cancel, Directory, FileSystem, FileSystemSample, FileSystems, Snapshot, Source};
use futures::{FutureExt, StreamExt};

use common::mounts::{Frozen, Scratch, alone, mount, mount_silent, unmount};
use common::{Helper, is_root, require, until};

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

fn other(fs: &FileSystemSample) -> u64 {
    fs.parts.iter().find(|part| part.kind == PartKind::Other).unwrap().bytes
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

/// A loop device with an image in it, for as long as it lives.
struct Attached<'a>(&'a str);

impl<'a> Attached<'a> {
    fn new(device: &'a str, image: &Path) -> Self {
        run("losetup", &[device, image.to_str().unwrap()]);
        Self(device)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        // Where it is still mounted, that is when it is unmounted.
        let _ = Command::new("losetup").args(["--detach", self.0]).status();
    }
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

/// Threads of this process by name.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok().filter(|comm| comm.trim() == name);
    tasks.filter_map(|task| name(task.ok()?)).count()
}

/// Whether the kernel has ids of mounts that are never used again.
fn has_unique_ids() -> bool {
    let unique = rustix::fs::StatxFlags::from_bits_retain(0x4000);
    let root = rustix::fs::statx(rustix::fs::CWD, "/", rustix::fs::AtFlags::empty(), unique).unwrap();
    require(root.stx_mask & unique.bits() != 0, "Linux 6.8, for unique ids of mounts")
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
fn files_on_another_mount_below_are_not_subtracted() {
    if !alone("mounted::files_on_another_mount_below_are_not_subtracted") {
        return;
    }
    let (scratch, path) = tmpfs(&["a/sub", "a/own", "a/foreign", "o/deep"]);
    fill(path("a/x"), 1_000_000);
    fill(path("a/own/x"), 500_000);
    fill(path("o/y"), 3_000_000);
    fill(path("o/deep/z"), 2_000_000);
    mount(&["--bind", path("o").to_str().unwrap()], &path("a/sub"));
    mount(&["-t", "tmpfs", "-o", "size=8m", "y"], &path("a/foreign"));
    fill(path("a/foreign/x"), 100_000);
    for watched in [false, true] {
        let directory = |name: &str, at: &str| {
            let directory = Directory::new(name, path(at));
            if watched { directory.watched() } else { directory }
        };
        let mut source = FileSystems::mounted()
            .directory(directory("a", "a"))
            .directory(directory("own", "a/own"))
            .directory(directory("sub", "a/sub"))
            .directory(directory("deep", "a/sub/deep"))
            .directory(directory("foreign", "a/foreign"));
        for _ in 0..3 {
            let snapshot = tick(&mut source);
            let check = |name: &str, own: &[&str], all: &[&str], mounts: u64| {
                let found = part(&snapshot, name);
                let expected = |files: &[&str]| blocks(&files.iter().map(|file| path(file)).collect::<Vec<_>>());
                assert_eq!((found.bytes, found.inclusive_bytes), (expected(own), Some(expected(all))), "{name}");
                assert!(found.complete, "{found:?}");
                assert_eq!(found.excluded_mounts, Some(mounts), "{name}");
            };
            check("a", &["a/x"], &["a/x", "a/own/x"], 2);
            check("own", &["a/own/x"], &["a/own/x"], 0);
            check("sub", &["o/y"], &["o/y", "o/deep/z"], 0);
            check("deep", &["o/deep/z"], &["o/deep/z"], 0);
            check("foreign", &["a/foreign/x"], &["a/foreign/x"], 0);
            assert!(!at(&snapshot, scratch.path()).overcommitted);
            assert_eq!(other(at(&snapshot, scratch.path())), 0);
        }
    }
}

#[test]
fn a_directory_by_two_paths_counts_once() {
    if !alone("mounted::a_directory_by_two_paths_counts_once") {
        return;
    }
    let (scratch, path) = tmpfs(&["d/in/ner", "e", "f"]);
    fill(path("d/x"), 2_000_000);
    fill(path("d/in/x"), 1_000_000);
    fill(path("d/in/ner/x"), 400_000);
    fill(path("rest"), 300_000);
    mount(&["--bind", path("d").to_str().unwrap()], &path("e"));
    mount(&["--bind", path("d/in").to_str().unwrap()], &path("f"));
    let all = blocks(&["d/x", "d/in/x", "d/in/ner/x"].map(&path));
    let rest = blocks(&[path("rest")]);
    for watched in [false, true] {
        let directory = |name: &str, at: &str| {
            let directory = Directory::new(name, path(at)).ttl(NEVER);
            if watched { directory.watched() } else { directory }
        };
        // Whichever comes first, all at once or one after the other.
        let sets: [&[(&str, &str)]; 3] = [
            &[("d", "d"), ("e", "e")],
            &[("f", "f"), ("e", "e"), ("d", "d"), ("ner", "d/in/ner")],
            &[("in", "d/in"), ("f", "f"), ("e", "e")],
        ];
        for set in sets {
            for late in [false, true] {
                let mut source = FileSystems::mounted();
                let registry = source.registry();
                for (name, at) in set {
                    registry.add_directory(directory(name, at)).unwrap().keep();
                    if late {
                        tick(&mut source);
                    }
                }
                let snapshot = tick(&mut source);
                let fs = at(&snapshot, scratch.path());
                assert_eq!((other(fs), fs.overcommitted), (rest, false), "{set:?} {fs:?}");
                let own = fs.parts.iter().filter(|part| part.kind == PartKind::Directory).map(|part| part.bytes);
                assert_eq!(own.sum::<u64>(), all);
                for (name, at) in set {
                    let files: &[&str] = match *at {
                        "d" | "e" => &["d/x", "d/in/x", "d/in/ner/x"],
                        "d/in/ner" => &["d/in/ner/x"],
                        _ => &["d/in/x", "d/in/ner/x"],
                    };
                    let expected = blocks(&files.iter().map(|file| path(file)).collect::<Vec<_>>());
                    assert_eq!(part(&snapshot, name).inclusive_bytes, Some(expected), "{set:?} {name}");
                }
            }
        }
    }
}

/// The growth of the directories, by name, and of the other used space.
fn growth(now: &FileSystemSample, then: &FileSystemSample) -> Vec<(String, Option<f64>)> {
    let rates = now.rates(&then.totals(), now.at().since(then.at()).unwrap()).unwrap();
    let parts = rates.parts.iter().filter(|part| matches!(part.kind, PartKind::Directory | PartKind::Other));
    parts.map(|part| (part.name.to_string(), part.bytes)).collect()
}

/// Nothing has grown. That of the rest is not known between ticks as close together as these.
#[track_caller]
fn check_known(growth: &[(String, Option<f64>)]) {
    let is_known = |(name, bytes): &(String, Option<f64>)| *bytes == Some(0.0) || (name == "other" && bytes.is_none());
    assert!(growth.iter().all(is_known), "{growth:?}");
}

/// Between two ticks nothing is written and something is mounted or unmounted, on a file system at `root`: `unlike` are of
/// something else then, and all the others have not grown.
#[track_caller]
fn check_growth(source: &mut FileSystems, root: &Path, unlike: &[&str], step: impl FnOnce()) {
    tick(source);
    let first = tick(source);
    let then = tick(source);
    let known = growth(at(&then, root), at(&first, root));
    check_known(&known);
    step();
    let now = tick(source);
    let found = growth(at(&now, root), at(&then, root));
    for (name, bytes) in &found {
        if unlike.contains(&name.as_str()) {
            assert_eq!(*bytes, None, "{name} of {found:?}");
        } else {
            assert!(bytes.is_none_or(|bytes| bytes == 0.0), "{name} of {found:?}");
        }
    }
    // From then on the same places are measured again.
    let next = tick(source);
    let known = growth(at(&next, root), at(&now, root));
    check_known(&known);
}

#[test]
fn mounts_and_unmounts_are_no_growth() {
    if !alone("mounted::mounts_and_unmounts_are_no_growth") {
        return;
    }
    let (scratch, path) = tmpfs(&["a/s/t", "b", "c"]);
    fill(path("a/x"), 1_000_000);
    fill(path("a/s/x"), 2_000_000);
    fill(path("a/s/t/x"), 3_000_000);
    for watched in [false, true] {
        let source = |directories: &[&str]| {
            directories.iter().fold(FileSystems::mounted(), |source, name| {
                let directory = Directory::new(*name, path(name)).ttl(Duration::ZERO).wait();
                source.directory(if watched { directory.watched() } else { directory })
            })
        };
        let check = |directories: &[&str], unlike: &[&str], step: &dyn Fn()| {
            check_growth(&mut source(directories), scratch.path(), unlike, step);
        };
        let bind = |what: &str, on: &str| mount(&["--bind", path(what).to_str().unwrap()], &path(on));
        // A part of one directory is shown at another one.
        check(&["a", "b"], &["a", "b", "other"], &|| bind("a/s", "b"));
        check(&["a", "b"], &["a", "b", "other"], &|| unmount(&path("b")));
        // And at one in it.
        bind("a/s", "b");
        check(&["a", "b/t", "b"], &["a", "b", "other"], &|| bind("c", "b/t"));
        check(&["a", "b/t", "b"], &["a", "b", "other"], &|| unmount(&path("b/t")));
        unmount(&path("b"));
        // The same directory by two paths: its entries count for the one that was registered first.
        for (both, unlike) in [(["a", "b"], &["b", "other"][..]), (["b", "a"], &["a", "b", "other"])] {
            check(&both, unlike, &|| bind("a", "b"));
            check(&both, unlike, &|| unmount(&path("b")));
        }
        // A part of it is hidden, and shown again.
        for hide in [&|| bind("c", "a/s") as (), &|| mount(&["-t", "tmpfs", "y"], &path("a/s"))] as [&dyn Fn(); 2] {
            check(&["a"], &["a", "other"], hide);
            check(&["a"], &["a", "other"], &|| unmount(&path("a/s")));
        }
        // Elsewhere it changes nothing.
        check(&["a", "b"], &[], &|| mount(&["-t", "tmpfs", "y"], &path("c")));
        check(&["a", "b"], &[], &|| unmount(&path("c")));
    }
}

#[test]
fn a_subvolume_that_is_unmounted_is_no_growth() {
    if !alone("mounted::a_subvolume_that_is_unmounted_is_no_growth") {
        return;
    }
    let scratch = Scratch::new();
    let (image, root) = (scratch.path().join("image"), scratch.path().join("b"));
    fs::File::create(&image).unwrap().set_len(300 << 20).unwrap();
    fs::create_dir(&root).unwrap();
    let succeeds = |program: &str, arguments: &[&Path]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !require(succeeds("mkfs.btrfs", &[&image]) && succeeds("mount", &[Path::new("-oloop"), &image, &root]), "btrfs")
    {
        return;
    }
    let (subvolume, home) = (root.join("@home"), root.join("home"));
    run("btrfs", &["subvolume", "create", subvolume.to_str().unwrap()]);
    fs::create_dir(&home).unwrap();
    fill(subvolume.join("x"), 5_000_000);
    run("sync", &["-f", root.to_str().unwrap()]);
    let mut source = FileSystems::mounted().directory(Directory::new("home", &home).ttl(Duration::ZERO).wait());
    let device = at(&tick(&mut source), &root).device.to_string();
    let show = || mount(&["-o", "subvol=@home", &device], &home);
    check_growth(&mut source, &root, &["home", "other"], show);
    assert!(part(&tick(&mut source), "home").bytes >= 5_000_000);
    check_growth(&mut source, &root, &["home", "other"], || unmount(&home));
}

#[test]
fn files_left_out_of_a_directory_are_so_by_another_path_too() {
    if !alone("mounted::files_left_out_of_a_directory_are_so_by_another_path_too") {
        return;
    }
    let (_scratch, path) = tmpfs(&["d/cache", "way"]);
    fill(path("d/x"), 2_000_000);
    fill(path("d/cache/x"), 1_000_000);
    mount(&["--bind", path("d/cache").to_str().unwrap()], &path("way"));
    let (outer, inner) = (blocks(&[path("d/x")]), blocks(&[path("d/cache/x")]));
    for watched in [false, true] {
        for late in [false, true] {
            let outside = Directory::new("d", path("d")).ttl(NEVER).exclude("/cache").unwrap();
            let outside = if watched { outside.watched() } else { outside };
            let mut source = FileSystems::mounted().directory(outside);
            let registry = source.registry();
            if late {
                tick(&mut source);
            }
            let by_way = registry.add_directory(Directory::new("way", path("way")).ttl(NEVER)).unwrap();
            let snapshot = tick(&mut source);
            assert_eq!((part(&snapshot, "d").bytes, part(&snapshot, "way").bytes), (outer, inner), "{watched} {late}");
            drop(by_way);
            assert_eq!(part(&tick(&mut source), "d").bytes, outer, "{watched} {late}");
        }
    }
}

#[test]
fn files_hidden_by_a_mount_are_not_subtracted() {
    if !alone("mounted::files_hidden_by_a_mount_are_not_subtracted") {
        return;
    }
    // `d/in` is hidden in `d` by a mount, and can be seen by another way.
    let (scratch, path) = tmpfs(&["d/in", "way"]);
    fill(path("d/x"), 2_000_000);
    fill(path("d/in/x"), 1_000_000);
    mount(&["--bind", path("d").to_str().unwrap()], &path("way"));
    mount(&["-t", "tmpfs", "-o", "size=1m", "y"], &path("d/in"));
    let (outer, inner) = (blocks(&[path("d/x")]), blocks(&[path("way/in/x")]));
    let directory = |name: &str, at: &str| Directory::new(name, path(at)).ttl(NEVER);
    let mut source = FileSystems::mounted().directory(directory("d", "d")).directory(directory("in", "way/in"));
    let snapshot = tick(&mut source);
    assert_eq!((part(&snapshot, "d").bytes, part(&snapshot, "in").bytes), (outer, inner));
    assert_eq!((part(&snapshot, "d").inclusive_bytes, part(&snapshot, "d").excluded_mounts), (Some(outer), Some(1)));
    assert!(!at(&snapshot, scratch.path()).overcommitted);
    // When it comes to light it is in `d` as well, from its next scan on; at no time anything counts twice.
    unmount(&path("d/in"));
    assert_eq!((part(&tick(&mut source), "d").bytes, part(&tick(&mut source), "in").bytes), (outer, inner));
    assert!(source.registry().invalidate("d"));
    until("it is in the outer one", || {
        let snapshot = tick(&mut source);
        assert_eq!((part(&snapshot, "d").bytes, part(&snapshot, "in").bytes), (outer, inner));
        part(&snapshot, "d").inclusive_bytes == Some(outer + inner)
    });
    assert_eq!(part(&tick(&mut source), "d").excluded_mounts, Some(0));
}

#[test]
fn a_mount_that_hangs_below_a_directory_holds_up_nothing() {
    if !alone("mounted::a_mount_that_hangs_below_a_directory_holds_up_nothing") {
        return;
    }
    let (_scratch, path) = tmpfs(&["srv/remote", "srv/late"]);
    fill(path("srv/file"), 1_000_000);
    let Some(frozen) = Frozen::mount(&path("srv/remote")) else { return };
    frozen.freeze();
    let mut late: Option<Frozen> = None;
    for watched in [false, true] {
        let directory = Directory::new("srv", path("srv")).ttl(Duration::ZERO).wait();
        let directory = if watched { directory.watched() } else { directory };
        let mut source = FileSystems::mounted().directory(directory);
        let (mut source, first) = not_held_up("the first tick", move || {
            let first = part(&tick(&mut source), "srv");
            (source, first)
        });
        let held = u64::from(late.is_some());
        assert_eq!((first.bytes, first.complete), (blocks(&[path("srv/file")]), true), "{first:?}");
        assert_eq!(first.excluded_mounts, Some(1 + held));
        // One that is mounted later delays nothing either, and all others go on.
        if late.is_none() {
            late = Frozen::mount(&path("srv/late"));
            late.as_ref().unwrap().freeze();
        }
        fill(path("srv/file"), 2_000_000);
        let expected = blocks(&[path("srv/file")]);
        let next = not_held_up("the next tick", move || part(&tick(&mut source), "srv"));
        assert_eq!((next.bytes, next.complete, next.excluded_mounts), (expected, true, Some(2)), "{next:?}");
        if watched {
            assert!(next.watch.is_some_and(|watch| watch.mode == WatchMode::Watched && watch.settled), "{next:?}");
        }
        fill(path("srv/file"), 1_000_000);
    }
    // Scans by hand, too.
    for boundary in [Boundary::SameDevice, Boundary::SameMount] {
        let srv = path("srv");
        let usage = not_held_up("a scan", move || Scan::new(srv).boundary(boundary).run(&Cancel::new()).unwrap());
        assert_eq!((usage.allocated_bytes, usage.excluded_mounts), (blocks(&[path("srv/file")]), 2), "{boundary:?}");
        assert!(usage.is_complete());
    }
    frozen.thaw();
}

#[test]
fn files_that_are_asked_are_not_looked_for_in_a_mount_that_hangs() {
    if !alone("mounted::files_that_are_asked_are_not_looked_for_in_a_mount_that_hangs") {
        return;
    }
    let (_scratch, path) = tmpfs(&["srv/late/deep", "elsewhere"]);
    // Sparse, and with a name elsewhere: writes to them need not have an event.
    for name in ["srv/late/sparse", "srv/late/deep/sparse", "elsewhere/linked"] {
        fs::File::create(path(name)).unwrap().set_len(1 << 20).unwrap();
    }
    fs::hard_link(path("elsewhere/linked"), path("srv/late/linked")).unwrap();
    let directory = Directory::new("srv", path("srv")).wait().watched();
    let mut source = FileSystems::mounted().directory(directory);
    tick(&mut source);
    assert_eq!(part(&tick(&mut source), "srv").watch.unwrap().asked_files, 3);
    let Some(frozen) = Frozen::mount(&path("srv/late")) else { return };
    frozen.freeze();
    fill(path("srv/file"), 1_000_000);
    let expected = blocks(&[path("srv/file")]);
    not_held_up("a tick", move || {
        until("the rest is known", || {
            let now = part(&tick(&mut source), "srv");
            now.bytes == expected && now.complete && now.watch.is_some_and(|watch| watch.settled)
        });
    });
    assert_eq!(frozen.held(), 1, "its figures are asked for, and nothing else");
    frozen.thaw();
}

/// Symbolic links on a mount that may hang are followed by the scan only.
#[test]
fn symbolic_links_of_what_may_hang_are_followed_by_the_scan() {
    if !alone("mounted::symbolic_links_of_what_may_hang_are_followed_by_the_scan") {
        return;
    }
    let (_scratch, path) = tmpfs(&["served", "beside/deep"]);
    fill(path("beside/deep/file"), 1_000_000);
    let Some(_frozen) = Frozen::mount(&path("served")) else { return };
    let look = |names: &[&str]| {
        let directory = |name: &&str| Directory::new(*name, path("served").join(name)).wait();
        let source = FileSystems::mounted().budget(Duration::from_secs(3600));
        tick(&mut names.iter().map(directory).fold(source, FileSystems::directory))
    };
    let link = part(&look(&["link"]), "link");
    assert_eq!((link.bytes, link.complete, link.first_error), (4096, true, None));
    // Files on another file system do not count for this one.
    for name in ["away", "away/deep"] {
        let found = part(&look(&[name]), name);
        assert_eq!((found.bytes, found.complete), (0, false), "{name}");
        let error = found.first_error.unwrap().to_string();
        assert!(error.contains(path("beside").to_str().unwrap()) && error.contains("another mount"), "{error}");
    }
    // The same directory counts once.
    let all = look(&["one", "link", "away", "."]);
    let bytes: Vec<u64> = ["one", "link", "away", "."].iter().map(|name| part(&all, name).bytes).collect();
    assert_eq!((bytes[0] + bytes[1], bytes[2]), (4096, 0), "{bytes:?}");
    assert!(part(&all, "link").complete && part(&all, ".").complete && !part(&all, "away").complete);
}

#[test]
fn the_root_directory_is_scanned_though_a_mount_in_it_hangs() {
    if !alone("mounted::the_root_directory_is_scanned_though_a_mount_in_it_hangs") {
        return;
    }
    // The whole of a file system, with a mount in the depth that shadows files and directories.
    let (_scratch, path) = tmpfs(&["a/b/c/d/e", "a/file"]);
    fill(path("a/b/c/x"), 100_000);
    let Some(frozen) = Frozen::mount(&path("a/b/c/d")) else { return };
    frozen.freeze();
    let root = path("");
    let usage = not_held_up("a scan", {
        let root = root.clone();
        move || Scan::new(root).threads(4).run(&Cancel::new()).unwrap()
    });
    assert_eq!((usage.allocated_bytes, usage.directories, usage.excluded_mounts), (blocks(&[path("a/b/c/x")]), 5, 1));
    // A symbolic link that leads over the mount that hangs is no reason to wait.
    std::os::unix::fs::symlink(path("a/b/c/d/one"), path("link")).unwrap();
    let registry = FileSystems::mounted().registry();
    let link = path("link");
    not_held_up("registering", move || drop(registry.add_directory(Directory::new("link", link))));
    frozen.thaw();
}

#[test]
fn the_storage_of_a_directory_decides_whether_it_may_hang() {
    if !alone("mounted::the_storage_of_a_directory_decides_whether_it_may_hang") {
        return;
    }
    let (_scratch, path) = tmpfs(&["fuse", "over", "upper", "work", "written"]);
    let Some(frozen) = Frozen::mount(&path("fuse")) else { return };
    let lower = format!("lowerdir={0}/one:{0}/two", path("fuse").display());
    mount(&["-t", "overlay", "-o", &lower, "over"], &path("over"));
    // The figures of this one are those of its upper layer; its files are not.
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
fn mounts_on_unknown_storage_may_hang() {
    if !alone("mounted::mounts_on_unknown_storage_may_hang") {
        return;
    }
    let (_scratch, path) = tmpfs(&["lower/a", "lower/b", "over", "disk"]);
    common::mounts::loop_ext4(&path("image"), &path("disk"));
    mount(&["-t", "overlay", "-o", &format!("lowerdir={0}/a:{0}/b", path("lower").display()), "o"], &path("over"));
    // Events are used only on mounts that cannot hang.
    assert_eq!(mode_of(path("disk")), WatchMode::Watched);
    // Whether the layers are where they were when it was mounted cannot be found out.
    assert_ne!(mode_of(path("over")), WatchMode::Watched);
    // The kernel reports the new path of a moved file.
    fs::rename(path("image"), path("lower/image")).unwrap();
    assert_eq!(mode_of(path("disk")), WatchMode::Watched);
    // As for a file in another mount namespace, the path does not exist here.
    fs::remove_file(path("lower/image")).unwrap();
    assert_ne!(mode_of(path("disk")), WatchMode::Watched);
}

#[test]
fn a_pseudo_file_system_of_a_program_may_hang() {
    if !alone("mounted::a_pseudo_file_system_of_a_program_may_hang") {
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
    if !alone("mounted::another_file_system_at_the_same_place_is_another_one") {
        return;
    }
    let scratch = Scratch::new();
    let (disk, image) = (scratch.path().join("disk"), |n: u32| scratch.path().join(n.to_string()));
    fs::create_dir(&disk).unwrap();
    for (n, bytes) in [(1, 3_000_000), (2, 9_000_000)] {
        common::mounts::loop_ext4(&image(n), &disk);
        fs::create_dir(disk.join("d")).unwrap();
        fill(disk.join("d/f"), bytes);
        unmount(&disk);
    }
    let free = run("losetup", &["--find"]);
    let put = |n: u32| {
        let attached = Attached::new(&free, &image(n));
        mount(&[&free], &disk);
        attached
    };
    for watched in [false, true] {
        let directory = Directory::new("d", disk.join("d")).ttl(NEVER);
        let mut source = FileSystems::mounted().directory(if watched { directory.watched() } else { directory });
        let first = put(1);
        let old = tick(&mut source);
        unmount(&disk);
        drop(first);
        let second = put(2);
        let new = tick(&mut source);
        let (then, now) = (at(&old, &disk), at(&new, &disk));
        assert_eq!((now.device_id, now.total_bytes), (then.device_id, then.total_bytes), "both are used again");
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
        drop(second);
    }
}

#[test]
fn a_program_that_takes_the_place_of_another_is_another_file_system() {
    if !has_unique_ids() || !alone("mounted::a_program_that_takes_the_place_of_another_is_another_file_system") {
        return;
    }
    let scratch = Scratch::new();
    let Some(mut mounted) = Frozen::mount(scratch.path()) else { return };
    let directory = Directory::new("one", scratch.path().join("one")).ttl(NEVER).wait();
    let mut source = FileSystems::mounted().budget(Duration::from_secs(3600)).directory(directory);
    let mut old = tick(&mut source);
    // Until it has the device number of the one before, which other mounts on the machine may get first.
    for _ in 0..20 {
        drop(mounted);
        mounted = Frozen::mount(scratch.path()).unwrap();
        let new = tick(&mut source);
        let (then, now) = (at(&old, scratch.path()), at(&new, scratch.path()));
        assert_eq!(now.rates(&then.totals(), Duration::from_secs(1)), None);
        assert!(part(&new, "one").at > part(&old, "one").at, "it was scanned again");
        if now.device_id == then.device_id {
            return;
        }
        old = new;
    }
}

#[test]
fn an_unmount_and_a_mount_are_two_changes() {
    if !has_unique_ids() || !alone("mounted::an_unmount_and_a_mount_are_two_changes") {
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
        // Several changes at once are yielded together, unmounts first.
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
    if !has_unique_ids() || !alone("mounted::a_mount_that_is_moved_is_the_same") {
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
fn a_mount_whose_directory_was_renamed_is_the_same() {
    if !has_unique_ids() || !alone("mounted::a_mount_whose_directory_was_renamed_is_the_same") {
        return;
    }
    let (_scratch, path) = tmpfs(&["a", "b", "c"]);
    mount(&["--bind", path("a").to_str().unwrap()], &path("b"));
    // Neither needs a runtime.
    let mut changes = MountChanges::new().unwrap();
    fs::rename(path("a"), path("renamed")).unwrap();
    mount(&["-t", "tmpfs", "x"], &path("c"));
    let found: Vec<_> = futures::executor::block_on(changes.by_ref().take(2).collect());
    let [Ok(MountChange::Changed(renamed)), Ok(MountChange::Mounted(mounted))] = &*found else { panic!("{found:?}") };
    assert_eq!((&*renamed.root, &*mounted.mount_point), (Path::new("/renamed"), &*path("c")));
    assert_eq!(threads("appmon-mounts"), 1);
    drop(changes);
    until("its thread has ended", || threads("appmon-mounts") == 0);
}

#[test]
fn a_link_that_leads_elsewhere_than_its_text_is_an_error() {
    if !alone("mounted::a_link_that_leads_elsewhere_than_its_text_is_an_error") {
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
    // A scan uses the path itself, and finds the files there.
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
    // Links that lead to the path of their text are followed.
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
fn mounts_below_another_root_are_reported() {
    if !alone("mounted::mounts_below_another_root_are_reported") {
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
    // A directory on the file system whose mount is not visible is an error that explains this.
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
    // Without any visible mount, that is the error.
    unmount(&scratch.path().join("data"));
    std::os::unix::fs::chroot(scratch.path()).unwrap();
    let nothing = tick(&mut FileSystems::mounted());
    back();
    assert_eq!((nothing.samples.len(), &*nothing.notices), (0, &[Notice::NoRootMount][..]));
    assert_eq!(tick(&mut FileSystems::mounted()).notices, []);
}

#[test]
fn repeated_registration_of_a_mount_that_hangs_starts_no_threads() {
    if !alone("mounted::repeated_registration_of_a_mount_that_hangs_starts_no_threads") {
        return;
    }
    let scratch = Scratch::new();
    let Some(frozen) = Frozen::mount(scratch.path()) else { return };
    frozen.freeze_directories();
    let mut source = FileSystems::mounted().budget(Duration::from_millis(10));
    let registry = source.registry();
    until("its figures are known", || at(&tick(&mut source), scratch.path()).at.is_some());
    let hung = registry.add_directory(Directory::new("one", scratch.path().join("one"))).unwrap();
    until("its scan is held", || {
        tick(&mut source);
        frozen.held() == 1
    });
    drop(hung);
    for n in 0..20 {
        let name = ["one", "two"][n % 2];
        let hung = registry.add_directory(Directory::new(name, scratch.path().join(name))).unwrap();
        let snapshot = tick(&mut source);
        assert!(!part(&snapshot, name).complete);
        assert!(at(&snapshot, scratch.path()).stalled.is_some(), "{n}");
        drop(hung);
        tick(&mut source);
    }
    assert_eq!((threads("appmon-director"), frozen.held()), (1, 1));
    frozen.thaw();
    let back = registry.add_directory(Directory::new("one", scratch.path().join("one"))).unwrap();
    until("it is scanned", || part(&tick(&mut source), "one").complete);
    drop(back);
    drop(source);
    until("nobody asks any more", || threads("appmon-mount") + threads("appmon-director") == 0);

    // Its figures, too.
    frozen.freeze();
    let mut source = FileSystems::new().budget(Duration::from_millis(1));
    let registry = source.registry();
    for n in 0..20 {
        let hung = registry.add_file_system(FileSystem::new("hung", scratch.path())).unwrap();
        assert!(at(&tick(&mut source), scratch.path()).stalled.is_some(), "{n}");
        drop(hung);
        tick(&mut source);
    }
    until("one thread is held", || (threads("appmon-mount"), frozen.held()) == (1, 1));
    frozen.thaw();
    let _back = registry.add_file_system(FileSystem::new("back", scratch.path())).unwrap();
    until("it answers", || at(&tick(&mut source), scratch.path()).stalled.is_none());
}

#[test]
fn a_table_that_never_stood_still_is_read_again() {
    if !alone("mounted::a_table_that_never_stood_still_is_read_again") {
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
    // The unique ids of mounts, and their storage, can be read by every user: the test runs as the current user, if not root.
    let test = "mounted::as_nobody_nothing_of_this_needs_a_right";
    let by = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if is_root() && !common::inside(test, &by) {
        return;
    }
    let snapshot = tick(&mut FileSystems::mounted());
    let root = at(&snapshot, Path::new("/"));
    assert!(root.stalled.is_none() && (root.mount_id.is_some() || !has_unique_ids()), "{root:?}");
    assert_eq!(snapshot.notices, []);
}

#[test]
fn the_source_of_a_mount_is_no_path() {
    if !alone("mounted::the_source_of_a_mount_is_no_path") {
        return;
    }
    let (_scratch, path) = tmpfs(&["fuse", "disk"]);
    let Some(frozen) = Frozen::mount(&path("fuse")) else { return };
    // The source is an arbitrary text of the mounting program.
    let source = format!("/dev/..{}", path("fuse/one").display());
    mount(&["-t", "tmpfs", &source], &path("disk"));
    frozen.freeze();
    let snapshot = not_held_up("a tick", || tick(&mut FileSystems::mounted()));
    assert!(at(&snapshot, &path("disk")).stalled.is_none());
    assert_eq!(at(&snapshot, &path("disk")).device, source.as_str());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    not_held_up("opening the changes", move || runtime.block_on(async { drop(MountChanges::new().unwrap()) }));
    frozen.thaw();
}

#[test]
fn the_layers_of_an_overlay_are_not_where_its_options_say() {
    if !alone("mounted::the_layers_of_an_overlay_are_not_where_its_options_say") {
        return;
    }
    for covered in [false, true] {
        let (_scratch, path) = tmpfs(&["fuse", "lower", "over"]);
        let Some(frozen) = Frozen::mount(&path("fuse")) else { return };
        let layers = if covered {
            format!("lowerdir={0}/one:{0}/two", path("fuse").display())
        } else {
            format!("lowerdir={}:{}", path("fuse").display(), path("lower").display())
        };
        mount(&["-t", "overlay", "-o", &layers, "over"], &path("over"));
        // The paths lead to other directories from now on.
        if covered {
            mount(&["-t", "tmpfs", "cover"], &path("fuse"));
            fs::create_dir(path("fuse/one")).unwrap();
            fs::create_dir(path("fuse/two")).unwrap();
        } else {
            run("umount", &["--lazy", path("fuse").to_str().unwrap()]);
        }
        frozen.freeze();
        let over = path("over");
        let snapshot = not_held_up("a tick", move || {
            let mut source = FileSystems::mounted();
            let within = Directory::new("within", over.join("one")).optional();
            source.registry().add_directory(within).unwrap().keep();
            tick(&mut source)
        });
        assert!(at(&snapshot, &path("over")).stalled.is_some(), "covered: {covered}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        not_held_up("opening the changes", move || runtime.block_on(async { drop(MountChanges::new().unwrap()) }));
        assert!(at(&snapshot, Path::new("/")).stalled.is_none());
        frozen.thaw();
    }
}

/// Returns how a directory on a disk image is kept up to date: by events only if nothing below it can hang.
fn mode_of(directory: PathBuf) -> WatchMode {
    let mut source = FileSystems::mounted().directory(Directory::new("d", directory).watched());
    part(&tick(&mut source), "d").watch.unwrap().mode
}

#[test]
fn the_image_of_a_loop_device_may_be_covered() {
    if !alone("mounted::the_image_of_a_loop_device_may_be_covered") {
        return;
    }
    let (_scratch, path) = tmpfs(&["source", "served", "disk"]);
    let served = path("served");
    run("bindfs", &[path("source").to_str().unwrap(), served.to_str().unwrap()]);
    common::mounts::loop_ext4(&path("served/image"), &path("disk"));
    assert_eq!(mode_of(path("disk")), WatchMode::Scanned);
    // At its path is now another file, on a file system that cannot hang.
    mount(&["-t", "tmpfs", "cover"], &served);
    fs::File::create(path("served/image")).unwrap().set_len(32 << 20).unwrap();
    assert_eq!(mode_of(path("disk")), WatchMode::Scanned);
    unmount(&served);
    unmount(&path("disk"));
    unmount(&served);
    // Another one of those that cannot hang is no reason for doubt.
    common::mounts::loop_ext4(&path("served/image"), &path("disk"));
    mount(&["-t", "tmpfs", "cover"], &served);
    fs::File::create(path("served/image")).unwrap().set_len(32 << 20).unwrap();
    assert_eq!(mode_of(path("disk")), WatchMode::Watched);
    // One of another size is certainly not it.
    fs::File::create(path("served/image")).unwrap().set_len(33 << 20).unwrap();
    assert_eq!(mode_of(path("disk")), WatchMode::Scanned);
}

#[test]
fn all_devices_of_a_btrfs_decide_whether_it_may_hang() {
    if !alone("mounted::all_devices_of_a_btrfs_decide_whether_it_may_hang") {
        return;
    }
    let (_scratch, path) = tmpfs(&["source", "served", "disk"]);
    let served = path("served");
    run("bindfs", &[path("source").to_str().unwrap(), served.to_str().unwrap()]);
    for second in [path("second"), served.join("second")] {
        let attach = |image: &Path| {
            fs::File::create(image).unwrap().set_len(200 << 20).unwrap();
            run("losetup", &["--find", "--show", image.to_str().unwrap()])
        };
        let (one, two) = (attach(&path("first")), attach(&second));
        let attached = [Attached(&one), Attached(&two)];
        run("mkfs.btrfs", &["-q", "-f", "-d", "raid0", "-m", "raid0", &one, &two]);
        mount(&["-o", &format!("device={two}"), &one], &path("disk"));
        let expected = if second.starts_with(&served) { WatchMode::Scanned } else { WatchMode::Watched };
        assert_eq!(mode_of(path("disk")), expected, "{}", second.display());
        unmount(&path("disk"));
        drop(attached);
    }
    unmount(&served);
}

#[test]
fn the_log_of_an_xfs_on_another_device_decides_too() {
    if !alone("mounted::the_log_of_an_xfs_on_another_device_decides_too") {
        return;
    }
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name);
    for name in ["source", "served", "disk"] {
        fs::create_dir(path(name)).unwrap();
    }
    run("bindfs", &[path("source").to_str().unwrap(), path("served").to_str().unwrap()]);
    for log in [path("log"), path("served/log")] {
        let attach = |image: &Path| {
            fs::File::create(image).unwrap().set_len(400 << 20).unwrap();
            run("losetup", &["--find", "--show", image.to_str().unwrap()])
        };
        let (data, log_device) = (attach(&path("data")), attach(&log));
        let attached = [Attached(&data), Attached(&log_device)];
        let options = format!("logdev={log_device}");
        run("mkfs.xfs", &["-q", "-f", "-l", &format!("{options},size=64m"), &data]);
        mount(&["-o", &options, &data], &path("disk"));
        let expected = if log.starts_with(path("served")) { WatchMode::Scanned } else { WatchMode::Watched };
        assert_eq!(mode_of(path("disk")), expected, "{}", log.display());
        unmount(&path("disk"));
        drop(attached);
    }
    unmount(&path("served"));
}

#[test]
fn a_link_of_proc_is_checked_before_what_is_below_it() {
    if !alone("mounted::a_link_of_proc_is_checked_before_what_is_below_it") {
        return;
    }
    for covered in [false, true] {
        let (_scratch, path) = tmpfs(&["fuse"]);
        let Some(frozen) = Frozen::mount(&path("fuse")) else { return };
        let mut child =
            Helper::spawn(Command::new("sh").args(["-c", "echo ready; read end"]).current_dir(path("fuse")));
        assert_eq!(child.line(), "ready");
        let open = fs::File::open(path("fuse")).unwrap();
        if covered {
            mount(&["-t", "tmpfs", "cover"], &path("fuse"));
            fs::create_dir(path("fuse/one")).unwrap();
        } else {
            run("umount", &["--lazy", path("fuse").to_str().unwrap()]);
        }
        frozen.freeze();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        for link in [format!("/proc/{}/cwd", child.pid()), format!("/proc/self/fd/{number}")] {
            for name in ["tmp", "one", "one/.."] {
                let at = format!("{link}/{name}");
                let wrong = not_held_up("registering", {
                    let directory = Directory::new("below", &at);
                    move || FileSystems::mounted().registry().add_directory(directory).map(drop).unwrap_err()
                });
                assert!(
                    wrong.is_config() && wrong.to_string().contains("does not lead to the path of its text"),
                    "{at}: {wrong}"
                );
            }
            let optional = Directory::new("below", format!("{link}/tmp")).optional();
            let snapshot = not_held_up("a tick", move || tick(&mut FileSystems::mounted().directory(optional)));
            assert!(at(&snapshot, Path::new("/")).stalled.is_none());
        }
        frozen.thaw();
        child.end();
    }
}
