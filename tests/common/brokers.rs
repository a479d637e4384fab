//! Real brokers on loopback, what goes wrong between them and us, and who is right in the end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report of a test")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use appmon::forward::{Codec, Encoder, Host, Message, MessageId, Outcome, Publish};
use appmon::{Result, Sample, Snapshot};
use rustix::process::{Pid, Signal, WaitOptions};
use serde::{Deserialize, Serialize};

use crate::until;

/// A port of loopback that nobody uses now. It is none of those the kernel gives to whoever connects: one of them could be taken
/// before the broker is there, even by what waits for it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 20_000) as u16;
    loop {
        let port = 10_000 + (first + 7 * NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A broker of this test, which ends with it.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    /// Starts it, and waits until it listens on `port`.
    pub fn start(command: &mut Command, port: u16) -> Self {
        let name = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut broker = Self { child: child.unwrap_or_else(|error| panic!("{}: {error}", name.display())), port };
        until("the broker listens", || {
            assert!(broker.child.try_wait().unwrap().is_none(), "{} ended", name.display());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        broker
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Holds it up, from when this returns: connections stay, nothing is answered.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let pid = Pid::from_child(&self.child);
        let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "{status:?}");
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Has it read its configuration again, a moment later.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// What stands between a client and its broker, and can go wrong.
#[derive(Clone, Debug)]
pub struct Proxy {
    port: u16,
    target: Arc<AtomicU16>,
    advertised: Arc<AtomicBool>,
    state: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

const PASS: u8 = 0;
const SWALLOW: u8 = 1;
const REFUSE: u8 = 2;

impl Proxy {
    /// Passes on to `port`.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            target: Arc::new(AtomicU16::new(port)),
            advertised: Arc::default(),
            state: Arc::default(),
            open: Arc::default(),
        };
        let shared = proxy.clone();
        // It ends with the test program.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.state.load(Ordering::SeqCst) == REFUSE {
                    continue;
                }
                let port = shared.target.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                shared.open.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                shared.pump(client.try_clone().unwrap(), server.try_clone().unwrap(), None);
                shared.pump(server, client, shared.advertised.load(Ordering::SeqCst).then_some(port));
            }
        });
        proxy
    }

    /// `hide` is the port that its answers are not to name.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, hide: Option<u16>) {
        let state = Arc::clone(&self.state);
        let own = self.port;
        thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count) = from.read(&mut buffer)
                && count > 0
            {
                if let Some(port) = hide {
                    rename(&mut buffer[..count], port, own);
                }
                if state.load(Ordering::SeqCst) != SWALLOW && to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    /// For brokers that tell clients where to connect, as Kafka's: what they say of themselves is said of the proxy.
    pub fn advertised(self) -> Self {
        self.advertised.store(true, Ordering::SeqCst);
        self
    }

    /// Passes new connections on to another port.
    pub fn redirect(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether somebody connected since the last cut.
    pub fn has_connections(&self) -> bool {
        !self.open.lock().unwrap().is_empty()
    }

    /// From now on nothing comes through, and nobody is told: a half-open connection.
    pub fn swallow(&self) {
        self.state.store(SWALLOW, Ordering::SeqCst);
    }

    /// Ends all connections and takes no others.
    pub fn refuse(&self) {
        self.state.store(REFUSE, Ordering::SeqCst);
        self.cut();
    }

    /// Ends all connections.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Passes on again; what was swallowed is gone, and so are the connections it was missing in.
    pub fn pass(&self) {
        self.cut();
        self.state.store(PASS, Ordering::SeqCst);
    }
}

/// Replaces an address of loopback in an answer of Kafka: the host as text, the port as 32 bits after it.
pub fn rename(answer: &mut [u8], from: u16, to: u16) {
    let address = |port: u16| [&b"127.0.0.1\0\0"[..], &port.to_be_bytes()].concat();
    let (from, to) = (address(from), address(to));
    let mut at = 0;
    while let Some(found) = answer[at..].windows(from.len()).position(|window| window == from) {
        answer[at + found..at + found + to.len()].copy_from_slice(&to);
        at += found + to.len();
    }
}

/// A sample of the tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub number: u64,
    pub text: String,
}

impl Sample for Reading {
    const KIND: &'static str = "reading";
    type Key = u64;

    fn key(&self) -> u64 {
        self.number
    }
}

/// The `seq`-th snapshot, of `count` samples.
pub fn snapshot(seq: u64, count: u64) -> Snapshot<Reading> {
    let text = format!("of snapshot {seq}: ü \"quoted\"");
    let mut snapshot: Snapshot<_> = (0..count).map(|number| Reading { number, text: text.clone() }).collect();
    snapshot.seq = seq;
    snapshot
}

/// What a relay of three hosts has of `count` ticks: the messages of each host have the same numbers.
pub fn relayed(count: u64) -> Vec<Message> {
    let mut relay = Encoder::new(Host::new("relay").unwrap());
    let of = |seq, host: &str| {
        let mut snapshot = snapshot(seq, 1);
        snapshot.host = Some(host.into());
        snapshot
    };
    let ticks = (0..count).flat_map(|seq| ["a", "b", "c"].map(|host| of(seq, host)));
    let messages: Vec<_> = ticks.flat_map(|snapshot| relay.encode(&snapshot).messages).collect();
    assert_eq!(messages[0].id, messages[1].id, "unique for its source only");
    messages
}

/// Of which source each message is, and its id there, in order.
pub fn identities(messages: &[Message]) -> Vec<(String, String)> {
    messages.iter().map(|message| (message.source(), message.id.to_string())).collect()
}

/// A broker with everything noted that goes to it, and what became of it.
#[derive(Debug)]
pub struct Recorded<P> {
    inner: P,
    log: Log,
}

/// What was sent, by its id, and whether it was accepted.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<BTreeMap<MessageId, (Message, bool)>>>);

impl<P> Recorded<P> {
    pub fn new(inner: P) -> (Self, Log) {
        let log = Log::default();
        (Self { inner, log: log.clone() }, log)
    }
}

impl<P: Publish> Publish for Recorded<P> {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        {
            let mut log = self.log.0.lock().unwrap();
            for message in batch {
                log.entry(message.id).or_insert_with(|| (message.clone(), false));
            }
        }
        let outcomes = self.inner.publish(batch).await;
        assert_eq!(outcomes.len(), batch.len(), "an outcome for each message");
        let mut log = self.log.0.lock().unwrap();
        for (message, outcome) in batch.iter().zip(&outcomes) {
            if outcome.is_accepted() {
                log.get_mut(&message.id).unwrap().1 = true;
            }
        }
        drop(log);
        outcomes
    }

    async fn check(&mut self) -> Option<Result<()>> {
        self.inner.check().await
    }

    fn codec(&self) -> Option<Codec> {
        self.inner.codec()
    }

    fn max_message_bytes(&self) -> Option<usize> {
        self.inner.max_message_bytes()
    }

    fn destination(&self) -> String {
        self.inner.destination()
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

impl Log {
    pub fn accepted(&self) -> Vec<Message> {
        self.0.lock().unwrap().values().filter(|(_, accepted)| *accepted).map(|(message, _)| message.clone()).collect()
    }

    /// Waits until so many were accepted.
    pub async fn until_accepted(&self, count: usize) {
        for _ in 0..12_000 {
            if self.accepted().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {count} messages accepted, but {}", self.accepted().len());
    }

    /// All that was accepted arrived, as it was, and the first of each in order.
    #[track_caller]
    pub fn check(&self, arrived: &[(MessageId, Vec<u8>)]) {
        let mut first: Vec<MessageId> = Vec::new();
        let mut payloads: BTreeMap<MessageId, &[u8]> = BTreeMap::new();
        for (id, payload) in arrived {
            match payloads.insert(*id, payload) {
                None => first.push(*id),
                Some(before) => assert_eq!(before, payload, "twice, and not the same: {id}"),
            }
        }
        let wrong = first.windows(2).find(|pair| pair[0] > pair[1]);
        assert!(wrong.is_none(), "out of order: {wrong:?}");
        for message in self.accepted() {
            let payload = payloads.get(&message.id).unwrap_or_else(|| panic!("accepted, and lost: {}", message.id));
            assert_eq!(*payload, &message.payload[..], "{}", message.id);
        }
    }
}
