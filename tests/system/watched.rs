//! Watched directories on the live kernel: a tick reports the same usage as a scan.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use appmon::fs::{Boundary, Part, PartKind, Progress, Scan, Usage, Watch, WatchMode};
use appmon::{Cancel, Directory, FileSystem, FileSystemSample, FileSystems, Snapshot, Source, SourceExt};
use futures::TryStreamExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use tempfile::TempDir;

use common::mounts::{Frozen, Scratch, alone, loop_ext4, mount, unmount};
use common::{Helper, inside, until};

const NEVER: Duration = Duration::from_secs(1_000_000);

fn tick(source: &mut FileSystems) -> Snapshot<FileSystemSample> {
    let mut snapshot = Snapshot::default();
    source.collect(&mut snapshot, &Cancel::new()).unwrap();
    for fs in snapshot.samples.iter().filter(|fs| fs.at.is_some()) {
        assert_eq!(fs.parts.iter().map(|part| part.bytes).sum::<u64>(), fs.total_bytes, "{fs:?}");
        let read: FileSystemSample = serde_json::from_str(&serde_json::to_string(fs).unwrap()).unwrap();
        assert!(fs.parts.iter().zip(&read.parts).all(|(part, read)| part.watch == read.watch));
    }
    snapshot
}

/// The part of a directory, wherever it is.
#[track_caller]
fn part(snapshot: &Snapshot<FileSystemSample>, name: &str) -> Part {
    snapshot.samples.iter().find_map(|fs| fs.directory(name).cloned()).unwrap_or_else(|| panic!("no part {name}"))
}

#[track_caller]
fn watch(part: &Part) -> Watch {
    part.watch.unwrap_or_else(|| panic!("it is not watched: {part:?}"))
}

/// Scans trees, each without those in it: inner ones first.
fn scans(paths: &[&Path]) -> Vec<Usage> {
    let scan = paths[1..].iter().fold(Scan::new(paths[0]), Scan::and).boundary(Boundary::SameMount);
    let parts = scan.run_each(&Cancel::new(), &Progress::new()).unwrap();
    parts.into_iter().map(|part| part.usage.unwrap()).collect()
}

type Numbers = (u64, Option<u64>, Option<u64>, Option<u64>);

fn numbers(part: &Part) -> Numbers {
    (part.bytes, part.apparent_bytes, part.files, part.directories)
}

fn scanned(usage: &Usage) -> Numbers {
    (usage.allocated_bytes, Some(usage.apparent_bytes), Some(usage.files), Some(usage.directories))
}

/// Makes a tick, at which a watched directory has to be equal to a scan of it.
#[track_caller]
fn check(source: &mut FileSystems, name: &str, path: &Path) -> Part {
    let part = part(&tick(source), name);
    assert_eq!(numbers(&part), scanned(&scans(&[path])[0]), "{part:?}");
    assert!(watch(&part).settled);
    part
}

fn fill(path: impl AsRef<Path>, bytes: usize) {
    fs::write(path, vec![7; bytes]).unwrap();
}

/// On a file system in memory, where sizes never change by themselves.
fn in_memory() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn watched(name: &str, path: &Path) -> Directory {
    Directory::new(name, path).ttl(NEVER).watched().wait()
}

#[test]
fn changes_are_reported_at_the_next_tick() {
    for dir in [in_memory(), tempfile::tempdir().unwrap()] {
        let at = |path: &str| dir.path().join("tree").join(path);
        let outside = dir.path().join("outside");
        fs::create_dir_all(at("a/b/c")).unwrap();
        fill(at("a/b/file"), 10_000);
        fs::hard_link(at("a/b/file"), &outside).unwrap();
        let mut source = FileSystems::mounted().directory(watched("x", &at("")));
        let first = check(&mut source, "x", &at(""));
        let state = watch(&first);
        assert_eq!((state.mode, state.directories, state.watches), (WatchMode::Watched, 4, 4));

        let mut last = first.at;
        let mut open = None;
        let steps: [(&str, &mut dyn FnMut()); 13] = [
            ("create", &mut || fill(at("a/new"), 20_000)),
            ("grow", &mut || fill(at("a/b/file"), 50_000)),
            ("keep one open", &mut || {
                let mut file = fs::File::create(at("a/open")).unwrap();
                file.write_all(&[1; 9_000]).unwrap();
                open = Some(file);
            }),
            ("delete the open one", &mut || fs::remove_file(at("a/open")).unwrap()),
            ("shrink", &mut || fill(at("a/b/file"), 1)),
            ("move a file", &mut || fs::rename(at("a/b/file"), at("file")).unwrap()),
            ("a second name", &mut || fs::hard_link(at("file"), at("a/b/c/link")).unwrap()),
            ("grow by the name outside", &mut || fill(&outside, 70_000)),
            ("move a directory", &mut || fs::rename(at("a/b"), at("b")).unwrap()),
            ("in the moved one", &mut || fill(at("b/c/deep"), 30_000)),
            ("new directories", &mut || {
                fs::create_dir_all(at("n/e/w")).unwrap();
                fill(at("n/e/w/file"), 5_000);
                symlink("file", at("n/e/symlink")).unwrap();
            }),
            ("delete directories", &mut || fs::remove_dir_all(at("b")).unwrap()),
            ("sparse", &mut || fs::File::create(at("sparse")).unwrap().set_len(1 << 20).unwrap()),
        ];
        for (what, step) in steps {
            step();
            let part = check(&mut source, "x", &at(""));
            assert!(part.at > last, "{what}: it is of this tick");
            let state = watch(&part);
            assert_eq!((state.mode, state.drift_bytes), (WatchMode::Watched, 0), "{what}");
            last = part.at;
        }
        let state = watch(&check(&mut source, "x", &at("")));
        assert_eq!(state.directories_read, 0, "nothing changed");
        assert_eq!(
            (state.watches, state.uncertain_bytes),
            (state.directories, fs::metadata(at("file")).unwrap().blocks() * 512)
        );
        assert!(state.verified_at.is_some() && state.verified_age.is_some());
    }
}

#[test]
fn nested_directories_are_kept_up_to_date_together() {
    let dir = in_memory();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("in/inner")).unwrap();
    let mut source = FileSystems::mounted()
        .directory(watched("out", dir.path()))
        .directory(Directory::new("in", at("in")).ttl(NEVER))
        .directory(watched("inner", &at("in/inner")));
    let registry = source.registry();
    let names = [("inner", at("in/inner")), ("in", at("in")), ("out", at(""))];
    let check = |source: &mut FileSystems| {
        let snapshot = tick(source);
        let scans = scans(&names.each_ref().map(|(_, path)| path.as_path()));
        let mut inclusive = 0;
        for ((name, _), usage) in names.iter().zip(&scans) {
            let part = part(&snapshot, name);
            assert_eq!(numbers(&part), scanned(usage), "{name}");
            inclusive += part.bytes;
            assert_eq!(part.inclusive_bytes, Some(inclusive), "{name}");
            assert_eq!(watch(&part).watches, watch(&part).directories);
        }
    };
    check(&mut source);
    fill(at("in/inner/file"), 40_000);
    check(&mut source);
    fs::hard_link(at("in/inner/file"), at("link")).unwrap();
    check(&mut source);
    fs::remove_file(at("in/inner/file")).unwrap();
    check(&mut source);
    fs::rename(at("link"), at("in/file")).unwrap();
    check(&mut source);

    // One that is registered later is measured separately, and one that is removed is not.
    fs::create_dir(at("late")).unwrap();
    fill(at("late/file"), 30_000);
    let late = registry.add_directory(Directory::new("late", at("late")).wait()).unwrap();
    let snapshot = tick(&mut source);
    let usages = scans(&[&at("late"), &at("in"), &at("")]);
    assert_eq!(numbers(&part(&snapshot, "late")), scanned(&usages[0]));
    assert_eq!(numbers(&part(&snapshot, "out")), scanned(&usages[2]));
    assert!(part(&snapshot, "late").watch.is_some());
    drop(late);
    fill(at("late/more"), 30_000);
    check(&mut source);
}

#[test]
fn in_one_that_is_not_watched() {
    let dir = in_memory();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("in")).unwrap();
    fill(at("in/file"), 40_000);
    fill(at("file"), 20_000);
    let mut source = FileSystems::mounted()
        .directory(Directory::new("out", dir.path()).ttl(NEVER))
        .directory(watched("in", &at("in")));
    let first = tick(&mut source);
    let usages = scans(&[&at("in"), &at("")]);
    assert_eq!(numbers(&part(&first, "in")), scanned(&usages[0]));
    assert_eq!(numbers(&part(&first, "out")), scanned(&usages[1]));
    assert_eq!(part(&first, "out").watch, None);
    fill(at("in/more"), 10_000);
    fill(at("more"), 10_000);
    let second = tick(&mut source);
    assert_eq!(numbers(&part(&second, "in")), scanned(&scans(&[&at("in")])[0]));
    assert_eq!(numbers(&part(&second, "out")), scanned(&usages[1]), "its time to live is not over");
    assert_eq!(part(&second, "out").at, part(&first, "out").at);
    // A new scan of it does not change the other one.
    assert!(source.registry().force("out"));
    until("the scan", || part(&tick(&mut source), "out").at > part(&first, "out").at);
    let third = tick(&mut source);
    let usages = scans(&[&at("in"), &at("")]);
    assert_eq!(numbers(&part(&third, "in")), scanned(&usages[0]));
    assert_eq!(numbers(&part(&third, "out")), scanned(&usages[1]));
}

/// The actions of a storm; the places are taken modulo the number of existing ones.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize, usize),
    Link(usize, usize),
    Move(usize, usize),
    Remove(usize),
    MakeDirectory(usize),
    RemoveDirectory(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let n = 0_usize..1000;
    prop_oneof![
        4 => (n.clone(), 0_usize..50_000).prop_map(|(at, bytes)| Act::Write(at, bytes)),
        2 => (n.clone(), n.clone()).prop_map(|(from, to)| Act::Link(from, to)),
        3 => (n.clone(), n.clone()).prop_map(|(from, to)| Act::Move(from, to)),
        2 => n.clone().prop_map(Act::Remove),
        3 => n.clone().prop_map(Act::MakeDirectory),
        1 => n.prop_map(Act::RemoveDirectory),
    ]
}

/// All directories in one, and it, and all other files.
fn list(path: &Path, directories: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) {
    directories.push(path.to_path_buf());
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), directories, files);
        } else {
            files.push(entry.path());
        }
    }
}

/// Performs the actions, without those that fail. `kept` stays.
fn perform(root: &Path, kept: &Path, acts: &[Act]) {
    for (nth, act) in acts.iter().enumerate() {
        let (mut directories, mut files) = (Vec::new(), Vec::new());
        list(root, &mut directories, &mut files);
        let directory = |n: usize| &directories[n % directories.len()];
        let name = |n: usize| directory(n).join(format!("n{}", (n + nth) % 7));
        let file = |n: usize| files.get(n % files.len().max(1)).cloned().unwrap_or_else(|| root.join("none"));
        let any = |n: usize| if n.is_multiple_of(3) { directory(n).clone() } else { file(n) };
        let _ = match *act {
            Act::Write(at, bytes) => fs::write(name(at), vec![1; bytes]),
            Act::Link(from, to) => fs::hard_link(file(from), name(to)),
            Act::Move(from, _) if any(from) == *kept => Ok(()),
            Act::Move(from, to) => fs::rename(any(from), name(to)),
            Act::Remove(at) => fs::remove_file(file(at)),
            Act::MakeDirectory(at) => fs::create_dir(name(at)),
            Act::RemoveDirectory(at) if kept.starts_with(directory(at)) => Ok(()),
            Act::RemoveDirectory(at) => fs::remove_dir_all(directory(at)),
        };
    }
}

fn storm(root: &Path, storms: &[Vec<Act>]) {
    let inner = root.join("inner");
    fs::create_dir(&inner).unwrap();
    let mut source =
        FileSystems::mounted().directory(watched("root", root)).directory(Directory::new("inner", &inner).ttl(NEVER));
    for acts in storms {
        let snapshot = tick(&mut source);
        let usages = scans(&[&inner, root]);
        assert_eq!(numbers(&part(&snapshot, "inner")), scanned(&usages[0]));
        assert_eq!(numbers(&part(&snapshot, "root")), scanned(&usages[1]));
        perform(root, &inner, acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn watched_is_scanned(storms in prop::collection::vec(prop::collection::vec(act(), 0..25), 2..8)) {
        let dir = in_memory();
        storm(dir.path(), &storms);
    }
}

#[test]
fn watched_is_scanned_on_a_disk() {
    if !alone("watched::watched_is_scanned_on_a_disk") {
        return;
    }
    let dir = Scratch::new();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    loop_ext4(&dir.path().join("image"), &disk);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for nth in 0..8 {
        let strategy = prop::collection::vec(prop::collection::vec(act(), 0..25), 4);
        let storms = strategy.new_tree(&mut runner).unwrap().current();
        let root = disk.join(nth.to_string());
        fs::create_dir(&root).unwrap();
        storm(&root, &storms);
    }
}

#[test]
fn mounts_in_it_are_no_part_of_it() {
    if !alone("watched::mounts_in_it_are_no_part_of_it") {
        return;
    }
    let dir = Scratch::new();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("below")).unwrap();
    fill(at("below/file"), 10_000);
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    let before = check(&mut source, "x", dir.path());
    mount(&["-t", "tmpfs", "-o", "size=1m", "x"], &at("below"));
    fill(at("below/other"), 50_000);
    let hidden = check(&mut source, "x", dir.path());
    assert!(hidden.files < before.files);
    unmount(&at("below"));
    assert_eq!(numbers(&check(&mut source, "x", dir.path())), numbers(&before));
}

#[test]
fn without_watches_it_is_read_when_its_time_to_live_is_over() {
    let dir = in_memory();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    let source = || FileSystems::mounted();
    // No watch at all: all is read at each tick, or never again.
    let mut none = source().max_watches(0).directory(watched("x", dir.path()).ttl(Duration::ZERO));
    let mut never = source().max_watches(0).directory(watched("x", dir.path()));
    let first = part(&tick(&mut never), "x");
    for n in 0..5 {
        let state = watch(&check(&mut none, "x", dir.path()));
        assert_eq!((state.mode, state.watches, state.directories), (WatchMode::Polled, 0, 4));
        fill(dir.path().join(format!("a/b/{n}")), 10_000);
    }
    let later = part(&tick(&mut never), "x");
    assert_eq!((later.bytes, watch(&later).mode), (first.bytes, WatchMode::Polled));
    assert!(later.age > first.age, "it is as old as it is");
    // Some: those with one are up to date.
    let mut some = source().max_watches(3).directory(watched("x", dir.path()).ttl(Duration::ZERO));
    for n in 0..5 {
        let state = watch(&check(&mut some, "x", dir.path()));
        assert_eq!((state.mode, state.watches, state.directories), (WatchMode::Partly, 3, 4));
        fill(dir.path().join(format!("a/b/c/{n}")), 10_000);
    }
    // When there is room again, it is watched.
    fs::remove_dir_all(dir.path().join("a/b/c")).unwrap();
    let state = watch(&check(&mut some, "x", dir.path()));
    assert_eq!((state.mode, state.watches), (WatchMode::Watched, 3));
}

#[test]
fn directories_share_the_watches() {
    let dir = in_memory();
    let mut source = FileSystems::mounted().max_watches(7);
    for (name, count) in [("few", 1), ("many", 9)] {
        for n in 1..count {
            fs::create_dir_all(dir.path().join(name).join(n.to_string())).unwrap();
        }
        fs::create_dir_all(dir.path().join(name)).unwrap();
        source = source.directory(watched(name, &dir.path().join(name)).ttl(Duration::ZERO));
    }
    for _ in 0..3 {
        tick(&mut source);
    }
    let snapshot = tick(&mut source);
    let (few, many) = (watch(&part(&snapshot, "few")), watch(&part(&snapshot, "many")));
    assert_eq!((few.mode, few.watches), (WatchMode::Watched, 1));
    assert_eq!((many.mode, many.directories), (WatchMode::Partly, 9));
    assert!((4..=6).contains(&many.watches), "{many:?}");
}

#[test]
fn a_tree_with_far_more_directories_than_watches_is_scanned() {
    let dir = in_memory();
    let at = |path: &str| dir.path().join(path);
    for n in 0..17_000 {
        if n % 100 == 0 {
            fs::create_dir_all(at(&format!("x/{}", n / 100))).unwrap();
        }
        fs::create_dir(at(&format!("x/{}/{n}", n / 100))).unwrap();
    }
    fs::create_dir(at("x/inner")).unwrap();
    let mut source = FileSystems::mounted()
        .max_watches(10)
        .directory(watched("x", &at("x")).ttl(Duration::ZERO))
        .directory(watched("inner", &at("x/inner")));
    // It is found out at the first tick, which scans it all the same.
    for n in 0..3 {
        let snapshot = tick(&mut source);
        let usages = scans(&[&at("x/inner"), &at("x")]);
        for (name, usage) in ["inner", "x"].into_iter().zip(&usages) {
            assert_eq!(numbers(&part(&snapshot, name)), scanned(usage), "{name}");
        }
        let state = watch(&part(&snapshot, "x"));
        assert_eq!((state.mode, state.directories, state.watches), (WatchMode::Scanned, 17_171, 0));
        fill(at(&format!("x/5/{n}-file")), 10_000);
        fill(at("x/inner/file"), 10_000 * n);
    }
    // The directory in it is watched by itself.
    let inner = watch(&part(&tick(&mut source), "inner"));
    assert_eq!((inner.mode, inner.watches), (WatchMode::Watched, 1));
    // With few directories left it is watched.
    for n in 0..170 {
        if n != 5 {
            fs::remove_dir_all(at(&format!("x/{n}"))).unwrap();
        }
    }
    tick(&mut source);
    let snapshot = tick(&mut source);
    let found = part(&snapshot, "x");
    assert_eq!(numbers(&found), scanned(&scans(&[&at("x/inner"), &at("x")])[1]));
    let state = watch(&found);
    assert_eq!((state.mode, state.watches, state.directories), (WatchMode::Partly, 10, 103));
}

#[test]
fn a_file_system_that_others_change_is_scanned() {
    if !alone("watched::a_file_system_that_others_change_is_scanned") {
        return;
    }
    let dir = Scratch::new();
    let Some(_frozen) = Frozen::mount(dir.path()) else { return };
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    // On a busy machine that may be later than within the budget of the first tick.
    until("it has answered", || tick(&mut source).samples.iter().any(|fs| fs.directory("x").is_some()));
    let found = part(&tick(&mut source), "x");
    assert!(found.complete);
    let state = watch(&found);
    assert_eq!((state.mode, state.watches, state.verified_at), (WatchMode::Scanned, 0, None));
    let again = part(&tick(&mut source), "x");
    assert_eq!(again.at, found.at, "its time to live is not over");
}

#[test]
fn an_overlay_is_scanned_as_its_layers_can_be_written_to() {
    if !alone("watched::an_overlay_is_scanned_as_its_layers_can_be_written_to") {
        return;
    }
    let dir = Scratch::new();
    mount(&["-t", "tmpfs", "layers"], dir.path());
    let path = |name: &str| dir.path().join(name);
    for name in ["upper", "lower", "work", "over"] {
        fs::create_dir(path(name)).unwrap();
    }
    fill(path("upper/log"), 10_000);
    let layer = |name: &str| path(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
    mount(&["-t", "overlay", "-o", &options, "over"], &path("over"));
    let over = Directory::new("over", path("over")).watched().ttl(Duration::ZERO).wait();
    let mut source = FileSystems::mounted().directory(over);
    let found = part(&tick(&mut source), "over");
    assert_eq!((watch(&found).mode, watch(&found).watches), (WatchMode::Scanned, 0));
    fill(path("upper/log"), 500_000);
    let again = part(&tick(&mut source), "over");
    assert!(again.bytes >= found.bytes + 400_000, "{again:?}");
}

#[test]
fn a_file_system_without_events_is_scanned() {
    if !alone("watched::a_file_system_without_events_is_scanned") {
        return;
    }
    let dir = Scratch::new();
    for (fs_type, path) in [("proc", "sys/fs/inotify"), ("sysfs", "fs"), ("cgroup2", ""), ("hugetlbfs", "")] {
        let at = dir.path().join(fs_type);
        fs::create_dir(&at).unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", fs_type, fs_type]).arg(&at).output().unwrap();
        if !common::require(mounted.status.success(), fs_type) {
            continue;
        }
        let mut source = FileSystems::new()
            .register(FileSystem::new("fs", &at))
            .directory(watched("x", &at.join(path)))
            .directory(watched("inner", &at));
        for _ in 0..2 {
            for name in ["x", "inner"] {
                let state = watch(&part(&tick(&mut source), name));
                assert_eq!((state.mode, state.watches), (WatchMode::Scanned, 0), "{fs_type} {name}");
            }
        }
    }
}

#[test]
fn lost_events_are_made_up_for() {
    let dir = in_memory();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir(at("a")).unwrap();
    let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let flood = |from: &str| {
        // Two events for each, none of them as the one before.
        fill(at("a/0"), 1);
        for n in 0..=most / 2 {
            let (from, to) = if n % 2 == 0 { ("a/0", "a/1") } else { ("a/1", "a/0") };
            fs::rename(at(from), at(to)).unwrap();
        }
        fill(at(from), 30_000);
    };
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    check(&mut source, "x", dir.path());
    flood("first");
    let first = check(&mut source, "x", dir.path());
    assert_eq!(watch(&first).mode, WatchMode::Watched, "all was read again");
    let mut last = first;
    let late = until_some("not so soon again", || {
        flood("second");
        let part = part(&tick(&mut source), "x");
        let found = (watch(&part).mode == WatchMode::Overflow).then(|| part.clone());
        if found.is_none() {
            last = part;
        }
        found
    });
    assert!(!watch(&late).settled);
    assert_eq!(late.at, last.at, "as of when it was right");
    until("all is read again", || watch(&part(&tick(&mut source), "x")).settled);
    check(&mut source, "x", dir.path());
}

const STORE: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
memory = mmap.mmap(file.fileno(), 0)
memory[:] = b'x' * len(memory)
memory.flush()
print('stored', flush=True)
sys.stdin.read()
";

#[test]
fn changes_without_events_are_found() {
    let dir = in_memory();
    let path = |n: usize| dir.path().join(n.to_string());
    for n in 0..3 {
        // Larger holes are asked for at each tick.
        fs::File::create(path(n)).unwrap().set_len(61_440).unwrap();
    }
    // It stays open: closing it would cause an event.
    let store = |n: usize| {
        let mut helper = Helper::python(STORE, &[path(n).to_str().unwrap()]);
        assert_eq!(helper.line(), "stored");
        helper
    };
    // By force.
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    let before = check(&mut source, "x", dir.path());
    let first = store(0);
    assert_eq!(part(&tick(&mut source), "x").bytes, before.bytes);
    assert!(source.registry().invalidate("x"));
    let after = check(&mut source, "x", dir.path());
    assert!(after.bytes >= before.bytes + 61_440);
    let second = store(1);
    assert!(source.registry().force("x"));
    until("it is scanned", || part(&tick(&mut source), "x").bytes >= after.bytes + 61_440);
    assert_eq!(watch(&check(&mut source, "x", dir.path())).mode, WatchMode::Watched);
    fill(path(4), 10_000);
    source.registry().clear();
    check(&mut source, "x", dir.path());

    // By verification.
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()).verify(Duration::ZERO));
    check(&mut source, "x", dir.path());
    let third = store(2);
    let state = until_some("the drift", || Some(watch(&part(&tick(&mut source), "x"))).filter(|w| w.drift_bytes > 0));
    assert!(state.drift_bytes >= 61_440);
    check(&mut source, "x", dir.path());
    drop((first, second, third));
}

/// A loop device of a test's own, until it is dropped.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Self {
        let output = std::process::Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    fn write(&self, from: u64, bytes: usize) {
        use std::os::unix::fs::FileExt;
        let device = fs::OpenOptions::new().write(true).open(&self.0).unwrap();
        device.write_all_at(&vec![7; bytes], from).unwrap();
        device.sync_all().unwrap();
    }

    /// Discards a range of the device.
    fn discard(&self, from: u64, bytes: u64) {
        let (from, bytes) = (from.to_string(), bytes.to_string());
        let output = std::process::Command::new("blkdiscard").args(["-f", "-o", &from, "-l", &bytes, &self.0]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn writes_of_a_loop_device_are_in_the_next_tick() {
    if !common::require(common::is_root(), "root, for a loop device") {
        return;
    }
    let dir = in_memory();
    let image = dir.path().join("d/image");
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::File::create(&image).unwrap().set_len(20 << 20).unwrap();
    let device = Loop::over(&image);
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    let before = check(&mut source, "x", dir.path());
    assert_eq!(watch(&before).uncertain_files, 1);
    device.write(0, 4 << 20);
    let after = check(&mut source, "x", dir.path());
    assert!(after.bytes >= before.bytes + (4 << 20));
    let state = watch(&after);
    assert_eq!((state.mode, state.uncertain_files, state.asked_files), (WatchMode::Watched, 1, 1));
    assert_eq!(state.uncertain_bytes, fs::metadata(&image).unwrap().blocks() * 512);
    // With a second name it counts elsewhere, and it goes on by whatever name it has.
    fs::hard_link(&image, dir.path().join("link")).unwrap();
    check(&mut source, "x", dir.path());
    device.write(8 << 20, 2 << 20);
    check(&mut source, "x", dir.path());
    fs::remove_file(&image).unwrap();
    fs::rename(dir.path().join("link"), dir.path().join("d/moved")).unwrap();
    check(&mut source, "x", dir.path());
    device.write(12 << 20, 1 << 20);
    check(&mut source, "x", dir.path());
    fs::rename(dir.path().join("d"), dir.path().join("e")).unwrap();
    check(&mut source, "x", dir.path());
    device.write(14 << 20, 1 << 20);
    check(&mut source, "x", dir.path());
    // Without holes, and without the name that the device knows, nothing is left to ask.
    device.write(0, 20 << 20);
    check(&mut source, "x", dir.path());
    let state = watch(&check(&mut source, "x", dir.path()));
    assert_eq!((state.uncertain_files, state.uncertain_bytes, state.asked_files, state.directories_read), (0, 0, 0, 0));
}

#[test]
fn discards_of_a_loop_device_are_in_the_next_tick() {
    if !common::require(common::is_root(), "root, for a loop device") {
        return;
    }
    let dir = in_memory();
    fs::create_dir(dir.path().join("d")).unwrap();
    // Without any hole: one that is there before it is watched, and one that comes later and has two names.
    fill(dir.path().join("d/image"), 8 << 20);
    let first = Loop::over(&dir.path().join("d/image"));
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    let full = check(&mut source, "x", dir.path());
    assert_eq!(watch(&check(&mut source, "x", dir.path())).asked_files, 0, "nothing was written");
    first.discard(1 << 20, 2 << 20);
    let less = check(&mut source, "x", dir.path());
    assert_eq!(less.bytes, full.bytes - (2 << 20));
    first.write(1 << 20, 2 << 20);
    assert_eq!(check(&mut source, "x", dir.path()).bytes, full.bytes);
    fill(dir.path().join("other"), 4 << 20);
    fs::hard_link(dir.path().join("other"), dir.path().join("d/other")).unwrap();
    let second = Loop::over(&dir.path().join("d/other"));
    check(&mut source, "x", dir.path());
    second.discard(0, 4 << 20);
    first.discard(0, 8 << 20);
    let none = check(&mut source, "x", dir.path());
    assert!(none.bytes < 1 << 20, "{none:?}");
    // Without holes it is asked as long as the device has it.
    first.write(0, 8 << 20);
    check(&mut source, "x", dir.path());
    assert_eq!(watch(&check(&mut source, "x", dir.path())).asked_files, 2, "and the one with two names is sparse");
    drop((first, second));
    until("they are closed", || watch(&part(&tick(&mut source), "x")).asked_files == 1);
    check(&mut source, "x", dir.path());
}

/// Writes by `io_submit(2)` on request, to a file that it has open.
const SUBMIT: &str = "
import ctypes, os, sys
class Iocb(ctypes.Structure):
    _fields_ = [('data', ctypes.c_uint64), ('key', ctypes.c_uint32), ('rw', ctypes.c_uint32),
        ('op', ctypes.c_uint16), ('priority', ctypes.c_int16), ('fd', ctypes.c_uint32), ('buffer', ctypes.c_uint64),
        ('bytes', ctypes.c_uint64), ('offset', ctypes.c_int64), ('reserved', ctypes.c_uint64),
        ('flags', ctypes.c_uint32), ('result', ctypes.c_uint32)]
setup, submit, events = {'x86_64': (206, 209, 208), 'aarch64': (0, 2, 4)}[os.uname().machine]
call = ctypes.CDLL(None, use_errno=True).syscall
context = ctypes.c_ulong(0)
if call(setup, 8, ctypes.byref(context)) != 0:
    print('none', flush=True)
    sys.exit()
file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
print('open', flush=True)
size = 1 << 20
buffer = ctypes.create_string_buffer(b'x' * size)
for offset, line in enumerate(sys.stdin):
    block = Iocb(op=1, fd=file, buffer=ctypes.addressof(buffer), bytes=size, offset=offset * size)
    assert call(submit, context, 1, (ctypes.POINTER(Iocb) * 1)(ctypes.pointer(block))) == 1
    assert call(events, context, 1, 1, ctypes.create_string_buffer(32), None) == 1
    print('written', flush=True)
";

#[test]
fn writes_submitted_to_an_open_file_are_in_the_next_tick() {
    let dir = in_memory();
    fs::create_dir(dir.path().join("d")).unwrap();
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    check(&mut source, "x", dir.path());
    let mut helper = Helper::python(SUBMIT, &[dir.path().join("d/file").to_str().unwrap()]);
    let first = helper.line();
    if !common::require(first == "open", "io_submit(2)") {
        return;
    }
    check(&mut source, "x", dir.path());
    for n in 0..4 {
        helper.say("write");
        assert_eq!(helper.line(), "written");
        let part = check(&mut source, "x", dir.path());
        assert_eq!(part.apparent_bytes, Some((n + 1) << 20));
        assert_eq!(watch(&part).asked_files, 1);
        // It is followed.
        if n == 1 {
            fs::rename(dir.path().join("d/file"), dir.path().join("renamed")).unwrap();
            check(&mut source, "x", dir.path());
        }
    }
    drop(helper);
    check(&mut source, "x", dir.path());
    assert_eq!(watch(&check(&mut source, "x", dir.path())).asked_files, 0, "it is closed");
}

#[test]
fn writes_submitted_to_a_file_opened_without_an_event_are_in_the_next_tick() {
    let dir = in_memory();
    let at = |path: &str| dir.path().join(path);
    // Without any hole, and closed; and another one with two names.
    for name in ["d/file", "e/file"] {
        fs::create_dir(at(name).parent().unwrap()).unwrap();
        fill(at(name), 4096);
    }
    fs::hard_link(at("e/file"), at("e/link")).unwrap();
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    check(&mut source, "x", dir.path());
    check(&mut source, "x", dir.path());
    let submitting = |path: &str| {
        let mut helper = Helper::python(SUBMIT, &[at(path).to_str().unwrap()]);
        common::require(helper.line() == "open", "io_submit(2)").then_some(helper)
    };
    // Opened by its name, which no event reports; opened in a directory whose entries no event reports; and the
    // one with two names.
    let Some(mut first) = submitting("d/file") else { return };
    fs::create_dir_all(at("new/deep")).unwrap();
    let (mut second, mut third) = (submitting("new/deep/file").unwrap(), submitting("e/link").unwrap());
    check(&mut source, "x", dir.path());
    for n in 1..4 {
        for helper in [&mut first, &mut second, &mut third] {
            helper.say("write");
            assert_eq!(helper.line(), "written");
            check(&mut source, "x", dir.path());
        }
        assert_eq!(fs::metadata(at("new/deep/file")).unwrap().len(), n << 20);
    }
    // A directory without writes is not read again.
    let state = watch(&check(&mut source, "x", dir.path()));
    assert_eq!((state.asked_files, state.directories_read), (2, 0));
    drop((first, second, third));
    until("all are closed", || watch(&part(&tick(&mut source), "x")).asked_files == 0);
    check(&mut source, "x", dir.path());
}

#[test]
fn many_sparse_files_are_asked_in_turn() {
    let dir = in_memory();
    let path = |n: usize| dir.path().join((n % 7).to_string()).join(n.to_string());
    for n in 0..1500 {
        fs::create_dir_all(path(n).parent().unwrap()).unwrap();
        fs::File::create(path(n)).unwrap().set_len(1 << 20).unwrap();
    }
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    let before = check(&mut source, "x", dir.path());
    assert_eq!((watch(&before).uncertain_files, watch(&before).uncertain_bytes), (1500, 0));
    // Memory that a file is mapped to: the page is stored, and no event reports it.
    let mut helper = Helper::python(STORE, &[path(1000).to_str().unwrap()]);
    assert_eq!(helper.line(), "stored");
    let mut asked = 0;
    while part(&tick(&mut source), "x").bytes == before.bytes {
        let state = watch(&part(&tick(&mut source), "x"));
        assert_eq!(state.asked_files, 512);
        asked += 1;
        assert!(asked < 3, "all had their turn");
    }
    check(&mut source, "x", dir.path());
}

#[track_caller]
fn until_some<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = value();
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_removed_directory_is_reported_again_when_it_is_back() {
    let dir = in_memory();
    let at = dir.path().join("x");
    fs::create_dir(&at).unwrap();
    let mut source = FileSystems::mounted().directory(watched("x", &at));
    check(&mut source, "x", &at);
    let is_reported = |source: &mut FileSystems| tick(source).samples.iter().any(|fs| fs.directory("x").is_some());
    fs::remove_dir(&at).unwrap();
    until("it is not reported", || !is_reported(&mut source));
    assert_eq!(tick(&mut source).skipped.vanished, 1);
    fs::create_dir(&at).unwrap();
    fill(at.join("file"), 10_000);
    check(&mut source, "x", &at);
    // Another one at its path.
    fs::rename(&at, dir.path().join("old")).unwrap();
    fs::create_dir(&at).unwrap();
    check(&mut source, "x", &at);
    // By way of a symbolic link that leads elsewhere, when it is looked up again.
    let link = dir.path().join("link");
    symlink("old", &link).unwrap();
    let mut source = FileSystems::mounted().directory(watched("x", &link).ttl(Duration::ZERO));
    assert_eq!(tick(&mut source).samples.iter().find_map(|fs| fs.directory("x")?.files), Some(1));
    fs::remove_file(&link).unwrap();
    symlink("x", &link).unwrap();
    check(&mut source, "x", &at);
}

/// Makes a tick, at which a directory has to be equal to a scan of `path`, and to be reported there, on the mount of `at`.
#[track_caller]
fn check_at(source: &mut FileSystems, path: &Path, at: &Path) {
    let snapshot = tick(source);
    let found = part(&snapshot, "x");
    assert_eq!(numbers(&found), scanned(&scans(&[path])[0]), "{found:?}");
    assert_eq!(found.path.as_deref(), Some(path));
    assert!(found.complete, "{found:?}");
    let fs = snapshot.samples.iter().find(|fs| fs.directory("x").is_some()).unwrap();
    assert!(path.starts_with(&*fs.mount_point) && at.starts_with(&*fs.mount_point), "{}", fs.mount_point.display());
}

#[test]
fn a_root_is_followed_when_what_is_at_its_path_is_of_another_type() {
    if !alone("watched::a_root_is_followed_when_what_is_at_its_path_is_of_another_type") {
        return;
    }
    let directories: [fn(&Path) -> Directory; 2] =
        [|path| watched("x", path), |path| Directory::new("x", path).ttl(Duration::ZERO).wait()];
    for directory in directories {
        let dir = Scratch::new();
        let at = |path: &str| dir.path().join(path);
        for path in ["big", "p/logs", "releases/5", "releases/6"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        mount(&["-t", "tmpfs", "-o", "size=8m", "big"], &at("big"));
        fill(at("p/logs/file"), 90_000);
        let mut source = FileSystems::mounted().directory(directory(&at("p/logs")));
        check_at(&mut source, &at("p/logs"), &at(""));
        // A symbolic link to where it was moved, on the same file system.
        fs::rename(at("p/logs"), at("moved")).unwrap();
        symlink("../moved", at("p/logs")).unwrap();
        check_at(&mut source, &at("moved"), &at(""));
        fill(at("moved/more"), 10_000);
        check_at(&mut source, &at("moved"), &at(""));
        // One to another file system.
        fs::create_dir(at("big/logs")).unwrap();
        fill(at("big/logs/file"), 50_000);
        fs::remove_file(at("p/logs")).unwrap();
        symlink(at("big/logs"), at("p/logs")).unwrap();
        check_at(&mut source, &at("big/logs"), &at("big"));
        fill(at("big/logs/more"), 10_000);
        check_at(&mut source, &at("big/logs"), &at("big"));
        // A directory again, and above it a link.
        fs::remove_file(at("p/logs")).unwrap();
        fs::rename(at("moved"), at("p/logs")).unwrap();
        check_at(&mut source, &at("p/logs"), &at(""));
        fs::rename(at("p"), at("q")).unwrap();
        symlink("q", at("p")).unwrap();
        check_at(&mut source, &at("q/logs"), &at(""));
        fs::create_dir_all(at("big/q/logs")).unwrap();
        fill(at("big/q/logs/file"), 30_000);
        fs::remove_file(at("p")).unwrap();
        symlink("big/q", at("p")).unwrap();
        check_at(&mut source, &at("big/q/logs"), &at("big"));
        // A file, and nothing: it is nowhere, which is no error, and comes back.
        fs::remove_file(at("p")).unwrap();
        fs::create_dir(at("p")).unwrap();
        for _ in 0..2 {
            assert_eq!(tick(&mut source).skipped.vanished, 1);
            fill(at("p/logs"), 70_000);
        }
        let snapshot = tick(&mut source);
        assert!(snapshot.samples.iter().all(|fs| fs.directory("x").is_none()) && snapshot.skipped.vanished == 1);
        fs::remove_file(at("p/logs")).unwrap();
        fs::rename(at("q/logs"), at("p/logs")).unwrap();
        check_at(&mut source, &at("p/logs"), &at(""));
        // A mount.
        mount(&["-t", "tmpfs", "-o", "size=1m", "on-top"], &at("p/logs"));
        fill(at("p/logs/other"), 20_000);
        check_at(&mut source, &at("p/logs"), &at("p/logs"));
        unmount(&at("p/logs"));
        check_at(&mut source, &at("p/logs"), &at(""));
        drop(source);

        // A link that is changed.
        fill(at("releases/5/file"), 10_000);
        fill(at("releases/6/file"), 20_000);
        symlink("releases/5", at("current")).unwrap();
        let mut source = FileSystems::mounted().directory(directory(&at("current")));
        check_at(&mut source, &at("releases/5"), &at(""));
        symlink("releases/6", at("next")).unwrap();
        fs::rename(at("next"), at("current")).unwrap();
        check_at(&mut source, &at("releases/6"), &at(""));
    }
}

#[test]
fn a_tick_waits_for_what_is_quick_and_for_nothing_else() {
    let dir = in_memory();
    let directory = || Directory::new("x", dir.path()).ttl(NEVER).watched();
    let du = || scans(&[dir.path()])[0].allocated_bytes;
    // Without waiting, the change is reported by one of the next ticks.
    for mut source in [
        FileSystems::mounted().directory(directory()).budget(Duration::ZERO),
        FileSystems::mounted().directory(directory().background()),
    ] {
        until("the first scan", || part(&tick(&mut source), "x").bytes == du());
        let first = part(&tick(&mut source), "x");
        fill(dir.path().join("file"), 20_000);
        until("a new value", || part(&tick(&mut source), "x").bytes == du());
        assert!(part(&tick(&mut source), "x").at > first.at);
        fs::remove_file(dir.path().join("file")).unwrap();
    }
    // With a large budget it is reported by this tick, even without `wait`.
    let mut source = FileSystems::mounted().directory(directory()).budget(Duration::from_secs(1000));
    for n in 0..10 {
        let snapshot = tick(&mut source);
        assert!(part(&snapshot, "x").at >= Some(snapshot.at));
        assert_eq!(part(&snapshot, "x").bytes, du());
        fill(dir.path().join(n.to_string()), 20_000);
    }
}

fn instances() -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("inotify")).count()
}

fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(|task| name(task.ok()?)).filter(|name| name.starts_with("appmon")).count()
}

#[test]
fn nothing_is_left_behind() {
    if !inside("watched::nothing_is_left_behind", &["env"]) {
        return;
    }
    let dir = in_memory();
    let other = in_memory();
    let source = FileSystems::mounted().directory(Directory::new("x", dir.path()).watched());
    let registry = source.registry();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ticks = source.every(Duration::from_millis(1));
        let added = registry.add_directory(Directory::new("y", other.path()).watched()).unwrap();
        ticks.try_next().await.unwrap().unwrap();
        assert_eq!(instances(), 2);
        // Removing the registration removes its watches.
        drop(added);
        until("one is gone", || instances() == 1);
        let late = registry.add_directory(Directory::new("late", other.path()).watched()).unwrap();
        late.keep();
        while !registry.has_data("late") {
            ticks.try_next().await.unwrap().unwrap();
        }
        assert!(registry.invalidate("x"));
        ticks.try_next().await.unwrap().unwrap();
    });
    until("all are gone", || instances() == 0 && threads() == 0);
    drop(registry);
}

#[test]
fn without_an_instance_it_is_polled() {
    // The limit is one of the user, in a namespace of its own.
    let by = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$@\"",
        "sh",
    ];
    let works =
        std::process::Command::new(by[0]).args(&by[1..]).arg("true").status().is_ok_and(|status| status.success());
    if !common::require(works, "a user namespace of its own")
        || !inside("watched::without_an_instance_it_is_polled", &by)
    {
        return;
    }
    let dir = in_memory();
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()).ttl(Duration::ZERO));
    for n in 0..3 {
        let state = watch(&check(&mut source, "x", dir.path()));
        assert_eq!((state.mode, state.watches), (WatchMode::Polled, 0));
        fill(dir.path().join(n.to_string()), 10_000);
    }
    assert_eq!(instances(), 0);
}

#[test]
fn the_other_used_space_is_right_too() {
    let dir = in_memory();
    let mut source = FileSystems::mounted().directory(watched("x", dir.path()));
    let snapshot = tick(&mut source);
    let fs = snapshot.samples.iter().find(|fs| fs.directory("x").is_some()).unwrap();
    let other = fs.parts.iter().find(|part| part.kind == PartKind::Other).unwrap();
    assert!(other.complete && other.watch.is_none());
}
