//! Finding new processes without listing them all.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::file::{Buffer, open_of_proc};
use super::procfs::{Listing, ProcFs};
use super::pulse::pulse;
use crate::number::decimal;
use crate::{Cancel, Monotonic, Result};

/// Finds the processes that were born since the last tick.
///
/// The last field of `/proc/loadavg` is the last pid handed out. While it does not change no process was born; when it moved a little, only
/// the pids in between are probed. Listing /proc remains for the first tick, for large moves, for times when the counter may have wrapped
/// round, and from time to time, since a pid can be handed out of order (`clone3` with `set_tid`).
#[derive(Debug)]
pub(crate) struct Discovery {
    listing: Listing,
    /// None where pids cannot be probed: then every tick lists.
    counter: Option<Counter>,
    /// Whether processes are hidden: one that stops being hidden leaves no evidence, so every tick lists.
    pub(crate) hidden: bool,
    /// None where the number of processes is not to be had.
    census: Option<Census>,
    list_every: Duration,
    /// When /proc was last listed, and when all were last known: then too, or when their number was right.
    listed_at: Option<Monotonic>,
    complete_at: Option<Monotonic>,
    found: Vec<Found>,
}

/// The processes to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// New ones, by the cheapest way there is.
    New,
    /// All of them.
    All,
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
    /// Its pid was handed out shortly before this instant: an earlier reading of it may be of another process.
    Birth(Monotonic),
}

/// The result of one tick, in the order of the pids.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    /// Whether these are all processes there are, and not only those that may be new.
    pub(crate) all: bool,
    pub(crate) found: &'a [Found],
}

/// The kernel's counter of pids, and the pids it passed lately.
#[derive(Debug)]
struct Counter {
    loadavg: OwnedFd,
    pid_max: OwnedFd,
    /// `None` where `/proc/stat` also counts the processes of other pid namespaces: then it is no evidence.
    stat: Option<OwnedFd>,
    buffer: Buffer,
    last: u32,
    last_at: Monotonic,
    /// The highest pid there could be at the last tick.
    pid_max_before: u32,
    /// How many tasks there were at the last tick.
    tasks: u64,
    /// The number of clones when that was last read.
    clones: Option<u64>,
    /// How many clones there were, as far as they are asked for.
    total: Option<Total>,
    windows: VecDeque<Window>,
}

/// The number of clones at the last tick, and what of it was reported.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    now: Option<u64>,
    reported: Option<u64>,
}

/// Pids handed out: a range to probe, at the next tick too.
#[derive(Debug)]
struct Window {
    first: u32,
    last: u32,
    /// When the counter was seen to have passed them.
    since: Monotonic,
}

/// How many processes there are, by the links of the root directory of /proc.
#[derive(Debug)]
struct Census {
    procfs: ProcFs,
    /// Its links that are no processes.
    others: u64,
    /// By how much the count was too high when all were known.
    excess: u64,
}

/// Every how many times `list_every` it is listed though the number of processes was right at each tick.
const LISTED_ANYWAY: u32 = 6;

/// How long a window is probed: a pid is handed out some time before its process can be seen.
const PROBED_FOR: Duration = Duration::from_millis(200);

/// More pids than are ever handed out and not yet visible at one instant.
const IN_FLIGHT: u32 = 256;

/// Between how many pids `Cancel` is polled while they are probed.
const POLL: u32 = 512;

/// After the counter wrapped round it goes on from here; lower pids are handed out once.
const RESERVED_PIDS: u32 = 300;

/// More pids than a machine hands out in a second: a `clone(2)` that fails by a limit on processes uses one up too, and a CPU makes a
/// hundred thousand of these; all CPUs share a lock for it.
const PIDS_PER_SECOND: u128 = 2_000_000;

/// How many pids a task keeps from being handed out, at most: its own, and those of a process group and a session whose leaders are gone.
const PIDS_OF_A_TASK: u64 = 3;

impl Discovery {
    /// `counts_clones`: whether [`cloned`](Self::cloned) is asked for.
    pub(crate) fn new(procfs: &ProcFs, list_every: Duration, counts_clones: bool) -> Result<Self> {
        let mut counter = if procfs.has_pulse() { Counter::open(procfs) } else { None };
        if let Some(counter) = counter.as_mut().filter(|_| counts_clones) {
            counter.total = Some(Total::default());
        }
        let counted = counter.is_some() && procfs.is_of_first_namespace();
        let census = counted.then(|| Census { procfs: procfs.clone(), others: u64::MAX, excess: 0 });
        Ok(Self {
            listing: Listing::open(procfs)?,
            counter,
            hidden: false,
            census,
            list_every,
            listed_at: None,
            complete_at: None,
            found: Vec::new(),
        })
    }

    /// When all were last known.
    pub(crate) fn complete_at(&self) -> Option<Monotonic> {
        self.complete_at
    }

    /// How many processes and threads were cloned since this was last asked; `None` the first time, and where it is not known.
    pub(crate) fn cloned(&mut self) -> Option<u64> {
        let total = self.counter.as_mut()?.total.as_mut()?;
        let before = std::mem::replace(&mut total.reported, total.now)?;
        total.now?.checked_sub(before)
    }

    /// The last result was not used: the next tick lists.
    pub(crate) fn start_over(&mut self) {
        (self.listed_at, self.complete_at) = (None, None);
    }

    /// Finds processes that may be new; `known` is the number of known ones.
    pub(crate) fn find(
        &mut self,
        search: Search,
        known: usize,
        now: Monotonic,
        cancel: &Cancel,
    ) -> Result<Findings<'_>> {
        self.found.clear();
        let within = |at: Option<Monotonic>, age| at.and_then(|at| now.since(at)).is_some_and(|passed| passed < age);
        let listed = within(self.complete_at, self.list_every)
            && within(self.listed_at, self.list_every.saturating_mul(LISTED_ANYWAY));
        // The counter first, then the listing: a process that is born in between is in the next window.
        let probe = self.counter.as_mut().map_or(Probe::List, |counter| counter.advance(known, now));
        // One listing a tick: a process that is born after it is found at the next one.
        let listed = listed || (search == Search::New && self.listed_at == Some(now));
        if probe == Probe::Windows && !self.hidden && listed && search == Search::New {
            if let Some(counter) = &self.counter {
                counter.probe(&mut self.found, cancel)?;
            }
            return Ok(Findings { all: false, found: &self.found });
        }
        // Until it has succeeded, the next tick lists as well.
        self.start_over();
        let found = &mut self.found;
        let others = self.listing.list(cancel, |pid, ino| found.push(Found { pid, by: By::Listing(ino) }))?;
        if !self.found.is_sorted_by_key(|found| found.pid) {
            self.found.sort_unstable_by_key(|found| found.pid);
        }
        (self.listed_at, self.complete_at) = (Some(now), Some(now));
        if let Some(counter) = &mut self.counter {
            counter.listed();
        }
        if let Some(census) = &mut self.census {
            census.others = others;
        }
        Ok(Findings { all: true, found: &self.found })
    }

    /// Returns whether the count shows no more processes than `known`. `all_alive`: none of these can have ended unnoticed since the tick
    /// began at `now`.
    pub(crate) fn misses_none(&mut self, known: usize, all_alive: bool, now: Monotonic) -> bool {
        let Some(census) = self.census.as_mut().filter(|_| !self.hidden) else { return true };
        let Some(surplus) = census.surplus(known) else { return true };
        let missing = surplus > census.excess;
        census.excess = census.excess.min(surplus);
        if !missing && all_alive {
            self.complete_at = Some(now);
        }
        !missing
    }

    /// All were listed, and `known` of them are there: whatever is counted besides is none that can be found.
    pub(crate) fn all_are_known(&mut self, known: usize) {
        if let Some(census) = &mut self.census {
            census.excess = census.surplus(known).unwrap_or(0);
        }
    }
}

impl Census {
    /// How many more processes are counted than are known.
    fn surplus(&self, known: usize) -> Option<u64> {
        let counted = self.procfs.links()?.saturating_sub(self.others);
        Some(counted.saturating_sub(u64::try_from(known).unwrap_or(u64::MAX)))
    }
}

/// The way to find the pids that the counter passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Windows,
    List,
}

impl Counter {
    fn open(procfs: &ProcFs) -> Option<Self> {
        let open = |path| open_of_proc(procfs.dir(), path).ok();
        Some(Self {
            loadavg: open("loadavg")?,
            pid_max: open("sys/kernel/pid_max")?,
            stat: if procfs.is_of_first_namespace() { open("stat") } else { None },
            buffer: Buffer::new(),
            last: 0,
            last_at: Monotonic::default(),
            pid_max_before: u32::MAX,
            tasks: 0,
            clones: None,
            total: None,
            windows: VecDeque::new(),
        })
    }

    /// Reads the counter, and returns the way to find the pids it passed.
    fn advance(&mut self, known: usize, now: Monotonic) -> Probe {
        let last_tick = self.last_at;
        self.windows
            .retain(|window| window.since >= last_tick || now.since(window.since).unwrap_or_default() < PROBED_FOR);
        let Some((tasks, last)) = self.buffer.read(&self.loadavg).ok().and_then(tasks_and_last_pid) else {
            return Probe::List;
        };
        // It can be set at any time, and is that of our pid namespace since Linux 6.14.
        let pid_max = self.buffer.read(&self.pid_max).ok().and_then(|text| decimal(text.trim_ascii())).unwrap_or(0);
        // Raised meanwhile, the counter may have gone round at the lower number before.
        let lowest_pid_max = std::mem::replace(&mut self.pid_max_before, pid_max).min(pid_max);
        let (before, before_at) = (self.last, self.last_at);
        let most_tasks = std::mem::replace(&mut self.tasks, tasks).max(tasks);
        (self.last, self.last_at) = (last, now);
        if self.total.is_some_and(|total| total.now.is_none() || last != before) {
            // Where no pid was handed out, nothing was cloned.
            let clones = self.stat.as_ref().and_then(|stat| clones(self.buffer.read(stat).ok()?));
            self.total = self.total.map(|total| Total { now: clones, ..total });
        }
        if last < before {
            // Up to the highest pid, and on from the lowest.
            self.windows.push_back(Window { first: before.saturating_add(1), last: pid_max, since: now });
            self.windows.push_back(Window { first: 1, last, since: now });
            return Probe::List;
        }
        if last > before {
            self.windows.push_back(Window { first: before.saturating_add(1), last, since: now });
        }
        let elapsed = now.since(before_at).unwrap_or_default();
        let round = pids_to_go_round(lowest_pid_max, most_tasks);
        if may_be_given_out(round, elapsed) && self.cloned().is_none_or(|clones| clones >= round) {
            return Probe::List;
        }
        let to_probe =
            self.windows.iter().map(|window| u64::from(window.last.saturating_sub(window.first))).sum::<u64>();
        // Probing an absent pid costs about a third of listing a present one.
        let bearable = u64::try_from(known).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(256);
        if to_probe > bearable { Probe::List } else { Probe::Windows }
    }

    /// How many processes and threads were cloned since the last tick, or since before it; `None` where that is not known.
    /// Those that failed are not counted, though each took a pid: so many of them are found by the census.
    fn cloned(&mut self) -> Option<u64> {
        let clones = clones(self.buffer.read(self.stat.as_ref()?).ok()?)?;
        let before = self.clones.replace(clones)?;
        clones.checked_sub(before)
    }

    fn probe(&self, found: &mut Vec<Found>, cancel: &Cancel) -> Result<()> {
        for window in &self.windows {
            for pid in window.first..=window.last {
                if pid.checked_rem(POLL) == Some(0) {
                    cancel.check()?;
                }
                if pulse(pid).is_some() {
                    found.push(Found { pid, by: By::Birth(window.since) });
                }
            }
        }
        // Windows are in the order of time, and do not overlap but after a wrap-around, which ends in a listing.
        found.sort_by_key(|found| found.pid);
        found.dedup_by_key(|found| found.pid);
        Ok(())
    }

    /// After a listing, only the pids handed out last can still be on their way.
    fn listed(&mut self) {
        for window in &mut self.windows {
            window.first = window.first.max(window.last.saturating_sub(IN_FLIGHT));
        }
    }
}

/// How many pids have to be handed out for the counter to wrap round, at least: those that are in use are passed over.
fn pids_to_go_round(pid_max: u32, tasks: u64) -> u64 {
    u64::from(pid_max.saturating_sub(RESERVED_PIDS)).saturating_sub(tasks.saturating_mul(PIDS_OF_A_TASK))
}

/// Whether so many pids may have been handed out in this time.
fn may_be_given_out(pids: u64, elapsed: Duration) -> bool {
    elapsed.as_nanos().saturating_mul(PIDS_PER_SECOND) >= u128::from(pids).saturating_mul(1_000_000_000)
}

/// `0.20 0.18 0.12 1/80 11206`: 80 tasks, and the last pid.
fn tasks_and_last_pid(loadavg: &[u8]) -> Option<(u64, u32)> {
    let mut fields = loadavg.trim_ascii_end().rsplit(|byte| *byte == b' ');
    let last = decimal(fields.next()?)?;
    let tasks = fields.next()?.rsplit(|byte| *byte == b'/').next()?;
    Some((decimal(tasks)?, last))
}

/// The line `processes 11206` of `/proc/stat`: how many processes and threads were cloned since the machine started.
fn clones(stat: &[u8]) -> Option<u64> {
    let line = stat.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"processes "))?;
    decimal(line.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_field_is_the_last_pid() {
        assert_eq!(tasks_and_last_pid(b"0.20 0.18 0.12 1/80 11206\n"), Some((80, 11206)));
        assert_eq!(tasks_and_last_pid(b""), None);
        assert_eq!(tasks_and_last_pid(b"11206"), None);
    }

    #[test]
    fn clones_are_counted() {
        assert_eq!(clones(b"cpu  1 2 3\nctxt 7\nprocesses 8123\nprocs_running 2\n"), Some(8123));
        assert_eq!(clones(b"cpu  1 2 3\n"), None);
        assert!(clones(&std::fs::read("/proc/stat").unwrap()).unwrap() > 0);
    }

    #[test]
    fn the_counter_wraps_round_over_free_pids() {
        assert_eq!(pids_to_go_round(32_768, 0), 32_468);
        assert_eq!(pids_to_go_round(600, 90), 30);
        // So many tasks that hardly a pid is free.
        assert_eq!(pids_to_go_round(600, 290), 0);
        assert_eq!(pids_to_go_round(0, 1), 0);
        assert!(may_be_given_out(0, Duration::ZERO));
        assert!(!may_be_given_out(1, Duration::ZERO));
        assert!(may_be_given_out(32_468, Duration::from_millis(100)));
        assert!(!may_be_given_out(1 << 22, Duration::from_secs(1)));
        assert!(may_be_given_out(u64::MAX, Duration::MAX));
    }

    #[test]
    fn as_many_clones_as_there_are_pids_end_in_a_listing() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            std::fs::write(directory.path().join(name), content).unwrap();
            std::fs::File::open(directory.path().join(name)).unwrap().into()
        };
        let mut counter = Counter {
            loadavg: file("loadavg", "0 0 0 1/100 5000"),
            pid_max: file("pid_max", "32768\n"),
            stat: Some(file("stat", "processes 70000\n")),
            buffer: Buffer::new(),
            last: 0,
            last_at: Monotonic::default(),
            pid_max_before: u32::MAX,
            tasks: 0,
            clones: None,
            total: None,
            windows: VecDeque::new(),
        };
        let mut tick = |second: u64, loadavg: &str, clones: u64, pid_max: u32| {
            file("loadavg", loadavg);
            file("stat", &format!("processes {clones}\n"));
            file("pid_max", &pid_max.to_string());
            let probe = counter.advance(1_000, Monotonic::from_nanos(second * 1_000_000_000));
            if probe == Probe::List {
                counter.listed();
            }
            probe
        };
        assert_eq!(tick(1, "0 0 0 1/100 5000", 70_000, 32_768), Probe::List, "the first");
        assert_eq!(tick(2, "0 0 0 1/100 5010", 70_010, 32_768), Probe::Windows);
        assert_eq!(tick(3, "0 0 0 1/100 5010", 70_010 + 32_168, 32_768), Probe::List, "all that were free");
        assert_eq!(tick(4, "0 0 0 1/100 5020", 102_178 + 32_167, 32_768), Probe::Windows, "one less");
        assert_eq!(tick(5, "0 0 0 1/8000 5030", 134_355, 32_768), Probe::Windows);
        assert_eq!(tick(6, "0 0 0 1/100 5040", 144_355, 32_768), Probe::List, "8,000 tasks had used up 24,000");
        assert_eq!(tick(7, "0 0 0 1/100 5050", 144_365, 32_768), Probe::Windows);
        assert_eq!(tick(8, "0 0 0 1/100 5060", 145_365, 1_000), Probe::List, "fewer pids by now");
        assert_eq!(tick(9, "0 0 0 1/100 5070", 146_365, 4_194_304), Probe::List, "until then they were few");
        assert_eq!(tick(10, "0 0 0 1/100 5075", 146_370, 4_194_304), Probe::Windows);
        assert_eq!(tick(11, "0 0 0 1/100 5060", 146_371, 4_194_304), Probe::List, "round");
    }

    #[test]
    fn a_child_is_found_without_listing() {
        let procfs = ProcFs::new("/proc").unwrap();
        assert!(procfs.has_pulse());
        let mut discovery = Discovery::new(&procfs, Duration::MAX, false).unwrap();
        let cancel = Cancel::new();
        assert!(discovery.find(Search::New, 0, Monotonic::now(), &cancel).unwrap().all);
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let findings = discovery.find(Search::New, 10_000, Monotonic::now(), &cancel).unwrap();
        assert!(!findings.all);
        assert!(findings.found.iter().any(|found| found.pid == child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn clones_since_the_last_time() {
        let procfs = ProcFs::new("/proc").unwrap();
        let mut discovery = Discovery::new(&procfs, Duration::MAX, true).unwrap();
        let mut cloned = || {
            discovery.find(Search::New, 10_000, Monotonic::now(), &Cancel::new()).unwrap();
            discovery.cloned()
        };
        assert_eq!(cloned(), None);
        for _ in 0..3 {
            std::process::Command::new("true").status().unwrap();
        }
        if procfs.is_of_first_namespace() {
            assert!(cloned().unwrap() >= 3);
        } else {
            assert_eq!(cloned(), None);
        }
    }

    #[test]
    fn an_unused_result_is_listed_again() {
        let procfs = ProcFs::new("/proc").unwrap();
        let mut discovery = Discovery::new(&procfs, Duration::MAX, false).unwrap();
        let mut lists = |start_over: bool| {
            if start_over {
                discovery.start_over();
            }
            discovery.find(Search::New, 10_000, Monotonic::now(), &Cancel::new()).unwrap().all
        };
        assert!(lists(false));
        assert!(!lists(false));
        assert!(lists(true));
    }
}
