//! File systems on the live kernel: mounts made by the tests, beside `df` and `du`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use appmon::counters::Counters;
use appmon::fs::{MountChange, MountChanges, Part, PartKind, Stalled};
use appmon::{
    Cancel, Directory, FileSystem, FileSystemSample, FileSystems, Reading, Snapshot, SnapshotStreamExt, Source,
    SourceExt,
};
use futures::{StreamExt, TryStreamExt};
use proptest::prelude::*;
use tempfile::TempDir;

use common::mounts::{Frozen, Scratch, alone, loop_ext4, mount, remount, unmount};
use common::{Helper, require, until};

const NEVER: Duration = Duration::from_secs(1_000_000);

fn tick(source: &mut FileSystems) -> Snapshot<FileSystemSample> {
    let mut snapshot = Snapshot::default();
    source.collect(&mut snapshot, &Cancel::new()).unwrap();
    for fs in &snapshot {
        check(fs);
    }
    let text = serde_json::to_string(&snapshot).unwrap();
    let read: Snapshot<FileSystemSample> = serde_json::from_str(&text).unwrap();
    assert!(
        read.samples
            .iter()
            .zip(&snapshot)
            .all(|(a, b)| (a.at, &a.inodes, a.parts.len()) == (b.at, &b.inodes, b.parts.len()))
    );
    snapshot
}

fn error(source: &mut FileSystems) -> appmon::Error {
    source.collect(&mut Snapshot::default(), &Cancel::new()).unwrap_err()
}

/// Checks the invariants of every sample.
#[track_caller]
fn check(fs: &FileSystemSample) {
    assert_eq!(fs.used_bytes + fs.free_bytes + fs.reserved_bytes, fs.total_bytes, "{fs:?}");
    if fs.at.is_some() {
        assert_eq!(fs.parts.iter().map(|part| part.bytes).sum::<u64>(), fs.total_bytes, "{fs:?}");
        let kinds: Vec<_> = fs.parts.iter().rev().map(|part| part.kind).take(3).collect();
        assert_eq!(kinds, [PartKind::Reserved, PartKind::Free, PartKind::Other]);
    }
}

#[track_caller]
fn at<'a>(snapshot: &'a Snapshot<FileSystemSample>, path: &Path) -> &'a FileSystemSample {
    find(snapshot, path).unwrap_or_else(|| panic!("{} is not in {snapshot:?}", path.display()))
}

fn find<'a>(snapshot: &'a Snapshot<FileSystemSample>, path: &Path) -> Option<&'a FileSystemSample> {
    snapshot.samples.iter().find(|fs| *fs.mount_point == *path)
}

/// The part of a directory, wherever it is.
fn part(snapshot: &Snapshot<FileSystemSample>, name: &str) -> Option<Part> {
    snapshot.samples.iter().find_map(|fs| fs.directory(name).cloned())
}

/// `du` of several directories: each file and directory once.
fn du(paths: &[&Path]) -> u64 {
    let output = Command::new("du").args(["-s", "-c", "-x", "-B1"]).args(paths).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// `df`, by mount point.
fn df(columns: &str) -> BTreeMap<PathBuf, Vec<String>> {
    let output = Command::new("df").args(["-B1", &format!("--output=target,{columns}")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().skip(1).map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (PathBuf::from(words.next().unwrap()), words.collect())
    });
    lines.collect()
}

fn fill(path: impl AsRef<Path>, bytes: usize) {
    fs::write(path, vec![7; bytes]).unwrap();
}

/// A directory, and the source of the file systems with it.
fn scratch() -> (TempDir, FileSystems) {
    (tempfile::tempdir().unwrap(), FileSystems::mounted())
}

#[test]
fn file_systems_and_figures_of_df() {
    if !alone("file_systems::file_systems_and_figures_of_df") {
        return;
    }
    let dir = Scratch::new();
    let path = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let ext4 = path("ext4");
    loop_ext4(&dir.path().join("image"), &ext4);
    fill(ext4.join("file"), 3_000_000);
    fs::create_dir(ext4.join("inner")).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=64m,nr_inodes=1000", "tmpfs"], &path("tmpfs"));
    fill(dir.path().join("tmpfs/file"), 1_000_000);
    mount(&["--bind", ext4.join("inner").to_str().unwrap()], &path("b"));
    mount(&["--bind", ext4.to_str().unwrap()], &path("a"));
    let hidden = path("hidden");
    mount(&["-t", "tmpfs", "-o", "size=1m", "below"], &hidden);
    mount(&["-t", "tmpfs", "-o", "size=2m", "above"], &hidden);
    mount(&["-t", "tmpfs", "-o", "size=2m,ro", "spaced"], &path("read-only"));
    mount(&["-t", "proc", "proc"], &path("proc"));
    let overlay = path("overlay");
    for name in ["upper", "work"] {
        fs::create_dir(dir.path().join("tmpfs").join(name)).unwrap();
    }
    let tmpfs = dir.path().join("tmpfs");
    let options = format!("lowerdir={0},upperdir={1}/upper,workdir={1}/work", ext4.display(), tmpfs.display());
    mount(&["-t", "overlay", "-o", &options, "overlay"], &overlay);

    let mut source = FileSystems::mounted();
    // Other programs go on writing to the machine's own file systems.
    let ours = |map: BTreeMap<PathBuf, Vec<String>>| -> Vec<_> {
        map.into_iter()
            .map(|(path, row)| if path.starts_with(dir.path()) { (path, row) } else { (path, vec![]) })
            .collect()
    };
    let snapshot = tick(&mut source);
    let row = |fs: &FileSystemSample| {
        let mut row = vec![fs.device.to_string(), fs.fs_type.to_string()];
        row.extend([fs.total_bytes, fs.used_bytes, fs.free_bytes].map(|bytes| bytes.to_string()));
        let inodes = fs.inodes.value().copied();
        row.extend(inodes.map_or([0; 3], |inodes| [inodes.total, inodes.used, inodes.free]).map(|n| n.to_string()));
        (fs.mount_point.to_path_buf(), row)
    };
    let shown = ours(snapshot.samples.iter().map(row).collect());
    assert_eq!(shown, ours(df("source,fstype,size,used,avail,itotal,iused,iavail")));
    assert!(shown.len() >= 6);
    let ext4 = dir.path().join("a");
    assert!(at(&snapshot, &ext4).reserved_bytes > 0, "ext4 reserves 5 % for root");
    assert!(at(&snapshot, &dir.path().join("read-only")).read_only);
    assert!(!at(&snapshot, &ext4).read_only);
    assert_eq!(snapshot.skipped, appmon::snapshot::Skipped::default());
}

#[test]
fn mounts_come_and_go() {
    if !alone("file_systems::mounts_come_and_go") {
        return;
    }
    let (dir, mut source) = (Scratch::new(), FileSystems::mounted());
    let registry = source.registry();
    assert_eq!(find(&tick(&mut source), dir.path()), None);
    mount(&["-t", "tmpfs", "-o", "size=1m", "x"], dir.path());
    let first = tick(&mut source);
    assert_eq!(at(&first, dir.path()).device, "x");
    assert!(registry.has_mount_point(dir.path()) && registry.has_data(dir.path().to_str().unwrap()));
    remount("ro,size=2m", dir.path());
    let second = tick(&mut source);
    assert!(at(&second, dir.path()).read_only);
    assert_eq!(at(&second, dir.path()).total_bytes, 2 << 20);
    mount(&["-t", "tmpfs", "-o", "size=2m", "y"], dir.path());
    let third = tick(&mut source);
    assert_eq!(at(&third, dir.path()).device, "y");
    assert!(!registry.has_mount_point("/no/such/place"));

    let mut rated = futures::stream::iter([first, second, third.clone(), third].map(appmon::Result::Ok)).rates();
    for expected in ["first sight", "another size", "another device", "no time passed"] {
        let snapshot = futures::executor::block_on(rated.try_next()).unwrap().unwrap();
        let fs = snapshot.samples.iter().find(|fs| *fs.mount_point == *dir.path()).unwrap();
        assert_eq!(fs.rates, None, "{expected}");
    }
    unmount(dir.path());
    unmount(dir.path());
    assert_eq!(find(&tick(&mut source), dir.path()), None);
    assert!(!registry.has_mount_point(dir.path()));
}

#[test]
fn changes_of_the_mount_table_are_reported() {
    if !alone("file_systems::changes_of_the_mount_table_are_reported") {
        return;
    }
    let dir = Scratch::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut changes = MountChanges::new().unwrap();
        let before = changes.mounts().count();
        assert!(futures::poll!(changes.next()).is_pending());
        mount(&["-t", "tmpfs", "-o", "size=1m", "x"], dir.path());
        let MountChange::Mounted(mounted) = changes.try_next().await.unwrap().unwrap() else { panic!("mounted") };
        assert_eq!((&*mounted.mount_point, &mounted.source), (dir.path(), &"x".into()));
        assert_eq!(changes.mounts().count(), before + 1);
        remount("ro", dir.path());
        let MountChange::Changed(changed) = changes.try_next().await.unwrap().unwrap() else { panic!("changed") };
        assert!(changed.read_only() && changed.id == mounted.id);
        unmount(dir.path());
        assert_eq!(changes.try_next().await.unwrap().unwrap(), MountChange::Unmounted(changed));
        assert!(futures::poll!(changes.next()).is_pending());
    });
}

#[test]
fn which_file_systems_by_type_and_by_path() {
    if !alone("file_systems::which_file_systems_by_type_and_by_path") {
        return;
    }
    let dir = Scratch::new();
    for name in ["a", "b", "c"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=1m", name], &dir.path().join(name));
    }
    mount(&["-t", "ramfs", "c"], &dir.path().join("c"));
    let shown = |mut source: FileSystems| -> Vec<String> {
        let ours =
            |fs: &FileSystemSample| fs.mount_point.strip_prefix(dir.path()).ok().map(|path| path.display().to_string());
        tick(&mut source).samples.iter().filter_map(ours).collect()
    };
    let glob = |end: &str| format!("{}/{end}", dir.path().display());
    assert_eq!(shown(FileSystems::mounted()), ["a", "b"]);
    assert_eq!(shown(FileSystems::mounted().include_types(["ext*"]).unwrap()), [""; 0]);
    assert_eq!(
        shown(FileSystems::mounted().include_types(["ext*", "tmp*"]).unwrap().exclude_paths([glob("[b-z]")]).unwrap()),
        ["a"]
    );
    assert_eq!(shown(FileSystems::mounted().include_paths([glob("b")]).unwrap()), ["b"]);
    assert_eq!(shown(FileSystems::mounted().exclude_types(["tmpfs"]).unwrap()), [""; 0]);
    // A registered file system is reported, even if its size is 0.
    let by_hand =
        FileSystems::mounted().exclude_types(["*"]).unwrap().register(FileSystem::new("c", dir.path().join("c")));
    assert_eq!(shown(by_hand), ["c"]);
    let wrong = FileSystems::mounted().include_types(["[x"]).unwrap_err();
    assert!(wrong.is_config() && wrong.to_string().contains("[x"), "{wrong}");
}

#[test]
fn a_directory_belongs_to_the_mount_it_is_on() {
    if !alone("file_systems::a_directory_belongs_to_the_mount_it_is_on") {
        return;
    }
    let dir = Scratch::new();
    let path = |name: &str| dir.path().join(name);
    for name in ["disk", "bind"] {
        fs::create_dir(path(name)).unwrap();
    }
    mount(&["-t", "tmpfs", "-o", "size=8m", "x"], &path("disk"));
    for name in ["disk/sub", "disk/sub/deep"] {
        fs::create_dir(path(name)).unwrap();
    }
    fill(path("disk/sub/file"), 100_000);
    mount(&["--bind", path("disk/sub").to_str().unwrap()], &path("bind"));
    std::os::unix::fs::symlink(path("bind/deep"), path("disk/link")).unwrap();

    // One file system, reported at the shorter mount point: directories on all its mounts belong to it.
    let mut folded = FileSystems::mounted()
        .directory(Directory::new("bind", path("bind")))
        .directory(Directory::new("sub", path("disk/sub")));
    let snapshot = tick(&mut folded);
    assert_eq!(find(&snapshot, &path("bind")), None, "one entry for both");
    assert_eq!(at(&snapshot, &path("disk")).parts.len(), 5);

    // Two registered mounts of the same device have a sample each.
    let mut source = FileSystems::new()
        .register(FileSystem::new("disk", path("disk")))
        .register(FileSystem::new("bind", path("bind")))
        .directory(Directory::new("whole", path("disk/sub")))
        .directory(Directory::new("part", path("bind")))
        .directory(Directory::new("through a link", path("disk/link")));
    let snapshot = tick(&mut source);
    let names =
        |path: &Path| -> Vec<String> { at(&snapshot, path).parts.iter().map(|part| part.name.to_string()).collect() };
    assert_eq!(names(&path("disk")), ["whole", "other", "free", "reserved"]);
    assert_eq!(names(&path("bind")), ["part", "through a link", "other", "free", "reserved"]);
    assert_eq!(part(&snapshot, "whole").unwrap().inclusive_bytes, part(&snapshot, "part").unwrap().inclusive_bytes);

    // One on a mount that is not registered is an error that names both.
    let mut wrong = FileSystems::new()
        .register(FileSystem::new("disk", path("disk")))
        .directory(Directory::new("stray", path("disk/link")));
    let fault = error(&mut wrong);
    assert!(fault.is_config() && fault.path() == Some(path("disk/link").as_path()), "{fault}");
    assert!(
        fault.to_string().contains("stray") && fault.to_string().contains(path("bind").to_str().unwrap()),
        "{fault}"
    );
    let late = source.registry().add_directory(Directory::new("late", dir.path())).unwrap_err();
    assert!(late.is_config() && late.to_string().contains("late"), "{late}");

    // An unmount removes the directories on it, and a mount restores them.
    unmount(&path("bind"));
    let snapshot = tick(&mut source);
    assert_eq!(find(&snapshot, &path("bind")), None);
    assert_eq!(part(&snapshot, "part"), None);
    assert!(snapshot.skipped.vanished >= 2, "{:?}", snapshot.skipped);
    mount(&["--bind", path("disk/sub").to_str().unwrap()], &path("bind"));
    assert!(part(&tick(&mut source), "part").unwrap().complete);
}

#[test]
fn a_wrong_registration_is_an_error_that_names_it() {
    let (dir, _) = scratch();
    let path = dir.path();
    fill(path.join("file"), 1);
    let check = |mut source: FileSystems, words: &[&str]| {
        let error = error(&mut source);
        assert!(error.is_config(), "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
    };
    let main = || FileSystems::new().register(FileSystem::new("main", "/"));
    check(main().directory(Directory::new("gone", path.join("no"))), &["gone", path.join("no").to_str().unwrap()]);
    check(main().directory(Directory::new("a file", path.join("file"))), &["a file", "directory"]);
    check(main().directory(Directory::new("twin", "/")).directory(Directory::new("twin", "/etc")), &["twin", "/etc"]);
    check(main().register(FileSystem::new("main", "/proc")), &["main"]);
    check(main().register(FileSystem::new("other", "/")), &["main", "other"]);
    check(main().register(FileSystem::new("no disk", path)), &["no disk", path.to_str().unwrap()]);
    assert_eq!(tick(&mut main().register(FileSystem::new("no disk", path).optional())).samples.len(), 1);
    // After the error is corrected, the next tick reads it.
    let mut source = FileSystems::mounted().directory(Directory::new("late", path.join("late")));
    assert!(error(&mut source).is_config());
    fs::create_dir(path.join("late")).unwrap();
    assert!(part(&tick(&mut source), "late").unwrap().complete);
}

#[test]
fn settings_of_mounted_are_refused_by_others() {
    let none = FileSystems::new;
    for (source, name) in [
        (none().include_types(["ext4"]).unwrap(), "include_types"),
        (none().exclude_types(["ext4"]).unwrap(), "exclude_types"),
        (none().include_paths(["/"]).unwrap(), "include_paths"),
        (none().exclude_paths(["/"]).unwrap(), "exclude_paths"),
    ] {
        let mut source = source.register(FileSystem::new("root", "/"));
        let error = error(&mut source);
        assert!(error.is_config() && error.to_string().contains(name), "{error}");
    }
    // Nothing is asked for.
    let mut source = none().exclude_types([""; 0]).unwrap().register(FileSystem::new("root", "/"));
    assert_eq!(tick(&mut source).samples.len(), 1);
}

#[test]
fn files_left_out_of_a_directory_count_for_the_rest() {
    if !alone("file_systems::files_left_out_of_a_directory_count_for_the_rest") {
        return;
    }
    let dir = Scratch::new();
    mount(&["-t", "tmpfs", "-o", "size=40m", "exclude"], dir.path());
    let at = |path: &str| dir.path().join(path);
    for path in ["d/cache/kept", "d/src/cache", "e/cache"] {
        fs::create_dir_all(at(path)).unwrap();
    }
    for (path, pages) in
        [("d/cache/a", 16), ("d/cache/kept/a", 32), ("d/src/a", 64), ("d/src/a.tmp", 128), ("d/src/cache/a", 256)]
    {
        fill(at(path), pages << 12);
    }
    fill(at("e/cache/a"), 512 << 12);
    assert!(Directory::new("d", at("d")).exclude("[").unwrap_err().is_config());
    let mut sources = [false, true].map(|watched| {
        let directory = |name: &str| {
            let directory = Directory::new(name, at(name)).wait();
            if watched { directory.watched() } else { directory }
        };
        let d = directory("d").exclude("/cache").unwrap().exclude("*.tmp").unwrap();
        let source = FileSystems::new().register(FileSystem::new("f", dir.path()));
        source.directory(d).directory(directory("e").exclude("cache").unwrap()).directory(directory(""))
    });
    for source in &mut sources {
        let registry = source.registry();
        let mut check = |d: usize, e: usize, rest: usize, kept: Option<usize>| {
            let fs = tick(source).samples.remove(0);
            for (name, pages) in [("d", Some(d)), ("e", Some(e)), ("", Some(rest)), ("kept", kept)] {
                let bytes = fs.directory(name).map(|part| part.bytes);
                assert_eq!(bytes, pages.map(|pages| (pages as u64) << 12), "{name}");
            }
            // Files that are left out still use space.
            let other = fs.parts.iter().find(|part| part.kind == PartKind::Other).unwrap();
            let sum: u64 = fs.parts.iter().filter(|part| part.kind == PartKind::Directory).map(|part| part.bytes).sum();
            assert_eq!(other.bytes, fs.used_bytes - sum);
            assert!(!fs.overcommitted);
        };
        check(64 + 256, 0, 0, None);
        // A directory registered in one that leaves it out is no part of that one, not even after it is removed.
        let kept = registry.add_directory(Directory::new("kept", at("d/cache/kept")).wait()).unwrap();
        check(64 + 256, 0, 0, Some(32));
        registry.invalidate_all();
        check(64 + 256, 0, 0, Some(32));
        drop(kept);
        check(64 + 256, 0, 0, None);
    }
    // Changes are read at the next tick.
    let [_, mut source] = sources;
    fill(at("d/src/b"), 1 << 12);
    fill(at("d/cache/b"), 1 << 12);
    fs::rename(at("d/src/a.tmp"), at("d/src/c")).unwrap();
    let fs = tick(&mut source).samples.remove(0);
    assert_eq!(fs.directory("d").unwrap().bytes, (64 + 256 + 1 + 128) << 12);
    fs::rename(at("d/src"), at("e/cache/src")).unwrap();
    let fs = tick(&mut source).samples.remove(0);
    assert_eq!((fs.directory("d").unwrap().bytes, fs.directory("e").unwrap().bytes), (0, 0));
}

#[test]
fn optional_registrations_may_be_missing() {
    let (dir, _) = scratch();
    let at = |path: &str| dir.path().join(path);
    fill(at("file"), 1);
    let optional = |name, path: &str| Directory::new(name, at(path)).optional().wait();
    let mut source = FileSystems::mounted()
        .directory(optional("gone", "no/such"))
        .directory(optional("file", "file"))
        .directory(optional("watched", "watched").watched());
    // On a file system that is not registered.
    let mut other = FileSystems::new().directory(optional("gone", ""));
    let registry = source.registry();
    registry.add_directory(optional("late", "late")).unwrap().keep();
    for _ in 0..2 {
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.skipped.vanished, 4);
        assert!(["gone", "file", "watched", "late"].iter().all(|name| part(&snapshot, name).is_none()));
        assert_eq!(tick(&mut other).skipped.vanished, 1);
    }
    // A directory that is created is there at the next tick, independent of its TTL.
    for (path, count) in [("no/such", 3), ("watched", 2), ("late", 1)] {
        fs::create_dir_all(at(path)).unwrap();
        fill(at(path).join("file"), 5000);
        assert_eq!(tick(&mut source).skipped.vanished, count);
    }
    fs::remove_file(at("file")).unwrap();
    fs::create_dir(at("file")).unwrap();
    let snapshot = tick(&mut source);
    assert_eq!(snapshot.skipped.vanished, 0);
    for (name, path) in [("gone", "no/such"), ("file", "file"), ("watched", "watched"), ("late", "late")] {
        assert_eq!(part(&snapshot, name).unwrap().bytes, du(&[&at(path)]), "{name}");
    }
}

#[test]
fn a_value_is_good_for_its_ttl() {
    let (dir, source) = scratch();
    let mut source = source.directory(Directory::new("x", dir.path()).ttl(NEVER));
    let first = part(&tick(&mut source), "x").unwrap();
    assert!(first.complete && first.bytes == du(&[dir.path()]));
    fill(dir.path().join("more"), 100_000);
    let second = part(&tick(&mut source), "x").unwrap();
    assert_eq!((second.bytes, second.at), (first.bytes, first.at));
    assert!(second.age > first.age);
    // Invalidated, it is scanned on another thread: the new value is reported when the scan has ended.
    assert!(source.registry().invalidate("x"));
    until("a new value", || part(&tick(&mut source), "x").unwrap().bytes == du(&[dir.path()]));
    let third = part(&tick(&mut source), "x").unwrap();
    assert!(third.at > first.at);
    // Forgotten, it is waited for.
    fill(dir.path().join("and more"), 100_000);
    source.registry().clear();
    assert!(!source.registry().has_data("x"));
    assert_eq!(part(&tick(&mut source), "x").unwrap().bytes, du(&[dir.path()]));
    // Forced, it is scanned without a tick.
    let before = part(&tick(&mut source), "x").unwrap().at;
    fill(dir.path().join("and still more"), 100_000);
    assert!(source.registry().force("x"));
    until("the forced scan", || part(&tick(&mut source), "x").unwrap().at > before);
    assert_eq!(part(&tick(&mut source), "x").unwrap().bytes, du(&[dir.path()]));
    assert!(!source.registry().force("y") && !source.registry().invalidate("y"));
}

#[test]
fn a_directory_that_is_waited_for_is_never_older_than_its_ttl() {
    let (dir, source) = scratch();
    let mut source = source.directory(Directory::new("x", dir.path()).ttl(Duration::ZERO).wait());
    let mut last = None;
    for n in 0..20 {
        fill(dir.path().join(n.to_string()), 10_000);
        let found = part(&tick(&mut source), "x").unwrap();
        assert_eq!(found.bytes, du(&[dir.path()]));
        assert!(found.at > last);
        last = found.at;
    }
}

#[test]
fn a_directory_in_the_background_is_waited_for_by_nobody() {
    let (dir, source) = scratch();
    let mut source = source.directory(Directory::new("x", dir.path()).background()).entries_per_second(50);
    for n in 0..40 {
        fill(dir.path().join(n.to_string()), 1);
    }
    let snapshot = tick(&mut source);
    let first = part(&snapshot, "x").unwrap();
    if !first.complete {
        // Nothing is known yet: all of it is in the other used space.
        assert_eq!((first.bytes, first.age, first.files), (0, None, None));
        let fs = snapshot.samples.iter().find(|fs| fs.directory("x").is_some()).unwrap();
        assert!(fs.parts.iter().any(|part| part.kind == PartKind::Other && !part.complete));
    }
    until("the scan", || part(&tick(&mut source), "x").unwrap().complete);
    assert_eq!(part(&tick(&mut source), "x").unwrap().bytes, du(&[dir.path()]));
}

#[test]
fn a_first_scan_that_is_waited_for_is_cancelled() {
    let (dir, source) = scratch();
    for n in 0..3000 {
        fs::create_dir(dir.path().join(n.to_string())).unwrap();
    }
    // It would take 50 minutes.
    let mut source = source.directory(Directory::new("x", dir.path())).entries_per_second(1);
    let cancel = Cancel::new();
    let setter = {
        let cancel = cancel.clone();
        std::thread::spawn(move || {
            until("scanning", || threads("appmon-director") > 0);
            cancel.cancel();
        })
    };
    assert!(source.collect(&mut Snapshot::default(), &cancel).unwrap_err().is_cancelled());
    setter.join().unwrap();
    drop(source);
    until("its threads are gone", || threads("appmon-director") == 0);
}

/// Threads of this process by name. Other tests may have some, too: they end.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok().filter(|comm| comm.trim() == name);
    tasks.filter_map(|task| name(task.ok()?)).count()
}

#[test]
fn the_registry_is_used_while_the_stream_runs() {
    let (dir, source) = scratch();
    fs::create_dir(dir.path().join("inner")).unwrap();
    fill(dir.path().join("inner/file"), 100_000);
    let registry = source.registry();
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    shared(&registry);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ticks = source.every(Duration::from_millis(1));
        let outer = registry.add_directory(Directory::new("outer", dir.path()).ttl(NEVER)).unwrap();
        let snapshot = ticks.try_next().await.unwrap().unwrap();
        let all = part(&snapshot, "outer").unwrap();
        assert_eq!(all.bytes, du(&[dir.path()]));

        // One in it takes its bytes from it, without another scan of the outer one.
        let inner = registry.add_directory(Directory::new("inner", dir.path().join("inner")).ttl(NEVER)).unwrap();
        let snapshot = loop {
            let snapshot = ticks.try_next().await.unwrap().unwrap();
            if part(&snapshot, "inner").is_some() {
                break snapshot;
            }
        };
        let (out, within) = (part(&snapshot, "outer").unwrap(), part(&snapshot, "inner").unwrap());
        assert_eq!(out.at, all.at);
        assert_eq!((out.bytes + within.bytes, out.inclusive_bytes), (all.bytes, Some(all.bytes)));
        assert_eq!(within.bytes, du(&[&dir.path().join("inner")]));
        let twin = registry.add_directory(Directory::new("inner", "/")).unwrap_err();
        assert!(twin.is_config() && twin.to_string().contains("inner"), "{twin}");

        // And the outer one has them again when it is removed.
        drop(inner);
        let snapshot = loop {
            let snapshot = ticks.try_next().await.unwrap().unwrap();
            if part(&snapshot, "inner").is_none() {
                break snapshot;
            }
        };
        assert_eq!(part(&snapshot, "outer").unwrap().bytes, all.bytes);
        outer.keep();
        let snapshot = ticks.try_next().await.unwrap().unwrap();
        assert!(part(&snapshot, "outer").is_some() && registry.has_data("outer") && !registry.has_data("inner"));
    });
    drop(runtime);
    assert!(registry.add_directory(Directory::new("late", "/")).unwrap_err().is_config());
    assert!(!registry.has_data("outer") && !registry.has_mount_point("/"));
}

#[test]
fn an_added_file_system_is_reported_until_it_is_dropped() {
    let mut source = FileSystems::new();
    let registry = source.registry();
    assert_eq!(tick(&mut source).samples, []);
    let added = registry.add_file_system(FileSystem::new("main", "/")).unwrap();
    assert_eq!(tick(&mut source).samples[0].name, "main");
    assert!(registry.has_mount_point("/") && registry.has_data("main"));
    assert!(registry.add_file_system(FileSystem::new("main", "/")).unwrap_err().is_config());
    assert!(registry.add_file_system(FileSystem::new("etc", "/etc")).unwrap_err().to_string().contains("etc"));
    drop(added);
    assert_eq!(tick(&mut source).samples, []);
    assert!(!registry.has_mount_point("/"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is registered, nested and twice, in whatever order: each byte of the tree counts once.
    #[test]
    fn each_byte_counts_once(
        dirs in prop::collection::vec("[ab](/[ab]){0,3}", 1..8),
        files in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..60_000), 0..12),
        links in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
        registered in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..8),
        watched in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for path in &dirs {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for (n, (place, bytes)) in files.iter().enumerate() {
            fill(dir.path().join(place.get(&dirs)).join(format!("file{n}")), *bytes);
        }
        for (n, (file, place)) in links.iter().enumerate() {
            if let Some(at) = (!files.is_empty()).then(|| file.index(files.len())) {
                let from = dir.path().join(files[at].0.get(&dirs)).join(format!("file{at}"));
                fs::hard_link(from, dir.path().join(place.get(&dirs)).join(format!("link{n}"))).unwrap();
            }
        }
        // A directory watched by itself counts its own hard links: all of their names are in a watched one, or none.
        let alone = links.is_empty() || watched;
        let directory = |name: &str, path: &Path, watched: bool| {
            let directory = Directory::new(name, path);
            if watched && alone { directory.watched() } else { directory }
        };
        let mut source = FileSystems::mounted().directory(directory("root", dir.path(), watched));
        let paths: Vec<(PathBuf, bool)> =
            registered.iter().map(|(place, watched)| (dir.path().join(place.get(&dirs)), *watched)).collect();
        for (n, (path, watched)) in paths.iter().enumerate() {
            source = source.directory(directory(&n.to_string(), path, *watched));
        }
        let snapshot = tick(&mut source);
        let fs = snapshot.samples.iter().find(|fs| fs.directory("root").is_some()).unwrap();
        let own: u64 = fs.parts.iter().filter(|part| part.kind == PartKind::Directory).map(|part| part.bytes).sum();
        prop_assert_eq!(own, du(&[dir.path()]));
        prop_assert_eq!(fs.directory("root").unwrap().inclusive_bytes, Some(own));
        if links.is_empty() {
            for (n, (path, _)) in paths.iter().enumerate() {
                prop_assert_eq!(fs.directory(&n.to_string()).unwrap().inclusive_bytes, Some(du(&[path])));
            }
        }
        // The same again, by another source, is the same.
        let again = tick(&mut paths.iter().enumerate().rev().fold(
            FileSystems::mounted().directory(Directory::new("root", dir.path())),
            |source, (n, (path, _))| source.directory(Directory::new(n.to_string(), path)),
        ));
        let fs = again.samples.iter().find(|fs| fs.directory("root").is_some()).unwrap();
        let sum: u64 = fs.parts.iter().filter(|part| part.kind == PartKind::Directory).map(|part| part.bytes).sum();
        prop_assert_eq!(sum, own);
    }
}

#[test]
fn unreadable_directories_are_reported_and_the_rest_is_there() {
    if !require(common::is_root(), "root, to give up its rights") {
        return;
    }
    // A mount below a directory is no part of it.
    let (dir, source) = scratch();
    fill(dir.path().join("file"), 10_000);
    let mut source = source.directory(Directory::new("x", dir.path()).ttl(Duration::ZERO).wait());
    let first = part(&tick(&mut source), "x").unwrap();
    assert_eq!((first.errors, first.files, first.directories), (0, Some(1), Some(1)));
    assert_eq!(first.apparent_bytes, Some(10_000));
    // Removed, it is gone; made again, it is there again.
    fs::remove_dir_all(dir.path()).unwrap();
    let snapshot = tick(&mut source);
    assert_eq!((part(&snapshot, "x"), snapshot.skipped.vanished), (None, 1));
    fs::create_dir(dir.path()).unwrap();
    assert_eq!(part(&tick(&mut source), "x").unwrap().bytes, fs::metadata(dir.path()).unwrap().blocks() * 512);
}

#[test]
fn directories_that_share_what_they_store_are_made_to_fit() {
    if !alone("file_systems::directories_that_share_what_they_store_are_made_to_fit") {
        return;
    }
    let dir = Scratch::new();
    mount(&["-t", "tmpfs", "-o", "size=8m", "x"], dir.path());
    for name in ["a", "b"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fill(dir.path().join("a/file"), 1 << 20);
    fs::hard_link(dir.path().join("a/file"), dir.path().join("b/file")).unwrap();
    let mut source = FileSystems::new()
        .register(FileSystem::new("x", dir.path()))
        .directory(Directory::new("a", dir.path().join("a")))
        .directory(Directory::new("b", dir.path().join("b")));
    let snapshot = tick(&mut source);
    let fs = &snapshot.samples[0];
    assert!(fs.overcommitted);
    assert_eq!(fs.used_bytes, 1 << 20);
    assert_eq!(fs.parts.iter().map(|part| part.bytes).take(3).collect::<Vec<_>>(), [1 << 19, 1 << 19, 0]);
}

/// Shuts a file system down, as its own tool does: `XFS_IOC_GOINGDOWN`, which ext4 and f2fs have as well.
const SHUT_DOWN: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
print('down')
";

#[test]
fn a_file_system_that_stopped_after_an_error_is_read_only() {
    if !alone("file_systems::a_file_system_that_stopped_after_an_error_is_read_only") {
        return;
    }
    let dir = Scratch::new();
    let is_read_only = |source: &mut FileSystems| tick(source).samples[0].read_only;
    let make = |fs_type: &str, name: &str, options: &str| {
        let (image, path) = (dir.path().join(format!("{name}.image")), dir.path().join(name));
        fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        fs::create_dir(&path).unwrap();
        let mkfs = format!("mkfs.{fs_type}");
        let made = std::process::Command::new(&mkfs).arg("-q").arg(&image).stdin(std::process::Stdio::null()).output();
        if !require(made.is_ok_and(|made| made.status.success()), &mkfs) {
            return None;
        }
        mount(&["-o", options, image.to_str().unwrap()], &path);
        let mut source = FileSystems::new().register(FileSystem::new(name, &path));
        assert!(!is_read_only(&mut source));
        Some((path, source))
    };
    // An error, after which ext4 does not write any more.
    let (path, mut source) = make("ext4", "error", "loop,errors=remount-ro").unwrap();
    let device = tick(&mut source).samples[0].device.to_string();
    let trigger = Path::new("/sys/fs/ext4").join(device.trim_start_matches("/dev/")).join("trigger_fs_error");
    if require(trigger.exists(), "a way to make an error of ext4") {
        fs::write(trigger, "x").unwrap();
        assert!(is_read_only(&mut source));
        assert_eq!(fs::write(path.join("file"), "x").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        // Where the options of ext4 are not to be seen, the mount table has them.
        mount(&["-t", "tmpfs", "hidden"], Path::new("/proc/fs"));
        assert!(is_read_only(&mut FileSystems::new().register(FileSystem::new("again", &path))));
        unmount(Path::new("/proc/fs"));
    }
    for fs_type in ["ext4", "xfs"] {
        let Some((path, mut source)) = make(fs_type, fs_type, "loop") else { continue };
        assert_eq!(Helper::python(SHUT_DOWN, &[path.to_str().unwrap()]).line(), "down");
        assert!(fs::write(path.join("file"), "x").is_err());
        assert!(is_read_only(&mut source), "{fs_type}");
        assert!(is_read_only(&mut FileSystems::new().register(FileSystem::new("again", &path))), "{fs_type}");
    }
}

/// An overlay of these layers; some directories of its own are made next to them.
fn overlay(lower: &Path, upper: &Path, at: &Path) {
    let work = upper.with_file_name(format!("{}-work", upper.file_name().unwrap().display()));
    for path in [lower, upper, &work, at] {
        fs::create_dir_all(path).unwrap();
    }
    let show = |path: &Path| path.display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", show(lower), show(upper), show(&work));
    mount(&["-t", "overlay", "-o", &options, "over"], at);
}

#[test]
fn an_overlay_is_read_only_when_its_upper_layer_is() {
    if !alone("file_systems::an_overlay_is_read_only_when_its_upper_layer_is") {
        return;
    }
    let dir = Scratch::new();
    let path = |name: &str| dir.path().join(name);
    let read_only = |source: &mut FileSystems| {
        let snapshot = tick(source);
        ["fs", "over", "below"].map(|name| at(&snapshot, &path(name)).read_only)
    };
    let is_refused = || fs::write(path("over/file"), "x").is_err();
    for (fs_type, stop) in [("ext4", "remount"), ("ext4", "error"), ("ext4", "down"), ("xfs", "down")] {
        let (image, root) = (path("image"), path("fs"));
        fs::create_dir_all(&root).unwrap();
        let _ = fs::remove_file(&image);
        fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let mkfs = format!("mkfs.{fs_type}");
        let made = std::process::Command::new(&mkfs).arg("-q").arg(&image).stdin(std::process::Stdio::null()).output();
        if !require(made.is_ok_and(|made| made.status.success()), &mkfs) {
            continue;
        }
        mount(&["-o", "loop", image.to_str().unwrap()], &root);
        overlay(&path("lower"), &path("fs/a/upper"), &path("over"));
        // The stopped file system is only a lower layer of this one.
        fs::create_dir_all(path("fs/lower")).unwrap();
        mount(&["-t", "tmpfs", "layers"], &path("lower"));
        overlay(&path("fs/lower"), &path("lower/upper"), &path("below"));
        let mut source = FileSystems::mounted();
        assert_eq!(read_only(&mut source), [false; 3], "{fs_type}");
        assert!(!is_refused());
        let device = at(&tick(&mut source), &root).device.to_string();
        match stop {
            "remount" => remount("ro", &root),
            "error" => {
                remount("errors=remount-ro", &root);
                let trigger = Path::new("/sys/fs/ext4").join(device.trim_start_matches("/dev/"));
                if !require(fs::write(trigger.join("trigger_fs_error"), "x").is_ok(), "a way to make an error of ext4")
                {
                    continue;
                }
            }
            _ => assert_eq!(Helper::python(SHUT_DOWN, &[root.to_str().unwrap()]).line(), "down"),
        }
        assert!(is_refused(), "{fs_type} {stop}");
        assert_eq!(read_only(&mut source), [true, true, false], "{fs_type} {stop}");
        assert_eq!(read_only(&mut FileSystems::mounted()), [true, true, false], "{fs_type} {stop}");
        for name in ["below", "lower", "over", "fs"] {
            unmount(&path(name));
        }
    }
}

#[test]
fn an_overlay_is_not_what_covers_its_upper_layer() {
    if !alone("file_systems::an_overlay_is_not_what_covers_its_upper_layer") {
        return;
    }
    let dir = Scratch::new();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("layers")).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=8m", "layers"], &path("layers"));
    overlay(&path("layers/lower"), &path("layers/upper"), &path("over"));
    mount(&["-t", "tmpfs", "-o", "size=4m", "cover"], &path("layers"));
    fs::create_dir(path("layers/upper")).unwrap();
    remount("ro", &path("layers"));
    let snapshot = tick(&mut FileSystems::mounted());
    assert_eq!(["layers", "over"].map(|name| at(&snapshot, &path(name)).read_only), [true, false]);
    fs::write(path("over/file"), "x").unwrap();
}

#[test]
fn rates_are_of_what_was_measured() {
    if !alone("file_systems::rates_are_of_what_was_measured") {
        return;
    }
    let dir = Scratch::new();
    mount(&["-t", "tmpfs", "-o", "size=20m", "rates"], dir.path());
    let d = dir.path().join("d");
    fs::create_dir(&d).unwrap();
    fill(d.join("a"), 6 << 20);
    fill(d.join("b"), 4 << 20);
    let mut source =
        FileSystems::new().register(FileSystem::new("f", dir.path())).directory(Directory::new("d", &d).ttl(NEVER));
    let registry = source.registry();
    let again = |source: &mut FileSystems| {
        let before = part(&tick(source), "d").unwrap().at;
        registry.force("d");
        let mut snapshot = tick(source);
        until("the scan", || {
            snapshot = tick(source);
            part(&snapshot, "d").unwrap().at > before
        });
        snapshot.samples.remove(0)
    };
    let rates = |now: &FileSystemSample, then: &FileSystemSample| {
        now.rates(&then.totals(), now.at().since(then.at()).unwrap()).unwrap()
    };
    let other = |now: &FileSystemSample, then: &FileSystemSample| {
        rates(now, then).parts.iter().find(|part| part.kind == PartKind::Other).unwrap().bytes
    };
    let grew = |now: &FileSystemSample, then: &FileSystemSample| {
        let at = |fs: &FileSystemSample| fs.directory("d").unwrap().at.unwrap();
        rates(now, then).directory("d").unwrap() * at(now).since(at(then)).unwrap().as_secs_f64()
    };
    let first = again(&mut source);
    // Its value is larger than the used space by now, so it is reduced.
    fs::remove_file(d.join("a")).unwrap();
    let cut = tick(&mut source).samples.remove(0);
    assert!(cut.overcommitted && cut.parts[0].bytes < 10 << 20);
    assert_eq!(cut.parts[0].measured_bytes, Some(10 << 20));
    assert_eq!((rates(&cut, &first).directory("d"), other(&cut, &first)), (None, None), "it was not scanned again");
    let scanned = again(&mut source);
    assert_eq!(grew(&scanned, &cut).round(), -f64::from(6 << 20));
    assert_eq!(other(&scanned, &cut), None);
    // It grows: at first that is the rest's, which did not grow.
    fill(d.join("c"), 8 << 20);
    let grown = tick(&mut source).samples.remove(0);
    assert_eq!((rates(&grown, &scanned).directory("d"), other(&grown, &scanned)), (None, None));
    let scanned_again = again(&mut source);
    assert_eq!(grew(&scanned_again, &grown).round(), f64::from(8 << 20));
    assert_eq!(other(&scanned_again, &grown), None);
}

#[test]
fn a_file_system_of_no_size_has_directories() {
    if !alone("file_systems::a_file_system_of_no_size_has_directories") {
        return;
    }
    let dir = Scratch::new();
    mount(&["-t", "ramfs", "ramfs"], dir.path());
    fill(dir.path().join("file"), 100_000);
    let mut source =
        FileSystems::new().register(FileSystem::new("f", dir.path())).directory(Directory::new("d", dir.path()).wait());
    let fs = tick(&mut source).samples.remove(0);
    let directory = fs.directory("d").unwrap();
    assert_eq!((fs.total_bytes, directory.bytes), (0, 0));
    assert_eq!(directory.measured_bytes, Some(du(&[dir.path()])));
    assert!(directory.measured_bytes >= Some(100_000) && fs.overcommitted);
}

#[test]
fn a_mount_that_hangs_holds_up_nothing() {
    if !alone("file_systems::a_mount_that_hangs_holds_up_nothing") {
        return;
    }
    let dir = Scratch::new();
    let Some(frozen) = Frozen::mount(dir.path()) else { return };
    let mut source = FileSystems::mounted();
    let mut known = FileSystemSample::default();
    // In its own tick: then no question is under way when it freezes.
    until("it answers", || {
        known = at(&tick(&mut source), dir.path()).clone();
        known.at.is_some() && known.stalled.is_none()
    });
    assert_eq!((known.total_bytes, known.free_bytes, known.reserved_bytes), (1000 * 4096, 300 * 4096, 100 * 4096));
    assert_eq!((known.stalled, known.inodes), (None, Reading::NotApplicable));
    assert_eq!(known.fs_type, "fuse");

    frozen.freeze();
    let first = tick(&mut source);
    let Stalled { since, .. } = at(&first, dir.path()).stalled.unwrap();
    for _ in 0..200 {
        // All others are reported, at once, and it is not asked again.
        let snapshot = tick(&mut source);
        assert!(find(&snapshot, Path::new("/")).unwrap().stalled.is_none());
        let stalled = at(&snapshot, dir.path());
        assert_eq!(stalled.stalled.unwrap().since, since);
        assert_eq!((stalled.used_bytes, stalled.at), (known.used_bytes, known.at), "the last known figures");
    }
    until("the question is held", || frozen.held() == 1);
    tick(&mut source);
    assert_eq!((threads("appmon-mount"), frozen.held()), (1, 1), "one question");

    frozen.thaw();
    until("it answers", || at(&tick(&mut source), dir.path()).stalled.is_none());
    assert!(at(&tick(&mut source), dir.path()).at > known.at);
    drop(source);
    until("its thread is gone", || threads("appmon-mount") == 0);
}

#[test]
fn a_runtime_ends_while_a_mount_hangs() {
    if !alone("file_systems::a_runtime_ends_while_a_mount_hangs") {
        return;
    }
    let dir = Scratch::new();
    let Some(frozen) = Frozen::mount(dir.path()) else { return };
    frozen.freeze();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let registry = runtime.block_on(async {
        let source = FileSystems::mounted();
        let registry = source.registry();
        // Registering something on it does not touch it.
        let hung = registry.add_directory(Directory::new("hung", dir.path().join("a/b"))).unwrap();
        hung.keep();
        let mut ticks = source.every(Duration::from_millis(1));
        for _ in 0..10 {
            let snapshot = ticks.try_next().await.unwrap().unwrap();
            let fs = at(&snapshot, dir.path());
            // It has never answered: there are no figures, and none is reported as a measured 0.
            assert!(fs.stalled.is_some() && fs.at.is_none() && fs.parts.is_empty());
            assert_eq!(fs.inodes, Reading::Skipped);
            assert!(at(&snapshot, Path::new("/")).at.is_some());
        }
        registry
    });
    drop(runtime);
    assert!(!registry.has_data("hung"));
    assert!(frozen.held() <= 1);
    frozen.thaw();
    until("no thread is left", || threads("appmon-mount") + threads("appmon-director") == 0);
}

#[test]
fn a_scan_that_hangs_holds_up_nothing() {
    if !alone("file_systems::a_scan_that_hangs_holds_up_nothing") {
        return;
    }
    let dir = Scratch::new();
    let Some(frozen) = Frozen::mount(dir.path()) else { return };
    frozen.freeze_directories();
    let mut source = FileSystems::mounted()
        .directory(Directory::new("hung", dir.path()).ttl(NEVER).wait())
        .directory(Directory::new("etc", "/etc").ttl(Duration::ZERO).wait());
    until("its figures are known, and its scan is held", || {
        at(&tick(&mut source), dir.path()).at.is_some() && frozen.held() == 1
    });
    for _ in 0..20 {
        let snapshot = tick(&mut source);
        let fs = at(&snapshot, dir.path());
        assert!(fs.stalled.is_some(), "its scan shows no sign of life");
        assert!(!fs.directory("hung").unwrap().complete);
        assert_eq!(fs.total_bytes, 1000 * 4096);
        assert!(part(&snapshot, "etc").unwrap().complete);
    }
    assert_eq!(frozen.held(), 1, "one scan");
    frozen.thaw();
    until("it is scanned", || part(&tick(&mut source), "hung").unwrap().complete);
    assert!(at(&tick(&mut source), dir.path()).stalled.is_none());
}

#[test]
fn an_automount_is_never_touched() {
    if !alone("file_systems::an_automount_is_never_touched") {
        return;
    }
    let dir = Scratch::new();
    let path = dir.path().to_str().unwrap();
    // Whoever is not of the daemon's process group waits for the daemon, which does nothing.
    let script =
        "exec 5>&1; mount -t autofs -o fd=5,pgrp=$$,minproto=5,maxproto=5,direct test $0 && echo ok >&2; read x";
    let mut daemon = common::Helper::sh(script, &[path]);
    let mounted = || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(path);
    until("mounted, or refused", || mounted() || !daemon.is_running());
    if !require(mounted(), "autofs") {
        return;
    }
    let mut source = FileSystems::mounted().exclude_types(["fuse*"]).unwrap();
    let snapshot = tick(&mut source);
    assert_eq!(find(&snapshot, dir.path()), None);
    let wrong = source.registry().add_directory(Directory::new("auto", dir.path().join("x"))).unwrap_err();
    assert!(wrong.is_config(), "{wrong}");
    let wrong = error(&mut FileSystems::new().register(FileSystem::new("auto", dir.path())));
    assert!(wrong.is_config(), "{wrong}");
    daemon.end();
}
