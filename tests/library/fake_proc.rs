//! The source of processes on a directory that looks like /proc: states that no live kernel produces on request.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use appmon::process::{Pattern, ProcessId, ProcessState, Service};
use appmon::snapshot::{Notice, Skipped};
use appmon::stream::Change;
use appmon::{
    Cancel, Fields, ProcessSample, ProcessTree, Processes, Reading, Select, Snapshot, SnapshotStreamExt, SourceExt,
    Text,
};
use futures::StreamExt;
use rustix::fs::{FileType, Mode, OFlags};

use common::{find, get, next, tick, ticks, until};

/// The part of a process that a test changes.
#[derive(Clone)]
struct Fake {
    pid: u32,
    comm: Vec<u8>,
    state: char,
    ppid: u32,
    user_ticks: u64,
    threads: u32,
    start_ticks: u64,
    start_stack: u64,
    flags: u32,
}

impl Fake {
    fn new(pid: u32, comm: impl AsRef<[u8]>) -> Self {
        let comm = comm.as_ref().to_vec();
        Self {
            pid,
            comm,
            state: 'S',
            ppid: 1,
            user_ticks: 5,
            threads: 1,
            start_ticks: 1000,
            start_stack: 0x7ffc_0000_1000,
            flags: 4_194_304,
        }
    }

    fn directory(&self, root: &Path) -> PathBuf {
        root.join(self.pid.to_string())
    }

    /// Writes its stat in place.
    fn stat(&self, root: &Path) {
        let Self { pid, state, ppid, user_ticks, threads, start_ticks, start_stack, flags, .. } = self;
        let mut line = format!("{pid} (").into_bytes();
        line.extend_from_slice(&self.comm);
        line.extend_from_slice(
            format!(
                ") {state} {ppid} {pid} {pid} 0 -1 {flags} 100 0 2 0 {user_ticks} 3 0 0 20 0 {threads} 0 {start_ticks} 4096000 \
                 250 18446744073709551615 94000000000000 94000000100000 {start_stack} 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 \
                 94000000200000 94000000300000 94000000400000 1 2 3 4 0\n"
            )
            .as_bytes(),
        );
        std::fs::write(self.directory(root).join("stat"), line).unwrap();
    }

    fn cmdline(&self, root: &Path, cmdline: &[u8]) {
        std::fs::write(self.directory(root).join("cmdline"), cmdline).unwrap();
    }

    fn io(&self, root: &Path, read_chars: u64) {
        let text = format!(
            "rchar: {read_chars}\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n"
        );
        std::fs::write(self.directory(root).join("io"), text).unwrap();
    }

    /// Writes all its files.
    fn write(&self, root: &Path) {
        let directory = self.directory(root);
        std::fs::create_dir_all(&directory).unwrap();
        self.stat(root);
        self.io(root, 1000);
        self.cmdline(root, format!("/bin/{}\0--of={}\0", self.comm.escape_ascii(), self.pid).as_bytes());
        std::fs::write(directory.join("cgroup"), "0::/system.slice/fake.service\n").unwrap();
        let _ = std::os::unix::fs::symlink("/bin/fake", directory.join("exe"));
        let _ = std::os::unix::fs::symlink("/srv", directory.join("cwd"));
    }
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("sys/kernel/random")).unwrap();
    std::fs::write(root.path().join("sys/kernel/random/boot_id"), "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab\n").unwrap();
    // Not the pids of this one, whatever they say.
    std::fs::write(root.path().join("loadavg"), "0.00 0.00 0.00 1/2 3\n").unwrap();
    std::fs::create_dir(root.path().join("self")).unwrap();
    Fake::new(1, "init").write(root.path());
    root
}

#[test]
fn a_directory_is_read_as_a_proc() {
    let root = root();
    let root = root.path();
    let odd = Fake { state: 'R', threads: 7, ..Fake::new(42, b"a) b (\xff\n") };
    odd.write(root);
    let bare = Fake { start_ticks: 7, ..Fake::new(43, "bare") };
    bare.write(root);
    for file in ["io", "cgroup", "cmdline"] {
        std::fs::remove_file(bare.directory(root).join(file)).unwrap();
    }
    std::fs::create_dir(root.join("44")).unwrap();
    std::fs::write(root.join("44/stat"), "44 (broken").unwrap();
    std::fs::create_dir(root.join("45")).unwrap();
    for other in ["46x", "0x2f", "-47", "99999999999999999999"] {
        std::fs::create_dir(root.join(other)).unwrap();
    }
    let fields = Fields::DEFAULT | Fields::CMDLINE | Fields::STAT | Fields::STATUS | Fields::SCHEDSTAT;
    let mut source = Processes::new().root(root).fields(fields).slow_budget(Duration::from_secs(300));
    let snapshot = tick(&mut source);
    assert_eq!(snapshot.notices, [Notice::NoPulse]);
    assert_eq!(snapshot.boot_id.to_string(), "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab");
    assert_eq!(snapshot.samples.iter().map(|sample| sample.id.pid).collect::<Vec<_>>(), [1, 42, 43]);
    assert_eq!((snapshot.skipped.malformed, snapshot.skipped.vanished), (1, 1));
    assert_eq!((snapshot.skipped.denied, snapshot.skipped.failed, snapshot.skipped.fields), (0, 0, 0));

    let sample = get(&snapshot, 42);
    assert_eq!(sample.id, ProcessId { pid: 42, start_ticks: 1000 });
    assert_eq!(sample.info.name.as_bytes(), b"a) b (\xff\n");
    assert_eq!((sample.state, sample.ppid, sample.threads), (ProcessState::Running, 1, 7));
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    assert_eq!(
        (sample.cpu.user_ns, sample.cpu.system_ns, sample.cpu.total_ns),
        (5 * tick_ns, 3 * tick_ns, 8 * tick_ns)
    );
    assert_eq!((sample.faults.minor, sample.faults.major), (100, 2));
    assert_eq!(sample.memory.virtual_bytes, 4_096_000);
    assert_eq!(sample.memory.rss_bytes, 250 * rustix::param::page_size() as u64);
    assert_eq!(sample.io.value().unwrap().read_chars, Some(1000));
    assert_eq!(sample.io.value().unwrap().cancelled_write_bytes, Some(7));
    assert_eq!(sample.info.exe.value().unwrap().as_os_str().as_bytes(), b"/bin/fake");
    assert_eq!(sample.info.cwd.value().unwrap().as_os_str().as_bytes(), b"/srv");
    assert_eq!(*sample.info.cgroup.value().unwrap(), "/system.slice/fake.service");
    assert_eq!(sample.info.cmdline.value().unwrap()[1], "--of=42");
    assert_eq!(sample.stat.value().unwrap().comm.as_bytes(), b"a) b (\xff\n");
    assert_eq!(sample.status, Reading::Unsupported);
    assert_eq!(sample.schedstat, Reading::Unsupported);
    let owner = std::fs::metadata(root.join("42")).unwrap();
    assert_eq!(sample.info.uid, std::os::unix::fs::MetadataExt::uid(&owner));

    let sample = get(&snapshot, 43);
    assert_eq!(sample.io, Reading::Unsupported);
    assert_eq!(sample.info.cgroup, Reading::Unsupported);
    assert_eq!(sample.info.cmdline, Reading::Unsupported);
    assert_eq!(sample.info.exe.value().unwrap().as_os_str().as_bytes(), b"/bin/fake");

    // Both ways of the wire form, with bytes that are no text.
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<appmon::Snapshot<ProcessSample>>(&json).unwrap(), snapshot);

    // A broken file is tried again, and counted again as long as it is broken.
    let snapshot = tick(&mut source);
    assert_eq!((snapshot.skipped.malformed, snapshot.skipped.vanished), (1, 1));
    Fake::new(44, "mended").write(root);
    let snapshot = tick(&mut source);
    assert_eq!(get(&snapshot, 44).info.name, "mended");
    assert_eq!(snapshot.skipped.vanished, 1);
    assert_eq!(snapshot.skipped.malformed, 0);
}

#[test]
fn a_fault_of_one_file_concerns_that_field_alone() {
    let directory = root();
    let root = directory.path();
    let odd = Fake::new(42, "odd");
    let missing = Fake::new(43, "missing");
    for fake in [&odd, &missing] {
        fake.write(root);
    }
    let files = |fake: &Fake, files: &[(&str, &str)]| {
        for (file, text) in files {
            let _ = std::fs::remove_file(fake.directory(root).join(file));
            std::fs::write(fake.directory(root).join(file), text).unwrap();
        }
    };
    let status = "Name:\todd\nState:\tS (sleeping)\nTgid:\t42\nPid:\t42\nPPid:\t1\nThreads:\t1\n";
    files(&odd, &[("status", status), ("io", "rchar: 11\nwrite_bytes: 12\n"), ("cgroup", "none\n")]);
    files(
        &odd,
        &[("statm", "many\n"), ("schedstat", ""), ("limits", "all\n"), ("oom_score", "x"), ("oom_score_adj", "-17")],
    );
    files(&odd, &[("smaps_rollup", "odd\n")]);
    for file in ["io", "cgroup", "cmdline", "exe", "cwd"] {
        std::fs::remove_file(missing.directory(root).join(file)).unwrap();
    }
    // A file that cannot be read at all: a directory in its place.
    std::fs::create_dir(missing.directory(root).join("cgroup")).unwrap();
    let source = || Processes::new().root(root).fields(Fields::all()).slow_budget(Duration::from_secs(300));
    let mut source = source().max_age(Duration::MAX);
    for nth in 0..4 {
        let snapshot = tick(&mut source);
        let sample = get(&snapshot, 42);
        let status = sample.status.value().unwrap();
        assert_eq!((status.pid, status.uid, status.gid, status.threads), (42, None, None, Some(1)));
        let io = sample.io.value().unwrap();
        assert_eq!((io.read_chars, io.write_bytes, io.read_bytes), (Some(11), Some(12), None));
        assert_eq!(serde_json::to_value(io).unwrap(), serde_json::json!({ "read_chars": 11, "write_bytes": 12 }));
        assert_eq!(sample.info.cgroup, Reading::Failed);
        assert_eq!((&sample.statm, &sample.schedstat), (&Reading::Failed, &Reading::Failed));
        let oom = sample.oom.value().unwrap();
        assert_eq!((oom.score, oom.score_adj), (None, Some(-17)), "one of the two files is odd");
        assert_eq!((&sample.limits, &sample.smaps_rollup), (&Reading::Failed, &Reading::Failed));
        assert_eq!(sample.environ, Reading::Unsupported);
        assert!(sample.info.exe.value().is_some() && sample.info.cmdline.value().is_some());
        // As many as there are in the samples, at every tick.
        let json = serde_json::to_string(&snapshot).unwrap();
        let failed = json.matches(r#"{"unavailable":"failed"}"#).count() as u64;
        assert!(failed >= 6, "{json}");
        assert_eq!(snapshot.skipped.fields, failed, "tick {nth}: {json}");
        assert_eq!((snapshot.skipped.malformed, snapshot.skipped.failed), (0, 0));

        let info = &get(&snapshot, 43).info;
        assert_eq!((&info.exe, &info.cwd), (&Reading::Unsupported, &Reading::Unsupported));
        assert_eq!((&info.cmdline, &info.cgroup), (&Reading::Unsupported, &Reading::Failed));
        assert_eq!(get(&snapshot, 43).io, Reading::Unsupported);
    }

    // By hand: the process is there, and so are its readable files.
    let procfs = appmon::ProcFs::new(root).unwrap();
    let process = procfs.process(42).unwrap();
    assert_eq!(process.id(), ProcessId { pid: 42, start_ticks: 1000 });
    assert_eq!(process.status().unwrap().uid, None);
    assert_eq!(process.io().unwrap().read_chars, Some(11));
    assert!(process.limits().unwrap_err().is_malformed() && process.cgroup().unwrap_err().is_malformed());
    assert!(process.environ().unwrap_err().is_unsupported());
    for text in ["", "no lines\n", "Name:\tx\nTgid:\t42\n", "Tgid:\tx\n"] {
        files(&odd, &[("status", text)]);
        assert!(procfs.process(42).unwrap().status().unwrap_err().is_malformed(), "{text}");
        assert_eq!(procfs.process(42).unwrap().stat().unwrap().comm, "odd");
    }
    files(&odd, &[("status", "Tgid:\t41\n")]);
    assert!(procfs.process(42).unwrap_err().is_not_found(), "a thread of another process");

    // Nothing here is only late.
    for (select, expected) in [
        ("cgroup=/x", &[][..]),
        ("!cgroup=/x", &[42, 43]),
        ("cmdline*=--of", &[42]),
        ("!cmdline*=--of", &[43]),
        ("cwd=/srv", &[42]),
        ("!cwd=/srv", &[43]),
    ] {
        let select = (Select::pid(42) | Select::pid(43)) & select.parse().unwrap();
        let mut source = Processes::new().root(root).select(select.clone()).slow_budget(Duration::from_secs(300));
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.samples.iter().map(|sample| sample.id.pid).collect::<Vec<_>>(), expected, "{select}");
        assert_eq!(snapshot.skipped.undecided, 0, "{select}");
    }
}

/// Puts something else in the place of a file.
fn put_odd(kind: FileType, at: &Path, aside: &Path) {
    let _ = std::fs::remove_dir_all(at);
    let _ = std::fs::remove_file(at);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    match kind {
        FileType::Directory => std::fs::create_dir(at).unwrap(),
        FileType::Socket => drop(std::os::unix::net::UnixListener::bind(at).unwrap()),
        // By a link, to a FIFO.
        FileType::Symlink => {
            if !aside.exists() {
                rustix::fs::mknodat(rustix::fs::CWD, aside, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
            std::os::unix::fs::symlink(aside, at).unwrap();
        }
        // A device that has bytes without end: 1, 5 is that of /dev/zero.
        kind => {
            rustix::fs::mknodat(rustix::fs::CWD, at, kind, Mode::RUSR | Mode::WUSR, rustix::fs::makedev(1, 5)).unwrap()
        }
    }
}

/// Ends a wait for a writer, so that a test that fails ends too.
fn release(root: &Path) {
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => release(&entry.path()),
            kind if kind.is_symlink() => {}
            _ => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK;
                let fifo = rustix::fs::stat(entry.path())
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
                if fifo {
                    let _ = rustix::fs::open(entry.path(), flags, Mode::empty());
                }
            }
        }
    }
}

#[test]
fn an_entry_that_is_no_file_is_not_opened() {
    let mut kinds = vec![FileType::Fifo, FileType::Symlink, FileType::Directory, FileType::Socket];
    if common::require(common::is_root(), "root, to make a device node") {
        kinds.push(FileType::CharacterDevice);
    }
    for kind in kinds {
        let directory = root();
        let root = directory.path();
        let (odd, worse) = (Fake::new(42, "odd"), Fake::new(43, "worse"));
        let threads = Fake { state: 'Z', threads: 2, flags: 4, ..Fake::new(44, "threads") };
        for fake in [&odd, &worse, &threads] {
            fake.write(root);
        }
        let put = |file: &str| put_odd(kind, &root.join(file), &root.join("aside"));
        for file in ["loadavg", "stat", "vmstat", "sys/kernel/pid_max", "sys/kernel/random/boot_id", "self/status"] {
            put(file);
        }
        let files = [
            "io",
            "status",
            "statm",
            "schedstat",
            "limits",
            "cgroup",
            "oom_score",
            "oom_score_adj",
            "fd",
            "ns",
            "exe",
            "cwd",
            "task",
        ];
        for file in files {
            put(&format!("42/{file}"));
        }
        // In the slow pool a FIFO is what it is there for.
        let waits = matches!(kind, FileType::Fifo | FileType::Symlink);
        let slow = ["cmdline", "environ", "smaps_rollup"];
        for file in slow {
            std::fs::write(root.join("42").join(file), "a=b\0").unwrap();
            if !waits {
                put(&format!("42/{file}"));
            }
        }
        put("43/stat");
        put("43/status");
        put("44/task/45/stat");
        put("44/task/45/cgroup");
        let at = root.to_path_buf();
        let (send, receive) = channel();
        let reading = std::thread::spawn(move || {
            let mut source =
                Processes::new().root(&at).fields(Fields::all()).slow_budget(Duration::MAX).max_age(Duration::ZERO);
            let snapshots = [tick(&mut source), tick(&mut source)];
            let procfs = appmon::ProcFs::new(&at).unwrap();
            let process = procfs.process(42).unwrap();
            let by_hand = [
                process.io().map(drop),
                process.status().map(drop),
                process.statm().map(drop),
                process.smaps_rollup().map(drop),
                procfs.process(43).map(drop),
            ];
            assert!(by_hand.iter().all(Result::is_err), "{kind:?}: {by_hand:?}");
            let _ = send.send(snapshots);
        });
        let snapshots = receive.recv_timeout(Duration::from_secs(60));
        release(root);
        let snapshots = snapshots.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        reading.join().unwrap();
        for snapshot in &snapshots {
            assert_eq!(snapshot.samples.iter().map(|sample| sample.id.pid).take(2).collect::<Vec<_>>(), [1, 42]);
            assert!(find(snapshot, 43).is_none());
            assert!(snapshot.skipped.failed >= 1, "{kind:?}: {:?}", snapshot.skipped);
            let sample = get(snapshot, 42);
            assert_eq!(
                (sample.io, &sample.statm, &sample.schedstat),
                (Reading::Failed, &Reading::Failed, &Reading::Failed)
            );
            assert_eq!(
                (&sample.status, &sample.limits, sample.oom),
                (&Reading::Failed, &Reading::Failed, Reading::Failed)
            );
            assert_eq!((&sample.info.cgroup, &sample.smaps_rollup), (&Reading::Failed, &Reading::Failed), "{kind:?}");
            if waits {
                assert!(sample.info.cmdline.value().is_some() && sample.environ.value().is_some(), "{kind:?}");
            } else {
                assert_eq!((&sample.info.cmdline, &sample.environ), (&Reading::Failed, &Reading::Failed), "{kind:?}");
            }
        }
    }
}

#[test]
fn zeros_of_a_process_that_ran_are_no_schedstat() {
    let root = root();
    let root = root.path();
    for (pid, user_ticks, text) in [(10, 5, "0 0 0\n"), (11, 5, "7 0 0\n"), (12, 5, "0 ? 0\n")] {
        let fake = Fake { user_ticks, ..Fake::new(pid, "p") };
        fake.write(root);
        std::fs::write(fake.directory(root).join("schedstat"), text).unwrap();
        std::fs::write(fake.directory(root).join("status"), format!("Tgid:\t{pid}\n")).unwrap();
    }
    let snapshot = tick(&mut Processes::new().root(root).fields(Fields::DEFAULT | Fields::SCHEDSTAT));
    let kept = |pid| get(&snapshot, pid).schedstat.clone();
    assert_eq!(kept(10), Reading::Unsupported);
    assert_eq!(kept(11).value().map(|kept| (kept.run_ns, kept.wait_ns)), Some((Some(7), Some(0))));
    assert_eq!(kept(12).value().map(|kept| (kept.run_ns, kept.wait_ns)), Some((Some(0), None)));
    let process = |pid| appmon::ProcFs::new(root).unwrap().process(pid).unwrap();
    assert!(process(10).schedstat().unwrap_err().is_unsupported());
    assert_eq!(process(11).schedstat().unwrap(), **kept(11).value().unwrap());
}

#[test]
fn a_command_line_without_end_is_not_cut_off_and_not_kept() {
    let root = root();
    let mut many = "a\0".repeat(70_000).into_bytes();
    let lines = [(10, "a\0".repeat(60_000).into_bytes()), (11, many.clone()), (12, vec![b'a'; 17 << 20])];
    for (pid, line) in &lines {
        Fake::new(*pid, "p").write(root.path());
        Fake::new(*pid, "p").cmdline(root.path(), line);
    }
    // A title, and where its arguments were.
    many.fill(0);
    many[..5].copy_from_slice(b"title");
    Fake::new(13, "p").write(root.path());
    Fake::new(13, "p").cmdline(root.path(), &many);
    let fields = Fields::DEFAULT | Fields::CMDLINE;
    let snapshot = tick(&mut Processes::new().root(root.path()).fields(fields).slow_budget(Duration::MAX));
    let cmdline = |pid| &get(&snapshot, pid).info.cmdline;
    assert_eq!(cmdline(10).value().unwrap().len(), 60_000);
    assert_eq!((cmdline(11), cmdline(12)), (&Reading::Failed, &Reading::Failed));
    assert_eq!(**cmdline(13).value().unwrap(), [Text::from("title")]);
    assert_eq!(snapshot.skipped.fields, 2);
}

#[test]
fn the_command_lines_of_some_leave_room_for_those_of_others() {
    let directory = root();
    let root = directory.path();
    const LIMIT: u64 = 1 << 20;
    // Large in one piece, and in many pieces that are small in the file. Nine processes, so the share is 116,508 bytes.
    let large = vec![b'a'; 400_000];
    let pieces = "a\0".repeat(8_000).into_bytes();
    let usual = vec![b'a'; 100_000];
    for (pid, line) in [(10, &large), (11, &large), (12, &large), (13, &large), (20, &pieces), (21, &pieces)] {
        Fake::new(pid, "p").write(root);
        Fake::new(pid, "p").cmdline(root, line);
    }
    for pid in [30, 31] {
        Fake::new(pid, "p").write(root);
        Fake::new(pid, "p").cmdline(root, &usual);
        std::fs::write(Fake::new(pid, "p").directory(root).join("environ"), [b"A=", &usual[..1_000], b"\0"].concat())
            .unwrap();
    }
    let fields = Fields::DEFAULT | Fields::CMDLINE | Fields::ENVIRON;
    let source = || Processes::new().root(root).fields(fields).slow_budget(Duration::MAX).slow_cadence(Duration::ZERO);
    let mut source = source().max_text_bytes(LIMIT);
    let kept = |snapshot: &appmon::Snapshot<ProcessSample>, pids: &[u32]| {
        let cmdlines = pids.iter().map(|pid| &get(snapshot, *pid).info.cmdline);
        assert!(cmdlines.clone().all(|cmdline| matches!(cmdline, Reading::Value(_) | Reading::Failed)));
        cmdlines.filter(|cmdline| cmdline.value().is_some()).count() as u64
    };
    let mut first = None;
    for _ in 0..10 {
        let snapshot = tick(&mut source);
        // What is kept stays, though it is read again at each tick.
        let is_kept = |pid: &u32| get(&snapshot, *pid).info.cmdline.value().is_some();
        let all: Vec<u32> = [10, 11, 12, 13, 20, 21].into_iter().filter(is_kept).collect();
        assert_eq!(*first.get_or_insert_with(|| all.clone()), all);
        // The first ones, of those that are large; and the usual ones in any case.
        let large = kept(&snapshot, &[10, 11, 12, 13]);
        let pieces = kept(&snapshot, &[20, 21]);
        assert!(large * 400_000 + pieces * 8_000 * 49 <= LIMIT && large + pieces >= 1, "{large} {pieces}");
        assert_eq!(kept(&snapshot, &[1, 30, 31]), 3);
        for pid in [30, 31] {
            assert!(get(&snapshot, pid).environ.value().is_some());
        }
        assert_eq!(snapshot.skipped.fields, 6 - large - pieces);
    }
    // When some are gone, there is room.
    for pid in [10, 11, 12, 20] {
        std::fs::remove_dir_all(root.join(pid.to_string())).unwrap();
    }
    tick(&mut source);
    let snapshot = tick(&mut source);
    assert_eq!((kept(&snapshot, &[13, 21, 1, 30, 31]), snapshot.skipped.fields), (5, 0));
    // No room at all.
    let mut none = Processes::new().root(root).fields(fields).slow_budget(Duration::MAX).max_text_bytes(0);
    let snapshot = tick(&mut none);
    assert_eq!((kept(&snapshot, &[13, 21, 1, 30, 31]), snapshot.samples.len()), (0, 5));
}

#[test]
fn a_pid_has_one_name() {
    let root = root();
    Fake::new(10, "p").write(root.path());
    std::fs::create_dir(root.path().join("0010")).unwrap();
    std::fs::copy(root.path().join("10/stat"), root.path().join("0010/stat")).unwrap();
    let snapshot = tick(&mut Processes::new().root(root.path()));
    assert_eq!(snapshot.samples.iter().filter(|sample| sample.id.pid == 10).count(), 1);
}

#[test]
fn a_change_in_a_directory_is_in_the_next_tick() {
    let root = root();
    let root = root.path();
    let mut fake = Fake::new(42, "fake");
    fake.write(root);
    let fields = Fields::DEFAULT | Fields::CMDLINE;
    let source = || Processes::new().root(root).fields(fields).slow_budget(Duration::from_secs(300));
    let mut rates = ticks(source()).rates();
    let mut changes = ticks(source()).changes();
    let mut selected = Processes::new().root(root).select(Select::name("other"));
    next(&mut rates);
    next(&mut changes);
    assert_eq!(tick(&mut selected).samples, []);

    fake.user_ticks += 50;
    fake.stat(root);
    fake.io(root, 3000);
    let snapshot = next(&mut rates);
    let rated = snapshot.samples.iter().find(|rated| rated.id.pid == 42).unwrap();
    let rates_of = rated.rates.unwrap();
    assert!(rates_of.cpu.user_cores > 0.0);
    assert_eq!(rates_of.cpu.system_cores, 0.0);
    assert!(rates_of.io.value().unwrap().read_chars > 0.0);
    assert_eq!(next(&mut changes).samples, []);

    // A counter that goes back.
    fake.user_ticks -= 10;
    fake.stat(root);
    let snapshot = next(&mut rates);
    assert!(snapshot.samples.iter().find(|rated| rated.id.pid == 42).unwrap().rates.is_none());
    assert_eq!(next(&mut changes).samples, []);

    // The same pid, another process, with larger counters.
    let other = Fake { start_ticks: 2000, user_ticks: 10_000, ..Fake::new(42, "other") };
    other.write(root);
    let snapshot = next(&mut rates);
    let rated = snapshot.samples.iter().find(|rated| rated.id.pid == 42).unwrap();
    assert_eq!(rated.id.start_ticks, 2000);
    assert!(rated.rates.is_none(), "of another process");
    let snapshot = next(&mut changes);
    let [Change::Gone(gone), Change::Appeared(appeared)] = &snapshot.samples[..] else {
        panic!("{:?}", snapshot.samples)
    };
    assert_eq!((gone.id.start_ticks, appeared.id.start_ticks), (1000, 2000));
    assert_eq!(appeared.info.execs, 0);
    assert_eq!(appeared.info.cmdline.value().unwrap()[0], "/bin/other");
    let found = (1..=32).find(|_| find(&tick(&mut selected), 42).is_some());
    assert!(found.is_some());

    std::fs::remove_dir_all(other.directory(root)).unwrap();
    let snapshot = next(&mut changes);
    assert!(matches!(&snapshot.samples[..], [Change::Gone(gone)] if gone.id.start_ticks == 2000));
    assert_eq!(tick(&mut selected).samples, []);

    // Without its root a tick fails, and the source goes on when it is there again.
    let mut missing = Processes::new().root(root.join("later"));
    let error = common::try_tick(&mut missing).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("later"), "{error}");
    std::fs::create_dir(root.join("later")).unwrap();
    Fake::new(7, "late").write(&root.join("later"));
    assert_eq!(get(&tick(&mut missing), 7).info.name, "late");
}

#[test]
fn an_exec_that_is_read_in_its_middle_is_one_exec() {
    let root = root();
    let root = root.path();
    let mut same = Fake::new(42, "same");
    let mut renamed = Fake::new(43, "before");
    same.write(root);
    renamed.write(root);
    let fields = Fields::DEFAULT | Fields::CMDLINE;
    let mut source = Processes::new().root(root).fields(fields).slow_budget(Duration::from_secs(300));
    let snapshot = tick(&mut source);
    assert_eq!(get(&snapshot, 42).info.execs, 0);

    // The new memory is there and empty, with no stack and no arguments yet.
    for fake in [&mut same, &mut renamed] {
        fake.start_stack = 0;
        fake.cmdline(root, b"");
    }
    renamed.comm = b"after".to_vec();
    same.stat(root);
    renamed.stat(root);
    tick(&mut source);
    for (fake, stack) in [(&mut same, 0x7ffc_0000_2000), (&mut renamed, 0x7ffc_0000_3000)] {
        fake.start_stack = stack;
        fake.stat(root);
        fake.cmdline(root, b"/bin/new\0");
    }
    let snapshot = tick(&mut source);
    assert_eq!(get(&snapshot, 43).info.name, "after");
    for pid in [42, 43] {
        let info = &get(&snapshot, pid).info;
        assert_eq!(info.execs, 1, "{}", info.name);
        assert_eq!(*info.cmdline.value().unwrap(), ["/bin/new"]);
    }
    let snapshot = tick(&mut source);
    assert_eq!((get(&snapshot, 42).info.execs, get(&snapshot, 43).info.execs), (1, 1));
}

#[test]
fn a_rename_is_no_exec_where_an_exec_cannot_be_known() {
    let root = root();
    let root = root.path();
    // A kernel thread's, and those that a reader without the right to trace gets.
    let mut worker = Fake { start_stack: 0, flags: 2_129_984, ..Fake::new(42, "kworker/0:0") };
    let mut other = Fake { start_stack: 1, ..Fake::new(43, "other") };
    worker.write(root);
    other.write(root);
    let source =
        || Processes::new().root(root).fields(Fields::DEFAULT | Fields::CMDLINE).slow_budget(Duration::from_secs(300));
    let mut changes = ticks(source()).changes();
    let mut plain = source();
    next(&mut changes);
    tick(&mut plain);
    for nth in 0..15 {
        worker.comm = format!("kworker/0:{nth}-events").into_bytes();
        other.comm = format!("worker {nth}").into_bytes();
        for fake in [&mut worker, &mut other] {
            fake.user_ticks += 1;
            fake.write(root);
        }
        assert_eq!(next(&mut changes).samples, []);
        let snapshot = tick(&mut plain);
        for fake in [&worker, &other] {
            let info = &get(&snapshot, fake.pid).info;
            assert_eq!((info.execs, info.name.as_bytes()), (0, &fake.comm[..]));
        }
        // It may be another program all the same: its arguments are those of now.
        let cmdline = get(&snapshot, 43).info.cmdline.value().unwrap();
        assert_eq!(cmdline[0], format!("/bin/worker {nth}").as_str());
    }
}

#[test]
fn the_age_of_one_that_starts_in_the_future_is_not_known() {
    let root = root();
    let root = root.path();
    // In a thousand years, and what overflows.
    Fake { start_ticks: 3_155_695_200_000, ..Fake::new(42, "future") }.write(root);
    Fake { start_ticks: u64::MAX, ..Fake::new(43, "overflow") }.write(root);
    // An hour from now.
    let soon = (appmon::time::Monotonic::now().as_nanos() / 1_000_000_000 + 3_600) * 100;
    Fake { start_ticks: soon, ..Fake::new(44, "soon") }.write(root);
    for select in [
        Select::younger_than(Duration::from_secs(1_000_000_000)),
        !Select::younger_than(Duration::from_secs(1_000_000_000)),
        Select::older_than(Duration::ZERO),
        !Select::older_than(Duration::ZERO),
    ] {
        let snapshot = tick(&mut Processes::new().root(root).select(select.clone()));
        assert!(snapshot.samples.iter().all(|sample| sample.id.pid == 1), "{select}");
        assert_eq!(snapshot.skipped.undecided, 3, "{select}");
    }
    let rated = next(&mut ticks(Processes::new().root(root)).rates());
    assert!(rated.samples.iter().all(|rated| rated.rates.is_none()));
}

#[test]
fn an_exec_after_which_nothing_may_be_known_is_counted_once_it_is_known() {
    let root = root();
    let root = root.path();
    let known = Fake::new(42, "known");
    known.write(root);
    let mut source = Processes::new().root(root);
    tick(&mut source);
    // The addresses are hidden for a while, and another name is shown.
    Fake { start_stack: 1, ..Fake::new(42, "hidden") }.write(root);
    assert_eq!(get(&tick(&mut source), 42).info.execs, 0);
    known.write(root);
    assert_eq!(get(&tick(&mut source), 42).info.execs, 0, "the same program");
    Fake { start_stack: 1, ..Fake::new(42, "hidden") }.write(root);
    assert_eq!(get(&tick(&mut source), 42).info.execs, 0);
    Fake { start_stack: 0x7ffc_0000_2000, ..Fake::new(42, "another") }.write(root);
    assert_eq!(get(&tick(&mut source), 42).info.execs, 1);
    // A thread of the kernel that has a program now: a helper that the kernel started.
    Fake { start_stack: 0, flags: 2_129_984, ..Fake::new(43, "kworker/u8:1") }.write(root);
    assert_eq!(get(&tick(&mut source), 43).info.execs, 0);
    Fake { start_stack: 1, ..Fake::new(43, "modprobe") }.write(root);
    let snapshot = tick(&mut source);
    assert_eq!((get(&snapshot, 43).info.execs, get(&snapshot, 43).info.kernel_thread), (1, false));
}

fn fifo(path: &Path) {
    let _ = std::fs::remove_file(path);
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Opens a FIFO for writing, which needs a reader: one that waits for it.
fn writer(path: &Path) -> std::fs::File {
    let mut file = None;
    until("a reader of the FIFO", || {
        file = rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok();
        file.is_some()
    });
    file.unwrap().into()
}

#[test]
fn a_file_that_blocks_holds_up_no_other() {
    let directory = root();
    let root = directory.path();
    for pid in 10..40 {
        Fake::new(pid, "fake").write(root);
    }
    // More than the threads that serve where none is held up.
    let blocked = [10, 11, 39];
    for pid in blocked {
        fifo(&root.join(format!("{pid}/cmdline")));
    }
    let mut source = Processes::new().root(root).fields(Fields::DEFAULT | Fields::CMDLINE);
    until("the others are read", || {
        let snapshot = tick(&mut source);
        assert_eq!(snapshot.samples.len(), 31);
        let mut expected = Skipped::default();
        for info in snapshot.samples.iter().map(|process| &process.info) {
            // Names can be late too.
            let late =
                [info.cmdline == Reading::Skipped, info.user == Reading::Skipped, info.group == Reading::Skipped];
            expected.fields += late.into_iter().map(u64::from).sum::<u64>();
        }
        assert_eq!(snapshot.skipped, expected, "what was not reached is counted");
        for pid in blocked {
            let sample = get(&snapshot, pid);
            assert_eq!(sample.info.cmdline, Reading::Skipped);
            assert!(sample.io.value().is_some());
        }
        (12..39).all(|pid| {
            let cmdline = &get(&snapshot, pid).info.cmdline;
            cmdline.value().is_some_and(|cmdline| cmdline[1] == *format!("--of={pid}"))
        })
    });
    // When it is there at last, it is shown.
    writer(&root.join("11/cmdline")).write_all(b"late\0").unwrap();
    until("what came late is shown", || {
        let snapshot = tick(&mut source);
        assert_eq!(get(&snapshot, 10).info.cmdline, Reading::Skipped);
        get(&snapshot, 11).info.cmdline == Reading::Value(vec![Text::from("late")])
    });
    // Selected neither by it nor by what it is not.
    for select in ["cmdline*=--of", "!cmdline*=--of", "cmdline*=nothing | pid=12"] {
        let mut source = Processes::new().root(root).select(select.parse().unwrap());
        for _ in 0..3 {
            let snapshot = tick(&mut source);
            assert!(blocked.iter().all(|pid| find(&snapshot, *pid).is_none()), "{select}");
        }
    }
    drop(source);
    // Let the threads go, of all the sources.
    for pid in blocked {
        drop(writer(&root.join(format!("{pid}/cmdline"))));
    }
}

#[test]
fn a_stream_and_its_runtime_end_while_a_file_blocks() {
    let directory = root();
    let root = directory.path().to_path_buf();
    for pid in 10..14 {
        Fake::new(pid, "fake").write(&root);
    }
    fifo(&root.join("12/cmdline"));
    let (done, ended) = channel();
    let source = Processes::new()
        .root(&root)
        .fields(Fields::CMDLINE)
        .slow_budget(Duration::from_millis(1))
        .select(Select::pid(10) | Select::cmdline(Pattern::contains("of")));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let mut stream = source.every(Duration::from_millis(1));
        for _ in 0..5 {
            let snapshot = runtime.block_on(stream.next()).unwrap().unwrap();
            assert!(find(&snapshot, 10).is_some());
            assert!(find(&snapshot, 12).is_none());
        }
        drop(stream);
        drop(runtime);
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(120)).expect("it ends");
    // Somebody waits for it still, and is not waited for.
    drop(writer(&root.join("12/cmdline")));
}

/// A process of which nothing can be read but its stat.
fn write_stat_only(fake: &Fake, root: &Path) {
    std::fs::create_dir_all(fake.directory(root)).unwrap();
    fake.stat(root);
}

#[test]
fn a_tree_may_be_as_deep_as_there_are_processes() {
    let directory = root();
    let root = directory.path();
    let last = 6_001;
    // The deeper, the smaller the pid: no order of the pids helps.
    for pid in 2..=last {
        let ppid = if pid == last { 1 } else { pid + 1 };
        write_stat_only(&Fake { ppid, ..Fake::new(pid, if pid == last { "top" } else { "chain" }) }, root);
    }
    let source = |select: &str| Processes::new().root(root).fields(Fields::empty()).select(select.parse().unwrap());
    let pids = |snapshot: &appmon::Snapshot<ProcessSample>| {
        snapshot.samples.iter().map(|sample| sample.id.pid).collect::<Vec<_>>()
    };
    let mut below = source("with_descendants(name=top)");
    assert_eq!(pids(&tick(&mut below)), (2..=last).collect::<Vec<_>>());
    let mut some = source("with_descendants(name=top, 5000) & !with_descendants(name=top, 4998) | topmost(name=chain)");
    assert_eq!(pids(&tick(&mut some)), [last - 5_000, last - 4_999, last - 1]);

    // It is cut in the middle: the processes below have another ancestor.
    write_stat_only(&Fake { ppid: 1, ..Fake::new(3_000, "chain") }, root);
    assert_eq!(pids(&tick(&mut below)), (3_001..=last).collect::<Vec<_>>());
    let snapshot = tick(&mut source("all"));
    let tree = ProcessTree::new(&snapshot);
    assert_eq!(tree.roots().count(), 1);
    assert_eq!(tree.summary(get(&snapshot, 1).id).processes, u64::from(last));
}

#[test]
fn a_cycle_of_parents_is_no_endless_tree() {
    let directory = root();
    let root = directory.path();
    for (pid, ppid) in [(10, 12), (11, 10), (12, 11), (13, 11), (14, 14)] {
        write_stat_only(&Fake { ppid, ..Fake::new(pid, "loop") }, root);
    }
    for (select, selected) in [
        ("with_descendants(pid=11)", &[10, 11, 12, 13][..]),
        ("with_descendants(pid=11, 1)", &[11, 12, 13]),
        ("topmost(name=loop)", &[14]),
        ("topmost(with_descendants(pid=1))", &[1]),
    ] {
        let mut source = Processes::new().root(root).select(select.parse().unwrap());
        for _ in 0..2 {
            let snapshot = tick(&mut source);
            let pids: Vec<_> = snapshot.samples.iter().map(|sample| sample.id.pid).collect();
            assert_eq!(pids, selected, "{select}");
        }
    }
}

#[test]
fn without_an_end_of_the_budget_everything_is_waited_for() {
    let directory = root();
    let root = directory.path();
    for pid in 10..210 {
        Fake::new(pid, "fake").write(root);
    }
    // More than the threads that serve where none is held up, and they are held up until all others were read.
    let blocked = [10, 11, 12];
    for pid in blocked {
        fifo(&root.join(format!("{pid}/cmdline")));
    }
    let mut source = Processes::new().root(root).fields(Fields::DEFAULT | Fields::CMDLINE).slow_budget(Duration::MAX);
    let snapshot = std::thread::scope(|scope| {
        let reading = scope.spawn(|| tick(&mut source));
        for pid in blocked {
            writer(&root.join(format!("{pid}/cmdline"))).write_all(b"late\0").unwrap();
        }
        reading.join().unwrap()
    });
    assert_eq!(snapshot.skipped, Skipped::default());
    for pid in 10..210 {
        let cmdline = get(&snapshot, pid).info.cmdline.value().unwrap();
        let expected = if pid < 13 { "late".to_owned() } else { "/bin/fake".to_owned() };
        assert_eq!(cmdline[0], *expected, "{pid}");
    }
}

#[test]
fn a_wait_without_end_is_cancelled() {
    let directory = root();
    let root = directory.path();
    Fake::new(10, "fake").write(root);
    fifo(&root.join("10/cmdline"));
    let mut source = Processes::new().root(root).fields(Fields::DEFAULT | Fields::CMDLINE).slow_budget(Duration::MAX);
    let cancel = Cancel::new();
    let result = std::thread::scope(|scope| {
        let reading = scope.spawn(|| source.read(&cancel));
        // It is being read.
        let writer = writer(&root.join("10/cmdline"));
        cancel.cancel();
        let result = reading.join().unwrap();
        drop(writer);
        result
    });
    assert!(result.unwrap_err().is_cancelled());
}

#[test]
fn a_snapshot_is_selected_from_as_by_the_source() {
    let root = root();
    let root = root.path();
    let child = |pid, ppid, comm: &str| {
        let fake = Fake { ppid, start_ticks: 1000 + u64::from(pid), ..Fake::new(pid, comm) };
        fake.write(root);
        fake
    };
    child(10, 1, "sshd");
    child(11, 10, "bash");
    child(12, 11, "bash");
    child(13, 12, "vim");
    child(14, 1, "cron");
    // Its parent's pid is another process's by now.
    Fake { start_ticks: 7, ..child(15, 14, "orphan") }.write(root);
    // In a cycle, and it starts in a thousand years.
    Fake { start_ticks: 2000, ..child(20, 21, "loop") }.write(root);
    Fake { start_ticks: 2000, ..child(21, 20, "loop") }.write(root);
    Fake { start_ticks: 3_155_695_200_000, ..child(22, 1, "future") }.write(root);
    // A thread of the kernel; what has no files but the first.
    Fake { flags: 0x0020_0000, ..child(23, 2, "kworker") }.write(root);
    let bare = child(24, 1, "bare");
    for file in ["io", "cgroup", "cmdline", "exe", "cwd"] {
        std::fs::remove_file(bare.directory(root).join(file)).unwrap();
    }
    let source = || {
        let fields = Fields::DEFAULT | Fields::CMDLINE;
        Processes::new().root(root).fields(fields).slow_budget(Duration::from_secs(300))
    };
    let mut whole = tick(&mut source());
    assert_eq!(whole.len(), 12);
    // Of a recording: every field is there as it was.
    let recorded = serde_json::to_string(&whole).unwrap();
    let key = |snapshot: &Snapshot<ProcessSample>| -> Vec<_> {
        snapshot.samples.iter().map(|sample| (sample.id, sample.info.clone(), sample.ppid, sample.cpu)).collect()
    };
    for text in [
        "all",
        "none",
        "name=bash | exe=/bin/fake & !ppid=1",
        "!exe=/bin/fake",
        "cwd=/srv & !uid=4294967295 | pid=12",
        "user~. & group~.",
        "unit=fake & !cgroup*=user",
        "cmdline='/bin/sshd --of=10' | cmdline*=cron",
        "!cmdline~of=1",
        "kernel_thread",
        "age>1s",
        "!age<5000000h",
        "age<5000000h & name=bash",
        "with_descendants(name=sshd)",
        "with_descendants(name=sshd, 1)",
        "with_descendants(name=bash) & !topmost(name=bash)",
        "topmost(all)",
        "!topmost(name=bash | name=cron | name=loop)",
        "with_descendants(pid=20, 1) | with_descendants(name=orphan)",
        "with_descendants(name=cron)",
        "with_descendants(age>1s, 2)",
        "topmost(with_descendants(cmdline*=sshd) & !name=sshd)",
    ] {
        let select: Select = text.parse().unwrap();
        let live = tick(&mut source().select(select.clone()));
        let mut applied: Snapshot<ProcessSample> = serde_json::from_str(&recorded).unwrap();
        select.apply(&mut applied).unwrap();
        assert_eq!(key(&applied), key(&live), "{text}");
        assert_eq!(applied.skipped, live.skipped, "{text}");
        // The same in a stream, with rates.
        let streamed = next(&mut ticks(source()).rates().select(select));
        assert_eq!(streamed.samples.into_iter().map(|rated| rated.id).collect::<Vec<_>>(), ids(&live), "{text}");
    }
    // By a function: it sees the same.
    let select = Select::matching(|process| process.name.as_bytes().starts_with(b"b")).with_descendants();
    let live = tick(&mut source().select(select.clone()));
    select.apply(&mut whole).unwrap();
    assert_eq!(key(&whole), key(&live));
    assert_eq!(ids(&whole).iter().map(|id| id.pid).collect::<Vec<_>>(), [11, 12, 13, 24]);
}

fn ids(snapshot: &Snapshot<ProcessSample>) -> Vec<ProcessId> {
    snapshot.samples.iter().map(|sample| sample.id).collect()
}

#[test]
fn a_field_that_a_snapshot_lacks_decides_nothing() {
    let root = root();
    let root = root.path();
    for pid in 10..14 {
        Fake::new(pid, "x").write(root);
    }
    let pid_file = root.join("x.pid");
    std::fs::write(&pid_file, "10\n").unwrap();
    let whole = tick(&mut Processes::new().root(root).fields(Fields::CGROUP));
    for (select, selected, undecided) in [
        ("exe=/bin/fake", &[][..], 5),
        ("!exe=/bin/fake", &[], 5),
        ("exe=/bin/fake | pid=11", &[11], 4),
        ("exe=/bin/fake & pid=11", &[], 1),
        ("!cmdline*=x & unit=fake", &[], 5),
        ("with_descendants(cwd=/srv) | topmost(name=init)", &[1], 4),
        (&format!("pid_file={}", pid_file.display()), &[], 5),
        (&format!("!pid_file={}", pid_file.display()), &[], 5),
        ("unit=fake", &[1, 10, 11, 12, 13], 0),
    ] {
        let mut snapshot = whole.clone();
        snapshot.skipped.undecided = 100;
        select.parse::<Select>().unwrap().apply(&mut snapshot).unwrap();
        let pids: Vec<u32> = snapshot.samples.iter().map(|sample| sample.id.pid).collect();
        assert_eq!((&pids[..], snapshot.skipped.undecided), (selected, 100 + undecided), "{select}");
        snapshot.skipped.undecided = 0;
        assert_eq!(snapshot.skipped, whole.skipped, "{select}");
    }
}

#[test]
fn a_clone_of_a_source_has_its_settings_and_nothing_it_read() {
    let root = root();
    let root = root.path();
    Fake::new(42, "x").write(root);
    let mut source = Processes::new().root(root).select(Select::name("x")).fields(Fields::IO);
    let first = tick(&mut source);
    Fake { user_ticks: 9, ..Fake::new(43, "x") }.write(root);
    std::fs::remove_dir_all(root.join("42")).unwrap();
    let mut clone = source.clone();
    assert_eq!(ids(&first).len(), 1);
    let seen = tick(&mut clone);
    assert_eq!(seen.samples.iter().map(|sample| sample.id.pid).collect::<Vec<_>>(), [43]);
    assert_eq!(seen.skipped, Skipped::default(), "42 was never there for it");
    assert!(get(&seen, 43).io.value().is_some() && get(&seen, 43).info.exe == Reading::NotRequested);
}

#[test]
fn settings_that_cannot_be_meant_are_errors_of_the_first_tick() {
    let root = root();
    let deep = (0..200).fold(Select::pid(1), |deep, _| deep.topmost());
    for (source, error) in [
        (Processes::new().threads(0), "Processes::threads(0): at least one thread is needed"),
        (Processes::new().select(deep.clone()), "selection: groups and functions go 128 deep at most"),
    ] {
        let mut source = source.root(root.path());
        for _ in 0..2 {
            let refused = common::try_tick(&mut source).unwrap_err();
            assert!(refused.is_config());
            assert_eq!(refused.to_string(), error);
        }
    }
    let mut snapshot = tick(&mut Processes::new().root(root.path()));
    assert!(deep.apply(&mut snapshot).unwrap_err().is_config());
    assert_eq!(snapshot.len(), 1, "it is left as it was");
    let mut stream = ticks(Processes::new().root(root.path())).select(deep);
    assert!(futures::FutureExt::now_or_never(stream.next()).unwrap().unwrap().unwrap_err().is_config());
}

#[test]
fn the_container_of_a_process_follows_its_control_group() {
    let root = root();
    let root = root.path();
    let process = Fake::new(42, "web");
    process.write(root);
    let id = "4f".repeat(32);
    let file = process.directory(root).join("cgroup");
    std::fs::write(&file, format!("0::/system.slice/docker-{id}.scope\n")).unwrap();
    let mut source = Processes::new().root(root).max_age(Duration::ZERO).lives(true);
    let snapshot = tick(&mut source);
    let sample = get(&snapshot, 42);
    assert_eq!(sample.info.container.as_ref().unwrap().to_string(), format!("docker://{id}"));
    assert_eq!(Service::of(sample).to_string(), format!("docker://{id}"));
    assert_eq!(Service::of(get(&snapshot, 1)), Service::Unit("fake.service".into()));
    std::fs::write(&file, "0::/\n").unwrap();
    let snapshot = tick(&mut source);
    assert_eq!(get(&snapshot, 42).info.container, None);
    assert_eq!(Service::of(get(&snapshot, 42)), Service::Program("web".into()));
    assert_eq!(snapshot.lives.as_ref().unwrap().exits, []);

    std::fs::remove_dir_all(process.directory(root)).unwrap();
    let lives = tick(&mut source).lives.unwrap();
    assert_eq!(lives.exits.iter().map(|exit| exit.id.pid).collect::<Vec<_>>(), [42]);
    assert_eq!((lives.births, lives.deaths), (0, 1));
    // Another process of the same pid.
    process.write(root);
    assert_eq!(tick(&mut source).lives.unwrap().births, 1);
    Fake { start_ticks: 2000, ..process }.stat(root);
    let lives = tick(&mut source).lives.unwrap();
    assert_eq!((lives.births, lives.deaths, lives.exits[0].id.start_ticks), (1, 1, 1000));
}
