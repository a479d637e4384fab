//! Finding new processes without listing them all.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::file::Buffer;
use super::number::decimal;
use super::procfs::{Listing, ProcFs};
use super::pulse::pulse;
use crate::{Error, Monotonic, Result};

/// Finds the processes that were born since the last tick.
///
/// The last field of `/proc/loadavg` is the last pid handed out. While it stands still nothing was born; when it moved a
/// little, only the pids in between are probed. Listing /proc remains for the first tick, for large moves and wrap-arounds,
/// and from time to time, since a pid can be handed out of turn (`clone3` with `set_tid`).
#[derive(Debug)]
pub(crate) struct Discovery {
    listing: Listing,
    /// None where pids cannot be probed: then every tick lists.
    counter: Option<Counter>,
    listed_at: Option<Monotonic>,
    found: Vec<Found>,
}

/// A process that was found: one that is new, or a known one that may be another now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) pid: u32,
    pub(crate) by: By,
}

/// How a process was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// By a listing, with the inode number of its directory.
    Listing(u64),
    /// Its pid was handed out before this instant, and not long: what was read of it before may be of another process.
    Birth(Monotonic),
}

/// What a tick found, in the order of the pids.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    /// Whether these are all processes there are, and not only those that may be new.
    pub(crate) all: bool,
    pub(crate) found: &'a [Found],
}

/// The kernel's counter of pids, and what it passed lately.
#[derive(Debug)]
struct Counter {
    loadavg: OwnedFd,
    buffer: Buffer,
    pid_max: u32,
    last: u32,
    last_at: Monotonic,
    windows: VecDeque<Window>,
}

/// Pids handed out: a range to probe, at the next tick too.
#[derive(Debug)]
struct Window {
    first: u32,
    last: u32,
    /// When the counter was seen to have passed them.
    since: Monotonic,
}

/// How often /proc is listed all the same.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// How long a window is probed: a pid is handed out some time before its process can be seen.
const SETTLED: Duration = Duration::from_millis(200);

/// More pids than are ever handed out and not yet visible at one instant.
const IN_FLIGHT: u32 = 256;

/// More births than a machine manages in a second: in the time it takes for `pid_max` of them the counter could have gone
/// round unnoticed.
const BIRTHS_PER_SECOND: u64 = 20_000;

impl Discovery {
    pub(crate) fn new(procfs: &ProcFs) -> Result<Self> {
        let counter = if procfs.has_pulse() { Counter::open(procfs) } else { None };
        Ok(Self { listing: Listing::open(procfs)?, counter, listed_at: None, found: Vec::new() })
    }

    /// Finds what may be new, `known` processes being there already.
    pub(crate) fn tick(&mut self, procfs: &ProcFs, known: usize, now: Monotonic) -> Result<Findings<'_>> {
        self.found.clear();
        let listed = self.listed_at.and_then(|at| now.since(at)).is_some_and(|age| age < LIST_EVERY);
        let probe = match &mut self.counter {
            // The counter first, then the listing: what is born in between is in the next window.
            Some(counter) => counter.advance(known, now),
            None => Probe::List,
        };
        if probe == Probe::Windows && listed {
            if let Some(counter) = &self.counter {
                counter.probe(&mut self.found);
            }
            return Ok(Findings { all: false, found: &self.found });
        }
        let found = &mut self.found;
        self.listing
            .list(|pid, ino| found.push(Found { pid, by: By::Listing(ino) }))
            .map_err(|errno| Error::from(errno).at(procfs.path()))?;
        if !self.found.is_sorted_by_key(|found| found.pid) {
            self.found.sort_unstable_by_key(|found| found.pid);
        }
        self.listed_at = Some(now);
        if let Some(counter) = &mut self.counter {
            counter.listed();
        }
        Ok(Findings { all: true, found: &self.found })
    }
}

/// How to find what the counter passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Windows,
    List,
}

impl Counter {
    fn open(procfs: &ProcFs) -> Option<Self> {
        let open = |path| rustix::fs::openat(procfs.dir(), path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let loadavg = open("loadavg").ok()?;
        // lxcfs puts a file of its own in this place, with another idea of the last field.
        if rustix::fs::fstatfs(&loadavg).ok()?.f_type != rustix::fs::PROC_SUPER_MAGIC {
            return None;
        }
        let mut buffer = Buffer::new();
        let pid_max = open("sys/kernel/pid_max").ok().and_then(|fd| decimal(buffer.read(fd).ok()?.trim_ascii()));
        let pid_max = pid_max.unwrap_or(32_768);
        Some(Self { loadavg, buffer, pid_max, last: 0, last_at: Monotonic::default(), windows: VecDeque::new() })
    }

    /// Reads the counter, and says whether the pids it passed can be probed.
    fn advance(&mut self, known: usize, now: Monotonic) -> Probe {
        let last_tick = self.last_at;
        self.windows
            .retain(|window| window.since >= last_tick || now.since(window.since).unwrap_or_default() < SETTLED);
        let Some(last) = self.buffer.read(&self.loadavg).ok().and_then(last_pid) else { return Probe::List };
        let (before, before_at) = (self.last, self.last_at);
        (self.last, self.last_at) = (last, now);
        let elapsed = now.since(before_at).unwrap_or_default();
        let births = elapsed.as_secs().saturating_mul(BIRTHS_PER_SECOND);
        let wrapped = last < before;
        if last != before {
            let first = if wrapped { 1 } else { before.saturating_add(1) };
            self.windows.push_back(Window { first, last, since: now });
        }
        if wrapped || births > u64::from(self.pid_max) {
            return Probe::List;
        }
        let to_probe =
            self.windows.iter().map(|window| u64::from(window.last.saturating_sub(window.first))).sum::<u64>();
        // Probing an absent pid costs about a third of listing a present one.
        let bearable = u64::try_from(known).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(256);
        if to_probe > bearable { Probe::List } else { Probe::Windows }
    }

    fn probe(&self, found: &mut Vec<Found>) {
        for window in &self.windows {
            let alive = (window.first..=window.last).filter(|pid| pulse(*pid).is_some());
            found.extend(alive.map(|pid| Found { pid, by: By::Birth(window.since) }));
        }
        // Windows are in the order of time, and do not overlap but after a wrap-around, which ends in a listing.
        found.sort_by_key(|found| found.pid);
        found.dedup_by_key(|found| found.pid);
    }

    /// After a listing, only what was handed out last can still be on its way.
    fn listed(&mut self) {
        for window in &mut self.windows {
            window.first = window.first.max(window.last.saturating_sub(IN_FLIGHT));
        }
    }
}

/// `0.20 0.18 0.12 1/80 11206`
fn last_pid(loadavg: &[u8]) -> Option<u32> {
    let last = loadavg.trim_ascii_end().rsplit(|byte| *byte == b' ').next()?;
    decimal(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_field_is_the_last_pid() {
        assert_eq!(last_pid(b"0.20 0.18 0.12 1/80 11206\n"), Some(11206));
        assert_eq!(last_pid(b""), None);
    }

    #[test]
    fn a_child_is_found_without_listing() {
        let procfs = ProcFs::new("/proc").unwrap();
        assert!(procfs.has_pulse());
        let mut discovery = Discovery::new(&procfs).unwrap();
        assert!(discovery.tick(&procfs, 0, Monotonic::now()).unwrap().all);
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let findings = discovery.tick(&procfs, 10_000, Monotonic::now()).unwrap();
        assert!(!findings.all);
        assert!(findings.found.iter().any(|found| found.pid == child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
