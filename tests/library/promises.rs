//! What a type promises without a word, and loses as easily: that it can go to another thread, be shared, be polled where it
//! lies, outlive its maker. That this compiles is the test.

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::marker::PhantomPinned;
use std::rc::Rc;
use std::time::Duration;

use appmon::cached::Cached;
use appmon::cgroup::*;
use appmon::events::*;
use appmon::fs::*;
use appmon::metered::Meter;
use appmon::own::*;
use appmon::process::*;
use appmon::snapshot::*;
use appmon::stream::*;
use appmon::time::Monotonic;
use appmon::*;
use futures::Stream;
use futures::stream::FusedStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn send<T: Send + 'static>() {}
fn shared<T: Send + Sync + Unpin + Debug + 'static>() {}
fn stream<T: Stream + FusedStream + Send + Unpin + Debug + 'static>(_: T) {}
fn value<T: Clone + Send + Sync + Unpin + Debug + PartialEq + 'static>() {}
fn wire<T: Serialize + DeserializeOwned>() {}
fn key<T: Copy + Ord + Hash>() {}

type Ticks = Sampler<Processes>;

#[test]
fn streams() {
    let ticks = || Processes::new().every(Duration::from_secs(1));
    stream(ticks());
    stream(ticks().rates());
    stream(ticks().retain(|_| true));
    stream(ticks().select(Select::pid(1)));
    stream(ticks().rates().select(Select::pid(1)));
    stream(ticks().samples());
    stream(ticks().group_by(Service::of));
    stream(ticks().group_by_tree(Select::all()));
    stream(ticks().rates().group_by(by::name).by("name").rates());
    stream(ticks().rates().top(5, |process| process.rates.map_or(0.0, |rates| rates.cpu.cores)));
    stream(ticks().group_by(by::user).rates().top(5, |group| group.cpu.total_ns as f64).with_rest());
    stream(ticks().changes());
    stream(ticks().share());
    stream(ticks().share().capacity(3).rates());
    stream(ticks().rates().retain(|process| process.rates.is_some()).changes());
    stream(ticks().rates().samples().host("db-1"));
    stream(Processes::new().cached(Duration::from_secs(1)).every(Duration::from_secs(1)));
    stream(FileSystems::mounted().every(Duration::from_secs(1)).changes());
    stream(FileSystems::mounted().every(Duration::from_secs(1)).rates());
    #[cfg(feature = "recording")]
    stream(ticks().record("processes.ndjson"));
    #[cfg(feature = "recording")]
    shared::<Recording<ProcessSample>>();
    #[cfg(feature = "recording")]
    shared::<Replay<ProcessSample>>();
    stream(entries("/"));
    stream(entries("/").choose(|_| async { Walk::Keep }));
    stream(ProcessEvents::new().every(Duration::from_secs(1)).samples());
    stream(ControlGroups::new().every(Duration::from_secs(1)).rates().changes());
    stream(ControlGroups::new().every(Duration::from_secs(1)).rates().top(5, |group| group.id as f64));
    stream(ControlGroups::new().events().every(Duration::from_secs(1)).samples());
    shared::<(ControlGroups, ControlGroupEvents, ControlGroupEventStream)>();
    value::<(ControlGroupSample, ControlGroupRates, ControlGroupEvent)>();
    wire::<(Rated<ControlGroupSample>, ControlGroupEvent)>();
    stream(OwnProcess::new().every(Duration::from_secs(1)).rates().samples());
    stream(Processes::new().metered().every(Duration::from_secs(1)).rates());
    stream(Machine::new().every(Duration::from_secs(1)).rates().samples());
    shared::<Machine>();
    shared::<OwnProcess>();
    shared::<Meter>();
    value::<OwnSample>();
    value::<OwnRates>();
    wire::<Rated<OwnSample>>();
    shared::<ProcessEvents>();
    value::<ProcessEvent>();
    wire::<ProcessEvent>();
    wire::<Change<ProcessSample>>();
    shared::<Entries>();
    send::<MountChanges>();
    shared::<MountChanges>();
    shared::<Ticks>();
    shared::<Rates<Ticks, ProcessSample>>();
    shared::<Retain<Ticks, fn(&ProcessSample) -> bool>>();
    shared::<Selected<Ticks>>();
    shared::<Samples<Ticks, ProcessSample>>();
    shared::<Changes<Ticks, ProcessSample>>();
}

#[test]
fn streams_of_a_source_that_promises_less() {
    /// Neither `Sync` nor `Unpin`.
    struct Odd(#[allow(dead_code)] Cell<u32>, #[allow(dead_code)] PhantomPinned);

    impl Source for Odd {
        type Sample = ();

        fn fill(&mut self, _: &mut Snapshot<()>, _: &Cancel) -> Result<()> {
            Ok(())
        }
    }

    stream(Odd(Cell::new(0), PhantomPinned).every(Duration::from_secs(1)));
    let boxed: Box<dyn Source<Sample = ()> + Send> = Box::new(Odd(Cell::new(0), PhantomPinned));
    stream(boxed.every(Duration::from_secs(1)));
}

#[test]
fn combinators_need_no_thread() {
    // In a task that stays on its thread, a closure may hold what cannot leave it.
    let local = Rc::new(Cell::new(0));
    let seen = Rc::clone(&local);
    let ticks = Processes::new().every(Duration::from_secs(1)).retain(move |_| {
        seen.set(seen.get() + 1);
        true
    });
    drop(ticks);
    assert_eq!(Rc::strong_count(&local), 1);
}

#[test]
fn sources_and_handles() {
    shared::<Processes>();
    shared::<FileSystems>();
    shared::<Registry>();
    shared::<Registration>();
    shared::<Scan>();
    shared::<Cached<Processes>>();
    shared::<Cancel>();
    shared::<ProcFs>();
    shared::<Process>();
    shared::<AsyncProcess>();
    shared::<Select>();
    shared::<Pattern>();
    shared::<ProcessTree<'static>>();
    shared::<ProcessTree<'static, Rated<ProcessSample>>>();
    send::<Secret<'static>>();
}

#[test]
fn futures_can_be_spawned() {
    fn spawned(_: impl Future + Send) {}
    let open = || async { AsyncProcFs::new("/proc").await?.process(std::process::id()).await };
    spawned(open());
    spawned(async move { open().await?.status().await });
    spawned(async {
        let mut files = entries("/").choose(async |entry| match entry.metadata().await {
            Ok(_) => Walk::Keep,
            Err(_) => Walk::SkipTree,
        });
        futures::TryStreamExt::try_next(&mut files).await
    });
    spawned(async {
        let mut ticks = Processes::new().every(Duration::from_secs(1)).rates();
        futures::TryStreamExt::try_next(&mut ticks).await
    });
}

#[test]
fn values() {
    value::<Snapshot<ProcessSample>>();
    value::<Snapshot<Rated<ProcessSample>>>();
    value::<Snapshot<Change<ProcessSample>>>();
    value::<Record<Rated<ProcessSample>>>();
    value::<FileSystemSample>();
    value::<Snapshot<Rated<FileSystemSample>>>();
    value::<(Directory, FileSystem, Part, Mount, MountChange)>();
    value::<(Entry, EntryMetadata, Walk)>();
    value::<Reading<Text>>();
    value::<Summary>();
    value::<(Stat, Status, Statm, Io, Limits, Namespaces, Oom, SmapsRollup, Schedstat, Environ, CgroupPaths)>();
    wire::<Snapshot<ProcessSample>>();
    wire::<Snapshot<Rated<ProcessSample>>>();
    wire::<Snapshot<Change<ProcessSample>>>();
    wire::<Record<ProcessSample>>();
    wire::<Record<Rated<ProcessSample>>>();
    wire::<Record<FileSystemSample>>();
    wire::<Snapshot<Rated<FileSystemSample>>>();
    wire::<(Mount, MountChange, Usage)>();
    wire::<(Snapshot<Rated<GroupSample<Text>>>, Record<GroupSample<Service>>, Lives)>();
    wire::<(Summary, Fields, Select, ProcessRates)>();
    wire::<(Stat, Status, Statm, Io, Limits, Namespaces, Oom, SmapsRollup, Schedstat, Environ, CgroupPaths)>();
    key::<ProcessId>();
    key::<Monotonic>();
    key::<Timestamp>();
    key::<BootId>();
}

#[cfg(feature = "nats")]
#[test]
fn nats() {
    use appmon::broker::nats::{Consumer, Consuming, Core, JetStream, Server};
    use appmon::forward::{Forwarder, Publish};

    fn sink<T: Publish + Clone + Send + Sync + Unpin + Debug + 'static>() {}
    fn spawned<T: Future + Send>(_: impl FnOnce() -> T) {}
    sink::<JetStream>();
    sink::<Core>();
    shared::<Server>();
    shared::<Consumer<ProcessSample>>();
    send::<Consuming<ProcessSample>>();
    let fleet = || Consumer::<ProcessSample>::new("nats://127.0.0.1", "S").unwrap().stream();
    stream(fleet());
    stream(fleet().rates().retain(|_| true).changes());
    spawned(|| fleet().close());
    spawned(|| async {
        let queue = JetStream::new("nats://127.0.0.1")?;
        Processes::new().every(Duration::from_secs(1)).forward_to(Forwarder::new(queue)).await
    });
    spawned(|| async {
        let units = Processes::new().every(Duration::from_secs(1)).group_by(Service::of);
        Forwarder::new(JetStream::new("nats://127.0.0.1")?).feed("units", units).run().await
    });
}

#[cfg(feature = "mqtt")]
#[test]
fn mqtt() {
    use appmon::broker::mqtt::Mqtt;
    use appmon::forward::{Forwarder, Publish};

    fn sink<T: Publish + Send + Unpin + Debug + 'static>() {}
    fn spawned<T: Future + Send>(_: impl FnOnce() -> T) {}
    sink::<Mqtt>();
    spawned(|| async {
        let broker = Mqtt::new("mqtt://127.0.0.1")?;
        Processes::new().every(Duration::from_secs(1)).forward_to(Forwarder::new(broker)).await
    });
}

#[cfg(all(feature = "amqp", feature = "kafka", feature = "redis"))]
#[test]
fn other_brokers() {
    use appmon::broker::{amqp::Amqp, kafka::Kafka, redis::Streams};
    use appmon::forward::Publish;

    fn sink<T: Publish + Send + Unpin + Debug + 'static>() {}
    sink::<Amqp>();
    sink::<Kafka>();
    sink::<Streams>();
    send::<appmon::broker::Consuming<ProcessSample>>();
}

#[test]
fn errors() {
    fn error<T: std::error::Error + Display + Send + Sync + 'static>() {}
    error::<Error>();
    assert_eq!(size_of::<Error>(), size_of::<usize>(), "one word, so that a `Result` costs little");
    assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
}

#[test]
fn a_reading_of_a_pointer_is_not_larger_than_a_pointer_and_a_word() {
    assert!(size_of::<Reading<std::sync::Arc<Status>>>() <= 2 * size_of::<usize>());
}
