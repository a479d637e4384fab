//! Forwards snapshots of processes or file systems to a message queue at every tick: at least once, through outages.

#![cfg_attr(
    not(any(feature = "nats", feature = "kafka", feature = "amqp", feature = "mqtt", feature = "redis")),
    allow(dead_code, unused_imports, reason = "without any broker it only prints an error")
)]

#[path = "support/cli.rs"]
mod cli;
#[path = "support/watch.rs"]
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use appmon::forward::{Codec, Forwarder, Publish, Report};
use appmon::{Error, FileSystems, ForwardExt, Processes, Result, SnapshotStreamExt, SourceExt};
use futures::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const HELP: &str = "\
Forwards a snapshot of all processes to a message queue at every tick, as a message. For hosts that
are monitored from elsewhere.

Usage: forward --to URL [--every DURATION] [--count TICKS] [OPTION]...

  --to URL               the message queue, as [USER:PASSWORD@]HOST:PORT after the scheme:
                           nats://127.0.0.1:4222    a JetStream stream with the subjects appmon.>
                           kafka://127.0.0.1:9092   topics appmon.process, appmon.file_system
                           amqp://127.0.0.1:5672    exchange appmon, with a queue bound to it
                           mqtt://127.0.0.1:1883    topics appmon/KIND/HOST
                           redis://127.0.0.1:6379   streams appmon:KIND
                         for TLS, with the certificates that this system trusts: tls:// (NATS),
                         kafkas://, amqps://, mqtts://, rediss://
  --create-stream NAME   NATS: first create this JetStream stream, if it does not exist, with the
                         subjects appmon.>, stored in a file, for a day and up to 1 GiB
  --every DURATION       time between two ticks, such as 500ms, 1s, 5m  [default: 1s]
  --count TICKS          end after so many ticks  [default: go on until Ctrl-C or SIGTERM]
  --spool PATH           keep messages in this file until the queue accepts them, also over restarts
  --file-systems         forward the mounted file systems instead of the processes
  --host NAME            the name of this host in the messages  [default: its host name]
  --codec CODEC          json, ndjson or msgpack  [default: json]
  --deadline DURATION    how long waiting messages may still be sent after the end  [default: 30s]
  --help                 this text

Ctrl-C or SIGTERM ends it, and waiting messages are sent until the deadline; a second one ends it
at once. The last line on standard output is a report as JSON. The exit status is 0 when all
messages were accepted or are in the spool, 1 when some were lost, and 2 for wrong arguments.";

#[derive(Clone)]
struct Args {
    to: String,
    every: Duration,
    count: usize,
    spool: Option<std::path::PathBuf>,
    what: What,
    host: Option<String>,
    create_stream: Option<String>,
    codec: Codec,
    deadline: Duration,
}

#[derive(Clone, Copy)]
enum What {
    Processes,
    FileSystems,
}

fn main() -> ExitCode {
    cli::main("forward", HELP, parse, |args| {
        let report = cli::block_on(run_until_stopped(args))?;
        cli::println(serde_json::to_string(&report).unwrap_or_default());
        Ok::<_, Error>(if report.is_lossless() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Forwards until Ctrl-C or SIGTERM: the first ends it after the waiting messages, the second at once.
async fn run_until_stopped(args: Args) -> Result<Report> {
    let stop = Stop::default();
    let connected = stop.connected.clone();
    tokio::select! {
        report = run(args, &stop) => report,
        error = stop.by_signal() => Err(error),
        // While it is still connecting, there are no messages to send.
        () = async {
            stop.first.cancelled().await;
            if connected.is_cancelled() {
                std::future::pending::<()>().await;
            }
        } => Ok(Report::default()),
    }
}

/// The tokens that end forwarding.
#[derive(Clone, Default)]
struct Stop {
    first: CancellationToken,
    second: CancellationToken,
    /// Cancelled when the forwarder starts, which then observes the other tokens itself.
    connected: CancellationToken,
}

impl Stop {
    /// Cancels one after the other at each signal; comes back only where none can be had.
    async fn by_signal(&self) -> Error {
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (mut interrupt, mut terminate) = match signals {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => return Error::io(error),
        };
        for token in [&self.first, &self.second] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
        std::future::pending().await
    }
}

/// Forwards to the broker of the URL.
async fn run(args: Args, stop: &Stop) -> Result<Report> {
    let url = args.to.clone();
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if args.create_stream.is_some() && !matches!(scheme, "nats" | "tls") {
        return Err(Error::config("--create-stream: it works only with NATS, that is --to nats://HOST or tls://HOST"));
    }
    match scheme {
        #[cfg(feature = "nats")]
        "nats" | "tls" => {
            let queue = appmon::broker::nats::JetStream::new(&*url)?;
            if let Some(name) = &args.create_stream {
                create_stream(&url, name).await?;
            }
            forward(args, stop, queue).await
        }
        #[cfg(feature = "kafka")]
        "kafka" | "kafkas" => forward(args, stop, appmon::broker::kafka::Kafka::new(&url)?).await,
        #[cfg(feature = "amqp")]
        "amqp" | "amqps" => forward(args, stop, appmon::broker::amqp::Amqp::new(&url)?).await,
        #[cfg(feature = "mqtt")]
        "mqtt" | "mqtts" => forward(args, stop, appmon::broker::mqtt::Mqtt::new(&url)?).await,
        #[cfg(feature = "redis")]
        "redis" | "rediss" => forward(args, stop, appmon::broker::redis::Streams::new(&url)?).await,
        "" => Err(Error::config(format!("--to {url}: it has no scheme, such as nats://"))),
        #[allow(unreachable_patterns, reason = "the schemes of enabled features are matched above")]
        "nats" | "tls" | "kafka" | "kafkas" | "amqp" | "amqps" | "mqtt" | "mqtts" | "redis" | "rediss" => {
            let feature = match scheme {
                "nats" | "tls" => "nats",
                "kafkas" => "kafka-ssl",
                "redis" | "rediss" => "redis",
                scheme => scheme.trim_end_matches('s'),
            };
            Err(Error::config(format!(
                "--to: this program was built without {scheme}://; build it with --features {feature}"
            )))
        }
        _ => Err(Error::config(format!("--to: unknown scheme {scheme}://; use nats, kafka, amqp, mqtt or redis"))),
    }
}

/// Creates a stream if there is none of this name. An existing one is not changed.
#[cfg(feature = "nats")]
async fn create_stream(url: &str, name: &str) -> Result<()> {
    use async_nats::jetstream::{self, stream};

    let failed = |why: String| Error::broker(format!("--create-stream {name}: {why}"));
    let servers: Vec<&str> = url.split(',').collect();
    let client = async_nats::connect(servers).await.map_err(|error| failed(error.to_string()))?;
    let config = stream::Config {
        name: name.to_owned(),
        subjects: vec!["appmon.>".to_owned()],
        max_age: Duration::from_secs(86_400),
        max_bytes: 1 << 30,
        ..stream::Config::default()
    };
    let made = jetstream::new(client).get_or_create_stream(config).await;
    made.map(drop).map_err(|error| failed(error.to_string()))
}

/// The kernel's host name.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

async fn forward<P: Publish + 'static>(args: Args, stop: &Stop, queue: P) -> Result<Report> {
    stop.connected.cancel();
    let mut forwarder = Forwarder::new(queue)
        .codec(args.codec)
        // A lower limit of the broker takes precedence.
        .max_message_bytes(4 << 20)
        .deadline(args.deadline)
        .shutdown(stop.first.clone())
        .abort(stop.second.clone())
        .on_rejected(|message, error| eprintln!("forward: {} was rejected: {error}", message.id));
    if let Some(host) = args.host {
        forwarder = forwarder.host(host);
    }
    if let Some(path) = args.spool {
        forwarder = forwarder.spool(path, 64 << 20);
    }
    let watched = watch::watch("forward", forwarder.monitor());
    let forwarded = async {
        match args.what {
            What::Processes => Processes::new().every(args.every).rates().take(args.count).forward_to(forwarder).await,
            What::FileSystems => {
                FileSystems::mounted().every(args.every).rates().take(args.count).forward_to(forwarder).await
            }
        }
    };
    tokio::select! {
        report = forwarded => report,
        () = watched => Err(Error::config("watching never ends")),
    }
}

/// The arguments; `None` for `--help`.
fn parse() -> std::result::Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args {
        to: String::new(),
        every: Duration::from_secs(1),
        count: usize::MAX,
        spool: None,
        what: What::Processes,
        host: host_name(),
        create_stream: None,
        codec: Codec::Json,
        deadline: Duration::from_secs(30),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("to") => args.to = parser.value()?.string()?,
            Long("every") => args.every = cli::every(&mut parser, "1s")?,
            Long("count") => args.count = cli::value(&mut parser, "count")?,
            Long("spool") => args.spool = Some(parser.value()?.into()),
            Long("file-systems") => args.what = What::FileSystems,
            Long("create-stream") => args.create_stream = Some(parser.value()?.string()?),
            Long("host") => args.host = Some(parser.value()?.string()?),
            Long("codec") => {
                args.codec = parser.value()?.string()?.parse().map_err(|error| format!("--codec: {error}"))?
            }
            Long("deadline") => args.deadline = cli::duration(&mut parser, "deadline")?,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if args.to.is_empty() {
        return Err("--to is missing: give the URL of a message queue, such as --to nats://127.0.0.1:4222".into());
    }
    Ok(Some(args))
}
