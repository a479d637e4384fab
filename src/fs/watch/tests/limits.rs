//! Limits: cases in which events do not report everything.

use std::fs::{File, hard_link};
use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use super::super::{Reason, entry_cache};
use super::*;

#[test]
fn lost_events() {
    let mut rig = Rig::new();
    for n in 0..30 {
        rig.mkdir(&format!("{n}"));
    }
    rig.check();
    let most: usize =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let flood = |rig: &Rig| {
        for name in ["0/a", "0/b"] {
            rig.write(name, 1);
        }
        let files = [File::open(rig.path("0/a")).unwrap(), File::open(rig.path("0/b")).unwrap()];
        for n in 0..most + 10 {
            files[n % 2].set_modified(std::time::SystemTime::now()).unwrap();
        }
        rig.write("29/lost", 50_000);
        rig.mkdir("28/lost/too");
        rig.write("28/lost/too/f", 50_000);
    };
    flood(&rig);
    let after = rig.check();
    assert!(after.read_in_turn >= 30, "{after:?}");
    assert_eq!(rig.check().mode, Mode::Incremental);
    // Again, too soon: the overflow is reported until everything was read again.
    std::fs::remove_dir_all(rig.path("28/lost")).unwrap();
    flood(&rig);
    let again = rig.refresh();
    assert!(!again.is_settled);
    assert_eq!(again.mode, Mode::Degraded(Reason::Overflow));
    rig.refresh_until_current();
    rig.write("28/lost/too/f", 1);
    assert_eq!(rig.check().dirty_read, 1);
    rig.audit();
}

#[test]
fn few_watches() {
    let mut rig = Rig::new();
    rig.watched = WatchedTree::new(&rig.scan).watches(5).ttl(30 * SECOND);
    for n in 0..10 {
        rig.mkdir(&format!("{n}/deep"));
    }
    let first = rig.check();
    assert_eq!((first.watches, first.mode), (5, Mode::Degraded(Reason::Watches)));
    for n in 0..10 {
        rig.write(&format!("{n}/f"), 5000);
        rig.write(&format!("{n}/deep/f"), 5000);
    }
    // Changes in watched directories are found at once, in the others when their TTL is over.
    assert_eq!(rig.refresh().dirty_read, 4);
    rig.now = rig.now.plus(30 * SECOND);
    let later = rig.check();
    assert_eq!(later.read_in_turn, 16);
    // Watches that become free are used for other directories.
    for n in 0..8 {
        std::fs::remove_dir_all(rig.path(&format!("{n}"))).unwrap();
    }
    rig.refresh();
    rig.now = rig.now.plus(30 * SECOND);
    let last = rig.check();
    assert_eq!((last.watches, last.mode), (5, Mode::Incremental));
    // A second name in a directory without a watch, of a file in one that has one.
    rig.mkdir("8/more");
    rig.refresh();
    hard_link(rig.path("8/f"), rig.path("8/more/f")).unwrap();
    rig.now = rig.now.plus(30 * SECOND);
    rig.check();
    rig.audit();
}

#[test]
fn no_watch_at_all() {
    let mut rig = Rig::new();
    rig.watched = WatchedTree::new(&rig.scan).watches(0).ttl(30 * SECOND);
    rig.mkdir("a/b");
    assert_eq!(rig.check().watches, 0);
    rig.write("a/b/f", 50_000);
    rig.mkdir("a/c/d");
    hard_link(rig.path("a/b/f"), rig.path("a/c/d/f")).unwrap();
    rig.now = rig.now.plus(30 * SECOND);
    rig.check();
    std::fs::rename(rig.path("a/b"), rig.path("b")).unwrap();
    std::fs::remove_dir_all(rig.path("a/c")).unwrap();
    rig.now = rig.now.plus(30 * SECOND);
    rig.check();
    rig.audit();
}

#[test]
fn stores_by_mmap_are_found_by_verification() {
    let mut rig = Rig::new();
    rig.watched = WatchedTree::new(&rig.scan).verify(100 * SECOND);
    for n in 0..9 {
        rig.mkdir(&format!("{n}"));
    }
    // Larger holes are asked for at each refresh.
    File::create(rig.path("5/hole")).unwrap().set_len(60 << 10).unwrap();
    // It is open before the tree is watched, and stays so: only the stores are between two refreshes.
    let script = "import mmap, sys\n\
        f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0)\n\
        print('open', flush=True); sys.stdin.readline()\n\
        m[:] = b'x' * len(m); m.flush()\n\
        print('stored', flush=True); sys.stdin.readline()";
    let pipe = std::process::Stdio::piped;
    let child =
        Command::new("python3").arg("-c").arg(script).arg(rig.path("5/hole")).stdin(pipe()).stdout(pipe()).spawn();
    if !require(child.is_ok(), "python3") {
        return;
    }
    let mut child = child.unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "open\n");
    rig.check();
    let begun = rig.now;
    stdin.write_all(b"\n").unwrap();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "open\nstored\n");
    let mut found = None;
    for _ in 0..100 {
        let watched = rig.refresh();
        assert_eq!(watched.dirty_read, 0);
        assert!(watched.verified.directories <= 1);
        if watched.drift.bytes > 0 {
            found = Some(watched.drift);
        }
    }
    let drift = found.unwrap();
    assert!(drift.bytes >= 60 << 10);
    assert_eq!((drift.since, drift.total_bytes), (Some(begun), drift.bytes));
    drop(stdin);
    child.wait().unwrap();
    let after = rig.check();
    assert_eq!(after.drift.total_bytes, drift.bytes);
    assert!(after.verified.at >= begun);
}

#[test]
fn reported_changes_are_no_drift() {
    let mut rig = Rig::new();
    rig.watched = WatchedTree::new(&rig.scan).verify(SECOND);
    rig.mkdir("a");
    rig.check();
    for n in 0..10 {
        rig.write("a/f", 10_000 * n);
        rig.write(&format!("{n}"), 10_000 * n);
        let watched = rig.check();
        assert_eq!(watched.drift.total_bytes, 0);
    }
}

#[test]
fn unreadable_entries() {
    use rustix::fs::Mode;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    // This thread, and those it starts, drop the capabilities of root.
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).unwrap();
    let mut rig = Rig::new();
    let mode = |rig: &Rig, path: &str, bits: u32| rustix::fs::chmod(rig.path(path), Mode::from_raw_mode(bits)).unwrap();
    for dir in ["closed/deep", "blind", "open/deep"] {
        rig.mkdir(dir);
        rig.write(&format!("{dir}/f"), 5000);
    }
    mode(&rig, "closed", 0);
    // Its names can be read, and nothing can be asked about them.
    mode(&rig, "blind", 0o400);
    let first = rig.check();
    let usage = first.usage[0].as_ref().unwrap();
    assert_eq!((usage.errors.count, usage.errors.denied), (2, 2));
    let scanned = rig.scan.run(&Cancel::new()).unwrap();
    assert_eq!((&usage.errors, usage.partial), (&scanned.errors, scanned.partial));
    assert_eq!(rig.check().dirty_read, 0);
    mode(&rig, "closed", 0o700);
    rig.check();
    rig.write("closed/deep/f", 50_000);
    rig.check();
    mode(&rig, "blind", 0o700);
    assert!(rig.check().usage[0].as_ref().unwrap().is_complete());
    mode(&rig, "open/deep", 0);
    rig.check();
    mode(&rig, "open", 0);
    rig.check();
    mode(&rig, "open", 0o700);
    rig.check();
    mode(&rig, "open/deep", 0o700);
    rig.check();
    mode(&rig, "", 0);
    assert!(rig.check().usage[0].as_ref().unwrap_err().is_denied());
    mode(&rig, "", 0o700);
    assert!(rig.refresh_until_current().usage[0].as_ref().unwrap().is_complete());
    rig.audit();
}

/// One refresh, after which nothing rests from the last reading, however long that took.
#[track_caller]
fn rested(rig: &mut Rig) {
    rig.now = rig.now.plus(1000 * SECOND);
    rig.check();
}

#[test]
fn large_directories_are_read_once() {
    let mut rig = Rig::of(in_memory());
    rig.mkdir("large");
    let count = entry_cache::LARGE as usize * 2;
    for n in 0..count {
        rig.write(&format!("large/{n}"), n % 3 * 4000);
    }
    rested(&mut rig);
    rig.write("large/7", 100_000);
    rested(&mut rig);
    let node = |rig: &Rig| rig.watched.tree.nodes.child(root(rig), b"large").unwrap();
    let read_at = |rig: &Rig| rig.watched.tree.nodes.get(node(rig)).unwrap().read_at;
    let before = read_at(&rig);
    // From now on an event costs a question, and no reading.
    rig.write("large/7", 200_000);
    rig.write("large/8", 200_000);
    rig.write("large/new", 200_000);
    std::fs::remove_file(rig.path("large/9")).unwrap();
    std::fs::rename(rig.path("large/10"), rig.path("large/11")).unwrap();
    rested(&mut rig);
    std::fs::rename(rig.path("large/new"), rig.path("new")).unwrap();
    std::fs::write(rig.path("large/12"), b"").unwrap();
    rested(&mut rig);
    assert_eq!(read_at(&rig), before);
    rig.audit();
    // A directory, or a name of a file with several, takes a reading.
    rig.mkdir("large/directory");
    rig.write("large/directory/f", 5000);
    rested(&mut rig);
    hard_link(rig.path("large/13"), rig.path("large/14.link")).unwrap();
    rested(&mut rig);
    hard_link(rig.path("new"), rig.path("large/new")).unwrap();
    rested(&mut rig);
    rig.write("large/new", 5);
    rested(&mut rig);
    // So many at once are as soon read.
    for n in 100..count {
        rig.write(&format!("large/{n}"), n % 2 * 4000);
    }
    rested(&mut rig);
    rig.audit();
    // It is kept as long as it serves.
    assert!(rig.watched.tree.cached > 0);
    for _ in 0..2 {
        rig.now = rig.now.plus(1_000_000 * SECOND);
        rested(&mut rig);
    }
    assert_eq!(rig.watched.tree.cached, 0);
    rig.write("large/7", 1);
    rested(&mut rig);
    assert!(rig.watched.tree.cached > 0);
    std::fs::remove_dir_all(rig.path("large")).unwrap();
    rested(&mut rig);
    assert_eq!(rig.watched.tree.cached, 0);
    rig.audit();
}

#[test]
fn one_change_in_a_large_directory_is_read_at_once() {
    let mut rig = Rig::of(in_memory());
    rig.mkdir("large");
    for n in 0..entry_cache::LARGE * 2 {
        rig.write(&format!("large/{n}"), 1);
    }
    rig.check();
    // No time passes: there is no pause after the first reading, and the next changes are checked by name.
    for n in 0..3 {
        rig.write(&format!("large/{n}"), 100_000);
        let watched = rig.watched.refresh(rig.now, &Cancel::new()).unwrap();
        assert!(watched.is_settled, "{n}: {watched:?}");
        rig.compare(&watched);
    }
    // Nor from one in turn.
    for _ in 0..2 {
        rig.now = rig.now.plus(1_000_000 * SECOND);
        rig.check();
    }
    assert_eq!(rig.watched.tree.cached, 0);
    rig.write("large/5", 100_000);
    let watched = rig.watched.refresh(rig.now, &Cancel::new()).unwrap();
    assert!(watched.is_settled);
    rig.compare(&watched);
    rig.audit();
}

fn root(rig: &Rig) -> super::super::nodes::NodeId {
    match rig.watched.tree.roots.all[0].place {
        super::super::roots::RootPlace::Directory(_, node) => node,
        place => panic!("{place:?}"),
    }
}
