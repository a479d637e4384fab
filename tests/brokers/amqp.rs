//! AMQP 0.9.1, on real RabbitMQ.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use appmon::ForwardExt;
use appmon::broker::amqp::Amqp;
use appmon::forward::{Encoder, Forwarder, Host, Message, MessageId, Outcome, Publish};
use common::brokers::{Broker, Proxy, Recorded, free_port, identities, relayed, snapshot};
use common::certificates::Certificates;
use common::{require, until};
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// A broker with its data in a folder of its own.
struct Rabbit {
    broker: Option<Broker>,
    setup: Setup,
}

struct Setup {
    folder: tempfile::TempDir,
    port: u16,
    tls_port: u16,
    distribution_port: u16,
    certificates: Certificates,
    /// Erlang's name server: where none runs, the broker starts one that outlives it.
    names: Broker,
}

impl Setup {
    fn new() -> Option<Self> {
        if !require(Path::new(SERVER).exists(), "rabbitmq-server") {
            return None;
        }
        let names_port = free_port();
        let mut names = Command::new("epmd");
        names.args(["-port", &names_port.to_string(), "-address", "127.0.0.1"]);
        let setup = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            tls_port: free_port(),
            distribution_port: free_port(),
            certificates: Certificates::new(),
            names: Broker::start(&mut names, names_port),
        };
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| setup.certificates.path(name));
        let settings = format!(
            "listeners.ssl.default = 127.0.0.1:{}\nssl_options.cacertfile = {ca}\nssl_options.certfile = {certificate}\n\
             ssl_options.keyfile = {key}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n\
             max_message_size = 1000000\n",
            setup.tls_port
        );
        std::fs::write(setup.folder.path().join("rabbitmq.conf"), settings).unwrap();
        Some(setup)
    }

    fn name(&self) -> String {
        format!("appmon{}@localhost", self.port)
    }

    /// One of RabbitMQ's programs, which is then the broker itself and no shell around it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.path();
        command.env("HOME", folder).env("RUNNING_UNDER_SYSTEMD", "1").env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_NODENAME", self.name()).env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_NODE_PORT", self.port.to_string());
        command.env("RABBITMQ_DIST_PORT", self.distribution_port.to_string());
        command.env("ERL_EPMD_PORT", self.names.port().to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"));
        command.env("RABBITMQ_MNESIA_BASE", folder.join("data")).env("RABBITMQ_LOG_BASE", folder.join("log"));
        command
    }
}

impl Rabbit {
    fn start() -> Option<Self> {
        let mut rabbit = Self { broker: None, setup: Setup::new()? };
        rabbit.go();
        Some(rabbit)
    }

    fn go(&mut self) {
        self.broker = Some(Broker::start(&mut self.setup.command(SERVER), self.setup.port));
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.broker.take().unwrap().kill();
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = self.setup.command(CONTROL);
        let output = command.args(["-n", &self.setup.name()]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn url(&self) -> String {
        url(self.setup.port)
    }

    async fn admin(&self) -> Admin {
        Admin::new(&self.url()).await
    }
}

/// The broker of all tests that do it no harm; it ends with the last of them.
fn shared() -> Option<Arc<Rabbit>> {
    static SHARED: Mutex<Weak<Rabbit>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(rabbit) = shared.upgrade() {
        return Some(rabbit);
    }
    let rabbit = Arc::new(Rabbit::start()?);
    *shared = Arc::downgrade(&rabbit);
    Some(rabbit)
}

fn url(port: u16) -> String {
    format!("amqp://127.0.0.1:{port}")
}

/// What an operator does.
struct Admin {
    _connection: Connection,
    channel: Channel,
}

impl Admin {
    async fn new(url: &str) -> Self {
        // A broker that listens may still be starting.
        for _ in 0..1000 {
            if let Ok(connection) = Connection::connect(url, ConnectionProperties::default()).await {
                let channel = connection.create_channel().await.unwrap();
                return Self { _connection: connection, channel };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: a connection to {url}");
    }

    async fn exchange(&self, name: &str) {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        self.channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
    }

    async fn queue_with(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, arguments).await.unwrap();
    }

    async fn queue(&self, name: &str) {
        self.queue_with(name, FieldTable::default()).await;
    }

    async fn bind(&self, exchange: &str, queue: &str, key: &str) {
        let options = QueueBindOptions::default();
        self.channel
            .queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())
            .await
            .unwrap();
    }

    /// An exchange, with a queue of the same name for all that comes to it.
    async fn topology(&self, name: &str) {
        self.exchange(name).await;
        self.queue(name).await;
        self.bind(name, name, "#").await;
    }

    /// A queue that refuses what it has no room for.
    async fn small_queue(&self, name: &str, room: i32) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(room));
        arguments.insert("x-overflow".into(), AMQPValue::LongString(LongString::from("reject-publish")));
        self.queue_with(name, arguments).await;
    }

    async fn next(&self, queue: &str) -> Option<(MessageId, Vec<u8>, BasicProperties)> {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()?.delivery;
        let id = header(&got.properties, "cloudEvents:id").parse().unwrap();
        Some((id, got.data, got.properties))
    }

    /// Takes all out of a queue, in order.
    async fn drain(&self, queue: &str) -> Vec<(MessageId, Vec<u8>)> {
        let mut arrived = Vec::new();
        while let Some((id, data, _)) = self.next(queue).await {
            arrived.push((id, data));
        }
        arrived
    }
}

fn header(properties: &BasicProperties, name: &str) -> String {
    let headers = properties.headers().as_ref().unwrap().inner();
    headers.get(name).unwrap().as_long_string().unwrap().to_string()
}

fn messages_of(host: &str, count: u64) -> Vec<Message> {
    let mut encoder = Encoder::new(Host::new(host).unwrap());
    (0..count).flat_map(|seq| encoder.encode(&snapshot(seq, 3)).messages).collect()
}

fn messages(count: u64) -> Vec<Message> {
    messages_of("web-17", count)
}

async fn connect(url: &str) -> Amqp {
    Amqp::new(url).unwrap()
}

/// Sends all of it, in batches, as often as needed.
async fn deliver(queue: &mut impl Publish, messages: Vec<Message>) {
    let mut left = messages;
    for _ in 0..100_000 {
        let batch: Vec<Message> = left.iter().take(20).cloned().collect();
        if batch.is_empty() {
            return;
        }
        let outcomes = queue.publish(&batch).await;
        assert!(!outcomes.iter().any(|outcome| matches!(outcome, Outcome::Rejected(_))), "{outcomes:?}");
        let mut outcomes = outcomes.iter();
        let before = left.len();
        left.retain(|_| outcomes.next().is_none_or(|outcome| !outcome.is_accepted()));
        if left.len() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    panic!("{} messages were never taken", left.len());
}

fn texts(outcomes: &[Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Retry(error) => format!("retry {error}"),
            Outcome::Unknown(error) => format!("unknown {error}"),
            Outcome::Rejected(error) => format!("rejected {error}"),
            Outcome::TooLarge(error) => format!("too large {error}"),
            other => format!("{other:?}"),
        })
        .collect()
}

/// All outcomes begin so.
#[track_caller]
fn assert_all(outcomes: &[Outcome], begin: &str, within: &str) {
    let texts = texts(outcomes);
    assert!(
        texts.iter().all(|text| text.starts_with(begin) && text.contains(within)),
        "not {begin} {within}: {texts:#?}"
    );
}

/// The broker closed the channel. What was on its way then is told so; what was not is only told that it was not sent.
#[track_caller]
fn assert_refused(outcomes: &[Outcome], why: &str) {
    let texts = texts(outcomes);
    let told = |text: &String| text.contains(why) || text.contains("not sent, as an earlier message may be lost");
    assert!(texts[0].contains(why) && texts.iter().all(told), "not {why}: {texts:#?}");
    assert!(!outcomes.iter().any(Outcome::is_accepted), "{texts:#?}");
}

#[tokio::test]
async fn messages_have_the_attributes_as_headers() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.exchange("appmon").await;
    admin.queue("attributes").await;
    admin.bind("appmon", "attributes", "reading.web-17").await;
    let mut queue = connect(&rabbit.url()).await;
    let sent = messages(2);
    assert_all(&queue.publish(&sent).await, "Accepted", "");
    for message in &sent {
        let (id, data, properties) = admin.next("attributes").await.unwrap();
        assert_eq!((id, &*data), (message.id, &*message.payload));
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(*properties.timestamp(), Some(message.time.as_unix_nanos() / 1_000_000_000));
        let text = |text: &Option<lapin::types::ShortString>| text.as_ref().unwrap().to_string();
        assert_eq!(text(properties.content_type()), "application/json");
        assert_eq!(text(properties.kind()), "appmon.reading.snapshot");
        assert_eq!(text(properties.app_id()), "appmon");
        assert_eq!(text(properties.message_id()), message.source_and_id());
        let headers: BTreeMap<String, String> = properties
            .headers()
            .as_ref()
            .unwrap()
            .inner()
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_long_string().unwrap().to_string()))
            .collect();
        let expected = message.attributes().into_iter().filter(|(name, _)| *name != "datacontenttype");
        let expected = expected.map(|(name, value)| (format!("cloudEvents:{name}"), value.into_owned()));
        assert_eq!(headers, expected.collect());
    }
    let destination = format!("amqp://127.0.0.1:{} appmon {{kind}}.{{host}}", rabbit.setup.port);
    assert_eq!(queue.destination(), destination);
    queue.close().await;
    assert_all(&queue.publish(&sent).await, "Accepted", "");
    assert!(queue.publish(&[]).await.is_empty());
    assert!(matches!(queue.check().await, Some(Ok(()))));
}

#[tokio::test]
async fn what_no_queue_takes_is_not_accepted_and_others_are() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.exchange("some").await;
    // In memory: then its confirmations come at once, for several messages together, and among them those of returned ones.
    admin.channel.queue_declare("some".into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
    let mut queue = connect(&rabbit.url()).await.exchange("some");
    let sent = messages(3);
    assert_all(&queue.publish(&sent).await, "retry", "");
    assert_all(&queue.publish(&sent).await[..1], "retry", "routing key reading.web-17: returned (312 NO_ROUTE)");
    admin.bind("some", "some", "*.even").await;
    // Returned messages come with the confirmations of others; each must be told by its id.
    let mut queue = connect(&rabbit.url()).await.exchange("some");
    let mut encoders = ["even", "odd"].map(|host| Encoder::new(Host::new(host).unwrap()));
    let batch: Vec<Message> =
        (0..200_usize).flat_map(|seq| encoders[seq % 3 % 2].encode(&snapshot(seq as u64, 1)).messages).collect();
    let outcomes = queue.publish(&batch).await;
    for (message, outcome) in batch.iter().zip(&outcomes) {
        let (begin, within) = if &*message.host == "even" { ("Accepted", "") } else { ("retry", "NO_ROUTE") };
        assert_all(std::slice::from_ref(outcome), begin, within);
    }
    let arrived: Vec<MessageId> = admin.drain("some").await.into_iter().map(|(id, _)| id).collect();
    let even = batch.iter().filter(|message| &*message.host == "even").map(|message| message.id);
    assert_eq!(arrived, even.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_relay_brings_everything_of_all_hosts() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.exchange("relay").await;
    admin.channel.queue_declare("relay".into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
    admin.bind("relay", "relay", "*.a").await;
    let mut queue = connect(&rabbit.url()).await.exchange("relay");
    let sent = relayed(50);
    let outcomes = queue.publish(&sent).await;
    for (message, outcome) in sent.iter().zip(&outcomes) {
        let begin = if &*message.host == "a" { "Accepted" } else { "retry" };
        assert_all(std::slice::from_ref(outcome), begin, "");
    }
    admin.bind("relay", "relay", "#").await;
    let left: Vec<_> = sent.iter().filter(|message| &*message.host != "a").cloned().collect();
    deliver(&mut queue, left.clone()).await;
    let mut arrived = Vec::new();
    while let Some((id, _, properties)) = admin.next("relay").await {
        arrived.push((header(&properties, "cloudEvents:source"), id.to_string()));
    }
    let of_a: Vec<_> = sent.iter().filter(|message| &*message.host == "a").cloned().collect();
    assert_eq!(arrived, [identities(&of_a), identities(&left)].concat());
}

#[tokio::test]
async fn no_exchange_is_waited_for() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    let (mut queue, log) = Recorded::new(connect(&rabbit.url()).await.exchange("later"));
    let sent = messages(60);
    assert_all(
        &queue.publish(&sent[..2]).await,
        "retry",
        "404 NOT_FOUND - no exchange 'later' in vhost '/'; declare it",
    );
    admin.topology("later").await;
    assert_all(&queue.publish(&sent[..20]).await, "Accepted", "");
    // It goes away while we are connected.
    admin.channel.exchange_delete("later".into(), ExchangeDeleteOptions::default()).await.unwrap();
    assert_refused(&queue.publish(&sent[20..40]).await, "404 NOT_FOUND");
    assert_all(&queue.publish(&sent[20..40]).await, "retry", "404 NOT_FOUND");
    admin.topology("later").await;
    assert_all(&queue.publish(&sent[20..40]).await, "Accepted", "");
    admin.channel.exchange_delete("later".into(), ExchangeDeleteOptions::default()).await.unwrap();
    assert_all(&queue.publish(&sent[40..41]).await, "retry", "404 NOT_FOUND");
    admin.topology("later").await;
    deliver(&mut queue, sent[40..].to_vec()).await;
    assert_eq!(log.accepted().len(), 60);
    log.check(&admin.drain("later").await);
}

#[tokio::test]
async fn one_queue_and_no_such_queue() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    let mut queue = connect(&rabbit.url()).await.queue("one {queue}");
    let sent = messages(5);
    assert_all(
        &queue.publish(&sent).await[..1],
        "retry",
        "routing key one {queue}: returned (312 NO_ROUTE): no queue for it",
    );
    admin.queue("one {queue}").await;
    deliver(&mut queue, sent).await;
    assert_eq!(admin.drain("one {queue}").await.len(), 5);
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.small_queue("full", 30).await;
    let (mut queue, log) = Recorded::new(connect(&rabbit.url()).await.queue("full"));
    let sent = messages(100);
    let outcomes = queue.publish(&sent[..60]).await;
    let taken = outcomes.iter().take_while(|outcome| outcome.is_accepted()).count();
    assert!((30..40).contains(&taken), "{taken}");
    assert_all(&outcomes[taken..], "retry", "basic.nack");
    assert_all(&queue.publish(&sent[taken..]).await[..1], "retry", "basic.nack");
    // Only the first was sent now.
    assert_all(&queue.publish(&sent[taken..]).await[1..], "retry", "not sent, as an earlier message was not taken");
    let mut arrived = admin.drain("full").await;
    let mut left = sent[taken..].to_vec();
    while !left.is_empty() {
        let outcomes = queue.publish(&left).await;
        let taken = outcomes.iter().take_while(|outcome| outcome.is_accepted()).count();
        assert!(!outcomes[taken..].iter().any(Outcome::is_accepted), "{outcomes:?}");
        left.drain(..taken);
        arrived.extend(admin.drain("full").await);
    }
    assert_eq!(log.accepted().len(), 100);
    log.check(&arrived);
}

#[tokio::test]
async fn one_in_flight_keeps_the_order_of_a_full_queue_that_is_read() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.small_queue("busy", 5).await;
    let queue = connect(&rabbit.url()).await.queue("busy").in_flight(1);
    let (mut queue, log) = Recorded::new(queue);
    let sending = tokio::spawn(async move { deliver(&mut queue, messages(300)).await });
    let mut arrived = Vec::new();
    while !sending.is_finished() || arrived.len() < 300 {
        arrived.extend(admin.drain("busy").await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sending.await.unwrap();
    assert_eq!(log.accepted().len(), 300);
    log.check(&arrived);
}

#[tokio::test]
async fn wrong_passwords_and_virtual_hosts() {
    let Some(rabbit) = shared() else { return };
    let port = rabbit.setup.port;
    let sent = messages(2);
    let mut wrong = connect(&format!("amqp://guest:wr0ng@127.0.0.1:{port}")).await;
    let outcomes = wrong.publish(&sent).await;
    assert_all(&outcomes, "retry", "403 ACCESS_REFUSED");
    assert_all(&outcomes, "retry", "give the right user and password");
    for text in texts(&outcomes).into_iter().chain([format!("{wrong:?}"), wrong.destination()]) {
        assert!(!text.contains("wr0ng"), "{text}");
    }
    assert!(matches!(wrong.check().await, Some(Err(_))));
    let mut nowhere = connect(&format!("amqp://127.0.0.1:{port}/nowhere")).await;
    assert_all(&nowhere.publish(&sent).await, "retry", "nowhere");
    assert_all(&nowhere.publish(&sent).await, "retry", "give a virtual host that exists");
}

#[tokio::test]
async fn without_permission_messages_wait_for_it() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.topology("allowed").await;
    admin.topology("forbidden").await;
    rabbit.control(&["add_user", "writer", "pw"]);
    rabbit.control(&["set_permissions", "writer", "^$", "^allowed$", "^$"]);
    let url = format!("amqp://writer:pw@127.0.0.1:{}", rabbit.setup.port);
    let sent = messages(3);
    // All that is needed is to write.
    assert_all(&connect(&url).await.exchange("allowed").publish(&sent).await, "Accepted", "");
    let mut queue = connect(&url).await.exchange("forbidden");
    assert_refused(&queue.publish(&sent).await, "403 ACCESS_REFUSED");
    assert_all(&queue.publish(&sent[..1]).await, "retry", "grant this user to write to the exchange");
    assert!(admin.drain("forbidden").await.is_empty());
    rabbit.control(&["set_permissions", "writer", "^$", "^(allowed|forbidden)$", "^$"]);
    deliver(&mut queue, sent).await;
    assert_eq!(admin.drain("forbidden").await.len(), 3);
}

#[tokio::test]
async fn too_large_messages_are_rejected_and_others_are_not() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.topology("large").await;
    let (mut queue, log) = Recorded::new(connect(&rabbit.url()).await.exchange("large"));
    let mut encoder = Encoder::new(Host::new("web-17").unwrap()).max_bytes(64 << 20);
    let sizes = [1, 20_000, 15_000, 1, 40_000, 1];
    let batch: Vec<Message> = sizes.iter().flat_map(|&size| encoder.encode(&snapshot(0, size)).messages).collect();
    assert!(batch[1].payload.len() > 1_000_000 && batch[2].payload.len() < 1_000_000);
    let outcomes = queue.publish(&batch).await;
    assert_all(&outcomes[1..2], "too large", "but it takes 1000000");
    assert_all(&outcomes[4..5], "too large", "but it takes 1000000");
    assert_eq!(queue.max_message_bytes(), Some(1_000_000));
    assert!(!outcomes[2..].iter().any(Outcome::is_accepted), "{outcomes:?}");
    let outcomes = queue.publish(&batch).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        let begin = if index == 1 || index == 4 { "too large" } else { "Accepted" };
        assert_all(std::slice::from_ref(outcome), begin, "");
    }
    log.check(&admin.drain("large").await);
    // A name that is too long, too.
    let mut queue = connect(&rabbit.url()).await;
    let long = messages_of(&"ü".repeat(120), 1);
    assert_all(&queue.publish(&long).await, "rejected", "at most 255");
}

#[tokio::test]
async fn a_half_open_connection_is_given_up() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.topology("half").await;
    let proxy = Proxy::to(rabbit.setup.port);
    let queue = connect(&url(proxy.port())).await.exchange("half").timeout(Duration::from_millis(500));
    let (mut queue, log) = Recorded::new(queue);
    let sent = messages(60);
    deliver(&mut queue, sent[..20].to_vec()).await;
    proxy.swallow();
    assert_all(&queue.publish(&sent[20..40]).await, "unknown", "no answer within 500ms");
    assert_all(&queue.publish(&sent[20..40]).await, "retry", "no connection within 500ms");
    assert!(matches!(queue.check().await, Some(Err(_))));
    proxy.pass();
    // It answers, but it did not answer to these: that is no message's fault.
    assert!(queue.check().await.is_none());
    deliver(&mut queue, sent[20..].to_vec()).await;
    assert!(matches!(queue.check().await, Some(Ok(()))));
    assert_eq!(log.accepted().len(), 60);
    log.check(&admin.drain("half").await);
}

#[tokio::test]
async fn connections_cut_again_and_again_under_a_forwarder() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.topology("cut").await;
    let proxy = Proxy::to(rabbit.setup.port);
    let (queue, log) = Recorded::new(connect(&url(proxy.port())).await.exchange("cut"));
    let forwarder = Forwarder::new(queue)
        .host("web-17")
        .batch(20, 1 << 20)
        .retry(Duration::from_millis(5), Duration::from_millis(50));
    let snapshots = futures::stream::iter((0..2000).map(|seq| Ok(snapshot(seq, 3))));
    let sending = tokio::spawn(snapshots.forward_to(forwarder));
    for count in (1..20).map(|step| step * 100) {
        log.until_accepted(count).await;
        proxy.cut();
    }
    let report = sending.await.unwrap().unwrap();
    assert_eq!((report.snapshots, report.accepted), (2000, 2000), "{report:?}");
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    assert_eq!(log.accepted().len(), 2000);
    log.check(&admin.drain("cut").await);
}

#[tokio::test]
async fn a_dropped_call_leaves_the_next_one_working() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.topology("dropped").await;
    let proxy = Proxy::to(rabbit.setup.port);
    let (mut queue, log) = Recorded::new(connect(&url(proxy.port())).await.exchange("dropped"));
    let sent = messages(60);
    assert_all(&queue.publish(&sent[..20]).await, "Accepted", "");
    proxy.swallow();
    let short = Duration::from_millis(200);
    assert!(tokio::time::timeout(short, queue.publish(&sent[20..40])).await.is_err());
    assert!(tokio::time::timeout(short, queue.publish(&sent[20..40])).await.is_err());
    proxy.pass();
    assert_all(&queue.publish(&sent[20..]).await, "Accepted", "");
    log.check(&admin.drain("dropped").await);
}

#[tokio::test]
async fn tls_with_a_certificate_of_the_client() {
    let Some(rabbit) = shared() else { return };
    let admin = rabbit.admin().await;
    admin.topology("secret").await;
    let url = format!("amqps://127.0.0.1:{}", rabbit.setup.tls_port);
    let certificates = &rabbit.setup.certificates;
    let connect = async |config| connect(&url).await.tls(config).exchange("secret");
    let mut queue = connect(certificates.client()).await;
    assert_all(&queue.publish(&messages(50)).await, "Accepted", "");
    assert!(queue.destination().starts_with(&url));
    queue.close().await;
    // Without it, and of somebody else.
    assert_all(&connect(certificates.stranger()).await.publish(&messages(1)).await, "retry", "");
    assert_all(&connect(Certificates::new().client()).await.publish(&messages(1)).await, "retry", "no connection");
    // The system's own roots know nothing of it.
    let mut queue = Amqp::new(&url).unwrap().exchange("secret");
    assert_all(&queue.publish(&messages(1)).await, "retry", "certificate");
    assert_eq!(admin.drain("secret").await.len(), 50);
}

/// The client's threads in this process.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).filter(|name| name.trim_end() == "lapin-io-loop").count()
}

#[test]
fn connections_given_up_leave_no_threads() {
    // In a process of its own, where nobody else has connections.
    if !common::inside("amqp::connections_given_up_leave_no_threads", &["env"]) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let silent = listener.local_addr().unwrap().port();
        for _ in 0..10 {
            let mut queue = connect(&url(silent)).await.timeout(Duration::from_millis(20));
            assert_all(&queue.publish(&messages(1)).await, "retry", "no connection within");
        }
        until("the client's threads have ended", || threads() == 0);
        let mut queue = connect(&url(silent)).await;
        let sending = tokio::spawn(async move { queue.publish(&messages(1)).await });
        until("the client has its thread", || threads() == 1);
        sending.abort();
        until("the client's thread has ended", || threads() == 0);
    });
}

#[tokio::test]
async fn wrong_settings_are_errors_at_once() {
    for (url, named) in [
        ("amqp://", "host"),
        ("http://host", "amqp://"),
        ("amqp:host", "amqp://"),
        ("amqp://:pa#s3cret@host", "%23"),
        ("amqp://:s3cret@host:port", "port"),
        ("amqp://host?heartbeat=s3cret", "digit"),
        (&format!("amqp://host/{}", "v".repeat(256)), "255"),
    ] {
        let error = Amqp::new(url).unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(named) && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }
    let queue = connect("amqp://user:s3cret@[::1]/metrics").await;
    assert_eq!(queue.destination(), "amqp://[::1]:5672/metrics appmon {kind}.{host}");
    assert!(!format!("{queue:?}").contains("s3cret"));
    assert!(queue.routing_key("a.*").validate().unwrap_err().is_config());
    assert!(connect("amqp://host").await.exchange("x".repeat(256)).validate().unwrap_err().is_config());
    assert!(connect("amqp://host").await.tls(Certificates::new().client()).validate().unwrap_err().is_config());
    assert!(connect("amqp://host").await.queue("").validate().unwrap_err().is_config());
}

#[tokio::test]
async fn started_after_us_stopped_and_held_up() {
    let Some(setup) = Setup::new() else { return };
    let mut rabbit = Rabbit { broker: None, setup };
    let queue = connect(&rabbit.url()).await.timeout(Duration::from_millis(1000));
    let (mut queue, log) = Recorded::new(queue);
    let sent = messages(120);
    assert_all(&queue.publish(&sent[..20]).await, "retry", "no connection");
    rabbit.go();
    let admin = rabbit.admin().await;
    admin.topology("appmon").await;
    deliver(&mut queue, sent[..20].to_vec()).await;

    // Stopped, for longer than the timeout.
    rabbit.broker().stop();
    assert_all(&queue.publish(&sent[20..40]).await, "unknown", "no answer within 1s");
    assert_all(&queue.publish(&sent[20..40]).await, "retry", "no connection within 1s");
    rabbit.broker().go_on();
    deliver(&mut queue, sent[20..60].to_vec()).await;

    // Its memory is short: it takes nothing from who publishes.
    rabbit.control(&["set_vm_memory_high_watermark", "0.00001"]);
    assert_all(&queue.publish(&sent[60..80]).await, "unknown", "connection.blocked");
    assert_all(&queue.publish(&sent[60..80]).await, "retry", "connection.blocked");
    // Nothing is to be taken for poison meanwhile.
    assert!(matches!(queue.check().await, Some(Err(_))));
    rabbit.control(&["set_vm_memory_high_watermark", "0.9"]);
    deliver(&mut queue, sent[60..].to_vec()).await;
    assert_eq!(log.accepted().len(), 120);
    log.check(&admin.drain("appmon").await);
}

#[tokio::test]
async fn killed_and_restarted_with_and_without_its_data() {
    let Some(mut rabbit) = Rabbit::start() else { return };
    let admin = rabbit.admin().await;
    admin.topology("appmon").await;
    drop(admin);
    let (mut queue, log) = Recorded::new(connect(&rabbit.url()).await);
    let sending = tokio::spawn(async move {
        deliver(&mut queue, messages(2000)).await;
        queue
    });
    log.until_accepted(500).await;
    rabbit.kill();
    rabbit.go();
    let mut queue = sending.await.unwrap();
    assert_eq!(log.accepted().len(), 2000);
    log.check(&rabbit.admin().await.drain("appmon").await);

    // It is down, and comes back with nothing.
    rabbit.kill();
    queue.close().await;
    let (mut queue, log) = Recorded::new(connect(&rabbit.url()).await);
    let sent = messages(50);
    assert_all(&queue.publish(&sent).await, "retry", "no connection");
    queue.close().await;
    std::fs::remove_dir_all(rabbit.setup.folder.path().join("data")).unwrap();
    rabbit.go();
    let admin = rabbit.admin().await;
    assert_all(&queue.publish(&sent).await, "retry", "404 NOT_FOUND - no exchange 'appmon'");
    admin.topology("appmon").await;
    deliver(&mut queue, sent).await;
    assert_eq!(log.accepted().len(), 50);
    log.check(&admin.drain("appmon").await);
    queue.close().await;
}
