//! A whole agent from one TOML file: processes in groups, file systems and alerts, to a message queue and as metrics.
//!
//! `README.md` has a file to begin with, and how the settings of Telegraf's procstat and of process-exporter map to these.

#[path = "../../support/cli.rs"]
mod cli;
#[path = "../../support/watch.rs"]
mod watch;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use appmon::config::{
    AlertConfig, AlertOn, FileSystemsConfig, ForwardConfig, GroupsConfig, OwnProcessConfig, ProcessesConfig,
    PrometheusConfig,
};
use appmon::forward::{BoxPublish, Feeds, Forwarder, Monitor, Publish, Report};
use appmon::measured::Measured;
use appmon::{Error, Result, Sample, Snapshot, SnapshotStreamExt, SourceExt};
use futures::{Stream, StreamExt, TryStreamExt, future};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const HELP: &str = "\
Monitors this host as a file says: processes in groups, file systems, alerts; to
a message queue, as metrics for Prometheus, or both.

Usage: agent --config FILE [--check]

  --config FILE  the settings, in TOML; README.md has some to begin with
  --check        read the settings, print what they mean, and end: with exit
                 status 0 if they are right, and 1 if not
  --help         this text

SIGHUP reads the file again: if it is wrong, the agent says why and goes on as it
was. SIGTERM or Ctrl-C ends it, after the messages that wait; a second one ends it
at once. When forwarding ends there is a report as a line of JSON on standard
output. The exit status is 0 if no message was lost.";

struct Args {
    config: PathBuf,
    check: bool,
}

fn main() -> ExitCode {
    cli::main("agent", HELP, parse, |args| {
        let settings = Settings::read(&args.config)?;
        if args.check {
            cli::block_on(async { Pipeline::new(&settings).map(drop) })?;
            cli::println(settings.in_words()?);
            return Ok::<_, Error>(ExitCode::SUCCESS);
        }
        let lossless = cli::block_on(run(&args.config, settings))?;
        Ok(if lossless { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "ten_seconds")]
    every: appmon::config::Duration,
    processes: Option<ProcessesConfig>,
    groups: Option<GroupsConfig>,
    file_systems: Option<FileSystemsConfig>,
    own_process: Option<OwnProcessConfig>,
    #[serde(default)]
    alerts: Vec<AlertConfig>,
    forward: Option<ForwardConfig>,
    /// Where the page of metrics is, such as `127.0.0.1:9256`.
    metrics: Option<SocketAddr>,
    #[serde(default)]
    prometheus: PrometheusConfig,
}

fn ten_seconds() -> appmon::config::Duration {
    Duration::from_secs(10).into()
}

impl Settings {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(error).at(path))?;
        let settings: Self = toml::from_str(&text).map_err(|error| Error::config(format!("\n{error}")).at(path))?;
        settings.check().map_err(|error| Error::config(error.to_string()).at(path))?;
        Ok(settings)
    }

    /// What no single table can know.
    fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::config(what));
        if self.every.is_zero() {
            return wrong("every: it must be longer than zero");
        }
        if self.forward.is_none() && self.metrics.is_none() {
            return wrong("it leads nowhere: add [forward], or metrics = \"127.0.0.1:9256\"");
        }
        if self.groups.is_some() && self.processes.is_none() {
            return wrong("groups: they are of processes: add [processes]");
        }
        if self.processes.is_none() && self.file_systems.is_none() && self.own_process.is_none() {
            return wrong("there is nothing to monitor: add [processes], [file_systems] or [own_process]");
        }
        for alert in &self.alerts {
            let is_there = match alert.on {
                AlertOn::Processes => self.processes.is_some(),
                AlertOn::Groups => self.groups.is_some(),
                AlertOn::FileSystems | AlertOn::Parts => self.file_systems.is_some(),
                AlertOn::OwnProcess => self.own_process.is_some(),
                _ => false,
            };
            if !is_there {
                return Err(Error::config(format!("alerts: there are no {} to be alerted of", alert.on)));
            }
            alert.check()?;
        }
        Ok(())
    }

    /// What the agent would do.
    fn in_words(&self) -> Result<String> {
        let mut text = format!("every {}:", self.every);
        let mut line = |what: String| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {what}");
        };
        if let Some(processes) = &self.processes {
            let select = processes.select.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
            line(format!("processes: {select}"));
        }
        if let Some(groups) = &self.groups {
            line(format!("groups: by {}", groups.by));
        }
        if let Some(file_systems) = &self.file_systems {
            let of = if file_systems.mounted { "all that are mounted" } else { "those that are registered" };
            let (named, directories) = (file_systems.register.len(), file_systems.directories.len());
            line(format!("file systems: {of}, {named} by name; {directories} directories"));
        }
        if self.own_process.is_some() {
            line("the own process".to_owned());
        }
        for alert in &self.alerts {
            line(format!("alert about {}: {}", alert.on, alert.name.as_ref().unwrap_or(&alert.rule)));
        }
        if let Some(forward) = &self.forward {
            line(format!("to {}", forward.publish()?.destination()));
        }
        if let Some(metrics) = &self.metrics {
            line(format!("metrics at http://{metrics}/metrics"));
        }
        Ok(text)
    }
}

/// All streams of a file, and where they lead.
struct Pipeline {
    settings: Settings,
    feeds: Option<Target>,
    monitor: Option<Monitor>,
    stop: CancellationToken,
    abort: CancellationToken,
    /// What is polled beside the forwarder, so that a queue that is full holds up no metrics.
    tasks: JoinSet<()>,
    registry: Registry,
}

/// A forwarder, with feeds or still without.
enum Target {
    Forwarder(Forwarder<BoxPublish>),
    Feeds(Feeds<BoxPublish>),
}

impl Pipeline {
    fn new(settings: &Settings) -> Result<Self> {
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let forwarder = settings.forward.as_ref().map(ForwardConfig::build).transpose()?;
        let forwarder = forwarder.map(|forwarder| {
            forwarder
                .shutdown(stop.clone())
                .abort(abort.clone())
                .on_rejected(|message, error| eprintln!("agent: {} was rejected: {error}", message.id))
        });
        let mut pipeline = Self {
            settings: settings.clone(),
            monitor: forwarder.as_ref().map(Forwarder::monitor),
            feeds: forwarder.map(Target::Forwarder),
            stop,
            abort,
            tasks: JoinSet::new(),
            registry: Registry::default(),
        };
        pipeline.streams(settings)?;
        Ok(pipeline)
    }

    fn streams(&mut self, settings: &Settings) -> Result<()> {
        let every = settings.every.get();
        if let Some(config) = &settings.processes {
            let mut config = config.clone();
            if let Some(groups) = &settings.groups {
                // What groups need to be true.
                config.fields = Some(config.fields.unwrap_or_default() | groups.by.fields());
                config.lives = Some(config.lives.unwrap_or(true));
            }
            let ticks = config.build()?.every(every).share();
            self.alerts(AlertOn::Processes, || ticks.clone().rates())?;
            match &settings.groups {
                Some(groups) => {
                    let groups = groups.apply(ticks).rates().share();
                    self.alerts(AlertOn::Groups, || groups.clone())?;
                    self.forward("groups", || groups.clone());
                }
                None => self.forward("processes", || ticks.clone().rates()),
            }
        }
        if let Some(config) = &settings.file_systems {
            let ticks = config.build()?.every(every).rates().share();
            self.alerts(AlertOn::FileSystems, || ticks.clone())?;
            self.alerts(AlertOn::Parts, || ticks.clone().parts())?;
            self.forward("file_systems", || ticks.clone());
        }
        if let Some(config) = &settings.own_process {
            let ticks = config.build().runtime(tokio::runtime::Handle::current()).every(every).rates().share();
            self.alerts(AlertOn::OwnProcess, || ticks.clone())?;
            self.forward("own_process", || ticks.clone());
        }
        Ok(())
    }

    /// Adds a stream to the page of metrics and to the forwarder.
    fn forward<S, T>(&mut self, name: &str, stream: impl Fn() -> S)
    where
        S: Stream<Item = Result<Snapshot<T>>> + Send + 'static,
        T: Sample + Measured + Serialize + Clone + Send + Sync + 'static,
        T::Key: Send,
    {
        if self.settings.metrics.is_some() {
            let ticks = stream().observe();
            self.registry.register_collector(Box::new(self.settings.prometheus.build(ticks.latest())));
            self.tasks.spawn(drain(ticks));
        }
        self.feed(name.to_owned(), stream());
    }

    /// Adds the alerts about a stream.
    fn alerts<S, T>(&mut self, on: AlertOn, stream: impl Fn() -> S) -> Result<()>
    where
        S: Stream<Item = Result<Snapshot<T>>> + Send + 'static,
        T: Sample + Measured + Send + Sync + 'static,
        T::Key: Send,
    {
        let alerts: Vec<_> = self.settings.alerts.iter().cloned().enumerate().collect();
        for (nth, alert) in alerts.into_iter().filter(|(_, alert)| alert.on == on) {
            let edges = stream().alert(alert.build()?).try_filter(|tick| future::ready(!tick.is_empty()));
            let edges = edges.inspect_ok(|tick| {
                for edge in tick {
                    eprintln!("agent: {:?}: {} ({})", edge.state, edge.rule, edge.subject);
                }
            });
            self.feed(format!("alert-{nth}"), edges);
        }
        Ok(())
    }

    fn feed<S, T>(&mut self, name: String, stream: S)
    where
        S: Stream<Item = Result<Snapshot<T>>> + Send + 'static,
        T: Sample + Serialize + Send + 'static,
    {
        self.feeds = match self.feeds.take() {
            Some(Target::Forwarder(forwarder)) => Some(Target::Feeds(forwarder.feed(name, stream))),
            Some(Target::Feeds(feeds)) => Some(Target::Feeds(feeds.feed(name, stream))),
            None => {
                self.tasks.spawn(drain(stream));
                None
            }
        };
    }

    /// Runs until `stop` is cancelled, or forwarding fails.
    async fn run(mut self) -> Result<Report> {
        if let Some(address) = self.settings.metrics {
            let bound = TcpListener::bind(address).await;
            let listener = bound.map_err(|error| Error::config(format!("metrics: {address}: {error}")))?;
            self.tasks.spawn(serve(listener, Arc::new(self.registry)));
        }
        if let Some(monitor) = self.monitor {
            self.tasks.spawn(watch::watch("agent", monitor));
        }
        let report = match self.feeds {
            Some(Target::Feeds(feeds)) => feeds.run().await,
            _ => {
                self.stop.cancelled().await;
                Ok(Report::default())
            }
        };
        // Waits for their ends, so that the next pipeline finds the address of the page free.
        self.tasks.shutdown().await;
        report
    }
}

/// Takes the snapshots of a stream that only others look at.
async fn drain<T>(stream: impl Stream<Item = Result<Snapshot<T>>>) {
    let errors = stream.filter_map(|tick| future::ready(tick.err()));
    let show = |error| {
        eprintln!("agent: {error}");
        future::ready(())
    };
    errors.for_each(show).await;
}

/// Serves the page of metrics.
async fn serve(listener: TcpListener, registry: Arc<Registry>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        // Out of descriptors: later there are some again.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let registry = Arc::clone(&registry);
        let service = service_fn(move |request| future::ready(Ok::<_, Infallible>(page(&registry, &request))));
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new());
        connections.spawn(async move { drop(http.serve_connection(TokioIo::new(stream), service).await) });
    }
}

fn page<B>(registry: &Registry, request: &Request<B>) -> Response<String> {
    let (status, media_type, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let mut page = String::new();
            // Writing to a string cannot fail.
            let _ = prometheus_client::encoding::text::encode(&mut page, registry);
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", page)
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
}

/// Runs pipelines one after the other, each until the next file that is right, or the end. Returns whether no message was lost.
async fn run(path: &Path, mut settings: Settings) -> Result<bool> {
    let mut signals = Signals {
        hang_up: signal(SignalKind::hangup())?,
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    };
    let mut lossless = true;
    let mut before: Option<Settings> = None;
    loop {
        match one(path, &settings, &mut signals).await {
            Ok((report, next)) => {
                cli::println(serde_json::to_string(&report).unwrap_or_default());
                lossless &= report.is_lossless();
                let Some(next) = next else { return Ok(lossless) };
                before = Some(std::mem::replace(&mut settings, next));
            }
            // What only shows when it runs, such as a directory that is not there.
            Err(error) => match before.take() {
                Some(good) => {
                    eprintln!("agent: the new settings do not work, and the former are used: {error}");
                    settings = good;
                }
                None => return Err(error),
            },
        }
    }
}

struct Signals {
    hang_up: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

/// Runs one pipeline, and returns the settings of the next; `None` at the end.
async fn one(path: &Path, settings: &Settings, signals: &mut Signals) -> Result<(Report, Option<Settings>)> {
    let pipeline = Pipeline::new(settings)?;
    let (stop, abort) = (pipeline.stop.clone(), pipeline.abort.clone());
    let mut next = None;
    let mut running = std::pin::pin!(pipeline.run());
    eprintln!("agent: running, by {}", path.display());
    loop {
        tokio::select! {
            report = &mut running => return report.map(|report| (report, next)),
            _ = signals.hang_up.recv() => match Settings::read(path).and_then(|new| Pipeline::new(&new).map(|_| new)) {
                Ok(new) => {
                    next = Some(new);
                    stop.cancel();
                }
                Err(error) => eprintln!("agent: the settings stay as they were: {error}"),
            },
            _ = signals.interrupt.recv() => end(&stop, &abort, &mut next),
            _ = signals.terminate.recv() => end(&stop, &abort, &mut next),
        }
    }
}

/// The first time in order, the second time at once.
fn end(stop: &CancellationToken, abort: &CancellationToken, next: &mut Option<Settings>) {
    let is_second = stop.is_cancelled() && next.is_none();
    *next = None;
    if is_second {
        abort.cancel();
    }
    stop.cancel();
}

/// The arguments; `None` for `--help`.
fn parse() -> std::result::Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut config, mut check) = (None, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("config") => config = Some(parser.value()?.into()),
            Long("check") => check = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    match config {
        Some(config) => Ok(Some(Args { config, check })),
        None => Err("--config is missing: give the file of the settings".into()),
    }
}
