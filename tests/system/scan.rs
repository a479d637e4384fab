//! Scans of real trees, beside `du` and a plain reference implementation.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use appmon::fs::{Boundary, Partial, Progress, Scan, ScannedTree, Usage};
use appmon::{Cancel, Result};
use common::{is_root, require, until};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags};

/// A directory that is removed in the end, however deep.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("scan-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    fn dir(&self, path: impl AsRef<Path>) -> PathBuf {
        fs::create_dir_all(self.join(&path)).unwrap();
        self.join(path)
    }

    fn file(&self, path: impl AsRef<Path>, size: usize) -> PathBuf {
        let path = self.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![b'x'; size]).unwrap();
        path
    }

    fn scan(&self) -> Scan {
        Scan::new(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // `std` needs a descriptor for each level, and `rm` does not.
        let _ = Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

fn run(scan: &Scan) -> Usage {
    scan.run(&Cancel::new()).unwrap()
}

fn run_each(scan: &Scan) -> Vec<ScannedTree> {
    scan.run_each(&Cancel::new(), &Progress::new()).unwrap()
}

fn du(path: &Path, options: &[&str]) -> u64 {
    let output = Command::new("du").arg("-s").args(options).arg(path).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Scans with each count of threads, and compares with `du`.
#[track_caller]
fn same_as_du(path: &Path) -> Usage {
    let [usage, others @ ..] = [1, 2, 3, 8].map(|threads| timeless(run(&Scan::new(path).threads(threads))));
    others.iter().for_each(|other| assert_eq!(*other, usage));
    let default = run(&Scan::new(path));
    assert_eq!(default.entries(), usage.entries());
    assert_eq!(usage.allocated_bytes, du(path, &["-x", "--block-size=1"]));
    assert_eq!(usage.files + usage.directories, du(path, &["-x", "--inodes"]));
    // Older ones add the length of the directories themselves.
    let apparent = du(path, &["-x", "--apparent-size", "--block-size=1"]);
    if apparent != usage.apparent_bytes {
        let output = Command::new("find").arg(path).args(["-xdev", "-type", "d", "-printf", "%s\n"]).output().unwrap();
        let directories: u64 =
            String::from_utf8_lossy(&output.stdout).lines().map(|size| size.parse::<u64>().unwrap()).sum();
        assert_eq!(apparent, usage.apparent_bytes + directories);
    }
    assert!(usage.is_complete() && usage.errors.is_empty(), "{usage:?}");
    usage
}

/// The same, whatever time it took.
fn timeless(mut usage: Usage) -> Usage {
    usage.took = Duration::ZERO;
    usage
}

/// Runs one test of this program again, under another program.
fn again(test: &str, under: &[&str], tree: &Path) {
    // Where anybody may run it.
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("scan");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let (program, options) = under.split_first().unwrap();
    let status = Command::new(program)
        .args(options)
        .arg(copy)
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env("SCAN_AGAIN", tree)
        .current_dir("/tmp")
        .status()
        .unwrap();
    assert!(status.success(), "{test} under {under:?}: {status}");
}

/// The tree of a test that runs again.
fn is_again() -> Option<PathBuf> {
    std::env::var_os("SCAN_AGAIN").map(PathBuf::from)
}

fn is_there(program: &str) -> bool {
    require(Command::new(program).arg("--version").output().is_ok(), program)
}

#[test]
fn all_kinds_of_files() {
    let tree = Tree::new();
    tree.file("a/b/small", 10);
    tree.file("a/large", 3 << 20);
    tree.file("a/b/empty", 0);
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.write_at(b"x", 1 << 30).unwrap();
    sparse.set_len(5 << 30).unwrap();
    fs::hard_link(tree.join("a/large"), tree.join("a/same")).unwrap();
    fs::hard_link(tree.join("a/large"), tree.join("a/b/same")).unwrap();
    fs::hard_link(tree.join("a/b/empty"), tree.dir("c").join("same")).unwrap();
    symlink("large", tree.join("a/link")).unwrap();
    symlink("a", tree.join("link to a directory")).unwrap();
    symlink(".", tree.join("a/loop")).unwrap();
    symlink("nowhere", tree.join("dangling")).unwrap();
    symlink("x".repeat(200), tree.join("long link")).unwrap();
    for name in [&b"\xff\xfe not utf-8"[..], b"new\nline", b" ", b"...", b"-x", b"*", &[b'n'; 255]] {
        tree.file(OsStr::from_bytes(name), 5000);
    }
    tree.dir(OsStr::from_bytes(b"dir\xff/\x01"));
    let _socket = UnixListener::bind(tree.join("socket")).unwrap();
    rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    if is_root() {
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, tree.join("device"), FileType::CharacterDevice, Mode::RWXU, null).unwrap();
    }
    let usage = same_as_du(&tree.0);
    assert_eq!(usage.hard_links, 3);
    assert_eq!(usage.directories, 6);
    assert!(usage.apparent_bytes > 5 << 30 && usage.allocated_bytes < 1 << 30, "{usage:?}");
}

#[test]
fn lengths_whose_sum_no_number_holds() {
    let shm = Path::new("/dev/shm");
    let tree = if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() };
    for n in 0..4_u64 {
        let file = fs::File::create(tree.path().join(n.to_string())).unwrap();
        if !require(file.set_len(i64::MAX as u64).is_ok(), "a file system for files of 8 EiB") {
            return;
        }
        let sum = (n + 1).saturating_mul(i64::MAX as u64);
        assert_eq!(run(&Scan::new(tree.path())).apparent_bytes, sum, "{n}");
        let other = tree.path().join(format!("link {n}"));
        fs::hard_link(tree.path().join(n.to_string()), &other).unwrap();
        assert_eq!(run(&Scan::new(tree.path())).apparent_bytes, sum, "{n}");
        fs::remove_file(other).unwrap();
    }
}

#[test]
fn wide_directories() {
    let tree = Tree::new();
    for n in 0..20_000 {
        File::create(tree.join(format!("file {n}"))).unwrap();
    }
    for n in 0..6_000 {
        fs::create_dir(tree.join(format!("dir {n}"))).unwrap();
    }
    tree.file("dir 17/x", 4097);
    let usage = same_as_du(&tree.0);
    assert_eq!((usage.files, usage.directories), (20_001, 6_001));
}

/// Makes `levels` directories, each in the one before, and calls `each` in it.
fn chain(root: &Path, levels: usize, each: impl Fn(&OwnedFd)) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut dir = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        each(&dir);
        rustix::fs::mkdirat(&dir, "deeper down", Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "deeper down", flags, Mode::empty()).unwrap();
    }
}

#[test]
fn deep_directories() {
    let tree = Tree::new();
    chain(&tree.0, 10_000, |_| {});
    assert_eq!(same_as_du(&tree.0).directories, 10_001);
}

#[test]
fn deep_directories_with_few_descriptors() {
    // Directories wait at each level, and no path to them is short enough.
    if let Some(tree) = is_again() {
        let mut most: Vec<File> = (0..).map_while(|_| File::open("/dev/null").ok()).collect();
        most.truncate(most.len() - 3);
        for threads in [1, 2, 4] {
            let usage = run(&Scan::new(&tree).threads(threads).largest(2));
            assert_eq!((usage.directories, usage.files), (4 * 2000 + 1, 2000), "{usage:?}");
            assert!(usage.is_complete(), "{usage:?}");
            assert_eq!(usage.largest.len(), 2);
        }
        return;
    }
    if !is_there("prlimit") {
        return;
    }
    let tree = Tree::new();
    chain(&tree.0, 2_000, |dir| {
        for name in ["a", "zz", "deeper up"] {
            rustix::fs::mkdirat(dir, name, Mode::RWXU).unwrap();
        }
        rustix::fs::openat(dir, "a/file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    });
    same_as_du(&tree.0);
    again("scan::deep_directories_with_few_descriptors", &["prlimit", "--nofile=40"], &tree.0);
}

#[test]
fn unreadable_directories_are_reported() {
    let tree = is_again().unwrap_or_else(|| {
        let tree = Tree(tempfile::tempdir_in("/tmp").unwrap().keep());
        fs::set_permissions(&tree.0, fs::Permissions::from_mode(0o755)).unwrap();
        tree.file("open/file", 100);
        tree.file("closed/file", 100);
        tree.file("listable/file", 100);
        for n in 0..20 {
            tree.dir(format!("many/{n:02}"));
            fs::set_permissions(tree.join(format!("many/{n:02}")), fs::Permissions::from_mode(0o000)).unwrap();
        }
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.join("listable"), fs::Permissions::from_mode(0o744)).unwrap();
        if is_root() && is_there("setpriv") {
            again(
                "scan::unreadable_directories_are_reported",
                &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
                &tree.0,
            );
        }
        PathBuf::new()
    });
    if tree == Path::new("") {
        return;
    }
    for threads in [1, 2, 8] {
        let usage = run(&Scan::new(&tree).threads(threads));
        assert_eq!((usage.files, usage.directories), (1, 25), "{usage:?}");
        assert_eq!((usage.errors.count, usage.errors.denied), (22, 22));
        assert_eq!(usage.partial, Some(Partial::Errors));
        // They count all the same.
        let own: u64 = ["", "open", "closed", "listable", "many", "open/file"]
            .into_iter()
            .map(|path| fs::metadata(tree.join(path)).unwrap().blocks() * 512)
            .sum();
        let each = fs::metadata(tree.join("many/00")).unwrap().blocks() * 512;
        assert_eq!(usage.allocated_bytes, own + 20 * each);
        let told: Vec<_> = usage.errors.first.iter().map(|error| error.path.to_path_buf()).collect();
        let expected = ["closed", "listable/file", "many/00", "many/01", "many/02", "many/03", "many/04", "many/05"];
        assert_eq!(told, expected.map(|path| tree.join(path)));
        assert!(usage.errors.first[0].message.contains("denied"), "{usage:?}");
    }
    let closed = Scan::new(tree.join("closed")).run(&Cancel::new()).unwrap_err();
    assert!(closed.is_denied() && closed.path() == Some(&tree.join("closed")), "{closed}");
    let parts = run_each(&Scan::new(&tree).and(tree.join("closed")));
    assert!(parts[1].usage.is_err());
    assert_eq!(ScannedTree::inclusive(&parts, 0).unwrap().partial, Some(Partial::Errors));
}

#[test]
fn roots_of_all_kinds() {
    let tree = Tree::new();
    let file = tree.file("dir/file", 10_000);
    symlink("dir", tree.join("link")).unwrap();
    let usage = same_as_du(&file);
    assert_eq!((usage.files, usage.directories, usage.apparent_bytes), (1, 0, 10_000));
    let link = same_as_du(&tree.join("link"));
    assert_eq!((link.files, link.directories, link.apparent_bytes), (1, 0, 3));
    assert_eq!(same_as_du(&tree.join("link/")).files, 1);
    assert_eq!(run(&Scan::new(tree.join("dir/."))).entries(), 2);
    let nowhere = Scan::new(tree.join("nowhere")).run(&Cancel::new()).unwrap_err();
    assert!(nowhere.is_not_found() && nowhere.path() == Some(&tree.join("nowhere")), "{nowhere}");
    assert!(Scan::new(OsStr::from_bytes(b"a\0b")).run(&Cancel::new()).is_err());
    assert!(Scan::new("").run(&Cancel::new()).unwrap_err().is_not_found());
    fs::hard_link(&file, tree.join("second")).unwrap();
    let usage = run(&Scan::new(tree.join("second")).and(&tree.0).largest(9));
    assert_eq!((usage.files, usage.directories, usage.largest.len()), (2, 2, 2), "{usage:?}");
    assert_eq!(usage.allocated_bytes, du(&tree.0, &["--block-size=1"]));
}

#[test]
fn changes_during_a_scan_are_no_errors() {
    let tree = Tree::new();
    for n in 0..200 {
        tree.file(format!("{}/{n}", n % 10), 1);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for own in 0..2 {
            let (tree, stop) = (&tree, &stop);
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let dir = tree.join(format!("{}/new {own} {}", n % 10, n % 7));
                    let _ = fs::create_dir_all(dir.join("below"));
                    let _ = fs::write(dir.join("below/file"), "x");
                    let _ = fs::hard_link(dir.join("below/file"), dir.join("second"));
                    if n % 3 == 0 {
                        let _ = fs::rename(&dir, tree.join(format!("moved {own}")));
                        let _ = fs::remove_dir_all(tree.join(format!("moved {own}")));
                        let _ = symlink("..", &dir);
                        let _ = fs::remove_file(&dir);
                    }
                    let _ = fs::remove_dir_all(&dir);
                }
            });
        }
        let end = Instant::now() + Duration::from_millis(500);
        let mut runs = 0;
        while Instant::now() < end || runs < 10 {
            let usage = run(&tree.scan().threads(1 + runs % 4));
            assert!(usage.is_complete(), "{usage:?}");
            assert!(usage.files >= 200 && usage.directories >= 11, "{usage:?}");
            runs += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    same_as_du(&tree.0);
}

#[test]
fn mounts_below() {
    let Some(tree) = is_again() else {
        if require(is_root(), "root, to mount") && is_there("unshare") {
            let tree = Tree::new();
            again("scan::mounts_below", &["unshare", "--mount", "--propagation=private"], &tree.0);
        }
        return;
    };
    let at = |path: &str| tree.join(path).to_str().unwrap().to_owned();
    for dir in ["own/sub", "tmpfs", "bind"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    for file in ["own/file", "own/sub/file", "target", "below"] {
        fs::write(tree.join(file), "text").unwrap();
    }
    let mount = |arguments: &[&str]| assert!(Command::new("mount").args(arguments).status().unwrap().success());
    mount(&["-t", "tmpfs", "none", &at("tmpfs")]);
    mount(&["--bind", &at("own"), &at("bind")]);
    fs::write(tree.join("tmpfs/file"), vec![b'x'; 100_000]).unwrap();
    mount(&["--bind", &at("tmpfs/file"), &at("target")]);
    mount(&["--bind", &at("own/file"), &at("below")]);
    let count = |boundary| {
        let usage = run(&Scan::new(&tree).boundary(boundary));
        (usage.files, usage.directories, usage.allocated_bytes)
    };
    let all = |options: &[&str]| du(&tree, options);
    // As `du -x`: the bind mount is of the same device.
    assert_eq!(count(Boundary::SameDevice), (5, 5, all(&["-x", "--block-size=1"])));
    assert_eq!(count(Boundary::Cross), (7, 6, all(&["--block-size=1"])));
    let (files, directories, _) = count(Boundary::SameMount);
    assert_eq!((files, directories), (2, 3));
    // A mount itself is a tree like any other.
    assert_eq!(run(&Scan::new(tree.join("tmpfs"))).files, 1);
    let parts = run_each(&Scan::new(&tree).and(tree.join("bind")).and(tree.join("own")).boundary(Boundary::Cross));
    // It is one directory, wherever it is mounted.
    assert_eq!((parts[1].inside, parts[2].same_as), (Some(0), Some(1)));
    assert_eq!(ScannedTree::inclusive(&parts, 2).unwrap().files, 2);
}

#[test]
fn excluded_by_globs() {
    let tree = Tree::new();
    for file in ["a.log", "a.txt", "x/b.log", "x/cache/1", "x/y/cache/2", "target/3", "x/target/4"] {
        tree.file(file, 1);
    }
    let count = |globs: &[&str]| {
        let mut counts: Vec<_> = [1, 4]
            .into_iter()
            .map(|threads| {
                let scan =
                    globs.iter().try_fold(tree.scan().threads(threads), |scan, glob| scan.exclude(glob)).unwrap();
                let usage = run(&scan);
                (usage.files, usage.directories)
            })
            .collect();
        counts.dedup();
        assert_eq!(counts.len(), 1);
        counts[0]
    };
    assert_eq!(count(&[]), (7, 7));
    assert_eq!(count(&["*.log"]), (5, 7));
    assert_eq!(count(&["cache", "*.{txt,log}"]), (2, 5));
    assert_eq!(count(&["/target"]), (6, 6));
    assert_eq!(count(&["x/*/cache", "target"]), (4, 4));
    assert_eq!(count(&["**/y/**"]), (6, 6));
    assert_eq!(count(&["*"]), (0, 1));
    assert!(tree.scan().exclude("[").unwrap_err().is_config());
}

#[test]
fn budgets_leave_a_part() {
    let tree = Tree::new();
    for n in 0..500 {
        tree.file(format!("{}/{n}", n % 7), 1);
    }
    for threads in [1, 4] {
        let scan = tree.scan().threads(threads);
        let part = run(&scan.clone().max_entries(100));
        assert_eq!((part.entries(), part.partial), (100, Some(Partial::Entries)));
        assert_eq!(run(&scan.clone().max_entries(1)).entries(), 1);
        assert_eq!(run(&scan.clone().max_entries(508)).partial, None);
        assert_eq!(run(&scan.clone().max_duration(Duration::ZERO)).partial, Some(Partial::Time));
        let progress = Progress::new();
        let paced = scan.clone().entries_per_second(1_000).max_duration(Duration::from_millis(100));
        let part = paced.run_with(&Cancel::new(), &progress).unwrap();
        assert_eq!(part.partial, Some(Partial::Time));
        assert!((1..=110).contains(&part.entries()), "{part:?}");
        assert_eq!(progress.entries(), part.entries());
        let all = run(&scan.entries_per_second(1_000_000).max_duration(Duration::from_secs(60)));
        assert!(all.is_complete() && all.entries() == 508, "{all:?}");
    }
}

#[test]
fn a_cancelled_scan_leaves_nothing_behind() {
    let Some(tree) = is_again() else {
        // Where no other test has threads of a scan.
        let tree = Tree::new();
        for n in 0..20_000 {
            tree.file(format!("{}/{n}", n % 20), 0);
        }
        return again("scan::a_cancelled_scan_leaves_nothing_behind", &["env"], &tree.0);
    };
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "appmon-scan").count()
    };
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for round in 0..30 {
        let (cancel, progress) = (Cancel::new(), Progress::new());
        let scan = Scan::new(&tree).threads(4);
        // With and without a pace that makes it wait.
        let scan = if round % 2 == 0 { scan.entries_per_second(10_000) } else { scan };
        let took = std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let result = scan.run_with(&cancel, &progress);
                (result, Instant::now())
            });
            until("something was read", || progress.entries() > 0 || running.is_finished());
            if round == 0 {
                until("its threads run", || threads() == 3);
            }
            let asked = Instant::now();
            cancel.cancel();
            let (result, ended) = running.join().unwrap();
            match result {
                Err(error) => assert!(error.is_cancelled(), "{error}"),
                Ok(usage) => assert_eq!((round % 2, usage.files), (1, 20_000)),
            }
            ended.saturating_duration_since(asked)
        });
        assert!(took < Duration::from_millis(500), "{took:?}");
        until("they are gone", || threads() == 0);
    }
    assert!(
        Scan::new(&tree)
            .run(&{
                let cancel = Cancel::new();
                cancel.cancel();
                cancel
            })
            .unwrap_err()
            .is_cancelled()
    );
    assert_eq!(descriptors(), before);
}

#[test]
fn memory_does_not_grow_with_files() {
    let count = |files: usize| {
        let tree = Tree::new();
        for n in 0..files {
            tree.file(format!("{}/{n:06}", n % 10), 0);
        }
        let scan = tree.scan().threads(1);
        let counted = allocation_counter::measure(|| {
            assert_eq!(run(&scan).files, files as u64);
        });
        (counted.count_total, counted.bytes_max)
    };
    let few = count(100);
    assert_eq!(few, count(10_000));
    assert!(few.1 < 200_000, "{few:?}");
}

#[test]
fn the_largest_files() {
    let tree = Tree::new();
    for (file, pages) in [("a/1", 1), ("b/5", 5), ("c/3", 3), ("c/30", 3), ("d/4", 4), ("a/50", 50)] {
        tree.file(file, pages * 65_536);
    }
    fs::hard_link(tree.join("a/50"), tree.join("A")).unwrap();
    let names = |usage: &Usage| -> Vec<_> {
        usage.largest.iter().map(|file| file.path.strip_prefix(&tree.0).unwrap().to_str().unwrap().to_owned()).collect()
    };
    for threads in [1, 4] {
        let scan = tree.scan().threads(threads).largest(4);
        assert_eq!(names(&run(&scan)), ["A", "b/5", "d/4", "c/3"]);
        let parts = run_each(&scan.and(tree.join("a")).and(tree.join("c")));
        assert_eq!(names(parts[1].usage.as_ref().unwrap()), ["a/50", "a/1"]);
        assert_eq!(names(&ScannedTree::inclusive(&parts, 0).unwrap()), ["A", "b/5", "d/4", "c/3"]);
    }
}

/// A random tree: its entries, and the directories that are roots.
#[derive(Clone, Debug)]
enum Make {
    /// In which of the directories made so far.
    Dir(usize),
    File(usize, usize),
    /// Another name of which of the files made so far.
    Link(usize, usize),
    Symlink(usize),
}

fn makes() -> impl Strategy<Value = Vec<Make>> {
    let make = prop_oneof![
        3 => any::<usize>().prop_map(Make::Dir),
        4 => (any::<usize>(), 0_usize..20_000).prop_map(|(dir, size)| Make::File(dir, size)),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(dir, file)| Make::Link(dir, file)),
        1 => any::<usize>().prop_map(Make::Symlink),
    ];
    proptest::collection::vec(make, 0..60)
}

/// Counts for a root: allocated, apparent, files, directories, further names, and the root around it.
type Counts = (u64, u64, u64, u64, u64, Option<usize>);

/// The plain way: one thread, paths, everything kept.
fn reference(roots: &[PathBuf]) -> Vec<Counts> {
    let mut counts = vec![Counts::default(); roots.len()];
    let mut links = BTreeMap::<_, Vec<(usize, u64, u64)>>::new();
    for (index, root) in roots.iter().enumerate() {
        if roots[..index].contains(root) {
            continue;
        }
        let mut stack = vec![root.clone()];
        while let Some(path) = stack.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let (count, allocated) = (&mut counts[index], meta.blocks() * 512);
            let apparent = if meta.is_dir() { 0 } else { meta.len() };
            if meta.is_dir() || meta.nlink() == 1 {
                count.0 += allocated;
                count.1 += apparent;
                *(if meta.is_dir() { &mut count.3 } else { &mut count.2 }) += 1;
            } else {
                links.entry((meta.dev(), meta.ino())).or_default().push((index, allocated, apparent));
            }
            if meta.is_dir() {
                for entry in fs::read_dir(&path).unwrap() {
                    let below = entry.unwrap().path();
                    match roots.iter().position(|other| *other == below) {
                        Some(other) => counts[other].5 = Some(index),
                        None => stack.push(below),
                    }
                }
            }
        }
    }
    for names in links.values() {
        let first = names.iter().min().unwrap();
        counts[first.0].0 += first.1;
        counts[first.0].1 += first.2;
        counts[first.0].2 += 1;
        names.iter().for_each(|(index, ..)| counts[*index].4 += 1);
        counts[first.0].4 -= 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_counted_right(
        makes in makes(),
        marks in proptest::collection::vec(any::<usize>(), 0..5),
        order in any::<proptest::sample::Index>(),
    ) {
        let tree = Tree::new();
        let (mut dirs, mut files) = (vec![tree.0.clone()], Vec::new());
        for (number, make) in makes.iter().enumerate() {
            match *make {
                Make::Dir(parent) => {
                    let path = dirs[parent % dirs.len()].join(format!("d{number}"));
                    fs::create_dir(&path).unwrap();
                    dirs.push(path);
                }
                Make::File(parent, size) => {
                    let path = dirs[parent % dirs.len()].join(format!("f{number}"));
                    fs::write(&path, vec![0; size]).unwrap();
                    files.push(path);
                }
                Make::Link(parent, file) if !files.is_empty() => {
                    let path = dirs[parent % dirs.len()].join(format!("l{number}"));
                    fs::hard_link(&files[file % files.len()], path).unwrap();
                }
                Make::Symlink(parent) => symlink("..", dirs[parent % dirs.len()].join(format!("s{number}"))).unwrap(),
                Make::Link(..) => {}
            }
        }
        let mut roots = vec![tree.0.clone()];
        roots.extend(marks.iter().map(|mark| dirs[mark % dirs.len()].clone()));
        let first = order.index(roots.len());
        roots.rotate_left(first);
        let expected = reference(&roots);
        let mut largest = Vec::new();
        for threads in [1, 2, 3, 8] {
            let scan = roots[1..].iter().fold(Scan::new(&roots[0]), |scan, root| scan.and(root));
            let scan = scan.threads(threads).largest(5);
            let parts = run_each(&scan);
            let found: Vec<Counts> = parts
                .iter()
                .map(|part| {
                    let usage = part.usage.as_ref().unwrap();
                    prop_assert!(usage.is_complete());
                    let Usage { allocated_bytes, apparent_bytes, files, directories, hard_links, .. } = *usage;
                    Ok((allocated_bytes, apparent_bytes, files, directories, hard_links, part.inside))
                })
                .collect::<std::result::Result<_, TestCaseError>>()?;
            prop_assert_eq!(&found, &expected, "{} threads", threads);
            let all = run(&scan);
            let whole = run(&tree.scan().largest(5));
            prop_assert_eq!(timeless(all), timeless(whole.clone()));
            let number = roots.iter().position(|root| *root == tree.0).unwrap();
            let inclusive = ScannedTree::inclusive(&parts, number).unwrap();
            prop_assert_eq!(inclusive.largest, whole.largest);
            largest.push(parts.into_iter().map(|part| part.usage.unwrap().largest).collect::<Vec<_>>());
        }
        largest.dedup();
        prop_assert_eq!(largest.len(), 1);
    }
}

#[test]
fn the_wire_form() {
    let tree = Tree::new();
    tree.file("a", 1);
    let usage = run(&tree.scan().largest(1).max_entries(9));
    let json = serde_json::to_string(&usage).unwrap();
    assert_eq!(serde_json::from_str::<Usage>(&json).unwrap(), usage);
    assert!(!json.contains("errors") && !json.contains("partial"), "{json}");
}

#[test]
fn a_scan_can_move() -> Result<()> {
    fn sent<T: Send + Sync + Clone + 'static>(value: T) -> T {
        value
    }
    sent(Scan::new("common")).exclude("*.rs")?.run(&sent(Cancel::new())).map(|usage| drop(sent(usage)))?;
    sent(Progress::new());
    Ok(())
}
