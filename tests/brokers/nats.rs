//! NATS, on a real server: what is accepted arrives, whatever happens in between.

#[cfg(all(feature = "config", feature = "prometheus"))]
mod agent;
mod changed;
mod cluster;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use appmon::broker::nats::{Consumer, Core, JetStream, Server};
use appmon::forward::{Codec, Encoder, Forwarder, Host, Message, MessageId, Outcome, Overflow, Publish, Report};
use appmon::{ForwardExt, Result, Snapshot, SnapshotStreamExt};
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use futures::{Stream, StreamExt, stream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use common::brokers::{Broker, Log, Proxy, Reading, Recorded, free_port, relayed, snapshot};

const STREAM: &str = "APPMON";

/// A NATS server with JetStream, and its data.
struct Nats {
    broker: Option<Broker>,
    port: u16,
    data: tempfile::TempDir,
    config: Option<PathBuf>,
}

impl Nats {
    /// Not started yet; `None` where there is none on this machine.
    fn new(config: &str) -> Option<Self> {
        let there = Command::new("nats-server").arg("--version").output().is_ok();
        if !common::require(there, "nats-server") {
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("nats.conf");
        std::fs::write(&path, config).unwrap();
        let config = (!config.is_empty()).then_some(path);
        Some(Self { broker: None, port: free_port(), data, config })
    }

    fn started() -> Option<Self> {
        let mut nats = Self::new("")?;
        nats.start();
        Some(nats)
    }

    fn configured(config: &str) -> Option<Self> {
        let mut nats = Self::new(config)?;
        nats.start();
        Some(nats)
    }

    fn start(&mut self) {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string()]);
        let mut says_where = false;
        if let Some(config) = &self.config {
            command.arg("-c").arg(config);
            says_where = std::fs::read_to_string(config).unwrap().contains("store_dir");
        }
        if !says_where {
            command.args(["-js", "-sd"]).arg(self.data.path().join("js"));
        }
        self.broker = Some(Broker::start(&mut command, self.port));
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    fn kill(&mut self) {
        self.broker.take().unwrap().kill();
    }

    fn forget(&self) {
        std::fs::remove_dir_all(self.data.path().join("js")).unwrap();
    }

    fn url(&self) -> String {
        url(self.port)
    }

    async fn admin(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }

    async fn create(&self) {
        create(&self.admin().await, Config::default()).await;
    }

    /// All that is in the stream, in order.
    async fn stored(&self) -> Vec<(MessageId, Vec<u8>)> {
        stored(&self.admin().await).await
    }
}

fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

async fn create(admin: &jetstream::Context, config: Config) {
    let config = Config { name: STREAM.to_owned(), subjects: vec!["appmon.>".to_owned()], ..config };
    admin.create_stream(config).await.unwrap();
}

async fn stored(admin: &jetstream::Context) -> Vec<(MessageId, Vec<u8>)> {
    let mut stream = admin.get_stream(STREAM).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let id = message.headers.get("ce-id").unwrap().as_str().parse().unwrap();
        messages.push((id, message.payload.to_vec()));
    }
    messages
}

/// Where nothing is to be waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits no longer than this for a server that holds.
const TIMEOUT: Duration = Duration::from_millis(500);

fn server(port: u16) -> Server {
    Server::new(url(port)).timeout(TIMEOUT)
}

/// So many messages, by an encoder of their own.
fn messages(count: u64) -> Vec<Message> {
    let mut encoder = Encoder::new(Host::new("web 17").unwrap());
    (0..count).flat_map(|seq| encoder.encode(&snapshot(seq, 2)).messages).collect()
}

fn kinds(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Accepted => 'A',
        Outcome::Duplicate => 'D',
        Outcome::Retry(_) => 'r',
        Outcome::Unknown(_) => 'u',
        Outcome::Rejected(_) => 'X',
        Outcome::TooLarge(_) => 'L',
        _ => '?',
    };
    outcomes.iter().map(letter).collect()
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry(error) | Outcome::Unknown(error) | Outcome::Rejected(error) | Outcome::TooLarge(error) => {
            error.to_string()
        }
        _ => String::new(),
    }
}

/// One snapshot every two milliseconds.
fn ticks(count: u64) -> impl Stream<Item = Result<Snapshot<Reading>>> + Send {
    stream::iter(0..count).then(|seq| async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(snapshot(seq, 3))
    })
}

/// Forwards `count` snapshots in a task of their own.
fn forward<P: Publish + 'static>(count: u64, sink: P, token: &CancellationToken) -> (JoinHandle<Report>, Log) {
    let (recorded, log) = Recorded::new(sink);
    let forwarder = Forwarder::new(recorded)
        .host("web-17")
        .retry(Duration::from_millis(10), Duration::from_millis(200))
        .shutdown(token.clone())
        .deadline(Duration::from_secs(60));
    let task = tokio::spawn(async move { ticks(count).forward_to(forwarder).await.unwrap() });
    (task, log)
}

async fn jetstream(port: u16) -> JetStream {
    JetStream::new(server(port)).unwrap()
}

/// All of it was accepted in the end.
#[track_caller]
fn assert_complete(report: &Report, count: u64) {
    assert!(report.is_balanced() && report.is_complete(), "{report:?}");
    assert_eq!((report.messages, report.accepted), (count, count));
}

mod jet_stream {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_accepted_is_stored_with_its_attributes() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let mut sink = JetStream::new(server(nats.port).timeout(PATIENCE)).unwrap();
        assert_eq!(sink.max_message_bytes(), None, "it connects when there is something to send");
        assert_eq!(sink.destination(), format!("nats://127.0.0.1:{} appmon.{{kind}}.{{host}}", nats.port));
        let sent = messages(600);
        assert_eq!(kinds(&sink.publish(&sent).await), "A".repeat(600));
        assert_eq!(sink.max_message_bytes(), Some(1 << 20));
        assert_eq!(kinds(&sink.publish(&sent[..3]).await), "DDD", "it is stored once");

        let expected: Vec<_> = sent.iter().map(|message| (message.id, message.payload.to_vec())).collect();
        assert_eq!(nats.stored().await, expected);
        let stream = nats.admin().await.get_stream(STREAM).await.unwrap();
        let first = stream.get_raw_message(1).await.unwrap();
        assert_eq!(first.subject.as_str(), "appmon.reading.web%2017");
        let header = |name: &str| first.headers.get(name).unwrap().as_str().to_owned();
        assert_eq!(header("ce-id"), sent[0].id.to_string());
        assert_eq!(header("Nats-Msg-Id"), format!("urn:appmon:web%2017/{}", sent[0].id));
        assert_eq!(header("ce-type"), "appmon.reading.snapshot");
        assert_eq!(header("ce-source"), "urn:appmon:web%252017", "percent signs are escaped in headers");
        assert_eq!(header("ce-partitionkey"), "web%2017");
        assert_eq!(header("ce-specversion"), "1.0");
        assert_eq!(header("Content-Type"), "application/json");
        sink.close().await;
        assert_eq!(kinds(&sink.publish(&sent[..1]).await), "D", "it can be opened again");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_relay_brings_everything_of_all_hosts() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let sent = relayed(10);
        assert_eq!(
            kinds(&jetstream(nats.port).await.publish(&sent).await),
            "A".repeat(30),
            "none is another one's double"
        );
        assert_eq!(nats.stored().await.len(), 30);
        let mut arriving = Consumer::<Reading>::new(server(nats.port), STREAM).unwrap().from_oldest().stream();
        let mut seen = BTreeSet::new();
        while seen.len() < 30 {
            if let Ok(snapshot) = arriving.next().await.unwrap() {
                seen.insert((snapshot.host, snapshot.seq));
            }
        }
        assert_eq!((arriving.received().duplicates, arriving.received().missing), (0, 0));
    }

    /// Two servers that are no cluster: one has no JetStream, or none for this user.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_is_sick_is_left_for_the_next() {
        let config = |user: &str| {
            format!(
                "authorization {{ users: [{{ user: {user}, password: pw, permissions: {{ publish: [\"appmon.>\"], subscribe: [\"_INBOX.>\"] }} }}, {{ user: all, password: pw }}] }}"
            )
        };
        let Some(mut sick) = Nats::new(&config("one")) else { return };
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &sick.port.to_string(), "-c"]).arg(sick.config.as_ref().unwrap());
        sick.broker = Some(Broker::start(&mut command, sick.port));
        let Some(well) = Nats::configured(&format!("jetstream: {{}}\n{}", config("two"))) else { return };
        let options = async_nats::ConnectOptions::with_user_and_password("all".into(), "pw".into());
        let admin = jetstream::new(options.connect(url(well.port)).await.unwrap());
        create(&admin, Config::default()).await;
        // Each is for its own user.
        let urls = format!("nats://one:pw@127.0.0.1:{},nats://two:pw@127.0.0.1:{}", sick.port, well.port);
        let (task, log) =
            forward(100, JetStream::new(Server::new(urls).timeout(PATIENCE)).unwrap(), &CancellationToken::new());
        assert_complete(&task.await.unwrap(), 100);
        log.check(&stored(&admin).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn subjects_and_clones() {
        let Some(nats) = Nats::started() else { return };
        let config = Config { name: "OTHER".to_owned(), subjects: vec!["m.>".to_owned()], ..Config::default() };
        nats.admin().await.create_stream(config).await.unwrap();
        let one = jetstream(nats.port).await.subject("m.{host}.x").in_flight(1);
        let mut other = one.clone();
        let mut one = one;
        let (a, b) = (messages(20), messages(20));
        let (a, b) = futures::join!(one.publish(&a), other.publish(&b));
        assert_eq!((kinds(&a), kinds(&b)), ("A".repeat(20), "A".repeat(20)));
        let mut stream = nats.admin().await.get_stream("OTHER").await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.messages, 40);
        for wrong in ["", "a b", "a.*", "a.>", "a..b", ".a", "a.{pid}"] {
            assert!(one.clone().subject(wrong).validate().unwrap_err().is_config(), "{wrong:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn killed_in_mid_stream_and_restarted_with_its_data() {
        let Some(mut nats) = Nats::started() else { return };
        nats.create().await;
        let (task, log) = forward(1500, jetstream(nats.port).await, &CancellationToken::new());
        for accepted in [200, 500, 800] {
            log.until_accepted(accepted).await;
            nats.kill();
            nats.start();
        }
        assert_complete(&task.await.unwrap(), 1500);
        log.check(&nats.stored().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn restarted_without_its_data() {
        let Some(mut nats) = Nats::started() else { return };
        nats.create().await;
        let (task, log) = forward(1000, jetstream(nats.port).await, &CancellationToken::new());
        log.until_accepted(200).await;
        nats.kill();
        nats.forget();
        nats.start();
        // There is no stream now, and nothing is lost for that.
        nats.create().await;
        assert_complete(&task.await.unwrap(), 1000);
        let stored = nats.stored().await;
        assert!(stored.is_sorted_by_key(|(id, _)| *id), "in order");
        let (first, _) = stored[0];
        let after: BTreeSet<_> = stored.into_iter().map(|(id, _)| id).collect();
        let missing: Vec<_> =
            log.accepted().iter().map(|message| message.id).filter(|id| !after.contains(id)).collect();
        assert!(missing.iter().all(|id| *id < first), "only what it had before, and forgot: {missing:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn away_for_a_while_with_a_spool() {
        let Some(mut nats) = Nats::started() else { return };
        nats.create().await;
        let (recorded, log) = Recorded::new(jetstream(nats.port).await);
        let spool = nats.data.path().join("spool.redb");
        let forwarder = Forwarder::new(recorded)
            .host("web-17")
            .queue(16, 1 << 20)
            .spool(spool, 64 << 20)
            .retry(Duration::from_millis(10), Duration::from_millis(200));
        let monitor = forwarder.monitor();
        let task = tokio::spawn(async move { ticks(1500).forward_to(forwarder).await.unwrap() });
        log.until_accepted(300).await;
        nats.kill();
        let taken = monitor.status().report.messages;
        while !task.is_finished() && monitor.status().report.messages < taken + 500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        nats.start();
        assert_complete(&task.await.unwrap(), 1500);
        log.check(&nats.stored().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn stopped_for_longer_than_we_wait() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let (task, log) = forward(800, jetstream(nats.port).await, &CancellationToken::new());
        log.until_accepted(200).await;
        nats.broker().stop();
        let accepted = log.accepted().len();
        tokio::time::sleep(3 * TIMEOUT).await;
        nats.broker().go_on();
        let report = task.await.unwrap();
        assert_complete(&report, 800);
        assert!(accepted == 800 || report.retried > 0, "{report:?}");
        log.check(&nats.stored().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn started_after_us() {
        let Some(mut nats) = Nats::new("") else { return };
        let mut sink = jetstream(nats.port).await;
        let outcomes = sink.publish(&messages(2)).await;
        assert_eq!(kinds(&outcomes), "rr");
        assert!(text(&outcomes[0]).contains("no connection"), "{}", text(&outcomes[0]));
        let (task, log) = forward(100, sink, &CancellationToken::new());
        nats.start();
        nats.create().await;
        assert_complete(&task.await.unwrap(), 100);
        log.check(&nats.stored().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_half_open_connection() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let proxy = Proxy::to(nats.port);
        let (task, log) = forward(800, jetstream(proxy.port()).await, &CancellationToken::new());
        log.until_accepted(200).await;
        proxy.swallow();
        tokio::time::sleep(2 * TIMEOUT).await;
        proxy.pass();
        assert_complete(&task.await.unwrap(), 800);
        log.check(&nats.stored().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_cut_many_times() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let proxy = Proxy::to(nats.port);
        let (task, log) = forward(2000, jetstream(proxy.port()).await, &CancellationToken::new());
        while !task.is_finished() {
            tokio::time::sleep(Duration::from_millis(40)).await;
            proxy.cut();
        }
        assert_complete(&task.await.unwrap(), 2000);
        log.check(&nats.stored().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_future_that_is_dropped() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let mut sink = jetstream(nats.port).await;
        let sent = messages(400);
        for polls in 0..40 {
            // Dropped somewhere on its way: nobody knows what arrived.
            let mut future = Box::pin(sink.publish(&sent[..200]));
            for _ in 0..polls {
                if futures::poll!(future.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let outcomes = sink.publish(&sent).await;
        assert!(outcomes.iter().all(Outcome::is_accepted), "{}", kinds(&outcomes));
        let stored: Vec<_> = nats.stored().await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(stored, sent.iter().map(|message| message.id).collect::<Vec<_>>(), "once each, in order");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_stream() {
        let Some(nats) = Nats::started() else { return };
        let mut sink = jetstream(nats.port).await;
        let sent = messages(3);
        let outcomes = sink.publish(&sent).await;
        assert_eq!(kinds(&outcomes), "rrr", "{outcomes:?}");
        assert!(text(&outcomes[0]).contains("no stream has this subject"), "{}", text(&outcomes[0]));
        nats.create().await;
        assert_eq!(kinds(&sink.publish(&sent).await), "AAA");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_jetstream() {
        let Some(mut nats) = Nats::new("") else { return };
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &nats.port.to_string()]);
        nats.broker = Some(Broker::start(&mut command, nats.port));
        let outcomes = jetstream(nats.port).await.publish(&messages(1)).await;
        assert_eq!(kinds(&outcomes), "r", "{outcomes:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_stream_and_room_again() {
        let Some(nats) = Nats::started() else { return };
        let admin = nats.admin().await;
        create(&admin, Config { max_messages: 100, discard: DiscardPolicy::New, ..Config::default() }).await;
        let mut sink = jetstream(nats.port).await;
        let outcomes = sink.publish(&messages(103)).await;
        assert_eq!(kinds(&outcomes), format!("{}rrr", "A".repeat(100)));
        assert!(text(&outcomes[100]).contains("the stream is full"), "{}", text(&outcomes[100]));
        let stream = admin.get_stream(STREAM).await.unwrap();
        stream.purge().await.unwrap();

        let (task, log) = forward(500, sink, &CancellationToken::new());
        let mut arrived = Vec::new();
        while !task.is_finished() {
            // Whoever reads makes room.
            let read = stored(&admin).await;
            if let Some((last, _)) = read.last().cloned() {
                let mut stream = admin.get_stream(STREAM).await.unwrap();
                let first = stream.info().await.unwrap().state.first_sequence;
                stream.purge().sequence(first + read.len() as u64).await.unwrap();
                arrived.extend(read);
                assert_eq!(arrived.last().unwrap().0, last);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        arrived.extend(stored(&admin).await);
        assert_complete(&task.await.unwrap(), 500);
        log.check(&arrived);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_large_holds_up_nothing() {
        let Some(nats) = Nats::configured("max_payload: 8192") else { return };
        let admin = nats.admin().await;
        create(&admin, Config { max_message_size: 6000, ..Config::default() }).await;
        let mut sink = jetstream(nats.port).await;
        let mut sent = messages(5);
        sent[1].payload = vec![b' '; 9000].into();
        sent[3].payload = vec![b' '; 7000].into();
        let outcomes = sink.publish(&sent).await;
        assert_eq!(kinds(&outcomes), "ALALA");
        assert!(text(&outcomes[1]).contains("takes 8192"), "{}", text(&outcomes[1]));
        assert!(text(&outcomes[3]).contains("max_msg_size"), "{}", text(&outcomes[3]));
        assert_eq!(sink.max_message_bytes(), Some(3500), "half of what was too large");

        // The forwarder splits by what the server takes.
        let (recorded, log) = Recorded::new(sink);
        let forwarder = Forwarder::new(recorded).host("h");
        let report = stream::iter([Ok(snapshot(0, 300))]).forward_to(forwarder).await.unwrap();
        assert!(report.messages > 1, "{report:?}");
        assert_eq!(report.messages, report.accepted + report.dropped.rejected.messages);
        assert_eq!(log.accepted().len() as u64, report.accepted);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn shutdown_while_it_is_down() {
        let Some(mut nats) = Nats::started() else { return };
        nats.create().await;
        let token = CancellationToken::new();
        let (recorded, log) = Recorded::new(jetstream(nats.port).await);
        let forwarder = Forwarder::new(recorded).host("h").shutdown(token.clone()).deadline(Duration::from_millis(300));
        let task = tokio::spawn(async move { ticks(100_000).forward_to(forwarder).await.unwrap() });
        log.until_accepted(50).await;
        nats.kill();
        token.cancel();
        let report = tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        assert!(report.is_balanced(), "{report:?}");
        nats.start();
        log.check(&nats.stored().await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_round_trip_tells_whether_it_answers() {
        let Some(mut nats) = Nats::started() else { return };
        let mut sink = jetstream(nats.port).await;
        assert!(sink.check().await.unwrap().is_ok());
        nats.broker().stop();
        let error = sink.check().await.unwrap().unwrap_err();
        assert!(error.is_broker(), "{error}");
        let sent = messages(1);
        nats.broker().go_on();
        assert!(sink.check().await.unwrap().is_ok());
        nats.broker().stop();
        assert_eq!(kinds(&sink.publish(&sent).await), "u");
        nats.broker().go_on();
        assert!(sink.check().await.is_none(), "it answers, and did not answer to the message");
        nats.create().await;
        assert_eq!(kinds(&sink.publish(&sent).await), "A");
        assert!(sink.check().await.unwrap().is_ok());
        nats.kill();
        assert!(sink.check().await.unwrap().unwrap_err().is_broker());
        nats.start();
        assert!(sink.check().await.unwrap().is_ok());
    }
}

mod getting_in {
    use super::*;

    const USERS: &str = r#"
        jetstream: {}
        authorization {
            users = [
                { user: "all", password: "s3cr:et" }
                { user: "some", password: "s3cr:et", permissions: { publish: ["appmon.reading.web%2017"] } }
                { user: "deaf", password: "s3cr:et", permissions: { subscribe: { deny: [">"] } } }
            ]
        }
    "#;

    async fn outcomes(server: Server, sent: &[Message]) -> Vec<Outcome> {
        JetStream::new(server.timeout(PATIENCE)).unwrap().publish(sent).await
    }

    async fn admin(port: u16) -> jetstream::Context {
        let options = async_nats::ConnectOptions::with_user_and_password("all".into(), "s3cr:et".into());
        jetstream::new(options.connect(url(port)).await.unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_user_and_password() {
        let Some(nats) = Nats::configured(USERS) else { return };
        create(&admin(nats.port).await, Config::default()).await;
        let sent = messages(2);
        for url in [format!("nats://all:s3cr%3Aet@127.0.0.1:{}", nats.port)] {
            assert_eq!(kinds(&outcomes(Server::new(url), &sent).await), "AA");
        }
        assert_eq!(kinds(&outcomes(server(nats.port).user_and_password("all", "s3cr:et"), &sent).await), "DD");
        for wrong in [
            server(nats.port),
            server(nats.port).user_and_password("all", "wr0ng"),
            server(nats.port).token("wr0ng"),
            Server::new(format!("nats://all:wr0ng@127.0.0.1:{}", nats.port)),
        ] {
            let outcomes = outcomes(wrong, &sent).await;
            assert_eq!(kinds(&outcomes), "rr", "the messages are not at fault");
            let text = text(&outcomes[1]);
            assert!(text.contains("does not let us in") && !text.contains("wr0ng"), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_permission_for_some_subjects_only() {
        let Some(nats) = Nats::configured(USERS) else { return };
        create(&admin(nats.port).await, Config::default()).await;
        let some = server(nats.port).timeout(PATIENCE).user_and_password("some", "s3cr:et");
        let mut sent = messages(4);
        sent[1].host = "db".into();
        let outcome = outcomes(some.clone(), &sent).await;
        assert_eq!(kinds(&outcome), "ArAA", "the message is not at fault");
        assert!(text(&outcome[1]).contains("no permission to publish to this subject: grant it"), "{outcome:?}");

        let mut core = Core::new(some).unwrap();
        assert_eq!(kinds(&core.publish(&sent).await), "ArAA", "also where nobody may be asked");

        let deaf = outcomes(server(nats.port).user_and_password("deaf", "s3cr:et"), &sent[..1]).await;
        assert_eq!(kinds(&deaf), "r", "nothing is sent where no answer can come: {deaf:?}");
        assert!(text(&deaf[0]).contains("grant this user to subscribe to _INBOX.>"), "{}", text(&deaf[0]));
    }

    /// What the documentation says is needed is all that is needed, also after a message was not answered.
    #[tokio::test(flavor = "multi_thread")]
    async fn with_the_least_permissions_through_a_stop() {
        let least = r#"
            jetstream: {}
            authorization {
                users = [
                    { user: "all", password: "s3cr:et" }
                    { user: "pub", password: "pub", permissions: { publish: ["appmon.>"], subscribe: ["_INBOX.>"] } }
                ]
            }
        "#;
        let Some(nats) = Nats::configured(least) else { return };
        let admin = admin(nats.port).await;
        create(&admin, Config::default()).await;
        let queue = JetStream::new(server(nats.port).user_and_password("pub", "pub")).unwrap();
        let (mut recorded, log) = Recorded::new(queue);
        while !recorded.publish(&messages(1)).await[0].is_accepted() {}
        nats.broker().stop();
        let forwarder = Forwarder::new(recorded).host("h").retry(Duration::from_millis(10), Duration::from_millis(100));
        let monitor = forwarder.monitor();
        let task = tokio::spawn(async move { ticks(100).forward_to(forwarder).await.unwrap() });
        // After a message that was not answered it is asked whether the server answers at all.
        while monitor.status().last_error.is_none_or(|error| !error.contains("no connection within")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        nats.broker().go_on();
        assert_complete(&task.await.unwrap(), 100);
        let stored: BTreeSet<_> = stored(&admin).await.into_iter().map(|(id, _)| id).collect();
        assert!(log.accepted().len() == 101 && log.accepted().iter().all(|message| stored.contains(&message.id)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_permission_that_comes_later() {
        let Some(mut nats) = Nats::new(USERS) else { return };
        // Where data is must be said in the file, or the server does not read it again.
        let stored = format!("jetstream {{ store_dir: {:?} }}", nats.data.path().join("js"));
        let users = USERS.replace("jetstream: {}", &stored);
        let path = nats.config.clone().unwrap();
        std::fs::write(&path, &users).unwrap();
        nats.start();
        create(&admin(nats.port).await, Config::default()).await;
        let some = server(nats.port).timeout(PATIENCE).user_and_password("some", "s3cr:et");
        let mut sent = messages(2);
        sent[1].host = "db".into();
        let mut queue = JetStream::new(some.clone()).unwrap();
        let mut core = Core::new(some.clone()).unwrap();
        assert_eq!(kinds(&queue.publish(&sent).await), "Ar");
        assert_eq!(kinds(&core.publish(&sent).await), "Ar");
        std::fs::write(&path, users.replace("web%2017", "*")).unwrap();
        nats.broker().reload();
        let permitted = async { while kinds(&outcomes(some.clone(), &sent[1..]).await) == "r" {} };
        tokio::time::timeout(Duration::from_secs(60), permitted).await.unwrap();
        // The connections stood all the time.
        assert_eq!(kinds(&queue.publish(&sent).await), "DD");
        assert_eq!(kinds(&core.publish(&sent).await), "AA");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_key() {
        // Keys of this test alone.
        let public = "UBQ2K3ZDN7RXSU5EYFN4ASR52KOGMI7OL463KSHVHKA373DCDO3GHQLQ";
        let seed = "SUAEB3PBVNLLC57OWVBXUDI52BM2774TETOV34XLVMP7ZKUOAJSYOJCKJI";
        let config = format!("jetstream: {{}}\nauthorization {{ users: [{{ nkey: {public} }}] }}");
        let Some(nats) = Nats::configured(&config) else { return };
        let options = async_nats::ConnectOptions::with_nkey(seed.into());
        create(&jetstream::new(options.connect(nats.url()).await.unwrap()), Config::default()).await;
        let sent = messages(1);
        assert_eq!(kinds(&outcomes(server(nats.port).nkey(seed), &sent).await), "A");
        assert_eq!(kinds(&outcomes(server(nats.port), &sent).await), "r");
        assert!(!format!("{:?}", server(nats.port).nkey(seed)).contains("SUAEB3"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_token() {
        let Some(nats) = Nats::configured("jetstream: {}\nauthorization { token: \"t0ken\" }") else { return };
        let options = async_nats::ConnectOptions::with_token("t0ken".into());
        create(&jetstream::new(options.connect(nats.url()).await.unwrap()), Config::default()).await;
        let sent = messages(1);
        assert_eq!(kinds(&outcomes(server(nats.port).token("t0ken"), &sent).await), "A");
        let url = format!("nats://t0ken@127.0.0.1:{}", nats.port);
        assert_eq!(kinds(&outcomes(Server::new(url), &sent).await), "D");
        assert_eq!(kinds(&outcomes(server(nats.port).token("other"), &sent).await), "r");
    }
}

mod tls {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn issued(authority: &Authority) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, authority).unwrap(), key)
    }

    /// Trusts the authority, and shows a certificate of it where that is asked for.
    fn client(authority: &Authority, certificate: Option<(rcgen::Certificate, KeyPair)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        match certificate {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        }
    }

    /// A server that asks for a client's certificate, of the same authority.
    fn started(authority: &Authority) -> Option<Nats> {
        let mut nats = Nats::new("-")?;
        let path = |name: &str| nats.data.path().join(name);
        let (certificate, key) = issued(authority);
        std::fs::write(path("ca.pem"), authority.pem()).unwrap();
        std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| path(name).display().to_string());
        let config =
            format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true, timeout: 20 }}");
        std::fs::write(nats.config.as_ref().unwrap(), config).unwrap();
        nats.start();
        Some(nats)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_the_certificates_of_an_authority_of_ones_own() {
        let authority = authority();
        let Some(nats) = started(&authority) else { return };
        let tls = Arc::new(client(&authority, Some(issued(&authority))));
        let secure = server(nats.port).timeout(Duration::from_secs(20)).tls(Arc::clone(&tls));
        let options = async_nats::ConnectOptions::new().tls_client_config(ClientConfig::clone(&tls));
        create(&jetstream::new(options.connect(nats.url()).await.unwrap()), Config::default()).await;

        let sent = messages(3);
        let outcomes = JetStream::new(secure.clone()).unwrap().publish(&sent).await;
        assert_eq!(kinds(&outcomes), "AAA", "{outcomes:?}");
        assert_eq!(kinds(&Core::new(secure.clone()).unwrap().publish(&sent).await), "AAA");
        let mut arriving = Consumer::<Reading>::new(secure, STREAM).unwrap().from_oldest().stream();
        assert_eq!(arriving.next().await.unwrap().unwrap().seq, 0);

        for (why, wrong) in [
            ("no certificate", server(nats.port).tls(client(&authority, None))),
            ("another authority", server(nats.port).tls(client(&super::tls::authority(), Some(issued(&authority))))),
            ("TLS, and nothing said of it", server(nats.port)),
        ] {
            let wrong = wrong.timeout(Duration::from_secs(20));
            let outcomes = JetStream::new(wrong).unwrap().publish(&sent).await;
            assert_eq!(kinds(&outcomes), "rrr", "{why}: {outcomes:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn not_without_it_where_it_is_asked_for() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let url = format!("tls://127.0.0.1:{}", nats.port);
        let server = Server::new(url).timeout(TIMEOUT).tls(client(&authority(), None));
        let outcomes = JetStream::new(server).unwrap().publish(&messages(1)).await;
        assert_eq!(kinds(&outcomes), "r", "the server speaks no TLS: {outcomes:?}");
    }
}

mod core_nats {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_listens_hears_it() {
        let Some(mut nats) = Nats::started() else { return };
        let client = async_nats::connect(nats.url()).await.unwrap();
        let mut heard = client.subscribe("appmon.>").await.unwrap();
        client.flush().await.unwrap();
        let mut sink = Core::new(server(nats.port)).unwrap();
        let mut sent = messages(300);
        assert_eq!(kinds(&sink.publish(&sent).await), "A".repeat(300));
        for message in &sent {
            let arrived = heard.next().await.unwrap();
            assert_eq!(arrived.payload, message.payload);
            assert_eq!(arrived.headers.unwrap().get("ce-id").unwrap().as_str(), message.id.to_string());
        }
        sent[1].payload = vec![b' '; 2 << 20].into();
        assert_eq!(kinds(&sink.publish(&sent[..3]).await), "ALA");

        nats.broker().stop();
        assert_eq!(kinds(&sink.publish(&sent[2..4]).await), "uu", "written, and no answer");
        nats.broker().go_on();
        nats.kill();
        assert_eq!(kinds(&sink.publish(&sent[2..4]).await), "rr");
        nats.start();
        assert!(sink.check().await.is_none(), "it answers, and did not answer to messages");
        assert_eq!(kinds(&sink.publish(&sent[2..4]).await), "AA");
        assert!(sink.check().await.unwrap().is_ok());
    }
}

mod consuming {
    use super::*;

    fn consumer(nats: &Nats) -> Consumer<Reading> {
        Consumer::new(server(nats.port), STREAM).unwrap().from_oldest()
    }

    async fn publish(nats: &Nats, messages: &[Message]) {
        let outcomes = jetstream(nats.port).await.publish(messages).await;
        assert!(outcomes.iter().all(Outcome::is_accepted), "{}", kinds(&outcomes));
    }

    fn encoder(host: &str) -> Encoder {
        Encoder::new(Host::new(host).unwrap())
    }

    /// The next one; a server that is slow for a moment may be asked again.
    async fn next_snapshot<T>(stream: &mut (impl Stream<Item = Result<T>> + Unpin)) -> T {
        loop {
            match next(stream).await {
                Ok(snapshot) => return snapshot,
                Err(error) => assert!(error.is_broker(), "{error}"),
            }
        }
    }

    async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> T {
        tokio::time::timeout(Duration::from_secs(120), stream.next()).await.expect("an item").unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn snapshots_arrive_whole_and_once() {
        let Some(nats) = Nats::started() else { return };
        // The server sees doubles for a moment only.
        let window = Duration::from_millis(100);
        create(&nats.admin().await, Config { duplicate_window: window, ..Config::default() }).await;
        let mut expected = Vec::new();
        let mut sent = Vec::new();
        for codec in [Codec::Json, Codec::MessagePack] {
            let mut encoder = encoder("web 17").codec(codec).max_bytes(4 << 10);
            for seq in 0..5 {
                let mut snapshot = snapshot(seq, 200 * (seq % 2));
                sent.extend(encoder.encode(&snapshot).messages);
                snapshot.host = Some("web 17".into());
                expected.push(snapshot);
            }
        }
        publish(&nats, &sent).await;
        tokio::time::sleep(2 * window).await;
        publish(&nats, &sent).await;
        assert_eq!(nats.stored().await.len(), 2 * sent.len(), "twice each");

        let mut arriving = consumer(&nats).stream();
        for snapshot in &expected {
            assert_eq!(&next_snapshot(&mut arriving).await, snapshot);
        }
        publish(&nats, &encoder("last").encode(&snapshot(7, 1)).messages).await;
        assert_eq!(next(&mut arriving).await.unwrap().host.as_deref(), Some("last"));
        let arrived = arriving.received();
        assert_eq!((arrived.snapshots, arrived.producers), (11, 3));
        assert_eq!((arrived.duplicates, arrived.messages), (sent.len() as u64, 2 * sent.len() as u64 + 1));
        assert_eq!((arrived.malformed, arrived.incomplete, arrived.missing), (0, 0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_too_large_for_the_server_is_not_missing() {
        let Some(nats) = Nats::configured("max_payload: 16384") else { return };
        // A limit that the server tells, and one that is learned from refusals.
        for max_message_size in [-1, 7000] {
            let admin = nats.admin().await;
            let _ = admin.delete_stream(STREAM).await;
            create(&admin, Config { max_message_size, ..Config::default() }).await;
            for (codec, most) in [(Codec::Json, 4 << 20), (Codec::MessagePack, 4 << 20), (Codec::Json, 24 << 10)] {
                let host = format!("{codec} {most}");
                // All are encoded before the server is asked.
                let all = (0..5).map(|seq| snapshot(seq, 1 + 600 * (seq % 2)));
                let forwarder = Forwarder::new(jetstream(nats.port).await).host(&*host).codec(codec);
                let report = stream::iter(all.clone().map(Ok)).forward_to(forwarder.max_message_bytes(most)).await;
                let report = report.unwrap();
                assert!(report.is_complete() && report.accepted > 6, "{report:?}");

                let mut arriving = consumer(&nats).stream();
                let mut arrived = Vec::new();
                while arrived.len() < 5 {
                    let mut snapshot = next_snapshot(&mut arriving).await;
                    if snapshot.host.take().as_deref() == Some(&*host) {
                        arrived.push(snapshot);
                    }
                }
                assert!(arrived.into_iter().eq(all), "{host}");
                let counts = arriving.received();
                let faults = [counts.missing, counts.incomplete, counts.malformed, counts.duplicates];
                assert_eq!(faults, [0; 4], "{host} {max_message_size}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_understood_ends_nothing() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let admin = nats.admin().await;
        let sent = messages(2);
        publish(&nats, &sent[..1]).await;
        for payload in ["", "{}", "\u{0}"] {
            admin.publish("appmon.reading.x", payload.into()).await.unwrap().await.unwrap();
        }
        publish(&nats, &sent[1..]).await;
        let mut arriving = consumer(&nats).stream();
        let seen: Vec<_> = [
            next(&mut arriving).await,
            next(&mut arriving).await,
            next(&mut arriving).await,
            next(&mut arriving).await,
            next(&mut arriving).await,
        ]
        .into_iter()
        .map(|item| item.is_ok())
        .collect();
        assert_eq!(seen, [true, false, false, false, true]);
        assert_eq!(arriving.received().malformed, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_with_a_name_goes_on_where_it_was() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        publish(&nats, &messages(20)).await;
        let mut seqs = BTreeSet::new();
        while seqs.len() < 20 {
            // Few are given back too late for the next one, and come again by themselves.
            let ack_wait = Duration::from_secs(1);
            let mut arriving = consumer(&nats).durable("one").ack_wait(ack_wait).stream();
            for _ in 0..5.min(20 - seqs.len()) {
                seqs.insert(next_snapshot(&mut arriving).await.seq);
            }
            arriving.close().await;
        }
        let stream = nats.admin().await.get_stream(STREAM).await.unwrap();
        // The last acknowledgements are on their way when it is closed.
        while stream.consumer_info("one").await.unwrap().num_ack_pending > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        publish(&nats, &messages(1)).await;
        let mut arriving = consumer(&nats).durable("one").ack_wait(Duration::from_secs(1)).stream();
        assert_eq!(next(&mut arriving).await.unwrap().seq, 0);
        assert_eq!(arriving.received().messages, 1, "nothing that was done comes again");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_server_may_go_and_come_back() {
        let Some(mut nats) = Nats::new("") else { return };
        let mut arriving = consumer(&nats).stream();
        assert!(next(&mut arriving).await.unwrap_err().is_broker(), "it is not there yet");
        nats.start();
        let mut errors = 0;
        nats.create().await;
        let sent = messages(40);
        let mut seqs = Vec::new();
        for (round, sent) in sent.chunks(10).enumerate() {
            publish(&nats, sent).await;
            while seqs.len() < 10 * (round + 1) {
                match next(&mut arriving).await {
                    Ok(snapshot) => seqs.push(snapshot.seq),
                    Err(error) => {
                        assert!(error.is_broker(), "{error}");
                        errors += 1;
                    }
                }
            }
            nats.kill();
            if round == 2 {
                // What it had is gone, and it begins to count anew.
                nats.forget();
            }
            nats.start();
            if round == 2 {
                nats.create().await;
            }
        }
        assert_eq!(seqs, (0..40).collect::<Vec<_>>());
        assert!(errors > 0 && arriving.received().missing == 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_that_was_made_anew_is_read_from_its_beginning() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let admin = nats.admin().await;
        let sent = messages(100);
        publish(&nats, &sent[..40]).await;
        for durable in [None, Some("anew")] {
            let consumer = consumer(&nats);
            let consumer = match durable {
                None => consumer,
                Some(name) => consumer.durable(name),
            };
            let mut arriving = consumer.stream();
            for seq in 0..40 {
                assert_eq!(next_snapshot(&mut arriving).await.seq, seq);
            }
            // It has more than there was before anybody looks.
            admin.delete_stream(STREAM).await.unwrap();
            nats.create().await;
            publish(&nats, &sent[40..]).await;
            for seq in 40..100 {
                assert_eq!(next_snapshot(&mut arriving).await.seq, seq, "{durable:?}");
            }
            assert_eq!(arriving.received().missing, 0);
            admin.delete_stream(STREAM).await.unwrap();
            nats.create().await;
            publish(&nats, &sent[..40]).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_name_is_for_one_consumer() {
        use appmon::{FileSystemSample, ProcessSample};

        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let first = || Consumer::<Reading>::new(server(nats.port), STREAM).unwrap().durable("name");
        publish(&nats, &messages(2)).await;
        let mut arriving = first().stream();
        assert_eq!(next_snapshot(&mut arriving).await.seq, 0);
        arriving.close().await;

        async fn refused<T>(stream: impl Stream<Item = Result<T>>) -> String {
            let mut stream = std::pin::pin!(stream);
            loop {
                match next(&mut stream).await {
                    Err(error) if error.is_config() => return error.to_string(),
                    Err(error) => assert!(error.is_broker(), "{error}"),
                    Ok(_) => panic!("it has messages"),
                }
            }
        }
        let subject = refused(first().subject("appmon.>").stream()).await;
        assert!(subject.contains("its subject is \"appmon.reading.*\" instead of \"appmon.>\""), "{subject}");
        let wait = refused(first().ack_wait(Duration::from_secs(7)).stream()).await;
        assert!(wait.contains("ack_wait is 30s instead of 7s") && wait.contains("consumer name exists"), "{wait}");
        let begin = refused(first().from_now().stream()).await;
        assert!(begin.contains("its beginning is All instead of New"), "{begin}");
        let all = || Consumer::<ProcessSample>::new(server(nats.port), STREAM).unwrap().subject("appmon.>");
        let other = refused(all().durable("name").stream()).await;
        assert!(other.contains("its kind is \"reading\" instead of \"process\""), "{other}");

        // Two kinds by the same subjects.
        let made = all().durable("kinds").stream();
        made.close().await;
        let mut made = all().durable("kinds").stream();
        let error = next(&mut made).await.unwrap_err();
        assert!(error.is_malformed() && error.to_string().contains(" on appmon.reading.web%2017"), "{error}");
        let disks = Consumer::<FileSystemSample>::new(server(nats.port), STREAM).unwrap().subject("appmon.>");
        let other = refused(disks.durable("kinds").stream()).await;
        assert!(other.contains("its kind is \"process\" instead of \"file_system\""), "{other}");
        // Nothing of it was taken.
        let mut arriving = first().stream();
        assert_eq!(next_snapshot(&mut arriving).await.seq, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn those_that_share_a_name_share_the_messages() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        let both: Vec<_> = (0..2).map(|_| consumer(&nats).durable("both").shared().stream()).collect();
        let counts: Vec<_> = both.iter().map(|arriving| arriving.monitor()).collect();
        let mut merged = stream::select_all(both);
        let sender = async {
            for sent in messages(400).chunks(20) {
                publish(&nats, sent).await;
            }
        };
        let receiver = async {
            let mut seqs = BTreeSet::new();
            while seqs.len() < 400 {
                seqs.insert(next_snapshot(&mut merged).await.seq);
            }
        };
        futures::join!(sender, receiver);
        let shares: Vec<_> = counts.iter().map(|count| count().messages).collect();
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fleet_is_followed() {
        let Some(nats) = Nats::started() else { return };
        nats.create().await;
        const HOSTS: usize = 200;
        let mut encoders: Vec<_> = (0..HOSTS).map(|host| encoder(&format!("h{host}"))).collect();
        let mut arriving = consumer(&nats).stream().changes();
        for seq in 0..3 {
            let tick: Vec<_> =
                encoders.iter_mut().flat_map(|encoder| encoder.encode(&snapshot(seq, seq + 1)).messages).collect();
            publish(&nats, &tick).await;
            let mut hosts = BTreeSet::new();
            for _ in 0..HOSTS {
                let changes = next_snapshot(&mut arriving).await;
                assert_eq!(changes.samples.len(), 1, "each host is compared with itself: one more each time");
                hosts.insert(changes.host.unwrap());
            }
            assert_eq!(hosts.len(), HOSTS);
        }
        let arrived = arriving.get_ref().received();
        assert_eq!((arrived.producers, arrived.missing, arrived.duplicates), (HOSTS, 0, 0));
    }

    #[tokio::test]
    async fn wrong_names_are_told_at_once() {
        for wrong in ["", "a b", "a.b", "a*", "a>", "a/b"] {
            assert!(Consumer::<Reading>::new("nats://x", wrong).unwrap_err().is_config(), "{wrong:?}");
            let mut stream = Consumer::<Reading>::new("nats://x", "X").unwrap().durable(wrong).stream();
            let error = stream.next().await.unwrap().unwrap_err();
            assert!(
                error.is_config() && error.to_string().contains(&format!("durable: consumer {wrong:?}")),
                "{error}"
            );
        }
        assert!(Consumer::<Reading>::new("http://x", "X").unwrap_err().is_config());
    }
}
