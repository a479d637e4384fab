//! Kafka: librdkafka's own cluster, in this process or in one of its own, with what can go wrong between it and us.

#![allow(clippy::print_stdout, reason = "the cluster of another process tells where it is")]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use appmon::broker::kafka::{Compression, Consumer, Consuming, Kafka};
use appmon::forward::{Encoder, Forwarder, Host, Message, MessageId, Outcome, Publish};
use appmon::{ForwardExt, Snapshot, Timestamp};
use common::brokers::{Broker, Log, Proxy, Reading, Recorded, free_port, relayed, snapshot};
use common::{Helper, require};
use futures::StreamExt as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const TOPIC: &str = "appmon.reading";
const ALL: i32 = -1;

/// A cluster of one broker with the topic in one partition, so that all of it has an order.
fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    cluster
}

fn port(servers: &str) -> u16 {
    servers.rsplit(':').next().unwrap().parse().unwrap()
}

/// A way to the cluster that can be cut.
fn proxy(cluster: &Cluster) -> Proxy {
    Proxy::to(port(&cluster.bootstrap_servers())).advertised()
}

async fn connect(port: u16) -> Kafka {
    Kafka::new(format!("kafka://127.0.0.1:{port}")).unwrap().timeout(Duration::from_secs(20))
}

fn encoder() -> Encoder {
    Encoder::new(Host::new("web-17").unwrap())
}

fn messages(encoder: &mut Encoder, count: u64) -> Vec<Message> {
    (0..count).flat_map(|seq| encoder.encode(&snapshot(seq, 2)).messages).collect()
}

/// What a topic has, one partition after the other.
fn read(servers: &str, topic: &str) -> Vec<(MessageId, Vec<u8>)> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "reader").create().unwrap();
    let minute = Duration::from_secs(60);
    let metadata = consumer.fetch_metadata(Some(topic), minute).unwrap();
    let mut records = Vec::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), minute).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let deadline = Instant::now() + minute;
        let mut next = low;
        while next < high {
            assert!(Instant::now() < deadline, "offset {next} of {high} is not there");
            let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
            let record = record.unwrap();
            next = record.offset() + 1;
            records.push((header(&record, "ce_id").parse().unwrap(), record.payload().unwrap().to_vec()));
        }
    }
    records
}

fn header(record: &rdkafka::message::BorrowedMessage<'_>, key: &str) -> String {
    let headers = record.headers().unwrap();
    let value = headers.iter().find(|header| header.key == key).and_then(|header| header.value);
    String::from_utf8(value.unwrap_or_else(|| panic!("no header {key}")).to_vec()).unwrap()
}

/// Sends what was not accepted again until all was, with `between` after each attempt; gives the outcomes that were none.
async fn deliver(queue: &mut impl Publish, mut rest: Vec<Message>, mut between: impl FnMut(usize)) -> Vec<Outcome> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut refused = Vec::new();
    for attempt in 0.. {
        let outcomes = queue.publish(&rest).await;
        assert_eq!(outcomes.len(), rest.len());
        let mut kept = Vec::new();
        for (message, outcome) in rest.into_iter().zip(outcomes) {
            if !outcome.is_accepted() {
                kept.push(message);
                refused.push(outcome);
            }
        }
        between(attempt);
        rest = kept;
        if rest.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{} messages are not accepted: {:?}", rest.len(), refused.last());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry(error) | Outcome::Unknown(error) | Outcome::Rejected(error) | Outcome::TooLarge(error) => {
            assert!(error.is_broker());
            error.to_string()
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[track_caller]
fn all_accepted(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(Outcome::is_accepted), "{outcomes:?}");
}

#[tokio::test]
async fn arrives_as_a_cloud_event() {
    let cluster = MockCluster::new(1).unwrap();
    let servers = cluster.bootstrap_servers();
    for (compression, topic) in
        [(Compression::None, "none.{kind}"), (Compression::Snappy, "snappy.{kind}"), (Compression::Lz4, "lz4.{kind}")]
    {
        let mut queue = connect(port(&servers)).await.topic(topic).compression(compression);
        assert_eq!(queue.destination(), format!("kafka://{servers} {topic}"));
        assert_eq!(queue.max_message_bytes(), Some(1_000_000));
        let batch = messages(&mut encoder(), 50);
        all_accepted(&queue.publish(&batch).await);
        queue.close().await;
        let read = read(&servers, &topic.replace("{kind}", "reading"));
        let sent: Vec<_> = batch.iter().map(|message| (message.id, message.payload.to_vec())).collect();
        assert_eq!(read, sent);
    }
}

#[tokio::test]
async fn another_program_reads_it() {
    if !require(Command::new("kcat").arg("-V").stdout(Stdio::null()).status().is_ok(), "kcat") {
        return;
    }
    let cluster = cluster();
    let mut queue = connect(port(&cluster.bootstrap_servers())).await;
    let mut snapshot = snapshot(0, 2);
    snapshot.time = Timestamp::from_unix_nanos(1_700_000_000_123_456_789);
    let batch = encoder().encode(&snapshot).messages;
    all_accepted(&queue.publish(&batch).await);
    let servers = cluster.bootstrap_servers();
    let arguments = ["-b", &servers, "-C", "-t", TOPIC, "-o", "beginning", "-e", "-q", "-J"];
    let output = Command::new("kcat").args(arguments).output().unwrap();
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), batch.len(), "{}", String::from_utf8_lossy(&output.stderr));
    for (line, message) in lines.iter().zip(&batch) {
        assert_eq!(line["key"], "web-17");
        assert_eq!(line["payload"], str::from_utf8(&message.payload).unwrap());
        assert_eq!(line["ts"], 1_700_000_000_123_u64);
        let headers = line["headers"].as_array().unwrap();
        let attributes = message.attributes();
        let sent: Vec<&str> = attributes.iter().flat_map(|(name, value)| [*name, &**value]).collect();
        let expected: Vec<String> = sent
            .chunks(2)
            .flat_map(|pair| match pair[0] {
                "datacontenttype" => ["content-type".to_owned(), pair[1].to_owned()],
                name => [format!("ce_{name}"), pair[1].to_owned()],
            })
            .collect();
        assert_eq!(headers, &expected);
    }
}

#[tokio::test]
async fn wrong_settings_are_told_at_once() {
    let connect = async || Kafka::new("kafka://user:secret@127.0.0.1:1").unwrap();
    for (key, value, named) in [
        ("no.such.setting", "1", "no.such.setting"),
        ("linger.ms", "soon", "linger.ms"),
        ("acks\0", "1", "settings"),
        ("bootstrap.servers", "x", "URL"),
        ("enable.idempotence", "false", "idempotent"),
        ("delivery.timeout.ms", "1", "use timeout()"),
        ("queue.buffering.max.kbytes", "900", "room"),
    ] {
        let error = connect().await.set(key, value).validate().unwrap_err();
        assert!(error.is_config() && error.to_string().contains(named), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for template in ["", "a b", "{pid}", "a/b"] {
        assert!(connect().await.topic(template).validate().unwrap_err().is_config(), "{template}");
    }
    assert!(Kafka::new("kafka://h/{pid}").unwrap_err().is_config());
    #[cfg(not(feature = "kafka-ssl"))]
    assert!(Kafka::new("kafkas://h").unwrap_err().to_string().contains("kafka-ssl"));
    let shown = format!("{:?}", connect().await.set("ssl.key.password", "secret"));
    assert!(!shown.contains("secret") && shown.contains("kafka://127.0.0.1:1"), "{shown}");
    // What does not go together is only known by the producer, and loses nothing.
    let mut queue = connect().await.set("acks", "1");
    let outcomes = queue.publish(&messages(&mut encoder(), 2)).await;
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_)) && text(outcome).contains("acks")),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_broker_that_starts_after_us() {
    let cluster = cluster();
    let proxy = proxy(&cluster);
    let (mut queue, log) = Recorded::new(connect(proxy.port()).await);
    proxy.refuse();
    let batch = messages(&mut encoder(), 5);
    for _ in 0..2 {
        // It does not take the whole time to say so.
        let outcomes = queue.publish(&batch).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
        assert!(text(&outcomes[0]).contains("127.0.0.1"), "{outcomes:?}");
    }
    proxy.pass();
    deliver(&mut queue, batch, |_| {}).await;
    log.check(&read(&cluster.bootstrap_servers(), TOPIC));
    assert!(queue.check().await.unwrap().is_ok());
    deliver(&mut queue, messages(&mut encoder(), 1), |_| {}).await;
    proxy.refuse();
    assert!(queue.check().await.unwrap().unwrap_err().is_broker());
    // Nobody there at all.
    let mut queue = connect(free_port()).await;
    let outcomes = queue.publish(&messages(&mut encoder(), 1)).await;
    assert!(matches!(outcomes[0], Outcome::Retry(_)) && text(&outcomes[0]).contains("refused"), "{outcomes:?}");
    let mut queue = Kafka::new("kafka://no-such-host.invalid").unwrap();
    let outcomes = queue.publish(&messages(&mut encoder(), 1)).await;
    assert!(matches!(outcomes[0], Outcome::Retry(_)) && text(&outcomes[0]).contains("no-such-host"), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_in_mid_stream() {
    let cluster = cluster();
    let proxy = proxy(&cluster);
    let (mut queue, log) = Recorded::new(connect(proxy.port()).await);
    let mut encoder = encoder();
    let cutter = {
        let (proxy, log) = (proxy.clone(), log.clone());
        tokio::spawn(async move {
            for count in 1..=12 {
                log.until_accepted(count * 70).await;
                proxy.cut();
            }
        })
    };
    for _ in 0..100 {
        let batch = messages(&mut encoder, 10);
        deliver(&mut queue, batch, |_| {}).await;
    }
    cutter.await.unwrap();
    assert_eq!(log.accepted().len(), 1000);
    log.check(&read(&cluster.bootstrap_servers(), TOPIC));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_and_comes_back_with_its_data() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let (queue, log) = Recorded::new(connect(port(&servers)).await.timeout(Duration::from_secs(1)));
    let producing = {
        let mut queue = queue;
        tokio::spawn(async move {
            let mut encoder = encoder();
            for _ in 0..100 {
                let batch = messages(&mut encoder, 10);
                deliver(&mut queue, batch, |_| {}).await;
            }
        })
    };
    for count in 1..=3 {
        log.until_accepted(count * 200).await;
        cluster.broker_down(ALL).unwrap();
        tokio::time::sleep(Duration::from_millis(700 * u64::try_from(count).unwrap())).await;
        cluster.broker_up(ALL).unwrap();
    }
    producing.await.unwrap();
    assert_eq!(log.accepted().len(), 1000);
    log.check(&read(&servers, TOPIC));
}

#[tokio::test]
async fn half_open_connections() {
    let cluster = cluster();
    let proxy = proxy(&cluster);
    let (mut queue, log) = Recorded::new(connect(proxy.port()).await.timeout(Duration::from_millis(1500)));
    let mut encoder = encoder();
    deliver(&mut queue, messages(&mut encoder, 10), |_| {}).await;
    proxy.swallow();
    let batch = messages(&mut encoder, 10);
    for _ in 0..2 {
        let outcomes = queue.publish(&batch).await;
        assert!(outcomes.iter().all(|outcome| text(outcome).contains("within 1.5s")), "{outcomes:?}");
        assert!(matches!(outcomes[0], Outcome::Unknown(_)), "{outcomes:?}");
        assert!(!outcomes.iter().any(|outcome| matches!(outcome, Outcome::Rejected(_))), "{outcomes:?}");
    }
    proxy.pass();
    deliver(&mut queue, batch, |_| {}).await;
    log.check(&read(&cluster.bootstrap_servers(), TOPIC));
}

#[tokio::test]
async fn a_call_that_is_dropped() {
    let cluster = cluster();
    let proxy = proxy(&cluster);
    let (mut queue, log) = Recorded::new(connect(proxy.port()).await);
    let mut encoder = encoder();
    for round in 0..6 {
        let batch = messages(&mut encoder, 10);
        if round % 2 == 0 {
            proxy.swallow();
        }
        // At several points: before the producer is there, when it connects, when messages are on their way.
        let some_time = Duration::from_millis(round * 5);
        let _ = tokio::time::timeout(some_time, queue.publish(&batch)).await;
        proxy.pass();
        deliver(&mut queue, batch, |_| {}).await;
    }
    assert_eq!(log.accepted().len(), 60);
    log.check(&read(&cluster.bootstrap_servers(), TOPIC));
}

#[tokio::test]
async fn closing_while_it_is_down_ends() {
    let cluster = cluster();
    let proxy = proxy(&cluster);
    let mut queue = connect(proxy.port()).await.timeout(Duration::from_secs(1));
    let batch = messages(&mut encoder(), 10);
    all_accepted(&queue.publish(&batch).await);
    proxy.swallow();
    queue.close().await;
    let outcomes = queue.publish(&batch).await;
    assert!(!outcomes[0].is_accepted());
    queue.close().await;
    queue.close().await;
    proxy.pass();
    // It can be used again.
    deliver(&mut queue, batch, |_| {}).await;
}

#[tokio::test]
async fn too_large() {
    let cluster = cluster();
    let mut queue = connect(port(&cluster.bootstrap_servers())).await.set("message.max.bytes", "2000");
    assert_eq!(queue.max_message_bytes(), Some(2000));
    let mut encoder = encoder();
    let mut batch = encoder.encode(&snapshot(0, 1)).messages;
    batch.extend(encoder.encode(&snapshot(1, 100)).messages);
    batch.extend(encoder.encode(&snapshot(2, 1)).messages);
    let outcomes = queue.publish(&batch).await;
    assert!(outcomes[0].is_accepted() && outcomes[2].is_accepted(), "{outcomes:?}");
    assert!(
        matches!(outcomes[1], Outcome::TooLarge(_)) && text(&outcomes[1]).contains("max.message.bytes"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_topic_is_taken_apart() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let (mut queue, log) = Recorded::new(connect(port(&servers)).await);
    let mut encoder = encoder();
    all_accepted(&queue.publish(&messages(&mut encoder, 1)).await);
    let batch = messages(&mut encoder, 5);
    cluster.request_errors(Api::Produce, &[Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let outcomes = queue.publish(&batch).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "not the fault of any: {outcomes:?}");
    // Now each by itself; the first is the one that is too large.
    cluster.request_errors(Api::Produce, &[Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let outcomes = queue.publish(&batch).await;
    assert!(matches!(outcomes[0], Outcome::TooLarge(_)), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|outcome| !matches!(outcome, Outcome::TooLarge(_))), "{outcomes:?}");
    deliver(&mut queue, batch[1..].to_vec(), |_| {}).await;
    assert_eq!(log.accepted().len(), 5);
    log.check(&read(&servers, TOPIC));
}

/// Answers of the broker that are no acknowledgement, and what they mean for the messages.
#[tokio::test]
async fn refusals() {
    type Is = fn(&Outcome) -> bool;
    let retry: Is = |outcome| matches!(outcome, Outcome::Retry(_));
    let unknown: Is = |outcome| matches!(outcome, Outcome::Unknown(_));
    let rejected: Is = |outcome| matches!(outcome, Outcome::Rejected(_));
    let accepted: Is = Outcome::is_accepted;
    for (api, code, is, named) in [
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, retry, "grant this user Write"),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, rejected, "InvalidRecord"),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, rejected, "clock"),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_UNKNOWN, unknown, "Unknown"),
        (Api::InitProducerId, Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, retry, "idempotent(false)"),
        // What librdkafka itself tries again.
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, accepted, ""),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, accepted, ""),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, accepted, ""),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, accepted, ""),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR__TRANSPORT, accepted, ""),
        (Api::InitProducerId, Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, accepted, ""),
    ] {
        let cluster = cluster();
        let servers = cluster.bootstrap_servers();
        let (mut queue, log) = Recorded::new(connect(port(&servers)).await);
        cluster.request_errors(api, &[code]);
        let batch = messages(&mut encoder(), 3);
        let outcomes = queue.publish(&batch).await;
        assert!(is(&outcomes[0]), "{code:?}: {outcomes:?}");
        assert!(
            outcomes.iter().all(|outcome| outcome.is_accepted() == is(&Outcome::Accepted)),
            "{code:?}: {outcomes:?}"
        );
        if !named.is_empty() {
            assert!(text(&outcomes[0]).contains(named), "{outcomes:?}");
        }
        cluster.clear_request_errors(api);
        deliver(&mut queue, batch, |_| {}).await;
        log.check(&read(&servers, TOPIC));
    }
}

#[tokio::test]
async fn topics_that_are_not_there_or_not_ours() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut queue = connect(port(&servers)).await.timeout(Duration::from_secs(4));
    let batch = messages(&mut encoder(), 3);
    cluster.topic_error(TOPIC, Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let outcomes = queue.publish(&batch).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
    assert!(text(&outcomes[0]).contains("create the topic") && text(&outcomes[0]).contains(TOPIC), "{outcomes:?}");
    cluster.topic_error(TOPIC, Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let outcomes = queue.publish(&batch).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
    assert!(text(&outcomes[0]).contains("grant this user Write and Describe"), "{outcomes:?}");
    cluster.topic_error(TOPIC, Code::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    deliver(&mut queue, batch, |_| {}).await;
}

/// A message that failed for a reason of its own, among many requests: those after it wait until the caller saw it. But for one
/// request that was ready by then: this cluster does not look at its numbers.
#[tokio::test]
async fn nothing_goes_on_after_a_message_that_failed() {
    for code in [Code::RD_KAFKA_RESP_ERR_UNKNOWN, Code::RD_KAFKA_RESP_ERR_INVALID_RECORD] {
        let cluster = cluster();
        let servers = cluster.bootstrap_servers();
        let queue = connect(port(&servers)).await.compression(Compression::None).set("batch.size", "2000");
        let (mut queue, log) = Recorded::new(queue);
        let no = Code::RD_KAFKA_RESP_ERR_NO_ERROR;
        cluster.request_errors(Api::Produce, &[no, no, code]);
        let batch = messages(&mut encoder(), 200);
        let outcomes = queue.publish(&batch).await;
        let first = outcomes.iter().position(|outcome| !outcome.is_accepted()).unwrap();
        assert!(first > 0, "{:?}", outcomes[0]);
        let overtaking = outcomes[first..].iter().filter(|outcome| outcome.is_accepted()).count();
        assert!(overtaking <= 4, "{code:?}: {overtaking}, {outcomes:?}");
        let rest = batch.into_iter().zip(outcomes).filter(|(_, outcome)| !outcome.is_accepted());
        let rest = rest.map(|(message, _)| message).collect();
        deliver(&mut queue, rest, |_| {}).await;
        assert_eq!(log.accepted().len(), 200);
    }
}

/// The same with the very first message, when no broker could know by its number that a later one comes after a gap.
#[tokio::test]
async fn nothing_overtakes_the_first_message() {
    for code in [Code::RD_KAFKA_RESP_ERR_UNKNOWN, Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE] {
        let cluster = cluster();
        let servers = cluster.bootstrap_servers();
        let queue = connect(port(&servers)).await.compression(Compression::None).set("batch.size", "2000");
        let (mut queue, log) = Recorded::new(queue);
        cluster.request_errors(Api::Produce, &[code]);
        let batch = messages(&mut encoder(), 50);
        let outcomes = queue.publish(&batch).await;
        assert!(!outcomes.iter().any(Outcome::is_accepted), "{outcomes:?}");
        deliver(&mut queue, batch, |_| {}).await;
        log.check(&read(&servers, TOPIC));
    }
}

#[tokio::test]
async fn a_batch_larger_than_the_queue() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let queue = connect(port(&servers)).await.set("queue.buffering.max.messages", "7");
    let (mut queue, log) = Recorded::new(queue);
    all_accepted(&queue.publish(&messages(&mut encoder(), 100)).await);
    log.check(&read(&servers, TOPIC));
}

#[tokio::test]
async fn without_idempotence() {
    let cluster = cluster();
    let proxy = proxy(&cluster);
    let (mut queue, log) = Recorded::new(connect(proxy.port()).await.idempotent(false));
    cluster.request_errors(Api::InitProducerId, &[Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED]);
    let mut encoder = encoder();
    for _ in 0..10 {
        let batch = messages(&mut encoder, 10);
        deliver(&mut queue, batch, |_| proxy.cut()).await;
    }
    assert_eq!(log.accepted().len(), 100);
    log.check(&read(&cluster.bootstrap_servers(), TOPIC));
}

fn consumer(servers: &str, group: &str) -> Consumer<Reading> {
    let consumer = Consumer::new(&format!("kafka://{servers}"), group).unwrap();
    consumer.set("auto.commit.interval.ms", "50").set("session.timeout.ms", "6000")
}

async fn next(stream: &mut Consuming<Reading>) -> Snapshot<Reading> {
    let snapshot = async {
        loop {
            match stream.next().await.unwrap() {
                Ok(snapshot) => return snapshot,
                // The brokers are away.
                Err(error) => assert!(error.is_broker(), "{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(90), snapshot).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_come_back_and_a_group_goes_on_where_it_was() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut queue = connect(port(&servers)).await;
    let mut encoder = encoder().max_bytes(4 << 10);
    let sent: Vec<Snapshot<Reading>> = (0..8).map(|seq| snapshot(seq, if seq % 2 == 0 { 3 } else { 100 })).collect();
    let batch: Vec<Message> = sent.iter().flat_map(|snapshot| encoder.encode(snapshot).messages).collect();
    assert!(batch.len() >= 12, "some are split");
    all_accepted(&queue.publish(&batch).await);
    // Once more: they are doubles.
    all_accepted(&queue.publish(&batch).await);

    let mut stream = consumer(&servers, "first").stream();
    for sent in &sent[..4] {
        let snapshot = next(&mut stream).await;
        assert_eq!(snapshot.host.as_deref(), Some("web-17"));
        assert_eq!((snapshot.seq, &snapshot.samples), (sent.seq, &sent.samples));
    }
    drop(stream);
    let mut stream = consumer(&servers, "first").stream();
    // The one that was given out last, and what others of the group did not have.
    for sent in &sent[3..] {
        let snapshot = next(&mut stream).await;
        assert_eq!((snapshot.seq, &snapshot.samples), (sent.seq, &sent.samples));
    }
    // Another group has all of it, and nothing twice.
    let mut other = consumer(&servers, "other").topics(["^appmon\\..*"]).stream();
    for sent in &sent {
        assert_eq!(next(&mut other).await.samples, sent.samples);
    }
    let more = snapshot(8, 1);
    all_accepted(&queue.publish(&encoder.encode(&more).messages).await);
    assert_eq!(next(&mut other).await.samples, more.samples);
    let arrived = other.received();
    assert_eq!(
        (arrived.snapshots, arrived.malformed, arrived.incomplete, arrived.missing),
        (9, 0, 0, 0),
        "{arrived:?}"
    );
    assert_eq!(arrived.duplicates, batch.len() as u64, "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_closed_leaves_nothing_to_be_done_again() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut queue = connect(port(&servers)).await;
    all_accepted(&queue.publish(&messages(&mut encoder(), 6)).await);
    for seqs in [0..2, 2..4, 4..6] {
        let mut stream = consumer(&servers, "closed").stream();
        for seq in seqs {
            assert_eq!(next(&mut stream).await.seq, seq);
        }
        stream.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_brings_everything_of_all_hosts() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut queue = connect(port(&servers)).await;
    all_accepted(&queue.publish(&relayed(10)).await);
    let mut stream = consumer(&servers, "relay").stream();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let snapshot = next(&mut stream).await;
        assert!(seen.insert((snapshot.host, snapshot.seq)));
    }
    assert_eq!((stream.received().duplicates, stream.received().missing), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_outlives_its_brokers() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut queue = connect(port(&servers)).await;
    let mut encoder = encoder();
    let mut stream = consumer(&servers, "group").stream();
    cluster.broker_down(ALL).unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.is_broker() && error.to_string().contains(&servers), "{error}");
    cluster.broker_up(ALL).unwrap();
    for seq in 0..3 {
        deliver(&mut queue, encoder.encode(&snapshot(seq, 1)).messages, |_| {}).await;
        assert_eq!(next(&mut stream).await.seq, seq);
        cluster.broker_down(ALL).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.broker_up(ALL).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_told_and_passed_over() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let other: rdkafka::producer::FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    let record = rdkafka::producer::FutureRecord::to(TOPIC).key("x").payload("no snapshot");
    other.send(record, Duration::from_secs(60)).await.unwrap();
    let mut queue = connect(port(&servers)).await;
    all_accepted(&queue.publish(&messages(&mut encoder(), 1)).await);
    let mut stream = consumer(&servers, "group").stream();
    let error = loop {
        let error = stream.next().await.unwrap().unwrap_err();
        if !error.is_broker() {
            break error;
        }
    };
    assert!(error.is_malformed(), "{error}");
    assert_eq!(next(&mut stream).await.seq, 0);
}

#[tokio::test]
async fn wrong_consumers_are_told_at_once() {
    for (url, group) in [("kafka://h", ""), ("http://h", "g"), ("kafka://h/{pid}", "g"), ("kafka://h/a.{host}", "g")] {
        assert!(Consumer::<Reading>::new(url, group).unwrap_err().is_config(), "{url}");
    }
    let consumer = || Consumer::<Reading>::new("kafka://u:secret@h", "g").unwrap();
    for (key, named) in [("group.id", "new()"), ("no.such", "no.such")] {
        let error = consumer().set(key, "x").stream().next().await.unwrap().unwrap_err();
        assert!(error.is_config() && error.to_string().contains(named), "{error}");
    }
    let shown = format!("{:?}", consumer());
    assert!(shown.contains("appmon.reading") && !shown.contains("secret"), "{shown}");
}

/// What stands before a cluster and lets in whoever has the password, by SASL PLAIN: the cluster itself asks nobody.
#[derive(Debug)]
struct Gate {
    port: u16,
}

impl Gate {
    const USER: &str = "monitor";
    const PASSWORD: &str = "se:cr@et";
    /// Which requests brokers know, and up to which version: those of the cluster, and the two of SASL.
    const REQUESTS: [(u16, u16); 9] = [(0, 7), (1, 11), (2, 5), (3, 5), (10, 2), (17, 1), (18, 0), (22, 1), (36, 0)];

    fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let gate = Self { port: listener.local_addr().unwrap().port() };
        let own = gate.port;
        // It ends with the test program.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                thread::spawn(move || Self::serve(client, port, own));
            }
        });
        gate
    }

    fn serve(mut client: TcpStream, port: u16, own: u16) -> std::io::Result<()> {
        while !Self::admit(&mut client)? {}
        let (server, mut back) = (TcpStream::connect(("127.0.0.1", port))?, client.try_clone()?);
        let mut answers = server.try_clone()?;
        thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count) = answers.read(&mut buffer)
                && count > 0
            {
                common::brokers::rename(&mut buffer[..count], port, own);
                if back.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = back.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut client, &mut &server);
        server.shutdown(Shutdown::Both)
    }

    /// Answers a request; gives whether the client is let in.
    fn admit(client: &mut TcpStream) -> std::io::Result<bool> {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        client.read_exact(&mut request)?;
        let number = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let (kind, version) = (number(0), number(2));
        let mut answer = request[4..8].to_vec();
        let mut right = false;
        match kind {
            18 => {
                // "Unsupported version", from which the client learns that it is to ask in the oldest way.
                answer.extend(if version == 0 { 0_u16 } else { 35 }.to_be_bytes());
                answer.extend(u32::try_from(Self::REQUESTS.len()).unwrap().to_be_bytes());
                for (kind, most) in Self::REQUESTS {
                    answer.extend([kind, 0, most].map(u16::to_be_bytes).concat());
                }
            }
            17 => answer.extend(b"\0\0\0\0\0\x01\0\x05PLAIN"),
            36 => {
                right = request.ends_with(format!("\0{}\0{}", Self::USER, Self::PASSWORD).as_bytes());
                answer.extend(if right { &b"\0\0\xff\xff\0\0\0\0"[..] } else { b"\0\x3a\0\x04nope\0\0\0\0" });
            }
            _ => return Err(std::io::ErrorKind::InvalidData.into()),
        }
        client.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())?;
        client.write_all(&answer)?;
        Ok(right)
    }
}

#[tokio::test]
async fn a_wrong_password_costs_no_message() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let gate = Gate::before(port(&servers));
    let batch = messages(&mut encoder(), 3);
    for login in ["monitor:wrong-one@", "somebody:se%3Acr%40et@"] {
        let mut queue = Kafka::new(format!("kafka://{login}127.0.0.1:{}", gate.port)).unwrap();
        let outcomes = queue.publish(&batch).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
        let text = format!("{} {queue:?} {}", text(&outcomes[0]), queue.destination());
        assert!(text.contains("nope") && !text.contains("wrong-one") && !text.contains("cr@et"), "{text}");
    }
    let url = format!("kafka://{}:se%3Acr%40et@127.0.0.1:{}", Gate::USER, gate.port);
    let (mut queue, log) = Recorded::new(Kafka::new(&url).unwrap());
    deliver(&mut queue, batch, |_| {}).await;
    log.check(&read(&servers, TOPIC));
}

/// TLS before a cluster that has none.
#[cfg(feature = "kafka-ssl")]
mod tls {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    /// Passes on to `port`; gives its own port, and its certificate.
    pub(super) async fn before(port: u16) -> (u16, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let chain = vec![certificate.der().clone()];
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(client) = acceptor.accept(client).await else { return };
                    let (mut requests, mut back) = tokio::io::split(client);
                    let (mut answers, mut on) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
                    let forth = async { tokio::io::copy(&mut requests, &mut on).await };
                    let back = async {
                        let mut buffer = [0; 16 << 10];
                        while let Ok(count) = answers.read(&mut buffer).await
                            && count > 0
                        {
                            common::brokers::rename(&mut buffer[..count], port, own);
                            back.write_all(&buffer[..count]).await?;
                            back.flush().await?;
                        }
                        std::io::Result::Ok(())
                    };
                    let _ = tokio::join!(forth, back);
                });
            }
        });
        (own, certificate.pem())
    }
}

#[cfg(feature = "kafka-ssl")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let (port, certificate) = tls::before(port(&servers)).await;
    let connect = async || Kafka::new(format!("kafkas://127.0.0.1:{port}")).unwrap();
    let batch = messages(&mut encoder(), 3);
    let outcomes = connect().await.publish(&batch).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
    assert!(text(&outcomes[0]).contains("certificate"), "whom nobody knows is not trusted: {outcomes:?}");

    let mut trusting = connect().await.set("ssl.ca.pem", &certificate);
    deliver(&mut trusting, batch.clone(), |_| {}).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &certificate).unwrap();
    let mut trusting = connect().await.set("ssl.ca.location", path.to_str().unwrap());
    deliver(&mut trusting, batch.clone(), |_| {}).await;
    assert_eq!(read(&servers, TOPIC).len(), 2 * batch.len());

    // A certificate that is none is only read by the client, and loses nothing.
    let mut wrong = connect().await.set("ssl.ca.location", "/no/such/file");
    let outcomes = wrong.publish(&batch).await;
    assert!(matches!(outcomes[0], Outcome::Retry(_)) && text(&outcomes[0]).contains("ssl.ca.location"), "{outcomes:?}");
    assert!(connect().await.set("sasl.mechanism", "SCRAM-SHA-512").validate().is_ok());
}

/// A stream of snapshots while the broker is cut off, away and stopped in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarder_brings_all_of_it_through_outages() {
    let (mut first, port) = another_process();
    let proxy = Proxy::to(port).advertised();
    let (queue, log) = Recorded::new(connect(proxy.port()).await.timeout(Duration::from_secs(2)));
    let forwarder = Forwarder::new(queue).retry(Duration::from_millis(5), Duration::from_millis(50)).batch(8, 1 << 20);
    let forwarding =
        tokio::spawn(futures::stream::iter((0..400).map(|seq| Ok(snapshot(seq, 3)))).forward_to(forwarder));
    log.until_accepted(50).await;
    proxy.cut();
    log.until_accepted(100).await;
    proxy.refuse();
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.pass();
    log.until_accepted(200).await;
    first.signal(rustix::process::Signal::STOP);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    first.signal(rustix::process::Signal::CONT);
    let report = forwarding.await.unwrap().unwrap();
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    assert_eq!(log.accepted().len(), 400);
    log.check(&read(&format!("127.0.0.1:{port}"), TOPIC));
    first.end();
}

#[tokio::test]
async fn a_forwarder_ends_while_it_is_down() {
    let queue = connect(free_port()).await;
    let forwarder = Forwarder::new(queue).deadline(Duration::from_millis(200));
    let snapshots = futures::stream::iter((0..20).map(|seq| Ok(snapshot(seq, 3))));
    let report = snapshots.forward_to(forwarder).await.unwrap();
    assert!(report.is_balanced() && !report.is_complete(), "{report:?}");
}

/// A broker of another make, where it is installed: Tansu, which keeps all in memory here.
#[tokio::test]
async fn a_broker_of_another_make() {
    if Command::new("tansu").arg("--version").stdout(Stdio::null()).status().is_err() {
        common::skipped::report("tansu, which no package of Debian has");
        return;
    }
    let port = free_port();
    let (address, servers) = (format!("tcp://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
    let start = || {
        let mut command = Command::new("tansu");
        command.args(["broker", "--storage-engine", "memory://tansu/"]);
        command.env("LISTENER_URL", &address).env("ADVERTISED_LISTENER_URL", &address);
        let broker = Broker::start(&mut command, port);
        let create = ["topic", "create", TOPIC, "--partitions", "1", "--broker", &address];
        assert!(Command::new("tansu").args(create).stdout(Stdio::null()).status().unwrap().success());
        broker
    };
    let broker = start();
    let (mut queue, log) = Recorded::new(connect(port).await.timeout(Duration::from_secs(2)));
    let mut encoder = encoder();
    for _ in 0..5 {
        deliver(&mut queue, messages(&mut encoder, 20), |_| {}).await;
    }
    broker.stop();
    deliver(&mut queue, messages(&mut encoder, 20), |attempt| {
        if attempt == 1 {
            broker.go_on();
        }
    })
    .await;
    log.check(&read_until_last(&servers, &log));
    assert_eq!(log.accepted().len(), 120);

    broker.kill();
    let batch = messages(&mut encoder, 20);
    let outcomes = queue.publish(&batch).await;
    assert!(!outcomes.iter().any(Outcome::is_accepted), "{outcomes:?}");
    let _broker = start();
    let (mut queue, log) = Recorded::new(queue);
    deliver(&mut queue, batch, |_| {}).await;
    deliver(&mut queue, messages(&mut encoder, 20), |_| {}).await;
    log.check(&read_until_last(&servers, &log));
}

/// What the topic has up to the message that was accepted last: Tansu says that its last record batch is not there yet.
fn read_until_last(servers: &str, log: &Log) -> Vec<(MessageId, Vec<u8>)> {
    let last = log.accepted().last().unwrap().id;
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "reader").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut records: Vec<(MessageId, Vec<u8>)> = Vec::new();
    while records.last().is_none_or(|(id, _)| *id != last) {
        assert!(Instant::now() < deadline, "{last} is not there");
        if let Some(record) = consumer.poll(Duration::from_millis(100)) {
            let record = record.unwrap();
            records.push((header(&record, "ce_id").parse().unwrap(), record.payload().unwrap().to_vec()));
        }
    }
    records
}

const CHILD: &str = "APPMON_TEST_KAFKA";

/// Not a test by itself: the cluster of a process that others kill and stop.
#[test]
fn cluster_of_another_process() {
    if std::env::var_os(CHILD).as_deref() != Some(OsStr::new("1")) {
        return;
    }
    let cluster = cluster();
    let mut output = std::io::stdout();
    write!(output, "\nlistening on {}\n", cluster.bootstrap_servers()).unwrap();
    output.flush().unwrap();
    // Until the parent ends.
    let _ = std::io::read_to_string(std::io::stdin());
}

fn another_process() -> (Helper, u16) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kafka::cluster_of_another_process", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let mut helper = Helper::spawn(&mut command);
    loop {
        if let Some(servers) = helper.line().strip_prefix("listening on ") {
            return (helper, port(servers));
        }
    }
}

#[tokio::test]
async fn stopped_for_longer_than_the_timeout() {
    let (helper, port) = another_process();
    let (mut queue, log) = Recorded::new(connect(port).await.timeout(Duration::from_millis(1500)));
    let mut encoder = encoder();
    deliver(&mut queue, messages(&mut encoder, 10), |_| {}).await;
    helper.signal(rustix::process::Signal::STOP);
    let batch = messages(&mut encoder, 10);
    let refused = deliver(&mut queue, batch, |attempt| {
        if attempt == 2 {
            helper.signal(rustix::process::Signal::CONT);
        }
    })
    .await;
    assert!(
        refused.len() >= 30 && refused.iter().all(|outcome| !matches!(outcome, Outcome::Rejected(_))),
        "{refused:?}"
    );
    deliver(&mut queue, messages(&mut encoder, 10), |_| {}).await;
    log.check(&read(&format!("127.0.0.1:{port}"), TOPIC));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_without_its_data() {
    let (mut first, port) = another_process();
    let proxy = Proxy::to(port).advertised();
    let (mut queue, log) = Recorded::new(connect(proxy.port()).await.timeout(Duration::from_secs(1)));
    let restarted = Arc::new(AtomicBool::new(false));
    let producing = {
        let restarted = Arc::clone(&restarted);
        tokio::spawn(async move {
            let mut encoder = encoder();
            let mut rest = 20;
            while rest > 0 {
                let batch = messages(&mut encoder, 10);
                deliver(&mut queue, batch, |_| {}).await;
                rest -= usize::from(restarted.load(Ordering::SeqCst));
            }
        })
    };
    log.until_accepted(200).await;
    first.end();
    let lost = log.accepted().len();
    let (_second, port) = another_process();
    proxy.redirect(port);
    restarted.store(true, Ordering::SeqCst);
    producing.await.unwrap();
    let found = read(&format!("127.0.0.1:{port}"), TOPIC);
    let ids: Vec<MessageId> = found.iter().map(|(id, _)| *id).collect();
    let first = first_occurrences(&ids);
    assert!(first.is_sorted(), "{ids:?}");
    // Only what was accepted by the first is lost with it: from there on all is there, without a gap.
    let accepted: Vec<MessageId> = log.accepted().iter().map(|message| message.id).collect();
    assert!(first.len() >= 200 && accepted.ends_with(&first), "{first:?}");
    assert!(accepted.len() - first.len() <= lost + 10, "{} of {}", first.len(), accepted.len());
}

fn first_occurrences(ids: &[MessageId]) -> Vec<MessageId> {
    let mut seen = std::collections::BTreeSet::new();
    ids.iter().copied().filter(|id| seen.insert(*id)).collect()
}
