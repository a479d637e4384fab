//! Starts, changes and ends of processes, as a source.

use std::fmt;
use std::path::PathBuf;

use super::connector::{Connector, ConnectorSettings};
use super::event::{ProcessEvent, ProcessEventKind, UsagePrecision};
use super::lives::{Draft, DraftKind, Evidence, Input, Life, Lives};
use super::log::Taken;
use super::method::{ConnectorObstacle, EventMethod};
use super::selection::{Decision, Selection};
use crate::process::pulse::pulse;
use crate::process::{ExitStatus, ProcFs, Processes, Select};
use crate::source::Source;
use crate::{Cancel, Fields, Notice, ProcessSample, Reading, Result, Snapshot};

/// The starts, changes and ends of the processes of a machine, as a [`Source`]: each snapshot has all events since the last one, in the
/// order in which they happened. The first one has none.
///
/// ```text
/// process connector ──► a thread drains it ──► log ─┐
///                                                   ├──► lives ──► select ──► events
/// tick over all processes (as of `Processes`) ──────┘
/// ```
///
/// # Methods
///
/// | [`EventMethod`] | starts and ends | exit status | where |
/// |---|---|---|---|
/// | `Connector` | all, however short the life | of all, exactly | in the first pid, user, network and time namespaces; before Linux 6.6 with `CAP_NET_ADMIN` |
/// | `Polling` | those that a tick can see | of those that were not waited for yet, where they may be traced | everywhere |
///
/// Which one it is, and why no better one, is [`Notice::ProcessEvents`] in each snapshot; it can change from one to the next.
///
/// The kernel announces to the connector each fork, exec and end. A thread named `appmon-events` takes the announcements out of the
/// kernel's buffer, some milliseconds after the first of them, so that many come at once; while nothing happens, nothing wakes. It ends
/// with the source. Announcements that did not fit into the buffer are lost: that is counted ([`Skipped::lost`](crate::Skipped::lost)), by
/// the numbers that each CPU puts on its announcements, and the processes that exist are compared with those that are known, so that none
/// is missing for long.
///
/// The remaining fields are read at each tick as [`Processes`] does: at a cost that follows the processes that ran. The reading has the
/// names of the processes, their parents and their usage; and it makes sure that an end is an end: a process whose main thread exited lives
/// while other threads do, and so does one in which another thread called `execve(2)`.
///
/// # Limits
///
/// A process that is over before a tick, or the thread, could read it has no name after an exec, and its CPU time is not known: the kernel
/// reports that only to the process that waited for it. The usage of a longer life is that of its last reading.
///
/// # Selections
///
/// A process is judged once for each snapshot, as it was at the end of it, or at its own end; so a program that is selected by its name is
/// there from its start, though it had another name then, if the exec is in the same snapshot. When a process leaves the selection, it is
/// reported once more. Unknown fields do not decide about a process: events of a process that is over and could not be decided about are
/// counted in [`Skipped::undecided`](crate::Skipped::undecided), and reported with [`undecided`](Self::undecided).
///
/// # Errors
///
/// [`collect`](Source::collect) fails when the root cannot be opened or listed. The events are in the next snapshot then.
///
/// # Examples
///
/// ```
/// use appmon::events::{ProcessEventKind, ProcessEvents};
/// use appmon::{Cancel, SourceExt};
///
/// let mut events = ProcessEvents::new();
/// events.read(&Cancel::new())?;
/// std::process::Command::new("true").status().map_err(appmon::Error::io)?;
/// for event in &events.read(&Cancel::new())? {
///     if let ProcessEventKind::Exited { status, .. } = &event.kind {
///         println!("{} ended: {status:?}", event.id.pid);
///     }
/// }
/// # Ok::<(), appmon::Error>(())
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct ProcessEvents {
    settings: Settings,
    state: Option<State>,
}

/// The settings of the source.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) root: PathBuf,
    pub(crate) select: Select,
    pub(crate) fields: Fields,
    pub(crate) undecided: bool,
    pub(crate) connector: bool,
    pub(crate) buffer_bytes: usize,
    pub(crate) most_pending: usize,
}

struct State {
    procfs: ProcFs,
    processes: Processes,
    tick: Snapshot<ProcessSample>,
    connector: std::result::Result<Connector, ConnectorObstacle>,
    /// The facts that were taken, and could not be put together since the tick failed.
    left: Taken,
    lives: Lives,
    /// The events to report, where the tick was cancelled before.
    drafts: Vec<Draft>,
    selection: Selection,
    next: u64,
}

impl ProcessEvents {
    /// Events of all processes, by the best method that can be had.
    pub fn new() -> Self {
        let settings = Settings {
            root: PathBuf::from("/proc"),
            select: Select::all(),
            fields: Fields::empty(),
            undecided: false,
            connector: true,
            buffer_bytes: 4 << 20,
            most_pending: 1 << 17,
        };
        Self { settings, state: None }
    }

    /// Sets where /proc is mounted. Default: `/proc`. The connector is used where it is that of this process's pid namespace.
    pub fn root(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.root = path.into();
        self
    }

    /// Sets which processes to report. Default: all.
    pub fn select(mut self, select: Select) -> Self {
        self.settings.select = select;
        self
    }

    /// Sets the fields to read of each process at each tick, for the event of its end: [`Fields::IO`] for `io`, [`Fields::STATUS`] for
    /// `peak_rss_bytes`; and of each event [`Fields::CGROUP`] for `cgroup`. Default: none. The fields that the selection needs are read in
    /// any case.
    pub fn fields(mut self, fields: Fields) -> Self {
        self.settings.fields = fields & (Fields::IO | Fields::STATUS | Fields::CGROUP);
        self
    }

    /// Sets whether to report, as [`ProcessEvent::undecided`], the events of processes that were over before the selection could decide
    /// about them. Default: no.
    pub fn undecided(mut self, reported: bool) -> Self {
        self.settings.undecided = reported;
        self
    }

    /// Sets whether to use the process connector where it can be had. Default: yes.
    pub fn connector(mut self, used: bool) -> Self {
        self.settings.connector = used;
        self
    }

    /// Sets how many bytes of announcements the kernel may keep until the thread takes them out (`SO_RCVBUF`). Default: 4 MiB, which hold
    /// some 10,000. Without `CAP_NET_ADMIN` it is cut to `net.core.rmem_max`, which is 212,992 almost everywhere: some 250 announcements.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.settings.buffer_bytes = bytes;
        self
    }

    /// Sets how many announcements may wait for a tick. Default: 131,072, some 10 MiB. Any more are lost, and counted.
    pub fn max_pending(mut self, count: usize) -> Self {
        self.settings.most_pending = count;
        self
    }

    /// The settings.
    #[cfg(feature = "config")]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Default for ProcessEvents {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ProcessEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessEvents").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Source for ProcessEvents {
    type Sample = ProcessEvent;

    fn fill(&mut self, snapshot: &mut Snapshot<ProcessEvent>, cancel: &Cancel) -> Result<()> {
        let state = match &mut self.state {
            Some(state) => state,
            None => self.state.insert(State::new(&self.settings)?),
        };
        state.collect(&self.settings, snapshot, cancel)
    }
}

impl State {
    fn new(settings: &Settings) -> Result<Self> {
        let procfs = ProcFs::new(&settings.root)?;
        let fields = settings.fields | settings.select.needs();
        Ok(Self {
            processes: Processes::new().root(&settings.root).fields(fields),
            tick: Snapshot::default(),
            connector: Self::listen(settings, &procfs),
            left: Taken::default(),
            lives: Lives::new(procfs.ticks_per_second()),
            drafts: Vec::new(),
            selection: Selection::new(settings.select.clone(), settings.most_pending, procfs.ticks_per_second()),
            next: 0,
            procfs,
        })
    }

    fn listen(settings: &Settings, procfs: &ProcFs) -> std::result::Result<Connector, ConnectorObstacle> {
        if !settings.connector {
            return Err(ConnectorObstacle::TurnedOff);
        }
        let (buffer_bytes, most_pending) = (settings.buffer_bytes, settings.most_pending);
        if !procfs.has_pulse() {
            return Err(ConnectorObstacle::OtherProc);
        }
        Connector::open(ConnectorSettings { buffer_bytes, most_pending })
    }

    fn collect(&mut self, settings: &Settings, snapshot: &mut Snapshot<ProcessEvent>, cancel: &Cancel) -> Result<()> {
        let evidence = self.take(settings, cancel)?;
        // A process that ended before the facts were taken is no longer in this tick.
        self.processes.collect(&mut self.tick, cancel)?;
        let Taken { facts, lost, .. } = std::mem::take(&mut self.left);
        let (procfs, has_pulse) = (&self.procfs, self.procfs.has_pulse());
        let mut drafts = self.lives.advance(Input {
            facts,
            evidence,
            samples: &self.tick.samples,
            now: self.tick.at,
            exists: &|pid| has_pulse && pulse(pid).is_some(),
            status: &|sample| status(procfs, sample),
        });
        self.drafts.append(&mut drafts);
        let chosen = self.selection.choose(&mut self.lives, &mut self.drafts, self.tick.at, cancel)?;

        snapshot.boot_id = self.tick.boot_id;
        snapshot.complete_at = self.tick.complete_at;
        snapshot.skipped = self.tick.skipped;
        snapshot.skipped.lost = lost.saturating_add(chosen.dropped);
        snapshot.notices.append(&mut self.tick.notices);
        snapshot.notices.push(match &self.connector {
            Ok(_) => Notice::ProcessEvents { by: EventMethod::Connector, no_connector: None },
            Err(obstacle) => Notice::ProcessEvents { by: EventMethod::Polling, no_connector: Some(*obstacle) },
        });
        for (draft, decision) in chosen.drafts {
            let undecided = decision == Decision::Undecided;
            if undecided && !settings.undecided {
                snapshot.skipped.undecided = snapshot.skipped.undecided.saturating_add(1);
                continue;
            }
            if let Some(life) = self.lives.get(draft.life) {
                let has_cgroup = settings.fields.contains(Fields::CGROUP);
                snapshot.samples.push(event(self.next, draft, life, undecided, has_cgroup));
                self.next = self.next.saturating_add(1);
            }
        }
        self.lives.remove_ended();
        Ok(())
    }

    /// Takes the announcements since the last tick.
    fn take(&mut self, settings: &Settings, cancel: &Cancel) -> Result<Evidence> {
        if let Err(ConnectorObstacle::Failed) = self.connector {
            self.connector = Self::listen(settings, &self.procfs);
            // Earlier announcements are not known.
            self.left.overrun = true;
        }
        let Ok(connector) = &self.connector else { return Ok(Evidence::ReadOnly) };
        match connector.take(cancel)? {
            Some(mut taken) => {
                self.left.facts.append(&mut taken.facts);
                self.left.lost = self.left.lost.saturating_add(taken.lost);
                self.left.overrun |= taken.overrun;
            }
            None => {
                self.connector = Err(ConnectorObstacle::Failed);
                return Ok(Evidence::ReadOnly);
            }
        }
        Ok(if self.left.overrun { Evidence::Incomplete } else { Evidence::Announced })
    }
}

fn event(number: u64, draft: Draft, life: &Life, undecided: bool, has_cgroup: bool) -> ProcessEvent {
    let known = |name: Option<crate::Text>| name.map_or(Reading::Failed, Reading::Value);
    let (name, kind) = match draft.kind {
        DraftKind::Started(name) => (known(name), ProcessEventKind::Started {}),
        DraftKind::Execed(nth) => (known(life.name_after_exec(nth)), ProcessEventKind::Execed {}),
        DraftKind::Renamed(name) => (Reading::Value(name), ProcessEventKind::Renamed {}),
        DraftKind::Reparented(from) => (known(life.name.clone()), ProcessEventKind::Reparented { from }),
        DraftKind::Ended(status) => (known(life.name.clone()), exited(status, life)),
    };
    let cgroup = if has_cgroup {
        life.info.as_ref().map_or(Reading::Failed, |info| info.cgroup.clone())
    } else {
        Reading::NotRequested
    };
    let Draft { ppid, at, .. } = draft;
    ProcessEvent { number, id: life.id, derived: life.derived, ppid, name, cgroup, at, undecided, kind }
}

fn exited(status: Reading<ExitStatus>, life: &Life) -> ProcessEventKind {
    match life.usage {
        Some(usage) => ProcessEventKind::Exited {
            status,
            cpu_ns: Reading::Value(usage.cpu_ns),
            peak_rss_bytes: usage.peak_rss_bytes,
            io: usage.io,
            usage: if usage.exact { UsagePrecision::Exact } else { UsagePrecision::AtLeast },
            usage_at: Some(usage.at),
        },
        None => ProcessEventKind::Exited {
            status,
            cpu_ns: Reading::Failed,
            peak_rss_bytes: Reading::NotRequested,
            io: Reading::NotRequested,
            usage: UsagePrecision::Unknown,
            usage_at: None,
        },
    }
}

/// The status of a process that was not waited for yet.
fn status(procfs: &ProcFs, sample: &ProcessSample) -> Reading<ExitStatus> {
    let stat = procfs.process(sample.id.pid).ok().filter(|process| process.id() == sample.id);
    let Some(stat) = stat.and_then(|process| process.stat().ok()) else { return Reading::Failed };
    ExitStatus::of_zombie(stat.exit_code, stat.wchan)
}
