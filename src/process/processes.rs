//! All processes as a source.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, Secret};
use super::scan::Scan;
use super::{Fields, ProcFs, ProcessId, ProcessSample, Select};
use crate::{Cancel, Result, Snapshot, Source};

/// The processes of a machine, as a [`Source`] whose cost follows the number of processes that ran, not of all processes.
///
/// A process that did not run since the last tick has changed none of its own counters. One cheap call to the kernel, for the process's CPU
/// clock, shows whether it ran. So a tick finds new processes, reads every CPU clock, reads the files of the processes that ran only, and
/// repeats the samples of the others, with counters that are exact as of [`ProcessSample::at`], which is now. Fields that can change
/// without the process running (memory under reclaim, `nice`) are read again within [`max_age`](Self::max_age), earlier after memory was
/// reclaimed.
///
/// ```text
/// find new ones ──► read CPU clocks ──► read those that ran ──► slow files, names ──► select ──► snapshot
///   /proc/loadavg                           stat, io …            within a budget
/// ```
///
/// Samples come in the order of their pids. For a /proc of another pid namespace the CPU clocks cannot be read: there
/// everything is read at every tick, with the same results, and the snapshot has [`Notice::NoPulse`](crate::Notice::NoPulse).
///
/// A clone has the same settings, and begins from nothing: it shares no readings, no descriptor and no thread.
///
/// # Errors
///
/// [`collect`](Source::collect) fails when the root cannot be opened or listed, and when a setting is wrong
/// ([`is_config`](crate::Error::is_config)). A process that cannot be read is counted in [`Snapshot::skipped`].
///
/// # Examples
///
/// ```
/// use appmon::{Cancel, Fields, Processes, Select, Snapshot, Source};
///
/// let mut processes = Processes::new()
///     .select(!Select::kernel_threads())
///     .fields(Fields::DEFAULT | Fields::STATUS);
/// let mut snapshot = Snapshot::default();
/// processes.collect(&mut snapshot, &Cancel::new())?;
/// let me = snapshot.samples.iter().find(|process| process.id.pid == std::process::id()).expect("this process");
/// assert!(me.memory.rss_bytes > 0);
/// # Ok::<(), appmon::Error>(())
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct Processes {
    config: Config,
    scan: Option<Scan>,
}

impl Processes {
    /// Creates a source of all processes in `/proc`, with [`Fields::DEFAULT`].
    pub fn new() -> Self {
        Self { config: Config::default(), scan: None }
    }

    /// Sets where /proc is mounted. Default: `/proc`.
    pub fn root(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.root = path.into();
        self
    }

    /// Sets which processes to yield. Default: all.
    ///
    /// A process that is not selected is read only as far as the selection needs. It is checked again within [`recheck`](Self::recheck),
    /// since it can change its program, its user or its parent.
    pub fn select(mut self, select: Select) -> Self {
        self.config.select = select;
        self
    }

    /// Sets the fields to read of each. Default: [`Fields::DEFAULT`].
    pub fn fields(mut self, fields: Fields) -> Self {
        self.config.fields = fields;
        self
    }

    /// Sets how old the reading of an idle process may get. Default: 5 min.
    ///
    /// Its counters are exact at every tick in any case; this bounds the age of fields that others can change while it does not run:
    /// memory, `nice` and the others that [`ProcessSample::read_at`](super::ProcessData::read_at) names, its control group, whether its executable and working directory
    /// still exist, the names of its user and group. Two things are renewed within a fifth of it (1 min): the memory of all, after the
    /// kernel reclaimed some anywhere (`pgsteal_*` and others in `/proc/vmstat`; where these cannot be read, always); and the control group
    /// of those that run. These readings are spread over the ticks.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.config.max_age = age;
        self
    }

    /// Sets how long ago all processes may have been known before /proc is listed. Default: 10 s.
    ///
    /// New processes are found by the pids that the kernel handed out, without a listing, and are in the next snapshot; where the pids may
    /// have wrapped round since the last tick, that tick lists. This bounds the delay for processes that only a listing can find: with a
    /// pid handed out of order (`clone3(2)` with `set_tid`, as a restored checkpoint has it), or whose birth took the kernel longer than
    /// 200 ms. [`Snapshot::complete_at`] is when all were known last.
    ///
    /// Outside of containers the kernel's number of processes is compared at each tick. Where it is higher, that tick lists;
    /// where it is right, all are known, and it is listed a sixth as often. With a selection a process may be missed there as
    /// long as another one, that is not selected, has ended and is not looked at yet. Where others' processes are hidden
    /// (`hidepid`), every tick lists.
    ///
    /// A listing takes about 1 µs for each process. `Duration::ZERO` lists at every tick, [`Duration::MAX`] never again but
    /// where it has to be.
    pub fn list_every(mut self, period: Duration) -> Self {
        self.config.list_every = period;
        self
    }

    /// Sets after how long a process that is not selected is checked again, at the latest. Default: 15 s.
    ///
    /// A new process is checked often at first (after 1, 2, 4 … ticks), since programs are started by a fork and then an `execve(2)`; 32
    /// ticks are the longest interval. A process that another one moves to another control group while it does not run is found when it
    /// runs.
    pub fn recheck(mut self, after: Duration) -> Self {
        self.config.recheck = after;
        self
    }

    /// Sets how many file descriptors to keep open for the processes that run. Default: a quarter of the soft limit (`RLIMIT_NOFILE`) at
    /// the first tick, which is never changed. 0 keeps none. Fewer cost speed, never samples.
    pub fn max_fds(mut self, count: usize) -> Self {
        self.config.max_fds = Some(count);
        self
    }

    /// Sets how many threads read when much has to be read. Default: as many as there are cores for this process, 8 at most. 0 is an error
    /// at the first tick ([`is_config`](crate::Error::is_config)).
    pub fn threads(mut self, count: usize) -> Self {
        self.config.threads = Some(count);
        self
    }

    /// Sets how long a tick waits for files that can block or take long: command lines, environments, `smaps_rollup`, many open files, the
    /// names of users, and the [pid files](Select::pid_file) of a selection. Default: 100 ms. A value that is not read by then is
    /// [`Reading::Skipped`](crate::Reading::Skipped) in this tick, and present at a later one. With [`Duration::MAX`] a tick takes as long
    /// as the slowest of them, and ends early only when it is cancelled.
    pub fn slow_budget(mut self, budget: Duration) -> Self {
        self.config.slow.budget = budget;
        self
    }

    /// Sets how often the slow files of a process that runs are read again. Default: 10 s. After an `execve(2)` they are read at once.
    /// Where such a reading is not there in time, the command line and the environment stay as they were last read of the same program, and
    /// `smaps_rollup` and the number of many open files are [`Reading::Skipped`](crate::Reading::Skipped).
    pub fn slow_cadence(mut self, cadence: Duration) -> Self {
        self.config.slow.cadence = cadence;
        self
    }

    /// Sets how many bytes of memory command lines and environments may take in the source, all together. Default: 64 MiB.
    ///
    /// A process can have megabytes of these that cost it nothing, and a user thousands of processes. A text is kept while there is room,
    /// and in any case where it takes no more than the share of one process, which is this limit divided by the number of processes: so the
    /// large ones of some never displace the usual ones of others, and all of them take at most twice the limit. A text that is not kept is
    /// [`Reading::Failed`](crate::Reading::Failed), counted in [`Skipped::fields`](crate::Skipped::fields), and read again when it is due;
    /// so is one of more than 65,536 arguments or variables, or of more than 16 MiB. An argument counts with 48 bytes in addition to its
    /// text.
    pub fn max_text_bytes(mut self, bytes: u64) -> Self {
        self.config.max_text_bytes = bytes;
        self
    }

    /// Sets whether the snapshots have [`lives`](Snapshot::lives): the processes that ended since the last tick, the usage that parents
    /// got from the children they waited for, and the usage of [control groups](crate::Lives::control_groups) where the fields include
    /// [`Fields::CGROUP`]. Default: no. [`group_by`](crate::SnapshotStreamExt::group_by) makes true totals of it.
    ///
    /// A tick then counts each life once. Where all processes are selected, each process of an earlier snapshot whose parent is visible and
    /// waits for it is either in the snapshot or in the children's counters of the process that waited for it: not in both, and not in
    /// neither. To that end the last step of a tick checks again the children of the processes that waited since the last tick, and reads
    /// again each process that may have waited for one that is gone. It costs nothing where no process waited for a child.
    ///
    /// An error remains in the microseconds between two steps of the kernel, adding the counters of a child to its parent's and removing
    /// the child, when a thread is interrupted right there: a process that is seen in between is checked again up to a hundred times. With
    /// a selection the parents of the selected processes may not be read, so only their known values are there.
    ///
    /// ```
    /// use appmon::{Cancel, Processes, SourceExt};
    ///
    /// let snapshot = Processes::new().lives(true).read(&Cancel::new())?;
    /// let lives = snapshot.lives.expect("they were requested");
    /// println!("{} ended, {} parents waited for children", lives.exits.len(), lives.reapers.len());
    /// # Ok::<(), appmon::Error>(())
    /// ```
    pub fn lives(mut self, lives: bool) -> Self {
        self.config.lives = lives;
        self
    }

    /// Shows each command line and environment to `redact` before it comes into a sample, to take secrets out.
    ///
    /// A [`Select`] by command line sees it as it is.
    ///
    /// ```
    /// use appmon::{Fields, Processes, Text};
    /// use appmon::process::Secret;
    ///
    /// let processes = Processes::new().fields(Fields::DEFAULT | Fields::CMDLINE).redact(|_, secret| {
    ///     if let Secret::Cmdline(arguments) = secret {
    ///         for argument in arguments.iter_mut().filter(|argument| argument.as_bytes().starts_with(b"--password=")) {
    ///             *argument = Text::from("--password=…");
    ///         }
    ///     }
    /// });
    /// # let _ = processes;
    /// ```
    pub fn redact(mut self, redact: impl Fn(ProcessId, &mut Secret<'_>) + Send + Sync + 'static) -> Self {
        self.config.redact = Some(Arc::new(redact));
        self
    }

    /// The settings.
    #[cfg(feature = "config")]
    pub(crate) fn settings(&self) -> &Config {
        &self.config
    }
}

/// Of the settings: the clone has read nothing.
impl Clone for Processes {
    fn clone(&self) -> Self {
        Self { config: self.config.clone(), scan: None }
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processes")
            .field("root", &self.config.root)
            .field("select", &self.config.select)
            .field("fields", &self.config.fields)
            .finish_non_exhaustive()
    }
}

impl Source for Processes {
    type Sample = ProcessSample;

    fn fill(&mut self, snapshot: &mut Snapshot<ProcessSample>, cancel: &Cancel) -> Result<()> {
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => {
                self.config.check()?;
                let procfs = ProcFs::new(&self.config.root)?;
                self.scan.insert(Scan::new(procfs, self.config.clone())?)
            }
        };
        scan.tick(snapshot, cancel)
    }
}
