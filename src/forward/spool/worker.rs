//! The thread of a spool, which groups commands into transactions.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::Result;
use crate::forward::message::Message;

use super::answer::{Appended, Closed, Full, Left, Range, Stored};
use super::failure::{Failure, guarded};
use super::file::SpoolFile;
use super::gauges::Gauges;
use super::group::{Command, Group, Reply};
use super::pause::Pause;
use super::queue::{Change, Queue};

/// How long removals wait for an append, to share its transaction.
const FLUSH: Duration = Duration::from_millis(500);

/// The least length of a file to be compacted: when it is idle, and an eighth of the length is enough for its content.
const COMPACT_LEN: u64 = 4 << 20;
const COMPACT_PART: u64 = 8;
const COMPACT_IDLE: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    file: SpoolFile,
    /// `None` after a failure: it is opened again at the next use.
    queue: Option<Queue>,
    opening: Pause,
    /// The changes of the next transaction, without its appends.
    change: Change,
    flush_at: Option<Instant>,
    compact_at: Option<Instant>,
    /// The length of the file after the last compaction, which is not repeated before the file grows.
    compacted_len: u64,
    /// The pause after a failed transaction.
    pause: Pause,
    next: u64,
    gauges: Arc<Gauges>,
}

impl Worker {
    /// Opens the file, and returns whether it was damaged.
    pub(super) fn open(path: &Path, max_bytes: u64, gauges: Arc<Gauges>) -> Result<(Self, bool)> {
        let opened = SpoolFile::open(path, max_bytes).map_err(|failure| failure.error(path));
        let (file, queue, damaged) = opened?;
        let mut worker = Self {
            file,
            next: queue.next(),
            queue: Some(queue),
            opening: Pause::default(),
            change: Change::default(),
            flush_at: None,
            compact_at: None,
            compacted_len: 0,
            pause: Pause::default(),
            gauges,
        };
        worker.done();
        Ok((worker, damaged))
    }

    /// Executes commands until all senders are dropped.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let wake = [self.flush_at, self.compact_at].into_iter().flatten().min();
            let first = match wake {
                Some(at) => commands.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut group = Group::default();
            match first {
                Ok(command) => {
                    group.add(command, &mut self.change);
                    while !group.is_full()
                        && let Ok(command) = commands.try_recv()
                    {
                        group.add(command, &mut self.change);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.close();
                    return;
                }
            }
            if let Some(reply) = self.group(group) {
                // The lock is released before the answer is sent.
                let _ = reply.send(self.close());
                return;
            }
        }
    }

    fn group(&mut self, group: Group) -> Option<Reply<Closed>> {
        let now = Instant::now();
        if !self.change.is_empty() && self.flush_at.is_none() {
            self.flush_at = now.checked_add(FLUSH);
        }
        let compacts = group.is_empty() && self.compact_at.is_some_and(|at| at <= now);
        // First the commands that need no write.
        for (range, reply) in group.reads {
            // Skip reads whose caller no longer waits.
            if !reply.is_closed() {
                let _ = reply.send(self.read(range));
            }
        }
        if !group.appends.is_empty() || self.flush_at.is_some_and(|at| at <= now) {
            self.commit(&group.appends, group.replies, now);
        } else if compacts {
            self.compact();
        }
        group.close
    }

    /// Commits all waiting changes and appends in one transaction, and answers.
    fn commit(&mut self, appends: &[(Vec<Message>, Full)], replies: Vec<Reply<Appended>>, now: Instant) {
        let result = match self.pause.why(now) {
            Some(failure) => Err(failure.again()),
            None => self.transaction(appends, now),
        };
        match result {
            Ok(appended) => {
                for (reply, appended) in replies.into_iter().zip(appended) {
                    let _ = reply.send(Ok(appended));
                }
            }
            Err(failure) => {
                self.flush_at = if self.change.is_empty() { None } else { self.pause.until() };
                for reply in replies {
                    let _ = reply.send(Err(failure.error(self.file.path())));
                }
            }
        }
    }

    fn transaction(&mut self, appends: &[(Vec<Message>, Full)], now: Instant) -> Result<Vec<Appended>, Failure> {
        // After damage there is a new file, so it is tried again.
        let result = match self.attempt(appends) {
            Err(failure) if failure.is_damage() => self.attempt(appends),
            result => result,
        };
        match &result {
            Ok(_) => self.pause = Pause::default(),
            Err(failure) => {
                self.pause.begin(failure.again(), now);
                // On a full disk, the removals alone may free the space that is needed.
                if !appends.is_empty() && !self.change.is_empty() {
                    let _ = self.attempt(&[]);
                }
            }
        }
        result
    }

    fn attempt(&mut self, appends: &[(Vec<Message>, Full)]) -> Result<Vec<Appended>, Failure> {
        let before = self.next;
        let result = self.with(|queue, change| queue.apply(change, appends)).and_then(|appended| {
            // A file without its path would not be found by the next run.
            self.stay()?;
            Ok(appended)
        });
        if result.is_ok() {
            self.change = Change::default();
            self.flush_at = None;
            self.done();
        } else if !appends.is_empty() {
            // It may have reached the disk although the caller gets an error: so it is removed again.
            self.change.undo = Some(self.change.undo.map_or(before, |from| from.min(before)));
            let messages = appends.iter().map(|(messages, _)| u64::try_from(messages.len()).unwrap_or(u64::MAX));
            self.next = messages.fold(before, u64::saturating_add);
        }
        result
    }

    /// If the file is no longer at its path, copies its content to a new one there.
    fn stay(&mut self) -> Result<(), Failure> {
        if self.file.is_at_its_path() {
            return Ok(());
        }
        let Some(queue) = &self.queue else { return Err(Failure::InUse) };
        (self.file, self.queue) = self.file.make_again(queue).map(|(file, queue)| (file, Some(queue)))?;
        tracing::warn!(path = %self.file.path().display(), "the file of the spool was moved or removed, and is created again");
        Ok(())
    }

    fn read(&mut self, range: Range) -> Result<Vec<Stored>> {
        // As with transactions.
        let result = match self.with(|queue, change| queue.read(range, change)) {
            Err(failure) if failure.is_damage() => self.with(|queue, change| queue.read(range, change)),
            result => result,
        };
        result.map_err(|failure| failure.error(self.file.path()))
    }

    /// Runs an operation on the queue, and opens it before if needed. After a failure it is closed.
    fn with<T>(&mut self, run: impl FnOnce(&mut Queue, &Change) -> Result<T, Failure>) -> Result<T, Failure> {
        self.reopen()?;
        let Some(queue) = &mut self.queue else { return Err(Failure::InUse) };
        let result = guarded(|| run(queue, &self.change));
        if result.is_err() {
            self.shut();
        }
        result
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        if self.queue.is_some() {
            return Ok(());
        }
        let now = Instant::now();
        if let Some(failure) = self.opening.why(now) {
            return Err(failure.again());
        }
        match self.file.reopen() {
            Ok((mut queue, instead)) => {
                if let Some(file) = instead {
                    self.file = file;
                    let change = std::mem::take(&mut self.change);
                    self.gauges.lose(self.next, change.removed.len().saturating_add(change.rejected.len()));
                }
                queue.skip_to(self.next);
                self.queue = Some(queue);
                self.opening = Pause::default();
                Ok(())
            }
            Err(failure) => {
                self.opening.begin(failure.again(), now);
                Err(failure)
            }
        }
    }

    fn shut(&mut self) {
        let queue = self.queue.take();
        // A failure of closing adds nothing to the first one.
        let _ = guarded(|| {
            drop(queue);
            Ok(())
        });
    }

    /// Updates the gauges after a transaction, and decides about compaction.
    fn done(&mut self) {
        let Some(queue) = &self.queue else { return };
        self.next = queue.next();
        self.gauges.set(queue.left());
        let length = self.file.len();
        let least = COMPACT_LEN.max(self.compacted_len.saturating_mul(2));
        let worthwhile = length >= least && queue.bytes().saturating_mul(COMPACT_PART) < length;
        self.compact_at = if worthwhile { Instant::now().checked_add(COMPACT_IDLE) } else { None };
    }

    fn compact(&mut self) {
        self.compact_at = None;
        // After a failure the queue is closed, and opened again at the next use.
        let _ = self.with(|queue, _| queue.compact());
        self.compacted_len = self.file.len();
    }

    /// Makes the last transaction, closes the file and releases the lock.
    fn close(mut self) -> Result<Closed> {
        (self.pause, self.opening) = (Pause::default(), Pause::default());
        if !self.change.is_empty() {
            // Removals that cannot be written leave messages that are sent once more; they do not count as left.
            let _ = self.transaction(&[], Instant::now());
        }
        self.opening = Pause::default();
        let left = self.with(|queue, change| queue.left_after(change)).or_else(|failure| match failure {
            // It cannot be read without space for its repair. The settled messages are known here.
            Failure::Io(_) => {
                let done_with = self.change.removed.len().saturating_add(self.change.rejected.len());
                let (left, done_with) = (self.gauges.get(), u64::try_from(done_with).unwrap_or(u64::MAX));
                Ok(Left { messages: left.messages.saturating_sub(done_with), ..left })
            }
            failure => Err(failure),
        });
        let closed = left.map(|left| match self.stay() {
            Ok(()) => Closed { left, lost: Left::default() },
            Err(failure) => {
                tracing::warn!(error = %failure.error(self.file.path()), "the messages in the spool are lost");
                Closed { left: Left::default(), lost: left }
            }
        });
        if let Some(queue) = self.queue.take() {
            // Committed transactions are on the disk; at worst the next opening repairs the file.
            let _ = guarded(|| queue.close());
        }
        closed.map_err(|failure| failure.error(self.file.path()))
    }
}
