//! The link over servers that accept, refuse, are silent, break and forget, on a clock that stands still.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::forward::{Encoder, Host};
use crate::{Sample, Snapshot};

#[derive(Clone, Debug, serde::Serialize)]
struct Thing(u64);

impl Sample for Thing {
    const KIND: &'static str = "thing";
    type Key = u64;

    fn key(&self) -> u64 {
        self.0
    }
}

fn messages(count: u64) -> Vec<Message> {
    let mut encoder = Encoder::new(Host::new("h").unwrap());
    (0..count)
        .flat_map(|number| encoder.encode(&[Thing(number)].into_iter().collect::<Snapshot<_>>()).messages)
        .collect()
}

/// What a server does with the next message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Accept,
    /// It says that it has it already.
    Double,
    Refuse(Fault),
    /// It refuses, and wants to be left alone for so many seconds.
    Busy(Fault, u64),
    /// It has it, and refuses so many of its samples.
    Partly(u32),
    /// It has it, and answers nothing.
    Swallow,
    /// It answers nothing, and does not have it.
    Ignore,
    /// It has it, and the session ends before the answer.
    BreakAfter,
    /// The session ends.
    BreakBefore,
    /// It takes so many milliseconds.
    Slow(u64),
}

/// What a server does with the next connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    Open,
    Shut,
    /// Shut for so many seconds.
    Busy(u64),
    /// Nobody answers.
    Silent,
}

#[derive(Debug, Default)]
struct World {
    /// What is done next; when there is no more, all is well.
    acts: VecDeque<Act>,
    doors: VecDeque<Door>,
    /// What the servers have, in order.
    stored: Vec<u64>,
    /// By which server each connection and message was taken.
    connected: Vec<usize>,
    turns: Vec<usize>,
    sessions: usize,
    limit: Option<usize>,
    held_up: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Fake {
    world: Arc<Mutex<World>>,
    servers: Vec<FakeServer>,
}

#[derive(Clone, Debug)]
struct FakeServer(usize);

impl fmt::Display for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fake://{}", self.0)
    }
}

struct FakeSession {
    world: Arc<Mutex<World>>,
    open: bool,
}

impl Fake {
    fn new(servers: usize) -> Self {
        Self { world: Arc::default(), servers: (0..servers).map(FakeServer).collect() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    // Each looks at the world for a moment only.
    fn connected(&self) -> Vec<usize> {
        self.world().connected.clone()
    }

    fn turns(&self) -> Vec<usize> {
        self.world().turns.clone()
    }

    fn stored(&self) -> Vec<u64> {
        self.world().stored.clone()
    }

    fn acts(&self, acts: impl IntoIterator<Item = Act>) {
        self.world().acts = acts.into_iter().collect();
    }

    fn link(&self, in_flight: usize) -> Link<Self> {
        Link::new(self.clone(), in_flight)
    }
}

impl Connect for Fake {
    type Server = FakeServer;
    type Session = FakeSession;

    fn servers(&self) -> &[FakeServer] {
        &self.servers
    }

    async fn connect(&self, FakeServer(server): &FakeServer) -> Result<FakeSession, Cause> {
        let door = {
            let mut world = self.world();
            world.connected.push(*server);
            world.doors.pop_front().unwrap_or(Door::Open)
        };
        match door {
            Door::Open => {}
            Door::Shut => return Err("shut".into()),
            Door::Busy(seconds) => return Err(Cause::from("busy").with_wait(Duration::from_secs(seconds))),
            Door::Silent => std::future::pending().await,
        }
        self.world().sessions += 1;
        Ok(FakeSession { world: Arc::clone(&self.world), open: true })
    }

    async fn send(&self, session: &mut FakeSession, turn: &mut Turn<'_>) -> Result<(), Cause> {
        let messages = turn.messages();
        self.world().turns.push(messages.len());
        let mut silent = false;
        for (at, message) in messages.into_iter().enumerate() {
            let act = self.world().acts.pop_front().unwrap_or(Act::Accept);
            let store = || self.world().stored.push(message.id.seq);
            match act {
                Act::Accept => {
                    store();
                    turn.settle(at, Reply::Accepted);
                }
                Act::Double => turn.settle(at, Reply::Duplicate),
                Act::Busy(fault, seconds) => {
                    let cause = Cause::from("busy").with_wait(Duration::from_secs(seconds));
                    turn.settle(at, Reply::Refused(fault, cause));
                }
                Act::Partly(refused) => {
                    store();
                    turn.settle(at, Reply::Partly(refused, "too old".into()));
                }
                Act::Refuse(fault) => turn.settle(at, Reply::Refused(fault, "refused".into())),
                Act::Swallow => {
                    store();
                    silent = true;
                }
                Act::Ignore => silent = true,
                Act::BreakAfter => {
                    store();
                    session.open = false;
                    return Err("broke".into());
                }
                Act::BreakBefore => {
                    session.open = false;
                    return Err("broke".into());
                }
                Act::Slow(millis) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    store();
                    turn.settle(at, Reply::Accepted);
                }
            }
            // What is behind one that gets no answer is read all the same, unless it is order that counts here.
        }
        if silent {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn place(&self, message: &Message) -> String {
        message.host.to_string()
    }

    fn places(&self) -> String {
        "fake".to_owned()
    }
}

impl Session for FakeSession {
    fn is_open(&mut self) -> bool {
        self.open
    }

    fn limit(&self) -> Option<usize> {
        self.world.lock().unwrap().limit
    }

    fn held_up(&self) -> Option<&'static str> {
        self.world.lock().unwrap().held_up
    }

    async fn close(self) {
        self.world.lock().unwrap().sessions -= 1;
    }
}

fn kinds(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Accepted => 'A',
        Outcome::Duplicate => 'D',
        Outcome::Retry(_) => 'r',
        Outcome::RetryAfter { .. } => 'w',
        Outcome::Partly { .. } => 'P',
        Outcome::Unknown(_) => 'u',
        Outcome::Rejected(_) => 'X',
        Outcome::TooLarge(_) => 'L',
    };
    outcomes.iter().map(letter).collect()
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry(error) | Outcome::Unknown(error) | Outcome::Rejected(error) | Outcome::TooLarge(error) => {
            error.to_string()
        }
        Outcome::RetryAfter { error, .. } | Outcome::Partly { error, .. } => error.to_string(),
        _ => String::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn one_session_serves_all_while_all_is_well() {
    let fake = Fake::new(1);
    let mut link = fake.link(100);
    let sent = messages(250);
    assert!(fake.connected().is_empty(), "nothing connects before there is something to send");
    assert!(link.publish(&[]).await.is_empty());
    assert!(fake.connected().is_empty());
    fake.acts([Act::Accept, Act::Double]);
    assert_eq!(kinds(&link.publish(&sent).await), format!("AD{}", "A".repeat(248)));
    assert_eq!(kinds(&link.publish(&sent[..1]).await), "A");
    assert_eq!((fake.connected().len(), fake.turns()), (1, vec![100, 100, 50, 1]));
    link.close().await;
    assert_eq!(fake.world().sessions, 0);
    assert_eq!(kinds(&link.publish(&sent[..1]).await), "A");
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_nothing_follows_and_the_window_is_small_and_grows() {
    let fake = Fake::new(1);
    let mut link = fake.link(4);
    let sent = messages(100);
    fake.acts([Act::Accept, Act::Refuse(Fault::Place)]);
    let outcomes = link.publish(&sent[..10]).await;
    assert_eq!(kinds(&outcomes), "ArAArrrrrr", "what was on its way with it may be taken");
    assert_eq!(text(&outcomes[1]), "fake://0 h: refused");
    assert_eq!(text(&outcomes[4]), "fake://0: not sent, as an earlier message was not taken");
    fake.acts([Act::Refuse(Fault::Place)]);
    assert_eq!(kinds(&link.publish(&sent[..10]).await), "rrrrrrrrrr", "one at a time now");
    assert_eq!(kinds(&link.publish(&sent).await), "A".repeat(100));
    let turns = fake.turns();
    assert_eq!(turns[..3], [4, 1, 1]);
    assert_eq!(turns.iter().filter(|size| **size == 1).count(), 9, "{turns:?}");
    assert_eq!(turns.iter().filter(|size| **size == 2).count(), 8, "{turns:?}");
    assert_eq!(turns.last(), Some(&4));
    assert_eq!(fake.connected().len(), 1, "the session was well all the time");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_messages_only_when_it_is_its_fault() {
    let fake = Fake::new(1);
    let mut link = fake.link(10);
    fake.acts([Act::Refuse(Fault::Message), Act::Accept, Act::Refuse(Fault::Size(None))]);
    assert_eq!(kinds(&link.publish(&messages(12)).await), "XALAAAAAAAAA", "and then it holds up nothing");
    for fault in [Fault::Place, Fault::Server] {
        fake.acts([Act::Refuse(fault)]);
        assert_eq!(kinds(&link.publish(&messages(1)).await), "r");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_session_is_made_anew_by_the_next_call() {
    let fake = Fake::new(1);
    let mut link = fake.link(4);
    let sent = messages(6);
    for act in [Act::BreakBefore, Act::BreakAfter] {
        fake.acts([Act::Accept, act]);
        let outcomes = link.publish(&sent).await;
        assert!(kinds(&outcomes).starts_with("Au") && kinds(&outcomes).ends_with("rr"), "{outcomes:?}");
        assert_eq!(text(&outcomes[1]), "fake://0 h: broke");
        assert_eq!(text(&outcomes[5]), "fake://0: not sent, as an earlier message may be lost");
        assert!(link.check().await.unwrap().is_ok(), "a message can break a connection");
    }
    assert_eq!(kinds(&link.publish(&sent).await), "AAAAAA");
    // One that ended in between is not used.
    link.idle.as_mut().unwrap().open = false;
    assert_eq!(kinds(&link.publish(&sent).await), "AAAAAA");
}

#[tokio::test(start_paused = true)]
async fn silence_has_a_deadline_and_is_no_breaking() {
    let fake = Fake::new(1);
    let mut link = fake.link(4);
    link.set_timeout(Duration::from_secs(3));
    let sent = messages(6);
    fake.acts([Act::Accept, Act::Swallow, Act::Accept, Act::Ignore]);
    let begin = Instant::now();
    let outcomes = link.publish(&sent).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    assert_eq!(kinds(&outcomes), "AuAurr", "what was answered counts");
    assert_eq!(text(&outcomes[1]), "fake://0 h: no answer within 3s");
    assert!(link.check().await.is_none(), "it lets us in, and that says nothing of the messages");
    assert_eq!(fake.connected().len(), 2, "the old session is not used again");
    fake.world().doors = [Door::Silent].into();
    link.idle = None;
    let error = link.check().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "fake://0: no connection within 3s");
    fake.world().doors = [Door::Shut].into();
    let outcomes = link.publish(&sent[1..2]).await;
    assert_eq!((kinds(&outcomes), text(&outcomes[0])), ("r".to_owned(), "fake://0: shut".to_owned()));
    assert!(link.check().await.is_none(), "still nobody answered");
    assert_eq!(kinds(&link.publish(&sent[1..]).await), "AAAAA");
    assert!(link.check().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn extreme_timeouts_mean_what_they_say() {
    let fake = Fake::new(1);
    let mut link = fake.link(4);
    link.set_timeout(Duration::MAX);
    fake.acts([Act::Slow(86_400_000)]);
    assert_eq!(kinds(&link.publish(&messages(1)).await), "A");
    link.set_timeout(Duration::ZERO);
    fake.acts([Act::Slow(1)]);
    assert_eq!(kinds(&link.publish(&messages(1)).await), "u");
}

#[tokio::test(start_paused = true)]
async fn a_slow_line_is_not_a_silent_one() {
    let fake = Fake::new(1);
    let mut link = fake.link(1);
    link.set_timeout(Duration::from_secs(4));
    fake.acts(std::iter::repeat_n(Act::Slow(900), 10));
    let outcomes = link.publish(&messages(10)).await;
    assert_eq!(kinds(&outcomes), "AAArrrrrrr", "no turn begins when it may get no answer");
    assert!(text(&outcomes[3]).contains("was used up"), "{outcomes:?}");
    assert!(link.check().await.unwrap().is_ok());
    assert_eq!(kinds(&link.publish(&messages(1)).await), "A");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_leaves_no_session_and_counts_as_silent() {
    let fake = Fake::new(1);
    let mut link = fake.link(4);
    fake.acts([Act::Swallow]);
    assert!(tokio::time::timeout(Duration::from_millis(1), link.publish(&messages(1))).await.is_err());
    assert!(link.idle.is_none());
    assert!(link.check().await.is_none());
    assert_eq!(kinds(&link.publish(&messages(1)).await), "A");
}

#[tokio::test(start_paused = true)]
async fn after_failures_of_a_server_the_next_has_its_turn() {
    let fake = Fake::new(3);
    let mut link = fake.link(4);
    let sent = messages(2);
    fake.world().doors = [Door::Shut].into();
    assert_eq!(kinds(&link.publish(&sent).await), "rr");
    assert_eq!(kinds(&link.publish(&sent).await), "AA");
    assert_eq!(fake.connected(), [0, 1]);
    for (act, server) in [(Act::Ignore, 2), (Act::BreakBefore, 0), (Act::Refuse(Fault::Server), 1)] {
        fake.acts([act]);
        fake.world().connected.clear();
        assert!(!kinds(&link.publish(&sent).await).starts_with('A'));
        assert_eq!(kinds(&link.publish(&sent).await), "AA");
        assert_eq!(fake.connected(), [server], "after {act:?}");
    }
    // What is the same everywhere is no reason.
    fake.acts([Act::Refuse(Fault::Place), Act::Refuse(Fault::Message), Act::Refuse(Fault::Size(Some(9)))]);
    fake.world().connected.clear();
    link.publish(&sent).await;
    assert!(fake.connected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let fake = Fake::new(1);
    let mut link = fake.link(10);
    let mut sent = messages(3);
    sent[1].payload = vec![b' '; 5000].into();
    assert_eq!(link.max_message_bytes(), None);
    fake.world().limit = Some(4000);
    let outcomes = link.publish(&sent).await;
    assert_eq!(kinds(&outcomes), "ALA");
    assert_eq!(text(&outcomes[1]), "fake://0 h: a message of 5000 bytes, but it takes 4000");
    assert_eq!((link.max_message_bytes(), fake.stored().len()), (Some(4000), 2));
    let connected = fake.connected().len();
    link.idle = None;
    assert_eq!(kinds(&link.publish(&sent[1..2]).await), "L");
    assert_eq!(fake.connected().len(), connected, "there is nothing to connect for");
}

#[tokio::test(start_paused = true)]
async fn limits_are_learned_from_refusals_and_not_for_ever() {
    let fake = Fake::new(1);
    let mut link = fake.link(1);
    let mut sent = messages(3);
    sent[0].payload = vec![b' '; 5000].into();
    sent[2].payload = vec![b' '; 6000].into();
    fake.acts([Act::Refuse(Fault::Size(Some(4000)))]);
    assert_eq!(kinds(&link.publish(&sent).await), "LAL", "what follows is not even tried");
    assert_eq!(fake.turns(), [1, 1]);
    assert_eq!(link.max_message_bytes(), Some(4000));
    tokio::time::advance(BELIEVED).await;
    assert_eq!((link.max_message_bytes(), kinds(&link.publish(&sent).await)), (None, "AAA".to_owned()));
    // Where no number is said: smaller ones are made, and what was made is tried.
    fake.acts([Act::Refuse(Fault::Size(None))]);
    assert_eq!(kinds(&link.publish(&sent).await), "LAA");
    assert_eq!(link.max_message_bytes(), Some(2500));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_holds_up_publishers_is_waited_for() {
    let fake = Fake::new(2);
    let mut link = fake.link(4);
    let sent = messages(6);
    assert_eq!(kinds(&link.publish(&sent).await), "AAAAAA");
    fake.world().held_up = Some("its memory is short");
    let outcomes = link.publish(&sent).await;
    assert_eq!(kinds(&outcomes), "rrrrrr");
    assert_eq!(text(&outcomes[0]), "fake://0: its memory is short");
    assert!(link.check().await.unwrap().is_err());
    fake.world().held_up = None;
    assert_eq!(kinds(&link.publish(&sent).await), "AAAAAA");
    assert_eq!(fake.connected(), [0]);
}

fn waits(outcomes: &[Outcome]) -> Vec<u64> {
    let wait = |outcome: &Outcome| match outcome {
        Outcome::RetryAfter { wait, .. } => wait.as_secs(),
        _ => 0,
    };
    outcomes.iter().map(wait).collect()
}

#[tokio::test(start_paused = true)]
async fn who_asks_to_be_left_alone_is() {
    let sent = messages(3);
    // The place is the same on all servers.
    for (servers, fault, first) in
        [(1, Fault::Place, "Awr"), (1, Fault::Server, "Awr"), (2, Fault::Place, "Awr"), (2, Fault::Server, "Arr")]
    {
        let fake = Fake::new(servers);
        fake.acts([Act::Accept, Act::Busy(fault, 60)]);
        let mut link = fake.link(1);
        assert_eq!(kinds(&link.publish(&sent).await), first, "{servers} {fault:?}");
        let another = servers == 2 && fault == Fault::Server;
        tokio::time::advance(Duration::from_secs(20)).await;
        let outcomes = link.publish(&sent[1..]).await;
        if another {
            assert_eq!((kinds(&outcomes).as_str(), fake.connected()), ("AA", vec![0, 1]));
            continue;
        }
        // It is not even asked.
        assert_eq!((kinds(&outcomes).as_str(), waits(&outcomes)), ("ww", vec![40, 40]));
        assert!(link.check().await.unwrap().is_err());
        assert_eq!(fake.turns().len(), 2);
        tokio::time::advance(Duration::from_secs(41)).await;
        assert_eq!(kinds(&link.publish(&sent[1..]).await), "AA");
        assert_eq!(fake.stored(), [0, 1, 2]);
    }
    // All of several.
    let fake = Fake::new(2);
    fake.world().doors = [Door::Busy(30), Door::Busy(10)].into_iter().collect();
    let mut link = fake.link(8);
    assert_eq!(kinds(&link.publish(&sent).await), "rrr");
    assert_eq!(kinds(&link.publish(&sent).await), "rrr");
    assert_eq!(waits(&link.publish(&sent).await), [10, 10, 10]);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(kinds(&link.publish(&sent).await), "AAA");
    assert_eq!(fake.connected(), [0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_message_can_be_taken_in_part() {
    let fake = Fake::new(1);
    fake.acts([Act::Partly(2)]);
    let outcomes = fake.link(8).publish(&messages(3)).await;
    assert_eq!(kinds(&outcomes), "PAA");
    assert!(matches!(outcomes[0], Outcome::Partly { refused: 2, .. }) && outcomes[0].is_accepted());
    assert!(text(&outcomes[0]).contains("too old"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_setting_is_reported_when_it_is_used() {
    let fake = Fake::new(1);
    let mut link = fake.link(8);
    link.configure("topic", |_| Err(Error::config("\"a{b\"")));
    link.configure("key", |_| Err(Error::config("\"c\"")));
    let mut link = link.clone();
    assert!(link.validate().unwrap_err().is_config());
    assert!(link.check().await.unwrap().unwrap_err().is_config());
    let outcomes = link.publish(&messages(2)).await;
    assert_eq!((kinds(&outcomes).as_str(), text(&outcomes[0]).as_str()), ("rr", "topic: \"a{b\""));
    assert_eq!(fake.connected(), [0_usize; 0]);
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Accept),
        1 => Just(Act::Refuse(Fault::Place)),
        1 => Just(Act::Refuse(Fault::Server)),
        1 => Just(Act::Ignore),
        1 => Just(Act::BreakBefore),
        1 => Just(Act::BreakAfter),
        1 => Just(Act::Swallow),
        1 => (0..9000_u64).prop_map(Act::Slow),
    ]
}

fn doors() -> impl Strategy<Value = Door> {
    prop_oneof![4 => Just(Door::Open), 1 => Just(Door::Shut), 1 => Just(Door::Silent)]
}

proptest! {
    /// Whatever servers do: an outcome for each message; what is accepted is stored; everything is, in the end; no call takes longer
    /// than its time; and with one message on its way at a time, what is stored first is stored in order.
    #[test]
    fn everything_is_stored_in_order(
        acts in proptest::collection::vec(acts(), 0..60),
        doors in proptest::collection::vec(doors(), 0..20),
        (servers, in_flight, batch) in (1..4_usize, 1..6_usize, 1..12_usize),
        dropped in proptest::collection::btree_set(0..20_usize, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let fake = Fake::new(servers);
            fake.acts(acts);
            fake.world().doors = doors.into();
            let mut link = fake.link(in_flight);
            let sent = messages(30);
            let mut left: Vec<Message> = sent.clone();
            let mut accepted = BTreeSet::new();
            for call in 0.. {
                assert!(call < 1000, "{left:?}");
                if left.is_empty() {
                    break;
                }
                let count = left.len().min(batch);
                let begin = Instant::now();
                let outcomes = if dropped.contains(&call) {
                    // A caller that does not wait.
                    let short = Duration::from_millis(1500);
                    tokio::time::timeout(short, link.publish(&left[..count])).await.unwrap_or_default()
                } else {
                    link.publish(&left[..count]).await
                };
                assert!(begin.elapsed() <= link.timeout + Duration::from_millis(1), "{:?}", begin.elapsed());
                if !outcomes.is_empty() {
                    assert_eq!(outcomes.len(), count);
                }
                let mut outcomes = outcomes.into_iter();
                let stored = fake.stored();
                left.retain(|message| match outcomes.next() {
                    Some(outcome) if outcome.is_accepted() => {
                        assert!(stored.contains(&message.id.seq), "accepted, and not there");
                        assert!(accepted.insert(message.id.seq), "accepted twice");
                        false
                    }
                    Some(Outcome::Rejected(error)) => panic!("{error}"),
                    _ => true,
                });
            }
            let world = fake.world();
            let mut first = BTreeMap::new();
            for (at, seq) in world.stored.iter().enumerate() {
                first.entry(*seq).or_insert(at);
            }
            assert_eq!(first.len(), 30, "all are there");
            if in_flight == 1 {
                assert!(first.values().is_sorted(), "{:?}", world.stored);
            }
        });
    }
}
