//! Forwarding to each broker, beside a bare loop of its client that sends the same messages in the same batches.
//!
//! `cargo bench -p appmon-benches --features brokers --bench brokers` prints it; a broker that is not installed is left out. Kafka is librdkafka's mock
//! cluster. An argument after `--` names one broker.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use appmon::forward::{Encoder, Forwarder, Host, Message, Publish};
use appmon::{Cancel, ForwardExt, ProcessSample, Processes, Snapshot, Source};
use futures::future::join_all;
use futures::stream;

const BATCH: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
const ROUNDS: usize = 5;
const HOST: &str = "bench";

/// A broker that ends with the benchmark.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(program: &str, arguments: impl FnOnce(u16, &std::path::Path) -> Command) -> Option<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = arguments(port, folder.path());
        let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            println!("{program} is not installed");
            return None;
        };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "{program} ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self { child, port, _folder: folder })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As many samples of this machine as are wanted, so many times.
fn snapshots(count: usize, samples: usize) -> Vec<Snapshot<ProcessSample>> {
    let mut snapshot = Snapshot::default();
    Processes::new().collect(&mut snapshot, &Cancel::new()).unwrap();
    snapshot.samples = snapshot.samples.iter().cycle().take(samples).cloned().collect();
    (0..count as u64)
        .map(|seq| {
            snapshot.seq = seq;
            snapshot.clone()
        })
        .collect()
}

fn encoder() -> Encoder {
    Encoder::new(Host::new(HOST).unwrap())
}

/// The messages, encoded and sent in batches by `send`: what a program without this library would do.
async fn bare<F: Future<Output = ()>>(
    snapshots: Vec<Snapshot<ProcessSample>>,
    mut send: impl FnMut(Vec<Message>) -> F,
) {
    let mut encoder = encoder();
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = 0;
    for snapshot in snapshots {
        for message in encoder.encode(&snapshot).messages {
            if batch.len() >= BATCH || bytes + message.payload.len() > BATCH_BYTES {
                send(std::mem::take(&mut batch)).await;
                bytes = 0;
            }
            bytes += message.payload.len();
            batch.push(message);
        }
    }
    send(batch).await;
}

async fn forward(
    snapshots: Vec<Snapshot<ProcessSample>>,
    queue: impl Publish + 'static,
    spool: Option<&std::path::Path>,
) {
    let count = snapshots.len() as u64;
    let mut forwarder = Forwarder::new(queue).host(HOST).batch(BATCH, BATCH_BYTES).queue(BATCH, 16 << 20);
    if let Some(path) = spool {
        forwarder = forwarder.spool(path, 256 << 20);
    }
    let report = stream::iter(snapshots.into_iter().map(Ok)).forward_to(forwarder).await.unwrap();
    assert!(report.is_complete() && report.accepted == count, "{report:?}");
}

/// Times all ways in turn, and prints how they compare.
async fn compare<B, P, F>(name: &str, mut queue: impl AsyncFnMut() -> P, mut client: impl AsyncFnMut() -> B)
where
    P: Publish + 'static,
    B: FnMut(Vec<Message>) -> F,
    F: Future<Output = ()>,
{
    for (count, samples) in [(4000, 20), (600, 200)] {
        let snapshots = snapshots(count, samples);
        let bytes = encoder().encode(&snapshots[0]).messages[0].payload.len();
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        // Connections are there before the clock runs.
        let first = encoder().encode(&snapshots[0]).messages;
        let mut ready = async || {
            let mut queue = queue().await;
            assert!(queue.publish(&first).await[0].is_accepted());
            queue
        };
        for _ in 0..ROUNDS {
            let (given, mut send) = (snapshots.clone(), client().await);
            send(first.clone()).await;
            let start = Instant::now();
            bare(given, send).await;
            times[0].push(start.elapsed());
            let (given, to) = (snapshots.clone(), ready().await);
            let start = Instant::now();
            forward(given, to, None).await;
            times[1].push(start.elapsed());
            let (given, to, folder) = (snapshots.clone(), ready().await, tempfile::tempdir().unwrap());
            let start = Instant::now();
            forward(given, to, Some(&folder.path().join("spool"))).await;
            times[2].push(start.elapsed());
        }
        let [client, forwarder, spooled] = times.map(|mut times| {
            times.sort_unstable();
            count as f64 / times[ROUNDS / 2].as_secs_f64()
        });
        println!(
            "{name:<6} {bytes:>7} B: client {client:>7.0}/s, forwarder {forwarder:>7.0}/s = {:.2}, with spool {spooled:>7.0}/s = {:.2}",
            forwarder / client,
            spooled / client
        );
    }
}

async fn nats() {
    let command = |port: u16, folder: &std::path::Path| {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder);
        command
    };
    let Some(server) = Server::start("nats-server", command) else { return };
    let url = format!("nats://127.0.0.1:{}", server.port);
    let emptied = async || {
        let context = async_nats::jetstream::new(async_nats::connect(&*url).await.unwrap());
        let _ = context.delete_stream("BENCH").await;
        let subjects = vec!["appmon.>".to_owned()];
        let config = async_nats::jetstream::stream::Config { name: "BENCH".into(), subjects, ..Default::default() };
        context.create_stream(config).await.unwrap();
        context
    };
    let queue = async || {
        emptied().await;
        appmon::broker::nats::JetStream::new(&*url).unwrap()
    };
    let client = async || {
        let context = emptied().await;
        move |batch: Vec<Message>| {
            let context = context.clone();
            async move {
                let mut acks = Vec::with_capacity(batch.len());
                for message in batch {
                    let mut headers = async_nats::HeaderMap::new();
                    for (name, value) in message.attributes() {
                        headers.insert(format!("ce-{name}"), &*value);
                    }
                    headers.insert(async_nats::header::NATS_MESSAGE_ID, message.id.to_string());
                    let publish = context.publish_with_headers("appmon.process.bench", headers, message.payload);
                    acks.push(publish.await.unwrap());
                }
                for ack in acks {
                    ack.await.unwrap();
                }
            }
        }
    };
    compare("NATS", queue, client).await;
}

async fn redis_streams() {
    let command = |port: u16, folder: &std::path::Path| {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
        command
    };
    let Some(server) = Server::start("redis-server", command) else { return };
    let url = format!("redis://127.0.0.1:{}", server.port);
    let emptied = async || {
        let client = redis::Client::open(&*url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
        connection
    };
    let queue = async || {
        emptied().await;
        appmon::broker::redis::Streams::new(&url).unwrap()
    };
    let client = async || {
        let connection = emptied().await;
        move |batch: Vec<Message>| {
            let mut connection = connection.clone();
            async move {
                let mut pipe = redis::pipe();
                for message in &batch {
                    let add = pipe.cmd("XADD").arg("appmon:process").arg("*");
                    for (name, value) in message.attributes() {
                        add.arg(name).arg(&*value);
                    }
                    add.arg("data").arg(&message.payload[..]).ignore();
                }
                if !batch.is_empty() {
                    let _: () = pipe.query_async(&mut connection).await.unwrap();
                }
            }
        }
    };
    compare("Redis", queue, client).await;
}

async fn mqtt() {
    use rumqttc_v5::mqttbytes::QoS;
    use rumqttc_v5::{AsyncClient, Broker, MqttOptions, PublishOptions, PublishProperties};

    let command = |port: u16, folder: &std::path::Path| {
        let settings = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        let path = folder.join("mosquitto.conf");
        std::fs::write(&path, settings).unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(path);
        command
    };
    let Some(server) = Server::start("mosquitto", command) else { return };
    let port = server.port;
    let queue = async || appmon::broker::mqtt::Mqtt::new(format!("mqtt://127.0.0.1:{port}")).unwrap();
    let client = async || {
        let mut options = MqttOptions::new("bare", Broker::tcp("127.0.0.1", port));
        options.set_outgoing_inflight_upper_limit(100);
        let (client, mut events) = AsyncClient::builder(options).capacity(BATCH).try_build().unwrap();
        tokio::spawn(async move { while events.poll().await.is_ok() {} });
        move |batch: Vec<Message>| {
            let client = client.clone();
            async move {
                let mut notices = Vec::with_capacity(batch.len());
                for message in batch {
                    let user_properties =
                        message.attributes().map(|(name, value)| (name.to_owned(), value.into_owned())).into();
                    let properties = PublishProperties { user_properties, ..PublishProperties::default() };
                    let options = PublishOptions::new(QoS::AtLeastOnce).properties(properties);
                    notices
                        .push(client.publish_tracked("appmon/process/bench", message.payload, options).await.unwrap());
                }
                for notice in notices {
                    notice.wait_async().await.unwrap();
                }
            }
        }
    };
    compare("MQTT", queue, client).await;
}

async fn kafka() {
    use rdkafka::config::ClientConfig;
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{FutureProducer, FutureRecord};

    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    cluster.create_topic("appmon.process", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let queue = async || appmon::broker::kafka::Kafka::new(format!("kafka://{servers}")).unwrap();
    let client = async || {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "1")
            // One that keeps the order whatever fails, as ours does.
            .set("enable.gapless.guarantee", "true")
            .set("max.in.flight.requests.per.connection", "1")
            .create()
            .unwrap();
        move |batch: Vec<Message>| {
            let producer = producer.clone();
            async move {
                let sent = batch.iter().map(|message| {
                    let mut headers = OwnedHeaders::new();
                    for (name, value) in message.attributes() {
                        headers = headers.insert(Header { key: &format!("ce_{name}"), value: Some(value.as_bytes()) });
                    }
                    let record = FutureRecord::to("appmon.process").key(HOST).payload(&message.payload[..]);
                    producer.send_result(record.headers(headers)).unwrap()
                });
                for delivery in join_all(sent).await {
                    delivery.unwrap().unwrap();
                }
            }
        }
    };
    compare("Kafka", queue, client).await;
}

async fn amqp() {
    use lapin::options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    };
    use lapin::types::{AMQPValue, FieldTable, LongString};
    use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};

    let names_port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let names = Command::new("epmd").args(["-port", &names_port.to_string(), "-address", "127.0.0.1"]).spawn();
    let Ok(mut names) = names else { return println!("rabbitmq-server is not installed") };
    let command = |port: u16, folder: &std::path::Path| {
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        command.env("HOME", folder).env("RUNNING_UNDER_SYSTEMD", "1").env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_NODENAME", format!("bench{port}@localhost")).env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_NODE_PORT", port.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_DIST_PORT", (port ^ 1).to_string()).env("ERL_EPMD_PORT", names_port.to_string());
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"));
        command.env("RABBITMQ_MNESIA_BASE", folder.join("data")).env("RABBITMQ_LOG_BASE", folder.join("log"));
        command
    };
    if let Some(server) = Server::start("rabbitmq-server", command) {
        let url = format!("amqp://127.0.0.1:{}", server.port);
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let emptied = async || {
            let channel = connection.create_channel().await.unwrap();
            let (durable, nothing) =
                (ExchangeDeclareOptions { durable: true, ..Default::default() }, FieldTable::default);
            channel.exchange_declare("appmon".into(), ExchangeKind::Topic, durable, nothing()).await.unwrap();
            let durable = QueueDeclareOptions { durable: true, ..Default::default() };
            channel.queue_delete("bench".into(), Default::default()).await.unwrap();
            channel.queue_declare("bench".into(), durable, nothing()).await.unwrap();
            let bind = QueueBindOptions::default();
            channel.queue_bind("bench".into(), "appmon".into(), "#".into(), bind, nothing()).await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            channel
        };
        let queue = async || {
            emptied().await;
            appmon::broker::amqp::Amqp::new(&url).unwrap()
        };
        let client = async || {
            let channel = emptied().await;
            move |batch: Vec<Message>| {
                let channel = channel.clone();
                async move {
                    let mut confirms = Vec::with_capacity(batch.len());
                    for message in batch {
                        let mut headers = FieldTable::default();
                        for (name, value) in message.attributes() {
                            let value = AMQPValue::LongString(LongString::from(&*value));
                            headers.insert(format!("cloudEvents:{name}").into(), value);
                        }
                        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
                        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                        let key = "process.bench".into();
                        let sent = channel.basic_publish("appmon".into(), key, options, &message.payload, properties);
                        confirms.push(sent.await.unwrap());
                    }
                    for confirm in confirms {
                        assert!(confirm.await.unwrap().is_ack());
                    }
                }
            }
        };
        compare("AMQP", queue, client).await;
    }
    names.kill().unwrap();
    names.wait().unwrap();
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only.eq_ignore_ascii_case(name));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("nats") {
            nats().await;
        }
        if wanted("redis") {
            redis_streams().await;
        }
        if wanted("mqtt") {
            mqtt().await;
        }
        if wanted("kafka") {
            kafka().await;
        }
        if wanted("amqp") {
            amqp().await;
        }
    });
}
