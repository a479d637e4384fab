use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::Timestamp;
use crate::forward::{Codec, Form, MessageId};
use crate::skipped::require;

/// Much more than any of these tests stores.
const LARGE: u64 = 1 << 30;

fn message(seq: u64, size: usize) -> Message {
    let mut payload = vec![0; size];
    Rng::with_seed(seq).fill(&mut payload);
    Message {
        id: MessageId::new("01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(), 7, seq),
        kind: if seq.is_multiple_of(3) { "file_system".into() } else { "process".into() },
        stream: if seq.is_multiple_of(5) { "units".into() } else { "process".into() },
        form: if seq.is_multiple_of(2) { Form::Snapshot } else { Form::Samples },
        host: "web-17".into(),
        time: Timestamp::from_unix_nanos(seq + 1),
        codec: [Codec::Json, Codec::Ndjson, Codec::MessagePack][seq as usize % 3],
        samples: (seq % 100) as u32,
        key: seq << 32,
        payload: payload.into(),
    }
}

fn open(path: &Path, max_bytes: u64) -> (Spool, Opened) {
    block_on(Spool::open(path, max_bytes)).unwrap()
}

fn close(spool: Spool) -> Left {
    let Closed { left, lost } = block_on(spool.close()).unwrap();
    assert_eq!(lost, Left::default());
    left
}

fn append(spool: &Spool, messages: Vec<Message>) -> Appended {
    spool.append(messages, Full::Refuse).blocking_recv().unwrap().unwrap()
}

fn read(spool: &Spool, after: Option<u64>, max_messages: usize, max_bytes: usize) -> Vec<Stored> {
    spool.read(Range { after, max_messages, max_bytes }).blocking_recv().unwrap().unwrap()
}

fn all(spool: &Spool) -> Vec<Stored> {
    read(spool, None, usize::MAX, usize::MAX)
}

/// The room that a message takes.
fn room(message: &Message) -> u64 {
    record::room(Encoded::new(message, None).unwrap().len())
}

fn seqs(stored: &[Stored]) -> Vec<u64> {
    stored.iter().map(|stored| stored.message.id.seq).collect()
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A folder in memory where there is one: many files are opened, and none of these tests is about the disk.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn a_message_comes_back_as_it_was() {
    let folder = folder();
    let path = folder.path().join("spool");
    let (spool, opened) = open(&path, LARGE);
    assert_eq!(opened, Opened::default());
    let sizes = [0, 1, 100, 2000, 4000, 4096, 5000, 70_000, 1_000_000];
    let sent: Vec<Message> = sizes.iter().zip(0..).map(|(size, seq)| message(seq, *size)).collect();
    assert_eq!(append(&spool, sent.clone()).stored, sizes.len() as u64);
    let read: Vec<Message> = all(&spool).into_iter().map(|stored| stored.message).collect();
    assert_eq!(read, sent);
    assert!(Arc::ptr_eq(&read[0].host, &read[8].host) && Arc::ptr_eq(&read[1].kind, &read[2].kind));
    let held = spool.left();
    assert_eq!(held.bytes, sent.iter().map(room).sum::<u64>());
    assert_eq!(close(spool), held);

    let (spool, opened) = open(&path, LARGE);
    assert_eq!(opened, Opened { left: held, damaged: false });
    let read: Vec<Message> = all(&spool).into_iter().map(|stored| stored.message).collect();
    assert_eq!(read, sent);
}

#[test]
fn reads_are_bounded_and_give_one_at_least() {
    let folder = folder();
    let (spool, _) = open(&folder.path().join("spool"), LARGE);
    let first = append(&spool, (0..10).map(|seq| message(seq, 1000)).collect()).first;
    let read = |after, messages, bytes| seqs(&read(&spool, after, messages, bytes));
    assert_eq!(read(None, 3, usize::MAX), [0, 1, 2]);
    assert_eq!(read(Some(first + 2), 3, usize::MAX), [3, 4, 5]);
    assert_eq!(read(None, usize::MAX, 2500), [0, 1]);
    assert_eq!(read(None, usize::MAX, 1), [0]);
    assert_eq!(read(None, 0, 0), [0]);
    assert_eq!(read(Some(first + 9), 3, usize::MAX), [0; 0]);
    assert_eq!(read(Some(u64::MAX), 3, usize::MAX), [0; 0]);
    // What was removed is not read, though it is not on the disk yet.
    spool.remove(vec![first, first + 2]);
    spool.reject(first + 4, String::new());
    assert_eq!(read(None, 4, usize::MAX), [1, 3, 5, 6]);
}

#[test]
fn removals_reach_the_disk_by_themselves() {
    let folder = folder();
    let (spool, _) = open(&folder.path().join("spool"), LARGE);
    let first = append(&spool, vec![message(0, 10), message(1, 10)]).first;
    spool.remove(vec![first, first + 77]);
    until("removed", || spool.left().messages == 1);
    spool.remove(vec![first]);
    assert_eq!(close(spool).messages, 1);
}

#[test]
fn one_opener_at_a_time() {
    let folder = folder();
    let path = folder.path().join("spool");
    let (spool, _) = open(&path, LARGE);
    let refused = |error: Error| {
        assert!(error.is_config(), "{error}");
        assert!(error.to_string().contains("this spool is in use"), "{error}");
    };
    refused(block_on(Spool::open(&path, LARGE)).unwrap_err());
    refused(DeadLetter::read(&path).unwrap_err());
    // By another name, too.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(block_on(Spool::open(&link, LARGE)).unwrap_err());
    append(&spool, vec![message(0, 10)]);
    close(spool);
    let (spool, opened) = open(&link, LARGE);
    assert_eq!(opened.left.messages, 1);
    // Dropped, its thread ends after what was asked before.
    drop(spool.append(vec![message(1, 10)], Full::Refuse));
    drop(spool);
    until("closed", || Spool::open_now(&path).is_ok_and(|opened| opened.left.messages == 2));
}

impl Spool {
    fn open_now(path: &Path) -> Result<Opened> {
        let (spool, opened) = block_on(Spool::open(path, LARGE))?;
        block_on(spool.close())?;
        Ok(opened)
    }
}

#[test]
fn what_is_no_spool_is_left_alone() {
    let folder = folder();
    let path = folder.path().join("file");
    let refused = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        for _ in 0..2 {
            assert!(block_on(Spool::open(&path, LARGE)).unwrap_err().is_config());
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        assert!(DeadLetter::read(&path).is_err());
    };
    refused(b"root:x:0:0:root:/root:/bin/bash\n");
    refused(&[b'x'; 100_000]);
    refused(b"x");
    refused(&[0; 8192]);
    refused(b"");
    // A database of something else, and one of a later version.
    let other = folder.path().join("other");
    for (table, key) in [("settings", "colour"), ("about", "format")] {
        let database = redb::Database::create(&other).unwrap();
        let transaction = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new(table);
        transaction.open_table(table).unwrap().insert(key, 2).unwrap();
        transaction.commit().unwrap();
        drop(database);
        assert!(block_on(Spool::open(&other, LARGE)).unwrap_err().is_config());
    }
    assert!(block_on(Spool::open(folder.path(), LARGE)).is_err());
    assert!(block_on(Spool::open(&folder.path().join("no/such/folder"), LARGE)).unwrap_err().is_not_found());
    assert!(DeadLetter::read(folder.path().join("nothing")).unwrap_err().is_not_found());
    assert!(block_on(Spool::open(&path, 1000)).unwrap_err().is_config());
}

#[test]
fn what_is_no_regular_file_is_not_even_opened() {
    let folder = folder();
    let path = folder.path().join("spool");
    let refused = |what: &str| {
        let before = std::fs::symlink_metadata(&path).unwrap();
        for error in [block_on(Spool::open(&path, LARGE)).unwrap_err(), DeadLetter::read(&path).unwrap_err()] {
            assert!(error.is_config() && error.to_string().contains("not a regular file"), "{what}: {error}");
        }
        let after = std::fs::symlink_metadata(&path).unwrap();
        let same = |metadata: &std::fs::Metadata| (metadata.ino(), metadata.mode(), metadata.rdev());
        assert_eq!(same(&before), same(&after), "{what}");
        assert_eq!(names(folder.path()), ["spool"], "{what}");
    };
    let fifo = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(fifo.success());
    refused("a FIFO");
    std::fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    refused("a socket");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused("a directory");
    std::fs::remove_dir(&path).unwrap();
    // As /dev/null is one, in our own folder.
    let device = Command::new("mknod").arg(&path).args(["c", "1", "3"]).stderr(Stdio::null()).status().unwrap();
    if require(device.success(), "root, for a device node") {
        refused("a device");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_database_of_something_else_is_not_repaired() {
    let folder = folder();
    let path = folder.path().join("spool");
    // With work under way, as a copy of it is.
    let database = redb::Database::create(folder.path().join("other")).unwrap();
    let transaction = database.begin_write().unwrap();
    let table: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("settings");
    transaction.open_table(table).unwrap().insert("colour", 2).unwrap();
    transaction.commit().unwrap();
    let mut bytes = std::fs::read(folder.path().join("other")).unwrap();
    drop(database);
    std::fs::remove_file(folder.path().join("other")).unwrap();
    for round in 0..2 {
        std::fs::write(&path, &bytes).unwrap();
        assert!(block_on(Spool::open(&path, LARGE)).unwrap_err().is_config());
        assert!(DeadLetter::read(&path).unwrap_err().is_config());
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "round {round}");
        assert_eq!(names(folder.path()), ["spool"]);
        // Damaged, too.
        bytes[4096..20_000].fill(0xAA);
    }
}

#[test]
fn a_file_that_is_moved_or_removed_is_made_anew_with_all_that_it_held() {
    for (way, at_the_end) in [("removed", false), ("removed", true), ("moved", false), ("moved", true)] {
        let folder = folder();
        let path = folder.path().join("spool");
        let (spool, _) = open(&path, LARGE);
        append(&spool, (0..20).map(|seq| message(seq, 5000)).collect());
        spool.remove(vec![0, 1]);
        spool.reject(2, "no".to_owned());
        append(&spool, vec![message(20, 5000)]);
        if way == "moved" {
            std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let mut expected: Vec<u64> = (3..21).collect();
        if !at_the_end {
            append(&spool, vec![message(21, 5000)]);
            expected.push(21);
            assert_eq!(seqs(&all(&spool)), expected);
            assert!(block_on(Spool::open(&path, LARGE)).unwrap_err().to_string().contains("in use"));
        }
        assert_eq!(close(spool).messages, expected.len() as u64, "{way}");
        let (spool, opened) = open(&path, LARGE);
        assert_eq!((opened.left.messages, opened.damaged), (expected.len() as u64, false), "{way}");
        assert_eq!(seqs(&all(&spool)), expected);
        close(spool);
        assert_eq!(DeadLetter::read(&path).unwrap().len(), 1);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_file_that_cannot_be_made_anew_keeps_nothing_and_says_so() {
    for way in ["another file", "no folder"] {
        let folder = folder();
        let place = folder.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let path = place.join("spool");
        let (spool, _) = open(&path, LARGE);
        append(&spool, (0..20).map(|seq| message(seq, 500)).collect());
        std::fs::remove_file(&path).unwrap();
        if way == "another file" {
            std::fs::write(&path, "of somebody else").unwrap();
        } else {
            std::fs::remove_dir(&place).unwrap();
        }
        let error = spool.append(vec![message(20, 500)], Full::Refuse).blocking_recv().unwrap().unwrap_err();
        assert!(error.is_config() && error.to_string().contains("moved or removed"), "{error}");
        assert_eq!(seqs(&all(&spool))[..20], (0..20).collect::<Vec<_>>(), "what was in it can still be sent");
        spool.remove(vec![0, 1]);
        let Closed { left, lost } = block_on(spool.close()).unwrap();
        assert_eq!((left, lost.messages), (Left::default(), 18), "{way}");
        if way == "another file" {
            assert_eq!(std::fs::read(&path).unwrap(), b"of somebody else");
        }
    }
}

#[test]
fn a_file_for_its_owner_alone() {
    let folder = folder();
    let path = folder.path().join("spool");
    drop(open(&path, LARGE));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn set_aside_keeps_the_newest_within_its_bound() {
    let folder = folder();
    let path = folder.path().join("spool");
    let max_bytes = 256 << 10;
    let (spool, _) = open(&path, max_bytes);
    let first = append(&spool, (0..40).map(|seq| message(seq, 1500)).collect()).first;
    let long = "ü".repeat(2000);
    for seq in 0..30 {
        spool.reject(first + seq, if seq == 29 { long.clone() } else { format!("reason {seq}") });
    }
    spool.reject(first, "it is not there any more".to_owned());
    assert_eq!(seqs(&all(&spool)), (30..40).collect::<Vec<_>>());
    // Larger than all that is kept.
    let large = append(&spool, vec![message(50, 20_000)]).first;
    spool.reject(large, "too large".to_owned());
    assert_eq!(close(spool).messages, 10);

    let aside = DeadLetter::read(&path).unwrap();
    let found: Vec<u64> = aside.iter().map(|aside| aside.message.id.seq).collect();
    assert!(found.len() >= 7 && found.iter().copied().eq(30 - found.len() as u64..30), "{found:?}");
    for DeadLetter { message: found, reason, at } in &aside[..aside.len() - 1] {
        assert_eq!(*found, message(found.id.seq, 1500));
        assert_eq!(*reason, format!("reason {}", found.id.seq));
        assert!(*at > Timestamp::from_unix_nanos(0));
    }
    assert_eq!(aside.last().unwrap().reason, "ü".repeat(500));
    // It is there after the next run, too.
    let (spool, opened) = open(&path, max_bytes);
    assert_eq!(opened.left.messages, 10);
    append(&spool, vec![message(60, 10)]);
    close(spool);
    assert_eq!(DeadLetter::read(&path).unwrap(), aside);
}

// A model: what the spool is to do, on a queue in memory.

#[derive(Clone, Debug)]
enum Action {
    Append(Vec<usize>, Full),
    Read(usize, usize, usize),
    Remove(Vec<usize>),
    DeadLetter(usize),
    Reopen,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let size = prop_oneof![4 => 0..300_usize, 3 => 0..3000_usize, 1 => 3000..30_000_usize, 1 => 64_000..70_000_usize];
    let full = prop_oneof![Just(Full::Refuse), Just(Full::EvictOldest)];
    let action = prop_oneof![
        6 => (proptest::collection::vec(size, 0..12), full).prop_map(|(sizes, full)| Action::Append(sizes, full)),
        3 => (0..50_usize, 0..20_usize, 0..50_000_usize).prop_map(|(after, most, bytes)| Action::Read(after, most, bytes)),
        4 => proptest::collection::vec(0..60_usize, 0..15).prop_map(Action::Remove),
        1 => (0..10_usize).prop_map(Action::DeadLetter),
        1 => Just(Action::Reopen),
    ];
    proptest::collection::vec(action, 1..40)
}

#[derive(Default)]
struct Model {
    queue: VecDeque<(u64, Message)>,
    next_seq: u64,
    next_position: u64,
}

impl Model {
    fn held(&self) -> Left {
        self.queue.iter().fold(Left::default(), |held, (_, message)| Left {
            messages: held.messages + 1,
            samples: held.samples + u64::from(message.samples),
            bytes: held.bytes + room(message),
        })
    }

    fn append(&mut self, first: u64, messages: &[Message], full: Full, max_bytes: u64) -> Appended {
        let last = self.queue.back().map_or(0, |(last, _)| *last);
        assert!(first >= self.next_position && first >= last, "a position was given twice");
        let mut appended = Appended { first, stored: 0, evicted: Vec::new() };
        for message in messages {
            let cost = room(message);
            if cost > max_bytes || (full == Full::Refuse && self.held().bytes + cost > max_bytes) {
                break;
            }
            while self.held().bytes + cost > max_bytes {
                let (position, evicted) = self.queue.pop_front().unwrap();
                appended.evicted.push(Evicted { position, samples: evicted.samples.into() });
            }
            self.queue.push_back((first + appended.stored, message.clone()));
            appended.stored += 1;
        }
        self.next_position = first + appended.stored;
        appended
    }

    fn position(&self, number: usize) -> u64 {
        self.queue.get(number).map_or(1_000_000_000, |(position, _)| *position)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn it_does_as_its_model(actions in actions()) {
        let folder = folder();
        let path = folder.path().join("spool");
        let max_bytes = 64 << 10;
        let (mut spool, _) = open(&path, max_bytes);
        let mut model = Model::default();
        for action in actions {
            match action {
                Action::Append(sizes, full) => {
                    let messages: Vec<Message> = sizes.iter().zip(model.next_seq..).map(|(size, seq)| message(seq, *size)).collect();
                    model.next_seq += messages.len() as u64;
                    let appended = spool.append(messages.clone(), full).blocking_recv().unwrap().unwrap();
                    let expected = model.append(appended.first, &messages, full, max_bytes);
                    prop_assert_eq!(appended, expected);
                    prop_assert_eq!(spool.left(), model.held());
                }
                Action::Read(after, most, bytes) => {
                    let after = after.checked_sub(1).map(|number| model.position(number));
                    let stored = read(&spool, after, most, bytes);
                    let rest = model.queue.iter().filter(|(position, _)| after.is_none_or(|after| *position > after));
                    let mut sum = 0;
                    let expected = rest.take(most.max(1)).enumerate().take_while(|(number, (_, message))| {
                        sum += message.payload.len();
                        *number == 0 || sum <= bytes
                    });
                    let expected: Vec<_> = expected.map(|(_, stored)| stored.clone()).collect();
                    let stored: Vec<_> = stored.into_iter().map(|stored| (stored.position, stored.message)).collect();
                    prop_assert_eq!(stored, expected);
                }
                Action::Remove(numbers) => {
                    let positions: Vec<u64> = numbers.iter().map(|number| model.position(*number)).collect();
                    spool.remove(positions.clone());
                    model.queue.retain(|(position, _)| !positions.contains(position));
                }
                Action::DeadLetter(number) => {
                    let position = model.position(number);
                    spool.reject(position, "poison".to_owned());
                    model.queue.retain(|(at, _)| *at != position);
                }
                Action::Reopen => {
                    prop_assert_eq!(close(spool), model.held());
                    model.next_position = 0;
                    let reopened = open(&path, max_bytes);
                    spool = reopened.0;
                    prop_assert_eq!(reopened.1, Opened { left: model.held(), damaged: false });
                }
            }
        }
        let stored: Vec<_> = all(&spool).into_iter().map(|stored| (stored.position, stored.message)).collect();
        prop_assert_eq!(stored, Vec::from(model.queue));
    }
}

// Files that are not as they were.

/// A spool that was closed, and what was in it.
struct Sample {
    bytes: Vec<u8>,
    held: Vec<Message>,
}

fn sample(path: &Path) -> Sample {
    let (spool, _) = open(path, LARGE);
    let mut random = Rng::with_seed(7);
    for seq in 0..60 {
        append(&spool, vec![message(seq, random.usize(0..3000))]);
    }
    append(&spool, vec![message(60, 20_000)]);
    spool.remove((0..5).collect());
    (5..8).for_each(|position| spool.reject(position, "poison".to_owned()));
    append(&spool, vec![message(61, 500)]);
    let held = all(&spool).into_iter().map(|stored| stored.message).collect();
    close(spool);
    Sample { bytes: std::fs::read(path).unwrap(), held }
}

/// Opens what became of it: all messages are there, or none and it says so. Then the file is there by another name, and it works
/// on. Gives whether it was damaged; `None` where it cannot be known any more that it is a spool, and it is left as it is.
#[track_caller]
fn survives(folder: &Path, sample: &Sample, bytes: &[u8], what: &str) -> Option<bool> {
    let path = folder.join("spool");
    std::fs::write(&path, bytes).unwrap();
    let opened = block_on(Spool::open(&path, LARGE));
    let (spool, opened) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            assert!(error.is_config() && error.to_string().contains("not a spool"), "{what}: {error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}");
            assert_eq!(names(folder), ["spool"]);
            return None;
        }
    };
    let stored: Vec<_> = all(&spool).into_iter().map(|stored| stored.message).collect();
    assert_eq!(stored.len() as u64, opened.left.messages, "{what}");
    if opened.damaged {
        assert_eq!(stored, [], "{what}");
        let kept = folder.join("spool.corrupt-1");
        assert_eq!(std::fs::read(&kept).unwrap().len(), bytes.len(), "{what}");
        std::fs::remove_file(kept).unwrap();
    } else {
        assert_eq!(stored, sample.held, "{what}: a loss is not counted");
    }
    append(&spool, vec![message(2000, 700)]);
    assert_eq!(close(spool).messages, stored.len() as u64 + 1, "{what}");
    let (spool, again) = open(&path, LARGE);
    assert!(!again.damaged, "{what}");
    assert_eq!(all(&spool).last().unwrap().message, message(2000, 700), "{what}");
    close(spool);
    assert_eq!(names(folder), ["spool"]);
    Some(opened.damaged)
}

/// What is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_cut_at_any_length_is_found_out() {
    let folder = folder();
    let sample = sample(&folder.path().join("spool"));
    let length = sample.bytes.len();
    let mut random = Rng::with_seed(9);
    // Each length of the header, then of each page one or two.
    let lengths = (0..80).chain((80..length).step_by(4096)).chain((0..50).map(|_| random.usize(0..length)));
    for length in lengths {
        let damaged = survives(folder.path(), &sample, &sample.bytes[..length], &format!("cut at {length}"));
        assert!(damaged.is_none_or(|damaged| damaged));
    }
    assert_eq!(survives(folder.path(), &sample, &sample.bytes, "whole"), Some(false));
}

#[test]
fn flipped_bits_and_other_pages_are_found_out() {
    let folder = folder();
    let sample = sample(&folder.path().join("spool"));
    let mut random = Rng::with_seed(11);
    let pages = sample.bytes.len() / 4096;
    for round in 0..300 {
        let mut bytes = sample.bytes.clone();
        let page = random.usize(usize::from(round % 4 != 0)..pages) * 4096;
        match round % 6 {
            0 => bytes[page..page + 4096].fill(0),
            1 => random.fill(&mut bytes[page..page + 4096]),
            // As when a write went elsewhere.
            2 => {
                let other = random.usize(0..pages) * 4096;
                bytes.copy_within(other..other + 4096, page);
            }
            // Every other one among the headers of the file and its first pages.
            3 | 4 => bytes[random.usize(0..512)] ^= 1 << random.u32(0..8),
            _ => {
                let byte = random.usize(..bytes.len());
                bytes[byte] ^= 1 << random.u32(0..8);
            }
        }
        survives(folder.path(), &sample, &bytes, &format!("round {round}"));
    }
}

#[test]
fn a_damaged_file_gets_a_name_that_nothing_has() {
    let folder = folder();
    let path = folder.path().join("spool");
    let sample = sample(&path);
    let mut bytes = sample.bytes;
    // All but what shows that it is a spool.
    bytes[512..4096].fill(0xAA);
    bytes[100..200].fill(0xAA);
    std::fs::write(&path, &bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let foreign = ["spool.corrupt-1", "spool.corrupt-3", "spool.new", "spool.lock"];
    for name in foreign {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let (spool, opened) = open(&path, LARGE);
    assert_eq!(opened, Opened { left: Left::default(), damaged: true });
    close(spool);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    for name in foreign {
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(std::fs::read(folder.path().join("spool.corrupt-2")).unwrap(), bytes);
    assert_eq!(names(folder.path()).len(), 6, "{:?}", names(folder.path()));
}

#[test]
fn a_file_that_is_overwritten_while_it_is_open_costs_what_was_in_it() {
    let mut random = Rng::with_seed(19);
    for round in 0..12 {
        let folder = folder();
        let path = folder.path().join("spool");
        let (spool, _) = open(&path, LARGE);
        let mut seq = 0;
        // More than the database has in memory.
        for _ in 0..30 {
            append(&spool, (seq..seq + 100).map(|seq| message(seq, 2000)).collect());
            seq += 100;
        }
        spool.remove((0..10).collect());
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let pages = file.metadata().unwrap().len() / 4096;
        for page in 0..pages {
            let mut bytes = [0; 4096];
            random.fill(&mut bytes);
            if random.u32(..3) > 0 {
                file.write_all_at(&bytes, page * 4096).unwrap();
            }
        }
        if round % 4 == 0 {
            file.set_len(0).unwrap();
        }
        // Reading, or writing first.
        let mut found = 0;
        if round % 2 == 0 {
            found = append(&spool, vec![message(seq, 2000)]).stored;
        }
        let mut after = None;
        loop {
            let read = read(&spool, after, 7, usize::MAX);
            let Some(last) = read.last() else { break };
            after = Some(last.position);
            for Stored { message: read, .. } in &read {
                assert_eq!(*read, message(read.id.seq, 2000), "round {round}");
            }
        }
        let (lost, below) = spool.lost();
        assert_eq!(lost, 2990, "round {round}: all is lost, once, but for what was removed");
        let appended = append(&spool, vec![message(seq + 1, 2000)]);
        assert!(appended.first >= below + found && below >= 3000, "a position is given twice");
        assert_eq!(close(spool).messages, found + 1, "round {round}");
        assert!(!open(&path, LARGE).1.damaged, "round {round}");
        assert_eq!(names(folder.path()), ["spool", "spool.corrupt-1"]);
    }
}

// Killed at any time.

/// What the child process does, when it is one: appends, tells each position, removes some.
#[test]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os("APPMON_TEST_SPOOL") else { return };
    let mut random = Rng::new();
    let (spool, _) = open(Path::new(&path), LARGE);
    let mut output = std::io::stdout().lock();
    let mut seq = all(&spool).last().map_or(0, |stored| stored.message.id.seq + 1);
    let mut after = None;
    loop {
        let answers: Vec<_> = (0..random.usize(1..4))
            .map(|_| {
                let messages: Vec<Message> = (0..random.u64(1..5))
                    .map(|number| {
                        let most = if random.u8(..) == 0 { 100_000 } else { 3000 };
                        message(seq + number, random.usize(0..most))
                    })
                    .collect();
                seq += messages.len() as u64;
                spool.append(messages, Full::Refuse)
            })
            .collect();
        for answer in answers {
            let Appended { first, stored, .. } = answer.blocking_recv().unwrap().unwrap();
            writeln!(output, "appended {first} {stored}").unwrap();
        }
        if random.bool() {
            let read = read(&spool, after, random.usize(1..5), usize::MAX);
            for stored in &read {
                writeln!(output, "removed {} 1", stored.position).unwrap();
            }
            after = read.last().map(|stored| stored.position).or(after);
            spool.remove(read.iter().map(|stored| stored.position).collect());
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_at_any_time_nothing_that_was_appended_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let mut expected = BTreeMap::new();
    let mut random = Rng::new();
    for round in 0..12 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "forward::spool::tests::child_that_is_killed", "--nocapture", "--test-threads=1"])
            .env("APPMON_TEST_SPOOL", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let mut child = Killed(child.unwrap());
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let mut killed_after = random.usize(1..60);
        let mut removed = 0;
        for line in lines {
            let mut words = line.split(' ');
            let (word, rest) = (words.next().unwrap(), words.collect::<Vec<_>>());
            // The last line may be cut.
            if let ("appended" | "removed", [first, count]) = (word, &rest[..]) {
                let first: u64 = first.parse().unwrap();
                for position in first..first + count.parse::<u64>().unwrap() {
                    expected.insert(position, word == "appended");
                    removed += usize::from(word == "removed");
                }
            }
            killed_after = killed_after.saturating_sub(1);
            if killed_after == 0 {
                std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
                child.0.kill().unwrap();
                killed_after = usize::MAX;
            }
        }
        child.0.wait().unwrap();
        let (spool, opened) = open(&path, LARGE);
        assert!(!opened.damaged, "round {round}");
        let stored = all(&spool);
        assert!(stored.is_sorted_by_key(|stored| stored.position));
        assert!(stored.is_sorted_by_key(|stored| stored.message.id.seq));
        assert!(!expected.is_empty(), "the child did nothing");
        let found: BTreeMap<u64, &Message> = stored.iter().map(|stored| (stored.position, &stored.message)).collect();
        for (position, there) in &expected {
            assert!(!there || found.contains_key(position), "round {round}: {position} of {} is lost", found.len());
        }
        for message in found.values() {
            assert_eq!(**message, self::message(message.id.seq, message.payload.len()));
        }
        eprintln!("round {round}: {} there, {removed} removed, {} expected", found.len(), expected.len());
        close(spool);
    }
}

// Room.

struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "appmon"]).arg(folder.path()).stderr(Stdio::null());
        let works = mount.status().is_ok_and(|status| status.success());
        require(works, "root, for a small tmpfs").then(|| Self(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_reported_and_survived() {
    let Some(disk) = Tmpfs::new("1m") else { return };
    let path = disk.0.path().join("spool");
    let (spool, _) = open(&path, LARGE);
    let mut stored = Vec::new();
    let mut refused = 0;
    // Until it has been full many times; what is told to be stored is.
    for seq in 0..2000 {
        match spool.append(vec![message(seq, 3000)], Full::Refuse).blocking_recv().unwrap() {
            Ok(appended) => {
                assert_eq!(appended.stored, 1);
                stored.push(seq);
            }
            Err(error) => {
                assert_eq!(error.errno(), Some(rustix::io::Errno::NOSPC), "{error}");
                assert!(error.to_string().contains("spool"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(stored.len() > 100 && refused > 1000, "{} {refused}", stored.len());
    let found = all(&spool);
    assert_eq!(seqs(&found), stored);
    assert_eq!(spool.lost().0, 0);
    // Sent ones are removed, and there is room again without anybody's doing.
    spool.remove(found[..50].iter().map(|stored| stored.position).collect());
    until("room again", || spool.append(vec![message(5000, 3000)], Full::Refuse).blocking_recv().unwrap().is_ok());
    stored.drain(..50);
    stored.push(5000);
    assert_eq!(seqs(&all(&spool)), stored);
    // Somebody else fills the rest; then it is opened again.
    let rest = disk.0.path().join("rest");
    let mut file = std::fs::File::create(&rest).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    assert_eq!(close(spool).messages, stored.len() as u64);
    let (spool, opened) = open(&path, LARGE);
    assert_eq!((opened.left.messages, opened.damaged), (stored.len() as u64, false));
    assert_eq!(seqs(&all(&spool)), stored);
    until("full", || spool.append(vec![message(6000, 30_000)], Full::Refuse).blocking_recv().unwrap().is_err());
    std::fs::remove_file(&rest).unwrap();
    until("room again", || spool.append(vec![message(7000, 3000)], Full::Refuse).blocking_recv().unwrap().is_ok());
    assert_eq!(seqs(&all(&spool)).last(), Some(&7000));
    assert_eq!(spool.lost().0, 0);
}

#[test]
fn the_file_stays_near_its_bound() {
    let folder = folder();
    let path = folder.path().join("spool");
    let max_bytes = 1 << 20;
    for sizes in [0..400_usize, 0..5000, 2000..2200, 0..60_000] {
        let (spool, _) = open(&path, max_bytes);
        let mut random = Rng::with_seed(3);
        let (mut stored, mut most_blocks, mut most_length) = (0, 0, 0);
        let mut seq = 0;
        while stored < 4 * max_bytes {
            // Not in one go what is much beside this small bound: it is in the file beside what it replaces.
            let most = if sizes.end > 5000 { 2 } else { 20 };
            let messages: Vec<Message> =
                (0..random.u64(1..most)).map(|number| message(seq + number, random.usize(sizes.clone()))).collect();
            seq += messages.len() as u64;
            stored += messages.iter().map(room).sum::<u64>();
            spool.append(messages, Full::EvictOldest).blocking_recv().unwrap().unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            most_blocks = most_blocks.max(metadata.blocks() * 512);
            most_length = most_length.max(metadata.len());
        }
        assert!(spool.left().bytes <= max_bytes);
        eprintln!(
            "{sizes:?}: blocks {:.2}, length {:.2} of the bound",
            most_blocks as f64 / max_bytes as f64,
            most_length as f64 / max_bytes as f64
        );
        assert!(
            most_blocks * 2 < max_bytes * 3 && most_length < max_bytes * 3,
            "{sizes:?}: {most_blocks} {most_length}"
        );
        close(spool);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_emptied_file_is_made_smaller() {
    let folder = folder();
    let path = folder.path().join("spool");
    let (spool, _) = open(&path, LARGE);
    for seq in 0..60 {
        append(&spool, vec![message(seq, 100_000)]);
    }
    let length = || std::fs::metadata(&path).unwrap().len();
    assert!(length() > 6_000_000);
    let found = all(&spool);
    spool.remove(found[..59].iter().map(|stored| stored.position).collect());
    until("smaller", || length() < 1_000_000);
    assert_eq!(seqs(&all(&spool)), [59]);
}

/// Not a test: what it costs. Run it with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    for (size, each) in [(400, 1), (400, 100), (10_000, 1), (10_000, 20), (100_000, 1), (100_000, 10)] {
        for waiting in [1, 16] {
            let (spool, _) = open(&path, LARGE);
            let one = message(0, size);
            let start = Instant::now();
            let (mut seq, mut answers) = (0, VecDeque::new());
            while start.elapsed() < Duration::from_secs(1) {
                let messages = (0..each).map(|_| one.clone()).collect();
                seq += each;
                answers.push_back(spool.append(messages, Full::Refuse));
                if answers.len() >= waiting {
                    answers.pop_front().unwrap().blocking_recv().unwrap().unwrap();
                }
            }
            for answer in answers {
                answer.blocking_recv().unwrap().unwrap();
            }
            let rate = seq as f64 / start.elapsed().as_secs_f64();
            let start = Instant::now();
            let (mut after, mut drained) = (None, 0);
            while let Some(last) = {
                let stored = read(&spool, after, 1000, 1 << 20);
                drained += stored.len();
                spool.remove(stored.iter().map(|stored| stored.position).collect());
                stored.last().map(|stored| stored.position)
            } {
                after = Some(last);
            }
            let drained = drained as f64 / start.elapsed().as_secs_f64();
            eprintln!(
                "{size:6} B, {each:3} in one, {waiting:2} at once: {rate:8.0} appended/s {drained:8.0} read and removed/s"
            );
            close(spool);
            std::fs::remove_file(&path).unwrap();
        }
    }
    for size in [400, 10_000, 200_000] {
        let (spool, _) = open(&path, 64 << 20);
        let mut seq = 0;
        while append(&spool, (seq..seq + (1 << 20) / size).map(|seq| message(seq, size as usize)).collect()).stored > 0
        {
            seq += (1 << 20) / size;
        }
        let held = spool.left();
        // As after a kill: what there is now, and not closed.
        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        close(spool);
        for (path, what) in [(&path, "closed"), (&copy, "killed")] {
            let start = Instant::now();
            let (spool, opened) = open(path, 64 << 20);
            let metadata = std::fs::metadata(path).unwrap();
            eprintln!(
                "64 MiB of {size} B ({} messages): opened in {:?} when {what}; blocks {:.2}, length {:.2} of it",
                opened.left.messages,
                start.elapsed(),
                metadata.blocks() as f64 * 512.0 / held.bytes as f64,
                metadata.len() as f64 / held.bytes as f64
            );
            close(spool);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn nothing_to_read_of_any_bytes() {
    let mut random = Rng::with_seed(17);
    let mut names = record::Names::default();
    let sent = message(5, 300);
    let encoded = Encoded::new(&sent, Some(("why", Timestamp::from_unix_nanos(3)))).unwrap();
    let mut whole = vec![0; encoded.len()];
    encoded.write(&mut whole);
    let read = record::decode(&whole, &mut names).unwrap();
    assert_eq!((read.message, read.reason.as_str(), read.rejected_at), (sent, "why", Timestamp::from_unix_nanos(3)));
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        bytes.truncate(random.usize(..=whole.len()));
        for _ in 0..random.usize(..4) {
            if !bytes.is_empty() {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
        }
        // Whatever it is, it is no panic.
        let _ = record::decode(&bytes, &mut names);
    }
}
