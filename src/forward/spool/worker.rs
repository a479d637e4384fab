//! The thread that has the file: what is asked of it meanwhile goes into one transaction.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::forward::Message;
use crate::{Error, Result};

use super::failure::{Failure, guarded};
use super::place::{Opened, Place};
use super::queue::{Change, Queue};
use super::{Appended, Full, Gauges, Left, Stored};

/// What is asked of the thread.
pub(super) enum Command {
    Append { messages: Vec<Message>, full: Full, reply: Reply<Appended> },
    Read(Reading, Reply<Vec<Stored>>),
    Remove(Vec<u64>),
    DeadLetter(u64, String),
    Close(Reply<Left>),
}

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) after: Option<u64>,
    pub(super) max_messages: usize,
    pub(super) max_bytes: usize,
}

/// Where the answer goes.
type Reply<T> = oneshot::Sender<Result<T>>;

/// Removals wait so long for an append that they can go with.
const FLUSH: Duration = Duration::from_millis(500);

/// One transaction takes no more than about so much, and no more commands, that none waits for long.
const GROUP_BYTES: usize = 4 << 20;
const GROUP: usize = 1000;

/// A file of this length or more is made smaller when an eighth of it would do, and nothing happened for a while.
const COMPACT_LEN: u64 = 4 << 20;
const COMPACT_PART: u64 = 8;
const COMPACT_IDLE: Duration = Duration::from_secs(1);

/// How long nothing is tried after a failure: twice as long after each one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Worker {
    place: Place,
    max_bytes: u64,
    state: State,
    /// What the next transaction does beside its appends.
    change: Change,
    flush_at: Option<Instant>,
    compact_at: Option<Instant>,
    /// How long the file was after it had been compacted: it is not done again before there is more.
    compacted_len: u64,
    /// After a transaction that failed.
    pause: Pause,
    next: u64,
    floor: u64,
    gauges: Arc<Gauges>,
}

enum State {
    Open(Queue),
    /// Something failed: the file is opened again when it is needed.
    Shut {
        opening: Pause,
    },
}

/// What is asked at once.
#[derive(Default)]
struct Group {
    appends: Vec<(Vec<Message>, Full)>,
    replies: Vec<Reply<Appended>>,
    reads: Vec<(Reading, Reply<Vec<Stored>>)>,
    close: Option<Reply<Left>>,
    bytes: usize,
    commands: usize,
}

impl Worker {
    /// Opens the file, and gives what was found in it.
    pub(super) fn open(place: Place, max_bytes: u64, gauges: Arc<Gauges>) -> Result<(Self, Left)> {
        let Opened { queue, corrupt } = place.open(max_bytes, 0).map_err(|failure| failure.error(place.path()))?;
        let held = queue.held();
        gauges.lost(corrupt);
        let mut worker = Self {
            place,
            max_bytes,
            next: queue.next(),
            floor: queue.first(),
            state: State::Open(queue),
            change: Change::default(),
            flush_at: None,
            compact_at: None,
            compacted_len: 0,
            pause: Pause::default(),
            gauges,
        };
        worker.done();
        Ok((worker, held))
    }

    /// Does what is asked until nobody is left who could ask.
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
                // The lock is given up before anybody is told.
                let _ = reply.send(self.close());
                return;
            }
        }
    }

    fn group(&mut self, group: Group) -> Option<Reply<Left>> {
        let now = Instant::now();
        if !self.change.is_empty() && self.flush_at.is_none() {
            self.flush_at = now.checked_add(FLUSH);
        }
        if !group.appends.is_empty() || self.flush_at.is_some_and(|at| at <= now) {
            self.commit(&group.appends, group.replies, now);
        } else if group.commands == 0 && self.compact_at.is_some_and(|at| at <= now) {
            self.compact();
        }
        for (reading, reply) in group.reads {
            // Who does not wait for it any more is not read for.
            if !reply.is_closed() {
                let _ = reply.send(self.read(reading));
            }
        }
        group.close
    }

    /// One transaction of all that waits, which is on the disk when it is done.
    fn commit(&mut self, appends: &[(Vec<Message>, Full)], replies: Vec<Reply<Appended>>, now: Instant) {
        let result = match self.pause.why(now) {
            Some(failure) => Err(failure.error(self.place.path())),
            None => self.transaction(appends, now),
        };
        match result {
            Ok(appended) => {
                for (reply, appended) in replies.into_iter().zip(appended) {
                    let _ = reply.send(Ok(appended));
                }
            }
            Err(error) => {
                self.flush_at = if self.change.is_empty() { None } else { self.pause.until };
                let mut error = Some(error);
                for reply in replies {
                    let error = error.take().or_else(|| Some(self.pause.failure.as_ref()?.error(self.place.path())));
                    let _ = reply.send(Err(error.unwrap_or_else(Error::cancelled)));
                }
            }
        }
    }

    fn transaction(&mut self, appends: &[(Vec<Message>, Full)], now: Instant) -> Result<Vec<Appended>> {
        let result = match self.attempt(appends) {
            // A file that was found to be corrupt is made anew by the next attempt.
            Err(failure) if failure.is_corrupt() => self.attempt(appends),
            result => result,
        };
        match result {
            Ok(appended) => {
                self.pause = Pause::default();
                Ok(appended)
            }
            Err(failure) => {
                let error = failure.error(self.place.path());
                self.pause.begin(failure, now);
                Err(error)
            }
        }
    }

    fn attempt(&mut self, appends: &[(Vec<Message>, Full)]) -> Result<Vec<Appended>, Failure> {
        let before = self.next;
        let result = self.with(|queue, change| queue.apply(change, appends));
        if result.is_ok() {
            self.change = Change::default();
            self.flush_at = None;
            self.done();
        } else {
            // It may be on the disk all the same, and those who asked are told that it is not: it is taken back.
            if !appends.is_empty() {
                self.change.undo = Some(self.change.undo.map_or(before, |from| from.min(before)));
                let messages = appends.iter().map(|(messages, _)| u64::try_from(messages.len()).unwrap_or(u64::MAX));
                self.next = messages.fold(before, u64::saturating_add);
            }
        }
        result
    }

    fn read(&mut self, reading: Reading) -> Result<Vec<Stored>> {
        let result = match self.with(|queue, change| queue.read(reading, change)) {
            // As with transactions: the next one has a file that was made anew.
            Err(failure) if failure.is_corrupt() => self.with(|queue, change| queue.read(reading, change)),
            result => result,
        };
        result.map_err(|failure| failure.error(self.place.path()))
    }

    /// Does something with the queue, which is opened where it is not. After any failure it is shut.
    fn with<T>(&mut self, run: impl FnOnce(&mut Queue, &Change) -> Result<T, Failure>) -> Result<T, Failure> {
        self.reopen()?;
        let State::Open(queue) = &mut self.state else { return Err(Failure::InUse) };
        let result = guarded(|| run(queue, &self.change));
        if result.is_err() {
            self.shut();
        }
        result
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        let State::Shut { opening } = &mut self.state else { return Ok(()) };
        let now = Instant::now();
        if let Some(failure) = opening.why(now) {
            return Err(failure.again());
        }
        let opened = self.place.open(self.max_bytes, self.floor).and_then(|Opened { queue, .. }| {
            // What was in it is known better here than from the file.
            let there = guarded(|| queue.there(&self.change))?;
            Ok((queue, self.gauges.get().messages.saturating_sub(there)))
        });
        match opened {
            Ok((mut queue, lost)) => {
                self.gauges.lost(lost);
                // It may fail again before there is a transaction that tells anew: they are lost once.
                let held = self.gauges.get();
                self.gauges.set(Left { messages: held.messages.saturating_sub(lost), ..held });
                queue.skip_to(self.next);
                self.state = State::Open(queue);
                Ok(())
            }
            Err(failure) => {
                opening.begin(failure.again(), now);
                Err(failure)
            }
        }
    }

    fn shut(&mut self) {
        let queue = std::mem::replace(&mut self.state, State::Shut { opening: Pause::default() });
        // Its end is no better than it was.
        let _ = guarded(|| {
            drop(queue);
            Ok(())
        });
    }

    /// After a transaction: what others see of it, and whether the file is to be made smaller.
    fn done(&mut self) {
        let State::Open(queue) = &self.state else { return };
        (self.next, self.floor) = (queue.next(), queue.first());
        self.gauges.set(queue.held());
        let length = self.place.file_len();
        let least = COMPACT_LEN.max(self.compacted_len.saturating_mul(2));
        let worthwhile = length >= least && queue.bytes().saturating_mul(COMPACT_PART) < length;
        self.compact_at = if worthwhile { Instant::now().checked_add(COMPACT_IDLE) } else { None };
    }

    fn compact(&mut self) {
        self.compact_at = None;
        // What fails is shut, and is opened again when it is needed.
        let _ = self.with(|queue, _| queue.compact());
        self.compacted_len = self.place.file_len();
    }

    /// The last transaction; then the file is closed and the lock given up.
    fn close(mut self) -> Result<Left> {
        self.pause = Pause::default();
        if let State::Shut { opening } = &mut self.state {
            *opening = Pause::default();
        }
        if !self.change.is_empty() {
            // Removals that cannot be written leave messages that are sent once more: what is left is told all the same.
            let _ = self.transaction(&[], Instant::now());
        }
        let left = self.with(|queue, _| Ok(queue.held())).map_err(|failure| failure.error(self.place.path()));
        if let State::Open(queue) = std::mem::replace(&mut self.state, State::Shut { opening: Pause::default() }) {
            // What was committed is on the disk; at worst the next one who opens it repairs it.
            let _ = guarded(|| queue.close());
        }
        left
    }
}

impl Group {
    fn add(&mut self, command: Command, change: &mut Change) {
        self.commands = self.commands.saturating_add(1);
        match command {
            Command::Append { messages, full, reply } => {
                let bytes = messages.iter().map(|message| message.payload.len());
                self.bytes = bytes.fold(self.bytes, usize::saturating_add);
                self.appends.push((messages, full));
                self.replies.push(reply);
            }
            Command::Read(reading, reply) => self.reads.push((reading, reply)),
            Command::Remove(positions) => change.removed.extend(positions),
            Command::DeadLetter(position, reason) => change.aside.push((position, reason)),
            Command::Close(reply) => self.close = Some(reply),
        }
    }

    fn is_full(&self) -> bool {
        self.close.is_some() || self.bytes >= GROUP_BYTES || self.commands >= GROUP
    }
}

/// Nothing is tried for a while after a failure.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
    failure: Option<Failure>,
}

impl Pause {
    fn begin(&mut self, failure: Failure, now: Instant) {
        self.length = self.length.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = now.checked_add(self.length);
        self.failure = Some(failure);
    }

    /// Why nothing is tried now.
    fn why(&self, now: Instant) -> Option<&Failure> {
        self.failure.as_ref().filter(|_| self.until.is_some_and(|until| now < until))
    }
}
