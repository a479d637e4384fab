//! Redis Streams, on real servers.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

use std::process::{Command, Stdio};
use std::time::Duration;

use appmon::ForwardExt;
use appmon::broker::redis::Streams;
use appmon::forward::{Encoder, Forwarder, Host, Message, MessageId, Outcome, Publish};
use common::brokers::{Broker, Proxy, Recorded, free_port, identities, relayed, snapshot};
use common::certificates::Certificates;
use common::{require, until};

const KEY: &str = "appmon:reading";

/// A server with its data in a folder of its own.
struct Redis {
    broker: Broker,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
    /// What `redis-cli` needs to come in.
    login: Vec<String>,
}

impl Redis {
    fn start(arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let own =
            format!("--port {port} --bind 127.0.0.1 --save  --loglevel warning --dir {}", folder.path().display());
        let mut all: Vec<String> = own.split(' ').map(str::to_owned).collect();
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Self::start_in(folder, port, all)
    }

    fn start_in(folder: tempfile::TempDir, port: u16, arguments: Vec<String>) -> Option<Self> {
        let here = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !require(here, "redis-server") {
            return None;
        }
        let broker = Broker::start(Command::new("redis-server").args(&arguments), port);
        Some(Self { broker, arguments, folder, login: Vec::new() })
    }

    /// One that speaks TLS alone, and its port. By default it wants a certificate of the client.
    fn start_with_tls(certificates: &Certificates, more: &[&str]) -> Option<(Self, u16)> {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let arguments = format!(
            "--port 0 --tls-port {port} --bind 127.0.0.1 --save  --dir {} --tls-cert-file {} --tls-key-file {} --tls-ca-cert-file {}",
            folder.path().display(),
            certificates.path("server.pem"),
            certificates.path("server.key"),
            certificates.path("ca.pem")
        );
        let arguments = arguments.split(' ').chain(more.iter().copied()).map(str::to_owned).collect();
        Some((Self::start_in(folder, port, arguments)?, port))
    }

    /// `kill -9`, and another one with the same data, on the same port.
    fn kill_and_restart(self) -> Self {
        self.kill_and_restart_with(&[])
    }

    fn kill_and_restart_with(self, more: &[&str]) -> Self {
        let port = self.broker.port();
        self.broker.kill();
        let mut arguments = self.arguments;
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        Self::start_in(self.folder, port, arguments).unwrap()
    }

    fn url(&self) -> String {
        url(self.broker.port())
    }

    /// What the server answers to a command, a line for each value.
    #[track_caller]
    fn cli(&self, command: &[&str]) -> Vec<String> {
        let port = self.broker.port().to_string();
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &port, "--raw", "-e"]).args(&self.login).args(command);
        let output = cli.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// What is in the stream, in order.
    fn arrived(&self) -> Vec<(MessageId, Vec<u8>)> {
        // An entry is its id, and 10 fields with their values.
        self.cli(&["XRANGE", KEY, "-", "+"])
            .chunks(21)
            .map(|entry| (value(entry, "id").parse().unwrap(), value(entry, "data").into()))
            .collect()
    }
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn value<'a>(entry: &'a [String], field: &str) -> &'a str {
    let mut pairs = entry[1..].chunks(2);
    &pairs.find(|pair| pair[0] == field).unwrap_or_else(|| panic!("no {field} in {entry:?}"))[1]
}

fn messages(count: u64) -> Vec<Message> {
    let mut encoder = Encoder::new(Host::new("web-17").unwrap());
    (0..count).flat_map(|seq| encoder.encode(&snapshot(seq, 3)).messages).collect()
}

/// A message with a payload of about so many bytes.
fn large(bytes: u64) -> Message {
    let mut encoder = Encoder::new(Host::new("web-17").unwrap()).max_bytes(64 << 20);
    encoder.encode(&snapshot(0, bytes / 60)).messages.pop().unwrap()
}

async fn connect(url: &str) -> Streams {
    Streams::new(url).unwrap()
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
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    panic!("{} messages were never taken", left.len());
}

#[track_caller]
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

#[tokio::test]
async fn entries_have_the_attributes_as_fields() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut queue = connect(&redis.url()).await;
    let sent = messages(2);
    assert_all(&queue.publish(&sent).await, "Accepted", "");
    let lines = redis.cli(&["XRANGE", KEY, "-", "+"]);
    let entry = &lines[21..42];
    for (name, expected) in sent[1].attributes() {
        assert_eq!(value(entry, name), expected, "{name}");
    }
    assert_eq!(value(entry, "data").as_bytes(), &sent[1].payload[..]);
    assert_eq!(queue.destination(), format!("redis://127.0.0.1:{} appmon:{{kind}}", redis.broker.port()));
    assert_eq!(queue.max_message_bytes(), Some(512 << 20));
    queue.close().await;
    assert_all(&queue.publish(&sent).await, "Accepted", "");
    assert!(matches!(queue.check().await, Some(Ok(()))));
}

#[tokio::test]
async fn a_relay_brings_everything_of_all_hosts() {
    let Some(redis) = Redis::start(&[]) else { return };
    let sent = relayed(10);
    assert_all(&connect(&redis.url()).await.publish(&sent).await, "Accepted", "");
    let lines = redis.cli(&["XRANGE", KEY, "-", "+"]);
    let entry = |entry: &[String]| (value(entry, "source").to_owned(), value(entry, "id").to_owned());
    assert_eq!(lines.chunks(21).map(entry).collect::<Vec<_>>(), identities(&sent));
}

/// A server that answers to everything but to what is written is slow, and the messages are not at fault.
#[tokio::test]
async fn a_pause_is_no_break() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (queue, log) = Recorded::new(connect(&redis.url()).await.timeout(Duration::from_millis(100)));
    let forwarder = Forwarder::new(queue).host("web-17").retry(Duration::from_millis(1), Duration::from_millis(10));
    let monitor = forwarder.monitor();
    redis.cli(&["CLIENT", "PAUSE", "3600000", "WRITE"]);
    let snapshots = futures::stream::iter((0..3).map(|seq| Ok(snapshot(seq, 3))));
    let sending = tokio::spawn(snapshots.forward_to(forwarder));
    while monitor.status().report.unknown < 20 {
        assert!(!sending.is_finished(), "{:?}", monitor.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    redis.cli(&["CLIENT", "UNPAUSE"]);
    let report = sending.await.unwrap().unwrap();
    assert_eq!((report.accepted, report.dropped.rejected.messages), (3, 0), "{report:?}");
    log.check(&redis.arrived());
}

/// The first is a replica, and each has a password of its own.
#[tokio::test]
async fn a_server_that_takes_nothing_is_left_for_the_next() {
    let Some(mut replica) = Redis::start(&["--requirepass", "one"]) else { return };
    replica.login = ["-a", "one", "--no-auth-warning"].map(str::to_owned).to_vec();
    replica.cli(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let Some(mut master) = Redis::start(&["--requirepass", "two"]) else { return };
    master.login = ["-a", "two", "--no-auth-warning"].map(str::to_owned).to_vec();
    let (one, two) = (replica.broker.port(), master.broker.port());
    let urls = format!("redis://:one@127.0.0.1:{one},redis://:two@127.0.0.1:{two}");
    let (mut queue, log) = Recorded::new(connect(&urls).await.timeout(Duration::from_secs(20)));
    assert_eq!(queue.destination(), format!("redis://127.0.0.1:{one},redis://127.0.0.1:{two} appmon:{{kind}}"));
    let sent = messages(30);
    assert_all(&queue.publish(&sent[..10]).await, "retry", "READONLY");
    assert_all(&queue.publish(&sent).await, "Accepted", "");
    log.check(&master.arrived());
    // That one is gone, and comes back after the other had its turn.
    let port = master.broker.port();
    master = master.kill_and_restart();
    assert_eq!(master.broker.port(), port);
    deliver(&mut queue, messages(30)).await;
}

#[tokio::test]
async fn an_empty_batch_has_no_outcomes() {
    let Some(redis) = Redis::start(&[]) else { return };
    assert!(connect(&redis.url()).await.publish(&[]).await.is_empty());
}

#[tokio::test]
async fn killed_in_mid_publish_and_restarted_with_its_data() {
    let Some(mut redis) = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let (queue, log) = Recorded::new(connect(&redis.url()).await);
    let forwarder = Forwarder::new(queue)
        .host("web-17")
        .batch(20, 1 << 20)
        .retry(Duration::from_millis(5), Duration::from_millis(50));
    let snapshots = futures::stream::iter((0..3000).map(|seq| Ok(snapshot(seq, 3))));
    let sending = tokio::spawn(snapshots.forward_to(forwarder));
    for count in [300, 1200, 2100] {
        log.until_accepted(count).await;
        redis = redis.kill_and_restart();
    }
    let report = sending.await.unwrap().unwrap();
    assert_eq!((report.snapshots, report.accepted), (3000, 3000), "{report:?}");
    assert!(report.is_complete() && report.is_balanced(), "{report:?}");
    assert_eq!(log.accepted().len(), 3000);
    log.check(&redis.arrived());
}

#[tokio::test]
async fn killed_and_restarted_without_its_data() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (mut queue, log) = Recorded::new(connect(&redis.url()).await);
    let sent = messages(400);
    let later = sent[200..].to_vec();
    deliver(&mut queue, sent[..200].to_vec()).await;
    let redis = redis.kill_and_restart();
    deliver(&mut queue, later.clone()).await;
    assert_eq!(log.accepted().len(), 400);
    let arrived: Vec<MessageId> = redis.arrived().into_iter().map(|(id, _)| id).collect();
    assert_eq!(arrived, later.iter().map(|message| message.id).collect::<Vec<_>>());
}

#[tokio::test]
async fn stopped_for_longer_than_the_timeout_and_continued() {
    let Some(redis) = Redis::start(&[]) else { return };
    let queue = connect(&redis.url()).await.timeout(Duration::from_millis(200));
    let (mut queue, log) = Recorded::new(queue);
    let sent = messages(60);
    assert_all(&queue.publish(&sent[..20]).await, "Accepted", "");
    redis.broker.stop();
    assert_all(&queue.publish(&sent[20..40]).await, "unknown", "no answer within 200ms");
    assert_all(&queue.publish(&sent[20..40]).await, "retry", "no connection within 200ms");
    redis.broker.go_on();
    deliver(&mut queue, sent[20..].to_vec()).await;
    assert_eq!(log.accepted().len(), 60);
    log.check(&redis.arrived());
}

#[tokio::test]
async fn a_dropped_call_leaves_the_next_one_working() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (mut queue, log) = Recorded::new(connect(&redis.url()).await);
    let sent = messages(60);
    assert_all(&queue.publish(&sent[..20]).await, "Accepted", "");
    redis.broker.stop();
    let short = Duration::from_millis(100);
    assert!(tokio::time::timeout(short, queue.publish(&sent[20..40])).await.is_err());
    assert!(tokio::time::timeout(short, queue.publish(&sent[20..40])).await.is_err());
    redis.broker.go_on();
    assert_all(&queue.publish(&sent[20..]).await, "Accepted", "");
    log.check(&redis.arrived());
}

#[tokio::test]
async fn started_after_us() {
    let port = free_port();
    let (mut queue, log) = Recorded::new(connect(&url(port)).await);
    assert_all(&queue.publish(&messages(2)).await, "retry", &format!("redis://127.0.0.1:{port}: no connection"));
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!("--port {port} --bind 127.0.0.1 --save  --dir {}", folder.path().display());
    let arguments = arguments.split(' ').map(str::to_owned).collect();
    let Some(redis) = Redis::start_in(folder, port, arguments) else { return };
    deliver(&mut queue, messages(50)).await;
    log.check(&redis.arrived());
}

#[tokio::test]
async fn a_half_open_connection_is_given_up() {
    let Some(redis) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(redis.broker.port());
    let queue = connect(&url(proxy.port())).await.timeout(Duration::from_millis(200));
    let (mut queue, log) = Recorded::new(queue);
    let sent = messages(60);
    assert_all(&queue.publish(&sent[..20]).await, "Accepted", "");
    proxy.swallow();
    assert_all(&queue.publish(&sent[20..40]).await, "unknown", "no answer within");
    assert_all(&queue.publish(&sent[20..40]).await, "retry", "no connection within");
    proxy.pass();
    deliver(&mut queue, sent[20..].to_vec()).await;
    log.check(&redis.arrived());
}

#[tokio::test]
async fn connections_cut_again_and_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(redis.broker.port());
    let (mut queue, log) = Recorded::new(connect(&url(proxy.port())).await);
    let sending = tokio::spawn(async move { deliver(&mut queue, messages(4000)).await });
    for count in (1..40).map(|step| step * 100) {
        log.until_accepted(count).await;
        proxy.cut();
    }
    sending.await.unwrap();
    assert_eq!(log.accepted().len(), 4000);
    log.check(&redis.arrived());
}

#[tokio::test]
async fn a_connection_that_ended_while_idle_is_replaced_first() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut queue = connect(&redis.url()).await;
    let sent = messages(2);
    assert_all(&queue.publish(&sent[..1]).await, "Accepted", "");
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    // Its end may take a moment to arrive here.
    until("the server has closed it", || redis.cli(&["CLIENT", "LIST"]).len() == 1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_all(&queue.publish(&sent[1..]).await, "Accepted", "");
}

#[tokio::test]
async fn wrong_and_missing_passwords() {
    let Some(mut redis) = Redis::start(&["--requirepass", "right"]) else { return };
    redis.login = ["-a", "right", "--no-auth-warning"].map(str::to_owned).to_vec();
    let port = redis.broker.port();
    let sent = messages(2);
    let mut none = connect(&redis.url()).await;
    assert_all(&none.publish(&sent).await, "retry", "asks for a password");
    let mut wrong = connect(&format!("redis://:wr0ng@127.0.0.1:{port}")).await;
    let outcomes = wrong.publish(&sent).await;
    assert_all(&outcomes, "retry", "give the right user and password");
    for text in texts(&outcomes).into_iter().chain([format!("{wrong:?}"), wrong.destination()]) {
        assert!(!text.contains("wr0ng"), "{text}");
    }
    let mut right = connect(&format!("redis://default:right@127.0.0.1:{port}/3")).await;
    assert_all(&right.publish(&sent).await, "Accepted", "");
    assert_eq!(redis.cli(&["-n", "3", "XLEN", KEY]), ["2"]);
    // The password changes: the connection that is there stays good, the next one is not.
    redis.cli(&["CONFIG", "SET", "requirepass", "other"]);
    assert_all(&right.publish(&sent).await, "Accepted", "");
    right.close().await;
    assert_all(&right.publish(&sent).await, "retry", "give the right user and password");
}

#[tokio::test]
async fn permissions() {
    let Some(redis) = Redis::start(&[]) else { return };
    let port = redis.broker.port();
    let sent = messages(3);
    // All that is needed.
    redis.cli(&["ACL", "SETUSER", "few", "on", ">pw", "~appmon:*", "+multi", "+exec", "+xadd"]);
    let mut few = connect(&format!("redis://few:pw@127.0.0.1:{port}")).await;
    assert_all(&few.publish(&sent).await, "Accepted", "");
    assert_eq!(few.max_message_bytes(), Some(512 << 20));
    // Another key than theirs.
    let mut other = connect(&format!("redis://few:pw@127.0.0.1:{port}")).await.key("other:{host}");
    assert_all(&other.publish(&sent).await, "retry", "other:web-17: NOPERM");
    assert_all(
        &other.publish(&sent).await[..1],
        "retry",
        "grant the user the commands +multi +exec +xadd, and the key",
    );
    redis.cli(&["ACL", "SETUSER", "few", "~other:*"]);
    assert_all(&other.publish(&sent).await, "Accepted", "");
    // No transactions.
    redis.cli(&["ACL", "SETUSER", "less", "on", ">pw", "~appmon:*", "+xadd"]);
    let mut less = connect(&format!("redis://less:pw@127.0.0.1:{port}")).await;
    assert_all(&less.publish(&sent).await, "retry", "grant the user the commands +multi +exec +xadd");
    assert_eq!(redis.cli(&["XLEN", KEY]), ["3"]);
}

/// A property of the key or of the user is no message's fault: messages wait until it is mended.
#[tokio::test]
async fn a_key_that_is_no_stream_and_one_that_is_not_permitted_are_waited_for() {
    let Some(redis) = Redis::start(&[]) else { return };
    let port = redis.broker.port();
    redis.cli(&["ACL", "SETUSER", "few", "on", ">pw", "~appmon:web-17", "~appmon:text", "+multi", "+exec", "+xadd"]);
    redis.cli(&["SET", "appmon:text", "x"]);
    let queue = connect(&format!("redis://few:pw@127.0.0.1:{port}")).await;
    let mut queue = queue.key("appmon:{host}");
    let of = |host: &str| Encoder::new(Host::new(host).unwrap()).encode(&snapshot(0, 1)).messages.pop().unwrap();
    let batch = ["web-17", "text", "web-17"].map(of);
    let outcomes = queue.publish(&batch).await;
    assert_all(&outcomes[..1], "Accepted", "");
    assert_all(&outcomes[1..2], "retry", "appmon:text: WRONGTYPE");
    assert_all(&outcomes[2..], "Accepted", "");
    redis.cli(&["DEL", "appmon:text"]);
    assert_all(&queue.publish(&batch[1..2]).await, "Accepted", "");

    let foreign = [of("foreign")];
    assert_all(&queue.publish(&foreign).await, "retry", "appmon:foreign: NOPERM");
    redis.cli(&["ACL", "SETUSER", "few", "~appmon:foreign"]);
    assert_all(&queue.publish(&foreign).await, "Accepted", "");
}

#[tokio::test]
async fn too_large_messages_are_rejected_and_others_are_not() {
    let limits = ["--proto-max-bulk-len", "1mb", "--client-query-buffer-limit", "3mb"];
    let Some(redis) = Redis::start(&limits) else { return };
    let mut queue = connect(&redis.url()).await;
    let small = messages(1);
    let batch = [small[0].clone(), large(2 << 20), small[0].clone()];
    let outcomes = queue.publish(&batch).await;
    assert_all(&outcomes[1..2], "too large", "but it takes 1048576");
    assert_all(&outcomes[..1], "Accepted", "");
    assert_all(&outcomes[2..], "Accepted", "");
    assert_eq!(queue.max_message_bytes(), Some(1 << 20));
    // As large as the server takes, and more of them than it takes at once.
    let batch: Vec<Message> = (0..8).map(|_| large(1_000_000)).collect();
    assert!(batch[0].payload.len() > 900_000);
    assert_all(&queue.publish(&batch).await, "Accepted", "");
}

#[tokio::test]
async fn out_of_memory_keeps_the_order() {
    let Some(redis) = Redis::start(&["--maxmemory-policy", "noeviction"]) else { return };
    let (mut queue, log) = Recorded::new(connect(&redis.url()).await);
    assert_all(&queue.publish(&messages(1)).await, "Accepted", "");
    // Room for some of a batch, and not for all: nothing of it may be taken, small messages at its end least of all.
    let used: u64 = redis.cli(&["INFO", "memory"])[1].trim_start_matches("used_memory:").parse().unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory", &(used + (1 << 20)).to_string()]);
    let mut encoder = Encoder::new(Host::new("web-17").unwrap()).max_bytes(64 << 20);
    let sizes = [10_000, 10_000, 10_000, 1, 1, 1];
    let batch: Vec<Message> = sizes.iter().flat_map(|&size| encoder.encode(&snapshot(0, size)).messages).collect();
    let before = redis.cli(&["XLEN", KEY]);
    assert_all(&queue.publish(&batch).await, "retry", "OOM");
    assert_eq!(redis.cli(&["XLEN", KEY]), before);
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_all(&queue.publish(&batch).await, "Accepted", "");
    assert_eq!(log.accepted().len(), 7);
    log.check(&redis.arrived());
}

#[tokio::test]
async fn existing_streams_only() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut queue = connect(&redis.url()).await.existing_only(true);
    assert_all(
        &queue.publish(&messages(3)).await,
        "retry",
        "appmon:reading: no such stream; create it with XGROUP CREATE",
    );
    assert_eq!(redis.cli(&["EXISTS", KEY]), ["0"]);
    redis.cli(&["XGROUP", "CREATE", KEY, "readers", "$", "MKSTREAM"]);
    assert_all(&queue.publish(&messages(3)).await, "Accepted", "");
}

#[tokio::test]
async fn a_bound_trims() {
    let Some(redis) = Redis::start(&["--stream-node-max-entries", "10"]) else { return };
    let mut queue = connect(&redis.url()).await.max_len(100);
    deliver(&mut queue, messages(500)).await;
    let length: u64 = redis.cli(&["XLEN", KEY])[0].parse().unwrap();
    assert!((100..120).contains(&length), "{length}");
}

#[tokio::test]
async fn a_replica_and_one_that_loads_are_waited_for() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut queue = connect(&redis.url()).await.timeout(Duration::from_secs(60));
    assert_all(&queue.publish(&messages(2)).await, "Accepted", "");
    redis.cli(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    assert_all(&queue.publish(&messages(2)).await, "retry", "READONLY");
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    assert_all(&queue.publish(&messages(2)).await, "Accepted", "");
    let keys: Vec<String> = (0..4000).flat_map(|key| [format!("key{key}"), "x".to_owned()]).collect();
    redis.cli(&[&["MSET"], &*keys.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    redis.cli(&["SAVE"]);
    // So long for each key that it loads until it is told to be quick.
    let slow = ["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"];
    let redis = redis.kill_and_restart_with(&slow);
    queue.close().await;
    assert_all(&queue.publish(&messages(2)).await[..1], "retry", "LOADING");
    redis.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
    deliver(&mut queue, messages(2)).await;
}

#[tokio::test]
async fn close_while_it_is_down_ends() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut queue = connect(&redis.url()).await.timeout(Duration::from_millis(200));
    assert_all(&queue.publish(&messages(1)).await, "Accepted", "");
    redis.broker.stop();
    queue.close().await;
    redis.broker.kill();
    queue.close().await;
    assert_all(&queue.publish(&messages(1)).await, "retry", "no connection");
    queue.close().await;
}

#[tokio::test]
async fn wrong_settings_are_errors_at_once() {
    for (url, named) in [
        ("redis://", "URL"),
        ("http://host", "URL"),
        ("valkey://host", "redis://"),
        ("unix:///run/redis.sock", "redis://"),
        ("redis://:pa#ss@host", "%23"),
        ("redis://host/many", "database"),
        ("redis://:s3cret@host:port", "URL"),
    ] {
        let error = Streams::new(url).unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(named) && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }
    let queue = connect("redis://user:s3cret@[::1]").await;
    assert_eq!(queue.destination(), "redis://[::1]:6379 appmon:{kind}");
    assert!(!format!("{queue:?}").contains("s3cret"));
    assert!(connect("redis://host").await.tls(Certificates::new().client()).validate().unwrap_err().is_config());
    assert!(queue.key("a:{pid}").validate().unwrap_err().is_config());
}

/// The system's authorities are read again when a connection fails: one that was added meanwhile is trusted.
#[test]
fn an_authority_may_be_added_while_running() {
    // It is the environment's, which is of a whole process.
    let own = tempfile::tempdir().unwrap();
    let variable = format!("SSL_CERT_FILE={}", own.path().join("roots.pem").display());
    if !common::inside("redis::an_authority_may_be_added_while_running", &["env", "-u", "SSL_CERT_DIR", &variable]) {
        return;
    }
    let roots = std::env::var_os("SSL_CERT_FILE").unwrap();
    let certificates = Certificates::new();
    let mut other = rcgen::CertificateParams::new([]).unwrap();
    other.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
    let other = other.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    std::fs::write(&roots, other.pem()).unwrap();
    let Some((_redis, port)) = Redis::start_with_tls(&certificates, &["--tls-auth-clients", "no"]) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut queue = connect(&format!("rediss://127.0.0.1:{port}")).await.timeout(Duration::from_secs(60));
        assert_all(&queue.publish(&messages(1)).await, "retry", "UnknownIssuer");
        std::fs::copy(certificates.path("ca.pem"), &roots).unwrap();
        assert_all(&queue.publish(&messages(1)).await, "Accepted", "");
    });
}

#[tokio::test]
async fn tls_with_a_certificate_of_the_client() {
    let certificates = Certificates::new();
    let Some((_redis, port)) = Redis::start_with_tls(&certificates, &[]) else { return };
    let url = format!("rediss://127.0.0.1:{port}");
    let config = certificates.client();
    let mut queue = connect(&url).await.tls(config);
    assert_all(&queue.publish(&messages(50)).await, "Accepted", "");
    assert!(queue.destination().starts_with(&url));
    // Without it.
    let mut queue = connect(&url).await.tls(certificates.stranger());
    assert_all(&queue.publish(&messages(1)).await, "retry", "no connection");
    // Of somebody else.
    let mut queue = connect(&url).await.tls(Certificates::new().stranger());
    assert_all(&queue.publish(&messages(1)).await, "retry", "no connection");
}
