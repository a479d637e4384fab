use std::task::Waker;

use tokio::time::Instant;

use super::*;
use crate::forward::spool::{Evicted, Full};
use crate::forward::{Codec, Form};
use crate::{BootId, Timestamp};

const LIMITS: BatchLimits = BatchLimits { messages: 100, bytes: 1 << 20 };

fn message(seq: u64) -> Message {
    Message {
        id: crate::forward::MessageId::new(BootId::current(), 7, seq),
        kind: "process".into(),
        stream: "process".into(),
        form: Form::Snapshot,
        host: "h".into(),
        time: Timestamp::default(),
        codec: Codec::Json,
        samples: 1,
        key: 0,
        payload: bytes::Bytes::from(vec![0; 1000]),
    }
}

/// Returns a spool with `held` messages, at the positions from 0 on.
async fn spooled(overflow: Overflow, held: u64) -> (tempfile::TempDir, DiskOutbox) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, opened) = Spool::open(&folder.path().join("spool"), 1 << 20).await.unwrap();
    spool.append((0..held).map(message).collect(), Full::Refuse).await.unwrap().unwrap();
    (folder, DiskOutbox::new(spool, opened, overflow, LIMITS))
}

/// Polls until this many messages are ready, and returns their sequence numbers.
async fn until_ready(spooled: &mut DiskOutbox, report: &mut Report, count: usize) -> Vec<u64> {
    let begin = Instant::now();
    while spooled.ready.len() < count {
        assert!(begin.elapsed() < Duration::from_secs(5), "{} of {count} are ready", spooled.ready.len());
        spooled.poll(&mut Context::from_waker(Waker::noop()), report);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    spooled.ready.iter().map(|entry| entry.message.id.seq).collect()
}

fn stored(seqs: std::ops::Range<u64>) -> Vec<Stored> {
    seqs.map(|seq| Stored { position: seq, message: message(seq) }).collect()
}

#[tokio::test]
async fn room_that_came_while_an_append_was_refused_is_used() {
    let (_folder, mut spooled) = spooled(Overflow::Block, 1).await;
    let mut report = Report::default();
    let taken = Entry::new(message(0), Some(0));
    spooled.taken.insert(0, Taken::default());
    let (refuse, reply) = oneshot::channel();
    spooled.append = Append::UnderWay { reply, messages: vec![message(1)] };
    // The last message of the spool is settled before the refusal is known: no later one will be settled.
    spooled.settled(&taken, None, &mut report);
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
            spooled.settled(&entry, None, &mut report);
        }
    }
    assert_eq!(seqs, [0, 1], "both are tried again");
}

#[tokio::test]
async fn a_message_evicted_while_it_is_read_is_lost_once() {
    let (_folder, mut spooled) = spooled(Overflow::DropOldest, 0).await;
    let mut report = Report::default();
    spooled.behind = true;
    let (read, reply) = oneshot::channel();
    spooled.reading = Some(Reading { reply, stale: false, evicted: BTreeSet::new() });
    let (appended, reply) = oneshot::channel();
    spooled.append = Append::UnderWay { reply, messages: vec![message(3)] };
    // It was read first, and both answers are received at once.
    assert!(read.send(Ok(stored(0..3))).is_ok());
    let evicted = (0..2).map(|position| Evicted { position, samples: 1 }).collect();
    appended.send(Ok(Appended { first: 3, stored: 1, evicted })).unwrap();
    assert_eq!(until_ready(&mut spooled, &mut report, 1).await, [2]);
    assert_eq!(report.dropped.oldest.messages, 2);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let mut spooled = DiskOutbox::new(Spool::that_hangs(), Opened::default(), Overflow::Block, LIMITS);
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
