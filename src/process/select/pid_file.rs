//! The pid files a selection names.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FileType, Mode, OFlags};

use super::{Condition, Select};
use crate::Monotonic;
use crate::process::ProcessId;
use crate::time::{clock_ticks_per_second, ticks_to_nanos};

/// How much later than its pid file a process may seem to have started: the kernel's clocks tick coarsely, and the wall
/// clock is being slewed.
const SLACK_NS: i128 = 2_000_000_000;

/// A pid and the end of its line; what is after it is not read.
const LINE_BYTES: usize = 32;

/// The pid files of a selection, as they were read for one tick.
#[derive(Debug, Default)]
pub(crate) struct PidFiles {
    written: HashMap<PathBuf, Written>,
    ticks_per_second: u64,
}

/// What a pid file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    pid: u32,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`; negative before the machine started.
    at_ns: i128,
}

impl PidFiles {
    /// Reads all that the selection names. Touches nothing when there are none.
    pub(crate) fn read(select: &Select) -> Self {
        let paths = select.conditions().filter_map(|condition| match condition {
            Condition::PidFile(path) => Some(path),
            _ => None,
        });
        let written = paths.filter_map(|path| Some((path.clone(), read(path)?))).collect();
        Self { written, ticks_per_second: clock_ticks_per_second() }
    }

    /// Whether the file at this path names this process, and not an earlier one of its pid.
    pub(crate) fn names(&self, path: &Path, process: ProcessId) -> bool {
        self.written.get(path).is_some_and(|written| {
            written.pid == process.pid
                && started_before(ticks_to_nanos(process.start_ticks, self.ticks_per_second), *written)
        })
    }
}

fn read(path: &Path) -> Option<Written> {
    // Opening a FIFO without a writer would wait for one.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut buffer = [0; LINE_BYTES];
    let length = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut buffer, 0)).ok()?;
    let mtime_ns =
        i128::from(stat.st_mtime).saturating_mul(1_000_000_000).saturating_add(i128::from(stat.st_mtime_nsec));
    let wall_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let boot_ns = Monotonic::now().as_nanos();
    Some(Written {
        pid: parse(buffer.get(..length)?)?,
        at_ns: to_boottime(mtime_ns, i128::try_from(wall_ns).ok()?, i128::from(boot_ns)),
    })
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

/// An instant of the wall clock as one of `CLOCK_BOOTTIME`, given what both say now.
fn to_boottime(instant_ns: i128, wall_now_ns: i128, boot_now_ns: i128) -> i128 {
    boot_now_ns.saturating_sub(wall_now_ns.saturating_sub(instant_ns))
}

/// Whether a process was there when the file was written.
fn started_before(start_ns: u64, written: Written) -> bool {
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
        assert!(!started_before(u64::MAX, Written { pid: 1, at_ns: to_boottime(i128::MIN, i128::MAX, 0) }));
        assert!(started_before(u64::MAX, Written { pid: 1, at_ns: to_boottime(i128::MAX, i128::MIN, 0) }));
    }

    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pid");
        let select = Select::pid_file(&path) | Select::pid_file(directory.path());
        let names = |process| PidFiles::read(&select).names(&path, process);
        let first = ProcessId { pid: 123, start_ticks: 0 };
        assert!(!names(first));
        std::fs::write(&path, "123\n").unwrap();
        assert!(names(first));
        assert!(!names(ProcessId { pid: 124, start_ticks: 0 }));
        assert!(!names(ProcessId { pid: 123, start_ticks: u64::MAX }));
        assert!(!PidFiles::read(&select).names(directory.path(), first));
        assert!(!PidFiles::read(&Select::all()).names(&path, first));

        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!names(first));

        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(!names(first));
    }
}
