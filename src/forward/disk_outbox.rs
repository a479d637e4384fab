//! Messages that wait on the disk, with a few of them at hand in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use crate::forward::outbox::{BatchLimits, Entry};
use crate::forward::spool::{Appended, Full, Left, Opened, Spool, Stored};
use crate::forward::{Message, Overflow, Report};
use crate::{Error, Result};

/// After a failure of the disk.
const PAUSE: Duration = Duration::from_millis(250);

/// One append takes no more than about so much.
const APPEND_MESSAGES: usize = 1024;
const APPEND_BYTES: usize = 4 << 20;

/// The way of a message: incoming (in memory) → appended (on the disk) → ready (there, and in memory too) → taken → removed.
///
/// What was appended is ready at once while that much fits in memory. Otherwise it is read when its turn comes: `behind` says
/// that there is more on the disk than is ready. Where the disk takes nothing and there is nothing on it that is older, messages
/// are ready without it: a broker that is well makes up for a full disk.
pub(super) struct DiskOutbox {
    spool: Spool,
    overflow: Overflow,
    max_messages: usize,
    max_bytes: usize,
    incoming: Waiting<Message>,
    append: Append,
    ready: Waiting<Entry>,
    /// The last position that was ready.
    last_ready: Option<u64>,
    reading: Option<Reading>,
    behind: bool,
    /// Positions that were taken and are not settled, and whether they were evicted meanwhile (and so counted).
    taken: BTreeMap<u64, bool>,
    /// Positions to be removed at the next occasion.
    settled: Vec<u64>,
    /// Positions settled since the append under way began: it may evict them all the same.
    settled_meanwhile: BTreeSet<u64>,
    /// After a read that failed: none begins before.
    read_pause: Option<Pin<Box<Sleep>>>,
    corrupt: u64,
}

enum Append {
    Idle,
    UnderWay {
        reply: oneshot::Receiver<Result<Appended>>,
        messages: Vec<Message>,
    },
    /// The disk failed.
    Pausing(Pin<Box<Sleep>>),
    /// The spool is full, and it is chosen to wait until something is removed.
    Full,
}

struct Reading {
    reply: oneshot::Receiver<Result<Vec<Stored>>>,
    /// Whether something was appended since: then an answer of nothing is old.
    stale: bool,
    /// What was evicted since, and so counted: the answer may have it all the same.
    evicted: BTreeSet<u64>,
}

/// A queue that knows how many bytes it holds.
struct Waiting<T> {
    list: VecDeque<T>,
    bytes: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { list: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Payload> Waiting<T> {
    fn push(&mut self, item: T) {
        self.bytes = self.bytes.saturating_add(item.bytes());
        self.list.push_back(item);
    }

    fn push_front(&mut self, item: T) {
        self.bytes = self.bytes.saturating_add(item.bytes());
        self.list.push_front(item);
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.list.pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.bytes());
        Some(item)
    }

    fn len(&self) -> usize {
        self.list.len()
    }
}

trait Payload {
    fn bytes(&self) -> usize;
}

impl Payload for Message {
    fn bytes(&self) -> usize {
        self.payload.len()
    }
}

impl Payload for Entry {
    fn bytes(&self) -> usize {
        self.message.payload.len()
    }
}

impl fmt::Debug for DiskOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskOutbox").field("spool", &self.spool).field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl DiskOutbox {
    /// Over an open spool; `max_messages` and `max_bytes` bound what is in memory.
    pub(super) fn new(spool: Spool, opened: Opened, overflow: Overflow, max_messages: usize, max_bytes: usize) -> Self {
        Self {
            spool,
            overflow,
            max_messages,
            max_bytes,
            incoming: Waiting::default(),
            append: Append::Idle,
            ready: Waiting::default(),
            last_ready: None,
            reading: None,
            behind: opened.messages > 0,
            taken: BTreeMap::new(),
            settled: Vec::new(),
            settled_meanwhile: BTreeSet::new(),
            read_pause: None,
            corrupt: opened.corrupt,
        }
    }

    /// Whether more may come. A disk that is busy is waited for, whatever is chosen; one that takes nothing is not.
    pub(super) fn has_room(&self) -> bool {
        !self.is_full() || (self.overflow != Overflow::Block && matches!(self.append, Append::Pausing(_)))
    }

    fn is_full(&self) -> bool {
        self.incoming.len() >= self.max_messages || self.incoming.bytes >= self.max_bytes
    }

    fn is_over(&self) -> bool {
        self.incoming.len() > self.max_messages || self.incoming.bytes > self.max_bytes
    }

    pub(super) fn push(&mut self, messages: Vec<Message>, report: &mut Report) {
        for message in messages {
            self.incoming.push(message);
        }
        while self.overflow != Overflow::Block && matches!(self.append, Append::Pausing(_)) && self.is_over() {
            let (dropped, count) = match self.overflow {
                Overflow::DropNewest => (self.incoming.list.pop_back(), &mut report.dropped.newest),
                _ => (self.incoming.list.pop_front(), &mut report.dropped.oldest),
            };
            let Some(dropped) = dropped else { break };
            self.incoming.bytes = self.incoming.bytes.saturating_sub(dropped.bytes());
            count.add(1, dropped.samples.into());
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, report: &mut Report) {
        self.flush_settled();
        loop {
            while self.poll_append(cx, report) {}
            while self.poll_read(cx) {}
            let lost = self.spool.corrupt().saturating_sub(self.corrupt);
            report.dropped.corrupt.add(lost, 0);
            self.corrupt = self.corrupt.saturating_add(lost);
            if lost == 0 || !self.made_room() {
                return;
            }
        }
    }

    /// Something is not in the spool any more: whether an append waited for that, and can be tried again.
    fn made_room(&mut self) -> bool {
        let waited = matches!(self.append, Append::Full);
        if waited {
            self.append = Append::Idle;
        }
        waited
    }

    fn flush_settled(&mut self) {
        if !self.settled.is_empty() {
            self.spool.remove(std::mem::take(&mut self.settled));
            self.made_room();
        }
    }

    /// One step towards the disk; false when it waits, or there is nothing to do.
    fn poll_append(&mut self, cx: &mut Context<'_>, report: &mut Report) -> bool {
        match &mut self.append {
            Append::Idle => self.start_append(),
            Append::Full => false,
            Append::Pausing(pause) => {
                if pause.as_mut().poll(cx).is_pending() {
                    self.go_around();
                    return false;
                }
                self.append = Append::Idle;
                true
            }
            Append::UnderWay { reply, .. } => {
                let Poll::Ready(answer) = Pin::new(reply).poll(cx) else { return false };
                let Append::UnderWay { messages, .. } = std::mem::replace(&mut self.append, Append::Idle) else {
                    return false;
                };
                match answer.unwrap_or_else(|_| Err(gone())) {
                    Ok(appended) => self.appended(messages, appended, report),
                    Err(error) => self.not_appended(messages, &error),
                }
                true
            }
        }
    }

    fn start_append(&mut self) -> bool {
        let mut messages = Vec::new();
        let limits = BatchLimits { messages: APPEND_MESSAGES, bytes: APPEND_BYTES };
        let mut bytes = 0_usize;
        while let Some(next) = self.incoming.list.front()
            && limits.allow(messages.len(), bytes, next)
            && let Some(message) = self.incoming.pop()
        {
            bytes = bytes.saturating_add(message.bytes());
            messages.push(message);
        }
        if messages.is_empty() {
            return false;
        }
        let full = if self.overflow == Overflow::DropOldest { Full::EvictOldest } else { Full::Refuse };
        self.settled_meanwhile.clear();
        let reply = self.spool.append(messages.clone(), full);
        self.append = Append::UnderWay { reply, messages };
        true
    }

    fn appended(&mut self, messages: Vec<Message>, appended: Appended, report: &mut Report) {
        let evicted = self.evict(&appended, report);
        if let Some(reading) = &mut self.reading {
            reading.stale = true;
            reading.evicted.extend(&evicted);
        }
        let mut messages = messages.into_iter();
        let stored = usize::try_from(appended.stored).unwrap_or(usize::MAX);
        for (position, message) in (appended.first..).zip(messages.by_ref().take(stored)) {
            if evicted.contains(&position) {
                continue;
            }
            if self.behind || self.ready.bytes >= self.max_bytes || self.ready.len() >= self.max_messages {
                // It is read when its turn comes.
                self.behind = true;
                continue;
            }
            self.last_ready = Some(position);
            self.ready.push(Entry::new(message, Some(position)));
        }
        let refused: Vec<_> = messages.collect();
        if !refused.is_empty() {
            self.refused(refused, report);
        }
    }

    /// There was no room for them.
    fn refused(&mut self, mut messages: Vec<Message>, report: &mut Report) {
        let ever = messages.first().is_some_and(|first| self.spool.could_hold(first));
        if !ever || self.overflow != Overflow::Block {
            // The first is sure not to fit, and neither is what is at least as large.
            let least = messages.first().map_or(0, Payload::bytes);
            let mut first = true;
            messages.retain(|message| {
                let keep = !std::mem::take(&mut first) && (!self.drops_newest() || message.bytes() < least);
                if !keep {
                    report.dropped.newest.add(1, message.samples.into());
                }
                keep
            });
        } else if self.settled_meanwhile.is_empty() {
            self.append = Append::Full;
        }
        // Otherwise there is room that was not there yet, and maybe nothing left that will make more: it is tried again.
        for message in messages.into_iter().rev() {
            self.incoming.push_front(message);
        }
    }

    fn drops_newest(&self) -> bool {
        self.overflow == Overflow::DropNewest
    }

    /// The disk took none of them.
    fn not_appended(&mut self, messages: Vec<Message>, error: &Error) {
        for message in messages.into_iter().rev() {
            self.incoming.push_front(message);
        }
        self.go_around();
        tracing::warn!(%error, waiting = self.incoming.len(), "the spool took nothing");
        self.append = Append::Pausing(Box::pin(tokio::time::sleep(PAUSE)));
    }

    /// Where nothing older is on the disk, what comes is ready without it.
    fn go_around(&mut self) {
        while !self.behind
            && self.reading.is_none()
            && self.ready.bytes < self.max_bytes
            && self.ready.len() < self.max_messages
            && let Some(message) = self.incoming.pop()
        {
            self.ready.push(Entry::new(message, None));
        }
    }

    /// What made room for others is lost, unless it is on its way, or was accepted meanwhile. Gives the positions.
    fn evict(&mut self, appended: &Appended, report: &mut Report) -> BTreeSet<u64> {
        let mut positions = BTreeSet::new();
        for evicted in &appended.evicted {
            positions.insert(evicted.position);
            if self.settled_meanwhile.contains(&evicted.position) {
                continue;
            }
            report.dropped.oldest.add(1, evicted.samples);
            if let Some(is_evicted) = self.taken.get_mut(&evicted.position) {
                *is_evicted = true;
            }
        }
        if !positions.is_empty() {
            let bytes = &mut self.ready.bytes;
            self.ready.list.retain(|entry| {
                let keep = entry.position.is_none_or(|position| !positions.contains(&position));
                if !keep {
                    *bytes = bytes.saturating_sub(entry.bytes());
                }
                keep
            });
        }
        positions
    }

    /// One step from the disk; false when it waits, or there is nothing to do.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(reading) = &mut self.reading else {
            // A batch at a time, when the last is used up: what waits is on the disk, not in memory.
            if !self.behind || !self.ready.list.is_empty() {
                return false;
            }
            if let Some(pause) = &mut self.read_pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return false;
                }
                self.read_pause = None;
            }
            let reply = self.spool.read(
                self.last_ready,
                self.max_messages.min(APPEND_MESSAGES),
                self.max_bytes.min(APPEND_BYTES),
            );
            self.reading = Some(Reading { reply, stale: false, evicted: BTreeSet::new() });
            return true;
        };
        let Poll::Ready(answer) = Pin::new(&mut reading.reply).poll(cx) else { return false };
        let (stale, evicted) = (reading.stale, std::mem::take(&mut reading.evicted));
        self.reading = None;
        match answer.unwrap_or_else(|_| Err(gone())) {
            Ok(stored) if stored.is_empty() => self.behind = stale,
            Ok(stored) => {
                for Stored { position, message } in stored {
                    self.last_ready = Some(position);
                    if !evicted.contains(&position) {
                        self.ready.push(Entry::new(message, Some(position)));
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the spool could not be read");
                self.read_pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
            }
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.list.is_empty()
    }

    /// Whether nothing waits anywhere.
    pub(super) fn is_settled(&self) -> bool {
        self.ready.list.is_empty()
            && self.incoming.list.is_empty()
            && !self.behind
            && self.reading.is_none()
            && !matches!(self.append, Append::UnderWay { .. })
    }

    /// How many messages wait, those that were taken and not settled left out.
    pub(super) fn len(&self) -> usize {
        let held = usize::try_from(self.spool.held().messages).unwrap_or(usize::MAX);
        let under_way = match &self.append {
            Append::UnderWay { messages, .. } => messages.len(),
            _ => 0,
        };
        let direct = self.ready.list.iter().filter(|entry| entry.position.is_none()).count();
        let removed = self.taken.len().saturating_add(self.settled.len());
        held.saturating_sub(removed)
            .saturating_add(self.incoming.len())
            .saturating_add(under_way)
            .saturating_add(direct)
    }

    pub(super) fn bytes(&self) -> usize {
        self.incoming.bytes.saturating_add(self.ready.bytes)
    }

    pub(super) fn held(&self) -> Left {
        self.spool.held()
    }

    pub(super) fn fills(&self, limits: BatchLimits) -> bool {
        self.ready.len() >= limits.messages || self.ready.bytes >= limits.bytes
    }

    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<Entry> {
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        while let Some(next) = self.ready.list.front()
            && limits.allow(batch.len(), bytes, &next.message)
            && let Some(entry) = self.ready.pop()
        {
            bytes = bytes.saturating_add(entry.bytes());
            if let Some(position) = entry.position {
                self.taken.insert(position, false);
            }
            batch.push(entry);
        }
        batch
    }

    pub(super) fn accepted(&mut self, entry: &Entry, report: &mut Report) {
        if let Some(position) = self.give_back(entry, report) {
            self.settled.push(position);
        }
    }

    pub(super) fn rejected(&mut self, entry: &Entry, error: &Error, report: &mut Report) {
        if let Some(position) = self.give_back(entry, report) {
            self.spool.set_aside(position, error.to_string());
            self.made_room();
        }
    }

    /// The position of what was taken and is settled now. What was evicted while it was on its way is not lost after all.
    fn give_back(&mut self, entry: &Entry, report: &mut Report) -> Option<u64> {
        let position = entry.position?;
        if self.taken.remove(&position) == Some(true) {
            report.dropped.oldest.take_back(1, entry.message.samples.into());
        }
        if matches!(self.append, Append::UnderWay { .. }) {
            self.settled_meanwhile.insert(position);
        }
        Some(position)
    }

    /// Writes what is still in memory, and closes the spool: what is in it stays for the next run. `taken` was never settled. All
    /// of it together has until about then; what could not be written is counted as lost.
    pub(super) async fn close(mut self, taken: Vec<Entry>, until: Instant, report: &mut Report) {
        self.flush_settled();
        let mut held = self.spool.held();
        let mut late = false;
        let mut unsaved: Vec<Message> = Vec::new();
        if let Append::UnderWay { reply, messages } = std::mem::replace(&mut self.append, Append::Idle) {
            match tokio::time::timeout_at(until, reply).await {
                Ok(Ok(Ok(appended))) => self.appended(messages, appended, report),
                Ok(_) => unsaved.extend(messages),
                Err(_) => {
                    unsaved.extend(messages);
                    late = true;
                }
            }
        }
        let in_memory =
            taken.into_iter().chain(std::mem::take(&mut self.ready.list)).filter(|entry| entry.position.is_none());
        unsaved.extend(in_memory.map(|entry| entry.message));
        unsaved.extend(std::mem::take(&mut self.incoming.list));
        unsaved.sort_by_key(|message| message.id);
        if !late && !unsaved.is_empty() {
            held = self.spool.held();
            let full = if self.overflow == Overflow::DropOldest { Full::EvictOldest } else { Full::Refuse };
            self.settled_meanwhile.clear();
            match tokio::time::timeout_at(until, self.spool.append(unsaved.clone(), full)).await {
                Ok(Ok(Ok(appended))) => {
                    self.evict(&appended, report);
                    unsaved.drain(..unsaved.len().min(usize::try_from(appended.stored).unwrap_or(usize::MAX)));
                }
                Ok(_) => {}
                Err(_) => late = true,
            }
        }
        for message in unsaved {
            report.dropped.shutdown.add(1, message.samples.into());
        }
        report.dropped.corrupt.add(self.spool.corrupt().saturating_sub(self.corrupt), 0);
        // Whether what is late will be on the disk is not known. It was counted as lost, so it is not to be told as kept too; the
        // thread closes the spool all the same.
        if !late {
            held = self.spool.held();
            match tokio::time::timeout_at(until, self.spool.close()).await {
                Ok(Ok(left)) => held = left,
                Ok(Err(error)) => tracing::warn!(%error, "the spool did not close in order"),
                Err(_) => {}
            }
        }
        report.spooled = held.messages;
    }
}

fn gone() -> Error {
    Error::panicked("the spool's thread ended".to_owned())
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::forward::spool::Evicted;
    use crate::forward::{Codec, Form};
    use crate::{BootId, Timestamp};

    fn message(seq: u64) -> Message {
        Message {
            id: crate::forward::MessageId::new(BootId::from_bits(1), 7, seq),
            kind: "process".into(),
            form: Form::Snapshot,
            host: "h".into(),
            time: Timestamp::default(),
            codec: Codec::Json,
            samples: 1,
            key: 0,
            payload: bytes::Bytes::from(vec![0; 1000]),
        }
    }

    /// A spool with these messages in it, at the positions from 0 on.
    async fn spooled(overflow: Overflow, held: u64) -> (tempfile::TempDir, DiskOutbox) {
        let folder = tempfile::tempdir().unwrap();
        let (spool, opened) = Spool::open(&folder.path().join("spool"), 1 << 20).await.unwrap();
        spool.append((0..held).map(message).collect(), Full::Refuse).await.unwrap().unwrap();
        (folder, DiskOutbox::new(spool, opened, overflow, 100, 1 << 20))
    }

    /// Polls until this many messages are ready, and gives their numbers.
    async fn until_ready(spooled: &mut DiskOutbox, report: &mut Report, count: usize) -> Vec<u64> {
        let begin = Instant::now();
        while spooled.ready.len() < count {
            assert!(begin.elapsed() < Duration::from_secs(5), "{} of {count} are ready", spooled.ready.len());
            spooled.poll(&mut Context::from_waker(Waker::noop()), report);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        spooled.ready.list.iter().map(|entry| entry.message.id.seq).collect()
    }

    fn stored(seqs: std::ops::Range<u64>) -> Vec<Stored> {
        seqs.map(|seq| Stored { position: seq, message: message(seq) }).collect()
    }

    #[tokio::test]
    async fn room_that_came_while_an_append_was_refused_is_used() {
        let (_folder, mut spooled) = spooled(Overflow::Block, 1).await;
        let mut report = Report::default();
        let taken = Entry::new(message(0), Some(0));
        spooled.taken.insert(0, false);
        let (refuse, reply) = oneshot::channel();
        spooled.append = Append::UnderWay { reply, messages: vec![message(1)] };
        // The last of the spool is settled before it is known that there was no room: nothing will be settled after it.
        spooled.accepted(&taken, &mut report);
        refuse.send(Ok(Appended { first: 1, stored: 0, evicted: Vec::new() })).unwrap();
        assert_eq!(until_ready(&mut spooled, &mut report, 1).await, [1]);
        assert_eq!(report.dropped.total().messages, 0);
    }

    #[tokio::test]
    async fn a_read_that_fails_leaves_the_append_under_way_alone() {
        let (_folder, mut spooled) = spooled(Overflow::Block, 1).await;
        let mut report = Report::default();
        spooled.behind = true;
        let (appended, reply) = oneshot::channel();
        spooled.append = Append::UnderWay { reply, messages: vec![message(1)] };
        let (read, reply) = oneshot::channel();
        spooled.reading = Some(Reading { reply, stale: false, evicted: BTreeSet::new() });
        read.send(Err(Error::broker("a bad disk"))).unwrap();
        spooled.poll(&mut Context::from_waker(Waker::noop()), &mut report);
        let _ = appended.send(Err(Error::broker("a bad disk")));
        let mut seqs = Vec::new();
        while seqs.len() < 2 {
            until_ready(&mut spooled, &mut report, 1).await;
            for entry in spooled.take(BatchLimits { messages: 10, bytes: 1 << 20 }) {
                seqs.push(entry.message.id.seq);
                spooled.accepted(&entry, &mut report);
            }
        }
        assert_eq!(seqs, [0, 1], "both are tried again");
    }

    #[tokio::test]
    async fn what_was_evicted_while_it_was_read_is_lost_once() {
        let (_folder, mut spooled) = spooled(Overflow::DropOldest, 0).await;
        let mut report = Report::default();
        spooled.behind = true;
        let (read, reply) = oneshot::channel();
        spooled.reading = Some(Reading { reply, stale: false, evicted: BTreeSet::new() });
        let (appended, reply) = oneshot::channel();
        spooled.append = Append::UnderWay { reply, messages: vec![message(3)] };
        // It was read first, and both answers are seen at once.
        assert!(read.send(Ok(stored(0..3))).is_ok());
        let evicted = (0..2).map(|position| Evicted { position, samples: 1 }).collect();
        appended.send(Ok(Appended { first: 3, stored: 1, evicted })).unwrap();
        assert_eq!(until_ready(&mut spooled, &mut report, 1).await, [2]);
        assert_eq!(report.dropped.oldest.messages, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_does_not_hold_up_the_end() {
        let mut spooled = DiskOutbox::new(Spool::that_hangs(), Opened::default(), Overflow::Block, 100, 1 << 20);
        let mut report = Report { messages: 2, ..Report::default() };
        spooled.incoming.push(message(0));
        spooled.poll(&mut Context::from_waker(Waker::noop()), &mut report);
        spooled.incoming.push(message(1));
        let begin = Instant::now();
        spooled.close(Vec::new(), begin + Duration::from_secs(3), &mut report).await;
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        assert_eq!((report.spooled, report.dropped.shutdown.messages), (0, 2));
        assert!(report.is_balanced());
    }
}
