//! What is made of each snapshot, by the library's combinators: the same for a live stream and for a recording.

use std::pin::Pin;
use std::sync::Arc;

use appmon::process::Service;
use appmon::snapshot::Notice;
use appmon::stream::{AlertEdge, AlertState, Change, GroupSample};
use appmon::{FileSystemSample, ProcessSample, Rated, Result, Sample, Snapshot, SnapshotStreamExt, Timestamp};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt, Stream, StreamExt};

use crate::machine::Machine;

/// Everything that is shown of a tick.
pub(crate) struct Tick {
    pub(crate) time: Timestamp,
    pub(crate) processes: Snapshot<Rated<ProcessSample>>,
    pub(crate) services: Snapshot<Rated<GroupSample<Service>>>,
    /// The alerts that are active, and the edges of this tick.
    pub(crate) active: Vec<AlertEdge>,
    pub(crate) events: Vec<Event>,
    pub(crate) disks: Option<Arc<Disks>>,
    pub(crate) machine: Machine,
}

pub(crate) type Disks = Snapshot<Rated<FileSystemSample>>;

/// A line of the events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) time: Timestamp,
    pub(crate) kind: EventKind,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Began,
    Changed,
    Ended,
    Alert,
    Note,
}

/// Combinators that are given one snapshot at a time.
struct Pipe<T, U> {
    sender: UnboundedSender<Result<Snapshot<T>>>,
    stream: Pin<Box<dyn Stream<Item = Result<Snapshot<U>>> + Send>>,
}

impl<T, U> Pipe<T, U> {
    fn new<S>(combine: impl FnOnce(UnboundedReceiver<Result<Snapshot<T>>>) -> S) -> Self
    where
        S: Stream<Item = Result<Snapshot<U>>> + Send + 'static,
    {
        let (sender, receiver) = unbounded();
        Self { sender, stream: Box::pin(combine(receiver)) }
    }

    /// Combinators are pure: what goes in comes out at once.
    fn push(&mut self, snapshot: Snapshot<T>) -> Result<Snapshot<U>> {
        // The receiver lives in here.
        let _ = self.sender.unbounded_send(Ok(snapshot));
        self.stream.next().now_or_never().flatten().unwrap_or_else(|| Ok(Snapshot::default()))
    }
}

/// The combinators of processes.
pub(crate) struct Analysis {
    rates: Pipe<ProcessSample, Rated<ProcessSample>>,
    services: Pipe<ProcessSample, Rated<GroupSample<Service>>>,
    changes: Option<Pipe<ProcessSample, Change<ProcessSample>>>,
    alerts: Vec<Pipe<Rated<ProcessSample>, AlertEdge>>,
    active: Vec<AlertEdge>,
    is_first: bool,
    notices: Vec<Notice>,
}

impl Analysis {
    /// With these rules. Events are derived from the ticks unless they come from elsewhere.
    pub(crate) fn new(rules: &[String], derive_events: bool) -> Result<Self> {
        let mut alerts = Vec::new();
        for text in rules {
            let rule = text.parse()?;
            alerts.push(Pipe::new(|ticks| ticks.alert(rule)));
        }
        Ok(Self {
            rates: Pipe::new(SnapshotStreamExt::rates),
            services: Pipe::new(|ticks| ticks.group_by(Service::of).rates()),
            changes: derive_events.then(|| Pipe::new(SnapshotStreamExt::changes)),
            alerts,
            active: Vec::new(),
            is_first: true,
            notices: Vec::new(),
        })
    }

    pub(crate) fn push(&mut self, snapshot: Snapshot<ProcessSample>) -> Result<Tick> {
        let time = snapshot.time;
        let mut events = Vec::new();
        if let Some(changes) = &mut self.changes {
            let changes = changes.push(snapshot.clone())?;
            // At first all appear.
            if !self.is_first {
                events.extend(changes.samples.iter().map(|change| of_change(time, change)));
            }
        }
        self.is_first = false;
        for notice in snapshot.notices.iter().filter(|notice| !self.notices.contains(notice)) {
            events.push(Event { time, kind: EventKind::Note, text: notice.to_string() });
        }
        self.notices.clone_from(&snapshot.notices);
        let services = self.services.push(snapshot.clone())?;
        let processes = self.rates.push(snapshot)?;
        for pipe in &mut self.alerts {
            for edge in pipe.push(processes.clone())? {
                events.push(of_alert(time, &edge));
                self.active.retain(|active| active.key() != edge.key());
                if edge.state != AlertState::Resolved {
                    self.active.push(edge);
                }
            }
        }
        let active = self.active.clone();
        Ok(Tick { time, processes, services, active, events, disks: None, machine: Machine::default() })
    }
}

/// The combinators of disks.
pub(crate) struct DiskAnalysis(Pipe<FileSystemSample, Rated<FileSystemSample>>);

impl DiskAnalysis {
    pub(crate) fn new() -> Self {
        Self(Pipe::new(SnapshotStreamExt::rates))
    }

    pub(crate) fn push(&mut self, snapshot: Snapshot<FileSystemSample>) -> Result<Arc<Disks>> {
        self.0.push(snapshot).map(Arc::new)
    }
}

fn of_change(time: Timestamp, change: &Change<ProcessSample>) -> Event {
    let (kind, text) = match change {
        Change::Appeared(process) => {
            (EventKind::Began, format!("{} {}, a child of {}", process.id.pid, process.info.name, process.ppid))
        }
        Change::Gone(process) => {
            let seconds = process.cpu.total_ns as f64 / 1e9;
            (EventKind::Ended, format!("{} {}, after {seconds:.2} s of CPU", process.id.pid, process.info.name))
        }
        Change::Changed { before, after } => {
            (EventKind::Changed, format!("{} {}, was {}", after.id.pid, after.info.name, before.info.name))
        }
        _ => (EventKind::Note, String::new()),
    };
    Event { time, kind, text }
}

fn of_alert(time: Timestamp, edge: &AlertEdge) -> Event {
    Event { time, kind: EventKind::Alert, text: format!("{}: {} ({})", state(edge.state), edge.subject, edge.rule) }
}

pub(crate) fn state(state: AlertState) -> &'static str {
    match state {
        AlertState::Pending => "pending",
        AlertState::Firing => "FIRING",
        AlertState::NoData => "no data",
        AlertState::Resolved => "resolved",
        _ => "?",
    }
}
