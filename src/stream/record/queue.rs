//! The way of the snapshots from the task of the stream to the thread that writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use serde::Serialize;

use super::super::segment::line;
use super::writer::Writer;
use crate::sampler::Hop;
use crate::{Error, Sample, Snapshot};

/// So many snapshots wait at most.
const MOST: usize = 64;

/// After errors so many snapshots are left out at most before the file is tried again.
const MOST_LEFT_OUT: u64 = 64;

/// What a recording did: of [`Recorded::status`](super::Recorded::status).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordStatus {
    /// Snapshots written.
    pub recorded: u64,
    /// Snapshots not written because of an error, or soon after one.
    pub failed: u64,
    /// Snapshots not written because too many waited for a slow disk.
    pub dropped: u64,
    /// The size of the current file, in bytes.
    pub bytes: u64,
    /// Files that were full or old, and have a number now.
    pub rotated: u64,
    /// Bytes cut off the end of existing files: lines half written before a crash.
    pub cut_bytes: u64,
    /// The last error, until the next snapshot is written.
    pub error: Option<String>,
}

/// Snapshots that wait, and the writer while nobody writes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    /// The task of the stream, where it waits.
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Inner<T> {
    waiting: VecDeque<Snapshot<T>>,
    writer: Option<Writer>,
    /// Whether a job is on its way, and has the writer or will take it.
    is_busy: bool,
    is_ending: bool,
    /// Whether the file was not opened yet.
    is_new: bool,
    first_error: Option<Error>,
    status: RecordStatus,
    /// How many of the next snapshots are left out, and how many it were after the last error.
    left_out: (u64, u64),
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            writer: None,
            is_busy: false,
            is_ending: false,
            is_new: true,
            first_error: None,
            status: RecordStatus::default(),
            left_out: (0, 0),
        };
        Self { inner: Mutex::new(inner), waker: AtomicWaker::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> RecordStatus {
        self.lock().status.clone()
    }

    /// The error because of which nothing is recorded now.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().status.error.clone()
    }

    /// Takes the error of opening the file.
    pub(super) fn first_error(&self) -> Option<Error> {
        self.lock().first_error.take()
    }

    /// Records nothing, for this reason.
    pub(super) fn disable(&self, error: &Error) {
        self.lock().status.error = Some(error.to_string());
    }

    /// Ready when nobody writes.
    pub(super) fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.lock().is_busy { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Ready when there is room for a snapshot.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        let inner = self.lock();
        if inner.is_busy && inner.waiting.len() >= MOST { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl<T: Sample + Serialize + Send + 'static> Queue<T> {
    /// Opens the file.
    pub(super) fn begin(self: &Arc<Self>, writer: Writer) {
        self.lock().writer = Some(writer);
        self.start();
    }

    /// Hands a copy of a snapshot over, if one is taken.
    pub(super) fn push(self: &Arc<Self>, snapshot: &Snapshot<T>)
    where
        T: Clone,
    {
        let mut inner = self.lock();
        if inner.writer.is_none() && !inner.is_busy {
            // The file is another's, or the writer was lost.
            inner.status.failed = inner.status.failed.saturating_add(1);
        } else if inner.waiting.len() >= MOST {
            inner.status.dropped = inner.status.dropped.saturating_add(1);
        } else {
            inner.waiting.push_back(snapshot.clone());
            drop(inner);
            self.start();
        }
    }

    /// Finishes the file when all is written.
    pub(super) fn end(self: &Arc<Self>) {
        self.lock().is_ending = true;
        self.start();
    }

    /// Starts a job, unless there is one.
    fn start(self: &Arc<Self>) {
        let mut inner = self.lock();
        if inner.is_busy || inner.writer.is_none() {
            return;
        }
        inner.is_busy = true;
        drop(inner);
        let job = Job { queue: Arc::clone(self), is_done: false };
        Hop::start(move || job.run());
    }
}

/// Writes what waits. If it is dropped before its end (its runtime shuts down, or it panics), nobody waits for it.
struct Job<T> {
    queue: Arc<Queue<T>>,
    /// Whether it has come to its end: what the queue has now may be of the next one.
    is_done: bool,
}

impl<T: Sample + Serialize> Job<T> {
    fn run(mut self) {
        let queue = Arc::clone(&self.queue);
        let Some(mut writer) = queue.lock().writer.take() else { return };
        let mut inner = queue.lock();
        if std::mem::take(&mut inner.is_new) {
            drop(inner);
            let opened = writer.open();
            inner = queue.lock();
            if let Err(error) = opened {
                inner.failed(&error, 0);
                let is_for_good = error.is_config();
                inner.first_error = Some(error);
                if is_for_good {
                    (inner.is_busy, self.is_done) = (false, true);
                    return;
                }
            }
            (inner.status.bytes, inner.status.cut_bytes) = (writer.bytes(), writer.cut);
        }
        let mut bytes = Vec::new();
        while let Some(snapshot) = inner.waiting.pop_front() {
            if inner.left_out.0 > 0 {
                inner.left_out.0 = inner.left_out.0.saturating_sub(1);
                inner.status.failed = inner.status.failed.saturating_add(1);
                continue;
            }
            drop(inner);
            let result = if line::write(&snapshot, &mut bytes) {
                writer.append(&bytes, snapshot.time)
            } else {
                Err(Error::malformed("a snapshot that JSON cannot express"))
            };
            inner = queue.lock();
            match result {
                Ok(()) => {
                    inner.status.recorded = inner.status.recorded.saturating_add(1);
                    inner.status.error = writer.trouble.as_ref().map(ToString::to_string);
                    inner.left_out = (0, 0);
                }
                Err(error) => inner.failed(&error, 1),
            }
            inner.status.bytes = writer.bytes();
            (inner.status.rotated, inner.status.cut_bytes) = (writer.rotated, writer.cut);
            queue.waker.wake();
        }
        if inner.is_ending {
            drop(inner);
            let finished = writer.finish();
            inner = queue.lock();
            inner.status.bytes = writer.bytes();
            if let Err(error) = finished {
                inner.failed(&error, 0);
            }
        } else {
            // In the same breath as the look at what waits: a snapshot that comes now finds a writer that is free.
            inner.writer = Some(writer);
        }
        (inner.is_busy, self.is_done) = (false, true);
    }
}

impl<T> Inner<T> {
    fn failed(&mut self, error: &Error, snapshots: u64) {
        self.status.failed = self.status.failed.saturating_add(snapshots);
        self.status.error = Some(format!("{error:?}"));
        let next = self.left_out.1.saturating_mul(2).clamp(1, MOST_LEFT_OUT);
        self.left_out = (next, next);
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        if !self.is_done {
            inner.is_busy = false;
            inner.status.error.get_or_insert_with(|| "the thread that writes was lost".to_owned());
            let left = u64::try_from(inner.waiting.len()).unwrap_or(u64::MAX);
            inner.waiting.clear();
            inner.status.failed = inner.status.failed.saturating_add(left);
        }
        drop(inner);
        self.queue.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessSample;

    #[test]
    fn a_job_that_has_ended_takes_nothing_from_the_next_one() {
        let queue = Arc::new(Queue::<ProcessSample>::new());
        let begun = || {
            let mut inner = queue.lock();
            inner.is_busy = true;
            inner.waiting.push_back(Snapshot::default());
        };
        let waiting = || {
            let inner = queue.lock();
            (inner.is_busy, inner.waiting.len(), inner.status.failed)
        };
        begun();
        drop(Job { queue: Arc::clone(&queue), is_done: true });
        assert_eq!(waiting(), (true, 1, 0));
        drop(Job { queue: Arc::clone(&queue), is_done: false });
        assert_eq!(waiting(), (false, 0, 1), "one that was lost does not hold up the stream");
    }
}
