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
//! Its one idea: **cost follows activity, not size**. A process that did not run since the last tick is not read again, and its counters
//! are still exact: one cheap call to the kernel shows whether it ran. And the numbers are true: a value that could not be read is never 0,
//! if a counter goes backwards the rate is `None`, and a process is never taken for a later one of the same pid.
//!
//! # Four nouns
//!
//! - A [`Source`] knows *how* to read. It is synchronous and blocks: [`Processes`], [`FileSystems`], or one of yours.
//! - A [`Sampler`] decides *when*. [`source.every(period)`](SourceExt::every) is the one door to async: a stream that moves
//!   the source to tokio's pool of blocking threads and back, once per tick.
//! - A [`Snapshot`] is the result of one tick: the item of every stream, because only a whole tick shows which subjects are gone.
//! - A `Forwarder` brings snapshots to a message queue.
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
//! # Features
//!
//! - All processes at every tick ([`ProcessSample`]), with the fields of [`Fields`], of those that [`Select`] selects: as they are read, or
//!   from snapshots read before, here or elsewhere ([`SnapshotStreamExt::select`]).
//! - Rates that divide by each sample's own time, and are `None` rather than wrong ([`SnapshotStreamExt::rates`]).
//! - Processes that appeared, changed their program, or are gone ([`SnapshotStreamExt::changes`]).
//! - Trees of processes and the usage of a subtree ([`ProcessTree`]).
//! - All files of one process, typed ([`Process`](process::Process), and [`AsyncProcess`](process::AsyncProcess) for async code).
//! - How full the file systems are and by which directories ([`FileSystems`], [`Directory`]), how fast they fill, and each mount and
//!   unmount ([`MountChanges`](fs::MountChanges)).
//! - Directories that are kept up to date by the kernel's notifications of changes ([`Directory::watched`]): an unchanged tree of any size
//!   costs next to nothing.
//! - The totals of a directory tree ([`Scan`](fs::Scan)), or its entries one by one, with an async filter ([`entries`](fs::entries)).
//! - Snapshots to message queues, at least once, in order, through outages and restarts (`forward`, `broker`); and back to streams.
//! - Every sample and snapshot to JSON and back by serde, non-UTF-8 names included.
//!
//! # Not provided
//!
//! - Nothing process-wide: it raises no limit, starts no runtime, installs no signal handler, writes no log.
//! - No system other than Linux (5.4 or later is assumed; a feature that an older kernel lacks is `Unsupported`).
//! - No events between two ticks: a process that lives only in between is not seen.
//! - No per-process network traffic: /proc does not have it.
//!
//! # Features
//!
//! The default is the core: processes and file systems as streams, no broker. Features add to it, and all go together.
//!
//! - `entries` (on by default): the lazy stream of a tree's entries ([`fs::entries`]), on async-walkdir.
//! - `forward`: messages, the forwarder and its spool, for whatever implements `forward::Publish`. Those of the
//!   brokers imply it.
//! - `nats`: NATS JetStream and core NATS; pure Rust.
//! - `kafka`: Kafka, by librdkafka, which is built along (`make`, a C and a C++ compiler). `kafka-ssl`: with TLS, by the system's
//!   OpenSSL.
//! - `amqp`: AMQP 0.9.1, for RabbitMQ; pure Rust.
//! - `mqtt`: MQTT 5 and 3.1.1; pure Rust.
//! - `redis`: Redis Streams; pure Rust.
//! - `prometheus`: the newest snapshot as metrics for Prometheus (`export`), by prometheus-client.
//! - `schema`: the JSON Schema of the wire form (`schema`).
//!
//! # Cancel safety
//!
//! Every stream here is cancel safe: a dropped `next()` loses nothing. Dropping a stream cancels a reading that is under way, which stops
//! within a millisecond or so; a runtime's shutdown does the same, and is not held up.
//!
//! # Costs and limits
//!
//! One hop to the blocking pool per tick, at most one reading at a time per stream. Where much has to be read, threads named `appmon-read`
//! help for the length of that reading ([`Processes::threads`]); files whose reading can block are read on up to ten threads named
//! `appmon-slow`, started when there is something for them to do. Nothing is read until the stream is polled, so a slow consumer lowers the
//! rate, visibly: [`Snapshot::seq`] has gaps, [`Snapshot::lag`] grows. Memory is bounded by the number of live subjects. File descriptors
//! are kept open for processes that run, up to a quarter of the soft limit ([`Processes::max_fds`]). Directories are scanned on threads
//! named `appmon-directory` and helpers of those; all of them end with their source. Directories that are watched take a share of the
//! watches that the user may have ([`FileSystems::max_watches`]). [`entries`](fs::entries) alone has a pool that the whole process shares:
//! see [`Entries`](fs::Entries#threads).

// No panics on input: no unwrap, slices by get() and split, and no arithmetic that wraps when counters or clocks do.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod async_process;
#[cfg(any(feature = "amqp", feature = "kafka", feature = "mqtt", feature = "nats", feature = "redis"))]
pub mod broker;
mod cached;
pub mod cgroup;
mod counters;
mod error;
pub mod events;
#[cfg(feature = "prometheus")]
pub mod export;
mod fault;
#[cfg(feature = "forward")]
pub mod forward;
pub mod fs;
mod glob;
mod lives;
pub mod measured;
mod metered;
mod number;
pub mod own;
pub mod process;
mod quantity;
mod reading;
mod sampler;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(test)]
#[path = "../tests/support/skipped.rs"]
#[allow(unreachable_pub, reason = "the tests package shares it")]
mod skipped;
mod snapshot;
mod source;
mod source_ext;
mod spelling;
pub mod stream;
mod text;
mod time;
mod wire;

pub use cached::Cached;
pub use counters::{Counters, Rated, Sample};
pub use error::{Error, Result};
#[cfg(feature = "forward")]
pub use forward::{ForwardExt, Forwarder};
pub use fs::{Directory, FileSystem, FileSystemSample, FileSystems};
pub use lives::{ControlGroupUsage, Exit, Lives, Reaper};
pub use metered::{Meter, Metered, SourceCost};
pub use own::OwnProcess;
pub use process::{Fields, ProcFs, ProcessSample, ProcessTree, Processes, Select};
pub use reading::Reading;
pub use sampler::Sampler;
pub use snapshot::{BootId, Notice, Skipped, Snapshot};
pub use source::{Cancel, Source};
pub use source_ext::SourceExt;
pub use stream::SnapshotStreamExt;
pub use text::{Text, WirePath};
pub use time::{Monotonic, Timestamp};

/// The README's programs, compiled; one of them forwards to NATS.
#[cfg(all(doctest, feature = "nats"))]
#[doc = include_str!("../README.md")]
struct Readme;
