//! NATS, with a real server beside: what the sink costs over a bare loop of its client, and how many producers one consumer follows.
//!
//! `cargo bench -p appmon-benches --features brokers --bench nats` prints it; `nats-server` must be installed.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss)]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use appmon::broker::nats::{Consumer, JetStream};
use appmon::forward::{Codec, Encoder, Host, Message, Outcome, Publish};
use appmon::{Cancel, ProcessSample, Processes, Snapshot, SnapshotStreamExt, Source};
use async_nats::jetstream::{self, message::PublishMessage, stream};
use futures::StreamExt;

struct Server {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(data.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server is installed");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, url: format!("nats://127.0.0.1:{port}"), _data: data }
    }

    /// An empty stream.
    async fn stream(&self) -> jetstream::Context {
        let context = jetstream::new(async_nats::connect(&*self.url).await.unwrap());
        let _ = context.delete_stream("BENCH").await;
        let subjects = vec!["appmon.>".to_owned()];
        context.create_stream(stream::Config { name: "BENCH".into(), subjects, ..Default::default() }).await.unwrap();
        context
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As many samples of this machine as are wanted.
fn snapshot(samples: usize) -> Snapshot<ProcessSample> {
    let mut snapshot = Snapshot::default();
    Processes::new().collect(&mut snapshot, &Cancel::new()).unwrap();
    snapshot.samples = snapshot.samples.iter().cycle().take(samples).cloned().enumerate().map(numbered).collect();
    snapshot
}

fn numbered((nth, mut sample): (usize, ProcessSample)) -> ProcessSample {
    sample.id.pid = u32::try_from(nth).unwrap();
    sample
}

fn messages(count: u64, samples: usize) -> Vec<Message> {
    let mut encoder = Encoder::new(Host::new("bench").unwrap());
    let mut snapshot = snapshot(samples);
    let each = (0..count).flat_map(|seq| {
        snapshot.seq = seq;
        encoder.encode(&snapshot).messages
    });
    each.collect()
}

const BATCH: usize = 256;

async fn by_sink(server: &Server, messages: &[Message]) -> Duration {
    server.stream().await;
    let mut sink = JetStream::new(&*server.url).unwrap();
    let start = Instant::now();
    for batch in messages.chunks(BATCH) {
        assert!(sink.publish(batch).await.iter().all(Outcome::is_accepted));
    }
    start.elapsed()
}

/// The same batches by the client alone: its subject, an id, and nothing else.
async fn by_client(server: &Server, messages: &[Message]) -> Duration {
    let context = server.stream().await;
    let start = Instant::now();
    for batch in messages.chunks(BATCH) {
        let mut acks = Vec::with_capacity(BATCH);
        for message in batch {
            let publish = PublishMessage::build().payload(message.payload.clone()).message_id(message.id.to_string());
            acks.push(context.send_publish("appmon.process.bench", publish).await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }
    start.elapsed()
}

async fn publishing(server: &Server) {
    for (count, samples) in [(20_000, 1), (5_000, 20), (1_000, 400)] {
        let messages = messages(count, samples);
        let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
        let mut best = [Duration::MAX; 2];
        for _ in 0..5 {
            best[0] = best[0].min(by_client(server, &messages).await);
            best[1] = best[1].min(by_sink(server, &messages).await);
        }
        let [client, sink] = best.map(|time| messages.len() as f64 / time.as_secs_f64());
        let size = bytes / messages.len();
        println!("publish {size:>7} B: client {client:>8.0}/s, sink {sink:>8.0}/s, ratio {:.2}", sink / client);
    }
}

/// A tick of so many hosts, all of it stored, then consumed as a fleet with rates.
async fn following(server: &Server, hosts: usize, samples: usize, codec: Codec) {
    server.stream().await;
    let snapshot = snapshot(samples);
    let encoder = |host| Encoder::new(Host::new(format!("h{host}")).unwrap()).codec(codec);
    let mut encoders: Vec<_> = (0..hosts).map(encoder).collect();
    let mut sink = JetStream::new(&*server.url).unwrap();
    for _ in 0..2 {
        let tick: Vec<_> = encoders.iter_mut().flat_map(|encoder| encoder.encode(&snapshot).messages).collect();
        for batch in tick.chunks(BATCH) {
            assert!(sink.publish(batch).await.iter().all(Outcome::is_accepted));
        }
    }
    let mut fleet = Consumer::<ProcessSample>::new(&*server.url, "BENCH").unwrap().from_oldest().stream().rates();
    let start = Instant::now();
    for _ in 0..2 * hosts {
        fleet.next().await.unwrap().unwrap();
    }
    let per_second = 2.0 * hosts as f64 / start.elapsed().as_secs_f64();
    let arrived = fleet.get_ref().received();
    assert_eq!((arrived.producers, arrived.missing, arrived.duplicates), (hosts, 0, 0));
    println!(
        "follow {hosts:>6} hosts, {samples:>4} samples each, {codec}: {per_second:>7.0} snapshots/s, {:>9.0} samples/s; \
         at one each 10 s: {:.0} hosts",
        per_second * samples as f64,
        per_second * 10.0
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start();
        publishing(&server).await;
        for codec in [Codec::Json, Codec::MessagePack] {
            following(&server, 1_000, 200, codec).await;
        }
        following(&server, 10_000, 10, Codec::Json).await;
    });
}
