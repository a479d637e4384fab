//! Messages that wait on the disk until a broker has them.
//!
//! A bounded queue in one file, a [redb](https://docs.rs/redb) database that a thread of its own (`appmon-spool`) has open: no
//! async thread waits for the disk. All that is asked while a transaction is under way goes into the next one together: one
//! `fsync` for as many appends as came meanwhile.
//!
//! What is on the disk, and what is not:
//!
//! - An append is, when its [`oneshot`] resolves. After a `kill -9` or a loss of power it is there.
//! - A removal may come up to half a second later (with the next append, or by itself): what was removed last may be there again
//!   after a crash, and is sent once more with the same id.
//! - A position is never given twice, also after a restart.
//!
//! # The file
//!
//! `max_bytes` bounds what the messages take with all that is stored with them: about 100 bytes and 4 % beside the payload. The
//! blocks of the file are at most about 1.3 times that, with pages that are partly filled and those that the transaction under
//! way still needs. Its length (what `ls` shows, and not `du`) may be twice as much: the rest is a hole. When it has been
//! emptied it is made smaller.
//!
//! Beside the file `PATH` there is an empty `PATH.lock`, which says who has it: the kernel lets go of it when its process ends
//! in whatever way. All are readable for their owner alone.
//!
//! # What can go wrong
//!
//! - *A crash*: the database opens with the last transaction that was complete.
//! - *A corrupt file* (torn, shortened, flipped bits, bad sectors): opening checks every page and every message. When the database
//!   cannot be read, a new one is made of the messages that are found in the raw file, in the order they had; the corrupt
//!   file is kept as `PATH.corrupt-N` (the last one only). What is known to be lost is counted. While it is made there is room
//!   needed for a second and a third of the file. A single bad message is passed over and counted.
//! - *A full disk*, or another I/O error: those who append are told, and nothing of theirs will appear later. The file is opened
//!   again, and reading goes on. Appends are tried again after 0.1 s, then at longer intervals of up to 5 s; until then they fail
//!   at once.
//! - *A disk that hangs*: the thread hangs with it, and nobody else. Whoever waits for an answer should do so with a time limit;
//!   that also goes for [`Spool::close`]. The process can end all the same.

mod failure;
mod place;
mod queue;
mod record;
mod salvage;
#[cfg(test)]
mod tests;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::forward::Message;
use crate::{Error, Result, Timestamp};

use place::Place;
use worker::{Command, Reading, Worker};

/// Less is not worth a file.
const LEAST: u64 = 64 << 10;

/// A queue of messages on the disk. Dropping it ends its thread, after what was asked of it before.
#[derive(Debug)]
pub(crate) struct Spool {
    commands: mpsc::Sender<Command>,
    gauges: Arc<Gauges>,
    max_bytes: u64,
}

/// What was found when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Messages an earlier run left.
    pub(crate) messages: u64,
    /// Samples in them.
    pub(crate) samples: u64,
    /// The room they take.
    pub(crate) bytes: u64,
    /// Messages known to be lost; at least 1 where the file was not readable.
    pub(crate) corrupt: u64,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The position of the first one that was stored; the others follow it.
    pub(crate) first: u64,
    /// How many were stored, from the front.
    pub(crate) stored: u64,
    /// The oldest, removed to make room.
    pub(crate) evicted: Vec<Evicted>,
}

/// A message that made room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Where it was.
    pub(crate) position: u64,
    /// Samples in it.
    pub(crate) samples: u64,
}

/// A message of the queue.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Where it is: grows with every message.
    pub(crate) position: u64,
    /// The message. Those of one kind and host share these names.
    pub(crate) message: Message,
}

/// What happens when there is no room.
///
/// A message that is larger than the whole spool is never stored: in both cases `stored` ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many as there is room for are stored, from the front; the rest is the caller's.
    Refuse,
    /// The oldest are removed, those of the same append too where it is larger than the spool.
    EvictOldest,
}

/// What is in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Messages.
    pub(crate) messages: u64,
    /// Samples in them.
    pub(crate) samples: u64,
    /// The room they take.
    pub(crate) bytes: u64,
}

/// What can be seen from outside at any time.
#[derive(Debug, Default)]
struct Gauges {
    messages: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
    corrupt: AtomicU64,
}

impl Spool {
    /// Opens a spool, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is in use, when the file is of something else, or when `max_bytes` is below 64 KiB; an I/O
    /// error when the file cannot be opened or made, or has to be made anew and there is no room.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the file is closed again.
    pub(crate) async fn open(path: &Path, max_bytes: u64) -> Result<(Self, Opened)> {
        if max_bytes < LEAST {
            return Err(Error::config(format!("a spool of {max_bytes} bytes: it must have 65536 or more")).at(path));
        }
        let path: PathBuf = path.to_owned();
        let gauges = Arc::new(Gauges::default());
        let seen = Arc::clone(&gauges);
        let (commands, receiver) = mpsc::channel();
        let (ready, opened) = oneshot::channel();
        let run = move || match Place::take(&path).and_then(|place| Worker::open(place, max_bytes, seen)) {
            Ok((worker, held)) => {
                if ready.send(Ok(held)).is_ok() {
                    worker.run(&receiver);
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        std::thread::Builder::new().name("appmon-spool".to_owned()).spawn(run).map_err(Error::io)?;
        let Left { messages, samples, bytes } = opened.await.unwrap_or_else(|_| Err(gone()))?;
        let corrupt = gauges.corrupt.load(Ordering::Relaxed);
        Ok((Self { commands, gauges, max_bytes }, Opened { messages, samples, bytes, corrupt }))
    }

    /// One whose disk never answers.
    #[cfg(test)]
    pub(crate) fn that_hangs() -> Self {
        let (commands, receiver) = mpsc::channel();
        std::mem::forget(receiver);
        Self { commands, gauges: Arc::default(), max_bytes: LEAST }
    }

    /// Appends messages; resolves when they are on the disk.
    ///
    /// What is not answered yet is in memory. Where the order matters, wait for one append before the next: what is refused of
    /// one is not in the queue while a later one may be.
    ///
    /// # Errors
    ///
    /// None of them was stored: the disk is full, or has another fault.
    pub(crate) fn append(&self, messages: Vec<Message>, full: Full) -> oneshot::Receiver<Result<Appended>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Append { messages, full, reply });
        answer
    }

    /// Whether a message fits when nothing else is in it.
    pub(crate) fn could_hold(&self, message: &Message) -> bool {
        record::cost(message) <= self.max_bytes
    }

    /// Reads messages after a position, or from the first one on: at most so many, and of so many bytes of payload; but one
    /// at least, where there is one. None that was removed before is among them.
    pub(crate) fn read(
        &self,
        after: Option<u64>,
        max_messages: usize,
        max_bytes: usize,
    ) -> oneshot::Receiver<Result<Vec<Stored>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Read(Reading { after, max_messages, max_bytes }, reply));
        answer
    }

    /// Removes messages: there is room for others at once, and it is on the disk with the next append, or half a second later.
    /// One that is not there any more is passed over.
    pub(crate) fn remove(&self, positions: Vec<u64>) {
        self.send(Command::Remove(positions));
    }

    /// Moves a message to those that nobody can send, of which the newest are kept, up to a sixteenth of `max_bytes`. It is on the
    /// disk as a removal is. See [`DeadLetter::read`].
    pub(crate) fn set_aside(&self, position: u64, reason: String) {
        self.send(Command::DeadLetter(position, reason));
    }

    /// What is in the queue after the last transaction.
    pub(crate) fn held(&self) -> Left {
        self.gauges.get()
    }

    /// Messages known to be lost since it was opened, those that were found then included. When the file is found to be corrupt
    /// in mid-work the number is exact, since what should be in it is known.
    pub(crate) fn corrupt(&self) -> u64 {
        self.gauges.corrupt.load(Ordering::Relaxed)
    }

    /// Writes what is not yet on the disk, closes the file, and tells what stays for the next run. Then it can be opened
    /// again.
    ///
    /// It takes as long as the disk does: wait with a time limit.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the thread does it all the same.
    pub(crate) async fn close(self) -> Result<Left> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close(reply));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn send(&self, command: Command) {
        // Without the thread the command is dropped, and with it the sender of its answer: its receiver gives an error.
        let _ = self.commands.send(command);
    }
}

impl Gauges {
    fn set(&self, held: Left) {
        self.messages.store(held.messages, Ordering::Relaxed);
        self.samples.store(held.samples, Ordering::Relaxed);
        self.bytes.store(held.bytes, Ordering::Relaxed);
    }

    fn get(&self) -> Left {
        Left {
            messages: self.messages.load(Ordering::Relaxed),
            samples: self.samples.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn lost(&self, messages: u64) {
        self.corrupt.fetch_add(messages, Ordering::Relaxed);
    }
}

/// The thread ended without an answer.
fn gone() -> Error {
    Error::panicked("the spool's thread ended".to_owned())
}

/// A message that no broker takes, out of a spool: what to look at after
/// [`Outcome::Rejected`](crate::forward::Outcome::Rejected).
///
/// ```no_run
/// # fn look() -> appmon::Result<()> {
/// for poison in appmon::forward::DeadLetter::read("/var/lib/appmon/spool.redb")? {
///     println!("{} {}: {}", poison.at, poison.message.id, poison.reason);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// Why it was set aside: what the broker said, up to 1000 bytes of it.
    pub reason: String,
    /// When it was set aside.
    pub at: Timestamp,
}

impl DeadLetter {
    /// Reads what was set aside in a spool, the oldest first. The newest are kept, up to a sixteenth of the spool's size; one that
    /// is larger than that by itself is not.
    ///
    /// It blocks: it reads the whole file, and repairs it where the last process was killed.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] while a forwarder has the spool open, or when the file is none; [`Error::is_malformed`] when it is
    /// corrupt (the next forwarder that opens it repairs it); an I/O error, such as [`Error::is_not_found`].
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Self>> {
        let path = path.as_ref();
        std::fs::metadata(path).map_err(|error| Error::io(error).at(path))?;
        let place = Place::take(path)?;
        let found = place.open_existing().and_then(|mut queue| {
            let found = failure::guarded(|| queue.aside())?;
            failure::guarded(|| queue.close())?;
            Ok(found)
        });
        let found = found.map_err(|failure| failure.error(place.path()))?;
        Ok(found
            .into_iter()
            .map(|record| Self { message: record.message, reason: record.reason, at: record.aside_at })
            .collect())
    }
}
