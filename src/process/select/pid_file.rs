//! The pid files a selection names.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Select;
use super::condition::Condition;
use crate::process::ProcessId;
use crate::process::slow_pool::SlowPool;
use crate::time::{Deadline, clock_ticks_per_second};
use crate::{Cancel, Monotonic};

/// How much later than its pid file a process may seem to have started: the kernel's clocks tick coarsely, and the wall
/// clock is being slewed.
const SLACK_NS: i128 = 2_000_000_000;

/// A pid and the end of its line; the bytes after it are not read.
const LINE_BYTES: usize = 32;

/// The pid files of a selection, read beside the tick: a file can be on a server that does not answer.
#[derive(Debug, Default)]
pub(crate) struct PidFiles {
    files: HashMap<PathBuf, PidFile>,
    /// `None` where there are no files.
    slow_pool: Option<SlowPool<PathBuf, (PathBuf, Content)>>,
    ticks_per_second: u64,
}

#[derive(Debug)]
struct PidFile {
    content: Content,
    /// It is being read.
    pending: bool,
}

/// The content of a pid file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// It was not reached in this tick, or could not be read though it may be there.
    Unknown,
    /// No process.
    Nothing,
    Names(Written),
}

/// The process that a file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    pid: u32,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`; negative before the machine started.
    at_ns: i128,
}

/// How many threads read where files do not answer: each that hangs keeps one.
const THREADS: usize = 64;

impl PidFiles {
    /// All that the selection names, none of them read.
    pub(crate) fn new(select: &Select) -> Self {
        let files: HashMap<_, _> = select
            .conditions()
            .into_iter()
            .filter_map(|condition| match condition {
                Condition::PidFile(path) => Some((path.clone(), PidFile { content: Content::Unknown, pending: false })),
                _ => None,
            })
            .collect();
        let slow_pool = (!files.is_empty()).then(|| SlowPool::new(files.len().min(THREADS), work));
        Self { files, slow_pool, ticks_per_second: clock_ticks_per_second() }
    }

    /// Begins a tick: starts to read all of them again, except those that have not answered yet.
    pub(crate) fn ask(&mut self) {
        let Some(slow_pool) = &mut self.slow_pool else { return };
        self.files.values_mut().for_each(|file| file.content = Content::Unknown);
        // Results that were late for the last tick.
        take(slow_pool, &mut self.files, Deadline::after(Duration::ZERO), &Cancel::new());
        slow_pool.give(self.files.iter_mut().filter(|(_, file)| !file.pending).map(|(path, file)| {
            file.pending = true;
            path.clone()
        }));
    }

    /// Waits for the answers until `deadline`.
    pub(crate) fn wait(&mut self, deadline: Deadline, cancel: &Cancel) {
        if let Some(slow_pool) = &mut self.slow_pool {
            take(slow_pool, &mut self.files, deadline, cancel);
        }
    }

    /// Whether the file at this path names this process, and not an earlier one of its pid; `None` where that is not known
    /// in this tick, or the file is none of these.
    pub(crate) fn names(&self, path: &Path, process: ProcessId) -> Option<bool> {
        match self.files.get(path).map(|file| file.content) {
            Some(Content::Unknown) | None => None,
            Some(Content::Names(written)) => {
                Some(written.pid == process.pid && started_before(process.start_ns(self.ticks_per_second), written))
            }
            Some(Content::Nothing) => Some(false),
        }
    }
}

fn take(
    slow_pool: &mut SlowPool<PathBuf, (PathBuf, Content)>,
    files: &mut HashMap<PathBuf, PidFile>,
    deadline: Deadline,
    cancel: &Cancel,
) {
    slow_pool.take(deadline, cancel, |(path, content)| {
        files.insert(path, PidFile { content, pending: false });
    });
}

/// Reads one file; runs on a thread of the slow pool.
fn work(path: PathBuf) -> (PathBuf, Content) {
    let content = match read(&path) {
        Ok(written) => written.map_or(Content::Nothing, Content::Names),
        // It is not there, or not for us.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::NAMETOOLONG) => {
            Content::Nothing
        }
        Err(_) => Content::Unknown,
    };
    (path, content)
}

fn read(path: &Path) -> rustix::io::Result<Option<Written>> {
    // As a place only: opening a device or a FIFO has side effects.
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    let mut buffer = [0; LINE_BYTES];
    let length = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut buffer, 0))?;
    let mtime_ns =
        i128::from(stat.st_mtime).saturating_mul(1_000_000_000).saturating_add(i128::from(stat.st_mtime_nsec));
    let wall_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let boot_ns = Monotonic::now().as_nanos();
    Ok(buffer.get(..length).and_then(parse).map(|pid| Written {
        pid,
        at_ns: to_boottime(mtime_ns, i128::try_from(wall_ns).unwrap_or(i128::MAX), i128::from(boot_ns)),
    }))
}

/// The pid on the first line; further lines, as PostgreSQL's have, are its own business.
fn parse(start_of_file: &[u8]) -> Option<u32> {
    let mut lines = start_of_file.splitn(2, |byte| *byte == b'\n');
    let line = lines.next()?;
    if lines.next().is_none() && start_of_file.len() >= LINE_BYTES {
        return None; // The line does not end where one with a pid would.
    }
    let digits = line.trim_ascii();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None; // `parse` would take a sign.
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|pid| *pid != 0)
}

/// An instant of the wall clock as one of `CLOCK_BOOTTIME`, by the present values of both.
fn to_boottime(instant_ns: i128, wall_now_ns: i128, boot_now_ns: i128) -> i128 {
    boot_now_ns.saturating_sub(wall_now_ns.saturating_sub(instant_ns))
}

/// Whether a process was there when the file was written.
fn started_before(start_ns: i64, written: Written) -> bool {
    i128::from(start_ns) <= written.at_ns.saturating_add(SLACK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_a_pid() {
        for (text, pid) in [
            (&b"123"[..], Some(123)),
            (b"123\n", Some(123)),
            (b" \t123 \r\n", Some(123)),
            (b"123\n/var/lib/postgresql\nand a lot more", Some(123)),
            (b"4294967295", Some(u32::MAX)),
            (b"", None),
            (b"\n", None),
            (b"\n123\n", None),
            (b"0\n", None),
            (b"-1\n", None),
            (b"+1\n", None),
            (b"12 34\n", None),
            (b"0x10", None),
            (b"4294967296", None),
            (b"12\xff", None),
            (b"00000000000000000000000000000001", None),
        ] {
            assert_eq!(parse(text), pid, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_process_is_older_than_its_pid_file() {
        const S: i128 = 1_000_000_000;
        // Written 100 s ago, on a machine that started 1000 s ago.
        let at_ns = to_boottime(1_700_000_000 * S, 1_700_000_100 * S, 1000 * S);
        assert_eq!(at_ns, 900 * S);
        let written = Written { pid: 1, at_ns };
        assert!(started_before(5_000_000_000, written));
        assert!(started_before(902_000_000_000, written));
        assert!(!started_before(902_000_000_001, written));
        // Left over from before the machine started: not even the first process.
        let stale = Written { pid: 1, at_ns: to_boottime(0, 1_700_000_100 * S, 1000 * S) };
        assert!(!started_before(0, stale));
        // Extremes do not wrap.
        assert!(!started_before(i64::MAX, Written { pid: 1, at_ns: to_boottime(i128::MIN, i128::MAX, 0) }));
        assert!(started_before(i64::MAX, Written { pid: 1, at_ns: to_boottime(i128::MAX, i128::MIN, 0) }));
    }

    /// Whether the file names the process, once all are read.
    fn names(select: &Select, path: &Path, process: ProcessId) -> bool {
        let mut files = PidFiles::new(select);
        files.ask();
        files.wait(Deadline::NEVER, &Cancel::new());
        files.names(path, process).expect("it was read")
    }

    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pid");
        let select = Select::pid_file(&path) | Select::pid_file(directory.path());
        let names = |process| names(&select, &path, process);
        let first = ProcessId { pid: 123, start_ticks: 0 };
        assert!(!names(first));
        std::fs::write(&path, "123\n").unwrap();
        assert!(names(first));
        assert!(!names(ProcessId { pid: 124, start_ticks: 0 }));
        assert!(!names(ProcessId { pid: 123, start_ticks: u64::MAX }));
        assert!(!super::tests::names(&select, directory.path(), first));

        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!names(first));
    }

    #[test]
    fn a_pid_file_that_is_no_file_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pid");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let events = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::NONBLOCK).unwrap();
        rustix::fs::inotify::add_watch(&events, &path, rustix::fs::inotify::WatchFlags::OPEN).unwrap();
        assert!(!names(&Select::pid_file(&path), &path, ProcessId { pid: 123, start_ticks: 0 }));
        let opened = rustix::io::read(&events, &mut [0_u8; 64]);
        assert_eq!(opened, Err(Errno::AGAIN), "opening a FIFO or a device does something to it");
    }

    #[test]
    fn an_unreadable_pid_file_is_unknown() {
        // Of its own thread alone: a regular file that exists and cannot be read.
        let mut files = PidFiles::new(&Select::pid_file("/proc/self/mem"));
        files.ask();
        files.wait(Deadline::NEVER, &Cancel::new());
        assert_eq!(files.names(Path::new("/proc/self/mem"), ProcessId { pid: 123, start_ticks: 0 }), None);
    }

    #[test]
    fn an_answer_counts_for_the_tick_it_comes_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pid");
        std::fs::write(&path, "123\n").unwrap();
        let mut files = PidFiles::new(&Select::pid_file(&path));
        let first = ProcessId { pid: 123, start_ticks: 0 };
        assert_eq!(files.names(&path, first), None, "not read yet");
        files.ask();
        files.wait(Deadline::NEVER, &Cancel::new());
        assert_eq!(files.names(&path, first), Some(true));
        std::fs::remove_file(&path).unwrap();
        files.ask();
        assert_eq!(files.names(&path, first), None, "the content at an earlier tick does not count");
        files.wait(Deadline::NEVER, &Cancel::new());
        assert_eq!(files.names(&path, first), Some(false));
    }
}
