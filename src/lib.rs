//! appmon turns Linux processes and file systems into async streams of typed samples.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::{Processes, Select, SnapshotStreamExt, SourceExt};
//! use futures::TryStreamExt;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> appmon::Result<()> {
//!     let mut ticks = Processes::new().select(Select::name("postgres")).every(Duration::from_secs(1)).rates();
//!     while let Some(tick) = ticks.try_next().await? {
//!         for process in &tick {
//!             println!("{} {} B {:?}", process.id.pid, process.memory.rss_bytes, process.rates.map(|rates| rates.cpu.cores));
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Its one idea: **cost follows activity, not size**. A process that did not run since the last tick is not read again, and its
//! counters are still exact: one cheap system call shows whether it ran. And the numbers are true: a value that could not be read is
//! never 0, a rate is `None` if its counter went backwards, and a process is never confused with a later one of the same pid.
//!
//! # Four nouns
//!
//! - A [`Source`] defines *how* to read. It is synchronous and blocks: [`Processes`], [`FileSystems`],
//!   [`ControlGroups`], [`ProcessEvents`](events::ProcessEvents), [`OwnProcess`], or one of yours.
//! - A [`Sampler`] decides *when*. [`source.every(period)`](SourceExt::every) makes a source async: a stream that moves the
//!   source to tokio's pool of blocking threads and back, once per tick.
//! - A [`Snapshot`] holds the samples of one tick. It is the item of every stream, because only a whole tick shows which subjects
//!   are gone.
//! - A `Forwarder` delivers snapshots to a message queue.
//!
//! ```text
//! Source ──every──► Sampler ──► rates ──► retain ──► forward_to ──► broker
//! (blocking)        Stream of   (in the consumer's task)
//!                   Snapshots
//! ```
//!
//! [`SnapshotStreamExt`] has the combinators; they go together with those of `futures` and `tokio_stream`. Without async, call
//! [`Source::collect`] yourself, or read the files of one [`Process`](process::Process).
//!
//! The module `cookbook` has whole programs to begin with: services, a page for Prometheus, alerts, exit codes, sources of one's own.
//!
//! # Features
//!
//! Processes:
//!
//! - Samples of all processes at every tick ([`ProcessSample`]), with the optional files that [`Fields`] selects. [`Select`] chooses
//!   the processes: while they are read ([`Processes::select`]), or in any stream of snapshots ([`SnapshotStreamExt::select`]).
//! - Events of processes: starts, `execve(2)`, exits with their status ([`ProcessEvents`](events::ProcessEvents)). With the
//!   kernel's process connector they include processes that begin and end between two ticks.
//! - Trees of processes, and the usage of a subtree ([`ProcessTree`]).
//! - All files of one process, typed ([`Process`](process::Process), and [`AsyncProcess`](process::AsyncProcess) for async code).
//! - The machine: its CPUs, memory, load and pressure, and how much of them this process may use ([`Machine`]); the use of CPUs as a share of
//!   a quota, an affinity or the machine ([`machine::share_of`]).
//! - The own process: its threads, its tokio runtime, and the cost of the sources in it ([`OwnProcess`], [`own`]).
//!
//! File systems:
//!
//! - The usage of file systems and of directories on them ([`FileSystems`], [`Directory`]), how fast they fill, and mounts and
//!   unmounts ([`MountChanges`](fs::MountChanges)).
//! - Directories kept up to date by the kernel's change notifications ([`Directory::watched`]): an unchanged tree of any size costs
//!   next to nothing.
//! - The usage of a directory tree ([`Scan`](fs::Scan)), or its entries one by one, with an async filter ([`entries`](fs::entries)).
//!
//! Control groups:
//!
//! - What services and containers use, what they may use and what they wait for, as the kernel accounts it ([`ControlGroups`]): CPU time and
//!   throttling, memory, I/O, pressure, and the limits that hold, with the group that has them.
//! - Events of control groups as they happen: births and deaths, changes of state, kills by the OOM killer
//!   ([`ControlGroupEvents`](cgroup::ControlGroupEvents)).
//!
//! Streams of snapshots:
//!
//! - Rates over each sample's own time, and `None` where no true rate is known ([`SnapshotStreamExt::rates`]).
//! - The subjects that appeared, changed their identity or are gone ([`SnapshotStreamExt::changes`]).
//! - Groups: what each service, program, user or any other key uses, in totals that are true with processes that live shorter than a
//!   tick ([`SnapshotStreamExt::group_by`], [`Processes::lives`], [`cgroup`]); the busiest of them ([`SnapshotStreamExt::top`]).
//! - Alerts: when a rule such as `cpu.cores > 0.8 for 30s` begins and ceases to hold ([`SnapshotStreamExt::alert`]).
//! - Windows: growth, minimum, maximum, mean and quantiles over a span of time ([`SnapshotStreamExt::window`]).
//! - Recordings: any stream into files, and the same snapshots again, through the same pipeline, at any speed, from any time (`record`,
//!   `stream::Recording`).
//! - The newest snapshot, for readers with times of their own ([`SnapshotStreamExt::observe`]); one stream for several consumers
//!   ([`SnapshotStreamExt::share`]).
//! - Each directory of each file system as a sample of its own ([`SnapshotStreamExt::parts`]).
//! - The field table: each number of a sample with its path, unit, kind and help, for code that reads numbers by name ([`measured`]).
//!
//! Export:
//!
//! - Metrics of the newest snapshot for Prometheus and OpenTelemetry (`export`).
//! - Delivery of snapshots to message queues, at least once, in order, through outages and restarts (`forward`, `broker`), and
//!   consumers that turn the messages into streams of snapshots again.
//! - Every sample and snapshot to JSON and back by serde, non-UTF-8 names included.
//!
//! # Not provided
//!
//! - Nothing process-wide: it raises no limit, starts no runtime, installs no signal handler, writes no log.
//! - No system other than Linux 5.4 or later. Values that an older kernel lacks are `Unsupported`.
//! - No samples between two ticks: a process that begins and ends in between has none. Use
//!   [`ProcessEvents`](events::ProcessEvents), with the process connector, to receive its events.
//! - No per-process network traffic: /proc does not have it.
//!
//! # Features
//!
//! The default is the core: processes and file systems as streams, no broker. All features can be combined.
//!
//! - `entries` (on by default): the lazy stream of a tree's entries ([`fs::entries`]), on async-walkdir.
//! - `forward`: messages, the forwarder and its spool, for implementations of `forward::Publish`. The features of the brokers
//!   include it.
//! - `nats`: NATS JetStream and core NATS; pure Rust.
//! - `kafka`: Kafka, through librdkafka, which is built with it (needs `make`, a C and a C++ compiler). `kafka-ssl`: with TLS,
//!   through the system's OpenSSL.
//! - `amqp`: AMQP 0.9.1, for RabbitMQ; pure Rust.
//! - `mqtt`: MQTT 5 and 3.1.1; pure Rust.
//! - `redis`: Redis Streams; pure Rust.
//! - `opentelemetry`: the newest snapshot as observable instruments (`export`).
//! - `otlp`: OTLP, as a codec for all brokers and over HTTP (`broker::otlp`).
//! - `prometheus`: metrics of the newest snapshot for Prometheus (`export`), through prometheus-client.
//! - `recording`: recordings of streams and their replay (`stream::Recording`), through zstd, which is built along (needs a C compiler).
//! - `schema`: the JSON Schema of the wire form (`schema`).
//!
//! # Cancel safety
//!
//! Every stream here is cancel safe: a dropped `next()` loses nothing. Dropping a stream cancels a reading in progress, which stops
//! within about a millisecond. The shutdown of a runtime does the same, and does not have to wait for it.
//!
//! # Costs and limits
//!
//! - *Threads.* Each tick takes one task on the blocking pool, and each stream has at most one reading at a time. A large reading is
//!   shared with threads named `appmon-read` while it lasts ([`Processes::threads`]). Files that can block are read on up to ten
//!   threads named `appmon-slow`, started when needed. Directories are scanned on threads named `appmon-directory` and their
//!   helpers. All of them end with their source. Only [`entries`](fs::entries) has a pool shared by the whole process: see
//!   [`Entries`](fs::Entries#threads).
//! - *Slow consumers.* Nothing is read until the stream is polled, so a slow consumer lowers the rate. It shows: [`Snapshot::seq`]
//!   has gaps, and [`Snapshot::lag`] grows.
//! - *Memory.* It is bounded by the number of living processes, mounts and directories.
//! - *File descriptors.* They are kept open for running processes, up to a quarter of the soft limit ([`Processes::max_fds`]).
//! - *Watches.* Watched directories and control groups use a share of the user's inotify watches ([`FileSystems::max_watches`],
//!   [`ControlGroups::max_watches`]).

// No panics on input: no unwrap, slices by get() and split, and no arithmetic that wraps when counters or clocks do.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod async_process;
#[cfg(feature = "_broker")]
pub mod broker;
pub mod cached;
pub mod cgroup;
#[cfg(feature = "config")]
pub mod config;
#[cfg(all(feature = "nats", feature = "prometheus"))]
pub mod cookbook;
pub mod counters;
mod error;
pub mod events;
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
pub mod export;
mod fault;
#[cfg(feature = "forward")]
pub mod forward;
pub mod fs;
mod glob;
mod inotify;
mod lives;
pub mod machine;
pub mod measured;
pub mod metered;
mod number;
pub mod own;
#[cfg(any(feature = "forward", feature = "recording"))]
mod own_file;
pub mod process;
mod quantity;
mod reading;
mod sampler;
mod scanner;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(test)]
#[path = "../tests/support/skipped.rs"]
#[allow(unreachable_pub, reason = "the tests package shares it")]
mod skipped;
pub mod snapshot;
mod source;
mod source_ext;
mod spelling;
pub mod stream;
pub mod text;
pub mod time;
mod wire;

pub use cgroup::ControlGroups;
pub use counters::{Rated, Sample};
pub use error::{Error, Result};
#[cfg(feature = "forward")]
pub use forward::{ForwardExt, Forwarder};
pub use fs::{Directory, FileSystem, FileSystemSample, FileSystems};
pub use machine::Machine;
pub use own::OwnProcess;
pub use process::{Fields, ProcFs, ProcessSample, ProcessTree, Processes, Select};
pub use reading::Reading;
pub use sampler::Sampler;
pub use snapshot::{BootId, Snapshot};
pub use source::{Cancel, Source};
pub use source_ext::SourceExt;
pub use stream::SnapshotStreamExt;
pub use text::Text;
pub use time::Timestamp;

// Names that few programs use have their modules; within the crate they are short.
pub(crate) use cached::Cached;
pub(crate) use counters::Counters;
pub(crate) use lives::{ControlGroupUsage, Exit, Lives, Reaper};
pub(crate) use snapshot::{Notice, Skipped};
pub(crate) use text::WirePath;
pub(crate) use time::Monotonic;

/// Compiles the programs in the README, one of which forwards to NATS.
#[cfg(all(doctest, feature = "nats"))]
#[doc = include_str!("../README.md")]
struct Readme;
