//! Which bytes belong to which directory, where the same can be seen by several ways: each file counts in exactly one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use appmon::fs::{Boundary, Part, PartKind};
use appmon::{Cancel, Directory, FileSystem, FileSystemSample, FileSystems, Snapshot, Source};

use common::mounts::{Frozen, Scratch, alone, mount, unmount};
use common::until;

const NEVER: Duration = Duration::from_secs(1_000_000);

fn tick(source: &mut FileSystems) -> Snapshot<FileSystemSample> {
    let mut snapshot = Snapshot::default();
    source.collect(&mut snapshot, &Cancel::new()).unwrap();
    for fs in snapshot.samples.iter().filter(|fs| fs.at.is_some()) {
        assert_eq!(fs.parts.iter().map(|part| part.bytes).sum::<u64>(), fs.total_bytes, "{fs:?}");
    }
    snapshot
}

#[track_caller]
fn part(snapshot: &Snapshot<FileSystemSample>, name: &str) -> Part {
    let found = snapshot.samples.iter().find_map(|fs| fs.directory(name).cloned());
    found.unwrap_or_else(|| panic!("{name} is not in {snapshot:?}"))
}

fn fill(path: impl AsRef<Path>, bytes: usize) {
    fs::write(path, vec![7; bytes]).unwrap();
}

/// A tmpfs, on which directories take no space, with these in it.
struct Place(Scratch);

impl Place {
    fn new(directories: &[&str]) -> Self {
        let scratch = Scratch::new();
        mount(&["-t", "tmpfs", "-o", "size=64m", "x"], scratch.path());
        for name in directories {
            fs::create_dir_all(scratch.path().join(name)).unwrap();
        }
        Self(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn fill(&self, files: &[(&str, usize)]) {
        for (name, bytes) in files {
            fill(self.path(name), *bytes);
        }
    }

    fn bind(&self, what: &str, on: &str) {
        mount(&["--bind", self.path(what).to_str().unwrap()], &self.path(on));
    }

    fn cover(&self, at: &str) {
        mount(&["-t", "tmpfs", "-o", "size=1m", "y"], &self.path(at));
    }

    fn blocks(&self, files: &[&str]) -> u64 {
        files.iter().map(|file| fs::metadata(self.path(file)).unwrap().blocks() * 512).sum()
    }

    fn directory(&self, name: &str, at: &str) -> Directory {
        Directory::new(name, self.path(at)).ttl(NEVER)
    }

    /// Returns the own bytes of each directory, and the other used space.
    #[track_caller]
    fn own(&self, snapshot: &Snapshot<FileSystemSample>, names: &[&str]) -> (Vec<u64>, u64) {
        let fs = snapshot.samples.iter().find(|fs| *fs.mount_point == *self.0.path()).unwrap();
        assert!(!fs.overcommitted, "{fs:?}");
        let other = fs.parts.iter().find(|part| part.kind == PartKind::Other).unwrap().bytes;
        (names.iter().map(|name| part(snapshot, name).bytes).collect(), other)
    }

    /// Registers directories in every order, all at once and one after the other, and looks at each tick.
    #[track_caller]
    fn check_in_any_order(&self, directories: &[(&str, &str)], expected: &[u64], first_come: bool) {
        let names: Vec<&str> = directories.iter().map(|(name, _)| *name).collect();
        let expected = (expected.to_vec(), 0);
        let orders: &[bool] = if first_come { &[false] } else { &[false, true] };
        for watched in [false, true] {
            for late in [false, true] {
                for backwards in orders {
                    let mut source = FileSystems::mounted();
                    let registry = source.registry();
                    let mut order: Vec<_> = directories.iter().collect();
                    if *backwards {
                        order.reverse();
                    }
                    for (name, at) in order {
                        let directory = self.directory(name, at);
                        let directory = if watched { directory.watched() } else { directory };
                        registry.add_directory(directory).unwrap().keep();
                        if late {
                            tick(&mut source);
                        }
                    }
                    for _ in 0..2 {
                        let found = self.own(&tick(&mut source), &names);
                        assert_eq!(found, expected, "watched {watched}, late {late}, backwards {backwards}");
                    }
                    registry.invalidate_all();
                    tick(&mut source);
                    let found = self.own(&tick(&mut source), &names);
                    assert_eq!(found, expected, "read again: watched {watched}, late {late}, backwards {backwards}");
                }
            }
        }
    }
}

#[test]
fn files_hidden_in_an_inner_directory_are_the_outer_ones() {
    if !alone("places::files_hidden_in_an_inner_directory_are_the_outer_ones") {
        return;
    }
    let place = Place::new(&["a/sub/x/deep", "g"]);
    place.fill(&[("a/own", 400_000), ("a/sub/y", 1_000_000), ("a/sub/x/z", 2_000_000), ("a/sub/x/deep/z", 500_000)]);
    place.fill(&[("a/sub/file", 300_000)]);
    place.bind("a/sub", "g");
    place.cover("g/x");
    // A file can be covered as well.
    place.bind("a/own", "g/file");
    let outer = place.blocks(&["a/own", "a/sub/x/z", "a/sub/x/deep/z", "a/sub/file"]);
    let inner = place.blocks(&["a/sub/y"]);
    place.check_in_any_order(&[("a", "a"), ("g", "g")], &[outer, inner], false);
    // A third one in the covered directory.
    let deep = place.blocks(&["a/sub/x/deep/z"]);
    place.check_in_any_order(&[("a", "a"), ("g", "g"), ("d", "a/sub/x/deep")], &[outer - deep, inner, deep], false);
}

#[test]
fn the_same_directory_by_two_paths_that_hide_different_parts() {
    if !alone("places::the_same_directory_by_two_paths_that_hide_different_parts") {
        return;
    }
    let place = Place::new(&["a/s1", "a/s2", "g"]);
    place.fill(&[("a/s1/x", 1_000_000), ("a/s2/y", 2_000_000), ("a/z", 400_000)]);
    let [first, second] = [place.blocks(&["a/z", "a/s2/y"]), place.blocks(&["a/s1/x"])];
    place.bind("a", "g");
    place.cover("a/s1");
    place.cover("g/s2");
    place.check_in_any_order(&[("a", "a"), ("g", "g")], &[first, second], true);
}

#[test]
fn nothing_is_taken_off_that_was_never_counted() {
    if !alone("places::nothing_is_taken_off_that_was_never_counted") {
        return;
    }
    let place = Place::new(&["a/sub/x", "g"]);
    place.fill(&[("a/own", 4_000_000), ("a/sub/y", 1_000_000), ("a/sub/x/big", 3_000_000)]);
    let [own, shared, hidden] = ["a/own", "a/sub/y", "a/sub/x/big"].map(|file| place.blocks(&[file]));
    place.bind("a/sub", "g");
    place.cover("a/sub/x");
    place.check_in_any_order(&[("a", "a"), ("g", "g")], &[own, shared + hidden], false);
    // And when the inner one is removed, the outer one has the entries of it that are visible there.
    let mut source = FileSystems::mounted().directory(place.directory("a", "a"));
    let inner = source.registry().add_directory(place.directory("g", "g")).unwrap();
    assert_eq!(place.own(&tick(&mut source), &["a", "g"]), (vec![own, shared + hidden], 0));
    drop(inner);
    assert_eq!(place.own(&tick(&mut source), &["a"]), (vec![own + shared], hidden));
}

#[test]
fn files_left_out_of_the_outer_directory_are_not_subtracted() {
    if !alone("places::files_left_out_of_the_outer_directory_are_not_subtracted") {
        return;
    }
    let place = Place::new(&["a/sub"]);
    place.fill(&[("a/own", 400_000), ("a/sub/y", 1_000_000), ("a/sub/x.tmp", 3_000_000)]);
    let [own, inner] = [place.blocks(&["a/own"]), place.blocks(&["a/sub/y", "a/sub/x.tmp"])];
    let mut source = FileSystems::mounted().directory(place.directory("a", "a").exclude("*.tmp").unwrap());
    tick(&mut source);
    source.registry().add_directory(place.directory("sub", "a/sub")).unwrap().keep();
    until("the outer one is read again", || {
        let found = place.own(&tick(&mut source), &["a", "sub"]).0;
        assert!(found[0] >= own && found[1] == inner, "{found:?}");
        found[0] == own
    });
}

#[test]
fn a_bind_mount_whose_root_is_renamed_counts_once() {
    if !alone("places::a_bind_mount_whose_root_is_renamed_counts_once") {
        return;
    }
    let place = Place::new(&["f/a/s", "f/b"]);
    place.fill(&[("f/a/x", 1_000_000), ("f/a/s/x", 500_000)]);
    let [outer, inner] = ["f/a/x", "f/a/s/x"].map(|file| place.blocks(&[file]));
    place.bind("f/a", "f/b");
    for (name, watched) in [("c", false), ("d", true), ("e", false)] {
        let moved = format!("f/{name}");
        let of = |directory: Directory| if watched { directory.watched() } else { directory };
        let mut source = FileSystems::mounted()
            .directory(of(place.directory("b", "f/b")))
            .directory(of(place.directory("whole", &moved).optional()))
            .directory(of(place.directory("s", &format!("{moved}/s")).optional()));
        let before = tick(&mut source);
        assert_eq!(place.own(&before, &["b"]), (vec![outer + inner], 0));
        let now = fs::read_dir(place.path("f")).unwrap().map(|entry| entry.unwrap().path());
        let now = now.into_iter().find(|path| *path != place.path("f/b")).unwrap();
        fs::rename(now, place.path(&moved)).unwrap();
        for _ in 0..2 {
            let snapshot = tick(&mut source);
            assert_eq!(place.own(&snapshot, &["b", "whole", "s"]), (vec![outer, 0, inner], 0), "{name}");
        }
    }
}

#[test]
fn a_bind_mount_of_a_directory_that_was_removed_is_in_no_other_one() {
    if !alone("places::a_bind_mount_of_a_directory_that_was_removed_is_in_no_other_one") {
        return;
    }
    let place = Place::new(&["f/a", "h"]);
    place.bind("f/a", "h");
    fs::remove_dir(place.path("f/a")).unwrap();
    fs::create_dir(place.path("f/a")).unwrap();
    place.fill(&[("f/a/x", 2_000_000)]);
    // The kernel shows it as `/f/a//deleted`, which is not the path of this one.
    fs::create_dir(place.path("f/a/deleted")).unwrap();
    place.fill(&[("f/a/deleted/x", 500_000)]);
    let [outer, inner] = ["f/a/x", "f/a/deleted/x"].map(|file| place.blocks(&[file]));
    place.check_in_any_order(&[("h", "h"), ("d", "f/a/deleted"), ("a", "f/a")], &[0, inner, outer], false);
    unmount(&place.path("h"));
}

#[test]
fn a_directory_that_is_another_one_names_it() {
    if !alone("places::a_directory_that_is_another_one_names_it") {
        return;
    }
    let place = Place::new(&["a", "g"]);
    place.fill(&[("a/x", 1_000_000)]);
    let all = place.blocks(&["a/x"]);
    place.bind("a", "g");
    let mut source = FileSystems::mounted()
        .directory(place.directory("first", "a"))
        .directory(place.directory("again", "a"))
        .directory(place.directory("bound", "g"));
    let snapshot = tick(&mut source);
    for (name, bytes, same_as) in [("first", all, None), ("again", 0, Some("first")), ("bound", 0, Some("first"))] {
        let part = part(&snapshot, name);
        assert_eq!((part.bytes, part.inclusive_bytes, part.complete), (bytes, Some(all), true), "{part:?}");
        assert_eq!(part.same_as.as_ref().map(ToString::to_string).as_deref(), same_as);
    }
}

/// Returns the bytes of the parts of a name, by their paths.
fn parts_of(snapshot: &Snapshot<FileSystemSample>, name: &str) -> Vec<(PathBuf, u64)> {
    let parts = snapshot.samples.iter().flat_map(|fs| &fs.parts).filter(|part| part.name == name);
    let mut parts: Vec<_> = parts.map(|part| (part.path.clone().unwrap().to_path_buf(), part.bytes)).collect();
    parts.sort();
    parts
}

#[test]
fn a_directory_goes_on_beyond_mounts_by_its_boundary() {
    if !alone("places::a_directory_goes_on_beyond_mounts_by_its_boundary") {
        return;
    }
    let place = Place::new(&["d/m", "d/b", "d/left", "o"]);
    place.cover("d/m");
    fs::create_dir_all(place.path("d/m/deep")).unwrap();
    place.cover("d/m/deep");
    place.cover("d/left");
    place.fill(&[("d/x", 1_000_000), ("d/m/x", 200_000), ("d/m/x.tmp", 50_000), ("d/m/deep/x", 300_000)]);
    place.fill(&[("d/left/x", 100_000), ("o/x", 400_000)]);
    place.bind("o", "d/b");
    let expected = |names: &[(&str, &str)]| -> Vec<(PathBuf, u64)> {
        names.iter().map(|(at, file)| (place.path(at), place.blocks(&[file]))).collect()
    };
    let directory = || place.directory("d", "d").exclude("/left").unwrap().exclude("*.tmp").unwrap();
    for (boundary, names) in [
        (Boundary::SameMount, &[("d", "d/x")][..]),
        (Boundary::SameDevice, &[("d", "d/x"), ("d/b", "o/x")]),
        (Boundary::Cross, &[("d", "d/x"), ("d/b", "o/x"), ("d/m", "d/m/x"), ("d/m/deep", "d/m/deep/x")]),
    ] {
        for watched in [false, true] {
            let directory = directory().boundary(boundary);
            let directory = if watched { directory.watched() } else { directory };
            let mut source = FileSystems::mounted().directory(directory);
            for _ in 0..2 {
                let snapshot = tick(&mut source);
                assert_eq!(parts_of(&snapshot, "d"), expected(names), "{boundary:?} {watched}");
                assert_eq!(part(&snapshot, "d").excluded_mounts, Some(2), "but for what is left out");
            }
        }
    }
    // A mount that is registered by itself counts for its registration, independent of the order.
    let mut source = FileSystems::mounted().directory(directory().boundary(Boundary::Cross));
    tick(&mut source);
    let registry = source.registry();
    let inner = registry.add_directory(place.directory("m", "d/m").exclude("*.tmp").unwrap()).unwrap();
    let snapshot = tick(&mut source);
    assert_eq!(parts_of(&snapshot, "m"), expected(&[("d/m", "d/m/x")]));
    assert_eq!(parts_of(&snapshot, "d")[2], (place.path("d/m"), 0));
    drop(inner);
    assert_eq!(parts_of(&tick(&mut source), "d")[2], expected(&[("d/m", "d/m/x")])[0]);
    // After an unmount the part is gone, and after a mount it is there.
    unmount(&place.path("d/m/deep"));
    unmount(&place.path("d/b"));
    assert_eq!(parts_of(&tick(&mut source), "d"), expected(&[("d", "d/x"), ("d/m", "d/m/x")]));
    place.bind("o", "d/b");
    assert_eq!(parts_of(&tick(&mut source), "d"), expected(&[("d", "d/x"), ("d/b", "o/x"), ("d/m", "d/m/x")]));
    // It leaves with all of them.
    let later = FileSystems::mounted();
    let registration = later.registry().add_directory(directory().boundary(Boundary::Cross)).unwrap();
    let mut source = later;
    assert_eq!(parts_of(&tick(&mut source), "d").len(), 3);
    drop(registration);
    assert_eq!(parts_of(&tick(&mut source), "d"), []);
}

#[test]
fn a_mount_that_hangs_in_a_directory_that_goes_on_holds_up_nothing() {
    if !alone("places::a_mount_that_hangs_in_a_directory_that_goes_on_holds_up_nothing") {
        return;
    }
    let place = Place::new(&["d/m", "d/hangs"]);
    place.cover("d/m");
    place.fill(&[("d/x", 1_000_000), ("d/m/x", 200_000)]);
    let Some(frozen) = Frozen::mount(&place.path("d/hangs")) else { return };
    frozen.freeze();
    let mut source = FileSystems::mounted().directory(place.directory("d", "d").boundary(Boundary::Cross).wait());
    let (sender, receiver) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        for _ in 0..2 {
            let _ = sender.send(tick(&mut source));
        }
        source
    });
    for _ in 0..2 {
        let snapshot = receiver.recv_timeout(Duration::from_secs(60)).expect("not held up");
        let expected = [("d", "d/x"), ("d/m", "d/m/x")].map(|(at, file)| (place.path(at), place.blocks(&[file])));
        assert_eq!(parts_of(&snapshot, "d"), expected);
        let hangs = snapshot.samples.iter().find(|fs| *fs.mount_point == *place.path("d/hangs")).unwrap();
        assert!(hangs.stalled.is_some());
    }
    frozen.thaw();
    let mut source = worker.join().unwrap();
    until("it is a part of it as well", || parts_of(&tick(&mut source), "d").len() == 3);
}

#[test]
fn settings_that_are_wrong_are_errors_of_the_first_tick() {
    for name in ["other", "free", "reserved"] {
        let mut source = FileSystems::mounted().directory(Directory::new(name, "/"));
        let error = source.collect(&mut Snapshot::default(), &Cancel::new()).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(name), "{error}");
        let error = FileSystems::mounted().registry().add_directory(Directory::new(name, "/")).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(name), "{error}");
        // A copy is as wrong as it.
        assert_eq!(
            source.clone().collect(&mut Snapshot::default(), &Cancel::new()).unwrap_err().to_string(),
            error.to_string()
        );
    }
}

#[test]
fn a_copy_of_a_source_has_its_settings_and_knows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = |name: &str| Directory::new(name, dir.path().join("missing")).optional();
    let mut source = FileSystems::mounted()
        .exclude_types(["*"])
        .unwrap()
        .register(FileSystem::new("root", "/"))
        .directory(missing("own"));
    let added = source.registry().add_directory(missing("added")).unwrap();
    let vanished = |source: &mut FileSystems| {
        let snapshot = tick(source);
        assert_eq!(snapshot.samples.iter().map(|fs| fs.name.to_string()).collect::<Vec<_>>(), ["root"]);
        snapshot.skipped.vanished
    };
    assert_eq!(vanished(&mut source), 2);
    let mut copy = source.clone();
    assert!(source.registry().has_data("root") && !copy.registry().has_data("root"));
    assert_eq!(vanished(&mut copy), 1, "but for what was added by the registry");
    // Registrations with one are not in the other.
    copy.registry().add_directory(missing("later")).unwrap().keep();
    assert_eq!((vanished(&mut source), vanished(&mut copy)), (2, 2));
    drop(added);
}

/// Numbers that look random, and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

/// The files that are seen in a directory on its mount, by a naive walk: as numbers of bits.
fn seen(at: &Path, mount: u64, files: &[u64]) -> u64 {
    let mount_of = |path: &Path| {
        let (at, flags) = (rustix::fs::CWD, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        rustix::fs::statx(at, path, flags, rustix::fs::StatxFlags::MNT_ID).unwrap().stx_mnt_id
    };
    let mount = if mount == 0 { mount_of(at) } else { mount };
    let entries = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
    let bits = entries.filter(|path| mount_of(path) == mount).map(|path| {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            return seen(&path, mount, files);
        }
        files.iter().position(|inode| *inode == found.ino()).map_or(0, |nth| 1 << nth)
    });
    bits.fold(0, |all, bit| all | bit)
}

#[test]
fn each_file_is_in_exactly_one_directory_whatever_is_mounted_where() {
    if !alone("places::each_file_is_in_exactly_one_directory_whatever_is_mounted_where") {
        return;
    }
    const UNIT: u64 = 4096;
    for round in 0..24 {
        let dice = &mut Dice(round);
        let ways = ["w0", "w1", "w2"];
        let directories = ["t", "t/a", "t/b", "t/a/a", "t/a/b", "t/b/a", "t/b/b", "t/a/a/a", "t/a/a/b"];
        let place = Place::new(&[&directories[..], &ways[..]].concat());
        // The size identifies each file.
        let files: Vec<String> = directories.iter().map(|directory| format!("{directory}/f")).collect();
        for (nth, file) in files.iter().enumerate() {
            fill(place.path(file), (UNIT as usize) << nth);
        }
        let inodes: Vec<u64> = files.iter().map(|file| fs::metadata(place.path(file)).unwrap().ino()).collect();
        // Where each way leads, to begin with; some paths are covered, by themselves or by something else of the same.
        let mut paths: Vec<(String, String)> = directories.map(|at| (at.to_owned(), at.to_owned())).to_vec();
        for way in ways {
            let to = directories[dice.below(directories.len())];
            place.bind(to, way);
            let inside = directories.iter().filter_map(|at| Some((at, at.strip_prefix(to)?)));
            let inside = inside.filter(|(_, below)| below.is_empty() || below.starts_with('/'));
            paths.extend(inside.map(|(at, below)| (format!("{way}{below}"), at.to_string())));
        }
        for _ in 0..dice.below(4) {
            let (at, _) = paths[dice.below(paths.len())].clone();
            if !place.path(&at).exists() {
                continue;
            }
            if dice.below(3) > 0 {
                place.cover(&at);
                paths.retain(|(path, _)| !Path::new(path).starts_with(&at));
            }
        }
        let mut source = FileSystems::mounted();
        let registry = source.registry();
        let mut registered: Vec<(String, String)> = Vec::new();
        for _ in 0..2 + dice.below(5) {
            let chosen = paths[dice.below(paths.len())].clone();
            if registered.contains(&chosen) {
                continue;
            }
            let directory = place.directory(&chosen.0, &chosen.0);
            let directory = if dice.below(2) == 0 { directory.watched() } else { directory };
            registry.add_directory(directory).unwrap().keep();
            registered.push(chosen);
            if dice.below(2) == 0 {
                tick(&mut source);
            }
        }
        for again in [false, true] {
            if again {
                registry.invalidate_all();
                tick(&mut source);
            }
            let snapshot = tick(&mut source);
            let mut taken = 0;
            let all: Vec<u64> = registered.iter().map(|(path, _)| seen(&place.path(path), 0, &inodes)).collect();
            for ((path, location), sees) in registered.iter().zip(&all) {
                let bytes = part(&snapshot, path).bytes;
                let own = bytes / UNIT;
                let report = format!("{path} of round {round} has {own:x}: {registered:?} see {all:x?}, {snapshot:?}");
                assert_eq!((bytes % UNIT, own & taken, own & !sees), (0, 0, 0), "{report}");
                taken |= own;
                // None in it sees it.
                for ((_, other), sees) in registered.iter().zip(&all) {
                    let is_inside = other != location && Path::new(other).starts_with(location);
                    assert!(!is_inside || own & sees == 0, "{report}");
                }
            }
            assert_eq!(taken, all.iter().fold(0, |all, sees| all | sees), "round {round}: {registered:?}, {all:x?}");
        }
    }
}
