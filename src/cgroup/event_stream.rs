//! The events of control groups as they happen.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use futures::task::AtomicWaker;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::event::ControlGroupEvent;
use super::event_source::ControlGroupEvents;
use crate::{Cancel, Error, Monotonic, Result, Snapshot, Source};

/// The stream of [`ControlGroupEvents::watch`]: snapshots of events, as the kernel reports them. A thread named `appmon-cgroups` sleeps until
/// then, and ends with the stream; no runtime is needed. Nothing is read while nothing happens, but for the walk over all groups
/// ([`ControlGroups::walk_every`](super::ControlGroups::walk_every)) and, each second, those without a watch.
///
/// # Errors
///
/// An item is an error where the groups cannot be read; the thread tries again every second.
///
/// # Cancel safety
///
/// Polling is cancel safe, and dropping the stream ends it. Events that nobody takes are kept, 65,536 of them; further ones are counted in
/// [`Skipped::lost`](crate::snapshot::Skipped::lost).
#[must_use = "streams do nothing unless polled"]
pub struct ControlGroupEventStream(Arc<Inner>);

struct Inner {
    queue: Mutex<VecDeque<Result<Snapshot<ControlGroupEvent>>>>,
    waker: AtomicWaker,
    end: OwnedFd,
    cancel: Cancel,
}

/// How many events wait for the consumer at most.
const MOST_PENDING: usize = 1 << 16;

impl ControlGroupEvents {
    /// Makes a stream that yields the events as they happen. What happens after this call is reported.
    ///
    /// # Errors
    ///
    /// Those of [`collect`](Source::collect); when no thread can be started.
    pub fn watch(self) -> Result<ControlGroupEventStream> {
        ControlGroupEventStream::new(self)
    }
}

impl ControlGroupEventStream {
    fn new(mut source: ControlGroupEvents) -> Result<Self> {
        let cancel = Cancel::new();
        let end = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(Error::os)?;
        // What happens from now on is reported.
        source.collect(&mut Snapshot::default(), &cancel)?;
        let (queue, waker) = (Mutex::default(), AtomicWaker::new());
        let inner = Arc::new(Inner { queue, waker, end, cancel });
        let theirs = Arc::clone(&inner);
        let run = move || theirs.run(source);
        std::thread::Builder::new().name("appmon-cgroups".to_owned()).spawn(run).map_err(Error::io)?;
        Ok(Self(inner))
    }
}

impl Inner {
    fn run(&self, mut source: ControlGroupEvents) {
        /// So many changes come together, as when a service is started, and the consumer need not wake up for each.
        const TOGETHER: Duration = Duration::from_millis(5);
        /// How often groups are compared that the kernel does not report, and how soon a failed reading is tried again.
        const COMPARE: Duration = Duration::from_secs(1);
        let mut seq = 0_u64;
        loop {
            let has_all = source.tree().is_some_and(|tree| tree.unwatched() == 0);
            let wait = if has_all { source.config().walk_every } else { source.config().walk_every.min(COMPARE) };
            let watches = source.tree().and_then(|tree| tree.watches().descriptor());
            if self.wait(watches, wait) || self.wait(None, TOGETHER) {
                return;
            }
            let mut snapshot = Snapshot { seq, ..Snapshot::default() };
            match source.collect(&mut snapshot, &self.cancel) {
                Ok(()) if snapshot.samples.is_empty() => {}
                Ok(()) => {
                    seq = seq.saturating_add(1);
                    self.push(Ok(snapshot));
                }
                Err(error) if error.is_cancelled() => return,
                Err(error) => {
                    self.push(Err(error));
                    if self.wait(None, COMPARE) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for an event, at most so long; whether this is the end.
    fn wait(&self, watches: Option<BorrowedFd<'_>>, most: Duration) -> bool {
        /// A time that the kernel can count to.
        const LONG: Duration = Duration::from_secs(1 << 30);
        let until = Monotonic::now().plus(most.min(LONG));
        loop {
            let left = until.since(Monotonic::now()).unwrap_or_default();
            let left = Timespec::try_from(left).ok();
            let mut fds = vec![PollFd::new(&self.end, PollFlags::IN)];
            fds.extend(watches.as_ref().map(|watches| PollFd::new(watches, PollFlags::IN)));
            match rustix::event::poll(&mut fds, left.as_ref()) {
                Ok(_) => return fds.first().is_some_and(|end| end.revents().contains(PollFlags::IN)),
                Err(rustix::io::Errno::INTR) => {}
                // The kernel has no memory to wait.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
            if self.cancel.is_cancelled() {
                return true;
            }
        }
    }

    fn push(&self, item: Result<Snapshot<ControlGroupEvent>>) {
        let mut queue = self.queue();
        match (queue.back_mut(), item) {
            // A consumer that is slow gets them together.
            (Some(Ok(waiting)), Ok(mut new)) => {
                let room = MOST_PENDING.saturating_sub(waiting.samples.len());
                let lost = new.samples.len().saturating_sub(room);
                waiting.skipped.lost = waiting.skipped.lost.saturating_add(u64::try_from(lost).unwrap_or(u64::MAX));
                new.samples.truncate(room);
                waiting.samples.append(&mut new.samples);
            }
            (Some(Err(_)), Err(_)) => {}
            (_, item) => {
                // Errors and snapshots in turn, of a consumer that takes none of them.
                if queue.len() < 64 {
                    queue.push_back(item);
                }
            }
        }
        drop(queue);
        self.waker.wake();
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Result<Snapshot<ControlGroupEvent>>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for ControlGroupEventStream {
    type Item = Result<Snapshot<ControlGroupEvent>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.waker.register(cx.waker());
        match self.0.queue().pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None => Poll::Pending,
        }
    }
}

impl FusedStream for ControlGroupEventStream {
    fn is_terminated(&self) -> bool {
        false
    }
}

impl Drop for ControlGroupEventStream {
    fn drop(&mut self) {
        self.0.cancel.cancel();
        // The write never blocks: only this adds to the counter.
        let _ = rustix::io::write(&self.0.end, &1_u64.to_ne_bytes());
    }
}

impl fmt::Debug for ControlGroupEventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlGroupEventStream").field("pending", &self.0.queue().len()).finish_non_exhaustive()
    }
}
