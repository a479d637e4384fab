//! The commands to the thread of a spool, and their grouping into transactions.

use tokio::sync::oneshot;

use super::answer::{Appended, Closed, Full, Range, Stored};
use super::queue::Change;
use crate::Result;
use crate::forward::message::Message;

/// A command to the thread.
pub(super) enum Command {
    Append { messages: Vec<Message>, full: Full, reply: Reply<Appended> },
    Read(Range, Reply<Vec<Stored>>),
    Remove(Vec<u64>),
    Reject(u64, String),
    Close(Reply<Closed>),
}

/// The sender of an answer.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// The approximate bounds of a transaction, in bytes and commands, so that no command waits for long.
const MOST_BYTES: usize = 2 << 20;
const MOST_COMMANDS: usize = 1000;

/// The commands received during a transaction.
#[derive(Default)]
pub(super) struct Group {
    pub(super) appends: Vec<(Vec<Message>, Full)>,
    pub(super) replies: Vec<Reply<Appended>>,
    pub(super) reads: Vec<(Range, Reply<Vec<Stored>>)>,
    pub(super) close: Option<Reply<Closed>>,
    bytes: usize,
    commands: usize,
}

impl Group {
    pub(super) fn add(&mut self, command: Command, change: &mut Change) {
        self.commands = self.commands.saturating_add(1);
        match command {
            Command::Append { messages, full, reply } => {
                let bytes = messages.iter().map(|message| message.payload.len());
                self.bytes = bytes.fold(self.bytes, usize::saturating_add);
                self.appends.push((messages, full));
                self.replies.push(reply);
            }
            Command::Read(range, reply) => self.reads.push((range, reply)),
            Command::Remove(positions) => change.removed.extend(positions),
            Command::Reject(position, reason) => change.rejected.push((position, reason)),
            Command::Close(reply) => self.close = Some(reply),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.close.is_some() || self.bytes >= MOST_BYTES || self.commands >= MOST_COMMANDS
    }
}
