//! /proc by hand, for async code.

use std::path::PathBuf;
use std::sync::Arc;

use crate::process::{
    CgroupPaths, Environ, Io, Limits, Namespaces, Oom, Process, ProcessId, Schedstat, SmapsRollup, Stat, Statm, Status,
};
use crate::sampler::hop;
use crate::{ProcFs, Result, Text, WirePath};

/// A [`ProcFs`] whose methods read on tokio's pool of blocking threads, one hop each. Cloning shares it.
///
/// # Errors
///
/// Those of the method of the same name of [`ProcFs`].
///
/// # Cancel safety
///
/// Dropping a future before it is ready loses its result and nothing else.
#[derive(Clone, Debug)]
pub struct AsyncProcFs(ProcFs);

impl AsyncProcFs {
    /// Opens the proc file system at `root`; see [`ProcFs::new`].
    ///
    /// # Errors
    ///
    /// Those of [`ProcFs::new`].
    pub async fn new(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        hop(move || ProcFs::new(root)).await.map(Self)
    }

    /// Returns the pids of all processes that are visible; see [`ProcFs::pids`].
    ///
    /// # Errors
    ///
    /// Those of [`ProcFs::pids`].
    pub async fn pids(&self) -> Result<Vec<u32>> {
        let procfs = self.0.clone();
        hop(move || procfs.pids()).await
    }

    /// Opens a process; see [`ProcFs::process`].
    ///
    /// # Errors
    ///
    /// Those of [`ProcFs::process`].
    pub async fn process(&self, pid: u32) -> Result<AsyncProcess> {
        let procfs = self.0.clone();
        hop(move || procfs.process(pid)).await.map(AsyncProcess::from)
    }
}

impl From<ProcFs> for AsyncProcFs {
    fn from(procfs: ProcFs) -> Self {
        Self(procfs)
    }
}

/// A [`Process`] whose methods read on tokio's pool of blocking threads, one hop each. Cloning shares the process.
///
/// # Errors
///
/// Those of the method of the same name of [`Process`].
///
/// # Cancel safety
///
/// Dropping a future before it is ready loses its result and nothing else; a reading that has begun runs to its end.
///
/// ```
/// use appmon::process::AsyncProcFs;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// let me = AsyncProcFs::new("/proc").await?.process(std::process::id()).await?;
/// println!("{:?} bytes read", me.io().await?.read_bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncProcess(Arc<Process>);

impl From<Process> for AsyncProcess {
    fn from(process: Process) -> Self {
        Self(Arc::new(process))
    }
}

macro_rules! twins {
    ($($name:ident -> $value:ty, $file:literal;)*) => {
        $(
            #[doc = concat!("Reads ", $file, "; see [`Process::", stringify!($name), "`].")]
            ///
            /// # Errors
            ///
            #[doc = concat!("Those of [`Process::", stringify!($name), "`].")]
            pub async fn $name(&self) -> Result<$value> {
                let process = Arc::clone(&self.0);
                hop(move || process.$name()).await
            }
        )*
    };
}

impl AsyncProcess {
    /// Returns the identity of the process.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.0.id()
    }

    twins! {
        stat -> Stat, "`/proc/PID/stat`";
        status -> Status, "`/proc/PID/status`";
        io -> Io, "`/proc/PID/io`";
        statm -> Statm, "`/proc/PID/statm`";
        schedstat -> Schedstat, "`/proc/PID/schedstat`";
        smaps_rollup -> SmapsRollup, "`/proc/PID/smaps_rollup`";
        limits -> Limits, "`/proc/PID/limits`";
        cgroup -> CgroupPaths, "`/proc/PID/cgroup`";
        cmdline -> Vec<Text>, "`/proc/PID/cmdline`";
        environ -> Environ, "`/proc/PID/environ`";
        exe -> WirePath, "the link `/proc/PID/exe`";
        cwd -> WirePath, "the link `/proc/PID/cwd`";
        fd_count -> u64, "the entries of `/proc/PID/fd`";
        namespaces -> Namespaces, "`/proc/PID/ns`";
        oom -> Oom, "`/proc/PID/oom_score` and `oom_score_adj`";
    }
}
