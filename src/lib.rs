//! appmon
mod async_process;
mod cached;
mod counters;
mod error;
mod fs;
mod process;
mod reading;
mod sampler;
mod snapshot;
mod source;
mod stream_ext;
mod text;
mod time;

pub use async_process::AsyncProcess;
pub use cached::Cached;
pub use counters::{Counters, Rated, Sample};
pub use error::{Error, Result};
pub use fs::{FileSystemSample, FileSystems, Inodes};
pub use process::{
    Cgroup, Cgroups, Cpu, CpuRates, Environ, FaultRates, Faults, Fields, IdRange, Ids, Io, IoRates, Limit, Limits,
    Memory, Namespaces, Oom, Pattern, ProcFs, Process, ProcessId, ProcessInfo, ProcessRates, ProcessSample,
    ProcessState, ProcessTotals, ProcessTree, Processes, Schedstat, Secret, Select, SignalQueue, SmapsRollup, Stat,
    Statm, Status, Summary, parse_cmdline,
};
pub use reading::Reading;
pub use sampler::Sampler;
pub use snapshot::{BootId, Notice, Skipped, Snapshot};
pub use source::{Cancel, Source, SourceExt};
pub use stream_ext::{Change, Changes, Event, Rates, Retain, Samples, SnapshotStreamExt};
pub use text::{Text, WirePath};
pub use time::{Monotonic, Timestamp};
