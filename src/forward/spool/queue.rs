//! The queue in the database, and its transactions.

use std::collections::BTreeSet;

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableHandle};

use crate::Timestamp;
use crate::forward::message::Message;

use super::answer::{Appended, Evicted, Full, Left, Range, Stored};
use super::failure::Failure;
use super::record::{self, Encoded, Names, Record};

/// Messages by position.
type Messages = TableDefinition<'static, u64, &'static [u8]>;
type MessagesMut<'a> = Table<'a, u64, &'static [u8]>;

// All names begin with `OWNER`, by which a file is recognized as a spool.
const QUEUE: Messages = TableDefinition::new("appmon.spool.queue");
const DEAD_LETTERS: Messages = TableDefinition::new("appmon.spool.dead_letters");
const ABOUT: TableDefinition<'static, &'static str, u64> = TableDefinition::new("appmon.spool.about");

/// The prefix of the names of the tables.
pub(super) const OWNER: &[u8] = b"appmon.spool.";

const FORMAT: &str = "format";

/// The version of the format of the tables.
const VERSION: u64 = 3;

/// The share of the space for dead letters.
const DEAD_LETTERS_PART: u64 = 16;

/// The longest stored reason, in bytes.
const REASON: usize = 1000;

/// A queue in a database.
#[derive(Debug)]
pub(super) struct Queue {
    database: Database,
    max_bytes: u64,
    state: State,
    names: Names,
}

/// The state that a transaction changes beside the tables.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    left: Left,
    dead_letters: Left,
    next: u64,
}

/// The changes of a transaction, in this order.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Positions from this one on were given away for appends that failed.
    pub(super) undo: Option<u64>,
    pub(super) removed: BTreeSet<u64>,
    pub(super) rejected: Vec<(u64, String)>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.undo.is_none() && self.removed.is_empty() && self.rejected.is_empty()
    }

    /// Whether the change removes this message from the queue.
    fn takes(&self, position: u64) -> bool {
        self.removed.contains(&position)
            || self.rejected.iter().any(|(rejected, _)| *rejected == position)
            || self.undo.is_some_and(|from| position >= from)
    }
}

impl Queue {
    /// Returns the queue of a database; an empty database is initialized.
    pub(super) fn new(database: Database, max_bytes: u64) -> Result<Self, Failure> {
        let mut state = State::default();
        if is_empty(&database)? {
            let transaction = database.begin_write()?;
            transaction.open_table(ABOUT)?.insert(FORMAT, VERSION)?;
            transaction.open_table(QUEUE)?;
            transaction.open_table(DEAD_LETTERS)?;
            transaction.commit()?;
        } else {
            let transaction = database.begin_read()?;
            for (definition, left) in [(QUEUE, &mut state.left), (DEAD_LETTERS, &mut state.dead_letters)] {
                for entry in ReadableTable::iter(&transaction.open_table(definition)?)? {
                    let (position, value) = entry?;
                    left.add(record::samples(value.value())?, record::room(value.value().len()));
                    state.next = state.next.max(position.value().saturating_add(1));
                }
            }
        }
        Ok(Self { database, max_bytes, state, names: Names::default() })
    }

    /// Returns its size.
    pub(super) fn left(&self) -> Left {
        self.state.left
    }

    /// Returns its space in bytes, including dead letters.
    pub(super) fn bytes(&self) -> u64 {
        self.state.left.bytes.saturating_add(self.state.dead_letters.bytes)
    }

    /// Returns the position of the next message.
    pub(super) fn next(&self) -> u64 {
        self.state.next
    }

    /// Assigns no more positions below this one, since they may have been assigned already.
    pub(super) fn skip_to(&mut self, next: u64) {
        self.state.next = self.state.next.max(next);
    }

    /// Makes the changes and appends in one transaction, which is on the disk when it returns.
    pub(super) fn apply(
        &mut self,
        change: &Change,
        appends: &[(Vec<Message>, Full)],
    ) -> Result<Vec<Appended>, Failure> {
        let mut state = self.state;
        let transaction = self.database.begin_write()?;
        let mut appended = Vec::with_capacity(appends.len());
        {
            let mut queue = transaction.open_table(QUEUE)?;
            while let Some(from) = change.undo
                && ReadableTable::last(&queue)?.is_some_and(|(last, _)| last.value() >= from)
                && let Some((_, value)) = queue.pop_last()?
            {
                forget(&mut state.left, value.value())?;
            }
            for position in &change.removed {
                if let Some(value) = queue.remove(*position)? {
                    forget(&mut state.left, value.value())?;
                }
            }
            if !change.rejected.is_empty() {
                let mut dead_letters = transaction.open_table(DEAD_LETTERS)?;
                for (position, reason) in &change.rejected {
                    let Some(value) = queue.remove(*position)? else { continue };
                    forget(&mut state.left, value.value())?;
                    let Record { message, .. } = record::decode(value.value(), &mut self.names)?;
                    let most = self.max_bytes / DEAD_LETTERS_PART;
                    store_dead_letter(&mut dead_letters, &mut state.dead_letters, most, *position, &message, reason)?;
                }
            }
            for (messages, full) in appends {
                appended.push(append(&mut queue, &mut state, self.max_bytes, messages, *full)?);
            }
        }
        transaction.commit()?;
        self.state = state;
        Ok(appended)
    }

    /// Returns the messages of a range, without those that `change` removes: at least one, if there is one.
    pub(super) fn read(&mut self, range: Range, change: &Change) -> Result<Vec<Stored>, Failure> {
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        let Some(start) = range.after.map_or(Some(0), |after| after.checked_add(1)) else { return Ok(found) };
        let table = self.database.begin_read()?.open_table(QUEUE)?;
        for entry in ReadableTable::range(&table, start..)? {
            let (position, value) = entry?;
            let position = position.value();
            if change.takes(position) {
                continue;
            }
            let Record { message, .. } = record::decode(value.value(), &mut self.names)?;
            bytes = bytes.saturating_add(message.payload.len());
            if bytes > range.max_bytes && !found.is_empty() {
                break;
            }
            found.push(Stored { position, message });
            if found.len() >= range.max_messages.max(1) {
                break;
            }
        }
        Ok(found)
    }

    /// Returns the size after a change that cannot be written.
    pub(super) fn left_after(&self, change: &Change) -> Result<Left, Failure> {
        let mut left = self.state.left;
        let table = self.database.begin_read()?.open_table(QUEUE)?;
        for entry in ReadableTable::iter(&table)? {
            let (position, value) = entry?;
            if change.takes(position.value()) {
                forget(&mut left, value.value())?;
            }
        }
        Ok(left)
    }

    /// Returns the dead letters, the oldest first.
    pub(super) fn dead_letters(&mut self) -> Result<Vec<Record>, Failure> {
        let table = self.database.begin_read()?.open_table(DEAD_LETTERS)?;
        ReadableTable::iter(&table)?.map(|entry| record::decode(entry?.1.value(), &mut self.names)).collect()
    }

    /// Copies all messages and dead letters of another queue into this empty one.
    pub(super) fn fill_from(&mut self, other: &Self) -> Result<(), Failure> {
        let transaction = self.database.begin_write()?;
        let from = other.database.begin_read()?;
        for definition in [QUEUE, DEAD_LETTERS] {
            let mut table = transaction.open_table(definition)?;
            for entry in ReadableTable::iter(&from.open_table(definition)?)? {
                let (position, value) = entry?;
                table.insert(position.value(), value.value())?;
            }
        }
        transaction.commit()?;
        self.state = other.state;
        Ok(())
    }

    /// Shrinks the file to its content.
    pub(super) fn compact(&mut self) -> Result<(), Failure> {
        while self.database.compact()? {}
        Ok(())
    }

    /// Closes the database properly, so that it needs no repair at the next opening.
    pub(super) fn close(self) -> Result<(), Failure> {
        Ok(self.database.close()?)
    }
}

/// Whether a database is empty. A foreign database, or one of another version of the format, is an error.
fn is_empty(database: &Database) -> Result<bool, Failure> {
    let transaction = database.begin_read()?;
    let names: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    if names.is_empty() {
        return Ok(true);
    }
    if !names.iter().any(|name| name == ABOUT.name()) {
        return Err(Failure::NotOurs("this database is not a spool"));
    }
    match transaction.open_table(ABOUT)?.get(FORMAT)?.map(|format| format.value()) {
        Some(VERSION) => Ok(false),
        _ => Err(Failure::NotOurs("this spool was written by another version")),
    }
}

fn append(
    queue: &mut MessagesMut<'_>,
    state: &mut State,
    max_bytes: u64,
    messages: &[Message],
    full: Full,
) -> Result<Appended, Failure> {
    let mut appended = Appended { first: state.next, stored: 0, evicted: Vec::new() };
    for message in messages {
        let encoded = Encoded::new(message, None)?;
        let room = record::room(encoded.len());
        while state.left.bytes.saturating_add(room) > max_bytes {
            if full == Full::Refuse || room > max_bytes {
                return Ok(appended);
            }
            let Some((position, value)) = queue.pop_first()? else { return Ok(appended) };
            let samples = forget(&mut state.left, value.value())?;
            appended.evicted.push(Evicted { position: position.value(), samples });
        }
        store(queue, state.next, &encoded)?;
        state.left.add(message.samples.into(), room);
        state.next = state.next.saturating_add(1);
        appended.stored = appended.stored.saturating_add(1);
    }
    Ok(appended)
}

/// Stores a dead letter, and drops the oldest ones to make room.
fn store_dead_letter(
    table: &mut MessagesMut<'_>,
    held: &mut Left,
    max_bytes: u64,
    position: u64,
    message: &Message,
    reason: &str,
) -> Result<(), Failure> {
    let end = (0..=REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    let reason = reason.get(..end.unwrap_or(0)).unwrap_or_default();
    let encoded = Encoded::new(message, Some((reason, Timestamp::now())))?;
    let room = record::room(encoded.len());
    if room > max_bytes {
        return Ok(());
    }
    while held.bytes.saturating_add(room) > max_bytes
        && let Some((_, value)) = table.pop_first()?
    {
        forget(held, value.value())?;
    }
    store(table, position, &encoded)?;
    held.add(message.samples.into(), room);
    Ok(())
}

fn store(table: &mut MessagesMut<'_>, position: u64, encoded: &Encoded<'_>) -> Result<(), Failure> {
    encoded.write(table.insert_reserve(position, encoded.len())?.as_mut());
    Ok(())
}

/// Subtracts a message, and returns the number of its samples.
fn forget(left: &mut Left, value: &[u8]) -> Result<u64, Failure> {
    let samples = record::samples(value)?;
    left.subtract(samples, record::room(value.len()));
    Ok(samples)
}
