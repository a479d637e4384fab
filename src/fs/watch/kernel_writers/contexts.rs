//! Contexts of asynchronous calls (`io_submit(2)`), and the files of the processes that have some.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::SeekFrom;

use crate::fs::walk::{LIST, Listing, Step, open};
use crate::{Cancel, Monotonic, Result};

/// The known contexts. On a machine without contexts only their number is read.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    number: Option<File>,
    /// Their number when their processes were searched for.
    known: u64,
    /// Processes with contexts, as far as their memory maps are readable.
    processes: Vec<Process>,
    /// When the next search may be made at the earliest, and when it is made at the latest.
    earliest: Option<Monotonic>,
    due: Option<Monotonic>,
    /// The index of the next process.
    next: usize,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    /// The descriptor that is checked next.
    next: u64,
}

/// The number of descriptors that are checked in a refresh.
const MOST: usize = 512;

impl Contexts {
    /// Adds files that the processes have open for writing.
    pub(super) fn open_files(&mut self, files: &mut Vec<PathBuf>, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let number = self.count().unwrap_or_default();
        if number == 0 {
            (self.known, self.due) = (0, None);
            self.processes.clear();
            return Ok(());
        }
        let is_due = number != self.known || self.due.is_none_or(|due| now >= due);
        if is_due && self.earliest.is_none_or(|earliest| now >= earliest) {
            self.find(now, cancel)?;
            self.known = number;
        }
        let mut left = MOST;
        for _ in 0..self.processes.len() {
            let place = self.next.checked_rem(self.processes.len()).unwrap_or_default();
            let Some(process) = self.processes.get_mut(place) else { break };
            process.add_files(&mut left, files);
            if left == 0 {
                break;
            }
            self.next = place.saturating_add(1);
        }
        Ok(())
    }

    /// Returns how many calls the contexts of all processes have room for.
    fn count(&mut self) -> Option<u64> {
        let number = match &mut self.number {
            Some(number) => number,
            none => none.insert(File::open("/proc/sys/fs/aio-nr").ok()?),
        };
        let mut text = [0; 24];
        let len = number.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(text.get(..len)?).ok()?.trim().parse().ok()
    }

    /// Searches for the processes. The memory map of each process is read for that, so the search is limited to a small part of
    /// the time.
    fn find(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        /// The search takes at most one part in `REST` of the time if the number of contexts changed, and in `LONG_REST` if not.
        const REST: u32 = 50;
        const LONG_REST: u32 = 200;
        /// Other contexts, whose number is the same by chance, are found within this time.
        const PERIOD: Duration = Duration::from_secs(60);
        let start = Instant::now();
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            cancel.check()?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if has_context(&entry.path().join("maps")) {
                let known = self.processes.iter().find(|known| known.pid == pid);
                processes.push(Process { pid, next: known.map_or(0, |known| known.next) });
            }
        }
        self.processes = processes;
        let took = start.elapsed();
        self.earliest = Some(now.plus(took.saturating_mul(REST)));
        self.due = Some(now.plus(took.saturating_mul(LONG_REST).max(PERIOD)));
        Ok(())
    }
}

impl Process {
    /// Adds its next files, and starts again at the end.
    fn add_files(&mut self, left: &mut usize, files: &mut Vec<PathBuf>) {
        let path = PathBuf::from(format!("/proc/{}/fd", self.pid));
        let Ok(name) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return };
        let Ok(dir) = open(rustix::fs::CWD, &name, LIST, false) else { return };
        // The first two entries are not descriptors; those follow in order.
        if self.next > 0 && rustix::fs::seek(&dir, SeekFrom::Start(self.next.saturating_add(2))).is_err() {
            self.next = 0;
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut listing = Listing::new(&dir, &mut buffer);
        while *left > 0 {
            let entry = match listing.next() {
                Step::Entry(entry) => entry,
                Step::Nothing => continue,
                Step::End | Step::Failed(_) => {
                    self.next = 0;
                    return;
                }
            };
            let Some(number) = entry.file_name().to_str().ok().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            *left = left.saturating_sub(1);
            self.next = number.saturating_add(1);
            files.extend(written_file(&path.join(number.to_string())));
        }
    }
}

/// Returns the path of an open file, if it is open for writing. The link is not followed, as that may hang.
fn written_file(link: &Path) -> Option<PathBuf> {
    let mode = std::fs::symlink_metadata(link).ok()?.permissions().mode();
    let file = (mode & 0o200 != 0).then(|| std::fs::read_link(link).ok()).flatten()?;
    file.is_absolute().then_some(file)
}

/// Whether a process has a context: in its memory map each one is a file of this name.
fn has_context(maps: &Path) -> bool {
    const NAME: &[u8] = b" /[aio]";
    let Ok(mut maps) = File::open(maps) else { return false };
    let mut text = vec![0; 64 << 10];
    let mut kept = 0;
    loop {
        let Some(room) = text.get_mut(kept..) else { return false };
        match maps.read(room) {
            Ok(0) => return false,
            Ok(len) => {
                let end = kept.saturating_add(len);
                if text.get(..end).is_some_and(|text| text.windows(NAME.len()).any(|part| part == NAME)) {
                    return true;
                }
                // The name may lie across the end.
                kept = end.min(NAME.len());
                text.copy_within(end.saturating_sub(kept)..end, 0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}
