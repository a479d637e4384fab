//! The source of processes on a directory that looks like /proc: what no live kernel does when asked to.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

mod common;

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use appmon::{
    Change, Fields, Notice, Pattern, ProcessId, ProcessSample, ProcessState, Processes, Reading, Select, Skipped,
    SnapshotStreamExt, SourceExt, Text,
};
use futures::StreamExt;
use rustix::fs::{FileType, Mode, OFlags};

use common::{find, get, next, tick, ticks, until};

/// What of a process a test changes.
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
        }
    }

    fn directory(&self, root: &Path) -> PathBuf {
        root.join(self.pid.to_string())
    }

    /// Writes its stat in place.
    fn stat(&self, root: &Path) {
        let Self { pid, state, ppid, user_ticks, threads, start_ticks, start_stack, .. } = self;
        let mut line = format!("{pid} (").into_bytes();
        line.extend_from_slice(&self.comm);
        line.extend_from_slice(
            format!(
                ") {state} {ppid} {pid} {pid} 0 -1 4194304 100 0 2 0 {user_ticks} 3 0 0 20 0 {threads} 0 {start_ticks} 4096000 \
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
    assert_eq!(sample.io.value().unwrap().read_chars, 1000);
    assert_eq!(sample.io.value().unwrap().cancelled_write_bytes, 7);
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
    assert!(sample.info.cmdline.value().is_none());
    assert_eq!(sample.info.exe.value().unwrap().as_os_str().as_bytes(), b"/bin/fake");

    // Both ways of the wire form, with bytes that are no text.
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<appmon::Snapshot<ProcessSample>>(&json).unwrap(), snapshot);

    // What was broken is tried again, and counted again as long as it is.
    let snapshot = tick(&mut source);
    assert_eq!((snapshot.skipped.malformed, snapshot.skipped.vanished), (1, 1));
    Fake::new(44, "mended").write(root);
    let snapshot = tick(&mut source);
    assert_eq!(get(&snapshot, 44).info.name, "mended");
    assert_eq!(snapshot.skipped.vanished, 1);
    assert_eq!(snapshot.skipped.malformed, 0);
}

#[test]
fn what_changes_in_a_directory_is_in_the_next_tick() {
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
fn a_file_that_blocks_holds_up_nobody_else() {
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
        let missed = snapshot.samples.iter().filter(|process| process.info.cmdline == Reading::Skipped).count();
        let mut expected = Skipped::default();
        expected.fields = u64::try_from(missed).unwrap();
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
