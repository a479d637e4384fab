//! Recipes: whole programs for what appmon is used for most. Each is compiled with the crate's tests.
//!
//! 1. [The busiest services](#the-busiest-services)
//! 2. [A page for Prometheus](#a-page-for-prometheus)
//! 3. [Totals of each systemd unit to NATS](#totals-of-each-systemd-unit-to-nats)
//! 4. [An alert on a directory that grows](#an-alert-on-a-directory-that-grows)
//! 5. [Exit codes of processes that are not one's children](#exit-codes-of-processes-that-are-not-ones-children)
//! 6. [The size of a directory, always current](#the-size-of-a-directory-always-current)
//! 7. [A selection from a configuration file](#a-selection-from-a-configuration-file)
//! 8. [The snapshots of a fleet](#the-snapshots-of-a-fleet)
//! 9. [One process, once, without async](#one-process-once-without-async)
//! 10. [A source of one's own](#a-source-of-ones-own)
//! 11. [A combinator of one's own](#a-combinator-of-ones-own)
//! 12. [A broker of one's own](#a-broker-of-ones-own)
//! 13. [A test with a fake source](#a-test-with-a-fake-source)
//!
//! # The busiest services
//!
//! A service is a container, else a systemd unit, else a program. With [`lives`](crate::Processes::lives) the totals include processes
//! that live shorter than a tick.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::process::Service;
//! use appmon::{Processes, SnapshotStreamExt, SourceExt};
//! use futures::TryStreamExt;
//!
//! # async fn run() -> appmon::Result<()> {
//! let mut ticks = Processes::new()
//!     .lives(true)
//!     .every(Duration::from_secs(1))
//!     .group_by(Service::of)
//!     .rates()
//!     .top(5, |group| group.rates.as_ref().map_or(0.0, |rates| rates.cpu.cores));
//! while let Some(tick) = ticks.try_next().await? {
//!     for group in &tick {
//!         println!("{} {} alive, {} ns of CPU", group.key, group.alive, group.cpu.total_ns);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A page for Prometheus
//!
//! The newest snapshot is a collector of `prometheus-client`; a web framework serves the page (feature `prometheus`). A service that is
//! gone is absent from the next scrape.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::export::Prometheus;
//! use appmon::process::Service;
//! use appmon::{Processes, SnapshotStreamExt, SourceExt};
//! use futures::StreamExt;
//! use prometheus_client::registry::Registry;
//!
//! # async fn run() -> appmon::Result<()> {
//! let ticks = Processes::new().lives(true).every(Duration::from_secs(5)).group_by(Service::of).observe();
//! let latest = ticks.latest();
//! tokio::spawn(ticks.for_each(|_| async {})); // somebody has to poll the stream
//!
//! let mut registry = Registry::default();
//! registry.register_collector(Box::new(Prometheus::new(latest.clone()).max_subjects(500)));
//! latest.ready().await; // the first tick
//! let mut page = String::new();
//! prometheus_client::encoding::text::encode(&mut page, &registry).expect("writing to a string");
//! # Ok(())
//! # }
//! ```
//!
//! # Totals of each systemd unit to NATS
//!
//! At least once and in order, through outages of the server and restarts of this program (feature `nats`). The stream of NATS has to
//! exist, with the subjects `appmon.>`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::broker::nats::JetStream;
//! use appmon::{ForwardExt, Forwarder, Processes, SnapshotStreamExt, SourceExt, stream::by};
//!
//! # async fn run() -> appmon::Result<()> {
//! let queue = JetStream::new("nats://127.0.0.1:4222")?;
//! let report = Processes::new()
//!     .lives(true)
//!     .every(Duration::from_secs(10))
//!     .group_by(by::unit)
//!     .rates()
//!     .forward_to(Forwarder::new(queue).spool("spool.redb", 64 << 20))
//!     .await?;
//! assert!(report.is_balanced()); // each message was accepted, is in the spool, or was dropped for a reason
//! # Ok(())
//! # }
//! ```
//!
//! # An alert on a directory that grows
//!
//! [`parts`](crate::SnapshotStreamExt::parts) makes each directory of each file system a sample; a rule is text, with what it lacks or
//! misspells in its error.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::stream::{Alert, AlertState};
//! use appmon::{Directory, FileSystems, SnapshotStreamExt, SourceExt};
//! use futures::TryStreamExt;
//!
//! # async fn run() -> appmon::Result<()> {
//! let rule: Alert<_> = "rates.bytes > 1 MiB for 1m, until rates.bytes < 100 KiB for 5m".parse()?;
//! let jobs = FileSystems::mounted().directory(Directory::new("jobs", "/var/lib/jobs").watched());
//! let mut edges = jobs.every(Duration::from_secs(1)).rates().parts().alert(rule);
//! while let Some(tick) = edges.try_next().await? {
//!     for edge in tick.samples.iter().filter(|edge| edge.state == AlertState::Firing) {
//!         println!("{} grows by {:?} bytes a second", edge.subject, edge.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Exit codes of processes that are not one's children
//!
//! With the process connector of the kernel all of them are exact, however short a process lives; a
//! [notice](crate::snapshot::Notice::ProcessEvents) in the snapshot names the method in use, and why no better one.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::events::{ProcessEventKind, ProcessEvents};
//! use appmon::{Select, SourceExt};
//! use futures::TryStreamExt;
//!
//! # async fn run() -> appmon::Result<()> {
//! let mut ticks = ProcessEvents::new().select("name=worker*".parse()?).every(Duration::from_secs(1));
//! while let Some(tick) = ticks.try_next().await? {
//!     for event in &tick {
//!         if let ProcessEventKind::Exited { status, .. } = &event.kind {
//!             println!("{:?} ({}): {status:?}", event.name, event.id.pid);
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The size of a directory, always current
//!
//! A watched directory is scanned once; from then on only what the kernel reports as changed is read again.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::{Directory, FileSystems, SourceExt};
//! use futures::TryStreamExt;
//!
//! # async fn run() -> appmon::Result<()> {
//! let uploads = Directory::new("uploads", "/srv/uploads").watched();
//! let mut ticks = FileSystems::new().directory(uploads).every(Duration::from_secs(1));
//! while let Some(tick) = ticks.try_next().await? {
//!     for file_system in &tick {
//!         for part in file_system.parts.iter().filter(|part| part.name == "uploads") {
//!             println!("{} bytes, {:.1} % of {}", part.bytes, part.fraction * 100.0, file_system.mount_point);
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A selection from a configuration file
//!
//! [`Select`](crate::Select) is text, and the same in serde's form. An error shows the place, and the nearest name.
//!
//! ```
//! use appmon::{Processes, Select};
//!
//! let select: Select = "unit=postgresql.service & age>1m | name=pgbouncer".parse()?;
//! let source = Processes::new().select(select);
//! let error = "nam=postgres".parse::<Select>().unwrap_err();
//! assert!(error.is_config() && error.to_string().contains("name"));
//! # drop(source);
//! # Ok::<(), appmon::Error>(())
//! ```
//!
//! # The snapshots of a fleet
//!
//! A consumer puts the messages of all hosts together to snapshots again, with the name of the host in each; duplicates are dropped, and
//! what is missing is counted.
//!
//! ```no_run
//! use appmon::broker::nats::Consumer;
//! use appmon::{ProcessSample, SnapshotStreamExt};
//! use futures::TryStreamExt;
//!
//! # async fn run() -> appmon::Result<()> {
//! let mut fleet = Consumer::<ProcessSample>::new("nats://127.0.0.1:4222", "APPMON")?.stream().rates();
//! while let Some(tick) = fleet.try_next().await? {
//!     println!("{:?}: {} processes at {}", tick.host, tick.len(), tick.time);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # One process, once, without async
//!
//! ```
//! use appmon::process::ProcFs;
//!
//! let process = ProcFs::new("/proc")?.process(std::process::id())?;
//! println!("{} has {} threads", process.stat()?.comm, process.status()?.threads.unwrap_or(0));
//! # Ok::<(), appmon::Error>(())
//! ```
//!
//! # A source of one's own
//!
//! Implement [`Source`](crate::Source) for how to read, and [`Sample`](crate::Sample) for what; `every` and most combinators come with
//! that. Counters get rates by [`Counters`](crate::counters::Counters), numbers get names by [`Measured`](crate::measured::Measured).
//!
//! ```
//! use appmon::{Cancel, Error, Result, Sample, Snapshot, Source, SourceExt};
//!
//! struct Queue {
//!     name: String,
//!     files: usize,
//! }
//!
//! impl Sample for Queue {
//!     const KIND: &'static str = "queue";
//!     type Key = String;
//!
//!     fn key(&self) -> String {
//!         self.name.clone()
//!     }
//! }
//!
//! struct Queues(std::path::PathBuf);
//!
//! impl Source for Queues {
//!     type Sample = Queue;
//!
//!     fn fill(&mut self, snapshot: &mut Snapshot<Queue>, cancel: &Cancel) -> Result<()> {
//!         for folder in std::fs::read_dir(&self.0).map_err(Error::io)?.flatten() {
//!             cancel.check()?; // a dropped stream stops here
//!             let Ok(files) = std::fs::read_dir(folder.path()) else { continue }; // no folder, or gone
//!             snapshot.samples.push(Queue { name: folder.file_name().to_string_lossy().into_owned(), files: files.count() });
//!         }
//!         snapshot.samples.sort_by(|one, other| one.name.cmp(&other.name));
//!         Ok(())
//!     }
//! }
//!
//! let snapshot = Queues("/proc/self".into()).read(&Cancel::new())?; // or .every(Duration::from_secs(1))
//! assert!(snapshot.iter().any(|queue| queue.name == "fd" && queue.files > 0));
//! # Ok::<(), appmon::Error>(())
//! ```
//!
//! # A combinator of one's own
//!
//! A stream of snapshots is a stream of `futures`: `map_ok`, `try_filter` and the others work on whole ticks.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use appmon::{ProcessSample, Processes, Rated, Result, Snapshot, SnapshotStreamExt, SourceExt};
//! use futures::{Stream, TryStreamExt};
//!
//! /// The CPU of all processes together, in cores, of ticks that have rates.
//! fn cores(ticks: impl Stream<Item = Result<Snapshot<Rated<ProcessSample>>>>) -> impl Stream<Item = Result<f64>> {
//!     ticks.map_ok(|tick| tick.iter().filter_map(|process| Some(process.rates.as_ref()?.cpu.cores)).sum())
//! }
//!
//! # async fn run() -> appmon::Result<()> {
//! let mut totals = Box::pin(cores(Processes::new().every(Duration::from_secs(1)).rates()));
//! while let Some(total) = totals.try_next().await? {
//!     println!("{total:.2} cores");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # A broker of one's own
//!
//! [`Publish`](crate::forward::Publish) is one function: an outcome for each message. Batches, retries, the spool and the report are the
//! forwarder's (feature `forward`).
//!
//! ```
//! use std::time::Duration;
//!
//! use appmon::forward::{Forwarder, Message, Outcome, Publish};
//! use appmon::{Error, ForwardExt, Processes, Select, SourceExt};
//! use futures::StreamExt;
//! use tokio::io::AsyncWriteExt;
//!
//! /// Appends each message to a file, as a line.
//! struct Lines(tokio::fs::File);
//!
//! impl Publish for Lines {
//!     async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
//!         let mut outcomes = Vec::new();
//!         for message in batch {
//!             let line = [&message.payload[..], b"\n"].concat();
//!             outcomes.push(match self.0.write_all(&line).await {
//!                 Ok(()) => Outcome::Accepted,
//!                 Err(error) => Outcome::Retry(Error::io(error)),
//!             });
//!         }
//!         outcomes
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> appmon::Result<()> {
//! # let folder = tempfile::tempdir().map_err(Error::io)?;
//! # let path = folder.path().join("lines");
//! let file = tokio::fs::File::create(&path).await.map_err(Error::io)?;
//! let own = Select::pid(std::process::id());
//! let ticks = Processes::new().select(own).every(Duration::from_millis(10)).take(3);
//! let report = ticks.forward_to(Forwarder::new(Lines(file))).await?;
//! assert_eq!((report.messages, report.accepted), (3, 3));
//! # Ok(())
//! # }
//! ```
//!
//! # A test with a fake source
//!
//! What a program does with snapshots is tested without a kernel: a snapshot is made of samples, and a stream of snapshots.
//!
//! ```
//! use appmon::{Sample, Snapshot, SnapshotStreamExt};
//! use futures::{StreamExt, executor::block_on, stream};
//!
//! #[derive(Clone)]
//! struct Worker(u32);
//!
//! impl Sample for Worker {
//!     const KIND: &'static str = "worker";
//!     type Key = u32;
//!
//!     fn key(&self) -> u32 {
//!         self.0
//!     }
//! }
//!
//! let tick = |workers: &[u32]| Ok::<_, appmon::Error>(workers.iter().map(|id| Worker(*id)).collect::<Snapshot<_>>());
//! let ticks = stream::iter([tick(&[1, 2]), tick(&[2, 3])]);
//! let changes: Vec<_> = block_on(ticks.changes().collect());
//! assert_eq!(changes[1].as_ref().unwrap().len(), 2); // 1 is gone, 3 is new
//! ```
