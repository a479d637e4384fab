//! A queue of messages on the disk, until a broker accepts them.
//!
//! A bounded queue in one file: a [redb](https://docs.rs/redb) database, opened by a thread of its own (`appmon-spool`), so that no
//! async thread waits for the disk. All commands that come during a transaction go into the next one together: one `fsync` for all
//! appends of the meantime. A message is one value; the database detects torn pages.
//!
//! Durability:
//!
//! - An append is on the disk when its [`oneshot`] resolves. It survives a `kill -9` and a loss of power.
//! - A removal may reach the disk up to half a second later (with the next append, or without one). The messages removed last may be
//!   present again after a crash, and are then sent once more with the same id.
//! - One [`Spool`] never assigns a position twice.
//!
//! # The file
//!
//! `max_bytes` bounds the space of the messages in the file, which is more than their bytes: the database stores a value of more
//! than a page (4 KiB) in pages of its own, whose number is a power of two, and fills other pages to a half or more. So each value
//! counts as the next power of two. The allocated blocks of the file (`du`) are that, and the pages that the current transaction
//! replaces. Its length (`ls`) may be twice as much: the rest is a hole. When the queue is empty, the file is made smaller.
//!
//! A file is used only if it is a regular file with the content of a spool; any other file at the path is an error and is not
//! changed. A new file gets its name when it is complete. It is readable by its owner only, and locked: the kernel releases the lock
//! when the process ends, in whatever way.
//!
//! # Failures
//!
//! - *A crash*: the database opens with the last transaction that was complete.
//! - *A damaged file* (torn, shortened, flipped bits, bad sectors): opening checks every page. The file is renamed to
//!   `PATH.corrupt-N`, with the first free N, and kept for inspection; the spool begins empty. Its messages count as lost: with their
//!   number if it was open before, and otherwise as one message.
//! - *A full disk*, or another I/O error: the appends return an error, and their messages will not appear later. The file is opened
//!   again, and reading continues. Appends are tried again after 0.1 s, then at longer intervals of up to 5 s; until then they fail
//!   at once.
//! - *A file that is moved or removed*: at the next transaction, or at the end, a new file is made at the path, with the same
//!   messages. If that fails, appends fail, and the messages that remain at the end are lost.
//! - *A disk that hangs*: only the thread of the spool hangs. Callers should use a timeout when they wait for an answer, also of
//!   [`Spool::close`]. The process can still end.

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

/// The smallest `max_bytes`.
const LEAST: u64 = 64 << 10;

/// A queue of messages on the disk. Dropping it ends its thread, after the earlier commands.
#[derive(Debug)]
pub(crate) struct Spool {
    commands: mpsc::Sender<Command>,
    gauges: Arc<Gauges>,
    max_bytes: u64,
}

impl Spool {
    /// Opens a spool, or makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when it is in use, when another file is at the path, or when `max_bytes` is below 64 KiB; an I/O
    /// error when the file cannot be opened or made.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, the file is closed again.
    pub(crate) async fn open(path: &Path, max_bytes: u64) -> Result<(Self, Opened)> {
        if max_bytes < LEAST {
            return Err(Error::config(format!("spool: max_bytes is {max_bytes}, and must be 65536 or more")).at(path));
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

    /// Returns a spool whose disk never answers.
    #[cfg(test)]
    pub(crate) fn that_hangs() -> Self {
        let (commands, receiver) = mpsc::channel();
        std::mem::forget(receiver);
        Self { commands, gauges: Arc::default(), max_bytes: LEAST }
    }

    /// Appends messages; resolves when they are on the disk.
    ///
    /// The messages are in memory until then. If their order matters, wait for one append before the next: one may be refused while
    /// a later one is stored.
    ///
    /// # Errors
    ///
    /// When the disk is full or has another fault; then none of them was stored.
    pub(crate) fn append(&self, messages: Vec<Message>, full: Full) -> oneshot::Receiver<Result<Appended>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Append { messages, full, reply });
        answer
    }

    /// Whether a message fits into the empty spool.
    pub(crate) fn could_hold(&self, message: &Message) -> bool {
        Encoded::new(message, None).is_ok_and(|encoded| record::room(encoded.len()) <= self.max_bytes)
    }

    /// Reads messages: at least one, if there is one in the range. Messages removed before are not returned.
    pub(crate) fn read(&self, range: Range) -> oneshot::Receiver<Result<Vec<Stored>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Read(range, reply));
        answer
    }

    /// Removes messages: their space is free at once, and the removal is on the disk with the next append, or half a second later.
    /// Positions without a message are ignored.
    pub(crate) fn remove(&self, positions: Vec<u64>) {
        self.send(Command::Remove(positions));
    }

    /// Turns a message into a dead letter. The newest of these are kept, in up to a sixteenth of `max_bytes`. It is on the disk as
    /// soon as a removal would be. See [`DeadLetter::read`].
    pub(crate) fn reject(&self, position: u64, reason: String) {
        self.send(Command::Reject(position, reason));
    }

    /// Returns the size of the queue after the last transaction.
    pub(crate) fn left(&self) -> Left {
        self.gauges.get()
    }

    /// Returns the number of messages lost to damage since it was opened, and the position below which all are lost.
    pub(crate) fn lost(&self) -> (u64, u64) {
        self.gauges.lost()
    }

    /// Writes the pending changes, closes the file, and returns the numbers of messages kept and lost. Then the file can be opened
    /// again.
    ///
    /// It takes as long as the disk needs: use a timeout.
    ///
    /// # Errors
    ///
    /// An I/O error when the file could not be read again. Its messages may still be in it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the thread still closes the file.
    pub(crate) async fn close(self) -> Result<Closed> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close(reply));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn send(&self, command: Command) {
        // If the thread has ended, the command is dropped with its sender, and the receiver returns an error.
        let _ = self.commands.send(command);
    }
}

/// Returns the error for a thread that ended without an answer.
fn gone() -> Error {
    Error::io(std::io::Error::other("the spool's thread ended"))
}
