//! The settings of a source of processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::slow_pool::SlowPoolSettings;
use super::{Environ, Fields, ProcessId, Select};
use crate::{Error, Result, Text};

/// The settings of the source.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) root: PathBuf,
    pub(crate) select: Select,
    pub(crate) fields: Fields,
    pub(crate) max_age: Duration,
    pub(crate) recheck: Duration,
    pub(crate) list_every: Duration,
    pub(crate) max_fds: Option<usize>,
    pub(crate) threads: Option<usize>,
    pub(crate) slow: SlowPoolSettings,
    pub(crate) max_text_bytes: u64,
    pub(crate) redact: Option<Redact>,
    /// Whether each life is counted once, and snapshots have the known usage of those that are over.
    pub(crate) lives: bool,
}

impl Config {
    /// Fails where a setting cannot be meant: at the first tick, since setters do not fail.
    pub(crate) fn check(&self) -> Result<()> {
        self.select.check()?;
        if self.threads == Some(0) {
            return Err(Error::config("Processes::threads(0): at least one thread is needed"));
        }
        Ok(())
    }
}

/// All processes in `/proc`, with [`Fields::DEFAULT`].
impl Default for Config {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/proc"),
            select: Select::all(),
            fields: Fields::DEFAULT,
            max_age: Duration::from_secs(300),
            recheck: Duration::from_secs(15),
            list_every: Duration::from_secs(10),
            max_fds: None,
            threads: None,
            slow: SlowPoolSettings::default(),
            max_text_bytes: 64 << 20,
            redact: None,
            lives: false,
        }
    }
}

pub(crate) type Redact = Arc<dyn Fn(ProcessId, &mut Secret<'_>) + Send + Sync>;

/// The text that [`Processes::redact`](crate::Processes::redact) may change before it is used anywhere else.
#[derive(Debug)]
#[non_exhaustive]
pub enum Secret<'a> {
    /// The arguments of a process.
    Cmdline(&'a mut Vec<Text>),
    /// The environment of a process.
    Environ(&'a mut Environ),
}
