//! MQTT on a real Mosquitto, and what goes wrong with it.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use appmon::ForwardExt;
use appmon::broker::mqtt::{Mqtt, Version};
use appmon::forward::{Codec, Encoder, Forwarder, Host, Message, MessageId, Outcome, Publish};
use futures::stream;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rumqttc_v5::mqttbytes::QoS;
use rumqttc_v5::{
    AckMode, AsyncClient, Broker as Target, BrokerSessionResumePolicy, ConnectionError, Event, EventLoop, MqttOptions,
    Packet, PublishProperties,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use common::brokers::{Broker, Log, Proxy, Recorded, free_port, identities, relayed, snapshot};
use common::{require, until};

/// Mosquitto's files, and how it is started. Mosquitto itself can come and go.
struct Mosquitto {
    folder: TempDir,
    port: u16,
    options: String,
}

impl Mosquitto {
    /// `None` where it is not installed.
    fn new(options: &str) -> Option<Self> {
        let installed = program("mosquitto").is_some();
        if !require(installed, "mosquitto (Debian: mosquitto)") {
            return None;
        }
        Some(Self { folder: tempfile::tempdir().unwrap(), port: free_port(), options: options.to_owned() })
    }

    /// The same, for anybody.
    fn open(options: &str) -> Option<Self> {
        Self::new(&format!("allow_anonymous true\n{options}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Broker {
        // Subscribers get everything at once: what waits for their acknowledgements would be lost when the broker is killed.
        let config = format!(
            "listener {} 127.0.0.1\nuser root\nset_tcp_nodelay true\nmax_inflight_messages 0\npersistence_location {}/\n{}\n",
            self.port,
            self.folder.path().display(),
            self.options
        );
        let path = self.path("mosquitto.conf");
        std::fs::write(&path, config).unwrap();
        Broker::start(Command::new(program("mosquitto").unwrap()).arg("-c").arg(&path), self.port)
    }

    fn sink(&self) -> Mqtt {
        sink(self.port)
    }
}

fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

fn sink(port: u16) -> Mqtt {
    connect(&format!("mqtt://127.0.0.1:{port}"))
}

/// A sink that connects when it publishes.
fn connect(url: &str) -> Mqtt {
    Mqtt::new(url).unwrap()
}

fn encoder() -> Encoder {
    Encoder::new(Host::new("web-17/ü").unwrap())
}

/// The next messages of an encoder.
fn messages(encoder: &mut Encoder, count: u64) -> Vec<Message> {
    (0..count).flat_map(|seq| encoder.encode(&snapshot(seq, 3)).messages).collect()
}

/// A message with a payload of about so many bytes.
fn large(encoder: &mut Encoder, bytes: usize) -> Message {
    let mut snapshot = snapshot(0, 1);
    snapshot.samples[0].text = "x".repeat(bytes);
    let mut encoded = encoder.encode(&snapshot).messages;
    assert_eq!(encoded.len(), 1);
    encoded.remove(0)
}

/// Publishes in batches until the broker has everything, or refused it for good, as a forwarder does.
async fn publish_all(sink: &mut impl Publish, messages: &[Message], batch: usize) {
    for batch in messages.chunks(batch) {
        let mut left = batch.to_vec();
        while !left.is_empty() {
            let outcomes = sink.publish(&left).await;
            let before = left.len();
            left = left
                .into_iter()
                .zip(&outcomes)
                .filter(|(_, outcome)| matches!(outcome, Outcome::Retry(_) | Outcome::Unknown(_)))
                .map(|(message, _)| message)
                .collect();
            if left.len() == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn publish_one(sink: &mut impl Publish, message: &Message) -> Outcome {
    let mut outcomes = sink.publish(std::slice::from_ref(message)).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

#[track_caller]
fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry(error) | Outcome::Unknown(error) | Outcome::Rejected(error) | Outcome::TooLarge(error) => {
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

/// What arrived, with its properties.
#[derive(Clone, Debug)]
struct ReceiveCounts {
    topic: String,
    payload: Vec<u8>,
    properties: PublishProperties,
}

/// The id and payload of a message; those of the event that it is, where it is a structured one of JSON.
fn event(arrived: &ReceiveCounts) -> Option<(MessageId, Vec<u8>)> {
    let id = arrived.properties.user_properties.iter().find(|(name, _)| name == "id");
    if let Some((_, id)) = id {
        return Some((id.parse().unwrap(), arrived.payload.clone()));
    }
    let event: serde_json::Value = serde_json::from_slice(&arrived.payload).unwrap();
    // Its data is the payload to the byte, and the last there is.
    let text = std::str::from_utf8(&arrived.payload).unwrap();
    let (_, data) = text.strip_suffix('}')?.split_once(",\"data\":")?;
    Some((event["id"].as_str()?.parse().unwrap(), data.as_bytes().to_vec()))
}

/// A subscriber of everything with a session that the broker keeps, which is there again when the broker is.
struct Reader {
    seen: Arc<Mutex<Seen>>,
    connections: watch::Receiver<u32>,
    client: AsyncClient,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    arrived: Vec<ReceiveCounts>,
    events: Vec<(MessageId, Vec<u8>)>,
    ids: BTreeSet<MessageId>,
}

impl Reader {
    async fn subscribe(port: u16) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (told, connections) = watch::channel(0);
        let (client, events) = AsyncClient::builder(reader_options(port)).unbounded().build();
        let task = tokio::spawn(read(client.clone(), events, Arc::clone(&seen), told));
        let mut reader = Self { seen, connections, client, task };
        reader.until_connected(1).await;
        reader
    }

    /// Waits until it was connected, and subscribed, so many times.
    async fn until_connected(&mut self, times: u32) {
        let wait = self.connections.wait_for(|count| *count >= times);
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("never connected").unwrap();
    }

    /// Leaves; the session stays.
    async fn leave(mut self) {
        self.client.try_disconnect_now().unwrap();
        (&mut self.task).await.unwrap();
    }

    fn arrived(&self) -> Vec<ReceiveCounts> {
        self.seen.lock().unwrap().arrived.clone()
    }

    fn events(&self) -> Vec<(MessageId, Vec<u8>)> {
        self.seen.lock().unwrap().events.clone()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        for _ in 0..6_000 {
            if condition(&self.seen.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}; {} messages arrived", self.seen.lock().unwrap().arrived.len());
    }

    async fn until_arrived(&self, count: usize) {
        self.until(&format!("{count} messages"), |seen| seen.arrived.len() >= count).await;
    }

    /// Waits for all that was accepted until now.
    async fn until_all_of(&self, log: &Log) {
        let accepted: Vec<_> = log.accepted().iter().map(|message| message.id).collect();
        self.until("all accepted messages", |seen| accepted.iter().all(|id| seen.ids.contains(id))).await;
    }

    /// Everything accepted is here, as it was, and in order.
    async fn check(&self, log: &Log) {
        self.until_all_of(log).await;
        log.check(&self.events());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn reader_options(port: u16) -> MqttOptions {
    let mut options = MqttOptions::new("reader", Target::tcp("127.0.0.1", port));
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(u32::MAX))
        .set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly)
        // A broker that is killed with an acknowledgement of ours unread resets the connection, and what was in it is lost to
        // us. So there is none; what came before comes again.
        .set_ack_mode(AckMode::Manual)
        // The library drops what it read together with the end of the connection.
        .set_read_batch_size(1)
        .set_unlimited_incoming_packet_size();
    options
}

async fn read(client: AsyncClient, mut events: EventLoop, seen: Arc<Mutex<Seen>>, told: watch::Sender<u32>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) if !ack.session_present => {
                client.try_subscribe("#", QoS::AtLeastOnce).unwrap();
            }
            Ok(Event::Incoming(Packet::ConnAck(_) | Packet::SubAck(_))) => told.send_modify(|count| *count += 1),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let arrived = ReceiveCounts {
                    topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                    payload: publish.payload.to_vec(),
                    properties: publish.properties.unwrap_or_default(),
                };
                let mut seen = seen.lock().unwrap();
                if let Some(event) = event(&arrived) {
                    seen.ids.insert(event.0);
                    seen.events.push(event);
                }
                seen.arrived.push(arrived);
            }
            Ok(_) => {}
            Err(ConnectionError::RequestsDone) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn attributes_are_properties_in_5_and_a_document_in_3_1_1() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    let mut encoder = encoder();
    let message = messages(&mut encoder, 1).remove(0);
    let later = messages(&mut encoder, 1).remove(0);
    let mut packed = self::encoder().codec(Codec::MessagePack);
    let packed = messages(&mut packed, 1).remove(0);

    let mut v5 = mosquitto.sink().expiry(Duration::from_secs(3600));
    assert!(publish_one(&mut v5, &message).await.is_accepted());
    let mut v311 = mosquitto.sink().version(Version::V311);
    for message in [&later, &packed] {
        assert!(publish_one(&mut v311, message).await.is_accepted());
    }
    reader.until_arrived(3).await;
    let arrived = reader.arrived();
    assert_eq!(arrived[0].topic, "appmon/reading/web-17%2F%C3%BC");
    assert_eq!(arrived[0].payload, message.payload);
    assert_eq!(arrived[0].properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(arrived[0].properties.message_expiry_interval, Some(3600));
    let mut expected: Vec<(String, String)> = Vec::new();
    for (name, value) in message.attributes() {
        if name != "datacontenttype" {
            expected.push((name.to_owned(), value.into_owned()));
        }
    }
    assert_eq!(arrived[0].properties.user_properties, expected);

    assert_eq!(arrived[1].topic, arrived[0].topic);
    assert_eq!(arrived[1].payload, later.structured());
    assert_eq!(event(&arrived[1]).unwrap(), (later.id, later.payload.to_vec()));
    assert_eq!(arrived[2].payload, packed.structured());
}

#[tokio::test]
async fn a_relay_brings_everything_of_all_hosts() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    let sent = relayed(10);
    publish_all(&mut mosquitto.sink(), &sent, 30).await;
    reader.until_arrived(30).await;
    let attribute = |arrived: &ReceiveCounts, name: &str| {
        let found = arrived.properties.user_properties.iter().find(|(found, _)| found == name);
        found.unwrap().1.clone()
    };
    let arrived: Vec<_> =
        reader.arrived().iter().map(|arrived| (attribute(arrived, "source"), attribute(arrived, "id"))).collect();
    assert_eq!(arrived, identities(&sent));
}

/// Through a proxy that goes wrong in several ways.
async fn everything_arrives(version: Version) {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    let proxy = Proxy::to(mosquitto.port);
    let (mut sink, log) = Recorded::new(sink(proxy.port()).version(version).timeout(Duration::from_secs(2)));
    let mut encoder = encoder();
    publish_all(&mut sink, &messages(&mut encoder, 300), 64).await;
    assert_eq!(log.accepted().len(), 300);

    let (stop, mut stopped) = watch::channel(false);
    let cutter = tokio::spawn({
        let proxy = proxy.clone();
        async move {
            let mut pause = 1;
            while !*stopped.borrow_and_update() {
                proxy.cut();
                pause = pause * 7 % 31 + 1;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    });
    publish_all(&mut sink, &messages(&mut encoder, 300), 20).await;
    stop.send(true).unwrap();
    cutter.await.unwrap();
    assert_eq!(log.accepted().len(), 600);

    proxy.swallow();
    let left = messages(&mut encoder, 20);
    let outcome = publish_one(&mut sink, &left[0]).await;
    assert!(matches!(outcome, Outcome::Unknown(_) | Outcome::Retry(_)), "{outcome:?}");
    proxy.pass();
    publish_all(&mut sink, &left, 7).await;
    assert_eq!(log.accepted().len(), 620);

    proxy.refuse();
    let left = messages(&mut encoder, 20);
    let outcome = publish_one(&mut sink, &left[0]).await;
    assert!(matches!(outcome, Outcome::Retry(_) | Outcome::Unknown(_)), "{outcome:?}");
    proxy.pass();
    publish_all(&mut sink, &left, 7).await;
    sink.close().await;
    reader.check(&log).await;
}

#[tokio::test]
async fn everything_arrives_over_bad_connections_5() {
    everything_arrives(Version::V5).await;
}

#[tokio::test]
async fn everything_arrives_over_bad_connections_3_1_1() {
    everything_arrives(Version::V311).await;
}

/// A broker that is stopped for longer than the timeout holds what it has; nothing of it is lost or late.
#[tokio::test]
async fn a_broker_that_is_stopped_and_goes_on_gets_everything() {
    for version in [Version::V5, Version::V311] {
        let Some(mosquitto) = Mosquitto::open("") else { return };
        let broker = mosquitto.start();
        let reader = Reader::subscribe(mosquitto.port).await;
        let (mut sink, log) = Recorded::new(mosquitto.sink().version(version).timeout(Duration::from_millis(300)));
        let mut encoder = encoder();
        publish_all(&mut sink, &messages(&mut encoder, 20), 5).await;
        broker.stop();
        let left = messages(&mut encoder, 50);
        // The connection, and one that is only half made.
        for _ in 0..3 {
            let outcomes = sink.publish(&left[..20]).await;
            for outcome in &outcomes {
                assert!(matches!(outcome, Outcome::Unknown(_) | Outcome::Retry(_)), "{outcome:?}");
            }
            assert!(text(&outcomes[0]).contains(" within 300ms"), "{outcomes:?}");
        }
        assert!(sink.check().await.unwrap().is_err());
        broker.go_on();
        // It answers, but it did not answer to these: that is no message's fault.
        let answers = async { while sink.check().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(60), answers).await.unwrap();
        publish_all(&mut sink, &left, 20).await;
        assert!(sink.check().await.unwrap().is_ok());
        assert_eq!(log.accepted().len(), 70);
        reader.check(&log).await;
    }
}

#[tokio::test]
async fn a_broker_may_start_after_us() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    for version in [Version::V5, Version::V311] {
        let mut sink = mosquitto.sink().version(version);
        let message = messages(&mut encoder(), 1).remove(0);
        let outcome = publish_one(&mut sink, &message).await;
        assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
        let named = format!("mqtt://127.0.0.1:{}: not connected", mosquitto.port);
        assert!(text(&outcome).starts_with(&named), "{outcome:?}");
        let broker = mosquitto.start();
        let outcome = publish_one(&mut sink, &message).await;
        assert!(outcome.is_accepted(), "{outcome:?}");
        broker.kill();
        sink.close().await;
    }
}

/// Killed while messages are on their way; what it has, a subscriber that is there has too.
async fn killed(options: &str, version: Version, require_subscribers: bool) {
    let Some(mosquitto) = Mosquitto::open(options) else { return };
    let mut broker = mosquitto.start();
    let mut reader = Reader::subscribe(mosquitto.port).await;
    let sink = mosquitto.sink().version(version).require_subscribers(require_subscribers);
    let (mut sink, log) = Recorded::new(sink.timeout(Duration::from_secs(2)));
    let mut encoder = encoder();
    let all = messages(&mut encoder, 600);
    let publisher = tokio::spawn(async move {
        publish_all(&mut sink, &all, 10).await;
        sink.close().await;
    });
    for times in 1..4 {
        // What waits for a subscriber that is away ends with the broker, or with what it did not save yet.
        reader.until_connected(times).await;
        reader.until_all_of(&log).await;
        log.until_accepted(log.accepted().len() + 30).await;
        broker.kill();
        broker = mosquitto.start();
    }
    publisher.await.unwrap();
    assert_eq!(log.accepted().len(), 600);
    reader.check(&log).await;
}

const SAVES_EVERY_CHANGE: &str =
    "persistence true\nautosave_on_changes true\nautosave_interval 1\nmax_queued_messages 0";

#[tokio::test]
async fn killed_and_restarted_with_its_data_5() {
    killed(SAVES_EVERY_CHANGE, Version::V5, false).await;
}

#[tokio::test]
async fn killed_and_restarted_with_its_data_3_1_1() {
    killed(SAVES_EVERY_CHANGE, Version::V311, false).await;
}

/// The new broker knows no subscriber: what is published before one comes back waits, when it is told to.
#[tokio::test]
async fn killed_and_restarted_without_its_data() {
    killed("persistence false", Version::V5, true).await;
}

/// What a broker acknowledged for a session is worth what it does with it; that is why the documentation says so.
#[tokio::test]
async fn what_waits_in_a_broker_ends_with_it_unless_it_was_saved() {
    for (options, arrives) in [("persistence false", 0), (SAVES_EVERY_CHANGE, 30)] {
        let Some(mosquitto) = Mosquitto::open(options) else { return };
        let broker = mosquitto.start();
        Reader::subscribe(mosquitto.port).await.leave().await;
        let mut sink = mosquitto.sink();
        for message in &messages(&mut encoder(), 30) {
            assert!(matches!(publish_one(&mut sink, message).await, Outcome::Accepted));
        }
        if arrives > 0 {
            // It saves after it acknowledged.
            let database = mosquitto.path("mosquitto.db");
            until("the database holds the last message", || {
                std::fs::read(&database).is_ok_and(|bytes| bytes.windows(16).any(|at| at == b"000000000000001d"))
            });
        }
        broker.kill();
        let _broker = mosquitto.start();
        let reader = Reader::subscribe(mosquitto.port).await;
        let message = messages(&mut encoder(), 1).remove(0);
        publish_all(&mut sink, &[message], 1).await;
        reader.until_arrived(arrives + 1).await;
        assert_eq!(reader.arrived().len(), arrives + 1);
    }
}

#[tokio::test]
async fn who_subscribed_can_be_asked_for() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let _broker = mosquitto.start();
    let message = messages(&mut encoder(), 1).remove(0);
    let mut careless = mosquitto.sink();
    assert!(matches!(publish_one(&mut careless, &message).await, Outcome::Accepted));
    let mut careful = mosquitto.sink().require_subscribers(true);
    let outcome = publish_one(&mut careful, &message).await;
    assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
    assert!(text(&outcome).contains("nobody subscribed"), "{outcome:?}");
    let mut old = mosquitto.sink().require_subscribers(true).version(Version::V311);
    let outcome = publish_one(&mut old, &message).await;
    assert!(matches!(outcome, Outcome::Retry(_)) && text(&outcome).contains("3.1.1"), "{outcome:?}");

    let reader = Reader::subscribe(mosquitto.port).await;
    assert!(matches!(publish_one(&mut careful, &message).await, Outcome::Accepted));
    reader.until_arrived(1).await;
}

#[tokio::test]
async fn passwords() {
    let Some(mosquitto) = Mosquitto::new("") else { return };
    if !require(program("mosquitto_passwd").is_some(), "mosquitto_passwd") {
        return;
    }
    let passwords = mosquitto.path("passwords");
    let made = Command::new(program("mosquitto_passwd").unwrap())
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["me", "p@ss/w0rd"])
        .status();
    assert!(made.unwrap().success());
    let mosquitto = Mosquitto { options: format!("password_file {}", passwords.display()), ..mosquitto };
    let _broker = mosquitto.start();
    let message = messages(&mut encoder(), 1).remove(0);
    for version in [Version::V5, Version::V311] {
        for user in ["", "me:s3cret@", "me@"] {
            let url = format!("mqtt://{user}127.0.0.1:{}", mosquitto.port);
            let mut sink = connect(&url).version(version);
            let outcome = publish_one(&mut sink, &message).await;
            assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
            assert!(text(&outcome).contains("refuses this user or password"), "{outcome:?}");
            assert!(!text(&outcome).contains("s3cret"), "{outcome:?}");
        }
        let url = format!("mqtt://me:p%40ss%2Fw0rd@127.0.0.1:{}", mosquitto.port);
        let mut sink = connect(&url).version(version);
        let outcome = publish_one(&mut sink, &message).await;
        assert!(outcome.is_accepted(), "{outcome:?}");
        let mut sink = mosquitto.sink().credentials("me", "p@ss/w0rd").version(version);
        assert!(publish_one(&mut sink, &message).await.is_accepted());
    }
}

#[tokio::test]
async fn who_may_not_publish_is_told_so_in_5_alone() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let rules = mosquitto.path("rules");
    std::fs::write(&rules, "topic write allowed/#\ntopic read #\n").unwrap();
    let mosquitto = Mosquitto { options: format!("allow_anonymous true\nacl_file {}", rules.display()), ..mosquitto };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    let mut encoder = encoder();
    let message = messages(&mut encoder, 1).remove(0);
    let mut sink = mosquitto.sink();
    let outcome = publish_one(&mut sink, &message).await;
    assert!(matches!(outcome, Outcome::Retry(_)), "the message is not at fault: {outcome:?}");
    assert!(text(&outcome).contains("appmon/reading/web-17%2F%C3%BC: this user may not publish"), "{outcome:?}");
    // As the documentation says.
    assert!(publish_one(&mut mosquitto.sink().version(Version::V311), &message).await.is_accepted());

    let mut sink = mosquitto.sink().topic("allowed/{kind}");
    let later = messages(&mut encoder, 1).remove(0);
    assert!(publish_one(&mut sink, &later).await.is_accepted());
    reader.until_arrived(1).await;
    assert_eq!(reader.events(), [(later.id, later.payload.to_vec())]);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_nothing_else() {
    let Some(mosquitto) = Mosquitto::open("max_packet_size 20000") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    let mut encoder = encoder();
    let mut sink = mosquitto.sink();
    assert_eq!(sink.max_message_bytes(), None);
    let mut batch = messages(&mut encoder, 2);
    batch.insert(1, large(&mut encoder, 20_000));
    let outcomes = sink.publish(&batch).await;
    assert!(matches!(outcomes[..], [Outcome::Accepted, Outcome::TooLarge(_), Outcome::Accepted]), "{outcomes:?}");
    assert!(text(&outcomes[1]).contains("but it takes 20000"), "{outcomes:?}");

    // With what a forwarder takes off for the attributes, all that is as large as we say fits.
    let fits = sink.max_message_bytes().unwrap();
    assert_eq!(fits, 20_000);
    let head = large(&mut encoder, 0).payload.len();
    assert!(publish_one(&mut sink, &large(&mut encoder, fits - 2048 - head)).await.is_accepted());
    let (mut old, log) = Recorded::new(mosquitto.sink().version(Version::V311).max_packet_bytes(20_000));
    let fits = old.max_message_bytes().unwrap() - 2048;
    let mut packed = self::encoder().codec(Codec::MessagePack);
    assert!(publish_one(&mut old, &large(&mut packed, fits - head)).await.is_accepted());
    assert!(publish_one(&mut old, &large(&mut encoder, fits - head)).await.is_accepted());
    let outcome = publish_one(&mut old, &large(&mut encoder, 20_000)).await;
    assert!(matches!(outcome, Outcome::TooLarge(_)), "{outcome:?}");
    assert_eq!(log.accepted().len(), 2);
    reader.until_arrived(5).await;

    // Where nobody says how large it may be, the broker ends the connection of 3.1.1, and nobody knows why.
    let mut old = mosquitto.sink().version(Version::V311);
    let outcome = publish_one(&mut old, &large(&mut encoder, 20_000)).await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
}

/// The forwarder finds out which one it is, and goes on without it.
#[tokio::test]
async fn what_breaks_the_connection_is_set_aside() {
    let Some(mosquitto) = Mosquitto::open("max_packet_size 20000") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    let (sink, log) = Recorded::new(mosquitto.sink().version(Version::V311));
    let mut snapshots: Vec<_> = (0..20).map(|seq| snapshot(seq, 3)).collect();
    snapshots[7].samples[0].text = "x".repeat(30_000);
    let forwarder = Forwarder::new(sink).retry(Duration::from_millis(1), Duration::from_millis(10));
    let report = stream::iter(snapshots.into_iter().map(Ok)).forward_to(forwarder).await.unwrap();
    assert_eq!((report.accepted, report.dropped.rejected.messages), (19, 1), "{report:?}");
    reader.check(&log).await;
}

/// A stream of snapshots while the broker is killed again and again, and is away for a while.
#[tokio::test]
async fn a_forwarder_brings_everything_there() {
    let Some(mosquitto) = Mosquitto::open("persistence false") else { return };
    let mut broker = mosquitto.start();
    let mut reader = Reader::subscribe(mosquitto.port).await;
    let (sink, log) = Recorded::new(mosquitto.sink().require_subscribers(true));
    let forwarder = Forwarder::new(sink).retry(Duration::from_millis(5), Duration::from_millis(50)).batch(8, 1 << 20);
    let snapshots = stream::iter((0..500).map(|seq| Ok(snapshot(seq, 3))));
    let forwarding = tokio::spawn(snapshots.forward_to(forwarder));
    for times in 1..3 {
        reader.until_connected(times).await;
        reader.until_all_of(&log).await;
        log.until_accepted(log.accepted().len() + 20).await;
        broker.kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker = mosquitto.start();
    }
    let report = forwarding.await.unwrap().unwrap();
    assert!(report.is_complete() && report.accepted == 500, "{report:?}");
    reader.check(&log).await;
    broker.kill();
}

/// What waits when a forwarder ends is in its report, also when there is no broker.
#[tokio::test]
async fn a_forwarder_ends_also_without_a_broker() {
    let mut sink = sink(free_port());
    let message = messages(&mut encoder(), 1).remove(0);
    assert!(matches!(publish_one(&mut sink, &message).await, Outcome::Retry(_)));
    let forwarder = Forwarder::new(sink).deadline(Duration::from_millis(200));
    let report = stream::iter((0..50).map(|seq| Ok(snapshot(seq, 3)))).forward_to(forwarder).await.unwrap();
    assert!(report.is_balanced(), "{report:?}");
    assert_eq!((report.accepted, report.dropped.shutdown.messages), (0, 50), "{report:?}");
}

/// A limit of Mosquitto that it does not announce.
#[tokio::test]
async fn what_the_broker_alone_finds_too_large_is_refused_in_5() {
    let Some(mosquitto) = Mosquitto::open("message_size_limit 5000") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    let mut encoder = encoder();
    let (mut sink, log) = Recorded::new(mosquitto.sink());
    let mut batch = messages(&mut encoder, 2);
    batch.push(large(&mut encoder, 6_000));
    batch.extend(messages(&mut encoder, 2));
    let outcomes = sink.publish(&batch).await;
    assert!(outcomes[0].is_accepted() && outcomes[1].is_accepted(), "{outcomes:?}");
    assert!(matches!(outcomes[2], Outcome::TooLarge(_)), "{outcomes:?}");
    publish_all(&mut sink, &batch[3..], 10).await;
    assert_eq!(log.accepted().len(), 4);
    reader.check(&log).await;

    let mut old = mosquitto.sink().version(Version::V311);
    let outcome = publish_one(&mut old, &batch[2]).await;
    assert!(outcome.is_accepted(), "as the documentation says: {outcome:?}");
}

/// A queue of a session that is full drops what comes; the publisher is not told. With room again it goes on.
#[tokio::test]
async fn a_full_queue_of_a_session_loses_what_was_acknowledged() {
    let Some(mosquitto) = Mosquitto::open("max_queued_messages 5") else { return };
    let _broker = mosquitto.start();
    Reader::subscribe(mosquitto.port).await.leave().await;
    let mut sink = mosquitto.sink();
    let mut encoder = encoder();
    for message in &messages(&mut encoder, 30) {
        let outcome = publish_one(&mut sink, message).await;
        assert!(matches!(outcome, Outcome::Accepted), "{outcome:?}");
    }
    let reader = Reader::subscribe(mosquitto.port).await;
    let last = messages(&mut encoder, 1).remove(0);
    publish_all(&mut sink, std::slice::from_ref(&last), 1).await;
    reader.until_arrived(6).await;
    let arrived = reader.events();
    assert_eq!((arrived.len(), arrived.last().map(|(id, _)| *id)), (6, Some(last.id)));
}

#[tokio::test]
async fn retained_messages_wait_for_who_comes_later() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let _broker = mosquitto.start();
    let message = messages(&mut encoder(), 1).remove(0);
    assert!(publish_one(&mut mosquitto.sink().retain(true), &message).await.is_accepted());
    let reader = Reader::subscribe(mosquitto.port).await;
    reader.until_arrived(1).await;

    let Some(mosquitto) = Mosquitto::open("retain_available false") else { return };
    let _broker = mosquitto.start();
    let outcome = publish_one(&mut mosquitto.sink().retain(true), &message).await;
    assert!(matches!(outcome, Outcome::Retry(_)) && text(&outcome).contains("retains no messages"), "{outcome:?}");
}

/// A call that is given up at any point leaves nothing behind that could come out of order.
#[tokio::test]
async fn a_call_can_be_given_up() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    for version in [Version::V5, Version::V311] {
        *reader.seen.lock().unwrap() = Seen::default();
        let (mut sink, log) = Recorded::new(mosquitto.sink().version(version));
        for (round, batch) in messages(&mut encoder(), 400).chunks(20).enumerate() {
            let patience = Duration::from_micros(100 * u64::try_from(round).unwrap());
            let _ = tokio::time::timeout(patience, sink.publish(batch)).await;
            publish_all(&mut sink, batch, 20).await;
        }
        assert_eq!(log.accepted().len(), 400);
        reader.check(&log).await;
    }
}

/// An idle connection that ended is seen before anything is sent over it.
#[tokio::test]
async fn an_idle_connection_that_ended_is_made_anew() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    for version in [Version::V5, Version::V311] {
        let broker = mosquitto.start();
        let mut encoder = encoder();
        let mut sink = mosquitto.sink().version(version);
        assert!(publish_one(&mut sink, &messages(&mut encoder, 1)[0]).await.is_accepted());
        broker.kill();
        let _broker = mosquitto.start();
        // The runtime looks at its sockets.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let outcome = publish_one(&mut sink, &messages(&mut encoder, 1)[0]).await;
        assert!(outcome.is_accepted(), "{outcome:?}");
    }
}

/// Nobody answers for an idle connection: after one keep-alive time the next message comes with a ping, and some time later the
/// broker has ended it.
#[tokio::test]
async fn idle_for_longer_than_the_keep_alive_time() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    let _broker = mosquitto.start();
    let reader = Reader::subscribe(mosquitto.port).await;
    for version in [Version::V5, Version::V311] {
        *reader.seen.lock().unwrap() = Seen::default();
        let (mut sink, log) = Recorded::new(mosquitto.sink().version(version).keep_alive(Duration::from_secs(1)));
        let messages = messages(&mut encoder(), 4);
        for (message, idle) in messages.iter().zip([0, 1_100, 1_100, 2_600]) {
            tokio::time::sleep(Duration::from_millis(idle)).await;
            publish_all(&mut sink, std::slice::from_ref(message), 1).await;
        }
        assert_eq!(log.accepted().len(), 4);
        reader.check(&log).await;
    }
}

#[tokio::test]
async fn closing_ends_also_when_nobody_answers() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    for version in [Version::V5, Version::V311] {
        let broker = mosquitto.start();
        let mut sink = mosquitto.sink().version(version).timeout(Duration::from_millis(500));
        let message = messages(&mut encoder(), 1).remove(0);
        assert!(publish_one(&mut sink, &message).await.is_accepted());
        broker.stop();
        sink.close().await;
        sink.close().await;
        broker.go_on();
        // Closed is not the end.
        assert!(publish_one(&mut sink, &message).await.is_accepted());
        broker.kill();
        sink.close().await;
        assert!(matches!(publish_one(&mut sink, &message).await, Outcome::Retry(_)));
        sink.close().await;
    }
}

/// By another reader than the library that we publish with.
#[tokio::test]
async fn mosquitto_sub_reads_it() {
    let Some(mosquitto) = Mosquitto::open("") else { return };
    if !require(program("mosquitto_sub").is_some(), "mosquitto_sub (Debian: mosquitto-clients)") {
        return;
    }
    let _broker = mosquitto.start();
    let port = mosquitto.port.to_string();
    let read = |version: &str, format: &str| {
        let arguments = ["-p", &port, "-q", "1", "-V", version, "-t", "appmon/#", "-C", "2", "-F", format];
        let mut command = Command::new(program("mosquitto_sub").unwrap());
        command.args(["-h", "127.0.0.1"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut encoder = encoder();
    for (version, named, format) in [(Version::V5, "mqttv5", "%t %C %P|%p"), (Version::V311, "mqttv311", "%t %p")] {
        let reader = read(named, format);
        let message = messages(&mut encoder, 1).remove(0);
        // Once somebody gets this one, it has subscribed.
        let mut probe = mosquitto.sink().require_subscribers(true).topic("appmon/probe");
        publish_all(&mut probe, std::slice::from_ref(&message), 1).await;
        let mut sink = mosquitto.sink().version(version);
        publish_all(&mut sink, std::slice::from_ref(&message), 1).await;
        let output = reader.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let topic = "appmon/reading/web-17%2F%C3%BC";
        let expected = match version {
            Version::V311 => format!("{topic} {}", std::str::from_utf8(&message.structured()).unwrap()),
            _ => {
                let properties = message.attributes().into_iter().filter(|(name, _)| *name != "datacontenttype");
                let properties: Vec<_> = properties.map(|(name, value)| format!("{name}:{value}")).collect();
                let payload = std::str::from_utf8(&message.payload).unwrap();
                format!("{topic} application/json {}|{payload}", properties.join(" "))
            }
        };
        assert_eq!(text.lines().nth(1), Some(&*expected));
    }
}

/// A certificate authority, and what it signed.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names, and its key.
    fn sign(&self, names: &[&str], common: &str) -> (Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A configuration that trusts it, with a client certificate if there is one.
    fn client(&self, certificate: Option<(Certificate, KeyPair)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        match certificate {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        }
    }
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() {
    let Some(mosquitto) = Mosquitto::new("") else { return };
    let authority = Authority::new();
    let (certificate, key) = authority.sign(&["localhost"], "broker");
    std::fs::write(mosquitto.path("ca.pem"), authority.certificate.pem()).unwrap();
    std::fs::write(mosquitto.path("broker.pem"), certificate.pem()).unwrap();
    std::fs::write(mosquitto.path("broker.key"), key.serialize_pem()).unwrap();
    let path = |name| mosquitto.path(name).display().to_string();
    let options = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuse_identity_as_username true",
        path("ca.pem"),
        path("broker.pem"),
        path("broker.key")
    );
    let mosquitto = Mosquitto { options, ..mosquitto };
    let _broker = mosquitto.start();
    let message = messages(&mut encoder(), 1).remove(0);
    let url = |host: &str| format!("mqtts://{host}:{}", mosquitto.port);
    for version in [Version::V5, Version::V311] {
        let sink = |host: &str| connect(&url(host)).version(version);
        let ours = || authority.client(Some(authority.sign(&[], "web-17")));
        let outcome = publish_one(&mut sink("localhost").tls(ours()), &message).await;
        assert!(outcome.is_accepted(), "{outcome:?}");
        // Nobody who is not trusted, or not named, or not allowed.
        let other = Authority::new();
        for (case, mut sink) in [
            ("another authority", sink("localhost").tls(other.client(Some(other.sign(&[], "web-17"))))),
            ("the system's roots", sink("localhost")),
            ("another name", sink("127.0.0.1").tls(ours())),
            ("no certificate of ours", sink("localhost").tls(authority.client(None))),
            ("no TLS", connect(&format!("mqtt://localhost:{}", mosquitto.port)).version(version)),
        ] {
            let outcome = publish_one(&mut sink, &message).await;
            assert!(matches!(outcome, Outcome::Retry(_)), "{case}: {outcome:?}");
        }
    }
}
