//! The queue within the database: what a transaction does.

use std::collections::BTreeSet;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableHandle};

use crate::Timestamp;
use crate::forward::Message;

use super::failure::Failure;
use super::record::{self, Assembly, Names, Note, Record};
use super::worker::Reading;
use super::{Appended, Evicted, Full, Left, Stored};

/// Pieces by position and index.
type Pieces = TableDefinition<'static, (u64, u32), &'static [u8]>;
type PiecesMut<'a> = Table<'a, (u64, u32), &'static [u8]>;

const QUEUE: Pieces = TableDefinition::new("queue");
const ASIDE: Pieces = TableDefinition::new("aside");

/// Numbers about the spool by name.
const ABOUT: TableDefinition<'static, &'static str, u64> = TableDefinition::new("about");
const FORMAT: &str = "format";
const RESERVED: &str = "reserved";

/// The format of the tables.
const VERSION: u64 = 1;

/// Positions below the reserved one may have been given away. It is written once in so many messages, and not with each.
const RESERVE: u64 = 1 << 20;

/// How much of the room is for what was set aside.
const ASIDE_PART: u64 = 16;

/// The longest reason that is kept, in bytes.
const REASON: usize = 1000;

/// A queue in a database.
#[derive(Debug)]
pub(super) struct Queue {
    database: Database,
    max_bytes: u64,
    state: State,
    names: Names,
}

/// What a transaction changes beside the tables.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    held: Left,
    aside_bytes: u64,
    /// The lowest position in the queue; the next one where it is empty.
    first: u64,
    /// The highest position in the queue.
    last: Option<u64>,
    next: u64,
    reserved: u64,
}

/// What a transaction does, in this order.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Positions from this one on were given away for appends that failed.
    pub(super) undo: Option<u64>,
    pub(super) removed: BTreeSet<u64>,
    pub(super) aside: Vec<(u64, String)>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.undo.is_none() && self.removed.is_empty() && self.aside.is_empty()
    }

    /// Whether this message is not in the queue any more as soon as the change is made.
    pub(super) fn takes(&self, position: u64) -> bool {
        self.removed.contains(&position)
            || self.aside.iter().any(|(aside, _)| *aside == position)
            || self.undo.is_some_and(|from| position >= from)
    }
}

impl Queue {
    /// The queue of a database, and how many messages of it were bad. Those are removed.
    pub(super) fn new(database: Database, max_bytes: u64) -> Result<(Self, u64), Failure> {
        check_owner(&database)?;
        let transaction = database.begin_write()?;
        let mut state = State::default();
        let mut names = Names::default();
        let mut bad = 0_u64;
        {
            let mut about = transaction.open_table(ABOUT)?;
            if about.get(FORMAT)?.is_none() {
                about.insert(FORMAT, VERSION)?;
            }
            state.reserved = about.get(RESERVED)?.map_or(0, |reserved| reserved.value());
            state.next = state.reserved;
            for (definition, aside) in [(QUEUE, false), (ASIDE, true)] {
                let mut table = transaction.open_table(definition)?;
                bad = check(&mut table, aside, &mut state, &mut names)?.saturating_add(bad);
                if !aside {
                    state.first = first_of(&table)?.unwrap_or(state.next);
                    state.last = last_of(&table)?;
                }
            }
        }
        transaction.commit()?;
        Ok((Self { database, max_bytes, state, names }, bad))
    }

    /// What is in it.
    pub(super) fn held(&self) -> Left {
        self.state.held
    }

    /// How much it holds, with what was set aside.
    pub(super) fn bytes(&self) -> u64 {
        self.state.held.bytes.saturating_add(self.state.aside_bytes)
    }

    /// The position of the next message.
    pub(super) fn next(&self) -> u64 {
        self.state.next
    }

    /// The lowest position that is in it; the next one where it is empty.
    pub(super) fn first(&self) -> u64 {
        self.state.first
    }

    /// Gives no position below this one: it may have been given away.
    pub(super) fn skip_to(&mut self, next: u64) {
        self.state.next = self.state.next.max(next);
    }

    /// After what was found in a file there may have been more.
    pub(super) fn skip_lost(&mut self) {
        self.state.next = self.state.next.saturating_add(RESERVE);
    }

    /// Makes the change and appends, all or nothing. When it is done it is on the disk.
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
            if let Some(from) = change.undo {
                while let Some(position) = last_of(&queue)?.filter(|last| *last >= from) {
                    state.forget(take(&mut queue, position)?);
                }
            }
            for position in &change.removed {
                state.forget(take(&mut queue, *position)?);
            }
            if !change.aside.is_empty() {
                let mut aside = transaction.open_table(ASIDE)?;
                for (position, reason) in &change.aside {
                    self.set_aside(&mut queue, &mut aside, &mut state, *position, reason)?;
                }
            }
            state.first = first_of(&queue)?.unwrap_or(state.next);
            for (messages, full) in appends {
                appended.push(self.append(&mut queue, &mut state, messages, *full)?);
            }
            state.last = last_of(&queue)?;
        }
        if state.next > state.reserved {
            state.reserved = state.next.saturating_add(RESERVE);
            transaction.open_table(ABOUT)?.insert(RESERVED, state.reserved)?;
        }
        transaction.commit()?;
        self.state = state;
        Ok(appended)
    }

    fn append(
        &self,
        queue: &mut PiecesMut<'_>,
        state: &mut State,
        messages: &[Message],
        full: Full,
    ) -> Result<Appended, Failure> {
        let mut appended = Appended { first: state.next, stored: 0, evicted: Vec::new() };
        for message in messages {
            let cost = record::cost(message);
            while state.held.bytes.saturating_add(cost) > self.max_bytes {
                if matches!(full, Full::Refuse) || cost > self.max_bytes || state.held.messages == 0 {
                    return Ok(appended);
                }
                let position = state.first;
                let evicted = take(queue, position)?;
                state.forget(evicted);
                state.first = first_of(queue)?.unwrap_or(state.next);
                if let Some(evicted) = evicted {
                    appended.evicted.push(Evicted { position, samples: evicted.samples });
                }
            }
            let live = state.held.messages.saturating_add(1);
            let note = Note { floor: state.first, live, aside: None };
            let Some(whole) = record::encode(message, &note) else { return Ok(appended) };
            let position = state.next;
            state.held.bytes = state.held.bytes.saturating_add(store(queue, &whole, position, false)?);
            state.held.messages = live;
            state.held.samples = state.held.samples.saturating_add(u64::from(message.samples));
            state.next = position.saturating_add(1);
            appended.stored = appended.stored.saturating_add(1);
        }
        Ok(appended)
    }

    /// Moves a message to what was set aside, of which the oldest are dropped where there is no room.
    fn set_aside(
        &self,
        queue: &mut PiecesMut<'_>,
        aside: &mut PiecesMut<'_>,
        state: &mut State,
        position: u64,
        reason: &str,
    ) -> Result<(), Failure> {
        let whole = whole_at(queue, position)?;
        state.forget(take(queue, position)?);
        let message = whole.and_then(|whole| record::decode(&whole, &mut Names::default()));
        let Some(Record { message, floor, live, .. }) = message else { return Ok(()) };
        let end = (0..=REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
        let reason = reason.get(..end.unwrap_or(0)).unwrap_or_default();
        let note = Note { floor, live, aside: Some((reason, Timestamp::now())) };
        let Some(whole) = record::encode(&message, &note) else { return Ok(()) };
        let most = self.max_bytes / ASIDE_PART;
        let cost = record::room(whole.len());
        if cost > most {
            return Ok(());
        }
        while state.aside_bytes.saturating_add(cost) > most {
            let Some(oldest) = first_of(aside)? else { break };
            let dropped = take(aside, oldest)?.unwrap_or_default();
            state.aside_bytes = state.aside_bytes.saturating_sub(dropped.bytes);
        }
        state.aside_bytes = state.aside_bytes.saturating_add(store(aside, &whole, position, true)?);
        Ok(())
    }

    /// Puts a message where it was, when a file is made anew. Positions come in order.
    pub(super) fn restore(&mut self, messages: &[(u64, bool, Bytes)]) -> Result<(), Failure> {
        let mut state = self.state;
        let transaction = self.database.begin_write()?;
        {
            let mut queue = transaction.open_table(QUEUE)?;
            let mut aside = transaction.open_table(ASIDE)?;
            for (position, is_aside, whole) in messages {
                let bytes = store(if *is_aside { &mut aside } else { &mut queue }, whole, *position, *is_aside)?;
                if *is_aside {
                    state.aside_bytes = state.aside_bytes.saturating_add(bytes);
                } else {
                    state.held.bytes = state.held.bytes.saturating_add(bytes);
                    state.held.messages = state.held.messages.saturating_add(1);
                    let samples = record::samples(whole).unwrap_or(0);
                    state.held.samples = state.held.samples.saturating_add(samples.into());
                }
                state.next = state.next.max(position.saturating_add(1));
            }
            state.first = first_of(&queue)?.unwrap_or(state.next);
            state.last = last_of(&queue)?;
            state.reserved = state.next.saturating_add(RESERVE);
            transaction.open_table(ABOUT)?.insert(RESERVED, state.reserved)?;
        }
        transaction.commit()?;
        self.state = state;
        Ok(())
    }

    /// The messages that are asked for, but for those that `change` takes. One that is bad, or is not there where it should be,
    /// is a corrupt file.
    pub(super) fn read(&mut self, reading: Reading, change: &Change) -> Result<Vec<Stored>, Failure> {
        let Reading { after, max_messages, max_bytes } = reading;
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        let mut assembly = Assembly::default();
        let Some(start) = after.map_or(Some(0), |after| after.checked_add(1)) else { return Ok(found) };
        let mut seen = after;
        let table = self.database.begin_read()?.open_table(QUEUE)?;
        for entry in ReadableTable::range(&table, (start, 0)..)? {
            let (key, value) = entry?;
            let (position, index) = key.value();
            seen = seen.max(Some(position));
            if change.takes(position) {
                continue;
            }
            let whole = assembly.add((position, index), value.value(), false);
            let record = whole.map(|whole| record::decode(&whole, &mut self.names));
            if !assembly.bad.is_empty() || matches!(record, Some(None)) {
                return Err(Failure::Corrupt(format!("the message at {position} is not what was written")));
            }
            let Some(Record { message, .. }) = record.flatten() else { continue };
            bytes = bytes.saturating_add(message.payload.len());
            if bytes > max_bytes && !found.is_empty() {
                return Ok(found);
            }
            found.push(Stored { position, message });
            if found.len() >= max_messages.max(1) {
                return Ok(found);
            }
        }
        // Pages that were overwritten by others may look well, and have other messages or none.
        if seen < self.state.last {
            return Err(Failure::Corrupt("messages at the end are missing".to_owned()));
        }
        Ok(found)
    }

    /// How many messages are there before a change that was to be made and may have been, or are gone with it.
    pub(super) fn there(&self, change: &Change) -> Result<u64, Failure> {
        let table = self.database.begin_read()?.open_table(QUEUE)?;
        let mut there = self.state.held.messages;
        if let Some(from) = change.undo {
            for entry in ReadableTable::range(&table, (from, 0)..)? {
                there = there.saturating_sub(u64::from(entry?.0.value().1 == 0));
            }
        }
        for position in change.removed.iter().chain(change.aside.iter().map(|(position, _)| position)) {
            let gone = ReadableTable::get(&table, (*position, 0))?.is_none();
            there = there.saturating_add(gone.into());
        }
        Ok(there)
    }

    /// What was set aside, the oldest first.
    pub(super) fn aside(&mut self) -> Result<Vec<Record>, Failure> {
        let mut found = Vec::new();
        let mut assembly = Assembly::default();
        let table = self.database.begin_read()?.open_table(ASIDE)?;
        for entry in ReadableTable::iter(&table)? {
            let (key, value) = entry?;
            let whole = assembly.add(key.value(), value.value(), true);
            found.extend(whole.and_then(|whole| record::decode(&whole, &mut self.names)));
        }
        Ok(found)
    }

    /// Makes the file as small as what it holds.
    pub(super) fn compact(&mut self) -> Result<(), Failure> {
        while self.database.compact()? {}
        Ok(())
    }

    /// Ends it in order: the next one who opens it need not repair it.
    pub(super) fn close(self) -> Result<(), Failure> {
        Ok(self.database.close()?)
    }
}

/// What a message took.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    bytes: u64,
    samples: u64,
}

impl State {
    fn forget(&mut self, taken: Option<Taken>) {
        let Some(taken) = taken else { return };
        let held = &mut self.held;
        held.messages = held.messages.saturating_sub(1);
        held.samples = held.samples.saturating_sub(taken.samples);
        held.bytes = held.bytes.saturating_sub(taken.bytes);
    }
}

/// Refuses a database of something else, and one of a later version of this.
fn check_owner(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_read()?;
    let names: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    let ours = names.iter().any(|name| name == ABOUT.name());
    if !ours {
        return if names.is_empty() { Ok(()) } else { Err(Failure::NotOurs("this database is of something else")) };
    }
    match transaction.open_table(ABOUT)?.get(FORMAT)?.map(|format| format.value()) {
        None | Some(VERSION) => Ok(()),
        Some(_) => Err(Failure::NotOurs("this spool was written by a later version")),
    }
}

/// Looks at all messages of a table: counts them, and removes the bad ones, whose number it gives.
fn check(table: &mut PiecesMut<'_>, aside: bool, state: &mut State, names: &mut Names) -> Result<u64, Failure> {
    let mut assembly = Assembly::default();
    for entry in ReadableTable::iter(table)? {
        let (key, value) = entry?;
        let (position, index) = key.value();
        state.next = state.next.max(position.saturating_add(1));
        let Some(whole) = assembly.add((position, index), value.value(), aside) else { continue };
        let Some(record) = record::decode(&whole, names) else {
            assembly.bad.push(position);
            continue;
        };
        let bytes = record::room(whole.len());
        if aside {
            state.aside_bytes = state.aside_bytes.saturating_add(bytes);
        } else {
            state.held.messages = state.held.messages.saturating_add(1);
            state.held.samples = state.held.samples.saturating_add(record.message.samples.into());
            state.held.bytes = state.held.bytes.saturating_add(bytes);
        }
    }
    assembly.end();
    for position in &assembly.bad {
        take(table, *position)?;
    }
    Ok(u64::try_from(assembly.bad.len()).unwrap_or(u64::MAX))
}

/// Stores a message, and gives the room it takes.
fn store(table: &mut PiecesMut<'_>, whole: &[u8], position: u64, aside: bool) -> Result<u64, Failure> {
    record::pieces(whole, position, aside, |index, piece| table.insert((position, index), piece).map(drop))?;
    Ok(record::room(whole.len()))
}

/// Removes a message; `None` when it is not there.
fn take(table: &mut PiecesMut<'_>, position: u64) -> Result<Option<Taken>, Failure> {
    let mut taken: Option<Taken> = None;
    loop {
        // Not by counting up: of a bad message pieces may be missing.
        let index = match ReadableTable::range(table, (position, 0)..=(position, u32::MAX))?.next() {
            Some(entry) => entry?.0.value().1,
            None => return Ok(taken),
        };
        let Some(piece) = table.remove((position, index))? else { return Ok(taken) };
        let taken = taken.get_or_insert_default();
        taken.bytes = taken.bytes.saturating_add(record::piece_room(piece.value()));
        if index == 0 {
            let first = record::Piece::read(piece.value());
            taken.samples = first.and_then(|first| record::samples(first.data)).unwrap_or(0).into();
        }
    }
}

/// A message as it is stored; `None` when it is not there, or bad.
fn whole_at(table: &PiecesMut<'_>, position: u64) -> Result<Option<Bytes>, Failure> {
    let mut assembly = Assembly::default();
    for entry in ReadableTable::range(table, (position, 0)..=(position, u32::MAX))? {
        let (key, value) = entry?;
        if let Some(whole) = assembly.add(key.value(), value.value(), false) {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

fn first_of(table: &PiecesMut<'_>) -> Result<Option<u64>, Failure> {
    Ok(ReadableTable::first(table)?.map(|(key, _)| key.value().0))
}

fn last_of(table: &PiecesMut<'_>) -> Result<Option<u64>, Failure> {
    Ok(ReadableTable::last(table)?.map(|(key, _)| key.value().0))
}
