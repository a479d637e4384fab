//! Processes: all of them as a source, a selection of them, their tree, one by hand, and the types of what proc(5) says of each.
//!
//! [`Processes`] is where to begin; [`ProcFs`] and [`Process`] read single files of one process, [`AsyncProcess`] does so for async
//! code. What most programs name is at the root of the crate too.

mod args;
mod cgroup;
mod config;
mod descriptors;
mod discover;
mod exit_status;
mod fields;
mod file;
mod handle;
mod id;
mod io;
mod limits;
mod names;
mod namespaces;
mod oom;
mod processes;
mod procfs;
mod pulse;
mod rates;
mod reader;
mod reclaim;
mod sample;
mod scan;
mod schedstat;
mod select;
mod service;
mod slow;
mod slow_pool;
mod smaps_rollup;
mod stat;
mod state;
mod statm;
mod status;
mod table;
mod thread;
mod tree;

pub use crate::async_process::{AsyncProcFs, AsyncProcess};
pub use args::{Environ, parse_cmdline};
pub use cgroup::{CgroupPath, CgroupPaths};
pub use config::Secret;
pub use exit_status::ExitStatus;
pub use fields::Fields;
pub use handle::Process;
pub use id::ProcessId;
pub use io::Io;
pub use limits::{Limit, Limits};
pub use namespaces::Namespaces;
pub use oom::Oom;
pub use processes::Processes;
pub use procfs::ProcFs;
pub use rates::{CpuRates, FaultRates, IoRates, ProcessRates, ProcessTotals};
pub use sample::{Cpu, Faults, Memory, ProcessInfo, ProcessSample};
pub use schedstat::Schedstat;
pub use select::{Pattern, Select};
pub use service::Service;
pub use smaps_rollup::SmapsRollup;
pub use stat::Stat;
pub use state::ProcessState;
pub use statm::Statm;
pub use status::{IdRange, Ids, SignalQueue, Status};
pub use tree::{ProcessTree, Summary};
