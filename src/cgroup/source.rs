//! All control groups as a source.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::config::{Config, notices};
use super::event_source::ControlGroupEvents;
use super::selection::Selection;
use super::tick::Scan;
use super::{ControlGroupFields, ControlGroupSample};
use crate::process::descriptors::default_max_fds;
use crate::{Cancel, Result, Snapshot, Source};

/// The control groups of a machine, as a [`Source`] whose cost follows the number of groups that move, not of all groups.
///
/// A control group is what a service, a container or a session may use, and what it used: the kernel accounts CPU time, memory, I/O and
/// pressure by group, those of processes that ended too, and everybody may read it.
///
/// ```text
/// births and deaths ──► totals, from the root down ──► files of those that ran ──► renewal ──► snapshot
///   inotify               cpu.stat, io.stat, *.pressure    memory.*, pids.*          in turn
/// ```
///
/// The totals of a group contain those of the groups below it. So a tick reads `cpu.stat`, `io.stat` and the pressure files of the groups
/// in the root, and goes below a group only where its total moved; where it stood still, the samples of all groups below are repeated, and
/// are exact as of [`ControlGroupSample::at`], which is now. The kernel shows these totals in steps of a microsecond: so much can be missing
/// until the group moves again. The other files are read of groups that ran or were written to, and of the others in turn, within
/// [`max_age`](Self::max_age).
///
/// Samples come in the order of their paths. Of the hierarchies of version 1 nothing is read: on a machine with both, the snapshot has
/// [`Notice::ControllersInVersion1`](crate::snapshot::Notice::ControllersInVersion1), and the numbers of these controllers are
/// [`NotApplicable`](crate::Reading::NotApplicable).
///
/// # Births and deaths
///
/// The kernel reports births, deaths and changes of state of the groups that are watched (inotify; it needs no permission), so they are in
/// the next snapshot. Watches are limited ([`max_watches`](Self::max_watches)); of a group without one, each tick compares the number of
/// links of its directory, which shows births and deaths but not where one replaces the other; that is found by the walk over all groups
/// every [`walk_every`](Self::walk_every). [`Snapshot::complete_at`] is the last walk. Groups that are made and removed between two ticks
/// are only in the [events](Self::events).
///
/// # Errors
///
/// [`collect`](Source::collect) fails where no hierarchy of version 2 is mounted or where the root cannot be listed, and when a setting is
/// wrong ([`is_config`](crate::Error::is_config)). A group that cannot be opened is counted in [`Snapshot::skipped`].
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use appmon::{ControlGroups, SnapshotStreamExt, SourceExt};
/// use futures::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// let mut ticks = ControlGroups::new().services(true).every(Duration::from_secs(1)).rates();
/// while let Some(tick) = ticks.try_next().await? {
///     for group in &tick {
///         let cores = group.rates.and_then(|rates| Some(rates.cpu.value()?.cores));
///         println!("{} {cores:?} cores, {:?}", group.path, group.memory.value().map(|memory| memory.current_bytes));
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct ControlGroups {
    config: Config,
    scan: Option<Scan>,
}

impl ControlGroups {
    /// Creates a source of all control groups, with all their numbers.
    pub fn new() -> Self {
        let config = Config {
            root: None,
            select: Selection::default(),
            fields: ControlGroupFields::all(),
            max_age: Duration::from_secs(300),
            walk_every: Duration::from_secs(60),
            max_watches: None,
            max_fds: None,
        };
        Self { config, scan: None }
    }

    /// Sets where the unified hierarchy is mounted. Default: where the mount table has it. Paths of samples are then relative to this
    /// place. A directory in which it is called `unified`, as systemd has it beside version 1, is taken too.
    pub fn root(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.root = Some(path.into());
        self
    }

    /// Yields only groups whose path matches one of these globs, in which `*` stops at a `/` and `**` does not: `/system.slice/*`. Default:
    /// all. Several calls add up. A group is selected by itself: those below it are not along with it.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a text that is no glob.
    ///
    /// ```
    /// use appmon::ControlGroups;
    ///
    /// let groups = ControlGroups::new().include_paths(["/kubepods.slice/**"])?.depth(1..=4);
    /// # let _ = groups;
    /// # Ok::<(), appmon::Error>(())
    /// ```
    pub fn include_paths(mut self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.config.select.include("ControlGroups::include_paths", globs)?;
        Ok(self)
    }

    /// Leaves out groups whose path matches one of these globs. Those below them are not left out along with them: `/init.scope{,/**}`
    /// does that.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a text that is no glob.
    pub fn exclude_paths(mut self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.config.select.exclude("ControlGroups::exclude_paths", globs)?;
        Ok(self)
    }

    /// Yields the groups of the units of systemd whose name matches one of these globs: `nginx.service`, `*.scope`. Of a unit it is the
    /// outermost group, which contains the others. With [`containers`](Self::containers), the groups of those too.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a text that is no glob.
    pub fn units(mut self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        self.config.select.units("ControlGroups::units", globs)?;
        Ok(self)
    }

    /// Sets whether to yield the groups of containers only: of each the outermost one. Default: no.
    pub fn containers(mut self, only: bool) -> Self {
        self.config.select.containers = only;
        self
    }

    /// Sets whether to yield the groups of units and containers only: one for each
    /// [`Service`](crate::process::Service), which contains all that is below. Default: no.
    pub fn services(mut self, only: bool) -> Self {
        self.config.select.services = only;
        self
    }

    /// Yields only groups so deep in the hierarchy: the root has 0, a slice such as `system.slice` 1, its services 2. Deeper ones are not
    /// looked for. Default: all.
    pub fn depth(mut self, depth: RangeInclusive<u32>) -> Self {
        self.config.select.depth = depth;
        self
    }

    /// Sets what to read of each group. Default: all.
    pub fn fields(mut self, fields: ControlGroupFields) -> Self {
        self.config.fields = fields;
        self
    }

    /// Sets how old the reading of a group that does not run may get. Default: 5 min.
    ///
    /// CPU time, I/O and the totals of pressure are exact at every tick in any case. This bounds the age of what others can change:
    /// memory, numbers of processes, limits. After the kernel reclaimed memory anywhere, all are read
    /// again within a fifth of it; the averages of pressure of a group that waited are renewed within 10 s. These readings are spread over the
    /// ticks. Writes to the files of a watched group (`memory.max`,
    /// `cgroup.procs`) are seen at the next tick.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.config.max_age = age;
        self
    }

    /// Sets how often all groups are listed, whatever the kernel reported. Default: 60 s. [`Duration::ZERO`] lists at every tick,
    /// [`Duration::MAX`] never again but after events were lost.
    pub fn walk_every(mut self, period: Duration) -> Self {
        self.config.walk_every = period;
        self
    }

    /// Limits the inotify watches: up to three for each group. Default: a quarter of the user's limit
    /// (`/proc/sys/fs/inotify/max_user_watches`). With 0 none is used. Fewer cost speed: see
    /// [`Notice::UnwatchedControlGroups`](crate::snapshot::Notice::UnwatchedControlGroups).
    pub fn max_watches(mut self, count: usize) -> Self {
        self.config.max_watches = Some(count);
        self
    }

    /// Sets how many file descriptors to keep open, up to six for each group that is read at ticks. Default: a quarter of the soft limit
    /// (`RLIMIT_NOFILE`) at the first tick, which is never changed. Fewer cost speed, never samples.
    pub fn max_fds(mut self, count: usize) -> Self {
        self.config.max_fds = Some(count);
        self
    }

    /// Returns the source of the events of these groups: births, deaths, changes of state, kills by the OOM killer.
    pub fn events(self) -> ControlGroupEvents {
        ControlGroupEvents::new(self.config)
    }
}

/// Of the settings: the clone has read nothing.
impl Clone for ControlGroups {
    fn clone(&self) -> Self {
        Self { config: self.config.clone(), scan: None }
    }
}

impl Default for ControlGroups {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ControlGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlGroups").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Source for ControlGroups {
    type Sample = ControlGroupSample;

    fn fill(&mut self, snapshot: &mut Snapshot<ControlGroupSample>, cancel: &Cancel) -> Result<()> {
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => {
                let Config { fields, max_age, walk_every, max_fds, .. } = &self.config;
                let max_fds = max_fds.unwrap_or_else(default_max_fds);
                let tree = self.config.open(false)?;
                self.scan.insert(Scan::new(tree, *fields, *max_age, *walk_every, max_fds))
            }
        };
        match scan.tick(snapshot, cancel) {
            Ok(()) => {
                notices(scan.tree(), &mut snapshot.notices);
                Ok(())
            }
            Err(error) => {
                // Its root may be another one by now.
                if !error.is_cancelled() {
                    self.scan = None;
                }
                Err(error)
            }
        }
    }
}
