//! The entries of real trees, beside `find`.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use appmon::fs::{Entries, Entry, Walk, entries};
use appmon::{Error, Result};
use common::{is_root, require, until};
use futures::channel::oneshot;
use futures::executor::block_on;
use futures::stream::FusedStream;
use futures::{FutureExt, StreamExt, TryStreamExt};

fn tree() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn file(path: impl AsRef<Path>, size: usize) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![b'x'; size]).unwrap();
}

/// All items of a stream, which ends.
fn all(entries: Entries) -> Vec<Result<Entry>> {
    block_on(entries.collect())
}

/// The paths of all entries, sorted; no item is an error.
#[track_caller]
fn paths(entries: Entries) -> Vec<PathBuf> {
    let mut paths: Vec<_> = all(entries).into_iter().map(|entry| entry.unwrap().path).collect();
    paths.sort();
    paths
}

/// The same, relative to the root.
#[track_caller]
fn names(entries: Entries) -> Vec<String> {
    let root = entries.root().to_path_buf();
    paths(entries).iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
}

/// The descriptors of ours that lie in a tree.
fn open_in(root: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    links.filter(|path| path.starts_with(root)).count()
}

/// An entry in the words of `find`.
async fn line(entry: &Entry) -> Result<Vec<Vec<u8>>> {
    let metadata = entry.metadata().await?;
    let kind = entry.file_type;
    let letter = match () {
        () if kind.is_file() => "f",
        () if kind.is_dir() => "d",
        () if kind.is_symlink() => "l",
        () if kind.is_socket() => "s",
        () if kind.is_fifo() => "p",
        () if kind.is_char_device() => "c",
        () => "?",
    };
    let modified = metadata.modified.as_unix_nanos();
    let numbers = [
        entry.depth as u64,
        metadata.apparent_bytes,
        metadata.allocated_bytes / 512,
        metadata.inode,
        metadata.links,
        metadata.uid.into(),
        metadata.gid.into(),
        rustix::fs::makedev(metadata.device.major, metadata.device.minor),
    ];
    let mut line = vec![entry.path.as_os_str().as_bytes().to_vec(), letter.into()];
    line.extend(numbers.map(|number| number.to_string().into_bytes()));
    line.push(format!("{:o}", metadata.permissions).into_bytes());
    line.push(format!("{}.{:09}", modified / 1_000_000_000, modified % 1_000_000_000).into_bytes());
    Ok(line)
}

/// Compares all fields of each entry with the output of `find`; returns the number of entries.
#[track_caller]
fn same_as_find(root: &Path) -> usize {
    let format = r"%p\0%y\0%d\0%s\0%b\0%i\0%n\0%U\0%G\0%D\0%m\0%T@\0";
    let output = Command::new("find").arg(root).args(["-mindepth", "1", "-printf", format]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let fields: Vec<_> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let lines = fields.chunks_exact(12);
    assert_eq!(lines.remainder(), [b""]);
    let mut expected: Vec<Vec<Vec<u8>>> = lines.map(<[_]>::to_vec).collect();
    for line in &mut expected {
        // The length has no meaning for other types than files and links.
        if line[1] != b"f" && line[1] != b"l" {
            line[3] = b"0".to_vec();
        }
        // It prints a digit more than there are.
        let point = line[11].iter().position(|byte| *byte == b'.').unwrap();
        line[11].truncate(point + 10);
    }
    let mut found: Vec<_> = block_on(entries(root).and_then(async |entry| line(&entry).await).try_collect()).unwrap();
    expected.sort();
    found.sort();
    let text = |lines: &[Vec<Vec<u8>>]| -> Vec<String> {
        lines.iter().map(|line| line.join(&b' ').escape_ascii().to_string()).collect()
    };
    assert_eq!(text(&found), text(&expected));
    found.len()
}

/// Makes one of each kind of file, and names of all kinds; returns the socket, which ends with the test.
fn odd(root: &Path) -> UnixListener {
    file(root.join("a/b/small"), 10);
    file(root.join("a/large"), 3 << 20);
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_at(b"x", 1 << 30).unwrap();
    fs::hard_link(root.join("a/large"), root.join("a/b/same")).unwrap();
    symlink("a", root.join("link to a directory")).unwrap();
    symlink(".", root.join("a/loop")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    for name in [&b"\xff\xfe not utf-8"[..], b"new\nline", b" ", b"...", b"-x", b"*", &[b'n'; 255]] {
        file(root.join(OsStr::from_bytes(name)), 5000);
    }
    file(root.join(OsStr::from_bytes(b"dir\xff/\x01/x")), 1);
    fs::create_dir(root.join("empty")).unwrap();
    fs::set_permissions(root.join("empty"), Permissions::from_mode(0o1750)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o700.into(), 0).unwrap();
    if is_root() {
        let (kind, null) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        rustix::fs::mknodat(rustix::fs::CWD, root.join("device"), kind, 0o700.into(), null).unwrap();
    }
    UnixListener::bind(root.join("socket")).unwrap()
}

#[test]
fn all_that_find_finds() {
    let tree = tree();
    let _socket = odd(tree.path());
    file(tree.path().join("down/".repeat(200)).join("file"), 1);
    for n in 0..3000 {
        file(tree.path().join(format!("wide/{n}")), n % 3);
    }
    let count = same_as_find(tree.path());
    assert!(count > 3200, "{count}");
    // However the root is written.
    for path in [tree.path().join("."), tree.path().join("a/../a"), tree.path().join("a/loop/"), "common".into()] {
        same_as_find(&path);
    }
}

#[test]
fn roots_of_all_kinds() {
    let tree = tree();
    file(tree.path().join("dir/file"), 1);
    symlink("dir", tree.path().join("link")).unwrap();
    assert_eq!(paths(entries(tree.path().join("link"))), [tree.path().join("link/file")], "as `ls link/` does");
    fs::create_dir(tree.path().join("empty")).unwrap();
    assert_eq!(names(entries(tree.path().join("empty"))), [""; 0]);

    let fails = |path: &Path| -> Error {
        let mut entries = entries(path);
        let error = block_on(entries.next()).unwrap().unwrap_err();
        assert_eq!(error.path(), Some(path), "{error}");
        assert!(block_on(entries.next()).is_none() && entries.is_terminated(), "and nothing else: {error}");
        assert!(block_on(entries.next()).is_none(), "{error}");
        error
    };
    assert!(fails(&tree.path().join("nowhere")).is_not_found());
    assert!(fails(Path::new("")).is_not_found());
    assert!(fails(&tree.path().join("dir/file")).to_string().contains("Not a directory"));
    fails(Path::new(OsStr::from_bytes(b"a\0b")));
}

#[test]
fn unreadable_directories_are_errors_and_the_walk_goes_on() {
    const TREE: &str = "APPMON_TEST_TREE";
    if let Some(tree) = std::env::var_os(TREE) {
        return with_closed_directories(Path::new(&tree));
    }
    // Where anybody may go.
    let tree = tempfile::tempdir_in("/tmp").unwrap();
    for name in ["open", "closed", "closed too", "listable", "after"] {
        file(tree.path().join(name).join("file"), 1);
    }
    let set = |name, mode| fs::set_permissions(tree.path().join(name), Permissions::from_mode(mode)).unwrap();
    set("", 0o755);
    set("closed", 0o000);
    set("closed too", 0o000);
    set("listable", 0o744);
    if is_root() {
        let is_there = Command::new("setpriv").arg("--version").output().is_ok();
        if require(is_there, "setpriv") {
            as_nobody("entries::unreadable_directories_are_errors_and_the_walk_goes_on", TREE, tree.path());
        }
    } else {
        set("listable", 0o444);
        with_closed_directories(tree.path());
    }
    ["closed", "closed too", "listable"].iter().for_each(|name| set(name, 0o700));
}

/// Runs a test of this program again, without the rights of root.
#[track_caller]
fn as_nobody(test: &str, variable: &str, tree: &Path) {
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    fs::copy(std::env::current_exe().unwrap(), place.path().join("entries")).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(place.path().join("entries"))
        .args(["--exact", test, "--nocapture"])
        .env(variable, tree)
        .current_dir("/tmp")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

fn with_closed_directories(tree: &Path) {
    let (found, errors): (Vec<_>, Vec<_>) = all(entries(tree)).into_iter().partition(Result::is_ok);
    let found: BTreeSet<_> = found.into_iter().map(|entry| entry.unwrap().path).collect();
    let expected = ["after", "after/file", "closed", "closed too", "listable", "listable/file", "open", "open/file"];
    assert_eq!(found, expected.map(|name| tree.join(name)).into());
    let errors: Vec<_> = errors.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(Error::is_denied), "{errors:?}");
    let at: BTreeSet<_> = errors.iter().map(|error| error.path().unwrap().to_path_buf()).collect();
    assert_eq!(at, ["closed", "closed too"].map(|name| tree.join(name)).into());
    // The directory comes before its error.
    let items = all(entries(tree));
    let entry = items.iter().position(|item| item.as_ref().is_ok_and(|entry| entry.path.ends_with("closed")));
    let error = items.iter().position(|item| item.as_ref().is_err_and(|e| e.path().unwrap().ends_with("closed")));
    assert_eq!(entry.unwrap() + 1, error.unwrap());
    // Nor is it opened when it is left out with its tree.
    let skip = async |entry: Entry| {
        if entry.path.to_string_lossy().contains("closed") { Walk::SkipTree } else { Walk::Keep }
    };
    assert_eq!(names(entries(tree).choose(skip)).len(), 6);
    // In a directory that can only be listed the names are known, and no more.
    let listed = Entry::clone(items.iter().flatten().find(|entry| entry.path.ends_with("listable/file")).unwrap());
    let error = block_on(listed.metadata()).unwrap_err();
    assert!(error.is_denied() && error.path() == Some(&listed.path), "{error}");
}

#[test]
fn paths_that_are_too_long_are_errors() {
    let tree = tree();
    let name = "n".repeat(200);
    let mut dir = rustix::fs::open(tree.path(), rustix::fs::OFlags::DIRECTORY, 0.into()).unwrap();
    for _ in 0..30 {
        rustix::fs::mkdirat(&dir, &*name, 0o700.into()).unwrap();
        dir = rustix::fs::openat(&dir, &*name, rustix::fs::OFlags::DIRECTORY, 0.into()).unwrap();
    }
    file(tree.path().join("z"), 1);
    let (found, errors): (Vec<_>, Vec<_>) = all(entries(tree.path())).into_iter().partition(Result::is_ok);
    let [error] = &*errors.into_iter().map(Result::unwrap_err).collect::<Vec<_>>() else { panic!("one error") };
    assert!(error.path().unwrap().as_os_str().len() > 4095, "{error}");
    // The last of them is there, and cannot be opened.
    assert_eq!(found.len(), error.path().unwrap().strip_prefix(tree.path()).unwrap().components().count() + 1);
    // `std` has no way to remove it.
    Command::new("rm").arg("-rf").arg(tree.path()).status().unwrap();
}

#[test]
fn removed_entries_are_no_errors() {
    let tree = tree();
    file(tree.path().join("dir/file"), 1);
    file(tree.path().join("other"), 1);
    // Right before it is opened.
    let gone = async |entry: Entry| {
        if entry.path.ends_with("dir") {
            fs::remove_dir_all(&entry.path).unwrap();
        }
        Walk::Keep
    };
    assert_eq!(names(entries(tree.path()).choose(gone)), ["dir", "other"]);
    let entry = block_on(entries(tree.path()).next()).unwrap().unwrap();
    fs::remove_file(tree.path().join("other")).unwrap();
    let error = block_on(entry.metadata()).unwrap_err();
    assert!(error.is_not_found() && error.path() == Some(&entry.path));
    // The root, too, when it has been opened.
    file(tree.path().join("a"), 1);
    file(tree.path().join("b"), 1);
    let mut walk = entries(tree.path());
    block_on(walk.next()).unwrap().unwrap();
    tree.close().unwrap();
    assert!(block_on(walk.try_collect::<Vec<_>>()).is_ok());
}

#[test]
fn entries_left_out() {
    let tree = tree();
    for name in ["a/1", "a/b/2", "skip/3", "skip/b/4", "skip tree/5", "skip tree/b/6", "7"] {
        file(tree.path().join(name), 1);
    }
    let asked = Arc::new(Mutex::new(Vec::new()));
    let choose = |asked: &Arc<Mutex<Vec<String>>>| {
        let asked = Arc::clone(asked);
        move |entry: Entry| {
            let name = entry.path.file_name().unwrap().to_str().unwrap().to_owned();
            asked.lock().unwrap().push(name.clone());
            async move {
                match &*name {
                    "skip" => Walk::Skip,
                    "skip tree" | "7" => Walk::SkipTree,
                    _ => Walk::Keep,
                }
            }
        }
    };
    let once = entries(tree.path()).choose(choose(&asked));
    let left = ["a", "a/1", "a/b", "a/b/2", "skip/3", "skip/b", "skip/b/4"];
    assert_eq!(names(once), left);
    let mut names_asked = std::mem::take(&mut *asked.lock().unwrap());
    names_asked.sort();
    assert_eq!(names_asked, ["1", "2", "3", "4", "7", "a", "b", "b", "skip", "skip tree"], "each once");

    // Several are asked in turn; the strictest counts.
    let later = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&later);
    let record = move |entry: Entry| {
        recorded.lock().unwrap().push(entry.path.file_name().unwrap().to_str().unwrap().to_owned());
        async { Walk::Keep }
    };
    let no_b = async |entry: Entry| if entry.path.ends_with("b") { Walk::SkipTree } else { Walk::Keep };
    let twice = entries(tree.path()).choose(choose(&asked)).choose(no_b).choose(record);
    assert_eq!(names(twice), ["a", "a/1", "skip/3"]);
    let mut names_asked = std::mem::take(&mut *later.lock().unwrap());
    names_asked.sort();
    assert_eq!(names_asked, ["1", "3", "a", "skip"], "not about what is out already");

    // Those of both worlds work on the same stream.
    let files = entries(tree.path()).try_filter(|entry| std::future::ready(entry.file_type.is_file()));
    assert_eq!(block_on(files.try_collect::<Vec<_>>()).unwrap().len(), 7);
    let top = |entry: &Result<Entry>| std::future::ready(entry.as_ref().is_ok_and(|entry| entry.depth == 1));
    assert_eq!(block_on(StreamExt::filter(entries(tree.path()), top).count()), 4);
    let all = tokio_stream::StreamExt::filter(entries(tree.path()), |entry| entry.is_ok());
    assert_eq!(block_on(StreamExt::count(all)), 13);
}

#[test]
fn a_choice_may_wait_and_read() {
    let tree = tree();
    file(tree.path().join("large"), 2000);
    file(tree.path().join("small"), 20);
    let large = async |entry: Entry| match entry.metadata().await {
        Ok(metadata) if metadata.apparent_bytes > 1000 => Walk::Keep,
        _ => Walk::Skip,
    };
    assert_eq!(names(entries(tree.path()).choose(large)), ["large"]);

    let (asked, mut has_asked) = futures::channel::mpsc::unbounded();
    let walk = entries(tree.path()).choose(move |_| {
        let (answer, answered) = oneshot::channel();
        asked.unbounded_send(answer).unwrap();
        async move { answered.await.unwrap() }
    });
    let answers = async {
        for answer in [Walk::Skip, Walk::Keep] {
            has_asked.next().await.unwrap().send(answer).unwrap();
        }
    };
    let (found, ()) = block_on(futures::future::join(walk.collect::<Vec<_>>(), answers));
    assert_eq!(found.len(), 1);
}

#[test]
fn nothing_is_read_until_it_is_polled() {
    let tree = tree();
    let root = tree.path().join("later");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let mut walk = entries(&root).choose(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Walk::Keep }
    });
    for n in 0..100 {
        file(root.join(format!("{n}/file")), 1);
    }
    for n in 1..=3 {
        assert!(block_on(walk.next()).unwrap().is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), n, "one entry at a time");
    }
    assert_eq!(block_on(walk.count()), 197);
}

#[test]
fn dropped_on_the_way_nothing_is_left() {
    let tree = tree();
    file(tree.path().join("down/".repeat(50)).join("file"), 1);
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let mut walk = entries(tree.path()).choose(move |_| {
        let _ = &holds;
        async { Walk::Keep }
    });
    let kept: Vec<_> = (0..30).map(|_| block_on(walk.next()).unwrap().unwrap()).collect();
    assert!(open_in(tree.path()) > 20, "those on the way down");
    // A call to the pool is under way.
    let _ = walk.next().now_or_never();
    drop(walk);
    until("its directories are closed", || open_in(tree.path()) == 0);
    assert_eq!((Arc::strong_count(&held), kept.len()), (1, 30));
}

#[test]
fn entries_keep_nothing_open() {
    let tree = tree();
    for n in 0..300 {
        file(tree.path().join(format!("{n}/file")), 1);
    }
    let found: Vec<Entry> = block_on(entries(tree.path()).try_collect()).unwrap();
    assert_eq!((found.len(), open_in(tree.path())), (600, 0));
    assert!(found.iter().all(|entry| block_on(entry.metadata()).is_ok()));
}

#[test]
fn a_dropped_poll_loses_nothing() {
    let tree = tree();
    for n in 0..200 {
        file(tree.path().join(format!("{}/{n}", n % 7)), 1);
    }
    let mut walk = entries(tree.path());
    let mut found = Vec::new();
    while !walk.is_terminated() {
        // Dropped at once, with a call under way, and then awaited.
        if let Some(Some(entry)) = walk.next().now_or_never() {
            found.push(entry.unwrap().path);
        }
        found.extend(block_on(walk.next()).map(|entry| entry.unwrap().path));
    }
    found.sort();
    assert_eq!(found, paths(entries(tree.path())));
}

#[test]
fn a_choice_that_panics_ends_the_stream() {
    let tree = tree();
    file(tree.path().join("file"), 1);
    let mut walk = entries(tree.path()).choose(|_| async { panic!("a choice of the test") });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(walk.next())));
    assert!(panicked.is_err());
    assert!(block_on(walk.next()).is_none() && walk.is_terminated());
}

#[tokio::test]
async fn in_tasks_of_tokio() {
    let tree = tree();
    file(tree.path().join("a/b"), 7);
    let root = tree.path().to_path_buf();
    let sizes = tokio::spawn(async move {
        let sizes = entries(root).and_then(async |entry| Ok(entry.metadata().await?.apparent_bytes));
        sizes.try_collect::<Vec<_>>().await
    });
    assert_eq!(sizes.await.unwrap().unwrap(), [0, 7]);
}
