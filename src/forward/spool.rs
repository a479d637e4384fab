//! Messages that wait on the disk until a broker has them.
//!
//! A bounded queue in one file, a [redb](https://docs.rs/redb) database that a thread of its own (`appmon-spool`) has open: no
//! async thread waits for the disk. All that is asked while a transaction is under way goes into the next one together: one
//! `fsync` for as many appends as came meanwhile. A message is one value; that pages are whole is the database's business.
//!
//! What is on the disk, and what is not:
//!
//! - An append is, when its [`oneshot`] resolves. After a `kill -9` or a loss of power it is there.
//! - A removal may come up to half a second later (with the next append, or by itself): what was removed last may be there again
//!   after a crash, and is sent once more with the same id.
//! - A position is never given twice by one [`Spool`].
//!
//! # The file
//!
//! `max_bytes` bounds the room that the messages take in the file, which is more than their bytes: the database gives a value of
//! more than a page (4 KiB) pages of its own, whose number is a power of two, and fills the others to a half or more. So each counts
//! as the next power of two. The blocks of the file are that and what the transaction under way replaces. Its length (what `ls`
//! shows, and not `du`) may be twice as much: the rest is a hole. When it has been emptied it is made smaller.
//!
//! A file is used only if it is a regular one that is a spool by what is in it; anything else at the path is refused and left as it
//! is. A new one has its name when it is whole. It is readable for its owner alone, and locked: the kernel lets go of it when its
//! process ends in whatever way.
//!
//! # What can go wrong
//!
//! - *A crash*: the database opens with the last transaction that was complete.
//! - *A damaged file* (torn, shortened, flipped bits, bad sectors): opening checks every page. The file is renamed to
//!   `PATH.corrupt-N`, with the first N that nothing has, and stays there for whoever wants to look; the spool begins empty. What
//!   was in it is counted as lost: exactly, where it was open before, and else as one message.
//! - *A full disk*, or another I/O error: those who append are told, and nothing of theirs will appear later. The file is opened
//!   again, and reading goes on. Appends are tried again after 0.1 s, then at longer intervals of up to 5 s; until then they fail
//!   at once.
//! - *A file that is moved or removed*: at the next transaction, or at the end, a new one is made at the path, with all that was in
//!   it. Where that cannot be, appends fail, and what is in it at the end is lost.
//! - *A disk that hangs*: the thread hangs with it, and nobody else. Whoever waits for an answer should do so with a time limit;
//!   that also goes for [`Spool::close`]. The process can end all the same.

mod answer;
mod dead_letter;
mod failure;
mod file;
mod gauges;
mod group;
mod pause;
mod queue;
mod record;
#[cfg(test)]
mod tests;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::forward::message::Message;
use crate::{Error, Result};

#[cfg(test)]
pub(crate) use answer::Evicted;
pub(crate) use answer::{Appended, Closed, Full, Left, Opened, Range, Stored};
pub use dead_letter::DeadLetter;

use gauges::Gauges;
use group::Command;
use record::Encoded;
use worker::Worker;

/// Less is not worth a file.
const LEAST: u64 = 64 << 10;

/// A queue of messages on the disk. Dropping it ends its thread, after what was asked of it before.
#[derive(Debug)]
pub(crate) struct Spool {
    commands: mpsc::Sender<Command>,
    gauges: Arc<Gauges>,
    max_bytes: u64,
}

impl Spool {
    /// Opens a spool, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is in use, when there is something else at the path, or when `max_bytes` is below 64 KiB; an I/O
    /// error when the file cannot be opened or made.
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
        let run = move || match Worker::open(&path, max_bytes, seen) {
            Ok((worker, damaged)) => {
                if ready.send(Ok(damaged)).is_ok() {
                    worker.run(&receiver);
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        std::thread::Builder::new().name("appmon-spool".to_owned()).spawn(run).map_err(Error::io)?;
        let damaged = opened.await.unwrap_or_else(|_| Err(gone()))?;
        let left = gauges.get();
        Ok((Self { commands, gauges, max_bytes }, Opened { left, damaged }))
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
        Encoded::new(message, None).is_ok_and(|encoded| record::room(encoded.len()) <= self.max_bytes)
    }

    /// Reads messages, one at least where there is one. None that was removed before is among them.
    pub(crate) fn read(&self, range: Range) -> oneshot::Receiver<Result<Vec<Stored>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Read(range, reply));
        answer
    }

    /// Removes messages: there is room for others at once, and it is on the disk with the next append, or half a second later.
    /// One that is not there any more is passed over.
    pub(crate) fn remove(&self, positions: Vec<u64>) {
        self.send(Command::Remove(positions));
    }

    /// Makes a message a dead letter. Of those the newest are kept, up to a sixteenth of `max_bytes`. It is on the disk as a removal
    /// is. See [`DeadLetter::read`].
    pub(crate) fn reject(&self, position: u64, reason: String) {
        self.send(Command::Reject(position, reason));
    }

    /// What is in the queue after the last transaction.
    pub(crate) fn left(&self) -> Left {
        self.gauges.get()
    }

    /// How many messages were lost since it was opened, by damage, and below which position all are.
    pub(crate) fn lost(&self) -> (u64, u64) {
        self.gauges.lost()
    }

    /// Writes what is not yet on the disk, closes the file, and tells what stays for the next run. Then it can be opened
    /// again.
    ///
    /// It takes as long as the disk does: wait with a time limit.
    ///
    /// # Errors
    ///
    /// An I/O error: the file could not be read again. What was in it may be there.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the thread does it all the same.
    pub(crate) async fn close(self) -> Result<Closed> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close(reply));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn send(&self, command: Command) {
        // Without the thread the command is dropped, and with it the sender of its answer: its receiver gives an error.
        let _ = self.commands.send(command);
    }
}

/// The thread ended without an answer.
fn gone() -> Error {
    Error::io(std::io::Error::other("the spool's thread ended"))
}
