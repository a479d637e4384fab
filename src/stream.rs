//! Combinators over streams of snapshots: the methods of [`SnapshotStreamExt`], and the streams they return.

mod alert;
pub mod by;
mod changes;
mod group_by;
mod hosts;
mod observe;
mod parts;
mod rates;
#[cfg(feature = "recording")]
mod record;
#[cfg(feature = "recording")]
mod recording;
mod retain;
mod samples;
#[cfg(feature = "recording")]
mod segment;
mod select;
mod share;
mod top;
mod window;

pub use alert::{Alert, AlertEdge, AlertState, Alerts, ResolvedBecause};
pub use changes::{Change, Changes};
pub use group_by::{GroupBy, GroupCpu, GroupKey, GroupRates, GroupSample, GroupTotals, TreeRoot, TreeRoots};
pub use observe::{Latest, Observe};
pub use parts::Parts;
pub use rates::Rates;
#[cfg(feature = "recording")]
pub use record::{RecordStatus, Recorded};
#[cfg(feature = "recording")]
pub use recording::{Recording, Replay};
pub use retain::Retain;
pub use samples::{Record, Samples};
pub use select::Selected;
pub use share::Share;
pub use top::{Rest, Top};
pub use window::{FieldWindow, Quantile, WindowSample, Windows};

use std::hash::Hash;
use std::time::Duration;

use futures::Stream;

use crate::fs::HasParts;
use crate::measured::Measured;
use crate::{Counters, ProcessSample, Result, Sample, Select, Snapshot};

/// Combinators over streams of [`Snapshot`]s.
///
/// Each passes errors on and keeps its state. All are cancel safe: a dropped `next()` loses nothing. Their names differ
/// from those of `futures::StreamExt` and `tokio_stream::StreamExt`, so that all can be imported together.
///
/// Snapshots of several hosts may interleave in one stream, as from the hosts of a fleet ([`Snapshot::host`]). Each host has state
/// of its own, which is reset when the host boots. A host is forgotten when another one had 600 snapshots since its last.
pub trait SnapshotStreamExt<T>: Stream<Item = Result<Snapshot<T>>> + Sized {
    /// Adds to each sample its rates since the last tick.
    ///
    /// A rate divides by the time between the two readings of that sample. The first sample of a subject has no rates, unless the
    /// subject began after the last tick: then they count from its beginning, so that short lives are not lost. If a counter went
    /// backwards, the rates are `None`, never a negative or wrapped number.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut ticks = Processes::new().every(Duration::from_millis(20)).rates();
    /// let first = ticks.try_next().await?.expect("a tick");
    /// // The first tick has nothing to compare with.
    /// assert!(first.samples.iter().find(|process| process.id.pid == 1).is_none_or(|init| init.rates.is_none()));
    /// let second = ticks.try_next().await?.expect("a tick");
    /// assert!(second.samples.iter().any(|process| process.rates.is_some()));
    /// # Ok(())
    /// # }
    /// ```
    fn rates(self) -> Rates<Self, T>
    where
        T: Counters,
    {
        assert_stream(Rates::new(self))
    }

    /// Keeps the samples of each snapshot for which `keep` returns true. The snapshot itself is always passed on.
    ///
    /// If a [`Select`] can express the condition, use [`select`](Self::select), or
    /// [`Processes::select`](crate::Processes::select), which avoids reading the other processes.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut ticks = Processes::new().every(Duration::from_secs(1)).retain(|process| process.threads > 1);
    /// let tick = ticks.try_next().await?.expect("a tick");
    /// assert!(tick.samples.iter().all(|process| process.threads > 1));
    /// # Ok(())
    /// # }
    /// ```
    fn retain<F>(self, keep: F) -> Retain<Self, F>
    where
        F: FnMut(&T) -> bool,
    {
        assert_stream(Retain::new(self, keep))
    }

    /// Keeps the selected processes of each snapshot, with or without rates. For streams from a fleet or a recording, or with several
    /// uses. The snapshot itself is always passed on.
    ///
    /// It decides by the snapshot alone, see [`Select::apply`]; a process for which the snapshot has too little data is left out, and
    /// counted in [`Skipped::undecided`](crate::Skipped::undecided). If the stream reads this machine and serves no other purpose,
    /// [`Processes::select`](crate::Processes::select) selects the same processes and reads less.
    ///
    /// # Errors
    ///
    /// Each item is an error when the selection is nested too deeply ([`is_config`](crate::Error::is_config)).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, Select, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let select: Select = "with_descendants(pid=1, 1) & !kernel_thread".parse()?;
    /// let mut ticks = Processes::new().every(Duration::from_secs(1)).rates().select(select);
    /// let tick = ticks.try_next().await?.expect("a tick");
    /// assert!(tick.samples.iter().all(|process| process.id.pid == 1 || process.ppid == 1));
    /// # Ok(())
    /// # }
    /// ```
    fn select(self, select: Select) -> Selected<Self>
    where
        T: AsRef<ProcessSample>,
    {
        assert_stream(Selected::new(self, select))
    }

    /// Makes the stream one that can be cloned: each clone is a consumer of its own.
    ///
    /// The consumers cannot stop each other. Whichever needs the next snapshot takes it from the stream, for all; one that is slow is behind
    /// by up to 16 ticks ([`capacity`](Share::capacity)), and then misses the oldest ones, which it counts ([`missed`](Share::missed)).
    /// Errors are passed to all. The samples are copied for each consumer; for readers that only look, see [`observe`](Self::observe).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::{StreamExt, TryStreamExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let processes = Processes::new().every(Duration::from_millis(10)).take(3).share();
    /// let groups = processes.clone().group_by(|process| process.info.uid);
    /// let (processes, groups) = tokio::try_join!(processes.try_collect::<Vec<_>>(), groups.try_collect::<Vec<_>>())?;
    /// assert_eq!((processes.len(), groups.len()), (3, 3));
    /// # Ok(())
    /// # }
    /// ```
    fn share(self) -> Share<Self, T>
    where
        T: Clone,
    {
        assert_stream(Share::new(self))
    }

    /// Yields each sample as a record of its own, with the attributes of its tick.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut records = Processes::new().every(Duration::from_secs(1)).samples();
    /// let record = records.try_next().await?.expect("a record");
    /// println!("#{} {}", record.seq, record.info.name);
    /// # Ok(())
    /// # }
    /// ```
    fn samples(self) -> Samples<Self, T> {
        assert_stream(Samples::new(self))
    }

    /// Yields each part of each sample as a sample of its own: the directories of a file system, its other used space, its free and
    /// its reserved space. After [`rates`](Self::rates), each part has its growth.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{FileSystems, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut ticks = FileSystems::mounted().every(Duration::from_secs(1)).rates().parts();
    /// for part in ticks.try_next().await?.expect("a tick") {
    ///     println!("{} {} {} B {:?}", part.mount_point, part.part.name, part.part.bytes, part.rates);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn parts(self) -> Parts<Self>
    where
        T: HasParts,
    {
        assert_stream(Parts::new(self))
    }

    /// Yields the state changes of a rule (edges): the subjects for which it became pending, firing, without data, or resolved. Each
    /// edge is yielded once; a snapshot without edges is passed on empty.
    ///
    /// Time is that of the snapshots, so a recording has the same edges. Missing ticks are bridged: a condition that holds before and
    /// after them counts as held. Missing data never resolves an alert; the end of its subject does, with
    /// [`ResolvedBecause::Gone`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::stream::AlertState;
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut ticks = Processes::new().every(Duration::from_secs(1)).alert("threads >= 1".parse()?);
    /// for edge in ticks.try_next().await?.expect("a tick") {
    ///     assert_eq!(edge.state, AlertState::Firing);
    ///     println!("{}: {}", edge.subject, edge.rule);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn alert(self, rule: Alert<T>) -> Alerts<Self, T>
    where
        T: Sample + Measured,
    {
        assert_stream(Alerts::new(self, rule))
    }

    /// Combines the snapshots of a span of time into one: for each subject the growth of its counters, and the lowest, highest, mean and
    /// last value and the quantiles of its gauges, rates included. Each window begins at a multiple of its length by the wall clock, or
    /// [slides](Windows::sliding).
    ///
    /// A window is yielded at the first tick after it, and the incomplete last one when the stream ends. Each has its
    /// [coverage](WindowSample::coverage). Time is that of the snapshots. Late and repeated ticks are ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let ticks = Processes::new().every(Duration::from_millis(20)).rates();
    /// let mut windows = ticks.window(Duration::from_millis(100)).fields(["cpu.cores"]).quantiles([0.99]);
    /// for window in windows.try_next().await?.expect("a window") {
    ///     println!("{} {:?}", window.subject, window.fields);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn window(self, length: Duration) -> Windows<Self, T>
    where
        T: Sample + Measured,
    {
        assert_stream(Windows::new(self, length))
    }

    /// Passes the snapshots on, and keeps the newest one for readers with times of their own, such as a scrape: see [`Latest`]. It
    /// costs a copy of each snapshot.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::StreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let ticks = Processes::new().every(Duration::from_millis(20)).observe();
    /// let latest = ticks.latest();
    /// tokio::spawn(ticks.for_each(|_| async {}));
    /// let snapshot = latest.ready().await.expect("the stream goes on");
    /// println!("{} processes", snapshot.len());
    /// # Ok(())
    /// # }
    /// ```
    fn observe(self) -> Observe<Self, T>
    where
        T: Clone,
    {
        assert_stream(Observe::new(self))
    }

    /// Passes the snapshots on, and writes each to a file, from which a [`Recording`] reads them again: the same pipeline over last night's
    /// data. What is recorded is what comes in here, so record before [`rates`](Self::rates) and the like: they can be made again.
    ///
    /// A path that ends in `.zst` is compressed. See [`Recorded`] for the file, its rotation, and errors of the disk, which do not
    /// stop the stream.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("processes.ndjson.zst");
    /// let ticks = Processes::new().lives(true).every(Duration::from_millis(20));
    /// let mut ticks = ticks.record(&path).max_bytes(100 << 20).keep(7).rates();
    /// while let Some(tick) = ticks.try_next().await? {
    ///     println!("{} processes", tick.len());
    /// #   break;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "recording")]
    fn record(self, path: impl Into<std::path::PathBuf>) -> Recorded<Self, T>
    where
        T: Sample + serde::Serialize + Clone + Send + 'static,
    {
        assert_stream(Recorded::new(self, path.into()))
    }

    /// Yields the changes from tick to tick: the subjects that appeared, that changed their identity (a process by `execve(2)`), and
    /// that are gone. All subjects of the first snapshot appear.
    ///
    /// A subject that existed only between two ticks is not included: see [`events`](crate::events) for processes.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use appmon::stream::Change;
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut ticks = Processes::new().every(Duration::from_secs(1)).changes();
    /// for change in ticks.try_next().await?.expect("a tick") {
    ///     match change {
    ///         Change::Appeared(process) => println!("+ {}", process.info.name),
    ///         Change::Changed { before, after } => println!("{} -> {}", before.info.name, after.info.name),
    ///         Change::Gone(process) => println!("- {}", process.info.name),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn changes(self) -> Changes<Self, T>
    where
        T: Sample + Clone,
    {
        assert_stream(Changes::new(self))
    }

    /// Groups the processes of each snapshot by a key: the usage of each service, program or user altogether.
    ///
    /// The totals of a group are of all its members since [`GroupSample::since`], those that ended included, and those that lived between
    /// two ticks: a parent that waits for a child gets all of its CPU time and I/O from the kernel. They never fall.
    ///
    /// - The usage of a process counts for its group. The key is computed when the process is new, and when its
    ///   [`info`](crate::process::ProcessData::info) or parent changed. A process whose key changed is in the new group from then on; its usage in
    ///   that very tick is [`inferred`](GroupSample::inferred).
    /// - The usage that a process got from children that no tick saw counts for the group of that process, and is `inferred`: it may belong
    ///   to another group. So in groups by program a shell has the usage of its short-lived commands.
    /// - Where all processes of a control group are of one group, its CPU time is the figure of the kernel for the control group, which
    ///   includes all of that.
    ///
    /// The last two need a source with [`lives`](crate::Snapshot::lives). Without them the totals have the usage that was seen, that of
    /// children comes a tick later, the usage of a child that ended in the same tick as its parent can count twice, since nobody knows who
    /// waited for it, and the snapshots have [`Notice::NoLives`](crate::Notice::NoLives).
    ///
    /// ```text
    /// a process    ─run──────run─fork────────────run──►         its group's: run + run + run
    ///   its child                └─run─exit (waited for)        seen at no tick: its group's too, inferred
    /// ticks        ●─────────────●─────────────●
    /// ```
    ///
    /// Keys that are ready are in [`by`]; [`Service::of`](crate::process::Service::of) is for services; for trees of processes there is
    /// [`group_by_tree`](Self::group_by_tree). Groups have rates: `.group_by(..).rates()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::process::Service;
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let mut ticks = Processes::new().every(Duration::from_millis(20)).group_by(Service::of);
    /// for group in ticks.try_next().await?.expect("a tick") {
    ///     println!("{}: {} alive, {} ns of CPU", group.key, group.alive, group.cpu.total_ns);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn group_by<F, K>(self, key: F) -> GroupBy<Self, F, K>
    where
        T: AsRef<ProcessSample>,
        F: FnMut(&ProcessSample) -> K,
        K: Ord + Hash + Clone,
    {
        assert_stream(GroupBy::new(self, key))
    }

    /// Groups the processes of each snapshot by the tree they belong to: each job, login or server with all that it started. As
    /// [`group_by`](Self::group_by), with the [root](TreeRoot) of the tree as the key.
    ///
    /// - The roots are the topmost selected processes: one that is selected and below another root is part of that one's tree. With
    ///   [`Select::all`] they are those whose parent is not in the snapshot, as in [`ProcessTree::roots`](crate::ProcessTree::roots).
    /// - A process belongs to the tree in which it first was until it ends: also when its parent or the root ends, and it becomes a child of
    ///   another process, as daemons do. One that lost its parent before a snapshot had it is in the tree of the process that adopted it,
    ///   if that one is in a tree.
    /// - Whether a process is a root is decided by the snapshot alone, as by [`Select::apply`], when the process is new and when its
    ///   [`info`](crate::process::ProcessData::info) or parent changed, and not undone: when a process becomes a root, so do its descendants
    ///   become part of the tree, except those that are in one already.
    /// - Processes in no tree are in the group [`Other`](GroupKey::Other).
    ///
    /// # Errors
    ///
    /// Each item is an error when the selection is nested too deeply ([`is_config`](crate::Error::is_config)).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, Select, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let logins = Select::name("sshd") | Select::name("login");
    /// let mut ticks = Processes::new().lives(true).every(Duration::from_millis(20)).group_by_tree(logins);
    /// for tree in ticks.try_next().await?.expect("a tick") {
    ///     println!("{}: {} alive, {} ns of CPU", tree.key, tree.alive, tree.cpu.total_ns);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn group_by_tree(self, roots: Select) -> GroupBy<Self, TreeRoots, TreeRoot>
    where
        T: AsRef<ProcessSample>,
    {
        assert_stream(GroupBy::by_tree(self, roots))
    }

    /// Keeps the `n` samples of each snapshot that have the largest values, the largest first.
    /// So that a list does not flicker, a sample that was in it stays there until another one is larger by more than a tenth of its value;
    /// see [`Top::hysteresis`]. A value that is no number (`NaN`) is below all others.
    /// see [`Top::hysteresis`]. A value that is no number (`NaN`) is below all others.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let by_cpu = |process: &appmon::Rated<appmon::ProcessSample>| process.rates.map_or(0.0, |rates| rates.cpu.cores);
    /// let mut ticks = Processes::new().every(Duration::from_millis(20)).rates().top(3, by_cpu);
    /// let tick = ticks.try_next().await?.expect("a tick");
    /// assert!(tick.len() <= 3);
    /// # Ok(())
    /// # }
    /// ```
    fn top<F>(self, n: usize, by: F) -> Top<Self, F, T>
    where
        T: Sample,
        F: FnMut(&T) -> f64,
    {
        assert_stream(Top::new(self, n, by))
    }
}

impl<S, T> SnapshotStreamExt<T> for S where S: Stream<Item = Result<Snapshot<T>>> {}

/// Makes a combinator that is not a stream a compile error at its method.
fn assert_stream<I, S: Stream<Item = Result<I>>>(stream: S) -> S {
    stream
}
