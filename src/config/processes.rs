//! Settings of the sources of processes.

use std::path::PathBuf;

use super::keys::settings;
use super::{Duration, Size};
use crate::events::ProcessEvents;
use crate::events::source::Settings as EventSettings;
use crate::process::config::Config;
use crate::process::slow_pool::SlowPoolSettings;
use crate::{Fields, OwnProcess, Processes, Result, Select};

settings! {
    /// The settings of [`Processes`].
    ///
    /// ```
    /// use appmon::config::ProcessesConfig;
    ///
    /// let config: ProcessesConfig = serde_json::from_str(r#"{"select": "user=www-data", "fields": ["io", "cgroup"], "max_age": "1m"}"#)
    ///     .expect("an error names the key and the place");
    /// let processes = config.build()?;
    /// # let _ = processes;
    /// # Ok::<(), appmon::Error>(())
    /// ```
    #[derive(Default)]
    pub struct ProcessesConfig {
        required {}
        optional {
            /// The directory where /proc is mounted: [`Processes::root`].
            root: Option<PathBuf>,
            /// The processes to yield: [`Processes::select`].
            select: Option<Select>,
            /// The fields to read of each: [`Processes::fields`].
            fields: Option<Fields>,
            /// The largest age of the reading of an idle process: [`Processes::max_age`].
            max_age: Option<Duration>,
            /// The time after which /proc is listed: [`Processes::list_every`].
            list_every: Option<Duration>,
            /// The time after which a process that is not selected is checked again: [`Processes::recheck`].
            recheck: Option<Duration>,
            /// The largest number of file descriptors that are kept open: [`Processes::max_fds`].
            max_fds: Option<usize>,
            /// The number of threads that read: [`Processes::threads`].
            threads: Option<usize>,
            /// The time that a tick waits for slow files: [`Processes::slow_budget`].
            slow_budget: Option<Duration>,
            /// The time after which slow files are read again: [`Processes::slow_cadence`].
            slow_cadence: Option<Duration>,
            /// The memory for command lines and environments: [`Processes::max_text_bytes`].
            max_text_bytes: Option<Size>,
            /// Whether the snapshots have what makes true totals of groups: [`Processes::lives`].
            lives: Option<bool>,
        }
    }
}

impl ProcessesConfig {
    /// Returns the source. What is not set has the default of the source.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) where a value cannot be meant, such as no threads.
    pub fn build(&self) -> Result<Processes> {
        let Self {
            root,
            select,
            fields,
            max_age,
            list_every,
            recheck,
            max_fds,
            threads,
            slow_budget,
            slow_cadence,
            max_text_bytes,
            lives,
        } = self.clone();
        let mut processes = Processes::new();
        if let Some(root) = root {
            processes = processes.root(root);
        }
        if let Some(select) = select {
            processes = processes.select(select);
        }
        if let Some(fields) = fields {
            processes = processes.fields(fields);
        }
        if let Some(age) = max_age {
            processes = processes.max_age(age.get());
        }
        if let Some(period) = list_every {
            processes = processes.list_every(period.get());
        }
        if let Some(after) = recheck {
            processes = processes.recheck(after.get());
        }
        if let Some(count) = max_fds {
            processes = processes.max_fds(count);
        }
        if let Some(count) = threads {
            processes = processes.threads(count);
        }
        if let Some(budget) = slow_budget {
            processes = processes.slow_budget(budget.get());
        }
        if let Some(cadence) = slow_cadence {
            processes = processes.slow_cadence(cadence.get());
        }
        if let Some(size) = max_text_bytes {
            processes = processes.max_text_bytes(size.bytes());
        }
        if let Some(lives) = lives {
            processes = processes.lives(lives);
        }
        processes.settings().check()?;
        Ok(processes)
    }
}

/// All settings but the function of [`Processes::redact`].
impl From<&Processes> for ProcessesConfig {
    fn from(processes: &Processes) -> Self {
        // Each setting by its name: a new one is a key, or said not to be one.
        let Config {
            root,
            select,
            fields,
            max_age,
            recheck,
            list_every,
            max_fds,
            threads,
            slow: SlowPoolSettings { budget, cadence, threads: _ },
            max_text_bytes,
            redact: _,
            lives,
        } = processes.settings();
        Self {
            root: Some(root.clone()),
            select: Some(select.clone()),
            fields: Some(*fields),
            max_age: Some((*max_age).into()),
            list_every: Some((*list_every).into()),
            recheck: Some((*recheck).into()),
            max_fds: *max_fds,
            threads: *threads,
            slow_budget: Some((*budget).into()),
            slow_cadence: Some((*cadence).into()),
            max_text_bytes: Some((*max_text_bytes).into()),
            lives: Some(*lives),
        }
    }
}

settings! {
    /// The settings of [`ProcessEvents`].
    #[derive(Default)]
    pub struct ProcessEventsConfig {
        required {}
        optional {
            /// The directory where /proc is mounted: [`ProcessEvents::root`].
            root: Option<PathBuf>,
            /// The processes to report: [`ProcessEvents::select`].
            select: Option<Select>,
            /// The fields for the event of an end, `io` and `status`: [`ProcessEvents::fields`].
            fields: Option<Fields>,
            /// Whether to report processes that the selection could not decide about: [`ProcessEvents::undecided`].
            undecided: Option<bool>,
            /// Whether to use the process connector: [`ProcessEvents::connector`].
            connector: Option<bool>,
            /// The size of the kernel's buffer of announcements: [`ProcessEvents::buffer_bytes`].
            buffer_bytes: Option<Size>,
            /// The largest number of announcements that wait for a tick: [`ProcessEvents::max_pending`].
            max_pending: Option<usize>,
        }
    }
}

impl ProcessEventsConfig {
    /// Returns the source. What is not set has the default of the source.
    #[must_use = "a source reads nothing by itself"]
    pub fn build(&self) -> ProcessEvents {
        let Self { root, select, fields, undecided, connector, buffer_bytes, max_pending } = self.clone();
        let mut events = ProcessEvents::new();
        if let Some(root) = root {
            events = events.root(root);
        }
        if let Some(select) = select {
            events = events.select(select);
        }
        if let Some(fields) = fields {
            events = events.fields(fields);
        }
        if let Some(undecided) = undecided {
            events = events.undecided(undecided);
        }
        if let Some(connector) = connector {
            events = events.connector(connector);
        }
        if let Some(size) = buffer_bytes {
            events = events.buffer_bytes(size.in_memory());
        }
        if let Some(count) = max_pending {
            events = events.max_pending(count);
        }
        events
    }
}

impl From<&ProcessEvents> for ProcessEventsConfig {
    fn from(events: &ProcessEvents) -> Self {
        let EventSettings { root, select, fields, undecided, connector, buffer_bytes, most_pending } =
            events.settings();
        Self {
            root: Some(root.clone()),
            select: Some(select.clone()),
            fields: Some(*fields),
            undecided: Some(*undecided),
            connector: Some(*connector),
            buffer_bytes: Some((*buffer_bytes).into()),
            max_pending: Some(*most_pending),
        }
    }
}

settings! {
    /// The settings of [`OwnProcess`].
    #[derive(Default)]
    pub struct OwnProcessConfig {
        required {}
        optional {
            /// The fields to read in addition to those that are always read: [`OwnProcess::fields`].
            fields: Option<Fields>,
            /// Whether to read its threads: [`OwnProcess::threads`].
            threads: Option<bool>,
        }
    }
}

impl OwnProcessConfig {
    /// Returns the source. What is not set has the default of the source.
    pub fn build(&self) -> OwnProcess {
        let Self { fields, threads } = self;
        let mut own = OwnProcess::new();
        if let Some(fields) = fields {
            own = own.fields(*fields);
        }
        if let Some(read) = threads {
            own = own.threads(*read);
        }
        own
    }
}

/// All settings but the handles of [`OwnProcess::runtime`] and [`OwnProcess::source`].
impl From<&OwnProcess> for OwnProcessConfig {
    fn from(own: &OwnProcess) -> Self {
        let (fields, threads) = own.settings();
        Self { fields: Some(fields), threads: Some(threads) }
    }
}
